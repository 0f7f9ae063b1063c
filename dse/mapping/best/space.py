"""The space of mappings of one nest on one array: its slots, what a file may restrict, and the records of the compiled search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.mapping.best.records import CASE, DRAM, LOOPS, MAC, SIZES, SLOTS
from dse.mapping.best.unrolling import Unrolling
from dse.mapping.nest import RELEVANT, TENSORS, ArrayShape, Nest
from dse.names import DIMS, ROLES
from dse.types import Floats, Ints

#: Place of each temporal dim in ``Nest.dims``.
NEST_POSITION = tuple(DIMS.index(d) for d in LOOPS)
#: Orders of slots that a search starts from, at most.
MOST_ORDERS = 96


@dataclass(frozen=True)
class Options:
    """What the mapper may not choose freely.

    Attributes
    ----------
    stationary
        Role whose operand must stay put at the innermost cut (weight, activation, accumulator), or "".
    sizes
        Tile sizes (in temporal trips) that a dim may take inside a cut, as (dim, sizes) pairs; 1 and all trips are always allowed.
    held, bypassed
        (memory, role) pairs that have to be used, or have to be passed by.
    unroll
        (axis, dims) that may be unrolled along an axis, fewer than the array allows.
    """

    stationary: str = ""
    sizes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    held: tuple[tuple[str, str], ...] = ()
    bypassed: tuple[tuple[str, str], ...] = ()
    unroll: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Slot:
    """One role in one memory of the array."""

    role: str
    storage: int


def slots_of(array: ArrayShape) -> tuple[Slot, ...]:
    """Slots in the order weight, activation, accumulator, each from the inside to the outside."""
    return tuple(Slot(role, i) for role in ROLES for i, storage in enumerate(array.storages) if role in storage.roles)


def cases_of(nest: Nest, array: ArrayShape, unrolls: Sequence[Unrolling], options: Options) -> npt.NDArray[np.void]:
    """One :data:`dse.mapping.best.records.CASE` per unrolling."""
    slots = slots_of(array)
    n, names = len(slots), [axis.name for axis in array.axes]
    cases = np.zeros(len(unrolls), CASE)
    bounds = np.array([nest.dims[i] for i in NEST_POSITION], np.float64)
    groups = float(nest.dims[1])
    along = np.ones((len(unrolls), len(names), len(DIMS)))
    for i, unrolling in enumerate(unrolls):
        for j, pairs in enumerate(unrolling.factors):
            for d, size in pairs:
                along[i, j, DIMS.index(d)] = size
    tensors = [TENSORS.index(t) for t in nest.tensors]
    spatial = along.prod(axis=1)[:, NEST_POSITION]
    cases["bounds"], cases["spatial"], cases["trips"] = bounds, spatial, np.ceil(bounds / spatial)
    cases["size"] = groups * np.array([bounds[[1, 2, 5, 6]].prod(), bounds[0] * bounds[2], bounds[[0, 1, 3, 4]].prod()])
    cases["window"], cases["tensor"] = [*nest.stride, *nest.dilation], tensors
    relevant = np.array([[d in RELEVANT[t] for d in LOOPS] for t in TENSORS])
    cases["relevant"], cases["slots"], cases["memories"] = relevant, n, len(array.storages)
    cases["inside"] = 1.0
    cases["inside"][:, DRAM], cases["memory"][:, DRAM] = spatial, len(array.storages)
    cases["first"] = -1
    for s, slot in enumerate(slots):
        storage = array.storages[slot.storage]
        shared = [j for j, name in enumerate(names) if name in storage.shared_along]
        inside = along[:, shared].prod(axis=1)
        cases["role"][:, s], cases["memory"][:, s] = ROLES.index(slot.role), slot.storage
        cases["top"][:, s] = len(shared) == len(names)
        cases["inside"][:, s], cases["groups"][:, s] = inside[:, NEST_POSITION], inside[:, DIMS.index("G")]
        place = (storage.name, slot.role)
        cases["must"][:, s] = 1 if place in options.held else -1 if place in options.bypassed else 0
    _restrict(cases, nest, slots, tensors, relevant, options)
    cases["apart"] = spatial[:, None] / cases["inside"]
    cases["moving"] = (cases["trips"] > 1).sum(axis=1)
    cases["loops"] = np.argsort(cases["trips"] <= 1, axis=1, kind="stable")
    _settle(cases, n)
    cases["other"] = [u.steps_other for u in unrolls]
    cases["reduced"], cases["packed"] = [u.steps_reduction for u in unrolls], [u.packed for u in unrolls]
    summed = tensors[2]
    for row in (*range(n), MAC, DRAM):
        total: Floats = cases["size"][:, summed].astype(np.float64)
        for place_ in np.flatnonzero(~relevant[summed]).tolist():
            total = total * pieces(
                bounds[place_], cases["trips"][:, place_], spatial[:, place_], cases["inside"][:, row, place_]
            )
        cases["touched"][:, row] = total
    return cases


def _restrict(
    cases: npt.NDArray[np.void], nest: Nest, slots: tuple[Slot, ...], tensors: list[int], relevant: npt.NDArray[np.bool_],
    options: Options,
) -> None:  # fmt: skip
    """What may grow where, and which tile sizes are allowed."""
    windows = nest.dims[6] > 1 or nest.dims[7] > 1
    for s, slot in enumerate(slots):
        tensor = tensors[ROLES.index(slot.role)]
        cases["free"][:, s] = ~relevant[tensor]
        if tensor == 1 and windows:
            cases["free"][:, s, 3:] = 1
    # before the first slot: the run of one input at the MAC, of the stationary one if there is one
    for r in range(2):
        if options.stationary in ("", ROLES[r]):
            cases["free"][:, MAC] |= ~relevant[tensors[r]]
    if options.stationary:
        own = [s for s, slot in enumerate(slots) if slot.role == options.stationary]
        if own:
            cases["first"] = own[0]
            cases["must"][:, own[0]] = 1
    cases["free"] *= (cases["trips"] > 1)[:, None, :]
    for d, allowed in options.sizes:
        if d in LOOPS:
            few = np.zeros(SIZES)
            few[: len(allowed)] = sorted(set(allowed))[:SIZES]
            # a size of zero means that any is allowed
            cases["sizes"][:, LOOPS.index(d)] = few if allowed else [1.0, *[0.0] * (SIZES - 1)]


def _settle(cases: npt.NDArray[np.void], slots: int) -> None:
    """What dims without trips in time contribute to tiles and links, whatever the mapping."""
    moves = cases["trips"] > 1
    for s in range(slots):
        tensor = int(cases["tensor"][0, cases["role"][0, s]])
        held = np.minimum(cases["bounds"], cases["inside"][:, s])
        own = (cases["relevant"][:, tensor] == 1) & ~moves
        lines = tensor == 1
        cases["still"][:, s, 0] = cases["groups"][:, s]
        for d in range(7):
            if lines and d >= 3:
                step = cases["window"][:, d - 3]
                cases["still"][:, s, 1 + (d - 3) % 2] += np.where(own[:, d], (held[:, d] - 1.0) * step, 0.0)
            else:
                cases["still"][:, s, 0] *= np.where(own[:, d], held[:, d], 1.0)
    cases["once"] = 1.0
    for row in (*range(slots), MAC, DRAM):
        for tensor in range(3):
            for d in np.flatnonzero(cases["relevant"][0, tensor] == 0).tolist():
                each = pieces(
                    cases["bounds"][:, d], np.ones(len(cases)), cases["spatial"][:, d], cases["inside"][:, row, d]
                )
                cases["once"][:, row, tensor] *= np.where(moves[:, d], 1.0, each)


def pieces(bound: float | Floats, extent: Floats, spatial: Floats, inside: Floats) -> Floats:
    """:func:`dse.mapping.best.count_kernel.pieces` on arrays."""
    whole, apart = extent * spatial, spatial / inside
    full = np.floor(bound / whole)
    return np.asarray(full * apart + np.minimum(np.ceil((bound - full * whole) / inside), apart))


def starts_of(slots: tuple[Slot, ...], must: Ints, first: int) -> tuple[Ints, Ints]:
    """Orders of slots to start from, and which slots are held: all of them, and all but one.

    Of very many orders an evenly spread part is taken.
    """
    n = len(slots)
    wanted = [s for s in range(n) if must[s] >= 0]
    found = []
    for gone in (None, *(s for s in wanted if must[s] == 0 and n > 1)):
        held = [s for s in wanted if s != gone]
        orders = [o for o in _orders(slots, held) if first < 0 or first not in held or o[0] == first]
        found.append([(o, held) for o in orders])
    listed = []
    for group in found:
        share = max(MOST_ORDERS // len(found), 8) if group is not found[0] else MOST_ORDERS // 2
        picks = np.linspace(0, len(group) - 1, min(len(group), share)).round().astype(int).tolist()
        listed += [group[i] for i in sorted(set(picks))]
    orders_, helds = np.zeros((len(listed), SLOTS), np.int64), np.zeros((len(listed), SLOTS), np.int64)
    for i, (order, held) in enumerate(listed):
        rest = [s for s in range(SLOTS) if s not in order]
        orders_[i] = [*order, *rest]
        helds[i, held] = 1
    return orders_, helds


def _orders(slots: tuple[Slot, ...], held: list[int]) -> list[tuple[int, ...]]:
    """Orders in which the memories of a role stand from the inside to the outside; a part of them where there are thousands."""
    by_role = [[s for s in held if slots[s].role == role] for role in ROLES]
    found: list[tuple[int, ...]] = []

    def grow(order: tuple[int, ...], left: list[list[int]]) -> None:
        if len(found) > 20_000:
            return
        if not any(left):
            found.append(order)
        for r in range(3):
            if left[r]:
                grow((*order, left[r][0]), [x[1:] if i == r else x for i, x in enumerate(left)])

    grow((), by_role)
    return found


__all__ = ["NEST_POSITION", "Options", "Slot", "cases_of", "pieces", "slots_of", "starts_of"]
