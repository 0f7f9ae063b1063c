"""``dse reproduce``: runs the studies, and writes their rows and figures as one page, one CSV and one JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from rich.markup import escape as rich_escape
from rich.table import Table

from dse.errors import InputError
from dse.files import write_text
from dse.report.figures import PALETTE
from dse.report.page import fill_page, html_table, json_for_html
from dse.report.quantities import format_value
from dse.studies import (
    accuracy_booster,
    actnn,
    adapt,
    better_schedules,
    cpt,
    dynasty,
    fractrain,
    mls,
    side_by_side,
)
from dse.studies.study import Row, Study
from dse.yaml_input import suggest

STUDIES: dict[str, Callable[[], Study]] = {
    "cpt": cpt.study,
    "better_schedules": better_schedules.study,
    "adapt": adapt.study,
    "mls": mls.study,
    "dynasty": dynasty.study,
    "fractrain": fractrain.study,
    "accuracy_booster": accuracy_booster.study,
    "actnn": actnn.study,
    "side_by_side": side_by_side.study,
}

#: Columns of the table of rows.
COLUMNS = (
    "study",
    "system",
    "quantity",
    "unit",
    "published",
    "published_to",
    "ours",
    "low",
    "high",
    "signed_error",
    "assumed",
)


def run_studies(names: Sequence[str] = ()) -> Iterator[Study]:
    """Run the named studies, or all, one after the other.

    Raises
    ------
    InputError
        Unknown names, before anything runs.
    """
    unknown = [f"unknown study '{name}'{suggest(name, STUDIES)}" for name in names if name not in STUDIES]
    if unknown:
        raise InputError("reproduce", unknown)
    return (STUDIES[name]() for name in (dict.fromkeys(names) or STUDIES))


def rows_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Rows of all studies, columns :data:`COLUMNS`; what is not known is NaN."""
    rows = [
        (
            study.name,
            row.system,
            row.quantity,
            row.unit,
            *(
                math.nan if value is None else value
                for value in (row.published, row.published_to, row.ours, row.low, row.high, row.signed_error)
            ),
            row.assumed,
        )
        for study in studies
        for row in study.rows
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def default_folder(base: Path = Path("reports")) -> Path:
    """``reports/reproduce-DATE``."""
    return base / f"reproduce-{date.today().isoformat()}"


def write_studies(studies: Sequence[Study], folder: Path) -> Path:
    """Write ``reproduce.html``, ``rows.csv`` and ``reproduce.json`` into a folder; returns the page.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(folder), [f"cannot be made: {error.strerror}"]) from None
    page = folder / "reproduce.html"
    write_text(folder / "rows.csv", rows_table(studies).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "reproduce.json", json.dumps(as_json(studies), indent=1, allow_nan=False) + "\n")
    write_text(page, page_html(studies))
    return page


def as_json(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """Studies as plain data; unknown values are None."""
    return [
        {
            "name": study.name,
            "title": study.title,
            "source": study.source,
            "findings": list(study.findings),
            "theirs": study.theirs,
            "ours": study.ours,
            "rows": [_plain(row) for row in study.rows],
        }
        for study in studies
    ]


def page_html(studies: Sequence[Study]) -> str:
    """The page: tables and figures of every study; it needs no other file and no network."""
    figures = {
        f"{study.name}-{number}": _figure(figure)
        for study in studies
        for number, (_, figure) in enumerate(study.figures)
    }
    claims = [row for study in studies for row in study.rows if row.signed_error is not None]
    summary = (
        f"{len(studies)} studies, {len(claims)} published figures recomputed; the median error against them is "
        f"{_median([abs(row.signed_error or 0.0) for row in claims]):.1%}."
        if claims
        else "No published figure was recomputed."
    )
    return fill_page(
        "studies.html",
        title="Published systems rebuilt",
        summary=escape(summary),
        contents="".join(f'<a href="#{study.name}">{escape(study.title.split(":")[0])}</a>' for study in studies),
        studies="".join(_section(study) for study in studies),
        palette=json.dumps(list(PALETTE)),
        data=json_for_html(figures),
    )


def cells(row: Row) -> list[str]:
    """A row as text: system, quantity, unit, published, ours, signed error, assumed."""
    published = format_value(row.published, digits=4) if row.published is not None else ""
    if row.published_to is not None and row.published_to != row.published:
        published += f" to {format_value(row.published_to, digits=4)}"
    ours = format_value(row.ours, digits=4) if row.ours is not None else ""
    if row.low is not None and row.high is not None and row.high > row.low:
        ours += f" ({format_value(row.low, digits=4)} to {format_value(row.high, digits=4)})"
    error = row.signed_error
    return [row.system, row.quantity, row.unit, published, ours, "" if error is None else f"{error:+.1%}", row.assumed]


TITLES = ("system", "quantity", "unit", "published", "ours", "signed error", "what is assumed")


def terminal_table(study: Study) -> Table:
    """The rows of a study for a terminal."""
    table = Table(title=rich_escape(study.title))
    for number, title in enumerate(TITLES):
        table.add_column(title, justify="right" if number in (3, 4, 5) else "left", overflow="fold")
    for row in study.rows:
        table.add_row(*(rich_escape(cell) for cell in cells(row)))
    return table


def _section(study: Study) -> str:
    claimed = [row for row in study.rows if row.published is not None]
    rest = [row for row in study.rows if row.published is None]
    tables = "".join(
        f"<h3>{escape(caption)}</h3>" + html_table(TITLES, [cells(row) for row in rows], caption, (3, 4, 5))
        for caption, rows in (("Published and ours", claimed), ("What the same runs cost on hardware", rest))
        if rows
    )
    figures = "".join(
        f'<figure><h3>{escape(caption)}</h3><div id="{study.name}-{number}" class="figure" role="img" '
        f'aria-label="{escape(caption)}; rows.csv holds the figures."></div></figure>'
        for number, (caption, _) in enumerate(study.figures)
    )
    findings = "".join(f"<li>{escape(sentence)}</li>" for sentence in study.findings)
    return (
        f'<section id="{study.name}"><h2>{escape(study.title)}</h2><p class="hint">{escape(study.source)}</p>'
        f"<ul>{findings}</ul><p>Theirs: {escape(study.theirs)}.</p><p>Ours: {escape(study.ours)}.</p>"
        f"{figures}<details open><summary>Rows</summary>{tables}</details></section>"
    )


def _figure(figure: go.Figure) -> Any:
    return json.loads(figure.update_layout(template="none").to_json())


def _plain(row: Row) -> dict[str, Any]:
    keys = ("system", "quantity", "unit", "published", "published_to", "ours", "low", "high", "signed_error", "assumed")
    values = {key: getattr(row, key) for key in keys}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
