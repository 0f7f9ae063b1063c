"""Trials of a batch on one or several processes, or on a Dask cluster; which process runs a trial changes nothing in its result."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

import numba
import numpy as np

from dse.errors import InputError
from dse.search.bits.problem import SearchProblem
from dse.search.bits.solve import Outcome, Weighting, fixed_designs, solve_designs
from dse.search.loop.dimensions import LATENCY_WEIGHT, LIMIT_SHARE, choice_names, error_names

#: A batch is given out so often before killed workers end the run: something kills them on purpose, memory most likely.
ATTEMPTS = 4
#: Parts of a batch on a cluster, whatever its size.
CLUSTER_PARTS = 8

_problem: SearchProblem | None = None
_solves = True


class Workers:
    """A pool for the trials of a search; with one job they run in this process.

    Parameters
    ----------
    solves
        Whether bit maps are solved for, or chosen by the proposals.
    scheduler
        Address of a Dask scheduler; its workers run the trials instead.

    Raises
    ------
    InputError
        Workers were killed again and again, Dask is not installed, or its scheduler does not answer or goes away.
    """

    def __init__(self, problem: SearchProblem, solves: bool, jobs: int, scheduler: str | None = None) -> None:
        self.problem = problem
        self.solves = solves
        self.jobs = jobs
        self.scheduler = scheduler
        self.pool: ProcessPoolExecutor | None = None
        self.client: Any = None

    def __enter__(self) -> Workers:
        if self.scheduler is not None:
            self.client = connect(self.scheduler)
        elif self.jobs > 1:
            self.pool = self._pool()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
        if self.client is not None:
            self.client.close()

    def run(self, values: Sequence[Mapping[str, float]], first: int) -> list[Outcome]:
        """Outcomes of a batch of proposals by dimension name, in order; ``first`` numbers the first trial."""
        if self.client is not None:
            return self._run_on_cluster(values, first)
        if self.pool is None:
            return run_trials(self.problem, self.solves, values, first)
        for attempt in range(ATTEMPTS):
            try:
                tasks = [
                    self.pool.submit(_work, [values[i] for i in part], first + int(part[0]))
                    for part in _parts(len(values), self.jobs)
                ]
                return [outcome for task in tasks for outcome in task.result()]
            except BrokenProcessPool:
                self.pool.shutdown(wait=True, cancel_futures=True)
                if attempt < ATTEMPTS - 1:
                    self.pool = self._pool()
        raise InputError("--jobs", [f"workers were killed {ATTEMPTS} times in a row; try fewer, memory may be short"])

    def _pool(self) -> ProcessPoolExecutor:
        # A forked child would inherit the threads of the compiled kernel half-way; a spawned one starts clean.
        return ProcessPoolExecutor(
            self.jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self.problem, self.solves, max(1, numba.get_num_threads() // self.jobs)),
        )

    def _run_on_cluster(self, values: Sequence[Mapping[str, float]], first: int) -> list[Outcome]:
        killed = importlib.import_module("distributed").KilledWorker
        try:
            tasks = [
                self.client.submit(
                    run_trials,
                    # With every task (some 50 kB): data that only workers hold would be lost with them.
                    self.problem,
                    self.solves,
                    [values[i] for i in part],
                    first + int(part[0]),
                    pure=False,
                    retries=ATTEMPTS - 1,
                )
                for part in _parts(len(values), CLUSTER_PARTS)
            ]
            return [outcome for outcomes in self.client.gather(tasks) for outcome in outcomes]
        except killed:
            raise InputError("--scheduler", ["workers were killed again and again; memory may be short"]) from None
        except (CancelledError, OSError):
            # Tasks of a lost scheduler are cancelled, new ones cannot be sent; Dask would log how it tries to connect.
            logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)
            raise InputError(
                "--scheduler", ["the Dask scheduler went away; finished trials are kept for --resume"]
            ) from None


def connect(scheduler: str) -> Any:
    """A client of a Dask scheduler.

    Raises
    ------
    InputError
        Dask is not installed, or the scheduler does not answer.
    """
    try:
        client = importlib.import_module("distributed").Client
    except ImportError:
        raise InputError("--scheduler", ["needs Dask: pip install 'lowprec-dse[dask]'"]) from None
    try:
        return client(scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError("--scheduler", [f"no Dask scheduler answers at {scheduler}: {error}"]) from None


def run_trials(
    problem: SearchProblem, solves: bool, values: Sequence[Mapping[str, float]], first: int
) -> list[Outcome]:
    """Outcomes of proposals; see :class:`Workers`."""
    names = [name for name, _ in problem.parameters]
    designs = np.array([[proposal[name] for name in names] for proposal in values]).reshape(len(values), len(names))
    if solves:
        return solve_designs(problem, designs, [_weightings(proposal) for proposal in values], first)
    # A given plan is the only choice of its network.
    only = dict.fromkeys((*error_names(problem), *choice_names(problem)), 0.0)
    given = [{**only, **proposal} for proposal in values]
    errors = [[int(proposal[name]) for name in error_names(problem)] for proposal in given]
    choices = [np.array([int(proposal[name]) for name in choice_names(problem)], dtype=np.uint8) for proposal in given]
    return fixed_designs(problem, designs, errors, choices, first)


#: What a point that no sampler proposed is solved for beside the fixed weights; tighter limits than asked for trade accuracy.
EXHAUSTIVE_WEIGHT = 0.25
EXHAUSTIVE_SHARES = (1.0, 0.75, 0.5, 0.25)


def _weightings(proposal: Mapping[str, float]) -> list[Weighting]:
    """What a point is solved for; every share of the limit where the proposal names one but no weight."""
    if LATENCY_WEIGHT in proposal:
        return [Weighting(proposal[LATENCY_WEIGHT], proposal.get(LIMIT_SHARE, 1.0))]
    shares = EXHAUSTIVE_SHARES if LIMIT_SHARE in proposal else (1.0,)
    return [Weighting(EXHAUSTIVE_WEIGHT, share) for share in shares]


def _parts(count: int, parts: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    return [part for part in np.array_split(np.arange(count), parts) if len(part)]


def _start(problem: SearchProblem, solves: bool, threads: int) -> None:
    global _problem, _solves
    _problem, _solves = problem, solves
    # Ctrl-C is the parent's to answer; and a worker whose parent was killed would wait for work for ever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    # Workers that each use all cores wait for one another: compiled loops lose far more than they win.
    numba.set_num_threads(threads)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _work(values: Sequence[Mapping[str, float]], first: int) -> list[Outcome]:
    assert _problem is not None
    return run_trials(_problem, _solves, values, first)
