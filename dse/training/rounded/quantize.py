"""The quantizers of :mod:`dse.precision.formats.quantize` on torch tensors, fast enough to train with.

The numpy functions are the reference; a test holds every format here equal to them on float64. In float32 a scale is rounded
once more, so that a value next to the middle of two grid points may go to the other one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from dse.errors import InputError
from dse.precision.formats.families.blocks import NORMAL_FLOAT_4
from dse.precision.formats.families.floats import S2FP8_TOP
from dse.precision.formats.families.groups import SHARED_EXPONENT
from dse.precision.formats.families.integers import TERNARY_THRESHOLD
from dse.precision.formats.model import FAMILIES
from dse.precision.formats.properties import Format, dynamic_range, largest_code, parse_format
from dse.types import Floats

#: Rounds values on a grid of step 1.
Rounder: TypeAlias = Callable[[Tensor], Tensor]
Back: TypeAlias = Callable[[Tensor], Tensor]
#: Exponents of powers of two that the float types hold as normal numbers.
_NORMAL = {torch.float32: (-126, 127), torch.float64: (-1022, 1023)}
#: Type of the same size, mantissa bits and exponent bias, to write a power of two as its bits.
_LAYOUT = {torch.float32: (torch.int32, 23, 127), torch.float64: (torch.int64, 52, 1023)}


def quantize(
    x: Tensor,
    form: Format | str,
    generator: torch.Generator | None = None,
    axes: tuple[int, int] = (-2, -1),
    channel_axis: int | None = 0,
    check: bool = True,
) -> Tensor:
    """As :func:`dse.precision.formats.quantize.quantize`; with a generator rounds stochastically, without to nearest (ties to
    even).

    Parameters
    ----------
    check
        Refuse values that are not finite. A training loop looks at its loss instead.

    Raises
    ------
    InputError
        Values that are not finite.
    """
    form = parse_format(form) if isinstance(form, str) else form
    if form.name == "fp32" or not x.numel():
        return x
    if check and not torch.isfinite(x.abs().amax()):
        raise InputError("quantize", ["expected finite values, got NaN or infinity"])
    quantizer = QUANTIZERS.get(form.family, _by_reference)
    return quantizer(x, form, rounder(generator), axes, channel_axis)


def quantize_blocks(x: Tensor, widths: Tensor, block: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Block floating point with a width of its own in every block (the map of DYNASTY-like training).

    Parameters
    ----------
    x
        (..., rows, columns).
    widths
        (..., row blocks, column blocks), mantissa bits with the sign.
    """
    grouped, back = in_groups(x, block)
    exponent = (floor_log2(_largest(grouped)) + 1).clamp(*SHARED_EXPONENT)
    bits = widths[..., :, None, :, None]
    step = power_of_two(exponent - bits + 1, x.dtype)
    top = power_of_two(bits - 1, x.dtype) - 1.0
    codes = rounder(generator)(grouped / step)
    return back(torch.minimum(torch.maximum(codes, -top), top) * step)


def rounder(generator: torch.Generator | None) -> Rounder:
    """To nearest without a generator, else up with the probability of the remainder."""
    if generator is None:
        return torch.round
    return lambda values: torch.floor(
        values + torch.rand(values.shape, generator=generator, dtype=values.dtype, device=values.device)
    )


def floor_log2(magnitude: Tensor) -> Tensor:
    """floor(log2 x), exactly, as integers; of zero, an exponent below any format's."""
    exponent = torch.frexp(magnitude).exponent - 1
    return torch.where(magnitude > 0.0, exponent, torch.full_like(exponent, -1000))


def power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^exponent, exactly, within the normal numbers of the type (``torch.exp2`` is off by a rounding here and there)."""
    integer, mantissa, bias = _LAYOUT[dtype]
    return ((exponent.clamp(*_NORMAL[dtype]).to(integer) + bias) << mantissa).view(dtype)


def in_groups(x: Tensor, group: tuple[int, int], axes: tuple[int, int] = (-2, -1)) -> tuple[Tensor, Back]:
    """The tensor as (..., row groups, rows, column groups, columns), and the way back; edges repeat."""
    flat = x.reshape(1, -1) if x.ndim < 2 else x.movedim(axes, (-2, -1))
    rows, columns = flat.shape[-2:]
    tall, wide = rows + -rows % group[0], columns + -columns % group[1]
    padded = flat
    if tall > rows:
        padded = padded.index_select(-2, torch.arange(tall, device=x.device).clamp(max=rows - 1))
    if wide > columns:
        padded = padded.index_select(-1, torch.arange(wide, device=x.device).clamp(max=columns - 1))
    lead = flat.shape[:-2]
    grouped = padded.reshape(*lead, tall // group[0], group[0], wide // group[1], group[1])

    def back(values: Tensor) -> Tensor:
        whole = values.reshape(*lead, tall, wide)[..., :rows, :columns]
        return whole.reshape(x.shape) if x.ndim < 2 else whole.movedim((-2, -1), axes)

    return grouped, back


def _largest(grouped: Tensor) -> Tensor:
    return grouped.abs().amax(dim=(-3, -1), keepdim=True)


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0.0, scale, torch.ones_like(scale))


def _other_axes(x: Tensor, axis: int | None) -> tuple[int, ...]:
    if axis is None or x.ndim == 0:
        return tuple(range(x.ndim))
    return tuple(index for index in range(x.ndim) if index != axis % x.ndim)


def _over(x: Tensor, axes: tuple[int, ...], largest: bool = True) -> Tensor:
    """Largest or smallest value over some axes; over none, the values themselves."""
    if not axes:
        return x
    return x.amax(dim=axes, keepdim=True) if largest else x.amin(dim=axes, keepdim=True)


def _integer(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], channel: int | None) -> Tensor:
    if form.granularity == "group":
        grouped, back = in_groups(x, form.group, axes)
        return back(_scaled_integer(grouped, form, rounding, (-3, -1)))
    return _scaled_integer(x, form, rounding, _other_axes(x, channel if form.granularity == "channel" else None))


def _scaled_integer(x: Tensor, form: Format, rounding: Rounder, over: tuple[int, ...]) -> Tensor:
    if not form.zero_point:
        top = float(largest_code(form))
        scale = _nonzero(_over(x.abs(), over) / top)
        return rounding(x / scale).clamp_(-top, top).mul_(scale)
    steps = float(2**form.element_bits - 1)
    low, high = _over(x, over, largest=False).clamp(max=0.0), _over(x, over).clamp(min=0.0)
    scale = _nonzero((high - low) / steps)
    zero = torch.round(-low / scale)
    return ((rounding(x / scale) + zero).clamp(0.0, steps) - zero) * scale


def _fixed(x: Tensor, form: Format, rounding: Rounder, _axes: tuple[int, int], _channel: int | None) -> Tensor:
    step, top = 2.0**-form.fraction_bits, 2.0 ** (form.element_bits - 1)
    return rounding(x / step).clamp(-top, top - 1.0) * step


def _block(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    exponent = (floor_log2(_largest(grouped)) + 1).clamp(*SHARED_EXPONENT)
    step, top = power_of_two(exponent - form.element_bits + 1, x.dtype), float(largest_code(form))
    return back(rounding(grouped / step).clamp_(-top, top).mul_(step))


def _microscaled(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    scale = power_of_two((floor_log2(_largest(grouped)) - form.emax).clamp(*SHARED_EXPONENT), x.dtype)
    return back(_as_float(grouped / scale, form, rounding) * scale)


def _microscaled_integer(
    x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None
) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    scale = power_of_two(floor_log2(_largest(grouped)).clamp(*SHARED_EXPONENT), x.dtype)
    step, top = scale * dynamic_range(form).smallest, float(largest_code(form))
    return back(rounding(grouped / step).clamp(-top, top) * step)


def _nvfp(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    scale_form, top = parse_format("fp8_e4m3"), dynamic_range(form).largest
    tensor_scale = _nonzero(x.abs().amax() / (top * dynamic_range(scale_form).largest))
    grouped, back = in_groups(x, form.group, axes)
    scale = _as_float(_largest(grouped) / (top * tensor_scale), scale_form, torch.round) * tensor_scale
    return back(_as_float(grouped / _nonzero(scale), form, rounding) * scale)


def _normal_float(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    scale = _largest(grouped)
    values = torch.tensor(NORMAL_FLOAT_4, dtype=x.dtype, device=x.device)
    inside = (grouped / _nonzero(scale)).clamp(-1.0, 1.0).contiguous()
    below = (torch.searchsorted(values, inside, right=True) - 1).clamp(0, len(values) - 2)
    place = below + (inside - values[below]) / (values[below + 1] - values[below])
    return back(values[rounding(place).long()] * scale)


def _float(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], channel: int | None) -> Tensor:
    if form.granularity == "none":
        return _as_float(x, form, rounding)
    if form.granularity == "group":
        grouped, back = in_groups(x, form.group, axes)
        return back(_scaled_float(grouped, form, rounding, (-3, -1)))
    if form.granularity == "row":
        return _scaled_float(x, form, rounding, (axes[1],) if x.ndim > 1 else _other_axes(x, None))
    return _scaled_float(x, form, rounding, _other_axes(x, channel if form.granularity == "channel" else None))


def _scaled_float(x: Tensor, form: Format, rounding: Rounder, over: tuple[int, ...]) -> Tensor:
    scale = _nonzero(_over(x.abs(), over) / dynamic_range(form).largest)
    return _as_float(x / scale, form, rounding) * scale


def _as_float(x: Tensor, form: Format, rounding: Rounder) -> Tensor:
    return _on_float_grid(x, form.mantissa_bits, form.emin, dynamic_range(form).largest, rounding)


def _on_float_grid(x: Tensor, mantissa_bits: int, emin: int, largest: float, rounding: Rounder) -> Tensor:
    magnitude = x.abs()
    step = power_of_two(floor_log2(magnitude).clamp(min=emin) - mantissa_bits, x.dtype)
    return torch.copysign((rounding(magnitude / step) * step).clamp(max=largest), x)


def _multi_level(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    tensor_scale = _nonzero(x.abs().amax())
    grouped, back = in_groups(x / tensor_scale, form.group, axes)
    split = torch.frexp(_largest(grouped))
    half = torch.full_like(split.mantissa, 0.5)
    ceiling = torch.where(split.mantissa <= 0.5, half, torch.where(split.mantissa <= 0.75, 1.5 * half, 2.0 * half))
    group_scale = ceiling * power_of_two(split.exponent.clamp(min=-255), x.dtype)
    width = form.mantissa_bits + (1 << form.exponent_bits) - 1
    units = grouped / group_scale * 2.0**width
    codes = _on_float_grid(units, form.mantissa_bits, form.mantissa_bits, float(largest_code(form)), rounding)
    return back(codes * 2.0**-width * group_scale) * tensor_scale


def _vector_scaled(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], channel: int | None) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    top = float(largest_code(form))
    scale = _largest(grouped) / top
    codes = back(rounding(grouped / _nonzero(scale)).clamp(-top, top))
    spread = back(scale.expand(grouped.shape))
    coarse = _nonzero(_over(spread, _other_axes(x, channel)) / float(2**form.scale_bits - 1))
    return codes * torch.round(spread / coarse) * coarse


def _shifted_and_squeezed(
    x: Tensor, _form: Format, rounding: Rounder, _axes: tuple[int, int], _channel: int | None
) -> Tensor:
    magnitude = x.abs()
    logs = torch.log2(magnitude[magnitude > 0.0])
    if not logs.numel():
        return x
    mean, top = float(logs.mean()), float(logs.max())
    alpha = S2FP8_TOP / (top - mean) if top > mean else 1.0
    one = torch.ones_like(magnitude)
    squeezed = torch.exp2(alpha * (torch.log2(torch.where(magnitude > 0.0, magnitude, one)) - mean)) * (magnitude > 0.0)
    stored = _as_float(squeezed, parse_format("fp8_e5m2"), rounding)
    logs_back = torch.log2(torch.where(stored > 0.0, stored, one)) / alpha + mean
    return torch.where(stored > 0.0, torch.copysign(torch.exp2(logs_back), x), torch.zeros_like(x))


def _signs(x: Tensor, form: Format, _rounding: Rounder, _axes: tuple[int, int], channel: int | None) -> Tensor:
    over = _other_axes(x, channel)
    magnitude = x.abs()
    mean = magnitude.mean(dim=over, keepdim=True) if over else magnitude
    if form.element_bits == 1:
        return torch.where(x < 0.0, -mean, mean)
    kept = magnitude > TERNARY_THRESHOLD * mean
    if not over:
        return torch.sign(x) * kept * magnitude
    scale = (magnitude * kept).sum(dim=over, keepdim=True) / kept.sum(dim=over, keepdim=True).clamp(min=1)
    return torch.sign(x) * kept * scale


def _ranged(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], _channel: int | None) -> Tensor:
    grouped, back = in_groups(x, form.group, axes)
    low, high = grouped.amin(dim=(-3, -1), keepdim=True), grouped.amax(dim=(-3, -1), keepdim=True)
    steps = float(2**form.element_bits - 1)
    per_unit = steps / _nonzero(high - low)
    codes = rounding((grouped - low) * per_unit).clamp(0.0, steps)
    bf16 = parse_format("bf16")
    return back(codes / _as_float(per_unit, bf16, torch.round) + _as_float(low, bf16, torch.round))


def _by_reference(x: Tensor, form: Format, rounding: Rounder, axes: tuple[int, int], channel: int | None) -> Tensor:
    """The numpy quantizer of a family without an entry in :data:`QUANTIZERS`: slower, on the processor."""

    def rounded(values: Floats) -> Floats:
        return np.asarray(rounding(torch.from_numpy(np.ascontiguousarray(values))).numpy(), dtype=np.float64)

    values = x.detach().cpu().numpy().astype(np.float64)
    result = FAMILIES[form.family].quantizer(values, form, rounded, axes, channel)
    return torch.from_numpy(np.ascontiguousarray(result)).to(x)


Quantizer: TypeAlias = Callable[[Tensor, Format, Rounder, tuple[int, int], "int | None"], Tensor]

#: By family; a family that is not here is rounded by its reference quantizer.
QUANTIZERS: dict[str, Quantizer] = {
    "int": _integer,
    "fixed": _fixed,
    "bfp": _block,
    "mxint": _microscaled_integer,
    "mxfp": _microscaled,
    "nvfp": _nvfp,
    "nf": _normal_float,
    "float": _float,
    "mls": _multi_level,
    "vsq": _vector_scaled,
    "s2fp8": _shifted_and_squeezed,
    "binary": _signs,
    "ternary": _signs,
    "actnn": _ranged,
}
