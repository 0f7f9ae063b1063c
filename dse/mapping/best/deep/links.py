"""What crosses the links of a deep hierarchy under one unrolling, priced: one column per tile of the coordinate that decides it.

The formulas are those of :mod:`dse.mapping.best.count_kernel`, with one difference: the memory at the outer end of a link
may be shared along some axes only, so that its reads are counted once for each of its instances that are in use.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dse.types import Floats, Ints

# Dims are N K C P Q R S = 0 ... 6 and G = 7; tensors W X Y = 0 1 2.


@njit(cache=True, nogil=True)
def pieces(bound: int, extent: int, spatial: int, inside: int) -> int:
    """(tile, instance) pairs over a dim cut into tiles of ``extent`` trips, at ``spatial // inside`` instances.

    Elements are dealt to the PEs one by one, so that the last tiles, if they are smaller, are spread over as many instances as they
    have elements for.
    """
    whole = extent * spatial
    apart = spatial // inside
    return bound // whole * apart + min(-(-(bound % whole) // inside), apart)


@njit(cache=True, nogil=True)
def window_sum(outer: int, filter_: int, n_outer: int, n_filter: int, stride: int, dilation: int) -> int:
    """Sum over tiles of the elements that a sliding window covers; tiles may have any sizes that add up."""
    return n_filter * stride * (outer - n_outer) + n_outer * dilation * (filter_ - n_filter) + n_outer * n_filter


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def coordinate(tensor: int, column: int, windowed: bool, a: Ints, k: Ints, c: Ints) -> Ints:
    """Extents of a column of a tensor's links; dims that do not matter to it stand at 1."""
    extent = np.ones(8, np.int64)
    if tensor == 1 and windowed:
        n_k, n_c = len(k), len(c)
        i = column // (n_k * n_c)
        extent[0], extent[3], extent[4] = a[i, 0], a[i, 1], a[i, 2]
        extent[1] = k[column // n_c % n_k]
        j = column % n_c
        extent[2], extent[5], extent[6] = c[j, 0], c[j, 1], c[j, 2]
    elif tensor == 0:
        extent[0], extent[3], extent[4] = a[column, 0], a[column, 1], a[column, 2]
    elif tensor == 1:
        extent[1] = k[column]
    else:
        extent[2], extent[5], extent[6] = c[column, 0], c[column, 1], c[column, 2]
    return extent


@njit(cache=True, nogil=True)
def priced_links(
    a: Ints, k: Ints, c: Ints, holders: Ints, tensors: Ints, windowed: bool, bounds: Ints, window: Ints, spatial: Ints, inside:
    Ints, packed: float, read_pj: Floats, write_pj: Floats, element_cycles: Floats, final_read_pj: Floats, final_write_pj: Floats,
    final_cycles: Floats, converts: Ints, kept_bits: Floats, run_column: Ints, run_role: Ints, mac_share: Floats,
    required: Ints,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:  # fmt: skip
    """Prices of all links and sizes of all tiles for the kernel (:func:`dse.mapping.best.deep.kernel.best_chains`).

    Parameters
    ----------
    a, k, c
        Tiles of (N, P, Q), of K, of (C, R, S) in temporal trips.
    spatial, inside
        (8,) and (memories + 1, 8) spatial extents of the array and inside one instance of each memory.
    read_pj, write_pj, element_cycles
        (memories + 1, 3) per element; of the accumulator for partial sums.
    final_read_pj, final_write_pj, final_cycles
        (memories + 1,) per finished element at its own width.
    converts
        (memories,) whether finished results leave the memory at their own width.
    kept_bits
        (memories, 3) bits that an element takes in each memory.
    run_column, run_role
        (runs,) column of each innermost run in its role's coordinate, and the role.
    mac_share
        (3,) share of the accesses at the MAC that are made.
    required
        (memories, 3) 1 where a role may not pass a memory by; links that would cost infinitely much.

    Returns
    -------
    ``energy, child_time, parent_time, first, first_time, tile`` as the kernel takes them.
    """
    n_a, n_k, n_c = len(a), len(k), len(c)
    n_e = n_a * n_k * n_c
    places = 1
    for r in range(3):
        places = max(places, holders[r, 0])
    memories = len(converts)
    widest = max(max(n_a, n_k), n_c)
    if windowed:
        widest = max(widest, n_e)
    energy = np.zeros((3, places, places + 1, widest))
    child_time = np.zeros((3, places, places + 1, widest))
    parent_time = np.zeros((3, places, places + 1, widest))
    runs = len(run_column)
    first = np.zeros((3, places + 1, runs + 1))
    first_time = np.zeros((3, places + 1, runs + 1))
    unit = np.ones(8, np.int64)
    for role in range(3):
        tensor = tensors[role]
        columns = n_a if tensor == 0 else (n_k if tensor == 1 else n_c)
        if tensor == 1 and windowed:
            columns = n_e
        for place in range(holders[role, 0]):
            m = holders[role, 1 + place]
            for x in range(columns):
                extent = coordinate(tensor, x, windowed, a, k, c)
                own_first = apart(tensor, extent, spatial, inside[m], bounds, window) if role == 2 else 0.0
                distinct = apart(tensor, extent, spatial, spatial, bounds, window) if role == 2 else 0.0
                received = moved_elements(tensor, extent, spatial, inside[m], inside[m], bounds, window)
                for target in range(place + 1, holders[role, 0] + 1):
                    o = holders[role, 1 + target]
                    sent = moved_elements(tensor, extent, spatial, inside[o], inside[m], bounds, window)
                    if role != 2:
                        energy[role, place, target, x] = sent * read_pj[o, role] + received * write_pj[m, role]
                        child_time[role, place, target, x] = received * element_cycles[m, role]
                        parent_time[role, place, target, x] = sent * element_cycles[o, role]
                        continue
                    seen = apart(tensor, extent, spatial, inside[o], bounds, window)
                    back = max(sent - seen, 0.0)
                    copied = max(received - own_first, 0.0)
                    done = distinct if converts[m] == 1 or o == memories else 0.0
                    handed = distinct if converts[m] == 1 else 0.0
                    energy[role, place, target, x] = (
                        back * read_pj[o, 2]
                        + max(sent - done, 0.0) * write_pj[o, 2]
                        + done * final_write_pj[o]
                        + max(received - handed, 0.0) * read_pj[m, 2]
                        + handed * final_read_pj[m]
                        + copied * write_pj[m, 2]
                    )
                    child_time[role, place, target, x] = (max(received - handed, 0.0) + copied) * element_cycles[
                        m, 2
                    ] + handed * final_cycles[m]
                    parent_time[role, place, target, x] = (back + max(sent - done, 0.0)) * element_cycles[
                        o, 2
                    ] + done * final_cycles[o]
        for target in range(holders[role, 0] + 1):
            o = holders[role, 1 + target]
            for run in range(runs + 1):
                if run < runs and run_role[run] != role:
                    continue
                extent = unit
                if run < runs:
                    extent = coordinate(tensor, run_column[run], False, a, k, c)
                count = at_mac(tensor, extent, spatial, inside[o], bounds, window, role == 2, packed)
                if role != 2:
                    count *= mac_share[role]
                    first[role, target, run] = count * read_pj[o, role]
                    first_time[role, target, run] = count * element_cycles[o, role]
                    continue
                fresh = apart(tensor, unit, spatial, inside[o], bounds, window)
                again = max(count - fresh, 0.0) * mac_share[2]
                count *= mac_share[2]
                first[role, target, run] = again * read_pj[o, 2] + count * write_pj[o, 2]
                first_time[role, target, run] = (again + count) * element_cycles[o, 2]
        for place in range(holders[role, 0]):
            if required[holders[role, 1 + place], role] == 1:
                energy[role, :place, place + 1 :] = np.inf
                first[role, place + 1 :] = np.inf
    tile = np.zeros((3, memories, n_e))
    extent = np.ones(8, np.int64)
    for e in range(n_e):
        i, j = e // (n_k * n_c), e % n_c
        extent[0], extent[3], extent[4] = a[i, 0], a[i, 1], a[i, 2]
        extent[1] = k[e // n_c % n_k]
        extent[2], extent[5], extent[6] = c[j, 0], c[j, 1], c[j, 2]
        for role in range(3):
            for place in range(holders[role, 0]):
                m = holders[role, 1 + place]
                tile[role, m, e] = box_elements(tensors[role], extent, inside[m], bounds, window) * kept_bits[m, role]
    return energy, child_time, parent_time, first, first_time, tile
