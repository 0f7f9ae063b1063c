"""From the operations of a workload file to layers: walks them once, carrying the shape of what flows.

Problems are collected, each at its place in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dse.errors import InputError, Problem
from dse.names import PASSES
from dse.workload.from_file.blocks import circles, unrolled
from dse.workload.from_file.expressions import evaluate_expression
from dse.workload.from_file.keys import unused
from dse.workload.from_file.nests import NestEntry, layer_of_entry
from dse.workload.from_file.schema import ACTIVATIONS, SAMPLE_NORMS, Operation, WorkloadFile
from dse.workload.model import Layer
from dse.workload.nests.bounds import MAX_BOUND, MAX_LAYERS, size_fault, total_fault
from dse.yaml_input import Document, Key, suggest

#: Most blocks inside of each other.
MAX_DEPTH = 50
#: Problems after which a file is given up.
MOST_PROBLEMS = 500


@dataclass(frozen=True)
class Tensor:
    """What flows between operations.

    Attributes
    ----------
    producer
        Name of the layer that made it; the network's input has none.
    C, H, W, D
        Channels, height, width and depth; tokens of a sequence are the height.
    learns
        Whether something is trained before it, so that its error is needed.
    """

    producer: str
    C: int
    H: int
    W: int
    learns: bool = False
    D: int = 1

    @property
    def pixels(self) -> int:
        return self.D * self.H * self.W

    @property
    def shape(self) -> str:
        """Sizes for messages; a depth only where there is one."""
        return "x".join(map(str, (self.C, *[self.D] * (self.D > 1), self.H, self.W)))

    def size(self, axis: str) -> int:
        """Size along D, H or W."""
        return {"D": self.D, "H": self.H, "W": self.W}[axis]

    def sized(self, sizes: Mapping[str, int]) -> Tensor:
        """The same tensor with other sizes along some of D, H and W."""
        of = {axis: sizes.get(axis, self.size(axis)) for axis in "DHW"}
        return replace(self, D=of["D"], H=of["H"], W=of["W"])

    def as_tokens(self, count: int) -> Tensor:
        """A sequence of so many tokens with the same features."""
        return replace(self, D=1, H=count, W=1)


@dataclass(frozen=True)
class Mixture:
    """A mixture of experts: how many there are, how many of them a token takes, and how tokens choose them."""

    experts: int
    active: int
    routing: str


class Builder:
    """The state of one walk; see the module."""

    def __init__(self, document: Document, file: WorkloadFile, makers: Mapping[str, Maker]) -> None:
        self.makers = makers
        self.document = document
        self.file = file
        self.layers: list[tuple[Layer, str]] = []
        self.problems: list[Problem] = []
        self.names: set[str] = set()
        #: Outputs of layers, for those who come back to them.
        self.outputs: dict[str, Tensor] = {}
        #: Inside of a mixture.
        self.mixture: Mixture | None = None
        #: Producers of tensors that are joined channel by channel.
        self.joined: dict[str, tuple[str, ...]] = {}
        self.adapted: set[str] = set()
        #: Operations so far, and blocks that the one at hand is inside of.
        self.steps = 0
        self.depth = 0

    def run(self) -> None:
        shape, where = self.file.input, "layers" if self.file.nests is None else "nests"
        self._blocks()
        if self.file.nests is not None:
            self._nests(self.file.nests)
        elif not self.problems:
            assert shape is not None
            assert self.file.layers is not None
            self.problems += [self.document.problem(path, message) for path, message in unused(self.file)]
            start = Tensor("", shape.C, shape.tokens or shape.H or 1, shape.W or 1, D=shape.D or 1)
            self.all(self.file.layers, start, "", {}, ("layers",))
            missing = sorted(set(self.file.lora.layers) - self.adapted) if self.file.lora is not None else []
            if missing:
                self.problem(("lora", "layers"), f"no linear layer is called {', '.join(missing)}")
        layers = [layer for layer, _ in self.layers]
        if not self.problems and not any(layer.has_macs for layer in layers):
            self.problem((where,), "no layer multiplies; the network is empty")
        if not self.problems and (wrong := total_fault(layers, self.file.batch)):
            self.problem((where,), wrong)
        if self.problems:
            unique = list({str(problem): problem for problem in self.problems}.values())
            raise InputError(self.document.source, unique)

    def _nests(self, entries: list[NestEntry]) -> None:
        self.problems += [self.document.problem(path, message) for path, message in unused(self.file)]
        every = {entry.name for entry in entries}
        for index, entry in enumerate(entries):
            layer, faults = layer_of_entry(entry)
            for fault in faults:
                self.problem(("nests", index, fault.key), fault.message)
            if layer.name in self.names:
                self.problem(("nests", index), f"a layer named '{layer.name}' exists already")
            # A recurrent layer reads the state of the time step before, which a later layer makes.
            known = self.names if layer.repeats == 1 else every
            for key in ("reads", "reads_second"):
                for number, name in enumerate(getattr(layer, key)):
                    if name and name not in known:
                        message = f"no earlier layer named '{name}'{suggest(name, known)}"
                        self.problem(("nests", index, key, number), message)
            if not faults and (wrong := size_fault(layer, self.file.batch)):
                self.problem(("nests", index), wrong)
            self.names.add(layer.name)
            self.layers.append((layer, layer.tie))

    def problem(self, path: Key, message: str) -> None:
        self.problems.append(self.document.problem(path, message))
        if len(self.problems) >= MOST_PROBLEMS:
            raise InputError(self.document.source, self.problems)

    def _blocks(self) -> None:
        """Blocks that nobody could build: in a circle, or more operations than a network has."""
        for start, circle in circles(self.file):
            self.problem(("blocks", start), f"blocks call each other in a circle: {circle}")
        if not self.problems and unrolled(self.file, MAX_DEPTH) > MAX_LAYERS:
            self.problem(("layers",), f"the file unrolls to more than {MAX_LAYERS:,} operations, which is the limit")

    def all(
        self, operations: list[Operation], tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
    ) -> Tensor:
        for index, operation in enumerate(operations):
            tensor = self._one(operation, tensor, prefix, scope, (*path, index))
        return tensor

    def _one(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        self.step(path)
        made = self.makers[operation.op](self, operation, tensor, prefix, scope, path)
        for follower in operation.then:
            made = self.apply(follower, f"{made.producer}.{follower}", made, path)
        if made.producer:
            self.outputs[made.producer] = made
        return made

    def step(self, path: Key) -> None:
        """Count an operation, or a layer of one that makes several; a file that unrolls without end ends here."""
        self.steps += 1
        if self.steps > MAX_LAYERS:
            self.problem(path, f"here the file unrolls to more than {MAX_LAYERS} operations, which is the limit")
            raise InputError(self.document.source, self.problems)

    def apply(self, op: str, name: str, tensor: Tensor, path: Key, frozen: bool = False) -> Tensor:
        """A norm or an element-wise function of what a layer made."""
        kind = "activation" if op in ACTIVATIONS else "layernorm" if op in SAMPLE_NORMS else op
        learned = kind in ("norm", "layernorm")
        frozen = learned and (frozen or self.file.lora is not None)
        layer = self.vector(
            name,
            kind,
            tensor,
            path,
            bias=kind == "layernorm" and op != "rmsnorm",
            frozen=frozen,
            function=op if kind == "activation" else "",
        )
        return replace(tensor, producer=layer.name, learns=tensor.learns or (learned and not frozen))

    def number(self, operation: Operation, key: str, scope: Mapping[str, int], path: Key, least: int) -> int:
        """What a key of an operation is, in numbers."""
        given = getattr(operation, key)
        if given is None:
            self.problem((*path, key), f"missing; op {operation.op} needs it")
            return 1
        return self._integer(given, scope, (*path, key), least)

    def numbers(
        self,
        operation: Operation,
        key: str,
        axes: int,
        scope: Mapping[str, int],
        path: Key,
        least: int,
        ends: bool = False,
    ) -> list[int]:
        """A key that may have one number for every axis; with ``ends`` those of the beginnings and then of the ends."""
        given = getattr(operation, key)
        counts = (axes, 2 * axes) if ends else (axes,)
        if not isinstance(given, list):
            return [self.number(operation, key, scope, path, least)] * counts[-1]
        if len(given) not in counts:
            wanted = " or ".join(map(str, (1, *counts) if axes > 1 else counts))
            self.problem(
                (*path, key), f"expected {wanted} numbers for the {axes} axes of op {operation.op}, got {len(given)}"
            )
            return [least] * counts[-1]
        values = [self._integer(item, scope, (*path, key, index), least) for index, item in enumerate(given)]
        return values * (counts[-1] // len(values))

    def _integer(self, given: int | str, scope: Mapping[str, int], path: Key, least: int) -> int:
        value = given
        if isinstance(value, str):
            try:
                value = evaluate_expression(value, scope)
            except ValueError as error:
                self.problem(path, str(error))
                return max(least, 1)
        shown = f"{given!r} = {value:.3g}" if given != value and value > MAX_BOUND else f"{given!r} = {value}"
        if not least <= value <= MAX_BOUND + 1:
            rule = f"expected an integer >= {least}" if value < least else "expected at most 2^31"
            self.problem(path, f"{rule}, got {value if given == value else shown}")
            return max(least, 1)
        return int(value)

    def name(self, operation: Operation, prefix: str, path: Key) -> str:
        if operation.name is None:
            self.problem(path, f"missing 'name'; op {operation.op} needs one")
        return f"{prefix}{operation.name}"

    def add(self, layer: Layer, reads: Tensor, path: Key, second: Tensor | None = None) -> Layer:
        """Add a layer that reads a tensor, or two."""
        if layer.name in self.names:
            self.problem(path, f"a layer named '{layer.name}' exists already")
        if wrong := size_fault(layer, self.file.batch):
            self.problem(path, wrong)
        self.names.add(layer.name)
        layer = replace(
            layer, reads=self.producers(reads), reads_second=() if second is None else self.producers(second)
        )
        self.layers.append((layer, reads.producer))
        return layer

    def producers(self, tensor: Tensor) -> tuple[str, ...]:
        """Names of the layers that made a tensor; an empty one for an input of the network."""
        return self.joined.get(tensor.producer, (tensor.producer,))

    def join(self, *producers: str) -> str:
        """The producer of tensors that stand side by side in one."""
        name = "+".join(producers)
        self.joined[name] = tuple(part for one in producers for part in self.joined.get(one, (one,)))
        return name

    def _input(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        """A second input of the network."""
        channels, depth, height, width = (self.number(operation, key, scope, path, 1) for key in ("C", "D", "H", "W"))
        return Tensor("", channels, height, width, D=depth)

    def _from(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        """The output of an earlier layer."""
        found = self.outputs.get(operation.of or "")
        if found is None:
            self.problem(
                (*path, "of"), f"no earlier layer named '{operation.of}'{suggest(operation.of or '', self.outputs)}"
            )
            return tensor
        return found

    def _plain(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        return self.apply(operation.op, self.name(operation, prefix, path), tensor, path, operation.frozen)

    def vector(
        self,
        name: str,
        kind: str,
        tensor: Tensor,
        path: Key,
        bias: bool = False,
        frozen: bool = False,
        second: Tensor | None = None,
        function: str = "",
    ) -> Layer:
        """A layer without MACs over all elements of a tensor, or of two."""
        layer = Layer(
            name=name,
            kind=kind,
            G=tensor.C,
            P=tensor.D * tensor.H,
            Q=tensor.W,
            input_hw=(tensor.D * tensor.H, tensor.W),
            bias=bias,
            frozen=frozen,
            passes=vector_passes(tensor),
            function=function,
        )
        return self.add(layer, tensor, path, second)

    def frozen(self, operation: Operation) -> bool:
        """Whether a layer's own parameters are not trained."""
        return operation.frozen or self.file.lora is not None

    def passes(self, operation: Operation, tensor: Tensor) -> tuple[str, ...]:
        """Passes of a layer with weights: no error for what nobody learns from, no gradient for what is frozen."""
        wanted = {"forward": True, "backward_data": tensor.learns, "backward_weight": not self.frozen(operation)}
        return tuple(pass_ for pass_ in PASSES if wanted[pass_])

    def learns(self, operation: Operation, tensor: Tensor) -> bool:
        return tensor.learns or not self.frozen(operation)

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
        if self.depth >= MAX_DEPTH:
            self.problem(path, f"blocks inside of blocks more than {MAX_DEPTH} deep, which is the limit")
            return tensor
        self.depth += 1
        for number in range(operation.first, operation.first + operation.count):
            inside = "" if name == f"{prefix}." else name.replace("{i}", str(number)) + "."
            where: Key = ("blocks", operation.of or "", "layers")
            before = len(self.problems)
            tensor = self.all(block.layers, tensor, inside, values, where)
            if len(self.problems) > before:
                break
        self.depth -= 1
        return tensor

    def _join(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        """Sum or product of two branches; the shortcut may be one value per channel."""
        main = self.all(operation.main, tensor, prefix, scope, (*path, "main"))
        short = self.all(operation.shortcut, tensor, prefix, scope, (*path, "shortcut"))
        if main.C != short.C or (short.D, short.H, short.W) not in ((main.D, main.H, main.W), (1, 1, 1)):
            self.problem(path, f"the branches of a {operation.op} end in {main.shape} and {short.shape}")
            return main
        kind = "add" if operation.op == "residual" else "multiply"
        both = replace(main, learns=main.learns or short.learns)
        layer = self.vector(f"{prefix}{operation.name or kind}", kind, both, path, second=short)
        return replace(both, producer=layer.name)

    def _concat(self, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key) -> Tensor:
        ends = [
            self.all(branch, tensor, prefix, scope, (*path, "branches", index))
            for index, branch in enumerate(operation.branches)
        ]
        if not ends:
            self.problem((*path, "branches"), "missing; op concat needs at least one branch")
            return tensor
        if len({(end.D, end.H, end.W) for end in ends}) > 1:
            shapes = ", ".join(end.shape for end in ends)
            self.problem(path, f"branches of different size cannot be joined: {shapes}")
        learns = any(end.learns for end in ends)
        joined = self.join(*(end.producer for end in ends))
        return replace(ends[0], producer=joined, C=sum(end.C for end in ends), learns=learns)


def vector_passes(tensor: Tensor) -> tuple[str, ...]:
    """Passes of a layer without MACs."""
    return ("forward", "backward_data") if tensor.learns else ("forward",)


Maker = Callable[[Builder, Operation, Tensor, str, Mapping[str, int], Key], Tensor]

#: Makers of the operations of this module.
MAKERS: Mapping[str, Maker] = {
    "input": Builder._input,
    "from": Builder._from,
    "block": Builder._block,
    "residual": Builder._join,
    "product": Builder._join,
    "concat": Builder._concat,
    **dict.fromkeys(("norm", "softmax", "loss", *ACTIVATIONS, *SAMPLE_NORMS), Builder._plain),
}
