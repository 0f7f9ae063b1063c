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
