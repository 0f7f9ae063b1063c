"""Families of floats, an exponent in every element: float and s2fp8.

Sources: OCP 8-bit Floating Point (OFP8) 1.0; OCP Microscaling Formats (MX) 1.0 for elements below eight bits; S2FP8, Cambier et
al., ICLR 2020. An explicit bias is that of the ``fnuz`` encodings, which have no infinities and one NaN in the place of negative
zero: ``fp8_e4m3b8`` and ``fp8_e5m2b16`` of AMD's MI300, ``fp8_e4m3b11`` the 1-4-3 of HFP8 (Sun et al., NeurIPS 2019; its bias of 4
is beside the usual 7, so that the largest value is 30). Scales: one per tensor as in Micikevicius et al., arXiv 2209.05433, per
row, or per 1x128 and 128x128 block as DeepSeek-V3 has them (arXiv 2412.19437, section 3.3); the largest magnitude becomes the
largest value of the format.
"""

from __future__ import annotations

import re

import numpy as np

from dse.precision.formats.families.groups import group_text, in_groups, nonzero, on_float_grid, other_axes, read_group
from dse.precision.formats.model import DynamicRange, Family, Format, Rounder, Spelling
from dse.types import Floats

#: Bits of a scale of floats: FP32.
SCALE_BITS = 32
#: S2FP8 (Cambier et al., ICLR 2020) stretches the largest magnitude to 2^15, the top binade of E5M2.
S2FP8_TOP = 15.0

#: (bits, exponent bits, explicit mantissa bits)
_NAMED = {
    "fp32": (32, 8, 23),
    "tf32": (32, 8, 10),  # kept in a 32-bit word
    "bf16": (16, 8, 7),
    "fp16": (16, 5, 10),
}
_PATTERN = r"fp32|tf32|bf16|fp16|fp([0-9]{1,2})_e([0-9])m([0-9]{1,2})(?:b([0-9]{1,3}))?"
#: Wider floats have the range of what they hold; a scale would change nothing.
_MOST_SCALED_BITS = 16


def named_float(name: str) -> Format:
    """The float of a name, such as ``fp8_e4m3``.

    Raises
    ------
    ValueError
        It is none.
    """
    match = re.fullmatch(_PATTERN, name)
    form = _float(match, "") if match else None
    if form is None:
        raise ValueError(f"{name} is no float")
    return form


def _float(match: re.Match[str], option: str) -> Format | None:
    bias = None
    if match[0] in _NAMED:
        bits, exponent, mantissa = _NAMED[match[0]]
    else:
        bits, exponent, mantissa = int(match[1]), int(match[2]), int(match[3])
        bias = None if match[4] is None else int(match[4])
        if bits != 1 + exponent + mantissa or not 1 <= exponent <= 8 or mantissa > 23:
            return None
    scale = scale_of(option)
    if scale is None or (option and bits > _MOST_SCALED_BITS) or bias == (1 << (exponent - 1)) - 1:
        return None
    # OFP8: E4M3 keeps only one NaN mantissa; the MX elements below eight bits have neither NaN nor infinity.
    specials = "nan" if match[0] == "fp8_e4m3" else "none" if bits < 8 or exponent == 1 or bias is not None else "ieee"
    suffix, group, granularity = scale
    return Format(
        match[0] + suffix, "float", bits, exponent, mantissa, group=group, granularity=granularity,
        scale_bits=SCALE_BITS if option else 0, specials=specials, bias=bias,
    )  # fmt: skip


def scale_of(option: str) -> tuple[str, tuple[int, int], str] | None:
    """Suffix of the name, group and granularity of what stands after a colon; None if it is no kind of scale."""
    if option in ("tensor", "channel", "row"):
        return f":{option}", (0, 0), option
    group = read_group(option) if option else (0, 0)
    if group is None:
        return None
    return (f":{group_text(group)}", group, "group") if option else ("", group, "none")


def float_values(form: Format) -> DynamicRange:
    """Floats with subnormals."""
    fraction = 2.0 - 2.0**-form.mantissa_bits
    if form.specials == "nan":
        fraction -= 2.0**-form.mantissa_bits
    return DynamicRange(fraction * 2.0**form.emax, 2.0**form.emin, 2.0 ** (form.emin - form.mantissa_bits))


def float_code(form: Format) -> int:
    """Largest value in units of the smallest subnormal (Kulisch's fixed-point view of a float)."""
    significand = (1 << (form.mantissa_bits + 1)) - (2 if form.specials == "nan" else 1)
    return significand << (form.emax - form.emin)


def significand_bits(form: Format) -> int:
    """The explicit mantissa and the hidden bit."""
    return form.mantissa_bits + 1


def as_float(x: Floats, form: Format, rounder: Rounder) -> Floats:
    """Values on the grid of a float, without any scale."""
    return on_float_grid(x, form.mantissa_bits, form.emin, float_values(form).largest, rounder)


def quantize_float(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], channel_axis: int | None
) -> Floats:
    """On the grid of the float, or of the float under a scale that makes the largest magnitude its largest value."""
    if form.granularity == "none":
        return as_float(x, form, rounder)
    if form.granularity == "group":
        grouped, back = in_groups(x, form.group, axes)
        return back(_scaled_float(grouped, form, rounder, (-3, -1)))
    if form.granularity == "row":
        return _scaled_float(x, form, rounder, (axes[1],) if x.ndim > 1 else other_axes(x, None))
    return _scaled_float(x, form, rounder, other_axes(x, channel_axis if form.granularity == "channel" else None))


def _scaled_float(x: Floats, form: Format, rounder: Rounder, over: tuple[int, ...]) -> Floats:
    scale = nonzero(np.abs(x).max(axis=over, keepdims=True) / float_values(form).largest)
    return np.asarray(as_float(x / scale, form, rounder) * scale)


FLOAT = Family(
    name="float",
    spellings=(Spelling(_PATTERN, _float),),
    known=("fp32", "tf32", "bf16", "fp16", "fp8_e5m2", "fp8_e4m3", "fp8_e4m3:128x128", "fp8_e4m3b11"),
    near=("fp32", "tf32", "bf16", "fp16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "fp8_e4m3b11"),
    misnamed={"hfp8": "fp8_e4m3b11", "fp8": "fp8_e4m3", "fp4": "nvfp4", "fp6": "mxfp6_e2m3", "fp64": "fp32"},
    quantizer=quantize_float,
    values=float_values,
    multiplier_bits=significand_bits,
    largest_code=float_code,
    significant_bits=significand_bits,
    arithmetic="float",
    converter="float",
    ranges=lambda form: int(form.granularity != "none"),
)


def quantize_shifted_and_squeezed(
    x: Floats, _form: Format, rounder: Rounder, _axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """S2FP8: E5M2 of 2^beta |x|^alpha, alpha = 15 / (m - mu), beta = -alpha mu; mu, m mean and maximum of log2 |x|."""
    magnitude = np.abs(x)
    logs = np.log2(magnitude[magnitude > 0.0])
    if not logs.size:
        return x
    mean, top = float(logs.mean()), float(logs.max())
    alpha = S2FP8_TOP / (top - mean) if top > mean else 1.0
    squeezed = np.where(
        magnitude > 0.0, np.exp2(alpha * (np.log2(np.where(magnitude > 0.0, magnitude, 1.0)) - mean)), 0.0
    )
    stored = as_float(squeezed, named_float("fp8_e5m2"), rounder)
    logs_back = np.log2(np.where(stored > 0.0, stored, 1.0)) / alpha + mean
    return np.asarray(np.where(stored > 0.0, np.copysign(np.exp2(logs_back), x), 0.0))


#: Its power 1/alpha leaves every narrower grid, so that it is multiplied in FP32. The range is reduced twice: mean and largest of
#: the logarithms.
S2FP8 = Family(
    name="s2fp8",
    spellings=(
        Spelling(
            "s2fp8",
            lambda _match, option: (
                None
                if option
                else Format("s2fp8", "s2fp8", 8, 5, 2, granularity="tensor", scale_bits=64, specials="ieee")
            ),
        ),
    ),
    known=("s2fp8",),
    near=("s2fp8",),
    quantizer=quantize_shifted_and_squeezed,
    values=float_values,
    multiplier_bits=significand_bits,
    largest_code=float_code,
    significant_bits=significand_bits,
    arithmetic="float",
    converter="scale",
    ranges=lambda form: 2,
    unpacked="fp32",
)
