"""Tables of explicit mappings for the terminal: time and energy per layer, and what moves at every memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
from rich.table import Table

from dse.names import SIDES

_NOTE = (
    "cycles: the slowest of compute and of every memory, as dse evaluate has them; fill and drain come on top. Roles name the "
    "operand's place in a mapping: accumulator is what is summed up. "
    "What precision itself costs (conversions, side data) and layers without MACs are not part of these tables."
)


def mapping_tables(costs: pd.DataFrame, traffic: pd.DataFrame) -> list[Table | str]:
    """Cycles, energy, and traffic by memory and operand, then the mappings as text, and what all of it leaves out.

    Parameters
    ----------
    costs, traffic
        As :class:`dse.cost.mapped.explicit.MappingCosts` has them.
    """
    memories = [str(name).removesuffix("_cycles") for name in costs.columns if name.endswith("_cycles")]
    memories = [name for name in memories if f"{name}_pj" in costs.columns]
    parts = ["mac", *memories, "leakage"]
    layers = Table("layer", "pass", "cycles", "bound", "compute", *memories, "fill", "drain", title="Cycles")
    energy = Table("layer", "pass", "energy, pJ", *parts, title="Energy by component, pJ")
    for row in costs.to_dict("records"):
        times = (
            row["compute_cycles"],
            *(row[f"{m}_cycles"] for m in memories),
            row["fill_cycles"],
            row["drain_cycles"],
        )
        named = (str(row["layer"]), _pass(row))
        layers.add_row(*named, f"{row['cycles']:,.0f}", str(row["bound"]), *(f"{x:,.0f}" for x in times))
        energy.add_row(*named, *(f"{row[f'{part}_pj']:.6g}" for part in ("energy", *parts)))
    moved = Table(
        "layer",
        "pass",
        "memory",
        "role",
        "operand",
        "tile",
        *(s.replace("_", " ") for s in SIDES),
        "bits",
        "pJ",
        title="Traffic",
    )
    for row in traffic.to_dict("records"):
        held = (str(row["layer"]), _pass(row), *(str(row[key]) for key in ("memory", "role", "operand")))
        amounts = (f"{row[key]:,}" for key in ("tile_elements", *SIDES))
        moved.add_row(*held, *amounts, f"{row['moved_bits']:,.0f}", f"{row['energy_pj']:.6g}")
    texts = [f"{row['layer']}.{_pass(row)}: {row['mapping']}" for row in costs.to_dict("records")]
    return [layers, energy, moved, *texts, _NOTE]


def _pass(row: dict[Hashable, Any]) -> str:
    """A pass with its order, as mapping files name it."""
    return f"{row['pass']}.{row['order']}" if row["order"] else str(row["pass"])
