"""How the attributes and inputs of an ONNX node are read, and which operators multiply."""

from __future__ import annotations

from typing import Any

#: Domains of the standard operators.
STANDARD = ("", "ai.onnx")
#: Operators with multiply-accumulates: one whose shapes are unknown makes the whole network unknown.
MULTIPLYING = frozenset((
    "Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul",
    "Einsum", "LSTM", "GRU", "RNN", "Attention",
))  # fmt: skip


def attributes(node: Any) -> dict[str, Any]:
    """Integers, floats, strings and lists of integers or floats of a node by name."""
    values: dict[str, Any] = {}
    for item in node.attribute:
        if item.ints:
            values[item.name] = [int(value) for value in item.ints]
        elif item.floats:
            values[item.name] = [float(value) for value in item.floats]
        elif item.type == 2 or item.HasField("i"):
            values[item.name] = int(item.i)
        elif item.HasField("f"):
            values[item.name] = float(item.f)
        elif item.HasField("s"):
            values[item.name] = item.s.decode("utf-8", "replace")
    return values


def has_input(node: Any, place: int) -> bool:
    return len(node.input) > place and bool(node.input[place])


def input_name(node: Any, place: int) -> str:
    """The tensor at an input of a node, "" if it is left out."""
    return str(node.input[place]) if len(node.input) > place else ""
