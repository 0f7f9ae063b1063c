"""Layers of the ONNX operators without multiply-accumulates: norms, pools, element-wise functions, softmax, embeddings."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from dse.workload.from_onnx.flow import Flow, Unsupported, attributes, has_input, last, spatial
from dse.workload.from_onnx.shapes import Shape
from dse.workload.model import Layer


def norm(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Batch norm: one scale and shift per channel."""
    shape = flow.sample(node.input[0])
    channels = shape[1] if len(shape) > 1 else shape[0]
    return [_vector(flow, node, name, "norm", shape, channels)]


def layer_norm(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Layer, RMS, group and instance norm: as many scales as their parameter has."""
    shape = flow.sample(node.input[0])
    scales = prod(flow.shape(node.input[1])) if has_input(node, 1) else 1
    channels = scales if prod(shape) % scales == 0 else 1
    rest = prod(shape) // channels
    return [
        Layer(
            name=name, kind="layernorm", G=channels, P=rest, input_hw=(rest, 1), bias=has_input(node, 2),
            shared=not has_input(node, 1), passes=flow.vector_passes(node),
        )
    ]  # fmt: skip


def pool(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Max and average pools, global ones, and reductions."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    function = "max" if "Max" in node.op_type or "Min" in node.op_type or node.op_type == "TopK" else "average"
    if "kernel_shape" in attributes(node) and len(read) in (3, 4):
        kernel, stride = (spatial(node, key, len(read) - 2) for key in ("kernel_shape", "strides"))
        return [
            Layer(
                name=name, kind="pool", N=read[0], G=read[1], P=made[2], Q=last(made), R=kernel[0], S=kernel[1], stride=stride,
                input_hw=(read[2], last(read)), function=function, passes=flow.vector_passes(node),
            )
        ]  # fmt: skip
    if node.op_type.startswith("Global") and len(read) in (3, 4):
        hw = (read[2], last(read))
        return [
            Layer(
                name=name,
                kind="pool",
                N=read[0],
                G=read[1],
                R=hw[0],
                S=hw[1],
                input_hw=hw,
                function=function,
                passes=flow.vector_passes(node),
            )
        ]
    window = max(prod(read) // max(prod(made), 1), 1)
    return [
        Layer(
            name=name, kind="pool", G=prod(made), R=window, input_hw=(window, 1), function=function,
            passes=flow.vector_passes(node),
        )
    ]  # fmt: skip


def resize(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Resize and Upsample of images."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    if len(read) not in (3, 4):
        raise Unsupported(0.0)
    hw = (read[2], last(read))
    return [
        Layer(
            name=name, kind="resize", N=read[0], G=read[1], P=made[2], Q=last(made), input_hw=hw, passes=flow.vector_passes(node)
        )
    ]  # fmt: skip


def elementwise(flow: Flow, node: Any, name: str) -> list[Layer]:
    """One operand: applied as it is written. Two: a sum or a product, with the traffic of both."""
    tensors = [tensor for tensor in node.input if tensor and not flow.is_constant(tensor)]
    kind = "activation" if len(tensors) < 2 else "add" if node.op_type in ("Add", "Sub", "Sum", "Mean") else "multiply"
    shape = flow.sample(node.output[0])
    channels = shape[1] if len(shape) > 2 else prod(shape)
    function = _function(flow, node, kind)
    layers = [replace(_vector(flow, node, name, kind, shape, channels), function=function)]
    more = range(2, len(tensors) if node.op_type in ("Sum", "Mean", "Max", "Min") else 2)
    return layers + [
        replace(_vector(flow, node, f"{name}.{index}", kind, shape, channels), function=function) for index in more
    ]


#: Functions of one tensor by operator, as :data:`dse.workload.model.FUNCTIONS` calls them.
_FUNCTIONS = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "ThresholdedRelu": "relu", "PRelu": "prelu", "Clip": "clip",
    "HardSigmoid": "hardsigmoid", "Abs": "abs", "Elu": "elu", "Selu": "elu", "Celu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "Softplus": "softplus", "Exp": "exp", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "HardSwish": "hardswish", "Swish": "silu",
    "Gelu": "gelu", "FastGelu": "gelu", "QuickGelu": "gelu", "BiasGelu": "gelu", "Softsign": "scale", "Erf": "erf", "Log": "log",
    "Sin": "sine", "Cos": "sine", "Mish": "mish", "Pow": "power", "Neg": "linear", "RotaryEmbedding": "linear",
    **dict.fromkeys(("Floor", "Ceil", "Round", "Sign", "Not", "IsNaN", "IsInf"), "step"),
    **dict.fromkeys(("Max", "Min", "Where"), "select"),
    **dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Mod"), "step"),
}  # fmt: skip


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


def softmax(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Softmax over any axis."""
    shape = flow.sample(node.input[0])
    return [_vector(flow, node, name, "softmax", shape, shape[1] if len(shape) > 2 else prod(shape))]


def embedding(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Gather of rows of a learned table; any other gather moves elements."""
    table, index = node.input[0], node.input[1]
    if not flow.is_constant(table) or flow.is_constant(index) or len(flow.shape(table)) != 2:
        return []
    if attributes(node).get("axis", 0) != 0:
        return []
    rows, width = flow.shape(table)
    return [Layer(name=name, kind="embedding", N=prod(flow.sample(index)), K=width, C=rows)]


def _vector(flow: Flow, node: Any, name: str, kind: str, shape: Shape, channels: int) -> Layer:
    rest = shape[2:] if len(shape) > 2 and channels == shape[1] else (prod(shape) // channels,)
    lead = shape[0] if len(shape) > 2 and channels == shape[1] else 1
    high, wide = (rest[0], prod(rest[1:])) if rest else (1, 1)
    return Layer(
        name=name, kind=kind, N=lead, G=channels, P=high, Q=wide, input_hw=(high, wide), passes=flow.vector_passes(node)
    )
