"""The best mapping of one loop nest at one point on hardware with any number of memories per operand.

Where an operand lies in several private or several shared memories, tables for a whole space (:mod:`dse.mapping.best.tables.table`)
would be too large. Instead the best mapping is found for given prices: for every unrolling the best chain of cuts on a coarse
lattice of tile sizes (:mod:`dse.mapping.best.deep.chains`), then, around the best of these, on dense lattices of one coordinate
after the other until nothing improves. On each lattice all loop orders, uneven cuts and memories left out (bypass) are covered
at once. What it finds are explicit mappings; their exact costs are the caller's (:mod:`dse.cost.mapped.deep_jobs`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dse.mapping.best.deep.chains import Runs, best_chains
from dse.mapping.best.deep.graph import Graph, Memories
from dse.mapping.best.deep.labels import Aim
from dse.mapping.best.deep.lattice import Lattice, coarse_vectors, deep_unrollings, dense_vectors, lattice
from dse.mapping.best.deep.links import Prices, Tiled, Tiles, priced_links
from dse.mapping.best.deep.to_go import costs_to_go
from dse.mapping.best.records import LOOPS
from dse.mapping.best.space import NEST_POSITION
from dse.mapping.best.unrolling import Unrolling, shared_extent
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.mapping.nest import TENSORS, ArrayShape, Nest
from dse.names import MAPPING_OBJECTIVES, ROLES
from dse.types import Floats, Ints

#: Places of the lattices that unrollings are compared on, from the coarsest, and how many of the best go on to each.
COARSE, MIDDLE, RICH = 150, 400, 1500
MOST_UNROLLINGS, GOOD_UNROLLINGS, BEST_UNROLLINGS, REFINED = 160, 40, 8, 4
#: Labels kept per state and share of capacity in use; for the last look at what was found.
KEEP, KEEP_LAST = 3, 12
#: Refinement ends when a round gains less than this share.
LEAST_GAIN = 1e-4
MOST_ROUNDS = 6


@dataclass(frozen=True)
class DeepPoint:
    """What a nest is priced with on m on-chip memories and DRAM.

    Attributes
    ----------
    read_pj, write_pj, element_cycles
        (m + 1, 3) per element: energy, and cycles that it occupies a memory's port (all instances together); of the accumulator
        for partial sums.
    final_read_pj, final_write_pj, final_cycles
        (m + 1,) per finished result at its own width.
    converts
        (m,) whether finished results leave the memory at their own width: it stands above the whole array.
    kept_bits
        (m, 3) bits that an element takes in each memory; of the accumulator as a partial sum.
    finished
        (m,) a finished result's bits over those of a partial sum, for memories outside of one that converts; else 1.
    capacity_bits
        (m,) of one instance.
    step_cycles, lanes
        (pairs,) cycles per step times the share of the MACs, operand pairs per step, by pair of widths.
    required
        (m, 3) 1 where a role may not pass a memory by.
    mac_share
        (3,) accesses of each role's innermost memory for those that the steps ask for: lanes of an element add their products
        first, and an attention that skips masked pairs fetches less.
    base_pj, leak_pj_per_cycle
        Energy that no mapping changes; energy per cycle.
    """

    read_pj: Floats
    write_pj: Floats
    element_cycles: Floats
    final_read_pj: Floats
    final_write_pj: Floats
    final_cycles: Floats
    converts: Ints
    kept_bits: Floats
    finished: Floats
    capacity_bits: Floats
    step_cycles: Floats
    lanes: Floats
    required: Ints
    mac_share: Floats
    base_pj: float
    leak_pj_per_cycle: float


@dataclass(frozen=True)
class Found:
    """A chain of cuts with its unrolling, and its value by the model of the search."""

    unrolling: Unrolling
    run: tuple[int, ...]
    cuts: tuple[tuple[int, int, tuple[int, ...]], ...]
    value: float

    @property
    def extents(self) -> list[tuple[int, ...]]:
        return [self.run, *(extents for _, _, extents in self.cuts)]


@dataclass(frozen=True)
class _Problem:
    """A nest at a point, as arrays for the kernels."""

    nest: Nest
    array: ArrayShape
    point: DeepPoint
    objective: int
    overlap: bool
    stationary: int
    sizes: dict[str, tuple[int, ...]]
    holders: Ints
    tensors: Ints
    bounds: Ints
    window: Ints
    windowed: bool

    def trips(self, unrolling: Unrolling) -> dict[str, int]:
        """Temporal trips of N K C P Q R S."""
        pairs = zip(LOOPS, NEST_POSITION, strict=True)
        return {d: -(-self.nest.dims[i] // unrolling.spatial[i]) for d, i in pairs}


def best_deep(
    nest: Nest,
    array: ArrayShape,
    point: DeepPoint,
    objective: str = "edp",
    overlap: bool = True,
    stationary: str = "",
    sizes: Sequence[tuple[str, tuple[int, ...]]] = (),
    most: int = 3,
) -> list[Mapping]:
    """The best mappings found, the best first; empty where nothing fits.

    Parameters
    ----------
    stationary, sizes
        See :class:`dse.mapping.best.space.Options`.
    most
        Mappings returned.
    """
    problem = _problem(nest, array, point, objective, overlap, stationary, dict(sizes))
    first: list[Found] = []
    for unrolling in deep_unrollings(nest, array, MOST_UNROLLINGS):
        first += _search(problem, unrolling, _coarse(problem, unrolling, COARSE), 1, np.inf)
    first.sort(key=lambda found: found.value)
    good = [_better(problem, f, _coarse(problem, f.unrolling, MIDDLE), 1) for f in first[:GOOD_UNROLLINGS]]
    good.sort(key=lambda found: found.value)
    second = [_better(problem, f, _coarse(problem, f.unrolling, RICH), KEEP) for f in good[:BEST_UNROLLINGS]]
    second.sort(key=lambda found: found.value)
    refined = [_refined(problem, start, KEEP) for start in second[:REFINED]]
    refined.sort(key=lambda found: found.value)
    refined[:1] = [_refined(problem, start, KEEP_LAST) for start in refined[:1]]
    return [explicit(nest, array, found) for found in (*refined, *second[REFINED:])][:most]


def several(
    nest: Nest, array: ArrayShape, point: DeepPoint, objective: str, overlap: bool, most: int, places: int = RICH
) -> list[Mapping]:
    """Up to ``most`` good mappings under the unrolling with the fewest steps, for callers with conventions of their own."""
    problem = _problem(nest, array, point, objective, overlap, "", {})
    unrolling = deep_unrollings(nest, array, 1)[0]
    found = _search(problem, unrolling, _coarse(problem, unrolling, places), KEEP_LAST, np.inf, most)
    best = [_refined(problem, start, KEEP_LAST) for start in found[:1]]
    return [explicit(nest, array, one) for one in (*best, *found)]


def _problem(
    nest: Nest,
    array: ArrayShape,
    point: DeepPoint,
    objective: str,
    overlap: bool,
    stationary: str,
    sizes: dict[str, tuple[int, ...]],
) -> _Problem:
    memories = len(array.storages)
    held = [[i for i, storage in enumerate(array.storages) if role in storage.roles] for role in ROLES]
    holders = np.full((3, max(map(len, held)) + 2), memories, np.int64)
    for r, chain in enumerate(held):
        holders[r, 0] = len(chain)
        holders[r, 1 : 1 + len(chain)] = chain
    bounds = np.array([*(nest.dims[i] for i in NEST_POSITION), nest.dims[1]], np.int64)
    return _Problem(
        nest, array, point, MAPPING_OBJECTIVES.index(objective), overlap,
        ROLES.index(stationary) if stationary else -1, sizes, holders,
        np.array([TENSORS.index(t) for t in nest.tensors], np.int64), bounds,
        np.array([*nest.stride, *nest.dilation], np.int64), windowed(nest),
    )  # fmt: skip


def windowed(nest: Nest) -> bool:
    """Whether what moves of X depends on the tiles of P Q R S: windows overlap, or a stride leaves gaps between them."""
    return any(nest.dims[6 + i] > 1 or (nest.stride[i] > 1 and nest.dims[4 + i] > 1) for i in (0, 1))


def _coarse(problem: _Problem, unrolling: Unrolling, places: int) -> Lattice:
    return lattice(coarse_vectors(problem.trips(unrolling), places, problem.windowed, problem.sizes), problem.windowed)


def _better(problem: _Problem, start: Found, grid: Lattice, keep: int) -> Found:
    """The best chain of a lattice if it is better than a known one of the same unrolling, else that one."""
    found = _search(problem, start.unrolling, grid, keep, start.value)
    return found[0] if found and found[0].value < start.value else start


def _search(
    problem: _Problem, unrolling: Unrolling, grid: Lattice, keep: int, least: float, most: int = 1
) -> list[Found]:
    """The best chains of an unrolling on a lattice that are better than ``least``."""
    point, array = problem.point, problem.array
    memories = len(array.storages)
    inside = np.ones((memories + 1, 8), np.int64)
    places = (*NEST_POSITION, 1)
    for m, storage in enumerate(array.storages):
        extent = shared_extent(array, unrolling, storage.shared_along)
        inside[m] = [extent[i] for i in places]
    spatial = np.array([unrolling.spatial[i] for i in places], np.int64)
    inside[memories] = spatial
    graph = Graph(
        grid.sizes, problem.holders, problem.tensors, problem.windowed, grid.starts, grid.nexts, grid.window_starts,
        grid.window_nexts, problem.stationary,
    )  # fmt: skip
    tiles = Tiles(grid.vectors[0], grid.vectors[1][:, 0], grid.vectors[2])
    nest = Tiled(problem.bounds, problem.window, spatial, inside, unrolling.packed)
    prices = Prices(**{name: getattr(point, name) for name in Prices._fields})
    column, runs = _runs(problem, grid)
    links = priced_links(graph, tiles, nest, prices, column, runs.role)
    held = _memories(problem)
    compute = float(
        (point.step_cycles * (unrolling.steps_other * np.ceil(unrolling.steps_reduction / point.lanes))).sum()
    )
    aim = Aim(compute, point.base_pj, point.leak_pj_per_cycle, problem.overlap, problem.objective, float(least), keep)
    found = best_chains(graph, links, held, runs, costs_to_go(graph, links, held), aim, most)
    ones = (1,) * 7
    return [
        Found(
            unrolling,
            grid.extents(int(runs.place[found.run[i]])) if 0 <= found.run[i] < len(runs.place) else ones,
            _cuts(problem, grid, found.states[i]),
            float(found.value[i]),
        )
        for i in range(most)
        if np.isfinite(found.value[i])
    ]


def _memories(problem: _Problem) -> Memories:
    """What the on-chip memories hold; followed are those that take time, and shared those of several roles."""
    point, memories = problem.point, len(problem.array.storages)
    tracked = np.full(memories + 1, -1, np.int64)
    timed = np.flatnonzero((point.element_cycles > 0).any(axis=1))
    tracked[timed] = np.arange(len(timed))
    roles = [sum(m in chain[1 : 1 + chain[0]] for chain in problem.holders.tolist()) for m in range(memories)]
    shared = np.full(memories, -1, np.int64)
    common = [m for m in range(memories) if roles[m] > 1]
    shared[common] = np.arange(len(common))
    return Memories(point.capacity_bits, point.finished, tracked, shared)


def _runs(problem: _Problem, grid: Lattice) -> tuple[Ints, Runs]:
    """Innermost runs, and the column of each in the coordinate of the input that stays at the MAC."""
    _, n_k, n_c = grid.sizes.tolist()
    unit = (n_k * n_c, n_c, 1)
    rows = [
        (column, role, column * unit[problem.tensors[role]])
        for role in (0, 1)
        if problem.stationary in (-1, role)
        for column in range(1, int(grid.sizes[problem.tensors[role]]))
    ]
    table = np.array(rows, np.int64).reshape(len(rows), 3)
    return table[:, 0].copy(), Runs(place=table[:, 2].copy(), role=table[:, 1].copy())


def _cuts(problem: _Problem, grid: Lattice, states: Ints) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """(role, memory, extents) of each step of a chain of states."""
    steps = problem.holders[:, 0]
    n_e = int(grid.sizes.prod())
    result = []
    known = [int(s) for s in states if s >= 0]
    for before, after in itertools.pairwise(known):
        old = np.unravel_index(before // n_e, steps + 1)
        new = np.unravel_index(after // n_e, steps + 1)
        role = next(r for r in range(3) if old[r] != new[r])
        result.append((role, int(problem.holders[role, 1 + old[role]]), grid.extents(after % n_e)))
    return tuple(result)


def _refined(problem: _Problem, start: Found, keep: int) -> Found:
    """The best chain on dense lattices around a chain, one coordinate after the other, until a round gains nothing."""
    best = start
    trips = problem.trips(start.unrolling)
    for _ in range(MOST_ROUNDS):
        before = best.value
        for coordinate in range(3):
            vectors = dense_vectors(best.extents, trips, coordinate, problem.sizes)
            best = _better(problem, best, lattice(vectors, problem.windowed), keep)
        if not best.value < before * (1.0 - LEAST_GAIN):
            break
    return best


def explicit(nest: Nest, array: ArrayShape, found: Found) -> Mapping:
    """Loops and levels of a chain.

    Spatial loops stand innermost, so that elements are dealt to the PEs one by one; those that index X's rows and columns stand
    right above X's outermost tile that is private along their axis, so that each tile is contiguous.
    """
    loops: list[tuple[str, int]] = []
    at = np.ones(7, np.int64)
    trips = np.array([-(-nest.dims[i] // found.unrolling.spatial[i]) for i in NEST_POSITION], np.int64)
    cuts: list[tuple[int, int, int]] = []

    def grow(extents: Sequence[int] | Ints) -> None:
        for d in range(7):
            factor = -(-int(extents[d]) // int(at[d]))
            if factor > 1:
                loops.append((LOOPS[d], factor))
            at[d] = max(at[d], int(extents[d]))

    grow(found.run)
    for role, memory, extents in found.cuts:
        grow(extents)
        cuts.append((role, memory, len(loops)))
    grow(trips)
    groups = -(-nest.dims[1] // found.unrolling.spatial[1])
    if groups > 1:
        loops.append(("G", groups))
    return _placed(nest, array, found.unrolling, loops, cuts)


def _placed(
    nest: Nest, array: ArrayShape, unrolling: Unrolling, loops: list[tuple[str, int]], cuts: list[tuple[int, int, int]]
) -> Mapping:
    windowed = nest.tensors.index("X")
    places: list[tuple[int, int, Loop]] = []
    for axis, factors in zip(array.axes, unrolling.factors, strict=True):
        private = [cut for role, m, cut in cuts if role == windowed and axis.name not in array.storages[m].shared_along]
        for dim, size in factors:
            above = max(private, default=0) if dim in "PQRS" else 0
            places.append((above, len(private), Loop(dim, size, axis.name)))
    places.sort(key=lambda entry: entry[:2])
    order: list[Loop] = []
    length = []
    for n in range(len(loops) + 1):
        order += [loop for above, _, loop in places if above == n]
        length.append(len(order))
        if n < len(loops):
            order.append(Loop(*loops[n]))
    held = {(role, m): length[cut] for role, m, cut in cuts}
    levels = []
    for m, storage in enumerate(array.storages):
        own = [held.get((role, m)) for role in range(3)]
        if any(cut is not None for cut in own):
            levels.append(Level(storage.name, (own[0], own[1], own[2]), storage.shared_along))
    everything = len(order)
    levels.append(Level("DRAM", (everything,) * 3, tuple(axis.name for axis in array.axes)))
    return Mapping(tuple(order), tuple(levels), "best mapping")
