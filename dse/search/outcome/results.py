"""What a search found, as tables."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.cost.fusion.epilogues import SUMMED
from dse.cost.mapped.searched import front_searching
from dse.cost.totals.evaluate import evaluate
from dse.errors import InputError
from dse.goals import OBJECTIVES, Figures
from dse.hardware.model import Hardware
from dse.precision import Plan, Schedule
from dse.precision.schedules.phases import Phase
from dse.search.archive import Found, joined, places
from dse.search.bits.asked.possible import check_found
from dse.search.bits.problem import BitProblem, SearchProblem, plan_of
from dse.search.bits.schedule_space import DIMENSIONS
from dse.search.bits.solve import Failed, certified
from dse.search.loop.dimensions import size
from dse.search.loop.run import Search
from dse.search.loop.state import State
from dse.search.outcome.drops import INTERVAL, drop_intervals, predicted_drops
from dse.search.outcome.record import about, baselines, binding, certificate, notes_of, quantities
from dse.search.outcome.sensitivity import sensitivity
from dse.search.outcome.waterfall import waterfall
from dse.search.pareto import pareto_mask
from dse.showing import html_table, one_line
from dse.types import Floats, Ints
from dse.yaml_input import suggest

#: Columns of :attr:`dse.search.archive.Found.certificate`.
CERTIFICATE = ("certificate_weight", "certificate_best", "certificate_bound")


@dataclass(frozen=True)
class Run:
    """Result of :func:`explore`.

    Attributes
    ----------
    front, designs
        Non-dominated designs and everything kept: ``design, latency_s, energy_j, area_mm2, accuracy_drop_pp,
        accuracy_drop_low_pp, accuracy_drop_high_pp, certificate_gap, mapping_gap, feasible``, then the parameters of hardware and
        schedule, the width of the (narrowest) error tensors, where formats were not measured the number of layers whose score
        follows a law (``layers_by_law``), what the gap is of (``certificate_weight, certificate_best, certificate_bound``: see
        :class:`dse.search.bits.solve.Certificate`) and the limits that bind. Latency and energy are per training step of one
        batch (of the mean step, over a schedule), under mappings of the tables, or of the front under mappings searched for each
        design (:func:`searched_figures`). ``mapping_gap`` is the share of the
        energy-delay product that better mappings could save at most (:attr:`dse.cost.totals.evaluate.Cost.total`); NaN off the
        front.
    sensitivity
        Which hardware parameter moves which objective: see :func:`dse.search.outcome.sensitivity.sensitivity`.
    info
        What run.json holds.
    notes
        Sentences that a reader of the result must know.
    folder
        The run folder, or None if none was written.
    """

    front: pd.DataFrame
    designs: pd.DataFrame
    sensitivity: pd.DataFrame
    info: dict[str, Any]
    notes: tuple[str, ...]
    folder: Path | None
    problem: SearchProblem
    found: Found

    def __repr__(self) -> str:
        names = ", ".join(subject.network.name for subject in self.problem.subjects)
        facts = [f"{len(self.front)} designs on the front", str(self.folder) if self.folder else ""]
        return one_line("Run", names, facts)

    def _repr_html_(self) -> str:
        return html_table(repr(self), list(self.front.columns), self.front.to_numpy().tolist())

    def plan(self, design: str, workload: str | None = None) -> Plan:
        """The bit map of a design of the front or of the kept designs; with several workloads, of the named one."""
        return self.maps(design)[self._workload(workload).network.name]

    def maps(self, design: str) -> dict[str, Plan]:
        """The bit maps of a design by workload."""
        row = self._row(design)
        return {
            subject.network.name: plan_of(subject, int(self.found.error[row, k]), self.found.choice[row, part])
            for k, (subject, part) in enumerate(zip(self.problem.subjects, self.problem.columns, strict=True))
        }

    def schedule(self, design: str, workload: str | None = None) -> Schedule:
        """The schedule of a design of a run that searched schedules: its map, lowered and raised again.

        Raises
        ------
        InputError
            The run searched none.
        """
        space = self.problem.schedules
        if space is None:
            raise InputError(design, ["has no schedule: the run searched none"])
        row, subject = self._row(design), self._workload(workload)
        k = self.problem.subjects.index(subject)
        choice, values = self.found.choice[row, self.problem.columns[k]], self.found.parameters[row]
        drops = space.drops(values[-len(DIMENSIONS) :])
        lower = subject.lowered(int(drops.max(initial=0)))
        plans = [
            plan_of(subject, int(self.found.error[row, k]), place[np.arange(len(choice)), choice]) for place in lower
        ]
        starts = np.flatnonzero(np.diff(drops, prepend=-1))
        lengths = np.diff(np.append(starts, len(drops)))
        phases = [Phase(int(length), plans[drops[start]]) for start, length in zip(starts, lengths, strict=True)]
        return Schedule(f"{design}, {subject.network.name}", tuple(phases))

    def hardware(self, design: str) -> Hardware:
        """The hardware of a design."""
        return self.problem.hardware_of(self.found.parameters[self._row(design)])

    def _row(self, design: str) -> int:
        rows = self.designs.index[self.designs["design"] == design]
        if not len(rows) or rows[0] >= len(self.found):
            raise InputError(design, [f"no feasible design of this run{suggest(design, self.front['design'])}"])
        return int(rows[0])

    def _workload(self, name: str | None) -> BitProblem:
        known = {subject.network.name: subject for subject in self.problem.subjects}
        if name is None and len(known) == 1:
            return self.problem.subjects[0]
        if name not in known:
            raise InputError("workload", [f"expected one of {', '.join(known)}, got {name!r}"])
        return known[name]


def make_run(
    asked: Search,
    state: State,
    folder: Path | None,
    trials: int | None,
    jobs: int,
    started: float,
    command: str,
    validation: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """Tables and facts of a finished search."""
    problem, objectives = asked.problem, asked.objectives
    found, spare, failed = searched_figures(problem, state.found, objectives)
    failed = [*state.failed, *failed]
    if not len(found):
        check_found(problem, state.done, failed)
    order = np.lexsort(found.objectives.T[::-1]) if len(found) else np.zeros(0, np.int64)
    found, spare = found.take(order), spare[order]
    digits = len(str(max(len(found) - 1, 1)))
    mask = pareto_mask(found.minimized(objectives))
    found = certified(problem, found, mask)
    designs = _table(problem, found, spare, [f"d{number:0{digits}d}" for number in range(len(found))])
    front = designs[mask].reset_index(drop=True)
    if failed:
        designs = pd.concat([designs, _infeasible(problem, failed, len(designs))], ignore_index=True)
    points = size(asked.strategy.dimensions(problem, objectives))
    solved = state.done >= points and asked.strategy.proves(problem)
    notes = notes_of(problem, front)
    if solved and not asked.strategy.listed:
        notes = (*notes, f"The space has {points:,} points, no more than the trials asked for: all of them were tried.")
    moves = sensitivity(problem, asked.seed) if folder is not None else pd.DataFrame()
    info = {
        **about(problem, command),
        **asked.inputs,
        "trials": trials if trials is not None else state.done,
        "objectives": list(objectives),
        "jobs": jobs,
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 2),
        "counts": {
            "trials": state.done,
            "hardware_designs": len(np.unique(found.parameters, axis=0)),
            "designs_kept": len(found),
            "infeasible_trials": len(failed),
            "front": len(front),
        },
        "certificate": certificate(front, solved, problem.predicts, problem.hardware.fusion not in SUMMED),
        "hypervolume": state.trace[-1] if state.trace else None,
        "hypervolume_trace": state.trace,
        "reference": dict(zip(objectives, problem.reference[places(objectives)].tolist(), strict=True)),
        "baselines": baselines(problem, found.take(mask), front),
        "waterfall": waterfall(problem, found.take(mask), front),
        "limits": binding(problem, found.take(mask), failed),
        "sensitivity": moves.to_dict("records"),
        "notes": list(notes),
        "quantities": quantities(problem, front),
        "validation": [dict(row) for row in validation],
    }
    return Run(front, designs, moves, info, notes, folder, problem, found)


def searched_figures(
    problem: SearchProblem, found: Found, objectives: Sequence[str]
) -> tuple[Found, Floats, list[Failed]]:
    """Designs with the figures of the front under mappings that are searched for each design, as evaluating it alone does.

    Searched mappings are no worse than the tables' by their energy-delay product, but may trade time for energy. So limits are
    checked again, and designs that were dominated may take the place of others: until all of the front is searched.

    Returns
    -------
    The designs that keep the limits, their ``mapping_gap``, and those that do not. Of designs off the front the gap is NaN. Unless
    ``DSE_MAPPINGS`` is ``searched`` nothing is searched: figures stay those of the tables, and the gap is that of their mappings.
    """
    spare, keeps, done = np.full(len(found), np.nan), np.ones(len(found), bool), np.zeros(len(found), bool)
    searched = front_searching()
    values = found.objectives.copy()
    failed: list[Failed] = []
    while True:
        found = replace(found, objectives=values)
        kept = np.flatnonzero(keeps)
        front = kept[pareto_mask(found.take(kept).minimized(objectives))]
        new = front[~done[front]]
        if not len(new):
            return found.take(kept), spare[kept], failed
        distinct, place = np.unique(found.parameters[new], axis=0, return_inverse=True)
        for number in range(len(distinct)):
            rows = new[place.reshape(-1) == number]
            priced, spare[rows], limits = _priced(problem, found.take(rows), searched)
            done[rows] = True
            if not searched:
                continue
            values[rows] = priced
            for row, limit in zip(rows, limits, strict=True):
                if limit is not None:
                    keeps[row] = False
                    failed.append(limit)


def _priced(problem: SearchProblem, found: Found, searched: bool) -> tuple[Floats, Floats, list[Failed | None]]:
    """Objectives and ``mapping_gap`` of designs of one row of parameters, mappings searched or of tables, and limits missed."""
    hardware, shares = problem.hardware_of(found.parameters[0]), problem.shares(found.parameters[0])
    depths = np.flatnonzero(shares > 0)
    figures: list[list[Figures]] = [[] for _ in range(len(found))]
    spare = np.zeros((len(found), len(problem.subjects)))
    drops = predicted_drops(problem, found)
    for k, (subject, part) in enumerate(zip(problem.subjects, problem.columns, strict=True)):
        lower = subject.lowered(int(depths[-1]))
        plans = [
            plan_of(subject, int(error), lower[depth][np.arange(len(choice)), choice])
            for error, choice in zip(found.error[:, k], found.choice[:, part], strict=True)
            for depth in depths
        ]
        names = [str(number) for number in range(len(plans))]
        total = evaluate(
            subject.network, hardware, plans, mode=problem.mode, labels=names, search_mappings=searched
        ).total
        latency, energy, gap = (
            total[name].to_numpy(np.float64).reshape(len(found), len(depths))
            for name in ("latency_s", "energy_j", "mapping_gap")
        )
        for row in range(len(found)):
            time, joules = (float((each[row] * shares[depths]).sum()) for each in (latency, energy))
            figures[row].append(Figures(time, joules, float(total["area_mm2"].iloc[0]), float(drops[row, k])))
        spare[:, k] = gap.max(axis=1)
    # Of a sum no more can be saved of energy, and no more of time, than of the part with most to save.
    together = spare.max(axis=1)
    if len(depths) * len(problem.subjects) > 1:
        together = 1.0 - (1.0 - together) ** 2
    values = np.array(
        [
            [
                # As in the archive: equal designs have to be equal.
                float(
                    f"{float(joined(item, [item.of(one) for one in each], problem.weights, problem.worst_case)):.12g}"
                )
                for item in OBJECTIVES.values()
            ]
            for each in figures
        ]
    )
    return values, together, [_missed(problem, found.parameters[0], each) for each in figures]


def _missed(problem: SearchProblem, values: Floats, each: Sequence[Figures]) -> Failed | None:
    """The first limit on time or energy that a design's networks do not keep."""
    for figures in each:
        for name, value in (("latency", figures.latency_s), ("energy", figures.energy_j)):
            bound = problem.limits.bound(name)
            if value > bound * (1 + 1e-12):
                return Failed(f"{name}: {value:.4g} is above {bound:.4g}", values.tolist(), value / bound - 1.0)
    return None


def _table(problem: SearchProblem, found: Found, spare: Floats, names: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {"design": names}
    for place, item in enumerate(OBJECTIVES.values()):
        if problem.predicts or not item.needs_profile:
            columns[item.column] = found.objectives[:, place]
    if problem.predicts:
        columns |= drop_intervals(problem, found)
    columns["certificate_gap"] = found.gap
    columns["feasible"] = True
    columns |= _parameters(problem, found.parameters)
    for k, (subject, name) in enumerate(zip(problem.subjects, _error_columns(problem), strict=True)):
        columns[name] = np.array([form.element_bits for form in subject.errors], np.int64)[found.error[:, k]]
    if any(subject.by_law.any() for subject in problem.subjects):
        columns["layers_by_law"] = _layers_by_law(problem, found)
    for k, name in enumerate(CERTIFICATE):
        columns[name] = found.certificate[:, k]
    columns["mapping_gap"] = spare
    limits = np.array(problem.limit_names, dtype=object)
    columns["binds"] = ["+".join(limits[[bits >> i & 1 == 1 for i in range(len(limits))]]) for bits in found.binds]
    columns["limit"] = ""
    return pd.DataFrame(columns, index=range(len(names)))


def _parameters(problem: SearchProblem, values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Columns of parameters: integers where all are, schedules' profiles by name."""
    result: dict[str, Any] = {}
    for column, (name, _) in enumerate(problem.parameters):
        these = values[:, column]
        if name == DIMENSIONS[0]:
            assert problem.schedules is not None
            result[name] = [problem.schedules.profiles[int(value)] for value in these]
        else:
            whole = bool(len(these)) and bool(np.all(these == np.rint(these)))
            result[name] = these.astype(np.int64) if whole else these
    return result


def _layers_by_law(problem: SearchProblem, found: Found) -> Ints:
    """(n,) scored layers of all networks with a format that was not measured, so that their score follows a law."""
    count = np.zeros(len(found), np.int64)
    for subject, part in zip(problem.subjects, problem.columns, strict=True):
        scored = set() if subject.profile is None else set(subject.profile.layer_names)
        names = [layer.name for layer in subject.network.mac_layers]
        members = np.array([sum(names[index] in scored for index in group) for group in subject.groups], np.int64)
        count += (subject.by_law[found.choice[:, part]] * members).sum(axis=1)
    return count


def _error_columns(problem: SearchProblem) -> list[str]:
    names = [subject.network.name for subject in problem.subjects]
    return ["error_bits"] if len(names) == 1 else [f"error_bits.{name}" for name in names]


def _infeasible(problem: SearchProblem, failed: Sequence[Failed], first: int) -> pd.DataFrame:
    """Rows of designs that failed a limit: no figures, ``feasible`` false, and the limit's name."""
    columns: dict[str, Any] = {"design": [f"x{first + number}" for number in range(len(failed))]}
    names = [item.column for item in OBJECTIVES.values() if problem.predicts or not item.needs_profile]
    columns |= dict.fromkeys((*names, *INTERVAL * problem.predicts, "certificate_gap"), np.nan)
    columns["feasible"] = False
    values = np.array([item.values for item in failed]).reshape(len(failed), len(problem.parameters))
    columns |= _parameters(problem, values)
    columns |= dict.fromkeys(_error_columns(problem), 0)
    if any(subject.by_law.any() for subject in problem.subjects):
        columns["layers_by_law"] = 0
    columns |= dict.fromkeys((*CERTIFICATE, "mapping_gap"), np.nan)
    columns["binds"] = ""
    columns["limit"] = [item.limit for item in failed]
    return pd.DataFrame(columns, index=range(len(failed)))
