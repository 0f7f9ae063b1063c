"""``dse reproduce``: runs the studies, and writes their rows and figures as one page, one CSV and one JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from dse.errors import InputError
from dse.files import csv_text, new_folder, write_files
from dse.hardware import load_hardware
from dse.studies.comparisons import ablation, fashion_mnist, predictor, side_by_side
from dse.studies.page import page_html
from dse.studies.study import Claim, Study
from dse.studies.surveyed import adaptive, arithmetic, cyclic, decoding
from dse.studies.systems import accuracy_booster, actnn, adapt, better_schedules, cpt, dynasty, fractrain, mls
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
    "cyclic_relatives": cyclic.study,
    "adaptive_relatives": adaptive.study,
    "arithmetic": arithmetic.study,
    "progressive_decoding": decoding.study,
    "fashion_mnist": fashion_mnist.study,
    "predictor": predictor.study,
    "ablation": ablation.study,
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


def run_studies(names: Sequence[str] = (), hardware: Sequence[str] = ()) -> Iterator[Study]:
    """Run the named studies, or all, one after the other.

    Parameters
    ----------
    hardware
        Files or names of the devices of ``side_by_side``; with them and no names, only that study runs.

    Raises
    ------
    InputError
        Unknown names, before anything runs.
    """
    unknown = [f"unknown study '{name}'{suggest(name, STUDIES)}" for name in names if name not in STUDIES]
    if unknown:
        raise InputError("reproduce", unknown)
    tasks = dict(STUDIES)
    if hardware:
        devices = [load_hardware(name) for name in hardware]
        tasks["side_by_side"] = lambda: side_by_side.study(devices)
        names = names or ("side_by_side",)
    return (tasks[name]() for name in (dict.fromkeys(names) or STUDIES))


def rows_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Rows of all studies, columns :data:`COLUMNS`; what is not known is NaN."""
    rows = [
        (
            study.name,
            row.system,
            row.label,
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
    page, table = folder / "reproduce.html", rows_table(studies)
    with new_folder(folder):
        write_files(
            {
                folder / "rows.csv": csv_text(
                    COLUMNS, table.astype(object).where(table.notna(), "").to_numpy().tolist()
                ),
                folder / "reproduce.json": json.dumps(as_json(studies), indent=1, allow_nan=False) + "\n",
                page: page_html(studies),
            }
        )
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


def _plain(row: Claim) -> dict[str, Any]:
    keys = ("system", "quantity", "unit", "published", "published_to", "ours", "low", "high", "signed_error", "assumed")
    values = {key: row.label if key == "quantity" else getattr(row, key) for key in keys}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
