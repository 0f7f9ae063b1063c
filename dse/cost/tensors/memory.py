"""Memory footprint of a step: what is held at the moment that holds most, in bits.

All the time: weights (with the copies that their format needs, :mod:`dse.cost.tensors.copies`), their master copy where it has
another format, gradients, optimizer states, and keys and values that products read from a cache. Gradients are counted
whole, as data-parallel and accumulating trainers hold them in one buffer.

From moment to moment: the tensors between layers. The network's layers run forward in their order and backward in the
reverse order, and each run is a moment (:func:`moments`). A tensor is there from the run that writes it to the last one
that reads it; what is read again on the way back is there until then and is the ``stash``, the rest is the ``working``
set. The error of a tensor is there from the first layer that makes a share of it to the backward run of the layer that
made the tensor, in that layer's error format; a sum passes its error on as it is. The peak is the moment that holds
most, and the parts are what is held then.

With ``recompute`` a segment of layers keeps nothing in its forward run but what later segments read, and runs again before its
backward runs; there are about sqrt(L) segments of L layers (Chen et al., Training Deep Nets with Sublinear Memory Cost,
arXiv 1604.06174). The last one's forward run is not repeated, since its backward runs follow at once.

Checked against a transformer layer's ``34 s b h + 5 a s^2 b`` bytes (Korthikanti et al., arXiv 2205.05198, equation 1):
without its masks of dropout and in two bytes throughout these are ``16 s b h + a s^2 b`` elements, ours to the element.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dse.cost.tensors.copies import Copy, copies_of, error_bits, own_bits, turned_errors, turned_weights
from dse.cost.tensors.storage import storage_of
from dse.precision.plans.plan import Plan
from dse.types import Bools, Floats, Ints
from dse.workload.model import Layer, Network
from dse.workload.work.tensors import Tensors, Use, tensors_of
from dse.workload.work.vector import optimizer_work

#: Parts of the footprint, in the order of the result's columns.
PARTS = ("weights", "master", "gradients", "optimizer", "cache", "stash", "working")


class Moment(NamedTuple):
    """One run of a layer: ``forward``, ``again`` (recomputed) or ``backward``."""

    layer: int
    run: str


class Held(NamedTuple):
    """Bits that are there from one moment to another, both included; they follow the formats of a layer."""

    part: str
    layer: int
    bits: float
    first: int
    last: int


def footprint(network: Network, plan: Plan, mode: str = "training", recompute: bool = False) -> dict[str, float]:
    """Bits of every part of :data:`PARTS` at the peak of a step of the network's batch; the peak is their sum.

    Parameters
    ----------
    mode
        ``training`` or ``inference``.
    recompute
        Keep the inputs of segments only and run the forward pass of a segment again before its backward passes.
    """
    return dict(zip(PARTS, _footprint(network, plan, mode, recompute), strict=True))


@lru_cache(maxsize=64)
def _footprint(network: Network, plan: Plan, mode: str, recompute: bool) -> tuple[float, ...]:
    items = held(network, plan, mode, recompute)
    first, last, bits = (np.array([getattr(item, name) for item in items]) for name in ("first", "last", "bits"))
    peak = int(held_bits(first, last, bits).argmax())
    result = dict.fromkeys(PARTS, 0.0)
    for item in items:
        if item.first <= peak <= item.last:
            result[item.part] += item.bits
    return tuple(result[part] for part in PARTS)


def kept_bits(network: Network, plan: Plan) -> float:
    """Bits of everything that a training step keeps for the way back, wherever its peak lies."""
    return sum(item.bits for item in held(network, plan, "training") if item.part == "stash")


def held_bits(first: Ints, last: Ints, bits: Floats) -> Floats:
    """(moments,) bits held at every moment, given what is held from which moment to which."""
    change = np.zeros(2 + int(last.max(initial=0)))
    np.add.at(change, first, bits)
    np.add.at(change, last + 1, -bits)
    return np.asarray(change.cumsum()[:-1])


def held(network: Network, plan: Plan, mode: str, recompute: bool = False) -> list[Held]:
    """Everything that is held at some moment of a step; see the module."""
    training = mode == "training"
    walk = _Walk(network.layers, moments(network.layers, training, recompute and training))
    found = tensors_of(network, training)
    passing = [item for copy in copies_of(network, plan, training) for item in walk.held(copy, found)]
    if training:
        passing += walk.beside(own_bits(network, plan, found))
        along = storage_of(network).bits(plan, "error", "backward_weight")
        passing += walk.errors(found, error_bits(network, plan) + np.where(turned_errors(network, plan), along, 0.0))
    always = _always(network, plan, training, walk.last)
    return always + [item._replace(bits=item.bits * network.batch) for item in passing if item.bits > 0]


def shortfall(memory: str, mode: str, held: float, size: float, least: str = "") -> str:
    """That a step holds more than a memory's size, and by how much."""
    return f"{memory}: a step of {mode} holds {least}{held:.0f} bits; {held - size:.0f} bits are missing"


def has_master(plan: Plan) -> Bools:
    """(layers,) whether the optimizer updates a copy of its own, in another format than the weight's."""
    return np.array([a != b for a, b in zip(plan.cells("master"), plan.cells("weight"), strict=True)])


def _always(network: Network, plan: Plan, training: bool, last: int) -> list[Held]:
    """What is held at every moment."""
    layers, storage = network.layers, storage_of(network)
    parameters = np.array([layer.parameters for layer in layers], dtype=np.float64)
    parts = {"weights": parameters * storage.bits(plan, "weight")}
    if training:
        second = storage.bits(plan, "weight", "backward_data")
        parts["weights"] = parts["weights"] + np.where(turned_weights(network, plan), parameters * second, 0.0)
        trained = np.array([layer.trained_parameters for layer in layers], dtype=np.float64)
        parts["master"] = trained * storage.bits(plan, "master") * has_master(plan)
        parts["gradients"] = trained * storage.bits(plan, "gradient")
        parts["optimizer"] = trained * storage.bits(plan, "optimizer") * optimizer_work(network.optimizer).states
    if any(layer.cached for layer in layers):
        cached = np.array([layer.second_elements * layer.cached for layer in layers], dtype=np.float64)
        bits = storage.bits(plan, "stash", tensor="second")
        parts["cache"] = network.batch * np.where(cached > 0, cached * bits, 0.0)
    return [
        Held(part, int(layer), float(bits[layer]), 0, last)
        for part, bits in parts.items()
        for layer in np.flatnonzero(bits > 0)
    ]


def segments(layers: Sequence[Layer]) -> list[int]:
    """First layers of about sqrt(L) segments with equal numbers of layers with MACs, L in all."""
    macs = [index for index, layer in enumerate(layers) if layer.has_macs]
    count = max(round(math.sqrt(len(macs))), 1)
    starts = [macs[len(macs) * part // count] for part in range(count)] if macs else [0]
    return [0, *starts[1:]]


def recomputed(layers: Sequence[Layer]) -> list[bool]:
    """Which layers run their forward pass a second time: those of segments that run backward, but for the last segment."""
    starts = segments(layers)
    result = [False] * len(layers)
    for first, end in pairwise(starts):
        result[first:end] = [any(len(layer.passes) > 1 for layer in layers[first:end])] * (end - first)
    return result


def moments(layers: Sequence[Layer], training: bool, recompute: bool = False) -> list[Moment]:
    """All runs of a step in order: forward, then backward in the reverse order, segments first forward again if recomputed."""
    course = [Moment(index, "forward") for index in range(len(layers))]
    if not training:
        return course
    starts = segments(layers) if recompute else [0]
    again = recomputed(layers) if recompute else [False] * len(layers)
    for first, end in reversed(list(pairwise([*starts, len(layers)]))):
        course += [Moment(index, "again") for index in range(first, end) if again[index]]
        course += [Moment(index, "backward") for index in reversed(range(first, end)) if len(layers[index].passes) > 1]
    return course


class _Walk:
    """When every layer runs, and what is there when."""

    def __init__(self, layers: Sequence[Layer], course: Sequence[Moment]) -> None:
        self.layers = layers
        self.last = len(course) - 1
        self.forward = [0] * len(layers)
        self.again: dict[int, int] = {}
        self.backward: dict[int, int] = {}
        for time, moment in enumerate(course):
            if moment.run == "forward":
                self.forward[moment.layer] = time
            elif moment.run == "again":
                self.again[moment.layer] = time
            else:
                self.backward[moment.layer] = time

    def runs(self, layer: int) -> list[int]:
        """Moments at which a layer runs forward."""
        return [self.forward[layer], *([self.again[layer]] if layer in self.again else [])]

    def held(self, copy: Copy, found: Tensors) -> Iterator[Held]:
        """What a copy of a tensor holds: the stash until the last who needs it on the way back, the rest while it is read."""
        tensor = found.tensors[copy.tensor]
        beside = copy.written_by if tensor.stored else -1
        written = [0] if tensor.maker < 0 and beside < 0 else self.runs(beside if beside >= 0 else tensor.born)
        ends = [*written[1:], self.last + 1]
        for number, (first, end) in enumerate(zip(written, ends, strict=True)):
            read = [time for use in copy.readers for time in self.runs(use.layer) if first <= time < end]
            kept = [use for use in copy.keepers if first <= self.backward.get(use.layer, -1) < end]
            # A layer of a later segment runs again: what it reads is kept for that.
            late = [time for time in read if number == 0 and time > self.forward[-1]]
            stash = copy.elements if late else tensor.kept(kept)
            until = max([*late, *(self.backward[use.layer] for use in kept)], default=first)
            if stash:
                yield Held("stash", copy.layer, stash * copy.bits, first, until)
            if copy.elements > stash:
                yield Held("working", copy.layer, (copy.elements - stash) * copy.bits, first, max(read, default=first))

    def beside(self, bits: Sequence[float]) -> Iterator[Held]:
        """What layers keep beside tensors, from their last forward run on."""
        for layer, width in enumerate(bits):
            if width and layer in self.backward:
                yield Held("stash", layer, width, self.runs(layer)[-1], self.backward[layer])

    def errors(self, found: Tensors, bits: Floats) -> Iterator[Held]:
        """Errors of the tensors that layers make; one that a sum passes on as it is is the error of the sum."""
        owner = list(range(len(found.tensors)))
        born: dict[int, int] = {}
        until: dict[int, int] = {}
        # Later tensors first: a sum's own error is known before those of its operands.
        for place in reversed(range(len(found.tensors))):
            tensor = found.tensors[place]
            if tensor.maker < 0 or not tensor.stored or tensor.born not in self.backward:
                continue
            shares = sorted({(self.backward[use.layer], use.layer) for use in tensor.readers if self._gives(use)})
            sums = [layer for _, layer in shares if self.layers[layer].kind == "add"]
            consumed = self.backward[tensor.born]
            if len(shares) == len(sums) == 1 and found.result[sums[0]] > place:
                owner[place] = owner[found.result[sums[0]]]
            else:
                first = shares[0][0] if shares else consumed
                if sums and shares[0][1] == sums[0] and len(shares) > 1:
                    first = shares[1][0]
                    passed = owner[found.result[sums[0]]]
                    until[passed] = max(until.get(passed, 0), first)
                born[place] = first
            until[owner[place]] = max(until.get(owner[place], 0), consumed)
        for place, first in born.items():
            tensor = found.tensors[place]
            yield Held("working", tensor.born, tensor.elements * float(bits[tensor.born]), first, until[place])

    def _gives(self, use: Use) -> bool:
        """Whether the backward runs of a layer make the error of what it reads."""
        passes = self.layers[use.layer].passes
        product = self.layers[use.layer].kind == "matmul"
        return ("backward_weight" if product and use.place == "second" else "backward_data") in passes
