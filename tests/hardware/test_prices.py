"""Prices: known points, limits, laws, and honest edges."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.model import ProcessingElement
from dse.hardware.pe import pe_extrapolated
from dse.hardware.prices import arithmetic, side_costs, sram_45nm, technology
from dse.hardware.prices import memories as prices

nodes = st.floats(5, 65)
sizes = st.floats(64, 8 * 2.0**26)
ports = st.floats(16, 2048)


@given(nodes, nodes, nodes)
def test_scaling_chains(a, b, c):
    for scale in (
        technology.energy_scale,
        technology.sram_energy_scale,
        technology.area_scale,
        technology.delay_scale,
    ):
        assert scale(c, a) == pytest.approx(scale(b, a) * scale(c, b), rel=1e-9)
        assert scale(a, a) == 1


@given(nodes, nodes)
def test_smaller_nodes_cost_less_energy_and_area(a, b):
    small, large = sorted((a, b))
    assert technology.energy_scale(small) <= technology.energy_scale(large)
    assert technology.area_scale(small) <= technology.area_scale(large)
    assert prices.leakage_scale(small) <= prices.leakage_scale(large)


def test_scaling_example_of_the_source():
    """Stillmaker and Baas, corrected example: energy factor of 32 nm at 0.9 V is 0.4571; of 45 nm at 1.0 V 0.8612."""
    assert technology.sram_energy_scale(32.0, 45.0) == pytest.approx(0.4571 / 0.8612, rel=2e-4)


def test_anchors_of_the_energy_are_met():
    """A MAC and a memory of TPUv4i at 7 nm against the same at 45 nm: 0.084 pJ; 0.249 and 0.293 pJ per bit of 4 MB in the mean."""
    assert technology.energy_scale(7.0) * (0.2034 + 0.05) == pytest.approx(0.084)
    size, port = 4 * 2**23, 512
    both = prices.sram_read_pj_per_bit(size, port, 7.0) * prices.sram_write_pj_per_bit(size, port, 7.0)
    assert np.sqrt(both) == pytest.approx(np.sqrt(0.249 * 0.293), rel=1e-3)


def test_voltage_laws():
    """Energy goes with the square of the supply, leakage and the highest clock fall faster than it; nothing runs at the threshold."""
    assert technology.voltage_energy_scale([0.5, 1.0], 1.0) == pytest.approx([0.25, 1.0])
    leak = technology.voltage_leakage_scale(np.linspace(0.4, 1.2, 9), 1.0)
    assert (np.diff(leak) > 0).all()
    assert leak[6] == pytest.approx(1.0)
    assert leak[0] < 0.16
    clock = technology.highest_clock_hz(45.0, [0.35, 0.5, 0.8, 1.0])
    assert (np.diff(clock) > 0).all()
    assert clock[0] < 1e3
    assert clock[3] == pytest.approx(1e12 / (20 * 18))


@pytest.mark.parametrize("node", [4.9, 66.0, np.nan, -1.0])
def test_nodes_outside_are_refused(node):
    with pytest.raises(InputError, match="5 to 65 nm"):
        technology.energy_scale([45.0, node])


def test_five_nanometers_is_marked():
    assert technology.node_extrapolated([5.0, 7.0]).tolist() == [True, False]


def test_sram_is_exact_at_the_grid():
    size, port = np.meshgrid(sram_45nm.CAPACITY_BITS, sram_45nm.PORT_BITS, indexing="ij")
    known = ~np.isnan(sram_45nm.READ_PJ_PER_BIT)
    assert prices.sram_read_pj_per_bit(size, port)[known] == pytest.approx(sram_45nm.READ_PJ_PER_BIT[known])
    write = prices.sram_write_pj_per_bit(size, port)[known] / sram_45nm.WRITE_PJ_PER_BIT[known]
    assert write.min() > 0.999
    assert write.max() < 1.01
    assert prices.sram_area_mm2(size, port)[known] == pytest.approx(sram_45nm.AREA_MM2[known])


@given(sizes, sizes, ports)
def test_larger_memories_cost_more(a, b, port):
    small, large = sorted((a, b))
    for price in (prices.sram_read_pj_per_bit, prices.sram_write_pj_per_bit, prices.sram_area_mm2):
        assert price(small, port) <= price(large, port) * (1 + 1e-12)
    for price in (
        prices.register_pj_per_bit,
        prices.register_area_mm2,
        prices.register_leakage_w,
        prices.sram_leakage_w,
    ):
        assert price(small) <= price(large) * (1 + 1e-12)


def test_vector_equals_scalar():
    size, node = np.array([1024.0, 5e5, 3e7]), np.array([28.0, 45.0, 7.0])
    for price in (
        prices.sram_leakage_w,
        prices.register_pj_per_bit,
        prices.register_area_mm2,
        prices.register_leakage_w,
        prices.wire_pj_per_bit,
    ):
        assert np.array_equal(price(size, node), [float(price(s, n)) for s, n in zip(size, node, strict=True)])
    several = prices.sram_read_pj_per_bit(size, 64, node)
    assert np.array_equal(
        several, [float(prices.sram_read_pj_per_bit(s, 64, n)) for s, n in zip(size, node, strict=True)]
    )


def test_extrapolation_is_marked():
    inside = prices.sram_extrapolated([1024, 2**26, 2**27, 512], [32, 512, 64, 32])
    assert inside.tolist() == [False, False, True, True]
    assert prices.sram_extrapolated(2**20, 1024)
    assert prices.sram_extrapolated(2**20, 64, 5.0)


def test_large_memories_follow_the_last_slope():
    read = prices.sram_read_pj_per_bit(2.0 ** np.array([25, 26, 27, 28]), 64)
    assert np.diff(np.log(read)) == pytest.approx([np.log(read[1] / read[0])] * 3)


def test_registers_lie_between_flip_flop_and_array():
    assert prices.register_pj_per_bit([1, 64], 40.0) == pytest.approx([9e-3, 9e-3])
    array = (prices.sram_read_pj_per_bit(4096, 32) + prices.sram_write_pj_per_bit(4096, 32)) / 2
    assert prices.register_pj_per_bit(4096) == pytest.approx(float(array))


def test_dram_by_type():
    assert prices.dram_pj_per_bit("hbm2") == 3.9
    with pytest.raises(InputError, match="lpddr4"):
        prices.dram_pj_per_bit("lpddr44")


def test_operations_at_their_points():
    assert arithmetic.int_add_pj([16, 32]) == pytest.approx([0.05, 0.1])
    assert arithmetic.int_multiply_pj([8, 32], [8, 32]) == pytest.approx([0.2, 3.1], rel=0.02)
    assert arithmetic.float_multiply_pj([11, 24]) == pytest.approx([1.1, 3.7])
    assert arithmetic.float_add_pj([16, 32]) == pytest.approx([0.4, 0.9])
    assert arithmetic.shift_pj(32, 31, 40.0) == pytest.approx(0.417)
    assert arithmetic.shift_pj(32, 0) == 0


@given(st.integers(1, 31))
def test_side_costs_grow_with_the_width(bits):
    pairs = [
        (side_costs.vector_op_pj(bits), side_costs.vector_op_pj(bits + 1)),
        (side_costs.vector_op_pj(bits, False), side_costs.vector_op_pj(bits + 1, False)),
        (side_costs.quantize_pj(bits), side_costs.quantize_pj(bits + 1)),
        (side_costs.stochastic_rounding_pj(bits), side_costs.stochastic_rounding_pj(bits + 1)),
        (side_costs.range_reduction_pj(bits), side_costs.range_reduction_pj(bits + 1)),
        (side_costs.block_exponent_pj(bits), side_costs.block_exponent_pj(bits + 1)),
        (side_costs.block_analytics_pj(bits), side_costs.block_analytics_pj(bits + 1)),
    ]
    assert all(0 < less <= more for less, more in pairs)


def test_optimizers_in_order():
    costs = [float(side_costs.optimizer_pj(kind)) for kind in ("sgd", "momentum", "adam", "adamw")]
    assert costs == pytest.approx([3.7 + 0.9, 3 * 3.7 + 3 * 0.9, 14 * 3.7 + 4 * 0.9, 15 * 3.7 + 5 * 0.9])
    with pytest.raises(InputError, match="did you mean 'adam'"):
        side_costs.optimizer_pj("adem")
    with pytest.raises(InputError, match="8, 16 or 32"):
        side_costs.optimizer_pj("adam", 12)


def test_reconfiguration_drains_the_array():
    change = side_costs.reconfiguration([4, 32], [8, 32])
    assert change.cycles.tolist() == [12, 64]
    assert change.energy_pj[1] / change.energy_pj[0] == pytest.approx(32)


def test_operations_outside_their_points_are_marked():
    """Horowitz has floats of 16 and 32 bits: an 8-bit one is extrapolated, and an element made of it says so."""
    assert arithmetic.extrapolated("float_multiply", 4)
    assert not any(arithmetic.extrapolated("float_multiply", bits) for bits in (11, 24))
    assert arithmetic.extrapolated("int_multiply", 33)
    assert arithmetic.extrapolated("int_add", 65)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("bit_fusion", False),
        ("flex_trainer", False),
        ("gemmini", False),
        ("dynasty_like", False),
        ("fp8_trainer", True),
        ("stripes_like", True),
    ],
)
def test_designs_with_prices_outside_a_source_are_marked(name, outside):
    """FP8 multipliers lie below Horowitz' floats; the area of a 1-bit serial unit below the synthesized units."""
    assert hardware_arrays(load_hardware(name)).extrapolated.tolist() == [outside]


@pytest.mark.parametrize("bits", [1, 32])
def test_units_beyond_the_synthesis_are_marked_unless_the_file_measures_them(bits):
    pe = ProcessingElement("fixed", bits, bits, 1)
    assert pe_extrapolated(pe)
    assert not pe_extrapolated(replace(pe, energy_pj=1.0, area_um2=100.0))
    assert pe_extrapolated(ProcessingElement("composable", 16, 16, 1))
    assert not pe_extrapolated(ProcessingElement("composable", 16, 16, 2))


def test_wires_are_linear_and_data_switch_half_of_the_time():
    assert prices.wire_pj_per_bit([0.0, 1.0, 2.0]) == pytest.approx([0.0, 0.249, 0.498])
    assert prices.data_wire_pj_per_bit(2.0, 32.0) == pytest.approx(float(prices.wire_pj_per_bit(1.0, 32.0)))


def test_every_price_states_its_range_and_source():
    """Each price function names a unit, and a source or another price that it is built on."""
    described = [
        *(vars(prices)[name] for name in dir(prices) if name.endswith(("_pj_per_bit", "_mm2", "_w"))),
        *(vars(arithmetic)[name] for name in dir(arithmetic) if name.endswith("_pj")),
        *(vars(side_costs)[name] for name in dir(side_costs) if name.endswith("_pj") and name in vars(side_costs)),
    ]
    functions = [item for item in described if callable(item)]
    assert len(functions) > 15
    for function in functions:
        text = f"{function.__doc__} {inspect.getmodule(function).__doc__}"
        assert any(unit in text for unit in ("pJ", "mm2", " W")), function.__name__
        known = ("CACTI", "Horowitz", "Aladdin", "Jacob", "DYNASTY", "Accelergy", "Kingma", "sourced operations", ":data:`", ":func:`")
        assert any(source in text for source in known), function.__name__
