"""Layers with MACs whose weight, activation and error are rounded to number formats, on float32 master weights.

The forward pass reads the rounded weight and activation, which are also what the backward passes read; the error that
arrives at a layer's output is rounded before either backward pass reads it. Rounding itself has the gradient 1 (straight
through: Bengio et al., arXiv 1308.3432). Parameters stay in float32 and are what the optimizer updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.precision.formats.properties import Format
from dse.training.rounded.quantize import quantize, quantize_blocks


@dataclass(frozen=True, eq=False)
class BlockMap:
    """Block floating point with a width per block: (row blocks, column blocks), shared by the samples of a batch."""

    widths: Tensor
    block: tuple[int, int] = (4, 4)


#: How a tensor is stored; None: in float32.
Stored: TypeAlias = Format | BlockMap | None


@dataclass
class Control:
    """What a layer's tensors are stored in, and what is kept of them for those who decide; set from outside.

    Attributes
    ----------
    weight, activation, error
        Formats, None for float32.
    stash
        What backward_weight reads instead of the activation; None: the activation as the forward pass read it.
    gradient, result
        Formats of the weight's gradient, and of what a pass writes: the output and, on the way back, the error of the activation.
    stochastic
        Operands that are rounded stochastically, the others to nearest.
    generator
        Of the stochastic rounding.
    pictures
        Whether the layer's tensors have planes; see :func:`store`.
    watch
        Keep the activation, its gradient and the error of the next step.
    seen
        What was kept.
    """

    weight: Stored = None
    activation: Stored = None
    error: Stored = None
    stash: Stored = None
    gradient: Stored = None
    result: Stored = None
    stochastic: frozenset[str] = frozenset({"error"})
    generator: torch.Generator = field(default_factory=torch.Generator)
    pictures: bool = False
    watch: bool = False
    seen: dict[str, Tensor] = field(default_factory=dict)

    def take(
        self,
        weight: Stored,
        activation: Stored,
        error: Stored,
        stash: Stored = None,
        gradient: Stored = None,
        result: Stored = None,
    ) -> None:
        """Formats from now on."""
        self.weight, self.activation, self.error = weight, activation, error
        self.stash, self.gradient, self.result = stash, gradient, result

    def stored(self, x: Tensor, operand: str) -> Tensor:
        """A tensor as it is after being stored; of a narrower type, as autocast makes them, rounded in float32."""
        form = getattr(self, operand)
        if form is None:
            return x
        generator = self.generator if operand in self.stochastic else None
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        # A gradient has the shape of the weight.
        shape = "weight" if operand == "gradient" else operand
        return store(wide, form, shape, self.pictures, generator).to(x.dtype)


def as_matrix(x: Tensor, operand: str, pictures: bool) -> Tensor:
    """A tensor as the product of one sample sees it: output channels x inputs, channels x positions, tokens x features.

    Samples never share a block, so that a result does not depend on which samples are in a batch.
    """
    if pictures:
        return x.flatten(1 if operand == "weight" else 2)
    return x.unsqueeze(1) if operand != "weight" and x.ndim == 2 else x


def store(x: Tensor, stored: Stored, operand: str, pictures: bool, generator: torch.Generator | None = None) -> Tensor:
    """Round a tensor of a layer; to nearest without a generator.

    Blocks of block floating point, MX and VS-Quant lie in :func:`as_matrix`, their columns along the channels of a picture, which
    the forward pass (of an error, backward_data) sums over; ActNN cuts each sample as it lies in memory. A group of MLS is a plane
    of a filter or of a feature map (arXiv 2006.02804 groups feature maps by sample and channel), and a row where there is no
    plane; a row is a pixel, a token or an output channel of a weight. Channels are output channels of a weight, channels or
    features of an activation or error.

    Parameters
    ----------
    pictures
        Whether the tensor is a convolution's, with planes.
    """
    if stored is None:
        return x
    matrix = as_matrix(x, operand, pictures)
    if isinstance(stored, BlockMap):
        return quantize_blocks(matrix, stored.widths, stored.block, generator).reshape(x.shape)
    channel = (0 if operand == "weight" else 1) if pictures else (-2 if operand == "weight" else -1)
    if stored.granularity == "plane":
        planes = pictures and x.ndim > 3 and x.shape[-2:] != (1, 1)
        view, group = (x, tuple(x.shape[-2:])) if planes else (matrix, (1, matrix.shape[-1]))
        return quantize(view, replace(stored, group=group), generator, check=False).reshape(x.shape)
    if stored.granularity == "flat":
        return quantize(x.flatten(1 if operand != "weight" else 0), stored, generator, check=False).reshape(x.shape)
    if stored.granularity == "row":
        width = matrix.shape[1 if pictures and operand != "weight" else -1]
        stored = replace(stored, granularity="group", group=(1, width))
    if stored.granularity == "group" and pictures and operand != "weight":
        by_pixel = quantize(matrix.transpose(1, 2), stored, generator, channel_axis=-1, check=False)
        return by_pixel.transpose(1, 2).reshape(x.shape)
    if stored.granularity == "group":
        channel = channel if matrix.ndim == x.ndim or pictures else -1
        return quantize(matrix, stored, generator, channel_axis=channel, check=False).reshape(x.shape)
    return quantize(x, stored, generator, channel_axis=channel, check=False)


class _Through(torch.autograd.Function):
    """Rounds forward as an operand; passes the gradient through, rounded as another one."""

    @staticmethod
    def forward(context: Any, x: Tensor, control: Control, operand: str, back: str) -> Tensor:
        context.control, context.back = control, back
        return control.stored(x, operand)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return context.control.stored(gradient, context.back), None, None, None


class _Error(torch.autograd.Function):
    """Passes values through, rounds the gradient: the error as both backward passes read it."""

    @staticmethod
    def forward(context: Any, x: Tensor, control: Control) -> Tensor:
        context.control = control
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        control = context.control
        if control.watch:
            control.seen["error"] = gradient.detach()
        return control.stored(gradient, "error"), None


def _activation(x: Tensor, control: Control) -> Tensor:
    if control.watch:
        control.seen["activation"] = x.detach()
        if x.requires_grad:
            x.register_hook(lambda gradient: control.seen.__setitem__("activation gradient", gradient.detach()))
    plain = control.activation is None and control.result is None
    return x if plain else _Through.apply(x, control, "activation", "result")


def _weight(w: Tensor, control: Control, back: str) -> Tensor:
    plain = control.weight is None and getattr(control, back) is None
    return w if plain else _Through.apply(w, control, "weight", back)


def _output(y: Tensor, control: Control) -> Tensor:
    y = y if control.result is None else y + (control.stored(y.detach(), "result") - y.detach())
    return _Error.apply(y, control) if (control.error is not None or control.watch) and y.requires_grad else y


def _with_stash(product: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor, control: Control) -> Tensor:
    """The product of the activation, whose gradient for the weight is that of the stashed activation."""
    if control.stash is None or not w.requires_grad:
        return product(x, w)
    kept = product(control.stored(x.detach(), "stash"), w)
    return product(x, w.detach()) + (kept - kept.detach())


def rounded_product(
    multiply: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    w: Tensor,
    control: Control,
    bias: Tensor | None = None,
    learned: bool = True,
) -> Tensor:
    """A product whose operands, error and result are rounded as a control says; the bias is added in full precision.

    Parameters
    ----------
    multiply
        Of the rounded activation and weight, such as ``torch.nn.functional.linear``.
    learned
        Whether ``w`` is a weight; else it is an activation, and what comes back to it an error that is written as a result.
    """
    w = _weight(w, control, "gradient" if learned else "result")
    y = _with_stash(multiply, _activation(x, control), w, control)
    return _output(y if bias is None else y + bias.to(y.dtype), control)


class Conv(nn.Conv2d):
    """A convolution with rounded operands."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=False)
        self.control = Control(pictures=True)

    def forward(self, x: Tensor) -> Tensor:
        def product(x: Tensor, w: Tensor) -> Tensor:
            return functional.conv2d(x, w, None, self.stride, self.padding)

        return rounded_product(product, x, self.weight, self.control)


class Linear(nn.Linear):
    """A fully connected layer with rounded operands."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.control = Control()

    def forward(self, x: Tensor) -> Tensor:
        return rounded_product(functional.linear, x, self.weight, self.control, self.bias)


class MatMul(nn.Module):
    """A product of two activations (..., tokens, C) and (..., K, C); the second one is the workload's ``W``."""

    def __init__(self) -> None:
        super().__init__()
        self.control = Control()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return rounded_product(lambda x, w: x @ w.transpose(-2, -1), x, w, self.control, learned=False)


class Add(nn.Module):
    """A sum of two activations, as a layer of its own."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Mean(nn.Module):
    """Mean over all positions, (N, C, H, W) -> (N, C) or over all tokens, (N, T, C) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) if x.ndim == 4 else x.mean(dim=1)


MacLayer: TypeAlias = Conv | Linear | MatMul


def mac_layers(module: nn.Module) -> dict[str, MacLayer]:
    """Layers with MACs by name, in network order (that of the workload file)."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Conv | Linear | MatMul)}
