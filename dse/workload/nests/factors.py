"""Where a factor of a tensor's size stands among its axes, and where it goes when the tensor is turned, cut or broadcast.

Samples of a batch and repeated heads are factors: ``size`` values of an index that has ``before`` values outside of it in row-major
order, so that an element is at ``(outer * size + value) * inner + rest``. A reshape leaves both numbers as they are, whether it
merges the factor with its neighbours or takes them apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Factor:
    """A factor of the elements of a tensor.

    Attributes
    ----------
    before
        Product of everything outside of it in row-major order.
    size
        Its own size.
    """

    before: int
    size: int


@dataclass(frozen=True)
class Place:
    """The axis that holds a factor, and the product of what is outside of it within this axis."""

    axis: int
    outer: int = 1


def locate(shape: Sequence[int], factor: Factor) -> Place | None:
    """The axis that holds a factor; None where no single one does.

    >>> locate((4, 6, 5), Factor(4, 3)), locate((24, 5), Factor(4, 3)), locate((2, 2, 5), Factor(1, 4))
    (Place(axis=1, outer=1), Place(axis=0, outer=4), None)
    """
    before = 1
    for axis, size in enumerate(shape):
        outer, rest = divmod(factor.before, before)
        if not rest and outer >= 1 and size >= factor.size and not size % (outer * factor.size):
            return Place(axis, outer)
        before *= size
        if not before:
            return None
    return None


def placed(shape: Sequence[int], place: Place, size: int) -> Factor | None:
    """The factor at a place of a tensor; None if the axis does not hold it."""
    if not 0 <= place.axis < len(shape) or shape[place.axis] % (place.outer * size):
        return None
    return Factor(prod(shape[: place.axis]) * place.outer, size)


def turned(shape: Sequence[int], factor: Factor, order: Sequence[int]) -> Factor | None:
    """A factor after the axes were put into another order.

    >>> turned((4, 6, 5), Factor(4, 3), (1, 0, 2))
    Factor(before=1, size=3)
    """
    place = locate(shape, factor)
    if place is None or sorted(order) != list(range(len(shape))):
        return None
    result = [shape[axis] for axis in order]
    return placed(result, Place(list(order).index(place.axis), place.outer), factor.size)


def aligned(shape: Sequence[int], factor: Factor, result: Sequence[int]) -> Factor | None:
    """A factor after its tensor was broadcast to another shape: axes are matched from the last one.

    >>> aligned((6, 5), Factor(1, 6), (2, 6, 5))
    Factor(before=2, size=6)
    """
    place = locate(shape, factor)
    if place is None:
        return None
    axis = place.axis + len(result) - len(shape)
    if axis < 0 or result[axis] != shape[place.axis]:
        return None
    return placed(result, Place(axis, place.outer), factor.size)


def divided(shape: Sequence[int], place: Place, size: int) -> tuple[int, ...]:
    """A shape without a factor."""
    return tuple(extent // size if axis == place.axis else extent for axis, extent in enumerate(shape))
