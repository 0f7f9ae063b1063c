"""Runs side by side: fronts overlaid, hypervolume ratio, and what differs in their inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as html_escape
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
from rich.markup import escape as rich_escape
from rich.table import Table

from dse.errors import InputError
from dse.files import write_text
from dse.goals import ENERGY, LATENCY, minimized, objective_columns
from dse.report.figures import front_figure
from dse.report.page.page import fill_page, html_table, json_for_html
from dse.report.quantities import format_share, quantity
from dse.report.run.data import RunData, read_run, read_table
from dse.report.run.differences import differences, different_networks
from dse.units import format_value

#: The common reference lies this far beyond the worst value of any front, so that the outermost designs count too.
_BEYOND = 1.05


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare_runs`.

    Attributes
    ----------
    names
        Of the runs, (R,).
    objectives
        Columns that all runs optimized, and the hypervolume is over.
    reference
        Common reference point in those columns.
    hypervolume, ratio
        (R,) of each front, and divided by that of the first run; NaN where the first is zero.
    better
        (R,) share of the draws of all prices in which a front covers more than that of the first run (equal ones count half);
        None where a run was not drawn, or not with the same seed.
    designs
        (R,) designs of each front.
    gains
        Best of each objective in each front: ``best``, then one column per run with the value, its ratio to the first run's, and
        the share of the draws of all prices in which it is better, where both were drawn with one seed.
    differences
        Inputs that differ: ``input``, then one column per run.
    remarks
        What a reader has to know first: that the runs are of different networks, or priced by different models.
    page
        The page with the fronts overlaid.
    """

    names: tuple[str, ...]
    objectives: tuple[str, ...]
    reference: tuple[float, ...]
    hypervolume: tuple[float, ...]
    ratio: tuple[float, ...]
    better: tuple[float | None, ...]
    designs: tuple[int, ...]
    gains: pd.DataFrame
    differences: pd.DataFrame
    remarks: tuple[str, ...]
    page: Path

    @property
    def titles(self) -> tuple[str, ...]:
        """Columns of the table of fronts."""
        plain = ("run", "front", "hypervolume", "ratio to the first")
        return (*plain, "better in draws") if any(share is not None for share in self.better) else plain

    @property
    def cells(self) -> list[list[str]]:
        """Rows of the table of fronts."""
        rows = [
            [name, str(count), format_value(volume, digits=5), format_value(ratio, digits=5)]
            for name, count, volume, ratio in zip(self.names, self.designs, self.hypervolume, self.ratio, strict=True)
        ]
        if len(self.titles) > len(rows[0]):
            shares = ["" if share is None or not place else f"{share:.0%}" for place, share in enumerate(self.better)]
            rows = [[*row, share] for row, share in zip(rows, shares, strict=True)]
        return rows

    @property
    def tables(self) -> tuple[Table, ...]:
        """For the terminal: hypervolumes, the best of each objective, then what differs."""
        first = Table(title=f"Fronts over {', '.join(self.objectives)}")
        titles = self.titles
        for title in titles:
            first.add_column(title, justify="left" if title == "run" else "right")
        for row in self.cells:
            first.add_row(rich_escape(row[0]), *row[1:])
        others = (("Best of each front", self.gains), ("What differs in the inputs", self.differences))
        return (first, *(_table(title, content) for title, content in others if len(content)))


def _table(title: str, content: pd.DataFrame) -> Table:
    table = Table(title=title)
    for column in content.columns:
        table.add_column(rich_escape(str(column)), overflow="fold")
    for cells in content.itertuples(index=False):
        table.add_row(*(rich_escape(str(cell)) for cell in cells))
    return table


def compare_runs(folders: Sequence[Path], page: Path | None = None) -> Comparison:
    """Compare two or more runs.

    Parameters
    ----------
    folders
        Run folders; ratios are to the first.
    page
        Where the page goes; by default ``compare.html`` beside the first run folder.

    Raises
    ------
    InputError
        Fewer than two folders, one is no run folder, or the runs share no objective.
    """
    if len(folders) < 2:
        raise InputError("compare", [f"needs at least two run folders, got {len(folders)}"])
    runs = [read_run(Path(folder)) for folder in folders]
    objectives = tuple(
        name
        for name in objective_columns()
        if all(name in (run.info.get("objectives") or (LATENCY.column, ENERGY.column)) for run in runs)
    )
    objectives = tuple(name for name in objectives if all(name in run.front for run in runs))
    if not objectives:
        raise InputError("compare", ["the runs have no objective in common, so their fronts cannot be compared"])
    volumes, reference = hypervolumes([run.front for run in runs], objectives)
    names = _names(runs)
    path = page or runs[0].folder.resolve().parent / "compare.html"
    ratio = volumes / volumes[0] if volumes[0] > 0 else np.full(len(runs), np.nan)
    result = Comparison(
        names,
        objectives,
        tuple(float(value) for value in reference),
        tuple(float(value) for value in volumes),
        tuple(float(value) for value in ratio),
        better_in_draws(runs, objectives),
        tuple(len(run.front) for run in runs),
        gains(runs, names, objectives),
        differences([run.info for run in runs], names),
        _remarks(runs),
        path,
    )
    write_text(path, _page(result, runs))
    return result


def hypervolumes(
    fronts: Sequence[pd.DataFrame], objectives: Sequence[str]
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Hypervolume of each front under one reference point, and that point.

    The reference is 1.05 times the worst value of any front in each objective (so it moves with the runs compared), of its
    reciprocal where larger is better; rows with an unknown value are left out.
    The ratio of two hypervolumes does not depend on the units of the objectives.

    Returns
    -------
    volumes : ndarray, (R,)
    reference : ndarray, (objectives,)
    """
    points = [minimized(front[list(objectives)].dropna().to_numpy(dtype=np.float64), objectives) for front in fronts]
    full = [array for array in points if len(array)]
    if not full:
        return np.zeros(len(points)), np.full(len(objectives), np.nan)
    worst = np.concatenate(full).max(axis=0)
    reference = worst + (_BEYOND - 1.0) * np.where(worst != 0.0, np.abs(worst), 1.0)
    volumes = [float(moocore.hypervolume(array, ref=reference)) if len(array) else 0.0 for array in points]
    return np.array(volumes), reference


def better_in_draws(runs: Sequence[RunData], objectives: Sequence[str]) -> tuple[float | None, ...]:
    """Share of the draws in which each front's hypervolume is above the first's; None for runs that share no draws with it."""
    tables = [_drawn(run, objectives) for run in runs]
    first, told = tables[0], runs[0].info.get("uncertainty")
    result: list[float | None] = []
    for run, table in zip(runs, tables, strict=True):
        same = run.info.get("uncertainty") == told
        if first is None or table is None or not same:
            result.append(None)
            continue
        wins = []
        for draw in sorted(first):
            (own, other), _ = hypervolumes([table[draw], first[draw]], objectives)
            wins.append(0.5 if np.isclose(own, other, rtol=1e-12) else float(own > other))
        result.append(float(np.mean(wins)))
    return tuple(result)


def gains(runs: Sequence[RunData], names: Sequence[str], objectives: Sequence[str]) -> pd.DataFrame:
    """Best of each objective in each front, and the knees; see :attr:`Comparison.gains`."""
    drawn = [_drawn(run, objectives) for run in runs]
    same = [run.info.get("uncertainty") == runs[0].info.get("uncertainty") for run in runs]
    rows = []
    for name in objectives:
        values = [minimized(run.front[[name]].to_numpy(np.float64), [name]).min(initial=np.inf) for run in runs]
        shown = quantity(name, runs[0].info)
        cells = [shown.label]
        for place, run in enumerate(runs):
            own = run.front[name].to_numpy(np.float64)
            best = own[np.argmin(minimized(own[:, None], [name]))] if len(own) else np.nan
            text = format_value(best, shown.unit)
            first = runs[0].front[name].to_numpy(np.float64)
            if place and len(own) and len(first):
                base = first[np.argmin(minimized(first[:, None], [name]))]
                text += f", {format_share(best, base)}"
                share = _better(name, drawn[place], drawn[0]) if same[place] else None
                text += "" if share is None else f", better in {share:.0%} of the draws"
            cells.append(text)
        rows.append(cells if np.isfinite(values).any() else [shown.label, *["none"] * len(runs)])
    return pd.DataFrame(rows, columns=["best", *names])


def _better(name: str, own: dict[int, pd.DataFrame] | None, first: dict[int, pd.DataFrame] | None) -> float | None:
    """Share of the draws in which the best of one front is better than that of the first; None where they were not drawn."""
    if own is None or first is None:
        return None
    least = [
        [minimized(table[draw][[name]].to_numpy(np.float64), [name]).min() for draw in sorted(first)]
        for table in (own, first)
    ]
    ours, theirs = np.array(least)
    return float(np.mean(np.where(np.isclose(ours, theirs, rtol=1e-12), 0.5, ours < theirs)))


def _remarks(runs: Sequence[RunData]) -> tuple[str, ...]:
    remarks = []
    if networks := different_networks([run.info for run in runs]):
        remarks.append(
            f"The runs are of different networks ({'; '.join(networks)}): their fronts answer different questions, and a "
            "ratio between them is no gain."
        )
    models = {str(run.info.get("model_version")) for run in runs}
    if len(models) > 1:
        remarks.append(
            f"The runs were priced by different versions of the model ({', '.join(sorted(models))}); CHANGELOG.md says what moved."
        )
    return tuple(remarks)


def _drawn(run: RunData, objectives: Sequence[str]) -> dict[int, pd.DataFrame] | None:
    """Fronts by draw of a run; what is not drawn, such as accuracy, is that of its front."""
    drawn = read_table(run.folder / "draws.csv", ("design", "draw"))
    fixed = [name for name in objectives if name not in drawn]
    known = run.front.assign(design=run.front["design"].astype(str))[["design", *fixed]]
    merged = drawn.merge(known, on="design")
    places = merged["draw"].to_numpy(np.int64)
    return {int(draw): merged[places == draw] for draw in np.unique(places)} or None


def _names(runs: Sequence[RunData]) -> tuple[str, ...]:
    plain = [run.name for run in runs]
    return tuple(name if plain.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(plain, start=1))


def _page(result: Comparison, runs: Sequence[RunData]) -> str:
    rows, heads = result.cells, list(result.titles)
    heads[1] = "designs of the front"
    cells = [[str(cell) for cell in row] for row in result.differences.itertuples(index=False)]
    titles = [str(column) for column in result.differences.columns]
    figures = []
    for x, y in _pairs(result.objectives):
        figure = front_figure(list(runs), x, y)
        for trace, name in zip(figure.data, result.names, strict=True):
            trace.name = name
        figures.append(
            {"x": x, "y": y, "figure": json.loads(figure.update_layout(template="none", width=None).to_json())}
        )
    points = ", ".join(
        f"{quantity(name, runs[0].info).label.lower()} {format_value(value, quantity(name, runs[0].info).unit, 4)}"
        for name, value in zip(result.objectives, result.reference, strict=True)
    )
    return fill_page(
        "compare.html",
        volumes=html_table(heads, rows, "Fronts", tuple(range(1, len(heads)))),
        reference=f"Common reference point: {points}.",
        remarks="".join(f"<p>{html_escape(remark)}</p>" for remark in result.remarks),
        gains=html_table(
            [str(column) for column in result.gains.columns],
            result.gains.astype(str).to_numpy().tolist(),
            "Best of each front",
        ),
        changes=html_table(titles, cells, "What differs in the inputs") if cells else "<p>The inputs are equal.</p>",
        data=json_for_html({"figures": figures, "designs": []}),
    )


def _pairs(objectives: Sequence[str]) -> list[tuple[str, str]]:
    if len(objectives) == 1:
        return [(objectives[0], "energy_j" if objectives[0] != "energy_j" else "latency_s")]
    return [(first, second) for index, first in enumerate(objectives) for second in objectives[index + 1 :]]
