"""A step: passes that repeat before one update, and what the update reads and writes, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import dse
from dse.precision import Histogram, Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: 4
samples: 64
epochs: 1
optimizer: {optimizer}
input: {{C: 8, H: 4, W: 4}}
layers:
  - {{op: conv, name: first, K: 16, R: 3, pad: 1, then: [norm, relu]}}
  - {{op: conv, name: second, K: 16, R: 3, pad: 1, frozen: true}}
  - {{op: fc, name: last, K: 10, bias: true}}
  - {{op: loss, name: loss}}
"""
HW = dse.load_hardware("flex_trainer")
#: Trained: the first convolution, its norm, the classifier.
TRAINED = 16 * 8 * 9 + 2 * 16 + 10 * 16 * 16 + 10


def network(optimizer="momentum"):
    return network_from_document(parse_yaml(TEXT.format(optimizer=optimizer), "net.yaml"), "net")


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("times", [1, 2, 7])
def test_accumulated_gradients_repeat_the_passes_and_not_the_update(times, mixed):
    net = network()
    hw = dse.load_hardware("dynasty_like") if mixed else HW
    formats = Histogram.of({"bfp4:4x4": 0.5, "bfp8:4x4": 0.5}) if mixed else "int8"
    plan = Plan.from_formats(net, dict.fromkeys(("weight", "activation", "error"), formats))
    one, many = (dse.evaluate(net, hw, plan, accumulate=k, recompute=not mixed).layers for k in (1, times))
    update = one["pass"] == "optimizer"
    numbers = one.select_dtypes("number").columns.drop(["design", "mapping_gap"])
    for column in numbers:
        expected = np.where(update, 1, times) * one[column]
        assert many[column].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12), column
    # a share of the passes, however often they run
    assert many["mapping_gap"].to_numpy() == pytest.approx(one["mapping_gap"].to_numpy(), rel=1e-9)
    assert dse.evaluate(replace(net, accumulate=times), hw, plan, recompute=not mixed).layers.equals(many)


def test_maps_are_found_as_often_per_step_however_many_passes_it_has():
    net, hw = network(), dse.load_hardware("dynasty_like")
    mixed = Histogram.of({"bfp4:4x4": 0.5, "bfp8:4x4": 0.5})
    plan = Plan.from_formats(net, dict.fromkeys(("weight", "activation", "error"), mixed))
    one, many = (dse.evaluate(net, hw, plan, accumulate=k, map_updates=0.5).total.iloc[0] for k in (1, 3))
    assert many["analytics_j"] == pytest.approx(one["analytics_j"], rel=1e-12)


def test_the_memory_of_a_step_is_that_of_one_of_its_passes():
    net, plan = network(), Plan.parse("w8a8e8", network())
    one, many = (dse.evaluate(net, HW, plan, accumulate=k).total.iloc[0] for k in (1, 8))
    assert one["peak_memory_bits"] == many["peak_memory_bits"]


def test_accumulation_is_checked_and_on_the_command_line(tmp_path):
    net, plan = network(), Plan.parse("w8a8e8", network())
    with pytest.raises(dse.InputError, match="got 0"):
        dse.evaluate(net, HW, plan, accumulate=0)
    with pytest.raises(dse.InputError, match="goes with training"):
        dse.evaluate(net, HW, plan, accumulate=2, mode="inference")
    from dse.cli import app

    path = tmp_path / "net.yaml"
    path.write_text(TEXT.format(optimizer="adam"))
    shown = CliRunner().invoke(app, ["evaluate", str(path), "--accumulate", "3", "--json"])
    assert shown.exit_code == 0
    expected = dse.evaluate(dse.load_workload(path), HW, Plan.parse("w8a8e8", net), accumulate=3)
    assert repr(float(expected.total["latency_s"][0])) in shown.stdout


def updates(net, plan):
    layers = dse.evaluate(net, dse.load_hardware("fp32_trainer"), plan).layers
    return layers[layers["pass"] == "optimizer"]["dram_bits"].sum()


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adam", 2), ("adamw", 2)])
def test_the_update_reads_and_writes_every_copy_once(optimizer, states):
    net = network(optimizer)
    # Gradient, master copy and states are read; the master copy, the states and the narrow weight are written.
    assert updates(net, Plan.parse("w8a8e8", net)) == TRAINED * (32 * (2 + states) + 32 * (1 + states) + 8)
    # A float32 weight is its own master copy: it is read and written once.
    assert updates(net, Plan.parse("fp32", net)) == TRAINED * (32 * (2 + states) + 32 * (1 + states))
    half = Plan.uniform(net, "bf16", "bf16", "bf16", gradient="bf16", master="bf16", optimizer="bf16")
    assert updates(net, half) == TRAINED * (16 * (2 + states) + 16 * (1 + states))


TABLE = """source: test
batch: {batch}
samples: 64
epochs: 1
optimizer: {optimizer}
input: {{tokens: 5}}
layers:
  - {{op: embedding, name: table, rows: {rows}, K: 8{sparse}}}
  - {{op: linear, name: head, K: {rows}{shared}}}
  - {{op: loss, name: loss}}
"""


def table_net(rows, batch=2, optimizer="sgd", sparse=False, shared=False):
    text = TABLE.format(
        rows=rows, batch=batch, optimizer=optimizer, sparse=", sparse: true" * sparse, shared=", shared: true" * shared
    )
    return network_from_document(parse_yaml(text, "net.yaml"), "net")


@pytest.mark.parametrize(("rows", "hit"), [(100, 10), (7, 7)])
def test_only_the_rows_that_a_batch_hits_have_a_gradient(rows, hit):
    net = table_net(rows)
    moved = dse.evaluate(net, HW, Plan.parse("w8a4e16", net)).layers.set_index(["layer", "pass"])["dram_bits"]
    # Ten rows are read in the weight's format and written as activations; the error is read, gradients read and written.
    assert moved["table", "forward"] == 10 * 8 * (8 + 4)
    assert moved["table", "backward_data"] == 10 * 8 * 16 + 2 * hit * 8 * 32
    # Plain SGD: gradient and master are read, master and weight written.
    assert moved["table", "optimizer"] == hit * 8 * (32 + 32 + 32 + 8)


@pytest.mark.parametrize(("optimizer", "states"), [("momentum", 1), ("adam", 2), ("adamw", 2)])
def test_states_of_all_rows_decay_unless_the_table_is_sparse(optimizer, states):
    for sparse, updated in ((False, 100), (True, 10)):
        net = table_net(100, optimizer=optimizer, sparse=sparse)
        moved = dse.evaluate(net, HW, Plan.parse("w8a8e8", net)).layers.set_index(["layer", "pass"])["dram_bits"]
        own = updated * 8 * (2 * 32 * (1 + states) + 8)
        assert moved["table", "optimizer"] == 10 * 8 * 32 + own


def test_a_table_that_the_classifier_reads_has_a_gradient_everywhere():
    net = table_net(100, shared=True)
    moved = dse.evaluate(net, HW, Plan.parse("w8a8e8", net)).layers.set_index(["layer", "pass"])["dram_bits"]
    assert moved["table", "optimizer"] == 100 * 8 * (32 + 32 + 32 + 8)


def test_more_passes_before_an_update_hit_more_rows():
    net = table_net(100)
    plan = Plan.parse("w8a8e8", net)
    one, many = (
        dse.evaluate(net, HW, plan, accumulate=k).layers.set_index(["layer", "pass"])["dram_bits"]["table", "optimizer"]
        for k in (1, 4)
    )
    assert many == 4 * one
