"""Decision rules: by hand, against a second computation, and in their limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from dse.errors import InputError
from dse.precision.policies.rules import (
    STRATEGIES,
    Overhead,
    adapt_bins,
    adapt_control_overhead,
    adapt_lookback,
    adapt_published_overhead,
    adapt_strategy,
    gradient_diversity,
    histogram_divergence,
    loss_plateau_overhead,
    loss_plateaus,
    noise_balanced_widths,
    precision_range_overhead,
    precision_range_test,
    push_down,
    push_down_overhead,
    push_up,
    push_up_overhead,
)


def test_precision_range_starts_where_accuracy_rises():
    assert precision_range_test([2, 3, 4, 5], [1.1, 1.2, 6.0, 30.0], threshold=2.0, start=1.0) == 4
    assert precision_range_test([2, 3], [10.0, 20.0], threshold=2.0, start=1.0) == 2
    assert precision_range_test([2, 3], [1.0, 1.0], threshold=2.0, start=1.0) is None
    for widths, accuracies in (([3, 2], [1.0, 2.0]), ([2, 3], [1.0]), ([], [])):
        with pytest.raises(InputError, match="increasing widths"):
            precision_range_test(widths, accuracies, 1.0)


def test_plateaus_use_the_threshold_and_its_decay():
    # Falls by 4 % of the first losses per epoch: inside 0.15 over four epochs only for a loose threshold
    losses = [1.0 - 0.04 * epoch for epoch in range(8)]
    assert loss_plateaus(losses, threshold=0.20, switches=1) == [5]
    assert loss_plateaus(losses, threshold=0.15, switches=1) == []
    flat = [1.0] * 30
    assert loss_plateaus(flat, switches=3) == [5, 10, 15]
    wavy = [1.0 + 0.004 * (-1) ** epoch for epoch in range(40)]
    # swings of 0.008: within 0.05 and 0.05 * 0.3, not within 0.05 * 0.09
    assert loss_plateaus(wavy, threshold=0.05, decay=0.3) == [5, 10]


def test_divergence_equals_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(5000), rng.standard_normal(5000) * 0.7
    edges = np.linspace(x.min(), x.max(), 61)
    p = np.histogram(x, edges)[0] + 0.5
    q = np.histogram(np.clip(y, x.min(), x.max()), edges)[0] + 0.5
    assert histogram_divergence(x, y, 60) == pytest.approx(entropy(p, q), rel=1e-9)
    assert histogram_divergence(x, x, 60) == 0.0
    assert histogram_divergence(x, rng.permutation(x).reshape(50, 100), 60) == pytest.approx(0.0, abs=1e-12)
    assert histogram_divergence([1.0, 1.0], [1.0, 1.0], 10) == 0.0
    assert histogram_divergence([1.0, 1.0], [1.0, 2.0], 10) == math.inf


def test_push_down_finds_the_grid_of_a_tensor():
    rng = np.random.default_rng(1)
    on_grid = np.rint(rng.standard_normal(40_000) * 8) / 32  # multiples of 2^-5, largest about 1.1
    word, fraction = push_down(on_grid, bins=150, tolerance=1e-9)
    assert (word, fraction) == (7, 5)
    assert push_down(np.zeros(10)) == (4, 4)


def test_push_down_sees_the_whole_tensor():
    rng = np.random.default_rng(2)
    rows = np.rint(rng.standard_normal((64, 200)) * 4) / 16
    rows[1:] = rng.standard_normal((63, 200)) / 4
    assert push_down(rows)[1] > push_down(rows[0], tolerance=0.01)[1]


@given(st.floats(0.01, 3.0), st.sampled_from([50, 100]), st.integers(0, 5))
def test_a_looser_tolerance_never_needs_more_fraction(scale, bins, seed):
    x = np.random.default_rng(seed).standard_normal(4000) * scale
    fractions = [push_down(x, bins, tolerance)[1] for tolerance in (0.5, 0.05, 0.005)]
    assert fractions == sorted(fractions)
    assert all(4 <= fraction <= word <= 32 for word, fraction in [push_down(x, bins, 0.05)])


def test_gradient_diversity_by_hand():
    assert gradient_diversity(np.ones((5, 2, 3))) == pytest.approx(1.0)
    assert gradient_diversity(np.eye(4)) == pytest.approx(2.0)
    assert gradient_diversity([[1.0, 0.0], [-1.0, 0.0]]) == math.inf


@pytest.mark.parametrize(
    ("diversity", "strategy", "expected"),
    [
        (2.0, "min", (9, 5)),  # ln 2 < 1: s = 1
        (3.0, "min", (9, 4)),  # L = .099: s2 = 0
        (math.inf, "max", (9, 5)),
        (4.0, "min", (9, 5)),  # L = .386: s1 = 7, s2 = 5 - 4
        (4.0, "mean", (12, 8)),
        (4.0, "max", (15, 11)),
        (20.0, "max", (32, 28)),  # L = 2: s2 = 32 - 4
        (20.0, "min", (9, 5)),  # s1 = 1
    ],
)
def test_push_up_by_hand(diversity, strategy, expected):
    assert push_up(diversity, word=8, fraction=4, strategy=strategy) == expected


@given(
    st.floats(1.0, 1e6), st.integers(4, 31), st.integers(0, 28), st.sampled_from(STRATEGIES), st.sampled_from([4, 8])
)
def test_push_up_keeps_its_buffer_and_never_falls_below_it(diversity, fraction, extra, strategy, buffer):
    word = min(fraction + extra, 32)
    new_word, new_fraction = push_up(diversity, word, fraction, strategy, buffer)
    assert new_word - new_fraction >= buffer
    assert buffer + 4 <= new_word <= 32
    assert new_word >= word
    with pytest.raises(InputError, match="unknown strategy"):
        push_up(diversity, word, fraction, "median")


def test_adapt_lookback_bins_and_strategy():
    assert adapt_lookback(1.0, 100) == 100
    assert adapt_lookback(100.0, 100) == math.ceil(25 * 0.33 + 67)
    assert adapt_lookback(0.0, 40) == math.ceil(33 + 40 * 0.67)
    assert [adapt_bins(lookback, 100) for lookback in (25, 60, 100)] == [99, 100, 101]
    assert (adapt_bins(25, 50), adapt_bins(100, 150)) == (50, 150)
    assert [adapt_strategy(strategy, 2.0, 1.0) for strategy in STRATEGIES] == ["mean", "max", "max"]
    assert [adapt_strategy(strategy, 0.5, 1.0) for strategy in STRATEGIES] == ["min", "min", "min"]


def test_overheads_by_hand():
    # T = 1000 weights, WL 16, 100 bins, half of the weights not zero, lookback 50
    down = 3 * 1000 * 2 * 3 * 100 * 0.5
    assert adapt_published_overhead(1000, 16, 100, 0.5, 50) == 32 * (down + 51_001) / 50
    # their code counts 1 in place of 2 log2(WL - 8) up to eight bits
    assert adapt_published_overhead(1000, 8, 100, 0.5, 50) == 32 * (3 * 1000 * 1.0 * 100 * 0.5 + 51_001) / 50
    assert adapt_published_overhead(1000, 16, 100, 0.5, 50, interval=10, accumulation=4) == pytest.approx(
        32 * (down + 51_001) * 10 / 200
    )
    assert push_down_overhead(1000, 100, trials=2) == Overhead(2 * 7300 + 3000, 3 * 32_000)
    assert push_up_overhead(1000, lookback=10) == Overhead(32_000, 32 * 21_000)
    assert precision_range_overhead(samples=50, classes=9) == Overhead(500, 500 * 32)
    assert loss_plateau_overhead() == Overhead(12, 160)
    assert adapt_control_overhead(3) == Overhead(30, 288)
    assert Overhead(1, 2) + Overhead(3, 4) * 2 == Overhead(7, 10)


def test_balanced_noise_is_within_a_bit_of_equal():
    gains = np.exp(np.random.default_rng(4).normal(0.0, 4.0, 50))
    widths = noise_balanced_widths(gains, narrowest=4)
    assert widths.min() == 4
    noise = gains * 4.0 ** (1 - widths)
    assert noise.max() / noise.min() <= 4.0 * (1 + 1e-12)
    for bad in ([], [0.0, 1.0], [math.nan]):
        with pytest.raises(InputError, match="noise gains"):
            noise_balanced_widths(bad, 4)


@pytest.mark.parametrize(
    "rule",
    [
        lambda: push_down([]),
        lambda: push_down([1.0, np.nan]),
        lambda: histogram_divergence([0.0, 1.0], [np.inf], bins=5),
        lambda: histogram_divergence([0.0, 1.0], [0.0, 1.0], bins=0),
        lambda: gradient_diversity([]),
        lambda: adapt_strategy("median", 2.0, 1.0),
        lambda: push_up(3.0, 8, 4, "median"),
    ],
)
def test_what_a_rule_cannot_decide_on_is_refused(rule):
    with pytest.raises(InputError):
        rule()
