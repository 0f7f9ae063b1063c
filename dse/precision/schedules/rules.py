"""What is wrong with the arguments of a schedule, as problems of an input error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.errors import InputError, Problem
from dse.precision.formats.properties import format_problem


def width_name(family: str, given: int | str) -> str:
    """The format of a width, or the format as given."""
    return given if isinstance(given, str) else f"{family}{given}"


def bounds_problems(family: str, low: int, high: int, backward: int | str) -> list[Problem]:
    """Of the bounds of a cyclic schedule and its backward format."""
    problems = [*width_problems("low", family, low), *width_problems("high", family, high)]
    if not problems and low > high:
        problems.append(Problem("low", f"the bounds cross: low is {low}, high is {high}"))
    message = format_problem(width_name(family, backward))
    return [*problems, *([Problem("backward", message)] if message else [])]


def width_problems(where: str, family: str, bits: int) -> list[Problem]:
    """Of one width."""
    message = format_problem(f"{family}{bits}")
    return integer_problems(where, bits, 1) or ([Problem(where, message)] if message else [])


def integer_problems(where: str, value: int, least: int, most: int | None = None) -> list[Problem]:
    """Of a number that must be an integer between bounds."""
    sound = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
    if sound and most is not None and value > most:
        return [Problem(where, f"expected at most {most:,}, got {value:,}")]
    return [] if sound else [Problem(where, f"expected an integer >= {least}, got {value!r}")]


def require(problems: Sequence[Problem]) -> None:
    """Raise what was found, each problem once.

    Raises
    ------
    InputError
        If there are problems.
    """
    if problems:
        raise InputError("schedule", list(dict.fromkeys(problems)))
