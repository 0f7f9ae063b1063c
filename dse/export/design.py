"""Reads a design back: a file that ``dse export --to design`` or the report page wrote, or ``RUN:DESIGN`` of a run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dse.errors import InputError, Problem
from dse.files import is_file, is_folder, why_not_read
from dse.hardware import Hardware, load_hardware
from dse.hardware.from_file.load import hardware_from_document
from dse.precision import Plan
from dse.report.design_text import design_text
from dse.report.run.data import read_run
from dse.workload import Network, load_workload
from dse.yaml_input import Document, Key, load_yaml, parse_yaml, suggest

_KEYS = (
    "design",
    "run",
    "dse_version",
    "model_version",
    "workload",
    "mode",
    "values",
    "figures",
    "hardware",
    "plan",
    "plans",
)
_NEEDED = ("design", "workload", "hardware")
#: Significant digits that a run folder keeps of a figure.
FIGURE_DIGITS = 12


@dataclass(frozen=True)
class Design:
    """A design with everything that its cost depends on.

    Attributes
    ----------
    name
        Its name in the run.
    network, plan, mode
        What runs, in which formats, ``training`` or ``inference``.
    hardware
        The accelerator with the design's values; its space is empty, its tables are those of the space.
    values
        The parameters by name.
    figures
        What the run said of it: ``latency_s``, ``energy_j``, ``area_mm2``, ``accuracy_drop_pp``.
    """

    name: str
    network: Network
    plan: Plan
    mode: str
    hardware: Hardware
    values: Mapping[str, float]
    figures: Mapping[str, float]

    def differences(self, total: Mapping[str, object]) -> dict[str, tuple[float, float]]:
        """Figures that a new evaluation does not reproduce: name, then the run's figure and the new one.

        Equal means equal in the :data:`FIGURE_DIGITS` digits that a run folder keeps.
        """
        pairs = {name: (value, total.get(name)) for name, value in self.figures.items()}
        return {name: (old, new) for name, (old, new) in pairs.items() if isinstance(new, float) and not same(old, new)}

    def verdict(self, total: Mapping[str, object]) -> str:
        """One sentence for people: whether an evaluation gives the run's figures again."""
        wrong = self.differences(total)
        names = [name for name in self.figures if name in total]
        if not wrong:
            return f"{self.name}: {', '.join(names)} as in the run, to the last of {FIGURE_DIGITS} digits"
        parts = [f"{name} was {old!r}, is {new!r}" for name, (old, new) in wrong.items()]
        return f"{self.name}: not as in the run (another version of the model, or changed inputs): {'; '.join(parts)}"


def same(kept: float, new: float) -> bool:
    """Whether a new figure is the kept one in all its digits; a new one half-way between two last digits may be either.

    >>> same(1.89852985937, 1.898529859375), same(1.89852985937, 1.898529859376)
    (True, False)
    """
    if kept == 0.0 or not math.isfinite(kept):
        return kept == new
    unit = 10.0 ** (math.floor(math.log10(abs(kept))) + 1 - FIGURE_DIGITS)
    # The sums of both are accurate to about 1e-15, a thousandth of the last digit.
    return abs(new - kept) <= (0.5 + 1e-3) * unit


def load_design(reference: str | Path, workload: str | None = None) -> Design:
    """A design from its file, or from a run folder as ``FOLDER:DESIGN``.

    Parameters
    ----------
    reference
        A file, or a run folder and a design of its front (or ``knee``, ``fastest``, ``lowest-energy``) with a colon between.
    workload
        The workload to load instead of the one that the file names.

    Raises
    ------
    InputError
        Neither exists, or something in the file is wrong; all problems with their lines.
    """
    text = str(reference)
    if is_file(text):
        return _read(load_yaml(text), workload)
    folder, colon, name = text.rpartition(":")
    if colon and is_folder(folder):
        return _read(parse_yaml(design_text(read_run(Path(folder)), name), text), workload)
    why = why_not_read(text, "a design's YAML file")
    if why not in ("", "no such file"):
        raise InputError(text, [why])
    raise InputError(text, ["is neither a file nor FOLDER:DESIGN with the folder of a run and a design of its front"])


def _read(document: Document, workload: str | None) -> Design:
    document.require_sound()
    value = document.value
    if not isinstance(value, dict):
        raise InputError(
            document.source, [document.problem((), "expected the mapping that dse export --to design writes")]
        )
    problems = [document.problem((key,), f"unknown key{suggest(str(key), _KEYS)}") for key in value if key not in _KEYS]
    problems += [
        Problem(key, "missing; expected what dse export --to design writes") for key in _NEEDED if key not in value
    ]
    for key in ("values", "figures"):
        entry = value.get(key, {})
        if not isinstance(entry, dict) or not all(type(x) in (int, float) for x in entry.values()):
            problems.append(document.problem((key,), "expected names with numbers"))
    if problems:
        raise InputError(document.source, problems)
    where, named = _plan_place(document, workload)
    network = load_workload(workload or named)
    given = value["hardware"]
    hardware = (
        hardware_from_document(_part(document, ("hardware",))) if isinstance(given, dict) else load_hardware(str(given))
    )
    values = {str(key): float(x) for key, x in value.get("values", {}).items()}
    return Design(
        str(value["design"]),
        network,
        Plan.from_document(_part(document, where), network),
        str(value.get("mode", "training")),
        hardware.with_values(values),
        values,
        {str(key): float(x) for key, x in value.get("figures", {}).items()},
    )


def _plan_place(document: Document, workload: str | None) -> tuple[Key, str]:
    """Where the plan stands in a file, and the workload that the file names for it."""
    value = document.value
    if "plan" in value and not isinstance(value["workload"], list):
        return ("plan",), str(value["workload"])
    plans, names = value.get("plans"), value["workload"]
    if not isinstance(plans, dict) or not isinstance(names, list):
        raise InputError(document.source, ["expected a workload with its plan, or a list of workloads with plans"])
    stems = {Path(str(name)).name.removesuffix(".yaml"): str(name) for name in names}
    wanted = Path(workload or "").name.removesuffix(".yaml")
    if wanted not in plans:
        raise InputError(
            document.source, [f"holds the plans of {', '.join(map(str, plans))}; name one of them as the workload"]
        )
    return ("plans", wanted), stems.get(wanted, wanted)


def _part(document: Document, key: Key) -> Document:
    """What stands at a path, as a document of its own with the lines of the whole."""
    lines = {path[len(key) :]: line for path, line in document.lines.items() if path[: len(key)] == key}
    value = document.value
    for part in key:
        value = value[part]
    return Document(document.source, value, lines)
