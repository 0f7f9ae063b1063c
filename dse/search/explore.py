"""``explore``: hardware by Optuna, formats exactly, everything found in one archive, one run folder.

How it goes through the space is the strategy's: :data:`dse.search.loop.strategies.STRATEGIES`.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.accuracy import Profile, load_profile
from dse.accuracy.confidence import ROBUST
from dse.cost.fusion.epilogues import SUMMED, with_fusion
from dse.cost.jobs.network import MODES
from dse.errors import InputError, Problem
from dse.goals import OBJECTIVES
from dse.hardware import load_hardware
from dse.hardware.model import Hardware
from dse.numbers import ACCURACY_DROP, CONFIDENCE, JOBS, SECONDS, SEED, SURE, TRIALS, problems_of
from dse.precision import Plan
from dse.search.bits.asked.make import Asked, Offered, Together, make_problem
from dse.search.bits.asked.possible import check_found, check_possible
from dse.search.bits.problem import SearchProblem
from dse.search.bits.schedule_space import ScheduleSpace, load_schedules
from dse.search.loop.dimensions import size
from dse.search.loop.optuna_study import SAMPLERS, make_sampler
from dse.search.loop.run import Budget, Search, search
from dse.search.loop.strategies import STRATEGIES
from dse.search.outcome.results import Run, make_run
from dse.search.outcome.run_folder import prepared, write_draws, write_run
from dse.search.outcome.uncertainty import drawn_front, draws_table, with_error_bars
from dse.shipped import shipped_names
from dse.workload import load_workload
from dse.workload.model import Network
from dse.yaml_input import suggest

#: Trials where neither their number nor a time is given.
DEFAULT_TRIALS = 120
#: Limit on the predicted drop where none is given, points.
DEFAULT_DROP = 1.0
#: Designs that ``exhaustive`` takes on.
MAX_EXHAUSTIVE = 50_000

#: Called after every batch with trials done, size of the front, hypervolume and the front's worst gap.
Progress = Callable[[int, int, float, float], None]


@dataclass(frozen=True)
class Effort:
    """How a search goes through the space, and how far; :func:`explore` says what each means."""

    strategy: str
    sampler: str
    trials: int | None
    seconds: float | None
    seed: int
    jobs: int
    scheduler: str | None
    screening: bool


@dataclass(frozen=True)
class Told:
    """What is told of a search, to whom and where; :func:`explore` says what each means."""

    folder: Path | None
    resume: bool
    uncertainty: int | None
    progress: Progress | None
    command: str
    validation: Callable[[], Sequence[Mapping[str, Any]]] | None


def explore(
    workload: Network | str | Path | Sequence[Network | str | Path],
    hardware: Hardware | str | Path = "flex_trainer",
    *,
    profile: Profile | str | Path | Sequence[Profile | str | Path] | None = None,
    plan: Plan | str | Path | Sequence[Plan | str | Path] | None = None,
    max_accuracy_drop: float | None = None,
    objectives: Sequence[str] = ("latency", "energy", "area"),
    strategy: str = "nested",
    sampler: str = "tpe",
    trials: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    jobs: int = 1,
    scheduler: str | None = None,
    mode: str = "training",
    confidence: float | None = None,
    robust: bool = False,
    widths: Sequence[int] | None = None,
    formats: Sequence[str] | None = None,
    error_formats: Sequence[str] | None = None,
    errors_per_layer: bool = False,
    weights: Sequence[float] | None = None,
    worst_case: bool = False,
    limits: Mapping[str, float] | None = None,
    schedules: ScheduleSpace | str | Path | None = None,
    screening: bool = True,
    uncertainty: int | None = None,
    out: str | Path | None = None,
    write: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
    validation: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    fusion: str | None = None,
) -> Run:
    """Search formats of every layer and hardware under an accuracy limit.

    Parameters
    ----------
    workload, hardware, profile
        Objects, files, or names of shipped ones; the default profile is the shipped one of the workload's name. Several workloads
        (with a profile each) share one hardware, each with its own bit map.
    plan
        Search hardware alone, under this plan (one for all workloads, or one of each): a :class:`~dse.Plan`, a plan in short such
        as ``w8a8``, or its file. No profile is needed, and nothing is said about accuracy.
    max_accuracy_drop
        Hard limit on the loss of top-1 accuracy, points; default :data:`DEFAULT_DROP`.
    objectives
        Names of :data:`dse.goals.OBJECTIVES`, such as latency, energy, area, accuracy: what the front is non-dominated in.
    strategy, sampler
        Names of :data:`dse.search.loop.strategies.STRATEGIES`, and of :data:`dse.search.loop.optuna_study.SAMPLERS`.
    trials
        Different hardware points to try (``nested``, or with ``plan``), or designs (``joint``, ``random``); 120 where neither it
        nor ``seconds`` is given. A space with no more points than that is tried whole.
    seconds
        Stop after the batch in which so much time has passed, parts before a ``resume`` included.
    seed
        Same inputs, seed and number of trials give the same result, for any number of jobs.
    jobs, scheduler
        Worker processes, or the address of a Dask scheduler whose workers are used instead.
    confidence
        Probability, at least one half, with which a design keeps the limit on accuracy, by the predictor's leave-one-out errors and
        the bias of what a search picks (:mod:`dse.accuracy.confidence`); default 0.9. One half: predicted drops as they are.
    robust
        The same as a confidence of 0.79: of normal errors, that of the predictor's mean absolute error.
    widths
        Widths that the weights and activations of a layer may take as integers, bits.
    formats
        Formats that they may take, by name, in all pairs (or alike, where the profile measured both together), and pairs such as
        ``w4a8`` or ``weight=nvfp4,activation=mxfp8``. Default, without ``widths``: what the hardware's file says that its elements
        are made for, else integers of 2 to 8 bits, or floats on elements that multiply no integers. A format that the profile did
        not measure scores by a law (:mod:`dse.accuracy.profiles.noise`), which notes and tables say.
    error_formats
        Formats that error tensors may take; the profile has to know their drop. Default: integers of the widths that it knows, and
        those of ``formats`` that are none.
    errors_per_layer
        Choose the format of the error for every layer by itself, none narrower than the network's; the drop counted is that of the
        narrowest.
    weights, worst_case
        Several workloads: how often a step of each is run, for the sums of latency and energy; or take the largest instead.
    limits
        Further hard limits by name of :data:`dse.goals.LIMITS`, in its units, for a step of every workload.
    schedules
        Search when to use which width too: ``cyclic``, a file, or a space; see :mod:`dse.search.bits.schedule_space`.
    screening
        Start ``nested`` from screened hardware; without it, from the sampler's own first points.
    uncertainty
        Draws of every price from its range on the final front: error bars, and how sure it is that each design belongs to it
        (:mod:`dse.search.outcome.uncertainty`). None: none. The search itself uses nominal prices.
    out, write, resume
        Where to write the run folder (implies ``write``); ``write`` alone uses reports/NAME-DATE-SEED; ``resume`` goes on
        with the run in ``out``.
    progress
        See :data:`Progress`.
    command, validation
        What the report shows as the command line, and what gives its rows of published figures against ours, asked for once
        designs are found.
    fusion
        What runs fused; default: the hardware's. With ``none`` and ``vector`` costs of layers add up and bit maps are proven
        optimal. With ``resident`` and ``best`` they do not: maps are priced whole, and the certificate's gap is the proven
        distance from the best of all maps with all that may run fused (:mod:`dse.search.bits.joint`).

    Raises
    ------
    InputError
        Any input is wrong, a limit that nothing can keep (with the nearest value that can be kept; known before the search for
        all but latency and energy), a space too large to exhaust, or a folder that cannot be written.
    NothingFeasible
        No design that was tried keeps the limits; with the nearest values of those that were. Nothing is written.
    """
    started = time.time()
    effort = Effort(strategy, sampler, trials, seconds, seed, jobs, scheduler, screening)
    networks = _networks(workload)
    space = _space(hardware, fusion, schedules)
    chosen = _objectives(objectives)
    _check(effort, mode, max_accuracy_drop, confidence, robust)
    given: Sequence[Profile | Plan]
    if plan is None:
        given = _profiles(profile, networks)
    else:
        taken = {
            "--profile": profile,
            "--max-accuracy-drop": max_accuracy_drop,
            "--schedules": schedules,
            "--widths": widths,
            "--formats": formats,
            "--error-formats": error_formats,
            "--errors-per-layer": errors_per_layer or None,
            "--confidence": confidence,
            "--robust": robust or None,
        }
        _check_plan_alone(taken, chosen)
        given = _plans(plan, networks)
    asked = Asked(
        limit_pp=math.inf if plan is not None else DEFAULT_DROP if max_accuracy_drop is None else max_accuracy_drop,
        confidence=confidence if confidence is not None else ROBUST if robust else CONFIDENCE,
        mode=mode,
        offered=Offered(widths, formats, error_formats, errors_per_layer),
        together=Together(weights, worst_case),
        limits=limits or {},
        schedules=load_schedules(schedules) if isinstance(schedules, str | Path) else schedules,
    )
    problem = make_problem(networks, space, given, asked)
    check_possible(problem)
    told = Told(_folder(out, write, networks, seed), resume, uncertainty, progress, command, validation)
    return _search(problem, chosen, effort, told, started)


def _search(problem: SearchProblem, chosen: tuple[str, ...], effort: Effort, told: Told, started: float) -> Run:
    """Go through the space, and write what is found where a folder is asked for."""
    how = STRATEGIES[effort.strategy]
    points = size(how.dimensions(problem, chosen))
    trials = _exhaustible(points) if how.listed else effort.trials
    if trials is None and effort.seconds is None:
        trials = DEFAULT_TRIALS
    asked = Search(problem, chosen, how, effort.sampler, effort.seed, effort.screening and how.screens)
    folder = told.folder
    with prepared(folder, told.resume) if folder is not None else nullcontext():
        budget = Budget(trials, effort.seconds)
        archive = search(asked, budget, effort.jobs, effort.scheduler, folder, told.resume, told.progress)
        if not len(archive.found):
            check_found(problem, archive.done, archive.failed)
        published = () if told.validation is None else told.validation()
        run = make_run(asked, archive, folder, trials, effort.jobs, started, told.command, published)
        drawn = None if told.uncertainty is None else drawn_front(run, chosen, told.uncertainty, effort.seed)
        if drawn is not None:
            run = with_error_bars(run, drawn, effort.seed)
        if folder is not None:
            write_run(run, folder)
            write_draws(folder, None if drawn is None else draws_table(run, drawn))
    return run


def _networks(workload: Network | str | Path | Sequence[Network | str | Path]) -> list[Network]:
    names = [workload] if isinstance(workload, Network | str | Path) else list(workload)
    return [name if isinstance(name, Network) else load_workload(name) for name in names]


def _space(
    hardware: Hardware | str | Path, fusion: str | None, schedules: ScheduleSpace | str | Path | None
) -> Hardware:
    """The hardware with what it fuses, which schedules may exclude."""
    space = with_fusion(hardware if isinstance(hardware, Hardware) else load_hardware(hardware), fusion)
    if schedules is not None and space.fusion not in SUMMED:
        text = (
            f"'{space.fusion}' prices whole bit maps, which schedules lower layer by layer; give {' or '.join(SUMMED)}"
        )
        raise InputError("--fusion", [text])
    return space


def _profiles(
    given: Profile | str | Path | Sequence[Profile | str | Path] | None, networks: Sequence[Network]
) -> list[Profile]:
    if given is None:
        each: list[Profile | str | Path] = [network.name for network in networks]
        known = shipped_names("workloads/profiles")
        if missing := [network.name for network in networks if network.name not in known]:
            raise InputError("--profile", [_missing_profile(name) for name in missing])
    else:
        each = [given] if isinstance(given, Profile | str | Path) else list(given)
    if len(each) != len(networks):
        raise InputError("--profile", [f"expected one per workload ({len(networks)}), got {len(each)}"])
    return [
        profile if isinstance(profile, Profile) else load_profile(profile, network)
        for profile, network in zip(each, networks, strict=True)
    ]


def _missing_profile(name: str) -> str:
    return (
        f"'{name}' has no sensitivity profile, which says how much each layer suffers at each width; measure one with "
        f"'dse profile MODEL.onnx --data IMAGES -o profile.yaml --network {name}' and give --profile profile.yaml, or search "
        "hardware alone with --plan w8a8"
    )


def _check_plan_alone(options: Mapping[str, object], objectives: Sequence[str]) -> None:
    """A given plan leaves nothing to choose but the hardware."""
    problems = [
        Problem(name, "goes without --plan, which searches hardware alone")
        for name, value in options.items()
        if value is not None
    ]
    problems += [
        Problem("--objectives", f"{item.name} needs a profile; --plan searches hardware alone")
        for item in OBJECTIVES.values()
        if item.needs_profile and item.column in objectives
    ]
    if problems:
        raise InputError("dse explore", problems)


def _plans(given: Plan | str | Path | Sequence[Plan | str | Path], networks: Sequence[Network]) -> list[Plan]:
    each = [given] if isinstance(given, Plan | str | Path) else list(given)
    if len(each) == 1:
        each = each * len(networks)
    if len(each) != len(networks):
        raise InputError("--plan", [f"expected one, or one per workload ({len(networks)}), got {len(each)}"])
    return [
        plan if isinstance(plan, Plan) else Plan.parse(str(plan), network)
        for plan, network in zip(each, networks, strict=True)
    ]


def _exhaustible(points: int) -> int:
    if points > MAX_EXHAUSTIVE:
        raise InputError(
            "--strategy",
            [
                f"exhaustive takes on at most {MAX_EXHAUSTIVE:,} designs, the space has {points:,}; fix some of its parameters, "
                "or use nested"
            ],
        )
    return points


def _objectives(names: Sequence[str]) -> tuple[str, ...]:
    problems = [f"'{name}' is no objective{suggest(name, OBJECTIVES)}" for name in names if name not in OBJECTIVES]
    if len(set(names)) != len(names):
        problems.append("an objective is named twice")
    if not names:
        problems.append(f"at least one is needed; known: {', '.join(OBJECTIVES)}")
    if problems:
        raise InputError("--objectives", problems)
    return tuple(OBJECTIVES[name].column for name in names)


def _check(effort: Effort, mode: str, limit: float | None, confidence: float | None, robust: bool) -> None:
    problems = []
    if confidence is not None and robust:
        problems.append(Problem("--robust", f"is --confidence {ROBUST:g}; give one of them"))
    for option, value, known in (
        ("--strategy", effort.strategy, STRATEGIES),
        ("--sampler", effort.sampler, SAMPLERS),
        ("--mode", mode, MODES),
    ):
        if value not in known:
            problems.append(Problem(option, f"'{value}' is unknown{suggest(value, known)}"))
    numbers = [(TRIALS, effort.trials), (JOBS, effort.jobs), (SEED, effort.seed), (SECONDS, effort.seconds)]
    problems += problems_of([*numbers, (ACCURACY_DROP, limit), (SURE, confidence)])
    if problems:
        raise InputError("dse explore", problems)
    make_sampler(effort.sampler, effort.seed)


def _folder(out: str | Path | None, write: bool, networks: Sequence[Network], seed: int) -> Path | None:
    if out is not None:
        return Path(out)
    if not write:
        return None
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("reports") / f"{'+'.join(network.name for network in networks)}-{today}-{seed}"
