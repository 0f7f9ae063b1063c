"""What a tensor of a trace repeats: keys and values that several heads share (``repeat_kv``), by expand, repeat or joined copies.

Tensors are told apart by their view of a storage. A repetition is followed through what moves elements, and through sums and
products with tensors that do not vary along it, such as a scale or a rotation by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from dse.workload.from_torch.tape import View, view
from dse.workload.nests.factors import Factor, Place, aligned, locate, placed, turned

#: Operators that leave the order of elements as it is.
_ORDERED = frozenset((
    "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone", "_to_copy", "detach", "alias", "neg", "_reshape_alias",
    "contiguous",
))  # fmt: skip
_ELEMENTWISE = frozenset(("mul", "add", "sub", "div"))
#: Operators that cut a tensor along an axis, which their second argument or a later one names.
_CUTTING = frozenset(("slice", "split", "split_with_sizes", "cat", "expand"))


def follow(
    tape_repeats: dict[View, tuple[Factor, ...]], operator: str, args: Sequence[Any], made: Any, batch: int
) -> None:
    """Note what the results of an operator repeat.

    Parameters
    ----------
    tape_repeats
        Repetitions by view; grows.
    batch
        Samples: a tensor that is the same for all of them is no repetition of heads.
    """
    listed = list(args[0]) if operator in ("cat", "stack") else [arg for arg in args if hasattr(arg, "untyped_storage")]
    if not listed:
        return
    for result in made if isinstance(made, (tuple, list)) else [made]:
        if not hasattr(result, "untyped_storage"):
            continue
        found = [*_new(operator, args, listed, result), *_carried(tape_repeats, operator, args, listed, result)]
        found = [factor for factor in dict.fromkeys(found) if factor.size > 1 and factor != Factor(1, batch)]
        if found:
            tape_repeats[view(result)] = tuple(found)


def _new(operator: str, args: Sequence[Any], listed: Sequence[Any], result: Any) -> Iterator[Factor]:
    before, after = listed[0].shape, result.shape
    if operator == "expand":
        for axis, size in enumerate(after):
            old = axis - (len(after) - len(before))
            if old < 0 or before[old] != size:
                yield Factor(prod(after[:axis]), size)
    elif operator == "repeat":
        for axis, times in enumerate(args[1]):
            yield Factor(prod(after[:axis]), times)
    elif operator in ("cat", "stack") and len(listed) > 1 and len({view(item) for item in listed}) == 1:
        axis = (args[1] if len(args) > 1 else 0) % max(len(after), 1)
        yield Factor(prod(after[:axis]), len(listed))


def _carried(
    known: dict[View, tuple[Factor, ...]], operator: str, args: Sequence[Any], listed: Sequence[Any], result: Any
) -> Iterator[Factor]:
    """Repetitions of the first operand that has some, in a result."""
    first = next((item for item in listed if view(item) in known), None)
    if first is None:
        return
    for factor in known[view(first)]:
        where = _moved(operator, args, first, result, factor)
        others = [item for item in listed if item is not first]
        if where is not None and all(_constant(known, item, result, where) for item in others):
            yield where


def _moved(operator: str, args: Sequence[Any], first: Any, result: Any, factor: Factor) -> Factor | None:
    rank = first.ndim
    if operator in _ORDERED:
        return factor
    if operator in ("transpose", "t"):
        one, two = (args[1] % rank, args[2] % rank) if operator == "transpose" else (0, 1)
        order = list(range(rank))
        order[one], order[two] = order[two], order[one]
        return turned(first.shape, factor, order)
    if operator == "permute":
        return turned(first.shape, factor, [axis % rank for axis in args[1]])
    if operator in _ELEMENTWISE:
        return aligned(first.shape, factor, result.shape)
    if operator in _CUTTING or operator == "repeat":
        place = locate(first.shape, factor)
        axis = result.ndim - rank + place.axis if place is not None else -1
        same = place is not None and axis >= 0 and result.shape[axis] == first.shape[place.axis]
        return placed(result.shape, Place(axis, place.outer), factor.size) if same and place is not None else None
    return None


def _constant(known: dict[View, tuple[Factor, ...]], other: Any, result: Any, factor: Factor) -> bool:
    """Whether another operand does not vary along a factor of the result: it has no such axis, or repeats along it too."""
    place = locate(result.shape, factor)
    if place is None:
        return False
    axis = place.axis - (result.ndim - other.ndim)
    if axis < 0 or other.shape[axis] == 1:
        return True
    found = (locate(other.shape, same) for same in known.get(view(other), ()) if same.size == factor.size)
    return any(where is not None and where == Place(axis, place.outer) for where in found)
