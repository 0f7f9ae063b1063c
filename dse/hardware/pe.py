"""Throughput, energy and area of a processing element, by family, as functions of both operand widths.

Everything broadcasts over arrays of widths. The widths are what the multiplier sees: integer bits, or a significand with its
hidden bit. Energies and areas of the integer units rest on the synthesis rows of Bit Fusion
(:mod:`dse.hardware.prices.units_45nm`).

The families are records of :mod:`dse.hardware.elements`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.hardware.elements import Mode, element_family, levels, power_of_two
from dse.hardware.model import ProcessingElement
from dse.hardware.prices.memories import leakage_scale
from dse.hardware.prices.technology import area_scale, energy_scale
from dse.hardware.prices.units_45nm import AREA_UM2, LEAKAGE_UW
from dse.types import Floats

__all__ = [
    "Mode",
    "levels",
    "mac_energy_pj",
    "pe_area_mm2",
    "pe_extrapolated",
    "pe_leakage_w",
    "pe_mode",
    "power_of_two",
    "waiting_shares",
]


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
    mode = element_family(pe.family).mode(pe, np.maximum(w, 1), np.maximum(a, 1))
    return Mode(mode.lanes, mode.step_cycles, positive & mode.supported)


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
    ``pe.energy_pj``, a measured energy per MAC at full width and the file's own node, replaces the model's value at full width; the
    dependence on the widths stays the model's and the node is not applied to it a second time.
    """
    w, a, node = np.broadcast_arrays(
        np.asarray(weight_bits, np.int64), np.asarray(activation_bits, np.int64), np.asarray(node_nm, np.float64)
    )
    accumulator = np.asarray(pe.accumulator_bits if accumulator_bits is None else accumulator_bits, np.float64)
    mode = pe_mode(pe, w, a)
    family = element_family(pe.family)
    energy = family.energy_pj_45nm(pe, w, a, mode, accumulator)
    if pe.energy_pj is not None:
        widest = np.asarray(pe.max_weight_bits), np.asarray(pe.max_activation_bits)
        own = np.asarray(pe.accumulator_bits, np.float64)
        full = family.energy_pj_45nm(pe, *widest, pe_mode(pe, *widest), own)
        energy = energy / full * pe.energy_pj
    else:
        energy = energy * energy_scale(node)
    return np.where(mode.supported, energy, np.inf)


def pe_area_mm2(pe: ProcessingElement, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Area of one processing element's cells, mm2, without the memories that the file lists; shape of ``node_nm``.

    ``pe.area_um2``, a measured figure at the file's own node, is used as it is.
    """
    node = np.asarray(node_nm, np.float64)
    if pe.area_um2 is not None:
        return np.full(node.shape, pe.area_um2 * 1e-6)
    return np.asarray(element_family(pe.family).unit(pe, AREA_UM2) * 1e-6 * area_scale(node))


def pe_leakage_w(pe: ProcessingElement, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Leakage of one processing element, W, by the model also where the file gives a measured area; shape of ``node_nm``."""
    return np.asarray(element_family(pe.family).unit(pe, LEAKAGE_UW) * 1e-6 * leakage_scale(node_nm))


def pe_extrapolated(pe: ProcessingElement) -> bool:
    """Whether a price of the element lies outside its source's range: energy or area that the file does not give itself.

    Synthesized integer units have 2 to 16 bits and up to three levels of fusion; single operations have the ranges of
    :data:`dse.hardware.prices.arithmetic.RANGES_BITS`. A one-operand serial unit's area is that of a 1-bit unit.
    """
    outside = element_family(pe.family).extrapolated(pe)
    return (outside.energy and pe.energy_pj is None) or (outside.area and pe.area_um2 is None)
