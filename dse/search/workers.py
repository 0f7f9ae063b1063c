"""Trials of a batch on one or several processes; which process runs a trial changes nothing in its result."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType

import numpy as np

from dse.search.inner import Outcome, SearchProblem, fixed_designs, solve_designs

_problem: SearchProblem | None = None
_strategy = ""


class Workers:
    """A pool for the trials of a search; with one job they run in this process.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        A worker was killed; the run can be resumed.
    """

    def __init__(self, problem: SearchProblem, strategy: str, jobs: int) -> None:
        self.problem = problem
        self.strategy = strategy
        self.jobs = jobs
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.jobs > 1:
            # A forked child would inherit the threads of the compiled kernel half-way; a spawned one starts clean.
            self.pool = ProcessPoolExecutor(
                self.jobs,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=(self.problem, self.strategy),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def run(self, values: Sequence[Mapping[str, float]], first: int) -> list[Outcome]:
        """Outcomes of a batch of proposals by dimension name, in order; ``first`` numbers the first trial."""
        if self.pool is None:
            return run_trials(self.problem, self.strategy, values, first)
        parts = [part for part in np.array_split(np.arange(len(values)), self.jobs) if len(part)]
        tasks = [self.pool.submit(_work, [values[i] for i in part], first + int(part[0])) for part in parts]
        return [outcome for task in tasks for outcome in task.result()]


def run_trials(
    problem: SearchProblem, strategy: str, values: Sequence[Mapping[str, float]], first: int
) -> list[Outcome]:
    """Outcomes of proposals."""
    names = [parameter.name for parameter in problem.hardware.space]
    designs = np.array([[proposal[name] for name in names] for proposal in values]).reshape(len(values), len(names))
    if strategy == "nested":
        weights = [[proposal["latency_weight"]] for proposal in values]
        shares = [proposal.get("limit_share", 1.0) for proposal in values]
        return solve_designs(problem, designs, weights, shares, first)
    choices = [
        np.array([int(proposal[f"choice.{name}"]) for name in problem.group_names], dtype=np.uint8)
        for proposal in values
    ]
    return fixed_designs(problem, designs, [int(proposal["error_bits"]) for proposal in values], choices, first)


def _start(problem: SearchProblem, strategy: str) -> None:
    global _problem, _strategy
    _problem, _strategy = problem, strategy


def _work(values: Sequence[Mapping[str, float]], first: int) -> list[Outcome]:
    assert _problem is not None
    return run_trials(_problem, _strategy, values, first)
