"""Cost of a training step on many accelerators: time, rates, energy and memory per device, of one parallel plan or of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.errors import InputError
from dse.hardware.from_file.load import load_hardware
from dse.hardware.model import Hardware
from dse.precision.plans.plan import Plan
from dse.precision.plans.recipes import LINEAR
from dse.system.from_file.load import load_system
from dse.system.model import Parallel, System
from dse.system.network.rows import PLAIN_BITS, Rows, rows_of
from dse.system.plans.arrays import Plans, plans_of
from dse.system.plans.devices import mapped_device
from dse.system.plans.figures import figures
from dse.system.plans.memory import PARTS, footprint, host_bytes
from dse.system.plans.search import best_plan, memory_shortfall, tokens_of
from dse.system.plans.timeline import Layout, step_layout
from dse.system.plans.times import Communication, Times, step_times
from dse.types import Floats
from dse.units import format_value
from dse.workload.load import load_workload
from dse.workload.model import Network


@dataclass(frozen=True)
class Inputs:
    """What a step's passes are laid out from."""

    rows: Rows
    system: System
    communication: Communication
    plans: tuple[Parallel, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class SystemCost:
    """Result of :func:`evaluate_system`.

    Attributes
    ----------
    total
        One row per parallel plan: ``plan, parallel, devices, micro_batch, accumulate, samples`` of a step; ``latency_s`` and its
        parts ``<part>_s``; ``samples_per_s, tokens_per_s, tokens_per_s_per_device, mfu`` (the time that the step's products,
        nothing recomputed, would take at the peaks of their formats, as a share of its latency), ``energy_j, energy_j_per_token,
        tokens_per_j``; ``peak_memory_bits, memory_<part>_bits`` of the fullest device; ``link_bits`` that leave a device,
        ``link_<kind>_bits`` of them by kind of parallelism; ``host_memory_bits`` that its host holds; ``feasible, limit``.
        Infeasible rows have NaN figures and the name of the limit with the shortfall.
    notes
        What the figures assume, in sentences.
    inputs
        What :meth:`layout` lays a step out from.
    """

    total: pd.DataFrame
    notes: tuple[str, ...]
    inputs: Inputs | None = None

    def layout(self, place: int = 0) -> Layout | None:
        """One step of a plan pass by pass, None where it has too many: see :func:`dse.system.plans.timeline.step_layout`."""
        known = self.inputs
        if known is None:
            return None
        return step_layout(known.rows, known.system, known.communication, known.plans[place], known.steps[place])

    def as_dict(self) -> dict[str, Any]:
        """The table as records of plain values, NaN as None."""
        rows = self.total.astype(object).where(self.total.notna(), None).to_dict("records")
        return {"total": rows, "notes": list(self.notes)}


def evaluate_system(
    network: Network | str | Path,
    hardware: Hardware | str | Path | None,
    plan: Plan | str | Path,
    system: System | str | Path,
    parallel: Parallel | str | Sequence[Parallel | str],
    accumulate: int | None = None,
    communication: Communication | None = None,
) -> SystemCost:
    """Cost of one training step of a network on a system under parallel plans.

    Parameters
    ----------
    hardware
        A hardware model instead of the system's own device, under the system's links; None: the system's device.
    parallel
        One plan or several, as records or as on the command line (``d8t4p2``).
    accumulate
        Micro batches of each data-parallel group before the update; default: the network's.
    communication
        Formats of what collectives move.

    Raises
    ------
    InputError
        Unknown names, and plans that the network or the system does not allow.
    """
    network = load_workload(network) if isinstance(network, (str, Path)) else network
    bits = plan if isinstance(plan, Plan) else Plan.parse(str(plan), network)
    system = load_system(system) if isinstance(system, (str, Path)) else system
    given = [parallel] if isinstance(parallel, (Parallel, str)) else list(parallel)
    plans = [Parallel.parse(item) if isinstance(item, str) else item for item in given]
    steps = network.accumulate if accumulate is None else accumulate
    if not plans:
        raise InputError("parallel", ["expected at least one plan"])
    if steps < 1:
        raise InputError("accumulate", [f"expected an integer >= 1, got {steps}"])
    if network.batch != 1:
        network = replace(network, batch=1)
    rows = system_rows(network, bits, system)
    wrong = [problem for item in plans for problem in problems(rows, system, item, steps)]
    if wrong:
        raise InputError(f"{network.name} on {system.name}", list(dict.fromkeys(wrong)))
    system, sample_j, notes = with_device(network, hardware, bits, system, plans[0].micro_batch)
    arrays = plans_of(plans, steps)
    moved = communication or Communication()
    times = step_times(rows, arrays, system, moved)
    said = _conversions_said(rows, bits, arrays, times, system, moved)
    inputs = Inputs(rows, system, moved, tuple(plans), (steps,) * len(plans))
    return SystemCost(_table(rows, bits, arrays, times, system, sample_j), (*notes, *said), inputs)


def best_of_system(
    network: Network | str | Path,
    hardware: Hardware | str | Path | None,
    plan: Plan | str | Path,
    system: System | str | Path,
    devices: int,
    samples: int,
    communication: Communication | None = None,
) -> SystemCost:
    """The parallel plan with the shortest step of so many samples, of all that fit: see :func:`dse.system.plans.search.best_plan`.

    Raises
    ------
    InputError
        Unknown names; no plan shares the samples.
    NothingFeasible
        No plan fits the memory; the shortfall of the nearest one is named.
    """
    network = load_workload(network) if isinstance(network, (str, Path)) else network
    bits = plan if isinstance(plan, Plan) else Plan.parse(str(plan), network)
    system = load_system(system) if isinstance(system, (str, Path)) else system
    if system.most_devices and devices > system.most_devices:
        raise InputError("devices", [f"{system.name} has at most {system.most_devices:,} devices, got {devices:,}"])
    network = replace(network, batch=1)
    rows = system_rows(network, bits, system)
    system, sample_j, notes = with_device(network, hardware, bits, system, 1)
    found, times = best_plan(rows, system, devices, samples, communication)
    arrays = plans_of([found.parallel], found.steps)
    proof = (
        f"{found.parallel.label} is the fastest of all {found.listed:,} parallel plans, of which {found.fitting:,} fit the memory; "
        "proven within the model"
    )
    moved = communication or Communication()
    said = _conversions_said(rows, bits, arrays, times, system, moved)
    inputs = Inputs(rows, system, moved, (found.parallel,), (found.steps,))
    return SystemCost(_table(rows, bits, arrays, times, system, sample_j), (*notes, *said, proof), inputs)


def problems(rows: Rows, system: System, parallel: Parallel, steps: int) -> list[str]:
    """What of a plan a network or a system does not allow, in sentences."""
    wrong = []
    layers = rows.network.layers
    if system.most_devices and parallel.devices > system.most_devices:
        wrong.append(
            f"{parallel.label} takes {parallel.devices:,} devices; {system.name} has at most {system.most_devices:,}"
        )
    if parallel.pipeline > rows.blocks.count:
        wrong.append(
            f"a pipeline of {parallel.pipeline} stages is longer than the {rows.blocks.count} equal blocks of the network"
        )
    elif parallel.interleave > 1 and parallel.interleave > math.ceil(rows.blocks.count / parallel.pipeline):
        wrong.append(f"a stage has fewer than the {parallel.interleave} blocks that it is cut into")
    if parallel.interleave > 1 and (parallel.pipeline == 1 or steps % parallel.pipeline):
        wrong.append(
            f"interleaving takes a pipeline, and micro batches in multiples of its {parallel.pipeline} stages; got {steps}"
        )
    if parallel.tensor > 1 and rows.heads and rows.heads % parallel.tensor:
        wrong.append(f"tensor parallelism of {parallel.tensor} does not divide the {rows.heads} heads")
    if parallel.tensor > 1 and not any(row.cut.dim in ("K", "G") for row in rows.rows if row.layer.has_macs):
        wrong.append("no layer of the network can be cut by tensor parallelism")
    if (parallel.sequence_parallel or parallel.context > 1) and not rows.token_wise:
        wrong.append("sequence and context parallelism need layers that treat their tokens alone")
    if parallel.context > 1 and tokens_of(rows) % parallel.context:
        wrong.append(f"context parallelism of {parallel.context} does not divide the {tokens_of(rows)} tokens")
    if parallel.offload and system.host is None:
        wrong.append(f"{system.name} says nothing of its hosts, so that nothing can be offloaded to them")
    experts = max((layer.experts for layer in layers), default=0)
    if parallel.expert > 1 and (not experts or experts % parallel.expert):
        wrong.append(f"expert parallelism of {parallel.expert} does not divide the {experts} experts")
    return wrong


def system_rows(network: Network, plan: Plan, system: System) -> Rows:
    """Rows of a network under a plan as the system's software runs it."""
    return rows_of(network, plan, system.execution.dropout, system.execution.attention == "fused")


def _conversions_said(
    rows: Rows, plan: Plan, arrays: Plans, times: Times, system: System, communication: Communication
) -> tuple[str, ...]:
    """What conversions take of the first parallel plan's step, and how it stands to BF16's; nothing without conversions."""
    network, converting = rows.network, float(times.conversions[0])
    said = []
    narrow = any(row.layer.kind == "matmul" and row.widths.forward < PLAIN_BITS for row in rows.rows)
    if narrow and system.execution.attention == "fused":
        said.append(
            "attention is one kernel that multiplies 16 bits, whatever the plan gives its products; nothing of it is converted"
        )
    if not converting > 0:
        return tuple(said)
    plain = system_rows(network, Plan.uniform(network, "bf16", "bf16", "bf16"), system)
    base, step = (float(item.step[0]) for item in (step_times(plain, arrays, system, communication), times))
    took = f"conversions take {format_value(converting, 's')} of the step of {format_value(step, 's')}"
    gained = f"{base / step:.2f} times as fast as the same step in BF16, {base / (step - converting):.2f} times without conversions"
    said.append(f"{took}: {gained}")
    if step > base:
        recipes = ", ".join(LINEAR)
        said.append(
            f"slower than BF16: tensors are converted in every layer, and narrow products save less than that takes; "
            f"plans that convert the inputs of layers with weights alone: {recipes}"
        )
    return tuple(said)


def with_device(
    network: Network, hardware: Hardware | str | Path | None, plan: Plan, system: System, micro_batch: int
) -> tuple[System, float | None, tuple[str, ...]]:
    """The system with the device that is meant (a hardware model in place of its own), the energy of a sample where a hardware
    model tells it, and notes."""
    notes = [
        f"{system.name}: {system.device.name}, products at {system.device.product_efficiency:g} of the peak, memory at "
        f"{system.device.memory_efficiency:g}; attention {system.execution.attention}"
    ]
    named = hardware if hardware is not None else system.device.hardware or None
    if named is None:
        notes.append("energy is that of the boards at full load and of the links, so an upper figure")
        return system, None, tuple(notes)
    machine = load_hardware(named) if isinstance(named, (str, Path)) else named
    mapped = mapped_device(network, machine, plan, micro_batch)
    device = mapped.device
    if hardware is None:
        device = replace(device, memory_bytes=system.device.memory_bytes)
    share = device.macs_per_s[64] / device.peak_macs_per_s[64]
    notes = [
        f"device {machine.name} under the links of {system.name}: its best mappings of one block on one device reach {share:.2f} "
        "of its peak, which cut layers are taken to reach too; energy is the mapped one and that of the links"
    ]
    return replace(system, device=device), mapped.sample_j, tuple(notes)


def _table(rows: Rows, plan: Plan, plans: Plans, times: Times, system: System, sample_j: float | None) -> pd.DataFrame:
    """One row per plan; see :class:`SystemCost`."""
    made = table_of(rows, plans, times, system, sample_j)
    made.insert(0, "plan", plan.label)
    return made


def table_of(rows: Rows, plans: Plans, times: Times, system: System, sample_j: float | None) -> pd.DataFrame:
    """Figures of plans, one row each; see :class:`SystemCost`."""
    held = footprint(rows, plans, system.execution)
    found = figures(rows, plans, times, system, sample_j)
    total: Floats = np.asarray(sum(held.values()))
    away = host_bytes(rows, plans)
    room = system.host.memory_bytes if system.host is not None else 0.0
    fits = (total <= system.device.memory_bytes) & (away <= room)
    records = [plans.parallel(place) for place in range(len(plans.data))]
    columns = {
        "parallel": [item.label for item in records],
        "recompute": [item.recompute for item in records],
        "devices": [item.devices for item in records],
        "micro_batch": [item.micro_batch for item in records],
        "accumulate": plans.steps.astype(np.int64),
        "samples": found.samples.astype(np.int64),
        **{name: np.where(fits, value, np.nan) for name, value in found.columns.items()},
        "peak_memory_bits": 8.0 * total,
        **{f"memory_{part}_bits": 8.0 * held[part] for part in PARTS},
        "host_memory_bits": 8.0 * away,
        "feasible": fits,
        "limit": [
            ""
            if fit
            else memory_shortfall(item, float(size), system.device.memory_bytes)
            if size > system.device.memory_bytes
            else memory_shortfall(item, float(hosted), room, "host's share for a device")
            for item, fit, size, hosted in zip(records, fits, total, away, strict=True)
        ],
    }
    return pd.DataFrame(columns)
