"""Optuna proposes, in batches whose seeds are fixed in advance.

A batch's sampler is made anew from (seed, batch number), so a run that was stopped goes on exactly as if it had not been,
and the number of workers changes nothing: within a batch no proposal sees another's result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from dse.errors import InputError
from dse.yaml_input import suggest

#: Trials proposed before any of them is told; a fixed part of the method, not a tuning knob of one machine.
BATCH = 8

SAMPLERS = ("tpe", "nsga2", "nsga3", "qmc", "random", "gp", "cma")


@dataclass(frozen=True)
class Dimension:
    """One thing that Optuna chooses: an index into ``values`` (``values`` given) or a share between 0 and 1."""

    name: str
    values: tuple[float, ...] = ()

    @property
    def distribution(self) -> optuna.distributions.BaseDistribution:
        if self.values:
            return optuna.distributions.IntDistribution(0, len(self.values) - 1)
        return optuna.distributions.FloatDistribution(0.0, 1.0)

    def value(self, proposed: float) -> float:
        """The value that a proposal stands for."""
        return self.values[int(proposed)] if self.values else float(proposed)


@dataclass(frozen=True)
class Told:
    """What one trial gave: values to minimize, or infeasible by so much (a positive number)."""

    values: tuple[float, ...]
    violation: float


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler by name, seeded.

    Raises
    ------
    InputError
        Unknown name.
    """
    makers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=16, constant_liar=False, group=False
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=48),
        "nsga3": lambda: optuna.samplers.NSGAIIISampler(seed=seed, population_size=48),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "cma": lambda: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    }
    if name not in makers:
        raise InputError("--sampler", [f"'{name}' is no sampler{suggest(name, SAMPLERS)}"])
    return makers[name]()


def new_study(objectives: int) -> optuna.Study:
    """An empty study that minimizes so many objectives."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=["minimize"] * objectives, sampler=optuna.samplers.RandomSampler(seed=0))


def propose(
    study: optuna.Study, dimensions: Sequence[Dimension], sampler: str, seed: int, batch: int, count: int
) -> tuple[list[optuna.Trial], list[dict[str, float]]]:
    """The next ``count`` trials and their proposals by dimension name."""
    # The scrambled low-discrepancy sequence is one sequence over all batches: its seed must not change.
    fixed = sampler == "qmc"
    study.sampler = make_sampler(
        sampler, seed if fixed else int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])
    )
    distributions = {dimension.name: dimension.distribution for dimension in dimensions}
    trials = [study.ask(distributions) for _ in range(count)]
    return trials, [dict(trial.params) for trial in trials]


def tell(study: optuna.Study, trials: Sequence[optuna.Trial], results: Sequence[Told]) -> None:
    """Give the results of a batch back, in order."""
    for trial, result in zip(trials, results, strict=True):
        trial.set_constraint("infeasible", result.violation)
        study.tell(trial, list(result.values))


def replay(study: optuna.Study, dimensions: Sequence[Dimension], records: Sequence[Mapping[str, Any]]) -> None:
    """Put recorded trials (see :func:`record`) into an empty study."""
    distributions = {dimension.name: dimension.distribution for dimension in dimensions}
    for item in records:
        study.add_trial(
            optuna.trial.create_trial(
                params=item["params"],
                distributions=distributions,
                values=item["values"],
                system_attrs=item["system_attrs"],
            )
        )


def record(study: optuna.Study, first: int) -> list[dict[str, Any]]:
    """Trials from number ``first`` on as plain data."""
    return [
        {"params": trial.params, "values": trial.values, "system_attrs": trial.system_attrs}
        for trial in study.get_trials(deepcopy=False)[first:]
    ]
