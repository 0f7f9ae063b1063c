"""The compiled lookup: every pair of a job and a design walks the table of the job's nest and keeps the best mapping.

A row of a table is a family of mappings: all its growths are fixed but for one, the elastic one, which takes what room there is.
With n trips left outside of the elastic cut, everything that a mapping moves is ``counts + n * slopes``, and with a size of k
inner tiles its tiles are ``tiles + k * widths``; so the largest k that fits, and with it the fewest trips n, follow without a
search.

Rows are worked on several at a time, each in the same order of columns, and a later one wins only if it is strictly better (of
equal latency, if it takes less energy), so ties go to the lowest row. A pair is always computed by one thread: results are
bit-identical for any number of threads and whatever stands beside a pair. More room, fewer bits and lower prices never cost more,
as n never rises and slopes are >= 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner, outer
from dse.mapping.best.records import FIRST
from dse.types import Floats, Ints

#: Blocks that come out of rounding alone.
ROUNDING = 1e-9


class Rows(NamedTuple):
    """Tables, one after the other; what a table has by row lies row beside row, so that rows are worked on several at a time.

    first, rows: by table, its first row and how many there are. smallest: how many of them, the first ones, have the smallest
    tiles of the fullest array: where none of these fits, the memories are too small. start: by table, its first count. columns,
    column: by table how many columns, and its first one. memory, kind, writes: of each column. counts, slopes: (table, column, row)
    flat. tiles, widths, finished: (table, slot, row) flat. trips, least: by row, trips of the elastic dim outside of its inner
    tiles, and the fewest that may be left of them; 1 without an elastic growth. other, reduced: by row, steps over the dims of the
    accumulated tensor and over the reduced ones. slot_memory: by slot.
    """

    first: Ints
    rows: Ints
    smallest: Ints
    start: Ints
    columns: Ints
    column: Ints
    memory: Ints
    kind: Ints
    writes: Ints
    counts: Floats
    slopes: Floats
    tiles: Floats
    widths: Floats
    finished: npt.NDArray[np.bool_]
    trips: Floats
    least: Floats
    other: Floats
    reduced: Floats
    slot_memory: Ints


class Formats(NamedTuple):
    """Jobs. table: place of its nest's table. bits, dram_bits: (job, class) of an element, on the chip and in DRAM. kept, word:
    (job, slot) bits that an element takes, and that a finished result takes. step, lanes: (job, pair) cycles per step times the
    share of the MACs, and operand pairs per step."""

    table: Ints
    bits: Floats
    dram_bits: Floats
    kept: Floats
    word: Floats
    step: Floats
    lanes: Floats


class Designs(NamedTuple):
    """Designs. read, write: (design, memory) energy per bit. width: bits per cycle of all instances. capacity: bits of one
    instance.
    leak: energy per cycle. base: (design, job) energy that no mapping changes. block: bits that a memory moves at once, 0 for any
    number."""

    read: Floats
    write: Floats
    width: Floats
    capacity: Floats
    leak: Floats
    base: Floats
    block: Floats


class Best(NamedTuple):
    """Results by (design, job). row: best row, -1 where none fits. left: trips left outside of its elastic growth. bound: 0
    compute, 1 + m memory m. parts: energy by memory. traffic: bits by memory. short, missing: where none fits, the memory that
    lacks most and the bits that it lacks, for the mapping that lacks least."""

    row: Ints
    left: Ints
    energy: Floats
    cycles: Floats
    bound: Ints
    parts: Floats
    traffic: Floats
    short: Ints
    missing: Floats


class Scratch(NamedTuple):
    """Of one thread. price, time, block: by column, energy and cycles of an element, elements of a block (0: any number). By row:
    left, trips left outside of the elastic growth, 0 where the smallest tiles do not fit; energy, cycles, value; need, grow: bits
    of a memory that the inner tiles take, and that each more of them takes. busy: (memory, row) cycles."""

    price: Floats
    time: Floats
    block: Floats
    left: Floats
    energy: Floats
    cycles: Floats
    value: Floats
    need: Floats
    grow: Floats
    busy: Floats


@inner
def scratch_of(rows: Rows, memories: int) -> Scratch:
    """Scratch for the largest table."""
    columns = 0
    n = 0
    for t in range(len(rows.rows)):
        columns = max(columns, rows.columns[t])
        n = max(n, rows.rows[t])
    return Scratch(
        np.empty(columns), np.empty(columns), np.zeros(columns), np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n),
        np.empty(n), np.empty((memories, n)),
    )  # fmt: skip


@inner
def fewest_trips(rows: Rows, t: int, kept: Floats, word: Floats, capacity: Floats, scratch: Scratch) -> None:
    """Trips left outside of each row's elastic growth if it takes all the room there is, in ``scratch.left``; 0 if not even its
    smallest tiles fit."""
    n = rows.rows[t]
    trips = rows.trips[rows.first[t] : rows.first[t] + n]
    least = rows.least[rows.first[t] : rows.first[t] + n]
    left, need, grow = scratch.left, scratch.need, scratch.grow
    for i in range(n):
        left[i] = trips[i]  # the size that fits, until the end
    for m in range(len(capacity) - 1):
        room = capacity[m]
        for i in range(n):
            need[i] = 0.0
            grow[i] = 0.0
        for s in range(len(rows.slot_memory)):
            if rows.slot_memory[s] != m:
                continue
            at = rows.first[t] * len(rows.slot_memory) + s * n
            tiles, widths, finished = rows.tiles[at : at + n], rows.widths[at : at + n], rows.finished[at : at + n]
            for i in range(n):
                bits = word[s] if finished[i] else kept[s]
                need[i] += tiles[i] * bits
                grow[i] += widths[i] * bits
        for i in range(n):
            # the smallest size of the elastic growth is one inner tile
            if need[i] + grow[i] - room > 0.0:
                left[i] = 0.0
            elif grow[i] > 0.0:
                left[i] = min(left[i], max(np.floor((room - need[i]) / grow[i]), 1.0))
    for i in range(n):
        if left[i] > 0.0:
            left[i] = max(np.ceil(trips[i] / left[i]), least[i])


@inner
def in_blocks(moved: float, block: float) -> float:
    """Elements in whole blocks; a share of a block below rounding counts as none."""
    return moved if block == 0.0 else np.ceil(moved / block - ROUNDING) * block


@inner
def values_of(
    rows: Rows, t: int, base: float, leak: float, step: Floats, lanes: Floats, objective: int, overlap: bool, scratch: Scratch
) -> None:  # fmt: skip
    """Energy, cycles and value of all rows of a table with the trips of ``scratch.left``; each row's sums run in the order of the
    columns."""
    n = rows.rows[t]
    other = rows.other[rows.first[t] : rows.first[t] + n]
    reduced = rows.reduced[rows.first[t] : rows.first[t] + n]
    left, energy, cycles, value = scratch.left, scratch.energy, scratch.cycles, scratch.value
    memories = len(scratch.busy)
    for i in range(n):
        energy[i] = base
        cycles[i] = 0.0
    for m in range(memories):
        busy = scratch.busy[m]
        for i in range(n):
            busy[i] = 0.0
    for j in range(rows.columns[t]):
        at = rows.start[t] + j * n
        counts, slopes = rows.counts[at : at + n], rows.slopes[at : at + n]
        busy = scratch.busy[rows.memory[rows.column[t] + j]]
        price = scratch.price[j]
        time = scratch.time[j]
        block = scratch.block[j]
        if block == 0.0:
            for i in range(n):
                moved = counts[i] + left[i] * slopes[i]
                energy[i] += moved * price
                busy[i] += moved * time
        else:
            for i in range(n):
                moved = in_blocks(counts[i] + left[i] * slopes[i], block)
                energy[i] += moved * price
                busy[i] += moved * time
    for q in range(len(step)):
        for i in range(n):
            cycles[i] += step[q] * (other[i] * np.ceil(reduced[i] / lanes[q]))
    for m in range(memories):
        busy = scratch.busy[m]
        for i in range(n):
            cycles[i] = max(cycles[i], busy[i]) if overlap else cycles[i] + busy[i]
    for i in range(n):
        energy[i] += leak * cycles[i]
        value[i] = energy[i] if objective == 0 else (cycles[i] if objective == 1 else energy[i] * cycles[i])


@inner
def lacking(rows: Rows, t: int, kept: Floats, word: Floats, capacity: Floats) -> tuple[int, float]:
    """The memory that lacks most, and the bits that it lacks, for that of a table's smallest mappings which lacks least."""
    n = rows.rows[t]
    short = -1
    missing = np.inf
    for i in range(rows.smallest[t]):
        most = 0.0
        where = -1
        for m in range(len(capacity) - 1):
            need = 0.0
            grow = 0.0
            for s in range(len(rows.slot_memory)):
                if rows.slot_memory[s] == m:
                    at = rows.first[t] * len(rows.slot_memory) + s * n + i
                    bits = word[s] if rows.finished[at] else kept[s]
                    need += rows.tiles[at] * bits
                    grow += rows.widths[at] * bits
            if need + grow - capacity[m] > most:
                most = need + grow - capacity[m]
                where = m
        if most < missing:
            missing = most
            short = where
    return short, missing


@outer
def best_of(
    rows: Rows, formats: Formats, designs: Designs, objective: int, overlap: bool, pairs: Ints, out: Best
) -> None:
    """Fill the results of pairs; pair = job * designs + design, ascending, so that a table is read while it is near."""
    count = len(designs.leak)
    memories = designs.read.shape[1]
    scratch = scratch_of(rows, memories)
    for pair in pairs:
        d = pair % count
        u = pair // count
        t = formats.table[u]
        n = rows.rows[t]
        k = rows.columns[t]
        for j in range(k):
            c = rows.column[t] + j
            m = rows.memory[c]
            bits = formats.dram_bits[u, rows.kind[c]] if m == memories - 1 else formats.bits[u, rows.kind[c]]
            scratch.price[j] = bits * (designs.write[d, m] if rows.writes[c] == 1 else designs.read[d, m])
            scratch.time[j] = bits / designs.width[d, m]
            scratch.block[j] = designs.block[d, m] / bits if bits > 0.0 else 0.0
        fewest_trips(rows, t, formats.kept[u], formats.word[u], designs.capacity[d], scratch)
        fits = False
        for i in range(rows.smallest[t]):
            fits = fits or scratch.left[i] > 0.0
        if not fits:
            out.short[d, u], out.missing[d, u] = lacking(rows, t, formats.kept[u], formats.word[u], designs.capacity[d])
            continue
        values_of(
            rows, t, designs.base[d, u], designs.leak[d], formats.step[u], formats.lanes[u], objective, overlap, scratch
        )
        row = -1
        best = np.inf
        for i in range(n):
            v = scratch.value[i]
            if scratch.left[i] == 0.0 or not v <= best:
                continue
            if v < best or (objective == 1 and row >= 0 and scratch.energy[i] < scratch.energy[row]):
                row = i
                best = v
        if row < 0:
            continue
        left = scratch.left[row]
        out.row[d, u] = row
        out.left[d, u] = np.int64(left)
        out.energy[d, u] = scratch.energy[row]
        out.cycles[d, u] = scratch.cycles[row]
        out.bound[d, u] = bound_of(rows, t, row, formats.step[u], formats.lanes[u], scratch)
        for j in range(k):
            c = rows.column[t] + j
            m = rows.memory[c]
            moved = rows.counts[rows.start[t] + j * n + row] + left * rows.slopes[rows.start[t] + j * n + row]
            moved = in_blocks(moved, scratch.block[j])
            out.parts[d, u, m] += moved * scratch.price[j]
            out.traffic[d, u, m] += moved * (
                formats.dram_bits[u, rows.kind[c]] if m == memories - 1 else formats.bits[u, rows.kind[c]]
            )


@inner
def bound_of(rows: Rows, t: int, row: int, step: Floats, lanes: Floats, scratch: Scratch) -> int:
    """What a row's time follows: 0 compute, 1 + m memory m."""
    longest = 0.0
    for q in range(len(step)):
        at = rows.first[t] + row
        longest += step[q] * (rows.other[at] * np.ceil(rows.reduced[at] / lanes[q]))
    slowest = 0
    for m in range(len(scratch.busy)):
        if scratch.busy[m, row] > longest:
            longest = scratch.busy[m, row]
            slowest = 1 + m
    return slowest


@outer
def winners(
    rows: Rows, points: npt.NDArray[np.void], capacity: Floats, kept: Floats, word: Floats, best: Ints, lefts: Ints,
    value: Floats,
) -> None:  # fmt: skip
    """By point the best rows, ascending in value, of the only table, and the trips that they leave: (points, places). The
    arrays are those of the points."""
    places = best.shape[1]
    scratch = scratch_of(rows, capacity.shape[1])
    step = np.empty(1)
    lanes = np.empty(1)
    for p in range(len(points)):
        point: Record = points[p]
        for j in range(rows.columns[0]):
            m = rows.memory[j]
            c = rows.kind[j]
            scratch.price[j] = point.write[m, c] if rows.writes[j] == 1 else point.read[m, c]
            scratch.time[j] = point.time[m, c]
        step[0] = point.step
        lanes[0] = point.lanes
        for x in range(places):
            best[p, x] = -1
            value[p, x] = np.inf
        fewest_trips(rows, FIRST, kept[p], word[p], capacity[p], scratch)
        values_of(rows, FIRST, point.base, point.leak, step, lanes, point.objective, point.overlap == 1, scratch)
        for i in range(rows.rows[0]):
            v = scratch.value[i]
            if scratch.left[i] == 0.0 or not v < value[p, places - 1]:
                continue
            x = places - 1
            while x > 0 and value[p, x - 1] > v:
                value[p, x] = value[p, x - 1]
                best[p, x] = best[p, x - 1]
                lefts[p, x] = lefts[p, x - 1]
                x -= 1
            value[p, x] = v
            best[p, x] = i
            lefts[p, x] = np.int64(scratch.left[i])
