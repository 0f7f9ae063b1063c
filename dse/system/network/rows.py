"""A network under a plan as few rows: every layer once that is the same in its nest, its place in a block, and its formats.

All that time and memory of a parallel plan need is in the rows, so that tens of thousands of plans are arrays over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dse.cost.tensors.copies import turned_weights
from dse.cost.tensors.storage import storage_of
from dse.precision.formats.model import Format
from dse.precision.formats.properties import stored_bits
from dse.precision.plans.cells import Cell, formats_of
from dse.precision.plans.plan import Plan
from dse.system.network.blocks import Blocks, blocks_of
from dse.system.network.cuts import Cut, cuts_of, token_wise
from dse.types import Bools, Floats
from dse.workload.model import Layer, Network
from dse.workload.work.tensors import Tensor, tensors_of
from dse.workload.work.vector import optimizer_work, vector_work

#: Where a row stands: before the blocks (first stage), in them, behind them (last stage).
PARTS = ("before", "block", "behind")


class Stash(NamedTuple):
    """A tensor of one sample that is kept for the way back: its bits, whether it is cut by channels, lies between two products
    of activations (``inner``), belongs to experts, or is a mask of dropout."""

    bits: float
    cut: bool
    inner: bool
    expert: bool
    mask: bool = False


class Widths(NamedTuple):
    """Bits of the wider operand of the three products; stored bits per element of the tensors; bits that pass through memory per
    element where a tensor is converted to the format that is multiplied."""

    forward: int
    backward_data: int
    backward_weight: int
    weight: float
    activation: float
    error: float
    gradient: float
    master: float
    optimizer: float
    turned: float
    converts_weight: float
    converts_activation: float
    converts_error: float


@dataclass(frozen=True)
class Row:
    """One layer of one sample; ``times`` of the blocks (or of its part) have it."""

    layer: Layer
    part: str
    times: int
    cut: Cut
    widths: Widths
    stash: tuple[Stash, ...]
    core: bool
    vector: tuple[float, float]
    masks: int


@dataclass(frozen=True)
class Rows:
    """A network under a plan; see the module.

    Attributes
    ----------
    crossing_elements, crossing_bits
        Of one sample: what passes from block to block, elements and stored bits of all of them.
    states
        Values per parameter that the optimizer holds beside master and gradient.
    heads
        Of attention: tensor parallelism cuts between them. 0: none.
    """

    network: Network
    rows: tuple[Row, ...]
    blocks: Blocks
    crossing_elements: int
    crossing_bits: float
    states: int
    token_wise: bool
    heads: int

    def of(self, part: str) -> list[Row]:
        return [row for row in self.rows if row.part == part]


def rows_of(network: Network, plan: Plan, dropout: bool = False, fused_attention: bool = False) -> Rows:
    """The rows of a network under a plan.

    Parameters
    ----------
    dropout
        Whether masks of one byte per element stand behind every softmax of attention and before every residual sum.
    fused_attention
        Attention is one kernel that multiplies elements of 16 bits (:mod:`dse.system.plans.times`): whatever the plan says of its
        products, nothing of them is converted, least of all scores, which never leave the chip.
    """
    blocks = blocks_of(network)
    layers, found = network.layers, tensors_of(network, True)
    cuts, core = cuts_of(network), _core(layers)
    widths = _widths(network, plan)
    if fused_attention:
        widths = [
            width._replace(converts_weight=0.0, converts_activation=0.0, converts_error=0.0)
            if layer.kind == "matmul"
            else width
            for layer, width in zip(layers, widths, strict=True)
        ]
    stash = _stash(network, plan, found.tensors, cuts, core)
    bits = {index: float(value) for index, value in enumerate(storage_of(network).bits(plan, "stash"))}
    made: dict[tuple[object, ...], Row] = {}
    for index, layer in enumerate(layers):
        inside = blocks.first <= index < blocks.end
        part = "block" if inside else "before" if index < blocks.first else "behind"
        place = (index - blocks.first) % blocks.size if inside else index
        masks = layer.output_elements * dropout if _drops(layers, index, core) else 0
        kept = tuple(stash[index])
        if masks:
            kept += (Stash(8.0 * masks, cuts[index].result_cut, core[index], False, mask=True),)
            if core[index]:
                kept += (Stash(bits[index] * masks, cuts[index].result_cut, True, False),)
        key = (part, place, widths[index], kept)
        if key in made:
            made[key] = replace(made[key], times=made[key].times + 1)
            continue
        work = (0.0, 0.0)
        if not layer.has_macs:
            forward, backward = (vector_work(layer, pass_, True) for pass_ in ("forward", "backward_data"))
            work = (forward.reads + forward.writes, backward.reads + backward.writes + backward.stash_reads)
            if layer.kind == "activation":
                work = (2.0 * layer.output_elements, 3.0 * layer.output_elements)
        made[key] = Row(layer, part, 1, cuts[index], widths[index], kept, core[index], work, masks)
    crossing = _crossing(layers, blocks)
    return Rows(
        network,
        tuple(made.values()),
        blocks,
        sum(layers[index].output_elements for index in crossing),
        sum(layers[index].output_elements * bits[index + 1 if index + 1 in bits else index] for index in crossing),
        optimizer_work(network.optimizer).states,
        token_wise(network),
        max((layer.G for index, layer in enumerate(layers) if layer.kind == "softmax" and core[index]), default=0),
    )


def _widths(network: Network, plan: Plan) -> list[Widths]:
    storage = storage_of(network)
    weight, activation, error = (plan.widths(operand) for operand in ("weight", "activation", "error"))
    forward, data = np.maximum(weight, activation), np.maximum(error, weight)
    back = np.maximum(error, activation)
    stored = {
        operand: storage.bits(plan, operand)
        for operand in ("weight", "activation", "error", "gradient", "master", "optimizer")
    }
    same = [a == b for a, b in zip(plan.cells("master"), plan.cells("weight"), strict=True)]
    stored["master"] = np.where(same, 0.0, stored["master"])
    turned = np.where(turned_weights(network, plan), storage.bits(plan, "weight", "backward_data"), 0.0)
    converts = [np.array([_converted_bits(cell) for cell in plan.cells(operand)]) for operand in _CONVERTED]
    again = _read_before(network)
    converts[1] = np.where(again, 0.0, converts[1])
    table: Floats = np.nan_to_num(np.array([*stored.values(), turned, *converts]))
    return [
        Widths(int(forward[i]), int(data[i]), int(back[i]), *(float(value) for value in table[:, i]))
        for i in range(len(network.layers))
    ]


_CONVERTED = ("weight", "activation", "error")
#: Widest elements that products take as they are written.
PLAIN_BITS = 16


@lru_cache(maxsize=256)
def _converted_bits(cell: Cell) -> float:
    """Bits that pass per element when a 16-bit tensor becomes one of narrow elements in two copies, by rows and by columns.

    It is read once, once more before that where a scale of the whole tensor must be known, and both copies are written: NVFP4
    16 + 16 + 2 x 4.5 = 41, MXFP8 16 + 2 x 8.25 = 32.5, FP8 with a scale per tensor 16 + 16 + 2 x 8 = 48. TransformerEngine's
    measured overheads follow these counts (``benchmarks/clusters.py`` has the rows of whole steps).
    """
    narrow: list[Format] = [form for form in formats_of(cell) if form.element_bits < PLAIN_BITS]
    if not narrow:
        return 0.0
    return max(
        PLAIN_BITS * (1 + ("tensor" in (form.granularity, form.outer))) + 2 * stored_bits(form) for form in narrow
    )


def _read_before(network: Network) -> Bools:
    """Layers whose input an earlier layer with MACs reads too: it is converted once."""
    seen: set[str] = set()
    result = []
    for layer in network.layers:
        result.append(bool(layer.tie) and layer.tie in seen)
        seen |= {layer.tie} if layer.has_macs else set()
    return np.array(result)


def _core(layers: Sequence[Layer]) -> list[bool]:
    """Layers whose result lies between two products of activations, such as scores and their softmax."""
    place = {layer.name: index for index, layer in enumerate(layers)}
    readers: list[list[int]] = [[] for _ in layers]
    makers: list[list[int]] = []
    for index, layer in enumerate(layers):
        makers.append([place[name] for name in (*layer.reads, *layer.reads_second) if name in place])
        for maker in makers[-1]:
            readers[maker].append(index)

    def leads(index: int) -> bool:
        return bool(readers[index]) and all(
            layers[reader].kind == "matmul" or (not layers[reader].has_macs and leads(reader))
            for reader in readers[index]
        )

    result = [False] * len(layers)
    for index, layer in enumerate(layers):
        inner = layer.kind == "matmul" or (
            layer.kind in ("softmax", "activation", "add", "multiply") and any(result[maker] for maker in makers[index])
        )
        result[index] = inner and leads(index)
    return result


def _drops(layers: Sequence[Layer], index: int, core: Sequence[bool]) -> bool:
    """Whether dropout stands here: behind a softmax of attention, or before a residual sum."""
    layer = layers[index]
    if layer.kind == "softmax":
        return core[index]
    return layer.kind == "add" and bool(layer.reads and layer.reads_second)


def _stash(
    network: Network, plan: Plan, tensors: Sequence[Tensor], cuts: Sequence[Cut], core: Sequence[bool]
) -> list[list[Stash]]:
    """What is kept for the way back, by the layer that needs it; a tensor that is kept in two formats is kept twice."""
    storage = storage_of(network)
    by_place = {place: storage.bits(plan, "stash", tensor=place) for place in ("input", "second", "output")}
    result: list[list[Stash]] = [[] for _ in network.layers]
    found = tensors_of(network, True)
    for tensor in tensors:
        formats: dict[float, list[int]] = {}
        for use in tensor.keepers:
            width = round(float(by_place[use.place][use.layer]), 9)
            formats.setdefault(width, []).append(use.layer)
        for width, keepers in formats.items():
            elements = tensor.kept([use for use in tensor.keepers if use.layer in keepers])
            maker = tensor.maker
            whole = maker < 0 or not cuts[maker].result_cut
            expert = (maker >= 0 and cuts[maker].dim == "E") or (cuts[keepers[0]].dim == "E")
            result[keepers[0]].append(Stash(elements * width, not whole, maker >= 0 and core[maker], bool(expert)))
    for index, (own, single) in enumerate(zip(found.own, found.bits, strict=True)):
        width = float(by_place["input"][index])
        if own or single:
            result[index].append(Stash(own * width + single, cuts[index].result_cut, False, cuts[index].dim == "E"))
    return result


def _crossing(layers: Sequence[Layer], blocks: Blocks) -> list[int]:
    """Places of layers of the first block (or, alone, of the last layers before) whose results the next one reads."""
    end = blocks.first + blocks.size
    place = {layer.name: index for index, layer in enumerate(layers[:end])}
    return sorted(
        {place[name] for layer in layers[end:] for name in (*layer.reads, *layer.reads_second) if name in place}
    )
