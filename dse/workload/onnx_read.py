"""Reading an ONNX file that may be broken or hostile, and the shape of every tensor in it.

Only the graph is read: external data is never opened, large initializers are dropped before shapes are inferred, and nothing is
executed but integer arithmetic on shapes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dse.errors import InputError, Problem
from dse.yaml_input import suggest

#: A protobuf message cannot be larger.
MAX_FILE_BYTES = 2**31 - 1
#: Largest size of a dimension that is believed.
MAX_DIM = 2**31
#: Axes of a tensor that are believed.
MAX_AXES = 64
#: Elements of a tensor whose values are kept: shapes, axes and scales are smaller.
MAX_KEPT = 4096
#: Rounds of shape inference; each resolves the shapes that were computed from those of the round before.
MAX_ROUNDS = 6
#: Nodes of a graph; the largest public ones have some ten thousand.
MAX_NODES = 50_000

#: Operators that compute shapes from shapes, folded where the inference of the library stops.
_FOLDED = frozenset((
    "Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Add", "Sub", "Mul", "Div", "Mod",
    "Neg", "Abs", "Min", "Max", "Equal", "Less", "Greater", "Where", "Not", "And", "Or", "Range", "ConstantOfShape",
    "Expand", "Reshape", "Identity", "Floor", "Ceil", "Sqrt", "Pow", "ReduceProd", "ReduceSum", "ReduceMax",
    "ReduceMin", "Transpose", "LessOrEqual", "GreaterOrEqual",
))  # fmt: skip

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """A graph with the shapes of its tensors.

    Attributes
    ----------
    source
        The file.
    nodes
        In topological order.
    initializers
        Shape by name.
    inputs
        Shape by name of what a user feeds.
    shapes
        Shape of each tensor, None where it could not be inferred.
    types
        ``TensorProto`` data type of each tensor, 0 where unknown.
    values
        Small constant tensors as arrays.
    """

    source: str
    nodes: tuple[Any, ...]
    initializers: Mapping[str, Shape]
    inputs: Mapping[str, Shape]
    shapes: Mapping[str, Shape | None]
    types: Mapping[str, int]
    values: Mapping[str, Any]


def onnx_library(verb: str) -> Any:
    """The ``onnx`` package, or one sentence that names the extra."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise InputError(verb, ["'onnx' is not installed; it comes with the extra: pip install 'dse[onnx]'"]) from None


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
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise InputError(source, ["is larger than 2 GB; no ONNX file can be, save its weights as external data"])
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(source, ["no such file"]) from None
    except IsADirectoryError:
        raise InputError(source, ["is a folder; expected an ONNX file"]) from None
    except OSError as error:
        raise InputError(source, [f"cannot be read: {error.strerror}"]) from None
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
    model = _inlined(onnx, model, source)
    problems = [*_initializer_problems(onnx, model.graph), *_graph_problems(model.graph)]
    if problems:
        raise InputError(source, problems[:20])
    return model


StandIn = Callable[[Any, Any, Mapping[str, Shape]], tuple[list[Any], list[Any]] | None]


def resolve_shapes(model: Any, source: str, dims: Mapping[str, int], stand_in: StandIn) -> OnnxGraph:
    """Infer the shape of every tensor.

    Parameters
    ----------
    dims
        Size of each dimension that the model leaves open, by the model's name for it, or as ``input[axis]``. The first dimension of
        inputs is the batch and 1 if not given.
    stand_in
        Standard nodes, with initializers, that have the output shapes of a node which the library does not know; None for others.

    Raises
    ------
    InputError
        Open dimensions that are not given, names that the model does not have, shapes that contradict each other.
    """
    onnx = onnx_library("dse import")
    graph = model.graph
    constant = {item.name for item in graph.initializer} | {item.values.name for item in graph.sparse_initializer}
    given = [item for item in graph.input if item.name not in constant]
    _set_inputs(given, source, dims)
    values = _small_values(onnx, graph)
    for item in graph.initializer:
        if item.name not in values:
            for field in (
                "raw_data",
                "float_data",
                "int32_data",
                "int64_data",
                "double_data",
                "uint64_data",
                "string_data",
            ):
                item.ClearField(field)
    own = {output for node in graph.node if node.domain not in ("", "ai.onnx") for output in node.output}
    kept = [item for item in graph.value_info if item.name in own and _fixed(item)]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for item in graph.output:
        if item.type.HasField("tensor_type"):
            item.type.tensor_type.ClearField("shape")
    # Before IR version 4 every initializer had to be an input as well, those that are folded here too.
    model.ir_version = max(model.ir_version, 4)
    originals = [_copy(node) for node in graph.node]
    known = {item.name: tuple(item.dims) for item in graph.initializer}
    known |= {item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim) for item in given}
    nodes = []
    for node in originals:
        found = stand_in(onnx, node, known)
        nodes += [node] if found is None else found[0]
        graph.initializer.extend([] if found is None else found[1])
    del graph.node[:]
    graph.node.extend(nodes)
    shapes, types = _inferred(onnx, model, source, values)
    return OnnxGraph(
        source=source,
        nodes=tuple(originals),
        initializers={item.name: tuple(item.dims) for item in graph.initializer},
        inputs={item.name: shapes[item.name] or () for item in given},
        shapes=shapes,
        types=types,
        values=values,
    )


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


def _inlined(onnx: Any, model: Any, source: str) -> Any:
    """The model with its local functions written out."""
    if not model.functions:
        return model
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
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise InputError(source, [f"its functions cannot be written out: {_first_line(error)}"]) from None


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
        nodes = [_copy(graph.node[index]) for index in order]
        del graph.node[:]
        graph.node.extend(nodes)
    return []


def _set_inputs(given: Sequence[Any], source: str, dims: Mapping[str, int]) -> None:
    """Write sizes into the open dimensions of the inputs."""
    problems = []
    names: set[str] = set()
    for item in given:
        where = f"input '{item.name}'"
        if not item.type.HasField("tensor_type"):
            if item.type.WhichOneof("value") is not None:
                problems.append(Problem(where, "is no tensor; only tensors can be imported"))
            else:
                problems.append(Problem(where, "has no type; export the model with input shapes"))
            continue
        if not item.type.tensor_type.HasField("shape"):
            problems.append(Problem(where, "has no shape; export the model with input shapes"))
            continue
        if len(item.type.tensor_type.shape.dim) > MAX_AXES:
            problems.append(Problem(where, f"has more than {MAX_AXES} axes"))
            continue
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            name = f"{item.name}[{axis}]"
            names |= {name, dim.dim_param} - {""}
            wanted = dims.get(name, dims.get(dim.dim_param) if dim.dim_param else None)
            if wanted is not None:
                dim.dim_value = wanted
            elif dim.HasField("dim_value"):
                if not 1 <= dim.dim_value <= MAX_DIM:
                    problems.append(
                        Problem(where, f"expected sizes from 1 to 2^31, got {dim.dim_value} at axis {axis}")
                    )
            elif axis == 0:
                dim.dim_value = 1
            else:
                shown = dim.dim_param or name
                problems.append(Problem(where, f"axis {axis} is open; give its size with --dim '{shown}=VALUE'"))
    problems += [
        Problem(f"--dim {name}", f"the model has no such dimension{suggest(name, names)}")
        for name in dims
        if name not in names
    ]
    problems += [
        Problem(f"--dim {name}", f"expected a size from 1 to 2^31, got {size}")
        for name, size in dims.items()
        if not 1 <= size <= MAX_DIM
    ]
    if problems:
        raise InputError(source, problems[:20])


def _copy(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _fixed(item: Any) -> bool:
    kind = item.type.tensor_type
    return bool(kind.HasField("shape")) and all(
        dim.HasField("dim_value") and dim.dim_value > 0 for dim in kind.shape.dim
    )


def _small_values(onnx: Any, graph: Any) -> dict[str, Any]:
    """Constants that are small enough to compute shapes with."""
    items = [(item.name, item) for item in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            items += [
                (node.output[0], entry.t) for entry in node.attribute if entry.name == "value" and entry.HasField("t")
            ]
    result = {}
    for name, item in items:
        if (
            len(item.dims) <= MAX_AXES
            and prod(item.dims) <= MAX_KEPT
            and item.data_location != onnx.TensorProto.EXTERNAL
        ):
            try:
                result[name] = onnx.numpy_helper.to_array(item)
            except Exception:
                continue
    return result


def _inferred(
    onnx: Any, model: Any, source: str, values: dict[str, Any]
) -> tuple[dict[str, Shape | None], dict[str, int]]:
    """Shapes and types of all tensors; ``values`` grows by what was folded."""
    for _ in range(MAX_ROUNDS):
        inferred = _infer(onnx, model, source)
        shapes, types = _tables(inferred.graph)
        read = {name for node in model.graph.node for name in node.input}
        unknown = [
            name for node in model.graph.node for name in node.output if name in read and shapes.get(name) is None
        ]
        if not unknown:
            break
        folded = _fold(onnx, model, shapes, values)
        if not folded:
            break
        made = set(folded)
        nodes = [node for node in model.graph.node if not made.issuperset(node.output)]
        copies = [_copy(node) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(values[name], name) for name in folded)
    for item in model.graph.initializer:
        shapes.setdefault(item.name, tuple(item.dims))
        types.setdefault(item.name, item.data_type)
    return {name: shapes.get(name) for name in (*shapes, *unknown)}, types


def _infer(onnx: Any, model: Any, source: str) -> Any:
    for propagate in (True, False):
        try:
            return onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=propagate)
        except Exception as error:
            reason = _first_line(error)
    raise InputError(source, [f"its shapes cannot be inferred: {reason}"])


def _tables(graph: Any) -> tuple[dict[str, Shape | None], dict[str, int]]:
    shapes: dict[str, Shape | None] = {}
    types: dict[str, int] = {}
    for item in (*graph.input, *graph.value_info, *graph.output):
        kind = item.type.tensor_type
        types[item.name] = kind.elem_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        shapes[item.name] = tuple(dims) if kind.HasField("shape") and min(dims, default=0) >= 0 else None
    for item in graph.initializer:
        shapes[item.name], types[item.name] = tuple(item.dims), item.data_type
    return shapes, types


def _fold(onnx: Any, model: Any, shapes: Mapping[str, Shape | None], values: dict[str, Any]) -> list[str]:
    """Compute what follows from known shapes and small constants; returns the new names."""
    reference = importlib.import_module("onnx.reference")
    numpy = importlib.import_module("numpy")
    opset = [item for item in model.opset_import if item.domain in ("", "ai.onnx")]
    found = []
    for node in model.graph.node:
        if (
            node.op_type not in _FOLDED
            or node.domain not in ("", "ai.onnx")
            or len(node.output) != 1
            or node.output[0] in values
        ):
            continue
        if node.op_type in ("Shape", "Size"):
            shape = shapes.get(node.input[0])
            if shape is None:
                continue
            start, end = (next((a.i for a in node.attribute if a.name == key), None) for key in ("start", "end"))
            dims = numpy.array(shape, dtype=numpy.int64)
            result = dims[start:end] if node.op_type == "Shape" else numpy.array(prod(shape), dtype=numpy.int64)
        else:
            given = {name: values[name] for name in node.input if name in values}
            if any(name and name not in given for name in node.input) or _large(node, given):
                continue
            try:
                helper = onnx.helper
                body = helper.make_graph(
                    [node],
                    "fold",
                    [helper.make_value_info(name, helper.make_tensor_type_proto(1, None)) for name in given],
                    [helper.make_value_info(node.output[0], helper.make_tensor_type_proto(1, None))],
                )
                tiny = helper.make_model(body, opset_imports=opset)
                result = numpy.asarray(reference.ReferenceEvaluator(tiny).run(None, given)[0])
            except Exception:
                continue
        if result.size <= MAX_KEPT:
            values[node.output[0]] = result
            found.append(node.output[0])
    return found


def _large(node: Any, given: Mapping[str, Any]) -> bool:
    """Whether an operator would make a large tensor out of small ones."""
    inputs = [given[name] for name in node.input if name]
    try:
        if node.op_type == "ConstantOfShape":
            return abs(prod(int(size) for size in inputs[0].ravel())) > MAX_KEPT
        if node.op_type == "Expand":
            return abs(prod(max(int(size), 1) for size in inputs[1].ravel())) > MAX_KEPT
        if node.op_type == "Range":
            start, limit, step = (float(value.ravel()[0]) for value in inputs)
            return not step or abs((limit - start) / step) > MAX_KEPT
        return bool(prod(max(value.size, 1) for value in inputs[:2]) > MAX_KEPT**2)
    except (IndexError, ValueError, TypeError):
        return True


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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
