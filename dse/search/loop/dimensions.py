"""What a search chooses: one dimension each for hardware, schedule, and a point of the bit-width front or every group's choice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from dse.goals import ACCURACY_DROP
from dse.search.bits.problem import SearchProblem
from dse.search.loop.optuna_study import Dimension

#: Dimensions beside the hardware where bit maps are solved for.
LATENCY_WEIGHT = "latency_weight"
LIMIT_SHARE = "limit_share"


def dimensions_of(problem: SearchProblem, solves: bool, objectives: Sequence[str]) -> list[Dimension]:
    """What a search chooses.

    Parameters
    ----------
    solves
        Whether bit maps are solved for at each hardware point; otherwise the choice of every layer group is a dimension.
    objectives
        Columns; a tighter limit than asked for is a trade-off only where accuracy is one of them.
    """
    shared = [Dimension(name, values) for name, values in problem.parameters]
    if not problem.predicts:  # The plan is given, and with it everything but the hardware.
        return shared
    if solves:
        accuracy = [Dimension(LIMIT_SHARE)] if ACCURACY_DROP.column in objectives else []
        return [*shared, Dimension(LATENCY_WEIGHT), *accuracy]
    errors = [
        Dimension(name, tuple(float(e) for e in range(len(subject.errors))))
        for name, subject in zip(error_names(problem), problem.subjects, strict=True)
    ]
    allowed = [row for subject in problem.subjects for row in subject.allowed]
    groups = [
        Dimension(name, tuple(float(index) for index in np.flatnonzero(row)))
        for name, row in zip(choice_names(problem), allowed, strict=True)
    ]
    return [*shared, *errors, *groups]


def points(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """The dimensions that make one trial another: all but shares between 0 and 1, which only say what a point is solved for."""
    return tuple(dimension for dimension in dimensions if dimension.values)


def size(dimensions: Sequence[Dimension]) -> int:
    """Number of different points."""
    return math.prod(len(dimension.values) for dimension in points(dimensions))


def every(dimensions: Sequence[Dimension]) -> Iterator[dict[str, float]]:
    """All points, by dimension name, in the order of their values; a share of the limit, if it is one, stands for all shares."""
    of = points(dimensions)
    shares = {dimension.name: 1.0 for dimension in dimensions if dimension.name == LIMIT_SHARE}
    for row in product(*(dimension.values for dimension in of)):
        yield {**{dimension.name: value for dimension, value in zip(of, row, strict=True)}, **shares}


def error_names(problem: SearchProblem) -> list[str]:
    """Dimensions that hold the place of the error tensors' format of each network."""
    return [_of("error_format", problem, k) for k in range(len(problem.subjects))]


def choice_names(problem: SearchProblem) -> list[str]:
    """Dimensions that hold the choice of each group of each network."""
    return [
        f"{_of('choice', problem, k)}.{name}"
        for k, subject in enumerate(problem.subjects)
        for name in subject.group_names
    ]


def _of(name: str, problem: SearchProblem, k: int) -> str:
    return name if len(problem.subjects) == 1 else f"{name}.{problem.subjects[k].network.name}"
