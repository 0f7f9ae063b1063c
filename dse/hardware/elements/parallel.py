"""Elements that take both operands at once: fixed, composable, block floating point, and multi-mode.

Energies and areas rest on the synthesis rows of Bit Fusion (:mod:`dse.hardware.prices.units_45nm`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dse.hardware.elements.family import (
    ElementFamily,
    Extrapolated,
    Mode,
    fits,
    levels,
    never,
    parts,
    power_of_two,
    synthesized,
)
from dse.hardware.model import ProcessingElement
from dse.hardware.prices.arithmetic import (
    float_add_pj,
    float_add_um2,
    int_add_pj,
    int_add_um2,
    int_multiply_pj,
    shift_pj,
    shift_um2,
)
from dse.hardware.prices.units_45nm import AREA_UM2, ENERGY_PJ, Law
from dse.types import Floats, Ints


def one_mac_per_cycle(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """One MAC per step at every width up to the maximum."""
    ones = np.ones(w.shape, np.int64)
    return Mode(ones, ones.astype(np.float64), fits(pe, w, a))


def composable_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """Bit Fusion's array of small multipliers that fuse (Sharma et al., ISCA 2018).

    Lanes = floor(max_w / w2) floor(max_a / a2), w2 and a2 the next powers of two and at least ``min_bits``: 3 bits cost 4. Operands
    up to twice the maximum take 2 or 4 steps.
    """
    w2, a2 = power_of_two(np.maximum(w, pe.min_bits)), power_of_two(np.maximum(a, pe.min_bits))
    lanes = np.maximum(pe.max_weight_bits // w2, 1) * np.maximum(pe.max_activation_bits // a2, 1)
    steps = parts(w, pe.max_weight_bits) * parts(a, pe.max_activation_bits)
    return Mode(lanes, steps.astype(np.float64), fits(pe, w, a, 2))


def bfp_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """Integer mantissas of any number of ``min_bits`` slices (FlexBlock, FAST): an element takes ``block`` pairs at a time.

    The rate is (max_w max_a) / (w a) of its slices even where the widths are no powers of two.
    """
    slices = parts(w, pe.min_bits) * parts(a, pe.min_bits)
    whole = parts(pe.max_weight_bits, pe.min_bits) * parts(pe.max_activation_bits, pe.min_bits)
    steps = np.maximum(np.ceil(pe.block * slices / whole), 1.0)
    return Mode(np.full(w.shape, pe.block, np.int64), steps, fits(pe, w, a, 2))


def multi_mode_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Mode:
    """The fastest listed pair of widths that is wide enough for both operands."""
    rate = np.zeros(w.shape)
    for mode_w, mode_a, macs in pe.modes:
        rate = np.maximum(rate, np.where((w <= mode_w) & (a <= mode_a), macs, 0.0))
    lanes = np.maximum(np.ceil(rate), 1.0)
    return Mode(lanes.astype(np.int64), lanes / np.where(rate > 0, rate, 1.0), rate > 0)


def product_pj(pe: ProcessingElement) -> Floats:
    """Energy per cycle of the synthesized unit of full width."""
    return np.asarray(ENERGY_PJ.unit(pe.max_weight_bits, pe.max_activation_bits))


def wide_sum_pj(pe: ProcessingElement, accumulator_bits: Floats) -> Floats:
    """Adder bits beyond those of the product, which the synthesized unit contains."""
    return int_add_pj(np.maximum(accumulator_bits - pe.max_weight_bits - pe.max_activation_bits, 0.0))


def fixed_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """The full unit, whatever the operands."""
    return np.asarray(product_pj(pe) + wide_sum_pj(pe, accumulator_bits) + 0.0 * mode.step_cycles)


def fused_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """The fusing unit's energy per cycle, shared by the MACs of a cycle."""
    steps = mode.step_cycles / mode.lanes
    unit = product_pj(pe) * ENERGY_PJ.factor(levels(pe)) + wide_sum_pj(pe, accumulator_bits)
    return np.asarray(unit * steps)


def bfp_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """The fusing unit with an integer sum as wide as a block needs, and per block the scales and the addition to the accumulator, a
    float."""
    inside = pe.max_weight_bits + pe.max_activation_bits + np.ceil(np.log2(pe.block))
    per_block = scale_pj(pe, accumulator_bits) + float_add_pj(accumulator_bits)
    return fused_energy(pe, w, a, mode, np.minimum(accumulator_bits, inside)) + per_block / pe.block


def scale_pj(pe: ProcessingElement, accumulator_bits: Floats) -> Floats:
    """What the scales of two blocks cost at the end of their sum: their exponents are added; significands, where scales have one,
    are
    multiplied with each other and into the sum of the block, two product bits and a carry per doubling of the block."""
    total = int_add_pj(np.full(np.shape(accumulator_bits), 8.0))
    if pe.scale_bits:
        both = 2.0 * pe.scale_bits
        held = pe.max_weight_bits + pe.max_activation_bits + np.ceil(np.log2(pe.block))
        total = total + int_multiply_pj(pe.scale_bits, pe.scale_bits) + int_multiply_pj(both, held)
    return np.asarray(total)


class Busiest(NamedTuple):
    """The mode of a multi-mode element that multiplies most bits with each other in a cycle; it is as large as this many units."""

    weight_bits: int
    activation_bits: int
    macs_per_cycle: float


def busiest_mode(pe: ProcessingElement) -> Busiest:
    """The mode with most bit products per cycle, of equal ones the widest.

    >>> modes = ((1, 1, 32.0), (4, 4, 4.0), (5, 5, 1.0))
    >>> busiest_mode(ProcessingElement("multi_mode", 5, 5, modes=modes))
    Busiest(weight_bits=4, activation_bits=4, macs_per_cycle=4.0)
    """
    return Busiest(*max(pe.modes, key=lambda mode: (mode[0] * mode[1] * mode[2], mode[0] * mode[1])))


def multi_mode_energy(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator_bits: Floats) -> Floats:
    """The fusing unit of the busiest mode, as much of it as the chosen mode uses, and its sums.

    Small multipliers whose operands are held do not switch: a mode with half as many bit products per cycle takes half the energy
    of the multipliers and their adders. Where sums are floats, each lane and each step of the chosen mode adds to that. A lane with
    an exponent adds two of them, shifts its product of two significands by their difference and adds it to the other lanes'; a step
    adds the lanes' sum to the accumulator as a float and the scales' exponents to that of it, and every ``block`` MACs multiply
    scales that have a significand. Operations of Horowitz and Aladdin (:mod:`dse.hardware.prices.arithmetic`).
    """
    base, chosen = busiest_mode(pe), chosen_mode(pe, w, a)
    products = np.array([*(mode_w * mode_a for mode_w, mode_a, _ in pe.modes), 0])[chosen]
    unit = ENERGY_PJ.unit(base.weight_bits, base.activation_bits) * ENERGY_PJ.factor(levels(pe))
    beyond = np.maximum(accumulator_bits - base.weight_bits - base.activation_bits, 0.0)
    sums = int_add_pj(beyond) * base.macs_per_cycle
    energy = unit * products / (base.weight_bits * base.activation_bits) + sums * mode.step_cycles / mode.lanes
    for number, (held, (mode_w, mode_a, rate)) in enumerate(zip(pe.formats, pe.modes, strict=bool(pe.formats))):
        if not held.float_sums:
            continue
        width, reach = lane_shift(held.exponent_bits, mode_w, mode_a, accumulator_bits)
        lane = int_add_pj(held.exponent_bits + 1.0) + shift_pj(width, reach) + int_add_pj(width)
        step = float_add_pj(accumulator_bits) - sums + int_add_pj(9.0)
        scales = scale_pj(pe, accumulator_bits) / pe.block if pe.scale_bits else 0.0
        extra = (lane if held.exponent_bits else 0.0) + step / rate + scales
        energy = np.where(chosen == number, energy + extra, energy)
    return np.asarray(energy)


def lane_shift(
    exponent_bits: int, weight_bits: int, activation_bits: int, accumulator_bits: Floats
) -> tuple[Floats, Floats]:
    """Bits and reach of the shift that aligns a product: as far as two exponents differ, at most the width of the accumulator."""
    reach = np.minimum(2.0 * (2.0**exponent_bits - 1), np.maximum(accumulator_bits, 1.0) - 1)
    return np.minimum(weight_bits + activation_bits + reach, accumulator_bits), reach


def chosen_mode(pe: ProcessingElement, w: Ints, a: Ints) -> Ints:
    """Place of the fastest mode that is wide enough, -1 where none is."""
    rate, chosen = np.zeros(w.shape), np.full(w.shape, -1, np.int64)
    for number, (mode_w, mode_a, macs) in enumerate(pe.modes):
        better = (w <= mode_w) & (a <= mode_a) & (macs > rate)
        rate, chosen = np.where(better, macs, rate), np.where(better, number, chosen)
    return chosen


def multi_mode_unit(pe: ProcessingElement, law: Law) -> float:
    """The fusing unit of the busiest mode; a float adder where a mode has float sums, the shifters of the mode that needs most."""
    base = busiest_mode(pe)
    unit = float(law.unit(base.weight_bits, base.activation_bits) * law.factor(levels(pe)) * base.macs_per_cycle)
    if not all(held.float_sums for held in pe.formats) or not pe.formats:
        beyond = max(pe.accumulator_bits - base.weight_bits - base.activation_bits, 0)
        unit += float(int_add_um2(beyond)) * base.macs_per_cycle * per_um2(law)
    if not any(held.float_sums for held in pe.formats):
        return unit
    shifters = [0.0]
    for held, (mode_w, mode_a, rate) in zip(pe.formats, pe.modes, strict=bool(pe.formats)):
        if held.exponent_bits:
            width, reach = lane_shift(held.exponent_bits, mode_w, mode_a, np.asarray(float(pe.accumulator_bits)))
            shifters.append(float(shift_um2(width, reach)) * rate)
    return unit + (float(float_add_um2(pe.accumulator_bits)) + max(shifters)) * per_um2(law)


def per_um2(law: Law) -> float:
    """A law's figure per um2 of a synthesized 8-bit unit: what gates without a synthesis row are taken to be like."""
    return float(law.unit(8, 8) / AREA_UM2.unit(8, 8))


def wide_sum(pe: ProcessingElement, law: Law) -> float:
    """Adder bits beyond those of the product, which the synthesized unit contains; sums' registers are priced with the array's."""
    beyond = max(pe.accumulator_bits - pe.max_weight_bits - pe.max_activation_bits, 0)
    return float(int_add_um2(beyond)) * per_um2(law)


def fixed_unit(pe: ProcessingElement, law: Law) -> float:
    """The synthesized unit of full width, and a sum as wide as the accumulator."""
    return float(law.unit(pe.max_weight_bits, pe.max_activation_bits)) + wide_sum(pe, law)


def fused_unit(pe: ProcessingElement, law: Law) -> float:
    """The synthesized unit of full width with the factor of its levels of fusion, and a sum as wide as the accumulator."""
    return float(law.unit(pe.max_weight_bits, pe.max_activation_bits) * law.factor(levels(pe))) + wide_sum(pe, law)


def bfp_unit(pe: ProcessingElement, law: Law) -> float:
    """The fusing unit with an integer sum as wide as a block needs, and its share of the block's float adder and of the adder of
    exponents; a scale with a significand is multiplied as :func:`scale_pj` counts."""
    inside = np.ceil(np.log2(pe.block))
    shared = float_add_um2(pe.accumulator_bits) + int_add_um2(8.0)
    gates = float(int_add_um2(inside) + shared / pe.block) * per_um2(law)
    if pe.scale_bits:
        held = pe.max_weight_bits + pe.max_activation_bits + inside
        scale = law.unit(pe.scale_bits, pe.scale_bits) + law.unit(2.0 * pe.scale_bits, held)
        gates += float(scale) / pe.block
    return float(law.unit(pe.max_weight_bits, pe.max_activation_bits) * law.factor(levels(pe))) + gates


def _fixed_range(pe: ProcessingElement) -> Extrapolated:
    outside = not synthesized(pe)
    return Extrapolated(outside, outside)


def _fused_range(pe: ProcessingElement) -> Extrapolated:
    outside = not synthesized(pe) or levels(pe) > 3
    return Extrapolated(outside, outside)


FIXED = ElementFamily(
    name="fixed",
    summary="one MAC per step at every width up to the maximum; nothing is gained below it, nothing wider is supported",
    source="synthesized units of Bit Fusion, ISCA 2018",
    mode=one_mac_per_cycle,
    energy_pj_45nm=fixed_energy,
    unit=fixed_unit,
    extrapolated=_fixed_range,
    takes_floats=never,
)
COMPOSABLE = ElementFamily(
    name="composable",
    summary="small multipliers that fuse: lanes = floor(max_w / w) floor(max_a / a) with widths rounded up to powers of two",
    source="Bit Fusion, Sharma et al., ISCA 2018",
    mode=composable_mode,
    energy_pj_45nm=fused_energy,
    unit=fused_unit,
    extrapolated=_fused_range,
    takes_floats=never,
    reconfigures=True,
    keys=("min_bits",),
    powers_of_two=True,
)
BFP = ElementFamily(
    name="bfp",
    summary="block floating point: integer mantissas in slices of min_bits; an exponent addition and a float sum per block",
    source="FlexBlock, Noh et al., IEEE TC 2023; FAST, Zhang et al., HPCA 2022",
    mode=bfp_mode,
    energy_pj_45nm=bfp_energy,
    unit=bfp_unit,
    extrapolated=_fused_range,
    takes_floats=never,
    reconfigures=True,
    keys=("min_bits", "block", "scale_bits"),
)
MULTI_MODE = ElementFamily(
    name="multi_mode",
    summary="a list of supported pairs of widths with their MACs per cycle; other widths use the fastest mode that is wide enough",
    source="Brain-TTA, MX accelerators: see hwmodels/",
    mode=multi_mode_mode,
    energy_pj_45nm=multi_mode_energy,
    unit=multi_mode_unit,
    extrapolated=_fused_range,
    takes_floats=lambda pe: pe.significand_bits > 0,
    reconfigures=True,
    keys=("modes", "significand_bits", "exponent_bits", "min_bits", "block", "scale_bits"),
    needed=("modes",),
)
