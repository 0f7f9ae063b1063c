"""Compiled search of the best chain of cuts on a lattice of tile sizes, for hierarchies of any depth.

A mapping is a chain of cuts (:mod:`dse.mapping.best.deep.lattice`): one after the other, from the MAC outwards, each role's tile is
put into the next memory that holds it. The state of an unfinished chain is how far each role has come (the next memory that will
hold it) and the extents reached so far: a place in the product of three lists, tiles of (N, P, Q), of K, and of (C, R, S).
Putting role r into a memory grows only the dims that its tensor does not depend on (and the window's, for X), and costs what
crosses the link from that memory to the role's next one: a function of the extents at this cut alone. So chains of the same
state have the same futures, and the best is a shortest path, but for two couplings: roles share the capacity of a memory, and
time is a maximum over memories. Both are carried in *labels*: energy, busy cycles by memory, capacity in use.

:func:`costs_to_go` gives for each state the least energy and the least busy cycles of every memory that any future needs, if
capacities were not shared: a bound. :func:`best_chains` builds labels forward, leaves out those whose bound does not beat the best
chain known, and of each state keeps some labels per share of capacity in use.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dse.types import Floats, Ints

#: Shares of capacity in use that are told apart when labels of a state are thinned.
BUCKETS = 4


@njit(cache=True, nogil=True)
def objective_value(objective: int, energy: float, cycles: float) -> float:
    """Energy, cycles, or their product."""
    if objective == 0:
        return energy
    if objective == 1:
        return cycles
    return energy * cycles


@njit(cache=True, nogil=True)
def costs_to_go(
    sizes: Ints, holders: Ints, tensors: Ints, windowed: bool, starts: Ints, nexts: Ints, window_starts: Ints,
    window_nexts: Ints, energy: Floats, child_time: Floats, parent_time: Floats, tracked: Ints, tile: Floats, room: Floats,
    finished: Floats,
) -> Floats:  # fmt: skip
    """(states, 1 + tracked memories) least energy and busy cycles of any future of a state; infinite where there is none.

    Parameters are those of :func:`best_chains`.
    """
    n_a, n_k, n_c = sizes[0], sizes[1], sizes[2]
    n_e = n_a * n_k * n_c
    steps = holders[:, 0]
    states = (steps[0] + 1) * (steps[1] + 1) * (steps[2] + 1) * n_e
    n_t = 0
    for m in range(len(tracked)):
        n_t = max(n_t, tracked[m] + 1)
    result = np.full((states, 1 + n_t), np.inf)
    cost = np.empty(1 + n_t)
    for total in range(steps.sum(), -1, -1):
        for pw in range(steps[0] + 1):
            for pa in range(steps[1] + 1):
                po = total - pw - pa
                if po < 0 or po > steps[2]:
                    continue
                base = ((pw * (steps[1] + 1) + pa) * (steps[2] + 1) + po) * n_e
                if total == steps.sum():
                    result[base : base + n_e] = 0.0
                    continue
                for e in range(n_e):
                    at = base + e
                    for role in range(3):
                        place = pw if role == 0 else (pa if role == 1 else po)
                        if place >= steps[role]:
                            continue
                        tensor = tensors[role]
                        memory = holders[role, 1 + place]
                        first, last = _moves(tensor, windowed, e, n_k, n_c, starts, window_starts)
                        for x in range(first, last):
                            to = window_nexts[x] if tensor == 1 and windowed else _moved(tensor, e, nexts[x], n_k, n_c)
                            held = tile[role, memory, to]
                            if role == 2 and place > 0 and _whole(tensor, e, n_a, n_k, n_c):
                                held *= finished[memory]
                            if held > room[memory]:
                                continue
                            for target in range(place + 1, steps[role] + 1):
                                up = target - place
                                go = base + to
                                if role == 0:
                                    go += up * (steps[1] + 1) * (steps[2] + 1) * n_e
                                elif role == 1:
                                    go += up * (steps[2] + 1) * n_e
                                else:
                                    go += up * n_e
                                if not result[go, 0] < np.inf:
                                    continue
                                link = _link(role, place, target, to, tensor, windowed, n_k, n_c)
                                cost[:] = result[go]
                                cost[0] += energy[role, place, target, link]
                                if tracked[memory] >= 0:
                                    cost[1 + tracked[memory]] += child_time[role, place, target, link]
                                outer = holders[role, 1 + target]
                                if tracked[outer] >= 0:
                                    cost[1 + tracked[outer]] += parent_time[role, place, target, link]
                                for c in range(1 + n_t):
                                    if cost[c] < result[at, c]:
                                        result[at, c] = cost[c]
    return result


@njit(cache=True, nogil=True)
def _moves(
    tensor: int, windowed: bool, e: int, n_k: int, n_c: int, starts: Ints, window_starts: Ints
) -> tuple[int, int]:
    """Range of the next places of a step that places a tensor: of its coordinate, or of all three for a sliding window."""
    if tensor == 1 and windowed:
        return window_starts[e], window_starts[e + 1]
    if tensor == 0:
        c = e // (n_k * n_c)
        return starts[0, c], starts[0, c + 1]
    if tensor == 1:
        c = e // n_c % n_k
        return starts[1, c], starts[1, c + 1]
    c = e % n_c
    return starts[2, c], starts[2, c + 1]


@njit(cache=True, nogil=True)
def _moved(tensor: int, e: int, to: int, n_k: int, n_c: int) -> int:
    """The place e with the coordinate of a tensor replaced."""
    if tensor == 0:
        return to * n_k * n_c + e % (n_k * n_c)
    if tensor == 1:
        return (e // (n_k * n_c) * n_k + to) * n_c + e % n_c
    return e // n_c * n_c + to


@njit(cache=True, nogil=True)
def _whole(tensor: int, e: int, n_a: int, n_k: int, n_c: int) -> bool:
    """Whether all that a tensor is summed over lies inside a place, so that sums are finished there."""
    if tensor == 0:
        return e // (n_k * n_c) == n_a - 1
    if tensor == 1:
        return e // n_c % n_k == n_k - 1 and e % n_c == n_c - 1
    return e % n_c == n_c - 1


@njit(cache=True, nogil=True)
def _link(role: int, place: int, target: int, to: int, tensor: int, windowed: bool, n_k: int, n_c: int) -> int:
    """Column of the link's costs at a place: the coordinate that the tensor's transfers depend on."""
    if tensor == 0:
        return to // (n_k * n_c)
    if tensor == 1:
        return to if windowed else to // n_c % n_k
    return to % n_c


@njit(cache=True, nogil=True)
def best_chains(
    sizes: Ints, holders: Ints, tensors: Ints, windowed: bool, starts: Ints, nexts: Ints, window_starts: Ints,
    window_nexts: Ints, energy: Floats, child_time: Floats, parent_time: Floats, tracked: Ints, tile: Floats, room: Floats,
    finished: Floats, shared: Ints, first: Floats, first_time: Floats, run_place: Ints, run_role: Ints, stationary: int,
    to_go: Floats, compute: float, fixed: float, leak: float, overlap: bool, objective: int, least: float, keep: int,
    most: int,
) -> tuple[Ints, Floats, Floats, Floats, Ints, bool]:  # fmt: skip
    """The best complete chains found.

    Parameters
    ----------
    sizes
        Numbers of tiles of (N, P, Q), of K, of (C, R, S); the place of extents is their mixed-radix number.
    holders
        (3, 1 + most) number of on-chip memories of each role, their numbers from the inside, then DRAM's.
    tensors
        (3,) tensor of each role: W X Y = 0 1 2.
    windowed
        Whether X may grow P Q R S with a step of its own (its window overlaps).
    starts, nexts
        (3, n + 1) and flat: tiles that a tile of each coordinate may grow to, itself among them.
    window_starts, window_nexts
        The same by whole place for a step of a windowed X.
    energy, child_time, parent_time
        (3, places, targets, columns): what crosses the link from the role's memory number ``place`` to number ``target``, in pJ and
        in busy cycles of both memories.
    tracked
        (memories + 1,) number of each memory among those whose time is followed, or -1.
    tile
        (3, memories, places) bits of a tile.
    room
        (memories,) capacity.
    finished
        (memories,) a finished result's bits over those of a partial sum, where only finished ones reach the memory; else 1.
    shared
        (memories,) number among those that several roles share, or -1.
    first, first_time
        (3, targets, runs + 1) the MAC link to a role's memory number target under each run, the last column without one: pJ and
        busy cycles of that memory.
    run_place, run_role
        (runs,) place reached by each innermost run, and the role that it keeps at the MAC.
    stationary
        Role that has to be placed first, or -1.
    least
        Best value known; chains whose bound does not beat it are left out.
    keep
        Labels per state and share of capacity in use.
    most
        Chains returned.

    Returns
    -------
    For each chain the states from the first to the last (-1 beyond), its energy without leakage and fixed part, cycles and
    value, and its run (``runs``: none); and whether labels were thinned.
    """
    n_a, n_k, n_c = sizes[0], sizes[1], sizes[2]
    n_e = n_a * n_k * n_c
    steps = holders[:, 0]
    stride_w = (steps[1] + 1) * (steps[2] + 1) * n_e
    stride_a = (steps[2] + 1) * n_e
    states = (steps[0] + 1) * stride_w
    n_t = to_go.shape[1] - 1
    n_u = 0
    for m in range(len(shared)):
        n_u = max(n_u, shared[m] + 1)
    width = BUCKETS * keep
    used_room = np.ones(max(n_u, 1))
    for m in range(len(shared)):
        if shared[m] >= 0:
            used_room[shared[m]] = room[m]
    slot_of = np.full(states, -1, np.int64)
    capacity = 0
    for at in range(states):
        capacity += 1 if to_go[at, 0] < np.inf else 0
    filled = 0
    count = np.zeros(capacity, np.int64)
    lab_e = np.empty((capacity, width))
    lab_v = np.empty((capacity, width))
    lab_b = np.empty((capacity, width), np.int64)
    lab_t = np.empty((capacity, width, max(n_t, 1)))
    lab_u = np.empty((capacity, width, max(n_u, 1)))
    lab_from = np.empty((capacity, width), np.int64)
    lab_run = np.empty((capacity, width), np.int64)
    state_of = np.empty(capacity, np.int64)
    t = np.zeros(max(n_t, 1))
    u = np.zeros(max(n_u, 1))
    thinned = False
    runs = len(run_place)
    for total in range(-1, steps.sum()):
        for pw in range(steps[0] + 1):
            for pa in range(steps[1] + 1):
                for po in range(steps[2] + 1):
                    if total >= 0 and pw + pa + po != total:
                        continue
                    base = pw * stride_w + pa * stride_a + po * n_e
                    if total < 0:
                        # chains that have placed nothing: the MAC links alone
                        for run in range(runs + 1):
                            e = run_place[run] if run < runs else 0
                            go = base + e
                            t[:] = 0.0
                            u[:] = 0.0
                            cost = 0.0
                            for role in range(3):
                                place = pw if role == 0 else (pa if role == 1 else po)
                                column = run if run < runs and run_role[run] == role else runs
                                cost += first[role, place, column]
                                memory = holders[role, 1 + place]
                                if tracked[memory] >= 0:
                                    t[tracked[memory]] += first_time[role, place, column]
                            value = _bound(cost, t, to_go[go], n_t, compute, fixed, leak, overlap, objective)
                            if not value < least:
                                continue
                            s = slot_of[go]
                            if s < 0:
                                s = filled
                                slot_of[go] = s
                                state_of[s] = go
                                count[s] = 0
                                filled += 1
                            cut = _insert(
                                count, lab_e, lab_v, lab_b, lab_t, lab_u, lab_from, lab_run, s, cost, value, 0, t, u, -1, run,
                                n_t, n_u, keep,
                            )  # fmt: skip
                            thinned |= cut
                        continue
                    if total == steps.sum():
                        continue
                    for e in range(n_e):
                        s = slot_of[base + e]
                        if s < 0:
                            continue
                        for b in range(count[s]):
                            for role in range(3):
                                place = pw if role == 0 else (pa if role == 1 else po)
                                if place >= steps[role]:
                                    continue
                                if stationary >= 0 and role != stationary and lab_from[s, b] < 0:
                                    in_place = pw if stationary == 0 else (pa if stationary == 1 else po)
                                    if in_place < steps[stationary]:
                                        continue
                                tensor = tensors[role]
                                memory = holders[role, 1 + place]
                                first_x, last_x = _moves(tensor, windowed, e, n_k, n_c, starts, window_starts)
                                for x in range(first_x, last_x):
                                    to = (
                                        window_nexts[x]
                                        if tensor == 1 and windowed
                                        else _moved(tensor, e, nexts[x], n_k, n_c)
                                    )
                                    held = tile[role, memory, to]
                                    if role == 2 and place > 0 and _whole(tensor, e, n_a, n_k, n_c):
                                        held *= finished[memory]
                                    inside = shared[memory]
                                    before = lab_u[s, b, inside] if inside >= 0 else 0.0
                                    if held + before > room[memory]:
                                        continue
                                    for target in range(place + 1, steps[role] + 1):
                                        up = target - place
                                        if role == 0:
                                            go = base + to + up * stride_w
                                        elif role == 1:
                                            go = base + to + up * stride_a
                                        else:
                                            go = base + to + up * n_e
                                        if not to_go[go, 0] < np.inf:
                                            continue
                                        link = _link(role, place, target, to, tensor, windowed, n_k, n_c)
                                        cost = lab_e[s, b] + energy[role, place, target, link]
                                        for c in range(n_t):
                                            t[c] = lab_t[s, b, c]
                                        if tracked[memory] >= 0:
                                            t[tracked[memory]] += child_time[role, place, target, link]
                                        outer = holders[role, 1 + target]
                                        if tracked[outer] >= 0:
                                            t[tracked[outer]] += parent_time[role, place, target, link]
                                        value = _bound(
                                            cost, t, to_go[go], n_t, compute, fixed, leak, overlap, objective
                                        )
                                        if not value < least:
                                            continue
                                        for c in range(n_u):
                                            u[c] = lab_u[s, b, c]
                                        if inside >= 0:
                                            u[inside] += held
                                        share = 0.0
                                        for c in range(n_u):
                                            share = max(share, u[c] / used_room[c])
                                        bucket = min(int(share * BUCKETS), BUCKETS - 1)
                                        g = slot_of[go]
                                        if g < 0:
                                            g = filled
                                            slot_of[go] = g
                                            state_of[g] = go
                                            count[g] = 0
                                            filled += 1
                                        cut = _insert(
                                            count, lab_e, lab_v, lab_b, lab_t, lab_u, lab_from, lab_run, g, cost, value, bucket,
                                            t, u, s * width + b, lab_run[s, b], n_t, n_u, keep,
                                        )  # fmt: skip
                                        thinned |= cut
    # the best complete chains
    base = steps[0] * stride_w + steps[1] * stride_a + steps[2] * n_e
    found = np.full((most, steps.sum() + 2), -1, np.int64)
    found_e = np.full(most, np.inf)
    found_c = np.full(most, np.inf)
    found_v = np.full(most, np.inf)
    found_run = np.full(most, -1, np.int64)
    taken = np.full(most, -1, np.int64)
    for k in range(most):
        best = np.inf
        where = -1
        for e in range(n_e):
            s = slot_of[base + e]
            if s < 0:
                continue
            for b in range(count[s]):
                if lab_v[s, b] < best:
                    known = False
                    for q in range(k):
                        known |= taken[q] == s * width + b
                    if not known:
                        best = lab_v[s, b]
                        where = s * width + b
        if where < 0:
            break
        taken[k] = where
        s, b = where // width, where % width
        found_e[k] = lab_e[s, b]
        found_c[k] = _cycles(lab_t[s, b], to_go[base], n_t, compute, overlap)
        found_v[k] = best
        found_run[k] = lab_run[s, b]
        length = 0
        at = where
        while at >= 0:
            found[k, length] = state_of[at // width]
            length += 1
            at = lab_from[at // width, at % width]
        for i in range(length // 2):
            found[k, i], found[k, length - 1 - i] = found[k, length - 1 - i], found[k, i]
    return found, found_e, found_c, found_v, found_run, thinned


@njit(cache=True, nogil=True)
def _cycles(t: Floats, to_go: Floats, n_t: int, compute: float, overlap: bool) -> float:
    cycles = compute
    for c in range(n_t):
        busy = t[c] + to_go[1 + c]
        cycles = max(cycles, busy) if overlap else cycles + busy
    return cycles


@njit(cache=True, nogil=True)
def _bound(
    energy: float, t: Floats, to_go: Floats, n_t: int, compute: float, fixed: float, leak: float, overlap: bool, objective: int
) -> float:  # fmt: skip
    """Least value of any completion of a label."""
    cycles = _cycles(t, to_go, n_t, compute, overlap)
    return objective_value(objective, fixed + energy + to_go[0] + leak * cycles, cycles)


@njit(cache=True, nogil=True)
def _insert(
    count: Ints, lab_e: Floats, lab_v: Floats, lab_b: Ints, lab_t: Floats, lab_u: Floats, lab_from: Ints, lab_run: Ints, s: int,
    energy: float, value: float, bucket: int, t: Floats, u: Floats, origin: int, run: int, n_t: int, n_u: int, keep: int,
) -> bool:  # fmt: skip
    """Put a label into its state unless another is as good in energy, bound and every use; returns whether one was left out for
    room."""
    n = count[s]
    i = 0
    while i < n:
        better = lab_e[s, i] <= energy and lab_v[s, i] <= value
        worse = energy <= lab_e[s, i] and value <= lab_v[s, i]
        for c in range(n_u):
            better &= lab_u[s, i, c] <= u[c]
            worse &= u[c] <= lab_u[s, i, c]
        if better:
            return False
        if worse:
            n -= 1
            if i != n:
                _copy(lab_e, lab_v, lab_b, lab_t, lab_u, lab_from, lab_run, s, n, i, n_t, n_u)
            continue
        i += 1
    count[s] = n
    same = 0
    worst = -1
    for i in range(n):
        if lab_b[s, i] == bucket:
            same += 1
            if worst < 0 or lab_v[s, i] > lab_v[s, worst]:
                worst = i
    cut = False
    if same < keep:
        at = n
        count[s] = n + 1
    else:
        cut = True
        if not value < lab_v[s, worst]:
            return cut
        at = worst
    lab_e[s, at] = energy
    lab_v[s, at] = value
    lab_b[s, at] = bucket
    lab_from[s, at] = origin
    lab_run[s, at] = run
    for c in range(n_t):
        lab_t[s, at, c] = t[c]
    for c in range(n_u):
        lab_u[s, at, c] = u[c]
    return cut


@njit(cache=True, nogil=True)
def _copy(
    lab_e: Floats, lab_v: Floats, lab_b: Ints, lab_t: Floats, lab_u: Floats, lab_from: Ints, lab_run: Ints, s: int, i: int, j: int,
    n_t: int, n_u: int,
) -> None:  # fmt: skip
    lab_e[s, j] = lab_e[s, i]
    lab_v[s, j] = lab_v[s, i]
    lab_b[s, j] = lab_b[s, i]
    lab_from[s, j] = lab_from[s, i]
    lab_run[s, j] = lab_run[s, i]
    for c in range(n_t):
        lab_t[s, j, c] = lab_t[s, i, c]
    for c in range(n_u):
        lab_u[s, j, c] = lab_u[s, i, c]
