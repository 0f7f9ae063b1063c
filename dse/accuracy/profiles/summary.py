"""A measured or calibrated profile in a few lines: what matters for an accuracy limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dse.accuracy.profiles.loading import profile_from_file
from dse.accuracy.profiles.profile import Profile
from dse.accuracy.profiles.schema import ProfileFile
from dse.yaml_input import Document

if TYPE_CHECKING:
    import pandas as pd

#: Layers that a summary names.
_SHOWN = 3


def profile_summary(file: ProfileFile, path: str) -> list[str]:
    """Sentences on a profile: layers and widths, the most sensitive layers, and how far the predictor can be trusted."""
    profile = profile_from_file(file, Document(path, {}, {(): 1}))
    lines = [f"{profile.network}: {len(profile.layer_names)} layers, {profile.score_name}."]
    for operand in profile.operands:
        widths = profile.measured_widths[operand]
        scores = profile.measured_scores[operand][:, 0]
        worst = np.argsort(-scores)[:_SHOWN]
        named = ", ".join(f"{profile.layer_names[index]} ({scores[index]:.3g})" for index in worst)
        lines.append(f"{operand} at {', '.join(map(str, widths))} bits; most sensitive at {widths[0]}: {named}.")
    return [*lines, _predictor(profile) if profile.link else _no_predictor(file)]


def _no_predictor(file: ProfileFile) -> str:
    said = next((note for note in file.notes if note.startswith("No predictor")), "No whole plan was measured")
    return f"{said.rstrip('.')}: 'dse calibrate' fits the predictor, without which every drop is unknown."


def _predictor(profile: Profile) -> str:
    low, high = float(profile.point_drops.min()), float(profile.point_drops.max())
    noise = "" if np.isnan(profile.noise) else f"; noise floor {profile.noise:.3g}"
    count, kind, unit = len(profile.point_drops), profile.calibration, profile.unit
    return (
        f"Predictor: {profile.link}, from {count} {kind} plans that lost {low:.3g} to {high:.3g} {unit}; "
        f"leave-one-out error {profile.loo_error_pp:.3g} {unit}, inside the range {profile.error_pp:.3g}{noise}. "
        f"Known up to a summed score of {profile.range[1]:.3g}; beyond it a drop is unknown."
    )


def links_table(links: pd.DataFrame, chosen: str, unit: str) -> Any:
    """Every link with its errors, best first, as a table to print; the chosen one is marked."""
    from rich.table import Table

    table = Table(
        "link", "parameters", f"fit error, {unit}", "leave-one-out, mean", "rms", "worst", "inside the range",
        title="Links, by their leave-one-out error",
    )  # fmt: skip
    for name, row in links.iterrows():
        numbers = (row["fit_error"], row["loo_error"], row["loo_rms"], row["loo_worst"], row["loo_error_in_range"])
        parameters = ", ".join(f"{value:.4g}" for value in row["parameters"])
        table.add_row(f"{name}{' *' if name == chosen else ''}", parameters, *(f"{value:.4g}" for value in numbers))
    return table
