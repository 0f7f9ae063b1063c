"""Sequences in workload files: tokens, attention, experts, adapters, recurrence; and explicit bounds."""

import pytest

from dse.errors import InputError
from dse.workload.load import network_from_document
from dse.workload.model import network_text
from dse.workload.work.vector import stash_elements, vector_work
from dse.yaml_input import parse_yaml

HEAD = """source: test
batch: 2
samples: 10
epochs: 1
optimizer: adam
"""
TOKENS = HEAD + "input: {tokens: 12}\n"
EMBED = "  - {op: embedding, name: e, rows: 100, K: 32}\n"


def network(text):
    return network_from_document(parse_yaml(text, "net.yaml"), "net")


def named(net):
    return {layer.name: layer for layer in net.layers}


def test_attention_of_grouped_queries():
    net = network(
        TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a, heads: 8, kv_heads: 2, head_dim: 4, rope: true}"
    )
    layers = named(net)
    assert [layer.name for layer in net.mac_layers] == [
        "a.q_proj",
        "a.k_proj",
        "a.v_proj",
        "a.scores",
        "a.context",
        "a.o_proj",
    ]
    assert (layers["a.q_proj"].K, layers["a.k_proj"].K, layers["a.q_proj"].N) == (32, 8, 12)
    scores = layers["a.scores"]
    assert (scores.G, scores.N, scores.K, scores.C) == (2, 48, 12, 4)
    assert scores.macs == 8 * 12 * 12 * 4
    assert layers["a.softmax"].output_elements == 8 * 12 * 12
    assert layers["a.context"].output_elements == 12 * 32
    assert layers["a.rope"].output_elements == 12 * (32 + 8)
    # Query, key and value read one tensor, so they share its format.
    assert layers["a.q_proj"].tie == layers["a.k_proj"].tie == layers["a.v_proj"].tie == "e"


def test_a_product_of_two_activations_has_two_data_passes_and_no_parameters():
    net = network(TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a, heads: 4}")
    scores = named(net)["a.scores"]
    assert scores.passes == ("forward", "backward_data", "backward_weight")
    assert scores.parameters == scores.trained_parameters == 0
    # Each sample has its own second operand: the batch multiplies G, not N.
    assert scores.batch_dims("forward", 2)[:2] == (12, 8)
    assert stash_elements(scores) == 2 * 12 * 32


def test_decode_reads_a_cache():
    net = network(
        HEAD
        + "input: {tokens: 1}\nlayers:\n"
        + EMBED
        + "  - {op: attention, name: a, heads: 8, kv_heads: 2, head_dim: 4, past: 99}"
    )
    scores, context = named(net)["a.scores"], named(net)["a.context"]
    assert scores.cached
    assert context.cached
    assert (scores.N, scores.K, context.C) == (4, 100, 100)


def test_fused_projection_and_cross_attention():
    text = EMBED + "  - {op: linear, name: side, K: 16}\n  - {op: linear, name: back, K: 32}\n"
    net = network(
        TOKENS + "layers:\n" + text + "  - {op: attention, name: a, heads: 4, project: [c_attn], out: c_proj}"
    )
    assert named(net)["a.c_attn"].K == 96
    net = network(TOKENS + "layers:\n" + text + "  - {op: attention, name: a, heads: 4, of: side}")
    assert (named(net)["a.q_proj"].C, named(net)["a.k_proj"].C) == (32, 16)


def test_mixture_of_experts():
    moe = "  - op: moe\n    name: m\n    experts: 8\n    active: 2\n    main: [{op: linear, name: up, K: 64, then: [silu]}, {op: linear, name: down, K: 32}]"
    net = network(TOKENS + "layers:\n" + EMBED + moe)
    up = named(net)["m.up"]
    assert (up.experts, up.G, up.N) == (8, 2, 12)
    assert up.macs == 12 * 2 * 32 * 64
    assert up.parameters == 8 * 32 * 64
    assert named(net)["m.gate"].K == 8
    one = network(HEAD + "input: {tokens: 1}\nlayers:\n" + EMBED + moe)
    up = named(one)["m.up"]
    assert (up.G, up.N, up.parameters) == (2, 1, 8 * 32 * 64)


def test_adapters_freeze_all_else():
    body = (
        "layers:\n"
        + EMBED
        + "  - {op: layernorm, name: n}\n  - {op: attention, name: a, heads: 4}\n  - {op: linear, name: head, K: 100, bias: true}"
    )
    net = network(TOKENS + "lora: {rank: 4, layers: [q_proj, v_proj]}\n" + body)
    layers = named(net)
    assert layers["e"].passes == ("forward",)
    assert layers["n"].passes == ("forward",)
    assert layers["a.k_proj"].passes == ("forward",)
    assert layers["a.q_proj"].passes == ("forward",)
    assert layers["a.q_proj.lora_A"].passes == ("forward", "backward_weight")
    assert layers["a.q_proj.lora_B"].passes == ("forward", "backward_data", "backward_weight")
    # Keys do not learn: the scores have an error for the queries alone.
    assert layers["a.scores"].passes == ("forward", "backward_data")
    assert layers["a.context"].passes == ("forward", "backward_data", "backward_weight")
    assert layers["head"].passes == ("forward", "backward_data")
    assert sum(layer.trained_parameters for layer in net.layers) == 2 * 2 * 4 * 32
    assert sum(layer.parameters for layer in net.layers) == network(TOKENS + body).parameters + 2 * 2 * 4 * 32
    assert stash_elements(layers["head"]) == 0


def test_recurrent_layers():
    net = network(TOKENS + "layers:\n" + EMBED + "  - {op: lstm, name: r, K: 16, count: 2, bias: true}")
    layers = named(net)
    assert (layers["r.0.input"].N, layers["r.0.input"].K, layers["r.0.input"].C) == (12, 64, 32)
    assert (layers["r.1.recurrent"].repeats, layers["r.1.recurrent"].C) == (12, 16)
    # The count of torch.nn.LSTM(32, 16, num_layers=2): 4h(i + h + 2) per layer.
    assert net.parameters - 3200 == 4 * 16 * (32 + 16 + 2) + 4 * 16 * (16 + 16 + 2)
    assert named(network(TOKENS + "layers:\n" + EMBED + "  - {op: gru, name: r, K: 16}"))["r.input"].K == 48


def test_norms_of_a_sample_are_not_folded_in_inference():
    layers = named(
        network(
            TOKENS
            + "layers:\n"
            + EMBED
            + "  - {op: rmsnorm, name: n}\n  - {op: layernorm, name: m}\n  - {op: linear, name: l, K: 2}"
        )
    )
    assert (layers["n"].parameters, layers["m"].parameters) == (32, 64)
    assert vector_work(layers["n"], "forward", False) == (384, 384, 5 * 384, 0)


def test_transposed_convolution_and_jumps():
    text = """input: {C: 3, H: 8, W: 8}
layers:
  - {op: conv, name: a, K: 4, R: 3, pad: 1}
  - {op: conv, name: b, K: 8, R: 2, stride: 2}
  - {op: conv_transpose, name: c, K: 4, R: 2, stride: 2}
  - {op: concat, branches: [[{op: from, of: a}], []]}
  - {op: upsample, name: u, stride: 2}
  - {op: conv, name: d, K: 1, R: 1}
"""
    layers = named(network(HEAD + text))
    assert (layers["c"].P, layers["c"].input_hw, layers["c"].macs) == (4, (8, 8), 4 * 4 * 8 * 4 * 4)
    assert (layers["d"].C, layers["d"].P) == (8, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a, heads: 5}",
            "5 does not divide 32 features; give head_dim",
        ),
        (
            TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a, heads: 4, kv_heads: 3}",
            "3 does not divide 4 heads",
        ),
        (TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a}", "heads (line 9): missing"),
        (
            TOKENS + "layers:\n" + EMBED + "  - {op: attention, name: a, heads: 4, project: [a, b]}",
            "expected 1 or 3 names",
        ),
        (TOKENS + "layers:\n" + EMBED + "  - {op: from, of: f}", "no earlier layer named 'f'"),
        (
            TOKENS + "layers:\n" + EMBED + "  - {op: moe, name: m, experts: 2, active: 3}",
            "expected at most the 2 experts, got 3",
        ),
        (
            TOKENS + "lora: {rank: 2, layers: [w]}\nlayers:\n" + EMBED + "  - {op: linear, name: l, K: 2}",
            "no linear layer is called w",
        ),
        (HEAD + "input: {C: 3, H: 8}\nlayers: [{op: relu, name: r}]", "expected C, H and W of an image, or tokens"),
        (
            HEAD + "input: {tokens: 8, H: 8, W: 8}\nlayers: [{op: relu, name: r}]",
            "expected C, H and W of an image, or tokens",
        ),
        (HEAD + "layers: [{op: relu, name: r}]", "give 'input' and 'layers', or 'nests'"),
        (TOKENS + "nests: [{name: a, kind: fc}]", "a file with 'nests' has explicit bounds"),
        (HEAD + "nests: [{name: a, kind: relu}]", "expected one of 'conv'"),
        (
            HEAD + "nests: [{name: a, kind: fc, passes: [backward_data]}]",
            "expected forward and each other pass at most once",
        ),
        (HEAD + "nests: [{name: a, kind: fc}, {name: a, kind: fc}]", "a layer named 'a' exists already"),
        (HEAD + "nests: [{name: a, kind: fc, transposed: true}]", "transposed (line 6): a fc layer does not use this key"),
        (HEAD + "nests: [{name: a, kind: fc, G: 4, experts: 2}]", "expected at least the G = 4 that a token takes, got 2"),
        (HEAD + "nests: [{name: a, kind: fc, frozen: true}]", "a frozen layer has no backward_weight"),
        (HEAD + "nests: [{name: a, kind: pool}]", "the network is empty"),
        (HEAD + "nests: [{name: a, kind: fc, K: 2000000000, C: 2000000000}]", "expected at most 2^61"),
    ],
)
def test_input_errors(text, message):
    with pytest.raises(InputError) as caught:
        network(text)
    assert message in str(caught.value)


def test_explicit_bounds_say_the_same_as_operations():
    text = (
        TOKENS
        + "layers:\n"
        + EMBED
        + "  - {op: attention, name: a, heads: 4, past: 3}\n  - {op: lstm, name: 'odd: name', K: 8}"
    )
    net = network(text)
    again = network(network_text(net, "two\nlines"))
    assert again.layers == net.layers


def test_activations_say_what_they_compute():
    body = "  - {op: linear, name: l, K: 8, then: [gelu]}\n  - {op: tanh, name: t}\n  - {op: gru, name: g, K: 4}\n"
    layers = named(network(TOKENS + "layers:\n" + EMBED + body))
    assert [layers[name].function for name in ("l", "l.gelu", "t", "g.gates")] == ["", "gelu", "tanh", "gru"]


def test_gradients_of_several_passes_make_one_step():
    net = network(TOKENS.replace("adam", "adamw") + "accumulate: 2\nlayers:\n" + EMBED + "  - {op: linear, name: l, K: 8}")
    assert (net.optimizer, net.accumulate, net.batch, net.steps_per_epoch) == ("adamw", 2, 2, 3)
    assert network(network_text(net)) == net


def test_latent_attention_is_counted_by_hand():
    """16 features, 4 heads of 8 for queries and keys and 6 for values, through 5 and 3 normed features; 10 tokens."""
    text = "  - {op: attention, name: a, heads: 4, head_dim: 8, value_dim: 6, query_rank: 5, key_rank: 3}"
    embed = "  - {op: embedding, name: e, rows: 7, K: 16}\n"
    net = network(HEAD + "input: {tokens: 10}\nlayers:\n" + embed + text)
    sizes = {layer.name.removeprefix("a."): layer.parameters for layer in net.layers}
    assert {name: size for name, size in sizes.items() if size} == {
        "e": 7 * 16,
        "q_a_proj": 16 * 5,
        "q_a_proj.norm": 5,
        "q_proj": 5 * 4 * 8,
        "kv_a_proj": 16 * 3,
        "kv_a_proj.norm": 3,
        "k_proj": 3 * 4 * 8,
        "v_proj": 3 * 4 * 6,
        "o_proj": 4 * 6 * 16,
    }
    macs = {layer.name: layer.macs for layer in net.layers}
    assert (macs["a.scores"], macs["a.context"]) == (4 * 10 * 10 * 8, 4 * 10 * 10 * 6)
