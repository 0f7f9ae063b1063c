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
from dse.hardware.model import Hardware
from dse.precision.policies.rules import Overhead
from dse.precision.schedules.schedule import Schedule
from dse.studies.devices import flexible, float32
from dse.studies.study import Claim, Study
from dse.studies.systems import adapt
from dse.studies.systems.adapt_model import ITERATIONS as ADAPT_ITERATIONS
from dse.training.records import measured_schedule, read_widths
from dse.workload import load_workload

NETWORK = "fashion_cnn"
DATA = Path(__file__).parents[1] / "data" / "fashion_mnist"
BASELINE = "static8"
#: Systems whose formats came out of the run; their tables lie beside the results.
DECIDED = ("adapt", "fractrain", "cpt", "dynasty_like")
#: Kinds of score that were compared; see :class:`dse.accuracy.measuring.settings.Settings`.
SCORES = ("kl", "noise", "tensor")
#: How often DYNASTY-like found new widths: once in so many steps.
INTERVAL = 25


@dataclass(frozen=True)
class System:
    """Accuracy over the seeds in %, and time (s) and energy (J) of the run relative to static 8-bit training.

    Attributes
    ----------
    deviation
        Standard deviation of the accuracy between seeds, points.
    bits
        Mean widths of weight, activation, error.
    """

    name: str
    accuracy: float
    deviation: float
    seeds: int
    bits: tuple[float, float, float]
    latency: float
    energy: float


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


def cost(system: str, hardware: Hardware) -> dict[str, float]:
    """Time (s) and energy (J) of a system's run, all passes, its policy's own work included."""
    network = load_workload(NETWORK)
    made = schedule(system)
    overhead: Overhead | None = None
    if system == "adapt":
        overhead = adapt.policy(network) * (made.iterations / ADAPT_ITERATIONS)
    updates = 1.0 / INTERVAL if system == "dynasty_like" else 0.0
    total = evaluate(network, hardware, made, overhead=overhead, map_updates=updates).total.iloc[0]
    return {"latency_s": float(total["latency_s"]), "energy_j": float(total["energy_j"])}


def systems(hardware: Hardware | None = None) -> list[System]:
    """Every system that was trained; float32 runs on float32 elements in the same array."""
    device = hardware or flexible()
    base = cost(BASELINE, device)
    found = []
    for name, rows in results().groupby("system", sort=False):
        ours = cost(str(name), float32() if name == "fp32" else device)
        bits = rows[["weight_bits", "activation_bits", "error_bits"]].mean().tolist()
        found.append(
            System(
                name=str(name),
                accuracy=float(rows["accuracy"].mean()),
                deviation=float(rows["accuracy"].std(ddof=1)) if len(rows) > 1 else float("nan"),
                seeds=len(rows),
                bits=(bits[0], bits[1], bits[2]),
                latency=ours["latency_s"] / base["latency_s"],
                energy=ours["energy_j"] / base["energy_j"],
            )
        )
    return found


def study() -> Study:
    """Accuracy against modelled time and energy, and predicted against measured loss of accuracy."""
    found = systems()
    device, modelled = flexible().name, "modelled from measured formats"
    rows = []
    for item in found:
        spread = item.deviation if np.isfinite(item.deviation) else 0.0
        rows += [
            Claim(
                item.name, "test accuracy", "%", item.accuracy, low=item.accuracy - spread, high=item.accuracy + spread,
                assumed=f"{item.seeds} seeds; mean widths {', '.join(f'{b:.3g}' for b in item.bits)} (weight, activation, error)",
                subject="measured",
            ),
            Claim(item.name, f"time against {BASELINE}", "x", item.latency, assumed=modelled, subject=device),
            Claim(item.name, f"energy against {BASELINE}", "x", item.energy, assumed=modelled, subject=device),
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
            ("Accuracy measured, energy modelled", _front(found)),
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


def _front(found: list[System]) -> go.Figure:
    figure = go.Figure()
    for item in found:
        figure.add_scatter(
            x=[item.energy], y=[item.accuracy], name=item.name, mode="markers",
            error_y={"type": "data", "array": [0.0 if np.isnan(item.deviation) else item.deviation]},
        )  # fmt: skip
    return figure.update_layout(
        xaxis_title=f"modelled energy of the run, {BASELINE} = 1",
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
