"""Which function makes the layers of an ONNX operator, and which operators make none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dse.workload.from_onnx.flow import Flow
from dse.workload.from_onnx.operators.products import (
    attention,
    convolution,
    einsum,
    gemm,
    matmul,
    recurrent,
    transposed_convolution,
)
from dse.workload.from_onnx.operators.vector import elementwise, embedding, layer_norm, norm, pool, resize, softmax
from dse.workload.model import Layer

Handler = Callable[[Flow, Any, str], list[Layer]]


def _quantized(handler: Callable[[Flow, Any, str, int], list[Layer]], weight: int) -> Handler:
    return lambda flow, node, name: handler(flow, node, name, weight)


_UNARY = [
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish",
    "Tanh", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Softplus", "Softsign", "ThresholdedRelu", "Clip",
    "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign",
    "Mish", "Not", "IsNaN", "IsInf", "Pow", "RotaryEmbedding",
]  # fmt: skip


_BINARY = [
    "Add", "Sub", "Sum", "Mean", "Mul", "Div", "Max", "Min", "Where", "Equal", "Less", "Greater",
    "LessOrEqual", "GreaterOrEqual", "And", "Or", "Mod",
]  # fmt: skip


_POOLS = [
    "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ArgMax", "ArgMin", "TopK",
]  # fmt: skip


#: What makes layers; an operator that is in neither table is skipped and named.
HANDLERS: Mapping[str, Handler] = {
    "Conv": convolution,
    "ConvInteger": convolution,
    "QLinearConv": _quantized(convolution, 3),
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul,
    "QLinearMatMul": _quantized(matmul, 3),
    "Einsum": einsum,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Attention": attention,
    "BatchNormalization": norm,
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization",
         "SimplifiedLayerNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN"), layer_norm,
    ),
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(("Resize", "Upsample"), resize),
    **dict.fromkeys((*_UNARY, *_BINARY), elementwise),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    "Gather": embedding,
}  # fmt: skip


#: Operators that only name, convert or hold elements: no layer, and nothing worth naming.
FREE = frozenset((
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Constant", "ConstantOfShape", "Shape",
    "Size", "Cast", "CastLike", "Range", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "EyeLike",
))  # fmt: skip


#: Operators with multiply-accumulates: one whose shapes are unknown makes the whole network unknown.
MULTIPLYING = frozenset((
    "Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul",
    "Einsum", "LSTM", "GRU", "RNN", "Attention",
))  # fmt: skip


#: Operators that move elements.
MOVING = frozenset((
    "Transpose", "Concat", "Split", "Slice", "Pad", "Expand", "Tile", "Gather", "GatherElements", "GatherND",
    "ScatterElements", "ScatterND", "DepthToSpace", "SpaceToDepth", "Compress", "ReverseSequence", "Trilu", "OneHot",
))  # fmt: skip


#: Operators with learned parameters beside those of MACs: what follows them needs errors.
LEARNED = (
    "BatchNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "PRelu",
)
