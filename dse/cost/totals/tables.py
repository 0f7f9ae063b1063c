"""Costs of steps as tables: one row per design and plan, and one per layer and pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.steps.side import SIDE_COMPONENTS, STEP_PASSES
from dse.cost.steps.step import StepCosts
from dse.cost.tensors.memory import PARTS
from dse.cost.totals.rows import PlanRows
from dse.cost.totals.run import Extra
from dse.hardware.arrays import HardwareArrays
from dse.types import Floats, Ints
from dse.units import energy_column

#: Name, among the layers, of what belongs to a whole run.
RUN_ROW = "(run)"


@dataclass(frozen=True)
class Priced:
    """All that is known of some designs.

    Attributes
    ----------
    steps
        Costs of a step of each plan.
    arrays
        The designs (D of them).
    extra
        Costs of a whole run.
    held
        (rows, 1 + parts) bits at the peak and its parts.
    limits
        (D, rows) why a design cannot run a row's plans, "" where it can.
    """

    steps: StepCosts
    arrays: HardwareArrays
    extra: tuple[Extra, ...]
    held: Floats
    limits: npt.NDArray[np.object_]


def totals_table(priced: Priced, rows: PlanRows) -> pd.DataFrame:
    """One row per design and row of plans, without the column of designs; see :class:`dse.cost.totals.cost.Cost`."""
    steps, arrays, extra = priced.steps, priced.arrays, priced.extra
    d, n = len(arrays), len(rows.labels)
    feasible = priced.limits.reshape(-1) == ""

    def weighted(values: Floats) -> Floats:
        """(D, I, ...) summed over layers and passes, weighted over plans: (D * rows,)."""
        return rows.weighted(values.reshape(*values.shape[:2], -1).sum(axis=-1)).reshape(-1)

    def of_designs(values: list[Floats]) -> Floats:
        """(D * rows,) the sum of what belongs to the run."""
        return np.repeat(sum(values, np.zeros(d)), n)

    def if_feasible(values: Floats) -> Floats:
        return np.where(feasible, values, np.nan)

    latency = weighted(steps.latency_s) + of_designs([item.latency_s for item in extra])
    energy = weighted(steps.energy_j) + of_designs([item.total_j for item in extra])
    table: dict[str, Any] = {
        "plan": list(rows.labels) * d,
        "latency_s": if_feasible(latency),
        "energy_j": if_feasible(energy),
        "area_mm2": np.repeat(arrays.area_mm2, n),
        "convert_s": if_feasible(weighted(steps.convert_s)),
    }
    table["power_w"] = table["energy_j"] / table["latency_s"]
    table["macs"] = np.tile(steps.macs.sum() * rows.weights.sum(axis=1), d)
    table["bitops"] = np.tile(rows.weights @ steps.bitops.sum(axis=(1, 2)), d)
    table["dram_bits"] = if_feasible(weighted(steps.dram_bits) + sum(item.dram_bits for item in extra))
    parts = {name: weighted(steps.components_j[..., k]) for k, name in enumerate(steps.components)}
    amounts = np.einsum("cilp,ri->cr", steps.side.amount_j, rows.weights)
    side = {name: np.outer(steps.side.factor[k], amounts[k]).reshape(-1) for k, name in enumerate(SIDE_COMPONENTS)}
    for name, part in [*parts.items(), *side.items()]:
        table[energy_column(name)] = if_feasible(
            part + of_designs([item.energy_j[name] for item in extra if name in item.energy_j])
        )
    for k, name in enumerate(("peak_memory", *(f"memory_{part}" for part in PARTS))):
        table[f"{name}_bits"] = np.tile(priced.held[:, k], d)
    main = rows.weights.argmax(axis=1)
    table["fused_groups"] = [_group_count(steps.groups_of(design, plan)) for design in range(d) for plan in main]
    if steps.spare is not None:
        spare = weighted(steps.spare.energy_j), weighted(steps.spare.latency_s)
        table["mapping_gap"] = if_feasible(steps.spare.gap(energy, latency, *spare))
    table["feasible"] = feasible
    table["limit"] = priced.limits.reshape(-1)
    table["price_extrapolated"] = np.repeat(arrays.extrapolated, n)
    return pd.DataFrame(table)


def layers_table(steps: StepCosts, rows: PlanRows, extra: tuple[Extra, ...]) -> pd.DataFrame:
    """Long form: one row per (design, plan, layer, pass) that runs, and what belongs to whole runs, of some designs."""
    frame = _passes_table(steps, rows)
    more = _run_rows(steps, rows, extra)
    if not more:
        return frame
    last = pd.DataFrame(more, columns=frame.columns)
    numbers = frame.select_dtypes("number").columns
    last[numbers] = last[numbers].astype(np.float64).fillna(0.0).astype(frame[numbers].dtypes)
    return pd.concat([frame, last]).sort_values("design", kind="stable", ignore_index=True)


def phases_table(steps: StepCosts, rows: PlanRows) -> pd.DataFrame:
    """One row per feasible design and phase of a schedule, in order."""
    latency, energy = (values.sum(axis=(2, 3)) for values in (steps.latency_s, steps.energy_j))
    found = [
        {
            "design": design,
            "phase": number,
            "plan": phase.label,
            "iterations": phase.iterations,
            "latency_s": latency[design, phase.plan] * phase.iterations,
            "energy_j": energy[design, phase.plan] * phase.iterations,
            "power_w": energy[design, phase.plan] / latency[design, phase.plan],
        }
        for design in range(len(latency))
        if (steps.limit[design] == "").all()
        for number, phase in enumerate(rows.phases)
    ]
    columns = ["design", "phase", "plan", "iterations", "latency_s", "energy_j", "power_w"]
    return pd.DataFrame(found, columns=columns)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain data for JSON: NaN and infinity become None."""
    rows = table.to_dict("records")
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not np.isfinite(value):
                row[key] = None
            elif isinstance(value, np.generic):
                row[key] = value.item()
    return [{str(key): value for key, value in row.items()} for row in rows]


def _group_count(groups: npt.NDArray[np.object_]) -> int:
    return len({(pass_, name) for (_, pass_), name in np.ndenumerate(groups) if name})


def _passes_table(steps: StepCosts, rows: PlanRows) -> pd.DataFrame:
    """The rows of layers. Where a schedule mixes plans, a row names what bounds its most frequent plan, and that one's group."""
    weights = rows.weights
    latency, energy = rows.weighted(steps.latency_s), rows.weighted(steps.energy_j)
    parts = np.einsum("dilpc,ri->drlpc", steps.components_j, weights)
    side = np.einsum("cilp,ri->crlp", steps.side.amount_j, weights)
    dram = np.einsum("dilp,ri->drlp", steps.dram_bits, weights)
    bitops = np.einsum("ilp,ri->rlp", steps.bitops, weights)
    macs = np.einsum("lp,r->rlp", steps.macs, weights.sum(axis=1))
    main = weights.argmax(axis=1)
    bound = steps.bound[:, main]
    d, r, l, p = np.nonzero(bound >= 0)
    table = {
        "design": d,
        "plan": np.array(rows.labels, dtype=object)[r],
        "layer": np.array(steps.rows, dtype=object)[l],
        "pass": np.array(STEP_PASSES, dtype=object)[p],
        "latency_s": latency[d, r, l, p],
        "energy_j": energy[d, r, l, p],
        "convert_s": rows.weighted(steps.convert_s)[d, r, l, p],
        "bound": np.array(steps.bounds)[bound[d, r, l, p]],
        "group": _groups_of_rows(steps, main, d, r, l, p),
        "macs": macs[r, l, p],
        "bitops": bitops[r, l, p],
        "dram_bits": dram[d, r, l, p],
    }
    for k, name in enumerate(steps.components):
        table[energy_column(name)] = parts[d, r, l, p, k]
    for k, name in enumerate(SIDE_COMPONENTS):
        table[energy_column(name)] = steps.side.factor[k, d] * side[k, r, l, p]
    if steps.spare is not None:
        spare = (rows.weighted(x)[d, r, l, p] for x in (steps.spare.energy_j, steps.spare.latency_s))
        table["mapping_gap"] = steps.spare.gap(energy[d, r, l, p], latency[d, r, l, p], *spare)
    return pd.DataFrame(table)


def _groups_of_rows(steps: StepCosts, main: Ints, d: Ints, r: Ints, l: Ints, p: Ints) -> npt.NDArray[np.object_]:
    """Groups of rows of the table of layers, each of its design and of the plan that it runs most."""
    result = steps.groups[l, p]
    for (design, plan), groups in steps.own_groups.items():
        here = (d == design) & (main[r] == plan)
        result[here] = groups[l[here], p[here]]
    return np.asarray(result)


def _run_rows(steps: StepCosts, rows: PlanRows, extra: tuple[Extra, ...]) -> list[dict[str, Any]]:
    """Changes of widths and a policy's decisions on the designs that run, as rows of the table of layers."""
    return [
        {
            "design": design,
            "plan": label,
            "layer": RUN_ROW,
            "pass": item.name,
            "latency_s": item.latency_s[design],
            "energy_j": item.total_j[design],
            "bound": "",
            "group": "",
            "dram_bits": item.dram_bits,
            **{energy_column(name): values[design] for name, values in item.energy_j.items()},
        }
        for item in extra
        for design in range(len(steps.limit))
        for label, needed in zip(rows.labels, rows.weights > 0, strict=True)
        if (steps.limit[design, needed] == "").all()
    ]
