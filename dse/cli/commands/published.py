"""``dse reproduce`` and ``dse validate``: published systems and figures beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from dse.cli.options import AsJson, FusionOption, app
from dse.cli.terminal import console, say

if TYPE_CHECKING:
    pass


@app.command(
    epilog="Studies: cpt, better_schedules, adapt, mls, dynasty, fractrain, accuracy_booster, actnn, cyclic_relatives, "
    "adaptive_relatives, arithmetic, progressive_decoding, fashion_mnist, predictor, "
    "ablation, side_by_side. Example: dse reproduce cpt adapt"
)
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="Studies; default: all.")] = None,
    hardware: Annotated[
        list[str] | None, typer.Option(help="Device of the side-by-side table; may be given several times.")
    ] = None,
    fusion: FusionOption = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/reproduce-DATE.")] = None,
) -> None:
    """Rebuild published systems: claim, ours, signed error.

    With what is assumed, and a page of figures.
    """
    from dse.cost.fusion.epilogues import fused_by_default
    from dse.studies.page import terminal_tables
    from dse.studies.reproduce import as_json as plain
    from dse.studies.reproduce import default_folder, run_studies, write_studies

    studies = []
    # Studies price many steps in many places, none of which says what runs fused.
    with fused_by_default(fusion):
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
    as_json: AsJson = False,
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
    from dse.validation.silicon import drawn_markdown
    from dse.validation.summary import silicon_markdown, summary_markdown
    from dse.validation.table import validation_table

    if left_out:
        say(leave_one_out_markdown())
        say(drawn_markdown(), end="")
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
