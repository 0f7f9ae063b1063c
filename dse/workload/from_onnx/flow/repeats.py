"""What a tensor repeats, and what it holds of earlier steps: keys and values that several heads share, and caches.

Exporters write grouped-query attention as a repetition of keys and values before a product of as many heads as there are queries
(``repeat_kv``), by Expand, Tile, Gather or Concat. Followed to the product, the heads that share a key are its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow
from dse.workload.from_onnx.graph.axes import ELEMENTWISE, RESHAPING, ReadAcross, carried
from dse.workload.from_onnx.graph.bodies import JOINT
from dse.workload.from_onnx.graph.nodes import attributes, input_name
from dse.workload.nests.factors import Factor, locate

#: Operators that move elements and leave them what they are.
_MOVING = frozenset((*RESHAPING, "Transpose", "Slice", "Split", "Expand", "Tile", "Gather", "Concat"))
#: Operators that keep a cache a cache.
_KEEPING = _MOVING | {"Identity", "Cast", "Mul", "QuantizeLinear", "DequantizeLinear"}
#: Operators that write into a tensor at some places.
_WRITING = ("ScatterElements", "ScatterND", "TensorScatter")


def follow(flow: Flow, node: Any) -> None:
    """Note what the outputs of a node repeat and whether they hold a cache."""
    if node.name.endswith(JOINT) or not node.input or not node.output or flow.graph.shapes.get(node.output[0]) is None:
        return
    if any(tensor in flow.repeats for tensor in node.input) and node.op_type in (*_MOVING, *ELEMENTWISE):
        _carry(flow, node)
    made = [factor for factor in _made(flow, node) if factor.size > 1 and factor != flow.samples.get(node.output[0])]
    if made:
        flow.repeats[node.output[0]] = (*flow.repeats.get(node.output[0], ()), *made)
    if _begins_cache(flow, node) or (node.op_type in _KEEPING and any(tensor in flow.cached for tensor in node.input)):
        flow.cached.update(node.output)


def _made(flow: Flow, node: Any) -> Iterator[Factor]:
    """Repetitions that a node makes."""
    before = flow.graph.shapes.get(node.input[0])
    after = flow.graph.shapes[node.output[0]] or ()
    if before is None:
        return
    if node.op_type == "Expand":
        for axis, size in enumerate(after):
            old = axis - (len(after) - len(before))
            if old < 0 or (before[old] == 1 and size > 1):
                yield Factor(prod(after[:axis]), size)
    elif node.op_type == "Tile" and len(before) == len(after):
        for axis, (old, size) in enumerate(zip(before, after, strict=True)):
            if old and size > old:
                yield Factor(prod(after[:axis]), size // old)
    elif node.op_type == "Concat" and len(node.input) > 1 and len(set(node.input)) == 1:
        axis = attributes(node).get("axis", 0) % max(len(after), 1)
        yield Factor(prod(after[:axis]), len(node.input))
    elif node.op_type == "Gather" and input_name(node, 1) in flow.graph.values:
        indices = [int(index) for index in flow.graph.values[node.input[1]].ravel()]
        axis = attributes(node).get("axis", 0) % max(len(before), 1)
        chosen = list(dict.fromkeys(indices))
        times = len(indices) // max(len(chosen), 1)
        if indices == [index for index in chosen for _ in range(times)]:
            yield Factor(prod(after[:axis]) * len(chosen), times)
        elif indices == chosen * times:
            yield Factor(prod(after[:axis]), times)


def _carry(flow: Flow, node: Any) -> None:
    """Repetitions of what a node reads, in what it makes: those that all its operands share or do not see."""
    found: dict[str, list[Factor]] = {}
    for index, tensor in enumerate(node.input):
        for factor in flow.repeats.get(tensor, ()):
            try:
                placed = carried(flow.graph, node, index, factor)
            except ReadAcross:
                continue
            for output, where in placed.items():
                if where not in found.get(output, []) and _all_repeat(flow, node, output, where, index):
                    found.setdefault(output, []).append(where)
    flow.repeats |= {output: tuple(factors) for output, factors in found.items()}


def _all_repeat(flow: Flow, node: Any, output: str, factor: Factor, index: int) -> bool:
    """Whether the other operands of a node repeat along a factor of its output as well, or have no such axis."""
    if node.op_type in _MOVING and node.op_type != "Concat":
        return True
    made = flow.graph.shapes.get(output) or ()
    place = locate(made, factor)
    for other, tensor in enumerate(node.input):
        shape = flow.graph.shapes.get(tensor)
        if other == index or not tensor or place is None or shape is None:
            continue
        axis = place.axis - (len(made) - len(shape))
        if axis < 0 or shape[axis] == 1:
            continue
        if not any(_arrives(flow, node, other, same, output) == factor for same in flow.repeats.get(tensor, ())):
            return False
    return place is not None


def _arrives(flow: Flow, node: Any, index: int, factor: Factor, output: str) -> Factor | None:
    try:
        return carried(flow.graph, node, index, factor).get(output)
    except ReadAcross:
        return None


def _begins_cache(flow: Flow, node: Any) -> bool:
    """Whether a node joins an input of the model, other than the first one, with something that is made in this step."""
    fed = [name for name in flow.graph.inputs if name in node.input][:2]
    later = list(flow.graph.inputs)[1:]
    if node.op_type == "Concat":
        return (
            bool(fed)
            and all(name in later for name in fed)
            and any(name not in flow.graph.inputs for name in node.input)
        )
    return node.op_type in _WRITING and node.input[0] in later
