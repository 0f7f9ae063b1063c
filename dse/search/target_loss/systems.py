"""Every parallel plan of a network on a system, under every plan of formats and on every number of devices: the whole front.

There are tens of thousands of them, and a second prices them all, so that nothing is sampled: of the plans that are listed
(:func:`dse.system.plans.search.enumerate_plans`) none is better than the front. With a target loss every plan of formats trains
until the network has that loss, on the tokens that the loss law says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.accuracy.law.law import RECIPES as LAW_RECIPES
from dse.accuracy.law.law import Law, load_law
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware.model import Hardware
from dse.precision.plans.file import short_formats
from dse.precision.plans.plan import Plan
from dse.precision.plans.recipes import in_linear_layers
from dse.search.pareto import pareto_mask
from dse.search.target_loss.tokens import Tokens, law_notes, parameters_of, tokens_to
from dse.system import Communication, Parallel, System, load_system
from dse.system.evaluate import system_rows, table_of, with_device
from dse.system.network.rows import Rows
from dse.system.plans.arrays import Plans, plans_of
from dse.system.plans.figures import figures
from dse.system.plans.search import (
    MICRO_BATCHES,
    MOST_PIECES,
    POLICIES,
    SHARDS,
    enumerate_plans,
    fitting_steps,
    held_bytes,
    memory_shortfall,
    tokens_of,
)
from dse.system.plans.timeline import Layout, step_layout
from dse.system.plans.times import Times, step_times
from dse.types import Floats, Ints
from dse.workload.load import load_workload
from dse.workload.model import Network
from dse.yaml_input import suggest

#: Plans of formats that are tried where none are given.
FORMAT_PLANS = ("bf16", "fp8", "mxfp8", "nvfp4")
#: Recipes of linear layers by the short names that explorations take, and what others are asked by.
SHORT = {"fp8": "fp8_linear", "mxfp8": "mxfp8_linear", "nvfp4": "nvfp4_linear"}
#: How the loss law knows a recipe of linear layers: by their products.
LAW_NAMES = {
    "fp8_linear": "fp8_e4m3,error=fp8_e5m2",
    "fp8_block_linear": "fp8_e4m3",
    "mxfp8_linear": "mxfp8_e4m3",
    "nvfp4_linear": "nvfp4_nvidia",
}
#: Samples per device of a step where none are given.
SAMPLES_PER_DEVICE = 4
#: Most devices and samples that are asked for.
MOST_DEVICES = 1_000_000
MOST_SAMPLES = 100_000_000


@dataclass(frozen=True)
class SystemObjective:
    """What plans on a system are compared by, smaller is better: its column for a step, and to a target loss."""

    name: str
    step: str
    to_loss: str
    meaning: str


#: By name, in the order of the columns.
SYSTEM_OBJECTIVES = {
    item.name: item
    for item in (
        SystemObjective("time", "latency_s", "to_loss_s", "of a step, or to the target loss"),
        SystemObjective("energy", "energy_j", "to_loss_j", "of a step, or to the target loss"),
        SystemObjective("devices", "devices", "devices", "that the plan takes"),
        SystemObjective("memory", "peak_memory_bits", "peak_memory_bits", "of the fullest device"),
    )
}


@dataclass(frozen=True)
class Explored:
    """Result of :func:`explore_systems`.

    Attributes
    ----------
    front
        Non-dominated plans by rising time: ``plan`` of formats, ``parallel`` and what
        :class:`dse.system.evaluate.SystemCost` has of a plan; with a target loss ``tokens, tokens_low, tokens_high, steps`` and
        ``to_loss_s, to_loss_j`` with ``_low`` and ``_high`` ends (90 %, the law's error in what low precision loses).
    fastest
        The same of the fastest plan of every plan of formats on every number of devices; ``limit`` where there is none.
    thriftiest
        As ``fastest``, of the plan of the lowest energy.
    certificate
        What is proven: counts of plans that were listed, that share the samples, that fit; what was tried; sentences.
    objectives
        Columns of the front's objectives.
    samples
        Of a step, for all plans the same.
    notes
        What the figures assume, in sentences.
    layout
        One step of the front's fastest plan, pass by pass; None where it has too many.
    """

    front: pd.DataFrame
    fastest: pd.DataFrame
    thriftiest: pd.DataFrame
    certificate: dict[str, Any]
    objectives: tuple[str, ...]
    samples: int
    notes: tuple[str, ...]
    layout: Layout | None


def explore_systems(
    workload: Network | str | Path,
    system: System | str | Path,
    devices: Sequence[int],
    plans: Sequence[str] = FORMAT_PLANS,
    *,
    samples: int | None = None,
    objectives: Sequence[str] = tuple(SYSTEM_OBJECTIVES),
    hardware: Hardware | str | Path | None = None,
    communication: Communication | None = None,
    target_loss: float | None = None,
    law: Law | str | Path = "llama_c4",
) -> Explored:
    """The front of all parallel plans under all plans of formats on all numbers of devices.

    Parameters
    ----------
    plans
        Recipes of linear layers (:data:`SHORT`, :data:`dse.precision.plans.recipes.LINEAR`) or of the loss law, or plans such as
        ``fp8_e4m3,error=fp8_e5m2`` for every layer.
    samples
        Of a step, the same for all; default: four per device of the largest number.
    objectives
        Of :data:`SYSTEM_OBJECTIVES`.
    hardware
        A hardware model in place of the system's device.
    target_loss
        Final loss, nat per token, of a language model; then time and energy are those to that loss.

    Raises
    ------
    InputError
        Unknown names, numbers out of bounds, a network that is no language model under a target loss.
    NothingFeasible
        No plan fits the memory, or none reaches the loss; with the nearest of each.
    """
    network = workload if isinstance(workload, Network) else load_workload(workload)
    network = replace(network, batch=1)
    found = system if isinstance(system, System) else load_system(system)
    chosen = _objectives(objectives)
    per_step = _checked(found, devices, plans, samples)
    known = law if isinstance(law, Law) else load_law(law)
    if target_loss is not None and not 0.0 < target_loss < np.inf:
        raise InputError("--target-loss", [f"expected a loss above 0 nat, got {target_loss}"])
    size = parameters_of(network) if target_loss is not None else 0.0
    counts = dict.fromkeys(("listed", "shared", "fitting"), 0)
    tables: list[pd.DataFrame] = []
    nothing: list[dict[str, Any]] = []
    reasons: list[Problem] = []
    known_rows: dict[str, tuple[Rows, System, Communication]] = {}
    notes: dict[str, None] = {}
    for name in plans:
        tokens, why = _tokens_of(known, size, target_loss, name)
        if why:
            nothing += [{"plan": name, "devices": count, "feasible": False, "limit": why} for count in devices]
            reasons.append(Problem(name, why))
            continue
        plan = _plan_of(network, name)
        rows = system_rows(network, plan, found)
        used, sample_j, said = with_device(network, hardware, plan, found, 1)
        known_rows[name] = (rows, used, communication or Communication())
        notes |= dict.fromkeys([*said, *_format_notes(name, rows, used)])
        for count in devices:
            priced = _priced(rows, used, count, per_step, communication or Communication(), sample_j)
            for what in counts:
                counts[what] += getattr(priced, what)
            if priced.plans is None or priced.times is None:
                nothing.append({"plan": name, "devices": count, "feasible": False, "limit": priced.limit})
                reasons.append(Problem(f"{name} on {count:,} devices", priced.limit))
                continue
            kept = priced.front(chosen)
            made = table_of(rows, priced.plans.at(kept), Times(*(part[kept] for part in priced.times)), used, sample_j)
            made.insert(0, "plan", name)
            if tokens is not None:
                made = _to_loss(made, tokens, per_step * tokens_of(rows))
            tables.append(made)
    if not tables:
        raise NothingFeasible(f"{network.name} on {found.name}", reasons)
    columns = [item.step if target_loss is None else item.to_loss for item in chosen]
    best = {name: _best_of_each(tables, nothing, name, plans, devices) for name in ("latency_s", "energy_j")}
    front = pd.concat(tables, ignore_index=True)
    front = front[pareto_mask(front[columns].to_numpy(dtype=float))]
    front = front.sort_values([columns[0], *columns[1:]], kind="stable").reset_index(drop=True)
    if target_loss is not None:
        notes |= dict.fromkeys(law_notes(known, size, target_loss, [_law_name(name) for name in plans]))
    certificate = _certificate(counts, len(front), plans, devices, per_step, chosen, target_loss)
    every = tuple(dict.fromkeys((*notes, *_assumed(per_step, devices, samples))))
    layout = step_layout(*known_rows[front["plan"].iloc[0]], _parallel(front.iloc[0]), int(front["accumulate"].iloc[0]))
    return Explored(front, best["latency_s"], best["energy_j"], certificate, tuple(columns), per_step, every, layout)


def _best_of_each(
    tables: Sequence[pd.DataFrame],
    nothing: Sequence[dict[str, Any]],
    column: str,
    plans: Sequence[str],
    devices: Sequence[int],
) -> pd.DataFrame:
    """The row that has least of a column, of every plan of formats on every number of devices; or why there is none."""
    rows = [table.loc[[table[column].idxmin()]] for table in tables]
    table = pd.concat([*rows, pd.DataFrame(nothing)] if nothing else rows, ignore_index=True)
    order = {(name, count): place for place, (name, count) in enumerate(product(plans, devices))}
    places = [order[name, count] for name, count in zip(table["plan"], table["devices"], strict=True)]
    return table.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)


def _parallel(row: pd.Series) -> Parallel:
    return replace(Parallel.parse(str(row["parallel"])), recompute=str(row["recompute"]))


@dataclass(frozen=True)
class _Priced:
    """All plans of one plan of formats on one number of devices: those that fit, with their times and figures."""

    listed: int
    shared: int
    fitting: int
    limit: str = ""
    plans: Plans | None = None
    times: Times | None = None
    columns: Mapping[str, Floats] | None = None

    def front(self, objectives: Sequence[SystemObjective]) -> Ints:
        """Places of the non-dominated plans, of the fastest one and of that of the lowest energy, rising."""
        assert self.columns is not None
        values = np.stack([np.broadcast_to(self.columns[item.step], (self.fitting,)) for item in objectives], axis=1)
        mask = pareto_mask(values)
        for column in ("latency_s", "energy_j"):
            mask[int(self.columns[column].argmin())] = True
        return np.flatnonzero(mask)


def _priced(
    rows: Rows, system: System, devices: int, samples: int, communication: Communication, sample_j: float | None
) -> _Priced:
    every = enumerate_plans(rows, devices)
    kept, steps = fitting_steps(every, samples)
    if not kept:
        return _Priced(len(every), 0, 0, f"no parallel plan shares {samples:,} samples in whole micro batches")
    plans = plans_of(kept, steps)
    held = held_bytes(rows, plans, system)
    fits = np.flatnonzero(held <= system.device.memory_bytes)
    if not len(fits):
        near = int(held.argmin())
        limit = memory_shortfall(kept[near], float(held[near]), system.device.memory_bytes)
        return _Priced(len(every), len(kept), 0, limit)
    fitting = plans.at(fits)
    times = step_times(rows, fitting, system, communication)
    columns = figures(rows, fitting, times, system, sample_j).columns
    columns |= {"devices": fitting.devices, "peak_memory_bits": 8.0 * held[fits]}
    return _Priced(len(every), len(kept), len(fits), "", fitting, times, columns)


def _to_loss(table: pd.DataFrame, tokens: Tokens, tokens_per_step: int) -> pd.DataFrame:
    steps = {
        end: getattr(tokens, place) / tokens_per_step
        for end, place in (("", "middle"), ("_low", "low"), ("_high", "high"))
    }
    more: dict[str, Any] = {f"tokens{end}": count * tokens_per_step for end, count in steps.items()}
    more["steps"] = steps[""]
    for end, count in steps.items():
        more[f"to_loss{end}_s"] = count * table["latency_s"]
        more[f"to_loss{end}_j"] = count * table["energy_j"]
    return table.assign(**more)


def _law_name(name: str) -> str:
    return LAW_NAMES.get(SHORT.get(name, name), name)


def _plan_of(network: Network, name: str) -> Plan:
    """Formats of a recipe of linear layers, one of the loss law among them, or of a plan in short."""
    if name in LAW_RECIPES and name != "bf16":
        return Plan.from_formats(network, in_linear_layers(network, short_formats(LAW_RECIPES[name].forward.second)))
    return Plan.parse(SHORT.get(name, name), network)


def _tokens_of(law: Law, size: float, target: float | None, name: str) -> tuple[Tokens | None, str]:
    """Tokens to the loss, None without one; or why there are none."""
    if target is None:
        return None, ""
    try:
        return tokens_to(law, size, target, _law_name(name)), ""
    except InputError as error:
        return None, "; ".join(problem.message for problem in error.problems)


def _objectives(names: Sequence[str]) -> list[SystemObjective]:
    wrong = [
        f"'{name}' is no objective of systems{suggest(name, SYSTEM_OBJECTIVES)}; known: {', '.join(SYSTEM_OBJECTIVES)}"
        for name in names
        if name not in SYSTEM_OBJECTIVES
    ]
    if not names or len(set(names)) < len(names):
        wrong.append("expected each at most once, and at least one")
    if wrong:
        raise InputError("--objectives", wrong)
    return [SYSTEM_OBJECTIVES[name] for name in names]


def _checked(system: System, devices: Sequence[int], plans: Sequence[str], samples: int | None) -> int:
    """Samples of a step, and everything in bounds."""
    wrong = []
    most = system.most_devices or MOST_DEVICES
    if not devices or len(set(devices)) < len(devices) or not all(1 <= count <= most for count in devices):
        told = ",".join(map(str, devices))
        wrong.append(
            Problem("--devices", f"expected different integers from 1 to {most:,} of {system.name}, got {told}")
        )
    if not plans or len(set(plans)) < len(plans):
        wrong.append(Problem("--plans", f"expected different plans of formats, got {','.join(plans)}"))
    if samples is not None and not 1 <= samples <= MOST_SAMPLES:
        wrong.append(Problem("--samples", f"expected an integer from 1 to {MOST_SAMPLES:,}, got {samples}"))
    if wrong:
        raise InputError("dse explore --system", wrong)
    return samples or SAMPLES_PER_DEVICE * max(devices)


def _format_notes(name: str, rows: Rows, system: System) -> list[str]:
    """What a short name stands for, and where a device has no multipliers for what a plan multiplies."""
    narrowest = min(system.device.macs_per_s)
    least = min((row.widths.forward for row in rows.rows if row.layer.has_macs), default=narrowest)
    said = [f"{name} is {SHORT[name]}: linear layers alone"] if name in SHORT else []
    if system.device.hardware or least >= narrowest:
        return said
    return [
        *said,
        f"{name}: {system.device.name} multiplies no {least}-bit elements; they run at the rate of {narrowest}-bit ones",
    ]


def _certificate(
    counts: dict[str, int],
    front: int,
    plans: Sequence[str],
    devices: Sequence[int],
    samples: int,
    objectives: Sequence[SystemObjective],
    loss: float | None,
) -> dict[str, Any]:
    what = f"{', '.join(item.name for item in objectives)}, {'of a step' if loss is None else f'to a loss of {loss:g} nat'}"
    return {
        **counts,
        "front": front,
        "plans": list(plans),
        "devices": list(devices),
        "samples": samples,
        "micro_batches": list(MICRO_BATCHES),
        "sharding": list(SHARDS),
        "recompute": list(POLICIES),
        "most_pieces": MOST_PIECES,
        "proven": f"Every one of the {counts['shared']:,} plans that share {samples:,} samples in whole micro batches was tried: "
        f"{counts['fitting']:,} fit the memory and were priced, the rest cannot run. Within the model none of them is better than "
        f"the front in all objectives ({what}).",
        "not_proven": "Tried are degrees that divide the devices, heads, tokens and experts, micro batches of "
        f"{', '.join(map(str, MICRO_BATCHES))} samples, sharding {', '.join(map(str, SHARDS))}, at most {MOST_PIECES} pieces of "
        "a stage, and the formats that are named; nothing is said about others, nor about the model's own error.",
    }


def _assumed(samples: int, devices: Sequence[int], given: int | None) -> list[str]:
    if given is not None:
        return []
    return [
        f"{samples:,} samples of a step, {SAMPLES_PER_DEVICE} for each of {max(devices):,} devices; --samples changes it"
    ]
