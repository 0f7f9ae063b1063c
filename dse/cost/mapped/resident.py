"""Weights that stay on the chip over the time steps of a recurrent layer.

Time steps run one after the other with the same weights. Under a mapping whose tile of weights in the outermost memory on the chip
is the whole weight they are brought once, in the first step, and the others find them there: with T steps a weight moves
once, not T times, between DRAM and that memory, and a step costs in the mean

``((T - 1) * step whose weights are there + step that brings them) / T``

in energy and in time (the first step waits for them where they come slower than it computes). Layers of one body (the two
products of a traced cell) take turns, so all of their weights have to fit beside each other.

The search for the best mapping looks at one step, in which small tiles of weights are as good as large ones. So the mapping that
it finds is also tried with its loops over weights inside that memory (:func:`whole_weights`), counted and priced loop by loop
(:mod:`dse.cost.mapped.mapping_costs`), and taken where it is better.
"""

from __future__ import annotations

from dataclasses import replace

from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.mapping_checks import above_array, shortfalls
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT, Nest
from dse.names import ROLES

WEIGHT = ROLES.index("weight")


def weight_level(mapping: Mapping) -> int | None:
    """The outermost memory on the chip that holds weights, as a level of the mapping; None where none does."""
    return next(
        (i for i in reversed(range(len(mapping.levels) - 1)) if mapping.levels[i].cuts[WEIGHT] is not None), None
    )


def stays(mapping: Mapping, job: int, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs) -> int | None:
    """The level in which a repeated job's weights stay from one run to the next, on the first design of some arrays; None: they do
    not."""
    at = weight_level(mapping)
    if jobs.runs[job] <= 1 or at is None:
        return None
    nest = jobs.nests[int(jobs.nest[job])]
    inside = mapping.inside(at, WEIGHT)
    assert inside is not None
    whole = all(
        held or loop.axis is not None or loop.extent == 1 or loop.dim not in RELEVANT[nest.tensors[WEIGHT]]
        for loop, held in zip(mapping.loops, inside, strict=True)
    )
    beside = float(jobs.beside_bits[job])
    if not whole or (beside and not above_array(hardware, mapping.levels[at])):
        return None
    return None if beside and _short(mapping, at, nest, hardware, arrays, jobs, job, beside) else at


def _short(
    mapping: Mapping,
    at: int,
    nest: Nest,
    hardware: Hardware,
    arrays: HardwareArrays,
    jobs: Jobs,
    job: int,
    beside: float,
) -> bool:
    """Whether tiles do not fit beside what else lies in a level's memory."""
    size = arrays.size_bits.copy()
    size[:, [memory.name for memory in hardware.memories].index(mapping.levels[at].name)] -= beside
    return bool(shortfalls(mapping, nest, hardware, replace(arrays, size_bits=size), jobs, job))


def whole_weights(mapping: Mapping, nest: Nest, hardware: Hardware) -> list[Mapping]:
    """A mapping with all loops over weights inside of a memory that the whole array shares and that may hold weights.

    Loops keep their order but that those over no dim of the weight go outwards; every level that held loops up to the place where
    they stood holds them all. One mapping for each such memory, the outermost first.
    """
    chip = [memory for memory in hardware.memories[:-1] if "weight" in memory.roles]
    names = {axis.name for axis in hardware.axes}
    found = []
    for memory in reversed([memory for memory in chip if names <= set(memory.shared_along)]):
        level = next((i for i, level in enumerate(mapping.levels) if level.name == memory.name), None)
        if level is None:
            continue
        grown = _grown(mapping, nest, level)
        if grown is not None:
            found.append(grown)
    return found


def _grown(mapping: Mapping, nest: Nest, level: int) -> Mapping | None:
    """:func:`whole_weights` in one level; None where the loops outside of it would part a sliding window."""
    start = max((cut for entry in mapping.levels[: level + 1] for cut in entry.cuts if cut is not None), default=0)
    weight = RELEVANT[nest.tensors[WEIGHT]]
    outer = mapping.loops[start:]
    moved = [loop for loop in outer if loop.axis is not None or loop.dim in weight]
    rest = [loop for loop in outer if loop.axis is None and loop.dim not in weight]
    if any(loop.dim in "RSPQ" and loop.extent > 1 for loop in outer):
        return None
    end = start + len(moved)
    levels = list(mapping.levels)
    for i in range(level, len(levels) - 1):
        _, second, sums = (None if cut is None else end for cut in levels[i].cuts)
        # What lies further out holds nothing of the weight.
        levels[i] = replace(levels[i], cuts=(end if i == level else None, second, sums))
    return replace(mapping, loops=(*mapping.loops[:start], *moved, *rest), levels=tuple(levels))
