"""The best mapping at one point, searched from the best rows of a table.

A table (:mod:`dse.mapping.best.tables.table`) holds what is best at the points that it was searched at; in between, its best
row may be some per cent from the best mapping. Here the search goes on from its best rows at the point itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.mapping.best.records import STATE, WORK
from dse.mapping.best.search.refine_kernel import walk_from
from dse.mapping.best.search.search import floors
from dse.mapping.best.space import Options, cases_of
from dse.mapping.best.tables.table import Table, best_rows, explicit
from dse.mapping.best.unrolling import Unrolling, unrollings
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import ArrayShape, Nest

#: Best rows of the table that are walked from, and kicks without a gain after which a search ends: measured by
#: ``benchmarks/searched_mappings.py``.
STARTS = 4
KICKS = 40


class _Space(NamedTuple):
    """What a search knows of a nest on an array whatever the point."""

    unrolls: tuple[Unrolling, ...]
    cases: npt.NDArray[np.void]


@lru_cache(maxsize=1024)
def _space(nest: Nest, array: ArrayShape, options: Options) -> _Space:
    unrolls = unrollings(nest, array, options.unroll)
    return _Space(unrolls, cases_of(nest, array, unrolls, options))


def refined(table: Table, point: npt.NDArray[np.void], options: Options, kicks: int = KICKS) -> Mapping | None:
    """The best mapping that a search from a table's best rows finds at a point; None if it is none better than those.

    Parameters
    ----------
    point
        One record of :data:`dse.mapping.best.records.POINT`, as an array.
    """
    unrolls, cases = _space(table.nest, table.array, options)
    rows, left, values = best_rows(table, point, STARTS)
    known = rows[0] >= 0
    if not known.any():
        return None
    place = {unrolling.factors: i for i, unrolling in enumerate(unrolls)}
    starts = table.settled(rows[0][known], left[0][known])
    starts["case"] = [place[table.unrolls[int(case)].factors] for case in starts["case"]]
    floor = floors(cases, point)[:, 0]
    ranked = np.argsort(floor, kind="stable").astype(np.int64)
    spare, work = np.zeros(2, STATE), np.zeros(1, WORK)[0]
    value = walk_from(cases, point[0], floor, ranked, starts, kicks, spare, work)
    if not value < float(values[0, 0]) * (1.0 - 1e-9):
        return None
    return explicit(table.nest, table.array, table.slots, unrolls[int(starts[0]["case"])], starts[0])
