"""Number formats: what an element costs to store, what its multiplier sees, what it can represent.

:func:`parse_format` makes a :class:`Format` from its name; the grammar is in :mod:`dse.precision.formats.names`.
"""

from __future__ import annotations

import math

from dse.errors import InputError
from dse.precision.formats.model import FAMILIES, DynamicRange, Family, Format
from dse.precision.formats.names import format_problem, parse_format
from dse.precision.formats.storage import Matrix, side_bits, tensor_bits

__all__ = [
    "DynamicRange",
    "Format",
    "Matrix",
    "accumulator_bits",
    "arithmetic",
    "dynamic_range",
    "element_exponent_bits",
    "exponent_bits",
    "family_of",
    "format_problem",
    "largest_code",
    "multiplier_bits",
    "parse_format",
    "plain_integer",
    "significant_bits",
    "stored_bits",
    "tensor_bits",
    "unpacked",
]


def stored_bits(form: Format, group_elements: float | None = None, matrix: Matrix | None = None) -> float:
    """Bits of memory per element, side data included.

    Parameters
    ----------
    matrix
        The tensor as the pass that reads it sees it: groups and scales are counted as its shape cuts them. Without it groups are
        whole, and scales of a whole tensor, channel or row are neglected.
    group_elements
        Elements that share one scale where that follows the tensor's shape: elements of the tensor (``int8``), of a
        channel (``int8:channel``), of a feature map or filter plane (``mls``; replaces its group); where only this number
        is known.

    >>> stored_bits(parse_format("bfp4:4x4")), stored_bits(parse_format("mxfp4_e2m1"))
    (4.5, 4.25)
    >>> stored_bits(parse_format("int8:channel"), group_elements=64)
    8.5
    >>> stored_bits(parse_format("mxfp8_e4m3"), matrix=Matrix(stack=1, rows=64, columns=40))
    8.4
    """
    if matrix is not None:
        return form.element_bits + side_bits(form, matrix) / max(matrix.elements, 1)
    if form.granularity == "none":
        return float(form.element_bits)
    follows_shape = form.granularity in ("tensor", "channel", "row", "plane")
    elements: float = form.group_elements
    if follows_shape and group_elements is not None:
        elements = group_elements
    return form.element_bits + (form.scale_bits / elements if elements else 0.0)


def multiplier_bits(form: Format) -> int:
    """Width of the integer multiplier that an operand of this format needs.

    Floats: significand with its hidden bit, sign aside. MLS: w = M + 2^E - 1, the element as an integer (arXiv
    2006.02804, derived). Block formats: their mantissa; the shared exponent is added once per group. Stash formats
    are unpacked to FP32 first, and so is S2FP8, whose power 1/alpha leaves every narrower grid.

    >>> [multiplier_bits(parse_format(name)) for name in ("int8", "fp8_e4m3", "mls_e2m4", "bfp4")]
    [8, 4, 7, 4]
    """
    form = unpacked(form)
    return family_of(form).multiplier_bits(form)


def exponent_bits(form: Format) -> int:
    """Exponent width that the arithmetic adds per product: of the element for floats, else 0."""
    form = unpacked(form)
    return form.exponent_bits if form.is_float else 0


def element_exponent_bits(form: Format) -> int:
    """Width of the exponent that an element carries into its multiplier: of floats and of MLS elements, else 0."""
    form = unpacked(form)
    return form.exponent_bits if arithmetic(form) != "integer" else 0


def arithmetic(form: Format) -> str:
    """What multiplies an element: a word of :data:`dse.precision.formats.model.ARITHMETIC`.

    >>> [arithmetic(parse_format(name)) for name in ("int8", "bfp4", "mls_e2m4", "mxfp4_e2m1", "bf16")]
    ['integer', 'integer', 'mls', 'float', 'float']
    """
    return family_of(unpacked(form)).arithmetic


def dynamic_range(form: Format) -> DynamicRange:
    """Largest, smallest normal and smallest positive element, in units of the scale.

    >>> dynamic_range(parse_format("fp8_e4m3"))
    DynamicRange(largest=448.0, smallest_normal=0.015625, smallest=0.001953125)
    """
    return family_of(form).values(form)


def largest_code(form: Format) -> int:
    """Largest magnitude of the integer code that a multiplier sees; of a float, its largest value in units of its smallest.

    A symmetric code leaves its most negative value unused; codes with a zero point and two's complement fixed point use it.
    """
    return family_of(form).largest_code(form)


def significant_bits(form: Format) -> int:
    """Relative precision of an element, as the width of a signed integer that rounds no better.

    >>> [significant_bits(parse_format(name)) for name in ("int8", "bf16", "mls_e2m4")]
    [8, 8, 5]
    """
    return family_of(form).significant_bits(form)


def family_of(form: Format) -> Family:
    """The record of a format's family."""
    return FAMILIES[form.family]


def unpacked(form: Format) -> Format:
    """The format that an element has when it is multiplied: its own, but for formats that only store."""
    name = family_of(form).unpacked
    return parse_format(name) if name else form


def accumulator_bits(form_a: Format, form_b: Format, products: int, risk: float = 0.0) -> int:
    """Width of a two's complement accumulator for a sum of products, without rounding.

    Integer elements (MLS and block formats: inside one group): the sum is at most ``products`` times the largest product. Floats:
    a fixed-point accumulator from the square of the smallest subnormal to the sum of the largest products (Kulisch).

    Parameters
    ----------
    products
        Number of products n, >= 1.
    risk
        0 for a width that never overflows. In (0, 1): an upper bound on the probability that the sum overflows
        if products are independent with zero mean; Hoeffding's inequality (J. Am. Stat. Assoc. 58, 1963),
        P(|sum| >= t) <= 2 exp(-t^2 / (2 n p^2)) with p the largest product. It holds for every distribution, so
        it asks for more bits than a normal approximation with measured variances.

    >>> int8 = parse_format("int8")
    >>> accumulator_bits(int8, int8, 4608), accumulator_bits(int8, int8, 4608, risk=1e-9)
    (28, 24)
    """
    if products < 1 or int(products) != products:
        raise InputError("accumulator_bits", [f"expected products to be an integer >= 1, got {products}"])
    if not 0.0 <= risk < 1.0:
        raise InputError("accumulator_bits", [f"expected risk to be 0 or a probability below 1, got {risk}"])
    top = _largest_product(form_a, form_b)
    if risk > 0.0:
        total = math.ceil(top * min(float(products), math.sqrt(2.0 * products * math.log(2.0 / risk))))
    else:
        total = top * products
    return int(total).bit_length() + 1


def _largest_product(form_a: Format, form_b: Format) -> int:
    """Largest product in units of the smallest one, as an exact integer."""
    return largest_code(unpacked(form_a)) * largest_code(unpacked(form_b))


def plain_integer(form: Format) -> bool:
    """Whether a format is an integer under one scale per tensor or channel: what profiles measure, what widths alone mean."""
    return form.family == "int" and form.granularity in ("tensor", "channel")
