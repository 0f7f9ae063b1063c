"""What a study of a published system yields: rows of claim against ours, figures, and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class Claim:
    """One quantity of a published system: what is claimed, what this program computes.

    Attributes
    ----------
    system, quantity, subject, unit
        What of which network, device or plan (empty where there is but one); ``x`` as a unit is a ratio.
    ours
        None: the row only states a published figure, such as a measured accuracy.
    published
        The claim, or the lower end of a claimed range; None where nothing is claimed.
    published_to
        Upper end of a claimed range.
    low, high
        Interval of ours, where an input is known only within one.
    assumed
        What ours rests on beside the shipped files.
    key
        By what a study finds the row again (:func:`rows_of`): names in an order of its own; empty where it need not.
    """

    system: str
    quantity: str
    unit: str
    ours: float | None = None
    published: float | None = None
    published_to: float | None = None
    low: float | None = None
    high: float | None = None
    assumed: str = ""
    subject: str = ""
    key: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Quantity and subject, as files and tables have them."""
        return f"{self.quantity}, {self.subject}" if self.subject else self.quantity

    @property
    def signed_error(self) -> float | None:
        """Relative error against the claim, against the nearer end of a claimed range, 0 inside it; None without a claim."""
        if self.ours is None or self.published is None:
            return None
        ends = (self.published, self.published if self.published_to is None else self.published_to)
        if min(ends) <= self.ours <= max(ends):
            return 0.0
        nearer = min(ends, key=lambda end: abs(self.ours - end))  # type: ignore[operator]
        return self.ours / nearer - 1.0


def rows_of(rows: Iterable[Claim], *key: str | None) -> list[Claim]:
    """The rows of a key; None stands for every name."""
    return [
        row
        for row in rows
        if len(row.key) == len(key)
        and all(wanted is None or wanted == name for wanted, name in zip(key, row.key, strict=True))
    ]


@dataclass(frozen=True)
class Study:
    """Result of one study.

    Attributes
    ----------
    name
        What ``dse reproduce`` calls it.
    title, source
        The system and where its claims were read.
    findings
        Sentences.
    rows
        See :class:`Claim`.
    figures
        (caption, figure) pairs.
    theirs, ours
        What is rebuilt from the publication, and what had to be chosen here.
    """

    name: str
    title: str
    source: str
    findings: tuple[str, ...]
    rows: tuple[Claim, ...]
    figures: tuple[tuple[str, go.Figure], ...]
    theirs: str
    ours: str


def bars(values: dict[str, dict[str, float]], axis: str) -> go.Figure:
    """Grouped bars: ``values[series][category]``."""
    figure = go.Figure()
    for series, row in values.items():
        figure.add_bar(name=series, x=list(row), y=list(row.values()))
    return figure.update_layout(barmode="group", yaxis_title=axis)


def lines(values: dict[str, tuple[list[float], list[float]]], x: str, y: str, steps: bool = False) -> go.Figure:
    """Lines: ``values[series] = (x, y)``; ``steps`` holds each value until the next."""
    figure = go.Figure()
    for series, (across, up) in values.items():
        figure.add_scatter(name=series, x=across, y=up, mode="lines", line_shape="hv" if steps else "linear")
    return figure.update_layout(xaxis_title=x, yaxis_title=y)
