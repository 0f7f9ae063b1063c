"""Cuts and blocks, read from nests and from who reads whose result: Megatron's plan for a transformer, channels for a CNN."""

import pytest

import dse
from dse.system.network.blocks import blocks_of
from dse.system.network.cuts import cuts_of, token_wise


def by_name(net):
    return {layer.name: cut for layer, cut in zip(net.layers, cuts_of(net), strict=True)}


def test_a_transformer_is_cut_as_megatron_cuts_it():
    cuts = by_name(dse.load_workload("gpt2_small"))
    block = {name.removeprefix("transformer.h.3."): cut for name, cut in cuts.items() if name.startswith("transformer.h.3.")}
    assert {name: cut.dim for name, cut in block.items()} == {
        "ln_1": "", "attn.c_attn": "K", "attn.scores": "G", "attn.softmax": "G", "attn.context": "G", "attn.c_proj": "C",
        "add_1": "", "ln_2": "", "mlp.c_fc": "K", "mlp.c_fc.gelu": "G", "mlp.c_proj": "C", "add_2": "",
    }  # fmt: skip
    # Two all-reduces forward, of what is summed, and two backward, of the errors of what cut layers read.
    assert [name for name, cut in block.items() if cut.summed] == ["attn.c_proj", "mlp.c_proj"]
    assert [name for name, cut in block.items() if cut.shared] == ["ln_1", "ln_2"]
    # The table of words is cut by rows, the one of positions is not; the classifier's logits stay cut.
    assert cuts["transformer.wte"].dim == "C"
    assert cuts["transformer.wpe"].dim == ""
    assert (cuts["lm_head"].dim, cuts["loss"].dim) == ("K", "G")


def test_a_residual_network_is_cut_by_channels():
    cuts = by_name(dse.load_workload("cifar_resnet20"))
    assert [cuts[f"layer2.1.{name}"].dim for name in ("conv1", "conv1.norm", "conv1.norm.relu", "conv2", "conv2.norm", "add")] == [
        "K", "G", "G", "C", "", "",
    ]  # fmt: skip
    assert cuts["layer2.1.conv2"].summed


def test_experts_are_spread_and_tokens_travel_once_each_way():
    cuts = by_name(dse.load_workload("mixtral_8x7b_train"))
    moe = {name: cut for name, cut in cuts.items() if name.startswith("model.layers.5.block_sparse_moe.")}
    assert [name.rpartition("moe.")[2] for name, cut in moe.items() if cut.dim == "E"] == [
        "experts.w1", "experts.w1.silu", "experts.w3", "multiply", "experts.w2",
    ]  # fmt: skip
    assert sum(cut.enters for cut in moe.values()) == sum(cut.leaves for cut in moe.values()) == 1
    assert moe["model.layers.5.block_sparse_moe.gate"].dim == ""


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [("gpt2_small", 12, 12), ("llama3_8b_train", 17, 32), ("imagenet_vit_b16", 12, 12), ("deepseek_v3_train", 30, 58), ("cifar_resnet110", 7, 18)],
)
def test_blocks_are_found(name, size, count):
    found = blocks_of(dse.load_workload(name))
    assert (found.size, found.count) == (size, count)


def test_a_network_without_repetition_is_one_block():
    net = dse.load_workload("imagenet_alexnet")
    found = blocks_of(net)
    assert found.count * found.size <= len(net.layers)


def test_tokens_are_alone_in_transformers_and_not_in_cnns():
    assert token_wise(dse.load_workload("gpt2_small"))
    assert not token_wise(dse.load_workload("cifar_resnet20"))
