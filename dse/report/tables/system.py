"""Tables of a system's cost for the terminal, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from dse.names import TIME_PARTS
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
    rates = Table("devices", "parallel", "recompute", title="Training step on a system")
    for title, *_ in _RATES:
        rates.add_column(title, justify="right")
    for row in rows:
        cells = [
            f"{row[key] / scale:,.{digits}f}" if row.get(key) is not None else "-" for _, key, scale, digits in _RATES
        ]
        rates.add_row(f"{row['devices']:,}", str(row.get("parallel") or "-"), str(row.get("recompute") or "-"), *cells)
    parts = Table("devices", "parallel", title="Where a step's time and a device's memory go")
    parts.add_column("time")
    parts.add_column("memory")
    for row in rows:
        if row.get("latency_s") is None:
            continue
        times = {part: row[f"{part}_s"] / row["latency_s"] for part in TIME_PARTS if row.get(f"{part}_s")}
        held = {part.name: row[part.column] / 8e9 for part in memory_parts(row) if row[part.column]}
        parts.add_row(
            f"{row['devices']:,}",
            str(row["parallel"]),
            ", ".join(f"{name} {share:.1%}" for name, share in sorted(times.items(), key=lambda item: -item[1])),
            ", ".join(f"{name} {size:.2f} GB" for name, size in sorted(held.items(), key=lambda item: -item[1])),
        )
    return [rates, parts]
