"""Multiply-accumulates and parameters of the shipped networks against published figures."""

import pytest

from dse.workload import load_workload

#: name: (GMAC per sample, million parameters, how many decimals the figures have, source)
PUBLISHED = {
    "imagenet_resnet": (1.814, 11.69, "torchvision resnet18"),
    "imagenet_resnet34": (3.66, 21.80, "torchvision resnet34"),
    "imagenet_resnet50": (4.09, 25.56, "torchvision resnet50"),
    "imagenet_vgg16": (15.47, 138.36, "torchvision vgg16"),
    "imagenet_mobilenet_v2": (0.301, 3.50, "torchvision mobilenet_v2"),
    "cifar_resnet20": (0.0406, 0.27, "He et al., CVPR 2016, table 6 (0.27 M)"),
}

#: Forward and training GMAC of the convolutions per image: shapes of MLS's evaluation, arXiv 2006.02804.
CONVOLUTIONS = {
    "imagenet_resnet": (1.8136, 5.323),
    "imagenet_resnet34": (3.6632, 10.872),
    "imagenet_vgg16": (15.347, 45.95),
    "imagenet_googlenet": (1.5816, 4.627),
    "cifar_resnet20": (0.04055, 0.121),
}


def decimals(value):
    return len(str(value).split(".")[1])


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_and_parameters(name):
    gmac, millions, _ = PUBLISHED[name]
    network = load_workload(name)
    assert round(network.macs / 1e9, decimals(gmac)) == gmac
    assert round(network.parameters / 1e6, decimals(millions)) == millions


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_macs_of_convolutions(name):
    forward, training = CONVOLUTIONS[name]
    layers = [layer for layer in load_workload(name).layers if layer.kind == "conv"]
    assert sum(layer.macs for layer in layers) / 1e9 == pytest.approx(forward, abs=0.6 * 10 ** -decimals(forward))
    macs = sum(layer.macs * len(layer.passes) for layer in layers) / 1e9
    assert macs == pytest.approx(training, abs=0.6 * 10 ** -decimals(training))


def test_training_of_resnet50_is_2971_of_its_forward_pass():
    network = load_workload("imagenet_resnet50")
    macs = sum(layer.macs * len(layer.passes) for layer in network.mac_layers)
    assert macs / network.macs == pytest.approx(2.971, abs=5e-4)


def test_alexnet_of_adapt():
    """Kernel, stride and padding as its source states; 3x32x32 leaves 8x8, 4x4, 2x2 and 1x1 maps."""
    network = load_workload("cifar_alexnet")
    shapes = [(layer.K, layer.C, layer.R, layer.P) for layer in network.mac_layers]
    assert shapes == [
        (64, 3, 11, 8),
        (192, 64, 5, 4),
        (384, 192, 3, 2),
        (256, 384, 3, 2),
        (256, 256, 3, 2),
        (10, 256, 1, 1),
    ]
    assert network.steps_per_epoch == 88
