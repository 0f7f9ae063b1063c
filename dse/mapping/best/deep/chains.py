"""The compiled search of the best chain of cuts on a lattice of tile sizes, for hierarchies of any depth.

Labels are built forward through the graph (:mod:`dse.mapping.best.deep.graph`), from the MAC outwards. Those whose bound
(:mod:`dse.mapping.best.deep.to_go`) does not beat the best value known are left out, and of each state some labels are kept
(:mod:`dse.mapping.best.deep.labels`).
"""

from __future__ import annotations

from typing import NamedTuple

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
from dse.mapping.best.deep.labels import (
    Aim,
    Labels,
    empty_labels,
    insert,
    least_value,
)
from dse.types import Floats, Ints


class Runs(NamedTuple):
    """Innermost runs: (runs,) the place that each reaches, and the role that it keeps at the MAC."""

    place: Ints
    role: Ints


class Chains(NamedTuple):
    """Complete chains, the best first.

    states: from the first to the last, -1 beyond. value, run: of each (``runs``: none). thinned: whether labels were left out for
    room.
    """

    states: Ints
    value: Floats
    run: Ints
    thinned: bool


@outer
def best_chains(
    graph: Graph, links: Links, memories: Memories, runs: Runs, to_go: Floats, aim: Aim, most: int
) -> Chains:
    """At most so many complete chains that are better than ``aim.least``, of those found."""
    n_e = graph.sizes[0] * graph.sizes[1] * graph.sizes[2]
    steps = graph.holders[:, 0]
    labels = empty_labels(memories, to_go, aim.keep)
    thinned = False
    for number in range(blocks_of(graph)):
        thinned |= _started(graph, links, memories, runs, to_go, aim, labels, number)
    for total in range(steps.sum()):
        for number in range(blocks_of(graph)):
            reached = reached_by(graph, number)
            if reached[0] + reached[1] + reached[2] != total:
                continue
            for e in range(n_e):
                if labels.slot[number * n_e + e] >= 0:
                    thinned |= _extended(graph, links, memories, to_go, aim, labels, number, e, reached)
    return _best(labels, len(to_go) - n_e, n_e, steps.sum() + 2, most, thinned)


@inner
def _started(
    graph: Graph, links: Links, memories: Memories, runs: Runs, to_go: Floats, aim: Aim, labels: Labels, number: int
) -> bool:
    """Begin the chains of a block, which have placed nothing: the MAC links alone, under every innermost run."""
    n_e = graph.sizes[0] * graph.sizes[1] * graph.sizes[2]
    reached = reached_by(graph, number)
    every = len(runs.place)
    thinned = False
    for run in range(every + 1):
        go = number * n_e + (runs.place[run] if run < every else 0)
        labels.now_time[:] = 0.0
        labels.now_used[:] = 0.0
        cost = 0.0
        for role in range(3):
            column = run if run < every and runs.role[run] == role else every
            cost += links.first[role, reached[role], column]
            memory = graph.holders[role, 1 + reached[role]]
            if memories.tracked[memory] >= 0:
                labels.now_time[memories.tracked[memory]] += links.first_time[role, reached[role], column]
        value = least_value(aim, cost, labels.now_time, to_go[go])
        if value < aim.least:
            thinned |= insert(labels, go, cost, value, -1, run, aim.keep)
    return thinned


@inner
def _extended(
    graph: Graph, links: Links, memories: Memories, to_go: Floats, aim: Aim, labels: Labels, number: int, e: int, reached: Reached
) -> bool:  # fmt: skip
    """Go on from the labels of a state in every way that puts one role into its next memory."""
    n_a, n_k, n_c = graph.sizes[0], graph.sizes[1], graph.sizes[2]
    base = number * n_a * n_k * n_c
    strides, lead = strides_of(graph), graph.stationary
    leads = lead >= 0 and reached[lead] < graph.holders[lead, 0]
    now_time, now_used = labels.now_time, labels.now_used
    s = labels.slot[base + e]
    thinned = False
    for b in range(labels.many[s]):
        for role in range(3):
            # The role that stays comes first.
            if reached[role] >= graph.holders[role, 0] or (leads and role != lead and labels.origin[s, b] < 0):
                continue
            tensor, place = graph.tensors[role], reached[role]
            slides = tensor == 1 and graph.windowed
            memory = graph.holders[role, 1 + place]
            inside = memories.shared[memory]
            before = labels.used[s, b, inside] if inside >= 0 else 0.0
            done = memories.finished[memory] if role == 2 and place > 0 and whole(tensor, e, n_a, n_k, n_c) else 1.0
            first, last = moves(tensor, graph.windowed, e, n_k, n_c, graph.starts, graph.window_starts)
            for x in range(first, last):
                to = graph.window_nexts[x] if slides else moved(tensor, e, graph.nexts[x], n_k, n_c)
                held = links.tile[role, memory, to] * done
                if held + before > memories.room[memory]:
                    continue
                column = to if slides else coordinate_of(tensor, to, n_k, n_c)
                for target in range(place + 1, graph.holders[role, 0] + 1):
                    go = base + to + (target - place) * strides[role]
                    if not to_go[go, 0] < np.inf:
                        continue
                    cost = labels.energy[s, b] + links.energy[role, place, target, column]
                    for c in range(len(now_time)):
                        now_time[c] = labels.time[s, b, c]
                    if memories.tracked[memory] >= 0:
                        now_time[memories.tracked[memory]] += links.child_time[role, place, target, column]
                    outside = memories.tracked[graph.holders[role, 1 + target]]
                    if outside >= 0:
                        now_time[outside] += links.parent_time[role, place, target, column]
                    value = least_value(aim, cost, now_time, to_go[go])
                    if not value < aim.least:
                        continue
                    for c in range(len(now_used)):
                        now_used[c] = labels.used[s, b, c]
                    if inside >= 0:
                        now_used[inside] += held
                    origin = s * labels.energy.shape[1] + b
                    thinned |= insert(labels, go, cost, value, origin, labels.run[s, b], aim.keep)
    return thinned


@inner
def _best(labels: Labels, base: int, n_e: int, longest: int, most: int, thinned: bool) -> Chains:
    """The best complete chains, whose states begin at ``base``."""
    width = labels.energy.shape[1]
    found = np.full((most, longest), -1, np.int64)
    values = np.full(most, np.inf)
    run = np.full(most, -1, np.int64)
    taken = np.full(most, -1, np.int64)
    for k in range(most):
        where = _next_best(labels, base, n_e, taken[:k])
        if where < 0:
            break
        taken[k] = where
        values[k] = labels.value[where // width, where % width]
        run[k] = labels.run[where // width, where % width]
        length = 0
        at = where
        while at >= 0:
            found[k, length] = labels.state[at // width]
            length += 1
            at = labels.origin[at // width, at % width]
        for i in range(length // 2):
            found[k, i], found[k, length - 1 - i] = found[k, length - 1 - i], found[k, i]
    return Chains(found, values, run, thinned)


@inner
def _next_best(labels: Labels, base: int, n_e: int, taken: Ints) -> int:
    """The best label of complete chains but for those taken, -1 where there is none."""
    width = labels.energy.shape[1]
    best = np.inf
    where = -1
    for e in range(n_e):
        s = labels.slot[base + e]
        if s < 0:
            continue
        for b in range(labels.many[s]):
            if labels.value[s, b] < best and not np.any(taken == s * width + b):
                best = labels.value[s, b]
                where = s * width + b
    return where
