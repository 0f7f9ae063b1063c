"""Which axis of a model's input is the batch, and where its samples are in all that is computed from it.

An axis is a batch where nothing reads across it. A model that was exported for one sample, such as frames of sound or an image
without a batch, has no such axis first: its convolutions, norms or attention run along it, and it is one sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dse.errors import InputError
from dse.workload.from_onnx.graph.axes import PRODUCTS, ReadAcross, carried
from dse.workload.from_onnx.graph.nodes import attributes
from dse.workload.from_onnx.graph.shapes import OnnxGraph, Shape, says_batch
from dse.workload.nests.factors import Factor, Place, placed
from dse.yaml_input import suggest

#: What a user says for a model without a batch.
NO_BATCH = "none"


@dataclass(frozen=True)
class Samples:
    """The samples of a model's inputs.

    Attributes
    ----------
    count
        Samples that the shapes hold.
    places
        Where they are in the tensors that they were followed to.
    notes
        What was assumed.
    """

    count: int = 1
    places: dict[str, Factor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_samples(graph: OnnxGraph, asked: str | None) -> Samples:
    """The batch of a model.

    Taken is what a user says; else the axis whose name says batch; else the one that a recurrent layer takes for it; else the first
    axis of the first input, unless an operator reads across it; else its second axis, of three or more; else none.

    Parameters
    ----------
    asked
        The number of an axis of the first input, the model's name for it, or ``none`` for a model of one sample.

    Raises
    ------
    InputError
        The input has no such axis.
    """
    if not graph.inputs:
        return Samples()
    name, shape = next(
        ((name, shape) for name, shape in graph.inputs.items() if len(shape) > 1), next(iter(graph.inputs.items()))
    )
    axis = _said(graph, name, shape, asked)
    if axis is not None:
        return Samples() if axis < 0 else _samples(graph, name, axis)
    if len(shape) < 2:
        return Samples()
    first = _reader(graph, name, shape, 0)
    if first is None:
        found = _samples(graph, name, 0)
        note = f"axis 0 of '{name}' {list(shape)} is the batch: no operator reads across it"
        return Samples(found.count, found.places, (note,) if found.count > 1 else ())
    told = f"'{first.name or first.op_type}' ({first.op_type}) reads across axis 0 of '{name}' {list(shape)}"
    if len(shape) > 2 and shape[1] > 1 and _reader(graph, name, shape, 1) is None:
        found = _samples(graph, name, 1)
        return Samples(found.count, found.places, (f"{told}, so axis 1 is the batch: no operator reads across it",))
    return Samples(notes=(f"{told}, so it is no batch: the model has one sample; --batch-dim says otherwise",))


def _said(graph: OnnxGraph, name: str, shape: Shape, asked: str | None) -> int | None:
    """The axis that a user, its name or a recurrent layer says; -1 for none, None if nothing is said."""
    dims = graph.dims.get(name, ())
    if asked is not None:
        if asked.lower() == NO_BATCH:
            return -1
        if asked in dims:
            return dims.index(asked)
        if asked.isdecimal() and int(asked) < len(shape):
            return int(asked)
        known = [dim for dim in dims if dim]
        named = f" or a name ({', '.join(known)})" if known else ""
        message = f"'{name}' {list(shape)} has no axis '{asked}'{suggest(asked, set(known))}"
        raise InputError("--batch-dim", [f"{message}; expected a number from 0{named}, or none"])
    for axis, dim in enumerate(dims):
        if says_batch(dim):
            return axis
    for node in graph.nodes:
        if node.op_type in ("LSTM", "GRU", "RNN") and node.input and node.input[0] == name and len(shape) == 3:
            return 0 if attributes(node).get("layout", 0) else 1
    return None


def _samples(graph: OnnxGraph, name: str, axis: int) -> Samples:
    """The samples of an axis, followed from all inputs that have them there."""
    shape = graph.inputs[name]
    if shape[axis] < 2:
        return Samples()
    places, others = _starts(graph, name, axis)
    for _ in _follow(graph, places, others):
        pass
    return Samples(shape[axis], others | places)


def _reader(graph: OnnxGraph, name: str, shape: Shape, axis: int) -> Any:
    """The first operator that reads across an axis of an input; None where there is none, as of an axis of size 1."""
    return next(_follow(graph, *_starts(graph, name, axis)), None) if shape[axis] > 1 else None


def _starts(graph: OnnxGraph, name: str, axis: int) -> tuple[dict[str, Factor], dict[str, Factor]]:
    """An axis of an input, and the same axis of other inputs where it has the same size and name."""
    size, dims = graph.inputs[name][axis], graph.dims
    same = {
        other: placed(shape, Place(axis), size)
        for other, shape in graph.inputs.items()
        if len(shape) > max(axis, 1) and shape[axis] == size and dims[other][axis] == dims[name][axis]
    }
    found = {other: factor for other, factor in same.items() if factor is not None}
    return {name: found.pop(name)}, found


def _follow(graph: OnnxGraph, places: dict[str, Factor], others: dict[str, Factor]) -> Iterator[Any]:
    """Operators that read across the axis of ``places``, which is followed from node to node, as that of ``others``; both grow.

    A product that sums over the samples of both its operands, as the gradient of a weight does, is no sign of another axis; weights
    that are different ones along the axis are.
    """
    dynamic = set(graph.inputs)
    for node in graph.nodes:
        if any(tensor in dynamic for tensor in node.input):
            dynamic.update(node.output)
        across: list[bool] = []
        for index, tensor in enumerate(node.input):
            for known in (places, others):
                if tensor not in known:
                    continue
                try:
                    found = carried(graph, node, index, known[tensor])
                    for output, factor in found.items():
                        known.setdefault(output, factor)
                    if node.op_type in PRODUCTS and known is places and _have_axis(graph, node, index, found, dynamic):
                        yield node
                except ReadAcross:
                    across.append(known is places)
                break
        if any(across) and not (node.op_type in PRODUCTS and len(across) > 1):
            yield node


def _have_axis(graph: OnnxGraph, node: Any, index: int, found: dict[str, Factor], dynamic: set[str]) -> bool:
    """Whether the constant operand of a product has the axis, that a factor of the other operand is in, too."""
    other = node.input[1 - index] if index < 2 and len(node.input) > 1 else ""
    shape, made = graph.shapes.get(other) or (), found.get(node.output[0])
    if not other or other in dynamic or made is None:
        return False
    for axis, size in enumerate(shape):
        same = placed(shape, Place(axis), made.size) if size == made.size else None
        try:
            if same is not None and carried(graph, node, 1 - index, same).get(node.output[0]) == made:
                return True
        except ReadAcross:
            continue
    return False
