"""How tensors lie in memory: the matrix that each pass of a layer reads or writes, and what its formats take there.

Groups of a format run along the reduction of the pass that reads the tensor (OCP MX 1.0 defines the product of two blocks along
it, and NVIDIA's and AMD's units multiply only such blocks):

* forward: a weight along C R S of its output channel, an activation along its channels C, pixel by pixel
* backward_data: a weight along K R S of its input channel, an error along its channels K
* backward_weight: an activation and an error along the positions N P Q of the batch, channel by channel

Where a layer has one channel per group (depthwise), its sums run over the window alone: activations and errors are then taken
along the plane, channel by channel. Groups of several rows take neighbouring output channels of a weight, neighbouring positions
of an activation. A result is written as its reader wants it: along the channels of the next layer with MACs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dse.names import PASSES
from dse.precision.formats.storage import Matrix
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.model import Layer, Network

#: Tensors of a layer: its weight (and gradient, master copy, optimizer state), what it reads and writes, and the second operand of
#: a product of two activations; and the result, which is the output as its reader sees it.
TENSORS = ("weight", "input", "output", "second", "result")
#: Which tensor of a layer the operands of a plan are.
TENSOR_OF_OPERAND = {
    **dict.fromkeys(("weight", "gradient", "master", "optimizer"), "weight"),
    **dict.fromkeys(("activation", "stash"), "input"),
    "error": "output",
    "result": "result",
}


def weight_matrix(layer: Layer, pass_: str = "forward") -> Matrix:
    """The parameters of a layer as a pass reads them, all experts; a norm's scale and shift are rows, an embedding a table."""
    if not layer.has_macs:
        features = layer.G * layer.K
        return Matrix(1, max(layer.parameters // features, 1), features, features)
    groups = layer.experts or layer.G
    window = layer.R * layer.S
    out, into = (layer.C, layer.K) if layer.transposed else (layer.K, layer.C)
    rows, columns = (into, out) if pass_ == "backward_data" else (out, into)
    return Matrix(1, groups * rows, columns * window, groups * out, window)


def input_matrix(layer: Layer, batch: int, pass_: str = "forward") -> Matrix:
    """What a layer reads, for the whole batch, as its forward pass (or backward_weight) sees it."""
    return _activation(layer, batch, pass_, windowed=not layer.transposed)


def output_matrix(layer: Layer, batch: int, pass_: str = "backward_data") -> Matrix:
    """What a layer writes, or its error, for the whole batch, as its backward passes see it."""
    return _activation(layer, batch, pass_, windowed=layer.transposed)


def second_matrix(layer: Layer, batch: int, pass_: str = "forward") -> Matrix:
    """The second operand of a product of two activations as a pass reads it; each sample has its own."""
    rows, columns = (layer.C, layer.K) if pass_ == "backward_data" else (layer.K, layer.C)
    return Matrix(batch * layer.repeats * layer.G, rows, columns, layer.G * layer.C)


def _activation(layer: Layer, batch: int, pass_: str, windowed: bool) -> Matrix:
    """The tensor over which the window slides (X of the nest), or the one that P and Q index (Y)."""
    if windowed:
        # A folded axis has its taps among the channels.
        channels = layer.met_dims[3] // (layer.folded.taps if layer.folded else 1)
        plane = layer.input_hw[0] * layer.input_hw[1]
    else:
        channels, plane = layer.met_dims[2], layer.P * layer.Q
    elements = layer.output_elements if windowed == layer.transposed else layer.input_elements
    # Each sample of a product of two activations has matrices of its own.
    samples = batch * layer.repeats if layer.kind == "matmul" else 1
    positions = elements * batch // (samples * layer.G * channels)
    features = layer.G * channels
    if pass_ == "backward_weight":
        stack = samples * layer.G if layer.kind == "matmul" else 1
        return Matrix(stack, samples * features // stack, positions, features, plane)
    if channels == 1 and plane > 1:
        return Matrix(samples * positions // plane, layer.G, plane, features, plane)
    return Matrix(samples * layer.G, positions, channels, features, plane)


def _plain(layer: Layer, batch: int) -> Matrix:
    """What a layer without MACs writes where nothing after it says how it is read: along its channels."""
    elements, features, plane = layer.output_elements * batch, layer.G * layer.K, layer.P * layer.Q
    if features == 1:
        return Matrix(elements // plane, 1, plane, 1, plane)
    return Matrix(1, elements // features, features, features, plane)


@dataclass(frozen=True)
class Storage:
    """Matrices of all layers of a network, as the passes see them.

    Attributes
    ----------
    matrices
        By tensor (:data:`TENSORS`) and pass: one per layer, in the network's order. The ``result`` is what the forward pass
        writes, as its reader sees it. A layer without MACs reads and writes what the next layer with MACs reads, whose input it
        prepares.
    """

    matrices: dict[tuple[str, str], tuple[Matrix, ...]]

    def bits(self, plan: Plan, operand: str, pass_: str = "forward", tensor: str = "") -> Floats:
        """(layers,) stored bits per element of an operand of a plan, as a pass reads it; NaN where there is no format.

        Parameters
        ----------
        tensor
            One of :data:`TENSORS` where it is not the operand's own, such as an activation that is the second operand.
        """
        return plan.stored_bits(operand, matrices=self.matrices[tensor or TENSOR_OF_OPERAND[operand], pass_])


@lru_cache(maxsize=64)
def storage_of(network: Network) -> Storage:
    """How the tensors of a network lie in memory; layers that are equal, before readers that are, are looked at once."""
    layers, batch = network.layers, network.batch
    readers: list[int] = []
    reader = -1
    for place in range(len(layers) - 1, -1, -1):
        readers.append(reader)
        reader = network.alike[place] if layers[place].has_macs else reader
    pairs = list(zip(network.alike, reversed(readers), strict=True))
    known = {pair: _matrices(layers[pair[0]], layers[pair[1]] if pair[1] >= 0 else None, batch) for pair in set(pairs)}
    return Storage({key: tuple(known[pair][key] for pair in pairs) for key in next(iter(known.values()), {})})


def _matrices(layer: Layer, reader: Layer | None, batch: int) -> dict[tuple[str, str], Matrix]:
    """Matrices of a layer by tensor and pass, before the next layer with MACs."""
    if reader is not None:
        result = input_matrix(reader, batch)
    else:
        result = output_matrix(layer, batch) if layer.has_macs else _plain(layer, batch)
    matrices = {("result", "forward"): result}
    for pass_ in PASSES:
        matrices["weight", pass_] = weight_matrix(layer, pass_)
        matrices["input", pass_] = input_matrix(layer, batch, pass_) if layer.has_macs else result
        matrices["output", pass_] = output_matrix(layer, batch, pass_) if layer.has_macs else result
        matrices["second", pass_] = second_matrix(layer, batch, pass_) if layer.kind == "matmul" else result
    return matrices
