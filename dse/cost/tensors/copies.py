"""The copies of every tensor between layers that lie in memory: in which formats, who wrote them, who reads them when.

A tensor is stored once in each format that its readers want:

* a layer with MACs reads its operands in the plan's activation format of that layer (a cached one in its stash format)
* a norm reads its input in training in :data:`NORM_FORMAT`, or in the activation's format where that is wider, and
  keeps that: training frameworks hold what norms read in 16 bits whatever the products around them multiply
  (Micikevicius et al., arXiv 1710.03740; NVIDIA's Transformer Engine keeps the input of LayerNormLinear in bfloat16 and
  only the result in FP8). A plan that gives the layer's ``stash`` says otherwise: then the norm reads the activation's
  format and keeps that stash.
* other layers without MACs read, and keep, what is there

Where the plan gives a ``result`` (of hardware that writes wide sums), what layers with MACs write, activations forward and errors
on the way back, is there in that format alone: who multiplies it converts it at the memory port, others read it as it is.

What is kept for the way back is the copy that was read forward, or one of its own where the plan's ``stash`` has another format.
The copy that most readers want (the first of layers with MACs, else of a norm) is what the layer before writes; every
further one is written beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dse.cost.tensors.storage import Storage, storage_of
from dse.names import OPERANDS
from dse.precision.formats.properties import parse_format
from dse.precision.plans.cells import Cell, formats_of, lies_along_one_axis
from dse.precision.plans.plan import Plan, cell_bits
from dse.types import Bools, Floats
from dse.workload.model import GATES, Network
from dse.workload.work.tensors import Tensor, Tensors, Use, tensors_of

#: What norms read and keep in training, unless the plan's stash says otherwise.
NORM_FORMAT = parse_format("bf16")
#: What a tensor is requantized from.
WIDE = NORM_FORMAT
NORMS = ("norm", "layernorm")


@dataclass(frozen=True)
class Copy:
    """A tensor in one format, per sample.

    Attributes
    ----------
    tensor
        Place among :func:`dse.workload.work.tensors.tensors_of`.
    cell, bits
        Its format, and bits per element with scales.
    layer
        Place of the layer whose formats it has.
    elements, kept
        That are read forward, and that are kept for the way back.
    readers, keepers
        Who reads it forward, and who reads it again on the way back.
    written_by
        Place of the layer for which it is written beside the first copy; -1 for the first one.
    """

    tensor: int
    cell: Cell
    bits: float
    layer: int
    elements: int
    kept: int
    readers: tuple[Use, ...]
    keepers: tuple[Use, ...]
    written_by: int


@dataclass
class _Wanted:
    """A format that is wanted of a tensor, by whom."""

    cell: Cell
    bits: float
    layer: int
    readers: list[Use]
    keepers: list[Use]


def norm_cell(plan: Plan, layer: int) -> Cell:
    """In what a norm reads and keeps its input in training where the plan gives it no stash."""
    cell = plan.cells("activation")[layer]
    wider = max((form.element_bits for form in formats_of(cell)), default=0) > NORM_FORMAT.element_bits
    return cell if wider else NORM_FORMAT


def turning(plan: Plan, cell: Cell) -> str:
    """How a product that sums along another axis gets a tensor of these formats: see :data:`dse.precision.plans.plan.COPIES`."""
    return (plan.copies or "two") if lies_along_one_axis(cell) else "one"


def turned_weights(network: Network, plan: Plan, how: str = "two") -> Bools:
    """(layers,) whose weight backward_data multiplies along the other axis, and gets in a way.

    A weight without a master copy has nothing wide to be made from again, so that it is kept twice.
    """
    cells = plan.cells("weight")
    result = []
    for layer, cell, master in zip(network.layers, cells, plan.cells("master"), strict=True):
        needs = layer.has_macs and layer.kind != "matmul" and "backward_data" in layer.passes
        way = turning(plan, cell) if needs else "one"
        wide = layer.trained_parameters > 0 and master != cell
        result.append(("two" if way == "requantize" and not wide else way) == how)
    return np.array(result, dtype=bool)


def turned_errors(network: Network, plan: Plan, how: str = "two") -> Bools:
    """(layers,) whose error both backward passes multiply, along different axes, and get in a way."""
    both = [{"backward_data", "backward_weight"} <= set(layer.passes) for layer in network.layers]
    return np.array([b and turning(plan, cell) == how for b, cell in zip(both, plan.cells("error"), strict=True)])


def error_bits(network: Network, plan: Plan) -> Floats:
    """(layers,) bits per element of the error of what a layer writes: of the wide one where that is requantized."""
    wide = [turning(plan, cell) == "requantize" for cell in plan.cells("error")]
    bits = np.where(wide, WIDE.element_bits, storage_of(network).bits(plan, "error"))
    written = written_errors(network, plan)
    return np.where(np.isfinite(written), written, bits)


def written_errors(network: Network, plan: Plan) -> Floats:
    """(layers,) bits per element of the error of what a layer writes, where its readers write results in a format of their own.

    The error of a tensor is what the backward_data of its readers writes; NaN where they write what is multiplied.
    """
    bits = np.full(len(network.layers), np.nan)
    if has_result(plan):
        results = storage_of(network).bits(plan, "result")
        for tensor in tensors_of(network, True).tensors:
            written = [
                results[use.layer] for use in tensor.readers if result_cell(network, plan, use.layer) is not None
            ]
            if written and tensor.maker >= 0:
                bits[[tensor.born, tensor.maker]] = max(written)
    return bits


def result_cell(network: Network, plan: Plan, layer: int) -> Cell:
    """The format of its own in which a layer with MACs writes its results; None where it writes what its readers multiply."""
    wide = plan.table[OPERANDS.index("result")][layer]
    return wide if layer >= 0 and network.layers[layer].has_macs else None


def has_result(plan: Plan) -> bool:
    """Whether a plan gives results a format of their own somewhere."""
    return any(cell is not None for cell in plan.table[OPERANDS.index("result")])


def has_stash(plan: Plan, layer: int) -> bool:
    """Whether a plan gives a layer's stash a format of its own."""
    return plan.table[OPERANDS.index("stash")][layer] is not None


@lru_cache(maxsize=64)
def copies_of(network: Network, plan: Plan, training: bool) -> tuple[Copy, ...]:
    """All copies of all tensors between layers of a pass."""
    found = tensors_of(network, training)
    context = _Context(network, plan, storage_of(network), training)
    return tuple(copy for place, tensor in enumerate(found.tensors) for copy in context.copies(place, tensor))


class _Context:
    """What the rules of the module look at."""

    def __init__(self, network: Network, plan: Plan, storage: Storage, training: bool) -> None:
        self.network, self.layers = network, network.layers
        self.plan, self.storage, self.training = plan, storage, training
        self.activation, self.stash = plan.cells("activation"), plan.cells("stash")

    def copies(self, place: int, tensor: Tensor) -> Iterator[Copy]:
        """Copies of one tensor, the one that its maker writes first."""
        wanted: dict[tuple[Cell, str], _Wanted] = {}
        wide = result_cell(self.network, self.plan, tensor.born if tensor.maker >= 0 else -1)
        if tensor.stored and wide is not None:
            only = self._want(wanted, Use(tensor.born, "result", tensor.elements), wide, "forward")
            only.readers += tensor.readers
        elif tensor.stored:
            for use in sorted(tensor.readers, key=lambda use: not self.layers[use.layer].has_macs):
                cell = self._read(use)
                if cell is not None:
                    self._want(wanted, use, cell, "forward").readers.append(use)
            if not wanted:
                first = tensor.readers[0] if tensor.readers else Use(max(tensor.maker, 0), "result", tensor.elements)
                self._want(wanted, first, self.activation[first.layer], "forward")
        primary = next(iter(wanted.values())) if wanted else None
        if primary is not None and wide is None:
            primary.readers += [use for use in tensor.readers if self._read(use) is None]
        for use in tensor.keepers:
            cell, pass_ = (
                self._kept(use, primary) if wide is None or has_stash(self.plan, use.layer) else (wide, "forward")
            )
            self._want(wanted, use, cell, pass_).keepers.append(use)
        several = sum(bool(want.readers) for want in wanted.values()) > 1
        for want in wanted.values():
            read = min(sum(use.elements for use in want.readers), tensor.elements) if several else tensor.elements
            yield Copy(
                tensor=place,
                cell=want.cell,
                bits=want.bits,
                layer=want.layer,
                elements=read if want.readers or want is primary else 0,
                kept=tensor.kept(want.keepers),
                readers=tuple(want.readers),
                keepers=tuple(want.keepers),
                written_by=-1 if want is primary else (want.readers or want.keepers)[0].layer,
            )

    def _read(self, use: Use) -> Cell:
        """The format in which a layer wants to read a tensor; None if it takes what is there."""
        layer = self.layers[use.layer]
        if layer.has_macs:
            return self.stash[use.layer] if layer.cached and use.place == "second" else self.activation[use.layer]
        if layer.kind in NORMS and self.training:
            given = has_stash(self.plan, use.layer)
            return self.activation[use.layer] if given else norm_cell(self.plan, use.layer)
        return None

    def _kept(self, use: Use, primary: _Wanted | None) -> tuple[Cell, str]:
        """The format in which a layer keeps a tensor, and the pass along whose reduction its groups lie."""
        layer = self.layers[use.layer]
        if layer.has_macs:
            cell = self.stash[use.layer]
            if not has_stash(self.plan, use.layer) and turning(self.plan, cell) == "requantize":
                cell = WIDE
            return cell, "backward_data" if use.place == "second" else "backward_weight"
        if has_stash(self.plan, use.layer):
            return self.stash[use.layer], "forward"
        if layer.kind in NORMS:
            return norm_cell(self.plan, use.layer), "forward"
        return (self.activation[use.layer] if primary is None else primary.cell), "forward"

    def _want(self, wanted: dict[tuple[Cell, str], _Wanted], use: Use, cell: Cell, pass_: str) -> _Wanted:
        key = (cell, pass_ if turning(self.plan, cell) == "two" else "")
        if key not in wanted:
            place = use.place if use.place in ("second", "result") else "input"
            matrix = self.storage.matrices[place, "forward" if place == "result" else pass_][use.layer]
            wanted[key] = _Wanted(cell, cell_bits(cell, matrix), use.layer, [], [])
        return wanted[key]


class Turned(NamedTuple):
    """Elements that a layer converts to a format once more in a pass, and the bits that are written of them."""

    pass_: str
    layer: int
    cell: Cell
    elements: float
    written_bits: float


@dataclass(frozen=True)
class Stored:
    """How the tensors of a network lie in memory under a plan, as traffic needs it; bits and elements are of the whole batch.

    Attributes
    ----------
    input_bits
        (layers,) bits per element that a layer without MACs reads forward.
    result_bits
        (layers,) bits that a layer writes forward for each element of its result.
    written
        (layers,) bits written beside results: further copies, and what is kept that is no tensor.
    converted
        (layer, format, elements) of what is written so.
    kept
        (layers,) bits that the backward pass of a layer without MACs reads of what was kept, in one sweep.
    turned
        What is converted again so that its groups lie along the other axis.
    memory_bits
        By operand (``input``, ``second``) of a layer with MACs and whether it is read forward or on the way back: (layers,) bits
        per element in memory, where that is not what is multiplied; NaN where it is. Empty without results of their own format.
    wanted, asked, assumed
        (layers,) bits of the results that readers with MACs want, by reader and by writer, and of the same results in the formats
        of the layers that write them: what is written is the former (:func:`dse.cost.steps.step.step_costs`).
    """

    input_bits: Floats
    result_bits: Floats
    written: Floats
    converted: tuple[tuple[int, Cell, float], ...]
    kept: Floats
    turned: tuple[Turned, ...] = ()
    memory_bits: Mapping[tuple[str, bool], Floats] = field(default_factory=dict)
    wanted: Floats = field(default_factory=lambda: np.zeros(0))
    asked: Floats = field(default_factory=lambda: np.zeros(0))
    assumed: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def as_read_bits(self) -> Floats:
        """(layers,) bits that each layer writes beyond its own format, because its readers want others."""
        return np.asarray(self.asked - self.assumed)


@lru_cache(maxsize=64)
def stored_tensors(network: Network, plan: Plan, training: bool) -> Stored:
    """What of tensors is written and read beside the operands of products.

    A result has the layer's own activation format where its time is counted, unless a norm or the plan's ``result`` decides.
    """
    layers, batch = network.layers, network.batch
    found, copies = tensors_of(network, training), copies_of(network, plan, training)
    storage = storage_of(network)
    own, width = storage.bits(plan, "activation"), storage.bits(plan, "stash")
    result = storage.bits(plan, "activation", tensor="result")
    written, kept = np.zeros(len(layers)), np.zeros(len(layers))
    read, count = np.zeros(len(layers)), np.zeros(len(layers))
    converted = []
    memory = {(place, back): np.full(len(layers), np.nan) for place in ("input", "second") for back in (False, True)}
    whole = {"input": [layer.input_elements for layer in layers], "second": [layer.second_elements for layer in layers]}
    wanted, asked, assumed = (np.zeros(len(layers)) for _ in range(3))
    for copy in copies:
        tensor = found.tensors[copy.tensor]
        wide = tensor.maker >= 0 and result_cell(network, plan, tensor.born) is not None and copy.written_by < 0
        by_norm = wide or (training and layers[copy.layer].kind in NORMS and copy.written_by < 0)
        for back, uses in enumerate((copy.readers, copy.keepers) if wide else ()):
            for use in uses:
                if layers[use.layer].has_macs:
                    # Of tensors side by side each has its share.
                    target, share = memory[use.place, bool(back)], use.elements / max(whole[use.place][use.layer], 1)
                    before = own[use.layer] if np.isnan(target[use.layer]) else target[use.layer]
                    target[use.layer] = before + share * (copy.bits - own[use.layer])
        first = copy.written_by < 0 and copy.readers and layers[copy.layer].has_macs
        if first and not by_norm and tensor.maker >= 0 and layers[tensor.born].has_macs:
            wanted[copy.layer] += tensor.elements * batch * copy.bits
            asked[tensor.born] += tensor.elements * batch * copy.bits
            assumed[tensor.born] += tensor.elements * batch * result[tensor.born]
        if by_norm and tensor.maker >= 0:
            # A function that is applied as it is written belongs to it.
            result[[tensor.born, tensor.maker]] = copy.bits
        for use in copy.readers:
            read[use.layer] += use.elements * (copy.bits if by_norm else own[use.layer])
            count[use.layer] += use.elements
        for use in copy.keepers:
            kept[use.layer] += use.elements * copy.bits * batch
        if copy.written_by >= 0:
            elements = float(max(copy.elements, copy.kept)) * batch
            written[copy.written_by] += elements * copy.bits
            converted.append((copy.written_by, copy.cell, elements))
    for layer, (elements, bits) in enumerate(zip(found.own, found.bits, strict=True)):
        beside = (elements * width[layer] if elements else 0.0) + bits
        written[layer] += beside * batch
        kept[layer] += beside * batch
        if elements:
            converted.append((layer, plan.cells("stash")[layer], float(elements) * batch))
    for tensor in found.tensors:
        # The product with the state is the gates' second operand.
        gates = {layers[use.layer].function if use.place == "second" else "" for use in tensor.readers}
        if tensor.maker >= 0 and gates and gates <= set(GATES):
            # Gates are applied as the sums of a time step are written: what is written is the state.
            result[tensor.maker] /= GATES[gates.pop()]
    inputs = np.where(count > 0, read / np.where(count > 0, count, 1.0), own)
    turned = tuple(_turned(network, plan, copies)) if training else ()
    if has_result(plan):
        turned += tuple(_converted_where_read(network, plan, memory, training))
    memory = memory if has_result(plan) else {}
    return Stored(inputs, result, written, tuple(converted), kept, turned, memory, wanted, asked, assumed)


def copies_notes(network: Network, plans: Sequence[Plan], training: bool) -> tuple[str, ...]:
    """Sentences about tensors that layers with MACs read in several formats: how many, and the first of them."""
    told: dict[str, int] = {}
    for plan in plans:
        if len({*plan.cells("activation"), *plan.cells("stash")}) == 1:
            continue
        readers: dict[int, dict[str, list[str]]] = {}
        for copy in copies_of(network, plan, training):
            names = [network.layers[use.layer].name for use in copy.readers if network.layers[use.layer].has_macs]
            if names:
                forms = " and ".join(form.name for form in formats_of(copy.cell))
                readers.setdefault(copy.tensor, {}).setdefault(forms, []).extend(names)
        several = [found for found in readers.values() if len(found) > 1]
        if several:
            each = "; ".join(f"{', '.join(dict.fromkeys(names))} in {form}" for form, names in several[0].items())
            more = f" (and {len(several) - 1} more tensors so)" if len(several) > 1 else ""
            text = f"one tensor is read by {each}: it is written and held once for each format{more}"
            told[text] = told.get(text, 0) + 1
    return tuple(told)


def _turned(network: Network, plan: Plan, copies: Sequence[Copy]) -> Iterator[Turned]:
    """Second copies that passes and the optimizer write, and conversions from wide ones where they read."""
    layers, batch, storage = network.layers, network.batch, storage_of(network)
    rows = {operand: plan.cells(operand) for operand in ("weight", "error", "stash")}
    weight, error = storage.bits(plan, "weight", "backward_data"), storage.bits(plan, "error", "backward_weight")
    for layer in np.flatnonzero(turned_weights(network, plan)).tolist():
        count = float(layers[layer].trained_parameters)
        yield Turned("optimizer", layer, rows["weight"][layer], count, count * float(weight[layer]))
    for layer in np.flatnonzero(turned_weights(network, plan, "requantize")).tolist():
        yield Turned("backward_data", layer, rows["weight"][layer], float(layers[layer].trained_parameters), 0.0)
    for layer in np.flatnonzero(turned_errors(network, plan)).tolist():
        count = float(layers[layer].output_elements) * batch
        yield Turned("backward_weight", layer, rows["error"][layer], count, count * float(error[layer]))
    for layer in np.flatnonzero(turned_errors(network, plan, "requantize")).tolist():
        for pass_ in ("backward_data", "backward_weight"):
            yield Turned(pass_, layer, rows["error"][layer], float(layers[layer].output_elements) * batch, 0.0)
    for copy in copies:
        for use in copy.keepers:
            cell = rows["stash"][use.layer]
            if layers[use.layer].has_macs and copy.cell == WIDE != cell:
                pass_ = "backward_data" if use.place == "second" else "backward_weight"
                yield Turned(pass_, use.layer, cell, float(use.elements) * batch, 0.0)


def _converted_where_read(
    network: Network, plan: Plan, memory: Mapping[tuple[str, bool], Floats], training: bool
) -> Iterator[Turned]:
    """What layers with MACs read of results in a format of their own and convert to the one that they multiply."""
    activation, error = plan.cells("activation"), plan.cells("error")
    errors = written_errors(network, plan)
    for index, layer in enumerate(network.layers):
        if not layer.has_macs:
            continue
        operands = (("input", layer.input_elements), ("second", layer.second_elements))
        for pass_ in layer.passes if training else ("forward",):
            for place, elements in operands:
                back = {"input": "backward_weight", "second": "backward_data"}[place]
                if pass_ in ("forward", back) and np.isfinite(memory[place, pass_ == back][index]):
                    yield Turned(pass_, index, activation[index], float(elements) * network.batch, 0.0)
            if pass_ != "forward" and np.isfinite(errors[index]):
                yield Turned(pass_, index, error[index], float(layer.output_elements) * network.batch, 0.0)


def own_bits(network: Network, plan: Plan, found: Tensors) -> list[float]:
    """Bits per sample that each layer keeps beside tensors: gates and cell states in its stash format, and single bits."""
    width = storage_of(network).bits(plan, "stash")
    return [
        (own * float(bits) if own else 0.0) + single
        for own, single, bits in zip(found.own, found.bits, width, strict=True)
    ]
