"""Energy of single operations at 45 nm and elsewhere: integer and floating-point add and multiply, shifts.

Source of the points: M. Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm, 0.9 V, pJ: integer add 0.03 (8 bits), 0.05 (16),
0.1 (32); multiply 0.2 (8), 3.1 (32); floating-point add 0.4 (16), 0.9 (32); multiply 1.1 (16), 3.7 (32). Areas of the same list
(second hand), um2: floating-point add 1360 (16), 4184 (32). Between the points
each operation follows one law; its error at the points is in its docstring, its range in :data:`RANGES_BITS`. All functions
broadcast; ``node_nm`` is 5 to 65 nm, anything else is an error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.hardware.prices.technology import energy_scale
from dse.types import Floats

#: pJ per bit: 0.1 pJ / 32 bits.
_ADD_PJ_PER_BIT = 0.1 / 32
#: pJ per bit^2: geometric mean of 0.2 / 8^2 and 3.1 / 32^2.
_MULTIPLY_PJ_PER_BIT2 = float(np.sqrt(0.2 / 8**2 * 3.1 / 32**2))
#: Power laws through FP16 and FP32: multiply by significand (11 and 24 bits), add by all bits.
_FLOAT_MULTIPLY_POWER = float(np.log(3.7 / 1.1) / np.log(24 / 11))
_FLOAT_ADD_POWER = float(np.log(0.9 / 0.4) / np.log(2))
#: pJ of a 32-bit shifter at 40 nm, 1 GHz: Shao et al., "Aladdin", ISCA 2014, power model; five stages of 32 bits.
_SHIFT_32_PJ_40NM = 0.417

#: Bits within which the laws below are used as they are; outside, :func:`extrapolated` says so.
RANGES_BITS = {"int_add": (1, 64), "int_multiply": (1, 32), "float_multiply": (11, 24), "float_add": (16, 32)}


def extrapolated(operation: str, bits: float) -> bool:
    """Whether a width lies outside the range of an operation's law, a key of :data:`RANGES_BITS`.

    >>> extrapolated("float_multiply", 4), extrapolated("float_multiply", 24)
    (True, False)
    """
    low, high = RANGES_BITS[operation]
    return not low <= bits <= high


def int_add_pj(bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Integer addition, linear in the width, 1 to 64 bits; +0 % at 32, 0 % at 16, -17 % at 8 bits.

    >>> round(float(int_add_pj(32)), 3)
    0.1
    """
    return _ADD_PJ_PER_BIT * np.asarray(bits, np.float64) * energy_scale(node_nm)


def int_multiply_pj(a_bits: npt.ArrayLike, b_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Integer multiplication, proportional to the product of the widths, 1 to 32 bits; within 2 % at 8 and 32 bits."""
    product = np.asarray(a_bits, np.float64) * np.asarray(b_bits, np.float64)
    return _MULTIPLY_PJ_PER_BIT2 * product * energy_scale(node_nm)


def float_multiply_pj(significand_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Floating-point multiplication by significand width with the hidden bit; exact for FP16 (11) and FP32 (24).

    A power law of exponent 1.55; below 11 bits it is an extrapolation (FP8 E4M3: 0.23 pJ; E5M2: 0.15 pJ).
    """
    return 1.1 * (np.asarray(significand_bits, np.float64) / 11) ** _FLOAT_MULTIPLY_POWER * energy_scale(node_nm)


def float_add_pj(bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Floating-point addition by all bits of the format; exact at 16 and 32, a power law of exponent 1.17, extrapolated below."""
    return 0.4 * (np.asarray(bits, np.float64) / 16) ** _FLOAT_ADD_POWER * energy_scale(node_nm)


#: um2 of a full adder at 45 nm (NanGate's open library, FA_X1).
_FULL_ADDER_UM2 = 4.256


def int_add_um2(bits: npt.ArrayLike) -> Floats:
    """Area of an integer adder at 45 nm: a full adder per bit, carries rippling; a fast one is up to twice as large.

    >>> round(float(int_add_um2(32)))
    136
    """
    return np.asarray(_FULL_ADDER_UM2 * np.asarray(bits, np.float64))


def float_add_um2(bits: npt.ArrayLike) -> Floats:
    """Area of a floating-point adder at 45 nm; exact for FP16 and FP32, a power law of exponent 1.62."""
    return np.asarray(1360 * (np.asarray(bits, np.float64) / 16) ** np.log2(4184 / 1360))


def shift_um2(bits: npt.ArrayLike, reach: npt.ArrayLike) -> Floats:
    """Area of a barrel shifter at 45 nm: a multiplexer of three gates of 0.8 um2 (NanGate's open library) per bit and stage."""
    return np.asarray(2.4 * np.asarray(bits, np.float64) * np.ceil(np.log2(np.asarray(reach, np.float64) + 1)))


def shift_pj(bits: npt.ArrayLike, reach: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Barrel shift of ``bits`` by up to ``reach`` places: ceil(log2(reach + 1)) stages of as many bits; exact for 32 bits by 31."""
    stages = np.ceil(np.log2(np.asarray(reach, np.float64) + 1))
    per_bit_stage = _SHIFT_32_PJ_40NM / (32 * 5) * energy_scale(45.0, 40.0)
    return np.asarray(per_bit_stage * np.asarray(bits, np.float64) * stages * energy_scale(node_nm))
