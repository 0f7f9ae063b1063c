"""Networks as explicit loop bounds: the ``nests`` of a workload file, which importers write and a person may edit.

One entry per layer. Bounds that are 1, empty flags and the usual passes may be left out, so that a file reads like a table;
:meth:`dse.workload.Network.save` writes it (:mod:`dse.workload.nests.text`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.names import PASSES
from dse.workload.model import FUNCTIONS, MAC_KINDS, Folded, Layer, Mask
from dse.workload.nests.text import RENAMED, usual_passes
from dse.yaml_input import suggest

Bound = Annotated[int, Field(ge=1, le=2**31)]
Pair = Bound | Annotated[list[Bound], Field(min_length=2, max_length=2)]


class FoldedEntry(BaseModel):
    """The axis of a convolution over three that is folded; see :class:`dse.workload.layer.Folded`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    input: Bound
    """Input size of the folded axis."""
    output: Bound
    """Its output size."""
    taps: Bound
    """Filter taps along it."""


class MaskEntry(BaseModel):
    """Which keys the queries of an attention product meet; see :class:`dse.workload.layer.Mask`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    dim: Literal["K", "C"]
    """The loop dim that runs over keys."""
    queries: Bound
    """Queries of one head and sample."""
    window: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Keys that a query meets at most; 0: all."""
    causal: bool = False
    """No later keys."""


class NestEntry(BaseModel):
    """One layer as it is; see :class:`dse.workload.Layer` for the meaning of every key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1)]
    """Name of the layer."""
    kind: Literal[
        "conv", "fc", "matmul",
        "norm", "layernorm", "activation", "pool", "resize", "add", "multiply", "softmax", "loss", "embedding",
    ]  # fmt: skip
    """What it computes."""
    N: Bound = 1
    """Batch: what one sample contributes, such as tokens."""
    G: Bound = 1
    """Groups; channels of a depthwise operation; experts that a token takes."""
    K: Bound = 1
    """Output channels per group."""
    C: Bound = 1
    """Input channels per group."""
    P: Bound = 1
    """Output height."""
    Q: Bound = 1
    """Output width."""
    R: Bound = 1
    """Filter height."""
    S: Bound = 1
    """Filter width."""
    stride: Pair = 1
    """Vertical and horizontal step; one number for both."""
    dilation: Pair = 1
    """Vertical and horizontal distance of taps."""
    input: Pair = 1
    """Height and width of the input without padding."""
    bias: bool = False
    """A bias is added."""
    transposed: bool = False
    """A transposed convolution, by the bounds of the convolution that it turns around."""
    frozen: bool = False
    """Not trained."""
    shared: bool = False
    """Weights are those of another layer."""
    sparse: bool = False
    """The optimizer updates the rows of the table that a step hit and no others."""
    cached: bool = False
    """Its W comes from a cache."""
    experts: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Experts of a mixture."""
    routing: Literal["uniform", "worst"] = "uniform"
    """How tokens choose experts."""
    repeats: Bound = 1
    """Times that the nest runs one after the other."""
    function: str = ""
    """What an activation computes."""
    folded: FoldedEntry | None = None
    """The third axis of a convolution over three."""
    mask: MaskEntry | None = None
    """Keys that an attention's queries meet."""
    tie: str = ""
    """Layers with the same word read one tensor."""
    reads: list[str] = []
    """Layers whose results it reads."""
    reads_second: list[str] = []
    """Layers whose results its second operand is."""
    passes: list[Literal["forward", "backward_data", "backward_weight"]] | None = None
    """Passes that training runs; default: all that its kind has."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with an entry: which key, and the rule."""

    key: str
    message: str


def layer_of_entry(entry: NestEntry) -> tuple[Layer, list[Fault]]:
    """The layer of an entry and the rules that it breaks; keys that its kind does not use are another module's matter."""
    faults = []
    passes = usual_passes(entry.kind) if entry.passes is None else tuple(entry.passes)
    if "forward" not in passes or len(set(passes)) != len(passes):
        faults.append(Fault("passes", f"expected forward and each other pass at most once, got {list(passes)}"))
    if entry.kind not in MAC_KINDS and "backward_weight" in passes:
        faults.append(
            Fault("passes", f"a {entry.kind} layer has no backward_weight; its gradients are sums of backward_data")
        )
    if entry.frozen and "backward_weight" in passes:
        faults.append(Fault("frozen", "a frozen layer has no backward_weight"))
    if entry.experts and entry.experts < entry.G:
        faults.append(Fault("experts", f"expected at least the G = {entry.G} that a token takes, got {entry.experts}"))
    if entry.function and entry.function not in FUNCTIONS:
        faults.append(Fault("function", f"unknown function '{entry.function}'{suggest(entry.function, FUNCTIONS)}"))
    if entry.reads_second and not entry.reads:
        faults.append(Fault("reads_second", "goes with 'reads', which names the first operand"))
    folded = None if entry.folded is None else Folded(entry.folded.input, entry.folded.output, entry.folded.taps)
    if folded is not None and (entry.N % folded.output or entry.C % folded.taps):
        faults.append(
            Fault(
                "folded",
                f"expected N to be a multiple of the output's {folded.output} and C of the {folded.taps} taps, "
                f"got N {entry.N} and C {entry.C}",
            )
        )
        folded = None
    mask = None if entry.mask is None else Mask(**entry.mask.model_dump())
    if mask is not None and (wrong := _mask_fault(entry, mask)):
        faults.append(Fault("mask", wrong))
        mask = None
    ordered = tuple(pass_ for pass_ in PASSES if pass_ in passes)
    layer = Layer(
        name=entry.name, kind=entry.kind,
        N=entry.N, G=entry.G, K=entry.K, C=entry.C, P=entry.P, Q=entry.Q, R=entry.R, S=entry.S,
        stride=_pair(entry.stride), dilation=_pair(entry.dilation), input_hw=_pair(entry.input),
        bias=entry.bias, passes=ordered, tie=entry.tie, transposed=entry.transposed, frozen=entry.frozen,
        shared=entry.shared, sparse=entry.sparse, cached=entry.cached,
        experts=entry.experts, routing=entry.routing, repeats=entry.repeats,
        function=entry.function, folded=folded, mask=mask, reads=tuple(entry.reads), reads_second=tuple(entry.reads_second),
    )  # fmt: skip
    return layer, faults


def _mask_fault(entry: NestEntry, mask: Mask) -> str:
    """What is wrong with a mask, or nothing."""
    keys = entry.K if mask.dim == "K" else entry.C
    if entry.N % mask.queries:
        return f"expected queries that divide N (queries times heads per key), got {mask.queries} of {entry.N}"
    if mask.causal and mask.queries > keys:
        return f"a causal mask needs a key for each of the {mask.queries} queries, got {mask.dim} {keys}"
    if not mask.causal and not mask.window:
        return "expected a window, or causal: true"
    return ""


def _pair(value: int | list[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


assert {RENAMED.get(field.name, field.name) for field in fields(Layer)} == set(NestEntry.model_fields)
