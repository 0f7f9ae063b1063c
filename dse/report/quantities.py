"""How a column of a run folder is written for people: label, unit, prefix; :mod:`dse.units` has the labels and meanings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dse import units
from dse.units import PREFIXED, SI_PREFIXES

#: A predicted drop and the ends of its interval: their unit is the profile's.
DROPS = ("accuracy_drop_pp", "accuracy_drop_low_pp", "accuracy_drop_high_pp")


@dataclass(frozen=True)
class Quantity:
    """A column as people read it.

    Attributes
    ----------
    name, label, unit
        Column name, words, and unit ("" for a plain number).
    meaning
        One sentence, or "".
    """

    name: str
    label: str
    unit: str
    meaning: str = ""

    @property
    def title(self) -> str:
        """Axis title: label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def quantity(name: str, info: Mapping[str, Any]) -> Quantity:
    """Label and unit of a column: what run.json says, else :mod:`dse.units`, else what the suffix of the name says.

    Parameters
    ----------
    name
        Column, such as ``energy_j`` or ``array.rows``.
    info
        What run.json holds; its ``quantities`` and ``profile.unit`` are read.
    """
    given = info.get("quantities") or {}
    entry = given.get(name) if isinstance(given, Mapping) else None
    entry = entry if isinstance(entry, Mapping) else {}
    stem, unit = units.named(name)
    if name in DROPS:
        unit = str((info.get("profile") or {}).get("unit") or "points")
    known = units.quantity(name)
    # Parameters of hardware are named by their place in its file: memories.buffer.size_bits is the buffer size.
    plain = stem.removeprefix("memories.").replace(".", " ").replace("_", " ")
    label, meaning = (known.label, known.meaning) if known else (plain, "")
    unit = known.unit if known and name not in DROPS else unit
    return Quantity(
        name, str(entry.get("label") or label), str(entry.get("unit") or unit), str(entry.get("meaning") or meaning)
    )


def axis_scale(largest: float, unit: str) -> tuple[float, str]:
    """Divisor and prefixed unit of an axis whose largest number is ``largest``, so that its ticks are plain numbers.

    >>> axis_scale(0.08, "J")
    (0.001, 'mJ')
    >>> axis_scale(12.5, "mm²")
    (1.0, 'mm²')
    """
    if unit not in PREFIXED or not math.isfinite(largest) or largest <= 0.0:
        return 1.0, unit
    power = min(max(3 * math.floor(math.log10(largest) / 3), -15), 18)
    return 10.0**power, f"{SI_PREFIXES[power]}{unit}"


def format_share(ours: object, theirs: object) -> str:
    """Ours as a multiple of theirs, with the difference; "equal" within half a percent; "unknown" without two numbers.

    >>> format_share(0.5, 1.0), format_share(3.0, 2.0)
    ('0.50x (50 % less)', '1.50x (50 % more)')
    """
    try:
        share = float(ours) / float(theirs)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return "unknown"
    if not math.isfinite(share) or share <= 0.0:
        return "unknown"
    if abs(share - 1.0) < 0.005:
        return "equal"
    number = f"{share:.2f}" if 0.1 <= share < 100.0 else f"{share:.2g}"
    if not 0.05 <= share <= 10.0:
        return f"{number}x"
    return f"{number}x ({100.0 * abs(share - 1.0):.0f} % {'less' if share < 1.0 else 'more'})"
