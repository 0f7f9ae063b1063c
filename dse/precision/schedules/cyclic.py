"""Phases of schedules whose widths cycle or are drawn: CPT's, Better Schedules', double-cyclic training, random precision switch.

The curves and the ways to chain them are those of :mod:`dse.precision.schedules.profiles`. What the arguments mean is told by the
constructors of :class:`dse.precision.schedules.schedule.Schedule` that call these.
"""

from __future__ import annotations

import numpy as np

from dse.errors import Problem
from dse.precision.policies.surveyed import random_widths
from dse.precision.schedules.phases import Phase, forward_formats, merged, runs
from dse.precision.schedules.profiles import CHAINS, CURVES, MAX_ITERATIONS, cycle_widths
from dse.precision.schedules.rules import bounds_problems, integer_problems, require, width_name, width_problems
from dse.yaml_input import suggest


def cyclic_phases(
    low: int,
    high: int,
    backward: int | str,
    cycles: int,
    iterations: int,
    curve: str,
    chain: str,
    family: str,
    backward_low: int | None,
) -> tuple[str, tuple[Phase, ...]]:
    """Name and phases of a cyclic schedule; with ``backward_low`` the error's width moves in step with the forward width.

    Raises
    ------
    InputError
        Everything that is wrong with the arguments.
    """
    problems = [
        *integer_problems("iterations", iterations, 1, MAX_ITERATIONS),
        *integer_problems("cycles", cycles, 1),
        *bounds_problems(family, low, high, backward),
        *_backward_problems(family, backward_low, backward),
    ]
    if not problems and cycles > iterations:
        problems.append(Problem("cycles", f"expected at most one cycle per iteration ({iterations}), got {cycles}"))
    problems += [] if curve in CURVES else [Problem("curve", f"unknown curve '{curve}'{suggest(curve, CURVES)}")]
    problems += [] if chain in CHAINS else [Problem("chain", f"unknown chain '{chain}'{suggest(chain, CHAINS)}")]
    require(problems)
    forward = cycle_widths(curve, chain, int(low), int(high), int(cycles), int(iterations))
    label = "cyclic" if (curve, chain) == ("cosine", "repeated") else f"{curve} {chain.replace('_', ' ')}"
    if backward_low is None:
        error = width_name(family, backward)
        settings = {width: forward_formats(f"{family}{width}", error) for width in range(int(low), int(high) + 1)}
        phases = tuple(Phase(length, settings[width]) for width, length in runs(forward))
        return f"{label} {low}-{high}/{backward}, {cycles} cycles", phases
    errors = cycle_widths(curve, chain, int(backward_low), int(backward), int(cycles), int(iterations))
    # A pair of widths as one number, so that a run ends where either changes; no width has more than ten bits.
    phases = tuple(
        Phase(length, forward_formats(f"{family}{pair >> 10}", f"{family}{pair & 1023}"))
        for pair, length in runs((forward << 10) + errors)
    )
    return f"double {label} {low}-{high}/{backward_low}-{backward}, {cycles} cycles", phases


def random_phases(
    low: int, high: int, backward: int | str, iterations: int, hold: int, seed: int, family: str
) -> tuple[str, tuple[Phase, ...]]:
    """Name and phases of a schedule whose forward width is drawn anew every ``hold`` iterations.

    Raises
    ------
    InputError
        Everything that is wrong with the arguments.
    """
    require(
        [
            *integer_problems("iterations", iterations, 1, MAX_ITERATIONS),
            *integer_problems("hold", hold, 1),
            *integer_problems("seed", seed, 0),
            *bounds_problems(family, low, high, backward),
        ]
    )
    draws = random_widths(int(low), int(high), -(-int(iterations) // int(hold)), np.random.default_rng(seed))
    error = width_name(family, backward)
    phases = [
        Phase(int(min(hold, iterations - k * hold)), forward_formats(f"{family}{width}", error))
        for k, width in enumerate(draws.tolist())
    ]
    return f"random {low}-{high}/{backward}", merged(phases)


def _backward_problems(family: str, low: int | None, high: int | str) -> list[Problem]:
    """Of the bounds of an error that moves; nothing to say where it does not."""
    if low is None:
        return []
    if isinstance(high, str | bool):
        return [Problem("backward", f"with backward_low it is a width in bits, got {high!r}")]
    problems = width_problems("backward_low", family, low)
    if not problems and low > high:
        problems.append(Problem("backward_low", f"the bounds cross: backward_low is {low}, backward is {high}"))
    return problems
