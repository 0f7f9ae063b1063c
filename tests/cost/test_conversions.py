"""Time of conversions: by hand, hidden by converters, and never less with fewer lanes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dse
from dse.cost.steps.side import CONVERTERS, OPERATIONS, vector_operations
from dse.errors import InputError
from dse.hardware.from_file.load import hardware_from_document
from dse.hardware.model import Converter
from dse.precision.formats import parse_format
from dse.shipped import shipped_names
from dse.system.gpu import load_gpu
from dse.system.products import Kernel, kernel_s
from dse.workload import Layer, Network
from dse.yaml_input import parse_yaml

HARDWARE = """
name: plain
description: by hand
source: made up
node_nm: 45
clock_hz: 1_000_000_000
array:
  source: made up
  axes:
    rows: {size: 16, forward: [C], backward_data: [K], backward_weight: [N]}
    cols: {size: 16, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8}
memories:
  buffer: {source: made up, kind: sram, size_bits: 8_388_608, port_bits: 512, bandwidth_bits_per_cycle: 65_536}
  dram: {source: made up, kind: dram, read_pj_per_bit: 10.0, write_pj_per_bit: 10.0, bandwidth_bits_per_cycle: 65_536}
vector_lanes: 8
overlap: false
"""
NETWORK = """
source: made up
batch: 4
samples: 4
epochs: 1
optimizer: sgd
input: {C: 16, H: 8, W: 8}
layers:
  - {op: conv, name: a, K: 32, R: 1}
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("conversions") / "net.yaml"
    path.write_text(NETWORK)
    return dse.load_workload(path)


@pytest.fixture(scope="module")
def hardware():
    return hardware_from_document(parse_yaml(HARDWARE, "plain.yaml"))


def total(network, hardware, plan="w8a8e8", mode="inference"):
    return dse.evaluate(network, hardware, plan, mode=mode).total.iloc[0]


def test_by_hand(network, hardware):
    """4 x 32 x 64 results: 4 operations each (scale, round, two comparisons) on 8 lanes at 1 GHz, after the products."""
    row = total(network, hardware)
    assert row["convert_s"] == pytest.approx(4 * 32 * 64 * 4 / 8 * 1e-9, rel=1e-12)
    beside = total(network, replace(hardware, converter=Converter()))
    assert beside["convert_s"] == 0.0
    assert row["latency_s"] - row["convert_s"] == pytest.approx(beside["latency_s"], rel=1e-12)
    assert row["quantize_j"] == pytest.approx(beside["quantize_j"], rel=1e-12)
    # The vector unit goes on beside the array: only what takes longer than the pass is time.
    overlapped = total(network, replace(hardware, overlap=True))
    pass_s = total(network, replace(hardware, overlap=True, converter=Converter()))["latency_s"]
    assert overlapped["latency_s"] == pytest.approx(max(row["convert_s"], pass_s), rel=1e-12)
    lanes = total(network, replace(hardware, converter=Converter(2.0, 0.25)))
    assert lanes["convert_s"] == pytest.approx(4 * 32 * 64 / 2 * 1e-9, rel=1e-12)
    assert lanes["area_mm2"] == pytest.approx(beside["area_mm2"] + 0.25)


def test_a_note_says_what_the_products_alone_take(network, hardware):
    said = dse.evaluate(network, hardware, "w8a8e8").notes[-1]
    assert "conversions between formats that the vector unit does not hide" in said
    assert "without them" in said
    assert not any(
        "conversions" in text
        for text in dse.evaluate(network, replace(hardware, converter=Converter()), "w8a8e8").notes
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.sampled_from(["w8a8e8", "w4a8e4", "bfp4", "w8a8e8,stash=int4", "w8a4e8,result=fp32"]),
    mode=st.sampled_from(["inference", "training"]),
    overlap=st.booleans(),
    fusion=st.sampled_from(["none", "vector"]),
)
def test_layers_add_up_and_more_lanes_never_take_longer(network, hardware, plan, mode, overlap, fusion):
    machine = replace(hardware, overlap=overlap, fusion=fusion)
    cost = dse.evaluate(network, machine, plan, mode=mode)
    row = cost.total.iloc[0]
    assert cost.layers["convert_s"].sum() == pytest.approx(row["convert_s"], rel=1e-9)
    assert (cost.layers["convert_s"] <= cost.layers["latency_s"] * (1 + 1e-12)).all()
    wider = total(network, replace(machine, vector_lanes=16), plan, mode)
    assert wider["convert_s"] <= row["convert_s"] * (1 + 1e-12)
    alone = total(network, replace(machine, converter=Converter()), plan, mode)
    assert row["latency_s"] - row["convert_s"] == pytest.approx(alone["latency_s"], rel=1e-9)


def test_operations_stand_beside_prices():
    assert set(OPERATIONS) == set(CONVERTERS)
    named = {name: vector_operations(parse_format(name), True, True) for name in ("int8", "nvfp4", "fp32", "nf4")}
    # int8: scale, round, two comparisons, one of the range, a random number and its addition.
    assert named["int8"] == 7.0
    assert named["fp32"] == 0.0
    assert np.isfinite(list(named.values())).all()


def test_shipped_accelerators_say_what_their_converters_rest_on():
    for name in shipped_names("hwmodels"):
        found = dse.load_hardware(name)
        assert found.converter is not None
        assert found.sources["converter"].strip()


def test_a_faulty_converter_is_refused():
    with pytest.raises(InputError, match=r"lanes(.|\n)*> 0"):
        hardware_from_document(parse_yaml(HARDWARE + "converter: {source: made up, lanes: 0}\n", "plain.yaml"))
    with pytest.raises(InputError, match="source"):
        hardware_from_document(parse_yaml(HARDWARE + "converter: {lanes: 4}\n", "plain.yaml"))
    for keys in ("lanes: 4, kernel_bandwidth: 0.5", "kernel_s: 1.0e-6"):
        with pytest.raises(InputError, match="kernel_bandwidth"):
            hardware_from_document(parse_yaml(HARDWARE + f"converter: {{source: made up, {keys}}}\n", "plain.yaml"))


@pytest.mark.parametrize(("form", "kernels"), [("bf16", 0), ("fp8_e4m3", 1), ("fp8_e4m3:tensor", 2)])
def test_conversions_of_a_gpu_are_the_kernels_of_its_products(form, kernels):
    """Both ways to a GPU's time agree: a cast of 16 to 8 bits, and before it a range where the tensor has one scale."""
    layer = Layer("gemm", "fc", N=4096, K=4096, C=512)
    network = Network("gemm", "one product", (layer,), batch=1, samples=1, epochs=1)
    for name, bytes_per_s in (("a100", 2039.04e9), ("mi210", 1637.95e9)):  # bits per cycle of their files
        cost = dse.evaluate(network, name, f"bf16,activation={form}", mode="inference").total.iloc[0]
        gpu = replace(load_gpu("a100"), memory_bytes_per_s=bytes_per_s)  # kernels bound by traffic: nothing else of it counts
        passes = (Kernel("range", 16.0, 0.0), Kernel("cast", 16.0, 8.0))[2 - kernels :]
        assert cost["convert_s"] == pytest.approx(sum(kernel_s(gpu, one, 4096 * 4096) for one in passes), rel=1e-5)
