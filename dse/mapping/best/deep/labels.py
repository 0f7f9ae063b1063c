"""Labels of unfinished chains: what each has cost so far, and which of a state's chains are worth going on with.

Roles share the capacity of a memory and time is a maximum over memories, so one chain of a state is not enough. A label carries
energy, busy cycles by memory and capacity in use; of each state some labels are kept per share of capacity in use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dse.mapping.best.compiled import inner
from dse.mapping.best.deep.graph import Memories
from dse.types import Floats, Ints

#: Shares of capacity in use that are told apart when labels of a state are thinned.
BUCKETS = 4


class Aim(NamedTuple):
    """What chains are judged by.

    compute: cycles of the array. fixed: energy that no chain changes. leak: energy per cycle. overlap: the slowest part decides,
    else parts add up. objective: place in :data:`dse.names.MAPPING_OBJECTIVES`. least: best value known; what does not beat it is
    left out. keep: labels per state and share of capacity in use.
    """

    compute: float
    fixed: float
    leak: float
    overlap: bool
    objective: int
    least: float
    keep: int


class Labels(NamedTuple):
    """Labels of all states, and one that is being made.

    slot: (states,) row of a state's labels, -1 before it has one. state: by row, the state. many: by row, its labels.
    energy, value, bucket, time, used, origin, run: (row, label) energy so far, least value of any completion, share of capacity
    in use, busy cycles by followed memory, bits in use by shared memory, the label that it comes from (row * labels + label; -1:
    from the MAC) and its innermost run. filled: (1,) rows in use. room: by shared memory. now_time, now_used: of the label that is
    being made.
    """

    slot: Ints
    state: Ints
    many: Ints
    energy: Floats
    value: Floats
    bucket: Ints
    time: Floats
    used: Floats
    origin: Ints
    run: Ints
    filled: Ints
    room: Floats
    now_time: Floats
    now_used: Floats


@inner
def empty_labels(memories: Memories, to_go: Floats, keep: int) -> Labels:
    """Room for the labels of every state that a complete chain may pass."""
    n_t = to_go.shape[1] - 1
    n_u = 0
    for m in range(len(memories.shared)):
        n_u = max(n_u, memories.shared[m] + 1)
    room = np.ones(n_u)
    for m in range(len(memories.shared)):
        if memories.shared[m] >= 0:
            room[memories.shared[m]] = memories.room[m]
    rows = 0
    for at in range(len(to_go)):
        rows += 1 if to_go[at, 0] < np.inf else 0
    width = BUCKETS * keep
    return Labels(
        np.full(len(to_go), -1, np.int64), np.empty(rows, np.int64), np.zeros(rows, np.int64), np.empty((rows, width)),
        np.empty((rows, width)), np.empty((rows, width), np.int64), np.empty((rows, width, n_t)), np.empty((rows, width, n_u)),
        np.empty((rows, width), np.int64), np.empty((rows, width), np.int64), np.zeros(1, np.int64), room, np.zeros(n_t),
        np.zeros(n_u),
    )  # fmt: skip


@inner
def cycles_of(aim: Aim, time: Floats, to_go: Floats) -> float:
    """Least cycles of any completion of a label."""
    cycles = aim.compute
    for c in range(len(time)):
        busy = time[c] + to_go[1 + c]
        cycles = max(cycles, busy) if aim.overlap else cycles + busy
    return cycles


@inner
def least_value(aim: Aim, energy: float, time: Floats, to_go: Floats) -> float:
    """Least value of any completion of a label: energy, cycles, or their product."""
    cycles = cycles_of(aim, time, to_go)
    energy = aim.fixed + energy + to_go[0] + aim.leak * cycles
    if aim.objective == 0:
        return energy
    if aim.objective == 1:
        return cycles
    return energy * cycles


@inner
def bucket_of(used: Floats, room: Floats) -> int:
    """Share of capacity that a label has in use."""
    share = 0.0
    for c in range(len(room)):
        share = max(share, used[c] / room[c])
    return min(int(share * BUCKETS), BUCKETS - 1)


@inner
def insert(labels: Labels, state: int, energy: float, value: float, origin: int, run: int, keep: int) -> bool:
    """Put the label that is being made into a state unless another is as good in energy, bound and every use; returns whether one
    was left out for room."""
    s = labels.slot[state]
    if s < 0:
        s = labels.filled[0]
        labels.slot[state] = s
        labels.state[s] = state
        labels.filled[0] += 1
    bucket = bucket_of(labels.now_used, labels.room)
    n = _without_worse(labels, s, energy, value)
    if n < 0:
        return False
    labels.many[s] = n
    same = 0
    worst = -1
    for i in range(n):
        if labels.bucket[s, i] == bucket:
            same += 1
            if worst < 0 or labels.value[s, i] > labels.value[s, worst]:
                worst = i
    at = n
    if same < keep:
        labels.many[s] = n + 1
    elif value < labels.value[s, worst]:
        at = worst
    else:
        return True
    labels.energy[s, at] = energy
    labels.value[s, at] = value
    labels.bucket[s, at] = bucket
    labels.origin[s, at] = origin
    labels.run[s, at] = run
    for c in range(len(labels.now_time)):
        labels.time[s, at, c] = labels.now_time[c]
    for c in range(len(labels.now_used)):
        labels.used[s, at, c] = labels.now_used[c]
    return same >= keep


@inner
def _without_worse(labels: Labels, s: int, energy: float, value: float) -> int:
    """How many labels a row has without those that are no better than the one that is being made, which are taken out; -1 where
    one of them is as good as it in everything."""
    n: int = labels.many[s]
    i = 0
    while i < n:
        better = labels.energy[s, i] <= energy and labels.value[s, i] <= value
        worse = energy <= labels.energy[s, i] and value <= labels.value[s, i]
        for c in range(len(labels.now_used)):
            better &= labels.used[s, i, c] <= labels.now_used[c]
            worse &= labels.now_used[c] <= labels.used[s, i, c]
        if better:
            return -1
        if not worse:
            i += 1
            continue
        n -= 1
        if i != n:
            _copy(labels, s, n, i)
    return n


@inner
def _copy(labels: Labels, s: int, i: int, j: int) -> None:
    labels.energy[s, j] = labels.energy[s, i]
    labels.value[s, j] = labels.value[s, i]
    labels.bucket[s, j] = labels.bucket[s, i]
    labels.origin[s, j] = labels.origin[s, i]
    labels.run[s, j] = labels.run[s, i]
    for c in range(len(labels.now_time)):
        labels.time[s, j, c] = labels.time[s, i, c]
    for c in range(len(labels.now_used)):
        labels.used[s, j, c] = labels.used[s, i, c]
