"""The inner problem: for given hardware, which width each layer gets.

Cost and score are sums over layers, so the bit map is the solution of a multiple-choice knapsack (DESIGN 4.8): choose one
(weight, activation) pair of widths per group of tied layers, for each width of the error tensors, such that the summed score
keeps the limit that the predictor gives, at the least weighted sum of latency and energy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isfinite

import numpy as np
import numpy.typing as npt

from dse.accuracy import Profile
from dse.cost.choices import ChoiceCosts, choice_costs
from dse.errors import InputError
from dse.hardware.arrays import hardware_arrays
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.search.allocate import solve, tie_members
from dse.search.archive import OBJECTIVES, Found
from dse.search.study import Told
from dse.workload.model import Network

Floats = npt.NDArray[np.float64]

#: Weights of latency against energy that every hardware point is solved for, beside the proposed one.
FIXED_WEIGHTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class SearchProblem:
    """Everything that is the same for all trials.

    Attributes
    ----------
    choices
        The M pairs of (weight, activation) widths, bits.
    error_widths
        The E widths of the error tensors that some plan can keep the limit with.
    group_names, groups
        The G groups of tied layers: name of the first layer, indices among the layers with MACs.
    allowed
        (G, M) which choices a group may take.
    score
        (G, M) summed score of the group's layers.
    score_limit
        (E,) largest summed score that keeps the limit.
    reference
        (4,) objectives of the default hardware with every width at its largest: the unit of weights and hypervolume.
    """

    network: Network
    hardware: Hardware
    profile: Profile
    limit_pp: float
    robust: bool
    mode: str
    widths: tuple[int, ...]
    choices: tuple[tuple[int, int], ...]
    error_widths: tuple[int, ...]
    group_names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    allowed: npt.NDArray[np.bool_]
    score: Floats
    score_limit: Floats
    reference: Floats
    digest: str


@dataclass(frozen=True)
class Outcome:
    """What one trial gave: designs for the archive (the first is the trial's own), or why there are none.

    Attributes
    ----------
    parameters
        (parameters,) the hardware point.
    limit
        Name of the limit that failed, "" if none did.
    violation
        By how much: 1 where a design cannot run at all, else the relative excess over the limit.
    """

    found: Found
    parameters: Floats
    limit: str = ""
    violation: float = 1.0

    def told(self, objectives: Sequence[str]) -> Told:
        """What Optuna is told; an infeasible trial is worse than every feasible one by its constraint, not by a number."""
        if not len(self.found):
            return Told((1.0e3,) * len(objectives), self.violation)
        row = self.found.objectives[0]
        return Told(tuple(float(row[OBJECTIVES.index(name)]) for name in objectives), 0.0)


def make_problem(
    network: Network,
    hardware: Hardware,
    profile: Profile,
    widths: Sequence[int],
    limit_pp: float,
    robust: bool,
    mode: str,
) -> SearchProblem:
    """Merge ties, look up scores, translate the accuracy limit into a limit on the score.

    Raises
    ------
    InputError
        No plan keeps the limit; the message has the nearest limit that one keeps.
    """
    wanted = sorted(set(widths))
    if not wanted or wanted[0] < 2 or wanted[-1] > 16:
        raise InputError("widths", [f"expected integers from 2 to 16, got {list(widths)}"])
    choices = tuple((w, w) for w in wanted) if profile.tied else tuple(product(wanted, wanted))
    names = [layer.name for layer in network.mac_layers]
    groups = tie_groups(network, profile)
    table = score_of_choices(profile, names, choices)
    allowed = np.ones((len(groups), len(choices)), dtype=bool)
    for g, members in enumerate(groups):
        for l in members:
            if names[l] in profile.kept:
                width = profile.kept[names[l]]
                allowed[g] &= [min(choice) >= width for choice in choices]
    if not allowed.any(axis=1).all():
        narrow = [names[groups[g][0]] for g in np.flatnonzero(~allowed.any(axis=1))]
        raise InputError("widths", [f"the profile keeps {', '.join(narrow)} wider than every width of {wanted}"])
    score = np.stack([table[list(members)].sum(axis=0) for members in groups])
    errors, limits = _score_limits(profile, limit_pp, robust, np.where(allowed, score, np.inf).min(axis=1).sum(), mode)
    problem = SearchProblem(
        network=network,
        hardware=hardware,
        profile=profile,
        limit_pp=limit_pp,
        robust=robust,
        mode=mode,
        widths=tuple(wanted),
        choices=choices,
        error_widths=errors,
        group_names=tuple(names[members[0]] for members in groups),
        groups=groups,
        allowed=allowed,
        score=score,
        score_limit=limits,
        reference=np.ones(len(OBJECTIVES)),
        digest=_digest(network, hardware, profile),
    )
    return _with_reference(problem)


def tie_groups(network: Network, profile: Profile) -> tuple[tuple[int, ...], ...]:
    """Indices of layers with MACs that share their widths: by the network's ``tie`` and by the profile's ties."""
    names = [layer.name for layer in network.mac_layers]
    sets: list[list[int]] = [[names.index(name) for name in tied if name in names] for tied in profile.ties]
    by_tie: dict[str, list[int]] = {}
    for index, layer in enumerate(network.mac_layers):
        if layer.tie:
            by_tie.setdefault(layer.tie, []).append(index)
    return tie_members(len(names), [*sets, *by_tie.values()])


def score_of_choices(profile: Profile, names: Sequence[str], choices: Sequence[tuple[int, int]]) -> Floats:
    """(layers, M) scores; layers that the profile keeps have none and score 0."""
    scores = np.zeros((len(names), len(choices)))
    rows = [names.index(name) for name in profile.layer_names]
    if profile.tied:
        table, _ = profile.score_table([min(choice) for choice in choices])
        scores[rows] = table
        return scores
    for position, operand in enumerate(("weight", "activation")):
        if operand in profile.operands:
            table, _ = profile.score_table([choice[position] for choice in choices], operand)
            scores[rows] += table
    return scores


def choice_plan(problem: SearchProblem, error_bits: int, pairs: Sequence[tuple[int, int]]) -> Plan:
    """The plan that gives each layer with MACs its (weight, activation) pair."""
    names = [layer.name for layer in problem.network.mac_layers]
    return Plan.from_bits(
        problem.network,
        weight={name: pair[0] for name, pair in zip(names, pairs, strict=True)},
        activation={name: pair[1] for name, pair in zip(names, pairs, strict=True)},
        error=error_bits,
    )


def plan_of(problem: SearchProblem, error_bits: int, choice: npt.NDArray[np.uint8]) -> Plan:
    """The plan of an archived design."""
    pairs: list[tuple[int, int]] = [(0, 0)] * len(problem.network.mac_layers)
    for members, picked in zip(problem.groups, choice, strict=True):
        for index in members:
            pairs[index] = problem.choices[int(picked)]
    return choice_plan(problem, error_bits, pairs)


def solve_designs(
    problem: SearchProblem, designs: Floats, weights: Sequence[Sequence[float]], shares: Sequence[float], first: int
) -> list[Outcome]:
    """Solve the inner problem of several hardware points.

    Parameters
    ----------
    designs
        (D, parameters) hardware parameter values in the order of the space.
    weights
        For each design, weights between latency (1) and energy (0); the first is the trial's own.
    shares
        For each design, the share of the score limit that the trial's own design may use.
    first
        Number of the first trial.
    """
    costs = price_choices(problem, designs)
    return [
        _solve_one(problem, costs, d, designs[d], list(weights[d]), shares[d], first + d) for d in range(len(designs))
    ]


def fixed_designs(
    problem: SearchProblem, designs: Floats, errors: Sequence[int], choices: Sequence[npt.NDArray[np.uint8]], first: int
) -> list[Outcome]:
    """Outcomes of designs whose bit maps are given (``joint`` and ``random``); no certificate: the gap is NaN."""
    costs = price_choices(problem, designs)
    outcomes = []
    for d, (error, choice) in enumerate(zip(errors, choices, strict=True)):
        e = problem.error_widths.index(error)
        if costs.limit[d]:
            outcomes.append(Outcome(_nothing(problem), designs[d], costs.limit[d]))
            continue
        score = problem.score[np.arange(len(choice)), choice].sum()
        if score > problem.score_limit[e]:
            excess = float(score / problem.score_limit[e] - 1.0) if problem.score_limit[e] > 0 else 1.0
            limit = f"accuracy: the predicted drop is above {problem.limit_pp:g} {problem.profile.unit}"
            outcomes.append(Outcome(_nothing(problem), designs[d], limit, excess))
            continue
        outcomes.append(Outcome(_found(problem, costs, d, designs[d], [(e, choice, np.nan)], first + d), designs[d]))
    return outcomes


def price_choices(problem: SearchProblem, designs: Floats) -> ChoiceCosts:
    """Energy and latency of every choice of every group on hardware points."""
    import pandas as pd

    names = [parameter.name for parameter in problem.hardware.space]
    table = pd.DataFrame(designs, columns=names) if names else None
    arrays = hardware_arrays(problem.hardware, table)
    return choice_costs(
        problem.network, problem.hardware, arrays, problem.choices, problem.error_widths, problem.groups, problem.mode
    )


def _solve_one(
    problem: SearchProblem,
    costs: ChoiceCosts,
    d: int,
    values: Floats,
    weights: list[float],
    share: float,
    trial: int,
) -> Outcome:
    if costs.limit[d]:
        return Outcome(_nothing(problem), values, costs.limit[d])
    own: list[tuple[float, int, npt.NDArray[np.uint8], float]] = []
    rows: list[tuple[int, npt.NDArray[np.uint8], float]] = []
    targets = [(weight, share if k == 0 else 1.0) for k, weight in enumerate([*weights, *FIXED_WEIGHTS])]
    for k, (weight, part) in enumerate(targets):
        for e in range(len(problem.error_widths)):
            cost = (1 - weight) * costs.energy_j[d, e] / problem.reference[1]
            cost = cost + weight * costs.latency_s[d, e] / problem.reference[0]
            feasible = problem.allowed & np.isfinite(cost)
            if not feasible.any(axis=1).all():
                continue
            least = np.where(feasible, problem.score, np.inf).min(axis=1).sum()
            limit = least + part * (problem.score_limit[e] - least)
            if limit < least:
                continue
            answer = solve(np.where(feasible, cost, np.inf), problem.score, feasible, limit)
            if not answer.feasible:
                continue
            choice = answer.choice.astype(np.uint8)
            if k == 0:
                own.append((answer.cost, e, choice, answer.gap))
            rows.append((e, choice, answer.gap))
    if not rows:
        limit = "processing element: none of the widths that keep the accuracy limit"
        return Outcome(_nothing(problem), values, limit)
    if own:
        _, e, choice, gap = min(own, key=lambda item: item[:2])
        rows.insert(0, (e, choice, gap))
    distinct = {(e, choice.tobytes()): (e, choice, gap) for e, choice, gap in reversed(rows)}
    ordered = [distinct.pop((rows[0][0], rows[0][1].tobytes())), *reversed(distinct.values())]
    return Outcome(_found(problem, costs, d, values, ordered, trial), values)


def _found(
    problem: SearchProblem,
    costs: ChoiceCosts,
    d: int,
    values: Floats,
    rows: Sequence[tuple[int, npt.NDArray[np.uint8], float]],
    trial: int,
) -> Found:
    every = np.arange(len(problem.groups))
    objectives = np.empty((len(rows), len(OBJECTIVES)))
    for i, (e, choice, _) in enumerate(rows):
        score = problem.score[every, choice].sum()
        objectives[i, 0] = costs.latency_s[d, e, every, choice].sum()
        objectives[i, 1] = costs.energy_j[d, e, every, choice].sum()
        objectives[i, 2] = costs.area_mm2[d]
        error = problem.error_widths[e] if problem.mode == "training" else 32
        objectives[i, 3] = float(problem.profile.drop_of_score(min(score, problem.score_limit[e]), error))
    # Sums in another order differ in the last digits: equal designs have to be equal.
    objectives = np.array([[float(f"{value:.12g}") for value in row] for row in objectives])
    return Found(
        np.full(len(rows), trial, np.int64),
        np.tile(values, (len(rows), 1)),
        np.array([problem.error_widths[e] for e, _, _ in rows], np.int64),
        np.stack([choice for _, choice, _ in rows]).astype(np.uint8),
        objectives,
        np.array([gap for _, _, gap in rows], np.float64),
    )


def _nothing(problem: SearchProblem) -> Found:
    from dse.search.archive import empty

    return empty(len(problem.hardware.space), len(problem.groups))


def _score_limits(
    profile: Profile, limit_pp: float, robust: bool, least: float, mode: str
) -> tuple[tuple[int, ...], Floats]:
    candidates = [bits for bits in sorted(profile.error_drops) if 2 <= bits <= 16] if mode == "training" else [8]
    kept: list[tuple[int, float]] = []
    nearest = float("inf")
    for bits in candidates:
        counted = bits if mode == "training" else 32
        limit = profile.score_limit(limit_pp, counted, robust=robust)
        if isfinite(limit) and limit >= least:
            kept.append((bits, limit))
        margin = profile.error_pp if robust else 0.0
        nearest = min(nearest, float(profile.drop_of_score(least, counted)) + margin)
    if not candidates:
        raise InputError(
            profile.path, ["nothing is known about the error tensor, so training under a limit is unknown"]
        )
    if not kept:
        raise InputError(
            "--max-accuracy-drop",
            [
                f"no bit map of this profile loses at most {limit_pp:g} {profile.unit}; "
                f"the nearest feasible value is {np.ceil(nearest * 1000) / 1000:g}"
            ],
        )
    return tuple(bits for bits, _ in kept), np.array([limit for _, limit in kept])


def _with_reference(problem: SearchProblem) -> SearchProblem:
    default = np.array([[parameter.default for parameter in problem.hardware.space]])
    costs = price_choices(problem, default)
    if costs.limit[0]:
        raise InputError(
            problem.hardware.path or problem.hardware.name, [f"the default design is infeasible: {costs.limit[0]}"]
        )
    widest = np.array([int(np.flatnonzero(row)[-1]) for row in problem.allowed], dtype=np.uint8)
    row = _found(problem, costs, 0, default[0], [(len(problem.error_widths) - 1, widest, 0.0)], 0).objectives[0]
    row[3] = max(problem.limit_pp, 1e-9)
    return replace(problem, reference=2.0 * row)


def _digest(network: Network, hardware: Hardware, profile: Profile) -> str:
    # Where a file lies decides nothing; what it says does.
    parts = (replace(network, path=""), replace(hardware, path=""), replace(profile, path=""))
    text = json.dumps([repr(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
