"""Workload files: a network as a short list of operations, from which all loop bounds follow.

Shapes are propagated from the input, so a file says only what a designer decides: output channels, filter, stride, padding.
A repeated block is written once under ``blocks`` and called with arguments; ``residual`` and ``concat`` join branches.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.errors import InputError, Problem
from dse.shipped import find_file
from dse.workload.model import OPTIMIZERS, PASSES, Layer, Network
from dse.workload.nests import NestEntry, layer_of_entry
from dse.yaml_input import Document, Key, load_yaml, suggest, validate

#: More multiply-accumulates per sample than any network has; beyond it integers would overflow in the tables.
MAX_MACS = 2**50

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1, le=2**31)]
#: A number, or arithmetic on a block's parameters such as ``4*K``.
Value = Annotated[int, Field(ge=0, le=2**31)] | Text


PositiveValue = Annotated[int, Field(ge=1, le=2**31)] | Text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputFile(_Strict):
    """Shape of one input sample."""

    C: Positive
    H: Positive
    W: Positive


class Operation(_Strict):
    """One step of a network; which keys it needs depends on ``op``."""

    op: Literal[
        "conv", "fc", "pool", "global_pool", "norm", "relu", "pad_channels", "loss", "block", "residual", "concat"
    ]
    name: Text | None = None
    K: PositiveValue | None = None
    R: PositiveValue = 1
    S: PositiveValue | None = None
    stride: PositiveValue = 1
    pad: Value = 0
    pad_w: Value | None = None
    dilation: PositiveValue = 1
    groups: PositiveValue = 1
    bias: bool = False
    ceil: bool = False
    then: list[Literal["norm", "relu"]] = []
    of: Text | None = None
    arguments: dict[str, Value] = {}
    count: Positive = 1
    first: Annotated[int, Field(ge=0)] = 0
    main: list[Operation] = []
    shortcut: list[Operation] = []
    branches: list[list[Operation]] = []


class Block(_Strict):
    """A list of operations with parameters."""

    parameters: list[Text] = []
    layers: Annotated[list[Operation], Field(min_length=1)]


class WorkloadFile(_Strict):
    """Top level of a workload file."""

    source: Text
    batch: Positive
    samples: Positive
    epochs: Positive
    optimizer: Literal["sgd", "momentum", "adam"]
    input: InputFile | None = None
    blocks: dict[str, Block] = {}
    layers: Annotated[list[Operation], Field(min_length=1)] | None = None
    nests: Annotated[list[NestEntry], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class Tensor:
    """What flows between operations: its producer's name and shape; the network's input has no producer."""

    producer: str
    C: int
    H: int
    W: int

    @property
    def is_input(self) -> bool:
        return self.producer == ""


def load_workload(name_or_path: str | Path) -> Network:
    """Read a network.

    Parameters
    ----------
    name_or_path
        A file, or the name of a shipped workload.

    Raises
    ------
    InputError
        All problems of the file with their lines.
    """
    path = find_file(name_or_path, "workloads")
    return network_from_document(load_yaml(path), path.stem)


def network_from_document(document: Document, name: str) -> Network:
    """A network from a document that was already read."""
    file = validate(WorkloadFile, document, _one_form)
    assert file.optimizer in OPTIMIZERS
    builder = _Builder(document, file)
    builder.run()
    return Network(
        name=name,
        source=file.source,
        layers=_tied(builder.layers),
        batch=file.batch,
        samples=file.samples,
        epochs=file.epochs,
        optimizer=file.optimizer,
        path=document.source,
    )


def _one_form(file: WorkloadFile) -> list[tuple[Key, str]]:
    """A file has operations with an input, or nests."""
    if file.nests is not None:
        extra = [key for key in ("input", "blocks", "layers") if getattr(file, key)]
        return [((key,), "goes with 'layers'; a file with 'nests' has explicit bounds") for key in extra]
    return [
        ((key,), "missing; give 'input' and 'layers', or 'nests'")
        for key in ("input", "layers")
        if getattr(file, key) is None
    ]


class _Builder:
    """Walks the operations once, carrying the shape; problems are collected, each at its place in the file."""

    def __init__(self, document: Document, file: WorkloadFile) -> None:
        self.document = document
        self.file = file
        self.layers: list[tuple[Layer, str]] = []
        self.problems: list[Problem] = []
        self.names: set[str] = set()

    def run(self) -> None:
        shape, where = self.file.input, "layers" if self.file.nests is None else "nests"
        self._cycles()
        if self.file.nests is not None:
            self._nests(self.file.nests)
        elif not self.problems:
            assert shape is not None
            assert self.file.layers is not None
            self._all(self.file.layers, Tensor("", shape.C, shape.H, shape.W), "", {}, ("layers",))
        macs = sum(layer.macs for layer, _ in self.layers)
        if not self.problems and not macs:
            self.problems.append(self.document.problem((where,), "no layer multiplies; the network is empty"))
        if macs > MAX_MACS:
            self.problems.append(
                self.document.problem((where,), f"{macs:.3g} multiply-accumulates per sample; expected at most 2^50")
            )
        if self.problems:
            unique = list({str(problem): problem for problem in self.problems}.values())
            raise InputError(self.document.source, unique)

    def _nests(self, entries: list[NestEntry]) -> None:
        for index, entry in enumerate(entries):
            layer, faults = layer_of_entry(entry)
            for fault in faults:
                self.problem(("nests", index, fault.key), fault.message)
            self.add(layer, Tensor(layer.tie, 1, 1, 1), ("nests", index))

    def problem(self, path: Key, message: str) -> None:
        self.problems.append(self.document.problem(path, message))

    def _cycles(self) -> None:
        calls = {name: _calls(block.layers) for name, block in self.file.blocks.items()}
        for start in calls:
            stack: list[tuple[str, tuple[str, ...]]] = [(start, (start,))]
            while stack:
                here, trail = stack.pop()
                for called in sorted(calls.get(here, set())):
                    if called == start:
                        cycle = " -> ".join([*trail, start])
                        self.problem(("blocks", start), f"blocks call each other in a circle: {cycle}")
                        stack = []
                        break
                    if called not in trail:
                        stack.append((called, (*trail, called)))

    def _all(
        self, operations: list[Operation], tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
    ) -> Tensor:
        for index, operation in enumerate(operations):
            tensor = self._one(operation, tensor, prefix, scope, (*path, index))
        return tensor

    def _one(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        makers: dict[str, Callable[..., Tensor]] = {
            "conv": self._conv,
            "fc": self._fc,
            "pool": self._pool,
            "global_pool": self._global_pool,
            "norm": self._plain,
            "relu": self._plain,
            "loss": self._plain,
            "pad_channels": self._pad_channels,
            "block": self._block,
            "residual": self._residual,
            "concat": self._concat,
        }
        made = makers[operation.op](operation, tensor, prefix, scope, path)
        for follower in operation.then:
            kind = "activation" if follower == "relu" else follower
            layer = self._vector(f"{made.producer}.{follower}", kind, made, path)
            made = replace(made, producer=layer.name)
        return made

    def number(self, operation: Operation, key: str, scope: Mapping[str, int], path: Key, least: int) -> int:
        given = getattr(operation, key)
        if given is None:
            self.problem((*path, key), f"missing; op {operation.op} needs it")
            return 1
        value = given
        if isinstance(given, str):
            try:
                value = evaluate_expression(given, scope)
            except ValueError as error:
                self.problem((*path, key), str(error))
                return 1
        if value < least:
            self.problem(
                (*path, key),
                f"expected an integer >= {least}, got {given!r} = {value}"
                if given != value
                else f"expected an integer >= {least}, got {value}",
            )
            return max(least, 1)
        return int(value)

    def name(self, operation: Operation, prefix: str, path: Key) -> str:
        if operation.name is None:
            self.problem(path, f"missing 'name'; op {operation.op} needs one")
        return f"{prefix}{operation.name}"

    def add(self, layer: Layer, reads: Tensor, path: Key) -> Layer:
        if layer.name in self.names:
            self.problem(path, f"a layer named '{layer.name}' exists already")
        self.names.add(layer.name)
        self.layers.append((layer, reads.producer))
        return layer

    def _conv(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        channels = self.number(operation, "K", scope, path, 1)
        rows = self.number(operation, "R", scope, path, 1)
        columns = rows if operation.S is None else self.number(operation, "S", scope, path, 1)
        stride = self.number(operation, "stride", scope, path, 1)
        dilation = self.number(operation, "dilation", scope, path, 1)
        pad = self.number(operation, "pad", scope, path, 0)
        pad_w = pad if operation.pad_w is None else self.number(operation, "pad_w", scope, path, 0)
        groups = self.number(operation, "groups", scope, path, 1)
        if channels % groups or tensor.C % groups:
            self.problem((*path, "groups"), f"{groups} does not divide {tensor.C} input and {channels} output channels")
            groups = 1
        height = self.window(tensor.H, rows, stride, dilation, pad, False, path)
        width = self.window(tensor.W, columns, stride, dilation, pad_w, False, path)
        layer = Layer(
            name=self.name(operation, prefix, path),
            kind="conv",
            G=groups,
            K=channels // groups,
            C=tensor.C // groups,
            P=height,
            Q=width,
            R=rows,
            S=columns,
            stride=(stride, stride),
            dilation=(dilation, dilation),
            input_hw=(tensor.H, tensor.W),
            bias=operation.bias,
            passes=_passes(tensor),
        )
        self.add(layer, tensor, path)
        return Tensor(layer.name, channels, height, width)

    def window(self, size: int, extent: int, stride: int, dilation: int, pad: int, ceil: bool, path: Key) -> int:
        span = size + 2 * pad - dilation * (extent - 1) - 1
        if span < 0:
            self.problem(path, f"a window of {extent} does not fit an input of {size} with padding {pad}")
            return 1
        return (-(-span // stride) if ceil else span // stride) + 1

    def _fc(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        channels = self.number(operation, "K", scope, path, 1)
        layer = Layer(
            name=self.name(operation, prefix, path),
            kind="fc",
            K=channels,
            C=tensor.C * tensor.H * tensor.W,
            bias=operation.bias,
            passes=_passes(tensor),
        )
        self.add(layer, tensor, path)
        return Tensor(layer.name, channels, 1, 1)

    def _pool(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        rows = self.number(operation, "R", scope, path, 1)
        stride = self.number(operation, "stride", scope, path, 1)
        pad = self.number(operation, "pad", scope, path, 0)
        height = self.window(tensor.H, rows, stride, 1, pad, operation.ceil, path)
        width = self.window(tensor.W, rows, stride, 1, pad, operation.ceil, path)
        layer = Layer(
            name=self.name(operation, prefix, path),
            kind="pool",
            G=tensor.C,
            P=height,
            Q=width,
            R=rows,
            S=rows,
            stride=(stride, stride),
            input_hw=(tensor.H, tensor.W),
            passes=_vector_passes(tensor),
        )
        self.add(layer, tensor, path)
        return Tensor(layer.name, tensor.C, height, width)

    def _global_pool(
        self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
    ) -> Tensor:
        layer = Layer(
            name=self.name(operation, prefix, path),
            kind="pool",
            G=tensor.C,
            R=tensor.H,
            S=tensor.W,
            input_hw=(tensor.H, tensor.W),
            passes=_vector_passes(tensor),
        )
        self.add(layer, tensor, path)
        return Tensor(layer.name, tensor.C, 1, 1)

    def _pad_channels(
        self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
    ) -> Tensor:
        """Subsampling with new channels of zeros (shortcut option A of He et al.): nothing to compute, nothing to learn."""
        channels = self.number(operation, "K", scope, path, tensor.C)
        stride = self.number(operation, "stride", scope, path, 1)
        return replace(tensor, C=channels, H=-(-tensor.H // stride), W=-(-tensor.W // stride))

    def _plain(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        kind = "activation" if operation.op == "relu" else operation.op
        layer = self._vector(self.name(operation, prefix, path), kind, tensor, path)
        return replace(tensor, producer=layer.name)

    def _vector(self, name: str, kind: str, tensor: Tensor, path: Key) -> Layer:
        layer = Layer(
            name=name,
            kind=kind,
            G=tensor.C,
            P=tensor.H,
            Q=tensor.W,
            input_hw=(tensor.H, tensor.W),
            passes=_vector_passes(tensor),
        )
        return self.add(layer, tensor, path)

    def _block(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        block = self.file.blocks.get(operation.of or "")
        if block is None:
            known = self.file.blocks
            self.problem((*path, "of"), f"no block named '{operation.of}'{suggest(operation.of or '', known)}")
            return tensor
        wrong = set(operation.arguments) ^ set(block.parameters)
        if wrong:
            self.problem(
                (*path, "arguments"),
                f"block '{operation.of}' takes {', '.join(block.parameters) or 'nothing'}; "
                f"missing or unknown: {', '.join(sorted(wrong))}",
            )
            return tensor
        values: dict[str, int] = {}
        for key, given in operation.arguments.items():
            try:
                values[key] = evaluate_expression(given, scope) if isinstance(given, str) else given
            except ValueError as error:
                self.problem((*path, "arguments", key), str(error))
                return tensor
        name = self.name(operation, prefix, path)
        for number in range(operation.first, operation.first + operation.count):
            inside = "" if name == f"{prefix}." else name.replace("{i}", str(number)) + "."
            where: Key = ("blocks", operation.of or "", "layers")
            before = len(self.problems)
            tensor = self._all(block.layers, tensor, inside, values, where)
            if len(self.problems) > before:
                break
        return tensor

    def _residual(
        self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
    ) -> Tensor:
        main = self._all(operation.main, tensor, prefix, scope, (*path, "main"))
        short = self._all(operation.shortcut, tensor, prefix, scope, (*path, "shortcut"))
        if (main.C, main.H, main.W) != (short.C, short.H, short.W):
            self.problem(
                path,
                f"the branches of a residual end in {main.C}x{main.H}x{main.W} and {short.C}x{short.H}x{short.W}",
            )
            return main
        layer = self._vector(f"{prefix}{operation.name or 'add'}", "add", main, path)
        return replace(main, producer=layer.name)

    def _concat(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        ends = [
            self._all(branch, tensor, prefix, scope, (*path, "branches", index))
            for index, branch in enumerate(operation.branches)
        ]
        if not ends:
            self.problem((*path, "branches"), "missing; op concat needs at least one branch")
            return tensor
        if len({(end.H, end.W) for end in ends}) > 1:
            shapes = ", ".join(f"{end.H}x{end.W}" for end in ends)
            self.problem(path, f"branches of different size cannot be joined: {shapes}")
        return Tensor("+".join(end.producer for end in ends), sum(end.C for end in ends), ends[0].H, ends[0].W)


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def evaluate_expression(text: str, scope: Mapping[str, int]) -> int:
    """Integer arithmetic with + - * // on parameter names.

    >>> evaluate_expression("4*K//2", {"K": 64})
    128

    Raises
    ------
    ValueError
        Anything else, with the names that are known.
    """

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            if node.id not in scope:
                raise ValueError(f"'{node.id}' is no parameter here{suggest(node.id, scope)}")
            return scope[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.FloorDiv) and right == 0:
                raise ValueError(f"'{text}' divides by zero")
            return _OPERATORS[type(node.op)](left, right)
        raise ValueError(f"expected an integer or + - * // of parameters, got '{text}'")

    if len(text) > 100:
        raise ValueError("expected an integer or a short expression of parameters")
    try:
        return value(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError):
        raise ValueError(f"expected an integer or + - * // of parameters, got '{text}'") from None


def _calls(operations: list[Operation]) -> set[str]:
    found = set()
    for operation in operations:
        if operation.op == "block" and operation.of:
            found.add(operation.of)
        for inner in (operation.main, operation.shortcut, *operation.branches):
            found |= _calls(inner)
    return found


def _passes(tensor: Tensor) -> tuple[str, ...]:
    """Nothing is learned from an error of the data itself, so a layer that reads the input has no backward_data."""
    return ("forward", "backward_weight") if tensor.is_input else PASSES


def _vector_passes(tensor: Tensor) -> tuple[str, ...]:
    return ("forward",) if tensor.is_input else ("forward", "backward_data")


def _tied(layers: list[tuple[Layer, str]]) -> tuple[Layer, ...]:
    """Layers with MACs that read one tensor share its format: their tie is the tensor's producer."""
    readers: dict[str, int] = {}
    for layer, reads in layers:
        if layer.has_macs:
            readers[reads] = readers.get(reads, 0) + 1
    return tuple(
        replace(layer, tie=reads) if layer.has_macs and reads and readers[reads] > 1 else layer
        for layer, reads in layers
    )
