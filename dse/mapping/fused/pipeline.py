"""Time of a fused schedule: the makespan of a pipeline, not the largest of sums.

A tile is a list of steps. A step is brought from DRAM (one request per tensor, one after the other on the read channel), moved
into the array when that is free, computed, and the last stage's result is written on the write channel:

* the read channel takes ``latency_cycles`` per request and then its words per cycle; it begins a step when the step that is as many
  places before it in the same stage as may wait has left the buffer (:attr:`Stage.waiting`)
* a step's weights move into the array at its columns' words per cycle as they come from DRAM, or, where the array was busy then,
  after it
* a weight tile of ``rows`` x ``columns`` takes as many cycles as results are computed under it, one per cycle, or the next tile's
  ``rows`` cycles to be shifted in where these are more, or the buffer's ports where they are slower; a stage that several arrays
  share has its output channels spread over them
* between two stages the array drains (``rows + columns - 1`` cycles) and the finished sums pass the vector unit, a row of columns
  per cycle and array
* a tile's result is written once it has drained; the next but one tile finds the place of its sums free only then

Derived from the structure of such accelerators; the constants of one machine (channel widths, latency) are its
:class:`FusedMachine`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from dse.mapping.fused.counts import ArrayOf, AxisWork, axis_work
from dse.mapping.fused.schedule import TILED, FusedSchedule, Stage


@dataclass(frozen=True)
class FusedMachine:
    """What a fused schedule runs on; rates are elements per cycle.

    Attributes
    ----------
    array
        One of the arrays.
    arrays
        How many of them.
    dram_read, dram_write
        The two channels of DRAM.
    latency_cycles
        From a request to its first element.
    port
        Between the buffer and one array.
    """

    array: ArrayOf
    arrays: int
    dram_read: float
    dram_write: float
    latency_cycles: int
    port: float


@dataclass(frozen=True)
class FusedTime:
    """Cycles of a schedule.

    Attributes
    ----------
    total
        The makespan.
    read_busy, write_busy, array_busy
        Cycles in which a channel, or the array, works; each is a lower bound of ``total``.
    bound
        Which of them works longest: ``dram_read``, ``dram_write`` or ``array``.
    """

    total: float
    read_busy: float
    write_busy: float
    array_busy: float

    @property
    def bound(self) -> str:
        busy = {"dram_read": self.read_busy, "dram_write": self.write_busy, "array": self.array_busy}
        return max(busy, key=lambda name: busy[name])


@dataclass(frozen=True)
class Step:
    """One step: requests of some elements each, elements of weights that move into an array, and cycles in it."""

    requests: tuple[int, ...]
    weights: float
    cycles: float


def fused_time(schedule: FusedSchedule, machine: FusedMachine) -> FusedTime:
    """Cycles from the first request to the last element written."""
    fill = machine.array.rows + machine.array.columns - 1
    read = array = written = 0.0
    busy = {"read": 0.0, "write": 0.0, "array": 0.0}
    left: list[list[float]] = [[] for _ in schedule.stages]
    freed: list[float] = []
    for number, tile in enumerate(_tiles(schedule, machine)):
        for place, (steps, results) in enumerate(tile):
            stage = schedule.stages[place]
            last = place == len(schedule.stages) - 1
            if last and number >= 2:
                array = max(array, freed[number - 2])
            for step in steps:
                if step.requests:
                    waits = left[place]
                    start = max(read, waits[-stage.waiting] if len(waits) >= stage.waiting else 0.0)
                    took = sum(machine.latency_cycles + elements / machine.dram_read for elements in step.requests)
                    read, busy["read"] = start + took, busy["read"] + took
                    array = max(read, array + step.weights / machine.array.columns)
                    waits.append(array)
                array, busy["array"] = array + step.cycles, busy["array"] + step.cycles
            if not last:
                passed = results / (machine.array.columns * machine.arrays)
                array, busy["array"] = array + passed + fill * (results > 0), busy["array"] + passed
            elif results:
                # The last results leave the array, and then the accumulators, a fill later each.
                took = results / machine.dram_write
                written, busy["write"] = max(written, array + 2 * fill) + took, busy["write"] + took
        freed.append(written)
    return FusedTime(max(written, array), busy["read"], busy["write"], busy["array"])


def _tiles(schedule: FusedSchedule, machine: FusedMachine) -> Iterator[list[tuple[list[Step], int]]]:
    """Of every tile and stage its steps, and the elements of its result."""
    axes = {dim: axis_work(schedule, dim) for dim in TILED}
    held: set[int] = set()
    for at in product(*(range(len(axes[dim].fresh[0])) for dim in schedule.order)):
        where = dict(zip(schedule.order, at, strict=True))
        tile = []
        for place, stage in enumerate(schedule.stages):
            places = _fresh(axes, where, place + 1)
            brings = places > 0 and (stage.weights == "streamed" or place not in held)
            held |= {place} if places else set()
            inputs = 0 if place else _fresh(axes, where, 0) * stage.dim("G")
            steps = [_step(stage, channels, places, inputs, brings, machine) for channels in stage.slices]
            tile.append((steps if places else [], places * stage.dim("G") * stage.dim("K")))
        yield tile


def _fresh(axes: dict[str, AxisWork], where: dict[str, int], tensor: int) -> int:
    return prod(axes[dim].fresh[tensor][where[dim]][1] - axes[dim].fresh[tensor][where[dim]][0] for dim in TILED)


def _step(stage: Stage, channels: int, places: int, inputs: int, brings: bool, machine: FusedMachine) -> Step:
    """A step of some input channels: ``inputs`` elements per channel and ``places`` of the result."""
    array, groups = machine.array, stage.dim("G") * stage.taps
    weights = groups * stage.dim("K") * channels if brings else 0
    columns = ceil(ceil(stage.dim("K") / array.columns) / min(stage.arrays, machine.arrays))
    at_port = places * (min(channels, array.rows) + min(stage.dim("K"), array.columns)) / machine.port
    each = max(places, array.rows, at_port)
    return Step(
        requests=tuple(elements for elements in (inputs * channels, weights) if elements),
        weights=weights / min(stage.arrays, machine.arrays),
        cycles=groups * ceil(channels / array.rows) * columns * each,
    )
