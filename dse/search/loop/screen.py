"""Where to start: hardware that is good for one fixed bit map, found by a local search that costs little.

One map costs a fraction of all choices of all layers, and hardware that is good for it is mostly good for the best map too. The
search climbs the front itself (Pareto local search: Paquete, Chiarandini & Stützle, "Pareto local optimum sets in the biobjective
travelling salesman problem", LNEMS 535, 2004): it asks for the neighbours of the best non-dominated points, one step in one
parameter, until hardly any are new. What it finds only decides which hardware is solved first; nothing is excluded by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.epilogues import without_residents
from dse.cost.jobs.network import nest_of
from dse.cost.steps.options import StepOptions
from dse.cost.steps.step import step_costs
from dse.goals import ENERGY, LATENCY, OBJECTIVES, Figures, Objective, minimized
from dse.mapping.nest import Nest
from dse.precision import Plan
from dse.search.archive import joined, places
from dse.search.bits.maps import MapCosts, best_map, map_costs, weighted
from dse.search.bits.problem import BitProblem, SearchProblem, plan_of
from dse.search.bits.solve import design_arrays, price_choices
from dse.search.pareto import hypervolume, pareto_mask
from dse.types import Floats, Ints
from dse.workload.model import Network

Choice = npt.NDArray[np.uint8]
Evaluate = Callable[[Ints], Floats]

#: Points that the local search starts from, and asks for at most.
RANDOM_POINTS = 192
MAX_POINTS = 1_024
#: Non-dominated points whose neighbours it asks for, and new ones that are worth another round (a round costs as much as many).
CLIMBING = 24
FEWEST_NEW = 32
#: Share of a network's cost whose layers it looks at.
SCREENED_SHARE = 0.5
#: Points of its front that start a search.
STARTS = 64


def screened(problem: SearchProblem, objectives: Sequence[str], seed: int) -> Floats:
    """Parameter rows to solve first, the one that adds most hypervolume first; (at most :data:`STARTS`, parameters).

    The best hardware starts with a schedule's first values: none, where that is among them. The others take turns with all values
    of every parameter of a schedule, so that a short search sees schedules too.
    """
    sizes = np.array([len(parameter.values) for parameter in problem.hardware.space], dtype=np.int64)
    if not len(sizes):
        return np.zeros((0, 0))
    every = [item.column for item in screened_objectives()]
    names = [name for name in objectives if name in every] or [LATENCY.column, ENERGY.column]
    columns = [every.index(name) for name in names]
    unit = minimized(problem.reference[None, places(names)], names)
    evaluate = surrogate(problem, SCREENED_SHARE)

    def relative(points: Ints) -> Floats:
        values = evaluate(points)
        return np.asarray(np.where(np.isfinite(values), values, np.inf)[:, columns] / unit)

    points, values = local_search(relative, sizes, seed)
    ranked = ranked_by_hypervolume(values, STARTS)
    rows = decode(problem, points[ranked])
    turns = np.random.default_rng(seed)
    for _, given in problem.parameters[len(sizes) :]:
        others = turns.permutation(np.resize(given, max(len(rows) - 1, 0)))
        rows = np.column_stack([rows, np.append(given[:1], others)[: len(rows)]])
    return rows


def surrogate(problem: SearchProblem, share: float = 1.0) -> Evaluate:
    """(n, screened objectives) of index points (n, parameters) under the best maps of the default design, smaller is better.

    Infinite where a design cannot run them or is larger than allowed. With a ``share`` below 1 only the layers of the costliest
    shapes count that together cost so much on the default design: a screening takes as long as there are loop nests.
    """
    plans = _default_plans(problem, share)
    machine = without_residents(problem.hardware)

    def evaluate(points: Ints) -> Floats:
        arrays = design_arrays(problem, decode(problem, points))
        each = []
        for network, plan in plans:
            steps = step_costs(network, machine, arrays, [plan], StepOptions(problem.mode))
            latency, energy = (
                table.reshape(len(points), -1).sum(axis=1) for table in (steps.latency_s, steps.energy_j)
            )
            each.append(Figures(latency, energy, arrays.area_mm2))
        items = screened_objectives()
        values = minimized(
            np.column_stack(
                [joined(item, [item.of(x) for x in each], problem.weights, problem.worst_case) for item in items]
            ),
            [item.column for item in items],
        )
        values[arrays.area_mm2 > problem.limits.bound("area")] = np.inf
        return values

    return evaluate


def screened_objectives() -> list[Objective]:
    """Objectives that follow from hardware alone."""
    return [item for item in OBJECTIVES.values() if not item.needs_profile]


def decode(problem: SearchProblem, points: Ints) -> Floats:
    """Hardware parameter values of index points."""
    return np.column_stack(
        [np.array(parameter.values)[points[:, k]] for k, parameter in enumerate(problem.hardware.space)]
    )


def local_search(evaluate: Evaluate, sizes: Ints, seed: int, most: int = MAX_POINTS) -> tuple[Ints, Floats]:
    """Non-dominated index points that a Pareto local search reaches, and their values (all minimized).

    Parameters
    ----------
    evaluate
        (n, parameters) indices to (n, objectives); infinity where infeasible.
    sizes
        (parameters,) number of values of each parameter.
    most
        Points to evaluate at most.
    """
    generator = np.random.default_rng(seed)
    new = np.unique(generator.integers(0, sizes, (min(RANDOM_POINTS, most), len(sizes))), axis=0)
    points, values = np.zeros((0, len(sizes)), np.int64), None
    seen: set[bytes] = set()
    while len(new) > (0 if values is None else FEWEST_NEW) and len(seen) < most:
        new = new[: most - len(seen)]
        seen.update(row.tobytes() for row in new)
        found = evaluate(new)
        points = np.vstack([points, new])
        values = found if values is None else np.vstack([values, found])
        keep = pareto_mask(values) & np.isfinite(values).all(axis=1)
        points, values = points[keep], values[keep]
        around_these = points[ranked_by_hypervolume(values, CLIMBING)]
        step = np.concatenate([np.eye(len(sizes), dtype=np.int64), -np.eye(len(sizes), dtype=np.int64)])
        around = (around_these[:, None] + step[None]).reshape(-1, len(sizes))
        around = np.unique(around[((around >= 0) & (around < sizes)).all(axis=1)], axis=0)
        new = np.array([row for row in around if row.tobytes() not in seen], dtype=np.int64).reshape(-1, len(sizes))
    assert values is not None
    return points, values


def ranked_by_hypervolume(values: Floats, most: int) -> Ints:
    """Rows of (n, objectives) values below 1, each the one that adds most hypervolume to those before it."""
    corner = np.maximum(1.0, values.max(axis=0, initial=1.0) * 1.01)
    left = list(range(len(values)))
    chosen: list[int] = []
    covered = 0.0
    while left and len(chosen) < most:
        gains = [hypervolume(values[[*chosen, row]], corner) - covered for row in left]
        best = int(np.argmax(gains))
        covered += gains[best]
        chosen.append(left.pop(best))
    return np.array(chosen, dtype=np.int64)


def _default_plans(problem: SearchProblem, share: float) -> list[tuple[Network, Plan]]:
    """Each network, or the costliest part of it, and its best map on the default design."""
    default = np.array(
        [
            [
                *(parameter.default for parameter in problem.hardware.space),
                *(values[0] for _, values in problem.parameters[len(problem.hardware.space) :]),
            ]
        ]
    )
    plans = []
    for subject in problem.subjects:
        costs = price_choices(problem, subject, default)
        table = map_costs(problem, subject, costs, 0, default[0])
        answers = [(best_map(problem, subject, table, e, 0.5, 1.0)[0], e) for e in range(len(subject.errors))]
        feasible = [item for item in answers if item[0].feasible]
        if feasible:
            answer, error = min(feasible, key=lambda item: item[0].cost)
            choice = answer.choice.astype(np.uint8)
        else:  # The hard limits exclude the default design: any map that the accuracy limit allows will do.
            error = len(subject.errors) - 1
            runs = subject.allowed & np.isfinite(table.energy_j[error])
            choice = np.where(runs, subject.score, np.inf).argmin(axis=1).astype(np.uint8)
        kept = _costliest(problem, subject, table, error, choice, share)
        plans.append((kept, plan_of(subject, error, choice, kept)))
    return plans


def _costliest(
    problem: SearchProblem, subject: BitProblem, table: MapCosts, e: int, choice: Choice, share: float
) -> Network:
    """The network without the MAC layers of its cheapest shapes; layers of one shape share their loop nests."""
    if share >= 1.0:
        return subject.network
    cost = weighted(problem, table, e, 0.5)[np.arange(len(choice)), choice]
    layers = subject.network.mac_layers
    shapes = [nest_of(layer, "forward", subject.network.batch) for layer in layers]
    total: dict[Nest, float] = dict.fromkeys(shapes, 0.0)
    for members, value in zip(subject.groups, cost, strict=True):
        for index in members:
            total[shapes[index]] += float(value) / len(members)
    kept: set[Nest] = set()
    for shape in sorted(total, key=lambda shape: -total[shape]):
        if sum(total[chosen] for chosen in kept) < share * sum(total.values()):
            kept.add(shape)
    left_out = {layer.name for layer, shape in zip(layers, shapes, strict=True) if shape not in kept}
    remaining = tuple(layer for layer in subject.network.layers if layer.name not in left_out)
    return replace(subject.network, layers=remaining)
