"""Which hardware parameter moves which objective: Sobol indices of the model itself, over the whole space.

Indices of first order say which share of an objective's variance a parameter explains alone, total ones with all its interactions
(Saltelli et al., "Variance based sensitivity analysis of model output", Computer Physics Communications 181, 2010, in
:func:`scipy.stats.sobol_indices`). The bit map stays that of the default design, so that hardware is compared and nothing else;
objectives enter as logarithms, so that a factor counts as much at either end of the space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dse.search.bits.problem import SearchProblem
from dse.search.loop.screen import screened_objectives, surrogate
from dse.types import Floats

#: Base samples; (parameters + 2) times as many designs are evaluated. A power of two, which the Sobol sequence needs.
SAMPLES = 128


class _Uniform:
    """Uniform between 0 and 1, in the form that :func:`scipy.stats.sobol_indices` takes."""

    def ppf(self, share: Any) -> Any:
        """Quantile of a share."""
        return share


def sensitivity(problem: SearchProblem, seed: int, samples: int = SAMPLES) -> pd.DataFrame:
    """Sobol indices of every objective and hardware parameter.

    Returns
    -------
    ``objective, parameter, first_order, total_order``, largest total first within an objective; empty for hardware without a
    space. A design that is infeasible counts as the worst feasible one. Indices are estimates from ``samples`` base samples: small
    ones may come out below 0.
    """
    # Half a second, which no worker of a search and no command but explore needs.
    from scipy.stats import sobol_indices

    columns = ["objective", "parameter", "first_order", "total_order"]
    names = [parameter.name for parameter in problem.hardware.space]
    if not names:
        return pd.DataFrame(columns=columns)
    sizes = np.array([len(parameter.values) for parameter in problem.hardware.space])
    evaluate = surrogate(problem)

    def logarithms(shares: Floats) -> Floats:
        points = np.minimum((shares.T * sizes).astype(np.int64), sizes - 1)
        distinct, place = np.unique(points, axis=0, return_inverse=True)
        values = evaluate(distinct)[place.reshape(-1)]
        finite = np.isfinite(values)
        worst = np.where(finite, values, -np.inf).max(axis=0)
        return np.asarray(np.log(np.where(finite, values, np.where(np.isfinite(worst), worst, 1.0))).T)

    found = sobol_indices(func=logarithms, n=samples, dists=[_Uniform()] * len(names), rng=np.random.default_rng(seed))
    # Axes of length 1 are left out of what scipy gives, for one objective or one parameter.
    first = np.reshape(found.first_order, (-1, len(names)))
    total = np.reshape(found.total_order, (-1, len(names)))
    rows = [
        (objective, name, float(first[o, k]), float(total[o, k]))
        for o, objective in enumerate(item.column for item in screened_objectives())
        for k, name in sorted(enumerate(names), key=lambda item: -total[o, item[0]])
    ]
    return pd.DataFrame(rows, columns=columns)
