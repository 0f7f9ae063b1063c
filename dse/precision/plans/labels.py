"""Names of plans for tables: short, in the grammar of ``--plan``, and different for different plans of one table.

A label says every format that a plan chooses and a mode reads: ``w4a8e8`` for integers, ``fp8_e4m3,error=fp8_e5m2``,
``w8a8e8,stash=actnn2``. Formats that plans have anyway (FP32 gradients, masters and optimizer states) are not said. Where a
tensor's format differs between layers the label has the range (``w4-8``), which does not say which layer has which: plans of one
table that would be called the same get a number made from all their formats, ``w4-8a8e8#3f2a``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Protocol

from dse.names import OPERANDS
from dse.precision.plans.cells import Cell, Histogram, Joint, formats_of

#: Operands that a mode reads, with the letters of those that short plans name by one.
LETTERS = {
    "weight": "w",
    "activation": "a",
    "error": "e",
    "gradient": "g",
    "master": "m",
    "optimizer": "o",
    "stash": "s",
}
READ_IN = {
    "training": OPERANDS,
    "inference": tuple(name for name in OPERANDS if name in ("weight", "activation", "stash", "accumulator", "result")),
}
#: Formats that are not said where every layer has them.
UNSAID = dict.fromkeys(("gradient", "master", "optimizer"), "fp32")
#: Formats that a label lists one by one; beyond that it counts them.
MOST_NAMES = 3
_DIGITS = 4


class Tabled(Protocol):
    """What has a plan's table of cells; see :class:`dse.precision.Plan`."""

    @property
    def table(self) -> tuple[tuple[Cell, ...], ...]: ...

    @property
    def joint(self) -> tuple[Joint, ...]: ...

    @property
    def copies(self) -> str: ...


def plan_labels(plans: Sequence[Tabled], mode: str = "training") -> tuple[str, ...]:
    """A label for each plan; equal ones only for plans whose formats are equal wherever the mode reads them."""
    labels = [plan_label(plan, mode) for plan in plans]
    if len(labels) == 1:
        return tuple(labels)
    texts = [_text(plan, mode) for plan in plans]
    told: dict[str, set[str]] = {}
    for label, text in zip(labels, texts, strict=True):
        told.setdefault(label, set()).add(text)
    return tuple(
        label if len(told[label]) == 1 else f"{label}#{_number(text, told[label])}"
        for label, text in zip(labels, texts, strict=True)
    )


def plan_label(plan: Tabled, mode: str = "training") -> str:
    """The label of a plan by itself.

    Parameters
    ----------
    mode
        ``training``, or ``inference``, which reads no errors, gradients, masters and optimizer states.
    """
    said = {}
    for operand, row in zip(OPERANDS, plan.table, strict=True):
        name = _row_name(row)
        if operand in READ_IN[mode] and name and name != UNSAID.get(operand):
            said[operand] = name
    parts = []
    base = said.get("weight", "")
    if base == said.get("activation") and _width(base) is None:
        # One format for all that a MAC reads, as a short plan says it.
        parts.append(base)
        said = {
            operand: name
            for operand, name in said.items()
            if operand not in ("weight", "activation") and not (operand == "error" and name == base)
        }
    letters = "".join(
        f"{LETTERS[operand]}{_width(name)}"
        for operand, name in said.items()
        if operand in LETTERS and _width(name) is not None
    )
    parts += [letters] if letters else []
    parts += [f"{operand}={name}" for operand, name in said.items() if operand not in LETTERS or _width(name) is None]
    parts += [f"copies={plan.copies}"] if plan.copies and mode == "training" else []
    return ",".join(parts)


def _width(name: str) -> str | None:
    """``8`` of int8, ``4-8`` of a range of integers; None of what a letter and a number do not say."""
    match = re.fullmatch(r"int([0-9]+(?:-[0-9]+)?)", name)
    return match[1] if match else None


def _row_name(row: Sequence[Cell]) -> str:
    """One name, a range, or a list of names; empty where no layer has a format."""
    different = dict.fromkeys(row)
    names = list(dict.fromkeys(form.name for cell in different for form in formats_of(cell)))
    if len(names) < 2:
        return "".join(names)
    parts = [re.fullmatch(r"([a-z]+)([0-9]+)(.*)", name) for name in names]
    if all(parts) and len({(part[1], part[3]) for part in parts if part}) == 1:
        bits = [int(part[2]) for part in parts if part]
        first = parts[0]
        assert first is not None
        return f"{first[1]}{min(bits)}-{max(bits)}{first[3]}"
    return "|".join(names) if len(names) <= MOST_NAMES else f"{len(names)} formats"


def _text(plan: Tabled, mode: str) -> str:
    """Everything that a mode reads of a plan, as text."""
    rows = [
        (operand, [_cell_text(cell) for cell in row])
        for operand, row in zip(OPERANDS, plan.table, strict=True)
        if operand in READ_IN[mode]
    ]
    joint = [item for item in plan.joint if set(item.operands) <= set(READ_IN[mode])]
    return f"{rows} {joint} {plan.copies if mode == 'training' else ''}"


def _cell_text(cell: Cell) -> str:
    if isinstance(cell, Histogram):
        shares = [f"{form} {share!r}" for form, share in zip(cell.formats, cell.shares, strict=True)]
        return f"{cell.block} {shares}"
    return str(cell)


def _number(text: str, others: set[str]) -> str:
    """The shortest start of a digest that the others do not share."""
    digests = {other: hashlib.sha256(other.encode()).hexdigest() for other in others}
    digits = _DIGITS
    while len({digest[:digits] for digest in digests.values()}) < len(digests):
        digits += 1
    return digests[text][:digits]
