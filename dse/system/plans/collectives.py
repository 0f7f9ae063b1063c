"""Time of collectives over levels of links (alpha-beta; ring algorithms as NCCL runs them for large messages).

With ``n`` devices and ``S`` bytes, a ring moves through every device's link

* all-reduce ``2 (n-1)/n S`` in ``2 (n-1)`` hops, all-gather and reduce-scatter ``(n-1)/n S`` in ``n-1``
  (Thakur, Rabenseifner and Gropp, IJHPCA 19, 2005),
* all-to-all ``(n-1)/n S``, of which what leaves the level passes its slower link,
* point to point ``S``.

A group that reaches over several units of a level (nodes) has one ring per member inside the unit, so that the unit's links work
together. The efficiency of a level by message size is measured and holds the latency inside it; hops between units add theirs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dse.system.model import Link, System
from dse.types import Floats

#: (share of the bytes that passes a device's link as a multiple of (n-1)/n, hops as a multiple of n-1).
PATTERNS = {"all_reduce": (2.0, 2.0), "all_gather": (1.0, 1.0), "reduce_scatter": (1.0, 1.0)}


class Group(NamedTuple):
    """Groups of devices, one per plan: members, and the distance from one to the next in the numbering of devices."""

    size: Floats
    stride: Floats


def members(link: Link, group: Group) -> Floats:
    """Members of a group inside one unit of a level."""
    if link.devices == 0:
        return group.size
    return np.clip(np.floor(link.devices / group.stride), 1.0, group.size)


def efficiency(link: Link, message_bytes: Floats) -> Floats:
    """Share of a link's peak by message size: between measured sizes the time is linear (latency and bandwidth of each piece)."""
    sizes = np.array([size for size, _ in link.efficiency])
    shares = np.array([share for _, share in link.efficiency])
    sound = np.maximum(message_bytes, 1.0)
    # Below the smallest size that was measured the time stays what it is there; above the largest, the share does.
    inside = sound / np.interp(sound, sizes, sizes / shares)
    return np.asarray(np.where(sound > sizes[-1], shares[-1], inside))


def ring_s(system: System, pattern: str, message_bytes: Floats, group: Group) -> Floats:
    """Seconds of an all-reduce, all-gather or reduce-scatter of so many bytes (of the whole tensor)."""
    bytes_factor, hop_factor = PATTERNS[pattern]
    n = group.size
    share = (n - 1.0) / n
    bus = np.full(np.broadcast(message_bytes, n).shape, np.inf)
    latency = np.zeros_like(bus)
    inside = np.ones_like(bus)
    for link in system.links:
        here = members(link, group)
        used = here > inside
        rate = link.bytes_per_s * inside * efficiency(link, message_bytes)
        bus = np.where(used, np.minimum(bus, rate), bus)
        latency += np.where(used, hop_factor * (here / inside - 1.0) * link.latency_s, 0.0)
        inside = np.maximum(inside, here)
    return np.where(n > 1, bytes_factor * share * message_bytes / bus + latency, 0.0)


def all_to_all_s(system: System, message_bytes: Floats, group: Group) -> Floats:
    """Seconds in which every device sends ``message_bytes / n`` to each of ``n``; levels work side by side."""
    n = group.size
    time = np.zeros(np.broadcast(message_bytes, n).shape)
    inside = np.ones_like(time)
    for link in system.links:
        here = members(link, group)
        leaving = np.where(here > inside, (n - inside) / n * message_bytes, 0.0)
        time = np.maximum(
            time, leaving / (link.bytes_per_s * efficiency(link, message_bytes)) + (here > inside) * link.latency_s
        )
        inside = np.maximum(inside, here)
    return np.where(n > 1, time, 0.0)


def send_s(system: System, message_bytes: Floats, stride: Floats) -> Floats:
    """Seconds from one device to the one ``stride`` further: over the innermost level that holds both."""
    time = np.full(np.broadcast(message_bytes, stride).shape, np.nan)
    for link in system.links:
        here = np.isnan(time) & ((link.devices == 0) | (stride < link.devices))
        time = np.where(here, message_bytes / (link.bytes_per_s * link.efficiency[-1][1]) + link.latency_s, time)
    return time
