"""What the mapper sees: one loop nest, one pass, and the shape of an array with its memories. No bits, no prices.

Roles. Hardware holds operands by *role*, tensors take roles by pass:

=================  ==========  ===========  ============
pass               weight      activation   accumulator
=================  ==========  ===========  ============
forward            W           X            Y
backward_data      W           Y (error)    X (error)
backward_weight    Y (error)   X            W (gradient)
=================  ==========  ===========  ============

In backward_weight either input may take either input role; ``swap=True`` exchanges them (weight <- X, activation <- Y).
"""

from __future__ import annotations

from dataclasses import dataclass

TENSORS = ("W", "X", "Y")
#: Loop dims (positions in DIMS = N G K C P Q R S) that index each tensor; P,R and Q,S index X through the sliding window.
RELEVANT = {"W": "GKCRS", "X": "NGCPQRS", "Y": "NGKPQ"}
TENSOR_OF_ROLE = {
    "forward": ("W", "X", "Y"),
    "backward_data": ("W", "Y", "X"),
    "backward_weight": ("Y", "X", "W"),
}


def tensor_of_role(pass_: str, swap: bool = False) -> tuple[str, str, str]:
    """The tensors (W, X or Y) that take the roles (weight, activation, accumulator) in a pass."""
    weight, activation, accumulator = TENSOR_OF_ROLE[pass_]
    return (activation, weight, accumulator) if swap else (weight, activation, accumulator)


@dataclass(frozen=True)
class Nest:
    """One layer in one pass: bounds in the order N G K C P Q R S (N includes the batch)."""

    dims: tuple[int, int, int, int, int, int, int, int]
    pass_: str = "forward"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    swap: bool = False

    @property
    def tensors(self) -> tuple[str, str, str]:
        return tensor_of_role(self.pass_, self.swap)


@dataclass(frozen=True)
class Axis:
    """One spatial axis of the array.

    Attributes
    ----------
    size
        Processing elements along the axis.
    dims
        Loop dims that may be unrolled along it in this pass, such as ("C", "R", "S"); several may share the axis.
    flatten
        If true the dims are unrolled as one flattened loop, as after im2col: steps = ceil(product / size); otherwise each dim
        has its own factor and its own ceiling.
    """

    name: str
    size: int
    dims: tuple[str, ...]
    flatten: bool = False


@dataclass(frozen=True)
class Storage:
    """One on-chip memory as the mapper sees it.

    Attributes
    ----------
    roles
        The operand roles it holds; the others bypass it.
    shared_along
        Axes along which all PEs share one instance. All axes: a global buffer. None: a register file in every PE.
    """

    name: str
    roles: tuple[str, ...]
    shared_along: tuple[str, ...]


@dataclass(frozen=True)
class ArrayShape:
    """Axes and on-chip memories from the inside (next to the MAC) to the outside; DRAM above holds everything."""

    axes: tuple[Axis, ...]
    storages: tuple[Storage, ...]
    lanes_on_axes: bool = False
    """Precision lanes take pairs along the dims that an axis may unroll only; else along all dims that are reduced."""
