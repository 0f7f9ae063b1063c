"""Quantized and fused operators of ONNX and onnxruntime (``com.microsoft``) as the plain operators that they stand for.

``QLinearConv``, ``QLinearAdd`` and their kind dequantize, compute and quantize, ``FusedConv`` and its kind end in an activation
(onnxruntime, docs/ContribOperators.md). Written out, their shapes, layers and formats follow from the plain operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dse.workload.from_onnx.graph.nodes import attributes
from dse.workload.from_onnx.graph.read import copied

#: Operator: its standard one, and where its quantized operands (tensor, scale, zero point) begin.
_QUANTIZED = {
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)),
    "QLinearSoftmax": ("Softmax", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearReduceMean": ("ReduceMean", (0,)),
    "QLinearConcat": ("Concat", ()),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearMatMul": ("MatMul", (0, 3)),
}
#: Where the bias of a quantized product is.
_BIAS = {"QGemm": 6, "QLinearConv": 8}
#: All operators that are written out.
WRITTEN_OUT = frozenset((
    *_QUANTIZED, "FusedConv", "FusedGemm", "FusedMatMul", "DynamicQuantizeLSTM", "EmbedLayerNormalization",
))  # fmt: skip
#: Attributes that the standard operators do not have.
_OWN = ("channels_last", "activation", "activation_params", "opset", "activation_alpha", "activation_beta")


def rewrite(onnx: Any, model: Any, names: Mapping[str, str]) -> None:
    """Replace the nodes of ``model`` in place.

    Parameters
    ----------
    names
        Names of layers by the first output of their node; the node that computes keeps it.
    """
    if not any(_is_written_out(node) for node in model.graph.node):
        return
    axes = {item.name: len(item.dims) for item in model.graph.initializer}
    nodes: list[Any] = []
    for node in model.graph.node:
        name = names.get(node.output[0], node.name) if node.output else node.name
        written = _written(onnx, node, name, axes) if _is_written_out(node) and node.input and node.output else []
        nodes += written or [copied(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_written_out(node: Any) -> bool:
    return node.op_type in WRITTEN_OUT


def _written(onnx: Any, node: Any, name: str, axes: Mapping[str, int]) -> list[Any]:
    """Standard nodes that compute what a node does; none if it stays."""
    make, made, kind = onnx.helper.make_node, node.output[0], node.op_type
    inputs = [*node.input, *[""] * (12 - len(node.input))]
    if kind in _QUANTIZED and not attributes(node).get("channels_last"):
        return _dequantized(make, node, name)
    if kind in ("FusedConv", "FusedGemm"):
        return [_with(make(kind.removeprefix("Fused"), inputs[:3], [made], name=name), node)]
    if kind == "FusedMatMul":
        flags = attributes(node)
        left, right = ("ki" if flags.get("transA") else "ik"), ("jk" if flags.get("transB") else "kj")
        if left == "ik" and axes.get(inputs[1]) == 2:
            turned = make("Transpose", [inputs[1]], [f"{made}/turned"], perm=[1, 0] if right == "jk" else [0, 1])
            return [turned, make("MatMul", [inputs[0], f"{made}/turned"], [made], name=name)]
        # With the batch between its two axes, a matrix is the first and the last axis of its tensor.
        left = f"{left[0]}...{left[1]}" if flags.get("transBatchA") else f"...{left}"
        right = f"{right[0]}...{right[1]}" if flags.get("transBatchB") else f"...{right}"
        return [make("Einsum", inputs[:2], [made], name=name, equation=f"{left},{right}->...ij")]
    if kind == "DynamicQuantizeLSTM":
        turned = [make("Transpose", [inputs[i]], [f"{made}/turned{i}"], perm=[0, 2, 1]) for i in (1, 2)]
        held = [
            make("DequantizeLinear", [f"{made}/turned{i}", inputs[scale]], [f"{made}/weight{i}"])
            for i, scale in ((1, 8), (2, 10))
        ]
        last = make(
            "LSTM", [inputs[0], f"{made}/weight1", f"{made}/weight2", *inputs[3:8]], list(node.output), name=name
        )
        return [*turned, *held, _with(last, node)]
    if kind == "EmbedLayerNormalization":
        parts = [("Gather", [inputs[2], inputs[0]]), ("Gather", [inputs[3], inputs[0]])]
        parts += [("Gather", [inputs[4], inputs[1]])] if inputs[4] and inputs[1] else []
        tables = [
            make(op, read, [f"{made}/part{i}"], name=f"{name}.{['word', 'position', 'segment'][i]}")
            for i, (op, read) in enumerate(parts)
        ]
        sums = make("Sum", [f"{made}/part{i}" for i in range(len(parts))], [f"{made}/sum"], name=f"{name}.sum")
        rest = [make("Identity", [inputs[0]], [output]) for output in node.output[1:2] if output]
        return [
            *tables,
            sums,
            make("LayerNormalization", [f"{made}/sum", *inputs[5:7]], [made], name=name),
            *rest,
        ]
    return []


def _dequantized(make: Any, node: Any, name: str) -> list[Any]:
    """Dequantize, compute, quantize."""
    standard, places = _QUANTIZED[node.op_type]
    made, inputs, flags = node.output[0], list(node.input), attributes(node)
    out = 3 * len(places)
    if standard == "Concat":
        places, out = tuple(range(2, len(inputs) - 2, 3)), 0
    before = []
    for place in places:
        before.append(make("DequantizeLinear", inputs[place : place + 3], [f"{made}/{place}"]))
    read = [f"{made}/{place}" for place in places]
    read += [inputs[place] for place in (_BIAS.get(node.op_type, 99),) if len(inputs) > place and inputs[place]]
    if standard == "Gemm":
        out = 7
        flags = {key: value for key, value in flags.items() if key in ("transA", "transB")}
    whole = len(inputs) > out and bool(inputs[out])
    target = f"{made}/result" if whole else made
    flags = {key: value for key, value in flags.items() if key not in _OWN}
    middle = make(standard, read, [target], name=name, **flags)
    return [*before, middle, *([make("QuantizeLinear", [target, *inputs[out : out + 2]], [made])] if whole else [])]


def _with(made: Any, node: Any) -> Any:
    """A node with the attributes of another one that the standard operators have."""
    made.attribute.extend(item for item in node.attribute if item.name not in _OWN)
    return made
