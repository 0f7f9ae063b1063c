"""Explicit mappings as text: one line, Timeloop's one-line form, and YAML.

One line, outermost first, as one reads a nest. A memory is `name[roles]` with roles out of W (weight), A (activation) and O
(accumulator); what stands to its right is inside its tile. A loop is `K8`, or `K8@x` along the array axis x::

    dram[WAO] P8 Q2 K4 - glb[AO] P14 Q4 Q14@x C3@y S3@y - ifmap[A] weights[W] R3 - psum[O] K8

Dashes only help the eye. A level may be written twice with different roles, so that its operands are cut at different loops;
`buffer[AO]/x,y` shares one instance along the axes x and y wherever their loops stand. Timeloop's form is read as it is:
I stands for A, and a trailing X or Y is the axis of that name, as in `L2[WI] N1 K8X`. Loops of extent 1 are dropped.

In YAML a file maps layer names to such lines or to the same content spelled out, innermost first::

    conv1:
      loops: [{dim: K, extent: 8}, {dim: C, extent: 3, axis: y}]
      levels:
        - {name: psum, accumulator: 1}
        - {name: dram, weight: 2, activation: 2, accumulator: 2}

where a level's number is how many loops of the order are inside its tile.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from dse.errors import InputError, Problem
from dse.files import write_text
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.names import DIMS, ROLES
from dse.yaml_input import Document, load_yaml, suggest

_LETTERS = {"W": 0, "A": 1, "I": 1, "O": 2}
_LEVEL = re.compile(r"([^\[\]\s/]+)\[([WAIO]+)\](?:/([^\s]*))?")
_LOOP = re.compile(r"([A-Z])([0-9]+)(?:@([^\s]+)|([XY]))?")


def parse_mapping(text: str, source: str = "mapping") -> Mapping:
    """Mapping of one line; raises InputError with every token that cannot be read."""
    mapping, problems = _parse(text, source)
    if problems:
        raise InputError(source, problems)
    return mapping


def _parse(text: str, source: str) -> tuple[Mapping, list[Problem]]:
    loops: list[Loop] = []
    seen: dict[str, tuple[list[int | None], tuple[str, ...] | None]] = {}
    written: list[list[str]] = [[], [], []]  # per role the names that hold it, outermost first
    problems: list[Problem] = []
    for token in text.split():
        if token == "-":
            continue
        level, loop = _LEVEL.fullmatch(token), _LOOP.fullmatch(token)
        if level:
            name, roles, axes = level.groups()
            shared = tuple(a for a in axes.split(",") if a) if axes is not None else None
            starts, known = seen.setdefault(name, ([None, None, None], shared))
            if known != shared:
                problems.append(Problem(token, f"level {name!r} is shared along different axes in one mapping"))
            for letter in roles:
                if starts[_LETTERS[letter]] is not None:
                    problems.append(Problem(token, f"level {name!r} holds {letter} twice; write each role once"))
                starts[_LETTERS[letter]] = len(loops)
                written[_LETTERS[letter]].append(name)
        elif loop and loop[1] in DIMS and int(loop[2]) >= 1:
            if int(loop[2]) > 1:
                loops.append(Loop(loop[1], int(loop[2]), loop[3] or loop[4]))
        else:
            problems.append(
                Problem(
                    token,
                    f"neither a memory such as buffer[WAO] nor a loop such as K8 or K8@x over one of {' '.join(DIMS)}",
                )
            )
    if not seen:
        problems.append(Problem("", "no memory is named; start with the outermost, such as dram[WAO]"))
    n = len(loops)
    levels = []
    for name, (starts, shared) in seen.items():
        weight, activation, accumulator = (None if s is None else n - s for s in starts)
        levels.append(Level(name, (weight, activation, accumulator), shared))
    return Mapping(tuple(reversed(loops)), _inner_first(levels, written), source), problems


def _inner_first(levels: list[Level], written: list[list[str]]) -> tuple[Level, ...]:
    """Levels inner to outer: below another wherever a role says so, else the one that was written last first."""
    rest = list(reversed(levels))
    ordered: list[Level] = []
    while rest:
        names = {level.name for level in rest}
        lowest = {next(n for n in reversed(role) if n in names) for role in written if names & set(role)}
        blocked = {n for role in written for n in role if n not in lowest} | {
            n for n in lowest for role in written if n in role and any(m in names for m in role[role.index(n) + 1 :])
        }
        chosen = next((level for level in rest if level.name not in blocked), rest[0])
        ordered.append(chosen)
        rest.remove(chosen)
    return tuple(ordered)


def format_mapping(mapping: Mapping) -> str:
    """The one line that `parse_mapping` reads back."""
    n = len(mapping.loops)
    words: list[str] = []
    for position in range(n, -1, -1):
        for level in reversed(mapping.levels):
            roles = "".join(letter for r, letter in enumerate("WAO") if level.cuts[r] == position)
            if roles:
                shared = "" if level.shared_along is None else "/" + ",".join(level.shared_along)
                words += (["-"] if words else []) + [f"{level.name}[{roles}]{shared}"]
        if position:
            loop = mapping.loops[position - 1]
            words.append(f"{loop.dim}{loop.extent}" + (f"@{loop.axis}" if loop.axis else ""))
    return " ".join(words)


def mapping_to_plain(mapping: Mapping) -> dict[str, Any]:
    """The mapping as plain dicts and lists, as it stands in YAML."""
    loops = [
        {"dim": x.dim, "extent": x.extent} | ({"axis": x.axis} if x.axis is not None else {}) for x in mapping.loops
    ]
    levels: list[dict[str, Any]] = []
    for level in mapping.levels:
        entry: dict[str, Any] = {"name": level.name}
        entry |= {role: cut for role, cut in zip(ROLES, level.cuts, strict=True) if cut is not None}
        if level.shared_along is not None:
            entry["shared_along"] = list(level.shared_along)
        levels.append(entry)
    return {"loops": loops, "levels": levels}


def dump_mappings(mappings: dict[str, Mapping]) -> str:
    """YAML text of a mapping file."""
    return yaml.safe_dump(
        {k: mapping_to_plain(m) for k, m in mappings.items()}, sort_keys=False, default_flow_style=None
    )


def write_mappings(path: str | Path, mappings: dict[str, Mapping], title: str = "") -> None:
    """Write a mapping file with one line per name, below a comment.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    lines = {name: format_mapping(mapping) for name, mapping in mappings.items()}
    text = yaml.safe_dump(lines, sort_keys=False, width=1_000_000, allow_unicode=True)
    write_text(Path(path), (f"# {title}\n" if title else "") + text)


def load_mapping(path: str | Path, layer_names: Collection[str] | None = None) -> dict[str, Mapping]:
    """Mappings of a file by layer name.

    Parameters
    ----------
    layer_names
        Names that may occur; None accepts all. Layers without an entry are the caller's to map.

    Raises
    ------
    InputError
        With every problem of the file and its line.
    """
    document = load_yaml(path)
    problems = list(document.problems)
    result: dict[str, Mapping] = {}
    if not isinstance(document.value, dict):
        raise InputError(document.source, [*problems, Problem("", "a mapping file maps layer names to mappings")])
    for name, value in document.value.items():
        key = str(name)
        if layer_names is not None and key not in layer_names:
            problems.append(document.problem((name,), f"no layer has this name{suggest(key, layer_names)}"))
            continue
        if isinstance(value, str):
            mapping, found = _parse(value, document.source)
            problems += [document.problem((name,), str(p)) for p in found]
        else:
            made = _from_plain(value, document, name, problems)
            if made is None:
                continue
            mapping = made
        result[key] = mapping
    if problems:
        raise InputError(document.source, problems)
    return result


def _from_plain(value: Any, document: Document, name: str | int, problems: list[Problem]) -> Mapping | None:
    before = len(problems)
    if not isinstance(value, dict) or set(value) != {"loops", "levels"}:
        problems.append(
            document.problem((name,), "a mapping is one line of text, or has exactly the keys loops and levels")
        )
        return None
    loops: list[Loop] = []
    for i, entry in enumerate(_entries(value["loops"], document, (name, "loops"), {"dim", "extent", "axis"}, problems)):
        dim, extent, axis = entry.get("dim"), entry.get("extent"), entry.get("axis")
        if dim not in DIMS:
            problems.append(
                document.problem((name, "loops", i), f"dim has to be one of {' '.join(DIMS)}, found {dim!r}")
            )
        elif not isinstance(extent, int) or isinstance(extent, bool) or extent < 1:
            problems.append(
                document.problem((name, "loops", i), f"extent has to be an integer of at least 1, found {extent!r}")
            )
        elif axis is not None and not isinstance(axis, str):
            problems.append(document.problem((name, "loops", i), f"axis has to be a name, found {axis!r}"))
        else:
            loops.append(Loop(dim, extent, axis))
    levels: list[Level] = []
    allowed = {"name", "shared_along", *ROLES}
    for i, entry in enumerate(_entries(value["levels"], document, (name, "levels"), allowed, problems)):
        cuts = [entry.get(role) for role in ROLES]
        shared = entry.get("shared_along")
        if not isinstance(entry.get("name"), str):
            problems.append(document.problem((name, "levels", i), "a level needs a name"))
        elif any(c is not None and (not isinstance(c, int) or isinstance(c, bool) or c < 0) for c in cuts):
            problems.append(
                document.problem((name, "levels", i), "a role's value is the number of loops inside its tile")
            )
        elif shared is not None and not (isinstance(shared, list) and all(isinstance(a, str) for a in shared)):
            problems.append(document.problem((name, "levels", i), "shared_along has to be a list of axes"))
        else:
            levels.append(Level(entry["name"], (cuts[0], cuts[1], cuts[2]), None if shared is None else tuple(shared)))
    if len(problems) > before:
        return None
    return Mapping(tuple(loops), tuple(levels), document.source)


def _entries(
    value: Any, document: Document, where: Sequence[str | int], allowed: set[str], problems: list[Problem]
) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        problems.append(document.problem(where, "has to be a list of entries"))
        return []
    for i, entry in enumerate(value):
        for unknown in sorted(str(key) for key in entry if key not in allowed):
            problems.append(document.problem((*where, i), f"unknown key {unknown!r}{suggest(unknown, allowed)}"))
    return value
