"""Measured costs of layers in place of hardware: a CSV of latency or energy by layer and format, as vendors and HAQ give them.

Columns ``layer, format`` and ``latency_s`` or ``energy_pj`` or both; ``pass`` (forward, backward_data, backward_weight)
where passes were measured apart, else a row is a whole step of the layer; ``source`` and ``note`` are for readers.
``format`` is a format of both operands (``int8``), a pair (``w4a8``, ``weight=nvfp4,activation=mxfp8_e4m3``), also with
the error's (``w4a8e8``), or ``any``: the same whatever the formats are. Costs of layers add up. Nothing is interpolated:
what a plan needs and the table lacks is an error that names it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dse.errors import InputError, Problem
from dse.files import read_text
from dse.names import PASSES
from dse.precision.formats.properties import Format, parse_format
from dse.precision.plans.file import short_formats
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.layer import Layer
from dse.workload.model import Network
from dse.yaml_input import suggest

#: Measured columns, with what brings their unit to that of the totals.
UNITS = {"latency_s": 1.0, "energy_pj": 1e-12}
TOTALS = {"latency_s": "latency_s", "energy_pj": "energy_j"}
COLUMNS = ("layer", "pass", "format", *UNITS, "source", "note")
ANY = "any"
MAX_ROWS = 1_000_000
#: What says that a format of the error is meant: a width such as that of w4a8e8, or its name.
_NAMES_ERROR = re.compile(r"error\s*=|^[wagmos0-9]*e[0-9]+")


class Triple(NamedTuple):
    """Names of the formats of an entry or of a layer; an entry without an error's format holds for every one."""

    weight: str
    activation: str
    error: str = ""


@dataclass(frozen=True)
class Lookup:
    """A table of measured costs; ``entries`` by layer, pass ("" for a whole step) and formats, in the units of its columns."""

    path: str
    columns: tuple[str, ...]
    entries: dict[tuple[str, str, Triple], dict[str, float]]

    @property
    def formats(self) -> tuple[str, ...]:
        """Pairs of weight and activation that it has, as plans in short say them."""
        found = dict.fromkeys((key.weight, key.activation) for _, _, key in self.entries if key.weight != ANY)
        return tuple(f"weight={weight},activation={activation}" for weight, activation in found)


def read_lookup(path: str | Path, network: Network) -> Lookup:
    """Read a table for a network.

    Raises
    ------
    InputError
        No CSV; unknown columns, layers, passes and formats; figures that are no finite numbers >= 0; entries that stand twice: all
        at once, with lines.
    """
    source = str(path)
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, "a CSV file"), newline="")))
    except csv.Error as error:
        raise InputError(source, [f"not valid CSV: {error}"]) from None
    numbered = [
        (line, row) for line, row in enumerate(rows, start=1) if any(row) and not row[0].lstrip().startswith("#")
    ]
    if len(numbered) > MAX_ROWS:
        raise InputError(source, [f"expected at most {MAX_ROWS:,} rows, got {len(numbered):,}"])
    header = [name.strip().lower() for name in numbered[0][1]] if numbered else []
    wrong = [f"unknown column '{name}'{suggest(name, COLUMNS)}" for name in header if name not in COLUMNS]
    wrong += [f"the column {name} is missing" for name in ("layer", "format") if name not in header]
    columns = tuple(name for name in UNITS if name in header)
    if not columns:
        wrong.append("neither latency_s nor energy_pj is a column")
    if wrong:
        raise InputError(source, wrong)
    layers = {layer.name for layer in network.mac_layers}
    problems: list[Problem] = []
    entries: dict[tuple[str, str, Triple], dict[str, float]] = {}
    for line, row in numbered[1:]:
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        message, key, figures = _entry(cells, columns, layers)
        if not message and key in entries:
            message = f"{_said(*key)} stands twice"
        if message:
            problems.append(Problem("", message, line))
        else:
            entries[key] = figures
    if problems:
        raise InputError(source, problems)
    return Lookup(source, columns, entries)


def _entry(
    cells: dict[str, str], columns: Sequence[str], layers: set[str]
) -> tuple[str, tuple[str, str, Triple], dict[str, float]]:
    """What is wrong with a row, its key and its figures."""
    layer, pass_, text = cells.get("layer", ""), cells.get("pass", ""), cells.get("format", "")
    message, key = "", Triple(ANY, ANY)
    if layer not in layers:
        message = f"'{layer}' is no layer with MACs{suggest(layer, sorted(layers))}"
    elif pass_ and pass_ not in PASSES:
        message = f"'{pass_}' is no pass{suggest(pass_, PASSES)}"
    elif text.lower() != ANY:
        try:
            formats = short_formats(text)
            error = parse_format(formats["error"]).name if _NAMES_ERROR.search(text.lower()) else ""
            key = Triple(parse_format(formats["weight"]).name, parse_format(formats["activation"]).name, error)
        except InputError as error:
            message = f"'{text}' is no format or pair: {error.problems[0].message}"
    figures = {}
    for name in columns:
        try:
            figures[name] = float(cells.get(name, "")) * UNITS[name] if cells.get(name) else math.nan
        except ValueError:
            figures[name] = -1.0
        if not message and (figures[name] < 0 or math.isinf(figures[name])):
            message = f"expected a finite number >= 0 in {name}, got '{cells.get(name)}'"
    return message, (layer, pass_, key), figures


def _said(layer: str, pass_: str, key: Triple) -> str:
    formats = (
        "any format"
        if key.weight == ANY
        else ", ".join(f"{name} {form}" for name, form in key._asdict().items() if form)
    )
    return f"{layer}{f' {pass_}' if pass_ else ''} in {formats}"


def choice_costs(
    table: Lookup, layers: Sequence[Layer], choices: Sequence[Sequence[Triple]], mode: str
) -> dict[str, Floats]:
    """Costs by total (``latency_s``, ``energy_j``), (layers, choices); every layer has as many choices.

    Raises
    ------
    InputError
        Entries that are missing.
    """
    passes = PASSES if mode == "training" else ("forward",)
    apart = {layer for layer, pass_, _ in table.entries if pass_}
    costs = {TOTALS[name]: np.zeros((len(layers), max(len(row) for row in choices))) for name in table.columns}
    missing: list[str] = []
    for l, (layer, row) in enumerate(zip(layers, choices, strict=True)):
        for c, key in enumerate(row):
            whole = _find(table, layer.name, "", key)
            names = [p for p in passes if p in layer.passes] if whole is None and layer.name in apart else [""]
            parts = [whole if name == "" else _find(table, layer.name, name, key) for name in names]
            for pass_, part in zip(names, parts, strict=True):
                for name in table.columns:
                    if part is None or math.isnan(part[name]):
                        missing.append(_said(layer.name, pass_, key) + ("" if part is None else f": {name}"))
                        break
                    costs[TOTALS[name]][l, c] += part[name]
    if missing:
        raise InputError(table.path, [f"the table lacks {entry}" for entry in dict.fromkeys(missing)])
    return costs


def _find(table: Lookup, layer: str, pass_: str, key: Triple) -> dict[str, float] | None:
    """The entry of exactly these formats, else of weight and activation, else of any."""
    for asked in (key, Triple(key.weight, key.activation), Triple(ANY, ANY)):
        found = table.entries.get((layer, pass_, asked))
        if found is not None:
            return found
    return None


def layer_triple(plan: Plan, index: int, mode: str) -> Triple:
    """Formats of a layer under a plan, by its place in the network.

    Raises
    ------
    InputError
        A tensor in blocks of several formats, which no entry is.
    """
    operands = ("weight", "activation", "error") if mode == "training" else ("weight", "activation")
    names = []
    for operand in operands:
        cell = plan.cells(operand)[index]
        if not isinstance(cell, Format):
            raise InputError(
                "--table", [f"{plan.layers[index]}: {operand} has no single format, which entries are for"]
            )
        names.append(cell.name)
    return Triple(*names)


def plan_costs(table: Lookup, network: Network, plan: Plan, mode: str) -> pd.DataFrame:
    """Costs of a plan by layer with MACs: ``layer, weight, activation, error`` and what the table has of ``latency_s, energy_j``.

    Raises
    ------
    InputError
        Entries that are missing, all named.
    """
    places = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    keys = [layer_triple(plan, index, mode) for index in places]
    costs = choice_costs(table, [network.layers[index] for index in places], [[key] for key in keys], mode)
    rows = pd.DataFrame(
        [{"layer": network.layers[index].name, **key._asdict()} for index, key in zip(places, keys, strict=True)]
    )
    return rows.assign(**{name: values[:, 0] for name, values in costs.items()})
