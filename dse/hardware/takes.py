"""Which operands a processing element multiplies, whatever their widths cost, and how to say so.

What an element holds decides. An integer multiplier takes integers, and mantissas whose block shares an exponent, which is added
once per block; an MLS element too, drawn out to the integer that it stands for. An element that carries an exponent of its own
needs an adder for it and room for its significand, which only some families have (:class:`~dse.hardware.elements.ElementFamily`):

* ``takes_floats``: numbers with a significand and an exponent no wider than the file's; beside one such number also an integer,
  which is a number without a fraction
* ``by_significand``: MLS elements no wider in exponent and significand than the file's, and integers whose magnitude fits the
  significand
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.hardware.elements import element_family
from dse.hardware.model import ARITHMETIC, ProcessingElement
from dse.hardware.pe import pe_mode
from dse.types import Bools, Ints

_INTEGER, _MLS, _FLOAT = range(len(ARITHMETIC))


def multiplies(
    pe: ProcessingElement, bits: npt.ArrayLike, arithmetic: npt.ArrayLike, exponent_bits: npt.ArrayLike
) -> Bools:
    """Whether an element multiplies pairs of operands, as far as their kind says; :func:`dse.hardware.pe.pe_mode` has the widths.

    Parameters
    ----------
    bits
        (..., 2) width that the multiplier sees of each operand: of integers with their sign, of floats the significand with its
        hidden bit, of MLS elements that of the integer they stand for.
    arithmetic
        (..., 2) places in :data:`dse.hardware.model.ARITHMETIC`.
    exponent_bits
        (..., 2) width of the exponent that each element carries, 0 for integers.

    Returns
    -------
    (...)
    """
    family = element_family(pe.family)
    kind, exponent = np.asarray(arithmetic, np.int64), np.asarray(exponent_bits, np.int64)
    floating = (kind == _FLOAT).any(axis=-1)
    held = significand_bits(bits, kind, exponent) <= pe.significand_bits
    fits = (held & (exponent <= pe.exponent_bits)).all(axis=-1)
    integers = fits if family.by_significand else np.full(floating.shape, True)
    return np.asarray(np.where(floating, fits & family.takes_floats(pe), integers & family.takes_integers))


def significand_bits(bits: npt.ArrayLike, arithmetic: npt.ArrayLike, exponent_bits: npt.ArrayLike) -> Ints:
    """Digits of an operand apart from sign and exponent; an MLS element <E, M> of M + 2^E - 1 bits has M + 1.

    >>> significand_bits([8, 11, 7], [0, 2, 1], [0, 5, 2]).tolist()  # int8, fp16, mls_e2m4
    [7, 11, 5]
    """
    width, kind = np.asarray(bits, np.int64), np.asarray(arithmetic, np.int64)
    drawn_out = width - 2 ** np.asarray(exponent_bits, np.int64) + 2
    return np.asarray(np.where(kind == _MLS, drawn_out, np.where(kind == _INTEGER, width - 1, width)), np.int64)


def element_in_words(pe: ProcessingElement) -> str:
    """What an element multiplies, for people.

    >>> element_in_words(ProcessingElement("float", 11, 11, exponent_bits=8, significand_bits=11))
    'floating-point numbers with significands of at most 11 and exponents of at most 8 bits'
    """
    family = element_family(pe.family)
    bounds = f"with significands of at most {pe.significand_bits} and exponents of at most {pe.exponent_bits} bits"
    said = []
    if family.by_significand:
        said = [f"MLS elements {bounds}", f"integers of at most {pe.significand_bits + 1} bits"]
    elif family.takes_integers:
        pairs = [f"{w} x {a}" for w, a, _ in sorted(pe.modes)] or [f"at most {_widest(pe, 0)} x {_widest(pe, 1)}"]
        said = [f"integers of {', '.join(pairs)} bits"]
    if family.takes_floats(pe):
        said.append(f"floating-point numbers {bounds}")
    return " and ".join(said)


def _widest(pe: ProcessingElement, operand: int) -> int:
    """Widest operand in the weight (0) or activation (1) role that a pair of widths may have, the other being narrow."""
    every = np.arange(1, 129)
    narrow = np.full(every.shape, pe.min_bits)
    mode = pe_mode(pe, *((every, narrow) if operand == 0 else (narrow, every)))
    return int(every[mode.supported].max(initial=0))


def operands_in_words(bits: Ints, arithmetic: Ints, exponent_bits: Ints) -> str:
    """A pair of operands, for people.

    >>> operands_in_words(np.array([8, 4]), np.array([0, 0]), np.array([0, 0]))
    'integers of 8 and 4 bits'
    >>> operands_in_words(np.array([8, 8]), np.array([2, 0]), np.array([8, 0]))
    'a float with a significand of 8 and an exponent of 8 bits by an integer of 8 bits'
    """
    digits = significand_bits(bits, arithmetic, exponent_bits)
    if (arithmetic == _INTEGER).all():
        return f"integers of {bits[0]} and {bits[1]} bits"
    if arithmetic[0] == arithmetic[1]:
        name = "MLS elements" if arithmetic[0] == _MLS else "floats"
        widths = f"significands of {digits[0]} and {digits[1]} and exponents of {exponent_bits[0]} and {exponent_bits[1]} bits"
        return f"{name} with {widths}"
    names = {_INTEGER: "an integer", _MLS: "an MLS element", _FLOAT: "a float"}
    return " by ".join(
        f"{names[k]} of {b} bits"
        if k == _INTEGER
        else f"{names[k]} with a significand of {d} and an exponent of {e} bits"
        for b, k, d, e in zip(bits.tolist(), arithmetic.tolist(), digits.tolist(), exponent_bits.tolist(), strict=True)
    )
