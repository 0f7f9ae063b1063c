"""Chains of layers that run band by band of rows (depth first), in inference: between them lines wait, not whole tensors.

The rows of all results of a chain are cut into as many equal *bands*; all its layers run for one band, then for the next. Of a
tensor between them lie on the chip, over all channels and the whole width, the rows of a band and those that windows share with
the band before (line buffers, "fully cached" in the words of Mei et al., DeFiNES, HPCA 2023): nothing is computed twice. Weights of
all its layers stay on the chip over all bands where the memory holds their role, beside the lines; elsewhere they come again for
every band. Neither writes nor reads of the inner tensors see DRAM, and of the input each row is read once.

A layer with windows lags behind the one that it reads from: output row ``q`` needs input rows up to ``q s - pad + (R - 1) d``. With
``r`` rows of a result in a band (``s r`` of its input), a lag of ``l`` rows of the input gives one of

    ``max(0, ceil((l + (R - 1) d + 1 - s - pad) / s))``

rows of the result, and of a tensor wait, as its reader asks, ``r - lag + s lag of the reader + pad`` rows; the largest of several
readers', as of a branch that meets its sum later. A window of 3 at stride 1 so holds ``r + 2`` rows.

Each band of a layer is a nest with that many rows, under its best mapping in what is left of the memory (in
:data:`PARTS` parts, rounded down). The first band makes rows that the last one has left; both are priced as one of
equal bands. A chain runs where all its layers together take no more energy, time and bits of DRAM than apart; a row
alone may take more.

Looked at are up to :data:`MOST_LAYERS` layers with MACs one after the other whose rows divide into the bands, numbers
of bands (:func:`bandings`), and beside each up to :data:`MOST_BESIDE` sets of whole tensors that wait meanwhile: a larger
memory is never worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, gcd
from typing import Any, NamedTuple

import numpy as np

from dse.cost.fusion.apart import PARTS, beside_what_waits
from dse.cost.fusion.inference.rows import RowCost, vector_cost
from dse.cost.fusion.inference.states import Chooser, State, Variant
from dse.cost.fusion.vector import VectorCosts
from dse.cost.jobs.formats import Jobs
from dse.cost.mapped.table_jobs import cost_jobs
from dse.hardware.arrays import HardwareArrays
from dse.mapping.nest import Nest
from dse.workload.model import Layer

#: Layers with MACs of a chain, and sets of whole tensors beside it, that are looked at.
MOST_LAYERS, MOST_BESIDE = 8, 3
#: Parts of the memory (:data:`dse.cost.fusion.apart.PARTS`) that are left for tiles at least.
LEAST = 2
#: A cost within this of another one is no worse.
_EQUAL = 1.0 + 1e-9
#: Layers without MACs whose rows follow those of what they read.
_BY_ROW = ("add", "multiply", "activation", "pool", "norm")

NOTHING: State = frozenset()


@dataclass(frozen=True)
class Chain:
    """Layers that run band by band.

    Attributes
    ----------
    first, last
        The rows of a network that it goes over.
    bands
        How many.
    state
        Whole tensors that wait beside it.
    leaves
        Of those that its layers write whole tensors that wait on.
    inner
        Tensors of which lines wait.
    taken
        Parts of the memory that all that takes, weights included.
    """

    first: int
    last: int
    bands: int
    state: State
    leaves: State
    inner: State
    taken: int


class Line(NamedTuple):
    """An inner tensor of a chain: its rows, the bits of one, and how many wait beyond those of a band."""

    tensor: int
    rows: int
    row_bits: float
    beyond: int


class Lines(NamedTuple):
    """What lies on the chip while a chain runs: rows of inner tensors, and bits of weights where these stay."""

    inner: tuple[Line, ...]
    weights: float
    stay: bool

    def bits(self, bands: int) -> float:
        """With so many bands."""
        rows = sum(min(line.rows // bands + line.beyond, line.rows) * line.row_bits for line in self.inner)
        return rows + self.weights * self.stay

    def brought(self, bands: int) -> float:
        """Bits of weights that DRAM gives."""
        return self.weights * (1 if self.stay else bands)


class _Ask(NamedTuple):
    """A band of a product: job, bands, shares of DRAM traffic of both operands and of the result, parts of the memory taken."""

    job: int
    bands: int
    first: float
    second: float
    result: float
    taken: int


def input_pad(layer: Layer, rows: int) -> int:
    """Rows of padding above an input of so many rows; of an odd number the larger part is taken to lie below: more rows wait."""
    return max((layer.P - 1) * layer.stride[0] + (layer.R - 1) * layer.dilation[0] + 1 - rows, 0) // 2


def lines_of(chooser: Chooser, first: int, last: int) -> Lines | None:
    """What lies on the chip while the layers from ``first`` to ``last`` run in bands; None where their rows do not follow each
    other."""
    layers = chooser.layers
    lag: dict[int, int] = {}
    inner: dict[int, Line] = {}
    for row in range(first, last + 1):
        layer = layers[row]
        stride, window = _window(layer)
        met: list[tuple[int, int, int]] = []
        lag[row] = max((lag.get(source, 0) for source in chooser.sources.get(row, ())), default=0)
        for tensor, _, _ in chooser.operands.get(row, ()):
            born = chooser.found.tensors[tensor].born
            if not first <= born < row:
                continue
            rows = layers[born].P
            if rows != stride * layer.P:
                return None
            pad = input_pad(layer, rows) if layer.kind in ("conv", "pool") else 0
            lag[row] = max(lag[row], ceil((lag[born] + window - stride - pad) / stride))
            met.append((tensor, born, pad))
        for tensor, born, pad in met:
            item, rows = chooser.waits.get(tensor), layers[born].P
            if item is not None and item.last <= last:
                beyond = stride * lag[row] + pad - lag[born]
                known = inner.get(tensor)
                inner[tensor] = Line(
                    tensor, rows, item.bits / rows, beyond if known is None else max(beyond, known.beyond)
                )
    bits = chooser.work.jobs.stored_bits[:, 0]
    products = [row for row in range(first, last + 1) if row in chooser.macs]
    weights = sum(layers[row].parameters * float(bits[_job(chooser, row)]) for row in products)
    return Lines(tuple(inner.values()), weights, "weight" in chooser.roles)


def bandings(rows: int) -> tuple[int, ...]:
    """Numbers of bands that are tried: divisors, each at least twice the one before, and single rows."""
    found = [1]
    for bands in range(2, rows + 1):
        if rows % bands == 0 and bands >= 2 * found[-1]:
            found.append(bands)
    return tuple(found[1:]) if rows in found else (*found[1:], rows)


def _window(layer: Layer) -> tuple[int, int]:
    """Stride and rows of a window."""
    if layer.kind in ("conv", "pool"):
        return layer.stride[0], (layer.R - 1) * layer.dilation[0] + 1
    return 1, 1


def _job(chooser: Chooser, row: int) -> int:
    return int(chooser.work.job[chooser.plan_place, chooser.macs[row], 0, 0])


class Chains:
    """All chains that are looked at on one design under one plan, and what their rows cost.

    Attributes
    ----------
    ending
        By last row the chains with the costs of all their rows.
    """

    def __init__(
        self,
        chooser: Chooser,
        one: HardwareArrays,
        m: int,
        base: Sequence[RowCost],
        vector: VectorCosts,
        states: Sequence[set[State]],
        objective: str,
    ) -> None:
        self.chooser, self.one, self.m, self.base, self.vector = chooser, one, m, base, vector
        self.size = float(one.size_bits[0, m])
        self.items = chooser.waits
        self.touched = [chooser.touched(row) for row in range(len(chooser.layers))]
        self._variants: dict[tuple[int, State], Variant] = {}
        self._asked: dict[tuple[int, State, int, int], _Ask] = {}
        self.parts = {row: self._rows(row) for row in range(len(chooser.layers))}
        chains = list(self._all(states))
        asks = sorted({self.ask(chain, row) for chain in chains for row in self._products(chain)})
        self._price(asks, objective)
        self._known: dict[tuple[int, State, _Ask | None], RowCost] = {}
        self.ending: dict[int, list[tuple[Chain, list[RowCost]]]] = {}
        for chain in chains:
            costs = [self.cost(chain, row) for row in range(chain.first, chain.last + 1)]
            apart = base[chain.first : chain.last + 1]
            sums = [(sum(x), sum(y)) for x, y in zip(_each(costs), _each(apart), strict=True)]
            if all(found <= own * _EQUAL for found, own in sums) and sums[2][0] < sums[2][1]:
                self.ending.setdefault(chain.last, []).append((chain, costs))

    def _rows(self, row: int) -> int:
        """Rows of a layer that bands divide; 0 where it may not be part of a chain, -1 where it runs with another one."""
        layer, chooser = self.chooser.layers[row], self.chooser
        if not chooser.simple(row):
            return 0
        if row in chooser.macs:
            return layer.P if layer.kind == "conv" and not layer.transposed and layer.folded is None else 0
        if not self.base[row].cycles and not self.base[row].dram_bits:
            return -1
        return layer.P if layer.kind in _BY_ROW and layer.P > 1 else 0

    def _products(self, chain: Chain) -> list[int]:
        return [row for row in range(chain.first, chain.last + 1) if row in self.chooser.macs]

    def _all(self, states: Sequence[set[State]]) -> Iterator[Chain]:
        beside = [self._beside(states, row) for row in range(len(states))]
        for first in range(len(self.parts)):
            rows, products = 0, 0
            if first not in self.chooser.macs:
                continue
            for last in range(first, len(self.parts)):
                here = self.parts[last]
                if here == 0 or products == MOST_LAYERS + 1:
                    break
                products += last in self.chooser.macs
                rows = rows if here < 0 else gcd(rows, here)
                if rows == 1:
                    break
                if products > MOST_LAYERS or products < 2 or here < 0:
                    continue
                yield from self._over(first, last, rows, beside[first])

    def _beside(self, states: Sequence[set[State]], row: int) -> list[State]:
        """Whole tensors that may wait from before a row on: nothing, and the sets that take least."""
        if row == 0:
            return [NOTHING]
        found = {frozenset(t for t in state if self.items[t].last >= row) for state in states[row - 1]} - {NOTHING}
        least = sorted(found, key=lambda state: (sum(self.items[t].bits for t in state), sorted(state)))
        return [NOTHING, *least[: MOST_BESIDE - 1]]

    def _over(self, first: int, last: int, rows: int, beside: Sequence[State]) -> Iterator[Chain]:
        """Chains over some rows, with the fewest bands that fit."""
        lines = lines_of(self.chooser, first, last)
        if lines is None or not lines.inner or lines.bits(rows) > self.size:
            return
        inner = frozenset(line.tensor for line in lines.inner)
        made = (item for item in self.chooser.items if first <= item.born <= last < item.last)
        on = frozenset(item.tensor for item in made)
        apart = sum(cost.dram_bits for cost in self.base[first : last + 1])
        taken = {bands: lines.bits(bands) for bands in bandings(rows) if lines.brought(bands) <= apart}
        for state in beside:
            for leaves in [NOTHING, on] if on else [NOTHING]:
                whole = sum(self.items[t].bits for t in state | leaves)
                parts = {bands: ceil((bits + whole) / self.size * PARTS - 1e-9) for bands, bits in taken.items()}
                # Of as much that is taken the fewest bands: more of them are one of their mappings.
                fewest = {count: bands for bands, count in reversed(parts.items()) if count <= PARTS - LEAST}
                for count, bands in fewest.items():
                    yield Chain(first, last, bands, state, leaves, inner, count)

    def ask(self, chain: Chain, row: int) -> _Ask:
        """What has to be priced of a product of a chain."""
        chooser, layer = self.chooser, self.chooser.layers[row]
        on_chip = (chain.state | chain.inner | chain.leaves) & self.touched[row]
        key = (row, on_chip, chain.bands, chain.taken)
        if key in self._asked:
            return self._asked[key]
        variant = self._variants.get(key[:2]) or chooser.variant(row, on_chip)
        self._variants[key[:2]] = variant
        stride, window = _window(layer)
        band = (layer.P // chain.bands - 1) * stride + window
        # Of what comes from DRAM each row is read once; weights that stay are too.
        once = ((layer.P - 1) * stride + window) / (band * chain.bands)
        first = variant.first / chain.bands if "weight" in chooser.roles else variant.first
        return _Ask(
            variant.job, chain.bands, first, variant.second * min(once, 1.0), float(variant.written), chain.taken
        )

    def _price(self, asks: Sequence[_Ask], objective: str) -> None:
        self.place = {ask: u for u, ask in enumerate(asks)}
        if not asks:
            return
        jobs = banded(self.chooser.work.jobs, asks)
        taken = sorted({ask.taken for ask in asks})
        self.row = {parts: r for r, parts in enumerate(taken)}
        wanted = np.array(taken)[:, None] == np.array([ask.taken for ask in asks])[None]
        arrays = beside_what_waits(self.one, self.m, taken)
        self.known = cost_jobs(self.chooser.hardware, arrays, jobs, objective, wanted)

    def cost(self, chain: Chain, row: int) -> RowCost:
        """What a row costs as part of a chain."""
        chooser = self.chooser
        if self.parts[row] < 0:
            return self.base[row]
        state = (chain.state | chain.inner | chain.leaves) & self.touched[row]
        key = (row, state, self.ask(chain, row) if row in chooser.macs else None)
        if key not in self._known:
            self._known[key] = self._cost(row, state, key[-1], chain.bands)
        return self._known[key]

    def _cost(self, row: int, state: State, ask: _Ask | None, bands: int) -> RowCost:
        chooser, one, m = self.chooser, self.one, self.m
        if ask is None:
            operations = float(self.vector.operations[chooser.lanes[row], 0])
            return vector_cost(chooser, one, m, row, state, self.base[row], operations)
        r, u = self.row[ask.taken], self.place[ask]
        costs = self.known
        if not np.isfinite(costs.cycles[r, u]):
            return RowCost(np.inf, np.inf, np.inf)
        parts = costs.components_pj[r, u] * bands
        made = chooser.made(row)
        if made in state:
            parts[1 + m] += self.items[made].bits * float(one.write_pj_per_bit[0, m])
        cycles, moved = float(costs.cycles[r, u]) * bands, float(costs.traffic_bits[r, u, -1]) * bands
        return RowCost(float(parts.sum()), cycles, moved, parts_pj=parts, bound=int(costs.bound[r, u]))


def banded(jobs: Jobs, asks: Sequence[_Ask]) -> Jobs:
    """Jobs of one band each, with the shares of DRAM traffic."""
    at = np.array([ask.job for ask in asks], np.int64)
    nests: dict[Nest, int] = {}
    place = []
    for ask in asks:
        nest = jobs.nests[int(jobs.nest[ask.job])]
        n, g, k, c, p, q, r, s = nest.dims
        band = replace(nest, dims=(n, g, k, c, p // ask.bands, q, r, s))
        place.append(nests.setdefault(band, len(nests)))
    given: dict[str, Any] = {name: values[at] for name, values in vars(jobs).items() if isinstance(values, np.ndarray)}
    given["dram_bits"] = given["dram_bits"] * np.array([[ask.first, ask.second] for ask in asks])
    given["stored_bits"][:, 2] *= [ask.result for ask in asks]
    return replace(jobs, nests=tuple(nests), **{**given, "nest": np.array(place, np.int64)})


def _each(costs: Sequence[RowCost]) -> list[list[float]]:
    return [[cost.energy_pj for cost in costs], [cost.cycles for cost in costs], [cost.dram_bits for cost in costs]]
