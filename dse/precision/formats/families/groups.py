"""What the reference quantizers share: groups of elements, exponents, rounding on the grid of a float."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import numpy as np

from dse.precision.formats.model import Rounder
from dse.types import Floats, Ints

#: Exponents that eight bits of shared exponent hold: E8M0 without its NaN code.
SHARED_EXPONENT = (-127, 127)


def read_group(text: str) -> tuple[int, int] | None:
    """(rows, columns) of ``4x4`` or ``32``; None if it is neither."""
    match = re.fullmatch(r"(?:([1-9][0-9]{0,4})x)?([1-9][0-9]{0,5})", text)
    return (int(match[1] or 1), int(match[2])) if match else None


def group_text(group: tuple[int, int]) -> str:
    return str(group[1]) if group[0] == 1 else f"{group[0]}x{group[1]}"


def in_groups(
    x: Floats, group: tuple[int, int], axes: tuple[int, int], edge: Literal["edge", "constant"] = "edge"
) -> tuple[Floats, Callable[[Floats], Floats]]:
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

    def back(values: Floats) -> Floats:
        whole = values.reshape(*lead, tall, wide)[..., :rows, :columns]
        return whole.reshape(x.shape) if x.ndim < 2 else np.moveaxis(whole, (-2, -1), axes)

    return grouped, back


def largest_of_group(grouped: Floats) -> Floats:
    """Largest magnitude of each group of :func:`in_groups`, broadcastable to it."""
    return np.asarray(np.abs(grouped).max(axis=(-3, -1), keepdims=True))


def floor_log2(magnitude: Floats) -> Ints:
    """floor(log2 x), exactly; of zero, an exponent below any format's."""
    exponent = np.frexp(magnitude)[1].astype(np.int64) - 1
    return np.asarray(np.where(magnitude > 0.0, exponent, -1000))


def on_float_grid(x: Floats, mantissa_bits: int, emin: int, largest: float, rounder: Rounder) -> Floats:
    """Round to a float with gradual underflow below 2^emin; saturate at the largest value."""
    magnitude = np.abs(x)
    step = np.ldexp(1.0, np.maximum(floor_log2(magnitude), emin) - mantissa_bits)
    return np.asarray(np.copysign(np.minimum(rounder(magnitude / step) * step, largest), x))


def nonzero(scale: Floats) -> Floats:
    return np.asarray(np.where(scale > 0.0, scale, 1.0))


def other_axes(x: Floats, axis: int | None) -> tuple[int, ...]:
    if axis is None or x.ndim == 0:
        return tuple(range(x.ndim))
    return tuple(index for index in range(x.ndim) if index != axis % x.ndim)
