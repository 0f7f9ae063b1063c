"""Published decision rules on tensors and statistics: when a network-wide or a layer's width changes.

The rules are functions of what a training loop has at hand, so that they run inside anyone's loop. Beside each one stands its
:class:`Overhead`, which the papers leave out or count in their own way. Rules for blocks are in
:mod:`dse.precision.policies.blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from dse.errors import InputError, Problem
from dse.precision.formats.quantize import quantize
from dse.types import Floats, Ints
from dse.yaml_input import suggest

STRATEGIES = ("min", "mean", "max")
#: Widest word of AdaPT, bits.
ADAPT_WIDEST = 32


@dataclass(frozen=True)
class Overhead:
    """What one run of a rule costs.

    Attributes
    ----------
    operations
        Vector operations on 32-bit values (add, multiply, compare, round); a MAC counts as two.
    traffic_bits
        Bits read and written, beside what the training step moves anyway.
    """

    operations: float
    traffic_bits: float

    def __add__(self, other: Overhead) -> Overhead:
        return Overhead(self.operations + other.operations, self.traffic_bits + other.traffic_bits)

    def __mul__(self, times: float) -> Overhead:
        return Overhead(self.operations * times, self.traffic_bits * times)


# CPT ------------------------------------------------------------------------------------------------------------


def precision_range_test(
    widths: Sequence[int], accuracies: Sequence[float], threshold: float, start: float = 0.0
) -> int | None:
    """Lower bound of CPT's widths: the first at which training gets going.

    Theirs (Fu et al., ICLR 2021): from 2-3 bits on, raise the width over the first epochs; the lower bound is the
    width at which training accuracy rises by more than a threshold; the upper bound is the width of static training.
    Ours: the rise is read between the accuracies at the end of each width's iterations.

    Parameters
    ----------
    widths
        Increasing, bits.
    accuracies
        Training accuracy reached at each width, in the units of the threshold.
    start
        Accuracy before the first width (chance level).

    Returns
    -------
    The lower bound, or None if no width makes the accuracy rise enough.
    """
    if len(widths) != len(accuracies) or not widths or any(b >= a for b, a in pairwise(widths)):
        raise InputError("precision range test", ["expected increasing widths and one accuracy for each"])
    before = start
    for width, accuracy in zip(widths, accuracies, strict=True):
        if accuracy - before > threshold:
            return width
        before = accuracy
    return None


def precision_range_overhead(samples: int, classes: int) -> Overhead:
    """Counting the hits of the range test: the largest logit of each sample and a compare with its label.

    The training steps of the test are ordinary steps at low width: charge them as a schedule.
    """
    return Overhead(operations=samples * (classes + 1.0), traffic_bits=samples * (classes + 1.0) * 32)


# FracTrain ------------------------------------------------------------------------------------------------------


def loss_plateaus(
    losses: Sequence[float], threshold: float = 0.05, decay: float = 0.3, switches: int = 3, window: int = 5
) -> list[int]:
    """Epochs after which FracTrain raises the widths: the loss has settled.

    Theirs (NeurIPS 2020, Algorithm 1; code RICE-EIC/FracTrain, MIT): keep the last 5 epoch losses; when all of the
    first four differ from the last by at most ``threshold`` x scale, where scale is the mean loss of the first ten
    epochs (of those seen so far), switch, empty the window, and multiply the threshold by ``decay`` after the first and second
    switch. Nothing is ours; the defaults are those of their CIFAR example.

    Parameters
    ----------
    losses
        Mean training loss per epoch.

    Returns
    -------
    list of int
        Number of epochs done at each switch, increasing, at most ``switches``.
    """
    found: list[int] = []
    kept: list[float] = []
    for epoch, loss in enumerate(losses, start=1):
        if len(found) == switches:
            break
        scale = float(np.mean(losses[: min(epoch, 10)]))
        kept = [*kept, float(loss)][-window:]
        if len(kept) == window and all(abs(before - kept[-1]) <= threshold * scale for before in kept[:-1]):
            found.append(epoch)
            kept = []
            threshold *= decay if len(found) <= 2 else 1.0
    return found


def loss_plateau_overhead(window: int = 5) -> Overhead:
    """One epoch of the plateau rule: a difference, a scaling and a compare per kept loss."""
    return Overhead(operations=3.0 * (window - 1), traffic_bits=32.0 * window)


# AdaPT ----------------------------------------------------------------------------------------------------------


def histogram_divergence(x: ArrayLike, y: ArrayLike, bins: int) -> float:
    """KL divergence in nats between the histograms of two tensors, over the range of the first.

    Half a count is added to every bin (Krichevsky and Trofimov, 1981), so that an empty bin gives a large number and not
    infinity. Values beyond the range count in the outer bins.

    Raises
    ------
    InputError
        An empty tensor, NaN or infinity, no bins.
    """
    first, second = (_finite(values, "histogram divergence") for values in (x, y))
    if bins < 1:
        raise InputError("histogram divergence", [f"expected at least one bin, got {bins}"])
    low, high = float(first.min()), float(first.max())
    if high <= low:
        return 0.0 if np.array_equal(first, second) else math.inf
    p, q = (
        (
            np.bincount(np.clip(((values - low) * (bins / (high - low))).astype(np.int64), 0, bins - 1), minlength=bins)
            + 0.5
        )
        / (values.size + 0.5 * bins)
        for values in (first, second)
    )
    return float(np.sum(p * np.log(p / q)))


def _finite(x: ArrayLike, source: str) -> Floats:
    """All values of a tensor, one after the other."""
    values = np.ravel(np.asarray(x, dtype=np.float64))
    if not values.size or not np.isfinite(values).all():
        raise InputError(source, ["expected a tensor of finite values, at least one"])
    return values


def push_down(
    x: ArrayLike, bins: int = 100, tolerance: float = 0.01, smallest: int = 4, rng: np.random.Generator | None = None
) -> tuple[int, int]:
    """AdaPT's PushDown: the shortest <word length, fraction length> that keeps a tensor's histogram.

    Theirs (arXiv 2107.13490): the smallest fraction length, then the smallest word length, whose stochastically rounded tensor
    has no Kullback-Leibler loss in a histogram of 50 to 150 bins. Ours, because their code (read, not used) looks at the
    first row of a tensor only, gives plain probabilities to a loss that expects logarithms, and keeps its search at
    the starting length: the whole tensor, the divergence itself, and a search from below, which needs no monotony. No finite
    word keeps every count, so "no loss" is a divergence of at most ``tolerance`` nats. Without ``rng``, round to nearest.

    Parameters
    ----------
    smallest
        Fraction length to start from (theirs: 4).

    Returns
    -------
    (word length, fraction length) in bits; (32, 31) at most.
    """
    values = _finite(x, "push down")
    rounding = "nearest" if rng is None else "stochastic"

    def keeps(word: int, fraction: int) -> bool:
        stored = quantize(values, f"fixed{word}_{fraction}", rounding, rng)
        return histogram_divergence(values, stored, bins) <= tolerance

    # Digits before the point that the largest magnitude needs, so that the search for the fraction sees no saturation.
    integer_bits = max(0, math.frexp(float(np.abs(values).max()))[1]) + 1
    fraction = next((f for f in range(smallest, ADAPT_WIDEST) if keeps(min(64, f + integer_bits), f)), ADAPT_WIDEST - 1)
    word = next((w for w in range(max(fraction, 2), ADAPT_WIDEST) if keeps(w, fraction)), ADAPT_WIDEST)
    return word, fraction


def push_down_overhead(elements: int, bins: int, trials: int) -> Overhead:
    """PushDown as implemented: per trial, quantize (scale, round, two clips), bin (subtract, scale, count), compare histograms.

    Every trial reads the float32 tensor; the histogram of the tensor itself is made once.
    """
    per_trial = Overhead(operations=7.0 * elements + 3.0 * bins, traffic_bits=32.0 * elements)
    return per_trial * trials + Overhead(operations=3.0 * elements, traffic_bits=32.0 * elements)


def gradient_diversity(gradients: ArrayLike) -> float:
    """D = sum ||g|| / ||sum g|| over the first axis; at least 1; infinite if the gradients cancel."""
    stack = np.asarray(gradients, dtype=np.float64)
    if not stack.size or not stack.ndim:
        raise InputError("gradient diversity", [f"expected gradients along the first axis, got shape {stack.shape}"])
    stack = stack.reshape(stack.shape[0], -1)
    total = float(np.linalg.norm(stack.sum(axis=0)))
    return float(np.linalg.norm(stack, axis=1).sum()) / total if total > 0.0 else math.inf


def push_up(diversity: float, word: int, fraction: int, strategy: str = "min", buffer: int = 4) -> tuple[int, int]:
    """AdaPT's PushUp: longer words while the gradients of a layer point the same way.

    Theirs (arXiv 2107.13490 and its code): L = ln D - 1; if L > 0, s1 = max(ceil(1/L^2), 1), s2 = max(min(ceil(32 L^2), 32) -
    FL, 0), and s their minimum, mean (rounded up) or maximum; else s = 1. FL grows by s, WL becomes max(WL, FL) + 1,
    and at least ``buffer`` integer bits stay, all within 32 bits. So no word is shorter than ``buffer`` + FL >= ``buffer`` + 4.
    Nothing is ours.

    Parameters
    ----------
    diversity
        :func:`gradient_diversity` of the gradients since the last decision (their ``lookback`` many).
    word, fraction
        From :func:`push_down`.
    strategy
        ``min``, ``mean`` or ``max``.
    buffer
        Integer bits to keep (theirs: 4 or 8).

    >>> push_up(4.0, word=8, fraction=4)
    (9, 5)
    """
    _check_strategy("push up", strategy)
    step = 1
    spread = math.log(diversity) - 1.0 if 0.0 < diversity < math.inf else 0.0
    if spread > 0.0:
        first = max(math.ceil(1.0 / spread**2), 1)
        second = max(min(math.ceil(ADAPT_WIDEST * spread**2), ADAPT_WIDEST) - fraction, 0)
        step = {"min": min(first, second), "mean": math.ceil((first + second) / 2), "max": max(first, second)}[strategy]
    fraction = min(fraction + step, ADAPT_WIDEST)
    word = min(max(word, fraction) + 1, ADAPT_WIDEST)
    fraction = min(fraction, ADAPT_WIDEST - buffer)
    return max(min(fraction + buffer, ADAPT_WIDEST), word), fraction


def _check_strategy(source: str, strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise InputError(source, [Problem("strategy", f"unknown strategy '{strategy}'{suggest(strategy, STRATEGIES)}")])


def push_up_overhead(elements: int, lookback: int) -> Overhead:
    """Diversity of ``lookback`` gradients, kept as a running sum: a norm and an addition for each, and the last norm."""
    return Overhead(operations=elements * (3.0 * lookback + 2.0), traffic_bits=32.0 * elements * (2.0 * lookback + 1.0))


def adapt_lookback(diversity: float, lookback: int, low: int = 25, high: int = 100, momentum: float = 0.33) -> int:
    """AdaPT's number of gradients until the next decision: between its bounds, inversely to the diversity, smoothed (theirs)."""
    target = math.ceil(min(max(high / diversity, low), high)) if diversity > 0.0 else high
    return math.ceil(target * momentum + lookback * (1.0 - momentum))


def adapt_bins(
    lookback: int, bins: int, lookbacks: tuple[int, int] = (25, 100), bounds: tuple[int, int] = (50, 150)
) -> int:
    """AdaPT's histogram resolution: one bin more at the longest lookback, one less at the shortest (theirs)."""
    change = 1 if lookback == lookbacks[1] else -1 if lookback == lookbacks[0] else 0
    return min(max(bins + change, bounds[0]), bounds[1]) if change else bins


def adapt_strategy(strategy: str, loss: float, mean_loss: float) -> str:
    """AdaPT's strategy: min while the loss falls below its recent mean, else one step up, min -> mean -> max (theirs).

    Their code tests ``mean`` before ``min``, so that one call never climbs two steps.
    """
    _check_strategy("AdaPT's strategy", strategy)
    if abs(mean_loss) > abs(loss):
        return "min"
    return STRATEGIES[min(STRATEGIES.index(strategy) + 1, 2)]


def adapt_control_overhead(layers: int) -> Overhead:
    """AdaPT's lookback, resolution and strategy at one decision: some ten scalar operations for each layer, no tensor."""
    return Overhead(operations=10.0 * layers, traffic_bits=3.0 * 32 * layers)


def adapt_published_overhead(
    weights: ArrayLike,
    word: ArrayLike,
    bins: ArrayLike,
    nonzero: ArrayLike,
    lookback: ArrayLike,
    interval: float = 1.0,
    accumulation: float = 1.0,
) -> Floats:
    """Overhead of a layer as AdaPT's own performance model charges it, in its bit-operations; everything broadcasts.

    OH = 32 (PD + PU) interval / (lookback accumulation), PD = 3 T 2 log2(WL - 8) bins nz, PU = (lookback + 1) T + 1, T weights
    (arXiv 2107.13490). For words of eight bits or less its code counts 1 in place of 2 log2(WL - 8). Nothing is ours.
    """
    t, length, back = (np.asarray(value, dtype=np.float64) for value in (weights, word, lookback))
    bisection = np.where(length > 8.0, 2.0 * np.log2(np.maximum(length - 8.0, 1.0)), 1.0)
    down = 3.0 * t * bisection * np.asarray(bins, dtype=np.float64) * np.asarray(nonzero, dtype=np.float64)
    up = (back + 1.0) * t + 1.0
    return np.asarray(32.0 * (down + up) * interval / (back * accumulation))


# Sakr and Shanbhag ----------------------------------------------------------------------------------------------


def noise_balanced_widths(gains: ArrayLike, narrowest: int) -> Ints:
    """Widths at which every layer contributes the same noise: B_l = B_min + round(log2 sqrt(E_l / E_min)).

    Theirs (Sakr and Shanbhag, ICML 2017; ICLR 2019): E_l is the noise gain of layer l, the factor of 4^(1 - B_l) in the bound on
    the mismatch probability; the layer with the least gain gets ``narrowest`` bits.

    >>> noise_balanced_widths([1.0, 4.0, 60.0], narrowest=3).tolist()
    [3, 4, 6]
    """
    values = np.asarray(gains, dtype=np.float64)
    if not values.size or not (np.isfinite(values).all() and (values > 0.0).all()):
        raise InputError("noise balancing", ["expected positive, finite noise gains"])
    return np.asarray(narrowest + np.rint(0.5 * np.log2(values / values.min())), dtype=np.int64)
