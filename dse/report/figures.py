"""Figures for papers: the front, and of its knee the bit map, the energy and the time of the layers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from dse.errors import InputError
from dse.report.quantities import quantity
from dse.report.run_data import RunData, listed, read_run
from dse.report.tables import energy_components

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
    if fmt not in FORMATS:
        raise InputError("--figures", [f"'{fmt}' is no format of figures; known: {', '.join(FORMATS)}"])
    run = read_run(folder)
    if not len(run.front):
        raise InputError(str(folder), ["the front is empty, so there is nothing to draw"])
    if find_spec("kaleido") is None:
        raise InputError(
            "--figures",
            [_NO_BROWSER.format(format=fmt, missing="the package is not installed (pip install 'dse[figures]')")],
        )
    place = run.folder / "figures"
    paths = []
    try:
        place.mkdir(exist_ok=True)
        for name, figure in run_figures(run).items():
            path = place / f"{name}.{fmt}"
            half = path.with_name(f".{name}.{fmt}")
            half.write_bytes(figure.to_image(format=fmt, scale=3 if fmt == "png" else 1))
            half.replace(path)
            paths.append(path)
    except OSError as error:
        raise InputError(str(place), [f"cannot be written: {error.strerror}"]) from None
    except Exception as error:
        # kaleido and plotly name a missing browser by classes of their own that changed between their releases.
        if "chrome" in f"{type(error).__name__} {error}".lower() or "browser" in str(error).lower():
            raise InputError("--figures", [_NO_BROWSER.format(format=fmt, missing="no browser was found")]) from None
        raise
    return tuple(paths)


def run_figures(run: RunData) -> dict[str, go.Figure]:
    """Figures by name; what the run folder has no table for is absent."""
    figures = {"front": front_figure([run])}
    knee = run.knee()
    bits, layers = run.bits[run.bits["design"] == knee], run.layers[run.layers["design"] == knee]
    if len(bits):
        figures["bit_map"] = bit_map_figure(bits)
    parts = energy_components(layers)
    if len(layers) and parts:
        summed = layers.groupby("layer", sort=False)[parts].sum()
        # Parts below 1 % are one: more colours than the palette has could not be told apart.
        small = [name for name in parts if summed[name].sum() < 0.01 * summed.to_numpy().sum()]
        if len(small) > 1:
            summed = summed.assign(other_j=summed[small].sum(axis=1)).drop(columns=small)
        figures["energy"] = _bars(
            summed.rename(columns=lambda name: str(name).removesuffix("_j")), f"Energy per {run.per} (J)"
        )
    if len(layers) and "bound" in layers:
        wide = layers.pivot_table(index="layer", columns="bound", values="latency_s", aggfunc="sum", sort=False).fillna(
            0.0
        )
        figures["time"] = _bars(wide, f"Time per {run.per} (s)")
    return figures


def front_figure(runs: list[RunData], x: str = "latency_s", y: str = "energy_j") -> go.Figure:
    """Fronts of one or more runs, with the baselines and the knee of a single one."""
    figure = go.Figure()
    for index, run in enumerate(runs):
        label = "front" if len(runs) == 1 else run.name
        table = run.front.sort_values(x)
        figure.add_scatter(
            x=table[x],
            y=table[y],
            mode="markers",
            name=label,
            text=table["design"],
            marker={"color": PALETTE[index % 8], "symbol": SYMBOLS[index % 8], "size": 7},
        )
    if len(runs) == 1:
        _add_marks(figure, runs[0], x, y)
    axes: list[tuple[Callable[..., go.Figure], str]] = [(figure.update_xaxes, x), (figure.update_yaxes, y)]
    for update, name in axes:
        what = quantity(name, runs[0].info)
        per = f" per {runs[0].per}" if name in ("latency_s", "energy_j") else ""
        title = f"{what.label}{per} ({what.unit})" if what.unit else what.label
        update(title=title, tickformat="~s", showgrid=True, gridcolor="#dddddd", linecolor="#333333", ticks="outside")
    return figure.update_layout(
        template="none",
        width=640,
        height=440,
        margin={"l": 80, "r": 20, "t": 40, "b": 65},
        legend={"orientation": "h", "y": 1.12},
    )


def _add_marks(figure: go.Figure, run: RunData, x: str, y: str) -> None:
    points: dict[str, list[tuple[float, float]]] = {}
    for baseline in listed(run.info, "baselines"):
        if baseline.get(x) is not None and baseline.get(y) is not None:
            points.setdefault(str(baseline.get("name")), []).append((baseline[x], baseline[y]))
    for index, (name, places) in enumerate(points.items(), start=1):
        marker = {
            "color": PALETTE[index % 8],
            "symbol": SYMBOLS[index % 8],
            "size": 9,
            "line": {"width": 1, "color": "#000000"},
        }
        figure.add_scatter(x=[p[0] for p in places], y=[p[1] for p in places], mode="markers", name=name, marker=marker)
    knee = run.front[run.front["design"] == run.knee()]
    marker = {"symbol": "star-open", "size": 16, "color": "#000000", "line": {"width": 1.5}}
    figure.add_scatter(x=knee[x], y=knee[y], mode="markers", name="knee", marker=marker)


def bit_map_figure(bits: pd.DataFrame) -> go.Figure:
    """Heat map of one design's bit map: layers x operands."""
    layers, operands = list(dict.fromkeys(bits["layer"])), list(dict.fromkeys(bits["operand"]))
    wide = bits.pivot(index="layer", columns="operand", values="bits").reindex(layers)[operands]
    words = bits.pivot(index="layer", columns="operand", values="format").reindex(layers)[operands]
    figure = go.Figure(
        go.Heatmap(
            x=operands,
            y=layers,
            z=wide.to_numpy(dtype=float),
            text=words.to_numpy(),
            texttemplate="%{text}",
            colorscale="Cividis",
            zmin=0,
            zmax=max(8.0, float(wide.max().max())),
            xgap=2,
            ygap=1,
            colorbar={"title": {"text": "bits"}},
        )
    )
    figure.update_xaxes(title="operand").update_yaxes(title="layer", autorange="reversed", dtick=1, automargin=True)
    return figure.update_layout(
        template="none", width=520, height=110 + 18 * len(layers), margin={"t": 20, "r": 20, "b": 60}
    )


def _bars(table: pd.DataFrame, title: str) -> go.Figure:
    figure = go.Figure()
    for index, name in enumerate(table.columns):
        if (table[name] > 0).any():
            figure.add_bar(
                x=table[name], y=table.index, orientation="h", name=str(name), marker_color=PALETTE[index % 8]
            )
    figure.update_xaxes(title=title, tickformat="~s", gridcolor="#dddddd")
    figure.update_yaxes(title="layer", autorange="reversed", dtick=1, automargin=True)
    return figure.update_layout(
        template="none",
        barmode="stack",
        width=640,
        height=130 + 14 * len(table),
        margin={"t": 40, "r": 20, "b": 60},
        legend={"orientation": "h", "y": 1.04, "yanchor": "bottom"},
    )
