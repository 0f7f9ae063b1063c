"""How sure a predicted loss of accuracy is: the errors of a predictor as a distribution, and limits kept with a probability.

The errors of points that were left out of the fit are normal around 0 with a standard deviation that has a floor (noise of
training, what no score foresees) and a share of the drop; both by maximum likelihood, and Student's t instead of the normal
distribution because few points tell them. For designs that a search picked the deviation is widened: see :data:`PICKED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dse.numbers import CONFIDENCE, EVEN
from dse.types import Floats

#: What ``robust`` means: of normal errors, the probability of no more than the mean absolute error, sqrt(2/pi) deviations.
ROBUST = 0.79
#: Fewest points for a share of the drop beside the floor; fewer tell one number only.
MIN_POINTS = 8
#: Largest deviation by the share at the largest drop over the floor: beyond it the floor would be unknown.
MOST_RATIO = 20.0
#: Factor on the deviation for designs that a search picked. A search goes where its predictor is optimistic (Smith & Winkler,
#: The optimizer's curse, Management Science 52(3), 2006), so that picked designs do worse than the points of the fit. Measured:
#: 24 designs that searches found for a network on Fashion-MNIST, trained with three seeds each, by :func:`picked_factor`
#: (``dse/studies/data/fashion_mnist/designs.csv``; a test computes it again). One small network: 1.1 to 1.8 in 90 % of its
#: resamples, 1.8 for its limits of 1 and 2 points, 1 for those of 3 and 4.
PICKED = 1.74


class Interval(NamedTuple):
    """A drop is at least ``low``, and at most ``high``, each with the confidence asked for."""

    low: float
    high: float


@dataclass(frozen=True)
class ErrorModel:
    """Errors of predicted drops.

    Attributes
    ----------
    floor
        Standard deviation at a drop of 0, in the unit of the drop; NaN where too few points tell it.
    share
        Growth of the standard deviation with the drop.
    freedom
        Degrees of freedom: points less fitted parameters, at least 1.
    """

    floor: float
    share: float
    freedom: int

    def deviation(self, drop: ArrayLike) -> Floats:
        """Standard deviation at predicted drops: ``sqrt(floor^2 + (share * drop)^2)``; a gain counts as 0."""
        return np.asarray(np.hypot(self.floor, self.share * np.maximum(np.asarray(drop, dtype=float), 0.0)))

    def margin(self, drop: ArrayLike, confidence: float, picked: bool = False) -> Floats:
        """By how much the measured drop exceeds a predicted one at most, with a probability of ``confidence`` (at least 0.5).

        Parameters
        ----------
        picked
            The design was picked by a search: the margin is :data:`PICKED` times as large.
        """
        factor = quantile(confidence, self.freedom) * (PICKED if picked else 1.0)
        # At even odds nothing is added, whatever is known of the errors.
        return np.zeros_like(np.asarray(drop, dtype=float)) if factor == 0.0 else factor * self.deviation(drop)

    def interval(self, drop: float, confidence: float, picked: bool = False) -> Interval:
        """Where the measured drop lies, each end with a probability of ``confidence``.

        What a search picked is widened upward only, for a search finds no designs that do better than predicted.
        """
        low, high = self.margin(drop, confidence), self.margin(drop, confidence, picked)
        return Interval(drop - float(low), drop + float(high))

    def allowed(self, limit: float, confidence: float) -> float:
        """Largest predicted drop of a picked design that keeps a limit; NaN where the errors are unknown.

        ``drop + margin(drop)`` rises with the drop, so that a limit on what is lost with some confidence is a limit on what is
        predicted. With k = t * PICKED the margin is ``k * hypot(floor, share * drop)``: a quadratic equation, whose smaller root
        it is.
        """
        factor = quantile(confidence, self.freedom) * PICKED
        if factor == 0.0:
            return limit
        if not limit > factor * self.floor:  # below 0 the deviation is the floor
            return limit - factor * self.floor
        grown = (factor * self.share) ** 2
        constant = limit**2 - (factor * self.floor) ** 2
        # (limit - d)^2 = (factor floor)^2 + grown d^2, in a form that holds for any sign of 1 - grown
        return constant / (limit + math.sqrt(max(limit**2 - (1.0 - grown) * constant, 0.0)))


def shown(confidence: float) -> float:
    """Confidence of the intervals beside drops: that of the limit, or the default where the limit is held at even odds."""
    return CONFIDENCE if confidence == EVEN else confidence


def quantile(confidence: float, freedom: int) -> float:
    """Quantile of Student's t; 0 at one half."""
    from scipy.stats import t

    return 0.0 if confidence == EVEN else float(t.ppf(confidence, freedom))


def fit_errors(predicted: ArrayLike, errors: ArrayLike, parameters: int) -> ErrorModel:
    """The error model of points that were left out of a fit, by maximum likelihood.

    For a given ratio of share to floor the best floor is a mean; the ratio is taken from a grid, 0 among it.

    Parameters
    ----------
    predicted, errors
        (n,) predicted drop of each point and its error.
    parameters
        Fitted parameters of the predictor.
    """
    drop, error = np.maximum(np.asarray(predicted, float), 0.0), np.asarray(errors, float)
    known = np.isfinite(drop) & np.isfinite(error)
    drop, error = drop[known], error[known]
    freedom = max(len(error) - parameters, 1)
    if len(error) < 2:
        return ErrorModel(math.nan, math.nan, freedom)
    top = float(drop.max())
    if len(error) < MIN_POINTS or top <= 0.0 or not error.any():
        return ErrorModel(float(np.sqrt((error**2).mean())), 0.0, freedom)
    ratios = np.append(0.0, np.geomspace(0.02, MOST_RATIO, 200)) / top
    grown = 1.0 + (ratios[:, None] * drop) ** 2
    floors = np.sqrt((error**2 / grown).mean(axis=1))
    likelihood = -len(error) * np.log(floors) - 0.5 * np.log(grown).sum(axis=1)
    best = int(likelihood.argmax())
    return ErrorModel(float(floors[best]), float(ratios[best] * floors[best]), freedom)


def picked_factor(excess: ArrayLike, deviation: ArrayLike, freedom: int, confidence: float = CONFIDENCE) -> float:
    """How much wider the errors of designs are that a search picked: the factor with which ``confidence`` of them keep a limit.

    Split conformal prediction (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005): of n designs the
    ceil((n + 1) confidence)-th smallest excess, in deviations, holds for a further one with at least that probability.

    Parameters
    ----------
    excess, deviation
        (n,) measured minus predicted drop of trained designs, and the standard deviation that the error model gives each.

    Returns
    -------
    At least 1; infinity where there are too few designs for the confidence.
    """
    ordered = np.sort(np.asarray(excess, float) / np.asarray(deviation, float))
    place = math.ceil((len(ordered) + 1) * confidence - 1e-9)
    return math.inf if place > len(ordered) else max(float(ordered[place - 1]) / quantile(confidence, freedom), 1.0)
