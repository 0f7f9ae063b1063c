"""Memory footprint of a step: what must be held at its peak, in bits.

Training holds weights, their master copy where it has another format, gradients, optimizer states, the stash of all layers and the
tensors that the largest layer works on. Inference holds weights and the working set. Layers that share an input (the first
convolution and the shortcut of a residual unit) stash it once. Sums and shortcuts that outlive their layer are counted only where
they are stashed.

With ``recompute`` only the inputs of about sqrt(L) segments of L layers are kept, and the stash of the largest segment while it
runs (Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dse.cost.storage import storage_of
from dse.precision.plans.plan import Plan
from dse.workload.model import Layer, Network
from dse.workload.vector import optimizer_work, stash_elements

#: Parts of the footprint, in the order of the result's columns.
PARTS = ("weights", "master", "gradients", "optimizer", "stash", "working")


def footprint(network: Network, plan: Plan, mode: str = "training", recompute: bool = False) -> dict[str, float]:
    """Bits of every part of :data:`PARTS` for one step of the network's batch; the peak is their sum.

    Parameters
    ----------
    mode
        ``training`` or ``inference``.
    recompute
        Keep the inputs of segments only and run the forward pass of a segment again before its backward passes.
    """
    storage = storage_of(network)
    bits = {name: storage.bits(plan, name) for name in ("weight", "master", "gradient", "optimizer", "activation")}
    parameters = np.array([layer.parameters for layer in network.layers], dtype=np.float64)
    activation = [float(width) for width in bits["activation"]]
    held = [
        network.batch * width * (layer.input_elements + layer.output_elements)
        for layer, width in zip(network.layers, activation, strict=True)
    ]
    result = dict.fromkeys(PARTS, 0.0)
    result["weights"] = float((parameters * bits["weight"]).sum())
    result["working"] = max(held, default=0.0)
    if mode != "training":
        return result
    trained = np.array([layer.trained_parameters for layer in network.layers], dtype=np.float64)
    result["master"] = float((trained * bits["master"] * has_master(plan)).sum())
    result["gradients"] = float((trained * bits["gradient"]).sum())
    result["optimizer"] = float((trained * bits["optimizer"]).sum()) * optimizer_work(network.optimizer).states
    kept = stash_bits(network, plan)
    if recompute:
        starts = segments(network.layers)
        pieces = [kept[a:b] for a, b in zip(starts, [*starts[1:], len(kept)], strict=True)]
        inputs = sum(next((x for x in piece if x > 0), 0.0) for piece in pieces)
        result["stash"] = inputs + max(sum(piece) for piece in pieces)
    else:
        result["stash"] = sum(kept)
    return result


def has_master(plan: Plan) -> npt.NDArray[np.bool_]:
    """(layers,) whether the optimizer updates a copy of its own, in another format than the weight's."""
    return np.array([a != b for a, b in zip(plan.cells("master"), plan.cells("weight"), strict=True)])


def stash_bits(network: Network, plan: Plan) -> list[float]:
    """Bits that each layer keeps for the backward passes of a batch; tensors that tied layers share count for the first."""
    widths = storage_of(network).bits(plan, "stash", "backward_weight")
    seen: set[str] = set()
    result = []
    for layer, width in zip(network.layers, widths, strict=True):
        shared = layer.tie and layer.tie in seen
        seen.add(layer.tie)
        result.append(0.0 if shared else float(stash_elements(layer)) * network.batch * float(width))
    return result


def segments(layers: Sequence[Layer]) -> list[int]:
    """First layers of about sqrt(L) segments with equal numbers of layers with MACs, L in all."""
    macs = [index for index, layer in enumerate(layers) if layer.has_macs]
    count = max(round(math.sqrt(len(macs))), 1)
    starts = [macs[len(macs) * part // count] for part in range(count)] if macs else [0]
    return [0, *starts[1:]]


def recomputed(layers: Sequence[Layer]) -> list[bool]:
    """Which layers run their forward pass a second time: all but those of the last segment, whose stash is still there."""
    last = segments(layers)[-1]
    return [index < last for index in range(len(layers))]
