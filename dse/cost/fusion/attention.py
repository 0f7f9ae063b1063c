"""Attention whose scores never leave the chip: forward with a running softmax, backward block by block.

The counts are those of FlashAttention (Dao et al., arXiv 2205.14135, algorithms 1 and 4; FlashAttention-2, arXiv 2307.08691,
for the order of loops). One head of one sample after the other, the N queries are cut into ``row_blocks`` and the K keys into
``key_blocks``; forward, queries are outside and keys inside:

* queries are read once, the context is written once; keys and values are read for every block of queries, or once where those
  of a head stay on the chip
* scores and softmax of one pair of blocks lie in the shared memory: written by the product, read by the lanes, filled for the
  next product. The partial context is read and written again for every further block of keys, rescaled by the lanes

Backward, keys are outside and queries inside:

* keys, values and their gradients move once; queries, their errors and the context's errors once where they stay, else once per
  block of keys, the queries' errors as partial sums; errors of scores never leave
* the probabilities are made again: one more product of queries and keys than layer by layer, charged to the softmax's row
  (``macs`` stay those of the network), for which one number per query is kept, the logarithm of its sum (32 bits), and the
  context is read for the sum of its product with its error; or they are kept and read once, if that is better: where products
  take longer than DRAM. A hardware whose weights pass by the shared memory has no errors of scores there, and runs it in
  inference alone.

Each pair of blocks is a loop nest of its own under its best mapping, in what the memory has left beside the blocks, which take
half of it at most. The blocks are those that move least, of all or of those of whole rows, which nothing rescales. An attention
runs so where it takes no more energy and no more time, all of its passes together; otherwise layer by layer. Nothing overlaps:
products and lanes take turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.vector import VECTOR_BITS, VectorCosts, shared_buffer
from dse.cost.jobs.formats import Jobs, partial_bits
from dse.cost.jobs.network import NetworkJobs
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs, is_deep
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.prices.side_costs import vector_op_pj
from dse.mapping.nest import Nest
from dse.names import PASSES, ROLES
from dse.types import Floats
from dse.workload.model import Layer, Network
from dse.workload.work.attention import Attention, attentions_of

#: Share of the shared memory that blocks take at most; the rest is for the tiles of products.
BLOCK_SHARE = 0.5
#: Bits of the logarithm of a row's sum, and of a row's sum of products (FlashAttention keeps both in 32-bit float).
STATISTIC_BITS = 32.0
#: Operations of the lanes per score that is computed again: subtraction and exponential.
AGAIN = 2.0

_FORWARD, _DATA, _WEIGHT = (PASSES.index(name) for name in ("forward", "backward_data", "backward_weight"))


class Blocks(NamedTuple):
    """How an attention is cut.

    Attributes
    ----------
    row_blocks, key_blocks
        Numbers of blocks of queries and of keys.
    stays
        Whether what the inner loop runs over stays on the chip for a whole head: keys and values forward, queries backward.
    """

    row_blocks: int
    key_blocks: int
    stays: bool


class Head(NamedTuple):
    """One head of one sample: queries, keys, features of keys and of values, and bits of an element of each tensor."""

    rows: int
    keys: int
    width: int
    values: int
    query_bits: float
    key_bits: float
    value_bits: float
    score_bits: float
    result_bits: float
    sum_bits: float
    error_bits: float = 0.0
    kept_bits: float = 0.0


class Tile(NamedTuple):
    """A pair of blocks' product: the job whose formats it has, its nest, and shares of DRAM traffic by operand."""

    job: int
    nest: Nest
    weight: float
    activation: float
    result: float


@dataclass(frozen=True)
class RowPass:
    """What a pass of a layer costs fused: energy by component of a step (without lanes) and of the lanes, cycles, DRAM bits."""

    row: int
    pass_: int
    components_pj: Floats
    lanes_pj: float
    cycles: float
    dram_bits: float
    bound: int

    @property
    def energy_pj(self) -> float:
        return float(self.components_pj.sum()) + self.lanes_pj


def forward_blocks(head: Head, size_bits: float, holds_keys: bool = True, whole_rows: bool = False) -> Blocks | None:
    """The blocks that move least forward among those that fit; fewer blocks where several do.

    Parameters
    ----------
    holds_keys
        Whether keys and values may stay in the memory.
    whole_rows
        Only blocks of all keys: then nothing is rescaled.
    """

    def moved(blocks: Blocks) -> float:
        return (1 if blocks.stays else blocks.row_blocks) * head.keys * _key_bits(head)

    cuts = [blocks for blocks in _cuts(head, holds_keys) if not whole_rows or blocks.key_blocks == 1]
    return _best([(moved(blocks), blocks) for blocks in cuts if held_forward(head, blocks) <= size_bits])


def backward_blocks(head: Head, size_bits: float) -> Blocks | None:
    """The same backward."""

    def moved(blocks: Blocks) -> float:
        again = 1 if blocks.stays else blocks.key_blocks
        read = head.width * head.query_bits + head.values * head.error_bits
        return again * head.rows * read + (again - 1) * 2 * head.rows * head.width * head.sum_bits

    return _best([(moved(blocks), blocks) for blocks in _cuts(head) if held_backward(head, blocks) <= size_bits])


def _best(found: Sequence[tuple[float, Blocks]]) -> Blocks | None:
    return (
        min(found, key=lambda item: (item[0], item[1].row_blocks * item[1].key_blocks, item[1]))[1] if found else None
    )


def _cuts(head: Head, stay: bool = True) -> list[Blocks]:
    """Cuts into powers of two."""
    rows = [2**n for n in range(head.rows.bit_length()) if 2**n <= head.rows]
    keys = [2**n for n in range(head.keys.bit_length()) if 2**n <= head.keys]
    return [Blocks(r, k, stays) for r in rows for k in keys for stays in ((False, True) if stay else (False,))]


def _sizes(head: Head, blocks: Blocks) -> tuple[int, int]:
    """Queries and keys of a block."""
    return math.ceil(head.rows / blocks.row_blocks), math.ceil(head.keys / blocks.key_blocks)


def held_forward(head: Head, blocks: Blocks) -> float:
    """Bits that blocks take forward."""
    rows, keys = _sizes(head, blocks)
    sums = rows * head.values * head.sum_bits if blocks.key_blocks > 1 else 0.0
    stay = head.keys * _key_bits(head) if blocks.stays else 0.0
    return rows * head.width * head.query_bits + rows * keys * head.score_bits + sums + stay


def held_backward(head: Head, blocks: Blocks) -> float:
    """Bits that blocks take backward."""
    rows, keys = _sizes(head, blocks)
    row_bits = head.width * (head.query_bits + head.sum_bits) + head.values * head.error_bits
    sums = keys * (head.width + head.values) * head.sum_bits if blocks.row_blocks > 1 else 0.0
    stay = head.rows * row_bits if blocks.stays else rows * row_bits
    return rows * keys * (head.score_bits + head.error_bits) + keys * _key_bits(head) + sums + stay


def _key_bits(head: Head) -> float:
    """Of a key with its value."""
    return head.width * head.key_bits + head.values * head.value_bits


class AttentionCosts:
    """What one network's attentions cost fused on one design under one plan."""

    def __init__(
        self,
        network: Network,
        hardware: Hardware,
        one: HardwareArrays,
        m: int,
        work: NetworkJobs,
        plan: int,
        vector: VectorCosts,
        training: bool,
        objective: str,
    ) -> None:
        self.layers, self.batch = network.layers, network.batch
        self.hardware, self.one, self.m, self.objective = hardware, one, m, objective
        self.work, self.jobs, self.plan, self.training = work, work.jobs, plan, training
        self.operations = vector.operations
        #: Whether operands in the weight role lie in the shared memory: keys and values, and errors of scores.
        self.holds_keys = "weight" in hardware.memories[m].roles
        self.macs = {index: l for l, index in enumerate(i for i, x in enumerate(self.layers) if x.has_macs)}
        self.lanes = {index: v for v, index in enumerate(i for i, x in enumerate(self.layers) if not x.has_macs)}
        self.sums = partial_bits(hardware, work.jobs)
        self.read, self.write = (float(prices[0, m]) for prices in (one.read_pj_per_bit, one.write_pj_per_bit))
        self.dram_read, self.dram_write = (float(p[0, -1]) for p in (one.read_pj_per_bit, one.write_pj_per_bit))
        self.op_pj = float((vector_op_pj(VECTOR_BITS, True, one.node_nm) * one.logic_scale)[0])
        self.known: dict[Any, tuple[JobCosts, Blocks, Head] | None] = {}

    def of(self, item: Attention) -> list[list[RowPass]]:
        """All passes of an attention in each way in which it can run; none where no blocks fit."""
        learns = self.training and "backward_data" in self.layers[item.softmax].passes
        ways = (True, False) if learns else (False,)
        found = []
        size = float(self.one.size_bits[0, self.m]) * BLOCK_SHARE
        head = self._head(item)
        cuts = {forward_blocks(head, size, self.holds_keys, whole) for whole in (False, True)} - {None}
        for again in ways if self.holds_keys or not learns else ():
            back = self._backward(item, again) if learns else []
            for blocks in cuts if back is not None else ():
                assert blocks is not None
                assert back is not None
                rows = self._forward(item, blocks, kept=learns and not again, again=again)
                if rows is not None:
                    found.append(rows + back)
        return found

    def _job(self, row: int, pass_: int) -> int:
        return int(self.work.job[self.plan, self.macs[row], pass_, 0])

    def _head(self, item: Attention) -> Head:
        scores, context = self.layers[item.scores], self.layers[item.context]
        u, v = self._job(item.scores, _FORWARD), self._job(item.context, _FORWARD)
        bits = self.jobs.stored_bits
        error, weight = self._job(item.context, _DATA), self._job(item.context, _WEIGHT)
        return Head(
            rows=scores.N,
            keys=scores.met_dims[2],
            width=scores.C,
            values=context.K,
            query_bits=float(bits[u, 1]),
            key_bits=float(bits[u, 0]),
            value_bits=float(bits[v, 0]),
            score_bits=float(max(bits[u, 2], bits[v, 1])),
            result_bits=float(bits[v, 2]),
            sum_bits=float(self.sums[v]),
            error_bits=float(bits[error, 1]) if self.training and error >= 0 else 0.0,
            kept_bits=float(bits[weight, 1]) if self.training and weight >= 0 else float(bits[v, 1]),
        )

    def _tiled(
        self, tiles: Sequence[Tile], held: float, blocks: Blocks, head: Head
    ) -> tuple[JobCosts, Blocks, Head] | None:
        """Costs of a pair of blocks' products beside what blocks take; equal ones are looked up once."""
        key = (tuple(tiles), held, blocks, head)
        if key not in self.known:
            costs = self._cost(tiles, held)
            self.known[key] = None if (costs.limit != "").any() else (costs, blocks, head)
        return self.known[key]

    def _cost(self, tiles: Sequence[Tile], held: float) -> JobCosts:
        nests = tuple(dict.fromkeys(tile.nest for tile in tiles))
        rows = np.array([tile.job for tile in tiles], np.int64)
        given = {name: v[rows] for name, v in vars(self.jobs).items() if name != "nests" and isinstance(v, np.ndarray)}
        given["nest"] = np.array([nests.index(tile.nest) for tile in tiles], np.int64)
        given["dram_bits"] = given["dram_bits"] * np.array([[tile.weight, tile.activation] for tile in tiles])
        stored = given["stored_bits"].copy()
        stored[:, ROLES.index("accumulator")] *= [tile.result for tile in tiles]
        size = self.one.size_bits.copy()
        size[:, self.m] -= held
        asked = Jobs(nests=nests, **{**given, "stored_bits": stored})
        return cost_jobs(self.hardware, replace(self.one, size_bits=size), asked, self.objective)

    def _nest(self, layer: Layer, blocks: Blocks, head: Head, pass_: int, context: bool) -> Nest:
        rows, keys = _sizes(head, blocks)
        groups = layer.G * self.batch
        dims = (rows, groups, head.values, keys) if context else (rows, groups, keys, head.width)
        return Nest((*dims, 1, 1, 1, 1), PASSES[pass_], layer.stride, layer.dilation)

    def _product(
        self, costs: JobCosts, tile: int, times: int, row: int, pass_: int, on_chip_pj: float = 0.0
    ) -> RowPass:
        """A product over all pairs of blocks, with what it moves in the shared memory beside its tiles."""
        parts = costs.components_pj[0, tile] * times
        parts[1 + self.m] += on_chip_pj
        cycles, dram = float(costs.cycles[0, tile]) * times, float(costs.traffic_bits[0, tile, -1]) * times
        return RowPass(row, pass_, parts, 0.0, cycles, dram, int(costs.bound[0, tile]))

    def _lane_work(
        self, row: int, pass_: int, operations: float, on_chip_pj: float, read: float = 0.0, written: float = 0.0
    ) -> RowPass:
        """Work of the lanes, with what DRAM moves for it: through the shared memory, as all that passes the lanes."""
        memories = len(self.hardware.memories)
        cycles = max(
            operations / float(self.one.vector_lanes[0]),
            (read + written) / float(self.one.bandwidth_bits_per_cycle[0, -1]),
        )
        parts = np.zeros(memories + 2)
        parts[1 + self.m] += on_chip_pj + read * self.write + written * self.read
        parts[memories] += read * self.dram_read + written * self.dram_write
        parts[-1] = cycles * float(self.one.leakage_w[0] / self.one.clock_hz[0]) * 1e12
        by_dram = cycles * float(self.one.vector_lanes[0]) > operations
        return RowPass(
            row, pass_, parts, operations * self.op_pj, cycles, read + written, memories if by_dram else memories + 1
        )

    def _forward(self, item: Attention, blocks: Blocks, kept: bool, again: bool) -> list[RowPass] | None:
        """The forward pass in blocks; the probabilities are ``kept``, or made ``again`` on the way back."""
        scores, context, head = self.layers[item.scores], self.layers[item.context], self._head(item)
        key_share = 1.0 / blocks.row_blocks if blocks.stays else 1.0
        tiles = [
            Tile(
                self._job(item.scores, _FORWARD),
                self._nest(scores, blocks, head, _FORWARD, False),
                key_share,
                1.0 / blocks.key_blocks,
                0.0,
            ),
            Tile(
                self._job(item.context, _FORWARD),
                self._nest(context, blocks, head, _FORWARD, True),
                key_share,
                0.0,
                1.0 / blocks.key_blocks,
            ),
        ]
        found = self._tiled(tiles, held_forward(head, blocks), blocks, head)
        if found is None:
            return None
        costs, times, groups = found[0], blocks.row_blocks * blocks.key_blocks, scores.G * self.batch
        count = float(groups) * head.rows * head.keys
        sums = float(groups) * head.rows * head.values * (blocks.key_blocks - 1)
        through = count * head.score_bits
        written = count * head.kept_bits if kept else float(groups) * head.rows * STATISTIC_BITS * again
        result = [
            self._product(costs, 0, times, item.scores, _FORWARD, through * self.write),
            self._lane_work(
                item.softmax, _FORWARD, float(self.operations[self.lanes[item.softmax], _FORWARD]) + sums, through * self.read,
                written=written,
            ),
            self._product(
                costs, 1, times, item.context, _FORWARD, sums * head.sum_bits * (self.read + self.write)
            ),
        ]  # fmt: skip
        result += [
            self._lane_work(
                row, _FORWARD, float(self.operations[self.lanes[row], _FORWARD]), through * (self.read + self.write)
            )
            for row in item.applied
        ]
        return result

    def _backward(self, item: Attention, again: bool) -> list[RowPass] | None:
        """The backward passes; the probabilities are made ``again``, or read."""
        scores, head = self.layers[item.scores], self._head(item)
        blocks = backward_blocks(head, float(self.one.size_bits[0, self.m]) * BLOCK_SHARE)
        if blocks is None:
            return None
        by_rows, by_keys = 1.0 / blocks.row_blocks, 1.0 / blocks.key_blocks if blocks.stays else 1.0
        asked = [(item.scores, _FORWARD, False, by_rows, by_keys, 0.0)] * again
        # Queries come for the scores, or with their error.
        asked += [(item.context, _DATA, True, by_rows, by_keys, 0.0)]
        asked += [
            (item.context, _WEIGHT, True, 0.0, 0.0, by_rows),
            (item.scores, _DATA, False, by_rows * (not again), 0.0, 1.0 / blocks.key_blocks),
            (item.scores, _WEIGHT, False, 0.0, by_keys * (not again), by_rows),
        ]
        asked = [each for each in asked if PASSES[each[1]] in self.layers[each[0]].passes]
        tiles = [
            Tile(self._job(row, pass_), self._nest(self.layers[row], blocks, head, pass_, of_context), *shares)
            for row, pass_, of_context, *shares in asked
        ]
        found = self._tiled(tiles, held_backward(head, blocks), blocks, head)
        if found is None:
            return None
        costs, times, groups = found[0], blocks.row_blocks * blocks.key_blocks, scores.G * self.batch
        count = float(groups) * head.rows * head.keys
        result = [self._product(costs, n, times, row, p) for n, (row, p, *_) in enumerate(asked) if p != _FORWARD]
        # Partial sums of the queries' errors that do not stay go to DRAM and come back.
        partial = float(groups) * head.rows * head.width * head.sum_bits
        spilled = 0.0 if blocks.stays else partial * (blocks.key_blocks - 1)
        operations = float(self.operations[self.lanes[item.softmax], _DATA])
        through = count * head.error_bits * (self.write + self.read)
        if again:
            made = self._product(costs, 0, times, item.softmax, _DATA, count * head.score_bits * self.write)
            operations += AGAIN * count + 2.0 * float(groups) * head.rows * head.values
            through += count * head.score_bits * self.read
            read = float(groups) * head.rows * (head.values * head.result_bits + STATISTIC_BITS)
            lanes = self._lane_work(item.softmax, _DATA, operations, through, read=read + spilled, written=spilled)
            result.append(_joined(made, lanes))
        else:
            read = count * head.kept_bits + spilled
            result.append(self._lane_work(item.softmax, _DATA, operations, through, read=read, written=spilled))
        for row in item.applied:
            passes = (_FORWARD, _DATA) if again else (_DATA,)
            work = sum(float(self.operations[self.lanes[row], p]) for p in passes)
            moved = count * (head.score_bits * again + head.error_bits) * (self.read + self.write)
            result.append(self._lane_work(row, _DATA, work, moved))
        return result


def _joined(first: RowPass, second: RowPass) -> RowPass:
    """Two parts of one pass, one after the other."""
    longer = first if first.cycles >= second.cycles else second
    return RowPass(
        first.row,
        first.pass_,
        first.components_pj + second.components_pj,
        first.lanes_pj + second.lanes_pj,
        first.cycles + second.cycles,
        first.dram_bits + second.dram_bits,
        longer.bound,
    )


def attention_costs(apart: Apart, d: int, plan: int, training: bool) -> list[list[list[RowPass]]]:
    """What each attention of a network costs fused on a design under a plan, in each way in which it can run; none on deep
    hierarchies, or where activations pass by the shared memory."""
    network, hardware, arrays = apart.network, apart.hardware, apart.arrays
    m = int(shared_buffer(hardware, arrays)[d])
    if is_deep(hardware) or m < 0 or "activation" not in hardware.memories[m].roles:
        return []
    one, objective = arrays.rows(d, d + 1), apart.objective
    costs = AttentionCosts(network, hardware, one, m, apart.work, plan, apart.vector, training, objective)
    return [ways for item in attentions_of(network, training) if (ways := costs.of(item))]
