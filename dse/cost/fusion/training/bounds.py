"""What tensors that wait on the chip can save at most of a training step, run by run: a bound for a search that chooses formats.

However a step is cut into slices, and whatever waits, a product's slices are a mapping of its whole nest with a loop over the
batch outermost. So no choice takes less than :func:`dse.cost.jobs.floors.mapping_floor` says of the nest whose operands that may
wait cost nothing in DRAM, and whose result is not written there if that may be left out. A run without MACs takes least
with all waiting that it reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.training.prices import base_costs, lanes_cost
from dse.cost.fusion.training.runs import TrainingRuns
from dse.cost.fusion.vector import shared_buffer
from dse.cost.jobs.floors import mapping_floor
from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.table_jobs import is_deep
from dse.names import PASSES
from dse.types import Floats


def most_saved_in_training(apart: Apart) -> tuple[Floats, Floats]:
    """(designs, plans, layers, passes) joules and seconds that waiting saves at most."""
    hardware, arrays, stored, vector = apart.hardware, apart.arrays, apart.stored, apart.vector
    shape = (len(arrays), len(apart.plans), len(apart.network.layers), len(PASSES))
    energy, latency = np.zeros(shape), np.zeros(shape)
    buffers = shared_buffer(hardware, arrays)
    for m in sorted(set(buffers.tolist()) - {-1}) if not is_deep(hardware) else ():
        here = np.flatnonzero(buffers == m)
        for i, (plan, copies) in enumerate(zip(apart.plans, stored, strict=True)):
            runs = TrainingRuns(apart.network, plan, copies, apart.work, i, hardware.memories[m].roles)
            products = [n for n in sorted({*runs.reads, *runs.makes}) if runs.runs[n].row in runs.macs]
            floor = mapping_floor(hardware, arrays.at(here), _freed(runs, products)) if products else None
            for place, d in enumerate(here.tolist()):
                base = base_costs(apart, runs, d)
                for n in sorted({*runs.reads, *runs.makes}):
                    run, own = runs.runs[n], base[n]
                    if not np.isfinite(own.energy_pj):
                        continue
                    if floor is not None and n in products:
                        u = products.index(n)
                        least = float(floor.energy_pj[place, u]), float(floor.cycles[place, u])
                    else:
                        found = lanes_cost(
                            runs, arrays.rows(d, d + 1), m, n, frozenset(range(len(runs.items))), own, vector
                        )
                        least = found.energy_pj, found.cycles
                    energy[d, i, run.row, run.pass_] = max(own.energy_pj - least[0], 0.0) * 1e-12
                    latency[d, i, run.row, run.pass_] = max(own.cycles - least[1], 0.0) / float(arrays.clock_hz[d])
                    if run.pass_ == 0:
                        # What its results take in the formats of their readers, by reader and by writer.
                        bits = float(copies.wanted[run.row] + copies.assumed[run.row])
                        energy[d, i, run.row, 0] += bits * float(arrays.write_pj_per_bit[d, -1]) * 1e-12
    return energy, latency


def _freed(runs: TrainingRuns, products: Sequence[int]) -> Jobs:
    """Jobs of products without what may wait of their operands and results."""
    rows, shares = [], []
    for n in products:
        run = runs.runs[n]
        rows.append(int(runs.work.job[runs.place, runs.macs[run.row], run.pass_, 0]))
        share = [1.0, 1.0, 1.0]
        for _, read in runs.reads.get(n, []):
            share[read.role] = max(share[read.role] - read.share, 0.0)
        made = runs.makes.get(n, -1)
        if run in runs.unwritten or (made >= 0 and not runs.items[made].written):
            share[2] = 0.0
        shares.append(share)
    jobs, at, share_of = runs.work.jobs, np.array(rows, np.int64), np.array(shares)
    given = {name: v[at] for name, v in vars(jobs).items() if name != "nests" and isinstance(v, np.ndarray)}
    stored = given["stored_bits"].copy()
    stored[:, 2] *= share_of[:, 2]
    return replace(jobs, **{**given, "stored_bits": stored, "dram_bits": given["dram_bits"] * share_of[:, :2]})
