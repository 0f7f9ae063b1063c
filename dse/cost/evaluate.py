"""``evaluate``: latency, energy and area of a training step, an inference, or a training run, on one design or a table.

A step is the sum of all passes of all layers, of the layers without MACs and of the optimizer; a run is the sum of steps over the
histogram of plans that a schedule yields (DESIGN 4.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.jobs import cost_jobs
from dse.cost.network_jobs import MODES, network_jobs
from dse.cost.vector import COMPONENTS, VectorCosts, optimizer_costs, vector_costs
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.model import Hardware
from dse.precision.plans import Plan
from dse.precision.schedules import Schedule
from dse.workload.model import PASSES, Network
from dse.yaml_input import suggest

Floats = npt.NDArray[np.float64]

#: Designs whose layers are kept; of larger tables only totals are.
MAX_DESIGNS_WITH_LAYERS = 512
#: Designs costed at a time, so that memory stays bounded.
CHUNK = 1024

#: Passes of a step: those of the loop nests, then the optimizer's update.
STEP_PASSES = (*PASSES, "optimizer")

MAPPING_OBJECTIVES = ("edp", "energy", "latency")


@dataclass(frozen=True)
class StepCosts:
    """Costs of one step: D designs, I plans, one row per layer in the network's order, P passes (:data:`STEP_PASSES`).

    Attributes
    ----------
    energy_j, latency_s
        (D, I, rows, P); infinite where infeasible.
    components_j
        (D, I, rows, P, components), names in ``components``.
    bound
        (D, I, rows, P) index into ``bounds``, -1 where nothing runs.
    dram_bits
        (D, I, rows, P)
    bitops, macs
        (I, rows, P) and (rows, P).
    limit
        (D,) why a design is infeasible, "" if it is not.
    """

    rows: tuple[str, ...]
    energy_j: Floats
    latency_s: Floats
    components: tuple[str, ...]
    components_j: Floats
    bounds: tuple[str, ...]
    bound: npt.NDArray[np.int64]
    dram_bits: Floats
    bitops: Floats
    macs: Floats
    limit: npt.NDArray[np.object_]


@dataclass(frozen=True)
class Cost:
    """Result of :func:`evaluate`.

    Attributes
    ----------
    total
        One row per (design, plan): ``design, plan, latency_s, energy_j, area_mm2, power_w, macs, bitops, dram_bits,
        <component>_j ..., feasible, limit, price_extrapolated``. Latency and energy are of one step of the batch, or of the whole
        run where a schedule was given. Infeasible rows have NaN figures and the name of the limit.
    area
        Area of the parts of the first design: ``part, area_mm2``.
    """

    total: pd.DataFrame
    area: pd.DataFrame
    _steps: StepCosts | None
    _labels: tuple[str, ...]
    _weights: Floats

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Long form: one row per (design, plan, layer, pass) that runs, with the same quantities as ``total`` and ``bound``.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers (more than 512 designs).
        """
        if self._steps is None:
            raise InputError(
                "evaluate", [f"layers are kept for up to {MAX_DESIGNS_WITH_LAYERS} designs; evaluate fewer at a time"]
            )
        return _layers_table(self._steps, self._labels, self._weights)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``total``, ``layers`` and ``area`` as lists of records; NaN and infinity become None."""
        tables = {"total": self.total, "layers": self.layers, "area": self.area}
        return {name: _records(table) for name, table in tables.items()}


def evaluate(
    network: Network,
    hardware: Hardware,
    plan: Plan | Schedule | Sequence[Plan],
    designs: pd.DataFrame | None = None,
    *,
    mode: str = "training",
    mapping_objective: str = "edp",
    labels: Sequence[str] | None = None,
) -> Cost:
    """Cost of plans on hardware.

    Parameters
    ----------
    network
        See :func:`dse.load_workload`.
    hardware
        One design (the default values of its space).
    plan
        One plan, several (each on every design), or a schedule: then the cost is that of the whole training run.
    designs
        A table of hardware points: columns are parameters of the hardware's space, such as ``array.rows``; any number of rows.
    mode
        ``training``: all passes and the optimizer. ``inference``: the forward pass, norms folded.
    mapping_objective
        What each layer's mapping is chosen by: ``edp``, ``energy`` or ``latency``.
    labels
        Names of the plans in the result, one each; default: short names made from their widths.

    Raises
    ------
    InputError
        A plan of another network, unknown columns or values, unknown mode.
    """
    if mode not in MODES:
        raise InputError("mode", [f"'{mode}' is unknown{suggest(mode, MODES)}"])
    if mapping_objective not in MAPPING_OBJECTIVES:
        raise InputError(
            "mapping_objective", [f"'{mapping_objective}' is unknown{suggest(mapping_objective, MAPPING_OBJECTIVES)}"]
        )
    plans, names, weights = _plans(network, plan)
    if labels is not None:
        if len(labels) != len(names):
            raise InputError("labels", [f"expected {len(names)}, one for each plan, got {len(labels)}"])
        names = tuple(labels)
    # A table often repeats designs (a space is finite): each distinct one is priced once.
    distinct, place = _distinct(designs)
    arrays = hardware_arrays(hardware, distinct)
    parts, kept = [], None
    for start in range(0, len(arrays), CHUNK):
        piece = arrays.rows(start, min(start + CHUNK, len(arrays)))
        steps = step_costs(network, hardware, piece, plans, mode, mapping_objective)
        parts.append(_totals(steps, piece, names, weights))
        kept = steps if len(arrays) <= MAX_DESIGNS_WITH_LAYERS else None
    total = pd.concat(parts, ignore_index=True)
    if place is not None:
        rows = len(names)
        total = total.iloc[(place[:, None] * rows + np.arange(rows)).reshape(-1)].reset_index(drop=True)
        if kept is not None and len(place) <= MAX_DESIGNS_WITH_LAYERS:
            kept = _taken(kept, place)
        elif len(place) > MAX_DESIGNS_WITH_LAYERS:
            kept = None
    total.insert(0, "design", np.repeat(np.arange(len(total) // len(names)), len(names)))
    area = pd.DataFrame({"part": arrays.area_parts, "area_mm2": arrays.area_parts_mm2[0]})
    return Cost(total, area, kept, names, weights)


def step_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    mode: str = "training",
    mapping_objective: str = "edp",
) -> StepCosts:
    """Costs of one step by layer and pass, on D designs under I plans."""
    work = network_jobs(network, plans, mode)
    jobs = cost_jobs(hardware, arrays, work.jobs, mapping_objective)
    runs = work.job >= 0
    picked = np.where(runs, work.job, 0)
    names = (*jobs.components, "vector")
    memories = tuple(memory.name for memory in hardware.memories)
    macs = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    others = [index for index, layer in enumerate(network.layers) if not layer.has_macs]
    shape = (len(arrays), len(plans), len(network.layers), len(STEP_PASSES))
    result = StepCosts(
        rows=tuple(layer.name for layer in network.layers),
        energy_j=np.zeros(shape),
        latency_s=np.zeros(shape),
        components=names,
        components_j=np.zeros((*shape, len(names))),
        bounds=("compute", *memories, "vector"),
        bound=np.full(shape, -1, np.int64),
        dram_bits=np.zeros(shape),
        bitops=np.zeros(shape[1:]),
        macs=np.zeros(shape[2:]),
        limit=jobs.limit,
    )
    seconds = 1.0 / arrays.clock_hz[:, None, None, None]
    most = len(PASSES)
    result.energy_j[:, :, macs, :most] = np.where(runs, jobs.energy_pj[:, picked], 0.0) * 1e-12
    result.latency_s[:, :, macs, :most] = np.where(runs, jobs.cycles[:, picked], 0.0) * seconds
    result.components_j[:, :, macs, :most, :-1] = np.where(runs[..., None], jobs.components_pj[:, picked], 0.0) * 1e-12
    result.bound[:, :, macs, :most] = np.where(runs, jobs.bound[:, picked], -1)
    result.dram_bits[:, :, macs, :most] = np.where(runs, jobs.traffic_bits[:, picked, -1], 0.0)
    result.bitops[:, macs, :most] = work.bitops
    result.macs[macs, :most] = work.macs
    _add(result, hardware, vector_costs(network, hardware, arrays, plans, mode), others, slice(0, most), seconds)
    if mode == "training":
        every = list(range(len(network.layers)))
        _add(result, hardware, optimizer_costs(network, hardware, arrays, plans), every, slice(most, most + 1), seconds)
    return result


def _add(
    result: StepCosts, hardware: Hardware, costs: VectorCosts, rows: list[int], passes: slice, seconds: Floats
) -> None:
    """Add vector work to the rows of a step."""
    memories = [memory.name for memory in hardware.memories]
    names = {"vector": "vector", "leakage": "leakage", "dram": memories[-1], "buffer": _buffer(hardware) or "vector"}
    result.energy_j[:, :, rows, passes] += costs.energy_pj * 1e-12
    result.latency_s[:, :, rows, passes] += costs.cycles * seconds
    for k, component in enumerate(COMPONENTS):
        column = result.components.index(names[component])
        part = result.components_j[..., column]
        part[:, :, rows, passes] += costs.components_pj[..., k] * 1e-12
    bound = np.where(costs.bound == 1, len(memories), len(memories) + 1)
    result.bound[:, :, rows, passes] = np.where(costs.cycles > 0, bound, result.bound[:, :, rows, passes])
    result.dram_bits[:, :, rows, passes] += costs.dram_bits[None]


def _buffer(hardware: Hardware) -> str | None:
    """Name of the shared on-chip memory that vector work passes through (the largest by default values)."""
    names = {axis.name for axis in hardware.axes}
    shared = [memory for memory in hardware.memories[:-1] if names <= set(memory.shared_along)]
    return max(shared, key=lambda memory: memory.size_bits).name if shared else None


def _distinct(designs: pd.DataFrame | None) -> tuple[pd.DataFrame | None, npt.NDArray[np.int64] | None]:
    """The distinct rows of a table in the order of their first appearance, and where each row of the table is among them."""
    if designs is None or len(designs) < 2 or not len(designs.columns):
        return designs, None
    number = designs.groupby(list(designs.columns), sort=False, dropna=False).ngroup().to_numpy().astype(np.int64)
    return designs[~designs.duplicated()].reset_index(drop=True), number


def _taken(steps: StepCosts, place: npt.NDArray[np.int64]) -> StepCosts:
    """Costs of the designs at these places."""
    by_design = ("energy_j", "latency_s", "components_j", "bound", "dram_bits", "limit")
    return replace(steps, **{name: getattr(steps, name)[place] for name in by_design})


def _plans(network: Network, plan: Plan | Schedule | Sequence[Plan]) -> tuple[list[Plan], tuple[str, ...], Floats]:
    """Plans, labels of the result's rows, and (rows, plans) weights that turn steps into them."""
    if isinstance(plan, Schedule):
        histogram = plan.plans(network)
        plans = [item for item, _ in histogram]
        weights = np.array([[float(count) for _, count in histogram]])
        labels: tuple[str, ...] = (f"schedule of {plan.iterations} iterations",)
    else:
        plans = [plan] if isinstance(plan, Plan) else list(plan)
        weights = np.eye(len(plans))
        labels = tuple(item.label for item in plans)
    names = tuple(layer.name for layer in network.layers)
    for item in plans:
        if item.layers != names:
            raise InputError(
                "plan",
                [f"is of network {item.network} with {len(item.layers)} layers; {network.name} has other layers"],
            )
    if not plans:
        raise InputError("plan", ["expected at least one plan"])
    return plans, labels, weights


def _totals(steps: StepCosts, arrays: HardwareArrays, labels: tuple[str, ...], weights: Floats) -> pd.DataFrame:
    d, rows = len(arrays), len(labels)

    def weighted(values: Floats) -> Floats:
        """(D, I, ...) summed over layers and passes, weighted over plans: (D * rows,)."""
        summed = values.reshape(*values.shape[:2], -1).sum(axis=-1)
        return np.asarray(np.einsum("di,ri->dr", summed, weights)).reshape(-1)

    feasible = np.repeat(steps.limit == "", rows)
    with np.errstate(invalid="ignore"):
        latency, energy = weighted(steps.latency_s), weighted(steps.energy_j)
    table: dict[str, Any] = {
        "plan": list(labels) * d,
        "latency_s": np.where(feasible, latency, np.nan),
        "energy_j": np.where(feasible, energy, np.nan),
        "area_mm2": np.repeat(arrays.area_mm2, rows),
    }
    table["power_w"] = table["energy_j"] / table["latency_s"]
    macs = weighted(np.broadcast_to(steps.macs, (d, *steps.bitops.shape[:1], *steps.macs.shape)))
    table["macs"] = macs
    table["bitops"] = weighted(np.broadcast_to(steps.bitops, (d, *steps.bitops.shape)))
    table["dram_bits"] = np.where(feasible, weighted(steps.dram_bits), np.nan)
    for k, name in enumerate(steps.components):
        table[f"{name}_j"] = np.where(feasible, weighted(steps.components_j[..., k]), np.nan)
    table["feasible"] = feasible
    table["limit"] = np.repeat(steps.limit, rows)
    table["price_extrapolated"] = np.repeat(arrays.extrapolated, rows)
    return pd.DataFrame(table)


def _layers_table(steps: StepCosts, labels: tuple[str, ...], weights: Floats) -> pd.DataFrame:
    with np.errstate(invalid="ignore"):
        latency = np.einsum("dilp,ri->drlp", steps.latency_s, weights)
        energy = np.einsum("dilp,ri->drlp", steps.energy_j, weights)
    parts = np.einsum("dilpc,ri->drlpc", steps.components_j, weights)
    dram = np.einsum("dilp,ri->drlp", steps.dram_bits, weights)
    bitops = np.einsum("ilp,ri->rlp", steps.bitops, weights)
    macs = np.einsum("lp,r->rlp", steps.macs, weights.sum(axis=1))
    # Where a schedule mixes plans, the row names what bounds its most frequent plan.
    main = weights.argmax(axis=1)
    bound = steps.bound[:, main]
    d, r, l, p = np.nonzero(bound >= 0)
    names = np.array(steps.bounds)
    table = {
        "design": d,
        "plan": np.array(labels, dtype=object)[r],
        "layer": np.array(steps.rows, dtype=object)[l],
        "pass": np.array(STEP_PASSES, dtype=object)[p],
        "latency_s": latency[d, r, l, p],
        "energy_j": energy[d, r, l, p],
        "bound": names[bound[d, r, l, p]],
        "macs": macs[r, l, p],
        "bitops": bitops[r, l, p],
        "dram_bits": dram[d, r, l, p],
    }
    for k, name in enumerate(steps.components):
        table[f"{name}_j"] = parts[d, r, l, p, k]
    return pd.DataFrame(table)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not np.isfinite(value):
                row[key] = None
            elif isinstance(value, np.generic):
                row[key] = value.item()
    return [{str(key): value for key, value in row.items()} for row in rows]
