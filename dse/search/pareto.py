"""Pareto fronts, hypervolume and knee; all objectives are minimized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import moocore
import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.errors import InputError
from dse.yaml_input import suggest

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def pareto_mask(values: npt.ArrayLike) -> Bools:
    """Mask of the rows that no other row dominates.

    Parameters
    ----------
    values
        (n, k), minimized. A row with NaN is never on the front; of equal rows the first is kept.

    >>> pareto_mask([[1, 2], [2, 1], [2, 2], [1, 2]]).tolist()
    [True, True, False, False]
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"expected an array of shape (n, k), got {points.shape}")
    mask = np.zeros(len(points), dtype=bool)
    sound = np.flatnonzero(~np.isnan(points).any(axis=1))
    if len(sound) and points.shape[1]:
        # The library compares numbers; infinities become the largest number, which keeps every order.
        finite = np.nan_to_num(points[sound], posinf=np.finfo(float).max, neginf=-np.finfo(float).max)
        mask[sound] = moocore.is_nondominated(finite, keep_weakly=False)
    return mask


@overload
def pareto_front(designs: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame: ...


@overload
def pareto_front(designs: npt.NDArray[np.float64], objectives: None = None) -> npt.NDArray[np.float64]: ...


def pareto_front(designs: pd.DataFrame | Floats, objectives: Sequence[str] | None = None) -> pd.DataFrame | Floats:
    """Rows that no other row dominates, in their order; all objectives are minimized.

    Parameters
    ----------
    designs
        A DataFrame with the columns ``objectives``, or an (n, k) array of objectives.
    objectives
        Names of columns, such as ``["latency_s", "energy_j"]``; for a DataFrame only.

    Raises
    ------
    InputError
        A column that the table lacks.
    """
    if not isinstance(designs, pd.DataFrame):
        return np.asarray(designs)[pareto_mask(designs)]
    names = list(objectives or [])
    missing = [f"no column '{name}'{suggest(name, designs.columns)}" for name in names if name not in designs]
    if missing or not names:
        raise InputError("pareto_front", missing or ["name at least one column as objective"])
    return designs[pareto_mask(designs[names].to_numpy(dtype=np.float64))]


def hypervolume(values: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume that a set of points dominates below a reference point; exact.

    Parameters
    ----------
    values
        (n, k), minimized; points that are not below the reference in every objective add nothing.
    reference
        (k,)
    """
    points = np.asarray(values, dtype=np.float64)
    limit = np.asarray(reference, dtype=np.float64)
    inside = points[(points < limit).all(axis=1)] if len(points) else points
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(limit[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=limit))


def knee(values: npt.ArrayLike) -> int:
    """Index of the point nearest to the ideal point, each objective scaled to its range over the points (first of equals).

    The compromise of Zeleny (Compromise programming, 1973) with the Euclidean norm.
    """
    points = np.asarray(values, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    return int(np.argmin((scaled**2).sum(axis=1)))
