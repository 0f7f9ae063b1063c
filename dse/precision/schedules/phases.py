"""Phases of a schedule: stretches of iterations with the same formats, and what is done with their formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dse.errors import InputError, Problem
from dse.precision.plans.file import is_path, short_formats
from dse.precision.plans.plan import Plan
from dse.precision.plans.rules import Given, NamedNetwork, has_macs
from dse.types import Ints
from dse.yaml_input import suggest

#: A format for all layers, or (layer, format) pairs; layers may be called ``layer0``, ``layer1``, ... by their position.
Value: TypeAlias = str | tuple[tuple[str, str], ...]
Formats: TypeAlias = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Phase:
    """A stretch of iterations with the same formats: by operand, or a plan of one network, or its file."""

    iterations: int
    formats: Formats | Plan | Path


def forward_formats(forward: Value, error: Value) -> Formats:
    """Weight and activation in one format, the error in another."""
    return (("weight", forward), ("activation", forward), ("error", error))


def given_formats(plan: str | Plan, where: str) -> Formats | Plan | Path:
    """Formats of a plan in short, a plan as it is, or the path of its file, which is read once the network is known.

    Raises
    ------
    InputError
        No plan in short, at ``where``.
    """
    if isinstance(plan, Plan):
        return plan
    if is_path(plan):
        return Path(plan)
    try:
        short = short_formats(plan)
    except InputError as error:
        raise InputError(
            "schedule", [Problem(where, f"'{plan}' {problem.message}") for problem in error.problems]
        ) from None
    return tuple({"error": short["activation"], **short}.items())


def widened(value: Value, widths: Sequence[int], problems: list[Problem]) -> Value:
    """Every ``int`` and ``bfp`` width as the next of the hardware's; one beyond the widest is added to the problems."""
    if not isinstance(value, str):
        return tuple((layer, str(widened(name, widths, problems))) for layer, name in value)
    found = re.fullmatch(r"(int|bfp)([0-9]+)(.*)", value)
    if found is None:
        return value
    wide = [width for width in sorted(widths) if width >= int(found[2])]
    if not wide:
        problems.append(Problem(value, f"is wider than the hardware's widths ({', '.join(map(str, sorted(widths)))})"))
        return value
    return f"{found[1]}{wide[0]}{found[3]}"


def given_label(plan: str | Plan) -> str:
    """What a schedule's name calls a plan."""
    return plan.label if isinstance(plan, Plan) else Path(plan).stem if is_path(plan) else plan


def by_layer(value: tuple[tuple[str, str], ...], net: NamedNetwork, name: str) -> dict[str, Given]:
    """Formats by the network's own names; ``layer0``, ... are the layers with MACs by position."""
    known = {layer.name for layer in net.layers}
    positions = [re.fullmatch(r"layer([0-9]+)", layer) for layer, _ in value]
    macs = [layer.name for layer in net.layers if has_macs(layer)]
    if not all(positions) or any(layer in known for layer, _ in value):
        given: dict[str, Given] = dict(value)
        missing = [layer for layer in macs if layer not in given]
        found = [
            f"no such layer in '{net.name}': {layer}{suggest(layer, macs)}" for layer in given if layer not in known
        ]
        if missing:
            found.append(
                f"missing layers of '{net.name}': {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}"
            )
        if found:
            raise InputError(f"schedule '{name}'", found)
        return given
    if len(macs) != len(value):
        raise InputError(
            f"schedule '{name}'",
            [
                f"it has {len(value)} layers, '{net.name}' has {len(macs)} with MACs; name the layer of each column in "
                "'layers', null for one that the network lacks"
            ],
        )
    return dict(zip(macs, (form for _, form in value), strict=True))


def runs(widths: Ints) -> list[tuple[int, int]]:
    """(width, length) of each run of equal widths."""
    starts = np.flatnonzero(np.diff(widths, prepend=widths[0] - 1))
    lengths = np.diff(np.append(starts, len(widths)))
    return list(zip(widths[starts].tolist(), lengths.tolist(), strict=True))


def merged(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Phases with equal neighbours joined."""
    result: list[Phase] = []
    for phase in phases:
        if result and result[-1].formats == phase.formats:
            result[-1] = replace(phase, iterations=phase.iterations + result[-1].iterations)
        else:
            result.append(phase)
    return tuple(result)
