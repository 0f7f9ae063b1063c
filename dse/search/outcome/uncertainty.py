"""Error bars of a front: what its designs cost where every price is drawn from its range, and how sure it is that they belong to
it.

All designs are priced in the same worlds (a draw is one set of prices), so that a price that is wrong for all of them moves none
past another. Mappings, formats and the designs themselves stay those that were found at nominal prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dse.cost.mapped.searched import front_searching
from dse.cost.totals.evaluate import Cost, evaluate
from dse.cost.totals.intervals import HIGH, LOW
from dse.errors import InputError
from dse.goals import ACCURACY_DROP, OBJECTIVES, Figures, minimized
from dse.hardware.prices.ranges import RANGES
from dse.search.outcome.results import Run
from dse.search.pareto import knee, pareto_mask
from dse.types import Floats

#: Columns of the front that are drawn, and the shares that are told of each design.
DRAWN = ("latency_s", "energy_j", "area_mm2")
SHARES = ("share_non_dominated", "share_knee")


@dataclass(frozen=True)
class DrawnFront:
    """A front in so many draws of all prices.

    Attributes
    ----------
    values
        (draws, designs, 3) in the order of :data:`DRAWN`.
    objectives
        (draws, designs) by column of what the front is non-dominated in.
    table
        One row per design: ``design``, low and high of each of them (90 % of the draws lie between), and the shares of draws in
        which it is non-dominated and in which it is the knee.
    """

    values: Floats
    objectives: dict[str, Floats]
    table: pd.DataFrame


def drawn_front(run: Run, objectives: Sequence[str], draws: int, seed: int) -> DrawnFront:
    """The front of a run under drawn prices.

    Parameters
    ----------
    objectives
        Columns that the front is non-dominated in; a predicted accuracy is not drawn.
    draws
        At least 2.

    Raises
    ------
    InputError
        Fewer than two draws.
    """
    if draws < 2:
        raise InputError("--uncertainty", [f"expected at least 2 draws, got {draws}"])
    front = run.front
    values = np.empty((draws, len(front), len(DRAWN)))
    for place, design in enumerate(front["design"].astype(str)):
        nominal = front[list(DRAWN)].iloc[place].to_numpy(np.float64)
        values[:, place] = nominal * _relative(run, design, draws, seed)
    kept = np.zeros(len(front))
    knees = np.zeros(len(front))
    drop = (
        front[ACCURACY_DROP.column].to_numpy(np.float64)
        if ACCURACY_DROP.column in front
        else np.full(len(front), np.nan)
    )
    latency, energy, area = (values[..., number] for number in range(len(DRAWN)))
    figures = Figures(latency, energy, area, np.broadcast_to(drop, latency.shape))
    by_column = {item.column: item for item in OBJECTIVES.values()}
    points = {name: np.asarray(by_column[name].of(figures), np.float64) for name in objectives}
    for draw, plane in zip(np.stack(list(points.values()), axis=-1), values[..., :2], strict=True):
        kept += pareto_mask(minimized(draw, objectives))
        if len(front):
            knees[knee(plane)] += 1  # of latency and energy, as the run's own knee
    table = front[["design"]].copy()
    for number, name in enumerate(DRAWN):
        low, high = np.quantile(values[:, :, number], [LOW, HIGH], axis=0) if len(front) else (np.zeros(0),) * 2
        table[f"{name}_low"], table[f"{name}_high"] = low, high
    for name, counted in zip(SHARES, (kept, knees), strict=True):
        table[name] = counted / draws
    return DrawnFront(values, points, table)


def with_error_bars(run: Run, drawn: DrawnFront, seed: int) -> Run:
    """The run with error bars in its front, and what was drawn in its record and its notes."""
    draws = len(drawn.values)
    front = run.front.merge(drawn.table, on="design", how="left", validate="1:1")
    said = {name: {"low": price.low, "high": price.high, "source": price.source} for name, price in RANGES.items()}
    info: dict[str, Any] = {**run.info, "uncertainty": {"draws": draws, "seed": seed, "ranges": said}}
    notes = (*run.notes, *([_sentence(run.front, drawn.table, draws)] if len(front) else []))
    info["notes"] = list(notes)
    return replace(run, front=front, info=info, notes=notes)


def draws_table(run: Run, drawn: DrawnFront) -> pd.DataFrame:
    """``design, draw``, then the drawn columns: one row per design and draw."""
    draws, designs = drawn.values.shape[:2]
    table: dict[str, Any] = {
        "design": np.tile(run.front["design"].to_numpy(), draws),
        "draw": np.repeat(np.arange(draws), designs),
    }
    flat = drawn.values.reshape(-1, len(DRAWN))
    table |= {name: flat[:, number] for number, name in enumerate(DRAWN)}
    return pd.DataFrame(table | {name: points.reshape(-1) for name, points in drawn.objectives.items()})


def _sentence(front: pd.DataFrame, table: pd.DataFrame, draws: int) -> str:
    own, best = knee(front[list(DRAWN[:2])].to_numpy(np.float64)), int(table["share_knee"].to_numpy().argmax())
    names, shares = table["design"].astype(str).tolist(), table["share_knee"].tolist()
    often = "as no other" if best == own else f"{names[best]} in {shares[best]:.0%}"
    steady = float((table["share_non_dominated"] >= 0.5).mean())
    spread = {item: float(np.median(table[f"{item}_high"] / table[f"{item}_low"])) for item in DRAWN}
    return (
        f"Every price was drawn {draws} times from its range: 90 % of the draws lie within a factor of {spread['latency_s']:.2f} "
        f"(latency), {spread['energy_j']:.2f} (energy) and {spread['area_mm2']:.2f} (area) for the median design. "
        f"{steady:.0%} of the front is non-dominated in at least half of the draws; the knee, {names[own]}, is the knee in "
        f"{shares[own]:.0%} of them, {often}."
    )


def _relative(run: Run, design: str, draws: int, seed: int) -> Floats:
    """(draws, 3) factors on the nominal latency, energy and area of a design."""
    problem = run.problem
    hardware = run.hardware(design)
    sums: list[Floats] = []
    nominal: list[Floats] = []
    area = np.ones(draws)
    for subject, weight in zip(problem.subjects, problem.weights, strict=True):
        name = subject.network.name
        plan = run.plan(design, name) if problem.schedules is None else run.schedule(design, name)
        cost: Cost = evaluate(subject.network, hardware, plan, mode=problem.mode, search_mappings=front_searching())
        drawn = cost.draws(draws, seed)
        sums.append(weight * np.column_stack([drawn.latency_s[:, 0], drawn.energy_j[:, 0]]))
        nominal.append(weight * cost.total[["latency_s", "energy_j"]].iloc[0].to_numpy(np.float64))
        area = drawn.area_mm2[:, 0] / float(cost.total["area_mm2"].iloc[0])
    joined = np.max if problem.worst_case else np.sum
    return np.column_stack([joined(sums, axis=0) / joined(nominal, axis=0), area])
