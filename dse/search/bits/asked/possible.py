"""Hard limits that nothing can keep, found before a search begins where no hardware has to be priced for it, and after it.

Before: model size, BitOps, memory and area depend on the bit maps or on the hardware alone. Each limit is looked at beside that on
accuracy, so that what is named as feasible can be had. After: latency and energy, and limits that exclude each other; there the
nearest value is that of the designs that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context

import numpy as np

from dse.errors import InputError, NothingFeasible, Problem
from dse.goals import LIMITS
from dse.search.bits.limits import ACCURACY, MEMORY
from dse.search.bits.maps import MapCosts, solve_map
from dse.search.bits.problem import BitProblem, SearchProblem
from dse.search.bits.solve import Failed, design_arrays
from dse.types import Floats

#: Hardware points whose area is computed at once, and spaces up to which all are.
AREA_POINTS = 4096
#: Significant digits of a value that is named as feasible.
DIGITS = 5


def check_possible(problem: SearchProblem) -> None:
    """Refuse limits that nothing keeps, as far as that is known without pricing hardware.

    Raises
    ------
    InputError
        Each such limit, with the nearest value that can be kept.
    """
    problems = []
    for name, bound in problem.limits.bounds:
        least = _least_area(problem) if LIMITS[name].scope == "design" else _least(problem, name, bound)
        if least > bound * (1 + 1e-12):
            problems.append(_problem(name, bound, least, "no design keeps"))
    if problems:
        raise InputError(_name(problem), problems)


def check_found(problem: SearchProblem, trials: int, failed: Sequence[Failed]) -> None:
    """Say of a search that found nothing which limits failed, and how near the designs came that were tried.

    Raises
    ------
    NothingFeasible
        Always.
    """
    by_limit: dict[str, list[Failed]] = {}
    for item in failed:
        by_limit.setdefault(item.limit.split(":")[0], []).append(item)
    problems = []
    for name, items in by_limit.items():
        nearest = min(items, key=lambda item: item.excess)
        bound = problem.limits.bound(name)
        many = f"{len(items):,} of {trials:,} designs that were tried"
        if math.isfinite(bound):
            problems.append(_problem(name, bound, bound * (1 + nearest.excess), f"{many} miss"))
        else:
            problems.append(Problem("", f"{many} are infeasible: {nearest.limit}"))
    raise NothingFeasible(_name(problem), problems)


def _problem(name: str, bound: float, nearest: float, what: str) -> Problem:
    limit = LIMITS[name]
    text = f"{what} {bound:g} {limit.what}; the nearest feasible value is {_rounded_up(nearest)}{limit.meant(bound, nearest)}"
    return Problem(f"--max-{name.replace('_', '-')}", text)


def _rounded_up(value: float) -> str:
    """A number with few digits that is not below the value.

    >>> _rounded_up(123456.1), _rounded_up(2.0)
    ('123460', '2')
    """
    return f"{float(Context(prec=DIGITS, rounding=ROUND_CEILING).create_decimal_from_float(value)):.12g}"


def _name(problem: SearchProblem) -> str:
    networks = "+".join(subject.network.name for subject in problem.subjects)
    return f"{networks} on {problem.hardware.name}, {problem.mode}"


def _least(problem: SearchProblem, name: str, bound: float) -> float:
    """Least value of a limit on bit maps that every network can have beside the limit on accuracy; 0 where that needs hardware."""
    known = name == MEMORY or all(name in subject.tables for subject in problem.subjects)
    if not known or problem.schedules is not None:
        return 0.0
    return max(_least_of(subject, name, bound) for subject in problem.subjects)


def _least_of(subject: BitProblem, name: str, bound: float) -> float:
    free = np.zeros((len(subject.errors), *subject.score.shape))
    table = MapCosts(subject.score, dict(subject.tables), 0.0, subject.held, math.inf)
    if name == MEMORY and not subject.held:
        return 0.0
    least = []
    for e, score in enumerate(subject.score_limit):
        answer = solve_map(table, e, free[e], subject.allowed, {ACCURACY: float(score), name: bound})
        # What is neither found nor excluded is left to the search.
        least.append(answer.nearest if answer.limit == name and math.isfinite(answer.nearest) else 0.0)
    return min(least)


def _least_area(problem: SearchProblem) -> float:
    """Smallest area of the designs of a space: of all of them, or where one parameter after the other brings no less."""
    space = problem.hardware.space
    rest = [values[0] for _, values in problem.parameters[len(space) :]]
    default = np.array([*(parameter.default for parameter in space), *rest])
    if math.prod(len(parameter.values) for parameter in space) <= AREA_POINTS:
        grid = np.meshgrid(*(parameter.values for parameter in space), indexing="ij")
        points = np.column_stack([axis.reshape(-1) for axis in grid]) if space else np.zeros((1, 0))
        return float(design_arrays(problem, np.column_stack([points, np.tile(rest, (len(points), 1))])).area_mm2.min())
    best, least = default, math.inf
    while (found := _lower(problem, best))[0] < least:
        least, best = found
    return least


def _lower(problem: SearchProblem, point: Floats) -> tuple[float, Floats]:
    """Smallest area along each parameter in turn, and where it is."""
    for column, parameter in enumerate(problem.hardware.space):
        rows = np.tile(point, (len(parameter.values), 1))
        rows[:, column] = parameter.values
        area = design_arrays(problem, rows).area_mm2
        point = rows[int(area.argmin())]
    return float(design_arrays(problem, point[None]).area_mm2[0]), point
