"""What is drawn of systems: fronts, scaling, parts of time, memory and communication, one step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.names import LINK_KINDS, TIME_PARTS
from dse.report.system.svg import Axis, Bar, Line, line_chart, stacked_bars, time_bars
from dse.units import memory_parts

Record = Mapping[str, Any]
#: Bars of a timeline that are drawn at most; a longer step is cut behind them.
MOST_BARS = 4_000


def runs(records: Sequence[Record]) -> list[Record]:
    """Those with figures."""
    return [row for row in records if row.get("latency_s") is not None and row["latency_s"] == row["latency_s"]]


def name_of(row: Record) -> str:
    """A plan of formats on a parallel plan, in words."""
    scaling = str(row.get("scaling") or "")
    return f"{scaling} {row.get('plan') or ''} {row['parallel']} ({row['devices']:,})".strip()


def by_devices(records: Sequence[Record], column: str, title: str, head: str = "", errors: bool = True) -> str:
    """A figure over the number of devices, a line for each plan of formats, with the ends ``_low`` and ``_high`` that it has."""
    found = runs(records)
    stem, unit = column.rsplit("_", 1)
    lines = []
    for place, plan in enumerate(dict.fromkeys(row["plan"] for row in found)):
        rows = [row for row in found if row["plan"] == plan]
        low, high = f"{stem}_low_{unit}", f"{stem}_high_{unit}"
        has = errors and all(row.get(low) is not None for row in rows) and any(row[low] != row[high] for row in rows)
        lows, highs = ([float(row[end]) for row in rows] if has else [] for end in (low, high))
        x, y = ([float(row[name]) for row in rows] for name in ("devices", column))
        lines.append(Line(str(plan), x, y, lows, highs, color=place))
    ticks = tuple(float(count) for count in sorted({row["devices"] for row in found}))
    return line_chart(lines, Axis("devices", True, ticks), Axis(title, True), head)


def scaling_chart(rows: Sequence[Record], head: str = "") -> str:
    """Tokens per second over devices, and those that the fewest devices would give in proportion, dashed."""
    devices, rates = [float(row["devices"]) for row in rows], [float(row["tokens_per_s"]) for row in rows]
    ideal = [rates[0] * count / devices[0] for count in devices]
    lines = [Line("best plan", devices, rates, color=1), Line("in proportion", devices, ideal, dashed=True, color=0)]
    return line_chart(lines, Axis("devices", True, tuple(devices)), Axis("tokens/s", True), head)


def front_chart(records: Sequence[Record], x: tuple[str, str], y: tuple[str, str], head: str = "") -> str:
    """Points of a front: (column, title) of both axes, a colour for each plan of formats."""
    lines = [
        Line(
            str(plan), [float(row[x[0]]) for row in rows], [float(row[y[0]]) for row in rows], joined=False, color=place
        )
        for place, plan in enumerate(dict.fromkeys(row["plan"] for row in records))
        if (rows := [row for row in records if row["plan"] == plan])
    ]
    return line_chart(lines, Axis(x[1], True), Axis(y[1], True), head)


def time_chart(records: Sequence[Record], head: str = "") -> str:
    """Where the time of a step goes, shares of it."""
    rows = {
        name_of(row): {part: 100.0 * row[f"{part}_s"] / row["latency_s"] for part in TIME_PARTS if row.get(f"{part}_s")}
        for row in runs(records)
    }
    return stacked_bars(rows, Axis("% of the step's time"), head)


def memory_chart(records: Sequence[Record], head: str = "") -> str:
    """Memory of the fullest device by part."""
    rows = {name_of(row): {part.label: row[part.column] / 8e9 for part in memory_parts(row)} for row in runs(records)}
    return stacked_bars(rows, Axis("GB on the fullest device"), head)


def link_chart(records: Sequence[Record], head: str = "") -> str:
    """What leaves a device in a step, by kind of parallelism."""
    rows = {name_of(row): {kind: row[f"link_{kind}_bits"] / 8e9 for kind in LINK_KINDS} for row in runs(records)}
    return stacked_bars(rows, Axis("GB that leave a device in a step"), head)


def timeline_chart(events: Sequence[Record], tail: Sequence[Record], stages: int, head: str = "") -> str:
    """One step of a pipeline: passes of micro batches by stage, and what follows them.

    Parameters
    ----------
    events
        ``stage, piece, micro_batch, backward, begin_s, end_s``, as :class:`dse.system.plans.timeline.Event` has them.
    tail
        ``kind, begin_s, end_s`` of what all stages do behind the passes.
    """
    bars = [
        Bar(
            item["stage"],
            item["begin_s"],
            item["end_s"],
            "backward" if item["backward"] else "forward",
            item["micro_batch"] % 4 / 4,
        )
        for item in events
    ]
    bars += [Bar(stage, item["begin_s"], item["end_s"], item["kind"]) for item in tail for stage in range(stages)]
    cut = len(bars) > MOST_BARS
    shown = sorted(bars, key=lambda bar: bar.begin)[:MOST_BARS]
    title = f"{head} (first {shown[-1].end:.3g} s)" if cut else head
    return time_bars(shown, [f"stage {place}" for place in range(stages)], Axis("s"), title)
