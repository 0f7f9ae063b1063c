"""The inner problem: for given hardware, which formats each layer gets.

Cost and score are sums over layers, so the bit map is the solution of a multiple-choice knapsack (docs/model.md, Search): choose
one (weight, activation) pair of formats per group of tied layers, for each format of the error tensors, such that the summed score
keeps the limit that the predictor gives, and the further limits are kept, at the least weighted sum of latency and energy.
Several networks on one hardware are as many such problems: neither a weighted sum nor a largest value couples their bit maps.
Where tensors may wait on the chip the cost is no plain sum: :mod:`dse.search.bits.joint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.steps.choices import ChoiceCosts, choice_costs
from dse.cost.steps.options import StepOptions
from dse.cost.steps.step import step_costs
from dse.cost.tensors.memory import shortfall
from dse.goals import ENERGY, LATENCY, OBJECTIVES
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.numbers import EVEN
from dse.search.allocation.allocate import Allocation
from dse.search.archive import Found, empty, objective_row
from dse.search.bits.joint import Asked, best_priced, with_given, with_maps
from dse.search.bits.limits import ACCURACY, MEMORY
from dse.search.bits.maps import (
    MapCosts,
    best_map,
    limit_bounds,
    map_costs,
    map_figures,
    scores_over_schedule,
    solve_map,
    sums,
    weighted,
)
from dse.search.bits.problem import BitProblem, SearchProblem, plan_of
from dse.types import Bools, Floats

Choice = npt.NDArray[np.uint8]

#: Weights of latency against energy that every hardware point is solved for, beside the proposed one.
FIXED_WEIGHTS = (0.0, 0.5, 1.0)
#: Weights at which sampled maps are held against the optimum.
CERTIFIED_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Outcome:
    """What one trial gave: designs for the archive (the first is the trial's own), or why there are none.

    Attributes
    ----------
    parameters
        (parameters,) the design without its bit maps.
    limit
        Name of the limit that failed and how, "" if none did.
    violation
        By how much: 1 where a design cannot run at all, else the relative excess over the limit.
    """

    found: Found
    parameters: Floats
    limit: str = ""
    violation: float = 1.0


@dataclass(frozen=True)
class Certificate:
    """How far bit maps are from the best of their inner problem.

    Attributes
    ----------
    weight
        Of latency against energy.
    best, bound
        Weighted sum of latency and energy, each in units of the problem's reference: of the maps, and one that no maps undercut.
    gap
        (best - bound) / best; 0 is proven optimal.
    """

    weight: float = np.nan
    best: float = np.nan
    bound: float = np.nan
    gap: float = np.nan


class Failed(NamedTuple):
    """An infeasible trial: the limit that failed and how, the parameter values, and by how much (:attr:`Outcome.violation`)."""

    limit: str
    values: list[float]
    excess: float


class Weighting(NamedTuple):
    """What a hardware point is solved for: a weight between latency (1) and energy (0), and the share of the score limit to use."""

    latency: float
    limit_share: float = 1.0


@dataclass(frozen=True)
class _Row:
    """One design of a hardware point: per network the index of its error format and its map; certificate; limits that bind."""

    errors: tuple[int, ...]
    maps: tuple[Choice, ...]
    certificate: Certificate
    binds: int


def solve_designs(
    problem: SearchProblem, designs: Floats, asked: Sequence[Sequence[Weighting]], first: int
) -> list[Outcome]:
    """Solve the inner problem of several hardware points.

    Parameters
    ----------
    designs
        (D, parameters) parameter values in the order of the problem's.
    asked
        For each design, what it is solved for beside :data:`FIXED_WEIGHTS`; the first is the trial's own.
    first
        Number of the first trial.
    """
    costs = [price_choices(problem, subject, designs) for subject in problem.subjects]
    return [_solve_one(problem, costs, d, designs[d], asked[d], first + d) for d in range(len(designs))]


def fixed_designs(
    problem: SearchProblem,
    designs: Floats,
    errors: Sequence[Sequence[int]],
    choices: Sequence[Choice],
    first: int,
) -> list[Outcome]:
    """Outcomes of designs whose bit maps are given (``joint`` and ``random``); no certificate: the gap is NaN.

    Parameters
    ----------
    errors
        For each design, the place of the error tensors' format of every network.
    choices
        For each design, the choices of all networks' groups.
    """
    missed = [_missed_accuracy(problem, designs[d], errors[d], choices[d]) for d in range(len(designs))]
    # A design that misses the accuracy limit needs no price.
    priced = [d for d, (limit, _) in enumerate(missed) if not limit]
    costs = [_price_maps(problem, k, designs, errors, choices, priced) for k in range(len(problem.subjects))]
    outcomes = []
    for d in range(len(designs)):
        limit, excess = missed[d]
        if limit:
            outcomes.append(Outcome(_nothing(problem), designs[d], limit, excess))
            continue
        failed = next((cost.limit[d] for cost in costs if cost.limit[d]), "")
        if failed:
            outcomes.append(Outcome(_nothing(problem), designs[d], failed))
            continue
        maps = tuple(choices[d][part] for part in problem.columns)
        places = tuple(errors[d])
        tables = [
            map_costs(problem, subject, cost, d, designs[d])
            for subject, cost in zip(problem.subjects, costs, strict=True)
        ]
        limit, excess = _violation(problem, tables, places, maps)
        if limit:
            outcomes.append(Outcome(_nothing(problem), designs[d], limit, excess))
            continue
        row = _Row(places, maps, Certificate(), 0)
        outcomes.append(Outcome(_found(problem, tables, designs[d], [row], first + d), designs[d]))
    return outcomes


def price_choices(problem: SearchProblem, subject: BitProblem, designs: Floats) -> ChoiceCosts:
    """Energy and latency of every choice of every group of a network on hardware points."""
    arrays = design_arrays(problem, designs)
    return choice_costs(subject.network, problem.hardware, arrays, subject.plans, subject.groups, problem.mode)


def design_arrays(problem: SearchProblem, designs: Floats) -> HardwareArrays:
    """The hardware of (D, parameters) rows."""
    names = [parameter.name for parameter in problem.hardware.space]
    # A file without a space is one design, however often it is asked for: rows without columns.
    return hardware_arrays(
        problem.hardware, pd.DataFrame(designs[:, : len(names)], columns=names, index=range(len(designs)))
    )


def _solve_one(
    problem: SearchProblem,
    costs: Sequence[ChoiceCosts],
    d: int,
    values: Floats,
    asked: Sequence[Weighting],
    trial: int,
) -> Outcome:
    failed = next((cost.limit[d] for cost in costs if cost.limit[d]), "")
    if failed:
        return Outcome(_nothing(problem), values, failed)
    area = float(costs[0].area_mm2[d])
    if area > problem.limits.bound("area"):
        limit, excess = _exceeds("area", area, problem.limits.bound("area"))
        return Outcome(_nothing(problem), values, limit, excess)
    weightings = list(dict.fromkeys([*asked, *map(Weighting, FIXED_WEIGHTS)]))
    tables = [
        _priced_together(problem, subject, map_costs(problem, subject, cost, d, values), values, weightings)
        for subject, cost in zip(problem.subjects, costs, strict=True)
    ]
    rows: list[_Row] = []
    others: list[_Row] = []
    missed: list[tuple[str, float]] = []
    for weight, part in weightings:
        best: list[tuple[int, Allocation, int]] = []
        for subject, table in zip(problem.subjects, tables, strict=True):
            found = [
                (e, *_best_map(problem, subject, table, Asked(e, weight, part))) for e in range(len(subject.errors))
            ]
            feasible = [item for item in found if item[1].feasible]
            if not feasible:
                missed.append(_named(problem, subject, table, [answer for _, answer, _ in found]))
                break
            best.append(min(feasible, key=lambda item: (item[1].cost, item[0])))
            if len(tables) == 1:
                others += [
                    _Row((e,), (a.choice.astype(np.uint8),), Certificate(weight, a.cost, a.bound, a.gap), binds)
                    for e, a, binds in feasible
                ]
        if len(best) < len(tables):  # A part of the score limit may be too little where all of it is enough.
            continue
        errors = tuple(e for e, _, _ in best)
        maps = tuple(answer.choice.astype(np.uint8) for _, answer, _ in best)
        bound = np.bitwise_or.reduce([binds for _, _, binds in best])
        answers = [answer for _, answer, _ in best]
        rows.append(_Row(errors, maps, _certificate(problem, tables, weight, errors, maps, answers), int(bound)))
    if not rows:
        limit, excess = min(missed, key=lambda item: item[1])
        return Outcome(_nothing(problem), values, limit, excess)
    distinct: dict[tuple[tuple[int, ...], bytes], _Row] = {}
    for row in [*rows, *others]:
        key = (row.errors, b"".join(each.tobytes() for each in row.maps))
        # A map that is best at several weights is bound by what binds it at any of them.
        distinct[key] = replace(distinct[key], binds=distinct[key].binds | row.binds) if key in distinct else row
    return Outcome(_found(problem, tables, values, list(distinct.values()), trial), values)


def _priced_together(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, values: Floats, weightings: Sequence[Weighting]
) -> MapCosts:
    """The costs, with maps that are good for the weightings priced where costs are no plain sum."""
    if table.least is None:
        return table
    errors = range(len(subject.errors))
    wanted = [Asked(e, weight, part) for weight, part in weightings for e in errors]
    return with_maps(problem, subject, table, design_arrays(problem, values[None]), wanted)


def _best_map(problem: SearchProblem, subject: BitProblem, table: MapCosts, asked: Asked) -> tuple[Allocation, int]:
    if table.least is not None:
        return best_priced(problem, subject, table, asked)
    return best_map(problem, subject, table, asked.e, asked.weight, asked.share)


def _certificate(
    problem: SearchProblem,
    tables: Sequence[MapCosts],
    weight: float,
    errors: Sequence[int],
    maps: Sequence[Choice],
    answers: Sequence[Allocation],
) -> Certificate:
    """How far all networks' maps together are from a bound, given each network's best map at its error format."""
    factors = np.array(problem.weights)
    bounds = factors * [answer.bound for answer in answers]
    energy, latency = (
        factors * [table.value(name, e, map_) for table, e, map_ in zip(tables, errors, maps, strict=True)]
        for name in ("energy", "latency")
    )
    together = np.max if problem.worst_case else np.sum
    # The largest of weighted sums is no more than the weighted sum of the largest: a bound, not always reached.
    bound = float(together(bounds))
    best = float(
        (1 - weight) * together(energy) / problem.unit(ENERGY) + weight * together(latency) / problem.unit(LATENCY)
    )
    # Sums in another order differ in the last digits.
    gap = (best - bound) / best if not best - bound <= 1e-12 * best else 0.0
    return Certificate(weight, best, min(bound, best), gap)


def certified(problem: SearchProblem, found: Found, rows: Bools) -> Found:
    """Certificates for rows whose maps were sampled: each at the weight at which it is nearest to the optimum."""
    gap, certificate = found.gap.copy(), found.certificate.copy()
    distinct, place = np.unique(found.parameters, axis=0, return_inverse=True)
    open_ = rows & np.isnan(gap)
    for number in np.unique(place.reshape(-1)[open_]):
        values = distinct[number]
        costs = [price_choices(problem, subject, values[None]) for subject in problem.subjects]
        tables = [map_costs(problem, s, cost, 0, values) for s, cost in zip(problem.subjects, costs, strict=True)]
        numbers = np.flatnonzero(open_ & (place.reshape(-1) == number))
        for k, (subject, part) in enumerate(zip(problem.subjects, problem.columns, strict=True)):
            if tables[k].least is not None:
                given = [(int(found.error[row, k]), found.choice[row][part]) for row in numbers]
                tables[k] = with_given(problem, subject, tables[k], design_arrays(problem, values[None]), given)
        solved: dict[tuple[int, int, float], Allocation] = {}
        for row in numbers:
            errors = [int(e) for e in found.error[row]]
            maps = [found.choice[row][part] for part in problem.columns]
            best = Certificate(gap=np.inf)
            for weight in CERTIFIED_WEIGHTS:
                for k, e in enumerate(errors):
                    if (k, e, weight) not in solved:
                        low = tables[k].least or tables[k]
                        cost = weighted(problem, low, e, weight)
                        bounds = limit_bounds(problem, problem.subjects[k], low, e)
                        solved[k, e, weight] = solve_map(low, e, cost, problem.subjects[k].allowed, bounds)
                answers = [solved[k, e, weight] for k, e in enumerate(errors)]
                best = min(
                    best, _certificate(problem, tables, weight, errors, maps, answers), key=lambda item: item.gap
                )
            gap[row], certificate[row] = best.gap, (best.weight, best.best, best.bound)
    return replace(found, gap=gap, certificate=certificate)


def _missed_accuracy(
    problem: SearchProblem, values: Floats, errors: Sequence[int], choice: Choice
) -> tuple[str, float]:
    """The accuracy limit of the first network whose given map misses it, and by how much; "" where all keep it."""
    for subject, e, part in zip(problem.subjects, errors, problem.columns, strict=True):
        score = float(sums(scores_over_schedule(subject, problem.schedules, problem.shares(values)), choice[part]))
        most = float(subject.score_limit[e])
        if score > most * (1 + 1e-12):
            return _accuracy(problem, subject), score / most - 1.0 if most > 0 else 1.0
    return "", 0.0


def _violation(
    problem: SearchProblem, tables: Sequence[MapCosts], errors: Sequence[int], maps: Sequence[Choice]
) -> tuple[str, float]:
    """The first limit but accuracy that given maps do not keep, and by how much; "" where all are kept."""
    area = tables[0].area_mm2
    if area > problem.limits.bound("area"):
        return _exceeds("area", area, problem.limits.bound("area"))
    for table, e, choice in zip(tables, errors, maps, strict=True):
        for name, bound in problem.limits.additive:
            value = table.value(name, e, choice)
            if value > bound * (1 + 1e-12):
                return _exceeds(name, value, bound)
        held = table.value(MEMORY, e, choice)
        if held > table.memory_bits * (1 + 1e-12):
            return _too_much(problem, held, table.memory_bits)
    return "", 0.0


def _named(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, answers: Sequence[Allocation]
) -> tuple[str, float]:
    """Why a network has no map on a hardware point: the limit of the error format that comes nearest."""
    known = []
    for answer in answers:
        name = answer.limit
        bound = problem.limits.bound(name)
        if name == ACCURACY:
            known.append((_accuracy(problem, subject), 1.0))
        elif name == MEMORY and np.isfinite(answer.nearest):
            known.append(_too_much(problem, answer.nearest, table.memory_bits, "at least "))
        elif np.isfinite(answer.nearest) and np.isfinite(bound):
            known.append(_exceeds(name, answer.nearest, bound, "at least "))
        elif answer.status == "unknown":
            known.append((f"{name}: no map was found that keeps them, and none excluded", 1.0))
        else:
            known.append(("processing element: none of the formats that keep the accuracy limit", 1.0))
    return min(known, key=lambda item: item[1])


def _accuracy(problem: SearchProblem, subject: BitProblem) -> str:
    unit = subject.profile.unit if subject.profile is not None else ""
    sure = "" if problem.confidence == EVEN else f" with a probability of more than {1 - problem.confidence:.2g}"
    return f"{ACCURACY}: the {'predicted ' if not sure else ''}drop is above {problem.limit_pp:g} {unit}{sure}"


def _exceeds(name: str, value: float, bound: float, least: str = "") -> tuple[str, float]:
    return f"{name}: {least}{value:.4g} is above {bound:.4g}", value / bound - 1.0


def _too_much(problem: SearchProblem, held: float, allowed: float, least: str = "") -> tuple[str, float]:
    """That a step holds more than the limit on memory, or than the DRAM."""
    if allowed == problem.limits.bound(MEMORY):
        return _exceeds(MEMORY, held, allowed, least)
    text = shortfall(problem.hardware.memories[-1].name, problem.mode, held, allowed, least)
    return text, held / allowed - 1.0


def _found(
    problem: SearchProblem, tables: Sequence[MapCosts], values: Floats, rows: Sequence[_Row], trial: int
) -> Found:
    objectives = np.empty((len(rows), len(OBJECTIVES)))
    for i, row in enumerate(rows):
        each = [
            map_figures(subject, table, problem.mode, e, choice)
            for subject, table, e, choice in zip(problem.subjects, tables, row.errors, row.maps, strict=True)
        ]
        objectives[i] = objective_row(each, problem.weights, problem.worst_case)
    return Found(
        np.full(len(rows), trial, np.int64),
        np.tile(values, (len(rows), 1)),
        np.array([row.errors for row in rows], np.int64),
        np.stack([np.concatenate(row.maps) for row in rows]).astype(np.uint8),
        objectives,
        np.array([row.certificate.gap for row in rows], np.float64),
        np.array([[row.certificate.weight, row.certificate.best, row.certificate.bound] for row in rows]),
        np.array([row.binds for row in rows], np.int64),
    )


def _price_maps(
    problem: SearchProblem,
    k: int,
    designs: Floats,
    errors: Sequence[Sequence[int]],
    choices: Sequence[Choice],
    priced: Sequence[int],
) -> ChoiceCosts:
    """Costs that hold for one map per design only: whoever proposes maps pays for those and not for all choices.

    The costs of the map's layers stand at its choices; with a schedule the lowered maps are needed too, so all are priced.
    Designs that are not ``priced`` cost infinity.
    """
    subject, part = problem.subjects[k], problem.columns[k]
    if problem.schedules is not None:
        return price_choices(problem, subject, designs)
    arrays = design_arrays(problem, designs)
    shape = (len(designs), len(subject.errors), *subject.score.shape)
    energy, latency = np.full(shape, np.inf), np.full(shape, np.inf)
    limit = np.full(len(designs), "", dtype=object)
    every = np.arange(shape[2])
    sizes = arrays.axis_size[priced]
    # Designs of one array share their mapping tables and are priced together, each with its own map.
    for size in np.unique(sizes, axis=0):
        rows = np.asarray(priced)[(sizes == size).all(axis=1)]
        plans = [plan_of(subject, int(errors[d][k]), choices[d][part]) for d in rows]
        steps = step_costs(
            subject.network, problem.hardware, design_arrays(problem, designs[rows]), plans, StepOptions(problem.mode)
        )
        for i, d in enumerate(rows):
            choice = choices[d][part]
            at = (d, int(errors[d][k]), every, choice)
            # Only sums count: the whole step stands at the first group.
            for target, values in ((energy, steps.energy_j), (latency, steps.latency_s)):
                target[at] = 0.0
                target[at[0], at[1], 0, choice[0]] = values[i, i].sum()
            if not np.isfinite(steps.energy_j[i, i]).all():
                limit[d] = steps.limit[i, i] or "no format fits"
    return ChoiceCosts(energy, latency, arrays.area_mm2, limit)


def _nothing(problem: SearchProblem) -> Found:
    return empty(len(problem.parameters), sum(len(s.groups) for s in problem.subjects), len(problem.subjects))
