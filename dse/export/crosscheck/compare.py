"""ZigZag on an exported design: its figures beside ours, pass by pass, and what the differences come from.

Both get the same loops in the same order, the same memories, bandwidths and prices per bit, and the layer's own energy per MAC.
What remains is taken apart with :mod:`dse.mapping.explicit.timing`, which counts as ZigZag 3.9.1 does:

* **counting**: ZigZag counts the first read of a partial sum, gives a sum or a result its width by its own rule, and of a window
  with a stride counts only what it touches, not its bounding box (our loops and tiles, counted its way, less our figure);
* **tiles**: ZigZag itself decides which loops each memory keeps (its figure, less our tiles counted its way);
* **lanes**: precision gives our processing elements more operand pairs per step (our steps at one pair per step, less ours);
* **bandwidth, fill and drain**: where traffic bounds our time, and what ZigZag adds for stalls, the first fill and the last drain.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from dse.errors import InputError
from dse.export.design import load_design
from dse.export.mappings import MappedNest, best_mappings, whole_bits
from dse.export.zigzag import accelerator, exact, expressible, mappings, workload
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.timing import transfers
from dse.names import READ_SIDES
from dse.units import format_value

_HINT = "pip install zigzag-dse six, or name the Python where it is installed with --python"


def crosscheck(folder: Path, design: str, python: str = sys.executable, timeout_s: float = 1800.0) -> pd.DataFrame:
    """ZigZag's figures of a design beside ours.

    Parameters
    ----------
    folder, design
        A run folder and a design of its front, or ``knee``, ``fastest``, ``lowest-energy``.
    python
        The interpreter where zigzag-dse is installed.
    timeout_s
        After so many seconds the run of ZigZag is given up.

    Returns
    -------
    DataFrame
        One row per distinct pass: ``layer, pass, times`` (how many alike there are), ``energy_j, zigzag_energy_j,
        counting_j, tiles_j``, ``cycles, zigzag_cycles, lanes_cycles, fill_cycles``, and ``note`` where there is no
        comparison. ``energy_j + counting_j + tiles_j = zigzag_energy_j`` and ``cycles + lanes_cycles + fill_cycles =
        zigzag_cycles``.

    Raises
    ------
    InputError
        No such design, or ZigZag cannot be run.
    """
    what = load_design(f"{folder}:{design}")
    arrays, runs = best_mappings(what)
    alike: dict[Any, list[MappedNest]] = {}
    for run in runs:
        alike.setdefault((run.nest, run.stored_bits, run.mapping, run.mac_pj), []).append(run)
    firsts = [members[0] for members in alike.values()]
    cases = [_case(run, what.hardware, arrays) for run in firsts if not _why_not(run)]
    answers = iter(_ask(cases, python, timeout_s))
    rows = []
    for run, members in zip(firsts, alike.values(), strict=True):
        row: dict[str, Any] = {"layer": run.layer.name, "pass": run.pass_, "times": sum(r.times for r in members)}
        note = _why_not(run)
        answer = {} if note else next(answers)
        rows.append(row | _compared(run, what.hardware, arrays, answer) | {"note": note or answer.get("error", "")})
    return pd.DataFrame(rows)


def _why_not(run: MappedNest) -> str:
    if not expressible(run):
        return "no equation: its output has a sliding window"
    return "" if exact(run) else "its loops round up: ZigZag would search another order"


def _case(run: MappedNest, hardware: Hardware, arrays: HardwareArrays) -> dict[str, Any]:
    return {
        "layer": workload([run], hardware)[0],
        "accelerator": accelerator(hardware, arrays, [run]),
        "mapping": mappings([run], hardware),
    }


def _ask(cases: Sequence[dict[str, Any]], python: str, timeout_s: float) -> list[dict[str, Any]]:
    """ZigZag's answers, in a process of its own."""
    runner = Path(__file__).with_name("zigzag_runner.py")
    try:
        probe = subprocess.run([python, "-I", "-c", "import zigzag"], capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError("--python", [f"{python} cannot be run: {error}"]) from None
    if probe.returncode != 0:
        raise InputError("dse crosscheck", [f"zigzag-dse is not installed in {python}; {_HINT}"])
    if not cases:
        return []
    try:
        done = subprocess.run(
            [python, "-I", str(runner)],
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError("dse crosscheck", [f"ZigZag was given up after {timeout_s:g} s"]) from None
    if done.returncode != 0:
        raise InputError(
            "dse crosscheck", [f"ZigZag failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"]
        )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _compared(run: MappedNest, hardware: Hardware, arrays: HardwareArrays, answer: dict[str, Any]) -> dict[str, float]:
    names = ("zigzag_energy_j", "counting_j", "tiles_j", "zigzag_cycles", "lanes_cycles", "fill_cycles")
    ours = {"energy_j": (sum(run.memory_pj) + run.mac_pj) * 1e-12, "cycles": run.cycles}
    if "memory_pj" not in answer:
        return ours | dict.fromkeys(names, math.nan)
    theirs = sum(answer["memory_pj"].values())
    counted = counted_its_way_pj(run, hardware, arrays)
    return ours | {
        "zigzag_energy_j": (theirs + answer["mac_pj"]) * 1e-12,
        "counting_j": (counted - sum(run.memory_pj)) * 1e-12,
        "tiles_j": (theirs - counted + answer["mac_pj"] - run.mac_pj) * 1e-12,
        "zigzag_cycles": answer["cycles"],
        "lanes_cycles": answer["steps"] - run.cycles,
        "fill_cycles": answer["cycles"] - answer["steps"],
    }


def counted_its_way_pj(run: MappedNest, hardware: Hardware, arrays: HardwareArrays) -> float:
    """Memory energy of our loops and tiles, with traffic counted as ZigZag 3.9.1 does, pJ."""
    weight, activation, result = (whole_bits(bits) for bits in run.stored_bits)
    moved = transfers(run.mapping, run.nest, (weight, activation, run.sum_bits), result)
    names = [memory.name.lower() for memory in hardware.memories]
    total = 0.0
    for (level, _role, side), transfer in moved.items():
        m = names.index(run.mapping.levels[level].name.lower())
        prices = arrays.read_pj_per_bit if side in READ_SIDES else arrays.write_pj_per_bit
        bits = float(transfer.amount) * transfer.bits * transfer.count * transfer.instances
        total += bits * float(prices[0, m])
    return total


def crosscheck_table(table: pd.DataFrame) -> Table:
    """For people: a row per distinct pass."""
    view = Table(title="ZigZag against ours")
    for title in (
        "layer",
        "pass",
        "times",
        "energy",
        "ZigZag",
        "counting",
        "tiles",
        "cycles",
        "ZigZag",
        "lanes",
        "fill",
        "note",
    ):
        left = title in ("layer", "pass", "note")
        # Names of layers end in what tells them apart: they are broken, never cut.
        view.add_column(title, justify="left" if left else "right", overflow="fold" if left else "ellipsis")

    def change(row: dict[str, Any], part: str, whole: str) -> str:
        return "" if math.isnan(row[part]) else f"{row[part] / row[whole]:+.2%}"

    for raw in table.to_dict("records"):
        row = {str(key): value for key, value in raw.items()}
        known = not math.isnan(row["zigzag_energy_j"])
        view.add_row(
            escape(row["layer"]),
            row["pass"],
            f"{row['times']:g}",
            format_value(row["energy_j"], "J", 4),
            format_value(row["zigzag_energy_j"], "J", 4) if known else "",
            change(row, "counting_j", "energy_j"),
            change(row, "tiles_j", "energy_j"),
            f"{row['cycles']:,.0f}",
            f"{row['zigzag_cycles']:,.0f}" if known else "",
            change(row, "lanes_cycles", "cycles"),
            change(row, "fill_cycles", "cycles"),
            escape(row["note"]),
        )
    return view


def crosscheck_summary(table: pd.DataFrame) -> list[str]:
    """What a person reads below the table: totals of the compared passes, and the share of each cause."""
    known = table[table["zigzag_energy_j"].notna()]
    left = float(table.loc[table["zigzag_energy_j"].isna(), "times"].sum())
    lines = []
    if len(known):
        times = known["times"].to_numpy(dtype=float)

        def share(part: str, whole: str) -> float:
            return float(np.dot(known[part], times) / np.dot(known[whole], times))

        energy, cycles = "energy_j", "cycles"
        lines += [
            f"energy of {times.sum():g} passes: ZigZag {share('zigzag_energy_j', energy) - 1.0:+.2%} against ours; "
            f"its counting of partial sums and of strided windows {share('counting_j', energy):+.2%}, "
            f"tiles that it keeps elsewhere {share('tiles_j', energy):+.2%}",
            f"cycles: ZigZag {share('zigzag_cycles', cycles) - 1.0:+.2%} against ours; "
            f"precision lanes and bandwidth {share('lanes_cycles', cycles):+.2%}, "
            f"its stalls, first fill and last drain {share('fill_cycles', cycles):+.2%}",
        ]
    if left:
        lines.append(f"{left:g} passes are not compared; the table says why")
    return [
        *lines,
        "both: leakage, layers without MACs, the optimizer and what precision itself costs are not in this comparison",
    ]
