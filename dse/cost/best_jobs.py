"""The best mapping of every job on every design, whatever the hierarchy, and that mapping as explicit loops."""

from __future__ import annotations

from dataclasses import replace

from dse.cost.deep_jobs import deep_cost_jobs
from dse.cost.jobs import JobCosts, Jobs, array_shape, cost_jobs, is_deep, table_options
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.best.engine import build_table
from dse.mapping.explicit.mapping import Mapping


def best_jobs(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp") -> JobCosts:
    """Cost of every job on every design, each under its best mapping: :func:`dse.cost.jobs.cost_jobs` for at most one private
    and one shared memory per operand, :func:`dse.cost.deep_jobs.deep_cost_jobs` for more."""
    return (deep_cost_jobs if is_deep(hardware) else cost_jobs)(hardware, arrays, jobs, objective)


def mapping_of(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, costs: JobCosts, job: int, design: int = 0
) -> Mapping:
    """The mapping that a feasible job runs under on a design."""
    if (design, job) in costs.mappings:
        mapping = costs.mappings[design, job]
    else:
        nest = jobs.nests[int(jobs.nest[job])]
        shape = array_shape(hardware, arrays.axis_size[design], nest.pass_)
        mapping = build_table(nest, shape, options=table_options(hardware, jobs)).explicit(
            int(costs.candidate[design, job])
        )
    dram = replace(mapping.levels[-1], name=hardware.memories[-1].name)
    return replace(mapping, levels=(*mapping.levels[:-1], dram))
