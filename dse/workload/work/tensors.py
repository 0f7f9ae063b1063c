"""The tensors of a step: which layer makes each, who reads it, who needs it again on the way back, and how many elements it has.

What is a tensor between layers follows from how layers run (:mod:`dse.workload.work.vector`): a function of one element is
applied as its input is written, so that only its result lies in memory, unless others read the input too. In inference
a norm is folded and a function whose input others read is applied where its result is read; neither makes a tensor. The
sums of a recurrent layer live for a time step, until the gates have made the state of them.

A layer that does not say what it reads (``reads``) is taken to read the layer before it, or what the first layer of its
``tie`` reads; a second operand that is not said is a tensor of its own, there only for its layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from dse.workload.layer import GATES
from dse.workload.model import Layer, Network
from dse.workload.work.vector import kept_for_backward


class Use(NamedTuple):
    """A layer, by its place in the network, that reads elements of a tensor: as its ``input``, ``second`` operand or ``output``."""

    layer: int
    place: str
    elements: int


@dataclass
class Tensor:
    """One tensor of one sample.

    Attributes
    ----------
    maker
        Place of the layer that makes it; -1 for an input of the network.
    born
        Place of the layer whose run writes it: its maker, or the layer before a function that is applied as that one writes.
    elements
        Of one sample.
    stored
        False if a function is applied before it would be written: it lies in memory only where it is kept for the way back.
    readers, keepers
        Who reads it forward, and who reads it again on the way back.
    """

    maker: int
    born: int
    elements: int
    stored: bool = True
    readers: list[Use] = field(default_factory=list)
    keepers: list[Use] = field(default_factory=list)

    def kept(self, uses: Iterable[Use] | None = None) -> int:
        """Elements that layers (all keepers, or some) keep of it: parts side by side, but never more than there are."""
        return min(sum(use.elements for use in (self.keepers if uses is None else uses)), self.elements)


@dataclass(frozen=True)
class Tensors:
    """All tensors of a network in training or inference.

    Attributes
    ----------
    tensors
        In the order of their makers, inputs first.
    result
        By layer: place of the tensor that it makes; -1 where it makes none (folded, or applied where its result is read).
    own, bits
        By layer: elements that it keeps beside tensors (gates, cell states), and single bits (signs, places of largest elements),
        per sample.
    """

    tensors: tuple[Tensor, ...]
    result: tuple[int, ...]
    own: tuple[int, ...]
    bits: tuple[int, ...]


@lru_cache(maxsize=64)
def tensors_of(network: Network, training: bool = True) -> Tensors:
    """The tensors of a network; of its inference only those that a forward pass makes."""
    return _Builder(network.layers, training).build()


class _Builder:
    """One walk over the layers."""

    def __init__(self, layers: Sequence[Layer], training: bool) -> None:
        self.layers, self.training = layers, training
        self.places = {layer.name: index for index, layer in enumerate(layers)}
        #: First layer of every tie.
        self.tied = {layer.tie: index for index, layer in reversed(list(enumerate(layers))) if layer.tie}
        self.operands = [self._operands(index) for index in range(len(layers))]
        self.read_by: dict[int, list[int]] = {}
        for index, operands in enumerate(self.operands):
            for makers in operands.values():
                for maker in dict.fromkeys(makers):
                    self.read_by.setdefault(maker, []).append(index)
        self.tensors: list[Tensor] = []
        #: Tensors that hold the result of a layer.
        self.held: list[tuple[int, ...]] = []
        #: Inputs of the network by their size.
        self.inputs: dict[int, int] = {}

    def _operands(self, index: int) -> dict[str, tuple[int, ...]]:
        """Places of the layers that make each operand; -1 for an input of the network."""
        layer = self.layers[index]
        if layer.reads:
            found = {"input": tuple(self.places.get(name, -1) for name in layer.reads)}
            if layer.reads_second:
                found["second"] = tuple(self.places.get(name, -1) for name in layer.reads_second)
            return found
        return {"input": (self.tied.get(layer.tie, index) - 1,)}

    def build(self) -> Tensors:
        own, bits, result = [], [], []
        for index in range(len(self.layers)):
            self.held.append(self._result(index))
            made = self.held[-1]
            result.append(made[0] if len(made) == 1 and self.tensors[made[0]].maker == index else -1)
        signs = []
        for index, layer in enumerate(self.layers):
            self._read(index)
            kept = kept_for_backward(layer) if self.training else None
            own.append(kept.own if kept else 0)
            bits.append(kept.bits if kept else 0)
            if kept and kept.sign_bits:
                signs.append(index)
        for index in signs:
            tensor = self.tensors[result[index]]
            if tensor.kept() >= tensor.elements:
                tensor.keepers.append(Use(index, "output", tensor.elements))
            else:
                bits[index] += kept_for_backward(self.layers[index]).sign_bits
        return Tensors(tuple(self.tensors), tuple(result), tuple(own), tuple(bits))

    def _result(self, index: int) -> tuple[int, ...]:
        """Tensors that hold the result of a layer, made or found."""
        layer, born = self.layers[index], index
        makers = [maker for group in self.operands[index].values() for maker in group]
        alone = all(maker >= 0 and self.read_by[maker] == [index] for maker in makers)
        folded = not self.training and layer.kind in ("norm", "loss")
        if layer.function in GATES:
            born = min(makers[-1], index) if makers[-1] >= 0 else index
        elif layer.kind == "activation" or folded:
            held = [self.held[maker] for maker in makers if maker >= 0]
            whole = all(len(group) == 1 and self.tensors[group[0]].maker in makers for group in held)
            if alone and whole:
                for group in held:
                    self.tensors[group[0]].stored = False
                born = min(self.tensors[group[0]].born for group in held)
            elif not self.training and held:
                return tuple(dict.fromkeys(place for group in held for place in group))
        elements = layer.output_elements
        if layer.repeats > 1 and all(self.layers[i].function in GATES for i in self.read_by.get(index, [-1]) if i >= 0):
            elements //= layer.repeats if index in self.read_by else 1
        self.tensors.append(Tensor(index, born, elements))
        return (len(self.tensors) - 1,)

    def _read(self, index: int) -> None:
        """Note what a layer reads forward, and what it keeps of it."""
        layer = self.layers[index]
        kept = kept_for_backward(layer) if self.training else None
        sizes = self._sizes(layer)
        for place, size in sizes.items():
            makers = self.operands[index].get(place)
            again = getattr(kept, place) if kept else 0
            if makers is None and not again:
                continue
            for tensor, share in self._parts(index, makers, size):
                tensor.readers.append(Use(index, place, round(size * share)))
                if again:
                    tensor.keepers.append(Use(index, place, round(again * share)))
        if kept and kept.output:
            self.tensors[self.held[index][0]].keepers.append(Use(index, "output", kept.output))

    def _sizes(self, layer: Layer) -> dict[str, int]:
        """Elements of each operand."""
        n = layer.output_elements
        if layer.kind == "matmul":
            return {"input": layer.input_elements, "second": layer.second_elements}
        if layer.function in GATES:
            return {"input": GATES[layer.function] * n, "second": GATES[layer.function] * n}
        if layer.kind in ("add", "multiply", "activation"):
            return {"input": n, "second": n}
        # What an embedding looks up are a few bits for each of its rows.
        return {"input": 0 if layer.kind == "embedding" else layer.input_elements}

    def _parts(self, index: int, makers: tuple[int, ...] | None, size: int) -> list[tuple[Tensor, float]]:
        """Tensors that an operand consists of, with the share of its elements that each has."""
        if makers is None:
            self.tensors.append(Tensor(-1, index, size))
            return [(self.tensors[-1], 1.0)]
        places: list[int] = []
        for maker in makers:
            if maker >= 0:
                places += self.held[maker]
            elif size:
                if size not in self.inputs:
                    self.inputs[size] = len(self.tensors)
                    self.tensors.append(Tensor(-1, 0, size))
                places.append(self.inputs[size])
        found = [self.tensors[place] for place in dict.fromkeys(places)]
        total = sum(tensor.elements for tensor in found)
        return [(tensor, tensor.elements / total) for tensor in found]
