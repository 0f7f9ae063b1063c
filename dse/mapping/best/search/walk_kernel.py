"""Compiled: walks to local optima of all moves, and out of them.

Each move is repaired until it fits (the growth that costs least is taken back) and filled again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner
from dse.mapping.best.count_kernel import place, price
from dse.mapping.best.records import FIRST, SLOTS, THOROUGH
from dse.mapping.best.search.growth_kernel import fill, left_of_growths, promise, repaired
from dse.mapping.best.search.move_kernel import changed, copy, differs, number_of_moves, single_growths


@inner
def improve(
    case: Record, point: Record, state: Record, best: float, trial: Record, work: Record, thorough: bool
) -> float:
    """Walk to a local optimum: of all moves, or of single growths only; the value reached."""
    n = case.slots
    ways = single_growths(n)
    total = number_of_moves(n) if thorough else ways
    move = FIRST
    since = 0
    known = False
    promised = False
    while since < total:
        if move < ways and not known:
            place(case, point, state, work)
            left_of_growths(case, state, work)
            known = True
            if work.hasty == 1 and not promised:
                promise(case, point, state, best, work)
                promised = True
        if differs(case, state, work, move, trial):
            missing = place(case, point, trial, work)
            v = price(case, point, trial, work)
            if missing > 0.0 and (v < best or move >= ways):
                # what does not gain even where it fits is not worth a repair
                v = repaired(case, point, trial, work)
                known = False
            elif missing > 0.0:
                v = np.inf
            if v < best * (3.0 if move >= ways else 1.1):
                v = fill(case, point, trial, v, work, work.hasty == 1 and move < ways)
                known = False
            if v < best * (1.0 - 1e-9):
                best = v
                copy(n, trial, state)
                since = -1
                known = False
                promised = False
        move = (move + 1) % total
        since += 1
    return best


@inner
def kicked(
    case: Record, point: Record, state: Record, best: float, kicks: int, trial: Record, spare: Record, work: Record
) -> float:
    """Leave a local optimum: some moves at random, then a walk; the value reached after so many without a gain in a row.

    Iterated local search (Lourenco, Martin, Stuetzle, 2003). The numbers are those of a generator that starts from the same place
    for every search (Park and Miller, 1988), so that equal questions have equal answers.
    """
    n = case.slots
    total = number_of_moves(n)
    number = 1
    since = 0
    while since < kicks:
        copy(n, state, trial)
        for _ in range(2 + since % 4):
            place(case, point, trial, work)
            for _ in range(50):
                number = number * 48271 % 2147483647
                if changed(case, trial, work, number % total):
                    break
        v = repaired(case, point, trial, work)
        since += 1
        if v == np.inf:
            continue
        v = fill(case, point, trial, v, work, False)
        if v < best * 2.0:
            v = improve(case, point, trial, v, spare, work, THOROUGH)
        if v < best * (1.0 - 1e-9):
            best = v
            copy(n, trial, state)
            since = 0
    return best


@inner
def elsewhere(
    cases: npt.NDArray[np.void], point: Record, floor: npt.NDArray[np.float64], ranked: npt.NDArray[np.int64], state: Record,
    best: float, spare: npt.NDArray[np.void], work: Record,
) -> float:  # fmt: skip
    """The same cuts under every other unrolling that may be better; the value reached, and the state changed to it."""
    home = state.case
    n = cases[0].slots
    copy(n, state, spare[0])
    for i in range(len(ranked)):
        c = ranked[i]
        if floor[c] >= best:
            break
        if c == home:
            continue
        copy(n, spare[0], spare[1])
        spare[1].case = c
        for s in range(SLOTS + 1):
            for d in range(7):
                if cases[c].free[s, d] == 0:
                    spare[1].left[s, d] = 0.0
        v = repaired(cases[c], point, spare[1], work)
        if v < best * 1.3:
            v = fill(cases[c], point, spare[1], v, work, False)
        if v < best * (1.0 - 1e-9):
            copy(n, spare[1], state)
            v = improve(cases[c], point, state, v, spare[1], work, THOROUGH)
            best = v
            copy(n, state, spare[0])
    return best
