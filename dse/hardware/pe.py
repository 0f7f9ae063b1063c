"""Throughput, energy and area of a processing element, by family, as functions of both operand widths.

Everything broadcasts over arrays of widths. The widths are what the multiplier sees: integer bits, or a significand with its
hidden bit. Energies and areas of the integer units rest on the synthesis rows of Bit Fusion (:mod:`dse.hardware.units_45nm`).

Families
--------
fixed
    One MAC per step at every width up to the maximum; nothing is gained below it, nothing wider is supported.
composable
    Bit Fusion: an array of small multipliers that fuse. Lanes = floor(max_w / w2) * floor(max_a / a2), with w2 and a2 the next
    power of two and at least ``min_bits`` (3 bits cost 4, 6 cost 8). Operands up to twice the maximum take 2 or 4 steps.
bit_serial
    Stripes, UNPU: the serial operand arrives bit by bit, one MAC takes as many steps as it has bits (at least ``min_bits``).
bit_serial_2d
    Loom, BitBlade: both operands are cut in slices of ``min_bits``; a MAC takes the product of the two numbers of slices.
bfp
    Block floating point: integer mantissas of any number of ``min_bits`` slices; a PE takes a block of ``block`` pairs at a time,
    so the rate is (max_w * max_a) / (w * a) of its slices even where the widths are no powers of two.
mls
    MLS (arXiv 2006.02804): integer multiply-accumulate inside a group, a floating-point addition per group of ``block``.
float
    Floating-point multiply and add; narrower significands gain nothing.
multi_mode
    A list of supported pairs with their MACs per cycle; other widths use the fastest mode that is wide enough.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.hardware.arithmetic import extrapolated, float_add_pj, float_multiply_pj, int_add_pj, int_multiply_pj, shift_pj
from dse.hardware.model import ProcessingElement
from dse.hardware.prices import leakage_scale, register_pj_per_bit
from dse.hardware.technology import area_scale, energy_scale
from dse.hardware.units_45nm import AREA_UM2, ENERGY_PJ, LEAKAGE_UW, Law

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Mode(NamedTuple):
    """How a PE runs a pair of widths; three arrays of the broadcast shape of the widths.

    ``lanes`` pairs multiplied per step along the reduction (int64, >= 1; 1 where unsupported), ``step_cycles`` cycles per step
    (float64), ``supported``. MACs per cycle = lanes / step_cycles.
    """

    lanes: Ints
    step_cycles: Floats
    supported: Bools


def pe_mode(pe: ProcessingElement, weight_bits: npt.ArrayLike, activation_bits: npt.ArrayLike) -> Mode:
    """Lanes, cycles per step and support of every pair of widths.

    Parameters
    ----------
    weight_bits, activation_bits
        Integer widths that the multiplier sees, any shapes that broadcast; below 1 is unsupported.

    >>> from dse.hardware.model import ProcessingElement
    >>> mode = pe_mode(ProcessingElement("composable"), [8, 4, 3, 2, 16], [8, 4, 2, 2, 8])
    >>> mode.lanes.tolist(), mode.step_cycles.tolist()
    ([1, 4, 8, 16, 1], [1.0, 1.0, 1.0, 1.0, 2.0])
    """
    w, a = np.broadcast_arrays(np.asarray(weight_bits, np.int64), np.asarray(activation_bits, np.int64))
    positive = (w >= 1) & (a >= 1)
    w, a = np.maximum(w, 1), np.maximum(a, 1)
    most_w, most_a, least = pe.max_weight_bits, pe.max_activation_bits, pe.min_bits
    ones = np.ones(w.shape, np.int64)
    fits = (w <= most_w) & (a <= most_a)
    if pe.family in ("fixed", "float", "mls"):
        return Mode(ones, ones.astype(np.float64), positive & fits)
    if pe.family == "composable":
        w2, a2 = power_of_two(np.maximum(w, least)), power_of_two(np.maximum(a, least))
        lanes = np.maximum(most_w // w2, 1) * np.maximum(most_a // a2, 1)
        parts = np.maximum(_ceil(w, most_w), 1) * np.maximum(_ceil(a, most_a), 1)
        return Mode(lanes, parts.astype(np.float64), positive & (w <= 2 * most_w) & (a <= 2 * most_a))
    if pe.family == "bit_serial":
        serial, parallel = (w, a) if pe.serial_operand == "weight" else (a, w)
        most_serial, most_parallel = (most_w, most_a) if pe.serial_operand == "weight" else (most_a, most_w)
        steps = np.maximum(serial, least) * _ceil(parallel, most_parallel)
        return Mode(
            ones, steps.astype(np.float64), positive & (serial <= most_serial) & (parallel <= 2 * most_parallel)
        )
    if pe.family == "bit_serial_2d":
        return Mode(ones, (_ceil(w, least) * _ceil(a, least)).astype(np.float64), positive & fits)
    if pe.family == "bfp":
        slices = _ceil(w, least) * _ceil(a, least)
        whole = _ceil(np.int64(most_w), least) * _ceil(np.int64(most_a), least)
        steps = np.maximum(np.ceil(pe.block * slices / whole), 1.0)
        return Mode(ones * pe.block, steps, positive & (w <= 2 * most_w) & (a <= 2 * most_a))
    if pe.family == "multi_mode":
        rate = np.zeros(w.shape)
        for mode_w, mode_a, macs in pe.modes:
            rate = np.maximum(rate, np.where((w <= mode_w) & (a <= mode_a), macs, 0.0))
        lanes = np.maximum(np.ceil(rate), 1.0)
        return Mode(lanes.astype(np.int64), lanes / np.where(rate > 0, rate, 1.0), positive & (rate > 0))
    raise ValueError(f"unknown family {pe.family}")


def multiplies(pe: ProcessingElement, floating: npt.ArrayLike) -> Bools:
    """Whether an element multiplies operands of a kind: floating point (True) or integers and shared-exponent mantissas (False).

    ``float`` elements take floating point only, ``multi_mode`` elements with ``significand_bits`` take both, all others integers.
    """
    wanted = np.asarray(floating, np.bool_)
    takes_floats = pe.family == "float" or (pe.family == "multi_mode" and pe.significand_bits > 0)
    return np.where(wanted, takes_floats, pe.family != "float")


def waiting_shares(step_cycles: npt.ArrayLike, shares: npt.ArrayLike, blocks: npt.ArrayLike) -> Floats:
    """Share of the steps that take as long as each member of a histogram, where lanes wait for the slowest of them.

    Of n lanes drawn independently the slowest is member q with probability F(q)^n - F(before q)^n, F the cumulative share by time.

    Parameters
    ----------
    step_cycles
        (..., members) time of a step of each member, any order.
    shares
        (..., members) share of each member, rows summing to 1.
    blocks
        (...) lanes that wait for each other and may differ, >= 1.

    >>> waiting_shares([4, 8], [0.5, 0.5], 2).tolist()
    [0.25, 0.75]
    """
    times, drawn = np.broadcast_arrays(np.asarray(step_cycles, np.float64), np.asarray(shares, np.float64))
    order = np.argsort(times, axis=-1, kind="stable")
    reached = np.cumsum(np.take_along_axis(drawn, order, axis=-1), axis=-1)
    reached = (reached / reached[..., -1:]) ** np.asarray(blocks, np.float64)[..., None]
    result = np.empty(drawn.shape)
    np.put_along_axis(result, order, np.diff(reached, prepend=0.0, axis=-1), axis=-1)
    return result


def mac_energy_pj(
    pe: ProcessingElement,
    weight_bits: npt.ArrayLike,
    activation_bits: npt.ArrayLike,
    accumulator_bits: npt.ArrayLike | None = None,
    node_nm: npt.ArrayLike = 45.0,
) -> Floats:
    """Dynamic energy of one MAC, pJ; registers and buffers beside the unit's own pipeline are memories of their own.

    ``energy of a unit per cycle * step_cycles / lanes + adder bits beyond the product / lanes``, at 45 nm, then scaled.

    Parameters
    ----------
    weight_bits, activation_bits, accumulator_bits, node_nm
        Broadcast against each other. ``accumulator_bits`` None takes the PE's. Infinite where the widths are unsupported.

    Notes
    -----
    Serial elements add ``block`` of them in a tree with one accumulator: a step is one addition in the tree (and a product of
    two slices in two operands) with a share of the accumulator's addition and register, by single operations (Horowitz, ISSCC
    2014; Aladdin, ISCA 2014), but never so little that the full widths would take less than the parallel unit of these
    widths: below about 8 bits single operations alone say so. Block floating point pays an exponent addition, a shift and a
    sum per block.

    ``pe.energy_pj``, a measured energy per MAC at full width and the file's own node, replaces the model's value at full width; the
    dependence on the widths stays the model's and the node is not applied to it a second time.
    """
    w, a, node = np.broadcast_arrays(
        np.asarray(weight_bits, np.int64), np.asarray(activation_bits, np.int64), np.asarray(node_nm, np.float64)
    )
    accumulator = np.asarray(pe.accumulator_bits if accumulator_bits is None else accumulator_bits, np.float64)
    mode = pe_mode(pe, w, a)
    energy = _energy_45nm(pe, w, a, mode, accumulator)
    if pe.energy_pj is not None:
        full_w, full_a = np.asarray(pe.max_weight_bits), np.asarray(pe.max_activation_bits)
        full = _energy_45nm(
            pe, full_w, full_a, pe_mode(pe, full_w, full_a), np.asarray(pe.accumulator_bits, np.float64)
        )
        energy = energy / full * pe.energy_pj
    else:
        energy = energy * energy_scale(node)
    return np.where(mode.supported, energy, np.inf)


def _energy_45nm(pe: ProcessingElement, w: Ints, a: Ints, mode: Mode, accumulator: Floats) -> Floats:
    most_w, most_a = pe.max_weight_bits, pe.max_activation_bits
    unit = ENERGY_PJ.unit(most_w, most_a)
    steps = mode.step_cycles / mode.lanes
    wide_sum = int_add_pj(np.maximum(accumulator - most_w - most_a, 0.0))
    if pe.family == "fixed":
        return np.asarray(unit + wide_sum + 0.0 * steps)
    if pe.family in ("composable", "multi_mode"):
        return np.asarray((unit * ENERGY_PJ.factor(levels(pe)) + wide_sum) * steps * _widest_rate(pe))
    if pe.family in ("bit_serial", "bit_serial_2d"):
        sums = (int_add_pj(accumulator) + accumulator * register_pj_per_bit(accumulator)) / pe.block
        if pe.family == "bit_serial":
            step = int_add_pj(most_a if pe.serial_operand == "weight" else most_w)
        else:
            step = int_multiply_pj(pe.min_bits, pe.min_bits) + int_add_pj(2 * pe.min_bits + np.ceil(np.log2(pe.block)))
        whole = pe_mode(pe, most_w, most_a).step_cycles
        return np.asarray(np.maximum(step + sums, (unit + wide_sum) / whole) * steps)
    if pe.family == "bfp":
        per_block = int_add_pj(8.0) + shift_pj(accumulator, accumulator) + int_add_pj(accumulator)
        return np.asarray((unit * ENERGY_PJ.factor(levels(pe)) + wide_sum) * steps + per_block / pe.block)
    if pe.family == "mls":
        core = pe.significand_bits
        reach = 2 * ((1 << pe.exponent_bits) - 1)
        total = 2 * core + reach + np.ceil(np.log2(pe.block))
        inside = int_multiply_pj(core, core) + int_add_pj(pe.exponent_bits) + shift_pj(total, reach) + int_add_pj(total)
        return np.asarray(inside + float_add_pj(32) / pe.block + 0.0 * steps)
    bits = pe.significand_bits + pe.exponent_bits
    return np.asarray(
        float_multiply_pj(pe.significand_bits) + float_add_pj(np.maximum(accumulator, bits)) + 0.0 * steps
    )


def pe_area_mm2(pe: ProcessingElement, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Area of one processing element, mm2, without the memories that the file lists; shape of ``node_nm``.

    ``pe.area_um2``, a measured figure at the file's own node, is used as it is.
    """
    node = np.asarray(node_nm, np.float64)
    if pe.area_um2 is not None:
        return np.full(node.shape, pe.area_um2 * 1e-6)
    return np.asarray(_unit(pe, AREA_UM2) * 1e-6 * area_scale(node))


def pe_leakage_w(pe: ProcessingElement, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Leakage of one processing element, W, by the model also where the file gives a measured area; shape of ``node_nm``."""
    return np.asarray(_unit(pe, LEAKAGE_UW) * 1e-6 * leakage_scale(node_nm))


def _unit(pe: ProcessingElement, law: Law) -> float:
    """Area (um2) or leakage (uW) of an element at 45 nm.

    A floating-point unit is taken as the integer unit of its significand with twice its full width for shifting and
    normalizing, an assumption; an MLS unit as the integer unit of its core and the same allowance for its shifter.
    """
    most_w, most_a = pe.max_weight_bits, pe.max_activation_bits
    if pe.family in ("composable", "bfp", "multi_mode"):
        return float(law.unit(most_w, most_a) * law.factor(levels(pe)) * _widest_rate(pe))
    if pe.family == "bit_serial":
        return float(law.unit(1, most_a if pe.serial_operand == "weight" else most_w))
    if pe.family == "bit_serial_2d":
        return float(law.unit(pe.min_bits, pe.min_bits))
    if pe.family in ("float", "mls"):
        core = pe.significand_bits
        return float(law.unit(core, core) + law.unit(0, 2 * (core + pe.exponent_bits)) - law.unit(0, 0))
    return float(law.unit(most_w, most_a))


def pe_extrapolated(pe: ProcessingElement) -> bool:
    """Whether a price of the element lies outside its source's range: energy or area that the file does not give itself.

    Synthesized integer units have 2 to 16 bits and up to three levels of fusion; single operations have the ranges of
    :data:`dse.hardware.arithmetic.RANGES_BITS`. A one-operand serial unit's area is that of a 1-bit unit.
    """
    widths = (pe.max_weight_bits, pe.max_activation_bits)
    synthesized = all(2 <= bits <= 16 for bits in widths)
    if pe.family == "float":
        bits = pe.significand_bits + pe.exponent_bits
        energy = extrapolated("float_multiply", pe.significand_bits)
        energy = energy or extrapolated("float_add", max(bits, pe.accumulator_bits))
        area = not 2 <= pe.significand_bits <= 16
    elif pe.family == "mls":
        energy, area = extrapolated("int_multiply", pe.significand_bits), not 2 <= pe.significand_bits <= 16
    elif pe.family in ("bit_serial", "bit_serial_2d"):
        energy = extrapolated("int_add", max(pe.accumulator_bits, *widths))
        area = pe.family == "bit_serial" or pe.min_bits < 2
    else:
        fuses = pe.family in ("composable", "bfp", "multi_mode")
        energy = area = not synthesized or (fuses and levels(pe) > 3)
    return bool((energy and pe.energy_pj is None) or (area and pe.area_um2 is None))


def _widest_rate(pe: ProcessingElement) -> float:
    """MACs per cycle of a ``multi_mode`` element in its widest mode: it is as large as so many units of that width."""
    return max(pe.modes, key=lambda mode: mode[0] * mode[1])[2] if pe.family == "multi_mode" else 1.0


def levels(pe: ProcessingElement) -> float:
    """Levels of fusion: how often the smallest unit doubles to reach the largest width."""
    if pe.family == "multi_mode":
        smallest = min(min(w, a) for w, a, _ in pe.modes)
        largest = max(max(w, a) for w, a, _ in pe.modes)
        return float(np.log2(largest / smallest))
    return float(np.log2(max(pe.max_weight_bits, pe.max_activation_bits) / pe.min_bits))


def power_of_two(bits: npt.ArrayLike) -> Ints:
    """The next power of two, elementwise; exact for 1 to 2^52.

    >>> power_of_two([1, 2, 3, 6, 8]).tolist()
    [1, 2, 4, 8, 8]
    """
    return np.asarray(2 ** np.ceil(np.log2(np.asarray(bits, np.float64))), np.int64)


def _ceil(bits: Ints | np.int64, per: int) -> Ints:
    return np.asarray(-(-bits // per), np.int64)
