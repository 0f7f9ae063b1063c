"""Names of the layers of an ONNX graph: one rule for importing a network and for measuring its profile, so that they match.

A layer is called as the framework's module is. An exporter keeps that name in that of a parameter (``l1.c1.weight``), in that of a
node as a path of scopes (``/l1/c1/Conv``; torch's older exporter), or beside the node (``pkg.torch.onnx.name_scopes``; the newer
one).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Operators that hand a weight on: its name is that of the tensor behind them.
_PASSED_ON = (
    "Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "BipolarQuant", "FloatQuant",
    "Clip", "Split", "Slice", "Reshape", "Squeeze", "Unsqueeze",
)  # fmt: skip
#: Operators that multiply with weights where one of their operands is constant, which may be either.
_EITHER = ("Gemm", "MatMul", "MatMulInteger", "Einsum", "FusedMatMul")
#: Other products of two operands.
_PRODUCTS = (
    *_EITHER, "Conv", "ConvTranspose", "ConvInteger", "DeformConv", "QLinearConv", "QLinearMatMul", "QGemm", "FusedConv",
    "FusedGemm", "MatMulNBits", "MatMulBnb4", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "LSTM", "GRU", "RNN",
    "DynamicQuantizeLSTM",
)  # fmt: skip
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
#: Which input is the weight, where it is not the second, and which is the bias.
_WEIGHT_INPUT = {"Gather": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
_BIAS_INPUT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "QLinearConv": 8, "QGemm": 6, "FusedConv": 2, "FusedGemm": 2}
#: What onnxruntime appends to the name of a weight that it quantizes.
_QUANTIZED = "_quantized"
#: Operators that only hold values; they do not count as positions.
_VALUES = ("Constant", "ConstantOfShape")
_SCOPES = "pkg.torch.onnx.name_scopes"
#: Parameters whose module is called as they are, without the last word.
_PARAMETER = re.compile(r"(?P<module>.+)\.weight|(?P<other>(?:.+\.)?[A-Za-z]+_proj|.+\.[A-Za-z0-9_]+)_weight")
_BIAS = re.compile(r"(?P<module>.+)\.bias|(?P<other>(?:.+\.)?[A-Za-z]+_proj)_bias")
#: Names that exporters make up.
_MADE_UP = re.compile(r"(?:onnx::.*|val_[0-9]+|_?[0-9]+|.*[/:].*|const.*|_inlfunc.*)")
#: What layers without weights are called in their module, as :func:`dse.trace` calls them; others have the name of the operator.
_WORDS = {
    **dict.fromkeys(("MatMul", "Gemm", "Einsum", "FusedMatMul"), "matmul"),
    **dict.fromkeys(("Add", "Sub", "Sum"), "add"),
    **dict.fromkeys(("Mul", "Div"), "multiply"),
    **dict.fromkeys(("Resize", "Upsample"), "resize"),
    **dict.fromkeys(
        ("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Gelu",
         "Softplus", "Clip", "Mish"), "activation",
    ),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), "pool"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "softmax"),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization"), "norm"),
}  # fmt: skip
#: Words of a parameter's path that are read.
_DEEPEST = 64
#: Products with weights, other products, others with weights, the rest.
_RANKS = 4
#: Of these a module has one, and is called so.
_ALONE = ("activation", "pool", "softmax", "norm")


@dataclass(frozen=True)
class _Graph:
    """What names are read from.

    Attributes
    ----------
    makers, readers
        Nodes by what they make, and by what they read.
    dynamic
        Tensors that depend on an input.
    vectors
        Initializers of one axis.
    modules
        Paths of modules that parameters are named after.
    ends
        These by their last word.
    """

    makers: Mapping[str, Any]
    readers: Mapping[str, list[Any]]
    dynamic: set[str]
    vectors: set[str]
    modules: set[str]
    ends: Mapping[str, list[str]]


def layer_names(graph: Any) -> list[str]:
    """A name for every node of an ``onnx.GraphProto``, in its order, all different.

    The framework's module, see above, with ``.matmul``, ``.add`` and so on for what has no weights; else the node's own name; else
    its operator and position. A second layer of the same name, as with shared weights, gets ``_2``. Of nodes that would have one
    name products with weights come first, then other products, others with weights, and the rest, each in the order of the graph;
    several recurrent layers of one module are numbered from 0.
    """
    known = _read(graph)
    found: list[tuple[int, str]] = []
    owners: dict[str, str] = {}
    position = 0
    for node in graph.node:
        rank, name = _named(known, node, owners)
        found.append((rank, name or node.name or f"{node.op_type}_{position}"))
        position += node.op_type not in _VALUES
    _number_stacks(known, graph, found)
    result = [""] * len(found)
    used: dict[str, int] = {}
    for rank in range(_RANKS):
        for index, (own, name) in enumerate(found):
            if own != rank:
                continue
            used[name] = used.get(name, 0) + 1
            while used[name] > 1 and f"{name}_{used[name]}" in used:
                used[name] += 1
            result[index] = name if used[name] == 1 else f"{name}_{used[name]}"
            used.setdefault(result[index], 1)
    return result


def _read(graph: Any) -> _Graph:
    constant = {item.name for item in graph.initializer} | {item.values.name for item in graph.sparse_initializer}
    dynamic = {item.name for item in graph.input} - constant
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        if any(name in dynamic for name in node.input):
            dynamic.update(node.output)
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {output: node for node in graph.node for output in node.output if output}
    modules = set()
    for name in constant:
        words = name.split(".")[:_DEEPEST]
        modules |= {".".join(words[:count]) for count in range(1, len(words))}
    ends: dict[str, list[str]] = {}
    for module in sorted(modules):
        ends.setdefault(module.rpartition(".")[2], []).append(module)
    vectors = {item.name for item in graph.initializer if len(item.dims) == 1}
    return _Graph(makers, readers, dynamic, vectors, modules, ends)


def _named(known: _Graph, node: Any, owners: dict[str, str]) -> tuple[int, str]:
    """Rank of a node, the lower the earlier it is named, and its name, empty where nothing says it.

    Parameters
    ----------
    owners
        Names by the tensor that holds the weights, of products whose parameter has lost its name; grows.
    """
    place = _WEIGHT_INPUT.get(node.op_type, 1)
    if (
        node.op_type in _EITHER
        and len(node.input) > 1
        and node.input[0] not in known.dynamic
        and node.input[1] in known.dynamic
    ):
        place = 0
    tensor = node.input[place] if len(node.input) > place else ""
    module = _scope(known, node)
    if tensor:
        parameter, origin = _parameter(known, tensor)
        if parameter and node.op_type in _PRODUCTS:
            return 0, parameter
        if parameter:
            # An embedding may read the table of a classifier: the module that runs says which it is.
            return 2, module if node.op_type == "Gather" and module else parameter
        if node.op_type in _PRODUCTS and tensor not in known.dynamic:
            name = _bias(known, node) or owners.get(origin) or _attribute(module, origin)
            if not name and module is not None:
                # Torch's attention holds the projections of its inputs itself, beside the module of its output.
                own = f"{module}.in_proj" if f"{module}.out_proj" in known.modules else module
                name = own if module else node.name.rpartition("/")[2]
            if name:
                owners.setdefault(origin, name)
            return 0, name
    rank = 1 if node.op_type in _PRODUCTS else _RANKS - 1
    if module is None:
        return rank, ""
    word = _WORDS.get(node.op_type, node.name.rpartition("/")[2] or node.op_type)
    alone = bool(module) and (word in _ALONE or (rank == 1 and word != "matmul"))
    return rank, module if alone else f"{module}.{word}" if module else word


def _parameter(known: _Graph, tensor: str) -> tuple[str, str]:
    """The module of the parameter behind a tensor, "" if it has lost its name, and the tensor that holds it."""
    origin, match = _origin(known, tensor, _PARAMETER)
    return (match["module"] or match["other"]) if match else "", origin


def _origin(known: _Graph, tensor: str, names: re.Pattern[str]) -> tuple[str, re.Match[str] | None]:
    """The tensor of such a name that another one was made of by turning, cutting or converting, else the first one of all."""
    seen = set()
    while tensor not in seen:
        seen.add(tensor)
        match = names.fullmatch(tensor.removesuffix(_QUANTIZED))
        behind = known.makers.get(tensor)
        if match or behind is None or behind.op_type not in _PASSED_ON or not behind.input:
            return tensor, match
        tensor = behind.input[0]
    return tensor, None


def _bias(known: _Graph, node: Any) -> str:
    """The module whose bias a product has, as an input or in a sum after it."""
    place = _BIAS_INPUT.get(node.op_type, 99)
    names = [node.input[place]] if len(node.input) > place else []
    after = known.readers.get(node.output[0], []) if node.output else []
    if len(after) == 1 and after[0].op_type == "Add":
        origins = [_origin(known, name, _BIAS)[0] for name in after[0].input if name not in known.dynamic]
        names += [name for name in origins if name in known.vectors]
    matches = [_BIAS.fullmatch(name.removesuffix(_QUANTIZED)) for name in names]
    return next((match["module"] or match["other"] for match in matches if match), "")


def _attribute(module: str | None, tensor: str) -> str:
    """A parameter that belongs to a module itself: it has its own name, as ``heads`` of the module that multiplies with it."""
    if module is None or _MADE_UP.fullmatch(tensor):
        return ""
    leaf = tensor.removeprefix(f"{module}.") if module else tensor
    own = (not module or leaf != tensor) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", leaf)
    return tensor if own else ""


def _scope(known: _Graph, node: Any) -> str | None:
    """The path of the module that a node belongs to, "" for the model itself; None if nothing says it.

    Of the scopes of a path, one that begins with the scope before it and a dot is that one's child by number: ``/l1/l1.0/c1/Conv``
    is ``l1.0.c1``, unless parameters say that a list of that name is in a module of that name.
    """
    for item in node.metadata_props:
        if item.key == _SCOPES and len(item.value) < 10_000:
            try:
                scopes = ast.literal_eval(item.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return None
            if isinstance(scopes, list) and len(scopes) > 1 and all(isinstance(scope, str) for scope in scopes):
                return str(scopes[-2])
            return None
    path = node.name.split("/")
    if len(path) < 2 or path[0] or not re.match(r"[A-Z]", path[-1]):
        return None
    result: list[str] = []
    for scope in path[1:-1]:
        if result and scope.startswith(f"{result[-1]}."):
            whole, child = ".".join([*result, scope]), ".".join([*result[:-1], scope])
            if whole not in known.modules or child in known.modules:
                result.pop()
        result.append(_uncalled(known, ".".join(result), scope) + scope)
    return ".".join(result)


def _uncalled(known: _Graph, parent: str, scope: str) -> str:
    """Lists and dictionaries of modules between a scope and its parent, which leave no scope because nothing calls them."""
    whole = f"{parent}.{scope}" if parent else scope
    if whole in known.modules:
        return ""
    start = f"{parent}." if parent else ""
    found = [
        name
        for name in known.ends.get(scope.rpartition(".")[2], ())
        if name.startswith(start) and name.endswith(f".{scope}")
    ]
    nearest = min((name.count(".") for name in found), default=0)
    found = [name for name in found if name.count(".") == nearest]
    return found[0].removeprefix(start).removesuffix(scope) if len(found) == 1 else ""


def _number_stacks(known: _Graph, graph: Any, found: list[tuple[int, str]]) -> None:
    """Several recurrent nodes of one module are its layers."""
    stacks: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        if node.op_type in _RECURRENT and _scope(known, node) is not None:
            stacks.setdefault(found[index][1], []).append(index)
    for name, places in stacks.items():
        for number, index in enumerate(places if len(places) > 1 else []):
            found[index] = (found[index][0], f"{name}.{number}")
