"""What no mapping undercuts: lower bounds on a job's energy and cycles on a design.

They hold for every mapping that suits the hardware, whatever its memories, and follow from what each mapping has to do:

1. *Each tensor once.* Every element of an input crosses from DRAM to the MACs at least once, every result the other way, over the
   cheapest chain of memories that the hardware allows.
2. *Accesses next to the MACs.* One access of an instance serves at most as many MACs as the axes that it is shared along have
   elements whose dims do not index the tensor. In time an operand stays where the innermost loop does not index it; every dim but G
   is irrelevant to exactly one tensor, so at most one of the two inputs stays, and each accumulation is written.
3. *Capacity.* Let all memories on the chip hold B bits, and cut the run of a job into stretches that move T bits over DRAM. In a
   stretch the inputs at hand take at most B bits (there at its start) plus what is read, the sums at most B bits (there at its
   end) plus what is written: together 2 B + T, as w, x and y elements of b_w, b_x and b_y bits. They meet in at most
   ``sqrt(r w x y)`` MACs (Loomis and Whitney, 1949, for each filter position; over positions and groups by Cauchy and Schwarz),
   where an element of X is used at no more than ``r = prod min(outputs, ceil(filter / stride))`` positions. So a stretch does at
   most ``F = sqrt(r (2 B + T)^3 / (27 b_w b_x b_y))`` MACs, and at least ``T floor(MACs / F)`` bits are moved: the argument of Hong
   and Kung (1981), for loop nests of any size Dinh and Demmel (arXiv 2003.00119), for convolutions Demmel and Dinh (arXiv
   1802.06905). The largest of a few T counts.
4. *Compute.* An axis takes at most its size in MACs; where a dim is the only one of an axis and has no other axis, its ceiling
   holds. Lanes take reduced dims only.

The bounds are not tight: what lies between a mapping and them is the most that a better mapping could save, not a saving that
exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from dse.cost.jobs.formats import Jobs, inserted_zeros, mac_pj, partial_bits, waiting
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.pe import pe_mode
from dse.mapping.best.unrolling import REDUCED
from dse.mapping.nest import RELEVANT, Nest
from dse.names import DIMS, ROLES
from dse.types import Floats, Ints

#: Dims that index X through a window: one element of X serves several of their values.
WINDOWED = ("XP", "XQ", "XR", "XS")
#: Bits moved in a stretch, in units of what the chip holds.
STRETCHES = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Floor:
    """(D, U) energy and cycles that no mapping of a job undercuts on a design."""

    energy_pj: Floats
    cycles: Floats


@dataclass(frozen=True)
class _Shape:
    """Of n nests on A arrays, whatever their formats.

    Attributes
    ----------
    elements
        (n, 3) different elements of the tensor of each role; of X those that windows touch at least (two sets of n and m
        integers have at least n + m - 1 different sums).
    macs, reuse
        (n,) and positions of the filter at which an element of X is used at most.
    served
        (A, n, 3, memories) MACs that one access of an instance serves at most.
    first
        (A, n, memories) first touches of sums at most, over all instances; without limit where windows overlap in sums.
    steps, apart
        (A, n) steps of the array at one lane, and those over the dims of the accumulated tensor, at least.
    """

    elements: Floats
    macs: Floats
    reuse: Floats
    served: Floats
    first: Floats
    steps: Floats
    apart: Floats


@lru_cache(maxsize=64)
def _shape(hardware: Hardware, sizes: tuple[tuple[int, ...], ...], nests: tuple[Nest, ...]) -> _Shape:
    dims = np.array([nest.dims for nest in nests], np.float64)
    n, g, k, c, p, q, r, s = dims.T
    of = {"W": g * k * c * r * s, "X": n * g * c * (p + r - 1) * (q + s - 1), "Y": n * g * k * p * q}
    elements = np.array([[of[t][u] for t in nest.tensors] for u, nest in enumerate(nests)])
    reuse = np.ones(len(nests))
    for side, (outputs, filters) in enumerate(((p, r), (q, s))):
        stride = np.array([nest.stride[side] // np.gcd(nest.stride[side], nest.dilation[side]) for nest in nests])
        reuse *= np.minimum(outputs, np.ceil(filters / stride))
    size = np.array(sizes, np.float64)
    served = np.ones((len(sizes), len(nests), len(ROLES), len(hardware.memories)))
    first = np.broadcast_to(elements[None, :, 2, None], (len(sizes), len(nests), len(hardware.memories))).copy()
    steps, apart = np.empty((len(sizes), len(nests))), np.empty((len(sizes), len(nests)))
    for u, nest in enumerate(nests):
        for m, memory in enumerate(hardware.memories):
            for a, axis in enumerate(hardware.axes):
                if axis.name not in memory.shared_along:
                    first[:, u, m] *= size[:, a]
                    continue
                for role, tensor in enumerate(nest.tensors):
                    able = [d for d in axis.dims[nest.pass_] if d not in RELEVANT[tensor] or tensor + d in WINDOWED]
                    served[:, u, role, m] *= np.minimum(size[:, a], _product(nest, able))
        if nest.tensors[2] == "X":
            first[:, u] = np.inf
        steps[:, u], apart[:, u] = _steps(hardware, size, nest)
    return _Shape(elements, dims.prod(axis=1), reuse, served, first, steps, apart)


def _product(nest: Nest, dims: Iterable[str]) -> float:
    """Product of some bounds."""
    return float(np.prod([float(nest.dims[DIMS.index(d)]) for d in dims]))


def _steps(hardware: Hardware, size: Floats, nest: Nest) -> tuple[Floats, Floats]:
    """(A,) steps of the array at one lane, and those over the dims of the accumulated tensor, at least."""
    whole, other = np.ones(len(size)), np.ones(len(size))
    reduced = REDUCED[nest.tensors[2]]
    for a, axis in enumerate(hardware.axes):
        dims = axis.dims[nest.pass_]
        fits = np.minimum(size[:, a], _product(nest, dims))
        elsewhere = {d for b in hardware.axes if b is not axis for d in b.dims[nest.pass_]}
        if len(dims) == 1 and dims[0] not in elsewhere:
            bound = _product(nest, dims)
            fits = bound / np.ceil(bound / fits)
        whole *= fits
        other *= np.minimum(size[:, a], _product(nest, [d for d in dims if d not in reduced]))
    return _product(nest, DIMS) / whole, np.maximum(_product(nest, [d for d in DIMS if d not in reduced]) / other, 1.0)


def mapping_floor(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs) -> Floor:
    """Lower bounds of every job on every design, feasible or not; of a job that may run in two orders the lower one."""
    found = _floor(hardware, arrays, jobs)
    other = np.flatnonzero(jobs.gathered >= 0)
    if not len(other):
        return found
    columns = {name: value[other] for name, value in vars(jobs).items() if name != "nests"}
    twins = _floor(hardware, arrays, Jobs(nests=jobs.nests, **{**columns, "nest": jobs.gathered[other]}))
    energy, cycles = found.energy_pj.copy(), found.cycles.copy()
    energy[:, other] = np.minimum(energy[:, other], twins.energy_pj)
    cycles[:, other] = np.minimum(cycles[:, other], twins.cycles)
    return Floor(energy, cycles)


def _floor(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs) -> Floor:
    """Lower bounds in the order of each job's own nest."""
    sizes, member = np.unique(arrays.axis_size, axis=0, return_inverse=True)
    shape = _shape(hardware, tuple(tuple(row) for row in sizes.tolist()), jobs.nests)
    at = np.ix_(member.reshape(-1), jobs.nest)
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    every = np.arange(len(jobs.nest))
    run = np.array([inserted_zeros(hardware, nest) for nest in jobs.nests])[jobs.nest] * jobs.kept
    weight = waiting(hardware.pe, jobs, every, mode) * mode.step_cycles
    steps = np.maximum(shape.steps[at][:, :, None] / mode.lanes, shape.apart[at][:, :, None])
    compute = (weight * steps).sum(axis=2) * run
    moved = _once(hardware, jobs, shape)
    once = (moved * np.column_stack([jobs.dram_bits, jobs.stored_bits[:, 2]])).sum(axis=1)
    through = np.maximum(once, _by_capacity(hardware, arrays, jobs, shape))
    dram = through / (arrays.bandwidth_bits_per_cycle[:, -1:] * arrays.instances[:, -1:])
    cycles = np.maximum(compute, dram) if hardware.overlap else compute + dram
    price = np.minimum(arrays.read_pj_per_bit[:, -1:], arrays.write_pj_per_bit[:, -1:])
    sums = (jobs.shares / mode.lanes).sum(axis=1) * jobs.kept * partial_bits(hardware, jobs)
    links = [_links(hardware, arrays, jobs, shape, at, moved, sums, whole) for whole in (True, False)]
    energy = np.maximum(links[0], links[1] + through * price)
    each = mac_pj(hardware, arrays.node_nm, jobs, every) * arrays.element_scale[:, None]
    leak = (arrays.leakage_w / arrays.clock_hz * 1e12)[:, None]
    return Floor(each * (shape.macs[jobs.nest] * run) + energy + leak * cycles, cycles)


def _once(hardware: Hardware, jobs: Jobs, shape: _Shape) -> Floats:
    """(U, 3) elements over DRAM if each tensor moves once; weights that stay from run to run share one fill."""
    moved = shape.elements[jobs.nest]
    moved[:, 0] /= jobs.runs
    for r, role in enumerate(ROLES[:2]):
        # what goes to the MACs directly leaves out what a causal mask makes zero
        if hardware.bypass or not any(role in memory.roles for memory in hardware.memories[:-1]):
            moved[:, r] *= jobs.kept
    return moved


def _by_capacity(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, shape: _Shape) -> Floats:
    """(D, U) bits that any schedule moves over DRAM, the chip being as small as it is; 0 where a memory has no size."""
    held = (arrays.size_bits * arrays.instances)[:, :-1].sum(axis=1)[:, None]
    sums = np.minimum(jobs.stored_bits[:, 2], partial_bits(hardware, jobs))
    narrow = np.minimum(jobs.stored_bits[:, :2], jobs.dram_bits).prod(axis=1) * sums
    macs, reuse = shape.macs[jobs.nest] * jobs.kept, shape.reuse[jobs.nest]
    best = np.zeros((len(held), len(macs)))
    if not np.isfinite(held).all():
        return best
    for share in STRETCHES:
        stretch = share * held
        # What costs nothing in DRAM sets no limit.
        with np.errstate(divide="ignore"):
            most = np.sqrt(reuse * (2.0 * held + stretch) ** 3 / (27.0 * narrow))
        best = np.maximum(best, stretch * np.floor(macs / np.maximum(most, 1.0)))
    return best


def _links(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, shape: _Shape, at: tuple[Ints, ...], moved: Floats, sums: Floats,
    with_dram: bool,
) -> Floats:  # fmt: skip
    """(D, U) energy of all memories, DRAM's own with them or not: each role over its cheapest innermost memory.

    ``sums`` are the bits that a MAC adds to sums, in the mean.
    """
    read, write = arrays.read_pj_per_bit.copy(), arrays.write_pj_per_bit.copy()
    if not with_dram:
        read[:, -1] = write[:, -1] = 0.0
    last = len(hardware.memories) - 1
    macs, served, first = shape.macs[jobs.nest], shape.served[at], shape.first[at]
    stays, each = [], []
    for r, role in enumerate(ROLES):
        held = [m for m, memory in enumerate(hardware.memories[:-1]) if role in memory.roles]
        some, all_ = [], []
        for m in [*held, last] if hardware.bypass or not held else held[:1]:
            link = _from_dram(hardware, arrays, jobs, r, m, held, (read, write)) * moved[:, r] if m != last else 0.0
            accesses = macs / served[:, :, r, m]
            if r < 2:
                bits = (jobs.dram_bits if m == last else jobs.stored_bits)[:, r] * jobs.kept * read[:, m, None]
                least = shape.elements[jobs.nest, r]
                some.append(link + least * bits)
                all_.append(link + np.maximum(accesses, least) * bits)
            else:
                # whole numbers after rounding
                accesses = np.maximum(accesses - 1.0, 0.0)
                again = np.maximum(accesses - first[:, :, m], 0.0)
                all_.append(link + sums * (accesses * write[:, m, None] + again * read[:, m, None]))
        each.append(reduce(np.minimum, all_))
        stays.append(reduce(np.minimum, some or all_))
    return np.asarray(np.minimum(stays[0] + each[1], each[0] + stays[1]) + each[2])


def _from_dram(
    hardware: Hardware,
    arrays: HardwareArrays,
    jobs: Jobs,
    r: int,
    m: int,
    held: list[int],
    prices: tuple[Floats, Floats],
) -> Floats:
    """(D, U) energy of one element of a role on its way between DRAM and a memory; what may be passed by is free."""
    read, write = prices
    into, out = (write, read) if r < 2 else (read, write)
    between = [] if hardware.bypass else [x for x in held if x != m]
    through = into[:, m] + sum((read[:, x] + write[:, x] for x in between), np.zeros(len(read)))
    far = jobs.dram_bits[:, r] if r < 2 else jobs.stored_bits[:, 2]
    near = jobs.stored_bits[:, r] if r < 2 else np.minimum(jobs.stored_bits[:, 2], partial_bits(hardware, jobs))
    return np.asarray(through[:, None] * near + out[:, -1:] * far)
