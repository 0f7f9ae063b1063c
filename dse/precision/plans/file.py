"""A plan as YAML text: operand by operand, layers grouped by format.

::

    network: imagenet_resnet
    weight:
      default: int4              # every layer that is not named
      int8: [conv1, fc]
    activation: int8             # the same in every layer
    error: int8
    blocks:                      # block-wise cells: shares of a tensor's elements; without layers: in all of them
      - {operand: weight, layers: [layer1.0.conv1], block: 4x4, shares: {bfp4: 0.75, bfp8: 0.25}}
    copies: requantize           # groups along the other axis of block formats: two copies, from a wide one, or one for all
    joint:                       # how block formats of two operands meet; without it they are independent
      - {layer: layer1.0.conv1, operands: [weight, activation], shares: [[0.5, 0.25], [0.0, 0.25]]}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

from dse.errors import InputError, Problem
from dse.files import is_file
from dse.names import MAC_OPERANDS, OPERANDS
from dse.precision.formats.properties import format_problem, parse_format
from dse.precision.plans.cells import Cell, Histogram, Joint
from dse.precision.plans.labels import LETTERS
from dse.yaml_input import Document, suggest, yaml_number, yaml_word

#: Operands whose blocks may differ.
BLOCKWISE = tuple(name for name in OPERANDS if name not in ("accumulator", "result"))
_KEYS = ("network", *OPERANDS, "blocks", "joint", "copies")
#: How a plan in short says it.
COPIES_KEY = re.compile(r",\s*copies\s*=\s*(\w+)")
#: Plans with a name of their own. HFP8: Sun et al., Hybrid 8-bit Floating Point (HFP8) Training and Inference, NeurIPS 2019.
RECIPES = {"hfp8": {"weight": "fp8_e4m3b11", "activation": "fp8_e4m3b11", "error": "fp8_e5m2"}}
#: Recipes of linear layers (:mod:`dse.precision.plans.recipes`) by names that are no formats.
MEANT = {"fp8": "fp8_linear", "mxfp8": "mxfp8_linear", "fp4": "nvfp4_linear"}
_LETTERS = {letter: operand for operand, letter in LETTERS.items()}
_LINE = 110
CellsByLayer: TypeAlias = dict[str, Cell]


def is_path(text: str) -> bool:
    """Whether a plan is given as a file and not in short: it looks like one, or is one."""
    looks = text.strip().lower().endswith((".yaml", ".yml")) or "/" in text
    return looks or is_file(text)


def short_formats(text: str) -> dict[str, str]:
    """Formats by operand from a plan in short; always with weight and activation.

    Parts are separated by commas; what an operand is given by name holds against a part that names it with others.

    * ``w8a8e8``: integer widths of weight, activation and error (also g, m, o, s for gradient, master, optimizer, stash);
      without e, the error has the activation's format.
    * ``fp32``: one format for weight, activation and error; ``hfp8``: the formats of a recipe (:data:`RECIPES`).
    * ``weight=bfp4``: any format of one operand, also ``stash``, ``accumulator`` and the others.

    >>> short_formats("w4a8"), short_formats("fp8_e4m3,error=fp8_e5m2")["error"]
    ({'weight': 'int4', 'activation': 'int8'}, 'fp8_e5m2')
    """
    problems: list[str] = []
    shared: dict[str, str] = {}
    named: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            pairs = [(key, value)]
        elif re.fullmatch(r"(?:[waegmos][0-9]+)+", part.lower()):
            pairs = [(_LETTERS[w], f"int{bits}") for w, bits in re.findall(r"([waegmos])([0-9]+)", part.lower())]
        else:
            message = None if part.lower() in RECIPES else format_problem(part)
            if message and part.lower() in MEANT:
                message += f", or {MEANT[part.lower()]}, the recipe of linear layers"
            if message or shared:
                why = f"and {message}" if message else "and its operands have a format already"
                what = f"'{part}' is no part of one" if "," in text else "is no plan"
                problems.append(f"{what} (such as w8a8e8, fp8_e4m3,stash=int4, or a YAML file), {why}")
            else:
                shared = RECIPES.get(part.lower(), dict.fromkeys(MAC_OPERANDS, part))
            continue
        problems += [f"unknown operand '{name}'{suggest(name, OPERANDS)}" for name, _ in pairs if name not in OPERANDS]
        problems += [message for _, form in pairs if (message := format_problem(form))]
        twice = [name for name, _ in pairs if name in named] or len(dict(pairs)) < len(pairs)
        problems += ["names an operand twice"] if twice else []
        named |= dict(pairs)
    formats = {**shared, **named}
    if not problems:
        problems += [f"gives no {key}" for key in ("weight", "activation") if key not in formats]
    if problems:
        raise InputError(f"plan '{text}'", list(dict.fromkeys(problems)))
    return formats


def plan_text(
    network: str, layers: Sequence[str], table: Sequence[Sequence[Cell]], joint: Sequence[Joint], copies: str = ""
) -> str:
    """The YAML text of a plan; :func:`read_plan` gives the same cells back."""
    lines = ["# Formats per operand; layers that are not named have the default.", f"network: {yaml_word(network)}"]
    blocks: dict[tuple[str, Histogram], list[str]] = {}
    for operand, row in zip(OPERANDS, table, strict=True):
        groups: dict[str, list[str]] = {}
        for layer, cell in zip(layers, row, strict=True):
            if isinstance(cell, Histogram):
                blocks.setdefault((operand, cell), []).append(layer)
            else:
                groups.setdefault("none" if cell is None else cell.name, []).append(layer)
        if set(groups) <= {"none"}:
            continue
        default = Counter({name: len(members) for name, members in groups.items()}).most_common(1)[0][0]
        if len(groups) == 1:
            lines.append(f"{operand}: {yaml_word(default)}")
            continue
        lines += [f"{operand}:", f"  default: {yaml_word(default)}"]
        for name in sorted(set(groups) - {default}):
            lines += _listed(f"  {yaml_word(name)}: ", groups[name])
    if copies:
        lines.append(f"copies: {copies}")
    if blocks:
        lines.append("blocks:")
    for (operand, cell), members in blocks.items():
        shares = ", ".join(
            f"{yaml_word(form.name)}: {yaml_number(float(share))}"
            for form, share in zip(cell.formats, cell.shares, strict=True)
        )
        lines += [f"  - operand: {operand}", f"    block: {cell.block[0]}x{cell.block[1]}", f"    shares: {{{shares}}}"]
        lines += _listed("    layers: ", members)
    if joint:
        lines.append("joint:")
    for item in joint:
        rows = ", ".join("[" + ", ".join(yaml_number(float(share)) for share in row) + "]" for row in item.shares)
        lines += [
            f"  - layer: {yaml_word(item.layer)}",
            f"    operands: [{', '.join(item.operands)}]",
            f"    shares: [{rows}]",
        ]
    return "\n".join(lines) + "\n"


def read_plan(
    document: Document, network: str, layers: Sequence[str]
) -> tuple[dict[str, Cell | CellsByLayer], list[Joint]]:
    """Cells by operand, and joint histograms, of a plan's YAML.

    Raises
    ------
    InputError
        Everything that is wrong with the text, with lines. Layers without a format are left to the plan's own rules.
    """
    problems: list[Problem] = list(document.problems)
    value = document.value
    if not isinstance(value, dict):
        raise InputError(
            document.source, [*problems, document.problem((), "expected a mapping of operands to formats")]
        )
    for key in value:
        if key not in _KEYS:
            problems.append(document.problem((key,), f"unknown key{suggest(key, _KEYS)}"))
    if value.get("network", network) != network:
        problems.append(
            document.problem(
                ("network",),
                f"the plan is for '{value['network']}', the network is '{network}'; remove the key to use it anyway",
            )
        )
    whole: dict[str, Cell] = {}
    cells: dict[str, CellsByLayer] = {}
    for operand in OPERANDS:
        given = value.get(operand)
        if isinstance(given, dict):
            cells[operand] = _grouped(document, operand, given, layers, problems)
        elif operand in value:
            message = format_problem(given)
            if message:
                problems.append(document.problem((operand,), message))
            else:
                whole[operand] = parse_format(str(given))
    for operand, members, histogram in _blocks(document, layers, problems):
        if operand not in cells:
            cells[operand] = dict.fromkeys(layers, whole[operand]) if operand in whole else {}
        cells[operand].update(dict.fromkeys(members, histogram))
    joint = _joints(document, problems)
    if problems:
        problems.sort(key=_line)
        raise InputError(document.source, problems)
    return {**whole, **cells}, joint


def read_copies(document: Document, known: Sequence[str]) -> str:
    """The ``copies`` of a plan's YAML, "" where it says nothing."""
    given = document.value.get("copies", "") if isinstance(document.value, dict) else ""
    if given not in ("", *known):
        raise InputError(
            document.source, [document.problem(("copies",), f"'{given}' is unknown{suggest(str(given), known)}")]
        )
    return str(given)


def _grouped(
    document: Document, operand: str, given: dict[str, Any], layers: Sequence[str], problems: list[Problem]
) -> CellsByLayer:
    """``default: int4`` and ``int8: [conv1, fc]`` as cells by layer."""
    row: CellsByLayer = {}
    named: dict[str, str] = {}
    for name, members in given.items():
        where = (operand, name)
        if name == "default":
            message = None if members == "none" else format_problem(members)
            if message:
                problems.append(document.problem(where, message))
            else:
                default: Cell = None if members == "none" else parse_format(str(members))
                for layer in layers:
                    row.setdefault(layer, default)
            continue
        message = None if name == "none" else format_problem(name)
        if message:
            problems.append(document.problem(where, message))
            continue
        for layer in _layers(document, where, members, layers, problems):
            if layer in named:
                problems.append(document.problem(where, f"layer '{layer}' is already in {named[layer]}"))
            named[layer] = name
            row[layer] = None if name == "none" else parse_format(name)
    return row


def _blocks(
    document: Document, layers: Sequence[str], problems: list[Problem]
) -> list[tuple[str, list[str], Histogram]]:
    found = []
    for index, item in _items(document, "blocks", ("operand", "layers", "block", "shares"), problems):
        where = ("blocks", index)
        operand = item.get("operand")
        size = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", str(item.get("block", "4x4")))
        if operand not in BLOCKWISE:
            problems.append(document.problem((*where, "operand"), f"unknown operand{suggest(str(operand), BLOCKWISE)}"))
            continue
        if size is None:
            problems.append(document.problem((*where, "block"), f"expected a block such as 4x4, got {item['block']!r}"))
            continue
        members = _layers(document, (*where, "layers"), item.get("layers"), layers, problems)
        shares = item.get("shares")
        messages = ["expected formats with shares, such as {bfp4: 0.5, bfp8: 0.5}"]
        if isinstance(shares, dict) and shares:
            messages = [text for name in shares if (text := format_problem(name))]
            messages += [
                f"expected a share for {name}, got {share!r}" for name, share in shares.items() if not _is_number(share)
            ]
        if not messages:
            try:
                found.append((operand, members, Histogram.of(shares or {}, (int(size[1]), int(size[2])))))
            except InputError as error:
                messages = [problem.message for problem in error.problems]
        problems += [document.problem((*where, "shares"), message) for message in messages]
    return found


def _joints(document: Document, problems: list[Problem]) -> list[Joint]:
    found = []
    for index, item in _items(document, "joint", ("layer", "operands", "shares"), problems):
        operands, rows = item.get("operands"), item.get("shares")
        sound = isinstance(operands, list) and len(operands) == 2 and isinstance(rows, list)
        if sound and all(isinstance(row, list) and all(map(_is_number, row)) for row in rows or []):
            table = tuple(tuple(float(share) for share in row) for row in rows or [])
            found.append(Joint(str(item.get("layer")), (str(operands[0]), str(operands[1])), table))  # type: ignore[index]
        else:
            problems.append(
                document.problem(("joint", index), "expected layer, two operands, and shares as a list of rows")
            )
    return found


def _items(
    document: Document, key: str, known: Sequence[str], problems: list[Problem]
) -> list[tuple[int, dict[str, Any]]]:
    given = document.value.get(key, [])
    if not isinstance(given, list):
        problems.append(document.problem((key,), "expected a list"))
        return []
    found = []
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            problems.append(document.problem((key, index), f"expected a mapping with {', '.join(known)}"))
            continue
        problems += [
            document.problem((key, index, name), f"unknown key{suggest(name, known)}")
            for name in item
            if name not in known
        ]
        found.append((index, item))
    return found


def _layers(
    document: Document, where: tuple[str | int, ...], given: Any, layers: Sequence[str], problems: list[Problem]
) -> list[str]:
    if given is None:
        return list(layers)
    if not isinstance(given, list):
        problems.append(document.problem(where, "expected a list of layers, or nothing for all of them"))
        return []
    for index, layer in enumerate(given):
        if layer not in layers:
            problems.append(
                document.problem((*where, index), f"'{layer}' is no layer of the network{suggest(str(layer), layers)}")
            )
    return [layer for layer in given if layer in layers]


def _line(problem: Problem) -> int:
    return problem.line or 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(head: str, members: Sequence[str]) -> list[str]:
    """``head[a, b, c]``, broken into lines."""
    lines, line = [], head + "["
    for position, member in enumerate(members):
        word = yaml_word(member) + ("]" if position == len(members) - 1 else ", ")
        if len(line) + len(word) > _LINE:
            lines.append(line.rstrip())
            line = " " * (len(head) + 1)
        line += word
    return [*lines, line]
