"""The page of a system: plans with their rates, where time, memory and communication go, one step of the pipeline, what is proven.

It holds its drawings as SVG and needs no script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from dse.report.page.page import fill_still, html_table
from dse.report.system.charts import Record, name_of, runs
from dse.units import format_value

#: Rows of a table on the page at most; all of them are in the CSV file.
MOST_ROWS = 200
#: Columns of the tables of plans: title, key, what the value is divided by, digits.
RATES = (
    ("step s", "latency_s", 1.0, 4),
    ("J a step", "energy_j", 1.0, 1),
    ("s to the loss", "to_loss_s", 1.0, 0),
    ("J to the loss", "to_loss_j", 1.0, 0),
    ("tokens/s", "tokens_per_s", 1.0, 0),
    ("tokens/s of a device", "tokens_per_s_per_device", 1.0, 1),
    ("MFU %", "mfu", 0.01, 1),
    ("J/token", "energy_j_per_token", 1.0, 5),
    ("tokens/J", "tokens_per_j", 1.0, 3),
    ("GB a device", "peak_memory_bits", 8e9, 2),
    ("GB sent a step", "link_bits", 8e9, 3),
)


@dataclass(frozen=True)
class SystemPage:
    """What a page shows.

    Attributes
    ----------
    tables
        Records of plans by heading.
    drawings
        SVG text by heading.
    sentences
        By heading: what is proven, what is not.
    """

    title: str
    summary: str
    tables: Mapping[str, Sequence[Record]]
    drawings: Mapping[str, str]
    sentences: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def system_html(page: SystemPage) -> str:
    """The page as HTML."""
    figures = "".join(
        f"<section><h2>{escape(name)}</h2><figure class=wide>{svg}</figure></section>"
        for name, svg in page.drawings.items()
    )
    said = "".join(
        f"<section><h2>{escape(name)}</h2><p>{escape(words)}</p></section>" for name, words in page.sentences.items()
    )
    tables = "".join(_table(name, rows) for name, rows in page.tables.items())
    return fill_still(
        "system.html",
        title=escape(page.title),
        summary=escape(page.summary),
        tiles=_tiles([row for rows in page.tables.values() for row in runs(rows)]),
        notes="".join(f"<p class=note>{escape(note)}</p>" for note in page.notes),
        body=tables + figures + said,
    )


def _tiles(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    time = "to_loss_s" if "to_loss_s" in rows[0] else "latency_s"
    energy = "to_loss_j" if time == "to_loss_s" else "energy_j"
    tiles = (
        ("fastest", time, 1.0, "s"),
        ("lowest energy", energy, 1.0, "J"),
        ("least memory", "peak_memory_bits", 8.0, "B"),
    )
    result = ""
    for name, column, scale, unit in tiles:
        best = min(rows, key=lambda row: float(row[column]))
        value = format_value(best[column] / scale, unit) if unit != "B" else f"{best[column] / 8e9:,.2f} GB"
        result += (
            f"<div class=tile><h3>{name}</h3><p>{escape(value)}</p><p class=small>{escape(name_of(best))}</p></div>"
        )
    return result


def _table(name: str, rows: Sequence[Record]) -> str:
    shown = [rate for rate in RATES if any(row.get(rate[1]) is not None for row in rows)]
    titles = ["formats", "parallel plan", "recomputed", "devices", *(title for title, *_ in shown), "why not"]
    body = [
        [
            str(row.get("plan") or ""),
            str(row["parallel"]) if row.get("latency_s") is not None else "-",
            str(row.get("recompute") or ""),
            f"{row['devices']:,}",
            *(_cell(row.get(key), scale, digits) for _, key, scale, digits in shown),
            str(row.get("limit") or ""),
        ]
        for row in rows[:MOST_ROWS]
    ]
    if not any(line[-1] for line in body):
        titles, body = titles[:-1], [line[:-1] for line in body]
    more = f"<p class=small>{len(rows) - MOST_ROWS:,} more rows in the CSV file.</p>" if len(rows) > MOST_ROWS else ""
    numeric = range(3, 4 + len(shown))
    return f"<section><h2>{escape(name)}</h2><div class=wide>{html_table(titles, body, name, tuple(numeric))}</div>{more}</section>"


def _cell(value: float | None, scale: float, digits: int) -> str:
    return "-" if value is None or value != value else f"{value / scale:,.{digits}f}"
