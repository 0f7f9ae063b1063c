"""What a mapping moves, takes and costs, compiled: tiles at the cuts, elements over every link, and the value that is minimized.

The figures are those of :func:`dse.mapping.explicit.counts.counts_of` for the same loops, to the integer, but where rows or columns
are unrolled above a private tile of X that they do not divide (see :mod:`dse.mapping.best.tables.table`).
"""

from __future__ import annotations

import numpy as np

from dse.mapping.best.compiled import Record, inner
from dse.mapping.best.records import (
    ACTIVATION,
    CLASSES,
    DRAM,
    MAC,
    MAC_ACTIVATION,
    MAC_SUM,
    MAC_WEIGHT,
    NONE,
    PARTIAL,
    RESULT,
    SIZES,
    WEIGHT,
)

KINDS = len(CLASSES)


@inner
def grow(case: Record, state: Record, work: Record, s: int) -> None:
    """Grow ``work.extents`` at a slot: to whole inner tiles that leave at most so many trips."""
    for k in range(case.moving):
        d = case.loops[k]
        left = state.left[s, d]
        if left > 0.0:
            x = work.extents[d]
            rest = np.ceil(case.trips[d] / x)
            if left < rest:
                work.extents[d] = min(case.trips[d], x * np.ceil(rest / left))


@inner
def place(case: Record, point: Record, state: Record, work: Record) -> float:
    """Extents at the cuts, tiles, and the bits that are missing in all memories together; infinite for what is not allowed."""
    for d in range(7):
        work.extents[d] = 1.0
        work.cuts[DRAM, d] = case.trips[d]
    for m in range(case.memories):
        work.need[m] = 0.0
    allowed = True
    for i in range(case.slots + 1):
        if i == state.inner:
            grow(case, state, work, MAC)
            for d in range(7):
                work.cuts[MAC, d] = work.extents[d]
        if i == case.slots or state.held[state.order[i]] == 0:
            continue
        s = state.order[i]
        grow(case, state, work, s)
        t = case.tensor[case.role[s]]
        tile = case.still[s, 0]
        rows = case.still[s, 1]
        columns = case.still[s, 2]
        for d in range(7):
            work.cuts[s, d] = work.extents[d]
        for k in range(case.moving):
            d = case.loops[k]
            x = work.extents[d]
            if case.sizes[d, 0] > 0.0 and x > 1.0 and x < case.trips[d]:
                known = False
                for j in range(SIZES):
                    known = known or case.sizes[d, j] == x
                allowed = allowed and known
            if case.relevant[t, d] == 1:
                x = min(case.bounds[d], x * case.inside[s, d])
                if t != 1 or d < 3:
                    tile *= x
                elif d == 3 or d == 5:
                    rows += (x - 1.0) * case.window[0 if d == 3 else 2]
                else:
                    columns += (x - 1.0) * case.window[1 if d == 4 else 3]
        work.position[s] = i
        if t == 1:
            tile *= (rows + 1.0) * (columns + 1.0)
        work.tile[s] = tile
        work.finished[s] = 0
    below = NONE
    for s in range(case.slots):
        if state.held[s] == 1:
            if case.role[s] == 2:
                if below >= 0 and case.top[below] == 1:
                    work.finished[s] = finished(case, state, work, below, s)
                below = s
            bits = point.finished[s] if work.finished[s] == 1 else point.kept[s]
            work.need[case.memory[s]] += work.tile[s] * bits
    missing = 0.0 if allowed else np.inf
    for m in range(case.memories):
        missing += max(work.need[m] - point.capacity[m], 0.0)
    return missing


@inner
def finished(case: Record, state: Record, work: Record, child: int, parent: int) -> int:
    """1 if no partial sum crosses a link above the array: its outer memory holds finished results only."""
    t = case.tensor[2]
    with_run(case, state, work, child, t)
    crossing(case, work, t, child, parent)
    return 1 if work.above <= first_touch(case, work, t, child, child, parent) else 0


@inner
def pieces(case: Record, d: int, extent: float, row: int) -> float:
    """(tile, instance) pairs over a dim cut into tiles of ``extent`` trips, at the instances of a slot.

    Elements are dealt to the PEs one by one, so that the last tiles, if they are smaller, are spread over as many instances as they
    have elements for.
    """
    bound = case.bounds[d]
    if case.spatial[d] == 1.0:
        return float(np.ceil(bound / extent))
    apart = case.apart[row, d]
    whole = extent * case.spatial[d]
    if apart == 1.0:
        return float(np.ceil(bound / whole))
    full = np.floor(bound / whole)
    return float(full * apart + min(np.ceil((bound - full * whole) / case.inside[row, d]), apart))


@inner
def lines(case: Record, p: int, outputs: float, filters: float) -> float:
    """Rows (p = 3) or columns (p = 4) that windows cover, summed over so many pieces of output and filter."""
    stride = case.window[p - 3]
    dilation = case.window[p - 1]
    return float(
        filters * stride * (case.bounds[p] - outputs)
        + outputs * dilation * (case.bounds[p + 2] - filters)
        + outputs * filters
    )


@inner
def crossing(case: Record, work: Record, t: int, child: int, parent: int) -> None:
    """Elements of a tensor over a link for tiles of ``work.run``: merged below the parent, and in every instance of the child.

    Of X, instances read the union of their boxes; boxes with gaps between them count one by one: a stride leaves gaps between
    neighbouring outputs where the filter rows at hand do not reach from one to the next, a dilation between neighbouring filter
    rows.
    """
    above = case.size[t] * case.once[parent, t]
    below = case.size[t] * case.once[child, t]
    for k in range(case.moving):
        d = case.loops[k]
        if case.relevant[t, d] == 0:
            n = pieces(case, d, work.run[d], parent)
            above *= n
            if case.apart[parent, d] != case.apart[child, d]:
                n = pieces(case, d, work.run[d], child)
            below *= n
    if t == 1:
        for p in range(3, 5):
            r = p + 2
            if case.bounds[p] == 1.0 and case.bounds[r] == 1.0:
                continue
            outputs = pieces(case, p, work.run[p], child)
            filters = pieces(case, r, work.run[r], child)
            below *= lines(case, p, outputs, filters)
            reach = (min(case.bounds[r], work.run[r] * case.spatial[r]) - 1.0) * case.window[p - 1] + 1.0
            if case.window[p - 3] <= reach:
                outputs = pieces(case, p, work.run[p], parent)
            reach = (min(case.bounds[p], work.run[p] * case.spatial[p]) - 1.0) * case.window[p - 3] + 1.0
            if case.window[p - 1] <= reach:
                filters = pieces(case, r, work.run[r], parent)
            above *= lines(case, p, outputs, filters)
    work.above = above
    work.below = below


@inner
def first_touch(case: Record, work: Record, t: int, cut: int, child: int, apart: int) -> float:
    """Elements of the accumulated tensor that tiles touch a first time, counted in instances as far apart as those of ``apart``.

    For W and Y every element is touched once per sweep. For X it is the union of the windows' boxes: a stride that is larger
    than the filter leaves gaps that small tiles skip and large tiles carry along. A cut of MAC is a tile of one element.
    """
    total = case.touched[apart]
    if t != 1:
        return float(total)
    for p in range(3, 5):
        r = p + 2
        if case.bounds[p] == 1.0 and case.bounds[r] == 1.0:
            continue
        extent = 1.0 if cut == MAC else work.cuts[cut, p]
        gaps = case.window[p - 3] > (case.bounds[r] - 1.0) * case.window[p - 1] + 1.0
        boxes = pieces(case, p, extent, child if gaps else apart)
        outputs = pieces(case, p, case.trips[p], apart)
        filters = pieces(case, r, case.trips[r], apart)
        total *= min(lines(case, p, boxes, filters), lines(case, p, outputs, filters))
    return float(total)


@inner
def with_run(case: Record, state: Record, work: Record, child: int, t: int) -> None:
    """``work.run``: the extents of a cut together with its run. Of the MAC: the innermost run."""
    start = 0
    for d in range(7):
        work.run[d] = 1.0 if child == MAC else work.cuts[child, d]
    if child != MAC:
        start = work.position[child] + 1
    for i in range(start, case.slots + 1):
        for part in range(2):
            if part == 0:
                s = MAC if i == state.inner else NONE
            elif i == case.slots:
                s = DRAM
            else:
                s = state.order[i] if state.held[state.order[i]] == 1 else NONE
            if s < 0:
                continue
            for k in range(case.moving):
                d = case.loops[k]
                if work.cuts[s, d] > work.run[d]:
                    if case.relevant[t, d] == 1:
                        return
                    work.run[d] = work.cuts[s, d]


@inner
def count(case: Record, state: Record, work: Record) -> None:
    """Elements read and written, by memory and class, of a placed state."""
    for m in range(case.memories + 1):
        for c in range(KINDS):
            work.reads[m, c] = 0.0
            work.writes[m, c] = 0.0
    for r in range(3):
        t = case.tensor[r]
        child = MAC
        for i in range(case.slots + 1):
            parent = DRAM if i == case.slots else i
            if i < case.slots and (case.role[i] != r or state.held[i] == 0):
                continue
            if r == 2 and child == MAC:
                for d in range(7):
                    work.run[d] = 1.0
            else:
                with_run(case, state, work, child, t)
            crossing(case, work, t, child, parent)
            _book(case, work, r, t, child, parent)
            child = parent


@inner
def _book(case: Record, work: Record, r: int, t: int, child: int, parent: int) -> None:
    """Book what crosses a link at the memories of both ends. The first read of a partial sum is elided."""
    up = case.memory[parent]
    if r < 2:
        if child == MAC:
            work.reads[up, MAC_WEIGHT if r == 0 else MAC_ACTIVATION] += work.above
        else:
            work.reads[up, WEIGHT if r == 0 else ACTIVATION] += work.above
            work.writes[case.memory[child], WEIGHT if r == 0 else ACTIVATION] += work.below
        return
    if child == MAC:
        sums = np.rint(work.above * case.packed)
        work.writes[up, MAC_SUM] += sums
        work.reads[up, MAC_SUM] += max(sums - first_touch(case, work, t, MAC, child, parent), 0.0)
        return
    down = case.memory[child]
    done = first_touch(case, work, t, child, child, parent)
    first = first_touch(case, work, t, child, child, child)
    partial = max(work.above - done, 0.0)
    again = max(work.below - first, 0.0)
    work.writes[up, PARTIAL] += partial
    work.reads[up, PARTIAL] += partial
    work.writes[up, RESULT if case.top[child] == 1 or parent == DRAM else PARTIAL] += done
    work.writes[down, PARTIAL] += again
    work.reads[down, PARTIAL] += again
    work.reads[down, RESULT if case.top[child] == 1 else PARTIAL] += first


@inner
def value(case: Record, point: Record, state: Record, work: Record) -> float:
    """What is minimized; infinite where the state does not fit."""
    if place(case, point, state, work) > 0.0:
        return np.inf
    return price(case, point, state, work)


@inner
def price(case: Record, point: Record, state: Record, work: Record) -> float:
    """The value of a placed state as if it fitted. Of equal latency the lower energy is better by a millionth."""
    count(case, state, work)
    energy = point.base
    cycles = point.step * (case.other * np.ceil(case.reduced / point.lanes))
    for m in range(case.memories + 1):
        busy = 0.0
        for c in range(KINDS):
            reads = work.reads[m, c]
            writes = work.writes[m, c]
            if reads + writes > 0.0:
                energy += reads * point.read[m, c] + writes * point.write[m, c]
                busy += (reads + writes) * point.time[m, c]
        cycles = max(cycles, busy) if point.overlap == 1 else cycles + busy
    energy += point.leak * cycles
    work.energy = energy
    work.cycles = cycles
    if point.objective == 0:
        return float(energy)
    if point.objective == 1:
        return float(cycles * (1.0 + 1e-6 * energy / (energy + point.base + 1.0)))
    return float(energy * cycles)
