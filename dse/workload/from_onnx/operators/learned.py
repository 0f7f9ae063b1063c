"""Learned parameters of an ONNX graph that no operator with weights holds: biases as sums of their own, and tables.

Exporters write the bias of a linear layer over tokens as a sum after its product, and class tokens, positions and scales as
constants of sums, products and concatenations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made
from dse.workload.from_onnx.graph.shapes import STRIPPED, Shape
from dse.workload.from_onnx.operators.matrices import is_bias
from dse.workload.layer import Layer

#: Operators that learned tables enter.
_JOINS = ("Add", "Sub", "Mul", "Div", "Concat")
#: float32, float16, float64, bfloat16.
_FLOATS = (1, 10, 11, 16)


def with_bias(flow: Flow, node: Any, products: Mapping[str, Made]) -> Made | None:
    """The layer whose bias a sum adds, with that bias; None if it is a sum like any other.

    Parameters
    ----------
    products
        Layers by the tensor that they make.
    """
    if node.op_type != "Add" or len(node.input) != 2:
        return None
    for product, vector in (tuple(node.input), tuple(node.input)[::-1]):
        made, shape = products.get(product), flow.graph.shapes.get(vector)
        if made is None or made.layer.bias or not flow.is_constant(vector) or not shape:
            continue
        whole = made.layer.kind == "conv" or (made.layer.kind == "fc" and made.layer.G == 1)
        if whole and is_bias(shape, made):
            return made._replace(layer=replace(made.layer, bias=True))
    return None


def softmax_inputs(flow: Flow) -> set[str]:
    """Tensors that softmaxes read."""
    return {name for node in flow.graph.nodes if node.op_type == "Softmax" for name in node.input}


def initializer_shapes(flow: Flow) -> dict[str, Shape]:
    """Shapes of initializers, those too that a stripped copy has made constants."""
    stripped = {
        node.output[0]: flow.graph.shapes.get(node.output[0]) or ()
        for node in flow.graph.nodes
        if node.op_type == "ConstantOfShape" and node.name == f"{node.output[0]}{STRIPPED}"
    }
    return {**flow.graph.initializers, **stripped}


def learned_tables(flow: Flow, node: Any, shapes: Mapping[str, Shape], taken: set[str], scores: set[str]) -> list[Made]:
    """Parameters that enter a sum, a product or a concatenation, as tables that are read whole.

    Parameters
    ----------
    shapes
        Of initializers.
    taken
        Initializers that have a layer; grows.
    scores
        What softmaxes read: a constant that is added to them alike for all heads is a mask.
    """
    if node.op_type not in _JOINS or node.domain not in ("", "ai.onnx"):
        return []
    layers = []
    for name in node.input:
        shape = shapes.get(name)
        if name in taken or not shape or prod(shape) < 2 or flow.graph.types.get(name) not in _FLOATS:
            continue
        if node.op_type == "Add" and prod(shape[:-2]) == 1 and node.output[0] in scores:
            continue
        taken.add(name)
        size = prod(shape) // (flow.batch if _written_per_sample(flow, node, shape) else 1)
        width = shape[-1] if shape[-1] > 1 else size
        table = Layer(
            name=name, kind="embedding", N=size // width, K=width, C=size // width, passes=("forward", "backward_data")
        )  # fmt: skip
        layers.append(Made(table, weight=name))
    return layers


def _written_per_sample(flow: Flow, node: Any, shape: Shape) -> bool:
    """Whether an exporter wrote a table out for every sample of the batch, as a class token that is joined to all of them."""
    made = flow.graph.shapes.get(node.output[0])
    place = flow.place(node.output[0]) if made else None
    if not made or place is None or place.outer > 1 or made[place.axis] != flow.batch:
        return False
    axis = place.axis - (len(made) - len(shape))
    return len(shape) > 1 and axis >= 0 and shape[axis] == flow.batch
