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
no run takes more energy, time or bits of DRAM than without, where no more sets may wait at a run and number of slices than are
looked at (:data:`dse.cost.fusion.training.states.MOST_STATES`). What a product finds left of the memory is rounded down to a part
of it (:data:`dse.cost.fusion.training.prices.PARTS`), so that a larger memory is never worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dse.cost.fusion.apart import Apart, Closed
from dse.cost.fusion.training.prices import Prices, RunCost, no_worse
from dse.cost.fusion.training.runs import TrainingRuns
from dse.cost.fusion.training.states import NOTHING, WHOLE, Step
from dse.cost.fusion.vector import shared_buffer
from dse.cost.mapped.table_jobs import is_deep


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


def sliced_choices(apart: Apart, closed: Closed | None = None) -> dict[tuple[int, int], Sliced]:
    """What waits in a training step, by design and plan; nothing where a role passes by the shared memory or the hierarchy is deep.

    Parameters
    ----------
    closed
        Only of these designs and plans, beside layers that run fused otherwise; None: of all.
    """
    found: dict[tuple[int, int], Sliced] = {}
    hardware, arrays = apart.hardware, apart.arrays
    if is_deep(hardware):
        return found
    buffers = shared_buffer(hardware, arrays)
    for i, (plan, copies) in enumerate(zip(apart.plans, apart.stored, strict=True)):
        known: dict[tuple[int, frozenset[int]], TrainingRuns] = {}
        for d in range(len(arrays)):
            m = int(buffers[d])
            if m < 0 or (closed is not None and (d, i) not in closed):
                continue
            key = (m, frozenset() if closed is None else closed[d, i])
            if key not in known:
                roles = hardware.memories[m].roles
                known[key] = TrainingRuns(apart.network, plan, copies, apart.work, i, roles, key[1])
            runs = known[key]
            if not runs.items or apart.infeasible(d, i):
                continue
            prices = Prices(apart, runs, d, m)
            path = best_path(runs, prices)
            costs = {n: prices.cost(n, step) for n, step in enumerate(path) if step.state}
            found[d, i] = Sliced(
                runs, tuple(path), {n: cost for n, cost in costs.items() if cost is not prices.base[n]}
            )
    return found


class _Node(NamedTuple):
    value: float
    before: _Node | None
    step: Step


def best_path(runs: TrainingRuns, prices: Prices) -> list[Step]:
    """By run how it is taken and what waits on the best path; no run may cost more than where nothing waits."""
    base = prices.base
    energy, cycles = (max(sum(x), 1e-300) for x in zip(*((row.energy_pj, row.cycles) for row in base), strict=True))
    last = [item.last for item in runs.items]
    ends = {n: frozenset(k for k, at in enumerate(last) if at == n) for n in set(last)}
    free = Step(WHOLE, NOTHING)
    best: dict[Step, _Node] = {free: _Node(0.0, None, free)}
    for n, own in enumerate(base):
        reached: dict[Step, _Node] = {}
        made, gone = frozenset({runs.makes.get(n, -1)}), ends.get(n, NOTHING)
        if free in best:
            value = best[free].value + own.energy_pj / energy + own.cycles / cycles
            reached[free] = _Node(value, best[free], free)
        for mode, states in prices.options[n]:
            for state in states:
                before = state - made
                node = best.get(Step(mode, before) if before else free)
                if node is None or (before and mode.slices > 1 and runs.whole[n]):
                    continue
                found = prices.cost(n, Step(mode, state))
                if not no_worse(found, own):
                    continue
                value = node.value + found.energy_pj / energy + found.cycles / cycles
                after = state - gone
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
