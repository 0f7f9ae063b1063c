"""Fit the loss law to measured runs, and say how well it foresees sizes, recipes and tokens that were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from dse.accuracy.law.recipe import Recipe
from dse.accuracy.law.rows import Run
from dse.accuracy.law.terms import Array, Parameters, excess, reference_loss

#: Spread of a measured loss about a smooth law, nat: what is left of BF16 runs (learning rates that were not tuned for each length
#: and size), and of excesses, where that cancels: a floor and a share of the excess.
LOSS_SPREAD, EXCESS_SPREAD, EXCESS_SHARE = 0.004, 0.0015, 0.02


@dataclass(frozen=True)
class Prior:
    """Where a parameter starts and how far it may go, as a Gaussian: (mean, standard deviation)."""

    mean: float
    sd: float


#: Published laws: Hoffmann et al. (E 1.69, alpha .34, beta .28; arXiv 2203.15556), Besiroglu et al. (1.82, .348, .366;
#: 2404.10102), Muennighoff et al. on C4 (1.87, .353, .353; 2305.16264): about their mean, and more than twice their spread. Of the
#: rest, orders of magnitude.
BASE_PRIORS = {
    "irreducible": Prior(1.8, 0.2),
    "log_a": Prior(-0.3, 3.0),
    "alpha": Prior(0.35, 0.07),
    "log_b": Prior(-1.0, 3.0),
    "beta": Prior(0.35, 0.07),
    "gamma": Prior(0.7, 0.35),
}
#: Amplitudes and exponents of the excess are free within orders of magnitude; corrections of features are small, because the noise
#: of the format already says most.
EXCESS_PRIORS = {
    "forward": Prior(-2.7, 1.0),
    "forward_size": Prior(0.2, 0.1),
    "forward_tokens": Prior(-1.5, 1.5),
    "forward_growth": Prior(0.6, 0.3),
    "share_weight": Prior(0.0, 0.7),
    "share_gradient": Prior(0.0, 0.7),
    "again": Prior(0.5, 0.5),
    "bias_size": Prior(0.0, 0.2),
    "bias_tokens": Prior(0.15, 0.15),
    "noise_tokens": Prior(0.35, 0.1),
}
#: Where a formula ends; the priors keep the rest in place.
BOUNDS = {"gamma": (0.05, np.inf), "again": (0.0, 1.0)}
KIND_PRIOR = Prior(-6.0, 1.5)
FEATURE_PRIOR = Prior(0.0, 0.15)


@dataclass(frozen=True)
class Fit:
    """Parameters by name, their standard errors, and the covariance in the order of the names."""

    values: dict[str, float]
    errors: dict[str, float]
    covariance: NDArray[np.float64]


def fit_reference(runs: Sequence[Run], start: Parameters | None = None) -> Fit:
    """The law of BF16 from runs without low precision; ``start``: where to begin, such as a fit to nearly the same runs."""
    chosen = [run for run in runs if run.recipe == Recipe()]
    parameters, tokens, loss = (
        np.array([getattr(run, name) for run in chosen]) for name in ("parameters", "tokens", "loss")
    )

    def residuals(values: Parameters) -> Array:
        return np.asarray((reference_loss(values, parameters, tokens) - loss) / LOSS_SPREAD)

    return _fit(BASE_PRIORS, residuals, start)


def fit_excess(runs: Sequence[Run], start: Parameters | None = None) -> Fit:
    """What low-precision products add, from the excesses of the other runs; ``start`` as in :func:`fit_reference`."""
    chosen = [run for run in runs if run.recipe is not None and run.recipe != Recipe() and np.isfinite(run.excess)]
    recipes = list(dict.fromkeys(run.recipe for run in chosen if run.recipe is not None))
    members = [np.array([index for index, run in enumerate(chosen) if run.recipe == recipe]) for recipe in recipes]
    parameters, tokens, measured = (
        np.array([getattr(run, name) for run in chosen]) for name in ("parameters", "tokens", "excess")
    )
    spread = EXCESS_SPREAD + EXCESS_SHARE * np.abs(measured)

    def residuals(values: Parameters) -> Array:
        rows = np.broadcast_shapes(np.shape(values["forward"]), parameters.shape)
        found = np.zeros(rows)
        for recipe, at in zip(recipes, members, strict=True):
            found[..., at] = excess(values, recipe, parameters[at], tokens[at])
        return np.asarray((found - measured) / spread)

    return _fit(excess_priors(recipes), residuals, start)


def excess_priors(recipes: Sequence[Recipe]) -> dict[str, Prior]:
    """Priors of all parameters that some recipes need."""
    kinds = dict.fromkeys(
        side.rounding for recipe in recipes for side in (recipe.data, recipe.gradient) if not side.exact
    )
    sides = [side for recipe in recipes for side in (recipe.forward, recipe.data, recipe.gradient)]
    features = dict.fromkeys(name for side in sides for name in side.features)
    return (
        EXCESS_PRIORS
        | {f"bias_{kind}": KIND_PRIOR for kind in kinds}
        | {f"noise_{kind}": KIND_PRIOR for kind in kinds}
        | {f"feature_{name}": FEATURE_PRIOR for name in features}
    )


def _fit(priors: dict[str, Prior], residuals: Callable[[Parameters], Array], start: Parameters | None) -> Fit:
    """Least squares with Gaussian priors; errors from the curvature, scaled up where the residuals are larger than assumed."""
    names = list(priors)
    mean, sd = (np.array([getattr(priors[name], part) for name in names]) for part in ("mean", "sd"))
    low, high = (np.array([BOUNDS.get(name, (-np.inf, np.inf))[side] for name in names]) for side in (0, 1))

    def all_residuals(x: Array) -> Array:
        """(..., residual) of (..., parameter)."""
        columns = dict(zip(names, np.moveaxis(x[..., None], -2, 0), strict=True))
        return np.concatenate([residuals(columns), (x - mean) / sd], axis=-1)

    def slopes(x: Array) -> Array:
        steps = np.where(x + 1e-6 * sd < high, 1e-6, -1e-6) * sd
        return np.asarray((all_residuals(x + np.diag(steps)) - all_residuals(x)).T / steps)

    begin = mean if start is None else np.array([start.get(name, priors[name].mean) for name in names])
    begin = np.clip(begin, low + 1e-6, high - 1e-6)
    # A run that nearly diverged must not bend the law: residuals beyond three spreads count less than their square.
    found = least_squares(
        all_residuals, begin, slopes, bounds=(low, high), x_scale=sd, loss="soft_l1", f_scale=3.0, max_nfev=200
    )
    count = len(found.fun) - len(names)
    scale = max(1.0, float(np.square(found.fun[:count]).sum()) / max(count - len(names), 1))
    jacobian = slopes(found.x)
    covariance = np.asarray(np.linalg.inv(jacobian.T @ jacobian) * scale, dtype=np.float64)
    values = dict(zip(names, found.x.tolist(), strict=True))
    return Fit(values, dict(zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True)), covariance)


@dataclass(frozen=True)
class Judged:
    """Runs that were left out while the law was fitted to the rest, foreseen minus measured, nat.

    Attributes
    ----------
    out
        What was left out.
    loss, excess
        Errors of the runs left out; ``excess`` of those in low precision.
    measured
        Their measured excess.
    """

    out: str
    loss: Array
    excess: Array
    measured: Array


def leave_out(runs: Sequence[Run], groups: Sequence[str], reference: Fit, added: Fit) -> list[Judged]:
    """Foresee each group of runs from a law that was fitted without it.

    A rounding of backward products that no other group has cannot be foreseen: such runs are left out of the answer.

    Parameters
    ----------
    groups
        One word per run.
    reference, added
        Fits to all runs, where the search of each fit begins.
    """
    found = []
    for group in dict.fromkeys(groups):
        inside = [run for run, word in zip(runs, groups, strict=True) if word == group and run.recipe is not None]
        rest = [run for run, word in zip(runs, groups, strict=True) if word != group]
        plain = all(run.recipe == Recipe() for run in inside)
        low = added if plain else fit_excess(rest, added.values)
        base = fit_reference(rest, reference.values)
        inside = [run for run in inside if run.recipe is not None and knows(low.values, run.recipe)]
        if inside:
            found.append(judge(group, inside, base.values, low.values))
    return found


def knows(values: Parameters, recipe: Recipe) -> bool:
    """Whether the kinds of rounding of a recipe's backward products have parameters."""
    return all(side.exact or f"bias_{side.rounding}" in values for side in (recipe.data, recipe.gradient))


def judge(out: str, runs: Sequence[Run], reference: Parameters, added: Parameters) -> Judged:
    """Errors of a law on runs that it knows the recipes of."""
    base = np.array([float(reference_loss(reference, np.array(run.parameters), np.array(run.tokens))) for run in runs])
    more = np.array(
        [
            float(excess(added, run.recipe, np.array(run.parameters), np.array(run.tokens))) if run.recipe else np.nan
            for run in runs
        ]
    )
    loss, measured = np.array([run.loss for run in runs]), np.array([run.excess for run in runs])
    low = np.array([run.recipe != Recipe() for run in runs]) & np.isfinite(measured)
    return Judged(out, base + more - loss, (more - measured)[low], measured[low])
