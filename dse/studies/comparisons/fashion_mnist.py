"""The systems in real training on Fashion-MNIST: accuracy measured, time and energy modelled from the formats that they used.

Everything that a policy decides was decided by it during a training run of a small network (``fashion_cnn``): which layer has
which word when, which block which width, when the loss settles. ``benchmarks/fashion_mnist.py`` made the files in
``data/fashion_mnist``; here they are charged by the cost model. A second part holds designs that ``dse explore`` found for the
network, trained with their own bit maps: predicted against measured loss of accuracy. None of these designs calibrated the
predictor; maps that fronts of earlier rounds held did (``rounds.csv`` has what each kind of score said of them before).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.hardware.model import Hardware
from dse.precision.policies.rules import Overhead
from dse.precision.schedules.schedule import Schedule
from dse.report.figures import PALETTE
from dse.studies.devices import flexible, float32, serial_32
from dse.studies.study import Claim, Study
from dse.studies.systems import adapt
from dse.studies.systems.adapt_model import ITERATIONS as ADAPT_ITERATIONS
from dse.training.records import measured_schedule, read_widths
from dse.types import Floats
from dse.workload import load_workload

NETWORK = "fashion_cnn"
DATA = Path(__file__).parents[1] / "data" / "fashion_mnist"
BASELINE = "static8"
#: Systems whose formats came out of the run; their tables lie beside the results.
DECIDED = (
    "adapt", "fractrain", "cpt", "dynasty_like", "double_cyclic", "random_switch", "density",
)  # fmt: skip
#: Draws of prices behind the intervals of energies and times.
DRAWS = 200
#: Kinds of score that were compared; see :class:`dse.accuracy.measuring.settings.Settings`.
SCORES = ("kl", "noise", "tensor")
#: Markers of a figure, after each round of colours another.
SYMBOLS = ("circle", "diamond", "x")
#: How often DYNASTY-like found new widths: once in so many steps.
INTERVAL = 25


@dataclass(frozen=True)
class System:
    """Accuracy over the seeds in %, and time and energy of the run relative to static 8-bit training on the same device.

    Attributes
    ----------
    deviation
        Standard deviation of the accuracy between seeds, points.
    bits
        Mean widths of weight, activation, error.
    energy_low, energy_high
        90 % of the ratios lie between when all prices are drawn from their ranges, the same prices for both runs.
    """

    name: str
    accuracy: float
    deviation: float
    seeds: int
    bits: tuple[float, float, float]
    latency: float
    energy: float
    energy_low: float
    energy_high: float


@cache
def results() -> pd.DataFrame:
    """One row per system and seed, as ``benchmarks/fashion_mnist.py`` wrote it."""
    return pd.read_csv(DATA / "results.csv")


@cache
def designs() -> pd.DataFrame:
    """Designs of fronts that were trained: limit, predicted and measured drop in points, whether the limit was kept."""
    return pd.read_csv(DATA / "designs.csv")


@cache
def rounds() -> pd.DataFrame:
    """Bit maps that fronts of earlier rounds held: measured drop, and what each kind of score predicted before, in points."""
    return pd.read_csv(DATA / "rounds.csv")


def schedule(system: str) -> Schedule:
    """What a system really did, over the iterations of its run (of the first seed)."""
    rows = results()[results()["system"] == system]
    iterations = int(rows["iterations"].iloc[0])
    if system not in DECIDED:
        return Schedule.static(str(rows["format"].iloc[0]), iterations)
    widths = read_widths(DATA / f"formats_{system}_0.csv")
    return measured_schedule(widths, load_workload(NETWORK), iterations, system)


@dataclass(frozen=True)
class Run:
    """Time (s) and energy (J) of a training run, and its energy in each draw of prices, shape (:data:`DRAWS`,)."""

    latency_s: float
    energy_j: float
    drawn_j: Floats


@cache
def cost(system: str, hardware: Hardware) -> Run | None:
    """What a system's run costs, all passes, its policy's own work included; None where the hardware cannot run it."""
    network = load_workload(NETWORK)
    made = schedule(system)
    overhead: Overhead | None = None
    if system == "adapt":
        overhead = adapt.policy(network) * (made.iterations / ADAPT_ITERATIONS)
    updates = 1.0 / INTERVAL if system == "dynasty_like" else 0.0
    found = evaluate(network, hardware, made, overhead=overhead, map_updates=updates, search_mappings=False)
    total = found.total.iloc[0]
    if not total["feasible"]:
        return None
    return Run(float(total["latency_s"]), float(total["energy_j"]), found.draws(DRAWS).energy_j[:, 0])


def devices() -> tuple[Hardware, ...]:
    """Where the runs are priced: elements of 2 to 16 bits, bit-serial ones of up to 32, and Bit Fusion."""
    return (flexible(), serial_32(), load_hardware("bit_fusion"))


def systems(hardware: Hardware | None = None) -> list[System]:
    """Every system that was trained and that the device can run; float32 runs on float32 elements in the same array."""
    device = hardware or flexible()
    base = cost(BASELINE, device)
    if base is None:
        return []
    found = []
    for name, rows in results().groupby("system", sort=False):
        ours = cost(str(name), float32() if name == "fp32" else device)
        if ours is None:
            continue
        bits = rows[["weight_bits", "activation_bits", "error_bits"]].mean().tolist()
        low, high = np.quantile(ours.drawn_j / base.drawn_j, [0.05, 0.95])
        found.append(
            System(
                name=str(name),
                accuracy=float(rows["accuracy"].mean()),
                deviation=float(rows["accuracy"].std(ddof=1)) if len(rows) > 1 else float("nan"),
                seeds=len(rows),
                bits=(bits[0], bits[1], bits[2]),
                latency=ours.latency_s / base.latency_s,
                energy=ours.energy_j / base.energy_j,
                energy_low=float(low),
                energy_high=float(high),
            )
        )
    return found


def study() -> Study:
    """Accuracy against modelled time and energy, and predicted against measured loss of accuracy."""
    places = {hardware.name: systems(hardware) for hardware in devices()}
    found = places[flexible().name]
    modelled = "modelled from measured formats; 90 % of draws of all prices"
    rows = []
    for item in found:
        spread = item.deviation if np.isfinite(item.deviation) else 0.0
        rows += [
            Claim(
                item.name, "test accuracy", "%", item.accuracy, low=item.accuracy - spread, high=item.accuracy + spread,
                assumed=f"{item.seeds} seeds; mean widths {', '.join(f'{b:.3g}' for b in item.bits)} (weight, activation, error)",
                subject="measured",
            ),
        ]  # fmt: skip
    for device, items in places.items():
        for item in items:
            rows += [
                Claim(item.name, f"time against {BASELINE}", "x", item.latency, assumed=modelled, subject=device),
                Claim(item.name, f"energy against {BASELINE}", "x", item.energy, low=item.energy_low, high=item.energy_high,
                      assumed=modelled, subject=device),
            ]  # fmt: skip
    table = designs()
    for promise, group in table.groupby("promise", sort=False):
        misses = (group["predicted_drop_pp"] - group["measured_drop_pp"]).abs()
        asked = (
            "predicted drop within the limit"
            if promise == "plain"
            else "predicted drop and predictor's error within the limit"
        )
        rows += [
            Claim(
                f"dse explore, {promise}", "mean |predicted - measured| drop of designs", "points", float(misses.mean()),
                assumed=asked,
            ),
            Claim(f"dse explore, {promise}", "share of designs that keep their limit", "%", 100.0 * float(group["kept"].mean()),
                assumed=f"{asked}; {len(group)} designs of {int(group['seeds'].min())} seeds"),
        ]  # fmt: skip
    early = rounds()
    rows += [
        Claim(
            f"score {score}", "root mean square of predicted - measured drop",
            "points", float(np.sqrt(((early[score] - early["measured_drop_pp"]) ** 2).mean())), assumed=f"{len(early)} maps",
            subject="maps found by a search, not yet calibrated with",
        )
        for score in SCORES
    ]  # fmt: skip
    network = load_workload(NETWORK)
    return Study(
        "fashion_mnist",
        "Fashion-MNIST: the systems in real training",
        network.source,
        tuple(_findings(found, table)),
        tuple(rows),
        (
            *(
                (f"Accuracy measured, energy modelled, {device}", _front(items, [item.name for item in found]))
                for device, items in places.items()
            ),
            *(
                (f"Accuracy measured, time modelled, {device}", _front(items, [item.name for item in found], "latency"))
                for device, items in places.items()
            ),
            ("Predicted and measured loss of accuracy", _check(table)),
        ),
        "decision rules and formats of the systems, as far as they were published",
        "network, data and recipe; FracTrain's epochs are stretches of 26 iterations, DYNASTY's rule and its 8-bit errors, words "
        "of AdaPT for activations and errors; hardware and mapping; formats of the first seed are charged",
    )


def _findings(found: list[System], table: pd.DataFrame) -> list[str]:
    by_name = {item.name: item for item in found}
    exact, noise = by_name["fp32"].accuracy, float(np.nanmean([item.deviation for item in found]))
    lossless = [item for item in found if item.name != "fp32" and item.accuracy >= exact - 2.0 * noise]
    best = min(lossless, key=lambda item: item.energy)
    misses = table["predicted_drop_pp"] - table["measured_drop_pp"]
    shares = [
        f"{int(group['kept'].sum())} of {len(group)} ({promise})"
        for promise, group in table.groupby("promise", sort=False)
    ]
    return [
        f"Float32 reaches {exact:.2f} %; seeds differ by {noise:.2f} points (standard deviation, mean over systems).",
        f"Within two of these of float32: {', '.join(item.name for item in lossless)}; the thriftiest, {best.name}, takes "
        f"{best.energy:.2f} of the energy and {best.latency:.2f} of the time of static 8-bit training.",
        f"Of the designs that dse explore found, {' and '.join(shares)} kept their limit; their predicted losses miss the "
        f"measured ones by {misses.abs().mean():.2f} points in the mean, {misses.mean():+.2f} signed (negative: optimistic).",
    ]


def _front(found: list[System], names: list[str], across: str = "energy") -> go.Figure:
    """Accuracy against ``energy`` or ``latency``; a system looks the same in all figures."""
    figure = go.Figure()
    for item in found:
        turn, colour = divmod(names.index(item.name), len(PALETTE))
        value = float(getattr(item, across))
        bars = {"type": "data", "array": [item.energy_high - value], "arrayminus": [value - item.energy_low]}
        figure.add_scatter(
            x=[value], y=[item.accuracy], name=item.name, mode="markers",
            marker={"symbol": SYMBOLS[turn % len(SYMBOLS)], "color": PALETTE[colour], "size": 9},
            error_x=bars if across == "energy" else None,
            error_y={"type": "data", "array": [0.0 if np.isnan(item.deviation) else item.deviation]},
        )  # fmt: skip
    what = {"energy": "energy", "latency": "time"}[across]
    return figure.update_layout(
        xaxis_title=f"modelled {what} of the run, {BASELINE} = 1",
        yaxis_title="measured test accuracy, %",
        xaxis_type="log",
    )


def _check(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for (promise, limit), rows in table.groupby(["promise", "limit_pp"], sort=False):
        figure.add_scatter(
            x=rows["predicted_drop_pp"], y=rows["measured_drop_pp"], mode="markers", name=f"{promise}, {limit:g} points",
            marker_symbol="circle" if promise == "plain" else "diamond",
            error_y={"type": "data", "array": rows["deviation_pp"].tolist()},
        )  # fmt: skip
    low = min(0.0, float(table["measured_drop_pp"].min()))
    high = float(max(table["predicted_drop_pp"].max(), table["measured_drop_pp"].max()))
    figure.add_scatter(x=[low, high], y=[low, high], mode="lines", name="equal")
    return figure.update_layout(xaxis_title="predicted loss of accuracy, points", yaxis_title="measured, points")
