"""How uncertain each price is: low and high factors on the nominal value, with the sources that span them.

A price is drawn once for all designs of a comparison (they are made in one process and read one kind of DRAM), from a triangular
distribution of the logarithm between low and high with its peak at the nominal value. It is never a parameter of a search.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.types import Floats


class PriceRange(NamedTuple):
    """Low and high of a price as factors of the nominal one, and the sources that span them."""

    low: float
    high: float
    source: str


RANGES: dict[str, PriceRange] = {
    "element": PriceRange(
        0.7,
        1.6,
        "an int8 MAC with a 32-bit sum at 45 nm: 0.20 (Bit Fusion, in an array) to 0.35 pJ (alone), 0.30 (Horowitz); ours 0.25",
    ),
    "register": PriceRange(
        0.5, 1.5, "a flip-flop of Aladdin, 9 fJ at 40 nm; a scratchpad by Eyeriss' authors takes up to twice CACTI's"
    ),
    "sram": PriceRange(
        0.6,
        1.7,
        "CACTI 7 interpolated, off by up to 26 %; Horowitz' 8 and 32 KB, 0.16 and 0.31 pJ per bit, against 0.1 and 0.3",
    ),
    "given": PriceRange(0.8, 1.25, "prices that a hardware file gives itself: an assumption"),
    "dram": PriceRange(
        0.5,
        2.5,
        "per bit: LPDDR4 4 to 20 (Accelergy; Horowitz, 1.3 to 2.6 nJ per 64 bits); HBM2 3.9 to 7 (O'Connor, TPUv4i)",
    ),
    "leakage": PriceRange(
        0.05,
        1.5,
        "low-power cells leak 50 times less than high-performance ones in CACTI 7; Bit Fusion's units at 45 nm",
    ),
    "interface": PriceRange(
        0.33, 2.5, "a waiting interface takes 0.04 to 0.3 of its full rate's power, an assumption; ours 0.12"
    ),
    "clock": PriceRange(
        0.35, 1.5, "clock pins alone, gated, to Eyeriss' network by the larger of its published shares"
    ),
    "vector": PriceRange(0.5, 2.0, "operations between FP16 and FP32 units of Horowitz"),
    "conversion": PriceRange(0.5, 2.0, "counts of operations are ours"),
    "node": PriceRange(
        0.4,
        1.8,
        "energy of logic at 7 nm relative to 45 nm: 0.14 by foundries' claims to 0.60 by an MX array and Simba at 16 nm; ours 0.33",
    ),
    "element_area": PriceRange(0.7, 2.7, "placement of 0.85 to 0.5; a MAC of TPUv1 takes 2.7 times ours at 28 nm"),
    "memory_area": PriceRange(
        0.6,
        1.5,
        "foundries' cells against CACTI 7's runs at 65 to 22 nm, -19 to +24 %; periphery shrinks as logic or as cells",
    ),
    "interface_area": PriceRange(
        0.4, 1.6, "a DDR interface by TPUv1's floor plan, smaller ones of mobile chips; HBM by die photographs"
    ),
    "dram_rate": PriceRange(0.57, 1.0, "share of the peak rate that kernels reach, 0.57 to 0.89 on a B300; ours 1"),
}


def draw_ranges(draws: int, seed: int) -> dict[str, Floats]:
    """Factors by price, (draws,) each; the same seed gives the same worlds whatever is evaluated in them.

    >>> factors = draw_ranges(1000, 0)["dram"]
    >>> bool(0.5 <= factors.min() < factors.max() <= 2.5)
    True
    """
    generator = np.random.default_rng(seed)
    result = {}
    for name, price in RANGES.items():
        low, high = np.log(price.low), np.log(price.high)
        result[name] = np.exp(generator.triangular(low, 0.0, high, draws)) if low < high else np.ones(draws)
    return result


def node_exponent(node_nm: npt.ArrayLike) -> Floats:
    """How much of the range ``node`` a node has: none from 45 nm up, all at 7 nm, more below.

    >>> node_exponent([65.0, 45.0, 7.0]).tolist()
    [0.0, 0.0, 1.0]
    """
    share = np.log(45.0 / np.asarray(node_nm, np.float64)) / np.log(45.0 / 7.0)
    return np.asarray(np.maximum(share, 0.0))
