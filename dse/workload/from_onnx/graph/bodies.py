"""What the bodies of an ONNX graph's control flow read and make, and how often they run.

Of an ``If`` the branch with more products is taken. A ``Loop`` runs as often as its first input says, unless its body ends it
before; a ``Scan`` once for every entry of what it scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dse.workload.from_onnx.graph.nodes import MULTIPLYING, STANDARD, attributes, input_name
from dse.workload.from_onnx.graph.shapes import OnnxGraph

#: Bodies within bodies that are followed.
DEPTH = 8
#: Ending of the names of nodes that join a body to the graph around it.
JOINT = "/joint"
#: Passes of a loop that are believed, and those whose results are joined.
_MAX_TRIPS = 2**31 - 1
#: First operator set in which Scan has no axis for a batch, and first in which Unsqueeze takes its axes as an input.
_SCAN_WITHOUT_BATCH, _AXES_AS_INPUT = 9, 13


@dataclass(frozen=True)
class Result:
    """An output of a body, and what it is outside.

    Attributes
    ----------
    inner, outer
        Names.
    axis
        Axis along which the results of all passes are joined; None for the result of the last one.
    """

    inner: str
    outer: str
    axis: int | None = None


@dataclass(frozen=True)
class Body:
    """A body that is written out in the place of its node.

    Attributes
    ----------
    graph
        The body.
    inputs
        What its inputs are in the graph around it.
    before
        Nodes that make its inputs.
    initializers
        Of these and of its inputs.
    results
        Its outputs.
    states
        Tensors that a pass hands to the next one.
    trips
        How often it runs.
    note
        What was assumed.
    """

    graph: Any
    inputs: Mapping[str, str]
    results: Sequence[Result]
    before: Sequence[Any] = ()
    initializers: Sequence[Any] = ()
    states: Sequence[str] = ()
    trips: int = 1
    note: str = ""


def is_loop(node: Any) -> bool:
    """Whether a node runs a body several times."""
    return node.op_type in ("Loop", "Scan") and node.domain in STANDARD and bool(node.output)


def label(node: Any) -> str:
    """A node in a sentence."""
    return f"{node.op_type} '{node.name or node.output[0]}'"


def branch(node: Any) -> Body | None:
    """Of an ``If`` the branch with more operators that multiply, then with more operators; the first one of equals."""
    branches = [_graph_of(node, key) for key in ("then_branch", "else_branch")]
    branches = [graph for graph in branches if graph is not None and len(graph.output) == len(node.output)]
    if not branches:
        return None
    chosen = max(branches, key=lambda graph: (_products(graph), len(graph.node)))
    results = [Result(inner.name, outer) for inner, outer in zip(chosen.output, node.output, strict=True) if outer]
    differ = len({_products(graph) for graph in branches}) > 1
    return Body(
        chosen, {}, results, note=f"of {label(node)} the branch with more products is counted" if differ else ""
    )


def loop(onnx: Any, graph: OnnxGraph, node: Any, trips: int | None) -> Body | None:
    """The body of a ``Loop``: iteration number, condition, states; condition, states, results of every pass.

    Parameters
    ----------
    trips
        How often it runs, if a user says it.
    """
    body = _graph_of(node, "body")
    states = len(node.input) - 2
    if body is None or states < 0 or len(body.input) != states + 2 or len(body.output) != len(node.output) + 1:
        return None
    if trips is None:
        value = graph.values.get(input_name(node, 0))
        trips = int(value.ravel()[0]) if value is not None and value.size == 1 else 0
    if not 1 <= trips <= _MAX_TRIPS:
        return None
    name = node.output[0]
    helper, kinds = onnx.helper, onnx.TensorProto
    first = helper.make_tensor(f"{name}/iteration", kinds.INT64, [], [0])
    true = helper.make_tensor(f"{name}/condition", kinds.BOOL, [], [True])
    inputs = {body.input[0].name: first.name, body.input[1].name: true.name}
    before, begun = _states(onnx, node, [item.name for item in body.input[2:]], node.input[2:])
    results = [
        Result(inner.name, outer, None if place < states else 0)
        for place, (inner, outer) in enumerate(zip(body.output[1:], node.output, strict=True))
        if outer
    ]
    most = "" if _goes_on(body) else "at most "
    note = f"{label(node)} runs {most}{trips} times; its body is counted so often, at the sizes of the first time"
    return Body(body, inputs | begun, results, before, [first, true], list(begun.values()), trips, note)


def scan(onnx: Any, graph: OnnxGraph, node: Any) -> Body | None:
    """The body of a ``Scan``: states, one entry of what is scanned; states, results of every pass."""
    flags, body = attributes(node), _graph_of(node, "body")
    scanned = flags.get("num_scan_inputs", 0)
    states = len(node.input) - scanned
    if graph.opset < _SCAN_WITHOUT_BATCH or body is None or scanned < 1 or states < 0:
        return None
    if len(body.input) != len(node.input) or len(body.output) != len(node.output):
        return None
    axes = flags.get("scan_input_axes") or [0] * scanned
    shapes = [graph.shapes.get(name) for name in node.input[states:]]
    sizes = {
        shape[axis] for shape, axis in zip(shapes, axes, strict=False) if shape and -len(shape) <= axis < len(shape)
    }
    if len(sizes) != 1 or not 1 <= (trips := sizes.pop()) <= _MAX_TRIPS:
        return None
    helper, kinds = onnx.helper, onnx.TensorProto
    zero = helper.make_tensor(f"{node.output[0]}/first", kinds.INT64, [], [0])
    before, inputs = _states(onnx, node, [item.name for item in body.input[:states]], node.input[:states])
    begun = list(inputs.values())
    for axis, inner, outer in zip(axes, body.input[states:], node.input[states:], strict=False):
        made = f"{node.output[0]}/{inner.name}"
        before.append(helper.make_node("Gather", [outer, zero.name], [made], name=f"{made}{JOINT}", axis=axis))
        inputs[inner.name] = made
    joined = flags.get("scan_output_axes") or [0] * (len(node.output) - states)
    results = [
        Result(inner.name, outer, None if place < states else joined[place - states])
        for place, (inner, outer) in enumerate(zip(body.output, node.output, strict=True))
        if outer
    ]
    return Body(
        body,
        inputs,
        results,
        before,
        [zero],
        begun,
        trips,
        f"{label(node)} runs {trips} times; its body is counted so often",
    )


def joints(onnx: Any, body: Body, names: Mapping[str, str], opset: int) -> tuple[list[Any], list[Any]]:
    """Nodes that make the outputs of a body's node of those of the body, and initializers for them.

    Parameters
    ----------
    names
        What the tensors of the body are called in the graph around it.
    """
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes, initializers = [], []
    for result in body.results:
        inner, outer = names.get(result.inner, result.inner), result.outer
        own = {"name": f"{outer}{JOINT}"}
        if result.axis is None:
            nodes.append(helper.make_node("Identity", [inner], [outer], **own))
            continue
        if opset < _AXES_AS_INPUT:
            one = helper.make_node("Unsqueeze", [inner], [f"{outer}/one"], axes=[result.axis], **own)
        else:
            initializers.append(helper.make_tensor(f"{outer}/axis", kinds.INT64, [1], [result.axis]))
            one = helper.make_node("Unsqueeze", [inner, f"{outer}/axis"], [f"{outer}/one"], **own)
        # Bytes of a tensor of zeros, without a list of so many numbers.
        again = kinds(name=f"{outer}/passes", data_type=kinds.INT32, dims=[body.trips], raw_data=bytes(4 * body.trips))
        initializers.append(again)
        nodes += [one, helper.make_node("Gather", [f"{outer}/one", again.name], [outer], axis=result.axis, **own)]
    return nodes, initializers


def _states(onnx: Any, node: Any, inner: Sequence[str], outer: Sequence[str]) -> tuple[list[Any], dict[str, str]]:
    """Tensors that a pass hands to the next one, of their first values."""
    names = {name: f"{node.output[0]}/{name}" for name in inner}
    nodes = [
        onnx.helper.make_node("Identity", [first], [names[name]], name=f"{names[name]}{JOINT}")
        for name, first in zip(inner, outer, strict=True)
    ]
    return nodes, names


def _goes_on(body: Any) -> bool:
    """Whether the condition that the body of a loop hands on is the one that it was given, or constant."""
    makers = {output: node for node in body.node for output in node.output}
    name = body.output[0].name
    for _ in range(DEPTH):
        node = makers.get(name)
        if node is None or node.op_type != "Identity":
            break
        name = node.input[0]
    constant = name in {item.name for item in body.initializer} or (
        name in makers and makers[name].op_type == "Constant"
    )
    return constant or name == body.input[1].name


def _graph_of(node: Any, key: str) -> Any:
    return next((item.g for item in node.attribute if item.name == key and item.HasField("g")), None)


def _products(graph: Any, depth: int = 0) -> int:
    inner = [item.g for node in graph.node for item in node.attribute if item.HasField("g")] if depth < DEPTH else []
    own = sum(node.op_type in MULTIPLYING for node in graph.node)
    return own + sum(_products(each, depth + 1) for each in inner)
