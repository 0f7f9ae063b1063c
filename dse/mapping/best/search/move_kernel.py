"""Compiled: moves from one mapping to another.

A move changes the growth of one coordinate, holds a slot or not, puts a slot elsewhere in the order, exchanges rows and columns,
puts the innermost growth elsewhere, or takes the growth of one or two slots back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, inner
from dse.mapping.best.records import MAC
from dse.mapping.best.search.growth_kernel import STEPS, remaining, step


@inner
def number_of_moves(slots: int) -> int:
    """Growths of one coordinate, and the other moves."""
    return single_growths(slots) + slots + slots * slots + 2 + slots + (slots + 1) * (slots + 2) // 2


@inner
def single_growths(slots: int) -> int:
    """Moves that change the growth of one coordinate: the first ones."""
    return (slots + 1) * 7 * STEPS


@inner
def copy(n: int, source: Record, target: Record) -> None:
    """Copy a state of n slots."""
    target.case = source.case
    target.inner = source.inner
    for s in range(n):
        target.order[s] = source.order[s]
        target.held[s] = source.held[s]
        for d in range(7):
            target.left[s, d] = source.left[s, d]
    for d in range(7):
        target.left[MAC, d] = source.left[MAC, d]


@inner
def keep(
    slots: int, value_: float, state: Record, values: npt.NDArray[np.float64], n: int, states: npt.NDArray[np.void]
) -> None:
    """Put a state among the n best, ascending, without repeating a value; the states behind two of scratch."""
    if not value_ < values[n - 1]:
        return
    i = n - 1
    while i > 0 and values[i - 1] >= value_:
        i -= 1
    if values[i] <= value_ * (1.0 + 1e-9) or (i > 0 and values[i - 1] >= value_ * (1.0 - 1e-9)):
        return
    for j in range(n - 1, i, -1):
        values[j] = values[j - 1]
        copy(slots, states[j + 1], states[j + 2])
    values[i] = value_
    copy(slots, state, states[i + 2])


@inner
def changed(case: Record, state: Record, work: Record, move: int) -> bool:
    """Apply one move to a placed state; False if it changes nothing or is not allowed."""
    n = case.slots
    ways = single_growths(n)
    if move < ways:
        s = move // (7 * STEPS)
        d = move // STEPS % 7
        s = MAC if s == n else s
        if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
            return False
        remaining(case, state, work, s, d)
        v = step(case, work, d, move % STEPS)
        state.left[s, d] = v
        return v > 0.0
    move -= ways
    if move < n:
        if case.must[move] != 0:
            return False
        state.held[move] = 1 - state.held[move]
        for d in range(7):
            state.left[move, d] = 0.0
        return True
    move -= n
    if move < n * n:
        return _moved(case, state, move // n, move % n)
    move -= n * n
    if move == 0:
        for i in range(n + 1):
            s = MAC if i == n else i
            for d in range(3, 6, 2):
                x = state.left[s, d]
                state.left[s, d] = state.left[s, d + 1]
                state.left[s, d + 1] = x
        return bool(case.bounds[3] > 1.0 or case.bounds[4] > 1.0)
    move -= 1
    if move < n + 1:
        state.inner = move
        return True
    move -= n + 1
    a = 0
    while move > a:
        move -= a + 1
        a += 1
    for d in range(7):
        state.left[MAC if a == n else a, d] = 0.0
        state.left[MAC if move == n else move, d] = 0.0
    return True


@inner
def _moved(case: Record, state: Record, i: int, j: int) -> bool:
    """Put the slot at place i at place j, without its growth; the memories of a role stay in their order."""
    s = state.order[i]
    if i == j or (case.first >= 0 and (i == 0 or j == 0)):
        return False
    by = 1 if i < j else -1
    for x in range(i, j, by):
        if case.role[state.order[x + by]] == case.role[s]:
            return False
    for x in range(i, j, by):
        state.order[x] = state.order[x + by]
    state.order[j] = s
    for d in range(7):
        state.left[s, d] = 0.0
    return True


@inner
def differs(case: Record, state: Record, work: Record, move: int, trial: Record) -> bool:
    """:func:`changed` of a copy of a state whose :func:`left_of_growths` are known; without a copy where a growth stays."""
    n = case.slots
    if move >= single_growths(n):
        copy(n, state, trial)
        return bool(changed(case, trial, work, move))
    s = move // (7 * STEPS)
    d = move // STEPS % 7
    s = MAC if s == n else s
    if case.free[s, d] == 0 or (s != MAC and state.held[s] == 0):
        return False
    work.before = work.rest[s, d]
    work.after = work.now[s, d]
    v = step(case, work, d, move % STEPS)
    if v > 0.0:
        copy(n, state, trial)
        trial.left[s, d] = v
    return bool(v > 0.0)
