"""What a search is asked: networks with their choices, scores and limits, the hardware around which it searches."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, isnan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.accuracy import Profile
from dse.content import content
from dse.cost.jobs.network import MODES
from dse.cost.steps.choices import uniform_plans
from dse.cost.tensors.memory import footprint
from dse.errors import InputError
from dse.goals import Objective, objective_columns
from dse.hardware.model import Hardware
from dse.names import MAC_OPERANDS
from dse.numbers import EVEN, WEIGHT
from dse.precision import Plan
from dse.precision.formats.properties import Format, parse_format, stored_bits
from dse.search.allocation.allocate import tie_members
from dse.search.allocation.candidates import Candidate, asked_formats, candidates, error_candidates
from dse.search.archive import places
from dse.search.bits.held import HeldTable, held_tables
from dse.search.bits.limits import ACCURACY, MEMORY, HardLimits, hard_limits, limit_tables
from dse.search.bits.schedule_space import DIMENSIONS, ScheduleSpace, lowered
from dse.types import Bools, Floats, Ints
from dse.units import count_of
from dse.workload.model import Network
from dse.workload.work.tensors import tensors_of


class AccuracyLimit(NamedTuple):
    """Limit on the drop, the probability with which it is kept, and the mode, which says whether errors count."""

    drop_pp: float
    confidence: float
    mode: str


@dataclass(frozen=True)
class BitProblem:
    """The bit allocation of one network, the same on all hardware.

    Attributes
    ----------
    profile
        What the widths are chosen by; None where the plan is given: then there is one choice for one group of all layers.
    choices
        The M candidates that a layer may be given; the widest formats of a given plan.
    errors
        The E formats of the error tensors that some plan can keep the limit with, the narrowest first; the widest of a given plan.
    plans
        (E, M) the plan that gives choice m to every layer, at error format e.
    group_names, groups
        The G groups of tied layers: name of the first layer, indices among the layers with MACs.
    allowed
        (G, M) which choices a group may take.
    kept
        (G,) bits per element below which no layer of the group may go; 0 where the profile keeps none.
    score
        (G, M) summed score of the group's layers.
    by_law
        (M,) choices with a format that the profile did not measure, whose score follows a law.
    score_limit
        (E,) largest summed score that keeps the limit.
    tables
        By name of an additive hard limit, (E, G, M) what it sums; latency and energy depend on the hardware and are not here.
    held
        By error format, what the choices hold at the moments of a step; empty where no limit on memory can bind.
    """

    network: Network
    profile: Profile | None
    choices: tuple[Candidate, ...]
    errors: tuple[Format, ...]
    plans: tuple[tuple[Plan, ...], ...]
    group_names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    allowed: Bools
    kept: tuple[int, ...]
    score: Floats
    score_limit: Floats
    by_law: Bools
    tables: Mapping[str, Floats]
    held: tuple[HeldTable, ...] = ()

    def lowered(self, depth: int) -> Ints:
        """(depth + 1, G, M) which choice stands for each one when the map is lowered by 0 to ``depth`` bits."""
        pairs = [(item.weight.element_bits, item.activation.element_bits) for item in self.choices]
        return lowered(pairs, self.allowed, self.kept, depth)


@dataclass(frozen=True)
class SearchProblem:
    """Everything that is the same for all trials.

    Attributes
    ----------
    subjects
        The networks, each with its own bit map on the one hardware.
    weights
        How often a step of each network is run, for the sums of latency and energy; with ``worst_case`` a factor on each
        network's latency and energy before the largest is taken.
    worst_case
        Objectives are the largest over the networks instead of the weighted sum.
    formats
        Names of the formats and pairs that were asked for, or that the hardware is made for; empty where plans are given.
    limit_pp, confidence
        Limit on the drop, of every network, infinity where plans are given, and the probability with which a design keeps it.
    limits
        Hard limits beside it, for a step of every network.
    schedules
        Schedules to search, or None.
    reference
        (objectives,) figures of the default hardware with every width at its largest, twice as bad: the unit of weights and of
        hypervolumes.
    """

    subjects: tuple[BitProblem, ...]
    weights: tuple[float, ...]
    worst_case: bool
    hardware: Hardware
    limit_pp: float
    confidence: float
    mode: str
    formats: tuple[str, ...]
    limits: HardLimits
    schedules: ScheduleSpace | None
    reference: Floats
    digest: str

    @property
    def parameters(self) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """Name and values of everything about a design but its bit maps: the hardware's space, then the schedule's."""
        hardware = tuple((parameter.name, parameter.values) for parameter in self.hardware.space)
        return hardware + (self.schedules.dimensions if self.schedules else ())

    def unit(self, objective: Objective) -> float:
        """The unit in which an objective is weighed."""
        return float(self.reference[places([objective.column])[0]])

    @property
    def columns(self) -> tuple[slice, ...]:
        """Columns of an archive's ``choice`` that hold each network's groups."""
        ends = np.cumsum([0, *(len(subject.groups) for subject in self.subjects)])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    @property
    def predicts(self) -> bool:
        """Whether accuracy is predicted, by a profile of each network; else plans are given."""
        return all(subject.profile is not None for subject in self.subjects)

    @property
    def limit_names(self) -> tuple[str, ...]:
        """Names of all limits: accuracy, if it is predicted, the hard ones, and the memory where a DRAM with a size limits it."""
        by_size = MEMORY not in self.limits.names and math.isfinite(_dram_bits(self.hardware, max))
        return (*[ACCURACY] * self.predicts, *self.limits.names, *[MEMORY] * by_size)

    def bound(self, name: str) -> float:
        """The bound of a hard limit; of the memory without one, the size of the default design's DRAM."""
        dram = self.hardware.memories[-1].size_bits
        return dram if name == MEMORY and MEMORY not in self.limits.names else self.limits.bound(name)

    def memory_bits(self, values: Sequence[float] | Floats) -> float:
        """What a step may hold on a row of parameter values: the limit on memory, or the size of the DRAM where that is less."""
        names = [parameter.name for parameter in self.hardware.space]
        name = f"memories.{self.hardware.memories[-1].name}.size_bits"
        dram = float(values[names.index(name)]) if name in names else self.hardware.memories[-1].size_bits
        return min(self.limits.bound(MEMORY), dram)

    def hardware_of(self, values: Sequence[float] | Floats) -> Hardware:
        """The hardware of a row of parameter values."""
        names = [parameter.name for parameter in self.hardware.space]
        return self.hardware.with_values({name: float(value) for name, value in zip(names, values, strict=False)})

    def shares(self, values: Sequence[float] | Floats) -> Floats:
        """(depth + 1,) share of time that a row of parameter values runs 0, 1, ... bits below its map."""
        return self.schedules.shares(values[-len(DIMENSIONS) :]) if self.schedules else np.ones(1)


def make_problem(
    networks: Sequence[Network],
    hardware: Hardware,
    given: Sequence[Profile | Plan],
    widths: Sequence[int] | None,
    limit_pp: float,
    confidence: float,
    mode: str,
    *,
    formats: Sequence[str] | None = None,
    error_formats: Sequence[str] | None = None,
    errors_per_layer: bool = False,
    weights: Sequence[float] | None = None,
    worst_case: bool = False,
    limits: Mapping[str, float] | None = None,
    schedules: ScheduleSpace | None = None,
) -> SearchProblem:
    """Merge ties, look up scores, translate the accuracy limit into a limit on the score.

    Parameters
    ----------
    given
        Of each network the profile by which its formats are chosen, or its plan, which then is not searched.
    widths, formats, error_formats, errors_per_layer
        What a layer may be given; see :func:`dse.explore`.

    Raises
    ------
    InputError
        No plan keeps the limit on accuracy; the message has the nearest limit that one keeps.
    """
    wanted = asked_formats(widths, formats, hardware)
    names = [network.name for network in networks]
    if len(set(names)) != len(names):
        raise InputError("workload", [f"expected different networks, got {', '.join(names)}"])
    factors = tuple(float(weight) for weight in (weights if weights is not None else [1.0] * len(names)))
    if len(factors) != len(names):
        raise InputError("--weights", [f"expected one positive number per network ({len(names)}), got {list(factors)}"])
    for factor in factors:
        WEIGHT.check(factor)
    assert mode in MODES
    hard = hard_limits(limits or {})
    least = min(hard.bound(MEMORY), _dram_bits(hardware, min))
    subjects = tuple(
        _given_plan(network, item, hardware, mode, least)
        if isinstance(item, Plan)
        else _bit_problem(
            network,
            item,
            hardware,
            wanted,
            error_candidates(error_formats, wanted, item, hardware) if mode == "training" else (parse_format("int8"),),
            errors_per_layer and mode == "training",
            AccuracyLimit(limit_pp, confidence, mode),
            least,
        )
        for network, item in zip(networks, given, strict=True)
    )
    if schedules is not None and not all(item.integers for subject in subjects for item in subject.choices):
        raise InputError(
            "--schedules",
            ["lower and raise the widths of integers; other formats have none: give --widths, or no schedules"],
        )
    return SearchProblem(
        subjects=subjects,
        weights=factors,
        worst_case=worst_case and len(subjects) > 1,
        hardware=hardware,
        limit_pp=limit_pp,
        confidence=confidence,
        mode=mode,
        formats=wanted if any(not isinstance(item, Plan) for item in given) else (),
        limits=hard,
        schedules=schedules,
        reference=np.ones(len(objective_columns())),
        digest=_digest(networks, hardware, given),
    )


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
    wanted: tuple[str, ...],
    error_forms: tuple[Format, ...],
    errors_per_layer: bool,
    limit: AccuracyLimit,
    memory_bits: float,
) -> BitProblem:
    """The bit allocation of one network; ``memory_bits`` is the least that a step may be allowed to hold."""
    mode = limit.mode
    names = [layer.name for layer in network.mac_layers]
    groups = tie_groups(network, profile)
    kept = tuple(max(profile.kept.get(names[l], 0) for l in members) for members in groups)
    choices = candidates(wanted, profile.tied, error_forms if errors_per_layer else ())
    table, by_law = score_of_choices(profile, names, choices)
    allowed = np.array(
        [[min(c.weight.element_bits, c.activation.element_bits) >= floor for c in choices] for floor in kept]
    )
    # Below the narrowest width that was measured a collapse is as likely as the law: nothing is promised there.
    allowed &= [profile.reaches(c.weight, "weight") and profile.reaches(c.activation, "activation") for c in choices]
    if not allowed.any(axis=1).all():
        narrow = [names[groups[g][0]] for g in np.flatnonzero(~allowed.any(axis=1))]
        named = f"{', '.join(narrow[:8])}{f' and {len(narrow) - 8} more' if len(narrow) > 8 else ''}"
        raise InputError(
            "--formats",
            [
                f"the profile keeps {named} wider than every format of {', '.join(wanted)}, or measured nothing so narrow"
            ],
        )
    score = np.stack([table[list(members)].sum(axis=0) for members in groups])
    least = float(np.where(allowed, score, np.inf).min(axis=1).sum())
    errors, limits = _score_limits(profile, error_forms, limit, least)
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


def tie_groups(network: Network, profile: Profile) -> tuple[tuple[int, ...], ...]:
    """Indices of layers with MACs that share their widths: by the network's ``tie``, by the profile's
    ties, and because they read one tensor, which is stored in one format."""
    names = [layer.name for layer in network.mac_layers]
    sets: list[list[int]] = [[names.index(name) for name in tied if name in names] for tied in profile.ties]
    by_tie: dict[str, list[int]] = {}
    for index, layer in enumerate(network.mac_layers):
        if layer.tie:
            by_tie.setdefault(layer.tie, []).append(index)
    place = {
        index: number for number, index in enumerate(i for i, layer in enumerate(network.layers) if layer.has_macs)
    }
    for tensor in tensors_of(network).tensors:
        sets.append([place[use.layer] for use in tensor.readers if tensor.stored and use.layer in place])
    return tie_members(len(names), [*sets, *by_tie.values()])


def score_of_choices(profile: Profile, names: Sequence[str], choices: Sequence[Candidate]) -> tuple[Floats, Bools]:
    """(layers, M) scores, and (M,) which of them follow a law; layers that the profile keeps have none and score 0."""
    scores = np.zeros((len(names), len(choices)))
    table, by_law = profile.pair_table([(item.weight, item.activation) for item in choices])
    scores[[names.index(name) for name in profile.layer_names]] = table
    return scores, by_law


def plan_of(subject: BitProblem, e: int, choice: npt.NDArray[np.uint8], part: Network | None = None) -> Plan:
    """The plan of a network, or of a part of its layers, that gives each of its groups a choice.

    Parameters
    ----------
    e
        Place of the errors' format among :attr:`BitProblem.errors`.
    """
    if subject.profile is None:
        given = subject.plans[0][0]
        return given if part is None else given.part([layer.name for layer in part.layers])
    layers = subject.network.mac_layers
    picked = {
        layers[index].name: subject.choices[int(place)]
        for members, place in zip(subject.groups, choice, strict=True)
        for index in members
    }
    network = subject.network if part is None else part
    names = [layer.name for layer in network.mac_layers]
    least = subject.errors[e]
    alike = all(item.error is None for item in subject.choices)
    return Plan.from_formats(
        network,
        {
            "weight": {name: picked[name].weight for name in names},
            "activation": {name: picked[name].activation for name in names},
            "error": least if alike else {name: picked[name].error_at(least) for name in names},
        },
    )


def _score_limits(
    profile: Profile, errors: Sequence[Format], limit: AccuracyLimit, least: float
) -> tuple[tuple[Format, ...], Floats]:
    """Formats of the errors with which some map keeps the limit, and (E,) the score that it may have."""
    if limit.confidence > EVEN and isnan(profile.error_model.floor):
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
        counted = form.element_bits if limit.mode == "training" else 32
        bound = profile.score_limit(limit.drop_pp, counted, confidence=limit.confidence)
        if isfinite(bound) and bound >= least:
            kept.append((form, bound))
        drop = float(profile.drop_of_score(least, counted))
        even = min(even, drop)
        nearest = min(nearest, profile.drop_interval(drop, limit.confidence, picked=True).high)
    if not errors:
        raise InputError(
            profile.path, ["nothing is known about the error tensor, so training under a limit is unknown"]
        )
    if not kept:
        raise InputError(
            "--max-accuracy-drop",
            [
                f"no bit map of this profile loses at most {count_of(limit.drop_pp, profile.unit)}"
                f"{_with(limit.confidence)}; the nearest feasible value is {_up(nearest)}"
                + (f" (predicted alone, --confidence 0.5: {_up(even)})" if limit.confidence > EVEN else "")
            ],
        )
    return tuple(form for form, _ in kept), np.array([bound for _, bound in kept])


def _with(confidence: float) -> str:
    return "" if confidence == EVEN else f" with a probability of {confidence:g}"


def _up(value: float) -> str:
    return f"{np.ceil(value * 1000) / 1000:g}"


def _dram_bits(hardware: Hardware, which: Callable[[Iterable[float]], float]) -> float:
    """The least or the largest size of the DRAM in a hardware's space; infinite where it has none."""
    dram = hardware.memories[-1]
    name = f"memories.{dram.name}.size_bits"
    sizes = next((parameter.values for parameter in hardware.space if parameter.name == name), (dram.size_bits,))
    return float(which(sizes))


def _digest(networks: Sequence[Network], hardware: Hardware, given: Sequence[Profile | Plan]) -> str:
    # Where a file lies decides nothing; what it says does.
    parts = [
        *(content(replace(network, path="")) for network in networks),
        content(replace(hardware, path="")),
        *(content(item if isinstance(item, Plan) else replace(item, path="")) for item in given),
    ]
    text = json.dumps(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
