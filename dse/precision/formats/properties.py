"""Number formats: what an element costs to store, what its multiplier sees, what it can represent.

:func:`parse_format` makes a :class:`Format` from its name; the grammar is in :mod:`dse.precision.formats.names`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dse.errors import InputError
from dse.precision.formats.model import Format
from dse.precision.formats.names import KNOWN, format_problem, parse_format

__all__ = [
    "KNOWN",
    "DynamicRange",
    "Format",
    "accumulator_bits",
    "dynamic_range",
    "exponent_bits",
    "format_problem",
    "largest_code",
    "multiplier_bits",
    "parse_format",
    "stored_bits",
]


class DynamicRange(NamedTuple):
    """Positive values of one element, in units of its scale (integers: of one step)."""

    largest: float
    smallest_normal: float
    smallest: float


def stored_bits(form: Format, group_elements: float | None = None) -> float:
    """Bits of memory per element, side data included.

    Parameters
    ----------
    group_elements
        Elements that share one scale where that follows the tensor's shape: elements of the tensor (``int8``), of a
        channel (``int8:channel``), of a feature map or filter plane (``mls``; replaces its group). None: large enough to
        neglect the scale of ``tensor`` and ``channel`` formats.

    >>> stored_bits(parse_format("bfp4:4x4")), stored_bits(parse_format("mxfp4_e2m1"))
    (4.5, 4.25)
    >>> stored_bits(parse_format("int8:channel"), group_elements=64)
    8.5
    """
    if form.granularity == "none":
        return float(form.element_bits)
    follows_shape = form.granularity in ("tensor", "channel") or form.family == "mls"
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
    if form.family in ("s2fp8", "actnn"):
        return 24
    if form.is_float:
        return form.mantissa_bits + 1
    if form.family == "mls":
        return form.mantissa_bits + (1 << form.exponent_bits) - 1
    return form.element_bits


def exponent_bits(form: Format) -> int:
    """Exponent width that the arithmetic adds per product: of the element for floats, else 0."""
    return 8 if form.family in ("s2fp8", "actnn") else form.exponent_bits if form.is_float else 0


def dynamic_range(form: Format) -> DynamicRange:
    """Largest, smallest normal and smallest positive element, in units of the scale.

    >>> dynamic_range(parse_format("fp8_e4m3"))
    DynamicRange(largest=448.0, smallest_normal=0.015625, smallest=0.001953125)
    """
    if form.family == "s2fp8":
        form = parse_format("fp8_e5m2")
    if form.is_float and form.family != "actnn":
        fraction = 2.0 - 2.0**-form.mantissa_bits
        if form.specials == "nan":
            fraction -= 2.0**-form.mantissa_bits
        return DynamicRange(fraction * 2.0**form.emax, 2.0**form.emin, 2.0 ** (form.emin - form.mantissa_bits))
    if form.family == "mls":
        top = (2 ** (form.mantissa_bits + 1) - 1) << ((1 << form.exponent_bits) - 2)
        return DynamicRange(float(top), float(1 << form.mantissa_bits), 1.0)
    if form.family == "mxint":  # implied scale 2^-(b-2): the leading digit is the unit
        unit = 2.0 ** -(form.element_bits - 2)
        return DynamicRange(2.0 - unit, 1.0, unit)
    if form.family == "fixed":
        step = 2.0**-form.fraction_bits
        return DynamicRange((2 ** (form.element_bits - 1) - 1) * step, step, step)
    return DynamicRange(float(largest_code(form)), 1.0, 1.0)


def largest_code(form: Format) -> int:
    """Largest magnitude of the integer code that a multiplier sees.

    A symmetric code leaves its most negative value unused; codes with a zero point and two's complement fixed point use it.
    """
    if form.family in ("binary", "ternary"):
        return 1
    if form.family == "mls":
        return int(dynamic_range(form).largest)
    if form.family == "fixed" or (form.zero_point and form.signed):
        return int(2 ** (form.element_bits - 1))
    return int(2 ** (form.element_bits - 1) - 1) if form.signed else int(2**form.element_bits - 1)


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
    result = 1
    for form in (form_a, form_b):
        if form.family in ("s2fp8", "actnn"):
            form = parse_format("fp32")
        if form.is_float:
            significand = (1 << (form.mantissa_bits + 1)) - (2 if form.specials == "nan" else 1)
            result *= significand << (form.emax - form.emin)
        else:
            result *= largest_code(form)
    return result
