"""The folder of a run: tables, bit maps and what is needed to understand and to repeat them.

Every file is written beside its place and moved there, so a run that is stopped leaves the last good state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from dse.cost.mapped.searched import front_searching
from dse.cost.steps.step import rounded_widths, running_widths
from dse.cost.totals.evaluate import evaluate
from dse.errors import InputError, NothingFeasible
from dse.files import (
    csv_text,
    is_file,
    make_folder,
    read_text,
    remove_file,
    remove_folders,
    remove_halves,
    why_not_written,
    write_text,
)
from dse.names import MAC_OPERANDS
from dse.precision import Plan
from dse.precision.formats.properties import Format, plain_integer
from dse.precision.plans.cells import Cell, formats_of
from dse.search.loop.state import locked
from dse.search.outcome.results import Run
from dse.workload.model import Network


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain data as JSON, atomically; NaN and infinity become null."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; see :func:`dse.files.csv_text`."""
    rows = zip(*(table[column].tolist() for column in table.columns), strict=True)
    write_text(path, csv_text([str(column) for column in table.columns], rows))


def write_run(run: Run, folder: Path) -> None:
    """Write the run folder; run.json last, since it marks the run as complete.

    Raises
    ------
    InputError
        The folder cannot be written; what was there before is intact.
    """
    write_table(folder / "designs.csv", run.designs)
    layers, bits, areas, memories = [], [], [], []
    plans: set[str] = set()
    several = len(run.problem.subjects) > 1
    spaces = [parameter.name for parameter in run.problem.hardware.space]
    for _, group in run.front.groupby(spaces, sort=False) if spaces else [((), run.front)]:
        designs = [str(design) for design in group["design"]]
        maps = [run.maps(design) for design in designs]
        for subject in run.problem.subjects:
            network = subject.network
            prefix = f"{network.name}/" if several else ""
            table, area, held = _costs(run, designs, network)
            layers.append(table.assign(layer=prefix + table["layer"]))
            memories.append(held.assign(workload=network.name))
            if network is run.problem.subjects[0].network:
                areas += [area.assign(design=design) for design in designs]
            names = {layer.name for layer in network.mac_layers}
            for design, each in zip(designs, maps, strict=True):
                plan = each[network.name]
                stem = f"{design}.{network.name}" if several else design
                slow = rounded_widths(run.problem.hardware, _integer_widths(plan))
                said = "".join(f"# {text}\n" for text in slow)
                write_text(folder / "plans" / f"{stem}.yaml", said + plan.to_yaml())
                plans.add(stem)
                for phase, map_ in _phases(run, design, network, plan):
                    for operand in ("weight", "activation", "error"):
                        cells, widths = map_.cells(operand), map_.widths(operand).tolist()
                        bits += [
                            (design, prefix + layer, operand, str(cell), width, _runs_as(run, cell, width), phase)
                            for layer, cell, width in zip(map_.layers, cells, widths, strict=True)
                            if layer in names
                        ]
    columns = ["design", "layer", "operand", "format", "bits", "runs_as", "phase"]
    table = pd.DataFrame(bits, columns=columns)
    write_table(folder / "bits.csv", table if run.problem.schedules is not None else table[columns[:-1]])
    if layers:
        write_table(folder / "layers.csv", _design_first(pd.concat(layers, ignore_index=True)))
        write_table(folder / "area.csv", _design_first(pd.concat(areas, ignore_index=True)))
        write_table(folder / "memory.csv", _design_first(pd.concat(memories, ignore_index=True)))
    write_table(folder / "sensitivity.csv", run.sensitivity)
    # The hardware as it was: an export needs its prices even if the file has changed since.
    given = Path(run.problem.hardware.path)
    if is_file(given):
        text = re.sub(r"(?m)^fusion:.*\n", "", read_text(given, "a hardware file"))
        if rules := run.problem.hardware.rules:
            # Those of the command line beside the file's own.
            kept = re.sub(r"(?m)^constraints:.*\n(?:[ -].*\n)*", "", f"{text.rstrip()}\n")
            text = f"{kept}constraints: {json.dumps([rule.line for rule in rules])}\n"
        # What ran fused may be the search's own choice.
        fusion = run.problem.hardware.fusion
        write_text(folder / "hardware.yaml", text if fusion == "none" else f"{text.rstrip()}\nfusion: {fusion}\n")
    write_table(folder / "front.csv", run.front)
    for old in (folder / "plans").glob("*.yaml"):
        if old.stem not in plans:
            remove_file(old)
    write_json(folder / "run.json", run.info)


def _integer_widths(plan: Plan) -> list[int]:
    """Widths of the integers that a plan multiplies, each once."""
    cells = {cell for operand in MAC_OPERANDS for cell in plan.cells(operand)}
    found = {form.element_bits for cell in cells for form in formats_of(cell) if plain_integer(form)}
    return sorted(found)


def _runs_as(run: Run, cell: Cell, width: int) -> int:
    """Width at which the elements run a tensor of integers, as wide as other tensors are narrow or wide; of all else its own."""
    if not isinstance(cell, Format) or not plain_integer(cell):
        return width
    return max(width, running_widths(run.problem.hardware, [width]).get(width, width))


def write_draws(folder: Path, table: pd.DataFrame | None) -> None:
    """Write the draws of a front (:mod:`dse.search.outcome.uncertainty`) as draws.csv; without any, an older file goes."""
    if table is not None:
        write_table(folder / "draws.csv", table)
    else:
        remove_file(folder / "draws.csv")


def _costs(run: Run, designs: list[str], network: Network) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Costs by layer of designs of one hardware, with a column ``design``, the hardware's area by part, and the memory held."""
    mode, hardware = run.problem.mode, run.hardware(designs[0])
    if run.problem.schedules is None:
        plans = [run.plan(design, network.name) for design in designs]
        cost = evaluate(network, hardware, plans, mode=mode, labels=designs, search_mappings=front_searching())
        return (
            cost.layers.drop(columns=["design"]).rename(columns={"plan": "design"}),
            cost.area,
            _held(cost.total, designs),
        )
    tables, held = [], []
    for design in designs:
        schedule = run.schedule(design, network.name)
        cost = evaluate(network, hardware, schedule, mode=mode, search_mappings=front_searching())
        table = cost.layers.drop(columns=["plan"]).assign(design=design)
        # A run's costs by its iterations: those of the mean step, as in the front.
        numbers = table.select_dtypes("number").columns.drop("mapping_gap")
        tables.append(table.assign(**{str(name): table[name] / schedule.iterations for name in numbers}))
        held.append(_held(cost.total, [design]))
    return pd.concat(tables, ignore_index=True), cost.area, pd.concat(held, ignore_index=True)


def _phases(run: Run, design: str, network: Network, plan: Plan) -> list[tuple[str, Plan]]:
    """Different maps of a design with the iterations that run each, in order of appearance; its own map without a schedule."""
    if run.problem.schedules is None:
        return [("", plan)]
    schedule = run.schedule(design, network.name)
    counts: dict[int, int] = {}
    maps: dict[int, Plan] = {}
    for item, count in schedule.plans(network):
        maps[id(item)] = item
        counts[id(item)] = counts.get(id(item), 0) + count
    total = schedule.iterations
    return [(f"map {n}: {counts[key] / total:.0%} of the iterations", maps[key]) for n, key in enumerate(maps, start=1)]


def _held(total: pd.DataFrame, designs: list[str]) -> pd.DataFrame:
    """Bits held at the peak of a step, by part and in all."""
    names = [str(name) for name in total.columns if str(name).startswith("memory_") or name == "peak_memory_bits"]
    return total[names].assign(design=designs)


def _design_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["design", *(column for column in table.columns if column != "design")]]


@contextmanager
def prepared(folder: Path, resume: bool) -> Iterator[None]:
    """The folder of a run, made, found to be writable, and held alone; taken back if the run ends before it leaves anything.

    Raises
    ------
    InputError
        It holds a run already and ``resume`` is not set, a run without its state, another process is at work on it, or it cannot
        be written.

    Notes
    -----
    With ``resume`` a folder that is not there yet is where the run begins: a run may be killed before it made its folder.
    """
    if is_file(folder / "run.json"):
        if not resume:
            raise InputError(str(folder), ["holds a run already; choose another --out, or continue it with --resume"])
        if not is_file(folder / "state" / "state.json"):
            raise InputError(
                str(folder), ["holds a run without its state, which cannot be resumed; choose another --out"]
            )
    parts = [folder / "state", folder / "plans", folder]
    made: list[Path] = []
    try:
        for part in parts[:2]:
            made += make_folder(part)
        why = next((why for part in parts if (why := why_not_written(part / "run.json"))), "")
        if why:
            raise InputError(str(folder), [f"the output folder {why}"])
        with locked(folder):
            for part in parts:
                remove_halves(part)
            yield
    except BaseException as error:
        if parts[0] in made and (isinstance(error, NothingFeasible) or not is_file(parts[0] / "state.json")):
            for path in (*parts[0].glob("*"), folder / "optuna.journal"):
                with suppress(InputError):
                    remove_file(path)
        remove_folders(sorted(made, key=lambda part: len(part.parts), reverse=True))
        raise


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
