"""``dse evaluate`` and ``dse sweep``: what given plans cost, on one accelerator or on a system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dse.cli.options import (
    AsJson,
    Batch,
    CommunicationOption,
    ConstraintOption,
    FusionOption,
    HardwareOption,
    Mode,
    PlanText,
    SystemOption,
    TableOption,
    Workload,
    app,
    shipped,
)
from dse.cli.terminal import console, say
from dse.errors import InputError, NothingFeasible

if TYPE_CHECKING:
    from dse.cost import Cost
    from dse.export import Design
    from dse.hardware import Hardware
    from dse.precision import Plan
    from dse.system.evaluate import SystemCost
    from dse.workload import Network


# Options of ``dse evaluate``.
_Workload = Annotated[
    str | None,
    typer.Argument(
        help="A workload file, or the name of a shipped one; default: that of --design.",
        autocompletion=shipped("workloads"),
    ),
]
_Schedule = Annotated[Path | None, typer.Option(help="A schedule of plans over a training run, instead of --plan.")]
_Design = Annotated[
    str | None,
    typer.Option(help="A design's YAML, or RUN:DESIGN, instead of --hardware and --plan: its figures again."),
]
_Mode = Annotated[str | None, typer.Option(help="training or inference; default: training, or the mode of --design.")]
_Accumulate = Annotated[
    int | None, typer.Option(help="Passes of the batch before one update of the weights; default: the workload's.")
]
_Recompute = Annotated[
    bool, typer.Option("--recompute", help="Keep inputs of segments only; run their forward passes again.")
]
_Devices = Annotated[int | None, typer.Option(help="Devices of the system; default: those of --parallel.")]
_Parallel = Annotated[
    str | None,
    typer.Option(
        help="Parallel plan such as d8t4p2 (data, tensor, pipeline, expert, context); default: the best of all."
    ),
]
_MicroBatch = Annotated[int | None, typer.Option(help="Samples of a pass of one data-parallel group.")]
_RecomputePolicy = Annotated[
    str | None, typer.Option(help="What a system computes again on the way back: none, selective or full.")
]
_Out = Annotated[
    Path | None, typer.Option("--out", help="Of a system: a new folder for a page, its drawings and a table.")
]
_MapUpdates = Annotated[
    float, typer.Option(min=0.0, help="How often per step block-wise tensors find new widths (online analytics).")
]
_Mapping = Annotated[
    Path | None, typer.Option(help="Explicit mappings by layer, instead of the best ones: what they move and cost.")
]
_SaveMapping = Annotated[Path | None, typer.Option(help="Write the best mappings, which --mapping reads.")]
_MappingObjective = Annotated[str, typer.Option(help="What each layer's mapping is chosen by: edp, energy or latency.")]
_SearchMappings = Annotated[
    bool | None,
    typer.Option(
        "--search-mappings/--no-search-mappings",
        help="Search every mapping on from the tables' for this design and plan (the default), or look it up.",
        show_default=False,
    ),
]


@app.command(epilog="Example: dse evaluate imagenet_resnet --hardware bit_fusion --plan w4a4e8")
def evaluate(
    context: typer.Context,
    workload: _Workload = None,
    hardware: HardwareOption = "flex_trainer",
    plan: PlanText = "w8a8e8",
    schedule: _Schedule = None,
    design: _Design = None,
    mode: _Mode = None,
    batch: Batch = None,
    accumulate: _Accumulate = None,
    recompute: _Recompute = False,
    system: SystemOption = None,
    devices: _Devices = None,
    parallel: _Parallel = None,
    micro_batch: _MicroBatch = None,
    recompute_policy: _RecomputePolicy = None,
    communication: CommunicationOption = None,
    out: _Out = None,
    map_updates: _MapUpdates = 0.0,
    mapping: _Mapping = None,
    save_mapping: _SaveMapping = None,
    mapping_objective: _MappingObjective = "edp",
    search_mappings: _SearchMappings = None,
    constraint: ConstraintOption = None,
    fusion: FusionOption = None,
    table: TableOption = None,
    as_json: AsJson = False,
) -> None:
    """Cost of one plan on one hardware or system.

    Per layer and component.
    """
    named = str(getattr(context.get_parameter_source("hardware"), "name", "")) == "COMMANDLINE"
    if table is not None:
        others = (system, design, schedule, accumulate, mapping, save_mapping, fusion, batch, devices, parallel)
        if workload is None or named or recompute or any(value is not None for value in others):
            raise InputError(
                "--table", ["stands for hardware: it goes with a workload, --plan, --mode and --json alone"]
            )
        from dse.cli.commands.lookup import evaluate_table

        evaluate_table(workload, table, plan, mode or "training", as_json)
        return
    if system is not None:
        chosen = mapping_objective != "edp" or search_mappings is not None or mapping or save_mapping or constraint
        if workload is None or design or schedule or chosen or recompute or mode == "inference":
            raise InputError(
                "--system", ["goes with a workload and --plan in training; recompute by --recompute-policy"]
            )
        from dse.cli.system import cost_page, evaluate_command

        device = hardware if named else None
        spread = evaluate_command(
            workload, device, plan, system, devices, parallel, micro_batch, accumulate, batch, recompute_policy, communication
        )  # fmt: skip
        files = cost_page(spread, out, f"{Path(workload).stem} on {Path(system).stem}")
        _print_system(spread, as_json, files)
        return
    if any(value is not None for value in (devices, parallel, micro_batch, recompute_policy, communication, out)):
        told = "--devices, --parallel, --micro-batch, --recompute-policy, --communication and --out go with --system"
        raise InputError("dse evaluate", [told])
    subject = _subject(workload, hardware, plan, design, batch, mode)
    if constraint:
        from dse.hardware.from_file.rules import with_rules

        subject = subject._replace(hardware=with_rules(subject.hardware, constraint))
    if (mapping is not None or save_mapping is not None) and schedule is not None:
        raise InputError("--schedule", ["mappings are those of one plan; give --plan"])
    if mapping is not None:
        unused = {"--save-mapping": save_mapping, "--recompute": recompute, "--accumulate": accumulate}
        unused |= {"--mapping-objective": mapping_objective != "edp", "--search-mappings": search_mappings is not None}
        unused |= {"--constraint": bool(constraint)}
        if left := [name for name, value in (unused | {"--map-updates": map_updates}).items() if value]:
            raise InputError(left[0], ["goes with a whole step; --mapping costs single passes of layers"])
        _print_mappings(subject, mapping, as_json)
        return
    if save_mapping is not None:
        from dse.cost.mapped.explicit import save_best_mappings

        save_best_mappings(
            subject.network,
            subject.hardware,
            subject.plan,
            str(save_mapping),
            subject.mode,
            mapping_objective,
            search_mappings,
        )
    from dse.cost import evaluate as run_evaluate
    from dse.cost.mapped.searched import front_searching
    from dse.precision import Schedule

    if design is not None and search_mappings is None:
        search_mappings = front_searching()  # as the run has it, whose figures these are
    cost = run_evaluate(
        subject.network,
        subject.hardware,
        subject.plan if schedule is None else Schedule.load(schedule),
        mode=subject.mode,
        recompute=recompute,
        accumulate=accumulate,
        map_updates=map_updates,
        mapping_objective=mapping_objective,
        search_mappings=search_mappings,
        fusion=fusion,
    )
    _print_cost(subject, cost, accumulate, as_json)


class _Subject(NamedTuple):
    """What is evaluated, from options or from a design's file (``given``)."""

    network: Network
    hardware: Hardware
    plan: Plan
    mode: str
    given: Design | None


def _subject(
    workload: str | None, hardware: str, plan: str, design: str | None, batch: int | None, mode: str | None
) -> _Subject:
    from dse.hardware import load_hardware
    from dse.precision import Plan
    from dse.workload import load_workload

    if design is not None:
        from dse.export import load_design

        given = load_design(design, workload)
        network = given.network if batch is None else given.network.with_batch(batch)
        return _Subject(network, given.hardware, given.plan, mode or given.mode, given)
    if workload is None:
        raise InputError("dse evaluate", ["needs a workload, or --design"])
    network = load_workload(workload)
    network = network if batch is None else network.with_batch(batch)
    return _Subject(network, load_hardware(hardware), Plan.parse(plan, network), mode or "training", None)


def _print_mappings(subject: _Subject, mapping: Path, as_json: bool) -> None:
    """What the mappings of a file cost, pass by pass."""
    from dse.cost.mapped.explicit import evaluate_mapping_file
    from dse.report.tables.mappings import mapping_tables

    costs = evaluate_mapping_file(subject.network, subject.hardware, subject.plan, mapping, subject.mode)
    tables = mapping_tables(costs.layers, costs.counts)
    if as_json:
        say(json.dumps(costs.as_dict(), indent=1))
    for table in [] if as_json else tables:
        console().print(table)


def _print_cost(subject: _Subject, cost: Cost, accumulate: int | None, as_json: bool) -> None:
    """Tables or JSON of a cost; exit code 3 where it is infeasible."""
    again = [] if subject.given is None else [subject.given.verdict(cost.as_dict()["total"][0])]
    if as_json:
        say(json.dumps({**cost.as_dict(), "notes": [*cost.notes, *again]}, indent=1, allow_nan=False))
    if not cost.total["feasible"].all():
        first = cost.total.iloc[0]
        raise NothingFeasible(
            f"{subject.network.name} on {subject.hardware.name}, {first['plan']}, {subject.mode}",
            [f"infeasible: {first['limit']}"],
        )
    if as_json:
        return
    from dse.report.tables.runs import cost_tables, pass_table, phase_table, rate_table

    passes = 1 if subject.mode == "inference" else accumulate or subject.network.accumulate
    steps = int(cost.phases["iterations"].sum()) if len(cost.phases) else 1
    totals, *others = cost_tables(cost.total, cost.layers)
    for table in (totals, rate_table(cost.total, subject.network.batch * passes * steps), *others):
        console().print(table)
    console().print(pass_table(cost.layers))
    if (cost.layers["group"] != "").any():
        from dse.report.tables.fused import group_table, kind_table

        console().print(group_table(cost.layers))
        kinds = {layer.name: layer.kind for layer in subject.network.layers if not layer.has_macs}
        console().print(kind_table(cost.layers, kinds))
    if len(cost.phases):
        console().print(phase_table(cost.phases))
    for sentence in (*cost.notes, *again):
        console().print(sentence, soft_wrap=True, markup=False)


def _print_system(cost: SystemCost, as_json: bool, files: Mapping[Path, str]) -> None:
    """Cost of a system; exit code 3 where no plan fits the memory, and then no files."""
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
    if files:
        from dse.files import write_all

        page = next(path for path in write_all(files) if path.name == "report.html")
        if not as_json:
            console().print(f"report: {page}", soft_wrap=True, markup=False)


@app.command(epilog="Example: dse sweep llama3_8b_decode --hardware tpu_like --mode inference --batches 1,8,64")
def sweep(
    workload: Workload,
    hardware: HardwareOption = "flex_trainer",
    plan: PlanText = "w8a8e8",
    batches: Annotated[str, typer.Option(help="Comma-separated samples per step.")] = "1,2,4,8,16,32,64,128",
    mode: Mode = "training",
    fusion: FusionOption = None,
    system: SystemOption = None,
    devices: Annotated[str | None, typer.Option(help="Of a system: comma-separated numbers of devices.")] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="Of a system: samples of a step on all (strong) and on the most devices; default: 4 for each."
        ),
    ] = None,
    communication: CommunicationOption = None,
    out: _Out = None,
    as_json: AsJson = False,
) -> None:
    """Latency, rate and energy over batches or devices.

    From latency-bound to throughput-bound batches, or strong and weak scaling over devices of a system.
    """
    if system is not None:
        from dse.cli.system import sweep_command, sweep_page

        swept = sweep_command(workload, plan, system, devices or "8,64,512", samples, communication)
        _print_system(swept, as_json, sweep_page(swept, out, f"{Path(workload).stem} on {Path(system).stem}"))
        return
    if any(value is not None for value in (devices, samples, communication, out)):
        raise InputError("dse sweep", ["--devices, --samples, --communication and --out go with --system"])
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
