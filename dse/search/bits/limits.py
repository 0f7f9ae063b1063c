"""Hard limits on a design beside lost accuracy: what each is a sum of, and which of them bind.

All but the area are sums over layers and become limits of the exact allocation; each holds for a step of every network. The peak of
the memory is the largest of such sums, one for every moment of a step (:mod:`dse.search.bits.held`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dse.cost.jobs.network import network_jobs
from dse.cost.steps.choices import group_of_layers
from dse.cost.tensors.storage import storage_of
from dse.errors import InputError, Problem
from dse.goals import LIMITS
from dse.hardware.model import Hardware
from dse.numbers import hard_limit
from dse.precision import Plan
from dse.types import Floats
from dse.workload.model import Network
from dse.yaml_input import suggest

#: Names of the accuracy limit among those that bind, and of that on the peak of the memory.
ACCURACY = "accuracy"
MEMORY = "memory"


@dataclass(frozen=True)
class HardLimits:
    """Largest allowed values by name of :data:`dse.goals.LIMITS`; only those that were asked for."""

    bounds: tuple[tuple[str, float], ...] = ()

    def bound(self, name: str) -> float:
        """The bound, infinity where there is none."""
        return dict(self.bounds).get(name, math.inf)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the limits that were asked for."""
        return tuple(name for name, _ in self.bounds)

    @property
    def additive(self) -> tuple[tuple[str, float], ...]:
        """Those that are one sum over layers."""
        return tuple(item for item in self.bounds if LIMITS[item[0]].scope == "map")


def hard_limits(given: Mapping[str, float]) -> HardLimits:
    """Check limits by name.

    Raises
    ------
    InputError
        Unknown names, values that are no positive numbers, or beyond what anything could miss; all at once.
    """
    problems = []
    for name, bound in given.items():
        option = f"--max-{name.replace('_', '-')}"
        if name not in LIMITS:
            problems.append(Problem("limits", f"'{name}' is no limit{suggest(name, LIMITS)}"))
        elif problem := hard_limit(option, LIMITS[name].what).problem(bound):
            problems.append(problem)
        elif text := LIMITS[name].too_large(bound):
            problems.append(Problem(option, text))
    if problems:
        raise InputError("limits", problems)
    return HardLimits(tuple((name, float(given[name])) for name in LIMITS if name in given))


def limit_tables(
    network: Network,
    hardware: Hardware,
    plans: Sequence[Sequence[Plan]],
    groups: Sequence[Sequence[int]],
    mode: str,
) -> dict[str, Floats]:
    """Model size and BitOps of every choice of every group.

    Parameters
    ----------
    plans
        (E, M) the plan that gives choice m to every layer, at error format e.

    Returns
    -------
    By name (E, G, M): E widths of the error tensors, G groups of layers, M (weight, activation) pairs.
    """
    every = [plan for row in plans for plan in row]
    member = np.array(group_of_layers(network, groups))
    shape = (len(plans), len(plans[0]), len(groups))
    parameters = np.array([layer.parameters for layer in network.layers], dtype=np.float64)
    size, bitops = (np.zeros((len(every), len(groups))) for _ in range(2))
    storage = storage_of(network)
    work = network_jobs(network, hardware, every, mode)
    macs = member[[index for index, layer in enumerate(network.layers) if layer.has_macs]]
    for i, plan in enumerate(every):
        np.add.at(size[i], member, parameters * storage.bits(plan, "weight"))
        np.add.at(bitops[i], macs, work.bitops[i].sum(axis=-1))
    named = {"model_size": size, "bitops": bitops}
    return {name: np.moveaxis(table.reshape(shape), 1, 2) for name, table in named.items()}
