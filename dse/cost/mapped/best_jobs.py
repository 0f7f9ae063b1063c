"""The best mapping of every job on every design, whatever the hierarchy, and that mapping as explicit loops.

backward_data of a convolution of stride 1 has two orders.

Scatter: every error of the output goes to all inputs that its windows touch, the forward pass backwards (the nest that
:func:`dse.cost.jobs.network.nests_of` gives). Gather: every error of the input collects what the windows over it have, a forward
convolution of the output's errors with the turned filters, in which K and C change places,

``E_in[n, c, h, w] = sum over k, r, s of W[k, c, R - 1 - r, S - 1 - s] E_out[n, k, h + p - (R - 1 - r) d ...]``

so that it runs as the hardware's forward pass does, with sums over the filter next to each other. Where rows of an array sum over
filter positions, a depthwise layer fills nine of them and not one. A plan of a layer takes the order that is better by the
objective of its mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.deep_jobs import deep_cost_jobs
from dse.cost.mapped.resident import stays, whole_weights
from dse.cost.mapped.searched import priced, search_jobs, take_if_better, worth
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs, is_deep, table_mapping
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT
from dse.names import DIMS
from dse.types import Bools, Ints

#: What names the other order in mapping files: ``LAYER.backward_data.gather``.
GATHER = "gather"


@dataclass(frozen=True)
class Orders:
    """Jobs, and behind them those that may run in the other order once more.

    Attributes
    ----------
    jobs
        (U + A) jobs, each in one order.
    first
        (A,) jobs that the last A of them are the other order of.
    """

    jobs: Jobs
    first: Ints


def both_orders(jobs: Jobs) -> Orders:
    """Jobs with those behind them that the other order makes."""
    first = np.flatnonzero(jobs.gathered >= 0)
    every = np.concatenate([np.arange(len(jobs.nest)), first])
    columns: dict[str, Any] = {name: value[every] for name, value in vars(jobs).items() if name != "nests"}
    columns["nest"] = np.concatenate([jobs.nest, jobs.gathered[first]])
    columns["gathered"] = np.full(len(every), -1, np.int64)
    return Orders(Jobs(nests=jobs.nests, **columns), first)


def better_order(costs: JobCosts, orders: Orders, objective: str) -> JobCosts:
    """Costs of the jobs alone, each in the order that is better; of equal ones the first."""
    count = len(orders.jobs.nest) - len(orders.first)
    columns: dict[str, Any] = {name: value[:, :count].copy() for name, value in _by_job(costs).items()}
    mappings = {at: mapping for at, mapping in costs.mappings.items() if at[1] < count}
    value = worth(costs.energy_pj, costs.cycles, objective)
    for other, job in enumerate(orders.first.tolist(), count):
        better = np.flatnonzero(value[:, other] < value[:, job])
        for name, whole in _by_job(costs).items():
            columns[name][better, job] = whole[better, other]
        for design in better.tolist() if costs.mappings else ():
            mappings.pop((design, job), None)
            if (design, other) in costs.mappings:
                mappings[design, job] = costs.mappings[design, other]
    return replace(costs, **columns, mappings=mappings)


def _by_job(costs: JobCosts) -> dict[str, Any]:
    """What costs have by (design, job)."""
    return {name: value for name, value in vars(costs).items() if isinstance(value, np.ndarray)}


def in_best_order(jobs: Jobs, objective: str, cost: Callable[[Jobs], JobCosts]) -> JobCosts:
    """Costs of jobs in the better order of each; ``cost`` prices jobs as they are."""
    orders = both_orders(jobs)
    return better_order(cost(orders.jobs), orders, objective)


def ordered_cost_jobs(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp", asked: Bools | None = None
) -> JobCosts:
    """:func:`dse.cost.mapped.table_jobs.cost_jobs` in the better order of each job."""
    orders = both_orders(jobs)
    here = None if asked is None else np.concatenate([asked, asked[:, orders.first]], axis=1)
    return better_order(cost_jobs(hardware, arrays, orders.jobs, objective, here), orders, objective)


def as_run(jobs: Jobs, costs: JobCosts, design: int = 0) -> Jobs:
    """Jobs in the order in which a design runs them."""
    return replace(jobs, nest=costs.nest[design].copy(), gathered=np.full(len(jobs.nest), -1, np.int64))


def best_jobs(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp", searched: bool = False
) -> JobCosts:
    """Cost of every job on every design, each under its best mapping and in its better order (:mod:`dse.cost.mapped.best_jobs`).

    :func:`dse.cost.mapped.table_jobs.cost_jobs` for at most one private and one shared memory per operand,
    :func:`dse.cost.mapped.deep_jobs.deep_cost_jobs` for more.

    Parameters
    ----------
    searched
        Search on from the tables' mappings at each design alone (:mod:`dse.cost.mapped.searched`); with more memories that is
        always done.
    """
    return in_best_order(jobs, objective, lambda asked: _best_as_they_are(hardware, arrays, asked, objective, searched))


def _best_as_they_are(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str, searched: bool
) -> JobCosts:
    """:func:`best_jobs` in the order of each job's own nest."""
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
    """The mapping that a feasible job runs under on a design, one of the nest that it runs (``costs.nest``)."""
    if (design, job) in costs.mappings:
        mapping = costs.mappings[design, job]
    else:
        mapping = table_mapping(hardware, arrays, jobs, costs, job, design)
    return mapping.with_outermost(hardware.memories[-1].name)
