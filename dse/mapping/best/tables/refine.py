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
from dse.mapping.best.space import Options, cases_of, slots_of, starts_of
from dse.mapping.best.tables.table import Table, best_rows, explicit
from dse.mapping.best.unrolling import Unrolling, unrollings
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import ArrayShape, Nest
from dse.types import Ints

#: Best rows of the table that are walked from, starts beside them that know nothing of it, and kicks without a gain after which a
#: search ends: measured by ``benchmarks/searched_mappings.py``.
STARTS = 6
FRESH = 3
KICKS = 60


class _Space(NamedTuple):
    """What a search knows of a nest on an array whatever the point."""

    unrolls: tuple[Unrolling, ...]
    cases: npt.NDArray[np.void]
    orders: Ints
    helds: Ints


class Refined(NamedTuple):
    """What a search from a table found.

    Attributes
    ----------
    mapping
        The best mapping; None if none is better than those of the table.
    value
        What is minimized, of the best mapping or of the table's; infinite where nothing fits.
    """

    mapping: Mapping | None
    value: float


@lru_cache(maxsize=1024)
def _space(nest: Nest, array: ArrayShape, options: Options) -> _Space:
    unrolls = unrollings(nest, array, options.unroll)
    cases = cases_of(nest, array, unrolls, options)
    return _Space(unrolls, cases, *starts_of(slots_of(array), cases["must"][0], int(cases["first"][0])))


def refined(table: Table, point: npt.NDArray[np.void], options: Options, kicks: int = KICKS) -> Refined:
    """The best mapping that a search from a table's best rows finds at a point.

    Parameters
    ----------
    point
        One record of :data:`dse.mapping.best.records.POINT`, as an array.
    """
    space = _space(table.nest, table.array, options)
    unrolls, cases = space.unrolls, space.cases
    rows, left, values = best_rows(table, point, STARTS)
    known = rows[0] >= 0
    if not known.any():
        return Refined(None, np.inf)
    place = {unrolling.factors: i for i, unrolling in enumerate(unrolls)}
    starts = table.settled(rows[0][known], left[0][known])
    starts["case"] = [place[table.unrolls[int(case)].factors] for case in starts["case"]]
    floor = floors(cases, point)[:, 0]
    ranked = np.argsort(floor, kind="stable").astype(np.int64)
    number, starts = len(starts), np.concatenate([starts, np.zeros(FRESH, STATE)])
    spare, work = np.zeros(2 + FRESH, STATE), np.zeros(1, WORK)[0]
    value = walk_from(cases, point[0], floor, ranked, starts, number, space.orders, space.helds, kicks, spare, work)
    if not value < float(values[0, 0]) * (1.0 - 1e-9):
        return Refined(None, float(values[0, 0]))
    mapping = explicit(table.nest, table.array, table.slots, unrolls[int(starts[0]["case"])], starts[0])
    return Refined(mapping, value)
