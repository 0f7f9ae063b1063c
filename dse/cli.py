"""The command line: the only module that prints or exits. Heavy imports happen inside the verbs, so that --help is quick.

Exit codes: 0 done, 1 the program failed (a bug: please report it), 2 an input is wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.errors import InputError

if TYPE_CHECKING:
    from dse.search import Run

app = typer.Typer(
    name="dse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Explore the design space of low-precision neural-network training and inference accelerators.\n\n"
    "Example: dse explore workloads/imagenet_resnet.yaml",
)

Workload = Annotated[str, typer.Argument(help="A workload file, or the name of a shipped one (see dse list).")]
HardwareOption = Annotated[str, typer.Option("--hardware", help="A hardware file, or the name of a shipped one.")]


@app.command(epilog="Example: dse explore workloads/imagenet_resnet.yaml --max-accuracy-drop 0.5 --trials 400")
def explore(
    workload: Workload,
    hardware: HardwareOption = "flex_trainer",
    profile: Annotated[
        str | None, typer.Option(help="Sensitivity profile; default: the shipped one of the workload's name.")
    ] = None,
    max_accuracy_drop: Annotated[float, typer.Option(help="Hard limit on lost top-1 accuracy, points.")] = 1.0,
    objectives: Annotated[
        str, typer.Option(help="Comma-separated, of latency, energy, area, accuracy.")
    ] = "latency,energy,area",
    strategy: Annotated[str, typer.Option(help="nested, joint or random.")] = "nested",
    sampler: Annotated[str, typer.Option(help="tpe, nsga2, nsga3, gp, qmc, cma or random.")] = "tpe",
    trials: Annotated[int, typer.Option(help="Hardware designs to try.")] = 120,
    seed: Annotated[int, typer.Option(help="Same file and same seed give the same result.")] = 0,
    jobs: Annotated[int, typer.Option(help="Worker processes; the result does not depend on them.")] = 1,
    mode: Annotated[str, typer.Option(help="training or inference.")] = "training",
    robust: Annotated[
        bool, typer.Option("--robust", help="Hold the limit for the predicted drop plus the predictor's error.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default reports/NAME-DATE-SEED.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Search bit widths and hardware under an accuracy limit and write a Pareto report."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from dse.report import summary_table, write_report
    from dse.search import explore as run_explore
    from dse.studies.validation import validation_table

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("exploring", total=max(trials, 1), state="mapping tables")
        stopped: list[int] = []
        # Compiled code cannot be interrupted half-way: Ctrl-C ends the run after the batch at hand, with its state written.
        signal.signal(signal.SIGINT, lambda *_: stopped.append(1))

        def progress(done: int, front: int, hypervolume: float, gap: float) -> None:
            bar.update(task, completed=done, state=f"front {front}, hypervolume {hypervolume:.4f}, gap {gap:.2%}")
            if stopped and done < trials:
                raise KeyboardInterrupt

        try:
            run = run_explore(
                workload,
                hardware,
                profile=profile,
                max_accuracy_drop=max_accuracy_drop,
                objectives=tuple(name.strip() for name in objectives.split(",") if name.strip()),
                strategy=strategy,
                sampler=sampler,
                trials=trials,
                seed=seed,
                jobs=jobs,
                mode=mode,
                robust=robust,
                out=out,
                write=True,
                resume=resume,
                progress=progress,
                command=" ".join(["dse", *sys.argv[1:]]),
                validation=[{str(k): v for k, v in row.items()} for row in validation_table().to_dict("records")],
            )
        except KeyboardInterrupt:
            bar.stop()
            print("stopped; --resume --out FOLDER with the same options goes on from the last batch", file=sys.stderr)
            raise typer.Exit(130) from None
        assert run.folder is not None
        page = write_report(run.folder)
    _print_run(run, summary_table(run.folder), page)


def _print_run(run: Run, table: Any, page: Path) -> None:
    console = _console()
    console.print(table)
    for sentence in run.notes:
        console.print(sentence, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)


@app.command(epilog="Example: dse evaluate imagenet_resnet --hardware bit_fusion --plan w4a4e8")
def evaluate(
    workload: Workload,
    hardware: HardwareOption = "flex_trainer",
    plan: Annotated[str, typer.Option(help="Such as w8a8e8, w4a4e8, fp32, or a YAML file.")] = "w8a8e8",
    schedule: Annotated[
        Path | None, typer.Option(help="A schedule of plans over a training run, instead of --plan.")
    ] = None,
    mode: Annotated[str, typer.Option(help="training or inference.")] = "training",
    batch: Annotated[int | None, typer.Option(help="Samples per step; default: the workload's.")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Keep inputs of segments only; run their forward passes again.")
    ] = False,
    map_updates: Annotated[
        float, typer.Option(min=0.0, help="How often per step block-wise tensors find new widths (online analytics).")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cost of one plan on one hardware, per layer and component."""
    from dse.cost import evaluate as run_evaluate
    from dse.hardware import load_hardware
    from dse.precision import Plan, Schedule
    from dse.workload import load_workload

    network = load_workload(workload)
    if batch is not None:
        if batch < 1:
            raise InputError("--batch", [f"expected an integer >= 1, got {batch}"])
        network = network.with_batch(batch)
    design = load_hardware(hardware)
    what: Any = Schedule.load(schedule) if schedule is not None else _plan(Plan, plan, network)
    cost = run_evaluate(network, design, what, mode=mode, recompute=recompute, map_updates=map_updates)
    if as_json:
        print(json.dumps(cost.as_dict(), indent=1, allow_nan=False))
    else:
        from dse.report.tables import cost_tables, phase_table

        for table in cost_tables(cost.total, cost.layers):
            _console().print(table)
        if len(cost.phases):
            _console().print(phase_table(cost.phases))
        for sentence in cost.notes:
            _console().print(sentence, soft_wrap=True)


def _plan(plans: Any, text: str, network: Any) -> Any:
    return plans.load(text, network) if Path(text).suffix in (".yaml", ".yml") else plans.parse(text, network)


@app.command("list", epilog="Example: dse list")
def list_shipped() -> None:
    """Workloads, sensitivity profiles and hardware models that ship with the program."""
    from rich.table import Table

    from dse.hardware import load_hardware
    from dse.shipped import shipped_names
    from dse.workload import load_workload

    networks = Table("workload", "GMAC", "M parameters", "layers with MACs", "profile", title="Workloads")
    profiles = set(shipped_names("workloads/profiles"))
    for name in shipped_names("workloads"):
        net = load_workload(name)
        networks.add_row(
            name,
            f"{net.macs / 1e9:.4g}",
            f"{net.parameters / 1e6:.4g}",
            str(len(net.mac_layers)),
            "yes" * (name in profiles),
        )
    models = Table("hardware", "designs in its space", "what it is", title="Hardware models")
    for name in shipped_names("hwmodels"):
        hw = load_hardware(name)
        designs = 1
        for parameter in hw.space:
            designs *= len(parameter.values)
        models.add_row(name, f"{designs:,}", hw.description)
    for table in (networks, models):
        _console().print(table)


@app.command(epilog="Example: dse report reports/imagenet_resnet-2026-01-31-0")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    figures: Annotated[str | None, typer.Option(help="Also write figures: pdf, svg or png.")] = None,
) -> None:
    """Write the report of a run again, with figures for a paper if asked."""
    from dse.report import summary_table, write_figures, write_report

    page = write_report(run)
    _console().print(summary_table(run))
    if figures is not None:
        for path in write_figures(run, figures):
            print(f"figure: {path}")
    print(f"report: {page}")


@app.command(epilog="Example: dse compare reports/a reports/b")
def compare(runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")]) -> None:
    """Fronts of several runs side by side, with their hypervolume ratio and what differs in their inputs."""
    from dse.report import compare_runs

    comparison = compare_runs(runs)
    for table in comparison.tables:
        _console().print(table)
    print(f"report: {comparison.page}")


@app.command(epilog="Example: dse validate --json")
def validate(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Published figures against ours, with signed errors, the bad ones too."""
    from rich.table import Table

    from dse.studies.validation import validation_table

    table = validation_table()
    if as_json:
        print(json.dumps(table.to_dict("records"), indent=1))
        return
    view = Table(
        "source", "quantity", "published", "ours", "signed error", "tolerance", "why it is off", title="Validation"
    )
    for item in table.to_dict("records"):
        row = SimpleNamespace(**{str(key): value for key, value in item.items()})
        view.add_row(
            row.source,
            row.quantity,
            f"{row.published:.5g}",
            f"{row.ours:.5g}",
            f"{row.signed_error:+.1%}",
            "" if row.tolerance != row.tolerance else f"{row.tolerance:.1%}",
            row.note,
        )
    _console().print(view)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import dse

        print(dse.__version__)
        raise typer.Exit()


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    target = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if target.isatty() else 160)


def main() -> None:
    """Entry point: an input error is one message and exit code 2."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
