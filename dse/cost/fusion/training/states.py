"""How runs of a training step may be taken together, and what may wait while each runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.training.runs import DATA, WEIGHT, Run, TrainingRuns, slicings
from dse.cost.jobs.formats import partial_bits
from dse.cost.jobs.network import NetworkJobs, network_jobs
from dse.hardware.model import Hardware
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.workload.model import Network

#: Sets of tensors that are looked at for each run and number of slices; beyond it those that hold most are kept.
MOST_STATES = 64
#: Layers before and after one whose weights stay whose runs may be of the same slices.
REACH = 3

State = frozenset[int]
NOTHING: State = frozenset()


class Mode(NamedTuple):
    """How runs are taken together: in how many slices, and whose weights stay (-1: nobody's)."""

    slices: int
    stays: int


WHOLE = Mode(1, -1)


class Step(NamedTuple):
    """A run as part of a path: how it is taken, and what waits while it runs."""

    mode: Mode
    state: State


@lru_cache(maxsize=64)
def _work_of(network: Network, hardware: Hardware, plan: Plan, slices: int) -> NetworkJobs:
    """The jobs of one slice."""
    return network_jobs(network.with_batch(network.batch // slices), hardware, [plan], "training")


class States:
    """What may wait on one design under one plan.

    Attributes
    ----------
    work
        By number of slices the jobs of one slice.
    size
        Bits of the memory.
    by_mode
        By mode and run what may wait while it runs, but for nothing.
    """

    def __init__(self, apart: Apart, runs: TrainingRuns, d: int, m: int) -> None:
        self.runs, self.hardware = runs, apart.hardware
        self.size = float(apart.arrays.size_bits[d, m])
        plan = apart.plans[runs.place]
        self.work = {
            slices: _work_of(runs.network, apart.hardware, plan, slices) for slices in slicings(runs.network.batch)
        }
        self.by_mode = self._all()

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

    def _all(self) -> dict[Mode, dict[int, set[State]]]:
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
