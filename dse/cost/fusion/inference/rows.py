"""What layers of an inference cost, with and without tensors that wait."""

from __future__ import annotations

from dataclasses import dataclass

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.inference.states import Chooser, State
from dse.hardware.arrays import HardwareArrays
from dse.types import Floats

#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9


@dataclass(frozen=True)
class RowCost:
    """What a layer costs in a state: picojoules, cycles, bits of DRAM.

    Of a layer with MACs also the places of its variant and of the capacity left, or, in a chain, the energy by component and what
    bounds its time; of another one the bits that it does not move.
    """

    energy_pj: float
    cycles: float
    dram_bits: float
    variant: int = -1
    capacity: int = -1
    not_read: float = 0.0
    not_written: float = 0.0
    parts_pj: Floats | None = None
    bound: int = -1


def base_costs(apart: Apart, chooser: Chooser, d: int) -> list[RowCost]:
    """What every layer costs on a design with nothing resident."""
    arrays, jobs, vector, i = apart.arrays, apart.jobs, apart.vector, chooser.plan_place
    result, v = [], 0
    for row in range(len(chooser.layers)):
        if row in chooser.macs:
            u = chooser.work.job[i, chooser.macs[row], 0]
            times = chooser.work.times[chooser.macs[row], 0]
            runs = u >= 0
            less = float(apart.not_written[i, row, 0])
            result.append(
                RowCost(
                    float((jobs.energy_pj[d, u[runs]] * times[runs]).sum())
                    - less * float(arrays.write_pj_per_bit[d, -1]),
                    float((jobs.cycles[d, u[runs]] * times[runs]).sum()),
                    float((jobs.traffic_bits[d, u[runs], -1] * times[runs]).sum()) - less,
                )
            )
        else:
            bits = float(vector.dram_bits[i, v, 0])
            result.append(RowCost(float(vector.energy_pj[d, i, v, 0]), float(vector.cycles[d, i, v, 0]), bits))
            v += 1
    return result


def no_worse(found: RowCost, own: RowCost) -> RowCost:
    """A cost, or that with nothing resident where it has less energy or takes less time."""
    worse = found.energy_pj > own.energy_pj * _EQUAL or found.cycles > own.cycles * _EQUAL
    return own if worse else found


def vector_cost(
    chooser: Chooser, one: HardwareArrays, m: int, row: int, state: State, base: RowCost, operations: float
) -> RowCost:
    read, written = chooser.vector_bits(row, state)
    dram_read, dram_write = float(one.read_pj_per_bit[0, -1]), float(one.write_pj_per_bit[0, -1])
    on_read, on_write = float(one.read_pj_per_bit[0, m]), float(one.write_pj_per_bit[0, m])
    left = base.dram_bits - read - written
    cycles = min(
        max(operations / float(one.vector_lanes[0]), left / float(one.bandwidth_bits_per_cycle[0, -1])), base.cycles
    )
    leak = float(one.leakage_w[0] / one.clock_hz[0] * 1e12)
    saved = read * (dram_read + on_write) + written * (dram_write + on_read) + leak * (base.cycles - cycles)
    return RowCost(base.energy_pj - saved, cycles, left, not_read=read, not_written=written)
