"""A network as the text of a workload file with explicit nests: whatever of a layer is not the usual, by its own names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass

from dse.names import PASSES
from dse.workload.layer import MAC_KINDS, Layer
from dse.yaml_input import yaml_word

#: What an entry of a file calls differently.
RENAMED = {"input_hw": "input"}


def usual_passes(kind: str) -> tuple[str, ...]:
    """Passes of a layer that does not say."""
    return PASSES if kind in MAC_KINDS else ("forward", "backward_data")


def nests_text(layers: Sequence[Layer]) -> list[str]:
    """One line per layer, as they stand under ``nests``."""
    return [f"  - {{{', '.join(f'{key}: {value}' for key, value in _entry(layer))}}}" for layer in layers]


def _entry(layer: Layer) -> list[tuple[str, str]]:
    given = [
        (RENAMED.get(field.name, field.name), _value(getattr(layer, field.name)))
        for field in fields(Layer)
        if field.name != "passes" and getattr(layer, field.name) != field.default
    ]
    usual = layer.passes == usual_passes(layer.kind)
    return given if usual else [*given, ("passes", _value(layer.passes))]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return yaml_word(value)
    if isinstance(value, tuple):
        if len(set(value)) == 1 and isinstance(value[0], int):
            return str(value[0])
        return f"[{', '.join(map(_value, value))}]"
    if is_dataclass(value):
        members = ((field, getattr(value, field.name)) for field in fields(value))
        return f"{{{', '.join(f'{field.name}: {_value(x)}' for field, x in members if x != field.default)}}}"
    return str(value)
