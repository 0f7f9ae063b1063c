"""Tables of a system's cost for the terminal, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from dse.names import LINK_KINDS, TIME_PARTS
from dse.units import memory_parts

#: Columns of the first table: title, key, what the value is divided by, decimals.
_RATES = (
    ("step s", "latency_s", 1.0, 4),
    ("tokens/s", "tokens_per_s", 1.0, 0),
    ("per device", "tokens_per_s_per_device", 1.0, 1),
    ("MFU %", "mfu", 0.01, 1),
    ("J/token", "energy_j_per_token", 1.0, 4),
    ("tokens/J", "tokens_per_j", 1.0, 3),
    ("GB/device", "peak_memory_bits", 8e9, 2),
)


def system_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Rates of every plan; where time and memory of each feasible one go."""
    swept = any(row.get("scaling") for row in rows)
    more = ["scaling"] * swept
    rates = Table(*more, "devices", "parallel", "recompute", title="Training step on a system")
    columns = (*_RATES, ("efficiency %", "efficiency", 0.01, 1)) if swept else _RATES
    for title, *_ in columns:
        rates.add_column(title, justify="right")
    for row in rows:
        cells = [
            f"{row[key] / scale:,.{digits}f}" if row.get(key) is not None else "-" for _, key, scale, digits in columns
        ]
        words = [str(row["scaling"])] if swept else []
        rates.add_row(
            *words, f"{row['devices']:,}", str(row.get("parallel") or "-"), str(row.get("recompute") or "-"), *cells
        )
    parts = Table(*more, "devices", "parallel", title="Where a step's time and a device's memory go, what it sends")
    parts.add_column("time")
    parts.add_column("memory")
    parts.add_column("sent")
    for row in rows:
        if row.get("latency_s") is None:
            continue
        times = {part: row[f"{part}_s"] / row["latency_s"] for part in TIME_PARTS if row.get(f"{part}_s")}
        held = {part.name: row[part.column] / 8e9 for part in memory_parts(row) if row[part.column]}
        sent = {kind: row[f"link_{kind}_bits"] / 8e9 for kind in LINK_KINDS if row.get(f"link_{kind}_bits")}
        parts.add_row(
            *([str(row["scaling"])] if swept else []),
            f"{row['devices']:,}",
            str(row["parallel"]),
            ", ".join(f"{name} {share:.1%}" for name, share in sorted(times.items(), key=lambda item: -item[1])),
            ", ".join(f"{name} {size:.2f} GB" for name, size in sorted(held.items(), key=lambda item: -item[1])),
            ", ".join(f"{name} {size:.3g} GB" for name, size in sorted(sent.items(), key=lambda item: -item[1])) or "-",
        )
    return [rates, parts]


#: Columns of explorations: title, key, what the value is divided by, digits.
_EXPLORED = (
    ("step s", "latency_s", 1.0, 4),
    ("h to the loss", "to_loss_s", 3600.0, 2),
    ("J/token", "energy_j_per_token", 1.0, 4),
    ("GJ to the loss", "to_loss_j", 1e9, 3),
    ("MFU %", "mfu", 0.01, 1),
    ("GB/device", "peak_memory_bits", 8e9, 2),
)
#: Rows of the front that the terminal shows.
SHOWN = 12


def explored_table(fastest: Sequence[Mapping[str, Any]], front: Sequence[Mapping[str, Any]], title: str) -> list[Table]:
    """The fastest plan of every plan of formats, and the beginning of the front."""
    more = f", the first {SHOWN} of {len(front):,}" if len(front) > SHOWN else ""
    return [
        _explored(fastest, f"{title}: the fastest of each plan of formats"),
        _explored(front[:SHOWN], f"{title}: the front by rising time{more}"),
    ]


def _explored(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    columns = [item for item in _EXPLORED if any(row.get(item[1]) is not None for row in rows)]
    table = Table("formats", "devices", "parallel", "recompute", title=title)
    for name, *_ in columns:
        table.add_column(name, justify="right")
    for row in rows:
        runs = row.get("latency_s") is not None
        cells = [
            f"{row[key] / scale:,.{digits}f}" if row.get(key) is not None else "-" for _, key, scale, digits in columns
        ]
        told = str(row["parallel"]) if runs else str(row.get("limit") or "-")
        table.add_row(str(row["plan"]), f"{row['devices']:,}", told, str(row.get("recompute") or "-"), *cells)
    return table
