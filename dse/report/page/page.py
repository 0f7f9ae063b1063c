"""The report of a run: one HTML file that needs no server, no network and no other file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from dse.files import write_all
from dse.numbers import CONFIDENCE, EVEN
from dse.report.page.data import page_data
from dse.report.quantities import quantity
from dse.report.run.data import RunData, listed, read_run
from dse.report.tables.runs import (
    WATERFALL,
    comparisons,
    drop_text,
    notable,
    predicts,
    summary_sentence,
    waterfall_rows,
)
from dse.units import count_of, format_value


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run folder.

    Parameters
    ----------
    folder
        A run folder: run.json, front.csv, and what else ``dse explore`` wrote.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        The folder is no run folder, a file in it cannot be read, or the page cannot be written.
    """
    return write_all(report_file(folder))[0]


def report_file(folder: Path) -> dict[Path, str]:
    """What :func:`write_report` writes, by its place."""
    run = read_run(folder)
    return {run.folder / "report.html": report_html(run)}


def report_html(run: RunData) -> str:
    """Text of the page."""
    info = run.info
    hardware = str(_get(info, "hardware", "name") or "the hardware")
    network = str(_get(info, "workload", "name") or info.get("name") or run.name)
    title = f"{network} on {hardware}"
    return fill_page(
        "report.html",
        title=escape(title),
        mode=escape(str(info.get("mode") or "training")),
        summary=escape(summary_sentence(run)),
        tiles=_tiles(run),
        notes="".join(f"<p class=note>{escape(str(note))}</p>" for note in info.get("notes") or []),
        facts=_facts(run),
        gains=_gains(run),
        validation=_validation(run),
        left_out=_sentences(info.get("left_out"), "This run states nothing that the model leaves out."),
        assumptions=_sentences(_assumptions(info), "This run states no assumptions."),
        data=json_for_html(page_data(run)),
        empty="hidden" if len(run.designs) else "",
        full="" if len(run.designs) else "hidden",
    )


#: Files of the page's script in the order in which they are put together, one subject each.
SCRIPTS = (
    "start",
    "runs",
    "words",
    "look",
    "designs",
    "front",
    "parallel",
    "bits",
    "layers",
    "parts",
    "table",
    "plans",
    "wiring",
)


def fill_page(template: str, **fields: str) -> str:
    """Fill a template of the package; script, style and plotly.js are put in."""
    folder = files("dse.report") / "assets"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in (template, "style.css")}
    return Template(text[template]).substitute(fields, style=text["style.css"], script=_script(), plotly=get_plotlyjs())


def fill_still(template: str, **fields: str) -> str:
    """Fill a template of the package that needs no script; the style is put in."""
    folder = files("dse.report") / "assets"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in (template, "style.css")}
    return Template(text[template]).substitute(fields, style=text["style.css"])


def _script() -> str:
    """The script of the page: one scope, in which every file sees what those before it define."""
    folder = files("dse.report") / "assets" / "page"
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def json_for_html(value: object) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def html_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], caption: str, numeric: Sequence[int] = (), *, title: str = ""
) -> str:
    """A table of plain text cells, escaped; ``numeric`` columns are set flush right; ``title`` stands above it."""
    head = "".join(f'<th scope="col"{_numeric(n, numeric)}>{escape(text)}</th>' for n, text in enumerate(titles))
    body = "".join(
        "<tr>" + "".join(f"<td{_numeric(n, numeric)}>{escape(cell)}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f"{f'<h3>{escape(title)}</h3>' if title else ''}"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _numeric(column: int, numeric: Sequence[int]) -> str:
    return ' class="number"' if column in numeric else ""


def _tiles(run: RunData) -> str:
    unit = quantity("accuracy_drop_pp", run.info).unit
    tiles = []
    for role, row in notable(run).items():
        parts = [f"{format_value(row['latency_s'], 's')}", f"{format_value(row['energy_j'], 'J')}"]
        if "area_mm2" in row:
            parts.append(format_value(row["area_mm2"], "mm²"))
        drop = f"predicted drop {drop_text(row)} {unit}"
        small = f"<p class=small>{escape(drop)}</p>" if predicts(run) else ""
        tiles.append(
            f'<div class="tile"><h3>{escape(role)} <span>{escape(str(row["design"]))}</span></h3>'
            f"<p>{escape(' · '.join(parts))}</p>{small}</div>"
        )
    return "".join(tiles)


def _facts(run: RunData) -> str:
    info = run.info
    counts = info.get("counts") or {}
    limit = info.get("max_accuracy_drop_pp")
    unit = quantity("accuracy_drop_pp", info).unit
    error = _get(info, "profile", "loo_error_pp")
    pairs = [
        ("Workload", _get(info, "workload", "name")),
        ("Network", _network(info)),
        ("Workload's source", _get(info, "workload", "source")),
        (
            "Hardware",
            " — ".join(str(x) for x in (_get(info, "hardware", "name"), _get(info, "hardware", "description")) if x),
        ),
        ("Figures are per", run.per),
        ("Plan", ", ".join(map(str, info.get("plan") or [])) or None),
        ("Accuracy limit", None if limit is None else count_of(limit, unit)),
        ("Confidence", _confidence(info)),
        ("Sensitivity profile", _get(info, "profile", "source") or _get(info, "profile", "name")),
        ("Predictor's leave-one-out error", None if error is None else f"{format_value(error)} {unit}"),
        ("Objectives", ", ".join(quantity(str(name), info).label.lower() for name in info.get("objectives") or [])),
        ("Search", _joined(strategy=info.get("strategy"), sampler=info.get("sampler"), seed=info.get("seed"))),
        ("Trials", _joined(**{str(key).replace("_", " "): value for key, value in counts.items()})),
        ("Certificate", _get(info, "certificate", "text")),
        ("Hypervolume", None if info.get("hypervolume") is None else format_value(info["hypervolume"], digits=5)),
        ("Started", info.get("started")),
        (
            "Time",
            None if info.get("seconds") is None else f"{info['seconds']:g} s on {_processes(info.get('jobs', 1))}",
        ),
        (
            "Versions",
            _joined(dse=info.get("dse_version"), model=info.get("model_version"), **_words(info.get("versions"))),
        ),
        ("Command", info.get("command")),
    ]
    text = "".join(
        f"<div><dt>{escape(name)}</dt><dd{' class=code' if name == 'Command' else ''}>{escape(str(value))}</dd></div>"
        for name, value in pairs
        if value not in (None, "")
    )
    return f"<dl>{text}</dl>{_space(run)}"


def _confidence(info: Mapping[str, Any]) -> str | None:
    """With which probability designs keep the limit, and what the intervals beside drops are."""
    sure = info.get("confidence")
    if not isinstance(sure, (int, float)):
        return None
    if sure == EVEN:
        return (
            f"{sure:g}: predicted drops alone are held against the limit; intervals beside them hold at each end with "
            f"{CONFIDENCE:g}"
        )
    return f"{sure:g} that a design keeps the limit; intervals beside drops hold at each end with the same"


def _processes(jobs: object) -> str:
    return "1 process" if jobs == 1 else f"{jobs} processes"


def _network(info: Mapping[str, Any]) -> str:
    macs, parameters = _get(info, "workload", "macs"), _get(info, "workload", "parameters")
    layers, batch, optimizer = (_get(info, "workload", name) for name in ("layers", "batch", "optimizer"))
    parts = [
        f"{format_value(macs, 'MAC', 4)} per sample" if macs else "",
        f"{float(parameters) / 1e6:.4g} million parameters" if isinstance(parameters, (int, float)) else "",
        f"{layers} layers with MACs" if layers else "",
        f"batch {batch}" if batch else "",
        f"{optimizer} optimizer" if optimizer else "",
    ]
    return ", ".join(part for part in parts if part)


def _space(run: RunData) -> str:
    space = _get(run.info, "hardware", "space")
    rows = []
    for item in space if isinstance(space, list) else []:
        if isinstance(item, Mapping):
            values = item.get("values")
            name = str(item.get("name", ""))
            unit = quantity(name, {}).unit
            shown = ", ".join(_short(value, unit) for value in values) if isinstance(values, list) else str(values)
            rows.append([name, shown, _short(item.get("default"), unit)])
    titles = ["parameter", "values searched", "default"]
    text = html_table(titles, rows, "Hardware space", title="Hardware space") if rows else ""
    text += _limits(run) + _sensitivity(run)
    sources = _get(run.info, "hardware", "sources")
    if isinstance(sources, Mapping) and sources:
        body = html_table(
            ["number", "source"], [[str(k), str(v)] for k, v in sources.items()], "Sources of the hardware's numbers"
        )
        text += f"<details class='long'><summary>Sources of the hardware's numbers ({len(sources)})</summary>{body}</details>"
    return text


def _limits(run: RunData) -> str:
    """Hard limits with the share of the front that each binds, and the trials that it made infeasible."""
    rows = [
        [
            str(item.get("limit", "")),
            _bound(item),
            f"{float(item.get('share_of_front_bound') or 0.0):.0%}",
            str(item.get("infeasible_trials", "")),
        ]
        for item in listed(run.info, "limits")
    ]
    titles = ["limit", "bound", "binds, of the front", "trials that broke it"]
    return html_table(titles, rows, "Hard limits", (1, 2, 3), title="Hard limits") if rows else ""


def _bound(item: Mapping[str, Any]) -> str:
    """A limit's bound with its unit; ``quantity`` is a column, or a unit by itself."""
    name = str(item.get("quantity") or "")
    return format_value(item.get("bound"), quantity(name, {}).unit or name, 5)


def _sensitivity(run: RunData) -> str:
    """Total-order indices: the share of an objective's variance over the space that vanishes with a parameter fixed."""
    items = listed(run.info, "sensitivity")
    if not items:
        return ""
    objectives = list(dict.fromkeys(str(item["objective"]) for item in items))
    names = list(dict.fromkeys(str(item["parameter"]) for item in items))
    of = {(str(item["parameter"]), str(item["objective"])): item.get("total_order") for item in items}
    rows = [[name, *(format_value(of.get((name, objective)), digits=2) for objective in objectives)] for name in names]
    titles = ["parameter", *(quantity(objective, run.info).label for objective in objectives)]
    body = html_table(titles, rows, "Sensitivity of the objectives to the parameters", tuple(range(1, len(titles))))
    text = "Which parameters decide: share of an objective's variance that hangs on each (total-order Sobol indices)"
    return f"<details><summary>{text}</summary>{body}</details>"


def _gains(run: RunData) -> str:
    """The knee against every baseline; the other notable designs folded away; what cannot run in a sentence each."""
    found = comparisons(run)
    if not found:
        return "<p>This run holds no baselines.</p>"
    steps = waterfall_rows(run)
    drop = [f"its drop ({quantity('accuracy_drop_pp', run.info).unit})"] * predicts(run)
    titles = ["against", "its latency", "design takes", "its energy", "design takes", *drop, "note"]
    name = f"Where the gain of the knee, {run.knee()}, comes from: one ingredient after the other"
    text = html_table(WATERFALL, steps, name, tuple(range(1, len(WATERFALL) - 1)), title=name) if steps else ""
    for number, design in enumerate(dict.fromkeys((record["role"], record["design"]) for record in found)):
        name = " ".join(design)
        of_design = [record for record in found if (record["role"], record["design"]) == design]
        rows = [_gain(record, bool(drop)) for record in of_design if record["baseline"].get("feasible", True)]
        caption = f"The {name} against baselines on its hardware"
        table = html_table(titles, rows, caption, tuple(range(1, len(titles) - 1))) if rows else ""
        failed = [record["baseline"] for record in of_design if not record["baseline"].get("feasible", True)]
        sentences = "".join(
            f'<p class="small">{escape(str(item.get("name", "baseline")))} cannot run: {escape(str(item.get("note") or ""))}.</p>'
            for item in failed
        )
        body = f"{table}{sentences}"
        opened = " open" if number == 0 else " class='long'"
        text += (
            f"<details{opened}><summary>The {escape(name)} against baselines on its hardware</summary>{body}</details>"
        )
    return text


def _gain(record: Mapping[str, Any], predicted: bool) -> list[str]:
    baseline = record["baseline"]
    return [
        str(baseline.get("name", "baseline")),
        format_value(baseline.get("latency_s"), "s"),
        record["latency"],
        format_value(baseline.get("energy_j"), "J"),
        record["energy"],
        *[drop_text(baseline)] * predicted,
        str(baseline.get("note") or ""),
    ]


def _validation(run: RunData) -> str:
    """A line per source, the figures of all sources folded away below."""
    rows: list[list[str]] = []
    errors: dict[str, list[tuple[bool, float]]] = {}
    for item in listed(run.info, "validation"):
        error, tolerance = item.get("signed_error"), item.get("tolerance")
        held, signed = isinstance(tolerance, (int, float)), "unknown"
        if isinstance(error, (int, float)) and math.isfinite(error):
            errors.setdefault(str(item.get("source", "")), []).append((held, float(error)))
            signed = f"{error:+.1%}"
        rows.append(
            [
                str(item.get("source", "")),
                str(item.get("quantity", "")),
                str(item.get("kind") or ""),
                str(item.get("unit") or ""),
                format_value(item.get("published"), digits=5),
                format_value(item.get("ours"), digits=5),
                signed,
                f"±{tolerance:.1%}" if held else "",
                str(item.get("note") or ""),
            ]
        )
    if not rows:
        return "<p>This run folder holds no validation table; <code>dse validate</code> prints it.</p>"
    titles = ["source", "held within a tolerance", "signed errors", "for information", "signed errors"]
    lines = [[source, *_errors(found, True), *_errors(found, False)] for source, found in errors.items()]
    text = html_table(titles, lines, "Signed errors of this model by source", (1, 2, 3, 4))
    titles = ["source", "quantity", "kind", "unit", "published", "ours", "signed error", "tolerance", "why it is off"]
    every = html_table(titles, rows, "Published figures against this model", (4, 5, 6, 7))
    return f"{text}<details class='long'><summary>All {len(rows)} figures</summary>{every}</details>"


def _errors(found: Sequence[tuple[bool, float]], held: bool) -> list[str]:
    """How many figures, and their signed errors from the most negative to the most positive."""
    of = [error for is_held, error in found if is_held == held]
    if not of:
        return ["", ""]
    low, high = f"{min(of):+.1%}", f"{max(of):+.1%}"
    return [str(len(of)), low if low == high else f"{low} to {high}"]


def _assumptions(info: Mapping[str, Any]) -> list[str]:
    profile = _get(info, "profile", "assumptions")
    both = [*(info.get("assumptions") or []), *(profile if isinstance(profile, list) else [])]
    return list(dict.fromkeys(str(text) for text in both))


def _sentences(sentences: object, otherwise: str) -> str:
    if not isinstance(sentences, list) or not sentences:
        return f"<p>{escape(otherwise)}</p>"
    return "<ul>" + "".join(f"<li>{escape(str(text))}</li>" for text in sentences) + "</ul>"


def _get(info: Mapping[str, Any], key: str, inner: str) -> Any:
    value = info.get(key)
    return value.get(inner) if isinstance(value, Mapping) else None


def _joined(**parts: object) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value not in (None, ""))


def _words(value: object) -> dict[str, object]:
    return (
        {str(key): item for key, item in value.items() if key not in ("dse", "model")}
        if isinstance(value, Mapping)
        else {}
    )


def _short(value: object, unit: str = "") -> str:
    if unit and isinstance(value, (int, float)):
        small = float(value).is_integer() and abs(value) < 10_000
        return f"{value:.0f} {unit}" if small else format_value(value, unit, 4)
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
