"""When to use which width: parameters of a cyclic schedule as dimensions of the search.

A schedule lowers the whole bit map by 0 to ``depth`` bits and raises it again, in cycles, along one of the ten profiles of Better
Schedules (:mod:`dse.precision.schedules.profiles`). What a design then costs is the sum over the histogram of lowered maps, which
is a sum over layers: the allocation stays exact, *where* and *when* are searched together. Layers that the profile keeps at a width
are not lowered below it.

No sensitivity profile is measured over a schedule, so its score is assumed, one of :data:`SCORES`:

* ``mean``: the mean over the histogram, as if damage went with time spent. For the few networks where a schedule was measured it
  is pessimistic (CPT, Fu et al., ICLR 2021, reports no loss against the static upper width).
* ``final``: the score of the full map, which training ends with: CPT's finding taken as a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dse.errors import InputError
from dse.precision.schedules.profiles import BETTER_SCHEDULES, MAX_ITERATIONS, cycle_widths
from dse.types import Bools, Floats, Ints
from dse.yaml_input import Key, load_yaml, suggest, validate

SCORES = ("mean", "final")
#: No map is wider than 16 bits nor narrower than 2.
MAX_DEPTH = 14
#: Names of the dimensions, also columns of the tables of a run.
DIMENSIONS = ("schedule.profile", "schedule.depth_bits", "schedule.cycles")


@dataclass(frozen=True)
class ScheduleSpace:
    """Which schedules are searched.

    Attributes
    ----------
    profiles
        Names of :data:`dse.precision.schedules.profiles.BETTER_SCHEDULES`; CR is CPT's.
    depths
        By how many bits a schedule lowers the map at its lowest; 0 is no schedule.
    cycles
        Cycles in the whole run.
    iterations
        Length of the run.
    score
        One of :data:`SCORES`.
    """

    profiles: tuple[str, ...] = ("CR", "LR", "RR", "ER")
    depths: tuple[int, ...] = (0, 1, 2, 3)
    cycles: tuple[int, ...] = (8, 32)
    iterations: int = 64_000
    score: str = "mean"

    @property
    def dimensions(self) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """Name and values of every dimension; profiles are counted from 0."""
        values = (range(len(self.profiles)), self.depths, self.cycles)
        return tuple((name, tuple(map(float, these))) for name, these in zip(DIMENSIONS, values, strict=True))

    @property
    def size(self) -> int:
        """Number of schedules."""
        return len(self.profiles) * len(self.depths) * len(self.cycles)

    def shares(self, values: Sequence[float] | Floats) -> Floats:
        """(depth + 1,) share of the iterations that run 0, 1, ... bits below the map, for a point of the dimensions."""
        profile, depth, cycles = (int(value) for value in values)
        return np.bincount(_drops(self.profiles[profile], depth, cycles, self.iterations), minlength=depth + 1) / (
            self.iterations
        )

    def drops(self, values: Sequence[float] | Floats) -> Ints:
        """(iterations,) bits below the map over the run."""
        profile, depth, cycles = (int(value) for value in values)
        return _drops(self.profiles[profile], depth, cycles, self.iterations)


@lru_cache(maxsize=256)
def _drops(profile: str, depth: int, cycles: int, iterations: int) -> Ints:
    curve, chain = BETTER_SCHEDULES[profile]
    return depth - cycle_widths(curve, chain, 0, depth, cycles, iterations)


def lowered(choices: Sequence[tuple[int, int]], allowed: Bools, kept: Sequence[int], depth: int) -> Ints:
    """Which choice stands for each choice when the map is lowered.

    Parameters
    ----------
    choices, allowed
        The M (weight, activation) pairs, and (G, M) which of them a group may take.
    kept
        (G,) width below which a group is never lowered.
    depth
        Lower by 0 to so many bits.

    Returns
    -------
    (depth + 1, G, M): a width that is not among the choices rounds up to the next one that is.
    """
    weights = sorted({weight for weight, _ in choices})
    activations = sorted({activation for _, activation in choices})
    place = {choice: index for index, choice in enumerate(choices)}
    result = np.empty((depth + 1, *allowed.shape), np.int64)
    for drop in range(depth + 1):
        for g, floor in enumerate(kept):
            for m, (weight, activation) in enumerate(choices):
                target = (_down(weights, weight, drop, floor), _down(activations, activation, drop, floor))
                result[drop, g, m] = place[target]
    return result


def _down(widths: list[int], width: int, drop: int, floor: int) -> int:
    wanted = max(width - drop, min(floor, width))
    return next(candidate for candidate in widths if candidate >= wanted)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    profiles: list[Literal["LR", "LT", "CR", "CT", "RR", "RTH", "RTV", "ER", "ETH", "ETV"]] = Field(
        default=["CR", "LR", "RR", "ER"], min_length=1
    )
    depths_bits: list[int] = Field(default=list(ScheduleSpace.depths), min_length=1)
    cycles: list[int] = Field(default=list(ScheduleSpace.cycles), min_length=1)
    iterations: int = Field(default=ScheduleSpace.iterations, ge=1, le=MAX_ITERATIONS)
    score: Literal["mean", "final"] = "mean"


def load_schedules(given: str | Path) -> ScheduleSpace:
    """A space of schedules: ``cyclic`` for the default one, or a YAML file with any of its fields.

    ::

        profiles: [CR, ER]        # of Better Schedules; CR is CPT's
        depths_bits: [0, 1, 2]    # 0: no schedule
        cycles: [8, 32]
        iterations: 64000
        score: mean               # or final

    Raises
    ------
    InputError
        Everything that is wrong with the file, with lines.
    """
    if str(given) == "cyclic":
        return ScheduleSpace()
    if Path(given).suffix not in (".yaml", ".yml"):
        raise InputError(
            "--schedules", [f"expected 'cyclic' or a YAML file, got '{given}'{suggest(str(given), ['cyclic'])}"]
        )
    document = load_yaml(given)
    file = validate(_File, document, _check)
    return ScheduleSpace(
        tuple(dict.fromkeys(file.profiles)),
        tuple(sorted(set(file.depths_bits))),
        tuple(sorted(set(file.cycles))),
        file.iterations,
        file.score,
    )


def _check(file: _File) -> list[tuple[Key, str]]:
    """Rules between fields."""
    depths = [
        (("depths_bits", index), f"expected 0 to {MAX_DEPTH} bits, got {depth}")
        for index, depth in enumerate(file.depths_bits)
        if not 0 <= depth <= MAX_DEPTH
    ]
    cycles = [
        (("cycles", index), f"expected 1 to {file.iterations}, at most one per iteration, got {count}")
        for index, count in enumerate(file.cycles)
        if not 1 <= count <= file.iterations
    ]
    return [*depths, *cycles]
