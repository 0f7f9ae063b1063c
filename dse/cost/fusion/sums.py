"""What a step is added up from: parts, each of some rows and passes, joined in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dse.types import Floats, Ints

#: All rows, or all passes.
EVERY = slice(None)


class StepArrays(NamedTuple):
    """Arrays of one design under one plan, (rows, passes) each, components last."""

    energy_j: Floats
    latency_s: Floats
    dram_bits: Floats
    components_j: Floats
    bound: Ints

    def copied(self) -> StepArrays:
        """Arrays of their own, to be changed by whoever made them."""
        return StepArrays(
            self.energy_j.copy(), self.latency_s.copy(), self.dram_bits.copy(), self.components_j.copy(), self.bound.copy()
        )  # fmt: skip


class Share(NamedTuple):
    """Joules of a part that are of one component."""

    component: int
    joules: Floats


@dataclass(frozen=True)
class Part:
    """What some rows and passes cost beside what they cost already; (D, I, rows, passes), or of a shape that spreads to it.

    Attributes
    ----------
    shares
        How the energy is spread over components.
    bound
        What bounds the time from now on; -1: what did before.
    """

    rows: list[int] | slice
    passes: slice
    energy_j: Floats | None = None
    latency_s: Floats | None = None
    dram_bits: Floats | None = None
    shares: tuple[Share, ...] = ()
    bound: Ints | None = None


@dataclass(frozen=True)
class Sums:
    """Costs of a step: (D, I, rows, passes), components last, names of components and of what bounds the time beside them."""

    components: tuple[str, ...]
    bounds: tuple[str, ...]
    energy_j: Floats
    latency_s: Floats
    dram_bits: Floats
    components_j: Floats
    bound: Ints

    @property
    def dram(self) -> int:
        """The component that is DRAM's energy."""
        return self.components.index(self.bounds[-2])

    def of(self, d: int, i: int) -> StepArrays:
        """The arrays of one design under one plan."""
        return StepArrays(
            self.energy_j[d, i], self.latency_s[d, i], self.dram_bits[d, i], self.components_j[d, i], self.bound[d, i]
        )  # fmt: skip

    def plus(self, parts: Sequence[Part]) -> Sums:
        """The step with some parts more, added one after the other."""
        found = self._copied()
        for part in parts:
            at = (EVERY, EVERY, part.rows, part.passes)
            for array, values in (
                (found.energy_j, part.energy_j), (found.latency_s, part.latency_s), (found.dram_bits, part.dram_bits),
            ):  # fmt: skip
                if values is not None:
                    array[at] += values
            for share in part.shares:
                found.components_j[..., share.component][at] += share.joules
            if part.bound is not None:
                found.bound[at] = np.where(part.bound >= 0, part.bound, found.bound[at])
        return found

    def with_own(self, own: Mapping[tuple[int, int], StepArrays]) -> Sums:
        """The step with other costs of some designs under some plans."""
        if not own:
            return self
        found = self._copied()
        for (d, i), arrays in own.items():
            for array, values in zip(found.of(d, i), arrays, strict=True):
                array[...] = values
        return found

    def _copied(self) -> Sums:
        return replace(
            self, energy_j=self.energy_j.copy(), latency_s=self.latency_s.copy(), dram_bits=self.dram_bits.copy(),
            components_j=self.components_j.copy(), bound=self.bound.copy(),
        )  # fmt: skip


def nothing(components: tuple[str, ...], bounds: tuple[str, ...], shape: tuple[int, ...]) -> Sums:
    """A step that costs nothing and is bound by nothing."""
    energy, latency, bits = (np.zeros(shape) for _ in range(3))
    return Sums(
        components, bounds, energy, latency, bits, np.zeros((*shape, len(components))), np.full(shape, -1, np.int64)
    )
