"""Reference quantizers: what an array becomes when it is stored in a number format.

Values come back as floats on the grid of the format ("fake quantization"). Everything saturates; nothing becomes infinite
or NaN. Floats keep their subnormals. Groups that reach over the edge of the array are shorter there. The rule of each family and
its source stand with its record (:mod:`dse.precision.formats.families.integers`, :mod:`~dse.precision.formats.families.floats`,
:mod:`~dse.precision.formats.families.blocks`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import InputError
from dse.precision.formats.model import FAMILIES, Format, Rounder
from dse.precision.formats.names import parse_format
from dse.yaml_input import suggest


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
    if values.size:
        values = FAMILIES[form.family].quantizer(values, form, rounder, axes, channel_axis)
    return values.astype(given.dtype) if given.dtype == np.float32 else values


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
