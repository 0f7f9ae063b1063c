"""Formats that a search offers: what was asked for, or what the elements of the hardware are made to multiply.

A candidate is a pair of formats of weight and activation. Formats that are named alone are paired with each other in every way
(with themselves only, where the profile measured both tensors together); a pair such as ``w4a8`` or
``weight=nvfp4,activation=mxfp8_e4m3`` is offered as it is. What the elements do not multiply costs infinity and is never chosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan

from dse.accuracy import Profile
from dse.accuracy.profiles.noise import integer_width
from dse.cost.jobs.formats import takes_format
from dse.errors import InputError
from dse.hardware.elements import element_family
from dse.hardware.model import Hardware
from dse.precision.formats.properties import Format, format_problem, parse_format, plain_integer
from dse.precision.plans.file import short_formats

#: Widths of integers that a search offers where nothing else is asked for, bits.
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
#: Floats that a search offers on elements that multiply no integers and whose file names none.
_FLOATS = ("fp8_e4m3", "fp8_e5m2", "bf16", "fp16", "fp32")
_PAIR = re.compile(r"w[0-9]+a[0-9]+")


@dataclass(frozen=True)
class Candidate:
    """What a layer may be given.

    Attributes
    ----------
    weight, activation
        Formats of what it multiplies.
    error
        Format of its error where layers may differ in it; None: the network's. See :meth:`error_at`.
    """

    weight: Format
    activation: Format
    error: Format | None = None

    @property
    def integers(self) -> bool:
        """Whether weight and activation are integers, which have widths to lower and raise."""
        return plain_integer(self.weight) and plain_integer(self.activation)

    @property
    def widths(self) -> tuple[float, float]:
        """Widths of the integers of the same noise."""
        return integer_width(self.weight), integer_width(self.activation)

    def error_at(self, least: Format) -> Format:
        """Format of the error where ``least`` is the narrowest of the network: the layer's own, if that is wider."""
        if self.error is None or self.error.element_bits < least.element_bits:
            return least
        return self.error


def asked_formats(widths: Sequence[int] | None, formats: Sequence[str] | None, hardware: Hardware) -> tuple[str, ...]:
    """Names of the formats and pairs to search.

    Parameters
    ----------
    widths
        Of integers; beside ``formats``, they are offered too.
    formats
        Names of formats, or pairs; None: ``widths`` alone, or what the hardware is made for.

    Raises
    ------
    InputError
        Widths that make no format, names that are none; all at once.
    """
    if widths is not None and (not len(widths) or min(widths) < 2 or max(widths) > 16):
        raise InputError("widths", [f"expected integers from 2 to 16, got {list(widths)}"])
    given = asked_names(formats) if formats is not None else ()
    integers = tuple(f"int{bits}" for bits in sorted(set(widths))) if widths is not None else ()
    return (*integers, *given) if integers or given else _default(hardware)


def asked_names(formats: Sequence[str]) -> tuple[str, ...]:
    """Names of formats and pairs, each once.

    Raises
    ------
    InputError
        None, names that are no formats, or formats that nothing multiplies; all at once.
    """
    given = tuple(dict.fromkeys(name.strip() for name in formats))
    problems = [] if given else ["expected at least one format or pair"]
    for name in given:
        if not _is_pair(name) and (message := format_problem(name)):
            problems.append(message)
        elif not _is_pair(name) and parse_format(name).stash_only:
            problems.append(f"'{name}' only stores what is kept for the way back; nothing multiplies it")
    if problems:
        raise InputError("--formats", problems)
    return given


def _is_pair(name: str) -> bool:
    return _PAIR.fullmatch(name.lower()) is not None or "weight=" in name


def _default(hardware: Hardware) -> tuple[str, ...]:
    """What the file says that its elements are made for; else integers, or where they take none, floats or the MLS element."""
    pe = hardware.pe
    if hardware.formats:
        return tuple(parse_format(name, hardware.path or hardware.name).name for name in hardware.formats)
    family = element_family(pe.family)
    if family.by_significand:
        return (f"mls_e{pe.exponent_bits}m{pe.significand_bits - 1}",)
    if takes_format(pe, parse_format("int8")) or takes_format(pe, parse_format("int2")):
        return tuple(f"int{bits}" for bits in WIDTHS)
    return tuple(name for name in _FLOATS if takes_format(pe, parse_format(name)))


def candidates(names: Sequence[str], tied: bool, errors: Sequence[Format] = ()) -> tuple[Candidate, ...]:
    """The M candidates that names give, those with most noise first.

    Parameters
    ----------
    tied
        Formats named alone are paired with themselves only.
    errors
        Formats that every layer's error may have by itself; empty: all layers have the network's.
    """
    alone = [parse_format(name) for name in names if not _is_pair(name)]
    pairs = [(form, form) for form in alone] if tied else list(product(alone, alone))
    for name in names:
        if _is_pair(name):
            formats = short_formats(name)
            pairs.append((parse_format(formats["weight"]), parse_format(formats["activation"])))
    distinct = sorted(dict.fromkeys(pairs), key=lambda pair: (integer_width(pair[0]), integer_width(pair[1])))
    return tuple(Candidate(weight, activation, error) for weight, activation in distinct for error in errors or (None,))


def error_candidates(
    asked: Sequence[str] | None, names: Sequence[str], profile: Profile, hardware: Hardware
) -> tuple[Format, ...]:
    """Formats that error tensors may have, the narrowest first; the profile knows the drop of each.

    Default: integers of the widths of which the profile knows the drop; where the candidates are no integers, those of them that
    the elements multiply and whose drop is known.

    Raises
    ------
    InputError
        Names that are no formats, or none whose drop is known.
    """
    if asked is not None:
        if problems := [message for name in asked if (message := format_problem(name.strip()))]:
            raise InputError("--error-formats", problems)
        forms = [parse_format(name.strip()) for name in asked]
    else:
        alone = [parse_format(name) for name in names if not _is_pair(name)]
        other = [form for form in alone if not plain_integer(form)]
        integers = [parse_format(f"int{bits}") for bits in sorted(profile.error_drops) if 2 <= bits <= 16]
        forms = [form for form in other if takes_format(hardware.pe, form)]
        forms += integers if len(other) < len(alone) or not alone else []
    known = [form for form in dict.fromkeys(forms) if not isnan(profile.error_drop(form.element_bits))]
    if asked is not None and not known:
        least = min(profile.error_drops, default=None)
        why = "nothing is known about error tensors" if least is None else f"errors below {least} bits are unknown"
        raise InputError("--error-formats", [f"{why} in {profile.path or profile.network}"])
    return tuple(sorted(known, key=lambda form: (form.element_bits, integer_width(form))))
