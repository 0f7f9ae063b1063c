"""Spatial unrollings worth trying: which dims share an axis, and how much of each.

Of every choice of dims per axis those that leave the fewest steps are taken, so that an axis which may unroll more dims has all the
unrollings of one that may unroll fewer. Nothing depends on the order in which a file lists dims.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations
from math import prod

import numpy as np

from dse.mapping.nest import ArrayShape, Axis, Nest
from dse.names import DIMS

#: Dims that a pass reduces, by the accumulated tensor; R and S index X only together with P and Q.
REDUCED = {"W": "NPQ", "X": "KRS", "Y": "CRS"}
#: Unrollings kept per choice of dims on one axis, and in all.
PER_CHOICE = 3
MOST = 256
#: Sizes tried per dim where several dims share an axis: enough for every product up to the axis within a few per cent.
MOST_SIZES = 12


@dataclass(frozen=True)
class Unrolling:
    """Spatial extents per axis and dim, and the steps that are left.

    Attributes
    ----------
    factors
        For each axis, (dim, size) pairs in the order of ``DIMS``.
    spatial
        Product over axes per dim, in the order of ``Nest.dims``.
    steps_other, steps_reduction
        Temporal steps over the dims along which lanes take nothing, and over those along which they take pairs
        (:func:`lane_dims`): the dims that index the accumulated tensor, and those that are reduced.
    packed
        Steps over the reduced dims divided by the product of their trips (less than 1 on a flattened axis).
    """

    factors: tuple[tuple[tuple[str, int], ...], ...]
    spatial: tuple[int, ...]
    steps_other: int
    steps_reduction: int
    packed: float


@dataclass(frozen=True)
class _Choice:
    """What one axis takes: sizes by dim, and steps over trips of the dims that it packs."""

    sizes: tuple[tuple[str, int], ...]
    packs: tuple[float, float] = (1.0, 1.0)


def lane_dims(nest: Nest, array: ArrayShape) -> str:
    """Dims along which the precision lanes of an element take pairs: all that are reduced, or those of them that an axis lists.

    >>> rows = Axis("rows", 16, ("C",))
    >>> lane_dims(Nest((1,) * 8), ArrayShape((rows,), ())), lane_dims(Nest((1,) * 8), ArrayShape((rows,), (), True))
    ('CRS', 'C')
    """
    reduced = REDUCED[nest.tensors[2]]
    listed = {d for axis in array.axes for d in axis.dims}
    return "".join(d for d in reduced if d in listed) if array.lanes_on_axes else reduced


def unrollings(
    nest: Nest, array: ArrayShape, allowed: tuple[tuple[str, tuple[str, ...]], ...] = ()
) -> tuple[Unrolling, ...]:
    """Unrollings by ascending steps; at most :data:`MOST`, those of every choice of dims among them.

    Parameters
    ----------
    allowed
        (axis, dims) that restrict what an axis takes further than the array does.
    """
    reduced, lanes = REDUCED[nest.tensors[2]], lane_dims(nest, array)
    limits = dict(allowed)
    partial: list[tuple[tuple[_Choice, ...], dict[str, int]]] = [((), dict(zip(DIMS, nest.dims, strict=True)))]
    for axis in array.axes:
        grown = []
        for chosen, trips in partial:
            for choice in _choices(axis, limits.get(axis.name, axis.dims), trips, reduced):
                left = dict(trips)
                for d, size in choice.sizes:
                    left[d] = -(-trips[d] // size)
                grown.append(((*chosen, choice), left))
        partial = _fewest(grown, MOST)
    found = {}
    for chosen, left in partial:
        other = round(prod(left[d] for d in DIMS if d not in lanes) * prod(c.packs[0] for c in chosen))
        reduction = round(prod(left[d] for d in lanes) * prod(c.packs[1] for c in chosen))
        spatial = tuple(prod(n for c in chosen for e, n in c.sizes if e == d) for d in DIMS)
        packed = prod(c.packs[1] for c in chosen) if nest.tensors[2] != "X" else 1.0
        factors = tuple(c.sizes for c in chosen)
        found[factors] = Unrolling(factors, spatial, other, reduction, packed)
    return tuple(sorted(found.values(), key=lambda u: (u.steps_other * u.steps_reduction, u.factors)))


def same_unrolling(nest: Nest, array: ArrayShape, used: list[list[tuple[str, int]]]) -> Unrolling | None:
    """The unrolling of flattened axes that takes these (dim, size) pairs on each axis as the mapper does, if there is one.

    On a flattened axis dims are packed across the borders of tiles (im2col), which loops cannot say.
    """
    reduced, lanes = REDUCED[nest.tensors[2]], lane_dims(nest, array)
    trips = dict(zip(DIMS, nest.dims, strict=True))
    chosen: list[_Choice] = []
    for axis, pairs in zip(array.axes, used, strict=True):
        wanted = tuple(sorted(((d, n) for d, n in pairs if n > 1), key=lambda x: DIMS.index(x[0])))
        choice = _Choice(wanted)
        if axis.flatten:
            choice = next((c for c in _choices(axis, axis.dims, trips, reduced) if c.sizes == wanted), choice)
        chosen.append(choice)
        for d, size in wanted:
            trips[d] = -(-trips[d] // size)
    if all(c.packs == (1.0, 1.0) for c in chosen):
        return None
    other = round(prod(trips[d] for d in DIMS if d not in lanes) * prod(c.packs[0] for c in chosen))
    reduction = round(prod(trips[d] for d in lanes) * prod(c.packs[1] for c in chosen))
    spatial = tuple(prod(n for c in chosen for e, n in c.sizes if e == d) for d in DIMS)
    packed = prod(c.packs[1] for c in chosen) if nest.tensors[2] != "X" else 1.0
    return Unrolling(tuple(c.sizes for c in chosen), spatial, other, reduction, packed)


def _fewest(
    grown: list[tuple[tuple[_Choice, ...], dict[str, int]]], most: int
) -> list[tuple[tuple[_Choice, ...], dict[str, int]]]:
    """At most so many, by steps; the best of every choice of dims first."""
    if len(grown) <= most:
        return grown

    def steps(
        item: tuple[tuple[_Choice, ...], dict[str, int]],
    ) -> tuple[float, tuple[tuple[tuple[str, int], ...], ...]]:
        packs = prod(x for c in item[0] for x in c.packs)
        return prod(item[1].values()) * packs, tuple(c.sizes for c in item[0])

    ordered = sorted(grown, key=steps)
    seen: set[tuple[tuple[str, ...], ...]] = set()
    first: list[tuple[tuple[_Choice, ...], dict[str, int]]] = []
    rest: list[tuple[tuple[_Choice, ...], dict[str, int]]] = []
    for item in ordered:
        dims = tuple(tuple(d for d, _ in c.sizes) for c in item[0])
        (rest if dims in seen else first).append(item)
        seen.add(dims)
    return [*first, *rest][:most]


def _choices(axis: Axis, allowed: tuple[str, ...], trips: dict[str, int], reduced: str) -> list[_Choice]:
    """What an axis may take: for every set of dims the sizes that leave the fewest steps; nothing is one of them."""
    dims = [d for d in DIMS if d in allowed and d in axis.dims and trips[d] > 1]
    sets = chain.from_iterable(combinations(dims, k) for k in range(1, len(dims) + 1))
    found = {_Choice(())}
    if axis.size > 1:
        for subset in sets:
            inside = [d for d in subset if d in reduced]
            if axis.flatten and len(inside) in (0, len(subset)):
                found |= _packed(axis.size, subset, trips, bool(inside))
            else:
                found |= {_Choice(sizes) for sizes in _sizes(axis.size, subset, trips)}
    # Of equal sizes on a flattened axis the longest flattened loop takes the fewest steps.
    fewest: dict[tuple[tuple[str, int], ...], _Choice] = {}
    for choice in sorted(found, key=lambda c: (c.sizes, prod(c.packs))):
        fewest.setdefault(choice.sizes, choice)
    return list(fewest.values())


def _packed(size: int, dims: tuple[str, ...], trips: dict[str, int], is_reduced: bool) -> set[_Choice]:
    """A flattened axis filled by dims one after the other, each in turn last; its steps are those of the flattened loop."""
    found = set()
    for last in dims:
        room, left, taken = size, 1, {}
        for d in (*(d for d in dims if d != last), last):
            taken[d] = -(-trips[d] // -(-trips[d] // min(room, trips[d])))
            room //= taken[d]
            left *= -(-trips[d] // taken[d])
        ratio = -(-prod(trips[d] for d in dims) // size) / left
        sizes = tuple((d, taken[d]) for d in DIMS if taken.get(d, 1) > 1)
        found.add(_Choice(sizes, (1.0, ratio) if is_reduced else (ratio, 1.0)))
    return found


def _sizes(size: int, dims: tuple[str, ...], trips: dict[str, int]) -> set[tuple[tuple[str, int], ...]]:
    """Sizes above 1 of all dims whose product fits an axis: those that leave the fewest trips, each dim in turn taking what
    is left."""
    best: dict[tuple[tuple[str, int], ...], float] = {}
    for last in dims:
        others = [d for d in dims if d != last]
        taken = np.ones((1, 0), np.int64)
        used = np.ones(1, np.int64)
        left = np.ones(1)
        for d in others:
            sizes = np.array([n for n in _some_sizes(trips[d], size) if n > 1], np.int64)
            product_ = used[:, None] * sizes[None]
            i, j = np.nonzero(product_ * 2 <= size)
            taken = np.column_stack([taken[i], sizes[j]])
            used = product_[i, j]
            left = left[i] * -(-trips[d] // sizes[j])
        room = np.minimum(size // used, trips[last])
        tile = -(-trips[last] // -(-trips[last] // np.maximum(room, 1)))
        ok = tile > 1
        remaining = left * -(-trips[last] // tile)
        rows = np.flatnonzero(ok)
        for row in rows[np.argsort(remaining[rows], kind="stable")[:PER_CHOICE]].tolist():
            found = dict(zip(others, taken[row].tolist(), strict=True)) | {last: int(tile[row])}
            best[tuple((d, found[d]) for d in DIMS if d in found)] = float(remaining[row])
    ranked = sorted(best.items(), key=lambda item: (item[1], item[0]))
    return {sizes for sizes, _ in ranked[:PER_CHOICE]}


def _some_sizes(total: int, most: int) -> list[int]:
    """Sizes ``ceil(total / n)`` up to ``most``: all of them, or some, evenly spread over their logarithms, with both ends."""
    top = min(total, most)
    if total <= 4 * MOST_SIZES:
        sizes = sorted({-(-total // n) for n in range(1, total + 1)})
        sizes = [s for s in sizes if s <= top]
        if len(sizes) <= MOST_SIZES:
            return sizes
    wanted = np.exp(np.linspace(0.0, np.log(top), MOST_SIZES))
    powers = [1 << i for i in range(top.bit_length())]
    spread = {-(-total // -(-total // max(1, round(float(x))))) for x in (*wanted, *powers, top)}
    return sorted(s for s in spread if s <= top)


def shared_extent(array: ArrayShape, unrolling: Unrolling, shared_along: tuple[str, ...]) -> tuple[int, ...]:
    """Spatial extent per dim (order of ``Nest.dims``) inside one instance of a storage."""
    inside = [f for axis, f in zip(array.axes, unrolling.factors, strict=True) if axis.name in shared_along]
    return tuple(prod(n for axis in inside for e, n in axis if e == d) for d in DIMS)
