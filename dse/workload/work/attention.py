"""Attention as it stands in a network: a product that makes scores, what is applied to them, softmax, and a product with values.

It is found by what reads what, whatever made the network (a YAML ``attention``, torch, ONNX): a softmax whose input comes from
one product of two activations and whose result is read by one other, each through nothing but functions of one element, sums
and products that nothing else reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dse.workload.model import Network
from dse.workload.work.tensors import Tensor, Tensors, tensors_of

_APPLIED = ("activation", "add", "multiply")


@dataclass(frozen=True)
class Attention:
    """Places of the layers of an attention.

    Attributes
    ----------
    scores, softmax, context
        The products and what is between them.
    applied
        Layers of one element between them: scales, masks, dropout.
    """

    scores: int
    softmax: int
    context: int
    applied: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """All of them, in the network's order."""
        return tuple(sorted((self.scores, *self.applied, self.softmax, self.context)))


@lru_cache(maxsize=64)
def attentions_of(network: Network, training: bool) -> tuple[Attention, ...]:
    """The attentions of a network whose products are one nest each and whose keys, values and heads agree."""
    found = tensors_of(network, training)
    result = []
    for row, layer in enumerate(network.layers):
        if layer.kind == "softmax" and (item := _around(network, found, row)) is not None:
            result.append(item)
    return tuple(result)


def _around(network: Network, found: Tensors, softmax: int) -> Attention | None:
    layers = network.layers
    before = _back(network, found, softmax)
    after = _on(network, found, softmax)
    if before is None or after is None:
        return None
    scores, context = layers[before[-1]], layers[after[-1]]
    same = (scores.N, scores.G, scores.K) == (context.N, context.G, context.C)
    whole = all(
        len(layer.nests(pass_, network.batch)) == 1 and layer.repeats == 1
        for layer in (scores, context)
        for pass_ in layer.passes
    )
    if not (same and whole and scores.output_elements == layers[softmax].output_elements):
        return None
    return Attention(before[-1], softmax, after[-1], tuple(sorted((*before[:-1], *after[:-1]))))


def _operand(found: Tensors, row: int, place: str) -> Tensor | None:
    """The one tensor that a layer reads as an operand."""
    read = [t for t in found.tensors if any(use.layer == row and use.place == place for use in t.readers)]
    return read[0] if len(read) == 1 else None


def _back(network: Network, found: Tensors, row: int) -> list[int] | None:
    """Layers from a softmax back to the product that makes its input, the product last."""
    way: list[int] = []
    while True:
        tensor = _operand(found, row, "input")
        if tensor is None or tensor.maker < 0 or {use.layer for use in tensor.readers} != {row} or tensor.keepers:
            return None
        row = tensor.maker
        way.append(row)
        if network.layers[row].kind == "matmul":
            return way
        if network.layers[row].kind not in _APPLIED:
            return None


def _on(network: Network, found: Tensors, row: int) -> list[int] | None:
    """Layers from a softmax on to the product that reads its result, the product last."""
    way: list[int] = []
    softmax = row
    while True:
        place = found.result[row]
        tensor = found.tensors[place] if place >= 0 else None
        readers = {use.layer for use in tensor.readers} if tensor is not None else set()
        if tensor is None or len(readers) != 1 or {use.place for use in tensor.readers} != {"input"}:
            return None
        (reader,) = readers
        if any(use.layer not in (row, reader, softmax) for use in tensor.keepers):
            return None
        way.append(reader)
        if network.layers[reader].kind == "matmul":
            return way
        if network.layers[reader].kind not in _APPLIED:
            return None
        row = reader
