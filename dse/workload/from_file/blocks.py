"""Blocks that call blocks: circles among them, and how many operations a file unrolls to, both before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from dse.workload.from_file.schema import Operation, WorkloadFile, calls

#: Blocks that are looked at for the words of a message; each is a walk over all.
MOST_CIRCLES = 20
#: Names of a circle that a message has.
MOST_NAMES = 8


def circles(file: WorkloadFile) -> list[tuple[str, str]]:
    """Blocks that call each other in a circle: name of each, and the circle in words."""
    graph = {
        name: {called for called in calls(block.layers) if called in file.blocks} for name, block in file.blocks.items()
    }
    left = _left(graph)
    found = []
    for start in islice(left, MOST_CIRCLES):
        came_from: dict[str, str] = {}
        waiting = [start]
        for here in waiting:
            for called in sorted(called for called in graph[here] if called in left):
                if called not in came_from:
                    came_from[called] = here
                    waiting.append(called)
        if start in came_from:
            trail = [start]
            while (here := came_from[trail[-1]]) != start:
                trail.append(here)
            around = [start, *reversed(trail[1:])]
            more = [f"{len(around) - MOST_NAMES} more"] if len(around) > MOST_NAMES else []
            found.append((start, " -> ".join([*around[:MOST_NAMES], *more, start])))
    return found


def _left(graph: Mapping[str, set[str]]) -> dict[str, None]:
    """Blocks that are in a circle or lead to one: what is left when those that call nothing that is left are taken away."""
    callers: dict[str, list[str]] = {}
    waits = {name: len(called) for name, called in graph.items()}
    for name, called in graph.items():
        for each in called:
            callers.setdefault(each, []).append(name)
    free = [name for name, count in waits.items() if not count]
    for name in free:
        for caller in callers.get(name, []):
            waits[caller] -= 1
            if not waits[caller]:
                free.append(caller)
    return dict.fromkeys(name for name, count in waits.items() if count)


def unrolled(file: WorkloadFile, deepest: int) -> int:
    """Operations that a file without circles unrolls to; blocks nested deeper than ``deepest`` count as one."""
    known: dict[str, int] = {}

    def size(operations: list[Operation], depth: int) -> int:
        total = 0
        for operation in operations:
            block = file.blocks.get(operation.of or "") if operation.op == "block" else None
            inner = 0
            if block is not None and depth < deepest:
                name = str(operation.of)
                if name not in known:
                    known[name] = size(block.layers, depth + 1)
                inner = operation.count * known[name]
            branches = (operation.main, operation.shortcut, *operation.branches)
            stacked = operation.count if operation.op in ("lstm", "gru") else 1
            total += stacked + inner + sum(size(branch, depth) for branch in branches)
        return total

    return size(file.layers or [], 0)
