"""A hardware file in tables: its array and memories with sizes and prices, what its elements multiply at what energy, what varies.

Every figure is the one that :func:`dse.evaluate` reads (:func:`dse.hardware.arrays.hardware_arrays`,
:func:`dse.hardware.pe.mac_energy_pj`); peak rates are lanes over cycles of all elements at the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dse.cost.jobs.formats import takes_format
from dse.hardware.arrays import hardware_arrays
from dse.hardware.model import Hardware
from dse.hardware.pe import mac_energy_pj, pe_mode
from dse.hardware.prices.technology import nominal_supply_v
from dse.names import ROLES
from dse.precision.formats.properties import multiplier_bits, parse_format

#: Formats of which a table says what an element does with them, where it takes them.
SHOWN = (
    *(
        "int16",
        "int8",
        "int4",
        "int2",
        "binary",
        "mxint8",
        "bfp8",
        "fp32",
        "tf32",
        "fp16",
        "bf16",
        "fp8_e4m3",
        "fp8_e5m2",
    ),
    *("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4_e2m1", "nvfp4", "mls_e2m4", "mls_e2m1"),
)


@dataclass(frozen=True)
class MemoryRow:
    """A memory with its prices.

    Attributes
    ----------
    holds, one_for
        Roles that it holds, and which elements share an instance, in words.
    instances, size_bits, bandwidth_bits_per_cycle
        How many there are; capacity and reads plus writes of one; infinite where unlimited.
    area_mm2
        Of all instances; of DRAM, of its interface on the chip.
    """

    name: str
    holds: str
    one_for: str
    instances: int
    size_bits: float
    bandwidth_bits_per_cycle: float
    read_pj_per_bit: float
    write_pj_per_bit: float
    area_mm2: float


@dataclass(frozen=True)
class ElementRow:
    """A format that the elements multiply with itself: MACs per cycle of one element, energy of a MAC, and the peak of the array
    in operations per second, two per MAC."""

    form: str
    macs_per_cycle: float
    mac_pj: float
    ops_per_s: float


@dataclass(frozen=True)
class Varied:
    """A parameter of the space: how many values, and the ends."""

    name: str
    values: int
    least: float
    greatest: float


@dataclass(frozen=True)
class Fact:
    """Something about the whole: what, a text or a number, its unit."""

    label: str
    value: float | str
    unit: str = ""


@dataclass(frozen=True)
class Description:
    """What :func:`describe` finds; memories from the outside in, ``sources`` by part of the file."""

    facts: tuple[Fact, ...]
    memories: tuple[MemoryRow, ...]
    elements: tuple[ElementRow, ...]
    varies: tuple[Varied, ...]
    sources: dict[str, str]


def describe(hardware: Hardware) -> Description:
    """The default design of a hardware file in tables."""
    arrays = hardware_arrays(hardware)
    count = math.prod(axis.size for axis in hardware.axes)
    dram = arrays.bandwidth_bits_per_cycle[0, -1] * hardware.clock_hz / 8e9
    supply = hardware.supply_v if hardware.supply_v is not None else float(nominal_supply_v(hardware.node_nm))
    facts = (
        Fact("array", " x ".join(f"{axis.name} {axis.size}" for axis in hardware.axes)),
        Fact("elements", f"{count:,} of the family {hardware.pe.family}"),
        Fact("operands come from", ", ".join(f"{role}: {_nearest(hardware, role)}" for role in ROLES)),
        Fact("node", float(hardware.node_nm), "nm"),
        Fact("supply", supply, "V"),
        Fact("clock", float(hardware.clock_hz), "Hz"),
        Fact("vector lanes", f"{hardware.vector_lanes:,}"),
        Fact("area", float(arrays.area_mm2[0]), "mm²"),
        Fact("power while it waits", float(arrays.leakage_w[0]), "W"),
        Fact("DRAM bandwidth", float(dram), "GB/s"),
        Fact("designs in its space", f"{math.prod(len(parameter.values) for parameter in hardware.space):,}"),
    )
    varies = [Varied(item.name, len(item.values), min(item.values), max(item.values)) for item in hardware.space]
    sources = {part or "the whole": " ".join(text.split()) for part, text in hardware.sources.items()}
    return Description(facts, _memories(hardware), _elements(hardware, count), tuple(varies), sources)


def _nearest(hardware: Hardware, role: str) -> str:
    """The memory next to the elements that holds a role."""
    return next(memory.name for memory in hardware.memories if role in memory.roles)


def _memories(hardware: Hardware) -> tuple[MemoryRow, ...]:
    arrays = hardware_arrays(hardware)
    return tuple(
        MemoryRow(
            name=memory.name,
            holds=", ".join(memory.roles),
            one_for=_one_for(hardware, memory.shared_along),
            instances=int(arrays.instances[0, m]),
            size_bits=float(arrays.size_bits[0, m]),
            bandwidth_bits_per_cycle=float(arrays.bandwidth_bits_per_cycle[0, m]),
            read_pj_per_bit=float(arrays.read_pj_per_bit[0, m]),
            write_pj_per_bit=float(arrays.write_pj_per_bit[0, m]),
            area_mm2=float(arrays.area_parts_mm2[0, m + 1]),
        )
        for m, memory in reversed(list(enumerate(hardware.memories)))
    )


def _one_for(hardware: Hardware, shared: tuple[str, ...]) -> str:
    """Which elements share an instance, in words."""
    if len(shared) == len(hardware.axes):
        return "all elements"
    return f"the elements along {' and '.join(shared)}" if shared else "each element"


def _elements(hardware: Hardware, count: int) -> tuple[ElementRow, ...]:
    rows = []
    scale = float(hardware_arrays(hardware).element_scale[0])
    for name in SHOWN:
        form = parse_format(name)
        if not takes_format(hardware.pe, form):
            continue
        bits = multiplier_bits(form)
        mode = pe_mode(hardware.pe, bits, bits)
        rate = float(mode.lanes / mode.step_cycles)
        energy = float(mac_energy_pj(hardware.pe, bits, bits, node_nm=hardware.node_nm)) * scale
        rows.append(ElementRow(name, rate, energy, 2.0 * rate * count * hardware.clock_hz))
    return tuple(rows)
