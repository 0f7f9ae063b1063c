"""Hardware files: what loads, what varies, and every way in which a file can be wrong."""

from pathlib import Path

import pytest

from dse.errors import InputError
from dse.hardware import grid_size, hardware_arrays, load_hardware
from dse.hardware.elements import FAMILIES
from dse.hardware.from_file.load import hardware_from_document
from dse.shipped import shipped_names
from dse.yaml_input import parse_yaml

GOOD = """\
name: small
description: A small array
source: a test
node_nm: 28
clock_hz: {values: [500_000_000, 1_000_000_000], default: 500_000_000}
array:
  source: a test
  axes:
    rows: {size: {min: 4, max: 16, log2: true, default: 8}, forward: [C], backward_data: [K], backward_weight: [N]}
    cols: {size: {min: 4, max: 16, step: 4, default: 4}, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: a test, family: composable}
memories:
  register: {source: a test, kind: register, holds: [weight], shared_along: [], size_bits: 8}
  buffer: {source: a test, kind: sram, size_bits: {values: [65536, 131072], default: 65536}}
  dram: {source: a test, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 64}
"""


def load(text):
    return hardware_from_document(parse_yaml(text, "small.yaml"))


def problems(text):
    with pytest.raises(InputError) as caught:
        load(text)
    return {problem.where: (problem.message, problem.line) for problem in caught.value.problems}


def test_defaults_and_space():
    hardware = load(GOOD)
    assert [(p.name, p.values, p.default) for p in hardware.space] == [
        ("clock_hz", (500e6, 1e9), 500e6),
        ("array.rows", (4, 8, 16), 8),
        ("array.cols", (4, 8, 12, 16), 4),
        ("memories.buffer.size_bits", (65536, 131072), 65536),
    ]
    assert (hardware.clock_hz, [axis.size for axis in hardware.axes]) == (500e6, [8, 4])
    assert hardware.axes[0].dims == {"forward": ("C",), "backward_data": ("K",), "backward_weight": ("N",)}
    assert hardware.memories[1].shared_along == ("rows", "cols")
    assert hardware.memories[2].size_bits == float("inf")
    assert hardware.sources["memories.buffer"] == "a test"
    assert grid_size(hardware) == 2 * 3 * 4 * 2


def test_a_set_of_one_value_is_no_parameter():
    text = GOOD.replace("{values: [65536, 131072], default: 65536}", "{values: [65536], default: 65536}")
    assert "memories.buffer.size_bits" not in [p.name for p in load(text).space]


def test_every_section_needs_a_source():
    for section in ("array", "pe", "memories.register", "memories.buffer", "memories.dram"):
        key = section.split(".")[-1]
        lines = GOOD.splitlines()
        start = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        where = next(i for i in range(start, len(lines)) if "source: a test" in lines[i])
        lines[where] = lines[where].replace("source: a test, ", "").replace("source: a test", "")
        found = problems("\n".join(lines))
        assert found[f"{section}.source"][0].startswith("missing"), section
    assert problems(GOOD.replace("source: a test\nnode", "source: ' '\nnode"))["source"]


def test_all_problems_at_once_with_lines():
    text = (
        GOOD.replace("node_nm: 28", "node_nm: 28\nclok_hz: 5")
        .replace("family: composable", "family: composible")
        .replace("log2: true", "lgo2: true")
        .replace("size_bits: 8}", "size_bits: -8}")
        .replace("step: 4, default: 4", "step: 4.5, default: 4")
    )
    found = problems(text)
    assert found["clok_hz"] == ("unknown key; did you mean 'clock_hz'?", 5)
    assert found["pe.family"][0].startswith("expected one of")
    assert found["pe.family"][1] == 12
    assert found["array.axes.rows.size.lgo2"] == ("unknown key; did you mean 'log2'?", 10)
    assert found["array.axes.cols.size.step"][0].startswith("expected an integer")
    assert found["memories.register.size_bits"] == ("expected an integer >= 1, got -8", 14)


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("default: 8}", "default: 7}", "array.axes.rows.size.default", "one of the values"),
        ("min: 4, max: 16, log2", "min: 32, max: 16, log2", "array.axes.rows.size", "above max"),
        ("log2: true, ", "", "array.axes.rows.size", "either 'step' or 'log2: true'"),
        ("log2: true, ", "log2: true, step: 4, ", "array.axes.rows.size", "either 'step' or 'log2: true'"),
        ("shared_along: []", "shared_along: [row]", "memories.register.shared_along[0]", "did you mean 'rows'"),
        ("dram: lpddr4", "dram: lpdr4", "memories.dram.dram", "did you mean 'lpddr4'"),
        (", size_bits: 8}", "}", "memories.register.size_bits", "only dram may go without"),
        ("kind: dram", "kind: sram", "memories.dram", "last memory to be of kind dram"),
        ("node_nm: 28", "node_nm: 3", "node_nm", ">= 5"),
        (
            "clock_hz: {values: [500_000_000, 1_000_000_000], default: 500_000_000}",
            "clock_hz: true",
            "clock_hz",
            "number",
        ),
        (
            "clock_hz: {values: [500_000_000, 1_000_000_000], default: 500_000_000}",
            "clock_hz: 1e9",
            "clock_hz",
            "1.0e+9",
        ),
        ("family: composable", "family: composable, max_weight_bits: 6", "pe.max_weight_bits", "power of two"),
        ("family: composable", "family: multi_mode", "pe.modes", "a multi_mode element needs it"),
        ("family: composable", "family: float", "pe.significand_bits", "float element needs it"),
        ("name: small", "name: small\nname: two", "name", "duplicate key"),
        ("[weight]", "[weight, weigth]", "memories.register.holds[1]", "expected one of"),
    ],
)
def test_one_thing_wrong(old, new, where, message):
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    assert where in found, found
    assert message in found[where][0]
    assert found[where][1] is not None


def test_a_role_lies_in_any_number_of_memories_each_shared_along_more():
    more = (
        "  cluster: {source: a test, kind: sram, size_bits: 4096, shared_along: [rows]}\n"
        "  second: {source: a test, kind: sram, size_bits: 1_048_576}\n"
    )
    hardware = load(GOOD.replace("  buffer:", more + "  buffer:"))
    assert [memory.shared_along for memory in hardware.memories[:3]] == [(), ("rows",), ("rows", "cols")]
    assert hardware_arrays(hardware).instances[0].tolist() == [32, 4, 1, 1, 1]
    found = problems(GOOD.replace("  dram:", more + "  dram:"))
    assert "'buffer' but is not shared along cols" in found["memories.cluster"][0]
    lines = GOOD.splitlines()
    lines[-3], lines[-2] = lines[-2], lines[-3]
    assert "holds the weight outside of 'buffer'" in problems("\n".join(lines))["memories.register"][0]


def test_a_chip_that_runs_inference_only_gives_no_backward_dims():
    text = GOOD.replace(", backward_data: [K], backward_weight: [N]", "").replace(", backward_data: [C], backward_weight: [K]", "")
    hardware = load(text)
    assert hardware.inference_only
    assert hardware.axes[0].dims == {"forward": ("C",), "backward_data": ("K",), "backward_weight": ()}
    assert not load(GOOD).inference_only
    found = problems(GOOD.replace(", backward_data: [K], backward_weight: [N]", ", backward_weight: [N]"))
    assert "for none if the chip runs inference only" in found["array.axes.rows.backward_data"][0]


def test_unknown_name_is_suggested():
    with pytest.raises(InputError, match="bit_fusion"):
        load_hardware("bit_fushion")


@pytest.mark.parametrize("name", shipped_names("hwmodels"))
def test_shipped_files(name):
    hardware = load_hardware(name)
    assert hardware.name == name
    assert 20 < len(hardware.description) < 160
    assert "\n" not in hardware.description
    assert all(len(source) > 15 for source in hardware.sources.values())
    assert hardware.pe.family in FAMILIES
    arrays = hardware_arrays(hardware)
    for prices in (arrays.read_pj_per_bit, arrays.write_pj_per_bit, arrays.bandwidth_bits_per_cycle):
        assert (prices > 0).all()
    assert 0.05 < arrays.area_mm2[0] < 1000
    assert 0 <= arrays.leakage_w[0] < 60


def test_a_path_loads_too(tmp_path):
    path = Path(tmp_path) / "small.yaml"
    path.write_text(GOOD)
    assert load_hardware(path).path == str(path)
