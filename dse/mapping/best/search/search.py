"""The best mappings of one nest on one array at a number of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.mapping.best.records import (
    ACTIVATION,
    DRAM,
    MAC_ACTIVATION,
    MAC_SUM,
    MAC_WEIGHT,
    PARTIAL,
    RESULT,
    STATE,
    WEIGHT,
    WORK,
)
from dse.mapping.best.search.kernel import solve
from dse.mapping.best.space import Options, Slot, cases_of, pieces, slots_of, starts_of
from dse.mapping.best.unrolling import Unrolling, unrollings
from dse.mapping.nest import ArrayShape, Nest
from dse.types import Floats, Ints

#: Best starts that are walked to a local optimum.
WALKS = 12
#: Kicks without a gain after which a search ends.
KICKS = 24
#: Most mappings kept of one nest.
POOL = 512


@dataclass(frozen=True)
class Found:
    """Mappings of one nest on one array.

    Attributes
    ----------
    unrolls, cases
        Spatial unrollings, and the record of each.
    slots
        Roles in memories, in the order of the records.
    states
        Distinct mappings.
    value, chosen
        By point: what is minimized, infinite where nothing fits, and the place of the best state, -1 where nothing fits.
    """

    unrolls: tuple[Unrolling, ...]
    cases: npt.NDArray[np.void]
    slots: tuple[Slot, ...]
    states: npt.NDArray[np.void]
    value: Floats
    chosen: Ints


def search(
    nest: Nest,
    array: ArrayShape,
    points: npt.NDArray[np.void],
    effort: Ints,
    options: Options | None = None,
    walks: int = WALKS,
    kicks: int = KICKS,
) -> Found:
    """Search the best mapping at every point.

    Parameters
    ----------
    points
        Records of :data:`dse.mapping.best.records.POINT`, in the order in which they are searched: later ones start from what
        earlier ones found.
    effort
        By point: 2 searches from all starts, 1 from the best known mappings, 0 changes only the growth of the best known one.
    walks, kicks
        Best starts that are walked to a local optimum, and kicks without a gain after which a search ends.
    """
    options = options or Options()
    slots = slots_of(array)
    unrolls = unrollings(nest, array, options.unroll)
    cases = cases_of(nest, array, unrolls, options)
    orders, helds = starts_of(slots, cases["must"][0], int(cases["first"][0]))
    low = floors(cases, points)
    ranked = np.ascontiguousarray(np.argsort(low, axis=0, kind="stable").T)
    pool, spare = np.zeros(POOL, STATE), np.zeros(walks + 2, STATE)
    value, chosen = np.full(len(points), np.inf), np.full(len(points), -1, np.int64)
    work = np.zeros(1, WORK)
    used = solve(
        cases,
        points,
        np.asarray(effort, np.int64),
        low,
        ranked,
        orders,
        helds,
        pool,
        value,
        chosen,
        spare,
        kicks,
        work[0],
    )
    return Found(unrolls, cases, slots, pool[:used].copy(), value, chosen)


def floors(cases: npt.NDArray[np.void], points: npt.NDArray[np.void]) -> Floats:
    """(cases, points) what no mapping with an unrolling undercuts.

    Every role takes its cheapest way from DRAM to the MACs if every link moves each element once; at the MACs only one input has
    a run (the innermost loop indexes the other one). DRAM is busy for as long as all tensors take to pass it once.
    """
    memories, n = int(cases["memories"][0]), int(cases["slots"][0])
    roles = [[s for s in range(n) if cases["role"][0, s] == r and cases["must"][0, s] >= 0] for r in range(3)]
    energy = np.zeros((2, len(cases), len(points)))
    busy = np.zeros((len(cases), len(points)))
    for r, own in enumerate(roles):
        tensor = int(cases["tensor"][0, r])
        once = [_once(cases, tensor, parent, run=True) for parent in (*own, DRAM)]
        each = [_once(cases, tensor, parent, run=False) for parent in (*own, DRAM)]
        for which in range(2):
            moved = once if which == r else each
            least = [
                _mac_energy(cases, points, r, parent, moved[i]) for i, parent in enumerate((*own, DRAM))
            ]  # up to each slot, cheapest
            for i, child in enumerate(own):
                for j, parent in enumerate((*own, DRAM)):
                    if j > i:
                        link = least[i] + _link_energy(cases, points, r, tensor, child, parent)
                        least[j] = np.minimum(least[j], link)
            energy[which] += least[-1]
        total = cases["touched"][:, DRAM] if r == 2 else cases["size"][:, tensor].copy()
        total = total * _window_lines(cases) if tensor == 1 else total
        column = (WEIGHT, ACTIVATION, RESULT)[r]
        share = np.minimum(
            points["time"][:, memories, column], points["time"][:, memories, (MAC_WEIGHT, MAC_ACTIVATION, MAC_SUM)[r]]
        )
        busy += total[:, None] * share[None]
    compute = points["step"] * cases["other"][:, None] * np.ceil(cases["reduced"][:, None] / points["lanes"])
    cycles = np.where(points["overlap"] == 1, np.maximum(compute, busy), compute + busy)
    total = energy.min(axis=0) + points["base"] + points["leak"] * cycles
    return np.ascontiguousarray(np.choose(points["objective"], [total, cycles, total * cycles]))


def _window_lines(cases: npt.NDArray[np.void]) -> Floats:
    """(cases,) rows times columns of X that windows touch at least: one element per step where a stride leaves gaps."""
    result = np.ones(len(cases))
    for p in (3, 4):
        outputs, filters = cases["bounds"][:, p], cases["bounds"][:, p + 2]
        stride, dilation = cases["window"][:, p - 3], cases["window"][:, p - 1]
        whole = stride * (outputs - 1) + dilation * (filters - 1) + 1
        result *= np.minimum(whole, outputs * (dilation * (filters - 1) + 1))
    return result


def _once(cases: npt.NDArray[np.void], tensor: int, parent: int, run: bool) -> Floats:
    """(cases,) elements over the link from the MACs, with a run of all irrelevant loops or without one."""
    total: Floats = cases["size"][:, tensor].astype(np.float64)
    relevant = cases["relevant"][0, tensor]
    for d in range(7):
        if relevant[d] == 0:
            extent = cases["trips"][:, d] if run else np.ones(len(cases))
            total = total * pieces(cases["bounds"][:, d], extent, cases["spatial"][:, d], cases["inside"][:, parent, d])
    if tensor == 1:
        for p in (3, 4):
            # at least the union of the windows of all PEs that read together
            together = [
                pieces(
                    cases["bounds"][:, d], np.ones(len(cases)), cases["spatial"][:, d], cases["inside"][:, parent, d]
                )
                for d in (p, p + 2)
            ]
            stride, dilation = cases["window"][:, p - 3], cases["window"][:, p - 1]
            outputs, filters = together
            moved = filters * stride * (cases["bounds"][:, p] - outputs)
            moved += outputs * dilation * (cases["bounds"][:, p + 2] - filters) + outputs * filters
            total = total * np.minimum(moved, cases["bounds"][:, p] * cases["bounds"][:, p + 2])
    return np.asarray(total)


def _mac_energy(
    cases: npt.NDArray[np.void], points: npt.NDArray[np.void], r: int, parent: int, moved: Floats
) -> Floats:
    """(cases, points) energy of the MACs' accesses to a memory."""
    m = int(cases["memory"][0, parent])
    column = (MAC_WEIGHT, MAC_ACTIVATION, MAC_SUM)[r]
    if r < 2:
        return np.asarray(moved[:, None] * points["read"][None, :, m, column])
    sums = np.rint(moved * cases["packed"])
    return np.asarray(sums[:, None] * points["write"][None, :, m, column])


def _link_energy(
    cases: npt.NDArray[np.void], points: npt.NDArray[np.void], r: int, tensor: int, child: int, parent: int
) -> Floats:
    """(cases, points) energy of a link between two memories that moves each element once."""
    up, down = int(cases["memory"][0, parent]), int(cases["memory"][0, child])
    total = cases["size"][:, tensor] * (_window_lines(cases) if tensor == 1 else 1.0)
    if r < 2:
        column = (WEIGHT, ACTIVATION)[r]
        price = points["read"][:, up, column] + points["write"][:, down, column]
    else:
        price = np.minimum(points["write"][:, up, RESULT], points["write"][:, up, PARTIAL])
        price = price + np.minimum(points["read"][:, down, RESULT], points["read"][:, down, PARTIAL])
    return np.asarray(total[:, None] * price[None])
