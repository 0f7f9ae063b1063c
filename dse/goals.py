"""What a design is judged by: objectives that a search makes better, limits that it keeps, one record each; the knee of a front.

To add an objective, write its :class:`Objective` and add it to :data:`OBJECTIVES`; from outside the package, :func:`register` it
before a search. Its column then stands in every table of a run, and ``--objectives`` takes its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from dse.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dse.types import Floats


@dataclass(frozen=True)
class Figures:
    """What a search knows of one network under one plan on one design: numbers, or arrays of one shape.

    Attributes
    ----------
    latency_s, energy_j
        Of a step; over a schedule, of its mean step.
    area_mm2
        Of the design.
    accuracy_drop_pp
        Predicted, in the profile's unit; NaN where nothing predicts it.
    """

    latency_s: Any
    energy_j: Any
    area_mm2: Any
    accuracy_drop_pp: Any = float("nan")


@dataclass(frozen=True)
class Objective:
    """A figure that designs are compared by.

    Attributes
    ----------
    name, column
        What ``--objectives`` takes, and the column of the tables of a run.
    label, unit, meaning
        For people.
    of
        The figure of one network on one design; it takes arrays too.
    joins
        Over several networks: ``sum``, weighted by how often a step of each runs (with ``--worst-case`` the largest), ``largest``
        of all, or the ``same`` for each.
    direction
        ``min``, or ``max``: then the figure has to be positive, and a search minimizes its reciprocal.
    low, high
        What values may be.
    needs_profile
        Whether it exists only where accuracy is predicted.
    """

    name: str
    column: str
    label: str
    unit: str
    meaning: str
    of: Callable[[Figures], Any]
    joins: Literal["sum", "largest", "same"]
    direction: Literal["min", "max"] = "min"
    low: float = 0.0
    high: float = inf
    needs_profile: bool = False

    @property
    def evaluated(self) -> bool:
        """Whether the evaluation of one plan has the same column; other objectives are made of those that it has."""
        return self.column in {field.name for field in fields(Figures)}


LATENCY = Objective(
    "latency", "latency_s", "Latency", "s", "Time of one step of a batch, or of a run where a schedule is given.",
    lambda figures: figures.latency_s, "sum",
)  # fmt: skip
ENERGY = Objective(
    "energy", "energy_j", "Energy", "J", "Energy of one step of a batch, or of a run; leakage and DRAM included.",
    lambda figures: figures.energy_j, "sum",
)  # fmt: skip
AREA = Objective(
    "area", "area_mm2", "Area", "mm²", "Silicon of elements, on-chip memories and overhead, without DRAM.",
    lambda figures: figures.area_mm2, "same",
)  # fmt: skip
ACCURACY_DROP = Objective(
    "accuracy", "accuracy_drop_pp", "Predicted accuracy drop", "points",
    "Loss against the profile's baseline by the predictor; unknown (empty) outside its calibrated range.",
    lambda figures: figures.accuracy_drop_pp, "largest", low=-100.0, high=100.0, needs_profile=True,
)  # fmt: skip

#: Objectives by name, in the order of their columns.
OBJECTIVES: dict[str, Objective] = {item.name: item for item in (LATENCY, ENERGY, AREA, ACCURACY_DROP)}


def register(objective: Objective) -> None:
    """Make an objective known to searches and reports; at the top level of a script, so that the workers of ``--jobs`` know it too.

    Raises
    ------
    InputError
        Another objective has its name or column.
    """
    taken = [item for item in OBJECTIVES.values() if item.name == objective.name or item.column == objective.column]
    if any(item is not objective for item in taken):
        raise InputError("register", [f"an objective named '{taken[0].name}' ({taken[0].column}) exists"])
    OBJECTIVES[objective.name] = objective


def objective_columns() -> tuple[str, ...]:
    """Columns of all objectives, in the order in which tables and archives have them."""
    return tuple(item.column for item in OBJECTIVES.values())


def objective_of(column: str) -> Objective | None:
    """The objective of a column, if it is one."""
    return next((item for item in OBJECTIVES.values() if item.column == column), None)


def minimized(values: Floats, columns: Sequence[str]) -> Floats:
    """(n, k) figures as a search compares them, smaller is better: reciprocals where larger figures are better.

    Parameters
    ----------
    values
        (n, k) figures.
    columns
        The k columns; those of no objective are minimized.
    """
    import numpy as np  # The command line reads this module for its help, which needs no arrays.

    upward = [k for k, name in enumerate(columns) if (item := objective_of(name)) and item.direction == "max"]
    if not upward:
        return values
    result = np.array(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        result[:, upward] = 1.0 / result[:, upward]
    return result


#: Rules by which a design is called the knee of a front.
KNEES = ("utopia", "chord")


def knee(points: ArrayLike, method: str = "utopia") -> int:
    """Index of the row that is the best compromise of (n, k) minimized values, each scaled to 0..1 over the rows.

    Parameters
    ----------
    method
        ``"utopia"``: nearest to the point that has the best of every objective (compromise programming: Zeleny, Multiple
        Criteria Decision Making, 1973). ``"chord"``: farthest below the plane through the worst of every objective
        (Das, Structural Optimization 18, 1999). The first of equal rows; rows that are not finite are left out.

    Raises
    ------
    InputError
        No finite row, or unknown method.
    """
    import numpy as np

    if method not in KNEES:
        raise InputError("knee", [f"'{method}' is no method; known: {', '.join(KNEES)}"])
    values = np.asarray(points, dtype=np.float64)
    rows = np.flatnonzero(np.isfinite(values).all(axis=1)) if values.ndim == 2 else np.zeros(0, np.int64)
    if not len(rows):
        raise InputError("knee", ["expected at least one row of finite values"])
    kept = values[rows]
    low, high = kept.min(axis=0), kept.max(axis=0)
    scaled = (kept - low) / np.where(high > low, high - low, 1.0)
    # On the plane through the worst corners sum(scaled) is constant, so the distance below it follows the sum.
    distance = (scaled**2).sum(axis=1) if method == "utopia" else scaled.sum(axis=1)
    return int(rows[int(distance.argmin())])


#: A bound that is wrong by more than this factor may be a slip of its unit; one that is wrong by less is a wish.
SLIP = 100.0
_TIMES = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("minutes", 60.0), ("hours", 3600.0))
_ENERGIES = (("pJ", 1e-12), ("nJ", 1e-9), ("uJ", 1e-6), ("mJ", 1e-3), ("kJ", 1e3), ("kWh", 3.6e6))
_AREAS = (("um2", 1e-6), ("cm2", 1e2), ("m2", 1e6))
_SIZES = (("KB", 8.0 * 2**10), ("MB", 8.0 * 2**20), ("GB", 8.0 * 2**30))
_BITOPS = (("GBitOps", 1e9), ("TBitOps", 1e12))


@dataclass(frozen=True)
class HardLimit:
    """A quantity that may be bounded from above, by ``--max-NAME``.

    Attributes
    ----------
    name, column
        Of the option (underscores are dashes there), and of the quantity in tables.
    unit, meaning
        Of the bound, and what is bounded, for messages and help.
    scope
        ``map``: one sum over the choices of all layers. ``peak``: the largest of such sums, one for every moment of a step.
        ``design``: known before any choice is made.
    over_schedule
        What a schedule has of it: the ``mean`` over its maps, or that of the ``widest`` one, which is held at some time.
    most
        Bound above which it is a slip: nothing that can be built or waited for comes near, so that it would limit nothing.
    others
        Units that a bound may have been meant in: name, and how many of the limit's unit one of them is.
    """

    name: str
    column: str
    unit: str
    meaning: str
    scope: Literal["map", "peak", "design"]
    over_schedule: Literal["mean", "widest"] = "widest"
    most: float = inf
    others: tuple[tuple[str, float], ...] = ()

    def meant(self, bound: float, nearest: float) -> str:
        """What a bound was meant as that is far below what anything needs, "" where no other unit explains it.

        >>> LIMITS["area"].meant(5e-6, 3.2)
        ' (5e-06 m2 are 5 mm2)'
        """
        if bound >= nearest / SLIP or not self.others:
            return ""
        name, value = min(
            ((name, bound * factor) for name, factor in self.others),
            key=lambda item: max(item[1] / nearest, nearest / item[1]),
        )
        near = nearest / SLIP <= value <= nearest * SLIP
        return f" ({bound:g} {name} are {value:g} {self.unit})" if near else ""

    def too_large(self, bound: float) -> str:
        """What is wrong with a bound that nothing could miss; "" where one could.

        >>> LIMITS["area"].too_large(5e6)
        '5e+06 mm2 limits nothing, which is above 1e+06 (5e+06 um2 are 5 mm2); without the option there is no limit'
        """
        if bound <= self.most:
            return ""
        smaller = ((name, bound * factor) for name, factor in self.others if bound * factor <= self.most / SLIP)
        hint = next((f" ({bound:g} {name} are {value:g} {self.unit})" for name, value in smaller), "")
        return f"{bound:g} {self.unit} limits nothing, which is above {self.most:g}{hint}; without the option there is no limit"

    @property
    def help(self) -> str:
        """The text of the option."""
        return f"Hard limit, {self.what}."

    @property
    def what(self) -> str:
        """Unit and meaning of the bound."""
        return f"{self.unit} {self.meaning}".strip()


#: Hard limits by name, beside that on lost accuracy.
LIMITS: dict[str, HardLimit] = {
    item.name: item
    for item in (
        # Three months; a wafer at 30 kW for as long; twenty wafers.
        HardLimit("latency", "latency_s", "s", "per step of each workload", "map", "mean", 1e7, _TIMES),
        HardLimit("energy", "energy_j", "J", "per step of each workload", "map", "mean", 3e11, _ENERGIES),
        HardLimit("area", "area_mm2", "mm2", "", "design", most=1e6, others=_AREAS),
        HardLimit(
            "model_size", "model_size_bits", "bits", "of all weights as stored for inference", "map", others=_SIZES
        ),
        HardLimit("memory", "memory_bits", "bits", "held at the peak of a step", "peak", others=_SIZES),
        HardLimit(
            "bitops", "bitops", "BitOps", "of a step, product of both multiplier widths", "map", "mean", others=_BITOPS
        ),
    )
}
