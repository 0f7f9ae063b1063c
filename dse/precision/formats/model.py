"""The records of a number format and of a family of formats, and the table of families that everybody reads.

A family is one :class:`Family`: how its formats are written, what their elements are to a multiplier and an accumulator, how they
are rounded, and which converter writes them. Nothing else in the program asks which family a format belongs to. The families that
come with the program are in :mod:`~dse.precision.formats.families.integers`, :mod:`~dse.precision.formats.families.floats` and
:mod:`~dse.precision.formats.families.blocks`; :func:`dse.precision.formats.names.register` adds one from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from dse.types import Floats

#: Rounds values on a grid of step 1.
Rounder: TypeAlias = Callable[[Floats], Floats]
#: What multiplies an element: integers (also mantissas whose block shares an exponent), MLS elements (arXiv 2006.02804: a small
#: exponent each, added up as integers), or floats, which carry their exponent into every product.
ARITHMETIC = ("integer", "mls", "float")


@dataclass(frozen=True)
class Format:
    """A number format; made by :func:`parse_format`.

    Attributes
    ----------
    name
        Canonical name.
    family
        Name of its :class:`Family`: a key of :data:`FAMILIES`.
    element_bits
        Bits of one element as stored, with its sign, without scales.
    exponent_bits, mantissa_bits
        Of one element: exponent field and explicit fraction (floats, MLS); 0 for integers.
    fraction_bits
        Binary digits after the point (fixed point).
    signed
        Whether the stored code has a sign.
    zero_point
        Whether the range is asymmetric.
    group
        (rows, columns) that share a scale; (0, 0) for a scale whose group follows the tensor's shape, see ``granularity``.
    granularity
        What shares a scale: ``none`` (no scale), ``tensor``, ``channel``, ``row`` (of the matrix that a product sees: a token, an
        output channel of a weight), ``plane`` (of a filter or a feature map; ``group`` where the tensor's shape is not known),
        ``group``, or ``flat`` (so many elements as they lie in memory, whatever their shape).
    scale_bits
        Side data of one group: scales, exponents, zero points.
    outer, outer_bits
        A second level of scales, for formats whose group scales are themselves scaled: what shares one (``none``, ``tensor`` or
        ``channel``), and its bits.
    specials
        Top exponent of a float: ``ieee`` (infinities and NaN), ``nan`` (one NaN mantissa) or ``none`` (all finite).
    bias
        Exponent bias of a float; None: 2^(exponent bits - 1) - 1.
    """

    name: str
    family: str
    element_bits: int
    exponent_bits: int = 0
    mantissa_bits: int = 0
    fraction_bits: int = 0
    signed: bool = True
    zero_point: bool = False
    group: tuple[int, int] = (0, 0)
    granularity: str = "none"
    scale_bits: int = 0
    outer: str = "none"
    outer_bits: int = 0
    specials: str = "none"
    bias: int | None = None

    def __hash__(self) -> int:
        return hash(self.name)  # one format, one name: plans are hashed often

    def __str__(self) -> str:
        return self.name

    @property
    def is_float(self) -> bool:
        """Whether the multiplier is a floating-point one (MX floats included)."""
        return FAMILIES[self.family].arithmetic == "float"

    @property
    def stash_only(self) -> bool:
        """Whether the format only stores: it is unpacked before any arithmetic."""
        return FAMILIES[self.family].stash_only

    @property
    def group_elements(self) -> int:
        """Elements that share a scale; 0 where the group follows the tensor's shape or there is no scale."""
        return self.group[0] * self.group[1]

    @property
    def emax(self) -> int:
        """Largest exponent of an element (floats, MX floats): 2^emax <= largest value < 2^(emax+1)."""
        return (1 << self.exponent_bits) - 1 - self._bias - (1 if self.specials == "ieee" else 0)

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal element (floats, MX floats)."""
        return 1 - self._bias

    @property
    def _bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1 if self.bias is None else self.bias


class DynamicRange(NamedTuple):
    """Positive values of one element, in units of its scale (integers: of one step)."""

    largest: float
    smallest_normal: float
    smallest: float


#: Values on the grid of a format: (x, form, rounder, axes of a group's rows and columns, axis with a scale per index or None).
Quantizer: TypeAlias = Callable[[Floats, Format, Rounder, tuple[int, int], "int | None"], Floats]


class Spelling(NamedTuple):
    """One way of writing formats of a family.

    Attributes
    ----------
    pattern
        Regular expression of what stands before a colon, lower case.
    build
        The format of a match and of what stands after the colon ("" for nothing); None where that is no format.
    """

    pattern: str
    build: Callable[[re.Match[str], str], Format | None]


@dataclass(frozen=True)
class Family:
    """A family of number formats: everything that the program knows of it.

    Attributes
    ----------
    name
        Key in :data:`FAMILIES`.
    spellings
        How its formats are written.
    known
        What the error for an unknown name lists, such as ``bfp2 ... bfp16``.
    near
        Names that a slip of the pen is compared with.
    misnamed
        What else one may call formats of the family without being understood, and what is meant: ``int1`` for ``binary``.
    quantizer
        The reference quantizer, on float64; the torch one is in :mod:`dse.training.rounded.quantize` where there is a faster one.
    values
        Largest, smallest normal and smallest positive element.
    multiplier_bits
        Width of the integer multiplier that an element needs, or of a float's significand with its hidden bit.
    largest_code
        Largest magnitude of the integer that a multiplier sees; of a float, its largest value in units of its smallest one, as an
        exact integer: what an accumulator must hold follows from it.
    significant_bits
        Relative precision as bits of an integer of the same rounding error; what measured profiles of integers stand for.
    arithmetic
        What multiplies the elements: a word of :data:`ARITHMETIC`.
    converter
        What writes a tensor in the format: a key of :data:`dse.cost.steps.side.CONVERTERS`, where it has its price.
    ranges
        Reductions over a tensor (largest magnitude, smallest value) that its scales need before it is converted.
    unpacked
        Name of the format that elements are unpacked to before arithmetic; "" if they are multiplied as they are.
    stash_only
        Whether the format only stores what is kept for the backward passes.
    """

    name: str
    spellings: tuple[Spelling, ...]
    known: tuple[str, ...]
    quantizer: Quantizer = field(repr=False)
    values: Callable[[Format], DynamicRange]
    multiplier_bits: Callable[[Format], int]
    largest_code: Callable[[Format], int]
    significant_bits: Callable[[Format], int]
    converter: str
    near: tuple[str, ...] = ()
    misnamed: Mapping[str, str] = field(default_factory=dict, hash=False)
    arithmetic: str = "integer"
    ranges: Callable[[Format], int] = lambda form: 0
    unpacked: str = ""
    stash_only: bool = False


#: Families by name, in the order in which names are listed and tried.
FAMILIES: dict[str, Family] = {}
