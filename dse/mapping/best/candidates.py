"""What a mapping is made of: tile sizes, spatial unrollings, and the slots whose cuts make it. Counts only, never prices.

Sizes
-----
Tiles of a dim of T trips are the ceil-divisor sizes ``ceil(T / n)``, rounded up to whole inner tiles (point 3). If the
combinations of a direction outnumber ``Options.max_tiles``, they are thinned as :func:`tile_vectors` says and the table is
marked ``exhaustive = False``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from dse.mapping.nest import ROLES, ArrayShape, Nest

#: Part of every cache key: change it whenever a table of the same problem would differ.
ENUMERATOR_VERSION = 7

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
    picks = np.log(np.exp(np.linspace(0.0, np.log(sizes[-1]), max(most, 2))))
    logs = np.log(sizes)
    above = np.clip(np.searchsorted(logs, picks), 1, len(logs) - 1)
    nearest = above - (np.abs(logs[above - 1] - picks) <= np.abs(logs[above] - picks))
    return [sizes[place] for place in np.unique(nearest).tolist()]


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
        # A dim of a thousand million has 63,000 sizes; many times the wanted number is enough to begin from.
        count = min(max(len(s) for s in sizes), 64 * most)
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


def shared_extent(array: ArrayShape, unrolling: Unrolling, shared_along: tuple[str, ...]) -> tuple[int, ...]:
    """Spatial extent per dim (order of ``Nest.dims``) inside one instance of a storage."""
    inside = [f for axis, f in zip(array.axes, unrolling.factors, strict=True) if axis.name in shared_along]
    return tuple(prod(n for axis in inside for e, n in axis if e == d) for d in "NGKCPQRS")
