"""``explore``: hardware by Optuna, bit widths exactly, everything found in one archive, one run folder.

Strategies:

* ``nested``: Optuna proposes a hardware point and a weight between latency and energy; the bit map is the solution of the
  inner problem (:mod:`dse.search.inner`), and everything the inner solver finds enters the archive.
* ``joint``: the width of every layer group is an Optuna parameter beside the hardware: the yardstick.
* ``random``: as ``joint``, drawn uniformly.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dse.accuracy import Profile, load_profile
from dse.cost.network_jobs import MODES
from dse.errors import InputError, Problem
from dse.files import write_text
from dse.hardware import load_hardware
from dse.hardware.model import Hardware
from dse.search.archive import OBJECTIVES, Found, empty, load, merge, nondominated, save
from dse.search.inner import SearchProblem, make_problem
from dse.search.pareto import hypervolume
from dse.search.results import Failed, Run, make_run, write_run
from dse.search.run_folder import prepare
from dse.search.study import BATCH, SAMPLERS, Dimension, new_study, propose, record, replay, tell
from dse.search.workers import Workers
from dse.workload import load_workload
from dse.workload.model import Network
from dse.yaml_input import suggest

STRATEGIES = ("nested", "joint", "random")
SHORT_OBJECTIVES = {
    "latency": "latency_s",
    "energy": "energy_j",
    "area": "area_mm2",
    "accuracy": "accuracy_drop_pp",
}
#: Rows of designs.csv at most; the front is always whole.
KEPT_DESIGNS = 20_000

Progress = Callable[[int, int, float, float], None]


def explore(
    workload: Network | str | Path,
    hardware: Hardware | str | Path = "flex_trainer",
    *,
    profile: Profile | str | Path | None = None,
    max_accuracy_drop: float = 1.0,
    objectives: Sequence[str] = ("latency", "energy", "area"),
    strategy: str = "nested",
    sampler: str = "tpe",
    trials: int = 120,
    seed: int = 0,
    jobs: int = 1,
    mode: str = "training",
    robust: bool = False,
    widths: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    out: str | Path | None = None,
    write: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
    validation: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """Search bit-width maps and hardware under an accuracy limit.

    Parameters
    ----------
    workload, hardware, profile
        Objects, files, or names of shipped ones; the default profile is the shipped one of the workload's name.
    max_accuracy_drop
        Hard limit on the predicted loss of top-1 accuracy, points.
    objectives
        Of latency, energy, area, accuracy: what the front is non-dominated in.
    strategy, sampler
        See the module; sampler is one of :data:`dse.search.study.SAMPLERS`.
    trials
        Hardware points to try (``nested``), or designs (``joint``, ``random``).
    seed
        Same inputs and seed give the same result, for any number of jobs.
    jobs
        Worker processes.
    robust
        Hold the limit for the predicted drop plus the predictor's leave-one-out error.
    widths
        Widths that the weights and activations of a layer may take, bits.
    out, write, resume
        Where to write the run folder (implies ``write``); ``write`` alone uses reports/NAME-DATE-SEED; ``resume`` goes on
        with the run in ``out``.
    progress
        Called after every batch with trials done, size of the front, hypervolume and the front's worst gap.
    command, validation
        What the report shows as the command line, and as rows of published figures against ours.

    Raises
    ------
    InputError
        Any input is wrong, a limit that no plan keeps (with the nearest value that one does), or a folder that cannot
        be written.
    """
    started = time.time()
    network = workload if isinstance(workload, Network) else load_workload(workload)
    space = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
    chosen = _objectives(objectives)
    _check(strategy, sampler, mode, trials, seed, jobs, max_accuracy_drop)
    sensitivities = profile if isinstance(profile, Profile) else load_profile(profile or network.name, network)
    problem = make_problem(network, space, sensitivities, widths, max_accuracy_drop, robust, mode)
    folder = _folder(out, write, network, seed)
    if folder is not None:
        prepare(folder, resume)

    inputs = _inputs(problem, chosen, strategy, sampler, trials, seed)
    found, failed, hypervolumes = _search(
        problem, chosen, strategy, sampler, trials, seed, jobs, folder, inputs, resume, progress
    )
    run = make_run(problem, chosen, found, failed, hypervolumes, folder, inputs, jobs, started, command, validation)
    if folder is not None:
        write_run(run, folder)
    return run


def dimensions_of(problem: SearchProblem, strategy: str, objectives: Sequence[str]) -> list[Dimension]:
    """What Optuna chooses: hardware, and by strategy a point of the bit-width front or the choice of every layer group."""
    hardware = [Dimension(parameter.name, parameter.values) for parameter in problem.hardware.space]
    if strategy == "nested":
        # A tighter limit than asked for is a trade-off only where accuracy is an objective.
        accuracy = [Dimension("limit_share")] if "accuracy_drop_pp" in objectives else []
        return [*hardware, Dimension("latency_weight"), *accuracy]
    error = [Dimension("error_bits", tuple(float(bits) for bits in problem.error_widths))]
    groups = [
        Dimension(f"choice.{name}", tuple(float(index) for index in np.flatnonzero(allowed)))
        for name, allowed in zip(problem.group_names, problem.allowed, strict=True)
    ]
    return [*hardware, *error, *groups]


def _search(
    problem: SearchProblem,
    objectives: tuple[str, ...],
    strategy: str,
    sampler: str,
    trials: int,
    seed: int,
    jobs: int,
    folder: Path | None,
    inputs: dict[str, Any],
    resume: bool,
    progress: Progress | None,
) -> tuple[Found, list[Failed], list[float]]:
    dimensions = dimensions_of(problem, strategy, objectives)
    study = new_study(len(objectives))
    found = empty(len(problem.hardware.space), len(problem.group_names))
    trace: list[float] = []
    failed: list[Failed] = []
    columns = [OBJECTIVES.index(name) for name in objectives]
    done = 0
    if resume and folder is not None:
        done, found, failed, trace = _restore(folder, inputs, study, dimensions, found)
    name = "random" if strategy == "random" else sampler
    with Workers(problem, strategy, jobs) as workers:
        while done < trials:
            count = min(BATCH, trials - done)
            asked, proposals = propose(study, dimensions, name, seed, done // BATCH, count)
            values = [{d.name: d.value(proposal[d.name]) for d in dimensions} for proposal in proposals]
            outcomes = workers.run(values, first=done)
            tell(study, asked, [outcome.told(objectives) for outcome in outcomes])
            found = merge([found, *(outcome.found for outcome in outcomes)])
            failed += [(outcome.limit, outcome.parameters.tolist()) for outcome in outcomes if outcome.limit]
            front = nondominated(found, objectives)
            trace.append(hypervolume(front.objectives[:, columns] / problem.reference[columns], np.ones(len(columns))))
            found = _thin(found, front, objectives)
            done += count
            if folder is not None:
                _store(folder, done, found, failed, record(study, 0), trace, inputs)
            if progress is not None:
                progress(done, len(front), trace[-1], float(front.gap.max(initial=0.0)))
    return found, failed[-KEPT_DESIGNS:], trace


def _thin(found: Found, front: Found, objectives: tuple[str, ...]) -> Found:
    """All of the front, and of the rest the latest that fit into :data:`KEPT_DESIGNS`."""
    if len(found) <= KEPT_DESIGNS:
        return found
    rest = found.take(np.arange(len(found) - max(KEPT_DESIGNS - len(front), 0), len(found)))
    return merge([front, rest])


def _store(
    folder: Path,
    done: int,
    found: Found,
    failed: list[Failed],
    trials: list[dict[str, Any]],
    trace: list[float],
    inputs: dict[str, Any],
) -> None:
    path = folder / "state" / f"found-{done}.npz"
    save(found, path)
    state = {"done": done, "inputs": inputs, "failed": failed, "trials": trials, "trace": trace}
    write_text(folder / "state" / "state.json", json.dumps(state))
    for old in (folder / "state").glob("found-*.npz"):
        if old != path:
            old.unlink()


def _restore(
    folder: Path, inputs: dict[str, Any], study: Any, dimensions: list[Dimension], nothing: Found
) -> tuple[int, Found, list[Failed], list[float]]:
    path = folder / "state" / "state.json"
    if not path.exists():
        return 0, nothing, [], []
    state = json.loads(path.read_text())
    before, now = state["inputs"], json.loads(json.dumps(inputs))
    changed = [key for key in now if key != "trials" and before.get(key) != now[key]]
    if changed:
        what = ", ".join(f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in changed)
        raise InputError(str(folder), [f"the run to resume had other inputs: {what}"])
    replay(study, dimensions, state["trials"])
    failed = [(str(limit), list(values)) for limit, values in state["failed"]]
    return state["done"], load(folder / "state" / f"found-{state['done']}.npz"), failed, state["trace"]


def _objectives(names: Sequence[str]) -> tuple[str, ...]:
    problems = [
        f"'{name}' is no objective{suggest(name, SHORT_OBJECTIVES)}" for name in names if name not in SHORT_OBJECTIVES
    ]
    if len(set(names)) != len(names):
        problems.append("an objective is named twice")
    if not names:
        problems.append(f"at least one is needed; known: {', '.join(SHORT_OBJECTIVES)}")
    if problems:
        raise InputError("--objectives", problems)
    return tuple(SHORT_OBJECTIVES[name] for name in names)


def _check(strategy: str, sampler: str, mode: str, trials: int, seed: int, jobs: int, limit: float) -> None:
    problems = []
    for option, value, known in (
        ("--strategy", strategy, STRATEGIES),
        ("--sampler", sampler, SAMPLERS),
        ("--mode", mode, MODES),
    ):
        if value not in known:
            problems.append(Problem(option, f"'{value}' is unknown{suggest(value, known)}"))
    for option, number, least in (("--trials", trials, 1), ("--jobs", jobs, 1), ("--seed", seed, 0)):
        if number < least:
            problems.append(Problem(option, f"expected an integer >= {least}, got {number}"))
    if not np.isfinite(limit):
        problems.append(Problem("--max-accuracy-drop", f"expected a finite number of points, got {limit}"))
    if problems:
        raise InputError("dse explore", problems)


def _folder(out: str | Path | None, write: bool, network: Network, seed: int) -> Path | None:
    if out is not None:
        return Path(out)
    if not write:
        return None
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("reports") / f"{network.name}-{today}-{seed}"


def _inputs(
    problem: SearchProblem, objectives: tuple[str, ...], strategy: str, sampler: str, trials: int, seed: int
) -> dict[str, Any]:
    """What decides the result; a run is resumed only with the same."""
    return {
        "workload_digest": problem.digest,
        "max_accuracy_drop_pp": problem.limit_pp,
        "robust": problem.robust,
        "mode": problem.mode,
        "objective_columns": list(objectives),
        "widths": list(problem.widths),
        "strategy": strategy,
        "sampler": "random" if strategy == "random" else sampler,
        "trials": trials,
        "seed": seed,
    }
