"""Layers of the ONNX operators that multiply: convolutions, matrix products, attention, recurrent layers.

Each function returns the layers of one operator, per sample: sizes of the batch are divided out.
"""

from __future__ import annotations

from math import prod
from typing import Any

from dse.workload.from_onnx.flow import Flow, Unknown, Unsupported, attributes, has_input, last, per_sample, spatial
from dse.workload.from_onnx.shapes import Shape
from dse.workload.model import Layer

#: Which input is the bias of a convolution; 99 where it has none.
_BIAS_INPUT = {"QLinearConv": 8, "ConvInteger": 99}


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
    stride, dilation = (spatial(node, key, len(read) - 2) for key in ("strides", "dilations"))
    return [
        Layer(
            name=name, kind="conv", N=flow.sample(node.input[0])[0], G=groups, K=learned[0] // groups, C=learned[1],
            P=made[2], Q=last(made), R=learned[2], S=last(learned), stride=stride, dilation=dilation,
            input_hw=(read[2], last(read)), bias=has_input(node, _BIAS_INPUT.get(node.op_type, 2)),
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
    stride, dilation = (spatial(node, key, len(read) - 2) for key in ("strides", "dilations"))
    return [
        Layer(
            name=name, kind="conv", N=flow.sample(node.input[0])[0], G=groups, K=learned[0] // groups, C=learned[1],
            P=read[2], Q=last(read), R=learned[2], S=last(learned), stride=stride, dilation=dilation,
            input_hw=(made[2], last(made)), bias=has_input(node, 2), transposed=True,
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
        bias = has_input(node, 2)
        return [_linear(flow, name, per_sample(flow, rows), 1, width, inner, bias, node.input[0], node.input[1])]
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
    outer = prod(_broadcast(batch_left, batch_right))
    if flow.is_constant(second):
        groups = prod(batch_right)
        runs = per_sample(flow, outer // groups * rows)
        return [_linear(flow, name, runs, groups, width, inner, False, first, second)]
    if flow.is_constant(first):
        groups = prod(batch_left)
        runs = per_sample(flow, outer // groups * width)
        return [_linear(flow, name, runs, groups, rows, inner, False, second, first)]
    # Leading axes that only the left operand has share one right operand: they are rows.
    shared = prod(batch_right)
    return [_product(flow, name, shared, outer // shared * rows, width, inner, first, second)]


def _broadcast(left: Shape, right: Shape) -> Shape:
    """Leading axes of a product, as numpy broadcasts them."""
    length = max(len(left), len(right))
    pairs = list(zip((1,) * (length - len(left)) + left, (1,) * (length - len(right)) + right, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise Unknown(f"leading axes {list(left)} and {list(right)} cannot be broadcast")
    return tuple(max(pair) for pair in pairs)


def einsum(flow: Flow, node: Any, name: str) -> list[Layer]:
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
    groups, inner, rows, width = size(a & b & out), size((a & b) - out), size((a & out) - b), size((b & out) - a)
    first, second = node.input
    if flow.is_constant(first):
        first, second, rows, width = second, first, width, rows
    if flow.is_constant(second):
        return [_linear(flow, name, per_sample(flow, rows), groups, width, inner, False, first, second)]
    return [_product(flow, name, groups, rows, width, inner, first, second)]


def _spelled(labels: str, shape: Shape, equation: str) -> str:
    """Labels with an ellipsis written out: digits, counted from the last axis that it stands for."""
    hidden = len(shape) - len(labels.replace("...", ""))
    if hidden < 0 or (hidden and "..." not in labels) or hidden > 9:
        raise Unknown(f"the equation '{equation}' does not fit its operands")
    return labels.replace("...", "".join(str(hidden - 1 - place) for place in range(hidden)))


def recurrent(flow: Flow, node: Any, name: str) -> list[Layer]:
    """LSTM, GRU, RNN: the products with the input at all time steps at once, with the state step after step, and the gates."""
    read, learned, state = (flow.shape(node.input[index]) for index in range(3))
    if len(read) != 3 or len(learned) != 3 or len(state) != 3 or learned[2] != read[2]:
        raise Unknown(f"an input of shape {list(read)} does not fit weights of shape {list(learned)}")
    steps, samples = (read[1], read[0]) if attributes(node).get("layout", 0) else (read[0], read[1])
    samples = samples // flow.batch if samples % flow.batch == 0 else samples
    directions, gates, hidden = learned[0], learned[1], state[2]
    bias = has_input(node, 3)
    weight = ("backward_weight",) * flow.is_constant(node.input[1])
    passes = flow.mac_passes(node.input[0], node.input[1])
    return [
        Layer(name=f"{name}.input", kind="fc", N=samples * steps, K=directions * gates, C=read[2], bias=bias, passes=passes),
        Layer(
            name=f"{name}.recurrent", kind="fc", N=samples, G=directions, K=gates, C=hidden, bias=bias, repeats=steps,
            passes=("forward", "backward_data", *weight), reads=(f"{name}.gates",),
        ),
        Layer(
            name=f"{name}.gates", kind="activation", G=directions * gates, P=samples * steps, input_hw=(samples * steps, 1),
            function=node.op_type.lower(), reads=(f"{name}.input",), reads_second=(f"{name}.recurrent",),
        ),
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
    past = has_input(node, 4)
    columns += flow.shape(node.input[4])[2] if past else 0
    return attention_layers(flow, node, name, samples, heads, pairs, rows, columns, inner, width, past)


def attention_layers(
    flow: Flow, node: Any, name: str, samples: int, heads: int, pairs: int, rows: int, columns: int, inner: int, width: int,
    cached: bool, learned: bool = False,
) -> list[Layer]:  # fmt: skip
    """Layers of an attention of ``heads`` query and ``pairs`` key and value heads; ``learned`` if their projection is its own."""
    if min(heads, pairs, rows, columns, inner, width) < 1 or heads % pairs:
        raise Unknown(f"{heads} query heads and {pairs} key heads of {inner} make no attention")
    samples = samples // flow.batch if samples % flow.batch == 0 else samples
    runs = heads // pairs * rows
    q, k, v = (True,) * 3 if learned else (name_ in flow.errors for name_ in node.input[:3])
    both = ("backward_data",)
    scores = ("forward", *both * q, *("backward_weight",) * k)
    context = ("forward", *both * (q or k), *("backward_weight",) * v)
    soft = ("forward", *both * (q or k))
    groups = samples * pairs
    names = [f"{name}.in_proj"] if learned else []
    queries, keys, values = (tuple(names) or flow.made_by(*node.input[place : place + 1]) for place in range(3))
    # One tensor may hold queries, keys and values.
    keys, values = keys or queries, values or keys or queries
    return [
        Layer(
            name=f"{name}.scores", kind="matmul", N=runs, G=groups, K=columns, C=inner, passes=scores, cached=cached,
            reads=queries, reads_second=keys,
        ),
        Layer(
            name=f"{name}.softmax",
            kind="softmax",
            G=samples * heads,
            P=rows,
            Q=columns,
            input_hw=(rows, columns),
            passes=soft,
            reads=(f"{name}.scores",),
        ),
        Layer(
            name=f"{name}.context", kind="matmul", N=runs, G=groups, K=width, C=columns, passes=context, cached=cached,
            reads=(f"{name}.softmax",), reads_second=values,
        ),
    ]  # fmt: skip


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
        rows = per_sample(flow, rows)
    return Layer(name=name, kind="matmul", N=rows, G=groups, K=width, C=inner, passes=flow.mac_passes(read, weight))


def _turned(shape: Shape, transpose: int) -> tuple[int, int]:
    if len(shape) != 2:
        raise Unknown(f"expected a matrix, got the shape {list(shape)}")
    return (shape[1], shape[0]) if transpose else (shape[0], shape[1])
