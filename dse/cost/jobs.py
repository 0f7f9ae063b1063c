"""Jobs: the distinct (loop nest, pass, operand formats) whose cost has to be known, and their cost on many designs.

A network repeats shapes and a search repeats widths, so the cost of everything is a gather from a small matrix
``(design, job)``. This module is where counts (from :mod:`dse.mapping`) and prices (from :mod:`dse.hardware`) meet:

``energy = MACs * energy per MAC + sum over transfers of elements * bits per element * price per bit + leakage * cycles``
``cycles = slowest of compute and of every memory's traffic over its bandwidth`` (their sum where ``overlap`` is false)

(DESIGN 4.4 and 4.5). The mapping is the best of all candidates for each (design, job) by the chosen objective.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dse.hardware.arrays import HardwareArrays
from dse.hardware.elements import element_family
from dse.hardware.model import ARITHMETIC, Hardware, Memory, ProcessingElement
from dse.hardware.pe import Mode, mac_energy_pj, pe_mode, waiting_shares
from dse.hardware.takes import element_in_words, multiplies, operands_in_words
from dse.mapping.best.candidates import Options
from dse.mapping.best.engine import Points, Scores, Table, build_table, score
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import ROLES, ArrayShape, Axis, Nest, Storage
from dse.precision.formats.properties import Format, arithmetic, element_exponent_bits, multiplier_bits, parse_format

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Energy components of a job beside one per memory.
MAC_COMPONENT = "mac"
LEAK_COMPONENT = "leakage"

#: Tile vectors per direction (N P Q, K, C R S) and spatial unrollings that the mapper enumerates per nest.
MAX_TILES = (8, 5, 6)
MAX_UNROLLINGS = 1
#: Formats that a message names where an element takes them, and how many of them.
_EXAMPLES = (
    *("int16", "int8", "int4", "int2", "mxint8", "fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"),
    *("mxfp8_e4m3", "mxfp4_e2m1", "mls_e2m4", "mls_e2m1"),
)
MOST_EXAMPLES = 7


@dataclass(frozen=True)
class Jobs:
    """Distinct costs to compute; U jobs with Q pairs of widths each (1, but for block-wise precision).

    Attributes
    ----------
    nests
        The distinct loop nests with their passes.
    nest
        (U,) index into ``nests``.
    stored_bits
        (U, 3) bits per element of the operand in the weight role, in the activation role, and of the finished result; of a
        block-wise tensor the mean over its blocks, with their map.
    multiplier_bits
        (U, Q, 2) integer widths that the multiplier sees in the two roles.
    arithmetic, exponent_bits
        (U, Q, 2) place of what multiplies the elements in :data:`dse.hardware.model.ARITHMETIC`, and the exponent that they carry.
    shares
        (U, Q) share of the MACs that run at each pair; rows sum to 1.
    run_elements
        (U,) elements along the reduction that surely have one width: of a block of the map; 0 without a map.
    kept
        (U,) share of the MACs that run: below 1 where the hardware leaves out what a causal mask makes zero. Their steps, energy
        and accesses next to the MACs shrink by it; tiles and their traffic stay those of the whole product.
    accumulator_bits
        (U,) width of a partial sum that the plan asks for; 0: the hardware's own. See :func:`partial_bits`.
    dram_bits
        (U, 2) bits per element of the operands in the two roles where they lie in DRAM: other than on the chip where what is read
        is a result in a format of its own, which is converted at the memory port.
    runs
        (U,) how often the job runs with the same weights, once after the other: time steps of a recurrent layer; else 1.
    beside_bits
        (U,) weights of other layers that run in turns with the job and stay on the chip beside its own (:mod:`dse.cost.resident`).
    """

    nests: tuple[Nest, ...]
    nest: Ints
    stored_bits: Floats
    multiplier_bits: Ints
    arithmetic: Ints
    exponent_bits: Ints
    shares: Floats
    run_elements: Ints
    kept: Floats
    accumulator_bits: Floats
    dram_bits: Floats
    runs: Floats
    beside_bits: Floats


def partial_bits(hardware: Hardware, jobs: Jobs) -> Floats:
    """(U,) bits of a partial sum in registers, buffers and traffic: the plan's accumulator, else the hardware's."""
    asked = jobs.accumulator_bits
    return np.where(asked > 0, asked, float(hardware.pe.accumulator_bits)).astype(np.float64)


@dataclass(frozen=True)
class JobCosts:
    """Cost of U jobs on D designs.

    Attributes
    ----------
    energy_pj, cycles
        (D, U); infinite where no mapping fits or the processing element lacks the widths.
    components_pj
        (D, U, components): MACs, each memory, leakage; names in ``components``.
    bound
        (D, U) what the time follows: 0 compute, 1 + m memory m; -1 where infeasible.
    limit
        (D, U) why a job is infeasible, a sentence, "" if it is not; object array of str.
    traffic_bits
        (D, U, memories) bits read and written at each memory.
    candidate
        (D, U) the best mapping, as its place in the nest's table of candidates; -1 where infeasible.
    mappings
        The best mapping by (design, job) where there is no table of candidates (:mod:`dse.cost.deep_jobs`).
    """

    energy_pj: Floats
    cycles: Floats
    components: tuple[str, ...]
    components_pj: Floats
    bound: Ints
    limit: npt.NDArray[np.object_]
    traffic_bits: Floats
    candidate: Ints
    mappings: dict[tuple[int, int], Mapping] = field(default_factory=dict)

    def failed(self, jobs: Ints | None = None) -> npt.NDArray[np.object_]:
        """(D,) why some of the jobs (or of all) are infeasible, the first reason; "" if none is."""
        limits = self.limit if jobs is None else self.limit[:, jobs]
        wrong = limits != ""
        first = limits[np.arange(len(limits)), wrong.argmax(axis=1)] if limits.shape[1] else np.full(len(limits), "")
        return np.where(wrong.any(axis=1), first, "").astype(object)


def role_memories(hardware: Hardware, role: str) -> tuple[int | None, int | None, int]:
    """Indices of the memories that hold a role: private to a part of the array, shared by all of it, and DRAM.

    Raises
    ------
    ValueError
        A role with more than one private or more than one shared on-chip memory (the loader refuses such files).
    """
    names = {axis.name for axis in hardware.axes}
    chip = [m for m, memory in enumerate(hardware.memories[:-1]) if role in memory.roles]
    inner = [m for m in chip if not names <= set(hardware.memories[m].shared_along)]
    outer = [m for m in chip if names <= set(hardware.memories[m].shared_along)]
    if len(inner) > 1 or len(outer) > 1:
        raise ValueError(f"{hardware.name}: role {role} has more than one private or shared memory on the chip")
    return (inner[0] if inner else None, outer[0] if outer else None, len(hardware.memories) - 1)


def is_deep(hardware: Hardware) -> bool:
    """Whether a role lies in more than one private or more than one shared memory on the chip."""
    names = {axis.name for axis in hardware.axes}
    for role in ROLES:
        shared = [names <= set(memory.shared_along) for memory in hardware.memories[:-1] if role in memory.roles]
        if sum(shared) > 1 or len(shared) - sum(shared) > 1:
            return True
    return False


def array_shape(hardware: Hardware, axis_size: Sequence[int] | Ints, pass_: str) -> ArrayShape:
    """What the mapper needs to know of a design in a pass: axes and on-chip memories without sizes and prices."""
    axes = tuple(
        Axis(axis.name, int(size), axis.dims[pass_], axis.flatten)
        for axis, size in zip(hardware.axes, axis_size, strict=True)
    )
    storages = tuple(Storage(memory.name, memory.roles, memory.shared_along) for memory in hardware.memories[:-1])
    return ArrayShape(axes, storages)


def cost_jobs(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp") -> JobCosts:
    """Cost of every job on every design, each under its best mapping.

    Parameters
    ----------
    arrays
        D designs, all of the same hardware file.
    objective
        What the mapping is chosen by: ``energy``, ``latency`` or ``edp``.
    """
    designs, count = len(arrays), len(jobs.nest)
    components = (MAC_COMPONENT, *(memory.name for memory in hardware.memories), LEAK_COMPONENT)
    costs = JobCosts(
        energy_pj=np.full((designs, count), np.inf),
        cycles=np.full((designs, count), np.inf),
        components=components,
        components_pj=np.zeros((designs, count, len(components))),
        bound=np.full((designs, count), -1, np.int64),
        limit=np.full((designs, count), "", dtype=object),
        traffic_bits=np.zeros((designs, count, len(hardware.memories))),
        candidate=np.full((designs, count), -1, np.int64),
    )
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    usable = ~_unsupported(hardware, jobs).any(axis=1)
    for job in np.flatnonzero(~usable):
        costs.limit[:, job] = unusable(hardware, jobs, np.array([job]))
    used = [n for n in range(len(jobs.nests)) if ((jobs.nest == n) & usable).any()]
    groups, member = np.unique(arrays.axis_size, axis=0, return_inverse=True)
    for g, sizes in enumerate(groups):
        rows = np.flatnonzero(member.reshape(-1) == g)
        nests = [jobs.nests[n] for n in used]
        tables = _tables(hardware, sizes, nests, table_options(hardware, jobs))
        for n, table in zip(used, tables, strict=True):
            wanted = np.flatnonzero((jobs.nest == n) & usable)
            points, prices = _points(hardware, arrays, rows, jobs, wanted, mode, table)
            found = score(table, points, objective, hardware.overlap)
            _store(costs, hardware, table, points, prices, found, rows, wanted)
    return costs


def _tables(hardware: Hardware, sizes: Ints, nests: Sequence[Nest], options: Options) -> list[Table]:
    """Tables of nests on one array; the enumeration lets other threads run, so new ones are built side by side."""
    shapes = {pass_: array_shape(hardware, sizes, pass_) for pass_ in {nest.pass_ for nest in nests}}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda nest: build_table(nest, shapes[nest.pass_], options=options), nests))


def table_options(hardware: Hardware, jobs: Jobs | None = None) -> Options:
    """What the mapper enumerates for a hardware: tiles up to the largest capacity in its space, thinned tile sizes.

    They depend on the space and not on the design, so that all its designs share their tables. A register holds one operand per
    word of the full width, an SRAM packs operands down to 2 bits. The thinning (:data:`MAX_TILES`) is what keeps a cold start
    short; ``benchmarks/mapping.py`` measures what a finer enumeration gains. Plans whose accumulators are narrower than the
    hardware's fit larger tiles of sums and have tables of their own.
    """
    own = float(hardware.pe.accumulator_bits)
    sums = own if jobs is None else float(partial_bits(hardware, jobs).min(initial=own))
    largest = {**hardware.largest, **{parameter.name: max(parameter.values) for parameter in hardware.space}}
    elements = []
    for memory in hardware.memories[:-1]:
        size = max(memory.size_bits, largest.get(f"memories.{memory.name}.size_bits", 0.0))
        elements.append(float(2 ** np.ceil(np.log2(max(size / narrowest(hardware, memory, sums), 1.0)))))
    return Options(
        max_elements=tuple(elements),
        max_tiles=MAX_TILES,
        max_unrollings=MAX_UNROLLINGS,
        stationary=hardware.stationary,
        sizes=hardware.tiles,
    )


def kept_bits(hardware: Hardware, memory: int, role: str, jobs: Jobs, wanted: Ints) -> Floats:
    """(wanted,) bits that an element of a role takes in a memory; a register holds one element per word.

    Narrower sums leave bits of their register unused; wider ones than the hardware's have registers of as many words, as wide as
    the plan asks.
    """
    entry = hardware.memories[memory]
    if role == "accumulator":
        if entry.kind == "register":
            return np.full(len(wanted), float(hardware.pe.accumulator_bits))
        return np.asarray(partial_bits(hardware, jobs)[wanted])
    word = narrowest(hardware, entry, 0.0) if entry.kind == "register" else 0.0
    return np.asarray(np.maximum(jobs.stored_bits[wanted, ROLES.index(role)], word))


def narrowest(hardware: Hardware, memory: Memory, sum_bits: float) -> float:
    """Bits of the narrowest word of a memory, where partial sums take ``sum_bits``."""
    if memory.roles == ("accumulator",):
        return float(hardware.pe.accumulator_bits) if memory.kind == "register" else sum_bits
    if memory.kind == "register":
        return float(min(hardware.pe.max_weight_bits, hardware.pe.max_activation_bits))
    return 2.0


def _unsupported(hardware: Hardware, jobs: Jobs) -> npt.NDArray[np.bool_]:
    """(U, Q) pairs of widths that a job needs and the processing element lacks."""
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    takes = multiplies(hardware.pe, jobs.multiplier_bits, jobs.arithmetic, jobs.exponent_bits)
    return np.asarray((jobs.shares > 0) & ~(mode.supported & takes))


def unusable(hardware: Hardware, jobs: Jobs, wanted: Ints) -> str:
    """Which operands of some jobs the processing element does not multiply, one sentence; "" if it multiplies all."""
    wrong = _unsupported(hardware, jobs)[wanted]
    if not wrong.any():
        return ""
    u, q = np.argwhere(wrong)[0]
    job = wanted[u]
    asked = operands_in_words(jobs.multiplier_bits[job, q], jobs.arithmetic[job, q], jobs.exponent_bits[job, q])
    takes = ", ".join([name for name in _EXAMPLES if takes_format(hardware.pe, parse_format(name))][:MOST_EXAMPLES])
    return (
        f"processing element: {hardware.name} does not multiply {asked}; its {hardware.pe.family} elements multiply "
        f"{element_in_words(hardware.pe)}" + (f" (such as {takes})" if takes else "")
    )


def takes_format(pe: ProcessingElement, form: Format) -> bool:
    """Whether an element multiplies two operands of a format."""
    bits = multiplier_bits(form)
    kind = ARITHMETIC.index(arithmetic(form))
    each = (np.full(2, bits), np.full(2, kind), np.full(2, element_exponent_bits(form)))
    return bool(pe_mode(pe, bits, bits).supported & multiplies(pe, *each))


@dataclass(frozen=True)
class _Prices:
    """What the winning candidate's counts are multiplied with afterwards, by point and column."""

    column_memory: Ints
    column_bits: Floats
    mac_pj: Floats
    leak_pj_per_cycle: Floats


def _points(
    hardware: Hardware,
    arrays: HardwareArrays,
    rows: Ints,
    jobs: Jobs,
    wanted: Ints,
    mode: Mode,
    table: Table,
) -> tuple[Points, _Prices]:
    """Linear forms of a table's columns for every (design, job): designs vary slowest."""
    d, u = len(rows), len(wanted)
    memories = len(hardware.memories)
    stored = jobs.stored_bits[wanted]
    partial = partial_bits(hardware, jobs)[wanted]
    memory = np.empty(len(table.columns), np.int64)
    write = np.empty(len(table.columns), bool)
    bits = np.empty((u, len(table.columns)))
    pairs = jobs.shares[wanted]
    lanes = mode.lanes[wanted].astype(np.float64)
    shares = np.ones((u, len(table.columns)))
    for c, (role, link, kind) in enumerate(table.columns):
        child, parent = _ends(hardware, role, link)
        memory[c] = child if kind.endswith(("child_writes", "child_reads")) else parent
        write[c] = kind.endswith("writes")
        if role != "accumulator":
            held = jobs.dram_bits[wanted] if memory[c] == memories - 1 else stored
            bits[:, c] = held[:, ROLES.index(role)]
        elif "final" in kind and parent == memories - 1:
            bits[:, c] = stored[:, 2]
        else:
            bits[:, c] = partial
        if role == "accumulator" and link == "mac":
            # Lanes of one element add their products before the register sees them.
            shares[:, c] = (pairs / lanes).sum(axis=1)
        if link == "mac":
            shares[:, c] *= jobs.kept[wanted]
    bits = bits * shares
    price = np.where(write, arrays.write_pj_per_bit[rows][:, memory], arrays.read_pj_per_bit[rows][:, memory])
    energy = (price[:, None, :] * bits[None]).reshape(d * u, -1)
    width = arrays.bandwidth_bits_per_cycle[rows] * arrays.instances[rows]
    cycles = np.zeros((d, u, memories, len(table.columns)))
    for c, m in enumerate(memory):
        cycles[:, :, m, c] = bits[None, :, c] / width[:, None, m]
    run = inserted_zeros(hardware, table.nest) * jobs.kept[wanted]
    per_mac = mac_pj(hardware, arrays.node_nm[rows], jobs, wanted) * arrays.element_scale[rows][:, None]
    mac_energy = (np.broadcast_to(per_mac, (d, u)) * (table.macs * run)).reshape(-1)
    leak = np.repeat(arrays.leakage_w[rows] / arrays.clock_hz[rows] * 1e12, u)
    slot_memory = np.array([slot.storage for slot in table.slots], np.int64)
    slot_bits = (
        np.array([kept_bits(hardware, slot.storage, slot.role, jobs, wanted) for slot in table.slots]).reshape(-1, u).T
    )
    points = Points(
        energy_per_column=energy,
        base_energy=mac_energy,
        step_cycles=np.tile(waiting(hardware.pe, jobs, wanted, mode) * mode.step_cycles[wanted] * run[:, None], (d, 1)),
        lanes=np.tile(lanes, (d, 1)),
        cycles_per_element=cycles.reshape(d * u, memories, -1),
        bits_per_slot=np.tile(slot_bits, (d, 1)),
        capacity_bits=np.repeat(arrays.size_bits[rows][:, : memories - 1], u, axis=0),
        slot_memory=slot_memory,
        energy_per_cycle=leak,
    )
    return points, _Prices(memory, np.tile(bits, (d, 1)), mac_energy, leak)


def inserted_zeros(hardware: Hardware, nest: Nest) -> float:
    """How often a backward pass takes its steps and MACs: a stride's zeros are multiplied where nothing skips them."""
    return 1.0 if hardware.zero_skip or nest.pass_ == "forward" else float(nest.stride[0] * nest.stride[1])


def mac_pj(hardware: Hardware, node_nm: Floats, jobs: Jobs, wanted: Ints) -> Floats:
    """(designs, jobs) energy of a MAC, the mean over a job's pairs of widths."""
    pairs = jobs.shares[wanted]
    each = mac_energy_pj(
        hardware.pe,
        jobs.multiplier_bits[wanted, :, 0][None],
        jobs.multiplier_bits[wanted, :, 1][None],
        partial_bits(hardware, jobs)[None, wanted, None],
        node_nm[:, None, None],
    )
    return np.asarray(np.where(pairs > 0, each * pairs, 0.0).sum(axis=-1))


def waiting(pe: ProcessingElement, jobs: Jobs, wanted: Ints, mode: Mode) -> Floats:
    """(jobs, pairs) share of the steps that take as long as each pair of widths does.

    A bit-serial element adds ``pe.block`` products in one tree, so that all wait for the slowest: of n independent blocks of the
    map among them the slowest decides. The other families take blocks of one width pair together, which an order of the blocks
    can always give them.
    """
    shares = jobs.shares[wanted]
    if not element_family(pe.family).waits or shares.shape[1] == 1:
        return shares
    run = jobs.run_elements[wanted]
    blocks = np.where(run > 0, -(-pe.block // np.maximum(run, 1)), 1)
    return waiting_shares(mode.step_cycles[wanted], shares, blocks)


def _ends(hardware: Hardware, role: str, link: str) -> tuple[int, int]:
    """Memories at the inner and at the outer end of a link; the inner end of ``mac`` is no memory (-1)."""
    inner, outer, dram = role_memories(hardware, role)
    chain = [memory for memory in (inner, outer, dram) if memory is not None]
    if link == "mac":
        return -1, chain[0]
    child = inner if link == "inner" else outer
    assert child is not None
    return child, chain[chain.index(child) + 1]


def _store(
    costs: JobCosts,
    hardware: Hardware,
    table: Table,
    points: Points,
    prices: _Prices,
    found: Scores,
    rows: Ints,
    wanted: Ints,
) -> None:
    """Spread the winners of a table over the (design, job) matrices."""
    shape = (len(rows), len(wanted))
    at = np.ix_(rows, wanted)
    fits = found.index >= 0
    costs.energy_pj[at] = found.energy_pj.reshape(shape)
    costs.cycles[at] = found.cycles.reshape(shape)
    costs.bound[at] = np.where(fits, found.bound + 1, -1).reshape(shape)
    costs.candidate[at] = found.index.reshape(shape)
    moved = table.counts[:, np.where(fits, found.index, 0)].T
    energy = moved * points.energy_per_column
    bits = moved * prices.column_bits
    memories = len(hardware.memories)
    parts = np.zeros((len(moved), memories + 2))
    traffic = np.zeros((len(moved), memories))
    parts[:, 0] = prices.mac_pj
    for c, m in enumerate(prices.column_memory):
        parts[:, 1 + m] += energy[:, c]
        traffic[:, m] += bits[:, c]
    parts[:, -1] = np.where(fits, found.cycles, 0.0) * prices.leak_pj_per_cycle
    costs.components_pj[at] = parts.reshape(*shape, -1)
    costs.traffic_bits[at] = traffic.reshape(*shape, -1)
    for row, job in np.argwhere(~fits.reshape(shape)):
        point = row * shape[1] + job
        memory = hardware.memories[int(found.short_memory[point])]
        costs.limit[rows[row], wanted[job]] = (
            f"{memory.name}: no tile of a {table.nest.pass_} pass fits; {found.short_bits[point]:.0f} bits are missing"
        )
