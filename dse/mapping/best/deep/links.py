"""What crosses the links of a deep hierarchy under one unrolling, priced: one column per tile of the coordinate that decides it.

The formulas are those of :mod:`dse.mapping.best.count_kernel`, with one difference: the memory at the outer end of a link
may be shared along some axes only, so that its reads are counted once for each of its instances that are in use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dse.mapping.best.compiled import inner, outer
from dse.mapping.best.deep.graph import Graph, Links
from dse.types import Floats, Ints

# Dims are N K C P Q R S = 0 ... 6 and G = 7; tensors W X Y = 0 1 2.


class Tiles(NamedTuple):
    """Tiles of (N, P, Q), of K, of (C, R, S) in temporal trips."""

    a: Ints
    k: Ints
    c: Ints


class Tiled(NamedTuple):
    """A nest under one unrolling.

    bounds, spatial: (8,) of the nest, and spatial extents of the array. inside: (memories + 1, 8) spatial extents inside one
    instance of each memory. window: stride of rows and columns, dilation of rows and columns. packed: accumulations per those
    of the loops.
    """

    bounds: Ints
    window: Ints
    spatial: Ints
    inside: Ints
    packed: float


class Prices(NamedTuple):
    """What elements cost: fields of :class:`dse.mapping.best.deep.search.DeepPoint` of the same names."""

    read_pj: Floats
    write_pj: Floats
    element_cycles: Floats
    final_read_pj: Floats
    final_write_pj: Floats
    final_cycles: Floats
    converts: Ints
    kept_bits: Floats
    mac_share: Floats
    required: Ints


@inner
def pieces(bound: int, extent: int, spatial: int, inside: int) -> int:
    """(tile, instance) pairs over a dim cut into tiles of ``extent`` trips, at ``spatial // inside`` instances.

    Elements are dealt to the PEs one by one, so that the last tiles, if they are smaller, are spread over as many instances as they
    have elements for.
    """
    whole = extent * spatial
    apart = spatial // inside
    return bound // whole * apart + min(-(-(bound % whole) // inside), apart)


@inner
def window_sum(outer: int, filter_: int, n_outer: int, n_filter: int, stride: int, dilation: int) -> int:
    """Sum over tiles of the elements that a sliding window covers; tiles may have any sizes that add up."""
    return n_filter * stride * (outer - n_outer) + n_outer * dilation * (filter_ - n_filter) + n_outer * n_filter


@inner
def moved_elements(
    tensor: int, extent: Ints, spatial: Ints, inside: Ints, within: Ints, bounds: Ints, window: Ints
) -> float:  # fmt: skip
    """Elements of a tensor over a link, counted once for each instance of the memory that ``inside`` describes.

    ``extent`` are the temporal trips inside the cut; ``within`` the spatial extent inside an instance of the inner memory, where
    boxes with gaps between them are counted one by one.
    """
    if tensor == 0:
        total = float(bounds[7]) * bounds[1] * bounds[2] * bounds[5] * bounds[6]
        for d in (0, 3, 4):
            total *= pieces(bounds[d], extent[d], spatial[d], inside[d])
        return float(total)
    if tensor == 2:
        total = float(bounds[7]) * bounds[0] * bounds[1] * bounds[3] * bounds[4]
        for d in (2, 5, 6):
            total *= pieces(bounds[d], extent[d], spatial[d], inside[d])
        return float(total)
    total = float(bounds[7]) * bounds[0] * bounds[2] * pieces(bounds[1], extent[1], spatial[1], inside[1])
    for axis in range(2):
        p, r = 3 + axis, 5 + axis
        n_p = pieces(bounds[p], extent[p], spatial[p], inside[p])
        n_r = pieces(bounds[r], extent[r], spatial[r], inside[r])
        outputs = min(bounds[p], extent[p] * inside[p])
        filters = min(bounds[r], extent[r] * inside[r])
        if window[axis] > (filters - 1) * window[2 + axis] + 1:
            n_p = pieces(bounds[p], extent[p], spatial[p], within[p])
        if window[2 + axis] > (outputs - 1) * window[axis] + 1:
            n_r = pieces(bounds[r], extent[r], spatial[r], within[r])
        total *= float(window_sum(bounds[p], bounds[r], n_p, n_r, window[axis], window[2 + axis]))
    return float(total)


@inner
def box_elements(tensor: int, extent: Ints, inside: Ints, bounds: Ints, window: Ints) -> float:
    """Elements of a tensor's tile in one instance of a memory."""
    x = np.minimum(bounds, extent * inside)
    if tensor == 0:
        return float(float(x[7]) * x[1] * x[2] * x[5] * x[6])
    if tensor == 2:
        return float(float(x[7]) * x[0] * x[1] * x[3] * x[4])
    rows = window[0] * (x[3] - 1) + window[2] * (x[5] - 1) + 1
    columns = window[1] * (x[4] - 1) + window[3] * (x[6] - 1) + 1
    return float(float(x[7]) * x[0] * x[2] * rows * columns)


@inner
def apart(tensor: int, extent: Ints, spatial: Ints, inside: Ints, bounds: Ints, window: Ints) -> float:
    """Elements of an accumulated tensor, each counted once for every instance that ever holds it.

    Of X those in the boxes of tiles of an ``extent``: small tiles leave out the gaps of a stride.
    """
    unit = np.ones(8, np.int64)
    whole = np.empty(8, np.int64)
    for d in range(8):
        whole[d] = -(-bounds[d] // spatial[d])
    total = moved_elements(tensor, whole, spatial, inside, unit, bounds, window)
    if tensor == 1:
        for d in (3, 4, 5, 6):
            whole[d] = extent[d]
        total = min(total, moved_elements(tensor, whole, spatial, inside, unit, bounds, window))
    return total


@inner
def at_mac(
    tensor: int, run: Ints, spatial: Ints, feeding: Ints, bounds: Ints, window: Ints, accumulates: bool, packed: float
) -> float:  # fmt: skip
    """Fetches of an operand at the MAC (or accumulations), one for all elements that share the memory it comes from."""
    total = float(bounds[7])
    for d in range(7):
        own = d == 0 or d == 3 or d == 4
        if tensor == 1:
            own = d == 1
        elif tensor == 2:
            own = d == 2 or d == 5 or d == 6
        total *= pieces(bounds[d], run[d], spatial[d], feeding[d]) if own else bounds[d]
    if accumulates:
        return float(np.round(total * packed))
    if tensor == 1:
        for axis in range(2):
            p, r = min(feeding[3 + axis], bounds[3 + axis]), min(feeding[5 + axis], bounds[5 + axis])
            box = window[axis] * (p - 1) + window[2 + axis] * (r - 1) + 1
            total *= min(1.0, box / (p * r))
    return float(total)


@inner
def coordinate(tensor: int, column: int, windowed: bool, tiles: Tiles) -> Ints:
    """Extents of a column of a tensor's links; dims that do not matter to it stand at 1."""
    extent = np.ones(8, np.int64)
    if tensor == 1 and windowed:
        n_k, n_c = len(tiles.k), len(tiles.c)
        _set_a(extent, tiles, column // (n_k * n_c))
        extent[1] = tiles.k[column // n_c % n_k]
        _set_c(extent, tiles, column % n_c)
    elif tensor == 0:
        _set_a(extent, tiles, column)
    elif tensor == 1:
        extent[1] = tiles.k[column]
    else:
        _set_c(extent, tiles, column)
    return extent


@inner
def _set_a(extent: Ints, tiles: Tiles, i: int) -> None:
    extent[0], extent[3], extent[4] = tiles.a[i, 0], tiles.a[i, 1], tiles.a[i, 2]


@inner
def _set_c(extent: Ints, tiles: Tiles, j: int) -> None:
    extent[2], extent[5], extent[6] = tiles.c[j, 0], tiles.c[j, 1], tiles.c[j, 2]


@outer
def priced_links(graph: Graph, tiles: Tiles, nest: Tiled, prices: Prices, run_column: Ints, run_role: Ints) -> Links:
    """Prices of all links and sizes of all tiles.

    Parameters
    ----------
    run_column, run_role
        (runs,) column of each innermost run in its role's coordinate, and the role.
    """
    memories, runs = len(prices.converts), len(run_column)
    n_e = len(tiles.a) * len(tiles.k) * len(tiles.c)
    places = 1
    for role in range(3):
        places = max(places, graph.holders[role, 0])
    widest = 0
    for tensor in range(3):
        widest = max(widest, _columns(graph, tensor))
    moved = (3, places, places + 1, widest)
    links = Links(
        np.zeros(moved), np.zeros(moved), np.zeros(moved), np.zeros((3, places + 1, runs + 1)),
        np.zeros((3, places + 1, runs + 1)), np.zeros((3, memories, n_e)),
    )  # fmt: skip
    for role in range(3):
        for place in range(graph.holders[role, 0]):
            for x in range(_columns(graph, graph.tensors[role])):
                extent = coordinate(graph.tensors[role], x, graph.windowed, tiles)
                if role == 2:
                    _price_sums(graph, nest, prices, links, place, x, extent)
                else:
                    _price_operand(graph, nest, prices, links, role, place, x, extent)
        for run in range(runs + 1):
            if run == runs or run_role[run] == role:
                extent = np.ones(8, np.int64)
                if run < runs:
                    extent = coordinate(graph.tensors[role], run_column[run], False, tiles)
                _price_macs(graph, nest, prices, links, role, run, extent)
        for place in range(graph.holders[role, 0]):
            if prices.required[graph.holders[role, 1 + place], role] == 1:
                links.energy[role, :place, place + 1 :] = np.inf
                links.first[role, place + 1 :] = np.inf
    _measure_tiles(graph, tiles, nest, prices, links)
    return links


@inner
def _columns(graph: Graph, tensor: int) -> int:
    """Columns of the links of a tensor."""
    if tensor == 1 and graph.windowed:
        return int(graph.sizes[0] * graph.sizes[1] * graph.sizes[2])
    return int(graph.sizes[tensor])


@inner
def _price_operand(
    graph: Graph, nest: Tiled, prices: Prices, links: Links, role: int, place: int, x: int, extent: Ints
) -> None:
    """Links from one memory of an operand that is only read, with the extents of a column."""
    tensor, m = graph.tensors[role], graph.holders[role, 1 + place]
    received = moved_elements(tensor, extent, nest.spatial, nest.inside[m], nest.inside[m], nest.bounds, nest.window)
    for target in range(place + 1, graph.holders[role, 0] + 1):
        o = graph.holders[role, 1 + target]
        sent = moved_elements(tensor, extent, nest.spatial, nest.inside[o], nest.inside[m], nest.bounds, nest.window)
        links.energy[role, place, target, x] = sent * prices.read_pj[o, role] + received * prices.write_pj[m, role]
        links.child_time[role, place, target, x] = received * prices.element_cycles[m, role]
        links.parent_time[role, place, target, x] = sent * prices.element_cycles[o, role]


@inner
def _price_sums(graph: Graph, nest: Tiled, prices: Prices, links: Links, place: int, x: int, extent: Ints) -> None:
    """Links from one memory of sums: those not finished come back, those finished have their own width where they may."""
    tensor, m, memories = graph.tensors[2], graph.holders[2, 1 + place], len(prices.converts)
    own_first = apart(tensor, extent, nest.spatial, nest.inside[m], nest.bounds, nest.window)
    distinct = apart(tensor, extent, nest.spatial, nest.spatial, nest.bounds, nest.window)
    received = moved_elements(tensor, extent, nest.spatial, nest.inside[m], nest.inside[m], nest.bounds, nest.window)
    for target in range(place + 1, graph.holders[2, 0] + 1):
        o = graph.holders[2, 1 + target]
        sent = moved_elements(tensor, extent, nest.spatial, nest.inside[o], nest.inside[m], nest.bounds, nest.window)
        seen = apart(tensor, extent, nest.spatial, nest.inside[o], nest.bounds, nest.window)
        back = max(sent - seen, 0.0)
        copied = max(received - own_first, 0.0)
        done = distinct if prices.converts[m] == 1 or o == memories else 0.0
        handed = distinct if prices.converts[m] == 1 else 0.0
        links.energy[2, place, target, x] = (
            back * prices.read_pj[o, 2]
            + max(sent - done, 0.0) * prices.write_pj[o, 2]
            + done * prices.final_write_pj[o]
            + max(received - handed, 0.0) * prices.read_pj[m, 2]
            + handed * prices.final_read_pj[m]
            + copied * prices.write_pj[m, 2]
        )
        partial = max(received - handed, 0.0) + copied
        links.child_time[2, place, target, x] = partial * prices.element_cycles[m, 2] + handed * prices.final_cycles[m]
        partial = back + max(sent - done, 0.0)
        links.parent_time[2, place, target, x] = partial * prices.element_cycles[o, 2] + done * prices.final_cycles[o]


@inner
def _price_macs(graph: Graph, nest: Tiled, prices: Prices, links: Links, role: int, run: int, extent: Ints) -> None:
    """Links from the MACs to each memory of a role under one innermost run."""
    tensor = graph.tensors[role]
    for target in range(graph.holders[role, 0] + 1):
        o = graph.holders[role, 1 + target]
        count = at_mac(tensor, extent, nest.spatial, nest.inside[o], nest.bounds, nest.window, role == 2, nest.packed)
        if role != 2:
            count *= prices.mac_share[role]
            links.first[role, target, run] = count * prices.read_pj[o, role]
            links.first_time[role, target, run] = count * prices.element_cycles[o, role]
            continue
        fresh = apart(tensor, np.ones(8, np.int64), nest.spatial, nest.inside[o], nest.bounds, nest.window)
        again = max(count - fresh, 0.0) * prices.mac_share[2]
        count *= prices.mac_share[2]
        links.first[role, target, run] = again * prices.read_pj[o, 2] + count * prices.write_pj[o, 2]
        links.first_time[role, target, run] = (again + count) * prices.element_cycles[o, 2]


@inner
def _measure_tiles(graph: Graph, tiles: Tiles, nest: Tiled, prices: Prices, links: Links) -> None:
    """Bits of every tile of every role in each of its memories."""
    n_k, n_c = len(tiles.k), len(tiles.c)
    extent = np.ones(8, np.int64)
    for e in range(links.tile.shape[2]):
        _set_a(extent, tiles, e // (n_k * n_c))
        extent[1] = tiles.k[e // n_c % n_k]
        _set_c(extent, tiles, e % n_c)
        for role in range(3):
            for place in range(graph.holders[role, 0]):
                m = graph.holders[role, 1 + place]
                elements = box_elements(graph.tensors[role], extent, nest.inside[m], nest.bounds, nest.window)
                links.tile[role, m, e] = elements * prices.kept_bits[m, role]
