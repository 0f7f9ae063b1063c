"""Bit maps whose cost is no plain sum over layers: what is resident on the chip is chosen together with the formats.

What a map costs is what :func:`dse.evaluate` says of it, with the best set of resident tensors for it
(:mod:`dse.cost.fusion.inference.resident`). Two tables of plain sums enclose it for every map: the costs with nothing
resident, which residency never exceeds, and the least that each choice can come to whatever the others are
(:mod:`dse.cost.fusion.inference.bounds`). The exact allocation over the lower one is a bound on all maps and all sets
of resident tensors. Maps are proposed by the exact allocation over

* both tables, and
* tables between them that have, for each group of layers, the share of its saving that the best map so far really got,

and priced for what they are; the best one is taken. So the certificate's gap is a proven distance from the best of all maps with
all that may be resident, and 0 where everything fits; it is not 0 everywhere, as it is where costs add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dse.cost.steps.choices import group_of_layers
from dse.cost.steps.options import StepOptions
from dse.cost.steps.step import step_costs
from dse.goals import ENERGY, LATENCY
from dse.hardware.arrays import HardwareArrays
from dse.search.allocation.allocate import Allocation
from dse.search.allocation.lagrange import allowed_score
from dse.search.bits.limits import ACCURACY
from dse.search.bits.maps import MapCosts, best_map, limit_bounds, map_key
from dse.search.bits.problem import BitProblem, SearchProblem, plan_of
from dse.types import Floats

#: How often tables between the two are made of the best map so far.
ROUNDS = 2

Map = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Asked:
    """What a map is wanted for: place of the error format, weight of latency, share of the score limit that may be used."""

    e: int
    weight: float
    share: float


@dataclass(frozen=True)
class _Priced:
    """What a map costs, and what of it falls on each group of layers: (G,)."""

    choice: Map
    energy_j: Floats
    latency_s: Floats


def with_maps(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, one: HardwareArrays, asked: Sequence[Asked]
) -> MapCosts:
    """The costs of a network on one design with maps that are good for what is asked, priced as a whole."""
    assert table.least is not None
    plain = replace(table, least=None)
    known: dict[tuple[int, bytes], _Priced] = {}
    proposed: list[tuple[int, Map]] = []
    for item in asked:
        for side in (plain, table.least):
            found, _ = best_map(problem, subject, side, item.e, item.weight, item.share)
            if found.feasible:
                proposed.append((item.e, found.choice.astype(np.uint8)))
    _price(problem, subject, one, known, proposed)
    for _ in range(ROUNDS):
        proposed = []
        for item in asked:
            best = _best(problem, subject, _whole(table, known), item)
            if best is None:
                continue
            between = _between(plain, table.least, item.e, known[item.e, map_key(best)])
            found, _ = best_map(problem, subject, between, item.e, item.weight, item.share)
            if found.feasible:
                proposed.append((item.e, found.choice.astype(np.uint8)))
        _price(problem, subject, one, known, proposed)
    return _whole(table, known)


def with_given(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, one: HardwareArrays, maps: Iterable[tuple[int, Map]]
) -> MapCosts:
    """The costs of a network on one design with given maps (and their error formats) priced as a whole."""
    known: dict[tuple[int, bytes], _Priced] = {}
    _price(problem, subject, one, known, maps)
    return _whole(table, known)


def best_priced(problem: SearchProblem, subject: BitProblem, table: MapCosts, item: Asked) -> tuple[Allocation, int]:
    """The best of the priced maps for what is asked, with its bound, and the limits that bind (as
    :func:`dse.search.bits.maps.best_map` says of the costs with nothing resident)."""
    assert table.least is not None
    low, _ = best_map(problem, subject, table.least, item.e, item.weight, item.share)
    plain = replace(table, least=None, whole=None)
    answer, binds = best_map(problem, subject, plain, item.e, item.weight, item.share)
    best = _best(problem, subject, table, item)
    if best is None:
        return (low if not low.feasible else replace(answer, status="unknown", limit=answer.limit)), binds
    cost = _value(problem, table, item, best)
    # Of one map there is nothing to choose.
    bound = cost if (subject.allowed.sum(axis=1) == 1).all() else min(low.bound, cost)
    gap = 0.0 if cost - bound <= 1e-12 * cost else (cost - bound) / cost
    score = math.fsum(subject.score[np.arange(len(best)), best])
    status = "optimal" if gap == 0.0 else "bounded"
    return Allocation(best.astype(np.int64), cost, score, bound, gap, status), binds


def _whole(table: MapCosts, known: dict[tuple[int, bytes], _Priced]) -> MapCosts:
    whole = {
        key: {"energy": float(item.energy_j.sum()), "latency": float(item.latency_s.sum())}
        for key, item in known.items()
    }
    return replace(table, whole=whole)


def _price(
    problem: SearchProblem,
    subject: BitProblem,
    one: HardwareArrays,
    known: dict[tuple[int, bytes], _Priced],
    proposed: Iterable[tuple[int, Map]],
) -> None:
    """Add what maps cost to those known."""
    new = {(e, map_key(choice)): choice for e, choice in proposed if (e, map_key(choice)) not in known}
    if not new:
        return
    plans = [plan_of(subject, e, choice) for (e, _), choice in new.items()]
    steps = step_costs(subject.network, problem.hardware, one, plans, StepOptions(problem.mode))
    member = np.array(group_of_layers(subject.network, subject.groups))
    for i, (key, choice) in enumerate(new.items()):
        energy, latency = np.zeros(len(subject.groups)), np.zeros(len(subject.groups))
        np.add.at(energy, member, steps.energy_j[0, i].sum(axis=-1))
        np.add.at(latency, member, steps.latency_s[0, i].sum(axis=-1))
        known[key] = _Priced(choice, energy, latency)


def _between(plain: MapCosts, least: MapCosts, e: int, best: _Priced) -> MapCosts:
    """Costs in which every choice of a group gets the share of its saving that the group has in a map."""
    groups = np.arange(len(best.choice))
    tables = dict(plain.tables)
    for name, got in (("energy", best.energy_j), ("latency", best.latency_s)):
        high, low = plain.tables[name][e], least.tables[name][e]
        room = (high - low)[groups, best.choice]
        share = np.clip(
            np.where(room > 0, (got - low[groups, best.choice]) / np.where(room > 0, room, 1.0), 1.0), 0.0, 1.0
        )
        finite = np.where(np.isfinite(high), high - low, 0.0)
        table = plain.tables[name].copy()
        table[e] = np.where(np.isfinite(high), high - (1.0 - share)[:, None] * finite, np.inf)
        tables[name] = table
    return replace(plain, tables=tables)


def _best(problem: SearchProblem, subject: BitProblem, table: MapCosts, item: Asked) -> Map | None:
    """The best of the priced maps that keeps all limits."""
    assert table.whole is not None
    bounds = limit_bounds(problem, subject, table, item.e)
    least = float(np.where(subject.allowed, table.score, np.inf).min(axis=1).sum())
    most = least + item.share * (bounds.pop(ACCURACY) - least)
    best: tuple[float, Map] | None = None
    for e, key in table.whole:
        choice = np.frombuffer(key, np.uint8)
        if e != item.e or math.fsum(table.score[np.arange(len(choice)), choice]) > allowed_score(most):
            continue
        if any(table.value(name, e, choice) > allowed_score(bound) for name, bound in bounds.items()):
            continue
        value = _value(problem, table, item, choice)
        if best is None or value < best[0]:
            best = (value, choice)
    return None if best is None else best[1]


def _value(problem: SearchProblem, table: MapCosts, item: Asked, choice: Map) -> float:
    """A priced map's weighted sum of latency and energy, as of :func:`dse.search.bits.maps.weighted`."""
    energy, latency = (table.value(name, item.e, choice) for name in ("energy", "latency"))
    return (1 - item.weight) * energy / problem.unit(ENERGY) + item.weight * latency / problem.unit(LATENCY)
