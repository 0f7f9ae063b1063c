"""Cycles of an explicit mapping: compute steps, traffic over bandwidth, and a port model with stalls, fill and drain.

Two models. `simple_cycles`: the slowest of compute and of every level's traffic over its bandwidth; without double buffering
they add; fill and drain on top. `ported_cycles`: every memory port serves some (role, side) transfers, each a period, an
amount per period and a window in which it may happen; what does not fit stalls. The second follows ZigZag's latency model
(Symons et al., IEEE Trans. Computers 2021; Mei et al., DATE 2022) as its release 3.9.1 computes it, word counts included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT, Nest
from dse.names import DIMS, SIDES

_DOWN, _UP_IN, _FILL, _UP_OUT = SIDES


@dataclass(frozen=True)
class Port:
    """One memory port and the transfers that share it.

    Attributes
    ----------
    max_bits_per_cycle, min_bits_per_cycle
        Width of a full access and the finest part of it: an access of fewer bits costs a whole number of the latter.
    serves
        (role, side) pairs, in the order in which they are served.
    """

    name: str
    max_bits_per_cycle: int
    min_bits_per_cycle: int
    serves: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class PortedMemory:
    """A level of the mapping with its ports; the name is that of the level."""

    name: str
    capacity_bits: float
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Transfer:
    """What one side of one level moves for one role: `amount` elements of `bits` in each of `count` periods.

    `window_cycles` is the time in a period in which the tile may be overwritten, without a second buffer.
    `average_bits_per_cycle` is spread over the period.
    """

    amount: int
    bits: int
    period_cycles: int
    count: int
    window_cycles: int
    average_bits_per_cycle: int
    instances: int


@dataclass(frozen=True)
class PortedCycles:
    """Cycles of the port model.

    `stalls` is by memory and port, positive for stalls and negative for slack; `total` = steps + stall + onload + offload +
    drain.
    """

    ideal: int
    steps: int
    stall: float
    onload: float
    offload: float
    drain: int
    total: float
    stalls: dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Chain:
    """One role through its holders. Index a: 0 is the MAC, a >= 1 the a-th holder."""

    levels: tuple[int, ...]
    tile: tuple[int, ...]
    bits: tuple[int, ...]
    period: tuple[int, ...]
    instances: tuple[int, ...]
    boost: tuple[int, ...]
    partial: tuple[bool, ...]  # by holder: what crosses its lower side is a partial sum; one more for the top
    top_relevant: tuple[int, ...]
    top_irrelevant: tuple[int, ...]


def averaged_extents(mapping: Mapping, nest: Nest) -> list[Fraction]:
    """Extents in which a ragged dim's largest spatial loop has the mean number of busy PEs instead of the largest.

    A bound of 1,000 on 32 PEs takes 32 steps with 31.25 PEs busy on average, so that the counts are those of 1,000.
    """
    extents = [Fraction(loop.extent) for loop in mapping.loops]
    for dim, bound in zip(DIMS, nest.dims, strict=True):
        at = [i for i, loop in enumerate(mapping.loops) if loop.dim == dim]
        spatial = [i for i in at if mapping.loops[i].axis is not None]
        if spatial and math.prod(mapping.loops[i].extent for i in at) > bound:
            widest = max(spatial, key=lambda i: (mapping.loops[i].extent, -i))
            extents[widest] = Fraction(bound) / math.prod(extents[i] for i in at if i != widest)
    return extents


def _window(stride: int, p: Fraction, dilation: int, r: Fraction, limit: int | None) -> int:
    """Different positions `stride p + dilation r`, without gaps, at most `limit` (the input without its padding)."""
    common = math.gcd(stride, dilation)
    p_, r_ = int(p), int(r)
    rows = p_ * r_ - max(0, r_ - stride // common) * (p_ - dilation // common)
    return min(rows, limit) if limit is not None else rows


def _size(nest: Nest, tensor: str, lengths: dict[str, Fraction], limits: tuple[int | None, int | None]) -> Fraction:
    if tensor != "X":
        return math.prod((lengths[d] for d in RELEVANT[tensor]), start=Fraction(1))
    plain = math.prod((lengths[d] for d in "NGC"), start=Fraction(1))
    for axis, (p, r) in enumerate((("P", "R"), ("Q", "S"))):
        plain *= _window(nest.stride[axis], lengths[p], nest.dilation[axis], lengths[r], limits[axis])
    return plain


def _lengths(mapping: Mapping, extents: Sequence[Fraction], chosen: Sequence[bool]) -> dict[str, Fraction]:
    lengths = dict.fromkeys(DIMS, Fraction(1))
    for loop, extent, take in zip(mapping.loops, extents, chosen, strict=True):
        if take:
            lengths[loop.dim] *= extent
    return lengths


def _chain(
    mapping: Mapping,
    nest: Nest,
    role: int,
    bits: tuple[int, int],
    extents: Sequence[Fraction],
    limits: tuple[int | None, int | None],
) -> _Chain:
    """Tiles, periods and instances of one role; `bits` of a partial and of a final element."""
    tensor = nest.tensors[role]
    loops = mapping.loops
    temporal = [i for i, loop in enumerate(loops) if loop.axis is None]
    spatial = [i for i, loop in enumerate(loops) if loop.axis is not None]
    relevant = [loop.dim in RELEVANT[tensor] for loop in loops]
    sliding = [tensor == "X" and loop.dim in "PQRS" for loop in loops]
    levels = tuple(i for i in range(len(mapping.levels)) if mapping.levels[i].cuts[role] is not None)
    inside = [mapping.inside(i, role) for i in levels]
    ends = [0]  # per holder: its temporal loops end here, the irrelevant run above included
    for tile in inside:
        assert tile is not None
        end = sum(tile[i] for i in temporal)
        while end < len(temporal) and not relevant[temporal[end]]:
            end += 1
        ends.append(max(end, ends[-1]))
    still = 1
    for i in temporal:
        if relevant[i]:
            break
        still *= int(extents[i])
    period = [still if role != 2 else 1]
    period += [int(math.prod(extents[i] for i in temporal[:end])) for end in ends[1:]]
    below: list[set[int]] = [set()] + [{i for i in spatial if tile[i]} for tile in inside if tile is not None]
    tiles, counts, unique = [], [], []
    for a, (end, held) in enumerate(zip(ends, below, strict=True)):
        take = set(temporal[:end]) | held if a else set()
        tiles.append(
            round(_size(nest, tensor, _lengths(mapping, extents, [i in take for i in range(len(loops))]), limits))
        )
        outside = [i for i in spatial if i not in held]
        counts.append(round(float(math.prod(extents[i] for i in outside))))
        every = _size(nest, tensor, _lengths(mapping, extents, [i in spatial for i in range(len(loops))]), limits)
        unique.append(
            every / _size(nest, tensor, _lengths(mapping, extents, [i in held for i in range(len(loops))]), limits)
        )
    partial = []
    for h in range(len(levels)):
        later = temporal[ends[h] :] + [i for i in spatial if i not in below[h + 1]]
        partial.append(any(not relevant[i] and extents[i] > 1 for i in later))
    partial.append(False)
    top_r, top_ir = [1], [1]
    for h in range(len(levels)):
        own = temporal[ends[h] : ends[h + 1]]
        top_r.append(_run(own, extents, [r and not s for r, s in zip(relevant, sliding, strict=True)]))
        top_ir.append(_run(own, extents, [not r for r in relevant]))
    return _Chain(
        levels,
        tuple(tiles),
        tuple(bits[0] if p and role == 2 else bits[1] for p in partial),
        tuple(period),
        tuple(counts),
        tuple(round(float(unique[h] / unique[h + 1])) for h in range(len(levels))),
        tuple(partial),
        tuple(top_r),
        tuple(top_ir),
    )


def _run(own: list[int], extents: Sequence[Fraction], wanted: list[bool]) -> int:
    product = 1
    for i in reversed(own):
        if not wanted[i]:
            break
        product *= int(extents[i])
    return product


def transfers(
    mapping: Mapping,
    nest: Nest,
    stored_bits: tuple[int, int, int],
    final_bits: int,
    input_size: tuple[int | None, int | None] = (None, None),
    averaged: bool = True,
) -> dict[tuple[int, int, str], Transfer]:
    """Every transfer by (level, role, side).

    Parameters
    ----------
    stored_bits
        Bits per element of weight, activation and partial sum.
    final_bits
        Bits of a finished output: what crosses a link above which no reduction is left.
    input_size
        Rows and columns of the input without padding; padding is not moved.
    averaged
        Ragged spatial extents as means (for energy) or as whole PEs, rounded down (for cycles), as ZigZag does.
    """
    extents = averaged_extents(mapping, nest)
    if not averaged:
        extents = [Fraction(int(e)) for e in extents]
    found: dict[tuple[int, int, str], Transfer] = {}
    steps = int(math.prod(e for e, loop in zip(extents, mapping.loops, strict=True) if loop.axis is None))
    for role in range(3):
        bits = (stored_bits[role], final_bits if role == 2 else stored_bits[role])
        chain = _chain(mapping, nest, role, bits, extents, input_size)
        boost = (*chain.boost, 1)
        for h, level in enumerate(chain.levels):
            for side in SIDES:
                upper = side in (_UP_OUT, _FILL)
                if (role != 2 and side in (_UP_IN, _UP_OUT)) or (upper and h == len(chain.levels) - 1):
                    continue
                a = h + upper
                if role == 2 and side in (_DOWN, _FILL) and not chain.partial[a]:
                    continue
                period, amount = chain.period[a], chain.tile[a] * (1 if upper else boost[h])
                average = int(float(chain.tile[a] * chain.bits[a] / period) * (1 if upper else boost[h]))
                found[level, role, side] = Transfer(
                    amount,
                    chain.bits[a],
                    period,
                    steps // period,
                    int(period / chain.top_irrelevant[a]),
                    average,
                    chain.instances[h + 1],
                )
    return found


def port_of(memory: PortedMemory, role: int, side: str) -> Port | None:
    """The port that serves a role on a side of a memory."""
    return next((port for port in memory.ports if (role, side) in port.serves), None)


def words(transfer: Transfer, port: Port) -> int:
    """Full-width accesses of a transfer: each period rounds up to whole minimal accesses, which are parts of a word."""
    minimal = math.ceil(transfer.amount * transfer.bits / port.min_bits_per_cycle)
    part = port.min_bits_per_cycle / port.max_bits_per_cycle
    return int(minimal * part * transfer.count * transfer.instances)


def word_counts(
    mapping: Mapping, memories: Sequence[PortedMemory], moved: dict[tuple[int, int, str], Transfer]
) -> dict[tuple[int, int, str], int]:
    """Words by (level, role, side) of `transfers`."""
    by_name = {memory.name: memory for memory in memories}
    result = {}
    for (level, role, side), transfer in moved.items():
        port = port_of(by_name[mapping.levels[level].name], role, side)
        if port is not None:
            result[level, role, side] = words(transfer, port)
    return result


@dataclass(frozen=True)
class _Duty:
    """One transfer on a port."""

    role: int
    level: int
    side: str
    real: int
    allowed: int
    period: int
    count: int

    @property
    def stall(self) -> int:
        return (self.real - self.allowed) * (self.count - 1)


def _double_buffered(
    chains: Sequence[_Chain], mapping: Mapping, memories: Sequence[PortedMemory], order: Sequence[int]
) -> dict[tuple[int, int], bool]:
    """Which (level, role) has room for a second copy of the part of its tile that changes.

    Roles are asked in `order`; one that takes its second copy leaves less for the others of the level.
    """
    capacity = {m.name: m.capacity_bits for m in memories}
    alone: dict[tuple[int, int], float] = {}
    for role in order:
        chain = chains[role]
        for h, level in enumerate(chain.levels):
            held = chain.tile[h + 1] * chain.bits[h + 1] // chain.top_relevant[h + 1]
            alone[level, role] = held / capacity[mapping.levels[level].name]
    shared = {key: sum(v for (level, _), v in alone.items() if level == key[0]) for key in alone}
    result: dict[tuple[int, int], bool] = {}
    for role in order:
        for level in chains[role].levels:
            key = (level, role)
            result[key] = shared[key] <= 0.5
            if not result[key] and alone[key] <= 1 - shared[key]:
                result[key] = True
                for other in shared:
                    if other[0] == level:
                        shared[other] += alone[key]
    return result


def _union(duties: Sequence[_Duty]) -> int:
    """Cycles in which at least one duty of a port may move data."""
    for duty in duties:
        if duty.period == duty.allowed:
            return duty.period * duty.count
    longest = max(duties, key=lambda d: d.period)
    open_ = np.zeros(longest.period, dtype=bool)
    for duty in duties:
        open_.reshape(-1, duty.period)[:, : duty.allowed] = True
    return int(open_.sum()) * longest.count


def ported_cycles(
    mapping: Mapping,
    nest: Nest,
    memories: Sequence[PortedMemory],
    stored_bits: tuple[int, int, int],
    final_bits: int,
    array_size: int,
    input_size: tuple[int | None, int | None] = (None, None),
    systolic_axes: Sequence[str] = (),
    order: Sequence[int] = (2, 0, 1),
) -> PortedCycles:
    """Cycles with stalls per port, on-loading, off-loading and the drain of a systolic array.

    Parameters
    ----------
    memories
        One per level of the mapping.
    array_size
        PEs of the whole array, for the ideal cycles.
    systolic_axes
        Axes along which results leave one PE per cycle.
    order
        Roles in the order of the layer's equation; it decides which role takes spare room first.
    """
    whole = [Fraction(int(e)) for e in averaged_extents(mapping, nest)]
    exact = averaged_extents(mapping, nest)
    pairs = [(b, final_bits if r == 2 else b) for r, b in enumerate(stored_bits)]
    chains = [_chain(mapping, nest, r, pairs[r], whole, input_size) for r in range(3)]
    means = [_chain(mapping, nest, r, pairs[r], exact, input_size) for r in range(3)]
    moved = transfers(mapping, nest, stored_bits, final_bits, input_size, averaged=False)
    buffered = _double_buffered(means, mapping, memories, order)
    level_of = {level.name: i for i, level in enumerate(mapping.levels)}
    duties: dict[tuple[int, str], list[_Duty]] = {}
    for memory in memories:
        level = level_of[memory.name]
        for port in memory.ports:
            duties[level, port.name] = []
            for role, side in port.serves:
                transfer = moved.get((level, role, side))
                if transfer is None or transfer.count == 0:
                    continue
                h = chains[role].levels.index(level)
                tile_level = level if side in (_UP_OUT, _FILL) else (chains[role].levels[h - 1] if h else -1)
                second = buffered.get((tile_level, role), False)
                allowed = transfer.period_cycles if second else transfer.window_cycles
                real = math.ceil(transfer.amount * transfer.bits / port.max_bits_per_cycle)
                duties[level, port.name].append(
                    _Duty(role, level, side, real, allowed, transfer.period_cycles, transfer.count)
                )
    stalls: dict[str, dict[str, float]] = {memory.name: {} for memory in memories}
    for memory in memories:
        for port in memory.ports:
            stalls[memory.name][port.name] = _port_stall(duties[level_of[memory.name], port.name])
    stall = max([0.0, *(s for ports in stalls.values() for s in ports.values())])
    steps = mapping.temporal_steps
    onload, offload = _loading(mapping, memories, chains, moved, duties, steps + stall)
    axes = {axis: math.prod(x.extent for x in mapping.loops if x.axis == axis) for axis in systolic_axes}
    drain = sum(max(extent - 1, 0) for extent in axes.values())
    ideal = math.ceil(math.prod(nest.dims) / array_size)
    return PortedCycles(ideal, steps, stall, onload, offload, drain, steps + stall + onload + offload + drain, stalls)


def _port_stall(duties: Sequence[_Duty]) -> float:
    if not duties:
        return 0.0
    if len(duties) == 1:
        return float(duties[0].stall)
    late = sum(d.stall for d in duties if d.stall > 0)
    early = sum(d.stall for d in duties if d.stall <= 0)
    windows = sum(d.allowed * (d.count - 1) for d in duties)
    return float(late + max(0, early + windows - _union(duties)))


def _loading(
    mapping: Mapping,
    memories: Sequence[PortedMemory],
    chains: Sequence[_Chain],
    moved: dict[tuple[int, int, str], Transfer],
    duties: dict[tuple[int, str], list[_Duty]],
    computing: float,
) -> tuple[float, float]:
    """Cycles before the first and after the last step.

    A tile that is loaded once for the whole layer may arrive while the layer computes, as far as its port has bandwidth to
    spare, except for what the first step needs.
    """
    loading: dict[tuple[int, int, str], float] = {}
    both: dict[tuple[int, int, str], bool] = {}
    level_of = {level.name: i for i, level in enumerate(mapping.levels)}
    for memory in memories:
        level = level_of[memory.name]
        for port in memory.ports:
            mixed = {0, 1} <= {role for role, _ in port.serves}
            own = [d for d in duties[level, port.name] if d.role != 2 or d.side in (_UP_IN, _UP_OUT)]
            once = [d for d in own if d.count == 1]
            often = [d for d in own if d.count > 1]
            width = port.max_bits_per_cycle
            busy = sum(moved[level, d.role, d.side].average_bits_per_cycle for d in often)
            spare = max(0.0, (width - busy) / width * computing)
            least = [math.ceil(chains[d.role].tile[1] * chains[d.role].bits[1] / width) for d in once]
            left = _shortened([float(d.real) for d in once], least, spare)
            for d, cycles in [*zip(once, left, strict=True), *((d, float(d.real)) for d in often)]:
                loading[d.level, d.role, d.side], both[d.level, d.role, d.side] = cycles, mixed
    parts = {role: {"own": 0.0, "half": 0.0, "mixed": 0.0} for role in (0, 1)}
    for role in (0, 1):
        held = chains[role].levels
        for low, high in itertools.pairwise(held):
            ends = ((low, role, _FILL), (high, role, _DOWN))
            longest = max(loading.get(end, 0.0) for end in ends)
            shares = [both.get(end, False) for end in ends]
            if all(shares):
                parts[role]["mixed"] += longest
            elif any(shares):
                parts[role]["half"] = longest
            else:
                parts[role]["own"] += longest
    one, two = parts[0], parts[1]
    onload = min(
        a["mixed"] + max(b["mixed"] + b["half"] + b["own"], a["half"] + a["own"]) for a, b in ((one, two), (two, one))
    )
    held = chains[2].levels
    offload = sum(
        max(loading.get((low, 2, _UP_OUT), 0.0), loading.get((high, 2, _UP_IN), 0.0))
        for low, high in itertools.pairwise(held)
    )
    return onload, offload


def _shortened(cycles: list[float], least: Sequence[float], spare: float) -> list[float]:
    """Cycles less what is spared, the longest first, none below its least."""
    left = list(cycles)
    for i in sorted(range(len(cycles)), key=lambda i: cycles[i], reverse=True):
        cut = min(max(0.0, left[i] - least[i]), spare)
        left[i] -= cut
        spare -= cut
    return left


def simple_cycles(
    steps: float,
    traffic_bits: Sequence[float],
    bandwidth_bits_per_cycle: Sequence[float],
    overlap: bool = True,
    fill_bits: float = 0.0,
    drain_bits: float = 0.0,
) -> float:
    """Cycles without ports: the slowest of compute and every level's traffic, or their sum without double buffering.

    Parameters
    ----------
    steps
        Compute cycles.
    traffic_bits, bandwidth_bits_per_cycle
        One entry per level or port; infinite bandwidth takes no time.
    fill_bits, drain_bits
        Bits through the outermost level before the first and after the last step; 0 leaves them out.
    """
    times = [b / w if math.isfinite(w) else 0.0 for b, w in zip(traffic_bits, bandwidth_bits_per_cycle, strict=True)]
    body = max([steps, *times]) if overlap else steps + sum(times)
    ends = (fill_bits + drain_bits) / bandwidth_bits_per_cycle[-1] if fill_bits + drain_bits else 0.0
    return body + ends
