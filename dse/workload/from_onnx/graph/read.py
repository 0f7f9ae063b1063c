"""Reading an ONNX file that may be broken or hostile: versions, names, functions, initializers, the order of its operators."""

from __future__ import annotations

import importlib
from functools import lru_cache
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dse.errors import InputError, Problem
from dse.files import read_bytes

#: A protobuf message cannot be larger.
MAX_FILE_BYTES = 2**31 - 1


#: Largest size of a dimension that is believed.
MAX_DIM = 2**31


#: Axes of a tensor that are believed.
MAX_AXES = 64


#: Operators with products that ONNX defines by a function of others (onnx, docs/Operators.md).
_DEFINED = {("", "CausalConvWithState"), ("", "LinearAttention"), ("ai.onnx.preview", "FlexAttention")}


#: Nodes of a graph; the largest public ones have some ten thousand.
MAX_NODES = 50_000


def onnx_library(verb: str) -> Any:
    """The ``onnx`` package, or one sentence that names the extra."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise InputError(
            verb, ["'onnx' is not installed; it comes with the extra: pip install 'lowprec-dse[onnx]'"]
        ) from None


def read_model(path: str | Path) -> Any:
    """Read and check an ``onnx.ModelProto``; external data stays where it is.

    Raises
    ------
    InputError
        No such file, no ONNX model, a version from the future, a graph that is empty, cyclic or reads what nothing makes, external
        data outside the model's folder, initializers whose data do not have the size of their shape.
    """
    onnx = onnx_library("dse import")
    source = str(path)
    data = read_bytes(path, MAX_FILE_BYTES, "an ONNX file, with weights as external data if need be")
    if not data:
        raise InputError(source, ["the file is empty; expected an ONNX model"])
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        text = " ".join(str(error).split()) or "not a protobuf message"
        raise InputError(source, [f"is no ONNX model, or a truncated one: {text}"]) from None
    del data
    _check_versions(onnx, model, source)
    _check_names(model, source)
    model = inlined(onnx, model, source)
    check_graph(onnx, model, source)
    return model


def check_graph(onnx: Any, model: Any, source: str) -> None:
    """Check names, initializers and the order of the operators, which are sorted if need be.

    Raises
    ------
    InputError
        See :func:`read_model`.
    """
    _check_names(model, source)
    problems = [*_initializer_problems(onnx, model.graph), *_graph_problems(model.graph)]
    if problems:
        raise InputError(source, problems)


def _check_versions(onnx: Any, model: Any, source: str) -> None:
    if not model.graph.node:
        raise InputError(source, ["has no graph with operators; it is empty, or no ONNX model"])
    if len(model.graph.node) > MAX_NODES:
        raise InputError(source, [f"has {len(model.graph.node):,} operators; expected at most {MAX_NODES:,}"])
    if model.ir_version > onnx.IR_VERSION:
        message = (
            f"has IR version {model.ir_version}; the installed onnx {onnx.__version__} knows up to {onnx.IR_VERSION}"
        )
        raise InputError(source, [f"{message}, so update it"])
    newest = onnx.defs.onnx_opset_version()
    found = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not found:
        raise InputError(source, ["names no operator set of ONNX (opset_import); export it again"])
    if not 1 <= found[0] <= newest:
        message = f"uses operator set {found[0]}; the installed onnx {onnx.__version__} knows 1 to {newest}"
        raise InputError(source, [message])


def _check_names(model: Any, source: str) -> None:
    """Names are text; the protobuf library gives bytes where they are not."""
    graph = model.graph
    names: list[Any] = [model.producer_name, *(item.domain for item in model.opset_import)]
    names += [item.name for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info)]
    names += [entry.key for item in graph.initializer for entry in item.external_data]
    names += [entry.value for item in graph.initializer for entry in item.external_data]
    names += [dim.dim_param for item in graph.input for dim in item.type.tensor_type.shape.dim]
    names += [name for item in model.functions for name in (item.domain, item.name, *item.input, *item.output)]
    for node in (*graph.node, *(node for item in model.functions for node in item.node)):
        names += [
            node.name,
            node.op_type,
            node.domain,
            *node.input,
            *node.output,
            *(item.name for item in node.attribute),
        ]
    if not all(isinstance(name, str) for name in names):
        raise InputError(source, ["has names that are no UTF-8 text; the file is damaged"])


def inlined(onnx: Any, model: Any, source: str) -> Any:
    """The model with its local functions written out, and standard operators that ONNX itself defines by products."""
    if not model.functions:
        return _by_definition(model)
    calls = {(item.domain, item.name): {(node.domain, node.op_type) for node in item.node} for item in model.functions}
    depth = dict.fromkeys(calls, 0)
    for _ in range(len(calls) + 1):
        changed = False
        for name, called in calls.items():
            below = 1 + max((depth[other] for other in called if other in depth), default=-1)
            changed |= below != depth[name]
            depth[name] = below
        if not changed:
            break
    else:
        raise InputError(source, ["has functions that call each other in a circle"])
    if max(depth.values()) > 20:
        raise InputError(source, ["has functions nested more than 20 deep"])
    size = dict.fromkeys(calls, 0)
    bodies = {(item.domain, item.name): [(node.domain, node.op_type) for node in item.node] for item in model.functions}
    for name in sorted(calls, key=lambda key: depth[key]):
        size[name] = sum(size.get(other, 1) for other in bodies[name])
    if sum(size.get((node.domain, node.op_type), 1) for node in model.graph.node) > MAX_NODES:
        raise InputError(source, [f"has more than {MAX_NODES:,} operators once its functions are written out"])
    try:
        inliner = importlib.import_module("onnx.inliner")
        return _by_definition(inliner.inline_local_functions(model))
    except Exception as error:
        raise InputError(source, [f"its functions cannot be written out: {first_line(error)}"]) from None


def _by_definition(model: Any) -> Any:
    """The model with operators that multiply and have no layer written out as the standard defines them.

    Where the library cannot do that, as with inputs left out, they stay and are named as skipped.
    """
    found = sorted({(node.domain, node.op_type) for node in model.graph.node} & _DEFINED)
    for function in found:
        try:
            inliner = importlib.import_module("onnx.inliner")
            written = inliner.inline_selected_functions(model, [function], inline_schema_functions=True)
        except Exception:
            continue
        model = written if len(written.graph.node) <= MAX_NODES else model
    return model


def _initializer_problems(onnx: Any, graph: Any) -> list[Problem]:
    problems = []
    for item in graph.initializer:
        where = f"initializer '{item.name}'"
        if len(item.dims) > MAX_AXES:
            problems.append(Problem(where, f"has {len(item.dims):,} axes; expected at most {MAX_AXES}"))
        elif any(size < 0 or size > MAX_DIM for size in item.dims) or prod(item.dims) > 2**42:
            problems.append(Problem(where, f"no tensor has the shape {list(item.dims)}"))
        elif item.data_location == onnx.TensorProto.EXTERNAL:
            location = {entry.key: entry.value for entry in item.external_data}.get("location", "")
            parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
            rooted = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
            if not location or rooted or ".." in parts:
                problems.append(
                    Problem(where, f"external data at '{location}' is outside the folder of the model; refused")
                )
        elif item.HasField("raw_data"):
            bits = _bits_of_type(onnx, item.data_type)
            expected = -(-prod(item.dims) * bits // 8)
            if bits and len(item.raw_data) != expected:
                message = f"holds {len(item.raw_data):,} bytes, its shape {list(item.dims)} needs {expected:,}"
                problems.append(Problem(where, message))
        elif item.float_data or item.int64_data or item.double_data:
            count = len(item.float_data) + len(item.int64_data) + len(item.double_data)
            if count not in (prod(item.dims), 2 * prod(item.dims)):
                problems.append(Problem(where, f"holds {count:,} values, its shape is {list(item.dims)}"))
    return problems


def _graph_problems(graph: Any) -> list[Problem]:
    """Nodes that read what nothing makes, tensors made twice, circles; sorts the nodes if they are out of order."""
    known = {item.name for item in (*graph.input, *graph.initializer)}
    known |= {item.values.name for item in graph.sparse_initializer} | {""}
    maker: dict[str, int] = {}
    problems = []
    for index, node in enumerate(graph.node):
        for output in node.output:
            if output and (output in maker or output in known):
                problems.append(Problem(_label(node, index), f"makes '{output}', which exists already"))
            maker.setdefault(output, index)
    waiting = []
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        sources = {maker[name] for name in node.input if name in maker and name not in known}
        missing = [name for name in node.input if name not in maker and name not in known]
        if missing:
            problems.append(Problem(_label(node, index), f"reads '{missing[0]}', which nothing makes"))
        waiting.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(index)
    if problems:
        return problems
    order = [index for index, count in enumerate(waiting) if not count]
    for index in order:
        for reader in readers.get(index, []):
            waiting[reader] -= 1
            if not waiting[reader]:
                order.append(reader)
    if len(order) < len(graph.node):
        stuck = [_label(graph.node[i], i) for i, count in enumerate(waiting) if count][:4]
        return [Problem("graph", f"its operators wait for each other in a circle: {', '.join(stuck)}")]
    if any(source > reader for source, all_ in readers.items() for reader in all_):
        nodes = [copied(graph.node[index]) for index in order]
        del graph.node[:]
        graph.node.extend(nodes)
    return []


def copied(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _bits_of_type(onnx: Any, kind: int) -> int:
    """Bits of an element; 0 for types without a fixed size."""
    name = onnx.TensorProto.DataType.Name(kind) if kind in onnx.TensorProto.DataType.values() else ""
    sizes = {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8, "COMPLEX64": 64, "COMPLEX128": 128, "BFLOAT16": 16}
    if name in sizes:
        return sizes[name]
    if name.startswith("FLOAT8"):
        return 8
    digits = "".join(character for character in name if character.isdigit())
    return (
        int(digits)
        if name.startswith(("INT", "UINT", "FLOAT16", "FLOAT4")) and digits.isdigit() and len(digits) <= 2
        else 0
    )


@lru_cache(maxsize=256)
def bits_of_type(kind: int) -> int:
    """Bits of an element of a ``TensorProto`` data type; 0 if it has no fixed size."""
    return _bits_of_type(onnx_library("dse import"), kind)


def _label(node: Any, index: int) -> str:
    return f"node '{node.name}'" if node.name else f"node {index} ({node.op_type})"


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
