"""Cost of every choice of formats that a group of layers may take, on every design: what the exact allocation chooses from.

Cost is a sum over layers and a layer's cost depends on its own formats alone, so the cost of choice m for a layer is its cost
under the plan that gives choice m to every layer. A layer without MACs belongs to the layer with MACs whose input it prepares. What
a result costs in the format that its reader wants is linear in its bits: the reader is charged for them, and the writer given back
what its own format would have been (:func:`dse.cost.steps.step.as_read_j`).

Where tensors may wait on the chip costs do not add up: what is given then are those with nothing resident, which nothing exceeds,
and the least that a choice can come to whatever the others are (:mod:`dse.cost.fusion.inference.bounds`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.epilogues import SUMMED
from dse.cost.steps.options import StepOptions
from dse.cost.steps.step import as_read_j, step_costs
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.precision.formats.properties import Format
from dse.precision.plans.plan import Plan
from dse.types import Bools, Floats
from dse.workload.model import Network


@dataclass(frozen=True)
class ChoiceCosts:
    """D designs, E formats of the error tensors, G groups of layers, M choices.

    Attributes
    ----------
    energy_j, latency_s
        (D, E, G, M); infinite where a choice is infeasible.
    area_mm2
        (D,)
    limit
        (D,) why no choice is feasible for some group, "" if each has one.
    least_energy_j, least_latency_s
        Where costs do not add up: sums over groups that no map undercuts. None where ``energy_j`` and ``latency_s`` are exact.
    """

    energy_j: Floats
    latency_s: Floats
    area_mm2: Floats
    limit: npt.NDArray[np.object_]
    least_energy_j: Floats | None = None
    least_latency_s: Floats | None = None


def choice_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Sequence[Plan]],
    groups: Sequence[Sequence[int]],
    mode: str,
) -> ChoiceCosts:
    """Energy and latency of every choice for every group of layers with MACs.

    Parameters
    ----------
    plans
        (E, M) the plan that gives choice m to every layer, at error format e.
    """
    every = [plan for row in plans for plan in row]
    bounds = hardware.fusion not in SUMMED
    steps = step_costs(network, hardware, arrays, every, StepOptions(mode), as_read=False, at_most=bounds)
    results = as_read_j(network, arrays, every, mode)
    shape = (len(arrays), len(plans), len(plans[0]))
    member = group_of_layers(network, groups)

    def summed(values: Floats) -> Floats:
        """(D, E, G, M) of (D, plans, rows) values."""
        total = np.zeros((*shape, len(groups)))
        by_row = values.reshape(*shape, -1)
        for row, group in enumerate(member):
            total[..., group] += by_row[..., row]
        return np.asarray(np.moveaxis(total, 2, 3))

    by_row = (steps.energy_j.sum(axis=-1) + results, steps.latency_s.sum(axis=-1))
    energy, latency = (summed(values) for values in by_row)
    least: tuple[Floats | None, Floats | None] = (None, None)
    if bounds and steps.most_saved is not None:
        saved = (steps.most_saved.energy_j, steps.most_saved.latency_s)
        least = (summed(by_row[0] - saved[0]), summed(by_row[1] - saved[1]))
    has_choice: Bools = np.asarray(np.isfinite(energy).any(axis=3))
    infeasible = ~has_choice.reshape(len(arrays), -1).all(axis=1)
    reason = [next((text for text in row if text), "no format fits") for row in steps.limit]
    limit = np.where(infeasible, np.array(reason, dtype=object), "")
    return ChoiceCosts(energy, latency, arrays.area_mm2, limit, *least)


def uniform_plans(
    network: Network, choices: Sequence[tuple[Format, Format, Sequence[Format]]]
) -> tuple[tuple[Plan, ...], ...]:
    """(E, M) plans that give every layer one choice.

    Parameters
    ----------
    choices
        (M,) formats of weight, activation, and (E,) of the error tensors.
    """
    many = len(choices[0][-1])
    return tuple(
        tuple(Plan.uniform(network, weight, activation, errors[e]) for weight, activation, errors in choices)
        for e in range(many)
    )


def group_of_layers(network: Network, groups: Sequence[Sequence[int]]) -> list[int]:
    """Group of every layer of a network: a layer without MACs has the formats of the next layer with MACs, or of the last."""
    group_of = {index: g for g, members in enumerate(groups) for index in members}
    order = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    result = []
    for index in range(len(network.layers)):
        following = min(bisect_left(order, index), len(order) - 1)
        result.append(group_of[following])
    return result
