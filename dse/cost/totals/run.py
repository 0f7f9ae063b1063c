"""What a training run costs beside its steps: changing the widths, and deciding about them.

A change of widths (:meth:`dse.precision.Schedule.transitions`) drains the array and loads its configuration
(:func:`dse.hardware.prices.side_costs.reconfiguration`), and makes the weights anew from their master copy wherever their format
changes: read, converted, written. A policy's decisions are vector operations in FP32 and traffic
(:class:`dse.precision.policies.rules.Overhead`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.cost.steps.side import convert_cell_pj
from dse.cost.tensors.storage import storage_of
from dse.hardware.arrays import HardwareArrays
from dse.hardware.elements import element_family
from dse.hardware.model import Hardware
from dse.hardware.prices.side_costs import reconfiguration, vector_op_pj
from dse.hardware.prices.technology import energy_scale
from dse.precision.policies.rules import Overhead
from dse.precision.schedules.schedule import Schedule
from dse.types import Floats, Ints
from dse.workload.model import Network


@dataclass(frozen=True)
class Extra:
    """Costs of D designs that belong to a whole run, not to a layer.

    Attributes
    ----------
    name
        What they are, as the table of layers calls it.
    energy_j
        (D,) by component.
    latency_s
        (D,)
    dram_bits
        The same for every design.
    """

    name: str
    energy_j: dict[str, Floats]
    latency_s: Floats
    dram_bits: float

    @property
    def total_j(self) -> Floats:
        """(D,) all components together."""
        return np.asarray(sum(self.energy_j.values()))

    def at(self, places: Ints) -> Extra:
        """Of the designs at these places."""
        energy = {name: values[places] for name, values in self.energy_j.items()}
        return Extra(self.name, energy, self.latency_s[places], self.dram_bits)


def change_costs(network: Network, hardware: Hardware, arrays: HardwareArrays, schedule: Schedule) -> Extra:
    """All changes of widths of a run."""
    parameters = np.array([layer.parameters for layer in network.layers], dtype=np.float64)
    changes, read, written, convert = 0, 0.0, 0.0, 0.0
    storage = storage_of(network)
    for before, after, count in schedule.transitions(network):
        pairs = zip(before.cells("weight"), after.cells("weight"), strict=True)
        moved = parameters * np.array([old is not new and old != new for old, new in pairs])
        read += count * float((moved * storage.bits(after, "master")).sum())
        written += count * float((moved * storage.bits(after, "weight")).sum())
        convert += count * float((moved * [convert_cell_pj(cell) for cell in after.cells("weight")]).sum())
        changes += count
    dram = len(hardware.memories) - 1
    memory = arrays.read_pj_per_bit[:, dram] * read + arrays.write_pj_per_bit[:, dram] * written
    energy = {
        hardware.memories[dram].name: memory * 1e-12,
        "quantize": convert * energy_scale(arrays.node_nm) * arrays.logic_scale * 1e-12,
    }
    cycles = (read + written) / arrays.bandwidth_bits_per_cycle[:, dram]
    if element_family(hardware.pe.family).reconfigures:
        sides = (arrays.axis_size[:, 0], arrays.axis_size[:, 1:].prod(axis=1))
        setup = reconfiguration(*sides, arrays.node_nm)
        energy["reconfigure"] = changes * setup.energy_pj * arrays.logic_scale * 1e-12
        cycles = cycles + changes * setup.cycles
    return Extra("width changes", energy, cycles / arrays.clock_hz, read + written)


def policy_costs(hardware: Hardware, arrays: HardwareArrays, overhead: Overhead) -> Extra:
    """A policy's operations on the vector unit and its traffic, half of it reads; the slower of the two decides the time."""
    dram = len(hardware.memories) - 1
    price = (arrays.read_pj_per_bit[:, dram] + arrays.write_pj_per_bit[:, dram]) / 2
    energy = {
        hardware.memories[dram].name: price * overhead.traffic_bits * 1e-12,
        "analytics": vector_op_pj(32, True, arrays.node_nm) * arrays.logic_scale * overhead.operations * 1e-12,
    }
    cycles = np.maximum(
        overhead.operations / arrays.vector_lanes,
        overhead.traffic_bits / arrays.bandwidth_bits_per_cycle[:, dram],
    )
    return Extra("policy", energy, cycles / arrays.clock_hz, overhead.traffic_bits)
