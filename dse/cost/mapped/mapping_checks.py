"""Whether an explicit mapping suits a hardware: its memories, its axes, and what they hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from dse.cost.jobs.formats import Jobs, kept_bits, unusable
from dse.errors import Problem
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.counts import ENGINE, Counts, counts_of
from dse.mapping.explicit.mapping import Level, Mapping, mapping_problems, tile_elements
from dse.mapping.nest import Nest
from dse.names import ROLES
from dse.yaml_input import suggest


def on_hardware(
    mapping: Mapping, nest: Nest, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, job: int
) -> tuple[Mapping, list[Problem]]:
    """The mapping with its levels in the hardware's order and shared as the hardware's memories are, and what is wrong."""
    memories = {memory.name: m for m, memory in enumerate(hardware.memories)}
    axes = {axis.name: int(size) for axis, size in zip(hardware.axes, arrays.axis_size[0], strict=True)}
    problems: list[Problem] = []
    levels: list[Level] = []
    for i, level in enumerate(mapping.levels):
        where = f"levels[{i}]"
        if level.name not in memories:
            problems.append(
                Problem(where, f"{hardware.name} has no memory '{level.name}'{suggest(level.name, memories)}")
            )
            continue
        memory = hardware.memories[memories[level.name]]
        for role, cut in zip(ROLES, level.cuts, strict=True):
            if cut is not None and role not in memory.roles:
                problems.append(
                    Problem(where, f"'{level.name}' of {hardware.name} does not hold the {role} role; leave it out")
                )
        shared = set(memory.shared_along)
        along = ", ".join(memory.shared_along) or "no axis"
        if level.shared_along is not None and set(level.shared_along) & set(axes) != shared:
            given = ", ".join(level.shared_along) or "no axis"
            problems.append(Problem(where, f"'{level.name}' is shared along {along}, found {given}; leave it out"))
        for loop, inside in [(x, k < c) for c in level.cuts if c is not None for k, x in enumerate(mapping.loops)]:
            if level.shared_along is None and loop.axis in axes and inside != (loop.axis in shared):
                side = "inside" if loop.axis in shared else "outside"
                text = f"{loop.dim}{loop.extent}@{loop.axis} has to stand {side} of '{level.name}', which is shared along {along}"
                problems.append(Problem(where, text))
        levels.append(replace(level, shared_along=memory.shared_along))
    if problems:
        return mapping, list(dict.fromkeys(problems))
    levels.sort(key=lambda level: memories[level.name])
    placed = replace(mapping, levels=tuple(levels))
    if not levels or levels[-1].name != hardware.memories[-1].name:
        problems.append(Problem("levels", f"the outermost level has to be '{hardware.memories[-1].name}'"))
    problems += [Problem("levels", text) for text in _passed_by(placed, hardware)]
    problems += mapping_problems(placed, nest, axes)
    for loop in mapping.loops:
        dims = next((axis.dims[nest.pass_] for axis in hardware.axes if axis.name == loop.axis), (loop.dim,))
        if loop.dim not in dims:
            takes = " ".join(dims) or "nothing"
            problems.append(
                Problem("loops", f"axis '{loop.axis}' takes {takes} in the {nest.pass_} pass, found {loop.dim}")
            )
    if not problems:
        problems += shortfalls(placed, nest, hardware, arrays, jobs, job)
    limit = unusable(hardware, jobs, np.array([job]))
    return placed, problems + ([Problem("", limit)] if limit else [])


def _passed_by(mapping: Mapping, hardware: Hardware) -> list[str]:
    """Operands that pass a memory by where the hardware's wires lead through it."""
    if hardware.bypass:
        return []
    cuts = {level.name: level.cuts for level in mapping.levels}
    return [
        f"'{memory.name}' of {hardware.name} cannot be passed by ({role}): its file says 'bypass: false'; cut there too"
        for memory in hardware.memories[:-1]
        for role in memory.roles
        if cuts.get(memory.name, (None, None, None))[ROLES.index(role)] is None
    ]


def shortfalls(
    mapping: Mapping, nest: Nest, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, job: int
) -> list[Problem]:
    """Memories whose tiles do not fit, with the shortfall."""
    problems = []
    names = [memory.name for memory in hardware.memories]
    finished = finished_only(mapping, hardware, counts_of(mapping, nest, ENGINE))
    for i, level in enumerate(mapping.levels[:-1]):
        m = names.index(level.name)
        bits = [float(kept_bits(hardware, m, role, jobs, np.array([job]))[0]) for role in ROLES]
        if finished[i]:
            bits[2] = float(jobs.stored_bits[job, 2])
        needed = sum(tile_elements(mapping, nest, i, r) * bits[r] for r in range(3))
        short = needed - float(arrays.usable_bits[0, m])
        if short > 0:
            room = "half of it, which is double-buffered," if hardware.memories[m].double_buffered else "it"
            text = f"the tiles in '{level.name}' need {needed:,.0f} bits, {short:,.0f} more than {room} has; cut lower"
            problems.append(Problem(f"levels[{i}]", text))
    return problems


def above_array(hardware: Hardware, level: Level) -> bool:
    """Whether a level stands above the whole array, where results are converted: it hands them outwards at their own width."""
    return {axis.name for axis in hardware.axes} <= set(level.shared_along or ())


def finished_only(mapping: Mapping, hardware: Hardware, elided: Counts) -> list[bool]:
    """By level, whether it gets nothing but finished, converted results and keeps them at their own width.

    That is a memory outside of one that stands above the array (:func:`above_array`) and to which no partial sum goes.
    ``elided`` are counts without the first read of a partial sum.
    """
    result = [False] * len(mapping.levels)
    holders = [i for i, level in enumerate(mapping.levels) if level.cuts[2] is not None]
    for below, above in itertools.pairwise(holders):
        result[above] = above_array(hardware, mapping.levels[below]) and int(elided.reads_to_child[0, above, 2]) == 0
    return result
