"""More freedom is never worse and the order in which freedom is written says nothing; large dims and axes cost no more than small ones."""

import numpy as np
import pytest

import dse
from dse.hardware.from_file.load import hardware_from_document
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

# A made-up array with flat prices; conventions of the case: what an array may unroll is the only difference between files.
PLAIN = """
name: plain
description: an array with one buffer and flat prices
source: made up
node_nm: 45
clock_hz: 1_000_000_000
array:
  source: made up
  axes:
    rows: {{size: {rows}, forward: [{free}]}}
    cols: {{size: 16, forward: [K]}}
pe: {{source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32, energy_pj_per_mac: 0.2}}
memories:
  buffer: {{source: made up, kind: sram, size_bits: {buffer}, port_bits: 512, bandwidth_bits_per_cycle: 4096,
    read_pj_per_bit: 0.1, write_pj_per_bit: 0.1}}
  dram: {{source: made up, kind: dram, read_pj_per_bit: 10.0, write_pj_per_bit: 10.0, bandwidth_bits_per_cycle: 128}}
vector_lanes: 64
"""
NET = """
source: made up
batch: 1
samples: 1
epochs: 1
optimizer: sgd
nests:
  - {nest}
"""
CONV = "{name: a, kind: conv, K: 64, C: 64, P: 56, Q: 56, R: 3, S: 3, input: 56}"


def total(nest, free="C", buffer=1_048_576, rows=16):
    hardware = hardware_from_document(parse_yaml(PLAIN.format(free=free, buffer=buffer, rows=rows), "plain.yaml"))
    network = network_from_document(parse_yaml(NET.format(nest=nest), "net.yaml"), "net")
    return dse.evaluate(network, hardware, "w8a8", mode="inference").total.iloc[0]


@pytest.fixture(scope="module")
def freedoms():
    return {free: total(CONV, free) for free in ("C", "C, Q", "Q, C", "C, Q, P", "P, N, C, Q")}


def test_more_freedom_is_never_worse(freedoms):
    for chain in (("C", "C, Q", "C, Q, P"), ("C", "Q, C", "P, N, C, Q")):
        edp = [freedoms[free]["latency_s"] * freedoms[free]["energy_j"] for free in chain]
        assert (np.diff(edp) <= 0.005 * np.array(edp[:-1])).all()
    # 115.6 M products on 256 elements at 1 GHz.
    for cost in freedoms.values():
        assert cost["latency_s"] <= 451.6e-6 * 1.001
        assert cost["energy_j"] <= 146e-6


def test_order_of_what_may_unroll_says_nothing(freedoms):
    for name in ("latency_s", "energy_j"):
        assert freedoms["C, Q"][name] == freedoms["Q, C"][name]


def test_product_of_a_thousand_in_a_small_buffer():
    """``dram[WAO] N29 K21 C63 - buffer[WAO] C1 K3 N35 C16@rows K16@cols`` costs 4.79e9 pJ by the same prices."""
    product = "{name: a, kind: fc, N: 1000, K: 1000, C: 1000}"
    assert total(product, buffer=65_536)["energy_j"] <= 4.79e-3 * 1.005


def test_large_dims_and_axes_are_evaluated():
    step = total("{name: a, kind: fc, N: 8_000_000, K: 4096, C: 4096}")
    assert step["feasible"]
    assert step["latency_s"] >= 8e6 * 4096 * 4096 / 256 / 1e9
    wide = total("{name: a, kind: conv, N: 32, K: 512, C: 512, P: 28, Q: 28, R: 3, S: 3, input: 28}", "N, K, C, P, Q", rows=1024)
    assert wide["feasible"]
    assert wide["latency_s"] >= 32 * 512 * 512 * 28 * 28 * 9 / (16 * 1024) / 1e9
