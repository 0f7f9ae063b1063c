"""The cost of jobs on many designs, each under its best mapping.

This module is where counts (from :mod:`dse.mapping`) and prices (from :mod:`dse.hardware`) meet:

``energy = MACs * energy per MAC + sum over transfers of elements * bits per element * price per bit + leakage * cycles``
``cycles = slowest of compute and of every memory's traffic over its bandwidth`` (their sum where ``overlap`` is false)

(docs/model.md, Time; Energy and area). Tables of mappings are searched once per nest and array
(:mod:`dse.mapping.best.tables.table`) and looked up for every (design, job).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dse.cost.jobs.formats import (
    Jobs,
    inserted_zeros,
    kept_bits,
    mac_pj,
    unsupported,
    unusable,
    waiting,
)
from dse.cost.jobs.points import Span, anchors, point_bits, spans_of
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware, kind_of
from dse.hardware.pe import pe_mode
from dse.mapping.best.space import Options, slots_of
from dse.mapping.best.tables.cache import build_tables, recall, remember
from dse.mapping.best.tables.score import look_up
from dse.mapping.best.tables.score_kernel import Best, Designs, Formats
from dse.mapping.best.tables.table import Table
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage
from dse.names import ROLES
from dse.types import Bools, Floats, Ints

#: Energy components of a job beside one per memory.
MAC_COMPONENT = "mac"
LEAK_COMPONENT = "leakage"


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
        (D, U) the best mapping, as its row in the nest's table; -1 where infeasible.
    nest
        (D, U) the nest that a job runs, as its place among those of the jobs.
    left
        (D, U) trips left outside of the row's elastic growth.
    mappings
        The best mapping by (design, job) where it was searched for the design alone (:mod:`dse.cost.mapped.deep_jobs`).
    """

    energy_pj: Floats
    cycles: Floats
    components: tuple[str, ...]
    components_pj: Floats
    bound: Ints
    limit: npt.NDArray[np.object_]
    traffic_bits: Floats
    candidate: Ints
    left: Ints
    nest: Ints
    mappings: dict[tuple[int, int], Mapping] = field(default_factory=dict)

    def failed(self, jobs: Ints | None = None) -> npt.NDArray[np.object_]:
        """(D,) why some of the jobs (or of all) are infeasible, the first reason; "" if none is."""
        limits = self.limit if jobs is None else self.limit[:, jobs]
        wrong = limits != ""
        first = limits[np.arange(len(limits)), wrong.argmax(axis=1)] if limits.shape[1] else np.full(len(limits), "")
        return np.where(wrong.any(axis=1), first, "").astype(object)


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
    return ArrayShape(axes, storages, hardware.lanes_on_axes)


def cost_jobs(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp", asked: Bools | None = None
) -> JobCosts:
    """Cost of every job on every design, each under its best mapping and in the order of its own nest.

    Parameters
    ----------
    arrays
        D designs, all of the same hardware file.
    objective
        What the mapping is chosen by: ``energy``, ``latency`` or ``edp``.
    asked
        (D, U) what is looked up; the rest stays as if it were infeasible, with no reason. None: all.
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
        left=np.ones((designs, count), np.int64),
        nest=np.tile(jobs.nest, (designs, 1)),
    )
    usable = ~unsupported(hardware, jobs).any(axis=1)
    for job in np.flatnonzero(~usable):
        costs.limit[:, job] = unusable(hardware, jobs, np.array([job]))
    wanted = np.flatnonzero(usable)
    if not len(wanted):
        return costs
    nest_spans = list(zip(jobs.nest[wanted].tolist(), spans_of(hardware, jobs, wanted), strict=True))
    used = {pair: place for place, pair in enumerate(sorted(set(nest_spans)))}
    nests, spans = [jobs.nests[n] for n, _ in used], [span for _, span in used]
    formats = _formats(hardware, jobs, wanted, np.array([used[pair] for pair in nest_spans], np.int64))
    groups, member = np.unique(arrays.axis_size, axis=0, return_inverse=True)
    for g, sizes in enumerate(groups):
        rows = np.flatnonzero(member.reshape(-1) == g)
        tables = tables_of(hardware, sizes, nests, spans)
        given = _designs(hardware, arrays, rows, jobs, wanted)
        here = None if asked is None else asked[np.ix_(rows, wanted)]
        found = look_up(tables, formats, given, objective, hardware.overlap, here)
        _store(costs, hardware, jobs, rows, wanted, given, found, here)
    return costs


def mapper_options(hardware: Hardware, nest: Nest) -> Options:
    """What a hardware's mapper may not choose for a nest; of rules about one thing the last one holds."""
    wired = () if hardware.bypass else hardware.memories[:-1]
    held = [(memory.name, role) for memory in wired for role in memory.roles]
    rules = [rule for rule in hardware.rules if rule.holds(nest.pass_, kind_of(nest.dims))]
    named = {
        key: {rule.name: rule.values for rule in rules if rule.key == key} for key in ("stationary", "tiles", "unroll")
    }
    tiles = dict(hardware.tiles) | {dim: tuple(map(int, sizes)) for dim, sizes in named["tiles"].items()}
    axes = {axis.name: axis.dims[nest.pass_] for axis in hardware.axes}
    unroll = tuple((axis, tuple(d for d in axes[axis] if d in dims)) for axis, dims in named["unroll"].items())
    places = {key: [(r.name, role) for r in rules if r.key == key for role in r.values] for key in ("keep", "bypass")}
    stationary = named["stationary"].get("", (hardware.stationary,))[0]
    return Options(stationary, tuple(tiles.items()), (*held, *places["keep"]), tuple(places["bypass"]), unroll)


def restricted(shape: ArrayShape, options: Options) -> ArrayShape:
    """What is left of an array under a mapper's options: dims of axes, and roles of memories that are not passed by."""
    unroll = dict(options.unroll)
    axes = tuple(replace(axis, dims=unroll.get(axis.name, axis.dims)) for axis in shape.axes)
    passed = set(options.bypassed)
    storages = tuple(
        replace(storage, roles=tuple(role for role in storage.roles if (storage.name, role) not in passed))
        for storage in shape.storages
    )
    return replace(shape, axes=axes, storages=storages)


def tables_of(hardware: Hardware, axis_size: Ints, nests: Sequence[Nest], spans: Sequence[Span]) -> list[Table]:
    """Tables of nests on one array, each for jobs of a span; new ones are searched side by side."""
    sizes = np.asarray(axis_size, np.int64)
    common = (hardware.identity, tuple(sizes.tolist()))
    asked = [(common, nest, span) for nest, span in zip(nests, spans, strict=True)]
    new = [question for question in dict.fromkeys(asked) if recall(question) is None]
    if new:
        shapes = {pass_: array_shape(hardware, sizes, pass_) for pass_ in {nest.pass_ for _, nest, _ in new}}
        searched = {
            (pass_, span): anchors(hardware, sizes, pass_, slots_of(shapes[pass_]), span)
            for pass_, span in {(nest.pass_, span) for _, nest, span in new}
        }
        points = [(nest, searched[nest.pass_, span]) for _, nest, span in new]
        found = build_tables(
            [
                (nest, shapes[nest.pass_], at.of(hardware, nest), at.effort, mapper_options(hardware, nest))
                for nest, at in points
            ]
        )
        for question, table in zip(new, found, strict=True):
            remember(question, table)
    return [known for question in asked if (known := recall(question)) is not None]


def table_mapping(
    hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, costs: JobCosts, job: int, design: int = 0
) -> Mapping:
    """The mapping that a feasible job of :func:`cost_jobs` runs under on a design."""
    nest = jobs.nests[int(costs.nest[design, job])]
    (table,) = tables_of(hardware, arrays.axis_size[design], [nest], spans_of(hardware, jobs, np.array([job])))
    return table.explicit(int(costs.candidate[design, job]), int(costs.left[design, job]))


def _formats(hardware: Hardware, jobs: Jobs, wanted: Ints, table_of: Ints) -> Formats:
    """What the lookup needs to know of jobs."""
    storages = tuple(Storage(memory.name, memory.roles, memory.shared_along) for memory in hardware.memories[:-1])
    slots = slots_of(ArrayShape((), storages))
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    run = jobs.kept[wanted] * [inserted_zeros(hardware, jobs.nests[n]) for n in jobs.nest[wanted]]
    kept = [kept_bits(hardware, slot.storage, slot.role, jobs, wanted) for slot in slots]
    word = [
        jobs.stored_bits[wanted, 2] if slot.role == ROLES[2] else bits for slot, bits in zip(slots, kept, strict=True)
    ]
    return Formats(
        table=np.ascontiguousarray(table_of, np.int64),
        bits=np.ascontiguousarray(point_bits(hardware, jobs, wanted)),
        dram_bits=np.ascontiguousarray(point_bits(hardware, jobs, wanted, dram=True)),
        kept=np.ascontiguousarray(np.array(kept).reshape(len(slots), -1).T),
        word=np.ascontiguousarray(np.array(word).reshape(len(slots), -1).T),
        step=np.ascontiguousarray(waiting(hardware.pe, jobs, wanted, mode) * mode.step_cycles[wanted] * run[:, None]),
        lanes=np.ascontiguousarray(mode.lanes[wanted], np.float64),
    )


def _designs(hardware: Hardware, arrays: HardwareArrays, rows: Ints, jobs: Jobs, wanted: Ints) -> Designs:
    """What the lookup needs to know of designs."""
    macs = np.array([np.prod(np.array(nest.dims, np.float64)) * inserted_zeros(hardware, nest) for nest in jobs.nests])
    each = mac_pj(hardware, arrays.node_nm[rows], jobs, wanted) * arrays.element_scale[rows][:, None]
    per_mac = np.broadcast_to(each, (len(rows), len(wanted)))
    return Designs(
        read=np.ascontiguousarray(arrays.read_pj_per_bit[rows]),
        write=np.ascontiguousarray(arrays.write_pj_per_bit[rows]),
        width=np.ascontiguousarray(arrays.bandwidth_bits_per_cycle[rows] * arrays.instances[rows]),
        capacity=np.ascontiguousarray(arrays.usable_bits[rows]),
        leak=arrays.leakage_w[rows] / arrays.clock_hz[rows] * 1e12,
        base=np.ascontiguousarray(per_mac * (macs[jobs.nest[wanted]] * jobs.kept[wanted])),
        block=np.ascontiguousarray(arrays.block_bits[rows]),
    )


def _store(
    costs: JobCosts,
    hardware: Hardware,
    jobs: Jobs,
    rows: Ints,
    wanted: Ints,
    designs: Designs,
    best: Best,
    asked: Bools | None,
) -> None:
    """Put the results of one array into the (design, job) matrices."""
    at = np.ix_(rows, wanted)
    fits = best.row >= 0
    costs.energy_pj[at], costs.cycles[at] = best.energy, best.cycles
    costs.bound[at], costs.candidate[at], costs.left[at] = best.bound, best.row, best.left
    costs.traffic_bits[at] = best.traffic
    leak = np.where(fits, best.cycles, 0.0) * designs.leak[:, None]
    costs.components_pj[at] = np.concatenate([designs.base[..., None], best.parts, leak[..., None]], axis=2)
    for row, job in np.argwhere(~fits if asked is None else asked & ~fits):
        memory = hardware.memories[int(best.short[row, job])]
        pass_ = jobs.nests[int(jobs.nest[wanted[job]])].pass_
        missing = f"{best.missing[row, job]:.0f} bits are missing"
        costs.limit[rows[row], wanted[job]] = f"{memory.name}: no tile of a {pass_} pass fits; {missing}"
