"""Figures of given plans beside those of a search, and how sure predicted drops are: intervals, and what a reader must know."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dse.accuracy.confidence import Interval, shown
from dse.accuracy.profiles.profile import Profile
from dse.goals import ACCURACY_DROP, OBJECTIVES, Figures
from dse.numbers import EVEN
from dse.precision import Plan
from dse.search.archive import Found, joined, places
from dse.search.bits.maps import scores_over_schedule
from dse.search.bits.problem import BitProblem, SearchProblem
from dse.types import Floats
from dse.units import count_of

#: Columns of the ends of a drop's interval.
INTERVAL = ("accuracy_drop_low_pp", "accuracy_drop_high_pp")


def drop_intervals(problem: SearchProblem, found: Found) -> dict[str, Floats]:
    """Ends of the interval of every design's drop by column; of several networks the largest of each end, as of the drop."""
    drops = predicted_drops(problem, found).T
    ends = [
        np.array([_ends(problem, subject, float(drop)) for drop in column]).reshape(-1, 2)
        for subject, column in zip(problem.subjects, drops, strict=True)
    ]
    largest = np.max(ends, axis=0)
    return {name: largest[:, side] for side, name in enumerate(INTERVAL)}


def predicted_drops(problem: SearchProblem, found: Found) -> Floats:
    """(n, networks) predicted drop of every network of designs; NaN where none is predicted."""
    if len(problem.subjects) == 1 or not problem.predicts:
        drop = found.objectives[:, places([ACCURACY_DROP.column])[0]]
        return np.repeat(drop[:, None], len(problem.subjects), axis=1)
    return np.stack([_drops(problem, k, subject, found) for k, subject in enumerate(problem.subjects)], axis=1)


def plan_drop(problem: SearchProblem, drops: list[float], picked: bool = False) -> dict[str, float | bool]:
    """Ends of the interval of a plan's drop, one drop per network, and whether every network keeps the limit with it.

    What no search picked is not widened. An unknown drop keeps no limit.
    """
    if not problem.predicts:
        return {}
    asked = [(subject.profile, drop) for subject, drop in zip(problem.subjects, drops, strict=True) if subject.profile]
    both = [profile.drop_interval(drop, shown(problem.confidence), picked=picked) for profile, drop in asked]
    kept = all(_high(profile, drop, problem.confidence, picked) <= problem.limit_pp + 1e-12 for profile, drop in asked)
    low, high = max(item.low for item in both), max(item.high for item in both)
    return {**dict(zip(INTERVAL, (low, high), strict=True)), "keeps_limit": kept}


def plan_figures(
    problem: SearchProblem, costs: Sequence[pd.Series], plans: Sequence[Plan], picked: bool = False
) -> dict[str, float | bool]:
    """Objectives by column of a plan of each network on one design, given the networks' costs, and how sure its drop is.

    Parameters
    ----------
    picked
        A search picked the plans.
    """
    each = [
        Figures(
            float(cost["latency_s"]),
            float(cost["energy_j"]),
            float(cost["area_mm2"]),
            math.nan if subject.profile is None else subject.profile.predict_drop(plan, problem.mode),
        )
        for subject, cost, plan in zip(problem.subjects, costs, plans, strict=True)
    ]
    values = {
        item.column: float(joined(item, [item.of(figures) for figures in each], problem.weights, problem.worst_case))
        for item in OBJECTIVES.values()
    }
    return {**values, **plan_drop(problem, [float(figures.accuracy_drop_pp) for figures in each], picked)}


def warnings_of(problem: SearchProblem) -> list[str]:
    """What is said first: predictors that cannot tell the limit from nothing."""
    said = []
    for subject in problem.subjects:
        profile = subject.profile
        if profile is None or math.isinf(problem.limit_pp):
            continue
        error = float(profile.error_model.deviation(problem.limit_pp))
        if not error <= problem.limit_pp:
            size = (
                "is unknown"
                if math.isnan(error)
                else f"({error:.2g} {profile.unit}, standard deviation) exceeds the limit"
            )
            said.append(
                f"WARNING: the error of {subject.network.name}'s predictor {size} of {problem.limit_pp:g}: predicted drops say "
                "little about whether a design keeps it. Measure more whole plans ('dse calibrate'), or train designs "
                "('dse verify')."
            )
    return said


def promise(problem: SearchProblem) -> str:
    """What keeping the limit means, in a sentence."""
    unit = next(subject.profile.unit for subject in problem.subjects if subject.profile is not None)
    limit = count_of(problem.limit_pp, unit)
    if problem.confidence == EVEN:
        return f"The predicted drop alone keeps the limit of {limit}: about every second design loses more."
    said = (
        f"With a probability of {problem.confidence:g} a design loses at most {limit}, by the predictor's "
        "leave-one-out errors, widened for what a search picks (measured on small networks); assumed drops of "
        "error tensors count as exact."
    )
    for subject in problem.subjects:
        profile = subject.profile
        if profile is not None and profile.shared_errors is not None:
            said += (
                f" The errors are those of another profile: {subject.network.name} has {len(profile.point_drops)} whole plans "
                f"only, which miss each other by {profile.loo_error_pp:.2g} {profile.unit} when left out."
            )
    return said


def _ends(problem: SearchProblem, subject: BitProblem, drop: float) -> Interval:
    assert subject.profile is not None
    return subject.profile.drop_interval(drop, shown(problem.confidence), picked=True)


def _high(profile: Profile, drop: float, confidence: float, picked: bool) -> float:
    return drop if confidence == EVEN else profile.drop_interval(drop, confidence, picked=picked).high


def _drops(problem: SearchProblem, k: int, subject: BitProblem, found: Found) -> Floats:
    """(rows,) predicted drop of one of several networks."""
    assert subject.profile is not None
    groups, drops = np.arange(len(subject.groups)), np.empty(len(found))
    for row, values in enumerate(found.parameters):
        score = float(
            scores_over_schedule(subject, problem.schedules, problem.shares(values))[
                groups, found.choice[row, problem.columns[k]]
            ].sum()
        )
        place = int(found.error[row, k])
        error, most = subject.errors[place].element_bits, float(subject.score_limit[place])
        drops[row] = subject.profile.drop_of_score(min(score, most), error if problem.mode == "training" else 32)
    return drops
