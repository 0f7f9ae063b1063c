"""Cost of a training step on many accelerators: time, rates, energy and memory per device, of one parallel plan or of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dse.errors import InputError
from dse.hardware.from_file.load import load_hardware
from dse.hardware.model import Hardware
from dse.names import TIME_PARTS
from dse.precision.plans.plan import Plan
from dse.precision.plans.recipes import LINEAR
from dse.system.from_file.load import load_system
from dse.system.model import Parallel, System
from dse.system.network.rows import PLAIN_BITS, Rows, rows_of
from dse.system.plans.arrays import Plans, plans_of
from dse.system.plans.devices import mapped_device
from dse.system.plans.memory import PARTS, footprint
from dse.system.plans.search import best_plan, held_bytes, memory_shortfall, tokens_of
from dse.system.plans.times import Communication, Times, step_times
from dse.units import format_value
from dse.workload.load import load_workload
from dse.workload.model import Network


@dataclass(frozen=True)
class SystemCost:
    """Result of :func:`evaluate_system`.

    Attributes
    ----------
    total
        One row per parallel plan: ``plan, parallel, devices, micro_batch, accumulate, samples`` of a step; ``latency_s`` and its
        parts ``<part>_s``; ``samples_per_s, tokens_per_s, tokens_per_s_per_device, mfu`` (the time that the step's products,
        nothing recomputed, would take at the peaks of their formats, as a share of its latency), ``energy_j, energy_j_per_token,
        tokens_per_j``; ``peak_memory_bits, memory_<part>_bits`` of the fullest device; ``link_bits`` that leave a device;
        ``feasible, limit``. Infeasible rows have NaN figures and the name of the limit with the shortfall.
    notes
        What the figures assume, in sentences.
    """

    total: pd.DataFrame
    notes: tuple[str, ...]

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
    rows = _rows(network, bits, system)
    wrong = [problem for item in plans for problem in problems(rows, system, item, steps)]
    if wrong:
        raise InputError(f"{network.name} on {system.name}", list(dict.fromkeys(wrong)))
    system, sample_j, notes = _with_device(network, hardware, bits, system, plans[0].micro_batch)
    arrays = plans_of(plans, steps)
    communication = communication or Communication()
    times = step_times(rows, arrays, system, communication)
    said = _conversions_said(rows, bits, arrays, times, system, communication)
    return SystemCost(_table(rows, bits, arrays, times, system, sample_j), (*notes, *said))


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
    rows = _rows(network, bits, system)
    system, sample_j, notes = _with_device(network, hardware, bits, system, 1)
    found, times = best_plan(rows, system, devices, samples, communication)
    arrays = plans_of([found.parallel], found.steps)
    proof = (
        f"{found.parallel.label} is the fastest of all {found.listed:,} parallel plans, of which {found.fitting:,} fit the memory; "
        "proven within the model"
    )
    said = _conversions_said(rows, bits, arrays, times, system, communication or Communication())
    return SystemCost(_table(rows, bits, arrays, times, system, sample_j), (*notes, *said, proof))


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
    experts = max((layer.experts for layer in layers), default=0)
    if parallel.expert > 1 and (not experts or experts % parallel.expert):
        wrong.append(f"expert parallelism of {parallel.expert} does not divide the {experts} experts")
    return wrong


def _rows(network: Network, plan: Plan, system: System) -> Rows:
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
    plain = _rows(network, Plan.uniform(network, "bf16", "bf16", "bf16"), system)
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


def _with_device(
    network: Network, hardware: Hardware | str | Path | None, plan: Plan, system: System, micro_batch: int
) -> tuple[System, float | None, tuple[str, ...]]:
    """The system with the device that is meant, its energy of a sample where a hardware model tells it, and notes."""
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
    held = footprint(rows, plans, system.execution)
    total_bytes = held_bytes(rows, plans, system)
    tokens = tokens_of(rows)
    records = []
    for place in range(len(plans.data)):
        parallel = plans.parallel(place)
        devices, steps = parallel.devices, int(plans.steps[place])
        samples = parallel.data * parallel.micro_batch * steps
        latency = float(times.step[place])
        links = float(times.link_bits[place]) * devices * _link_pj(system, parallel) * 1e-12
        boards = devices * system.device.power_w * latency if sample_j is None else samples * sample_j
        energy = boards + links
        held_here = float(total_bytes[place])
        fits = held_here <= system.device.memory_bytes
        figures = {
            "latency_s": latency,
            **{f"{part}_s": float(getattr(times, part)[place]) for part in TIME_PARTS},
            "samples_per_s": samples / latency,
            "tokens_per_s": samples * tokens / latency,
            "tokens_per_s_per_device": samples * tokens / latency / devices,
            "mfu": samples * _peak_s(rows, system) / (latency * devices),
            "energy_j": energy,
            "energy_j_per_token": energy / (samples * tokens),
            "tokens_per_j": samples * tokens / energy if energy else math.nan,
            "link_bits": float(times.link_bits[place]),
        }
        records.append(
            {
                "plan": plan.label,
                "parallel": parallel.label,
                "recompute": parallel.recompute,
                "devices": devices,
                "micro_batch": parallel.micro_batch,
                "accumulate": steps,
                "samples": samples,
                **{name: value if fits else math.nan for name, value in figures.items()},
                "peak_memory_bits": 8.0 * held_here,
                **{f"memory_{part}_bits": 8.0 * float(held[part][place]) for part in PARTS},
                "feasible": fits,
                "limit": "" if fits else memory_shortfall(parallel, held_here, system.device.memory_bytes),
            }
        )
    return pd.DataFrame(records)


def _peak_s(rows: Rows, system: System) -> float:
    """Seconds in which one device at the peaks of the formats would do the products of a sample."""
    peaks = system.device.peak_macs_per_s
    seconds = 0.0
    for row in rows.rows:
        for pass_ in row.layer.passes if row.layer.has_macs else ():
            fitting = [bits for bits in peaks if bits >= getattr(row.widths, pass_)]
            seconds += row.times * row.layer.macs / peaks[min(fitting) if fitting else max(peaks)]
    return seconds


def _link_pj(system: System, parallel: Parallel) -> float:
    """Energy of a bit on the outermost level that the plan's devices need."""
    level = next(
        (link for link in system.links if link.devices == 0 or link.devices >= parallel.devices), system.links[-1]
    )
    return level.pj_per_bit
