"""Costs of one step by layer and pass: jobs of the loop nests, vector work, the optimizer, and what precision itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.choose import FusedStep
from dse.cost.fusion.epilogues import groups_of, parts_of, saved_bits, without_residents
from dse.cost.fusion.inference.bounds import MostSaved
from dse.cost.fusion.inference.resident import resident_notes
from dse.cost.fusion.sums import EVERY, Part, Share, Sums, nothing
from dse.cost.fusion.vector import COMPONENTS, VectorCosts, optimizer_costs, vector_costs
from dse.cost.jobs.floors import mapping_floor
from dse.cost.jobs.network import check_mode, network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.mapped.searched import worth
from dse.cost.mapped.table_jobs import JobCosts
from dse.cost.steps.convert import conversion_s
from dse.cost.steps.options import STEP, StepOptions
from dse.cost.steps.side import SIDE_COMPONENTS, STEP_PASSES, SideCosts, side_costs
from dse.cost.tensors.copies import stored_tensors
from dse.cost.tensors.memory import recomputed
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import ARITHMETIC, Hardware
from dse.hardware.pe import pe_mode
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.types import Bools, Floats, Ints
from dse.workload.model import Network


@dataclass(frozen=True)
class Spare:
    """(D, I, rows, P) what better mappings could save at most, by bounds that hold for every mapping
    (:mod:`dse.cost.jobs.floors`), and what mappings are chosen by."""

    energy_j: Floats
    latency_s: Floats
    objective: str

    def gap(self, energy_j: Floats, latency_s: Floats, spare_j: Floats, spare_s: Floats) -> Floats:
        """Share of the objective that better mappings could save at most, of sums and what could be spared of them."""
        with np.errstate(invalid="ignore", divide="ignore"):
            least = worth(np.maximum(energy_j - spare_j, 0.0), np.maximum(latency_s - spare_s, 0.0), self.objective)
            return np.asarray(np.clip(1.0 - least / worth(energy_j, latency_s, self.objective), 0.0, 1.0))


@dataclass(frozen=True)
class StepCosts:
    """Costs of one step: D designs, I plans, one row per layer in the network's order, P passes (:data:`STEP_PASSES`).

    Attributes
    ----------
    energy_j, latency_s
        (D, I, rows, P); infinite where infeasible.
    convert_s
        (D, I, rows, P) what of the latency conversions between formats take: :mod:`dse.cost.steps.convert`.
    components_j
        (D, I, rows, P, components), names in ``components``: parts of the energy but for side costs.
    side
        What precision itself costs: see :class:`dse.cost.steps.side.SideCosts`.
    bound
        (D, I, rows, P) index into ``bounds``, -1 where nothing runs.
    dram_bits
        (D, I, rows, P)
    bitops, macs
        (I, rows, P) and (rows, P).
    limit
        (D, I) why a design cannot run a plan, "" if it can.
    groups
        (rows, P) first layer of the group that runs fused, "" where a layer's pass runs alone.
    own_groups
        The same of a design under a plan, where what is resident joins groups.
    notes
        Sentences for the user: widths that the processing element rounds up.
    spare
        What better mappings could save at most, where it was asked for.
    most_saved
        What residency saves at most, where that was asked for.
    """

    rows: tuple[str, ...]
    energy_j: Floats
    latency_s: Floats
    convert_s: Floats
    components: tuple[str, ...]
    components_j: Floats
    bounds: tuple[str, ...]
    bound: Ints
    dram_bits: Floats
    bitops: Floats
    macs: Floats
    limit: npt.NDArray[np.object_]
    side: SideCosts
    groups: npt.NDArray[np.object_]
    own_groups: dict[tuple[int, int], npt.NDArray[np.object_]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    most_saved: MostSaved | None = None
    spare: Spare | None = None

    def groups_of(self, design: int, plan: int) -> npt.NDArray[np.object_]:
        """(rows, P) groups of a design under a plan."""
        return self.own_groups.get((design, plan), self.groups)

    def at(self, places: Ints) -> StepCosts:
        """Costs of the designs at these places."""
        by_design = ("energy_j", "latency_s", "convert_s", "components_j", "bound", "dram_bits", "limit")
        chosen: dict[str, Any] = {name: getattr(self, name)[places] for name in by_design}
        if self.spare is not None:
            chosen["spare"] = replace(
                self.spare, energy_j=self.spare.energy_j[places], latency_s=self.spare.latency_s[places]
            )
        own = self.own_groups
        chosen["own_groups"] = {(n, i): own[d, i] for n, at in enumerate(places) for d, i in own if d == at}
        return replace(self, side=replace(self.side, factor=self.side.factor[:, places]), **chosen)


def step_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    options: StepOptions = STEP,
    as_read: bool = True,
    at_most: bool = False,
    spare: bool = False,
) -> StepCosts:
    """Costs of one step by layer and pass, on D designs under I plans.

    In training the passes run as often as the network accumulates gradients, the optimizer once. What runs fused is the hardware's
    ``fusion`` (:mod:`dse.cost.fusion.epilogues`).

    Parameters
    ----------
    as_read
        Charge the DRAM energy and bits of results in the formats that their readers want; False: in those of the layers that write
        them, for whoever adds :func:`as_read_j` layer by layer.
    at_most
        Nothing is resident, so that the costs of layers add up; instead say what residency saves at most (``most_saved``).
    spare
        Say what better mappings could save at most.
    """
    mode, asked = options.mode, hardware
    hardware = without_residents(hardware) if at_most else hardware
    check_mode(hardware, mode)
    stored = [stored_tensors(network, plan, mode == "training") for plan in plans]
    work = network_jobs(network, hardware, plans, mode, stored)
    jobs = best_jobs(hardware, arrays, work.jobs, options.mapping_objective, options.search_mappings)
    parts = parts_of(hardware)
    saved = saved_bits(network, plans, mode, stored) if "epilogue" in parts else None
    vector = vector_costs(network, hardware, arrays, plans, mode, stored, saved)
    at = _places(network, arrays, plans)
    nests = _Nests(work.job >= 0, np.where(work.job >= 0, work.job, 0), work.times)
    components, bounds = (*jobs.components, "vector"), ("compute", *(m.name for m in hardware.memories), "vector")
    empty = nothing(components, bounds, at.shape)
    groups = _groups(network, "epilogue" in parts, mode)
    unwritten = np.zeros((*at.shape[1:3], len(PASSES))) if saved is None else saved.written
    apart = Apart(network, hardware, arrays, plans, stored, work, jobs, vector, unwritten, options.mapping_objective)
    step = FusedStep(apart, mode, options.recompute)
    met_in_dram = empty.plus(
        [
            _products(jobs, nests, at),
            _vector_work(empty, vector, at.others, at.passes, at.seconds),
            step.not_written(empty.dram, at.macs),
        ]
    )
    fused, own_groups = step.fuse(met_in_dram, groups, as_read)
    unproven = _unproven(apart, nests, at, met_in_dram, fused) if spare else None
    times = _times(network, options)
    saved_at_most = step.most_saved(fused, parts_of(asked), times) if at_most else None
    update = optimizer_costs(network, hardware, arrays, plans) if mode == "training" else None
    every, last = list(range(len(network.layers))), slice(at.passes.stop, at.passes.stop + 1)
    updated = [] if update is None else [_vector_work(empty, update, every, last, at.seconds)]
    side = side_costs(network, hardware, arrays, plans, mode, stored, options.stochastic, options.map_updates)
    plain = fused.plus([*updated, *_side_parts(empty.dram, side, arrays)])
    own = _own_work(at, vector, update)
    convert_s = conversion_s(hardware, arrays, side, plain.latency_s, own.operations, own.computed)
    converted = [_conversions(components.index("leakage"), convert_s, arrays)]
    wanted = [_as_read(empty.dram, np.stack([item.as_read_bits for item in stored]), arrays)] if as_read else []
    sums = plain.plus([*converted, *wanted])
    bitops, macs = np.zeros(at.shape[1:]), np.zeros(at.shape[2:])
    bitops[:, at.macs, at.passes], macs[at.macs, at.passes] = work.bitops, work.macs
    whole = (work.jobs.arithmetic != ARITHMETIC.index("float")).all(axis=-1)
    widths = work.jobs.multiplier_bits[whole & (work.jobs.shares > 0)]
    return StepCosts(
        rows=tuple(layer.name for layer in network.layers),
        energy_j=sums.energy_j * times,
        latency_s=sums.latency_s * times,
        convert_s=convert_s * times,
        components=sums.components,
        components_j=sums.components_j * times[..., None],
        bounds=sums.bounds,
        bound=sums.bound,
        dram_bits=sums.dram_bits * times,
        bitops=bitops * times,
        macs=macs * times,
        limit=np.stack([jobs.failed(job[job >= 0]) for job in work.job], axis=1),
        side=replace(side, amount_j=side.amount_j * times),
        groups=groups,
        own_groups=own_groups,
        notes=resident_notes(hardware, options.recompute) + rounded_widths(hardware, widths),
        most_saved=saved_at_most,
        spare=None if unproven is None else Spare(unproven[0] * times, unproven[1] * times, options.mapping_objective),
    )


class _Places(NamedTuple):
    """Where costs stand in a step.

    macs, others: rows of layers with and without MACs. passes: of the layers; the optimizer's follow. shape: (D, I, rows, P).
    seconds: (D, 1, 1, 1) of a cycle.
    """

    macs: list[int]
    others: list[int]
    passes: slice
    shape: tuple[int, int, int, int]
    seconds: Floats


def _places(network: Network, arrays: HardwareArrays, plans: Sequence[Plan]) -> _Places:
    macs = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    others = [index for index, layer in enumerate(network.layers) if not layer.has_macs]
    shape = (len(arrays), len(plans), len(network.layers), len(STEP_PASSES))
    return _Places(macs, others, slice(0, len(PASSES)), shape, 1.0 / arrays.clock_hz[:, None, None, None])


class _Nests(NamedTuple):
    """(I, layers, passes, nests) which nests run, the job of each (0 where none runs), and how often each runs."""

    runs: Bools
    job: Ints
    times: Floats

    def of_pass(self, values: Floats) -> Floats:
        """(D, I, layers, passes) sums over the nests of a pass of (D, U) values of jobs."""
        return np.asarray((np.where(self.runs, values[:, self.job], 0.0) * self.times).sum(axis=-1))

    def slowest(self, cycles: Floats, bound: Ints) -> Ints:
        """(D, I, layers, passes) what bounds the longest of a pass's nests; -1 where none runs."""
        of_each = np.where(self.runs, cycles[:, self.job], -1.0) * np.where(self.runs, self.times, 1.0)
        longest = of_each.argmax(axis=-1)[..., None]
        return np.take_along_axis(np.where(self.runs, bound[:, self.job], -1), longest, axis=-1)[..., 0]


class _OwnWork(NamedTuple):
    """(rows, P) vector operations of layers by themselves, and where there are such."""

    operations: Floats
    computed: Bools


def _own_work(at: _Places, vector: VectorCosts, update: VectorCosts | None) -> _OwnWork:
    """Of layers without MACs, and of the optimizer in the pass after the layers'."""
    operations, computed = np.zeros(at.shape[2:]), np.zeros(at.shape[2:], bool)
    operations[at.others, at.passes], computed[at.others, at.passes] = vector.operations, True
    if update is not None:
        last = slice(at.passes.stop, at.passes.stop + 1)
        operations[:, last], computed[:, last] = update.operations, True
    return _OwnWork(operations, computed)


def _products(jobs: JobCosts, nests: _Nests, at: _Places) -> Part:
    """The loop nests, each of which runs as often as its pass says."""
    return Part(
        at.macs,
        at.passes,
        energy_j=nests.of_pass(jobs.energy_pj) * 1e-12,
        latency_s=nests.of_pass(jobs.cycles) * at.seconds,
        dram_bits=nests.of_pass(jobs.traffic_bits[..., -1]),
        shares=tuple(Share(c, nests.of_pass(jobs.components_pj[..., c]) * 1e-12) for c in range(len(jobs.components))),
        bound=nests.slowest(jobs.cycles, jobs.bound),
    )


def _unproven(apart: Apart, nests: _Nests, at: _Places, met_in_dram: Sums, fused: Sums) -> Floats:
    """(2, D, I, rows, P) joules and seconds above the bounds that hold for every mapping.

    The bounds are of layers that meet in DRAM: of rows that cost something else where tensors wait on the chip nothing is proven.
    """
    floor = mapping_floor(apart.hardware, apart.arrays, apart.work.jobs)
    result = np.zeros((2, *at.shape))
    with np.errstate(invalid="ignore"):  # what is infeasible has no bound either
        result[0][:, :, at.macs, at.passes] = nests.of_pass(apart.jobs.energy_pj - floor.energy_pj) * 1e-12
        result[1][:, :, at.macs, at.passes] = nests.of_pass(apart.jobs.cycles - floor.cycles) * at.seconds
    together = np.stack([fused.energy_j, fused.latency_s])
    changed = together != np.stack([met_in_dram.energy_j, met_in_dram.latency_s])
    return np.where(changed.any(axis=0), together, result)


def _conversions(leakage: int, convert_s: Floats, arrays: HardwareArrays) -> Part:
    """The time of conversions, and what leaks meanwhile."""
    leaks = convert_s * arrays.leakage_w[:, None, None, None]
    return Part(EVERY, EVERY, energy_j=leaks, latency_s=convert_s, shares=(Share(leakage, leaks),))


def _as_read(dram: int, bits: Floats, arrays: HardwareArrays) -> Part:
    """(I, rows) bits that results are larger, in DRAM, in the formats that their readers want."""
    energy = (arrays.write_pj_per_bit[:, -1][:, None, None] * bits * 1e-12)[..., None]
    return Part(EVERY, slice(0, 1), energy_j=energy, dram_bits=bits[..., None], shares=(Share(dram, energy),))


def _times(network: Network, options: StepOptions) -> Floats:
    """(rows, P) how often each pass of each layer runs in a step: for every accumulated batch, and again where it is recomputed."""
    times = np.ones((len(network.layers), len(STEP_PASSES)))
    if options.mode == "training":
        times[:, : len(PASSES)] = network.accumulate
        if options.recompute:
            times[recomputed(network.layers), 0] *= 2
    return times


def _groups(network: Network, fused: bool, mode: str) -> npt.NDArray[np.object_]:
    """(rows, P) names of fused groups."""
    groups = np.full((len(network.layers), len(STEP_PASSES)), "", dtype=object)
    groups[:, : len(PASSES)] = groups_of(network, fused, mode == "training")
    return groups


def as_read_j(network: Network, arrays: HardwareArrays, plans: Sequence[Plan], mode: str) -> Floats:
    """(D, I, rows) joules of DRAM that results cost beyond the formats of the layers that write them, where readers want others.

    Each layer has what its own format decides, as a reader and as a writer, so that the sum over layers is right whatever formats
    the others have.
    """
    stored = [stored_tensors(network, plan, mode == "training") for plan in plans]
    times = network.accumulate if mode == "training" else 1
    bits = np.stack([item.wanted - item.assumed for item in stored]) * times
    return np.asarray(arrays.write_pj_per_bit[:, -1][:, None, None] * bits[None] * 1e-12)


def _side_parts(dram: int, side: SideCosts, arrays: HardwareArrays) -> list[Part]:
    """The side costs, one part for each, and the energy, time and bits of their traffic to DRAM."""
    parts = [
        Part(EVERY, EVERY, energy_j=side.joules(component))
        for component in range(len(SIDE_COMPONENTS))
        if side.amount_j[component].any()
    ]
    kernel_j = np.asarray(arrays.read_pj_per_bit[:, -1].reshape(-1, 1, 1, 1) * side.kernel_bits * 1e-12)
    kernels = (Share(dram, kernel_j),)
    parts.append(Part(EVERY, EVERY, energy_j=kernel_j, dram_bits=side.kernel_bits, shares=kernels))
    bits = side.read_bits + side.written_bits
    if bits.any():
        shape = (len(arrays), 1, 1, 1)
        energy = arrays.read_pj_per_bit[:, -1].reshape(shape) * side.read_bits * 1e-12
        energy = energy + arrays.write_pj_per_bit[:, -1].reshape(shape) * side.written_bits * 1e-12
        seconds = bits / (arrays.bandwidth_bits_per_cycle[:, -1] * arrays.clock_hz).reshape(shape)
        shares = (Share(dram, energy),)
        parts.append(Part(EVERY, EVERY, energy_j=energy, latency_s=seconds, dram_bits=bits, shares=shares))
    return parts


def rounded_widths(hardware: Hardware, pairs: npt.ArrayLike) -> tuple[str, ...]:
    """What to tell of integer widths, of any shape, at which the processing element is as slow as at wider ones."""
    same = running_widths(hardware, pairs)
    steps = [f"{width} bits run as {wide}" for width, wide in same.items() if wide > width]
    return (f"{hardware.name}: {', '.join(steps)} (time and MAC energy; storage keeps its own width)",) if steps else ()


def running_widths(hardware: Hardware, pairs: npt.ArrayLike) -> dict[int, int]:
    """For each integer width, of any shape, the widest at which the processing element is as fast, both operands of one width."""
    pe = hardware.pe
    widths = np.unique(np.asarray(pairs, np.int64))
    every = np.arange(1, 2 * max(pe.max_weight_bits, pe.max_activation_bits) + 1)  # twice the maximum in several steps
    mode = pe_mode(pe, every, every)
    widths = widths[(widths >= 1) & (widths <= len(every))]
    widths = widths[mode.supported[widths - 1]]
    rate = np.where(mode.supported, mode.lanes / mode.step_cycles, np.nan)
    return {int(w): int(every[np.isclose(rate, rate[w - 1], rtol=1e-12, atol=0.0)].max(initial=w)) for w in widths}


def _vector_work(sums: Sums, costs: VectorCosts, rows: list[int], passes: slice, seconds: Floats) -> Part:
    """Vector work of some rows; ``sums`` tell which components and bounds there are."""
    memories = len(sums.bounds) - 2
    column = {name: np.array([sums.components.index(name)]) for name in ("vector", "leakage")}
    column["dram"] = np.array([sums.dram])
    # Each design's own buffer; what passes through no memory belongs to the vector unit.
    column["buffer"] = np.where(costs.buffer >= 0, 1 + costs.buffer, column["vector"])
    shares = []
    for k, component in enumerate(COMPONENTS):
        for place in np.unique(column[component]):
            here = (column[component] == place)[:, None, None, None]
            shares.append(Share(int(place), np.where(here, costs.components_pj[..., k], 0.0) * 1e-12))
    bound = np.where(costs.bound == 1, memories, memories + 1)
    return Part(
        rows,
        passes,
        energy_j=costs.energy_pj * 1e-12,
        latency_s=costs.cycles * seconds,
        dram_bits=costs.dram_bits[None],
        shares=tuple(shares),
        bound=np.where(costs.cycles > 0, bound, -1),
    )
