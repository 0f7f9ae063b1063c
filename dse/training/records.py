"""What a training run leaves behind, as tables: accuracy, formats over time, gradients; and back to a schedule.

The table of formats is what the cost model needs to charge a policy with what it really did: :func:`measured_schedule`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from dse.errors import InputError, Problem
from dse.files import new_folder, read_text, write_files
from dse.precision.formats.properties import format_problem, parse_format
from dse.precision.plans.cells import Histogram
from dse.precision.plans.plan import Plan
from dse.precision.plans.rules import NamedNetwork
from dse.precision.schedules.phases import Phase
from dse.precision.schedules.schedule import Schedule


class Epoch(NamedTuple):
    """State after an epoch: mean training loss (nat), test accuracy (%), and the iterations done."""

    epoch: int
    iterations: int
    loss: float
    accuracy: float


class Width(NamedTuple):
    """From an iteration on, a share of an operand of a layer is stored in a format (blocks: one row per format)."""

    iteration: int
    layer: str
    operand: str
    format: str
    share: float


class Gradient(NamedTuple):
    """Statistics of a layer at an iteration.

    ``gradient_norm``: of the weight's gradient; ``error_rms``, ``error_peak``: of the error before rounding, peak over rms;
    ``error_zeroed``: share of its non-zero elements that rounding makes zero; ``error_noise``: squared rounding error over
    squared error (the inverse of the SQNR).
    """

    iteration: int
    layer: str
    gradient_norm: float
    error_rms: float
    error_peak: float
    error_zeroed: float
    error_noise: float


@dataclass(frozen=True)
class Record:
    """Everything that one run leaves; ``diverged`` if the loss became infinite or NaN, which ends the run."""

    epochs: tuple[Epoch, ...]
    widths: tuple[Width, ...]
    gradients: tuple[Gradient, ...]
    iterations: int
    diverged: bool
    seconds: float

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch, %."""
        return self.epochs[-1].accuracy


def table(rows: Sequence[NamedTuple], kind: type[NamedTuple]) -> str:
    """Rows as CSV; numbers with the digits that matter."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(kind._fields)
    writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows])
    return out.getvalue()


def write_record(record: Record, folder: Path) -> None:
    """Write what :func:`record_files` gives, all of it or nothing.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    with new_folder(folder):
        write_files({folder / name: text for name, text in record_files(record).items()})


def record_files(record: Record) -> dict[str, str]:
    """``accuracy.csv``, ``formats.csv``, ``gradients.csv``; and ``trace_OPERAND.csv`` of operands with one format per layer."""
    files = {
        "accuracy.csv": table(record.epochs, Epoch),
        "formats.csv": table(record.widths, Width),
        "gradients.csv": table(record.gradients, Gradient),
    }
    for operand in ("weight", "activation", "error"):
        trace = trace_text(record.widths, operand)
        if trace is not None:
            files[f"trace_{operand}.csv"] = trace
    return files


def trace_text(widths: Sequence[Width], operand: str) -> str | None:
    """Word lengths as :func:`dse.precision.schedules.trace_file.read_trace` reads them; None if an operand has blocks of several
    formats."""
    held: dict[str, int] = {}
    rows: list[tuple[int, dict[str, int]]] = []
    for iteration, group in groupby((row for row in widths if row.operand == operand), key=lambda row: row.iteration):
        for row in group:
            if row.share < 1.0:
                return None
            held[row.layer] = parse_format(row.format).element_bits
        rows.append((iteration, dict(held)))
    if not rows:
        return None
    layers = list(rows[0][1])
    lines = [",".join(["batch_iteration", *layers])]
    lines += [",".join([str(iteration), *(str(row[layer]) for layer in layers)]) for iteration, row in rows]
    return "\n".join(lines) + "\n"


def read_widths(path: str | Path) -> tuple[Width, ...]:
    """The table of formats of a run.

    Raises
    ------
    InputError
        No such file, other columns, or rows that are no formats, with their lines.
    """
    try:
        header, *rows = list(csv.reader(io.StringIO(read_text(path, "a CSV file"), newline=""))) or [[]]
    except csv.Error as error:
        raise InputError(str(path), [f"not valid CSV: {error}"]) from None
    if tuple(header) != Width._fields:
        raise InputError(str(path), [Problem("", f"expected the columns {', '.join(Width._fields)}", 1)])
    found, problems = [], []
    for line, row in enumerate(rows, start=2):
        try:
            width = Width(int(row[0]), row[1], row[2], row[3], float(row[4]))
        except (ValueError, IndexError):
            problems.append(Problem("", f"expected {', '.join(Width._fields)}, got '{','.join(row)}'", line))
            continue
        if message := format_problem(width.format):
            problems.append(Problem("format", message, line))
        found.append(width)
    if not found and not problems:
        problems.append(Problem("", "has no rows", 1))
    if problems:
        raise InputError(str(path), problems)
    return tuple(found)


def measured_schedule(
    widths: Iterable[Width], network: NamedNetwork, iterations: int, name: str, block: tuple[int, int] = (4, 4)
) -> Schedule:
    """The schedule that a run really followed, phase by phase, to be charged by the cost model.

    Parameters
    ----------
    widths
        In the order of their iterations; from 0 on, for all layers with MACs.
    iterations
        Length of the run.
    block
        Elements that share a row of the bit-width map, for blocks of several formats.
    """
    held: dict[tuple[str, str], Any] = {}
    phases: list[Phase] = []
    groups = [(iteration, list(rows)) for iteration, rows in groupby(widths, key=lambda row: row.iteration)]
    ends = [start for start, _ in groups[1:]] + [iterations]
    if not groups or groups[0][0] != 0 or any(end <= start for (start, _), end in zip(groups, ends, strict=True)):
        raise InputError(name, ["expected formats from iteration 0 on, in increasing order, within the run"])
    for (start, rows), end in zip(groups, ends, strict=True):
        cells: dict[tuple[str, str], dict[str, float]] = {}
        for row in rows:
            cells.setdefault((row.layer, row.operand), {})[row.format] = row.share
        held |= {key: _cell(shares, block) for key, shares in cells.items()}
        formats: dict[str, dict[str, Any]] = {}
        for (layer, operand), cell in held.items():
            formats.setdefault(operand, {})[layer] = cell
        plan = Plan.from_formats(network, formats)
        if phases and phases[-1].formats == plan:
            phases[-1] = Phase(phases[-1].iterations + end - start, plan)
        else:
            phases.append(Phase(end - start, plan))
    return Schedule(name, tuple(phases))


def mean_bits(widths: Sequence[Width], iterations: int) -> dict[str, float]:
    """Mean width of each operand over layers and the iterations of a run, bits of an element."""
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    rows: dict[tuple[str, str], dict[int, float]] = {}
    for row in widths:
        at = rows.setdefault((row.layer, row.operand), {})
        at[row.iteration] = at.get(row.iteration, 0.0) + row.share * parse_format(row.format).element_bits
    for (_, operand), at in rows.items():
        for start, end in pairwise((*at, iterations)):
            totals[operand] = totals.get(operand, 0.0) + at[start] * (end - start)
            counts[operand] = counts.get(operand, 0.0) + (end - start)
    return {operand: totals[operand] / counts[operand] for operand in totals}


def _cell(shares: Mapping[str, float], block: tuple[int, int]) -> Any:
    if len(shares) == 1:
        return parse_format(next(iter(shares)))
    total = sum(shares.values())
    return Histogram.of({name: share / total for name, share in shares.items()}, block)
