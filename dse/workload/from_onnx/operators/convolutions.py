"""Layers of the ONNX convolutions, of one to three axes."""

from __future__ import annotations

from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made, Unknown, Unsupported, windows
from dse.workload.from_onnx.graph.nodes import attributes, has_input
from dse.workload.from_onnx.graph.shapes import Shape
from dse.workload.layer import Layer
from dse.workload.nests.fold import with_axes

#: Which input is the bias of a convolution; 99 where it has none.
_BIAS_INPUT = {"ConvInteger": 99, "DeformConv": 3}
#: Axes of a convolution that nests can hold.
_MOST_AXES = 3


def convolution(flow: Flow, node: Any, name: str) -> list[Made]:
    """Conv; a single axis is the height, of three one is folded. DeformConv reads its offsets beside the same products."""
    taps = flow.shape(node.input[1])
    read, made = (flow.sample(tensor) for tensor in (node.input[0], node.output[0]))
    groups = attributes(node).get("group", 1)
    if len(read) - 2 > _MOST_AXES and len(taps) == len(read) == len(made):
        raise Unsupported(float(prod(made) * prod(taps[1:])))
    if len(read) < 3 or len(taps) != len(read) or len(made) != len(read):
        raise Unknown(f"shapes {list(flow.shape(node.input[0]))} and {list(taps)} make no convolution")
    if groups < 1 or taps[0] % groups or taps[1] * groups != read[1]:
        raise Unknown(f"{groups} groups of weights {list(taps)} do not fit an input {list(flow.shape(node.input[0]))}")
    layer = _base(flow, node, name, read, groups, taps)
    axes = windows(node, read[2:], made[2:], taps[2:])
    return [Made(with_axes(layer, axes), node.input[0], node.input[1], 1 - len(made))]


def transposed_convolution(flow: Flow, node: Any, name: str) -> list[Made]:
    """ConvTranspose: weights ``[C, K/groups, R, S]``; the mirror of the convolution whose backward_data pass it is."""
    taps = flow.shape(node.input[1])
    read, made = (flow.sample(tensor) for tensor in (node.input[0], node.output[0]))
    groups = attributes(node).get("group", 1)
    if len(read) - 2 > _MOST_AXES and len(taps) == len(read):
        raise Unsupported(float(prod(read) * prod(taps[1:])))
    if len(read) < 3 or len(taps) != len(read) or groups < 1 or taps[0] != read[1] or read[1] % groups:
        raise Unknown(f"shapes {list(flow.shape(node.input[0]))} and {list(taps)} make no transposed convolution")
    layer = _base(flow, node, name, read, groups, taps, transposed=True)
    axes = windows(node, made[2:], read[2:], taps[2:])
    return [Made(with_axes(layer, axes), node.input[0], node.input[1], 1 - len(made))]


def _base(flow: Flow, node: Any, name: str, read: Shape, groups: int, taps: Shape, transposed: bool = False) -> Layer:
    """A convolution without its axes. Weights that are computed from the input are no parameters."""
    computed = not flow.is_constant(node.input[1])
    if computed:
        flow.notes.append(f"the weights of '{name}' are computed from the input and count as the same for all samples")
    return Layer(
        name=name, kind="conv", N=read[0], G=groups, K=taps[0] // groups, C=taps[1], transposed=transposed,
        bias=has_input(node, _BIAS_INPUT.get(node.op_type, 2)) and not computed, shared=computed,
        passes=flow.mac_passes(node.input[0], node.input[1]),
    )  # fmt: skip
