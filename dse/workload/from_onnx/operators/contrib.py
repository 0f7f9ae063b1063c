"""Operators of onnxruntime (``com.microsoft``) that exported and optimized language models have.

The library cannot infer their shapes, so while shapes are inferred a standard operator stands in that makes the same one: a product
with weights of no values, or the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made, Unknown, Unsupported
from dse.workload.from_onnx.formats.quantizers import PACKED
from dse.workload.from_onnx.graph.nodes import attributes, has_input, input_name
from dse.workload.from_onnx.graph.shapes import Shape
from dse.workload.from_onnx.operators.matrices import matmul
from dse.workload.from_onnx.operators.sequences import Heads, attention_layers, distinct_heads
from dse.workload.from_onnx.operators.table import Handler
from dse.workload.from_onnx.operators.vector import layer_norm
from dse.workload.layer import Layer

#: Operators whose first output has the shape of their first input.
_SAME_SHAPE = (
    "FastGelu", "Gelu", "BiasGelu", "QuickGelu", "SimplifiedLayerNormalization", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "RotaryEmbedding", "MultiHeadAttention", "GroupQueryAttention", "LayerNormalization",
)  # fmt: skip
#: Operators of onnxruntime's optimizer that stand among the standard ones whatever the operator set.
_ANYWHERE = ("SimplifiedLayerNormalization", "LayerNormalization")
#: Attention with its projection of query, key and value, and the input that holds its past.
_PROJECTING = {"Attention": 4, "QAttention": 8}
_PRODUCTS = (*PACKED, "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
#: Where a further output repeats the shape of the first input.
_SUM_OUTPUT = {"SkipLayerNormalization": 3, "SkipSimplifiedLayerNormalization": 3}


def is_contributed(node: Any) -> bool:
    """Whether a node needs a stand-in."""
    return (
        bool(node.input)
        and node.op_type in (*_SAME_SHAPE, *_PRODUCTS, *_PROJECTING)
        and (node.domain == "com.microsoft" or node.op_type in _ANYWHERE)
    )


def stand_in(onnx: Any, node: Any, known: Mapping[str, Shape]) -> tuple[list[Any], list[Any]]:
    """Standard nodes with the output shapes of a contributed one, and initializers without values for them.

    Parameters
    ----------
    known
        Shapes of initializers and inputs.
    """
    make, first = onnx.helper.make_node, node.output[0]
    weights: list[Any] = []

    def product(inner: int, width: int) -> list[Any]:
        weights.append(
            onnx.TensorProto(name=f"{first}/stand_in", data_type=onnx.TensorProto.FLOAT, dims=[inner, width])
        )
        return [make("MatMul", [node.input[0], weights[0].name], [first])]

    flags = attributes(node)
    if node.op_type in PACKED:
        return product(flags.get("K", 1), flags.get("N", 1)), weights
    if node.op_type in _PRODUCTS:
        return [make("MatMul", list(node.input[:2]), [first])], weights
    if node.op_type in _PROJECTING:
        matrix = known.get(node.input[1], ()) if len(node.input) > 1 else ()
        sizes = flags.get("qkv_hidden_sizes", [matrix[-1] // 3 if matrix else 1] * 3)
        width = sizes[2] if isinstance(sizes, list) and len(sizes) == 3 else 1
        return product(matrix[0] if len(matrix) == 2 else 1, width), weights
    if node.op_type == "GroupQueryAttention" and not node.input[1]:
        width = _head_width(node, known)
        heads, pairs = flags.get("num_heads", 1), flags.get("kv_num_heads", 1)
        return product((heads + 2 * pairs) * width, heads * width), weights
    nodes = [make("Identity", [node.input[0]], [first])]
    place = _SUM_OUTPUT.get(node.op_type, 99)
    if len(node.output) > place and node.output[place]:
        nodes.append(make("Identity", [node.input[0]], [node.output[place]]))
    return nodes, weights


def product_of_packed_weights(flow: Flow, node: Any, name: str) -> list[Made]:
    """MatMulNBits and MatMulBnb4: weights of a few bits, packed; ``K`` inputs and ``N`` outputs."""
    flags, read = attributes(node), flow.shape(node.input[0])
    inner, width = flags.get("K", 0), flags.get("N", 0)
    if not read or read[-1] != inner or width < 1:
        raise Unknown(f"an input of shape {list(read)} does not fit {inner} x {width} weights")
    rows = prod(flow.sample(node.input[0])[:-1])
    layer = Layer(
        name=name, kind="fc", N=rows, K=width, C=inner, bias=has_input(node, 5),
        passes=flow.mac_passes(node.input[0], node.input[1]),
    )  # fmt: skip
    return [Made(layer, node.input[0], node.input[1], -1)]


def grouped_query_attention(flow: Flow, node: Any, name: str) -> list[Made]:
    """GroupQueryAttention: query, key and value apart or packed in one tensor; the past in a cache.

    With a local window a query sees that many keys, its own position the last of them (onnxruntime, ``gqa_attention_base.h``).
    """
    flags, query = attributes(node), flow.sample(node.input[0])
    heads, pairs = flags.get("num_heads", 0), flags.get("kv_num_heads", 0)
    if len(query) != 3 or min(heads, pairs) < 1:
        raise Unknown(f"queries of shape {list(query)} make no attention")
    packed = not input_name(node, 1)
    width = query[2] // (heads + 2 * pairs) if packed else query[2] // heads
    past = flow.shape(node.input[3])[2] if has_input(node, 3) else 0
    sizes = Heads(
        query[0], heads, pairs, query[1], past + query[1], width, width, max(flags.get("local_window_size", -1), 0), causal=True
    )  # fmt: skip
    return attention_layers(flow, node, name, sizes, past > 0)


def multi_head_attention(flow: Flow, node: Any, name: str) -> list[Made]:
    """MultiHeadAttention of 3-axis queries, with keys of 3 axes or, as heads, of 4."""
    query, heads = flow.sample(node.input[0]), attributes(node).get("num_heads", 0)
    if len(query) != 3 or heads < 1 or not has_input(node, 1):
        raise Unsupported
    key = flow.sample(node.input[1])
    value = flow.sample(node.input[2]) if has_input(node, 2) else key
    columns = key[1] if len(key) == 3 else key[2]
    past = flow.shape(node.input[6])[2] if has_input(node, 6) else 0
    inner, width = query[2] // heads, value[2] // heads if len(value) == 3 else value[3]
    pairs = distinct_heads(flow, node, heads, (2,) if len(key) == 3 else (1,))
    causal = bool(attributes(node).get("unidirectional", 0))
    sizes = Heads(query[0], heads, pairs, query[1], past + columns, inner, width, causal=causal)
    return attention_layers(flow, node, name, sizes, past > 0)


def projecting_attention(flow: Flow, node: Any, name: str) -> list[Made]:
    """Attention and QAttention: the projection of query, key and value in one, then the products."""
    flags, read, matrix = attributes(node), flow.sample(node.input[0]), flow.shape(node.input[1])
    heads, place = flags.get("num_heads", 0), _PROJECTING[node.op_type]
    sizes = flags.get("qkv_hidden_sizes", [matrix[-1] // 3] * 3)
    if len(read) != 3 or len(matrix) != 2 or heads < 1 or sum(sizes) != matrix[1] or matrix[0] != read[2]:
        raise Unknown(f"an input of shape {list(read)} and weights of shape {list(matrix)} make no attention")
    past = flow.shape(node.input[place])[3] if has_input(node, place) else 0
    projection = Layer(
        name=f"{name}.in_proj", kind="fc", N=read[0] * read[1], K=matrix[1], C=matrix[0], bias=has_input(node, 2),
        passes=flow.mac_passes(node.input[0], node.input[1]),
    )  # fmt: skip
    columns = past + read[1]
    causal = bool(flags.get("unidirectional", 0))
    shape = Heads(read[0], heads, heads, read[1], columns, sizes[0] // heads, sizes[2] // heads, causal=causal)
    products = attention_layers(flow, node, name, shape, past > 0, learned=True)
    return [Made(projection, node.input[0], node.input[1]), *products]


def skip_norm(flow: Flow, node: Any, name: str) -> list[Made]:
    """A sum and a norm in one: ``input, skip, scale, shift``."""
    shape = flow.sample(node.input[0])
    scales = prod(flow.shape(node.input[2]))
    rest = max(prod(shape) // scales, 1)
    passes = flow.vector_passes(node)
    both = Layer(name=f"{name}.add", kind="add", G=scales, P=rest, input_hw=(rest, 1), passes=passes)
    shift = node.op_type == "SkipLayerNormalization" and has_input(node, 3)
    return [Made(both), Made(replace(both, name=name, kind="layernorm", bias=shift))]


#: What makes layers of the operators of this module.
CONTRIBUTED: Mapping[str, Handler] = {
    "MatMulNBits": product_of_packed_weights,
    "MatMulBnb4": product_of_packed_weights,
    "MatMulIntegerToFloat": matmul,
    "DynamicQuantizeMatMul": matmul,
    "GroupQueryAttention": grouped_query_attention,
    "MultiHeadAttention": multi_head_attention,
    "Attention": projecting_attention,
    "QAttention": projecting_attention,
    "SimplifiedLayerNormalization": layer_norm,
    "SkipLayerNormalization": skip_norm,
    "SkipSimplifiedLayerNormalization": skip_norm,
}


def _head_width(node: Any, known: Mapping[str, Shape]) -> int:
    """Features of a head, from the cache of keys ``[batch, heads, past, width]``."""
    cache = known.get(node.input[3], ()) if len(node.input) > 3 else ()
    return cache[3] if len(cache) == 4 else 1
