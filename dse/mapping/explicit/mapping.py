"""An explicit mapping: one order of loops, and which of them every memory level holds for every role.

The loops of one layer stand in one order, from the innermost (next to the MAC) to the outermost. A loop is temporal, or
it is unrolled along an axis of the array. A memory level that holds a role holds the tile that its *inside* loops span:
the temporal loops below its cut, and the spatial loops along the axes that share one instance of the level. Cuts may
differ between the roles of one level (uneven mappings, as in ZigZag); equal cuts give the per-level nests of Timeloop.
The outermost level holds all loops for all roles (DRAM).

Extents may be ragged: their product per dim has to reach the bound and may exceed it; the tiles at the edge are clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from dse.errors import InputError, Problem
from dse.mapping.nest import RELEVANT, Nest
from dse.names import DIMS, ROLES


@dataclass(frozen=True)
class Loop:
    """One loop of a mapping.

    Attributes
    ----------
    dim
        One of N G K C P Q R S.
    extent
        Number of iterations, at least 1.
    axis
        Name of the array axis along which it is unrolled; None for a temporal loop.
    """

    dim: str
    extent: int
    axis: str | None = None


@dataclass(frozen=True)
class Level:
    """What one memory level holds in a mapping.

    Attributes
    ----------
    name
        Name of the memory.
    cuts
        Per role (weight, activation, accumulator) the number of innermost *loops of the whole order* below the level, or
        None where the level does not hold the role (bypass). Temporal loops before the cut are part of the tile.
    shared_along
        Axes that share one instance of the level: spatial loops along them are part of the tile wherever they stand in the
        order. None: a spatial loop is part of the tile if it stands before the cut, as in Timeloop.
    """

    name: str
    cuts: tuple[int | None, int | None, int | None]
    shared_along: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mapping:
    """A loop order with its memory levels, inner to outer; the last level has to hold everything."""

    loops: tuple[Loop, ...]
    levels: tuple[Level, ...]
    source: str = field(default="mapping", compare=False)

    def inside(self, level: int, role: int) -> tuple[bool, ...] | None:
        """Which loops span the tile that a level holds for a role; None where it holds none of it."""
        entry = self.levels[level]
        cut = entry.cuts[role]
        if cut is None:
            return None
        if entry.shared_along is None:
            return tuple(i < cut for i in range(len(self.loops)))
        shared = entry.shared_along
        return tuple(i < cut if loop.axis is None else loop.axis in shared for i, loop in enumerate(self.loops))

    def with_outermost(self, name: str) -> Mapping:
        """The mapping with another name for its last level."""
        return replace(self, levels=(*self.levels[:-1], replace(self.levels[-1], name=name)))

    @property
    def temporal_steps(self) -> int:
        """Iterations of the temporal loops: the compute cycles at one MAC per PE and cycle."""
        return math.prod(loop.extent for loop in self.loops if loop.axis is None)

    @property
    def spatial_instances(self) -> int:
        """PEs in use."""
        return math.prod(loop.extent for loop in self.loops if loop.axis is not None)


def mapping_problems(mapping: Mapping, nest: Nest, axes: dict[str, int] | None = None) -> list[Problem]:
    """Everything that keeps a mapping from being a mapping of a nest.

    Parameters
    ----------
    axes
        Size of each array axis in PEs; None leaves axes unchecked.
    """
    problems: list[Problem] = []
    covered = dict.fromkeys(DIMS, 1)
    used: dict[str, int] = {}
    for i, loop in enumerate(mapping.loops):
        where = f"loops[{i}]"
        if loop.dim not in DIMS:
            problems.append(Problem(where, f"dim has to be one of {' '.join(DIMS)}, found {loop.dim!r}"))
            continue
        if loop.extent < 1:
            problems.append(Problem(where, f"extent has to be at least 1, found {loop.extent}"))
            continue
        covered[loop.dim] *= loop.extent
        if loop.axis is not None:
            used[loop.axis] = used.get(loop.axis, 1) * loop.extent
    for axis, extent in used.items():
        if axes is None:
            continue
        if axis not in axes:
            problems.append(Problem("loops", f"axis {axis!r} is unknown; the array has {', '.join(axes) or 'none'}"))
        elif extent > axes[axis]:
            problems.append(
                Problem(
                    "loops", f"{extent} iterations are unrolled along axis {axis!r} of {axes[axis]} PEs; lower them"
                )
            )
    for dim, bound in zip(DIMS, nest.dims, strict=True):
        if covered[dim] < bound:
            problems.append(
                Problem(
                    "loops",
                    f"extents of {dim} multiply to {covered[dim]}, the layer has {bound}; add a loop over {dim}",
                )
            )
    return problems + _level_problems(mapping) + _windows_apart(mapping, nest)


def _windows_apart(mapping: Mapping, nest: Nest) -> list[Problem]:
    """Tiles of a sliding window whose rows or columns do not stand side by side: their bounding box would not be what they hold."""
    role = nest.tensors.index("X")
    problems: list[Problem] = []
    for dim in "PQRS":
        loops = [(i, x) for i, x in enumerate(mapping.loops) if x.dim == dim and x.extent > 1]
        for level, entry in enumerate(mapping.levels):
            tile = mapping.inside(level, role)
            if tile is None:
                continue
            outside = next((n for n, (i, _) in enumerate(loops) if not tile[i]), len(loops))
            if any(tile[i] for i, _ in loops[outside:]):
                first = loops[outside][1]
                text = f"{dim}{first.extent}" + (f"@{first.axis}" if first.axis else "")
                where = f"levels[{level}].{ROLES[role]}"
                message = (
                    f"{entry.name!r} holds {ROLES[role]} rows apart: move {text} outside of its other loops of {dim}"
                )
                problems.append(Problem(where, message))
    return problems


def _level_problems(mapping: Mapping) -> list[Problem]:
    problems: list[Problem] = []
    if not mapping.levels:
        return [Problem("levels", "a mapping needs at least one level, the outermost memory that holds all roles")]
    last = len(mapping.levels) - 1
    names = [level.name for level in mapping.levels]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem("levels", f"level {name!r} is listed twice; names have to be unique"))
    below: list[tuple[bool, ...]] = [(False,) * len(mapping.loops)] * 3
    for i, level in enumerate(mapping.levels):
        for r, role in enumerate(ROLES):
            cut = level.cuts[r]
            where = f"levels[{i}].{role}"
            if cut is None:
                if i == last:
                    problems.append(Problem(where, f"the outermost level {level.name!r} has to hold every role"))
                continue
            if not 0 <= cut <= len(mapping.loops):
                problems.append(Problem(where, f"cut has to lie between 0 and {len(mapping.loops)} loops, found {cut}"))
                continue
            tile = mapping.inside(i, r)
            assert tile is not None
            if any(b and not t for b, t in zip(below[r], tile, strict=True)):
                problems.append(Problem(where, f"level {level.name!r} holds a smaller tile than a level below it"))
            if i == last and not all(tile):
                problems.append(Problem(where, f"the outermost level {level.name!r} has to hold all loops"))
            below[r] = tile
    return problems


def check_mapping(mapping: Mapping, nest: Nest, axes: dict[str, int] | None = None) -> None:
    """Raise InputError with every problem of a mapping."""
    problems = mapping_problems(mapping, nest, axes)
    if problems:
        raise InputError(mapping.source, problems)


def _length(mapping: Mapping, dim: str, bound: int, inside: tuple[bool, ...]) -> int:
    """Indices of a dim that the loops inside a tile reach below the bound, while all other loops stand at their start."""
    places, unit = [], 1
    for loop, held in zip(mapping.loops, inside, strict=True):
        if loop.dim == dim:
            places.append((unit, min(loop.extent, -(-bound // unit)), held))
            unit *= places[-1][1]
    rest, below, tight = bound - 1, 0, 1  # digit by digit against the last index, from the outermost loop
    for unit, extent, held in reversed(places):
        digit, rest = divmod(rest, unit)
        if held:
            below = below * extent + tight * digit
        else:
            below, tight = below + tight * (digit > 0), tight * (digit == 0)
    return below + tight


def tile_elements(mapping: Mapping, nest: Nest, level: int, role: int) -> int:
    """Elements of the largest tile that one instance of a level holds for a role; 0 for a bypassed role.

    The tile of a sliding window is its bounding box: `(p - 1) * stride + (r - 1) * dilation + 1` rows for p rows of the
    output and r rows of the filter. With a stride above the filter's reach the gaps are part of the box.
    """
    inside = mapping.inside(level, role)
    if inside is None:
        return 0
    size = {d: _length(mapping, d, bound, inside) for d, bound in zip(DIMS, nest.dims, strict=True)}
    tensor = nest.tensors[role]
    if tensor != "X":
        return math.prod(size[d] for d in RELEVANT[tensor])
    rows = (size["P"] - 1) * nest.stride[0] + (size["R"] - 1) * nest.dilation[0] + 1
    columns = (size["Q"] - 1) * nest.stride[1] + (size["S"] - 1) * nest.dilation[1] + 1
    return size["N"] * size["G"] * size["C"] * rows * columns


def capacity_problems(
    mapping: Mapping, nest: Nest, stored_bits: tuple[float, float, float], capacity_bits: dict[str, float]
) -> list[Problem]:
    """Levels whose tiles do not fit, each with its shortfall in bits.

    Parameters
    ----------
    stored_bits
        Bits per stored element of each role.
    capacity_bits
        Bits of one instance of each level; levels that are not named are unlimited.
    """
    problems: list[Problem] = []
    for i, level in enumerate(mapping.levels):
        if level.name not in capacity_bits:
            continue
        needed = sum(tile_elements(mapping, nest, i, r) * stored_bits[r] for r in range(3))
        short = needed - capacity_bits[level.name]
        if short > 0:
            problems.append(
                Problem(
                    f"levels[{i}]",
                    f"the tiles in {level.name!r} need {needed:.0f} bits, {short:.0f} bits more than it has; cut lower",
                )
            )
    return problems
