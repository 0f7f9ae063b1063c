"""The memory limit: what every choice holds at every moment of a step, and the best map whose peak keeps the limit.

The peak of a step is the largest of the sums of what is held at its moments (:mod:`dse.cost.tensors.memory`), and what is held
follows the formats of one layer each. A limit on the peak is therefore a limit on a sum for every moment. Few of them bind: the
best map is found without them first, then with the moment at which it holds most as a limit, and so on until it keeps
the limit at every moment. Each of these problems has fewer limits than the whole, so that its bound holds for the
whole, and a map that keeps all limits is the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dse.cost.steps.choices import group_of_layers
from dse.cost.tensors.memory import held, held_bits
from dse.precision import Plan
from dse.search.allocation.allocate import Allocation, Limit
from dse.search.allocation.lagrange import allowed_score
from dse.search.bits.limits import MEMORY
from dse.types import Floats, Ints
from dse.workload.model import Network


@dataclass(frozen=True)
class HeldTable:
    """What the choices of a network's groups hold at an error format: one row for everything that some choice holds at some moment.

    Attributes
    ----------
    group, choice
        (rows,) whose it is.
    first, last
        (rows,) moments from which and to which it is held.
    bits
        (rows,)
    shape
        Groups and choices.
    """

    group: Ints
    choice: Ints
    first: Ints
    last: Ints
    bits: Floats
    shape: tuple[int, int]

    def peak(self, choice: npt.NDArray[np.integer]) -> tuple[float, int]:
        """Bits that a map holds at its peak, and the moment of it."""
        taken = self.choice == np.asarray(choice, np.int64)[self.group]
        sums = held_bits(self.first[taken], self.last[taken], self.bits[taken])
        moment = int(sums.argmax())
        here = taken & (self.first <= moment) & (moment <= self.last)
        return math.fsum(self.bits[here]), moment

    def at(self, moment: int) -> Floats:
        """(G, M) bits that the choices hold at a moment."""
        here = (self.first <= moment) & (moment <= self.last)
        table = np.zeros(self.shape)
        np.add.at(table, (self.group[here], self.choice[here]), self.bits[here])
        return table


def held_tables(
    network: Network,
    plans: Sequence[Sequence[Plan]],
    groups: Sequence[Sequence[int]],
    mode: str,
) -> tuple[HeldTable, ...]:
    """One table per format of the error tensors.

    Parameters
    ----------
    plans
        (E, M) the plan that gives choice m to every layer, at error format e.
    """
    member = np.array(group_of_layers(network, groups))
    tables = []
    for row_of_plans in plans:
        columns: list[list[float]] = [[], [], [], [], []]
        for m, plan in enumerate(row_of_plans):
            for item in held(network, plan, mode):
                row = (member[item.layer], m, item.first, item.last, item.bits)
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
        group, choice, first, last = (np.array(column, np.int64) for column in columns[:-1])
        tables.append(HeldTable(group, choice, first, last, np.array(columns[-1]), (len(groups), len(row_of_plans))))
    return tuple(tables)


def solve_within(
    table: HeldTable, bound: float, solve: Callable[[list[Limit]], Allocation], start: Sequence[int] = ()
) -> Allocation:
    """The best map whose peak is at most ``bound``.

    Parameters
    ----------
    solve
        The best map within further limits.
    start
        Moments to begin with.
    """
    moments = list(start)
    while True:
        answer = solve([Limit(MEMORY, table.at(moment), bound) for moment in moments])
        if not answer.feasible:
            names = list(dict.fromkeys(answer.limit.split(" and ")))
            return replace(answer, limit=" and ".join(names))
        peak, moment = table.peak(answer.choice)
        if peak <= allowed_score(bound) or moment in moments:
            return answer
        moments.append(moment)
