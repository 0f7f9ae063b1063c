"""The dataclass of a number format."""

from __future__ import annotations

from dataclasses import dataclass

#: Families whose multiplier is a floating-point one, beside the MX floats.
FLOAT_FAMILIES = frozenset({"float", "s2fp8", "actnn"})


@dataclass(frozen=True)
class Format:
    """A number format; made by :func:`parse_format`.

    Attributes
    ----------
    name
        Canonical name.
    family
        ``int fixed bfp mxint mxfp float mls vsq s2fp8 binary ternary actnn``.
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
        ``none`` (no scale), ``tensor``, ``channel`` or ``group``.
    scale_bits
        Side data of one group: scales, exponents, zero points.
    specials
        Top exponent of a float: ``ieee`` (infinities and NaN), ``nan`` (one NaN mantissa) or ``none`` (all finite).
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
    specials: str = "none"

    def __hash__(self) -> int:
        return hash(self.name)  # one format, one name: plans are hashed often

    def __str__(self) -> str:
        return self.name

    @property
    def is_float(self) -> bool:
        """Whether the multiplier is a floating-point one (MX floats included)."""
        return self.family in FLOAT_FAMILIES or self.family == "mxfp"

    @property
    def stash_only(self) -> bool:
        """Whether the format only stores: it is unpacked before any arithmetic."""
        return self.family == "actnn"

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
        return (1 << (self.exponent_bits - 1)) - 1
