"""The folder of a run: tables, bit maps and what is needed to understand and to repeat them.

Every file is written beside its place and moved there, so a run that is stopped leaves the last good state.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dse.errors import InputError
from dse.files import write_text


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain data as JSON, atomically; NaN and infinity become null."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; numbers in the shortest form that reads back to the same value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(table[column].tolist() for column in table.columns), strict=True))
    write_text(path, stream.getvalue())


def prepare(folder: Path, resume: bool) -> None:
    """Make the folder of a run and make sure that it can be written.

    Raises
    ------
    InputError
        It holds a run already and ``resume`` is not set, or it cannot be written.
    """
    if (folder / "run.json").exists() and not resume:
        raise InputError(str(folder), ["holds a run already; choose another --out, or continue it with --resume"])
    if resume and not (folder / "state").is_dir():
        raise InputError(str(folder), ["holds no run to resume; leave --resume out to start one"])
    try:
        (folder / "state").mkdir(parents=True, exist_ok=True)
        (folder / "plans").mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise InputError(str(folder), [f"the output folder cannot be written: {error.strerror}"]) from None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return int(number) if hasattr(value, "dtype") and value.dtype.kind in "iu" else number
