"""The space around a design: which values its parameters may take, one point of it, samples of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from dse.errors import InputError, Problem
from dse.hardware.model import Hardware, Parameter
from dse.hardware.schema import MEMORY_NUMBERS, TOP_NUMBERS
from dse.yaml_input import suggest

_WHOLE = ("size_bits", "port_bits", "vector_lanes")


def with_values(hardware: Hardware, values: Mapping[str, float]) -> Hardware:
    """The design with these parameter values; parameters that are not given stay at their default and in the space.

    Parameters
    ----------
    values
        Dotted names of the space, such as ``array.rows``; each value between the least and the greatest of its set or range, and
        an integer where the quantity is one.

    Raises
    ------
    InputError
        Names that are no parameters of this hardware, values outside the space; all at once.
    """
    known = {parameter.name: parameter for parameter in hardware.space}
    problems = []
    for name, value in values.items():
        if name not in known:
            problems.append(Problem(str(name), f"no parameter of {hardware.name}{suggest(str(name), known)}"))
        elif not value_fits(known[name], value):
            problems.append(Problem(name, expected(known[name], value)))
    if problems:
        raise InputError(hardware.path or hardware.name, problems)
    axes = [replace(axis, size=int(values.get(f"array.{axis.name}", axis.size))) for axis in hardware.axes]
    memories = []
    for memory in hardware.memories:
        names = {name: f"memories.{memory.name}.{name}" for name in MEMORY_NUMBERS}
        given = {name: _typed(name, values[path]) for name, path in names.items() if path in values}
        memories.append(replace(memory, **given))  # type: ignore[arg-type]
    top = {name: _typed(name, values[name]) for name in TOP_NUMBERS if name in values}
    left = tuple(parameter for parameter in hardware.space if parameter.name not in values)
    # The mapper enumerates for the whole space, so that a design taken out of it keeps the space's tables and figures.
    taken = {parameter.name: max(parameter.values) for parameter in hardware.space if parameter.name in values}
    return replace(
        hardware,
        axes=tuple(axes),
        memories=tuple(memories),
        space=left,
        largest={**hardware.largest, **taken},
        **top,  # type: ignore[arg-type]
    )


def is_whole(name: str) -> bool:
    """Whether a parameter counts something."""
    return name.startswith("array.") or name.rsplit(".", 1)[-1] in _WHOLE


def value_fits(parameter: Parameter, value: float) -> bool:
    """Whether a value lies within the parameter's bounds, and is an integer where the quantity is one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    whole = not is_whole(parameter.name) or number == math.floor(number) if math.isfinite(number) else False
    return whole and parameter.values[0] <= number <= parameter.values[-1]


def expected(parameter: Parameter, value: object) -> str:
    """The message for a value that does not fit."""
    noun = "an integer" if is_whole(parameter.name) else "a number"
    shown = f"{value:g}" if isinstance(value, int | float) else repr(value)
    return f"expected {noun} from {parameter.values[0]:g} to {parameter.values[-1]:g}, got {shown}"


def sample_table(hardware: Hardware, n: int, seed: int) -> pd.DataFrame:
    """n designs drawn independently and uniformly from the values of every parameter; one column per parameter."""
    generator = np.random.default_rng(seed)
    columns = {parameter.name: generator.choice(parameter.values, n) for parameter in hardware.space}
    return pd.DataFrame(columns, index=range(n))


def grid_size(hardware: Hardware) -> int:
    """Number of designs in the space; 1 for a design without parameters."""
    return math.prod(len(parameter.values) for parameter in hardware.space)


def _typed(name: str, value: float) -> float:
    return int(value) if name in ("port_bits", "vector_lanes") else float(value)
