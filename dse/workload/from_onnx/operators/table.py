"""Which function makes the layers of an ONNX operator, and which operators make none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made
from dse.workload.from_onnx.operators.convolutions import convolution, transposed_convolution
from dse.workload.from_onnx.operators.matrices import einsum, gemm, matmul
from dse.workload.from_onnx.operators.sequences import attention, recurrent
from dse.workload.from_onnx.operators.vector import elementwise, embedding, layer_norm, norm, pool, resize, softmax

Handler = Callable[[Flow, Any, str], list[Made]]


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
    "DeformConv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul,
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
