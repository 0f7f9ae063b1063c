"""What runs fused, for a terminal: groups with their layers, and layers without MACs by kind."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.markup import escape
from rich.table import Table

from dse.units import format_value

#: Names of layers that are written out; of more the first and the last.
_NAMES = 4
_COLUMNS = (("latency_s", "s"), ("energy_j", "J"), ("dram_bits", "b"))


def group_table(layers: pd.DataFrame) -> Table:
    """Each group of the first design and plan: its layers, pass by pass, with time, energy and DRAM bits of all of them."""
    table = Table(title="Fused groups")
    for title in ("group", "pass", "layers", "latency", "energy", "DRAM"):
        table.add_column(title, justify="left" if title in ("group", "pass", "layers") else "right")
    first = _first(layers)
    for (group, pass_), rows in first[first["group"] != ""].groupby(["group", "pass"], sort=False):
        names = [str(name) for name in dict.fromkeys(rows["layer"])]
        some = names if len(names) <= _NAMES else [names[0], names[1], "...", names[-1]]
        table.add_row(
            escape(str(group)),
            escape(str(pass_)),
            escape(f"{len(names)}: " + ", ".join(some)),
            *(format_value(rows[column].sum(), unit) for column, unit in _COLUMNS),
        )
    return table


def kind_table(layers: pd.DataFrame, kinds: Mapping[str, str]) -> Table:
    """Layers without MACs of the first design and plan by kind, all passes but the optimizer's together, and their share of all.

    Parameters
    ----------
    kinds
        Kind of each layer without MACs, by name.
    """
    table = Table(title="Layers without MACs")
    for title in ("kind", "layers", "latency", "share", "energy", "share", "DRAM", "share"):
        table.add_column(title, justify="left" if title == "kind" else "right")
    first = _first(layers)
    whole = {column: float(first[column].sum()) for column, _ in _COLUMNS}
    own = first[first["layer"].isin(list(kinds)) & (first["pass"] != "optimizer")]
    for kind, rows in own.groupby(own["layer"].map(kinds), sort=False):
        cells: list[str] = []
        for column, unit in _COLUMNS:
            value = float(rows[column].sum())
            cells += [format_value(value, unit), f"{value / whole[column]:.1%}" if whole[column] else ""]
        table.add_row(escape(str(kind)), str(rows["layer"].nunique()), *cells)
    return table


def _first(layers: pd.DataFrame) -> pd.DataFrame:
    own = (layers["design"] == layers["design"].min()) & (layers["plan"] == layers["plan"].iloc[0])
    return pd.DataFrame(layers[own])
