"""``dse explore``: the search, its progress and what it prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli.options import (
    CommunicationOption,
    ConstraintOption,
    FusionOption,
    HardwareOption,
    Mode,
    SystemOption,
    TableOption,
    app,
    numbers,
    shipped,
)
from dse.cli.terminal import console, say
from dse.errors import InputError
from dse.goals import LIMITS, OBJECTIVES

if TYPE_CHECKING:
    from dse.search import Run


# Options of ``dse explore``.
_Workload = Annotated[
    list[str],
    typer.Argument(
        help="A workload file, or the name of a shipped one; several share one hardware.",
        autocompletion=shipped("workloads"),
    ),
]
_Profile = Annotated[
    list[str] | None,
    typer.Option(help="Sensitivity profile, one per workload; default: the shipped ones of the workloads' names."),
]
_Plan = Annotated[
    list[str] | None,
    typer.Option(
        help="Search hardware alone, under this plan (w8a8, a YAML file); one for all workloads, or one of each."
    ),
]
_MaxAccuracyDrop = Annotated[float | None, typer.Option(help="Hard limit on lost top-1 accuracy, points; default 1.")]
_Objectives = Annotated[
    str,
    typer.Option(
        help=f"Comma-separated, of {', '.join(OBJECTIVES)}; of a system time, energy, devices, memory (all of them)."
    ),
]
_Strategy = Annotated[str, typer.Option(help="nested, joint, random or exhaustive.")]
_Sampler = Annotated[str, typer.Option(help="tpe, nsga2, nsga3, gp, qmc, cma or random.")]
_Trials = Annotated[int | None, typer.Option(help="Hardware designs to try; default 120 without --seconds.")]
_Seconds = Annotated[float | None, typer.Option(help="Stop after so much time.")]
_Seed = Annotated[int, typer.Option(help="Same file and same seed give the same result.")]
_Jobs = Annotated[int, typer.Option(help="Worker processes; the result does not depend on them.")]
_Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use instead of --jobs.")]
_Weights = Annotated[
    str | None, typer.Option(help="How often a step of each workload is run, such as 1,2; default: once each.")
]
_WorstCase = Annotated[
    bool, typer.Option("--worst-case", help="Largest of the workloads' latency and energy, not their sum.")
]
_MaxLatency = Annotated[float | None, typer.Option(help=LIMITS["latency"].help)]
_MaxEnergy = Annotated[float | None, typer.Option(help=LIMITS["energy"].help)]
_MaxArea = Annotated[float | None, typer.Option(help=LIMITS["area"].help)]
_MaxModelSize = Annotated[float | None, typer.Option(help=LIMITS["model_size"].help)]
_MaxMemory = Annotated[float | None, typer.Option(help=LIMITS["memory"].help)]
_MaxBitops = Annotated[float | None, typer.Option(help=LIMITS["bitops"].help)]
_Uncertainty = Annotated[
    int | None,
    typer.Option(help="Draws of every price from its range on the final front, such as 200: error bars.", min=2),
]
_Schedules = Annotated[
    str | None, typer.Option(help="Search schedules over training too: cyclic, or a file of their space.")
]
_Formats = Annotated[
    str | None,
    typer.Option(
        help="Formats to choose from, such as int4,int8,mxfp8_e4m3,nvfp4,bf16, and pairs such as w4a8; default: what the "
        "hardware is made for."
    ),
]
_Widths = Annotated[str | None, typer.Option(help="Widths of integers to choose from, such as 4,8.")]
_ErrorFormats = Annotated[
    str | None, typer.Option(help="Formats of error tensors to choose from, such as fp8_e5m2,bf16.")
]
_ErrorsPerLayer = Annotated[bool, typer.Option("--errors-per-layer", help="Choose the errors' format layer by layer.")]
_Confidence = Annotated[
    float | None,
    typer.Option(
        help="Probability with which a design keeps the accuracy limit; default 0.9, 0.5: predicted drops alone."
    ),
]
_Robust = Annotated[bool, typer.Option("--robust", help="The same as --confidence 0.79.")]
_Out = Annotated[Path | None, typer.Option(help="Run folder; default reports/NAME-DATE-SEED.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
_TargetLoss = Annotated[
    float | None,
    typer.Option(help="Language models: time and energy of each --plan to this final loss (nat), all its tokens paid."),
]


_Devices = Annotated[
    str | None, typer.Option(help="Of a system: a number of devices, or several to choose from, such as 8,64,512.")
]
_Plans = Annotated[
    str | None,
    typer.Option(
        help="Of a system: plans of formats to try, recipes such as bf16,fp8,mxfp8,nvfp4 (the default) or others."
    ),
]
_Samples = Annotated[
    int | None, typer.Option(help="Of a system: samples of a step; default: 4 for each of the most devices.")
]


@app.command(epilog="Example: dse explore workloads/imagenet_resnet.yaml --max-accuracy-drop 0.5 --trials 400")
def explore(
    context: typer.Context,
    workload: _Workload,
    hardware: HardwareOption = "flex_trainer",
    profile: _Profile = None,
    plan: _Plan = None,
    max_accuracy_drop: _MaxAccuracyDrop = None,
    objectives: _Objectives = "latency,energy,area",
    strategy: _Strategy = "nested",
    sampler: _Sampler = "tpe",
    trials: _Trials = None,
    seconds: _Seconds = None,
    seed: _Seed = 0,
    jobs: _Jobs = 1,
    scheduler: _Scheduler = None,
    weights: _Weights = None,
    worst_case: _WorstCase = False,
    max_latency: _MaxLatency = None,
    max_energy: _MaxEnergy = None,
    max_area: _MaxArea = None,
    max_model_size: _MaxModelSize = None,
    max_memory: _MaxMemory = None,
    max_bitops: _MaxBitops = None,
    uncertainty: _Uncertainty = None,
    schedules: _Schedules = None,
    formats: _Formats = None,
    widths: _Widths = None,
    error_formats: _ErrorFormats = None,
    errors_per_layer: _ErrorsPerLayer = False,
    mode: Mode = "training",
    confidence: _Confidence = None,
    robust: _Robust = False,
    out: _Out = None,
    resume: _Resume = False,
    fusion: FusionOption = None,
    constraint: ConstraintOption = None,
    target_loss: _TargetLoss = None,
    system: SystemOption = None,
    devices: _Devices = None,
    plans: _Plans = None,
    samples: _Samples = None,
    communication: CommunicationOption = None,
    table: TableOption = None,
) -> None:
    """Search formats and hardware under an accuracy limit.

    Or, with --system, all parallel plans on many devices. Writes a report with the Pareto front.
    """
    given = {name for name in context.params if _given(context, name)}
    if system is not None:
        from dse.cli.system import explore_command

        _require_system_options(workload, given)
        device = hardware if "hardware" in given else None
        chosen = objectives if "objectives" in given else None
        explore_command(workload[0], device, system, devices, plans, samples, chosen, target_loss, communication, out)
        return
    if only := sorted(given & {"devices", "plans", "samples", "communication"}):
        raise InputError("dse explore", [f"--{', --'.join(only)} go with --system"])
    if table is not None:
        from dse.cli.commands.lookup import explore_table, require_table_options

        require_table_options(workload, mode, given)
        known = profile[0] if profile else None
        explore_table(workload[0], table, known, _names(formats), max_accuracy_drop, confidence, out)
        return
    if target_loss is not None:
        unused = (
            profile, max_accuracy_drop, confidence, schedules, uncertainty, weights, robust or None, resume or None, constraint,
        )  # fmt: skip
        if len(workload) != 1 or mode != "training" or any(value is not None for value in unused):
            text = "goes with one workload in training, --hardware, --plan, --trials, --seed, --fusion and --out alone"
            raise InputError("--target-loss", [text])
        from dse.cli.target_loss import explore_target_loss

        explore_target_loss(workload[0], hardware, target_loss, plan, trials, seed, fusion, out)
        return
    from dse.hardware import load_hardware
    from dse.hardware.from_file.rules import with_rules
    from dse.report import summary_table, waterfall_table, write_report
    from dse.search import explore as run_explore
    from dse.search.explore import DEFAULT_TRIALS
    from dse.search.loop.strategies import STRATEGIES
    from dse.validation.table import published_rows

    bounds = {
        "latency": max_latency, "energy": max_energy, "area": max_area, "model_size": max_model_size, "memory": max_memory,
        "bitops": max_bitops,
    }  # fmt: skip
    listed = strategy in STRATEGIES and STRATEGIES[strategy].listed
    with _exploring(None if listed or (seconds and not trials) else trials or DEFAULT_TRIALS) as progress:
        found = run_explore(
            workload,
            with_rules(load_hardware(hardware), constraint) if constraint else hardware,
            profile=profile,
            plan=plan,
            max_accuracy_drop=max_accuracy_drop,
            objectives=tuple(name.strip() for name in objectives.split(",") if name.strip()),
            strategy=strategy,
            sampler=sampler,
            trials=trials,
            seconds=seconds,
            seed=seed,
            jobs=jobs,
            scheduler=scheduler,
            weights=numbers("--weights", weights),
            worst_case=worst_case,
            limits={name: bound for name, bound in bounds.items() if bound is not None},
            schedules=schedules,
            uncertainty=uncertainty,
            widths=_whole("--widths", widths),
            formats=_names(formats),
            error_formats=_names(error_formats),
            errors_per_layer=errors_per_layer,
            mode=mode,
            confidence=confidence,
            robust=robust,
            out=out,
            write=True,
            resume=resume,
            fusion=fusion,
            progress=progress,
            command=" ".join(["dse", *sys.argv[1:]]),
            validation=published_rows,
        )
    assert found.folder is not None
    page = write_report(found.folder)
    _print_run(found, [summary_table(found.folder), waterfall_table(found.folder)], page)


#: What goes with --system.
ON_SYSTEMS = {
    "workload", "hardware", "system", "devices", "plans", "samples", "objectives", "target_loss", "communication", "out",
}  # fmt: skip


def _require_system_options(workload: Sequence[str], given: set[str]) -> None:
    """Raise InputError where ``--system`` was given what it cannot use."""
    if others := sorted(given - ON_SYSTEMS):
        told = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise InputError("--system", [f"does not go with {told}; formats are those of --plans"])
    if len(workload) != 1:
        raise InputError("--system", ["goes with one workload"])


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    return str(getattr(context.get_parameter_source(name), "name", "")) == "COMMANDLINE"


@contextmanager
def _exploring(total: int | None) -> Iterator[Callable[[int, int, float, float], None]]:
    """A progress bar over so many trials, None where their number is open.

    From the first batch on, Ctrl-C ends the run after the batch at hand, with its state written; a second one at once.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[state]}"), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("exploring", total=total, state="mapping tables")
        stopped: list[int] = []
        at_once = signal.getsignal(signal.SIGINT)

        def later(*_: Any) -> None:
            stopped.append(1)
            signal.signal(signal.SIGINT, at_once)

        def progress(done: int, front: int, hypervolume: float, gap: float) -> None:
            if not stopped:
                signal.signal(signal.SIGINT, later)
            bar.update(task, completed=done, state=f"front {front}, hypervolume {hypervolume:.4f}, gap {gap:.2%}")
            if stopped and done != total:
                raise KeyboardInterrupt

        try:
            yield progress
        except KeyboardInterrupt:
            bar.stop()
            say("stopped; --resume --out FOLDER with the same options goes on from the last batch", error=True)
            raise typer.Exit(130) from None
        finally:
            signal.signal(signal.SIGINT, at_once)


def _print_run(found: Run, tables: Sequence[Any], page: Path) -> None:
    screen = console()
    for table in tables:
        if table is not None:
            screen.print(table)
    for sentence in found.notes:
        screen.print(sentence, soft_wrap=True, markup=False)
    screen.print(f"report: {page}", soft_wrap=True, markup=False)


def _whole(option: str, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(option, [f"expected integers separated by commas, got '{text}'"]) from None


def _names(text: str | None) -> list[str] | None:
    """Names between commas; a pair that names its operands, as ``weight=nvfp4,activation=mxfp8``, has a comma of its own."""
    if text is None:
        return None
    found: list[str] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        joins = found and part.startswith("activation=") and found[-1].startswith("weight=")
        found = [*found[:-1], f"{found[-1]},{part}"] if joins else [*found, part]
    return found
