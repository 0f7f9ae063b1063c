"""What was asked of several runs, where it differs: a row per input, in words that fit a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

#: Inputs that are things with a name. Where the names differ, that is said, and not every key of theirs.
THINGS = {"network": "workload", "hardware": "hardware", "profile": "profile"}
#: What describes how a run went, where, or what came out, and not what was asked of it.
_NOT_INPUTS = frozenset(
    {
        "name",
        "command",
        "seconds",
        "started",
        "jobs",
        "per",
        "reference",
        "counts",
        "uncertainty",
        "quantities",
        "objective_columns",
    }
    | {
        "hypervolume",
        "hypervolume_trace",
        "baselines",
        "waterfall",
        "sensitivity",
        "limits",
        "certificate",
        "objective_columns",
    }
    | {"notes", "validation", "left_out", "assumptions"}
)
#: Longest text of a cell, characters.
LONGEST = 80


def differences(infos: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """Inputs that are not equal in all runs, as text: ``input``, then one column per run.

    Parameters
    ----------
    infos
        Content of each ``run.json``.
    names
        Of the runs.
    """
    rows: list[list[str]] = []
    for word, key in THINGS.items():
        called = [_called(info.get(key)) for info in infos]
        if len(set(called)) > 1:
            rows.append([word, *called])
        else:
            rows += _differing(word, [info.get(key) for info in infos])
            several = [info.get(f"{key}s") for info in infos]
            rows += _differing(f"{word}s", several) if any(isinstance(s, list) and len(s) > 1 for s in several) else []
    things = {*THINGS.values(), *(f"{key}s" for key in THINGS.values())}
    others = dict.fromkeys(key for info in infos for key in info if key not in _NOT_INPUTS | things)
    # A network that goes by one name may have changed; one of another name is said above.
    others = {key: None for key in others if key != "workload_digest" or not different_networks(infos)}
    for key in others:
        rows += _differing(key, [info.get(key) for info in infos])
    return pd.DataFrame(rows, columns=["input", *names])


def different_networks(infos: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the networks, where the runs are not all of one."""
    called = dict.fromkeys(_called(info.get(THINGS["network"])) for info in infos)
    return tuple(called) if len(called) > 1 else ()


def _called(thing: Any) -> str:
    if not isinstance(thing, Mapping):
        return "none"
    batch = f", batch {thing['batch']}" if "batch" in thing else ""
    return f"{thing.get('name', 'without a name')}{batch}"


def _differing(key: str, values: Sequence[Any]) -> list[list[str]]:
    """Rows of what differs in or below a key."""
    flat = [dict(_flat(value, key)) for value in values]
    keys = dict.fromkeys(name for one in flat for name in one)
    rows = [[name, *(one.get(name, "none") for one in flat)] for name in keys]
    return [[row[0], *map(_short, row[1:])] for row in rows if len(set(row[1:])) > 1]


def _flat(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{at}.{name}")
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        for item in value:
            yield from _flat(item, f"{at}.{item['name']}")
    else:
        yield at, _text(value)


def _text(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, list) and not any(isinstance(item, Mapping) for item in value):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 20].rstrip()} ... ({len(text)} characters)"
