"""Tables of designs: one row equals the design itself, bounds hold, parts add up."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.hardware import grid_size, hardware_arrays, load_hardware, sample_table, with_values
from dse.hardware.from_file.load import hardware_from_document
from dse.yaml_input import parse_yaml

FLEX = hardware_from_document(
    parse_yaml(
        """\
name: flexible
description: A space of every kind
source: a test
node_nm: {values: [28, 45], default: 28}
clock_hz: {values: [500_000_000, 800_000_000, 1_000_000_000], default: 800_000_000}
array:
  source: a test
  axes:
    rows: {size: {values: [8, 16, 32, 64], default: 32}, forward: [C], backward_data: [K], backward_weight: [N]}
    cols: {size: {min: 8, max: 64, log2: true, default: 32}, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: a test, family: composable}
memories:
  weight_register: {source: a test, kind: register, holds: [weight], shared_along: [], size_bits: 128}
  accumulator_register:
    {source: a test, kind: register, holds: [accumulator], shared_along: [rows], size_bits: {values: [32, 512], default: 512}}
  buffer:
    source: a test
    kind: sram
    size_bits: {min: 524_288, max: 33_554_432, log2: true, default: 4_194_304}
    port_bits: {values: [64, 256], default: 256}
    bandwidth_bits_per_cycle: {values: [512, 2048], default: 2048}
  dram: {source: a test, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: {min: 64, max: 256, step: 64, default: 256}}
vector_lanes: {values: [16, 64], default: 64}
""",
        "flexible.yaml",
    )
)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_row_equals_the_design(seed):
    table = sample_table(FLEX, 3, seed)
    whole = hardware_arrays(FLEX, table)
    for i in range(3):
        design = FLEX.with_values({name: float(table[name].iloc[i]) for name in table})
        assert design.space == ()
        one, row = vars(hardware_arrays(design)), vars(whole.rows(i, i + 1))
        for name, value in one.items():
            assert np.array_equal(value, row[name]), name


def test_parts_add_up_and_instances_follow_the_axes():
    arrays = hardware_arrays(FLEX, pd.DataFrame({"array.rows": [8, 64], "array.cols": [16, 32]}))
    assert arrays.axis_size.tolist() == [[8, 16], [64, 32]]
    names = [memory.name for memory in FLEX.memories]
    assert names == ["weight_register", "accumulator_register", "buffer", "dram"]
    assert arrays.instances.tolist() == [[128, 16, 1, 1], [2048, 32, 1, 1]]
    assert np.allclose(arrays.area_parts_mm2.sum(axis=1), arrays.area_mm2, rtol=1e-12)
    assert arrays.area_parts[0] == "pe"
    # Elements and their activations; the registers of a column's sum are there once for all its rows.
    assert arrays.area_parts_mm2[1, 0] == pytest.approx(16 * arrays.area_parts_mm2[0, 0], rel=0.02)
    assert (arrays.size_bits[:, -1] == np.inf).all()
    assert arrays.axis_size.dtype == np.int64


def test_with_values_keeps_the_rest_of_the_space():
    one = with_values(FLEX, {"array.rows": 16})
    assert one.axes[0].size == 16
    assert "array.rows" not in [p.name for p in one.space]
    assert len(one.space) == len(FLEX.space) - 1
    assert FLEX.axes[0].size == 32


def test_wrong_values_all_at_once():
    with pytest.raises(InputError) as caught:
        with_values(FLEX, {"array.row": 16, "array.rows": 128, "array.cols": 8.5, "clock_hz": float("nan")})
    text = str(caught.value)
    assert "did you mean 'array.rows'" in text
    assert "from 8 to 64, got 128" in text
    assert "got 8.5" in text
    assert "nan" in text
    assert len(caught.value.problems) == 4


def test_wrong_tables_all_at_once():
    table = pd.DataFrame({"array.rows": [8, 7, 128], "memories.buffer.size": [1, 2, 3], "clock_hz": ["a", "b", "c"]})
    with pytest.raises(InputError) as caught:
        hardware_arrays(FLEX, table)
    found = {problem.where: problem.message for problem in caught.value.problems}
    assert found["array.rows"] == "expected an integer from 8 to 64, got 7 in row 1 and 1 more"
    assert "memories.buffer.size_bits" in found["memories.buffer.size"]
    assert "numbers" in found["clock_hz"]
    with pytest.raises(InputError, match="at least one row"):
        hardware_arrays(FLEX, pd.DataFrame({"array.rows": []}))


def test_nan_and_fractions_are_refused():
    with pytest.raises(InputError, match="nan"):
        hardware_arrays(FLEX, pd.DataFrame({"array.rows": [8.0, np.nan]}))
    with pytest.raises(InputError, match=r"8\.5"):
        hardware_arrays(FLEX, pd.DataFrame({"array.rows": [8.5]}))


def test_samples_are_seeded_and_inside():
    assert sample_table(FLEX, 50, 0).equals(sample_table(FLEX, 50, 0))
    assert not sample_table(FLEX, 50, 0).equals(sample_table(FLEX, 50, 1))
    table = sample_table(FLEX, 2000, 3)
    for parameter in FLEX.space:
        assert set(table[parameter.name]) == set(parameter.values)
    assert grid_size(FLEX) == 2 * 3 * 4 * 4 * 2 * 7 * 2 * 2 * 4 * 2


@pytest.mark.parametrize("name", ["memories.buffer.size_bits", "array.rows", "array.cols"])
def test_more_hardware_has_more_area_and_leakage(name):
    values = next(p.values for p in FLEX.space if p.name == name)
    arrays = hardware_arrays(FLEX, pd.DataFrame({name: values}))
    assert (np.diff(arrays.area_mm2) > 0).all()
    assert (np.diff(arrays.leakage_w) > 0).all()


def test_a_larger_buffer_costs_more_per_bit():
    values = next(p.values for p in FLEX.space if p.name == "memories.buffer.size_bits")
    arrays = hardware_arrays(FLEX, pd.DataFrame({"memories.buffer.size_bits": values}))
    assert (np.diff(arrays.read_pj_per_bit[:, 2]) > 0).all()
    assert not arrays.extrapolated.any()


def test_the_default_space_of_explore():
    assert 1000 <= grid_size(load_hardware("flex_trainer")) <= 100_000


def test_a_design_without_a_space():
    bit_fusion = load_hardware("bit_fusion")
    assert grid_size(bit_fusion) == 1
    assert len(hardware_arrays(bit_fusion, sample_table(bit_fusion, 4, 0))) == 4


def test_measured_idle_power_replaces_the_modelled_leakage():
    assert hardware_arrays(load_hardware("eyeriss_like")).leakage_w[0] == pytest.approx(0.03)
    assert hardware_arrays(load_hardware("eyeriss")).leakage_w[0] > 0


def test_a_measured_die_is_the_area():
    """What elements, memories and interface do not explain is overhead, also under drawn prices; a file that varies has none."""
    from dataclasses import replace

    hardware = load_hardware("a100")
    arrays = hardware_arrays(hardware)
    assert arrays.area_mm2[0] == pytest.approx(826.0)
    assert 0 < arrays.area_parts_mm2[0, -1] < 826.0
    parts = hardware_arrays(replace(hardware, die_mm2=0.0))
    assert parts.area_parts_mm2[0, -1] == 0.0
    assert parts.area_parts_mm2[0, :-1] == pytest.approx(arrays.area_parts_mm2[0, :-1])
