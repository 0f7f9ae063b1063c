"""Tile sizes and unrollings that the search of deep hierarchies tries: coarse over all sizes first, dense around a chain found
later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from dse.mapping.best.records import LOOPS
from dse.mapping.best.unrolling import REDUCED, Unrolling, lane_dims
from dse.mapping.nest import ArrayShape, Nest
from dse.types import Ints

Vectors = tuple[tuple[int, ...], ...]

#: Dims that index all tensors but one.
DIRECTION = {"W": "NPQ", "X": "K", "Y": "CRS"}
#: Coordinates of a place: tiles of (N, P, Q), of K, of (C, R, S).
COORDINATES = (DIRECTION["W"], DIRECTION["X"], DIRECTION["Y"])
#: Partly chosen unrollings that are kept from axis to axis.
MOST_PARTIAL = 256
#: Sizes of one dim along an axis that are tried, by the number of dims that share the axis.
MOST_SPATIAL_SIZES = (64, 24, 10, 6, 4)
#: Sizes of each dim of a coordinate, from the densest lattice to the coarsest.
COUNTS = ((64, 24, 64), (24, 16, 24), (12, 12, 12), (8, 9, 8), (6, 7, 6), (5, 6, 5), (4, 5, 4), (3, 4, 3), (2, 3, 2))
#: Sizes near a known one, relative to it.
NEAR = (0.5, 0.67, 0.75, 0.8, 0.9, 1.1, 1.2, 1.25, 1.34, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Lattice:
    """Tiles of the three coordinates, each list ascending from all ones to the whole.

    Attributes
    ----------
    vectors
        Of (N, P, Q), of K, of (C, R, S).
    starts, nexts
        Tiles that each may grow to (:class:`dse.mapping.best.deep.graph.Graph`), by coordinate.
    window_starts, window_nexts
        The same by whole place for a step of X where its window overlaps; empty elsewhere.
    """

    vectors: tuple[Ints, Ints, Ints]
    starts: Ints
    nexts: Ints
    window_starts: Ints
    window_nexts: Ints

    @property
    def sizes(self) -> Ints:
        return np.array([len(v) for v in self.vectors], np.int64)

    def extents(self, place: int) -> tuple[int, ...]:
        """Trips of N K C P Q R S at a place."""
        _, n_k, n_c = (len(v) for v in self.vectors)
        n, p, q = self.vectors[0][place // (n_k * n_c)].tolist()
        (k,) = self.vectors[1][place // n_c % n_k].tolist()
        c, r, s = self.vectors[2][place % n_c].tolist()
        return (n, k, c, p, q, r, s)


@lru_cache(maxsize=4096)
def lattice(vectors: tuple[Vectors, Vectors, Vectors], windowed: bool) -> Lattice:
    """A lattice of given tiles; all ones and the whole have to be among them."""
    arrays = [np.array(v, np.int64).reshape(len(v), -1) for v in vectors]
    links = [_grown(a, a[-1], np.zeros(a.shape[1], np.bool_)) for a in arrays]
    longest = max(len(a) for a in arrays)
    starts = np.zeros((3, longest + 1), np.int64)
    flat = []
    offset = 0
    for i, (first, nexts) in enumerate(links):
        starts[i, : len(first)] = first + offset
        offset += len(nexts)
        flat.append(nexts)
    window = np.zeros(1, np.int64), np.zeros(0, np.int64)
    if windowed:
        still_a = _grown(arrays[0], arrays[0][-1], np.array([True, False, False]))
        still_c = _grown(arrays[2], arrays[2][-1], np.array([True, False, False]))
        window = _joined(*still_a, *links[1], *still_c)
    return Lattice((arrays[0], arrays[1], arrays[2]), starts, np.concatenate(flat), *window)


@njit(cache=True, nogil=True)
def _grown(vectors: Ints, whole: Ints, fixed: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """For each tile those made of whole ones of it (or all of a dim); dims that are ``fixed`` stay."""
    n = len(vectors)
    starts = np.zeros(n + 1, np.int64)
    nexts = np.empty(n * n, np.int64)
    count = 0
    for i in range(n):
        for j in range(n):
            fits = True
            for d in range(vectors.shape[1]):
                small, large = vectors[i, d], vectors[j, d]
                if fixed[d]:
                    fits &= small == large
                else:
                    fits &= large >= small and (large % small == 0 or large == whole[d])
            if fits:
                nexts[count] = j
                count += 1
        starts[i + 1] = count
    return starts, nexts[:count].copy()


@njit(cache=True, nogil=True)
def _joined(a_first: Ints, a_next: Ints, k_first: Ints, k_next: Ints, c_first: Ints, c_next: Ints) -> tuple[Ints, Ints]:
    """All places that a step of X reaches from each place."""
    n_a, n_k, n_c = len(a_first) - 1, len(k_first) - 1, len(c_first) - 1
    starts = np.zeros(n_a * n_k * n_c + 1, np.int64)
    for i in range(n_a):
        for j in range(n_k):
            for l in range(n_c):
                e = (i * n_k + j) * n_c + l
                starts[e + 1] = (
                    (a_first[i + 1] - a_first[i]) * (k_first[j + 1] - k_first[j]) * (c_first[l + 1] - c_first[l])
                )
    for e in range(len(starts) - 1):
        starts[e + 1] += starts[e]
    nexts = np.empty(starts[-1], np.int64)
    at = 0
    for i in range(n_a):
        for j in range(n_k):
            for l in range(n_c):
                for x in range(a_first[i], a_first[i + 1]):
                    for y in range(k_first[j], k_first[j + 1]):
                        for z in range(c_first[l], c_first[l + 1]):
                            nexts[at] = (a_next[x] * n_k + k_next[y]) * n_c + c_next[z]
                            at += 1
    return starts, nexts


def even_sizes(trips: int, most: int, allowed: tuple[int, ...] | None = None) -> list[int]:
    """At most ``most`` tile sizes of a dim, 1 and the whole among them, evenly over the logarithms.

    Of neighbours, the one that more larger sizes are whole numbers of is taken, so that tiles nest.
    """
    if allowed is not None:
        return sorted({1, trips, *(s for s in allowed if 1 <= s <= trips)})
    if trips <= most:
        return list(range(1, trips + 1))
    count = max(most - 1, 1)
    sizes = {1, trips}
    for i in range(1, count):
        wanted = trips ** (i / count)
        low, high = max(1, int(wanted / 1.35)), min(trips, int(wanted * 1.35) + 1)
        sizes.add(min(range(low, high + 1), key=lambda s: (_unevenness(s, trips), abs(np.log(s / wanted)))) if high - low < 64
                  else 1 << max(round(np.log2(wanted)), 0))  # fmt: skip
    return sorted(sizes)


def _unevenness(size: int, trips: int) -> float:
    """How badly a size divides the dim, and how many odd factors it has."""
    waste = -(-trips // size) * size / trips - 1.0
    odd = size
    while odd % 2 == 0:
        odd //= 2
    return waste + 0.01 * odd


def coarse_vectors(
    trips: dict[str, int], places: int, windowed: bool, allowed: dict[str, tuple[int, ...]]
) -> tuple[Vectors, Vectors, Vectors]:
    """Tiles of all sizes, as dense as ``places`` places allow: every combination of every size of small nests.

    Thinned, tiles of several dims fill the window's dims before the outer one, or are the outer one alone.
    """
    for most in COUNTS:
        result = [_filled(dims, trips, count, windowed, allowed) for dims, count in zip(COORDINATES, most, strict=True)]
        if prod(len(vectors) for vectors in result) <= places:
            break
    return result[0], result[1], result[2]


def _filled(
    dims: str, trips: dict[str, int], count: int, windowed: bool, allowed: dict[str, tuple[int, ...]]
) -> Vectors:
    """Tiles of one coordinate from at most ``count`` sizes of each dim."""
    sizes = [even_sizes(trips[d], count, allowed.get(d)) for d in dims]
    if len(dims) == 1 or prod(len(s) for s in sizes) <= count:
        return _ascending(product(*sizes))
    outer, high, wide = sizes
    ends = {(1, 1), (1, trips[dims[2]]), (trips[dims[1]], trips[dims[2]])}
    middle = {(1, w) for w in wide} | {(h, trips[dims[2]]) for h in high}
    if windowed:
        middle |= {(h, w) for h, w in product(high, wide) if max(h, w) <= 4 * min(h, w)}
    return _ascending({(1, h, w) for h, w in middle | ends} | {(n, h, w) for n in outer for h, w in ends})


def dense_vectors(
    chain: Iterable[tuple[int, ...]], trips: dict[str, int], refined: int, allowed: dict[str, tuple[int, ...]]
) -> tuple[Vectors, Vectors, Vectors]:
    """The tiles of a chain, and of one coordinate also tiles near them, each with larger ones that are made of it."""
    steps = list(dict.fromkeys(chain))
    result: list[Vectors] = []
    for number, dims in enumerate(COORDINATES):
        at = [LOOPS.index(d) for d in dims]
        whole = tuple(trips[d] for d in dims)
        own = sorted(
            {tuple(step[i] for i in at) for step in steps} | {(1,) * len(dims), whole}, key=lambda v: (prod(v), v)
        )
        found = set(own)
        if number == refined:
            for place, vector in enumerate(own):
                for i, d in enumerate(dims):
                    for size in _near(vector[i], trips[d], allowed.get(d)):
                        found.add((*vector[:i], size, *vector[i + 1 :]))
                        for larger in own[place + 1 :]:
                            fitting = min(-(-larger[i] // size) * size, trips[d])
                            smaller = min(max(larger[i] // size, 1) * size, trips[d])
                            if allowed.get(d) is None:
                                found |= {(*larger[:i], n, *larger[i + 1 :]) for n in (fitting, smaller)}
        result.append(_ascending(found))
    return result[0], result[1], result[2]


def _near(size: int, trips: int, allowed: tuple[int, ...] | None) -> list[int]:
    if allowed is not None:
        return [s for s in (1, *allowed, trips) if 1 <= s <= trips]
    sizes = {round(size * factor) for factor in NEAR} | {size - 1, size + 1}
    sizes |= {-(-trips // n) for n in (-(-trips // size) - 1, -(-trips // size) + 1) if n >= 1}
    return sorted(s for s in sizes if 1 <= s <= trips)


def _ascending(vectors: Iterable[tuple[int, ...]]) -> Vectors:
    return tuple(sorted(set(vectors), key=lambda v: (prod(v), v)))


def deep_unrollings(nest: Nest, array: ArrayShape, most: int) -> tuple[Unrolling, ...]:
    """Unrollings by ascending steps: which dims run along which axis, each axis as full as its dims allow.

    Other than with one private and one shared memory, it matters along which axis a dim runs, since memories are shared along some
    axes only: unrollings that leave the same trips are kept apart.
    """
    order = "NGKCPQRS"
    reduced, lanes = REDUCED[nest.tensors[2]], lane_dims(nest, array)
    partial: list[tuple[tuple[int, ...], tuple[tuple[tuple[str, int], ...], ...], float, float]] = [
        (nest.dims, (), 1.0, 1.0)
    ]
    for axis in array.axes:
        grown: dict[tuple[Any, ...], tuple[tuple[int, ...], tuple[tuple[tuple[str, int], ...], ...], float, float]] = {}
        for trips, chosen, other, red in partial:
            for used, ratio in _choices(
                axis.dims, axis.size, axis.flatten, dict(zip(order, trips, strict=True)), reduced
            ):
                left = tuple(-(-t // dict(used).get(d, 1)) for d, t in zip(order, trips, strict=True))
                inside = bool(used) and all(d in reduced for d, _ in used)
                entry = (left, (*chosen, used), other * (1.0 if inside else ratio), red * (ratio if inside else 1.0))
                grown.setdefault(entry[:2], entry)
        partial = sorted(grown.values(), key=lambda x: (prod(x[0]) * x[2] * x[3], x[1]))[:MOST_PARTIAL]
    found = []
    for trips, chosen, other, red in partial[:most]:
        by_dim = dict(zip(order, trips, strict=True))
        spatial = tuple(prod(n for axis in chosen for e, n in axis if e == d) for d in order)
        steps = (
            round(prod(by_dim[d] for d in order if d not in lanes) * other),
            round(prod(by_dim[d] for d in lanes) * red),
        )
        found.append(Unrolling(chosen, spatial, *steps, red if nest.tensors[2] != "X" else 1.0))
    return tuple(found)


def _choices(
    dims: tuple[str, ...], size: int, flatten: bool, trips: dict[str, int], reduced: str
) -> list[tuple[tuple[tuple[str, int], ...], float]]:
    """What an axis may unroll, each with the steps over the product of the trips that are left (below 1 on a flattened axis)."""
    open_dims = tuple(d for d in dims if trips[d] > 1)
    if not open_dims:
        return [((), 1.0)]
    if flatten:
        inside = [d for d in open_dims if d in reduced]
        if len(inside) in (0, len(open_dims)):
            room, used, left = size, [], 1
            for d in open_dims:
                tile = -(-trips[d] // -(-trips[d] // min(room, trips[d])))
                room //= tile
                left *= -(-trips[d] // tile)
                used.append((d, tile))
            flat = -(-prod(trips[d] for d in open_dims) // size)
            return [(tuple(u for u in used if u[1] > 1), flat / left)]
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    most = MOST_SPATIAL_SIZES[min(len(open_dims), len(MOST_SPATIAL_SIZES)) - 1]

    def grow(position: int, room: int, left: tuple[int, ...], used: tuple[int, ...]) -> None:
        if position == len(open_dims):
            if left not in found or used < found[left]:
                found[left] = used
            return
        total = trips[open_dims[position]]
        for tile in _spatial_sizes(total, room, most):
            grow(position + 1, room // tile, (*left, -(-total // tile)), (*used, tile))

    grow(0, size, (), ())
    best = [
        left for left in found
        if not any(other != left and all(o <= x for o, x in zip(other, left, strict=True)) for other in found)
    ]  # fmt: skip
    best.sort(key=lambda left: (prod(left), left))
    return [(tuple((d, n) for d, n in zip(open_dims, found[left], strict=True) if n > 1), 1.0) for left in best[:16]]


@lru_cache(maxsize=65536)
def _spatial_sizes(total: int, room: int, most: int) -> tuple[int, ...]:
    """Sizes that an axis may give to a dim of some trips: the smallest for each number of trips left, thinned to the largest
    ones."""
    largest = min(total, room)
    if largest <= 4 * most:
        return tuple({-(-total // size): size for size in range(largest, 0, -1)}.values())[::-1]
    sizes = (
        {1, -(-total // -(-total // largest))}
        | {largest // n for n in range(1, most // 2)}
        | set(even_sizes(largest, most))
    )
    return tuple(sorted({-(-total // -(-total // s)) for s in sizes if s >= 1}))
