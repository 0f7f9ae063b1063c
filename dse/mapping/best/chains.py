"""All mappings worth pricing of one loop nest on one array: enumeration and exact pruning. Counts only, never prices.

The space
---------
A mapping unrolls loop dims along the axes of the array (:func:`unrollings`) and puts the remaining, temporal loops into
one global order from the MAC outwards. Every (role, storage) pair, a *slot*, cuts that order somewhere: what runs inside
its cut is its tile. Cuts of different roles are independent (uneven mappings); a role's private storage cuts inside its
shared one. With ``E`` the temporal trips inside a cut, per dim, and ``T`` all trips, a tensor moves into the slot

    full size x product over its irrelevant dims of ceil(T / E)

times: its relevant dims are swept exactly once per irrelevant trip, with clipped edge tiles, so that ceilings cost
nothing there. A sliding window covers ``sum over tiles i of P, j of R of stride*(p_i - 1) + dilation*(r_j - 1) + 1``
``= n_R*stride*(P - n_P) + n_P*dilation*(R - n_R) + n_P*n_R`` rows for ``n`` tiles, and the same for columns.

Why a chain of cuts is enough
-----------------------------
Every dim but G is irrelevant to exactly one tensor (N P Q to W, K to X, C R S to Y); G indexes all and is outermost.

1. Only the extents at the cuts matter, and the cuts form a chain ``E_1 <= E_2 <= ...`` (one global order).
2. The run of irrelevant loops directly outside a cut does not add transfers (DESIGN 4.2). Moving the run inside the cut leaves
   the tile as it is, since the tensor does not depend on it. So a cut may be taken to contain its run, and the
   formula above holds without a special case.
3. Tiles nest: a larger tile is made of whole smaller ones, or is all of the dim. With ``e`` trips inside, a next tile that
   leaves ``n`` trips outside needs ``e * ceil(ceil(T / e) / n)``, which is ``ceil(T / n)`` rounded up to a multiple of
   ``e``; its trips depend on ``n`` only, so no larger tile is of use.
4. Between one cut and the next, growing a dim that is relevant to the next cut's tensor enlarges tiles of that cut and of
   later ones and reduces nothing before it is needed: whichever later cut profits can grow it itself. So the step to a
   cut grows only the dims that are irrelevant to its tensor, plus P Q R S when the tensor is X and the window is
   larger than one element, since overlap then shrinks. The last cut takes its irrelevant dims whole.
5. Operand registers at the MAC hold one element: their reuse is the innermost run, of one input only. The run is one more
   member of the chain, inside of which no dim of its tensor has grown; accumulations are counted per MAC.

Pruning
-------
Chains are built slot by slot; chains that hold the same *set* of slots compete. One is dropped if another is at least as
small in every transfer and every tile so far, and all its extents divide those of the dropped one (or those are whole): whatever
completes the dropped chain then also completes the other, with tiles and transfers that are no larger. In the end extents no
longer count. Every cost is a sum of counts with coefficients >= 0 (prices, bits, cycles per element), a maximum
of such sums, or a product of both, and every capacity bounds a sum of tiles with coefficients >= 0, so a
dropped candidate never wins, at any price, width, bandwidth or capacity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from dse.mapping.best.candidates import (
    DIRECTION,
    LOOPS,
    NEST_POSITION,
    TENSOR_INDEX,
    Options,
    Slot,
    Unrolling,
    shared_extent,
    sizes_of,
    tile_vectors,
)
from dse.mapping.best.enumerate_kernel import add_run, add_slot, mac_count, non_dominated, settle, tile_elements
from dse.mapping.best.first_touch import Touched, accumulator_slots, depends_on_tile, first_touches
from dse.mapping.nest import ROLES, ArrayShape, Nest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@cache
def permitted_next(slots: tuple[Slot, ...]) -> tuple[tuple[int, ...], ...]:
    """For each slot the slots that must lie inside it (a role's inner storage inside its outer one)."""
    return tuple(
        tuple(
            j
            for j, other in enumerate(slots)
            if other.role == slot.role and other.level == "inner" and slot.level == "outer"
        )
        for slot in slots
    )


@dataclass(frozen=True)
class Chains:
    """Non-dominated chains of one unrolling: values per slot, and the extents at every cut.

    Attributes
    ----------
    moved
        (slots, n) transfers counted once for the whole array (multicast merged, reduced).
    copies
        (slots, n) transfers counted in every instance of the storage.
    tile
        (slots, n) elements per instance.
    mac
        (3, n) operand fetches (or accumulations) at the MAC by role.
    final, first
        (slots, n) of the accumulator: elements that are touched a first time, counted once and in every instance; else 0.
    first_at_mac
        (n,) the same between the MACs and the accumulator's innermost storage.
    extents
        (slots + 1, n, 7) trips of ``LOOPS`` inside each cut; the first row is the innermost run.
    exhaustive
        Whether no direction's tiles were thinned.
    """

    moved: Floats
    copies: Floats
    tile: Floats
    mac: Floats
    final: Floats
    first: Floats
    first_at_mac: Floats
    extents: npt.NDArray[np.int32]
    exhaustive: bool


def chains(nest: Nest, array: ArrayShape, slots: tuple[Slot, ...], unrolling: Unrolling, options: Options) -> Chains:
    """Enumerate and prune the chains of cuts under one unrolling."""
    bounds = np.array([nest.dims[i] for i in NEST_POSITION], np.int64)
    spatial = np.array([unrolling.spatial[i] for i in NEST_POSITION], np.int64)
    trips = -(-bounds // spatial)
    by_dim = dict(zip(LOOPS, (int(t) for t in trips), strict=True))
    halo = nest.dims[6] > 1 or nest.dims[7] > 1
    lists, exact = [], True
    for name, most in zip("WXY", options.max_tiles, strict=True):
        chosen = [sizes_of(d, by_dim[d], options) for d in DIRECTION[name]]
        vectors, every = tile_vectors(chosen, most, halo)
        exact &= every
        wide = np.ones((len(vectors), 7), np.int64)
        wide[:, [LOOPS.index(d) for d in DIRECTION[name]]] = vectors
        lists.append(wide)
    window = np.array([*nest.stride, *nest.dilation], np.int64)
    groups = nest.dims[1]
    everything = {axis.name for axis in array.axes}
    tensors = nest.tensors
    count = len(slots)
    # one row per slot: spatial extent inside an instance; the row after them: of the storage that feeds each role's MAC
    inside = np.ones((count, 7), np.int64)
    group_inside = np.ones(count, np.int64)
    limit = np.full(count, np.inf)
    for i, slot in enumerate(slots):
        extent = shared_extent(array, unrolling, array.storages[slot.storage].shared_along)
        inside[i] = [extent[j] for j in NEST_POSITION]
        group_inside[i] = extent[1]
        if options.max_elements:
            # the smallest tile always stays, so that what does not fit can say how much it lacks
            tensor = TENSOR_INDEX[tensors[ROLES.index(slot.role)]]
            least = tile_elements(tensor, np.ones(7, np.int64), inside[i], bounds, group_inside[i], window)
            limit[i] = max(options.max_elements[slot.storage], least)
    feeding = np.ones((3, 7), np.int64)
    for r, role in enumerate(ROLES):
        first = next((s for s in slots if s.role == role), None)
        along = array.storages[first.storage].shared_along if first else tuple(everything)
        extent = shared_extent(array, unrolling, along)
        feeding[r] = [extent[j] for j in NEST_POSITION]
    tensor_of_slot = np.array([TENSOR_INDEX[tensors[ROLES.index(s.role)]] for s in slots], np.int64)

    tensor_of_role = [TENSOR_INDEX[t] for t in tensors]
    own = accumulator_slots(slots)
    varies = depends_on_tile(nest, array, unrolling)

    def touched(i: int | None, extents: npt.NDArray[np.int32]) -> Touched:
        return first_touches(nest, array, None if i is None else slots[i], unrolling, extents.astype(np.int64))

    unit = np.ones((1, 7), np.int64)
    values = np.zeros((1, 3 + 3 * count))
    for r in range(3):
        values[0, r] = mac_count(r, tensor_of_role[r], unit[0], feeding[r], bounds, spatial, groups, unrolling.packed)
    # the innermost run is one more member of a chain, number ``count``
    inner_of = (*permitted_next(slots), ())
    full = (1 << count + 1) - 1
    start = (values, np.ones((1, count + 1, 7), np.int32), unit)
    front: dict[int, tuple[Floats, npt.NDArray[np.int32], Ints]] = {0: start}
    runs = [ROLES.index(r) for r in options.per_change if not options.stationary or r == options.stationary]
    slot_bits = (1 << count) - 1
    stationary = -1
    if options.stationary:
        stationary = next((i for i, s in enumerate(slots) if s.role == options.stationary), -1)
    for size in range(1, count + 2):
        for subset in (m for m in range(full + 1) if bin(m).count("1") == size):
            parts = []
            for i in range(count + 1):
                before = subset & ~(1 << i)
                if not subset >> i & 1 or before not in front or any(not before >> j & 1 for j in inner_of[i]):
                    continue
                values, history, extents = front[before]
                if i == count:
                    parts += [start] if not before else []
                    for r in runs:
                        t = tensor_of_role[r]
                        parts.append(
                            add_run(
                                values,
                                history,
                                extents,
                                r,
                                t,
                                lists[t],
                                trips,
                                bounds,
                                spatial,
                                feeding[r],
                                groups,
                                unrolling.packed,
                            )
                        )
                    continue
                if stationary >= 0 and not before & slot_bits and i != stationary:
                    continue
                t = tensor_of_slot[i]
                grown = add_slot(
                    values, history, extents, i, t, lists[t], lists[0], lists[2], halo, subset == full, trips, bounds,
                    spatial, inside[i], groups, group_inside[i], window, limit[i],
                )  # fmt: skip
                parts.append(grown)
            if not parts:
                continue
            values, history, extents = (np.concatenate([p[k] for p in parts]) for k in range(3))
            if not len(values):
                continue
            done = [i for i in range(count) if subset >> i & 1]
            columns = [0, 1, 2] + [3 + 3 * i + k for i in done for k in range(3)]
            seen = extents if subset != full else np.ones((len(values), 0), np.int64)
            costs = values[:, columns]
            if varies:
                costs = np.column_stack(
                    [costs, *_partial_sums(touched, values, history, [i for i in own if i in done])]
                )
            keep = non_dominated(costs, seen, trips)
            front[subset] = (values[keep], history[keep], extents[keep])
    values, history, _ = front.get(full, (np.zeros((0, 3 + 3 * count)), np.zeros((0, count + 1, 7), np.int32), unit))
    by_slot = values[:, 3:].reshape(len(values), count, 3)
    moved, copies, tile = (by_slot[:, :, k].T.copy() for k in range(3))
    mac, cuts = values[:, :3].T.copy(), history.transpose(1, 0, 2).copy()
    changes = np.array([role in options.per_change for role in ROLES[:2]], np.int64)
    settle(
        cuts, tensor_of_slot, np.array(tensor_of_role[:2], np.int64), changes, trips, bounds, spatial, inside, feeding, groups,
        unrolling.packed, window, moved, copies, mac,
    )  # fmt: skip
    final, copied_first = np.zeros_like(moved), np.zeros_like(moved)
    for i in own:
        known = touched(i, cuts[i + 1])
        final[i], copied_first[i] = known.merged, known.copies
    at_mac = touched(own[0] if own else None, cuts[own[0] + 1 if own else 0]).at_mac
    return Chains(moved, copies, tile, mac, final, copied_first, at_mac, cuts, exact)


def _partial_sums(
    touched: Callable[[int | None, npt.NDArray[np.int32]], Touched],
    values: Floats,
    history: npt.NDArray[np.int32],
    slots: list[int],
) -> list[Floats]:
    """Costs of the accumulator that follow from its tiles where first touches do: partial sums at each cut, and at the MAC."""
    columns = []
    for number, i in enumerate(slots):
        known = touched(i, history[:, i + 1])
        columns += [values[:, 3 + 3 * i] - known.merged, values[:, 4 + 3 * i] - known.copies]
        columns += [-known.at_mac] if number == 0 else []
    return columns
