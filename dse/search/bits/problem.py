"""What a search is asked: networks with their choices, scores and limits, the hardware around which it searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dse.accuracy import Profile
from dse.goals import Objective
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.precision.formats.properties import Format
from dse.search.allocation.allocate import tie_members
from dse.search.allocation.candidates import Candidate
from dse.search.archive import places
from dse.search.bits.held import HeldTable
from dse.search.bits.limits import ACCURACY, MEMORY, HardLimits
from dse.search.bits.schedule_space import DIMENSIONS, ScheduleSpace, lowered
from dse.types import Bools, Floats, Ints
from dse.workload.model import Network
from dse.workload.work.tensors import tensors_of


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
        by_size = MEMORY not in self.limits.names and math.isfinite(dram_bits(self.hardware, max))
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


def least_noise(subject: BitProblem, energy_j: Floats) -> tuple[int, npt.NDArray[np.uint8]]:
    """The widest error format with which every group has a choice that runs, and the one of least noise of each.

    Parameters
    ----------
    energy_j
        (E, G, M) energy of the choices; infinite where one does not run.
    """
    runs = subject.allowed & np.isfinite(energy_j)
    e = max((e for e in range(len(runs)) if runs[e].any(axis=1).all()), default=len(runs) - 1)
    usable = np.where(runs[e].any(axis=1, keepdims=True), runs[e], subject.allowed)
    return e, np.array([int(np.flatnonzero(row)[-1]) for row in usable], dtype=np.uint8)


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


def dram_bits(hardware: Hardware, which: Callable[[Iterable[float]], float]) -> float:
    """The least or the largest size of the DRAM in a hardware's space; infinite where it has none."""
    dram = hardware.memories[-1]
    name = f"memories.{dram.name}.size_bits"
    sizes = next((parameter.values for parameter in hardware.space if parameter.name == name), (dram.size_bits,))
    return float(which(sizes))
