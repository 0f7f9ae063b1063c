"""From the summed score of a plan to its loss of accuracy: rival links side by side, chosen by their error.

A link is a monotone function of the summed score S with few parameters, fitted to measured whole-network points. Scores
add, accuracy does not: damage saturates, which is why a straight line fails far from the points it was fitted to.
:func:`compare_links` fits every link and leaves out each point in turn; the choice between links is that table's, and a
profile names the link that won it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dse.errors import InputError
from dse.types import Bools, Floats

if TYPE_CHECKING:
    import pandas as pd


def linear(score: ArrayLike, slope: float) -> Floats:
    """``slope * S``: damage adds without end.

    >>> float(linear(2.0, 3.0))
    6.0
    """
    return np.asarray(slope * np.asarray(score, dtype=float))


def power(score: ArrayLike, scale: float, exponent: float) -> Floats:
    """``scale * S^exponent``.

    >>> float(power(4.0, 3.0, 0.5))
    6.0
    """
    return np.asarray(scale * np.asarray(score, dtype=float) ** exponent)


def saturating(score: ArrayLike, ceiling: float, half: float) -> Floats:
    """``ceiling * S / (S + half)``: linear for small S, half the ceiling at ``S = half``.

    >>> float(saturating(2.0, 10.0, 2.0))
    5.0
    """
    score = np.asarray(score, dtype=float)
    # A score of 0 is no drop, also where half is 0.
    return np.asarray(np.divide(ceiling * score, score + half, out=np.zeros_like(score), where=score != 0.0))


def saturating_with_offset(score: ArrayLike, ceiling: float, half: float, offset: float) -> Floats:
    """:func:`saturating` plus a constant: what quantizing costs before any width is reduced.

    >>> float(saturating_with_offset(2.0, 10.0, 2.0, -1.0))
    4.0
    """
    return saturating(score, ceiling, half) + offset


def hill(score: ArrayLike, ceiling: float, half: float, exponent: float) -> Floats:
    """``ceiling * S^n / (S^n + half^n)`` (Hill, J. Physiol. 40, 1910): :func:`saturating` with a steepness n.

    >>> float(hill(2.0, 10.0, 2.0, 3.0))
    5.0
    """
    score = np.asarray(score, dtype=float) ** exponent
    with np.errstate(over="ignore"):  # half the ceiling beyond every float: no drop
        middle = np.power(float(half), float(exponent))
    return np.asarray(ceiling * score / (score + middle))


@dataclass(frozen=True)
class Link:
    """A link's function with the order of its parameters; bounds are in units of the largest drop and largest score.

    Attributes
    ----------
    function
        ``function(scores, *parameters)``; monotone within the bounds.
    units
        Per parameter: ``drop``, ``score``, ``drop/score`` or ``1``; the fit works on data scaled to 1.
    starts
        Starting points of the fit, each one value per parameter.
    lower, upper
        Bounds, one value per parameter.
    """

    function: Callable[..., Floats]
    units: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


#: A fit that runs away stays within what a float holds: exp(700) is 1e304.
LARGEST_EXPONENT = 700.0

LINKS = {
    "linear": Link(linear, ("drop/score",), ((1.0,),), (0.0,), (1e4,)),
    "power": Link(power, ("drop/score^n", "1"), ((1.0, 0.5), (1.0, 1.0)), (0.0, 0.05), (1e4, 5.0)),
    "saturating": Link(saturating, ("drop", "score"), ((1.2, 0.2), (2.0, 1.0), (10.0, 10.0)), (0.0, 1e-6), (1e3, 1e3)),
    "saturating_with_offset": Link(
        saturating_with_offset,
        ("drop", "score", "drop"),
        ((1.2, 0.2, 0.0), (2.0, 1.0, 0.0), (10.0, 10.0, 0.0)),
        (0.0, 1e-6, -1.0),
        (1e3, 1e3, 1.0),
    ),
    "hill": Link(
        hill,
        ("drop", "score", "1"),
        ((1.2, 0.2, 1.0), (2.0, 1.0, 1.0), (10.0, 10.0, 0.8)),
        (0.0, 1e-6, 0.1),
        (1e3, 1e3, 5.0),
    ),
}


def fit_link(name: str, scores: ArrayLike, drops: ArrayLike) -> tuple[float, ...]:
    """Parameters of a link by least squares on measured points; deterministic.

    Data are scaled to 1 first, so that the fit is the same in any unit of score and drop.

    Parameters
    ----------
    scores, drops
        (n,) summed score and measured drop of each point.

    Raises
    ------
    InputError
        Unknown link, points that are not finite, fewer points than the link has parameters, or no damage in any point.
    """
    from scipy.optimize import least_squares

    link = _link(name)
    score, drop = _points(scores, drops)
    if len(score) < len(link.units):
        raise InputError(name, [f"expected at least {len(link.units)} measured points to fit, got {len(score)}"])
    score_unit, drop_unit = float(score.max()), float(np.abs(drop).max())
    if score_unit <= 0.0 or drop_unit <= 0.0:
        raise InputError(
            name, ["at least one measured point has to have a score and a drop other than 0; measure narrower plans"]
        )
    scaled_score, scaled_drop = score / score_unit, drop / drop_unit

    def misses(parameters: Floats) -> Floats:
        return link.function(scaled_score, *parameters) - scaled_drop

    bounds, exact = (link.lower, link.upper), 1e-12
    fits = [least_squares(misses, start, bounds=bounds, xtol=exact, ftol=exact, gtol=exact) for start in link.starts]
    best = min(fits, key=lambda fit: float(fit.cost)).x
    exponent = float(best[-1]) if "drop/score^n" in link.units else 1.0
    unit = {
        "drop": drop_unit,
        "score": score_unit,
        "1": 1.0,
        "drop/score": drop_unit / score_unit,
        "drop/score^n": drop_unit / score_unit**exponent,
    }
    return tuple(float(value) * unit[kind] for value, kind in zip(best, link.units, strict=True))


def fit_factors(
    name: str, contributions: ArrayLike, drops: ArrayLike, spread: float
) -> tuple[tuple[float, ...], Floats]:
    """Parameters of a link together with a correction factor per layer.

    One score per layer, measured alone on few images, misses what measured whole plans know: which layers matter more
    together. The factors are the most probable ones if their logarithms are normal around 0 (most within ``spread`` times
    more or less) and the misses of the plain fit are noise: the least sum of squared misses over their variance plus squared
    logarithms over ``ln(spread)^2``. Scores stay sums over layers.

    Parameters
    ----------
    contributions
        (n, L) score of each layer in each measured point; their sum is the point's score.
    drops
        (n,)
    spread
        > 1; one standard deviation of the factors.

    Returns
    -------
    Parameters of the link and (L,) factors.
    """
    from scipy.optimize import least_squares

    parts, drop = np.asarray(contributions, dtype=float), np.asarray(drops, dtype=float)
    plain = np.array(fit_link(name, parts.sum(axis=1), drop))
    count = len(plain)
    misses = predict(name, plain, parts.sum(axis=1)) - drop
    noise = 1e-3 * float(np.abs(drop).max())  # no measurement is finer; without noise the factors would be free
    variance = max(float((misses**2).sum()) / max(1, len(drop) - count), noise**2)
    weight = np.sqrt(variance) / np.log(spread)
    link = _link(name)
    moved = [index for index, value in enumerate(plain) if value > 0.0]

    def parameters_of(values: Floats) -> Floats:
        parameters = plain.copy()
        parameters[moved] *= np.exp(np.minimum(values[: len(moved)], LARGEST_EXPONENT))
        return parameters

    def residuals(values: Floats) -> Floats:
        logs = values[len(moved) :]
        found = link.function(parts @ np.exp(logs), *parameters_of(values))
        return np.concatenate([found - drop, weight * logs])

    def slopes(values: Floats) -> Floats:
        step = 1e-6
        weighted = parts * np.exp(values[len(moved) :])
        score, parameters = weighted.sum(axis=1), parameters_of(values)
        by_score = (link.function(score * (1 + step), *parameters) - link.function(score * (1 - step), *parameters)) / (
            2 * step * np.maximum(score, 1e-300)
        )
        result = np.zeros((len(drop) + parts.shape[1], len(values)))
        for column in range(len(moved)):
            shifted = np.zeros(len(values))
            shifted[column] = step
            above, below = (link.function(score, *parameters_of(values + side * shifted)) for side in (1, -1))
            result[: len(drop), column] = (above - below) / (2 * step)
        result[: len(drop), len(moved) :] = by_score[:, None] * weighted
        result[len(drop) :, len(moved) :] = weight * np.eye(parts.shape[1])
        return result

    fit = least_squares(residuals, np.zeros(len(moved) + parts.shape[1]), slopes, method="lm")
    return tuple(float(value) for value in parameters_of(fit.x)), np.exp(fit.x[len(moved) :])


def predict(name: str, parameters: Sequence[float] | Floats, scores: ArrayLike) -> Floats:
    """Drop that a fitted link predicts, without regard to its calibrated range."""
    return _link(name).function(scores, *parameters)


def leave_one_out(name: str, scores: ArrayLike, drops: ArrayLike, spread: float | None = None) -> Floats:
    """Signed error (predicted - measured) of each point, predicted from all the others.

    Parameters
    ----------
    scores
        (n,) summed scores, or (n, L) contributions of the layers if there is a spread.
    spread
        As in :func:`fit_factors`; None: no factors.

    Returns
    -------
    (n,) array; NaN if the remaining points are fewer than the link's parameters.
    """
    parts = np.asarray(scores, dtype=float)
    score, drop = _points(parts if parts.ndim == 1 else parts.sum(axis=1), drops)
    errors = np.full(len(score), np.nan)
    if len(score) <= len(_link(name).units):
        return errors
    for index in range(len(score)):
        rest = np.arange(len(score)) != index
        if not drop[rest].any() or not score[rest].any():
            # Only the point left out lost anything: the others tell of no damage.
            errors[index] = -drop[index]
            continue
        if spread is None:
            parameters, left_out = fit_link(name, score[rest], drop[rest]), float(score[index])
        else:
            parameters, factors = fit_factors(name, parts[rest], drop[rest], spread)
            left_out = float(parts[index] @ factors)
        errors[index] = float(predict(name, parameters, left_out)) - drop[index]
    return errors


def in_range(scores: ArrayLike) -> Bools:
    """Which points stay inside the calibrated range when they are left out: all but the largest score.

    Leaving out the largest score asks for an extrapolation, which the predictor refuses to make in use.
    """
    score = np.asarray(scores, dtype=float)
    others = np.array([np.delete(score, index).max(initial=-np.inf) for index in range(len(score))])
    return np.asarray(score <= others)


def compare_links(scores: ArrayLike, drops: ArrayLike) -> pd.DataFrame:
    """Every link on the same points, best first.

    Ordered by the root-mean-square leave-one-out error: a limit is broken by the large misses, which a mean absolute
    error hides.

    Returns
    -------
    DataFrame indexed by link with ``parameters`` (a tuple), ``fit_error`` (mean absolute), ``loo_error`` (mean absolute),
    ``loo_rms``, ``loo_worst`` (largest absolute) and ``loo_error_in_range`` (mean absolute, see :func:`in_range`), in the
    unit of the drops.
    """
    import pandas as pd

    score, drop = _points(scores, drops)
    inside = in_range(score)
    rows = []
    for name, link in LINKS.items():
        if len(score) < len(link.units):
            continue
        parameters = fit_link(name, score, drop)
        errors = np.abs(leave_one_out(name, score, drop))
        rows.append(
            {
                "link": name,
                "parameters": parameters,
                "fit_error": float(np.abs(predict(name, parameters, score) - drop).mean()),
                "loo_error": float(errors.mean()),
                "loo_rms": float(np.sqrt((errors**2).mean())),
                "loo_worst": float(errors.max()),
                "loo_error_in_range": float(errors[inside].mean()) if inside.any() else float("nan"),
            }
        )
    return pd.DataFrame(rows).set_index("link").sort_values("loo_rms", kind="stable", na_position="last")


def _link(name: str) -> Link:
    if name not in LINKS:
        raise InputError(name, [f"'{name}' is no link; known: {', '.join(LINKS)}"])
    return LINKS[name]


def _points(scores: ArrayLike, drops: ArrayLike) -> tuple[Floats, Floats]:
    score, drop = np.asarray(scores, dtype=float), np.asarray(drops, dtype=float)
    if score.ndim != 1 or score.shape != drop.shape:
        raise InputError("points", [f"expected as many drops as scores, got shapes {score.shape} and {drop.shape}"])
    if not (np.isfinite(score).all() and np.isfinite(drop).all()):
        raise InputError("points", ["expected finite scores and drops"])
    if (score < 0.0).any():
        raise InputError("points", ["a summed score cannot be negative"])
    return score, drop
