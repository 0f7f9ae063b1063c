"""Exact bit allocation: the multiple-choice knapsack of choosing one width per group of layers.

``minimize sum_g cost[g, m_g]  subject to  sum_g score[g, m_g] <= limit``

The dynamic programme keeps the Pareto list of partial sums (Nemhauser and Ullmann, Management Science 1969); for a single
limit, partial sums whose Lagrangian bound exceeds the best known solution are dropped (Kellerer, Pferschy, Pisinger, Knapsack
Problems, 2004, chapter 11). The bound is the Lagrangian dual, which for this problem equals the linear relaxation
(Sinha and Zoltners, Operations Research 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Partial solutions kept at most; beyond it the list is thinned and the certificate says how far that can be off.
MAX_LIST = 200_000


@dataclass(frozen=True)
class Allocation:
    """One solution with its certificate.

    Attributes
    ----------
    choice
        (G,) index of the choice of each group.
    cost, score
        Their sums.
    bound
        No solution costs less; equal to ``cost`` where optimality is proven.
    gap
        ``(cost - bound) / |cost|``; 0 is proven optimal.
    """

    choice: npt.NDArray[np.uint8]
    cost: float
    score: float
    bound: float

    @property
    def gap(self) -> float:
        return max(0.0, (self.cost - self.bound) / abs(self.cost)) if self.cost else 0.0


@dataclass(frozen=True)
class Front:
    """All non-dominated (score, cost) sums, by ascending score.

    Attributes
    ----------
    score, cost
        (n,)
    choice
        (n, G)
    """

    score: Floats
    cost: Floats
    choice: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.score)


def solve(cost: Floats, score: Floats, allowed: Bools, limit: float) -> Allocation:
    """The cheapest choice whose summed score keeps a limit, proven optimal.

    Parameters
    ----------
    cost, score
        (G, M) per group and choice, finite where allowed; scores >= 0.
    allowed
        (G, M) which choices exist.
    limit
        Largest summed score.

    Raises
    ------
    InputError
        No choice keeps the limit; the message has the smallest score that one has.
    """
    cost = np.where(allowed, cost, np.inf)
    score = np.where(allowed, score, np.inf)
    least = score.min(axis=1)
    if not np.isfinite(cost.min(axis=1)).all() or not np.isfinite(least).all():
        raise InputError("allocation", ["a group of layers has no choice"])
    # Sums in another order may differ in the last digit: the limit is held up to that.
    slack = limit + 1e-12 * max(abs(limit), float(least.sum()))
    if least.sum() > slack:
        raise InputError(
            "allocation", [f"no choice scores at most {limit:.6g}; the nearest feasible limit is {least.sum():.6g}"]
        )
    multiplier = _dual(cost, score, slack)
    reduced = (cost + multiplier * np.where(allowed, score, 0.0)).min(axis=1)
    bound = float(reduced.sum() - multiplier * slack)
    incumbent = _greedy(cost, score, slack, multiplier)
    rows = np.arange(len(cost))
    best = float(cost[rows, incumbent].sum())
    choice = _programme(cost, score, allowed, slack, multiplier, reduced, least, best)
    if choice is None:
        choice = incumbent
    total = float(cost[rows, choice].sum())
    if total > best:
        choice, total = incumbent, best
    # The programme only drops what cannot beat the incumbent, so what it returns is optimal.
    return Allocation(choice.astype(np.uint8), total, float(score[rows, choice].sum()), max(bound, total))


def lagrangian_bound(cost: Floats, score: Floats, allowed: Bools, limit: float) -> float:
    """A value that no feasible choice can go below: the Lagrangian dual."""
    cost = np.where(allowed, cost, np.inf)
    multiplier = _dual(cost, np.where(allowed, score, np.inf), limit)
    return float((cost + multiplier * np.where(allowed, score, 0.0)).min(axis=1).sum() - multiplier * limit)


def exact_front(cost: Floats, score: Floats, allowed: Bools, limit: float = np.inf) -> Front:
    """The whole front of summed score against summed cost, exactly.

    Raises
    ------
    InputError
        Nothing keeps the limit, or the list of partial sums outgrows :data:`MAX_LIST`.
    """
    cost = np.where(allowed, cost, np.inf)
    score = np.where(allowed, score, np.inf)
    least = score.min(axis=1)
    slack = limit + 1e-12 * max(abs(limit), float(least.sum())) if np.isfinite(limit) else limit
    if not least.sum() <= slack:
        raise InputError(
            "allocation", [f"no choice scores at most {limit:.6g}; the nearest feasible limit is {least.sum():.6g}"]
        )
    tail = np.concatenate([np.cumsum(least[::-1])[::-1][1:], [0.0]])
    sums, costs = np.zeros(1), np.zeros(1)
    picks, parents = [], []
    for g in range(len(cost)):
        options = np.flatnonzero(allowed[g])
        s = (sums[:, None] + score[g, options][None]).reshape(-1)
        c = (costs[:, None] + cost[g, options][None]).reshape(-1)
        parent = np.repeat(np.arange(len(sums)), len(options))
        pick = np.tile(options, len(sums))
        keep = _staircase(s, c, s + tail[g] <= slack)
        if len(keep) > MAX_LIST:
            raise InputError("allocation", [f"the exact front has more than {MAX_LIST} partial points; give a limit"])
        sums, costs = s[keep], c[keep]
        parents.append(parent[keep])
        picks.append(pick[keep])
    at = np.arange(len(sums))
    choice = np.empty((len(sums), len(cost)), dtype=np.uint8)
    for g in range(len(cost) - 1, -1, -1):
        choice[:, g] = picks[g][at]
        at = parents[g][at]
    return Front(sums, costs, choice)


def merge_ties(values: Floats, groups: list[list[int]] | tuple[tuple[int, ...], ...]) -> Floats:
    """Sums over tied layers: (L, M) to (G, M)."""
    return np.stack([values[list(members)].sum(axis=0) for members in groups])


def _staircase(score: Floats, cost: Floats, keep: Bools) -> Ints:
    """Indices of the non-dominated points among those to keep, by ascending score, the first of equals."""
    index = np.flatnonzero(keep & np.isfinite(cost))
    order = index[np.lexsort((index, cost[index], score[index]))]
    if not len(order):
        return order
    below = np.minimum.accumulate(cost[order])
    first = np.concatenate([[True], cost[order][1:] < below[:-1]])
    return order[first]


def _dual(cost: Floats, score: Floats, limit: float) -> float:
    """The multiplier of the score that maximizes the Lagrangian bound, by bisection on its slope."""
    finite = np.where(np.isfinite(score), score, 0.0)

    def used(multiplier: float) -> float:
        value = cost + multiplier * finite
        best = value.min(axis=1, keepdims=True)
        return float(np.where(value <= best, finite, np.inf).min(axis=1).sum())

    if used(0.0) <= limit:
        return 0.0
    low, high = 0.0, 1.0
    while used(high) > limit and high < 1e300:
        low, high = high, high * 4.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if used(middle) > limit:
            low = middle
        else:
            high = middle
    return high


def _greedy(cost: Floats, score: Floats, limit: float, multiplier: float) -> Ints:
    """A feasible choice: the dual's, then the swaps that save the most cost for what is left of the limit."""
    finite = np.where(np.isfinite(score), score, 0.0)
    value = cost + multiplier * finite
    ties = value <= value.min(axis=1, keepdims=True)
    choice = np.where(ties, finite, np.inf).argmin(axis=1)
    rows = np.arange(len(cost))
    left = limit - score[rows, choice].sum()
    if left < 0:
        choice = score.argmin(axis=1)
        left = limit - score[rows, choice].sum()
    for _ in range(4 * len(cost)):
        saving = cost[rows, choice][:, None] - cost
        price = score - score[rows, choice][:, None]
        with np.errstate(invalid="ignore"):
            gain = np.where((price <= left) & np.isfinite(cost) & (saving > 0), saving, 0.0)
        best = int(gain.argmax())
        g, m = divmod(best, cost.shape[1])
        if gain[g, m] <= 0:
            break
        left -= price[g, m]
        choice[g] = m
    return np.asarray(choice, dtype=np.int64)


def _programme(
    cost: Floats,
    score: Floats,
    allowed: Bools,
    limit: float,
    multiplier: float,
    reduced: Floats,
    least: Floats,
    best: float,
) -> Ints | None:
    """Pareto lists of partial sums, without those that cannot lead below the best known cost."""
    # Groups whose choice matters most come first, so that bounds bite early.
    order = np.argsort(-np.ptp(np.where(allowed, cost, cost.min(axis=1, keepdims=True)), axis=1), kind="stable")
    tail_score = np.concatenate([np.cumsum(least[order][::-1])[::-1][1:], [0.0]])
    tail_reduced = np.concatenate([np.cumsum(reduced[order][::-1])[::-1][1:], [0.0]])
    tolerance = 1e-12 * abs(best)
    sums, costs = np.zeros(1), np.zeros(1)
    picks, parents = [], []
    for position, g in enumerate(order):
        options = np.flatnonzero(allowed[g])
        s = (sums[:, None] + score[g, options][None]).reshape(-1)
        c = (costs[:, None] + cost[g, options][None]).reshape(-1)
        bound = c + multiplier * (s - limit) + tail_reduced[position]
        keep = _staircase(s, c, (s + tail_score[position] <= limit) & (bound <= best + tolerance))
        if not len(keep):
            return None
        parents.append(keep // len(options))
        picks.append(options[keep % len(options)])
        sums, costs = s[keep], c[keep]
    at = int(costs.argmin())
    choice = np.empty(len(cost), dtype=np.int64)
    for position in range(len(order) - 1, -1, -1):
        choice[order[position]] = picks[position][at]
        at = int(parents[position][at])
    return choice
