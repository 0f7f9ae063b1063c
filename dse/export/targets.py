"""What ``dse export`` can write: one record per target, in one table.

To add a target, write its :class:`Target` and add it to :data:`TARGETS`; from outside the package, :func:`register` it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dse.errors import InputError
from dse.export.accelforge import accelforge_files
from dse.export.bits import brevitas_text, hawq_text, json_text, onnx_model, onnx_text
from dse.export.design import Design, load_design
from dse.export.timeloop import timeloop_files
from dse.export.zigzag import zigzag_files
from dse.files import new_folder, write_files
from dse.report.design_text import design_row, design_text, hardware_text
from dse.report.run.data import RunData, read_run
from dse.yaml_input import suggest

#: Contents by file name, given a run and the name of a design of its front.
Writer = Callable[[RunData, str], Mapping[str, str | bytes]]


@dataclass(frozen=True)
class Target:
    """A form in which a design is written: what ``--to`` takes, and who writes it."""

    name: str
    write: Writer


def of_design(files: Callable[[Design], Mapping[str, str | bytes]]) -> Writer:
    """A writer of the files of a loaded design."""
    return lambda run, name: files(load_design(f"{run.folder}:{name}"))


def _text(target: str, text: Callable[[Design], str], suffix: str = "json") -> Target:
    return Target(target, lambda run, name: {f"{name}-{target}.{suffix}": text(load_design(f"{run.folder}:{name}"))})


#: Targets by name.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("design", lambda run, name: {f"{name}.yaml": design_text(run, name)}),
        Target("hardware", lambda run, name: {f"{name}-hardware.yaml": hardware_text(run, name)}),
        _text("json", json_text),
        _text("brevitas", brevitas_text),
        _text("hawq", hawq_text),
        _text("onnx", onnx_text),
        _text("plan", lambda design: design.plan.to_yaml(), "yaml"),
        Target("zigzag", of_design(zigzag_files)),
        Target("accelforge", of_design(accelforge_files)),
        Target("timeloop", of_design(timeloop_files)),
    )
}


def register(target: Target) -> None:
    """Make a target known to ``dse export``.

    Raises
    ------
    InputError
        Another target has its name.
    """
    if TARGETS.setdefault(target.name, target) is not target:
        raise InputError("register", [f"a target named '{target.name}' exists"])


def export_design(folder: Path, design: str, target: str, model: Path | None = None) -> dict[str, str | bytes]:
    """A design of a run in the form of another program.

    Parameters
    ----------
    folder, design
        A run folder and a design of its front, or ``knee``, ``fastest``, ``lowest-energy``.
    target
        One of :data:`TARGETS`.
    model
        For ``onnx``: a model to put the bit map into, instead of JSON.

    Returns
    -------
    dict
        Contents by file name.

    Raises
    ------
    InputError
        No such run, design or target, or a design that the target cannot express.
    """
    if target not in TARGETS:
        raise InputError("--to", [f"'{target}' is no target{suggest(target, TARGETS)}"])
    if model is not None and target != "onnx":
        raise InputError("--model", ["goes with --to onnx only"])
    run = read_run(folder)
    name = str(design_row(run, design)["design"])
    if model is not None:
        return {f"{name}.onnx": onnx_model(load_design(f"{folder}:{name}"), model)}
    return dict(TARGETS[target].write(run, name))


def write_export(contents: dict[str, str | bytes], place: Path) -> list[Path]:
    """Write what :func:`export_design` gave: one file to ``place`` itself, several into the folder ``place``.

    Raises
    ------
    InputError
        The place cannot be written.
    """
    many = len(contents) > 1
    files = {place / name if many else place: content for name, content in contents.items()}
    with new_folder(place if many else place.parent):
        write_files(files)
    return list(files)
