"""Number formats: names, what an element costs to store and to multiply, its range, and reference quantizers."""

from dse.precision.formats.model import Format
from dse.precision.formats.names import format_problem, parse_format
from dse.precision.formats.properties import (
    DynamicRange,
    accumulator_bits,
    dynamic_range,
    exponent_bits,
    largest_code,
    multiplier_bits,
    stored_bits,
)

__all__ = [
    "DynamicRange",
    "Format",
    "accumulator_bits",
    "dynamic_range",
    "exponent_bits",
    "format_problem",
    "largest_code",
    "multiplier_bits",
    "parse_format",
    "stored_bits",
]
