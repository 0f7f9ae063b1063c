"""Compiled: walks from mappings that are known to the best one at a single point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner, outer
from dse.mapping.best.count_kernel import place
from dse.mapping.best.records import QUICK, THOROUGH
from dse.mapping.best.search.growth_kernel import fill, repaired, start
from dse.mapping.best.search.move_kernel import changed, copy, keep, number_of_moves
from dse.mapping.best.search.walk_kernel import elsewhere, improve

#: A start whose value is so many times that of the best start is not walked, and one whose walk by single growths ends at so many
#: times the best one is not walked further.
WORTH, NEAR = 1.5, 1.1
#: What is this much worse than the best after a kick is left.
CLOSE = 1.3
#: Moves of a kick: the fewest, and how many numbers of them are taken in turn. A search ends once kicks in a row came back to where
#: they started from so many times.
FEWEST, TURNS = 3, 6
RETURNS = 10
#: Optima that are remembered.
MOST_SEEN = 256


@inner
def seen(known: npt.NDArray[np.float64], n: int, value: float) -> bool:
    """Whether a value is among the first n."""
    for i in range(n):  # noqa: SIM110 (a generator is not compiled)
        if same(known[i], value):
            return True
    return False


@inner
def same(value: float, other: float) -> bool:
    """Whether two values are of one mapping, or of mappings of equal worth."""
    return bool(abs(value - other) <= 1e-9 * other)


@outer
def walk_from(
    cases: npt.NDArray[np.void], point: Record, floor: npt.NDArray[np.float64], ranked: npt.NDArray[np.int64],
    starts: npt.NDArray[np.void], known_starts: int, orders: npt.NDArray[np.int64], helds: npt.NDArray[np.int64], kicks: int,
    spare: npt.NDArray[np.void], work: Record,
) -> float:  # fmt: skip
    """Walk the starts to local optima under every unrolling, and leave the best of them by kicks; the value reached, with its
    state in the first of ``starts``; infinite if none of them can be made to fit. Ends where nothing can be better.

    Parameters
    ----------
    floor, ranked
        (cases,) a value that no mapping with an unrolling undercuts, and unrollings by ascending floor.
    starts, known_starts
        States, of which so many are mappings to start from; the others are filled with the best of those that tiles grow to from
        the smallest in each order under the unrolling with the lowest floor.
    orders, helds
        (orders, slots) orders of slots, and which are held.
    kicks
        Kicks without a gain after which the search ends.
    spare
        Scratch states: two, and one for each start that is not known.
    """
    work.hasty = 1
    n = cases[0].slots
    low = floor[ranked[0]] * (1.0 + 1e-9)
    values = np.empty(len(starts))
    known = np.empty(MOST_SEEN)
    for i in range(known_starts):
        values[i] = repaired(cases[starts[i].case], point, starts[i], work)
    fresh = len(starts) - known_starts
    if fresh > 0:
        values[known_starts:] = np.inf
        for o in range(len(orders)):
            spare[0].case = ranked[0]
            v = start(cases[ranked[0]], point, orders[o], helds[o], spare[0], work)
            keep(n, v, spare[0], values[known_starts:], fresh, spare)
        for i in range(fresh):
            if values[known_starts + i] < np.inf:
                copy(n, spare[2 + i], starts[known_starts + i])
    worth = values.min() * WORTH
    for i in range(len(starts)):
        if values[i] < np.inf and values[i] <= worth:
            values[i] = improve(cases[starts[i].case], point, starts[i], values[i], spare[1], work, QUICK)
        else:
            values[i] = np.inf
    best = np.inf
    chosen = 0
    number = 0
    near = values.min() * NEAR
    for _ in range(len(starts)):
        i = int(values.argmin())
        v = values[i]
        values[i] = np.inf
        if not v <= near or v == np.inf or best <= low:
            break
        if seen(known, number, v):
            continue
        known[number] = v
        v = improve(cases[starts[i].case], point, starts[i], v, spare[1], work, THOROUGH)
        known[number + 1] = v
        number += 2
        if v < best * (1.0 - 1e-9):
            best = v
            chosen = i
    if best == np.inf:
        return best
    if chosen > 0:
        copy(n, starts[chosen], starts[0])
    best = elsewhere(cases, point, floor, ranked, starts[0], best, spare, work)
    before = best
    best = _kicked(cases[starts[0].case], point, starts[0], best, low, kicks, known, number, spare, work)
    if best < before and best > low:
        best = elsewhere(cases, point, floor, ranked, starts[0], best, spare, work)
    return best


@inner
def _kicked(
    case: Record, point: Record, state: Record, best: float, low: float, kicks: int, known: npt.NDArray[np.float64], number: int,
    spare: npt.NDArray[np.void], work: Record,
) -> float:  # fmt: skip
    """Leave a local optimum by kicks that only what is close is walked from, and no optimum a second time; the value reached.

    The search ends early once many kicks came back to where they started from. Random numbers as in
    :func:`dse.mapping.best.search.walk_kernel.kicked`.
    """
    total = number_of_moves(case.slots)
    trial = spare[0]
    drawn = 1
    since = 0
    returns = 0
    while since < kicks and returns < RETURNS and best > low and number < MOST_SEEN - 1:
        copy(case.slots, state, trial)
        for _ in range(FEWEST + since % TURNS):
            place(case, point, trial, work)
            for _ in range(50):
                drawn = drawn * 48271 % 2147483647
                if changed(case, trial, work, drawn % total):
                    break
        since += 1
        v = repaired(case, point, trial, work)
        if v == np.inf:
            continue
        v = fill(case, point, trial, v, work, False)
        if v < best * CLOSE:
            v = improve(case, point, trial, v, spare[1], work, QUICK)
        if not same(v, best) and v < best * CLOSE and not seen(known, number, v):
            known[number] = v
            v = improve(case, point, trial, v, spare[1], work, THOROUGH)
            known[number + 1] = v
            number += 2
        if same(v, best):
            returns += 1
        elif v < best:
            best = v
            copy(case.slots, trial, state)
            since = 0
            returns = 0
    return best
