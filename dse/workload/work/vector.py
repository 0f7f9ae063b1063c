"""Work of layers without MACs and of the optimizer: elements read and written in DRAM, operations, and what is kept for later.

Counts per element of the layer's tensor. Normalization in training needs its input twice, once for mean and variance and
once to normalize, and in the backward pass the error and the input twice each, once for the two sums and once for the result
(Ioffe and Szegedy, arXiv 1502.03167, equations of section 3; Jung et al., MLSys 2019, count the same sweeps). Inference folds
a normalization into the convolution before it. An activation function is applied as its producer writes: operations, no traffic.
A row of a layer norm fits on the chip, so its tensor is read once (one sweep with running sums: Welford, Technometrics 1962).
The gates of a recurrent layer are applied as the sums of a time step are written; they read the input's share of those sums.

What a backward pass reads again follows from the derivative (:func:`kept_for_backward`):

* a product keeps the operand that the error of the other one, or of the weight, is made of
* norms keep their input; softmax, y (e - sum y e), its result
* ReLU, leaky ReLU, ReLU6, clip, hard tanh and hard sigmoid have a slope that the sign of the result, or its place between two
  limits, tells: a bit per element, or the result where someone keeps it anyway (Jain et al., Gist, ISCA 2018)
* sigmoid y (1 - y), tanh 1 - y^2, exp y, ELU y + a, softplus 1 - exp(-y), square root 1 / 2y, 1/sqrt -y^3 / 2, 1/x -y^2: the result
* GELU, SiLU, hard swish, Mish, erf, log, powers, PReLU, learned scales, sines: the input
* absolute values, the choice between two tensors: a bit; the largest of a window of w: ceil(log2 w) bits
* sums, means, resizing, constant factors, rotations and rounding: nothing
* an LSTM keeps its four gates and the cell state (tanh of which is computed again), a GRU its three gates and the hidden part of
  the candidate, as PyTorch's fused cells do; the state itself is what the recurrent product reads
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import NamedTuple

from dse.workload.layer import FUNCTIONS_OF_INPUT, FUNCTIONS_OF_OUTPUT, FUNCTIONS_OF_SIGN, GATES
from dse.workload.model import Layer, Network


class Work(NamedTuple):
    """Elements read, elements written, operations, and elements read from what was kept, per sample."""

    reads: float
    writes: float
    operations: float
    stash_reads: float = 0.0


#: (reads, writes, operations) per element by kind, in training; what is kept is read on top.
_FORWARD: dict[str, tuple[int, ...]] = {
    "norm": (2, 1, 4),
    "activation": (0, 0, 1),
    "add": (2, 1, 1),
    "multiply": (2, 1, 1),
    "layernorm": (1, 1, 5),
    "softmax": (2, 1, 5),
    "loss": (2, 1, 5),
}
_BACKWARD: dict[str, tuple[int, ...]] = {
    "norm": (2, 1, 8),
    "activation": (0, 0, 1),
    "add": (2, 1, 1),
    "multiply": (1, 2, 2),
    "layernorm": (1, 1, 8),
    "softmax": (1, 1, 3),
    "loss": (1, 1, 1),
}


def vector_work(layer: Layer, pass_: str, training: bool) -> Work:
    """What a layer without MACs reads, writes and computes per sample in a pass.

    Parameters
    ----------
    pass_
        ``forward`` or ``backward_data``; the gradients of a norm's scale and shift are sums of its backward pass.
    training
        In inference a norm is folded into the convolution before it and there is no loss.
    """
    if not training and layer.kind in ("norm", "loss"):
        return Work(0.0, 0.0, 0.0)
    if layer.kind in ("pool", "resize"):
        window = layer.output_elements * layer.R * layer.S
        read, written = layer.input_elements, layer.output_elements
        return Work(read, written, window) if pass_ == "forward" else Work(written, read, window)
    n = float(layer.output_elements)
    if layer.kind == "embedding":
        # Rows of a bag are read and added up; in the backward pass each of them gets the sum's error.
        return Work(layer.R * n, n, (layer.R - 1) * n) if pass_ == "forward" else Work(n, layer.R * n, layer.R * n)
    if layer.function in GATES:
        gates = _GATES[layer.function]
        if pass_ == "forward":
            return Work(GATES[layer.function] * n, 0.0, gates.forward * n)
        return Work(n, GATES[layer.function] * n, gates.backward * n, gates.kept * n)
    per_element = (_FORWARD if pass_ == "forward" else _BACKWARD)[layer.kind]
    reads, writes, operations = (count * n for count in per_element)
    return Work(reads, writes, operations, float(sweeps(layer) * stash_elements(layer) * (pass_ != "forward")))


class GateWork(NamedTuple):
    """Per value of the state: operations of both passes, and values kept."""

    forward: int
    backward: int
    kept: int


#: LSTM: four sums, four functions, c = f c + i g, tanh, h = o tanh(c); backward the slopes of the four gates (three
#: operations each, two for the candidate), of tanh(c), and the products of the chain rule. GRU (Cho et al., arXiv
#: 1406.1078) and a plain tanh alike.
_GATES = {"lstm": GateWork(13, 21, 5), "gru": GateWork(11, 16, 4), "rnn": GateWork(2, 3, 0)}


class Kept(NamedTuple):
    """What the backward passes of a layer read again, per sample.

    Attributes
    ----------
    input, second, output
        Elements of its operands and of its result.
    own
        Elements that are no tensor of the network: gates and cell states.
    bits
        Bits that are neither, such as the place of a window's largest element.
    sign_bits
        Bits that the result holds too, so that they are kept only where nobody keeps the result.
    """

    input: int = 0
    second: int = 0
    output: int = 0
    own: int = 0
    bits: int = 0
    sign_bits: int = 0


def kept_for_backward(layer: Layer) -> Kept:
    """What must be kept from the forward pass; see the module for the derivatives."""
    back = "backward_data" in layer.passes
    n = layer.output_elements
    if layer.has_macs:
        second = layer.second_elements * (back and layer.kind == "matmul" and not layer.cached)
        return Kept(input=layer.input_elements * ("backward_weight" in layer.passes), second=second)
    if not back:
        return Kept()
    if layer.kind in ("norm", "layernorm"):
        return Kept(input=layer.input_elements)
    if layer.kind == "softmax":
        return Kept(output=n)
    if layer.kind == "multiply":
        if layer.function in ("select", "clip"):
            return Kept(bits=n)
        return Kept(input=n, second=n) if layer.function not in ("step", "linear") else Kept()
    if layer.kind == "pool":
        return Kept(bits=0 if layer.function == "average" else n * ceil(log2(layer.R * layer.S)))
    return _kept_by_function(layer.function or "relu", n) if layer.kind == "activation" else Kept()


def _kept_by_function(function: str, n: int) -> Kept:
    if function in FUNCTIONS_OF_INPUT:
        return Kept(input=n)
    if function in FUNCTIONS_OF_OUTPUT or function == "rnn":
        return Kept(output=n)
    if function in GATES:
        return Kept(own=_GATES[function].kept * n)
    if function in ("abs", "select"):
        return Kept(bits=n)
    return Kept(sign_bits=n) if function in FUNCTIONS_OF_SIGN else Kept()


def stash_elements(layer: Layer) -> int:
    """Elements per sample that a layer's backward passes read again, without single bits; others may keep them too."""
    kept = kept_for_backward(layer)
    return kept.input + kept.second + kept.output + kept.own


def sweeps(layer: Layer) -> int:
    """How often a backward pass reads what the layer keeps."""
    return 2 if layer.kind == "norm" else 1


def rows_hit(layer: Layer, samples: int) -> int:
    """Trained elements that some gradient of so many samples is for: of an embedding the rows that were read, each once.

    As many as there can be, ``min(indices, rows)``: indices that repeat make it fewer. Of all other layers every parameter.
    """
    if layer.kind != "embedding":
        return layer.trained_parameters
    return min(layer.N * layer.R * samples, layer.C) * layer.G * layer.K if layer.trained_parameters else 0


def tables_in_products(layers: Sequence[Layer]) -> set[int]:
    """Places of embeddings whose table a trained product reads too, so that every row of it has a gradient."""
    products = [layer for layer in layers if layer.kind == "fc" and layer.shared and "backward_weight" in layer.passes]
    shapes = {frozenset((layer.K, layer.C)) for layer in products}
    return {
        place
        for place, layer in enumerate(layers)
        if layer.kind == "embedding" and not layer.shared and frozenset((layer.K, layer.C)) in shapes
    }


class Updated(NamedTuple):
    """Elements of a layer's parameters whose gradient an optimizer reads, and that it updates."""

    gradient: int
    parameters: int


def updated(network: Network) -> list[Updated]:
    """What the optimizer reads and writes of every layer in a step.

    Dense optimizers with states (momentum, Adam) update all rows of an embedding's table, since every row's states decay; plain
    SGD leaves a row without a gradient as it is, and so does any optimizer of a ``sparse`` table.
    """
    dense = tables_in_products(network.layers)
    result = []
    for place, layer in enumerate(network.layers):
        every = layer.trained_parameters
        hit = every if place in dense else rows_hit(layer, network.batch * network.accumulate)
        alone = place not in dense and (network.optimizer == "sgd" or layer.sparse)
        result.append(Updated(hit, hit if alone else every))
    return result


class OptimizerWork(NamedTuple):
    """Per parameter: states read and written beside master weight and gradient, and operations."""

    states: int
    operations: int


#: sgd w -= lr*g; momentum v = m*v + g, w -= lr*v, with weight decay; adam as Kingma and Ba, arXiv 1412.6980, algorithm 1;
#: adamw decays the weight apart, w -= lr*d*w (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
_OPTIMIZERS = {
    "sgd": OptimizerWork(0, 2),
    "momentum": OptimizerWork(1, 6),
    "adam": OptimizerWork(2, 12),
    "adamw": OptimizerWork(2, 14),
}


def optimizer_work(kind: str) -> OptimizerWork:
    """States and operations per parameter of an optimizer."""
    return _OPTIMIZERS[kind]
