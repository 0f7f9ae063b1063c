"""A schedule as YAML: its kind and the arguments of the constructor of that name in :class:`dse.precision.Schedule`.

::

    kind: cyclic                 # static cyclic random better progressive progressive_from_losses piecewise traced
    low: 3
    high: 8
    backward: 8
    backward_low: 6              # the error moves as well, between this and backward; default: it stays
    cycles: 32
    iterations: 64000
    keep: {conv1: int8}          # any kind: layers whose weight and activation keep a format
    formats: {stash: actnn2}     # any kind: operands that the schedule leaves out

``piecewise`` has ``parts: [{epochs: 159, plan: "bfp4:64"}, {epochs: 1, plan: "bfp6:64"}]``, where a plan may also be a YAML
file; ``traced`` has ``trace:``, a CSV file. Both are looked for beside the schedule's file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from dse.errors import InputError, Problem
from dse.precision.plans.file import is_path
from dse.yaml_input import Document, load_yaml, suggest, validate


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: str
    keep: dict[str, str] = {}
    formats: dict[str, str] = {}


class _Static(_Common):
    plan: str
    iterations: int


class _Cyclic(_Common):
    low: int
    high: int
    backward: StrictInt | StrictStr = 8
    cycles: int = 32
    iterations: int = 64_000
    curve: str = "cosine"
    chain: str = "repeated"
    family: Literal["int", "bfp"] = "int"
    backward_low: int | None = None


class _Random(_Common):
    low: int
    high: int
    backward: StrictInt | StrictStr = 8
    iterations: int = 64_000
    hold: int = 100
    seed: int = 0
    family: Literal["int", "bfp"] = "int"


class _Better(_Common):
    name: str
    low: int
    high: int
    backward: StrictInt | StrictStr = 8
    cycles: int = 8
    iterations: int = 64_000


class _Progressive(_Common):
    switches: list[int]
    iterations: int
    forward: list[int] = [3, 4, 6, 8]
    backward: list[int] = [6, 6, 8, 8]
    family: Literal["int", "bfp"] = "int"


class _FromLosses(_Common):
    losses: list[float]
    iterations_per_epoch: int
    forward: list[int] = [3, 4, 6, 8]
    backward: list[int] = [6, 6, 8, 8]
    threshold: float = 0.05
    decay: float = 0.3


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    epochs: int
    plan: str


class _Piecewise(_Common):
    parts: list[_Part]
    iterations_per_epoch: int = 1


class _Traced(_Common):
    trace: str
    backward: StrictInt | StrictStr | None = None
    iterations: int | None = None
    layers: list[str | None] | None = None
    family: Literal["int", "bfp"] = "int"


_KINDS: dict[str, type[_Common]] = {
    "static": _Static,
    "cyclic": _Cyclic,
    "random": _Random,
    "better": _Better,
    "progressive": _Progressive,
    "progressive_from_losses": _FromLosses,
    "piecewise": _Piecewise,
    "traced": _Traced,
}


class ScheduleText(NamedTuple):
    """What a schedule's file says: kind, arguments of its constructor, and what applies to every kind."""

    document: Document
    kind: str
    arguments: dict[str, Any]
    keep: dict[str, str]
    formats: dict[str, str]


def read_schedule(path: str | Path) -> ScheduleText:
    """Read and check the shape of a schedule's YAML.

    Raises
    ------
    InputError
        Unknown kind, unknown or missing keys, wrong types: all with lines.
    """
    document = load_yaml(path)
    kind = document.value.get("kind") if isinstance(document.value, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        found = "missing" if kind is None else f"unknown kind {kind!r}"
        raise InputError(
            document.source, [*document.problems, document.problem(("kind",), f"{found}{suggest(str(kind), _KINDS)}")]
        )
    checked = validate(_KINDS[kind], document)
    arguments = {
        name: getattr(checked, name) for name in type(checked).model_fields if name not in _Common.model_fields
    }
    if isinstance(checked, _Piecewise):
        arguments["parts"] = [(part.epochs, _beside(path, part.plan)) for part in checked.parts]
    if isinstance(checked, _Static):
        arguments["plan"] = _beside(path, checked.plan)
    if isinstance(checked, _Traced):
        arguments["trace"] = Path(path).parent / checked.trace
    return ScheduleText(document, kind, arguments, checked.keep, checked.formats)


def _beside(path: str | Path, plan: str) -> str:
    """A plan in short as it is; the file of a plan is looked for beside the schedule's."""
    return str(Path(path).parent / plan) if is_path(plan) else plan


def placed(document: Document, error: InputError) -> InputError:
    """An error of a constructor, told as problems of the file with their lines."""
    if error.source not in ("schedule", "format") and not error.source.startswith("plan"):
        return error  # it names another file, such as the trace
    problems = []
    for problem in error.problems:
        parts = re.findall(r"[^.\[\]]+", problem.where)
        where = [int(part) if part.isdigit() else part for part in parts]
        problems.append(Problem(problem.where, problem.message, document.line(where)))
    return InputError(document.source, problems)
