"""The hardware file as a strict schema: what keys there are, what their values may be, and the rules between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from dse.hardware.elements import FAMILIES
from dse.hardware.from_file.plausible import PLAUSIBLE, odd_values
from dse.hardware.model import MEMORY_NUMBERS, TOP_NUMBERS
from dse.hardware.prices.memories import DRAM_PJ_PER_BIT, LARGEST_SRAM_BITS
from dse.hardware.prices.technology import LARGEST_NODE_NM, SMALLEST_NODE_NM, THRESHOLD_V
from dse.names import ROLES
from dse.numbers import bits_of
from dse.yaml_input import Key, suggest, unused_keys

T = TypeVar("T", bound=float)
MOST_VALUES = 10_000
MOST_AXES = 8
BACKWARD = ("backward_data", "backward_weight")


class Strict(BaseModel):
    """Unknown keys are errors, nothing is converted, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Values(Strict, Generic[T]):
    """A set of values, and the one of the default design."""

    values: Annotated[list[T], Field(min_length=1, max_length=MOST_VALUES)]
    """The values."""
    default: T
    """The one of the default design."""

    def listed(self) -> list[float]:
        return sorted({float(value) for value in self.values})


class Range(Strict, Generic[T]):
    """A range by a step or by doubling, and the value of the default design."""

    min: T
    """Smallest value."""
    max: T
    """Largest value."""
    step: T | None = None
    """Distance of the values; or ``log2``."""
    log2: bool = False
    """Values double from the smallest."""
    default: T
    """The one of the default design."""

    def listed(self) -> list[float]:
        """Its values; empty where :meth:`problem` has something to say."""
        if self.problem():
            return []
        if self.log2:
            return [float(self.min) * 2.0**i for i in range(64) if self.min * 2.0**i <= self.max]
        assert self.step is not None
        return [float(self.min + i * self.step) for i in range(int((self.max - self.min) / self.step + 1e-9) + 1)]

    def problem(self) -> str:
        """What is wrong with the range, or nothing."""
        if self.min > self.max:
            return f"min {self.min:g} is above max {self.max:g}"
        if self.log2 == (self.step is not None):
            return "a range needs either 'step' or 'log2: true'"
        if self.log2 and self.min <= 0:
            return "a log2 range starts above 0"
        if self.step is not None and (self.step <= 0 or (self.max - self.min) / self.step >= MOST_VALUES):
            return f"expected a step > 0 and at most {MOST_VALUES} values, got step {self.step:g}"
        return ""


def _tag(value: Any) -> str:
    if isinstance(value, dict):
        return "values" if "values" in value else "range"
    return "values" if isinstance(value, Values) else "range" if isinstance(value, Range) else "number"


_Positive = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=10**15)]
#: Bits, or a text such as ``64KiB``.
_Size = Annotated[_Count, BeforeValidator(bits_of)]
_Node = Annotated[float, Field(ge=SMALLEST_NODE_NM, le=LARGEST_NODE_NM, allow_inf_nan=False)]
_Supply = Annotated[float, Field(gt=THRESHOLD_V, le=2.0, allow_inf_nan=False)]
_Side = Annotated[int, Field(ge=1, le=65536)]

Positive = Annotated[
    Annotated[_Positive, Tag("number")]
    | Annotated[Values[_Positive], Tag("values")]
    | Annotated[Range[_Positive], Tag("range")],
    Discriminator(_tag),
]
Amount = Annotated[
    Annotated[_Amount, Tag("number")]
    | Annotated[Values[_Amount], Tag("values")]
    | Annotated[Range[_Amount], Tag("range")],
    Discriminator(_tag),
]
Count = Annotated[
    Annotated[_Count, Tag("number")]
    | Annotated[Values[_Count], Tag("values")]
    | Annotated[Range[_Count], Tag("range")],
    Discriminator(_tag),
]
Size = Annotated[
    Annotated[_Size, Tag("number")] | Annotated[Values[_Size], Tag("values")] | Annotated[Range[_Size], Tag("range")],
    Discriminator(_tag),
]
Supply = Annotated[
    Annotated[_Supply, Tag("number")]
    | Annotated[Values[_Supply], Tag("values")]
    | Annotated[Range[_Supply], Tag("range")],
    Discriminator(_tag),
]
Side = Annotated[
    Annotated[_Side, Tag("number")] | Annotated[Values[_Side], Tag("values")] | Annotated[Range[_Side], Tag("range")],
    Discriminator(_tag),
]
Node = Annotated[
    Annotated[_Node, Tag("number")] | Annotated[Values[_Node], Tag("values")] | Annotated[Range[_Node], Tag("range")],
    Discriminator(_tag),
]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Dims = Annotated[list[Literal["N", "G", "K", "C", "P", "Q", "R", "S"]], Field(min_length=1)]
Role = Literal["weight", "activation", "accumulator"]
Width = Annotated[int, Field(ge=1, le=64)]


class AxisFile(Strict):
    """One axis: its size, and the loop dims that may be unrolled along it in each pass.

    A chip that runs inference only gives no dims of the backward passes, on any axis.
    """

    size: Side
    """Elements along the axis."""
    forward: Dims
    """Loop dims that the forward pass may unroll along it; the mapper chooses among them."""
    backward_data: Dims | None = None
    """The same in backward_data."""
    backward_weight: Dims | None = None
    """The same in backward_weight."""
    flatten: bool = False
    """Several dims may share the axis with a product of extents that need not divide it."""


class ArrayFile(Strict):
    """Axes by name."""

    source: Text
    """Where the array is described."""
    axes: Annotated[dict[Name, AxisFile], Field(min_length=1, max_length=MOST_AXES)]
    """Axes by name."""


class ModeFile(Strict):
    """One supported pair of widths of a multi_mode element."""

    weight_bits: Width
    """Width of the weight operand."""
    activation_bits: Width
    """Width of the activation operand."""
    macs_per_cycle: _Positive
    """MACs of one element per cycle in this mode."""
    exponent_bits: Annotated[int, Field(ge=0, le=16)] = 0
    """Exponent of both operands, whose significands have the widths above, bits; 0: integers or mantissas of a block."""
    float_sums: bool | None = None
    """Products are added as floats of the accumulator's width; if left out, where the mode has an exponent."""


def _known_family(name: str) -> str:
    if name not in FAMILIES:
        expected = ", ".join(f"'{known}'" for known in FAMILIES)
        raise PydanticCustomError("enum", "unknown family of elements", {"expected": expected})
    return name


#: Keys of ``pe`` that mean something for every family; the others are listed by :attr:`ElementFamily.keys`.
ELEMENT_KEYS = (
    "source",
    "family",
    "max_weight_bits",
    "max_activation_bits",
    "accumulator_bits",
    "energy_pj_per_mac",
    "area_um2",
)


class ElementFile(Strict):
    """The processing element; its widths are single values, because a table of designs shares one element."""

    source: Text
    """Where the element is described."""
    family: Annotated[str, AfterValidator(_known_family), Field(json_schema_extra={"enum": list(FAMILIES)})]
    """Family of elements, see `dse.hardware.elements`."""
    max_weight_bits: Width = 8
    """Width of the weight operand that is multiplied in one step, bits."""
    max_activation_bits: Width = 8
    """Width of the activation operand in one step, bits."""
    min_bits: Width = 2
    """Smallest width that gains anything, or width of a slice, bits."""
    accumulator_bits: Annotated[int, Field(ge=1, le=128)] = 32
    """Width of the accumulator, bits."""
    modes: list[ModeFile] = []
    """Supported pairs of widths of a multi_mode element."""
    block: Annotated[int, Field(ge=1, le=65536)] = 16
    """Elements that share an exponent, a scale or an adder tree."""
    scale_bits: Annotated[int, Field(ge=0, le=24)] = 0
    """Significand of a block's scale that is multiplied into its sum, bits; 0: scales are powers of two."""
    serial_operand: Literal["weight", "activation"] = "activation"
    """Operand that a bit_serial element takes bit by bit."""
    significand_bits: Annotated[int, Field(ge=0, le=64)] = 0
    """Significand with its hidden bit of a float or mls element, bits."""
    exponent_bits: Annotated[int, Field(ge=0, le=16)] = 0
    """Exponent of it, bits."""
    energy_pj_per_mac: _Positive | None = None
    """Measured energy of a MAC at full width, pJ; instead of the model's."""
    area_um2: _Amount | None = None
    """Measured area of an element, um2; instead of the model's."""


class MemoryFile(Strict):
    """One memory; they are listed from the inside to the outside, DRAM last.

    ``shared_along`` names the axes whose elements use one instance together: none for registers of each element, the axes of a
    cluster for its buffer, all of them (the default) for a memory of the whole chip. An operand passes from DRAM through all
    memories that hold it, each shared along at least the axes of the one inside it; there may be any number of them.
    """

    source: Text
    """Where the memory and its figures are described."""
    kind: Literal["register", "sram", "dram"]
    """What it is made of."""
    holds: Annotated[list[Role], Field(min_length=1)] = ["weight", "activation", "accumulator"]
    """Roles of operands that it holds."""
    shared_along: list[Name] | Literal["all"] = "all"
    """Axes whose elements share one instance, or all."""
    size_bits: Size | None = None
    """Capacity of an instance, bits or a size such as 64KiB; of the DRAM what a step may hold, unlimited if left out."""
    double_buffered: bool = False
    """The next tiles arrive in one half while the other is in use, so that tiles take half of it at most; else all of it."""
    port_bits: Count = 64
    """Bits per access."""
    bandwidth_bits_per_cycle: Positive | None = None
    """Bits read and written per cycle by an instance; unlimited if left out."""
    read_pj_per_bit: Amount | None = None
    """Measured price of reading, pJ per bit; instead of the model's."""
    write_pj_per_bit: Amount | None = None
    """Measured price of writing, pJ per bit."""
    area_mm2: Amount | None = None
    """Measured area of an instance, mm2."""
    dram: str = ""
    """Type of DRAM, which has a price."""
    block_bits: Annotated[int, Field(ge=0, le=2**20)] = 0
    """Bits that a DRAM moves at once: what a pass reads or writes of an operand takes whole blocks; 0: any number of bits."""
    wire_mm: Amount | None = None
    """Length of the wire to it, mm; if left out, the side of the square of what shares it (0 where its price is given)."""
    wire_pj_per_bit: Amount | None = None
    """Measured price of that wire, pJ per bit."""


#: Keys of a memory that mean something for every kind, beside its source and kind; and those of one kind.
MEMORY_KEYS = (
    "holds", "shared_along", "size_bits", "bandwidth_bits_per_cycle", "read_pj_per_bit", "write_pj_per_bit", "area_mm2",
    "wire_mm", "wire_pj_per_bit",
)  # fmt: skip
KEYS_OF_KIND: dict[str, tuple[str, ...]] = {
    "register": ("double_buffered",),
    "sram": ("port_bits", "double_buffered"),
    "dram": ("dram", "block_bits"),
}


class MappingFile(Strict):
    """What the mapper may not choose: the operand that is held innermost, and tile sizes of a dim.

    ``stationary``: no other operand's tile is cut further inside than this one's, and the other inputs are fetched for every MAC.
    ``tiles`` gives for a loop dim the sizes that it may have inside a memory, in iterations of its temporal loop (1 and the whole
    dim are always allowed). What an axis of the array may unroll is said by the array itself.
    """

    stationary: Role | None = None
    """Role whose operand is held innermost."""
    tiles: dict[
        Literal["N", "G", "K", "C", "P", "Q", "R", "S"],
        Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)],
    ] = {}
    """Sizes that a loop dim may have inside a memory."""


class ConverterFile(Strict):
    """Converters at the memory port: tensors change their format as they stream by, and only what is beyond the lanes takes
    time."""

    source: Text
    """Where they are described, or that they are assumed."""
    lanes: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Elements per cycle; if left out, they keep up with the port."""
    area_mm2: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    """Their measured area, mm2; 0: in what the file or the model counts otherwise."""
    kernel_s: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fixed seconds of a kernel that converts a tensor, where products convert in kernels of their own (GPUs)."""
    kernel_bandwidth: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the memory's bandwidth that such kernels reach; 0: tensors are converted as they stream by."""


class HardwareFile(Strict):
    """Top level of a hardware file."""

    name: Name
    """Its name."""
    description: Text
    """What it is, in a line."""
    source: Text
    """Where it was published, or that it was made up."""
    node_nm: Node
    """Technology node, nm."""
    clock_hz: Positive
    """Clock, Hz."""
    supply_v: Supply | None = None
    """Supply voltage, V; if left out, the node's nominal one. Prices given in the file are those at its default."""
    array: ArrayFile
    """The array."""
    pe: ElementFile
    """The element at each of its points."""
    memories: Annotated[dict[Name, MemoryFile], Field(min_length=1, max_length=16)]
    """Memories from the inside to the outside; DRAM last."""
    mapping: MappingFile = MappingFile()
    """What the mapper may not choose."""
    constraints: list[Text] = []
    """Rules for some passes and kinds of layers, such as `depthwise: unroll.rows=R,S` (`dse.hardware.from_file.rules`)."""
    bypass: bool = True
    """An operand may pass memories by that hold it (the best mapping chooses); false where the wires lead through all of them."""
    vector_lanes: Side = 64
    """Elements per cycle of the unit for layers without MACs and the optimizer."""
    zero_skip: bool = True
    """Skips the zeros that a stride inserts in the backward passes."""
    causal_skip: bool = False
    """Skips products that a causal mask drops."""
    fusion: Literal["none", "vector", "resident", "best"] = "none"
    """What runs fused where nobody says: `none`, `vector` (layers without MACs as their neighbours write), `resident` too
    (tensors that wait on the chip), or `best` (all that `fuses` has, where it is better)."""
    fuses: list[Literal["epilogue", "residency", "attention", "chain"]] = ["epilogue", "residency"]
    """What can run fused with `fusion: best`: lanes where results are written (`epilogue`), tensors that wait in the shared memory
    (`residency`), attention whose scores never leave it (`attention`), and layers that run band by band of rows in inference
    (`chain`, beside `residency`)."""
    overlap: bool = True
    """Double-buffered: a pass takes its slowest part; if false the parts add up."""
    area_overhead: Amount = 0.0
    """Area beside elements and memories as a share of their sum."""
    lanes_on_axes: bool = False
    """Precision lanes take pairs along the dims that an axis lists only, not over filter positions it does not list."""
    systolic: bool = False
    """Operands and sums pass from element to element through registers, also where an axis shares one sum (else an adder tree)."""
    unfold_input: bool = False
    """Convolutions that read the network's input are given as matrix products, their windows unfolded as channels (im2col)."""
    die_mm2: Annotated[float, Field(ge=0, le=2000)] = 0.0
    """Measured area of the whole chip, mm2, for a file that lets nothing vary; what the parts do not explain is overhead."""
    converter: ConverterFile | None = None
    """Converters at the memory port; if left out, the vector unit converts tensors between formats, in time of its own."""
    formats: list[Text] = []
    """Formats that its elements are made for: what a search of formats offers where nobody asks for others."""
    idle_w: Amount = 0.0
    """Power for as long as a step takes, beside leakage, W."""
    clock_pj_per_cycle: Amount | None = None
    """Energy of the clock network and the control per cycle, pJ; if left out, by the model (`dse.hardware.prices.clock`)."""
    modelled_leakage: bool = True
    """Whether the model's leakage is added to ``idle_w``."""
    options: dict[Name, float] = {}
    """Numbers of its own that a study reads."""
    allow_unusual: bool = False
    """Keeps values that look like a slip of units (dse.hardware.from_file.plausible)."""


def numbers(file: HardwareFile) -> Iterator[tuple[Key, str, Any]]:
    """Path in the file, name of the parameter, and what was given, of every number that may vary and was given."""
    for name in TOP_NUMBERS:
        if getattr(file, name) is not None:
            yield (name,), name, getattr(file, name)
    for key, axis in file.array.axes.items():
        yield ("array", "axes", key, "size"), f"array.{key}", axis.size
    for key, memory in file.memories.items():
        for name in MEMORY_NUMBERS:
            if getattr(memory, name) is not None:
                yield ("memories", key, name), f"memories.{key}.{name}", getattr(memory, name)


def check(file: HardwareFile) -> list[tuple[Key, str]]:
    """Rules between fields: path and message of each problem."""
    problems: list[tuple[Key, str]] = []
    for path, _, given in numbers(file):
        wrong = given.problem() if isinstance(given, Range) else ""
        if wrong:
            problems.append((path, wrong))
        elif isinstance(given, Values | Range) and float(given.default) not in given.listed():
            problems.append(((*path, "default"), f"expected one of the values, got {given.default:g}"))
    if not problems and not file.allow_unusual:
        problems += _check_units(file)
    problems += _check_die(file)
    made = file.converter
    if made is not None and (made.kernel_bandwidth > 0 and made.lanes is not None):
        problems.append(
            (("converter",), "kernel_bandwidth says that kernels of their own convert, which have no lanes")
        )
    if made is not None and made.kernel_s > 0 and made.kernel_bandwidth == 0:
        problems.append(
            (("converter", "kernel_s"), "needs kernel_bandwidth, the share of the bandwidth that kernels reach")
        )
    return problems + _check_passes(file) + _check_memories(file) + _check_element(file) + _check_mapping(file)


def _check_die(file: HardwareFile) -> list[tuple[Key, str]]:
    """A measured chip is one design."""
    if not file.die_mm2:
        return []
    if file.area_overhead:
        return [(("die_mm2",), "means nothing beside area_overhead; give one of them")]
    varying = [name for _, name, given in numbers(file) if isinstance(given, Values | Range)]
    message = f"is the area of one chip, but '{varying[0]}' varies; leave one of them out" if varying else ""
    return [(("die_mm2",), message)] if message else []


def _check_units(file: HardwareFile) -> list[tuple[Key, str]]:
    """Values so far from anything built that their unit is likely another."""
    problems: list[tuple[Key, str]] = []
    clock = _listed(file.clock_hz)
    for path, name, given in numbers(file):
        kind = file.memories[str(path[1])].kind if path[0] == "memories" else ""
        problems += [(path, text) for text in odd_values(name, kind, _listed(given), clock[0])]
    elements = math.prod(_listed(axis.size)[-1] for axis in file.array.axes.values())
    single: list[tuple[Key, str, float | None]] = [
        (("array", "axes"), "array.elements", elements),
        (("pe", "energy_pj_per_mac"), "pe.energy_pj_per_mac", file.pe.energy_pj_per_mac),
        (("pe", "area_um2"), "pe.area_um2", file.pe.area_um2),
    ]
    for index, mode in enumerate(file.pe.modes):
        single.append((("pe", "modes", index, "macs_per_cycle"), "pe.macs_per_cycle", mode.macs_per_cycle))
    for path, key, value in single:
        if value is not None and (text := PLAUSIBLE[key].problem(float(value))):
            problems.append((path, text))
    return problems


def _check_passes(file: HardwareFile) -> list[tuple[Key, str]]:
    """Either every axis says what it may unroll in the backward passes, or none does (inference only)."""
    given = [getattr(axis, pass_) for axis in file.array.axes.values() for pass_ in BACKWARD]
    if all(dims is None for dims in given):
        return []
    return [
        (("array", "axes", key, pass_), "missing; give it for every axis, or for none if the chip runs inference only")
        for key, axis in file.array.axes.items()
        for pass_ in BACKWARD
        if getattr(axis, pass_) is None
    ]


def _check_memories(file: HardwareFile) -> list[tuple[Key, str]]:
    problems: list[tuple[Key, str]] = []
    axes, names = list(file.array.axes), list(file.memories)
    last = file.memories[names[-1]]
    if last.kind != "dram" or set(last.holds) != set(ROLES):
        problems.append((("memories", names[-1]), "expected the last memory to be of kind dram and to hold every role"))
    for key, memory in file.memories.items():
        here: Key = ("memories", key)
        problems += unused_keys(memory, (*MEMORY_KEYS, *KEYS_OF_KIND[memory.kind]), f"a {memory.kind} memory", here)
        if memory.wire_pj_per_bit is not None and "wire_mm" in memory.model_fields_set:
            problems.append(
                ((*here, "wire_mm"), "means nothing beside wire_pj_per_bit, which prices the wire; give one")
            )
        if memory.kind == "dram":
            if key != names[-1]:
                problems.append(((*here, "kind"), "dram has to be the last memory"))
            priced = memory.read_pj_per_bit is not None and memory.write_pj_per_bit is not None and not memory.dram
            if not priced and memory.dram not in DRAM_PJ_PER_BIT:
                known = suggest(memory.dram, DRAM_PJ_PER_BIT)
                problems.append(((*here, "dram"), f"'{memory.dram}' is no type of DRAM with a known price{known}"))
        elif memory.size_bits is None:
            problems.append(((*here, "size_bits"), "missing; only dram may go without"))
        elif memory.read_pj_per_bit is None and _largest(memory.size_bits) > LARGEST_SRAM_BITS:
            problems.append(
                ((*here, "size_bits"), "above 1 GB no price is known; give read_pj_per_bit and write_pj_per_bit")
            )
        if memory.shared_along != "all":
            for index, axis in enumerate(memory.shared_along):
                if axis not in axes:
                    problems.append(((*here, "shared_along", index), f"no axis '{axis}'{suggest(axis, axes)}"))
    for role in ROLES:
        chip = [key for key in names[:-1] if role in file.memories[key].holds]
        for inner, outer in itertools.pairwise(chip):
            lost = [
                axis for axis in _shared(file.memories[inner], axes) if axis not in _shared(file.memories[outer], axes)
            ]
            if lost:
                message = (
                    f"holds the {role} outside of '{inner}' but is not shared along {', '.join(lost)} as that one is; "
                    f"memories go from the inside to the outside, each shared along at least the axes of those inside it"
                )
                problems.append((("memories", outer), message))
    return problems


def _check_mapping(file: HardwareFile) -> list[tuple[Key, str]]:
    role = file.mapping.stationary
    chip = [memory for memory in file.memories.values() if memory.kind != "dram"]
    if role is None or any(role in memory.holds for memory in chip):
        return []
    return [(("mapping", "stationary"), f"no memory on the chip holds the {role}, so that it cannot stay there")]


def _check_element(file: HardwareFile) -> list[tuple[Key, str]]:
    pe = file.pe
    family = FAMILIES[pe.family]
    problems: list[tuple[Key, str]] = []
    problems += unused_keys(
        pe, {*ELEMENT_KEYS, *family.keys} - {"source", "family"}, f"a {family.name} element", ("pe",)
    )
    for name in family.needed:
        if not getattr(pe, name):
            problems.append((("pe", name), f"missing; a {family.name} element needs it"))
    if not family.needed.count("significand_bits") and bool(pe.significand_bits) != bool(pe.exponent_bits):
        message = "floats need both: give significand_bits (with the hidden bit) and exponent_bits, or neither"
        problems.append((("pe", "significand_bits" if pe.significand_bits else "exponent_bits"), message))
    if pe.min_bits > min(pe.max_weight_bits, pe.max_activation_bits):
        problems.append((("pe", "min_bits"), f"expected at most the maximum widths, got {pe.min_bits}"))
    if family.powers_of_two:
        for name in ("max_weight_bits", "max_activation_bits", "min_bits"):
            value = getattr(pe, name)
            if value & (value - 1):
                problems.append((("pe", name), f"expected a power of two for a {family.name} element, got {value}"))
    return problems


def _listed(given: Any) -> list[float]:
    """What was given, ascending: one number, or the values of a set or range."""
    return given.listed() if isinstance(given, Values | Range) else [float(given)]


def _largest(given: Any) -> float:
    return max(_listed(given), default=0.0)


def _shared(memory: MemoryFile, axes: Sequence[str]) -> list[str]:
    """Axes of the array along which a memory is shared."""
    return [axis for axis in axes if memory.shared_along == "all" or axis in memory.shared_along]
