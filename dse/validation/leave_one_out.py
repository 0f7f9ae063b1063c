"""What the law of logic below 45 nm would be by chips, and how well the others foretell each one.

The law rests on one figure, a MAC of TPUv4i at 7 nm (:mod:`dse.hardware.technology`). Here its exponent is fitted to the
efficiencies of chips instead, a chip left out each time, and that chip is judged by it: how much the choice of anchors matters.
What a chip takes is split in what follows the law (elements, registers, clock network) and the rest; the first is scaled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.hardware.technology import LOGIC_7NM
from dse.types import Floats
from dse.validation.silicon import FIGURES, Point, operating_point, variant

#: Exponent of the law as it stands: energy ~ node^exponent.
EXPONENT = float(np.log(LOGIC_7NM) / np.log(7.0 / 45.0))
_EXPONENTS = np.arange(0.0, 1.5001, 0.01)


class Anchor(NamedTuple):
    """An efficiency of a chip, TOPS/W, beside what the model makes of it, and where."""

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


def anchors() -> list[Anchor]:
    """Efficiencies of chips below 45 nm whose elements are priced by the model."""
    found = []
    for figure in FIGURES:
        hardware = variant(figure.hardware)
        if figure.quantity == "efficiency" and hardware.node_nm < 45.0 and hardware.pe.energy_pj is None:
            point = operating_point(figure.hardware, figure.plan, figure.supply_v)
            found.append(Anchor(figure.chip, hardware.node_nm, figure.published, point))
    return found


def fitted_exponent(chosen: list[Anchor]) -> float:
    """Exponent of least squares of the logarithmic errors, all chips of equal weight however many figures they have."""
    chips = [anchor.chip for anchor in chosen]
    squares = sum(anchor.error(_EXPONENTS) ** 2 / chips.count(anchor.chip) for anchor in chosen)
    return float(_EXPONENTS[int(np.argmin(squares))])


def leave_one_out() -> list[LeftOut]:
    """Every chip judged by the law that all others say."""
    every = anchors()
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
    together = fitted_exponent(anchors())
    lines.append(f"| median size | | | {sizes[0]:.0%} | all: {together:.2f}, law: {EXPONENT:.2f} | {sizes[1]:.0%} |")
    return "\n".join(lines) + "\n"
