"""Compiled: variants of the mappings that a search found, and how their counts and tiles follow one elastic growth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner, outer
from dse.mapping.best.count_kernel import KINDS, count, place
from dse.mapping.best.records import MAC
from dse.mapping.best.search.growth_kernel import remaining
from dse.mapping.best.search.move_kernel import copy
from dse.types import Floats, Ints

#: A ladder has sizes of a growth up to so many times doubled and halved.
OCTAVES = 4


@inner
def elastic(case: Record, state: Record, work: Record, s: int, d: int) -> bool:
    """Whether growth at a slot of a placed state may take any size: no later slot grows the dim further, but to all of it."""
    if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
        return False
    remaining(case, state, work, s, d)
    if work.before < 2.0:
        return False
    after = work.cuts[s, d]
    passed = False
    for i in range(case.slots + 1):
        for part in range(2):
            if part == 0:
                q = MAC if i == state.inner else -1
            else:
                q = state.order[i] if i < case.slots and state.held[state.order[i]] == 1 else -1
            if q == s:
                passed = True
            elif q >= 0 and passed and work.cuts[q, d] > after and work.cuts[q, d] < case.trips[d]:
                return False
    return True


@outer
def variants(
    cases: npt.NDArray[np.void], states: npt.NDArray[np.void], ladders: bool, point: Record, work: Record,
    scratch: npt.NDArray[np.void], out: npt.NDArray[np.void], slot: Ints, dim: Ints,
) -> int:  # fmt: skip
    """Every state with one elastic growth, as it is and, with ladders, with one other growth at each step of a ladder; how many.

    ``slot`` is -1 where nothing is elastic. Of ``out`` as many are filled as there is room for.
    """
    n = 0
    for i in range(len(states)):
        case = cases[states[i].case]
        k = case.slots
        for other in range(-1, (k + 1) * 7 if ladders else 0):
            s1 = MAC if other // 7 == k else other // 7
            d1 = other % 7
            if other >= 0 and (case.free[s1, d1] == 0 or (s1 != MAC and states[i].held[s1] == 0)):
                continue
            place(case, point, states[i], work)
            rest = 1.0
            now = 1.0
            if other >= 0:
                remaining(case, states[i], work, s1, d1)
                rest = work.before
                now = work.after
            last = -1.0
            for octave in range(-OCTAVES if other >= 0 else 0, OCTAVES + 1 if other >= 0 else 1):
                v = min(rest, max(1.0, np.ceil(now * 2.0**octave)))
                again = v == last
                if other >= 0 and (again or v == now):
                    continue
                last = v
                copy(k, states[i], scratch[0])
                if other >= 0:
                    scratch[0].left[s1, d1] = v
                place(case, point, scratch[0], work)
                for at in range(-1 if other < 0 else 0, (k + 1) * 7):
                    s = MAC if at // 7 == k else at // 7
                    d = at % 7
                    if n == len(out) or (at >= 0 and (at == other or not elastic(case, scratch[0], work, s, d))):
                        continue
                    copy(k, scratch[0], out[n])
                    slot[n] = -1 if at < 0 else s
                    dim[n] = d
                    n += 1
    return n


@outer
def follow(
    cases: npt.NDArray[np.void], states: npt.NDArray[np.void], slot: Ints, dim: Ints, checks: int, point: Record, work: Record,
    counts: Floats, slopes: Floats, tiles: Floats, widths: Floats, finished: npt.NDArray[np.bool_], trips: Floats,
    least: Floats, good: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Counts as ``counts + left * slopes`` (states, memories, classes, reads and writes), tiles as ``tiles + size * widths``.

    Measured at sizes of one and two inner tiles, and checked at so many others; ``good`` says where they follow exactly. With
    nothing left outside there is no loop, and runs may be longer: ``least`` is 1 where that makes no difference, else 2.
    """
    base = np.zeros((counts.shape[1], KINDS, 2))
    held = np.zeros(tiles.shape[1])
    for i in range(len(states)):
        case = cases[states[i].case]
        s = slot[i]
        d = dim[i]
        trips[i] = 1.0
        least[i] = 1.0
        good[i] = True
        if s >= 0:
            place(case, point, states[i], work)
            remaining(case, states[i], work, s, d)
            trips[i] = work.before
            states[i].left[s, d] = trips[i]
        place(case, point, states[i], work)
        count(case, states[i], work)
        for m in range(case.memories + 1):
            for c in range(KINDS):
                base[m, c, 0] = work.reads[m, c]
                base[m, c, 1] = work.writes[m, c]
                for w in range(2):
                    counts[i, m, c, w] = base[m, c, w]
                    slopes[i, m, c, w] = 0.0
        for q in range(case.slots):
            held[q] = work.tile[q] if states[i].held[q] == 1 else 0.0
            finished[i, q] = states[i].held[q] == 1 and work.finished[q] == 1
            tiles[i, q] = held[q]
            widths[i, q] = 0.0
        if s < 0:
            continue
        left = np.ceil(trips[i] / 2.0)
        states[i].left[s, d] = left
        place(case, point, states[i], work)
        count(case, states[i], work)
        for m in range(case.memories + 1):
            for c in range(KINDS):
                for w in range(2):
                    now = work.reads[m, c] if w == 0 else work.writes[m, c]
                    slope = (base[m, c, w] - now) / (trips[i] - left)
                    slopes[i, m, c, w] = slope
                    counts[i, m, c, w] = base[m, c, w] - slope * trips[i]
                    good[i] &= slope >= 0.0
        for q in range(case.slots):
            now = work.tile[q] if states[i].held[q] == 1 else 0.0
            size = np.ceil(trips[i] / left)
            widths[i, q] = (now - held[q]) / (size - 1.0)
            tiles[i, q] = held[q] - widths[i, q]
            good[i] &= finished[i, q] == (states[i].held[q] == 1 and work.finished[q] == 1)
        last = left
        for x in range(checks):
            # from two trips up to a third of them, evenly in their logarithms
            rest = max(trips[i] / 3.0, 2.0)
            left = np.ceil(
                trips[i] / np.ceil(trips[i] / np.ceil(2.0 * (rest / 2.0) ** (1.0 - x / max(checks - 1.0, 1.0))))
            )
            if left < 2.0 or left >= last or not good[i]:
                continue
            last = left
            states[i].left[s, d] = left
            place(case, point, states[i], work)
            good[i] = follows(
                case, states[i], work, counts[i], slopes[i], tiles[i], widths[i], finished[i], left, trips[i]
            )
        if last > 1.0 and good[i]:
            states[i].left[s, d] = 1.0
            place(case, point, states[i], work)
            whole = follows(
                case, states[i], work, counts[i], slopes[i], tiles[i], widths[i], finished[i], 1.0, trips[i]
            )
            least[i] = 1.0 if whole else 2.0


@inner
def follows(
    case: Record, state: Record, work: Record, counts: Floats, slopes: Floats, tiles: Floats, widths: Floats,
    finished: npt.NDArray[np.bool_], left: float, trips: float,
) -> bool:  # fmt: skip
    """Whether a placed state moves and holds what its family says."""
    count(case, state, work)
    same = True
    for m in range(case.memories + 1):
        for c in range(KINDS):
            for w in range(2):
                told = counts[m, c, w] + slopes[m, c, w] * left
                now = work.reads[m, c] if w == 0 else work.writes[m, c]
                same &= abs(told - now) <= 1e-9 * (now + 1.0)
    for q in range(case.slots):
        told = tiles[q] + widths[q] * np.ceil(trips / left)
        now = work.tile[q] if state.held[q] == 1 else 0.0
        same &= abs(told - now) <= 1e-9 * (now + 1.0)
        same &= finished[q] == (state.held[q] == 1 and work.finished[q] == 1)
    return bool(same)
