"""A network as a table and as a picture, from its statistics per layer."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dse.report.quantities import quantity
from dse.report.tables.terminal import longest_rows
from dse.units import format_value

#: Bars that the terminal shows per layer.
BAR = "█"
BAR_WIDTH = 8
#: Quantities of the picture: column, label; parts of a whole as bars from zero, a ratio as dots on a logarithmic axis.
_PICTURE = (
    ("macs", "forward MACs"),
    ("parameters", "parameters"),
    ("stash_elements", "stash, elements"),
    ("intensity", "MACs per element"),
)
#: A colour per kind of layer, the same in all panels (Okabe and Ito, safe for the colour-blind; more kinds repeat them).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
#: Names below the picture: how many at most, and how many of their last characters.
_NAMES, _NAME_END = 90, 26


def network_tables(name: str, layers: pd.DataFrame, every: bool = False) -> list[Any]:
    """Totals and layers as tables for a terminal.

    Parameters
    ----------
    layers
        One row per layer, see :func:`dse.workload.work.statistics.network_statistics`.
    every
        Also layers without MACs.
    """
    from rich.markup import escape
    from rich.table import Column, Table

    with_macs = layers["macs"] > 0
    totals = Table("quantity", "value", title=f"{name}")
    forward, training = layers["macs"].sum(), layers["training_macs"].sum()
    for label, value in (
        ("layers with MACs", f"{int(with_macs.sum())}"),
        ("layers without", f"{int((~with_macs).sum())}"),
        ("forward MACs of the batch", format_value(forward, "MAC", 4)),
        ("training MACs", f"{format_value(training, 'MAC', 4)} ({training / forward:.3f} x forward)"),
        ("parameters", _si(layers["parameters"].sum())),
        ("trained parameters", _si(layers["trained_parameters"].sum())),
        ("stash, elements", _si(layers["stash_elements"].sum())),
        ("MACs per element, whole network", f"{layers['macs'].sum() / _moved(layers):.1f}"),
    ):
        totals.add_row(label, value)
    shown, left_out = longest_rows(layers if every else layers[with_macs], "macs")
    most = float(layers["macs"].max()) or 1.0
    table = Table(
        Column("layer", overflow="fold"),
        "kind",
        "shape",
        "MACs",
        "share",
        "parameters",
        "stash",
        "MACs per element",
        title=f"Layers{left_out}",
    )
    for row in shown.to_dict("records"):
        share = row["macs"] / layers["macs"].sum()
        bar = BAR * round(BAR_WIDTH * row["macs"] / most) if row["macs"] else ""
        table.add_row(
            escape(str(row["layer"])),
            str(row["kind"]),
            str(row["shape"]),
            format_value(row["macs"], "MAC", 4),
            f"{share:6.2%} {bar}",
            _si(row["parameters"]),
            _si(row["stash_elements"]),
            f"{row['intensity']:.1f}" if row["macs"] else "",
        )
    return [totals, table]


def frame_table(title: str, frame: pd.DataFrame) -> Any:
    """Any small table for a terminal: labels and units of :mod:`dse.units`, numbers with four digits."""
    from rich.table import Table

    what = [quantity(str(column), {}) for column in frame.columns]
    table = Table(title=title)
    for item, column in zip(what, frame.columns, strict=True):
        table.add_column(item.label, justify="right" if frame[column].dtype.kind in "if" else "left")
    for row in frame.itertuples(index=False):
        cells = zip(row, what, strict=True)
        table.add_row(
            *[format_value(cell, item.unit, 4) if isinstance(cell, float) else str(cell) for cell, item in cells]
        )
    return table


def network_picture(name: str, layers: pd.DataFrame) -> str:
    """A page with one bar per layer and quantity, without any request to a server."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    shown = layers[layers[[column for column, _ in _PICTURE]].gt(0).any(axis=1)].reset_index(drop=True)
    colours = {kind: _COLOURS[i % len(_COLOURS)] for i, kind in enumerate(shown["kind"].unique())}
    told: set[str] = set()
    figure = make_subplots(rows=len(_PICTURE), cols=1, shared_xaxes=True, vertical_spacing=0.03)
    for number, (column, label) in enumerate(_PICTURE, start=1):
        ratio = column == "intensity"
        for kind, rows in shown[shown[column] > 0].groupby("kind", sort=False):
            style = {"name": str(kind), "legendgroup": str(kind), "showlegend": kind not in told}
            told.add(str(kind))
            data = {
                "x": rows.index,
                "y": rows[column].astype(float),
                "text": rows["layer"],
                "marker_color": colours[kind],
            }
            hover = "%{text}<br>%{y:.4s} " + label
            figure.add_trace(
                go.Scatter(**data, **style, mode="markers", hovertemplate=hover)
                if ratio
                else go.Bar(**data, **style, width=0.85, textposition="none", hovertemplate=hover),
                row=number,
                col=1,
            )
        axis = {"type": "log", "dtick": "D2"} if ratio else {"rangemode": "tozero", "exponentformat": "SI"}
        figure.update_yaxes(title_text=label, row=number, col=1, **axis)
    named = list(range(0, len(shown), -(-len(shown) // _NAMES)))
    ends = [name if len(name) <= _NAME_END else f"…{name[1 - _NAME_END :]}" for name in shown["layer"].iloc[named]]
    figure.update_xaxes(tickvals=named, ticktext=ends, tickangle=-90, tickfont_size=9)
    figure.update_layout(
        title=name,
        barmode="overlay",
        height=240 * len(_PICTURE) + 160,
        template="plotly_white",
        margin_b=150,
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _moved(layers: pd.DataFrame) -> float:
    macs = layers[layers["macs"] > 0]
    return float((macs["macs"] / macs["intensity"]).sum()) or 1.0


def _si(value: float) -> str:
    """A count with a thousands prefix."""
    for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.4g}{prefix}"
    return f"{value:.4g}"
