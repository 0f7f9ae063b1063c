"""Mappings searched for each (design, job) alone, where what tables hold is not enough.

Tables are searched at a number of points and looked up in between, where their best row may be some per cent from the best
mapping. For designs that somebody looks at, the search goes on from there at the design's own prices, capacities and formats. What
is found is counted and priced loop by loop, as a user's mapping is, and taken where it is better: what is reported is the exact
cost of a mapping that exists, and never worse than the table's. It depends on the design and the job alone, and is kept on disk
(:mod:`dse.cost.jobs.answers`).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from dse.cost.jobs.answers import Answer, Priced, design_key, job_keys, recalled, remember
from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.points import points_of, spans_of
from dse.cost.mapped.mapping_checks import shortfalls
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.cost.mapped.table_jobs import LEAK_COMPONENT, MAC_COMPONENT, JobCosts, array_shape, mapper_options, tables_of
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.best.space import slots_of
from dse.mapping.best.tables.refine import refined
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.explicit.mapping import Mapping
from dse.types import Floats

#: Environment variable that says how mappings are found where nothing else is asked for, and its values, the default first.
SETTING, SETTINGS = "DSE_MAPPINGS", ("searched", "tables")

_Number = TypeVar("_Number", float, Floats)


def searching() -> bool:
    """Whether mappings are searched on where nothing else is asked for: unless ``DSE_MAPPINGS`` is ``tables``.

    Raises
    ------
    InputError
        ``DSE_MAPPINGS`` is neither ``searched`` nor ``tables``.
    """
    chosen = os.environ.get(SETTING) or SETTINGS[0]
    if chosen not in SETTINGS:
        raise InputError(SETTING, [f"expected {' or '.join(SETTINGS)}, got '{chosen}'"])
    return chosen == SETTINGS[0]


def front_searching() -> bool:
    """Whether what a search found is priced again under searched mappings: only where ``DSE_MAPPINGS`` is ``searched``.

    A front has hundreds of designs with mappings of their own: ResNet-18 takes minutes in place of seconds.
    """
    return searching() and os.environ.get(SETTING) == SETTINGS[0]


def search_jobs(costs: JobCosts, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str) -> None:
    """Search on from the tables' mappings, in place, for every feasible job of every design."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for design in range(len(arrays)):
            wanted = np.flatnonzero(costs.limit[design] == "").tolist()
            found = _answers(hardware, arrays.rows(design, design + 1), jobs, wanted, objective, pool)
            for job, answer in zip(wanted, found, strict=True):
                if isinstance(answer, Priced):
                    take_if_better(costs, answer, objective, design, job)


def _answers(
    hardware: Hardware, one: HardwareArrays, jobs: Jobs, wanted: list[int], objective: str, pool: ThreadPoolExecutor
) -> list[Answer]:
    """What searches of some jobs find beyond the tables on one design; None where nothing."""
    names = job_keys(jobs, wanted)
    known = recalled(
        design_key(hardware, one, 0, objective, "tables"),
        names,
        lambda place, answer: priced(answer.mapping, hardware, one, jobs, wanted[place]),
    )
    new = {name: job for name, job in zip(names, wanted, strict=True) if name not in known.found}
    found = pool.map(lambda job: _searched(hardware, one, jobs, job, objective), new.values())
    remember(known, dict(zip(new, found, strict=True)))
    return [known.found[name] for name in names]


def _searched(hardware: Hardware, one: HardwareArrays, jobs: Jobs, job: int, objective: str) -> Priced | None:
    """What a search finds beyond the table of a job on one design, priced; None if nothing."""
    only = np.array([job])
    nest = jobs.nests[int(jobs.nest[job])]
    slots = slots_of(array_shape(hardware, one.axis_size[0], nest.pass_))
    (table,) = tables_of(hardware, one.axis_size[0], [nest], spans_of(hardware, jobs, only))
    point = points_of(hardware, one, np.array([0]), jobs, only, nest, slots, [objective])
    mapping = refined(table, point, mapper_options(hardware, nest)).mapping
    return None if mapping is None else priced(mapping, hardware, one, jobs, job)


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
