"""Networks of the zoo against published figures; those of the first networks are in tests/published."""

from pathlib import Path

import pytest

from dse.shipped import shipped_folder
from dse.workload import load_workload

#: name: (parameters, GMAC per sample or None, relative tolerance of the GMAC, source)
PUBLISHED = {
    "imagenet_mobilenet_v3": (5_483_032, 0.22, 0.02, "torchvision, MobileNet_V3_Large_Weights: num_params, GFLOPS 0.22"),
    "imagenet_mobilenet_v3_small": (2_542_856, 0.0565, 0.001, "torchvision, MobileNet_V3_Small_Weights: num_params; 56 M in Howard et al., table 3"),
    "imagenet_googlenet": (7_005_832, 1.5816, 0.001, "MLS counts 1.5816 G in its convolutions (see dse.studies.systems.mls); 6,998,552 parameters of Caffe's bvlc_googlenet, see below"),
    "imagenet_efficientnet_lite0": (4_652_008, 0.407, 0.06, "4.7 M, 407 M (tensorflow/tpu, efficientnet/lite, which counts more than products: ours is 5.4 % below)"),
    "unet": (31_037_698, None, 0, "milesial/Pytorch-UNet: 31,037,633 with one class; a second one has 65 more"),
    "imagenet_densenet121": (7_978_856, 2.83, 0.002, "torchvision, DenseNet121_Weights: num_params, GFLOPS 2.83"),
    "imagenet_squeezenet": (1_235_496, 0.35, 0.005, "torchvision, SqueezeNet1_1_Weights: num_params, GFLOPS 0.35"),
    "imagenet_vit_b16": (86_567_656, 17.56, 0.001, "torchvision, ViT_B_16_Weights: num_params, GFLOPS 17.56"),
    "bert_base": (109_482_240, 11.25, 0.01, "110 M (Devlin et al.), 22.5 G operations at 128 tokens (Jiao et al., TinyBERT, table 1)"),
    "gpt2_small": (124_439_808, 145.82415, 1e-6, "124 M (openai/gpt-2); 291,648,307,200 operations (karpathy/nanoGPT, transformer_sizing)"),
    "llama3_8b_prefill": (8_030_261_248, None, 0, "8.03 B, num_parameters of Meta-Llama-3-8B on Hugging Face"),
    "llama3_8b_decode": (8_030_261_248, None, 0, "the same"),
    "diffusion_unet": (35_746_307, None, 0, "35.7 M (Ho et al., appendix B); exact: google/ddpm-cifar10-32 on Hugging Face"),
}  # fmt: skip

#: Parameters as the paper rounds them: millions, decimals.
ROUNDED = {
    "cifar_resnet110": (1.7, 1, "He et al., CVPR 2016, table 6: 1.7 M"),
    "lstm_ptb": (
        20,
        0,
        "Zaremba et al., arXiv 1409.2329: medium LSTM, 20 M (as Press and Wolf, EACL 2017, table 2, count it)",
    ),
    "bert_base": (110, -1, "Devlin et al., section 3: 110 M"),
    "diffusion_unet": (35.7, 1, "Ho et al., appendix B: 35.7 M"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs(name):
    parameters, gmac, tolerance, _ = PUBLISHED[name]
    network = load_workload(name)
    assert network.parameters == parameters
    if gmac is not None:
        assert network.macs / 1e9 == pytest.approx(gmac, rel=tolerance)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_parameters(name):
    millions, decimals, _ = ROUNDED[name]
    assert round(load_workload(name).parameters / 1e6, decimals) == millions


def test_llama_by_the_formula_of_palm():
    """N + 2 L H Q T multiply-accumulates per token (Chowdhery et al., arXiv 2204.02311, appendix B), N without the embedding."""
    prefill, decode = load_workload("llama3_8b_prefill"), load_workload("llama3_8b_decode")
    norms = sum(layer.parameters for layer in prefill.layers if layer.kind == "layernorm")
    active = 8_030_261_248 - 128_256 * 4096 - norms
    per_token = active + 2 * 32 * 32 * 128 * 2048
    assert prefill.macs == 2048 * per_token
    assert decode.macs == per_token


def test_llama_decodes_from_a_cache_of_grouped_keys_and_values():
    decode = load_workload("llama3_8b_decode")
    cached = [layer for layer in decode.layers if layer.cached]
    assert len(cached) == 64
    # 8 key heads of 128 for 2,048 tokens in 32 layers, keys and values.
    assert sum(layer.second_elements for layer in cached) == 2 * 32 * 2048 * 8 * 128
    # A prompt of 2,048 tokens leaves as much behind.
    prompt = [layer for layer in load_workload("llama3_8b_prefill").layers if layer.cached]
    assert sum(layer.second_elements for layer in prompt) == sum(layer.second_elements for layer in cached)


def test_googlenet_has_the_weights_of_caffes():
    """A bias per channel there, the scale and shift of a batch norm here."""
    network = load_workload("imagenet_googlenet")
    channels = sum(layer.G for layer in network.layers if layer.kind == "norm")
    assert network.parameters - channels == 6_998_552


@pytest.mark.parametrize(("name", "depth"), [("cifar_resnet38", 38), ("cifar_resnet74", 74), ("cifar_resnet110", 110)])
def test_residual_networks_of_cpt(name, depth):
    """6n + 2 layers and two shortcuts; a block more in each of the three groups has 18 c^2 weights and 4 c of norms."""
    network = load_workload(name)
    assert len(network.mac_layers) == depth + 2
    block = sum(18 * c * c + 4 * c for c in (16, 32, 64))
    first = load_workload("cifar_resnet20").parameters
    shortcuts = sum(c * c // 2 + 2 * c for c in (32, 64))
    assert network.parameters == first + shortcuts + block * ((depth - 2) // 6 - 3)


def test_resnet152_of_cpt():
    """6n + 2 layers, n = 25, and two shortcuts; each of its 2n 3x3 layers of a group has 9 c^2 weights and 2c of a norm, but the first."""
    network = load_workload("cifar_resnet152")
    assert len(network.mac_layers) == 152 + 2
    groups = sum(9 * c * c * 50 + 2 * c * 50 for c in (16, 32, 64))
    groups -= sum(9 * c * c // 2 for c in (32, 64))
    shortcuts = sum(c * c // 2 + 2 * c for c in (32, 64))
    assert network.parameters == 27 * 16 + 32 + groups + shortcuts + 650


def test_diffusion_unet_macs():
    """6.1 GMAC of DDPM on CIFAR-10 (Fang et al., NeurIPS 2023, table 1), counted without products of two activations."""
    network = load_workload("diffusion_unet")
    macs = sum(layer.macs for layer in network.mac_layers if layer.kind != "matmul")
    assert round(macs / 1e9, 1) == 6.1


def test_unet_has_four_transposed_convolutions_between_its_joins():
    network = load_workload("unet")
    ups = [layer for layer in network.layers if layer.transposed]
    assert [(layer.K, layer.C, layer.P, layer.input_hw) for layer in ups] == [
        (1024, 512, 32, (64, 64)),
        (512, 256, 64, (128, 128)),
        (256, 128, 128, (256, 256)),
        (128, 64, 256, (512, 512)),
    ]
    by_name = {layer.name: layer for layer in network.layers}
    assert by_name["up1.conv.double_conv.0"].C == 1024


def test_lstm_runs_its_steps_one_after_the_other():
    network = load_workload("lstm_ptb")
    steps = [layer for layer in network.mac_layers if layer.repeats > 1]
    assert [(layer.repeats, layer.N, layer.K, layer.C) for layer in steps] == [(35, 1, 2600, 650)] * 2
    (forward,), (gradient,) = (steps[0].nests(pass_, 20) for pass_ in ("forward", "backward_weight"))
    assert (forward.dims[:2], forward.times) == ((20, 1), 35)
    assert (gradient.dims[:2], gradient.times) == ((700, 1), 1)


@pytest.mark.parametrize("path", sorted(shipped_folder("workloads").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_is_small_loads_and_names_its_source(path: Path):
    network = load_workload(path.stem)
    assert len(path.read_text().splitlines()) < 120
    assert len(network.source) > 20
    assert len({layer.name for layer in network.layers}) == len(network.layers)


def test_mixtral_reads_a_quarter_of_its_experts():
    """46.7 B parameters, of which a token uses 12.9 B (Jiang et al., arXiv 2401.04088, section 1)."""
    network = load_workload("mixtral_8x7b_decode")
    assert network.parameters == 46_702_792_704
    idle = sum(layer.parameters * 6 // 8 for layer in network.layers if layer.experts)
    assert round((network.parameters - idle) / 1e9, 1) == 12.9
    attention = sum(layer.macs for layer in network.layers if layer.kind == "matmul")
    embedding = 32_000 * 4096
    norms = sum(layer.parameters for layer in network.layers if layer.kind == "layernorm")
    assert network.macs - attention == network.parameters - idle - embedding - norms


def test_lora_of_llama_trains_what_peft_counts():
    """trainable params: 3,407,872 || all params: 8,033,669,120 (peft, r = 8, q_proj and v_proj of Meta-Llama-3-8B)."""
    network = load_workload("llama3_8b_lora")
    assert sum(layer.trained_parameters for layer in network.layers) == 3_407_872
    assert network.parameters == 8_033_669_120
    macs = sum(layer.macs * len(layer.passes) for layer in network.mac_layers)
    # Forward and the errors, but hardly any gradient of a weight.
    assert 1.9 < macs / network.macs < 2.1
