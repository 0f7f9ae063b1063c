"""How well predictors do where the answer is known: points left out of the fit, and ranks at equal mean width.

A predictor is easily flattered: of random plans, those with more bits are better, and counting bits ranks them. What is
asked of a score is the order of plans that have the same bits, so :func:`partial_rank_correlation` takes the ranks of the
mean widths out of both sides first: counting bits then has nothing left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dse.accuracy import predictor
from dse.accuracy.profiles.loading import load_profile
from dse.accuracy.profiles.profile import Profile
from dse.errors import InputError
from dse.types import Floats

if TYPE_CHECKING:
    import pandas as pd

#: Extremes and a plan in the middle of the searched ones: the same three that are known of ResNet-50.
HAWQ_FIT = ("uniform8", "uniform4", "bops_0.5")


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


def hold_out(profile: Profile, fitted: Sequence[str], link: str | None = None) -> pd.DataFrame:
    """Fit a link to some measured points and predict all the others.

    Parameters
    ----------
    fitted
        Names of the points to fit.
    link
        Another link than the profile's.

    Returns
    -------
    DataFrame with ``source, quantity, published, ours, error, unit, noise, in_range``; published and ours are values of the
    predicted quantity (such as top-1 in %), error = ours - published.

    Raises
    ------
    InputError
        A name is no measured point, or too few to fit.
    """
    import pandas as pd

    unknown = [name for name in fitted if name not in profile.point_names]
    if unknown:
        raise InputError(
            profile.path, [f"'{unknown[0]}' is no measured point; known: {', '.join(profile.point_names)}"]
        )
    name = link or profile.link
    known = np.array([point in fitted for point in profile.point_names])
    parameters = predictor.fit_link(name, profile.point_scores[known], profile.point_drops[known])
    drops = predictor.predict(name, parameters, profile.point_scores[~known])
    sign = -1.0 if profile.quantity == "top1" else 1.0
    published = profile.baseline + sign * profile.point_drops[~known]
    ours = profile.baseline + sign * drops
    label = {"top1": "top-1", "kl": "KL divergence", "loss": "loss"}[profile.quantity]
    return pd.DataFrame(
        {
            "source": profile.source.split(":")[0].split(",")[0],
            "quantity": [
                f"{profile.network} {label}, {point}"
                for point, fit in zip(profile.point_names, known, strict=True)
                if not fit
            ],
            "published": published,
            "ours": ours,
            "error": ours - published,
            "unit": profile.unit,
            "noise": profile.noise,
            "in_range": profile.point_scores[~known] <= profile.point_scores[known].max(),
        }
    )


def rank_correlation(predicted: ArrayLike, measured: ArrayLike, resamples: int = 2000, seed: int = 0) -> Interval:
    """Spearman's rank correlation with a bootstrap interval over plans."""
    return partial_rank_correlation(predicted, measured, np.zeros((len(np.asarray(measured)), 0)), resamples, seed)


def partial_rank_correlation(
    predicted: ArrayLike, measured: ArrayLike, controls: ArrayLike, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Spearman's rank correlation of what the controls do not explain, with a bootstrap interval over plans.

    The ranks of both sides are regressed on the ranks of the controls and the residuals correlated (Conover, Practical
    Nonparametric Statistics, 1999: partial rank correlation).

    Parameters
    ----------
    predicted, measured
        (n,)
    controls
        (n, k), such as mean weight width and mean activation width; k = 0 gives Spearman's rank correlation.
    """
    columns = np.column_stack([np.asarray(predicted, float), np.asarray(measured, float), np.asarray(controls, float)])
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, len(columns), size=(resamples, len(columns)))
    values = np.array([_partial(columns[pick]) for pick in picks])
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)
    return Interval(_partial(columns), float(low), float(high))


class Counting(NamedTuple):
    """Scores beside counting bits on a profile's measured points.

    Attributes
    ----------
    scores, bits
        Spearman's rank correlation of summed scores, and of mean widths (fewer bits rank higher), with the measured drops.
    gain
        The first less the second, over the same resamples.
    scores_error, bits_error
        Mean absolute leave-one-out error inside the range, the same link fitted to either, in the unit of the drop.
    """

    scores: Interval
    bits: Interval
    gain: Interval
    scores_error: float
    bits_error: float

    @property
    def as_good(self) -> bool:
        """Whether the points do not tell the scores from counting: the interval of the gain holds 0 or less."""
        return not self.gain.low > 0.0


def against_counting(profile: Profile, resamples: int = 300, seed: int = 0) -> Counting | None:
    """Whether a profile's scores foresee its points better than the mean widths of their maps do; None with fewer than five.

    Scores of points that factors were fitted to are taken as measured layer by layer, so that neither side saw the drops.
    """
    drops, count = profile.point_drops, len(profile.point_drops)
    if not profile.link or count < 5:
        return None
    plain = profile.point_layer_scores.sum(axis=1)
    saved = profile.point_mean_bits.max() - profile.point_mean_bits
    picks = np.random.default_rng(seed).integers(0, count, size=(resamples, count))
    drawn = np.array([[_partial(np.column_stack([side, drops])[pick]) for side in (plain, saved)] for pick in picks])
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    whole = [_partial(np.column_stack([side, drops])) for side in (plain, saved)]
    values = [*whole, whole[0] - whole[1]]
    samples = [drawn[:, 0], drawn[:, 1], drawn[:, 0] - drawn[:, 1]]
    ends = [np.percentile(sample, [2.5, 97.5]) if len(sample) else (np.nan, np.nan) for sample in samples]
    three = [Interval(value, float(low), float(high)) for value, (low, high) in zip(values, ends, strict=True)]
    errors = []
    for side in (plain, saved):
        # The same power of the score stands for every link: a mean width has no scale of its own.
        missed = np.abs(predictor.leave_one_out("power", side, drops))[predictor.in_range(plain)]
        errors.append(float(missed.mean()))
    return Counting(three[0], three[1], three[2], errors[0], errors[1])


def counting_note(profile: Profile) -> str:
    """A sentence on scores against counting bits; with too few points by those of the profile whose errors it takes, else empty."""
    found = against_counting(profile)
    if found is None and profile.errors_of and profile.link:
        other = counting_note(load_profile(profile.errors_of))
        few = (
            f"{len(profile.point_drops)} measured plans of {profile.network} do not tell its scores from counting bits"
        )
        return f"{few}; of {profile.errors_of}, same source and method: {other}" if other else ""
    if found is None:
        return ""
    ranks = (
        f"ranks of {len(profile.point_drops)} measured plans: scores {found.scores.value:.2f} ({found.scores.low:.2f} to "
        f"{found.scores.high:.2f}), counting bits {found.bits.value:.2f} ({found.bits.low:.2f} to {found.bits.high:.2f}); left-out "
        f"plans are missed by {found.scores_error:.2f} and {found.bits_error:.2f} {profile.unit}"
    )
    if found.as_good:
        return f"Counting bits foresees as well as the profile's scores, as far as its points can tell ({ranks})."
    return f"The profile's scores foresee better than counting bits ({ranks})."


def validation() -> pd.DataFrame:
    """Figures of this room for ``dse validate``: ResNet-18 predicted from three of HAWQ-V3's eleven points."""
    return hold_out(load_profile("imagenet_resnet"), HAWQ_FIT)


def _partial(columns: Floats) -> float:
    """Correlation of the first two columns' ranks, with the other columns' ranks regressed out; NaN if one is constant."""
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(columns, axis=0))
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    first, second = (ranks[:, :2] - design @ np.linalg.lstsq(design, ranks[:, :2], rcond=None)[0]).T
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 1e-9 * len(ranks) else float("nan")
