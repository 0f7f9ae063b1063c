"""A fused nest that is really run, element by element: what :mod:`dse.mapping.fused.counts` must equal.

It knows no intervals. Every tensor has a store of the elements that are on the chip; a tile asks for elements of the last result,
each stage computes those that its store lacks and asks the stage before for what their windows touch. Where overlaps along an
axis are not kept, the tiles of that axis have stores of their own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict

from dse.mapping.fused.counts import ArrayOf, FusedCounts, StageCounts
from dse.mapping.fused.schedule import TILED, FusedSchedule, Stage

Place = tuple[int, int, int]
Places = frozenset[Place]


class _Tally:
    """Running counts of one stage."""

    def __init__(self) -> None:
        self.of: dict[str, int] = defaultdict(int)

    def counts(self) -> StageCounts:
        return StageCounts(**{name: self.of[name] for name in StageCounts.__dataclass_fields__})


def simulate_fused(schedule: FusedSchedule, array: ArrayOf) -> FusedCounts:
    """Counts of a schedule whose every loop is run; for nests of a few thousand multiply-accumulates."""
    stages = schedule.stages
    tallies = [_Tally() for _ in stages]
    stores: dict[tuple[int, ...], set[Place]] = defaultdict(set)
    held_weights: set[int] = set()
    bounds = [stages[-1].dim(dim) for dim in TILED]
    starts = {dim: range(0, bound, tile) for dim, bound, tile in zip(TILED, bounds, schedule.tile, strict=True)}
    for at in itertools.product(*(starts[dim] for dim in schedule.order)):
        first = dict(zip(schedule.order, at, strict=True))
        ranges = [range(first[dim], min(first[dim] + schedule.tile[i], bounds[i])) for i, dim in enumerate(TILED)]
        own = tuple(first[dim] for i, dim in enumerate("PQ") if not schedule.cached[i])
        work = frozenset(itertools.product(ranges[0], ranges[1], ranges[2]))
        plan: list[Places] = []
        for place in range(len(stages), 0, -1):
            plan.insert(0, work)
            wanted = _windows(schedule, place - 1, work)
            store = stores[(place - 1, first["N"], *own)]
            work = frozenset(wanted - store)
            store |= wanted
        tallies[0].of["input_read"] += len(work) * stages[0].dim("G") * stages[0].dim("C")
        for place, stage in enumerate(stages):
            if plan[place]:
                if stage.weights == "streamed" or place not in held_weights:
                    held_weights.add(place)
                    tallies[place].of["weights_read"] += stage.weight_elements
                _run(stage, plan[place], place == len(stages) - 1, array, tallies[place])
    return FusedCounts(tuple(tally.counts() for tally in tallies))


def _windows(schedule: FusedSchedule, place: int, work: Places) -> set[Place]:
    """The bounding box of what the windows of some results touch of the stage's input, without padding."""
    if not work:
        return set()
    stage = schedule.stages[place]
    sides = []
    for axis in (0, 1):
        touched = {
            stage.nest.stride[axis] * out + stage.nest.dilation[axis] * tap - stage.padding[axis]
            for out in {element[1 + axis] for element in work}
            for tap in range(stage.dim("RS"[axis]))
        }
        whole = range(min(touched), max(touched) + 1)
        sides.append([row for row in whole if 0 <= row < schedule.input_size(place, axis)])
    return set(itertools.product({element[0] for element in work}, sides[0], sides[1]))


def _run(stage: Stage, work: Places, last: bool, array: ArrayOf, tally: _Tally) -> None:
    """One stage of one tile on the array, weights held still."""
    count = tally.of
    channels, outputs = stage.dim("C"), stage.dim("K")
    step = stage.step or channels
    for _group, _tap, start in itertools.product(range(stage.dim("G")), range(stage.taps), range(0, channels, step)):
        end = min(start + step, channels)
        for c in range(start, end, array.rows):
            for k in range(0, outputs, array.columns):
                into, out = range(c, min(c + array.rows, end)), range(k, min(k + array.columns, outputs))
                for _place in work:
                    count["activations"] += len(into)
                    count["sums_read"] += len(out)
                    count["sums_written"] += len(out)
                    count["macs"] += len(into) * len(out)
    for _place in work:
        count["results_read"] += stage.dim("G") * outputs
        count["output_written" if last else "passed"] += stage.dim("G") * outputs
