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


class Slicing:
    """A step cut into slices, under one plan; the same for all designs.

    Attributes
    ----------
    work
        By number of slices the jobs of one slice.
    partial
        By number of slices the bits of a partial sum of every job.
    """

    def __init__(self, hardware: Hardware, plan: Plan, runs: TrainingRuns) -> None:
        self.runs = runs
        self.work = {slices: _work_of(runs.network, hardware, plan, slices) for slices in slicings(runs.network.batch)}
        self.partial = {slices: partial_bits(hardware, work.jobs) for slices, work in self.work.items()}

    def job(self, run: Run, slices: int) -> int:
        """The job of one slice of a product."""
        return int(self.work[slices].job[0, self.runs.macs[run.row], run.pass_, 0])


class States:
    """What may wait on one design under one plan.

    Attributes
    ----------
    slicing
        The jobs of slices.
    size
        Bits of the memory.
    by_mode
        By mode and run what may wait while it runs, but for nothing.
    """

    def __init__(self, apart: Apart, runs: TrainingRuns, d: int, m: int) -> None:
        self.runs, self.slicing = runs, Slicing(apart.hardware, apart.plans[runs.place], runs)
        self.size = float(apart.arrays.size_bits[d, m])
        self._stays: dict[tuple[int, bool, int], float] = {}
        self._ends: dict[int, State] = {}
        for k, item in enumerate(runs.items):
            self._ends[item.last] = self._ends.get(item.last, NOTHING) | {k}
        self._simple = [runs.simple(run) for run in runs.runs]
        self.by_mode = self._all()

    def stationary(self, run: Run, slices: int) -> float:
        """Bits that stay of a layer: its weights, on the way back the partial sums of its gradient as well."""
        key = (run.row, run.pass_ != 0, slices)
        if key not in self._stays:
            self._stays[key] = self._stationary(*key)
        return self._stays[key]

    def _stationary(self, row: int, back: bool, slices: int) -> float:
        layer = self.runs.layers[row]
        jobs, elements = self.slicing.work[slices].jobs, float(layer.parameters)
        data = DATA if PASSES[DATA] in layer.passes and back else 0
        bits = elements * float(jobs.stored_bits[self.slicing.job(Run(row, data), slices), 0])
        if back and PASSES[WEIGHT] in layer.passes:
            bits += elements * float(self.slicing.partial[slices][self.slicing.job(Run(row, WEIGHT), slices)])
        return bits

    def _all(self) -> dict[Mode, dict[int, set[State]]]:
        runs, at = self.runs, dict[int, list[int]]()
        for n, run in enumerate(runs.runs):
            at.setdefault(run.row, []).append(n)
        result = {}
        for slices in slicings(runs.network.batch):
            free = self._states(Mode(slices, -1), 0.0, range(len(runs.runs)))
            result[Mode(slices, -1)] = free
            if slices == 1:
                continue
            waiting = {runs.runs[n].row for n in free}
            for row in runs.macs:
                if runs.layers[row].kind == "matmul" or row not in waiting:
                    continue
                near = [n for other in range(row - REACH, row + REACH + 1) for n in at.get(other, ())]
                forward = sorted(n for n in near if runs.runs[n].pass_ == 0)
                back = sorted(n for n in near if runs.runs[n].pass_ != 0)
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
        room = self.size - held
        result: dict[int, set[State]] = {}
        alive: dict[State, float] = {NOTHING: 0.0}
        within = set(among)
        for n in among:
            if mode.slices > 1 and self.runs.whole[n]:
                alive = {NOTHING: 0.0}
            here = alive
            made = self.runs.makes.get(n, -1)
            if made >= 0 and bits[made] <= room and all(read.run in within for read in items[made].reads):
                here = dict(alive)
                here.update({state | {made}: taken + bits[made] for state, taken in alive.items()})
                here = {state: taken for state, taken in here.items() if taken <= room}
            if not self._simple[n] or (room < 0.0):
                here = {NOTHING: 0.0}
            if len(here) > MOST_STATES:
                most = sorted(here, key=lambda state: (-here[state], sorted(state)))
                here = {state: here[state] for state in (NOTHING, *most[: MOST_STATES - 1])}
            if len(here) > 1:
                result[n] = set(here) - {NOTHING}
            gone = self._ends.get(n)
            alive = here if gone is None else {state - gone: sum(bits[k] for k in state - gone) for state in here}
        return result
