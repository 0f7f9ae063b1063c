"""Whether the accumulators that a plan or a hardware file gives can hold the sums of a step: what to tell where they cannot.

Partial sums are charged at the accumulator's width in registers, buffers and traffic (:mod:`dse.cost.mapped.table_jobs`). Whether
so many bits are enough follows from the formats and from how many products a result sums
(:func:`dse.precision.formats.accumulator_bits`): exactly, and at a stated risk of overflow. Elements that share a scale in blocks
are summed as integers inside a block and rescaled between blocks, so that a block's products count. Floating-point sums round
instead of overflowing; they are told of where the accumulator has fewer significant bits than one product, so that every product
is rounded. A hardware file gives no format of its accumulators: those of elements that multiply floats are taken to be floats that
are wide enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

from dse.cost.jobs.network import nests_of, passes_of
from dse.cost.jobs.operands import roles_of, seen_operand
from dse.hardware.model import Hardware
from dse.mapping.best.unrolling import REDUCED
from dse.names import DIMS, OPERANDS
from dse.precision.formats.properties import Format, accumulator_bits, arithmetic, multiplier_bits
from dse.precision.plans.cells import formats_of
from dse.precision.plans.plan import Plan
from dse.workload.model import Network

#: Probability of an overflow that a sum of independent products with zero mean may have to count as safe; our choice.
RISK = 1e-9


class Sum(NamedTuple):
    """The widest sum of a pass of a layer: how many products of which formats, and the accumulator that the plan gives it."""

    where: str
    products: int
    first: Format
    second: Format
    accumulator: Format | None

    @property
    def needed_bits(self) -> int:
        """Bits that never overflow; of floats in a floating-point accumulator, the significant bits of one product."""
        if self.rounds:
            return multiplier_bits(self.first) + multiplier_bits(self.second)
        return _needed(self.first, self.second, self.products, 0.0)

    @property
    def likely_bits(self) -> int:
        """Bits that overflow with a probability of at most :data:`RISK`."""
        return self.needed_bits if self.rounds else _needed(self.first, self.second, self.products, RISK)

    @property
    def rounds(self) -> bool:
        """Whether the sum is a floating-point one."""
        floats = "float" in (arithmetic(self.first), arithmetic(self.second))
        return floats and (self.accumulator is None or self.accumulator.is_float)


@lru_cache(maxsize=64)
def sums_of(network: Network, plan: Plan, mode: str) -> tuple[Sum, ...]:
    """The widest sum of every pass of every layer with MACs."""
    return tuple(_sums_of(network, plan, mode))


def _sums_of(network: Network, plan: Plan, mode: str) -> Iterator[Sum]:
    """Layers that are equal but for their names are looked at once."""
    known: dict[object, Sum] = {}
    cells = {operand: plan.cells(operand) for operand in OPERANDS}
    for index, layer in enumerate(network.layers):
        if not layer.has_macs:
            continue
        accumulator = max(formats_of(cells["accumulator"][index]), key=lambda form: form.element_bits, default=None)
        for pass_ in passes_of(layer, mode):
            first, second = (cells[seen_operand(operand)][index] for operand in roles_of(layer, pass_)[:2])
            key = (network.alike[index], pass_, first, second, accumulator)
            if key in known:
                yield known[key]._replace(where=f"{layer.name}.{pass_}")
                continue
            nest = max((nest for nest, _ in nests_of(layer, pass_, network.batch)), key=lambda nest: prod(nest.dims))
            length = prod(nest.dims[DIMS.index(dim)] for dim in REDUCED[nest.tensors[2]])
            known[key] = max(
                (
                    Sum(f"{layer.name}.{pass_}", _inside(length, layer.R * layer.S, a, b), a, b, accumulator)
                    for a, b in product(formats_of(first), formats_of(second))
                ),
                key=lambda found: found.needed_bits,
            )
            yield known[key]


def accumulator_notes(network: Network, hardware: Hardware, plans: Sequence[Plan], mode: str) -> tuple[str, ...]:
    """Sentences about accumulators that are narrower than the sums of a step, the worst sum of each kind."""
    return _notes(network, hardware, tuple(plans), mode)


@lru_cache(maxsize=64)
def _notes(network: Network, hardware: Hardware, plans: tuple[Plan, ...], mode: str) -> tuple[str, ...]:
    worst: dict[tuple[str, bool], Sum] = {}
    layers: dict[tuple[str, bool], set[str]] = {}
    wider: set[int] = set()
    for plan in plans:
        for found in sums_of(network, plan, mode):
            held = _held_bits(found, hardware)
            if found.accumulator is not None and found.accumulator.element_bits > hardware.pe.accumulator_bits:
                wider.add(found.accumulator.element_bits)
            if found.needed_bits <= held:
                continue
            name = hardware.name if found.accumulator is None else found.accumulator.name
            kind = (f"{held} bits ({name})", found.rounds)
            layers.setdefault(kind, set()).add(found.where)
            if kind not in worst or found.needed_bits > worst[kind].needed_bits:
                worst[kind] = found
    told = [_sentence(kind[0], found, len(layers[kind]), hardware) for kind, found in worst.items()]
    if wider:
        own = f"{hardware.name} has accumulators of {hardware.pe.accumulator_bits} bits"
        told.append(f"the plan's accumulators of {max(wider)} bits are charged, registers as wide; {own}")
    return tuple(told)


def _sentence(held: str, found: Sum, count: int, hardware: Hardware) -> str:
    more = f" and {count - 1} more" if count > 1 else ""
    if found.rounds:
        return (
            f"accumulators with {held.replace('bits', 'significant bits', 1)} round every product of {found.first} and "
            f"{found.second}, which has {found.needed_bits} ({found.where}{more})"
        )
    enough = _held_bits(found, hardware) >= found.likely_bits
    risk = f"{found.likely_bits} bits overflow with a probability of at most {RISK:g}" + (
        ", so these suffice at that risk" if enough else ""
    )
    return (
        f"accumulators of {held} are narrower than the sums: {found.products:,} products of {found.first} and "
        f"{found.second} need {found.needed_bits} bits ({found.where}{more}); {risk}"
    )


def _held_bits(found: Sum, hardware: Hardware) -> int:
    """Bits that the sum has, in the terms of :attr:`Sum.needed_bits`."""
    if found.accumulator is None:
        # Accumulators of floating-point elements are floats of unknown format.
        return found.needed_bits if found.rounds else hardware.pe.accumulator_bits
    return multiplier_bits(found.accumulator) if found.rounds else found.accumulator.element_bits


def _inside(length: int, window: int, *forms: Format) -> int:
    """Products of a sum of so many that share their scales."""
    blocks = [form.group[1] for form in forms if form.granularity == "group"]
    planes = [window for form in forms if form.granularity == "plane" and window > 1]
    return min([length, *blocks, *planes])


@lru_cache(maxsize=65536)
def _needed(first: Format, second: Format, products: int, risk: float) -> int:
    return accumulator_bits(first, second, products, risk)
