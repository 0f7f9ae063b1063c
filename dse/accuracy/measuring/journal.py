"""Measurements that take long are written down one by one, so that an interrupted command goes on where it was."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dse.errors import InputError
from dse.files import read_text, reason, remove_file, write_text

#: Called after every measurement with how many are done, how many there are, and the seconds that the rest will take.
Progress = Callable[[int, int, float], None]


class Notebook:
    """Measurements by name, each written down as soon as it is known: lines of JSON after a first line with the digest."""

    def __init__(self, path: str | Path | None, digest: str, total: int, progress: Progress | None) -> None:
        self.path = None if path is None else Path(path)
        self.total, self.progress = total, progress
        self.known = self._read(digest)
        self.done, self.fresh, self.start = 0, 0, time.monotonic()
        if self.path is not None and not self.known:
            write_text(self.path, json.dumps({"digest": digest}) + "\n")

    def _read(self, digest: str) -> dict[str, float]:
        if self.path is None or not os.path.lexists(self.path):
            return {}
        first, *rows = read_text(self.path, "the measurements of an interrupted command").splitlines() or [""]
        if _line(first).get("digest") != digest:
            message = "is of another model, other data or settings; delete it to start again, or write to another file"
            raise InputError(str(self.path), [message])
        # A line cut short by the interruption is measured again.
        if rows and not _line(rows[-1]):
            write_text(self.path, "\n".join([first, *rows[:-1]]) + "\n")
        return {str(row["name"]): float(row["value"]) for row in map(_line, rows) if _is_measurement(row)}

    def value(self, name: str, measurement: Callable[[], float]) -> float:
        if name not in self.known:
            self.known[name] = measurement()
            self.fresh += 1
            if self.path is not None:
                try:
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"name": name, "value": self.known[name]}) + "\n")
                except OSError as error:
                    if len(self.known) == 1:  # no measurement to go on from
                        remove_file(self.path)
                    raise InputError(str(self.path), [f"cannot be written: {reason(error)}"]) from None
        self.done += 1
        if self.progress is not None:
            each = (time.monotonic() - self.start) / self.fresh if self.fresh else 0.0
            self.progress(self.done, self.total, each * (self.total - self.done))
        return self.known[name]


def _is_measurement(row: dict[str, Any]) -> bool:
    value: Any = row.get("value")
    return isinstance(row.get("name"), str) and type(value) in (int, float) and math.isfinite(value)


def _line(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
