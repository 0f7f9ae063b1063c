"""Sensitivity profiles: additive scores per layer, and the loss of accuracy that a plan's sum of scores predicts.

The score of a plan is the sum over its layers of what was measured for one layer alone. A width that was not measured
follows the 4^-bits law from the nearest one that was; see :func:`extrapolate`. A format that was not measured scores like the
integers of its noise power; see :mod:`dse.accuracy.profiles.noise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan

import numpy as np
from numpy.typing import ArrayLike

from dse.accuracy import predictor
from dse.accuracy.confidence import ErrorModel, Interval, fit_errors
from dse.accuracy.profiles.noise import between, integer_width
from dse.errors import InputError
from dse.numbers import CONFIDENCE, EVEN
from dse.precision.formats.properties import Format, plain_integer, significant_bits
from dse.precision.plans.plan import Plan
from dse.showing import one_line
from dse.types import Bools, Floats, Ints


@dataclass(frozen=True)
class _Layer:
    """A layer as far as a plan looks."""

    name: str


@dataclass(frozen=True)
class _Layers:
    """The layers that a profile knows, as a network for plans in short."""

    name: str
    layers: tuple[_Layer, ...]


@dataclass(frozen=True)
class Profile:
    """Measured sensitivities of one network with a predictor fitted to its measured points.

    Attributes
    ----------
    network, source, method, score_name, path
        Name of the network, where the figures come from, how they were measured, what the score is, the file.
    layer_names
        The L scored layers: in the file's order, or the network's once bound.
    operands
        ``("both",)`` where weight and activation were measured together at one width (they are tied), else
        ``("weight", "activation")`` or one of these.
    measured_widths
        Per operand, the M measured widths, ascending.
    measured_scores
        Per operand, (L, M) scores.
    kept
        Layers without scores, with the width they had in every measured point.
    ties
        Groups of layers that share a width.
    quantity, unit
        What is predicted (``top1``, ``kl``, ``loss``) and the unit of its drop.
    baseline, baseline_name
        The value that a drop is measured from.
    calibration
        ``post-training`` or ``quantization-aware``: what the measured points are of.
    noise
        Difference between two measurements of one plan, in ``unit``; NaN if unknown.
    link, parameters
        Name of the link in :data:`dse.accuracy.predictor.LINKS` and its fitted parameters; "" and () if no whole-network
        point was measured: then every drop is unknown.
    point_names, point_scores, point_drops
        The measured points: name, summed score, measured drop (negative where the plan beat the baseline).
    point_layer_scores
        (points, L) scores of the layers in each point, shrunk, without factors.
    shrink
        Share of every layer's score that is the mean over the layers at the same operand and format: 0, scores as measured; 1,
        every layer alike, which is counting. A score of one layer alone says only in part what the layer costs in a whole plan,
        and a search picks the layers whose scores err downwards; estimates that are drawn towards their mean do better in both
        (James & Stein, Proc. 4th Berkeley Symp. 1, 1961; Smith & Winkler, Management Science 52(3), 2006).
    spread, factors
        If the measured points correct the layers' scores: by how much about, and (L,) the factors, which every score of this
        profile has in it; else NaN and ones.
    error_drops
        Drop by width of the error tensor: a network-level assumption; empty if there is none.
    error_scores
        Score by layer and width when its error alone is rounded: how plans with several error widths stand between those of one
        width; empty where they were not measured.
    assumptions
        Sentences for the report.
    measured_formats, format_scores
        Per operand, other formats than integers that were measured, by name, and (L, F) their scores; empty where none was.
    point_mean_bits
        (points,) mean width of the scored layers' tensors in each point, bits: what counting bits ranks by.
    shared_errors, errors_of
        The error model of another profile, which counts instead of that of these points, and its name; None and "": their own.
    """

    network: str
    source: str
    method: str
    score_name: str
    path: str
    layer_names: tuple[str, ...]
    operands: tuple[str, ...]
    measured_widths: Mapping[str, Ints]
    measured_scores: Mapping[str, Floats]
    kept: Mapping[str, int]
    ties: tuple[tuple[str, ...], ...]
    quantity: str
    unit: str
    baseline: float
    baseline_name: str
    calibration: str
    noise: float
    link: str
    parameters: tuple[float, ...]
    point_names: tuple[str, ...]
    point_scores: Floats
    point_drops: Floats
    point_layer_scores: Floats
    spread: float
    factors: Floats
    error_drops: Mapping[int, float] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    measured_formats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    format_scores: Mapping[str, Floats] = field(default_factory=dict)
    shared_errors: ErrorModel | None = None
    point_mean_bits: Floats = field(default_factory=lambda: np.zeros(0))
    shrink: float = 0.0
    errors_of: str = ""
    error_scores: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def tied(self) -> bool:
        """Whether weight and activation of a layer share one width."""
        return self.operands == ("both",)

    @property
    def range(self) -> tuple[float, float]:
        """Summed scores for which the predictor answers: from 0 to the largest measured one.

        Below the smallest measured score the link runs on to its value at 0: no damage, which is what a plan without
        quantization has, so that this is an interpolation and not a guess.
        """
        return 0.0, float(self.point_scores.max(initial=0.0))

    def __repr__(self) -> str:
        facts = [f"{len(self.layer_names)} layers", f"{self.quantity}, drop in {self.unit}"]
        facts += [f"leave-one-out error {self.loo_error_pp:.2g}" if self.link else "without whole-network points"]
        return one_line("Profile", self.network, facts)

    @cached_property
    def loo_errors_pp(self) -> Floats:
        """(points,) signed leave-one-out errors (predicted - measured), in ``unit``."""
        if not self.link:
            return np.zeros(0)
        if isnan(self.spread):
            return predictor.leave_one_out(self.link, self.point_scores, self.point_drops)
        return predictor.leave_one_out(self.link, self.point_layer_scores, self.point_drops, self.spread)

    @property
    def loo_error_pp(self) -> float:
        """Mean absolute leave-one-out error over all points, in ``unit``."""
        return float(np.abs(self.loo_errors_pp).mean()) if self.link else float("nan")

    @cached_property
    def error_pp(self) -> float:
        """The predictor's error where it answers: leave-one-out, without the point that would be an extrapolation."""
        inside = predictor.in_range(self.point_scores)
        return float(np.abs(self.loo_errors_pp[inside]).mean()) if inside.any() else float("nan")

    @cached_property
    def error_model(self) -> ErrorModel:
        """Distribution of the predictor's error where it answers, from leave-one-out errors of its points or of shared ones."""
        if self.shared_errors is not None:
            return self.shared_errors
        inside = predictor.in_range(self.point_scores)
        errors = self.loo_errors_pp
        if not self.link:
            return ErrorModel(float("nan"), float("nan"), 1)
        return fit_errors((self.point_drops + errors)[inside], errors[inside], len(self.parameters))

    def drop_interval(self, drop: float, confidence: float = CONFIDENCE, *, picked: bool = False) -> Interval:
        """Where the measured drop lies of a plan with a predicted one of ``drop``; each end holds with the given probability.

        Parameters
        ----------
        picked
            The plan was picked by a search with this profile, see :data:`dse.accuracy.confidence.PICKED`.

        Notes
        -----
        The error of an assumed drop of the error tensor is not known and not in it.
        """
        return self.error_model.interval(drop, confidence, picked)

    def score_table(self, widths: Sequence[int], operand: str | None = None) -> tuple[Floats, Bools]:
        """Scores of every layer at the given widths.

        Parameters
        ----------
        widths
            (W,) widths in bits, >= 1.
        operand
            One of :attr:`operands`; may be left out if there is only one.

        Returns
        -------
        (L, W) scores and (L, W) mask of those that were not measured but follow the 4^-bits law.
        """
        chosen = self._operand(operand)
        bits = np.asarray(widths, dtype=np.int64)
        if bits.ndim != 1 or (bits < 1).any():
            raise InputError("widths", [f"expected a list of integers >= 1, got {list(widths)}"])
        table = self._counted(extrapolate(self.measured_widths[chosen], self.measured_scores[chosen], bits))
        extrapolated = ~np.isin(bits, self.measured_widths[chosen])
        return table, np.broadcast_to(extrapolated, table.shape)

    def format_table(self, formats: Sequence[Format], operand: str | None = None) -> tuple[Floats, Bools]:
        """Scores of every layer in the given formats.

        A format that was measured has its own score, an integer its width's; any other scores between the integers whose noise
        power it has (:mod:`dse.accuracy.profiles.noise`).

        Parameters
        ----------
        formats
            (F,)
        operand
            One of :attr:`operands`; may be left out if there is only one.

        Returns
        -------
        (L, F) scores and (F,) mask of formats that were not measured but follow a law.
        """
        chosen = self._operand(operand)
        places = [between(form) for form in formats]
        widths = sorted({width for place in places for width in (place.narrower, place.wider)})
        table, law = self.score_table(widths, chosen)
        column = {width: index for index, width in enumerate(widths)}
        scores, by_law = np.empty((len(self.layer_names), len(formats))), np.empty(len(formats), bool)
        measured = self.measured_formats.get(chosen, ())
        for f, (form, place) in enumerate(zip(formats, places, strict=True)):
            if form.name in measured:
                scores[:, f] = self._counted(self.format_scores[chosen][:, measured.index(form.name), None])[:, 0]
                by_law[f] = False
                continue
            low, high = column[place.narrower], column[place.wider]
            # Where an integer stands for itself the sum of two shares of it would differ in the last digit.
            scores[:, f] = (
                table[:, low] if low == high else place.share * table[:, low] + (1 - place.share) * table[:, high]
            )
            by_law[f] = not plain_integer(form) or bool(law[0, low] if len(law) else False)
        return scores, by_law

    def pair_table(self, pairs: Sequence[tuple[Format, Format]]) -> tuple[Floats, Bools]:
        """Scores of every layer in pairs of a weight's and an activation's format.

        A tied profile scores the one with more noise: that pair was measured, and a partner with less does no more damage.

        Returns
        -------
        (L, M) scores and (M,) mask of pairs with a format that was not measured but follows a law.
        """
        if self.tied:
            return self.format_table([min(pair, key=integer_width) for pair in pairs])
        total, by_law = np.zeros((len(self.layer_names), len(pairs))), np.zeros(len(pairs), bool)
        for position, operand in enumerate(("weight", "activation")):
            if operand in self.operands:
                scores, marked = self.format_table([pair[position] for pair in pairs], operand)
                total, by_law = total + scores, by_law | marked
        return total, by_law

    def least_width(self, operand: str) -> int:
        """Narrowest measured width of weight or activation; 0 for an operand that is not scored."""
        measured = self.measured_widths.get("both" if self.tied else operand)
        return 0 if measured is None else int(measured.min())

    def reaches(self, form: Format, operand: str) -> bool:
        """Whether a format was measured, or has no more noise than the narrowest integers that were: below those a collapse is as
        likely as any law."""
        measured = self.measured_formats.get("both" if self.tied else operand, ())
        return form.name in measured or integer_width(form) >= self.least_width(operand)

    def score_widths(self, widths: Mapping[str, ArrayLike] | Mapping[str, Ints]) -> Floats:
        """Summed score of width maps; see :meth:`layer_scores`."""
        return np.asarray(self.layer_scores(widths).sum(axis=-1))

    def layer_scores(self, widths: Mapping[str, ArrayLike] | Mapping[str, Ints]) -> Floats:
        """Score of each layer in width maps.

        Parameters
        ----------
        widths
            Per operand, (..., L) widths in the order of ``layer_names``. A tied profile takes ``weight`` and
            ``activation`` too and scores the narrower of the two: that pair was measured, and a wider partner does no more
            damage, so the score is an upper bound.

        Returns
        -------
        (..., L) scores.
        """
        given = {name: np.asarray(value, dtype=np.int64) for name, value in widths.items()}
        if self.tied and "both" not in given:
            given = {"both": np.minimum(given["weight"], given["activation"])}
        total = np.zeros(len(self.layer_names))
        for operand in self.operands:
            bits, position = np.unique(given[operand], return_inverse=True)
            table, _ = self.score_table([int(width) for width in bits], operand)
            total = total + table[np.arange(len(self.layer_names)), position.reshape(given[operand].shape)]
        return np.asarray(total)

    def scores(self, plan: Plan) -> float:
        """Summed score of a plan; NaN if it gives a kept layer less than the width it was measured at.

        Formats that were not measured score by :meth:`format_table`; of a tensor with blocks of several formats, each by its
        share. A kept layer may have any format of at least so many bits per element.

        Raises
        ------
        InputError
            The plan lacks layers of the profile.
        """
        where = {name: index for index, name in enumerate(plan.layers)}
        missing = [name for name in (*self.layer_names, *self.kept) if name not in where]
        if missing:
            raise InputError("plan", [f"lacks {some_names(missing)} of the sensitivity profile of {self.network}"])
        order = [where[name] for name in self.layer_names]
        for operand in ("weight", "activation"):
            formats, shares = plan.choices(operand)
            widths = np.array([form.element_bits for form in formats])
            for name, width in self.kept.items():
                if (widths[shares[where[name]] > 0.0] < width).any():
                    return float("nan")
        if self.tied:
            first, second, together = plan.pairs("weight", "activation")
            table, _ = self.pair_table([(a, b) for a in first for b in second])
            return float((table * together[order].reshape(table.shape)).sum())
        total = 0.0
        for operand in self.operands:
            formats, shares = plan.choices(operand)
            table, _ = self.format_table(formats, operand)
            total += float((table * shares[order]).sum())
        return total

    def error_drop(self, width: float) -> float:
        """Drop by the width of the error tensor, as assumed; NaN where nothing was measured.

        A width between two measured ones takes the drop of the narrower, an upper bound if more bits never harm; above the
        widest measured one likewise, and 32 bits are the baseline itself: 0. Below the narrowest: NaN.
        """
        if width >= 32:
            return 0.0
        known = [drop for bits, drop in self.error_drops.items() if bits <= width]
        return min(known) if known else float("nan")

    def plan_error_drop(self, plan: Plan) -> float:
        """Drop by the error tensors of a plan; NaN where its narrowest error is below all that were measured.

        Errors of one width have the drop that was measured. Those of several have that of the narrowest, an upper bound, unless
        every layer's error was scored: then the drop lies where the sum of their scores lies between those of one width, along a
        power law between two of them (a straight line from no noise to the widest), and never above the bound.
        """
        formats, shares = plan.choices("error")
        bound = self.error_drop(min(form.element_bits for form in formats))
        widths = np.array([form.element_bits for form in formats])
        if isnan(bound) or len(set(widths)) < 2 or not set(plan.layers) <= set(self.error_scores):
            return bound
        table = np.array([self._noise(self.error_scores[name], widths) for name in plan.layers])
        noise, drop = [0.0], [0.0]
        for width in sorted(self.error_drops, reverse=True):
            noise.append(sum(float(self._noise(self.error_scores[name], np.array([width]))[0]) for name in plan.layers))
            drop.append(max(drop[-1], self.error_drops[width]))
        return min(bound, power_between(float((table * shares).sum()), noise, drop))

    def _noise(self, scores: Mapping[int, float], widths: Ints) -> Floats:
        """(W,) scores of one layer's error; full precision has none."""
        known = np.array(sorted(scores), dtype=np.int64)
        found = extrapolate(known, np.array([[scores[int(width)] for width in known]]), np.minimum(widths, 24))[0]
        return np.where(widths >= 32, 0.0, found)

    def drop_of_score(self, score: ArrayLike, error_width: float = 32, *, error_drop: float | None = None) -> Floats:
        """Predicted drop of summed scores, in ``unit``; NaN outside the calibrated range and for an unknown error width.

        ``error_drop`` stands for that of the error width where it is given.

        A link with an offset may predict a gain. One within the predictor's own error (:attr:`error_pp`) is no finding and counts
        as 0; a larger one stands, as the measured points support it.
        """
        values = np.asarray(score, dtype=float)
        if not self.link:
            return np.full(values.shape, np.nan)
        _, top = self.range
        inside = (values >= 0.0) & (values <= top * (1.0 + 1e-12))
        drop = predictor.predict(self.link, self.parameters, np.where(inside, values, 0.0))
        lost = self.error_drop(error_width) if error_drop is None else error_drop
        drop = np.where(inside, drop + lost, np.nan)
        if (drop < 0.0).any():
            # Without an error nothing supports a gain: the comparison with NaN is false.
            drop = np.where((drop < 0.0) & ~(drop < -self.error_pp), 0.0, drop)
        return np.asarray(drop)

    def predict_drop(self, plan: Plan | str, mode: str | None = None) -> float:
        """Predicted drop of a plan in ``unit`` (points of top-1 where ``quantity`` is ``top1``); NaN is "unknown".

        Parameters
        ----------
        plan
            A plan, or one in short such as ``w8a8``, for the layers of the profile.
        mode
            ``training`` counts the error tensor, ``inference`` has none. Default: training, unless the profile is of post-training
            quantization and knows no drop of error tensors, for which nothing is trained.

        Notes
        -----
        Unknown: a summed score beyond the largest measured one, a kept layer narrower than it was measured, an error
        tensor narrower than any measurement. Error widths count by stored bits: for errors range matters more than the
        significand (LUQ trains with a significand of one bit); of several in a plan see :meth:`plan_error_drop`.
        """
        if mode not in (None, "training", "inference"):
            raise InputError("mode", [f"expected training or inference, got {mode!r}"])
        if isinstance(plan, str):
            plan = Plan.parse(plan, _Layers(self.network, tuple(map(_Layer, (*self.layer_names, *self.kept)))))
        trains = self.calibration != "post-training" or bool(self.error_drops)
        if mode == "inference" or (mode is None and not trains):
            return float(self.drop_of_score(self.scores(plan)))
        return float(self.drop_of_score(self.scores(plan), error_drop=self.plan_error_drop(plan)))

    def score_limit(self, max_drop_pp: float, error_width: float = 32, *, confidence: float = EVEN) -> float:
        """Largest summed score whose drop keeps a limit.

        Parameters
        ----------
        max_drop_pp
            The limit, in ``unit``.
        error_width
            Width of the error tensor; its drop counts against the limit.
        confidence
            Probability with which a plan that a search picks keeps the limit; one half holds the predicted drop itself against it.

        Returns
        -------
        A score within the calibrated range; -inf if no score keeps the limit; NaN if the error width is unknown, or the predictor's
        error where it counts.

        Raises
        ------
        InputError
            No whole-network point was measured, so that no limit can be translated.
        """
        if not self.link:
            raise InputError(
                self.path,
                ["has no measured whole-network points, so that every drop is unknown; add some by 'dse calibrate'"],
            )
        allowed = max_drop_pp if confidence == EVEN else self.error_model.allowed(max_drop_pp, confidence)
        if isnan(self.error_drop(error_width)) or isnan(allowed):
            return float("nan")
        low, high = self.range
        if self.drop_of_score(low, error_width) > allowed:
            return float("-inf")
        if self.drop_of_score(high, error_width) <= allowed:
            return high
        while True:  # bisection: holds for any monotone link and ends at two neighbouring floats
            middle = 0.5 * (low + high)
            if middle in (low, high):
                return low
            if self.drop_of_score(middle, error_width) <= allowed:
                low = middle
            else:
                high = middle

    def _counted(self, measured: Floats) -> Floats:
        """(L, ...) measured scores of each layer as they are summed: drawn towards their mean, and corrected by the points."""
        drawn = measured if self.shrink == 0.0 else (1.0 - self.shrink) * measured + self.shrink * measured.mean(axis=0)
        return np.asarray(self.factors[:, None] * drawn)

    def _operand(self, operand: str | None) -> str:
        if operand is None and len(self.operands) == 1:
            return self.operands[0]
        if operand not in self.operands:
            raise InputError("operand", [f"expected one of {', '.join(self.operands)}, got '{operand}'"])
        return operand


def forward_width(form: Format) -> int:
    """Width of the signed integer format whose error bounds that of a format, for weights and activations.

    A float with a significand of p bits (the hidden one counted) rounds by at most |x| 2^-p, a signed integer of p bits
    scaled to the largest |x| by about max|x| 2^-p: so p bits of significand are never worse than p-bit integers, short of
    overflow. Block formats count by their mantissa: their scale is at most as coarse as a tensor's.

    >>> from dse.precision.formats.properties import parse_format
    >>> [forward_width(parse_format(name)) for name in ("int8", "bfp4", "bf16", "fp8_e4m3", "mls_e2m4", "fp32")]
    [8, 4, 8, 4, 5, 24]
    """
    return significant_bits(form)


def extrapolate(measured_widths: Ints, scores: Floats, widths: Ints) -> Floats:
    """Scores at any widths by the 4^-bits law from the nearest measured width.

    A uniform quantizer's squared error is step^2/12; a symmetric one of b bits has 2^(b-1) - 1 steps on either side of 0, one
    of 1 bit half a step. So a bit is worth 4 where there are many, and more where there are few: from 8 to 4 bits
    (127/7)^2 = 329 and not 4^4 = 256. Measured: 322 in the median of HAWQ-V3's ResNet-18 layers; 5.3 from 4 to 3 bits in the
    median of EfficientNet-Lite0's weights, where this law has 5.4. At equal distance from two measured widths the larger of
    the two values counts.

    Parameters
    ----------
    measured_widths
        (M,)
    scores
        (L, M)
    widths
        (W,)

    Returns
    -------
    (L, W); equal to the measurement where there is one.
    """
    distance = np.abs(widths[:, None] - measured_widths[None, :])
    nearest = distance == distance.min(axis=1, keepdims=True)
    ratio = (_steps(measured_widths)[None, :] / _steps(widths)[:, None]) ** 2
    return np.asarray(np.where(nearest, scores[:, None, :] * ratio, 0.0).max(axis=-1))


def power_between(noise: float, known: Sequence[float], drops: Sequence[float]) -> float:
    """A drop between those of known noises, both rising: ``drop ~ noise^n`` through two neighbours, straight where one has none.

    >>> power_between(0.25, [0.0, 0.1, 0.4], [0.0, 1.0, 4.0]), power_between(2.0, [0.0, 1.0, 4.0], [0.0, 1.0, 16.0])
    (2.5, 4.0)
    """
    above = int(np.searchsorted(known, noise))
    if above == 0 or above == len(known):
        return float(drops[min(above, len(known) - 1)])
    (x, y), (low, high) = (known[above - 1], known[above]), (drops[above - 1], drops[above])
    if low > 0.0 and x > 0.0:
        return float(low * (noise / x) ** (np.log(high / low) / np.log(y / x)))
    return float(low + (high - low) * (noise - x) / (y - x))


def _steps(widths: Ints) -> Floats:
    """Steps of a symmetric integer quantizer between 0 and its largest value."""
    return np.asarray(np.maximum(2.0 ** (widths - 1.0) - 1.0, 0.5))


def some_names(names: Sequence[str], limit: int = 6) -> str:
    """The first few names, quoted, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
