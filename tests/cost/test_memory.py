"""What is held at the moment that holds most: published formulas, steps walked through by hand, a naive walk, and laws."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.cost.tensors.copies import copies_of
from dse.cost.tensors.memory import PARTS, footprint, held, held_bits, moments
from dse.precision import Plan
from dse.workload.load import network_from_document
from dse.workload.work.statistics import network_statistics
from dse.workload.work.tensors import tensors_of
from dse.yaml_input import parse_yaml

HEAD = "source: test\nbatch: {batch}\nsamples: 8\nepochs: 1\noptimizer: {optimizer}\ninput: {input}\nlayers:\n"


def network(layers, size="{C: 2, H: 4, W: 4}", batch=1, optimizer="momentum"):
    text = HEAD.format(batch=batch, optimizer=optimizer, input=size) + layers
    return network_from_document(parse_yaml(text, "net.yaml"), "net")


def stash(net, plan):
    """Bits of all that is kept for the way back, whenever."""
    return sum(item.bits for item in held(net, plan, "training") if item.part == "stash")


GPT = """  - {{op: embedding, name: wte, rows: 100, K: {h}}}
  - op: residual
    name: add_1
    main:
      - {{op: layernorm, name: ln_1}}
      - {{op: attention, name: attn, heads: {a}, bias: true{project}}}
  - op: residual
    name: add_2
    main:
      - {{op: layernorm, name: ln_2}}
      - {{op: linear, name: fc1, K: {wide}, bias: true, then: [{function}]}}
      - {{op: linear, name: fc2, K: {h}, bias: true}}
  - {{op: loss, name: loss}}
"""


def gpt(tokens, batch, heads, width, function="gelu", project=""):
    layers = GPT.format(h=width, a=heads, wide=4 * width, function=function, project=project)
    return network(layers, f"{{tokens: {tokens}}}", batch, "adam")


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.integers(2, 40),
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    head=st.integers(1, 8),
    fused=st.booleans(),
)
def test_a_transformer_layer_keeps_what_korthikanti_counts(tokens, batch, heads, head, fused):
    """arXiv 2205.05198, equation 1, 34 sbh + 5 a s^2 b bytes: without dropout masks and in elements 16 sbh + a s^2 b."""
    net = gpt(tokens, batch, heads, heads * head, project=", project: [qkv]" if fused else "")
    elements = 16 * tokens * batch * heads * head + heads * tokens**2 * batch
    assert network_statistics(net)["stash_elements"].sum() == elements
    assert stash(net, Plan.parse("bf16", net)) == 16 * elements
    # Both norms keep their input in 16 bits, the rest has the width of the products.
    assert stash(net, Plan.parse("w4a8e8", net)) == 8 * elements + 8 * 2 * tokens * batch * heads * head
    # What a ReLU needs is in its result, which fc2 keeps; a sigmoid's too.
    for function in ("relu", "sigmoid"):
        less = gpt(tokens, batch, heads, heads * head, function)
        assert stash(less, Plan.parse("bf16", less)) == 16 * (elements - 4 * tokens * batch * heads * head)


def test_the_gpt_block_of_32_tokens_holds_73728_elements_for_the_way_back():
    net = gpt(32, 2, 4, 64)
    parts = footprint(net, Plan.parse("bf16", net))
    assert parts["stash"] == 16 * 73_728
    assert parts["optimizer"] == 2 * 32 * net.parameters
    assert parts["gradients"] == parts["master"] == 32 * net.parameters


CHAIN = """  - {{op: linear, name: a, K: 8, then: [{function}]}}
  - {{op: linear, name: b, K: 4}}
  - {{op: loss, name: loss}}
"""
INPUT, MIDDLE = 5 * 6, 5 * 8


@pytest.mark.parametrize(
    ("function", "elements"),
    [
        ("relu", INPUT + MIDDLE),
        ("sigmoid", INPUT + MIDDLE),
        ("tanh", INPUT + MIDDLE),
        ("gelu", INPUT + 2 * MIDDLE),
        ("silu", INPUT + 2 * MIDDLE),
        ("hardswish", INPUT + 2 * MIDDLE),
    ],
)
def test_functions_keep_what_their_slope_needs(function, elements):
    net = network(CHAIN.format(function=function), "{tokens: 5, C: 6}")
    plan = Plan.parse("w8a8e8", net)
    assert stash(net, plan) == 8 * elements
    rows = dse.evaluate(net, dse.load_hardware("flex_trainer"), plan).layers.set_index(["layer", "pass"])["dram_bits"]
    kept = elements - INPUT - MIDDLE
    # What is kept beside the result is written once and read once; a result that is kept anyway is read once.
    assert rows.get((f"a.{function}", "forward"), 0.0) == 8 * kept
    assert rows[f"a.{function}", "backward_data"] == 8 * MIDDLE


def test_a_sign_is_kept_as_a_bit_where_nobody_keeps_the_result():
    net = network(
        "  - {op: conv, name: a, K: 8, then: [relu]}\n  - {op: pool, name: p, R: 2, stride: 2}\n  - {op: global_pool, name: g}\n"
    )
    # The sign of 128 results; the place of the largest of four for 32.
    assert stash(net, Plan.parse("w8a8e8", net)) == 8 * 32 + 128 + 2 * 32


@pytest.mark.parametrize(("op", "own"), [("lstm", 5), ("gru", 4)])
def test_recurrent_layers_keep_gates_and_states(op, own):
    """Gates, cell states or hidden parts of each step; the state as the next product's input, which the classifier reads too."""
    net = network(
        f"  - {{op: {op}, name: r, K: 8}}\n  - {{op: linear, name: out, K: 3}}\n", "{tokens: 5, C: 6}", batch=2
    )
    states, inputs = 2 * 5 * 8, 2 * 5 * 6
    assert network_statistics(net)["stash_elements"].sum() == inputs + own * states + states
    plan = Plan.parse("w8a8e8", net)
    assert stash(net, plan) == 8 * (inputs + own * states + states)
    rows = dse.evaluate(net, dse.load_hardware("flex_trainer"), plan).layers.set_index(["layer", "pass"])["dram_bits"]
    gates = {"lstm": 4, "gru": 3}[op]
    # Forward the input's share of the sums is read; backward the state's error becomes that of the sums.
    assert rows["r.gates", "forward"] == 8 * (gates + own) * states
    assert rows["r.gates", "backward_data"] == 8 * (1 + gates + own) * states


def test_norms_keep_16_bits_or_what_the_plan_says():
    net = network("  - {op: conv, name: a, K: 8, then: [norm, relu]}\n  - {op: conv, name: b, K: 8}\n")
    inputs, inner = 2 * 16, 8 * 16
    for text, norm, rest in (("w8a8e8", 16, 8), ("bf16", 16, 16), ("fp32", 32, 32), ("w8a8e8s4", 4, 4)):
        assert stash(net, Plan.parse(text, net)) == norm * inner + rest * (inputs + inner), text
    plan = Plan.from_formats(
        net,
        {**dict.fromkeys(("weight", "activation", "error"), "int8"), "stash": {"a.norm": "int8", "a": None, "b": None}},
    )
    assert stash(net, plan) == 8 * (inner + inputs + inner)


def test_a_step_by_hand():
    layers = """  - {op: conv, name: a, K: 4, then: [relu]}
  - {op: conv, name: b, K: 8}
  - {op: fc, name: c, K: 10}
  - {op: loss, name: loss}
"""
    net = network(layers)
    plan = Plan.parse("w4a8e16", net)
    read, first, second, last = 2 * 16, 4 * 16, 8 * 16, 10
    kept = 8 * (read + first + second)
    expected = [
        8 * (read + first),
        8 * (read + first),  # the ReLU is applied as a's result is written
        kept,
        kept + 8 * last,
        kept + 8 * 2 * last,
        kept + 16 * 2 * last,
        kept + 16 * (last + second),
        8 * (read + first) + 16 * (second + first),
        8 * (read + first) + 16 * first,
        8 * read + 16 * first,
    ]
    items = [item for item in held(net, plan, "training") if item.part in ("stash", "working")]
    sums = held_bits(*(np.array([getattr(item, key) for item in items]) for key in ("first", "last", "bits")))
    course = moments(net.layers, True)
    assert [(net.layers[m.layer].name, m.run) for m in course[5:]] == [
        (name, "backward") for name in ("loss", "c", "b", "a.relu", "a")
    ]
    assert sums.tolist() == expected
    total = dse.evaluate(net, dse.load_hardware("flex_trainer"), plan).total.iloc[0]
    weights = 2 * 4 + 4 * 8 + second * 10
    assert total["memory_weights_bits"] == 4 * weights
    assert total["memory_working_bits"] == 16 * (last + second)
    assert total["peak_memory_bits"] == max(expected) + weights * (4 + 3 * 32)
    assert total["peak_memory_bits"] == sum(total[f"memory_{part}_bits"] for part in PARTS)


def test_a_residual_branch_lives_until_its_sum_and_its_error_until_both_ends_have_it():
    layers = """  - {op: conv, name: a, K: 4}
  - op: residual
    name: sum
    main: [{op: conv, name: b, K: 16}, {op: conv, name: c, K: 4}]
  - {op: conv, name: d, K: 1}
"""
    net = network(layers)
    plan = Plan.parse("w8a8e8", net)
    small, wide = 4 * 16 * 8, 16 * 16 * 8
    # While c runs the shortcut waits for it.
    assert footprint(net, plan, "inference")["working"] == small + wide + small
    items = [item for item in held(net, plan, "training") if item.part == "working"]
    errors = {
        (net.layers[item.layer].name, item.bits, item.first, item.last)
        for item in items
        if item.first > len(net.layers) - 1
    }
    d, total, c, b, a = range(5, 10)
    # The error of the sum is that of c's result, and waits for b's share of the error of a's.
    assert errors == {("d", 128, d, d), ("sum", small, d, b), ("b", wide, c, b), ("a", small, b, a)}
    assert total == d + 1


BLOCKS = st.lists(st.sampled_from(["conv", "wide", "residual", "pool", "silu", "concat"]), min_size=1, max_size=6)


def built(blocks):
    lines = ["  - {op: conv, name: start, K: 4}"]
    for i, kind in enumerate(blocks):
        lines += {
            "conv": [f"  - {{op: conv, name: n{i}, K: 4, then: [norm, relu]}}"],
            "wide": [f"  - {{op: conv, name: n{i}, K: 12, then: [gelu]}}", f"  - {{op: conv, name: m{i}, K: 4}}"],
            "residual": [
                f"  - {{op: residual, name: n{i}, main: [{{op: conv, name: a{i}, K: 8, then: [relu]}}, {{op: conv, name: b{i}, K: 4}}]}}"
            ],
            "pool": [f"  - {{op: pool, name: n{i}, R: 3, pad: 1}}"],
            "silu": [
                f"  - {{op: product, name: n{i}, main: [{{op: sigmoid, name: s{i}}}], shortcut: [{{op: conv, name: g{i}, K: 4}}]}}"
            ],
            "concat": [
                f"  - {{op: concat, branches: [[{{op: conv, name: a{i}, K: 2}}], [{{op: conv, name: b{i}, K: 3}}]]}}",
                f"  - {{op: conv, name: n{i}, K: 4}}",
            ],
        }[kind]
    return network("\n".join([*lines, "  - {op: global_pool, name: end}", "  - {op: fc, name: fc, K: 3}\n"]))


@settings(max_examples=25, deadline=None)
@given(blocks=BLOCKS)
def test_inference_holds_what_a_naive_walk_holds(blocks):
    """A tensor is there while its maker runs and until its last reader has run."""
    net = built(blocks)
    found = tensors_of(net, False)
    largest = 0
    for now in range(len(net.layers)):
        here = 0
        for tensor in found.tensors:
            born = 0 if tensor.maker < 0 else tensor.born
            last = max([use.layer for use in tensor.readers], default=born)
            here += tensor.elements * 8 * (tensor.stored and born <= now <= max(last, born))
        largest = max(largest, here)
    assert footprint(net, Plan.parse("w8a8e8", net), "inference")["working"] == largest


@settings(max_examples=25, deadline=None)
@given(blocks=BLOCKS, batch=st.integers(1, 3), mode=st.sampled_from(["training", "inference"]), recompute=st.booleans())
def test_laws_of_the_footprint(blocks, batch, mode, recompute):
    net = built(blocks)
    plan = Plan.parse("w8a8e8", net)
    one = footprint(net, plan, mode, recompute)
    every = held(net, plan, mode, recompute)
    assert sum(one.values()) <= sum(item.bits for item in every) * (1 + 1e-12)
    assert all(item.first <= item.last and item.bits > 0 for item in every)
    # All that is there for a while grows with the batch.
    many = footprint(net.with_batch(batch), plan, mode, recompute)
    assert many["stash"] + many["working"] == pytest.approx(batch * (one["stash"] + one["working"]))
    assert [many[part] for part in PARTS[:4]] == [one[part] for part in PARTS[:4]]
    # Fewer bits never hold more.
    for narrow in ("w4a8e8", "w8a4e8", "w8a8e4"):
        assert sum(footprint(net, Plan.parse(narrow, net), mode, recompute).values()) <= sum(one.values())
    if mode == "training" and recompute:
        assert one["stash"] <= footprint(net, plan, mode)["stash"]


@settings(max_examples=20, deadline=None)
@given(
    blocks=BLOCKS,
    text=st.sampled_from(["w8a8e8", "w8a8e8s4", "bf16", "mxfp8_e4m3", "weight=int8,activation=int4,error=fp8_e5m2"]),
)
def test_every_tensor_is_written_once_and_kept_at_most_whole(blocks, text):
    net = built(blocks)
    found = tensors_of(net, True)
    first = [copy.tensor for copy in copies_of(net, Plan.parse(text, net), True) if copy.written_by < 0]
    stored = [place for place, tensor in enumerate(found.tensors) if tensor.stored]
    assert sorted(first) == stored
    for copy in copies_of(net, Plan.parse(text, net), True):
        assert 0 <= copy.kept <= found.tensors[copy.tensor].elements
        assert max(copy.elements, copy.kept) > 0


def test_what_two_products_read_in_two_formats_is_written_twice():
    layers = """  - {op: conv, name: start, K: 4}
  - {op: concat, branches: [[{op: conv, name: a, K: 2}], [{op: conv, name: b, K: 3}]]}
  - {op: conv, name: end, K: 4}
"""
    net = network(layers)
    same, apart = (
        Plan.from_formats(
            net,
            {
                "weight": "int8",
                "error": "int8",
                "activation": {"start": "int8", "a": "int8", "b": width, "end": "int8"},
            },
        )
        for width in ("int8", "int4")
    )
    rows = [
        dse.evaluate(net, dse.load_hardware("flex_trainer"), plan).layers.set_index(["layer", "pass"])["dram_bits"]
        for plan in (same, apart)
    ]
    made = 4 * 16
    assert stash(net, apart) - stash(net, same) == 4 * made
    # b reads 4 bits fewer of each, the copy is written before, and its result is as wide as its reader wants it in both plans.
    assert rows[1]["b", "forward"] - rows[0]["b", "forward"] == 4 * made - 4 * made


@pytest.mark.parametrize(
    ("batch", "past", "window", "kept"), [(64, 2047, "", 2048), (3, 100, ", window: 32", 32), (2, 7, ", window: 32", 8)]
)
def test_keys_and_values_that_lie_in_a_cache_are_a_part_of_their_own(batch, past, window, kept):
    layers = f"  - {{op: attention, name: attn, heads: 32, kv_heads: 8, head_dim: 128, past: {past}{window}}}\n"
    net = network(layers, "{tokens: 1, C: 64}", batch)
    parts = footprint(net, Plan.parse("bf16", net), "inference")
    assert parts["cache"] == batch * kept * 2 * 8 * 128 * 16
    small = Plan.uniform(net, "bf16", "bf16", stash="int4")
    assert footprint(net, small, "inference")["cache"] == parts["cache"] / 4


def test_llama_8b_with_64_cached_sequences():
    """16.06 GB of weights and 64 x 2048 tokens x 2 x 32 layers x 8 heads x 128 x 2 B of keys and values."""
    net = dse.load_workload("llama3_8b_decode").with_batch(64)
    parts = footprint(net, Plan.parse("bf16", net), "inference")
    assert parts["weights"] == 16 * net.parameters == pytest.approx(8 * 16.06e9, rel=1e-3)
    assert parts["cache"] == 8 * 64 * 2048 * 2 * 32 * 8 * 128 * 2 == pytest.approx(8 * 17.18e9, rel=1e-3)
    assert parts["working"] < 0.01 * parts["cache"]


def test_keys_and_values_made_in_a_prefill_stay():
    net = dse.load_workload("llama3_8b_prefill")
    tokens = net.layers[0].N
    assert footprint(net, Plan.parse("bf16", net), "inference")["cache"] == net.batch * 16 * tokens * 2 * 32 * 8 * 128


SMALL_DRAM = """name: small_dram
description: one buffer and a small DRAM
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
  buffer: {source: made up, kind: sram, size_bits: 262_144}
  hbm: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 128, size_bits: SIZE}
"""


def hardware(size):
    from dse.hardware.from_file.load import hardware_from_document

    return hardware_from_document(parse_yaml(SMALL_DRAM.replace("SIZE", str(size)), "small.yaml"))


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_a_dram_with_a_size_is_a_limit(mode):
    net = network("  - {op: conv, name: a, K: 16, then: [relu]}\n  - {op: fc, name: b, K: 8}\n")
    plan = Plan.parse("w8a8e8", net)
    free = dse.evaluate(net, hardware(10**12), plan, mode=mode).total.iloc[0]
    needed = int(free["peak_memory_bits"])
    exact, short = (
        dse.evaluate(net, hardware(size), plan, mode=mode).total.iloc[0] for size in (needed, needed - 1000)
    )
    assert free["feasible"]
    assert exact["feasible"]
    assert exact["energy_j"] == free["energy_j"]
    assert not short["feasible"]
    assert short["limit"] == f"hbm: a step of {mode} holds {needed} bits; 1000 bits are missing"
    assert np.isnan(short["latency_s"])
    # A plan that fits and a design that is large enough say nothing of what stands beside them.
    narrow = Plan.parse("w2a2e2", net)
    free_size = hardware(f"{{values: [{needed - 1000}, {needed}], default: {needed}}}")
    designs = pd.DataFrame({"memories.hbm.size_bits": [needed - 1000.0, float(needed)]})
    both = dse.evaluate(net, free_size, [narrow, plan], designs, mode=mode).total
    assert both["feasible"].tolist() == [True, False, True, True]
    assert both["energy_j"][3] == free["energy_j"]


def test_what_is_recomputed_is_not_kept():
    net = dse.load_workload("cifar_resnet20").with_batch(4)
    plan = Plan.parse("w8a8e8", net)
    kept, again = (footprint(net, plan, recompute=flag) for flag in (False, True))
    assert again["stash"] < 0.6 * kept["stash"]
    hw = dse.load_hardware("flex_trainer")
    costs = [dse.evaluate(net, hw, plan, recompute=flag) for flag in (False, True)]
    assert costs[0].total["macs"][0] < costs[1].total["macs"][0] < costs[0].total["macs"][0] * 4 / 3
    back = [cost.layers[cost.layers["pass"] != "forward"]["energy_j"].sum() for cost in costs]
    assert back[0] == back[1]


def test_frozen_layers_in_front_keep_nothing_and_run_once():
    layers = """  - {op: conv, name: a, K: 16, then: [norm, gelu], frozen: true}
  - {op: conv, name: b, K: 16, then: [relu], frozen: true}
  - {op: global_pool, name: pool}
  - {op: fc, name: c, K: 10}
"""
    net = network(layers.replace("[norm, gelu]", "[gelu]"), optimizer="adam")
    plan = Plan.parse("w8a8e8", net)
    parts = footprint(net, plan)
    assert stash(net, plan) == 8 * 16
    assert parts["optimizer"] == 2 * 32 * (16 * 10)
    assert parts["gradients"] == parts["master"] == 32 * 16 * 10
    again = dse.evaluate(net, dse.load_hardware("flex_trainer"), plan, recompute=True)
    assert again.total["macs"][0] == dse.evaluate(net, dse.load_hardware("flex_trainer"), plan).total["macs"][0]
