"""How many elements an accumulated tensor has that are touched a first time: those are not read back, and leave when finished.

For W and Y every element is touched once per sweep, so that the number is the tensor's size, times the instances that keep
copies. For X (the error that backward_data accumulates) it is the union of the windows' boxes: a stride that is larger than the
filter leaves gaps that small tiles skip and large tiles carry along, and instances that hold blocks of neighbouring windows
overlap at the seams. So it depends on the tile, row by row and column by column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.mapping.best.candidates import NEST_POSITION, Slot, Unrolling, shared_extent
from dse.mapping.best.enumerate_kernel import transfers
from dse.mapping.explicit.counts import line_elements
from dse.mapping.nest import ROLES, ArrayShape, Nest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Touched:
    """First touches of n tiles.

    Attributes
    ----------
    merged
        (n,) elements that the storage above the tile receives: of all instances together.
    copies
        (n,) elements that the instances receive, summed.
    at_mac
        (n,) elements that the MACs below an instance touch in it, summed over instances.
    """

    merged: Floats
    copies: Floats
    at_mac: Floats


def depends_on_tile(nest: Nest, array: ArrayShape, unrolling: Unrolling) -> bool:
    """Whether first touches of the accumulated tensor may differ from tile to tile."""
    if nest.tensors[2] != "X":
        return False
    windows = any(unrolling.spatial["NGKCPQRS".index(d)] > 1 for d in "PQRS")
    return windows or max(nest.stride) > 1 or max(nest.dilation) > 1


def instances_inside(array: ArrayShape, unrolling: Unrolling, slot: Slot | None) -> tuple[int, ...]:
    """Spatial extent per dim (order of ``Nest.dims``) inside one instance of a slot's storage; without a slot all of it."""
    if slot is None:
        return unrolling.spatial
    return shared_extent(array, unrolling, array.storages[slot.storage].shared_along)


def first_touches(nest: Nest, array: ArrayShape, slot: Slot | None, unrolling: Unrolling, extents: Ints) -> Touched:
    """First touches of the accumulated tensor by tile.

    Parameters
    ----------
    slot
        The accumulator's storage; None: DRAM.
    extents
        (n, 7) temporal trips of N K C P Q R S inside the tile; a slot of None takes any.
    """
    n = len(extents)
    inside = instances_inside(array, unrolling, slot)
    if not depends_on_tile(nest, array, unrolling):
        tensor = "WXY".index(nest.tensors[2])
        whole = _constant(nest, tensor, (1,) * 8)
        each = _constant(nest, tensor, tuple(s // i for s, i in zip(unrolling.spatial, inside, strict=True)))
        return Touched(np.full(n, whole), np.full(n, each), np.full(n, each))
    part = float(nest.dims[0] * nest.dims[1] * nest.dims[3])
    k = "NGKCPQRS".index("K")
    copies = min(unrolling.spatial[k] // inside[k], nest.dims[k])
    lines = np.ones((3, n))
    for axis, dims in enumerate(("PR", "QS")):
        at = ["NKCPQRS".index(d) for d in dims]
        pairs, back = np.unique(extents[:, at], axis=0, return_inverse=True)
        rows = np.array([_rows(nest, unrolling, inside, axis, (int(p), int(r))) for p, r in pairs.tolist()])
        lines *= rows[back.reshape(-1)].T
    return Touched(part * lines[0], part * copies * lines[1], part * copies * lines[2])


def _constant(nest: Nest, tensor: int, instances: tuple[int, ...]) -> float:
    pieces = np.array([min(instances[i], nest.dims[i]) for i in NEST_POSITION], np.int64)
    bounds = np.array([nest.dims[i] for i in NEST_POSITION], np.int64)
    return transfers(tensor, pieces, bounds, nest.dims[1], np.array([*nest.stride, *nest.dilation], np.int64))


def _rows(
    nest: Nest, unrolling: Unrolling, inside: tuple[int, ...], axis: int, trips: tuple[int, int]
) -> tuple[int, int, int]:
    """Rows (or columns) of merged, instances' and MACs' first touches for tiles of so many trips of P and R (Q and S)."""
    bounds, tile, places, steps = [], [], [], []
    for filter_, dim in enumerate(("PR", "QS")[axis]):
        i = "NGKCPQRS".index(dim)
        held = trips[filter_] * inside[i]
        apart = unrolling.spatial[i] // inside[i]
        bounds.append(nest.dims[i])
        tile.append((bool(filter_), held, 1))
        places.append((bool(filter_), apart, held))
        steps.append((bool(filter_), -(-nest.dims[i] // (held * apart)), held * apart))

    def rows(tile_kind: str, place_kind: str) -> int:
        loops = ((tile, tile_kind), (places, place_kind), (steps, "unite"))
        line = tuple((f, extent, unit, kind) for part, kind in loops for f, extent, unit in part if extent > 1)
        return line_elements(line, (bounds[0], bounds[1]), nest.stride[axis], nest.dilation[axis])

    return rows("tile", "unite"), rows("tile", "step"), rows("unite", "step")


def accumulator_slots(slots: tuple[Slot, ...]) -> list[int]:
    """Places of the accumulator's slots, inner first."""
    return [i for i, slot in enumerate(slots) if slot.role == ROLES[2]]
