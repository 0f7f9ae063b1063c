"""Layers without MACs that run as another layer writes or reads: what traffic they save.

A layer is *fused* where the tensor that it reads streams from the layer that makes it: it is applied as that one writes, and does
not read the tensor from DRAM. If nobody else reads or keeps the tensor, it is not written either; the fused layer's own result
is. What a pass must keep for another (the input of a norm, the operands of a product) is written whatever is fused.

Forward, a tensor streams from the layer that runs last among the makers of a layer's operands:

* sums and products of two tensors take one operand as it is made; the other one is read
* statistics (of a norm over the batch, of a softmax with a running maximum: Milakov and Gimelshein, arXiv 1805.02867) are taken
  as the tensor is written, which saves one of two sweeps; the second one has to wait for them
* a layer norm needs a whole row: it streams from another layer without MACs, which goes row by row, not from the tiles of a product
* an average over the whole plane needs one sum per channel and streams from anything

Backward, the error of a layer's result streams from the backward pass of its only reader (functions applied between them included):

* a norm's two sums are taken as the error is written: one sweep less over the error, none less over the input
* a product of two tensors takes the error as it is made
* a sum adds the two errors of the tensor at which its branches part as the second one is written: it reads the other one, and the
  sum is written in place of the part

In inference a norm over the batch is folded and functions of one element are applied as their producer writes, fused or not. The
lanes' operations stay, in time and energy, and a fused layer's time is added to its producer's (their overlap is not taken; nor
is a product faster that writes less). So the costs of layers still add up, each following its own formats, which the exact choice
of formats needs; and fused is never worse.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dse.cost.tensors.copies import Stored, error_bits
from dse.errors import InputError
from dse.hardware.model import FUSES, Hardware
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.model import GATES, PASSES, Layer, Network
from dse.workload.work.tensors import Tensor, tensors_of
from dse.yaml_input import suggest

#: What may be fused, each containing those before it; ``best`` is what the hardware says that it can
#: (:attr:`dse.hardware.model.Hardware.fuses`).
FUSIONS = ("none", "vector", "resident", "best")
#: The environment's variable for what runs fused where neither the caller nor the hardware's file says it.
SETTING = "DSE_FUSION"
#: Where the costs of layers add up.
SUMMED = FUSIONS[:2]

_STREAM = ("add", "multiply")
_STATISTICS = ("norm", "softmax", "loss")
_FORWARD, _BACKWARD = PASSES.index("forward"), PASSES.index("backward_data")


def parts_of(hardware: Hardware) -> frozenset[str]:
    """What runs fused on a hardware: of :data:`dse.hardware.model.FUSES`."""
    named: dict[str, Sequence[str]] = {"none": (), "vector": FUSES[:1], "resident": FUSES[:2], "best": hardware.fuses}
    return frozenset(named[hardware.fusion])


@contextmanager
def fused_by_default(fusion: str | None) -> Iterator[None]:
    """Within it ``DSE_FUSION`` of the environment is the word given, None: as it is; afterwards it is what it was.

    Raises
    ------
    InputError
        An unknown word.
    """
    if fusion is None:
        yield
        return
    before = os.environ.get(SETTING)
    os.environ[SETTING] = known_fusion(fusion)
    try:
        yield
    finally:
        if before is None:
            del os.environ[SETTING]
        else:
            os.environ[SETTING] = before


def with_fusion(hardware: Hardware, fusion: str | None) -> Hardware:
    """The hardware with what runs fused on it; None: as it says itself, and where it says nothing as ``DSE_FUSION`` of the
    environment does.

    Raises
    ------
    InputError
        An unknown word.
    """
    own = hardware.fusion if hardware.fusion != FUSIONS[0] else os.environ.get(SETTING) or FUSIONS[0]
    asked = own if fusion is None else fusion
    return hardware if known_fusion(asked) == hardware.fusion else replace(hardware, fusion=asked)


def known_fusion(word: str) -> str:
    """A word that says what runs fused.

    Raises
    ------
    InputError
        An unknown one.
    """
    if word not in FUSIONS:
        raise InputError("fusion", [f"'{word}' is unknown{suggest(word, FUSIONS)}"])
    return word


def without_residents(hardware: Hardware) -> Hardware:
    """The hardware without what makes a layer's cost follow other layers' formats, so that costs add up."""
    return hardware if hardware.fusion in SUMMED else replace(hardware, fusion="vector")


@dataclass(frozen=True)
class Link:
    """A tensor, or its error, that streams from one layer's pass into another layer's.

    Attributes
    ----------
    row, source
        Places of the layer that takes it and of the layer whose pass makes it.
    pass_
        Of both: ``forward`` or ``backward_data``.
    read, written
        Elements per sample that the layer does not read, and that the source does not write.
    """

    row: int
    source: int
    pass_: str
    read: int
    written: int


@lru_cache(maxsize=64)
def links_of(network: Network, training: bool) -> tuple[Link, ...]:
    """All that streams in a step."""
    walk = _Walk(network, training)
    links = [link for row in range(len(network.layers)) for link in walk.forward(row)]
    if training:
        links += [link for row in range(len(network.layers) - 1, -1, -1) for link in walk.backward(row)]
    return tuple(links)


class _Walk:
    """Who reads what of a network."""

    def __init__(self, network: Network, training: bool) -> None:
        self.layers, self.training = network.layers, training
        found = tensors_of(network, training)
        self.tensors, self.result = found.tensors, found.result
        #: By layer and place: the tensors that make up an operand.
        self.operands: dict[tuple[int, str], list[Tensor]] = {}
        #: Passes that add to another error as they write, each once.
        self.summed: set[tuple[int, str]] = set()
        for tensor in self.tensors:
            for use in tensor.readers:
                self.operands.setdefault((use.layer, use.place), []).append(tensor)

    def forward(self, row: int) -> Iterator[Link]:
        """The operand of a layer that streams from its maker, if one does."""
        layer = self.layers[row]
        if layer.has_macs or layer.function in GATES or (layer.kind in ("norm", "loss") and not self.training):
            return
        whole = [found[0] for place in ("input", "second") if len(found := self.operands.get((row, place), [])) == 1]
        made = [tensor for tensor in whole if tensor.maker >= 0 and tensor.stored and tensor.born < row]
        if not made:
            return
        tensor = max(made, key=lambda item: item.born)
        source = self.layers[tensor.born]
        if source.repeats > 1 or not _takes(layer, source):
            return
        alone = len(tensor.readers) == 1 and not tensor.keepers and layer.kind not in _STATISTICS
        yield Link(row, tensor.born, "forward", tensor.elements, tensor.elements * alone)

    def backward(self, row: int) -> Iterator[Link]:
        """The error that streams into a layer's backward pass, if one does."""
        layer = self.layers[row]
        if layer.has_macs or "backward_data" not in layer.passes:
            return
        if layer.kind == "add":
            yield from self._sum(row)
            return
        reader = self._reader(row)
        if reader is None or layer.kind not in ("norm", "multiply", "layernorm") or not self._makes_error(reader):
            return
        if layer.kind == "layernorm" and self.layers[reader].has_macs:
            return
        count = layer.output_elements
        yield Link(row, reader, "backward_data", count, count * (layer.kind != "norm"))

    def _sum(self, row: int) -> Iterator[Link]:
        """The two errors of the tensor at which the branches of a sum part: one branch may be the tensor itself."""
        count = self.layers[row].output_elements
        ends = [self._back(row, place) for place in ("input", "second")]
        parts = [tensor for _, tensor in ends if tensor is not None and len(tensor.readers) == 2]
        if not parts or parts[0].elements != count:
            return
        last = [use.layer for use in parts[0].readers if use.layer != row]
        if not last:
            return  # a tensor added to itself: both errors are that of the sum, which is there once
        skips = len(last) == 1 or all(tensor is parts[0] for _, tensor in ends)
        if skips and self._makes_error(last[0]) and (last[0], "backward_data") not in self.summed:
            self.summed.add((last[0], "backward_data"))
            yield Link(row, last[0], "backward_data", count, count)

    def _back(self, row: int, place: str) -> tuple[int, Tensor | None]:
        """From an operand back to a tensor with several readers, and the layer through which the way leads."""
        at, operand = row, self.operands.get((row, place), [])
        while len(operand) == 1 and operand[0].maker >= 0 and len(operand[0].readers) == 1:
            at = operand[0].maker
            operand = self.operands.get((at, "input"), [])
        return at, operand[0] if len(operand) == 1 else None

    def _reader(self, row: int) -> int | None:
        """The one layer whose backward pass makes the error of a layer's result, functions of one element left out."""
        while True:
            place = self.result[row]
            readers = self.tensors[place].readers if place >= 0 else []
            if len(readers) != 1:
                return None
            row = readers[0].layer
            if self.layers[row].kind != "activation":
                return row if readers[0].place == "input" else None

    def _makes_error(self, row: int) -> bool:
        layer = self.layers[row]
        known = layer.has_macs or layer.kind in ("add", "multiply", "norm", "layernorm")
        return known and layer.repeats == 1 and "backward_data" in layer.passes and layer.kind != "matmul"


def _takes(layer: Layer, source: Layer) -> bool:
    """Whether a layer may be applied as another one writes."""
    if source.kind == "embedding" or source.function in GATES:
        return False
    if layer.kind == "layernorm":
        return not source.has_macs
    if layer.kind == "pool":
        return layer.function == "average" and layer.P * layer.Q == 1
    return layer.kind in _STREAM or layer.kind in _STATISTICS


@dataclass(frozen=True)
class Saved:
    """Bits that are not moved, for the whole batch: (plans, layers, passes).

    Attributes
    ----------
    read
        Of DRAM and through the buffer, by layers without MACs.
    written
        Of DRAM, by the layers whose results stream.
    """

    read: Floats
    written: Floats


def saved_bits(network: Network, plans: Sequence[Plan], mode: str, stored: Sequence[Stored]) -> Saved:
    """What vector fusion saves, in the formats in which it would be read and written."""
    training = mode == "training"
    shape = (len(plans), len(network.layers), len(PASSES))
    read, written = np.zeros(shape), np.zeros(shape)
    for i, (plan, copies) in enumerate(zip(plans, stored, strict=True)):
        error = error_bits(network, plan) if training else np.zeros(shape[1])
        for link in links_of(network, training):
            p = _FORWARD if link.pass_ == "forward" else _BACKWARD
            in_, out = (copies.input_bits, copies.result_bits) if p == _FORWARD else (error, error)
            read[i, link.row, p] += link.read * network.batch * in_[link.row]
            written[i, link.source, p] += link.written * network.batch * out[link.source]
    return Saved(read, written)


def groups_of(network: Network, fused: bool, training: bool) -> npt.NDArray[np.object_]:
    """(layers, passes) name of the group that each layer's pass runs in: its first layer's, "" where it runs alone."""
    group = np.full((len(network.layers), len(PASSES)), "", dtype=object)
    for link in links_of(network, training) if fused else ():
        p = _FORWARD if link.pass_ == "forward" else _BACKWARD
        first = group[link.source, p] or network.layers[link.source].name
        group[link.source, p] = group[link.row, p] = first
    return group
