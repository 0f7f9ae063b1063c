"""Error bars of totals: every price drawn from its range, counts as they are.

Energy is linear in the prices, so each component of a total is multiplied by its price's factor; what flows with time (leakage,
interface, clock) also by how much longer the work takes. Time changes with the share of the DRAM's peak rate that is reached:
wherever a layer's own traffic then takes longer than what bound it, it takes that long. Mappings and formats stay those chosen at
nominal prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dse.cost.steps.side import SIDE_COMPONENTS
from dse.hardware.arrays import STANDING, HardwareArrays
from dse.hardware.model import Hardware, Memory
from dse.hardware.prices.ranges import draw_ranges, node_exponent
from dse.types import Floats
from dse.units import energy_column

#: Quantiles that an interval lies between: 90 % of the draws.
LOW, HIGH = 0.05, 0.95
_MEMORY_RANGES = {"register": "register", "sram": "sram", "dram": "dram"}


@dataclass(frozen=True)
class Draws:
    """Totals of n rows (design, plan) in each of so many draws of all prices.

    Attributes
    ----------
    latency_s, energy_j, area_mm2
        (draws, n); NaN where infeasible.
    components_j
        (draws, n) by component of the energy.
    """

    latency_s: Floats
    energy_j: Floats
    area_mm2: Floats
    components_j: dict[str, Floats]

    def columns(self) -> dict[str, Floats]:
        """(draws, n) by column of :attr:`dse.Cost.total`."""
        parts = {energy_column(name): values for name, values in self.components_j.items()}
        power = self.energy_j / self.latency_s
        return {
            "latency_s": self.latency_s, "energy_j": self.energy_j, "area_mm2": self.area_mm2, "power_w": power, **parts
        }  # fmt: skip


def draw_totals(
    total: pd.DataFrame, slower_s: Floats, hardware: Hardware, arrays: HardwareArrays, draws: int, seed: int
) -> Draws:
    """Totals under drawn prices.

    Parameters
    ----------
    total
        Nominal totals of rows that go through the plans of each design in turn.
    slower_s
        (draws, rows) seconds that a row takes longer at the drawn rate of the DRAM (:func:`slower`).
    arrays
        The designs, one for each ``len(total) / len(arrays)`` rows.
    """
    factors = draw_ranges(draws, seed)
    plans = len(total) // len(arrays)

    def by_row(values: Floats) -> Floats:
        return np.repeat(values, plans, axis=-1)

    node = factors["node"][:, None] ** by_row(node_exponent(arrays.node_nm))[None]
    nominal = total["latency_s"].to_numpy(np.float64)
    latency = nominal[None] + slower_s
    parts = {}
    for name in energy_components(hardware):
        own = total[energy_column(name)].to_numpy(np.float64)[None]
        if name == "leakage":
            shares = arrays.leakage_parts_w / np.maximum(arrays.leakage_w, 1e-300)[:, None]
            standing = [factors[part][:, None] for part in STANDING]
            mixed = sum(by_row(shares[:, p])[None] * standing[p] for p in range(len(STANDING)))
            parts[name] = own * mixed * (latency / nominal[None])
        else:
            price = range_of(name, hardware)
            scale = factors[price][:, None] * (1.0 if price in ("dram", "given") else node)
            parts[name] = own * scale
    energy = np.sum(list(parts.values()), axis=0)
    area = by_row(_areas(hardware, arrays, factors))
    return Draws(latency, energy, area, parts)


def slower(
    latency_s: Floats, dram_bits: Floats, weights: Floats, rate_bits_per_s: Floats, overlap: bool, share: Floats
) -> Floats:
    """(draws, designs * rows) seconds more than nominal where the DRAM reaches a share of its rate.

    Parameters
    ----------
    latency_s, dram_bits
        (designs, plans, ...) of every layer and pass.
    weights
        (rows, plans) steps of each plan in a row.
    rate_bits_per_s
        (designs,) peak.
    share
        (draws,) of the peak.
    """
    shape = (len(latency_s),) + (1,) * (latency_s.ndim - 1)
    peak = dram_bits / rate_bits_per_s.reshape(shape)
    result = np.empty((len(share), len(latency_s) * len(weights)))
    for number, reached in enumerate(share):
        longer = np.maximum(peak / reached - latency_s, 0.0) if overlap else peak * (1.0 / reached - 1.0)
        by_plan = np.where(np.isfinite(longer), longer, 0.0).reshape(*latency_s.shape[:2], -1).sum(axis=-1)
        result[number] = (by_plan @ weights.T).reshape(-1)
    return result


def interval_table(total: pd.DataFrame, drawn: Draws) -> pd.DataFrame:
    """``design, plan``, then low and high of each drawn column: 90 % of the draws lie between."""
    table = total[["design", "plan"]].copy()
    for name, values in drawn.columns().items():
        low, high = np.quantile(values, [LOW, HIGH], axis=0)
        table[f"{name}_low"], table[f"{name}_high"] = low, high
    return table


def energy_components(hardware: Hardware) -> tuple[str, ...]:
    """Parts that the energy of a total is the sum of."""
    memories = tuple(memory.name for memory in hardware.memories)
    return ("mac", *memories, "leakage", "vector", *SIDE_COMPONENTS)


def range_of(component: str, hardware: Hardware) -> str:
    """The price of :data:`dse.hardware.prices.ranges.RANGES` that a component of the energy follows."""
    memories = {memory.name: memory for memory in hardware.memories}
    if component in memories:
        return _memory_range(memories[component])
    if component == "mac":
        return "element" if hardware.pe.energy_pj is None else "given"
    return "vector" if component == "vector" else "conversion"


def _memory_range(memory: Memory) -> str:
    given = memory.read_pj_per_bit is not None and memory.write_pj_per_bit is not None
    return "given" if given and memory.kind != "dram" else _MEMORY_RANGES[memory.kind]


def _areas(hardware: Hardware, arrays: HardwareArrays, factors: dict[str, Floats]) -> Floats:
    """(draws, designs) areas; a measured die is as large as it is."""
    if hardware.die_mm2:
        return np.asarray(np.broadcast_to(arrays.area_mm2, (len(factors["element_area"]), len(arrays))))
    names: Sequence[str] = (
        "given" if hardware.pe.area_um2 is not None else "element_area",
        *(
            "interface_area" if memory.kind == "dram" else "given" if memory.area_mm2 is not None else "memory_area"
            for memory in hardware.memories
        ),
    )
    parts = arrays.area_parts_mm2[:, :-1]
    drawn = sum(factors[name][:, None] * parts[None, :, place] for place, name in enumerate(names))
    nominal = parts.sum(axis=1)
    overhead = arrays.area_parts_mm2[:, -1] / np.maximum(nominal, 1e-300)
    return np.asarray(drawn * (1.0 + overhead[None]))
