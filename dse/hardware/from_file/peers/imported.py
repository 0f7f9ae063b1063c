"""One door for accelerators of other programs: what kind of file it is, and the hardware file that comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dse.errors import InputError
from dse.hardware.from_file.load import hardware_from_document
from dse.hardware.from_file.peers.reader import Section, read_peer_yaml
from dse.hardware.from_file.peers.timeloop import timeloop_hardware
from dse.hardware.from_file.peers.zigzag import zigzag_hardware
from dse.hardware.model import Hardware
from dse.yaml_input import parse_yaml

#: What is assumed where neither the file nor the caller says it; ranges are those that a hardware file may have.
DEFAULTS = {"clock_hz": 1e9, "node_nm": 45.0, "operand_bits": 8.0}
_WORDS = {"clock_hz": "clock of 1 GHz", "node_nm": "node of 45 nm"}


@dataclass(frozen=True)
class ImportedHardware:
    """An accelerator of another program.

    Attributes
    ----------
    hardware
        As read from ``text``.
    text
        The hardware file.
    program
        ``zigzag`` or ``timeloop``.
    notes
        What was assumed, and what was left out.
    """

    hardware: Hardware
    text: str
    program: str
    notes: tuple[str, ...]


def import_hardware(
    path: str | Path,
    mapping: str | Path | None = None,
    energies: str | Path | None = None,
    clock_hz: float | None = None,
    node_nm: float | None = None,
    operand_bits: int | None = None,
    name: str | None = None,
) -> ImportedHardware:
    """A hardware file from ZigZag's accelerator or Timeloop's architecture of version 0.4.

    Parameters
    ----------
    path
        The file.
    mapping
        ZigZag's mapping file, which says what runs along the axes; it needs one.
    energies
        Accelergy's energy reference table for Timeloop's; without it the model's prices hold.
    clock_hz, node_nm, operand_bits
        What the file does not say, Hz, nm and bits; default: :data:`DEFAULTS`, told in ``notes``.
    name
        Name of the hardware; default: the file's.

    Raises
    ------
    InputError
        All problems of the file at once, or what comes out is no hardware file.
    """
    value = read_peer_yaml(Path(path))
    problems: list[str] = []
    notes: list[str] = []
    given = {"clock_hz": clock_hz, "node_nm": node_nm, "operand_bits": operand_bits}
    defaults = {key: float(DEFAULTS[key] if number is None else number) for key, number in given.items()}
    program = _program(value)
    if program == "zigzag":
        if energies is not None:
            problems.append("is ZigZag's and has its own prices: an energy table is for Timeloop's")
        if mapping is None:
            raise InputError(
                str(path), ["is ZigZag's: give its mapping file too (--mapping), which says what runs along each axis"]
            )
        top = Section(value, "accelerator", problems)
        keys = zigzag_hardware(top, read_peer_yaml(Path(mapping)), defaults, notes)
        called, whence = top.text("name"), "ZigZag's accelerator"
    elif program == "timeloop":
        if mapping is not None:
            problems.append("is Timeloop's, whose meshes say what runs along them: a mapping file is for ZigZag's")
        top = Section(value["architecture"], "architecture", problems)
        table = None if energies is None else read_peer_yaml(Path(energies))
        keys = timeloop_hardware(top, table, defaults, notes)
        called, whence = Path(path).stem, "Timeloop's architecture"
    else:
        raise InputError(
            str(path),
            [
                "expected ZigZag's accelerator (memories, operational_array) or Timeloop's architecture of version 0.4 "
                "(architecture.nodes)"
            ],
        )
    if problems:
        raise InputError(str(path), problems)
    assumed = [words for key, words in _WORDS.items() if given[key] is None and key not in keys]
    notes[:0] = [f"assumed, since the file does not say: {', '.join(assumed)}"] if assumed else []
    # What the caller says holds over what the file says, and that over what is assumed.
    named = {key: next(v for v in (given[key], keys.pop(key, None), defaults[key]) if v is not None) for key in _WORDS}
    notes.append(
        "clock network, control and leakage are the model's; clock_pj_per_cycle: 0 and modelled_leakage: false leave them out"
    )
    document = {
        "name": _word(name or called or Path(path).stem),
        "description": f"{whence} {called}, imported",
        "source": f"{whence}, file {Path(path).name}",
        **named,
        **keys,
    }
    text = _file_text(document, notes)
    return ImportedHardware(hardware_from_document(parse_yaml(text, f"{path}, imported")), text, program, tuple(notes))


def _program(value: Any) -> str:
    """Whose file it is, by its keys; "" for any other."""
    if not isinstance(value, Mapping):
        return ""
    if {"memories", "operational_array"} <= set(value):
        return "zigzag"
    architecture = value.get("architecture")
    return "timeloop" if isinstance(architecture, Mapping) and "nodes" in architecture else ""


def _word(text: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "imported"
    return word if not word[0].isdigit() else f"_{word}"


def _file_text(document: Mapping[str, Any], notes: list[str]) -> str:
    remarks = "".join(f"# {note}\n" for note in notes)
    return remarks + yaml.safe_dump(dict(document), sort_keys=False, width=120, default_flow_style=None)
