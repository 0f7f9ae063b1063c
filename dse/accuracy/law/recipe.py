"""What the three products of a layer multiply, in which formats and with which rounding: the precision that a loss law sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dse.errors import InputError
from dse.precision.formats.properties import Format, parse_format
from dse.precision.formats.quantize import quantize
from dse.precision.plans.plan import Plan

#: Formats of the reference runs: what they lose against one another was measured as nothing, so that it counts as nothing.
FULL = ("bf16", "fp16", "fp32", "tf32")
#: Rows and columns of the Gaussian matrix on which formats are compared: 64 groups of MX and 128 of NVFP4 per row.
_SAMPLE = (64, 2048)


@dataclass(frozen=True)
class Rounded:
    """The two tensors of one product.

    Attributes
    ----------
    first, second
        Formats: weight and activation (forward), error and weight (backward_data), error and activation (backward_weight). In
        backward_data a ``bf16`` weight is the forward pass's own, not rounded once more.
    rounding
        Forward: ``nearest`` or ``stochastic``. Backward: a kind that the law was fitted for (:attr:`Law.roundings`).
    features
        What else was done, by the names of the law's corrections (:attr:`Law.features`), such as ``four_over_six``.
    """

    first: str = "bf16"
    second: str = "bf16"
    rounding: str = "nearest"
    features: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether neither tensor is rounded below the reference."""
        return self.first in FULL and self.second in FULL


@dataclass(frozen=True)
class Recipe:
    """Formats and rounding of the products of all layers: ``forward`` weight x activation, ``data`` error x weight, ``gradient``
    error x activation."""

    forward: Rounded = Rounded()
    data: Rounded = Rounded()
    gradient: Rounded = Rounded()

    @property
    def formats(self) -> tuple[str, ...]:
        """All formats below the reference, each once."""
        sides = (self.forward, self.data, self.gradient)
        return tuple(dict.fromkeys(name for side in sides for name in (side.first, side.second) if name not in FULL))


@lru_cache(maxsize=256)
def noise(name: str, rounding: str = "nearest") -> float:
    """Squared error of a format over the square of what it stores, for Gaussian values; 0 for :data:`FULL`.

    Of the reference quantizers of :mod:`dse.precision.formats`, on one fixed sample. Weights after training and tensors behind a
    Hadamard transform are near Gaussian; others are not, which the law's fitted corrections take up.

    >>> noise("bf16")
    0.0
    >>> 0.008 < noise("nvfp4") < 0.010 < noise("mxfp4_e2m1") < 0.014
    True
    """
    form = parse_format(name)
    if form.name in FULL:
        return 0.0
    rng = np.random.default_rng(0)
    values = rng.standard_normal(_SAMPLE)
    stored = quantize(values, form, rounding, rng)
    return float(np.square(stored - values).mean() / np.square(values).mean())


def recipes_of(plan: Plan, rounding: str, macs: Mapping[str, float] | None = None) -> dict[Recipe, float]:
    """The recipes of a plan's layers and the share of each.

    Forward operands round to nearest. Where a weight is stored in groups along one axis, backward_data multiplies a second rounding
    of it along the other axis; square groups, scales per tensor or channel and ``copies=one`` serve both passes.

    Parameters
    ----------
    rounding
        Of errors, see :class:`Rounded`.
    macs
        MACs of the layers that count, by name; without them every layer counts the same.

    Raises
    ------
    InputError
        A cell with a histogram of formats.
    """
    cells = [plan.cells(operand) for operand in ("weight", "activation", "error")]
    shares: dict[Recipe, float] = {}
    for name, weight, activation, error in zip(plan.layers, *cells, strict=True):
        share = 1.0 if macs is None else macs.get(name, 0.0)
        if not (isinstance(weight, Format) and isinstance(activation, Format) and isinstance(error, Format)):
            raise InputError("loss law", ["knows one format per tensor; the plan has tensors with formats per block"])
        recipe = layer_recipe(weight, activation, error, rounding, plan.copies == "one")
        shares[recipe] = shares.get(recipe, 0.0) + share
    total = sum(shares.values())
    if total <= 0.0:
        raise InputError("loss law", ["no layer of the plan has MACs by the table given"])
    return {recipe: share / total for recipe, share in shares.items() if share > 0.0}


def layer_recipe(weight: Format, activation: Format, error: Format, rounding: str, one_copy: bool = False) -> Recipe:
    """The recipe of one layer; see :func:`recipes_of`."""
    forward = Rounded(weight.name, activation.name)
    if error.name in FULL:
        return Recipe(forward)
    along = weight.granularity == "group" and weight.group[0] != weight.group[1] and not one_copy
    return Recipe(
        forward,
        Rounded(error.name, weight.name if along else "bf16", rounding),
        Rounded(error.name, activation.name, rounding),
    )
