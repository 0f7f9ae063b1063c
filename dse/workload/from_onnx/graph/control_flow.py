"""Control flow of an ONNX graph, written out as if its bodies stood in the graph itself.

The body of a loop whose number of passes is known is taken once and marked to run so often; tensors that grow from pass to pass
have the size of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dse.workload.from_onnx.graph.bodies import DEPTH, Body, branch, is_loop, joints, label, loop, scan
from dse.workload.from_onnx.graph.nodes import STANDARD
from dse.workload.from_onnx.graph.read import MAX_NODES, copied
from dse.workload.from_onnx.graph.shapes import OnnxGraph

#: Passes whose results are joined to one tensor.
_MAX_JOINED = 1_000_000


@dataclass
class WrittenOut:
    """What was written out.

    Attributes
    ----------
    trips
        How often a node runs for one sample, by its first output; once if it is not there.
    states
        Tensors that a pass of a loop hands to the next one.
    told
        Loops whose number of passes a user told, by name.
    notes
        What was assumed.
    """

    trips: dict[str, int] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def write_out(onnx: Any, model: Any, dims: Mapping[str, int], shapes_of: Callable[[Any], OnnxGraph]) -> WrittenOut:
    """Replace control flow by its bodies, in place; a loop whose number of passes is not known stays and is named.

    Parameters
    ----------
    dims
        Numbers of passes that a user tells, by the name of the loop.
    shapes_of
        Infers the shapes of a copy of the model, from which the number of passes may follow.
    """
    result = WrittenOut()
    loops = {node.name for node in model.graph.node if is_loop(node)} - {""}
    result.told = loops & set(dims)
    for _ in range(DEPTH):
        changed = _replace(onnx, model, result, lambda node: branch(node) if node.op_type == "If" else None)
        if any(is_loop(node) for node in model.graph.node):
            graph = shapes_of(copied(model))
            changed |= _replace(onnx, model, result, partial(_passes, onnx, graph, dims))
        if not changed:
            break
    for node in model.graph.node:
        if is_loop(node):
            told = f"; tell it with --dim '{node.name}=VALUE'" if node.name and node.op_type == "Loop" else ""
            result.notes.append(f"how often {label(node)} runs is not known, so its body is not counted{told}")
    return result


def _passes(onnx: Any, graph: OnnxGraph, dims: Mapping[str, int], node: Any) -> Body | None:
    """The body of a loop whose number of passes is known."""
    if not is_loop(node):
        return None
    body = scan(onnx, graph, node) if node.op_type == "Scan" else loop(onnx, graph, node, dims.get(node.name))
    joined = body is not None and any(result.axis is not None for result in body.results)
    return None if body is None or (joined and body.trips > _MAX_JOINED) else body


def _replace(onnx: Any, model: Any, result: WrittenOut, body_of: Callable[[Any], Body | None]) -> bool:
    """Write out the bodies that a function gives for nodes; whether there was any."""
    graph = model.graph
    used = {name for node in graph.node for name in node.output}
    used |= {item.name for item in (*graph.input, *graph.initializer)}
    opset = max((item.version for item in model.opset_import if item.domain in STANDARD), default=0)
    nodes: list[Any] = []
    changed = False
    for node in graph.node:
        body = body_of(node) if node.domain in STANDARD and node.output and len(nodes) < MAX_NODES else None
        if body is None or len(nodes) + len(body.graph.node) > MAX_NODES:
            nodes.append(copied(node))
            continue
        changed = True
        names = {**body.inputs, **_own_names(body, node.name or node.output[0], used)}
        inner = [renamed(each, names) for each in body.graph.node]
        after, initializers = joints(onnx, body, names, opset)
        graph.initializer.extend([*body.initializers, *initializers, *_weights(body, names)])
        outer = result.trips.get(node.output[0], 1)
        for times, written in ((outer, body.before), (outer * body.trips, inner), (outer, after)):
            result.trips |= {each.output[0]: times for each in written if times > 1 and each.output}
            nodes += written
        result.states.update(body.states)
        result.notes += [body.note] * bool(body.note)
    if changed:
        del graph.node[:]
        graph.node.extend(nodes)
    return changed


def _own_names(body: Body, prefix: str, used: set[str]) -> dict[str, str]:
    """Names for what a body makes and holds that the graph does not have yet; grows ``used``."""
    names = {}
    own = [item.name for item in body.graph.initializer] + [name for node in body.graph.node for name in node.output]
    for name in filter(None, own):
        found, number = name, 1
        while found in used:
            found, number = f"{prefix}/{name}" + (f"_{number}" if number > 1 else ""), number + 1
        used.add(found)
        names[name] = found
    return names


def _weights(body: Body, names: Mapping[str, str]) -> list[Any]:
    result = []
    for item in body.graph.initializer:
        result.append(copied(item))
        result[-1].name = names[item.name]
    return result


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """A copy of a node whose tensors have other names, those too that bodies inside of it read from outside."""
    made = copied(node)
    for names_of in (made.input, made.output):
        for place, name in enumerate(names_of):
            names_of[place] = names.get(name, name)
    for item in made.attribute:
        if not item.HasField("g"):
            continue
        own = {inner.name for inner in (*item.g.input, *item.g.initializer)}
        own |= {name for inner in item.g.node for name in inner.output}
        outside = {name: new for name, new in names.items() if name not in own}
        inner_nodes = [renamed(inner, outside) for inner in item.g.node]
        del item.g.node[:]
        item.g.node.extend(inner_nodes)
        for output in item.g.output:
            output.name = outside.get(output.name, output.name)
    return made
