"""What each anchor says of the energy of logic and memories below 45 nm, how far the laws are from it, and what chips say.

The law of logic rests on one figure, a MAC of TPUv4i at 7 nm (:mod:`dse.hardware.prices.technology`). :func:`leave_one_out` fits
its exponent to the efficiencies of chips instead, a chip left out each time, and judges that chip by it: how much the choice of
anchors matters. What a chip takes is split in what follows the law (elements, registers, clock network) and the rest; the first is
scaled.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.hardware.prices.technology import (
    LOGIC_7NM,
    MAC_7NM_PJ,
    MAC_45NM_PJ,
    SRAM_7NM_PJ,
    SRAM_45NM_PJ,
    energy_scale,
    sram_energy_scale,
)
from dse.types import Floats
from dse.validation.row import Row, row
from dse.validation.silicon import FIGURES, Point, operating_point, variant


class Anchor(NamedTuple):
    """A figure at a node beside the same at 45 nm; whether a law rests on it."""

    name: str
    node_nm: float
    published: float
    at_45nm: float
    logic: bool
    fitted: bool


#: Operations of an accelerator of Google's (AccelForge's model of TPUv4i), and CACTI 7's own runs at other nodes.
ANCHORS = (
    Anchor("int8 MAC of TPUv4i", 7.0, MAC_7NM_PJ, MAC_45NM_PJ, True, True),
    Anchor("a bit read from 4 MB of TPUv4i", 7.0, SRAM_7NM_PJ[0], SRAM_45NM_PJ[0], False, True),
    Anchor("a bit written to 4 MB of TPUv4i", 7.0, SRAM_7NM_PJ[1], SRAM_45NM_PJ[1], False, True),
)


def node_rows() -> list[Row]:
    """Residual of every anchor, and the exponents that the laws have with it alone."""
    rows = []
    for anchor in ANCHORS:
        scale = energy_scale if anchor.logic else sram_energy_scale
        ours = anchor.at_45nm * float(scale(anchor.node_nm))
        power = math.log(anchor.at_45nm / anchor.published) / math.log(45.0 / anchor.node_nm)
        note = f"an anchor of the law; alone it says (node / 45 nm)^{power:.2f}"
        label = f"{anchor.name}, {anchor.node_nm:g} nm"
        rows.append(
            row(
                "energy",
                "anchors of the nodes",
                label,
                "pJ",
                anchor.published,
                ours,
                note=note,
                includes="anchor of the node's law; AccelForge",
            )
        )
    return rows


#: Exponent of the law as it stands: energy ~ node^exponent.
EXPONENT = float(np.log(LOGIC_7NM) / np.log(7.0 / 45.0))
_EXPONENTS = np.arange(0.0, 1.5001, 0.01)


class Efficiency(NamedTuple):
    """The efficiency of a chip, TOPS/W, beside what the model makes of it, and where."""

    chip: str
    node_nm: float
    published: float
    point: Point

    def error(self, exponent: npt.ArrayLike) -> Floats:
        """Logarithm of ours over the published efficiency under a law of another exponent."""
        scale = (self.node_nm / 45.0) ** (np.asarray(exponent, np.float64) - EXPONENT)
        watts = self.point.watts + self.point.logic_w * (scale - 1.0)
        return np.asarray(np.log(self.point.gops / 1e3 / watts / self.published))


class LeftOut(NamedTuple):
    """A chip: its figures, their median error by the law as it stands, by that of the other chips, and the latter's exponent."""

    chip: str
    node_nm: float
    figures: int
    error: float
    exponent: float
    error_left_out: float


def efficiencies() -> list[Efficiency]:
    """Efficiencies of chips below 45 nm whose elements are priced by the model."""
    found = []
    for figure in FIGURES:
        hardware = variant(figure.hardware)
        if figure.quantity == "efficiency" and hardware.node_nm < 45.0 and hardware.pe.energy_pj is None:
            point = operating_point(figure.hardware, figure.plan, figure.supply_v)
            found.append(Efficiency(figure.chip, hardware.node_nm, figure.published, point))
    return found


def fitted_exponent(chosen: list[Efficiency]) -> float:
    """Exponent of least squares of the logarithmic errors, all chips of equal weight however many figures they have."""
    chips = [anchor.chip for anchor in chosen]
    squares = sum(anchor.error(_EXPONENTS) ** 2 / chips.count(anchor.chip) for anchor in chosen)
    return float(_EXPONENTS[int(np.argmin(squares))])


def leave_one_out() -> list[LeftOut]:
    """Every chip judged by the law that all others say."""
    every = efficiencies()
    rows = []
    for chip in dict.fromkeys(anchor.chip for anchor in every):
        own = [anchor for anchor in every if anchor.chip == chip]
        exponent = fitted_exponent([anchor for anchor in every if anchor.chip != chip])
        errors = [float(np.expm1(np.median([anchor.error(e) for anchor in own]))) for e in (EXPONENT, exponent)]
        rows.append(LeftOut(chip, own[0].node_nm, len(own), errors[0], exponent, errors[1]))
    return rows


def leave_one_out_markdown() -> str:
    """The table of :func:`leave_one_out` with its medians, and what all chips together say."""
    lines = [
        "| chip | node, nm | figures | error, law as it stands | exponent of the other chips | error with it |",
        "|---|---|---|---|---|---|",
    ]
    rows = leave_one_out()
    lines += [
        f"| {row.chip} | {row.node_nm:g} | {row.figures} | {row.error:+.0%} | {row.exponent:.2f} | {row.error_left_out:+.0%} |"
        for row in rows
    ]
    sizes = [np.median([abs(getattr(row, name)) for row in rows]) for name in ("error", "error_left_out")]
    together = fitted_exponent(efficiencies())
    lines.append(f"| median size | | | {sizes[0]:.0%} | all: {together:.2f}, law: {EXPONENT:.2f} | {sizes[1]:.0%} |")
    return "\n".join(lines) + "\n"
