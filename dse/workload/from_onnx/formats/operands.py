"""The formats of the operands of every layer: from where a layer reads them back to what quantized them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dse.errors import InputError, Problem
from dse.workload.from_onnx.flow.flow import Made
from dse.workload.from_onnx.formats.elements import ELEMENTS, PLAIN, Stored, format_name, name_says_all, narrowed
from dse.workload.from_onnx.formats.quantizers import (
    PACKED,
    Unreadable,
    is_linear,
    is_qonnx,
    of_linear,
    of_packed,
    of_qonnx,
)
from dse.workload.from_onnx.graph.nodes import STANDARD, attributes, has_input
from dse.workload.from_onnx.graph.shapes import OnnxGraph

#: Operators through which a tensor is the same tensor for those who read it.
_SAME = ("Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear")
#: Operators whose result holds nothing but values of their first input.
_SELECTING = frozenset((
    "Identity", "Dropout", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "GlobalMaxPool", "Relu", "Slice",
    "Split", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Pad", "Clip", "ReduceMax", "Concat",
))  # fmt: skip
#: Operators that bound codes between a quantizer and its dequantizer, or convert them.
_BOUNDING = ("Clip", "Min", "Max")
_CARRYING = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
#: Operators that follow at most from a layer to its quantizer.
_FAR = 200


@dataclass
class _Reader:
    """What is needed to read formats.

    Attributes
    ----------
    graph
        The graph.
    makers
        Nodes by what they make.
    packed
        Products of packed weights, by these.
    notes
        What was assumed; grows.
    """

    graph: OnnxGraph
    makers: dict[str, Any]
    packed: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def is_same(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node makes the same tensor of what it reads, as those that read it see it: a copy, or another format of it."""
    if node.op_type in _SAME or is_qonnx(node):
        return True
    return node.op_type in _BOUNDING and bool(node.output) and _is_integer(graph, node.output[0])


def formats_of_layers(graph: OnnxGraph, layers: Sequence[Made], notes: list[str]) -> dict[str, tuple[str, str]]:
    """Names of the formats of weight and activation by layer with MACs, {} if everything is in FP32.

    Parameters
    ----------
    notes
        What was assumed; grows.

    Raises
    ------
    InputError
        A quantizer whose width is no constant, with its domain.
    """
    makers = {output: node for node in graph.nodes for output in node.output}
    packed = {node.input[1]: node for node in graph.nodes if node.op_type in PACKED and len(node.input) > 1}
    reader = _Reader(graph, makers, packed)
    result = {}
    problems = []
    for made in layers:
        if not made.layer.has_macs:
            continue
        try:
            weight, read = _weight(reader, made), _read(reader, made)
        except Unreadable as error:
            problems.append(Problem(f"layer '{made.layer.name}'", str(error)))
            continue
        for stored, of in ((weight, "weights"), (read, "activations")):
            if not name_says_all(stored):
                scales = f"blocks of {stored.block}" if stored.block else "channels"
                reader.notes.append(
                    f"{stored.element} {of} have {stored.scale} scales for {scales}, which '{format_name(stored)}' does not say"
                )
        result[made.layer.name] = (format_name(weight), format_name(read))
    if problems:
        raise InputError(graph.source, problems[:20])
    notes += dict.fromkeys(reader.notes)
    return result if any(name != "fp32" for pair in result.values() for name in pair) else {}


def _weight(reader: _Reader, made: Made) -> Stored:
    """How the second operand of a layer is stored; scales for each channel belong to weights alone."""
    if made.weight in reader.packed:
        return of_packed(reader.graph, reader.packed[made.weight])
    stored = _stored(reader, made.weight, made)
    return replace(stored, channels=False) if made.layer.kind == "matmul" else stored


def _read(reader: _Reader, made: Made) -> Stored:
    """How the input of a layer is stored; that of a layer inside of an operator has the type of its other operand."""
    if made.read:
        return replace(_stored(reader, made.read, None), channels=False)
    kind = ELEMENTS.get(reader.graph.types.get(made.weight, 0), "fp32")
    return Stored(kind if kind in PLAIN else "fp32")


def _stored(reader: _Reader, name: str, weight: Made | None) -> Stored:
    """How a tensor is stored that a layer reads, as its ``weight`` or as its input."""
    makers, graph = reader.makers, reader.graph
    scales = 1
    for _ in range(_FAR):
        node = makers.get(name)
        if node is None:
            break
        if is_linear(node, "DequantizeLinear"):
            return _codes(reader, node)
        if is_linear(node, "QuantizeLinear"):
            return of_linear(graph, node, graph.types.get(name, 0))
        if is_qonnx(node):
            return of_qonnx(graph, makers, node, reader.notes)
        rounded = _rounded(reader, node)
        if rounded is not None:
            return rounded
        if _is_integer(graph, name) and node.op_type in _BOUNDING:
            return _bounded(reader, name, Stored(ELEMENTS[graph.types[name]]))
        if node.op_type in (*_SELECTING, "Cast", "CastLike"):
            name = node.input[0]
            continue
        scaled = _scaled(reader, node) if weight is not None else None
        if scaled is None:
            break
        name, scales = scaled[0], max(scales, scaled[1])
    stored = Stored(ELEMENTS.get(graph.types.get(name, 0), "fp32"))
    if weight is None or not stored.is_integer or scales == 1:
        return stored
    elements = math.prod(graph.shapes.get(name) or (1,))
    if scales == weight.layer.G * weight.layer.K or elements % scales:
        return replace(stored, channels=True)
    return replace(stored, block=elements // scales)


def _is_integer(graph: OnnxGraph, name: str) -> bool:
    return ELEMENTS.get(graph.types.get(name, 0), "fp32") not in PLAIN


def _data(graph: OnnxGraph, node: Any) -> tuple[str, list[str]]:
    """Of the operands of an operator on elements the one that holds the data, which is the largest, and the constants beside it."""
    data = max(node.input, key=lambda name: math.prod(graph.shapes.get(name) or (1,)) * (name != ""), default="")
    return data, [name for name in node.input if name != data and name in graph.values]


def _scaled(reader: _Reader, node: Any) -> tuple[str, int] | None:
    """What a product or sum with constants scales, and the number of scales, of weights that such operators dequantize."""
    if node.op_type not in ("Mul", "Sub", "Add", "Div") or node.domain not in STANDARD:
        return None
    data, _ = _data(reader.graph, node)
    sizes = [math.prod(reader.graph.shapes.get(name) or (1,)) for name in node.input if name != data]
    return (data, max(sizes, default=1) if node.op_type in ("Mul", "Div") else 1) if data else None


def _rounded(reader: _Reader, node: Any) -> Stored | None:
    """Integers that are written as floats: rounded, clipped, and scaled by a constant."""
    if node.op_type not in ("Mul", "Div"):
        return None
    name, scales = _data(reader.graph, node)
    low, high, rounds = -math.inf, math.inf, False
    for _ in range(_FAR if scales else 0):
        behind = reader.makers.get(name)
        if behind is None:
            break
        if behind.op_type in _BOUNDING:
            name, least, most = _bounds(reader.graph, behind)
            low, high = max(low, least), min(high, most)
        elif behind.op_type in (*_CARRYING, "Round", "Floor"):
            rounds |= behind.op_type in ("Round", "Floor")
            name = behind.input[0]
        elif behind.op_type in ("Add", "Sub") and _data(reader.graph, behind)[1]:
            name = _data(reader.graph, behind)[0]
        else:
            break
    if not rounds or not math.isfinite(low) or not math.isfinite(high):
        return None
    channels = any(math.prod(reader.graph.shapes.get(scale) or (1,)) > 1 for scale in scales)
    return replace(narrowed(Stored("int32"), low, high), channels=channels)


def _codes(reader: _Reader, node: Any) -> Stored:
    """How the tensor is stored that a dequantizer reads: its type, within the bounds of clips behind it."""
    name = node.input[0]
    kind = reader.graph.types.get(name, 0)
    maker = reader.makers.get(name)
    quantizer = node
    if ELEMENTS.get(kind, "fp32") in PLAIN and maker is not None and is_linear(maker, "QuantizeLinear"):
        kind, quantizer = 0, maker
    stored = _bounded(reader, name, of_linear(reader.graph, quantizer, kind))
    return _scaled_twice(reader, stored, node) if stored.block else stored


def _scaled_twice(reader: _Reader, stored: Stored, node: Any) -> Stored:
    """Blocks whose scales are small floats themselves, dequantized by one scale for the tensor."""
    behind = reader.makers.get(node.input[1])
    if behind is None or not is_linear(behind, "DequantizeLinear"):
        return stored
    inner = ELEMENTS.get(reader.graph.types.get(behind.input[0], 0), stored.scale)
    return replace(stored, scale=inner)


def _bounded(reader: _Reader, name: str, stored: Stored) -> Stored:
    """Integers within the bounds of the clips between their quantizer and their reader."""
    low, high = -math.inf, math.inf
    for _ in range(_FAR):
        node = reader.makers.get(name)
        if node is None or node.op_type not in (*_BOUNDING, *_CARRYING) or not node.input:
            break
        name, least, most = _bounds(reader.graph, node)
        low, high = max(low, least), min(high, most)
    return narrowed(stored, low, high)


def _bounds(graph: OnnxGraph, node: Any) -> tuple[str, float, float]:
    """What a clip reads, and its bounds: as inputs, as attributes of older operator sets, or as Min and Max with a constant."""
    low, high = -math.inf, math.inf
    if node.op_type == "Clip":
        flags = attributes(node)
        low, high = flags.get("min", low), flags.get("max", high)
        if has_input(node, 1) and node.input[1] in graph.values:
            low = float(graph.values[node.input[1]].min())
        if has_input(node, 2) and node.input[2] in graph.values:
            high = float(graph.values[node.input[2]].max())
        return node.input[0], low, high
    if node.op_type not in _BOUNDING:
        return node.input[0], low, high
    name, constants = _data(graph, node)
    if constants and node.op_type == "Min":
        high = min(float(graph.values[tensor].max()) for tensor in constants)
    elif constants:
        low = max(float(graph.values[tensor].min()) for tensor in constants)
    return name, low, high
