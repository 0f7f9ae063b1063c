"""What runs fused in a step, put in place of what its layers cost apart (:mod:`dse.cost.fusion.epilogues`).

Layers without MACs come first (epilogues); then, where the hardware has them, attention whose scores stay on the chip
(:mod:`dse.cost.fusion.attention`) and tensors that wait there (:mod:`dse.cost.fusion.inference`,
:mod:`dse.cost.fusion.training`). Beside an attention that runs fused nothing waits: of that, and of residency without it, the
better one is taken, by energy and latency each relative to what they are without both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.apart import Apart, Closed
from dse.cost.fusion.attention import RowPass, attention_costs
from dse.cost.fusion.epilogues import parts_of
from dse.cost.fusion.inference.bounds import MostSaved, most_saved
from dse.cost.fusion.inference.resident import Resident, joined, residents
from dse.cost.fusion.training.bounds import most_saved_in_training
from dse.cost.fusion.training.path import Sliced, sliced_choices
from dse.cost.fusion.training.put import StepArrays, joined_runs, not_as_read, put
from dse.hardware.arrays import HardwareArrays
from dse.names import PASSES
from dse.types import Floats, Ints
from dse.workload.work.attention import attentions_of

Groups = npt.NDArray[np.object_]

#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9


class Sums:
    """What a step is added up in: arrays as :class:`StepCosts` has them, written by the modules of a step only."""

    def __init__(self, components: tuple[str, ...], bounds: tuple[str, ...], shape: tuple[int, ...]) -> None:
        self.components, self.bounds = components, bounds
        self.energy_j, self.latency_s, self.dram_bits = (np.zeros(shape) for _ in range(3))
        self.components_j = np.zeros((*shape, len(components)))
        self.bound = np.full(shape, -1, np.int64)

    def of(self, d: int, i: int) -> StepArrays:
        """The arrays of one design under one plan."""
        every = (self.energy_j, self.latency_s, self.dram_bits, self.components_j, self.bound)
        return StepArrays(*(values[d, i] for values in every))


@dataclass(frozen=True)
class FusedStep:
    """What the choice of what runs fused looks at."""

    apart: Apart
    mode: str
    recompute: bool = False

    def not_written(self, sums: Sums, rows: list[int]) -> None:
        """Take what epilogues save of the results of layers with MACs."""
        bits, passes = self.apart.not_written[:, rows], slice(0, len(PASSES))
        energy = self.apart.arrays.write_pj_per_bit[:, -1][:, None, None, None] * bits * 1e-12
        sums.energy_j[:, :, rows, passes] -= energy
        sums.components_j[..., sums.components.index(sums.bounds[-2])][:, :, rows, passes] -= energy
        sums.dram_bits[:, :, rows, passes] -= bits

    def fuse(self, sums: Sums, groups: Groups, as_read: bool) -> dict[tuple[int, int], Groups]:
        """Put what runs fused in place; the groups of a design under a plan where they are not those of all."""
        parts = parts_of(self.apart.hardware)
        own: dict[tuple[int, int], Groups] = {}
        attention = self._attention(sums) if "attention" in parts else {}
        # What runs again finds nothing of what waited.
        waits = "residency" in parts and not self.recompute
        whole = self._residents(None) if waits else {}
        closed = {at: frozenset(row.row for rows in found for row in rows) for at, found in attention.items()}
        beside = self._residents(closed) if waits and closed else {}
        for d, i in {**whole, **attention}:
            before = [values.copy() for values in sums.of(d, i)]
            ways: list[tuple[Resident | Sliced | None, list[list[RowPass]]]] = []
            ways += [(whole[d, i], [])] if (d, i) in whole else []
            ways += [(beside.get((d, i)), attention[d, i])] if (d, i) in attention else []
            best: tuple[float, Groups, list[Floats | Ints]] | None = None
            for kept, found in ways:
                for target, values in zip(sums.of(d, i), before, strict=True):
                    target[...] = values
                made = self._put(sums, groups, d, i, kept, found, as_read)
                value = sum(float(sums.of(d, i)[k].sum() / max(before[k].sum(), 1e-300)) for k in (0, 1))
                if best is None or value < best[0]:
                    best = (value, made, [values.copy() for values in sums.of(d, i)])
            assert best is not None
            own[d, i] = best[1]
            for target, values in zip(sums.of(d, i), best[2], strict=True):
                target[...] = values
        return own

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

    def _put(
        self,
        sums: Sums,
        groups: Groups,
        d: int,
        i: int,
        kept: Resident | Sliced | None,
        found: list[list[RowPass]],
        as_read: bool,
    ) -> Groups:
        """Put one choice in place; its groups."""
        own = groups.copy()
        if isinstance(kept, Sliced):
            views = sums.of(d, i)
            put(views, self.apart.arrays, d, int(self.apart.vector.buffer[d]), kept, sums.components)
            if as_read:
                not_as_read(views, self.apart.arrays, d, kept)
            own = joined_runs(self.apart.network, own, kept)
        elif kept is not None:
            keep(
                sums,
                self.apart.arrays,
                d,
                i,
                kept,
                int(self.apart.vector.buffer[d]),
                self.apart.stored[i].as_read_bits * as_read,
            )
            own = joined(self.apart.network, own, kept.tensors)
        dram = len(sums.bounds) - 2
        for rows in found:
            name = self.apart.network.layers[min(row.row for row in rows)].name
            for row in rows:
                at = (d, i, row.row, row.pass_)
                less = (
                    float(self.apart.not_written[i, row.row, row.pass_])
                    if self.apart.network.layers[row.row].has_macs
                    else 0.0
                )
                parts = np.append(row.components_pj, row.lanes_pj)
                parts[dram] -= less * float(self.apart.arrays.write_pj_per_bit[d, -1])
                sums.components_j[at] = parts * 1e-12
                sums.energy_j[at] = parts.sum() * 1e-12
                sums.latency_s[at] = row.cycles / float(self.apart.arrays.clock_hz[d])
                sums.dram_bits[at] = row.dram_bits - less
                sums.bound[at] = row.bound
                own[row.row, row.pass_] = name
        return own


def keep(sums: Sums, arrays: HardwareArrays, d: int, i: int, kept: Resident, buffer: int, as_read_bits: Floats) -> None:
    """What layers cost on one design under one plan where tensors wait on the chip, in place of what they cost without.

    ``as_read_bits`` are charged later of all results, and so taken from those that are not written.
    """
    names, dram = sums.components, len(sums.bounds) - 2
    read, write = arrays.read_pj_per_bit[d], arrays.write_pj_per_bit[d]
    for row, cost in kept.rows.items():
        at, before_s = (d, i, row, 0), float(sums.latency_s[d, i, row, 0])
        sums.latency_s[at] = cost.cycles / arrays.clock_hz[d]
        sums.dram_bits[at] = cost.dram_bits
        sums.energy_j[at] = cost.energy_pj * 1e-12
        if cost.variant >= 0:
            sums.components_j[at][: len(names) - 1] = kept.costs.components_pj[cost.capacity, cost.variant] * 1e-12
            sums.components_j[at][1 + buffer] += kept.written_pj.get(row, 0.0) * 1e-12
            sums.bound[at] = kept.costs.bound[cost.capacity, cost.variant]
        elif cost.parts_pj is not None:
            sums.components_j[at][: len(names) - 1] = cost.parts_pj * 1e-12
            sums.bound[at] = cost.bound
        else:
            part = sums.components_j[at]
            part[dram] -= (cost.not_read * read[-1] + cost.not_written * write[-1]) * 1e-12
            part[1 + buffer] -= (cost.not_read * write[buffer] + cost.not_written * read[buffer]) * 1e-12
            by_dram = cost.dram_bits / float(arrays.bandwidth_bits_per_cycle[d, -1])
            sums.bound[at] = dram if cost.dram_bits and by_dram >= cost.cycles else dram + 1
            part[names.index("leakage")] -= (before_s - float(sums.latency_s[at])) * float(arrays.leakage_w[d])
        if row in kept.born:
            sums.dram_bits[at] -= as_read_bits[row]
            energy = float(as_read_bits[row] * write[-1]) * 1e-12
            sums.energy_j[at] -= energy
            sums.components_j[at][dram] -= energy
