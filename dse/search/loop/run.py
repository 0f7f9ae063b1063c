"""The loop of a search: propose, solve, tell, keep; its state on disk, from which a killed run goes on to the same result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dse.goals import minimized
from dse.search.archive import Found, empty, merge, places
from dse.search.bits.problem import SearchProblem
from dse.search.bits.solve import Failed, Outcome
from dse.search.loop.optuna_study import (
    Told,
    new_study,
    tell,
    write_journal,
)
from dse.search.loop.proposals import Proposals, Proposed
from dse.search.loop.state import State, restored, store
from dse.search.loop.strategies import Strategy, first_proposals
from dse.search.loop.workers import Workers
from dse.search.pareto import hypervolume, pareto_mask
from dse.types import Bools

#: Rows of designs.csv at most; the front is always whole.
KEPT_DESIGNS = 20_000
#: State is written after a batch if so much time has passed since it was last written: what a kill can cost.
SAVE_SECONDS = 1.0

Progress = Callable[[int, int, float, float], None]


@dataclass(frozen=True)
class Search:
    """What decides the result of a search, but for its budget."""

    problem: SearchProblem
    objectives: tuple[str, ...]
    strategy: Strategy
    asked_sampler: str
    seed: int
    screening: bool

    @property
    def sampler(self) -> str:
        """The sampler that proposes: the strategy's own, or the one that was asked for."""
        return self.strategy.sampler or self.asked_sampler

    @property
    def inputs(self) -> dict[str, Any]:
        """As plain data; a run is resumed only with the same."""
        problem = self.problem
        return {
            "workload_digest": problem.digest,
            "max_accuracy_drop_pp": problem.limit_pp if problem.predicts else None,
            "plan": None if problem.predicts else [subject.plans[0][0].label for subject in problem.subjects],
            "confidence": problem.confidence if problem.predicts else None,
            "mode": problem.mode,
            "objective_columns": list(self.objectives),
            "formats": list(problem.formats),
            "error_formats": [[form.name for form in subject.errors] for subject in problem.subjects],
            "errors_per_layer": any(item.error is not None for s in problem.subjects for item in s.choices),
            "workload_weights": list(problem.weights),
            "worst_case": problem.worst_case,
            "hard_limits": dict(problem.limits.bounds),
            "schedules": repr(problem.schedules) if problem.schedules else None,
            "strategy": self.strategy.name,
            "sampler": self.sampler,
            "screening": self.screening,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Budget:
    """Trials, seconds, or both; the first that is used up ends the search."""

    trials: int | None
    seconds: float | None

    def left(self, done: int, elapsed: float) -> bool:
        """Whether another batch may start."""
        return (self.trials is None or done < self.trials) and (self.seconds is None or elapsed < self.seconds)

    def batch(self, done: int, size: int) -> int:
        """Trials of the next batch."""
        return size if self.trials is None else min(size, self.trials - done)


def search(
    asked: Search,
    budget: Budget,
    jobs: int,
    scheduler: str | None,
    folder: Path | None,
    resume: bool,
    progress: Progress | None,
) -> State:
    """Run a search until its budget is used up.

    Raises
    ------
    InputError
        A folder that cannot be written, a run to resume that had other inputs, workers that are killed again and again. The
        state of the last batches stays in the folder.
    """
    problem, objectives, strategy = asked.problem, asked.objectives, asked.strategy
    dimensions = strategy.dimensions(problem, objectives)
    study = new_study(len(objectives), asked.sampler)
    groups = sum(len(subject.groups) for subject in problem.subjects)
    state = State(0, 0.0, empty(len(problem.parameters), groups, len(problem.subjects)))
    if resume and folder is not None:
        state = restored(folder, asked.inputs, problem, study, dimensions, state)
    proposals = Proposals(study, dimensions, asked.sampler, asked.seed, strategy.listed, budget.trials, state.done)
    if not proposals.listed and (asked.screening or not strategy.screens):
        proposals.start = first_proposals(strategy, problem, objectives, asked.seed)
        proposals.starts_together = strategy.starts_together
    before = time.monotonic() - state.elapsed_s
    saved = time.monotonic()
    unsaved = False
    with Workers(problem, strategy.solves, jobs, scheduler) as workers:
        try:
            # One batch at least, however long its preparation took.
            while proposals.left and (not state.done or budget.left(state.done, time.monotonic() - before)):
                batch = proposals.batch(budget.batch(state.done, proposals.batch_size()))
                first = state.done if proposals.listed else len(study.trials) - len(batch)
                outcomes = workers.run([item.values for item in batch], first=first)
                state, front = _advanced(asked, state, batch, outcomes)
                state = replace(state, elapsed_s=time.monotonic() - before)
                told = [(item.trial, outcome) for item, outcome in zip(batch, outcomes, strict=True) if item.trial]
                tell(study, [trial for trial, _ in told], [_told(outcome, objectives) for _, outcome in told])
                unsaved = True
                if folder is not None and time.monotonic() - saved >= SAVE_SECONDS:
                    unsaved = False
                    store(folder, state, study, asked.inputs)
                    saved = time.monotonic()
                if progress is not None:
                    progress(state.done, len(front), state.trace[-1], float(front.gap.max(initial=0.0)))
        finally:
            if folder is not None and unsaved:
                store(folder, state, study, asked.inputs)
    if folder is not None and not strategy.listed:
        name = "+".join(subject.network.name for subject in problem.subjects)
        write_journal(study, folder / "optuna.journal", name, objectives)
    return state


def _advanced(
    asked: Search, state: State, batch: Sequence[Proposed], outcomes: Sequence[Outcome]
) -> tuple[State, Found]:
    """The state after a batch, and its front; a repeated point adds designs but is no trial."""
    names = asked.objectives
    found = merge([state.found, *(outcome.found for outcome in outcomes)])
    mask = pareto_mask(found.minimized(names))
    front = found.take(mask)
    unit = minimized(asked.problem.reference[None, places(names)], names)
    fresh = [outcome for item, outcome in zip(batch, outcomes, strict=True) if item.fresh]
    failed = [
        Failed(outcome.limit, outcome.parameters.tolist(), float(outcome.violation))
        for outcome in fresh
        if outcome.limit
    ]
    covered = hypervolume(front.minimized(names) / unit, np.ones(len(names)))
    return State(
        state.done + len(fresh),
        state.elapsed_s,
        _thinned(found, mask),
        (state.failed + failed)[-KEPT_DESIGNS:],
        [*state.trace, covered],
    ), front


def _told(outcome: Outcome, objectives: tuple[str, ...]) -> Told:
    """What Optuna is told; an infeasible trial is worse than every feasible one by its constraint, not by a number."""
    if not len(outcome.found):
        return Told((1.0e3,) * len(objectives), outcome.violation)
    return Told(tuple(float(value) for value in outcome.found.minimized(objectives)[0]), 0.0)


def _thinned(found: Found, front: Bools) -> Found:
    """All of the front, and of the rest the latest that fit into :data:`KEPT_DESIGNS`."""
    spare = len(found) - max(KEPT_DESIGNS, int(front.sum()))
    if spare <= 0:
        return found
    keep = np.ones(len(found), dtype=bool)
    keep[np.flatnonzero(~front)[:spare]] = False
    return found.take(keep)
