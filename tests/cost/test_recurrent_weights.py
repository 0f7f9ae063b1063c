"""Weights of a recurrent layer that fit stay on the chip over its time steps; those that do not come again in each."""

import pandas as pd
import pytest

import dse
from dse.cost.mapped.explicit import evaluate_mapping_file, save_best_mappings
from dse.hardware.from_file.load import hardware_from_document
from dse.precision import Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: {batch}
samples: 8
epochs: 1
optimizer: sgd
input: {{tokens: {steps}, C: 16}}
layers:
  - {{op: lstm, name: r, K: 32}}
"""
HW = """name: one_buffer
description: one buffer that all operands share
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 8, forward: [C], backward_data: [K], backward_weight: [N, P, Q]}
    cols: {size: 8, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  buffer: {source: made up, kind: sram, size_bits: {values: [16_384, 32_768, 1_048_576], default: 1_048_576}}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 64}
"""
HARDWARE = hardware_from_document(parse_yaml(HW, "one_buffer.yaml"))
SIZE = "memories.buffer.size_bits"
#: Of the product with the state, eight bits each.
WEIGHTS = 4 * 32 * 32 * 8


def network(steps, batch=1):
    return network_from_document(parse_yaml(TEXT.format(steps=steps, batch=batch), "net.yaml"), "net")


def layers(steps, size=1_048_576, batch=1, mode="inference"):
    net = network(steps, batch)
    cost = dse.evaluate(net, HARDWARE, Plan.parse("w8a8e8", net), pd.DataFrame({SIZE: [float(size)]}), mode=mode)
    return cost.layers.set_index(["layer", "pass"])


@pytest.mark.parametrize("steps", [1, 5, 40])
@pytest.mark.parametrize("batch", [1, 3])
def test_weights_that_fit_come_once(steps, batch):
    row = layers(steps, batch=batch).loc["r.recurrent", "forward"]
    # Weights once; in every step the state is read and the new one written.
    assert row["dram_bits"] == pytest.approx(WEIGHTS + steps * batch * (32 + 32) * 8)
    assert row["macs"] == steps * batch * 4 * 32 * 32


def test_weights_that_do_not_fit_come_in_every_step():
    row = layers(40, size=16_384).loc["r.recurrent", "forward"]
    assert row["dram_bits"] >= 40 * WEIGHTS


def test_backward_passes_keep_them_too_and_the_gradient_is_made_at_once():
    rows = layers(40, mode="training")
    # The error of the sums is read and that of the state written.
    assert rows.loc[("r.recurrent", "backward_data"), "dram_bits"] == pytest.approx(WEIGHTS + 40 * (4 * 32 + 32) * 8)
    assert rows.loc[("r.recurrent", "backward_weight"), "dram_bits"] < 40 * WEIGHTS


def test_time_steps_run_one_after_the_other():
    """64 elements with one token: no step takes less than its products on all of them, and steps add up."""
    one, many = (layers(steps).loc["r.recurrent", "forward"] for steps in (1, 30))
    cycles = 30 * 4 * 32 * 32 / 64
    assert many["latency_s"] >= cycles / HARDWARE.clock_hz
    assert many["latency_s"] <= 30 * one["latency_s"] * (1 + 1e-12)


def test_more_room_and_more_steps_are_no_worse_for_each():
    net = network(20)
    sizes = pd.DataFrame({SIZE: [16_384.0, 32_768.0, 1_048_576.0]})
    for objective, column in (("energy", "energy_j"), ("latency", "latency_s")):
        cost = dse.evaluate(
            net, HARDWARE, Plan.parse("w8a8e8", net), sizes, mode="inference", mapping_objective=objective
        )
        rows = cost.layers[cost.layers["layer"] == "r.recurrent"].set_index("design")
        if column == "latency_s":
            assert rows[column].is_monotonic_decreasing
        assert rows.loc[2, "dram_bits"] < rows.loc[0, "dram_bits"]
    each = [layers(steps).loc["r.recurrent", "forward"]["energy_j"].item() / steps for steps in (1, 4, 16)]
    assert each == sorted(each, reverse=True)


def test_components_add_up_with_the_load():
    rows = layers(12, mode="training")
    parts = [name for name in rows if name.endswith("_j") and name != "energy_j"]
    assert rows[parts].sum(axis=1).to_numpy() == pytest.approx(rows["energy_j"].to_numpy())


CELL = """name: cell
source: made up
batch: 1
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: a, kind: fc, N: 1, K: 64, C: 64, repeats: 20}
  - {name: b, kind: fc, N: 1, K: 64, C: 32, repeats: 20}
"""


def test_layers_that_take_turns_stay_beside_each_other():
    """32,768 and 16,384 bits: both fit into 1 Mbit, and neither into 32,768 bits beside the other."""
    net = network_from_document(parse_yaml(CELL, "cell.yaml"), "cell")
    sizes = pd.DataFrame({SIZE: [1_048_576.0, 32_768.0]})
    rows = dse.evaluate(net, HARDWARE, Plan.parse("w8a8", net), sizes, mode="inference").layers
    bits = rows.set_index(["design", "layer"])["dram_bits"]
    assert bits[0, "a"] == pytest.approx(64 * 64 * 8 + 20 * (64 + 64) * 8)
    assert bits[0, "b"] == pytest.approx(64 * 32 * 8 + 20 * (32 + 64) * 8)
    assert bits[1, "a"] >= 20 * 64 * 64 * 8
    assert bits[1, "b"] >= 20 * 64 * 32 * 8


@pytest.mark.parametrize("name", ["flex_trainer", "nvdla_like"])
def test_saved_mappings_cost_what_they_were_found_at(name, tmp_path):
    """Also where an operand lies in several shared memories (nvdla_like)."""
    net, hardware = network(12), dse.load_hardware(name)
    plan = Plan.parse("w8a8", net)
    save_best_mappings(net, hardware, plan, tmp_path / "maps.yaml", "inference")
    given = evaluate_mapping_file(net, hardware, plan, tmp_path / "maps.yaml", "inference")
    row = given.layers.set_index("layer").loc["r.recurrent"]
    best = dse.evaluate(net, hardware, plan, mode="inference").layers.set_index("layer").loc["r.recurrent"]
    assert row["latency_s"] * 12 == pytest.approx(best["latency_s"])
    dram = given.counts[
        (given.counts["layer"] == "r.recurrent") & (given.counts["memory"] == hardware.memories[-1].name)
    ]
    assert dram["moved_bits"].sum() * 12 == pytest.approx(best["dram_bits"])
    assert best["dram_bits"] == pytest.approx(WEIGHTS + 12 * (32 + 32) * 8)
