"""Torch networks as a backend of :func:`dse.accuracy.measuring.measure.measure`: profiles of torch modules, and of their errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from dse.accuracy.measuring.measure import Ranges
from dse.accuracy.measuring.settings import Images
from dse.accuracy.profiles.schema import Operand
from dse.errors import InputError
from dse.precision.formats.properties import Format, parse_format
from dse.training.loops.train import outputs_of
from dse.training.rounded.layers import MacLayer, MatMul, mac_layers, store
from dse.types import Floats, Ints

#: Layers of any torch network whose weights and input activations are measured, beside :class:`dse.training.rounded.layers.MatMul`.
KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


@dataclass(frozen=True)
class TorchModel:
    """Any module that maps a batch of images to (n, classes) outputs before the softmax.

    Attributes
    ----------
    module
        The network; formats of its own layers (:mod:`dse.training.rounded.layers`) are put aside while it is measured, and put
        back.
    name
        Name of its workload, whose layers have the module's names.
    family
        Formats of the weights: ``int`` or ``bfp`` (or another family, with its option after a colon, as ``int:channel``).
    activation_family
        Formats of the activations; None: those of the weights, per tensor.

    Raises
    ------
    InputError
        No layer that can be quantized.
    """

    module: nn.Module
    name: str
    family: str = "int"
    activation_family: str | None = None

    def __post_init__(self) -> None:
        if not self._parts:
            known = ", ".join(kind.__name__ for kind in KINDS)
            raise InputError(self.name, [f"has no layer that can be quantized; known: {known}"])

    @property
    def _parts(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.module.named_modules() if isinstance(part, (*KINDS, MatMul))}

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self._parts)

    @property
    def weights(self) -> int:
        """Weights without biases."""
        return sum(part.weight.numel() for part in self._parts.values() if isinstance(part, KINDS))

    @property
    def kept(self) -> Mapping[str, int]:
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        families = dict.fromkeys((self.family, self._activation_family))
        return (f"Rounded to {' and '.join(families)} formats by the reference quantizers; nothing is retrained.",)

    @property
    def digest(self) -> str:
        hashed = hashlib.sha256(f"{self.family} {self._activation_family}".encode())
        for name, value in self.module.state_dict().items():
            hashed.update(name.encode() + value.contiguous().numpy().tobytes())
        return hashed.hexdigest()

    def ranges(self, images: Images) -> Ranges:
        """Nothing: the formats find their scales in each tensor."""
        return {}

    def outputs(
        self, images: Images, weight: Mapping[str, int], activation: Mapping[str, int], ranges: Ranges
    ) -> Floats:
        """(n, classes) outputs before the softmax with some weights and activations rounded."""
        weights = {name: _format(self.family, width) for name, width in weight.items()}
        activations = {name: _format(self._activation_family, width) for name, width in activation.items()}
        with in_full_precision(mac_layers(self.module)), _rounded(self._parts, weights, activations):
            return outputs_of(self.module, images).double().numpy()

    def tensor_noise(self, images: Images, layer: str, operand: Operand, width: int, ranges: Ranges) -> float:
        """Squared error of one layer's rounded weight or input over its square; a product's second input is its weight."""
        part = self._parts[layer]
        pictures = isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
        form = _format(self.family if operand == "weight" else self._activation_family, width)
        sums = np.zeros(2)

        def add(exact: torch.Tensor) -> None:
            error = store(exact, form, operand, pictures and exact.ndim == 4) - exact
            sums[:] += [float((error.double() ** 2).sum()), float((exact.double() ** 2).sum())]

        def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            add(given[1 if operand == "weight" else 0].detach())

        if operand == "weight" and not isinstance(part, MatMul):
            add(part.weight.data)
        else:
            handle = part.register_forward_pre_hook(hook)
            try:
                with in_full_precision(mac_layers(self.module)):
                    outputs_of(self.module, images)
            finally:
                handle.remove()
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    @property
    def _activation_family(self) -> str:
        return self.activation_family or self.family.removesuffix(":channel")


def _format(family: str, width: int) -> Format:
    head, _, option = family.partition(":")
    return parse_format(f"{head}{width}" + (f":{option}" if option else ""))


@contextmanager
def _rounded(
    parts: Mapping[str, nn.Module], weights: Mapping[str, Format], activations: Mapping[str, Format]
) -> Iterator[None]:
    """Inside, some layers read rounded weights and inputs; afterwards everything is as before."""
    before: list[tuple[torch.Tensor, torch.Tensor]] = []
    handles = []

    def reads(name: str, pictures: bool) -> Callable[..., tuple[torch.Tensor, ...]]:
        def hook(part: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            x, *rest = given
            x = store(x, activations.get(name), "activation", pictures and x.ndim == 4)
            if isinstance(part, MatMul):
                rest = [store(rest[0], weights.get(name), "weight", False)]
            return (x, *rest)

        return hook

    try:
        for name in dict.fromkeys((*weights, *activations)):
            part = parts[name]
            pictures = isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
            handles.append(part.register_forward_pre_hook(reads(name, pictures)))
            if name in weights and not isinstance(part, MatMul):
                kept = part.weight.data
                before.append((part.weight, kept))
                part.weight.data = store(kept, weights[name], "weight", pictures)
        yield
    finally:
        for parameter, kept in before:
            parameter.data = kept
        for handle in handles:
            handle.remove()


@contextmanager
def in_full_precision(layers: Mapping[str, MacLayer]) -> Iterator[None]:
    """All layers in float32 inside, with their formats back afterwards."""
    before = {name: replace(part.control) for name, part in layers.items()}
    try:
        for part in layers.values():
            part.control.take(None, None, None)
        yield
    finally:
        for name, kept in before.items():
            layers[name].control = kept


def error_scores(
    module: nn.Module,
    images: Images,
    labels: Ints,
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
