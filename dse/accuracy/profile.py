"""Sensitivity profiles: additive scores per layer, and the loss of accuracy that a plan's sum of scores predicts.

The score of a plan is the sum over its layers of what was measured for one layer alone. A width that was not measured
follows the 4^-bits law from the nearest one that was: a uniform quantizer's squared error falls fourfold per bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import isnan
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.accuracy import predictor
from dse.accuracy.schema import QUANTITIES, ProfileFile, check_profile, operands_of
from dse.errors import InputError
from dse.precision.formats import Format
from dse.precision.plans import Plan
from dse.shipped import find_file
from dse.workload.model import Network
from dse.yaml_input import Document, load_yaml, validate

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


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
        Name of the link in :data:`dse.accuracy.predictor.LINKS` and its fitted parameters.
    point_names, point_scores, point_drops
        The measured points: name, summed score, measured drop (negative where the plan beat the baseline).
    error_drops
        Drop by width of the error tensor: a network-level assumption; empty if there is none.
    assumptions
        Sentences for the report.
    """

    network: str
    source: str
    method: str
    score_name: str
    path: str
    layer_names: tuple[str, ...]
    operands: tuple[str, ...]
    measured_widths: Mapping[str, NDArray[np.int64]]
    measured_scores: Mapping[str, Array]
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
    point_scores: Array
    point_drops: Array
    error_drops: Mapping[int, float] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()

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
        return 0.0, float(self.point_scores.max())

    @cached_property
    def loo_errors_pp(self) -> Array:
        """(points,) signed leave-one-out errors (predicted - measured), in ``unit``."""
        return predictor.leave_one_out(self.link, self.point_scores, self.point_drops)

    @property
    def loo_error_pp(self) -> float:
        """Mean absolute leave-one-out error over all points, in ``unit``."""
        return float(np.abs(self.loo_errors_pp).mean())

    @property
    def error_pp(self) -> float:
        """The predictor's error where it answers: leave-one-out, without the point that would be an extrapolation."""
        inside = predictor.in_range(self.point_scores)
        return float(np.abs(self.loo_errors_pp[inside]).mean()) if inside.any() else float("nan")

    def score_table(self, widths: Sequence[int], operand: str | None = None) -> tuple[Array, Mask]:
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
        table = extrapolate(self.measured_widths[chosen], self.measured_scores[chosen], bits)
        extrapolated = ~np.isin(bits, self.measured_widths[chosen])
        return table, np.broadcast_to(extrapolated, table.shape)

    def score_widths(self, widths: Mapping[str, ArrayLike]) -> Array:
        """Summed score of width maps.

        Parameters
        ----------
        widths
            Per operand, (..., L) widths in the order of ``layer_names``. A tied profile takes ``weight`` and
            ``activation`` too and scores the narrower of the two: that pair was measured, and a wider partner does no more
            damage, so the score is an upper bound.

        Returns
        -------
        (...) summed scores.
        """
        given = {name: np.asarray(value, dtype=np.int64) for name, value in widths.items()}
        if self.tied and "both" not in given:
            given = {"both": np.minimum(given["weight"], given["activation"])}
        total = np.zeros(())
        for operand in self.operands:
            bits, position = np.unique(given[operand], return_inverse=True)
            table, _ = self.score_table([int(width) for width in bits], operand)
            position = position.reshape(given[operand].shape)
            total = total + table[np.arange(len(self.layer_names)), position].sum(axis=-1)
        return np.asarray(total)

    def scores(self, plan: Plan) -> float:
        """Summed score of a plan; NaN if it gives a kept layer less than the width it was measured at.

        Formats count by :func:`forward_width`; of a tensor with blocks of several formats, each scores by its share.

        Raises
        ------
        InputError
            The plan lacks layers of the profile.
        """
        where = {name: index for index, name in enumerate(plan.layers)}
        missing = [name for name in (*self.layer_names, *self.kept) if name not in where]
        if missing:
            raise InputError("plan", [f"lacks {_some(missing)} of the sensitivity profile of {self.network}"])
        order = [where[name] for name in self.layer_names]
        for operand in ("weight", "activation"):
            formats, shares = plan.choices(operand)
            widths = np.array([forward_width(form) for form in formats])
            for name, width in self.kept.items():
                if (widths[shares[where[name]] > 0.0] < width).any():
                    return float("nan")
        if self.tied:
            first, second, together = plan.pairs("weight", "activation")
            narrower = [min(forward_width(a), forward_width(b)) for a in first for b in second]
            table, _ = self.score_table(narrower)
            return float((table * together[order].reshape(table.shape)).sum())
        total = 0.0
        for operand in self.operands:
            formats, shares = plan.choices(operand)
            table, _ = self.score_table([forward_width(form) for form in formats], operand)
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

    def drop_of_score(self, score: ArrayLike, error_width: float = 32) -> Array:
        """Predicted drop of summed scores, in ``unit``; NaN outside the calibrated range and for an unknown error width."""
        values = np.asarray(score, dtype=float)
        _, top = self.range
        inside = (values >= 0.0) & (values <= top * (1.0 + 1e-12))
        drop = predictor.predict(self.link, self.parameters, np.where(inside, values, 0.0))
        return np.asarray(np.where(inside, drop + self.error_drop(error_width), np.nan))

    def predict_drop(self, plan: Plan) -> float:
        """Predicted drop of a plan in ``unit`` (points of top-1 where ``quantity`` is ``top1``); NaN is "unknown".

        Unknown: a summed score beyond the largest measured one, a kept layer narrower than it was measured, an error
        tensor narrower than any measurement. A plan with several error widths counts its narrowest, by stored bits: for
        errors range matters more than the significand (LUQ trains with a significand of one bit).
        """
        narrowest = min(form.element_bits for form in plan.choices("error").formats)
        return float(self.drop_of_score(self.scores(plan), narrowest))

    def score_limit(self, max_drop_pp: float, error_width: float = 32, *, robust: bool = False) -> float:
        """Largest summed score whose predicted drop keeps a limit.

        Parameters
        ----------
        max_drop_pp
            The limit, in ``unit``.
        error_width
            Width of the error tensor; its drop counts against the limit.
        robust
            Hold the limit for the predicted drop plus the predictor's error, :attr:`error_pp`.

        Returns
        -------
        A score within the calibrated range; -inf if no score keeps the limit; NaN if the error width is unknown.
        """
        allowed = max_drop_pp - (self.error_pp if robust else 0.0)
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

    >>> from dse.precision.formats import parse_format
    >>> [forward_width(parse_format(name)) for name in ("int8", "bfp4", "bf16", "fp8_e4m3", "mls_e2m4", "fp32")]
    [8, 4, 8, 4, 5, 24]
    """
    if form.is_float or form.family == "mls":
        return form.mantissa_bits + 1
    return form.element_bits


def extrapolate(measured_widths: NDArray[np.int64], scores: Array, widths: NDArray[np.int64]) -> Array:
    """Scores at any widths by the 4^-bits law from the nearest measured width.

    A uniform quantizer's squared error is step^2/12 and its step halves with every bit. At equal distance from two
    measured widths the larger of the two values counts.

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
    scaled = scores[:, None, :] * 4.0 ** (measured_widths[None, :] - widths[:, None])
    return np.asarray(np.where(nearest, scaled, 0.0).max(axis=-1))


def load_profile(name_or_path: str | Path, network: Network | None = None) -> Profile:
    """Read a sensitivity profile and fit its predictor.

    Parameters
    ----------
    name_or_path
        A file, or the name of a shipped profile.
    network
        Binds the profile: its layers come in the network's order, and a profile of another network is an error.

    Raises
    ------
    InputError
        Every problem of the file, or what differs between the profile's network and the given one.
    """
    path = find_file(name_or_path, "workloads/profiles")
    return profile_from_document(load_yaml(path), network)


def profile_from_document(document: Document, network: Network | None = None) -> Profile:
    """A profile from a document that was already read; see :func:`load_profile`."""
    file = validate(ProfileFile, document, partial(check_profile, links=tuple(predictor.LINKS)))
    if len(file.points) < (needed := max(3, len(predictor.LINKS[file.prediction.link].units))):
        raise InputError(
            document.source,
            [document.problem(("points",), f"expected at least {needed} points to fit, got {len(file.points)}")],
        )
    operands = operands_of(file)
    layers = list(file.layers.values())
    unit, larger_is_better = QUANTITIES[file.prediction.quantity]
    sign = 1.0 if larger_is_better else -1.0
    drops = np.array([round(sign * (file.prediction.baseline - point.value), 9) for point in file.points])
    unfitted = Profile(
        network=file.network,
        source=file.source,
        method=file.method,
        score_name=file.score,
        path=document.source,
        layer_names=tuple(file.layers),
        operands=operands,
        measured_widths={name: np.array(sorted(layers[0][name]), dtype=np.int64) for name in operands},
        measured_scores={
            name: np.array([[given[name][width] for width in sorted(given[name])] for given in layers])
            for name in operands
        },
        kept=dict(file.kept),
        ties=tuple(tuple(tied) for tied in file.ties),
        quantity=file.prediction.quantity,
        unit=unit,
        baseline=file.prediction.baseline,
        baseline_name=file.prediction.baseline_name,
        calibration=file.prediction.calibration,
        noise=float("nan") if file.prediction.noise is None else file.prediction.noise,
        link=file.prediction.link,
        parameters=(),
        point_names=tuple(point.name for point in file.points),
        point_scores=np.zeros(len(file.points)),
        point_drops=drops,
        error_drops={} if file.error_tensor is None else _error_drops(file, sign),
        assumptions=_assumptions(file, unit),
    )
    points: dict[str, ArrayLike] = {
        name: np.array([np.broadcast_to(getattr(point, name), len(layers)) for point in file.points])
        for name in operands
    }
    scores = unfitted.score_widths(points)
    parameters = predictor.fit_link(file.prediction.link, scores, drops)
    profile = replace(unfitted, point_scores=scores, parameters=parameters)
    return profile if network is None else bind(profile, network, document, file.weights)


def bind(profile: Profile, network: Network, document: Document, weights: int | None = None) -> Profile:
    """The profile with its layers in the order of a network.

    Layers are matched by name; the number of weights tells networks apart that share their names.

    Raises
    ------
    InputError
        Layers that one has and the other lacks, or another number of weights.
    """
    has = {layer.name: layer for layer in network.mac_layers}
    known = {*profile.layer_names, *profile.kept}
    problems = []
    if extra := [name for name in (*profile.layer_names, *profile.kept) if name not in has]:
        problems.append(document.problem(("layers",), f"is of {profile.network}; {network.name} has no {_some(extra)}"))
    if lacking := [name for name in has if name not in known]:
        problems.append(
            document.problem(
                ("layers",),
                f"is of {profile.network}; lacks {_some(lacking)} of {network.name}: give their scores, or a width in 'kept'",
            )
        )
    found = sum(layer.G * layer.K * layer.C * layer.R * layer.S for layer in has.values() if layer.kind != "matmul")
    if not problems and weights is not None and found != weights:
        problems.append(
            document.problem(
                ("weights",), f"is of a network with {weights:,} weights; {network.name} has {found:,}: another network"
            )
        )
    if problems:
        raise InputError(document.source, problems)
    order = [profile.layer_names.index(name) for name in has if name in profile.layer_names]
    return replace(
        profile,
        layer_names=tuple(profile.layer_names[index] for index in order),
        measured_scores={name: scores[order] for name, scores in profile.measured_scores.items()},
    )


def _error_drops(file: ProfileFile, sign: float) -> dict[int, float]:
    assert file.error_tensor is not None
    drops: dict[int, float] = {}
    for width in sorted(file.error_tensor.widths):
        drops[width] = round(sign * (file.error_tensor.baseline - file.error_tensor.widths[width]), 9)
    return drops


def _assumptions(file: ProfileFile, unit: str) -> tuple[str, ...]:
    prediction = file.prediction
    sentences = [
        f"Accuracy: scores of {file.network} from {file.source} ({file.method}).",
        f"The drop is counted from {prediction.baseline_name} ({prediction.baseline:g}) in {unit}, "
        f"for {prediction.calibration} quantization.",
        "Widths without a measurement follow the 4^-bits law from the nearest measured one.",
    ]
    if operands_of(file) == ("both",):
        sentences.append(
            "Weight and activation were measured together and share one width; a plan with two widths counts the narrower."
        )
    if file.kept:
        kept = ", ".join(f"{name} at {width} bits" for name, width in file.kept.items())
        sentences.append(f"Not in the profile and kept as in its source: {kept}.")
    if file.error_tensor is not None:
        error = file.error_tensor
        sentences.append(
            f"Error tensor (assumption): network-level top-1 of {error.source}, counted from {error.baseline_name} "
            f"({error.baseline:g}) and added in full. {error.note}"
        )
    else:
        sentences.append("Nothing is known about the error tensor: below 32 bits its drop is unknown.")
    return (*sentences, *file.notes)


def _some(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
