"""What :func:`dse.trace` has seen so far: layers, the runs of their operators, and which tensors hold weights.

Tensors are told apart by their storages. A weight keeps being one when it is cut, cast, expanded or computed from parameters
alone (as by quantization-aware training or weight normalization): it is *derived*. Every element of a parameter belongs to the
first layer that uses it, so a table that is used again, as by a tied classifier, counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

from dse.names import PASSES
from dse.workload.from_torch.names import layer_of_parameter
from dse.workload.model import Layer
from dse.workload.nests.factors import Factor, Place, locate


class View(NamedTuple):
    """A view of a storage."""

    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class OperatorRun:
    """One forward operator of a layer, with the storages that its backward operators share.

    Attributes
    ----------
    read, weight
        Storages of its operands; activation recomputation adds those of the second time.
    macs
        Multiply-accumulates of the whole batch.
    passes
        Backward passes that were seen.
    again
        Whether it was recomputed.
    """

    read: set[int]
    weight: set[int]
    macs: int
    passes: set[str] = field(default_factory=set)
    again: bool = False


@dataclass(eq=False)
class Record:
    """A layer with its runs; a layer without MACs has its passes instead.

    ``reads`` and ``reads_second`` are the records that made its operands, None for an input of the model.
    """

    layer: Layer
    module: str = ""
    read: int = 0
    weight: int = 0
    runs: list[OperatorRun] = field(default_factory=list)
    passes: set[str] = field(default_factory=lambda: {"forward"})
    reads: list[Record | None] = field(default_factory=list)
    reads_second: list[Record | None] = field(default_factory=list)


@dataclass
class Tape:
    """The state of one trace.

    Attributes
    ----------
    batch
        Samples of the inputs.
    parameters
        Names of the parameters and buffers that a storage holds, all of them where they share it.
    sizes
        Elements of what a storage in ``parameters`` derives from, with the storage of that.
    trained
        Storages of parameters that are trained, and of what derives from them.
    records
        Layers in the order of their first run.
    made
        The record that made a storage, while a bias may still be added to it.
    learns
        Storages whose error some trained parameter needs.
    claimed
        Elements of a parameter that belong to a layer already.
    runs
        Runs by the storage of an operand.
    modules
        (path, module) of those that run, the innermost last.
    sources
        By storage, the records that made it; None for an input of the model.
    repeats
        What a view of a storage repeats; see :mod:`dse.workload.from_torch.repeats`.
    latest
        The record of the operator that runs, None while it has none.
    held
        All tensors: storages are told apart by address, so none may be freed while the model runs.
    forward
        Whether the forward pass runs.
    recomputes
        Whether parts of it ran again.
    one_sample
        Whether an operator showed that the leading axis is no batch: a convolution of other samples, or a product of two
        activations that sums over it.
    """

    batch: int
    parameters: dict[int, tuple[str, ...]]
    sizes: dict[int, tuple[int, int]]
    trained: set[int]
    records: list[Record] = field(default_factory=list)
    made: dict[int, Record] = field(default_factory=dict)
    learns: set[int] = field(default_factory=set)
    claimed: dict[int, int] = field(default_factory=dict)
    runs: dict[int, list[OperatorRun]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    modules: list[tuple[str, Any]] = field(default_factory=list)
    sources: dict[int, list[Record | None]] = field(default_factory=dict)
    repeats: dict[View, tuple[Factor, ...]] = field(default_factory=dict)
    latest: Record | None = None
    held: list[Any] = field(default_factory=list)
    forward: bool = True
    recomputes: bool = False
    one_sample: bool = False

    def per_sample(self, count: int) -> int:
        return count // self.batch if count % self.batch == 0 else count

    def derive(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Follow weights through operators that see nothing but weights; what is overwritten by others is none any more."""
        places = [storage(tensor) for tensor in inputs]
        if places and all(place in self.parameters for place in places):
            largest = max(inputs, key=lambda tensor: int(tensor.numel()))
            for place in map(storage, outputs):
                if place not in self.parameters:
                    self.parameters[place] = self.parameters[storage(largest)]
                    self.sizes[place] = self.sizes[storage(largest)]
                    self.trained |= {place} if any(other in self.trained for other in places) else set()
        else:
            for place in map(storage, outputs):
                self.parameters.pop(place, None)

    def is_weight(self, tensor: Any) -> bool:
        return storage(tensor) in self.parameters

    def copies(self, tensor: Any) -> int:
        """How often a weight was repeated before it was used, as broadcasting does for the samples of a batch."""
        return max(int(tensor.numel()) // self.sizes[storage(tensor)][1], 1)

    def repeated(self, tensor: Any) -> int:
        """How often a tensor repeats what it holds along its first axis."""
        factors = self.repeats.get(view(tensor), ())
        places = [locate(tensor.shape, factor) for factor in factors]
        return prod(
            factor.size
            for factor, place in zip(factors, places, strict=True)
            if isinstance(place, Place) and place.axis == 0
        )

    def claim(self, tensor: Any, elements: int) -> bool:
        """Whether elements of a parameter belong to the layer that asks; False if other layers have all of it."""
        base, size = self.sizes[storage(tensor)]
        taken = self.claimed.get(base, 0)
        if taken + elements > size:
            return False
        self.claimed[base] = taken + elements
        return True

    def weight_name(self, weight: Any) -> str:
        """The module of a parameter, as importing an ONNX file names it; the one that runs, if several share it."""
        module = f"{self.modules[-1][0]}." if self.modules and self.modules[-1][0] else ""
        keys = self.parameters.get(storage(weight), ())
        key = next((key for key in keys if key.startswith(module)), keys[0] if keys else "")
        recurrent = self.in_recurrent()
        stacked = recurrent and getattr(self.modules[-1][1], "num_layers", 1) > 1
        return layer_of_parameter(key, recurrent, stacked) or self.own_name("layer")

    def own_name(self, kind: str) -> str:
        """Name of what has no parameter of its own: the module that runs, and the kind where that says something new."""
        module = self.modules[-1][0] if self.modules else ""
        name = ".".join(part for part in (module, kind) if part) or kind
        return self.unique(module if module and kind in ("activation", "pool", "softmax") else name)

    def unique(self, name: str) -> str:
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}_{self.names[name]}"

    def add(self, layer: Layer, read: Any, weight: Any, macs: int, made: Any) -> None:
        """Record a layer with MACs; weights that run again on the same shape, as in every time step, make their layer run again."""
        place = storage(weight)
        run = OperatorRun({storage(read)}, {place}, macs)
        for operand in {storage(read), place}:
            self.runs.setdefault(operand, []).append(run)
        learned = self.is_weight(weight)
        at_once = self.in_recurrent() and any("weight_ih" in key for key in self.parameters.get(place, ()))
        for record in self.records if learned else ():
            if record.weight != place:
                continue
            same = replace(record.layer, repeats=1, name=layer.name, frozen=False, shared=False, bias=layer.bias)
            if replace(same, N=layer.N) == layer and at_once:
                # Without data torch takes it apart; with data, inputs of all time steps are multiplied at once.
                record.layer = replace(record.layer, N=record.layer.N + layer.N)
                record.runs.append(run)
                self.joins(record, read)
                return
            if same == layer:
                record.layer = replace(record.layer, repeats=record.layer.repeats + 1)
                record.runs.append(run)
                self.joins(record, read)
                return
        name = layer.name
        if learned:
            name = self.unique(name)
            own = self.claim(weight, layer.G * layer.K * layer.C * layer.R * layer.S)
            layer = replace(layer, frozen=place not in self.trained, shared=not own)
        record = Record(replace(layer, name=name), read=storage(read), weight=place, runs=[run])
        self.records.append(record)
        self.made[storage(made)] = record
        self.joins(record, read, None if learned else weight)

    def joins(self, record: Record, first: Any, second: Any = None) -> None:
        """Note the records that made the operands of the operator that runs, which belongs to a record."""
        self.latest = record
        for place, tensor in ((record.reads, first), (record.reads_second, second)):
            for source in self.sources.get(storage(tensor), ()) if tensor is not None else ():
                if source not in place and source is not record:
                    place.append(source)

    def add_vector(self, layer: Layer, learns: bool, first: Any = None, second: Any = None) -> None:
        """Record a layer without MACs; those of a recurrent module run in every time step."""
        passes = {"forward", *["backward_data"] * learns}
        path = self.modules[-1][0] if self.modules else ""
        if self.in_recurrent():
            for record in self.records:
                if record.module == path and replace(record.layer, name=layer.name, repeats=1) == layer:
                    record.layer = replace(record.layer, repeats=record.layer.repeats + 1)
                    self.joins(record, first, second)
                    return
        self.records.append(Record(replace(layer, name=self.own_name(layer.name)), module=path, passes=passes))
        self.joins(self.records[-1], first, second)

    def in_recurrent(self) -> bool:
        """Whether a module runs that repeats itself in every time step."""
        module = self.modules[-1][1] if self.modules else None
        return any(kind.__name__ in ("RNNBase", "RNNCellBase") for kind in type(module).__mro__)

    def seen(self, pass_: str, macs: int | None, read: set[int] | None, weight: set[int] | None) -> bool:
        """Note a backward pass at the last run that shares these operands with it and has not had it yet."""
        for place in read or weight or ():
            for run in reversed(self.runs.get(place, [])):
                shares = (read is None or run.read & read) and (weight is None or run.weight & weight)
                if shares and pass_ not in run.passes and macs in (None, run.macs):
                    run.passes.add(pass_)
                    return True
        return False

    def seen_after_recomputing(self, macs: int) -> None:
        """Note a pass of a run whose operand was computed again by operators without products: that of the last run that fits."""
        for record in reversed(self.records):
            product = record.layer.kind == "matmul"
            for run in reversed(record.runs):
                missing = [pass_ for pass_ in PASSES[1 + (not product) :] if pass_ not in run.passes]
                if self.recomputes and run.macs == macs and missing and (product or record.weight in self.trained):
                    run.passes.add(missing[-1])
                    return

    def recomputed(self, first: Any, second: Any, macs: int) -> None:
        """A forward operator that runs again during the backward pass: its backward operators share its new operands."""
        self.recomputes = True
        places = {storage(first), storage(second)}
        for record in self.records:
            for run in record.runs:
                known = run.weight & places or record.layer.kind == "matmul"
                if not run.again and run.macs == macs and known:
                    run.again = True
                    run.read.add(storage(first))
                    run.weight.add(storage(second))
                    for place in places:
                        self.runs.setdefault(place, []).append(run)
                    return


def view(tensor: Any) -> View:
    """What tells a tensor from others of the same storage."""
    return View(storage(tensor), int(tensor.storage_offset()), tuple(tensor.shape), tuple(tensor.stride()))


def storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


def leaves(torch: Any, value: Any) -> list[Any]:
    """All tensors inside of arguments or of a result."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(torch, item)]
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(torch, item)]
    return []
