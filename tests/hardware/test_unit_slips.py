"""Numbers in the wrong unit are errors with a hint, unless the file says that it means them."""

import re

import pytest

import dse
from dse.errors import InputError
from dse.hardware import load_hardware
from dse.hardware.from_file.plausible import PLAUSIBLE, bounds_of
from dse.hardware.model import MEMORY_NUMBERS, TOP_NUMBERS
from dse.shipped import shipped_folder

FILE = """
name: small
description: a small array for tests
source: made up
node_nm: 28
clock_hz: 800_000_000
array:
  source: made up
  axes:
    rows: {size: 8, forward: [C, R, S], backward_data: [K, R, S], backward_weight: [N, P, Q]}
    cols: {size: 8, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: multi_mode, modes: [{weight_bits: 8, activation_bits: 8, macs_per_cycle: 1}], energy_pj_per_mac: 0.5, area_um2: 900}
memories:
  register: {source: made up, kind: register, holds: [accumulator], shared_along: [rows], size_bits: 512, read_pj_per_bit: 0.001}
  buffer: {source: made up, kind: sram, size_bits: 1_048_576, port_bits: 256, bandwidth_bits_per_cycle: 1024, write_pj_per_bit: 0.2}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 32, size_bits: 64_000_000_000}
vector_lanes: 16
"""


def load(tmp_path, text):
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return load_hardware(path)


@pytest.mark.parametrize(
    ("old", "new", "place", "hint"),
    [
        ("clock_hz: 800_000_000", "clock_hz: 0.8", "clock_hz (line 6)", "0.8 GHz, 800_000_000"),
        ("clock_hz: 800_000_000", "clock_hz: 800", "clock_hz (line 6)", "800 MHz, 800_000_000"),
        ("clock_hz: 800_000_000", "clock_hz: 32_768", "clock_hz (line 6)", "32768 kHz, 32_768_000"),
        ("clock_hz: 800_000_000", "clock_hz: {values: [1.0e+9, 1.0e+12], default: 1.0e+9}", "clock_hz", "1e+12 Hz is outside"),
        ("cycle: 32", "cycle: 25.6e+9", "memories.dram.bandwidth_bits_per_cycle", "2.56e+10 bits per second, 32"),
        ("cycle: 32", "cycle: 3.2e+9", "memories.dram.bandwidth_bits_per_cycle", "3.2e+09 bits per second, 4"),
        ("cycle: 1024", "cycle: 819.2e+9", "memories.buffer.bandwidth_bits_per_cycle", "8.192e+11 bits per second, 1_024"),
        ("size: 8, forward: [C", "size: 65536, forward: [C", "array.axes.rows.size", "65536 elements"),
        ("size_bits: 1_048_576", "size_bits: 1", "memories.buffer.size_bits", "1 KB, 8_192"),
        ("size_bits: 1_048_576", "size_bits: {values: [16, 32, 64], default: 64}", "memories.buffer.size_bits", "16 bytes, 128"),
        ("size_bits: 64_000_000_000", "size_bits: 8", "memories.dram.size_bits", "8 GB, 68_719_476_736"),
        ("write_pj_per_bit: 0.2", "write_pj_per_bit: 200", "memories.buffer.write_pj_per_bit", "200 fJ per bit, 0.2"),
        ("read_pj_per_bit: 0.001", "read_pj_per_bit: 32", "memories.register.read_pj_per_bit", "32 fJ per bit, 0.032"),
        ("energy_pj_per_mac: 0.5", "energy_pj_per_mac: 5.0e-13", "pe.energy_pj_per_mac", "5e-13 J, 0.5"),
        ("area_um2: 900", "area_um2: 0.0009", "pe.area_um2", "0.0009 mm2, 900"),
        ("macs_per_cycle: 1}", "macs_per_cycle: 1.0e+6}", "pe.modes[0].macs_per_cycle", "MACs per cycle"),
        ("vector_lanes: 16", "vector_lanes: 16\narea_overhead: 20", "area_overhead", "20 %, 0.2"),
        ("vector_lanes: 16", "vector_lanes: 16\nidle_w: 50_000", "idle_w", "50000 mW, 50"),
        ("vector_lanes: 16", "vector_lanes: 16\nclock_pj_per_cycle: 800_000", "clock_pj_per_cycle", "800000 fJ, 800"),
        ("port_bits: 256", "port_bits: 256_000_000", "memories.buffer.port_bits", "bits"),
        ("port_bits: 256", "wire_mm: 900", "memories.buffer.wire_mm", "900 um, 0.9"),
        ("port_bits: 256", "wire_pj_per_bit: 150", "memories.buffer.wire_pj_per_bit", "150 fJ per bit, 0.15"),
        ("port_bits: 256", "area_mm2: 300_000", "memories.buffer.area_mm2", "300000 um2, 0.3"),
    ],
)
def test_a_slip_is_an_error_with_a_hint_and_a_way_to_mean_it(tmp_path, old, new, place, hint):
    assert old in FILE
    text = FILE.replace(old, new)
    with pytest.raises(InputError) as raised:
        load(tmp_path, text)
    assert place in str(raised.value)
    assert hint in str(raised.value)
    assert "allow_unusual: true" in str(raised.value)
    assert load(tmp_path, text + "allow_unusual: true\n").name == "small"


def test_an_array_of_a_billion_elements(tmp_path):
    with pytest.raises(InputError, match=r"array.axes \(line 9\): 5.36871e\+08 elements"):
        load(tmp_path, FILE.replace("size: 8,", "size: 8192,").replace("cols: {", "deep: {size: 8, forward: [N], backward_data: [N], backward_weight: [C]}\n    cols: {"))
    assert load(tmp_path, FILE.replace("size: 8,", "size: 1024,")).axes[0].size == 1024


def test_hints_are_inside_the_bounds_they_are_hints_for():
    for key, bounds in PLAUSIBLE.items():
        assert bounds.low < bounds.high, key
        for _, factor in bounds.others:
            middle = (bounds.low * bounds.high) ** 0.5
            said = bounds.problem(middle / factor)
            meant = re.search(r", ([0-9_.e+-]+)\?\)", said)
            if meant:
                assert bounds.low <= float(meant[1].replace("_", "")) <= bounds.high, (key, said)


def test_every_number_that_may_vary_has_bounds():
    """But for those whose schema is narrow already: the node and the lanes of the vector unit."""
    assert [name for name in TOP_NUMBERS if bounds_of(name) is None] == ["node_nm", "vector_lanes"]
    for kind in ("register", "sram", "dram"):
        for name in MEMORY_NUMBERS:
            assert bounds_of(f"memories.buffer.{name}", kind) is not None
    assert bounds_of("array.rows") is not None


def test_nothing_is_free_of_charge_by_accident_and_zero_is_meant(tmp_path):
    text = FILE.replace("vector_lanes: 16", "vector_lanes: 16\narea_overhead: 0.0\nidle_w: 0.0\nclock_pj_per_cycle: 0.0")
    assert load(tmp_path, text.replace("write_pj_per_bit: 0.2", "write_pj_per_bit: 0.0")).memories[1].write_pj_per_bit == 0.0


def test_shipped_files_need_no_exception():
    for path in shipped_folder("hwmodels").glob("*.yaml"):
        assert "allow_unusual" not in path.read_text()


def test_a_batch_beyond_every_step(tmp_path):
    text = (shipped_folder("workloads") / "cifar_resnet20.yaml").read_text()
    path = tmp_path / "net.yaml"
    path.write_text(text.replace("batch: 128", "batch: 1_000_000_000"))
    with pytest.raises(InputError, match=r"batch \(line 2\): 1,000,000,000 samples in one pass"):
        dse.load_workload(path)
    path.write_text(path.read_text() + "allow_unusual: true\n")
    network = dse.load_workload(path)
    assert network.batch == 10**9
    for wrong in (0, -1, 2.5, 10**9):
        with pytest.raises(InputError, match="batch"):
            network.with_batch(wrong)
    assert network.with_batch(4_000_000).batch == 4_000_000
