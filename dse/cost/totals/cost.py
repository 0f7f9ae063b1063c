"""What evaluating gives: totals, layers, phases, areas, and what of them is uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from dse.cost.steps.step import StepCosts
from dse.cost.totals.intervals import Draws, draw_totals, interval_table, slower
from dse.cost.totals.rows import PlanRows
from dse.cost.totals.run import Extra
from dse.cost.totals.tables import layers_table, phases_table, records
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.prices.ranges import draw_ranges
from dse.showing import html_table, one_line
from dse.units import format_value

#: Designs whose layers are kept; of larger tables only totals are.
MAX_DESIGNS_WITH_LAYERS = 512


@dataclass(frozen=True)
class Cost:
    """Result of :func:`dse.evaluate`.

    Attributes
    ----------
    total
        One row per (design, plan): ``design, plan, latency_s, energy_j, area_mm2, convert_s, power_w, macs, bitops, dram_bits,
        <component>_j ..., peak_memory_bits, memory_<part>_bits ..., fused_groups, mapping_gap, feasible, limit,
        price_extrapolated``. Latency and energy are of one step of the batch, or of the whole run where a schedule was given; the
        memory is that of the step which needs most. ``mapping_gap`` is the share of the mapping objective (EDP, energy or latency)
        that better mappings could save at most: no mapping undercuts the bounds of :mod:`dse.cost.jobs.floors`. Infeasible rows
        have NaN figures and the name of the limit.
    area
        Area of the parts of the first design: ``part, area_mm2``.
    notes
        What the figures hide, in sentences: widths that the hardware rounds up.
    """

    total: pd.DataFrame
    area: pd.DataFrame
    notes: tuple[str, ...]
    _steps: StepCosts | None
    _rows: PlanRows
    _extra: tuple[Extra, ...]
    _hardware: Hardware
    _arrays: HardwareArrays

    def __repr__(self) -> str:
        first = self.total.iloc[0]
        figures = [("latency_s", "s"), ("energy_j", "J"), ("area_mm2", "mm²")]
        facts = [format_value(first[name], unit) for name, unit in figures] if first["feasible"] else ["infeasible"]
        more = f"and {len(self.total) - 1} more rows" if len(self.total) > 1 else ""
        return one_line("Cost", f"{first['plan']} on {self._hardware.name}", [*facts, more])

    def _repr_html_(self) -> str:
        return html_table(repr(self), list(self.total.columns), self.total.to_numpy().tolist())

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Long form: one row per (design, plan, layer, pass) that runs, with the quantities of ``total``, ``bound`` and ``group``.

        ``group`` is the first layer of those that the row runs fused with, "" where it runs alone.
        What belongs to a whole run, changes of widths and the policy's decisions, are rows of the layer ``(run)``.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers (more than 512 designs).
        """
        return layers_table(self._kept(), self._rows, self._extra)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """Steps of each phase of a schedule, in order: ``design, phase, plan, iterations, latency_s, energy_j, power_w``.

        Empty where no schedule was given. Changes of widths are not among them.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers.
        """
        return phases_table(self._kept(), self._rows)

    def intervals(self, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """Low and high of every total where each price is drawn from its range (:data:`dse.hardware.prices.ranges.RANGES`).

        Parameters
        ----------
        draws, seed
            How often; the same seed draws the same prices for any design, so that designs can be compared draw by draw.

        Returns
        -------
        DataFrame
            The rows of ``total``: ``design, plan, latency_s_low, latency_s_high, energy_j_low, ...``; 90 % of the draws lie
            between.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers, or fewer than two draws.
        """
        return interval_table(self.total, self.draws(draws, seed))

    def draws(self, draws: int = 200, seed: int = 0) -> Draws:
        """Totals in each draw of all prices; see :meth:`intervals`."""
        if draws < 2:
            raise InputError("draws", [f"expected at least 2, got {draws}"])
        steps, arrays = self._kept(), self._arrays
        rate = arrays.bandwidth_bits_per_cycle[:, -1] * arrays.clock_hz
        share = draw_ranges(draws, seed)["dram_rate"]
        longer = slower(steps.latency_s, steps.dram_bits, self._rows.weights, rate, self._hardware.overlap, share)
        return draw_totals(self.total, longer, self._hardware, arrays, draws, seed)

    def _kept(self) -> StepCosts:
        if self._steps is None:
            raise InputError(
                "evaluate", [f"layers are kept for up to {MAX_DESIGNS_WITH_LAYERS} designs; evaluate fewer at a time"]
            )
        return self._steps

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``total``, ``layers``, ``area`` and ``phases`` as lists of records, and ``notes``.

        NaN and infinity become None.
        """
        tables = {"total": self.total, "layers": self.layers, "area": self.area, "phases": self.phases}
        return {**{name: records(table) for name, table in tables.items()}, "notes": list(self.notes)}
