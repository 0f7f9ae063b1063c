"""Layers of the ONNX matrix products: with constant weights on either side a fully connected layer, else of two activations.

Samples of the batch are divided out. A constant first operand multiplies columns instead of rows, which is the same layer turned.
Where one operand repeats what it holds, as keys that several heads share do, those heads are rows of one product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made, Unknown, Unsupported
from dse.workload.from_onnx.graph.nodes import attributes, has_input
from dse.workload.from_onnx.graph.shapes import Shape
from dse.workload.layer import Layer


@dataclass(frozen=True)
class Product:
    """``groups`` products of matrices ``rows x inner`` and ``inner x width``, for the whole batch.

    Attributes
    ----------
    first, second
        The operands.
    first_roles, second_roles
        What the axes of either operand are: ``g`` groups, ``r`` rows, ``i`` inner, ``w`` width, one letter each; anything else for
        one that is summed before.
    """

    first: str
    second: str
    groups: int
    rows: int
    inner: int
    width: int
    first_roles: str
    second_roles: str


def gemm(flow: Flow, node: Any, name: str) -> list[Made]:
    """Gemm: ``A B + C``, with A or B constant or neither."""
    flags = attributes(node)
    first, second = node.input[0], node.input[1]
    rows, inner = _matrix(flow.shape(first), flags.get("transA", 0))
    outer, width = _matrix(flow.shape(second), flags.get("transB", 0))
    if outer != inner:
        raise Unknown(f"the inner sizes {inner} and {outer} differ")
    roles = ("ir" if flags.get("transA", 0) else "ri", "wi" if flags.get("transB", 0) else "iw")
    made = _multiplied(flow, name, Product(first, second, 1, rows, inner, width, *roles))
    return [made] if not has_input(node, 2) else _summed(flow, node, name, made)


def _summed(flow: Flow, node: Any, name: str, made: Made) -> list[Made]:
    """A product with the third operand of Gemm: a bias, a table of parameters or a sum with another activation."""
    tensor = node.input[2]
    shape = flow.shape(tensor)
    layer = made.layer
    if not flow.is_constant(tensor):
        size = prod(flow.sample(node.output[0]))
        passes = ("forward", *["backward_data"] * (tensor in flow.errors or "backward_data" in layer.passes))
        both = Layer(
            name=f"{name}.add", kind="add", G=size, passes=passes, reads=(name,), reads_second=flow.made_by(tensor)
        )  # fmt: skip
        return [made, Made(both)]
    size = prod(shape)
    if layer.kind == "fc" and is_bias(shape, made):
        return [made._replace(layer=replace(layer, bias=True))]
    if size < 2:
        return [made]
    rows = size // shape[-1]
    table = Layer(name=tensor, kind="embedding", N=rows, K=shape[-1], C=rows, passes=("forward", "backward_data"))
    return [made, Made(table, weight=tensor)]


def matmul(flow: Flow, node: Any, name: str) -> list[Made]:
    """MatMul, whose leading axes are broadcast as numpy does it."""
    first, second = node.input[0], node.input[1]
    left, right = flow.shape(first), flow.shape(second)
    vectors = (len(left) == 1, len(right) == 1)
    left, right = (1, *left) if vectors[0] else left, (*right, 1) if vectors[1] else right
    if not left or not right or left[-1] != right[-2]:
        raise Unknown(f"shapes {list(left)} and {list(right)} cannot be multiplied")
    rows, inner, width = left[-2], left[-1], right[-1]
    runs = prod(_broadcast(left[:-2], right[:-2]))
    turned = flow.is_constant(first) and not flow.is_constant(second)
    # Leading axes that only the other operand has share one matrix: they are rows, or columns of a product with constant rows.
    own, other = (left, right) if turned else (right, left)
    groups = prod(own[:-2])
    rows, width = (rows, runs // groups * width) if turned else (runs // groups * rows, width)
    extra = len(other) - len(own)
    lead = "".join("g" if axis >= extra and own[axis - extra] > 1 else "rw"[turned] for axis in range(len(other) - 2))
    roles = ("g" * (len(own) - 2), lead) if turned else (lead, "g" * (len(own) - 2))
    first_roles = "i" if vectors[0] else f"{roles[0]}ri"
    second_roles = "i" if vectors[1] else f"{roles[1]}iw"
    return [_multiplied(flow, name, Product(first, second, groups, rows, inner, width, first_roles, second_roles))]


def einsum(flow: Flow, node: Any, name: str) -> list[Made]:
    """Einsum of two operands: any contraction is a batched matrix product; of one operand, it multiplies nothing."""
    equation = str(attributes(node).get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    shapes = [flow.shape(tensor) for tensor in node.input]
    if len(operands) != len(shapes):
        raise Unknown(f"the equation '{equation}' does not fit its operands")
    if len(operands) == 1:
        raise Unsupported(0.0)
    if len(operands) > 2:
        raise Unsupported
    operands = [_spelled(labels, shape, equation) for labels, shape in zip(operands, shapes, strict=True)]
    if any(len(set(labels)) != len(labels) for labels in operands):
        raise Unsupported
    ellipsis = "".join(sorted({label for labels in operands for label in labels if label.isdigit()}))
    if not arrow:
        result = "..." + "".join(
            sorted(label for label in set("".join(operands)) if "".join(operands).count(label) == 1)
        )
    sizes: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        for label, extent in zip(labels, shape, strict=True):
            sizes[label] = max(extent, sizes.get(label, 1))
    # An axis of size 1 is broadcast: the operand does not have it.
    a, b = (
        {label for label, extent in zip(labels, shape, strict=True) if extent == sizes[label]}
        for labels, shape in zip(operands, shapes, strict=True)
    )
    out = set(result.replace("...", ellipsis))

    def size(labels: set[str]) -> int:
        return prod(sizes[label] for label in labels)

    # What only one operand has and the result does not is summed before.
    shared, left, both, right = a & b & out, (a & out) - b, (a & b) - out, (b & out) - a
    kinds = {label: kind for kind, labels in zip("griw", (shared, left, both, right), strict=True) for label in labels}
    roles = ["".join(kinds.get(label, "-") for label in labels) for labels in operands]
    sides = (size(shared), size(left), size(both), size(right))
    made = _multiplied(flow, name, Product(node.input[0], node.input[1], *sides, *roles))
    last = result[-1:]
    ends = made.weight == node.input[1] and last in right and sizes[last] == sides[3]
    return [made if ends else made._replace(channel=None)]


def _spelled(labels: str, shape: Shape, equation: str) -> str:
    """Labels with an ellipsis written out: digits, counted from the last axis that it stands for."""
    hidden = len(shape) - len(labels.replace("...", ""))
    if hidden < 0 or (hidden and "..." not in labels) or hidden > 9:
        raise Unknown(f"the equation '{equation}' does not fit its operands")
    return labels.replace("...", "".join(str(hidden - 1 - place) for place in range(hidden)))


def _broadcast(left: Shape, right: Shape) -> Shape:
    """Leading axes of a product, as numpy broadcasts them."""
    length = max(len(left), len(right))
    pairs = list(zip((1,) * (length - len(left)) + left, (1,) * (length - len(right)) + right, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise Unknown(f"leading axes {list(left)} and {list(right)} cannot be broadcast")
    return tuple(max(pair) for pair in pairs)


def _matrix(shape: Shape, transpose: int) -> tuple[int, int]:
    if len(shape) != 2:
        raise Unknown(f"expected a matrix, got the shape {list(shape)}")
    return (shape[1], shape[0]) if transpose else (shape[0], shape[1])


def is_bias(shape: Shape, made: Made) -> bool:
    """Whether a constant of some shape is one value per output channel of a layer, where it is added to what the layer makes."""
    layer, channel = made.layer, made.channel
    channels = layer.G * (layer.C if layer.transposed else layer.K)
    if channel is None or len(shape) < -channel or prod(shape) != channels:
        return False
    return shape[channel] == channels


def _of_one_sample(flow: Flow, name: str, product: Product) -> Product:
    """A product without the samples of the batch, wherever they stand."""
    if flow.batch == 1:
        return product
    sizes = {"g": "groups", "r": "rows", "i": "inner", "w": "width"}
    for tensor, roles in ((product.first, product.first_roles), (product.second, product.second_roles)):
        place = None if flow.is_constant(tensor) else flow.place(tensor)
        size = sizes.get(roles[place.axis]) if place is not None and place.axis < len(roles) else None
        if size is not None and getattr(product, size) % flow.batch == 0:
            return replace(product, **{size: getattr(product, size) // flow.batch})
    flow.notes.append(f"'{name}' does not see the samples of the batch and is counted once for each of them")
    return product


def _multiplied(flow: Flow, name: str, product: Product) -> Made:
    """The layer of a product of matrices."""
    product = _of_one_sample(flow, name, product)
    read, weight, groups = product.first, product.second, product.groups
    rows, inner, width = product.rows, product.inner, product.width
    turned = flow.is_constant(read) and not flow.is_constant(weight)
    if turned or flow.is_constant(weight):
        if turned:
            read, weight, rows, width = weight, read, width, rows
        layer = Layer(
            name=name, kind="fc", N=rows, G=groups, K=width, C=inner, passes=flow.mac_passes(read, weight)
        )  # fmt: skip
        return Made(layer, read, weight, -2 if turned else -1)
    again, share = (
        flow.repeated(tensor, [axis for axis, role in enumerate(roles) if role == "g"])
        for tensor, roles in ((read, product.first_roles), (weight, product.second_roles))
    )
    if again > share:
        read, weight, rows, width, share = weight, read, width, rows, again
    if groups % share == 0:
        groups, rows = groups // share, rows * share
    layer = Layer(
        name=name, kind="matmul", N=rows, G=groups, K=width, C=inner, cached=weight in flow.cached,
        passes=flow.mac_passes(read, weight),
    )  # fmt: skip
    return Made(layer, read, weight)
