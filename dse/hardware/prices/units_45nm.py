"""Integer multiply-accumulate units at 45 nm, 500 MHz: the synthesis rows of Bit Fusion and the laws fitted to them.

Source: Sharma et al., "Bit Fusion", ISCA 2018; its simulator's results/systolic_array_synth.csv (hsharma35/bitfusion, read as
figures), one unit alone and one unit of a 4x4 array. Elements of an accelerator are priced as units of an array.

Laws
----
Fixed unit of w x a bits: ``c0 + c1 * (w + a) / 2 + c2 * w * a``, the registers and adders growing with the width, the
multiplier with the product of the widths. Flexible unit: the fixed unit of its full width times a factor of the levels of
fusion ``log2(max / min)``, interpolated in the three synthesized factors; it holds for other minima than 2 bits by assumption,
and a fourth level (32 bits from 2) is extrapolated.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dse.types import Floats

#: Maximum and minimum width, dynamic pJ per cycle, leakage uW, um2.
ARRAY_ROWS = np.array(
    [
        [2, 2, 0.0407, 1.74, 81.1],
        [4, 4, 0.0824, 5.31, 191.6],
        [8, 8, 0.2034, 16.11, 510.7],
        [16, 16, 0.6027, 57.02, 1679.4],
        [4, 2, 0.1178, 10.95, 354.4],
        [8, 2, 0.4592, 59.33, 1734.6],
        [16, 2, 2.1134, 295.42, 8831.4],
    ]
)
#: The same of one unit alone.
ALONE_ROWS = np.array(
    [
        [2, 2, 0.0575, 2.83, 124.9],
        [4, 4, 0.1202, 7.78, 282.2],
        [8, 8, 0.2977, 22.95, 687.6],
        [16, 16, 0.9474, 68.98, 2203.2],
        [4, 2, 0.1569, 13.54, 431.5],
        [8, 2, 0.5599, 64.31, 1733.1],
        [16, 2, 2.3324, 274.22, 7492.4],
    ]
)
#: Hz, clock of the synthesis.
SYNTHESIS_HZ = 500e6
_FIXED, _LEVELS = 4, np.array([0.0, 1.0, 2.0, 3.0])


class Law(NamedTuple):
    """Coefficients of a fixed unit and factors of 0 to 3 levels of fusion."""

    fixed: Floats
    factors: Floats

    def unit(self, weight_bits: npt.ArrayLike, activation_bits: npt.ArrayLike) -> Floats:
        """A fixed unit of these widths."""
        w, a = np.asarray(weight_bits, np.float64), np.asarray(activation_bits, np.float64)
        return np.asarray(self.fixed[0] + self.fixed[1] * (w + a) / 2 + self.fixed[2] * w * a)

    def factor(self, levels: npt.ArrayLike) -> Floats:
        """A flexible unit relative to the fixed unit of its full width, at least 1."""
        level = np.asarray(levels, np.float64)
        beyond = np.maximum(level - _LEVELS[-1], 0.0) * (self.factors[-1] - self.factors[-2])
        return np.asarray(np.interp(level, _LEVELS, self.factors) + beyond)


def fit(rows: Floats, column: int) -> Law:
    """Law of one column of the rows: least squares of the relative error over the fixed units, factors from the flexible."""
    bits, value = rows[:_FIXED, 0], rows[:_FIXED, column]
    basis = np.stack([np.ones(_FIXED), bits, bits**2], axis=1)
    fixed = np.asarray(np.linalg.lstsq(basis / value[:, None], np.ones(_FIXED), rcond=None)[0])
    law = Law(fixed, np.ones(1))
    wide = rows[_FIXED:, 0]
    return Law(fixed, np.concatenate([[1.0], rows[_FIXED:, column] / law.unit(wide, wide)]))


#: pJ per cycle, dynamic; within 0.3 % of every row of the array.
ENERGY_PJ = fit(ARRAY_ROWS, 2)
#: uW; within 3 %.
LEAKAGE_UW = fit(ARRAY_ROWS, 3)
#: um2; within 2.2 %.
AREA_UM2 = fit(ARRAY_ROWS, 4)


class SynthesisRow(NamedTuple):
    """A published figure of a unit beside the law's: energy per cycle, pJ, or area, um2."""

    name: str
    quantity: Literal["area", "energy"]
    published: float
    ours: float


def synthesis_rows() -> list[SynthesisRow]:
    """Every synthesized unit, alone and in the array: energy per cycle and area, published and by the law.

    Alone: dynamic energy. In the array: energy with leakage at 500 MHz, as the simulator uses it.
    """
    found = []
    for place, rows in (("alone", ALONE_ROWS), ("4x4 array", ARRAY_ROWS)):
        energy, leakage, area = (fit(rows, column) for column in (2, 3, 4))
        for most, least, pj, uw, um2 in rows:
            levels = np.log2(most / least)
            name = f"unit {most:.0f}..{least:.0f} bits, {place}"
            ours = energy.unit(most, most) * energy.factor(levels)
            if place != "alone":
                pj = pj + uw * 1e6 / SYNTHESIS_HZ
                ours = ours + leakage.unit(most, most) * leakage.factor(levels) * 1e6 / SYNTHESIS_HZ
            found.append(SynthesisRow(name, "energy", float(pj), float(ours)))
            ours_area = area.unit(most, most) * area.factor(levels)
            found.append(SynthesisRow(name, "area", float(um2), float(ours_area)))
    return found
