"""Laws of every family over random elements: widths, flexibility, accumulators, nodes; and the shipped files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.elements import FAMILIES
from dse.hardware.model import ProcessingElement
from dse.hardware.pe import mac_energy_pj, pe_area_mm2, pe_leakage_w, pe_mode
from dse.shipped import shipped_folder

SHIPPED = sorted(path.stem for path in shipped_folder("hwmodels").glob("*.yaml"))
FLEXIBLE = ("composable", "bit_serial", "bit_serial_2d", "bfp", "multi_mode")


@st.composite
def elements(draw, families=tuple(FAMILIES)):
    """Elements as the loader admits them."""
    family = draw(st.sampled_from(families))
    most = draw(st.sampled_from([4, 8, 16, 32]))
    least = draw(st.sampled_from([bits for bits in (1, 2, 4, 8) if bits <= most]))
    accumulator = draw(st.integers(8, 64))
    block = draw(st.sampled_from([1, 4, 9, 16, 64, 256]))
    modes = ()
    if family == "multi_mode":
        modes = ((least, least, draw(st.sampled_from([1.0, 4.0, 16.0]))), (most, most, 1.0))
    significand = draw(st.integers(2, most)) if family in ("float", "mls") else 0
    exponent = draw(st.integers(1, 4)) if family in ("float", "mls") else 0
    return ProcessingElement(
        family,
        most,
        most,
        least,
        accumulator,
        modes,
        block,
        exponent_bits=exponent,
        significand_bits=significand,
        serial_operand=draw(st.sampled_from(["weight", "activation"])),
    )


width = st.integers(1, 40)


def step_rate(pe, w, a):
    mode = pe_mode(pe, w, a)
    return np.where(mode.supported, mode.lanes / mode.step_cycles, 0.0)


@settings(max_examples=300, deadline=None)
@given(elements(), width, width, width, width)
def test_fewer_bits_never_cost_more(pe, w1, a1, w2, a2):
    low, high = (min(w1, w2), min(a1, a2)), (max(w1, w2), max(a1, a2))
    assert step_rate(pe, *low) >= step_rate(pe, *high)
    assert mac_energy_pj(pe, *low) <= mac_energy_pj(pe, *high) * (1 + 1e-12)


@settings(max_examples=300, deadline=None)
@given(elements(FLEXIBLE))
def test_flexibility_is_never_free(pe):
    """At its full widths a flexible unit takes at least the energy of the fixed unit of these widths and accumulator.

    Block floating point adds up inside a block, in a sum no wider than that needs.
    """
    most = pe.max_weight_bits
    needed = 2 * most + int(np.ceil(np.log2(pe.block)))
    wide = min(pe.accumulator_bits, needed) if pe.family == "bfp" else pe.accumulator_bits
    fixed = ProcessingElement("fixed", most, most, accumulator_bits=wide)
    assert mac_energy_pj(pe, most, most) >= mac_energy_pj(fixed, most, most) * (1 - 1e-12)


@settings(max_examples=200, deadline=None)
@given(elements(), st.integers(1, 3), st.floats(5, 65), st.floats(5, 65))
def test_area_and_leakage_are_monotone(pe, doublings, node1, node2):
    """In the node, and in the width of an element that is otherwise the same."""
    from dataclasses import replace

    small, large = sorted((node1, node2))
    assert 0 < pe_area_mm2(pe, small) <= pe_area_mm2(pe, large)
    assert 0 < pe_leakage_w(pe, small) <= pe_leakage_w(pe, large)
    if pe.family in ("multi_mode", "float", "mls"):
        return
    most = pe.max_weight_bits * 2**doublings
    wider = replace(pe, max_weight_bits=most, max_activation_bits=most)
    assert pe_area_mm2(wider) >= pe_area_mm2(pe)
    assert pe_leakage_w(wider) >= pe_leakage_w(pe)


@settings(max_examples=100, deadline=None)
@given(elements(("composable", "bfp")), st.floats(5, 65))
def test_a_flexible_unit_is_larger_and_leaks_more(pe, node):
    most = pe.max_weight_bits
    sums = pe.accumulator_bits if pe.family == "composable" else 2 * most  # a block adds floats once
    fixed = ProcessingElement("fixed", most, most, accumulator_bits=sums)
    assert pe_area_mm2(pe, node) >= pe_area_mm2(fixed, node) * (1 - 1e-12)
    assert pe_leakage_w(pe, node) >= pe_leakage_w(fixed, node) * (1 - 1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_elements_obey_the_law_of_widths(name):
    """Every pair of widths of every shipped element, the kinds that it multiplies."""
    pe = load_hardware(name).pe
    w, a = np.meshgrid(np.arange(1, 33), np.arange(1, 33), indexing="ij")
    energy, rate = mac_energy_pj(pe, w, a), step_rate(pe, w, a)
    for axis in (0, 1):
        lower, upper = np.take(energy, range(31), axis), np.take(energy, range(1, 32), axis)
        assert (lower <= upper * (1 + 1e-12)).all()
        assert (np.diff(rate, axis=axis) <= 0).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_complete(name):
    """One line of description; a source for the file, the array, the element and every memory; finite, positive prices."""
    hardware = load_hardware(name)
    assert 10 < len(hardware.description) < 200
    assert "\n" not in hardware.description
    needed = {"", "array", "pe", *(f"memories.{memory.name}" for memory in hardware.memories)}
    assert needed <= set(hardware.sources)
    assert all(len(hardware.sources[key]) > 10 for key in needed)
    arrays = hardware_arrays(hardware)
    assert np.isfinite(arrays.read_pj_per_bit).all()
    assert (arrays.read_pj_per_bit > 0).all()
    assert (arrays.write_pj_per_bit > 0).all()
    assert (arrays.area_mm2 > 0).all()


ASKED = (
    "eyeriss tpu_like simba_like gemmini bit_fusion stripes_like unpu_like brain_tta_like flexblock_like dynasty_like mls_unit "
    "fp8_trainer mx_trainer flex_trainer"
)


def test_the_library_has_every_kind():
    assert set(ASKED.split()) <= set(SHIPPED)
    families = {load_hardware(name).pe.family for name in SHIPPED}
    assert {"fixed", "composable", "bit_serial", "bfp", "mls", "float", "multi_mode"} <= families
