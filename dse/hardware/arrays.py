"""A table of designs as arrays: sizes, bandwidths, prices, areas and leakage of n designs of one hardware file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dse.errors import InputError, Problem
from dse.hardware.elements import element_family
from dse.hardware.model import Hardware, Memory, expected, is_whole
from dse.hardware.pe import pe_area_mm2, pe_extrapolated, pe_leakage_w
from dse.hardware.prices import memories as prices
from dse.hardware.prices.clock import clock_pj_per_cycle, clocked_bits, pipeline_flip_flops
from dse.hardware.prices.technology import (
    SUPPLY_RANGE_V,
    highest_clock_hz,
    node_extrapolated,
    nominal_supply_v,
    voltage_energy_scale,
    voltage_leakage_scale,
)
from dse.hardware.space import grid_size, sample_table
from dse.types import Bools, Floats, Ints
from dse.yaml_input import suggest

__all__ = ["HardwareArrays", "grid_size", "hardware_arrays", "sample_table"]


#: Parts of the power that flows with time, in the order of :attr:`HardwareArrays.leakage_parts_w`.
STANDING = ("leakage", "interface", "clock")


#: Share of a double-buffered memory that tiles may take: Timeloop's effective size, the size over ``multiple_buffering`` (2), and
#: Gemmini's library, whose tiles take half of the scratchpad and half of the accumulator.
TILE_SHARE = 0.5


@dataclass(frozen=True)
class HardwareArrays:
    """n designs with m memories, inner to outer, DRAM last.

    Attributes
    ----------
    axis_size
        (n, axes) processing elements along each axis.
    node_nm, clock_hz
        (n,)
    size_bits, bandwidth_bits_per_cycle
        (n, m) of one instance; infinite where unlimited.
    read_pj_per_bit, write_pj_per_bit
        (n, m)
    tile_share
        (n, m) share of an instance that tiles of a mapping may take.
    block_bits
        (n, m) bits that it moves at once; 0: any number.
    instances
        (n, m) how many there are of each.
    area_parts, area_parts_mm2
        Names of the parts and (n, m + 2) their areas: elements, every memory (all instances; of DRAM its interface on the chip),
        overhead.
    area_mm2
        (n,) sum of the parts.
    leakage_w
        (n,) what flows with time: leakage of elements and memories, waiting DRAM interface, the file's idle power, clock and
        control.
    leakage_parts_w
        (n, 3) of it leakage, DRAM interface and idle power, clock and control (:data:`STANDING`).
    supply_v
        (n,) supply voltage.
    logic_scale, element_scale
        (n,) dynamic energy at the design's supply relative to the price functions' (nominal supply), of logic, and of the element,
        whose energy the file may give at its own supply.
    vector_lanes
        (n,) elements per cycle of the vector unit.
    extrapolated
        (n,) whether a price of the design lies outside the range of its source.
    """

    axis_size: Ints
    node_nm: Floats
    clock_hz: Floats
    size_bits: Floats
    bandwidth_bits_per_cycle: Floats
    read_pj_per_bit: Floats
    write_pj_per_bit: Floats
    tile_share: Floats
    block_bits: Floats
    instances: Floats
    area_parts: tuple[str, ...]
    area_parts_mm2: Floats
    area_mm2: Floats
    leakage_w: Floats
    leakage_parts_w: Floats
    supply_v: Floats
    logic_scale: Floats
    element_scale: Floats
    vector_lanes: Floats
    extrapolated: Bools

    def __len__(self) -> int:
        return len(self.clock_hz)

    @property
    def usable_bits(self) -> Floats:
        """(n, m) bits of one instance that tiles of a mapping may take; whole tensors that wait there may take the rest."""
        return self.size_bits * self.tile_share

    def rows(self, start: int, stop: int) -> HardwareArrays:
        """The designs of a range of rows."""
        return self.at(slice(start, stop))

    def at(self, places: slice | Ints) -> HardwareArrays:
        """The designs at these places."""
        cut: dict[str, Any] = {
            name: value[places] if isinstance(value, np.ndarray) else value for name, value in vars(self).items()
        }
        return HardwareArrays(**cut)


def hardware_arrays(hardware: Hardware, table: pd.DataFrame | None = None) -> HardwareArrays:
    """Arrays of one design or of every row of a table.

    Parameters
    ----------
    table
        Columns are parameters of the hardware's space; a parameter without a column keeps the hardware's value. None: one design.

    Raises
    ------
    InputError
        Unknown columns, values that are no numbers or lie outside the space; all at once.
    """
    if table is None:
        return _alone(hardware)
    return _arrays(hardware, _columns(hardware, table), len(table))


@lru_cache(maxsize=256)
def _alone(hardware: Hardware) -> HardwareArrays:
    """One design, whose arrays are asked for again and again."""
    return _arrays(hardware, {}, 1)


def _arrays(hardware: Hardware, columns: Mapping[str, Floats], n: int) -> HardwareArrays:
    """Arrays of n designs from the columns of their table."""

    def value(name: str, default: float) -> Floats:
        return columns[name] if name in columns else np.full(n, float(default))

    node = value("node_nm", hardware.node_nm)
    clock = value("clock_hz", hardware.clock_hz)
    nominal = nominal_supply_v(node)
    supply = value("supply_v", np.nan if hardware.supply_v is None else hardware.supply_v)
    supply = np.where(np.isnan(supply), nominal, supply)
    logic = voltage_energy_scale(supply, nominal)
    # Prices of the file are those at its own supply.
    own = voltage_energy_scale(supply, nominal if hardware.supply_v is None else hardware.supply_v)
    axis_size = np.stack([value(f"array.{axis.name}", axis.size) for axis in hardware.axes], axis=1).astype(np.int64)
    memories = [_memory(memory, value, node, clock, _Scales(logic, own)) for memory in hardware.memories]
    size, bandwidth, read, write, area, leakage, outside = (
        np.stack(part, axis=1) for part in zip(*memories, strict=True)
    )
    private = np.array(
        [[axis.name not in memory.shared_along for axis in hardware.axes] for memory in hardware.memories]
    )
    instances = np.where(private[None], axis_size[:, None, :], 1).prod(axis=2).astype(np.float64)
    elements = axis_size.prod(axis=1).astype(np.float64)
    # Synthesis gives cells; between them is room for wires. A measured area has it.
    placed = prices.PLACEMENT if hardware.pe.area_um2 is None else 1.0
    pipeline = pipeline_flip_flops(hardware, axis_size, element_family(hardware.pe.family).serial(hardware.pe))
    cells = elements * pe_area_mm2(hardware.pe, node) / placed
    if hardware.pe.area_um2 is None:
        cells = cells + pipeline * prices.register_area_mm2(1.0, node)
    parts = np.column_stack([cells, area * instances])
    wire = _wires_pj_per_bit(hardware, parts, private, axis_size, node) * logic[:, None]
    read, write = read + wire, write + wire
    if hardware.converter is not None:
        # At the port of the outermost memory: a part of its interface.
        parts[:, -1] += hardware.converter.area_mm2
    overhead = parts[:, :-1].sum(axis=1) * value("area_overhead", hardware.area_overhead)
    if hardware.die_mm2:
        overhead = np.maximum(hardware.die_mm2 - parts.sum(axis=1), 0.0)
    parts = np.column_stack([parts, overhead])
    leaks = elements * pe_leakage_w(hardware.pe, node) + (leakage * instances)[:, :-1].sum(axis=1)
    leaks = leaks + pipeline * prices.register_leakage_w(1.0, node)
    leaks = leaks * voltage_leakage_scale(supply, nominal)
    registers = np.array([memory.kind == "register" for memory in hardware.memories])
    flip_flops = np.where(registers, clocked_bits(size) * instances, 0.0).sum(axis=1)
    if hardware.clock_pj_per_cycle is None:
        ticking = clock_pj_per_cycle(flip_flops + pipeline, node) * logic * hardware.modelled_leakage
    else:
        ticking = value("clock_pj_per_cycle", hardware.clock_pj_per_cycle) * own
    standing = np.column_stack(
        [
            leaks * hardware.modelled_leakage,
            leakage[:, -1] * hardware.modelled_leakage + value("idle_w", hardware.idle_w),
            ticking * 1e-12 * clock,
        ]
    )
    slow = clock > highest_clock_hz(node, supply)
    low, high = SUPPLY_RANGE_V
    strange = (supply < low) | (supply > high) | slow
    return HardwareArrays(
        axis_size=axis_size,
        node_nm=node,
        clock_hz=clock,
        size_bits=size,
        bandwidth_bits_per_cycle=bandwidth,
        read_pj_per_bit=read,
        write_pj_per_bit=write,
        tile_share=np.tile([TILE_SHARE if memory.double_buffered else 1.0 for memory in hardware.memories], (n, 1)),
        block_bits=np.tile([float(memory.block_bits) for memory in hardware.memories], (n, 1)),
        instances=instances,
        area_parts=("pe", *(memory.name for memory in hardware.memories), "overhead"),
        area_parts_mm2=parts,
        area_mm2=parts.sum(axis=1),
        leakage_w=standing.sum(axis=1),
        leakage_parts_w=standing,
        supply_v=supply,
        logic_scale=logic,
        element_scale=logic if hardware.pe.energy_pj is None else own,
        vector_lanes=value("vector_lanes", hardware.vector_lanes),
        extrapolated=np.asarray(
            (outside > 0).any(axis=1) | node_extrapolated(node) | pe_extrapolated(hardware.pe) | strange
        ),
    )


def _columns(hardware: Hardware, table: pd.DataFrame) -> dict[str, Floats]:
    known = {parameter.name: parameter for parameter in hardware.space}
    problems = [] if len(table) else [Problem("", "expected at least one row, got none")]
    columns = {}
    for name in map(str, table.columns):
        if name not in known:
            problems.append(Problem(name, f"this column is no parameter of {hardware.name}{suggest(name, known)}"))
            continue
        try:
            column = table[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            problems.append(Problem(name, f"expected a column of numbers, got {table[name].iloc[0]!r}"))
            continue
        low, high = known[name].values[0], known[name].values[-1]
        wrong = ~((column >= low) & (column <= high))
        if is_whole(name):
            wrong |= np.floor(column) != column
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            more = f" in row {row}" + (f" and {wrong.sum() - 1} more" if wrong.sum() > 1 else "")
            problems.append(Problem(name, expected(known[name], float(column[row])) + more))
        columns[name] = column
    if problems:
        raise InputError(f"table of designs of {hardware.name}", problems)
    return columns


def _wires_pj_per_bit(hardware: Hardware, parts: Floats, private: Bools, axis_size: Ints, node: Floats) -> Floats:
    """(n, m) wires that the file does not give: from a shared memory across the square of the elements and memories inside it."""
    result = np.zeros((len(parts), len(hardware.memories)))
    for m, memory in enumerate(hardware.memories[:-1]):
        given = memory.wire_mm is not None or memory.wire_pj_per_bit is not None
        if (
            given
            or not memory.shared_along
            or memory.read_pj_per_bit is not None
            or memory.write_pj_per_bit is not None
        ):
            continue
        clusters = np.where(private[m][None], axis_size, 1).prod(axis=1)
        inside = parts[:, : m + 1].sum(axis=1) / clusters
        result[:, m] = prices.data_wire_pj_per_bit(np.sqrt(inside), node)
    return result


class _Scales(NamedTuple):
    """(n,) dynamic energy at the supply of each design, of the model's prices and of those that the file gives."""

    modelled: Floats
    given: Floats


def _memory(
    memory: Memory, value: Callable[[str, float], Floats], node: Floats, clock: Floats, scales: _Scales
) -> tuple[Floats, ...]:
    """Size, bandwidth, read, write, area, leakage of one instance at nominal supply (of DRAM: waiting power of its interface), and
    whether a price is extrapolated; all (n,)."""
    path = f"memories.{memory.name}."
    size = value(f"{path}size_bits", memory.size_bits)
    bandwidth = value(f"{path}bandwidth_bits_per_cycle", memory.bandwidth_bits_per_cycle)
    port = value(f"{path}port_bits", memory.port_bits)
    outside = np.zeros(len(size))
    # DRAM has a supply of its own.
    modelled, given = (np.ones(len(size)),) * 2 if memory.kind == "dram" else scales
    if memory.kind == "dram":
        read = write = np.full(len(size), prices.DRAM_PJ_PER_BIT.get(memory.dram, np.nan))
        area = prices.phy_area_mm2(memory.dram, bandwidth * clock)
        leakage = prices.phy_idle_w(memory.dram, bandwidth * clock)
    elif memory.kind == "register":
        read = write = prices.register_pj_per_bit(size, node) * modelled
        outside = (size > prices.LARGEST_CACTI_BITS).astype(np.float64)
        area, leakage = prices.register_area_mm2(size, node), prices.register_leakage_w(size, node)
    else:
        read = prices.sram_read_pj_per_bit(size, port, node) * modelled
        write = prices.sram_write_pj_per_bit(size, port, node) * modelled
        area, leakage = prices.sram_area_mm2(size, port, node), prices.sram_leakage_w(size, node)
        if memory.read_pj_per_bit is None or memory.write_pj_per_bit is None or memory.area_mm2 is None:
            outside = prices.sram_extrapolated(size, port, node).astype(np.float64)
    if memory.read_pj_per_bit is not None:
        read = value(f"{path}read_pj_per_bit", memory.read_pj_per_bit) * given
    if memory.write_pj_per_bit is not None:
        write = value(f"{path}write_pj_per_bit", memory.write_pj_per_bit) * given
    if memory.area_mm2 is not None:
        area = value(f"{path}area_mm2", memory.area_mm2)
    wire = prices.data_wire_pj_per_bit(value(f"{path}wire_mm", memory.wire_mm or 0.0), node) * modelled
    if memory.wire_pj_per_bit is not None:
        wire = value(f"{path}wire_pj_per_bit", memory.wire_pj_per_bit) * given
    return size, bandwidth, read + wire, write + wire, area, leakage, outside
