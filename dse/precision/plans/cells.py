"""What one cell of a plan holds: a format, or the histogram of the formats of a tensor's blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dse.errors import InputError
from dse.precision.formats.properties import Format, parse_format

#: Operands that need no format: the stash follows the activation, the hardware chooses the accumulator, a result is written as it
#: is read.
OPTIONAL = ("stash", "accumulator", "result")
#: How far the shares of a histogram may sum away from 1.
SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Histogram:
    """Formats of the blocks of one tensor (block-wise precision).

    Costs are convex in bits, so the histogram is kept, never its mean.

    Attributes
    ----------
    formats
        Different formats, at least one.
    shares
        Share of the tensor's elements in each format, >= 0, sum 1.
    block
        (rows, columns) of a block: one entry of the bit-width map.
    """

    formats: tuple[Format, ...]
    shares: tuple[float, ...]
    block: tuple[int, int] = (4, 4)

    def __post_init__(self) -> None:
        problem = ""
        if not self.formats or len(self.formats) != len(self.shares) or len(set(self.formats)) != len(self.formats):
            problem = "expected at least one format, each once, with one share each"
        elif not all(share >= 0.0 for share in self.shares):
            problem = f"expected shares >= 0, got {list(self.shares)}"
        elif not abs(math.fsum(self.shares) - 1.0) <= SHARE_TOLERANCE:
            problem = f"expected shares that sum to 1, got {math.fsum(self.shares):g}"
        elif min(self.block) < 1:
            problem = f"expected a block of at least one element, got {self.block[0]}x{self.block[1]}"
        if problem:
            raise InputError("histogram of formats", [problem])

    @classmethod
    def of(cls, shares: Mapping[str, float], block: tuple[int, int] = (4, 4)) -> Histogram:
        """From names: ``Histogram.of({"bfp4": 0.75, "bfp8": 0.25})``."""
        return cls(tuple(parse_format(name) for name in shares), tuple(float(s) for s in shares.values()), block)

    @property
    def is_mixed(self) -> bool:
        """Whether more than one format is in use."""
        return sum(share > 0.0 for share in self.shares) > 1

    @property
    def code_bits(self) -> int:
        """Bits of one entry of the map that says which format a block has, among the formats in use."""
        return math.ceil(math.log2(sum(share > 0.0 for share in self.shares)))

    @property
    def map_bits(self) -> float:
        """Bits per element of the map, where blocks are whole."""
        return self.code_bits / (self.block[0] * self.block[1])


@dataclass(frozen=True)
class Joint:
    """How the block formats of two operands of a MAC meet in one layer.

    Attributes
    ----------
    layer, operands
        Name of the layer; two of :data:`MAC_OPERANDS`.
    shares
        ``shares[i][j]``: share of the MACs between format i of the first and format j of the second operand. Rows and
        columns sum to the shares of the two histograms.
    """

    layer: str
    operands: tuple[str, str]
    shares: tuple[tuple[float, ...], ...]


#: None: an operand of :data:`OPTIONAL` without a format of its own.
Cell: TypeAlias = Format | Histogram | None


def formats_of(cell: Cell) -> tuple[Format, ...]:
    """The formats in a cell."""
    return () if cell is None else cell.formats if isinstance(cell, Histogram) else (cell,)


def lies_along_one_axis(cell: Cell) -> bool:
    """Whether a tensor in these formats has groups along one axis, so that a product along the other axis needs others."""
    return any(
        form.granularity == "row" or (form.granularity == "group" and form.group[0] != form.group[1])
        for form in formats_of(cell)
    )


def joint_problem(joint: Joint, first: Cell, second: Cell) -> str | None:
    """What is wrong with a joint histogram for two cells, or None."""
    sides = [cell.shares if isinstance(cell, Histogram) else (1.0,) for cell in (first, second)]
    rows = joint.shares
    if len(rows) != len(sides[0]) or any(len(row) != len(sides[1]) for row in rows):
        return f"expected {len(sides[0])} rows of {len(sides[1])} shares, as the two histograms have formats"
    if any(not share >= 0.0 for row in rows for share in row):
        return "expected shares >= 0"
    for side, sums, what in (
        (sides[0], [math.fsum(row) for row in rows], "row"),
        (sides[1], [math.fsum(column) for column in zip(*rows, strict=True)], "column"),
    ):
        for index, (expected, got) in enumerate(zip(side, sums, strict=True)):
            if abs(expected - got) > SHARE_TOLERANCE:
                return f"{what} {index} sums to {got:g}, but the histogram has {expected:g}"
    return None
