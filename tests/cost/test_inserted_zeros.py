"""The zeros that a stride inserts between errors: multiplied by hardware that does not skip them, in the backward passes alone."""

from dataclasses import replace

import pytest

import dse
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: 2
samples: 2
epochs: 1
optimizer: sgd
input: {C: 8, H: 12, W: 12}
layers:
  - {op: conv, name: first, K: 8, R: 3, pad: 1}
  - {op: conv, name: strided, K: 16, R: 3, stride: 2, pad: 1}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")


@pytest.fixture(scope="module")
def costs():
    """Layers by (layer, pass) with and without the skipping of zeros."""
    hardware, plan = dse.load_hardware("tpu_like"), dse.Plan.parse("w8a8e8", NET)
    return [dse.evaluate(NET, replace(hardware, zero_skip=skip), plan).layers.set_index(["layer", "pass"]) for skip in (True, False)]


@pytest.mark.parametrize("pass_", ["backward_data", "backward_weight"])
def test_four_times_the_products_at_stride_two(costs, pass_):
    skipped, multiplied = (table.loc[("strided", pass_)] for table in costs)
    macs = 2 * 16 * 8 * 6 * 6 * 9
    assert skipped["mac_j"] == pytest.approx(macs * 0.04e-12, rel=1e-12)  # 0.04 pJ per MAC in ZigZag's example
    assert multiplied["mac_j"] == pytest.approx(4 * macs * 0.04e-12, rel=1e-12)
    assert multiplied["latency_s"] >= skipped["latency_s"]


def test_nothing_else_is_touched(costs):
    skipped, multiplied = costs
    for place in (("strided", "forward"), ("first", "forward"), ("first", "backward_weight")):
        assert skipped.loc[place].equals(multiplied.loc[place])
