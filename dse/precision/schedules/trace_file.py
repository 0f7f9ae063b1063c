"""Traces: word lengths per layer over the iterations of a run, as CSV."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from dse.errors import InputError, Problem
from dse.files import read_text
from dse.precision.formats.properties import format_problem

#: Rows of a trace: a change of widths in every step of an epoch, and far more than any table of phases is good for.
MAX_ROWS = 100_000
#: What the column of iterations may be called; the first is AdaPT's.
_CLOCKS = ("batch_iteration", "iteration")


@dataclass(frozen=True)
class Trace:
    """Word lengths of all layers from each listed iteration on.

    Attributes
    ----------
    source
        File that it came from.
    layers
        Column names.
    iterations
        First iteration of each row; starts at 0, increases.
    widths
        ``widths[row][layer]`` in bits.
    """

    source: str
    layers: tuple[str, ...]
    iterations: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]


def read_trace(path: str | Path, family: str = "int") -> Trace:
    """Read ``batch_iteration,layer0,layer1,...``; ``iteration`` is as good a name.

    Raises
    ------
    InputError
        No such file, no rows, a layer missing from the header or from a row, iterations that do not start at 0 or do not
        increase, widths that are no integer or make no format of the family: all at once, with lines.
    """
    source = str(path)
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, "a CSV file"), newline="")))
    except csv.Error as error:
        raise InputError(source, [f"not valid CSV: {error}"]) from None
    if len(rows) > MAX_ROWS:
        raise InputError(source, [f"expected at most {MAX_ROWS:,} rows, got {len(rows):,}"])
    header = [name.strip() for name in rows[0]] if rows else []
    problems = _header_problems(header)
    if problems:
        raise InputError(source, problems)
    iterations: list[int] = []
    widths: list[tuple[int, ...]] = []
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        clock, *found = _numbers(header, row, line, problems)
        if clock is not None:
            if not iterations and clock != 0:
                problems.append(Problem(header[0], f"expected the first row at iteration 0, got {clock}", line))
            elif iterations and clock <= iterations[-1]:
                problems.append(
                    Problem(header[0], f"expected iterations that increase, got {clock} after {iterations[-1]}", line)
                )
            iterations.append(clock)
        for name, width in zip(header[1:], found, strict=True):
            if width is not None and format_problem(f"{family}{width}"):
                problems.append(Problem(name, f"a width of {width} bits makes no {family} format", line))
        widths.append(tuple(width for width in found if width is not None))
    if not widths and not problems:
        problems.append(Problem("", "the trace has no rows: zero iterations"))
    if problems:
        raise InputError(source, problems)
    return Trace(source, tuple(header[1:]), tuple(iterations), tuple(widths))


def _header_problems(header: list[str]) -> list[Problem]:
    if not header or header[0] not in _CLOCKS:
        found = f"'{header[0]}'" if header else "an empty file"
        return [Problem("", f"expected the header '{_CLOCKS[0]},layer0,layer1,...', got {found}", 1)]
    layers = header[1:]
    if not layers:
        return [Problem("", "no layers: expected at least one column beside the iterations", 1)]
    problems = [
        Problem(name, "this layer has two columns", 1) for name in dict.fromkeys(layers) if layers.count(name) > 1
    ]
    if all(re.fullmatch(r"layer[0-9]+", name) for name in layers):
        missing = [f"layer{index}" for index in range(len(layers)) if f"layer{index}" not in layers]
        if missing:
            problems.append(Problem("", f"missing layers: {', '.join(missing)}", 1))
        elif layers != [f"layer{index}" for index in range(len(layers))]:
            problems.append(Problem("", "expected layers in the order layer0, layer1, ...", 1))
    return problems


def _numbers(header: list[str], row: list[str], line: int, problems: list[Problem]) -> list[int | None]:
    """A row's values, None where one is missing or no number, which is added to the problems."""
    if len(row) > len(header):
        problems.append(Problem("", f"expected {len(header)} values, got {len(row)}", line))
    numbers: list[int | None] = []
    for name, cell in zip(header, [*row, *[""] * len(header)], strict=False):
        text = cell.strip()
        if re.fullmatch(r"[0-9]{1,12}", text):
            numbers.append(int(text))
        else:
            numbers.append(None)
            problems.append(Problem(name, f"expected an integer, got '{text}'" if text else "missing value", line))
    return numbers
