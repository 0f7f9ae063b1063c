"""A trained torch network as a backend of :func:`dse.accuracy.measure.measure`: profiles of torch modules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.accuracy.measure import Images, Ranges
from dse.errors import InputError
from dse.precision.formats import parse_format
from dse.training.layers import MacLayer, mac_layers
from dse.training.train import outputs_of


@dataclass(frozen=True)
class TorchModel:
    """A module whose layers with MACs are those of :mod:`dse.training.layers`.

    Attributes
    ----------
    module
        The network; its own formats are put aside while it is measured, and put back.
    name
        Name of its workload.
    family
        Formats of the measurement: ``int`` or ``bfp`` (or another family, with its option after a colon), as in training.
    """

    module: nn.Module
    name: str
    family: str = "int"

    def __post_init__(self) -> None:
        if not mac_layers(self.module):
            raise InputError(
                self.name,
                ["has no layer that can be quantized; build it of dse.training.layers (Conv, Linear, MatMul)"],
            )

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(mac_layers(self.module))

    @property
    def weights(self) -> int:
        """Weights without biases."""
        return sum(
            part.weight.numel() for part in mac_layers(self.module).values() if isinstance(part, nn.Conv2d | nn.Linear)
        )

    @property
    def kept(self) -> Mapping[str, int]:
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"Weights and activations are rounded to {self.family} formats, as in training; nothing is retrained.",)

    @property
    def digest(self) -> str:
        hashed = hashlib.sha256(self.family.encode())
        for name, value in self.module.state_dict().items():
            hashed.update(name.encode() + value.contiguous().numpy().tobytes())
        return hashed.hexdigest()

    def ranges(self, images: Images) -> Ranges:
        """Nothing: the formats find their scales in each tensor."""
        return {}

    def outputs(
        self, images: Images, weight: Mapping[str, int], activation: Mapping[str, int], ranges: Ranges
    ) -> NDArray[np.float64]:
        """(n, classes) outputs before the softmax with some weights and activations rounded."""
        layers = mac_layers(self.module)
        with in_full_precision(layers):
            for name, width in weight.items():
                layers[name].control.weight = parse_format(self._format(width))
            for name, width in activation.items():
                layers[name].control.activation = parse_format(self._format(width))
            return outputs_of(self.module, images).double().numpy()

    def _format(self, width: int) -> str:
        head, _, option = self.family.partition(":")
        return f"{head}{width}" + (f":{option}" if option else "")


@contextmanager
def in_full_precision(layers: Mapping[str, MacLayer]) -> Iterator[None]:
    """All layers in float32 inside, with their formats back afterwards."""
    before = {name: (part.control.weight, part.control.activation, part.control.error) for name, part in layers.items()}
    try:
        for part in layers.values():
            part.control.weight = part.control.activation = part.control.error = None
        yield
    finally:
        for name, cells in before.items():
            control = layers[name].control
            control.weight, control.activation, control.error = cells


def error_scores(
    module: nn.Module,
    images: Images,
    labels: NDArray[np.int64],
    widths: tuple[int, ...],
    family: str = "int",
    batch: int = 64,
) -> dict[str, dict[int, float]]:
    """What rounding one layer's error does to all weight gradients: squared change over squared gradient, by layer and width.

    Rounded to nearest; the rest in full precision; mean over batches. A relative noise: at 1 the gradient is as wrong as it is
    large. It says which layers need wide errors, not how much accuracy they cost.
    """
    layers = mac_layers(module)
    totals = {name: dict.fromkeys(widths, 0.0) for name in layers}
    parts = list(zip(torch.from_numpy(images).split(batch), torch.from_numpy(labels).split(batch), strict=True))
    with in_full_precision(layers):
        module.eval()
        for x, y in parts:
            exact = _gradients(module, x, y)
            norm = sum(float((g**2).sum()) for g in exact)
            for name, part in layers.items():
                stochastic, part.control.stochastic = part.control.stochastic, frozenset()
                for width in widths:
                    part.control.error = parse_format(f"{family}{width}")
                    found = _gradients(module, x, y)
                    change = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, exact, strict=True))
                    totals[name][width] += change / norm / len(parts)
                part.control.error, part.control.stochastic = None, stochastic
    return totals


def _gradients(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    loss = nn.functional.cross_entropy(module(x), y)
    weights = [part.weight for part in mac_layers(module).values() if isinstance(part, nn.Conv2d | nn.Linear)]
    return list(torch.autograd.grad(loss, weights))
