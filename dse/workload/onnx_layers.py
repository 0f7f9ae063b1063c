"""From the operators of an ONNX graph to layers.

Each handler returns the layers of one operator, per sample: sizes of the batch are divided out. H is always the third axis of a
tensor and P, R, the first spatial entry of strides, dilations and kernels; W, Q, S the last. Operators that only rename or move
elements (reshape, transpose, slice, concat) make no layer; the importer names them with what they would move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from dse.workload.model import Layer
from dse.workload.onnx_read import OnnxGraph, Shape


class Unknown(Exception):
    """A shape that a layer needs could not be inferred, or makes no layer; the message says which."""


class Unsupported(Exception):
    """An operator of a form that the model has no layer for; it is skipped and named.

    Attributes
    ----------
    macs
        Multiply-accumulates per sample, NaN if unknown.
    """

    def __init__(self, macs: float = float("nan")) -> None:
        super().__init__(macs)
        self.macs = macs


@dataclass
class Flow:
    """What is known while the operators are walked in order.

    Attributes
    ----------
    graph
        The graph with its shapes.
    batch
        Samples that the shapes hold.
    dynamic
        Tensors that depend on an input.
    errors
        Tensors whose error some parameter before them needs.
    """

    graph: OnnxGraph
    batch: int
    dynamic: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)

    def shape(self, name: str) -> Shape:
        """Shape of a tensor.

        Raises
        ------
        Unknown
            It could not be inferred, or has an axis of size 0.
        """
        shape = self.graph.shapes.get(name)
        if shape is None:
            raise Unknown(self._why(name))
        if 0 in shape:
            raise Unknown(f"'{name}' has the shape {list(shape)}; an axis of size 0 makes no layer")
        return shape

    def _why(self, name: str) -> str:
        """Where a shape was lost on the way to a tensor."""
        makers = {output: node for node in self.graph.nodes for output in node.output}
        last = name
        for _ in range(len(self.graph.nodes)):
            unknown = (
                [tensor for tensor in makers[last].input if tensor in makers and self.graph.shapes.get(tensor) is None]
                if last in makers
                else []
            )
            if not unknown:
                break
            last = unknown[0]
        made = f"{makers[last].op_type} gives '{last}' no shape" if last in makers else f"'{last}' has no shape"
        return f"{made} that can be inferred; give open dimensions with --dim, or export with fixed shapes"

    def sample(self, name: str) -> Shape:
        """Shape of one sample of a tensor: the leading axis without the batch."""
        shape = self.shape(name)
        if shape and shape[0] % self.batch == 0:
            return (shape[0] // self.batch, *shape[1:])
        return shape

    def is_constant(self, name: str) -> bool:
        return name not in self.dynamic

    def mac_passes(self, read: str, weight: str) -> tuple[str, ...]:
        """Passes of a layer that reads one tensor and multiplies it with another one."""
        second = weight in self.errors or self.is_constant(weight)
        return ("forward", *["backward_data"] * (read in self.errors), *["backward_weight"] * second)

    def vector_passes(self, node: Any) -> tuple[str, ...]:
        return ("forward", *["backward_data"] * any(name in self.errors for name in node.input))


Handler = Callable[[Flow, Any, str], list[Layer]]


def attributes(node: Any) -> dict[str, Any]:
    """Integers, floats, strings and lists of integers of a node by name."""
    values: dict[str, Any] = {}
    for item in node.attribute:
        if item.ints:
            values[item.name] = [int(value) for value in item.ints]
        elif item.type == 2 or item.HasField("i"):
            values[item.name] = int(item.i)
        elif item.HasField("f"):
            values[item.name] = float(item.f)
        elif item.HasField("s"):
            values[item.name] = item.s.decode("utf-8", "replace")
    return values


def convolution(flow: Flow, node: Any, name: str, weight: int = 1) -> list[Layer]:
    """Conv of one or two spatial axes; a single one is the height."""
    read, learned, made = flow.shape(node.input[0]), flow.shape(node.input[weight]), flow.shape(node.output[0])
    if len(read) > 4 and len(learned) == len(read):
        raise Unsupported(prod(made) * prod(learned[1:]) / flow.batch)
    if len(read) < 3 or len(learned) != len(read) or len(made) != len(read):
        raise Unknown(f"shapes {list(read)} and {list(learned)} make no convolution")
    groups = attributes(node).get("group", 1)
    if groups < 1 or learned[0] % groups or learned[1] * groups != read[1]:
        raise Unknown(f"{groups} groups of weights {list(learned)} do not fit an input {list(read)}")
    stride, dilation = (_spatial(node, key, len(read) - 2) for key in ("strides", "dilations"))
    return [
        Layer(
            name=name, kind="conv", N=flow.sample(node.input[0])[0], G=groups, K=learned[0] // groups, C=learned[1],
            P=made[2], Q=_last(made), R=learned[2], S=_last(learned), stride=stride, dilation=dilation,
            input_hw=(read[2], _last(read)), bias=_has_input(node, _BIAS_INPUT.get(node.op_type, 2)),
            passes=flow.mac_passes(node.input[0], node.input[weight]),
        )
    ]  # fmt: skip


def transposed_convolution(flow: Flow, node: Any, name: str) -> list[Layer]:
    """ConvTranspose: weights ``[C, K/groups, R, S]``; the mirror of the convolution whose backward_data pass it is."""
    read, learned, made = (flow.shape(tensor) for tensor in (node.input[0], node.input[1], node.output[0]))
    groups = attributes(node).get("group", 1)
    if len(read) > 4 and len(learned) == len(read):
        raise Unsupported(prod(read) * prod(learned[1:]) / flow.batch)
    if len(read) < 3 or len(learned) != len(read) or groups < 1 or learned[0] != read[1] or read[1] % groups:
        raise Unknown(f"shapes {list(read)} and {list(learned)} make no transposed convolution")
    stride, dilation = (_spatial(node, key, len(read) - 2) for key in ("strides", "dilations"))
    return [
        Layer(
            name=name, kind="conv", N=flow.sample(node.input[0])[0], G=groups, K=learned[0] // groups, C=learned[1],
            P=read[2], Q=_last(read), R=learned[2], S=_last(learned), stride=stride, dilation=dilation,
            input_hw=(made[2], _last(made)), bias=_has_input(node, 2), transposed=True,
            passes=flow.mac_passes(node.input[0], node.input[1]),
        )
    ]  # fmt: skip


def gemm(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Gemm: rows are the batch."""
    flags = attributes(node)
    rows, inner = _turned(flow.shape(node.input[0]), flags.get("transA", 0))
    width, outer = _turned(flow.shape(node.input[1]), 1 - flags.get("transB", 0))
    if outer != inner:
        raise Unknown(f"the inner sizes {inner} and {outer} differ")
    if flow.is_constant(node.input[1]):
        bias = _has_input(node, 2)
        return [_linear(flow, name, _per_sample(flow, rows), 1, width, inner, bias, node.input[0], node.input[1])]
    return [_product(flow, name, 1, rows, width, inner, node.input[0], node.input[1])]


def matmul(flow: Flow, node: Any, name: str, weight: int = 1) -> list[Layer]:
    """MatMul: with constant weights a fully connected layer over the rows, else a product of two activations."""
    first, second = node.input[0], node.input[weight]
    left, right = flow.shape(first), flow.shape(second)
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    if not left or not right or left[-1] != right[-2]:
        raise Unknown(f"shapes {list(left)} and {list(right)} cannot be multiplied")
    rows, inner, width = left[-2], left[-1], right[-1]
    batch_left, batch_right = left[:-2], right[:-2]
    if flow.is_constant(second):
        groups = prod(batch_right)
        runs = _per_sample(flow, max(prod(batch_left) // groups, 1) * rows)
        return [_linear(flow, name, runs, groups, width, inner, False, first, second)]
    if flow.is_constant(first):
        groups = prod(batch_left)
        runs = _per_sample(flow, max(prod(batch_right) // groups, 1) * width)
        return [_linear(flow, name, runs, groups, rows, inner, False, second, first)]
    # Leading axes that only the left operand has share one right operand: they are rows.
    shared = prod(batch_right) if batch_right else 1
    outer = max(prod(batch_left), shared)
    return [_product(flow, name, shared, outer // shared * rows, width, inner, first, second)]


def einsum(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Einsum of two operands without repeated labels: any contraction is a batched matrix product."""
    equation = str(attributes(node).get("equation", "")).replace(" ", "")
    terms, _, result = equation.partition("->")
    operands = terms.split(",")
    if len(operands) != 2 or not result or "." in equation:
        raise Unsupported
    sizes: dict[str, int] = {}
    for labels, tensor in zip(operands, node.input, strict=True):
        shape = flow.shape(tensor)
        if len(labels) != len(shape) or len(set(labels)) != len(labels):
            raise Unknown(f"the equation '{equation}' does not fit its operands")
        sizes |= dict(zip(labels, shape, strict=True))
    a, b, out = set(operands[0]), set(operands[1]), set(result)

    def size(labels: set[str]) -> int:
        return prod(sizes[label] for label in labels)

    groups, inner, rows, width = size(a & b & out), size((a & b) - out), size(a - b), size(b - a)
    first, second = node.input
    if flow.is_constant(first):
        first, second, rows, width = second, first, width, rows
    if flow.is_constant(second):
        return [_linear(flow, name, _per_sample(flow, rows), groups, width, inner, False, first, second)]
    return [_product(flow, name, groups, rows, width, inner, first, second)]


def recurrent(flow: Flow, node: Any, name: str) -> list[Layer]:
    """LSTM, GRU, RNN: the products with the input at all time steps at once, with the state step after step, and the gates."""
    read, learned, state = (flow.shape(node.input[index]) for index in range(3))
    if len(read) != 3 or len(learned) != 3 or len(state) != 3 or learned[2] != read[2]:
        raise Unknown(f"an input of shape {list(read)} does not fit weights of shape {list(learned)}")
    steps, samples = (read[1], read[0]) if attributes(node).get("layout", 0) else (read[0], read[1])
    samples = samples // flow.batch if samples % flow.batch == 0 else samples
    directions, gates, hidden = learned[0], learned[1], state[2]
    bias = _has_input(node, 3)
    weight = ("backward_weight",) * flow.is_constant(node.input[1])
    passes = flow.mac_passes(node.input[0], node.input[1])
    return [
        Layer(name=f"{name}.input", kind="fc", N=samples * steps, K=directions * gates, C=read[2], bias=bias, passes=passes),
        Layer(
            name=f"{name}.recurrent", kind="fc", N=samples, G=directions, K=gates, C=hidden, bias=bias, repeats=steps,
            passes=("forward", "backward_data", *weight),
        ),
        Layer(name=f"{name}.gates", kind="activation", G=directions * gates, P=samples * steps, input_hw=(samples * steps, 1)),
    ]  # fmt: skip


def attention(flow: Flow, node: Any, name: str) -> list[Layer]:
    """The Attention operator: scores, softmax, context. Heads of queries that share a key head are its rows."""
    flags = attributes(node)
    query, key, value = (flow.shape(node.input[index]) for index in range(3))
    if len(query) == 3:
        heads, pairs = flags.get("q_num_heads", 1), flags.get("kv_num_heads", flags.get("q_num_heads", 1))
        samples, rows, columns = query[0], query[1], key[1]
        inner, width = query[2] // max(heads, 1), value[2] // max(pairs, 1)
    elif len(query) == 4:
        samples, heads, rows, inner = query
        pairs, columns, width = key[1], key[2], value[3]
    else:
        raise Unknown(f"queries of shape {list(query)} make no attention")
    past = _has_input(node, 4)
    columns += flow.shape(node.input[4])[2] if past else 0
    return attention_layers(flow, node, name, samples, heads, pairs, rows, columns, inner, width, past)


def attention_layers(
    flow: Flow, node: Any, name: str, samples: int, heads: int, pairs: int, rows: int, columns: int, inner: int, width: int,
    cached: bool,
) -> list[Layer]:  # fmt: skip
    """Layers of an attention of ``heads`` query heads and ``pairs`` key and value heads."""
    if min(heads, pairs, rows, columns, inner, width) < 1 or heads % pairs:
        raise Unknown(f"{heads} query heads and {pairs} key heads of {inner} make no attention")
    samples = samples // flow.batch if samples % flow.batch == 0 else samples
    runs = heads // pairs * rows
    q, k, v = (name_ in flow.errors for name_ in node.input[:3])
    both = ("backward_data",)
    scores = ("forward", *both * q, *("backward_weight",) * k)
    context = ("forward", *both * (q or k), *("backward_weight",) * v)
    soft = ("forward", *both * (q or k))
    groups = samples * pairs
    return [
        Layer(name=f"{name}.scores", kind="matmul", N=runs, G=groups, K=columns, C=inner, passes=scores, cached=cached),
        Layer(
            name=f"{name}.softmax",
            kind="softmax",
            G=samples * heads,
            P=rows,
            Q=columns,
            input_hw=(rows, columns),
            passes=soft,
        ),
        Layer(
            name=f"{name}.context", kind="matmul", N=runs, G=groups, K=width, C=columns, passes=context, cached=cached
        ),
    ]


def norm(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Batch norm: one scale and shift per channel."""
    shape = flow.sample(node.input[0])
    channels = shape[1] if len(shape) > 1 else shape[0]
    return [_vector(flow, node, name, "norm", shape, channels)]


def layer_norm(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Layer, RMS, group and instance norm: as many scales as their parameter has."""
    shape = flow.sample(node.input[0])
    scales = prod(flow.shape(node.input[1])) if _has_input(node, 1) else 1
    channels = scales if prod(shape) % scales == 0 else 1
    rest = prod(shape) // channels
    return [
        Layer(
            name=name, kind="layernorm", G=channels, P=rest, input_hw=(rest, 1), bias=_has_input(node, 2),
            shared=not _has_input(node, 1), passes=flow.vector_passes(node),
        )
    ]  # fmt: skip


def pool(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Max and average pools, global ones, and reductions."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    if "kernel_shape" in attributes(node) and len(read) in (3, 4):
        kernel, stride = (_spatial(node, key, len(read) - 2) for key in ("kernel_shape", "strides"))
        return [
            Layer(
                name=name, kind="pool", N=read[0], G=read[1], P=made[2], Q=_last(made), R=kernel[0], S=kernel[1], stride=stride,
                input_hw=(read[2], _last(read)), passes=flow.vector_passes(node),
            )
        ]  # fmt: skip
    if node.op_type.startswith("Global") and len(read) in (3, 4):
        hw = (read[2], _last(read))
        return [
            Layer(
                name=name,
                kind="pool",
                N=read[0],
                G=read[1],
                R=hw[0],
                S=hw[1],
                input_hw=hw,
                passes=flow.vector_passes(node),
            )
        ]
    window = max(prod(read) // max(prod(made), 1), 1)
    return [
        Layer(name=name, kind="pool", G=prod(made), R=window, input_hw=(window, 1), passes=flow.vector_passes(node))
    ]


def resize(flow: Flow, node: Any, name: str) -> list[Layer]:
    """Resize and Upsample of images."""
    read, made = flow.sample(node.input[0]), flow.sample(node.output[0])
    if len(read) not in (3, 4):
        raise Unsupported(0.0)
    hw = (read[2], _last(read))
    return [
        Layer(
            name=name, kind="resize", N=read[0], G=read[1], P=made[2], Q=_last(made), input_hw=hw, passes=flow.vector_passes(node)
        )
    ]  # fmt: skip


def elementwise(flow: Flow, node: Any, name: str) -> list[Layer]:
    """One operand: applied as it is written. Two: a sum or a product, with the traffic of both."""
    tensors = [tensor for tensor in node.input if tensor and not flow.is_constant(tensor)]
    kind = "activation" if len(tensors) < 2 else "add" if node.op_type in ("Add", "Sub", "Sum", "Mean") else "multiply"
    shape = flow.sample(node.output[0])
    channels = shape[1] if len(shape) > 2 else prod(shape)
    layers = [_vector(flow, node, name, kind, shape, channels)]
    more = range(2, len(tensors) if node.op_type in ("Sum", "Mean", "Max", "Min") else 2)
    return layers + [_vector(flow, node, f"{name}.{index}", kind, shape, channels) for index in more]


def softmax(flow: Flow, node: Any, name: str) -> list[Layer]:
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


def _linear(
    flow: Flow, name: str, runs: int, groups: int, width: int, inner: int, bias: bool, read: str, weight: str
) -> Layer:
    passes = flow.mac_passes(read, weight)
    return Layer(name=name, kind="fc", N=runs, G=groups, K=width, C=inner, bias=bias, passes=passes)


def _product(flow: Flow, name: str, groups: int, rows: int, width: int, inner: int, read: str, weight: str) -> Layer:
    """A product of two activations: the batch is divided out of the groups, or else out of the rows."""
    if groups % flow.batch == 0:
        groups //= flow.batch
    else:
        rows = _per_sample(flow, rows)
    return Layer(name=name, kind="matmul", N=rows, G=groups, K=width, C=inner, passes=flow.mac_passes(read, weight))


def _vector(flow: Flow, node: Any, name: str, kind: str, shape: Shape, channels: int) -> Layer:
    rest = shape[2:] if len(shape) > 2 and channels == shape[1] else (prod(shape) // channels,)
    lead = shape[0] if len(shape) > 2 and channels == shape[1] else 1
    high, wide = (rest[0], prod(rest[1:])) if rest else (1, 1)
    return Layer(
        name=name, kind=kind, N=lead, G=channels, P=high, Q=wide, input_hw=(high, wide), passes=flow.vector_passes(node)
    )


def _per_sample(flow: Flow, rows: int) -> int:
    return rows // flow.batch if rows % flow.batch == 0 else rows


def _turned(shape: Shape, transpose: int) -> tuple[int, int]:
    if len(shape) != 2:
        raise Unknown(f"expected a matrix, got the shape {list(shape)}")
    return (shape[1], shape[0]) if transpose else (shape[0], shape[1])


def _spatial(node: Any, key: str, axes: int) -> tuple[int, int]:
    """(vertical, horizontal) entries of an attribute; a single axis is vertical."""
    values = attributes(node).get(key, [1] * axes)
    if not isinstance(values, list) or len(values) != axes or min(values) < 1:
        raise Unknown(f"'{key}' is {values}; expected {axes} integers >= 1")
    return (values[0], values[1] if axes == 2 else 1)


def _has_input(node: Any, place: int) -> bool:
    return len(node.input) > place and bool(node.input[place])


def _last(shape: Shape) -> int:
    return shape[3] if len(shape) == 4 else 1


def _quantized(handler: Callable[[Flow, Any, str, int], list[Layer]], weight: int) -> Handler:
    return lambda flow, node, name: handler(flow, node, name, weight)


#: Which input is the bias of a convolution; 99 where it has none.
_BIAS_INPUT = {"QLinearConv": 8, "ConvInteger": 99}

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
