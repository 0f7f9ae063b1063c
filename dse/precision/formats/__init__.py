"""Number formats: names, what an element costs to store and to multiply, its range, and reference quantizers."""

from dse.precision.formats.model import FAMILIES, DynamicRange, Family, Format, Spelling
from dse.precision.formats.names import format_problem, parse_format, register
from dse.precision.formats.properties import (
    accumulator_bits,
    dynamic_range,
    exponent_bits,
    largest_code,
    multiplier_bits,
    significant_bits,
    stored_bits,
)
from dse.precision.formats.storage import Matrix, tensor_bits

__all__ = [
    "FAMILIES",
    "DynamicRange",
    "Family",
    "Format",
    "Matrix",
    "Spelling",
    "accumulator_bits",
    "dynamic_range",
    "exponent_bits",
    "format_problem",
    "largest_code",
    "multiplier_bits",
    "parse_format",
    "register",
    "significant_bits",
    "stored_bits",
    "tensor_bits",
]
