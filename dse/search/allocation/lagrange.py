"""Lagrangian relaxation of the bit allocation: a valid lower bound and a good bit map for thousands of designs at once.

With a price on the score, every group of tied layers chooses for itself. Sweeping the price visits the vertices of the
convex hull of all bit maps; between two vertices lies the bound. Only the choices on a group's own convex hull matter
(dominance of the linear relaxation: Sinha & Zoltners, "The multiple-choice knapsack problem", Operations Research 27(3),
1979; Kellerer, Pferschy & Pisinger, Knapsack Problems, Springer 2004, section 11.2), so the sweep is one sort of
the hulls' edges by slope. Everything is float64 without fastmath: the same answer on every machine and thread count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from dse.errors import InputError
from dse.types import Bools, Floats, Ints

#: A limit counts as kept when it is exceeded by no more than this share of it: rounding of the caller's own sums, which
#: differ by up to L * 2^-53 with the order of summation. No physics.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Relaxed:
    """Bound and bit map of D designs.

    Attributes
    ----------
    choice
        (D, L) choice of every group; -1 where no bit map keeps the limit.
    cost, score
        (D,) sums of the bit map; NaN where infeasible.
    bound
        (D,) no bit map within the limit costs less; infinity where infeasible.
    gap
        (D,) (cost - bound) / abs(cost); NaN where infeasible.
    multiplier
        (D,) cost saved per unit of score at the limit; 0 where the limit does not bind.
    feasible
        (D,) some bit map keeps the limit.
    least_score
        (D,) smallest score that any bit map has: the nearest feasible limit.
    """

    choice: Ints
    cost: Floats
    score: Floats
    bound: Floats
    gap: Floats
    multiplier: Floats
    feasible: Bools
    least_score: Floats


def lagrangian(cost: Floats, score: Floats, score_max: npt.ArrayLike, mask: Bools | None = None) -> Relaxed:
    """Least cost under a limit on the summed score: lower bound, and a bit map completed greedily.

    Parameters
    ----------
    cost
        (D, L, M) additive cost of every design, group and choice.
    score
        (L, M) additive score, the same for all designs.
    score_max
        Scalar or (D,) limit.
    mask
        (L, M) or (D, L, M): which choices may be taken; choices of infinite cost or score never are.

    Raises
    ------
    InputError
        Shapes that do not fit, or a NaN or minus infinity among the choices that may be taken.
    """
    costs, scores, masks = checked(cost, score, mask)
    limits = np.broadcast_to(np.asarray(score_max, dtype=np.float64), (len(costs),))
    if np.isnan(limits).any():
        raise InputError("score_max", ["expected numbers, got NaN"])
    out = _relax_all(costs, scores, masks, np.ascontiguousarray(limits))
    choice, total, spent, bound, multiplier, least = out
    feasible = choice[:, 0] >= 0 if choice.shape[1] else np.ones(len(costs), dtype=np.bool_)
    gap = np.full(len(costs), np.nan)
    gap[feasible] = relative_gap(total[feasible], bound[feasible])
    return Relaxed(choice, total, spent, bound, gap, multiplier, feasible, least)


def hull_front(cost: Floats, score: Floats, mask: Bools | None = None) -> tuple[Floats, Floats, Ints]:
    """Vertices of the convex hull of all bit maps, by rising score and falling cost.

    Parameters
    ----------
    cost, score, mask
        (D, L, M), (L, M) and (L, M) or (D, L, M), as in :func:`lagrangian`.

    Returns
    -------
    score, cost
        (D, V) sums; NaN beyond a design's own vertices. The straight lines between vertices are lower bounds.
    count
        (D,) number of vertices; 0 where a group has no choice.
    """
    costs, scores, masks = checked(cost, score, mask)
    hull_score, hull_cost, count = _hulls_all(costs, scores, masks)
    return hull_score, hull_cost, count


def relative_gap(cost: Floats, bound: Floats) -> Floats:
    """(cost - bound) / abs(cost), 0 where they are equal."""
    difference = np.maximum(cost - bound, 0.0)
    size = np.abs(cost)
    return np.where(difference == 0, 0.0, difference / np.where(size > 0, size, 1.0))


def allowed_score(limit: float) -> float:
    """A limit with the rounding that :data:`ROUNDING` grants."""
    return limit + ROUNDING * abs(limit) if np.isfinite(limit) else limit


def checked(cost: Floats, score: Floats, mask: Bools | None) -> tuple[Floats, Floats, Bools]:
    """Costs (D, L, M), scores (L, M) and mask (D, L, M) as contiguous arrays.

    Raises
    ------
    InputError
        Shapes that do not fit, or a NaN or minus infinity among the choices that may be taken.
    """
    costs = np.ascontiguousarray(cost, dtype=np.float64)
    scores = np.ascontiguousarray(score, dtype=np.float64)
    if costs.ndim != 3 or scores.shape != costs.shape[1:] or 0 in scores.shape:
        raise InputError("cost", [f"expected (designs, layers, choices) for scores {scores.shape}, got {costs.shape}"])
    given = np.ones(scores.shape, dtype=np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
    if given.shape not in (scores.shape, costs.shape):
        raise InputError("mask", [f"expected {scores.shape} or {costs.shape}, got {given.shape}"])
    masks = given & ~np.isposinf(costs) & ~np.isposinf(scores)
    if not (np.isfinite(costs[masks]).all() and np.isfinite(np.broadcast_to(scores, costs.shape)[masks]).all()):
        raise InputError("cost", ["expected numbers for every choice that may be taken, got NaN or minus infinity"])
    return costs, scores, np.ascontiguousarray(masks)


@numba.njit(cache=True)
def efficient(cost, score, mask):  # type: ignore[no-untyped-def]
    """Non-dominated choices of every group by rising score and falling cost.

    Returns
    -------
    index
        (L, M) choices; count: (L,) how many; hull: (L, M) positions in index of the lower convex hull; hull_count: (L,).
    """
    groups, choices = cost.shape
    index = np.empty((groups, choices), np.int64)
    count = np.zeros(groups, np.int64)
    hull = np.empty((groups, choices), np.int64)
    hull_count = np.zeros(groups, np.int64)
    for l in range(groups):
        n = 0
        for m in range(choices):
            if not mask[l, m]:
                continue
            # Insertion by (score, cost, index): groups have few choices and ties must not depend on a sort's whims.
            k = n
            while k > 0:
                before = index[l, k - 1]
                if score[l, before] < score[l, m] or (
                    score[l, before] == score[l, m] and cost[l, before] <= cost[l, m]
                ):
                    break
                index[l, k] = before
                k -= 1
            index[l, k] = m
            n += 1
        kept = 0
        for k in range(n):
            m = index[l, k]
            if kept == 0 or cost[l, m] < cost[l, index[l, kept - 1]]:
                index[l, kept] = m
                kept += 1
        count[l] = kept
        h = 0
        for k in range(kept):
            m = index[l, k]
            while h >= 2:
                a = index[l, hull[l, h - 2]]
                b = index[l, hull[l, h - 1]]
                # b lies on or above the line from a to m.
                if (cost[l, a] - cost[l, b]) * (score[l, m] - score[l, a]) <= (cost[l, a] - cost[l, m]) * (
                    score[l, b] - score[l, a]
                ):
                    h -= 1
                else:
                    break
            hull[l, h] = k
            h += 1
        hull_count[l] = h
    return index, count, hull, hull_count


@numba.njit(cache=True)
def stable_order(keys):  # type: ignore[no-untyped-def]
    """Indices that sort keys, equal keys in their order: a merge sort that compiles in a fraction of numpy's time."""
    n = len(keys)
    order = np.arange(n)
    other = np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle = min(low + width, n)
            high = min(low + 2 * width, n)
            i = low
            j = middle
            for k in range(low, high):
                if i < middle and (j >= high or keys[order[i]] <= keys[order[j]]):
                    other[k] = order[i]
                    i += 1
                else:
                    other[k] = order[j]
                    j += 1
        order, other = other, order
        width *= 2
    return order


@numba.njit(cache=True)
def edges(cost, score, index, hull, hull_count):  # type: ignore[no-untyped-def]
    """Edges of all groups' hulls by falling saving per score: group, score step, saving, position after the step."""
    groups = cost.shape[0]
    total = 0
    for l in range(groups):
        total += max(hull_count[l] - 1, 0)
    group = np.empty(total, np.int64)
    step = np.empty(total)
    saving = np.empty(total)
    target = np.empty(total, np.int64)
    slope = np.empty(total)
    n = 0
    for l in range(groups):
        for h in range(1, hull_count[l]):
            a = index[l, hull[l, h - 1]]
            b = index[l, hull[l, h]]
            group[n] = l
            step[n] = score[l, b] - score[l, a]
            saving[n] = cost[l, a] - cost[l, b]
            target[n] = hull[l, h]
            slope[n] = -saving[n] / step[n]
            n += 1
    # Stable: edges of one group keep their order, and equal slopes go to the earlier group.
    order = stable_order(slope)
    return group[order], step[order], saving[order], target[order]


@numba.njit(cache=True)
def relax(cost, score, mask, limit):  # type: ignore[no-untyped-def]
    """One design: (bit map, cost, score, bound, multiplier, least score); the bit map starts with -1 where infeasible."""
    groups = cost.shape[0]
    index, count, hull, hull_count = efficient(cost, score, mask)
    choice = np.full(groups, -1, np.int64)
    least = 0.0
    total = 0.0
    for l in range(groups):
        if count[l] == 0:
            return choice, np.nan, np.nan, np.inf, 0.0, np.inf
        least += score[l, index[l, 0]]
        total += cost[l, index[l, 0]]
    granted = limit + 1e-12 * abs(limit) if limit < np.inf else limit
    if least > granted:
        return choice, np.nan, np.nan, np.inf, 0.0, least
    group, step, saving, target = edges(cost, score, index, hull, hull_count)
    at = np.zeros(groups, np.int64)
    spent = least
    bound = total
    multiplier = 0.0
    blocked = np.zeros(groups, np.bool_)
    broken = False
    for e in range(len(group)):
        l = group[e]
        fits = spent + step[e] <= granted
        if not broken:
            if fits:
                bound -= saving[e]
            else:
                multiplier = saving[e] / step[e]
                bound -= saving[e] * (max(granted - spent, 0.0) / step[e])
                broken = True
        # A group whose next edge does not fit cannot take the later ones either.
        if fits and not blocked[l]:
            spent += step[e]
            at[l] = target[e]
        else:
            blocked[l] = True
    # Room that is left goes to the choice that saves most, on or off the hull.
    while True:
        best = 0.0
        best_l = -1
        best_k = -1
        for l in range(groups):
            now = index[l, at[l]]
            for k in range(at[l] + 1, count[l]):
                m = index[l, k]
                if spent + score[l, m] - score[l, now] > granted:
                    break
                if cost[l, now] - cost[l, m] > best:
                    best = cost[l, now] - cost[l, m]
                    best_l = l
                    best_k = k
        if best_l < 0:
            break
        spent += score[best_l, index[best_l, best_k]] - score[best_l, index[best_l, at[best_l]]]
        at[best_l] = best_k
    total = 0.0
    spent = 0.0
    for l in range(groups):
        choice[l] = index[l, at[l]]
        total += cost[l, choice[l]]
        spent += score[l, choice[l]]
    return choice, total, spent, min(bound, total), multiplier, least


@numba.njit(cache=True)
def _relax_all(cost, score, mask, limits):  # type: ignore[no-untyped-def]
    designs, groups, _ = cost.shape
    choice = np.empty((designs, groups), np.int64)
    total = np.empty(designs)
    spent = np.empty(designs)
    bound = np.empty(designs)
    multiplier = np.empty(designs)
    least = np.empty(designs)
    for d in range(designs):
        choice[d], total[d], spent[d], bound[d], multiplier[d], least[d] = relax(cost[d], score, mask[d], limits[d])
    return choice, total, spent, bound, multiplier, least


@numba.njit(cache=True)
def _hulls_all(cost, score, mask):  # type: ignore[no-untyped-def]
    designs, groups, choices = cost.shape
    widest = groups * (choices - 1) + 1
    scores = np.full((designs, widest), np.nan)
    costs = np.full((designs, widest), np.nan)
    number = np.zeros(designs, np.int64)
    for d in range(designs):
        index, count, hull, hull_count = efficient(cost[d], score, mask[d])
        if count.min() == 0:
            continue
        s = 0.0
        c = 0.0
        for l in range(groups):
            s += score[l, index[l, 0]]
            c += cost[d, l, index[l, 0]]
        _, step, saving, _ = edges(cost[d], score, index, hull, hull_count)
        scores[d, 0] = s
        costs[d, 0] = c
        for e in range(len(step)):
            s += step[e]
            c -= saving[e]
            scores[d, e + 1] = s
            costs[d, e + 1] = c
        number[d] = len(step) + 1
    last = max(number.max(), 1)
    return scores[:, :last].copy(), costs[:, :last].copy(), number
