"""One row of the validation table, and how its signed error is taken."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

#: What a row is a figure of. A ratio of times or of energies is of what it compares.
Kind = Literal["count", "time", "energy", "area", "power", "accuracy", "memory"]


class Row(NamedTuple):
    """A published figure beside ours.

    Attributes
    ----------
    source, quantity, unit
        Who published it, what it is, and the unit of both figures ("" for a plain number).
    published, ours
        The figures.
    signed_error
        ``ours / published - 1``.
    tolerance
        What the error is held against; NaN: shown for comparison, nothing is claimed.
    note
        Why it is off, or how the figure came about.
    kind
        What it is a figure of.
    includes
        Of silicon and RTL: what the published figure includes (DRAM, supply, sparsity, use); "" for other rows. Its first word says
        what counts apart: "anchor" (a law rests on it), "ratio" (of two figures of a chip), "limit" (a bound, not measured).
    """

    source: str
    quantity: str
    unit: str
    published: float
    ours: float
    signed_error: float
    tolerance: float
    note: str
    kind: Kind
    includes: str = ""


COLUMNS = Row._fields


def row(
    kind: Kind,
    source: str,
    quantity: str,
    unit: str,
    published: float,
    ours: float,
    tolerance: float = math.nan,
    note: str = "",
    includes: str = "",
) -> Row:
    """A row with its relative signed error; a tolerance of NaN: shown, not held against a bound.

    >>> row("energy", "a", "b", "pJ", 2.0, 2.1, 0.1).signed_error
    0.050000000000000044
    """
    error = ours / published - 1.0 if published else math.nan
    return Row(source, quantity, unit, published, ours, error, tolerance, note, kind, includes)


def range_row(
    kind: Kind, source: str, quantity: str, unit: str, low: float, high: float, ours: float, note: str = ""
) -> Row:
    """A row against a published range: the error is against its middle, the tolerance half its width."""
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    said = f"published {low:g} to {high:g}; {note}"
    return row(kind, source, quantity, unit, middle, ours, half / middle, said)
