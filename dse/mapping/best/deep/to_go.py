"""What any future of an unfinished chain costs at least: a bound by which the compiled search leaves chains out."""

from __future__ import annotations

import numpy as np

from dse.mapping.best.compiled import inner, outer
from dse.mapping.best.deep.graph import (
    Graph,
    Links,
    Memories,
    Reached,
    blocks_of,
    coordinate_of,
    moved,
    moves,
    reached_by,
    strides_of,
    whole,
)
from dse.types import Floats


@outer
def costs_to_go(graph: Graph, links: Links, memories: Memories) -> Floats:
    """(states, 1 + tracked memories) least energy and busy cycles of any future of a state, if roles shared no capacity; infinite
    where there is none."""
    n_e = graph.sizes[0] * graph.sizes[1] * graph.sizes[2]
    steps = graph.holders[:, 0]
    n_t = 0
    for m in range(len(memories.tracked)):
        n_t = max(n_t, memories.tracked[m] + 1)
    result = np.full((blocks_of(graph) * n_e, 1 + n_t), np.inf)
    cost = np.empty(1 + n_t)
    for total in range(steps.sum(), -1, -1):
        for number in range(blocks_of(graph)):
            reached = reached_by(graph, number)
            if reached[0] + reached[1] + reached[2] != total:
                continue
            if total == steps.sum():
                result[number * n_e : (number + 1) * n_e] = 0.0
                continue
            for role in range(3):
                if reached[role] < steps[role]:
                    _lower(graph, links, memories, number, reached, role, result, cost)
    return result


@inner
def _lower(
    graph: Graph, links: Links, memories: Memories, number: int, reached: Reached, role: int, result: Floats, cost: Floats
) -> None:  # fmt: skip
    """Lower the costs of a block's states to those of the futures that begin with a step of one role."""
    n_a, n_k, n_c = graph.sizes[0], graph.sizes[1], graph.sizes[2]
    base = number * n_a * n_k * n_c
    tensor, place, stride = graph.tensors[role], reached[role], strides_of(graph)[role]
    memory = graph.holders[role, 1 + place]
    slides = tensor == 1 and graph.windowed
    for e in range(n_a * n_k * n_c):
        done = memories.finished[memory] if role == 2 and place > 0 and whole(tensor, e, n_a, n_k, n_c) else 1.0
        first, last = moves(tensor, graph.windowed, e, n_k, n_c, graph.starts, graph.window_starts)
        for x in range(first, last):
            to = graph.window_nexts[x] if slides else moved(tensor, e, graph.nexts[x], n_k, n_c)
            if links.tile[role, memory, to] * done > memories.room[memory]:
                continue
            column = to if slides else coordinate_of(tensor, to, n_k, n_c)
            for target in range(place + 1, graph.holders[role, 0] + 1):
                go = base + to + (target - place) * stride
                if not result[go, 0] < np.inf:
                    continue
                for c in range(len(cost)):
                    cost[c] = result[go, c]
                cost[0] += links.energy[role, place, target, column]
                if memories.tracked[memory] >= 0:
                    cost[1 + memories.tracked[memory]] += links.child_time[role, place, target, column]
                outside = graph.holders[role, 1 + target]
                if memories.tracked[outside] >= 0:
                    cost[1 + memories.tracked[outside]] += links.parent_time[role, place, target, column]
                for c in range(len(cost)):
                    if cost[c] < result[base + e, c]:
                        result[base + e, c] = cost[c]
