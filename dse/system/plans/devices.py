"""A hardware model as the device of a system: its mapped cycles give the rate of products, its prices the energy."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, prod
from typing import NamedTuple

from dse.cost.totals.evaluate import evaluate
from dse.errors import NothingFeasible
from dse.hardware.model import Hardware
from dse.precision.plans.plan import Plan
from dse.system.model import Device
from dse.system.network.blocks import blocks_of
from dse.workload.model import Network

#: Elements of the plan's widths all run at the rate that the mapping found, so that one rate stands for all.
ANY_WIDTH = 64


class Mapped(NamedTuple):
    """A device made of a hardware model, and its energy of a sample through all passes [J]."""

    device: Device
    sample_j: float


def mapped_device(network: Network, hardware: Hardware, plan: Plan, micro_batch: int) -> Mapped:
    """The device that a hardware model is for a network under a plan.

    All blocks but the first are left out of the mapping, since they are equal; the rate of products is that of the layers with MACs
    together, the energy that of all layers.

    Raises
    ------
    NothingFeasible
        The hardware does not take the plan's formats.
    """
    blocks = blocks_of(network)
    kept = [*range(blocks.first + blocks.size), *range(blocks.end, len(network.layers))]
    part = replace(network, layers=tuple(network.layers[place] for place in kept)).with_batch(micro_batch)
    names = [layer.name for layer in part.layers]
    cost = evaluate(part, replace_memory(hardware), plan.part(names), search_mappings=False)
    first = cost.total.iloc[0]
    if not first["feasible"]:
        raise NothingFeasible(f"{network.name} on {hardware.name}", [f"infeasible: {first['limit']}"])
    layers = cost.layers
    inside = set(names[blocks.first : blocks.first + blocks.size])
    times = layers["layer"].map(lambda name: blocks.count if name in inside else 1)
    products = layers["layer"].isin({layer.name for layer in part.mac_layers})
    macs = sum(
        layer.macs * len(layer.passes) * (blocks.count if layer.name in inside else 1) * micro_batch
        for layer in part.mac_layers
    )
    seconds = float((layers["latency_s"] * times)[products].sum())
    energy = float((layers["energy_j"] * times).sum())
    dram = hardware.memories[-1]
    peak = prod(axis.size for axis in hardware.axes) * hardware.clock_hz
    reached = macs / seconds
    device = Device(
        hardware.name,
        {ANY_WIDTH: reached},
        {ANY_WIDTH: max(peak, reached)},
        memory_bytes=dram.size_bits / 8.0 if isfinite(dram.size_bits) else float("inf"),
        memory_bytes_per_s=dram.bandwidth_bits_per_cycle * hardware.clock_hz / 8.0,
        tile=1,
        hardware=hardware.name,
        source=hardware.sources[""],
    )
    return Mapped(device, energy / micro_batch)


def replace_memory(hardware: Hardware) -> Hardware:
    """The hardware with an endless last memory: what a device holds of a network is counted by :mod:`dse.system.plans.memory`."""
    last = replace(hardware.memories[-1], size_bits=float("inf"))
    return replace(hardware, memories=(*hardware.memories[:-1], last))
