"""The best mapping of every job on every design, whatever the hierarchy, and that mapping as explicit loops."""

from __future__ import annotations

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.deep_jobs import deep_cost_jobs
from dse.cost.mapped.resident import stays, whole_weights
from dse.cost.mapped.searched import priced, search_jobs, take_if_better
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs, is_deep, table_mapping
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT
from dse.names import DIMS


def best_jobs(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp", searched: bool = False
) -> JobCosts:
    """Cost of every job on every design, each under its best mapping: :func:`dse.cost.mapped.table_jobs.cost_jobs` for at most one
    private and one shared memory per operand, :func:`dse.cost.mapped.deep_jobs.deep_cost_jobs` for more.

    Parameters
    ----------
    searched
        Search on from the tables' mappings at each design alone (:mod:`dse.cost.mapped.searched`); with more memories that is
        always done.
    """
    if is_deep(hardware):
        costs = deep_cost_jobs(hardware, arrays, jobs, objective)
    else:
        costs = cost_jobs(hardware, arrays, jobs, objective)
        if searched:
            search_jobs(costs, hardware, arrays, jobs, objective)
    keep_weights(costs, hardware, arrays, jobs, objective)
    return costs


def keep_weights(costs: JobCosts, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str) -> None:
    """Let the weights of repeated jobs stay on the chip (:mod:`dse.cost.mapped.resident`) where that is better, in place."""
    sizes = np.stack(
        [arrays.size_bits[:, m] * arrays.instances[:, m] for m in _holders(hardware)] or [np.zeros(len(arrays))]
    )
    for job in np.flatnonzero(jobs.runs > 1):
        nest = jobs.nests[int(jobs.nest[job])]
        bits = (
            float(np.prod([n for dim, n in zip(DIMS, nest.dims, strict=True) if dim in RELEVANT["W"]]))
            * jobs.stored_bits[job, 0]
        )
        for design in np.flatnonzero((costs.limit[:, job] == "") & (sizes.max(axis=0) >= bits)).tolist():
            _keep_weights(costs, hardware, arrays, jobs, objective, int(job), design)


def _holders(hardware: Hardware) -> list[int]:
    return [m for m, memory in enumerate(hardware.memories[:-1]) if "weight" in memory.roles]


def _keep_weights(
    costs: JobCosts, hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str, job: int, design: int
) -> None:
    nest, one = jobs.nests[int(jobs.nest[job])], arrays.rows(design, design + 1)
    found = mapping_of(hardware, arrays, jobs, costs, job, design)
    for mapping in (found, *whole_weights(found, nest, hardware)):
        if stays(mapping, job, hardware, one, jobs) is not None:
            take_if_better(costs, priced(mapping, hardware, one, jobs, job), objective, design, job)


def mapping_of(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, costs: JobCosts, job: int, design: int = 0
) -> Mapping:
    """The mapping that a feasible job runs under on a design."""
    if (design, job) in costs.mappings:
        mapping = costs.mappings[design, job]
    else:
        mapping = table_mapping(hardware, arrays, jobs, costs, job, design)
    return mapping.with_outermost(hardware.memories[-1].name)
