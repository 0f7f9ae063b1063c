"""Attention whose scores stay on the chip: what moves by hand and by a loop that runs, and that it is never worse."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.cost.fusion.attention import Blocks, Head, backward_blocks, forward_blocks, held_backward, held_forward
from dse.workload.load import network_from_document
from dse.workload.work.attention import attentions_of
from dse.yaml_input import parse_yaml

ROWS, KEYS, WIDTH, HEADS, BATCH = 64, 64, 16, 2, 2
NET = f"""source: test
batch: {BATCH}
samples: 8
epochs: 1
optimizer: sgd
input: {{tokens: {ROWS}, C: {WIDTH * HEADS}}}
layers:
  - {{op: linear, name: first, K: {WIDTH * HEADS}}}
  - {{op: attention, name: attn, heads: {HEADS}, head_dim: {WIDTH}}}
  - {{op: linear, name: last, K: 8}}
"""
#: Elements of queries, keys, values or the context of a batch, and of its scores.
N, S = BATCH * HEADS * ROWS * WIDTH, BATCH * HEADS * ROWS * KEYS


@pytest.fixture(scope="module")
def net():
    return network_from_document(parse_yaml(NET, "attention.yaml"), "attention")


@pytest.fixture(scope="module")
def hw():
    return dse.load_hardware("flex_trainer")


def costs(net, hw, mode, *fusions, plan="w8a8e8"):
    return [dse.evaluate(net, hw, plan, mode=mode, fusion=fusion) for fusion in fusions]


def dram(cost):
    return cost.layers.set_index(["layer", "pass"])["dram_bits"]


def with_buffer(hw, bits, **given):
    memories = tuple(replace(m, size_bits=bits, **given) if m.name == "buffer" else m for m in hw.memories)
    return replace(hw, memories=memories, space=())


def test_inference_moves_queries_keys_values_and_context_once(net, hw):
    machine = replace(hw, fuses=("epilogue", "attention"))
    (best,) = costs(net, machine, "inference", "best")
    moved = dram(best)
    assert moved["attn.scores", "forward"] == 8 * 2 * N
    assert moved["attn.softmax", "forward"] == 0
    assert moved["attn.context", "forward"] == 8 * 2 * N
    groups = best.layers.set_index("layer")["group"]
    assert set(groups[["attn.scores", "attn.softmax", "attn.context"]]) == {"attn.scores"}


def test_training_keeps_probabilities_or_makes_them_again(net, hw):
    """The way that is taken moves what it must: with slow products probabilities are read, with a slow DRAM made again."""
    machine = replace(hw, fuses=("epilogue", "attention"))
    ways = set()
    for width in (4, 64, 4096):
        memories = tuple(replace(m, bandwidth_bits_per_cycle=width) if m.name == "dram" else m for m in hw.memories)
        apart, best = costs(net, replace(machine, memories=memories, space=()), "training", "vector", "best")
        moved = dram(best)
        if "attn.scores" not in set(best.layers["group"]):
            continue
        written = moved["attn.softmax", "forward"]
        assert written in (8 * S, 32 * BATCH * HEADS * ROWS)
        ways.add(written == 8 * S)
        # Values and the context's error; gradients of values; queries' and keys' errors are written.
        assert moved["attn.context", "backward_data"] == 8 * 2 * N
        assert moved["attn.context", "backward_weight"] == 8 * N
        if written == 8 * S:
            assert moved["attn.softmax", "backward_data"] == 8 * S
            assert moved["attn.scores", "backward_data"] == moved["attn.scores", "backward_weight"] == 8 * 2 * N
        else:
            # Queries and keys for the scores, the context and its statistics.
            assert moved["attn.softmax", "backward_data"] == 8 * 2 * N + 8 * N + 32 * BATCH * HEADS * ROWS
            assert moved["attn.scores", "backward_data"] == moved["attn.scores", "backward_weight"] == 8 * N
        for column in ("energy_j", "latency_s"):
            assert best.total[column].iloc[0] <= apart.total[column].iloc[0] * (1 + 1e-9)
    assert ways == {True, False}


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("bits", [40_000, 4_000_000])
def test_it_is_never_worse_and_parts_add_up(net, hw, mode, bits):
    machine = with_buffer(hw, bits, read_pj_per_bit=0.1, write_pj_per_bit=0.1)
    found = costs(net, machine, mode, "none", "vector", "resident", "best")
    for column in ("energy_j", "latency_s"):
        values = [cost.total[column].iloc[0] for cost in found]
        assert values[3] <= values[1] * (1 + 1e-9) <= values[0] * (1 + 2e-9)
    rows = found[3].layers
    parts = [name for name in rows if name.endswith("_j") and name != "energy_j"]
    assert rows[parts].sum(axis=1).to_numpy() == pytest.approx(rows["energy_j"].to_numpy(), rel=1e-9)
    assert (rows[parts].to_numpy() >= -1e-18).all()
    assert (rows["dram_bits"] >= -1e-6).all()
    assert rows["macs"].sum() == found[0].layers["macs"].sum()


def test_what_moves_is_what_a_loop_over_blocks_loads(net, hw):
    """Keys once per block of queries, or once where they stay: the loads of a loop that runs, in memories of several sizes."""
    cut = set()
    for bits in (30_000, 42_000, 60_000, 400_000):
        machine = replace(with_buffer(hw, bits, read_pj_per_bit=0.1, write_pj_per_bit=0.1), fuses=("epilogue", "attention"))
        (best,) = costs(net, machine, "inference", "best")
        blocks = forward_blocks(Head(ROWS, KEYS, WIDTH, WIDTH, 8.0, 8.0, 8.0, 8.0, 8.0, float(hw.pe.accumulator_bits)), bits / 2)
        if dram(best)["attn.softmax", "forward"]:
            continue
        queries = keys = 0
        held, stay = None, set()
        for r in range(blocks.row_blocks):
            for k in range(blocks.key_blocks):
                if held != r:
                    queries, held = queries + ROWS // blocks.row_blocks, r
                if k not in stay:
                    keys, stay = keys + KEYS // blocks.key_blocks, stay | {k} if blocks.stays else stay
        assert dram(best)["attn.scores", "forward"] == 8 * BATCH * HEADS * WIDTH * (queries + keys)
        cut.add(blocks.row_blocks)
    assert len(cut) > 1


@pytest.mark.parametrize("bits", [2_000, 8_000, 30_000, 200_000, 1e7])
def test_blocks_fit_and_move_least(bits):
    head = Head(96, 80, 16, 24, 8.0, 8.0, 8.0, 8.0, 8.0, 32.0, 8.0, 8.0)
    for choose, held in ((forward_blocks, held_forward), (backward_blocks, held_backward)):
        found = choose(head, bits)
        every = [Blocks(2**r, 2**k, s) for r in range(7) for k in range(7) for s in (False, True)]
        fits = [blocks for blocks in every if held(head, blocks) <= bits]
        assert (found is None) == (not fits)
        if found is None:
            continue
        assert held(head, found) <= bits
        larger = choose(head, 2 * bits)
        assert larger is not None
        if choose is forward_blocks:
            assert (1 if larger.stays else larger.row_blocks) <= (1 if found.stays else found.row_blocks)


@pytest.mark.parametrize(
    ("name", "count"), [("gpt2_small", 12), ("llama3_8b_decode", 32), ("imagenet_vit_b16", 12), ("diffusion_unet", 6), ("imagenet_resnet", 0)]
)
def test_attentions_are_found_by_what_reads_what(name, count):
    net = dse.load_workload(name)
    for training in (True, False):
        found = attentions_of(net, training)
        assert len(found) == count
        assert len({row for item in found for row in item.rows}) == 3 * count


def test_files_say_what_can_be_fused(hw):
    assert hw.fuses == ("epilogue", "residency", "attention", "chain")
    assert dse.load_hardware("bit_fusion").fuses == ("epilogue", "residency")


def test_without_its_parts_best_is_none(net, hw):
    none, best = costs(net, replace(hw, fuses=()), "training", "none", "best")
    assert np.array_equal(none.layers["energy_j"], best.layers["energy_j"])


@pytest.mark.parametrize("fusion", ["resident", "best"])
def test_a_cache_is_read_from_where_it_is_kept(hw, fusion):
    """What a layer makes is the newest key alone; no memory holds those of earlier steps."""
    text = NET.replace(f"tokens: {ROWS},", "tokens: 1,").replace(f"head_dim: {WIDTH}", f"head_dim: {WIDTH}, past: {KEYS - 1}")
    (cost,) = costs(network_from_document(parse_yaml(text, "decode.yaml"), "decode"), hw, "inference", fusion)
    for name in ("attn.scores", "attn.context"):
        assert dram(cost)[name, "forward"] >= 8 * N
