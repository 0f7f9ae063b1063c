"""Fused schedules as data: a chain of products or convolutions that runs tile by tile, so that inner tensors stay on the chip.

In YAML, for two products of one input (the scores and the context of attention without its softmax)::

    name: two_products
    tile: {P: 16}                # of the last stage's result; a dim that is not given is whole
    order: NPQ                   # loops over tiles, outermost first
    overlap: {P: recompute}      # what tiles share of inner tensors: recompute, or cache (the default)
    stages:
      - {name: first, P: 512, C: 64, K: 512, step: 16, waiting: 2, arrays: 4}
      - {name: second, P: 512, C: 512, K: 64, step: 32}

Bounds of a stage are those of a nest (``N G K C P Q R S``, 1 where not given), with ``stride``, ``dilation`` and ``padding`` (rows
above, columns to the left). Each stage reads the result of the one before. For every tile of the last result the stages run one
after the other; a stage brings its weights (and the first one the input) in steps of some input channels. What a window needs
beyond the tile (Mei et al., DeFiNES, HPCA 2023, modes of overlap) is, along P and Q each, computed again or kept.

:mod:`dse.mapping.fused.counts` counts accesses, :mod:`dse.mapping.fused.simulate` runs the nest, :mod:`dse.mapping.fused.pipeline`
gives its time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.mapping.nest import Nest
from dse.yaml_input import Key, load_yaml, validate

#: Loops over tiles.
TILED = "NPQ"
#: Places of P, Q, R, S among a nest's dims.
_PLACE = {dim: place for place, dim in enumerate("NGKCPQRS")}

Positive = Annotated[int, Field(ge=1, le=2**31)]
Whole = Annotated[int, Field(ge=0, le=2**31)]
Overlap = Literal["recompute", "cache"]


@dataclass(frozen=True)
class Stage:
    """One product or convolution of a chain, forward.

    Attributes
    ----------
    nest
        Its bounds; the pass is ``forward``.
    padding
        Zeros above and to the left of its input.
    step
        Input channels of a group whose weights are brought at a time; 0: all.
    weights
        ``streamed``: brought again for every tile; ``kept``: brought once and held.
    waiting
        Steps that may wait on the chip beside the one that is computed; 1 is a double buffer.
    arrays
        How many arrays share its output channels.
    """

    name: str
    nest: Nest
    padding: tuple[int, int] = (0, 0)
    step: int = 0
    weights: str = "streamed"
    waiting: int = 1
    arrays: int = 1

    def dim(self, name: str) -> int:
        """Bound of a loop dim."""
        return self.nest.dims[_PLACE[name]]

    @property
    def slices(self) -> tuple[int, ...]:
        """Input channels of each step."""
        channels, step = self.dim("C"), self.step or self.dim("C")
        return tuple(min(step, channels - start) for start in range(0, channels, step))

    @property
    def taps(self) -> int:
        """Places of the filter."""
        return self.dim("R") * self.dim("S")

    @property
    def weight_elements(self) -> int:
        return self.dim("G") * self.dim("K") * self.dim("C") * self.taps

    def span(self, axis: int) -> int:
        """Padded input rows (axis 0) or columns (1) that all windows cover."""
        stride, dilation = self.nest.stride[axis], self.nest.dilation[axis]
        return stride * (self.dim("PQ"[axis]) - 1) + dilation * (self.dim("RS"[axis]) - 1) + 1

    def window(self, axis: int, first: int, end: int, size: int) -> tuple[int, int]:
        """Input rows ``[first, end)`` (or columns) under output rows ``[first, end)``, of an input of some size."""
        if end <= first:
            return (0, 0)
        stride, dilation = self.nest.stride[axis], self.nest.dilation[axis]
        low = stride * first - self.padding[axis]
        high = stride * (end - 1) + dilation * (self.dim("RS"[axis]) - 1) + 1 - self.padding[axis]
        return max(low, 0), max(min(high, size), max(low, 0))


@dataclass(frozen=True)
class FusedSchedule:
    """A chain of stages and how it is cut into tiles; see the module.

    Attributes
    ----------
    tile
        (N, P, Q) of the last result.
    order
        Loops over tiles, outermost first: an order of the letters N, P and Q.
    cached
        (P, Q) whether what tiles share of inner tensors and of the input is kept; else it is computed, or brought, again.
    input_hw
        Rows and columns of the input of the first stage.
    """

    name: str
    stages: tuple[Stage, ...]
    tile: tuple[int, int, int]
    order: str = TILED
    cached: tuple[bool, bool] = (True, True)
    input_hw: tuple[int, int] = (1, 1)

    def input_size(self, stage: int, axis: int) -> int:
        """Rows (axis 0) or columns (1) of what a stage reads."""
        return self.input_hw[axis] if stage == 0 else self.stages[stage - 1].dim("PQ"[axis])


class StageEntry(BaseModel):
    """A stage of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    N: Positive = 1
    G: Positive = 1
    K: Positive = 1
    C: Positive = 1
    P: Positive = 1
    Q: Positive = 1
    R: Positive = 1
    S: Positive = 1
    stride: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [1, 1]
    dilation: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [1, 1]
    padding: Annotated[list[Whole], Field(min_length=2, max_length=2)] = [0, 0]
    step: Whole = 0
    weights: Literal["streamed", "kept"] = "streamed"
    waiting: Positive = 1
    arrays: Positive = 1


class FusedFile(BaseModel):
    """A file with one fused schedule."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    stages: Annotated[list[StageEntry], Field(min_length=1)]
    tile: dict[Literal["N", "P", "Q"], Positive] = {}
    order: Literal["NPQ", "NQP", "PNQ", "PQN", "QNP", "QPN"] = "NPQ"
    overlap: dict[Literal["P", "Q"], Overlap] = {}
    input_hw: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None


def load_fused(path: str | Path) -> FusedSchedule:
    """A fused schedule of a YAML file.

    Raises
    ------
    InputError
        With every problem of the file and its line.
    """
    return _made(validate(FusedFile, load_yaml(path), lambda file: schedule_problems(_made(file))))


def _made(file: FusedFile) -> FusedSchedule:
    stages = tuple(
        Stage(
            name=entry.name,
            nest=Nest(
                (entry.N, entry.G, entry.K, entry.C, entry.P, entry.Q, entry.R, entry.S),
                stride=(entry.stride[0], entry.stride[1]),
                dilation=(entry.dilation[0], entry.dilation[1]),
            ),
            padding=(entry.padding[0], entry.padding[1]),
            step=entry.step,
            weights=entry.weights,
            waiting=entry.waiting,
            arrays=entry.arrays,
        )
        for entry in file.stages
    )
    last, first = stages[-1], stages[0]
    given = file.input_hw
    return FusedSchedule(
        name=file.name,
        stages=stages,
        tile=(
            min(file.tile.get("N", last.dim("N")), last.dim("N")),
            min(file.tile.get("P", last.dim("P")), last.dim("P")),
            min(file.tile.get("Q", last.dim("Q")), last.dim("Q")),
        ),
        order=file.order,
        cached=(file.overlap.get("P", "cache") == "cache", file.overlap.get("Q", "cache") == "cache"),
        input_hw=(given[0], given[1]) if given else (input_size(first, 0), input_size(first, 1)),
    )


def input_size(stage: Stage, axis: int) -> int:
    """Rows (axis 0) or columns (1) of a stage's input where nobody says: as much padding after it as before it."""
    return max(stage.span(axis) - 2 * stage.padding[axis], 1)


def schedule_problems(schedule: FusedSchedule) -> list[tuple[Key, str]]:
    """Where a stage does not read what the one before writes: path and message of each."""
    problems: list[tuple[Key, str]] = []
    stages = schedule.stages
    for place, (before, stage) in enumerate(itertools.pairwise(stages), start=1):
        made, read = before.dim("G") * before.dim("K"), stage.dim("G") * stage.dim("C")
        if made != read:
            problems.append(
                (("stages", place, "C"), f"reads {read} channels (G C); '{before.name}' writes {made} (G K)")
            )
        if before.dim("N") != stage.dim("N"):
            problems.append((("stages", place, "N"), f"has N {stage.dim('N')}; '{before.name}' has {before.dim('N')}"))
    for place, stage in enumerate(stages):
        for axis in (0, 1):
            size, span, pad = schedule.input_size(place, axis), stage.span(axis), stage.padding[axis]
            # Windows that begin behind the input, or leave a whole stride of it, belong to another input.
            if not pad < span or span > size + 2 * pad or span + stage.nest.stride[axis] <= size + pad:
                side = ("rows", "columns")[axis]
                text = f"its windows cover {span} {side} with {pad} of padding before; what it reads has {size}"
                problems.append((("stages", place, "PQ"[axis]), text))
    return problems
