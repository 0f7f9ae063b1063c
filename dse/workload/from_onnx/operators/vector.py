"""Layers of the ONNX operators without multiply-accumulates: norms, pools, element-wise functions, softmax, embeddings."""

from __future__ import annotations

from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made, Unsupported, windows
from dse.workload.from_onnx.graph.nodes import attributes, has_input
from dse.workload.from_onnx.graph.shapes import Shape
from dse.workload.layer import Layer

#: Functions of one tensor by operator, as :data:`dse.workload.layer.FUNCTIONS` calls them.
_FUNCTIONS = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "ThresholdedRelu": "relu", "PRelu": "prelu", "Clip": "clip",
    "HardSigmoid": "hardsigmoid", "Abs": "abs", "Elu": "elu", "Selu": "elu", "Celu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "Softplus": "softplus", "Exp": "exp", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "HardSwish": "hardswish", "Swish": "silu",
    "Gelu": "gelu", "FastGelu": "gelu", "QuickGelu": "gelu", "BiasGelu": "gelu", "Softsign": "scale", "Erf": "erf", "Log": "log",
    "Sin": "sine", "Cos": "sine", "Mish": "mish", "Pow": "power", "Neg": "linear", "RotaryEmbedding": "rope",
    **dict.fromkeys(("Floor", "Ceil", "Round", "Sign", "Not", "IsNaN", "IsInf"), "step"),
    **dict.fromkeys(("Max", "Min", "Where"), "select"),
    **dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Mod"), "step"),
}  # fmt: skip


def norm(flow: Flow, node: Any, name: str) -> list[Made]:
    """Batch norm: one scale and shift per channel."""
    shape = flow.sample(node.input[0])
    channels = shape[1] if len(shape) > 1 else shape[0]
    return [_vector(flow, node, name, "norm", shape, channels)]


def layer_norm(flow: Flow, node: Any, name: str) -> list[Made]:
    """Layer, RMS, group and instance norm: as many scales as their parameter has."""
    shape = flow.sample(node.input[0])
    scales = prod(flow.shape(node.input[1])) if has_input(node, 1) else 1
    channels = scales if prod(shape) % scales == 0 else 1
    rest = prod(shape) // channels
    layer = Layer(
        name=name, kind="layernorm", G=channels, P=rest, input_hw=(rest, 1), bias=has_input(node, 2),
        shared=not has_input(node, 1), passes=flow.vector_passes(node),
    )  # fmt: skip
    return [Made(layer)]


def pool(flow: Flow, node: Any, name: str) -> list[Made]:
    """Max and average pools, global ones, and reductions. Of three axes the first two are one: sizes and windows are products."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    passes = flow.vector_passes(node)
    function = "max" if "Max" in node.op_type or "Min" in node.op_type or node.op_type == "TopK" else "average"
    taps = attributes(node).get("kernel_shape")
    spatial = len(read) > 2 and len(read) == len(made)
    if isinstance(taps, list) and spatial and len(taps) == len(read) - 2:
        axes = windows(node, read[2:], made[2:], taps)
    elif node.op_type.startswith("Global") and spatial:
        axes = windows(node, read[2:], made[2:], read[2:])
    else:
        window = max(prod(read) // max(prod(made), 1), 1)
        layer = Layer(
            name=name, kind="pool", G=prod(made), R=window, input_hw=(window, 1), function=function, passes=passes
        )  # fmt: skip
        return [Made(layer)]
    high, wide = (axes, []) if len(axes) == 1 else (axes[:-1], axes[-1:])
    layer = Layer(
        name=name, kind="pool", N=read[0], G=read[1], P=prod(axis.output for axis in high), Q=prod(axis.output for axis in wide),
        R=prod(axis.taps for axis in high), S=prod(axis.taps for axis in wide),
        stride=(prod(axis.stride for axis in high), prod(axis.stride for axis in wide)),
        input_hw=(prod(axis.input for axis in high), prod(axis.input for axis in wide)), function=function, passes=passes,
    )  # fmt: skip
    return [Made(layer)]


def resize(flow: Flow, node: Any, name: str) -> list[Made]:
    """Resize and Upsample of signals, images and volumes."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    if len(read) < 3 or len(read) != len(made):
        raise Unsupported(0.0)
    return [
        Made(
            Layer(
                name=name, kind="resize", N=read[0], G=read[1], P=_high(made), Q=_wide(made), input_hw=(_high(read), _wide(read)),
                passes=flow.vector_passes(node),
            )
        )
    ]  # fmt: skip


def _high(shape: Shape) -> int:
    return prod(shape[2:-1]) if len(shape) > 3 else shape[2]


def _wide(shape: Shape) -> int:
    return shape[-1] if len(shape) > 3 else 1


def elementwise(flow: Flow, node: Any, name: str) -> list[Made]:
    """One operand: applied as it is written. Two: a sum or a product, with the traffic of both."""
    tensors = [tensor for tensor in node.input if tensor and not flow.is_constant(tensor)]
    kind = "activation" if len(tensors) < 2 else "add" if node.op_type in ("Add", "Sub", "Sum", "Mean") else "multiply"
    function = _function(flow, node, kind)
    shape = flow.sample(node.output[0])
    channels = shape[1] if len(shape) > 2 else prod(shape)
    layers = [_vector(flow, node, name, kind, shape, channels, function)]
    more = range(2, len(tensors) if node.op_type in ("Sum", "Mean", "Max", "Min") else 2)
    return layers + [_vector(flow, node, f"{name}.{index}", kind, shape, channels, function) for index in more]


def _function(flow: Flow, node: Any, kind: str) -> str:
    """What an element-wise operator computes, as far as its backward pass depends on it."""
    if kind == "add":
        return ""
    if node.op_type not in ("Add", "Sub", "Sum", "Mean", "Mul", "Div"):
        return _FUNCTIONS.get(node.op_type, "")
    if kind == "multiply":
        return ""
    constants = [tensor for tensor in node.input if tensor and flow.is_constant(tensor)]
    if node.op_type == "Div" and flow.is_constant(node.input[0]):
        return "reciprocal"
    # The gradient of a learned scale needs what is scaled.
    learned = node.op_type == "Mul" and any(prod(flow.graph.shapes.get(tensor) or (1,)) > 1 for tensor in constants)
    return "scale" if learned else "linear"


def softmax(flow: Flow, node: Any, name: str) -> list[Made]:
    """Softmax over any axis."""
    shape = flow.sample(node.input[0])
    return [_vector(flow, node, name, "softmax", shape, shape[1] if len(shape) > 2 else prod(shape))]


def embedding(flow: Flow, node: Any, name: str) -> list[Made]:
    """Gather of rows of a learned table; any other gather moves elements."""
    table, index = node.input[0], node.input[1]
    if not flow.is_constant(table) or flow.is_constant(index) or len(flow.shape(table)) != 2:
        return []
    if attributes(node).get("axis", 0) != 0:
        return []
    rows, width = flow.shape(table)
    layer = Layer(
        name=name, kind="embedding", N=prod(flow.sample(index)), K=width, C=rows, passes=("forward", "backward_data")
    )  # fmt: skip
    return [Made(layer, weight=table)]


def _vector(flow: Flow, node: Any, name: str, kind: str, shape: Shape, channels: int, function: str = "") -> Made:
    rest = shape[2:] if len(shape) > 2 and channels == shape[1] else (prod(shape) // channels,)
    lead = shape[0] if len(shape) > 2 and channels == shape[1] else 1
    high, wide = (rest[0], prod(rest[1:])) if rest else (1, 1)
    return Made(
        Layer(
            name=name, kind=kind, N=lead, G=channels, P=high, Q=wide, input_hw=(high, wide), function=function,
            passes=flow.vector_passes(node),
        )
    )  # fmt: skip
