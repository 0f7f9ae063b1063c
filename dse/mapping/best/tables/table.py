"""Tables of the best mappings of one nest on one array: searched once at a number of points, looked up at any other.

A table holds what every mapping that was found moves, by memory and class of elements, and its tiles; no bits and no prices, so
that any capacity, bandwidth, price and format can be looked up (:mod:`dse.mapping.best.tables.score`). What a table is looked up
for costs the same whatever else is looked up with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dse.mapping.best.records import (
    CLASSES,
    LOOPS,
    MAC,
    MAC_SUM,
    MAC_WEIGHT,
    PARTIAL,
    POINT,
    RESULT,
    SLOTS,
    STATE,
    WORK,
    Elements,
)
from dse.mapping.best.search.family_kernel import follow, variants
from dse.mapping.best.search.search import Found, search
from dse.mapping.best.space import Options, Slot
from dse.mapping.best.tables.score_kernel import Rows, winners
from dse.mapping.best.unrolling import Unrolling
from dse.mapping.explicit.counts import ENGINE, batch_of, counts_of_batch
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.mapping.nest import ArrayShape, Nest
from dse.names import DIMS, ROLES
from dse.types import Floats, Ints

#: Rows and columns of a window up to which mappings with unrolled windows are counted loop by loop.
MOST_LINES = 4096
#: Variants of what a search found that are looked at, and best rows of a point that a table keeps.
MOST_VARIANTS = 32_000
PLACES = 2
#: Sizes of an elastic growth that its family is checked at.
CHECKS = 4
#: Points at which rows are ruled out first.
FEW_POINTS = 64
#: Whether a column counts what is written, in the order of the last axis of counts by memory and class.
WRITES = (False, True)


@dataclass(frozen=True)
class Column:
    """What one memory reads or writes of one class of elements.

    Attributes
    ----------
    level
        The memory: its place in the array; DRAM stands behind all of them, however many there are.
    elements
        Their role, whether they are final, and whether MACs access them.
    writes
        The side: what the memory is written, else what is read from it, with its children and its parent together. A price belongs
        to the memory and not to a link, so that columns by child and parent would move no figure and only be more to add up.
    """

    level: int
    elements: Elements
    writes: bool


@dataclass(frozen=True)
class Table:
    """Mappings of one nest on one array: n rows, each a family of mappings with one elastic growth.

    Attributes
    ----------
    columns, counts, slopes
        What is counted, and (n, columns) elements: ``counts + left * slopes`` with so many trips left outside of the elastic
        growth.
    slots, tiles, widths, finished
        Roles in memories, (n, slots) elements that one instance holds: ``tiles + size * widths`` with a size of so many inner
        tiles, and whether they are finished results at their own width.
    trips, least, slot, dim
        (n,) trips of the elastic growth outside of its inner tiles, the fewest that may be left of them, and where it is (row of a
        record's ``left``); 1, 1 and -1 without one.
    steps
        (n, 2) temporal steps over the dims of the accumulated tensor and over the reduced ones; with L precision lanes a pass takes
        ``steps[0] * ceil(steps[1] / L)`` steps.
    smallest
        The first rows have the smallest tiles of all roles on the fullest array; where none of them fits, the memories are too
        small.
    macs
        Multiply-accumulates.
    unrolls, states
        The spatial unrollings, and (n,) records of the mappings (:data:`dse.mapping.best.records.STATE`).
    """

    nest: Nest
    array: ArrayShape
    columns: tuple[Column, ...]
    counts: Floats
    slopes: Floats
    slots: tuple[Slot, ...]
    tiles: Floats
    widths: Floats
    finished: npt.NDArray[np.bool_]
    trips: Floats
    least: Floats
    slot: Ints
    dim: Ints
    steps: Floats
    smallest: int
    macs: int
    unrolls: tuple[Unrolling, ...]
    states: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.states)

    def explicit(self, row: int, left: int = 1) -> Mapping:
        """A mapping of a row as loops and levels, whose counts :func:`dse.mapping.explicit.counts.counts_of` gives
        independently."""
        state = self.states[row].copy()
        if self.slot[row] >= 0:
            state["left"][self.slot[row], self.dim[row]] = left
        return explicit(self.nest, self.array, self.slots, self.unrolls[int(state["case"])], state)

    @cached_property
    def rows(self) -> Rows:
        """The table as the lookup reads it."""
        one = np.zeros(1, np.int64)
        return Rows(
            first=one, rows=np.array([len(self)], np.int64), smallest=np.array([self.smallest], np.int64), start=one,
            columns=np.array([len(self.columns)], np.int64), column=one,
            memory=np.array([column.level for column in self.columns], np.int64),
            kind=np.array([CLASSES.index(column.elements) for column in self.columns], np.int64),
            writes=np.array([column.writes for column in self.columns], np.int64), counts=self.counts.T.reshape(-1),
            slopes=self.slopes.T.reshape(-1), tiles=self.tiles.T.reshape(-1), widths=self.widths.T.reshape(-1),
            finished=self.finished.T.reshape(-1), trips=self.trips, least=self.least, other=self.steps[:, 0].copy(),
            reduced=self.steps[:, 1].copy(), slot_memory=np.array([slot.storage for slot in self.slots], np.int64),
        )  # fmt: skip

    def settled(self, rows: Ints, left: Ints) -> npt.NDArray[np.void]:
        """Records of rows with so many trips left outside of their elastic growths, without repeating any."""
        states = self.states[rows]
        for state, row, n in zip(states, rows, left, strict=True):
            if self.slot[row] >= 0:
                state["left"][self.slot[row], self.dim[row]] = n
        return states[np.unique([state.tobytes() for state in states], return_index=True)[1]]

    def only(self, rows: Ints) -> Table:
        """The table of its smallest rows and some others."""
        every = np.unique(np.concatenate([np.arange(self.smallest), rows]).astype(np.int64))
        return replace(self, **{name: getattr(self, name)[every] for name in (*BY_ROW, "states")})

    def compact(self) -> Table:
        """Without columns and unrollings that no row uses."""
        used = sorted({int(c) for c in self.states["case"]})
        states = self.states.copy()
        states["case"] = [used.index(int(c)) for c in states["case"]]
        moved = (self.counts != 0).any(axis=0) | (self.slopes != 0).any(axis=0)
        return replace(
            self, states=states, unrolls=tuple(self.unrolls[c] for c in used),
            columns=tuple(column for column, kept in zip(self.columns, moved, strict=True) if kept),
            counts=np.ascontiguousarray(self.counts[:, moved]), slopes=np.ascontiguousarray(self.slopes[:, moved]),
        )  # fmt: skip


#: Arrays of a table that have a row each, but for the records.
BY_ROW = ("counts", "slopes", "tiles", "widths", "finished", "trips", "least", "slot", "dim", "steps")


def build(
    nest: Nest, array: ArrayShape, points: npt.NDArray[np.void], effort: Ints, options: Options | None = None
) -> Table:
    """Search a table.

    Parameters
    ----------
    points, effort
        As of :func:`dse.mapping.best.search.search.search`; points with an effort below 0 are not searched, but the table keeps
        what is best there of all that was found and its variants.
    """
    asked = effort >= 0
    found = search(nest, array, points[asked], effort[asked], options)
    some = np.ascontiguousarray(points[:: max(1, len(points) // FEW_POINTS)])
    plain = families(nest, array, found, found.states, ladders=False)
    near = _one_each(plain.settled(*winning(plain, points, 1)), len(found.slots))
    more = families(nest, array, found, near, ladders=True)
    few = more.only(winning(more, some, 16)[0])
    rows, left = winning(few, points, PLACES)
    return _exact_windows(few, rows, left).compact()


def _one_each(states: npt.NDArray[np.void], slots: int, most: int = 2) -> npt.NDArray[np.void]:
    """At most so many states of each unrolling and order of slots: those with the most and the fewest trips outside."""
    by: dict[bytes, list[int]] = {}
    for i, state in enumerate(states):
        held = [int(s) for s in state["order"][:slots] if state["held"][s]]
        by.setdefault(repr((int(state["case"]), held)).encode(), []).append(i)
    chosen = []
    for group in by.values():
        trips = [float(np.log(np.maximum(states[i]["left"], 1.0)).sum()) for i in group]
        ranked = [group[k] for k in np.argsort(trips, kind="stable")]
        chosen += ranked[:: max(1, (len(ranked) + most - 1) // most)][:most]
    return states[chosen]


def best_rows(table: Table, points: npt.NDArray[np.void], places: int) -> tuple[Ints, Ints, Floats]:
    """(points, places) rows that are best at each point, -1 beyond those that fit, the trips that they leave, and their values."""
    n = len(table.slots)
    memories = len(table.array.storages) + 1
    best, left = np.zeros((len(points), places), np.int64), np.ones((len(points), places), np.int64)
    value = np.zeros((len(points), places))
    capacity = np.ascontiguousarray(points["capacity"][:, :memories])
    # copies: one point's part of a record is contiguous already
    kept, word = np.array(points["kept"][:, :n], order="C"), np.array(points["kept"][:, :n], order="C")
    sums = [s for s, slot in enumerate(table.slots) if slot.role == ROLES[2]]
    word[:, sums] = points["finished"][:, sums]
    winners(table.rows, points, capacity, kept, word, best, left, value)
    return best, left, value


def winning(table: Table, points: npt.NDArray[np.void], places: int) -> tuple[Ints, Ints]:
    """Rows beyond the smallest ones that are among the best of some point, each with the trips that it leaves there."""
    best, left, _ = best_rows(table, points, places)
    known = best >= table.smallest
    pairs = np.unique(np.column_stack([best[known], left[known]]), axis=0)
    return pairs[:, 0], pairs[:, 1]


def families(nest: Nest, array: ArrayShape, found: Found, states: npt.NDArray[np.void], ladders: bool) -> Table:
    """The table of states and of their variants: each with one elastic growth, with ladders also with one other growth changed."""
    first, smallest = _smallest(found)
    slots, memories = len(found.slots), len(array.storages) + 1
    point, work = np.zeros(1, POINT)[0], np.zeros(1, WORK)[0]
    more = np.zeros(MOST_VARIANTS, STATE)
    slot, dim = np.full(MOST_VARIANTS, -1, np.int64), np.zeros(MOST_VARIANTS, np.int64)
    n = variants(found.cases, states, ladders, point, work, np.zeros(1, STATE), more, slot, dim)
    states = np.concatenate([first, more[:n]])
    slot, dim = (np.concatenate([np.full(smallest, fill), x[:n]]) for fill, x in ((-1, slot), (0, dim)))
    n = len(states)
    counts, slopes = np.zeros((n, memories, len(CLASSES), 2)), np.zeros((n, memories, len(CLASSES), 2))
    tiles, widths, finished = np.zeros((n, slots)), np.zeros((n, slots)), np.zeros((n, slots), np.bool_)
    trips, least, good = np.ones(n), np.ones(n), np.zeros(n, np.bool_)
    follow(
        found.cases, states, slot, dim, CHECKS, point, work, counts, slopes, tiles, widths, finished, trips, least, good
    )
    columns = tuple(Column(m, elements, writes) for m in range(memories) for elements in CLASSES for writes in WRITES)
    steps = np.array([[u.steps_other, u.steps_reduction] for u in found.unrolls], np.float64)[states["case"]]
    flat, rising = counts.reshape(n, -1), slopes.reshape(n, -1)
    used = (flat != 0).any(axis=0) | (rising != 0).any(axis=0)
    # rows that are alike have the same sum of all their figures, each with a weight of its own
    seen = np.column_stack([flat[:, used], rising[:, used], tiles, widths, trips, least, steps])
    weights = np.random.default_rng(0).uniform(1.0, 2.0, seen.shape[1])
    able = np.flatnonzero(good)
    alike = able[np.unique(seen[able] @ weights, return_index=True)[1]]
    return Table(
        nest, array, columns, flat, rising, found.slots, tiles, widths, finished, trips, least, slot, dim, steps, smallest,
        int(np.prod(np.array(nest.dims, dtype=object))), found.unrolls, states,
    ).only(alike)  # fmt: skip


def _smallest(found: Found) -> tuple[npt.NDArray[np.void], int]:
    """Mappings with the smallest tiles on the fullest array, and how many."""
    steps = [u.steps_other * u.steps_reduction for u in found.unrolls]
    fullest = [i for i, n in enumerate(steps) if n == min(steps)]
    states = np.zeros(len(fullest), STATE)
    n = len(found.slots)
    must = found.cases["must"][0, :n]
    first = int(found.cases["first"][0])
    order = sorted(range(SLOTS), key=lambda s: (s != first, s))
    for state, case in zip(states, fullest, strict=True):
        state["case"], state["order"], state["held"][:n] = case, order, must >= 0
    return states, len(fullest)


def _exact_windows(table: Table, chosen: Ints, left: Ints) -> Table:
    """The smallest rows and the chosen ones; those whose edges a row cannot say are counted loop by loop, without an elastic
    growth.

    That is where rows or columns are unrolled above a private tile of X that does not divide them.
    """
    nest, array, slots, unrolls = table.nest, table.array, table.slots, table.unrolls
    windowed = ROLES[nest.tensors.index("X")]
    names = {axis.name for axis in array.axes}
    private = [
        s
        for s, x in enumerate(slots)
        if x.role == windowed and not names <= set(array.storages[x.storage].shared_along)
    ]
    slides = np.array([any(d in "PQRS" for axis in u.factors for d, _ in axis) for u in unrolls])
    lines = max(nest.dims[DIMS.index(p)] * nest.dims[DIMS.index(r)] for p, r in ("PR", "QS"))
    apart = slides[table.states["case"]] & table.states["held"][:, private].any(axis=1)
    if not apart.any() or lines > MOST_LINES:
        return table.only(chosen)
    plain = ~apart[chosen]
    pairs = [
        *((i, 1) for i in np.flatnonzero(apart[: table.smallest])),
        *zip(chosen[~plain], left[~plain], strict=True),
    ]
    if not pairs:
        return table.only(chosen)
    rows = np.array([int(i) for i, _ in pairs], np.int64)
    mappings = [table.explicit(int(i), int(n)) for i, n in pairs]
    counts, tiles = _counted(table, mappings)
    kept = table.only(chosen[plain])
    states = np.array([table.settled(np.array([i]), np.array([n]))[0] for i, n in pairs], table.states.dtype)
    fixed: dict[str, Any] = {name: getattr(table, name)[rows] for name in (*BY_ROW, "states")}
    fixed |= {"counts": counts, "tiles": tiles, "states": states}
    fixed |= {"slopes": np.zeros_like(counts), "widths": np.zeros_like(tiles)}
    fixed |= {"trips": np.ones(len(rows)), "least": np.ones(len(rows)), "slot": np.full(len(rows), -1)}
    small = int(apart[: table.smallest].sum())
    parts = {name: (getattr(kept, name), fixed[name]) for name in fixed}
    first = np.flatnonzero(~apart[: table.smallest])
    joined: dict[str, Any] = {
        name: np.concatenate([a[first], b[:small], a[table.smallest :], b[small:]]) for name, (a, b) in parts.items()
    }
    return replace(table, **joined)


def _counted(table: Table, mappings: Sequence[Mapping]) -> tuple[Floats, Floats]:
    """(n, columns) elements and (n, slots) tiles of mappings, counted from their loops alone; columns are all that there may be."""
    array, slots = table.array, table.slots
    counted = counts_of_batch(batch_of(mappings, [table.nest] * len(mappings)), ENGINE)
    memory = {storage.name: m for m, storage in enumerate(array.storages)}
    everything = {axis.name for axis in array.axes}
    counts = np.zeros((len(mappings), len(memory) + 1, len(CLASSES), 2))
    tiles = np.zeros((len(mappings), len(slots)))
    for i, mapping in enumerate(mappings):
        held = {memory[level.name]: k for k, level in enumerate(mapping.levels[:-1])}
        for r in range(3):
            holders = [k for k, level in enumerate(mapping.levels) if level.cuts[r] is not None]
            top = False
            for number, k in enumerate(holders):
                m = memory.get(mapping.levels[k].name, len(memory))
                down, up = float(counted.reads_to_child[i, k, r]), float(counted.writes_from_child[i, k, r])
                fill, drain = float(counted.writes_from_parent[i, k, r]), float(counted.reads_to_parent[i, k, r])
                if r < 2:
                    counts[i, m, r if number else MAC_WEIGHT + r, 0] += down
                    counts[i, m, r, 1] += fill
                    continue
                if number:
                    counts[i, m, PARTIAL] += down
                    counts[i, m, RESULT if top or m == len(memory) else PARTIAL, 1] += up - down
                else:
                    # no axis of such an array packs its dims
                    counts[i, m, MAC_SUM] += [down, up]
                top = everything <= set(mapping.levels[k].shared_along or ())
                counts[i, m, PARTIAL] += fill
                counts[i, m, RESULT if top else PARTIAL, 0] += drain - fill
        for s, slot in enumerate(slots):
            if slot.storage in held and mapping.levels[held[slot.storage]].cuts[ROLES.index(slot.role)] is not None:
                tiles[i, s] = float(counted.tile[i, held[slot.storage], ROLES.index(slot.role)])
    return counts.reshape(len(mappings), -1), tiles


def explicit(
    nest: Nest, array: ArrayShape, slots: tuple[Slot, ...], unrolling: Unrolling, state: npt.NDArray[np.void]
) -> Mapping:
    """Loops and levels of a record.

    Spatial loops stand innermost, so that elements are dealt to the PEs one by one; those that index X's rows and columns stand
    right above the outermost tile of X that is private along their axis and spans rows or columns, so that every tile is
    contiguous.
    """
    trips = [-(-bound // size) for bound, size in zip(nest.dims, unrolling.spatial, strict=True)]
    trips = [trips[DIMS.index(d)] for d in LOOPS]
    loops: list[Loop] = []
    inside = [1] * 7
    cuts: dict[int, int] = {}
    extents: dict[int, list[int]] = {}

    def grow(row: int | None) -> None:
        for d in range(7):
            rest = -(-trips[d] // inside[d])
            left = 1 if row is None else int(state["left"][row, d])
            if 0 < left < rest:
                size = min(trips[d], inside[d] * -(-rest // left))
                loops.append(Loop(LOOPS[d], -(-size // inside[d])))
                inside[d] = size

    for i in range(len(slots) + 1):
        if i == int(state["inner"]):
            grow(MAC)
        s = int(state["order"][i]) if i < len(slots) else -1
        if s >= 0 and state["held"][s]:
            grow(s)
            cuts[s], extents[s] = len(loops), list(inside)
    grow(None)
    groups = -(-nest.dims[1] // unrolling.spatial[1])
    if groups > 1:
        loops.append(Loop("G", groups))
    windowed = ROLES[nest.tensors.index("X")]
    places: list[tuple[int, Loop]] = []
    for axis, pairs in zip(array.axes, unrolling.factors, strict=True):
        for dim, size in pairs:
            wide = [d for d, name in enumerate(LOOPS) if dim in "PQRS" and name in ("PR" if dim in "PR" else "QS")]
            above = [
                cuts[s]
                for s in cuts
                if slots[s].role == windowed
                and axis.name not in array.storages[slots[s].storage].shared_along
                and any(extents[s][d] > 1 for d in wide)
            ]
            places.append((max(above, default=0), Loop(dim, size, axis.name)))
    order: list[Loop] = []
    length = []
    for i in range(len(loops) + 1):
        order += [loop for place, loop in places if place == i]
        length.append(len(order))
        if i < len(loops):
            order.append(loops[i])
    levels = []
    for m, storage in enumerate(array.storages):
        own = [
            next((length[cuts[s]] for s in cuts if slots[s] == Slot(role, m)), None) if role in storage.roles else None
            for role in ROLES
        ]
        if any(cut is not None for cut in own):
            levels.append(Level(storage.name, (own[0], own[1], own[2]), storage.shared_along))
    levels.append(Level("DRAM", (len(order),) * 3, tuple(axis.name for axis in array.axes)))
    return Mapping(tuple(order), tuple(levels), "best mapping")
