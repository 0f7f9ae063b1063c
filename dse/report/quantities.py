"""How a column of a run folder is written for people: label, unit, prefix; :mod:`dse.units` has the labels and meanings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dse import units

#: Suffix of a column name -> unit as people write it. Longest suffix first.
_UNITS = (
    ("_bits_per_cycle", "bits/cycle"),
    ("_macs_per_s", "MAC/s"),
    ("_macs_per_bit", "MAC/bit"),
    ("_bits", "bits"),
    ("_mm2", "mm²"),
    ("_hz", "Hz"),
    ("_pj", "pJ"),
    ("_pp", "points"),
    ("_s", "s"),
    ("_j", "J"),
    ("_w", "W"),
)
#: Units that take SI prefixes; an area or a percentage does not.
PREFIXED = frozenset({"s", "J", "W", "Hz", "bits", "bits/cycle", "BitOps", "MAC", "MAC/s", "MAC/bit"})
_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


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
    stem, unit = name, ""
    for suffix, text in _UNITS:
        if name.endswith(suffix):
            stem, unit = name.removesuffix(suffix), text
            break
    if name == "accuracy_drop_pp":
        unit = str((info.get("profile") or {}).get("unit") or "points")
    known = units.quantity(name)
    # Parameters of hardware are named by their place in its file: memories.buffer.size_bits is the buffer size.
    plain = stem.removeprefix("memories.").replace(".", " ").replace("_", " ")
    label, meaning = (known.label, known.meaning) if known else (plain, "")
    unit = known.unit if known and name != "accuracy_drop_pp" else unit
    return Quantity(
        name, str(entry.get("label") or label), str(entry.get("unit") or unit), str(entry.get("meaning") or meaning)
    )


def format_value(value: object, unit: str = "", digits: int = 3) -> str:
    """A number with unit and SI prefix; "unknown" for NaN and None.

    >>> format_value(0.00213, "J")
    '2.13 mJ'
    >>> format_value(12.5, "mm²")
    '12.5 mm²'
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            value = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return "unknown" if value is None else str(value)
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "infinite"
    if unit in PREFIXED and value != 0.0:
        rounded = float(f"{value:.{digits}g}")
        power = min(max(3 * math.floor(math.log10(abs(rounded)) / 3), -15), 18)
        return f"{_plain(rounded / 10.0**power, digits)} {_PREFIXES[power]}{unit}"
    return f"{_plain(float(value), digits)} {unit}".rstrip()


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
    return 10.0**power, f"{_PREFIXES[power]}{unit}"


def _plain(value: float, digits: int) -> str:
    if value == 0.0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 15 or size < -5:
        return f"{value:.{digits - 1}e}"
    if size >= digits - 1:
        return f"{value:.0f}"
    return f"{value:.{digits - 1 - size}f}"


def format_ratio(ours: object, theirs: object) -> str:
    """How much smaller ours is: "2.3x less", "1.2x more", "equal" or "unknown"."""
    try:
        ratio = float(theirs) / float(ours)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return "unknown"
    if not math.isfinite(ratio) or ratio <= 0.0:
        return "unknown"
    if abs(ratio - 1.0) < 0.005:
        return "equal"
    return f"{_plain(ratio, 3)}x less" if ratio > 1.0 else f"{_plain(1.0 / ratio, 3)}x more"
