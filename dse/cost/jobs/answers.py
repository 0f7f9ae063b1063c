"""What searches of single (design, job) pairs found, in memory and on disk, so that a design that was looked at costs nothing.

One file per design and objective in the folder ``searched`` beside the tables (:mod:`dse.mapping.best.tables.cache`), named by a
digest of everything that the searches depend on but the job: the hardware file, the design's numbers, the objective, versions of
model and search. It holds the answers by a digest of their job, as JSON, and ends with a checksum of its name and content. A file
that cannot be read or does not fit its checksum is made anew, and so is one whose first answer that is asked for is priced
otherwise today. A folder that cannot be written costs only the time to search again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.model import MODEL_VERSION
from dse.errors import InputError
from dse.files import make_folder, read_bytes, remove_file, write_bytes
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.best.tables.cache import SEARCH_VERSION, cache_dir
from dse.mapping.explicit.mapping import Level, Loop, Mapping

#: Part of every file's name: change it whenever a search of one (design, job) would find another mapping.
ANSWER_VERSION = 2
#: Designs whose answers are kept in memory.
MOST_DESIGNS = 1024
#: Largest file that is read, bytes.
MAX_BYTES = 100_000_000
_CHECKSUM = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Priced:
    """A mapping of a job on a design that fits, and what it costs there.

    Attributes
    ----------
    components_pj, traffic_bits
        By component as in :attr:`dse.cost.mapped.table_jobs.JobCosts.components`, and by memory.
    bound
        What the time follows: 0 compute, 1 + m memory m.
    """

    mapping: Mapping
    energy_pj: float
    cycles: float
    components_pj: tuple[float, ...]
    traffic_bits: tuple[float, ...]
    bound: int


#: What a search found: a mapping, None where nothing beats what is known, or why nothing fits.
Answer = Priced | str | None


@dataclass(frozen=True)
class Answers:
    """Answers of one design by job, with the name of their file."""

    key: str
    found: dict[str, Answer] = field(default_factory=dict)


_KNOWN: OrderedDict[str, Answers] = OrderedDict()
_LOCK = threading.Lock()


def design_key(hardware: Hardware, arrays: HardwareArrays, design: int, objective: str, search: str) -> str:
    """Digest of everything that the answers of a design depend on but the job; ``search`` names what searches."""
    digest = hashlib.sha256(f"{ANSWER_VERSION} {SEARCH_VERSION} {MODEL_VERSION} {search} {objective} ".encode())
    digest.update(hardware.identity.encode())
    for name, value in vars(arrays).items():
        if isinstance(value, np.ndarray):
            digest.update(f" {name} ".encode() + np.ascontiguousarray(value[design]).tobytes())
    return digest.hexdigest()[:32]


def job_keys(jobs: Jobs, wanted: Sequence[int]) -> list[str]:
    """Digest of a job's nest and formats, of each of some jobs."""
    columns = [np.ascontiguousarray(value) for name, value in vars(jobs).items() if name not in ("nests", "nest")]
    nests = [repr(nest).encode() for nest in jobs.nests]
    return [
        hashlib.blake2b(
            b"".join([nests[int(jobs.nest[job])], *(column[job].tobytes() for column in columns)]), digest_size=16
        ).hexdigest()
        for job in wanted
    ]


def recalled(key: str, wanted: Sequence[str], again: Callable[[int, Priced], Priced | None]) -> Answers:
    """The answers of a design that are known, from memory or from disk.

    Parameters
    ----------
    key, wanted
        :func:`design_key`, and :func:`job_keys` of the jobs that are asked for.
    again
        Prices a mapping of one of those jobs, given its place: answers on disk whose prices are no longer ours are not taken.
    """
    with _LOCK:
        if key in _KNOWN:
            _KNOWN.move_to_end(key)
            return _KNOWN[key]
    answers = Answers(key, _read(key))
    place = next((i for i, job in enumerate(wanted) if isinstance(answers.found.get(job), Priced)), None)
    if place is not None:
        known = answers.found[wanted[place]]
        assert isinstance(known, Priced)
        if again(place, known) != known:
            answers = Answers(key)
            with suppress(InputError):
                remove_file(_path(key))
    with _LOCK:
        _KNOWN[key] = answers
        while len(_KNOWN) > MOST_DESIGNS:
            _KNOWN.popitem(last=False)
    return answers


def remember(answers: Answers, new: dict[str, Answer]) -> None:
    """Add answers to a design's, in memory and on disk, beside what other processes wrote meanwhile."""
    if not new:
        return
    with _LOCK:
        answers.found.update(new)
        every = {**_read(answers.key), **answers.found}
        content = json.dumps({job: _plain(answer) for job, answer in sorted(every.items())}).encode()
        path = _path(answers.key)
        with suppress(InputError):
            make_folder(path.parent)
            write_bytes(path, content + _checksum(answers.key, content))


def forget() -> None:
    """Drop the answers held in memory (the files stay)."""
    with _LOCK:
        _KNOWN.clear()


def _path(key: str) -> Path:
    return cache_dir() / "searched" / f"{key}.json"


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _read(key: str) -> dict[str, Answer]:
    """Answers on disk; none where there is no whole file."""
    try:
        content = read_bytes(_path(key), MAX_BYTES)
        content, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
        if checksum != _checksum(key, content):
            return {}
        return {str(job): _answer(data) for job, data in json.loads(content).items()}
    except Exception:  # Of another program, or made to fit the checksum: whatever is wrong with it, it is made anew.
        return {}


def _plain(answer: Answer) -> Any:
    if answer is None or isinstance(answer, str):
        return answer
    mapping = answer.mapping
    return {
        "loops": [[loop.dim, loop.extent, loop.axis] for loop in mapping.loops],
        "levels": [[level.name, list(level.cuts), level.shared_along] for level in mapping.levels],
        "source": mapping.source,
        "energy_pj": answer.energy_pj,
        "cycles": answer.cycles,
        "components_pj": list(answer.components_pj),
        "traffic_bits": list(answer.traffic_bits),
        "bound": answer.bound,
    }


def _answer(data: Any) -> Answer:
    if data is None or isinstance(data, str):
        return data
    loops = tuple(Loop(dim, extent, axis) for dim, extent, axis in data["loops"])
    levels = tuple(
        Level(name, (cuts[0], cuts[1], cuts[2]), None if shared is None else tuple(shared))
        for name, cuts, shared in data["levels"]
    )
    return Priced(
        Mapping(loops, levels, data["source"]),
        float(data["energy_pj"]),
        float(data["cycles"]),
        tuple(data["components_pj"]),
        tuple(data["traffic_bits"]),
        int(data["bound"]),
    )
