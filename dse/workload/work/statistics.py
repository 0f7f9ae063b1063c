"""What a network is made of, before any hardware: work, parameters, activations and arithmetic intensity per layer."""

from __future__ import annotations

import pandas as pd

from dse.names import DIMS
from dse.workload.model import Layer, Network
from dse.workload.work.tensors import tensors_of


def network_statistics(network: Network) -> pd.DataFrame:
    """One row per layer, for the network's batch.

    Returns
    -------
    DataFrame
        ``layer, kind, shape, passes, macs`` (forward), ``training_macs`` (all passes), ``parameters, trained_parameters,
        input_elements, output_elements, stash_elements`` (of layers that read the same tensor only the first keeps it) and
        ``intensity``: forward MACs per element of input, weights (or second operand) and output, each moved once; the most that
        any memory hierarchy can reach without fusing layers. A recurrent layer moves its weights in every step, a mixture of
        experts those of the experts that its tokens hit, in the mean. 0 without MACs.
    """
    rows = [_row(layer, network.batch, kept) for layer, kept in zip(network.layers, _kept(network), strict=True)]
    return pd.DataFrame(rows)


def _kept(network: Network) -> list[int]:
    """Elements per sample that each layer keeps for the way back and no layer before it in the network's order does."""
    found = tensors_of(network)
    result = list(found.own)
    for tensor in found.tensors:
        for number, use in enumerate(tensor.keepers):
            result[use.layer] += tensor.kept(tensor.keepers[: number + 1]) - tensor.kept(tensor.keepers[:number])
    return result


def _row(layer: Layer, batch: int, kept: int) -> dict[str, object]:
    macs = layer.macs * batch
    inputs, outputs = layer.input_elements * batch, layer.output_elements * batch
    return {
        "layer": layer.name,
        "kind": f"{layer.kind}, transposed" if layer.transposed else layer.kind,
        "shape": " ".join(f"{dim}{size}" for dim, size in zip(DIMS, layer.dims, strict=True) if size > 1)
        + (f" x{layer.repeats}" if layer.repeats > 1 else ""),
        "passes": len(layer.passes),
        "macs": macs,
        "training_macs": macs * len(layer.passes),
        "parameters": layer.parameters,
        "trained_parameters": layer.trained_parameters,
        "input_elements": inputs,
        "output_elements": outputs,
        "stash_elements": kept * batch,
        "intensity": macs / (inputs + outputs + _weights_read(layer, batch)) if macs else 0.0,
    }


def _weights_read(layer: Layer, batch: int) -> float:
    """Elements of the weight, or of the second activation, that a forward pass of the batch reads at least once."""
    if layer.kind == "matmul":
        return layer.second_elements * batch
    return sum(
        times * groups * outputs * inner * rows * columns
        for (_, groups, outputs, inner, _, _, rows, columns), times in layer.nests("forward", batch)
    )
