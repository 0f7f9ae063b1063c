"""Tables on disk, so that a second run starts warm.

One ``.npz`` per table in ``DSE_CACHE_DIR`` (default: ``dse`` in the user's cache directory), named by a digest of
everything that determines it: nest, pass, array, options and the version of the enumerator. Files are written beside their
final name and moved there in one step, so readers never see half a file and processes may share a directory. A file ends with a
checksum of its name and content; one that cannot be read or does not fit its checksum is rebuilt. A directory that cannot be
written costs only the time to enumerate again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.array_files import arrays_in
from dse.errors import InputError
from dse.files import make_folder, read_bytes, write_bytes
from dse.mapping.best.candidates import ENUMERATOR_VERSION, Options, Slot, Unrolling
from dse.mapping.nest import ArrayShape, Nest

if TYPE_CHECKING:
    from dse.mapping.best.engine import Table

#: Largest table that is read, bytes.
MAX_TABLE_BYTES = 4_000_000_000
#: Bytes of the checksum at the end of a file.
_CHECKSUM = hashlib.sha256().digest_size

_MEMORY: dict[str, Table] = {}


def cache_dir() -> Path:
    """Directory of stored tables: ``DSE_CACHE_DIR``, or ``dse/mapping`` under ``XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("DSE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dse" / "mapping"
    except RuntimeError:  # A user without a home: nothing is kept.
        return Path(os.devnull) / "dse"


def table_key(nest: Nest, array: ArrayShape, options: Options) -> str:
    """Digest of everything that determines a table."""
    parts = {"version": ENUMERATOR_VERSION, "nest": asdict(nest), "array": asdict(array), "options": asdict(options)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def cached_table(
    nest: Nest, array: ArrayShape, options: Options, build: Callable[[Nest, ArrayShape, Options], Table]
) -> Table:
    """The table from memory, from disk, or from ``build``."""
    key = table_key(nest, array, options)
    table = _MEMORY.get(key)
    if table is None:
        path = cache_dir() / f"{key}.npz"
        table = _read(path, key, nest, array)
        if table is None:
            table = build(nest, array, options)
            _write(path, key, table)
        _MEMORY[key] = table
    return table


def forget() -> None:
    """Drop the tables held in memory (the files stay)."""
    _MEMORY.clear()


def _write(path: Path, key: str, table: Table) -> None:
    meta = {
        "columns": table.columns,
        "slots": [asdict(s) for s in table.slots],
        "unrolls": [asdict(u) for u in table.unrolls],
        "macs": table.macs,
        "distinct": table.distinct,
        "exhaustive": table.exhaustive,
    }
    buffer = io.BytesIO()
    np.savez(
        buffer, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), counts=table.counts, footprint=table.footprint,
        steps=np.array([table.steps_other, table.steps_reduction]), unrolling=table.unrolling, extents=table.extents,
    )  # fmt: skip
    content = buffer.getvalue()
    with suppress(InputError):
        make_folder(path.parent)
        write_bytes(path, content + _checksum(key, content))


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _read(path: Path, key: str, nest: Nest, array: ArrayShape) -> Table | None:
    from dse.mapping.best.engine import Table

    try:
        content = read_bytes(path, MAX_TABLE_BYTES)
        content, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
        if checksum != _checksum(key, content):
            return None
        data: dict[str, Any] = dict(arrays_in(content, MAX_TABLE_BYTES))
        meta = json.loads(data["meta"].tobytes())
        steps = data["steps"]
        table = Table(
            nest, array, tuple((str(a), str(b), str(c)) for a, b, c in meta["columns"]), data["counts"],
            tuple(Slot(**s) for s in meta["slots"]), data["footprint"], steps[0].copy(), steps[1].copy(),
            int(meta["macs"]), (meta["distinct"][0], meta["distinct"][1], meta["distinct"][2]), bool(meta["exhaustive"]),
            tuple(_unrolling(u) for u in meta["unrolls"]), data["unrolling"], data["extents"],
        )  # fmt: skip
    except Exception:  # Of another program, or made to fit the checksum: whatever is wrong with it, it is made anew.
        return None
    n = table.steps_other.shape[0]
    if table.counts.shape != (len(table.columns), n) or table.footprint.shape != (len(table.slots), n):
        return None
    return table


def _unrolling(data: dict[str, Any]) -> Unrolling:
    factors = tuple(tuple((str(d), int(n)) for d, n in axis) for axis in data["factors"])
    spatial = tuple(int(n) for n in data["spatial"])
    steps_other, steps_reduction = int(data["steps_other"]), int(data["steps_reduction"])
    return Unrolling(factors, spatial, steps_other, steps_reduction, float(data["packed"]))
