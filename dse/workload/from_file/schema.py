"""Keys of a workload file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from dse.workload.from_file.nests import NestEntry
from dse.workload.nests.bounds import batch_problem
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
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class InputFile(_Strict):
    """Shape of one input sample: an image of C channels (of depth D: a volume, or a clip of D images), or tokens with C features
    each, 1 for indices."""

    C: Positive = 1
    """Channels of an image; features of a token, 1 for indices."""
    D: Positive | None = None
    """Depth of a volume, or images of a clip."""
    H: Positive | None = None
    """Height of an image, pixels."""
    W: Positive | None = None
    """Width of an image, pixels."""
    tokens: Positive | None = None
    """Length of a sequence; instead of H and W."""


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
    """What the step does."""
    name: Text | None = None
    """Name of the layer, as the framework calls it; of a block what its layers' names begin with, ``{i}`` for its number."""
    C: PositiveValue | None = None
    """Channels that an ``input`` sets."""
    D: PositiveValue = 1
    """Depth that an ``input`` sets."""
    H: PositiveValue = 1
    """Height that an ``input`` sets."""
    W: PositiveValue = 1
    """Width that an ``input`` sets."""
    K: PositiveValue | None = None
    """Output channels or features; size of a recurrent layer's state, of a table's rows; channels to pad to."""
    R: PositiveValue = 1
    """Filter or window height."""
    S: PositiveValue | None = None
    """Filter or window width; default: R."""
    T: PositiveValue | None = None
    """Filter or window depth; default: R."""
    stride: PerAxis = 1
    """Step of the filter or window, or one for each axis; factor of an upsampling."""
    pad: Padding = 0
    """Zeros around the input: on all sides, ``[vertical, horizontal]``, or ``[top, left, bottom, right]``."""
    pad_w: Value | None = None
    """Columns of zeros on each side where they differ from ``pad``."""
    output_padding: Padding = 0
    """Rows and columns that a transposed convolution appends to its output."""
    dilation: PerAxis = 1
    """Distance of filter taps, or one for each axis."""
    groups: PositiveValue = 1
    """Groups of channels that are convolved apart; the number of channels for depthwise."""
    bias: bool = False
    """Whether a bias is added."""
    frozen: bool = False
    """Parameters are not trained."""
    shared: bool = False
    """Weights are those of another layer; no parameters of its own."""
    sparse: bool = False
    """The optimizer updates the rows of an embedding's table that a step hit and no others."""
    ceil: bool = False
    """Output size of a pool is rounded up."""
    rows: PositiveValue | None = None
    """Rows of an embedding's table: the vocabulary."""
    bag: PositiveValue = 1
    """Tokens whose rows of the table are added up to one result."""
    heads: PositiveValue | None = None
    """Heads of an attention."""
    kv_heads: PositiveValue | None = None
    """Heads of its keys and values; default: as many as heads."""
    head_dim: PositiveValue | None = None
    """Features of a head; default: features / heads."""
    value_dim: PositiveValue | None = None
    """Features of a head's values where they differ from those of queries and keys."""
    query_rank: PositiveValue | None = None
    """Queries are made through so many features, normed (latent attention); default: directly."""
    key_rank: PositiveValue | None = None
    """Keys and values are made of so many shared features, normed (latent attention); default: directly."""
    past: Value = 0
    """Tokens whose keys and values are already cached."""
    cached: bool = False
    """Keys and values stay in a cache for later steps, also without past ones (prefill)."""
    window: PositiveValue | None = None
    """Keys that a query meets at most, under a causal mask its own and those before; default: all."""
    causal: bool = False
    """A query meets no key after its own, which hardware with ``causal_skip`` makes use of."""
    rope: bool = False
    """Rotary position embedding of queries and keys."""
    project: Annotated[list[Text], Field(min_length=1, max_length=3)] | None = None
    """Names of the projections of queries, keys and values."""
    out: Text | None = None
    """Name of the projection behind the attention, or of a mixture's router."""
    experts: PositiveValue | None = None
    """Experts of a mixture."""
    active: PositiveValue = 1
    """Experts that a token takes."""
    routing: Literal["uniform", "worst"] = "uniform"
    """How tokens choose experts, which decides whose weights are read: ``uniform``, each token any of them by chance and the mean
    over it, or ``worst``, as many different ones as there can be."""
    then: list[
        Literal[
            "norm", "layernorm", "rmsnorm", "groupnorm", "relu", "gelu", "silu", "hardswish", "sigmoid", "tanh",
        ]
    ] = []  # fmt: skip
    """Norms and activations that follow the layer."""
    of: Text | None = None
    """Block that is called; earlier layer to go back to, or whose result makes an attention's keys and values."""
    arguments: dict[str, Value] = {}
    """Values of a called block's parameters."""
    count: Positive = 1
    """How often a block stands in a row; stacked recurrent layers; learned tokens; tokens that are kept."""
    first: Annotated[int, Field(ge=0)] = 0
    """Number of the first of them in their names."""
    main: list[Operation] = []
    """Operations of a sum's or a product's main branch, or of an expert."""
    shortcut: list[Operation] = []
    """Operations of its shortcut; default: the identity."""
    branches: list[list[Operation]] = []
    """Branches that are joined channel by channel."""


class Block(_Strict):
    """A list of operations with parameters."""

    parameters: list[Text] = []
    """Names that its operations may use in sizes."""
    layers: Annotated[list[Operation], Field(min_length=1)]
    """Its operations."""


class LoraFile(_Strict):
    """Low-rank adapters (Hu et al., ICLR 2022): all else is frozen.

    ``layers`` are last parts of the names of linear layers, such as ``q_proj``.
    """

    rank: Positive
    """Rank of the adapters."""
    layers: Annotated[list[Text], Field(min_length=1)]
    """Last parts of the names of the layers that get one."""


class WorkloadFile(_Strict):
    """Top level of a workload file; the network's name is that of the file where none is given."""

    name: Text | None = None
    """Name of the network; default: the file's."""
    source: Text
    """Where the shapes were published."""
    batch: Positive
    """Samples per step."""
    samples: Positive
    """Samples per epoch."""
    epochs: Positive
    """Epochs of the recipe."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw"]
    """Optimizer of the recipe."""
    accumulate: Positive = 1
    """Batches whose gradients are added before an update."""
    input: InputFile | None = None
    """Shape of a sample, with ``layers``."""
    lora: LoraFile | None = None
    """Low-rank adapters."""
    blocks: dict[str, Block] = {}
    """Lists of operations by name."""
    layers: Annotated[list[Operation], Field(min_length=1)] | None = None
    """The network, operation by operation."""
    nests: Annotated[list[NestEntry], Field(min_length=1)] | None = None
    """The network as loop bounds, instead of ``input`` and ``layers``."""
    allow_unusual: bool = False
    """Keeps a batch that looks like a slip."""


def one_form(file: WorkloadFile) -> list[tuple[Key, str]]:
    """A file has operations with an input, or nests; an input is an image or tokens; a batch is plausible."""
    odd = "" if file.allow_unusual else batch_problem(file.batch)
    problems: list[tuple[Key, str]] = (
        [(("batch",), f"{odd}; 'allow_unusual: true' in the file keeps it")] if odd else []
    )
    if file.nests is not None:
        extra = [key for key in ("input", "blocks", "layers", "lora") if getattr(file, key)]
        return problems + [((key,), "goes with 'layers'; a file with 'nests' has explicit bounds") for key in extra]
    problems += [
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
