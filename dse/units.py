"""The table of quantities: name, unit, bounds, label and meaning of every column that a result has.

Run folders carry it (``quantities`` in run.json), so that pages label their axes from it; tests hold results against its
bounds. Names end in their unit; energy components are ``<component>_j``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from dse.goals import objective_of

INFINITY = float("inf")


class Quantity(NamedTuple):
    """One quantity; values lie in ``low <= value <= high``."""

    name: str
    label: str
    unit: str
    low: float
    high: float
    meaning: str


#: Those that are no objectives: what those mean stands in :data:`dse.goals.OBJECTIVES`.
QUANTITIES = (
    Quantity("power_w", "Power", "W", 0.0, INFINITY, "Energy over latency."),
    Quantity(
        "accuracy_drop_low_pp",
        "Accuracy drop, at least",
        "points",
        -INFINITY,
        INFINITY,
        "What the drop exceeds with the run's confidence (0.9 where the limit is held at even odds).",
    ),
    Quantity(
        "accuracy_drop_high_pp",
        "Accuracy drop, at most",
        "points",
        -INFINITY,
        INFINITY,
        "What the drop does not exceed with the run's confidence (0.9 where the limit is held at even odds).",
    ),
    Quantity(
        "mapping_gap",
        "Mapping gap",
        "",
        0.0,
        1.0,
        "Share of the mapping objective that better mappings could save at most, by bounds that hold for every mapping.",
    ),
    Quantity(
        "certificate_gap",
        "Certificate gap",
        "",
        0.0,
        INFINITY,
        "Proven relative distance of the bit map from the optimum of its inner problem; 0 is proven optimal.",
    ),
    Quantity(
        "certificate_weight", "Weight of latency", "", 0.0, 1.0, "Of latency against energy in the certificate's sum."
    ),
    Quantity(
        "certificate_best",
        "Weighted sum",
        "",
        0.0,
        INFINITY,
        "Latency and energy of the bit map, each in units of the run's reference, by the certificate's weight.",
    ),
    Quantity(
        "certificate_bound",
        "Bound of the weighted sum",
        "",
        0.0,
        INFINITY,
        "No bit map of this hardware and error format within the limits has a smaller weighted sum.",
    ),
    Quantity(
        "error_bits",
        "Width of the error tensors",
        "bits",
        0.0,
        64.0,
        "Width of the loss gradients in the backward passes.",
    ),
    Quantity(
        "layers_by_law",
        "Layers scored by a law",
        "",
        0.0,
        INFINITY,
        "Layers with a format that the profile did not measure: their part of the predicted drop follows the noise of the format.",
    ),
    Quantity(
        "convert_s",
        "Conversions",
        "s",
        0.0,
        INFINITY,
        "What of the latency conversions between formats take, where no converter hides them; the rest is the products' own.",
    ),
    Quantity("macs", "MACs", "MAC", 0.0, INFINITY, "Multiply-accumulates of all passes for the whole batch."),
    Quantity(
        "bitops",
        "Bit operations",
        "BitOps",
        0.0,
        INFINITY,
        "MACs times the widths of both operands of each pass, as the literature counts them.",
    ),
    Quantity("samples_per_s", "Rate", "samples/s", 0.0, INFINITY, "Samples of all steps over their time."),
    Quantity("energy_j_per_sample", "Energy per sample", "J", 0.0, INFINITY, "Energy of a step over its samples."),
    Quantity("dram_bound", "Time bound by DRAM", "", 0.0, 1.0, "Share of the time that DRAM traffic decides."),
    Quantity("dram_bits", "DRAM traffic", "bits", 0.0, INFINITY, "Bits read from and written to DRAM."),
    Quantity(
        "peak_memory_bits",
        "Peak memory",
        "bits",
        0.0,
        INFINITY,
        "Bits held at the moment of a step that holds most, the sum of its parts; of a run, of the step that needs most.",
    ),
    *(
        Quantity(f"memory_{part}_bits", f"Memory of {label}", "bits", 0.0, INFINITY, meaning)
        for part, label, meaning in (
            (
                "weights",
                "weights",
                "Weights in the formats that the passes read, twice where groups lie along one axis.",
            ),
            ("master", "master weights", "Master copies, where they have another format than the weights."),
            ("gradients", "gradients", "Gradients of all weights."),
            ("optimizer", "optimizer states", "States of the optimizer."),
            ("cache", "cached keys and values", "Operands that products read from a cache of earlier steps."),
            ("stash", "the stash", "At the peak: what of the forward pass is kept for the way back."),
            ("working", "the working set", "At the peak: other tensors between layers, and errors."),
        )
    ),
)

_BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


def quantity(name: str) -> Quantity | None:
    """The quantity of a column: an objective, from the table, or by the suffix of an energy component; None if it is neither."""
    if objective := objective_of(name):
        return Quantity(name, objective.label, objective.unit, objective.low, objective.high, objective.meaning)
    if name in _BY_NAME:
        return _BY_NAME[name]
    for part in energy_parts([name]):
        meaning = f"Share of the energy spent in {part.label}."
        return Quantity(name, f"Energy of {part.label}", "J", 0.0, INFINITY, meaning)
    return None


class Part(NamedTuple):
    """A part of a sum: its name in the model, its column in tables, and the words for it."""

    name: str
    column: str

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")


_PART_OF_ENERGY, _PART_OF_MEMORY = re.compile(r"(?!energy_j$)(.+)_j"), re.compile(r"memory_(.+)_bits")


def energy_column(component: str) -> str:
    """Column of a component of the energy: of what a hardware file names, such as a memory, or of what precision costs."""
    return f"{component}_j"


def energy_parts(columns: Iterable[object]) -> list[Part]:
    """The components of the energy among the columns of a table; not the sum."""
    return [Part(found[1], found[0]) for found in map(_PART_OF_ENERGY.fullmatch, map(str, columns)) if found]


def memory_parts(columns: Iterable[object]) -> list[Part]:
    """The parts of the memory at the peak among the columns of a table; not the sum."""
    return [Part(found[1], found[0]) for found in map(_PART_OF_MEMORY.fullmatch, map(str, columns)) if found]


#: Suffix of a column's name and the unit that it says, as people write it; the longest suffix first.
SUFFIXES = (
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


class Named(NamedTuple):
    """What a name says: the words before its unit, and the unit; "" for a plain number."""

    stem: str
    unit: str


def named(name: str) -> Named:
    """A column by the rule that names end in their unit.

    >>> named("memories.buffer.size_bits"), named("array.rows")
    (Named(stem='memories.buffer.size', unit='bits'), Named(stem='array.rows', unit=''))
    """
    found = next(((suffix, unit) for suffix, unit in SUFFIXES if name.endswith(suffix)), ("", ""))
    return Named(name.removesuffix(found[0]), found[1])


#: Units that take SI prefixes; an area or a percentage does not.
PREFIXED = frozenset({"s", "J", "W", "Hz", "bits", "bits/cycle", "BitOps", "MAC", "MAC/s", "MAC/bit"})
SI_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


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
        return f"{_plain(rounded / 10.0**power, digits)} {SI_PREFIXES[power]}{unit}"
    return f"{_plain(float(value), digits)} {unit}".rstrip()


def _plain(value: float, digits: int) -> str:
    if value == 0.0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 15 or size < -5:
        return f"{value:.{digits - 1}e}"
    if size >= digits - 1:
        return f"{value:.0f}"
    return f"{value:.{digits - 1 - size}f}"


def format_bytes(bits: float) -> str:
    """A number of bits in bytes, with binary prefixes.

    >>> format_bytes(64.0), format_bytes(8 * 512 * 1024), format_bytes(8 * 40 * 2**20)
    ('8 B', '512 KiB', '40 MiB')
    """
    if not math.isfinite(bits):
        return format_value(bits)
    size, prefix = bits / 8.0, 0
    while size >= 1024.0 and prefix < 6:
        size, prefix = size / 1024.0, prefix + 1
    number = f"{size:.0f}" if size == int(size) else f"{size:.3g}"
    return f"{number} {('', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei')[prefix]}B"


def count_of(number: float, unit: str) -> str:
    """A number of points in words.

    >>> count_of(1.0, "points of top-1"), count_of(0.5, "points")
    ('1 point of top-1', '0.5 points')
    """
    return f"{number:g} {unit.replace('points', 'point', 1) if number == 1 else unit}"
