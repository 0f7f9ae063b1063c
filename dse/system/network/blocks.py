"""The repeated blocks of a network: what stands before them, one of them, how often, what stands behind.

A pipeline cuts between blocks. They are found, not named: the longest run in which every layer equals the one a period before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.workload.model import Network

#: Longest block that is looked for, layers.
LONGEST_BLOCK = 400


@dataclass(frozen=True)
class Blocks:
    """Places of layers: ``[0, first)`` before, ``count`` blocks of ``size`` layers from ``first`` on, the rest behind."""

    first: int
    size: int
    count: int

    @property
    def end(self) -> int:
        return self.first + self.size * self.count


def blocks_of(network: Network) -> Blocks:
    """The repetition that covers most layers with MACs; the shortest period of it. A network without one is a single block."""
    alike = np.array(network.alike)
    macs = np.cumsum([0, *(layer.has_macs for layer in network.layers)])
    best, most = Blocks(0, len(alike), 1), 0
    for period in range(1, min(len(alike) // 2, LONGEST_BLOCK) + 1):
        same = np.concatenate([[False], alike[period:] == alike[:-period], [False]])
        edges = np.flatnonzero(np.diff(same.astype(int)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            count = (stop - start + period) // period
            covered = int(macs[start + count * period] - macs[start])
            if count > 1 and covered > most:
                best, most = Blocks(int(start), period, int(count)), covered
    return _aligned(network, best)


def _aligned(network: Network, found: Blocks) -> Blocks:
    """The same blocks begun at a layer whose results least of the block pass by: where a block reads one tensor alone."""
    if found.count < 2:
        return found
    spare = len(network.layers) - found.end
    alike = network.alike
    best, fewest = found, len(network.layers)
    for shift in range(found.size):
        first = found.first + shift
        count = found.count if shift <= spare and _repeats(alike, first, found) else found.count - 1
        if count < found.count or count < 2:
            break
        crossing = len(_crossing(network, first + found.size))
        if crossing < fewest:
            best, fewest = Blocks(first, found.size, count), crossing
    return best


def _repeats(alike: tuple[int, ...], first: int, found: Blocks) -> bool:
    end = first + found.size * found.count
    return end <= len(alike) and alike[first + found.size : end] == alike[first : end - found.size]


def _crossing(network: Network, cut: int) -> set[str]:
    """Names of layers before a cut whose results layers behind it read."""
    before = {layer.name for layer in network.layers[:cut]}
    read = {name for layer in network.layers[cut:] for name in (*layer.reads, *layer.reads_second)}
    return before & read
