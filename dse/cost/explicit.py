"""Energy of explicit mappings: counts times prices. Prices are plain tables, so that any tool's own can be used."""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dse.mapping.counts import Counts

#: Sides of a memory in the order of the last axis of a price array.
SIDES = ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent")


def price_array(
    levels: Sequence[str], read_pj: Table[str, float], write_pj: Table[str, float], bits: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Prices by (level, role 3, side 4) from a price per read and write of each level.

    Parameters
    ----------
    read_pj, write_pj
        Per element, or per bit if `bits` gives the bits per element of each role. Missing levels are free.
    """
    width = np.asarray(bits if bits is not None else (1.0, 1.0, 1.0), dtype=float)
    reads = np.array([read_pj.get(level, 0.0) for level in levels])
    writes = np.array([write_pj.get(level, 0.0) for level in levels])
    by_side = np.stack([reads, writes, writes, reads], axis=1)
    return np.asarray(width[None, :, None] * by_side[:, None, :])


def counts_array(counts: Counts) -> NDArray[np.int64]:
    """Elements by (mapping, level, role, side)."""
    return np.stack([getattr(counts, side) for side in SIDES], axis=-1)


def energy_of_counts(counts: Counts, prices_pj: NDArray[np.float64], mac_pj: float) -> NDArray[np.float64]:
    """(m,) picojoules of mappings: all accesses times `prices_pj` (level, role, side), plus all MACs."""
    return np.asarray((counts_array(counts) * prices_pj[None]).sum(axis=(1, 2, 3)) + counts.macs * mac_pj)
