"""Charts as SVG text: lines over numbers on linear or logarithmic axes, stacked bars, and bars over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

#: Colours of Okabe and Ito (2008), Color Universal Design.
PALETTE = (
    "#444444",
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b8a90f",
    "#8a63a8",
    "#999999",
    "#7a5230",
    "#2f4b7c",
)
SHAPES = ("circle", "square", "diamond", "triangle")
_LEFT, _RIGHT, _TOP, _BOTTOM = 92.0, 18.0, 30.0, 52.0
_FONT = "font-family='system-ui,Helvetica,Arial,sans-serif' font-size='12'"


@dataclass(frozen=True)
class Line:
    """A named line; ``low`` and ``high`` draw an interval at every point, where they are given. Points that are no numbers are
    left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    joined: bool = True
    dashed: bool = False
    color: int = 0


@dataclass(frozen=True)
class Axis:
    """Title, and whether it is logarithmic; ``ticks`` are shown where given."""

    title: str
    log: bool = False
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A bar over time in one row: ``kind`` chooses its colour, ``shade`` from 0 to 1 its lightness."""

    row: int
    begin: float
    end: float
    kind: str
    shade: float = 0.0


class _Scale:
    """From values to pixels."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        sound = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)] or [1.0]
        low, high = min(sound), max(sound)
        if axis.log:
            low, high = low / 1.12, high * 1.12
        else:
            low, high = min(low, 0.0), high * 1.06 if high > 0 else 1.0
        self.log, self.start, self.end = axis.log, start, end
        self.low, self.high = (math.log10(low), math.log10(high)) if axis.log else (low, high)
        self.ticks = list(axis.ticks) or self._ticks()

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        share = (at - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def _ticks(self) -> list[float]:
        if self.log:
            steps = (1.0, 2.0, 5.0) if self.high - self.low < 3 else (1.0,)
            every = range(math.floor(self.low), math.ceil(self.high) + 1)
            found = [step * 10.0**power for power in every for step in steps]
            return [tick for tick in found if self.low <= math.log10(tick) <= self.high]
        span = (self.high - self.low) or 1.0
        step = 10.0 ** math.floor(math.log10(span))
        step = next(step * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (step * part) <= 7)
        first = math.ceil(self.low / step)
        return [step * place for place in range(first, math.floor(self.high / step) + 1)]


def number(value: float) -> str:
    """A tick.

    >>> [number(value) for value in (0.5, 4096, 2e6, 0.0)]
    ['0.5', '4,096', '2M', '0']
    """
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, title: str = "", width: int = 640, height: int = 400) -> str:
    """Lines with their points and intervals, a legend beside them."""
    legend = 12.0 + 7.0 * max((len(item.name) for item in lines), default=0) + 26.0
    right, bottom = width - _RIGHT - legend, height - _BOTTOM
    ends = [value for item in lines for value in (*item.y, *item.low, *item.high)]
    xs, ys = _Scale(x, [value for item in lines for value in item.x], _LEFT, right), _Scale(y, ends, bottom, _TOP)
    parts = [_axes(xs, ys, x, y, right, bottom)]
    for place, item in enumerate(lines):
        color = PALETTE[item.color % len(PALETTE)]
        sound = [at for at in range(len(item.x)) if _drawn(item.x[at], x) and _drawn(item.y[at], y)]
        points = [(xs(item.x[at]), ys(item.y[at])) for at in sound]
        for at, (left, _) in zip(sound, points, strict=True):
            if item.low and item.high and math.isfinite(item.low[at]):
                top = item.high[at] if math.isfinite(item.high[at]) else ends_high(ends)
                shift = left + 2.0 * (place - len(lines) / 2)
                parts.append(
                    f"<line x1='{shift:.1f}' x2='{shift:.1f}' y1='{ys(item.low[at]):.1f}' y2='{ys(top):.1f}' "
                    f"stroke='{color}' stroke-width='1.2' opacity='.6'/>"
                )
        if item.joined and len(points) > 1:
            way = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
            dash = " stroke-dasharray='5 4'" if item.dashed else ""
            parts.append(f"<polyline points='{way}' fill='none' stroke='{color}' stroke-width='1.8'{dash}/>")
        parts += [_mark(SHAPES[item.color % len(SHAPES)], left, top, color) for left, top in points]
        top = _TOP + 8 + 18 * place
        parts.append(_mark(SHAPES[item.color % len(SHAPES)], right + 18, top, color))
        parts.append(f"<text x='{right + 28:.0f}' y='{top + 4:.0f}'>{escape(item.name)}</text>")
    return _svg(parts, title, width, height)


def ends_high(values: Sequence[float]) -> float:
    """The largest finite value."""
    return max((value for value in values if math.isfinite(value)), default=1.0)


def stacked_bars(rows: Mapping[str, Mapping[str, float]], axis: Axis, title: str = "", width: int = 720) -> str:
    """One stacked bar for each row, from the top; parts of the same name have the same colour."""
    names = [
        name
        for name in dict.fromkeys(part for row in rows.values() for part in row)
        if any(row.get(name) for row in rows.values())
    ]
    left = 20.0 + 7.0 * max((len(name) for name in rows), default=0)
    legend = 40.0 + 7.0 * max((len(name) for name in names), default=0)
    right, height = width - _RIGHT - legend, int(max(_TOP + 24 * len(rows), _TOP + 18 * len(names)) + _BOTTOM)
    bottom = _TOP + 24.0 * len(rows)
    scale = _Scale(axis, [sum(row.values()) for row in rows.values()], left, right)
    parts = [_grid_x(scale, axis, bottom)]
    for place, (name, row) in enumerate(rows.items()):
        top, begin = _TOP + 24.0 * place + 3, 0.0
        parts.append(f"<text x='{left - 8:.0f}' y='{top + 13:.0f}' text-anchor='end'>{escape(name)}</text>")
        for part in names:
            value = row.get(part, 0.0)
            if not value > 0.0:
                continue
            color = PALETTE[names.index(part) % len(PALETTE)]
            wide = scale(begin + value) - scale(begin)
            parts.append(
                f"<rect x='{scale(begin):.1f}' y='{top:.0f}' width='{wide:.1f}' height='18' fill='{color}'>"
                f"<title>{escape(f'{name}: {part} {value:.4g}')}</title></rect>"
            )
            begin += value
    for place, part in enumerate(names):
        top = _TOP + 8 + 18 * place
        parts.append(
            f"<rect x='{right + 14:.0f}' y='{top - 6:.0f}' width='12' height='12' fill='{PALETTE[place % len(PALETTE)]}'/>"
        )
        parts.append(f"<text x='{right + 32:.0f}' y='{top + 4:.0f}'>{escape(part)}</text>")
    return _svg(parts, title, width, height)


def time_bars(bars: Sequence[Bar], rows: Sequence[str], axis: Axis, title: str = "", width: int = 960) -> str:
    """Bars over time, one row for each name; kinds have colours of their own."""
    kinds = list(dict.fromkeys(bar.kind for bar in bars))
    left = 20.0 + 7.0 * max((len(name) for name in rows), default=0)
    legend = 40.0 + 7.0 * max((len(kind) for kind in kinds), default=0)
    right, bottom = width - _RIGHT - legend, _TOP + 22.0 * len(rows)
    height = int(max(bottom, _TOP + 18 * len(kinds)) + _BOTTOM)
    scale = _Scale(axis, [bar.end for bar in bars], left, right)
    parts = [_grid_x(scale, axis, bottom)]
    for place, name in enumerate(rows):
        parts.append(
            f"<text x='{left - 8:.0f}' y='{_TOP + 22 * place + 15:.0f}' text-anchor='end'>{escape(name)}</text>"
        )
    for bar in bars:
        color = PALETTE[(kinds.index(bar.kind) + 1) % len(PALETTE)]
        begin, wide = scale(bar.begin), scale(bar.end) - scale(bar.begin)
        parts.append(
            f"<rect x='{begin:.2f}' y='{_TOP + 22 * bar.row + 2:.0f}' width='{max(wide, 0.3):.2f}' height='18' fill='{color}' "
            f"opacity='{1.0 - 0.55 * bar.shade:.2f}' stroke='#ffffff' stroke-width='{0.5 if wide > 3 else 0}'/>"
        )
    for place, kind in enumerate(kinds):
        top = _TOP + 8 + 18 * place
        parts.append(
            f"<rect x='{right + 14:.0f}' y='{top - 6:.0f}' width='12' height='12' fill='{PALETTE[(place + 1) % len(PALETTE)]}'/>"
        )
        parts.append(f"<text x='{right + 32:.0f}' y='{top + 4:.0f}'>{escape(kind)}</text>")
    return _svg(parts, title, width, height)


def panels(charts: Sequence[str], columns: int, width: int = 640, height: int = 400) -> str:
    """Charts of one size side by side, row by row, as one drawing."""
    rows = -(-len(charts) // columns)
    inside = [
        chart.replace("<svg ", f"<svg x='{place % columns * width}' y='{place // columns * height}' ", 1)
        for place, chart in enumerate(charts)
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {columns * width} {rows * height}' width='{columns * width}' "
        f"height='{rows * height}'>{''.join(inside)}</svg>\n"
    )


def _drawn(value: float, axis: Axis) -> bool:
    return math.isfinite(value) and (value > 0 or not axis.log)


def _axes(xs: _Scale, ys: _Scale, x: Axis, y: Axis, right: float, bottom: float) -> str:
    parts = [_grid_x(xs, x, bottom)]
    for tick in ys.ticks:
        top = ys(tick)
        parts.append(f"<line x1='{_LEFT}' x2='{right:.1f}' y1='{top:.1f}' y2='{top:.1f}' stroke='#dddddd'/>")
        parts.append(f"<text x='{_LEFT - 7}' y='{top + 4:.1f}' text-anchor='end'>{number(tick)}</text>")
    middle = (_TOP + bottom) / 2
    parts.append(
        f"<text transform='translate(16 {middle:.0f}) rotate(-90)' text-anchor='middle'>{escape(y.title)}</text>"
    )
    return "".join(parts)


def _grid_x(scale: _Scale, axis: Axis, bottom: float) -> str:
    parts = []
    for tick in scale.ticks:
        left = scale(tick)
        parts.append(f"<line x1='{left:.1f}' x2='{left:.1f}' y1='{_TOP}' y2='{bottom:.1f}' stroke='#dddddd'/>")
        parts.append(f"<text x='{left:.1f}' y='{bottom + 17:.1f}' text-anchor='middle'>{number(tick)}</text>")
    middle = (scale.start + scale.end) / 2
    parts.append(f"<text x='{middle:.0f}' y='{bottom + 38:.0f}' text-anchor='middle'>{escape(axis.title)}</text>")
    return "".join(parts)


def _mark(shape: str, x: float, y: float, color: str) -> str:
    if shape == "circle":
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.6' fill='{color}'/>"
    if shape == "square":
        return f"<rect x='{x - 3.3:.1f}' y='{y - 3.3:.1f}' width='6.6' height='6.6' fill='{color}'/>"
    turn = ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)) if shape == "diamond" else ((0, -4.4), (4.2, 3.4), (-4.2, 3.4))
    points = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in turn)
    return f"<polygon points='{points}' fill='{color}'/>"


def _svg(parts: Sequence[str], title: str, width: int, height: int) -> str:
    head = (
        f"<text x='{width / 2:.0f}' y='18' text-anchor='middle' font-weight='600'>{escape(title)}</text>"
        if title
        else ""
    )
    size = f"viewBox='0 0 {width} {height}' width='{width}' height='{height}'"
    back = f"<title>{escape(title or 'chart')}</title><rect width='{width}' height='{height}' fill='#ffffff'/>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {_FONT} fill='#222222'>{back}{head}{''.join(parts)}</svg>\n"
