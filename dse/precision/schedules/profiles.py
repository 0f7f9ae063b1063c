"""How a width moves between two bounds over training: the growth curves of cyclic schedules.

CPT (Fu et al., ICLR 2021) repeats a cosine; Better Schedules (Wolfe and Kyrillidis, arXiv 2403.02243) adds three growth
curves and three ways to chain the cycles. Its ten schedules are the curves chained by repetition, and by triangles whose
odd cycles are mirrored in time (horizontal) or in width (vertical); for the two symmetric curves the mirrors are equal.

The paper's text was not at hand: which way the asymmetric curves bend follows from the published relative BitOps
(0.399 for RR and RTH, 0.822 for ER and ETH): REX starts slowly, the exponential starts fast and ends at 1 - e^-4.
"""

from __future__ import annotations

import numpy as np

from dse.errors import InputError, Problem
from dse.types import Floats, Ints
from dse.yaml_input import suggest

CURVES = ("linear", "cosine", "rex", "exponential")
CHAINS = ("repeated", "triangular_horizontal", "triangular_vertical")
#: The ten schedules of arXiv 2403.02243: curve and chain by name.
BETTER_SCHEDULES = {
    "LR": ("linear", "repeated"),
    "LT": ("linear", "triangular_horizontal"),
    "CR": ("cosine", "repeated"),
    "CT": ("cosine", "triangular_horizontal"),
    "RR": ("rex", "repeated"),
    "RTH": ("rex", "triangular_horizontal"),
    "RTV": ("rex", "triangular_vertical"),
    "ER": ("exponential", "repeated"),
    "ETH": ("exponential", "triangular_horizontal"),
    "ETV": ("exponential", "triangular_vertical"),
}
#: Longest run whose widths are computed iteration by iteration: 80 MB of them.
MAX_ITERATIONS = 10_000_000
#: Rate of the exponential curve, arXiv 2403.02243 (k = 4).
EXPONENTIAL_RATE = 4.0


def growth(curve: str, u: Floats) -> Floats:
    """A curve from 0 to about 1 over one cycle.

    Parameters
    ----------
    curve
        ``linear`` u; ``cosine`` (1 - cos(pi u)) / 2; ``rex`` 0.1 u / (1 - 0.9 u), the REX decay (1-u) / (0.1 + 0.9 (1-u))
        turned upside down; ``exponential`` 1 - exp(-4 u).
    u
        Position in the cycle, 0 to 1.
    """
    if curve == "linear":
        return u
    if curve == "cosine":
        return np.asarray((1.0 - np.cos(np.pi * u)) / 2.0)
    if curve == "rex":
        return np.asarray(0.1 * u / (1.0 - 0.9 * u))
    if curve == "exponential":
        return np.asarray(1.0 - np.exp(-EXPONENTIAL_RATE * u))
    raise InputError("schedule", [Problem("curve", f"unknown curve '{curve}'{suggest(curve, CURVES)}")])


def cycle_widths(curve: str, chain: str, low: int, high: int, cycles: int, iterations: int) -> Ints:
    """Widths over all iterations, shape (iterations,).

    Cosine, repeated, is CPT's formula exactly: b(t) = rint(low + (high - low) / 2 * (1 - cos(pi (t mod T) / T))) with
    T = int(iterations / cycles). Iterations beyond the last whole cycle begin another one.
    """
    period = int(iterations / cycles)
    time = np.arange(iterations)
    cycle, u = time // period, (time % period) / period
    mirrored = cycle % 2 == 1
    if chain == "repeated":
        level = growth(curve, u)
    elif chain == "triangular_horizontal":
        level = growth(curve, np.where(mirrored, 1.0 - u, u))
    elif chain == "triangular_vertical":
        level = growth(curve, u)
        level = np.where(mirrored, 1.0 - level, level)
    else:
        raise InputError("schedule", [Problem("chain", f"unknown chain '{chain}'{suggest(chain, CHAINS)}")])
    return np.rint(low + (high - low) * level).astype(np.int64)
