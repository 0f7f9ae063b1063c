"""Integer multiply-accumulate units at 45 nm, 500 MHz: the synthesis rows of Bit Fusion and the laws fitted to them.

Source: Sharma et al., "Bit Fusion", ISCA 2018; its simulator's results/systolic_array_synth.csv (hsharma35/bitfusion, read as
figures). Rows of a 4x4 array per unit, because that is how the units are used: dynamic energy, leakage and area apart.

Laws
----
Fixed unit of w x a bits: ``e0 + e1 * (w + a) / 2 + e2 * w * a``, the registers and adders growing with the width, the
multiplier with the product of the widths. Flexible unit: the fixed unit of its full width times a factor of the levels of fusion
``log2(max / min)``, interpolated in the three synthesized factors; a fourth level (32 bits from 2) is extrapolated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: maximum and minimum width, dynamic pJ per cycle, leakage uW, um2; one unit of a 4x4 array.
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
#: Hz, clock of the synthesis.
SYNTHESIS_HZ = 500e6


def _fit(column: int) -> Floats:
    """Least squares of the relative error over the four fixed units."""
    rows = ARRAY_ROWS[:4]
    bits, value = rows[:, 0], rows[:, column]
    basis = np.stack([np.ones(4), bits, bits**2], axis=1)
    return np.asarray(np.linalg.lstsq(basis / value[:, None], np.ones(4), rcond=None)[0])


_ENERGY, _AREA = _fit(2), _fit(4)
_LEVELS = np.array([0.0, 1.0, 2.0, 3.0])


def fixed_unit_pj(weight_bits: npt.ArrayLike, activation_bits: npt.ArrayLike) -> Floats:
    """Dynamic energy of a fixed multiply-accumulate unit, pJ per cycle at 45 nm; fitted for 2 to 16 bits, within 1 %.

    >>> [round(float(fixed_unit_pj(n, n)), 3) for n in (2, 4, 8, 16)]
    [0.041, 0.082, 0.204, 0.603]
    """
    return _law(_ENERGY, weight_bits, activation_bits)


def fixed_unit_area_um2(weight_bits: npt.ArrayLike, activation_bits: npt.ArrayLike) -> Floats:
    """Area of a fixed multiply-accumulate unit, um2 at 45 nm; fitted for 2 to 16 bits, within 3 %."""
    return _law(_AREA, weight_bits, activation_bits)


def flexibility_energy(levels: npt.ArrayLike) -> Floats:
    """Energy per cycle of a unit that fuses over these levels, relative to the fixed unit of its full width; at least 1."""
    return _factor(2, fixed_unit_pj, levels)


def flexibility_area(levels: npt.ArrayLike) -> Floats:
    """Area of a unit that fuses over these levels, relative to the fixed unit of its full width; at least 1."""
    return _factor(4, fixed_unit_area_um2, levels)


def leakage_w_per_mm2(flexible: bool) -> float:
    """Leakage of synthesized logic at 45 nm, W per mm2: mean of the rows (21 to 34 mW/mm2).

    Fixed units leak 28 mW/mm2 in the mean, flexible ones 33.
    """
    rows = ARRAY_ROWS[4:] if flexible else ARRAY_ROWS[:4]
    return float((rows[:, 3] / rows[:, 4]).mean())


def _law(coefficients: Floats, weight_bits: npt.ArrayLike, activation_bits: npt.ArrayLike) -> Floats:
    w, a = np.asarray(weight_bits, np.float64), np.asarray(activation_bits, np.float64)
    return np.asarray(coefficients[0] + coefficients[1] * (w + a) / 2 + coefficients[2] * w * a)


def _factor(column: int, fixed: object, levels: npt.ArrayLike) -> Floats:
    assert callable(fixed)
    rows = ARRAY_ROWS[4:]
    factors = np.concatenate([[1.0], rows[:, column] / fixed(rows[:, 0], rows[:, 0])])
    level = np.asarray(levels, np.float64)
    beyond = np.maximum(level - _LEVELS[-1], 0.0) * (factors[-1] - factors[-2])
    return np.asarray(np.interp(level, _LEVELS, factors) + beyond)
