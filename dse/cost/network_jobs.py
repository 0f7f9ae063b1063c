"""From a network and plans to jobs: which nest runs with which operand formats, each distinct one once.

Operands by pass (roles weight, activation; result), DESIGN 4.1:

* forward: weight, activation; the result is an activation, written in the layer's own activation format
* backward_data: weight, error; the result is an error, written in the layer's own error format
* backward_weight: error, activation from the stash; the result is the gradient
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.cost.jobs import Jobs
from dse.mapping.problem import Nest
from dse.precision.cells import Cell, formats_of
from dse.precision.plans import Plan
from dse.workload.model import PASSES, Layer, Network

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MODES = ("training", "inference")

#: Operands in the weight role and the activation role, and of the result; the stash is how an activation is kept.
OPERANDS = {
    "forward": ("weight", "activation", "activation"),
    "backward_data": ("weight", "error", "error"),
    "backward_weight": ("error", "stash", "gradient"),
}


@dataclass(frozen=True)
class NetworkJobs:
    """Jobs of a network under one or more plans.

    Attributes
    ----------
    jobs
        The distinct jobs (U of them).
    job
        (plans, layers, passes) index into the jobs; -1 where a layer lacks the pass.
    bitops
        (plans, layers, passes) multiplier widths of both operands times MACs, for the whole batch.
    macs
        (layers, passes) multiply-accumulates for the whole batch.
    """

    jobs: Jobs
    job: Ints
    bitops: Floats
    macs: Floats


def nest_of(layer: Layer, pass_: str, batch: int) -> Nest:
    """The loop nest of a layer in a pass for a whole batch."""
    n, g, k, c, p, q, r, s = layer.dims
    return Nest((n * batch, g, k, c, p, q, r, s), pass_, layer.stride, layer.dilation)


def passes_of(layer: Layer, mode: str) -> tuple[str, ...]:
    """The passes that a layer runs in a mode."""
    return layer.passes if mode == "training" else ("forward",)


def network_jobs(network: Network, plans: Sequence[Plan], mode: str = "training") -> NetworkJobs:
    """Distinct jobs of a network's MAC layers under plans (at least one)."""
    layers = network.mac_layers
    shape = (len(plans), len(layers), len(PASSES))
    nests: dict[Nest, int] = {}
    nest = np.full(shape[1:], -1, np.int64)
    macs = np.zeros(shape[1:])
    for l, layer in enumerate(layers):
        for pass_ in passes_of(layer, mode):
            p = PASSES.index(pass_)
            nest[l, p] = nests.setdefault(nest_of(layer, pass_, network.batch), len(nests))
            macs[l, p] = float(layer.macs) * network.batch
    stored = np.zeros((*shape, 3))
    multiplier = np.zeros((*shape, 2), np.int64)
    rows_of_macs = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    floating = np.zeros(shape, bool)
    for i, plan in enumerate(plans):
        is_float = {
            operand: np.array([_is_float(plan.cells(operand)[row]) for row in rows_of_macs])
            for operand in ("weight", "activation", "error")
        }
        for p, pass_ in enumerate(PASSES):
            weight, activation, result = OPERANDS[pass_]
            seen = "activation" if activation == "stash" else activation
            for column, operand in enumerate((weight, activation, result)):
                stored[i, :, p, column] = plan.stored_bits(operand)[rows_of_macs]
            multiplier[i, :, p, 0] = plan.multiplier_bits(weight)[rows_of_macs]
            multiplier[i, :, p, 1] = plan.multiplier_bits(seen)[rows_of_macs]
            floating[i, :, p] = is_float[weight] | is_float[seen]
    runs = np.broadcast_to(nest >= 0, shape)
    index = np.broadcast_to(nest, shape)[runs]
    rows = np.column_stack([index, stored[runs], multiplier[runs], floating[runs]])
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    job = np.full(shape, -1, np.int64)
    job[runs] = inverse.reshape(-1)
    jobs = Jobs(
        tuple(nests),
        distinct[:, 0].astype(np.int64),
        distinct[:, 1:4].copy(),
        distinct[:, 4:6].astype(np.int64),
        distinct[:, 6] > 0,
    )
    bitops = np.where(runs, macs * multiplier[..., 0] * multiplier[..., 1], 0.0)
    return NetworkJobs(jobs, job, bitops, macs)


def _is_float(cell: Cell) -> bool:
    """Whether every element carries its own exponent; block formats share one and multiply integers."""
    return any(form.is_float for form in formats_of(cell))
