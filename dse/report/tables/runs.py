"""Tables of a run: for the terminal (rich), for a paper (LaTeX), for a text (Markdown), and the sentence that sums a run up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from dse.numbers import EVEN
from dse.report.quantities import format_share, quantity
from dse.report.run.data import RunData, listed, read_run
from dse.report.tables.terminal import longest_rows
from dse.units import count_of, energy_parts, format_value


def notable(run: RunData) -> dict[str, pd.Series]:
    """The designs a reader asks for first, by role: knee, fastest, lowest-energy. Empty if the front is."""
    front = run.front[run.front["latency_s"].notna() & run.front["energy_j"].notna()]
    if not len(front):
        return {}
    picks = {"knee": run.knee()}
    for baseline in listed(run.info, "baselines"):
        if baseline.get("role") in ("fastest", "lowest-energy") and baseline.get("design") in set(front["design"]):
            picks[str(baseline["role"])] = str(baseline["design"])
    picks.setdefault("fastest", str(front["design"].iloc[int(front["latency_s"].to_numpy().argmin())]))
    picks.setdefault("lowest-energy", str(front["design"].iloc[int(front["energy_j"].to_numpy().argmin())]))
    return {role: front[front["design"] == design].iloc[0] for role, design in picks.items() if design is not None}


def comparisons(run: RunData) -> list[dict[str, Any]]:
    """Notable designs against the baselines of the same hardware.

    Returns
    -------
    list
        Records ``role, design, row, baseline, latency, energy``; the last two are texts such as "0.43x (57 % less)". A baseline
        that names no design counts for every role.
    """
    records = []
    for role, row in notable(run).items():
        for baseline in listed(run.info, "baselines"):
            if baseline.get("role") == role or (
                not baseline.get("role") and baseline.get("design") in (None, row["design"])
            ):
                records.append(
                    {
                        "role": role,
                        "design": str(row["design"]),
                        "row": row,
                        "baseline": baseline,
                        "latency": format_share(row["latency_s"], baseline.get("latency_s")),
                        "energy": format_share(row["energy_j"], baseline.get("energy_j")),
                    }
                )
    return records


def summary_sentence(run: RunData) -> str:
    """One or two sentences: what the search gained over the baselines on the same hardware."""
    limit = run.info.get("max_accuracy_drop_pp")
    unit = quantity("accuracy_drop_pp", run.info).unit
    sure = run.info.get("confidence")
    kept = f", kept with a probability of {sure:g}" if isinstance(sure, float) and sure > EVEN else ""
    bound = "" if limit is None else f" within the accuracy limit of {count_of(limit, unit)}{kept}"
    rows = notable(run)
    if not rows:
        return f"No feasible design was found{bound}; the limits that failed are in designs.csv."
    count = len(run.front)
    many = "1 non-dominated design" if count == 1 else f"{count} non-dominated designs"
    text = f"{many}{bound}."
    found = [
        record for record in comparisons(run) if record["role"] == "knee" and keeps_limit(record["baseline"], limit)
    ]
    gains = [
        f"{_of(record['latency'], 'time')} and {_of(record['energy'], 'energy')} of "
        f"{record['baseline'].get('name', 'the baseline')}"
        for record in found[:2]
        if "unknown" not in (record["latency"], record["energy"])
    ]
    if gains:
        row = rows["knee"]
        drop = row.get("accuracy_drop_pp")
        lost = "" if drop is None or pd.isna(drop) else f", at a predicted drop of {drop_text(row)} {unit}"
        text += f" The knee of the front, {row['design']}, takes {', and '.join(gains)}, on the same hardware{lost}."
    return text


def _of(share: str, what: str) -> str:
    """A share of something as a sentence has it: "0.50x the time (50 % less)"."""
    factor, _, difference = share.partition(" ")
    return f"the same {what}" if share == "equal" else f"{factor} the {what} {difference}".rstrip()


def predicts(run: RunData) -> bool:
    """Whether the run predicts accuracy; one with a given plan does not."""
    return "accuracy_drop_pp" in run.front.columns


def drop_text(row: Mapping[str, Any] | pd.Series) -> str:
    """A predicted drop with the ends of its interval, as far as they are known.

    >>> drop_text({"accuracy_drop_pp": 0.55, "accuracy_drop_low_pp": 0.3, "accuracy_drop_high_pp": 1.0})
    '0.55 (0.3 to 1)'
    """
    low, high = (row.get(name) for name in ("accuracy_drop_low_pp", "accuracy_drop_high_pp"))
    drop = row.get("accuracy_drop_pp")
    # What is below any measurement's digits is none.
    text = "0" if isinstance(drop, float) and abs(drop) < 1e-6 else format_value(drop)
    if any(not isinstance(end, (int, float)) or math.isnan(end) for end in (low, high)):
        return text
    return f"{text} ({low:.2g} to {high:.2g})"


def keeps_limit(baseline: dict[str, Any], limit: object) -> bool:
    """Whether a baseline runs and keeps the accuracy limit: what a gain may be told against. An unknown drop breaks a limit."""
    drop = baseline.get("accuracy_drop_pp")
    # NaN keeps no limit either: comparisons with it are false.
    kept = not isinstance(limit, (int, float)) or (isinstance(drop, (int, float)) and drop <= limit)
    if isinstance(baseline.get("keeps_limit"), bool):  # with the run's confidence
        kept = bool(baseline["keeps_limit"])
    return bool(baseline.get("feasible", True)) and kept


def summary_table(run: RunData | Path) -> Table:
    """The end of a run on the terminal: notable designs, and what they gain over the baselines on the same hardware."""
    run = run if isinstance(run, RunData) else read_run(run)
    unit = quantity("accuracy_drop_pp", run.info).unit
    table = Table(title=escape(summary_sentence(run)), title_justify="left")
    table.add_column("design")
    predicted = predicts(run)
    drop = [f"drop ({unit})"] * predicted
    for title in ("latency", "energy", "area", *drop, "against, on the same hardware", "latency", "energy"):
        table.add_column(title, justify="left" if title.startswith("against") else "right")
    found = comparisons(run)
    for role, row in notable(run).items():
        first = [
            f"{role} {row['design']}",
            format_value(row["latency_s"], "s"),
            format_value(row["energy_j"], "J"),
            format_value(row.get("area_mm2"), "mm²"),
            *[drop_text(row)] * predicted,
        ]
        gains = [
            [_baseline(record["baseline"]), record["latency"], record["energy"]]
            for record in found
            if record["role"] == role and record["baseline"].get("feasible", True)
        ]
        for gain in gains or [["", "", ""]]:
            table.add_row(*(escape(cell) for cell in [*first, *gain]))
            first = [""] * len(first)
    return table


#: Titles of :func:`waterfall_rows`.
WATERFALL = (
    "after",
    "latency",
    "of the step before",
    "energy",
    "of the step before",
    "area",
    "drop",
    "what carries it",
)


def waterfall_rows(run: RunData) -> list[list[str]]:
    """Cells of :data:`WATERFALL`: what the knee costs after each of its ingredients, against the step before."""
    rows, before = [], None
    for step in listed(run.info, "waterfall"):
        shares = (
            ["", ""]
            if before is None
            else [format_share(step.get(name), before.get(name)) for name in ("latency_s", "energy_j")]
        )
        rows.append(
            [
                str(step.get("step", "")),
                format_value(step.get("latency_s"), "s"),
                shares[0],
                format_value(step.get("energy_j"), "J"),
                shares[1],
                format_value(step.get("area_mm2"), "mm²"),
                drop_text(step),
                str(step.get("assumption") or ""),
            ]
        )
        before = step
    return rows


def waterfall_table(run: RunData | Path) -> Table | None:
    """Where the gain of the knee comes from, for the terminal; None where the run does not say."""
    run = run if isinstance(run, RunData) else read_run(run)
    rows = waterfall_rows(run)
    if not rows:
        return None
    table = Table(title=f"Where the gain of the knee, {escape(str(run.knee()))}, comes from", title_justify="left")
    for title in WATERFALL:
        table.add_column(title, justify="left" if title in (WATERFALL[0], WATERFALL[-1]) else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _baseline(baseline: dict[str, Any]) -> str:
    name = str(baseline.get("name", "baseline"))
    return name if baseline.get("feasible", True) else f"{name} (infeasible)"


def cost_tables(total: pd.DataFrame, layers: pd.DataFrame) -> tuple[Table, Table]:
    """An evaluation for people: totals by component, and one row per layer with its passes and what bounds them.

    Parameters
    ----------
    total, layers
        ``Cost.total`` and ``Cost.layers`` of :func:`dse.evaluate`.
    """
    totals = Table(title="Total")
    totals.add_column("quantity")
    for row in total.to_dict("records"):
        number = f"{row.get('design', '')} " if len(total) > 1 else ""
        totals.add_column(escape(f"{number}{row.get('plan', '')}".strip()), justify="right")
    for name in (str(column) for column in total.columns if column not in ("design", "plan")):
        values = total[name].tolist()
        if name in ("limit", "price_extrapolated") and not any(bool(value) for value in values):
            continue
        what = quantity(name, {})
        cells = [
            str(value) if isinstance(value, (bool, str)) else format_value(value, what.unit, 4) for value in values
        ]
        totals.add_row(escape(what.label), *(escape(cell) for cell in cells))
    return totals, _layer_table(layers)


def _layer_table(layers: pd.DataFrame) -> Table:
    every = {part.column: part.label for part in energy_parts(layers.columns)}
    shown, left_out = longest_rows(layers, "energy_j" if "energy_j" in layers else next(iter(every)))
    table = Table(title=f"Per layer{left_out}")
    # Components below 1 % of the energy would be columns of noise: they are added up.
    components = [name for name in every if layers[name].sum() >= 0.01 * layers[list(every)].to_numpy().sum()]
    small = [name for name in every if name not in components]
    names = [*(every[name] for name in components), *(["other"] if small else [])]
    titles = ["layer", "pass", "latency", "bound by", "energy", *names]
    for title in titles:
        justify: JustifyMethod = "left" if title in ("layer", "pass", "bound by") else "right"
        # Names of layers end in what tells them apart: they are broken, never cut.
        table.add_column(title, justify=justify, overflow="fold" if title == "layer" else "ellipsis")
    for row in shown.to_dict("records"):
        energy = row.get("energy_j", sum(row[name] for name in components))
        table.add_row(
            escape(str(row["layer"])),
            escape(str(row["pass"])),
            format_value(row["latency_s"], "s"),
            escape(str(row.get("bound", ""))),
            format_value(energy, "J"),
            *(format_value(row[name], "J") for name in components),
            *([format_value(sum(row[name] for name in small), "J")] if small else []),
        )
    return table


def pass_table(layers: pd.DataFrame) -> Table:
    """Time, energy, average power and BitOps of each pass, over all layers of the first design and plan."""
    table = Table(title="Per pass")
    for title in ("pass", "latency", "energy", "power", "bit operations"):
        table.add_column(title, justify="left" if title == "pass" else "right")
    first = layers[(layers["design"] == layers["design"].min()) & (layers["plan"] == layers["plan"].iloc[0])]
    # The first layer has no backward_data: the order of appearance is not that of a step.
    step = [name for name in ("forward", "backward_data") if (first["pass"] == name).any()]
    for name in dict.fromkeys([*step, *first["pass"]]):
        rows = first[first["pass"] == name]
        latency, energy = rows["latency_s"].sum(), rows["energy_j"].sum()
        values = (
            (latency, "s"),
            (energy, "J"),
            (energy / latency if latency > 0 else 0.0, "W"),
            (rows["bitops"].sum(), "BitOps"),
        )
        table.add_row(escape(str(name)), *(format_value(value, unit) for value, unit in values))
    return table


def phase_table(phases: pd.DataFrame) -> Table:
    """Time, energy and average power of a schedule's phases; phases of the same plan are added up, in order of appearance."""
    table = Table(title="Phases")
    for title in ("plan", "phases", "iterations", "latency", "energy", "power"):
        table.add_column(title, justify="left" if title == "plan" else "right")
    for plan, rows in phases[phases["design"] == phases["design"].min()].groupby("plan", sort=False):
        latency, energy = rows["latency_s"].sum(), rows["energy_j"].sum()
        table.add_row(
            escape(str(plan)),
            str(len(rows)),
            f"{rows['iterations'].sum():,}",
            format_value(latency, "s"),
            format_value(energy, "J"),
            format_value(energy / latency, "W"),
        )
    return table


def rate_table(total: pd.DataFrame, samples: int) -> Table:
    """What architects quote of each plan: operations (a MAC is two) and samples per second and per joule, with all waiting.

    Parameters
    ----------
    total
        :attr:`dse.cost.Cost.total`.
    samples
        Samples that a row's latency and energy are of.
    """
    table = Table(title="Rates")
    table.add_column("quantity")
    for plan in total["plan"]:
        table.add_column(escape(str(plan)), justify="right")
    figures = (
        ("Operations per second", "TOPS", 2e-12 * total["macs"] / total["latency_s"]),
        ("Operations per joule", "TOPS/W", 2e-12 * total["macs"] / total["energy_j"]),
        ("Samples per second", "samples/s", samples / total["latency_s"]),
        ("Energy of a sample", "J", total["energy_j"] / samples),
    )
    for name, unit, values in figures:
        table.add_row(name, *(format_value(float(value), unit) for value in values))
    return table


#: What the layers without MACs are summed up as.
OTHERS = "layers without MACs"


def layers_with_macs(layers: pd.DataFrame) -> pd.DataFrame:
    """A table of layers in which those without MACs have one name, :data:`OTHERS`, and stand last."""
    if "macs" not in layers:
        return layers
    with_macs = layers["layer"].isin(set(layers.loc[layers["macs"] > 0, "layer"]))
    named = layers.assign(layer=layers["layer"].where(with_macs, OTHERS))
    return pd.concat([named[with_macs], named[~with_macs]], ignore_index=True)
