"""What runs of a training step cost however they are taken, and whatever waits meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from dse.cost.fusion.apart import PARTS, Apart, beside_what_waits
from dse.cost.fusion.training.runs import FORWARD, WEIGHT, Run, TrainingRuns
from dse.cost.fusion.training.states import Mode, Slicing, State, States, Step
from dse.cost.fusion.vector import VectorCosts
from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.best_jobs import ordered_cost_jobs
from dse.hardware.arrays import HardwareArrays
from dse.types import Floats

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


def together(slicing: Slicing, asks: Sequence[Ask]) -> Jobs:
    """Jobs of all numbers of slices as one record, a row for each that is asked (ascending), with the shares of DRAM traffic."""
    jobs = [work.jobs for work in slicing.work.values()]
    first = np.cumsum([0, *(len(item.nests) for item in jobs)])
    rows = [[ask.job for ask in asks if ask.slices == slices] for slices in slicing.work]
    given: dict[str, Any] = {
        name: np.concatenate([getattr(item, name)[np.array(at, np.int64)] for item, at in zip(jobs, rows, strict=True)])
        for name, values in vars(jobs[0]).items()
        if isinstance(values, np.ndarray)
    }
    shift = np.repeat(first[:-1], [len(at) for at in rows])
    given["nest"] += shift
    given["gathered"] += np.where(given["gathered"] >= 0, shift, 0)
    given["dram_bits"] = given["dram_bits"] * np.array([[ask.first, ask.second] for ask in asks])
    given["stored_bits"][:, 2] *= [ask.result for ask in asks]
    return replace(jobs[0], nests=tuple(nest for item in jobs for nest in item.nests), **given)


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
        self._asked: dict[tuple[int, Step], Ask] = {}
        self._products: dict[tuple[Ask, float, bool], RunCost] = {}
        self._vectors: dict[tuple[int, State], RunCost] = {}
        self.touched = [
            frozenset(k for k, _ in runs.reads.get(n, ())) | {runs.makes.get(n, -1)} for n in range(len(runs.runs))
        ]
        self.states = {
            mode: {
                n: {state for state in here if self._moves_no_more(n, Step(mode, state))} for n, here in by_run.items()
            }
            for mode, by_run in self.may.by_mode.items()
        }
        #: By run the same, in order: each mode with what may wait.
        self.options: list[list[tuple[Mode, list[State]]]] = [[] for _ in runs.runs]
        for mode, by_run in self.states.items():
            for n, here in by_run.items():
                self.options[n].append((mode, sorted(here, key=sorted)))
        kept = (
            (n, Step(mode, state))
            for mode, by_run in self.states.items()
            for n, here in by_run.items()
            for state in here
        )
        self._price(sorted({self._asked[key] for key in kept if key in self._asked}))

    def ask(self, n: int, step: Step) -> Ask:
        """What has to be priced of a product."""
        key = (n, step)
        if key not in self._asked:
            self._asked[key] = self._ask(n, step)
        return self._asked[key]

    def _ask(self, n: int, step: Step) -> Ask:
        run, (slices, stays), runs = self.runs.runs[n], step.mode, self.runs
        shares = [1.0, 1.0]
        for item, read in runs.reads.get(n, []):
            if item in step.state:
                shares[read.role] -= read.share
        held = sum([runs.items[k].bits for k in step.state]) / slices
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
        parts = ceil(held / self.may.size * PARTS - 1e-9)
        job = self.may.slicing.job(run, slices)
        return Ask(slices, job, max(shares[0], 0.0), max(shares[1], 0.0), result, min(parts, PARTS))

    def _moves_no_more(self, n: int, step: Step) -> bool:
        """Whether a product may move no more than without: its weights, or sums, for each slice, and what it makes once."""
        run = self.runs.runs[n]
        if run.row not in self.runs.macs:
            return True
        ask, layer = self.ask(n, step), self.runs.layers[run.row]
        if layer.kind == "matmul":
            return True
        stored = self.may.slicing.work[ask.slices].jobs.stored_bits
        if run.pass_ == WEIGHT:
            stays = step.mode.stays == run.row
            again = 0.0 if stays else 2.0 * (ask.slices - 1) * float(self.may.slicing.partial[ask.slices][ask.job])
            least = layer.parameters * again
        else:
            weight, result = float(stored[ask.job, 0]) * ask.first, float(stored[ask.job, 2]) * ask.result
            made = layer.output_elements * self.runs.network.batch * (run.pass_ == FORWARD)
            least = ask.slices * layer.parameters * weight + made * result
        return least <= self.base[n].dram_bits * _EQUAL

    def _price(self, asks: Sequence[Ask]) -> None:
        """Look up the costs of one slice of all that is asked, those of all numbers of slices and parts of the memory at once."""
        self.place = {ask: u for u, ask in enumerate(asks)}
        if not asks:
            return
        jobs = together(self.may.slicing, asks)
        taken = sorted({ask.taken for ask in asks})
        self.row = {parts: r for r, parts in enumerate(taken)}
        wanted = np.array(taken)[:, None] == np.array([ask.taken for ask in asks])[None]
        arrays = beside_what_waits(self.one, self.m, taken)
        self.known = ordered_cost_jobs(self.apart.hardware, arrays, jobs, self.apart.objective, wanted)

    def cost(self, n: int, step: Step) -> RunCost:
        """What a run costs as part of a path."""
        if not step.state:
            return self.base[n]
        runs = self.runs
        if runs.runs[n].row in runs.macs:
            made = runs.makes.get(n, -1)
            held = runs.items[made].bits if made in step.state else 0.0
            known = (self.ask(n, step), held, step.mode.stays == runs.runs[n].row)
            if known not in self._products:
                self._products[known] = self._product(n, step)
            return self._products[known]
        mine = (n, step.state & self.touched[n])
        if mine not in self._vectors:
            self._vectors[mine] = lanes_cost(runs, self.one, self.m, *mine, self.base[n], self.apart.vector)
        return self._vectors[mine]

    def _product(self, n: int, step: Step) -> RunCost:
        run, runs, one, m = self.runs.runs[n], self.runs, self.one, self.m
        slices = step.mode.slices
        ask = self.ask(n, step)
        costs, r, u = self.known, self.row[ask.taken], self.place[ask]
        parts = costs.components_pj[r, u] * slices
        cycles, moved = float(costs.cycles[r, u]) * slices, float(costs.traffic_bits[r, u, -1]) * slices
        if not np.isfinite(cycles):
            return RunCost(np.inf, np.inf, np.inf)
        dram, bound = len(one.size_bits[0]), int(costs.bound[r, u])
        made = runs.makes.get(n, -1)
        if made in step.state:
            parts[1 + m] += runs.items[made].bits * float(one.write_pj_per_bit[0, m])
        if slices > 1 and run.pass_ == WEIGHT and runs.layers[run.row].kind != "matmul":
            # Sums that go on from slice to slice, in the format of partial sums.
            jobs = self.may.slicing.work[slices].jobs
            wide = float(self.may.slicing.partial[slices][ask.job])
            count = float(runs.layers[run.row].parameters) * (slices - 1)
            if step.mode.stays == run.row:
                parts[1 + m] += count * wide * float(one.read_pj_per_bit[0, m] + one.write_pj_per_bit[0, m])
            else:
                narrow = float(jobs.stored_bits[ask.job, 2])
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
