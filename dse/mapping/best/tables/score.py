"""Look the best mapping up: every job (a nest with its formats) on every design, in one compiled call."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dse.mapping.best.tables.score_kernel import Best, Designs, Formats, Rows, best_of
from dse.mapping.best.tables.table import Table
from dse.names import MAPPING_OBJECTIVES
from dse.types import Bools, Ints

#: Pairs of a job and a design that are worth a thread of their own.
PAIRS_PER_THREAD = 2000
#: Sets of tables kept as the kernel reads them.
MOST_PACKED = 16

_PACKED: OrderedDict[tuple[int, ...], tuple[tuple[Table, ...], Rows]] = OrderedDict()


def look_up(
    tables: Sequence[Table],
    formats: Formats,
    designs: Designs,
    objective: str = "edp",
    overlap: bool = True,
    asked: Bools | None = None,
) -> Best:
    """Best mapping of every job on every design.

    Parameters
    ----------
    tables
        Tables of one array; ``formats.table`` says which one each job is looked up in.
    objective
        ``energy``, ``latency`` or ``edp``; of equal latency the mapping of lower energy is taken.
    overlap
        Time is the slowest of compute and every memory; if false, their sum.
    asked
        (designs, jobs) pairs that are looked up, others being left as where nothing fits; None: all.

    Raises
    ------
    ValueError
        A coefficient is negative or NaN.
    """
    for name, values in (*formats._asdict().items(), *designs._asdict().items()):
        if not (np.asarray(values) >= 0).all():
            raise ValueError(f"{name} has a negative or NaN entry")
    count, jobs, memories = len(designs.leak), len(formats.table), designs.read.shape[1]
    shape = (count, jobs)
    out = Best(
        row=np.full(shape, -1, np.int64), left=np.ones(shape, np.int64), energy=np.full(shape, np.inf),
        cycles=np.full(shape, np.inf), bound=np.full(shape, -1, np.int64), parts=np.zeros((*shape, memories)),
        traffic=np.zeros((*shape, memories)), short=np.full(shape, -1, np.int64), missing=np.zeros(shape),
    )  # fmt: skip
    rows = _rows(tuple(tables))
    pairs = np.arange(count * jobs) if asked is None else np.flatnonzero(asked.T)
    threads = min(os.cpu_count() or 1, max(1, len(pairs) // PAIRS_PER_THREAD))
    spans = np.array_split(pairs, threads)

    def walk(span: Ints) -> None:
        best_of(rows, formats, designs, MAPPING_OBJECTIVES.index(objective), overlap, span, out)

    if threads == 1:
        walk(spans[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(walk, spans))
    return out


def _rows(tables: tuple[Table, ...]) -> Rows:
    """Tables as the kernel reads them; the last few sets are kept."""
    key = tuple(id(table) for table in tables)
    known = _PACKED.get(key)
    if known is not None:
        _PACKED.move_to_end(key)
        return known[1]
    each = [table.rows for table in tables]
    sizes = np.array([len(table) for table in tables], np.int64)
    columns = np.array([len(table.columns) for table in tables], np.int64)
    places = {"first": _starts(sizes), "start": _starts(sizes * columns), "column": _starts(columns)}
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(x, name) for x in each])
        for name in Rows._fields
        if name not in (*places, "slot_memory")
    }
    rows = Rows(**(joined | places), slot_memory=each[0].slot_memory)
    _PACKED[key] = (tables, rows)
    while len(_PACKED) > MOST_PACKED:
        _PACKED.popitem(last=False)
    return rows


def _starts(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
