"""Tables on disk, so that a second run starts warm.

One ``.npz`` per table in ``DSE_CACHE_DIR`` (default: ``dse`` in the user's cache directory), named by a digest of
everything that determines it: nest, pass, array, options, the points it is searched at and the version of the search. Files are
written beside their final name and moved there in one step, so readers never see half a file and processes may share a
directory. A file ends with a checksum of its name and content; one that cannot be read or does not fit its checksum is rebuilt.
A directory that cannot be written costs only the time to search again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dse.array_files import arrays_in
from dse.errors import InputError
from dse.files import make_folder, read_bytes, write_bytes
from dse.mapping.best.records import CLASSES, MAC, SLOTS, STATE
from dse.mapping.best.space import Options, Slot
from dse.mapping.best.tables.table import BY_ROW, Column, Table, build
from dse.mapping.best.unrolling import Unrolling
from dse.mapping.nest import ArrayShape, Nest
from dse.types import Ints

#: Part of every table's name: change it whenever a table of the same question would differ.
SEARCH_VERSION = 9

#: Classes of elements by the name that files have for them.
ELEMENTS = {elements.name: elements for elements in CLASSES}
#: Largest table that is read, bytes.
MAX_TABLE_BYTES = 4_000_000_000
#: Bytes of the checksum at the end of a file.
_CHECKSUM = hashlib.sha256().digest_size

_MEMORY: dict[str, Table] = {}
_ANSWERED: dict[Hashable, Table] = {}


def cache_dir() -> Path:
    """Directory of stored tables: ``DSE_CACHE_DIR``, or ``dse/mapping`` under ``XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("DSE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dse" / "mapping"
    except RuntimeError:  # A user without a home: nothing is kept.
        return Path(os.devnull) / "dse"


def table_key(nest: Nest, array: ArrayShape, points: npt.NDArray[np.void], effort: Ints, options: Options) -> str:
    """Digest of everything that determines a table."""
    shape = asdict(array)
    if not array.lanes_on_axes:  # tables of other arrays are those that were made before there was such a rule
        del shape["lanes_on_axes"]
    parts = {"version": SEARCH_VERSION, "nest": asdict(nest), "array": shape, "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(points).tobytes() + np.ascontiguousarray(effort).tobytes())
    return digest.hexdigest()[:32]


def build_table(
    nest: Nest, array: ArrayShape, points: npt.NDArray[np.void], effort: Ints, options: Options | None = None
) -> Table:
    """A table from memory, from disk, or searched and stored; arguments as of :func:`dse.mapping.best.search.search.search`."""
    options = options or Options()
    key = table_key(nest, array, points, effort, options)
    table = _MEMORY.get(key)
    if table is None:
        path = cache_dir() / f"{key}.npz"
        table = _read(path, key, nest, array)
        if table is None:
            table = build(nest, array, points, effort, options)
            _write(path, key, table)
        _MEMORY[key] = table
    return table


def build_tables(asked: Sequence[tuple[Nest, ArrayShape, npt.NDArray[np.void], Ints, Options]]) -> list[Table]:
    """Tables of several nests, searched by as many threads as there are processors."""
    if len(asked) < 2:
        return [build_table(*one) for one in asked]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda one: build_table(*one), asked))


def recall(question: Hashable) -> Table | None:
    """The table that answered a question before (:func:`remember`)."""
    return _ANSWERED.get(question)


def remember(question: Hashable, table: Table) -> None:
    """Keep a table under a question that is quicker to ask than its name, which needs all its points."""
    _ANSWERED[question] = table


def forget() -> None:
    """Drop the tables held in memory (the files stay)."""
    _MEMORY.clear()
    _ANSWERED.clear()


def _write(path: Path, key: str, table: Table) -> None:
    n = len(table.slots)
    meta = {
        "columns": [
            {"memory": column.level, "kind": column.elements.name, "writes": column.writes} for column in table.columns
        ],
        "slots": [asdict(slot) for slot in table.slots],
        "unrolls": [asdict(unrolling) for unrolling in table.unrolls],
        "macs": table.macs,
        "smallest": table.smallest,
    }
    left = table.states["left"]
    buffer = io.BytesIO()
    np.savez(
        buffer, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        **{name: getattr(table, name) for name in BY_ROW}, case=table.states["case"], inner=table.states["inner"],
        order=table.states["order"][:, :n], held=table.states["held"][:, :n],
        left=np.concatenate([left[:, :n], left[:, MAC:]], axis=1),
    )  # fmt: skip
    content = buffer.getvalue()
    with suppress(InputError):
        make_folder(path.parent)
        write_bytes(path, content + _checksum(key, content))


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _read(path: Path, key: str, nest: Nest, array: ArrayShape) -> Table | None:
    try:
        content = read_bytes(path, MAX_TABLE_BYTES)
        content, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
        if checksum != _checksum(key, content):
            return None
        data: dict[str, Any] = dict(arrays_in(content, MAX_TABLE_BYTES))
        meta = json.loads(data["meta"].tobytes())
        n = len(meta["slots"])
        states = np.zeros(len(data["case"]), STATE)
        states["case"], states["inner"], states["held"][:, :n] = data["case"], data["inner"], data["held"]
        states["order"][:, :n], states["order"][:, n:] = data["order"], np.arange(n, SLOTS)
        states["left"][:, :n], states["left"][:, MAC] = data["left"][:, :n], data["left"][:, n]
        table = Table(
            nest=nest, array=array, slots=tuple(Slot(**slot) for slot in meta["slots"]), states=states,
            columns=tuple(_column(column) for column in meta["columns"]),
            smallest=int(meta["smallest"]), macs=int(meta["macs"]), unrolls=tuple(_unrolling(u) for u in meta["unrolls"]),
            **{name: data[name] for name in BY_ROW},
        )  # fmt: skip
        wide = {
            "counts": len(table.columns),
            "slopes": len(table.columns),
            "tiles": n,
            "widths": n,
            "finished": n,
            "steps": 2,
        }
        whole = all(data[name].shape == (len(states), *([wide[name]] if name in wide else [])) for name in BY_ROW)
    except Exception:  # Of another program, or made to fit the checksum: whatever is wrong with it, it is made anew.
        return None
    return table if whole else None


def _column(data: dict[str, Any]) -> Column:
    return Column(int(data["memory"]), ELEMENTS[data["kind"]], bool(data["writes"]))


def _unrolling(data: dict[str, Any]) -> Unrolling:
    factors = tuple(tuple((str(d), int(n)) for d, n in axis) for axis in data["factors"])
    spatial = tuple(int(n) for n in data["spatial"])
    steps_other, steps_reduction = int(data["steps_other"]), int(data["steps_reduction"])
    return Unrolling(factors, spatial, steps_other, steps_reduction, float(data["packed"]))
