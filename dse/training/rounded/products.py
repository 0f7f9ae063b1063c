"""Products of any torch module with rounded operands: linear, convolution, matrix product, attention, recurrent steps.

Each function takes the arguments of torch's own function and says which layers it runs by asking a lookup for their
:class:`~dse.training.rounded.layers.Control`; a layer without one runs as torch runs it. As in :mod:`dse.training.rounded.layers`,
all passes read the rounded weight and activation, and the error is rounded where it arrives at the product's output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dse.training.rounded.layers import Control, rounded_product


class Lookup(Protocol):
    """Finds the control of a layer, or None: by its weight, or, for a product of two activations, by where it runs."""

    def weight(self, weight: Tensor) -> Control | None: ...

    def product(self) -> Control | None: ...

    def is_weight(self, tensor: Tensor) -> bool: ...


def linear(lookup: Lookup, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As ``torch.nn.functional.linear``."""
    learned = lookup.is_weight(weight)
    control = lookup.weight(weight) if learned else lookup.product()
    if control is None:
        return functional.linear(x, weight, bias)
    return rounded_product(functional.linear, x, weight, control, bias, learned=learned)


def convolution(
    lookup: Lookup, function: Callable[..., Tensor], x: Tensor, weight: Tensor, *rest: Any, **named: Any
) -> Tensor:
    """As one of ``torch.conv1d`` to ``conv3d`` and ``conv_transpose1d`` to ``3d``, which ``function`` is."""
    control = lookup.weight(weight) if lookup.is_weight(weight) else None
    if control is None:
        return function(x, weight, *rest, **named)
    bias, *others = rest or (named.pop("bias", None),)

    def multiply(x: Tensor, w: Tensor) -> Tensor:
        return function(x, w, None, *others, **named)

    control.pictures = True
    along = None if bias is None else bias.view(-1, *(1,) * (weight.ndim - 2))
    if x.ndim < weight.ndim:
        # A single sample: blocks lie as in a batch of one.
        return rounded_product(multiply, x.unsqueeze(0), weight, control, along).squeeze(0)
    return rounded_product(multiply, x, weight, control, along)


def matmul(lookup: Lookup, a: Tensor, b: Tensor) -> Tensor:
    """As ``torch.matmul``; the second operand is the weight, unless only the first one is a parameter."""
    if a.ndim == 1 or b.ndim == 1:
        wide = matmul(lookup, a.unsqueeze(0) if a.ndim == 1 else a, b.unsqueeze(-1) if b.ndim == 1 else b)
        wide = wide.squeeze(-1) if b.ndim == 1 else wide
        return wide.squeeze(-1 if b.ndim == 1 or wide.ndim == 1 else -2) if a.ndim == 1 else wide
    if lookup.is_weight(a) and not lookup.is_weight(b):
        return matmul(lookup, b.transpose(-2, -1), a.transpose(-2, -1)).transpose(-2, -1)
    learned = lookup.is_weight(b)
    control = lookup.weight(b) if learned else lookup.product()
    return torch.matmul(a, b) if control is None else matmul_of(control, a, b, learned)


def matmul_of(control: Control, a: Tensor, b: Tensor, learned: bool) -> Tensor:
    """(..., tokens, C) x (..., C, K), the second operand rounded as (..., K, C): along what the product sums over."""
    return rounded_product(lambda x, w: x @ w.transpose(-2, -1), a, b.transpose(-2, -1), control, learned=learned)


def add_product(
    lookup: Lookup,
    function: Callable[..., Tensor],
    added: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    beta: float = 1.0,
    alpha: float = 1.0,
) -> Tensor:
    """As ``torch.addmm``, ``torch.baddbmm``, or ``torch.addbmm``, the sum over a batch of products; which ``function`` is."""
    learned = lookup.is_weight(b)
    control = lookup.weight(b) if learned else lookup.product()
    if control is None:
        return function(added, a, b, beta=beta, alpha=alpha)
    found = matmul_of(control, a, b, learned)
    return beta * added + alpha * (found.sum(dim=0) if function.__name__ == "addbmm" else found)


def einsum(lookup: Lookup, equation: str, operands: Sequence[Tensor]) -> Tensor:
    """As ``torch.einsum``: two operands that meet in some index are rounded along those that are summed over.

    Other sums of products (one operand, three and more, an ellipsis, an index that one operand has twice) run as torch runs them.
    """
    left, _, right = equation.replace(" ", "").partition("->")
    sides = left.split(",")
    plain = len(operands) == 2 and "." not in left and "->" in equation and all(len(set(s)) == len(s) for s in sides)
    summed = [c for c in sides[0] if plain and c in sides[1] and c not in right]
    if not summed:
        return torch.functional._VF.einsum(equation, operands)
    a, b = operands
    turned = lookup.is_weight(a) and not lookup.is_weight(b)
    if turned:
        a, b, sides = b, a, sides[::-1]
    control = lookup.weight(b) if lookup.is_weight(b) else lookup.product()
    if control is None:
        return torch.functional._VF.einsum(equation, operands)
    flat, shapes = [], []
    for side, tensor in zip(sides, (a, b), strict=True):
        kept = [c for c in side if c not in summed]
        ordered = tensor.permute([side.index(c) for c in (*kept, *summed)])
        shapes.append((kept, ordered.shape))
        flat.append(ordered.flatten(len(kept)))

    def multiply(x: Tensor, w: Tensor) -> Tensor:
        x, w = (tensor.reshape(shape) for tensor, (_, shape) in zip((x, w), shapes, strict=True))
        names = ["".join((*kept, *summed)) for kept, _ in shapes]
        return torch.functional._VF.einsum(f"{names[0]},{names[1]}->{right}", (x, w))

    return rounded_product(multiply, flat[0], flat[1], control, learned=lookup.is_weight(b))


def attention(
    lookup: Lookup,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As ``torch.nn.functional.scaled_dot_product_attention``, its two products one after the other."""
    first, second = lookup.product(), lookup.product()
    if first is None and second is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        key, value = (part.repeat_interleave(query.size(-3) // part.size(-3), -3) for part in (key, value))
    factor = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = _attend(first, query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
    weights = functional.dropout(torch.softmax(scores, dim=-1).to(value.dtype), dropout_p, training=dropout_p > 0.0)
    return _attend(second, weights, value)


def _attend(control: Control | None, a: Tensor, b: Tensor) -> Tensor:
    return a @ b if control is None else matmul_of(control, a, b, learned=False)
