"""What is done with a run: ``dse report``, ``export``, ``verify``, ``check``, ``crosscheck`` and ``compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli.options import AsJson, Channels, DesignName, Images, RunFolder, Skip, app
from dse.cli.terminal import console, say
from dse.errors import InputError

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: dse report reports/imagenet_resnet-2026-01-31-0 --figures pdf --tables latex")
def report(
    run: RunFolder,
    figures: Annotated[str | None, typer.Option(help="Also write figures: pdf, svg or png.")] = None,
    tables: Annotated[str | None, typer.Option(help="Also write the front as a table: latex, markdown or csv.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Designs of that table, with commas: knee, fastest, lowest-energy, names; default: the front."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Its columns, with commas: of front.csv, hardware for all parameters; default: objectives."),
    ] = None,
) -> None:
    """Write the report of a run again, or figures for a paper."""
    from dse.files import write_all
    from dse.report import figure_files, report_file, summary_table, table_file

    page = report_file(run)
    if tables is None and (rows is not None or columns is not None):
        raise InputError("--rows, --columns", ["choose what a table shows: give --tables latex, markdown or csv too"])
    table = {} if tables is None else table_file(run, tables, _listed(columns), _listed(rows))
    drawn = figure_files(run, figures) if figures is not None else {}
    summary = summary_table(run)
    write_all({**page, **table, **drawn})
    console().print(summary)
    for what, paths in (("table", table), ("figure", drawn), ("report", page)):
        for path in paths:
            say(f"{what}: {path}")


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


@app.command(epilog="Example: dse export reports/imagenet_resnet-2026-01-31-0 knee --to brevitas -o bits.json")
def export(
    run: RunFolder,
    design: DesignName,
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
    run: RunFolder,
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
    run: RunFolder,
    design: DesignName,
    model: Annotated[Path, typer.Option(help="The ONNX model with its weights.")],
    data: Annotated[Path, typer.Option(help="Images as .npz or .npy, or a folder of MNIST-style idx files.")],
    labels: Annotated[
        Path | None, typer.Option(help="Classes of the images; without them the KL divergence is measured.")
    ] = None,
    images: Images = 128,
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
    run: RunFolder,
    design: DesignName,
    python: Annotated[str, typer.Option(help="The Python where zigzag-dse is installed.")] = sys.executable,
    as_json: AsJson = False,
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
    for remark in comparison.remarks:
        console().print(remark, markup=False)
    for table in comparison.tables:
        console().print(table)
    say(f"report: {comparison.page}")
