"""Which values of a hardware file are plausible, and what a value beyond them may have been meant as: slips of units.

A value outside is an error with a hint unless the file says ``allow_unusual: true``: bounds are a good margin beyond what was ever
built, not laws of nature. 0 is never a slip where the schema allows it: it says that something is free or absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Other units that a number may have been written in: name, and how many of the key's unit one of them is.
_CLOCKS = (("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3))
_SIZES = (("bytes", 8.0), ("KB", 8.0 * 2**10), ("MB", 8.0 * 2**20), ("GB", 8.0 * 2**30))
_ENERGIES = (("fJ", 1e-3), ("nJ", 1e3), ("J", 1e12))
_BIT_ENERGIES = (("fJ per bit", 1e-3), ("pJ per byte", 1 / 8), ("pJ per word of 32 bits", 1 / 32), ("nJ per bit", 1e3))


@dataclass(frozen=True)
class Plausible:
    """Bounds of one key, in its own unit.

    Attributes
    ----------
    low, high
        Least and greatest plausible value.
    unit
        As people write it; "" for a plain number.
    why
        What lies at the bounds.
    others
        Units that the number may have been meant in: name, and how many of the key's unit one of them is.
    """

    low: float
    high: float
    unit: str
    why: str
    others: tuple[tuple[str, float], ...] = ()

    def problem(self, value: float, others: tuple[tuple[str, float], ...] = ()) -> str:
        """What is odd about a value, with a hint; "" where nothing is.

        Parameters
        ----------
        others
            More units, that only the caller can convert.

        >>> PLAUSIBLE["clock_hz"].problem(0.8)[:91]
        '0.8 Hz is outside the plausible 100000 to 1e+10 Hz (did you mean 0.8 GHz, 800_000_000?): su'
        """
        if value == 0 or self.low <= value <= self.high:
            return ""
        meant = next(
            (
                f" (did you mean {value:g} {name}, {_number(value * factor)}?)"
                for name, factor in (*self.others, *others)
                if self.low <= value * factor <= self.high
            ),
            "",
        )
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{value:g}{unit} is outside the plausible {self.low:g} to {self.high:g}{unit}{meant}: {self.why}; "
            "'allow_unusual: true' in the file keeps it"
        )


#: By key; of memories by kind and key.
PLAUSIBLE: Mapping[str, Plausible] = {
    "clock_hz": Plausible(
        1e5, 1e10, "Hz", "subthreshold chips run at 0.1 MHz (Phoenix, JSSC 2009), no processor above 9.2 GHz", _CLOCKS
    ),
    "array.size": Plausible(1, 8192, "elements", "the largest wafer has some 950 cores on a side (Cerebras WSE-3)"),
    "array.elements": Plausible(
        1, 1e8, "elements", "a wafer has some 10^6 multipliers, a GPU 10^5 to 10^6 (Cerebras WSE-2, NVIDIA B200)"
    ),
    "register.size_bits": Plausible(1, 2**24, "bits", "a GPU's largest register file has 512 KB", _SIZES),
    "sram.size_bits": Plausible(
        64, 4e11, "bits", "below a word of 64 bits it is a register; a wafer has 44 GB (Cerebras WSE-3)", _SIZES
    ),
    "dram.size_bits": Plausible(
        1_000, 2e14, "bits", "no DRAM has fewer than a kilobit nor more than some 20 TB", tuple(reversed(_SIZES))
    ),
    "port_bits": Plausible(1, 2**17, "bits", "the widest SRAM ports have some thousand bits"),
    "bandwidth_bits_per_cycle": Plausible(
        1e-3, 1e7, "bits per cycle", "a GPU's level-2 cache moves some 40,000, a wafer's memories 10^8 together"
    ),
    "dram.bandwidth_bits_per_cycle": Plausible(
        1e-3, 2e5, "bits per cycle", "8 TB/s of HBM3e at 1 GHz are 64,000, serial flash at 1 MB/s 0.008"
    ),
    "register.pj_per_bit": Plausible(1e-6, 10, "pJ per bit", "a flip-flop takes some 1e-3 at 45 nm", _BIT_ENERGIES),
    "sram.pj_per_bit": Plausible(
        1e-5, 100, "pJ per bit", "1 MB takes some 0.3 to 1.6 at 45 nm (Horowitz, CACTI 7)", _BIT_ENERGIES
    ),
    "dram.pj_per_bit": Plausible(
        1e-2, 1e3, "pJ per bit", "HBM takes some 4, DDR3 some 20 to 40 (Horowitz, ISSCC 2014)", _BIT_ENERGIES
    ),
    "supply_v": Plausible(0.36, 1.5, "V", "chips run from 0.4 V near the threshold to some 1.3 V", (("mV", 1e-3),)),
    "area_mm2": Plausible(1e-9, 1e5, "mm2", "a wafer has 46,000", (("um2", 1e-6),)),
    "wire_mm": Plausible(1e-6, 300, "mm", "a wafer is 300 across", (("um", 1e-3),)),
    "wire_pj_per_bit": Plausible(1e-6, 100, "pJ per bit", "a millimetre takes some 0.1 at 45 nm", _BIT_ENERGIES),
    "area_overhead": Plausible(1e-6, 10, "", "a share of elements and memories, 0.2 for a fifth", (("%", 1e-2),)),
    "idle_w": Plausible(1e-9, 3e4, "W", "a wafer with everything at work takes 23 kW", (("mW", 1e-3), ("uW", 1e-6))),
    "clock_pj_per_cycle": Plausible(
        1e-6,
        5e5,
        "pJ per cycle",
        "500 W at 1 GHz for the clock network alone",
        (("fJ", 1e-3), ("nJ", 1e3), ("J", 1e12)),
    ),
    "pe.energy_pj_per_mac": Plausible(
        1e-6, 1e3, "pJ", "an FP32 multiplication and addition take 4.6 at 45 nm (Horowitz, ISSCC 2014)", _ENERGIES
    ),
    "pe.area_um2": Plausible(1e-2, 1e8, "um2", "a MAC of 8 bits takes some 10^3 at 45 nm", (("mm2", 1e6),)),
    "pe.macs_per_cycle": Plausible(2**-12, 2**12, "MACs per cycle", "an element is one place of the array"),
}


def bounds_of(name: str, kind: str = "") -> Plausible | None:
    """The bounds of a parameter by its dotted name (:func:`dse.hardware.from_file.schema.numbers`) and its memory's kind; None: no
    bounds."""
    first, _, last = name.partition(".")
    if first == "array":
        return PLAUSIBLE["array.size"]
    key = last.rpartition(".")[2] or first
    if key in ("read_pj_per_bit", "write_pj_per_bit"):
        key = "pj_per_bit"
    return PLAUSIBLE.get(f"{kind}.{key}") or PLAUSIBLE.get(key)


def odd_values(name: str, kind: str, values: list[float], clock_hz: float) -> Iterator[str]:
    """What is odd about values of a parameter, the first of them.

    Parameters
    ----------
    clock_hz
        Turns a bandwidth per second into one per cycle, for the hint.
    """
    bounds = bounds_of(name, kind)
    rates: tuple[tuple[str, float], ...] = ()
    if name.endswith("_per_cycle") and clock_hz > 0:
        rates = (("bits per second", 1.0 / clock_hz), ("bytes per second", 8.0 / clock_hz))
    for value in values:
        text = bounds.problem(value, rates) if bounds is not None else ""
        if text:
            yield text
            return


def _number(value: float) -> str:
    """A number as a YAML file takes it."""
    return f"{value:_.0f}" if value >= 1 and math.isclose(value, round(value), rel_tol=1e-9) else f"{value:.6g}"
