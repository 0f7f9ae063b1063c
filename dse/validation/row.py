"""One row of the validation table, and how its signed error is taken."""

from __future__ import annotations

import math

COLUMNS = ("source", "quantity", "unit", "published", "ours", "signed_error", "tolerance", "note")

Row = tuple[str | float, ...]


def row(
    source: str, quantity: str, unit: str, published: float, ours: float, tolerance: float = math.nan, note: str = ""
) -> Row:
    """A row with its relative signed error; a tolerance of NaN: shown, not held against a bound.

    >>> row("a", "b", "pJ", 2.0, 2.1, 0.1)[5]
    0.050000000000000044
    """
    return (source, quantity, unit, published, ours, ours / published - 1.0, tolerance, note)


def range_row(source: str, quantity: str, unit: str, low: float, high: float, ours: float, note: str = "") -> Row:
    """A row against a published range: the error is against its middle, the tolerance half its width."""
    middle = (low + high) / 2.0
    return row(
        source, quantity, unit, middle, ours, (high - low) / 2.0 / middle, f"published {low:g} to {high:g}; {note}"
    )
