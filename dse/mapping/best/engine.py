"""The best mapping of a loop nest for many (capacity, bandwidth, price, width) points at once.

:func:`build_table` enumerates what is worth pricing once per (nest, pass, array); :func:`score_many` then prices all candidates of
many tables at many points in one compiled call (DESIGN 4.3). Everything here counts elements; the caller brings bits
and prices.

Columns are (role, link, kind). A link is named by its inner end: ``mac`` between the MACs and the storage above them, ``inner``
and ``outer`` between that storage and the next one that holds the role (DRAM last). Kinds of the two inputs:

* ``parent_reads``: reads of the storage above, one access for all instances below it that want the element (multicast)
* ``child_writes``: writes into the storage itself, in every instance

Kinds of the accumulator; the first read of a partial sum is elided (add ``final_writes`` to ``parent_reads`` and
``child_writes`` for the other convention: a constant, which moves no optimum):

* ``parent_writes``: partial sums written to the storage above, after reduction over the instances below it
* ``final_writes``: finished results written to the storage above, once per element (of the tiles' bounding boxes)
* ``parent_reads``, ``child_writes``: partial sums read back, and written into the storage itself, in every instance
* ``child_reads``: partial sums read out of the storage itself, in every instance; for ``outer`` without the finished results
* ``final_child_reads``: finished results read out of an ``outer`` storage

On the ``mac`` link every accumulation writes (``parent_writes``), and reads (``parent_reads``) unless it is an element's first in
that instance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.mapping.best.candidates import (
    LOOPS,
    NEST_POSITION,
    Options,
    Slot,
    Unrolling,
    slots_of,
    unrollings,
)
from dse.mapping.best.chains import chains
from dse.mapping.best.enumerate_kernel import non_dominated, transfers
from dse.mapping.best.score_kernel import BLOCK, all_values, score_pairs
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.mapping.nest import ROLES, ArrayShape, Nest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Column = tuple[str, str, str]

OBJECTIVES = ("energy", "latency", "edp")


@dataclass(frozen=True)
class Table:
    """Candidate mappings of one nest on one array; n candidates.

    Attributes
    ----------
    columns
        (role, link, kind) of each row of ``counts``, those that are zero for every candidate left out.
    counts
        (columns, n) elements.
    slots
        (role, storage index, level) of each row of ``footprint``.
    footprint
        (slots, n) elements per instance.
    steps_other, steps_reduction
        (n,) temporal steps over the dims of the accumulated tensor and over the reduced dims; with L precision lanes a pass
        takes ``steps_other * ceil(steps_reduction / L)`` steps.
    macs, distinct
        Multiply-accumulates; elements of the tensors in the roles weight, activation, accumulator.
    exhaustive
        False if tile sizes or unrollings were thinned (see :class:`dse.mapping.best.candidates.Options`).
    unrolls, unrolling
        The spatial unrollings, and which of them each candidate uses.
    extents
        (slots + 1, n, 7) temporal trips of N K C P Q R S inside each cut; row 0 is the innermost run.
    """

    nest: Nest
    array: ArrayShape
    columns: tuple[Column, ...]
    counts: Floats
    slots: tuple[Slot, ...]
    footprint: Floats
    steps_other: Floats
    steps_reduction: Floats
    macs: int
    distinct: tuple[float, float, float]
    exhaustive: bool
    unrolls: tuple[Unrolling, ...]
    unrolling: Ints
    extents: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.counts.shape[1])

    @property
    def utilization(self) -> Floats:
        """(n,) MACs over steps times PEs, at one lane."""
        pes = float(np.prod([axis.size for axis in self.array.axes], dtype=np.float64))
        return self.macs / (self.steps_other * self.steps_reduction * pes)

    def mapping(self, index: int) -> MappingChoice:
        """Candidate ``index`` as loops."""
        return _choice(self, index)

    def explicit(self, index: int) -> Mapping:
        """Candidate ``index`` as an explicit mapping, whose counts :func:`dse.mapping.explicit.counts.counts_of` gives
        independently."""
        return _explicit(self, _choice(self, index))


@dataclass(frozen=True)
class MappingChoice:
    """One candidate, spelled out.

    Attributes
    ----------
    spatial
        For each axis its name and (dim, size) pairs.
    loops
        Temporal loops from the MAC outwards, (dim, trips); trips of a dim may multiply to more than it needs (ceilings).
    cuts
        (role, storage name, number of ``loops`` inside the cut) per slot.
    tiles
        Elements per instance by slot, in the order of ``cuts``.
    """

    spatial: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    loops: tuple[tuple[str, int], ...]
    cuts: tuple[tuple[str, str, int], ...]
    tiles: tuple[float, ...]


def _choice(table: Table, index: int) -> MappingChoice:
    unrolling = table.unrolls[int(table.unrolling[index])]
    extents = table.extents[:, index].astype(np.int64)
    # cuts form a chain, so their sizes order them; equal ones are the same place
    order = sorted(range(-1, len(table.slots)), key=lambda i: (float(extents[i + 1].astype(np.float64).prod()), i))
    loops: list[tuple[str, int]] = []
    inside = np.ones(7, np.int64)
    cuts: dict[int, int] = {}
    bounds = np.array([table.nest.dims[j] for j in NEST_POSITION], np.int64)
    spatial = np.array([unrolling.spatial[j] for j in NEST_POSITION], np.int64)
    trips = -(-bounds // spatial)
    for i in order:
        target = extents[i + 1]
        for d in range(7):
            factor = -(-int(target[d]) // int(inside[d]))
            if factor > 1:
                loops.append((LOOPS[d], factor))
        inside = np.maximum(inside, target)
        if i >= 0:
            cuts[i] = len(loops)
    for d in range(7):
        factor = -(-int(trips[d]) // int(inside[d]))
        if factor > 1:
            loops.append((LOOPS[d], factor))
    groups = -(-table.nest.dims[1] // unrolling.spatial[1])
    if groups > 1:
        loops.append(("G", groups))
    return MappingChoice(
        tuple((axis.name, f) for axis, f in zip(table.array.axes, unrolling.factors, strict=True)),
        tuple(loops),
        tuple((s.role, table.array.storages[s.storage].name, cuts[i]) for i, s in enumerate(table.slots)),
        tuple(float(x) for x in table.footprint[:, index]),
    )


def _explicit(table: Table, choice: MappingChoice) -> Mapping:
    """Loops and levels of a choice.

    Spatial loops stand innermost, so that elements are dealt to the PEs one by one, but for those that index
    X's rows and columns where it has a private tile: they stand right above it, which is then contiguous in every PE.
    """
    storages = table.array.storages
    cut_of = {(role, name): cut for role, name, cut in choice.cuts}
    windowed = ROLES[table.nest.tensors.index("X")]
    private = [s.storage for s in table.slots if s.role == windowed and s.level == "inner"]
    place = cut_of[windowed, storages[private[0]].name] if private else 0
    spatial = [Loop(dim, size, axis) for axis, factors in choice.spatial for dim, size in factors]
    inner = [loop for loop in spatial if loop.dim not in "PQRS" or not place]
    above = [loop for loop in spatial if loop not in inner]
    temporal = [Loop(dim, trips) for dim, trips in choice.loops]
    loops = (*inner, *temporal[:place], *above, *temporal[place:])
    levels = []
    for storage in storages:
        cuts = [
            None if role not in storage.roles else len(inner) + cut + (len(above) if cut >= place else 0)
            for role in ROLES
            for cut in [cut_of.get((role, storage.name), 0)]
        ]
        levels.append(Level(storage.name, (cuts[0], cuts[1], cuts[2]), storage.shared_along))
    everything = len(loops)
    levels.append(Level("DRAM", (everything, everything, everything), tuple(axis.name for axis in table.array.axes)))
    return Mapping(loops, tuple(levels), "best mapping")


def distinct_elements(nest: Nest, tensor: str) -> float:
    """Elements of a tensor; for X the bounding box of what the windows cover, padding included."""
    bounds = np.array([nest.dims[i] for i in NEST_POSITION], np.int64)
    window = np.array([*nest.stride, *nest.dilation], np.int64)
    return float(transfers("WXY".index(tensor), np.ones(7, np.int64), bounds, nest.dims[1], window))


def enumerate_table(nest: Nest, array: ArrayShape, options: Options) -> Table:
    """Build a table without looking into the cache."""
    slots = slots_of(array)
    spaces, complete = unrollings(nest, array, options.max_unrollings)
    results = [chains(nest, array, slots, u, options) for u in spaces]
    distinct = tuple(distinct_elements(nest, t) for t in nest.tensors)
    which = np.concatenate([np.full(c.mac.shape[1], i, np.int64) for i, c in enumerate(results)])
    moved, copies, tile, mac = (
        np.concatenate([getattr(c, name) for c in results], axis=1) for name in ("moved", "copies", "tile", "mac")
    )
    extents = np.concatenate([c.extents for c in results], axis=1)
    steps = np.array([[u.steps_other, u.steps_reduction] for u in spaces], np.float64).T[:, which]
    final, first = (np.concatenate([getattr(c, name) for c in results], axis=1) for name in ("final", "first"))
    at_mac = np.concatenate([c.first_at_mac for c in results])
    columns, counts = _columns(slots, moved, copies, mac, final, first, at_mac)
    if len(which):
        rows = np.concatenate([counts, tile, steps])
        keep = non_dominated(rows.T, np.ones((len(which), 0), np.int64), np.ones(0, np.int64))
        keep = keep[_blocks_of_alike(np.log(np.concatenate([moved, mac, steps, tile]))[:, keep], len(moved) + 5)]
        counts, tile, steps, extents, which = (
            counts[:, keep],
            tile[:, keep],
            steps[:, keep],
            extents[:, keep],
            which[keep],
        )
    exhaustive = complete and all(c.exhaustive for c in results)
    return Table(
        nest, array, columns, np.ascontiguousarray(counts), slots, np.ascontiguousarray(tile), steps[0].copy(), steps[1].copy(),
        int(np.prod(np.array(nest.dims, dtype=object))), (distinct[0], distinct[1], distinct[2]), exhaustive, spaces, which,
        np.ascontiguousarray(extents),
    )  # fmt: skip


def _blocks_of_alike(logs: Floats, costs: int) -> Ints:
    """Order of candidates in which blocks of the kernel hold alike ones, so that a block's bound is close to its candidates.

    Candidates are halved by the feature that spreads most, at whole blocks, until a block is left. Blocks with little traffic
    (the first ``costs`` features) come first, so that a good candidate is found early; an incomplete block is last.
    """
    leaves: list[Ints] = []
    parts = [np.arange(logs.shape[1])]
    while parts:
        part = parts.pop()
        if len(part) <= BLOCK:
            leaves.append(part)
            continue
        spread = logs[:, part].std(axis=1)
        order = part[np.argsort(logs[int(np.argmax(spread)), part], kind="stable")]
        middle = -(-len(part) // BLOCK) // 2 * BLOCK
        parts += [order[middle:], order[:middle]]
    leaves.sort(key=lambda leaf: (len(leaf) < BLOCK, float(logs[:costs, leaf].sum(axis=0).min()), int(leaf.min())))
    return np.concatenate(leaves)


def _columns(
    slots: tuple[Slot, ...], moved: Floats, copies: Floats, mac: Floats, final: Floats, first: Floats, at_mac: Floats
) -> tuple[tuple[Column, ...], Floats]:
    """The named counts from transfers per slot (see the module docstring)."""
    n = moved.shape[1]
    rows: dict[Column, Floats] = {}
    for r, role in enumerate(ROLES[:2]):
        rows[role, "mac", "parent_reads"] = mac[r]
        for i, slot in enumerate(slots):
            if slot.role == role:
                rows[role, slot.level, "parent_reads"] = moved[i]
                rows[role, slot.level, "child_writes"] = copies[i]
    role = ROLES[2]
    rows[role, "mac", "parent_writes"] = mac[2]
    rows[role, "mac", "parent_reads"] = np.maximum(mac[2] - at_mac, 0.0)
    for i in (i for i, slot in enumerate(slots) if slot.role == role):
        level, partial = slots[i].level, moved[i] - final[i]
        rows[role, level, "parent_writes"] = partial
        rows[role, level, "final_writes"] = final[i]
        rows[role, level, "parent_reads"] = partial
        rows[role, level, "child_writes"] = np.maximum(copies[i] - first[i], 0.0)
        rows[role, level, "child_reads"] = copies[i] if level == "inner" else partial
        if level == "outer":
            rows[role, level, "final_child_reads"] = final[i]
    names = tuple(name for name, row in rows.items() if row.any())
    return names, np.array([rows[name] for name in names]).reshape(len(names), n)


def build_table(nest: Nest, array: ArrayShape, *, options: Options | None = None) -> Table:
    """Candidate mappings of a nest on an array, from memory, from disk, or enumerated and stored.

    Parameters
    ----------
    nest, array
        The loop nest with its pass; axes and on-chip storages. Sizes, widths and prices play no part.
    options
        What is enumerated; the default suits networks, larger ``max_tiles`` make more nests exhaustive.
    """
    from dse.mapping.best.cache import cached_table

    return cached_table(nest, array, options or Options(), enumerate_table)


def build_tables(
    nests: Sequence[Nest], arrays: Sequence[ArrayShape], *, options: Options | None = None, workers: int = 0
) -> list[Table]:
    """One table per (nest, array) pair, enumerated by several threads; ``workers`` 0 takes all processors."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return list(pool.map(lambda nest, array: build_table(nest, array, options=options), nests, arrays))


@dataclass(frozen=True)
class Points:
    """What one table is priced with at n points; any first axis may be 1 (or stride 0) for all points alike.

    Attributes
    ----------
    energy_per_column
        (n, columns) picojoules per element, >= 0.
    base_energy
        (n,) picojoules that no mapping changes, such as the MACs.
    step_cycles, lanes
        (n,) cycles per step of the array; operand pairs of the reduced dims that a PE takes per step. With block-wise precision
        (n, pairs): cycles of a step times the share of the MACs that run at a pair of widths, and that pair's lanes.
    cycles_per_element
        (n, resources, columns) cycles that an element occupies a memory port, >= 0.
    bits_per_slot
        (n, slots) stored bits per element.
    capacity_bits
        (n, memories) of one instance; infinite if unlimited.
    slot_memory
        (slots,) memory of each slot; slots of one memory share its capacity.
    energy_per_cycle
        (n,) picojoules per cycle (leakage).
    """

    energy_per_column: Floats
    base_energy: Floats
    step_cycles: Floats
    lanes: Floats
    cycles_per_element: Floats
    bits_per_slot: Floats
    capacity_bits: Floats
    slot_memory: Ints
    energy_per_cycle: Floats


@dataclass(frozen=True)
class Scores:
    """Best candidates; every array is (tables, points), or (points,) from :func:`score`.

    Attributes
    ----------
    index
        Best candidate, the lowest of equal ones; -1 where none fits.
    energy_pj, cycles
        Its cost; infinite where none fits.
    bound
        What its time follows: -1 compute, r the resource; -2 where none fits.
    short_memory, short_bits
        Where none fits: the memory that lacks most and how many bits, for the candidate that lacks least; else -1, 0.
    """

    index: npt.NDArray[np.int32]
    energy_pj: Floats
    cycles: Floats
    bound: npt.NDArray[np.int32]
    short_memory: npt.NDArray[np.int32]
    short_bits: Floats
    visited: Ints


def score(table: Table, points: Points, objective: str = "edp", overlap: bool = True) -> Scores:
    """Best candidate of one table at every point."""
    many = score_many([table], [points], objective, overlap)
    return Scores(*(getattr(many, f)[0] for f in Scores.__dataclass_fields__))


def score_many(
    tables: Sequence[Table], points: Sequence[Points], objective: str = "edp", overlap: bool = True
) -> Scores:
    """Best candidate of every table at every point, in one compiled call.

    Parameters
    ----------
    tables, points
        One entry of ``points`` per table; all with the same number of points (or 1).
    objective
        ``energy``, ``latency`` or ``edp``.
    overlap
        Time is the slowest of compute and every resource; if false, their sum.

    Raises
    ------
    ValueError
        If shapes do not match the tables, or a coefficient is negative or NaN.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is none of {OBJECTIVES}")
    count = max((len(a) for x in points for a in _arrays(x)), default=1)
    for table, x in zip(tables, points, strict=True):
        _check(table, x, count)
    at = np.zeros((len(tables), 31), np.int64)
    packs = [_packed(table) for table in tables]
    flat: list[Floats] = []
    for kind, place in enumerate((1, 3, 4, 6, 7, 8)):
        parts = [pack.arrays[kind] for pack in packs]
        at[:, place] = _offsets(parts)
        flat.append(np.concatenate(parts))
    basis, basis_min, tiles, tiles_min, steps, steps_min = flat
    column = [pack.column for pack in packs]
    at[:, 9] = _offsets(column)
    slots = [np.asarray(x.slot_memory, np.int64) for x in points]
    at[:, 11] = _offsets(slots)
    for t, (table, pack, x) in enumerate(zip(tables, packs, points, strict=True)):
        at[t, 0], at[t, 2], at[t, 5], at[t, 10] = len(table), pack.basis, len(table.slots), len(table.columns)
        at[t, 28], at[t, 29] = x.cycles_per_element.shape[1], x.capacity_bits.shape[1]
        at[t, 30] = _arrays(x)[2].shape[1]
    inputs: list[Floats] = []
    for kind in range(8):
        parts = []
        for t, x in enumerate(points):
            array = np.asarray(_arrays(x)[kind], np.float64)
            one = len(array) == 1 or array.strides[0] == 0
            array = array[:1] if one else array
            at[t, 13 + 2 * kind] = 0 if one else array[0].size
            parts.append(array.reshape(-1))
        at[:, 12 + 2 * kind] = _offsets(parts)
        inputs.append(np.concatenate(parts))
    energy, base, step, lanes, cycles, bits, capacity, leak = inputs
    constant = np.concatenate([pack.constant for pack in packs])
    result = score_pairs(
        basis, basis_min, tiles, tiles_min, steps, steps_min, at, np.concatenate(column), constant, np.concatenate(slots),
        energy, base, step, lanes, cycles, bits, capacity, leak, OBJECTIVES.index(objective), overlap, count,
    )  # fmt: skip
    index, e, c, bound, memory, short, visited = result
    return Scores(index.astype(np.int32), e, c, bound.astype(np.int32), memory.astype(np.int32), short, visited)


def _arrays(x: Points) -> tuple[Floats, ...]:
    step, lanes = (a if a.ndim == 2 else a[:, None] for a in (x.step_cycles, x.lanes))
    return (
        x.energy_per_column, x.base_energy, step, lanes, x.cycles_per_element, x.bits_per_slot, x.capacity_bits,
        x.energy_per_cycle,
    )  # fmt: skip


def _check(table: Table, x: Points, count: int) -> None:
    columns, slots = len(table.columns), len(table.slots)
    shapes = ((columns,), (), (None,), (None,), (None, columns), (slots,), (None,), ())
    names = [f for f in Points.__dataclass_fields__ if f != "slot_memory"]
    for name, array, shape in zip(names, _arrays(x), shapes, strict=True):
        tail = array.shape[1:]
        if (
            array.shape[0] not in (1, count)
            or len(tail) != len(shape)
            or any(s is not None and s != a for a, s in zip(tail, shape, strict=True))
        ):
            raise ValueError(f"{name} has shape {array.shape}, expected ({count} or 1, {shape})")
        seen = array[:1] if array.strides[0] == 0 else array
        if not (seen >= 0).all():
            raise ValueError(f"{name} has a negative or NaN entry: pruning is exact for coefficients >= 0 only")
    if len(x.slot_memory) != slots:
        raise ValueError(f"slot_memory has {len(x.slot_memory)} entries, expected {slots}")


def _offsets(parts: Sequence[npt.NDArray[np.generic]]) -> Ints:
    return np.concatenate([[0], np.cumsum([p.size for p in parts])[:-1]]).astype(np.int64)


@dataclass(frozen=True)
class _Packed:
    """A table as the kernel reads it: distinct columns, block minima, all flat."""

    arrays: tuple[Floats, Floats, Floats, Floats, Floats, Floats]
    column: Ints
    constant: Floats
    basis: int


_PACKED: dict[int, tuple[Table, _Packed]] = {}


def _packed(table: Table) -> _Packed:
    """Fold constant and equal columns, and find the smallest value of each block; kept while the table lives."""
    known = _PACKED.get(id(table))
    if known is not None and known[0] is table:
        return known[1]
    n = len(table)
    column = np.full(len(table.columns), -1, np.int64)
    constant = np.zeros(len(table.columns))
    rows: dict[bytes, int] = {}
    basis: list[Floats] = []
    for j, row in enumerate(table.counts):
        if n and (row == row[0]).all():
            constant[j] = row[0]
            continue
        key = row.tobytes()
        if key not in rows:
            rows[key] = len(basis)
            basis.append(row)
        column[j] = rows[key]
    stacked = np.array(basis).reshape(len(basis), n)
    steps = np.array([table.steps_other, table.steps_reduction])
    edges = np.arange(0, n, BLOCK)
    low = [
        np.minimum.reduceat(a, edges, axis=1) if n and len(a) else a[:, :0] for a in (stacked, table.footprint, steps)
    ]
    arrays = (stacked, low[0], table.footprint, low[1], steps, low[2])
    flat = tuple(np.ascontiguousarray(a).reshape(-1) for a in arrays)
    packed = _Packed((flat[0], flat[1], flat[2], flat[3], flat[4], flat[5]), column, constant, len(basis))
    _PACKED[id(table)] = (table, packed)
    return packed


def candidate_costs(table: Table, points: Points, point: int = 0, overlap: bool = True) -> tuple[Floats, Floats]:
    """Energy [pJ] and cycles of every candidate at one point; infinite where it does not fit."""
    _check(table, points, max(len(a) for a in _arrays(points)))
    rows = [np.array(a[min(point, len(a) - 1)], np.float64) for a in _arrays(points)]
    energy, base, step, lanes, cycles, bits, capacity, leak = rows
    steps = np.array([table.steps_other, table.steps_reduction])
    memory = np.asarray(points.slot_memory, np.int64)
    return all_values(
        table.counts, table.footprint, steps, memory, energy, float(base), step, lanes, cycles, bits, capacity,
        float(leak), overlap,
    )  # fmt: skip


def front(table: Table, points: Points, point: int = 0, overlap: bool = True) -> tuple[Ints, Floats, Floats]:
    """Non-dominated (energy, cycles) candidates at one point: index, energy [pJ], cycles, by ascending energy."""
    energy, cycles = candidate_costs(table, points, point, overlap)
    order = np.lexsort((np.arange(len(energy)), cycles, energy))
    order = order[np.isfinite(energy[order])]
    fastest = np.minimum.accumulate(cycles[order]) if len(order) else cycles[order]
    keep = order[np.concatenate([[True], fastest[1:] < fastest[:-1]])] if len(order) else order
    return keep, energy[keep], cycles[keep]
