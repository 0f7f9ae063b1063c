"""Optuna proposes, in batches whose seeds are fixed in advance.

A batch's sampler is made anew from (seed, number of its first trial), so a run that was stopped goes on exactly as if it had not
been, and the number of workers changes nothing: within a batch no proposal sees another's result.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseGASampler

from dse.errors import InputError
from dse.files import remove_file
from dse.yaml_input import suggest

#: Trials proposed before any of them is told; a fixed part of the method, not a tuning knob of one machine.
BATCH = 8
#: Largest violation that is told: the state of a run holds finite numbers.
MOST_VIOLATION = 1e300
#: Individuals per generation of the genetic samplers.
POPULATION = 48

SAMPLERS = ("tpe", "nsga2", "nsga3", "qmc", "random", "gp", "cma")
#: Samplers that need a package which is not installed with the program.
NEEDS = {"gp": "torch", "cma": "cmaes"}


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

    def proposal(self, value: float) -> float:
        """The proposal that stands for a value."""
        return self.values.index(value) if self.values else float(value)


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
        Unknown name, or a package that it needs is missing.
    """
    makers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=16, constant_liar=False, group=False
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION),
        "nsga3": lambda: optuna.samplers.NSGAIIISampler(seed=seed, population_size=POPULATION),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "cma": lambda: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    }
    if name not in makers:
        raise InputError("--sampler", [f"'{name}' is no sampler{suggest(name, SAMPLERS)}"])
    # Optuna imports these packages late: a missing one must not end a run half-way.
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        raise InputError("--sampler", [f"'{name}' needs {NEEDS[name]}: pip install 'lowprec-dse[samplers]'"])
    # Optuna calls some samplers experimental; users of this program can do nothing about that.
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        return makers[name]()


def batch_of(sampler: str) -> int:
    """Trials that are proposed together: a whole generation where they learn nothing of each other anyway."""
    return POPULATION if sampler in ("nsga2", "nsga3", "qmc", "random") else BATCH


def new_study(objectives: int, sampler: str) -> optuna.Study:
    """An empty study that minimizes so many objectives; CMA-ES knows one only, and gets the mean of their logarithms."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = 1 if sampler == "cma" else objectives
    return optuna.create_study(directions=["minimize"] * count, sampler=optuna.samplers.RandomSampler(seed=0))


def propose(
    study: optuna.Study,
    dimensions: Sequence[Dimension],
    sampler: str,
    seed: int,
    first: int,
    count: int,
    given: Sequence[Mapping[str, float]] = (),
) -> tuple[list[optuna.Trial], list[dict[str, float]]]:
    """The next ``count`` trials, numbered from ``first``, and their proposals by dimension name.

    ``given`` holds the proposals that the first of them are given instead.
    """
    if not count:
        return [], []
    study.sampler = make_sampler(sampler, int(np.random.SeedSequence([seed, first]).generate_state(1)[0]))
    distributions = {dimension.name: dimension.distribution for dimension in dimensions}
    for proposal in given:
        study.enqueue_trial(dict(proposal))
    trials = [study.ask(distributions) for _ in range(count)]
    if isinstance(study.sampler, BaseGASampler):
        for trial in trials[: len(given)]:
            # Optuna counts no given trial into a generation; ours belong to one, or evolution would go on without them.
            study.sampler.get_trial_generation(study, study.get_trials(deepcopy=False)[trial.number])
    return trials, [dict(trial.params) for trial in trials]


def low_discrepancy(dimensions: Sequence[Dimension], seed: int, first: int, count: int) -> list[dict[str, float]]:
    """Proposals ``first`` to ``first + count`` of the sampler ``qmc``: one scrambled sequence over all batches.

    Optuna counts its place in a study, which a resumed run has not: each batch takes the sequence from its beginning.
    """
    distributions = {dimension.name: dimension.distribution for dimension in dimensions}
    study = new_study(1, "qmc")
    study.sampler = make_sampler("qmc", seed)
    known = {
        dimension.name: dimension.proposal(dimension.values[0] if dimension.values else 0.0) for dimension in dimensions
    }
    study.add_trial(optuna.trial.create_trial(params=known, distributions=distributions, values=[0.0]))
    return [dict(study.ask(distributions).params) for _ in range(first + count)][first:]


def tell(study: optuna.Study, trials: Sequence[optuna.Trial], results: Sequence[Told]) -> None:
    """Give the results of a batch back, in order."""
    for trial, result in zip(trials, results, strict=True):
        values = list(result.values)
        alone = len(study.directions) == 1 < len(values)
        if not alone:  # CMA-ES knows no constraints: there an infeasible trial is only worse than every other.
            trial.set_constraint("infeasible", min(result.violation, MOST_VIOLATION))
        else:
            values = [float(np.mean([math.log(max(value, 1e-300)) for value in values]))]
        study.tell(trial, values)


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
    """Finished trials from number ``first`` on as plain data."""
    return [
        {"params": trial.params, "values": trial.values, "system_attrs": trial.system_attrs}
        for trial in study.get_trials(deepcopy=False)[first:]
        if trial.state.is_finished()
    ]


def write_journal(study: optuna.Study, path: Path, name: str, objectives: Sequence[str]) -> None:
    """Write a study as a journal that ``optuna-dashboard`` opens; one that is there is replaced.

    Raises
    ------
    InputError
        It cannot be written; the old journal is intact.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    memory = _memory_backend()
    copy = optuna.create_study(storage=JournalStorage(memory), study_name=name, directions=list(study.directions))
    if len(objectives) == len(study.directions):
        # Optuna calls the names experimental, which is no news for whoever runs a search.
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            copy.set_metric_names(list(objectives))
    copy.add_trials([trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()])
    beside = path.with_name(path.name + ".tmp")
    try:
        for left in (beside, beside.with_name(beside.name + ".lock")):
            remove_file(left)
        JournalFileBackend(str(beside)).append_logs(list(memory.read_logs(0)))
        beside.replace(path)
    except OSError as error:
        with suppress(InputError):
            remove_file(beside)
        raise InputError(str(path), [f"cannot be written: {error.strerror}"]) from None


def _memory_backend() -> Any:
    """A journal in memory: Optuna's file waits for the disk after every trial, once is enough for all."""
    from optuna.storages.journal import BaseJournalBackend

    class Memory(BaseJournalBackend):
        def __init__(self) -> None:
            self.logs: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return self.logs[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.logs.extend(logs)

    return Memory()
