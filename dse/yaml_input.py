"""Strict YAML: every value is what it looks like, every problem has its line, and all problems come at once.

PyYAML reads ``2e-12`` as text, ``no`` as False, ``010`` as 8, ``12:30`` as 750, and keeps the last of two equal keys.
None of these is let through: numbers follow YAML 1.2's core schema as far as PyYAML can, and what only looks like a
number is a problem with the way to write it. Anchors are refused, because workloads have blocks for repetition and
nested anchors can grow without bound; so are tags, control characters, numbers that are not finite, and more values or
deeper nesting than any input of this program has.
"""

from __future__ import annotations

import difflib
import heapq
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

import yaml
from pydantic import BaseModel, ValidationError

from dse.errors import SHOWN_PROBLEMS, InputError, Problem, control_problem, printable
from dse.files import read_text

#: Values of a file, keys included, and how deep they may be nested: the largest network of some ten thousand layers has fewer.
MAX_VALUES, MAX_DEPTH = 1_000_000, 64
#: Longest key, and longest text, characters.
MAX_KEY_CHARACTERS, MAX_TEXT_CHARACTERS = 1000, 100_000
#: Known names that an unknown one is compared with.
MOST_COMPARED = 200
MAX_INTEGER = 10**15
MAX_NUMBER_CHARACTERS = 400
#: libyaml where PyYAML was built with it: twenty times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Key = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_LOOKS_NUMERIC = re.compile(
    r"[-+]?(0[0-7]+|0[xob][0-9a-fA-F]+|[0-9]+(:[0-5]?[0-9])+|[0-9_.]*[0-9][0-9_.]*[eE][-+]?[0-9]+)"
)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?(([0-9][0-9_]*)?\.[0-9]+([eE][-+][0-9]+)?|[0-9][0-9_]*\.([0-9]*)([eE][-+][0-9]+)?)")
_SPECIAL = {".inf": math.inf, "-.inf": -math.inf, "+.inf": math.inf, ".nan": math.nan}


@dataclass(frozen=True)
class Document:
    """A YAML file as plain Python values, with the line of every value.

    Attributes
    ----------
    source
        Name of the file for messages.
    value
        dict, list, str, int, float, bool or None, nested.
    lines
        1-based line of each value (of its key, in a mapping) by path, such as ``("layers", 4, "stride")``.
    problems
        Duplicate keys and values that only look like numbers; :func:`validate` reports them together with its own,
        whoever reads ``value`` directly calls :meth:`require_sound` first.
    """

    source: str
    value: Any
    lines: Mapping[Key, int]
    problems: tuple[Problem, ...] = ()

    def require_sound(self) -> None:
        """Raise InputError if the text itself had problems."""
        if self.problems:
            raise InputError(self.source, self.problems)

    def line(self, where: Iterable[str | int]) -> int | None:
        """Line of a value, or of the nearest value around it that has one."""
        path = tuple(where)
        while path not in self.lines:
            if not path:
                return None
            path = path[:-1]
        return self.lines[path]

    def problem(self, where: Iterable[str | int], message: str) -> Problem:
        """A problem at a path of this document, with its line."""
        path = tuple(where)
        return Problem(path_text(path), message, self.line(path))


def path_text(path: Iterable[str | int]) -> str:
    """A path as people write it: ``layers[4].stride``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def load_yaml(path: str | Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    InputError
        No such file, no plain text file, too large, no YAML, nested too deeply, anchors or tags.
    """
    return parse_yaml(read_text(path, "a YAML file"), str(path))


def parse_yaml(text: str, source: str) -> Document:
    """Read YAML from a string; see :func:`load_yaml`."""
    lines: dict[Key, int] = {}
    problems: list[Problem] = []
    try:
        root = _root(yaml.parse(text, Loader=_LOADER), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            source, [Problem("", f"not valid YAML: {error.problem or error}", mark.line + 1 if mark else None)]
        ) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InputError(source, [f"not valid YAML: {str(error).splitlines()[0]}"]) from None
    value = _plain(root, (), lines, problems)
    return Document(source, value, lines, tuple(problems))


def _root(events: Iterable[yaml.Event], source: str) -> yaml.Node:
    """The one value of a document, made from the parser's events as they come.

    The parser reads no further than it is asked to, so what is refused is refused before it costs anything.
    """
    open_nodes: list[yaml.CollectionNode] = []
    root: yaml.Node | None = None
    documents = count = 0
    event: Any
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise InputError(source, [Problem("", "expected one document; a second one begins here", line)])
        elif isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if count > MAX_VALUES:
                raise InputError(source, [Problem("", f"expected at most {MAX_VALUES:,} values in a file", line)])
            node = _node(event, source, line)
            if open_nodes:
                open_nodes[-1].value.append(node)
            else:
                root = node
            if isinstance(node, yaml.CollectionNode):
                open_nodes.append(node)
                if len(open_nodes) > MAX_DEPTH:
                    message = f"nested more than {MAX_DEPTH} deep; no input of this program needs it"
                    raise InputError(source, [Problem("", message, line)])
    if root is None:
        raise InputError(source, ["the file is empty"])
    return root


def _node(event: Any, source: str, line: int) -> yaml.Node:
    """A value without what it holds."""
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        message = "anchors and aliases (&name, *name) are not supported; write a repeated block once"
        raise InputError(source, [Problem("", message, line)])
    if event.tag is not None:
        message = f"tags such as {event.tag} are not supported; a value is what it looks like"
        raise InputError(source, [Problem("", message, line)])
    begin: Any = event.start_mark
    if isinstance(event, yaml.ScalarEvent):
        return yaml.ScalarNode("", event.value, begin, begin, style=event.style)
    kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingNode
    return kind("", [], begin, begin)


def validate(
    model: type[Model], document: Document, check: Callable[[Model], list[tuple[Key, str]]] | None = None
) -> Model:
    """Check a document against a pydantic model that forbids unknown keys.

    Parameters
    ----------
    check
        Rules between fields: gets the valid model, returns (path, message) for each problem.

    Raises
    ------
    InputError
        All problems at once, each with its path and line.
    """
    problems: list[Problem] = list(document.problems)
    result = None
    try:
        result = model.model_validate(document.value)
    except ValidationError as error:
        # Near names are looked for only in what a message may show: they take long.
        errors = error.errors(include_url=False, include_context=True)
        problems += [
            _problem(model, document, dict(item), brief=index >= 10 * SHOWN_PROBLEMS)
            for index, item in enumerate(errors)
        ]
    if result is not None and check is not None:
        problems += [document.problem(path, message) for path, message in check(result)]
    if problems or result is None:
        problems = sorted(_unique(problems), key=lambda problem: problem.line or 0)
        raise InputError(document.source, problems)
    return result


def unused_keys(section: BaseModel, used: Iterable[str], owner: str, path: Key) -> list[tuple[Key, str]]:
    """Keys of a section that were given and mean nothing for what it describes: path and message of each.

    Parameters
    ----------
    used
        The keys that mean something, beside those that every such section must have.
    owner
        What the section describes, such as ``op linear``.
    """
    known = set(used)
    given = [
        key
        for key, field in type(section).model_fields.items()
        if key in section.model_fields_set and key not in known and not field.is_required()
    ]
    return [((*path, key), f"{owner} does not use this key; it uses {', '.join(sorted(known))}") for key in given]


def suggest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` if a known name is near, else the known names if they are few."""
    names = sorted(known)
    # Comparing takes long: of many names, those of about the length are compared, and a long name is no slip of the pen.
    likely = heapq.nsmallest(
        MOST_COMPARED, names, key=lambda other: (abs(len(other) - len(name)), other[:2] != name[:2])
    )
    near = difflib.get_close_matches(name, likely, n=1, cutoff=0.6) if len(name) <= MAX_KEY_CHARACTERS // 10 else []
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 24 else ""


def _plain(node: yaml.Node, path: Key, lines: dict[Key, int], problems: list[Problem]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, problems) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, path, problems)
    result: dict[Any, Any] = {}
    for key_node, value_node in zip(node.value[::2], node.value[1::2], strict=True):
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(path_text(path), "a key has to be a word", line))
            continue
        key = str(key_node.value)
        here = (*path, key)
        wrong = control_problem(key)
        if not wrong and len(key) > MAX_KEY_CHARACTERS:
            wrong = f"a key of {len(key):,} characters; expected at most {MAX_KEY_CHARACTERS:,}"
        if not wrong and key in result:
            wrong = f"duplicate key; first given in line {lines[here]}"
        if wrong:
            problems.append(Problem(path_text(here), wrong, line))
            continue
        lines[here] = line
        result[key] = _plain(value_node, here, lines, problems)
    return result


def _scalar(node: yaml.Node, path: Key, problems: list[Problem]) -> Any:
    text = str(node.value)
    line = node.start_mark.line + 1
    wrong = control_problem(text)
    if not wrong and len(text) > MAX_TEXT_CHARACTERS:
        wrong = f"a text of {len(text):,} characters; expected at most {MAX_TEXT_CHARACTERS:,}"
    if wrong:
        problems.append(Problem(path_text(path), wrong, line))
        return printable(text[:MAX_KEY_CHARACTERS], keep="\t\n\r")
    if node.style in ("'", '"', "|", ">"):  # type: ignore[attr-defined]
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if text.lower() in _SPECIAL:
        problems.append(Problem(path_text(path), f"expected a finite number, got {text}", line))
        return 0
    if len(text) > MAX_NUMBER_CHARACTERS:
        # Python refuses integers of thousands of digits, and the patterns below would take long on them.
        if text.strip("+-._0123456789"):
            return text
        problems.append(Problem(path_text(path), f"expected a number of at most {MAX_NUMBER_CHARACTERS} digits", line))
        return MAX_INTEGER
    if _INTEGER.fullmatch(text):
        value = int(text.replace("_", ""))
        if abs(value) > MAX_INTEGER:
            problems.append(Problem(path_text(path), f"expected at most 1e15 in size, got {_shown_text(text)}", line))
            return MAX_INTEGER
        return value
    if _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        if math.isinf(number) or (number == 0.0 and re.match(r"[-+0._]*[1-9]", text)):
            message = f"expected 0, or 5e-324 to 1.7e+308 in size, got {_shown_text(text)}"
            problems.append(Problem(path_text(path), message, line))
            return 0.0
        return number
    if _LOOKS_NUMERIC.fullmatch(text):
        problems.append(
            Problem(
                path_text(path),
                f"'{_shown_text(text)}' is read by YAML as text or as another number; {_way_out(text)}",
                line,
            )
        )
        return _number(text)
    return text


def _number(text: str) -> float:
    """What the text most likely means, so that one slip is reported once."""
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return 1
    if math.isinf(value):
        return 1
    return int(value) if value.is_integer() and "e" not in text.lower() else value


def _way_out(text: str) -> str:
    match = re.fullmatch(r"([-+]?[0-9_]*\.?[0-9_]*)[eE]([-+]?)([0-9]+)", text)
    if match:
        mantissa, sign, exponent = match.groups()
        mantissa = mantissa if "." in mantissa else mantissa + ".0"
        mantissa = mantissa + "0" if mantissa.endswith(".") else mantissa
        return f"write {mantissa}e{sign or '+'}{exponent}"
    return "write a plain decimal number, or put text in quotes"


def _problem(model: type[BaseModel], document: Document, item: dict[str, Any], brief: bool) -> Problem:
    location = tuple(item["loc"])
    kind, given = item["type"], item.get("input")
    path = _document_path(document.value, location)
    if kind == "extra_forbidden" and brief:
        return document.problem(path, "unknown key")
    if kind == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return document.problem(path, f"unknown key{suggest(str(location[-1]), known)}")
    if kind == "missing":
        return document.problem((*path, str(location[-1])) if path != location else path, "missing; it has no default")
    return document.problem(path, f"{_expected(item)}, got {_shown(given)}")


def _expected(item: dict[str, Any]) -> str:
    context = item.get("ctx") or {}
    kind = str(item["type"])
    bounds = {
        "greater_than_equal": (">=", "ge"),
        "greater_than": (">", "gt"),
        "less_than_equal": ("<=", "le"),
        "less_than": ("<", "lt"),
    }
    if kind in bounds:
        sign, name = bounds[kind]
        noun = "an integer" if isinstance(item.get("input"), int) else "a number"
        return f"expected {noun} {sign} {context[name]}"
    plain = {
        "int_type": "expected an integer",
        "int_from_float": "expected an integer",
        "int_parsing": "expected an integer",
        "float_type": "expected a number",
        "float_parsing": "expected a number",
        "string_type": "expected text",
        "bool_type": "expected true or false",
        "list_type": "expected a list",
        "tuple_type": "expected a list",
        "dict_type": "expected a mapping of keys to values",
        "model_type": "expected a mapping of keys to values",
        "finite_number": "expected a finite number",
    }
    if kind in plain:
        return plain[kind]
    if kind in ("literal_error", "enum"):
        return f"expected one of {context.get('expected')}"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    message = str(item["msg"])
    return message[0].lower() + message[1:]


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        # The text of a large part of a file is long to make and of no use.
        return (
            f"{'keys' if isinstance(value, dict) else 'a list'} ({len(value)})"
            if len(value) > 8
            else _shown_text(repr(value))
        )
    return _shown_text(f"'{value}'" if isinstance(value, str) else "nothing" if value is None else repr(value))


def _shown_text(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


#: Text that YAML reads as itself without quotes, and the words of that shape that it reads as something else.
_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def yaml_word(text: str) -> str:
    """Text as a YAML scalar: plain where YAML reads it back as that text, else in quotes; JSON's strings are YAML's.

    >>> yaml_word("layer1.0/conv"), yaml_word("yes"), yaml_word("two words")
    ('layer1.0/conv', '"yes"', '"two words"')
    """
    if _PLAIN_WORD.fullmatch(text) and text.lower() not in _RESERVED_WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    # JSON's escapes of characters beyond 16 bits are two halves, which YAML reads as two characters.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def yaml_number(value: float) -> str:
    """The shortest text that reads back as the number: YAML wants a point before an exponent.

    >>> yaml_number(1e-05), yaml_number(8), yaml_number(0.5)
    ('1.0e-05', '8', '0.5')
    """
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _document_path(value: Any, location: tuple[str | int, ...]) -> Key:
    """The part of a pydantic location that exists in the document (it adds names of union members)."""
    path: list[str | int] = []
    for part in location:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
        if inside:
            value = value[part]
            path.append(part)
    return tuple(path)


def _fields_at(annotation: Any, location: tuple[str | int, ...]) -> set[str]:
    """Names of the fields that a model allows at a location."""
    current = [annotation]
    for part in location:
        following: list[Any] = []
        for candidate in _members(current):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                field = candidate.model_fields.get(str(part))
                if field is not None:
                    following.append(field.annotation)
            elif isinstance(part, int) and typing.get_origin(candidate) in (list, tuple):
                following.extend(typing.get_args(candidate))
            elif typing.get_origin(candidate) is dict:
                following.append(typing.get_args(candidate)[1])
        current = following or current
    return {
        name
        for candidate in _members(current)
        if isinstance(candidate, type) and issubclass(candidate, BaseModel)
        for name in candidate.model_fields
    }


def _members(annotations: list[Any]) -> list[Any]:
    found: list[Any] = []
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        if origin in (Union, types.UnionType):
            found.extend(_members(list(typing.get_args(annotation))))
        elif origin is typing.Annotated:
            found.extend(_members([typing.get_args(annotation)[0]]))
        else:
            found.append(annotation)
    return found


def _unique(problems: list[Problem]) -> list[Problem]:
    """One problem per place: a union reports every member that did not fit."""
    seen: dict[str, Problem] = {}
    for problem in problems:
        seen.setdefault(problem.where, problem)
    return list(seen.values())
