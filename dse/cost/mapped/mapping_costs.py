"""Cost of one explicit mapping of a job on one design: its counts, priced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dse.cost.jobs.formats import Jobs, inserted_zeros, kept_bits, mac_pj, partial_bits, waiting
from dse.cost.mapped.mapping_checks import above_array, finished_only
from dse.cost.mapped.resident import WEIGHT, stays
from dse.cost.mapped.table_jobs import array_shape, mapper_options, restricted
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.pe import pe_mode
from dse.mapping.best.unrolling import lane_dims, same_unrolling
from dse.mapping.explicit.counts import Conventions, Counts, batch_of, counts_of_batch, in_blocks, temporal_steps
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.explicit.text import format_mapping
from dse.mapping.nest import Nest
from dse.names import DIMS, READ_SIDES, ROLES, SIDES
from dse.types import Floats, Ints

#: Which of the sides read a memory.
_READ = np.array([side in READ_SIDES for side in SIDES])


def counts_array(counts: Counts) -> Ints:
    """Elements by (mapping, level, role, side)."""
    return np.stack([getattr(counts, side) for side in SIDES], axis=-1)


def cost_of_mapping(
    mapping: Mapping, job: int, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, conventions: Conventions
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One row of costs, and the traffic by memory and role, on the first design of some arrays."""
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
    traffic = _traffic(
        mapping, hardware, jobs.stored_bits[job], jobs.dram_bits[job], partial, counts, elided, share, packed, kept,
        float(arrays.block_bits[0, -1]),
    )  # fmt: skip
    there = stays(mapping, job, hardware, arrays, jobs)
    later = traffic.copy()
    if there is not None:
        later[there, WEIGHT, 2] = later[-1, WEIGHT, 0] = 0.0
    # Of the runs of a job whose weights stay, the first brings them.
    first = 1.0 if there is None else 1.0 / float(jobs.runs[job])
    read, write = arrays.read_pj_per_bit[0], arrays.write_pj_per_bit[0]
    width = arrays.bandwidth_bits_per_cycle[0] * arrays.instances[0]
    bits, energy = np.zeros((2, len(names))), np.zeros(len(names))
    entries = []
    for level, m in enumerate(memory_of):
        for r, role in enumerate(ROLES):
            if mapping.levels[level].cuts[r] is None:
                continue
            bits[:, m] += traffic[level, r].sum(), later[level, r].sum()
            moved = traffic[level, r] * first + later[level, r] * (1.0 - first)
            spent = float(moved[_READ].sum() * read[m] + moved[~_READ].sum() * write[m])
            energy[m] += spent
            tile = int(counts.tile[0, level, r])
            word = float(kept_bits(hardware, m, role, jobs, one)[0])
            if r == 2 and finished_only(mapping, hardware, elided)[level]:
                word = float(jobs.stored_bits[job, 2])
            entries.append(
                {"memory": names[m], "role": role, "operand": "", "tile_elements": tile, "tile_bits": tile * word,
                 "instances": int(counts.instances[0, level, r])}
                | {side: int(getattr(counts, side)[0, level, r]) for side in SIDES}
                | {"moved_bits": float(moved.sum()), "energy_pj": spent}
            )  # fmt: skip
    runs = np.column_stack([np.full(2, compute), bits / width])
    shares = np.array([first, 1.0 - first])
    busy = shares @ runs
    cycles = float(shares @ (runs.max(axis=1) if hardware.overlap else runs.sum(axis=1)))
    fill, drain = _ends(mapping, memory_of, elided, (*jobs.stored_bits[job, :2], partial), width)
    leak = float(arrays.leakage_w[0] / arrays.clock_hz[0] * 1e12) * cycles
    per_mac = float(mac_pj(hardware, arrays.node_nm[:1], jobs, one)[0, 0] * arrays.element_scale[0])
    mac = per_mac * math.prod(nest.dims) * run
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


def steps_of_mapping(mapping: Mapping, nest: Nest, hardware: Hardware, arrays: HardwareArrays) -> float:
    """Steps of the array at one operand pair per element and step, on the first design of some arrays."""
    other, reduced, _ = _steps(mapping, nest, hardware, arrays, temporal_steps(batch_of([mapping], [nest]))[0])
    return other * reduced


def _steps(
    mapping: Mapping, nest: Nest, hardware: Hardware, arrays: HardwareArrays, steps: Ints
) -> tuple[float, float, float]:
    """Steps over the dims of the accumulated tensor and over the reduced ones, and accumulations per those of the loops.

    On a flattened axis that is unrolled as the mapper does, dims are packed across the borders of tiles (im2col), which loops
    cannot say: the mapper's own steps are taken.
    """
    shape = array_shape(hardware, arrays.axis_size[0], nest.pass_)
    lanes = np.array([d in lane_dims(nest, shape) for d in DIMS])
    if any(axis.flatten for axis in hardware.axes):
        used = [[(x.dim, x.extent) for x in mapping.loops if x.axis == axis.name] for axis in shape.axes]
        # The mapper may be restricted to some dims; a mapping of the user's own need not be.
        for allowed in (restricted(shape, mapper_options(hardware, nest)), shape) if hardware.rules else (shape,):
            unrolling = same_unrolling(nest, allowed, used)
            if unrolling is not None:
                return float(unrolling.steps_other), float(unrolling.steps_reduction), unrolling.packed
    return float(steps[~lanes].prod()), float(steps[lanes].prod()), 1.0


def _traffic(
    mapping: Mapping,
    hardware: Hardware,
    stored_bits: Floats,
    dram_bits: Floats,
    partial: float,
    counts: Counts,
    elided: Counts,
    share: float,
    packed: float,
    kept: float,
    block: float,
) -> Floats:
    """(level, role, side) bits: partial sums at the accumulator's width, finished results at their own in DRAM, and from where
    they leave a memory above the whole array; of an attention that skips masked pairs the MACs fetch a share ``kept``. DRAM moves
    whole blocks of ``block`` bits, unfinished and finished sums apart (0: any number of bits)."""
    moved = counts_array(counts)[0].astype(np.float64)
    first = counts_array(elided)[0].astype(np.float64)
    result = moved * np.array([stored_bits[0], stored_bits[1], partial])[None, :, None]
    result[-1, :2] = moved[-1, :2] * dram_bits[:, None]
    holders = [i for i, level in enumerate(mapping.levels) if level.cuts[2] is not None]
    # An element's first accumulation reads nothing; lanes of one element add their products before the register sees them.
    reads, writes = moved[holders[0], 2, :2]
    accumulated = np.round(writes * packed)
    result[holders[0], 2, :2] = np.array([max(accumulated - (writes - reads), 0.0), accumulated]) * share * partial
    for role in range(3):
        result[next(i for i, level in enumerate(mapping.levels) if level.cuts[role] is not None), role, :2] *= kept
    saved = partial - stored_bits[2]
    for below, above in itertools.pairwise(holders):
        converted = above_array(hardware, mapping.levels[below])
        if converted or above == len(mapping.levels) - 1:
            result[above, 2, 1] -= (first[above, 2, 1] - first[above, 2, 0]) * saved
        if converted and moved[below, 2, 3] > 0:
            result[below, 2, 3] -= (first[below, 2, 3] - first[below, 2, 2]) * saved
    if block:
        written = float(result[-1, 2, 1])
        done = (first[-1, 2, 1] - first[-1, 2, 0]) * stored_bits[2] if len(holders) > 1 else 0.0
        result[-1] = in_blocks(result[-1], block)
        result[-1, 2, 1] = in_blocks(written - done, block) + in_blocks(done, block)
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
