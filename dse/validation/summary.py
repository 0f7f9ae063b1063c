"""The validation table in a line per source, as the README shows it."""

from __future__ import annotations

import pandas as pd


def summary_markdown(table: pd.DataFrame) -> str:
    """Rows of :func:`dse.validation.table.validation_table` by source, as a Markdown table.

    Signed errors run from the most negative to the most positive; rows with a tolerance, with the number of those that miss it, and
    rows without, which are shown for comparison only, stand apart.
    """
    lines = ["| source | rows with a tolerance | signed errors | rows without | signed errors |"]
    lines += ["|---|---|---|---|---|"]
    for source, rows in table.groupby("source", sort=False):
        held = rows["tolerance"].notna()
        lines.append(f"| {source} | {_group(rows[held])} | {_group(rows[~held])} |")
    return "\n".join(lines) + "\n"


def _group(rows: pd.DataFrame) -> str:
    errors = rows["signed_error"].dropna()
    if errors.empty:
        return "|"
    low, high = (f"{value:+.1%}" for value in (errors.min(), errors.max()))
    beyond = int((rows["signed_error"].abs() > rows["tolerance"]).sum())
    count = f"{len(rows)}, {beyond} beyond it" if beyond else str(len(rows))
    return f"{count} | {low if low == high else f'{low} to {high}'}"


def silicon_markdown(table: pd.DataFrame) -> str:
    """Energy, power and area of chips and RTL: how far off, for figures that a law rests on, all others, and ratios on one chip.

    Rows that say what the published figure includes; rates, which are counts, are left out, and so are limits of boards, which
    nobody measured.
    """
    rows = table[table["includes"].fillna("").ne("") & table["kind"].isin(("energy", "power", "area"))]
    anchors, limits, ratios = (rows["includes"].str.startswith(word) for word in ("anchor", "limit", "ratio"))
    lines = [
        "| silicon and RTL | figures | sources | median error | within 30 % | worst factor |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        _line("figures that a law rests on", rows[anchors]),
        _line("energy, power and area of chips, nothing fitted to them", rows[~anchors & ~limits & ~ratios]),
        _line("ratios between formats of one chip", rows[ratios]),
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: pd.DataFrame) -> str:
    size = rows["signed_error"].abs()
    factor = rows["ours"] / rows["published"]
    worst = factor.where(factor >= 1.0, 1.0 / factor)
    at = int(worst.to_numpy().argmax())
    said = f"{worst.max():.1f} ({rows['source'].iloc[at]}, {rows['quantity'].iloc[at]})"
    near = f"{(size <= 0.3).mean():.0%}"
    return f"| {name} | {len(rows)} | {rows['source'].nunique()} | {size.median():.0%} | {near} | {said} |"
