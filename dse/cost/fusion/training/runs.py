"""What may wait on the chip in a training step: its runs in order, and the tensors between them.

A step is a list of runs: forward in the network's order, then backward in the reverse order, of a layer first backward_weight,
then backward_data (so that the error that both read may go before the one that is made comes). Between them lie

* *activations*, from the run that writes them to their last forward reader. What is needed again on the way back (or wanted in a
  second format) is written to DRAM as well, and read there on the way back
* *errors*, from the backward_data (of a product's second operand: the backward_weight) of a tensor's only reader to the backward
  passes of the layer whose run wrote the tensor. A sum passes its error on as it is; since its own row reads it again where the
  branches part, it is written as well. The error of a tensor with several readers is a sum of errors, which DRAM holds

Nothing is said of plans whose results have formats of their own or that keep a tensor along two axes; there nothing waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dse.cost.fusion.epilogues import links_of
from dse.cost.jobs.network import NetworkJobs
from dse.cost.tensors.copies import Stored, copies_of, error_bits, has_result, turned_errors, turned_weights
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.workload.model import GATES, Network
from dse.workload.work.tensors import Tensor, tensors_of
from dse.workload.work.vector import vector_work

FORWARD, DATA, WEIGHT = (PASSES.index(name) for name in ("forward", "backward_data", "backward_weight"))


class Run(NamedTuple):
    """One pass of one layer, by its place among the layers and the passes."""

    row: int
    pass_: int


class Read(NamedTuple):
    """A run that reads a tensor: its place among the runs, the role of the operand (0 weight, 1 activation), the elements of one
    sample, and the part of the operand that the tensor is."""

    run: int
    role: int
    elements: int
    share: float


@dataclass(frozen=True)
class Waiting:
    """A tensor that may wait.

    Attributes
    ----------
    tensor
        Place among :func:`dse.workload.work.tensors.tensors_of`; of an error that of its tensor.
    error
        Whether it is the error.
    born, last
        Places of the runs that write it and that read it last.
    reads
        Who reads it there.
    bits
        For the whole batch.
    written
        Whether DRAM gets it as well.
    """

    tensor: int
    error: bool
    born: int
    last: int
    reads: tuple[Read, ...]
    bits: float
    written: bool


class TrainingRuns:
    """Runs of a training step under one plan, and what may wait between them; the same for all designs.

    Attributes
    ----------
    runs
        In order.
    items
        What may wait.
    whole
        By run whether it needs what its layer reads of the whole batch before it starts: norms over the batch.
    closed
        Layers that run fused otherwise, and beside which nothing waits.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        stored: Stored,
        work: NetworkJobs,
        place: int,
        roles: tuple[str, ...],
        closed: frozenset[int] = frozenset(),
    ) -> None:
        self.network, self.layers, self.stored, self.roles = network, network.layers, stored, roles
        self.work, self.place, self.closed = work, place, closed
        self.macs = {index: l for l, index in enumerate(i for i, x in enumerate(self.layers) if x.has_macs)}
        self.lanes = {index: v for v, index in enumerate(i for i, x in enumerate(self.layers) if not x.has_macs)}
        self.runs = _runs_of(network)
        self.at = {run: n for n, run in enumerate(self.runs)}
        self.whole = [self.layers[run.row].kind == "norm" for run in self.runs]
        links = links_of(network, True)
        self.streams = {Run(link.row, PASSES.index(link.pass_)) for link in links}
        self._known: dict[Run, bool] = {}
        self.unwritten = {Run(link.source, PASSES.index(link.pass_)) for link in links if link.written}
        self.error_bits = error_bits(network, plan)
        plain = not has_result(plan) and plan.copies != "requantize"
        twice = turned_errors(network, plan).any() or turned_weights(network, plan).any()
        found = tensors_of(network, True).tensors
        self.items: tuple[Waiting, ...] = ()
        if plain and not twice and "activation" in roles:
            self.items = (*self._activations(plan, found), *self._errors(found))
        self.reads: dict[int, list[tuple[int, Read]]] = {}
        self.makes: dict[int, int] = {}
        for number, item in enumerate(self.items):
            self.makes[item.born] = number
            for read in item.reads:
                self.reads.setdefault(read.run, []).append((number, read))

    def simple(self, run: Run) -> bool:
        """Whether a run is one nest that runs once, or work without MACs on whole tensors."""
        if run not in self._known:
            self._known[run] = self._simple(run)
        return self._known[run]

    def _simple(self, run: Run) -> bool:
        layer = self.layers[run.row]
        if run.row in self.closed:
            return False
        if layer.has_macs:
            jobs, times = self.work.job[self.place, self.macs[run.row], run.pass_], self.work.times
            once = (jobs >= 0).sum() == 1 and times[self.macs[run.row], run.pass_].sum() == 1.0
            return bool(once) and self.work.jobs.runs[jobs[0]] == 1 and layer.repeats == 1 and not layer.transposed
        return layer.function not in GATES and layer.kind != "embedding"

    def _held(self, reads: list[Read]) -> bool:
        """Whether the shared memory holds the roles in which layers with MACs read a tensor."""
        seconds = [read for read in reads if read.role == 0 and self.layers[self.runs[read.run].row].has_macs]
        return not seconds or "weight" in self.roles

    def _item(
        self, place: int, tensor: Tensor, error: bool, born: Run, reads: list[Read], width: float, written: bool
    ) -> list[Waiting]:
        runs = [born, *(self.runs[read.run] for read in reads)]
        if not reads or born in self.unwritten or not all(self.simple(run) for run in runs) or not self._held(reads):
            return []
        first, last = self.at[born], max(read.run for read in reads)
        if any(read.run <= first for read in reads):
            return []
        bits = width * tensor.elements * self.network.batch
        return [Waiting(place, error, first, last, tuple(reads), bits, written)]

    def _activations(self, plan: Plan, found: tuple[Tensor, ...]) -> list[Waiting]:
        wanted: dict[int, list[tuple[float, bool]]] = {}
        for copy in copies_of(self.network, plan, True):
            if copy.readers:
                wanted.setdefault(copy.tensor, []).append((copy.bits, bool(copy.keepers)))
        result = []
        for place, tensor in enumerate(found):
            if not tensor.stored or tensor.maker < 0 or len(wanted.get(place, [])) != 1:
                continue
            if any(use.place == "second" and self.layers[use.layer].cached for use in tensor.readers):
                continue
            reads = []
            for use in tensor.readers:
                layer = self.layers[use.layer]
                whole = layer.second_elements if use.place == "second" else layer.input_elements
                share = use.elements / whole if layer.has_macs and whole else 1.0
                reads.append(Read(self.at[Run(use.layer, FORWARD)], int(use.place != "second"), use.elements, share))
            width, kept = wanted[place][0]
            result += self._item(place, tensor, False, Run(tensor.born, FORWARD), reads, width, kept)
        return result

    def _errors(self, found: tuple[Tensor, ...]) -> list[Waiting]:
        result = []
        for place, tensor in enumerate(found):
            if not tensor.stored or tensor.maker < 0 or len(tensor.readers) != 1:
                continue
            (use,) = tensor.readers
            reader = self.layers[use.layer]
            born = Run(use.layer, WEIGHT if reader.kind == "matmul" and use.place == "second" else DATA)
            if born not in self.at or reader.kind in ("add", "resize", "multiply") or use.elements != tensor.elements:
                continue
            takers, passed = self._takers(found, place)
            reads = [
                Read(self.at[run], int(run.pass_ == DATA), tensor.elements, 1.0)
                for row in takers
                for run in (Run(row, WEIGHT), Run(row, DATA))
                if run in self.at
            ]
            width = float(max(self.error_bits[row] for row in (use.layer, *takers)))
            result += self._item(place, tensor, True, born, reads, width, passed)
        return result

    def _takers(self, found: tuple[Tensor, ...], place: int) -> tuple[list[int], bool]:
        """Layers whose backward passes read a tensor's error, and whether a sum passes it on."""
        row = found[place].born
        if self.layers[row].kind != "add":
            return [row], False
        parts = [t for t in found if t.stored and t.maker >= 0 and [use.layer for use in t.readers] == [row]]
        return [t.born for t in parts if self.layers[t.born].kind != "add"], True

    def vector_bits(self, n: int, state: frozenset[int]) -> tuple[float, float]:
        """Bits that a run without MACs does not read from and write to DRAM in a state."""
        run, batch = self.runs[n], self.network.batch
        work = vector_work(self.layers[run.row], PASSES[run.pass_], True)
        forward = run.pass_ == FORWARD
        uses = self.reads.get(n, [])
        in_, out = (self.stored.input_bits, self.stored.result_bits) if forward else (self.error_bits, self.error_bits)
        layer = self.layers[run.row]
        # Two operands of as many elements, or one; swept once or twice.
        both = layer.kind in ("add", "multiply") and forward
        elements = layer.output_elements if not forward or both else layer.input_elements
        sweeps = work.reads / (elements * (1 + both)) if elements else 0.0
        read = 0.0
        for item, use in uses:
            if item in state:
                read += use.elements * max(sweeps - self._streams(n, item), 0.0) * batch * float(in_[run.row])
        made = self.makes.get(n, -1)
        gone = made in state and not self.items[made].written
        return read, work.writes * batch * float(out[run.row]) * gone

    def _streams(self, n: int, item: int) -> bool:
        """Whether a sweep over the tensor is saved already: it streams."""
        run = self.runs[n]
        if run not in self.streams:
            return False
        links = [link for link in links_of(self.network, True) if Run(link.row, PASSES.index(link.pass_)) == run]
        return any(Run(link.source, PASSES.index(link.pass_)) == self.runs[self.items[item].born] for link in links)

    def as_read(self, n: int) -> float:
        """Bits that a run writes beyond its own format because its readers want others."""
        run = self.runs[n]
        return float(self.stored.as_read_bits[run.row]) if run.pass_ == FORWARD else 0.0


def _runs_of(network: Network) -> tuple[Run, ...]:
    """All runs of a training step in order."""
    rows = range(len(network.layers))
    forward = [Run(row, FORWARD) for row in rows]
    backward = [
        Run(row, pass_)
        for row in reversed(rows)
        for pass_ in (WEIGHT, DATA)
        if PASSES[pass_] in network.layers[row].passes
    ]
    return (*forward, *backward)


def slicings(batch: int) -> tuple[int, ...]:
    """Numbers of equal slices of a batch that are tried: divisors, each at least four times the one before, and single samples."""
    found = [1]
    for count in range(2, batch + 1):
        if batch % count == 0 and count >= 4 * found[-1]:
            found.append(count)
    return (*found, batch) if batch > found[-1] else tuple(found)
