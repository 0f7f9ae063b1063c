"""Runs an explicit mapping step by step and counts what moves, by tracking the elements that every instance holds.

Slow and plain, for tests and for users who doubt a number: `simulate` gives the counts of `dse.mapping.explicit.counts` without any
of its formulas.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from dse.mapping.explicit.counts import DEFAULT, Conventions
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT, Nest
from dse.names import DIMS

Box = tuple[frozenset[int], ...]  # indices per axis of the tensor
_AXES = {"W": "GKCRS", "X": "NGCHW", "Y": "NGKPQ"}


@dataclass
class LevelCounts:
    """Elements that one level moves for one role, summed over its instances."""

    reads_to_child: int = 0
    writes_from_child: int = 0
    writes_from_parent: int = 0
    reads_to_parent: int = 0


@dataclass
class _Holder:
    """One instance's view of one tile over time."""

    box: Box | None = None
    tile: tuple[int, ...] = ()
    where: tuple[int, ...] = ()
    tiles: set[tuple[int, ...]] = field(default_factory=set)
    seen: set[tuple[int, ...]] = field(default_factory=set)


def _extents(mapping: Mapping, nest: Nest) -> list[int]:
    """Extents without iterations that are wholly outside the bound."""
    inner = dict.fromkeys(DIMS, 1)
    extents = []
    for loop in mapping.loops:
        extents.append(min(loop.extent, -(-nest.dims[DIMS.index(loop.dim)] // inner[loop.dim])))
        inner[loop.dim] *= extents[-1]
    return extents


def _size(box: Box) -> int:
    return math.prod(len(axis) for axis in box)


def _overlap(one: Box, two: Box) -> int:
    return math.prod(len(a & b) for a, b in zip(one, two, strict=True))


@dataclass(frozen=True)
class _View:
    """A tile seen by the instances outside it: what they fetch, drain, and touch for the first time."""

    fetched: int
    first_touched: int


def _watch(
    mapping: Mapping,
    nest: Nest,
    tensor: str,
    tile: tuple[bool, ...],
    unite: tuple[bool, ...],
    halo: str,
    every_step: bool,
) -> _View:
    extents = _extents(mapping, nest)
    n = len(extents)
    unit, lengths, inner = [], dict.fromkeys(DIMS, 1), dict.fromkeys(DIMS, 1)
    neighbours = {d: [0] for d in DIMS}
    for loop, extent, held, merged in zip(mapping.loops, extents, tile, unite, strict=True):
        unit.append(inner[loop.dim])
        inner[loop.dim] *= extent
        if held and unit[-1] == lengths[loop.dim] and neighbours[loop.dim] == [0]:
            lengths[loop.dim] *= extent
        elif held or merged:
            neighbours[loop.dim] = [b + i * unit[-1] for b in neighbours[loop.dim] for i in range(extent)]
    bound = dict(zip(DIMS, nest.dims, strict=True))
    temporal = [j for j in range(n - 1, -1, -1) if mapping.loops[j].axis is None]  # outer to inner
    spatial = [j for j in range(n) if mapping.loops[j].axis is not None and not tile[j] and not unite[j]]
    holders: dict[tuple[int, ...], _Holder] = {}
    boxes: dict[tuple[int, ...], Box] = {}
    fetched = first = 0
    for step in itertools.product(*(range(extents[j]) for j in temporal)):
        index = dict(zip(temporal, step, strict=True))
        for place in itertools.product(*(range(extents[j]) for j in spatial)):
            index.update(zip(spatial, place, strict=True))
            base = dict.fromkeys(DIMS, 0)
            valid = dict.fromkeys(DIMS, 0)
            for j, i in index.items():
                valid[mapping.loops[j].dim] += i * unit[j]
                if not tile[j]:
                    base[mapping.loops[j].dim] += i * unit[j]
            if any(valid[d] >= bound[d] for d in DIMS):
                continue
            holder = holders.setdefault(place, _Holder())
            where = tuple(index[j] for j in temporal if not tile[j] and extents[j] > 1)
            tile_of = tuple(base[d] for d in RELEVANT[tensor])
            if holder.box is not None and tile_of == holder.tile and not (every_step and where != holder.where):
                continue
            if tile_of not in boxes:
                boxes[tile_of] = _box(tensor, nest, base, lengths, neighbours)
            box = boxes[tile_of]
            fresh = _size(box)
            if holder.box is not None and (halo == "full" or (halo == "innermost" and where[:-1] == holder.where[:-1])):
                fresh -= _overlap(box, holder.box)
            fetched += fresh
            if tile_of not in holder.tiles:
                holder.tiles.add(tile_of)
                before = len(holder.seen)
                holder.seen.update(itertools.product(*box))
                first += len(holder.seen) - before
            holder.box, holder.tile, holder.where = box, tile_of, where
    return _View(fetched, first)


def _box(
    tensor: str, nest: Nest, base: dict[str, int], lengths: dict[str, int], neighbours: dict[str, list[int]]
) -> Box:
    """Elements of a tensor that the tiles at a base index and its neighbours need, clipped to the layer.

    A tile whose loops do not stand side by side (a PE deals its elements one by one) is a run of indices at several places.
    """
    bound = dict(zip(DIMS, nest.dims, strict=True))
    ranges = {
        d: [(base[d] + n, min(base[d] + n + lengths[d], bound[d])) for n in neighbours[d] if base[d] + n < bound[d]]
        for d in DIMS
    }
    box = []
    for axis in _AXES[tensor]:
        held: set[int] = set()
        if axis in "HW":
            i = "HW".index(axis)
            stride, dilation = nest.stride[i], nest.dilation[i]
            for (p, p_end), (r, r_end) in itertools.product(ranges["PQ"[i]], ranges["RS"[i]]):
                held.update(range(stride * p + dilation * r, stride * (p_end - 1) + dilation * (r_end - 1) + 1))
        else:
            for start, end in ranges[axis]:
                held.update(range(start, end))
        box.append(frozenset(held))
    return tuple(box)


def simulate(mapping: Mapping, nest: Nest, conventions: Conventions = DEFAULT) -> list[list[LevelCounts]]:
    """Counts by [level][role] of a mapping whose every step is run.

    The work is (temporal steps) x (PEs) x (levels); meant for nests of a few thousand steps.
    """
    result = [[LevelCounts() for _ in range(3)] for _ in mapping.levels]
    n = len(mapping.loops)
    for role in range(3):
        tensor = nest.tensors[role]
        child_tile: tuple[bool, ...] = (False,) * n
        child: int | None = None
        for level in range(len(mapping.levels)):
            parent_tile = mapping.inside(level, role)
            if parent_tile is None:
                continue
            unite = []
            for loop, inner, outer in zip(mapping.loops, child_tile, parent_tile, strict=True):
                shares = loop.axis is not None and outer and not inner
                if conventions.spatial_halo == "identical" and tensor == "X" and loop.dim in "PQRS":
                    shares = False
                unite.append(shares)
            accumulates = role == 2
            every = child is None and (accumulates or conventions.register_reads == "per_mac")
            halo = "none" if accumulates or every or tensor != "X" else conventions.halo
            received = _watch(mapping, nest, tensor, child_tile, (False,) * n, halo, every)
            sent = received
            if conventions.multicast == "source":
                sent = _watch(mapping, nest, tensor, child_tile, tuple(unite), halo, every)
            here = result[level][role]
            here.reads_to_child = sent.fetched
            if accumulates:
                here.writes_from_child = sent.fetched
                elided = conventions.first_partial_sum == "elided"
                here.reads_to_child -= sent.first_touched if elided else 0
                if child is not None:
                    result[child][role].reads_to_parent = received.fetched if conventions.drain == "counted" else 0
                    result[child][role].writes_from_parent = received.fetched - (
                        received.first_touched if elided else 0
                    )
            elif child is not None:
                result[child][role].writes_from_parent = received.fetched
            child, child_tile = level, parent_tile
    return result
