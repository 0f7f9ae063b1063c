"""Whole fronts of bit maps: summed score against one summed cost, exactly, or against two with a proven distance.

The dynamic programme over groups keeps the Pareto list of partial sums (Nemhauser & Ullmann, Management Science 15(9), 1969).
Where a list would outgrow its bound it is thinned: the result says by how much any true point can be better (the errors of
the thinnings add up), and never thins silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from dse.search.allocation.knapsack import expand, grow
from dse.search.allocation.lagrange import allowed_score, checked, efficient, stable_order
from dse.search.pareto import pareto_mask
from dse.types import Bools, Floats, Ints

#: Longest list of partial sums; 13 bytes per sum and group are kept for the bit maps.
MAX_POINTS = 300_000
MAX_POINTS_THREE = 5_000


@dataclass(frozen=True)
class Front:
    """Bit maps of which none dominates another, by rising score.

    Attributes
    ----------
    score
        (n,) summed score.
    costs
        (n, columns) summed costs.
    error
        (columns,) for every bit map there is, a point of this front has no higher score and costs at most this much more
        in every column; 0 is exact.
    order, starts, parents, picks
        Back-pointers of the dynamic programme, for :func:`choices`.
    """

    score: Floats
    costs: Floats
    error: Floats
    order: Ints
    starts: Ints
    parents: npt.NDArray[np.int32]
    picks: npt.NDArray[np.uint8] | npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.score)


def exact_front_2d(
    cost: Floats,
    score: Floats,
    mask: Bools | None = None,
    score_max: float = math.inf,
    max_points: int = MAX_POINTS,
) -> Front:
    """The front of summed score against one summed cost; exact while no list outgrows ``max_points``.

    Parameters
    ----------
    cost, score, mask
        (L, M) additive cost and score; choices that may be taken.
    score_max
        Only bit maps whose score is at most this.
    max_points
        Longest list; a longer one is thinned, and ``error`` says by how much the cost may be off.

    Returns
    -------
    Front
        Empty where no bit map keeps the limit. Of equal sums the one with the earliest choices stays.
    """
    costs, scores, masks = checked(np.asarray(cost)[None], score, mask)
    result = _front(costs[0], scores, masks[0], allowed_score(score_max), max_points)
    total_score, total_cost, error, order, starts, parents, picks = result
    return Front(total_score, total_cost[:, None], np.array([error]), order, starts, parents, picks)


def exact_front_3d(
    score: Floats,
    energy: Floats,
    latency: Floats,
    mask: Bools | None = None,
    score_max: float = math.inf,
    max_points: int = MAX_POINTS_THREE,
) -> Front:
    """The front of summed score, energy and latency; exact while no list outgrows ``max_points``.

    A list that does is laid on a grid of energy and latency, and every cell keeps its least score. The certificate is the sum
    of the cells' sizes: ``error`` for energy and latency; the score is never worse.

    Parameters
    ----------
    score, energy, latency, mask
        (L, M) additive; choices that may be taken.
    score_max
        Only bit maps whose score is at most this.
    """
    tables, scores, masks = checked(np.stack([energy, latency]), score, mask)
    allowed = masks[0] & masks[1]
    # Wide groups last: the cells of a thinned list are as large as its range, and their sizes add up.
    spread = np.where(allowed, tables, -np.inf).max(axis=2) - np.where(allowed, tables, np.inf).min(axis=2)
    sequence = np.argsort((spread / np.maximum(spread.max(axis=1, keepdims=True), 1e-300)).sum(axis=0), kind="stable")
    least = np.where(allowed, scores, np.inf).min(axis=1)[sequence]
    rest = np.append(np.cumsum(least[::-1])[::-1], 0.0)[1:]
    limit = allowed_score(score_max)
    sums = np.zeros((1, 3))
    error = np.zeros(2)
    starts, parents, picks = [0], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for p, l in enumerate(sequence):
        options = np.flatnonzero(allowed[l])
        parts = np.stack([scores[l, options], tables[0, l, options], tables[1, l, options]], axis=1)
        options = options[front_rows := np.flatnonzero(pareto_mask(parts))]
        parts = parts[front_rows]
        new = (sums[:, None] + parts[None]).reshape(-1, 3)
        rows = np.flatnonzero(new[:, 0] + rest[p] <= limit)
        rows = rows[pareto_mask(new[rows])]
        if len(rows) > max_points:
            rows, cell = _grid(new, rows, max_points)
            error += cell
        if not len(rows):
            empty = np.zeros(0, np.int32)
            return Front(np.zeros(0), np.zeros((0, 2)), error, np.arange(0), np.zeros(1, np.int64), empty, empty)
        parents.append((rows // len(options)).astype(np.int32))
        picks.append(options[rows % len(options)].astype(np.int32))
        starts.append(starts[-1] + len(rows))
        sums = new[rows]
    order = np.lexsort((sums[:, 2], sums[:, 1], sums[:, 0]))
    parents[-1], picks[-1], sums = parents[-1][order], picks[-1][order], sums[order]
    return Front(
        sums[:, 0],
        sums[:, 1:],
        error,
        sequence,
        np.array(starts, np.int64),
        np.concatenate(parents),
        np.concatenate(picks),
    )


def choices(front: Front, rows: npt.ArrayLike | None = None) -> Ints:
    """Bit maps of a front's points (rows, L); all points where ``rows`` is left out."""
    at = np.arange(len(front)) if rows is None else np.atleast_1d(np.asarray(rows, dtype=np.int64))
    out = np.empty((len(at), len(front.order)), np.int64)
    for p in range(len(front.order) - 1, -1, -1):
        row = front.starts[p] + at
        out[:, front.order[p]] = front.picks[row]
        at = front.parents[row]
    return out


def _grid(new: Floats, rows: Ints, max_points: int) -> tuple[Ints, Floats]:
    """Thin rows to at most ``max_points``: one per cell of energy and latency, the one of least score."""
    values = new[rows, 1:]
    low, high = values.min(axis=0), values.max(axis=0)
    parts = 2 * max_points
    while True:
        size = np.where(high > low, (high - low) / parts, 1.0)
        cell = np.floor((values - low) / size).astype(np.int64)
        key = cell[:, 0] * (parts + 2) + cell[:, 1]
        order = np.lexsort((rows, values.sum(axis=1), new[rows, 0], key))
        first = order[np.append(True, key[order][1:] != key[order][:-1])]
        kept = np.sort(first)
        if len(kept) <= max_points or parts == 1:
            return rows[kept[pareto_mask(new[rows[kept]])]], np.where(high > low, size, 0.0)
        parts = max(parts * 9 // 10, 1)


@numba.njit(cache=True)
def _thin(score, cost, max_points):  # type: ignore[no-untyped-def]
    """Rows to keep, at most about ``max_points``, and by how much a dropped sum can be cheaper than the kept one before it."""
    n = len(score)
    keep = np.empty(n, np.int64)
    step = (cost[0] - cost[n - 1]) / max_points
    while True:
        kept = 1
        keep[0] = 0
        worst = 0.0
        for i in range(1, n):
            off = cost[keep[kept - 1]] - cost[i]
            if off > step:
                keep[kept] = i
                kept += 1
            else:
                worst = max(worst, off)
        if kept <= max_points:
            return keep[:kept].copy(), worst
        step *= 1.1


@numba.njit(cache=True)
def _front(cost, score, mask, score_max, max_points):  # type: ignore[no-untyped-def]
    groups = cost.shape[0]
    index, count, _, _ = efficient(cost, score, mask)
    rest = 0.0
    for l in range(groups):
        if count[l] == 0:
            rest = np.inf
        else:
            rest += score[l, index[l, 0]]
    starts = np.zeros(groups + 1, np.int64)
    # Wide groups last: lists stay short for most of the way.
    spread = np.zeros(groups)
    for l in range(groups):
        if count[l] > 0:
            spread[l] = cost[l, index[l, 0]] - cost[l, index[l, count[l] - 1]]
    order = stable_order(spread)
    empty = np.zeros(0, np.int32)
    if rest > score_max or rest == np.inf:
        return np.zeros(0), np.zeros(0), 0.0, order, starts, empty, empty
    list_score = np.zeros(1)
    list_cost = np.zeros(1)
    parents = np.empty(1 << 16, np.int32)
    picks = np.empty(1 << 16, np.int32)
    used = 0
    error = 0.0
    for p in range(groups):
        l = order[p]
        rest -= score[l, index[l, 0]]
        n = count[l]
        part_score = np.empty(n)
        part_cost = np.empty(n)
        part_pick = np.empty(n, np.int32)
        for k in range(n):
            part_score[k] = score[l, index[l, k]]
            part_cost[k] = cost[l, index[l, k]]
            part_pick[k] = index[l, k]
        # Sums of the same scores in another order differ by rounding; what counts is checked again in the last list.
        room = score_max - rest
        room += 1e-13 * (abs(score_max) + abs(rest)) if score_max < np.inf else 0.0
        list_score, list_cost, parent, pick = expand(list_score, list_cost, part_score, part_cost, part_pick, room)
        if len(list_score) > max_points:
            rows, worst = _thin(list_score, list_cost, max_points)
            error += worst
            list_score = list_score[rows]
            list_cost = list_cost[rows]
            parent = parent[rows]
            pick = pick[rows]
        n = len(list_score)
        if used + n > len(parents):
            room_for = 2 * (used + n)
            parents = grow(parents, used, room_for)
            picks = grow(picks, used, room_for)
        starts[p] = used
        parents[used : used + n] = parent
        picks[used : used + n] = pick
        used += n
    starts[groups] = used
    return list_score, list_cost, error, order, starts, parents[:used].copy(), picks[:used].copy()
