"""What may be resident on the chip while an inference runs, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dse.cost.fusion.epilogues import links_of
from dse.cost.jobs.network import NetworkJobs
from dse.cost.tensors.copies import Copy, Stored, copies_of
from dse.hardware.model import Hardware
from dse.precision.plans.plan import Plan
from dse.workload.model import GATES, Network
from dse.workload.work.tensors import tensors_of
from dse.workload.work.vector import vector_work

#: States that are looked at per layer; beyond it those that hold most are kept.
MOST_STATES = 64

State = frozenset[int]


class Variant(NamedTuple):
    """A job whose operands (in the weight and the activation role) come from DRAM in part, or whose result does not go there."""

    job: int
    first: float
    second: float
    written: bool


@dataclass(frozen=True)
class Item:
    """A tensor that may be resident: where it is written and last read, and its bits for the whole batch."""

    tensor: int
    born: int
    last: int
    bits: float


class Chooser:
    """What may be resident under one plan, and what every layer then reads and writes; the same for all designs.

    Attributes
    ----------
    items, waits
        The tensors that may be resident; the same by tensor.
    sources
        By layer those whose results stream into it.
    macs
        By place of a layer with MACs its number among those.
    work
        The jobs of the network.
    closed
        Layers that run fused otherwise, and beside which nothing waits.
    """

    def __init__(
        self,
        network: Network,
        hardware: Hardware,
        plan: Plan,
        copies: Stored,
        work: NetworkJobs,
        place: int,
        roles: tuple[str, ...],
        closed: frozenset[int] = frozenset(),
    ) -> None:
        self.network, self.hardware, self.copies = network, hardware, copies
        self.layers, self.batch = network.layers, network.batch
        self.work, self.plan_place, self.roles, self.closed = work, place, roles, closed
        self.macs = {index: l for l, index in enumerate(i for i, x in enumerate(self.layers) if x.has_macs)}
        self.lanes = {index: v for v, index in enumerate(i for i, x in enumerate(self.layers) if not x.has_macs)}
        self.found = tensors_of(network, False)
        self.streams = {(link.row, link.source) for link in links_of(network, False)}
        self.unwritten = {link.source for link in links_of(network, False) if link.written}
        self.items = self._items(copies_of(network, plan, False))
        self.waits = {item.tensor: item for item in self.items}
        self.sources: dict[int, list[int]] = {}
        for row, source in sorted(self.streams):
            self.sources.setdefault(row, []).append(source)
        self._made = {item.born: item.tensor for item in reversed(self.items)}
        self.operands: dict[int, list[tuple[int, str, int]]] = {}
        for place_, tensor in enumerate(self.found.tensors):
            for use in tensor.readers:
                self.operands.setdefault(use.layer, []).append((place_, use.place, use.elements))

    def _items(self, copies: Sequence[Copy]) -> list[Item]:
        bits: dict[int, list[float]] = {}
        for copy in copies:
            bits.setdefault(copy.tensor, []).append(copy.bits)
        items = []
        for place, tensor in enumerate(self.found.tensors):
            once = tensor.stored and tensor.maker >= 0 and tensor.readers and len(bits.get(place, [])) == 1
            if not once or tensor.born in self.unwritten:
                continue
            rows = [tensor.born, *(use.layer for use in tensor.readers)]
            # An operand waits where its role is held; the second one of a product is in the weight's.
            second = any(use.place == "second" and self.layers[use.layer].has_macs for use in tensor.readers)
            if "activation" not in self.roles or (second and "weight" not in self.roles):
                continue
            # Of a cache a layer made the newest part alone; the whole of it is read from where it is kept.
            if any(use.place == "second" and self.layers[use.layer].cached for use in tensor.readers):
                continue
            if all(self.simple(row) for row in rows) and all(use.layer > tensor.born for use in tensor.readers):
                last = max(use.layer for use in tensor.readers)
                items.append(Item(place, tensor.born, last, bits[place][0] * tensor.elements * self.batch))
        return items

    def simple(self, row: int) -> bool:
        """Whether a layer's pass is one nest that runs once, or work without MACs whose operands are whole tensors."""
        layer = self.layers[row]
        if row in self.closed:
            return False
        if layer.has_macs:
            l = self.macs[row]
            one = (self.work.job[self.plan_place, l, 0] >= 0).sum() == 1 and self.work.times[l, 0].sum() == 1.0
            return bool(one) and self.work.jobs.runs[self.work.job[self.plan_place, l, 0, 0]] == 1
        return layer.function not in GATES and layer.kind != "embedding"

    def states(self, size: float) -> list[set[State]]:
        """By layer the sets of resident tensors that may be alive while it runs, those that it writes included."""
        result: list[set[State]] = []
        alive: set[State] = {frozenset()}
        items = {item.tensor: item for item in self.items}
        born: dict[int, list[Item]] = {}
        for item in self.items:
            born.setdefault(item.born, []).append(item)
        for row in range(len(self.layers)):
            here = alive
            for item in born.get(row, []):
                here = here | {state | {item.tensor} for state in here}
            here = {state for state in here if sum(items[t].bits for t in state) <= size}
            if (row in self.macs or row in self.closed) and not self.simple(row):
                here = {state for state in here if not state} or {frozenset()}
            if len(here) > MOST_STATES:
                held = sorted(here, key=lambda state: (-sum(items[t].bits for t in state), sorted(state)))
                here = {frozenset(), *held[: MOST_STATES - 1]}
            result.append(here)
            alive = {frozenset(t for t in state if items[t].last > row) for state in here}
        return result

    def variant(self, row: int, state: State) -> Variant:
        """The job of a layer with MACs in a state."""
        l = self.macs[row]
        shares = {}
        for place in ("input", "second"):
            uses = [(tensor, elements) for tensor, name, elements in self.operands.get(row, []) if name == place]
            whole = sum(elements for _, elements in uses)
            resident = sum(elements for tensor, elements in uses if tensor in state)
            shares[place] = 1.0 - resident / whole if whole else 1.0
        made = row in self.unwritten or self.made(row) in state
        return Variant(int(self.work.job[self.plan_place, l, 0, 0]), shares["second"], shares["input"], not made)

    def made(self, row: int) -> int:
        """The tensor that a layer's run writes; -1 where it is no candidate."""
        return self._made.get(row, -1)

    def touched(self, row: int) -> State:
        """Tensors that a layer reads, and the one that it writes."""
        return frozenset({*(tensor for tensor, _, _ in self.operands.get(row, ())), self.made(row)})

    def vector_bits(self, row: int, state: State) -> tuple[float, float]:
        """Bits that a layer without MACs does not read from and write to DRAM in a state."""
        layer = self.layers[row]
        work, uses = vector_work(layer, "forward", False), self.operands.get(row, [])
        whole = sum(elements for _, _, elements in uses)
        sweeps = work.reads / whole if whole else 0.0
        read = 0.0
        for tensor, _, elements in uses:
            if tensor in state:
                streams = (row, self.found.tensors[tensor].born) in self.streams
                read += elements * max(sweeps - streams, 0.0) * self.batch * float(self.copies.input_bits[row])
        written = work.writes * self.batch * float(self.copies.result_bits[row]) if self.made(row) in state else 0.0
        return read, written
