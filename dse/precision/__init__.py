"""Number formats, plans (formats of all tensors), schedules (plans over training time) and policies."""

from dse.names import MAC_OPERANDS, OPERANDS
from dse.precision.formats.properties import (
    Format,
    accumulator_bits,
    dynamic_range,
    exponent_bits,
    format_problem,
    multiplier_bits,
    parse_format,
    stored_bits,
)
from dse.precision.plans.cells import Histogram, Joint
from dse.precision.plans.plan import Choices, Pairs, Plan
from dse.precision.schedules.phases import Phase
from dse.precision.schedules.schedule import Schedule

__all__ = [
    "MAC_OPERANDS",
    "OPERANDS",
    "Choices",
    "Format",
    "Histogram",
    "Joint",
    "Pairs",
    "Phase",
    "Plan",
    "Schedule",
    "accumulator_bits",
    "dynamic_range",
    "exponent_bits",
    "format_problem",
    "multiplier_bits",
    "parse_format",
    "stored_bits",
]
