"""Costs of one step by layer and pass: jobs of the loop nests, vector work, the optimizer, and what precision itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dse.cost.best_jobs import best_jobs
from dse.cost.copies import stored_tensors
from dse.cost.fusion import groups_of, saved_bits
from dse.cost.memory import recomputed
from dse.cost.network_jobs import check_mode, network_jobs
from dse.cost.options import STEP, StepOptions
from dse.cost.side import SIDE_COMPONENTS, STEP_PASSES, SideCosts, side_costs
from dse.cost.vector import COMPONENTS, VectorCosts, optimizer_costs, vector_costs
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import ARITHMETIC, Hardware
from dse.hardware.pe import pe_mode
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.types import Floats, Ints
from dse.workload.model import Network


@dataclass(frozen=True)
class StepCosts:
    """Costs of one step: D designs, I plans, one row per layer in the network's order, P passes (:data:`STEP_PASSES`).

    Attributes
    ----------
    energy_j, latency_s
        (D, I, rows, P); infinite where infeasible.
    components_j
        (D, I, rows, P, components), names in ``components``: parts of the energy but for side costs.
    side
        What precision itself costs: see :class:`dse.cost.side.SideCosts`.
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
    notes
        Sentences for the user: widths that the processing element rounds up.
    """

    rows: tuple[str, ...]
    energy_j: Floats
    latency_s: Floats
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
    notes: tuple[str, ...] = ()

    def side_j(self, component: int) -> Floats:
        """(D, I, rows, P) joules of one of :data:`dse.cost.side.SIDE_COMPONENTS`."""
        return np.asarray(self.side.factor[component][:, None, None, None] * self.side.amount_j[component])

    def at(self, places: Ints) -> StepCosts:
        """Costs of the designs at these places."""
        by_design = ("energy_j", "latency_s", "components_j", "bound", "dram_bits", "limit")
        chosen = {name: getattr(self, name)[places] for name in by_design}
        return replace(self, side=replace(self.side, factor=self.side.factor[:, places]), **chosen)


def step_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    options: StepOptions = STEP,
    as_read: bool = True,
) -> StepCosts:
    """Costs of one step by layer and pass, on D designs under I plans.

    In training the passes run as often as the network accumulates gradients, the optimizer once. What runs fused is the hardware's
    ``fusion`` (:mod:`dse.cost.fusion`).

    Parameters
    ----------
    as_read
        Charge the DRAM energy and bits of results in the formats that their readers want; False: in those of the layers that write
        them, for whoever adds :func:`as_read_j` layer by layer.
    """
    mode = options.mode
    check_mode(hardware, mode)
    stored = [stored_tensors(network, plan, mode == "training") for plan in plans]
    work = network_jobs(network, plans, mode, hardware.causal_skip, stored)
    jobs = best_jobs(hardware, arrays, work.jobs, options.mapping_objective)
    runs = work.job >= 0
    picked = np.where(runs, work.job, 0)
    names = (*jobs.components, "vector")
    memories = tuple(memory.name for memory in hardware.memories)
    macs = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    others = [index for index, layer in enumerate(network.layers) if not layer.has_macs]
    shape = (len(arrays), len(plans), len(network.layers), len(STEP_PASSES))
    whole = (work.jobs.arithmetic != ARITHMETIC.index("float")).all(axis=-1)
    result = StepCosts(
        rows=tuple(layer.name for layer in network.layers),
        energy_j=np.zeros(shape),
        latency_s=np.zeros(shape),
        components=names,
        components_j=np.zeros((*shape, len(names))),
        bounds=("compute", *memories, "vector"),
        bound=np.full(shape, -1, np.int64),
        dram_bits=np.zeros(shape),
        bitops=np.zeros(shape[1:]),
        macs=np.zeros(shape[2:]),
        limit=np.stack([jobs.failed(job[job >= 0]) for job in work.job], axis=1),
        side=side_costs(network, hardware, arrays, plans, mode, stored, options.stochastic, options.map_updates),
        groups=_groups(network, hardware.fusion, mode),
        notes=_rounded(hardware, work.jobs.multiplier_bits[whole & (work.jobs.shares > 0)]),
    )
    seconds = 1.0 / arrays.clock_hz[:, None, None, None]
    most = len(PASSES)

    def of_pass(values: Floats) -> Floats:
        """(D, I, layers, passes) sums over the nests of a pass of (D, U) values of jobs."""
        return np.asarray((np.where(runs, values[:, picked], 0.0) * work.times).sum(axis=-1))

    result.energy_j[:, :, macs, :most] = of_pass(jobs.energy_pj) * 1e-12
    result.latency_s[:, :, macs, :most] = of_pass(jobs.cycles) * seconds
    for c in range(len(jobs.components)):
        result.components_j[..., c][:, :, macs, :most] = of_pass(jobs.components_pj[..., c]) * 1e-12
    # What bounds the longest of a pass's nests.
    longest = (np.where(runs, jobs.cycles[:, picked], -1.0) * np.where(runs, work.times, 1.0)).argmax(axis=-1)[
        ..., None
    ]
    bounds = np.take_along_axis(np.where(runs, jobs.bound[:, picked], -1), longest, axis=-1)[..., 0]
    result.bound[:, :, macs, :most] = bounds
    result.dram_bits[:, :, macs, :most] = of_pass(jobs.traffic_bits[..., -1])
    result.bitops[:, macs, :most] = work.bitops
    result.macs[macs, :most] = work.macs
    saved = saved_bits(network, plans, mode, stored) if hardware.fusion != "none" else None
    _add(result, vector_costs(network, hardware, arrays, plans, mode, stored, saved), others, slice(0, most), seconds)
    if saved is not None:
        _not_written(result, arrays, saved.written[:, macs], macs)
    if mode == "training":
        every = list(range(len(network.layers)))
        _add(result, optimizer_costs(network, hardware, arrays, plans), every, slice(most, most + 1), seconds)
    _add_side(result, arrays, len(memories) - 1)
    if as_read:
        bits = np.stack([item.as_read_bits for item in stored])
        result.dram_bits[..., 0] += bits
        more = result.components_j[..., 0, result.components.index(memories[-1])]
        for target in (result.energy_j[..., 0], more):
            target += arrays.write_pj_per_bit[:, -1][:, None, None] * bits * 1e-12
    if mode == "training":
        _repeat(result, slice(None), slice(0, most), network.accumulate)
    if options.recompute and mode == "training":
        again = np.flatnonzero(recomputed(network.layers))
        _repeat(result, again, 0, 2)
    return result


def _groups(network: Network, fusion: str, mode: str) -> npt.NDArray[np.object_]:
    """(rows, P) names of fused groups."""
    groups = np.full((len(network.layers), len(STEP_PASSES)), "", dtype=object)
    groups[:, : len(PASSES)] = groups_of(network, fusion, mode == "training")
    return groups


def _not_written(result: StepCosts, arrays: HardwareArrays, bits: Floats, rows: list[int]) -> None:
    """Results of layers with MACs that fused layers take as they are made: (plans, rows, passes) bits that DRAM does not see."""
    passes = slice(0, len(PASSES))
    energy = arrays.write_pj_per_bit[:, -1][:, None, None, None] * bits * 1e-12
    result.energy_j[:, :, rows, passes] -= energy
    result.components_j[..., result.components.index(result.bounds[-2])][:, :, rows, passes] -= energy
    result.dram_bits[:, :, rows, passes] -= bits


def as_read_j(network: Network, arrays: HardwareArrays, plans: Sequence[Plan], mode: str) -> Floats:
    """(D, I, rows) joules of DRAM that results cost beyond the formats of the layers that write them, where readers want others.

    Each layer has what its own format decides, as a reader and as a writer, so that the sum over layers is right whatever formats
    the others have.
    """
    stored = [stored_tensors(network, plan, mode == "training") for plan in plans]
    times = network.accumulate if mode == "training" else 1
    bits = np.stack([item.wanted - item.assumed for item in stored]) * times
    return np.asarray(arrays.write_pj_per_bit[:, -1][:, None, None] * bits[None] * 1e-12)


def _repeat(result: StepCosts, rows: Any, passes: Any, times: int) -> None:
    """Passes of some rows run several times."""
    for values in (
        result.energy_j,
        result.latency_s,
        result.dram_bits,
        result.bitops,
        result.side.amount_j,
        result.macs,
    ):
        values[..., rows, passes] *= times
    result.components_j[:, :, rows, passes] *= times


def _add_side(result: StepCosts, arrays: HardwareArrays, dram: int) -> None:
    """Add the side costs to energy, and their traffic to the DRAM's energy, time and bits."""
    side = result.side
    for component in range(len(SIDE_COMPONENTS)):
        if side.amount_j[component].any():
            result.energy_j[:] += result.side_j(component)
    bits = side.read_bits + side.written_bits
    if bits.any():
        shape = (len(arrays), 1, 1, 1)
        energy = arrays.read_pj_per_bit[:, dram].reshape(shape) * side.read_bits * 1e-12
        energy = energy + arrays.write_pj_per_bit[:, dram].reshape(shape) * side.written_bits * 1e-12
        result.energy_j[:] += energy
        result.components_j[..., result.components.index(result.bounds[1 + dram])] += energy
        result.latency_s[:] += bits / (arrays.bandwidth_bits_per_cycle[:, dram] * arrays.clock_hz).reshape(shape)
        result.dram_bits[:] += bits


def _rounded(hardware: Hardware, pairs: Ints) -> tuple[str, ...]:
    """What to tell of integer widths at which the processing element is as slow as at wider ones."""
    pe = hardware.pe
    widths = np.unique(pairs)
    every = np.arange(1, 2 * max(pe.max_weight_bits, pe.max_activation_bits) + 1)  # twice the maximum in several steps
    mode = pe_mode(pe, every, every)
    widths = widths[widths <= len(every)]
    widths = widths[mode.supported[widths - 1]]
    rate = np.where(mode.supported, mode.lanes / mode.step_cycles, np.nan)
    same = {int(w): int(every[np.isclose(rate, rate[w - 1], rtol=1e-12, atol=0.0)].max(initial=w)) for w in widths}
    steps = [f"{width} bits run as {wide}" for width, wide in same.items() if wide > width]
    return (f"{hardware.name}: {', '.join(steps)} (time and MAC energy; storage keeps its own width)",) if steps else ()


def _add(result: StepCosts, costs: VectorCosts, rows: list[int], passes: slice, seconds: Floats) -> None:
    """Add vector work to the rows of a step."""
    memories = len(result.bounds) - 2
    result.energy_j[:, :, rows, passes] += costs.energy_pj * 1e-12
    result.latency_s[:, :, rows, passes] += costs.cycles * seconds
    column = {name: np.array([result.components.index(name)]) for name in ("vector", "leakage")}
    column["dram"] = np.array([result.components.index(result.bounds[memories])])
    # Each design's own buffer; what passes through no memory belongs to the vector unit.
    column["buffer"] = np.where(costs.buffer >= 0, 1 + costs.buffer, column["vector"])
    for k, component in enumerate(COMPONENTS):
        for place in np.unique(column[component]):
            here = (column[component] == place)[:, None, None, None]
            target = result.components_j[..., place]
            target[:, :, rows, passes] += np.where(here, costs.components_pj[..., k], 0.0) * 1e-12
    bound = np.where(costs.bound == 1, memories, memories + 1)
    result.bound[:, :, rows, passes] = np.where(costs.cycles > 0, bound, result.bound[:, :, rows, passes])
    result.dram_bits[:, :, rows, passes] += costs.dram_bits[None]
