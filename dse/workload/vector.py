"""Work of layers without MACs and of the optimizer: elements read and written in DRAM, and operations.

Counts per element of the layer's tensor. Normalization in training needs its input twice, once for mean and variance and
once to normalize, and in the backward pass the error and the input twice each, once for the two sums and once for the result
(Ioffe and Szegedy, arXiv 1502.03167, equations of section 3; Jung et al., MLSys 2019, count the same sweeps). Inference folds
a normalization into the convolution before it. An activation function is applied as its producer writes: operations, no traffic.
A row of a layer norm fits on the chip, so its tensor is read once (one sweep with running sums: Welford, Technometrics 1962).
The backward pass of a softmax reads its own result, which the product after it keeps; a product of two tensors keeps both.
"""

from __future__ import annotations

from typing import NamedTuple

from dse.workload.model import Layer


class Work(NamedTuple):
    """Elements read, elements written, operations, and elements read from the stash, per sample."""

    reads: float
    writes: float
    operations: float
    stash_reads: float = 0.0


#: (reads, writes, operations, reads from the stash) per element by kind, in training.
_FORWARD: dict[str, tuple[int, ...]] = {
    "norm": (2, 1, 4),
    "activation": (0, 0, 1),
    "add": (2, 1, 1),
    "multiply": (2, 1, 1),
    "layernorm": (1, 1, 5),
    "softmax": (2, 1, 5),
    "loss": (2, 1, 5),
    "embedding": (1, 1, 0),
}
_BACKWARD: dict[str, tuple[int, ...]] = {
    "norm": (2, 1, 8, 2),
    "activation": (0, 0, 1),
    "add": (2, 1, 1),
    "multiply": (1, 2, 2, 2),
    "layernorm": (1, 1, 8, 1),
    "softmax": (1, 1, 3, 1),
    "loss": (1, 1, 1),
    "embedding": (1, 1, 1),
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
    if layer.kind == "embedding" and layer.R > 1:
        # Rows of a bag are read and added up; in the backward pass each of them gets the sum's error.
        return Work(layer.R * n, n, (layer.R - 1) * n) if pass_ == "forward" else Work(n, layer.R * n, layer.R * n)
    per_element = (_FORWARD if pass_ == "forward" else _BACKWARD)[layer.kind]
    return Work(*(count * n for count in per_element))


def stash_elements(layer: Layer) -> int:
    """Activations per sample that must be kept from the forward pass for the backward passes.

    A layer with MACs keeps its input for the gradient of its weights, a product of two activations each operand that the error of
    the other one needs, a norm its input, an element-wise product both; the rest keeps nothing or bits.
    """
    if layer.kind == "matmul":
        kept = layer.input_elements * ("backward_weight" in layer.passes)
        return kept + layer.second_elements * ("backward_data" in layer.passes)
    if layer.has_macs:
        return layer.input_elements * ("backward_weight" in layer.passes)
    if layer.kind in ("layernorm", "multiply"):
        return (1 + (layer.kind == "multiply")) * layer.output_elements * ("backward_data" in layer.passes)
    return layer.input_elements if layer.kind == "norm" else 0


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
