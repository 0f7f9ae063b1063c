"""YAML as other programs read it: tags, anchors and repeated keys are theirs to use, so that the strict reader cannot be asked.

What comes out is plain values, each mapping with its tag (``!Component``) under :data:`TAG`; of repeated keys the last holds, as
in PyYAML.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dse.errors import InputError
from dse.files import read_text
from dse.yaml_input import MAX_DEPTH

#: Key of a mapping's tag.
TAG = "!tag"
#: Values of a file, anchors opened: an architecture has hundreds.
MAX_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """Reads every tag as the plain value behind it."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {TAG: suffix, **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _tagged)


def read_peer_yaml(path: Path) -> Any:
    """Values of a file of another program.

    Raises
    ------
    InputError
        No such file, no YAML, a template, or more values or deeper nesting than an accelerator has.
    """
    text = read_text(path, "a YAML file")
    if "{%" in text or "{{" in text:
        raise InputError(
            str(path),
            ["has Jinja templates; give the file that Timeloop's front end writes (parsed-processed-input.yaml)"],
        )
    try:
        value = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise InputError(str(path), ["is nested too deeply for an accelerator"]) from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(str(path), [f"not valid YAML: {' '.join(str(error).split())[:200]}"]) from None
    _count(value, str(path), 0, 0)
    return value


def _count(value: Any, source: str, depth: int, seen: int) -> int:
    """Values in and below one, and those seen before; stops early where there are too many."""
    if depth > MAX_DEPTH or seen > MAX_VALUES:
        raise InputError(source, [f"has more than {MAX_VALUES:,} values, or {MAX_DEPTH} levels: no accelerator has"])
    seen += 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        seen = _count(item, source, depth + 1, seen)
    return seen


class Section:
    """One mapping of a file with the place where it stands, whose values are asked for by kind.

    What is not of that kind is collected in ``problems``, and a plain value returned in its place.
    """

    def __init__(self, values: Any, where: str, problems: list[str]) -> None:
        self.where, self.problems = where, problems
        if not isinstance(values, Mapping):
            problems.append(f"{where}: expected keys with values, got {_shown(values)}")
            values = {}
        self.values: Mapping[str, Any] = values

    def has(self, key: str) -> bool:
        """Whether a key has a value."""
        return self.values.get(key) is not None

    def section(self, key: str) -> Section:
        """The mapping at a key; an empty one where there is none."""
        return Section(self.values.get(key) or {}, f"{self.where}.{key}", self.problems)

    def items(self, key: str) -> list[Any]:
        """The list at a key; an empty one where there is none."""
        value = self.values.get(key)
        if value is None:
            return []
        return list(self._kept(value, key, lambda given: isinstance(given, list), "a list", []))

    def text(self, key: str, otherwise: str = "") -> str:
        """The text at a key."""
        value = self.values.get(key, otherwise)
        return str(value) if value is not None else otherwise

    def number(self, key: str, otherwise: float | None = None, least: float = 0.0) -> float:
        """The number at a key, above or at the least; a problem where it is missing and there is no other."""
        value = self.values.get(key)
        if value is None and otherwise is not None:
            return otherwise
        if isinstance(value, str):  # PyYAML reads 1e-9 as text
            with contextlib.suppress(ValueError):
                value = float(value)
        wanted = f"a number of at least {least:g}"
        return float(
            self._kept(value, key, lambda given: _is_number(given) and given >= least, wanted, max(least, 1.0))
        )

    def whole(self, key: str, otherwise: int | None = None) -> int:
        """The whole number at a key, at least 1."""
        value = self.values.get(key)
        if value is None and otherwise is not None:
            return otherwise
        return int(
            self._kept(value, key, lambda v: _is_number(v) and v >= 1 and v == int(v), "a whole number from 1", 1)
        )

    def _kept(self, value: Any, key: str, fits: Callable[[Any], bool], wanted: str, otherwise: Any) -> Any:
        if value is not None and fits(value):
            return value
        said = "it is missing" if value is None else f"got {_shown(value)}"
        self.problems.append(f"{self.where}.{key}: expected {wanted}, {said}")
        return otherwise


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e18


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
