"""``dse.evaluate``: the cost of plans on one accelerator, or on a system of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import pandas as pd

from dse.cost.steps.side import STOCHASTIC
from dse.cost.totals.cost import Cost
from dse.cost.totals.evaluate import EvaluateOptions, GivenPlan, evaluate_with
from dse.errors import InputError
from dse.hardware.model import Hardware
from dse.precision.plans.plan import Plan
from dse.precision.policies.rules import Overhead
from dse.system.evaluate import SystemCost, evaluate_system
from dse.system.model import Parallel, System
from dse.system.plans.times import Communication
from dse.workload.model import Network


@overload
def evaluate(
    network: Network | str | Path,
    hardware: Hardware | str | Path,
    plan: GivenPlan,
    designs: pd.DataFrame | None = None,
    *,
    mode: str = "training",
    mapping_objective: str = "edp",
    labels: Sequence[str] | None = None,
    stochastic: Sequence[str] = STOCHASTIC,
    recompute: bool = False,
    accumulate: int | None = None,
    map_updates: float = 0.0,
    overhead: Overhead | None = None,
    fusion: str | None = None,
    search_mappings: bool | None = None,
    system: None = None,
    parallel: None = None,
    communication: None = None,
) -> Cost: ...


@overload
def evaluate(
    network: Network | str | Path,
    hardware: Hardware | str | Path | None,
    plan: Plan | str | Path,
    *,
    accumulate: int | None = None,
    system: System | str | Path,
    parallel: Parallel | str | Sequence[Parallel | str],
    communication: Communication | None = None,
) -> SystemCost: ...


def evaluate(
    network: Network | str | Path,
    hardware: Hardware | str | Path | None,
    plan: GivenPlan,
    designs: pd.DataFrame | None = None,
    *,
    mode: str = "training",
    mapping_objective: str = "edp",
    labels: Sequence[str] | None = None,
    stochastic: Sequence[str] = STOCHASTIC,
    recompute: bool = False,
    accumulate: int | None = None,
    map_updates: float = 0.0,
    overhead: Overhead | None = None,
    fusion: str | None = None,
    search_mappings: bool | None = None,
    system: System | str | Path | None = None,
    parallel: Parallel | str | Sequence[Parallel | str] | None = None,
    communication: Communication | None = None,
) -> Cost | SystemCost:
    """Cost of plans on hardware; see :func:`dse.cost.totals.evaluate` for one accelerator.

    Parameters
    ----------
    system, parallel
        A system of accelerators, and one or several parallel plans: the cost is then that of a training step of one plan of formats
        (:func:`dse.system.evaluate.evaluate_system`), and ``hardware`` the device, None for the system's own.
    communication
        Formats of what the system's collectives move.

    Raises
    ------
    InputError
        As the two functions; options of one accelerator together with a system.
    """
    if system is None:
        if parallel is not None or communication is not None or hardware is None:
            raise InputError(
                "system", ["parallel plans and a device of None go with a system; give one, such as dgx_h100"]
            )
        options = EvaluateOptions(
            mode,
            mapping_objective,
            labels,
            stochastic,
            recompute,
            accumulate,
            map_updates,
            overhead,
            fusion,
            search_mappings,
        )
        return evaluate_with(network, hardware, plan, designs, options)
    if parallel is None:
        raise InputError("parallel", ["a system needs a parallel plan, such as dse.Parallel(data=8) or 'd8t4p2'"])
    if designs is not None or mode != "training" or recompute or overhead is not None or map_updates or fusion:
        raise InputError("system", ["goes with training under one plan; recomputation is part of the parallel plan"])
    if not isinstance(plan, (Plan, str, Path)):
        raise InputError("plan", ["a system is evaluated under one plan of formats"])
    return evaluate_system(network, hardware, plan, system, parallel, accumulate, communication)
