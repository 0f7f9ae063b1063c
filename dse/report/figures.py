"""Figures for papers: the front, and of its knee the bit map, the energy and the time of the layers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.io import write_images
from plotly.subplots import make_subplots

from dse.errors import InputError
from dse.files import reason, write_all
from dse.report.quantities import Quantity, axis_scale, quantity
from dse.report.run.data import RunData, listed, read_run
from dse.report.tables.runs import keeps_limit, layers_with_macs
from dse.units import energy_parts

#: Colours of Okabe and Ito (2008), Color Universal Design: told apart with every common colour blindness.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "star", "x")
FORMATS = ("pdf", "svg", "png")
_NO_BROWSER = (
    "'{format}' figures need the kaleido package and a Chrome or Chromium browser, and {missing}; "
    "install it, or save a figure from report.html with the camera button"
)


def write_figures(folder: Path, fmt: str) -> tuple[Path, ...]:
    """Write the figures of a run into ``figures/`` of its folder.

    Parameters
    ----------
    folder
        A run folder.
    fmt
        pdf, svg or png.

    Raises
    ------
    InputError
        Unknown format, no run folder, kaleido or a browser is missing, or a file cannot be written.
    """
    return write_all(figure_files(folder, fmt))


def figure_files(folder: Path, fmt: str) -> dict[Path, bytes]:
    """What :func:`write_figures` writes, by its place."""
    if fmt not in FORMATS:
        raise InputError("--figures", [f"'{fmt}' is no format of figures; known: {', '.join(FORMATS)}"])
    run = read_run(folder)
    if not len(run.front):
        raise InputError(str(folder), ["the front is empty, so there is nothing to draw"])
    if find_spec("kaleido") is None:
        raise InputError(
            "--figures",
            [
                _NO_BROWSER.format(
                    format=fmt, missing="the package is not installed (pip install 'lowprec-dse[figures]')"
                )
            ],
        )
    figures = run_figures(run)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{figure}.{fmt}" for figure in figures]
        try:
            # plotly's functions for many figures forget the sizes in their layouts.
            sizes = {each: [figure.layout[each] for figure in figures.values()] for each in ("width", "height")}
            write_images(list(figures.values()), [str(path) for path in paths], fmt, 3 if fmt == "png" else 1, **sizes)
            return {run.folder / "figures" / path.name: path.read_bytes() for path in paths}
        except OSError as error:
            raise InputError("--figures", [f"cannot be drawn: {reason(error)}"]) from None
        except Exception as error:
            # kaleido and plotly name a missing browser by classes of their own that changed between their releases.
            if "chrome" in f"{type(error).__name__} {error}".lower() or "browser" in str(error).lower():
                message = _NO_BROWSER.format(format=fmt, missing="no browser was found")
                raise InputError("--figures", [message]) from None
            raise


def run_figures(run: RunData) -> dict[str, go.Figure]:
    """Figures by name; what the run folder has no table for is absent."""
    figures = {"front": front_figure([run])}
    knee = run.knee()
    bits, layers = run.bits[run.bits["design"] == knee], layers_with_macs(run.layers[run.layers["design"] == knee])
    if len(bits):
        figures["bit_map"] = bit_map_figure(bits)
    labels = {part.column: part.label for part in energy_parts(layers.columns)}
    parts = list(labels)
    if len(layers) and parts:
        summed = layers.groupby("layer", sort=False)[parts].sum()
        # Parts below 1 % are one: more colours than the palette has could not be told apart.
        small = [name for name in parts if summed[name].sum() < 0.01 * summed.to_numpy().sum()]
        if len(small) > 1:
            summed = summed.assign(other=summed[small].sum(axis=1)).drop(columns=small)
        summed = summed.rename(columns=labels)
        figures["energy"] = _bars(summed, f"Energy per {run.per}", "J")
    if len(layers) and "bound" in layers:
        wide = layers.pivot_table(index="layer", columns="bound", values="latency_s", aggfunc="sum", sort=False)
        wide = wide.fillna(0.0).rename(columns=lambda name: str(name).replace("_", " "))
        figures["time"] = _bars(wide, f"Time per {run.per}", "s", "bound by")
    return figures


def front_figure(runs: list[RunData], x: str = "latency_s", y: str = "energy_j") -> go.Figure:
    """Fronts of one or more runs; of a single one with its baselines, its knee, and a third objective as colour."""
    figure = go.Figure()
    tables = [run.front.sort_values(x) for run in runs]
    scales = {name: _scale([table[name] for table in tables], runs[0].info, name) for name in (x, y)}
    third = _third(runs[0], x, y) if len(runs) == 1 else None
    for index, (run, table) in enumerate(zip(runs, tables, strict=True)):
        marker: dict[str, Any] = {"color": PALETTE[index % 8], "symbol": SYMBOLS[index % 8], "size": 8}
        if third is not None:
            bar = {
                "title": {"text": third.title.replace(" (", "<br>(")},
                "len": 0.5,
                "y": 1.0,
                "yanchor": "top",
                "thickness": 14,
            }
            marker |= {"color": table[third.name], "colorscale": "Cividis", "colorbar": bar}
            marker["line"] = {"width": 0.5, "color": "#333333"}
        figure.add_scatter(
            x=table[x] / scales[x][0],
            y=table[y] / scales[y][0],
            mode="markers",
            name="front" if len(runs) == 1 else run.name,
            text=table["design"],
            marker=marker,
        )
    if len(runs) == 1:
        _add_marks(figure, runs[0], x, y, scales)
    axes: list[tuple[Callable[..., go.Figure], str]] = [(figure.update_xaxes, x), (figure.update_yaxes, y)]
    for update, name in axes:
        per = f" per {runs[0].per}" if name in ("latency_s", "energy_j") else ""
        unit = scales[name][1]
        title = f"{quantity(name, runs[0].info).label}{per}" + f" ({unit})" * bool(unit)
        update(
            title={"text": title, "standoff": 12},
            showgrid=True,
            gridcolor="#dddddd",
            linecolor="#333333",
            ticks="outside",
            automargin=True,
        )
    legend = {"x": 1.02, "y": 0.0 if third is not None else 1.0, "yanchor": "bottom" if third is not None else "top"}
    margin = {"l": 80, "r": 20, "t": 20, "b": 65}
    return figure.update_layout(template="none", width=800, height=460, margin=margin, legend=legend)


def _scale(columns: list[pd.Series], info: Mapping[str, Any], name: str) -> tuple[float, str]:
    """By what the numbers of an axis are divided, and the unit with the prefix that says so."""
    largest = max((float(column.abs().max()) for column in columns if len(column)), default=1.0)
    return axis_scale(largest, quantity(name, info).unit)


def _third(run: RunData, x: str, y: str) -> Quantity | None:
    """The first objective that neither axis shows, where it differs between designs."""
    for name in run.info.get("objectives") or []:
        if name not in (x, y) and name in run.front and run.front[name].nunique() > 1:
            return quantity(str(name), run.info)
    return None


def _add_marks(figure: go.Figure, run: RunData, x: str, y: str, scales: Mapping[str, tuple[float, str]]) -> None:
    """Baselines, those beyond the accuracy limit hollow, and the knee."""
    limit = run.info.get("max_accuracy_drop_pp")
    points: dict[str, set[tuple[float, float]]] = {}
    for baseline in listed(run.info, "baselines"):
        if baseline.get(x) is not None and baseline.get(y) is not None:
            name = str(baseline.get("name")) + ("" if keeps_limit(baseline, limit) else ", beyond limit")
            points.setdefault(name, set()).add((baseline[x] / scales[x][0], baseline[y] / scales[y][0]))
    for index, (name, places) in enumerate(points.items(), start=1):
        hollow = "-open" if name.endswith("beyond limit") else ""
        line = {"width": 2} if hollow else {"width": 1, "color": "#000000"}
        symbol = SYMBOLS[index % 8] + hollow
        marker: dict[str, Any] = {"color": PALETTE[index % 8], "symbol": symbol, "size": 10, "line": line}
        figure.add_scatter(
            x=[p[0] for p in sorted(places)], y=[p[1] for p in sorted(places)], mode="markers", name=name, marker=marker
        )
    knee = run.front[run.front["design"] == run.knee()]
    marker = {"symbol": "star-open", "size": 16, "color": "#000000", "line": {"width": 1.5}}
    figure.add_scatter(x=knee[x] / scales[x][0], y=knee[y] / scales[y][0], mode="markers", name="knee", marker=marker)


def bit_map_figure(bits: pd.DataFrame) -> go.Figure:
    """Heat map of one design's bit map: layers x operands, a panel for every phase of a schedule."""
    layers, operands = list(dict.fromkeys(bits["layer"])), list(dict.fromkeys(bits["operand"]))
    phases = list(dict.fromkeys(bits["phase"].fillna(""))) if "phase" in bits else [""]
    figure = make_subplots(
        cols=len(phases), shared_yaxes=True, horizontal_spacing=0.012, subplot_titles=[_panel(text) for text in phases]
    )
    for column, phase in enumerate(phases, start=1):
        here = bits if len(phases) == 1 else bits[bits["phase"].fillna("") == phase]
        wide, words = (
            here.pivot(index="layer", columns="operand", values=name).reindex(layers)[operands]
            for name in ("bits", "format")
        )
        shown = {"x": operands, "y": layers, "z": wide.to_numpy(dtype=float), "text": words.to_numpy()}
        figure.add_heatmap(**shown, texttemplate="%{text}", coloraxis="coloraxis", xgap=2, ygap=1, row=1, col=column)
    figure.update_yaxes(autorange="reversed", dtick=1, automargin=True)
    figure.update_annotations(font_size=11)
    widest = max(8.0, float(bits["bits"].max()))
    return figure.update_layout(
        template="none",
        coloraxis={"colorscale": "Cividis", "cmin": 0, "cmax": widest, "colorbar": {"title": {"text": "bits"}}},
        width=340 + 180 * len(phases),
        height=(110 if phases == [""] else 140) + 18 * len(layers),
        margin={"t": 20 if phases == [""] else 50, "r": 20, "b": 60},
    )


def _panel(phase: str) -> str:
    """Title of a panel, broken where it would run into the next one."""
    return phase.replace(": ", ":<br>")


def _bars(table: pd.DataFrame, title: str, unit: str, legend: str = "") -> go.Figure:
    """Stacked bars, one per layer, from the top in the order of the layers."""
    scale, prefixed = axis_scale(float(table.sum(axis=1).max()), unit)
    figure = go.Figure()
    for index, name in enumerate(table.columns):
        if (table[name] > 0).any():
            bar = {"x": table[name] / scale, "y": table.index, "name": str(name), "marker_color": PALETTE[index % 8]}
            figure.add_bar(orientation="h", **bar)
    figure.update_xaxes(title=f"{title} ({prefixed})", gridcolor="#dddddd")
    figure.update_yaxes(autorange="reversed", dtick=1, automargin=True)
    return figure.update_layout(
        template="none",
        barmode="stack",
        width=760,
        height=110 + 16 * len(table),
        margin={"t": 20, "r": 20, "b": 60},
        legend={"x": 1.02, "y": 1.0, "traceorder": "normal", "title": {"text": legend}},
        showlegend=True,
    )
