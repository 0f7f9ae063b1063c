"""``dse import``: an ONNX model as a network, with the formats of a quantized one and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from dse.errors import InputError, Problem
from dse.workload.from_onnx.flow.flow import Flow, Made, Unknown, Unsupported
from dse.workload.from_onnx.flow.repeats import follow
from dse.workload.from_onnx.flow.samples import find_samples
from dse.workload.from_onnx.formats import quantizers
from dse.workload.from_onnx.formats.operands import formats_of_layers, is_same
from dse.workload.from_onnx.graph.bodies import JOINT
from dse.workload.from_onnx.graph.control_flow import WrittenOut, write_out
from dse.workload.from_onnx.graph.nodes import MULTIPLYING
from dse.workload.from_onnx.graph.read import check_graph, onnx_library, read_model
from dse.workload.from_onnx.graph.rewrite import rewrite
from dse.workload.from_onnx.graph.shapes import OnnxGraph, Shape, resolve_shapes
from dse.workload.from_onnx.imported import Imported, shares
from dse.workload.from_onnx.names import layer_names
from dse.workload.from_onnx.operators.contrib import CONTRIBUTED, is_contributed, stand_in
from dse.workload.from_onnx.operators.learned import initializer_shapes, learned_tables, softmax_inputs, with_bias
from dse.workload.from_onnx.operators.table import FREE, HANDLERS, LEARNED, MOVING
from dse.workload.layer import Layer, tied_inputs
from dse.workload.model import Network
from dse.workload.nests.bounds import batch_problem

#: Data types of indices and shapes (int32, int64, bool), and how many of them a shape has at most.
_INTEGERS = (6, 7, 9)
_FEW = 64


def import_onnx(
    path: str | Path,
    *,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    name: str | None = None,
    batch_dim: str | None = None,
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
    batch_dim
        The axis of the first input that is the batch, by number or name, or ``none`` for a model of one sample; default: see
        :func:`dse.workload.from_onnx.flow.samples.find_samples`.

    Raises
    ------
    InputError
        onnx is not installed; everything that is wrong with the file, see :mod:`dse.workload.from_onnx.graph.read`; a layer with
        MACs of unknown shape; no layer with MACs at all.
    """
    source = str(path)
    if batch is not None and (problem := batch_problem(batch)):
        raise InputError("--batch", [problem])
    model = read_model(path)
    onnx = onnx_library("dse import")
    dims = dict(dims or {})
    written = WrittenOut()
    if any(item.HasField("g") for node in model.graph.node for item in node.attribute):
        written = write_out(onnx, model, dims, lambda copy: _shapes(onnx, copy, source, dims))
        check_graph(onnx, model, source)
    names = {
        node.output[0]: name
        for node, name in zip(model.graph.node, layer_names(model.graph), strict=True)
        if node.output
    }
    rewrite(onnx, model, names)
    graph = resolve_shapes(
        model, source, {key: size for key, size in dims.items() if key not in written.told}, _stand_in
    )
    samples = find_samples(graph, batch_dim)
    flow = Flow(graph, samples.count, samples.places, notes=list(samples.notes))
    flow.trips, flow.notes = written.trips, [*written.notes, *flow.notes]
    flow.dynamic |= {*graph.inputs, *written.states}
    flow.sampled |= {name for name in graph.inputs if name in samples.places} | written.states
    flow.errors |= written.states
    flow.sources |= dict.fromkeys(graph.inputs, ("",))
    layers, skipped = _walk(flow, names, source)
    made = _tied(graph, layers)
    total = sum(each.layer.macs for each in made)
    if not total:
        raise InputError(source, ["has no layer with multiply-accumulates; the network would be empty"])
    network = Network(
        name=name or Path(source).stem,
        source=f"imported from {Path(source).name}"
        + (f", produced by {_plain(model.producer_name)}" if model.producer_name else ""),
        layers=tied_inputs(each.layer for each in made),
        batch=batch or samples.count,
        samples=batch or samples.count,
        epochs=1,
    ).check_sizes(source)
    formats = formats_of_layers(graph, made, flow.notes)
    return Imported(network, formats, shares(graph, skipped, total), tuple(dict.fromkeys(flow.notes)))


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


def _walk(flow: Flow, names: Mapping[str, str], source: str) -> tuple[list[tuple[Made, Any]], list[tuple[Any, float]]]:
    """Layers with their nodes, and the skipped nodes with their MACs (NaN if unknown)."""
    layers: list[tuple[Made, Any]] = []
    skipped: list[tuple[Any, float]] = []
    makers = {output: node for node in flow.graph.nodes for output in node.output}
    tables: set[str] = set()
    products: dict[str, Made] = {}
    scores, initializers = softmax_inputs(flow), initializer_shapes(flow)
    for node in flow.graph.nodes:
        if not _runs(flow, node):
            continue
        flow.dynamic.update(name for name in node.output if name)
        if any(name in flow.sampled for name in node.input):
            flow.sampled.update(name for name in node.output if name)
        follow(flow, node)
        biased = with_bias(flow, node, products)
        if biased is not None:
            layers = [
                (
                    made._replace(layer=replace(made.layer, bias=True))
                    if made.layer.name == biased.layer.name
                    else made,
                    maker,
                )
                for made, maker in layers
            ]
            flow.sources |= dict.fromkeys(node.output, (biased.layer.name,))
            flow.errors.update(node.output)
            continue
        converts = is_same(flow.graph, node)
        if converts and node.output and node.input[0] in products:
            products[node.output[0]] = products[node.input[0]]
        learned = learned_tables(flow, node, initializers, tables, scores)
        layers += [(made, node) for made in learned]
        flow.sources |= {made.layer.name: (made.layer.name,) for made in learned}
        name = names.get(node.output[0], node.name) if node.output else node.name
        found, missed = ([], 0.0) if converts else _layers_of(flow, node, name, source)
        found = [made._replace(layer=_running(made.layer, flow.trips.get(node.output[0], 1))) for made in found]
        joint = node.name.endswith(JOINT)
        if (
            not found
            and not converts
            and not joint
            and node.op_type not in FREE
            and not _computes_shapes(flow.graph, node)
        ):
            skipped.append((node, missed))
        found = [made._replace(layer=_owned(flow, makers, tables, made)) for made in found]
        if len(found) == 1 and node.output:
            products[node.output[0]] = found[0]
        trained = any(made.layer.parameters or made.layer.shared for made in found) or node.op_type in LEARNED
        if trained or any(tensor in flow.errors for tensor in node.input):
            flow.errors.update(tensor for tensor in node.output if tensor)
        found = _wired(flow, node, found)
        makes = (found[-1].layer.name,) if found else flow.made_by(*node.input)
        flow.sources |= {tensor: makes for tensor in node.output if tensor}
        layers += [(made, node) for made in found]
    return layers, skipped


def _running(layer: Layer, trips: int) -> Layer:
    """A layer of a body that runs several times."""
    return layer if trips == 1 else replace(layer, repeats=layer.repeats * trips)


def _shapes(onnx: Any, model: Any, source: str, dims: Mapping[str, int]) -> OnnxGraph:
    """Shapes of a model whose loops are not written out yet."""
    loops = {node.name for node in model.graph.node if node.op_type in ("Loop", "Scan")}
    rewrite(onnx, model, {})
    return resolve_shapes(model, source, {key: size for key, size in dims.items() if key not in loops}, _stand_in)


def _wired(flow: Flow, node: Any, found: list[Made]) -> list[Made]:
    """Layers of a node with the layers that they read: those of their own operands, or of the node's, then one another."""
    operands = [names for tensor in node.input if (names := flow.made_by(tensor))]
    result: list[Made] = []
    for made in found:
        layer = made.layer
        if layer.has_macs and made.read and not layer.reads:
            second = flow.made_by(made.weight) if layer.kind == "matmul" else ()
            layer = replace(layer, reads=flow.made_by(made.read) or second, reads_second=second)
        elif not layer.reads and (result or operands):
            reads = (result[-1].layer.name,) if result else operands.pop(0)
            pair = layer.kind in ("matmul", "add", "multiply", "activation") and bool(operands)
            layer = replace(layer, reads=reads, reads_second=operands.pop(0) if pair else ())
        result.append(made._replace(layer=layer))
    return result


def _layers_of(flow: Flow, node: Any, name: str, source: str) -> tuple[list[Made], float]:
    """Layers of one node, and the MACs per sample that are missed where there are none.

    Raises
    ------
    InputError
        It multiplies, and its shapes are not known.
    """
    missed = 0.0 if node.op_type in MOVING else float("nan")
    standard = node.domain in ("", "ai.onnx") or is_contributed(node)
    handler = (CONTRIBUTED.get(node.op_type) if is_contributed(node) else None) or (
        HANDLERS.get(node.op_type) if standard else None
    )
    if handler is None:
        return [], missed
    try:
        return handler(flow, node, name), missed
    except Unsupported as error:
        return [], error.macs
    except (Unknown, IndexError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        if node.op_type in MULTIPLYING or node.op_type in CONTRIBUTED:
            # What follows a tensor of unknown shape is unknown too: only the first one is news.
            told = str(error) if isinstance(error, Unknown) else "its inputs are not those of such an operator"
            raise InputError(source, [Problem(f"layer '{name}' ({node.op_type})", told)]) from None
        return [], 0.0


def _owned(flow: Flow, makers: Mapping[str, Any], tables: set[str], made: Made) -> Layer:
    """A layer that says whether its weights are those of an earlier one."""
    layer = made.layer
    if layer.kind not in ("conv", "fc", "embedding") or not made.weight or not flow.is_constant(made.weight):
        return layer
    table = made.weight
    while table in makers and makers[table].input:
        if not is_same(flow.graph, makers[table]) and makers[table].op_type != "Transpose":
            break
        table = makers[table].input[0]
    shared = table in tables
    tables.add(table)
    return replace(layer, shared=shared)


def _stand_in(onnx: Any, node: Any, known: Mapping[str, Shape]) -> tuple[list[Any], list[Any]] | None:
    if is_contributed(node):
        return stand_in(onnx, node, known)
    nodes = quantizers.stand_in(onnx, node)
    return (nodes, []) if nodes else None


def _computes_shapes(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node makes nothing but a few integers: arithmetic on shapes, no work."""
    sizes = [prod(graph.shapes.get(name) or (1,)) for name in node.output if name]
    return all(graph.types.get(name) in _INTEGERS for name in node.output if name) and max(sizes, default=0) <= _FEW


def _runs(flow: Flow, node: Any) -> bool:
    """Whether a node depends on an input; what does not was computed when the model was made."""
    return any(name in flow.dynamic for name in node.input) or any(
        item.HasField("g") or item.graphs for item in node.attribute
    )


def _tied(graph: OnnxGraph, layers: list[tuple[Made, Any]]) -> list[Made]:
    """Layers with MACs that read the same tensor share its format."""
    behind = {
        node.output[0]: node.input[0] for node in graph.nodes if node.input and node.output and is_same(graph, node)
    }

    def origin(name: str) -> str:
        while name in behind:
            name = behind[name]
        return name

    maker = {node.output[0]: made.layer.name for made, node in layers if node.output}
    readers: dict[str, int] = {}
    for made, _ in layers:
        if made.layer.has_macs and made.read:
            readers[origin(made.read)] = readers.get(origin(made.read), 0) + 1
    result = []
    for made, _ in layers:
        read = origin(made.read) if made.layer.has_macs else ""
        shared = bool(read) and readers[read] > 1
        result.append(made._replace(layer=replace(made.layer, tie=maker.get(read, read))) if shared else made)
    return result


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:80]
