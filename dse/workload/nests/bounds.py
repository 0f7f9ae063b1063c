"""How large a network may be: what the integers of mapping tables and of the program's tables hold, and what is surely a slip."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dse.names import DIMS
from dse.workload.layer import Layer

#: Largest loop bound, batch included: mapping tables hold trips as 32-bit integers.
MAX_BOUND = 2**31 - 1
#: Most elements of a tensor and most multiply-accumulates of a nest: tables count in 64-bit integers.
MAX_ELEMENTS = 2**61
#: Most multiply-accumulates of a forward pass of all samples: three passes of them are still a 64-bit integer. A pass of five
#: million tokens through a model of 400 billion parameters has as many.
MAX_MACS = 2**61
#: Most layers, and most operations that a workload file may unroll to.
MAX_LAYERS = 20_000
#: Samples of one pass beyond which a batch is taken for something else: published training steps have some 10^5 sequences or images
#: (You et al., LAMB, ICLR 2020: 65,536), and 10^8 tokens at most. A file that means it says ``allow_unusual: true``.
LARGEST_BATCH = 10**8


def batch_problem(batch: float) -> str:
    """What is wrong with a batch; "" where nothing is.

    >>> batch_problem(0), batch_problem(256)
    ('expected an integer >= 1, got 0', '')
    """
    if batch < 1 or batch != int(batch):
        return f"expected an integer >= 1, got {batch}"
    if batch > LARGEST_BATCH:
        return f"{batch:,} samples in one pass are more than any published step has ({LARGEST_BATCH:,} tokens)"
    return ""


def size_fault(layer: Layer, batch: int) -> str:
    """What is too large in a layer for a batch, as a sentence; "" if nothing is."""
    for dims, _ in layer.nests("forward", batch):
        for dim, size in zip(DIMS, dims, strict=True):
            if size > MAX_BOUND:
                return f"{dim} is {_size(size)} in a batch of {batch}; expected at most 2^31 - 1"
    n, g, k, c, p, q, r, s = layer.dims
    window = [
        (p - 1) * layer.stride[0] + (r - 1) * layer.dilation[0] + 1,
        (q - 1) * layer.stride[1] + (s - 1) * layer.dilation[1] + 1,
    ]
    tensors = {
        "weights": (layer.experts or g) * k * c * r * s,
        "window's input": batch * n * g * c * prod(window),
        "input": batch * layer.input_elements,
        "output": batch * layer.output_elements,
    }  # fmt: skip
    for name, elements in tensors.items():
        if elements > MAX_ELEMENTS:
            return f"the {name} has {_size(elements)} elements in a batch of {batch}; expected at most 2^61"
    if layer.macs * batch > MAX_MACS:
        return f"{_size(layer.macs * batch)} multiply-accumulates in a batch of {batch}; expected at most 2^61"
    return ""


def total_fault(layers: Sequence[Layer], batch: int) -> str:
    """What is too large in all layers together, as a sentence; "" if nothing is."""
    if len(layers) > MAX_LAYERS:
        return f"{len(layers)} layers; expected at most {MAX_LAYERS}"
    macs, weights = sum(layer.macs for layer in layers) * batch, sum(layer.parameters for layer in layers)
    if macs > MAX_MACS:
        return f"{_size(macs)} multiply-accumulates in a batch of {batch}; expected at most 2^61"
    return f"{_size(weights)} parameters; expected at most 2^61" if weights > MAX_ELEMENTS else ""


def _size(number: int) -> str:
    return f"{number:.3g}" if number >= 10**6 else str(number)
