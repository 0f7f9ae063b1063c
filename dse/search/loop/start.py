"""What a search chooses, and the proposals that it starts from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from dse.search.bits.problem import BitProblem, SearchProblem
from dse.search.loop.optuna_study import POPULATION, Dimension
from dse.search.loop.screen import screened
from dse.search.loop.workers import LATENCY_WEIGHT, LIMIT_SHARE, choice_names, error_names
from dse.types import Bools

_GOLDEN = (math.sqrt(5) - 1) / 2


def dimensions_of(problem: SearchProblem, strategy: str, objectives: Sequence[str]) -> list[Dimension]:
    """What Optuna chooses: hardware, schedule, and a point of the bit-width front or the choice of every layer group."""
    shared = [Dimension(name, values) for name, values in problem.parameters]
    if not problem.predicts:  # The plan is given, and with it everything but the hardware.
        return shared
    if strategy in ("nested", "exhaustive"):
        # A tighter limit than asked for is a trade-off only where accuracy is an objective.
        accuracy = [Dimension(LIMIT_SHARE)] if "accuracy_drop_pp" in objectives else []
        return [*shared, Dimension(LATENCY_WEIGHT), *accuracy]
    errors = [
        Dimension(name, tuple(float(bits) for bits in subject.error_widths))
        for name, subject in zip(error_names(problem), problem.subjects, strict=True)
    ]
    allowed = [row for subject in problem.subjects for row in subject.allowed]
    groups = [
        Dimension(name, tuple(float(index) for index in np.flatnonzero(row)))
        for name, row in zip(choice_names(problem), allowed, strict=True)
    ]
    return [*shared, *errors, *groups]


def starts(
    problem: SearchProblem, strategy: str, objectives: Sequence[str], seed: int, screening: bool
) -> list[dict[str, float]]:
    """Proposals of the first trials, by dimension name."""
    dimensions = {dimension.name: dimension for dimension in dimensions_of(problem, strategy, objectives)}
    if strategy == "joint":
        values = _uniform_plans(problem, seed) if problem.predicts else []
    elif screening:
        names = [name for name, _ in problem.parameters]
        values = [
            {
                **dict(zip(names, map(float, row), strict=True)),
                # Weights that are spread evenly whatever their number.
                LATENCY_WEIGHT: (k + 1) * _GOLDEN % 1.0,
                LIMIT_SHARE: 1.0 if k % 2 == 0 else (k + 1) * _GOLDEN**2 % 1.0,
            }
            for k, row in enumerate(screened(problem, objectives, seed))
        ]
    else:
        values = []
    return [{name: dimension.proposal(given[name]) for name, dimension in dimensions.items()} for given in values]


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


def _uniform_plans(problem: SearchProblem, seed: int) -> list[dict[str, float]]:
    """As many designs as a generation has: random hardware with a uniform plan that keeps the accuracy limit, if there is one."""
    generator = np.random.default_rng(seed)
    each = [_feasible_uniform(subject) for subject in problem.subjects]
    if not all(each):
        return []
    values = []
    for _ in range(POPULATION):
        given = {name: float(generator.choice(these)) for name, these in problem.parameters}
        picked = [plans[generator.integers(len(plans))] for plans in each]
        given |= dict(zip(error_names(problem), (float(bits) for bits, _ in picked), strict=True))
        choices = [float(choice) for _, row in picked for choice in row]
        given |= dict(zip(choice_names(problem), choices, strict=True))
        values.append(given)
    return values


def _feasible_uniform(subject: BitProblem) -> list[tuple[int, list[int]]]:
    """(error width, choices): the same width everywhere, wider only where a layer is kept wider."""
    found = []
    for weight, activation in subject.choices:
        if weight != activation:
            continue
        row = [int(_narrowest(subject, allowed, weight)) for allowed in subject.allowed]
        score = subject.score[np.arange(len(row)), row].sum()
        found += [
            (bits, row) for bits, most in zip(subject.error_widths, subject.score_limit, strict=True) if score <= most
        ]
    return found


def _narrowest(subject: BitProblem, allowed: Bools, width: int) -> int:
    """The narrowest allowed choice of at least a width, or the widest there is."""
    places = [int(m) for m in np.flatnonzero(allowed)]
    wide = [m for m in places if min(subject.choices[m]) >= width]
    return min(wide, key=lambda m: subject.choices[m]) if wide else places[-1]
