"""Small networks to train, and their workloads with the same layer names, found by running one sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dse.errors import InputError
from dse.names import PASSES
from dse.training.rounded.layers import Add, Conv, Linear, MatMul, Mean
from dse.workload.model import Layer, Network
from dse.yaml_input import suggest


class Cnn(nn.Module):
    """Five 3x3 convolutions with batch norms and a classifier; strides halve the picture three times."""

    def __init__(self, channels: int, _size: int, classes: int) -> None:
        super().__init__()
        steps = ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1))
        for index, (width, stride) in enumerate(steps, start=1):
            self.add_module(f"conv{index}", Conv(channels, width, 3, stride, 1))
            self.add_module(f"norm{index}", nn.BatchNorm2d(width))
            self.add_module(f"relu{index}", nn.ReLU())
            channels = width
        self.pool = Mean()
        self.fc = Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


class Basic(nn.Module):
    """Two 3x3 convolutions around a sum (He et al., CVPR 2016), a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = Conv(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
        self.conv2, self.norm2 = Conv(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs)
        self.downsample, self.norm3 = None, None
        if stride > 1 or inputs != outputs:
            self.downsample, self.norm3 = Conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
        self.add, self.relu2 = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        if self.downsample is not None and self.norm3 is not None:
            x = self.norm3(self.downsample(x))
        return self.relu2(self.add(y, x))


class Resnet(nn.Module):
    """A first convolution of stride 2 and three basic blocks of 16, 32 and 64 channels (an eight-layer residual network)."""

    def __init__(self, channels: int, _size: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu = Conv(channels, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()
        self.layer1, self.layer2, self.layer3 = Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 64, 2)
        self.pool = Mean()
        self.fc = Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


class Encoder(nn.Module):
    """A block of a transformer, norms first: attention and a two-layer perceptron, each around a sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv = nn.LayerNorm(width), Linear(width, 3 * width)
        self.scores, self.softmax, self.context = MatMul(), nn.Softmax(dim=-1), MatMul()
        self.proj, self.add1 = Linear(width, width), Add()
        self.norm2, self.fc1, self.relu = nn.LayerNorm(width), Linear(width, 2 * width), nn.ReLU()
        self.fc2, self.add2 = Linear(2 * width, width), Add()

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(samples, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = self.softmax(self.scores(query, key) * (width // self.heads) ** -0.5)
        mixed = self.context(weights, value.transpose(-2, -1)).transpose(1, 2).reshape(samples, tokens, width)
        x = self.add1(x, self.proj(mixed))
        return self.add2(x, self.fc2(self.relu(self.fc1(self.norm2(x)))))


class Transformer(nn.Module):
    """A small vision transformer: 16 patches, two blocks of width 48 with 3 heads, mean over tokens."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        patch, width = size // 4, 48
        self.patch = Conv(channels, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList([Encoder(width, 3), Encoder(width, 3)])
        self.norm, self.pool, self.head = nn.LayerNorm(width), Mean(), Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(self.norm(x)))


#: Passes of a layer without MACs.
_VECTOR = ("forward", "backward_data")
NETWORKS: dict[str, type[Cnn | Resnet | Transformer]] = {"cnn": Cnn, "resnet": Resnet, "transformer": Transformer}


def make_module(name: str, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with its first weights drawn from a seed.

    Parameters
    ----------
    shape
        (channels, height, width) of a sample; square, at least 8x8.

    Raises
    ------
    InputError
        An unknown network, or pictures that are too small or not square.
    """
    if name not in NETWORKS:
        raise InputError("dse measure", [f"unknown network '{name}'{suggest(name, NETWORKS)}"])
    if shape[1] != shape[2] or shape[1] < 8:
        raise InputError("dse measure", [f"expected square pictures of at least 8x8, got {shape[1]}x{shape[2]}"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[name](shape[0], shape[1], classes)


def workload_of(
    module: nn.Module,
    shape: tuple[int, int, int],
    name: str,
    source: str,
    batch: int,
    samples: int,
    epochs: int,
    optimizer: str = "momentum",
) -> Network:
    """The workload of a network: loop bounds of every layer, in the order in which one sample runs through them."""
    layers: list[Layer] = []
    producers: dict[int, list[int]] = {}
    kept: list[Tensor] = []

    def record(layer_name: str, part: nn.Module) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            layer = _layer(layer_name, part, inputs, output)
            if layer is not None:
                kept.extend(inputs)  # alive, so that no other tensor gets the same identity
                producers.setdefault(id(inputs[0]), []).append(len(layers))
                layers.append(layer)

        return hook

    handles = [part.register_forward_hook(record(key, part)) for key, part in module.named_modules() if key]
    module.train()
    module(torch.zeros(2, *shape))
    for handle in handles:
        handle.remove()
    for members in producers.values():
        macs = [index for index in members if layers[index].has_macs and layers[index].kind != "matmul"]
        for index in macs if len(macs) > 1 else ():
            layers[index] = replace(layers[index], tie=layers[macs[0]].name)
    loss = Layer("loss", "loss", G=layers[-1].K, passes=("forward", "backward_data"))
    first = replace(layers[0], passes=("forward", "backward_weight"))
    return Network(name, source, (first, *layers[1:], loss), batch, samples, epochs, optimizer)


def _layer(name: str, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Layer | None:
    """The layer of a module that ran on two samples; None for a container."""
    x = inputs[0]
    if isinstance(part, Conv):
        (r, s), (stride, across), (p, q) = part.kernel_size, part.stride, output.shape[-2:]
        channels, hw = part.in_channels, (x.shape[-2], x.shape[-1])
        return Layer(
            name, "conv", K=part.out_channels, C=channels, P=p, Q=q, R=r, S=s, stride=(stride, across), input_hw=hw
        )
    if isinstance(part, Linear):
        return Layer(name, "fc", N=x[0].numel() // x.shape[-1], K=part.out_features, C=x.shape[-1], bias=True)
    if isinstance(part, MatMul):
        return Layer(name, "matmul", N=x.shape[-2], G=x.shape[1], K=inputs[1].shape[-2], C=x.shape[-1], passes=PASSES)
    kinds = {
        nn.BatchNorm2d: "norm",
        nn.LayerNorm: "layernorm",
        nn.ReLU: "activation",
        nn.Softmax: "softmax",
        Add: "add",
    }
    kind = next((kind for cls, kind in kinds.items() if isinstance(part, cls)), None)
    if kind is not None and x.ndim == 4 and kind != "softmax":
        hw = (x.shape[2], x.shape[3])
        return Layer(name, kind, G=x.shape[1], P=hw[0], Q=hw[1], input_hw=hw, passes=_VECTOR)
    if kind is not None:
        tokens = x[0].numel() // x.shape[-1]
        return Layer(name, kind, N=tokens, G=x.shape[-1], bias=kind == "layernorm", passes=_VECTOR)
    if isinstance(part, Mean):
        rows, columns = (x.shape[2], x.shape[3]) if x.ndim == 4 else (x.shape[1], 1)
        return Layer(
            name, "pool", G=output.shape[1], R=rows, S=columns, stride=(1, 1), input_hw=(rows, columns), passes=_VECTOR
        )
    return None
