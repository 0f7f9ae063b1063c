"""Layers read what they should in all three passes; networks and their workloads are the same thing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs lowprec-dse[torch]")

from torch.nn import functional  # noqa: E402

from dse.precision.formats.properties import parse_format  # noqa: E402
from dse.training.loops.networks import NETWORKS, make_module, workload_of  # noqa: E402
from dse.training.rounded.layers import BlockMap, Control, Conv, Linear, MatMul, mac_layers, store  # noqa: E402
from dse.training.rounded.quantize import quantize  # noqa: E402
from dse.workload.load import load_workload  # noqa: E402
from dse.workload.model import network_text  # noqa: E402


def controlled(layer, weight, activation, error):
    layer.control.weight, layer.control.activation, layer.control.error = (
        None if name is None else parse_format(name) for name in (weight, activation, error)
    )
    layer.control.stochastic = frozenset()
    return layer


def test_a_linear_layer_reads_rounded_tensors_in_all_passes():
    torch.manual_seed(0)
    layer = controlled(Linear(6, 4), "int4", "int3", "int5")
    x, slope = torch.randn(8, 6, requires_grad=True), torch.randn(8, 4)
    layer(x).backward(slope)
    w, a, e = quantize(layer.weight.detach(), "int4"), quantize(x.detach(), "int3"), quantize(slope, "int5")
    assert torch.allclose(layer(x), a @ w.T + layer.bias)
    assert torch.allclose(x.grad, e @ w)
    assert torch.allclose(layer.weight.grad, e.T @ a, atol=1e-6)
    assert torch.allclose(layer.bias.grad, e.sum(0), atol=1e-6)


def test_a_convolution_reads_rounded_tensors_in_all_passes():
    torch.manual_seed(1)
    layer = controlled(Conv(3, 5, 3, 2, 1), "bfp4", "bfp3", "bfp6")
    x, slope = torch.randn(2, 3, 9, 9, requires_grad=True), torch.randn(2, 5, 5, 5)
    layer(x).backward(slope)
    w = quantize(layer.weight.detach().flatten(1), "bfp4").reshape(layer.weight.shape).requires_grad_()
    a = quantize(x.detach().flatten(2), "bfp3").reshape(x.shape).requires_grad_()
    e = quantize(slope.flatten(2), "bfp6").reshape(slope.shape)
    functional.conv2d(a, w, stride=2, padding=1).backward(e)
    assert torch.allclose(x.grad, a.grad, atol=1e-6)
    assert torch.allclose(layer.weight.grad, w.grad, atol=1e-6)


def test_a_product_of_two_activations_rounds_both():
    torch.manual_seed(2)
    layer = controlled(MatMul(), "int4", "int6", "int8")
    x, w, slope = (
        torch.randn(2, 3, 5, 4, requires_grad=True),
        torch.randn(2, 3, 7, 4, requires_grad=True),
        torch.randn(2, 3, 5, 7),
    )
    layer(x, w).backward(slope)
    first, second, error = quantize(x.detach(), "int6"), quantize(w.detach(), "int4"), quantize(slope, "int8")
    assert torch.allclose(x.grad, error @ second, atol=1e-5)
    assert torch.allclose(w.grad, error.transpose(-2, -1) @ first, atol=1e-5)


def test_backward_weight_reads_the_stash_and_nothing_else_does():
    torch.manual_seed(5)
    layer = controlled(Linear(8, 4), None, None, None)
    layer.control.stash = parse_format("actnn2")
    x, slope = torch.randn(6, 8, requires_grad=True), torch.randn(6, 4)
    y = layer(x)
    y.backward(slope)
    stash = quantize(x.detach().unsqueeze(1), "actnn2").squeeze(1)
    assert torch.allclose(y, functional.linear(x, layer.weight, layer.bias), atol=1e-6)
    assert torch.allclose(x.grad, slope @ layer.weight, atol=1e-6)
    assert torch.allclose(layer.weight.grad, slope.T @ stash, atol=1e-5)
    assert not torch.allclose(layer.weight.grad, slope.T @ x.detach(), atol=1e-2)


def test_without_formats_it_is_the_plain_layer():
    torch.manual_seed(3)
    layer, x = Conv(3, 5, 3, 1, 1), torch.randn(2, 3, 8, 8)
    assert torch.equal(layer(x), functional.conv2d(x, layer.weight, padding=1))


@pytest.mark.parametrize("name", ["bfp3", "mxfp4_e2m1", "fp8_e4m3", "fixed8_4"])
@pytest.mark.parametrize("shape", [(4, 6, 5, 5), (4, 10), (4, 3, 7)])
def test_a_sample_does_not_see_the_others_of_its_batch(name, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    whole = store(x, parse_format(name), "activation", len(shape) == 4)
    alone = torch.cat([store(part, parse_format(name), "activation", len(shape) == 4) for part in x.split(1)])
    assert torch.equal(whole, alone)


def test_a_group_of_mls_is_a_plane():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    stored = store(x, parse_format("mls_e2m4"), "activation", True)
    assert torch.equal(stored, quantize(x, "mls_e2m4:6x6"))
    row = store(x.flatten(1), parse_format("mls_e2m4"), "activation", False)
    assert torch.equal(row, quantize(x.flatten(1), "mls_e2m4:1x108"))


def test_a_map_of_blocks_is_shared_by_the_samples():
    x = torch.randn(3, 8, 4, 4)
    wide, narrow = (store(x, parse_format(f"bfp{bits}"), "activation", True) for bits in (8, 2))
    widths = torch.tensor([[8, 8, 8, 8], [2, 2, 2, 2]])  # rows of blocks: channels 0-3, 4-7
    mixed = store(x, BlockMap(widths), "activation", True)
    assert torch.equal(mixed[:, :4], wide[:, :4])
    assert torch.equal(mixed[:, 4:], narrow[:, 4:])


def test_stochastic_rounding_is_of_the_operands_that_ask_for_it():
    control = Control(weight=parse_format("int3"), error=parse_format("int3"))
    control.generator.manual_seed(0)
    x = torch.randn(50, 50)
    assert torch.equal(control.stored(x, "weight"), quantize(x, "int3"))
    assert not torch.equal(control.stored(x, "error"), quantize(x, "int3"))


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32)])
def test_a_workload_is_its_network(name, shape):
    module = make_module(name, shape, 10, seed=0)
    network = workload_of(module, shape, "tiny", "a test", 32, 1000, 2)
    layers = mac_layers(module)
    assert [layer.name for layer in network.mac_layers] == list(layers)
    position = sum(value.numel() for key, value in module.named_parameters() if key == "position")
    assert network.parameters == sum(value.numel() for value in module.parameters()) - position
    counted = {}

    def count(key):
        def hook(part, inputs, output):
            size = part.weight[0].numel() if hasattr(part, "weight") else inputs[0].shape[-1]
            counted[key] = output[0].numel() * size

        return hook

    handles = [part.register_forward_hook(count(key)) for key, part in layers.items()]
    module.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    assert {layer.name: layer.macs for layer in network.mac_layers} == counted
    assert network.layers[0].passes == ("forward", "backward_weight")
    assert all("backward_data" in layer.passes for layer in network.mac_layers[1:])
    assert network_text(network).count("\n  - ") == len(network.layers)


def test_a_shortcut_reads_what_the_first_convolution_reads():
    network = workload_of(make_module("resnet", (1, 28, 28), 10, 0), (1, 28, 28), "tiny", "a test", 32, 1000, 2)
    ties = {layer.name: layer.tie for layer in network.layers if layer.tie}
    assert ties == {
        "layer2.conv1": "layer2.conv1", "layer2.downsample": "layer2.conv1",
        "layer3.conv1": "layer3.conv1", "layer3.downsample": "layer3.conv1",
    }  # fmt: skip


def test_first_weights_follow_the_seed():
    first, again, other = (make_module("cnn", (1, 8, 8), 10, seed).conv1.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert np.isfinite(first.detach().numpy()).all()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_shipped_workload_is_the_network(name):
    shipped = load_workload(f"fashion_{name}")
    found = workload_of(
        make_module(name, (1, 28, 28), 10, 0), (1, 28, 28), shipped.name, shipped.source, shipped.batch, shipped.samples,
        shipped.epochs, shipped.optimizer,
    )  # fmt: skip
    assert shipped.layers == found.layers
