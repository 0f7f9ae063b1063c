"""Studies as tables for a terminal and as one page that stands alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
from rich.markup import escape as rich_escape
from rich.table import Table

from dse.report.figures import PALETTE
from dse.report.page.page import fill_page, html_table, json_for_html
from dse.studies.study import Claim, Study
from dse.units import format_value

TITLES = ("system", "quantity", "unit", "published", "ours", "signed error", "what is assumed")


class View(NamedTuple):
    """A table of text: caption, column titles, rows, the columns that are numbers, and remarks below."""

    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...]
    notes: tuple[str, ...] = ()


def views(study: Study) -> list[View]:
    """Tables of a study: claims against ours row by row, then everything else with one column for each measure.

    Systems and subjects with the same quantities make one table.
    """
    claims = [row for row in study.rows if row.signed_error is not None]
    result = []
    if claims:
        result.append(View("Published and ours", TITLES, tuple(map(_claim, claims)), (3, 4, 5)))
    lines: dict[tuple[str, str], dict[str, Claim]] = {}
    for row in study.rows:
        if row.signed_error is None:
            unit = f" ({row.unit})" if row.unit and row.unit != "x" else ""
            lines.setdefault((row.system, row.subject), {})[row.quantity + unit] = row
    shapes: dict[frozenset[str], list[tuple[str, str]]] = {}
    for key, found in lines.items():
        wanted = frozenset(measure for measure, row in found.items() if row.ours is not None)
        shapes.setdefault(wanted, []).append(key)
    # What cannot run stands among what can.
    unable = [key for key, found in lines.items() if any(row.ours is row.published is None for row in found.values())]
    first = next((wanted for wanted in shapes if wanted), frozenset())
    for wanted, keys in shapes.items():
        chosen = {key for key in keys if key not in unable} | set(unable if wanted == first else ())
        if chosen:
            result.append(_wide({key: lines[key] for key in lines if key in chosen}))
    return result


def _wide(lines: dict[tuple[str, str], dict[str, Claim]]) -> View:
    measures = list(dict.fromkeys(measure for found in lines.values() for measure in found))
    subjects = any(subject for _, subject in lines)
    titles = ("system", *(("of",) if subjects else ()), *measures)
    rows = tuple(
        (system, *((subject,) if subjects else ()), *(_value(found.get(measure)) for measure in measures))
        for (system, subject), found in lines.items()
    )
    # A published figure's remark stands beside it.
    notes = dict.fromkeys(
        row.assumed
        for found in lines.values()
        for row in found.values()
        if row.assumed and (row.ours is not None or row.published is None)
    )
    first = 2 if subjects else 1
    return View(" and ".join(measures[:2]), titles, rows, tuple(range(first, len(titles))), tuple(notes))


def _value(row: Claim | None) -> str:
    if row is None:
        return ""
    if row.ours is None and row.published is None:
        return "cannot run"
    if row.ours is None:
        return f"{format_value(row.published, digits=4)} published" + f" ({row.assumed})" * bool(row.assumed)
    return _ours(row)


def _claim(row: Claim) -> tuple[str, ...]:
    published = format_value(row.published, digits=4)
    if row.published_to is not None and row.published_to != row.published:
        published += f" to {format_value(row.published_to, digits=4)}"
    return (row.system, row.label, row.unit, published, _ours(row), f"{row.signed_error:+.1%}", row.assumed)


def _ours(row: Claim) -> str:
    interval = ""
    if row.low is not None and row.high is not None and row.high > row.low:
        interval = f" ({format_value(row.low, digits=4)} to {format_value(row.high, digits=4)})"
    return format_value(row.ours, digits=4) + interval


def terminal_tables(study: Study) -> list[Table]:
    """The tables of a study for a terminal."""
    made = []
    for view in views(study):
        table = Table(title=rich_escape(f"{study.title}: {view.caption}"))
        for number, title in enumerate(view.titles):
            table.add_column(rich_escape(title), justify="right" if number in view.numeric else "left", overflow="fold")
        for row in view.rows:
            table.add_row(*(rich_escape(cell) for cell in row))
        made.append(table)
    return made


def page_html(studies: Sequence[Study]) -> str:
    """The page: tables and figures of every study; it needs no other file and no network."""
    figures = {
        f"{study.name}-{number}": _figure(figure)
        for study in studies
        for number, (_, figure) in enumerate(study.figures)
    }
    errors = sorted(abs(row.signed_error) for study in studies for row in study.rows if row.signed_error is not None)
    summary = (
        f"{len(studies)} studies, {len(errors)} published figures recomputed; half of them come out within "
        f"{errors[len(errors) // 2]:.1%}, the worst within {errors[-1]:.0%}."
        if errors
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


def _section(study: Study) -> str:
    tables = "".join(
        f"<h3>{escape(view.caption)}</h3>"
        + html_table(view.titles, view.rows, view.caption, view.numeric)
        + "".join(f'<p class="hint">{escape(note)}</p>' for note in view.notes)
        for view in views(study)
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
        f"{figures}<details open><summary>Tables</summary>{tables}</details></section>"
    )


def _figure(figure: go.Figure) -> Any:
    return json.loads(figure.update_layout(template="none").to_json())
