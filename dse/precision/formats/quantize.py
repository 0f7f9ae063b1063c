"""Reference quantizers: what an array becomes when it is stored in a number format.

Values come back as floats on the grid of the format ("fake quantization"). Everything saturates; nothing becomes infinite
or NaN. Floats keep their subnormals. Groups that reach over the edge of the array are shorter there.

Sources as in :mod:`dse.precision.formats.properties`. The MX rule is that of OCP Microscaling Formats 1.0: shared scale
2^(floor(log2(max |x|)) - emax_elem), then elements rounded to nearest even and saturated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import InputError
from dse.precision.formats.properties import Format, dynamic_range, largest_code, parse_format
from dse.yaml_input import suggest

FloatArray: TypeAlias = NDArray[np.float64]
#: Rounds values on a grid of step 1.
Rounder: TypeAlias = Callable[[FloatArray], FloatArray]

#: Ternary Weight Networks (Li and Liu, 2016): values below 0.7 mean|x| become zero.
TERNARY_THRESHOLD = 0.7
#: S2FP8 (Cambier et al., ICLR 2020) stretches the largest magnitude to 2^15, the top binade of E5M2.
S2FP8_TOP = 15.0
#: Exponents that eight bits of shared exponent hold: E8M0 without its NaN code.
SHARED_EXPONENT = (-127, 127)


def quantize(
    x: ArrayLike,
    form: Format | str,
    rounding: str = "nearest",
    rng: np.random.Generator | None = None,
    axes: tuple[int, int] = (-2, -1),
    channel_axis: int | None = 0,
) -> NDArray[np.floating]:
    """Round an array to a number format.

    Parameters
    ----------
    x
        Finite values, any shape.
    rounding
        ``nearest`` (ties to even) or ``stochastic`` (up with the probability of the remainder; mean-preserving within
        the range; needs ``rng``).
    axes
        Axes that the rows and columns of a group lie along; arrays with one axis have columns only.
    channel_axis
        Axis with a scale per index for ``:channel``, binary and ternary formats and the coarse scale of ``vsq``; None: one for
        the whole array.

    Returns
    -------
    Array of the same shape; float32 stays float32, everything else becomes float64.

    Raises
    ------
    InputError
        Values that are not finite, an unknown format or rounding, no generator for stochastic rounding.

    >>> quantize([0.1, 0.9, 7.9, 100.0], "mxfp4_e2m1").tolist()
    [0.0, 0.0, 8.0, 96.0]
    """
    form = parse_format(form) if isinstance(form, str) else form
    given = np.asarray(x)
    values = given.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("quantize", ["expected finite values, got NaN or infinity"])
    rounder = _rounder(rounding, rng)
    result = _quantizer(form)(values, form, rounder, axes, channel_axis) if values.size else values
    return result.astype(given.dtype) if given.dtype == np.float32 else result


def stochastic(rng: np.random.Generator) -> Rounder:
    """Rounds up with the probability of the remainder."""
    return lambda values: np.floor(values + rng.random(values.shape))


def _rounder(rounding: str, rng: np.random.Generator | None) -> Rounder:
    if rounding == "nearest":
        return np.rint
    if rounding != "stochastic":
        raise InputError("quantize", [f"unknown rounding '{rounding}'{suggest(rounding, ('nearest', 'stochastic'))}"])
    if rng is None:
        raise InputError("quantize", ["stochastic rounding needs rng, such as numpy.random.default_rng(0)"])
    return stochastic(rng)


Quantizer: TypeAlias = Callable[[FloatArray, Format, Rounder, tuple[int, int], "int | None"], FloatArray]


def _quantizer(form: Format) -> Quantizer:
    return {
        "int": _integer,
        "fixed": _fixed,
        "bfp": _block,
        "mxint": _microscaled,
        "mxfp": _microscaled,
        "float": lambda x, form, rounder, _axes, _channel: _as_float(x, form, rounder),
        "mls": _multi_level,
        "vsq": _vector_scaled,
        "s2fp8": _shifted_and_squeezed,
        "binary": _signs,
        "ternary": _signs,
        "actnn": _ranged,
    }[form.family]


def _integer(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], channel_axis: int | None
) -> FloatArray:
    """Scale by the largest magnitude (symmetric) or by the range with zero in it (zero point)."""
    if form.granularity == "group":
        grouped, back = in_groups(x, form.group, axes)
        return back(_scaled_integer(grouped, form, rounder, (-3, -1)))
    return _scaled_integer(x, form, rounder, _other_axes(x, channel_axis if form.granularity == "channel" else None))


def _scaled_integer(x: FloatArray, form: Format, rounder: Rounder, over: tuple[int, ...]) -> FloatArray:
    if not form.zero_point:
        top = largest_code(form)
        scale = _nonzero(np.abs(x).max(axis=over, keepdims=True) / top)
        return np.asarray(np.clip(rounder(x / scale), -top, top) * scale)
    steps = 2**form.element_bits - 1
    low = np.minimum(x.min(axis=over, keepdims=True), 0.0)
    high = np.maximum(x.max(axis=over, keepdims=True), 0.0)
    scale = _nonzero((high - low) / steps)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(rounder(x / scale) + zero, 0, steps) - zero) * scale)


def _fixed(
    x: FloatArray, form: Format, rounder: Rounder, _axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
    step, top = 2.0**-form.fraction_bits, 2.0 ** (form.element_bits - 1)
    return np.asarray(np.clip(rounder(x / step), -top, top - 1) * step)


def _block(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
    """Block floating point: max |x| < 2^e, step 2^(e - b + 1)."""
    grouped, back = in_groups(x, form.group, axes)
    exponent = np.clip(floor_log2(largest_of_group(grouped)) + 1, *SHARED_EXPONENT)
    step, top = np.ldexp(1.0, exponent - form.element_bits + 1), largest_code(form)
    return back(np.clip(rounder(grouped / step), -top, top) * step)


def _microscaled(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
    """OCP MX: E8M0 scale from the largest magnitude, then elements. MXINT8's element has emax 0 and a step of 2^-6."""
    grouped, back = in_groups(x, form.group, axes)
    emax = form.emax if form.family == "mxfp" else 0
    scale = np.ldexp(1.0, np.clip(floor_log2(largest_of_group(grouped)) - emax, *SHARED_EXPONENT))
    if form.family == "mxfp":
        return back(_as_float(grouped / scale, form, rounder) * scale)
    step, top = scale * dynamic_range(form).smallest, largest_code(form)
    return back(np.clip(rounder(grouped / step), -top, top) * step)


def _as_float(x: FloatArray, form: Format, rounder: Rounder) -> FloatArray:
    return _on_float_grid(x, form.mantissa_bits, form.emin, dynamic_range(form).largest, rounder)


def _on_float_grid(x: FloatArray, mantissa_bits: int, emin: int, largest: float, rounder: Rounder) -> FloatArray:
    """Round to a float with gradual underflow below 2^emin; saturate at the largest value."""
    magnitude = np.abs(x)
    step = np.ldexp(1.0, np.maximum(floor_log2(magnitude), emin) - mantissa_bits)
    return np.asarray(np.copysign(np.minimum(rounder(magnitude / step) * step, largest), x))


def _multi_level(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
    """MLS: sign x tensor scale (max |x|) x group scale <8, 1>, rounded up, x unsigned <E, M> element in units of 2^-w."""
    tensor_scale = float(_nonzero(np.abs(x).max()))
    grouped, back = in_groups(x / tensor_scale, form.group, axes)
    mantissa, exponent = np.frexp(largest_of_group(grouped))
    # <8, 1>: 1 or 1.5 times a power of two, the next one up, so that no element is above one
    ceiling = np.where(mantissa <= 0.5, 0.5, np.where(mantissa <= 0.75, 0.75, 1.0))
    group_scale = np.ldexp(ceiling, np.maximum(exponent, -255))
    width = form.mantissa_bits + (1 << form.exponent_bits) - 1
    units = np.ldexp(grouped / group_scale, width)
    codes = _on_float_grid(units, form.mantissa_bits, form.mantissa_bits, largest_code(form), rounder)
    return back(np.ldexp(codes, -width) * group_scale) * tensor_scale


def _vector_scaled(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], channel_axis: int | None
) -> FloatArray:
    """VS-Quant: integers by the float scale of their vector; that scale is then an integer times a coarse scale."""
    grouped, back = in_groups(x, form.group, axes)
    top = largest_code(form)
    scale = largest_of_group(grouped) / top
    codes = back(np.clip(rounder(grouped / _nonzero(scale)), -top, top))
    scale = back(np.broadcast_to(scale, grouped.shape))
    levels = 2**form.scale_bits - 1
    coarse = _nonzero(scale.max(axis=_other_axes(x, channel_axis), keepdims=True) / levels)
    return np.asarray(codes * np.rint(scale / coarse) * coarse)


def _shifted_and_squeezed(
    x: FloatArray, _form: Format, rounder: Rounder, _axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
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
    stored = _as_float(squeezed, parse_format("fp8_e5m2"), rounder)
    logs_back = np.log2(np.where(stored > 0.0, stored, 1.0)) / alpha + mean
    return np.asarray(np.where(stored > 0.0, np.copysign(np.exp2(logs_back), x), 0.0))


def _signs(
    x: FloatArray, form: Format, _rounder: Rounder, _axes: tuple[int, int], channel_axis: int | None
) -> FloatArray:
    """Binary: sign(x) mean|x| (XNOR-Net). Ternary: zero below the threshold, else the sign times the mean of the rest."""
    over = _other_axes(x, channel_axis)
    magnitude = np.abs(x)
    mean = magnitude.mean(axis=over, keepdims=True)
    if form.family == "binary":
        return np.asarray(np.where(x < 0.0, -mean, mean))
    kept = magnitude > TERNARY_THRESHOLD * mean
    scale = (magnitude * kept).sum(axis=over, keepdims=True) / np.maximum(kept.sum(axis=over, keepdims=True), 1)
    return np.asarray(np.sign(x) * kept * scale)


def _ranged(
    x: FloatArray, form: Format, rounder: Rounder, axes: tuple[int, int], _channel_axis: int | None
) -> FloatArray:
    """ActNN: codes between the group's minimum and maximum; minimum and steps per unit are kept in bfloat16."""
    grouped, back = in_groups(x, form.group, axes)
    low, high = grouped.min(axis=(-3, -1), keepdims=True), grouped.max(axis=(-3, -1), keepdims=True)
    steps = 2**form.element_bits - 1
    per_unit = steps / _nonzero(high - low)
    codes = np.clip(rounder((grouped - low) * per_unit), 0, steps)
    bf16 = parse_format("bf16")
    return back(codes / _as_float(per_unit, bf16, np.rint) + _as_float(low, bf16, np.rint))


def in_groups(
    x: FloatArray, group: tuple[int, int], axes: tuple[int, int], edge: Literal["edge", "constant"] = "edge"
) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
    """The array as (..., row groups, rows, column groups, columns), and the way back.

    A group that reaches over the edge of the array is filled with the edge's own values (``edge``), which changes no maximum and
    no minimum, or with zeros (``constant``), which changes no sum.
    """
    flat = x.reshape(1, -1) if x.ndim < 2 else np.moveaxis(x, axes, (-2, -1))
    rows, columns = flat.shape[-2:]
    fill = ((0, -rows % group[0]), (0, -columns % group[1]))
    padded = np.pad(flat, ((0, 0),) * (flat.ndim - 2) + fill, mode=edge)
    lead, (tall, wide) = padded.shape[:-2], padded.shape[-2:]
    grouped = padded.reshape(*lead, tall // group[0], group[0], wide // group[1], group[1])

    def back(values: FloatArray) -> FloatArray:
        whole = values.reshape(*lead, tall, wide)[..., :rows, :columns]
        return whole.reshape(x.shape) if x.ndim < 2 else np.moveaxis(whole, (-2, -1), axes)

    return grouped, back


def largest_of_group(grouped: FloatArray) -> FloatArray:
    """Largest magnitude of each group of :func:`in_groups`, broadcastable to it."""
    return np.asarray(np.abs(grouped).max(axis=(-3, -1), keepdims=True))


def floor_log2(magnitude: FloatArray) -> NDArray[np.int64]:
    """floor(log2 x), exactly; of zero, an exponent below any format's."""
    exponent = np.frexp(magnitude)[1].astype(np.int64) - 1
    return np.asarray(np.where(magnitude > 0.0, exponent, -1000))


def _nonzero(scale: FloatArray) -> FloatArray:
    return np.asarray(np.where(scale > 0.0, scale, 1.0))


def _other_axes(x: FloatArray, axis: int | None) -> tuple[int, ...]:
    if axis is None or x.ndim == 0:
        return tuple(range(x.ndim))
    return tuple(index for index in range(x.ndim) if index != axis % x.ndim)
