"""The shape of every tensor of an ONNX graph.

External data are never opened, large initializers are dropped before shapes are inferred, and nothing is executed but integer
arithmetic on shapes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from dse.errors import InputError, Problem
from dse.workload.from_onnx.graph.nodes import STANDARD
from dse.workload.from_onnx.graph.read import MAX_AXES, MAX_DIM, copied, first_line, onnx_library
from dse.yaml_input import suggest

#: Elements of a tensor whose values are kept: shapes, axes and scales are smaller.
MAX_KEPT = 4096


#: Rounds of shape inference; each resolves the shapes that were computed from those of the round before.
MAX_ROUNDS = 6


#: Operators that compute shapes from shapes, folded where the inference of the library stops.
_FOLDED = frozenset((
    "Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Add", "Sub", "Mul", "Div", "Mod",
    "Neg", "Abs", "Min", "Max", "Equal", "Less", "Greater", "Where", "Not", "And", "Or", "Range", "ConstantOfShape",
    "Expand", "Reshape", "Identity", "Floor", "Ceil", "Sqrt", "Pow", "ReduceProd", "ReduceSum", "ReduceMax",
    "ReduceMin", "Transpose", "LessOrEqual", "GreaterOrEqual",
))  # fmt: skip


#: Names that exporters and people give the dimension of a batch, and dimensions that are none although they come first.
_BATCH_NAME = re.compile(r"(?i)n|b|bs|bsz|(.*[^a-z])?(batch|batches|batchsize)([^a-z].*)?")
_OTHER_NAME = re.compile(
    r"(?i)(.*[^a-z])?(seq|seqlen|sequence|length|len|time|steps?|frames?|tokens?|height|width)([^a-z].*)?"
)


def says_batch(name: str) -> bool:
    """Whether the name of a dimension says that it is the batch."""
    return bool(_BATCH_NAME.fullmatch(name)) and not _OTHER_NAME.fullmatch(name)


#: Ending of the names of nodes that stand for initializers in a copy without weights.
STRIPPED = "/value"


Shape = tuple[int, ...]


StandIn = Callable[[Any, Any, Mapping[str, Shape]], tuple[list[Any], list[Any]] | None]


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
    dims
        Names that the model has for the dimensions of what a user feeds, "" for those without.
    opset
        Version of the standard operators.
    """

    source: str
    nodes: tuple[Any, ...]
    initializers: Mapping[str, Shape]
    inputs: Mapping[str, Shape]
    shapes: Mapping[str, Shape | None]
    types: Mapping[str, int]
    values: Mapping[str, Any]
    dims: Mapping[str, tuple[str, ...]]
    opset: int


def resolve_shapes(model: Any, source: str, dims: Mapping[str, int], stand_in: StandIn) -> OnnxGraph:
    """Infer the shape of every tensor.

    Parameters
    ----------
    dims
        Size of each dimension that the model leaves open, by the model's name for it, or as ``input[axis]``. One whose name says
        batch is 1 if not given, and so is the first of an input whose name does not say that it is something else.
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
    named = {item.name: tuple(dim.dim_param for dim in item.type.tensor_type.shape.dim) for item in given}
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
    originals = [copied(node) for node in graph.node]
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
        dims=named,
        opset=max((item.version for item in model.opset_import if item.domain in STANDARD), default=0),
    )


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
            elif says_batch(dim.dim_param) or (axis == 0 and not _OTHER_NAME.fullmatch(dim.dim_param)):
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
        copies = [copied(node) for node in nodes]
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
            reason = first_line(error)
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
            or not node.input
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
        if result.size <= MAX_KEPT and result.dtype != object:
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
