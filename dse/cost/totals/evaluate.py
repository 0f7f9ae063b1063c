"""``evaluate``: latency, energy and area of a training step, an inference, or a training run, on one design or a table.

A step is the sum of all passes of all layers, of the layers without MACs and of the optimizer; a run is the sum of steps over the
histogram of plans that a schedule yields (DESIGN 4.6), with what changing the widths costs (:mod:`dse.cost.totals.run`). What
precision itself costs is in :mod:`dse.cost.steps.side`, the memory footprint in :mod:`dse.cost.tensors.memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.fusion.epilogues import with_fusion
from dse.cost.jobs.accumulators import accumulator_notes
from dse.cost.steps.options import StepOptions
from dse.cost.steps.side import SIDE_COMPONENTS, STEP_PASSES, STOCHASTIC
from dse.cost.steps.step import StepCosts, step_costs
from dse.cost.tensors.copies import copies_notes
from dse.cost.tensors.memory import PARTS, footprint, shortfall
from dse.cost.totals.intervals import Draws, draw_totals, interval_table, slower
from dse.cost.totals.run import Extra, change_costs, policy_costs
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.from_file.load import load_hardware
from dse.hardware.model import Hardware
from dse.hardware.prices.ranges import draw_ranges
from dse.numbers import ACCUMULATE
from dse.precision.plans.labels import plan_labels
from dse.precision.plans.plan import Plan
from dse.precision.policies.rules import Overhead
from dse.precision.schedules.schedule import Schedule
from dse.showing import html_table, one_line
from dse.types import Floats, Ints
from dse.units import format_value
from dse.workload.load import load_workload
from dse.workload.model import Network

#: Designs whose layers are kept; of larger tables only totals are.
MAX_DESIGNS_WITH_LAYERS = 512
#: Designs costed at a time, so that memory stays bounded.
CHUNK = 1024

#: Name of the table of layers for what belongs to a whole run.
RUN_ROW = "(run)"


@dataclass(frozen=True)
class Cost:
    """Result of :func:`evaluate`.

    Attributes
    ----------
    total
        One row per (design, plan): ``design, plan, latency_s, energy_j, area_mm2, convert_s, power_w, macs, bitops, dram_bits,
        <component>_j ..., peak_memory_bits, memory_<part>_bits ..., fused_groups, mapping_gap, feasible, limit,
        price_extrapolated``. Latency and energy are of one step of the batch, or of the whole run where a schedule was given; the
        memory is that of the step which needs most. ``mapping_gap`` is the share of the mapping objective (EDP, energy or latency)
        that better mappings could save at most: no mapping undercuts the bounds of :mod:`dse.cost.jobs.floors`. Infeasible rows
        have NaN figures and the name of the limit.
    area
        Area of the parts of the first design: ``part, area_mm2``.
    notes
        What the figures hide, in sentences: widths that the hardware rounds up.
    """

    total: pd.DataFrame
    area: pd.DataFrame
    notes: tuple[str, ...]
    _steps: StepCosts | None
    _labels: tuple[str, ...]
    _weights: Floats
    _extra: tuple[Extra, ...]
    _phases: tuple[tuple[str, int, int], ...]
    _hardware: Hardware
    _arrays: HardwareArrays

    def __repr__(self) -> str:
        first = self.total.iloc[0]
        figures = [("latency_s", "s"), ("energy_j", "J"), ("area_mm2", "mm²")]
        facts = [format_value(first[name], unit) for name, unit in figures] if first["feasible"] else ["infeasible"]
        more = f"and {len(self.total) - 1} more rows" if len(self.total) > 1 else ""
        return one_line("Cost", f"{first['plan']} on {self._hardware.name}", [*facts, more])

    def _repr_html_(self) -> str:
        return html_table(repr(self), list(self.total.columns), self.total.to_numpy().tolist())

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Long form: one row per (design, plan, layer, pass) that runs, with the quantities of ``total``, ``bound`` and ``group``.

        ``group`` is the first layer of those that the row runs fused with, "" where it runs alone.
        What belongs to a whole run, changes of widths and the policy's decisions, are rows of the layer ``(run)``.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers (more than 512 designs).
        """
        return _layers_table(self._kept(), self._labels, self._weights, self._extra)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """Steps of each phase of a schedule, in order: ``design, phase, plan, iterations, latency_s, energy_j, power_w``.

        Empty where no schedule was given. Changes of widths are not among them.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers.
        """
        steps = self._kept()
        latency, energy = (values.sum(axis=(2, 3)) for values in (steps.latency_s, steps.energy_j))
        rows = [
            {
                "design": design,
                "phase": number,
                "plan": label,
                "iterations": iterations,
                "latency_s": latency[design, plan] * iterations,
                "energy_j": energy[design, plan] * iterations,
                "power_w": energy[design, plan] / latency[design, plan],
            }
            for design in range(len(latency))
            if (steps.limit[design] == "").all()
            for number, (label, plan, iterations) in enumerate(self._phases)
        ]
        columns = ["design", "phase", "plan", "iterations", "latency_s", "energy_j", "power_w"]
        return pd.DataFrame(rows, columns=columns)

    def intervals(self, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """Low and high of every total where each price is drawn from its range (:data:`dse.hardware.prices.ranges.RANGES`).

        Parameters
        ----------
        draws, seed
            How often; the same seed draws the same prices for any design, so that designs can be compared draw by draw.

        Returns
        -------
        DataFrame
            The rows of ``total``: ``design, plan, latency_s_low, latency_s_high, energy_j_low, ...``; 90 % of the draws lie
            between.

        Raises
        ------
        InputError
            The table of designs was too large to keep layers, or fewer than two draws.
        """
        return interval_table(self.total, self.draws(draws, seed))

    def draws(self, draws: int = 200, seed: int = 0) -> Draws:
        """Totals in each draw of all prices; see :meth:`intervals`."""
        if draws < 2:
            raise InputError("draws", [f"expected at least 2, got {draws}"])
        steps, arrays = self._kept(), self._arrays
        rate = arrays.bandwidth_bits_per_cycle[:, -1] * arrays.clock_hz
        share = draw_ranges(draws, seed)["dram_rate"]
        longer = slower(steps.latency_s, steps.dram_bits, self._weights, rate, self._hardware.overlap, share)
        return draw_totals(self.total, longer, self._hardware, arrays, draws, seed)

    def _kept(self) -> StepCosts:
        if self._steps is None:
            raise InputError(
                "evaluate", [f"layers are kept for up to {MAX_DESIGNS_WITH_LAYERS} designs; evaluate fewer at a time"]
            )
        return self._steps

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``total``, ``layers``, ``area`` and ``phases`` as lists of records, and ``notes``.

        NaN and infinity become None.
        """
        tables = {"total": self.total, "layers": self.layers, "area": self.area, "phases": self.phases}
        return {**{name: _records(table) for name, table in tables.items()}, "notes": list(self.notes)}


def evaluate(
    network: Network | str | Path,
    hardware: Hardware | str | Path,
    plan: Plan | Schedule | str | Path | Sequence[Plan | str | Path],
    designs: pd.DataFrame | None = None,
    *,
    mode: str = "training",
    mapping_objective: str = "edp",
    labels: Sequence[str] | None = None,
    stochastic: Sequence[str] = STOCHASTIC,
    recompute: bool = False,
    accumulate: int | None = None,
    map_updates: float = 0.0,
    overhead: Overhead | None = None,
    fusion: str | None = None,
    search_mappings: bool = False,
) -> Cost:
    """Cost of plans on hardware.

    Parameters
    ----------
    network
        See :func:`dse.load_workload`; or a file or a shipped name, as on the command line.
    hardware
        One design (the default values of its space); or a file or a shipped name.
    plan
        One plan, several (each on every design), or a schedule: then the cost is that of the whole training run. A plan may be
        given as on the command line: ``w8a8e8``, a file (:meth:`dse.Plan.parse`).
    designs
        A table of hardware points: columns are parameters of the hardware's space, such as ``array.rows``; any number of rows.
    mode
        ``training``: all passes and the optimizer. ``inference``: the forward pass, norms folded.
    mapping_objective
        What each layer's mapping is chosen by: ``edp``, ``energy`` or ``latency``.
    labels
        Names of the plans in the result, one each; default: :func:`dse.precision.plans.labels.plan_labels`.
    stochastic
        Operands that training rounds stochastically; the energy of it is ``rounding_j``.
    recompute
        Keep only the inputs of segments and run the forward pass of all segments but the last again
        (:mod:`dse.cost.tensors.memory`).
    accumulate
        Passes of a batch whose gradients are summed before the optimizer updates once, in a step of as many batches; default: the
        network's.
    map_updates
        How often per step block-wise tensors find new widths: 0 for a map that is given, 1 for online analytics in every step.
    overhead
        Operations and traffic of a policy that chooses the widths: of the whole run with a schedule, else of a step.
    fusion
        What runs fused, one of :data:`dse.cost.fusion.epilogues.FUSIONS`: ``none``, layers meet in DRAM; ``vector``, layers without
        MACs run as their neighbours write or read; ``resident``, and tensors of an inference wait on the chip until their last
        reader; ``best``, all that the hardware says that it can (:attr:`~dse.hardware.model.Hardware.fuses`), attention too, each
        where it is better. Default: the hardware's.
    search_mappings
        Mappings are looked up in tables that are searched at some points of the hardware's space: fast for many designs, but
        between those points a mapping may exist that is some per cent better. True: the search goes on from there for each
        design and format alone (:mod:`dse.cost.mapped.searched`), about 50 ms of one core per layer and pass the first time.
        Either way a design costs the same whatever stands beside it.

    Raises
    ------
    InputError
        A plan of another network, unknown columns or values, unknown mode, a file that does not exist or is wrong.
    """
    network = load_workload(network) if isinstance(network, (str, Path)) else network
    hardware = load_hardware(hardware) if isinstance(hardware, (str, Path)) else hardware
    plan = _read(plan, network)
    hardware = with_fusion(hardware, fusion)
    options = StepOptions(mode, mapping_objective, tuple(stochastic), recompute, map_updates, search_mappings)
    options.check()
    if accumulate is not None:
        ACCUMULATE.check(accumulate)
        if accumulate > 1 and mode != "training":
            raise InputError("accumulate", ["goes with training; inference has no gradients"])
        network = replace(network, accumulate=accumulate)
    plans, names, weights, phases = _plans(network, plan, mode)
    if labels is not None:
        if len(labels) != len(names):
            raise InputError("labels", [f"expected {len(names)}, one for each plan, got {len(labels)}"])
        names = tuple(labels)
    # A table often repeats designs (a space is finite): each distinct one is priced once.
    distinct, place = _distinct(designs)
    arrays = hardware_arrays(hardware, distinct)
    held = _held(network, plans, weights, options)
    dram = hardware.memories[-1].name
    peak = held[:, 0] if len(held) else np.zeros(0)
    parts, kept = [], None
    extra: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    for start in range(0, len(arrays), CHUNK):
        piece = arrays.rows(start, min(start + CHUNK, len(arrays)))
        steps = step_costs(network, hardware, piece, plans, options, spare=True)
        extra, notes = _run_costs(network, hardware, piece, plan, overhead), steps.notes
        limits = _limits(steps, weights, dram, mode, peak, piece.size_bits[:, -1])
        parts.append(_totals(steps, piece, names, weights, extra, held, limits))
        kept = steps if len(arrays) <= MAX_DESIGNS_WITH_LAYERS else None
    total = pd.concat(parts, ignore_index=True)
    if place is not None:
        rows = len(names)
        total = total.iloc[(place[:, None] * rows + np.arange(rows)).reshape(-1)].reset_index(drop=True)
        if kept is not None and len(place) <= MAX_DESIGNS_WITH_LAYERS:
            kept = kept.at(place)
            extra = tuple(item.at(place) for item in extra)
        elif len(place) > MAX_DESIGNS_WITH_LAYERS:
            kept = None
    total.insert(0, "design", np.repeat(np.arange(len(total) // len(names)), len(names)))
    area = pd.DataFrame({"part": arrays.area_parts, "area_mm2": arrays.area_parts_mm2[0]})
    notes = (
        *notes,
        *accumulator_notes(network, hardware, plans, mode),
        *copies_notes(network, plans, mode == "training"),
        *_conversion_notes(hardware, total),
    )
    if place is not None:
        arrays = arrays.at(place)
    return Cost(total, area, notes, kept, names, weights, extra, phases, hardware, arrays)


def _read(
    plan: Plan | Schedule | str | Path | Sequence[Plan | str | Path], network: Network
) -> Plan | Schedule | list[Plan]:
    """Plans that are given as text or files, as plans."""

    def one(item: Plan | str | Path) -> Plan:
        if isinstance(item, Path):
            return Plan.load(item, network)
        return Plan.parse(item, network) if isinstance(item, str) else item

    if isinstance(plan, (Plan, Schedule)):
        return plan
    return one(plan) if isinstance(plan, (str, Path)) else [one(item) for item in plan]


def _run_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plan: Plan | Schedule | Sequence[Plan],
    overhead: Overhead | None,
) -> tuple[Extra, ...]:
    found = []
    if isinstance(plan, Schedule) and plan.changes:
        found.append(change_costs(network, hardware, arrays, plan))
    if overhead is not None:
        found.append(policy_costs(hardware, arrays, overhead))
    return tuple(found)


def _held(network: Network, plans: Sequence[Plan], weights: Floats, options: StepOptions) -> Floats:
    """(rows, 1 + parts) bits at the peak and its parts, of the plan that needs most among those of a row."""
    parts = np.array([list(footprint(network, plan, options.mode, options.recompute).values()) for plan in plans])
    peak = np.where(weights > 0, parts.sum(axis=1), -1.0).argmax(axis=1)
    return np.column_stack([parts[peak].sum(axis=1), parts[peak]])


def _limits(
    steps: StepCosts, weights: Floats, dram: str, mode: str, peak: Floats, size_bits: Floats
) -> npt.NDArray[np.object_]:
    """(D, rows) why a design cannot run a row's plans, "" if it can: a job that does not fit, or a DRAM that is too small."""
    result = np.full((len(size_bits), len(weights)), "", dtype=object)
    for row, needed in enumerate(weights > 0):
        for design, size in enumerate(size_bits):
            failed = next((text for text in steps.limit[design, needed] if text), "")
            if not failed and peak[row] > size:
                failed = shortfall(dram, mode, peak[row], size)
            result[design, row] = failed
    return result


def _distinct(designs: pd.DataFrame | None) -> tuple[pd.DataFrame | None, Ints | None]:
    """The distinct rows of a table in the order of their first appearance, and where each row of the table is among them."""
    if designs is None or len(designs) < 2 or not len(designs.columns):
        return designs, None
    number = designs.groupby(list(designs.columns), sort=False, dropna=False).ngroup().to_numpy().astype(np.int64)
    return designs[~designs.duplicated()].reset_index(drop=True), number


def _plans(
    network: Network, plan: Plan | Schedule | Sequence[Plan], mode: str
) -> tuple[list[Plan], tuple[str, ...], Floats, tuple[tuple[str, int, int], ...]]:
    """Different plans, labels of the result's rows, (rows, plans) weights that turn steps into them, and a schedule's phases.

    A phase is its plan's label, the plan's place and the iterations.
    """
    phases: tuple[tuple[str, int, int], ...] = ()
    if isinstance(plan, Schedule):
        course = plan.plans(network)
        places = {id(item): number for number, item in enumerate({id(p): p for p, _ in course}.values())}
        plans = list({id(p): p for p, _ in course}.values())
        told = plan_labels(plans, mode)
        phases = tuple((told[places[id(item)]], places[id(item)], count) for item, count in course)
        weights = np.zeros((1, len(plans)))
        for _, place, count in phases:
            weights[0, place] += count
        labels: tuple[str, ...] = (f"{plan.name}, {plan.iterations} iterations",)
    else:
        plans = [plan] if isinstance(plan, Plan) else list(plan)
        weights = np.eye(len(plans))
        labels = plan_labels(plans, mode)
    names = tuple(layer.name for layer in network.layers)
    for item in plans:
        if item.layers != names:
            raise InputError(
                "plan",
                [f"is of network {item.network} with {len(item.layers)} layers; {network.name} has other layers"],
            )
    if not plans:
        raise InputError("plan", ["expected at least one plan"])
    return plans, labels, weights, phases


def _weighted(values: Floats, weights: Floats) -> Floats:
    """(D, I, ...) values of plans as (D, rows, ...) of what the rows run of them; a plan that a row does not run says nothing."""
    finite = np.isfinite(values)
    total = np.einsum("di...,ri->dr...", np.where(finite, values, 0.0), weights)
    wrong = np.einsum("di...,ri->dr...", (~finite).astype(np.float64), (weights > 0).astype(np.float64))
    return np.asarray(np.where(wrong > 0, np.inf, total))


def _totals(
    steps: StepCosts,
    arrays: HardwareArrays,
    labels: tuple[str, ...],
    weights: Floats,
    extra: tuple[Extra, ...],
    held: Floats,
    limits: npt.NDArray[np.object_],
) -> pd.DataFrame:
    d, rows = len(arrays), len(labels)

    def weighted(values: Floats) -> Floats:
        """(D, I, ...) summed over layers and passes, weighted over plans: (D * rows,)."""
        return _weighted(values.reshape(*values.shape[:2], -1).sum(axis=-1), weights).reshape(-1)

    def of_run(component: str) -> Floats:
        """(D * rows,) what belongs to the run."""
        return np.repeat(sum((item.energy_j.get(component, 0.0) for item in extra), np.zeros(d)), rows)

    feasible = limits.reshape(-1) == ""
    latency, energy = weighted(steps.latency_s), weighted(steps.energy_j)
    latency = latency + np.repeat(sum((item.latency_s for item in extra), np.zeros(d)), rows)
    energy = energy + np.repeat(sum((item.total_j for item in extra), np.zeros(d)), rows)
    table: dict[str, Any] = {
        "plan": list(labels) * d,
        "latency_s": np.where(feasible, latency, np.nan),
        "energy_j": np.where(feasible, energy, np.nan),
        "area_mm2": np.repeat(arrays.area_mm2, rows),
    }
    table["convert_s"] = np.where(feasible, weighted(steps.convert_s), np.nan)
    table["power_w"] = table["energy_j"] / table["latency_s"]
    table["macs"] = np.tile(steps.macs.sum() * weights.sum(axis=1), d)
    table["bitops"] = np.tile(weights @ steps.bitops.sum(axis=(1, 2)), d)
    dram = weighted(steps.dram_bits) + sum(item.dram_bits for item in extra)
    table["dram_bits"] = np.where(feasible, dram, np.nan)
    for k, name in enumerate(steps.components):
        part = weighted(steps.components_j[..., k]) + of_run(name)
        table[f"{name}_j"] = np.where(feasible, part, np.nan)
    amounts = np.einsum("cilp,ri->cr", steps.side.amount_j, weights)
    for k, name in enumerate(SIDE_COMPONENTS):
        part = np.outer(steps.side.factor[k], amounts[k]).reshape(-1) + of_run(name)
        table[f"{name}_j"] = np.where(feasible, part, np.nan)
    for k, name in enumerate(("peak_memory", *(f"memory_{part}" for part in PARTS))):
        table[f"{name}_bits"] = np.tile(held[:, k], d)
    main = weights.argmax(axis=1)
    table["fused_groups"] = [_group_count(steps.groups_of(design, plan)) for design in range(d) for plan in main]
    if steps.spare is not None:
        spare = weighted(steps.spare.energy_j), weighted(steps.spare.latency_s)
        table["mapping_gap"] = np.where(feasible, steps.spare.gap(energy, latency, *spare), np.nan)
    table["feasible"] = feasible
    table["limit"] = limits.reshape(-1)
    table["price_extrapolated"] = np.repeat(arrays.extrapolated, rows)
    return pd.DataFrame(table)


def _conversion_notes(hardware: Hardware, total: pd.DataFrame) -> tuple[str, ...]:
    """What conversions take, and the products alone, of the first row where they take time."""
    rows = total[total["convert_s"] > 0]
    if not len(rows):
        return ()
    row = rows.iloc[0]
    taken, alone, whole = (
        format_value(value, "s") for value in (row["convert_s"], row["latency_s"] - row["convert_s"], row["latency_s"])
    )
    unit = "the vector unit" if hardware.converter is None else "the converter"
    return (
        f"{row['plan']}: {taken} of {whole} are conversions between formats that {unit} does not hide, {alone} without them.",
    )


def _group_count(groups: npt.NDArray[np.object_]) -> int:
    return len({(pass_, name) for (_, pass_), name in np.ndenumerate(groups) if name})


def _groups_of_rows(steps: StepCosts, main: Ints, d: Ints, r: Ints, l: Ints, p: Ints) -> npt.NDArray[np.object_]:
    """Groups of rows of the table of layers, each of its design and of the plan that it runs most."""
    result = steps.groups[l, p]
    for (design, plan), groups in steps.own_groups.items():
        here = (d == design) & (main[r] == plan)
        result[here] = groups[l[here], p[here]]
    return np.asarray(result)


def _layers_table(steps: StepCosts, labels: tuple[str, ...], weights: Floats, extra: tuple[Extra, ...]) -> pd.DataFrame:
    latency, energy = _weighted(steps.latency_s, weights), _weighted(steps.energy_j, weights)
    parts = np.einsum("dilpc,ri->drlpc", steps.components_j, weights)
    side = np.einsum("cilp,ri->crlp", steps.side.amount_j, weights)
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
        "convert_s": _weighted(steps.convert_s, weights)[d, r, l, p],
        "bound": names[bound[d, r, l, p]],
        "group": _groups_of_rows(steps, main, d, r, l, p),
        "macs": macs[r, l, p],
        "bitops": bitops[r, l, p],
        "dram_bits": dram[d, r, l, p],
    }
    for k, name in enumerate(steps.components):
        table[f"{name}_j"] = parts[d, r, l, p, k]
    for k, name in enumerate(SIDE_COMPONENTS):
        table[f"{name}_j"] = steps.side.factor[k, d] * side[k, r, l, p]
    if steps.spare is not None:
        spare = (_weighted(x, weights)[d, r, l, p] for x in (steps.spare.energy_j, steps.spare.latency_s))
        table["mapping_gap"] = steps.spare.gap(energy[d, r, l, p], latency[d, r, l, p], *spare)
    frame = pd.DataFrame(table)
    rows = [
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
            **{f"{name}_j": values[design] for name, values in item.energy_j.items()},
        }
        for item in extra
        for design in range(len(steps.limit))
        for label, needed in zip(labels, weights > 0, strict=True)
        if (steps.limit[design, needed] == "").all()
    ]
    if not rows:
        return frame
    last = pd.DataFrame(rows, columns=frame.columns)
    numbers = frame.select_dtypes("number").columns
    last[numbers] = last[numbers].astype(np.float64).fillna(0.0).astype(frame[numbers].dtypes)
    return pd.concat([frame, last]).sort_values("design", kind="stable", ignore_index=True)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not np.isfinite(value):
                row[key] = None
            elif isinstance(value, np.generic):
                row[key] = value.item()
    return [{str(key): value for key, value in row.items()} for row in rows]
