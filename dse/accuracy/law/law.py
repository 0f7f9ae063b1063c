"""The loss of pre-training by size, tokens and the formats of the three products: :func:`load_law`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.accuracy.law.file import LawFile, check_law
from dse.accuracy.law.recipe import Recipe, Rounded, layer_recipe, noise, recipes_of
from dse.accuracy.law.terms import excess, reference_loss
from dse.errors import InputError
from dse.names import MAC_OPERANDS
from dse.precision.formats.properties import parse_format
from dse.precision.plans.file import short_formats
from dse.precision.plans.plan import Plan
from dse.shipped import find_file
from dse.yaml_input import load_yaml, suggest, validate

Array = NDArray[np.float64]
#: Relative standard deviation of the excess of a format that no run was measured with; noise explains measured ones within a third.
UNMEASURED_SHARE = 0.5
#: Noise over that of NVFP4 to nearest: the largest that runs were measured with is 3.0 (MXFP4, rounded stochastically).
LARGEST_NOISE = 3.5
#: Where tokens are looked for, per parameter.
_FEWEST, _MOST = 0.1, 1e5
_NVFP4 = Rounded("nvfp4", "nvfp4")
_SQUARE = Rounded("nvfp4:16x16", "nvfp4")
_MXFP4 = Rounded("mxfp4_e2m1", "mxfp4_e2m1")


def _behind(form: str, rounding: str, again: bool = True) -> tuple[Rounded, Rounded]:
    return Rounded(form, form if again else "bf16", rounding), Rounded(form, form, rounding)


#: Recipes of the field by name, put together from measured products.
RECIPES = {
    "bf16": Recipe(),
    "nvfp4_nvidia": Recipe(_SQUARE, *_behind("nvfp4", "stochastic", again=False)),
    "nvfp4_tetrajet2": Recipe(_NVFP4, *_behind("nvfp4", "stochastic")),
    "nvfp4_quartet2": Recipe(Rounded("nvfp4", "nvfp4", "nearest", ("four_over_six",)), *_behind("nvfp4", "eden")),
    "mxfp4_quartet": Recipe(
        Rounded("mxfp4_e2m1", "mxfp4_e2m1", "nearest", ("mx_quest",)), *_behind("mxfp4_e2m1", "stochastic")
    ),
    "mxfp4_stochastic": Recipe(_MXFP4, *_behind("mxfp4_e2m1", "stochastic")),
}


class Interval(NamedTuple):
    """Low and high end, nat."""

    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """Loss of pre-training a family of networks, nat per token.

    All ``parameters`` are without embeddings; ``plan`` is a :class:`~dse.precision.plans.plan.Plan`, a
    :class:`~dse.accuracy.law.recipe.Recipe`, the name of one of :data:`RECIPES`, or formats in short (``nvfp4``,
    ``fp8_e4m3,error=fp8_e5m2``). Of a plan with different layers each counts by its MACs (``macs``), else the same.
    Embeddings, norms and the optimizer are in full precision, as in the measured runs. Errors of plans are rounded by
    ``rounding``, one of :attr:`roundings`.
    """

    name: str
    file: LawFile

    @property
    def roundings(self) -> tuple[str, ...]:
        """Kinds of rounding of backward products."""
        return tuple(
            name.removeprefix("noise_")
            for name in self.file.excess
            if name.startswith("noise_") and name != "noise_tokens"
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Corrections that a :class:`~dse.accuracy.law.recipe.Rounded` may name."""
        return tuple(name.removeprefix("feature_") for name in self.file.excess if name.startswith("feature_"))

    def loss(
        self,
        parameters: ArrayLike,
        tokens: ArrayLike,
        plan: Plan | Recipe | str = "bf16",
        rounding: str = "stochastic",
        macs: Mapping[str, float] | None = None,
    ) -> Array:
        """Loss after training on ``tokens``; NaN where a product has more noise than any that was measured.

        >>> law = load_law("llama_c4")
        >>> bool(law.loss(1e8, 1e10, "bf16") < law.loss(1e8, 1e10, "nvfp4") < law.loss(1e8, 1e10, "mxfp4_e2m1"))
        True
        """
        n, d = _checked(parameters, "parameters"), _checked(tokens, "tokens")
        return np.asarray(reference_loss(self._reference, n, d) + self.excess(n, d, plan, rounding, macs))

    def excess(
        self,
        parameters: ArrayLike,
        tokens: ArrayLike,
        plan: Plan | Recipe | str,
        rounding: str = "stochastic",
        macs: Mapping[str, float] | None = None,
    ) -> Array:
        """Loss over training in BF16 on the same tokens, nat; as :meth:`loss`."""
        n, d = _checked(parameters, "parameters"), _checked(tokens, "tokens")
        total = np.zeros(np.broadcast_shapes(n.shape, d.shape))
        for recipe, share in self.recipes(plan, rounding, macs).items():
            total = total + share * (excess(self._excess, recipe, n, d) if self.within_noise(recipe) else np.nan)
        return np.asarray(total)

    def tokens(
        self,
        loss: float,
        parameters: float,
        plan: Plan | Recipe | str = "bf16",
        rounding: str = "stochastic",
        macs: Mapping[str, float] | None = None,
    ) -> float:
        """Fewest tokens after which the loss is reached.

        Raises
        ------
        InputError
            No number of tokens up to 100,000 per parameter reaches it, with the lowest loss; or it is unknown.

        >>> law = load_law("llama_c4")
        >>> round(law.tokens(float(law.loss(1e8, 1e10, "nvfp4")), 1e8, "nvfp4") / 1e10, 6)
        1.0
        """
        size = float(_checked(parameters, "parameters"))
        tried = size * np.geomspace(_FEWEST, _MOST, 400)
        losses = self.loss(size, tried, plan, rounding, macs)
        if not np.isfinite(losses).all():
            raise InputError(
                "loss law", [f"{_said(plan)} rounds more coarsely than any measured run: its loss is unknown"]
            )
        below = np.flatnonzero(losses <= loss)
        if not below.size:
            message = f"{_said(plan)} with {size:.3g} parameters never reaches {loss:g} nat; its lowest loss is {losses.min():.4f}"
            raise InputError("loss law", [message])
        if below[0] == 0:
            return float(tried[0])

        # scipy.optimize takes longer to import than the rest of a call.
        from scipy.optimize import brentq

        def above(log_tokens: float) -> float:
            return float(self.loss(size, np.exp(log_tokens), plan, rounding, macs)) - loss

        return float(np.exp(brentq(above, np.log(tried[below[0] - 1]), np.log(tried[below[0]]), xtol=1e-12)))

    def effective_tokens(
        self, parameters: float, tokens: float, plan: Plan | Recipe | str, rounding: str = "stochastic"
    ) -> float:
        """Tokens that training in BF16 needs for the same loss."""
        return self.tokens(float(self.loss(parameters, tokens, plan, rounding)), parameters)

    def effective_parameters(
        self, parameters: float, tokens: float, plan: Plan | Recipe | str, rounding: str = "stochastic"
    ) -> float:
        """Parameters of a model with the same loss after as many tokens in BF16."""
        from scipy.optimize import brentq

        target = float(self.loss(parameters, tokens, plan, rounding))

        def above(log_size: float) -> float:
            return float(reference_loss(self._reference, np.exp(log_size), np.asarray(tokens))) - target

        high = np.log(parameters)
        return float(np.exp(brentq(above, high - 20.0, high + 1e-9))) if above(high) < 0.0 else float(parameters)

    def interval(
        self,
        parameters: float,
        tokens: float,
        plan: Plan | Recipe | str = "bf16",
        rounding: str = "stochastic",
        level: float = 0.9,
        macs: Mapping[str, float] | None = None,
    ) -> Interval:
        """Where a run's loss falls with a probability: the law's own error, which grows outside the measured sizes, and the spread
        of runs."""
        size, data = _checked(parameters, "parameters"), _checked(tokens, "tokens")
        middle = float(self.loss(size, data, plan, rounding, macs))
        names = list(self.file.reference)
        slopes = np.array([self._slope(name, size, data) for name in names])
        variance = slopes @ np.array(self.file.reference_covariance) @ slopes + self.file.reference_spread**2
        width = NormalDist().inv_cdf(0.5 + level / 2.0)
        spread = float(np.sqrt(variance + self.excess_error(float(size), float(data), plan, rounding, macs) ** 2))
        return Interval(middle - width * spread, middle + width * spread)

    def excess_error(
        self,
        parameters: float,
        tokens: float,
        plan: Plan | Recipe | str,
        rounding: str = "stochastic",
        macs: Mapping[str, float] | None = None,
    ) -> float:
        """Standard deviation of the excess, nat: that of recipes left out, that of sizes left out for every doubling beyond the
        measured ones, and half the excess for formats that were never measured."""
        recipes = self.recipes(plan, rounding, macs)
        if all(recipe == Recipe() for recipe in recipes):
            return 0.0
        # The median of an absolute Gaussian error is 0.6745 of its standard deviation.
        known, sized = (self.file.left_out[what].excess / 0.6745 for what in ("recipe", "size"))
        low, high = self.file.parameters
        outside = max(0.0, float(np.log(parameters / high)), float(np.log(low / parameters))) / np.log(2.0)
        new = [
            share * UNMEASURED_SHARE
            for recipe, share in recipes.items()
            if not set(recipe.formats) <= set(self.file.formats)
        ]
        guessed = sum(new) * float(self.excess(parameters, tokens, plan, rounding, macs))
        return float(np.sqrt(known**2 + (sized * outside) ** 2 + guessed**2))

    def notes(
        self, parameters: float, tokens: float, plan: Plan | Recipe | str = "bf16", rounding: str = "stochastic"
    ) -> list[str]:
        """What is outside of the measured range."""
        said = []
        (low, high), (few, many) = self.file.parameters, self.file.tokens_per_parameter
        if not low <= parameters <= high:
            said.append(f"{parameters:.3g} parameters: measured are {low:.3g} to {high:.3g}.")
        if not few <= tokens / parameters <= many:
            said.append(f"{tokens / parameters:.3g} tokens per parameter: measured are {few:.3g} to {many:.3g}.")
        formats = dict.fromkeys(name for recipe in self.recipes(plan, rounding, None) for name in recipe.formats)
        new = [name for name in formats if name not in self.file.formats]
        if new:
            said.append(
                f"No run was measured with {', '.join(new)}: taken to cost in proportion to the noise, within half of it."
            )
        return said

    def recipes(
        self, plan: Plan | Recipe | str, rounding: str = "stochastic", macs: Mapping[str, float] | None = None
    ) -> dict[Recipe, float]:
        """What a plan multiplies, and the share of its layers.

        Raises
        ------
        InputError
            An unknown recipe, rounding or feature.
        """
        if rounding not in self.roundings:
            raise InputError("loss law", [f"unknown rounding '{rounding}'{suggest(rounding, self.roundings)}"])
        if isinstance(plan, Plan):
            return recipes_of(plan, rounding, macs)
        recipe = plan if isinstance(plan, Recipe) else _named(plan, rounding)
        sides = (recipe.forward, recipe.data, recipe.gradient)
        unknown = [
            f"unknown feature '{name}'{suggest(name, self.features)}"
            for side in sides
            for name in side.features
            if name not in self.features
        ]
        kinds = [side.rounding for side in sides[1:] if not side.exact]
        unknown += [
            f"unknown rounding '{kind}'{suggest(kind, self.roundings)}" for kind in kinds if kind not in self.roundings
        ]
        if unknown:
            raise InputError("loss law", list(dict.fromkeys(unknown)))
        return {recipe: 1.0}

    def within_noise(self, recipe: Recipe) -> bool:
        """Whether no product of a recipe is rounded more coarsely than measured ones."""
        unit = noise("nvfp4")
        forward = recipe.forward
        worst = [(noise(forward.first, forward.rounding) + noise(forward.second, forward.rounding)) / 2.0]
        worst += [noise(name) for side in (recipe.data, recipe.gradient) for name in (side.first, side.second)]
        return max(worst) <= LARGEST_NOISE * unit

    @property
    def _reference(self) -> dict[str, float]:
        return {name: estimate.value for name, estimate in self.file.reference.items()}

    @property
    def _excess(self) -> dict[str, float]:
        return {name: estimate.value for name, estimate in self.file.excess.items()}

    def _slope(self, name: str, parameters: Array, tokens: Array) -> float:
        """Derivative of the BF16 loss by a parameter of the law: central difference over a hundredth of its error."""
        step = 0.01 * max(self.file.reference[name].error, 1e-9)
        up, down = (self._reference | {name: self._reference[name] + side * step} for side in (1.0, -1.0))
        ends = [float(reference_loss(values, parameters, tokens)) for values in (up, down)]
        return (ends[0] - ends[1]) / (2.0 * step)


def load_law(name_or_path: str | Path = "llama_c4") -> Law:
    """Read a loss law: a file, or the name of one that ships.

    ``llama_c4``: Llama-like decoders of 30 to 103 million parameters on C4 (batches of 262,144 tokens), in MXFP4 and NVFP4,
    forward and backward.

    Raises
    ------
    InputError
        Every problem of the file.

    >>> load_law().file.formats
    ('mxfp4_e2m1', 'nvfp4', 'nvfp4:16x16')
    """
    path = find_file(name_or_path, "workloads/laws")
    return Law(path.stem, validate(LawFile, load_yaml(path), check_law))


def _named(plan: str, rounding: str) -> Recipe:
    if plan in RECIPES:
        return RECIPES[plan]
    try:
        given = short_formats(plan)
    except InputError as error:
        known = suggest(plan, RECIPES) or f"; recipes: {', '.join(RECIPES)}"
        raise InputError("loss law", [f"'{plan}' is no recipe{known}", *error.problems]) from None
    forms = [parse_format(given.get(name, given["activation"])) for name in MAC_OPERANDS]
    return layer_recipe(forms[0], forms[1], forms[2], rounding)


def _checked(given: ArrayLike, what: str) -> Array:
    values = np.asarray(given, dtype=np.float64)
    if not (np.isfinite(values) & (values > 0.0)).all():
        raise InputError("loss law", [f"expected {what} above 0, got {given!r}"])
    return values


def _said(plan: Plan | Recipe | str) -> str:
    if isinstance(plan, Plan):
        return plan.label
    return plan if isinstance(plan, str) else "the recipe"
