"""What runs of a training step cost however they are taken, and whatever waits meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.training.runs import FORWARD, WEIGHT, Run, TrainingRuns
from dse.cost.fusion.training.states import State, States, Step
from dse.cost.fusion.vector import VectorCosts
from dse.cost.jobs.formats import partial_bits
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs
from dse.hardware.arrays import HardwareArrays
from dse.types import Floats

#: Parts of the memory in which what is left of it is counted.
PARTS = 16
#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9


@dataclass(frozen=True)
class RunCost:
    """What a run costs: picojoules, cycles, bits of DRAM.

    Of a product also the energy by component and what bounds its time; of another run the bits that it does not move.
    """

    energy_pj: float
    cycles: float
    dram_bits: float
    parts_pj: Floats | None = None
    bound: int = -1
    not_read: float = 0.0
    not_written: float = 0.0


def no_worse(found: RunCost, own: RunCost) -> bool:
    """Whether a run takes no more energy, no more time and no more of DRAM than where nothing waits."""
    pairs = ((found.energy_pj, own.energy_pj), (found.cycles, own.cycles), (found.dram_bits, own.dram_bits))
    return all(new <= before * _EQUAL for new, before in pairs)


class Ask(NamedTuple):
    """A product to be priced: slices, job, shares of DRAM traffic of both operands and of the result, parts of the memory taken."""

    slices: int
    job: int
    first: float
    second: float
    result: float
    taken: int


def base_costs(apart: Apart, runs: TrainingRuns, d: int) -> list[RunCost]:
    """What every run costs on a design where nothing waits."""
    arrays, jobs, vector, i = apart.arrays, apart.jobs, apart.vector, runs.place
    result = []
    for run in runs.runs:
        if run.row in runs.macs:
            l, bits = runs.macs[run.row], float(apart.not_written[i, run.row, run.pass_])
            u = runs.work.job[i, l, run.pass_]
            at, times = u[u >= 0], runs.work.times[l, run.pass_][u >= 0]
            energy = float((jobs.energy_pj[d, at] * times).sum()) - bits * float(arrays.write_pj_per_bit[d, -1])
            moved = float((jobs.traffic_bits[d, at, -1] * times).sum()) - bits
            result.append(RunCost(energy, float((jobs.cycles[d, at] * times).sum()), moved))
        else:
            at_v = (d, i, runs.lanes[run.row], run.pass_)
            result.append(
                RunCost(float(vector.energy_pj[at_v]), float(vector.cycles[at_v]), float(vector.dram_bits[at_v[1:]]))
            )
    return result


class Prices:
    """What runs cost on one design under one plan, however they are taken.

    Attributes
    ----------
    states
        By mode and run what may wait while it runs, but for nothing, as far as a product moves no more than without.
    base
        What runs cost where nothing waits.
    """

    def __init__(self, apart: Apart, runs: TrainingRuns, d: int, m: int) -> None:
        self.apart, self.runs, self.m = apart, runs, m
        self.one, self.base = apart.arrays.rows(d, d + 1), base_costs(apart, runs, d)
        self.may = States(apart, runs, d, m)
        self.states = {
            mode: {
                n: {state for state in here if self._moves_no_more(n, Step(mode, state))} for n, here in by_run.items()
            }
            for mode, by_run in self.may.by_mode.items()
        }
        asks = {
            self.ask(n, Step(mode, state))
            for mode, by_run in self.states.items()
            for n, here in by_run.items()
            if runs.runs[n].row in runs.macs
            for state in here
        }
        self.known = self._priced(asks)

    def ask(self, n: int, step: Step) -> Ask:
        """What has to be priced of a product."""
        run, (slices, stays), runs = self.runs.runs[n], step.mode, self.runs
        shares = [1.0, 1.0]
        for item, read in runs.reads.get(n, []):
            if item in step.state:
                shares[read.role] -= read.share
        held = sum(runs.items[k].bits for k in step.state) / slices
        result = 0.0 if run in runs.unwritten else 1.0
        made = runs.makes.get(n, -1)
        if made in step.state and not runs.items[made].written:
            result = 0.0
        if stays >= 0:
            held += self.may.stationary(Run(stays, run.pass_), slices)
        if stays == run.row and run.pass_ != WEIGHT:
            shares[0] /= slices
        elif stays == run.row:
            result /= slices
        parts = int(np.ceil(held / self.may.size * PARTS - 1e-9))
        return Ask(
            slices, self.may.job(run, slices), max(shares[0], 0.0), max(shares[1], 0.0), result, min(parts, PARTS)
        )

    def _moves_no_more(self, n: int, step: Step) -> bool:
        """Whether a product may move no more than without: its weights, or sums, for each slice, and what it makes once."""
        run = self.runs.runs[n]
        if run.row not in self.runs.macs:
            return True
        ask, layer = self.ask(n, step), self.runs.layers[run.row]
        if layer.kind == "matmul":
            return True
        jobs = self.may.work[ask.slices].jobs
        weight, _, result = jobs.stored_bits[ask.job] * [ask.first, ask.second, ask.result]
        if run.pass_ == WEIGHT:
            stays = step.mode.stays == run.row
            again = 0.0 if stays else 2.0 * (ask.slices - 1) * float(partial_bits(self.apart.hardware, jobs)[ask.job])
            least = layer.parameters * again
        else:
            made = layer.output_elements * self.runs.network.batch * (run.pass_ == FORWARD)
            least = ask.slices * layer.parameters * float(weight) + made * float(result)
        return least <= self.base[n].dram_bits * _EQUAL

    def _priced(self, asks: set[Ask]) -> dict[Ask, tuple[JobCosts, int]]:
        """Costs of one slice, by what was asked."""
        known = {}
        for slices, taken in sorted({(ask.slices, ask.taken) for ask in asks}):
            here = sorted(ask for ask in asks if (ask.slices, ask.taken) == (slices, taken))
            rows = np.array([ask.job for ask in here], np.int64)
            jobs = self.may.work[slices].jobs
            given: dict[str, Any] = {
                k: v[rows] for k, v in vars(jobs).items() if k != "nests" and isinstance(v, np.ndarray)
            }
            given["dram_bits"] = given["dram_bits"] * np.array([[ask.first, ask.second] for ask in here])
            stored = given["stored_bits"].copy()
            stored[:, 2] *= [ask.result for ask in here]
            size = self.one.size_bits.copy()
            size[:, self.m] *= (PARTS - taken) / PARTS
            costs = cost_jobs(
                self.apart.hardware, replace(self.one, size_bits=size), replace(jobs, **{**given, "stored_bits": stored}),
                self.apart.objective,
            )  # fmt: skip
            known.update({ask: (costs, u) for u, ask in enumerate(here)})
        return known

    def cost(self, n: int, step: Step) -> RunCost:
        """What a run costs as part of a path."""
        if not step.state:
            return self.base[n]
        if self.runs.runs[n].row in self.runs.macs:
            return self._product(n, step)
        return self._lanes(n, step.state)

    def _lanes(self, n: int, state: State) -> RunCost:
        return lanes_cost(self.runs, self.one, self.m, n, state, self.base[n], self.apart.vector)

    def _product(self, n: int, step: Step) -> RunCost:
        run, runs, one, m = self.runs.runs[n], self.runs, self.one, self.m
        slices = step.mode.slices
        costs, u = self.known[self.ask(n, step)]
        parts = costs.components_pj[0, u] * slices
        cycles, moved = float(costs.cycles[0, u]) * slices, float(costs.traffic_bits[0, u, -1]) * slices
        if not np.isfinite(cycles):
            return RunCost(np.inf, np.inf, np.inf)
        dram, bound = len(one.size_bits[0]), int(costs.bound[0, u])
        made = runs.makes.get(n, -1)
        if made in step.state:
            parts[1 + m] += runs.items[made].bits * float(one.write_pj_per_bit[0, m])
        if slices > 1 and run.pass_ == WEIGHT and runs.layers[run.row].kind != "matmul":
            # Sums that go on from slice to slice, in the format of partial sums.
            jobs = self.may.work[slices].jobs
            wide = float(partial_bits(self.apart.hardware, jobs)[self.may.job(run, slices)])
            count = float(runs.layers[run.row].parameters) * (slices - 1)
            if step.mode.stays == run.row:
                parts[1 + m] += count * wide * float(one.read_pj_per_bit[0, m] + one.write_pj_per_bit[0, m])
            else:
                narrow = float(jobs.stored_bits[self.may.job(run, slices), 2])
                back, out = count * wide, count * max(wide - narrow, 0.0)
                parts[dram] += back * float(one.read_pj_per_bit[0, -1]) + out * float(one.write_pj_per_bit[0, -1])
                parts[1 + m] += back * float(one.write_pj_per_bit[0, m]) + out * float(one.read_pj_per_bit[0, m])
                width = float(one.bandwidth_bits_per_cycle[0, -1] * one.instances[0, -1])
                before, moved = cycles, moved + back + out
                longer = max(cycles, moved / width) if self.apart.hardware.overlap else cycles + (back + out) / width
                bound, cycles = (dram if longer > before else bound), longer
                parts[-1] += (cycles - before) * float(one.leakage_w[0] / one.clock_hz[0]) * 1e12
        return RunCost(float(parts.sum()), cycles, moved, parts, bound)


def lanes_cost(
    runs: TrainingRuns, one: HardwareArrays, m: int, n: int, state: State, base: RunCost, vector: VectorCosts
) -> RunCost:
    """What a run without MACs costs where some tensors wait."""
    run = runs.runs[n]
    read, written = runs.vector_bits(n, state)
    operations = float(vector.operations[runs.lanes[run.row], run.pass_])
    left = base.dram_bits - read - written
    by_dram = left / float(one.bandwidth_bits_per_cycle[0, -1])
    cycles = min(max(operations / float(one.vector_lanes[0]), by_dram), base.cycles)
    saved = read * float(one.read_pj_per_bit[0, -1] + one.write_pj_per_bit[0, m])
    saved += written * float(one.write_pj_per_bit[0, -1] + one.read_pj_per_bit[0, m])
    saved += float(one.leakage_w[0] / one.clock_hz[0] * 1e12) * (base.cycles - cycles)
    return RunCost(base.energy_pj - saved, cycles, left, not_read=read, not_written=written)
