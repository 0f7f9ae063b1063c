"""One record per family of processing elements: how it runs a pair of widths, and what it costs at 45 nm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.hardware.model import ProcessingElement
from dse.hardware.prices.units_45nm import Law
from dse.types import Bools, Floats, Ints


class Mode(NamedTuple):
    """How a PE runs a pair of widths; three arrays of the broadcast shape of the widths.

    ``lanes`` pairs multiplied per step along the reduction (int64, >= 1; 1 where unsupported), ``step_cycles`` cycles per step
    (float64), ``supported``. MACs per cycle = lanes / step_cycles.
    """

    lanes: Ints
    step_cycles: Floats
    supported: Bools


class Extrapolated(NamedTuple):
    """Whether the energy and the area of an element lie outside the range of their sources."""

    energy: bool
    area: bool


@dataclass(frozen=True)
class ElementFamily:
    """A family of processing elements.

    Attributes
    ----------
    name
        The word of a hardware file's ``pe.family``.
    summary, source
        What it is in a sentence, and who described it.
    mode
        ``mode(pe, w, a)`` for integer widths of one shape, each at least 1.
    energy_pj_45nm
        ``energy_pj_45nm(pe, w, a, mode, accumulator_bits)``: dynamic energy of a MAC at 45 nm; the mode is that of (w, a).
    unit
        ``unit(pe, law)``: area (um2) or leakage (uW) of one element at 45 nm by a law of synthesized units.
    extrapolated
        What lies outside the sources' ranges.
    takes_floats, takes_integers
        Whether an element multiplies floating-point operands, and integers or shared-exponent mantissas; see
        :mod:`dse.hardware.takes`.
    by_significand
        Integers and MLS elements have to fit ``significand_bits`` and ``exponent_bits``, as floats always have to; else MLS
        elements are multiplied as the integers that they stand for.
    waits
        Lanes add in one tree, so that all wait for the widest block of a map of widths.
    reconfigures
        A change of widths has to be told to the array.
    keys
        Keys of the file's ``pe`` section that mean something for this family beside widths, accumulator and measured figures.
    needed
        Those of ``keys`` that a file must give.
    powers_of_two
        Maximum and minimum widths must be powers of two.
    serial
        Roles whose operand an element takes in slices of ``min_bits``, held in flip-flops slice by slice.
    """

    name: str
    summary: str
    source: str
    mode: Callable[[ProcessingElement, Ints, Ints], Mode]
    energy_pj_45nm: Callable[[ProcessingElement, Ints, Ints, Mode, Floats], Floats]
    unit: Callable[[ProcessingElement, Law], float]
    extrapolated: Callable[[ProcessingElement], Extrapolated]
    takes_floats: Callable[[ProcessingElement], bool]
    takes_integers: bool = True
    by_significand: bool = False
    waits: bool = False
    reconfigures: bool = False
    keys: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    powers_of_two: bool = False
    serial: Callable[[ProcessingElement], tuple[str, ...]] = lambda pe: ()


def never(pe: ProcessingElement) -> bool:
    """For families that take no floating-point operands."""
    return False


def fits(pe: ProcessingElement, w: Ints, a: Ints, times: int = 1) -> Bools:
    """Whether both widths are at most ``times`` the maximum ones."""
    return np.asarray((w <= times * pe.max_weight_bits) & (a <= times * pe.max_activation_bits))


def parts(bits: Ints | np.int64 | int, per: int) -> Ints:
    """Slices of ``per`` bits that an operand is cut into: ceil(bits / per)."""
    return np.asarray(-(-np.asarray(bits, np.int64) // per), np.int64)


def synthesized(pe: ProcessingElement) -> bool:
    """Whether the widths lie within those of Bit Fusion's synthesized units, 2 to 16 bits."""
    return all(2 <= bits <= 16 for bits in (pe.max_weight_bits, pe.max_activation_bits))


def levels(pe: ProcessingElement) -> float:
    """Levels of fusion: how often the smallest unit doubles to reach the largest width."""
    if pe.modes:
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
