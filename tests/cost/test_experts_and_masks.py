"""Experts, attention windows and causal masks: what is counted is what is priced."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.cost.jobs.network import layer_runs, network_jobs
from dse.cost.mapped.explicit import best_mappings, evaluate_mappings
from dse.precision import Plan
from dse.shipped import shipped_names
from dse.workload.load import network_from_document
from dse.workload.model import Layer, Mask, Network
from dse.workload.work.statistics import network_statistics
from dse.yaml_input import parse_yaml

HEAD = "source: made up\nbatch: {batch}\nsamples: 8\nepochs: 1\noptimizer: adam\ninput: {{tokens: {tokens}, C: {C}}}\nlayers:\n"
MOE = """
  - op: moe
    name: moe
    experts: {experts}
    active: {active}
    routing: {routing}
    main:
      - {{op: linear, name: up, K: 24}}
      - {{op: linear, name: down, K: 8}}
"""


def mixture(tokens, experts, active, batch=1, channels=8, routing="uniform"):
    text = HEAD.format(batch=batch, tokens=tokens, C=channels) + MOE.format(
        experts=experts, active=active, routing=routing
    )
    return network_from_document(parse_yaml(text, "m"), "m")


def attention(keys, tokens=12, batch=1):
    text = HEAD.format(batch=batch, tokens=tokens, C=16) + f"  - {{op: attention, name: a, heads: 4, {keys}}}\n"
    return network_from_document(parse_yaml(text, "a"), "a")


def priced_macs(network, mode="inference", causal_skip=False):
    hardware = replace(dse.load_hardware("tpu_like"), causal_skip=causal_skip)
    work = network_jobs(network, hardware, [Plan.parse("w8a8e8", network)], mode)
    nests, jobs = work.jobs.nests, work.jobs
    return sum(
        run.times * prod(nests[int(jobs.nest[run.job])].dims) * jobs.kept[run.job] for run in layer_runs(network, work)
    )


def test_tokens_are_not_rounded_up_to_experts():
    """5 tokens, 2 of 8 experts each, 64 -> 256 -> 64: 5 x 2 x (64 x 256 + 256 x 64) MACs, and the router's 5 x 64 x 8."""
    text = HEAD.format(batch=1, tokens=5, C=64) + MOE.format(experts=8, active=2, routing="uniform")
    network = network_from_document(parse_yaml(text.replace("24", "256").replace("K: 8", "K: 64"), "m"), "m")
    experts = sum(layer.macs for layer in network.layers if layer.experts)
    assert experts == 327_680
    assert network.macs == experts + 5 * 64 * 8
    cost = dse.evaluate(network, dse.load_hardware("tpu_like"), Plan.parse("w8a8e8", network), mode="inference")
    assert cost.total["macs"].iloc[0] == network.macs
    assert cost.layers.set_index("layer")["macs"]["moe.up"] == 5 * 2 * 64 * 256


def test_experts_that_uniform_tokens_hit_equal_the_enumeration():
    """Every way in which three tokens can take two of four experts each, all alike likely."""
    from itertools import combinations, product

    ways = list(product(combinations(range(4), 2), repeat=3))
    mean = sum(len(set().union(*map(set, way))) for way in ways) / len(ways)
    layer = Layer("e", "fc", N=3, G=2, K=5, C=7, experts=4)
    hit = sum(dims[1] * times for dims, times in layer.nests("forward", 1))
    assert hit == pytest.approx(mean, rel=1e-12)
    assert hit == pytest.approx(4 * (1 - 0.5**3), rel=1e-12)


@given(
    st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.sampled_from(["uniform", "worst"])
)
def test_nests_of_a_mixture_hold_every_token_and_every_expert_that_is_hit(tokens, experts, active, batch, routing):
    active = min(active, experts)
    layer = Layer("e", "fc", N=tokens, G=active, K=3, C=2, experts=experts, routing=routing)
    for pass_ in layer.passes:
        nests = layer.nests(pass_, batch)
        assert sum(prod(dims) * times for dims, times in nests) == pytest.approx(layer.macs * batch, rel=1e-12)
        hit = sum(dims[1] * times for dims, times in nests)
        most = min(experts, tokens * batch * active)
        expected = most if routing == "worst" else experts * (1 - (1 - active / experts) ** (tokens * batch))
        assert hit == pytest.approx(expected, rel=1e-8)
        assert active * (1 - 1e-9) <= hit <= most * (1 + 1e-9)


@settings(max_examples=15)
@given(
    st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.sampled_from(["training", "inference"])
)
def test_macs_of_a_random_mixture_are_those_that_are_priced(tokens, experts, active, batch, mode):
    network = mixture(tokens, experts, min(active, experts), batch)
    runs = sum(layer.macs * (len(layer.passes) if mode == "training" else 1) for layer in network.mac_layers)
    assert priced_macs(network, mode) == pytest.approx(runs * batch, rel=1e-12)
    work = network_jobs(network, dse.load_hardware("tpu_like"), [Plan.parse("w8a4e8", network)], mode)
    assert work.macs.sum() == pytest.approx(runs * batch, rel=1e-12)


@pytest.mark.parametrize("name", shipped_names("workloads"))
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_of_shipped_networks_are_those_that_are_priced(name, batch):
    network = dse.load_workload(name).with_batch(batch)
    for mode in ("training", "inference"):
        runs = sum(layer.macs * (len(layer.passes) if mode == "training" else 1) for layer in network.mac_layers)
        assert priced_macs(network, mode) == pytest.approx(runs * batch, rel=1e-12)


def test_decode_reads_the_experts_that_are_hit():
    """One expert's weights are 2 x 8 x 24 = 384 elements of 8 bits; on one token two experts, on sixteen nearly all of eight."""
    bits = {}
    for batch in (1, 4, 16):
        network = mixture(1, 8, 2, batch)
        hardware = dse.load_hardware("tpu_like")
        layers = dse.evaluate(network, hardware, Plan.parse("w8a8e8", network), mode="inference").layers
        table = network_statistics(network).set_index("layer")
        hit = 8 * (1 - 0.75**batch)
        moved = 2 * batch * (8 + 24) + hit * 8 * 24
        assert table.loc["moe.up", "intensity"] == pytest.approx(2 * batch * 8 * 24 / moved, rel=1e-9)
        bits[batch] = layers[layers["layer"] == "moe.up"]["dram_bits"].iloc[0]
        assert bits[batch] == pytest.approx(8 * moved, rel=1e-9)
    worst = mixture(1, 8, 2, 4, routing="worst")
    assert sum(n.dims[1] * n.times for n in worst.mac_layers[1].nests("forward", 4)) == 8


def test_nests_of_a_mixture_are_mappings_of_their_own(tmp_path):
    network, hardware = mixture(5, 8, 2), dse.load_hardware("tpu_like")
    plan = Plan.parse("w8a8e8", network)
    mappings = best_mappings(network, hardware, plan, "inference")
    assert [name for name in mappings if name.startswith("moe.up")] == [
        "moe.up.forward",
        "moe.up.forward.2",
        "moe.up.forward.3",
        "moe.up.forward.4",
    ]
    priced = evaluate_mappings(network, hardware, plan, mappings, "inference").layers
    layers = dse.evaluate(network, hardware, plan, mode="inference").layers
    for name in ("moe.up", "moe.down", "moe.gate"):
        of = priced[priced["layer"] == name]
        whole = layers[layers["layer"] == name].iloc[0]
        assert (of["macs"] * of["times"]).sum() == pytest.approx(whole["macs"], rel=1e-12)
        assert (of["latency_s"] * of["times"]).sum() == pytest.approx(whole["latency_s"], rel=1e-12)


def test_shared_experts_are_a_branch_beside_the_mixture():
    """DeepSeekMoE (Dai et al., arXiv 2401.06066): one expert for every token beside 2 of 8."""
    text = HEAD.format(batch=1, tokens=5, C=8) + (
        "  - op: residual\n    name: sum\n    main:\n"
        "      - {op: moe, name: moe, experts: 8, active: 2, main: [{op: linear, name: up, K: 24}, {op: linear, name: down, K: 8}]}\n"
        "    shortcut: [{op: linear, name: shared.up, K: 24}, {op: linear, name: shared.down, K: 8}]\n"
    )
    network = network_from_document(parse_yaml(text, "m"), "m")
    assert network.macs == 5 * 8 * 8 + 5 * 3 * 2 * 8 * 24
    assert network.parameters == 8 * 8 + 9 * 2 * 8 * 24


def test_window_and_cache_by_hand():
    """12 queries, windows of 4 keys; then one query of a cache of 100 with windows of 10."""
    layers = {layer.name: layer for layer in attention("window: 4, causal: true").layers}
    scores, context = layers["a.scores"], layers["a.context"]
    assert scores.mask == Mask("K", 12, 4, True)
    assert scores.macs == context.macs == 4 * 12 * 4 * 4
    assert layers["a.softmax"].output_elements == scores.output_elements == context.input_elements == 4 * 12 * 4
    assert scores.second_elements == context.second_elements == 12 * 16
    # Three blocks of four queries read four keys each: every key once.
    assert scores.nests("forward", 2) == (((4, 4 * 2 * 3, 4, 4, 1, 1, 1, 1), 1.0),)
    decode = {layer.name: layer for layer in attention("window: 10, past: 100, causal: true", tokens=1).layers}
    assert decode["a.scores"].second_elements == 10 * 16
    assert decode["a.scores"].macs == 4 * 10 * 4
    assert decode["a.scores"].mask.causal_share(10) == 1.0


@given(st.integers(1, 30), st.integers(0, 20), st.integers(0, 40), st.integers(1, 3))
def test_masks_keep_what_a_loop_over_queries_and_keys_keeps(queries, past, window, batch):
    keys = (min(past, window - 1) if window else past) + queries
    mask = Mask("C", queries, window if window < keys else 0, True)
    met = [min(past + i + 1, window or past + queries) for i in range(queries)]
    assert mask.causal_share(keys) * queries * mask.met(keys) == pytest.approx(sum(met), rel=1e-12)
    layer = Layer("a", "matmul", N=3 * queries, G=2, K=5, C=keys, mask=mask)
    nests = layer.nests("forward", batch)
    assert sum(prod(dims) * times for dims, times in nests) == layer.macs * batch
    read = sum(dims[1] * dims[2] * dims[3] for dims, _ in nests) / (2 * batch * 5)
    assert 2 / 3 * keys <= read <= 4 / 3 * keys or keys <= 2 or queries == 1


def test_causal_products_are_skipped_where_the_hardware_can():
    """12 queries of 12 keys: 78 of 144 products remain; weights, softmax and the tensors in DRAM stay the same."""
    network = attention("causal: true")
    dense = dse.load_hardware("tpu_like")
    skipping = replace(dense, causal_skip=True)
    plan = Plan.parse("w8a8e8", network)
    full, half = (dse.evaluate(network, hw, plan, mode="training") for hw in (dense, skipping))
    share = 78 / 144
    products = {"a.scores", "a.context"}
    expected = sum(x.macs * len(x.passes) * (share if x.name in products else 1.0) for x in network.mac_layers)
    assert half.total["macs"].iloc[0] == pytest.approx(expected, rel=1e-12)
    assert full.total["macs"].iloc[0] == sum(x.macs * len(x.passes) for x in network.mac_layers)
    a, b = full.layers.set_index(["layer", "pass"]), half.layers.set_index(["layer", "pass"])
    for key in a.index:
        ratio = share if key[0] in products and key[1] != "optimizer" else 1.0
        assert b.loc[key, "mac_j"] == pytest.approx(a.loc[key, "mac_j"] * ratio, rel=1e-12)
        assert b.loc[key, "bitops"] == pytest.approx(a.loc[key, "bitops"] * ratio, rel=1e-12)
        assert b.loc[key, "dram_bits"] == pytest.approx(a.loc[key, "dram_bits"], rel=0.3)
        assert b.loc[key, "energy_j"] <= a.loc[key, "energy_j"] * (1 + 1e-12)
    assert priced_macs(network, "training", True) == pytest.approx(expected, rel=1e-12)
    mappings = best_mappings(network, skipping, plan, "inference")
    priced = evaluate_mappings(network, skipping, plan, mappings, "inference").layers.set_index("layer")
    again = dse.evaluate(network, skipping, plan, mode="inference").layers.set_index("layer")
    np.testing.assert_allclose(priced.loc[sorted(products), "latency_s"], again.loc[sorted(products), "latency_s"], rtol=1e-12)
    np.testing.assert_allclose(priced.loc[sorted(products), "mac_pj"] * 1e-12, again.loc[sorted(products), "mac_j"], rtol=1e-12)


def test_round_trip_of_masks_and_experts():
    from dse.workload.model import network_text

    for network in (mixture(5, 8, 2, routing="worst"), attention("window: 5, causal: true"), attention("window: 5")):
        again = network_from_document(parse_yaml(network_text(network), network.path), network.name)
        assert again == network
    assert isinstance(network, Network)


def test_matrices_of_masked_products_hold_the_scores_that_there_are():
    """A window of 5 of 12 keys: 4 heads of 12 x 5 scores, whichever side reads them."""
    from dse.cost.tensors.storage import input_matrix, output_matrix

    layers = {layer.name: layer for layer in attention("window: 5").layers}
    for matrix in (output_matrix(layers["a.scores"], 2), input_matrix(layers["a.context"], 2)):
        assert matrix.stack * matrix.rows * matrix.columns == 2 * 4 * 12 * 5
