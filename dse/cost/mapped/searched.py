"""Mappings searched for each (design, job) alone, where what tables hold is not enough.

Tables are searched at a number of points and looked up in between, where their best row may be some per cent from the best
mapping. For designs that somebody looks at, the search goes on from there at the design's own prices, capacities and formats. What
is found is counted and priced loop by loop, as a user's mapping is, and taken where it is better: what is reported is the exact
cost of a mapping that exists, and never worse than the table's. It depends on the design and the job alone.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.points import points_of, spans_of
from dse.cost.mapped.mapping_checks import shortfalls
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.cost.mapped.table_jobs import LEAK_COMPONENT, MAC_COMPONENT, JobCosts, array_shape, mapper_options, tables_of
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.best.space import slots_of
from dse.mapping.best.tables.refine import refined
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.explicit.mapping import Mapping
from dse.types import Floats

_Number = TypeVar("_Number", float, Floats)

#: Searches whose result is kept in memory.
MOST_KEPT = 50_000


@dataclass(frozen=True)
class Priced:
    """A mapping of a job on a design that fits, and what it costs there.

    Attributes
    ----------
    components_pj, traffic_bits
        By component as in :attr:`dse.cost.mapped.table_jobs.JobCosts.components`, and by memory.
    bound
        What the time follows: 0 compute, 1 + m memory m.
    """

    mapping: Mapping
    energy_pj: float
    cycles: float
    components_pj: tuple[float, ...]
    traffic_bits: tuple[float, ...]
    bound: int


@dataclass(frozen=True)
class _Question:
    """One job on one design."""

    hardware: Hardware
    arrays: HardwareArrays
    jobs: Jobs
    design: int
    job: int
    objective: str

    @property
    def key(self) -> tuple[object, ...]:
        """Everything that the answer depends on."""
        numbers = [value[self.design] for value in vars(self.arrays).values() if isinstance(value, np.ndarray)]
        numbers += [value[self.job] for name, value in vars(self.jobs).items() if name not in ("nests", "nest")]
        nest = self.jobs.nests[int(self.jobs.nest[self.job])]
        return (self.hardware.identity, nest, self.objective, b"".join(np.asarray(x).tobytes() for x in numbers))


_KNOWN: OrderedDict[tuple[object, ...], Priced | None] = OrderedDict()
_LOCK = threading.Lock()


def search_jobs(costs: JobCosts, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str) -> None:
    """Search on from the tables' mappings, in place, for every feasible job of every design."""
    asked = [
        _Question(hardware, arrays, jobs, design, job, objective)
        for design, job in np.argwhere(costs.limit == "").tolist()
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for question, found in zip(asked, pool.map(_answer, asked), strict=True):
            take_if_better(costs, found, objective, question.design, question.job)


def _answer(question: _Question) -> Priced | None:
    """What a search finds beyond the table, priced; None if nothing. From memory where it was asked before."""
    key = question.key
    with _LOCK:
        if key in _KNOWN:
            _KNOWN.move_to_end(key)
            return _KNOWN[key]
    found = _searched(question)
    with _LOCK:
        _KNOWN[key] = found
        while len(_KNOWN) > MOST_KEPT:
            _KNOWN.popitem(last=False)
    return found


def _searched(question: _Question) -> Priced | None:
    hardware, jobs, one = question.hardware, question.jobs, np.array([question.job])
    arrays = question.arrays.rows(question.design, question.design + 1)
    nest = jobs.nests[int(jobs.nest[question.job])]
    slots = slots_of(array_shape(hardware, arrays.axis_size[0], nest.pass_))
    (table,) = tables_of(hardware, arrays.axis_size[0], [nest], spans_of(hardware, jobs, one))
    point = points_of(hardware, arrays, np.array([0]), jobs, one, nest, slots, [question.objective])
    mapping = refined(table, point, mapper_options(hardware))
    return None if mapping is None else priced(mapping, hardware, arrays, jobs, question.job)


def priced(mapping: Mapping, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, job: int) -> Priced | None:
    """A mapping's costs on the first design of some arrays, counted loop by loop; None if it does not fit."""
    nest, names = jobs.nests[int(jobs.nest[job])], [memory.name for memory in hardware.memories]
    placed = mapping.with_outermost(names[-1])
    if shortfalls(placed, nest, hardware, arrays, jobs, job):
        return None
    row, entries = cost_of_mapping(placed, job, hardware, arrays, jobs, ENGINE)
    moved = [sum(entry["moved_bits"] for entry in entries if entry["memory"] == name) for name in names]
    parts = [float(row[f"{name}_pj"]) for name in (MAC_COMPONENT, *names, LEAK_COMPONENT)]
    bound = ("compute", *names).index(row["bound"])
    return Priced(placed, float(row["energy_pj"]), float(row["cycles"]), tuple(parts), tuple(moved), bound)


def take_if_better(costs: JobCosts, found: Priced | None, objective: str, design: int, job: int) -> None:
    """Put a mapping in the place of a job's mapping on a design if it is better by the objective."""
    known = worth(float(costs.energy_pj[design, job]), float(costs.cycles[design, job]), objective)
    if found is None or worth(found.energy_pj, found.cycles, objective) >= known:
        return
    at = design, job
    costs.energy_pj[at], costs.cycles[at], costs.bound[at] = found.energy_pj, found.cycles, found.bound
    costs.components_pj[at], costs.traffic_bits[at] = found.components_pj, found.traffic_bits
    costs.mappings[at] = found.mapping


def worth(energy: _Number, time: _Number, objective: str) -> _Number:
    """What a mapping is chosen by."""
    return energy * time if objective == "edp" else energy if objective == "energy" else time
