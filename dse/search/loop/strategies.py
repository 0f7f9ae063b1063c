"""Strategies of a search: one record each, in one table that everybody reads.

To add a strategy, write its :class:`Strategy` and add it to :data:`STRATEGIES`; from outside the package, :func:`register` it
before a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dse.errors import InputError
from dse.search.bits.problem import BitProblem, SearchProblem
from dse.search.loop.dimensions import LATENCY_WEIGHT, LIMIT_SHARE, choice_names, dimensions_of, error_names
from dse.search.loop.optuna_study import POPULATION, Dimension
from dse.search.loop.screen import screened
from dse.types import Bools

_GOLDEN = (math.sqrt(5) - 1) / 2

#: First proposals, by dimension name, given a problem, the columns of its objectives, and a seed; more names than dimensions do
#: no harm.
Starts = Callable[[SearchProblem, Sequence[str], int], list[dict[str, float]]]


@dataclass(frozen=True)
class Strategy:
    """How a search goes through its space.

    Attributes
    ----------
    name, meaning
        What ``--strategy`` takes, and what it does.
    solves
        Whether the bit map of every hardware point is the solution of the inner problem (:mod:`dse.search.bits.solve`); otherwise
        the width of every layer group is a dimension beside the hardware.
    listed
        Whether it takes every point of the space, in the order of its values, instead of a sampler's proposals.
    sampler
        The sampler that it is tied to; None: the one that was asked for.
    starts
        Its first proposals; None: the sampler's own.
    screens
        Whether those are of screened hardware, which a search may do without.
    starts_together
        First proposals that form a batch; 1: as many as the sampler's batches have. They depend on no outcome, so that
        larger batches are only quicker.
    """

    name: str
    meaning: str
    solves: bool
    listed: bool = False
    sampler: str | None = None
    starts: Starts | None = None
    screens: bool = False
    starts_together: int = 1

    def dimensions(self, problem: SearchProblem, objectives: Sequence[str]) -> list[Dimension]:
        """What it chooses."""
        return dimensions_of(problem, self.solves, objectives)

    def proves(self, problem: SearchProblem) -> bool:
        """Whether a point that it tried is solved: sampled bit maps are no solutions of their hardware points."""
        return self.solves or not problem.predicts


def first_proposals(
    strategy: Strategy, problem: SearchProblem, objectives: Sequence[str], seed: int
) -> list[dict[str, float]]:
    """Proposals of the first trials of a search, by the names of its dimensions."""
    if strategy.starts is None:
        return []
    dimensions = strategy.dimensions(problem, objectives)
    return [
        {dimension.name: dimension.proposal(given[dimension.name]) for dimension in dimensions}
        for given in strategy.starts(problem, objectives, seed)
    ]


def screened_hardware(problem: SearchProblem, objectives: Sequence[str], seed: int) -> list[dict[str, float]]:
    """Hardware that a cheap local search liked (:mod:`dse.search.loop.screen`), with evenly spread weights."""
    names = [name for name, _ in problem.parameters]
    return [
        {
            **dict(zip(names, map(float, row), strict=True)),
            LATENCY_WEIGHT: (k + 1) * _GOLDEN % 1.0,
            LIMIT_SHARE: 1.0 if k % 2 == 0 else (k + 1) * _GOLDEN**2 % 1.0,
        }
        for k, row in enumerate(screened(problem, objectives, seed))
    ]


def uniform_plans(problem: SearchProblem, _objectives: Sequence[str], seed: int) -> list[dict[str, float]]:
    """As many designs as a generation has: random hardware with a uniform plan that keeps the accuracy limit, if there is one."""
    if not problem.predicts:
        return []
    generator = np.random.default_rng(seed)
    each = [_feasible_uniform(subject) for subject in problem.subjects]
    if not all(each):
        return []
    values = []
    for _ in range(POPULATION):
        given = {name: float(generator.choice(these)) for name, these in problem.parameters}
        picked = [plans[generator.integers(len(plans))] for plans in each]
        given |= dict(zip(error_names(problem), (float(e) for e, _ in picked), strict=True))
        choices = [float(choice) for _, row in picked for choice in row]
        given |= dict(zip(choice_names(problem), choices, strict=True))
        values.append(given)
    return values


def _feasible_uniform(subject: BitProblem) -> list[tuple[int, list[int]]]:
    """(place of the error format, choices): the same format everywhere, wider only where a layer is kept wider."""
    found = []
    for item in subject.choices:
        if item.weight != item.activation:
            continue
        row = [int(_narrowest(subject, allowed, min(item.widths))) for allowed in subject.allowed]
        score = subject.score[np.arange(len(row)), row].sum()
        found += [(e, row) for e, most in enumerate(subject.score_limit) if score <= most]
    return found


def _narrowest(subject: BitProblem, allowed: Bools, width: float) -> int:
    """The narrowest allowed choice of at least a width, or the widest there is."""
    places = [int(m) for m in np.flatnonzero(allowed)]
    wide = [m for m in places if min(subject.choices[m].widths) >= width]
    return min(wide, key=lambda m: subject.choices[m].widths) if wide else places[-1]


#: Strategies by name.
STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy(
            "nested",
            "Optuna proposes a hardware point (and a schedule) and a weight between latency and energy; the bit map is the "
            "solution of the inner problem, and everything the inner solver finds enters the archive",
            solves=True,
            starts=screened_hardware,
            screens=True,
            starts_together=16,
        ),
        Strategy(
            "joint",
            "the width of every layer group is an Optuna parameter beside the hardware: the yardstick; it starts from uniform "
            "plans that keep the accuracy limit, on random hardware, and its samplers know by how much a trial misses a limit",
            solves=False,
            starts=uniform_plans,
        ),
        Strategy("random", "as joint, drawn uniformly", solves=False, sampler="random"),
        Strategy(
            "exhaustive",
            "every hardware point (and schedule) of the space, solved as by nested",
            solves=True,
            listed=True,
            sampler="none",
        ),
    )
}


def register(strategy: Strategy) -> None:
    """Make a strategy known to searches.

    Raises
    ------
    InputError
        Another strategy has its name.
    """
    if STRATEGIES.setdefault(strategy.name, strategy) is not strategy:
        raise InputError("register", [f"a strategy named '{strategy.name}' exists"])
