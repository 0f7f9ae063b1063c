"""What low precision costs beside the MACs: quantizing, rounding, ranges, statistics, changing widths; and vector operations.

Energies in pJ at a node, built from the sourced operations of :mod:`dse.hardware.prices.arithmetic` by an operation count that each
docstring states; the counts are ours unless a source is named. All functions broadcast; they are charged and shown apart from
the MACs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.errors import InputError, Problem
from dse.hardware.prices.arithmetic import float_add_pj, float_multiply_pj, int_add_pj, int_multiply_pj, shift_pj
from dse.hardware.prices.memories import register_pj_per_bit
from dse.types import Floats
from dse.yaml_input import suggest

#: Significand with its hidden bit of the floats that a vector unit may work in.
_SIGNIFICANDS = {8: 4, 16: 11, 32: 24}


def vector_op_pj(bits: npt.ArrayLike = 32, floating: bool = True, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """One operation of the vector unit with its operands: mean of an addition and a multiplication, three register accesses.

    Parameters
    ----------
    bits
        Width of the operation. Floats: 8, 16 or 32, other widths take the next of these.
    floating
        Floating point, else integer.
    """
    width = np.asarray(bits, np.float64)
    if floating:
        wide = np.select([width <= 8, width <= 16], [8.0, 16.0], 32.0)
        significand = np.select([width <= 8, width <= 16], [4.0, 11.0], 24.0)
        operation = (float_add_pj(wide, node_nm) + float_multiply_pj(significand, node_nm)) / 2
        width = wide
    else:
        operation = (int_add_pj(width, node_nm) + int_multiply_pj(width, width, node_nm)) / 2
    return np.asarray(operation + 3 * width * register_pj_per_bit(width, node_nm))


def quantize_pj(bits: npt.ArrayLike, from_bits: npt.ArrayLike = 32, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Quantizing one element to an integer, nearest rounding.

    An integer multiplication of the wide value by a 16-bit scale, a shift, a rounding addition and two comparisons (saturation) of
    the result: the requantization of Jacob et al., arXiv 1712.05877, section 2.2, with a 16-bit multiplier.
    """
    wide = np.asarray(from_bits, np.float64)
    narrow = np.asarray(bits, np.float64)
    scale = int_multiply_pj(wide, 16.0, node_nm) + shift_pj(wide, wide - 1, node_nm)
    return np.asarray(scale + 3 * int_add_pj(narrow, node_nm))


def stochastic_rounding_pj(dropped_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """What stochastic adds to nearest rounding, per element: a shift register with feedback of the dropped bits, an addition."""
    bits = np.asarray(dropped_bits, np.float64)
    return np.asarray(bits * register_pj_per_bit(bits, node_nm) + int_add_pj(bits, node_nm))


def range_reduction_pj(bits: npt.ArrayLike = 32, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Finding the largest magnitude of a tensor, per element: one comparison and a share of the running maximum's register."""
    width = np.asarray(bits, np.float64)
    return np.asarray(int_add_pj(width, node_nm) + width * register_pj_per_bit(width, node_nm))


def block_exponent_pj(bits: npt.ArrayLike, block: int = 16, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Making block floating point, per element: an 8-bit comparison, a shift of the mantissa, a rounding addition.

    The largest exponent of the block is written once.
    """
    width = np.asarray(bits, np.float64)
    shared = 8 * register_pj_per_bit(8, node_nm) / block
    return np.asarray(
        int_add_pj(8, node_nm) + shift_pj(width, width - 1, node_nm) + int_add_pj(width, node_nm) + shared
    )


def block_analytics_pj(gradient_bits: npt.ArrayLike = 8, block: int = 16, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Online sensitivity of one block, pJ per element.

    ``block`` squarings and sums, one moving average, three comparisons and a 2-bit write per block: a derived count of a
    DYNASTY-like unit (arXiv 2210.17047; the paper's own unit is not public). The average is in FP16.
    """
    bits = np.asarray(gradient_bits, np.float64)
    squares = int_multiply_pj(bits, bits, node_nm) + int_add_pj(2 * bits + np.ceil(np.log2(block)), node_nm)
    average = 2 * float_multiply_pj(11, node_nm) + float_add_pj(16, node_nm)
    decide = 3 * int_add_pj(16, node_nm) + 2 * register_pj_per_bit(2, node_nm)
    return np.asarray(squares + (average + decide) / block)


class Reconfiguration(NamedTuple):
    """Cost of one change of widths on a whole array: energy and cycles."""

    energy_pj: Floats
    cycles: Floats


def reconfiguration(rows: npt.ArrayLike, cols: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Reconfiguration:
    """Changing the widths of an array: it drains (rows + cols cycles) and every element writes 8 bits of configuration.

    The count is ours; no published figure of a chip was found.
    """
    r, c = np.asarray(rows, np.float64), np.asarray(cols, np.float64)
    return Reconfiguration(np.asarray(r * c * 8 * register_pj_per_bit(8, node_nm)), r + c)


#: FP32 multiplications, additions, divisions or square roots per parameter. sgd w -= lr * g; momentum v = m v + g + d w, w -= lr v
#: (weight decay d); adam: Kingma and Ba, arXiv 1412.6980, algorithm 1, bias corrections folded into the step size;
#: adamw one multiplication and one subtraction more for the decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
_OPTIMIZER_OPS = {"sgd": (1, 1, 0), "momentum": (3, 3, 0), "adam": (6, 4, 2), "adamw": (7, 5, 2)}
#: A division or square root as multiplications: two Newton steps of two multiplications each.
_DIVISION_MULTIPLICATIONS = 4


def optimizer_pj(kind: str, bits: int = 32, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Arithmetic of one optimizer step per parameter, pJ, without memory traffic.

    Raises
    ------
    InputError
        Unknown optimizer, or a width other than 8, 16 and 32 bits.
    """
    if kind not in _OPTIMIZER_OPS:
        raise InputError("optimizer", [Problem("kind", f"'{kind}' is unknown{suggest(kind, _OPTIMIZER_OPS)}")])
    if bits not in _SIGNIFICANDS:
        raise InputError("optimizer", [Problem("bits", f"expected 8, 16 or 32, got {bits}")])
    multiplications, additions, divisions = _OPTIMIZER_OPS[kind]
    multiplications += divisions * _DIVISION_MULTIPLICATIONS
    significand = _SIGNIFICANDS[bits]
    return np.asarray(
        multiplications * float_multiply_pj(significand, node_nm) + additions * float_add_pj(bits, node_nm)
    )
