"""The noise of a format, and which measured integers stand for one that was not measured.

A score grows with the noise power that rounding a tensor adds: of integers it follows their squared step from 8 to 3 bits
(:func:`dse.accuracy.profiles.profile.extrapolate`), and the scores that :mod:`dse.training` and ``dse profile`` measure are noise
powers, of the tensor itself or of what it does. So a format that was not measured scores like the integers whose noise power it
has. The noise power of a format depends on how a tensor's values are spread; the law takes the normal distribution, which
weights, activations and errors of trained networks resemble (Banner et al., arXiv 1810.05723; Dettmers et al., QLoRA, arXiv
2305.14314, appendix F, for weights). The integers that a format is held against have a scale per channel, the finest that
profiles are measured with: where one was measured with a scale per tensor, whose noise is about 2.4 times as large, the law is
pessimistic for other formats by .6 bits.

One bound holds however values are spread: a float with a significand of p bits (the hidden one counted) rounds by at most |x|
2^-p, a signed integer of p bits scaled to the largest |x| by about max|x| 2^-p, and a block's mantissa of p bits likewise. No
format counts less than that.

The law says nothing of range. Tensors with outliers widen the step of scaled integers and leave floats and block formats alone, so
that for those the law is pessimistic again; a float without a scale is taken to be scaled into its range, as recipes for training
do (Micikevicius et al., arXiv 2209.05433).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dse.precision.formats.properties import Format, parse_format, plain_integer, significant_bits
from dse.precision.formats.quantize import quantize
from dse.types import Floats

#: Values that a format's noise is measured on: a matrix, so that blocks and rows have their shape. The largest of the 256 values
#: of a channel lies at 2.8 standard deviations on average, of 4,608 at 3.7: longer channels give integers half as much noise
#: again.
SAMPLE_SHAPE = (256, 256)
#: Widths of the integers that formats are compared with.
WIDEST = 24


class Between(NamedTuple):
    """Integers of two neighbouring widths whose noise powers have a format's between them: ``share`` of the narrower's."""

    narrower: int
    wider: int
    share: float


@lru_cache(maxsize=1)
def _sample() -> Floats:
    return np.random.default_rng(0).standard_normal(SAMPLE_SHAPE)


@lru_cache(maxsize=4096)
def noise_power(form: Format) -> float:
    """Squared rounding error over squared values of a normally distributed tensor, nearest rounding.

    >>> [f"{noise_power(parse_format(name)):.1e}" for name in ("int8", "fp8_e4m3", "mxfp4_e2m1", "nvfp4")]
    ['1.2e-04', '7.0e-04', '1.3e-02', '9.0e-03']
    """
    values = _sample()
    return float(np.square(quantize(values, form) - values).sum() / np.square(values).sum())


@lru_cache(maxsize=1)
def _integers() -> Floats:
    """(WIDEST + 1,) noise power of integers by width; infinite for 0 bits, everything for 1."""
    values = [np.inf, 1.0, *(noise_power(parse_format(f"int{bits}:channel")) for bits in range(2, WIDEST + 1))]
    return np.array(values)


def between(form: Format) -> Between:
    """The integers between whose noise powers a format's lies; an integer under one scale per tensor or channel
    stands for itself, which is what profiles measure, and none is wider than 24 bits.

    >>> between(parse_format("int5")), between(parse_format("fp32")).wider
    (Between(narrower=5, wider=5, share=1.0), 24)
    """
    if plain_integer(form):
        return Between(form.element_bits, form.element_bits, 1.0)
    power, integers = noise_power(form), _integers()
    wider = int(np.argmax(integers <= power)) if (integers <= power).any() else WIDEST
    least = min(significant_bits(form), WIDEST)
    if integers[wider] >= power or wider <= least:
        return Between(max(wider, least), max(wider, least), 1.0)
    share = (power - integers[wider]) / (integers[wider - 1] - integers[wider])
    return Between(wider - 1, wider, float(share))


def integer_width(form: Format) -> float:
    """Width of the integers with a format's noise power, as a real number: between two widths by the square of the steps.

    >>> [round(integer_width(parse_format(name)), 1) for name in ("int8", "fp8_e4m3", "mxfp4_e2m1", "bf16")]
    [8.0, 6.1, 4.1, 10.1]
    """
    low, high, share = between(form)
    if low == high:
        return float(low)
    steps = [2.0 ** (bits - 1) - 1 if bits > 1 else 0.5 for bits in (low, high)]
    power = share / steps[0] ** 2 + (1 - share) / steps[1] ** 2
    return float(np.log2(power**-0.5 + 1) + 1)
