"""Multiply-accumulates and parameters of the shipped networks against published figures."""

import pytest

from dse.validation.table import NETWORKS
from dse.workload import load_workload


def decimals(value):
    return len(str(value).split(".")[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_and_parameters(name):
    gmac, millions, _ = NETWORKS[name]
    network = load_workload(name)
    assert round(network.macs / 1e9, decimals(gmac)) == gmac
    assert round(network.parameters / 1e6, decimals(millions)) == millions


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
