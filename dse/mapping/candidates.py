"""All mappings worth pricing of one loop nest on one array: enumeration and exact pruning. Counts only, never prices.

The space
---------
A mapping unrolls loop dims along the axes of the array (:func:`unrollings`) and puts the remaining, temporal loops into
one global order from the MAC outwards. Every (role, storage) pair, a *slot*, cuts that order somewhere: what runs inside
its cut is its tile. Cuts of different roles are independent (uneven mappings); a role's private storage cuts inside its
shared one. With ``E`` the temporal trips inside a cut, per dim, and ``T`` all trips, a tensor moves into the slot

    full size x product over its irrelevant dims of ceil(T / E)

times: its relevant dims are swept exactly once per irrelevant trip, with clipped edge tiles, so that ceilings cost
nothing there. A sliding window covers ``sum over tiles i of P, j of R of stride*(p_i - 1) + dilation*(r_j - 1) + 1``
``= n_R*stride*(P - n_P) + n_P*dilation*(R - n_R) + n_P*n_R`` rows for ``n`` tiles, and the same for columns.

Why a chain of cuts is enough
-----------------------------
Every dim but G is irrelevant to exactly one tensor (N P Q to W, K to X, C R S to Y); G indexes all and is outermost.

1. Only the extents at the cuts matter, and the cuts form a chain ``E_1 <= E_2 <= ...`` (one global order).
2. The run of irrelevant loops directly outside a cut does not add transfers (DESIGN 4.2). Moving the run inside the cut leaves
   the tile as it is, since the tensor does not depend on it. So a cut may be taken to contain its run, and the
   formula above holds without a special case.
3. Tiles nest: a larger tile is made of whole smaller ones, or is all of the dim. With ``e`` trips inside, a next tile that
   leaves ``n`` trips outside needs ``e * ceil(ceil(T / e) / n)``, which is ``ceil(T / n)`` rounded up to a multiple of
   ``e``; its trips depend on ``n`` only, so no larger tile is of use.
4. Between one cut and the next, growing a dim that is relevant to the next cut's tensor enlarges tiles of that cut and of
   later ones and reduces nothing before it is needed: whichever later cut profits can grow it itself. So the step to a
   cut grows only the dims that are irrelevant to its tensor, plus P Q R S when the tensor is X and the window is
   larger than one element, since overlap then shrinks. The last cut takes its irrelevant dims whole.
5. Operand registers at the MAC hold one element: their reuse is the innermost run, of one input only. The run is one more
   member of the chain, inside of which no dim of its tensor has grown; accumulations are counted per MAC.

Pruning
-------
Chains are built slot by slot; chains that hold the same *set* of slots compete. One is dropped if another is at least as
small in every transfer and every tile so far, and all its extents divide those of the dropped one (or those are whole): whatever
completes the dropped chain then also completes the other, with tiles and transfers that are no larger. In the end extents no
longer count. Every cost is a sum of counts with coefficients >= 0 (prices, bits, cycles per element), a maximum
of such sums, or a product of both, and every capacity bounds a sum of tiles with coefficients >= 0, so a
dropped candidate never wins, at any price, width, bandwidth or capacity.

Sizes
-----
Tiles of a dim of T trips are the ceil-divisor sizes ``ceil(T / n)``, rounded up to whole inner tiles (point 3). If the
combinations of a direction outnumber ``Options.max_tiles``, they are thinned as :func:`tile_vectors` says and the table is
marked ``exhaustive = False``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from dse.mapping.enumerate_kernel import add_run, add_slot, mac_count, non_dominated, tile_elements
from dse.mapping.problem import ROLES, ArrayShape, Nest

#: Part of every cache key: change it whenever a table of the same problem would differ.
ENUMERATOR_VERSION = 6

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Position of the temporal dims in extents (G is outermost and has none), and of each in ``Nest.dims``.
LOOPS = "NKCPQRS"
NEST_POSITION = (0, 2, 3, 4, 5, 6, 7)
DIRECTION = {"W": "NPQ", "X": "K", "Y": "CRS"}
#: Dims that a pass reduces, by the accumulated tensor; R and S index X only together with P and Q.
REDUCED = {"W": "NPQ", "X": "KRS", "Y": "CRS"}
TENSOR_INDEX = {"W": 0, "X": 1, "Y": 2}


@dataclass(frozen=True)
class Options:
    """What is enumerated.

    Attributes
    ----------
    per_change
        Input roles whose operand at the MAC is fetched only when it changes; the others are fetched for every MAC.
    max_elements
        Largest tile of interest per storage, in elements of all its roles together (such as capacity over the narrowest format).
        Larger candidates are left out, but for the smallest tile there is. Empty: no limit.
    max_tiles
        Most tile vectors per direction (N P Q, K, C R S) before they are thinned.
    max_unrollings
        Most spatial unrollings kept, those with the fewest steps first.
    stationary
        Role whose operand must stay put at the innermost cut (weight, activation, accumulator), or "".
    sizes
        Tile sizes (in temporal trips) that a dim may take inside a cut, as (dim, sizes) pairs; 1 and all trips are always allowed.
    """

    per_change: tuple[str, ...] = ("weight", "activation")
    max_elements: tuple[float, ...] = ()
    max_tiles: tuple[int, int, int] = (8, 5, 6)
    max_unrollings: int = 6
    stationary: str = ""
    sizes: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Slot:
    """One role in one storage; ``level`` is ``inner`` (private to a part of the array) or ``outer`` (shared by all of it)."""

    role: str
    storage: int
    level: str


@dataclass(frozen=True)
class Unrolling:
    """Spatial extents per axis and dim, and the steps that are left.

    Attributes
    ----------
    factors
        For each axis, (dim, size) pairs.
    spatial
        Product over axes per dim, in the order of ``Nest.dims``.
    steps_other, steps_reduction
        Temporal steps over the dims that index the accumulated tensor, and over those that are reduced.
    packed
        Steps over the reduced dims divided by the product of their trips (less than 1 on a flattened axis).
    """

    factors: tuple[tuple[tuple[str, int], ...], ...]
    spatial: tuple[int, ...]
    steps_other: int
    steps_reduction: int
    packed: float


def ceil_sizes(total: int) -> list[int]:
    """Ascending sizes ``ceil(total / n)`` for n = 1 ... total.

    >>> ceil_sizes(7)
    [1, 2, 3, 4, 7]
    """
    sizes, trips = [], 1
    while trips < total:
        size = -(-total // trips)
        sizes.append(size)
        trips = -(-total // (size - 1))  # the fewest trips that a smaller size needs
    return [1, *sizes[::-1]] if total > 1 else [1]


def slots_of(array: ArrayShape) -> tuple[Slot, ...]:
    """Slots in the order weight, activation, accumulator, each inner before outer.

    Raises
    ------
    ValueError
        If a role has more than one private or more than one shared storage, or its shared one lies inside its private one.
    """
    names = {axis.name for axis in array.axes}
    slots = []
    for role in ROLES:
        own = [(i, names <= set(s.shared_along)) for i, s in enumerate(array.storages) if role in s.roles]
        levels = ["outer" if shared else "inner" for _, shared in own]
        if levels not in ([], ["inner"], ["outer"], ["inner", "outer"]):
            raise ValueError(
                f"role {role} lies in {levels} storages; at most one inner, then at most one outer, are supported"
            )
        slots += [Slot(role, i, level) for (i, _), level in zip(own, levels, strict=True)]
    return tuple(slots)


def _axis_choices(dims: tuple[str, ...], trips: dict[str, int], size: int) -> list[tuple[tuple[str, int], ...]]:
    """Maximal unrollings of dims along one axis: no other has at most as many remaining trips in every dim."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def grow(position: int, room: int, left: tuple[int, ...], used: tuple[int, ...]) -> None:
        if position == len(dims):
            found.append((left, used))
            return
        total = trips[dims[position]]
        for tile in ceil_sizes(total):
            if tile <= room:
                grow(position + 1, room // tile, (*left, -(-total // tile)), (*used, tile))

    grow(0, size, (), ())
    every = np.array([left for left, _ in found], np.int64)
    covers = (every[None] <= every[:, None]).all(axis=2) & (every[None] != every[:, None]).any(axis=2)
    best = [pair for pair, beaten in zip(found, covers.any(axis=1).tolist(), strict=True) if not beaten]
    smallest = dict(sorted(best, reverse=True))
    return [tuple((d, u) for d, u in zip(dims, used, strict=True) if u > 1) for used in sorted(smallest.values())]


def unrollings(nest: Nest, array: ArrayShape, limit: int) -> tuple[tuple[Unrolling, ...], bool]:
    """The unrollings that fill the array best, and whether all maximal ones are among them.

    An unrolling is kept if no other leaves at most as many trips in every dim: using part of an axis that could be used is
    never considered. Spatial sizes are the smallest that give the same trips. A flattened axis packs its dims, the first
    listed first, and its steps are ``ceil(product / size)``, packed across the borders of tiles.
    """
    reduced = REDUCED[nest.tensors[2]]
    order = "NGKCPQRS"
    found: dict[tuple[int, ...], Unrolling] = {}

    def place(
        index: int, trips: dict[str, int], chosen: tuple[tuple[tuple[str, int], ...], ...], packs: dict[str, float]
    ) -> None:
        if index == len(array.axes):
            spatial = tuple(prod(n for axis in chosen for e, n in axis if e == d) for d in order)
            other = round(prod(trips[d] for d in order if d not in reduced) * packs["other"])
            reduction = round(prod(trips[d] for d in reduced) * packs["reduced"])
            key = (*(trips[d] for d in order), other, reduction)
            packed = packs["reduced"] if nest.tensors[2] != "X" else 1.0
            found.setdefault(key, Unrolling(chosen, spatial, other, reduction, packed))
            return
        axis = array.axes[index]
        dims = tuple(d for d in axis.dims if trips[d] > 1)
        if axis.flatten and dims:
            room, used, left = axis.size, [], dict(trips)
            for d in dims:
                tile = -(-trips[d] // -(-trips[d] // min(room, trips[d])))
                room //= tile
                left[d] = -(-trips[d] // tile)
                used.append((d, tile))
            flat = -(-prod(trips[d] for d in dims) // axis.size)
            inside = [d for d in dims if d in reduced]
            if len(inside) in (0, len(dims)):
                which = "reduced" if inside else "other"
                ratio = flat / prod(left[d] for d in dims)
                place(
                    index + 1,
                    left,
                    (*chosen, tuple(u for u in used if u[1] > 1)),
                    {**packs, which: packs[which] * ratio},
                )
                return
        for choice in _axis_choices(dims, trips, axis.size) if dims else [()]:
            left = dict(trips)
            for d, tile in choice:
                left[d] = -(-trips[d] // tile)
            place(index + 1, left, (*chosen, choice), packs)

    place(0, dict(zip(order, nest.dims, strict=True)), (), {"other": 1.0, "reduced": 1.0})
    items = list(found.items())
    best = [
        u
        for key, u in items
        if not any(other != key and all(o <= k for o, k in zip(other, key, strict=True)) for other, _ in items)
    ]
    best.sort(key=lambda u: (u.steps_other * u.steps_reduction, u.factors))
    return tuple(best[:limit]), len(best) <= limit


def _thin(sizes: list[int], most: int) -> list[int]:
    """At most ``most`` of ascending sizes, both ends kept, evenly spread over their logarithms."""
    if len(sizes) <= most:
        return sizes
    picks = np.exp(np.linspace(0.0, np.log(sizes[-1]), max(most, 2)))
    logs = np.log(sizes)
    return sorted({sizes[int(np.argmin(np.abs(logs - np.log(p))))] for p in picks})


def sizes_of(dim: str, trips: int, options: Options) -> list[int]:
    """Tile sizes of a dim: the ceil-divisor sizes, or those that the user allows."""
    allowed = dict(options.sizes).get(dim)
    return ceil_sizes(trips) if allowed is None else sorted({1, trips, *(s for s in allowed if 1 <= s <= trips)})


def tile_vectors(sizes: list[list[int]], most: int, halo: bool) -> tuple[Ints, bool]:
    """Tile vectors of one direction, ascending in their product, and whether they are all of them.

    Up to ``most`` vectors, all combinations of ceil-divisor sizes are taken. Beyond that a vector of three dims (outer, vertical,
    horizontal) fills the window's dims before the outer one (or the outer one alone, for C), which keeps every product
    reachable in small steps: sizes of the outer dim are combined only with window dims at 1 or whole, and the sizes of each
    dim are thinned evenly over their logarithms until the list is short enough.
    """
    trips = [s[-1] for s in sizes]
    if prod(len(s) for s in sizes) <= most:
        vectors = list(product(*sizes))
        exact = True
    else:
        exact = False
        count = max(len(s) for s in sizes)
        while True:
            thin = [_thin(s, count) for s in sizes]
            if len(trips) == 1:
                vectors = [(s,) for s in thin[0]]
            else:
                outer, high, wide = thin
                ends = {(1, 1), (1, trips[2]), (trips[1], trips[2])}
                grid = set(product(high, wide)) if halo else {(1, w) for w in wide} | {(h, trips[2]) for h in high}
                vectors = sorted({(1, h, w) for h, w in grid} | {(n, h, w) for n in outer for h, w in ends})
            if len(vectors) <= most or count <= 2:
                break
            count -= 1
    vectors.sort(key=lambda v: (prod(v), v))
    return np.array(vectors, np.int64).reshape(len(vectors), len(trips)), exact


@cache
def permitted_next(slots: tuple[Slot, ...]) -> tuple[tuple[int, ...], ...]:
    """For each slot the slots that must lie inside it (a role's inner storage inside its outer one)."""
    return tuple(
        tuple(
            j
            for j, other in enumerate(slots)
            if other.role == slot.role and other.level == "inner" and slot.level == "outer"
        )
        for slot in slots
    )


@dataclass(frozen=True)
class Chains:
    """Non-dominated chains of one unrolling: values per slot, and the extents at every cut.

    Attributes
    ----------
    moved
        (slots, n) transfers counted once for the whole array (multicast merged, reduced).
    copies
        (slots, n) transfers counted in every instance of the storage.
    tile
        (slots, n) elements per instance.
    mac
        (3, n) operand fetches (or accumulations) at the MAC by role.
    extents
        (slots + 1, n, 7) trips of ``LOOPS`` inside each cut; the first row is the innermost run.
    exhaustive
        Whether no direction's tiles were thinned.
    """

    moved: Floats
    copies: Floats
    tile: Floats
    mac: Floats
    extents: npt.NDArray[np.int32]
    exhaustive: bool


def shared_extent(array: ArrayShape, unrolling: Unrolling, shared_along: tuple[str, ...]) -> tuple[int, ...]:
    """Spatial extent per dim (order of ``Nest.dims``) inside one instance of a storage."""
    inside = [f for axis, f in zip(array.axes, unrolling.factors, strict=True) if axis.name in shared_along]
    return tuple(prod(n for axis in inside for e, n in axis if e == d) for d in "NGKCPQRS")


def chains(nest: Nest, array: ArrayShape, slots: tuple[Slot, ...], unrolling: Unrolling, options: Options) -> Chains:
    """Enumerate and prune the chains of cuts under one unrolling."""
    bounds = np.array([nest.dims[i] for i in NEST_POSITION], np.int64)
    spatial = np.array([unrolling.spatial[i] for i in NEST_POSITION], np.int64)
    trips = -(-bounds // spatial)
    by_dim = dict(zip(LOOPS, (int(t) for t in trips), strict=True))
    halo = nest.dims[6] > 1 or nest.dims[7] > 1
    lists, exact = [], True
    for name, most in zip("WXY", options.max_tiles, strict=True):
        chosen = [sizes_of(d, by_dim[d], options) for d in DIRECTION[name]]
        vectors, every = tile_vectors(chosen, most, halo)
        exact &= every
        wide = np.ones((len(vectors), 7), np.int64)
        wide[:, [LOOPS.index(d) for d in DIRECTION[name]]] = vectors
        lists.append(wide)
    window = np.array([*nest.stride, *nest.dilation], np.int64)
    groups = nest.dims[1]
    everything = {axis.name for axis in array.axes}
    tensors = nest.tensors
    count = len(slots)
    # one row per slot: spatial extent inside an instance; the row after them: of the storage that feeds each role's MAC
    inside = np.ones((count, 7), np.int64)
    group_inside = np.ones(count, np.int64)
    limit = np.full(count, np.inf)
    for i, slot in enumerate(slots):
        extent = shared_extent(array, unrolling, array.storages[slot.storage].shared_along)
        inside[i] = [extent[j] for j in NEST_POSITION]
        group_inside[i] = extent[1]
        if options.max_elements:
            # the smallest tile always stays, so that what does not fit can say how much it lacks
            tensor = TENSOR_INDEX[tensors[ROLES.index(slot.role)]]
            least = tile_elements(tensor, np.ones(7, np.int64), inside[i], bounds, group_inside[i], window)
            limit[i] = max(options.max_elements[slot.storage], least)
    feeding = np.ones((3, 7), np.int64)
    for r, role in enumerate(ROLES):
        first = next((s for s in slots if s.role == role), None)
        along = array.storages[first.storage].shared_along if first else tuple(everything)
        extent = shared_extent(array, unrolling, along)
        feeding[r] = [extent[j] for j in NEST_POSITION]
    tensor_of_slot = np.array([TENSOR_INDEX[tensors[ROLES.index(s.role)]] for s in slots], np.int64)

    tensor_of_role = [TENSOR_INDEX[t] for t in tensors]
    unit = np.ones((1, 7), np.int64)
    values = np.zeros((1, 3 + 3 * count))
    for r in range(3):
        values[0, r] = mac_count(r, tensor_of_role[r], unit[0], feeding[r], bounds, spatial, groups, unrolling.packed)
    # the innermost run is one more member of a chain, number ``count``
    inner_of = (*permitted_next(slots), ())
    full = (1 << count + 1) - 1
    start = (values, np.ones((1, count + 1, 7), np.int32), unit)
    front: dict[int, tuple[Floats, npt.NDArray[np.int32], Ints]] = {0: start}
    runs = [ROLES.index(r) for r in options.per_change if not options.stationary or r == options.stationary]
    slot_bits = (1 << count) - 1
    stationary = -1
    if options.stationary:
        stationary = next((i for i, s in enumerate(slots) if s.role == options.stationary), -1)
    for size in range(1, count + 2):
        for subset in (m for m in range(full + 1) if bin(m).count("1") == size):
            parts = []
            for i in range(count + 1):
                before = subset & ~(1 << i)
                if not subset >> i & 1 or before not in front or any(not before >> j & 1 for j in inner_of[i]):
                    continue
                values, history, extents = front[before]
                if i == count:
                    parts += [start] if not before else []
                    for r in runs:
                        t = tensor_of_role[r]
                        parts.append(
                            add_run(
                                values,
                                history,
                                extents,
                                r,
                                t,
                                lists[t],
                                trips,
                                bounds,
                                spatial,
                                feeding[r],
                                groups,
                                unrolling.packed,
                            )
                        )
                    continue
                if stationary >= 0 and not before & slot_bits and i != stationary:
                    continue
                t = tensor_of_slot[i]
                grown = add_slot(
                    values, history, extents, i, t, lists[t], lists[0], lists[2], halo, subset == full, trips, bounds,
                    spatial, inside[i], groups, group_inside[i], window, limit[i],
                )  # fmt: skip
                parts.append(grown)
            if not parts:
                continue
            values, history, extents = (np.concatenate([p[k] for p in parts]) for k in range(3))
            if not len(values):
                continue
            done = [i for i in range(count) if subset >> i & 1]
            columns = [0, 1, 2] + [3 + 3 * i + k for i in done for k in range(3)]
            seen = extents if subset != full else np.ones((len(values), 0), np.int64)
            keep = non_dominated(values[:, columns], seen, trips)
            front[subset] = (values[keep], history[keep], extents[keep])
    if full not in front:
        empty = np.zeros((count, 0))
        return Chains(empty, empty, empty, np.zeros((3, 0)), np.zeros((count + 1, 0, 7), np.int32), exact)
    values, history, _ = front[full]
    slot_values = values[:, 3:].reshape(len(values), count, 3)
    return Chains(
        slot_values[:, :, 0].T.copy(), slot_values[:, :, 1].T.copy(), slot_values[:, :, 2].T.copy(),
        values[:, :3].T.copy(), history.transpose(1, 0, 2).copy(), exact,
    )  # fmt: skip
