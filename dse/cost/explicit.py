"""Costs of explicit mappings: counts times prices.

:func:`evaluate_mappings` prices mappings of a network's layers as :func:`dse.evaluate` prices the best ones; :func:`best_mappings`
writes those out. :func:`energy_of_counts` takes plain price tables, so that any tool's own can be used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.cost.jobs import (
    Jobs,
    array_shape,
    cost_jobs,
    inserted_zeros,
    kept_bits,
    mac_pj,
    partial_bits,
    table_options,
    waiting,
)
from dse.cost.mapping_checks import above_array, finished_only, on_hardware
from dse.cost.network_jobs import LayerRun, NetworkJobs, check_mode, layer_runs, network_jobs, roles_of
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.model import Hardware
from dse.hardware.pe import pe_mode
from dse.mapping.best.candidates import REDUCED, unrollings
from dse.mapping.best.engine import build_table
from dse.mapping.explicit.counts import ENGINE, Conventions, Counts, batch_of, counts_of_batch, temporal_steps
from dse.mapping.explicit.mapping import DIMS, Mapping
from dse.mapping.explicit.text import format_mapping, load_mapping, write_mappings
from dse.mapping.nest import ROLES, Nest
from dse.precision.plans.plan import Plan
from dse.workload.model import Network
from dse.yaml_input import suggest

Floats = NDArray[np.float64]

#: More spatial unrollings than any array has.
MANY = 10**9

#: Sides of a memory in the order of the last axis of a price array.
SIDES = ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent")


def price_array(
    levels: Sequence[str], read_pj: Table[str, float], write_pj: Table[str, float], bits: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Prices by (level, role 3, side 4) from a price per read and write of each level.

    Parameters
    ----------
    read_pj, write_pj
        Per element, or per bit if `bits` gives the bits per element of each role. Missing levels are free.
    """
    width = np.asarray(bits if bits is not None else (1.0, 1.0, 1.0), dtype=float)
    reads = np.array([read_pj.get(level, 0.0) for level in levels])
    writes = np.array([write_pj.get(level, 0.0) for level in levels])
    by_side = np.stack([reads, writes, writes, reads], axis=1)
    return np.asarray(width[None, :, None] * by_side[:, None, :])


def counts_array(counts: Counts) -> NDArray[np.int64]:
    """Elements by (mapping, level, role, side)."""
    return np.stack([getattr(counts, side) for side in SIDES], axis=-1)


def energy_of_counts(counts: Counts, prices_pj: NDArray[np.float64], mac_pj: float) -> NDArray[np.float64]:
    """(m,) picojoules of mappings: all accesses times `prices_pj` (level, role, side), plus all MACs."""
    return np.asarray((counts_array(counts) * prices_pj[None]).sum(axis=(1, 2, 3)) + counts.macs * mac_pj)


@dataclass(frozen=True)
class MappingCosts:
    """Result of :func:`evaluate_mappings`.

    Attributes
    ----------
    layers
        One row per nest: ``layer, pass, nest`` (its number among those of the pass; mixtures and attention windows have several),
        ``times`` (how often it runs), and of one run of it ``macs, pes, compute_cycles, <memory>_cycles ..., cycles, bound,
        fill_cycles, drain_cycles, total_cycles, latency_s, mac_pj, <memory>_pj ..., leakage_pj, energy_pj, mapping``. ``cycles``
        is what :func:`dse.evaluate` calls the time of a pass; ``total_cycles`` adds filling and draining the memories, which that
        leaves out. ``latency_s`` is of ``cycles``.
    counts
        One row per (layer, pass, nest, memory, role): the operand, elements of the largest tile and the bits that it takes in one
        instance, instances in use, elements by side (:data:`SIDES`), bits moved, and their energy.
    """

    layers: pd.DataFrame
    counts: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Both tables as plain records for JSON."""
        return {
            name: [{str(k): v for k, v in row.items()} for row in getattr(self, name).astype(object).to_dict("records")]
            for name in ("layers", "counts")
        }


def mapping_names(network: Network, work: NetworkJobs) -> dict[str, LayerRun]:
    """What a mapping file may name: ``LAYER.PASS`` for each pass that runs (``LAYER.PASS.2`` for the second nest of a pass that has
    several), and ``LAYER`` for its forward pass."""
    runs = layer_runs(network, work)
    first = {run.layer.name: run for run in runs if run.pass_ == "forward" and run.place == 0}
    return {run.name: run for run in runs} | first


def evaluate_mapping_file(
    network: Network, hardware: Hardware, plan: Plan, path: str | Path, mode: str = "training"
) -> MappingCosts:
    """:func:`evaluate_mappings` of a file (:mod:`dse.mapping.explicit.text`)."""
    names = mapping_names(network, network_jobs(network, [plan], mode, hardware.causal_skip))
    return evaluate_mappings(network, hardware, plan, load_mapping(path, names), mode)


def save_best_mappings(
    network: Network, hardware: Hardware, plan: Plan, path: str | Path, mode: str = "training"
) -> None:
    """Write :func:`best_mappings` in the form that :func:`evaluate_mapping_file` reads."""
    write_mappings(
        path, best_mappings(network, hardware, plan, mode), f"{network.name} on {hardware.name}, {plan.label}, {mode}"
    )


def evaluate_mappings(
    network: Network,
    hardware: Hardware,
    plan: Plan,
    mappings: Table[str, Mapping],
    mode: str = "training",
    conventions: Conventions = ENGINE,
) -> MappingCosts:
    """Cost of given mappings of a network's layers, counted loop by loop and priced as :func:`dse.evaluate` does.

    What precision itself costs (conversions and side data) belongs to layers, not to mappings, and is left out.

    Parameters
    ----------
    mappings
        By the names of :func:`mapping_names`; levels are the hardware's memories, its last one outermost.
    conventions
        How accesses are counted; the default is that of the search for the best mapping.

    Raises
    ------
    InputError
        Every layer that does not exist, and every mapping that is none of its layer, does not suit the hardware (memories, axes and
        the dims that an axis takes, capacities with the shortfall in bits), or meets widths that the elements do not multiply.
    """
    check_mode(hardware, mode)
    arrays = hardware_arrays(hardware, None)
    source = next((mapping.source for mapping in mappings.values()), "mappings")
    if plan.layers != tuple(layer.name for layer in network.layers):
        raise InputError("plan", [f"is of network {plan.network}; {network.name} has other layers"])
    work = network_jobs(network, [plan], mode, hardware.causal_skip)
    known = mapping_names(network, work)
    problems: list[Problem] = []
    found: dict[LayerRun, Mapping] = {}
    for name, mapping in mappings.items():
        if name not in known:
            problems.append(Problem(name, f"no layer has this name{suggest(name, known)}"))
            continue
        run = known[name]
        if run in found:
            problems.append(Problem(name, f"the {run.pass_} pass of this layer has two mappings; keep one"))
            continue
        nest = work.jobs.nests[int(work.jobs.nest[run.job])]
        found[run], wrong = on_hardware(mapping, nest, hardware, arrays, work.jobs, run.job)
        problems += [Problem(f"{name}.{p.where}" if p.where else name, p.message) for p in wrong]
    if problems:
        raise InputError(source, problems)
    rows, counts = [], []
    for run in (run for run in layer_runs(network, work) if run in found):
        row, traffic = _cost(found[run], run.job, hardware, arrays, work.jobs, conventions)
        operands = roles_of(run.layer, run.pass_)
        of: dict[str, Any] = {"layer": run.layer.name, "pass": run.pass_, "nest": run.place + 1}
        rows.append({**of, "times": run.times, **row})
        counts += [{**of, **entry, "operand": operands[ROLES.index(entry["role"])]} for entry in traffic]
    return MappingCosts(pd.DataFrame(rows), pd.DataFrame(counts))


def best_mappings(
    network: Network, hardware: Hardware, plan: Plan, mode: str = "training", objective: str = "edp"
) -> dict[str, Mapping]:
    """The mapping that :func:`dse.evaluate` chooses for each pass of each layer with MACs, by the names of :func:`mapping_names`.

    Raises
    ------
    NothingFeasible
        The network does not run on the hardware, with the limit that fails.
    """
    check_mode(hardware, mode)
    arrays = hardware_arrays(hardware, None)
    work = network_jobs(network, [plan], mode, hardware.causal_skip)
    costs = cost_jobs(hardware, arrays, work.jobs, objective)
    if costs.limit[0]:
        raise NothingFeasible(
            f"{network.name} on {hardware.name}, {plan.label}, {mode}", [f"infeasible: {costs.limit[0]}"]
        )
    options = table_options(hardware, work.jobs)
    result = {}
    for run in layer_runs(network, work):
        nest = work.jobs.nests[int(work.jobs.nest[run.job])]
        table = build_table(nest, array_shape(hardware, arrays.axis_size[0], nest.pass_), options=options)
        mapping = table.explicit(int(costs.candidate[0, run.job]))
        dram = replace(mapping.levels[-1], name=hardware.memories[-1].name)
        result[run.name] = replace(mapping, levels=(*mapping.levels[:-1], dram))
    return result


def _cost(
    mapping: Mapping, job: int, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, conventions: Conventions
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One row of costs, and the traffic by memory and role."""
    nest = jobs.nests[int(jobs.nest[job])]
    one = np.array([job])
    batch = batch_of([mapping], [nest])
    counts = counts_of_batch(batch, conventions)
    elided = counts_of_batch(batch, replace(conventions, first_partial_sum="elided", drain="counted"))
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[one, :, 0], jobs.multiplier_bits[one, :, 1])
    kept = float(jobs.kept[job])
    run = inserted_zeros(hardware, nest) * kept
    other, reduced, packed = _steps(mapping, nest, hardware, arrays, temporal_steps(batch)[0])
    lanes = mode.lanes[0].astype(np.float64)
    compute = (
        float((waiting(hardware.pe, jobs, one, mode) * mode.step_cycles * other * np.ceil(reduced / lanes)).sum()) * run
    )
    share = float((jobs.shares[job] / lanes).sum())
    partial = float(partial_bits(hardware, jobs)[job])
    names = [memory.name for memory in hardware.memories]
    memory_of = [names.index(level.name) for level in mapping.levels]
    traffic = _traffic(mapping, hardware, jobs.stored_bits[job], partial, counts, elided, share, packed)
    read, write = arrays.read_pj_per_bit[0], arrays.write_pj_per_bit[0]
    width = arrays.bandwidth_bits_per_cycle[0] * arrays.instances[0]
    bits, energy = np.zeros(len(names)), np.zeros(len(names))
    entries = []
    for level, m in enumerate(memory_of):
        for r, role in enumerate(ROLES):
            if mapping.levels[level].cuts[r] is None:
                continue
            moved = traffic[level, r]
            spent = float(moved[[0, 3]].sum() * read[m] + moved[[1, 2]].sum() * write[m])
            bits[m], energy[m] = bits[m] + moved.sum(), energy[m] + spent
            tile = int(counts.tile[0, level, r])
            kept = float(kept_bits(hardware, m, role, jobs, one)[0])
            if r == 2 and finished_only(mapping, hardware, elided)[level]:
                kept = float(jobs.stored_bits[job, 2])
            entries.append(
                {"memory": names[m], "role": role, "operand": "", "tile_elements": tile, "tile_bits": tile * kept,
                 "instances": int(counts.instances[0, level, r])}
                | {side: int(getattr(counts, side)[0, level, r]) for side in SIDES}
                | {"moved_bits": float(moved.sum()), "energy_pj": spent}
            )  # fmt: skip
    busy = np.array([compute, *(bits / width)])
    cycles = float(busy.max() if hardware.overlap else busy.sum())
    fill, drain = _ends(mapping, memory_of, elided, (*jobs.stored_bits[job, :2], partial), width)
    leak = float(arrays.leakage_w[0] / arrays.clock_hz[0] * 1e12) * cycles
    mac = float(mac_pj(hardware, arrays.node_nm[:1], jobs, one)[0, 0]) * math.prod(nest.dims) * run
    macs = math.prod(nest.dims) * kept if kept < 1 else math.prod(nest.dims)
    row: dict[str, Any] = {"macs": macs, "pes": mapping.spatial_instances, "compute_cycles": compute}
    row |= {f"{name}_cycles": float(x) for name, x in zip(names, busy[1:], strict=True)}
    row |= {
        "cycles": cycles,
        "bound": ("compute", *names)[int(busy.argmax())],
        "fill_cycles": fill,
        "drain_cycles": drain,
    }
    row |= {"total_cycles": cycles + fill + drain, "latency_s": cycles / float(arrays.clock_hz[0]), "mac_pj": mac}
    row |= {f"{name}_pj": float(x) for name, x in zip(names, energy, strict=True)}
    row |= {"leakage_pj": leak, "energy_pj": mac + float(energy.sum()) + leak, "mapping": format_mapping(mapping)}
    return row, entries


def _steps(
    mapping: Mapping, nest: Nest, hardware: Hardware, arrays: HardwareArrays, steps: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Steps over the dims of the accumulated tensor and over the reduced ones, and accumulations per those of the loops.

    On a flattened axis that is unrolled as the mapper does, dims are packed across the borders of tiles (im2col), which loops
    cannot say: the mapper's own steps are taken.
    """
    reduced = [d in REDUCED[nest.tensors[2]] for d in DIMS]
    if any(axis.flatten for axis in hardware.axes):
        shape = array_shape(hardware, arrays.axis_size[0], nest.pass_)
        used = [
            sorted((x.dim, x.extent) for x in mapping.loops if x.axis == axis.name and x.extent > 1)
            for axis in shape.axes
        ]
        for unrolling in unrollings(nest, shape, MANY)[0]:
            if [sorted(factors) for factors in unrolling.factors] == used:
                return float(unrolling.steps_other), float(unrolling.steps_reduction), unrolling.packed
    return float(steps[~np.array(reduced)].prod()), float(steps[reduced].prod()), 1.0


def _traffic(
    mapping: Mapping,
    hardware: Hardware,
    stored_bits: Floats,
    partial: float,
    counts: Counts,
    elided: Counts,
    share: float,
    packed: float,
) -> Floats:
    """(level, role, side) bits: partial sums at the accumulator's width, finished results as :func:`finished` says."""
    moved = counts_array(counts)[0].astype(np.float64)
    first = counts_array(elided)[0].astype(np.float64)
    result = moved * np.array([stored_bits[0], stored_bits[1], partial])[None, :, None]
    holders = [i for i, level in enumerate(mapping.levels) if level.cuts[2] is not None]
    # An element's first accumulation reads nothing; lanes of one element add their products before the register sees them.
    reads, writes = moved[holders[0], 2, :2]
    accumulated = np.round(writes * packed)
    result[holders[0], 2, :2] = np.array([max(accumulated - (writes - reads), 0.0), accumulated]) * share * partial
    saved = partial - stored_bits[2]
    for below, above in itertools.pairwise(holders):
        converted = above_array(hardware, mapping.levels[below])
        if converted or above == len(mapping.levels) - 1:
            result[above, 2, 1] -= (first[above, 2, 1] - first[above, 2, 0]) * saved
        if converted and moved[below, 2, 3] > 0:
            result[below, 2, 3] -= (first[below, 2, 3] - first[below, 2, 2]) * saved
    return np.asarray(result)


def _ends(
    mapping: Mapping, memory_of: Sequence[int], counts: Counts, role_bits: tuple[float, ...], width: Floats
) -> tuple[float, float]:
    """Cycles before the first step and after the last one.

    Every link moves one tile, the slower of its two ends at full bandwidth, links and operands one after the other: inputs from
    the outermost memory inwards before the first step, results outwards after the last. ``role_bits`` are of an element by role.
    """
    cycles = np.zeros(3)
    for r in range(3):
        holders = [i for i, level in enumerate(mapping.levels) if level.cuts[r] is not None]
        bits = float(role_bits[r])
        for low, high in itertools.pairwise(holders):
            below = float(counts.tile[0, low, r] * counts.instances[0, low, r]) * bits
            here = (counts.reads_to_parent if r == 2 else counts.writes_from_parent)[0, low, r]
            there = (counts.writes_from_child if r == 2 else counts.reads_to_child)[0, high, r]
            above = below * float(there) / max(float(here), 1.0)
            cycles[r] += max(below / width[memory_of[low]], above / width[memory_of[high]])
    return float(cycles[0] + cycles[1]), float(cycles[2])
