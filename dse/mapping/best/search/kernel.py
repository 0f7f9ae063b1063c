"""The compiled search for one point's best mapping: fill, repair, and a walk to a local optimum of all moves.

``fill`` grows tiles from a start, where it gains most per room, as water fills a basin. ``improve`` tries every move of
``changed``: the growth of one coordinate, a slot held or not, a slot elsewhere in the order, the growth of two slots taken back,
rows and columns exchanged. Each move is repaired until it fits (the growth that costs least is taken back) and filled again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner, outer
from dse.mapping.best.count_kernel import place, price, value
from dse.mapping.best.records import FIRST, MAC, NONE, QUICK, SIZES, SLOTS, THOROUGH

#: Ways to change the growth of one coordinate.
STEPS = 8
#: Unrollings that are searched from all starts, those with the lowest floor; the others are tried with the best cuts found.
MOST_STARTED = 6


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
    """:func:`remaining` of every growth that a placed state may have, in ``work.rest`` and ``work.now``."""
    for i in range(case.slots + 1):
        s = MAC if i == case.slots else i
        for d in range(7):
            if case.free[s, d] == 1 and (s == MAC or state.held[s] == 1):
                remaining(case, state, work, s, d)
                work.rest[s, d] = work.before
                work.now[s, d] = work.after


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
def fill(case: Record, point: Record, state: Record, best: float, work: Record) -> float:
    """Grow where it gains most per room until nothing gains. Lazily: the coordinate that gained most when last asked is asked
    first."""
    grown = True
    fresh = True
    placed = False
    room = 0.0
    while True:
        if fresh:
            for i in range(case.slots + 1):
                s = MAC if i == case.slots else i
                for d in range(7):
                    able = case.free[s, d] == 1 and (s == MAC or state.held[s] == 1)
                    work.gain[s, d] = np.inf if able else 0.0
            fresh = False
            grown = False
        s = NONE
        d = NONE
        top = 0.0
        second = 0.0
        for i in range(case.slots + 1):
            q = MAC if i == case.slots else i
            for e in range(7):
                if work.gain[q, e] > top:
                    second = top
                    top = work.gain[q, e]
                    s = q
                    d = e
                elif work.gain[q, e] > second:
                    second = work.gain[q, e]
        if s < 0:
            if not grown:
                return best
            fresh = True
            continue
        if not placed:
            place(case, point, state, work)
            room = taken(case, point, work)
            placed = True
        remaining(case, state, work, s, d)
        before = work.before
        after = work.after
        old = state.left[s, d]
        gain = 0.0
        chosen = old
        reached = best
        for j in range(SIZES + 2 if case.sizes[d, 0] > 0.0 else 3):
            work.before = before
            work.after = after
            v = step(case, work, d, j)
            if v == 0.0 or v > after:
                continue
            state.left[s, d] = v
            placed = False
            new = value(case, point, state, work)
            if new < best * (1.0 - 1e-12):
                g = (np.log(best) - np.log(new)) / max(taken(case, point, work) - room, 1e-6)
                if g > gain:
                    gain = g
                    chosen = v
                    reached = new
        state.left[s, d] = old
        work.gain[s, d] = gain
        if gain > 0.0 and gain >= second:
            state.left[s, d] = chosen
            best = reached
            grown = True


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
def copy(n: int, source: Record, target: Record) -> None:
    """Copy a state of n slots."""
    target.case = source.case
    target.inner = source.inner
    for s in range(n):
        target.order[s] = source.order[s]
        target.held[s] = source.held[s]
        for d in range(7):
            target.left[s, d] = source.left[s, d]
    for d in range(7):
        target.left[MAC, d] = source.left[MAC, d]


@inner
def changed(case: Record, state: Record, work: Record, move: int) -> bool:
    """Apply one move to a placed state; False if it changes nothing or is not allowed."""
    n = case.slots
    ways = (n + 1) * 7 * STEPS
    if move < ways:
        s = move // (7 * STEPS)
        d = move // STEPS % 7
        s = MAC if s == n else s
        if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
            return False
        remaining(case, state, work, s, d)
        v = step(case, work, d, move % STEPS)
        state.left[s, d] = v
        return v > 0.0
    move -= ways
    if move < n:
        if case.must[move] != 0:
            return False
        state.held[move] = 1 - state.held[move]
        for d in range(7):
            state.left[move, d] = 0.0
        return True
    move -= n
    if move < n * n:
        return _moved(case, state, move // n, move % n)
    move -= n * n
    if move == 0:
        for i in range(n + 1):
            s = MAC if i == n else i
            for d in range(3, 6, 2):
                x = state.left[s, d]
                state.left[s, d] = state.left[s, d + 1]
                state.left[s, d + 1] = x
        return bool(case.bounds[3] > 1.0 or case.bounds[4] > 1.0)
    move -= 1
    if move < n + 1:
        state.inner = move
        return True
    move -= n + 1
    a = 0
    while move > a:
        move -= a + 1
        a += 1
    for d in range(7):
        state.left[MAC if a == n else a, d] = 0.0
        state.left[MAC if move == n else move, d] = 0.0
    return True


@inner
def _moved(case: Record, state: Record, i: int, j: int) -> bool:
    """Put the slot at place i at place j, without its growth; the memories of a role stay in their order."""
    s = state.order[i]
    if i == j or (case.first >= 0 and (i == 0 or j == 0)):
        return False
    by = 1 if i < j else -1
    for x in range(i, j, by):
        if case.role[state.order[x + by]] == case.role[s]:
            return False
    for x in range(i, j, by):
        state.order[x] = state.order[x + by]
    state.order[j] = s
    for d in range(7):
        state.left[s, d] = 0.0
    return True


@inner
def differs(case: Record, state: Record, work: Record, move: int, trial: Record) -> bool:
    """:func:`changed` of a copy of a state whose :func:`left_of_growths` are known; without a copy where a growth stays."""
    n = case.slots
    if move >= (n + 1) * 7 * STEPS:
        copy(n, state, trial)
        return bool(changed(case, trial, work, move))
    s = move // (7 * STEPS)
    d = move // STEPS % 7
    s = MAC if s == n else s
    if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
        return False
    work.before = work.rest[s, d]
    work.after = work.now[s, d]
    v = step(case, work, d, move % STEPS)
    if v > 0.0:
        copy(n, state, trial)
        trial.left[s, d] = v
    return bool(v > 0.0)


@inner
def improve(
    case: Record, point: Record, state: Record, best: float, trial: Record, work: Record, thorough: bool
) -> float:
    """Walk to a local optimum: of all moves, or of single growths only; the value reached."""
    n = case.slots
    ways = (n + 1) * 7 * STEPS
    total = ways + n + n * n + 2 + n + (n + 1) * (n + 2) // 2 if thorough else ways
    move = FIRST
    since = 0
    known = False
    while since < total:
        if move < ways and not known:
            place(case, point, state, work)
            left_of_growths(case, state, work)
            known = True
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
                v = fill(case, point, trial, v, work)
            if v < best * (1.0 - 1e-9):
                best = v
                copy(n, trial, state)
                since = -1
                known = False
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
    total = (n + 1) * 7 * STEPS + n + n * n + 2 + n + (n + 1) * (n + 2) // 2
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
        v = fill(case, point, trial, v, work)
        if v < best * 2.0:
            v = improve(case, point, trial, v, spare, work, THOROUGH)
        if v < best * (1.0 - 1e-9):
            best = v
            copy(n, trial, state)
            since = 0
    return best


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
    return fill(case, point, state, v, work) if v < np.inf else v


@inner
def keep(
    slots: int, value_: float, state: Record, values: npt.NDArray[np.float64], n: int, states: npt.NDArray[np.void]
) -> None:
    """Put a state among the n best, ascending, without repeating a value; the states behind two of scratch."""
    if not value_ < values[n - 1]:
        return
    i = n - 1
    while i > 0 and values[i - 1] >= value_:
        i -= 1
    if values[i] <= value_ * (1.0 + 1e-9) or (i > 0 and values[i - 1] >= value_ * (1.0 - 1e-9)):
        return
    for j in range(n - 1, i, -1):
        values[j] = values[j - 1]
        copy(slots, states[j + 1], states[j + 2])
    values[i] = value_
    copy(slots, state, states[i + 2])


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
            v = fill(cases[c], point, spare[1], v, work)
        if v < best * (1.0 - 1e-9):
            copy(n, spare[1], state)
            v = improve(cases[c], point, state, v, spare[1], work, THOROUGH)
            best = v
            copy(n, state, spare[0])
    return best
