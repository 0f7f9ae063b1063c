"""The cost of one network's bit maps on one design, and the best of them under all limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dse.cost.steps.choices import ChoiceCosts
from dse.goals import ENERGY, LATENCY, LIMITS, Figures
from dse.search.allocation.allocate import Allocation, Limit, solve
from dse.search.allocation.lagrange import allowed_score
from dse.search.bits.held import HeldTable, solve_within
from dse.search.bits.limits import ACCURACY, MEMORY
from dse.search.bits.problem import BitProblem, SearchProblem
from dse.search.bits.schedule_space import ScheduleSpace
from dse.types import Bools, Floats


@dataclass(frozen=True)
class MapCosts:
    """What the choices of a network's groups cost on one design: E error formats, G groups, M choices.

    Attributes
    ----------
    score
        (G, M)
    tables
        (E, G, M) what a limit sums over the layers, by its name: energy and latency too.
    area_mm2
        Of the design.
    held, memory_bits
        What is held at the moments of a step, by error format, and the most that may be: the limit on memory or, where that is
        less, what the design's DRAM holds. Empty where no map can hold so much.
    least
        Where costs are no plain sum (:attr:`dse.cost.steps.choices.ChoiceCosts.least_energy_j`): the same with sums that no map
        undercuts.
    whole
        Then: energy (J) and latency (s) of the maps that were priced, by error format and map; see :mod:`dse.search.bits.joint`.
    """

    score: Floats
    tables: dict[str, Floats]
    area_mm2: float
    held: tuple[HeldTable, ...] = ()
    memory_bits: float = math.inf
    least: MapCosts | None = None
    whole: Mapping[tuple[int, bytes], dict[str, float]] | None = None

    @property
    def energy_j(self) -> Floats:
        """(E, G, M) of a step; over a schedule, of its mean step."""
        return self.tables["energy"]

    @property
    def latency_s(self) -> Floats:
        """(E, G, M) of a step; over a schedule, of its mean step."""
        return self.tables["latency"]

    def value(self, name: str, e: int, choice: npt.NDArray[np.integer]) -> float:
        """What a map has of a limited quantity."""
        if name == MEMORY:
            return self.held[e].peak(choice)[0] if self.held else 0.0
        if self.whole is not None and name in COSTS:
            return self.whole[e, map_key(choice)][name]
        return float(sums(self.tables[name][e], choice))


#: Names of the limits on what a map costs, which alone may be no plain sum.
COSTS = ("energy", "latency")


def map_key(choice: npt.NDArray[np.integer]) -> bytes:
    """A map as a key of :attr:`MapCosts.whole`."""
    return np.asarray(choice).astype(np.uint8).tobytes()


def sums(table: Floats, choice: npt.NDArray[np.integer]) -> np.float64:
    """Sum of a map's entries of a (G, M) table."""
    return np.float64(table[np.arange(len(choice)), choice].sum())


def map_costs(problem: SearchProblem, subject: BitProblem, costs: ChoiceCosts, d: int, values: Floats) -> MapCosts:
    """Costs of a network's choices on design ``d``, over the schedule of its parameter values if there is one."""
    tables = {"latency": costs.latency_s[d], "energy": costs.energy_j[d], **subject.tables}
    area, memory = float(costs.area_mm2[d]), problem.memory_bits(values)
    plain = MapCosts(subject.score, tables, area, subject.held, memory)
    if costs.least_energy_j is not None and costs.least_latency_s is not None:
        low = {"latency": costs.least_latency_s[d], "energy": costs.least_energy_j[d]}
        return replace(plain, least=replace(plain, tables=tables | low))
    shares = problem.shares(values)
    if len(shares) == 1:
        return plain
    # Weights are kept and activations stashed at their widest at some time: size and memory are those of the full map.
    means = {
        name: mean_over_schedule(subject, shares, table)
        for name, table in tables.items()
        if LIMITS[name].over_schedule == "mean"
    }
    return replace(plain, score=scores_over_schedule(subject, problem.schedules, shares), tables=tables | means)


def scores_over_schedule(subject: BitProblem, schedules: ScheduleSpace | None, shares: Floats) -> Floats:
    """(G, M) scores of a network's choices, over shares of time at lowered maps if there is a schedule."""
    if schedules is None or schedules.score != "mean":
        return subject.score
    return mean_over_schedule(subject, shares, subject.score)


def mean_over_schedule(subject: BitProblem, shares: Floats, table: Floats) -> Floats:
    """Mean of a (..., G, M) table over shares of time at maps lowered by 0, 1, ... bits; a map never run costs nothing."""
    groups = np.arange(len(subject.groups))[:, None]
    total = np.zeros_like(table)
    for share, place in zip(shares, subject.lowered(len(shares) - 1), strict=True):
        if share > 0:
            total += share * table[..., groups, place]
    return total


def map_figures(subject: BitProblem, table: MapCosts, mode: str, e: int, choice: npt.NDArray[np.integer]) -> Figures:
    """What is known of a network's map at an error format."""
    score = min(float(sums(table.score, choice)), float(subject.score_limit[e]))
    error = subject.errors[e].element_bits if mode == "training" else 32
    drop = np.nan if subject.profile is None else float(subject.profile.drop_of_score(score, error))
    return Figures(table.value("latency", e, choice), table.value("energy", e, choice), table.area_mm2, drop)


def best_map(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, e: int, weight: float, share: float
) -> tuple[Allocation, int]:
    """The best map for an error format, and a bit per limit (accuracy first) that binds it.

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
    bounds = limit_bounds(problem, subject, table, e) | {ACCURACY: float(score_max)}
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
    """(G, M) weighted sums of latency and energy at an error format, each in units of the problem's reference."""
    energy, latency = table.energy_j[e] / problem.unit(ENERGY), table.latency_s[e] / problem.unit(LATENCY)
    runs = np.isfinite(energy) & np.isfinite(latency)
    sums = (1 - weight) * np.where(runs, energy, 0.0) + weight * np.where(runs, latency, 0.0)
    return np.where(runs, sums, np.inf)


def limit_bounds(problem: SearchProblem, subject: BitProblem, table: MapCosts, e: int) -> dict[str, float]:
    """Bounds of all limits on maps, by name; that of accuracy is on the score."""
    memory = {MEMORY: table.memory_bits} if math.isfinite(table.memory_bits) else {}
    return {ACCURACY: float(subject.score_limit[e]), **dict(problem.limits.additive), **memory}


def solve_map(table: MapCosts, e: int, cost: Floats, allowed: Bools, bounds: dict[str, float]) -> Allocation:
    """Best map within bounds by name."""
    feasible = allowed & np.isfinite(cost)
    cost = np.where(feasible, cost, np.inf)
    others = dict(bounds)
    score_max = others.pop(ACCURACY, math.inf)
    memory = others.pop(MEMORY, math.inf)
    limits = [Limit(name, table.tables[name][e], bound) for name, bound in others.items()]

    def within(more: list[Limit]) -> Allocation:
        return solve(cost, table.score, feasible, score_max, [*limits, *more])

    answer = solve_within(table.held[e], memory, within) if table.held and memory < math.inf else within([])
    return replace(answer, limit=ACCURACY) if answer.limit == "score" else answer


def _none(limit: str) -> Allocation:
    return Allocation(np.zeros(0, np.int64), math.nan, math.nan, math.inf, math.nan, "infeasible", limit)
