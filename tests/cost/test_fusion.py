"""Layers that run fused: what they save by hand, that they never cost more, and that nothing moves without."""

import dataclasses
import os
from itertools import product

import numpy as np
import pandas as pd
import pytest

import dse
from dse.cost.fusion.apart import Apart
from dse.cost.fusion.epilogues import fused_by_default, links_of, saved_bits, with_fusion
from dse.cost.fusion.inference.resident import StateCosts, shortest_path
from dse.cost.fusion.inference.rows import RowCost, no_worse
from dse.cost.fusion.inference.states import Chooser, Item
from dse.cost.fusion.vector import shared_buffer, vector_costs
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.steps.choices import choice_costs
from dse.cost.tensors.copies import stored_tensors
from dse.errors import InputError
from dse.export import load_design
from dse.hardware.arrays import hardware_arrays
from dse.precision import Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

RESIDUAL = """source: test
batch: 2
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: stem, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, passes: [forward, backward_weight], reads: ['']}
  - {name: stem.norm, kind: norm, G: 8, P: 8, Q: 8, input: 8, reads: [stem]}
  - {name: stem.relu, kind: activation, G: 8, P: 8, Q: 8, input: 8, reads: [stem.norm]}
  - {name: a, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, reads: [stem.relu]}
  - {name: a.norm, kind: norm, G: 8, P: 8, Q: 8, input: 8, reads: [a]}
  - {name: a.relu, kind: activation, G: 8, P: 8, Q: 8, input: 8, reads: [a.norm]}
  - {name: b, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, reads: [a.relu]}
  - {name: b.norm, kind: norm, G: 8, P: 8, Q: 8, input: 8, reads: [b]}
  - {name: sum, kind: add, G: 8, P: 8, Q: 8, input: 8, reads: [b.norm], reads_second: [stem.relu]}
  - {name: sum.relu, kind: activation, G: 8, P: 8, Q: 8, input: 8, reads: [sum]}
  - {name: pool, kind: pool, function: average, G: 8, R: 8, S: 8, input: 8, reads: [sum.relu]}
  - {name: last, kind: fc, K: 10, C: 8, reads: [pool]}
"""
#: Elements of an inner tensor for the batch.
N = 2 * 8 * 8 * 8


@pytest.fixture(scope="module")
def net():
    return network_from_document(parse_yaml(RESIDUAL, "residual.yaml"), "residual")


@pytest.fixture(scope="module")
def hw():
    return dse.load_hardware("tpu_like")


def costs(net, hw, mode, plan="w8a8e8"):
    return [dse.evaluate(net, hw, plan, mode=mode, fusion=fusion) for fusion in ("none", "vector")]


def saved(apart, fused):
    """DRAM bits saved by layer and pass."""
    both = [cost.layers.set_index(["layer", "pass"])["dram_bits"] for cost in (apart, fused)]
    return {key: value for key, value in (both[0] - both[1]).items() if value}


def test_inference_by_hand(net, hw):
    apart, fused = costs(net, hw, "inference")
    # b's result is not written and not read; the sum, which only the pool reads, neither.
    assert saved(apart, fused) == {("b", "forward"): 8 * N, ("sum", "forward"): 8 * N + 8 * N, ("pool", "forward"): 8 * N}
    groups = fused.layers.set_index("layer")["group"]
    assert list(groups[["b", "sum", "pool"]]) == ["b"] * 3
    assert groups["a"] == ""
    assert int(fused.total["fused_groups"].iloc[0]) == 1
    assert int(apart.total["fused_groups"].iloc[0]) == 0


def test_training_by_hand(net, hw):
    apart, fused = costs(net, hw, "training")
    found = saved(apart, fused)
    # Statistics are taken as a convolution writes 16 bits; its backward sums as 8 bits of error are written.
    for name in ("stem.norm", "a.norm"):
        assert found[name, "forward"] == 16 * N
    # b's norm streams into the sum: its result is neither written nor read.
    assert found["b.norm", "forward"] == 16 * N + 8 * N
    assert found["sum", "forward"] >= 8 * N
    assert found["a.norm", "backward_data"] == found["b.norm", "backward_data"] == 8 * N
    # The errors of stem's result meet as a's backward_data writes: its part is not written, and not read.
    assert found["a", "backward_data"] == 8 * N
    assert found["sum", "backward_data"] == 8 * N
    # What the backward pass needs is written: convolutions whose result a norm keeps write it.
    assert not {("stem", "forward"), ("a", "forward"), ("b", "forward")} & set(found)


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_lanes_stay_busy_and_parts_still_add_up(net, hw, mode):
    apart, fused = costs(net, hw, mode)
    assert fused.total["vector_j"].iloc[0] == apart.total["vector_j"].iloc[0]
    parts = [name for name in fused.layers if name.endswith("_j") and name != "energy_j"]
    assert fused.layers[parts].sum(axis=1).to_numpy() == pytest.approx(fused.layers["energy_j"].to_numpy(), rel=1e-9)
    assert fused.layers["energy_j"].sum() == pytest.approx(fused.total["energy_j"].iloc[0], rel=1e-12)
    lanes = hw.vector_lanes * hw.clock_hz
    work = fused.layers[fused.layers["vector_j"] > 0]
    assert (work["latency_s"] * lanes > 0).all()


def test_nothing_moves_without(net, hw):
    default = dse.evaluate(net, hw, "w8a8e8")
    none = dse.evaluate(net, hw, "w8a8e8", fusion="none")
    pd.testing.assert_frame_equal(default.total, none.total)
    pd.testing.assert_frame_equal(default.layers, none.layers)
    own = dse.evaluate(net, dataclasses.replace(hw, fusion="vector"), "w8a8e8")
    pd.testing.assert_frame_equal(own.total, dse.evaluate(net, hw, "w8a8e8", fusion="vector").total)


def test_an_unknown_word_is_told(net, hw):
    with pytest.raises(InputError, match="did you mean 'vector'"):
        dse.evaluate(net, hw, "w8a8e8", fusion="vectr")


def test_the_environment_says_it_where_nobody_else_does(net, hw, monkeypatch, dse_here, tmp_path):
    vector, none = (dse.evaluate(net, hw, "w8a8e8", fusion=fusion).total["energy_j"].iloc[0] for fusion in ("vector", "none"))
    monkeypatch.setenv("DSE_FUSION", "vector")
    assert dse.evaluate(net, hw, "w8a8e8").total["energy_j"].iloc[0] == vector
    assert dse.evaluate(net, hw, "w8a8e8", fusion="none").total["energy_j"].iloc[0] == none
    monkeypatch.setenv("DSE_FUSION", "vectr")
    with pytest.raises(InputError, match="did you mean 'vector'"):
        dse.evaluate(net, hw, "w8a8e8")
    assert "did you mean 'best'" in dse_here("reproduce", "adapt", "--fusion", "bets", cwd=tmp_path, code=2).stderr


def test_a_command_leaves_the_environment_as_it_was(monkeypatch):
    for before in (None, "vector"):
        monkeypatch.delenv("DSE_FUSION", raising=False) if before is None else monkeypatch.setenv("DSE_FUSION", before)
        with fused_by_default("best"):
            assert os.environ["DSE_FUSION"] == "best"
        assert os.environ.get("DSE_FUSION") == before


def test_a_tensor_added_to_itself(hw):
    """Both operands of the sum are one tensor: nothing parts there, so that no second error is summed."""
    text = RESIDUAL.replace("reads: [b.norm], reads_second: [stem.relu]", "reads: [b.norm], reads_second: [b.norm]")
    assert text != RESIDUAL
    net = network_from_document(parse_yaml(text, "twice.yaml"), "twice")
    energies = [dse.evaluate(net, hw, "w8a8e8", fusion=fusion).total["energy_j"].iloc[0] for fusion in ("none", "vector", "best")]
    assert energies[0] >= energies[1] >= energies[2]


def test_evaluate_prints_groups_and_layers_without_macs_by_kind(dse_here, tmp_path):
    words = ("evaluate", "fashion_resnet", "--hardware", "tpu_like", "--plan", "w8a8", "--mode", "inference", "--batch", "1")
    told = dse_here(*words, "--fusion", "resident", cwd=tmp_path).stdout
    assert "Fused groups" in told
    assert "conv1" in told[told.index("Fused groups") :]
    own = told[told.index("Layers without MACs") :]
    assert [kind for kind in ("add", "pool", "loss", "norm") if kind in own] == ["add", "pool"]
    assert "Fused groups" not in dse_here(*words, cwd=tmp_path).stdout


def test_resnet50_on_an_edge_chip_of_4_megabytes_moves_weights_input_and_output():
    """Batch 1, 8 bits: DRAM sees nothing else, whole tensors waiting in the shared memory."""
    hw, net = dse.load_hardware("tpu_like"), dse.load_workload("imagenet_resnet50").with_batch(1)
    memories = tuple(dataclasses.replace(m, size_bits=8.0 * 4 * 2**20) if m.name == "sram" else m for m in hw.memories)
    cost = dse.evaluate(net, dataclasses.replace(hw, memories=memories), "w8a8", mode="inference", fusion="resident")
    weights = sum(layer.G * layer.K * layer.C * layer.R * layer.S for layer in net.mac_layers)
    padded = 3 * 229 * 229  # what the first windows read, padding included
    assert cost.total["dram_bits"].iloc[0] == pytest.approx(8 * (weights + padded + 1000), rel=1e-12)
    apart = dse.evaluate(net, hw, "w8a8", mode="inference").total["dram_bits"].iloc[0]
    assert apart > 2 * cost.total["dram_bits"].iloc[0]


@pytest.mark.parametrize("name", ["imagenet_densenet121", "imagenet_mobilenet_v3", "gpt2_small", "llama3_8b_lora", "lstm_ptb", "unet"])
@pytest.mark.parametrize("training", [True, False])
def test_each_tensor_streams_once(name, training):
    """No tensor is left unwritten twice, none that another layer reads or keeps, and no layer reads less than nothing."""
    net = dse.load_workload(name)
    links = links_of(net, training)
    unwritten = [(link.source, link.pass_) for link in links if link.written]
    assert len(set(unwritten)) == len(unwritten)
    taken = [(link.row, link.pass_) for link in links]
    assert len(set(taken)) == len(taken)
    assert all(not net.layers[link.row].has_macs for link in links)
    assert all(link.source < link.row for link in links if link.pass_ == "forward")
    # The sum of two errors is made where the branches part, before the layer that joins them.
    back = [link for link in links if link.pass_ == "backward_data"]
    assert all((link.source < link.row) == (net.layers[link.row].kind == "add") for link in back)


@pytest.mark.parametrize("name", ["fashion_transformer", "fashion_resnet"])
@pytest.mark.parametrize("mode", ["training", "inference"])
def test_fused_is_never_worse(name, mode, hw):
    net = dse.load_workload(name)
    apart, fused = costs(net, hw, mode)
    for column in ("latency_s", "energy_j", "dram_bits"):
        ours, other = fused.layers[column].to_numpy(), apart.layers[column].to_numpy()
        assert (ours <= other * (1 + 1e-12)).all()
        assert (ours >= 0).all()
        assert ours.sum() < other.sum()


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_what_the_choice_of_formats_adds_up_is_what_a_mixed_plan_costs(net, hw, mode):
    machine = with_fusion(hw, "vector")
    choices, layers = [(4, 4), (8, 8)], net.mac_layers
    plans = [[Plan.from_bits(net, weight=w, activation=a, error=8) for w, a in choices]]
    groups = [(index,) for index in range(len(layers))]
    costs = choice_costs(net, machine, hardware_arrays(machine), plans, groups, mode)
    for picked in ([0, 1, 1, 1], [1, 1, 0, 1], [1, 0, 1, 0]):
        widths = {layer.name: choices[m][0] for layer, m in zip(layers, picked, strict=True)}
        total = dse.evaluate(net, machine, Plan.from_bits(net, widths, widths, error=8), mode=mode).total.iloc[0]
        at = np.arange(len(layers)), np.array(picked)
        assert costs.energy_j[0, 0][at].sum() == pytest.approx(total["energy_j"], rel=1e-12)
        assert costs.latency_s[0, 0][at].sum() == pytest.approx(total["latency_s"], rel=1e-12)


def test_a_search_fuses_and_its_figures_are_found_again(tmp_path):
    run = dse.explore("fashion_resnet", "tpu_like", plan="w8a8e8", trials=1, fusion="vector", out=tmp_path / "run")
    name = run.front["design"].iloc[0]
    design = load_design(f"{tmp_path / 'run'}:{name}")
    assert design.hardware.fusion == "vector"
    total = dse.evaluate(design.network, design.hardware, design.plan).total.iloc[0]
    assert total["energy_j"] == pytest.approx(run.front["energy_j"].iloc[0], rel=1e-9)
    assert total["fused_groups"] > 0


# --- resident tensors


def inference(net, hw, fusion, **given):
    return dse.evaluate(net, hw, "w8a8", mode="inference", fusion=fusion, **given)


def test_what_fits_never_sees_dram(net, hw):
    """All inner tensors of a residual network fit: weights, input and output are all that DRAM moves."""
    cost = inference(net, hw, "resident")
    weights = sum(layer.parameters for layer in net.mac_layers)
    padded = 2 * 8 * 10 * 10  # windows read their padding, here as everywhere
    expected = 8 * (weights + padded + 2 * net.layers[-1].output_elements)
    assert cost.total["dram_bits"].iloc[0] == pytest.approx(expected, rel=1e-12)
    rows = cost.layers.set_index("layer")
    assert set(rows.loc[~rows.index.str.endswith("relu"), "group"]) == {"stem"}
    assert int(cost.total["fused_groups"].iloc[0]) == 1
    parts = [name for name in rows if name.endswith("_j") and name != "energy_j"]
    assert rows[parts].sum(axis=1).to_numpy() == pytest.approx(rows["energy_j"].to_numpy(), rel=1e-9)
    assert (rows[parts] >= -1e-18).all().all()


def test_it_is_told_where_nothing_waits(net, hw):
    told = "tpu_like: no tensor waits on the chip beside recomputation; fused as 'vector'"
    assert told in dse.evaluate(net, hw, "w8a8e8", fusion="resident", recompute=True).notes
    assert told not in dse.evaluate(net, hw, "w8a8e8", fusion="resident").notes


def test_more_memory_is_never_worse_and_fused_is_never_worse(net, hw):
    """Capacities at fixed prices, from none that fits a tensor to all."""
    before = None
    for size in (4e3, 9e3, 1.7e4, 3.4e4, 1e6):
        price = {"size_bits": size, "read_pj_per_bit": 0.1, "write_pj_per_bit": 0.1}
        memories = tuple(dataclasses.replace(m, **price) if m.name == "sram" else m for m in hw.memories)
        machine = dataclasses.replace(hw, memories=memories, modelled_leakage=False)
        apart, vector, whole = (inference(net, machine, fusion).total.iloc[0] for fusion in ("none", "vector", "resident"))
        for column in ("energy_j", "latency_s", "dram_bits"):
            assert whole[column] <= vector[column] * (1 + 1e-9)
            assert vector[column] <= apart[column] * (1 + 1e-9)
            assert before is None or whole[column] <= before[column] * (1 + 1e-9)
        before = whole


@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_the_best_of_all_sets(seed):
    """Every set of resident tensors is tried: random layers, branches that keep tensors alive, a capacity."""
    random = np.random.default_rng(seed)
    rows, size = 6, 5.0
    born = [int(b) for b in random.integers(0, rows - 1, 5)]
    items = [Item(t, b, int(random.integers(b + 1, rows)), float(random.integers(1, 4))) for t, b in enumerate(born)]
    base = [RowCost(10.0 + float(random.random()), 5.0 + float(random.random()), 0.0) for _ in range(rows)]
    # More that is resident saves more in the mean, but not always.
    table = {}

    def cost(row, state):
        if not state:
            return base[row]
        less = len(state) * random.uniform(-0.3, 2.0, 2)
        return table.setdefault((row, state), RowCost(base[row].energy_pj - less[0], base[row].cycles - less[1] / 2, 0.0))

    def alive(chosen, row):
        return frozenset(item.tensor for item in chosen if item.born <= row <= item.last)

    sets = [[item for n, item in enumerate(items) if number >> n & 1] for number in range(2 ** len(items))]
    fits = [chosen for chosen in sets if all(sum(items[t].bits for t in alive(chosen, row)) <= size for row in range(rows))]
    states = [{alive(chosen, row) for chosen in fits} for row in range(rows)]
    energy, cycles = sum(row.energy_pj for row in base), sum(row.cycles for row in base)

    def value(path):
        found = [cost(row, state) for row, state in enumerate(path)]
        if any(a.energy_pj > b.energy_pj or a.cycles > b.cycles for a, b in zip(found, base, strict=True)):
            return np.inf
        return sum(item.energy_pj / energy + item.cycles / cycles for item in found)

    best = min(value([alive(chosen, row) for row in range(rows)]) for chosen in fits)
    assert value([part.state for part in shortest_path(states, base, cost, items)]) == pytest.approx(best, rel=1e-12)


# --- bounds of a search that chooses formats with what is resident


def every_set(net, hw, plan):
    """Energy (J) and latency (s) of a plan with each set of resident tensors that fits, none worse for any layer."""
    arrays = hardware_arrays(hw)
    stored = stored_tensors(net, plan, False)
    work = network_jobs(net, hw, [plan], "inference", [stored])
    jobs = best_jobs(hw, arrays, work.jobs)
    saved = saved_bits(net, [plan], "inference", [stored])
    vector = vector_costs(net, hw, arrays, [plan], "inference", [stored], saved)
    m = int(shared_buffer(hw, arrays)[0])
    chooser = Chooser(net, hw, plan, stored, work, 0, hw.memories[m].roles)
    priced = StateCosts(Apart(net, hw, arrays, [plan], [stored], work, jobs, vector, saved.written), chooser, 0, m)
    base = priced.base
    for number in range(2 ** len(chooser.items)):
        chosen = [item for k, item in enumerate(chooser.items) if number >> k & 1]
        path = [frozenset(i.tensor for i in chosen if i.born <= row <= i.last) for row in range(len(net.layers))]
        if not all(state in here for state, here in zip(path, priced.states, strict=True)):
            continue
        rows = [priced.cost(row, state) for row, state in enumerate(path)]
        if any(no_worse(row, own) is own and state for row, own, state in zip(rows, base, path, strict=True)):
            continue
        written = [row for row in range(len(rows)) if row not in {item.born for item in chosen}]
        energy = sum(row.energy_pj for row in rows) + stored.as_read_bits[written].sum() * arrays.write_pj_per_bit[0, -1]
        yield energy * 1e-12, sum(row.cycles for row in rows) / float(arrays.clock_hz[0])


@pytest.mark.parametrize("size", [1.9e4, 1e6])
def test_no_map_with_any_set_of_resident_tensors_is_below_the_bound(net, hw, size):
    price = {"size_bits": size, "read_pj_per_bit": 0.1, "write_pj_per_bit": 0.12}
    memories = tuple(dataclasses.replace(m, **price) if m.name == "sram" else m for m in hw.memories)
    machine = with_fusion(dataclasses.replace(hw, memories=memories, modelled_leakage=False), "resident")
    choices = [(4, 4), (8, 8)]
    groups = [(index,) for index in range(len(net.mac_layers))]
    plans = [[Plan.from_bits(net, weight=w, activation=a, error=8) for w, a in choices]]
    costs = choice_costs(net, machine, hardware_arrays(machine), plans, groups, "inference")
    names = [layer.name for layer in net.mac_layers]
    sets, reached = 0, 0.0
    for picked in product(range(len(choices)), repeat=len(groups)):
        widths = {name: choices[m][0] for name, m in zip(names, picked, strict=True)}
        plan = Plan.from_bits(net, widths, widths, error=8)
        at = np.arange(len(groups)), np.array(picked)
        low = [table[0, 0][at].sum() for table in (costs.least_energy_j, costs.least_latency_s)]
        high = [table[0, 0][at].sum() for table in (costs.energy_j, costs.latency_s)]
        found_sets = np.array(list(every_set(net, machine, plan)))
        # Converting to a format and rounding cost the same whatever waits where.
        found_sets += np.array(high) - found_sets[0]
        for found in found_sets:
            assert all(least <= value * (1 + 1e-12) for least, value in zip(low, found, strict=True))
            assert all(value <= most * (1 + 1e-12) for value, most in zip(found, high, strict=True))
            sets, reached = sets + 1, max(reached, low[0] / found[0])
    assert sets > 2 ** len(groups)
    # The bound is no empty one: where all fits it is within a few percent of what is reached.
    assert size < 1e6 or reached > 0.97
