"""Keys of a workload file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from dse.workload.from_file.nests import NestEntry
from dse.yaml_input import Key

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1, le=2**31)]
#: A number, or arithmetic on a block's parameters such as ``4*K``.
Value = Annotated[int, Field(ge=0, le=2**31)] | Text
PositiveValue = Annotated[int, Field(ge=1, le=2**31)] | Text


def _tag(value: Any) -> str:
    return "list" if isinstance(value, list) else "value"


#: One number for all axes of a window, or one for each, the outermost axis first.
PerAxis = Annotated[
    Annotated[PositiveValue, Tag("value")]
    | Annotated[Annotated[list[PositiveValue], Field(min_length=1, max_length=3)], Tag("list")],
    Discriminator(_tag),
]
#: The same from 0; of padding also the beginnings of all axes and then their ends: ``[top, left, bottom, right]``.
Padding = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Annotated[list[Value], Field(min_length=1, max_length=6)], Tag("list")],
    Discriminator(_tag),
]

#: Functions of one element, applied as their input is written.
ACTIVATIONS = ("relu", "gelu", "silu", "hardswish", "sigmoid", "tanh")
#: Norms over one sample, with a scale and, but for rmsnorm, a shift.
SAMPLE_NORMS = ("layernorm", "rmsnorm", "groupnorm")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputFile(_Strict):
    """Shape of one input sample: an image of C channels (of depth D: a volume, or a clip of D images), or tokens with C features
    each, 1 for indices."""

    C: Positive = 1
    D: Positive | None = None
    H: Positive | None = None
    W: Positive | None = None
    tokens: Positive | None = None


class Operation(_Strict):
    """One step of a network; which keys it has depends on ``op``, see :mod:`dse.workload.from_file.keys`.

    ``stride``, ``dilation`` and ``output_padding`` are one number or one for each axis, the outermost first (``[vertical,
    horizontal]``, of three axes the depth before them); ``pad`` may also be the beginnings of all axes and then their ends, ``[top,
    left, bottom, right]``. ``R`` and ``S`` are the filter's height and width, ``T`` its depth; S and T are R where left out.
    """

    op: Literal[
        "conv", "conv1d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose3d", "fc", "linear", "embedding",
        "attention", "lstm", "gru", "moe",
        "pool", "global_pool", "upsample", "norm", "layernorm", "rmsnorm", "groupnorm", "softmax", "loss",
        "relu", "gelu", "silu", "hardswish", "sigmoid", "tanh",
        "pad_channels", "tokens", "last_tokens", "input", "from", "block", "residual", "product", "concat",
    ]  # fmt: skip
    name: Text | None = None
    C: PositiveValue | None = None
    D: PositiveValue = 1
    H: PositiveValue = 1
    W: PositiveValue = 1
    K: PositiveValue | None = None
    R: PositiveValue = 1
    S: PositiveValue | None = None
    T: PositiveValue | None = None
    stride: PerAxis = 1
    pad: Padding = 0
    pad_w: Value | None = None
    output_padding: Padding = 0
    dilation: PerAxis = 1
    groups: PositiveValue = 1
    bias: bool = False
    frozen: bool = False
    shared: bool = False
    ceil: bool = False
    rows: PositiveValue | None = None
    bag: PositiveValue = 1
    heads: PositiveValue | None = None
    kv_heads: PositiveValue | None = None
    head_dim: PositiveValue | None = None
    past: Value = 0
    window: PositiveValue | None = None
    causal: bool = False
    rope: bool = False
    project: Annotated[list[Text], Field(min_length=1, max_length=3)] | None = None
    out: Text | None = None
    experts: PositiveValue | None = None
    active: PositiveValue = 1
    routing: Literal["uniform", "worst"] = "uniform"
    then: list[
        Literal[
            "norm", "layernorm", "rmsnorm", "groupnorm", "relu", "gelu", "silu", "hardswish", "sigmoid", "tanh",
        ]
    ] = []  # fmt: skip
    of: Text | None = None
    arguments: dict[str, Value] = {}
    count: Positive = 1
    first: Annotated[int, Field(ge=0)] = 0
    main: list[Operation] = []
    shortcut: list[Operation] = []
    branches: list[list[Operation]] = []


class Block(_Strict):
    """A list of operations with parameters."""

    parameters: list[Text] = []
    layers: Annotated[list[Operation], Field(min_length=1)]


class LoraFile(_Strict):
    """Low-rank adapters (Hu et al., ICLR 2022): all else is frozen.

    ``layers`` are last parts of the names of linear layers, such as ``q_proj``.
    """

    rank: Positive
    layers: Annotated[list[Text], Field(min_length=1)]


class WorkloadFile(_Strict):
    """Top level of a workload file."""

    source: Text
    batch: Positive
    samples: Positive
    epochs: Positive
    optimizer: Literal["sgd", "momentum", "adam", "adamw"]
    accumulate: Positive = 1
    input: InputFile | None = None
    lora: LoraFile | None = None
    blocks: dict[str, Block] = {}
    layers: Annotated[list[Operation], Field(min_length=1)] | None = None
    nests: Annotated[list[NestEntry], Field(min_length=1)] | None = None


def one_form(file: WorkloadFile) -> list[tuple[Key, str]]:
    """A file has operations with an input, or nests; an input is an image or tokens."""
    if file.nests is not None:
        extra = [key for key in ("input", "blocks", "layers", "lora") if getattr(file, key)]
        return [((key,), "goes with 'layers'; a file with 'nests' has explicit bounds") for key in extra]
    problems: list[tuple[Key, str]] = [
        ((key,), "missing; give 'input' and 'layers', or 'nests'")
        for key in ("input", "layers")
        if getattr(file, key) is None
    ]
    if file.input is not None:
        image = file.input.H is not None and file.input.W is not None
        if image == (file.input.tokens is not None) or (file.input.H is None) != (file.input.W is None):
            problems.append((("input",), "expected C, H and W of an image, or tokens"))
        elif file.input.D is not None and not image:
            problems.append((("input", "D"), "goes with H and W"))
    return problems


def calls(operations: list[Operation]) -> set[str]:
    """Blocks that operations call."""
    found = set()
    for operation in operations:
        if operation.op == "block" and operation.of:
            found.add(operation.of)
        for inner in (operation.main, operation.shortcut, *operation.branches):
            found |= calls(inner)
    return found
