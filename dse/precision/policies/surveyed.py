"""Decision rules of further published systems, as functions of what a training or decoding loop has at hand.

What the publications' abstracts, texts and code say is theirs; what they leave open is an argument here. Beside each rule stands
its :class:`~dse.precision.policies.rules.Overhead` where it costs anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from dse.errors import InputError
from dse.types import Floats, Ints

# Activation density ---------------------------------------------------------------------------------------------


def activation_density(activations: ArrayLike) -> float:
    """Share of activations that are not zero, 0 to 1.

    Raises
    ------
    InputError
        No values, NaN or infinity.
    """
    values = np.asarray(activations, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        raise InputError("activation density", ["expected a tensor of finite values, at least one"])
    return float(np.count_nonzero(values) / values.size)


def density_bits(bits: int, density: float, narrowest: int = 1) -> int:
    """Width of a layer after its activation density has settled: round(bits x density).

    Theirs (Vasquez et al., DATE 2021, arXiv 2101.04354): widths of a layer shrink in training with the share of its activations
    that are not zero. Ours: never below ``narrowest``.

    >>> density_bits(16, 0.3)
    5
    """
    if bits < 1 or not 0.0 <= density <= 1.0:
        raise InputError(
            "activation density", [f"expected bits >= 1 and a density of 0 to 1, got {bits} and {density}"]
        )
    return max(narrowest, round(bits * density))


# Class difficulty -----------------------------------------------------------------------------------------------


def class_widths(accuracies: ArrayLike, threshold: float, low: int, high: int) -> Ints:
    """Width with which the samples of each class are trained: ``low`` once the class is learned, else ``high``.

    Theirs (Jo and Park, ISOCC 2022): classes that train easily run in few bits, difficult ones in many. Ours: a class is learned
    when its training accuracy reaches a threshold, which the abstract leaves open.

    >>> class_widths([0.95, 0.60], threshold=0.9, low=4, high=8).tolist()
    [4, 8]
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if not values.size or not np.isfinite(values).all() or not 0 < low <= high:
        raise InputError("class difficulty", ["expected finite accuracies, at least one, and 0 < low <= high"])
    return np.where(values >= threshold, low, high).astype(np.int64)


# Random precision switch ----------------------------------------------------------------------------------------


def random_widths(low: int, high: int, steps: int, rng: np.random.Generator) -> Ints:
    """A width for each step, every one of ``low`` to ``high`` with the same probability.

    Theirs (random precision switch: Double-Win Quant, ICML 2021; 2-in-1 Accelerator, MICRO 2021, arXiv 2109.05223): in training
    and inference the width is drawn anew, so that an attack on one width misses the others.
    """
    if not 0 < low <= high or steps < 1:
        raise InputError(
            "random precision switch", [f"expected 0 < low <= high and a step, got {low}, {high}, {steps}"]
        )
    return rng.integers(low, high + 1, size=steps, dtype=np.int64)


# Progressive mixed-precision decoding ---------------------------------------------------------------------------


def decoding_widths(tokens: int, widths: Sequence[int], switches: Sequence[int]) -> Ints:
    """Width of the weights at each position of an answer: the widths in turn, the next one from each switch on.

    Theirs (Chen et al., ICLR 2025, arXiv 2410.13461): prefill and the first tokens need precision, later ones less and less, and a
    static scheduler fixes the positions of the switches for a task.

    >>> decoding_widths(4, (4, 3), [1]).tolist()
    [4, 3, 3, 3]
    """
    problems = []
    if tokens < 1 or not widths or any(width < 1 for width in widths):
        problems.append("expected at least one token and widths of at least a bit")
    if len(switches) != len(widths) - 1 or any(after < before for before, after in pairwise([0, *switches])):
        problems.append(f"expected {len(widths) - 1} positions that do not fall, one before each further width")
    if problems:
        raise InputError("progressive decoding", problems)
    stage = np.searchsorted(np.asarray(switches, dtype=np.int64), np.arange(tokens), side="right")
    return np.asarray(widths, dtype=np.int64)[stage]


# Accumulators that cannot overflow ------------------------------------------------------------------------------


def accumulator_bits(terms: int, weight_bits: int, activation_bits: int, signed: bool = False) -> int:
    """Narrowest two's-complement accumulator that no dot product of some length overflows, bits.

    Theirs (A2Q, Colbert et al., ICCV 2023, arXiv 2308.13504, bound by the data types): P >= a + phi(a) + 1 with
    a = log2 K + N + M - 1 - signed and phi(a) = log2(1 + 2^-a), for K products of M-bit weights and N-bit activations.

    >>> accumulator_bits(1, 8, 8)
    17
    """
    if terms < 1 or weight_bits < 1 or activation_bits < 1:
        raise InputError("accumulator", ["expected at least one product of operands of at least a bit"])
    # Exact in integers: the smallest P with 2^(P-1) - 1 >= K 2^(M-1) 2^(N-signed).
    largest = terms << (weight_bits - 1 + activation_bits - int(signed))
    return largest.bit_length() + 1


def largest_weight_norm(bits: int, activation_bits: int, signed: bool = False) -> int:
    """Largest sum of magnitudes of a filter's integer weights that an accumulator of some width takes whatever the input.

    Theirs (A2Q): ||w||_1 <= (2^(P-1) - 1) 2^(signed - N). Training keeps every filter within it, so that no sum overflows.

    >>> largest_weight_norm(16, 8)
    127
    """
    if bits < 1 or activation_bits < 1:
        raise InputError("accumulator", ["expected widths of at least a bit"])
    return int(2 ** (bits - 1) - 1) >> (activation_bits - int(signed))


# Sums of powers of two ------------------------------------------------------------------------------------------


def n_hot_values(terms: int, bits: int) -> Ints:
    """All integers of a signed word that are a sum or difference of at most ``terms`` powers of two, increasing.

    Theirs (n-hot, Sakuma et al., arXiv 2103.11704): weights that a multiplication takes in ``terms`` shifts, each added or
    subtracted.
    """
    if terms < 1 or bits < 2:
        raise InputError("n-hot", [f"expected at least one term and two bits, got {terms} and {bits}"])
    powers = [0, *(sign * 2**k for k in range(bits) for sign in (1, -1))]
    found = {0}
    for _ in range(min(terms, bits)):
        found = {value + power for value in found for power in powers}
    limit = 2 ** (bits - 1) - 1
    return np.asarray(sorted(value for value in found if abs(value) <= limit), dtype=np.int64)


def n_hot(x: ArrayLike, terms: int, bits: int) -> Floats:
    """A tensor rounded to the nearest n-hot value, with one scale that maps its largest magnitude to the largest value."""
    values = np.asarray(x, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("n-hot", ["expected finite values"])
    allowed = n_hot_values(terms, bits).astype(np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return values.copy()
    scale = largest / allowed[-1]
    middles = (allowed[1:] + allowed[:-1]) / 2.0
    return np.asarray(allowed[np.searchsorted(middles, values / scale)] * scale)


def n_hot_storage_bits(terms: int, bits: int) -> int:
    """Bits of a code that tells the n-hot values of a word apart."""
    return math.ceil(math.log2(len(n_hot_values(terms, bits))))
