"""Closed-form counts of explicit mappings: elements that cross every link, for many mappings at once. No bits, no prices.

Every formula follows from one sentence: an instance of a level is filled whenever a loop outside its tile moves that
changes the tile, so the innermost run of irrelevant temporal loops outside the tile costs nothing (it is stationary),
every loop further out multiplies; in space, irrelevant loops share one read of the parent (multicast; for the accumulator
one addition before the write). `dse.mapping.explicit.simulate` really runs the nest and agrees to the integer.

The four counts of a level and role follow the four sides of a memory: `reads_to_child`, `writes_from_child` (accumulator
only), `writes_from_parent`, `reads_to_parent` (accumulator only). The child of the innermost holder is the MAC.

Conventions
-----------
first_partial_sum
    "elided" (default): an accumulator that starts at zero is not read; Timeloop and AccelForge. "counted": every visit of a
    tile reads it, as ZigZag does as soon as a reduction loop is above.
register_reads
    "per_mac" (default): a MAC reads the innermost holder of an input every step; Timeloop, AccelForge. "per_change": only
    when the operand changes; ZigZag. The accumulator is updated with every MAC in both.
halo
    What a sliding window fetches when it moves. "none": the whole new tile (ZigZag). "full": only the part outside the
    previous tile. "innermost" (default): only the new part if the innermost temporal loop outside the tile alone has
    moved, else the whole tile (Timeloop forgets a tile once the direction of movement changes; an irrelevant loop in
    between is enough). A register read by every MAC has no halo.
spatial_halo
    "union" (default): neighbours of a sliding window read the bounding box of their union once. "identical": only PEs with
    the same tile share a read (Timeloop).
drain
    "counted" (default): reading a tile of partial sums out to the level above is an access. "free": it is none (Timeloop).
multicast
    "source" (default): one read serves all PEs that need the element. "receiver": one read per PE.

Ragged extents are clipped: a tile at the edge counts only what is inside the bound, iterations that are wholly outside cost
nothing. With `halo` other than "none" the tiles of ragged sliding dims are taken as full. If two temporal loops of the same
ragged dim lie outside a tile with a loop between them that is irrelevant to the role, the count is an upper bound, because
at the edge the inner of the two may stand still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import RELEVANT, TENSORS, Nest
from dse.names import DIMS, SIDES
from dse.types import Bools, Floats, Ints

_N_DIMS = len(DIMS)
_P, _Q, _R, _S = (DIMS.index(d) for d in "PQRS")
#: (tensor, dim), with one more column for padding, which is never relevant.
_RELEVANT = np.array([[d in RELEVANT[t] for d in DIMS] + [False] for t in TENSORS])
_X = TENSORS.index("X")


@dataclass(frozen=True)
class Conventions:
    """How accesses are counted where tools differ; see the module's text."""

    first_partial_sum: Literal["elided", "counted"] = "elided"
    register_reads: Literal["per_mac", "per_change"] = "per_mac"
    halo: Literal["none", "innermost", "full"] = "innermost"
    spatial_halo: Literal["union", "identical"] = "union"
    multicast: Literal["source", "receiver"] = "source"
    drain: Literal["counted", "free"] = "counted"


DEFAULT = Conventions()
TIMELOOP = Conventions(spatial_halo="identical", drain="free")
ZIGZAG = Conventions(first_partial_sum="counted", register_reads="per_change", halo="none")
ACCELFORGE = Conventions(halo="none")
#: What the best-mapping engine counts.
ENGINE = Conventions(register_reads="per_change", halo="none")


@dataclass(frozen=True)
class NestBatch:
    """Mappings as rectangular arrays, padded with loops of extent 1 and dim 8 (no dim). Axes: mapping m, level l, loop n.

    Attributes
    ----------
    dim, extent, spatial
        (m, n): position in DIMS, iterations, whether unrolled along an axis; inner to outer.
    inside
        (m, l, 3, n): loop is part of the tile that the level holds for the role.
    holds
        (m, l, 3): level holds the role.
    bounds, stride, dilation, tensor
        (m, 8), (m, 2), (m, 2), (m, 3): the layer; tensor is the position in TENSORS by role.
    """

    dim: Ints
    extent: Ints
    spatial: Bools
    inside: Bools
    holds: Bools
    bounds: Ints
    stride: Ints
    dilation: Ints
    tensor: Ints


@dataclass(frozen=True)
class Counts:
    """Elements by (mapping m, level l, role 3), summed over all instances of a level.

    Attributes
    ----------
    reads_to_child, writes_from_child, writes_from_parent, reads_to_parent
        Elements read for the level below (or the MAC), drained from it, filled from the level above, drained to it.
    tile
        Elements of the largest tile of one instance.
    instances
        Instances in use.
    fills
        Times that one instance changes its tile.
    macs, steps, pes
        (m,): MACs of the layer, temporal steps in which at least one PE has work, PEs in use.
    """

    reads_to_child: Ints
    writes_from_child: Ints
    writes_from_parent: Ints
    reads_to_parent: Ints
    tile: Ints
    instances: Ints
    fills: Ints
    macs: Ints
    steps: Ints
    pes: Ints


def batch_of(mappings: Sequence[Mapping], nests: Sequence[Nest]) -> NestBatch:
    """Arrays of mappings that may differ in layer, loops and levels; missing levels hold nothing."""
    m, n = len(mappings), max([len(x.loops) for x in mappings] + [1])
    depth = max([len(x.levels) for x in mappings] + [1])
    dim = np.full((m, n), _N_DIMS, dtype=np.int64)
    extent = np.ones((m, n), dtype=np.int64)
    spatial = np.zeros((m, n), dtype=bool)
    inside = np.ones((m, depth, 3, n), dtype=bool)
    holds = np.zeros((m, depth, 3), dtype=bool)
    for i, mapping in enumerate(mappings):
        for j, loop in enumerate(mapping.loops):
            dim[i, j], extent[i, j], spatial[i, j] = DIMS.index(loop.dim), loop.extent, loop.axis is not None
        for level in range(len(mapping.levels)):
            for role in range(3):
                tile = mapping.inside(level, role)
                if tile is not None:
                    holds[i, level, role] = True
                    inside[i, level, role, : len(tile)] = tile
    tensor = np.array([[TENSORS.index(t) for t in nest.tensors] for nest in nests], dtype=np.int64).reshape(m, 3)
    return NestBatch(
        dim,
        extent,
        spatial,
        inside,
        holds,
        np.array([nest.dims for nest in nests], dtype=np.int64).reshape(m, _N_DIMS),
        np.array([nest.stride for nest in nests], dtype=np.int64).reshape(m, 2),
        np.array([nest.dilation for nest in nests], dtype=np.int64).reshape(m, 2),
        tensor,
    )


@dataclass(frozen=True)
class _Loops:
    """A batch with what every formula needs of it."""

    batch: NestBatch
    extent: Ints  # (m, n), without iterations that are wholly outside the bound
    unit: Ints  # (m, n), product of the extents of the inner loops of the same dim
    bounds: Ints  # (m, 9), padding 1


def _loops_of(batch: NestBatch) -> _Loops:
    m, n = batch.dim.shape
    bounds = np.concatenate([batch.bounds, np.ones((m, 1), dtype=np.int64)], axis=1)
    running = np.ones_like(bounds)
    rows = np.arange(m)
    extent, unit = np.empty_like(batch.extent), np.empty_like(batch.extent)
    for j in range(n):
        d = batch.dim[:, j]
        unit[:, j] = running[rows, d]
        extent[:, j] = np.minimum(batch.extent[:, j], -(-bounds[rows, d] // unit[:, j]))
        running[rows, d] *= extent[:, j]
    return _Loops(batch, extent, unit, bounds)


def _tile_lengths(loops: _Loops, tile: Bools) -> Ints:
    """(m, 9) length of a tile per dim, clipped to the bound."""
    sizes = np.ones_like(loops.bounds)
    rows = np.arange(len(sizes))
    for j in range(tile.shape[1]):
        sizes[rows, loops.batch.dim[:, j]] *= np.where(tile[:, j], loops.extent[:, j], 1)
    return np.minimum(sizes, loops.bounds)


def _blocks(loops: _Loops, kept: Bools) -> Ints:
    """(m, 9): per dim the number of index combinations of the kept loops that lie inside the bound, all others at 0.

    Counted digit by digit, from the outermost loop, against the last index `bound - 1`.
    """
    rows = np.arange(len(kept))
    rest = loops.bounds - 1
    below = np.zeros_like(rest)
    tight = np.ones_like(rest)
    for j in range(kept.shape[1] - 1, -1, -1):
        d = loops.batch.dim[:, j]
        digit, rest[rows, d] = rest[rows, d] // loops.unit[:, j], rest[rows, d] % loops.unit[:, j]
        keep, b, t = kept[:, j], below[rows, d], tight[rows, d]
        below[rows, d] = np.where(keep, b * loops.extent[:, j] + t * digit, b + t * (digit > 0))
        tight[rows, d] = np.where(keep | (digit == 0), t, 0)
    return below + tight


def _volume(tensor: Ints, sizes: Ints, batch: NestBatch) -> Ints:
    """(m,) elements of a tensor's box with the given lengths per dim."""
    relevant = _RELEVANT[tensor]
    sliding = np.isin(np.arange(_N_DIMS + 1), (_P, _Q, _R, _S))[None] & (tensor == _X)[:, None]
    product = np.where(relevant & ~sliding, sizes, 1).prod(axis=1)
    rows, columns = _box(sizes, batch)
    return np.asarray(product * np.where(tensor == _X, rows * columns, 1))


def _box(sizes: Ints, batch: NestBatch) -> tuple[Ints, Ints]:
    """Rows and columns of the bounding box of a sliding window."""
    (sh, sw), (dh, dw) = batch.stride.T, batch.dilation.T
    rows = (sizes[:, _P] - 1) * sh + (sizes[:, _R] - 1) * dh + 1
    columns = (sizes[:, _Q] - 1) * sw + (sizes[:, _S] - 1) * dw + 1
    return rows, columns


def _swept(loops: _Loops, tensor: Ints, kept: Bools) -> Ints:
    """(m,) elements of all tiles that the kept loops step through, each clipped to the bound.

    All loops of relevant dims are kept or inside the tile, so tile lengths sum to the bound; a sliding window sums
    `stride (p - 1) + dilation (r - 1) + 1` over all pairs of blocks of p and r, which needs only block counts and sums.
    """
    batch = loops.batch
    blocks = _blocks(loops, kept)
    relevant = _RELEVANT[tensor]
    is_x = tensor == _X
    sliding = np.isin(np.arange(_N_DIMS + 1), (_P, _Q, _R, _S))[None] & is_x[:, None]
    product = np.where(sliding, 1, np.where(relevant, loops.bounds, blocks)).prod(axis=1)
    total = product
    for axis, (p, r) in enumerate(((_P, _R), (_Q, _S))):
        np_, nr = blocks[:, p], blocks[:, r]
        stride, dilation = batch.stride[:, axis], batch.dilation[:, axis]
        length = stride * (loops.bounds[:, p] - np_) * nr + dilation * (loops.bounds[:, r] - nr) * np_ + np_ * nr
        total = total * np.where(is_x, length, 1)
    return np.asarray(total)


def _moving(loops: _Loops, tensor: Ints, tile: Bools, stationary: Bools) -> Bools:
    """(m, n) loops outside a tile whose every iteration brings a new tile: all but the innermost irrelevant temporal run."""
    relevant = np.take_along_axis(_RELEVANT[tensor], loops.batch.dim, axis=1)
    temporal = ~tile & ~loops.batch.spatial & (loops.extent > 1)
    started = np.logical_or.accumulate(temporal & relevant, axis=1)
    run = temporal & ~started & stationary[:, None]
    return np.asarray(~tile & ~run & (loops.extent > 1))


#: One loop of a sliding dim: (is filter dim, extent, unit, kind); kinds: part of the tile, united with it, stepped through.
Line = tuple[tuple[bool, int, int, str], ...]


@lru_cache(maxsize=65536)
def line_elements(line: Line, bounds: tuple[int, int], stride: int, dilation: int) -> int:
    """Rows of all windows along one axis: united within a step, summed over steps; clipped to the bounds of p and r."""
    starts = [(0, 0, 0)]  # number of the step, p, r
    length = [1, 1]
    for is_filter, extent, unit, kind in line:
        if kind == "tile":
            length[is_filter] *= extent
            continue
        starts = [
            (step * extent + i if kind == "step" else step, p + (1 - is_filter) * i * unit, r + is_filter * i * unit)
            for step, p, r in starts
            for i in range(extent)
        ]
    touched: dict[int, int] = {}
    for step, p, r in starts:
        if p < bounds[0] and r < bounds[1]:
            last = stride * (min(p + length[0], bounds[0]) - 1) + dilation * (min(r + length[1], bounds[1]) - 1)
            start = stride * p + dilation * r
            touched[step] = touched.get(step, 0) | ((1 << (last - start + 1)) - 1) << start
    return sum(rows.bit_count() for rows in touched.values())


@lru_cache(maxsize=65536)
def _line_pattern(line: Line, stride: int, dilation: int) -> int:
    """Rows of one step along one axis as set bits."""
    length, starts = [1, 1], [0]
    for is_filter, extent, unit, kind in line:
        if kind == "tile":
            length[is_filter] *= extent
        elif kind == "unite":
            step = unit * (dilation if is_filter else stride)
            starts = [start + i * step for start in starts for i in range(extent)]
    rows = (1 << (stride * (length[0] - 1) + dilation * (length[1] - 1) + 1)) - 1
    pattern = 0
    for start in starts:
        pattern |= rows << start
    return pattern


def _line(loops: _Loops, m: int, axis: int, tile: Bools, unite: Bools, step: Bools) -> Line:
    """The loops of one mapping along one axis of the sliding window."""
    p, r = ((_P, _R), (_Q, _S))[axis]
    found = []
    for j in np.flatnonzero(((loops.batch.dim[m] == p) | (loops.batch.dim[m] == r)) & (loops.extent[m] > 1)):
        kind = "tile" if tile[m, j] else "unite" if unite[m, j] else "step" if step[m, j] else ""
        if kind:
            found.append((bool(loops.batch.dim[m, j] == r), int(loops.extent[m, j]), int(loops.unit[m, j]), kind))
    return tuple(found)


def _swept_one(loops: _Loops, m: int, tile: Bools, unite: Bools, kept: Bools) -> int:
    """Elements of X for one mapping, where tiles are united over loops that may leave gaps or overlaps between them."""
    batch = loops.batch
    one = slice(m, m + 1)
    alone = NestBatch(*(getattr(batch, name)[one] for name in NestBatch.__dataclass_fields__))
    blocks = _blocks(_Loops(alone, loops.extent[one], loops.unit[one], loops.bounds[one]), kept[one])[0]
    total = 1
    for d, dim in enumerate(DIMS):
        if dim not in "PQRS":
            total *= int(loops.bounds[m, d]) if dim in RELEVANT["X"] else int(blocks[d])
    for axis, (p, r) in enumerate(((_P, _R), (_Q, _S))):
        bounds = (int(loops.bounds[m, p]), int(loops.bounds[m, r]))
        line = _line(loops, m, axis, tile, unite, kept)
        total *= line_elements(line, bounds, int(batch.stride[m, axis]), int(batch.dilation[m, axis]))
    return total


def _distinct(loops: _Loops, tensor: Ints, tile: Bools, unite: Bools) -> Ints:
    """(m,) different elements that each instance outside a tile ever holds, summed over instances."""
    batch = loops.batch
    outside = ~tile & ~unite
    relevant = np.take_along_axis(_RELEVANT[tensor], batch.dim, axis=1)
    total = _swept(loops, tensor, outside & (relevant | batch.spatial))
    for m in np.flatnonzero(tensor == _X):
        total[m] = _swept_one(loops, int(m), tile, unite | (outside & ~batch.spatial), outside & batch.spatial)
    return total


def _united_slides(loops: _Loops, tensor: Ints, unite: Bools) -> Ints:
    """Mappings whose sliding windows of neighbouring PEs are united."""
    slides = np.isin(loops.batch.dim, (_P, _Q, _R, _S)) & (loops.extent > 1)
    return np.asarray(np.flatnonzero((tensor == _X) & (unite & slides).any(axis=1)))


def _elements(loops: _Loops, tensor: Ints, tile: Bools, unite: Bools, kept: Bools, halo: str, whole: Bools) -> Ints:
    """(m,) elements of a link: tiles, united over some spatial loops, at every step of the kept loops.

    Where `whole` is set, a moving window is fetched as a whole.
    """
    total = _swept(loops, tensor, kept)
    united = _united_slides(loops, tensor, unite)
    for m in united[whole[united]]:
        total[m] = _swept_one(loops, int(m), tile, unite, kept)
    parts = (tensor == _X) & ~whole
    if parts.any():
        total = np.where(parts, _fetched_with_halo(loops, tensor, tile, unite, kept, halo, united), total)
    return total


def _fetched_with_halo(
    loops: _Loops, tensor: Ints, tile: Bools, unite: Bools, kept: Bools, halo: str, united: Ints
) -> Ints:
    """(m,) elements fetched when a moving window keeps what it already has.

    Loop k advances `(extent - 1) x (product of outer extents)` times; every kept loop inside it then wraps to 0. The sum of
    these movements shifts the tile; what does not overlap the previous tile is fetched.
    """
    batch = loops.batch
    sizes = _tile_lengths(loops, tile | unite)
    box = list(_box(sizes, batch))
    part = _volume(tensor, np.where(np.isin(np.arange(_N_DIMS + 1), (_P, _Q, _R, _S)), 1, sizes), batch)
    patterns: dict[int, tuple[int, int]] = {}
    for m in united:
        lines = [_line(loops, int(m), a, tile, unite, np.zeros_like(tile)) for a in (0, 1)]
        two = [_line_pattern(lines[a], int(batch.stride[m, a]), int(batch.dilation[m, a])) for a in (0, 1)]
        patterns[int(m)] = (two[0], two[1])
        for a in (0, 1):
            box[a][m] = two[a].bit_count()
    volume = part * box[0] * box[1]
    in_time = kept & ~batch.spatial
    outer = np.ones((len(part), in_time.shape[1] + 1), dtype=np.int64)
    outer[:, :-1] = np.cumprod(np.where(in_time, loops.extent, 1)[:, ::-1], axis=1)[:, ::-1]
    relevant = np.take_along_axis(_RELEVANT[tensor], batch.dim, axis=1)
    leaving = in_time & relevant & ~np.isin(batch.dim, (_P, _Q, _R, _S))
    step = np.zeros((2, *batch.dim.shape), dtype=np.int64)
    for axis, (p, r) in enumerate(((_P, _R), (_Q, _S))):
        step[axis] += np.where(batch.dim == p, batch.stride[:, axis, None] * loops.unit, 0)
        step[axis] += np.where(batch.dim == r, batch.dilation[:, axis, None] * loops.unit, 0)
    total = volume.copy()
    wrapped = np.zeros((2, len(part)), dtype=np.int64)
    left = np.zeros(len(part), dtype=bool)
    innermost = np.ones(len(part), dtype=bool)
    # an irrelevant loop that runs between two moves makes Timeloop forget the tile
    still_or_here = ~batch.spatial & ~tile & (loops.extent > 1)
    for k in range(in_time.shape[1]):
        here = in_time[:, k]
        shift = np.abs(step[:, :, k] - wrapped)
        overlap = [np.maximum(box[a] - shift[a], 0) for a in (0, 1)]
        for m, pattern in patterns.items():
            for a in (0, 1):
                overlap[a][m] = (pattern[a] & (pattern[a] >> int(shift[a, m]))).bit_count()
        fresh = np.where(left | leaving[:, k], volume, volume - part * overlap[0] * overlap[1])
        if halo == "innermost":
            fresh = np.where(innermost, fresh, volume)
        total += np.where(here, (loops.extent[:, k] - 1) * outer[:, k + 1] * fresh, 0)
        wrapped += np.where(here, (loops.extent[:, k] - 1) * step[:, :, k], 0)
        left |= leaving[:, k]
        innermost &= ~still_or_here[:, k]
    return np.asarray(total * np.where(kept & batch.spatial, loops.extent, 1).prod(axis=1))


def counts_of_batch(batch: NestBatch, conventions: Conventions = DEFAULT) -> Counts:
    """Counts of all mappings of a batch; arrays as in `Counts`.

    A batch of thousands of different mappings is one call: all work is done in arrays over the mappings.
    """
    loops = _loops_of(batch)
    m, depth, _ = batch.holds.shape
    shape = (m, depth, 3)
    down, up_in, fill, up_out, tiles, instances, fills = (np.zeros(shape, dtype=np.int64) for _ in range(7))
    for role in range(3):
        tensor = batch.tensor[:, role]
        child = np.zeros(batch.dim.shape, dtype=bool)
        below = np.full(m, -1)
        for level in range(depth):
            held = batch.holds[:, level, role]
            if not held.any():
                continue
            parent = batch.inside[:, level, role]
            link = _link(loops, tensor, child, parent, role == 2, below < 0, conventions)
            down[:, level, role] = np.where(held, link[0], 0)
            up_in[:, level, role] = np.where(held, link[1], 0)
            rows = np.flatnonzero(held & (below >= 0))
            fill[rows, below[rows], role] = link[2][rows]
            up_out[rows, below[rows], role] = link[3][rows]
            tiles[:, level, role] = np.where(held, _volume(tensor, _blocks(loops, parent), batch), 0)
            outside = np.where(~parent & batch.spatial, loops.extent, 1).prod(axis=1)
            instances[:, level, role] = np.where(held, outside, 0)
            moving = _moving(loops, tensor, parent, np.ones(m, dtype=bool))
            fills[:, level, role] = np.where(held, np.where(moving & ~batch.spatial, loops.extent, 1).prod(axis=1), 0)
            child = np.where(held[:, None], parent, child)
            below = np.where(held, level, below)
    steps = _blocks(loops, ~batch.spatial).prod(axis=1)
    pes = np.where(batch.spatial, loops.extent, 1).prod(axis=1)
    return Counts(down, up_in, fill, up_out, tiles, instances, fills, batch.bounds.prod(axis=1), steps, pes)


def in_blocks(amount: Floats | float, block: float) -> Floats:
    """Amounts rounded up to whole blocks; what exceeds a block by rounding of the sum alone adds none. A block of 0 rounds nothing.

    >>> in_blocks([1.0, 64.0, 65.0], 64.0).tolist()
    [64.0, 64.0, 128.0]
    """
    given = np.asarray(amount, dtype=np.float64)
    return np.ceil(given / block - 1e-9) * block if block else given


def counts_in_blocks(counts: Counts, words: Sequence[int]) -> Counts:
    """Counts with accesses of whole blocks.

    All that an instance reads, or all that it writes, of an operand over the pass is rounded up together, as Timeloop counts vector
    accesses of ``block_size`` words: blocks are the same for all tiles, however they are cut.

    Parameters
    ----------
    words
        Words of a block by level, inner to outer; 1 rounds nothing.
    """
    block = np.asarray(words, np.int64)[None, :, None]
    used = np.maximum(counts.instances, 1)
    return replace(
        counts,
        **{side: -(-getattr(counts, side) // (used * block)) * used * block for side in SIDES if (block > 1).any()},
    )


def temporal_steps(batch: NestBatch) -> Ints:
    """(m, 8) temporal steps by dim in which at least one PE has work; their product is `Counts.steps`."""
    return _blocks(_loops_of(batch), ~batch.spatial)[:, :_N_DIMS]


def _link(
    loops: _Loops, tensor: Ints, child: Bools, parent: Bools, accumulates: bool, is_mac: Bools, conventions: Conventions
) -> tuple[Ints, Ints, Ints, Ints]:
    """Elements over one link: read from the parent, written to it, written to the child, read from the child."""
    batch = loops.batch
    relevant = np.take_along_axis(_RELEVANT[tensor], batch.dim, axis=1)
    unite = batch.spatial & parent & ~child
    if conventions.spatial_halo == "identical":
        slides = np.isin(batch.dim, (_P, _Q, _R, _S)) & (tensor == _X)[:, None]
        unite = unite & ~(relevant & slides)
    every_step = is_mac & (accumulates or conventions.register_reads == "per_mac")
    moving = _moving(loops, tensor, child, ~every_step)
    alone = np.zeros_like(unite)
    whole = every_step | (accumulates or conventions.halo == "none")
    received = _elements(loops, tensor, child, alone, moving, conventions.halo, whole)
    if conventions.multicast == "receiver":
        unite = alone
    sent = _elements(loops, tensor, child, unite, moving & ~unite, conventions.halo, whole)
    zero = np.zeros_like(sent)
    if not accumulates:
        return sent, zero, received, zero
    drained = received if conventions.drain == "counted" else zero
    if conventions.first_partial_sum == "counted":
        return sent, sent, received, drained
    seen_by_child = _distinct(loops, tensor, child, alone)
    seen_by_parent = _distinct(loops, tensor, child, unite)
    return sent - seen_by_parent, sent, received - seen_by_child, drained


def counts_of(mapping: Mapping, nest: Nest, conventions: Conventions = DEFAULT) -> Counts:
    """Counts of one mapping (first axis of length 1)."""
    return counts_of_batch(batch_of([mapping], [nest]), conventions)
