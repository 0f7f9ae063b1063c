"""What a search found, as tables, and the folder of a run."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import dse
from dse.cost.evaluate import evaluate
from dse.cost.model import LEFT_OUT, MODEL_VERSION
from dse.errors import InputError
from dse.files import write_text
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.search.archive import OBJECTIVES, Found, nondominated
from dse.search.inner import SearchProblem, plan_of
from dse.search.pareto import knee
from dse.search.run_folder import write_json, write_table
from dse.shipped import shipped_folder
from dse.units import quantity
from dse.yaml_input import suggest

#: An infeasible trial: the limit that failed, and the hardware parameters.
Failed = tuple[str, list[float]]


@dataclass(frozen=True)
class Run:
    """Result of :func:`explore`.

    Attributes
    ----------
    front, designs
        Non-dominated designs and everything kept: ``design, latency_s, energy_j, area_mm2, accuracy_drop_pp,
        certificate_gap, feasible``, then the hardware parameters. Latency and energy are per training step of one batch.
    info
        What run.json holds.
    notes
        Sentences that a reader of the result must know.
    folder
        The run folder, or None if none was written.
    """

    front: pd.DataFrame
    designs: pd.DataFrame
    info: dict[str, Any]
    notes: tuple[str, ...]
    folder: Path | None
    problem: SearchProblem
    found: Found

    def plan(self, design: str) -> Plan:
        """The bit map of a design of the front or of the kept designs."""
        rows = self.designs.index[self.designs["design"] == design]
        if not len(rows):
            raise InputError(design, [f"no such design{suggest(design, self.designs['design'])}"])
        row = int(rows[0])
        return plan_of(self.problem, int(self.found.error_bits[row]), self.found.choice[row])

    def hardware(self, design: str) -> Hardware:
        """The hardware of a design."""
        row = self.designs.loc[self.designs["design"] == design].iloc[0]
        names = [parameter.name for parameter in self.problem.hardware.space]
        return self.problem.hardware.with_values({name: float(row[name]) for name in names})


def _table(problem: SearchProblem, found: Found, names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"design": names})
    for column, name in enumerate(OBJECTIVES):
        table[name] = found.objectives[:, column]
    table["certificate_gap"] = found.gap
    table["feasible"] = True
    for column, parameter in enumerate(problem.hardware.space):
        values = found.parameters[:, column]
        whole = bool(len(values)) and bool(np.all(values == np.rint(values)))
        table[parameter.name] = values.astype(np.int64) if whole else values
    table["error_bits"] = found.error_bits
    return table


def _infeasible(problem: SearchProblem, failed: list[Failed], first: int) -> pd.DataFrame:
    """Rows of designs that failed a limit: no figures, ``feasible`` false, and the limit's name."""
    table = pd.DataFrame({"design": [f"x{first + number}" for number in range(len(failed))]})
    for name in (*OBJECTIVES, "certificate_gap"):
        table[name] = np.nan
    table["feasible"] = False
    for column, parameter in enumerate(problem.hardware.space):
        table[parameter.name] = [values[column] for _, values in failed]
    table["error_bits"] = 0
    table["limit"] = [limit for limit, _ in failed]
    return table


def make_run(
    problem: SearchProblem,
    objectives: tuple[str, ...],
    found: Found,
    failed: list[Failed],
    trace: list[float],
    folder: Path | None,
    inputs: dict[str, Any],
    jobs: int,
    started: float,
    command: str,
    validation: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """Tables and facts of a finished search."""
    order = np.lexsort(found.objectives.T[::-1]) if len(found) else np.zeros(0, np.int64)
    found = found.take(order)
    digits = len(str(max(len(found) - 1, 1)))
    names = [f"d{number:0{digits}d}" for number in range(len(found))]
    designs = _table(problem, found, names)
    front_found = nondominated(found, objectives)
    mask = _rows_of(found, front_found)
    front = designs[mask].reset_index(drop=True)
    designs["limit"] = ""
    if failed:
        designs = pd.concat([designs, _infeasible(problem, failed, len(designs))], ignore_index=True)
    notes = _notes(problem, front)
    info = {
        **_about(problem, command),
        **inputs,
        "objectives": list(objectives),
        "jobs": jobs,
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 2),
        "counts": {
            "trials": inputs["trials"],
            "hardware_designs": len(np.unique(found.parameters, axis=0)),
            "designs_kept": len(found),
            "infeasible_trials": len(failed),
            "front": len(front),
        },
        "certificate": _certificate(front),
        "hypervolume": trace[-1] if trace else None,
        "hypervolume_trace": trace,
        "reference": {name: float(problem.reference[OBJECTIVES.index(name)]) for name in objectives},
        "baselines": _baselines(problem, front),
        "notes": list(notes),
        "quantities": _quantities(problem, front),
        "validation": [dict(row) for row in validation],
    }
    return Run(front, designs, info, notes, folder, problem, found)


def _rows_of(found: Found, front: Found) -> np.ndarray[Any, np.dtype[np.bool_]]:
    keys = {row.tobytes() + choice.tobytes() for row, choice in zip(front.objectives, front.choice, strict=True)}
    return np.array(
        [row.tobytes() + choice.tobytes() in keys for row, choice in zip(found.objectives, found.choice, strict=True)],
        dtype=bool,
    )


def write_run(run: Run, folder: Path) -> None:
    """Write the run folder; run.json last, since it marks the run as complete.

    Raises
    ------
    InputError
        The folder cannot be written; what was there before is intact.
    """
    write_table(folder / "designs.csv", run.designs)
    layers, bits, areas = [], [], []
    wanted = set(run.front["design"])
    for old in (folder / "plans").glob("*.yaml"):
        if old.stem not in wanted:
            old.unlink()
    parameters = [parameter.name for parameter in run.problem.hardware.space]
    for _, group in run.front.groupby(parameters, sort=False) if parameters else [((), run.front)]:
        designs = [str(design) for design in group["design"]]
        plans = [run.plan(design) for design in designs]
        cost = evaluate(run.problem.network, run.hardware(designs[0]), plans, mode=run.problem.mode, labels=designs)
        layers.append(cost.layers.drop(columns=["design"]).rename(columns={"plan": "design"}))
        areas += [cost.area.assign(design=design) for design in designs]
        for design, plan in zip(designs, plans, strict=True):
            write_text(folder / "plans" / f"{design}.yaml", plan.to_yaml())
            for operand in ("weight", "activation", "error"):
                cells, widths = plan.cells(operand), plan.widths(operand).tolist()
                bits += [
                    (design, *row)
                    for row in zip(plan.layers, [operand] * len(cells), map(str, cells), widths, strict=True)
                ]
    names = [layer.name for layer in run.problem.network.mac_layers]
    table = pd.DataFrame(bits, columns=["design", "layer", "operand", "format", "bits"])
    write_table(folder / "bits.csv", table[table["layer"].isin(names)].reset_index(drop=True))
    if layers:
        write_table(folder / "layers.csv", _design_first(pd.concat(layers, ignore_index=True)))
        write_table(folder / "area.csv", _design_first(pd.concat(areas, ignore_index=True)))
    write_table(folder / "front.csv", run.front)
    write_json(folder / "run.json", run.info)


def _design_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["design", *(column for column in table.columns if column != "design")]]


def _certificate(front: pd.DataFrame) -> dict[str, Any]:
    if not len(front) or not front["certificate_gap"].notna().any():
        return {
            "worst_gap": None,
            "text": "No certificate: this strategy samples bit maps instead of solving for them.",
        }
    worst = float(front["certificate_gap"].max())
    text = (
        "every bit map is proven optimal"
        if worst <= 1e-12
        else f"every bit map is within {worst:.2%} of a proven bound"
    )
    return {
        "worst_gap": worst,
        "text": f"For its hardware, error width and weighting of latency and energy, {text}. "
        "Hardware is sampled by Optuna and carries no such proof.",
    }


def _notes(problem: SearchProblem, front: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    if not len(front):
        notes.append("No feasible design was found in the trials; see designs.csv for the limits that failed.")
    if problem.mode == "training":
        shown = ", ".join(str(bits) for bits in problem.error_widths)
        notes.append(f"Error tensors: {shown} bits can keep the limit of {problem.limit_pp:g} {problem.profile.unit}.")
    if problem.profile.kept:
        kept = ", ".join(f"{name} at {width} bits" for name, width in problem.profile.kept.items())
        notes.append(f"Not in the sensitivity profile and kept at no less than its source: {kept}.")
    return tuple(notes)


def _baselines(problem: SearchProblem, front: pd.DataFrame) -> list[dict[str, Any]]:
    """Uniform plans on the hardware of the front's knee, fastest and thriftiest design."""
    if not len(front):
        return []
    values = front[["latency_s", "energy_j"]].to_numpy()
    picks = {
        "knee": str(front["design"].iloc[knee(values)]),
        "fastest": str(front["design"].iloc[int(values[:, 0].argmin())]),
        "thriftiest": str(front["design"].iloc[int(values[:, 1].argmin())]),
    }
    rows = []
    for role, design in picks.items():
        row = front.loc[front["design"] == design].iloc[0]
        names = [parameter.name for parameter in problem.hardware.space]
        hardware = problem.hardware.with_values({name: float(row[name]) for name in names})
        for bits in (8, 16):
            plan = Plan.from_bits(problem.network, weight=bits, activation=bits, error=bits)
            cost = evaluate(problem.network, hardware, plan, mode=problem.mode).total.iloc[0]
            rows.append(
                {
                    "name": f"uniform {bits} bit",
                    "role": role,
                    "design": design,
                    "latency_s": float(cost["latency_s"]),
                    "energy_j": float(cost["energy_j"]),
                    "area_mm2": float(cost["area_mm2"]),
                    "accuracy_drop_pp": problem.profile.predict_drop(plan),
                    "feasible": bool(cost["feasible"]),
                    "note": str(cost["limit"]) or f"same hardware as {design}, the {role} design",
                }
            )
    return rows


def _quantities(problem: SearchProblem, front: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Label, unit and meaning of the front's columns; the drop has the unit of what the profile predicts."""
    found = {str(name): quantity(str(name)) for name in front.columns}
    units = {"accuracy_drop_pp": problem.profile.unit}
    return {
        name: {"label": item.label, "unit": units.get(name, item.unit), "meaning": item.meaning}
        for name, item in found.items()
        if item is not None
    }


def _place(path: str, kind: str) -> str:
    """A path for the record: of a shipped file only folder and name, which mean the same everywhere."""
    return f"{kind}/{Path(path).name}" if path and Path(path).parent == shipped_folder(kind) else path


def _about(problem: SearchProblem, command: str) -> dict[str, Any]:
    network, hardware, profile = problem.network, problem.hardware, problem.profile
    return {
        "name": network.name,
        "dse_version": dse.__version__,
        "model_version": MODEL_VERSION,
        "command": command,
        "per": f"{problem.mode} step of {network.batch} samples",
        "workload": {
            "name": network.name,
            "path": _place(network.path, "workloads"),
            "source": network.source,
            "batch": network.batch,
            "samples": network.samples,
            "epochs": network.epochs,
            "optimizer": network.optimizer,
            "macs": network.macs,
            "parameters": network.parameters,
            "layers": len(network.mac_layers),
        },
        "hardware": {
            "name": hardware.name,
            "description": hardware.description,
            "path": _place(hardware.path, "hwmodels"),
            "sources": hardware.sources,
            "space": [
                {"name": parameter.name, "values": list(parameter.values), "default": parameter.default}
                for parameter in hardware.space
            ],
        },
        "profile": {
            "name": profile.network,
            "source": profile.source,
            "loo_error_pp": profile.loo_error_pp,
            "noise_floor_pp": profile.noise,
            "score_range": list(profile.range),
            "unit": profile.unit,
            "assumptions": list(profile.assumptions),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pandas", "scipy", "optuna", "numba", "plotly")},
        },
        "left_out": list(LEFT_OUT),
        "assumptions": list(profile.assumptions),
    }
