"""Families whose elements are integers under a scale of their own: int, fixed, vsq, binary, ternary, actnn.

Sources: AdaPT arXiv 2107.13490 (fixed point <WL, FL>); VS-Quant, Dai et al., MLSys 2021; XNOR-Net, Rastegari et al., ECCV 2016;
Ternary Weight Networks, Li and Liu, 2016; ActNN, Chen et al., ICML 2021, and its code ucbrise/actnn (groups of 256, bfloat16
minimum and scale).
"""

from __future__ import annotations

import re

import numpy as np

from dse.precision.formats.families.floats import as_float, named_float
from dse.precision.formats.families.groups import (
    group_text,
    in_groups,
    largest_of_group,
    nonzero,
    other_axes,
    read_group,
)
from dse.precision.formats.model import DynamicRange, Family, Format, Rounder, Spelling
from dse.types import Floats

#: Bits of a scale that follows the shape of the tensor (per tensor or per channel): FP32.
SHAPE_SCALE_BITS = 32
#: Ternary Weight Networks (Li and Liu, 2016): values below 0.7 mean|x| become zero.
TERNARY_THRESHOLD = 0.7


def integer_code(form: Format) -> int:
    """Largest magnitude of an integer: a symmetric code leaves its most negative value unused, one with a zero point uses it."""
    if form.zero_point and form.signed:
        return int(2 ** (form.element_bits - 1))
    return int(2 ** (form.element_bits - 1) - 1) if form.signed else int(2**form.element_bits - 1)


def integer_values(form: Format) -> DynamicRange:
    """Integers in units of one step."""
    return DynamicRange(float(integer_code(form)), 1.0, 1.0)


def element_width(form: Format) -> int:
    return form.element_bits


def _integer(match: re.Match[str], option: str) -> Format | None:
    unsigned, bits, asymmetric = match[1] == "u", int(match[2]), bool(match[3]) or match[1] == "u"
    if not 2 <= bits <= 32 or (unsigned and match[3]):
        return None
    base = f"{match[1]}int{bits}{match[3]}"
    if match.lastindex == 4:
        # int4_g128 is int4:vector128
        if option:
            return None
        option = f"vector{match[4]}"
    point_bits = bits if asymmetric else 0
    group, granularity, scale_bits = (0, 0), option or "tensor", SHAPE_SCALE_BITS
    suffix = ":channel" if option == "channel" else ""
    if option.startswith("vector"):
        # FP16: a single level of per-vector scales is kept in half precision; two levels are vsq.
        shape, _, width = option.removeprefix("vector").partition("s")
        size = read_group(shape)
        if size is None or width not in ("", "8", "16", "32") or option.endswith("s"):
            return None
        group, granularity, scale_bits = size, "group", int(width or 16)
        suffix = f":vector{group_text(group)}" + (f"s{scale_bits}" if scale_bits != 16 else "")
    elif granularity not in ("tensor", "channel"):
        return None
    return Format(
        f"{base}{suffix}", "int", bits, signed=not unsigned, zero_point=asymmetric, group=group,
        granularity=granularity, scale_bits=scale_bits + point_bits,
    )  # fmt: skip


def quantize_integer(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], channel_axis: int | None
) -> Floats:
    """Scale by the largest magnitude (symmetric) or by the range with zero in it (zero point)."""
    if form.granularity == "group":
        grouped, back = in_groups(x, form.group, axes)
        return back(_scaled_integer(grouped, form, rounder, (-3, -1)))
    return _scaled_integer(x, form, rounder, other_axes(x, channel_axis if form.granularity == "channel" else None))


def _scaled_integer(x: Floats, form: Format, rounder: Rounder, over: tuple[int, ...]) -> Floats:
    if not form.zero_point:
        top = integer_code(form)
        scale = nonzero(np.abs(x).max(axis=over, keepdims=True) / top)
        return np.asarray(np.clip(rounder(x / scale), -top, top) * scale)
    steps = 2**form.element_bits - 1
    low = np.minimum(x.min(axis=over, keepdims=True), 0.0)
    high = np.maximum(x.max(axis=over, keepdims=True), 0.0)
    scale = nonzero((high - low) / steps)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(rounder(x / scale) + zero, 0, steps) - zero) * scale)


INT = Family(
    name="int",
    spellings=(
        Spelling(r"(u?)int([0-9]{1,2})(a?)", _integer),
        Spelling(r"(u?)int([0-9]{1,2})(a?)_g([0-9x]+(?:s[0-9]+)?)", _integer),
    ),
    known=("int2 ... int16", "int4_g128"),
    near=(*(f"int{bits}" for bits in range(2, 33)), *(f"uint{bits}" for bits in range(2, 33))),
    quantizer=quantize_integer,
    values=integer_values,
    multiplier_bits=element_width,
    largest_code=integer_code,
    significant_bits=element_width,
    converter="scale",
    ranges=lambda form: 2 if form.zero_point else 1,
)


def _fixed(match: re.Match[str], option: str) -> Format | None:
    word, fraction = int(match[1]), int(match[2])
    if option or not 2 <= word <= 64 or fraction > 64:
        return None
    return Format(f"fixed{word}_{fraction}", "fixed", word, fraction_bits=fraction)


def _fixed_values(form: Format) -> DynamicRange:
    step = 2.0**-form.fraction_bits
    return DynamicRange((2 ** (form.element_bits - 1) - 1) * step, step, step)


def quantize_fixed(
    x: Floats, form: Format, rounder: Rounder, _axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """Two's complement at a given point, saturating."""
    step, top = 2.0**-form.fraction_bits, 2.0 ** (form.element_bits - 1)
    return np.asarray(np.clip(rounder(x / step), -top, top - 1) * step)


FIXED = Family(
    name="fixed",
    spellings=(Spelling(r"fixed([0-9]{1,2})_([0-9]{1,2})", _fixed),),
    known=("fixed16_8",),
    near=("fixed8_4", "fixed16_8"),
    quantizer=quantize_fixed,
    values=_fixed_values,
    multiplier_bits=element_width,
    largest_code=lambda form: int(2 ** (form.element_bits - 1)),
    significant_bits=element_width,
    converter="fixed",
)


def _vsq(match: re.Match[str], option: str) -> Format | None:
    bits = int(match[1])
    parts = re.fullmatch(r"([0-9x]*)(?:s([0-9]{1,2}))?", option)
    if parts is None:
        return None
    group, scale_bits = read_group(parts[1] or "16"), int(parts[2] or 6)
    if not 2 <= bits <= 16 or group is None or not 1 <= scale_bits <= 16:
        return None
    plain = group_text(group) + (f"s{scale_bits}" if scale_bits != 6 else "")
    name = f"vsq{bits}" + (f":{plain}" if plain != "16" else "")
    return Format(
        name, "vsq", bits, group=group, granularity="group", scale_bits=scale_bits, outer="channel",
        outer_bits=SHAPE_SCALE_BITS,
    )  # fmt: skip


def quantize_vector_scaled(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], channel_axis: int | None
) -> Floats:
    """VS-Quant: integers by the float scale of their vector; that scale is then an integer times a coarse scale."""
    grouped, back = in_groups(x, form.group, axes)
    top = integer_code(form)
    scale = largest_of_group(grouped) / top
    codes = back(np.clip(rounder(grouped / nonzero(scale)), -top, top))
    scale = back(np.broadcast_to(scale, grouped.shape))
    levels = 2**form.scale_bits - 1
    coarse = nonzero(scale.max(axis=other_axes(x, channel_axis), keepdims=True) / levels)
    return np.asarray(codes * np.rint(scale / coarse) * coarse)


#: Its two levels of scales are neglected beside the elements in the price of converting.
VSQ = Family(
    name="vsq",
    spellings=(Spelling(r"vsq([0-9]{1,2})", _vsq),),
    known=("vsq4",),
    near=("vsq4", "vsq8"),
    quantizer=quantize_vector_scaled,
    values=integer_values,
    multiplier_bits=element_width,
    largest_code=integer_code,
    significant_bits=element_width,
    converter="scale",
    ranges=lambda form: 1,
)


def _signs(match: re.Match[str], option: str) -> Format | None:
    if option:
        return None
    bits = 1 if match[0] == "binary" else 2
    return Format(match[0], match[0], bits, granularity="channel", scale_bits=SHAPE_SCALE_BITS)


def quantize_signs(
    x: Floats, form: Format, _rounder: Rounder, _axes: tuple[int, int], channel_axis: int | None
) -> Floats:
    """Binary: sign(x) mean|x| (XNOR-Net). Ternary: zero below the threshold, else the sign times the mean of the rest."""
    over = other_axes(x, channel_axis)
    magnitude = np.abs(x)
    mean = magnitude.mean(axis=over, keepdims=True)
    if form.element_bits == 1:
        return np.asarray(np.where(x < 0.0, -mean, mean))
    kept = magnitude > TERNARY_THRESHOLD * mean
    scale = (magnitude * kept).sum(axis=over, keepdims=True) / np.maximum(kept.sum(axis=over, keepdims=True), 1)
    return np.asarray(np.sign(x) * kept * scale)


BINARY, TERNARY = (
    Family(
        name=name,
        spellings=(Spelling(name, _signs),),
        known=(name,),
        near=(name,),
        misnamed=dict.fromkeys(misnamed, name),
        quantizer=quantize_signs,
        values=lambda form: DynamicRange(1.0, 1.0, 1.0),
        multiplier_bits=element_width,
        largest_code=lambda form: 1,
        significant_bits=element_width,
        converter="scale",
        ranges=lambda form: 1,
    )
    for name, misnamed in (
        ("binary", ("int1", "uint1", "bfp1", "bin", "bit", "sign")),
        ("ternary", ("int1.58", "int1.6", "int1.5", "b1.58")),
    )
)


def _stash(match: re.Match[str], option: str) -> Format | None:
    bits, group = int(match[1]), read_group(option or "256")
    if not 1 <= bits <= 8 or group is None:
        return None
    name = match[0] + (f":{group_text(group)}" if group != (1, 256) else "")
    return Format(name, "actnn", bits, signed=False, zero_point=True, group=group, granularity="flat", scale_bits=32)


def quantize_ranged(
    x: Floats, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> Floats:
    """ActNN: codes between the group's minimum and maximum; minimum and steps per unit are kept in bfloat16."""
    grouped, back = in_groups(x, form.group, axes)
    low, high = grouped.min(axis=(-3, -1), keepdims=True), grouped.max(axis=(-3, -1), keepdims=True)
    steps = 2**form.element_bits - 1
    per_unit = steps / nonzero(high - low)
    codes = np.clip(rounder((grouped - low) * per_unit), 0, steps)
    bf16 = named_float("bf16")
    return back(codes / as_float(per_unit, bf16, np.rint) + as_float(low, bf16, np.rint))


ACTNN = Family(
    name="actnn",
    spellings=(Spelling(r"actnn([0-9])", _stash),),
    known=("actnn2",),
    near=("actnn2",),
    quantizer=quantize_ranged,
    values=integer_values,
    multiplier_bits=element_width,
    largest_code=integer_code,
    significant_bits=lambda form: 1,
    arithmetic="float",
    converter="scale",
    ranges=lambda form: 2,
    unpacked="fp32",
    stash_only=True,
)
