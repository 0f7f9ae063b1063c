"""The compiled scoring loop: every (table, point) pair walks its table in blocks and keeps the best candidate.

Layout. Three were measured with 8,000 candidates, 12 columns, 5 slots and nothing skipped, million candidates per CPU second on a
loaded machine: one candidate at a time over a ``(candidate, column)`` row 80; column after column over a whole
``(column, candidate)`` table 144; the same in blocks of 64 candidates 126. Blocks are used: they allow the bound below, which
leaves out about two thirds of the candidates of ResNet-50's training.

Exact skipping. Each block carries the smallest value of every column and tile. Scored like a candidate, with the same
operations in the same order, they give a value that no candidate of the block undercuts, to the last bit: sums,
products and maxima of numbers >= 0 are monotone under rounding. A block whose bound does not beat the best so far is
skipped. Candidates are visited in a fixed order and a later one wins only if it is strictly better, so ties go to
the lowest index, and a pair is always computed by one thread: results are bit-identical for any number of threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, prange

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 64


@njit(cache=True)
def _value(objective: int, energy: float, cycles: float) -> float:
    if objective == 0:
        return energy
    if objective == 1:
        return cycles
    return energy * cycles


@njit(cache=True)
def _compute(step: Floats, lanes: Floats, other: float, reduced: float) -> float:
    """Compute cycles of a candidate: the sum over the width pairs of its MACs (one, without block-wise precision)."""
    total = 0.0
    for q in range(len(step)):
        total += step[q] * (other * np.ceil(reduced / lanes[q]))
    return total


@njit(cache=True, parallel=True)
def score_pairs(
    basis: Floats, basis_min: Floats, tiles: Floats, tiles_min: Floats, steps: Floats, steps_min: Floats,
    at: Ints, column: Ints, constant: Floats, slot_memory: Ints,
    energy: Floats, base_energy: Floats, step_cycles: Floats, lanes: Floats, cycles: Floats, bits: Floats,
    capacity: Floats, leakage: Floats, objective: int, overlap: bool, points: int,
) -> tuple[Ints, Floats, Floats, Ints, Ints, Floats, Ints]:  # fmt: skip
    """Best candidate of every (table, point) pair.

    ``at`` has one row per table: 0 candidates, 1 offset and 2 number of basis columns, 3 offset of basis minima, 4 offset and
    5 number of slots, 6 offset of tile minima, 7 offset of steps, 8 offset of step minima, 9 offset and 10 number of columns,
    11 offset of slots; then offset and row length (0: one row serves all points) of 12/13 energy, 14/15 base energy,
    16/17 step cycles, 18/19 lanes, 20/21 cycles, 22/23 bits, 24/25 capacity, 26/27 leakage; 28 resources, 29 memories,
    30 width pairs.
    """
    tables = len(at)
    best_index = np.full((tables, points), -1, np.int64)
    best_energy = np.full((tables, points), np.inf)
    best_cycles = np.full((tables, points), np.inf)
    bound = np.full((tables, points), -2, np.int64)
    short_memory = np.full((tables, points), -1, np.int64)
    short_bits = np.zeros((tables, points))
    visited = np.zeros((tables, points), np.int64)
    for pair in prange(tables * points):
        t = pair // points
        p = pair % points
        n, n_basis, n_slots, n_columns = at[t, 0], at[t, 2], at[t, 5], at[t, 10]
        n_res, n_mem = at[t, 28], at[t, 29]
        price = np.zeros(n_basis)
        time = np.zeros((n_res, n_basis))
        fixed_time = np.zeros(n_res)
        fixed = base_energy[at[t, 14] + p * at[t, 15]]
        for j in range(n_columns):
            b = column[at[t, 9] + j]
            e = energy[at[t, 12] + p * at[t, 13] + j]
            if b < 0:
                fixed += e * constant[at[t, 9] + j]
            else:
                price[b] += e
            for r in range(n_res):
                c = cycles[at[t, 20] + p * at[t, 21] + r * n_columns + j]
                if b < 0:
                    fixed_time[r] += c * constant[at[t, 9] + j]
                else:
                    time[r, b] += c
        step = step_cycles[at[t, 16] + p * at[t, 17] : at[t, 16] + p * at[t, 17] + at[t, 30]]
        lane = lanes[at[t, 18] + p * at[t, 19] : at[t, 18] + p * at[t, 19] + at[t, 30]]
        leak = leakage[at[t, 26] + p * at[t, 27]]
        # work lists without zeros
        term_r = np.empty(n_res * n_basis, np.int64)
        term_b = np.empty(n_res * n_basis, np.int64)
        terms = 0
        for r in range(n_res):
            for b in range(n_basis):
                if time[r, b] != 0.0:
                    term_r[terms] = r
                    term_b[terms] = b
                    terms += 1
        blocks = -(-n // BLOCK)
        need = np.zeros(BLOCK)
        fits = np.zeros(BLOCK, np.bool_)
        cost = np.zeros(BLOCK)
        busy = np.zeros(BLOCK)
        slowest = np.zeros(BLOCK)
        best = np.inf
        chosen = -1
        for k in range(blocks):
            # bound of the block
            possible = True
            for m in range(n_mem):
                total = 0.0
                for s in range(n_slots):
                    if slot_memory[at[t, 11] + s] == m:
                        total += bits[at[t, 22] + p * at[t, 23] + s] * tiles_min[at[t, 6] + s * blocks + k]
                if total > capacity[at[t, 24] + p * at[t, 25] + m]:
                    possible = False
            if not possible:
                continue
            low = _compute(step, lane, steps_min[at[t, 8] + k], steps_min[at[t, 8] + blocks + k])
            x = 0
            for r in range(n_res):
                total = fixed_time[r]
                while x < terms and term_r[x] == r:
                    total += time[r, term_b[x]] * basis_min[at[t, 3] + term_b[x] * blocks + k]
                    x += 1
                low = max(low, total) if overlap else low + total
            low_energy = fixed
            for b in range(n_basis):
                if price[b] != 0.0:
                    low_energy += price[b] * basis_min[at[t, 3] + b * blocks + k]
            low_energy += leak * low
            if _value(objective, low_energy, low) >= best:
                continue
            first = k * BLOCK
            size = min(BLOCK, n - first)
            visited[t, p] += size
            fits[:] = True
            for m in range(n_mem):
                need[:] = 0.0
                any_slot = False
                for s in range(n_slots):
                    if slot_memory[at[t, 11] + s] == m:
                        any_slot = True
                        width = bits[at[t, 22] + p * at[t, 23] + s]
                        row = tiles[at[t, 4] + s * n + first : at[t, 4] + s * n + first + size]
                        for i in range(size):
                            need[i] += width * row[i]
                if any_slot:
                    room = capacity[at[t, 24] + p * at[t, 25] + m]
                    for i in range(size):
                        fits[i] &= need[i] <= room
            other = steps[at[t, 7] + first : at[t, 7] + first + size]
            reduced = steps[at[t, 7] + n + first : at[t, 7] + n + first + size]
            slowest[:] = 0.0
            for q in range(len(step)):
                for i in range(size):
                    slowest[i] += step[q] * (other[i] * np.ceil(reduced[i] / lane[q]))
            x = 0
            for r in range(n_res):
                busy[:] = fixed_time[r]
                while x < terms and term_r[x] == r:
                    b = term_b[x]
                    factor = time[r, b]
                    row = basis[at[t, 1] + b * n + first : at[t, 1] + b * n + first + size]
                    for i in range(size):
                        busy[i] += factor * row[i]
                    x += 1
                if overlap:
                    for i in range(size):
                        slowest[i] = max(slowest[i], busy[i])
                else:
                    for i in range(size):
                        slowest[i] += busy[i]
            cost[:] = fixed
            for b in range(n_basis):
                factor = price[b]
                if factor != 0.0:
                    row = basis[at[t, 1] + b * n + first : at[t, 1] + b * n + first + size]
                    for i in range(size):
                        cost[i] += factor * row[i]
            for i in range(size):
                cost[i] += leak * slowest[i]
            for i in range(size):
                if fits[i]:
                    value = _value(objective, cost[i], slowest[i])
                    if value < best:
                        best = value
                        chosen = first + i
                        best_energy[t, p] = cost[i]
                        best_cycles[t, p] = slowest[i]
        best_index[t, p] = chosen
        if chosen >= 0:
            top = _compute(step, lane, steps[at[t, 7] + chosen], steps[at[t, 7] + n + chosen])
            which = -1
            x = 0
            for r in range(n_res):
                total = fixed_time[r]
                while x < terms and term_r[x] == r:
                    total += time[r, term_b[x]] * basis[at[t, 1] + term_b[x] * n + chosen]
                    x += 1
                if total > top:
                    top = total
                    which = r
            bound[t, p] = which
        else:
            least = np.inf
            for i in range(n):
                worst = 0.0
                where = -1
                for m in range(n_mem):
                    total = 0.0
                    for s in range(n_slots):
                        if slot_memory[at[t, 11] + s] == m:
                            total += bits[at[t, 22] + p * at[t, 23] + s] * tiles[at[t, 4] + s * n + i]
                    missing = total - capacity[at[t, 24] + p * at[t, 25] + m]
                    if missing > worst:
                        worst = missing
                        where = m
                if worst < least:
                    least = worst
                    short_memory[t, p] = where
                    short_bits[t, p] = worst
    return best_index, best_energy, best_cycles, bound, short_memory, short_bits, visited


@njit(cache=True)
def all_values(
    counts: Floats, tiles: Floats, steps: Floats, slot_memory: Ints, energy: Floats, base_energy: float, step_cycles: Floats,
    lanes: Floats, cycles: Floats, bits: Floats, capacity: Floats, leakage: float, overlap: bool,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Energy and cycles of every candidate of one table at one point; infinite where it does not fit."""
    n = counts.shape[1]
    out_e = np.empty(n)
    out_c = np.empty(n)
    for i in range(n):
        c = _compute(step_cycles, lanes, steps[0, i], steps[1, i])
        for r in range(len(cycles)):
            total = 0.0
            for j in range(len(counts)):
                total += cycles[r, j] * counts[j, i]
            c = max(c, total) if overlap else c + total
        e = base_energy
        for j in range(len(counts)):
            e += energy[j] * counts[j, i]
        e += leakage * c
        for m in range(len(capacity)):
            total = 0.0
            for s in range(len(tiles)):
                if slot_memory[s] == m:
                    total += bits[s] * tiles[s, i]
            if total > capacity[m]:
                e = np.inf
                c = np.inf
        out_e[i] = e
        out_c[i] = c
    return out_e, out_c
