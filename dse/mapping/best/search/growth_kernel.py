"""Compiled: tiles of a state grow where it gains, and are taken back where they do not fit.

``fill`` grows tiles from a start, where it gains most per room, as water fills a basin; ``repaired`` takes the growth back that
costs least until a state fits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner
from dse.mapping.best.count_kernel import place, price, value
from dse.mapping.best.records import MAC, NONE, SIZES, SLOTS

#: Ways to change the growth of one coordinate, the first of which let it grow.
STEPS = 8
GROWING = 3


@inner
def remaining(case: Record, state: Record, work: Record, s: int, d: int) -> None:
    """Trips of a placed state that are left before and after the growth at a slot."""
    x = 1.0
    for i in range(case.slots + 1):
        if i == state.inner:
            if s == MAC:
                break
            x = work.cuts[MAC, d]
        if i == case.slots or state.order[i] == s:
            break
        if state.held[state.order[i]] == 1:
            x = work.cuts[state.order[i], d]
    work.before = np.ceil(case.trips[d] / x)
    work.after = np.ceil(case.trips[d] / work.cuts[s, d])


@inner
def left_of_growths(case: Record, state: Record, work: Record) -> None:
    """:func:`remaining` of every growth of a placed state, in ``work.rest`` and ``work.now``."""
    for k in range(case.moving):
        work.run[case.loops[k]] = case.trips[case.loops[k]]
    for i in range(case.slots + 1):
        for part in range(2):
            if part == 0:
                s = MAC if i == state.inner else NONE
            else:
                s = state.order[i] if i < case.slots and state.held[state.order[i]] == 1 else NONE
            if s < 0:
                continue
            for k in range(case.moving):
                d = case.loops[k]
                work.rest[s, d] = work.run[d]
                work.run[d] = np.ceil(case.trips[d] / work.cuts[s, d])
                work.now[s, d] = work.run[d]


@inner
def step(case: Record, work: Record, d: int, j: int) -> float:
    """Trips to leave for step j of a coordinate, from ``work.before`` and ``work.after``; 0 for no change."""
    rest = work.before
    now = work.after
    size = np.ceil(rest / now)
    if case.sizes[d, 0] > 0.0:
        # from the sizes that the file allows; whole and one are always allowed
        inside = np.ceil(case.trips[d] / rest)
        v = rest if j == 0 else 1.0
        if j > 1:
            v = np.ceil(rest / np.ceil(case.sizes[d, j - 2] / inside)) if case.sizes[d, j - 2] > inside else now
    elif j == 0:
        v = np.ceil(now / 2.0)
    elif j == 1:
        v = 1.0
    elif j == 2:
        v = np.ceil(rest / (size + 1.0))
    elif j == 3:
        v = np.ceil(rest / max(size - 1.0, 1.0))
    elif j == 4:
        v = min(2.0 * now, rest)
    elif j == 5:
        v = rest
    elif j == 6:
        v = np.ceil(now / 3.0)
    else:
        v = np.ceil(rest / (size + 2.0))
    v = np.ceil(rest / np.ceil(rest / v))
    return 0.0 if v == now else v


@inner
def gained(case: Record, point: Record, state: Record, best: float, room: float, s: int, d: int, work: Record) -> float:
    """Most that a growth at a slot gains per room, with its step in ``work.chosen`` and its value in ``work.reached``; 0 if none.

    The state's :func:`left_of_growths` are known. In haste nothing is tried that is larger than what does not fit, though now and
    then it would fit, where whole tiles at a later slot come out smaller or sums are finished.
    """
    before = work.rest[s, d]
    after = work.now[s, d]
    sized = case.sizes[d, 0] > 0.0
    steps = SIZES + 2 if sized else GROWING
    old = state.left[s, d]
    gain = 0.0
    last = 0.0
    for i in range(steps):
        work.before = before
        work.after = after
        # the smallest growth first
        v = step(case, work, d, (i + GROWING - 1) % GROWING if i < GROWING else i)
        if v == 0.0 or v > after or v == last:
            continue
        last = v
        state.left[s, d] = v
        new = value(case, point, state, work)
        if new == np.inf and work.hasty == 1 and not sized:
            break
        if new < best * (1.0 - 1e-12):
            g = (np.log(best) - np.log(new)) / max(taken(case, point, work) - room, 1e-6)
            if g > gain:
                gain = g
                work.chosen = v
                work.reached = new
    state.left[s, d] = old
    return float(gain)


@inner
def promise(case: Record, point: Record, state: Record, best: float, work: Record) -> None:
    """Which growths of a placed state would gain if there were room, in ``work.promising``.

    The state's :func:`left_of_growths` are known. Where a walk has shrunk one tile, others grow into the room that would
    have gained without it.
    """
    for i in range(case.slots + 1):
        s = MAC if i == case.slots else i
        for k in range(case.moving):
            d = case.loops[k]
            work.promising[s, d] = 0
            if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
                continue
            after = work.now[s, d]
            old = state.left[s, d]
            last = 0.0
            for j in range(SIZES + 2 if case.sizes[d, 0] > 0.0 else GROWING):
                work.before = work.rest[s, d]
                work.after = after
                v = step(case, work, d, j)
                if v == 0.0 or v > after or v == last:
                    continue
                last = v
                state.left[s, d] = v
                place(case, point, state, work)
                if price(case, point, state, work) < best * (1.0 - 1e-12):
                    work.promising[s, d] = 1
                    break
            state.left[s, d] = old


@inner
def fill(case: Record, point: Record, state: Record, best: float, work: Record, few: bool) -> float:
    """Grow where it gains most per room until nothing gains. Lazily: the coordinate that gained most when last asked is asked
    first. With ``few`` only what is :func:`promise`-d."""
    n = 0
    for i in range(case.slots + 1):
        s = MAC if i == case.slots else i
        if s != MAC and state.held[s] == 0:
            continue
        for k in range(case.moving):
            if case.free[s, case.loops[k]] == 1 and (work.promising[s, case.loops[k]] == 1 or not few):
                work.slots[n] = s
                work.dims[n] = case.loops[k]
                n += 1
    grown = True
    fresh = True
    placed = False
    room = 0.0
    while True:
        if fresh:
            for i in range(n):
                work.gain[i] = np.inf
            fresh = False
            grown = False
        at = NONE
        top = 0.0
        second = 0.0
        for i in range(n):
            g = work.gain[i]
            if g > top:
                second = top
                top = g
                at = i
            elif g > second:
                second = g
        if at < 0:
            if not grown or work.hasty == 1:
                return best
            fresh = True
            continue
        if not placed:
            place(case, point, state, work)
            room = taken(case, point, work)
            left_of_growths(case, state, work)
            placed = True
        s = work.slots[at]
        d = work.dims[at]
        gain = gained(case, point, state, best, room, s, d, work)
        work.gain[at] = gain
        if gain > 0.0 and gain >= second:
            state.left[s, d] = work.chosen
            best = work.reached
            grown = True
            placed = False


@inner
def taken(case: Record, point: Record, work: Record) -> float:
    """Room in use, in memories."""
    total = 0.0
    for m in range(case.memories):
        if point.capacity[m] < np.inf:
            total += work.need[m] / point.capacity[m]
    return total


@inner
def shrunk(case: Record, point: Record, state: Record, work: Record, s: int, d: int) -> bool:
    """Take growth back as little as makes a state fit that does not; False, and no change, if that does not help.

    The state's :func:`left_of_growths` are known.
    """
    rest = work.rest[s, d]
    high = np.ceil(rest / work.now[s, d])
    if high <= 1.0:
        return False
    old = state.left[s, d]
    state.left[s, d] = 0.0
    if place(case, point, state, work) > 0.0:
        state.left[s, d] = old
        return False
    low = 1.0
    while high - low > 1.0:
        middle = np.floor((low + high) / 2.0)
        state.left[s, d] = np.ceil(rest / middle)
        if place(case, point, state, work) > 0.0:
            high = middle
        else:
            low = middle
    state.left[s, d] = np.ceil(rest / low) if low > 1.0 else 0.0
    return True


@inner
def repaired(case: Record, point: Record, state: Record, work: Record) -> float:
    """Make a state fit by the growth that costs least; its value, infinite if nothing helps."""
    for _ in range(6):
        if place(case, point, state, work) == 0.0:
            return price(case, point, state, work)
        left_of_growths(case, state, work)
        best = np.inf
        bs = NONE
        bd = NONE
        left = 0.0
        least = np.inf
        gs = NONE
        gd = NONE
        for i in range(case.slots + 1):
            s = MAC if i == case.slots else i
            if s != MAC and state.held[s] == 0:
                continue
            for d in range(7):
                keep = state.left[s, d]
                if case.free[s, d] == 0 or keep == 0.0:
                    continue
                if shrunk(case, point, state, work, s, d):
                    v = value(case, point, state, work)
                    if v < best:
                        best = v
                        bs = s
                        bd = d
                        left = state.left[s, d]
                elif bs < 0:
                    state.left[s, d] = 0.0
                    v = place(case, point, state, work)
                    if v < least:
                        least = v
                        gs = s
                        gd = d
                state.left[s, d] = keep
        if bs >= 0:
            state.left[bs, bd] = left
            return best
        if gs < 0:
            return np.inf
        state.left[gs, gd] = 0.0
    return np.inf


@inner
def start(
    case: Record, point: Record, order: npt.NDArray[np.int64], held: npt.NDArray[np.int64], state: Record, work: Record
) -> float:
    """Fill from the smallest tiles in an order of slots; the value, infinite if not even those fit."""
    state.inner = 0
    for s in range(SLOTS):
        state.order[s] = order[s]
        state.held[s] = held[s]
    for s in range(SLOTS + 1):
        for d in range(7):
            state.left[s, d] = 0.0
    v = value(case, point, state, work)
    return fill(case, point, state, v, work, False) if v < np.inf else v
