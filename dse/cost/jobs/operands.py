"""Operands of the passes of a layer: which there are, and what a plan makes of them on the chip, in DRAM and at the multipliers.

Operands by pass (roles weight, activation; result):

* forward: weight, activation; the result is an activation, written in the layer's own activation format
* backward_data: weight, error; the result is an error, written in the layer's own error format
* backward_weight: error, activation from the stash; the result is the gradient

A product of two activations (``matmul``) has an activation in the weight role: its forward pass reads two activations, and both
of its backward passes read an error and the other activation from the stash and write an error. The batch counts as groups, because
every sample has its own second operand. A cached one (a KV cache) is read in the stash format.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from dse.cost.tensors.copies import (
    WIDE,
    Stored,
    error_bits,
    has_stash,
    turned_weights,
    turning,
    written_errors,
)
from dse.cost.tensors.storage import storage_of
from dse.hardware.model import ARITHMETIC
from dse.precision.formats.properties import Format, arithmetic, element_exponent_bits, multiplier_bits
from dse.precision.plans.cells import Cell, Histogram, formats_of
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.model import PASSES, Layer, Network

#: Operands in the weight role and the activation role, and of the result; the stash is how an activation is kept.
ROLES_OF_PASS = {
    "forward": ("weight", "activation", "activation"),
    "backward_data": ("weight", "error", "error"),
    "backward_weight": ("error", "stash", "gradient"),
}
#: The same for a product of two activations.
ROLES_OF_MATMUL = {
    "forward": ("activation", "activation", "activation"),
    "backward_data": ("stash", "error", "error"),
    "backward_weight": ("error", "stash", "error"),
}


class Seen(NamedTuple):
    """What a multiplier sees of an operand: its width, the place of its arithmetic in ``ARITHMETIC``, its own exponent's width."""

    bits: int
    arithmetic: int
    exponent_bits: int


class Pair(NamedTuple):
    """Operands that meet in a MAC, in the weight role and in the activation role, and their share of the MACs."""

    weight: Seen
    activation: Seen
    share: float


def roles_of(layer: Layer, pass_: str) -> tuple[str, str, str]:
    """Operands of a pass of a layer: in the weight role, in the activation role, and of the result."""
    first, second, result = (ROLES_OF_MATMUL if layer.kind == "matmul" else ROLES_OF_PASS)[pass_]
    if layer.cached and pass_ == "forward":
        first = "stash"
    return (second, first, result) if layer.transposed and pass_ == "backward_weight" else (first, second, result)


#: Tensors in the weight role, in the activation role, and of the result (:mod:`dse.cost.tensors.storage`), each with the pass
#: along whose reduction its groups lie: who reads a result says how it is written.
TENSORS_OF_PASS = {
    "forward": (("weight", "forward"), ("input", "forward"), ("result", "forward")),
    "backward_data": (("weight", "backward_data"), ("output", "backward_data"), ("input", "forward")),
    "backward_weight": (("output", "backward_weight"), ("input", "backward_weight"), ("weight", "forward")),
}
TENSORS_OF_MATMUL = {
    "forward": (("second", "forward"), ("input", "forward"), ("result", "forward")),
    "backward_data": (("second", "backward_data"), ("output", "backward_data"), ("input", "forward")),
    "backward_weight": (("output", "backward_weight"), ("input", "backward_weight"), ("second", "forward")),
}


def tensors_of(layer: Layer, pass_: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    """Tensor and pass of what :func:`roles_of` gives the operands of."""
    first, second, result = (TENSORS_OF_MATMUL if layer.kind == "matmul" else TENSORS_OF_PASS)[pass_]
    return (second, first, result) if layer.transposed and pass_ == "backward_weight" else (first, second, result)


def widened(stored: Floats, network: Network, plan: Plan, at: Sequence[int]) -> Floats:
    """(layers, passes, 3) bits with those of what backward passes read in a wide format and requantize at its width."""
    stored = stored.copy()
    weights = turned_weights(network, plan, "requantize")
    master, errors = storage_of(network).bits(plan, "master"), error_bits(network, plan)
    stash, error = plan.cells("stash"), plan.cells("error")
    for row, index in enumerate(at):
        layer = network.layers[index]
        kept = not has_stash(plan, index) and turning(plan, stash[index]) == "requantize"
        for p, pass_ in enumerate(PASSES):
            for role, operand in enumerate(roles_of(layer, pass_)):
                if operand == "error" and turning(plan, error[index]) == "requantize":
                    stored[row, p, role] = errors[index]
                elif operand == "stash" and kept and pass_ != "forward":
                    stored[row, p, role] = WIDE.element_bits
                elif operand == "weight" and pass_ == "backward_data" and weights[index]:
                    stored[row, p, role] = master[index]
    return stored


class Written(NamedTuple):
    """(layers, passes, 3) bits of an element on the chip, and (layers, passes, 2) of what is read in DRAM."""

    stored: Floats
    in_dram: Floats


def as_written(stored: Floats, network: Network, plan: Plan, at: Sequence[int], copies: Stored) -> Written:
    """Results in a format of their own: what passes write has it, and what they read has it in DRAM.

    Parameters
    ----------
    stored
        (layers, passes, 3) bits in the formats of the layers.
    """
    stored, in_dram = stored.copy(), stored[..., :2].copy()
    results, errors = storage_of(network).bits(plan, "result"), written_errors(network, plan)
    for row, index in enumerate(at):
        layer = network.layers[index]
        for p, pass_ in enumerate(PASSES):
            operands, tensors = roles_of(layer, pass_), tensors_of(layer, pass_)
            if operands[2] != "gradient" and np.isfinite(results[index]):
                stored[row, p, 2] = results[index]
            for role, (operand, (tensor, _)) in enumerate(zip(operands[:2], tensors[:2], strict=True)):
                if operand == "weight":
                    continue
                held = errors if operand == "error" else copies.memory_bits[tensor, pass_ != "forward"]
                if np.isfinite(held[index]):
                    in_dram[row, p, role] = held[index]
    return Written(stored, in_dram)


def pairs_of_plan(plan: Plan, layers: Sequence[Layer], at: Sequence[int]) -> dict[tuple[int, int], list[Pair]]:
    """Pairs of widths by (layer, pass) of a plan with histograms."""
    known = {}
    result = {}
    for l, layer in enumerate(layers):
        for p, pass_ in enumerate(PASSES):
            first, second = (seen_operand(operand) for operand in roles_of(layer, pass_)[:2])
            if (first, second) not in known:
                known[first, second] = plan.pairs(first, second)
            pairs = known[first, second]
            merged: dict[tuple[Seen, Seen], float] = {}
            for i, j in np.argwhere(pairs.shares[at[l]] > 0.0).tolist():
                key = (_seen_of_format(pairs.first[i]), _seen_of_format(pairs.second[j]))
                merged[key] = merged.get(key, 0.0) + float(pairs.shares[at[l], i, j])
            result[l, p] = [Pair(*key, share) for key, share in sorted(merged.items())]
    return result


def elements_of_run(plan: Plan, layer: int, operands: tuple[str, str, str]) -> int:
    """Elements along the reduction that one entry of the operands' maps covers (columns of a block); 0 without a map."""
    cells = [plan.cells(seen_operand(operand))[layer] for operand in operands[:2]]
    return min((cell.block[1] for cell in cells if isinstance(cell, Histogram)), default=0)


def seen_operand(operand: str) -> str:
    """The operand whose format the multiplier sees: the stash is unpacked to the activation's."""
    return "activation" if operand == "stash" else operand


@cache
def _seen_of_format(form: Format) -> Seen:
    return Seen(multiplier_bits(form), ARITHMETIC.index(arithmetic(form)), element_exponent_bits(form))


def seen_of_cell(cell: Cell) -> Seen:
    """What the multiplier sees of a cell of a plan without histograms."""
    forms = formats_of(cell)
    return _seen_of_format(forms[0]) if forms else Seen(0, 0, 0)
