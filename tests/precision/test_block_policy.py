"""Block-wise widths: sensitivity, maps, and how maps of two operands meet."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.precision import Joint, Plan
from dse.precision.formats.quantize import quantize
from dse.precision.policies.blocks import (
    WIDTHS,
    adjusted_threshold,
    block_policy_overhead,
    block_sensitivity,
    block_widths,
    joint_shares,
    map_histogram,
    smoothed,
)
from dse.precision.policies.rules import Overhead

RNG = np.random.default_rng(11)


@dataclass(frozen=True)
class Layer:
    name: str


@dataclass(frozen=True)
class Net:
    name: str
    layers: tuple[Layer, ...]


def test_sensitivity_equals_a_loop_over_blocks():
    x, g = RNG.standard_normal((2, 9, 14)), RNG.standard_normal((2, 9, 14))
    got = block_sensitivity(x, g)
    assert got.shape == (2, 3, 4, len(WIDTHS))
    for sample, row, column in np.ndindex(2, 3, 4):
        here = (sample, slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        exponent = np.floor(np.log2(np.abs(x[here]).max())) + 1
        for index, bits in enumerate(WIDTHS):
            step = 2.0 ** (exponent - bits + 1)
            assert got[sample, row, column, index] == pytest.approx(step**2 / 12 * (g[here] ** 2).sum())
    assert got[..., :-1] / got[..., 1:] == pytest.approx(16.0 * np.ones((2, 3, 4, 3)))  # two bits: 4^2
    assert (block_sensitivity(np.zeros((4, 4)), np.ones((4, 4))) < 1e-300).all()
    with pytest.raises(InputError, match="of one shape"):
        block_sensitivity(x, g[0])


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_sensitivity_predicts_the_noise_of_the_quantizer(bits):
    """With gradients of one, S is the squared error of the block; the uniform-noise assumption costs a few percent."""
    x = RNG.standard_normal((400, 400))
    predicted = block_sensitivity(x, np.ones_like(x), widths=(bits,)).sum()
    measured = ((quantize(x, f"bfp{bits}") - x) ** 2).sum()
    assert measured == pytest.approx(predicted, rel=0.12)


def test_maps_equal_a_search_per_block():
    sensitivity = block_sensitivity(
        RNG.standard_normal((16, 24)) * np.exp(RNG.normal(0, 2, (16, 24))), RNG.standard_normal((16, 24))
    )
    mean = sensitivity[..., -1].mean()
    for threshold in (0.0, 0.5, 4.0, 300.0, 1e9):
        widths = block_widths(sensitivity, threshold)
        for row, column in np.ndindex(widths.shape):
            good = [b for b, s in zip(WIDTHS, sensitivity[row, column], strict=True) if s <= threshold * mean]
            assert widths[row, column] == (good[0] if good else 8)
    assert (block_widths(sensitivity, 0.0) == 8).all()
    assert (block_widths(sensitivity, 1e12) == 2).all()
    with pytest.raises(InputError, match="increasing widths"):
        block_widths(sensitivity, 1.0, widths=(8, 6, 4, 2))


@given(st.integers(0, 50), st.floats(0.1, 100.0), st.floats(1.0, 50.0))
def test_a_looser_threshold_never_needs_more_bits(seed, threshold, factor):
    rng = np.random.default_rng(seed)
    sensitivity = block_sensitivity(rng.standard_normal((12, 12)), rng.standard_normal((12, 12)))
    assert (block_widths(sensitivity, threshold * factor) <= block_widths(sensitivity, threshold)).all()
    assert (block_widths(sensitivity * 7.0, threshold) == block_widths(sensitivity, threshold)).all()


def test_smoothing_and_threshold_control():
    first, second = np.ones(3), np.full(3, 11.0)
    assert smoothed(None, first) is first
    assert smoothed(first, second, 0.9) == pytest.approx(np.full(3, 2.0))
    assert adjusted_threshold(10.0, loss=1.0, mean_loss=1.0) == pytest.approx(11.0)
    assert adjusted_threshold(10.0, loss=1.1, mean_loss=1.0) == pytest.approx(10.0 / 1.21)
    assert adjusted_threshold(1.0, loss=2.0, mean_loss=1.0) == 1.0
    assert adjusted_threshold(10.0, loss=float("nan"), mean_loss=1.0) < 10.0
    assert adjusted_threshold(4096.0, loss=1.0, mean_loss=1.0) == 4096.0


def test_joint_shares_equal_an_enumeration_of_block_products():
    rows, columns = RNG.choice(WIDTHS, (5, 7)), RNG.choice(WIDTHS, (7, 3))
    first, second, shares = joint_shares(rows, columns)
    counted = np.zeros_like(shares)
    for i, k, j in np.ndindex(5, 7, 3):
        counted[list(first).index(rows[i, k]), list(second).index(columns[k, j])] += 1
    assert shares == pytest.approx(counted / counted.sum())
    with pytest.raises(InputError, match="expected maps"):
        joint_shares(rows, columns.T)


def test_measured_maps_become_a_plan():
    rows, columns = RNG.choice(WIDTHS, (8, 6)), RNG.choice(WIDTHS, (6, 4))
    _, _, shares = joint_shares(rows, columns)
    net = Net("product", (Layer("fc"),))
    plan = Plan.from_formats(
        net,
        {"weight": map_histogram(rows), "activation": map_histogram(columns), "error": "bfp8"},
        joint=[Joint("fc", ("weight", "activation"), tuple(map(tuple, shares.tolist())))],
    )
    assert plan.pairs("weight", "activation").shares[0] == pytest.approx(shares)
    assert plan.stored_bits("weight")[0] == pytest.approx(rows.mean() + 8 / 16 + 2 / 16)


def test_overhead_per_block_of_sixteen():
    # REFERENCES 1.1: 16 MACs, one average, three compares, a 2-bit code
    assert block_policy_overhead(16, state_bits=0) == Overhead(32 + 3 + 3, 2)
    assert block_policy_overhead(1600, state_bits=16) == Overhead(3800, 100 * 34)
    assert block_policy_overhead(17).traffic_bits == 2 * 34
