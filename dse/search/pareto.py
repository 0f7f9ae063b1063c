"""Fronts of many points: who is non-dominated, how much a front covers, where its knee is.

The heavy lifting is done by moocore (Kung, Luccio & Preparata, "On finding the maxima of a set of vectors", J. ACM 22(4),
1975, for the front; Fonseca, Paquete & Lopez-Ibanez, CEC 2006, for the hypervolume).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from dse.errors import InputError, Problem
from dse.goals import knee as knee
from dse.types import Bools, Floats
from dse.yaml_input import suggest

if TYPE_CHECKING:
    import pandas as pd


SENSES = ("min", "max")


@overload
def pareto_front(
    designs: pd.DataFrame, objectives: Sequence[str] | None = None, senses: str | Sequence[str] = "min"
) -> pd.DataFrame: ...


@overload
def pareto_front(
    designs: npt.ArrayLike, objectives: Sequence[int] | None = None, senses: str | Sequence[str] = "min"
) -> Floats: ...


def pareto_front(
    designs: pd.DataFrame | npt.ArrayLike,
    objectives: Sequence[str] | Sequence[int] | None = None,
    senses: str | Sequence[str] = "min",
) -> pd.DataFrame | Floats:
    """Rows that no other row dominates, in their order, with all their columns; exact.

    A row is dominated when another is at least as good in every objective and better in one. Of equal rows the first stays.
    A row with a NaN in an objective is never on the front; infinities compare like numbers.

    Parameters
    ----------
    designs
        DataFrame, or (n, columns) array.
    objectives
        Names of columns of the DataFrame, or indices of columns of the array; all columns where left out.
    senses
        ``"min"`` or ``"max"``, one for all objectives or one for each.

    Returns
    -------
    The same kind as ``designs``; :func:`pareto_mask` gives the mask instead.

    Raises
    ------
    InputError
        Unknown objective, values that are no numbers, wrong shape, or unknown sense.

    Examples
    --------
    >>> pareto_front([[1, 3], [2, 2], [2, 2], [3, 3]]).tolist()
    [[1.0, 3.0], [2.0, 2.0]]
    """
    import pandas as pd

    values = _columns(designs, objectives)
    mask = pareto_mask(values, senses)
    if isinstance(designs, pd.DataFrame):
        return designs[mask]
    return np.asarray(designs, dtype=np.float64)[mask] if len(mask) else values


def pareto_mask(values: npt.ArrayLike, senses: str | Sequence[str] = "min") -> Bools:
    """Mask (n,) of the non-dominated rows of (n, k) values: the first of equal rows, never one with a NaN.

    Examples
    --------
    >>> pareto_mask([[1, 3], [2, 2], [2, 2], [3, 3]]).tolist()
    [True, True, False, False]
    >>> pareto_mask([[1, 3], [2, 2]], senses=["min", "max"]).tolist()
    [True, False]
    """
    import moocore

    points = _columns(values, None)
    points = points * _signs(senses, points.shape[1])
    mask = np.zeros(len(points), dtype=np.bool_)
    rows = np.flatnonzero(~np.isnan(points).any(axis=1))
    if not len(rows):
        return mask
    kept = points[rows]
    if kept.shape[1] == 1:
        mask[rows[int(kept[:, 0].argmin())]] = True
        return mask
    if not np.isfinite(kept).all():
        # Only the order of values matters: ranks are finite.
        kept = np.stack([np.unique(column, return_inverse=True)[1] for column in kept.T], axis=1).astype(np.float64)
    mask[rows[np.asarray(moocore.is_nondominated(kept), dtype=np.bool_)]] = True
    return mask


def merge_front(front: Floats, points: Floats) -> tuple[Bools, Bools]:
    """Which rows of a front and which of new points make up the front of both (all minimized).

    Parameters
    ----------
    front
        (n, k) rows that do not dominate each other.
    points
        (m, k) rows in the order in which they were found; of equal rows the front's, then the first, stays.

    Returns
    -------
    (n,) and (m,) bool.
    """
    mask = pareto_mask(np.concatenate([front, points]))
    return mask[: len(front)], mask[len(front) :]


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume that (n, k) minimized points dominate below a reference point, in the product of the objectives' units.

    Points that are not below the reference in every objective, and points with a NaN, add nothing. A point that is minus
    infinity in an objective makes it infinite.

    Examples
    --------
    >>> hypervolume([[1.0, 2.0], [2.0, 1.0]], [3.0, 3.0])
    3.0
    """
    import moocore

    corner = np.asarray(reference, dtype=np.float64)
    values = np.asarray(points, dtype=np.float64)
    if values.size == 0:
        return 0.0
    if corner.ndim != 1 or values.ndim != 2 or values.shape[1] != len(corner):
        raise InputError("reference", [f"expected one value per objective, got {corner.shape} for {values.shape}"])
    if not np.isfinite(corner).all():
        raise InputError("reference", [f"expected finite values, got {corner.tolist()}"])
    inside = values[(values < corner).all(axis=1)]
    if not len(inside):
        return 0.0
    if np.isneginf(inside).any():
        return float("inf")
    if values.shape[1] == 1:
        return float(corner[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=corner))


def _columns(points: Any, objectives: Sequence[str] | Sequence[int] | None) -> Floats:
    if hasattr(points, "columns"):
        names = list(points.columns) if objectives is None else list(objectives)
        unknown = [name for name in names if name not in points.columns]
        if unknown:
            known = [str(name) for name in points.columns]
            raise InputError(
                "objectives", [Problem("", f"no column '{name}'{suggest(str(name), known)}") for name in unknown]
            )
        raw = points[names].to_numpy()
    else:
        raw = np.asarray(points)
        if raw.size == 0 and raw.ndim == 1:
            raw = raw.reshape(0, 1 if objectives is None else len(objectives))
        if raw.ndim != 2:
            raise InputError("points", [f"expected (points, objectives), got shape {raw.shape}"])
        if objectives is not None and raw.shape[0]:
            wrong = [i for i in objectives if not isinstance(i, (int, np.integer)) or not 0 <= i < raw.shape[1]]
            if wrong:
                raise InputError("objectives", [f"expected indices below {raw.shape[1]}, got {wrong}"])
            raw = raw[:, [int(i) for i in objectives]]
    try:
        values: Floats = raw.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError("points", ["expected numbers in every objective"]) from None
    if values.shape[1] == 0:
        raise InputError("objectives", ["expected at least one objective"])
    return values


def _signs(senses: str | Sequence[str], count: int) -> Floats:
    each = [senses] * count if isinstance(senses, str) else list(senses)
    if len(each) != count:
        raise InputError("senses", [f"expected one for each of {count} objectives, got {len(each)}"])
    unknown = [sense for sense in each if sense not in SENSES]
    if unknown:
        raise InputError("senses", [f"expected 'min' or 'max', got {unknown[0]!r}"])
    return np.array([1.0 if sense == "min" else -1.0 for sense in each])
