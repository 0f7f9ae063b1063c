"""The mapping that each layer of a design runs under, pass by pass, as explicit loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.cost.jobs.formats import partial_bits
from dse.cost.jobs.network import layer_runs, network_jobs
from dse.cost.mapped.best_jobs import best_jobs, mapping_of
from dse.cost.mapped.mapping_costs import steps_of_mapping
from dse.cost.mapped.searched import front_searching
from dse.errors import InputError
from dse.export.design import Design
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import Nest
from dse.workload import Layer


@dataclass(frozen=True)
class MappedNest:
    """One nest of a pass of one layer under its best mapping.

    Attributes
    ----------
    place, times
        Which of the nests of the pass it is, and how often it runs; all figures are of one run.
    nest, mapping
        The loop nest of the whole batch, and its loops and levels.
    stored_bits
        Bits per element of the operands in the weight and in the activation role, and of the finished result.
    sum_bits
        Bits of a partial sum.
    energy_pj, cycles
        By this model.
    mac_pj, memory_pj
        Parts of the energy: all MACs, and each memory in the order of the hardware's.
    compute_cycles
        Steps of the array at one operand pair per processing element and step, which is what models without precision lanes
        count.
    pairs_per_cycle
        Operand pairs that a processing element takes per cycle at these widths, as far as the cycles show it: exact where compute
        bounds the pass, elsewhere at least what the pass needs.
    """

    layer: Layer
    pass_: str
    place: int
    times: float
    nest: Nest
    mapping: Mapping
    stored_bits: tuple[float, float, float]
    sum_bits: int
    energy_pj: float
    cycles: float
    mac_pj: float
    memory_pj: tuple[float, ...]
    compute_cycles: float
    pairs_per_cycle: float

    @property
    def name(self) -> str:
        """Layer and pass, and from a pass's second nest on its number."""
        return f"{self.layer.name}.{self.pass_}" + (f".{self.place + 1}" if self.place else "")


def best_mappings(design: Design) -> tuple[HardwareArrays, list[MappedNest]]:
    """Prices and sizes of a design's hardware, and the runs of all layers with MACs in order.

    Raises
    ------
    InputError
        The design is infeasible.
    """
    arrays = hardware_arrays(design.hardware, None)
    work = network_jobs(design.network, design.hardware, [design.plan], design.mode)
    costs = best_jobs(design.hardware, arrays, work.jobs, searched=front_searching())
    failed = costs.failed()[0]
    if failed:
        raise InputError(design.name, [f"is infeasible: {failed}"])
    sums = partial_bits(design.hardware, work.jobs)
    memories = len(design.hardware.memories)
    runs = []
    for layer, pass_, place, job, times, _ in layer_runs(design.network, work):
        nest = work.jobs.nests[int(costs.nest[0, job])]
        mapping = mapping_of(design.hardware, arrays, work.jobs, costs, job)
        parts = costs.components_pj[0, job]
        bits = work.jobs.stored_bits[job]
        steps = steps_of_mapping(mapping, nest, design.hardware, arrays)
        pairs = steps / float(costs.cycles[0, job])
        runs.append(
            MappedNest(
                layer,
                pass_,
                place,
                times,
                nest,
                mapping,
                (float(bits[0]), float(bits[1]), float(bits[2])),
                int(sums[job]),
                float(costs.energy_pj[0, job]),
                float(costs.cycles[0, job]),
                float(parts[0]),
                tuple(float(x) for x in parts[1 : 1 + memories]),
                steps,
                pairs if costs.bound[0, job] == 0 else max(pairs, 1.0),
            )
        )
    return arrays, runs


def whole_bits(bits: float) -> int:
    """Bits of an element for tools that know integers only: rounded up."""
    return int(np.ceil(bits - 1e-9))
