"""Time and energy to a final loss against the number of devices: BF16, FP8, MXFP8 and NVFP4 with the best parallel plan of each.

    python benchmarks/devices_to_loss.py [--table FILE.csv] [--picture FILE.svg]

A language model is trained on a system with the same samples of a step on every number of devices (strong scaling), in each format
on the tokens that `dse.load_law("llama_c4")` says it needs for the loss of BF16 after so many tokens per parameter. Of every format
on every number of devices all parallel plans are tried (`dse.search.target_loss.systems`), and the fastest one, and that of the
lowest energy, are proven within the model. A crossover is the number of devices at which a format stops (or begins) to beat BF16,
between the numbers that were tried on a line over their logarithms; the ends are those of the law's error in what low precision
loses (90 %). Transforms of a recipe (Hadamard, four over six) are not charged, so that NVFP4 after Quartet II takes the time of
NVIDIA's. Energy is that of boards at full load and of links: it follows the time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dse
from dse.files import csv_text, write_all
from dse.report.system.svg import Axis, Line, line_chart, panels
from dse.search.target_loss import parameters_of
from dse.search.target_loss.systems import explore_systems

#: Plans of formats by the name of their line.
FORMATS = {"BF16": "bf16", "FP8": "fp8", "MXFP8": "mxfp8", "NVFP4": "nvfp4", "NVFP4, Quartet II": "nvfp4_quartet2"}
#: What is charged and how its column is called.
WHAT = {"time": "to_loss_s", "energy": "to_loss_j"}


@dataclass(frozen=True)
class Case:
    """A network on a system: numbers of devices, samples of a step, tokens per parameter of the BF16 run whose loss is aimed at."""

    network: str
    system: str
    devices: tuple[int, ...]
    samples: int
    ratio: float


#: A network in the range of the law (85 of 103 million parameters), and one 68 times beyond it.
CASES = (
    Case("gpt2_small", "gb200_nvl72", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 512, 100.0),
    Case("llama3_8b_train", "gb200_nvl72", (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), 512, 100.0),
)


@dataclass(frozen=True)
class Point:
    """A format on a number of devices: figures to the loss, with the ends of the law's error, and the plan."""

    network: str
    format: str
    devices: int
    what: str
    parallel: str
    tokens: float
    value: float
    low: float
    high: float


def points_of(case: Case, law: dse.Law) -> tuple[list[Point], dict[str, Any]]:
    """All points of a case, and what is proven of them."""
    network = dse.load_workload(case.network)
    size = parameters_of(network)
    target = float(law.loss(size, case.ratio * size))
    found = explore_systems(
        network, case.system, case.devices, tuple(FORMATS.values()), samples=case.samples, target_loss=target, law=law
    )
    names = {plan: name for name, plan in FORMATS.items()}
    points = []
    for what, table in (("time", found.fastest), ("energy", found.thriftiest)):
        stem, unit = WHAT[what].rsplit("_", 1)
        for row in table.to_dict("records"):
            if row["latency_s"] != row["latency_s"]:
                continue
            ends = [float(row[f"{stem}{end}_{unit}"]) for end in ("", "_low", "_high")]
            points.append(
                Point(
                    case.network, names[row["plan"]], int(row["devices"]), what, row["parallel"], row["tokens"], *ends
                )
            )
    return points, {"parameters": size, "loss": target, **found.certificate}


def crossover(devices: Sequence[int], ratios: Sequence[float]) -> float | None:
    """The devices at which a ratio passes 1 for the first time, on a line over their logarithms; None: it never does.

    >>> crossover([8, 32], [0.5, 1.5])
    16.0
    """
    for place in range(len(devices) - 1):
        a, b = ratios[place], ratios[place + 1]
        if (a - 1.0) * (b - 1.0) < 0 and np.isfinite(a) and np.isfinite(b):
            share = (1.0 - a) / (b - a)
            return float(2.0 ** (np.log2(devices[place]) + share * np.log2(devices[place + 1] / devices[place])))
    return None


def relative(points: Sequence[Point], name: str, what: str) -> dict[str, list[float]]:
    """Devices, and a format's figure over that of BF16 on as many: the middle and both ends."""
    base = {item.devices: item.value for item in points if (item.format, item.what) == ("BF16", what)}
    own = [item for item in points if (item.format, item.what) == (name, what) and item.devices in base]
    return {
        "devices": [item.devices for item in own],
        **{end: [getattr(item, end) / base[item.devices] for item in own] for end in ("value", "low", "high")},
    }


def said(ratios: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios on the fewest and the most devices, and where they pass 1, with both ends; nothing where the loss is not reached."""
    if not ratios["devices"]:
        return {}
    devices = [int(count) for count in ratios["devices"]]

    def ends(place: int) -> dict[str, float | None]:
        """None: the loss may never be reached."""
        return {
            end: round(ratios[end][place], 3) if np.isfinite(ratios[end][place]) else None
            for end in ("value", "low", "high")
        }

    return {
        "fewest": {"devices": devices[0], **ends(0)},
        "most": {"devices": devices[-1], **ends(-1)},
        "crossover": {end: crossover(devices, ratios[end]) for end in ("value", "low", "high")},
    }


def charts(case: Case, points: Sequence[Point]) -> list[str]:
    """Time and energy to the loss, and both over BF16's with their intervals."""
    ticks = tuple(float(count) for count in case.devices)
    made = []
    for what, title, scale in (("time", "hours to the loss", 3600.0), ("energy", "GJ to the loss", 1e9)):
        lines, ratios = [], []
        for color, name in enumerate(FORMATS):
            own = [item for item in points if (item.format, item.what) == (name, what)]
            lines.append(Line(name, [item.devices for item in own], [item.value / scale for item in own], color=color))
            if name != "BF16" and own:
                over = relative(points, name, what)
                ratios.append(Line(name, over["devices"], over["value"], over["low"], over["high"], color=color))
        ratios.insert(0, Line("BF16", ticks, [1.0] * len(ticks), dashed=True, color=0))
        made.append(
            line_chart(lines, Axis("devices", True, ticks), Axis(title, True), f"{case.network} on {case.system}")
        )
        head = f"{what} to the loss over BF16's, 90 % of the law"
        made.append(line_chart(ratios, Axis("devices", True, ticks), Axis(f"{what} over BF16's"), head))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="CSV of all points")
    parser.add_argument("--picture", type=Path, help="SVG")
    given = parser.parse_args()
    law = dse.load_law("llama_c4")
    every, drawn, result = [], [], {}
    for case in CASES:
        points, proven = points_of(case, law)
        every += points
        drawn += charts(case, points)
        print(
            f"{case.network}: {proven['parameters']:.3g} parameters to {proven['loss']:.4f} nat; {proven['shared']:,} plans tried"
        )
        for what in WHAT:
            for item in points:
                if item.what == what:
                    unit = "s" if what == "time" else "J"
                    print(
                        f"{what:>7s} {item.format:18s} {item.devices:5d} {item.parallel:20s} {item.tokens:9.3g} tokens "
                        f"{item.value:11.4g} {unit} ({item.low:.4g} to {item.high:.4g})"
                    )
        result[case.network] = {
            what: {name: said(relative(points, name, what)) for name in FORMATS if name != "BF16"} for what in WHAT
        }
    files: dict[Path, str | bytes] = {}
    if given.table:
        header = ["network", "format", "devices", "what", "parallel", "tokens", "value", "low", "high"]
        files[given.table] = csv_text(header, [[getattr(item, name) for name in header] for item in every])
    if given.picture:
        files[given.picture] = panels(drawn, 2)
    write_all(files)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
