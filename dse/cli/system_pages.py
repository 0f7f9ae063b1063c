"""Files of what the command line asks of systems: tables as CSV, drawings as SVG, a page, and what a run was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dse.cost.model import MODEL_VERSION
from dse.files import csv_text
from dse.report.system.charts import (
    by_devices,
    front_chart,
    link_chart,
    memory_chart,
    runs,
    scaling_chart,
    time_chart,
    timeline_chart,
)
from dse.report.system.page import SystemPage, system_html
from dse.search.target_loss.systems import Explored
from dse.system.plans.timeline import Layout
from dse.version import VERSION

#: Titles of axes by column.
AXES = {
    "latency_s": "s of a step",
    "energy_j": "J of a step",
    "to_loss_s": "s to the loss",
    "to_loss_j": "J to the loss",
    "devices": "devices",
    "peak_memory_bits": "bits on the fullest device",
}


def records_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, NaN as None."""
    return [
        {str(name): None if value is None or value != value else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def csv_of(table: pd.DataFrame) -> str:
    return csv_text([str(name) for name in table.columns], table.itertuples(index=False))


def explored_files(found: Explored, folder: Path, title: str, inputs: Mapping[str, Any]) -> dict[Path, str]:
    """Files of an exploration by their place: ``front.csv, fastest.csv, run.json, report.html`` and drawings."""
    front, fastest = records_of(found.front), records_of(found.fastest)
    best = runs(fastest)
    time, energy = ("to_loss_s", "to_loss_j") if "to_loss_s" in found.front else ("latency_s", "energy_j")
    drawings = {"front": front_chart(front, (time, AXES[time]), (energy, AXES[energy]))}
    if len({row["devices"] for row in best}) > 1:
        drawings["time"] = by_devices(best, time, f"{AXES[time]}, fastest plan")
        drawings["energy"] = by_devices(best, energy, f"{AXES[energy]}, fastest plan")
    drawings |= _parts(best, found.layout)
    sentences = {"What is proven": found.certificate["proven"], "What is not": found.certificate["not_proven"]}
    summary = (
        f"{found.certificate['shared']:,} parallel plans under {len(found.certificate['plans'])} plans of formats, "
        f"{found.samples:,} samples of a step: the {len(front):,} that no other one beats."
    )
    tables = {"Fastest of each plan of formats": fastest, "Front": front}
    page = SystemPage(title, summary, tables, _headed(drawings), sentences, found.notes)
    run = {
        "kind": "systems",
        "dse_version": VERSION,
        "model_version": MODEL_VERSION,
        **inputs,
        "objectives": list(found.objectives),
        "samples": found.samples,
        "certificate": found.certificate,
        "notes": list(found.notes),
    }
    return {
        folder / "front.csv": csv_of(found.front),
        folder / "fastest.csv": csv_of(found.fastest),
        folder / "run.json": json.dumps(run, indent=1, allow_nan=False) + "\n",
        folder / "report.html": system_html(page),
        **{folder / f"{name}.svg": text for name, text in drawings.items()},
    }


def cost_files(
    rows: Sequence[Mapping[str, Any]], folder: Path, title: str, notes: Sequence[str], layout: Layout | None
) -> dict[Path, str]:
    """Files of the cost of plans by their place: ``plans.csv, report.html`` and drawings."""
    return _files(rows, folder, title, notes, _parts(runs(rows), layout))


def sweep_files(rows: Sequence[Mapping[str, Any]], folder: Path, title: str, notes: Sequence[str]) -> dict[Path, str]:
    """Files of a sweep by their place: ``plans.csv, report.html``, and figures of strong and weak scaling."""
    found = runs(rows)
    drawings = {
        scaling: scaling_chart([row for row in found if row["scaling"] == scaling])
        for scaling in dict.fromkeys(str(row["scaling"]) for row in found)
    }
    return _files(rows, folder, title, notes, drawings | _parts(found, None))


def _files(
    rows: Sequence[Mapping[str, Any]], folder: Path, title: str, notes: Sequence[str], drawings: Mapping[str, str]
) -> dict[Path, str]:
    fit = len(runs(rows))
    summary = (
        f"{fit:,} of {len(rows):,} have a plan that fits the memory." if len(rows) > 1 else str(rows[0]["parallel"])
    )
    page = SystemPage(title, summary, {"Plans": list(rows)}, _headed(drawings), {}, notes)
    return {
        folder / "plans.csv": csv_of(pd.DataFrame(rows)),
        folder / "report.html": system_html(page),
        **{folder / f"{name}.svg": text for name, text in drawings.items()},
    }


HEADINGS = {
    "front": "The front",
    "time": "Time over devices",
    "energy": "Energy over devices",
    "strong": "Strong scaling: the same samples of a step",
    "weak": "Weak scaling: the same samples for each device",
    "parts": "Where the time of a step goes",
    "memory": "Memory by part",
    "links": "Communication by kind",
    "timeline": "One step, pass by pass",
}


def _headed(drawings: Mapping[str, str]) -> dict[str, str]:
    return {HEADINGS[name]: text for name, text in drawings.items()}


def _parts(rows: Sequence[Mapping[str, Any]], layout: Layout | None) -> dict[str, str]:
    drawings = {"parts": time_chart(rows), "memory": memory_chart(rows), "links": link_chart(rows)}
    if layout is not None:
        events = [item._asdict() for item in layout.events]
        drawings["timeline"] = timeline_chart(events, [item._asdict() for item in layout.tail], layout.stages)
    return drawings
