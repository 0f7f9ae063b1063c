"""What waits in a training step, put in place of what its runs cost without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.sums import StepArrays
from dse.cost.fusion.training.path import Sliced
from dse.cost.fusion.training.runs import DATA, FORWARD, WEIGHT
from dse.hardware.arrays import HardwareArrays
from dse.workload.model import Network


def joined_runs(network: Network, groups: npt.NDArray[np.object_], kept: Sliced) -> npt.NDArray[np.object_]:
    """Groups with the runs joined that meet in a tensor that waits; the name is that of the layer that comes first."""
    result = groups.copy()
    order = {layer.name: place for place, layer in enumerate(network.layers)}
    for item in sorted(kept.kept):
        entry = kept.runs.items[item]
        cells = [kept.runs.runs[n] for n in (entry.born, *(read.run for read in entry.reads))]
        names = {str(result[cell]) or network.layers[cell.row].name for cell in cells}
        first = min(names, key=order.__getitem__)
        # Groups of the way back are others than those forward, even of the same layers.
        way = [FORWARD] if cells[0].pass_ == FORWARD else [DATA, WEIGHT]
        result[:, way] = np.where(np.isin(result[:, way], sorted(names)), first, result[:, way])
        for cell in cells:
            result[cell] = first
    return result


def put(
    step: StepArrays, arrays: HardwareArrays, d: int, buffer: int, kept: Sliced, names: Sequence[str]
) -> StepArrays:
    """What runs cost on one design under one plan where tensors wait, in place of what they cost without.

    Bits that results have beyond their layer's format (because readers want others) are charged later of all results, and so
    taken from those that are not written.
    """
    step, dram = step.copied(), len(names) - 3
    read, write = arrays.read_pj_per_bit[d], arrays.write_pj_per_bit[d]
    for n, cost in kept.changed.items():
        at = kept.runs.runs[n]
        before_s = float(step.latency_s[at])
        step.latency_s[at] = cost.cycles / arrays.clock_hz[d]
        step.dram_bits[at] = cost.dram_bits
        step.energy_j[at] = cost.energy_pj * 1e-12
        part = step.components_j[at]
        if cost.parts_pj is not None:
            part[: len(names) - 1] = cost.parts_pj * 1e-12
            step.bound[at] = cost.bound
        else:
            part[dram] -= (cost.not_read * read[-1] + cost.not_written * write[-1]) * 1e-12
            part[1 + buffer] -= (cost.not_read * write[buffer] + cost.not_written * read[buffer]) * 1e-12
            part[names.index("leakage")] -= (before_s - float(step.latency_s[at])) * float(arrays.leakage_w[d])
            by_dram = cost.dram_bits / float(arrays.bandwidth_bits_per_cycle[d, -1])
            step.bound[at] = dram if cost.dram_bits and by_dram >= cost.cycles else dram + 1
    return step


def not_as_read(step: StepArrays, arrays: HardwareArrays, d: int, kept: Sliced) -> StepArrays:
    """Take what is charged later of results in the formats of their readers from those that are not written."""
    step, dram = step.copied(), step.components_j.shape[-1] - 3
    for item in kept.kept:
        entry = kept.runs.items[item]
        if not entry.written and not entry.error:
            at, bits = kept.runs.runs[entry.born], kept.runs.as_read(entry.born)
            energy = bits * float(arrays.write_pj_per_bit[d, -1]) * 1e-12
            step.dram_bits[at] -= bits
            step.energy_j[at] -= energy
            step.components_j[at][dram] -= energy
    return step
