"""A layer as loop bounds: no bit widths, no hardware.

Every layer with MACs, whether convolution, fully connected layer or attention product, is one loop nest over
:data:`dse.names.DIMS` and three tensors ``W[G,K,C,R,S]``, ``X[N,G,C,H,W]`` and ``Y[N,G,K,P,Q]`` with the sliding window
``h = stride * p + dilation * r``. Layers without MACs (norms, activations, pooling, sums) have the same bounds; they cost
traffic and vector operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import expm1, floor, log1p, prod
from typing import NamedTuple

from dse.names import PASSES

MAC_KINDS = ("conv", "fc", "matmul")
VECTOR_KINDS = (
    "norm", "layernorm", "activation", "pool", "resize", "add", "multiply", "softmax", "loss", "embedding",
)  # fmt: skip
#: What layers without MACs compute, by what their backward pass reads: the slope follows from the sign of the result, from the
#: result, or only from the input (:mod:`dse.workload.work.vector`).
FUNCTIONS_OF_SIGN = ("relu", "relu6", "leaky_relu", "hardtanh", "hardsigmoid", "clip")
FUNCTIONS_OF_OUTPUT = ("sigmoid", "tanh", "exp", "elu", "softplus", "sqrt", "rsqrt", "reciprocal")
FUNCTIONS_OF_INPUT = ("gelu", "silu", "hardswish", "mish", "erf", "log", "power", "prelu", "scale", "sine")
#: Gates of recurrent layers: how many of them each value of the state has.
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
FUNCTIONS = (
    *FUNCTIONS_OF_SIGN, *FUNCTIONS_OF_OUTPUT, *FUNCTIONS_OF_INPUT, *GATES,
    "abs", "select", "linear", "rope", "step", "max", "average",
)  # fmt: skip

Dims = tuple[int, int, int, int, int, int, int, int]


class NestRun(NamedTuple):
    """Bounds of a nest in the order of ``DIMS``, and how often it runs; a share where chance decides between nests."""

    dims: Dims
    times: float = 1.0


@dataclass(frozen=True)
class Mask:
    """Which keys the queries of an attention product meet.

    Attributes
    ----------
    dim
        The loop dim that counts keys: ``K`` of the scores, ``C`` of the context.
    queries
        Of one head and sample; they are the last ones of the keys where the mask is causal.
    window
        Keys that a query meets at most: of a causal mask itself and those before it. 0: all.
    causal
        Whether no query meets a key after its own. Dense hardware multiplies with those too and throws the products away.
    """

    dim: str
    queries: int
    window: int = 0
    causal: bool = False

    def met(self, keys: int) -> int:
        """Keys that a query meets at most, of so many."""
        return min(self.window, keys) if self.window else keys

    def causal_share(self, keys: int) -> float:
        """Share of the dense products that a causal mask leaves: query i of q meets ``keys - q + i`` keys, or its window."""
        if not self.causal:
            return 1.0
        most, past = self.met(keys), keys - self.queries
        growing = min(
            max(most - past, 0), self.queries
        )  # queries that meet fewer keys than the last one, and the first that does not
        met = growing * past + growing * (growing + 1) // 2 + (self.queries - growing) * most
        return met / (self.queries * most)


@dataclass(frozen=True)
class Folded:
    """The third axis of a convolution over three, which the nest folds: its positions are among N and its taps among C.

    Products, weights and results are exact. What the nest reads along the axis is not shared between positions that overlap, so
    that its input traffic is an upper bound, ``taps * output / input`` times the tensor; the tensor's own size is exact.

    Attributes
    ----------
    input, output, taps
        Sizes of the input without padding, of the output and of the filter along the axis.
    """

    input: int
    output: int
    taps: int


@dataclass(frozen=True)
class Layer:
    """One layer for one sample (``N`` counts what one sample contributes, such as tokens; the batch multiplies it).

    Attributes
    ----------
    name
        The framework's own name (torchvision's where the network is torchvision's).
    kind
        One of :data:`MAC_KINDS` or :data:`VECTOR_KINDS`. ``matmul`` is a product of two activations: its ``W`` is an activation,
        its backward_weight the second of its two backward_data passes. A ``norm`` has statistics of the batch and folds into its
        neighbour in inference; a ``layernorm`` (also RMS, group and instance norm) has those of its sample and does not.
    N, G, K, C, P, Q, R, S
        Loop bounds, integers >= 1. ``K`` and ``C`` are per group. Vector layers have ``C = 1``; a depthwise
        operation such as pooling has its channels in ``G``. An ``embedding`` sums ``R`` rows of its table of ``C`` for each of its
        ``N`` results.
    stride, dilation
        (vertical, horizontal), integers >= 1.
    input_hw
        (height, width) of the input without padding: a floor makes it ambiguous for stride > 1, so it is carried.
    bias
        Whether the layer adds a bias (K * G more parameters).
    passes
        The passes that training runs for this layer; inference runs ``forward`` alone.
    tie
        Layers with the same non-empty ``tie`` read the same input tensor and so share its format (a unit's conv1 and downsample).
    transposed
        A transposed convolution. Its bounds are those of the convolution that it is the backward_data pass of: ``K`` input
        channels, ``C`` output channels, ``P Q`` the size of its input, ``input_hw`` that of its output.
    frozen
        Its parameters are not trained: no backward_weight, no optimizer, no stash for it.
    shared
        Its weights are those of another layer (a classifier that reads the embedding's table): no parameters of its own.
    sparse
        An embedding whose optimizer updates only the rows that a step hit, whatever its states (as torch's ``sparse=True``).
    cached
        A matmul whose ``W`` comes from memory, kept from earlier steps (a KV cache); it is stored in the stash format.
    experts
        Of a mixture of experts: so many hold parameters, and each of the ``N`` tokens takes ``G`` different ones. 0: no mixture.
    routing
        How tokens choose experts. ``uniform``: each token any ``G`` of them with equal chance, whatever the others take, so that of
        T tokens a mean of ``experts * (1 - (1 - G / experts)^T)`` distinct experts is hit (each is missed by a token with the
        chance ``1 - G / experts``). ``worst``: as many distinct ones as there can be, ``min(experts, T * G)``. Tokens spread evenly
        over the experts that are hit.
    mask
        Of a product of attention: which keys its queries meet. None: all.
    repeats
        How often the nest runs one after the other for one sample, with the same weights (time steps of a recurrent layer).
    function
        Of an ``activation``, a ``pool`` or a ``multiply``: what it computes, one of :data:`FUNCTIONS`, on which depends what its
        backward pass needs. ``rope`` turns queries and keys; ``lstm``, ``gru`` and ``rnn`` are the gates of a recurrent layer with
        its states, where G counts the gates' values. Empty: not known; taken as a ReLU, the largest of a window, a product.
    folded
        The third axis of a convolution over three; see :class:`Folded` and :func:`dse.workload.nests.fold.with_axes`.
    reads, reads_second
        Names of the layers whose results it reads, an empty name for an input of the network; of a sum or product of two
        tensors the first operand's and the second one's (several where they are joined channel by channel). A recurrent layer
        reads the state of the time step before, which a later layer makes. Both empty: not said, taken as the layer before it.
    """

    name: str
    kind: str
    N: int = 1
    G: int = 1
    K: int = 1
    C: int = 1
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    input_hw: tuple[int, int] = (1, 1)
    bias: bool = False
    passes: tuple[str, ...] = PASSES
    tie: str = ""
    transposed: bool = False
    frozen: bool = False
    shared: bool = False
    sparse: bool = False
    cached: bool = False
    experts: int = 0
    routing: str = "uniform"
    mask: Mask | None = None
    repeats: int = 1
    function: str = ""
    folded: Folded | None = None
    reads: tuple[str, ...] = ()
    reads_second: tuple[str, ...] = ()

    @property
    def has_macs(self) -> bool:
        return self.kind in MAC_KINDS

    @property
    def dims(self) -> Dims:
        """Loop bounds in the order of :data:`dse.names.DIMS`."""
        return (self.N, self.G, self.K, self.C, self.P, self.Q, self.R, self.S)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass per sample; 0 for a vector layer."""
        return self.repeats * prod(self.met_dims) if self.has_macs else 0

    @property
    def causal_share(self) -> float:
        """Share of the products that hardware runs which leaves out those that a causal mask makes zero."""
        return 1.0 if self.mask is None else self.mask.causal_share(self.K if self.mask.dim == "K" else self.C)

    def nests(self, pass_: str, batch: int) -> tuple[NestRun, ...]:
        """The nests of a pass for a whole batch; their multiply-accumulates sum to those of the layer.

        The batch multiplies N. Each sample of a product of two activations has its own ``W``, so there it multiplies G. Tokens of a
        mixture spread over the experts that they hit, some of which take one token more than others (two nests); between two
        whole numbers of experts chance decides (two times two). Queries with a window go in blocks that meet a window's keys each,
        as many blocks as there are windows of keys, so that every key is read about once. Time steps depend on each other and
        run one after the other; the gradient of the weights is computed for all of them at once.
        """
        n, g, k, c, p, q, r, s = self.met_dims
        if self.kind == "matmul":
            g *= batch
        elif self.experts:
            return tuple(
                NestRun((tokens, experts, k, c, p, q, r, s), chance)
                for count, chance in self._experts_hit(n * batch)
                for tokens, experts in _even(n * g * batch, count)
            )
        else:
            n *= batch
        if self.mask is not None and self.mask.window:
            keys = self.K if self.mask.dim == "K" else self.C
            blocks = min(max(round(keys / self.mask.met(keys)), 1), self.mask.queries)
            heads = n // self.mask.queries
            rows = _even(self.mask.queries, blocks)
            return tuple(NestRun((heads * each, g * count, k, c, p, q, r, s)) for each, count in rows)
        if pass_ == "backward_weight":
            return (NestRun((n * self.repeats, g, k, c, p, q, r, s)),)
        return (NestRun((n, g, k, c, p, q, r, s), self.repeats),)

    def _experts_hit(self, tokens: int) -> list[tuple[int, float]]:
        """Numbers of distinct experts that so many tokens hit, with the chance of each; their mean is the expected number."""
        most = min(self.experts, tokens * self.G)
        if self.routing == "worst" or self.experts == self.G:
            return [(most, 1.0)]
        hit = -self.experts * expm1(tokens * log1p(-self.G / self.experts))
        if abs(hit - round(hit)) < 1e-9 * self.experts:
            return [(round(hit), 1.0)]
        return [(floor(hit), 1.0 - hit % 1.0), (floor(hit) + 1, hit % 1.0)]

    def batch_dims(self, pass_: str, batch: int) -> Dims:
        """Bounds of the first nest of a pass for a whole batch: the only one, but for experts and windows; see :meth:`nests`."""
        return self.nests(pass_, batch)[0].dims

    @cached_property
    def met_dims(self) -> Dims:
        """Loop bounds with the keys that a query meets for all keys."""
        n, g, k, c, p, q, r, s = self.dims
        if self.mask is not None:
            k, c = (self.mask.met(k), c) if self.mask.dim == "K" else (k, self.mask.met(c))
        return (n, g, k, c, p, q, r, s)

    @cached_property
    def parameters(self) -> int:
        """Learned values: weights and bias, or scale and shift of a norm (a layernorm without bias has a scale alone)."""
        if self.shared:
            return 0
        groups = self.experts or self.G
        if self.kind == "norm":
            return 2 * groups * self.K
        if self.kind == "layernorm":
            return (1 + self.bias) * groups * self.K
        if self.kind == "embedding":
            return groups * self.K * self.C
        if self.kind in ("conv", "fc"):
            outputs = self.C // self._taps if self.transposed else self.K
            return groups * (self.K * self.C * self.R * self.S + self.bias * outputs)
        return 0

    @property
    def trained_parameters(self) -> int:
        """Parameters that an optimizer updates."""
        return 0 if self.frozen else self.parameters

    @property
    def second_elements(self) -> int:
        """Elements per sample of the activation that a product of two activations has as its ``W``; else 0."""
        return self.G * self.K * self.C if self.kind == "matmul" else 0

    @cached_property
    def input_elements(self) -> int:
        """Elements of the input activation per sample, without padding (of one operand, for a sum or product of two)."""
        if self.transposed:
            return self.N * self.G * self.K * self.P * self.Q
        channels = self.G * self.met_dims[3] if self.has_macs else self.G * self.K
        return self.repeats * self._unfolded(self.N * channels) * self.input_hw[0] * self.input_hw[1]

    @cached_property
    def output_elements(self) -> int:
        """Elements of the output activation per sample; of gates, those of the state."""
        if self.function in GATES:
            return self.repeats * self.N * self.G * self.K * self.P * self.Q // GATES[self.function]
        if self.transposed:
            return self._unfolded(self.N * self.G * self.C) * self.input_hw[0] * self.input_hw[1]
        return self.repeats * self.N * self.G * self.met_dims[2] * self.P * self.Q

    @property
    def _taps(self) -> int:
        return 1 if self.folded is None else self.folded.taps

    def _unfolded(self, positions: int) -> int:
        """Samples times channels times the third axis of the large tensor, from N times G times C."""
        if self.folded is None:
            return positions
        return positions // (self.folded.output * self.folded.taps) * self.folded.input


def _even(items: int, places: int) -> list[tuple[int, int]]:
    """Items spread evenly over places: (items in each, so many places), the fuller places last.

    >>> _even(10, 4)
    [(2, 2), (3, 2)]
    """
    each, more = divmod(items, places)
    return [(size, count) for size, count in ((each, places - more), (each + 1, more)) if count and size]


def tied_inputs(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Layers with MACs that read the same input of a network share its format; inputs are told apart by their size alone."""
    every = tuple(layers)
    readers: dict[str, int] = {}
    named = [_input_read(layer) for layer in every]
    for name in named:
        readers[name] = readers.get(name, 0) + 1
    return tuple(
        replace(layer, tie=name) if name and readers[name] > 1 else layer
        for layer, name in zip(every, named, strict=True)
    )


def _input_read(layer: Layer) -> str:
    """The network's input that a layer with MACs reads and that nothing else names, else nothing."""
    reads_input = layer.has_macs and not layer.tie and layer.reads == ("",)
    return f"input of {layer.input_elements} elements" if reads_input else ""
