"""The cost of one network's bit maps on one design, and the best of them under all limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dse.cost.choices import ChoiceCosts
from dse.search.allocation.allocate import Allocation, Limit, solve
from dse.search.allocation.lagrange import allowed_score
from dse.search.bits.limits import ACCURACY
from dse.search.bits.problem import BitProblem, SearchProblem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MapCosts:
    """What the choices of a network's groups cost on one design: E error widths, G groups, M choices.

    Attributes
    ----------
    energy_j, latency_s
        (E, G, M) of a step; over a schedule, of its mean step.
    score
        (G, M)
    tables
        By name of a further limit, (E, G, M).
    area_mm2
        Of the design.
    """

    energy_j: Floats
    latency_s: Floats
    score: Floats
    tables: dict[str, Floats]
    area_mm2: float

    def table(self, name: str) -> Floats:
        """(E, G, M) what a limit sums."""
        return {"latency": self.latency_s, "energy": self.energy_j}[name] if name in _OWN else self.tables[name]

    def value(self, name: str, e: int, choice: npt.NDArray[np.integer]) -> float:
        """What a map has of a limited quantity."""
        total = float(sums(self.table(name)[e], choice))
        if name == "memory":
            total += float(self.tables["working"][e][np.arange(len(choice)), choice].max())
        return total


_OWN = ("latency", "energy")


def sums(table: Floats, choice: npt.NDArray[np.integer]) -> np.float64:
    """Sum of a map's entries of a (G, M) table."""
    return np.float64(table[np.arange(len(choice)), choice].sum())


def map_costs(problem: SearchProblem, subject: BitProblem, costs: ChoiceCosts, d: int, values: Floats) -> MapCosts:
    """Costs of a network's choices on design ``d``, over the schedule of its parameter values if there is one."""
    plain = MapCosts(
        costs.energy_j[d], costs.latency_s[d], subject.score, dict(subject.tables), float(costs.area_mm2[d])
    )
    if len(problem.shares(values)) == 1:
        return plain

    def mean(table: Floats) -> Floats:
        return _mean_over_schedule(problem, subject, values, table)

    # Weights are kept and activations stashed at their widest at some time: size and memory are those of the full map.
    tables = {name: mean(table) if name == "bitops" else table for name, table in subject.tables.items()}
    score = scores_over_schedule(problem, subject, values)
    return replace(plain, energy_j=mean(plain.energy_j), latency_s=mean(plain.latency_s), score=score, tables=tables)


def scores_over_schedule(problem: SearchProblem, subject: BitProblem, values: Floats) -> Floats:
    """(G, M) scores of a network's choices, over the schedule of a row of parameter values if there is one."""
    if problem.schedules is None or problem.schedules.score != "mean":
        return subject.score
    return _mean_over_schedule(problem, subject, values, subject.score)


def _mean_over_schedule(problem: SearchProblem, subject: BitProblem, values: Floats, table: Floats) -> Floats:
    """Mean of a (..., G, M) table over the histogram of lowered maps; a map that is never run costs nothing."""
    shares = problem.shares(values)
    groups = np.arange(len(subject.groups))[:, None]
    total = np.zeros_like(table)
    for share, place in zip(shares, subject.lowered(len(shares) - 1), strict=True):
        if share > 0:
            total += share * table[..., groups, place]
    return total


def best_map(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, e: int, weight: float, share: float
) -> tuple[Allocation, int]:
    """The best map for an error width, and a bit per limit (accuracy first) that binds it.

    A limit binds if the best map without it does not keep it.

    Parameters
    ----------
    weight
        Between latency (1) and energy (0).
    share
        Share of the way from the least score to its limit that may be used.
    """
    cost = weighted(problem, table, e, weight)
    feasible = subject.allowed & np.isfinite(cost)
    if not feasible.any(axis=1).all():
        return _none("processing element"), 0
    least = np.where(feasible, table.score, np.inf).min(axis=1).sum()
    score_max = least + share * (subject.score_limit[e] - least)
    if score_max < least:
        return _none(ACCURACY), 0
    bounds = limit_bounds(problem, subject, e) | {ACCURACY: float(score_max)}
    answer = solve_map(table, e, cost, feasible, bounds)
    if not answer.feasible:
        return answer, 0
    binds = 0
    for name, bound in bounds.items():
        free = solve_map(table, e, cost, feasible, {key: value for key, value in bounds.items() if key != name})
        taken = sums(table.score, free.choice) if name == ACCURACY else table.value(name, e, free.choice)
        if free.feasible and taken > allowed_score(bound):
            binds |= 1 << problem.limit_names.index(name)
    return answer, binds


def weighted(problem: SearchProblem, table: MapCosts, e: int, weight: float) -> Floats:
    """(G, M) weighted sums of latency and energy at an error width, each in units of the problem's reference."""
    energy, latency = table.energy_j[e] / problem.reference[1], table.latency_s[e] / problem.reference[0]
    return np.asarray((1 - weight) * energy + weight * latency)


def limit_bounds(problem: SearchProblem, subject: BitProblem, e: int) -> dict[str, float]:
    """Bounds of all limits that are sums, by name; that of accuracy is on the score."""
    return {ACCURACY: float(subject.score_limit[e]), **dict(problem.limits.additive)}


def solve_map(
    table: MapCosts, e: int, cost: Floats, allowed: npt.NDArray[np.bool_], bounds: dict[str, float]
) -> Allocation:
    """Best map within bounds by name."""
    feasible = allowed & np.isfinite(cost)
    cost = np.where(feasible, cost, np.inf)
    others = dict(bounds)
    score_max = others.pop(ACCURACY, math.inf)
    if "memory" in others:
        return _with_working_set(table, e, cost, feasible, bounds)
    limits = [Limit(name, table.table(name)[e], bound) for name, bound in others.items()]
    answer = solve(cost, table.score, feasible, score_max, limits)
    return replace(answer, limit=ACCURACY) if answer.limit == "score" else answer


def _with_working_set(
    table: MapCosts, e: int, cost: Floats, feasible: npt.NDArray[np.bool_], bounds: dict[str, float]
) -> Allocation:
    """Best map when the memory's peak is limited: a sum over layers and the largest working set of any.

    For every size that the largest working set can have, larger ones are barred and the rest of the bound is left to the sum: each
    is a problem of sums, and the best of their answers is the best map.
    """
    working = table.tables["working"][e]
    least = float(np.where(feasible, working, np.inf).min(axis=1).max())
    bound = bounds["memory"]
    best: Allocation | None = None
    failed: list[Allocation] = []
    lowest = math.inf
    for size in np.unique(working[feasible & (working >= least)]):
        mask = feasible & (working <= size)
        rest = {**{key: value for key, value in bounds.items() if key != "memory"}}
        score_max = rest.pop(ACCURACY, math.inf)
        limits = [Limit(name, table.table(name)[e], value) for name, value in rest.items()]
        limits.append(Limit("memory", table.tables["memory"][e], bound - float(size)))
        answer = solve(cost, table.score, mask, score_max, limits)
        if answer.feasible:
            lowest = min(lowest, answer.bound)
            if best is None or answer.cost < best.cost:
                best = answer
        else:
            shifted = answer.nearest + float(size) if answer.limit == "memory" else answer.nearest
            # Nothing found and nothing proven: what lies there may be cheaper than anything.
            lowest = -math.inf if answer.status == "unknown" else lowest
            failed.append(replace(answer, nearest=shifted, limit=ACCURACY if answer.limit == "score" else answer.limit))
    if best is None:
        return min(failed, key=lambda item: (item.status != "unknown", item.limit != "memory", item.nearest))
    gap = 0.0 if lowest >= best.cost else (best.cost - lowest) / (abs(best.cost) or 1.0)
    return replace(best, bound=min(lowest, best.cost), gap=gap, status="optimal" if gap == 0.0 else "bounded")


def _none(limit: str) -> Allocation:
    return Allocation(np.zeros(0, np.int64), math.nan, math.nan, math.inf, math.nan, "infeasible", limit)
