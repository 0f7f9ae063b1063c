"""Whole tensors that wait on the chip, in the shared memory, until the last layer that reads them; in inference.

A tensor between layers is *resident* from the run of the layer that writes it to that of its last reader. It takes its bits in the
format that its readers want, and the tiles of every layer that runs meanwhile fit beside it. Neither its write nor its reads see
DRAM. A tensor with several readers, as of a residual branch, stays alive over all layers between them.

What is resident is a shortest path: layers run in order, a state is the set of resident tensors that are alive, and a layer's
cost in a state is that of its best mapping with the capacity that is left, its resident operands and result free of DRAM. All
states are looked at (up to :data:`dse.cost.fusion.inference.states.MOST_STATES` per layer), so that the choice is the best one for

``energy / energy without + latency / latency without``

among those in which no layer costs more energy or time than without: fused is never worse, layer by layer. For a given plan this is
exact where the states are not cut; formats are not chosen with it.

Inside the memory nothing is saved: tiles of a resident operand are charged as if they were filled, results as one more write.
A training step has other runs and a choice of its own (:mod:`dse.cost.fusion.training`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dse.cost.fusion.apart import Apart, Closed
from dse.cost.fusion.epilogues import parts_of
from dse.cost.fusion.inference.chains import Chain, Chains
from dse.cost.fusion.inference.rows import RowCost, base_costs, no_worse, vector_cost
from dse.cost.fusion.inference.states import Chooser, Item, State, Variant
from dse.cost.fusion.vector import shared_buffer
from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.table_jobs import JobCosts, cost_jobs, is_deep
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.types import Bools
from dse.workload.model import Network
from dse.workload.work.tensors import tensors_of


@dataclass(frozen=True)
class Resident:
    """The choice on one design under one plan.

    Attributes
    ----------
    tensors
        Places of the resident tensors among :func:`dse.workload.work.tensors.tensors_of`.
    rows
        By layer what it costs; only of layers whose cost changes.
    costs
        Of the variants that layers with MACs run as: designs are capacities.
    written_pj
        By layer, the write of a resident result into the shared memory.
    born
        Layers whose run writes a resident tensor.
    """

    tensors: tuple[int, ...]
    rows: dict[int, RowCost]
    costs: JobCosts
    written_pj: dict[int, float]
    born: frozenset[int]


def residents(apart: Apart, closed: Closed | None = None) -> dict[tuple[int, int], Resident]:
    """What is resident, by design and plan; nothing where a role passes by the shared memory or the hierarchy is deep.

    Parameters
    ----------
    closed
        Only of these designs and plans, beside layers that run fused otherwise; None: of all.
    """
    found: dict[tuple[int, int], Resident] = {}
    hardware, arrays = apart.hardware, apart.arrays
    if is_deep(hardware):
        return found
    buffers = shared_buffer(hardware, arrays)
    for i, (plan, copies) in enumerate(zip(apart.plans, apart.stored, strict=True)):
        choosers: dict[tuple[int, frozenset[int]], Chooser] = {}
        for d in range(len(arrays)):
            m = int(buffers[d])
            if m < 0 or (closed is not None and (d, i) not in closed):
                continue
            key = (m, frozenset() if closed is None else closed[d, i])
            if key not in choosers:
                roles = hardware.memories[m].roles
                choosers[key] = Chooser(apart.network, hardware, plan, copies, apart.work, i, roles, key[1])
            chooser = choosers[key]
            if not chooser.items or apart.infeasible(d, i):
                continue
            found[d, i] = _choose(StateCosts(apart, chooser, d, m), "chain" in parts_of(hardware))
    return found


class StateCosts:
    """What layers cost on one design in every state that fits.

    Attributes
    ----------
    states
        By layer what may be alive while it runs.
    base
        What layers cost with nothing resident.
    bits
        By tensor.
    costs
        Of the variants that layers with MACs run as: designs are capacities.
    """

    def __init__(self, apart: Apart, chooser: Chooser, d: int, m: int) -> None:
        self.chooser, self.m, self.vector, self.objective = chooser, m, apart.vector, apart.objective
        self.one, self.base = apart.arrays.rows(d, d + 1), base_costs(apart, chooser, d)
        self.touched = [chooser.touched(row) for row in range(len(chooser.layers))]
        self._vectors: dict[tuple[int, State], RowCost] = {}
        self.states = chooser.states(float(self.one.size_bits[0, m]))
        self.bits = {item.tensor: item.bits for item in chooser.items}
        self.wanted: dict[tuple[int, State], tuple[Variant, float]] = {}
        for row, here in enumerate(self.states):
            if row in chooser.macs and chooser.simple(row):
                for state in here:
                    self.wanted[row, state] = chooser.variant(row, state), sum(self.bits[t] for t in state)
        variants = sorted({variant for variant, _ in self.wanted.values()})
        held = sorted({taken for _, taken in self.wanted.values()})
        self.place, self.at = {x: n for n, x in enumerate(variants)}, {x: n for n, x in enumerate(held)}
        asked: Bools = np.zeros((len(held), len(variants)), bool)
        for variant, taken in self.wanted.values():
            asked[self.at[taken], self.place[variant]] = True
        self.costs = variant_costs(chooser, self.one, m, variants, held, apart.objective, asked)

    def chains(self) -> Chains:
        """Chains of layers that run band by band."""
        return Chains(self.chooser, self.one, self.m, self.base, self.vector, self.states, self.objective)

    def written_pj(self, row: int, state: State) -> float:
        """What the write of a resident result takes."""
        made = self.chooser.made(row)
        return self.bits[made] * float(self.one.write_pj_per_bit[0, self.m]) if made in state else 0.0

    def cost(self, row: int, state: State) -> RowCost:
        """What a layer costs in a state."""
        chooser = self.chooser
        if row not in chooser.macs:
            mine = (row, state & self.touched[row])
            if mine not in self._vectors:
                operations = float(self.vector.operations[chooser.lanes[row], 0])
                self._vectors[mine] = vector_cost(chooser, self.one, self.m, *mine, self.base[row], operations)
            return self._vectors[mine]
        if (row, state) not in self.wanted:
            return self.base[row]
        variant, taken = self.wanted[row, state]
        v, c = self.place[variant], self.at[taken]
        energy = float(self.costs.energy_pj[c, v]) + self.written_pj(row, state)
        return RowCost(energy, float(self.costs.cycles[c, v]), float(self.costs.traffic_bits[c, v, -1]), v, c)


def _choose(priced: StateCosts, chains: bool) -> Resident:
    """The shortest path on one design."""
    chooser, base = priced.chooser, priced.base
    ending = priced.chains().ending if chains else {}
    path = shortest_path(priced.states, base, priced.cost, chooser.items, ending)
    rows: dict[int, RowCost] = {}
    for part in path:
        if part.chain is None:
            rows[part.first] = no_worse(priced.cost(part.first, part.state), base[part.first])
        else:
            rows.update(enumerate(part.costs, part.first))
    states = {row: part.state for part in path for row in range(part.first, part.last + 1)}
    written = {
        row: priced.written_pj(row, state)
        for row, state in states.items()
        if row in chooser.macs and chooser.made(row) in state
    }
    changed = {row: item for row, item in rows.items() if item != base[row]}
    kept = frozenset().union(*states.values())
    born = frozenset(item.born for item in chooser.items if item.tensor in kept)
    return Resident(tuple(sorted(kept)), changed, priced.costs, written, born)


def variant_costs(
    chooser: Chooser,
    one: HardwareArrays,
    m: int,
    variants: list[Variant],
    held: list[float],
    objective: str,
    asked: Bools | None = None,
) -> JobCosts:
    """Costs of variants (columns) beside what the shared memory holds (rows), of those pairs that are asked for or of all."""
    jobs: Jobs = chooser.work.jobs
    rows = np.array([variant.job for variant in variants], np.int64)
    per_job = {
        name: value[rows] for name, value in vars(jobs).items() if name != "nests" and isinstance(value, np.ndarray)
    }
    part = np.array([[variant.first, variant.second] for variant in variants]).reshape(-1, 2)
    stored = per_job["stored_bits"].copy()
    stored[:, 2] *= [variant.written for variant in variants]
    products = replace(jobs, **{**per_job, "stored_bits": stored, "dram_bits": per_job["dram_bits"] * part})
    repeated: dict[str, Any] = {
        name: np.repeat(value, len(held), axis=0) if isinstance(value, np.ndarray) else value
        for name, value in vars(one).items()
    }
    size = repeated["size_bits"].copy()
    size[:, m] -= np.array(held)
    return cost_jobs(chooser.hardware, HardwareArrays(**{**repeated, "size_bits": size}), products, objective, asked)


class Part(NamedTuple):
    """A piece of a path: the rows from ``first`` to ``last``, the tensors that wait while they run, and the chain that they are
    with what its rows cost; without a chain one row."""

    first: int
    last: int
    state: State
    chain: Chain | None = None
    costs: Sequence[RowCost] = ()


class _Node(NamedTuple):
    value: float
    before: _Node | None
    part: Part | None


def shortest_path(
    states: Sequence[set[State]],
    base: Sequence[RowCost],
    cost: Callable[[int, State], RowCost],
    items: Sequence[Item],
    chains: Mapping[int, Sequence[tuple[Chain, list[RowCost]]]] | None = None,
) -> list[Part]:
    """The best path; a layer by itself may not cost more energy or cycles than with nothing resident.

    Parameters
    ----------
    states
        By layer what may be alive while it runs.
    base
        What layers cost with nothing resident.
    cost
        What a layer costs in a state.
    chains
        By last layer the chains that may run as one piece, with what their layers cost.
    """
    energy = max(sum(row.energy_pj for row in base), 1e-300)
    cycles = max(sum(row.cycles for row in base), 1e-300)
    news: dict[int, State] = {}
    ends: dict[int, State] = {}
    for item in items:
        news[item.born] = news.get(item.born, frozenset()) | {item.tensor}
        ends[item.last] = ends.get(item.last, frozenset()) | {item.tensor}
    best: list[dict[State, _Node]] = [{frozenset(): _Node(0.0, None, None)}]
    for row, here in enumerate(states):
        reached: dict[State, _Node] = {}
        made, gone = news.get(row, frozenset()), ends.get(row, frozenset())
        for state in sorted(here, key=sorted):
            before = best[row].get(state - made)
            if before is None:
                continue
            found = no_worse(cost(row, state), base[row])
            if found is base[row] and state:
                continue
            value = before.value + found.energy_pj / energy + found.cycles / cycles
            after = state - gone
            if after not in reached or value < reached[after].value:
                reached[after] = _Node(value, before, Part(row, row, state))
        for chain, costs in (chains or {}).get(row, ()):
            before = best[chain.first].get(chain.state)
            if before is None:
                continue
            value = before.value + sum(item.energy_pj / energy + item.cycles / cycles for item in costs)
            every = chain.state | chain.leaves | chain.inner
            ended = (ends.get(at, frozenset()) for at in range(chain.first, row + 1))
            after = (chain.state | chain.leaves).difference(*ended)
            if after not in reached or value < reached[after].value:
                reached[after] = _Node(value, before, Part(chain.first, row, every, chain, costs))
        best.append(reached)
    node: _Node | None = min(best[-1].values(), key=lambda item: item.value)
    path: list[Part] = []
    while node is not None and node.part is not None:
        path.append(node.part)
        node = node.before
    return path[::-1]


def resident_notes(hardware: Hardware, recompute: bool = False) -> tuple[str, ...]:
    """Why nothing waits on the chip although it was asked for, as a sentence."""
    if "residency" not in parts_of(hardware) or not (is_deep(hardware) or recompute):
        return ()
    why = "where an operand lies in several private or shared memories" if is_deep(hardware) else "beside recomputation"
    instead = "fused as 'vector'" if hardware.fusion == "resident" else f"that part of '{hardware.fusion}' is left out"
    return (f"{hardware.name}: no tensor waits on the chip {why}; {instead}",)


def joined(network: Network, groups: npt.NDArray[np.object_], tensors: Sequence[int]) -> npt.NDArray[np.object_]:
    """Groups with those joined that meet in a resident tensor; the name is that of the layer that comes first."""
    result = groups.copy()
    found = tensors_of(network, False).tensors
    for place in tensors:
        rows = [found[place].born, *(use.layer for use in found[place].readers)]
        names = {str(result[row, 0]) or network.layers[row].name for row in rows}
        first = min(names, key=lambda name: next(i for i, x in enumerate(network.layers) if x.name == name))
        result[rows, 0] = first
        result[np.isin(result[:, 0], sorted(names)), 0] = first
    return result
