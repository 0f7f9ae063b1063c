"""Calibrate a profile: which plans to measure, measured plans from a file, and the link that their error chooses."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dse.accuracy import predictor
from dse.accuracy.profiles.loading import profile_from_file, read_profile
from dse.accuracy.profiles.noise import integer_width
from dse.accuracy.profiles.profile import Profile, some_names
from dse.accuracy.profiles.schema import MIN_POINTS, PointFile, PointsFile, ProfileFile, check_points, operands_of
from dse.errors import InputError, Problem
from dse.files import is_file, read_text
from dse.precision.formats.properties import Format
from dse.precision.plans.plan import Plan
from dse.types import Ints
from dse.workload.model import Network
from dse.yaml_input import Document, Key, load_yaml, validate

if TYPE_CHECKING:
    import pandas as pd

#: Factors on layers' scores that are tried: most within two times more or less.
SPREAD = 2.0
#: Share of every score that is the mean over the layers, tried against none. Of 0, .25, .5, .75 and 1 it has the least root mean
#: square of left-out errors over the three shipped profiles with points enough, and over any two of them, factors as they have
#: them: .93 of that of scores as measured (ResNet-18 .98, Fashion-MNIST .89, EfficientNet-Lite0 .92). Means that follow the
#: layers' weights or MACs, to a power of .25 to 1, do worse in two of the three.
SHRINK = 0.5
#: Share of the leave-one-out error that factors have to get below to be worth having.
WORTH = 0.99
_STAND_IN = ("power", "saturating")
Kind = Literal["post-training", "quantization-aware"]


@dataclass(frozen=True)
class Calibration:
    """A calibrated profile with what its choice of link rests on.

    Attributes
    ----------
    file
        The profile file with all points and the chosen link; :func:`dse.accuracy.profiles.schema.profile_text` writes it.
    profile
        The same, ready to predict.
    links
        Every link with its errors, best first; see :func:`dse.accuracy.predictor.compare_links`.
    """

    file: ProfileFile
    profile: Profile
    links: pd.DataFrame


def calibrate(
    path: str | Path,
    points: Sequence[PointFile],
    calibration: Kind | None = None,
) -> Calibration:
    """Add measured points to a profile and choose the link with the least leave-one-out error.

    Scores drawn half-way to their mean over the layers (:data:`SHRINK`) are tried beside scores as measured, and kept unless that
    error grows. With at least as many points as layers, factors on the layers' scores are tried too (:data:`SPREAD`) and kept if
    they lower that error.

    Post-training and quantization-aware points never mix: retraining recovers what the other kind loses, so that one link
    fits neither. To turn a profile over to the other kind, start from one without points.

    Parameters
    ----------
    path
        Profile file, with or without points.
    points
        Measured points, such as those of :func:`read_points`.
    calibration
        What the points are of; None: what the profile says.

    Raises
    ------
    InputError
        Too few points, a name twice, points of the other kind, points with the same score or no damage at all.
    """
    file, document = read_profile(path)
    return calibrate_file(file, document, points, calibration)


def calibrate_file(
    file: ProfileFile, document: Document, points: Sequence[PointFile], calibration: Kind | None = None
) -> Calibration:
    """As :func:`calibrate`, for a file that was already read; ``document`` knows its source and lines."""
    kind = calibration or file.prediction.calibration
    problems = []
    if file.points and kind != file.prediction.calibration:
        problems.append(
            document.problem(
                ("prediction", "calibration"),
                f"has {file.prediction.calibration} points; {kind} ones go into another profile",
            )
        )
    known: set[str] = set()
    for point in (*file.points, *points):
        if point.name in known:
            problems.append(Problem("points", f"'{point.name}' is measured twice; rename one or leave one out"))
        known.add(point.name)
    if len(known) < MIN_POINTS:
        problems.append(Problem("points", f"expected at least {MIN_POINTS} measured points to fit, got {len(known)}"))
    if problems:
        raise InputError(document.source, problems)
    merged = file.model_copy(
        update={
            "points": [*file.points, *points],
            "prediction": file.prediction.model_copy(
                update={"calibration": kind, "link": "saturating", "layer_spread": None, "shrink": None}
            ),
        }
    )
    profile, shrunk = profile_from_file(merged, document), profile_from_file(_shrunk(merged), document)
    if len(set(profile.point_scores)) < MIN_POINTS:
        raise InputError(
            document.source, [f"expected at least {MIN_POINTS} points with different scores to fit a link"]
        )
    # Links of two parameters stand for all.
    plain, drawn = (
        min(float(np.square(predictor.leave_one_out(link, scores, profile.point_drops)).mean()) for link in _STAND_IN)
        for scores in (profile.point_scores, shrunk.point_scores)
    )
    if not drawn > plain:
        merged, profile = _shrunk(merged), shrunk
    links = predictor.compare_links(profile.point_scores, profile.point_drops)
    chosen: dict[str, object] = {"link": str(links.index[0])}
    if len(profile.point_drops) >= len(profile.layer_names):
        errors = predictor.leave_one_out(str(links.index[0]), profile.point_layer_scores, profile.point_drops, SPREAD)
        if float(np.sqrt((errors**2).mean())) < WORTH * links["loo_rms"].iloc[0]:
            chosen["layer_spread"] = SPREAD
    merged = merged.model_copy(update={"prediction": merged.prediction.model_copy(update=chosen)})
    return Calibration(merged, profile_from_file(merged, document), links)


def _shrunk(file: ProfileFile) -> ProfileFile:
    return file.model_copy(update={"prediction": file.prediction.model_copy(update={"shrink": SHRINK})})


def read_points(path: str | Path, profile_path: str | Path, network: Network | None = None) -> tuple[PointFile, ...]:
    """Measured plans from a YAML or CSV file.

    YAML: ``points:`` as in a profile. CSV: columns ``name`` (optional), ``value``, and one of ``both``, ``weight`` with
    ``activation`` (a width, or one per layer of the profile with spaces between), or ``plan`` (a plan in short such as
    ``w8a4``, or a plan's YAML file, relative to the CSV file).

    Parameters
    ----------
    network
        Needed for a column ``plan``.

    Raises
    ------
    InputError
        All problems of the file, with their lines.
    """
    file, _ = read_profile(profile_path)
    operands = operands_of(file)
    if Path(path).suffix.lower() != ".csv":
        document = load_yaml(path)
        given = validate(PointsFile, document, lambda given: check_points(given.points, operands, len(file.layers)))
        return tuple(given.points)
    rows, lines = _csv_rows(path)
    problems: list[Problem] = []
    values = [
        _csv_point(row, line, file, Path(path).parent, network, problems) for row, line in zip(rows, lines, strict=True)
    ]
    if problems:
        raise InputError(str(path), problems)
    where: dict[Key, int] = {("points", index): line for index, line in enumerate(lines)}
    document = Document(str(path), {"points": values}, where | {(): 1})
    given = validate(PointsFile, document, lambda given: check_points(given.points, operands, len(file.layers)))
    return tuple(given.points)


def plans_to_measure(profile: Profile, widths: Sequence[int], count: int, seed: int = 0) -> dict[str, Ints]:
    """Whole-network plans worth measuring: the uniform ones, then random ones spread evenly over the range of scores.

    The uniform plans mark the ends of the range. A link is tested in between: of many random maps with their own mix of
    widths, those nearest to evenly spaced logarithms of the score are taken.

    Parameters
    ----------
    widths
        Widths to draw from.
    count
        Number of plans, at least that of the widths.

    Returns
    -------
    Per operand, (count, L) widths.
    """
    choice = np.unique(np.asarray(widths, dtype=np.int64))
    if count < len(choice) or len(choice) < 2:
        raise InputError(
            "plans", [f"expected two or more widths and at least as many plans, got {len(choice)} and {count}"]
        )
    random = np.random.default_rng(seed)
    pool = 40 * count
    layers = len(profile.layer_names)
    first = np.arange(layers)
    for tied in profile.ties:
        members = [profile.layer_names.index(name) for name in tied]
        first[members] = members[0]
    maps: dict[str, Ints] = {}
    for operand in profile.operands:
        mix = random.dirichlet(np.full(len(choice), 0.7), size=pool).cumsum(axis=1)
        drawn = (random.random((pool, layers, 1)) > mix[:, None, :-1]).sum(axis=-1)[:, first]
        maps[operand] = np.concatenate([np.repeat(choice[:, None], layers, axis=1), choice[drawn]])
    score = np.log(np.maximum(profile.score_widths(maps), 1e-300))
    taken = list(range(len(choice)))
    for target in np.linspace(score[taken].min(), score[taken].max(), count - len(choice) + 2)[1:-1]:
        free = np.setdiff1d(np.arange(len(score)), taken)
        taken.append(int(free[np.abs(score[free] - target).argmin()]))
    return {operand: bits[taken] for operand, bits in maps.items()}


def _csv_rows(path: str | Path) -> tuple[list[dict[str, str]], list[int]]:
    reader = csv.DictReader(io.StringIO(read_text(path, "a CSV file"), newline=""), strict=True)
    try:
        columns = set(reader.fieldnames or ())
    except csv.Error as error:
        raise InputError(str(path), [Problem("", f"not valid CSV: {error}", 1)]) from None
    unknown = sorted(columns - {"name", "value", "both", "weight", "activation", "plan"})
    problems = [f"unknown column '{name}'; known: name, value, both, weight, activation, plan" for name in unknown]
    if "value" not in columns:
        problems.append("has no column 'value'")
    if problems:
        raise InputError(str(path), [Problem("", problem, 1) for problem in problems])
    rows, lines = [], []
    try:
        for row in reader:
            rows.append({key: (value or "").strip() for key, value in row.items() if key})
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(str(path), [Problem("", f"not valid CSV: {error}", reader.line_num)]) from None
    return rows, lines


def _csv_point(
    row: Mapping[str, str],
    line: int,
    file: ProfileFile,
    folder: Path,
    network: Network | None,
    problems: list[Problem],
) -> dict[str, Any]:
    point: dict[str, Any] = {"name": row.get("name") or row.get("plan") or f"line {line}"}
    try:
        point["value"] = float(row["value"])
    except ValueError:
        problems.append(Problem("value", f"expected a number, got '{row['value']}'", line))
    for operand in ("both", "weight", "activation"):
        if row.get(operand):
            try:
                widths = [int(width) for width in row[operand].split()]
            except ValueError:
                problems.append(Problem(operand, f"expected widths with spaces between, got '{row[operand]}'", line))
                continue
            point[operand] = widths[0] if len(widths) == 1 else widths
    if row.get("plan"):
        try:
            point |= plan_widths(_plan(row["plan"], folder, network), file)
        except InputError as error:
            problems += [Problem("plan", f"{error.source}: {problem}", line) for problem in error.problems]
    return point


def _plan(text: str, folder: Path, network: Network | None) -> Plan:
    if network is None:
        raise InputError(text, ["a plan needs the workload that names its layers"])
    path = folder / text
    return Plan.load(path, network) if is_file(path) else Plan.parse(text, network)


def plan_widths(plan: Plan, file: ProfileFile) -> dict[str, list[int]]:
    """Widths of a plan's scored layers, by operand as the profile has them; of a tied pair, the narrower.

    A format that is no integer counts as the nearest integer of its noise power
    (:mod:`dse.accuracy.profiles.noise`), as it is scored.

    Raises
    ------
    InputError
        Layers that the plan lacks, block-wise cells, or a kept layer below its width.
    """
    if missing := [name for name in (*file.layers, *file.kept) if name not in plan.layers]:
        raise InputError("plan", [f"lacks {some_names(missing)}"])
    if plan.is_blockwise:
        raise InputError("plan", ["has blocks of several formats in one tensor; a point has one width per layer"])
    found: dict[str, list[int]] = {}
    for operand in ("weight", "activation"):
        cells = plan.cells(operand)
        formats = {name: cell for name, cell in zip(plan.layers, cells, strict=True) if isinstance(cell, Format)}
        if narrow := [name for name, width in file.kept.items() if formats[name].element_bits < width]:
            raise InputError("plan", [f"gives {some_names(narrow)} less than the width that the profile keeps"])
        found[operand] = [round(integer_width(formats[name])) for name in file.layers]
    if operands_of(file) == ("both",):
        return {"both": [min(pair) for pair in zip(found["weight"], found["activation"], strict=True)]}
    return found
