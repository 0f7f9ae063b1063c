"""Layers of the ONNX operators on sequences: attention and recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from dse.workload.from_onnx.flow.flow import Flow, Made, Unknown
from dse.workload.from_onnx.graph.nodes import attributes, has_input, input_name
from dse.workload.layer import Layer, Mask

_BACK = ("backward_data",)


@dataclass(frozen=True)
class Heads:
    """Sizes of an attention, per sample.

    Attributes
    ----------
    samples
        Attentions that run side by side for one sample.
    queries, keys
        Heads of queries, and of keys and values.
    rows, columns
        Positions of queries, and of keys, those of earlier steps too.
    inner, width
        Features of a query and key head, and of a value head.
    window
        Keys that one query meets at most, its own and those before it; 0 for all of them.
    causal
        Whether a query meets no key after its own.
    """

    samples: int
    queries: int
    keys: int
    rows: int
    columns: int
    inner: int
    width: int
    window: int = 0
    causal: bool = False


def attention(flow: Flow, node: Any, name: str) -> list[Made]:
    """The Attention operator: scores, softmax, context. Heads of queries that share a key head are its rows."""
    flags = attributes(node)
    query, key, value = (flow.sample(node.input[index]) for index in range(3))
    if len(query) == 3 and len(key) == 3 and len(value) == 3:
        heads = flags.get("q_num_heads", 1)
        pairs = flags.get("kv_num_heads", heads)
        samples, rows, columns = query[0], query[1], key[1]
        inner, width = query[2] // max(heads, 1), value[2] // max(pairs, 1)
        axes = (2,)
    elif len(query) == 4 and len(key) == 4 and len(value) == 4:
        samples, heads, rows, inner = query
        pairs, columns, width = key[1], key[2], value[3]
        axes = (1,)
    else:
        raise Unknown(f"queries of shape {list(flow.shape(node.input[0]))} make no attention")
    pairs = distinct_heads(flow, node, pairs, axes)
    past = has_input(node, 4)
    columns += flow.shape(node.input[4])[2] if past else 0
    # Positions to the left and right of a query's own that it meets; -1 for all.
    before, after = flags.get("left_window_size", -1), flags.get("right_window_size", -1)
    causal = bool(flags.get("is_causal", 0)) or after == 0
    window = before + 1 + (0 if causal else after) if before >= 0 and (causal or after >= 0) else 0
    return attention_layers(
        flow, node, name, Heads(samples, heads, pairs, rows, columns, inner, width, window, causal), past
    )  # fmt: skip


def distinct_heads(flow: Flow, node: Any, pairs: int, axes: tuple[int, ...]) -> int:
    """Heads of keys and values that differ: those that were repeated for their queries are one."""
    again = min(flow.repeated(tensor, axes) for tensor in node.input[1:3])
    return pairs // again if pairs % again == 0 else pairs


def attention_layers(flow: Flow, node: Any, name: str, heads: Heads, cached: bool, learned: bool = False) -> list[Made]:
    """Layers of an attention; ``learned`` if its projection is its own."""
    sizes = (heads.queries, heads.keys, heads.rows, heads.columns, heads.inner, heads.width)
    if min(sizes) < 1 or heads.queries % heads.keys:
        raise Unknown(f"{heads.queries} query heads and {heads.keys} key heads of {heads.inner} make no attention")
    # Keys that leave the window before the first query are not read.
    past = max(heads.columns - heads.rows, 0)
    columns = heads.columns - past + min(past, heads.window - 1) if heads.window else heads.columns
    window = heads.window if heads.window < columns else 0
    mask = Mask("K", heads.rows, window, heads.causal) if window or (heads.causal and heads.rows > 1) else None
    met = window or columns
    runs, groups = heads.queries // heads.keys * heads.rows, heads.samples * heads.keys
    q, k, v = (True,) * 3 if learned else (tensor in flow.errors for tensor in node.input[:3])
    cached = cached or any(tensor in flow.cached for tensor in node.input[1:3])
    tensors = ["", "", ""] if learned else [input_name(node, place) for place in range(3)]
    queries, keys, values = ((f"{name}.in_proj",) if learned else flow.made_by(tensor) for tensor in tensors)
    # One tensor may hold queries, keys and values.
    keys, values = keys or queries, values or keys or queries
    scores = Layer(
        name=f"{name}.scores", kind="matmul", N=runs, G=groups, K=columns, C=heads.inner, cached=cached, mask=mask,
        passes=("forward", *_BACK * q, *("backward_weight",) * k), reads=queries, reads_second=keys,
    )  # fmt: skip
    soft = Layer(
        name=f"{name}.softmax", kind="softmax", G=heads.samples * heads.queries, P=heads.rows, Q=met, input_hw=(heads.rows, met),
        passes=("forward", *_BACK * (q or k)), reads=(scores.name,),
    )  # fmt: skip
    context = Layer(
        name=f"{name}.context", kind="matmul", N=runs, G=groups, K=heads.width, C=columns, cached=cached,
        mask=None if mask is None else replace(mask, dim="C"),
        passes=("forward", *_BACK * (q or k), *("backward_weight",) * v), reads=(soft.name,), reads_second=values,
    )  # fmt: skip
    return [
        Made(scores, tensors[0], tensors[1] or tensors[0]), Made(soft), Made(context, "", tensors[2] or tensors[1] or tensors[0])
    ]  # fmt: skip


def recurrent(flow: Flow, node: Any, name: str) -> list[Made]:
    """LSTM, GRU, RNN: the products with the input at all time steps at once, with the state step after step, and the gates."""
    read, learned, state = (flow.shape(node.input[index]) for index in range(3))
    if len(read) != 3 or len(learned) != 3 or len(state) != 3 or learned[2] != read[2]:
        raise Unknown(f"an input of shape {list(read)} does not fit weights of shape {list(learned)}")
    sample = flow.sample(node.input[0])
    steps, samples = (sample[1], sample[0]) if attributes(node).get("layout", 0) else (sample[0], sample[1])
    directions, gates, hidden = learned[0], learned[1], state[2]
    bias = has_input(node, 3)
    # Weights that a user feeds are no parameters; a single step has no step before it whose state it reads.
    fixed, state_of = flow.is_constant(node.input[1]), f"{name}.gates" if steps > 1 else ""
    weight = ("backward_weight",) * fixed
    passes = flow.mac_passes(node.input[0], node.input[1])
    function = node.op_type.lower()
    layers = [
        Made(
            Layer(
                name=f"{name}.input", kind="fc", N=samples * steps, K=directions * gates, C=read[2], bias=bias, passes=passes,
                shared=not fixed,
            ),
            node.input[0], node.input[1],
        ),
        Made(
            Layer(
                name=f"{name}.recurrent", kind="fc", N=samples, G=directions, K=gates, C=hidden, bias=bias, repeats=steps,
                passes=("forward", "backward_data", *weight), reads=(state_of,), shared=not fixed,
            ),
            "", node.input[2],
        ),
        Made(
            Layer(
                name=f"{name}.gates", kind="activation", G=directions * gates, P=samples * steps, input_hw=(samples * steps, 1),
                passes=("forward", "backward_data"), function=function, reads=(f"{name}.input",),
                reads_second=(f"{name}.recurrent",),
            )
        ),
    ]  # fmt: skip
    if function == "lstm" and has_input(node, 7) and flow.is_constant(node.input[7]):
        # Peepholes: a weight of the cell state per input, output and forget gate.
        size = prod(flow.shape(node.input[7]))
        layers.append(
            Made(Layer(name=f"{name}.peephole", kind="embedding", K=size, passes=("forward", "backward_data")))
        )
    return layers
