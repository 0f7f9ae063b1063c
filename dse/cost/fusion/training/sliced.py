"""Tensors of a training step that wait on the chip until their last reader, of the whole batch or slice by slice of it.

Consecutive runs (:mod:`dse.cost.fusion.training.runs`) may be taken together in equal *slices* of the batch: all of them for
the first slice, then for the next. What waits between them then takes a slice's bits. A product runs each slice under the best
mapping of that nest in the memory that is left, and

* brings its weights again for every slice, and adds each slice's gradient to a sum that lies in DRAM: read and written in the
  format of partial sums; or
* the weights of one layer of the slices' runs, and its gradient's partial sums, stay on the chip beside all that waits.

A norm over the batch starts when what it reads of the whole batch is there: slices begin anew at its run, and nothing of a slice
waits over it.

What waits, and in how many slices, is a shortest path over (slices, whose weights stay, what waits) from run to run; where nothing
waits all of these meet. It is the best choice for ``energy / energy without + latency / latency without`` among those in which
no run takes more energy, time or bits of DRAM than without, where there are at most :data:`MOST_STATES` sets that may wait at each
run and number of slices. What a product finds left of the memory is rounded down to a :data:`PARTS`-th of it, so that a larger
memory is never worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.training.runs import DATA, FORWARD, WEIGHT, Run, TrainingRuns, slicings
from dse.cost.fusion.vector import VectorCosts, shared_buffer
from dse.cost.jobs.formats import partial_bits
from dse.cost.jobs.network import NetworkJobs, network_jobs
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs, is_deep
from dse.cost.tensors.copies import Stored
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.types import Floats, Ints
from dse.workload.model import Network

#: Sets of tensors that are looked at for each run and number of slices; beyond it those that hold most are kept.
MOST_STATES = 64
#: Parts of the memory in which what is left of it is counted.
PARTS = 16
#: Layers before and after one whose weights stay whose runs may be of the same slices.
REACH = 3
#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9

State = frozenset[int]
NOTHING: State = frozenset()


class StepArrays(NamedTuple):
    """Arrays of one design under one plan, (layers, passes) each, components last."""

    energy_j: Floats
    latency_s: Floats
    dram_bits: Floats
    components_j: Floats
    bound: Ints


class Mode(NamedTuple):
    """How runs are taken together: in how many slices, and whose weights stay (-1: nobody's)."""

    slices: int
    stays: int


WHOLE = Mode(1, -1)


class Step(NamedTuple):
    """A run as part of a path: how it is taken, and what waits while it runs."""

    mode: Mode
    state: State


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


@dataclass(frozen=True)
class Sliced:
    """The choice on one design under one plan.

    Attributes
    ----------
    runs
        Of what waits (:attr:`~dse.cost.fusion.training.runs.TrainingRuns.items`).
    path
        By run how it is taken and what waits meanwhile.
    changed
        What runs cost, where it is not what they cost without.
    """

    runs: TrainingRuns
    path: tuple[Step, ...]
    changed: dict[int, RunCost]

    @property
    def kept(self) -> frozenset[int]:
        """Places of the items that wait."""
        return frozenset().union(*(step.state for step in self.path))


class Ask(NamedTuple):
    """A product to be priced: slices, job, shares of DRAM traffic of both operands and of the result, parts of the memory taken."""

    slices: int
    job: int
    first: float
    second: float
    result: float
    taken: int


def sliced_choices(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    stored: Sequence[Stored],
    work: NetworkJobs,
    jobs: JobCosts,
    vector: VectorCosts,
    not_written: Floats,
    objective: str,
    closed: Mapping[tuple[int, int], frozenset[int]] | None = None,
) -> dict[tuple[int, int], Sliced]:
    """What waits in a training step, by design and plan; arguments as of :func:`dse.cost.fusion.resident.residents`."""
    found: dict[tuple[int, int], Sliced] = {}
    if is_deep(hardware):
        return found
    buffers = shared_buffer(hardware, arrays)
    for i, (plan, copies) in enumerate(zip(plans, stored, strict=True)):
        known: dict[tuple[int, frozenset[int]], TrainingRuns] = {}
        for d in range(len(arrays)):
            m = int(buffers[d])
            if m < 0 or (closed is not None and (d, i) not in closed):
                continue
            key = (m, frozenset() if closed is None else closed[d, i])
            if key not in known:
                known[key] = TrainingRuns(network, plan, copies, work, i, hardware.memories[m].roles, key[1])
            runs = known[key]
            if not runs.items or (jobs.limit[d][work.job[i][work.job[i] >= 0]] != "").any():
                continue
            base = base_costs(runs, arrays, d, i, jobs, vector, not_written[i])
            priced = Priced(runs, hardware, arrays.rows(d, d + 1), m, base, vector, plan, objective)
            path = best_path(runs, priced)
            costs = {n: priced.cost(n, step) for n, step in enumerate(path) if step.state}
            found[d, i] = Sliced(runs, tuple(path), {n: cost for n, cost in costs.items() if cost is not base[n]})
    return found


def base_costs(
    runs: TrainingRuns, arrays: HardwareArrays, d: int, i: int, jobs: JobCosts, vector: VectorCosts, less: Floats
) -> list[RunCost]:
    """What every run costs where nothing waits; ``less`` (layers, passes) are bits that epilogues save of results."""
    result = []
    for run in runs.runs:
        if run.row in runs.macs:
            l, bits = runs.macs[run.row], float(less[run.row, run.pass_])
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


@lru_cache(maxsize=64)
def _work_of(network: Network, hardware: Hardware, plan: Plan, slices: int) -> NetworkJobs:
    """The jobs of one slice."""
    return network_jobs(network.with_batch(network.batch // slices), hardware, [plan], "training")


class Priced:
    """What runs cost on one design however they are taken.

    Attributes
    ----------
    states
        By mode and run what may wait while it runs, but for nothing.
    base
        What runs cost where nothing waits.
    """

    def __init__(
        self,
        runs: TrainingRuns,
        hardware: Hardware,
        one: HardwareArrays,
        m: int,
        base: list[RunCost],
        vector: VectorCosts,
        plan: Plan,
        objective: str,
    ) -> None:
        self.runs, self.hardware, self.one, self.m, self.base, self.vector = runs, hardware, one, m, base, vector
        self.plan, self.objective, self.size = plan, objective, float(one.size_bits[0, m])
        self.work = {slices: _work_of(runs.network, hardware, plan, slices) for slices in slicings(runs.network.batch)}
        self.states = self._all_states()
        for mode, by_run in self.states.items():
            for n, here in by_run.items():
                by_run[n] = {state for state in here if self._moves_no_more(n, Step(mode, state))}
        asks = {
            self.ask(n, Step(mode, state))
            for mode, by_run in self.states.items()
            for n, here in by_run.items()
            if runs.runs[n].row in runs.macs
            for state in here
        }
        self.known = self._priced(asks)

    def job(self, run: Run, slices: int) -> int:
        """The job of one slice of a product."""
        return int(self.work[slices].job[0, self.runs.macs[run.row], run.pass_, 0])

    def stationary(self, run: Run, slices: int) -> float:
        """Bits that stay of a layer: its weights, on the way back the partial sums of its gradient as well."""
        row = run.row
        layer = self.runs.layers[row]
        jobs, elements = self.work[slices].jobs, float(layer.parameters)
        data = DATA if PASSES[DATA] in layer.passes and run.pass_ != 0 else 0
        bits = elements * float(jobs.stored_bits[self.job(Run(row, data), slices), 0])
        if run.pass_ != 0 and PASSES[WEIGHT] in layer.passes:
            bits += elements * float(partial_bits(self.hardware, jobs)[self.job(Run(row, WEIGHT), slices)])
        return bits

    def _all_states(self) -> dict[Mode, dict[int, set[State]]]:
        runs = self.runs
        result = {}
        for slices in slicings(runs.network.batch):
            free = self._states(Mode(slices, -1), 0.0, range(len(runs.runs)))
            result[Mode(slices, -1)] = free
            if slices == 1:
                continue
            for row in runs.macs:
                if runs.layers[row].kind == "matmul" or not any(
                    run.row == row for run in map(runs.runs.__getitem__, free)
                ):
                    continue
                near = [n for n, run in enumerate(runs.runs) if abs(run.row - row) <= REACH]
                forward = [n for n in near if runs.runs[n].pass_ == 0]
                back = [n for n in near if runs.runs[n].pass_ != 0]
                found: dict[int, set[State]] = {}
                for part in (forward, back):
                    if part and runs.simple(Run(row, runs.runs[part[0]].pass_)):
                        held = self.stationary(Run(row, runs.runs[part[0]].pass_), slices)
                        found.update(self._states(Mode(slices, row), held, part))
                if found:
                    result[Mode(slices, row)] = found
        return result

    def _states(self, mode: Mode, held: float, among: Sequence[int]) -> dict[int, set[State]]:
        """By run what may wait beside what stays, in runs that follow each other."""
        items, bits = self.runs.items, [item.bits / mode.slices for item in self.runs.items]
        result: dict[int, set[State]] = {}
        alive: set[State] = {NOTHING}
        within = set(among)
        for n in among:
            run = self.runs.runs[n]
            if mode.slices > 1 and self.runs.whole[n]:
                alive = {NOTHING}
            here = set(alive)
            made = self.runs.makes.get(n, -1)
            if made >= 0 and all(read.run in within for read in items[made].reads):
                here |= {state | {made} for state in here}
            here = {state for state in here if sum(bits[k] for k in state) + held <= self.size}
            if not self.runs.simple(run):
                here = {NOTHING}
            if len(here) > MOST_STATES:
                most = sorted(here, key=lambda state: (-sum(bits[k] for k in state), sorted(state)))
                here = {NOTHING, *most[: MOST_STATES - 1]}
            if here - {NOTHING}:
                result[n] = here - {NOTHING}
            alive = {NOTHING} | {frozenset(k for k in state if items[k].last > n) for state in here}
        return result

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
            held += self.stationary(Run(stays, run.pass_), slices)
        if stays == run.row and run.pass_ != WEIGHT:
            shares[0] /= slices
        elif stays == run.row:
            result /= slices
        parts = int(np.ceil(held / self.size * PARTS - 1e-9))
        return Ask(slices, self.job(run, slices), max(shares[0], 0.0), max(shares[1], 0.0), result, min(parts, PARTS))

    def _moves_no_more(self, n: int, step: Step) -> bool:
        """Whether a product may move no more than without: its weights, or sums, for each slice, and what it makes once."""
        run = self.runs.runs[n]
        if run.row not in self.runs.macs:
            return True
        ask, layer = self.ask(n, step), self.runs.layers[run.row]
        if layer.kind == "matmul":
            return True
        jobs = self.work[ask.slices].jobs
        weight, _, result = jobs.stored_bits[ask.job] * [ask.first, ask.second, ask.result]
        if run.pass_ == WEIGHT:
            stays = step.mode.stays == run.row
            again = 0.0 if stays else 2.0 * (ask.slices - 1) * float(partial_bits(self.hardware, jobs)[ask.job])
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
            jobs = self.work[slices].jobs
            given: dict[str, Any] = {
                k: v[rows] for k, v in vars(jobs).items() if k != "nests" and isinstance(v, np.ndarray)
            }
            given["dram_bits"] = given["dram_bits"] * np.array([[ask.first, ask.second] for ask in here])
            stored = given["stored_bits"].copy()
            stored[:, 2] *= [ask.result for ask in here]
            size = self.one.size_bits.copy()
            size[:, self.m] *= (PARTS - taken) / PARTS
            costs = cost_jobs(
                self.hardware, replace(self.one, size_bits=size), replace(jobs, **{**given, "stored_bits": stored}),
                self.objective,
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
        return lanes_cost(self.runs, self.one, self.m, n, state, self.base[n], self.vector)

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
            jobs = self.work[slices].jobs
            wide = float(partial_bits(self.hardware, jobs)[self.job(run, slices)])
            count = float(runs.layers[run.row].parameters) * (slices - 1)
            if step.mode.stays == run.row:
                parts[1 + m] += count * wide * float(one.read_pj_per_bit[0, m] + one.write_pj_per_bit[0, m])
            else:
                narrow = float(jobs.stored_bits[self.job(run, slices), 2])
                back, out = count * wide, count * max(wide - narrow, 0.0)
                parts[dram] += back * float(one.read_pj_per_bit[0, -1]) + out * float(one.write_pj_per_bit[0, -1])
                parts[1 + m] += back * float(one.write_pj_per_bit[0, m]) + out * float(one.read_pj_per_bit[0, m])
                width = float(one.bandwidth_bits_per_cycle[0, -1] * one.instances[0, -1])
                before, moved = cycles, moved + back + out
                longer = max(cycles, moved / width) if self.hardware.overlap else cycles + (back + out) / width
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


class _Node(NamedTuple):
    value: float
    before: _Node | None
    step: Step


def no_worse(found: RunCost, own: RunCost) -> bool:
    """Whether a run takes no more energy, no more time and no more of DRAM than where nothing waits."""
    pairs = ((found.energy_pj, own.energy_pj), (found.cycles, own.cycles), (found.dram_bits, own.dram_bits))
    return all(new <= before * _EQUAL for new, before in pairs)


def best_path(runs: TrainingRuns, priced: Priced) -> list[Step]:
    """By run how it is taken and what waits on the best path; no run may cost more than where nothing waits."""
    base = priced.base
    energy, cycles = (max(sum(x), 1e-300) for x in zip(*((row.energy_pj, row.cycles) for row in base), strict=True))
    last, born = [item.last for item in runs.items], [item.born for item in runs.items]
    free = Step(WHOLE, NOTHING)
    best: dict[Step, _Node] = {free: _Node(0.0, None, free)}
    for n, own in enumerate(base):
        reached: dict[Step, _Node] = {}
        if free in best:
            value = best[free].value + own.energy_pj / energy + own.cycles / cycles
            reached[free] = _Node(value, best[free], free)
        for mode, by_run in priced.states.items():
            for state in sorted(by_run.get(n, ()), key=sorted):
                before = frozenset(k for k in state if born[k] < n)
                node = best.get(Step(mode, before) if before else free)
                if node is None or (before and mode.slices > 1 and runs.whole[n]):
                    continue
                found = priced.cost(n, Step(mode, state))
                if not no_worse(found, own):
                    continue
                value = node.value + found.energy_pj / energy + found.cycles / cycles
                after = frozenset(k for k in state if last[k] > n)
                end = Step(mode, after) if after else free
                if end not in reached or value < reached[end].value:
                    reached[end] = _Node(value, node, Step(mode, state))
        best = reached
    at: _Node | None = best[free]
    path: list[Step] = []
    while at is not None and at.before is not None:
        path.append(at.step)
        at = at.before
    return path[::-1]


def joined_runs(network: Network, groups: npt.NDArray[np.object_], kept: Sliced) -> npt.NDArray[np.object_]:
    """Groups with the runs joined that meet in a tensor that waits; the name is that of the layer that comes first."""
    result = groups.copy()
    order = {layer.name: place for place, layer in enumerate(network.layers)}
    for item in sorted(kept.kept):
        entry = kept.runs.items[item]
        cells = [kept.runs.runs[n] for n in (entry.born, *(read.run for read in entry.reads))]
        names = {str(result[cell]) or network.layers[cell.row].name for cell in cells}
        first = min(names, key=order.__getitem__)
        # Groups of the way back are others than those forward, even of the same layers.
        way = [FORWARD] if cells[0].pass_ == FORWARD else [DATA, WEIGHT]
        result[:, way] = np.where(np.isin(result[:, way], sorted(names)), first, result[:, way])
        for cell in cells:
            result[cell] = first
    return result


def put(sums: StepArrays, arrays: HardwareArrays, d: int, buffer: int, kept: Sliced, names: Sequence[str]) -> None:
    """What runs cost on one design under one plan where tensors wait, in place of what they cost without.

    Bits that results have beyond their layer's format (because readers want others) are charged later of all results, and so
    taken from those that are not written.
    """
    dram = len(names) - 3
    read, write = arrays.read_pj_per_bit[d], arrays.write_pj_per_bit[d]
    for n, cost in kept.changed.items():
        at = kept.runs.runs[n]
        before_s = float(sums.latency_s[at])
        sums.latency_s[at] = cost.cycles / arrays.clock_hz[d]
        sums.dram_bits[at] = cost.dram_bits
        sums.energy_j[at] = cost.energy_pj * 1e-12
        part = sums.components_j[at]
        if cost.parts_pj is not None:
            part[: len(names) - 1] = cost.parts_pj * 1e-12
            sums.bound[at] = cost.bound
        else:
            part[dram] -= (cost.not_read * read[-1] + cost.not_written * write[-1]) * 1e-12
            part[1 + buffer] -= (cost.not_read * write[buffer] + cost.not_written * read[buffer]) * 1e-12
            part[names.index("leakage")] -= (before_s - float(sums.latency_s[at])) * float(arrays.leakage_w[d])
            by_dram = cost.dram_bits / float(arrays.bandwidth_bits_per_cycle[d, -1])
            sums.bound[at] = dram if cost.dram_bits and by_dram >= cost.cycles else dram + 1


def not_as_read(sums: StepArrays, arrays: HardwareArrays, d: int, kept: Sliced) -> None:
    """Take what is charged later of results in the formats of their readers from those that are not written."""
    dram = sums.components_j.shape[-1] - 3
    for item in kept.kept:
        entry = kept.runs.items[item]
        if not entry.written and not entry.error:
            at, bits = kept.runs.runs[entry.born], kept.runs.as_read(entry.born)
            energy = bits * float(arrays.write_pj_per_bit[d, -1]) * 1e-12
            sums.dram_bits[at] -= bits
            sums.energy_j[at] -= energy
            sums.components_j[at][dram] -= energy
