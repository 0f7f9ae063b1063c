"""The optimum that is found equals that of every loop order, every tiling and every cut, counted by walking the nest."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import ceil, prod

import numpy as np
import pytest

from dse.mapping.best.records import MAC_WEIGHT, PARTIAL, POINT, RESULT
from dse.mapping.best.search.search import search
from dse.mapping.best.space import Options, slots_of
from dse.mapping.nest import RELEVANT, ArrayShape, Axis, Nest, Storage
from dse.names import MAPPING_OBJECTIVES, ROLES

LOOPS = "NKCPQRS"
DIMS = "NGKCPQRS"

ONE_LEVEL = ArrayShape((), (Storage("buffer", ROLES, ()),))
TWO_LEVELS = ArrayShape(
    (Axis("rows", 1, ()),),
    (
        Storage("register", ("weight",), ()),
        Storage("sums", ("accumulator",), ()),
        Storage("buffer", ("activation", "accumulator"), ("rows",)),
    ),
)
SPATIAL = ArrayShape(
    (Axis("rows", 2, ("C",)), Axis("cols", 2, ("K",))),
    (
        Storage("register", ("weight",), ()),
        Storage("sums", ("accumulator",), ("rows",)),
        Storage("buffer", ("weight", "activation", "accumulator"), ("rows", "cols")),
    ),
)
NESTS = [
    Nest((2, 1, 2, 3, 1, 1, 1, 1)),
    Nest((1, 1, 3, 2, 4, 1, 1, 1)),
    Nest((1, 1, 2, 1, 4, 1, 3, 1)),
    Nest((1, 1, 2, 1, 3, 1, 2, 1), stride=(2, 1)),
    Nest((1, 1, 2, 2, 2, 1, 2, 1), "backward_data"),
    Nest((2, 1, 2, 2, 2, 1, 1, 1), "backward_weight"),
    Nest((2, 1, 3, 2, 2, 1, 1, 1), "backward_weight", swap=True),
    Nest((1, 2, 2, 2, 3, 1, 1, 1)),
    Nest((1, 1, 5, 2, 2, 1, 1, 1)),
]


@cache
def loop_orders(trips: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """All temporal nests, inner to outer, as (dim, size of the tile that the loop completes)."""
    found = []

    def grow(extents: tuple[int, ...], loops: tuple[tuple[int, int], ...]) -> None:
        if extents == trips:
            found.append(loops)
            return
        for d, (e, t) in enumerate(zip(extents, trips, strict=True)):
            for factor in range(2, ceil(t / e) + 1) if e < t else ():
                size = min(e * factor, t)
                grow((*extents[:d], size, *extents[d + 1 :]), (*loops, (d, size)))

    grow((1,) * len(trips), ())
    return tuple(found)


def unroll(nest: Nest, array: ArrayShape) -> dict[str, int]:
    """Full spatial size of each dim on arrays whose axes take one dim each."""
    return {axis.dims[0]: min(axis.size, nest.dims[DIMS.index(axis.dims[0])]) for axis in array.axes if axis.dims}


def walk(nest: Nest, tensor: str, loops: tuple[tuple[int, int], ...], spatial: tuple[int, ...], mac: bool = False) -> float:
    """Elements moved when the loops outside a cut run and every iteration moves a tile (clipped at the edges).

    ``loops`` are those outside the cut, outermost first, as (dim, size of the tile inside the loop). The innermost run of
    loops that are irrelevant to the tensor moves nothing. At the MAC every operand pair fetches its own window element.
    """
    bounds = tuple(nest.dims[DIMS.index(d)] for d in LOOPS)
    relevant = [d in RELEVANT[tensor] for d in LOOPS]
    while loops and not relevant[loops[-1][0]]:
        loops = loops[:-1]
    total = 0

    def run(position: int, ranges: tuple[tuple[int, int], ...]) -> None:
        nonlocal total
        if position == len(loops):
            sizes = tuple(hi - lo for lo, hi in ranges)
            total += prod(x for x, k in zip(sizes, relevant, strict=True) if k) if mac else elements(nest, tensor, sizes)
            return
        d, size = loops[position]
        lo, hi = ranges[d]
        for begin in range(lo, hi, size * spatial[d]):
            run(position + 1, (*ranges[:d], (begin, min(hi, begin + size * spatial[d])), *ranges[d + 1 :]))

    run(0, tuple((0, b) for b in bounds))
    return float(total * nest.dims[1])


def elements(nest: Nest, tensor: str, x: tuple[int, ...]) -> int:
    n, k, c, p, q, r, s = x
    if tensor == "W":
        return k * c * r * s
    if tensor == "Y":
        return n * k * p * q
    rows = nest.stride[0] * (p - 1) + nest.dilation[0] * (r - 1) + 1
    columns = nest.stride[1] * (q - 1) + nest.dilation[1] * (s - 1) + 1
    return n * c * rows * columns


def every_mapping(nest: Nest, array: ArrayShape) -> list[tuple[tuple[float, ...], tuple[int, ...]]]:
    """Of all mappings: fetches of both inputs at the MAC and elements moved into each slot; tile of each slot."""
    spatial_of = unroll(nest, array)
    spatial = tuple(spatial_of.get(d, 1) for d in LOOPS)
    bounds = tuple(nest.dims[DIMS.index(d)] for d in LOOPS)
    trips = tuple(ceil(b / s) for b, s in zip(bounds, spatial, strict=True))
    names = {axis.name for axis in array.axes}
    slots = [
        (role, i, "outer" if names <= set(s.shared_along) else "inner")
        for role in ROLES
        for i, s in enumerate(array.storages)
        if role in s.roles
    ]
    results = set()
    for order in loop_orders(trips):
        sizes = [(1,) * 7]
        for d, size in order:
            sizes.append((*sizes[-1][:d], size, *sizes[-1][d + 1 :]))
        outside = []
        for cut in range(len(order) + 1):
            outside.append(tuple((order[j][0], sizes[j][order[j][0]]) for j in range(len(order) - 1, cut - 1, -1)))
        moved = {
            (role, cut): walk(nest, tensor, outside[cut], spatial)
            for role, tensor in zip(ROLES, nest.tensors, strict=True)
            for cut in range(len(order) + 1)
        }
        fetched = {
            role: walk(nest, tensor, outside[0], spatial, mac=True) * private_copies(array, role, tensor, spatial_of)
            for role, tensor in zip(ROLES, nest.tensors, strict=True)
        }
        for cuts in product(range(len(order) + 1), repeat=len(slots)):
            if any(
                a[0] == b[0] and a[2] == "inner" and b[2] == "outer" and x > y
                for a, x in zip(slots, cuts, strict=True)
                for b, y in zip(slots, cuts, strict=True)
            ):
                continue
            counts = tuple(fetched[role] for role in ROLES[:2]) + tuple(
                moved[role, cut] for (role, _, _), cut in zip(slots, cuts, strict=True)
            )
            tiles = []
            for (role, i, _), cut in zip(slots, cuts, strict=True):
                inside = [axis for axis in array.axes if axis.name in array.storages[i].shared_along]
                here = {axis.dims[0]: spatial_of[axis.dims[0]] for axis in inside if axis.dims}
                extent = tuple(min(b, e * here.get(d, 1)) for d, b, e in zip(LOOPS, bounds, sizes[cut], strict=True))
                tiles.append(elements(nest, nest.tensors[ROLES.index(role)], extent))
            results.add((counts, tuple(tiles)))
    return sorted(results)


def private_copies(array: ArrayShape, role: str, tensor: str, spatial_of: dict[str, int]) -> int:
    """PEs that fetch the same element from storages of their own."""
    first = next((s for s in array.storages if role in s.roles), None)
    apart = [axis for axis in array.axes if first is not None and axis.name not in first.shared_along and axis.dims]
    return prod(spatial_of[axis.dims[0]] for axis in apart if axis.dims[0] not in RELEVANT[tensor])


@pytest.mark.parametrize("nest", NESTS, ids=str)
@pytest.mark.parametrize("array", [ONE_LEVEL, TWO_LEVELS, SPATIAL], ids=["one", "two", "spatial"])
def test_optimum_equals_full_enumeration(nest: Nest, array: ArrayShape) -> None:
    """Random prices, widths and capacities: no order, tiling or cut costs less energy than what the search finds."""
    if array is SPATIAL:  # sizes that fill the axes, so that copies in private storages are whole
        nest = Nest((*nest.dims[:2], 2 * nest.dims[2], 2 * nest.dims[3], *nest.dims[4:]), nest.pass_, nest.stride, swap=nest.swap)
        if prod(nest.dims) > 40:
            nest = Nest((1, *nest.dims[1:2], 4, 4, 2, 1, 1, 1), nest.pass_, nest.stride, swap=nest.swap)
    mappings = every_mapping(nest, array)
    rng = np.random.default_rng(sum(nest.dims))
    slots, n = slots_of(array), 20
    memory = np.array([slot.storage for slot in slots])
    moved_price, mac_price = rng.lognormal(0, 2, (n, len(slots))), rng.lognormal(-2, 2, (n, 2))
    bits = rng.choice([2.0, 4.0, 8.0, 16.0], (n, len(slots)))
    counts, tiles = (np.array([m[k] for m in mappings], float) for k in range(2))
    biggest = np.array([max((bits * tiles.max(axis=0))[:, memory == m].sum(axis=1).max(), 1) for m in range(memory.max() + 1)])
    capacity = biggest * rng.uniform(0, 1, (n, len(biggest))) ** 3
    base = rng.uniform(0, 10, n)
    # whatever crosses a link is priced once, at the memory outside of it
    points = np.zeros(n, POINT)
    names = ("weight", "activation", "accumulator")
    for s, slot in enumerate(slots):
        outside = [x.storage for x in slots if x.role == slot.role and x.storage > slot.storage]
        parent = min(outside, default=len(array.storages))
        if slot.role == "accumulator":
            points["write"][:, parent, [PARTIAL, RESULT]] = moved_price[:, [s]]
        else:
            points["read"][:, parent, names.index(slot.role)] = moved_price[:, s]
    for r in range(2):
        inner = min((x.storage for x in slots if x.role == names[r]), default=len(array.storages))
        points["read"][:, inner, MAC_WEIGHT + r] = mac_price[:, r]
    points["kept"][:, : len(slots)] = points["finished"][:, : len(slots)] = bits
    points["capacity"][:, : len(biggest)] = capacity
    points["base"], points["lanes"], points["objective"], points["overlap"] = base, 1.0, MAPPING_OBJECTIVES.index("energy"), 1
    held = tuple((storage.name, role) for storage in array.storages for role in storage.roles)
    found = search(nest, array, points, np.full(n, 2), Options(held=held))
    energy = base[:, None] + mac_price @ counts[:, :2].T + moved_price @ counts[:, 2:].T
    for m in range(len(biggest)):
        need = bits[:, memory == m] @ tiles[:, memory == m].T
        energy = np.where(need <= capacity[:, [m]], energy, np.inf)
    least = energy.min(axis=1)
    fits = np.isfinite(least)
    assert fits.any()
    # Five trips cannot be cut evenly: there a mapping whose tiles are not made of whole smaller ones may be a little better.
    gap = 0.02 if 5 in nest.dims else 1e-9
    assert (found.value[fits] <= least[fits] * (1 + gap)).all()
