"""Accesses of a fused schedule in closed form, of an array that holds weights still.

Along each axis the tiles of the last result need an interval of every tensor before it. Where overlaps are kept a stage computes
only what no tile before has computed, so that what it computes is again an interval; a tile computes the product of its intervals
along N, P and Q, and all tiles together the product of their sums, per stage.

The array has ``rows`` x ``columns`` multipliers that hold weights of so many input and output channels. Between the buffer and the
array, for T places of a stage's result that are computed (padding is read as zeros):

* activations are read for every group of output channels: ``T G C R S ceil(K / columns)``
* partial sums are read and written for every group of input channels: ``T G K R S sum over steps of ceil(step / rows)``, the first
  (zero) ones too, as the RTL that :mod:`benchmarks.fused_gemm` compares with does
* finished sums are read once, ``T G K``; those of an inner tensor pass the vector unit, ``T G K`` read and written
* weights go from DRAM into the array, past the buffer's ports
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from dse.mapping.fused.schedule import TILED, FusedSchedule, Stage

Interval = tuple[int, int]


@dataclass(frozen=True)
class ArrayOf:
    """An array that holds weights still: input channels along its rows, output channels along its columns."""

    rows: int
    columns: int


@dataclass(frozen=True)
class StageCounts:
    """Elements that move for one stage over a whole schedule.

    Attributes
    ----------
    input_read
        From DRAM, of the first stage's input; 0 for others.
    weights_read
        From DRAM.
    output_written
        To DRAM, of the last stage's result; 0 for others.
    activations
        Read by the array.
    sums_read, sums_written
        Partial sums between buffer and array.
    results_read
        Finished sums.
    passed
        Read and written once each by the vector unit.
    macs
        Multiply-accumulates, those that are done again included.
    """

    input_read: int
    weights_read: int
    output_written: int
    activations: int
    sums_read: int
    sums_written: int
    results_read: int
    passed: int
    macs: int


@dataclass(frozen=True)
class FusedCounts:
    """Counts of all stages; the properties are what the memories see, in elements."""

    stages: tuple[StageCounts, ...]

    @property
    def dram_reads(self) -> int:
        return sum(stage.input_read + stage.weights_read for stage in self.stages)

    @property
    def dram_writes(self) -> int:
        return sum(stage.output_written for stage in self.stages)

    @property
    def array_reads(self) -> int:
        """Elements that the array and the vector unit read from the buffer."""
        return sum(s.activations + s.sums_read + s.results_read + s.passed for s in self.stages)

    @property
    def array_writes(self) -> int:
        """Elements that the array and the vector unit write to the buffer."""
        return sum(s.sums_written + s.passed for s in self.stages)

    @property
    def macs(self) -> int:
        return sum(stage.macs for stage in self.stages)


@dataclass(frozen=True)
class AxisWork:
    """What the tiles along one axis need and compute of each tensor: tensor 0 is the input, tensor i + 1 the result of stage i.

    Attributes
    ----------
    needed, fresh
        By tensor and tile: the interval that is read, and the part of it that is computed (or brought) for this tile.
    """

    needed: tuple[tuple[Interval, ...], ...]
    fresh: tuple[tuple[Interval, ...], ...]

    def total(self, tensor: int) -> int:
        """Elements along the axis that all tiles compute."""
        return sum(end - start for start, end in self.fresh[tensor])

    def tiles(self, tensor: int) -> int:
        """Tiles that compute any."""
        return sum(end > start for start, end in self.fresh[tensor])


def axis_work(schedule: FusedSchedule, dim: str) -> AxisWork:
    """Intervals along N, P or Q, from the last result back to the input."""
    stages = schedule.stages
    bound, tile = stages[-1].dim(dim), schedule.tile[TILED.index(dim)]
    last = tuple((start, min(start + tile, bound)) for start in range(0, bound, tile))
    needed, fresh = [last], [last]
    for place in range(len(stages) - 1, -1, -1):
        if dim == "N":
            wanted = fresh[0]
        else:
            axis = "PQ".index(dim)
            size = schedule.input_size(place, axis)
            wanted = tuple(stages[place].window(axis, start, end, size) for start, end in fresh[0])
        kept = dim != "N" and schedule.cached["PQ".index(dim)]
        needed.insert(0, wanted)
        fresh.insert(0, _new(wanted) if kept else wanted)
    return AxisWork(tuple(needed), tuple(fresh))


def _new(wanted: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """What no interval before has."""
    done, result = 0, []
    for start, end in wanted:
        result.append((min(max(start, done), end), end))
        done = max(done, end)
    return tuple(result)


def fused_counts(schedule: FusedSchedule, array: ArrayOf) -> FusedCounts:
    """Elements that move under a schedule; see the module."""
    axes = [axis_work(schedule, dim) for dim in TILED]
    stages = schedule.stages
    found = []
    for place, stage in enumerate(stages):
        places = prod(axis.total(place + 1) for axis in axes)
        tiles = prod(axis.tiles(place + 1) for axis in axes)
        results = places * stage.dim("G") * stage.dim("K")
        inner = place < len(stages) - 1
        passes = stage.taps * sum(ceil(step / array.rows) for step in stage.slices)
        brought = prod(axis.total(0) for axis in axes) * stage.dim("G") * stage.dim("C")
        found.append(
            StageCounts(
                input_read=0 if place else brought,
                weights_read=stage.weight_elements * (tiles if stage.weights == "streamed" else min(tiles, 1)),
                output_written=0 if inner else results,
                activations=places
                * stage.dim("G")
                * stage.dim("C")
                * stage.taps
                * ceil(stage.dim("K") / array.columns),
                sums_read=results * passes,
                sums_written=results * passes,
                results_read=results,
                passed=results if inner else 0,
                macs=results * stage.dim("C") * stage.taps,
            )
        )
    return FusedCounts(tuple(found))


def buffer_elements(schedule: FusedSchedule) -> int:
    """Elements that the buffer must hold at most: an upper bound of what a run of the nest has alive at once.

    Of every tensor what a tile needs of it and, for each axis along which overlaps are kept, the overlap over the whole length of
    the loops inside of that axis; of weights those that are kept, or one step and those that wait.
    """
    axes = {dim: axis_work(schedule, dim) for dim in TILED}
    held = 0
    for place in range(len(schedule.stages) + 1):
        channels = _channels(schedule.stages, place)
        held += channels * prod(_longest(axis.needed[place]) for axis in axes.values())
        for depth, dim in enumerate(schedule.order):
            if dim != "N" and schedule.cached["PQ".index(dim)] and place < len(schedule.stages):
                inside = prod(_extent(axes[other].needed[place]) for other in schedule.order[depth + 1 :])
                around = prod(_longest(axes[other].needed[place]) for other in schedule.order[:depth])
                held += channels * _overlap(axes[dim].needed[place]) * inside * around
    for stage in schedule.stages:
        step = stage.weight_elements * max(stage.slices) // stage.dim("C")
        held += (
            stage.weight_elements if stage.weights == "kept" else min(step * (1 + stage.waiting), stage.weight_elements)
        )
    return held


def _channels(stages: tuple[Stage, ...], tensor: int) -> int:
    if tensor == 0:
        return stages[0].dim("G") * stages[0].dim("C")
    return stages[tensor - 1].dim("G") * stages[tensor - 1].dim("K")


def _longest(intervals: tuple[Interval, ...]) -> int:
    return max(end - start for start, end in intervals)


def _extent(intervals: tuple[Interval, ...]) -> int:
    return max(end for _, end in intervals)


def _overlap(intervals: tuple[Interval, ...]) -> int:
    """Most that an interval shares with all before it."""
    done, most = 0, 0
    for start, end in intervals:
        most = max(most, min(done, end) - start)
        done = max(done, end)
    return max(most, 0)
