"""The one door for numbers that a user gives outside of files: finite, within bounds, and the bounds stand in the message.

Files have their bounds in their schemas. Here are those of options and of the arguments of the Python interface that mean the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from dse.errors import InputError, Problem


@dataclass(frozen=True)
class Bounds:
    """What a number may be.

    Attributes
    ----------
    name
        The option, for messages.
    least, most
        Smallest and largest value.
    whole
        Whether only integers are allowed.
    above
        Whether ``least`` itself is not allowed.
    what
        Unit or meaning, for messages; may be empty.
    """

    name: str
    least: float
    most: float
    whole: bool = True
    above: bool = False
    what: str = ""

    def problem(self, value: float) -> Problem | None:
        """What is wrong with a value; None if nothing is."""
        # An integer may be too large for a float, and NaN is neither above nor below anything.
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf
        inside = sound and (value > self.least if self.above else value >= self.least) and value <= self.most
        if inside and (not self.whole or float(value).is_integer()):
            return None
        kind = "an integer" if self.whole else "a number"
        low = f"above {_text(self.least)}" if self.above else f"from {_text(self.least)}"
        high = f"up to {_text(self.most)}" if self.above else f"to {_text(self.most)}"
        unit = f" ({self.what})" if self.what else ""
        return Problem(self.name, f"expected {kind} {low} {high}{unit}, got {str(value)[:40]}")

    def check(self, value: float | None) -> None:
        """Raise InputError if a value is given and not allowed."""
        problem = None if value is None else self.problem(value)
        if problem is not None:
            raise InputError(problem.where, [problem.message])


def _text(bound: float) -> str:
    return f"{int(bound):,}" if abs(bound) < 1e15 and float(bound).is_integer() else f"{bound:g}"


def problems_of(given: Iterable[tuple[Bounds, float | None]]) -> list[Problem]:
    """Problems of several numbers; None is a number that was not given."""
    found = (bounds.problem(value) for bounds, value in given if value is not None)
    return [problem for problem in found if problem is not None]


ACCUMULATE = Bounds("--accumulate", 1, 1_000_000, what="passes per update")
#: Optuna's and scikit-learn's generators take 32 bits.
SEED = Bounds("--seed", 0, 2**32 - 1)
#: Optuna's samplers look at all trials before each new one.
TRIALS = Bounds("--trials", 1, 100_000)
#: A year.
SECONDS = Bounds("--seconds", 0, 31_536_000, whole=False, above=True, what="s")
JOBS = Bounds("--jobs", 1, 512, what="processes")
ACCURACY_DROP = Bounds("--max-accuracy-drop", -1000, 1000, whole=False, what="in the profile's unit")
#: Probability with which a design keeps the accuracy limit where none is given, and that of the predicted drop alone.
CONFIDENCE, EVEN = 0.9, 0.5
#: Below one half a limit would be meant to be missed; Student's t is known to four digits beyond 0.9999.
SURE = Bounds("--confidence", 0.5, 0.9999, whole=False, what="probability that a design keeps the accuracy limit")
MAP_UPDATES = Bounds("--map-updates", 0, 1_000_000, whole=False, what="per step")
WEIGHT = Bounds("--weights", 1e-12, 1e12, whole=False, what="steps of each workload")
BASELINE = Bounds("--baseline", -1e6, 1e6, whole=False)
IMAGES = Bounds("--images", 2, 10_000_000)
MEASURED_PLANS = Bounds("--plans", 0, 10_000)
PAIRS = Bounds("--pairs", 0, 1_000_000)
EPOCHS = Bounds("--epochs", 1, 100_000)
TRAINED_BATCH = Bounds("--batch", 2, 65_536, what="samples per step")
RATE = Bounds("--rate", 0, 1000, whole=False, above=True)
SAMPLES = Bounds("--samples", 1, 1_000_000_000)


def hard_limit(option: str, unit: str) -> Bounds:
    """Bounds of a hard limit of a search."""
    return Bounds(option, 1e-30, 1e30, whole=False, what=unit)


#: Bits of a unit of size. A KB may be 1,000 or 1,024 bytes, so that only the unambiguous names are taken.
_UNITS = {
    f"{prefix}{name}": factor * bits
    for name, bits in (("B", 8), ("bit", 1))
    for prefix, factor in (("", 1), ("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30), ("Ti", 2**40))
}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def bits_of(value: object) -> object:
    """A size with its unit as bits, such as ``64KiB``, ``1.5 MiB`` or ``512bit``; anything else as it is.

    Raises
    ------
    ValueError
        A text that is no size, an unknown or ambiguous unit, or no whole number of bits.

    >>> bits_of("64KiB"), bits_of("2 Kibit"), bits_of(512)
    (524288, 2048, 512)
    """
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value[:64])
    unit = found[2].replace("bits", "bit") if found else ""
    if found is None or unit not in _UNITS:
        decimal = bool(re.fullmatch(r"[kKMGT](B|b|bit)", unit))
        why = f"; {unit} may mean powers of 1,000 or of 1,024" if decimal else ""
        raise ValueError(f"expected bits, or a size such as 64KiB, 1.5MiB or 512bit{why}")
    bits = Fraction(found[1].replace("_", "")) * _UNITS[unit]
    if bits.denominator != 1:
        raise ValueError("expected a whole number of bits")
    return int(bits)
