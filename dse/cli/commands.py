"""The command line: the only module that prints or exits. Heavy imports happen inside the verbs, so that --help is quick.

Exit codes: 0 done, 1 the program failed (a bug: please report it), 2 an input is wrong, 3 nothing feasible, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli.terminal import console, run_program, say
from dse.errors import InputError, NothingFeasible
from dse.goals import LIMITS, OBJECTIVES

if TYPE_CHECKING:
    from dse.search import Run
    from dse.system.evaluate import SystemCost

app = typer.Typer(
    name="dse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Explore the design space of low-precision neural-network training and inference accelerators.\n\n"
    "Example: dse explore workloads/imagenet_resnet.yaml",
    epilog="Exit codes: 0 done; 1 the program failed, which is a bug; 2 an input is wrong, every problem is named, also a limit "
    "that nothing can keep, with the nearest value that can be kept; 3 nothing feasible: no design that was asked for or tried "
    "keeps its limits, the limit and the shortfall or the nearest value are named; with 2 and 3 nothing is written; "
    "130 stopped by Ctrl-C, and --resume goes on.",
)


def _shipped(*kinds: str) -> Callable[[str], list[str]]:
    """Completion in the shell: names that begin so."""

    def names(incomplete: str) -> list[str]:
        from dse.shipped import shipped_names

        return [name for kind in kinds for name in shipped_names(kind) if name.startswith(incomplete)]

    return names


WORKLOAD_HELP = "A workload file, or the name of a shipped one (see dse list)."
Workload = Annotated[str, typer.Argument(help=WORKLOAD_HELP, autocompletion=_shipped("workloads"))]
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="A system of accelerators: a file, or a shipped name such as dgx_h100.",
        autocompletion=_shipped("hwmodels/systems"),
    ),
]
HARDWARE_HELP = "A hardware file, or the name of a shipped one."
FusionOption = Annotated[
    str | None,
    typer.Option("--fusion", help="What runs fused: none, vector, resident or best; default: the hardware's."),
]
HardwareOption = Annotated[str, typer.Option("--hardware", help=HARDWARE_HELP, autocompletion=_shipped("hwmodels"))]


@app.command(epilog="Example: dse explore workloads/imagenet_resnet.yaml --max-accuracy-drop 0.5 --trials 400")
def explore(
    workload: Annotated[
        list[str],
        typer.Argument(
            help="A workload file, or the name of a shipped one; several share one hardware.",
            autocompletion=_shipped("workloads"),
        ),
    ],
    hardware: HardwareOption = "flex_trainer",
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Sensitivity profile, one per workload; default: the shipped ones of the workloads' names."),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            help="Search hardware alone, under this plan (w8a8, a YAML file); one for all workloads, or one of each."
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Hard limit on lost top-1 accuracy, points; default 1.")
    ] = None,
    objectives: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(OBJECTIVES)}.")
    ] = "latency,energy,area",
    strategy: Annotated[str, typer.Option(help="nested, joint, random or exhaustive.")] = "nested",
    sampler: Annotated[str, typer.Option(help="tpe, nsga2, nsga3, gp, qmc, cma or random.")] = "tpe",
    trials: Annotated[int | None, typer.Option(help="Hardware designs to try; default 120 without --seconds.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so much time.")] = None,
    seed: Annotated[int, typer.Option(help="Same file and same seed give the same result.")] = 0,
    jobs: Annotated[int, typer.Option(help="Worker processes; the result does not depend on them.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use instead of --jobs.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="How often a step of each workload is run, such as 1,2; default: once each.")
    ] = None,
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="Largest of the workloads' latency and energy, not their sum.")
    ] = False,
    max_latency: Annotated[float | None, typer.Option(help=LIMITS["latency"].help)] = None,
    max_energy: Annotated[float | None, typer.Option(help=LIMITS["energy"].help)] = None,
    max_area: Annotated[float | None, typer.Option(help=LIMITS["area"].help)] = None,
    max_model_size: Annotated[float | None, typer.Option(help=LIMITS["model_size"].help)] = None,
    max_memory: Annotated[float | None, typer.Option(help=LIMITS["memory"].help)] = None,
    max_bitops: Annotated[float | None, typer.Option(help=LIMITS["bitops"].help)] = None,
    uncertainty: Annotated[
        int | None,
        typer.Option(help="Draws of every price from its range on the final front, such as 200: error bars.", min=2),
    ] = None,
    schedules: Annotated[
        str | None, typer.Option(help="Search schedules over training too: cyclic, or a file of their space.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="Formats to choose from, such as int4,int8,mxfp8_e4m3,nvfp4,bf16, and pairs such as w4a8; default: what the "
            "hardware is made for."
        ),
    ] = None,
    widths: Annotated[str | None, typer.Option(help="Widths of integers to choose from, such as 4,8.")] = None,
    error_formats: Annotated[
        str | None, typer.Option(help="Formats of error tensors to choose from, such as fp8_e5m2,bf16.")
    ] = None,
    errors_per_layer: Annotated[
        bool, typer.Option("--errors-per-layer", help="Choose the errors' format layer by layer.")
    ] = False,
    mode: Annotated[str, typer.Option(help="training or inference.")] = "training",
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Probability with which a design keeps the accuracy limit; default 0.9, 0.5: predicted drops alone."
        ),
    ] = None,
    robust: Annotated[bool, typer.Option("--robust", help="The same as --confidence 0.79.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default reports/NAME-DATE-SEED.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    fusion: FusionOption = None,
    target_loss: Annotated[
        float | None,
        typer.Option(
            help="Language models: time and energy of each --plan to this final loss (nat), all its tokens paid."
        ),
    ] = None,
) -> None:
    """Search formats and hardware under an accuracy limit.

    Writes a report with the Pareto front.
    """
    if target_loss is not None:
        others = (
            profile,
            max_accuracy_drop,
            confidence,
            robust or None,
            schedules,
            uncertainty,
            resume or None,
            weights,
        )
        if len(workload) != 1 or mode != "training" or any(value is not None for value in others):
            text = "goes with one workload in training, --hardware, --plan, --trials, --seed, --fusion and --out alone"
            raise InputError("--target-loss", [text])
        from dse.cli.target_loss import explore_target_loss

        explore_target_loss(workload[0], hardware, target_loss, plan, trials, seed, fusion, out)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from dse.report import summary_table, waterfall_table, write_report
    from dse.search import explore as run_explore
    from dse.search.explore import DEFAULT_TRIALS
    from dse.search.loop.strategies import STRATEGIES
    from dse.validation.table import validation_table

    bounds = {
        "latency": max_latency,
        "energy": max_energy,
        "area": max_area,
        "model_size": max_model_size,
        "memory": max_memory,
        "bitops": max_bitops,
    }
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        listed = strategy in STRATEGIES and STRATEGIES[strategy].listed
        total = None if listed or (seconds and not trials) else trials or DEFAULT_TRIALS
        task = bar.add_task("exploring", total=total, state="mapping tables")
        stopped: list[int] = []
        at_once = signal.getsignal(signal.SIGINT)

        def later(*_: Any) -> None:
            stopped.append(1)
            signal.signal(signal.SIGINT, at_once)

        def progress(done: int, front: int, hypervolume: float, gap: float) -> None:
            # From the first batch on, Ctrl-C ends the run after the batch at hand, with its state written; a second one at once.
            if not stopped:
                signal.signal(signal.SIGINT, later)
            bar.update(task, completed=done, state=f"front {front}, hypervolume {hypervolume:.4f}, gap {gap:.2%}")
            if stopped and done != total:
                raise KeyboardInterrupt

        try:
            found = run_explore(
                workload,
                hardware,
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
                weights=_numbers("--weights", weights),
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
                validation=[
                    {str(k): v for k, v in row.items()} for row in validation_table(chips=False).to_dict("records")
                ],
            )
        except KeyboardInterrupt:
            bar.stop()
            say("stopped; --resume --out FOLDER with the same options goes on from the last batch", error=True)
            raise typer.Exit(130) from None
        assert found.folder is not None
        page = write_report(found.folder)
    _print_run(found, [summary_table(found.folder), waterfall_table(found.folder)], page)


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(option, [f"expected numbers separated by commas, got '{text}'"]) from None


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


def _print_run(found: Run, tables: Sequence[Any], page: Path) -> None:
    screen = console()
    for table in tables:
        if table is not None:
            screen.print(table)
    for sentence in found.notes:
        screen.print(sentence, soft_wrap=True, markup=False)
    screen.print(f"report: {page}", soft_wrap=True, markup=False)


@app.command(epilog="Example: dse evaluate imagenet_resnet --hardware bit_fusion --plan w4a4e8")
def evaluate(
    context: typer.Context,
    workload: Annotated[
        str | None,
        typer.Argument(
            help="A workload file, or the name of a shipped one; default: that of --design.",
            autocompletion=_shipped("workloads"),
        ),
    ] = None,
    hardware: HardwareOption = "flex_trainer",
    plan: Annotated[str, typer.Option(help="Such as w8a8e8, w4a8,stash=int4, fp32, or a YAML file.")] = "w8a8e8",
    schedule: Annotated[
        Path | None, typer.Option(help="A schedule of plans over a training run, instead of --plan.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(help="A design's YAML, or RUN:DESIGN, instead of --hardware and --plan: its figures again."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="training or inference; default: training, or the mode of --design.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples per step; default: the workload's.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Passes of the batch before one update of the weights; default: the workload's.")
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Keep inputs of segments only; run their forward passes again.")
    ] = False,
    system: SystemOption = None,
    devices: Annotated[int | None, typer.Option(help="Devices of the system; default: those of --parallel.")] = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            help="Parallel plan such as d8t4p2 (data, tensor, pipeline, expert, context); default: the best of all."
        ),
    ] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Samples of a pass of one data-parallel group.")] = None,
    recompute_policy: Annotated[
        str | None, typer.Option(help="What a system computes again on the way back: none, selective or full.")
    ] = None,
    map_updates: Annotated[
        float, typer.Option(min=0.0, help="How often per step block-wise tensors find new widths (online analytics).")
    ] = 0.0,
    mapping: Annotated[
        Path | None, typer.Option(help="Explicit mappings by layer, instead of the best ones: what they move and cost.")
    ] = None,
    save_mapping: Annotated[Path | None, typer.Option(help="Write the best mappings, which --mapping reads.")] = None,
    mapping_objective: Annotated[
        str, typer.Option(help="What each layer's mapping is chosen by: edp, energy or latency.")
    ] = "edp",
    search_mappings: Annotated[
        bool,
        typer.Option("--search-mappings", help="Search every mapping on from the tables' for this design and plan."),
    ] = False,
    fusion: FusionOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cost of one plan on one hardware or system.

    Per layer and component.
    """
    from dse.cost import evaluate as run_evaluate
    from dse.hardware import load_hardware
    from dse.precision import Plan, Schedule
    from dse.workload import load_workload

    if system is not None:
        chosen = mapping_objective != "edp" or search_mappings or mapping or save_mapping
        if workload is None or design or schedule or chosen or recompute or mode == "inference":
            raise InputError(
                "--system", ["goes with a workload and --plan in training; recompute by --recompute-policy"]
            )
        device = (
            hardware if str(getattr(context.get_parameter_source("hardware"), "name", "")) == "COMMANDLINE" else None
        )
        from dse.cli.system import evaluate_command

        _print_system(
            evaluate_command(
                workload, device, plan, system, devices, parallel, micro_batch, accumulate, batch, recompute_policy
            ),
            as_json,
        )
        return
    if devices is not None or parallel is not None or micro_batch is not None or recompute_policy is not None:
        raise InputError(
            "dse evaluate", ["--devices, --parallel, --micro-batch and --recompute-policy go with --system"]
        )
    given = None
    if design is not None:
        from dse.export import load_design

        given = load_design(design, workload)
    elif workload is None:
        raise InputError("dse evaluate", ["needs a workload, or --design"])
    network = load_workload(str(workload)) if given is None else given.network
    if batch is not None:
        network = network.with_batch(batch)
    machine = load_hardware(hardware) if given is None else given.hardware
    bits = Plan.parse(plan, network) if given is None else given.plan
    what: Any = bits if schedule is None else Schedule.load(schedule)
    mode = mode or (given.mode if given is not None else "training")
    if mapping is not None or save_mapping is not None:
        from dse.cost.mapped.explicit import evaluate_mapping_file, save_best_mappings
        from dse.report.tables.mappings import mapping_tables

        if schedule is not None:
            raise InputError("--schedule", ["mappings are those of one plan; give --plan"])
        if mapping is not None:
            unused = {"--save-mapping": save_mapping, "--recompute": recompute, "--accumulate": accumulate}
            unused |= {"--mapping-objective": mapping_objective != "edp", "--search-mappings": search_mappings}
            if left := [name for name, value in (unused | {"--map-updates": map_updates}).items() if value]:
                raise InputError(left[0], ["goes with a whole step; --mapping costs single passes of layers"])
            given_costs = evaluate_mapping_file(network, machine, bits, mapping, mode)
            tables = mapping_tables(given_costs.layers, given_costs.counts)
            if as_json:
                say(json.dumps(given_costs.as_dict(), indent=1))
            for table in [] if as_json else tables:
                console().print(table)
            return
        save_best_mappings(network, machine, bits, str(save_mapping), mode, mapping_objective, search_mappings)
    cost = run_evaluate(
        network,
        machine,
        what,
        mode=mode,
        recompute=recompute,
        accumulate=accumulate,
        map_updates=map_updates,
        fusion=fusion,
        mapping_objective=mapping_objective,
        search_mappings=search_mappings,
    )
    again = [] if given is None else [given.verdict(cost.as_dict()["total"][0])]
    feasible = bool(cost.total["feasible"].all())
    if as_json:
        say(json.dumps({**cost.as_dict(), "notes": [*cost.notes, *again]}, indent=1, allow_nan=False))
    if not feasible:
        first = cost.total.iloc[0]
        raise NothingFeasible(
            f"{network.name} on {machine.name}, {first['plan']}, {mode}", [f"infeasible: {first['limit']}"]
        )
    if not as_json:
        from dse.report.tables.runs import cost_tables, pass_table, phase_table

        for table in cost_tables(cost.total, cost.layers):
            console().print(table)
        console().print(pass_table(cost.layers))
        if len(cost.phases):
            console().print(phase_table(cost.phases))
        for sentence in (*cost.notes, *again):
            console().print(sentence, soft_wrap=True, markup=False)


def _print_system(cost: SystemCost, as_json: bool) -> None:
    """Cost of a system; exit code 3 where no plan fits the memory."""
    if as_json:
        say(json.dumps(cost.as_dict(), indent=1, allow_nan=False))
    limits = [str(row["limit"]) for row in cost.as_dict()["total"]]
    if not cost.total["feasible"].any():
        raise NothingFeasible("system", [f"infeasible: {limit}" for limit in limits])
    if not as_json:
        from dse.report.tables.system import system_tables

        for table in system_tables(cost.as_dict()["total"]):
            console().print(table)
        for sentence in cost.notes:
            console().print(sentence, soft_wrap=True, markup=False)


@app.command("list", epilog="Example: dse list")
def list_shipped(
    what: Annotated[
        str | None,
        typer.Argument(help="networks, hardware, systems, formats, elements or drams; default: the first three."),
    ] = None,
) -> None:
    """Networks, hardware, systems and formats that ship."""
    from dse.cli.catalogue import catalogues

    for table in catalogues(what):
        console().print(table)


@app.command("import", epilog="Example: dse import model.onnx -o net.yaml --batch 8 --dim sequence=128")
def import_model(
    model: Annotated[Path, typer.Argument(help="An ONNX file; its weights are not read.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The workload file to write.")],
    batch: Annotated[int | None, typer.Option(help="Samples per step; default: the model's.")] = None,
    dim: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, the size of an open dimension; repeat.")] = None,
    batch_dim: Annotated[
        str | None,
        typer.Option(
            help="Axis of the first input that is the batch, by number or name, or none; default: as it is used."
        ),
    ] = None,
    strip: Annotated[Path | None, typer.Option(help="Also write a copy of the model without its weights.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Also write the formats of a quantized model as a plan.")] = None,
) -> None:
    """Write an ONNX model as a workload file.

    What was left out is told.
    """
    from dse.files import write_files
    from dse.precision import Plan
    from dse.workload.from_onnx.imported import import_summary, plan_formats
    from dse.workload.from_onnx.network import import_onnx, read_dims
    from dse.workload.from_onnx.strip import stripped_onnx
    from dse.workload.model import network_text

    found = import_onnx(model, batch=batch, dims=read_dims(dim or []), name=out.stem, batch_dim=batch_dim)
    formats = Plan.from_formats(found.network, plan_formats(found, str(model))) if plan is not None else None
    lines = import_summary(found)
    files: dict[Path, str | bytes] = {out: network_text(found.network, "\n".join(lines))}
    if formats is not None and plan is not None:
        files[plan] = formats.to_yaml()
    if strip is not None:
        files[strip] = stripped_onnx(model)
    write_files(files)
    say("\n".join([*lines, f"workload: {out}"]))


@app.command(epilog="Example: dse show imagenet_vit_b16 --picture vit.html")
def show(
    workload: Annotated[
        str,
        typer.Argument(
            help="A workload or a hardware file, or the name of a shipped one (see dse list).",
            autocompletion=_shipped("workloads", "hwmodels"),
            metavar="NAME",
        ),
    ],
    batch: Annotated[int | None, typer.Option(help="Samples per step; default: the workload's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also layers without MACs.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write a page with one bar per layer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """What a network or a hardware file is made of."""
    from dse.cli.catalogue import hardware_tables, is_hardware
    from dse.files import write_text
    from dse.hardware import load_hardware
    from dse.report.tables.network import network_picture, network_tables
    from dse.workload import load_workload
    from dse.workload.work.statistics import network_statistics

    if is_hardware(workload):
        if batch is not None or every or picture is not None or as_json:
            raise InputError(
                workload, ["is hardware: --batch, --all, --picture and --json are of networks; leave them out"]
            )
        for table in hardware_tables(load_hardware(workload)):
            console().print(table)
        return
    network = load_workload(workload)
    network = network if batch is None else network.with_batch(batch)
    layers = network_statistics(network)
    if picture is not None:
        write_text(picture, network_picture(f"{network.name}, batch {network.batch}", layers))
    if as_json:
        say(json.dumps(layers.to_dict("records"), indent=1))
        return
    for table in network_tables(f"{network.name}, batch {network.batch}", layers, every):
        console().print(table)


Channels = Annotated[bool, typer.Option("--per-tensor", help="One scale per weight tensor, not per channel.")]
Skip = Annotated[bool, typer.Option("--skip-unsupported", help="Keep layers that cannot be measured at 32 bits.")]


@app.command(epilog="Example: dse profile model.onnx --data photos.npz -o profile.yaml --network imagenet_resnet")
def profile(
    model: Annotated[
        Path,
        typer.Argument(
            help="An ONNX model with its weights, or script.py:make that returns (torch module, inputs, targets, loss)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The profile to write; FILE.part keeps what is measured.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Of an ONNX model: images as .npz or .npy, or a folder of MNIST-style idx files."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Classes of the images, .npy or idx; then top-1 is predicted.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Name of the workload; default: the model file's.")] = None,
    weight_widths: Annotated[str, typer.Option(help="Widths of weights, bits.")] = "3,4,6,8",
    activation_widths: Annotated[str, typer.Option(help="Widths of activations, bits.")] = "3,4,6,8",
    score: Annotated[
        str | None,
        typer.Option(
            help="kl (default), loss (needs labels), noise (of the outputs) or tensor (1/SQNR of it alone); "
            "of a script gradient (default) or loss."
        ),
    ] = None,
    formats: Annotated[str, typer.Option(help="Of a script: formats of different widths.")] = "int4,int6,int8",
    steps: Annotated[int, typer.Option(help="Of a script: steps to train with narrow errors; 0: none.")] = 50,
    plans: Annotated[int, typer.Option(help="Whole plans to calibrate with, on other images; 0: none.")] = 24,
    pairs: Annotated[int, typer.Option(help="Pairs of tensors to measure together: how well scores add.")] = 0,
    images: Annotated[int, typer.Option(help="Images to measure on, evenly spaced over the data.")] = 128,
    seed: Annotated[int, typer.Option(help="Decides which plans and images are taken.")] = 0,
    per_tensor: Channels = False,
    skip_unsupported: Skip = False,
) -> None:
    """Measure how much every layer suffers at every width.

    Writes a sensitivity profile for dse explore.
    """
    from dse.accuracy.measuring.profile_model import profile_onnx
    from dse.accuracy.measuring.settings import settings
    from dse.accuracy.profiles.summary import profile_summary

    if ".py:" in str(model):
        _profile_script(str(model), formats, score or "gradient", plans, steps, seed, network, out)
        return
    if data is None:
        raise InputError("dse profile", ["an ONNX model needs --data: images to measure it on"])
    asked = settings(weight_widths, activation_widths, score or "kl", plans, seed, pairs)
    with _measuring("measuring") as progress:
        file = profile_onnx(
            model, data, out, asked, labels=labels, images=images, per_channel=not per_tensor,
            skip_unsupported=skip_unsupported, network=network, progress=progress,
        )  # fmt: skip
    say("\n".join([*profile_summary(file, str(out)), f"profile: {out}"]))


def _profile_script(
    script: str, formats: str, score: str, plans: int, steps: int, seed: int, network: str | None, out: Path
) -> None:
    """``dse profile script.py:make``: a torch module on its own loss."""
    from dse.accuracy.profiles.summary import profile_summary
    from dse.training import require_torch

    require_torch("dse profile")
    from dse.training.loops.script import made_by
    from dse.training.sensitivity import sensitivity

    module, inputs, targets, loss = made_by(script)
    names = tuple(name.strip() for name in formats.split(","))
    with _measuring("measuring") as progress:
        file = sensitivity(
            module, inputs, targets, loss, names, score=score, plans=plans, steps=steps, seed=seed, network=network, out=out,
            progress=progress,
        )  # fmt: skip
    say("\n".join([*profile_summary(file, str(out)), f"profile: {out}"]))


@app.command(epilog="Example: dse calibrate profile.yaml --points accuracies.csv -o calibrated.yaml")
def calibrate(
    profile: Annotated[str, typer.Argument(help="A profile file, or the name of a shipped one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The calibrated profile to write.")],
    points: Annotated[Path | None, typer.Option(help="Measured whole plans, CSV or YAML.")] = None,
    workload: Annotated[str | None, typer.Option(help="The workload whose layers the plans of --points name.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="post-training or quantization-aware; default: the profile's.")
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(help="Value without quantization in the runs of --points; default: the profile's.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Instead of --points: measure plans of this ONNX model.")] = None,
    data: Annotated[Path | None, typer.Option(help="With --model: images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="With --model: classes of the images.")] = None,
    plans: Annotated[int, typer.Option(help="With --model: plans to measure.")] = 24,
    images: Annotated[int, typer.Option(help="With --model: images to measure on.")] = 128,
    seed: Annotated[int, typer.Option(help="With --model: decides which plans are measured.")] = 0,
    per_tensor: Channels = False,
    skip_unsupported: Skip = False,
) -> None:
    """Fit a profile's predictor to measured whole plans.

    All links side by side, chosen by leave-one-out error.
    """
    from dse.accuracy.measuring.profile_model import calibrate_onnx, calibrate_points, calibration_kind
    from dse.accuracy.profiles.summary import links_table, profile_summary

    if (points is None) == (model is None or data is None):
        raise InputError("dse calibrate", ["needs --points, or --model with --data"])
    if points is not None:
        found = calibrate_points(profile, points, out, calibration_kind(kind), workload, baseline)
    else:
        with _measuring("measuring plans") as progress:
            found = calibrate_onnx(
                profile, str(model), str(data), out, plans=plans, seed=seed, labels=labels, images=images,
                per_channel=not per_tensor, skip_unsupported=skip_unsupported, progress=progress,
            )  # fmt: skip
    console().print(links_table(found.links, found.profile.link, found.profile.unit))
    say("\n".join([*profile_summary(found.file, str(out)), f"profile: {out}"]))


@app.command(epilog="Example: dse measure cnn --data digits --plan w4a4e8 -o reports/measured")
def measure(
    network: Annotated[str, typer.Argument(help="cnn, resnet or transformer.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for what is measured.")],
    data: Annotated[
        str, typer.Option(help="digits, or a folder of MNIST-style idx files or CIFAR binaries.")
    ] = "digits",
    plan: Annotated[str | None, typer.Option(help="Formats throughout: w4a4e8, mls_e2m1, a plan's YAML.")] = None,
    schedule: Annotated[Path | None, typer.Option(help="Instead of --plan: a schedule, YAML.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Instead of --plan: a rule, cpt, fractrain, adapt or dynasty.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 4,
    batch: Annotated[int, typer.Option(help="Samples per step.")] = 64,
    rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 0.1,
    samples: Annotated[int | None, typer.Option(help="Training pictures to take; default: all.")] = None,
    seed: Annotated[
        int, typer.Option(help="Decides the first weights, the order of samples and stochastic rounding.")
    ] = 0,
    profile_widths: Annotated[
        str, typer.Option(help="Also profile every layer's weight, activation and error at these widths; empty: no.")
    ] = "",
) -> None:
    """Train a small network in low precision and measure it.

    Accuracy, formats over time, gradients, training profiles.
    """
    from dse.training import require_torch

    require_torch()
    from dse.training.loops.train import Recipe
    from dse.training.measure_training import measure_training

    widths = [int(width) for width in _numbers("--profile-widths", profile_widths or None) or []]
    recipe = Recipe(network, epochs, batch, rate, seed=seed)
    asked: Any = {"plan": plan, "schedule": schedule, "policy": policy, "samples": samples, "profile_widths": widths}
    with _measuring("training", "stopped; nothing is written") as told:
        measured = measure_training(
            out, recipe, data, **asked, progress=lambda epoch, left: told(epoch.epoch, epochs, left)
        )
    say("\n".join([*measured.summary, f"measured: {out}"]))


@contextmanager
def _measuring(
    what: str, again: str = "stopped; the same command goes on from here"
) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar with the time that the rest will take; Ctrl-C leaves what is measured for the same command to go on from."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, left="")
        try:
            yield lambda done, total, left: bar.update(task, completed=done, total=total, left=f"{left:.0f} s left")
        except KeyboardInterrupt:
            bar.stop()
            say(again, error=True)
            raise typer.Exit(130) from None


@app.command(epilog="Example: dse sweep llama3_8b_decode --hardware tpu_like --mode inference --batches 1,8,64")
def sweep(
    workload: Workload,
    hardware: HardwareOption = "flex_trainer",
    plan: Annotated[str, typer.Option(help="Such as w8a8e8, w4a8,stash=int4, fp32, or a YAML file.")] = "w8a8e8",
    batches: Annotated[str, typer.Option(help="Comma-separated samples per step.")] = "1,2,4,8,16,32,64,128",
    mode: Annotated[str, typer.Option(help="training or inference.")] = "training",
    fusion: FusionOption = None,
    system: SystemOption = None,
    devices: Annotated[str | None, typer.Option(help="Of a system: comma-separated numbers of devices.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Of a system: samples per step, the same for all devices; default: 4 per device.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Latency, rate and energy over batches or devices.

    From latency-bound to throughput-bound batches, or from few to many devices of a system.
    """
    if system is not None:
        from dse.cli.system import sweep_command

        _print_system(sweep_command(workload, plan, system, devices or "8,64,512", samples), as_json)
        return
    if devices is not None or samples is not None:
        raise InputError("dse sweep", ["--devices and --samples go with --system"])
    from dse.cost.totals.batch_sweep import batch_sweep, read_batches
    from dse.hardware import load_hardware
    from dse.precision import Plan
    from dse.report.tables.network import frame_table
    from dse.workload import load_workload

    network = load_workload(workload)
    table = batch_sweep(
        network, load_hardware(hardware), Plan.parse(plan, network), read_batches(batches), mode, fusion
    )
    if as_json:
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        say(json.dumps(records, indent=1, allow_nan=False))
    else:
        shown = table.drop(columns=["feasible", "limit"])
        console().print(frame_table(f"{workload} on {hardware}, {plan}, {mode}", shown))
        for row in table[~table["feasible"]].itertuples():
            console().print(f"batch {row.batch} is infeasible: {row.limit}", soft_wrap=True)


@app.command(epilog="Example: dse report reports/imagenet_resnet-2026-01-31-0 --figures pdf --tables latex")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    figures: Annotated[str | None, typer.Option(help="Also write figures: pdf, svg or png.")] = None,
    tables: Annotated[str | None, typer.Option(help="Also write the front as a table: latex or markdown.")] = None,
) -> None:
    """Write the report of a run again, or figures for a paper."""
    from dse.files import write_all
    from dse.report import figure_files, report_file, summary_table, table_file

    page = report_file(run)
    table = table_file(run, tables) if tables is not None else {}
    drawn = figure_files(run, figures) if figures is not None else {}
    summary = summary_table(run)
    write_all({**page, **table, **drawn})
    console().print(summary)
    for what, paths in (("table", table), ("figure", drawn), ("report", page)):
        for path in paths:
            say(f"{what}: {path}")


@app.command(epilog="Example: dse export reports/imagenet_resnet-2026-01-31-0 knee --to brevitas -o bits.json")
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    design: Annotated[str, typer.Argument(help="A design of its front, or knee, fastest or lowest-energy.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="design, hardware, plan, json, brevitas, hawq, onnx, zigzag, accelforge or timeloop."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A file, or a folder for targets of many files.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="With --to onnx: a model to put the bit map into.")] = None,
) -> None:
    """Write a design for other programs.

    Bit configurations, inputs of other cost models, or a file for dse evaluate.
    """
    from dse.export import export_design, write_export

    contents = export_design(run, design, to, model)
    only = next(iter(contents.values()))
    if out is None and len(contents) == 1 and isinstance(only, str):
        say(only, end="")
        return
    default = Path(f"{design}-{to}") if len(contents) > 1 else Path(next(iter(contents)))
    for path in write_export(contents, out or default):
        say(f"{to}: {path}")


@app.command(epilog="Example: dse verify reports/imagenet_resnet-2026-01-31-0 knee --script train.py:run")
def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    designs: Annotated[
        list[str],
        typer.Argument(help="Designs of its front, or knee, fastest, lowest-energy; front: all.", metavar="DESIGN..."),
    ],
    script: Annotated[
        str,
        typer.Option(
            help="script.py:run; run(plan) trains and returns the accuracy in % (or the loss in nat); None: no plan."
        ),
    ],
) -> None:
    """Train found designs: predicted against measured drop.

    By your own script; the points serve dse calibrate.
    """
    from dse.studies.verify import BASELINE, POINTS, TABLE, Verified, summary, unit_of
    from dse.studies.verify import verify as verify_run

    unit = unit_of(run)

    def told(row: Verified) -> None:
        if row.design == BASELINE:
            say(f"{BASELINE}: {row.value:.4g}")
            return
        kept = "" if row.limit != row.limit else f"; limit {row.limit:g} {'kept' if row.kept else 'broken'}"
        say(f"{row.design}: predicted {row.predicted_drop:.3g}, measured {row.measured_drop:.3g} {unit}{kept}")

    rows = verify_run(run, designs, script, told)
    say(
        f"{summary(rows, unit)}\ntable: {run / TABLE}\npoints for dse calibrate: {run / POINTS} (--baseline {rows[0].value:g})"
    )


@app.command(epilog="Example: dse check reports/imagenet_resnet-2026-01-31-0 knee --model model.onnx --data photos.npz")
def check(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    design: Annotated[str, typer.Argument(help="A design of its front, or knee, fastest or lowest-energy.")],
    model: Annotated[Path, typer.Option(help="The ONNX model with its weights.")],
    data: Annotated[Path, typer.Option(help="Images as .npz or .npy, or a folder of MNIST-style idx files.")],
    labels: Annotated[
        Path | None, typer.Option(help="Classes of the images; without them the KL divergence is measured.")
    ] = None,
    images: Annotated[int, typer.Option(help="Images to measure on, evenly spaced over the data.")] = 128,
    per_tensor: Channels = False,
    skip_unsupported: Skip = False,
) -> None:
    """Test a found design on your own model and data.

    Rounds weights and activations: what is lost without retraining.
    """
    from dse.export.design import load_design
    from dse.studies.verify import check_onnx

    found = check_onnx(
        load_design(f"{run}:{design}"),
        model,
        data,
        labels,
        images,
        per_channel=not per_tensor,
        skip_unsupported=skip_unsupported,
    )
    unit = "points of top-1" if found.quantity == "top1" else "nat (KL divergence)"
    whole = f" ({found.baseline:.4g} to {found.value:.4g} %)" if found.quantity == "top1" else ""
    say(
        f"{design}: measured {found.drop:.4g} {unit}{whole} on {found.samples} images, rounded and not retrained; "
        f"the run's profile predicts {found.predicted_drop:.3g}."
    )


@app.command(epilog="Example: dse crosscheck reports/imagenet_resnet-2026-01-31-0 knee --python zigzag/bin/python")
def crosscheck(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    design: Annotated[str, typer.Argument(help="A design of its front, or knee, fastest or lowest-energy.")],
    python: Annotated[str, typer.Option(help="The Python where zigzag-dse is installed.")] = sys.executable,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cost of a design by ZigZag beside ours.

    Energy and cycles pass by pass, with the causes of the differences.
    """
    from dse.export.crosscheck.compare import crosscheck as run_crosscheck
    from dse.export.crosscheck.compare import crosscheck_summary, crosscheck_table

    table = run_crosscheck(run, design, python)
    if as_json:
        say(table.to_json(orient="records", double_precision=15, indent=1))
        return
    console().print(crosscheck_table(table))
    for sentence in crosscheck_summary(table):
        console().print(sentence, soft_wrap=True, markup=False)


@app.command(epilog="Example: dse compare reports/a reports/b")
def compare(runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")]) -> None:
    """Fronts of several runs side by side.

    With their hypervolume ratio and what differs in their inputs.
    """
    from dse.report import compare_runs

    comparison = compare_runs(runs)
    for table in comparison.tables:
        console().print(table)
    say(f"report: {comparison.page}")


@app.command(
    epilog="Studies: cpt, better_schedules, adapt, mls, dynasty, fractrain, accuracy_booster, actnn, fashion_mnist, predictor, "
    "ablation, side_by_side. Example: dse reproduce cpt adapt"
)
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="Studies; default: all.")] = None,
    hardware: Annotated[
        list[str] | None, typer.Option(help="Device of the side-by-side table; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/reproduce-DATE.")] = None,
) -> None:
    """Rebuild published systems: claim, ours, signed error.

    With what is assumed, and a page of figures.
    """
    from dse.studies.page import terminal_tables
    from dse.studies.reproduce import as_json as plain
    from dse.studies.reproduce import default_folder, run_studies, write_studies

    studies = []
    for study in run_studies(names or (), hardware or ()):
        studies.append(study)
        if not as_json:
            for table in terminal_tables(study):
                console().print(table)
            for sentence in study.findings:
                console().print(f"- {sentence}", soft_wrap=True, markup=False)
    page = write_studies(studies, out or default_folder())
    say(json.dumps(plain(studies), indent=1, allow_nan=False) if as_json else f"report: {page}")


@app.command(epilog="Example: dse validate --json")
def validate(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print a Markdown table with a line per source.")] = False,
    left_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Print how well all other chips foretell each one's efficiency.")
    ] = False,
) -> None:
    """Published figures against ours, with signed errors.

    The bad ones too.
    """
    from rich.table import Table

    from dse.validation.hardware import judged_markdown
    from dse.validation.nodes import leave_one_out_markdown
    from dse.validation.summary import silicon_markdown, summary_markdown
    from dse.validation.table import validation_table

    if left_out:
        say(leave_one_out_markdown(), end="")
        return
    table = validation_table()
    if as_json:
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        say(json.dumps(records, indent=1, allow_nan=False))
        return
    if summary:
        say("\n".join((summary_markdown(table), silicon_markdown(table), judged_markdown(table))), end="")
        return
    titles = (
        "source",
        "quantity",
        "kind",
        "unit",
        "published",
        "ours",
        "signed error",
        "tolerance",
        "includes; why it is off",
    )
    view = Table(*titles, title="Validation")
    for item in table.to_dict("records"):
        row = SimpleNamespace(**{str(key): value for key, value in item.items()})
        view.add_row(
            row.source,
            row.quantity,
            row.kind,
            row.unit,
            f"{row.published:.5g}",
            f"{row.ours:.5g}",
            f"{row.signed_error:+.1%}",
            "" if row.tolerance != row.tolerance else f"{row.tolerance:.1%}",
            "; ".join(part for part in (row.includes, row.note) if part),
        )
    console().print(view)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from dse.version import VERSION

        say(VERSION)
        raise typer.Exit()


def main() -> None:
    """Entry point: an input error is one message and exit code 2; see :func:`dse.cli.terminal.run_program`."""
    run_program(_asked)


def _asked() -> int:
    """Run what the command line asks for."""
    usage_error: Any = typer.BadParameter.__bases__[0]
    try:
        code = app(standalone_mode=False)
    except usage_error as error:
        shown = io.StringIO()
        error.show(file=shown)
        say(shown.getvalue().rstrip("\n"), error=True)
        return int(error.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0
