"""Block-wise widths from online sensitivity: DYNASTY-like.

Theirs (Liu et al., ASP-DAC 2023, arXiv 2210.17047; abstract and a reproduction's notes only): block floating point in 4x4
blocks, an online estimate of each block's relative sensitivity with exponential smoothing, a threshold lambda, and a map of
widths per block. Its formulas were not available. Ours: the sensitivity is the expected loss change of uniform
rounding noise to second order with squared gradients for the curvature, S_B(b) = step_B(b)^2 / 12 x sum g^2, which needs only
what the hardware has anyway: the block's shared exponent and its sum of squared gradients. The threshold is relative to
the tensor's **mean** block at the reference width, so that it does not depend on the number of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dse.errors import InputError
from dse.precision.formats.families.groups import floor_log2, in_groups, largest_of_group
from dse.precision.formats.properties import parse_format
from dse.precision.plans.cells import Histogram
from dse.precision.policies.rules import Overhead
from dse.types import Floats, Ints

#: Mantissa widths of DYNASTY's blocks, bits (2, 4, 6, 8 in the brief descriptions of its successors).
WIDTHS = (2, 4, 6, 8)


def block_sensitivity(
    x: ArrayLike,
    gradients: ArrayLike,
    widths: Sequence[int] = WIDTHS,
    block: tuple[int, int] = (4, 4),
    axes: tuple[int, int] = (-2, -1),
) -> Floats:
    """Sensitivity of every block at every width.

    Parameters
    ----------
    x, gradients
        A tensor and the loss gradient with respect to it, same shape.

    Returns
    -------
    Array (..., row blocks, column blocks, widths): S_B(b) = (2^(e_B - b + 1))^2 / 12 x sum of squared gradients, with
    max |x| < 2^e_B. One bit less is four times as much.
    """
    values, slopes = np.asarray(x, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    if values.shape != slopes.shape or not values.size:
        raise InputError(
            "block sensitivity",
            [f"expected a tensor and its gradient of one shape, got {values.shape} and {slopes.shape}"],
        )
    exponent = floor_log2(largest_of_group(in_groups(values, block, axes)[0]))[..., 0, :, 0] + 1
    squares = (in_groups(slopes, block, axes, edge="constant")[0] ** 2).sum(axis=(-3, -1))
    step = np.exp2(exponent[..., None] - np.asarray(widths, dtype=np.float64) + 1.0)
    return np.asarray(step**2 / 12.0 * squares[..., None])


def smoothed(previous: Floats | None, current: Floats, momentum: float = 0.9) -> Floats:
    """Exponential moving average over iterations; the first value starts it."""
    return current if previous is None else momentum * previous + (1.0 - momentum) * current


def block_widths(sensitivity: Floats, threshold: float, widths: Sequence[int] = WIDTHS) -> Ints:
    """The map of widths: for each block the fewest bits whose relative sensitivity is at most the threshold.

    Parameters
    ----------
    sensitivity
        (..., row blocks, column blocks, widths), widths increasing.
    threshold
        Lambda, relative to the mean sensitivity of the tensor's blocks at the widest width: 1 lets an average block keep that
        width, 4^k lets it lose k bits.

    Returns
    -------
    Array (..., row blocks, column blocks), bits; the widest where no width is good enough.
    """
    if not (threshold >= 0.0 and list(widths) == sorted(set(widths))):
        raise InputError(
            "block widths", [f"expected a threshold >= 0 and increasing widths, got {threshold} and {list(widths)}"]
        )
    mean = float(sensitivity[..., -1].mean())
    good = sensitivity <= threshold * mean
    choice = np.where(good.any(axis=-1), good.argmax(axis=-1), len(widths) - 1)
    return np.asarray(widths, dtype=np.int64)[choice]


def adjusted_threshold(
    threshold: float,
    loss: float,
    mean_loss: float,
    factor: float = 1.1,
    slack: float = 0.02,
    bounds: tuple[float, float] = (1.0, 4.0**6),
) -> float:
    """Threshold control by the loss (ours): looser while the loss follows its recent mean, else tighter, as for a loss of NaN.

    Parameters
    ----------
    mean_loss
        Moving average of the loss.
    factor, slack
        Change per decision; share by which the loss may exceed its mean.
    """
    changed = threshold * factor if loss <= mean_loss * (1.0 + slack) else threshold / factor**2
    return min(max(changed, bounds[0]), bounds[1])


def map_histogram(widths: Ints, family: str = "bfp", block: tuple[int, int] = (4, 4)) -> Histogram:
    """The histogram of a map, for a plan's cell."""
    found, counts = np.unique(widths, return_counts=True)
    size = f"{block[0]}x{block[1]}"
    formats = tuple(parse_format(f"{family}{bits}:{size}" if family == "bfp" else f"{family}{bits}") for bits in found)
    return Histogram(formats, tuple((counts / counts.sum()).tolist()), block)


def joint_shares(rows: Ints, columns: Ints) -> tuple[Ints, Ints, Floats]:
    """How two maps meet in a matrix product: block (i, k) of the first meets block (k, j) of the second for all i, j.

    Parameters
    ----------
    rows, columns
        Maps (i, k) and (k, j) of the two operands.

    Returns
    -------
    Widths of the first, of the second, and the share of block products of each pair, (first, second); exact.
    """
    if rows.ndim != 2 or columns.ndim != 2 or rows.shape[1] != columns.shape[0]:
        raise InputError("joint shares", [f"expected maps (i, k) and (k, j), got {rows.shape} and {columns.shape}"])
    first, second = np.unique(rows), np.unique(columns)
    left = (rows[:, :, None] == first).mean(axis=0)
    right = (columns[:, :, None] == second).mean(axis=1)
    return first, second, np.asarray(left.T @ right / rows.shape[1])


def block_policy_overhead(
    elements: int, block: tuple[int, int] = (4, 4), widths: int = 4, state_bits: int = 16
) -> Overhead:
    """One update of a tensor's map, while its gradient streams by: per block, its MACs, an average, compares, a code.

    Sum of squares: one MAC per element. Moving average: two multiplications and an addition. The map: a compare for each
    width but the widest. Traffic: the average is read and written (``state_bits``, ours), the code of ceil(log2(widths))
    bits is written; reading the map is part of the tensor's stored bits.
    """
    blocks = math.ceil(elements / (block[0] * block[1]))
    code = math.ceil(math.log2(widths)) if widths > 1 else 0
    return Overhead(2.0 * elements + blocks * (3.0 + widths - 1.0), blocks * (2.0 * state_bits + code))
