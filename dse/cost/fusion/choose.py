"""What runs fused in a step, put in place of what its layers cost apart (:mod:`dse.cost.fusion.epilogues`).

Layers without MACs come first (epilogues); then, where the hardware has them, attention whose scores stay on the chip
(:mod:`dse.cost.fusion.attention`) and tensors that wait there (:mod:`dse.cost.fusion.inference`,
:mod:`dse.cost.fusion.training`). Beside an attention that runs fused nothing waits: of that, and of residency without it, the
better one is taken, by energy and latency each relative to what they are without both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.apart import Apart, Closed
from dse.cost.fusion.attention import RowPass, attention_costs
from dse.cost.fusion.epilogues import parts_of
from dse.cost.fusion.inference.bounds import MostSaved, most_saved
from dse.cost.fusion.inference.resident import Resident, joined, residents
from dse.cost.fusion.sums import Part, Share, StepArrays, Sums
from dse.cost.fusion.training.bounds import most_saved_in_training
from dse.cost.fusion.training.path import Sliced, sliced_choices
from dse.cost.fusion.training.put import joined_runs, not_as_read, put
from dse.hardware.arrays import HardwareArrays
from dse.names import PASSES
from dse.types import Floats
from dse.workload.work.attention import attentions_of

Groups = npt.NDArray[np.object_]

#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9


class Made(NamedTuple):
    """What one way of running fused makes of a design under a plan: its arrays, and its groups."""

    arrays: StepArrays
    groups: Groups

    def worth(self, before: StepArrays) -> float:
        """Energy and latency, each relative to what they were."""
        pairs = ((self.arrays.energy_j, before.energy_j), (self.arrays.latency_s, before.latency_s))
        return sum(float(now.sum() / max(then.sum(), 1e-300)) for now, then in pairs)


class Way(NamedTuple):
    """What may run fused on a design under a plan: what waits on the chip, and attentions."""

    kept: Resident | Sliced | None
    attentions: list[list[RowPass]]


@dataclass(frozen=True)
class FusedStep:
    """What the choice of what runs fused looks at."""

    apart: Apart
    mode: str
    recompute: bool = False

    def not_written(self, dram: int, rows: list[int]) -> Part:
        """What epilogues save of the results of layers with MACs; ``dram`` is the component of DRAM's energy."""
        bits = self.apart.not_written[:, rows]
        energy = self.apart.arrays.write_pj_per_bit[:, -1][:, None, None, None] * bits * 1e-12
        shares = (Share(dram, -energy),)
        return Part(rows, slice(0, len(PASSES)), energy_j=-energy, dram_bits=-bits, shares=shares)

    def fuse(self, sums: Sums, groups: Groups, as_read: bool) -> tuple[Sums, dict[tuple[int, int], Groups]]:
        """The step with what runs fused, and the groups of a design under a plan where they are not those of all."""
        made: dict[tuple[int, int], Made] = {}
        for (d, i), ways in self._ways(sums).items():
            before = sums.of(d, i)
            tried = [self._made(sums, groups, d, i, way, as_read) for way in ways]
            made[d, i] = min(tried, key=lambda one: one.worth(before))
        own_groups = {at: one.groups for at, one in made.items()}
        return sums.with_own({at: one.arrays for at, one in made.items()}), own_groups

    def _ways(self, sums: Sums) -> dict[tuple[int, int], list[Way]]:
        """By design and plan what may run fused: what waits without attention, and attention with what waits beside it."""
        parts = parts_of(self.apart.hardware)
        attention = self._attention(sums) if "attention" in parts else {}
        # What runs again finds nothing of what waited.
        waits = "residency" in parts and not self.recompute
        whole = self._residents(None) if waits else {}
        closed = {at: frozenset(row.row for rows in found for row in rows) for at, found in attention.items()}
        beside = self._residents(closed) if waits and closed else {}
        result: dict[tuple[int, int], list[Way]] = {}
        for at in {**whole, **attention}:
            result[at] = [Way(whole[at], [])] if at in whole else []
            result[at] += [Way(beside.get(at), attention[at])] if at in attention else []
        return result

    def most_saved(self, sums: Sums, parts: frozenset[str], times: Floats) -> MostSaved:
        """What the parts whose cost follows other layers' formats save at most; ``sums`` are without them, and ``times`` (rows,
        passes) is how often a pass runs."""
        shape = (len(self.apart.arrays), len(self.apart.plans), len(self.apart.network.layers))
        found = MostSaved(np.zeros(shape), np.zeros(shape))
        if "residency" in parts and self.mode == "inference":
            found = most_saved(self.apart, "chain" in parts)
        training = self.mode == "training"
        if "residency" in parts and training and not self.recompute:
            energy, latency = most_saved_in_training(self.apart)
            runs = times[:, : len(PASSES)]
            found = MostSaved((energy * runs).sum(axis=-1), (latency * runs).sum(axis=-1))
        rows = sorted({row for item in attentions_of(self.apart.network, training) for row in item.rows})
        if "attention" in parts:
            # No more than all.
            for target, values in ((found.energy_j, sums.energy_j), (found.latency_s, sums.latency_s)):
                every = (values * times)[..., rows, :].sum(axis=-1)
                target[..., rows] = np.where(np.isfinite(every), every, 0.0)
        return found

    def _residents(self, closed: Closed | None) -> Mapping[tuple[int, int], Resident | Sliced]:
        return sliced_choices(self.apart, closed) if self.mode == "training" else residents(self.apart, closed)

    def _attention(self, sums: Sums) -> dict[tuple[int, int], list[list[RowPass]]]:
        """By design and plan the attentions that take no more energy and no more time fused."""
        result: dict[tuple[int, int], list[list[RowPass]]] = {}
        training = self.mode == "training"
        for d in range(len(self.apart.arrays)):
            second = 1.0 / float(self.apart.arrays.clock_hz[d])
            for i in range(len(self.apart.plans)):
                if not np.isfinite(sums.energy_j[d, i]).all():
                    continue
                found = attention_costs(self.apart, d, i, training)
                taken = []
                for ways in found:
                    known = []
                    for rows in ways:
                        at = tuple(np.array([[row.row, row.pass_] for row in rows]).T)
                        energy = sum(row.energy_pj for row in rows) * 1e-12 / sums.energy_j[d, i][at].sum()
                        time = sum(row.cycles for row in rows) * second / sums.latency_s[d, i][at].sum()
                        if max(energy, time) <= _EQUAL:
                            known.append((energy + time, rows))
                    if known:
                        taken.append(min(known, key=lambda item: item[0])[1])
                if taken:
                    result[d, i] = taken
        return result

    def _made(self, sums: Sums, groups: Groups, d: int, i: int, way: Way, as_read: bool) -> Made:
        """What a way of running fused makes of a design under a plan."""
        apart = self.apart
        step, own = sums.of(d, i), groups
        buffer = int(apart.vector.buffer[d])
        if isinstance(way.kept, Sliced):
            step = put(step, apart.arrays, d, buffer, way.kept, sums.components)
            if as_read:
                step = not_as_read(step, apart.arrays, d, way.kept)
            own = joined_runs(apart.network, own, way.kept)
        elif way.kept is not None:
            bits = apart.stored[i].as_read_bits * as_read
            step = keep(step, sums.components, apart.arrays, d, way.kept, buffer, bits)
            own = joined(apart.network, own, way.kept.tensors)
        return self._attended(Made(step, own), d, i, way.attentions)

    def _attended(self, made: Made, d: int, i: int, attentions: list[list[RowPass]]) -> Made:
        """The same with attentions in place of their layers, each a group named after its first layer."""
        apart = self.apart
        step, groups = made.arrays.copied(), made.groups.copy()
        dram = step.components_j.shape[-1] - 3
        for rows in attentions:
            name = apart.network.layers[min(row.row for row in rows)].name
            for row in rows:
                at = (row.row, row.pass_)
                less = (
                    float(apart.not_written[i, row.row, row.pass_]) if apart.network.layers[row.row].has_macs else 0.0
                )
                parts = np.append(row.components_pj, row.lanes_pj)
                parts[dram] -= less * float(apart.arrays.write_pj_per_bit[d, -1])
                step.components_j[at] = parts * 1e-12
                step.energy_j[at] = parts.sum() * 1e-12
                step.latency_s[at] = row.cycles / float(apart.arrays.clock_hz[d])
                step.dram_bits[at] = row.dram_bits - less
                step.bound[at] = row.bound
                groups[at] = name
        return Made(step, groups)


def keep(
    step: StepArrays, names: Sequence[str], arrays: HardwareArrays, d: int, kept: Resident, buffer: int, as_read_bits: Floats
) -> StepArrays:  # fmt: skip
    """What layers cost on one design under one plan where tensors wait on the chip, in place of what they cost without.

    ``as_read_bits`` are charged later of all results, and so taken from those that are not written.
    """
    step, dram = step.copied(), len(names) - 3
    read, write = arrays.read_pj_per_bit[d], arrays.write_pj_per_bit[d]
    for row, cost in kept.rows.items():
        at, before_s = (row, 0), float(step.latency_s[row, 0])
        step.latency_s[at] = cost.cycles / arrays.clock_hz[d]
        step.dram_bits[at] = cost.dram_bits
        step.energy_j[at] = cost.energy_pj * 1e-12
        if cost.variant >= 0:
            step.components_j[at][: len(names) - 1] = kept.costs.components_pj[cost.capacity, cost.variant] * 1e-12
            step.components_j[at][1 + buffer] += kept.written_pj.get(row, 0.0) * 1e-12
            step.bound[at] = kept.costs.bound[cost.capacity, cost.variant]
        elif cost.parts_pj is not None:
            step.components_j[at][: len(names) - 1] = cost.parts_pj * 1e-12
            step.bound[at] = cost.bound
        else:
            part = step.components_j[at]
            part[dram] -= (cost.not_read * read[-1] + cost.not_written * write[-1]) * 1e-12
            part[1 + buffer] -= (cost.not_read * write[buffer] + cost.not_written * read[buffer]) * 1e-12
            by_dram = cost.dram_bits / float(arrays.bandwidth_bits_per_cycle[d, -1])
            step.bound[at] = dram if cost.dram_bits and by_dram >= cost.cycles else dram + 1
            part[names.index("leakage")] -= (before_s - float(step.latency_s[at])) * float(arrays.leakage_w[d])
        if row in kept.born:
            step.dram_bits[at] -= as_read_bits[row]
            energy = float(as_read_bits[row] * write[-1]) * 1e-12
            step.energy_j[at] -= energy
            step.components_j[at][dram] -= energy
    return step
