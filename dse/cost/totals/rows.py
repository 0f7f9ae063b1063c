"""The rows of a result: which plans are costed, and how their steps add up to a row.

A row is a step of one plan, or the run of a schedule: the sum of steps over its histogram of plans (docs/model.md, A step and a
run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dse.errors import InputError
from dse.precision.plans.labels import plan_labels
from dse.precision.plans.plan import Plan
from dse.precision.schedules.schedule import Schedule
from dse.types import Floats
from dse.workload.model import Network


class Phase(NamedTuple):
    """Iterations of a schedule under one plan: its label and its place among the plans."""

    label: str
    plan: int
    iterations: int


@dataclass(frozen=True)
class PlanRows:
    """Plans to be costed, and the rows of the result that they make.

    Attributes
    ----------
    plans
        The I different plans.
    labels
        Names of the rows.
    weights
        (rows, I) how many steps of each plan a row is.
    phases
        A schedule's phases in order; empty without one.
    """

    plans: tuple[Plan, ...]
    labels: tuple[str, ...]
    weights: Floats
    phases: tuple[Phase, ...] = ()

    def named(self, labels: Sequence[str] | None) -> PlanRows:
        """The same under names of the caller's; None leaves them as they are.

        Raises
        ------
        InputError
            Not one name for each row.
        """
        if labels is None:
            return self
        if len(labels) != len(self.labels):
            raise InputError("labels", [f"expected {len(self.labels)}, one for each plan, got {len(labels)}"])
        return replace(self, labels=tuple(labels))

    def weighted(self, values: Floats) -> Floats:
        """(D, I, ...) values of plans as (D, rows, ...) of the rows; a plan that a row does not run says nothing."""
        finite = np.isfinite(values)
        total = np.einsum("di...,ri->dr...", np.where(finite, values, 0.0), self.weights)
        wrong = np.einsum("di...,ri->dr...", (~finite).astype(np.float64), (self.weights > 0).astype(np.float64))
        return np.asarray(np.where(wrong > 0, np.inf, total))


def plan_rows(network: Network, plan: Plan | Schedule | Sequence[Plan], mode: str) -> PlanRows:
    """The rows of one plan, of several, or of a schedule.

    Raises
    ------
    InputError
        No plan, or one of another network.
    """
    rows = _rows_of_schedule(network, plan, mode) if isinstance(plan, Schedule) else _rows_of_plans(plan, mode)
    names = tuple(layer.name for layer in network.layers)
    for item in rows.plans:
        if item.layers != names:
            raise InputError(
                "plan",
                [f"is of network {item.network} with {len(item.layers)} layers; {network.name} has other layers"],
            )
    if not rows.plans:
        raise InputError("plan", ["expected at least one plan"])
    return rows


def _rows_of_plans(plan: Plan | Sequence[Plan], mode: str) -> PlanRows:
    plans = (plan,) if isinstance(plan, Plan) else tuple(plan)
    return PlanRows(plans, plan_labels(plans, mode), np.eye(len(plans)))


def _rows_of_schedule(network: Network, schedule: Schedule, mode: str) -> PlanRows:
    course = schedule.plans(network)
    different = {id(item): item for item, _ in course}
    places = {key: place for place, key in enumerate(different)}
    plans = tuple(different.values())
    told = plan_labels(plans, mode)
    phases = tuple(Phase(told[places[id(item)]], places[id(item)], count) for item, count in course)
    weights = np.zeros((1, len(plans)))
    for phase in phases:
        weights[0, phase.plan] += phase.iterations
    return PlanRows(plans, (f"{schedule.name}, {schedule.iterations} iterations",), weights, phases)
