"""What tensors that wait on the chip can save at most of a training step, run by run: a bound for a search that chooses formats.

A product takes least, whatever waits and in however many slices, where the whole memory is left, its weights (or the
sums of its gradient) stay, all operands that may wait do, and its result either waits or is written: of every number of
slices and of both, the mapping of least energy and the mapping of least time are looked up, and the least of each is
the bound. A larger memory never has a mapping of more energy (or time) than a smaller one has, and what is free of DRAM
never costs more. A result that waits is written into the memory in the narrowest format that some plan gives it. A run
without MACs takes least with all waiting that it reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.training.prices import Ask, base_costs, lanes_cost, together
from dse.cost.fusion.training.runs import WEIGHT, TrainingRuns
from dse.cost.fusion.training.states import Slicing
from dse.cost.fusion.vector import shared_buffer
from dse.cost.mapped.best_jobs import ordered_cost_jobs
from dse.cost.mapped.table_jobs import is_deep
from dse.names import PASSES
from dse.types import Floats


class _Way(NamedTuple):
    """A way in which a product may run: what is asked of a slice, and the bits that it reads and writes beside in the memory."""

    run: int
    ask: Ask
    read_bits: float
    written_bits: float


def most_saved_in_training(apart: Apart) -> tuple[Floats, Floats]:
    """(designs, plans, layers, passes) joules and seconds that waiting saves at most."""
    hardware, arrays, vector = apart.hardware, apart.arrays, apart.vector
    shape = (len(arrays), len(apart.plans), len(apart.network.layers), len(PASSES))
    energy, latency = np.zeros(shape), np.zeros(shape)
    buffers = shared_buffer(hardware, arrays)
    for m in sorted(set(buffers.tolist()) - {-1}) if not is_deep(hardware) else ():
        here = np.flatnonzero(buffers == m)
        every = [
            TrainingRuns(apart.network, plan, copies, apart.work, i, hardware.memories[m].roles)
            for i, (plan, copies) in enumerate(zip(apart.plans, apart.stored, strict=True))
        ]
        narrowest = _narrowest(every)
        for i, (runs, copies) in enumerate(zip(every, apart.stored, strict=True)):
            touched = sorted({*runs.reads, *runs.makes})
            products = _least(apart, runs, here.tolist(), m, narrowest)
            all_wait = frozenset(range(len(runs.items)))
            for place, d in enumerate(here.tolist()):
                base = base_costs(apart, runs, d)
                for n in touched:
                    run, own = runs.runs[n], base[n]
                    if not np.isfinite(own.energy_pj):
                        continue
                    if n in products:
                        least = float(products[n][0][place]), float(products[n][1][place])
                    elif run.row in runs.macs:
                        continue
                    else:
                        found = lanes_cost(runs, arrays.rows(d, d + 1), m, n, all_wait, own, vector)
                        least = found.energy_pj, found.cycles
                    energy[d, i, run.row, run.pass_] = max(own.energy_pj - least[0], 0.0) * 1e-12
                    latency[d, i, run.row, run.pass_] = max(own.cycles - least[1], 0.0) / float(arrays.clock_hz[d])
                    if run.pass_ == 0:
                        # What its results take in the formats of their readers, by reader and by writer.
                        bits = float(copies.wanted[run.row] + copies.assumed[run.row])
                        energy[d, i, run.row, 0] += bits * float(arrays.write_pj_per_bit[d, -1]) * 1e-12
    return energy, latency


def _narrowest(every: Sequence[TrainingRuns]) -> dict[tuple[int, bool], float]:
    """Bits of what may wait in the plan that takes fewest."""
    found: dict[tuple[int, bool], float] = {}
    for runs in every:
        for item in runs.items:
            key = (item.tensor, item.error)
            found[key] = min(found.get(key, np.inf), item.bits)
    return found


def _least(
    apart: Apart, runs: TrainingRuns, designs: Sequence[int], m: int, narrowest: dict[tuple[int, bool], float]
) -> dict[int, tuple[Floats, Floats]]:
    """By product that reads or writes what may wait: (designs,) picojoules and cycles that no choice undercuts."""
    slicing = Slicing(apart.hardware, apart.plans[runs.place], runs)
    most = float(apart.arrays.size_bits[designs, m].max())
    ways = [
        way
        for n in sorted({*runs.reads, *runs.makes})
        if runs.runs[n].row in runs.macs
        for way in _ways(runs, slicing, n, most, narrowest)
    ]
    if not ways:
        return {}
    asks = sorted({way.ask for way in ways})
    place = {ask: u for u, ask in enumerate(asks)}
    jobs, arrays = together(slicing, asks), apart.arrays.at(np.array(designs))
    by_energy = ordered_cost_jobs(apart.hardware, arrays, jobs, "energy").energy_pj
    by_time = ordered_cost_jobs(apart.hardware, arrays, jobs, "latency").cycles
    read, write = arrays.read_pj_per_bit[:, m], arrays.write_pj_per_bit[:, m]
    found: dict[int, tuple[Floats, Floats]] = {}
    for way in ways:
        u, slices = place[way.ask], way.ask.slices
        here = (by_energy[:, u] * slices + way.read_bits * read + way.written_bits * write, by_time[:, u] * slices)
        known = found.get(way.run, here)
        found[way.run] = np.minimum(known[0], here[0]), np.minimum(known[1], here[1])
    return found


def _ways(
    runs: TrainingRuns, slicing: Slicing, n: int, most: float, narrowest: dict[tuple[int, bool], float]
) -> list[_Way]:
    """All ways of a product that may be the least."""
    run = runs.runs[n]
    layer, made = runs.layers[run.row], runs.makes.get(n, -1)
    shares = [1.0, 1.0]
    for _, read in runs.reads.get(n, []):
        shares[read.role] = max(shares[read.role] - read.share, 0.0)
    product = layer.kind == "matmul"
    result = []
    for slices in slicing.work:
        items = [made, *(k for k, _ in runs.reads.get(n, []))]
        if all(k < 0 or narrowest[runs.items[k].tensor, runs.items[k].error] / slices > most for k in items):
            continue
        first, written = shares[0], 0.0 if run in runs.unwritten else 1.0
        sums = 0.0
        if not product and run.pass_ == WEIGHT:
            sums = float(layer.parameters) * (slices - 1) * float(slicing.partial[slices][slicing.job(run, slices)])
            written /= slices
        elif not product:
            first /= slices
        job = slicing.job(run, slices)
        result.append(_Way(n, Ask(slices, job, first, shares[1], written, 0), sums, sums))
        if made >= 0:
            item = runs.items[made]
            on_chip = narrowest[item.tensor, item.error]
            kept = written if item.written else 0.0
            result.append(_Way(n, Ask(slices, job, first, shares[1], kept, 0), sums, sums + on_chip))
    return result
