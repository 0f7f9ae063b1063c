"""What ``--table`` of evaluate and explore prints and writes: measured costs of layers in place of hardware."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from dse.accuracy import load_profile
from dse.cli.terminal import console, say
from dse.cost.lookup import plan_costs, read_lookup
from dse.errors import InputError
from dse.files import csv_text, require_no_folder, write_all
from dse.numbers import CONFIDENCE
from dse.precision import Plan
from dse.search.bits.asked.lookup import lookup_front
from dse.search.explore import DEFAULT_DROP
from dse.units import format_value
from dse.workload import load_workload

#: Options of explore that go with a table of measured costs, and those that its error names apart.
ON_TABLES, SAID_APART = ("confidence", "formats", "max_accuracy_drop", "out", "profile"), ("workload", "table", "mode")
#: Rows of a front that the terminal shows.
SHOWN = 20
_UNITS = {"latency_s": "s", "energy_j": "J"}
SAYS = "costs are those of the table, at the batch and on the device of its measurement; no hardware is modelled"


def evaluate_table(workload: str, table: Path, plan: str, mode: str, as_json: bool) -> None:
    """Print the costs of a plan, in sum and by layer."""
    network = load_workload(workload)
    parsed = Plan.parse(plan, network)
    rows = plan_costs(read_lookup(table, network), network, parsed, mode)
    sums = {name: float(rows[name].sum()) for name in _UNITS if name in rows}
    if as_json:
        total = [{"plan": parsed.label, **sums}]
        say(json.dumps({"total": total, "layers": rows.to_dict("records"), "notes": [SAYS]}, indent=1))
        return
    _show(f"{network.name}, {parsed.label}, {mode}: measured in {table.name}", rows)
    screen = console()
    screen.print(", ".join(f"{name.split('_')[0]} {format_value(value, _UNITS[name])}" for name, value in sums.items()))
    screen.print(SAYS, soft_wrap=True, markup=False)


def require_table_options(workload: Sequence[str], mode: str, given: Iterable[str]) -> None:
    """Raise InputError where ``dse explore --table`` was given what it cannot use."""
    if len(workload) != 1 or mode != "inference" or set(given) - {*ON_TABLES, *SAID_APART}:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in ON_TABLES)
        text = f"stands for hardware, of which nothing is searched: it goes with one workload, --mode inference, {told}"
        raise InputError("--table", [text])


def explore_table(
    workload: str,
    table: Path,
    profile: str | None,
    formats: Sequence[str] | None,
    max_drop: float | None,
    confidence: float | None,
    out: Path | None,
) -> None:
    """Print the front of a table, and write ``front.csv``, ``bits.csv`` and ``best.yaml`` to ``out``."""
    require_no_folder(out)
    network = load_workload(workload)
    known = load_profile(profile if profile is not None else network.name, network)
    limit = DEFAULT_DROP if max_drop is None else max_drop
    sure = CONFIDENCE if confidence is None else confidence
    found = lookup_front(network, known, read_lookup(table, network), formats, limit, sure)
    count = len(found.front)
    step = max(count // SHOWN, 1)
    title = f"{network.name}, inference, measured in {table.name}: {count:,} bit maps that lose at most {limit:g} {known.unit}"
    _show(title + (f", every {step}th" if step > 1 else ""), found.front.iloc[::step])
    screen = console()
    gap = float(found.front["certificate_gap"].max())
    proven = (
        "proven: no other bit map has less cost at no higher score" if gap == 0 else f"proven up to {gap:.2g} of a cost"
    )
    screen.print(f"{proven}; {SAYS}", soft_wrap=True, markup=False)
    if out is not None:
        tables = {"front.csv": found.front, "bits.csv": found.bits}
        files = {
            out / name: csv_text(list(data.columns), data.itertuples(index=False)) for name, data in tables.items()
        }
        write_all(files)
        found.best.save(out / "best.yaml")
        screen.print(
            f"front.csv, bits.csv and best.yaml (least cost within the limit): {out}", soft_wrap=True, markup=False
        )


def _show(title: str, rows: pd.DataFrame) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows.columns:
        table.add_column(str(name), justify="left" if rows[name].dtype == object else "right")
    for row in rows.to_dict("records"):
        table.add_row(*(_cell(str(name), value) for name, value in row.items()))
    console().print(table)


def _cell(name: str, value: object) -> str:
    if name in _UNITS:
        return format_value(float(str(value)), _UNITS[name])
    return f"{value:.4g}" if isinstance(value, float) else str(value)
