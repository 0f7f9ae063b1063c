"""Compiled inner loops of the enumeration: transfers and tiles at a cut, growth of chains, and dominance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Dims are N K C P Q R S = 0 ... 6; tensors W X Y = 0 1 2.


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
def transfers(tensor: int, n: Ints, bounds: Ints, groups: int, window: Ints) -> float:
    """Elements of a tensor that move when dim d is cut into n[d] pieces, each moved as a whole."""
    if tensor == 0:
        return float(groups * bounds[1] * bounds[2] * bounds[5] * bounds[6]) * float(n[0] * n[3] * n[4])
    if tensor == 2:
        return float(groups * bounds[0] * bounds[1] * bounds[3] * bounds[4]) * float(n[2] * n[5] * n[6])
    rows = window_sum(bounds[3], bounds[5], n[3], n[5], window[0], window[2])
    columns = window_sum(bounds[4], bounds[6], n[4], n[6], window[1], window[3])
    return float(groups * bounds[0] * bounds[2]) * float(rows) * float(columns) * float(n[1])


@njit(cache=True, nogil=True)
def tile_elements(tensor: int, extents: Ints, inside: Ints, bounds: Ints, groups: int, window: Ints) -> float:
    """Elements of a tensor in one instance of a storage."""
    x = np.minimum(bounds, extents * inside)
    if tensor == 0:
        return float(groups * x[1] * x[2] * x[5] * x[6])
    if tensor == 2:
        return float(groups * x[0] * x[1] * x[3] * x[4])
    rows = window[0] * (x[3] - 1) + window[2] * (x[5] - 1) + 1
    columns = window[1] * (x[4] - 1) + window[3] * (x[6] - 1) + 1
    return float(groups * x[0] * x[2] * rows) * float(columns)


@njit(cache=True, nogil=True)
def irrelevant(tensor: int, dim: int) -> bool:
    if tensor == 0:
        return dim == 0 or dim == 3 or dim == 4
    if tensor == 1:
        return dim == 1
    return dim == 2 or dim == 5 or dim == 6


@njit(cache=True, nogil=True)
def mac_count(
    role: int, tensor: int, run: Ints, feeding: Ints, bounds: Ints, spatial: Ints, groups: int, packed: float
) -> float:
    """Fetches of a role at the MAC: one access of the storage above it serves all PEs that share it, for a whole run."""
    count = float(groups)
    for d in range(7):
        if irrelevant(tensor, d):
            count *= pieces(bounds[d], run[d], spatial[d], feeding[d])
        else:
            count *= bounds[d]
    return float(np.round(count * packed)) if role == 2 else count


@njit(cache=True, nogil=True)
def add_run(
    values: Floats, history: npt.NDArray[np.int32], extents: Ints, role: int, tensor: int, steps: Ints, trips: Ints, bounds: Ints,
    spatial: Ints, feeding: Ints, groups: int, packed: float,
) -> tuple[Floats, npt.NDArray[np.int32], Ints]:  # fmt: skip
    """Every innermost run of loops that are irrelevant to a role, around cuts that hold no other loops."""
    parent = np.empty(len(values) * len(steps), np.int64)
    out_e = np.empty((len(parent), 7), np.int64)
    n = 0
    for i in range(len(values)):
        alone = True
        for d in range(7):
            alone &= irrelevant(tensor, d) or extents[i, d] == 1
        if not alone:
            continue
        for k in range(len(steps)):
            fits = True
            for d in range(7):
                out_e[n, d] = extents[i, d]
                if irrelevant(tensor, d):
                    fits &= steps[k, d] >= extents[i, d]
                    out_e[n, d] = _grown(extents[i, d], steps[k, d], trips[d])
            if fits:
                parent[n] = i
                n += 1
    out_v = np.empty((n, values.shape[1]))
    out_h = np.empty((n, history.shape[1], 7), np.int32)
    for j in range(n):
        out_v[j] = values[parent[j]]
        out_v[j, role] = mac_count(role, tensor, out_e[j], feeding, bounds, spatial, groups, packed)
        out_h[j] = history[parent[j]]
        for d in range(7):
            out_h[j, 0, d] = out_e[j, d]
    return out_v, out_h, out_e[:n].copy()


@njit(cache=True, nogil=True)
def _grown(extent: int, size: int, trips: int) -> int:
    """The smallest tile of at least ``size`` trips made of whole tiles of ``extent`` trips, or all trips."""
    return min(-(-size // extent) * extent, trips)


@njit(cache=True, nogil=True)
def add_slot(
    values: Floats, history: npt.NDArray[np.int32], extents: Ints, slot: int, tensor: int, steps: Ints, images: Ints,
    filters: Ints, halo: bool, last: bool, trips: Ints, bounds: Ints, spatial: Ints, inside: Ints, groups: int,
    group_inside: int, window: Ints, limit: float,
) -> tuple[Floats, npt.NDArray[np.int32], Ints]:  # fmt: skip
    """Every way to put one more cut around chains; see the module docstring of :mod:`dse.mapping.best.candidates`."""
    room = max(64, 4 * len(values))
    out_v = np.empty((room, values.shape[1]))
    out_e = np.empty((room, 7), np.int64)
    parent = np.empty(room, np.int64)
    n = 0
    count = np.ones(7, np.int64)
    copies = np.ones(7, np.int64)
    extent = np.ones(7, np.int64)
    moves = tensor == 1 and halo
    n_images = len(images) if moves else 1
    n_filters = len(filters) if moves else 1
    for i in range(len(values)):
        for k in range(len(steps)):
            fits = True
            for d in range(7):
                extent[d] = extents[i, d]
                if irrelevant(tensor, d):
                    fits &= steps[k, d] >= extents[i, d] and (not last or steps[k, d] == trips[d])
                    extent[d] = _grown(extents[i, d], steps[k, d], trips[d])
            if not fits:
                continue
            for a in range(n_images):
                if moves and (images[a, 0] != 1 or images[a, 3] < extents[i, 3] or images[a, 4] < extents[i, 4]):
                    continue
                for f in range(n_filters):
                    if moves and (filters[f, 2] != 1 or filters[f, 5] < extents[i, 5] or filters[f, 6] < extents[i, 6]):
                        continue
                    if moves:
                        for d in (3, 4):
                            extent[d] = _grown(extents[i, d], images[a, d], trips[d])
                        for d in (5, 6):
                            extent[d] = _grown(extents[i, d], filters[f, d], trips[d])
                    tile = tile_elements(tensor, extent, inside, bounds, group_inside, window)
                    if tile > limit:
                        continue
                    for d in range(7):
                        count[d] = pieces(bounds[d], extent[d], spatial[d], spatial[d])
                        copies[d] = pieces(bounds[d], extent[d], spatial[d], inside[d])
                    if tensor == 1:
                        merge_windows(count, copies, extent, bounds, spatial, window)
                    if n == len(out_v):
                        bigger_v = np.empty((2 * n, out_v.shape[1]))
                        bigger_v[:n] = out_v
                        out_v = bigger_v
                        bigger_e = np.empty((2 * n, 7), np.int64)
                        bigger_e[:n] = out_e
                        out_e = bigger_e
                        bigger_p = np.empty(2 * n, np.int64)
                        bigger_p[:n] = parent
                        parent = bigger_p
                    out_v[n] = values[i]
                    out_v[n, 3 + 3 * slot] = transfers(tensor, count, bounds, groups, window)
                    out_v[n, 4 + 3 * slot] = transfers(tensor, copies, bounds, groups, window)
                    out_v[n, 5 + 3 * slot] = tile
                    out_e[n] = extent
                    parent[n] = i
                    n += 1
    out_h = np.empty((n, history.shape[1], 7), np.int32)
    for j in range(n):
        out_h[j] = history[parent[j]]
        for d in range(7):
            out_h[j, slot + 1, d] = out_e[j, d]
    return out_v[:n].copy(), out_h, out_e[:n].copy()


@njit(cache=True, nogil=True)
def merge_windows(count: Ints, copies: Ints, extents: Ints, bounds: Ints, spatial: Ints, window: Ints) -> None:
    """Of X, instances read the union of their boxes: boxes with gaps between them count one by one.

    A stride leaves gaps between the boxes of neighbouring outputs where the filter rows at hand do not reach from one to the
    next, and a dilation between those of neighbouring filter rows.
    """
    for d in (3, 4):
        axis = d - 3
        outputs = min(bounds[d], extents[d] * spatial[d])
        filters = min(bounds[d + 2], extents[d + 2] * spatial[d + 2])
        if window[axis] > (filters - 1) * window[2 + axis] + 1:
            count[d] = copies[d]
        if window[2 + axis] > (outputs - 1) * window[axis] + 1:
            count[d + 2] = copies[d + 2]


@njit(cache=True, nogil=True)
def settle(
    extents: npt.NDArray[np.int32], tensors: Ints, input_tensors: Ints, per_change: Ints, trips: Ints,
    bounds: Ints, spatial: Ints, inside: Ints, feeding: Ints, groups: int, packed: float, window: Ints,
    moved: Floats, copies: Floats, mac: Floats,
) -> None:  # fmt: skip
    """Count the finished chains by their loops: all irrelevant loops next outside a cut are its run, of whatever step they are.

    With thinned tile sizes the chain that has the run inside may be missing, and a chain's own figure is then an upper bound.
    Loops stand as :func:`dse.mapping.best.engine.loops_of` orders them. ``per_change`` says which
    input roles fetch at the MAC only what changes. ``moved, copies`` (slots, n) and ``mac`` (3, n) are overwritten.
    """
    cuts, n, _ = extents.shape
    dim = np.empty(7 * (cuts + 1), np.int64)
    size = np.empty(7 * (cuts + 1), np.int64)
    place = np.empty(cuts, np.int64)
    order = np.empty(cuts, np.int64)
    volume = np.empty(cuts)
    at = np.empty(7, np.int64)
    held = np.empty(7, np.int64)
    count = np.ones(7, np.int64)
    copied = np.ones(7, np.int64)
    for i in range(n):
        for c in range(cuts):
            volume[c] = 1.0
            for d in range(7):
                volume[c] *= extents[c, i, d]
            x = c
            while x > 0 and volume[order[x - 1]] > volume[c]:
                order[x] = order[x - 1]
                x -= 1
            order[x] = c
        at[:] = 1
        loops = 0
        for x in range(cuts + 1):
            for d in range(7):
                target = trips[d] if x == cuts else extents[order[x], i, d]
                factor = -(-target // at[d])
                if factor > 1:
                    dim[loops] = d
                    size[loops] = factor
                    loops += 1
                    at[d] = max(at[d], target)
            if x < cuts:
                place[order[x]] = loops
        for s in range(cuts - 1):
            tensor = tensors[s]
            for d in range(7):
                held[d] = extents[s + 1, i, d]
            for l in range(place[s + 1], loops):
                if not irrelevant(tensor, dim[l]):
                    break
                held[dim[l]] = min(held[dim[l]] * size[l], trips[dim[l]])
            for d in range(7):
                count[d] = pieces(bounds[d], held[d], spatial[d], spatial[d])
                copied[d] = pieces(bounds[d], held[d], spatial[d], inside[s, d])
            if tensor == 1:
                merge_windows(count, copied, held, bounds, spatial, window)
            moved[s, i] = transfers(tensor, count, bounds, groups, window)
            copies[s, i] = transfers(tensor, copied, bounds, groups, window)
        for r in range(2):
            held[:] = 1
            if per_change[r]:
                for l in range(loops):
                    if not irrelevant(input_tensors[r], dim[l]):
                        break
                    held[dim[l]] = min(held[dim[l]] * size[l], trips[dim[l]])
            mac[r, i] = mac_count(r, input_tensors[r], held, feeding[r], bounds, spatial, groups, packed)


@njit(cache=True, nogil=True)
def _divides(extents: Ints, i: int, j: int, trips: Ints) -> bool:
    """Whether all extents of row j divide those of row i, or those are whole."""
    divides = True
    for d in range(extents.shape[1]):
        divides &= extents[i, d] % extents[j, d] == 0 or extents[i, d] == trips[d]
    return divides


@njit(cache=True, nogil=True)
def _sweep(
    rows: npt.NDArray[np.uint16], extents: Ints, trips: Ints, top: int, middle: Ints, bits: int
) -> npt.NDArray[np.bool_]:
    """Rows that no earlier kept row covers; no later row may cover an earlier one, except an equal one.

    Kept rows lie column after column in groups of 64, so that one comparison of a column serves many rows. Rows of a group
    agree in whether their first ``bits`` columns exceed ``middle``, which makes the group's smallest values telling: a group
    with one above the row's is passed over. The rows that covered others lately are tried first.
    """
    n, width = rows.shape
    room = n // 64 + (1 << bits) + 1
    kept = np.empty((room, width, 64), rows.dtype)
    kept[:] = top
    least = np.empty((room, width), rows.dtype)
    least[:] = top
    owner = np.empty((room, 64), np.int64)
    filled = np.zeros(room, np.int64)
    open_group = np.full(1 << bits, -1, np.int64)
    groups = 0
    which = np.zeros(n, np.bool_)
    lately = np.zeros(32, np.int64)
    known = 0
    mask = np.empty(64, rows.dtype)
    for i in range(n):
        covered = False
        for x in range(known):
            j = lately[x]
            below = True
            for c in range(width):
                if rows[j, c] > rows[i, c]:
                    below = False
                    break
            if below and _divides(extents, i, j, trips):
                covered = True
                lately[x] = lately[x // 2]
                lately[x // 2] = j
                break
        if covered:
            continue
        for g in range(groups):
            apart = False
            for c in range(width):
                if least[g, c] > rows[i, c]:
                    apart = True
                    break
            if apart:
                continue
            mask[:] = 1
            left = 1
            for c in range(width):
                value = rows[i, c]
                column = kept[g, c]
                left = 0
                for l in range(64):
                    below_here = mask[l] if column[l] <= value else 0
                    mask[l] = below_here
                    left += below_here
                if left == 0:
                    break
            if left == 0:
                continue
            for l in range(filled[g]):
                if mask[l] and _divides(extents, i, owner[g, l], trips):
                    covered = True
                    if known < 32:
                        known += 1
                    lately[known - 1] = owner[g, l]
                    break
            if covered:
                break
        if not covered:
            bucket = 0
            for c in range(bits):
                bucket = 2 * bucket + (1 if rows[i, c] > middle[c] else 0)
            g = open_group[bucket]
            if g < 0 or filled[g] == 64:
                g = groups
                groups += 1
                open_group[bucket] = g
            for c in range(width):
                kept[g, c, filled[g]] = rows[i, c]
                least[g, c] = min(least[g, c], rows[i, c])
            owner[g, filled[g]] = i
            filled[g] += 1
            which[i] = True
    return which


def non_dominated(rows: Floats, extents: Ints, trips: Ints) -> Ints:
    """Ascending indices of the rows that no other row covers; the first of equal rows stays.

    A row covers another if it is <= in every column and each of its extents divides the other's, or the other's are all
    trips. Rows are visited in the order of the sum of their columns' ranks, which is strictly monotone under that relation. Of
    columns that order the rows alike one is compared.
    """
    if not len(rows):
        return np.zeros(0, np.int64)
    both = np.concatenate([rows, extents], axis=1)
    both = both[:, (both != both[:1]).any(axis=0)]
    if not both.shape[1]:
        return np.zeros(1, np.int64)
    different = {}
    for c in range(both.shape[1]):
        column = np.unique(both[:, c], return_inverse=True)[1]
        different[column.tobytes()] = column
    ranks = np.stack(list(different.values()), axis=1)
    order = np.argsort(ranks.sum(axis=1), kind="stable")
    # columns that vary most are compared first: most comparisons then end after one or two
    columns = np.argsort(-ranks.max(axis=0), kind="stable")
    narrow = np.uint16 if ranks.max() < 65535 else np.uint32
    sorted_rows = np.ascontiguousarray(ranks[order][:, columns].astype(narrow))
    bits = int(np.clip(np.log2(len(rows) / 128 + 1), 0, min(6, len(columns))))
    middle = np.median(sorted_rows, axis=0).astype(np.int64)
    kept = _sweep(sorted_rows, extents[order], trips, int(np.iinfo(narrow).max), middle, bits)
    return np.sort(order[kept])
