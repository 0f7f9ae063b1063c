"""Which keys each operation of a workload file, and each kind of explicit nest, makes use of; any other key is an error.

One table for each, which the schema cannot say: it knows the keys of all operations together. ``name`` and ``then`` go with every
operation and are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dse.workload.from_file.schema import ACTIVATIONS, SAMPLE_NORMS, Operation, WorkloadFile
from dse.yaml_input import Key, unused_keys

_FILTER = ("K", "R", "stride", "pad", "dilation", "groups", "bias", "frozen")
_TWO = (*_FILTER, "S", "pad_w")
_THREE = (*_FILTER, "S", "T")
_PROJECTION = ("bias", "frozen", "shared")

KEYS: Mapping[str, tuple[str, ...]] = {
    "conv": _TWO,
    "conv1d": _FILTER,
    "conv3d": _THREE,
    "conv_transpose": (*_TWO, "output_padding"),
    "conv_transpose1d": (*_FILTER, "output_padding"),
    "conv_transpose3d": (*_THREE, "output_padding"),
    "fc": ("K", "bias", "frozen"),
    "linear": (*_PROJECTION, "K"),
    "embedding": ("rows", "K", "bag", "frozen", "shared", "sparse"),
    "attention": (
        *_PROJECTION, "heads", "kv_heads", "head_dim", "value_dim", "query_rank", "key_rank", "past", "cached", "window", "causal",
        "rope", "project", "out", "of",
    ),
    "lstm": ("K", "bias", "count", "frozen"),
    "gru": ("K", "bias", "count", "frozen"),
    "moe": (*_PROJECTION, "experts", "active", "routing", "main", "out"),
    "pool": ("R", "S", "T", "stride", "pad", "pad_w", "dilation", "ceil"),
    "global_pool": (),
    "upsample": ("stride",),
    **dict.fromkeys(("norm", *SAMPLE_NORMS), ("frozen",)),
    **dict.fromkeys(("softmax", "loss", *ACTIVATIONS), ()),
    "pad_channels": ("K", "stride"),
    "tokens": ("count", "frozen"),
    "last_tokens": ("count",),
    "input": ("C", "D", "H", "W"),
    "from": ("of",),
    "block": ("of", "arguments", "count", "first"),
    "residual": ("main", "shortcut"),
    "product": ("main", "shortcut"),
    "concat": ("branches",),
}  # fmt: skip

#: Of every layer of ``nests``.
_COMMON = ("N", "G", "K", "P", "Q", "input", "tie", "reads", "reads_second", "passes", "repeats")
_WINDOW = ("R", "S", "stride", "dilation")

NEST_KEYS: Mapping[str, tuple[str, ...]] = {
    "conv": (*_COMMON, *_WINDOW, "C", "bias", "transposed", "frozen", "shared", "folded"),
    "fc": (*_COMMON, *_WINDOW, "C", "bias", "frozen", "shared", "experts", "routing"),
    "matmul": (*_COMMON, *_WINDOW, "C", "cached", "mask"),
    "norm": (*_COMMON, "frozen", "shared"),
    "layernorm": (*_COMMON, "bias", "frozen", "shared"),
    "embedding": (*_COMMON, "C", "R", "frozen", "shared", "sparse"),
    "pool": (*_COMMON, *_WINDOW, "function"),
    "activation": (*_COMMON, "function"),
    "multiply": (*_COMMON, "function"),
    **dict.fromkeys(("resize", "add", "softmax", "loss"), _COMMON),
}


def unused(file: WorkloadFile) -> list[tuple[Key, str]]:
    """Keys that were given and mean nothing where they stand: path and message of each."""
    problems = []
    for path, operation in _operations(file):
        problems += unused_keys(operation, {"name", "then", *KEYS[operation.op]}, f"op {operation.op}", path)
        if operation.op == "tokens" and operation.name is None and "count" in operation.model_fields_set:
            problems.append(
                ((*path, "count"), "counts learned tokens, which have a name; without one it means nothing")
            )
        if operation.op == "block" and "first" in operation.model_fields_set and "{i}" not in (operation.name or ""):
            problems.append(((*path, "first"), "is the first number of {i} in the name, which has none"))
        if operation.pad_w is not None and isinstance(operation.pad, list):
            problems.append(((*path, "pad_w"), "goes with one number as pad; a list says the width itself"))
    for index, entry in enumerate(file.nests or []):
        problems += unused_keys(entry, NEST_KEYS[entry.kind], f"a {entry.kind} layer", ("nests", index))
        if "routing" in entry.model_fields_set and not entry.experts:
            problems.append((("nests", index, "routing"), "goes with 'experts'"))
    return problems


def _operations(file: WorkloadFile) -> Iterator[tuple[Key, Operation]]:
    yield from _of(file.layers or [], ("layers",))
    for name, block in file.blocks.items():
        yield from _of(block.layers, ("blocks", name, "layers"))


def _of(operations: list[Operation], path: Key) -> Iterator[tuple[Key, Operation]]:
    for index, operation in enumerate(operations):
        here = (*path, index)
        yield here, operation
        yield from _of(operation.main, (*here, "main"))
        yield from _of(operation.shortcut, (*here, "shortcut"))
        for number, branch in enumerate(operation.branches):
            yield from _of(branch, (*here, "branches", number))
