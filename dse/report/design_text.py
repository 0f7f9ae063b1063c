"""A design as one YAML text that holds all it takes to compute its figures again: plan, hardware, values of its parameters.

``dse evaluate --design FILE`` reads it (:mod:`dse.export.design`). The hardware file stands in it as it was read, with the
design's values as defaults of its sets and ranges: the space stays, because the mapper searches for a whole space
(:func:`dse.cost.jobs.points.anchors`), so a design that is taken out of its space keeps its figures to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dse.errors import InputError, Problem
from dse.files import is_file, read_text
from dse.goals import AREA, OBJECTIVES
from dse.report.run.data import RunData, listed
from dse.report.tables.runs import notable
from dse.shipped import find_file
from dse.yaml_input import load_yaml, suggest, yaml_number, yaml_word

#: Stands for the hardware in the texts of a page, which all designs of a run share.
PLACEHOLDER = "@hardware@\n"
_HEAD = "# A design that dse found; dse evaluate --design FILE computes its figures again.\n"


def design_row(run: RunData, design: str) -> pd.Series:
    """The row of a design, by its name or by what it is: ``knee``, ``fastest`` or ``lowest-energy`` of the front.

    Raises
    ------
    InputError
        The run holds no such design, or it is infeasible.
    """
    roles = notable(run)
    if design in roles:
        return roles[design]
    rows = run.front[run.front["design"] == design]
    if len(rows):
        return rows.iloc[0]
    where = f"{run.folder}: {design}"
    if (run.designs["design"] == design).any():
        raise InputError(where, ["is not on the front; bit maps are kept for the designs of the front only"])
    names = [*roles, *run.front["design"]]
    raise InputError(where, [f"no such design{suggest(design, names) or '; front.csv lists them'}"])


def design_text(run: RunData, design: str) -> str:
    """The YAML of one design of the front; :func:`design_row` says how it may be named.

    Raises
    ------
    InputError
        No such design, or the run folder lacks its plan.
    """
    return _own_text(run, design_row(run, design)).replace(PLACEHOLDER, hardware_part(run))


def design_texts(run: RunData) -> dict[str, str]:
    """Texts of all designs of the front with plans, by name, each with :data:`PLACEHOLDER` for :func:`hardware_part`."""
    rows = run.front.to_dict("records")
    return {
        str(row["design"]): _own_text(run, row) for row in rows if all(is_file(path) for path in _plan_paths(run, row))
    }


def _own_text(run: RunData, row: Mapping[Any, Any] | pd.Series) -> str:
    missing = [path for path in _plan_paths(run, row) if not is_file(path)]
    if missing:
        raise InputError(str(missing[0]), ["is missing; without its plan a design cannot be written out"])
    info, workloads = run.info, _workloads(run)
    reproduced = _reproduced(run)
    head = {
        "design": str(row["design"]),
        "run": run.name,
        "dse_version": str(info.get("dse_version") or "unknown"),
        "model_version": str(info.get("model_version") or "unknown"),
        "workload": workloads[0] if len(workloads) == 1 else workloads,
        "mode": str(info.get("mode") or "training"),
        "values": {name: _number(row[name]) for name in parameters(run) if name in row},
        "figures": {name: float(row[name]) for name in reproduced if name in row and pd.notna(row[name])},
    }
    texts = [read_text(path, "a plan") for path in _plan_paths(run, row)]
    if len(texts) == 1:
        plans = "plan:\n" + _indented(texts[0])
    else:
        named = zip(workloads, texts, strict=True)
        plans = "plans:\n" + "".join(f"  {_stem(name)}:\n" + _indented(_indented(text)) for name, text in named)
    return _HEAD + _note(run, row) + _lines(head) + PLACEHOLDER + plans


def _reproduced(run: RunData) -> tuple[str, ...]:
    """Figures that the evaluation of one plan on one workload gives again."""
    one = len(_workloads(run)) == 1 and not any(str(name).startswith("schedule.") for name in run.front.columns)
    return tuple(item.column for item in OBJECTIVES.values() if item.evaluated and (one or item is AREA))


def _note(run: RunData, row: Mapping[Any, Any] | pd.Series) -> str:
    text = ""
    if len(_workloads(run)) > 1:
        text += "# Several workloads: dse evaluate WORKLOAD --design FILE gives the share of one.\n"
    names = [str(name) for name in run.front.columns if str(name).startswith("schedule.")]
    if names:
        values = ", ".join(f"{name.removeprefix('schedule.')} {row[name]}" for name in names)
        text += f"# The plan is the widest of a schedule ({values}); the run's figures are those of its mean step.\n"
    return text


def _workloads(run: RunData) -> list[str]:
    """Paths or names of the workloads."""
    items = listed(run.info, "workloads") or [run.info.get("workload") or {}]
    return [
        str(item.get("path") or item.get("name") or run.info.get("name") or "")
        for item in items
        if isinstance(item, Mapping)
    ]


def _stem(workload: str) -> str:
    return Path(workload).name.removesuffix(".yaml")


def hardware_part(run: RunData) -> str:
    """The hardware of a run as a part of a design's text: the whole file, or its name where the file cannot be read."""
    document = _hardware_document(run)
    if document is None:
        info = run.info.get("hardware")
        return _dump({"hardware": str((info.get("path") or info.get("name")) if isinstance(info, Mapping) else info)})
    return "hardware:\n" + _indented(_dump(document))


def hardware_text(run: RunData, design: str) -> str:
    """The hardware file of a run with a design's values as defaults, for ``dse evaluate --hardware``.

    Raises
    ------
    InputError
        No such design, or the hardware file is neither in the run folder nor where it was.
    """
    row = design_row(run, design)
    document = _hardware_document(run)
    if document is None:
        raise InputError(
            str(run.folder), ["the run's hardware file is not found; it is needed for the numbers that do not vary"]
        )
    return _dump(with_defaults(document, {name: _number(row[name]) for name in parameters(run) if name in row}))


def with_defaults(document: Mapping[str, Any], values: Mapping[str, float]) -> dict[str, Any]:
    """A hardware document with other defaults in its sets and ranges; names as ``array.rows`` and ``memories.buffer.size_bits``.

    Raises
    ------
    InputError
        The document has no set or range of that name.
    """
    result = {str(key): _copy(item) for key, item in document.items()}
    problems = []
    for name, value in values.items():
        parts = name.split(".")
        path = ["array", "axes", *parts[1:], "size"] if parts[0] == "array" else parts
        place: Any = result
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or "default" not in place:
            problems.append(Problem(name, "the hardware file has no set or range of this name"))
        else:
            place["default"] = value
    if problems:
        raise InputError(str(document.get("name", "hardware")), problems)
    return result


def parameters(run: RunData) -> list[str]:
    """Names of the hardware's parameters."""
    hardware = run.info.get("hardware")
    return (
        [str(item["name"]) for item in listed(hardware, "space") if "name" in item]
        if isinstance(hardware, Mapping)
        else []
    )


def _hardware_document(run: RunData) -> dict[str, Any] | None:
    kept = run.folder / "hardware.yaml"
    info = run.info.get("hardware")
    given = str(info.get("path") or info.get("name") or "") if isinstance(info, Mapping) else ""
    try:
        value = load_yaml(kept if is_file(kept) else find_file(given, "hwmodels")).value
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def _plan_paths(run: RunData, row: Mapping[Any, Any] | pd.Series) -> list[Path]:
    """The files of a design's bit maps, one per workload."""
    name, workloads = Path(str(row["design"])).name, listed(run.info, "workloads")
    if len(workloads) < 2:
        return [run.folder / "plans" / f"{name}.yaml"]
    return [run.folder / "plans" / f"{name}.{Path(str(item.get('name'))).name}.yaml" for item in workloads]


def _number(value: Any) -> float | int:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _lines(head: Mapping[str, Any]) -> str:
    """What :func:`_dump` would write of words, numbers and flat tables of numbers; a page has thousands of them."""
    text = ""
    for key, value in head.items():
        if isinstance(value, Mapping):
            value = "{" + ", ".join(f"{name}: {yaml_number(number)}" for name, number in value.items()) + "}"
        elif isinstance(value, list):
            value = "[" + ", ".join(map(yaml_word, value)) + "]"
        else:
            value = yaml_word(value)
        text += f"{key}: {value}\n"
    return text


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _dump(value: Mapping[str, Any]) -> str:
    """Block style at the top; flow style for what is innermost, as people write it."""
    return "".join(
        yaml.safe_dump(
            {key: item},
            sort_keys=False,
            allow_unicode=True,
            width=120,
            default_flow_style=None if isinstance(item, Mapping | list) else False,
        )
        for key, item in value.items()
    )


def _indented(text: str) -> str:
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))
