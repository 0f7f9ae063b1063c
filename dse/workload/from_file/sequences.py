"""Operations on sequences: linear layers over tokens, embeddings, attention, mixtures of experts, recurrent layers.

Tokens are the height of a feature map of width 1. Attention counts whole matrices of scores, also under a causal mask, as dense
kernels compute them; only hardware with ``causal_skip`` leaves out what the mask makes zero. ``past`` tokens come from a cache that
the step before wrote (decode); without them all keys and values are made in the step (prefill, training).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from dse.names import PASSES
from dse.workload.from_file.build import Builder, Maker, Mixture, Tensor, vector_passes
from dse.workload.from_file.schema import Operation
from dse.workload.model import Layer, Mask
from dse.yaml_input import Key

Scope = Mapping[str, int]

#: Gates of a recurrent layer (Hochreiter and Schmidhuber 1997, with a forget gate; Cho et al., arXiv 1406.1078).
GATES = {"lstm": 4, "gru": 3}


def linear(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """The same fully connected layer for every token; inside a mixture, one per expert."""
    outputs = builder.number(operation, "K", scope, path, 1)
    return projection(builder, operation, builder.name(operation, prefix, path), tensor, outputs, path)


def projection(
    builder: Builder, operation: Operation, name: str, tensor: Tensor, outputs: int, path: Key, bias: bool | None = None
) -> Tensor:
    """A linear layer, with adapters beside it where the file asks for them (LoRA): W x + B A x, of which A and B are trained."""
    mixture = builder.mixture
    active = 1 if mixture is None else mixture.active
    if tensor.pixels % active:
        builder.problem(path, f"the {tensor.pixels} tokens here are no whole number for each of {active} experts")
    layer = Layer(
        name=name,
        kind="fc",
        N=-(-tensor.pixels // active),
        G=active,
        K=outputs,
        C=tensor.C,
        bias=operation.bias if bias is None else bias,
        passes=builder.passes(operation, tensor),
        frozen=builder.frozen(operation),
        shared=operation.shared,
        experts=0 if mixture is None else mixture.experts,
        routing="uniform" if mixture is None else mixture.routing,
    )
    builder.add(layer, tensor, path)
    made = replace(tensor, producer=name, C=outputs, learns=builder.learns(operation, tensor))
    lora = builder.file.lora
    if lora is None or name.rpartition(".")[2] not in lora.layers:
        return made
    builder.adapted.add(name.rpartition(".")[2])
    down = replace(layer, name=f"{name}.lora_A", K=lora.rank, bias=False, frozen=False, shared=False)
    down = replace(down, passes=tuple(p for p in PASSES if p != "backward_data" or tensor.learns))
    builder.add(down, tensor, path)
    middle = replace(tensor, producer=down.name, C=lora.rank, learns=True)
    up = replace(down, name=f"{name}.lora_B", C=lora.rank, K=outputs, passes=PASSES)
    builder.add(up, middle, path)
    both = replace(made, learns=True)
    added = replace(both, producer=up.name)
    return replace(both, producer=builder.vector(f"{name}.lora_add", "add", both, path, second=added).name)


def embedding(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """One row of a table per token, or the sum of the rows of ``bag`` tokens (the tables of recommendation models)."""
    bag = builder.number(operation, "bag", scope, path, 1)
    if tensor.pixels % bag:
        builder.problem((*path, "bag"), f"{bag} does not divide the {tensor.pixels} tokens")
    tokens = max(tensor.pixels // bag, 1)
    rows, width = builder.number(operation, "rows", scope, path, 1), builder.number(operation, "K", scope, path, 1)
    frozen = builder.frozen(operation)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="embedding",
        N=tokens,
        K=width,
        C=rows,
        R=bag,
        frozen=frozen,
        shared=operation.shared,
        sparse=operation.sparse,
        passes=("forward",) if frozen else ("forward", "backward_data"),
    )
    # What it looks up are indices, an input of the network whatever flows here.
    builder.add(layer, replace(tensor, producer=""), path)
    return Tensor(layer.name, width, tokens, 1, not frozen)


class Heads(NamedTuple):
    """Sizes of an attention layer: heads of queries, and of keys and values; features of a query and of a value; cached tokens.

    ``window`` is how many keys a query meets at most, 0 for all.
    """

    queries: int
    pairs: int
    width: int
    values: int
    past: int
    window: int


class Projected(NamedTuple):
    """What the two products of attention read."""

    query: Tensor
    key: Tensor
    value: Tensor


def attention(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """Projections, scores, softmax, context and output projection; ``kv_heads`` below ``heads`` is grouped-query attention.

    With ``window`` a query meets so many keys at most (under a causal mask its own and those before). ``causal: true`` says that it
    meets no key after its own, which hardware with ``causal_skip`` makes use of.

    Latent attention makes queries of ``query_rank`` and keys and values of ``key_rank`` features, normed; its values may have a
    ``value_dim`` of their own. The part of its keys that all heads share is counted as the heads' own.

    With ``of`` keys and values are made of the output of an earlier layer (cross attention). ``project`` names the linear layers
    of query, key and value, or the one that makes all three.
    """
    heads = _heads(builder, operation, tensor, scope, path)
    name = builder.name(operation, prefix, path)
    if heads.queries % heads.pairs:
        builder.problem((*path, "kv_heads"), f"{heads.pairs} does not divide {heads.queries} heads")
        return tensor
    if operation.head_dim is None and tensor.C % heads.queries:
        builder.problem((*path, "heads"), f"{heads.queries} does not divide {tensor.C} features; give head_dim")
        return tensor
    other = tensor
    if operation.of is not None:
        other = builder.makers["from"](builder, operation, tensor, prefix, scope, path)
    asked = tensor
    if operation.query_rank is not None:
        asked = latent(builder, operation, f"{name}.q_a_proj", tensor, "query_rank", scope, path)
    if operation.key_rank is not None:
        other = latent(builder, operation, f"{name}.kv_a_proj", other, "key_rank", scope, path)
    made = _projected(builder, operation, name, heads, tensor, asked, other, path)
    if made is None:
        return tensor
    if operation.causal and operation.of is not None:
        builder.problem((*path, "causal"), "a causal mask is over the tokens themselves; it goes without 'of'")
    context = _products(builder, operation, name, heads, made, tensor, other, path)
    return projection(builder, operation, f"{name}.{operation.out or 'o_proj'}", context, tensor.C, path)


def _heads(builder: Builder, operation: Operation, tensor: Tensor, scope: Scope, path: Key) -> Heads:
    queries = builder.number(operation, "heads", scope, path, 1)
    pairs = queries if operation.kv_heads is None else builder.number(operation, "kv_heads", scope, path, 1)
    shared = max(tensor.C // queries, 1)
    width = shared if operation.head_dim is None else builder.number(operation, "head_dim", scope, path, 1)
    values = width if operation.value_dim is None else builder.number(operation, "value_dim", scope, path, 1)
    past = builder.number(operation, "past", scope, path, 0)
    window = 0 if operation.window is None else builder.number(operation, "window", scope, path, 1)
    return Heads(queries, pairs, width, values, past, window)


def _projected(
    builder: Builder,
    operation: Operation,
    name: str,
    heads: Heads,
    tensor: Tensor,
    asked: Tensor,
    other: Tensor,
    path: Key,
) -> Projected | None:
    """Queries of ``asked``, keys and values of ``other``, turned by their positions if the file says so; None after a problem."""
    names = operation.project or ["q_proj", "k_proj", "v_proj"]
    if len(names) == 1:
        if heads.values != heads.width or asked is not tensor or operation.key_rank is not None:
            builder.problem(
                (*path, "project"), "one projection of all three goes without value_dim, query_rank and key_rank"
            )
            return None
        features = (heads.queries + 2 * heads.pairs) * heads.width
        query = key = value = projection(builder, operation, f"{name}.{names[0]}", tensor, features, path)
    elif len(names) == 3:
        query = projection(builder, operation, f"{name}.{names[0]}", asked, heads.queries * heads.width, path)
        key = projection(builder, operation, f"{name}.{names[1]}", other, heads.pairs * heads.width, path)
        value = projection(builder, operation, f"{name}.{names[2]}", other, heads.pairs * heads.values, path)
    else:
        builder.problem((*path, "project"), f"expected 1 or 3 names, got {len(names)}")
        return None
    if operation.rope:
        turned = replace(query, C=(heads.queries + heads.pairs) * heads.width, learns=query.learns or key.learns)
        rope = builder.vector(f"{name}.rope", "activation", turned, path, second=key, function="rope")
        query, key = replace(query, producer=rope.name), replace(key, producer=rope.name)
    return Projected(query, key, value)


def _products(
    builder: Builder,
    operation: Operation,
    name: str,
    heads: Heads,
    made: Projected,
    tensor: Tensor,
    other: Tensor,
    path: Key,
) -> Tensor:
    """Scores, softmax and context of the heads: their results joined."""
    query, key, value = made
    # Keys that leave the window before the first query are not read; those kept of the cache are the others.
    kept = min(heads.past, heads.window - 1) if heads.window else heads.past
    rows, columns = tensor.pixels, kept + other.pixels
    narrow = heads.window if heads.window < columns else 0
    mask = Mask("K", rows, narrow, operation.causal) if narrow or operation.causal else None
    met = narrow or columns
    data, second = ("backward_data",), ("backward_weight",)
    scores = Layer(
        name=f"{name}.scores",
        kind="matmul",
        N=rows * heads.queries // heads.pairs,
        G=heads.pairs,
        K=columns,
        C=heads.width,
        cached=heads.past > 0 or operation.cached,
        mask=mask,
        passes=("forward", *data * query.learns, *second * key.learns),
    )
    builder.add(scores, query, path, key)
    learns = query.learns or key.learns
    soft = Layer(
        name=f"{name}.softmax",
        kind="softmax",
        G=heads.queries,
        P=rows,
        Q=met,
        input_hw=(rows, met),
        passes=("forward", *data * learns),
    )
    builder.add(soft, Tensor(scores.name, heads.queries, rows, met), path)
    context = replace(
        scores,
        name=f"{name}.context",
        K=heads.values,
        C=columns,
        mask=None if mask is None else replace(mask, dim="C"),
        passes=("forward", *data * learns, *second * value.learns),
    )
    builder.add(context, Tensor(soft.name, heads.queries, rows, met), path, value)
    return replace(tensor, producer=context.name, C=heads.queries * heads.values, learns=learns or value.learns)


def latent(
    builder: Builder, operation: Operation, name: str, tensor: Tensor, key: str, scope: Scope, path: Key
) -> Tensor:
    """A projection to a few features and a norm of them, from which heads are made (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    made = projection(builder, operation, name, tensor, builder.number(operation, key, scope, path, 1), path)
    norm = builder.vector(f"{name}.norm", "layernorm", made, path, frozen=builder.frozen(operation))
    return replace(made, producer=norm.name)


def mixture(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """A router sends every token to ``active`` of ``experts`` copies of ``main``; their results are summed.

    ``routing`` says how tokens choose, see :class:`dse.workload.Layer`. Experts that every token takes (shared experts) are a
    branch of their own: a ``residual`` with the ``moe`` in ``main`` and them in ``shortcut``.
    """
    experts = builder.number(operation, "experts", scope, path, 1)
    active = builder.number(operation, "active", scope, path, 1)
    name = builder.name(operation, prefix, path)
    if active > experts:
        builder.problem((*path, "active"), f"expected at most the {experts} experts, got {active}")
        return tensor
    if builder.mixture is not None:
        builder.problem(path, "a mixture of experts inside of another one")
        return tensor
    router = projection(builder, operation, f"{name}.{operation.out or 'gate'}", tensor, experts, path)
    shares = replace(router, producer=builder.vector(f"{name}.softmax", "softmax", router, path).name)
    sent = replace(tensor.as_tokens(tensor.pixels * active), learns=tensor.learns or router.learns)
    builder.mixture = Mixture(experts, active, operation.routing)
    made = builder.all(operation.main, sent, f"{name}.", scope, (*path, "main"))
    builder.mixture = None
    if made.pixels != sent.pixels:
        builder.problem((*path, "main"), "experts must keep the number of tokens")
        return tensor
    layer = builder.vector(f"{name}.add", "multiply", made, path, second=shares)
    return replace(made, producer=layer.name, D=tensor.D, H=tensor.H, W=tensor.W)


def recurrent(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """``count`` stacked recurrent layers: products with the input for all tokens at once, with the state token after token."""
    hidden = builder.number(operation, "K", scope, path, 1)
    gates = GATES[operation.op] * hidden
    name = builder.name(operation, prefix, path)
    for number in range(operation.count):
        builder.step(path)
        own = f"{name}.{number}" if operation.count > 1 else name
        passes, frozen = builder.passes(operation, tensor), builder.frozen(operation)
        learns = builder.learns(operation, tensor)
        made = replace(tensor, producer=f"{own}.input", C=gates, learns=learns)
        first = Layer(
            name=made.producer,
            kind="fc",
            N=tensor.pixels,
            K=gates,
            C=tensor.C,
            bias=operation.bias,
            passes=passes,
            frozen=frozen,
        )
        builder.add(first, tensor, path)
        again = tuple(pass_ for pass_ in PASSES if pass_ in passes or (pass_ == "backward_data" and learns))
        step = replace(first, name=f"{own}.recurrent", N=1, C=hidden, repeats=tensor.pixels, passes=again)
        # What the gates make of the sums of a time step is the state, which the next one reads.
        state = replace(made, producer=f"{own}.gates", C=hidden)
        sums = replace(made, producer=step.name)
        builder.add(step, state, path)
        builder.vector(state.producer, "activation", made, path, second=sums, function=operation.op)
        builder.outputs[step.name] = tensor = state
    return tensor


def add_tokens(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """Pixels as tokens, after ``count`` learned ones (a class token); without a name they are only counted as tokens."""
    if operation.name is None:
        return tensor.as_tokens(tensor.pixels)
    learned = tensor.as_tokens(operation.count)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="embedding",
        N=operation.count,
        K=tensor.C,
        C=operation.count,
        frozen=builder.frozen(operation),
        passes=vector_passes(replace(learned, learns=not builder.frozen(operation))),
    )
    builder.add(layer, Tensor("", 1, 1, 1), path)
    whole = builder.join(tensor.producer, layer.name)
    return replace(
        tensor, producer=whole, H=tensor.pixels + operation.count, W=1, learns=builder.learns(operation, tensor)
    )


def last_tokens(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """``count`` of the tokens (the class token, or the last one of a prompt)."""
    if operation.count > tensor.pixels:
        builder.problem(
            (*path, "count"), f"expected at most the {tensor.pixels} tokens that there are, got {operation.count}"
        )
    return tensor.as_tokens(min(operation.count, tensor.pixels))


#: Makers of the operations of this module.
SEQUENCE_MAKERS: Mapping[str, Maker] = {
    "linear": linear,
    "embedding": embedding,
    "attention": attention,
    "moe": mixture,
    "lstm": recurrent,
    "gru": recurrent,
    "tokens": add_tokens,
    "last_tokens": last_tokens,
}
