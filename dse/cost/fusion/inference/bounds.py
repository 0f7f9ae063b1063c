"""What residency can save at most, layer by layer and whatever the formats of other layers: bounds for a search.

With tensors that wait on the chip (:mod:`dse.cost.fusion.inference.resident`) a layer's cost depends on the formats of
other layers too, by what lies beside it and by what it writes. A search that chooses formats needs a sum over layers
below which no choice comes: each layer's cost under its own format in the best state, each state as cheap as it can be.

* The capacity left is the whole memory, and as little of it may be taken as can be. A larger memory never has a worse best mapping
  by its own objective, but it may have more energy or more cycles than that of a smaller one. Where the mapping is the same with
  the whole memory and with the least that can be left, it is the best one for all capacities between (those that fit in between
  are among those that fit the whole, and it fits the least), and its cost is the bound; elsewhere the least energy and the least
  cycles of any mapping are.
* A result that stays is written into the memory in the narrowest format that some plan gives it.
* Energy and cycles are bounded apart, each by its own best state.
* Where layers may run band by band (:mod:`dse.cost.fusion.inference.chains`) a convolution takes no less than the lower bound of
  all mappings of its nest with what may wait free of DRAM (:mod:`dse.cost.jobs.floors`), which is loose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from dse.cost.fusion.apart import Apart
from dse.cost.fusion.inference.resident import variant_costs
from dse.cost.fusion.inference.rows import RowCost, base_costs, vector_cost
from dse.cost.fusion.inference.states import Chooser, State, Variant
from dse.cost.fusion.vector import VectorCosts, shared_buffer
from dse.cost.jobs.floors import mapping_floor
from dse.cost.mapped.table_jobs import is_deep
from dse.cost.tensors.copies import Stored
from dse.hardware.arrays import HardwareArrays
from dse.types import Bools, Floats

#: Tensors that a layer reads of which all subsets are looked at; of more, all or none.
MOST_OPERANDS = 3
#: Steps in which the least capacity that can be left is rounded down, parts of a memory.
STEPS = 8


@dataclass(frozen=True)
class MostSaved:
    """What residency saves at most of a layer's forward pass: (designs, plans, layers).

    Attributes
    ----------
    energy_j, latency_s
        Each beside what DRAM takes of results in the formats of their readers (:func:`dse.cost.steps.step.as_read_j`).
    """

    energy_j: Floats
    latency_s: Floats


def most_saved(apart: Apart, chains: bool = False) -> MostSaved:
    """What residency saves at most where each layer has the format of one of the plans. Nothing on deep hierarchies, where nothing
    is resident."""
    hardware, arrays, stored = apart.hardware, apart.arrays, apart.stored
    shape = (len(arrays), len(apart.plans), len(apart.network.layers))
    saved = MostSaved(np.zeros(shape), np.zeros(shape))
    if is_deep(hardware):
        return saved
    buffers = shared_buffer(hardware, arrays)
    for m in sorted(set(buffers.tolist()) - {-1}):
        roles = hardware.memories[m].roles
        choosers = [
            Chooser(apart.network, hardware, plan, copies, apart.work, i, roles)
            for i, (plan, copies) in enumerate(zip(apart.plans, stored, strict=True))
        ]
        held = _Held(choosers, len(apart.network.layers))
        for d in np.flatnonzero(buffers == m).tolist():
            one = arrays.rows(d, d + 1)
            bases = [base_costs(apart, chooser, d) for chooser in choosers]
            _of_products(saved, choosers, held, bases, one, m, d, stored)
            if chains:
                _of_chains(saved, choosers, bases, one, d, stored)
            _of_vectors(saved, choosers, held, bases, one, m, d, apart.vector, chains)
    return saved


class _Held:
    """Bits of tensors that may be resident, over all plans.

    Attributes
    ----------
    narrowest
        By tensor.
    most
        (layers,) that can be held while a layer runs.
    """

    def __init__(self, choosers: Sequence[Chooser], layers: int) -> None:
        bits: dict[int, list[float]] = {}
        alive: dict[int, tuple[int, int]] = {}
        for chooser in choosers:
            for item in chooser.items:
                bits.setdefault(item.tensor, []).append(item.bits)
                alive[item.tensor] = (item.born, item.last)
        self.narrowest = {tensor: min(each) for tensor, each in bits.items()}
        self.most = np.zeros(layers)
        for tensor, (born, last) in alive.items():
            self.most[born : last + 1] += max(bits[tensor])


def _operands(chooser: Chooser, row: int) -> list[int]:
    """Tensors that a layer reads and that may be resident."""
    known = {item.tensor for item in chooser.items}
    return sorted({tensor for tensor, _, _ in chooser.operands.get(row, []) if tensor in known})


def _states(chooser: Chooser, row: int) -> list[State]:
    """What may be resident of what a layer reads and writes, but for nothing at all."""
    operands, made = _operands(chooser, row), chooser.made(row)
    if len(operands) <= MOST_OPERANDS:
        read = [frozenset(some) for n in range(len(operands) + 1) for some in combinations(operands, n)]
    else:
        read = [frozenset(), frozenset(operands)]
    states = [
        some | kept for some in read for kept in ([frozenset(), frozenset({made})] if made >= 0 else [frozenset()])
    ]
    return [state for state in states if state]


def _of_products(
    saved: MostSaved,
    choosers: Sequence[Chooser],
    held: _Held,
    bases: Sequence[list[RowCost]],
    one: HardwareArrays,
    m: int,
    d: int,
    stored: Sequence[Stored],
) -> None:
    """Layers with MACs on one design."""
    size, write = float(one.size_bits[0, m]), float(one.write_pj_per_bit[0, m])
    dram = float(one.write_pj_per_bit[0, -1])
    asked: list[tuple[int, int, State, Variant]] = []
    for i, chooser in enumerate(choosers):
        for row in chooser.macs:
            if chooser.simple(row) and np.isfinite(bases[i][row].energy_pj):
                # What a layer with MACs reads lies there in its own format: all that read a tensor share it.
                own = {item.tensor: item.bits for item in chooser.items}
                for state in _states(chooser, row):
                    made = chooser.made(row)
                    if sum(held.narrowest[t] if t == made else own[t] for t in state) <= size:
                        asked.append((i, row, state, chooser.variant(row, state)))
    if not asked:
        return
    variants = sorted({item[-1] for item in asked})
    place = {variant: n for n, variant in enumerate(variants)}
    left = dict.fromkeys(variants, STEPS)
    for _, row, _, variant in asked:
        left[variant] = min(left[variant], max(int((1.0 - held.most[row] / size) * STEPS), 0))
    energy, cycles = _least(choosers[0], one, m, variants, np.array([left[variant] for variant in variants]))
    second = 1.0 / float(one.clock_hz[0])
    for i, row, state, variant in asked:
        base, made = bases[i][row], choosers[i].made(row)
        less = base.energy_pj - energy[place[variant]]
        if made in state:
            less -= held.narrowest[made] * write + float(stored[i].assumed[row]) * dram
        if state - {made}:
            less += float(stored[i].wanted[row]) * dram
        faster = (base.cycles - cycles[place[variant]]) * second
        saved.energy_j[d, i, row] = max(saved.energy_j[d, i, row], less * 1e-12)
        saved.latency_s[d, i, row] = max(saved.latency_s[d, i, row], faster)


def _least(
    chooser: Chooser, one: HardwareArrays, m: int, variants: list[Variant], left: np.ndarray
) -> tuple[Floats, Floats]:
    """(variants,) energy and cycles below which none comes with at least so many parts of the memory."""
    size = float(one.size_bits[0, m])
    whole = variant_costs(chooser, one, m, variants, [0.0], "edp")
    energy, cycles = whole.energy_pj[0].copy(), whole.cycles[0].copy()
    same: Bools = np.zeros(len(variants), bool)
    for step in np.unique(left[left > 0]):
        here = np.flatnonzero(left == step)
        tight = variant_costs(chooser, one, m, [variants[n] for n in here], [size * (1.0 - step / STEPS)], "edp")
        same[here] = (tight.candidate[0] == whole.candidate[0, here]) & (tight.left[0] == whole.left[0, here])
    rest = np.flatnonzero(~same)
    if len(rest):
        some = [variants[n] for n in rest]
        energy[rest] = variant_costs(chooser, one, m, some, [0.0], "energy").energy_pj[0]
        cycles[rest] = variant_costs(chooser, one, m, some, [0.0], "latency").cycles[0]
    return energy, cycles


def _of_chains(
    saved: MostSaved,
    choosers: Sequence[Chooser],
    bases: Sequence[list[RowCost]],
    one: HardwareArrays,
    d: int,
    stored: Sequence[Stored],
) -> None:
    """Convolutions on one design, as part of any chain: bands are a mapping of the whole nest."""
    second, dram = 1.0 / float(one.clock_hz[0]), float(one.write_pj_per_bit[0, -1])
    for i, chooser in enumerate(choosers):
        jobs, rows = chooser.work.jobs, [row for row in chooser.macs if chooser.layers[row].kind == "conv"]
        rows = [row for row in rows if chooser.simple(row) and np.isfinite(bases[i][row].energy_pj)]
        if not rows:
            continue
        every = [chooser.variant(row, frozenset(chooser.waits)) for row in rows]
        at = np.array([variant.job for variant in every], np.int64)
        given: dict[str, Any] = {name: v[at] for name, v in vars(jobs).items() if isinstance(v, np.ndarray)}
        given["dram_bits"] = given["dram_bits"] * np.array([[variant.first, variant.second] for variant in every])
        given["stored_bits"][:, 2] *= [variant.written for variant in every]
        floor = mapping_floor(chooser.hardware, one, replace(jobs, **given))
        for u, row in enumerate(rows):
            less = bases[i][row].energy_pj - float(floor.energy_pj[0, u]) + float(stored[i].wanted[row]) * dram
            faster = (bases[i][row].cycles - float(floor.cycles[0, u])) * second
            saved.energy_j[d, i, row] = max(saved.energy_j[d, i, row], less * 1e-12)
            saved.latency_s[d, i, row] = max(saved.latency_s[d, i, row], faster)


def _of_vectors(
    saved: MostSaved,
    choosers: Sequence[Chooser],
    held: _Held,
    bases: Sequence[list[RowCost]],
    one: HardwareArrays,
    m: int,
    d: int,
    vector: VectorCosts,
    chains: bool,
) -> None:
    """Layers without MACs on one design: least with all resident that they read and write."""
    second, size = 1.0 / float(one.clock_hz[0]), float(one.size_bits[0, m])
    others = [row for row, layer in enumerate(choosers[0].layers) if not layer.has_macs]
    for i, chooser in enumerate(choosers):
        for v, row in enumerate(others):
            made = chooser.made(row)
            tensors = {*_operands(chooser, row), *({made} if made >= 0 else set())}
            state = frozenset(tensor for tensor in tensors if chains or held.narrowest[tensor] <= size)
            if not state or not chooser.simple(row):
                continue
            base = bases[i][row]
            found = vector_cost(chooser, one, m, row, state, base, float(vector.operations[v, 0]))
            saved.energy_j[d, i, row] = max(base.energy_pj - found.energy_pj, 0.0) * 1e-12
            saved.latency_s[d, i, row] = max(base.cycles - found.cycles, 0.0) * second
