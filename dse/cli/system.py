"""What the command line asks of a system, from its options to a cost."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dse.errors import InputError, NothingFeasible
from dse.system.evaluate import SystemCost, best_of_system, evaluate_system
from dse.system.from_file.load import load_system
from dse.system.model import RECOMPUTE, Parallel
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
) -> SystemCost:
    """``dse evaluate --system``: a parallel plan, or the best of all on so many devices.

    Raises
    ------
    InputError
        Options that do not go together or are out of bounds.
    """
    network, found = load_workload(workload), load_system(system)
    if recompute_policy is not None and recompute_policy not in RECOMPUTE:
        raise InputError(
            "--recompute-policy", [f"'{recompute_policy}' is unknown{suggest(recompute_policy, RECOMPUTE)}"]
        )
    if parallel is None:
        if micro_batch is not None or recompute_policy is not None or accumulate is not None:
            raise InputError("--parallel", ["is needed with --micro-batch, --accumulate and --recompute-policy"])
        count = _devices(devices if devices is not None else 1)
        return best_of_system(network, device, plan, found, count, batch or SAMPLES_PER_DEVICE * count)
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
    return evaluate_system(network, device, plan, found, given, accumulate)


def sweep_command(workload: str, plan: str, system: str, devices: str, samples: int | None) -> SystemCost:
    """``dse sweep --system --devices``: the best parallel plan of each number of devices; those without one say why.

    Raises
    ------
    InputError
        No numbers of devices, or samples out of bounds.
    """
    try:
        counts = [_devices(int(text)) for text in devices.split(",")]
    except ValueError:
        raise InputError("--devices", [f"expected integers separated by commas, got '{devices}'"]) from None
    if samples is not None and samples < 1:
        raise InputError("--samples", [f"expected an integer >= 1, got {samples}"])
    network, found = load_workload(workload), load_system(system)
    tables, notes = [], []
    for count in counts:
        try:
            cost = best_of_system(network, None, plan, found, count, samples or SAMPLES_PER_DEVICE * count)
        except NothingFeasible as nothing:
            tables.append(pd.DataFrame([{"devices": count, "feasible": False, "limit": str(nothing.problems[0])}]))
            notes.append(f"{count:,} devices: {nothing.problems[0]}")
            continue
        tables.append(cost.total)
        notes.append(f"{count:,} devices: {cost.notes[-1]}")
    return SystemCost(pd.concat(tables, ignore_index=True), tuple(notes))


def _devices(count: int) -> int:
    if not 1 <= count <= MOST_DEVICES:
        raise InputError("--devices", [f"expected an integer from 1 to {MOST_DEVICES:,}, got {count}"])
    return count
