"""Where an axis of what an operator reads is in what it makes, and which operators read across it.

An axis is read across where one element of the result depends on more than one of its elements: it is summed over, a window slides
over it, a norm or a softmax runs along it. Samples of a batch are read across by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dse.workload.from_onnx.graph.nodes import attributes, has_input
from dse.workload.from_onnx.graph.shapes import OnnxGraph, Shape
from dse.workload.nests.factors import Factor, Place, locate, placed


class ReadAcross(Exception):
    """An operator reads across the axis that is followed."""


#: What follows an axis: graph, node, input that has it, its place -> its place in each output, None where it is lost.
Rule = Callable[[OnnxGraph, Any, int, Place], "list[Place | None]"]


def _shape(graph: OnnxGraph, name: str) -> Shape:
    return graph.shapes.get(name) or ()


def _all(node: Any, place: Place | None) -> list[Place | None]:
    return [place] * len(node.output)


def kept(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Operators on single elements, whose operands are broadcast: axes are matched from the last one."""
    shape, made = _shape(graph, node.input[index]), _shape(graph, node.output[0])
    axis = place.axis + len(made) - len(shape)
    whole = axis >= 0 and len(made) > axis and made[axis] == shape[place.axis]
    result = Place(axis, place.outer) if whole else None
    return [result if _shape(graph, name) == made else None for name in node.output]


def transposed(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    rank = len(_shape(graph, node.input[0]))
    order = attributes(node).get("perm", list(range(rank))[::-1])
    return [Place(order.index(place.axis), place.outer) if place.axis in order else None]


def along(default: int) -> Rule:
    """Operators that read along one axis, and give it another size or order."""

    def rule(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
        if index > 0 and node.op_type not in ("Concat", "Max"):
            return _all(node, None)
        axis = int(attributes(node).get("axis", default)) % max(len(_shape(graph, node.input[index])), 1)
        if axis == place.axis:
            raise ReadAcross
        if node.op_type in ("ArgMax", "ArgMin") and not attributes(node).get("keepdims", 1) and axis < place.axis:
            place = Place(place.axis - 1, place.outer)
        return _all(node, place)

    return rule


def softmax(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Before operator set 13 over all axes from one on, then over one."""
    rank = len(_shape(graph, node.input[0]))
    older = graph.opset < 13
    axis = int(attributes(node).get("axis", 1 if older else -1)) % max(rank, 1)
    if place.axis == axis or (older and place.axis > axis):
        raise ReadAcross
    return [place]


def normalized(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Layer norms run over all axes from one on, instance and group norms over all but the first."""
    if index > 0:
        return _all(node, None)
    rank = len(_shape(graph, node.input[0]))
    first = attributes(node).get("axis", -1) % max(rank, 1) if "Layer" in node.op_type or "RMS" in node.op_type else 1
    if place.axis >= first:
        raise ReadAcross
    return [place, *[None] * (len(node.output) - 1)]


def reduced(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Sums, means and maxima over axes; over all of them it is a loss or a measure of it, which every batch has."""
    if index > 0:
        return [None]
    flags, rank = attributes(node), len(_shape(graph, node.input[0]))
    axes = flags.get("axes")
    if axes is None and has_input(node, 1):
        values = graph.values.get(node.input[1])
        if values is None:
            return [None]
        axes = [int(axis) for axis in values.ravel()]
    if not axes and flags.get("noop_with_empty_axes", 0):
        return [place]
    axes = [axis % rank for axis in axes] if axes else list(range(rank))
    if len(set(axes)) == rank:
        return [None]
    if place.axis in axes:
        raise ReadAcross
    shift = 0 if flags.get("keepdims", 1) else sum(axis < place.axis for axis in axes)
    return [Place(place.axis - shift, place.outer)]


def windowed(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Convolutions and pools: samples lead, windows of more than one element read across an axis, a pool keeps channels apart."""
    if index > 0:
        return _all(node, None)
    shape, made = _shape(graph, node.input[0]), _shape(graph, node.output[0])
    multiplies = node.op_type.startswith(("Conv", "Deform"))
    taps = _shape(graph, node.input[1])[2:] if multiplies else attributes(node).get("kernel_shape", ())
    taps = shape[2:] if node.op_type.startswith("Global") else taps
    if place.axis == 0:
        return _all(node, place)
    if place.axis == 1:
        if multiplies:
            raise ReadAcross
        return _all(node, place)
    if place.axis - 2 >= len(taps) or taps[place.axis - 2] != 1 or made[place.axis] != shape[place.axis]:
        raise ReadAcross
    return _all(node, place)


def resized(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    if index > 0:
        return [None]
    shape, made = _shape(graph, node.input[0]), _shape(graph, node.output[0])
    if len(made) != len(shape) or made[place.axis] != shape[place.axis]:
        raise ReadAcross
    return [place]


def multiplied(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Matrix products: the inner axis is summed over, leading axes are broadcast, rows and columns stay."""
    first, second = _shape(graph, node.input[0]), _shape(graph, node.input[1])
    made = _shape(graph, node.output[0])
    shape = first if index == 0 else second
    flags = attributes(node)
    if index > 1:
        return [None]
    turned = flags.get("transA" if index == 0 else "transB", 0) and node.op_type == "Gemm"
    if len(shape) == 1:
        raise ReadAcross
    back = len(shape) - place.axis
    if back > 2:
        axis = place.axis + len(made) + (len(first) == 1) + (len(second) == 1) - len(shape)
        return [Place(axis, place.outer) if axis >= 0 and made[axis] == shape[place.axis] else None]
    if (back == (1 if index == 0 else 2)) != bool(turned):
        raise ReadAcross
    axis = len(made) - (2 if index == 0 and len(second) > 1 else 1)
    return [Place(axis, place.outer)]


def summed(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Einsum: an axis stays where the result has its label."""
    equation = str(attributes(node).get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    if not arrow:
        once = {label for label in terms if label.isalpha() and terms.count(label) == 1}
        result = "..." * ("..." in terms) + "".join(sorted(once))
    labels = terms.split(",")[index] if index < len(terms.split(",")) else ""
    shape, made = _shape(graph, node.input[index]), _shape(graph, node.output[0])
    if "..." in labels:
        # Hidden axes are matched from the last one.
        start = labels.index("...")
        hidden = len(shape) - len(labels) + 3
        if start <= place.axis < start + hidden:
            rest = len(made) - len(result) + 3
            axis = result.find("...") + place.axis - start + rest - hidden
            return [Place(axis, place.outer) if "..." in result and axis >= 0 else None]
        label = labels.replace("...", "." * hidden)[place.axis]
    else:
        label = labels[place.axis : place.axis + 1]
    if label and label not in result:
        raise ReadAcross
    spelled = result.replace("...", "." * (len(made) - len(result) + 3))
    return [Place(spelled.index(label), place.outer) if label in spelled else None]


def gathered(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Gather: of the data, an axis that is chosen from is read across; of the indices, axes stand in its place."""
    data, indices = _shape(graph, node.input[0]), _shape(graph, node.input[1])
    axis = int(attributes(node).get("axis", 0)) % max(len(data), 1)
    if index == 1:
        return [Place(axis + place.axis, place.outer)]
    if place.axis == axis:
        raise ReadAcross
    return [Place(place.axis + (len(indices) - 1 if place.axis > axis else 0), place.outer)]


def sliced(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Slices and pads that leave the axis whole."""
    if index > 0:
        return [None]
    shape, made = _shape(graph, node.input[0]), _shape(graph, node.output[0])
    if len(shape) != len(made):
        return [None]
    if shape[place.axis] != made[place.axis]:
        raise ReadAcross
    return [place]


def tiled(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    shape, made = _shape(graph, node.input[0]), _shape(graph, node.output[0])
    if index > 0 or len(shape) != len(made) or made[place.axis] % max(shape[place.axis], 1):
        return [None]
    return [Place(place.axis, place.outer * (made[place.axis] // shape[place.axis]))]


def stepped(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """LSTM, GRU, RNN: one step after the other, all features at once."""
    batch_first = bool(attributes(node).get("layout", 0))
    if index not in (0, 5, 6):
        return _all(node, None)
    if place.axis != (0 if batch_first else 1):
        raise ReadAcross
    states = Place(0 if batch_first else 1, place.outer)
    return [Place(0 if batch_first else 2, place.outer), *[states] * (len(node.output) - 1)]


def attended(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Attention: samples lead in queries, keys, values and results; positions and features are read across."""
    if place.axis == 0:
        return [place, *[None] * (len(node.output) - 1)]
    if index > 2:
        return _all(node, None)
    raise ReadAcross


def led(graph: OnnxGraph, node: Any, index: int, place: Place) -> list[Place | None]:
    """Operators that move elements within a sample."""
    return _all(node, place if place.axis == 0 and index == 0 else None)


#: Operators on single elements.
ELEMENTWISE = frozenset((
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Gelu", "Softplus",
    "Softsign", "ThresholdedRelu", "Clip", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Sin", "Cos", "Floor", "Ceil",
    "Round", "Sign", "Mish", "Not", "IsNaN", "IsInf", "Pow", "Add", "Sub", "Sum", "Mean", "Mul", "Div", "Max", "Min", "Where",
    "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Mod", "Identity", "Dropout", "Cast", "CastLike",
    "QuantizeLinear", "DequantizeLinear", "BatchNormalization", "Shrink", "BitShift", "Expand", "DynamicQuantizeLinear",
    "FastGelu", "BiasGelu", "QuickGelu", "Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold", "Xor",
))  # fmt: skip
#: Operators that leave the order of elements as it is: a factor keeps its place whatever the axes are.
RESHAPING = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
#: Products of two operands.
PRODUCTS = ("MatMul", "MatMulInteger", "Gemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "Einsum")
_REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
#: How other operators treat an axis; one that is in no table loses it.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, kept),
    "Transpose": transposed,
    **dict.fromkeys(("Concat", "TopK", "LpNormalization"), along(-1)),
    **dict.fromkeys(("Split", "ArgMax", "ArgMin"), along(0)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
         "SkipSimplifiedLayerNormalization", "InstanceNormalization", "GroupNormalization"), normalized,
    ),
    "LRN": along(1),
    **dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), reduced),
    **dict.fromkeys(
        ("Conv", "ConvInteger", "ConvTranspose", "DeformConv", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
         "GlobalMaxPool", "GlobalLpPool"), windowed,
    ),
    **dict.fromkeys(("Resize", "Upsample"), resized),
    **dict.fromkeys(PRODUCTS, multiplied),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), along(-1)),
    "Einsum": summed,
    "Gather": gathered,
    **dict.fromkeys(("Slice", "Pad"), sliced),
    "Tile": tiled,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), stepped),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"), attended),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "RotaryEmbedding"), led),
}  # fmt: skip


def carried(graph: OnnxGraph, node: Any, index: int, factor: Factor) -> dict[str, Factor]:
    """Where a factor of an input of an operator is in its outputs; those that lose it are left out.

    Raises
    ------
    ReadAcross
        The operator reads across it.
    """
    shape = _shape(graph, node.input[index])
    if node.op_type in RESHAPING:
        return {node.output[0]: factor} if index == 0 and graph.shapes.get(node.output[0]) is not None else {}
    rule, place = RULES.get(node.op_type), locate(shape, factor)
    if rule is None or place is None or not node.output:
        return {}
    try:
        places = list(zip(node.output, rule(graph, node, index, place), strict=False))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        # A node that is not what its name says; its layer says so.
        return {}
    found = {
        name: placed(_shape(graph, name), where, factor.size) for name, where in places if name and where is not None
    }
    return {name: where for name, where in found.items() if where is not None}
