"""Compiled: walks from mappings that are known to the best one at a single point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dse.mapping.best.compiled import Record, outer
from dse.mapping.best.records import THOROUGH
from dse.mapping.best.search.kernel import copy, elsewhere, improve, kicked, repaired

#: A start whose value is so many times that of the best start is not walked.
WORTH = 1.5


@outer
def walk_from(
    cases: npt.NDArray[np.void], point: Record, floor: npt.NDArray[np.float64], ranked: npt.NDArray[np.int64],
    starts: npt.NDArray[np.void], kicks: int, spare: npt.NDArray[np.void], work: Record,
) -> float:  # fmt: skip
    """Walk every start to a local optimum under every unrolling, and leave the best of them by kicks; the value reached, with its
    state in the first of ``starts``; infinite if none of them can be made to fit.

    Parameters
    ----------
    floor, ranked
        (cases,) a value that no mapping with an unrolling undercuts, and unrollings by ascending floor.
    spare
        Two scratch states.
    """
    n = cases[0].slots
    values = np.empty(len(starts))
    for i in range(len(starts)):
        values[i] = repaired(cases[starts[i].case], point, starts[i], work)
    worth = values.min() * WORTH
    best = np.inf
    chosen = 0
    for i in range(len(starts)):
        if values[i] == np.inf or values[i] > worth:
            continue
        v = improve(cases[starts[i].case], point, starts[i], values[i], spare[1], work, THOROUGH)
        v = elsewhere(cases, point, floor, ranked, starts[i], v, spare, work)
        if v < best:
            best = v
            chosen = i
    if best == np.inf:
        return best
    if chosen > 0:
        copy(n, starts[chosen], starts[0])
    v = kicked(cases[starts[0].case], point, starts[0], best, kicks, spare[0], spare[1], work)
    if v < best:
        best = elsewhere(cases, point, floor, ranked, starts[0], v, spare, work)
    return best
