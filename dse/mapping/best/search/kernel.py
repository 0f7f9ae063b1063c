"""The compiled search for the best mapping at a number of points: starts, walks to local optima, and a pool of what was found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, outer
from dse.mapping.best.count_kernel import value
from dse.mapping.best.records import QUICK, THOROUGH
from dse.mapping.best.search.growth_kernel import repaired, start
from dse.mapping.best.search.move_kernel import copy, keep
from dse.mapping.best.search.walk_kernel import elsewhere, improve, kicked

#: Unrollings that are searched from all starts, those with the lowest floor; the others are tried with the best cuts found.
MOST_STARTED = 6


@outer
def solve(
    cases: npt.NDArray[np.void], points: npt.NDArray[np.void], effort: npt.NDArray[np.int64], floor: npt.NDArray[np.float64],
    ranked: npt.NDArray[np.int64], orders: npt.NDArray[np.int64], helds: npt.NDArray[np.int64], pool: npt.NDArray[np.void],
    best: npt.NDArray[np.float64], chosen: npt.NDArray[np.int64], spare: npt.NDArray[np.void], kicks: int, work: Record,
) -> int:  # fmt: skip
    """Best mapping of one nest at every point; how many states of ``pool`` are used.

    Parameters
    ----------
    effort
        By point: 2 searches from all starts, 1 from the best known states, 0 changes only growth of the best known state.
    floor, ranked
        (cases, points) a value that no mapping with an unrolling undercuts; (points, cases) unrollings by ascending floor.
    orders, helds
        (starts, slots) orders of slots to start from, and which slots are held.
    pool, best, chosen
        States found; by point the best value and the place of its state.
    spare
        Scratch states: 0 and 1 for one walk, the rest for the best starts.
    kicks
        Kicks without a gain after which a point with effort 2 is left.
    """
    used = 0
    n = cases[0].slots
    most = len(spare) - 2
    values = np.empty(most)
    for round_ in range(2):
        for a in range(len(points)):
            point = points[a]
            for i in range(most):
                values[i] = np.inf
            width = most if effort[a] == 2 else (2 if effort[a] == 1 else 1)
            for k in range(used):
                c = pool[k].case
                if floor[c, a] < values[width - 1]:
                    copy(n, pool[k], spare[0])
                    v = repaired(cases[c], point, spare[0], work)
                    keep(n, v, spare[0], values, width, spare)
            if round_ == 1 and not values[0] < best[a] * (1.0 - 1e-7):
                continue
            known = values[0]
            if effort[a] == 2 and round_ == 0:
                for i in range(min(len(cases), MOST_STARTED)):
                    c = ranked[a, i]
                    if floor[c, a] >= values[0]:
                        break
                    for o in range(len(orders)):
                        v = start(cases[c], point, orders[o], helds[o], spare[0], work)
                        spare[0].case = c
                        keep(n, v, spare[0], values, width, spare)
            thorough = effort[a] > 0
            top = np.inf
            where = -1
            for i in range(width):
                if values[i] == np.inf:
                    break
                copy(n, spare[2 + i], spare[0])
                c = spare[0].case
                v = improve(cases[c], point, spare[0], values[i], spare[1], work, QUICK)
                values[i] = v
                copy(n, spare[0], spare[2 + i])
            lowest = np.inf
            for i in range(most):
                lowest = min(lowest, values[i])
            for i in range(width):
                if values[i] == np.inf or (thorough and values[i] > 2.0 * lowest):
                    continue
                copy(n, spare[2 + i], spare[0])
                c = spare[0].case
                v = improve(cases[c], point, spare[0], values[i], spare[1], work, THOROUGH) if thorough else values[i]
                if v < top:
                    top = v
                    where = i
                    copy(n, spare[0], spare[2 + i])
            if where < 0:
                continue
            if thorough:
                top = elsewhere(cases, point, floor[:, a], ranked[a], spare[2 + where], top, spare, work)
            if effort[a] == 2 and round_ == 0 and kicks > 0:
                c = spare[2 + where].case
                v = kicked(cases[c], point, spare[2 + where], top, kicks, spare[0], spare[1], work)
                if v < top * (1.0 - 1e-9):
                    top = elsewhere(cases, point, floor[:, a], ranked[a], spare[2 + where], v, spare, work)
            if top < known * (1.0 - 1e-7) and used < len(pool):
                copy(n, spare[2 + where], pool[used])
                used += 1
            if effort[a] == 2 and round_ == 0:
                for i in range(width):
                    if values[i] < np.inf and i != where and used < len(pool):
                        copy(n, spare[2 + i], pool[used])
                        used += 1
            best[a] = min(best[a], top)
    for a in range(len(points)):
        for k in range(used):
            c = pool[k].case
            if floor[c, a] <= best[a]:
                v = value(cases[c], points[a], pool[k], work)
                if v < best[a] or (v == best[a] and chosen[a] < 0):
                    best[a] = v
                    chosen[a] = k
    return used
