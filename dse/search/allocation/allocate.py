"""Exact bit allocation: one choice per group of tied layers, at the least cost within limits.

Given hardware, costs and scores are sums over layers, so this is the multiple-choice knapsack problem (Kellerer, Pferschy &
Pisinger, Knapsack Problems, Springer 2004, chapter 11). Every answer carries its certificate: the cost of the bit map, a bound
below which no bit map lies, and their distance. With one limit the search is :func:`dse.search.allocation.knapsack.solve_one`;
with several, a dynamic programme over non-dominated sums, bounded by a Lagrangian relaxation of all limits at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.errors import InputError
from dse.search.allocation.knapsack import BOUNDED, INFEASIBLE, solve_one
from dse.search.allocation.lagrange import allowed_score, checked
from dse.search.pareto import pareto_mask
from dse.types import Bools, Floats, Ints

#: Sums kept at once before an answer is given with a gap instead of a proof. Memory, not physics: 8 to 40 bytes each.
MAX_STATES = 1_000_000
MAX_STATES_SEVERAL_LIMITS = 50_000
#: Steps of the subgradient method for several limits; every step gives a valid bound, more only tighten it.
DUAL_STEPS = 300


@dataclass(frozen=True)
class Limit:
    """The sum of ``values`` (L, M) over the chosen bit map is at most ``bound``."""

    name: str
    values: Floats
    bound: float


@dataclass(frozen=True)
class Allocation:
    """A bit map with its certificate.

    Attributes
    ----------
    choice
        (L,) choice of every group; -1 where infeasible.
    cost, score
        Sums of the bit map; NaN where infeasible.
    bound
        No bit map within the limits costs less; infinity where infeasible.
    gap
        (cost - bound) / abs(cost); 0 is proven optimal, NaN infeasible.
    status
        ``optimal``, ``bounded`` (a gap is left), ``infeasible``, or ``unknown`` (nothing found, nothing proven).
    limit
        Name of the limit that makes it infeasible, given those before it; empty otherwise.
    nearest
        Smallest value of that limit that can be kept together with those before it; NaN otherwise.
    """

    choice: Ints
    cost: float
    score: float
    bound: float
    gap: float
    status: str
    limit: str = ""
    nearest: float = math.nan

    @property
    def feasible(self) -> bool:
        """Whether there is a bit map."""
        return self.status in ("optimal", "bounded")


def merge_ties(values: Floats, ties: Sequence[Sequence[int]]) -> Floats:
    """Sum the rows of layers that share their choice.

    Parameters
    ----------
    values
        (layers, M) additive costs or scores; infinity for choices that a layer cannot take.
    ties
        Groups of layer indices; layers in no group are groups of their own.

    Returns
    -------
    (L, M), groups in the order of their first layers, as :func:`tie_members` gives them.

    Examples
    --------
    >>> merge_ties(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [(0, 2)]).tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    """
    return np.stack([values[list(members)].sum(axis=0) for members in tie_members(len(values), ties)])


def tie_members(layers: int, ties: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Layer indices of every group, groups in the order of their first layers; ties that overlap become one group.

    Raises
    ------
    InputError
        An index that is no layer.
    """
    wrong = [index for tie in ties for index in tie if not 0 <= index < layers]
    if wrong:
        raise InputError("ties", [f"expected indices below {layers}, got {wrong}"])
    first = list(range(layers))
    for tie in ties:
        joined = {first[index] for index in tie}
        first = [min(joined) if f in joined else f for f in first]
    return tuple(tuple(i for i, f in enumerate(first) if f == leader) for leader in sorted(set(first)))


def solve(
    cost: Floats,
    score: Floats,
    mask: Bools | None = None,
    score_max: float = math.inf,
    limits: Sequence[Limit] = (),
    weights: npt.ArrayLike | None = None,
    max_states: int | None = None,
) -> Allocation:
    """Choose one of M choices for each of L groups: least cost, summed score at most ``score_max``, all limits kept.

    Parameters
    ----------
    cost
        (L, M), or (columns, L, M) with ``weights``; infinite where a choice cannot be taken.
    score
        (L, M) additive score.
    mask
        (L, M) choices that may be taken; all where left out.
    score_max
        Limit on the summed score; its name in the certificate is ``score``.
    limits
        Further limits, all kept at once.
    weights
        (columns,) weight of every column of ``cost``.
    max_states
        Sums kept at once; beyond it the answer has status ``bounded`` and its true gap.

    Returns
    -------
    Allocation
        Limits are checked in exact arithmetic (a correctly rounded sum); only the rounding of the bound itself is
        granted (:data:`dse.search.allocation.lagrange.ROUNDING`). Equal costs are decided the same way every time.

    Raises
    ------
    InputError
        Shapes that do not fit, or a NaN.
    """
    objective = _objective(cost, weights)
    every = [Limit("score", score, score_max), *limits]
    for limit in every:
        if np.shape(limit.values) != objective.shape or math.isnan(limit.bound):
            raise InputError(
                "limits",
                [
                    f"'{limit.name}' expected {objective.shape} values and a number, got {np.shape(limit.values)}, {limit.bound}"
                ],
            )
    scores = np.ascontiguousarray(score, dtype=np.float64)
    _, _, masks = checked(objective[None], scores, mask)
    allowed = masks[0]
    columns = [np.ascontiguousarray(limit.values, dtype=np.float64) for limit in every]
    for column in columns:
        allowed = allowed & ~np.isposinf(column)
    for limit, column in zip(every, columns, strict=True):
        if np.isnan(column[allowed]).any():
            raise InputError("limits", [f"'{limit.name}' has a NaN among the choices that may be taken"])
    if not allowed.any(axis=1).all():
        empty = int(np.flatnonzero(~allowed.any(axis=1))[0])
        return _nothing(len(scores), f"choices of group {empty}", math.nan)
    # A limit that no bit map can exceed need not be searched.
    binding = [k for k, limit in enumerate(every) if _extreme(columns[k], allowed, np.max) > allowed_score(limit.bound)]
    if len(binding) <= 1:
        k = binding[0] if binding else 0
        bound_value = every[k].bound if binding else math.inf
        choice, bound, status, _ = solve_one(objective, columns[k], allowed, bound_value, max_states or MAX_STATES)
        if status == INFEASIBLE:
            return _nothing(len(scores), every[k].name, _extreme(columns[k], allowed, np.min))
        return _allocation(objective, scores, choice, float(bound), "bounded" if status == BOUNDED else "optimal")
    return _several(
        objective, scores, allowed, [every[k] for k in binding], [columns[k] for k in binding],
        max_states or MAX_STATES_SEVERAL_LIMITS,
    )  # fmt: skip


def exact_sum(values: Floats, choice: Ints) -> float:
    """Correctly rounded sum of the chosen entries of (L, M) values."""
    return math.fsum(values[np.arange(len(choice)), choice])


def _objective(cost: Floats, weights: npt.ArrayLike | None) -> Floats:
    costs = np.asarray(cost, dtype=np.float64)
    if weights is None:
        if costs.ndim != 2:
            raise InputError("cost", [f"expected (layers, choices), or weights for the columns; got {costs.shape}"])
        return np.ascontiguousarray(costs)
    factors = np.asarray(weights, dtype=np.float64)
    if costs.ndim != 3 or factors.shape != costs.shape[:1] or not np.isfinite(factors).all():
        raise InputError("weights", [f"expected one finite number per column of {costs.shape}, got {factors.shape}"])
    if (factors < 0).any():
        raise InputError("weights", [f"expected weights >= 0, got {factors.tolist()}"])
    total = np.zeros(costs.shape[1:])
    for factor, column in zip(factors, costs, strict=True):
        # A choice that cannot be taken stays so even where its column weighs nothing.
        total = np.where(np.isposinf(column), np.inf, total + factor * np.where(np.isposinf(column), 0.0, column))
    return total


def _extreme(values: Floats, allowed: Bools, which: np.ufunc | object) -> float:
    fill = np.inf if which is np.min else -np.inf
    rows = np.where(allowed, values, fill)
    return math.fsum(rows.min(axis=1) if which is np.min else rows.max(axis=1))


def _nothing(groups: int, limit: str, nearest: float, status: str = "infeasible") -> Allocation:
    bound = math.inf if status == "infeasible" else -math.inf
    return Allocation(np.full(groups, -1, np.int64), math.nan, math.nan, bound, math.nan, status, limit, nearest)


def _allocation(objective: Floats, score: Floats, choice: Ints, bound: float, status: str) -> Allocation:
    cost = exact_sum(objective, choice)
    # The kernel's sum and this one differ by rounding only.
    low = cost if status == "optimal" else min(bound, cost)
    gap = 0.0 if low == cost else (cost - low) / (abs(cost) or 1.0)
    return Allocation(choice, cost, exact_sum(score, choice), low, gap, "optimal" if gap == 0.0 else status)


def _several(
    objective: Floats, score: Floats, allowed: Bools, limits: list[Limit], columns: list[Floats], max_states: int
) -> Allocation:
    alone = [_extreme(column, allowed, np.min) for column in columns]
    if any(least > allowed_score(limit.bound) for least, limit in zip(alone, limits, strict=True)):
        return _name_infeasible(score, allowed, limits, columns, max_states)
    table = np.stack(columns)
    bounds = np.array([allowed_score(limit.bound) for limit in limits])
    price, bound = _dual(objective, table, allowed, bounds)
    cost = np.where(allowed, objective, 0.0)
    hair = 1e-13 * float(np.abs(cost).max(axis=1).sum())
    reduced = np.where(allowed, objective + np.tensordot(price, table, 1), np.inf)
    reduced = reduced - reduced.min(axis=1, keepdims=True)
    largest = float(np.where(allowed, reduced, 0.0).max(axis=1).sum())
    width = max(largest * 1e-4, 16 * hair)
    lowest = bound
    best: Ints | None = None
    total = math.inf
    asked = False
    while True:
        final = width >= largest
        target = bound + width
        choice, dropped = _sums(objective, table, allowed, bounds, price, bound, target, hair, reduced, max_states)
        if choice is not None and exact_sum(objective, choice) < total:
            best, total = choice, exact_sum(objective, choice)
        if best is not None and dropped < math.inf:
            return _allocation(objective, score, best, max(lowest, min(dropped, target)), "bounded")
        if best is not None and (total <= target + hair or final):
            return _allocation(objective, score, best, total, "optimal")
        if best is None and (final or dropped < math.inf or width > 100 * largest * 1e-4) and not asked:
            # Nothing near the bound: make sure that there is anything at all before widening further.
            asked = True
            answer = _name_infeasible(score, allowed, limits, columns, max_states)
            if answer.status == "infeasible":
                return answer
        if best is None and (final or dropped < math.inf):
            return _nothing(len(score), " and ".join(limit.name for limit in limits), math.nan, "unknown")
        lowest = target
        width = min(width * 4.0, largest, max(total - bound, width))


def _name_infeasible(
    score: Floats, allowed: Bools, limits: list[Limit], columns: list[Floats], max_states: int
) -> Allocation:
    """The first limit that cannot be kept together with those before it."""
    least_alone = _extreme(columns[0], allowed, np.min)
    if least_alone > allowed_score(limits[0].bound):
        return _nothing(len(score), limits[0].name, least_alone)
    for k in range(1, len(limits)):
        before = [Limit(limits[i].name, columns[i], limits[i].bound) for i in range(k)]
        least = solve(columns[k], columns[0], allowed, limits[0].bound, before[1:], max_states=max_states)
        if least.status == "infeasible":
            return least
        if least.status == "unknown" or least.bound <= allowed_score(limits[k].bound):
            continue
        return _nothing(len(score), limits[k].name, least.cost)
    return _nothing(len(score), "", math.nan, "unknown")


def _dual(objective: Floats, table: Floats, allowed: Bools, bounds: Floats) -> tuple[Floats, float]:
    """Prices of the limits and the bound they give: projected subgradient, the best step kept (any price gives a bound)."""
    cost = np.where(allowed, objective, np.inf)
    rows = np.arange(len(cost))
    spread = np.where(allowed, objective, np.nan)
    saved = float((np.nanmax(spread, axis=1) - np.nanmin(spread, axis=1)).sum())
    room = np.array([_extreme(column, allowed, np.max) - _extreme(column, allowed, np.min) for column in table])
    scale = np.where(room > 0, saved / np.where(room > 0, room, 1.0), 0.0)
    price = np.zeros(len(bounds))
    best_price, best = price, -math.inf
    step = 1.0
    since = 0
    for _ in range(DUAL_STEPS):
        priced = cost + np.tensordot(price, np.where(allowed, table, 0.0), 1)
        pick = priced.argmin(axis=1)
        value = float(priced[rows, pick].sum() - price @ bounds)
        if value > best:
            best_price, best, since = price, value, 0
        else:
            since += 1
            if since >= 10:
                step, since, price = step / 2, 0, best_price
                continue
        excess = (table[:, rows, pick].sum(axis=1) - bounds) / np.where(room > 0, room, 1.0)
        length = float(np.abs(excess).max())
        if length == 0:
            break
        price = np.maximum(price + step * scale * excess / length, 0.0)
    return best_price, best


def _sums(
    objective: Floats,
    table: Floats,
    allowed: Bools,
    bounds: Floats,
    price: Floats,
    bound: float,
    target: float,
    hair: float,
    reduced: Floats,
    max_states: int,
) -> tuple[Ints | None, float]:
    """Cheapest bit map with a cost of at most ``target``, or None; and the bound of what had to be dropped."""
    groups = len(objective)
    second = np.sort(reduced, axis=1)[:, 1] if reduced.shape[1] > 1 else np.full(groups, np.inf)
    order = np.argsort(-second, kind="stable")
    least = np.where(allowed, table, np.inf).min(axis=2)[:, order]
    rest = np.zeros((len(table), groups + 1))
    rest[:, :-1] = np.cumsum(least[:, ::-1], axis=1)[:, ::-1]
    sums = np.zeros((1, 1 + len(table)))
    above = np.zeros(1)
    history: list[tuple[Ints, Ints]] = []
    dropped = math.inf
    for p, l in enumerate(order):
        picks = np.flatnonzero(allowed[l] & (bound + reduced[l] <= target + hair))
        parts = np.concatenate([objective[l, picks][None], table[:, l, picks]]).T
        new = (sums[:, None, :] + parts[None]).reshape(-1, sums.shape[1])
        over = (above[:, None] + reduced[l, picks][None]).reshape(-1)
        # Rounding of these sums is judged again, exactly, at the end.
        slack = 1e-13 * np.abs(bounds)
        keep = (bound + over <= target + hair) & (new[:, 1:] + rest[:, p + 1] <= bounds + slack).all(axis=1)
        rows = np.flatnonzero(keep)
        rows = rows[pareto_mask(new[rows])]
        if len(rows) > max_states:
            ranked = rows[np.argsort(over[rows], kind="stable")]
            dropped = min(dropped, bound + float(over[ranked[max_states]]))
            rows = np.sort(ranked[:max_states])
        if not len(rows):
            return None, dropped
        history.append((rows // len(picks), picks[rows % len(picks)]))
        sums, above = new[rows], over[rows]
    for row in np.argsort(sums[:, 0], kind="stable"):
        choice = np.empty(groups, np.int64)
        at = int(row)
        for p in range(groups - 1, -1, -1):
            parent, pick = history[p]
            choice[order[p]] = pick[at]
            at = int(parent[at])
        if all(exact_sum(column, choice) <= limit for column, limit in zip(table, bounds, strict=True)):
            return choice, dropped
    return None, dropped
