"""Tables on disk, so that a second run starts warm.

One ``.npz`` per table in ``DSE_CACHE_DIR`` (default: ``dse`` in the user's cache directory), named by a digest of
everything that determines it: nest, pass, array, options and the version of the enumerator. Files are written beside their
final name and moved there in one step, so readers never see half a file and processes may share a directory. A file that
cannot be read is rebuilt; a directory that cannot be written costs only the time to enumerate again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.mapping.best.candidates import ENUMERATOR_VERSION, Options, Slot, Unrolling
from dse.mapping.nest import ArrayShape, Nest

if TYPE_CHECKING:
    from dse.mapping.best.engine import Table

_MEMORY: dict[str, Table] = {}


def cache_dir() -> Path:
    """Directory of stored tables: ``DSE_CACHE_DIR``, or ``dse/mapping`` under ``XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("DSE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dse" / "mapping"


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
        table = _read(path, nest, array)
        if table is None:
            table = build(nest, array, options)
            _write(path, table)
        _MEMORY[key] = table
    return table


def forget() -> None:
    """Drop the tables held in memory (the files stay)."""
    _MEMORY.clear()


def _write(path: Path, table: Table) -> None:
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
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
        os.replace(name, path)
    except OSError:
        if name:
            Path(name).unlink(missing_ok=True)


def _read(path: Path, nest: Nest, array: ArrayShape) -> Table | None:
    from dse.mapping.best.engine import Table

    try:
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(data["meta"].tobytes())
            steps = data["steps"]
            table = Table(
                nest, array, tuple((str(a), str(b), str(c)) for a, b, c in meta["columns"]), data["counts"],
                tuple(Slot(**s) for s in meta["slots"]), data["footprint"], steps[0].copy(), steps[1].copy(),
                int(meta["macs"]), (meta["distinct"][0], meta["distinct"][1], meta["distinct"][2]), bool(meta["exhaustive"]),
                tuple(_unrolling(u) for u in meta["unrolls"]), data["unrolling"], data["extents"],
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile):
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
