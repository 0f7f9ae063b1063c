"""The operators that quantize: of ONNX, of onnxruntime, of QONNX, and what each says of the tensor that it makes.

QONNX (``Quant``, now ``IntQuant``, ``BipolarQuant``, ``Trunc``, ``FloatQuant``) carries quantized values as floats, with the width
as an input (fastmachinelearning/qonnx, docs/qonnx-custom-ops; Pappalardo et al., arXiv 2206.07527); ``MultiThreshold`` of FINN
names the type of what it makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil, prod
from typing import Any

from dse.workload.from_onnx.formats.elements import ELEMENTS, Stored, integer
from dse.workload.from_onnx.graph.nodes import STANDARD, attributes, has_input, input_name
from dse.workload.from_onnx.graph.shapes import OnnxGraph

#: Domains of QONNX and of the tools that write its operators.
_QONNX_DOMAINS = re.compile(r"qonnx|finn|brevitas")
#: Operators of QONNX whose result has the shape of their first input.
_QONNX = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold")
#: Products of packed weights.
PACKED = ("MatMulNBits", "MatMulBnb4")
#: What ``MatMulBnb4`` calls 0 and 1 (bitsandbytes): a float of four bits, and quantiles of the normal distribution.
_FOUR_BITS = ("fp4_e2m1", "nf4")
#: Domains in which ``QuantizeLinear`` and ``DequantizeLinear`` mean what they mean in ONNX.
LINEAR_DOMAINS = (*STANDARD, "com.microsoft")
#: Data types that ``QuantizeLinear`` makes without a zero point: the older default, and where its attribute says another.
_DEFAULT_TYPE = 2


def is_qonnx(node: Any) -> bool:
    """Whether a node is a quantizer of QONNX."""
    return node.op_type in _QONNX and bool(_QONNX_DOMAINS.search(node.domain))


def is_linear(node: Any, operator: str) -> bool:
    """Whether a node is a quantizer or dequantizer of ONNX or onnxruntime."""
    return node.op_type == operator and node.domain in LINEAR_DOMAINS


def stand_in(onnx: Any, node: Any) -> list[Any]:
    """A standard node with the shape and type of what a quantizer makes that the library does not know; [] for others."""
    if not node.input or not node.output:
        return []
    if is_qonnx(node):
        return [onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]])]
    if node.domain == "com.microsoft" and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        # The type of integers follows from the zero point, which formats read; for shapes any will do.
        kind = onnx.TensorProto.UINT8 if node.op_type == "QuantizeLinear" else onnx.TensorProto.FLOAT
        return [onnx.helper.make_node("Cast", [node.input[0]], [node.output[0]], to=kind)]
    return []


class Unreadable(Exception):
    """What a quantizer says is not a constant of the model; the message names the operator and its domain."""


def of_linear(graph: OnnxGraph, node: Any, kind: int) -> Stored:
    """What ``QuantizeLinear`` or ``DequantizeLinear`` says of the tensor of integers or small floats between the two.

    Parameters
    ----------
    kind
        ``TensorProto`` data type of that tensor, 0 if it is not known.
    """
    if has_input(node, 2) and node.domain == "com.microsoft":
        kind = graph.types.get(node.input[2], kind)
    if kind == 0 and node.op_type == "QuantizeLinear":
        kind = attributes(node).get("output_dtype", 0) or graph.types.get(input_name(node, 2), _DEFAULT_TYPE)
    element = ELEMENTS.get(kind, "fp32")
    block = int(attributes(node).get("block_size", 0))
    scales = prod(graph.shapes.get(node.input[1]) or (1,))
    if block <= 0:
        return Stored(element, channels=scales > 1)
    return Stored(
        element, block=block, scale=ELEMENTS.get(graph.types.get(node.input[1], 1), "fp32"),
        zero_points=has_input(node, 2) and not _all_zero(graph, node.input[2]),
    )  # fmt: skip


def of_qonnx(graph: OnnxGraph, makers: Mapping[str, Any], node: Any, notes: list[str]) -> Stored:
    """What a quantizer of QONNX says of its result.

    Raises
    ------
    Unreadable
        Its width is computed in the graph.
    """
    flags = attributes(node)
    channels = prod(graph.shapes.get(input_name(node, 1)) or (1,)) > 1
    kind = node.op_type
    if kind == "BipolarQuant":
        return Stored("binary", channels=channels)
    if kind == "MultiThreshold":
        return Stored(_named_type(str(flags.get("out_dtype", "")), node))
    if kind == "FloatQuant":
        exponent, mantissa = (_width(graph, node, place, notes) for place in (2, 3))
        return Stored(f"fp{1 + exponent + mantissa}_e{exponent}m{mantissa}", channels=channels)
    if kind == "Trunc":
        signed = flags.get("signed")
        if signed is None:
            # The first version of the operator does not say it: what it truncates was quantized before.
            before = makers.get(node.input[0])
            while before is not None and not is_qonnx(before) and before.input:
                before = makers.get(before.input[0])
            signed = attributes(before).get("signed", 1) if before is not None else 1
        return Stored(integer(_width(graph, node, len(node.input) - 1, notes), bool(signed)), channels=channels)
    return Stored(integer(_width(graph, node, 3, notes), bool(flags.get("signed", 1))), channels=channels)


def of_packed(graph: OnnxGraph, node: Any) -> Stored:
    """The weights of ``MatMulNBits``: integers in blocks, each with a scale and, unless all are in the middle, a zero point; those
    of ``MatMulBnb4``: floats of four bits in blocks, each with its largest magnitude."""
    flags = attributes(node)
    if node.op_type == "MatMulBnb4":
        kind = _FOUR_BITS[1 if flags.get("quant_type", 1) else 0]
        return Stored(
            kind,
            block=int(flags.get("block_size", 64)),
            scale=ELEMENTS.get(graph.types.get(input_name(node, 2), 1), "fp32"),
        )
    bits = int(flags.get("bits", 4))
    scale = ELEMENTS.get(graph.types.get(input_name(node, 2), 1), "fp32")
    points = has_input(node, 3) and not _all_middle(graph, node.input[3], bits)
    return Stored(integer(bits, True), block=int(flags.get("block_size", 32)), scale=scale, zero_points=points)


def _width(graph: OnnxGraph, node: Any, place: int, notes: list[str]) -> int:
    """Bits at an input of a quantizer; of several widths the largest, of a fraction the next integer."""
    value = graph.values.get(input_name(node, place))
    if value is None or not value.size:
        raise Unreadable(
            f"the width of {node.op_type} (domain '{node.domain}') is computed in the graph; expected a constant"
        )
    widest = float(value.max())
    if not 0 <= widest <= 64:
        raise Unreadable(f"the width of {node.op_type} (domain '{node.domain}') is {widest:g} bits; expected 1 to 64")
    if value.size > 1 and float(value.min()) != widest:
        notes.append(
            f"{node.op_type} gives channels {float(value.min()):g} to {widest:g} bits; all are taken to have the most"
        )
    if widest != int(widest):
        notes.append(f"{node.op_type} with {widest:g} bits is taken to have {ceil(widest)}")
    return ceil(widest)


def _named_type(name: str, node: Any) -> str:
    match = re.fullmatch(r"(U?)INT([0-9]{1,2})", name)
    if match:
        return integer(int(match[2]), not match[1])
    if name in ("BIPOLAR", "BINARY", "TERNARY"):
        return "ternary" if name == "TERNARY" else "binary"
    raise Unreadable(
        f"{node.op_type} (domain '{node.domain}') makes values of type '{name}', which no format describes"
    )


def _all_zero(graph: OnnxGraph, name: str) -> bool:
    value = graph.values.get(name)
    return value is not None and not value.any()


def _all_middle(graph: OnnxGraph, name: str, bits: int) -> bool:
    """Whether packed zero points are all in the middle of the range, where they say nothing."""
    value = graph.values.get(name)
    if value is None or bits not in (2, 4, 8) or value.dtype != "uint8":
        return False
    middle = sum(1 << (bits - 1) << start for start in range(0, 8, bits))
    return bool((value == middle).all())
