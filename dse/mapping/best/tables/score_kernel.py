"""The compiled lookup: every pair of a job and a design walks the table of the job's nest and keeps the best mapping.

A row of a table is a family of mappings: all its growths are fixed but for one, the elastic one, which takes what room there is.
With n trips left outside of the elastic cut, everything that a mapping moves is ``counts + n * slopes``, and with a size of k
inner tiles its tiles are ``tiles + k * widths``; so the largest k that fits, and with it the fewest trips n, follow without a
search.

Rows are visited in a fixed order and a later one wins only if it is strictly better (of equal latency, if it takes less energy),
so ties go
to the lowest row, and a pair is always computed by one thread: results are bit-identical for any number of threads and whatever
stands beside a pair. More room, fewer bits and lower prices never cost more, as n never rises and slopes are >= 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from dse.mapping.best.count_kernel import Record
from dse.types import Floats, Ints


class Rows(NamedTuple):
    """Tables, one after the other.

    first, rows: by table, its first row and how many there are. smallest: how many of them, the first ones, have the smallest
    tiles of the
    fullest array: where none of these fits, the memories are too small. start: by table, its first count. columns, column: by
    table how many columns, and its first one. memory, kind, writes: of each column. counts, slopes: (row, column) flat. tiles,
    widths, finished: (row, slot). trips, least: by row, trips of the elastic dim outside of its inner tiles, and the fewest that
    may be left of them; 1 without an elastic growth. steps: (row, 2).
    slot_memory: by slot.
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
    steps: Floats
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
    leak: energy per cycle. base: (design, job) energy that no mapping changes."""

    read: Floats
    write: Floats
    width: Floats
    capacity: Floats
    leak: Floats
    base: Floats


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
    """Of one thread. energy, time: by column. busy, need, grow: by memory. result: value, energy, cycles, trips left; bits
    missing."""

    energy: Floats
    time: Floats
    busy: Floats
    need: Floats
    grow: Floats
    result: Floats
    bound: Ints


@njit(cache=True, nogil=True, error_model="numpy")
def fewest_trips(rows: Rows, row: int, kept: Floats, word: Floats, capacity: Floats, scratch: Scratch) -> float:
    """Trips left outside of a row's elastic growth if it takes all the room there is; 0 if not even its smallest tiles fit, with
    the bits that are missing in ``scratch.result[4]`` and the memory in ``scratch.bound[1]``."""
    memories = len(capacity) - 1
    for m in range(memories):
        scratch.need[m] = 0.0
        scratch.grow[m] = 0.0
    for s in range(len(rows.slot_memory)):
        bits = word[s] if rows.finished[row, s] else kept[s]
        m = rows.slot_memory[s]
        scratch.need[m] += rows.tiles[row, s] * bits
        scratch.grow[m] += rows.widths[row, s] * bits
    trips = rows.trips[row]
    size = trips
    lacking = 0.0
    for m in range(memories):
        # the smallest size of the elastic growth is one inner tile
        short = scratch.need[m] + scratch.grow[m] - capacity[m]
        if short > lacking:
            lacking = short
            scratch.bound[1] = m
        if scratch.grow[m] > 0.0:
            size = min(size, np.floor((capacity[m] - scratch.need[m]) / scratch.grow[m]))
    scratch.result[4] = lacking
    if lacking > 0.0:
        return 0.0
    return float(max(np.ceil(trips / max(size, 1.0)), rows.least[row]))


@njit(cache=True, nogil=True, error_model="numpy")
def value_of(
    rows: Rows, t: int, i: int, left: float, base: float, leak: float, step: Floats, lanes: Floats, objective: int, overlap: bool,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Value, energy and cycles of a row with so many trips left, in ``scratch.result``; what its time follows in
    ``scratch.bound[0]``."""
    row = rows.first[t] + i
    k = rows.columns[t]
    for m in range(len(scratch.busy)):
        scratch.busy[m] = 0.0
    energy = base
    at = rows.start[t] + i * k
    for j in range(k):
        n = rows.counts[at + j] + left * rows.slopes[at + j]
        energy += n * scratch.energy[j]
        scratch.busy[rows.memory[rows.column[t] + j]] += n * scratch.time[j]
    cycles = 0.0
    for q in range(len(step)):
        cycles += step[q] * (rows.steps[row, 0] * np.ceil(rows.steps[row, 1] / lanes[q]))
    slowest = 0
    longest = cycles
    for m in range(len(scratch.busy)):
        if scratch.busy[m] > longest:
            longest = scratch.busy[m]
            slowest = 1 + m
        if overlap:
            cycles = max(cycles, scratch.busy[m])
        else:
            cycles += scratch.busy[m]
    energy += leak * cycles
    scratch.result[0] = energy if objective == 0 else (cycles if objective == 1 else energy * cycles)
    scratch.result[1] = energy
    scratch.result[2] = cycles
    scratch.bound[0] = slowest


@njit(cache=True, nogil=True, error_model="numpy")
def scratch_of(columns: int, memories: int) -> Scratch:
    """Scratch of a thread."""
    return Scratch(
        np.zeros(columns), np.zeros(columns), np.zeros(memories), np.zeros(memories), np.zeros(memories), np.zeros(5),
        np.zeros(2, np.int64),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def best_of(
    rows: Rows, formats: Formats, designs: Designs, objective: int, overlap: bool, start: int, stop: int, out: Best
) -> None:
    """Fill the results of pairs ``start`` to ``stop``; pair = design * jobs + job."""
    jobs = len(formats.table)
    memories = designs.read.shape[1]
    most = 0
    for t in range(len(rows.columns)):
        most = max(most, rows.columns[t])
    scratch = scratch_of(most, memories)
    for pair in range(start, stop):
        d = pair // jobs
        u = pair % jobs
        t = formats.table[u]
        k = rows.columns[t]
        for j in range(k):
            c = rows.column[t] + j
            m = rows.memory[c]
            bits = formats.dram_bits[u, rows.kind[c]] if m == memories - 1 else formats.bits[u, rows.kind[c]]
            scratch.energy[j] = bits * (designs.write[d, m] if rows.writes[c] == 1 else designs.read[d, m])
            scratch.time[j] = bits / designs.width[d, m]
        best = np.inf
        second = np.inf
        least = np.inf
        fits = False
        for i in range(rows.rows[t]):
            if i == rows.smallest[t] and not fits:
                break
            left = fewest_trips(rows, rows.first[t] + i, formats.kept[u], formats.word[u], designs.capacity[d], scratch)
            if left == 0.0:
                if i < rows.smallest[t] and scratch.result[4] < least:
                    least = scratch.result[4]
                    out.short[d, u] = scratch.bound[1]
                    out.missing[d, u] = least
                continue
            fits = True
            value_of(
                rows, t, i, left, designs.base[d, u], designs.leak[d], formats.step[u], formats.lanes[u], objective,
                overlap, scratch,
            )  # fmt: skip
            v = scratch.result[0]
            other = scratch.result[1] if objective == 1 else 0.0
            if v < best or (v == best and other < second):
                best = v
                second = other
                out.row[d, u] = i
                out.left[d, u] = np.int64(left)
                out.energy[d, u] = scratch.result[1]
                out.cycles[d, u] = scratch.result[2]
                out.bound[d, u] = scratch.bound[0]
        if out.row[d, u] < 0:
            continue
        at = rows.start[t] + out.row[d, u] * k
        for j in range(k):
            c = rows.column[t] + j
            m = rows.memory[c]
            n = rows.counts[at + j] + out.left[d, u] * rows.slopes[at + j]
            out.parts[d, u, m] += n * scratch.energy[j]
            out.traffic[d, u, m] += n * (
                formats.dram_bits[u, rows.kind[c]] if m == memories - 1 else formats.bits[u, rows.kind[c]]
            )


@njit(cache=True, nogil=True, error_model="numpy")
def winners(
    rows: Rows, points: npt.NDArray[np.void], capacity: Floats, kept: Floats, word: Floats, best: Ints, lefts: Ints,
    value: Floats,
) -> None:  # fmt: skip
    """By point the best rows, ascending in value, of the only table, and the trips that they leave: (points, places). The
    arrays are those of the points."""
    places = best.shape[1]
    k = rows.columns[0]
    scratch = scratch_of(k, capacity.shape[1])
    step = np.empty(1)
    lanes = np.empty(1)
    for p in range(len(points)):
        point: Record = points[p]
        for j in range(k):
            m = rows.memory[j]
            c = rows.kind[j]
            scratch.energy[j] = point.write[m, c] if rows.writes[j] == 1 else point.read[m, c]
            scratch.time[j] = point.time[m, c]
        step[0] = point.step
        lanes[0] = point.lanes
        for x in range(places):
            best[p, x] = -1
            value[p, x] = np.inf
        for i in range(rows.rows[0]):
            left = fewest_trips(rows, i, kept[p], word[p], capacity[p], scratch)
            if left == 0.0:
                continue
            value_of(
                rows, 0, i, left, point.base, point.leak, step, lanes, point.objective, point.overlap == 1, scratch
            )
            v = scratch.result[0]
            if not v < value[p, places - 1]:
                continue
            x = places - 1
            while x > 0 and value[p, x - 1] > v:
                value[p, x] = value[p, x - 1]
                best[p, x] = best[p, x - 1]
                lefts[p, x] = lefts[p, x - 1]
                x -= 1
            value[p, x] = v
            best[p, x] = i
            lefts[p, x] = np.int64(left)
