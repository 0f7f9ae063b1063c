"""Reads a run folder: results only, nothing is computed again."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.errors import InputError, Problem
from dse.files import is_file, plain_cell, read_json, read_text
from dse.goals import ENERGY, LATENCY, knee, objective_columns
from dse.report.quantities import DROPS
from dse.report.run.schema import RunInfo
from dse.yaml_input import Document, validate

#: Columns of the tables that hold words; all others hold numbers.
WORDS = (
    "design",
    "layer",
    "pass",
    "operand",
    "format",
    "part",
    "bound",
    "group",
    "phase",
    "binds",
    "limit",
    "workload",
    "schedule.profile",
)
#: Largest number of a table: pages hold them in 32 bits.
MOST = 3e38
_NEEDED = ("design", "latency_s", "energy_j")
#: Largest table of a run that is read, bytes: 20,000 designs of a hundred layers.
MAX_TABLE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class RunData:
    """What a run folder holds.

    Attributes
    ----------
    folder
        Where it was read from.
    info
        run.json.
    front, designs
        Non-dominated designs and everything kept, one row per design; ``designs`` contains the front.
    bits, layers, area, roofline, memory
        Long tables of the front's designs (``memory``: one row per design and workload); empty where the file is missing.
    """

    folder: Path
    info: Mapping[str, Any]
    front: pd.DataFrame
    designs: pd.DataFrame
    bits: pd.DataFrame
    layers: pd.DataFrame
    area: pd.DataFrame
    roofline: pd.DataFrame
    memory: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.resolve().name

    @property
    def per(self) -> str:
        """What latency and energy are per, such as "training step of 256 samples"."""
        return str(self.info.get("per") or "training step of the batch")

    def knee(self) -> str | None:
        """The front's knee: the one the run names among its baselines, else that of latency and energy (:func:`dse.goals.knee`)."""
        names = set(self.front["design"])
        for baseline in listed(self.info, "baselines"):
            if baseline.get("role") == "knee" and baseline.get("design") in names:
                return str(baseline["design"])
        values = self.front[[LATENCY.column, ENERGY.column]].to_numpy(np.float64)
        if not np.isfinite(values).all(axis=1).any():
            return None
        return str(self.front["design"].iloc[knee(values)])


def listed(info: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of records of run.json; empty where it is missing."""
    return [item for item in info.get(key) or [] if isinstance(item, dict)]


def read_run(folder: Path) -> RunData:
    """Read a run folder.

    Raises
    ------
    InputError
        It is no run folder, or run.json or front.csv cannot be read.
    """
    folder = Path(folder)
    missing = [name for name in ("run.json", "front.csv") if not is_file(folder / name)]
    if missing:
        raise InputError(
            str(folder),
            [f"holds no {name}; give the folder that 'dse explore' wrote" for name in missing],
        )
    source = str(folder / "run.json")
    info = read_json(source)
    # An object with keys that a report does not read is as good: run.json is written for people's own programs too.
    validate(RunInfo, Document(source, info, {}))
    for baseline in listed(info, "baselines"):
        # Until version 4 of the model, the design of least energy was called the thriftiest.
        if baseline.get("role") == "thriftiest":
            baseline["role"] = "lowest-energy"
    front = read_table(folder / "front.csv", _NEEDED)
    designs = read_table(folder / "designs.csv", _NEEDED, ("design",))
    lost = front[~front["design"].isin(designs["design"])]
    designs = pd.concat([designs, lost], ignore_index=True) if len(designs) and len(lost) else designs
    return RunData(
        folder,
        info,
        front,
        designs if len(designs) else front,
        read_table(
            folder / "bits.csv",
            ("design", "layer", "operand", "format", "bits"),
            ("design", "layer", "operand", "format"),
        ),
        read_table(folder / "layers.csv", ("design", "layer", "pass", "latency_s")),
        read_table(folder / "area.csv", ("design", "part", "area_mm2")),
        read_table(folder / "roofline.csv", ("design", "layer", "pass", "intensity_macs_per_bit", "macs_per_s")),
        read_table(folder / "memory.csv", ("design", "peak_memory_bits")),
    )


def read_table(path: Path, needed: tuple[str, ...], filled: tuple[str, ...] | None = None) -> pd.DataFrame:
    """A table of a run with the needed columns, of which the filled ones (all, if not given) have a value in every row.

    Raises
    ------
    InputError
        What stands there is no such table. No rows where nothing does.
    """
    filled = needed if filled is None else filled
    if not os.path.lexists(path):
        return pd.DataFrame({name: [] for name in needed})
    text = read_text(path, "a CSV file", MAX_TABLE_BYTES)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=dict.fromkeys(WORDS, str), keep_default_na=True)
        for name in WORDS:
            if name in table.columns:
                table[name] = table[name].map(plain_cell, na_action="ignore")
    except pd.errors.EmptyDataError:
        return pd.DataFrame({name: [] for name in needed})
    except (ValueError, OverflowError) as error:
        raise InputError(str(path), [f"cannot be read as CSV: {error}"]) from None
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise InputError(str(path), [Problem("", f"the column '{name}' is missing") for name in absent])
    problems = [problem for name in table.columns if (problem := _column_problem(table[name], name in filled))]
    if problems:
        raise InputError(str(path), problems)
    return table


def _column_problem(column: pd.Series, needed: bool) -> Problem | None:
    """What no table of a run has: a word among numbers, a number that no page can hold, a needed value that is missing."""
    name = str(column.name)
    if needed and column.isna().any():
        line = int(np.flatnonzero(column.isna())[0]) + 2
        return Problem(name, "a value is missing; the table is cut short or was edited", line)
    if name in WORDS or not len(column):
        return None
    if not pd.api.types.is_numeric_dtype(column):
        words = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        return Problem(name, "expected numbers", int(np.flatnonzero(words)[0]) + 2 if words.any() else None)
    large = np.flatnonzero(np.abs(column.to_numpy(dtype=float, na_value=np.nan)) > MOST)
    return Problem(name, f"expected numbers up to {MOST:g} in size", int(large[0]) + 2) if len(large) else None


def hardware_columns(run: RunData) -> list[str]:
    """Columns of the designs that are neither objectives nor bookkeeping: the hardware parameters."""
    known = {"design", "feasible", "limit", "binds", "mapping_gap", *objective_columns(), *DROPS}
    names = [str(name) for name in run.designs.columns if name not in known]
    return [name for name in names if not name.startswith("certificate_")]
