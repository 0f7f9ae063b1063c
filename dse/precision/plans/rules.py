"""How cells that a user gives become a row of a plan's table; see :mod:`dse.precision.plans.plan` for the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from dse.errors import Problem
from dse.names import MAC_OPERANDS
from dse.precision.formats.properties import Format, format_problem, parse_format
from dse.precision.plans.cells import OPTIONAL, Cell, Histogram, formats_of
from dse.yaml_input import suggest

#: What a format may be given as.
Given: TypeAlias = "str | Format | Histogram | None"

DEFAULTS: dict[str, Given] = {"gradient": "fp32", "master": "fp32", "optimizer": "fp32"}


class NamedLayer(Protocol):
    """A layer, as far as a plan looks; ``has_macs`` (default true) and ``tie`` (default none) are read if present."""

    @property
    def name(self) -> str: ...


class NamedNetwork(Protocol):
    """A network, as far as a plan looks."""

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> Sequence[NamedLayer]: ...


def has_macs(layer: NamedLayer) -> bool:
    return bool(getattr(layer, "has_macs", True))


def read_cell(given: object, operand: str, where: str, problems: list[Problem]) -> Cell:
    """A cell from what a user gave; appends what is wrong with it."""
    cell: Cell = None
    if isinstance(given, Format | Histogram):
        cell = given
    elif given is not None:
        message = format_problem(given)
        if message is not None:
            problems.append(Problem(where, message))
            return None
        cell = parse_format(str(given))
    if operand != "stash" and any(form.stash_only for form in formats_of(cell)):
        problems.append(Problem(where, "a stash-only format (actnn) cannot be computed with; use it for the stash"))
    return cell


def read_row(
    net: NamedNetwork,
    layers: tuple[str, ...],
    operand: str,
    given: Mapping[str, Given],
    default: Given,
    problems: list[Problem],
) -> tuple[Cell, ...]:
    """One row of the table from cells by layer: ties and layers without MACs filled in, the rest reported."""
    known = set(layers)
    problems += [
        Problem(f"{operand}.{name}", f"no such layer{suggest(str(name), layers)}")
        for name in given
        if name not in known
    ]
    cells = {
        name: read_cell(value, operand, f"{operand}.{name}", problems) for name, value in given.items() if name in known
    }
    ties = {str(getattr(layer, "tie", "")): cells[layer.name] for layer in net.layers if layer.name in cells}
    missing = []
    for layer in net.layers:
        if layer.name in cells or not has_macs(layer):
            continue
        tie = str(getattr(layer, "tie", ""))
        if operand == "activation" and tie and tie in ties:
            cells[layer.name] = ties[tie]
        elif default is not None:
            cells[layer.name] = read_cell(default, operand, "default", problems)
        elif operand in MAC_OPERANDS:
            missing.append(layer.name)
        else:
            cells[layer.name] = read_cell(DEFAULTS.get(operand), operand, operand, problems)
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        problems.append(Problem(operand, f"no format for {shown}; name every layer with MACs, or give a default"))
        return ()
    row: list[Cell] = []
    following: Cell = None
    for layer in reversed(net.layers):
        if has_macs(layer):
            following = cells.get(layer.name)
        row.append(cells.get(layer.name, following))
    row.reverse()
    last = next((cell for cell in reversed(row) if cell is not None), None)
    return tuple(last if cell is None and operand not in OPTIONAL else cell for cell in row)
