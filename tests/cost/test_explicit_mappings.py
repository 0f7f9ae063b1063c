"""Mappings of a file on a hardware: figures by hand, the same figures as the search's, and every problem named."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.explicit import (
    best_mappings,
    evaluate_mapping_file,
    evaluate_mappings,
    save_best_mappings,
)
from dse.cost.mapped.table_jobs import cost_jobs
from dse.hardware.arrays import hardware_arrays
from dse.mapping.explicit.text import load_mapping, parse_mapping
from dse.names import PASSES
from dse.precision import Plan

NETWORK = """
source: made up
batch: 2
samples: 100
epochs: 1
optimizer: sgd
input: {C: 8, H: 6, W: 4}
layers:
  - {op: conv, name: conv, K: 6, R: 3, pad: 1}
  - {op: conv, name: half, K: 12, R: 1, stride: 2}
  - {op: conv, name: deep, K: 12, R: 3, stride: 2, pad: 1}
  - {op: fc, name: fc, K: 5}
  - {op: loss, name: loss}
"""
TOY = """
name: toy
description: two by two elements with registers, a buffer and DRAM
source: made up
node_nm: 45
clock_hz: 1_000_000
array:
  source: made up
  axes:
    rows: {size: 2, forward: [C], backward_data: [K], backward_weight: [N]}
    cols: {size: 2, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 24, energy_pj_per_mac: 2.0}
memories:
  registers: {source: x, kind: register, holds: [weight], shared_along: [], size_bits: 64,
              read_pj_per_bit: 0.5, write_pj_per_bit: 0.25}
  buffer: {source: x, kind: sram, holds: [weight, activation, accumulator], size_bits: 4096, bandwidth_bits_per_cycle: 64,
           read_pj_per_bit: 1.0, write_pj_per_bit: 2.0}
  dram: {source: x, kind: dram, bandwidth_bits_per_cycle: 16, read_pj_per_bit: 10.0, write_pj_per_bit: 20.0}
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "small.yaml"
    path.write_text(NETWORK)
    return dse.load_workload(str(path))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("hw") / "toy.yaml"
    path.write_text(TOY)
    return dse.load_hardware(str(path))


def test_a_matrix_product_by_hand(net, toy):
    """fc: 2 samples, 5 outputs, 24 inputs on 2 x 2 elements.

    Steps: 2 samples x 3 of K x 12 of C = 72. One weight stays in a register for both samples: 120 weights are written once into
    the registers and read when they change; K2@cols shares an activation, so the buffer is read 2 x 24 x 3 times for 5 outputs in
    three groups; sums are added over C2@rows first: 2 x 5 x 12 additions of 24 bits, of which 10 start anew.
    """
    mapping = parse_mapping("dram[WAO] - buffer[WAO] C12 K3 C2@rows K2@cols - registers[W] N2")
    plan = Plan.parse("w8a8e8", net)
    costs = evaluate_mappings(net, toy, plan, {"fc": mapping})
    (row,) = costs.layers.to_dict("records")
    of = {(x["memory"], x["role"]): x for x in costs.counts.to_dict("records")}
    assert (row["layer"], row["pass"], row["macs"], row["pes"]) == ("fc", "forward", 240, 4)
    assert row["compute_cycles"] == 72
    sides = ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent")
    assert [of["registers", "weight"][s] for s in sides] == [120, 0, 120, 0]
    assert [of["buffer", "weight"][s] for s in sides] == [120, 0, 120, 0]
    assert [of["buffer", "activation"][s] for s in sides] == [2 * 24 * 3, 0, 2 * 24, 0]
    assert [of["buffer", "accumulator"][s] for s in sides] == [120 - 10, 120, 0, 10]
    assert [of["dram", "accumulator"][s] for s in sides] == [0, 10, 0, 0]
    buffer = 8 * (120 + 144) + 24 * 110, 8 * (120 + 48) + 24 * 120, 8 * 10
    dram = 8 * (120 + 48), 8 * 10
    assert row["buffer_cycles"] == sum(buffer) / 64
    assert row["dram_cycles"] == sum(dram) / 16
    assert row["cycles"] == max(72, sum(buffer) / 64, sum(dram) / 16)
    assert row["bound"] == "buffer"
    assert row["mac_pj"] == 480
    assert row["registers_pj"] == 8 * 120 * 0.75
    assert row["buffer_pj"] == buffer[0] + 2 * buffer[1] + buffer[2]
    assert row["dram_pj"] == 10 * dram[0] + 20 * dram[1]
    # the first weight of each register and all inputs of the buffer arrive first; ten results leave last
    assert row["fill_cycles"] == 8 * (120 + 48) / 16 + 8 * 4 / 64
    assert row["drain_cycles"] == 24 * 10 / 16


@pytest.mark.parametrize("hardware", ["tpu_like", "gemmini", "eyeriss", "bit_fusion", "flex_trainer"])
@pytest.mark.parametrize("plan_name", ["w8a8e8", "w3a5e6", "weight=int8,activation=int4,accumulator=int12,result=bf16"])
def test_best_mapping_read_back_costs_what_the_search_says(net, tmp_path, hardware, plan_name):
    """Loops alone, counted and priced anew, give each pass the energy and the cycles of `dse.evaluate`."""
    hw, plan = dse.load_hardware(hardware), Plan.parse(plan_name, net)
    path = tmp_path / "best.yaml"
    save_best_mappings(net, hw, plan, path)
    read = load_mapping(path)
    assert list(read) == list(best_mappings(net, hw, plan))
    got = evaluate_mapping_file(net, hw, plan, path).layers
    work = network_jobs(net, hw, [plan])
    costs = cost_jobs(hw, hardware_arrays(hw, None), work.jobs)
    order = [layer.name for layer in net.mac_layers]
    place = [(order.index(l), PASSES.index(p)) for l, p in zip(got["layer"], got["pass"], strict=True)]
    assert len(place) == (work.job[0] >= 0).sum() == 11
    jobs = [int(work.job[0, l, p, 0]) for l, p in place]
    np.testing.assert_allclose(got["energy_pj"], costs.energy_pj[0, jobs], rtol=1e-12)
    np.testing.assert_allclose(got["cycles"], costs.cycles[0, jobs], rtol=1e-12)
    for k, name in enumerate(costs.components):
        np.testing.assert_allclose(got[f"{name}_pj"], costs.components_pj[0, jobs, k], rtol=1e-12, atol=1e-9)


def test_evaluate_prints_the_same_figures(net):
    """`dse.evaluate` itself, where nothing but mappings costs: inference of the layers with MACs at one width."""
    hw, plan = dse.load_hardware("tpu_like"), Plan.parse("w8a8e8", net)
    layers = dse.evaluate(net, hw, plan, mode="inference").layers.set_index("layer")
    got = evaluate_mappings(net, hw, plan, best_mappings(net, hw, plan, "inference"), "inference").layers.set_index("layer")
    assert len(got) == 4
    for name, row in got.iterrows():
        for part in ("mac", "weight_register", "accumulator_register", "sram", "dram", "leakage"):
            assert row[f"{part}_pj"] * 1e-12 == pytest.approx(layers.loc[name, f"{part}_j"], rel=1e-12), (name, part)
        assert row["latency_s"] == pytest.approx(layers.loc[name, "latency_s"], rel=1e-12)
        assert row["bound"] == layers.loc[name, "bound"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dram[WAO] - bufer[WAO] C12 K3 N2 C2@rows K2@cols", ["no memory 'bufer'", "did you mean 'buffer'"]),
        ("dram[WAO] C12 K3 C2@rows K2@cols - registers[WA] N2", ["does not hold the activation role"]),
        ("dram[WAO] - buffer[WAO] C10 K3 N2 C2@rows K2@cols", ["extents of C multiply to 20, the layer has 24"]),
        ("dram[WAO] - buffer[WAO] C12 K5 N2 C2@lines", ["axis 'lines' is unknown"]),
        ("dram[WAO] - buffer[WAO] K3 N2 C12@rows C2 K2@cols", ["12 iterations are unrolled along axis 'rows' of 2 PEs"]),
        ("dram[WAO] - buffer[WAO] C24 K3 N2 K2@rows", ["axis 'rows' takes C in the forward pass, found K"]),
        ("dram[WAO] - buffer[WAO] - registers[W] C12 K3 N2 C2@rows K2@cols", ["has to stand outside of 'registers'"]),
        ("dram[WAO] C2@rows - buffer[WAO] C12 K3 N2 K2@cols", ["has to stand inside of 'buffer'"]),
        ("dram[WAO]/rows,cols - registers[W]/rows C12 K3 N2 C2@rows K2@cols", ["'registers' is shared along no axis, found rows"]),
        ("dram[WAO] - registers[W]/ C12 K3 - buffer[WAO] N2 C2@rows K2@cols", ["smaller tile than a level below"]),
        ("dram[WAO] - registers[W]/ C12 K5 - buffer[AO] N2 C2@rows", ["'registers' need 480 bits, 416 more"]),
        ("buffer[WAO] C12 K3 N2 C2@rows K2@cols", ["the outermost level has to be 'dram'"]),
    ],
)  # fmt: skip
def test_what_does_not_suit_the_hardware_is_named(net, toy, text, words):
    with pytest.raises(dse.InputError) as caught:
        evaluate_mappings(net, toy, Plan.parse("w8a8e8", net), {"fc": parse_mapping(text)})
    for word in words:
        assert word in str(caught.value)


def test_all_problems_at_once(net, toy):
    good = parse_mapping("dram[WAO] - buffer[WAO] C12 K3 N2 C2@rows K2@cols")
    plan = Plan.parse("w8a8e8", net)
    with pytest.raises(dse.InputError) as caught:
        evaluate_mappings(net, toy, plan, {"fx": good, "fc": good, "fc.forward": good, "conv": good})
    assert len(caught.value.problems) >= 4
    assert "fx: no layer has this name" in str(caught.value)
    assert "the forward pass of this layer has two mappings" in str(caught.value)
    with pytest.raises(dse.InputError, match="does not multiply integers of 16"):
        evaluate_mappings(net, toy, Plan.parse("w16a16e16", net), {"fc": good})


def test_a_bypassed_buffer_is_read_from_dram(net, toy):
    plan = Plan.parse("w8a8e8", net)
    both = {"held": "buffer[WAO] C12 K3 N2", "bypassed": "buffer[AO] C12 K3 N2"}
    rows = {
        name: evaluate_mappings(net, toy, plan, {"fc": parse_mapping(f"dram[WAO] - {text} C2@rows K2@cols")})
        for name, text in both.items()
    }
    reads = {
        name: int(x.counts.query("memory == 'dram' and role == 'weight'")["reads_to_child"].iloc[0]) for name, x in rows.items()
    }
    assert reads == {"held": 120, "bypassed": 120}  # N2 is innermost, so that each weight is fetched once in both
    assert set(rows["bypassed"].counts.query("memory == 'buffer'")["role"]) == {"activation", "accumulator"}


def test_command_line_writes_and_reads_mappings(dse_here, tmp_path):
    (tmp_path / "small.yaml").write_text(NETWORK)
    (tmp_path / "toy.yaml").write_text(TOY)

    def run(*args, code=0):
        return dse_here("evaluate", "small.yaml", "--hardware", "toy.yaml", *args, cwd=tmp_path, code=code)

    run("--save-mapping", "best.yaml")
    assert (tmp_path / "best.yaml").read_text().count("dram[WAO]") == 11
    tables = run("--mapping", "best.yaml").stdout
    for word in ("Cycles", "Energy by component", "Traffic", "conv.forward: dram[WAO]", "backward_weight"):
        assert word in tables
    data = json.loads(run("--mapping", "best.yaml", "--json").stdout)
    assert len(data["layers"]) == 11
    assert data["counts"][0]["memory"] == "registers"
    again = json.loads(run("--json").stdout)["layers"]
    known = {(x["layer"], x["pass"]): x for x in again}
    for row in data["layers"]:
        assert row["dram_pj"] * 1e-12 <= known[row["layer"], row["pass"]]["dram_j"] * (1 + 1e-12)
    (tmp_path / "bad.yaml").write_text("fc: dram[WAO] K2\nfcc: dram[WAO] K2\n")
    assert "did you mean 'fc'" in run("--mapping", "bad.yaml", code=2).stderr
    for option in (["--save-mapping", "x.yaml"], ["--recompute"], ["--accumulate", "2"], ["--map-updates", "1"]):
        assert f"{option[0]}: goes with a whole step" in run("--mapping", "best.yaml", *option, code=2).stderr
    assert not (tmp_path / "x.yaml").exists()
