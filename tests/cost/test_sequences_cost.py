"""What sequences, transposed convolutions, experts, caches and adapters cost: nests, operands and parameters of the model."""

import pytest

import dse
from dse.cost.jobs.network import nest_of, roles_of
from dse.workload import Layer, Network
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

HEAD = "source: test\nbatch: 2\nsamples: 10\nepochs: 1\noptimizer: adam\n"


def one(layer, batch=1):
    return Network("net", "a test", (layer,), batch=batch, samples=batch, epochs=1)


def cost(network, mode="inference", **formats):
    plan = dse.Plan.uniform(network, **{"weight": "int8", "activation": "int8", "error": "int8", **formats})
    return dse.evaluate(network, dse.load_hardware("flex_trainer"), plan, mode=mode)


def test_a_transposed_convolution_costs_what_its_mirror_does_backwards():
    mirror = Layer("m", "conv", K=8, C=4, P=6, Q=6, R=2, S=2, stride=(2, 2), input_hw=(12, 12))
    turned = Layer("m", "conv", K=8, C=4, P=6, Q=6, R=2, S=2, stride=(2, 2), input_hw=(12, 12), transposed=True)
    assert nest_of(turned, "forward", 3) == nest_of(mirror, "backward_data", 3)
    assert nest_of(turned, "backward_data", 3) == nest_of(mirror, "forward", 3)
    assert nest_of(turned, "backward_weight", 3) == nest_of(mirror, "backward_weight", 3)
    # Its input is the mirror's error: the roles of both change places, the gradient stays.
    assert roles_of(turned, "backward_weight") == ("stash", "error", "gradient")
    assert roles_of(turned, "forward") == roles_of(mirror, "forward")


def test_the_format_of_the_cache_is_that_of_the_stash():
    layer = Layer("s", "matmul", N=4, G=8, K=512, C=64, cached=True, passes=("forward",))
    moved = {form: cost(one(layer), stash=form).total["dram_bits"].iloc[0] for form in ("int8", "int4")}
    assert moved["int8"] - moved["int4"] == pytest.approx(4 * layer.second_elements, rel=1e-2)
    plain = Layer("s", "matmul", N=4, G=8, K=512, C=64, passes=("forward",))
    assert cost(one(plain), stash="int4").total["dram_bits"].iloc[0] == pytest.approx(moved["int8"], rel=1e-9)


def test_decoding_is_bound_by_memory_and_prefill_by_compute():
    decode = Layer("l", "fc", N=1, K=256, C=256)
    prefill = Layer("l", "fc", N=4096, K=256, C=256)
    assert cost(one(decode)).layers["bound"].tolist() == ["dram"]
    assert cost(one(prefill)).layers["bound"].tolist() == ["compute"]


def test_tokens_of_a_batch_read_more_experts():
    layer = Layer("e", "fc", N=1, G=2, K=64, C=64, experts=8, passes=("forward",))
    bits = [cost(one(layer, batch)).total["dram_bits"].iloc[0] for batch in (1, 4, 16)]
    # A token misses an expert with a chance of 3/4; each takes two, reads 64 values and writes 64 for each.
    expected = [8 * (8 * (1 - 0.75**batch) * 64 * 64 + 2 * batch * 128) for batch in (1, 4, 16)]
    assert bits == pytest.approx(expected, rel=1e-9)


def test_weights_that_fit_come_once_for_all_time_steps():
    step = Layer("r", "fc", N=1, K=64, C=64, passes=("forward",))
    steps = Layer("r", "fc", N=1, K=64, C=64, repeats=10, passes=("forward",))
    alone, ten = (cost(one(layer)).total["dram_bits"].iloc[0] for layer in (step, steps))
    weights = 8 * 64 * 64
    assert ten == pytest.approx(weights + 10 * (alone - weights))


def test_adapters_alone_are_updated():
    body = (
        "input: {tokens: 8}\nlayers:\n  - {op: embedding, name: e, rows: 50, K: 32}\n  - {op: linear, name: l, K: 32}\n"
    )
    whole = network_from_document(parse_yaml(HEAD + body, "a"), "a")
    adapted = network_from_document(parse_yaml(HEAD + "lora: {rank: 2, layers: [l]}\n" + body, "b"), "b")
    for network in (whole, adapted):
        layers = cost(network, mode="training").layers
        updated = layers[layers["pass"] == "optimizer"]
        assert set(updated[updated["dram_bits"] > 0]["layer"]) == {
            x.name for x in network.layers if x.trained_parameters
        }
    assert {x.name for x in adapted.layers if x.trained_parameters} == {"l.lora_A", "l.lora_B"}


def test_a_product_of_activations_has_the_passes_of_its_operands():
    layer = Layer("s", "matmul", N=16, G=4, K=16, C=8)
    layers = cost(one(layer, 2), mode="training").layers
    assert layers["pass"].tolist()[:3] == ["forward", "backward_data", "backward_weight"]
    assert roles_of(layer, "backward_weight")[2] == "error"
    assert (layers[layers["pass"] == "optimizer"]["dram_bits"] == 0).all()
