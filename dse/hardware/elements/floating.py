"""Elements that multiply floating-point numbers, or add integers inside a group and floats between groups."""

from __future__ import annotations

import numpy as np

from dse.hardware.elements.family import ElementFamily, Extrapolated, Mode, never
from dse.hardware.elements.parallel import one_mac_per_cycle, per_um2
from dse.hardware.model import ProcessingElement
from dse.hardware.prices.arithmetic import (
    extrapolated,
    float_add_pj,
    float_add_um2,
    float_multiply_pj,
    int_add_pj,
    int_multiply_pj,
    shift_pj,
    shift_um2,
)
from dse.hardware.prices.units_45nm import Law
from dse.types import Floats, Ints


def float_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """A multiplication of the significands and an addition as wide as the accumulator (Horowitz, ISSCC 2014)."""
    bits = pe.significand_bits + pe.exponent_bits
    product = float_multiply_pj(pe.significand_bits)
    return np.asarray(product + float_add_pj(np.maximum(accumulator_bits, bits)) + 0.0 * mode.step_cycles)


def mls_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """MLS (Zhong et al., arXiv 2006.02804): an integer MAC with a shift by the element's exponent, a float addition per group."""
    core = pe.significand_bits
    reach = 2 * ((1 << pe.exponent_bits) - 1)
    total = 2 * core + reach + np.ceil(np.log2(pe.block))
    inside = int_multiply_pj(core, core) + int_add_pj(pe.exponent_bits) + shift_pj(total, reach) + int_add_pj(total)
    return np.asarray(inside + float_add_pj(32) / pe.block + 0.0 * mode.step_cycles)


def float_unit(pe: ProcessingElement, law: Law) -> float:
    """The integer unit of the significand, with twice the full width of the sum for shifting and normalizing.

    The sum is as wide as the accumulator, at least as the format: an FP8 product that is added in FP32 is aligned and normalized
    over 32 bits, so that the unit is 1.6 times as large as one of int8 (1.5 to 2.8, Baalen et al., arXiv 2303.17951, abstract).
    FP32 and bfloat16 units with sums of their own width are within 10 % as much larger than one of 4-bit mantissas as published
    (21.3 and 4.4 times, Accuracy Booster, arXiv 2211.10737); by the areas of Horowitz' list, separate units that round, FP32
    would be 63 times as large.
    """
    core = pe.significand_bits
    width = max(core + pe.exponent_bits, pe.accumulator_bits)
    return float(law.unit(core, core) + law.unit(0, 2 * width) - law.unit(0, 0))


def mls_unit(pe: ProcessingElement, law: Law) -> float:
    """A multiplier of the significands with its shifter and integer sum, and a float adder that ``block`` of them share."""
    core = pe.significand_bits
    reach = 2 * ((1 << pe.exponent_bits) - 1)
    total = 2 * core + reach + np.ceil(np.log2(pe.block))
    own = law.unit(core, core) + law.unit(0, 2 * total) - law.unit(0, 0)
    return float(own) + float(shift_um2(total, reach) + float_add_um2(32) / pe.block) * per_um2(law)


def _outside(pe: ProcessingElement) -> bool:
    return not 2 <= pe.significand_bits <= 16


def _float_range(pe: ProcessingElement) -> Extrapolated:
    widest = max(pe.significand_bits + pe.exponent_bits, pe.accumulator_bits)
    energy = extrapolated("float_multiply", pe.significand_bits) or extrapolated("float_add", widest)
    return Extrapolated(energy, _outside(pe))


FLOAT = ElementFamily(
    name="float",
    summary="floating-point multiply and add; narrower significands gain nothing",
    source="operations of Horowitz, ISSCC 2014",
    mode=one_mac_per_cycle,
    energy_pj_45nm=float_energy,
    unit=float_unit,
    extrapolated=_float_range,
    takes_floats=lambda pe: True,
    takes_integers=False,
    keys=("significand_bits", "exponent_bits"),
    needed=("significand_bits", "exponent_bits"),
)
MLS = ElementFamily(
    name="mls",
    summary="integer multiply-accumulate inside a group, a floating-point addition per group of block elements",
    source="MLS, Zhong et al., arXiv 2006.02804, TCAD 2022",
    mode=one_mac_per_cycle,
    energy_pj_45nm=mls_energy,
    unit=mls_unit,
    extrapolated=lambda pe: Extrapolated(extrapolated("int_multiply", pe.significand_bits), _outside(pe)),
    takes_floats=never,
    by_significand=True,
    keys=("block", "significand_bits", "exponent_bits"),
    needed=("significand_bits", "exponent_bits"),
)
