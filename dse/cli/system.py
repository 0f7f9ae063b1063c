"""What the command line asks of a system, from its options to a cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dse.cli.system_pages import cost_files, explored_files, records_of, sweep_files
from dse.cli.terminal import console
from dse.errors import InputError, NothingFeasible
from dse.files import is_folder, require_no_folder, write_all
from dse.report.tables.system import explored_table
from dse.search.target_loss.systems import FORMAT_PLANS, SYSTEM_OBJECTIVES, explore_systems
from dse.system.evaluate import SystemCost, best_of_system, evaluate_system
from dse.system.from_file.load import load_system
from dse.system.model import RECOMPUTE, Parallel
from dse.system.plans.times import Communication
from dse.workload.load import load_workload
from dse.yaml_input import suggest

#: Samples per device of a step where a sweep says none.
SAMPLES_PER_DEVICE = 4
#: Most devices that are asked for.
MOST_DEVICES = 1_000_000


def evaluate_command(
    workload: str,
    device: str | None,
    plan: str,
    system: str,
    devices: int | None,
    parallel: str | None,
    micro_batch: int | None,
    accumulate: int | None,
    batch: int | None,
    recompute_policy: str | None,
    communication: str | None = None,
) -> SystemCost:
    """``dse evaluate --system``: a parallel plan, or the best of all on so many devices.

    Raises
    ------
    InputError
        Options that do not go together or are out of bounds.
    """
    network, found = load_workload(workload), load_system(system)
    moved = Communication.parse(communication) if communication is not None else None
    if recompute_policy is not None and recompute_policy not in RECOMPUTE:
        raise InputError(
            "--recompute-policy", [f"'{recompute_policy}' is unknown{suggest(recompute_policy, RECOMPUTE)}"]
        )
    if parallel is None or parallel == "auto":
        if micro_batch is not None or recompute_policy is not None or accumulate is not None:
            raise InputError("--parallel", ["is needed with --micro-batch, --accumulate and --recompute-policy"])
        count = _devices(devices if devices is not None else 1)
        return best_of_system(network, device, plan, found, count, batch or SAMPLES_PER_DEVICE * count, moved)
    given = Parallel.parse(parallel)
    if micro_batch is not None:
        given = replace(given, micro_batch=micro_batch)
    if recompute_policy is not None:
        given = replace(given, recompute=recompute_policy)
    if devices is not None and given.devices != _devices(devices):
        raise InputError("--devices", [f"{given.label} takes {given.devices:,} devices, got {devices:,}"])
    if batch is not None:
        per_pass = given.data * given.micro_batch
        if accumulate is not None or batch % per_pass or batch < 1:
            raise InputError(
                "--batch",
                [f"expected a multiple of the {per_pass} samples of a pass, and no --accumulate, got {batch}"],
            )
        accumulate = batch // per_pass
    return evaluate_system(network, device, plan, found, given, accumulate, moved)


def explore_command(
    workload: str,
    device: str | None,
    system: str,
    devices: str | None,
    plans: str | None,
    samples: int | None,
    objectives: str | None,
    target_loss: float | None,
    communication: str | None,
    out: Path | None,
) -> None:
    """``dse explore --system``: all parallel plans under all plans of formats; prints the front and writes its files.

    Raises
    ------
    InputError
        Options out of bounds, a folder that exists.
    """
    counts, names = _counts(devices or "64"), _names(plans, FORMAT_PLANS)
    folder = out or _new_folder(f"{Path(workload).stem}-{Path(system).stem}-{'-'.join(map(str, counts))}")
    require_no_folder(out)
    begin = time.process_time()
    found = explore_systems(
        workload,
        system,
        counts,
        names,
        samples=samples,
        objectives=_names(objectives, tuple(SYSTEM_OBJECTIVES)),
        hardware=device,
        communication=Communication.parse(communication) if communication is not None else None,
        target_loss=target_loss,
    )
    took = time.process_time() - begin
    title = f"{Path(workload).stem} on {Path(system).stem}"
    inputs = {
        "command": " ".join(["dse", *sys.argv[1:]]),
        "workload": {"name": Path(workload).stem, "path": workload},
        "system": system,
        "communication": communication or "",
        "target_loss": target_loss,
    }
    files = explored_files(found, folder, title, inputs)
    paths = write_all(files)
    screen = console()
    for table in explored_table(records_of(found.fastest), records_of(found.front), title):
        screen.print(table)
    listed = found.certificate["listed"]
    for sentence in (
        *found.notes,
        found.certificate["proven"],
        f"{listed:,} plans in {took:.1f} CPU seconds, {listed / took:,.0f} a second",
    ):
        screen.print(sentence, soft_wrap=True, markup=False)
    screen.print(f"report: {next(path for path in paths if path.name == 'report.html')}", soft_wrap=True, markup=False)


def _new_folder(name: str) -> Path:
    """A folder of reports that is not there yet."""
    numbers = ("", *(f"-{place}" for place in range(2, 1000)))
    return next(path for number in numbers if not is_folder(path := Path("reports") / f"{name}{number}"))


def _names(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """Names between commas; an operand's format, as in ``fp8_e4m3,error=fp8_e5m2``, belongs to the plan before it."""
    found: list[str] = []
    for part in (part.strip() for part in (text or "").split(",") if part.strip()):
        found = [*found[:-1], f"{found[-1]},{part}"] if found and "=" in part else [*found, part]
    return tuple(found) if text is not None else tuple(known)


def _counts(text: str) -> list[int]:
    try:
        return [_devices(int(part)) for part in text.split(",")]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("--devices", [f"expected integers separated by commas, got '{text}'"]) from None


def cost_page(cost: SystemCost, out: Path | None, title: str) -> dict[Path, str]:
    """Files of a page of the cost of one plan, none without a folder.

    Raises
    ------
    InputError
        The folder exists.
    """
    if out is None:
        return {}
    require_no_folder(out)
    layout = cost.layout() if len(cost.total) == 1 else None
    return cost_files(cost.as_dict()["total"], out, title, cost.notes, layout)


def sweep_command(
    workload: str, plan: str, system: str, devices: str, samples: int | None, communication: str | None = None
) -> SystemCost:
    """``dse sweep --system --devices``: strong and weak scaling, the best parallel plan of each number of devices.

    Strong: the same samples of a step on all; weak: the same for each device, so that both meet at the most devices. ``efficiency``
    is the rate of a device over that on the fewest devices with a plan. Numbers without a plan say why.

    Raises
    ------
    InputError
        No numbers of devices, or samples out of bounds.
    """
    counts = sorted(set(_counts(devices)))
    if samples is not None and samples < 1:
        raise InputError("--samples", [f"expected an integer >= 1, got {samples}"])
    network, found = load_workload(workload), load_system(system)
    moved = Communication.parse(communication) if communication is not None else None
    whole = samples or SAMPLES_PER_DEVICE * counts[-1]
    each = max(whole // counts[-1], 1)
    tables, notes = [], []
    for scaling, of in (("strong", lambda count: whole), ("weak", lambda count: each * count)):
        rows = []
        for count in counts:
            try:
                cost = best_of_system(network, None, plan, found, count, of(count), moved)
            except (NothingFeasible, InputError) as error:
                if not isinstance(error, NothingFeasible) and error.source != "devices":
                    raise
                why = str(error.problems[0].message)
                rows.append(pd.DataFrame([{"devices": count, "samples": of(count), "feasible": False, "limit": why}]))
                notes.append(f"{scaling}, {count:,} devices: {why}")
                continue
            rows.append(cost.total)
            notes += [note for note in cost.notes[:-1] if note not in notes]
            notes.append(f"{scaling}, {count:,} devices: {cost.notes[-1]}")
        table = pd.concat(rows, ignore_index=True)
        table.insert(0, "scaling", scaling)
        if "latency_s" in table:
            rate = table["tokens_per_s_per_device"]
            first = rate.dropna()
            table["efficiency"] = rate / float(first.iloc[0]) if len(first) else rate
        tables.append(table)
    return SystemCost(pd.concat(tables, ignore_index=True), tuple(notes))


def sweep_page(cost: SystemCost, out: Path | None, title: str) -> dict[Path, str]:
    """Files of a sweep: a table, the page, figures of strong and of weak scaling.

    Raises
    ------
    InputError
        The folder exists.
    """
    if out is None:
        return {}
    require_no_folder(out)
    return sweep_files(cost.as_dict()["total"], out, title, cost.notes)


def _devices(count: int) -> int:
    if not 1 <= count <= MOST_DEVICES:
        raise InputError("--devices", [f"expected an integer from 1 to {MOST_DEVICES:,}, got {count}"])
    return count
