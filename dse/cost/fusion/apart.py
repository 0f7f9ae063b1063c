"""A step whose layers meet in DRAM but for epilogues: what every choice of what waits on the chip starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.cost.fusion.vector import VectorCosts
from dse.cost.jobs.network import NetworkJobs
from dse.cost.mapped.table_jobs import JobCosts
from dse.cost.tensors.copies import Stored
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.model import Network

#: Parts of a memory in which what waits is counted, rounded up.
PARTS = 16

#: By place of a design and of a plan the layers that run fused otherwise, and beside which nothing waits.
Closed = Mapping[tuple[int, int], frozenset[int]]


@dataclass(frozen=True)
class Apart:
    """D designs, I plans.

    Attributes
    ----------
    stored
        By plan how tensors lie in DRAM.
    work, jobs
        The nests of all plans, and what each costs on every design under its best mapping.
    vector
        What layers without MACs cost, epilogues taken off.
    not_written
        (I, layers, passes) bits that epilogues save of other layers' results (:func:`dse.cost.fusion.epilogues.saved_bits`).
    objective
        What mappings are chosen by.
    """

    network: Network
    hardware: Hardware
    arrays: HardwareArrays
    plans: Sequence[Plan]
    stored: Sequence[Stored]
    work: NetworkJobs
    jobs: JobCosts
    vector: VectorCosts
    not_written: Floats
    objective: str = "edp"

    def infeasible(self, d: int, i: int) -> bool:
        """Whether a design cannot run some nest of a plan."""
        jobs = self.work.job[i]
        return bool((self.jobs.limit[d][jobs[jobs >= 0]] != "").any())


def beside_what_waits(one: HardwareArrays, memory: int, taken: Sequence[int]) -> HardwareArrays:
    """A design once for each number of :data:`PARTS` parts that what waits takes of a memory, with what is left of it.

    Parameters
    ----------
    one
        One design.
    taken
        Parts taken, from 0 to :data:`PARTS`.
    """
    many: dict[str, Any] = {
        name: np.repeat(values, len(taken), axis=0)
        for name, values in vars(one).items()
        if isinstance(values, np.ndarray)
    }
    many["size_bits"][:, memory] *= (PARTS - np.array(taken)) / PARTS
    return replace(one, **many)
