"""Where the gain of a found design comes from: one ingredient after the other, from uniform 8 bit on the default hardware.

The order is fixed (hardware, width of the errors, map of weights and activations, fusion), and each step is told against the one
before it: another order would share the gain out differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dse.cost.mapped.searched import front_searching
from dse.cost.totals.evaluate import evaluate
from dse.goals import ENERGY, LATENCY
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.precision.formats.properties import Format, parse_format
from dse.search.archive import Found
from dse.search.bits.problem import SearchProblem, plan_of
from dse.search.outcome.baseline_plans import said_errors, uniform_with_errors
from dse.search.outcome.drops import plan_figures
from dse.search.pareto import knee

#: Width of the uniform plan that everything is told against, bits.
FROM_BITS = 8


@dataclass(frozen=True)
class _Step:
    """What is changed, the plans and the hardware after it, and the assumption that carries its gain."""

    name: str
    plans: tuple[Plan, ...]
    hardware: Hardware
    assumption: str


def waterfall(problem: SearchProblem, found: Found, front: pd.DataFrame) -> list[dict[str, Any]]:
    """Time, energy, area and predicted drop after every ingredient of the knee of a front; empty where the plan was given,
    or a step cannot run.

    Parameters
    ----------
    found, front
        The designs of the front, and their figures.
    """
    if not problem.predicts or not len(front):
        return []
    row = knee(front[[LATENCY.column, ENERGY.column]].to_numpy())
    places = [int(place) for place in found.error[row]]
    errors = [subject.errors[place] for subject, place in zip(problem.subjects, places, strict=True)]
    maps = tuple(
        plan_of(subject, place, found.choice[row, part])
        for subject, place, part in zip(problem.subjects, places, problem.columns, strict=True)
    )
    steps = _steps(problem, found.parameters[row], errors, maps)
    rows = []
    for step in steps:
        costs = [
            evaluate(
                subject.network, step.hardware, plan, mode=problem.mode, search_mappings=front_searching()
            ).total.iloc[0]
            for subject, plan in zip(problem.subjects, step.plans, strict=True)
        ]
        if not all(bool(cost["feasible"]) for cost in costs):
            return []
        rows.append(
            {
                "step": step.name,
                **plan_figures(problem, costs, step.plans, step.plans == maps),
                "assumption": step.assumption,
            }
        )
    if problem.schedules is not None:
        end = {name: float(front[name].iloc[row]) for name in rows[-1] if name in front}
        what = "the number of steps does not depend on the schedule; its score is an assumption, see the notes"
        rows.append({"step": "schedule", **end, "assumption": what})
    return rows


def _steps(
    problem: SearchProblem, values: np.ndarray[Any, Any], errors: Sequence[Format], maps: tuple[Plan, ...]
) -> list[_Step]:
    training = problem.mode == "training"
    own = problem.hardware_of(values)
    defaults = problem.hardware_of([parameter.default for parameter in problem.hardware.space])
    alone = replace(own, fusion="none")
    start = parse_format(f"int{FROM_BITS}")
    uniform = [_uniform(problem, [start] * len(errors)), _uniform(problem, errors)]
    width = " and ".join(said_errors(form) for form in dict.fromkeys(errors))
    steps = [
        _Step(f"uniform {FROM_BITS} bit, default hardware", uniform[0], replace(defaults, fusion="none"), ""),
        _Step("hardware", uniform[0], alone, "prices and mappings of the model; areas differ"),
    ]
    if training and any(form != start for form in errors):
        steps.append(
            _Step(
                f"errors of {width}",
                uniform[1],
                alone,
                "the drop of error tensors is taken from other networks, not measured here",
            )
        )
    steps.append(
        _Step("weight and activation map", maps, alone, "the predictor, with the error that its interval shows")
    )
    if own.fusion != "none":
        steps.append(_Step(f"fusion ({own.fusion})", maps, own, "fused layers run as their neighbours write or read"))
    return steps


def _uniform(problem: SearchProblem, errors: Sequence[Format]) -> tuple[Plan, ...]:
    return tuple(
        uniform_with_errors(subject.network, FROM_BITS, form)
        for subject, form in zip(problem.subjects, errors, strict=True)
    )
