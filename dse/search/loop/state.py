"""The state of a search on disk: what a killed run goes on from, and what is checked before it does.

Two files, each written whole or not at all: the designs found (``found-N.npz``) and then ``state.json``, which names them, with a
checksum of both. A state that is damaged, of another version or of other inputs ends with one sentence; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from dse.array_files import arrays_in
from dse.cost.model import MODEL_VERSION
from dse.errors import InputError
from dse.files import read_bytes, read_json, reason, write_bytes, write_text
from dse.goals import OBJECTIVES
from dse.search.archive import Found, bytes_of
from dse.search.bits.problem import SearchProblem
from dse.search.bits.solve import Failed
from dse.search.loop.optuna_study import Dimension, record, replay
from dse.version import VERSION

#: Largest state that is read, bytes: a hundred thousand trials.
MAX_STATE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class State:
    """What a search has found so far.

    Attributes
    ----------
    done
        Trials: points that none had before.
    elapsed_s
        Time that they took.
    failed
        Infeasible trials.
    trace
        Hypervolume after every batch, in units of the problem's reference.
    """

    done: int
    elapsed_s: float
    found: Found
    failed: list[Failed] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder alone: two processes that go on with one run would each undo the other's work.

    The lock ends with the process that holds it, however that ends.

    Raises
    ------
    InputError
        Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no such lock.
        yield
        return
    path = folder / "state" / "lock"
    try:
        stream = open(path, "a", encoding="ascii")  # noqa: SIM115
    except OSError as error:
        raise InputError(str(folder), [f"cannot be written: {reason(error)}"]) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "another process is at work on this run; wait for it or stop it, or choose another --out"
            raise InputError(str(folder), [message]) from None
        except OSError:  # A file system without locks.
            pass
        yield


def store(folder: Path, state: State, study: optuna.Study, inputs: Mapping[str, Any]) -> None:
    """Write the state; what was there before is whole until the new one is.

    Raises
    ------
    InputError
        It cannot be written.
    """
    path = folder / "state" / f"found-{state.done}.npz"
    content = bytes_of(state.found)
    write_bytes(path, content)
    plain: dict[str, Any] = {
        "versions": _versions(),
        "done": state.done,
        "elapsed_s": state.elapsed_s,
        "inputs": dict(inputs),
        "failed": state.failed,
        "trials": record(study, 0),
        "trace": state.trace,
        "found_sha256": hashlib.sha256(content).hexdigest(),
    }
    write_text(folder / "state" / "state.json", json.dumps({**plain, "sha256": _checksum(plain)}, allow_nan=False))
    for old in (folder / "state").glob("found-*.npz"):
        if old != path:
            with suppress(OSError):
                old.unlink()


def restored(
    folder: Path,
    inputs: Mapping[str, Any],
    problem: SearchProblem,
    study: optuna.Study,
    dimensions: list[Dimension],
    nothing: State,
) -> State:
    """The state in a folder, and its trials put into the study; ``nothing`` where there is no state yet.

    Raises
    ------
    InputError
        The state is damaged, or of another version or other inputs.
    """
    path = folder / "state" / "state.json"
    if not path.exists():
        return nothing
    try:
        state = read_json(path, MAX_STATE_BYTES)
    except InputError as error:
        raise _damaged(path, error.problems[0].message) from None
    if not isinstance(state, dict) or not isinstance(state.get("inputs"), dict):
        raise _damaged(path, "it is no state of a run")
    if state.get("versions") != _versions():
        given = state.get("versions") or "an older version"
        message = f"the run to resume was computed by {given}, this is {_versions()}: figures would mix; start it anew"
        raise InputError(str(folder), [message])
    if state.pop("sha256", None) != _checksum(state):
        raise _damaged(path, "its content does not fit its checksum")
    before, now = state["inputs"], json.loads(json.dumps(dict(inputs)))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        what = ", ".join(f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in changed)
        raise InputError(str(folder), [f"the run to resume had other inputs: {what}"])
    try:
        done, elapsed_s, trace = int(state["done"]), float(state["elapsed_s"]), [float(x) for x in state["trace"]]
        failed = [Failed(str(limit), [float(x) for x in row], float(by)) for limit, row, by in state["failed"]]
        if done < 0 or any(len(item.values) != len(problem.parameters) for item in failed):
            raise ValueError("numbers that no run has")
        replay(study, dimensions, state["trials"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, str(error)) from None
    found = _found(
        folder / "state" / f"found-{done}.npz", str(state.get("found_sha256")), nothing.found, problem.predicts
    )
    return State(done, elapsed_s, found, failed, trace)


def _versions() -> dict[str, str]:
    return {"dse": VERSION, "model": str(MODEL_VERSION)}


def _checksum(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, why: str) -> InputError:
    return InputError(str(path), [f"the state of the run cannot be read: {why}; without it, start the run anew"])


def _found(path: Path, checksum: str, like: Found, predicts: bool) -> Found:
    """Designs of a file, of the kinds and shapes of ``like``; without a prediction they have no accuracy."""
    content = read_bytes(path, MAX_STATE_BYTES, "designs that were found")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise _damaged(path, "its content does not fit its checksum")
    try:
        arrays = arrays_in(content, MAX_STATE_BYTES)
        found = Found(*(arrays[each.name] for each in fields(Found)))  # type: ignore[arg-type]
    except Exception as error:  # Whatever numpy and zipfile raise on bytes that somebody made to fit the checksum.
        raise _damaged(path, str(error)) from None
    for each in fields(Found):
        value, kind = getattr(found, each.name), getattr(like, each.name)
        if value.dtype != kind.dtype or value.shape != (len(found), *kind.shape[1:]):
            raise _damaged(path, f"{each.name} has another shape than the designs of this run")
    known = [k for k, item in enumerate(OBJECTIVES.values()) if predicts or not item.needs_profile]
    if not np.isfinite(found.objectives[:, known]).all() or not np.isfinite(found.parameters).all():
        raise _damaged(path, "it has figures that are not finite")
    return found
