"""Elements that take an operand bit by bit, or both in slices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dse.hardware.elements.family import ElementFamily, Extrapolated, Mode, fits, never, parts
from dse.hardware.elements.parallel import per_um2, product_pj, wide_sum_pj
from dse.hardware.model import ProcessingElement
from dse.hardware.prices.arithmetic import extrapolated, int_add_pj, int_add_um2, int_multiply_pj
from dse.hardware.prices.memories import register_pj_per_bit
from dse.hardware.prices.units_45nm import ENERGY_PJ, Law
from dse.types import Floats, Ints


def bit_serial_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """Stripes (Judd et al., MICRO 2016), UNPU: as many steps as the serial operand has bits, at least ``min_bits``."""
    by_weight = pe.serial_operand == "weight"
    serial, parallel = (w, a) if by_weight else (a, w)
    most_serial, most_parallel = (
        (pe.max_weight_bits, pe.max_activation_bits) if by_weight else (pe.max_activation_bits, pe.max_weight_bits)
    )
    steps = np.maximum(serial, pe.min_bits) * parts(parallel, most_parallel)
    supported = (serial <= most_serial) & (parallel <= 2 * most_parallel)
    return Mode(np.ones(w.shape, np.int64), steps.astype(np.float64), np.asarray(supported))


#: Look-up elements (Lee et al., UNPU, JSSC 54(1) 2019, abstract): bits of the serial operand, and what a MAC saves against a
#: fixed-point unit of these widths; straight in the logarithm of the width between.
LOOKUP_BITS, LOOKUP_SAVINGS = np.array([1.0, 4.0, 8.0, 16.0]), np.array([0.536, 0.41, 0.272, 0.231])
#: Steps per bit where a look-up takes the place of the last addition, one bit: 7,372 against 16 x 345.6 GOPS (the same).
_LOOKUP_ONE_BIT = 16 * 345.6 / 7372


def bit_serial_lookup_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """Bit-serial, with sums of several inputs looked up in a table: one bit takes three quarters of a step."""
    plain = bit_serial_mode(pe, w, a)
    one = (w if pe.serial_operand == "weight" else a) == 1
    return Mode(plain.lanes, np.where(one, _LOOKUP_ONE_BIT, plain.step_cycles), plain.supported)


def bit_serial_lookup_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """The fixed-point unit of the serial operand's width by the parallel operand's, less what tables were measured to save."""
    serial, parallel = (w, pe.max_activation_bits) if pe.serial_operand == "weight" else (a, pe.max_weight_bits)
    saving = np.interp(np.log2(serial), np.log2(LOOKUP_BITS), LOOKUP_SAVINGS)
    sums = int_add_pj(np.maximum(accumulator_bits - serial - parallel, 0.0)) / pe.block
    return np.asarray(
        ENERGY_PJ.unit(serial, parallel) * (1.0 - saving) * parts(a if pe.serial_operand == "weight" else w, parallel)
        + sums
    )


def bit_serial_2d_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """Loom (Sharify et al., DAC 2018), BitBlade: the product of both operands' numbers of ``min_bits`` slices."""
    steps = parts(w, pe.min_bits) * parts(a, pe.min_bits)
    return Mode(np.ones(w.shape, np.int64), steps.astype(np.float64), fits(pe, w, a))


def bit_serial_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """A step is one addition of the parallel operand in the tree."""
    step = int_add_pj(pe.max_activation_bits if pe.serial_operand == "weight" else pe.max_weight_bits)
    return _in_a_tree(pe, step, bit_serial_mode, mode, accumulator_bits)


def bit_serial_2d_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """A step is a product of two slices and its addition in the tree."""
    step = int_multiply_pj(pe.min_bits, pe.min_bits) + int_add_pj(2 * pe.min_bits + np.ceil(np.log2(pe.block)))
    return _in_a_tree(pe, step, bit_serial_2d_mode, mode, accumulator_bits)


def _in_a_tree(
    pe: ProcessingElement,
    step: Floats,
    rule: Callable[[ProcessingElement, Ints, Ints], Mode],
    mode: Mode,
    accumulator_bits: Floats,
) -> Floats:
    """Energy of a MAC whose steps share a tree of ``block`` elements with one accumulator.

    A step costs its own operation with a share of the accumulator's addition and register, by single operations (Horowitz, ISSCC
    2014; Aladdin, ISCA 2014), but never so little that the full widths would take less than the parallel unit of these widths:
    below about 8 bits single operations alone say so.
    """
    sums = (int_add_pj(accumulator_bits) + accumulator_bits * register_pj_per_bit(accumulator_bits)) / pe.block
    full_w, full_a = np.asarray(pe.max_weight_bits, np.int64), np.asarray(pe.max_activation_bits, np.int64)
    whole = rule(pe, full_w, full_a).step_cycles
    least = (product_pj(pe) + wide_sum_pj(pe, accumulator_bits)) / whole
    return np.asarray(np.maximum(step + sums, least) * (mode.step_cycles / mode.lanes))


def bit_serial_unit(pe: ProcessingElement, law: Law) -> float:
    """A unit of one bit by the parallel operand, and its share of the tree's accumulator."""
    own = law.unit(1, pe.max_activation_bits if pe.serial_operand == "weight" else pe.max_weight_bits)
    return float(own) + _shared_sum(pe, law)


def bit_serial_2d_unit(pe: ProcessingElement, law: Law) -> float:
    """A unit of two slices, and its share of the tree's accumulator."""
    return float(law.unit(pe.min_bits, pe.min_bits)) + _shared_sum(pe, law)


def _shared_sum(pe: ProcessingElement, law: Law) -> float:
    """The adder of the accumulator, which ``block`` elements share."""
    return float(int_add_um2(pe.accumulator_bits)) / pe.block * per_um2(law)


def _additions(pe: ProcessingElement) -> bool:
    return extrapolated("int_add", max(pe.accumulator_bits, pe.max_weight_bits, pe.max_activation_bits))


BIT_SERIAL = ElementFamily(
    name="bit_serial",
    summary="the serial operand arrives bit by bit; a MAC takes as many steps as it has bits",
    source="Stripes, Judd et al., MICRO 2016; UNPU, Lee et al., ISSCC 2018",
    mode=bit_serial_mode,
    energy_pj_45nm=bit_serial_energy,
    unit=bit_serial_unit,
    extrapolated=lambda pe: Extrapolated(_additions(pe), True),  # the area is that of a 1-bit unit
    takes_floats=never,
    waits=True,
    reconfigures=True,
    keys=("min_bits", "block", "serial_operand"),
    serial=lambda pe: (pe.serial_operand,),
)
BIT_SERIAL_LOOKUP = ElementFamily(
    name="bit_serial_lookup",
    summary="bit-serial with tables of partial products: a fifth (16 bits) to a half (1 bit) less energy than fixed-point units",
    source="UNPU, Lee et al., ISSCC 2018, JSSC 54(1) 2019",
    mode=bit_serial_lookup_mode,
    energy_pj_45nm=bit_serial_lookup_energy,
    unit=bit_serial_unit,
    extrapolated=lambda pe: Extrapolated(pe.serial_operand != "weight" or pe.max_weight_bits > 16, True),
    takes_floats=never,
    waits=True,
    reconfigures=True,
    keys=("min_bits", "block", "serial_operand"),
    serial=lambda pe: (pe.serial_operand,),
)
BIT_SERIAL_2D = ElementFamily(
    name="bit_serial_2d",
    summary="both operands are cut in slices of min_bits; a MAC takes the product of the two numbers of slices",
    source="Loom, Sharify et al., DAC 2018; BitBlade, Ryu et al., DAC 2019",
    mode=bit_serial_2d_mode,
    energy_pj_45nm=bit_serial_2d_energy,
    unit=bit_serial_2d_unit,
    extrapolated=lambda pe: Extrapolated(_additions(pe), pe.min_bits < 2),
    takes_floats=never,
    waits=True,
    reconfigures=True,
    keys=("min_bits", "block"),
    serial=lambda pe: ("weight", "activation"),
)
