"""``dse list``, ``import`` and ``show``: what there is to work on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli.options import AsJson, Batch, app, shipped
from dse.cli.terminal import console, say
from dse.errors import InputError

if TYPE_CHECKING:
    pass


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
def import_file(
    model: Annotated[
        Path,
        typer.Argument(
            help="An ONNX file, whose weights are not read; or ZigZag's accelerator or Timeloop's architecture (0.4), a YAML file."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The workload or hardware file to write.")],
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
    mapping: Annotated[Path | None, typer.Option(help="ZigZag's mapping file: what runs along each axis.")] = None,
    energies: Annotated[Path | None, typer.Option(help="Accelergy's energy table (ERT) of a Timeloop file.")] = None,
    clock_hz: Annotated[float | None, typer.Option(help="Clock of an accelerator whose file has none, Hz.")] = None,
    node_nm: Annotated[float | None, typer.Option(help="Its technology node, nm.")] = None,
) -> None:
    """Read an ONNX model or an accelerator of another tool.

    What was assumed or left out is told.
    """
    of_models = {"--batch": batch, "--dim": dim, "--batch-dim": batch_dim, "--strip": strip, "--plan": plan}
    of_hardware = {"--mapping": mapping, "--energies": energies, "--clock-hz": clock_hz, "--node-nm": node_nm}
    is_hardware = model.suffix.lower() in (".yaml", ".yml")
    misplaced = [name for name, value in (of_models if is_hardware else of_hardware).items() if value not in (None, [])]
    if misplaced:
        kind = "an accelerator's file" if is_hardware else "a model"
        raise InputError(str(model), [f"is {kind}, which knows no {', '.join(misplaced)}; leave it out"])
    if is_hardware:
        _import_hardware(model, out, mapping, energies, clock_hz, node_nm)
    else:
        _import_model(model, out, batch, dim or [], batch_dim, strip, plan)


def _import_model(
    model: Path,
    out: Path,
    batch: int | None,
    dim: list[str],
    batch_dim: str | None,
    strip: Path | None,
    plan: Path | None,
) -> None:
    from dse.files import write_files
    from dse.precision import Plan
    from dse.workload.from_onnx.imported import import_summary, plan_formats
    from dse.workload.from_onnx.network import import_onnx, read_dims
    from dse.workload.from_onnx.strip import stripped_onnx
    from dse.workload.model import network_text

    found = import_onnx(model, batch=batch, dims=read_dims(dim), name=out.stem, batch_dim=batch_dim)
    formats = Plan.from_formats(found.network, plan_formats(found, str(model))) if plan is not None else None
    lines = import_summary(found)
    files: dict[Path, str | bytes] = {out: network_text(found.network, "\n".join(lines))}
    if formats is not None and plan is not None:
        files[plan] = formats.to_yaml()
    if strip is not None:
        files[strip] = stripped_onnx(model)
    write_files(files)
    say("\n".join([*lines, f"workload: {out}"]))


def _import_hardware(
    path: Path, out: Path, mapping: Path | None, energies: Path | None, clock_hz: float | None, node_nm: float | None
) -> None:
    from dse.files import write_files
    from dse.hardware.from_file.peers import import_hardware

    found = import_hardware(path, mapping, energies, clock_hz, node_nm, name=out.stem)
    write_files({out: found.text})
    say("\n".join([*found.notes, f"hardware: {out}"]))


@app.command(epilog="Example: dse show imagenet_vit_b16 --picture vit.html")
def show(
    workload: Annotated[
        str,
        typer.Argument(
            help="A workload or a hardware file, or the name of a shipped one (see dse list).",
            autocompletion=shipped("workloads", "hwmodels"),
            metavar="NAME",
        ),
    ],
    batch: Batch = None,
    every: Annotated[bool, typer.Option("--all", help="Also layers without MACs.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write a page with one bar per layer.")] = None,
    as_json: AsJson = False,
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
