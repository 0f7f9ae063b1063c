"""Number formats of a quantized ONNX model, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from dse.workload.from_onnx.flow import attributes
from dse.workload.from_onnx.shapes import OnnxGraph
from dse.workload.model import Layer

#: Formats of ``TensorProto`` data types (onnx.proto, enum DataType).
_TYPES = {
    1: "fp32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 10: "fp16", 11: "fp32", 16: "bf16",
    17: "fp8_e4m3", 18: "fp8_e4m3", 19: "fp8_e5m2", 20: "fp8_e5m2", 21: "uint4", 22: "int4",
}  # fmt: skip


#: Operators through which a tensor is the same tensor for those who read it.
SAME = ("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear")


def formats_of_layers(graph: OnnxGraph, layers: list[tuple[Layer, Any]]) -> dict[str, tuple[str, str]]:
    """Formats of weight and activation by layer with MACs, {} if no layer multiplies integers."""
    makers = {output: node for node in graph.nodes for output in node.output}
    result = {}
    for layer, node in layers:
        if not layer.has_macs:
            continue
        place = 3 if node.op_type in ("QLinearConv", "QLinearMatMul") else 1
        read = node.input[0]
        if node.op_type == "MatMulNBits":
            flags = attributes(node)
            packed = f"int{flags.get('bits', 4)}:vector{flags.get('block_size', 32)}"
            result[layer.name] = (packed, _format(graph, makers, read, False))
            continue
        weight = node.input[place] if layer.kind != "matmul" or len(node.input) > place else read
        kind = _format(graph, makers, weight, True)
        if place == 3 and kind.startswith("int") and prod(graph.shapes.get(node.input[4]) or (1,)) > 1:
            kind = f"{kind}:channel"
        result[layer.name] = (kind, _format(graph, makers, read, False))
    integers = any(name.startswith(("int", "uint")) for pair in result.values() for name in pair)
    return result if integers else {}


def _format(graph: OnnxGraph, makers: Mapping[str, Any], name: str, weight: bool) -> str:
    """Name of the format that a tensor has where a layer reads it."""
    node = makers.get(name)
    channel = False
    for _ in range(100):
        if node is None or node.op_type not in (*SAME, "Transpose", "Reshape", "MaxPool", "Relu", "Flatten"):
            break
        if node.op_type == "DequantizeLinear":
            name = node.input[0]
            scale = graph.shapes.get(node.input[1]) or ()
            channel = bool(scale) and prod(scale) > 1
            break
        if node.op_type == "QuantizeLinear":
            break
        name = node.input[0]
        node = makers.get(name)
    kind = _TYPES.get(graph.types.get(name, 0), "fp32")
    return f"{kind}:channel" if weight and channel and kind.startswith("int") else kind
