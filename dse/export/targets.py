"""What ``dse export`` can write, by target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dse.errors import InputError
from dse.export.accelforge import accelforge_files
from dse.export.bits import brevitas_text, hawq_text, json_text, onnx_model, onnx_text
from dse.export.design import Design, load_design
from dse.export.timeloop import timeloop_files
from dse.export.zigzag import zigzag_files
from dse.files import new_folder, write_files
from dse.report.design_text import design_row, design_text, hardware_text
from dse.report.run_data import read_run
from dse.yaml_input import suggest

#: Targets that are one text, from a design.
_TEXTS: dict[str, Callable[[Design], str]] = {
    "json": json_text,
    "brevitas": brevitas_text,
    "hawq": hawq_text,
    "onnx": onnx_text,
    "plan": lambda design: design.plan.to_yaml(),
}
#: Targets that are a text of the run folder itself.
_OF_RUN = {"design": design_text, "hardware": hardware_text}
#: Targets of several files.
_FILES: dict[str, Callable[[Design], dict[str, str]]] = {
    "zigzag": zigzag_files,
    "accelforge": accelforge_files,
    "timeloop": timeloop_files,
}
TARGETS = (*_OF_RUN, *_TEXTS, *_FILES)


def export_design(folder: Path, design: str, target: str, model: Path | None = None) -> dict[str, str | bytes]:
    """A design of a run in the form of another program.

    Parameters
    ----------
    folder, design
        A run folder and a design of its front, or ``knee``, ``fastest``, ``thriftiest``.
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
    if target in _OF_RUN:
        return {f"{name}.yaml" if target == "design" else f"{name}-{target}.yaml": _OF_RUN[target](run, name)}
    what = load_design(f"{folder}:{name}")
    if model is not None:
        return {f"{name}.onnx": onnx_model(what, model)}
    if target in _FILES:
        return dict(_FILES[target](what))
    suffix = "yaml" if target == "plan" else "json"
    return {f"{name}-{target}.{suffix}": _TEXTS[target](what)}


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
