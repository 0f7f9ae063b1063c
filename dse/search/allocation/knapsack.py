"""Compiled parts of the exact bit allocation: merging of Pareto lists, and the search for one limit.

A Pareto list holds the non-dominated sums (score rising, cost falling) over the groups seen so far (Nemhauser & Ullmann,
"Discrete dynamic programming and capital allocation", Management Science 15(9), 1969). A group with M choices makes M shifted
copies of it, and the next list is what survives of their union.
"""

from __future__ import annotations

import numba
import numpy as np

from dse.search.allocation.lagrange import edges, efficient, relax, stable_order

#: What :func:`solve_one` found: proven optimal, a proven gap, or nothing possible.
OPTIMAL, BOUNDED, INFEASIBLE = 0, 1, 2


@numba.njit(cache=True)
def expand(list_score, list_cost, score, cost, choice, score_max):  # type: ignore[no-untyped-def]
    """Pareto list after one more group.

    Parameters
    ----------
    list_score, list_cost
        (n,) list so far, score rising, cost falling.
    score, cost, choice
        (m,) choices of the group.
    score_max
        Sums above it are left out.

    Returns
    -------
    score, cost, parent (row of the list so far), choice; of equal sums the earliest choice stays.
    """
    n = len(list_score)
    have = 0
    s_have = np.empty(0)
    c_have = np.empty(0)
    p_have = np.empty(0, np.int32)
    m_have = np.empty(0, np.int32)
    for k in range(len(score)):
        ds = score[k]
        dc = cost[k]
        size = have + n
        s_next = np.empty(size)
        c_next = np.empty(size)
        p_next = np.empty(size, np.int32)
        m_next = np.empty(size, np.int32)
        out = 0
        last = np.inf
        i = 0
        j = 0
        while True:
            s_new = np.inf
            c_new = np.inf
            if j < n:
                s_new = list_score[j] + ds
                c_new = list_cost[j] + dc
                if s_new > score_max:
                    j = n
                    continue
            if i < have:
                if j >= n or s_have[i] < s_new or (s_have[i] == s_new and c_have[i] <= c_new):
                    if c_have[i] < last:
                        # Rounding can make two scores equal: the lower cost replaces the higher.
                        if out > 0 and s_next[out - 1] == s_have[i]:
                            out -= 1
                        last = c_have[i]
                        s_next[out] = s_have[i]
                        c_next[out] = last
                        p_next[out] = p_have[i]
                        m_next[out] = m_have[i]
                        out += 1
                    i += 1
                    continue
            elif j >= n:
                break
            if c_new < last:
                if out > 0 and s_next[out - 1] == s_new:
                    out -= 1
                last = c_new
                s_next[out] = s_new
                c_next[out] = c_new
                p_next[out] = j
                m_next[out] = choice[k]
                out += 1
            j += 1
        have = out
        s_have = s_next[:out]
        c_have = c_next[:out]
        p_have = p_next[:out]
        m_have = m_next[:out]
    return s_have, c_have, p_have, m_have


@numba.njit(cache=True)
def suffix_bounds(list_score, list_cost, limit, base_score, base_cost, position, after, step, saving):  # type: ignore[no-untyped-def]
    """Lower bound of every sum's best completion: the linear relaxation of the groups still to come.

    ``position`` holds for every hull edge (by falling slope) the place of its group in the order; groups after ``after`` are
    still to come, and cost ``base_cost`` with the score ``base_score`` at their least score.
    """
    n = len(list_score)
    bound = np.empty(n)
    e = 0
    used = 0.0
    saved = 0.0
    # From the highest score down the room grows, so one walk along the edges serves all sums.
    for i in range(n - 1, -1, -1):
        room = limit - list_score[i] - base_score
        if room < 0:
            bound[i] = np.inf
            continue
        while e < len(step):
            if position[e] > after:
                if used + step[e] > room:
                    break
                used += step[e]
                saved += saving[e]
            e += 1
        rest = 0.0
        if e < len(step):
            rest = saving[e] * (max(room - used, 0.0) / step[e])
        bound[i] = list_cost[i] + base_cost - saved - rest
    return bound


@numba.njit(cache=True)
def grow(array, used, room):  # type: ignore[no-untyped-def]
    """The first ``used`` entries of an array in one with room for more."""
    larger = np.empty(room, np.int32)
    for i in range(used):
        larger[i] = array[i]
    return larger


@numba.njit(cache=True)
def solve_one(cost, score, mask, limit, max_states):  # type: ignore[no-untyped-def]
    """Least cost with the summed score at most ``limit``, exact unless more than ``max_states`` sums have to be kept.

    The dynamic programme keeps only sums whose linear relaxation lies below a target. The target starts close to the bound and
    is widened until a bit map is found below it: that bit map is optimal, however poor the first incumbent was (core idea:
    Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", EJOR 83, 1995).

    Returns
    -------
    bit map (L,), bound, status, least score
    """
    groups = cost.shape[0]
    best, best_cost, _, bound, multiplier, least = relax(cost, score, mask, limit)
    if best[0] < 0:
        return best, np.inf, INFEASIBLE, least
    granted = limit + 1e-12 * abs(limit) if limit < np.inf else limit
    size = 0.0
    for l in range(groups):
        largest = 0.0
        for m in range(cost.shape[1]):
            if mask[l, m]:
                largest = max(largest, abs(cost[l, m]))
        size += largest
    # Rounding of sums of so many terms; two costs closer than this are the same cost.
    hair = 1e-13 * size
    if best_cost - bound <= hair:
        return best, best_cost, OPTIMAL, least
    index, count, hull, hull_count = efficient(cost, score, mask)
    group, step, saving, _ = edges(cost, score, index, hull, hull_count)

    # What a choice costs above the group's best at the break slope; groups that hardly have a second choice go first, so that
    # lists stay short until the few contested groups.
    reduced = np.full(cost.shape, np.inf)
    # Negative, to sort by falling distance.
    second = np.full(groups, -np.inf)
    for l in range(groups):
        low = np.inf
        for k in range(count[l]):
            m = index[l, k]
            low = min(low, cost[l, m] + multiplier * score[l, m])
        zeros = 0
        for k in range(count[l]):
            m = index[l, k]
            reduced[l, k] = cost[l, m] + multiplier * score[l, m] - low
            if reduced[l, k] <= hair and zeros == 0:
                zeros = 1
            else:
                second[l] = max(second[l], -reduced[l, k])
    order = stable_order(second)
    place = np.empty(groups, np.int64)
    for p in range(groups):
        place[order[p]] = p
    position = np.empty(len(group), np.int64)
    for e in range(len(group)):
        position[e] = place[group[e]]
    base_score = np.zeros(groups + 1)
    base_cost = np.zeros(groups + 1)
    for p in range(groups - 1, -1, -1):
        first = index[order[p], 0]
        base_score[p] = base_score[p + 1] + score[order[p], first]
        base_cost[p] = base_cost[p + 1] + cost[order[p], first]

    width = (best_cost - bound) / 64.0
    lowest = bound
    while True:
        target = min(bound + width, best_cost)
        final = target >= best_cost
        found, found_cost, dropped = _search(
            cost, score, index, count, reduced, order, position, step, saving, base_score, base_cost, granted,
            bound, target, hair, max_states,
        )  # fmt: skip
        if found[0] >= 0 and found_cost < best_cost:
            best = found
            best_cost = found_cost
        if dropped < np.inf:
            return best, max(lowest, min(dropped, best_cost)), BOUNDED, least
        if best_cost <= target or final:
            return best, best_cost, OPTIMAL, least
        lowest = target
        width *= 4.0


@numba.njit(cache=True)
def _search(  # type: ignore[no-untyped-def]
    cost, score, index, count, reduced, order, position, step, saving, base_score, base_cost, granted,
    bound, target, hair, max_states,
):  # fmt: skip
    """Best bit map with a cost of at most ``target``; the first entry -1 where there is none; bound of what was dropped."""
    groups = cost.shape[0]
    list_score = np.zeros(1)
    list_cost = np.zeros(1)
    starts = np.zeros(groups + 1, np.int64)
    room = 4096
    parents = np.empty(room, np.int32)
    picks = np.empty(room, np.int32)
    used = 0
    dropped = np.inf
    choice = np.full(groups, -1, np.int64)
    widest = cost.shape[1]
    part_score = np.empty(widest)
    part_cost = np.empty(widest)
    part_pick = np.empty(widest, np.int32)
    for p in range(groups):
        l = order[p]
        n = 0
        for k in range(count[l]):
            if bound + reduced[l, k] <= target + hair:
                m = index[l, k]
                part_score[n] = score[l, m]
                part_cost[n] = cost[l, m]
                part_pick[n] = m
                n += 1
        s, c, parent, pick = expand(
            list_score, list_cost, part_score[:n], part_cost[:n], part_pick[:n], granted - base_score[p + 1]
        )
        below = suffix_bounds(s, c, granted, base_score[p + 1], base_cost[p + 1], position, p, step, saving)
        limit = target + hair
        keep = np.zeros(len(below), np.bool_)
        number = 0
        for i in range(len(below)):
            if below[i] <= limit:
                keep[i] = True
                number += 1
        if number > max_states:
            limit = below[stable_order(below)[max_states - 1]]
            taken = 0
            for i in range(len(below)):
                if keep[i]:
                    if below[i] > limit or taken >= max_states:
                        keep[i] = False
                        dropped = min(dropped, below[i])
                    else:
                        taken += 1
            number = taken
        if number == 0:
            return choice, np.inf, dropped
        if used + number > room:
            room = 2 * (used + number)
            parents = grow(parents, used, room)
            picks = grow(picks, used, room)
        starts[p] = used
        list_score = np.empty(number)
        list_cost = np.empty(number)
        n = 0
        for i in range(len(below)):
            if keep[i]:
                list_score[n] = s[i]
                list_cost[n] = c[i]
                parents[used] = parent[i]
                picks[used] = pick[i]
                n += 1
                used += 1
    # Cost falls along the list: the last sum is the best.
    at = len(list_cost) - 1
    for p in range(groups - 1, -1, -1):
        row = starts[p] + at
        choice[order[p]] = picks[row]
        at = parents[row]
    total = 0.0
    for l in range(groups):
        total += cost[l, choice[l]]
    return choice, total, dropped
