"""A search's problem, made whole: ties merged, scores looked up, limits translated, its units measured.

The unit of an objective is twice the figure of the default design with every width at its largest: what no design of a front is
far above.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan

import numpy as np
import pandas as pd

from dse.accuracy import Profile
from dse.content import content
from dse.cost.jobs.network import MODES
from dse.cost.steps.choices import choice_costs, uniform_plans
from dse.cost.tensors.memory import footprint
from dse.errors import InputError, NothingFeasible
from dse.goals import ACCURACY_DROP, OBJECTIVES
from dse.hardware.arrays import hardware_arrays
from dse.hardware.model import Hardware
from dse.names import MAC_OPERANDS
from dse.numbers import CONFIDENCE, EVEN, WEIGHT
from dse.precision import Plan
from dse.precision.formats.properties import Format, parse_format, stored_bits
from dse.search.allocation.candidates import Candidate, asked_formats, candidates, error_candidates
from dse.search.archive import objective_row, places
from dse.search.bits.held import held_tables
from dse.search.bits.limits import MEMORY, hard_limits, limit_tables
from dse.search.bits.maps import MapCosts, map_figures, mean_over_schedule, scores_over_schedule
from dse.search.bits.problem import BitProblem, SearchProblem, dram_bits, least_noise, tie_groups
from dse.search.bits.schedule_space import ScheduleSpace
from dse.types import Bools, Floats
from dse.units import count_of
from dse.workload.model import Network


@dataclass(frozen=True)
class Offered:
    """What a layer may be given; see :func:`dse.explore`."""

    widths: Sequence[int] | None = None
    formats: Sequence[str] | None = None
    error_formats: Sequence[str] | None = None
    errors_per_layer: bool = False


@dataclass(frozen=True)
class Together:
    """How several networks count on one hardware; see :func:`dse.explore`."""

    weights: Sequence[float] | None = None
    worst_case: bool = False

    def factors(self, networks: int) -> tuple[float, ...]:
        """One weight per network.

        Raises
        ------
        InputError
            Another number of weights than of networks, or one that is not positive.
        """
        given = self.weights if self.weights is not None else [1.0] * networks
        found = tuple(float(weight) for weight in given)
        if len(found) != networks:
            raise InputError("--weights", [f"expected one positive number per network ({networks}), got {list(found)}"])
        for factor in found:
            WEIGHT.check(factor)
        return found


@dataclass(frozen=True)
class Asked:
    """What a search is asked beside its networks, what is known of them, and the hardware.

    Attributes
    ----------
    limit_pp, confidence
        Limit on the drop, infinity where plans are given, and the probability with which a design keeps it.
    mode
        ``training`` or ``inference``.
    limits
        Hard limits by name.
    """

    limit_pp: float
    confidence: float = CONFIDENCE
    mode: str = "training"
    offered: Offered = Offered()
    together: Together = Together()
    limits: Mapping[str, float] = field(default_factory=dict)
    schedules: ScheduleSpace | None = None


def make_problem(
    networks: Sequence[Network], hardware: Hardware, given: Sequence[Profile | Plan], asked: Asked
) -> SearchProblem:
    """Merge ties, look up scores, translate the accuracy limit into a limit on the score, measure the units.

    Parameters
    ----------
    given
        Of each network the profile by which its formats are chosen, or its plan, which then is not searched.

    Raises
    ------
    InputError
        No plan keeps the limit on accuracy; the message has the nearest limit that one keeps.
    NothingFeasible
        The default design is infeasible.
    """
    wanted = asked_formats(asked.offered.widths, asked.offered.formats, hardware)
    names = [network.name for network in networks]
    if len(set(names)) != len(names):
        raise InputError("workload", [f"expected different networks, got {', '.join(names)}"])
    weights = asked.together.factors(len(names))
    worst_case = asked.together.worst_case and len(names) > 1
    assert asked.mode in MODES
    hard = hard_limits(asked.limits)
    least = min(hard.bound(MEMORY), dram_bits(hardware, min))
    subjects = tuple(
        _given_plan(network, item, hardware, asked.mode, least)
        if isinstance(item, Plan)
        else _bit_problem(network, item, hardware, asked, wanted, least)
        for network, item in zip(networks, given, strict=True)
    )
    if asked.schedules is not None and not all(item.integers for subject in subjects for item in subject.choices):
        raise InputError(
            "--schedules",
            ["lower and raise the widths of integers; other formats have none: give --widths, or no schedules"],
        )
    default = _default_row(subjects, hardware, asked, weights, worst_case)
    if not any(isinstance(item, Plan) for item in given):
        default[places([ACCURACY_DROP.column])] = max(asked.limit_pp, 1e-9)
    else:
        default[places([ACCURACY_DROP.column])] = 1.0
    upward = np.array([item.direction == "max" for item in OBJECTIVES.values()])
    return SearchProblem(
        subjects=subjects,
        weights=weights,
        worst_case=worst_case,
        hardware=hardware,
        limit_pp=asked.limit_pp,
        confidence=asked.confidence,
        mode=asked.mode,
        formats=wanted if any(not isinstance(item, Plan) for item in given) else (),
        limits=hard,
        schedules=asked.schedules,
        reference=np.where(upward, default / 2.0, 2.0 * default),
        digest=_digest(networks, hardware, given),
    )


def _default_row(
    subjects: Sequence[BitProblem],
    hardware: Hardware,
    asked: Asked,
    weights: Sequence[float],
    worst_case: bool,
) -> Floats:
    """(objectives,) figures of the default design with every width at its largest; nothing of it waits on the chip."""
    default = pd.DataFrame([{parameter.name: parameter.default for parameter in hardware.space}], index=range(1))
    arrays = hardware_arrays(hardware, default.astype(np.float64))
    costs = [choice_costs(s.network, hardware, arrays, s.plans, s.groups, asked.mode) for s in subjects]
    failed = next((cost.limit[0] for cost in costs if cost.limit[0]), "")
    if failed:
        raise NothingFeasible(hardware.path or hardware.name, [f"the default design is infeasible: {failed}"])
    shares = np.ones(1)
    if asked.schedules is not None:
        shares = asked.schedules.shares(np.array([values[0] for _, values in asked.schedules.dimensions]))
    each = []
    for subject, cost in zip(subjects, costs, strict=True):
        tables = {"latency": cost.latency_s[0], "energy": cost.energy_j[0]}
        if len(shares) > 1:
            tables = {name: mean_over_schedule(subject, shares, table) for name, table in tables.items()}
        score = scores_over_schedule(subject, asked.schedules, shares)
        table = MapCosts(score, tables, float(cost.area_mm2[0]))
        each.append(map_figures(subject, table, asked.mode, *least_noise(subject, table.energy_j)))
    return objective_row(each, weights, worst_case)


def _given_plan(network: Network, plan: Plan, hardware: Hardware, mode: str, memory_bits: float) -> BitProblem:
    """The problem of a network whose plan is given: one group of all its layers with MACs, and one choice."""
    names = [layer.name for layer in network.mac_layers]
    groups = (tuple(range(len(names))),)
    weight, activation, error = (
        max(plan.choices(operand).formats, key=lambda form: form.element_bits) for operand in MAC_OPERANDS
    )
    return BitProblem(
        network=network,
        profile=None,
        choices=(Candidate(weight, activation),),
        errors=(error,),
        plans=((plan,),),
        group_names=(names[0],),
        groups=groups,
        allowed=np.ones((1, 1), bool),
        kept=(0,),
        score=np.zeros((1, 1)),
        score_limit=np.full(1, np.inf),
        by_law=np.zeros(1, bool),
        tables=limit_tables(network, hardware, [[plan]], groups, mode),
        held=held_tables(network, [[plan]], groups, mode)
        if sum(footprint(network, plan, mode).values()) > memory_bits
        else (),
    )


def _bit_problem(
    network: Network,
    profile: Profile,
    hardware: Hardware,
    asked: Asked,
    wanted: tuple[str, ...],
    memory_bits: float,
) -> BitProblem:
    """The bit allocation of one network; ``memory_bits`` is the least that a step may be allowed to hold."""
    mode, training = asked.mode, asked.mode == "training"
    error_forms = (
        error_candidates(asked.offered.error_formats, wanted, profile, hardware)
        if training
        else (parse_format("int8"),)
    )
    names = [layer.name for layer in network.mac_layers]
    groups = tie_groups(network, profile)
    kept = tuple(max(profile.kept.get(names[l], 0) for l in members) for members in groups)
    choices = candidates(wanted, profile.tied, error_forms if asked.offered.errors_per_layer and training else ())
    table, by_law = score_of_choices(profile, names, choices)
    allowed = allowed_choices(profile, choices, kept, [names[members[0]] for members in groups], wanted)
    score = np.stack([table[list(members)].sum(axis=0) for members in groups])
    least = float(np.where(allowed, score, np.inf).min(axis=1).sum())
    errors, limits = _score_limits(profile, error_forms, asked, least)
    plans = uniform_plans(network, [(c.weight, c.activation, [c.error_at(form) for form in errors]) for c in choices])
    weights, activations = [c.weight for c in choices], [c.activation for c in choices]
    weight, activation, error = (max(forms, key=stored_bits) for forms in (weights, activations, error_forms))
    widest = Plan.uniform(network, weight, activation, error)
    binds = sum(footprint(network, widest, mode).values()) > memory_bits
    return BitProblem(
        network=network,
        profile=profile,
        choices=choices,
        errors=errors,
        plans=plans,
        group_names=tuple(names[members[0]] for members in groups),
        groups=groups,
        allowed=allowed,
        kept=kept,
        score=score,
        score_limit=limits,
        by_law=by_law,
        tables=limit_tables(network, hardware, plans, groups, mode),
        held=held_tables(network, plans, groups, mode) if binds else (),
    )


def allowed_choices(
    profile: Profile,
    choices: Sequence[Candidate],
    kept: Sequence[int],
    group_names: Sequence[str],
    wanted: Sequence[str],
) -> Bools:
    """(G, M) which choices the profile lets a group take; every group is left one."""
    allowed = np.array(
        [[min(c.weight.element_bits, c.activation.element_bits) >= floor for c in choices] for floor in kept]
    )
    # Below the narrowest width that was measured a collapse is as likely as the law: nothing is promised there.
    allowed &= [profile.reaches(c.weight, "weight") and profile.reaches(c.activation, "activation") for c in choices]
    if not allowed.any(axis=1).all():
        narrow = [group_names[g] for g in np.flatnonzero(~allowed.any(axis=1)).tolist()]
        named = f"{', '.join(narrow[:8])}{f' and {len(narrow) - 8} more' if len(narrow) > 8 else ''}"
        raise InputError(
            "--formats",
            [
                f"the profile keeps {named} wider than every format of {', '.join(wanted)}, or measured nothing so narrow"
            ],
        )
    return allowed


def score_of_choices(profile: Profile, names: Sequence[str], choices: Sequence[Candidate]) -> tuple[Floats, Bools]:
    """(layers, M) scores, and (M,) which of them follow a law; layers that the profile keeps have none and score 0."""
    scores = np.zeros((len(names), len(choices)))
    table, by_law = profile.pair_table([(item.weight, item.activation) for item in choices])
    scores[[names.index(name) for name in profile.layer_names]] = table
    return scores, by_law


def _score_limits(
    profile: Profile, errors: Sequence[Format], asked: Asked, least: float
) -> tuple[tuple[Format, ...], Floats]:
    """Formats of the errors with which some map keeps the limit, and (E,) the score that it may have."""
    if asked.confidence > EVEN and isnan(profile.error_model.floor):
        raise InputError(
            profile.path,
            [
                f"{len(profile.point_drops)} measured points say nothing about the predictor's error, so that no limit is known to "
                "be kept with any confidence; measure more plans ('dse calibrate'), or take predicted drops as they are with "
                "--confidence 0.5"
            ],
        )
    kept: list[tuple[Format, float]] = []
    nearest = even = float("inf")
    for form in errors:
        counted = form.element_bits if asked.mode == "training" else 32
        bound = profile.score_limit(asked.limit_pp, counted, confidence=asked.confidence)
        if isfinite(bound) and bound >= least:
            kept.append((form, bound))
        drop = float(profile.drop_of_score(least, counted))
        even = min(even, drop)
        nearest = min(nearest, profile.drop_interval(drop, asked.confidence, picked=True).high)
    if not errors:
        raise InputError(
            profile.path, ["nothing is known about the error tensor, so training under a limit is unknown"]
        )
    if not kept:
        raise InputError(
            "--max-accuracy-drop",
            [
                f"no bit map of this profile loses at most {count_of(asked.limit_pp, profile.unit)}"
                f"{_with(asked.confidence)}; the nearest feasible value is {_up(nearest)}"
                + (f" (predicted alone, --confidence 0.5: {_up(even)})" if asked.confidence > EVEN else "")
            ],
        )
    return tuple(form for form, _ in kept), np.array([bound for _, bound in kept])


def _with(confidence: float) -> str:
    return "" if confidence == EVEN else f" with a probability of {confidence:g}"


def _up(value: float) -> str:
    return f"{np.ceil(value * 1000) / 1000:g}"


def _digest(networks: Sequence[Network], hardware: Hardware, given: Sequence[Profile | Plan]) -> str:
    # Where a file lies decides nothing; what it says does.
    parts = [
        *(content(replace(network, path="")) for network in networks),
        content(replace(hardware, path="")),
        *(content(item if isinstance(item, Plan) else replace(item, path="")) for item in given),
    ]
    text = json.dumps(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
