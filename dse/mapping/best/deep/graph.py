"""Chains of cuts as paths in a graph: its states, its steps, and what they cost, as the compiled search reads them.

A mapping is a chain of cuts (:mod:`dse.mapping.best.deep.lattice`): one after the other, from the MAC outwards, each role's tile is
put into the next memory that holds it. The state of an unfinished chain is how far each role has come (the next memory that will
hold it) and the extents reached so far: a place in the product of three lists, tiles of (N, P, Q), of K, and of (C, R, S).
Putting role r into a memory grows only the dims that its tensor does not depend on (and the window's, for X), and costs what
crosses the link from that memory to the role's next one: a function of the extents at this cut alone. So chains of the same
state have the same futures, and the best is a shortest path, but for two couplings: roles share the capacity of a memory, and
time is a maximum over memories.
"""

from __future__ import annotations

from typing import NamedTuple

from dse.mapping.best.compiled import inner
from dse.types import Floats, Ints

# Functions that are called for every step take numbers and single arrays: a record of arrays is counted in and out, array by
# array, at every call, which would take longer than the work.

#: How many memories each role has passed, by role.
Reached = tuple[int, int, int]


class Graph(NamedTuple):
    """Which states there are and how they follow each other.

    Attributes
    ----------
    sizes
        Numbers of tiles of (N, P, Q), of K, of (C, R, S); the place of extents is their mixed-radix number.
    holders
        (3, 1 + most) number of on-chip memories of each role, their numbers from the inside, then DRAM's.
    tensors
        (3,) tensor of each role: W X Y = 0 1 2.
    windowed
        Whether X may grow P Q R S with a step of its own (its window overlaps).
    starts, nexts
        (3, n + 1) and flat: tiles that a tile of each coordinate may grow to, itself among them.
    window_starts, window_nexts
        The same by whole place for a step of a windowed X.
    stationary
        Role that has to be placed first, or -1.
    """

    sizes: Ints
    holders: Ints
    tensors: Ints
    windowed: bool
    starts: Ints
    nexts: Ints
    window_starts: Ints
    window_nexts: Ints
    stationary: int


class Links(NamedTuple):
    """What steps cost (:func:`dse.mapping.best.deep.links.priced_links`).

    Attributes
    ----------
    energy, child_time, parent_time
        (3, places, targets, columns): what crosses the link from the role's memory number ``place`` to number ``target``, in pJ and
        in busy cycles of both memories.
    first, first_time
        (3, targets, runs + 1) the MAC link to a role's memory number target under each run, the last column without one: pJ and
        busy cycles of that memory.
    tile
        (3, memories, places) bits of a tile.
    """

    energy: Floats
    child_time: Floats
    parent_time: Floats
    first: Floats
    first_time: Floats
    tile: Floats


class Memories(NamedTuple):
    """What the on-chip memories hold and which of them are followed.

    Attributes
    ----------
    room
        (memories,) capacity.
    finished
        (memories,) a finished result's bits over those of a partial sum, where only finished ones reach the memory; else 1.
    tracked
        (memories + 1,) number of each memory among those whose time is followed, or -1; DRAM is the last.
    shared
        (memories,) number among those that several roles share, or -1.
    """

    room: Floats
    finished: Floats
    tracked: Ints
    shared: Ints


@inner
def strides_of(graph: Graph) -> Reached:
    """How far a state's number moves where a role passes one more memory."""
    n_e = graph.sizes[0] * graph.sizes[1] * graph.sizes[2]
    passed_y = graph.holders[2, 0] + 1
    passed_x = graph.holders[1, 0] + 1
    return passed_x * passed_y * n_e, passed_y * n_e, n_e


@inner
def reached_by(graph: Graph, number: int) -> Reached:
    """How far each role has come in the states of a block: states are numbered block by block, places in each."""
    passed_y = graph.holders[2, 0] + 1
    passed_x = graph.holders[1, 0] + 1
    return number // (passed_x * passed_y), number // passed_y % passed_x, number % passed_y


@inner
def blocks_of(graph: Graph) -> int:
    """In how many ways roles can have come a part of their way."""
    steps = graph.holders[:, 0]
    blocks: int = (steps[0] + 1) * (steps[1] + 1) * (steps[2] + 1)
    return blocks


@inner
def moves(
    tensor: int, windowed: bool, e: int, n_k: int, n_c: int, starts: Ints, window_starts: Ints
) -> tuple[int, int]:
    """Range of the next places of a step that places a tensor: of its coordinate, or of all three for a sliding window."""
    if tensor == 1 and windowed:
        return window_starts[e], window_starts[e + 1]
    c = coordinate_of(tensor, e, n_k, n_c)
    return starts[tensor, c], starts[tensor, c + 1]


@inner
def coordinate_of(tensor: int, e: int, n_k: int, n_c: int) -> int:
    """A tensor's coordinate of a place: its tile of (N, P, Q) for W, of K for X, of (C, R, S) for Y."""
    if tensor == 0:
        return e // (n_k * n_c)
    if tensor == 1:
        return e // n_c % n_k
    return e % n_c


@inner
def moved(tensor: int, e: int, to: int, n_k: int, n_c: int) -> int:
    """The place e with the coordinate of a tensor replaced."""
    if tensor == 0:
        return to * n_k * n_c + e % (n_k * n_c)
    if tensor == 1:
        return (e // (n_k * n_c) * n_k + to) * n_c + e % n_c
    return e // n_c * n_c + to


@inner
def whole(tensor: int, e: int, n_a: int, n_k: int, n_c: int) -> bool:
    """Whether all that a tensor is summed over lies inside a place, so that sums are finished there."""
    if tensor == 0:
        return e // (n_k * n_c) == n_a - 1
    if tensor == 1:
        return e // n_c % n_k == n_k - 1 and e % n_c == n_c - 1
    return e % n_c == n_c - 1
