"""``evaluate``: latency, energy and area of a training step, an inference, or a training run, on one design or a table.

A step is the sum of all passes of all layers, of the layers without MACs and of the optimizer; a run is the sum of steps over the
histogram of plans that a schedule yields (docs/model.md, A step and a run), with what changing the widths costs
(:mod:`dse.cost.totals.run`). What precision itself costs is in :mod:`dse.cost.steps.side`, the memory footprint in
:mod:`dse.cost.tensors.memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.cost.fusion.epilogues import with_fusion
from dse.cost.jobs.accumulators import accumulator_notes
from dse.cost.mapped.searched import searching
from dse.cost.mapped.table_jobs import is_deep
from dse.cost.steps.options import StepOptions
from dse.cost.steps.side import STOCHASTIC
from dse.cost.steps.step import StepCosts, step_costs
from dse.cost.tensors.copies import copies_notes
from dse.cost.tensors.memory import footprint, shortfall
from dse.cost.totals.cost import MAX_DESIGNS_WITH_LAYERS, Cost
from dse.cost.totals.rows import PlanRows, plan_rows
from dse.cost.totals.run import Extra, change_costs, policy_costs
from dse.cost.totals.tables import RUN_ROW, Priced, totals_table
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.from_file.load import load_hardware
from dse.hardware.model import Hardware
from dse.numbers import ACCUMULATE
from dse.precision.plans.plan import Plan
from dse.precision.policies.rules import Overhead
from dse.precision.schedules.schedule import Schedule
from dse.types import Floats, Ints
from dse.units import format_value
from dse.workload.load import load_workload
from dse.workload.model import Network

__all__ = ["MAX_DESIGNS_WITH_LAYERS", "RUN_ROW", "Cost", "EvaluateOptions", "evaluate", "evaluate_with"]

#: Plans as they may be given.
GivenPlan = Plan | Schedule | str | Path | Sequence[Plan | str | Path]

#: Different designs times plans whose mappings are searched on from the tables' unless it is asked for otherwise.
MOST_SEARCHED = 16
#: What a table of many designs says of its mappings.
_LOOKED_UP = (
    "Mappings are looked up in tables, {count:,} designs times plans being more than "
    f"{MOST_SEARCHED}: figures may be some per cent above those of one design alone, whose mappings are searched on from there; "
    "search_mappings=True does that for all."
)
#: Designs costed at a time, so that memory stays bounded.
CHUNK = 1024


@dataclass(frozen=True)
class EvaluateOptions:
    """Everything that :func:`evaluate` may be told beside network, hardware, plan and designs; it says what each means."""

    mode: str = "training"
    mapping_objective: str = "edp"
    labels: Sequence[str] | None = None
    stochastic: Sequence[str] = STOCHASTIC
    recompute: bool = False
    accumulate: int | None = None
    map_updates: float = 0.0
    overhead: Overhead | None = None
    fusion: str | None = None
    search_mappings: bool | None = None

    @property
    def step(self) -> StepOptions:
        """What of it a single step is told.

        Raises
        ------
        InputError
            A value that an option cannot have.
        """
        options = StepOptions(
            self.mode,
            self.mapping_objective,
            tuple(self.stochastic),
            self.recompute,
            self.map_updates,
            bool(self.search_mappings),
        )
        options.check()
        return options

    def accumulated(self, network: Network) -> Network:
        """The network with as many passes before an update as were asked for.

        Raises
        ------
        InputError
            No such number, or several passes of an inference.
        """
        if self.accumulate is None:
            return network
        ACCUMULATE.check(self.accumulate)
        if self.accumulate > 1 and self.mode != "training":
            raise InputError("accumulate", ["goes with training; inference has no gradients"])
        return replace(network, accumulate=self.accumulate)


def evaluate(
    network: Network | str | Path,
    hardware: Hardware | str | Path,
    plan: GivenPlan,
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
    search_mappings: bool | None = None,
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
        MACs run as their neighbours write or read; ``resident``, and tensors wait on the chip until their last reader
        (in training by slices of the batch too); ``best``, all that the hardware says that it can
        (:attr:`~dse.hardware.model.Hardware.fuses`), attention too, each where it is better. Default: the hardware's.
    search_mappings
        Mappings are looked up in tables that are searched at some points of the hardware's space: fast for many designs, but
        between those points a mapping may exist that is some per cent better. True: the search goes on from there for each
        design and format alone (:mod:`dse.cost.mapped.searched`), about 7 ms of one core per layer and pass the first time;
        what is found is kept on disk. False: tables. None: it goes on for up to :data:`MOST_SEARCHED` different designs times
        plans, and a note says where there are more; none where ``DSE_MAPPINGS`` is ``tables``
        (:func:`dse.cost.mapped.searched.searching`). Where an operand lies in several private or several shared memories there are
        no tables, and each mapping is searched. Either way a design costs the same whatever stands beside it.

    Raises
    ------
    InputError
        A plan of another network, unknown columns or values, unknown mode, a file that does not exist or is wrong.
    """
    options = EvaluateOptions(
        mode,
        mapping_objective,
        labels,
        stochastic,
        recompute,
        accumulate,
        map_updates,
        overhead,
        fusion,
        search_mappings,
    )
    return evaluate_with(network, hardware, plan, designs, options)


def evaluate_with(
    network: Network | str | Path,
    hardware: Hardware | str | Path,
    plan: GivenPlan,
    designs: pd.DataFrame | None,
    options: EvaluateOptions,
) -> Cost:
    """:func:`evaluate`, its options in one record."""
    network = load_workload(network) if isinstance(network, (str, Path)) else network
    hardware = load_hardware(hardware) if isinstance(hardware, (str, Path)) else hardware
    plan = _read(plan, network)
    hardware = with_fusion(hardware, options.fusion)
    step = options.step
    network = options.accumulated(network)
    rows = plan_rows(network, plan, options.mode).named(options.labels)
    # A table often repeats designs (a space is finite): each distinct one is priced once.
    distinct, place = _distinct(designs)
    arrays = hardware_arrays(hardware, distinct)
    if options.search_mappings is None:
        step = replace(step, search_mappings=searching() and len(arrays) * len(rows.plans) <= MOST_SEARCHED)
    held = _held(network, rows, step)
    parts, kept = [], None
    extra: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    for start in range(0, len(arrays), CHUNK):
        piece = arrays.rows(start, min(start + CHUNK, len(arrays)))
        steps = step_costs(network, hardware, piece, rows.plans, step, spare=True)
        extra, notes = _run_costs(network, hardware, piece, plan, options.overhead), steps.notes
        limits = _limits(steps, rows, hardware.memories[-1].name, options.mode, held[:, 0], piece.size_bits[:, -1])
        parts.append(totals_table(Priced(steps, piece, extra, held, limits), rows))
        kept = steps if len(arrays) <= MAX_DESIGNS_WITH_LAYERS else None
    total = pd.concat(parts, ignore_index=True)
    if place is not None:
        n = len(rows.labels)
        total = total.iloc[(place[:, None] * n + np.arange(n)).reshape(-1)].reset_index(drop=True)
        if kept is not None and len(place) <= MAX_DESIGNS_WITH_LAYERS:
            kept, extra = kept.at(place), tuple(item.at(place) for item in extra)
        elif len(place) > MAX_DESIGNS_WITH_LAYERS:
            kept = None
    total.insert(0, "design", np.repeat(np.arange(len(total) // len(rows.labels)), len(rows.labels)))
    area = pd.DataFrame({"part": arrays.area_parts, "area_mm2": arrays.area_parts_mm2[0]})
    notes = (
        *notes,
        *accumulator_notes(network, hardware, rows.plans, options.mode),
        *copies_notes(network, rows.plans, options.mode == "training"),
        *_conversion_notes(hardware, total),
    )
    if options.search_mappings is None and searching() and not step.search_mappings and not is_deep(hardware):
        notes = (*notes, _LOOKED_UP.format(count=len(arrays) * len(rows.plans)))
    return Cost(total, area, notes, kept, rows, extra, hardware, arrays if place is None else arrays.at(place))


def _read(plan: GivenPlan, network: Network) -> Plan | Schedule | list[Plan]:
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


def _held(network: Network, rows: PlanRows, options: StepOptions) -> Floats:
    """(rows, 1 + parts) bits at the peak and its parts, of the plan that needs most among those of a row."""
    parts = np.array([list(footprint(network, plan, options.mode, options.recompute).values()) for plan in rows.plans])
    peak = np.where(rows.weights > 0, parts.sum(axis=1), -1.0).argmax(axis=1)
    return np.column_stack([parts[peak].sum(axis=1), parts[peak]])


def _limits(
    steps: StepCosts, rows: PlanRows, dram: str, mode: str, peak: Floats, size_bits: Floats
) -> npt.NDArray[np.object_]:
    """(D, rows) why a design cannot run a row's plans, "" if it can: a job that does not fit, or a DRAM that is too small."""
    result = np.full((len(size_bits), len(rows.labels)), "", dtype=object)
    for row, needed in enumerate(rows.weights > 0):
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


def _conversion_notes(hardware: Hardware, total: pd.DataFrame) -> tuple[str, ...]:
    """What conversions take, and the products alone, of the first row where they take time."""
    rows = total[total["convert_s"] > 0]
    if not len(rows):
        return ()
    row = rows.iloc[0]
    taken, alone, whole = (
        format_value(value, "s") for value in (row["convert_s"], row["latency_s"] - row["convert_s"], row["latency_s"])
    )
    if hardware.converter is not None and hardware.converter.kernel_bandwidth > 0:
        return (f"{row['plan']}: {taken} of {whole} are kernels that convert between formats, {alone} without them.",)
    unit = "the vector unit" if hardware.converter is None else "the converter"
    return (
        f"{row['plan']}: {taken} of {whole} are conversions between formats that {unit} does not hide, {alone} without them.",
    )
