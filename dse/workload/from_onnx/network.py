"""``dse import``: an ONNX model as a network, with the formats of a quantized one and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from dse.errors import InputError, Problem
from dse.workload.bounds import check_sizes
from dse.workload.from_onnx.branches import inline_branches
from dse.workload.from_onnx.flow import Flow, Unknown, Unsupported, attributes
from dse.workload.from_onnx.formats import SAME, formats_of_layers
from dse.workload.from_onnx.names import layer_names
from dse.workload.from_onnx.operators.contrib import CONTRIBUTED, is_contributed, stand_in
from dse.workload.from_onnx.operators.learned import initializer_shapes, learned_tables, softmax_inputs, with_bias
from dse.workload.from_onnx.operators.rewrite import rewrite
from dse.workload.from_onnx.operators.table import FREE, HANDLERS, LEARNED, MOVING, MULTIPLYING
from dse.workload.from_onnx.read import bits_of_type, check_graph, onnx_library, read_model
from dse.workload.from_onnx.shapes import OnnxGraph, Shape, resolve_shapes
from dse.workload.model import Layer, Network

#: Data types of indices and shapes (int32, int64, bool), and how many of them a shape has at most.
_INTEGERS = (6, 7, 9)
_FEW = 64


@dataclass(frozen=True)
class Skipped:
    """Operators of one kind that make no layer.

    Attributes
    ----------
    operator, count
        Kind and number.
    macs_share
        Share of the network's multiply-accumulates; NaN where they are not known.
    traffic_share
        Share of all bits that the graph's operators read and write.
    """

    operator: str
    count: int
    macs_share: float
    traffic_share: float


@dataclass(frozen=True)
class Imported:
    """Result of :func:`import_onnx`.

    Attributes
    ----------
    network
        Layers under the model's own names.
    formats
        Names of the number formats of (weight, activation) by layer with MACs; empty if nothing is quantized.
    skipped
        What makes no layer, the largest share first.
    """

    network: Network
    formats: Mapping[str, tuple[str, str]]
    skipped: tuple[Skipped, ...]


def import_onnx(
    path: str | Path, *, batch: int | None = None, dims: Mapping[str, int] | None = None, name: str | None = None
) -> Imported:
    """Read an ONNX model; weights and external data are not loaded.

    Parameters
    ----------
    batch
        Samples per step of the network; default: those of the model's first input. Its layers are per sample either way.
    dims
        Sizes of the dimensions that the model leaves open, by name.
    name
        Of the network; default: the file's without suffix.

    Raises
    ------
    InputError
        onnx is not installed; everything that is wrong with the file, see :func:`dse.workload.from_onnx.read.read_model`; a layer
        with MACs of unknown shape; no layer with MACs at all.
    """
    source = str(path)
    if batch is not None and not 1 <= batch <= 2**31:
        raise InputError("--batch", [f"expected an integer from 1 to 2^31, got {batch}"])
    model = read_model(path)
    onnx = onnx_library("dse import")
    if inline_branches(onnx, model):
        check_graph(onnx, model, source)
    names = {
        node.output[0]: name
        for node, name in zip(model.graph.node, layer_names(model.graph), strict=True)
        if node.output
    }
    rewrite(onnx, model, names)
    graph = resolve_shapes(model, source, dims or {}, _stand_in)
    samples = _samples(graph)
    flow = Flow(graph, samples)
    flow.dynamic |= set(graph.inputs)
    flow.sources |= dict.fromkeys(graph.inputs, ("",))
    layers, skipped = _walk(flow, names, source)
    layers = _tied(graph, layers)
    total = sum(layer.macs for layer, _ in layers)
    if not total:
        raise InputError(source, ["has no layer with multiply-accumulates; the network would be empty"])
    check_sizes(source, [layer for layer, _ in layers], batch or samples)
    network = Network(
        name=name or Path(source).stem,
        source=f"imported from {Path(source).name}"
        + (f", produced by {_plain(model.producer_name)}" if model.producer_name else ""),
        layers=tuple(layer for layer, _ in layers),
        batch=batch or samples,
        samples=batch or samples,
        epochs=1,
    )
    formats = formats_of_layers(graph, layers)
    return Imported(network, formats, _shares(graph, skipped, total))


def read_dims(options: Sequence[str]) -> dict[str, int]:
    """Sizes of open dimensions from ``NAME=VALUE``.

    Raises
    ------
    InputError
        Something else.
    """
    result = {}
    for option in options:
        name, equals, value = option.rpartition("=")
        if not equals or not name or not value.strip().isdecimal():
            raise InputError("--dim", [f"expected NAME=VALUE with an integer, such as sequence=128, got '{option}'"])
        result[name] = int(value[:20])
    return result


def _samples(graph: OnnxGraph) -> int:
    """Samples that the first input holds: its leading axis, or the second one where a recurrent layer reads it step by step."""
    if not graph.inputs:
        return 1
    first, shape = next(iter(graph.inputs.items()))
    by_step = any(
        node.op_type in ("LSTM", "GRU", "RNN") and node.input[0] == first and not attributes(node).get("layout", 0)
        for node in graph.nodes
        if node.input
    )
    axis = 1 if by_step else 0
    return max(shape[axis], 1) if len(shape) > axis + 1 else 1


def _walk(flow: Flow, names: Mapping[str, str], source: str) -> tuple[list[tuple[Layer, Any]], list[tuple[Any, float]]]:
    """Layers with their nodes, and the skipped nodes with their MACs (NaN if unknown)."""
    layers: list[tuple[Layer, Any]] = []
    skipped: list[tuple[Any, float]] = []
    makers = {output: node for node in flow.graph.nodes for output in node.output}
    tables: set[str] = set()
    products: dict[str, Layer] = {}
    scores, initializers = softmax_inputs(flow), initializer_shapes(flow)
    for node in flow.graph.nodes:
        if not _runs(flow, node):
            continue
        flow.dynamic.update(name for name in node.output if name)
        biased = with_bias(flow, node, products)
        if biased is not None:
            layers[:] = [
                (replace(layer, bias=True) if layer.name == biased.name else layer, maker) for layer, maker in layers
            ]
            flow.sources |= dict.fromkeys(node.output, (biased.name,))
            flow.errors.update(node.output)
            continue
        if node.op_type in SAME and node.input[0] in products and node.output:
            products[node.output[0]] = products[node.input[0]]
        learned = learned_tables(flow, node, initializers, tables, scores)
        layers += [(layer, node) for layer in learned]
        flow.sources |= {layer.name: (layer.name,) for layer in learned}
        name = names.get(node.output[0], node.name) if node.output else node.name
        made: list[Layer] = []
        missed = 0.0 if node.op_type in MOVING else float("nan")
        standard = node.domain in ("", "ai.onnx") or is_contributed(node)
        handler = (CONTRIBUTED.get(node.op_type) if is_contributed(node) else None) or (
            HANDLERS.get(node.op_type) if standard else None
        )
        if handler is not None:
            try:
                made = handler(flow, node, name)
            except Unsupported as error:
                missed = error.macs
            except (Unknown, IndexError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
                if node.op_type in MULTIPLYING or node.op_type in CONTRIBUTED:
                    # What follows a tensor of unknown shape is unknown too: only the first one is news.
                    told = str(error) if isinstance(error, Unknown) else "its inputs are not those of such an operator"
                    raise InputError(source, [Problem(f"layer '{name}' ({node.op_type})", told)]) from None
                missed = 0.0
        if not made and node.op_type not in FREE and not _computes_shapes(flow.graph, node):
            skipped.append((node, missed))
        if len(made) == 1 and made[0].kind in ("conv", "fc", "embedding"):
            table = _table(flow, makers, node)
            made = [replace(made[0], shared=table in tables)]
            tables.add(table)
            products[node.output[0]] = made[0]
        trained = any(layer.parameters or layer.shared for layer in made) or node.op_type in LEARNED
        if trained or any(tensor in flow.errors for tensor in node.input):
            flow.errors.update(tensor for tensor in node.output if tensor)
        made = _wired(flow, node, made)
        makes = (made[-1].name,) if made else flow.made_by(*node.input)
        flow.sources |= {tensor: makes for tensor in node.output if tensor}
        layers += [(layer, node) for layer in made]
    return layers, skipped


def _wired(flow: Flow, node: Any, made: list[Layer]) -> list[Layer]:
    """Layers of a node with the layers that they read: their own, or the operands of the node, then one another."""
    operands = [names for tensor in node.input if (names := flow.made_by(tensor))]
    result: list[Layer] = []
    for layer in made:
        if not layer.reads and (result or operands):
            reads = (result[-1].name,) if result else operands.pop(0)
            pair = layer.kind in ("matmul", "add", "multiply", "activation") and bool(operands)
            layer = replace(layer, reads=reads, reads_second=operands.pop(0) if pair else ())
        result.append(layer)
    return result


def _stand_in(onnx: Any, node: Any, known: Mapping[str, Shape]) -> tuple[list[Any], list[Any]] | None:
    return stand_in(onnx, node, known) if is_contributed(node) else None


def _computes_shapes(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node makes nothing but a few integers: arithmetic on shapes, no work."""
    sizes = [prod(graph.shapes.get(name) or (1,)) for name in node.output if name]
    return all(graph.types.get(name) in _INTEGERS for name in node.output if name) and max(sizes, default=0) <= _FEW


def _runs(flow: Flow, node: Any) -> bool:
    """Whether a node depends on an input; what does not was computed when the model was made."""
    return any(name in flow.dynamic for name in node.input) or any(
        item.HasField("g") or item.graphs for item in node.attribute
    )


def _table(flow: Flow, makers: Mapping[str, Any], node: Any) -> str:
    """The initializer that holds the weights of a layer, behind transposes and conversions."""
    constants = [
        name for name in node.input if name and flow.is_constant(name) and len(flow.graph.shapes.get(name) or ()) > 1
    ]
    name = str(constants[0]) if constants else ""
    while name in makers and makers[name].op_type in (*SAME, "Transpose") and makers[name].input:
        name = str(makers[name].input[0])
    return name or str(node.output[0])


def _tied(graph: OnnxGraph, layers: list[tuple[Layer, Any]]) -> list[tuple[Layer, Any]]:
    """Layers with MACs that read the same tensor share its format."""
    behind = {
        node.output[0]: node.input[0] for node in graph.nodes if node.op_type in SAME and node.input and node.output
    }

    def origin(name: str) -> str:
        while name in behind:
            name = behind[name]
        return name

    made = {node.output[0]: layer.name for layer, node in layers if node.output}
    readers: dict[str, int] = {}
    for layer, node in layers:
        if layer.has_macs:
            readers[origin(node.input[0])] = readers.get(origin(node.input[0]), 0) + 1
    result = []
    for layer, node in layers:
        read = origin(node.input[0]) if layer.has_macs else ""
        shared = bool(read) and readers[read] > 1 and read not in graph.inputs
        result.append((replace(layer, tie=made.get(read, read)) if shared else layer, node))
    return result


def _shares(graph: OnnxGraph, skipped: list[tuple[Any, float]], macs: int) -> tuple[Skipped, ...]:
    """Skipped operators by kind, with their shares."""

    def bits(node: Any) -> float:
        tensors = [name for name in (*node.input, *node.output) if name]
        return float(
            sum(prod(graph.shapes.get(name) or (0,)) * bits_of_type(graph.types.get(name, 0)) for name in tensors)
        )

    traffic = sum(bits(node) for node in graph.nodes if node.op_type not in FREE) or 1.0
    known = macs + sum(missed for _, missed in skipped if missed == missed)
    kinds: dict[str, list[tuple[Any, float]]] = {}
    for node, missed in skipped:
        kinds.setdefault(
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}", []
        ).append((node, missed))
    rows = [
        Skipped(
            kind,
            len(items),
            sum(missed for _, missed in items) / known,
            sum(bits(node) for node, _ in items) / traffic,
        )
        for kind, items in kinds.items()
    ]
    return tuple(sorted(rows, key=lambda row: (row.macs_share == row.macs_share, -row.macs_share, -row.traffic_share)))


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:80]


def import_summary(found: Imported) -> list[str]:
    """What was read and what was left out, one sentence a line."""
    net = found.network
    lines = [
        f"{len(net.mac_layers)} layers with MACs, {len(net.vector_layers)} without; "
        f"{net.macs / 1e9:.6g} GMAC per sample, {net.parameters / 1e6:.6g} M parameters"
    ]
    for item in found.skipped:
        macs = (
            "an unknown share of the MACs"
            if item.macs_share != item.macs_share
            else f"{item.macs_share:.1%} of the MACs"
        )
        lines.append(
            f"skipped {item.operator} x{item.count}: {macs}, {item.traffic_share:.1%} of the bytes that operators move"
        )
    return lines


def plan_formats(found: Imported, source: str) -> dict[str, dict[str, str] | str]:
    """Formats of a quantized model as :meth:`dse.Plan.from_formats` takes them; errors have the activation's width in FP32.

    Raises
    ------
    InputError
        Nothing is quantized.
    """
    if not found.formats:
        raise InputError(source, ["has no quantized layer, so there is no plan to write; leave out --plan"])
    weight = {name: pair[0] for name, pair in found.formats.items()}
    activation = {name: pair[1] for name, pair in found.formats.items()}
    return {"weight": weight, "activation": activation, "error": "fp32"}
