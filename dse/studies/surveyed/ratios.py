"""Costs of one plan or schedule relative to another, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dse.cost import evaluate
from dse.hardware.model import Hardware
from dse.precision import Plan, Schedule
from dse.studies.devices import every_width, flexible
from dse.studies.study import Claim, rows_of
from dse.workload.model import Network

#: Column of a cost and what a row calls it.
QUANTITIES = {"bitops": "BitOps", "latency_s": "time", "energy_j": "energy"}


@dataclass(frozen=True)
class Side:
    """What runs where: one side of a comparison."""

    network: Network
    hardware: Hardware
    formats: Plan | Schedule | str
    mode: str = "training"

    def totals(self) -> dict[str, float]:
        """BitOps, seconds and joules of a step, or of a schedule's run per iteration.

        Raises
        ------
        ValueError
            The hardware cannot run it.
        """
        total = evaluate(self.network, self.hardware, self.formats, mode=self.mode, search_mappings=False).total.iloc[0]
        if not total["feasible"]:
            raise ValueError(f"{self.network.name} on {self.hardware.name}: {total['limit']}")
        runs = self.formats.iterations if isinstance(self.formats, Schedule) else 1
        return {name: float(total[name]) / runs for name in QUANTITIES}


class Relative(NamedTuple):
    """A published schedule of widths and what it is held against.

    Attributes
    ----------
    schedule
        Its formats over a run.
    assumed
        What its rows rest on.
    base
        The plan that it is held against.
    wide
        It has words wider than eight bits, which only elements that compose any width run as published.
    """

    schedule: Schedule
    assumed: str
    base: str = "w8a8e8"
    wide: bool = False

    @property
    def devices(self) -> tuple[Hardware, ...]:
        """Where it is priced."""
        return devices()[:1] if self.wide else devices()


def relative(ours: Side, base: Side) -> dict[str, float]:
    """BitOps, time and energy of one side over those of the other."""
    mine, other = ours.totals(), base.totals()
    return {name: mine[name] / other[name] for name in QUANTITIES}


def relative_rows(
    system: str,
    network: Network,
    devices: Sequence[Hardware],
    formats: Plan | Schedule | str,
    base: Plan | Schedule | str,
    assumed: str,
) -> list[Claim]:
    """Time, energy and BitOps against static training or another plan, a row for each on each device; nothing is claimed."""
    against = base.name if isinstance(base, Schedule) else base.label if isinstance(base, Plan) else base
    return [
        Claim(
            system,
            f"{QUANTITIES[name]} relative to {against}",
            "",
            value,
            assumed=assumed,
            subject=f"{network.name} on {hardware.name}",
            key=(system, name, hardware.name),
        )
        for hardware in devices
        for name, value in relative(Side(network, hardware, formats), Side(network, hardware, base)).items()
    ]


def devices() -> tuple[Hardware, ...]:
    """Where schedules are priced; the second has no words wider than eight bits."""
    return (flexible(), every_width())


def relative_chart(rows: Sequence[Claim], systems: Sequence[str], device: str) -> dict[str, dict[str, float]]:
    """Of rows of :func:`relative_rows` on one device: quantity, system, ratio."""
    return {
        label: {row.system: row.ours for row in rows_of(rows, None, name, device) if row.system in systems and row.ours}
        for name, label in QUANTITIES.items()
    }
