"""Families whose blocks of elements share a narrow scale: bfp, mxint, mxfp, nvfp, mls, nf.

Sources: OCP Microscaling Formats (MX) 1.0, whose rule is shared scale 2^(floor(log2(max |x|)) - emax_elem), then elements rounded
to nearest even and saturated; DYNASTY arXiv 2210.17047 (4x4 blocks, 8-bit exponent); MLS arXiv 2006.02804 (its structure, from
the abstract; the text was not at hand, so the nine bits of a group scale, eight of exponent and one of mantissa, are an
assumption); NVFP4, NVIDIA's Pretraining Large Language Models with NVFP4, arXiv 2509.25149, section 2; NormalFloat, Dettmers et
al., QLoRA, arXiv 2305.14314, section 3 (blocks of 64 with an FP32 scale, without its double quantization) and appendix E (the
sixteen values).
"""

from __future__ import annotations

import re

import numpy as np

from dse.precision.formats.families.floats import as_float, float_code, float_values, named_float, significand_bits
from dse.precision.formats.families.groups import (
    SHARED_EXPONENT,
    floor_log2,
    group_text,
    in_groups,
    largest_of_group,
    nonzero,
    on_float_grid,
    read_group,
)
from dse.precision.formats.families.integers import element_width, integer_code, integer_values
from dse.precision.formats.model import DynamicRange, Family, Format, Rounder, Spelling
from dse.types import Floats

_MX_FLOATS = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1")


def _block(match: re.Match[str], option: str) -> Format | None:
    bits, group = int(match[1]), read_group(option or "4x4")
    if not 2 <= bits <= 24 or group is None:
        return None
    name = f"bfp{bits}" + (f":{group_text(group)}" if group != (4, 4) else "")
    return Format(name, "bfp", bits, group=group, granularity="group", scale_bits=8)


def quantize_block(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """Block floating point: max |x| < 2^e, step 2^(e - b + 1)."""
    grouped, back = in_groups(x, form.group, axes)
    exponent = np.clip(floor_log2(largest_of_group(grouped)) + 1, *SHARED_EXPONENT)
    step, top = np.ldexp(1.0, exponent - form.element_bits + 1), integer_code(form)
    return back(np.clip(rounder(grouped / step), -top, top) * step)


BFP = Family(
    name="bfp",
    spellings=(Spelling(r"bfp([0-9]{1,2})", _block),),
    known=("bfp2 ... bfp16",),
    near=tuple(f"bfp{bits}" for bits in range(2, 17)),
    quantizer=quantize_block,
    values=integer_values,
    multiplier_bits=element_width,
    largest_code=integer_code,
    significant_bits=element_width,
    converter="block",
)


def _mxint(match: re.Match[str], option: str) -> Format | None:
    group = read_group(option or "32")
    if group is None:
        return None
    return Format(match[0] + _mx_suffix(group), "mxint", 8, group=group, granularity="group", scale_bits=8)


def _mxfp(match: re.Match[str], option: str) -> Format | None:
    group = read_group(option or "32")
    if group is None or match[0] not in _MX_FLOATS:
        return None
    element = named_float(match[0].removeprefix("mx"))
    return Format(
        match[0] + _mx_suffix(group), "mxfp", element.element_bits, element.exponent_bits, element.mantissa_bits,
        group=group, granularity="group", scale_bits=8, specials=element.specials,
    )  # fmt: skip


def _mx_suffix(group: tuple[int, int]) -> str:
    return f":{group_text(group)}" if group != (1, 32) else ""


def _mxint_values(form: Format) -> DynamicRange:
    unit = 2.0 ** -(form.element_bits - 2)  # implied scale 2^-(b-2): the leading digit is the unit
    return DynamicRange(2.0 - unit, 1.0, unit)


def quantize_mxint(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """OCP MXINT8: E8M0 scale of the largest magnitude; the element has emax 0 and a step of 2^-6."""
    grouped, back = in_groups(x, form.group, axes)
    scale = np.ldexp(1.0, np.clip(floor_log2(largest_of_group(grouped)), *SHARED_EXPONENT))
    step, top = scale * _mxint_values(form).smallest, integer_code(form)
    return back(np.clip(rounder(grouped / step), -top, top) * step)


def quantize_mxfp(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """OCP MX floats: E8M0 scale from the largest magnitude, then elements."""
    grouped, back = in_groups(x, form.group, axes)
    scale = np.ldexp(1.0, np.clip(floor_log2(largest_of_group(grouped)) - form.emax, *SHARED_EXPONENT))
    return back(as_float(grouped / scale, form, rounder) * scale)


MXINT = Family(
    name="mxint",
    spellings=(Spelling("mxint8", _mxint),),
    known=("mxint8",),
    near=("mxint8",),
    quantizer=quantize_mxint,
    values=_mxint_values,
    multiplier_bits=element_width,
    largest_code=integer_code,
    significant_bits=element_width,
    converter="block",
)
MXFP = Family(
    name="mxfp",
    spellings=(Spelling(r"mxfp[468]_e[0-9]m[0-9]", _mxfp),),
    known=_MX_FLOATS,
    near=_MX_FLOATS,
    quantizer=quantize_mxfp,
    values=float_values,
    multiplier_bits=significand_bits,
    largest_code=float_code,
    significant_bits=significand_bits,
    arithmetic="float",
    converter="block",
)


def _nvfp(match: re.Match[str], option: str) -> Format | None:
    group = read_group(option or "16")
    if group is None:
        return None
    name = match[0] + (f":{group_text(group)}" if group != (1, 16) else "")
    element = named_float("fp4_e2m1")
    return Format(
        name, "nvfp", element.element_bits, element.exponent_bits, element.mantissa_bits, group=group, granularity="group",
        scale_bits=8, outer="tensor", outer_bits=32, specials=element.specials,
    )  # fmt: skip


def quantize_nvfp(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """NVFP4: the largest magnitude of all is 448 x 6 tensor scales; of a block, 6 block scales, which are rounded to E4M3."""
    scale_form = named_float("fp8_e4m3")
    top = float_values(form).largest
    tensor_scale = float(nonzero(np.abs(x).max() / (top * float_values(scale_form).largest)))
    grouped, back = in_groups(x, form.group, axes)
    scale = as_float(largest_of_group(grouped) / (top * tensor_scale), scale_form, np.rint) * tensor_scale
    return back(as_float(grouped / nonzero(scale), form, rounder) * scale)


NVFP = Family(
    name="nvfp",
    spellings=(Spelling("nvfp4", _nvfp),),
    known=("nvfp4",),
    near=("nvfp4",),
    quantizer=quantize_nvfp,
    values=float_values,
    multiplier_bits=significand_bits,
    largest_code=float_code,
    significant_bits=significand_bits,
    arithmetic="float",
    converter="float",
    ranges=lambda form: 2,  # of the tensor, and of every block
)

#: Quantiles of the normal distribution with an exact zero, the largest magnitude one (QLoRA, appendix E).
NORMAL_FLOAT_4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def _normal_float(match: re.Match[str], option: str) -> Format | None:
    group = read_group(option or "64")
    if group is None:
        return None
    name = match[0] + (f":{group_text(group)}" if group != (1, 64) else "")
    return Format(name, "nf", 4, group=group, granularity="group", scale_bits=32)


def quantize_normal_float(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """NF4: the nearest of sixteen values times the largest magnitude of the block."""
    grouped, back = in_groups(x, form.group, axes)
    scale = largest_of_group(grouped)
    values = np.array(NORMAL_FLOAT_4)
    # Between two values the place runs linearly, so that rounding it rounds to the nearer one, or by chance in proportion.
    place = np.interp(grouped / nonzero(scale), values, np.arange(len(values)))
    return back(values[rounder(place).astype(np.int64)] * scale)


#: A table, not a grid: it is unpacked to bfloat16, in which QLoRA multiplies. Its values are up to 0.28 apart, int3's a third.
NORMAL_FLOAT = Family(
    name="nf",
    spellings=(Spelling("nf4", _normal_float),),
    known=("nf4",),
    near=("nf4",),
    quantizer=quantize_normal_float,
    values=lambda form: DynamicRange(1.0, NORMAL_FLOAT_4[8], NORMAL_FLOAT_4[8]),
    multiplier_bits=element_width,
    largest_code=lambda form: 1,
    significant_bits=lambda form: 3,
    arithmetic="float",
    converter="table",
    ranges=lambda form: 1,
    unpacked="bf16",
)


def _mls(match: re.Match[str], option: str) -> Format | None:
    exponent, mantissa, group = int(match[1]), int(match[2]), read_group(option or "3x3")
    if not 1 <= exponent <= 4 or not 0 <= mantissa <= 8 or group is None:
        return None
    name = match[0] + (f":{group_text(group)}" if group != (3, 3) else "")
    return Format(
        name, "mls", 1 + exponent + mantissa, exponent, mantissa, group=group, granularity="plane", scale_bits=9,
        outer="tensor", outer_bits=32,
    )  # fmt: skip


def _mls_width(form: Format) -> int:
    """w = M + 2^E - 1: the element as an integer (arXiv 2006.02804, derived)."""
    return form.mantissa_bits + (1 << form.exponent_bits) - 1


def _mls_code(form: Format) -> int:
    return ((1 << (form.mantissa_bits + 1)) - 1) << ((1 << form.exponent_bits) - 2)


def quantize_multi_level(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """MLS: sign x tensor scale (max |x|) x group scale <8, 1>, rounded up, x unsigned <E, M> element in units of 2^-w."""
    tensor_scale = float(nonzero(np.abs(x).max()))
    grouped, back = in_groups(x / tensor_scale, form.group, axes)
    mantissa, exponent = np.frexp(largest_of_group(grouped))
    # <8, 1>: 1 or 1.5 times a power of two, the next one up, so that no element is above one
    ceiling = np.where(mantissa <= 0.5, 0.5, np.where(mantissa <= 0.75, 0.75, 1.0))
    group_scale = np.ldexp(ceiling, np.maximum(exponent, -255))
    width = _mls_width(form)
    units = np.ldexp(grouped / group_scale, width)
    codes = on_float_grid(units, form.mantissa_bits, form.mantissa_bits, _mls_code(form), rounder)
    return back(np.ldexp(codes, -width) * group_scale) * tensor_scale


MLS = Family(
    name="mls",
    arithmetic="mls",
    spellings=(Spelling(r"mls_e([0-9])m([0-9])", _mls),),
    known=("mls_e2m1", "mls_e2m4"),
    near=("mls_e2m1", "mls_e2m4"),
    quantizer=quantize_multi_level,
    values=lambda form: DynamicRange(float(_mls_code(form)), float(1 << form.mantissa_bits), 1.0),
    multiplier_bits=_mls_width,
    largest_code=_mls_code,
    significant_bits=significand_bits,
    converter="block",
)
