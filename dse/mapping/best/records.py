"""Records that the compiled search reads and writes, and the words for what it searches.

The space
---------
A mapping unrolls loop dims along the axes of the array and puts the remaining, temporal loops into one order from the MAC outwards.
A **slot** is one operand role in one memory, such as weights in the buffer. Every slot that is held **cuts** the order somewhere:
what runs inside its cut is its tile. A slot that is not held is bypassed: its operand passes the memory by. Cuts of different roles
are independent; a role's inner memory cuts inside its outer one. The **run** of a cut are the loops next outside of it that do not
index its tensor: they leave the tile where it is.

Four loops, weights in registers and sums in a buffer (K and C are unrolled in space, N and P of 4 and 6 trips, C of 2 left)::

    DRAM   | N4  P3            all loops outside of every cut
           |                   <- cut of (accumulator, buffer): its tile holds what C2 and P2 span
    buffer | C2                C does not index sums: growing C at this cut costs no room
           |                   <- cut of (weight, register): its tile is one weight per PE
           | P2                the innermost loop: P does not index weights, a run of the weights at the MAC
    MAC    |

In the order ``(weight, register), (accumulator, buffer)`` this is the growth ``P: 2`` before the first slot, none at the first,
``C: 2`` at the second; what is left outside is ``N: 4, P: 3``.

Why growth at the cuts is enough
--------------------------------
Every dim but G is irrelevant to exactly one tensor (N P Q to W, K to X, C R S to Y); G indexes all tensors and is outermost.

1. Only the extents at the cuts matter, and the cuts form a chain (one global order).
2. Moving the run of a cut inside the cut leaves the tile as it is. So a cut may be taken to contain its run, and a tensor moves
   ``full size x product over its irrelevant dims of ceil(trips / extent)`` times.
3. Tiles nest: a larger tile is made of whole smaller ones, or is all of the dim. With ``e`` trips inside, a cut that leaves ``n``
   trips outside needs ``e * ceil(ceil(T / e) / n)`` inside; its trips depend on ``n`` only, so no larger tile is of use. Hence the
   search chooses ``n``, the trips that are **left**, per slot and dim.
4. Growing a dim that indexes a slot's tensor at that slot enlarges its tile and reduces nothing before a later slot needs it, which
   can grow it itself. So a slot grows only the dims that do not index its tensor, and P Q R S where the tensor is X and windows
   overlap.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from dse.names import ROLES

#: Most slots (three roles in eight memories) and memories (DRAM is one) of the records.
SLOTS, MEMORIES = 24, 9
#: Most tile sizes that a file may allow a dim.
SIZES = 16
#: Rows of ``inside``, ``memory`` and ``cuts`` beyond the slots: the MAC, and DRAM with the whole array. Like the next ones they
#: have a type of their own, since compiled functions that are given plain constants are compiled once more for each of them.
MAC, DRAM = cast(int, np.int64(SLOTS)), cast(int, np.int64(SLOTS + 1))
#: No slot or dim, the first of something, and how thorough a walk is.
NONE, FIRST = cast(int, np.int64(-1)), cast(int, np.int64(0))
THOROUGH, QUICK = cast(bool, np.bool_(True)), cast(bool, np.bool_(False))
#: Temporal dims in the order of every array of seven; G has none.
LOOPS = "NKCPQRS"


class Elements(NamedTuple):
    """A class of elements that have a width of their own.

    role: what the hardware holds them as (:data:`dse.names.ROLES`). final: as their reader wants them, which sums are not while
    products are missing. at_macs: accesses of the MACs themselves, where lanes of one element add their products before the memory
    sees them, and what a causal mask leaves out is not fetched. name: in files of tables.
    """

    role: str
    final: bool
    at_macs: bool
    name: str


#: The classes, as every array by class has them.
CLASSES = (
    Elements(ROLES[0], final=True, at_macs=False, name="weight"),
    Elements(ROLES[1], final=True, at_macs=False, name="activation"),
    Elements(ROLES[2], final=False, at_macs=False, name="partial"),
    Elements(ROLES[2], final=True, at_macs=False, name="result"),
    Elements(ROLES[0], final=True, at_macs=True, name="mac_weight"),
    Elements(ROLES[1], final=True, at_macs=True, name="mac_activation"),
    Elements(ROLES[2], final=False, at_macs=True, name="mac_sum"),
)
WEIGHT, ACTIVATION, PARTIAL, RESULT, MAC_WEIGHT, MAC_ACTIVATION, MAC_SUM = range(len(CLASSES))

#: One nest on one array under one unrolling.
#:
#: bounds, trips, spatial: by dim, of the nest, of the temporal loops, and the product of the spatial extents.
#: size: elements of W, X without its rows and columns, and Y. window: stride of rows and columns, dilation of rows and columns.
#: tensor: of each role (0 W, 1 X, 2 Y). relevant: (tensor, dim). role, memory, top: by slot; top: its memory is shared by the
#: array.
#: inside: spatial extents inside one instance of a slot (1 of the MAC, all of DRAM). groups: spatial extent of G inside of it.
#: touched: elements of the accumulated tensor that instances as far apart as the slot's touch a first time (X: without rows,
#: columns).
#: free: (slot, dim) that the search may grow; row MAC: before the first slot. sizes: allowed tile sizes of a dim, 0: any.
#: other, reduced, packed: steps over the dims of the accumulated tensor, over the reduced ones, and accumulations per those of the
#: loops where a flattened axis packs them. must: 1 the slot is held, -1 it is bypassed, 0 either. first: a slot that is
#: innermost, or -1. moving, loops: how many dims have trips left in time, and these dims, ascending. apart: instances of a slot
#: along a dim, ``spatial / inside``. still: by slot, the part of its tile that no growth changes: elements of all dims but rows and
#: columns, and rows and columns beyond the first. once: (slot, tensor) how often a link moves every element for the dims that do
#: not move and do not index the tensor.
CASE = np.dtype(
    [
        ("bounds", "f8", (7,)), ("trips", "f8", (7,)), ("spatial", "f8", (7,)), ("size", "f8", (3,)), ("window", "f8", (4,)),
        ("tensor", "i8", (3,)), ("relevant", "i8", (3, 7)), ("slots", "i8"), ("memories", "i8"), ("role", "i8", (SLOTS,)),
        ("memory", "i8", (SLOTS + 2,)), ("top", "i8", (SLOTS,)), ("inside", "f8", (SLOTS + 2, 7)), ("groups", "f8", (SLOTS,)),
        ("touched", "f8", (SLOTS + 2,)), ("free", "i8", (SLOTS + 1, 7)), ("other", "f8"), ("reduced", "f8"), ("packed", "f8"),
        ("must", "i8", (SLOTS,)), ("first", "i8"), ("sizes", "f8", (7, SIZES)), ("moving", "i8"), ("loops", "i8", (7,)),
        ("apart", "f8", (SLOTS + 2, 7)), ("still", "f8", (SLOTS, 3)), ("once", "f8", (SLOTS + 2, 3)),
    ],
    align=True,
)  # fmt: skip
#: What a mapping is chosen by: costs >= 0 per element, by memory and class.
#:
#: read, write: energy per element. time: cycles of the memory per element. kept: bits that an element of a slot takes; finished:
#: where the slot holds finished results only. capacity: bits of one instance. base: energy that no mapping changes. leak: energy
#: per cycle.
#: step, lanes: cycles of a step of the array, operand pairs of the reduced dims that a PE takes per step.
#: objective: place in ``dse.names.MAPPING_OBJECTIVES``. overlap: 1 the slowest part decides, 0 parts add up.
POINT = np.dtype(
    [
        ("read", "f8", (MEMORIES, len(CLASSES))), ("write", "f8", (MEMORIES, len(CLASSES))),
        ("time", "f8", (MEMORIES, len(CLASSES))), ("kept", "f8", (SLOTS,)), ("finished", "f8", (SLOTS,)),
        ("capacity", "f8", (MEMORIES,)), ("base", "f8"), ("leak", "f8"), ("step", "f8"), ("lanes", "f8"), ("objective", "i8"),
        ("overlap", "i8"),
    ],
    align=True,
)  # fmt: skip
#: A mapping: its unrolling (place among the cases), the slots from the inside to the outside, which are held, and the trips that
#: are left outside of each (0: as before). Row MAC is the innermost run, a growth of no slot: ``inner`` slots lie inside of it.
STATE = np.dtype(
    [
        ("case", "i8"),
        ("inner", "i8"),
        ("order", "i8", (SLOTS,)),
        ("held", "i8", (SLOTS,)),
        ("left", "f8", (SLOTS + 1, 7)),
    ],
    align=True,
)
#: Scratch of one thread. cuts: extents at each slot; MAC: of the first growth; DRAM: all trips. run: a cut with its run.
#: reads, writes: by memory and class. below, above: what a link moves, counted in every instance and merged below the parent.
#: before, after: trips left before and after a growth; rest, now: the same of every growth of a state. gain, slots, dims: what each
#: growth gains per room, and where it is; chosen, reached: trips left by the best growth, and the value it reaches. hasty: 1 for
#: walks that leave out what hardly ever helps. promising: growths that would gain if there were room.
WORK = np.dtype(
    [
        ("extents", "f8", (7,)), ("cuts", "f8", (SLOTS + 2, 7)), ("run", "f8", (7,)), ("need", "f8", (MEMORIES,)),
        ("tile", "f8", (SLOTS,)), ("finished", "i8", (SLOTS,)), ("position", "i8", (SLOTS,)),
        ("reads", "f8", (MEMORIES, len(CLASSES))), ("writes", "f8", (MEMORIES, len(CLASSES))), ("above", "f8"), ("below", "f8"),
        ("energy", "f8"), ("cycles", "f8"), ("before", "f8"), ("after", "f8"), ("gain", "f8", (7 * SLOTS + 7,)),
        ("slots", "i8", (7 * SLOTS + 7,)), ("dims", "i8", (7 * SLOTS + 7,)), ("chosen", "f8"), ("reached", "f8"),
        ("hasty", "i8"), ("promising", "i8", (SLOTS + 1, 7)),
        ("rest", "f8", (SLOTS + 1, 7)), ("now", "f8", (SLOTS + 1, 7)),
    ],
    align=True,
)  # fmt: skip
