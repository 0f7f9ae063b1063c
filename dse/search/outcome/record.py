"""What run.json says of a search beside its tables."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from dse.accuracy import Profile
from dse.accuracy.hold_out import counting_note
from dse.accuracy.profiles.noise import integer_width
from dse.cost.fusion.training.states import MOST_STATES
from dse.cost.jobs.accumulators import accumulator_notes
from dse.cost.mapped.searched import front_searching
from dse.cost.model import LEFT_OUT, MODEL_VERSION
from dse.cost.steps.step import rounded_widths
from dse.cost.tensors.copies import copies_notes
from dse.cost.totals.evaluate import evaluate
from dse.goals import ENERGY, LATENCY, LIMITS
from dse.precision import Plan
from dse.precision.formats.properties import Format, arithmetic, multiplier_bits, plain_integer
from dse.precision.plans.labels import plan_label
from dse.search.archive import Found
from dse.search.bits.limits import ACCURACY
from dse.search.bits.problem import BitProblem, SearchProblem
from dse.search.bits.solve import Failed
from dse.search.outcome.baseline_plans import baseline_plans
from dse.search.outcome.drops import INTERVAL, plan_figures, promise, warnings_of
from dse.search.pareto import knee
from dse.shipped import shipped_folder
from dse.units import count_of, quantity
from dse.version import VERSION
from dse.workload.model import Network


def certificate(front: pd.DataFrame, whole: bool, predicts: bool = True, waits: bool = False) -> dict[str, Any]:
    """How far the bit maps of a front are from the best, in a number and a sentence; a given plan has nothing to prove.

    Parameters
    ----------
    whole
        Every hardware point of the space was solved.
    predicts
        Bit maps were chosen; false where the plan was given.
    waits
        Tensors may wait on the chip, so that what they are was chosen with the bit maps.
    """
    if not len(front) or not front["certificate_gap"].notna().any():
        return {
            "worst_gap": None,
            "text": "No certificate: there is no design.",
        }
    worst = float(front["certificate_gap"].max())
    text = (
        "every bit map is proven optimal"
        if worst <= 1e-12
        else f"every bit map is within {worst:.2%} of a proven bound"
    )
    hardware = (
        "Every hardware point of the space was solved." if whole else "Hardware is sampled and carries no such proof."
    )
    proven = (
        f"For its hardware, error format and weighting of latency and energy, {text}."
        if predicts
        else "The plan is given, so that no bit map is chosen."
    )
    if waits and predicts:
        proven += (
            " The bound is below every bit map with every choice of tensors that wait on the chip (and of slices of the batch); "
            f"each map has its best such choice among {MOST_STATES} sets at a layer."
        )
    if not front["mapping_gap"].notna().any():
        return {"worst_gap": worst, "text": f"{proven} {hardware}"}
    spare = float(front["mapping_gap"].max())
    searched = (
        "; the figures of the front are of mappings searched on from there for each design" if front_searching() else ""
    )
    mappings = (
        f"That is said of costs under the mappings that the search looked up in tables{searched}. No other mappings save more than "
        f"{spare:.0%} of a step's energy-delay product (mapping_gap)."
    )
    return {"worst_gap": worst, "mapping_gap": spare, "text": f"{proven} {hardware} {mappings}"}


def binding(problem: SearchProblem, front: Found, failed: Sequence[Failed]) -> list[dict[str, Any]]:
    """Each limit with its bound, the share of the front that it binds, and the trials that it made infeasible."""
    rows = []
    for i, name in enumerate(problem.limit_names):
        unit = _unit(problem) if name == ACCURACY else LIMITS[name].column
        rows.append(
            {
                "limit": name,
                "bound": problem.limit_pp if name == ACCURACY else problem.bound(name),
                "quantity": unit,
                "share_of_front_bound": float((front.binds >> i & 1).mean()) if len(front) else 0.0,
                "infeasible_trials": sum(item.limit.split(":")[0] == name for item in failed),
            }
        )
    return rows


def notes_of(problem: SearchProblem, front: pd.DataFrame) -> tuple[str, ...]:
    """Sentences that a reader of the result must know."""
    notes = warnings_of(problem)
    if problem.predicts:
        notes.append(promise(problem))
    if not len(front):
        notes.append("No feasible design was found in the trials; see designs.csv for the limits that failed.")
    several = len(problem.subjects) > 1
    for subject in problem.subjects:
        of = f"{subject.network.name}: " if several else ""
        if subject.profile is None:
            label = plan_label(subject.plans[0][0], problem.mode)
            notes.append(
                f"{of}The plan is given ({label}): hardware alone was searched, and nothing is said about accuracy."
            )
            given, training = [row[0] for row in subject.plans], problem.mode == "training"
            notes += [of + text for text in copies_notes(subject.network, given, training)]
            notes += [of + text for text in accumulator_notes(subject.network, problem.hardware, given, problem.mode)]
            continue
        if problem.mode == "training":
            notes.append(
                f"{of}Error tensors: {_errors_in_words(subject)} can keep the limit of "
                f"{count_of(problem.limit_pp, subject.profile.unit)}."
            )
        notes += [of + text for text in _searched(subject, subject.profile)]
        if counted := counting_note(subject.profile):
            notes.append(of + counted)
        if subject.profile.kept:
            kept = ", ".join(f"{name} at {width} bits" for name, width in subject.profile.kept.items())
            notes.append(f"{of}Not in the sensitivity profile and kept at no less than its source: {kept}.")
        integers = [
            multiplier_bits(form)
            for form in {form for item in subject.choices for form in (item.weight, item.activation)}
            if arithmetic(form) == "integer"
        ]
        notes += [of + text for text in (rounded_widths(problem.hardware, integers) if integers else ())]
        # Formats of most bits: the widest sums.
        widest = subject.plans[-1][max(range(len(subject.choices)), key=lambda m: subject.choices[m].widths)]
        notes += [of + text for text in accumulator_notes(subject.network, problem.hardware, [widest], problem.mode)]
    if several:
        what = "the largest" if problem.worst_case else "the sum"
        terms = ", ".join(f"{w:g} x {s.network.name}" for w, s in zip(problem.weights, problem.subjects, strict=True))
        drop = "the drop is the largest of all; " if problem.predicts else ""
        notes.append(f"Latency and energy are {what} of {terms}; {drop}limits hold for each.")
    if problem.schedules is not None:
        how = (
            "the mean over the widths that the schedule runs: an assumption, pessimistic where schedules were measured"
            if problem.schedules.score == "mean"
            else "that of the widest map, which training ends with: an assumption, after CPT"
        )
        notes.append(f"Latency and energy are of the mean step of a schedule; its score is {how}.")
        notes.append("Reconfiguration when a schedule changes widths is not in the figures.")
    return tuple(notes)


def _errors_in_words(subject: BitProblem) -> str:
    """Formats of the error tensors: widths where they are integers."""
    if all(plain_integer(form) for form in subject.errors):
        return ", ".join(str(form.element_bits) for form in subject.errors) + " bits"
    layers = ", each layer for itself" if any(item.error is not None for item in subject.choices) else ""
    return ", ".join(form.name for form in subject.errors) + layers


def _searched(subject: BitProblem, profile: Profile) -> list[str]:
    """What of the formats that were asked for is not searched, and what is known of those that are by a law only."""
    notes = []
    narrow = [
        form.name
        for form in dict.fromkeys(form for item in subject.choices for form in (item.weight, item.activation))
        if not all(profile.reaches(form, operand) for operand in ("weight", "activation"))
    ]
    if narrow:
        least = {operand: profile.least_width(operand) for operand in ("weight", "activation")}
        shown = ", ".join(f"{operand} {bits}" for operand, bits in least.items() if bits)
        notes.append(f"Widths below the narrowest measured one are not searched ({shown} bits): {', '.join(narrow)}.")
    other = dict.fromkeys(
        form
        for item, law in zip(subject.choices, subject.by_law, strict=True)
        for form in (item.weight, item.activation)
        if law and not plain_integer(form)
    )
    unmeasured = [form for form in other if not any(form.name in names for names in profile.measured_formats.values())]
    if unmeasured:
        said = ", ".join(f"{form.name} as {integer_width(form):.1f} bits" for form in unmeasured)
        notes.append(
            f"Not measured in {profile.network}'s profile and scored by a law, as integers of the same noise in a normally "
            f"distributed tensor: {said}. front.csv counts such layers (layers_by_law)."
        )
    if other and profile.kept:
        notes.append("A layer that is kept at a width may have any format of so many bits per element: an assumption.")
    return notes


def baselines(problem: SearchProblem, found: Found, front: pd.DataFrame) -> list[dict[str, Any]]:
    """Uniform plans on the hardware of the knee, the fastest and the lowest-energy design; ``found`` has the rows of ``front``."""
    if not len(front):
        return []
    values = front[[LATENCY.column, ENERGY.column]].to_numpy()
    picks = {
        "knee": knee(values),
        "fastest": int(values[:, 0].argmin()),
        "lowest-energy": int(values[:, 1].argmin()),
    }
    rows = []
    for role, row in picks.items():
        hardware = problem.hardware_of(found.parameters[row])
        design = str(front["design"].iloc[row])
        several = len(problem.subjects) > 1
        listed = [
            baseline_plans(subject.network, subject.profile, _own_errors(problem, subject.errors[int(place)]))
            for subject, place in zip(problem.subjects, found.error[row], strict=True)
        ]
        if not problem.predicts:  # A plan is no baseline of itself.
            same = [
                [plan == s.plans[0][0] for _, plan, _ in its] for s, its in zip(problem.subjects, listed, strict=True)
            ]
            listed = [[item for k, item in enumerate(its) if not all(row[k] for row in same)] for its in listed]
        shown = listed[0][: _uniform(listed)] if several else listed[0]
        if not shown:
            continue
        together = [
            evaluate(
                subject.network,
                hardware,
                [plan for _, plan, _ in its[: len(shown)]],
                mode=problem.mode,
                labels=[str(number) for number in range(len(shown))],
                search_mappings=front_searching(),
            ).total
            for subject, its in zip(problem.subjects, listed, strict=True)
        ]
        for number, (name, _, note) in enumerate(shown):
            plans = [its[number][1] for its in listed]
            costs = [totals.iloc[number] for totals in together]
            limit = next((str(cost["limit"]) for cost in costs if cost["limit"]), "")
            rows.append(
                {
                    "name": name,
                    "role": role,
                    "design": design,
                    **plan_figures(problem, costs, plans),
                    "feasible": all(bool(cost["feasible"]) for cost in costs),
                    "note": "; ".join(
                        text for text in (note, limit or f"same hardware as {design}, the {role} design") if text
                    ),
                }
            )
    return rows


def _own_errors(problem: SearchProblem, form: Format) -> Format | None:
    """Format of a design's error tensors where uniform plans with the same are baselines of their own."""
    return form if problem.mode == "training" and problem.predicts else None


def _uniform(listed: Sequence[Sequence[tuple[str, Plan, str]]]) -> int:
    """How many baselines every network has under one name: published maps are of one network."""
    names = [[name for name, _, _ in its] for its in listed]
    return next((k for k, same in enumerate(zip(*names, strict=False)) if len(set(same)) > 1), min(map(len, names)))


def quantities(problem: SearchProblem, front: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Label, unit and meaning of the front's columns; the drop has the unit of what the profile predicts."""
    found = {str(name): quantity(str(name)) for name in front.columns}
    units = dict.fromkeys(("accuracy_drop_pp", *INTERVAL), _unit(problem))
    return {
        name: {"label": item.label, "unit": units.get(name, item.unit), "meaning": item.meaning}
        for name, item in found.items()
        if item is not None
    }


def about(problem: SearchProblem, command: str) -> dict[str, Any]:
    """Inputs as resolved and versions; ``workload`` and ``profile`` are those of the first network, or of all joined."""
    hardware = problem.hardware
    workloads = [_workload(subject.network) for subject in problem.subjects]
    used = [subject.profile for subject in problem.subjects if subject.profile is not None]
    profiles = [_profile(profile) for profile in used]
    names = [str(item["name"]) for item in workloads]
    steps = " and ".join(f"{_samples(subject.network, problem.mode)} samples" for subject in problem.subjects)
    what = "step" if len(names) == 1 else "one step of each workload," if not problem.worst_case else "slowest step,"
    return {
        "name": " + ".join(names),
        "dse_version": VERSION,
        "model_version": MODEL_VERSION,
        "command": command,
        "per": f"{problem.mode} {what} of {steps}".replace(", of", ","),
        "workload": {**workloads[0], "name": " + ".join(names)},
        "workloads": workloads,
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
        "profile": profiles[0] if profiles else None,
        "profiles": profiles,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pandas", "scipy", "optuna", "numba", "plotly")},
        },
        "left_out": list(LEFT_OUT),
        "assumptions": list(dict.fromkeys(item for profile in used for item in profile.assumptions)),
    }


def _samples(network: Network, mode: str) -> int:
    """Samples of a step."""
    return network.batch * (network.accumulate if mode == "training" else 1)


def _unit(problem: SearchProblem) -> str:
    """Unit of the predicted drop; "" where none is predicted."""
    profile = problem.subjects[0].profile
    return profile.unit if profile is not None else ""


def _workload(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "path": _place(network.path, "workloads"),
        "source": network.source,
        "batch": network.batch,
        "accumulate": network.accumulate,
        "samples": network.samples,
        "epochs": network.epochs,
        "optimizer": network.optimizer,
        "macs": network.macs,
        "parameters": network.parameters,
        "layers": len(network.mac_layers),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.network,
        "source": profile.source,
        "loo_error_pp": profile.loo_error_pp,
        "error_deviation_pp": profile.error_model.floor,
        "error_share": profile.error_model.share,
        "noise_floor_pp": profile.noise,
        "score_range": list(profile.range),
        "unit": profile.unit,
        "assumptions": list(profile.assumptions),
    }


def _place(path: str, kind: str) -> str:
    """A path for the record: of a shipped file only folder and name, which mean the same everywhere."""
    return f"{kind}/{Path(path).name}" if path and Path(path).parent == shipped_folder(kind) else path
