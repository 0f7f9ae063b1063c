"""An accelerator: an array of processing elements, memories around it, a technology. One concrete design, and its space.

Every number of a hardware file may be a set or a range. The dataclasses here always hold one value (the default of the
set or range); :attr:`Hardware.space` lists what may vary, and :func:`dse.hardware.arrays.hardware_arrays` turns a table
of designs into arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from dse.content import content
from dse.errors import InputError, Problem
from dse.showing import html_table, one_line
from dse.units import format_bytes, format_value
from dse.yaml_input import suggest

#: What multiplies an element: integers (also mantissas whose block shares an exponent), MLS elements (arXiv 2006.02804: a small
#: exponent each, added up as integers), or floats, which carry their exponent into every product.
ARITHMETIC = ("integer", "mls", "float")
#: What a hardware may be able to fuse: lanes where results are written, tensors that wait in the shared memory, attention whose
#: scores never leave it.
FUSES = ("epilogue", "residency", "attention", "chain")
#: Kinds of nests.
KINDS = ("conv", "depthwise", "pointwise", "product")
#: Keys of rules, and what the word after the dot of each names.
KEYS = {"stationary": "", "tiles": "dim", "unroll": "axis", "bypass": "memory", "keep": "memory"}
#: Numbers of a memory that may vary.
MEMORY_NUMBERS = (
    "size_bits",
    "port_bits",
    "bandwidth_bits_per_cycle",
    "read_pj_per_bit",
    "write_pj_per_bit",
    "area_mm2",
    "wire_mm",
    "wire_pj_per_bit",
)
#: Numbers at the top of a file that may vary.
TOP_NUMBERS = ("node_nm", "clock_hz", "supply_v", "vector_lanes", "area_overhead", "idle_w", "clock_pj_per_cycle")
_WHOLE = ("size_bits", "port_bits", "vector_lanes")


@dataclass(frozen=True)
class Parameter:
    """One number that may vary.

    Attributes
    ----------
    name
        Dotted path, such as ``array.rows``, ``memories.buffer.size_bits`` or ``clock_hz``.
    values
        The values it may take, ascending (a range is listed by its step or, for ``log2``, by its powers of two).
    default
        The value of the default design.
    """

    name: str
    values: tuple[float, ...]
    default: float


@dataclass(frozen=True)
class ArrayAxis:
    """One spatial axis: its size and, for each pass, the loop dims that may be unrolled along it."""

    name: str
    size: int
    dims: dict[str, tuple[str, ...]]
    flatten: bool = False


class ModeFormat(NamedTuple):
    """What a mode of a multi-mode element multiplies beyond its widths.

    Attributes
    ----------
    exponent_bits
        Exponent that each operand carries, bits; 0: integers, or mantissas whose block has a scale.
    float_sums
        Sums are floats as wide as the accumulator; else integers.
    """

    exponent_bits: int = 0
    float_sums: bool = False


@dataclass(frozen=True)
class ProcessingElement:
    """What multiplies and accumulates at each point of the array.

    Attributes
    ----------
    family
        Name of a record of :mod:`dse.hardware.elements`, which has throughput, energy and area of each family.
    max_weight_bits, max_activation_bits, min_bits
        Widths of the multiplier in one step, and the smallest width that gains anything.
    accumulator_bits
        Width of the accumulator register.
    modes
        ``multi_mode``: the supported (weight, activation) pairs with their MACs per cycle; other widths round up.
    formats
        ``multi_mode``: what each of ``modes`` multiplies, in their order; empty: integers in all.
    block
        Elements that wait for the widest lane (bit-serial) or share an exponent or scale (bfp, mls, multi_mode).
    scale_bits
        ``bfp`` and ``multi_mode``: significand of the scale that a block of each operand has, multiplied into the block's sum
        (NVFP4: 4 of E4M3; VS-Quant: an integer); 0: powers of two, whose exponents are added.
    energy_pj, area_um2
        Measured figures that replace the model's: energy per MAC at full width, area per element; None uses the model.
    exponent_bits, significand_bits
        ``float`` and ``mls``: the element format that the unit is built for. ``multi_mode``: above 0, floats are taken too.
    serial_operand
        ``bit_serial``: the operand that is fed bit by bit, ``activation`` or ``weight``.
    """

    family: str
    max_weight_bits: int = 8
    max_activation_bits: int = 8
    min_bits: int = 2
    accumulator_bits: int = 32
    modes: tuple[tuple[int, int, float], ...] = ()
    block: int = 16
    energy_pj: float | None = None
    area_um2: float | None = None
    exponent_bits: int = 0
    significand_bits: int = 0
    serial_operand: str = "activation"
    formats: tuple[ModeFormat, ...] = ()
    scale_bits: int = 0


@dataclass(frozen=True)
class Memory:
    """One memory, from the registers next to the MAC (first) to DRAM (last, holds every role).

    A role may lie in any number of memories, each shared along at least the axes of the one inside it.

    Attributes
    ----------
    roles
        Operand roles held: of weight, activation, accumulator. In the backward passes tensors take these roles as
        :mod:`dse.mapping.nest` says.
    shared_along
        Axes along which all PEs share one instance; all axes for a buffer, none for a register file in each PE, those of a
        cluster for the buffer of one.
    size_bits
        Capacity of one instance. Of the DRAM: what a step may hold at its peak (:mod:`dse.cost.tensors.memory`), infinite if not
        given.
    bandwidth_bits_per_cycle
        Reads plus writes of one instance per cycle; infinite means that it never limits.
    read_pj_per_bit, write_pj_per_bit, area_mm2
        Prices per bit and area per instance; None takes them from :mod:`dse.hardware.prices.memories` by kind, capacity and node.
    port_bits
        Width of one access, which the price of an SRAM depends on.
    dram
        Type of a DRAM, a key of :data:`dse.hardware.prices.memories.DRAM_PJ_PER_BIT`.
    double_buffered
        The next tiles are brought while those before them are used: tiles of a mapping take half of it at most, as with Timeloop's
        ``multiple_buffering: 2``. Whole tensors that wait in it (:mod:`dse.cost.fusion.resident`) lie there once.
    block_bits
        Bits that a DRAM moves at once: what a pass reads or writes of an operand is rounded up to whole blocks. 0: any number.
    wire_mm, wire_pj_per_bit
        Wires between the memory and the array: a length, priced by :func:`dse.hardware.prices.memories.data_wire_pj_per_bit`, or a
        price that replaces it. Every bit read or written pays it, also one that goes to or comes from the outer side. None: the
        side of the square that the elements and memories take which share the instance; nothing where the file gives the memory's
        price.
    """

    name: str
    kind: str
    roles: tuple[str, ...]
    shared_along: tuple[str, ...]
    size_bits: float
    bandwidth_bits_per_cycle: float = float("inf")
    read_pj_per_bit: float | None = None
    write_pj_per_bit: float | None = None
    area_mm2: float | None = None
    port_bits: int = 64
    dram: str = ""
    block_bits: int = 0
    double_buffered: bool = False
    wire_mm: float | None = None
    wire_pj_per_bit: float | None = None


@dataclass(frozen=True)
class Converter:
    """What converts tensors between formats at the memory port, as they stream by, or kernels of their own that do.

    Attributes
    ----------
    lanes
        Elements per cycle; infinite: it keeps up with the port.
    area_mm2
        Of all lanes.
    kernel_s, kernel_bandwidth
        Fixed time of a kernel that converts a tensor, and its share of the memory's bandwidth; a share of 0: nothing runs apart.
    """

    lanes: float = float("inf")
    area_mm2: float = 0.0
    kernel_s: float = 0.0
    kernel_bandwidth: float = 0.0


@dataclass(frozen=True)
class MappingRule:
    """What a mapper may not choose in some passes and kinds of layers; lines of rules: :mod:`dse.hardware.from_file.rules`.

    Attributes
    ----------
    passes, kinds
        Where it holds; empty: everywhere.
    key, name
        One of :data:`KEYS`, and the dim, axis or memory that it is about.
    values
        Roles, dims or sizes.
    """

    passes: tuple[str, ...]
    kinds: tuple[str, ...]
    key: str
    name: str
    values: tuple[str, ...]

    @property
    def line(self) -> str:
        """The rule as files have it."""
        scope = ",".join((*self.passes, *self.kinds))
        name = f"{self.key}.{self.name}" if self.name else self.key
        return f"{scope}: {name}={','.join(self.values)}" if scope else f"{name}={','.join(self.values)}"

    def holds(self, pass_: str, kind: str) -> bool:
        """Whether it holds for a nest."""
        return (not self.passes or pass_ in self.passes) and (not self.kinds or kind in self.kinds)


def kind_of(dims: Sequence[int]) -> str:
    """Kind of a nest by its bounds N G K C P Q R S.

    >>> kind_of((1, 32, 1, 1, 7, 7, 3, 3)), kind_of((1, 1, 8, 8, 7, 7, 1, 1)), kind_of((64, 1, 8, 8, 1, 1, 1, 1))
    ('depthwise', 'pointwise', 'product')
    """
    _, g, k, c, p, q, r, s = dims
    if r * s > 1:
        return "depthwise" if g > 1 and k == c == 1 else "conv"
    return "pointwise" if p * q > 1 else "product"


@dataclass(frozen=True)
class Hardware:
    """One accelerator and the space around it; see :func:`dse.load_hardware`.

    Attributes
    ----------
    sources
        Where the numbers come from, by dotted path of the section or number.
    node_nm, clock_hz
        Technology node and clock.
    supply_v
        Supply voltage; None: the node's nominal one. Prices that the file gives itself are those at this (default) supply.
    axes, pe, memories
        The array and its memories, inner to outer.
    vector_lanes
        Elements per cycle of the unit for layers without MACs and for the optimizer.
    zero_skip
        Skips the zeros that a stride > 1 inserts in the backward passes; if false they are multiplied.
    causal_skip
        Leaves out the products of attention that a causal mask makes zero, one by one: their steps, MAC energy and accesses next to
        the MACs, an upper bound of what skipping whole tiles saves. If false all are multiplied, as dense matrix engines do.
    fusion
        What runs fused, one of :data:`dse.cost.fusion.epilogues.FUSIONS`, where an evaluation does not say.
    fuses
        What the hardware can fuse where ``fusion`` is ``best``: some of :data:`FUSES`.
    overlap
        Double-buffered: a pass takes its slowest part; if false the parts add up.
    area_overhead
        Area beside PEs and memories (control, network) as a share of their sum.
    lanes_on_axes
        Precision lanes of an element take pairs along the dims that an axis may unroll (channels) only; if false along all dims
        that a pass reduces (channels and filter positions).
    systolic
        Operands and sums travel from element to element through registers, also where the sums of an axis end in one memory; if
        false an axis whose elements share a sum is an adder tree without registers.
    unfold_input
        Convolutions that read the network's input come unfolded from the host (im2col): every place with its window as channels.
    die_mm2
        Measured area of the whole chip with its interfaces, mm2; what the model's parts do not explain of it is overhead.
        0: the parts are the chip.
    idle_w
        Power that flows for as long as a step takes, beside memories' and PEs' leakage.
    clock_pj_per_cycle
        Energy of the clock network and the control in every cycle, busy or not; it is reported with the leakage, since both flow
        with time. None: :func:`dse.hardware.prices.clock.clock_pj_per_cycle`; 0: left out.
    modelled_leakage
        Whether the model's leakage of elements and memories is added to ``idle_w``; false where that is measured.
    inference_only
        The file gives no dims of the backward passes, so that it does not train.
    formats
        Names of the formats that its elements are made for; empty: what they multiply.
    converter
        Converters at the memory port; None: the vector unit converts, which takes time.
    stationary, bypass, tiles
        What the mapper may not choose: the role whose operand is held innermost ("": any), whether an operand may pass a memory by
        that holds it, and (dim, sizes) that a dim may have inside a memory.
    rules
        What it may not choose in some passes and kinds of layers.
    space
        What may vary.
    taken
        Values in the original space of each parameter that :meth:`with_values` has fixed.
    """

    name: str
    description: str
    sources: dict[str, str]
    node_nm: float
    clock_hz: float
    axes: tuple[ArrayAxis, ...]
    pe: ProcessingElement
    memories: tuple[Memory, ...]
    vector_lanes: int = 64
    zero_skip: bool = True
    causal_skip: bool = False
    fusion: str = "none"
    fuses: tuple[str, ...] = ("epilogue", "residency")
    overlap: bool = True
    area_overhead: float = 0.0
    lanes_on_axes: bool = False
    systolic: bool = False
    unfold_input: bool = False
    die_mm2: float = 0.0
    idle_w: float = 0.0
    clock_pj_per_cycle: float | None = None
    supply_v: float | None = None
    modelled_leakage: bool = True
    inference_only: bool = False
    formats: tuple[str, ...] = ()
    converter: Converter | None = None
    stationary: str = ""
    bypass: bool = True
    tiles: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rules: tuple[MappingRule, ...] = ()
    space: tuple[Parameter, ...] = ()
    path: str = ""
    options: dict[str, float] = field(default_factory=dict)
    taken: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def identity(self) -> str:
        """Everything that it is, as text: equal for equal hardware."""
        return content(self)

    def __repr__(self) -> str:
        array = "x".join(str(axis.size) for axis in self.axes)
        memories = [f"{memory.name} {format_bytes(memory.size_bits)}" for memory in self.memories[:-1]]
        facts = [f"{array} elements", *memories, self.memories[-1].dram, f"{self.node_nm:g} nm"]
        facts += [format_value(self.clock_hz, "Hz"), f"{len(self.space)} parameters vary" if self.space else ""]
        return one_line("Hardware", self.name, facts)

    def _repr_html_(self) -> str:
        rows = [
            (
                memory.name,
                memory.kind,
                ", ".join(memory.roles),
                format_bytes(memory.size_bits),
                memory.bandwidth_bits_per_cycle,
            )
            for memory in self.memories
        ]
        columns = ["memory", "kind", "holds", "size", "bandwidth_bits_per_cycle"]
        return html_table(repr(self), columns, rows)

    def with_values(self, values: Mapping[str, float]) -> Hardware:
        """The design with these parameter values; see :func:`dse.hardware.with_values`."""
        return with_values(self, values)


def with_values(hardware: Hardware, values: Mapping[str, float]) -> Hardware:
    """The design with these parameter values; parameters that are not given stay at their default and in the space.

    Parameters
    ----------
    values
        Dotted names of the space, such as ``array.rows``; each value between the least and the greatest of its set or range, and
        an integer where the quantity is one.

    Raises
    ------
    InputError
        Names that are no parameters of this hardware, values outside the space; all at once.
    """
    known = {parameter.name: parameter for parameter in hardware.space}
    problems = []
    for name, value in values.items():
        if name not in known:
            problems.append(Problem(str(name), f"no parameter of {hardware.name}{suggest(str(name), known)}"))
        elif not value_fits(known[name], value):
            problems.append(Problem(name, expected(known[name], value)))
    if problems:
        raise InputError(hardware.path or hardware.name, problems)
    axes = [replace(axis, size=int(values.get(f"array.{axis.name}", axis.size))) for axis in hardware.axes]
    memories = []
    for memory in hardware.memories:
        names = {name: f"memories.{memory.name}.{name}" for name in MEMORY_NUMBERS}
        given = {name: _typed(name, values[path]) for name, path in names.items() if path in values}
        memories.append(replace(memory, **given))  # type: ignore[arg-type]
    top = {name: _typed(name, values[name]) for name in TOP_NUMBERS if name in values}
    left = tuple(parameter for parameter in hardware.space if parameter.name not in values)
    # The mapper searches for the whole space, so that a design taken out of it keeps the space's tables and figures.
    taken = {parameter.name: parameter.values for parameter in hardware.space if parameter.name in values}
    return replace(
        hardware,
        axes=tuple(axes),
        memories=tuple(memories),
        space=left,
        taken={**hardware.taken, **taken},
        **top,  # type: ignore[arg-type]
    )


def is_whole(name: str) -> bool:
    """Whether a parameter counts something."""
    return name.startswith("array.") or name.rsplit(".", 1)[-1] in _WHOLE


def value_fits(parameter: Parameter, value: float) -> bool:
    """Whether a value lies within the parameter's bounds, and is an integer where the quantity is one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    whole = not is_whole(parameter.name) or number == math.floor(number) if math.isfinite(number) else False
    return whole and parameter.values[0] <= number <= parameter.values[-1]


def expected(parameter: Parameter, value: object) -> str:
    """The message for a value that does not fit."""
    noun = "an integer" if is_whole(parameter.name) else "a number"
    shown = f"{value:g}" if isinstance(value, int | float) else repr(value)
    return f"expected {noun} from {parameter.values[0]:g} to {parameter.values[-1]:g}, got {shown}"


def _typed(name: str, value: float) -> float:
    return int(value) if name in ("port_bits", "vector_lanes") else float(value)
