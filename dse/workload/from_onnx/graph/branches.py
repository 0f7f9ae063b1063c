"""Conditional parts of an ONNX graph: of an ``If``, the branch with more products is taken as if it stood in the graph itself."""

from __future__ import annotations

from typing import Any

from dse.workload.from_onnx.graph.nodes import MULTIPLYING
from dse.workload.from_onnx.graph.read import MAX_NODES, copied

#: Branches within branches that are followed.
_DEPTH = 8


def inline_branches(onnx: Any, model: Any) -> bool:
    """Replace every ``If`` of ``model`` by one of its branches, in place; whether there was any.

    One whose names clash with the graph's stays.
    """
    for depth in range(_DEPTH):
        if not any(node.op_type == "If" for node in model.graph.node):
            return depth > 0
        used = {name for node in model.graph.node for name in node.output} | {
            item.name for item in (*model.graph.input, *model.graph.initializer)
        }
        nodes: list[Any] = []
        for node in model.graph.node:
            branch = _branch(node) if node.op_type == "If" and node.domain in ("", "ai.onnx") else None
            made = [] if branch is None else [name for inner in branch.node for name in inner.output if name]
            made += [] if branch is None else [item.name for item in branch.initializer]
            fits = branch is not None and len(branch.output) == len(node.output) and not used & set(made)
            if branch is None or not fits or len(nodes) + len(branch.node) > MAX_NODES:
                nodes.append(copied(node))
                continue
            used |= set(made)
            model.graph.initializer.extend(copied(item) for item in branch.initializer)
            nodes += [copied(inner) for inner in branch.node]
            nodes += [
                onnx.helper.make_node("Identity", [inner.name], [outer])
                for inner, outer in zip(branch.output, node.output, strict=True)
                if outer
            ]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return True


def _branch(node: Any) -> Any:
    """The branch with more operators that multiply, then with more operators; the first one of equals."""
    branches = [item.g for item in node.attribute if item.name in ("then_branch", "else_branch") and item.HasField("g")]
    return max(branches, key=lambda graph: (_products(graph), len(graph.node)), default=None)


def _products(graph: Any, depth: int = 0) -> int:
    inner = [item.g for node in graph.node for item in node.attribute if item.HasField("g")] if depth < _DEPTH else []
    own = sum(node.op_type in MULTIPLYING for node in graph.node)
    return own + sum(_products(each, depth + 1) for each in inner)
