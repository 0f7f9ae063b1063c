"""Processing elements: throughput known by hand, and the laws of every family."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.hardware.model import ProcessingElement
from dse.hardware.pe import (
    levels,
    mac_energy_pj,
    pe_area_mm2,
    pe_leakage_w,
    pe_mode,
    power_of_two,
    waiting_shares,
)

FAMILIES = {
    "fixed": ProcessingElement("fixed"),
    "composable": ProcessingElement("composable"),
    "composable_16": ProcessingElement("composable", 16, 16, 4),
    "bit_serial": ProcessingElement("bit_serial", 16, 16, 1),
    "bit_serial_weight": ProcessingElement("bit_serial", 16, 16, 1, serial_operand="weight"),
    "bit_serial_2d": ProcessingElement("bit_serial_2d", 8, 8, 2),
    "bfp": ProcessingElement("bfp", 8, 8, 2, block=16),
    "mls": ProcessingElement("mls", 7, 7, 1, exponent_bits=2, significand_bits=5, block=9),
    "float": ProcessingElement("float", 11, 11, 1, exponent_bits=5, significand_bits=11),
    "multi_mode": ProcessingElement("multi_mode", 8, 8, modes=((1, 1, 16.0), (2, 2, 8.0), (8, 8, 1.0))),
    "measured": ProcessingElement("composable", energy_pj=1.5, area_um2=2000.0),
}
family = st.sampled_from(sorted(FAMILIES))
width = st.integers(1, 17)


def rate(pe, w, a):
    mode = pe_mode(pe, w, a)
    return np.where(mode.supported, mode.lanes / mode.step_cycles, 0.0)


@given(family, width, width, width, width)
def test_fewer_bits_never_cost_more(name, w1, a1, w2, a2):
    pe = FAMILIES[name]
    low, high = (min(w1, w2), min(a1, a2)), (max(w1, w2), max(a1, a2))
    assert rate(pe, *low) >= rate(pe, *high)
    assert mac_energy_pj(pe, *low) <= mac_energy_pj(pe, *high) * (1 + 1e-12)


@given(family, width, width)
def test_energy_and_rate_are_finite_where_supported(name, w, a):
    pe = FAMILIES[name]
    mode = pe_mode(pe, w, a)
    assert mode.lanes >= 1
    assert mode.step_cycles >= 1
    energy = mac_energy_pj(pe, w, a)
    assert np.isfinite(energy) == mode.supported
    assert energy > 0


@given(family, st.integers(8, 64), st.integers(8, 64), st.floats(5, 65), st.floats(5, 65))
def test_accumulator_and_node(name, acc1, acc2, node1, node2):
    pe = FAMILIES[name]
    low, high = sorted((acc1, acc2))
    assert mac_energy_pj(pe, 4, 4, low) <= mac_energy_pj(pe, 4, 4, high)
    small, large = sorted((node1, node2))
    assert mac_energy_pj(pe, 4, 4, None, small) <= mac_energy_pj(pe, 4, 4, None, large)
    assert pe_area_mm2(pe, small) <= pe_area_mm2(pe, large)
    assert 0 < pe_leakage_w(pe, small) <= pe_leakage_w(pe, large)


@pytest.mark.parametrize("name", ["composable", "bfp", "multi_mode"])
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("least", [1, 2, 4])
def test_flexibility_is_never_free(name, bits, least):
    modes = ((least, least, 4.0), (bits, bits, 1.0)) if name == "multi_mode" else ()
    # Block floating point adds up 16 products in a sum of four more bits before it adds a float.
    wide = 2 * bits + 4 if name == "bfp" else 32
    flexible = ProcessingElement(name, bits, bits, least, modes=modes)
    fixed = ProcessingElement("fixed", bits, bits, accumulator_bits=min(wide, 32))
    assert mac_energy_pj(flexible, bits, bits) >= mac_energy_pj(fixed, bits, bits)
    assert pe_area_mm2(flexible) >= pe_area_mm2(fixed)


@pytest.mark.parametrize(
    ("w", "a", "lanes", "steps"),
    [
        (8, 8, 1, 1),
        (4, 4, 4, 1),
        (3, 4, 4, 1),
        (6, 6, 1, 1),
        (2, 2, 16, 1),
        (1, 1, 16, 1),
        (2, 8, 4, 1),
        (5, 2, 4, 1),
        (16, 8, 1, 2),
        (9, 16, 1, 4),
        (16, 2, 4, 2),
    ],
)
def test_composable_lanes(w, a, lanes, steps):
    mode = pe_mode(FAMILIES["composable"], w, a)
    assert (mode.lanes, mode.step_cycles, mode.supported) == (lanes, steps, True)


def test_too_wide_is_unsupported():
    assert not pe_mode(FAMILIES["composable"], 17, 8).supported
    assert not pe_mode(FAMILIES["fixed"], 9, 8).supported
    assert not pe_mode(FAMILIES["float"], 24, 24).supported
    assert not pe_mode(FAMILIES["multi_mode"], 9, 1).supported
    assert not pe_mode(FAMILIES["fixed"], 0, 8).supported
    assert mac_energy_pj(FAMILIES["fixed"], 9, 8) == np.inf


def test_bit_fusion_energy_is_constant_per_cycle():
    """All lanes together cost what one 8-bit MAC costs: energy per cycle does not depend on the widths."""
    pe = FAMILIES["composable"]
    w, a = np.array([8, 4, 2, 8, 4]), np.array([8, 4, 2, 2, 2])
    assert mac_energy_pj(pe, w, a) * pe_mode(pe, w, a).lanes == pytest.approx(float(mac_energy_pj(pe, 8, 8)))


def test_serial_steps():
    assert pe_mode(FAMILIES["bit_serial"], 16, [1, 5, 16]).step_cycles.tolist() == [1, 5, 16]
    assert pe_mode(FAMILIES["bit_serial_weight"], [1, 5, 16], 16).step_cycles.tolist() == [1, 5, 16]
    assert pe_mode(FAMILIES["bit_serial_2d"], [2, 3, 8], [2, 4, 8]).step_cycles.tolist() == [1, 4, 16]


def test_bfp_rate_follows_the_product_of_the_widths():
    """DYNASTY-like: 64 / (b1 * b2) for even widths, also where they are no powers of two."""
    bits = np.array([2, 4, 6, 8])
    w, a = np.meshgrid(bits, bits)
    assert rate(FAMILIES["bfp"], w, a) == pytest.approx(64 / (w * a))


def test_modes_round_up():
    pe = FAMILIES["multi_mode"]
    assert rate(pe, [1, 1, 2, 3, 8], [1, 2, 2, 1, 8]).tolist() == [16, 8, 8, 1, 1]


def test_modes_slower_than_a_mac_per_cycle():
    pe = ProcessingElement("multi_mode", modes=((8, 8, 1.0), (16, 16, 0.25)))
    mode = pe_mode(pe, [8, 16], [8, 16])
    assert mode.lanes.tolist() == [1, 1]
    assert mode.step_cycles.tolist() == [1, 4]


def mean_waiting(times, shares, blocks):
    return (np.array(times) * waiting_shares(times, shares, blocks)).sum(axis=-1)


def test_waiting_by_hand_and_by_enumeration():
    times, shares = np.array([2, 4, 8]), np.array([0.5, 0.3, 0.2])
    assert mean_waiting(times, shares, 1) == pytest.approx(3.8)
    drawn = [
        shares[i] * shares[j] * shares[k] * max(times[i], times[j], times[k])
        for i in range(3)
        for j in range(3)
        for k in range(3)
    ]
    assert mean_waiting(times, shares, 3) == pytest.approx(sum(drawn))
    assert mean_waiting(times[::-1], shares[::-1], 3) == pytest.approx(sum(drawn))


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(1, 64), st.integers(1, 64))
def test_waiting_laws(weights, block1, block2):
    shares = np.array(weights) / sum(weights)
    short, long = sorted((block1, block2))
    assert 2 <= mean_waiting([2, 4, 8], shares, short) <= mean_waiting([2, 4, 8], shares, long) + 1e-12 <= 8 + 1e-9
    assert mean_waiting([2, 4, 8], [0, 1, 0], short) == 4


def test_waiting_broadcasts_over_rows():
    rows = np.array([[1, 0, 0], [0, 0.5, 0.5]])
    assert mean_waiting([2, 4, 8], rows, [2, 2]).tolist() == [2, 7]


def test_measured_figures_replace_the_model():
    pe = FAMILIES["measured"]
    assert mac_energy_pj(pe, [8, 4, 2], [8, 4, 2], None, 28.0).tolist() == pytest.approx([1.5, 0.375, 1.5 / 16])
    assert pe_area_mm2(pe, 28.0) == pytest.approx(2e-3)


def test_scalar_equals_vector():
    w, a = np.meshgrid(np.arange(1, 17), np.arange(1, 17))
    for pe in FAMILIES.values():
        whole = mac_energy_pj(pe, w, a, 24, 28.0)
        some = [(0, 0), (3, 7), (15, 2), (7, 7)]
        assert [whole[i] for i in some] == [float(mac_energy_pj(pe, w[i], a[i], 24, 28.0)) for i in some]


def test_powers_and_levels():
    assert power_of_two(np.arange(1, 10)).tolist() == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    assert levels(FAMILIES["composable"]) == 2
    assert levels(FAMILIES["multi_mode"]) == 3


def test_a_mode_takes_as_much_of_the_element_as_it_uses():
    """By hand: 64 bit products at 8 and at 4 bits, 32 at 2; sums that are no wider than the product cost nothing more."""
    modes = ((8, 8, 1.0), (4, 4, 4.0), (2, 2, 8.0))
    pe = ProcessingElement("multi_mode", 8, 8, accumulator_bits=16, modes=modes)
    per_cycle = mac_energy_pj(pe, [8, 4, 2], [8, 4, 2]) * [1, 4, 8]
    assert per_cycle == pytest.approx(float(mac_energy_pj(pe, 8, 8)) * np.array([1.0, 1.0, 0.5]))


def test_an_element_is_as_large_as_its_busiest_mode():
    """Four products of 4 bits do not come out of one multiplier of 5: the area is that of four units and more."""
    pe = ProcessingElement("multi_mode", 5, 5, modes=((5, 5, 1.0), (4, 4, 4.0)))
    four, five = (float(pe_area_mm2(ProcessingElement("fixed", bits, bits))) for bits in (4, 5))
    assert pe_area_mm2(pe) >= 4 * four > five
    narrow = ProcessingElement("fixed", 4, 4, accumulator_bits=8)
    assert mac_energy_pj(pe, 4, 4, 8) >= mac_energy_pj(narrow, 4, 4)
