"""What the mapper's search is asked: designs, formats and objectives as prices per element, and the points that a table is built
for.

A table of mappings (:mod:`dse.mapping.best.tables.table`) is searched at the points of :func:`anchors` and looked up at all others.
They depend on the hardware's space alone, not on a design's place in it nor on a plan, so that a design costs the same alone and
beside others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.jobs.formats import Jobs, inserted_zeros, kept_bits, mac_pj, partial_bits, takes_format, waiting
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.model import ARITHMETIC, Hardware, Parameter, ProcessingElement
from dse.hardware.pe import pe_mode
from dse.mapping.best.records import POINT
from dse.mapping.best.space import Slot
from dse.mapping.nest import Nest
from dse.names import MAPPING_OBJECTIVES
from dse.precision.formats.properties import (
    Format,
    arithmetic,
    element_exponent_bits,
    multiplier_bits,
    parse_format,
    stored_bits,
)
from dse.types import Floats, Ints

#: Formats that a table is built for: the first :data:`MOST_FORMATS` that the elements take, and the narrowest.
FORMATS = (
    "int8",
    "int4",
    "int2",
    "int16",
    "bf16",
    "fp8_e4m3",
    "fp32",
    "mxint8",
    "mxfp8_e4m3",
    "mxfp4_e2m1",
    "mls_e2m4",
    "ternary",
    "binary",
)
MOST_FORMATS = 4
#: Formats of which all pairs are looked up as a table is built.
NARROW = ("binary", "ternary", "int2", "int3", "int4", "int6", "int8")
#: Designs of a space that a table is built for; a smaller space is taken whole.
DESIGNS = 12
#: Logarithm (base 2) up to which a wider tensor is looked up among narrower ones.
SAME_SPAN = 0.2
#: Gradients leave in float32 (Micikevicius et al., 2018), as plans have them by default.
GRADIENT_BITS = 32.0
#: Scales and maps add a little to every element: tiles that just fit without them must have a slightly smaller neighbour.
SIDE_DATA = 1.01


def point_bits(hardware: Hardware, jobs: Jobs, wanted: Ints, dram: bool = False) -> Floats:
    """(wanted, classes) bits of an element by :data:`dse.mapping.best.records.CLASSES`, on the chip or in DRAM."""
    stored, partial = jobs.stored_bits[wanted], partial_bits(hardware, jobs)[wanted]
    if dram:
        stored = np.column_stack([jobs.dram_bits[wanted], stored[:, 2]])
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[wanted, :, 0], jobs.multiplier_bits[wanted, :, 1])
    # Lanes of one element add their products before the memory sees them.
    share = (jobs.shares[wanted] / mode.lanes).sum(axis=1)
    kept = jobs.kept[wanted]
    return np.column_stack(
        [
            stored[:, 0],
            stored[:, 1],
            partial,
            stored[:, 2],
            stored[:, 0] * kept,
            stored[:, 1] * kept,
            partial * share * kept,
        ]
    )


def points_of(
    hardware: Hardware, arrays: HardwareArrays, rows: Ints, jobs: Jobs, wanted: Ints, nest: Nest, slots: Sequence[Slot],
    objective: Sequence[str],
) -> npt.NDArray[np.void]:  # fmt: skip
    """Records of :data:`dse.mapping.best.records.POINT` for pairs of a design and a job.

    Parameters
    ----------
    rows, wanted, objective
        (n,) design, job and objective of each point. Of block-wise precision the mean over its pairs of widths is taken.
    """
    n, memories = len(rows), len(hardware.memories)
    points = np.zeros(n, POINT)
    bits = np.repeat(point_bits(hardware, jobs, wanted)[:, None], memories, axis=1)
    bits[:, -1] = point_bits(hardware, jobs, wanted, dram=True)
    width = arrays.bandwidth_bits_per_cycle[rows] * arrays.instances[rows]
    points["read"][:, :memories] = arrays.read_pj_per_bit[rows][:, :, None] * bits
    points["write"][:, :memories] = arrays.write_pj_per_bit[rows][:, :, None] * bits
    points["time"][:, :memories] = bits / width[:, :, None]
    for s, slot in enumerate(slots):
        points["kept"][:, s] = kept_bits(hardware, slot.storage, slot.role, jobs, wanted)
        points["finished"][:, s] = jobs.stored_bits[wanted, 2]
    points["capacity"][:, : memories - 1] = arrays.usable_bits[rows][:, : memories - 1]
    run = inserted_zeros(hardware, nest) * jobs.kept[wanted]
    each = mac_pj(hardware, arrays.node_nm, jobs, np.unique(wanted))
    each = each * arrays.element_scale[:, None]
    points["base"] = each[rows, np.searchsorted(np.unique(wanted), wanted)] * math.prod(map(float, nest.dims)) * run
    points["leak"] = arrays.leakage_w[rows] / arrays.clock_hz[rows] * 1e12
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[wanted, :, 0], jobs.multiplier_bits[wanted, :, 1])
    weight = waiting(hardware.pe, jobs, wanted, mode)
    points["step"] = (weight * mode.step_cycles).sum(axis=1) * run
    points["lanes"] = 1.0 / (jobs.shares[wanted] / mode.lanes).sum(axis=1)
    points["objective"] = [MAPPING_OBJECTIVES.index(name) for name in objective]
    points["overlap"] = int(hardware.overlap)
    return points


def whole_space(hardware: Hardware) -> Hardware:
    """The hardware with the space that a design was taken out of, every parameter at the middle of its values."""
    values = {**hardware.taken, **{p.name: p.values for p in hardware.space}}
    middle = {name: v[(len(v) - 1) // 2] for name, v in sorted(values.items())}
    space = tuple(Parameter(name, values[name], middle[name]) for name in middle)
    return replace(replace(hardware, space=space, taken={}).with_values(middle), space=space, taken={})


def sampled_designs(whole: Hardware, axis_size: Ints) -> pd.DataFrame | None:
    """Designs with one array that its tables are built for: the whole space, or an even sample; None where there is only one."""
    if not whole.space:
        return None
    sizes = {f"array.{axis.name}": int(size) for axis, size in zip(whole.axes, axis_size, strict=True)}
    values = {p.name: p.values for p in whole.space if p.name not in sizes}
    free = {name: v for name, v in values.items() if len(v) > 1}
    fixed = {p.name: sizes[p.name] for p in whole.space if p.name in sizes}
    count = math.prod(len(v) for v in free.values())
    columns: dict[str, Floats] = {}
    if count <= DESIGNS:
        grid = np.indices([len(v) for v in free.values()]).reshape(len(free), -1)
        columns = {name: np.asarray(v)[at] for (name, v), at in zip(free.items(), grid, strict=True)}
        return pd.DataFrame(columns, index=range(count)).assign(**fixed)
    for number, (name, v) in enumerate(free.items()):
        # A lattice: every parameter runs through its values evenly, each in an order of its own.
        stride = (1, 5, 7, 11)[number % 4] + DESIGNS * (number // 4 % 2)
        level = (stride * np.arange(DESIGNS) + number // 4) % DESIGNS
        columns[name] = np.asarray(v)[(level * len(v)) // DESIGNS]
    return pd.DataFrame(columns).assign(**fixed)


class Span(NamedTuple):
    """Powers of two by which what a job keeps is wider than the formats that tables are built for: its operands, its sums."""

    operands: int = 0
    sums: int = 0


def spans_of(hardware: Hardware, jobs: Jobs, wanted: Ints) -> list[Span]:
    """(wanted,) which tables a job is looked up in; it depends on the job alone.

    Most jobs keep what their multipliers take. Where a tensor lies in memory in a wider format than those of
    :data:`FORMATS` that the elements take, or sums have another width than the hardware's, tiles differ too much for one table.
    """
    widest = max(stored_bits(form) for form in _forms(hardware.pe)) * SIDE_DATA
    most = np.maximum(jobs.stored_bits[wanted, :2], jobs.dram_bits[wanted]).max(axis=1, initial=0.0)
    operands = np.ceil(np.log2(np.maximum(most / widest, 1.0)) - SAME_SPAN).astype(np.int64)
    sums = np.rint(np.log2(partial_bits(hardware, jobs)[wanted] / float(hardware.pe.accumulator_bits))).astype(np.int64)
    return [Span(*pair) for pair in zip(operands.tolist(), sums.tolist(), strict=True)]


@dataclass(frozen=True)
class Anchors:
    """Points that a table is searched at, without what depends on the nest alone.

    Attributes
    ----------
    points
        Records of :data:`dse.mapping.best.records.POINT`; energy and steps of one MAC.
    effort
        See :func:`dse.mapping.best.search.search.search`.
    """

    points: npt.NDArray[np.void]
    effort: Ints

    def of(self, hardware: Hardware, nest: Nest) -> npt.NDArray[np.void]:
        """The points for a nest."""
        points = self.points.copy()
        run = inserted_zeros(hardware, nest)
        points["base"] *= math.prod(map(float, nest.dims)) * run
        points["step"] *= run
        return points


_ANCHORS: dict[tuple[str, tuple[int, ...], str, Span], Anchors] = {}


def anchors(hardware: Hardware, axis_size: Ints, pass_: str, slots: Sequence[Slot], span: Span) -> Anchors:
    """The points of an array in a pass: designs of the whole space, formats that the elements take, and all objectives.

    The first two points are searched from all starts, the others from what those found.
    """
    key = (hardware.identity, tuple(axis_size.tolist()), pass_, span)
    if key not in _ANCHORS:
        _ANCHORS[key] = _anchors(hardware, axis_size, pass_, slots, span)
    return _ANCHORS[key]


def _anchors(hardware: Hardware, axis_size: Ints, pass_: str, slots: Sequence[Slot], span: Span) -> Anchors:
    whole = whole_space(hardware)
    arrays = hardware_arrays(whole, sampled_designs(whole, axis_size))
    jobs, uniform = format_jobs(hardware, pass_, span)
    count = len(arrays)
    asked: list[tuple[int, int, str, int]] = []
    middle = count // 2
    # from all starts: the widest and the narrowest formats in the middle of the space; then at its ends
    asked += [(middle, u, "edp", 2) for u in sorted({0, uniform - 1})]
    ends = _ends(arrays)
    asked += [(d, (0, uniform - 1)[k % 2], ("edp", "latency", "energy")[k % 3], 1) for k, d in enumerate(ends)]
    asked += [(middle, u, "edp", 1) for u in range(1, uniform - 1)]
    asked += [(middle, u, objective, 1) for objective in ("energy", "latency") for u in sorted({0, uniform - 1})]
    # what is only looked up: every design with every pair of formats
    objectives = ("edp", "energy", "edp", "latency")
    asked += [(d, u, objectives[(d + u) % 4], -1) for d in range(count) for u in range(len(jobs.nest))]
    rows, wanted, names, effort = zip(*asked, strict=True)
    nest = jobs.nests[0]
    points = points_of(hardware, arrays, np.array(rows, np.int64), jobs, np.array(wanted, np.int64), nest, slots, names)
    return Anchors(points, np.array(effort, np.int64))


def _ends(arrays: HardwareArrays) -> list[int]:
    """Designs at the ends of a space: with the smallest and the largest memories, and with the slowest and the fastest ones."""
    if len(arrays) < 4:
        return []
    size = np.log(np.where(np.isfinite(arrays.size_bits), arrays.size_bits, 1.0)).sum(axis=1)
    speed = np.log(np.where(np.isfinite(arrays.bandwidth_bits_per_cycle), arrays.bandwidth_bits_per_cycle, 1.0)).sum(
        axis=1
    )
    places = (size.argmin(), speed.argmin(), size.argmax(), speed.argmax())
    return list(dict.fromkeys(int(place) for place in places))


@lru_cache(maxsize=256)
def _forms(pe: ProcessingElement) -> tuple[Format, ...]:
    """Formats that a table is built for."""
    taken = [form for name in FORMATS if takes_format(pe, form := parse_format(name))]
    narrowest = min(taken, key=stored_bits)
    return (*taken[:MOST_FORMATS], *([narrowest] if narrowest not in taken[:MOST_FORMATS] else []))


class _Pair(NamedTuple):
    """Formats in the two roles, and how much wider they lie in memory."""

    weight: Format
    activation: Format
    wider: tuple[float, float] = (1.0, 1.0)


def format_jobs(hardware: Hardware, pass_: str, span: Span) -> tuple[Jobs, int]:
    """Jobs of one MAC for the formats that a table is built for, and how many of the first have one format for all operands."""
    forms = sorted(_forms(hardware.pe), key=stored_bits, reverse=True)
    width = 2.0**span.operands
    pairs = [_Pair(form, form, (width, width)) for form in forms]
    if len(forms) > 1:
        pairs += [_Pair(forms[0], forms[-1], (width, width)), _Pair(forms[-1], forms[0], (width, width))]
    pairs += [_Pair(form, form, (width * SIDE_DATA, width * SIDE_DATA)) for form in forms]
    narrow = [form for name in NARROW if takes_format(hardware.pe, form := parse_format(name))]
    pairs += [_Pair(a, b, (width, width)) for a in narrow for b in narrow]
    if span.operands:
        pairs += [_Pair(form, form, wider) for form in forms for wider in ((width, 1.0), (1.0, width))]
    result = GRADIENT_BITS if pass_ == "backward_weight" else 0.0
    stored = np.array([[stored_bits(x) * more for x, more in zip(pair[:2], pair.wider, strict=True)] for pair in pairs])
    n = len(pairs)

    def seen(of: Callable[[Format], int]) -> Ints:
        return np.array([[[of(pair.weight), of(pair.activation)]] for pair in pairs], np.int64)

    jobs = Jobs(
        nests=(Nest((1,) * 8, pass_),),
        nest=np.zeros(n, np.int64),
        stored_bits=np.column_stack([stored, np.full(n, result) if result else stored[:, 1]]),
        multiplier_bits=seen(multiplier_bits),
        arithmetic=seen(lambda form: ARITHMETIC.index(arithmetic(form))),
        exponent_bits=seen(element_exponent_bits),
        shares=np.ones((n, 1)),
        run_elements=np.zeros(n, np.int64),
        kept=np.ones(n),
        accumulator_bits=np.full(n, float(hardware.pe.accumulator_bits) * 2.0**span.sums if span.sums else 0.0),
        dram_bits=stored,
        runs=np.ones(n),
        beside_bits=np.zeros(n),
        gathered=np.full(n, -1, np.int64),
    )
    return jobs, len(forms)
