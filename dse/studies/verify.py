"""``dse verify`` and ``dse check``: what a found design really loses, trained by a user's script or rounded in an ONNX model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from dse.accuracy.measuring.data import load_data
from dse.accuracy.measuring.measure import Model, output_score, top1
from dse.accuracy.measuring.onnx_model import check_images, open_onnx
from dse.accuracy.measuring.settings import Images, Labels
from dse.accuracy.profiles.profile import forward_width, some_names
from dse.errors import InputError
from dse.export.design import Design, load_design
from dse.files import csv_text, is_file, read_text, write_text
from dse.numbers import IMAGES
from dse.precision import Plan
from dse.precision.formats.properties import Format
from dse.report.run.data import read_run
from dse.training.loops.script import call, script_function

#: Name of the run in full precision in the table.
BASELINE = "full precision"
#: The whole table, and what of it ``dse calibrate --points`` reads.
TABLE, POINTS = "verified.csv", "verified_points.csv"


@dataclass(frozen=True)
class Verified:
    """One design: predicted and measured.

    Attributes
    ----------
    design
        Its name, or :data:`BASELINE`.
    value
        What the script measured, in the unit of the profile's quantity.
    predicted_drop, measured_drop
        Loss against full precision, points or nat; 0 for full precision.
    error
        Predicted minus measured.
    limit
        The run's limit, NaN without one.
    """

    design: str
    value: float
    predicted_drop: float
    measured_drop: float
    error: float
    limit: float

    @property
    def kept(self) -> bool:
        """Whether the measured drop keeps the limit; true without one."""
        return not self.measured_drop > self.limit


def verify(
    run: Path, designs: Sequence[str], script: str, told: Callable[[Verified], None] | None = None
) -> tuple[Verified, ...]:
    """Train found designs with the user's script; write predicted against measured beside the run, one by one.

    The script's function gets a :class:`~dse.precision.plans.plan.Plan` of the run's workload, or None for full precision, and
    returns what it measured: the accuracy in percent, or the loss in nat, whichever the run's profile predicts. What is in the
    table already is not measured again.

    Parameters
    ----------
    run
        A run folder.
    designs
        Of its front, or ``knee``, ``fastest``, ``lowest-energy``; ``front``: all.
    script
        ``script.py:function``.
    told
        Called with every design that is known.

    Raises
    ------
    InputError
        No such run, design or function; a script that fails or returns no finite number.
    """
    data = read_run(run)
    names = [str(name) for name in data.front["design"]] if list(designs) == ["front"] else list(designs)
    found = {name: load_design(f"{run}:{name}") for name in names}
    function = script_function(script)
    larger_is_better = unit_of(run) != "nat"
    limit = data.info.get("max_accuracy_drop_pp")
    known = {row.design: row for row in read_verified(run)}
    results = []
    for name in (BASELINE, *names):
        design = found.get(name)
        own = BASELINE if design is None else design.name
        if own not in known:
            value = _number(script, call(script, function, None if design is None else design.plan))
            known[own] = _row(own, value, known.get(BASELINE), design, larger_is_better, limit)
            _write(run, list(known.values()))
        results.append(known[own])
        if told is not None:
            told(known[own])
    return tuple(results)


def _row(
    name: str, value: float, base: Verified | None, design: Design | None, larger_is_better: bool, limit: float | None
) -> Verified:
    bound = float("nan") if limit is None else float(limit)
    if design is None or base is None:
        return Verified(name, value, 0.0, 0.0, 0.0, bound)
    drop = base.value - value if larger_is_better else value - base.value
    predicted = float(design.figures.get("accuracy_drop_pp", float("nan")))
    return Verified(name, value, predicted, drop, predicted - drop, bound)


def read_verified(run: Path) -> tuple[Verified, ...]:
    """The table of designs that were verified; empty before the first.

    Raises
    ------
    InputError
        The table is not as it was written.
    """
    path = run / TABLE
    if not is_file(path):
        return ()
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, "a CSV file"), newline=""))
        return tuple(
            Verified(row["design"], *(float(row[field.name] or "nan") for field in fields(Verified)[1:]))
            for row in rows
        )
    except (KeyError, ValueError, TypeError):
        raise InputError(str(path), ["is not as 'dse verify' wrote it; delete it to measure again"]) from None


def _write(run: Path, rows: Sequence[Verified]) -> None:
    columns = [field.name for field in fields(Verified)]
    write_text(run / TABLE, csv_text(columns, [tuple(getattr(row, name) for name in columns) for row in rows]))
    points = [(row.design, row.value, f"plans/{row.design}.yaml") for row in rows if row.design != BASELINE]
    write_text(run / POINTS, csv_text(["name", "value", "plan"], points))


def _number(script: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(script, [f"returned {value!r}; expected what it measured, a finite number"])
    return number


@dataclass(frozen=True)
class Checked:
    """A design rounded in a real model, without retraining.

    Attributes
    ----------
    quantity
        ``top1`` in percent with labels, else ``kl`` in nat.
    baseline, value
        Of the model in full precision, and rounded.
    drop
        How much is lost.
    predicted_drop
        By the run's profile, in its unit.
    samples
        Images.
    """

    quantity: str
    baseline: float
    value: float
    drop: float
    predicted_drop: float
    samples: int


def check(design: Design, model: Model, images: Images, labels: Labels | None) -> Checked:
    """Round a design's weights and activations in a model that runs, and measure what is lost.

    Raises
    ------
    InputError
        Layers of the model that the plan lacks, or formats that the model's fake quantizer has not: it rounds to integers.
    """
    weight, activation = (integer_widths(design.plan, model.layers, operand) for operand in ("weight", "activation"))
    ranges = model.ranges(images)
    base = model.outputs(images, {}, {}, ranges)
    rounded = model.outputs(images, weight, activation, ranges)
    predicted = float(design.figures.get("accuracy_drop_pp", float("nan")))
    if labels is None:
        lost = output_score("kl", base, rounded, None)
        return Checked("kl", 0.0, lost, lost, predicted, len(images))
    before, after = top1(base, labels), top1(rounded, labels)
    return Checked("top1", before, after, before - after, predicted, len(images))


def integer_widths(plan: Plan, layers: Sequence[str], operand: str) -> dict[str, int]:
    """Width of an operand of some layers of a plan of integers; layers in full precision are left out."""
    cells = dict(zip(plan.layers, plan.cells(operand), strict=True))
    problems = []
    if missing := [name for name in layers if name not in cells]:
        problems.append(f"the plan lacks {some_names(missing)} of the model; profile and workload must be of one model")
    found = {}
    for name in layers:
        cell = cells.get(name)
        if cell is None or (isinstance(cell, Format) and cell.name in ("fp32", "fp16", "bf16")):
            continue
        if not isinstance(cell, Format) or cell.family != "int":
            problems.append(f"the {operand} of {name} is {cell}; the fake quantizer of ONNX models rounds to integers")
            continue
        found[name] = forward_width(cell)
    if problems:
        raise InputError("dse check", problems)
    return found


def check_onnx(
    design: Design,
    model: str | Path,
    data: str | Path,
    labels: str | Path | None = None,
    images: int | None = 128,
    *,
    per_channel: bool = True,
    skip_unsupported: bool = False,
) -> Checked:
    """:func:`check` on an ONNX model and files of data, as :func:`dse.accuracy.measuring.profile_model.profile_onnx` takes them."""
    IMAGES.check(images)
    opened = open_onnx(model, per_channel=per_channel, skip_unsupported=skip_unsupported)
    found, classes = load_data(data, labels, images)
    return check(design, opened, check_images(opened, found, str(data)), classes)


def unit_of(run: Path) -> str:
    """Unit of the drops that a run predicts: points or nat."""
    return str((read_run(run).info.get("profile") or {}).get("unit") or "points")


def summary(rows: Sequence[Verified], unit: str) -> str:
    """One sentence: how far off the predictions are, and how many designs keep the run's limit."""
    designs = [row for row in rows if row.design != BASELINE]
    errors = np.array([row.error for row in designs])
    said = f"{len(designs)} designs: mean error {errors.mean():+.3g}, mean absolute error {np.abs(errors).mean():.3g} {unit}"
    if designs and designs[0].limit == designs[0].limit:
        said += f"; {sum(row.kept for row in designs)} keep the limit of {designs[0].limit:g}"
    return f"{said} (error: predicted minus measured; one run each)"
