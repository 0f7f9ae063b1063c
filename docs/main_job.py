"""The main job with error bars: how sure its front, knee, bit map and gain over 8 bits are; writes reports/example_main_job.

    python docs/main_job.py

Prices are drawn 200 times from their ranges (:mod:`dse.hardware.prices.ranges`), the same draws for all designs and plans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import dse
from dse.search.pareto import knee
from dse.units import format_value

PLACE = Path(__file__).parents[1] / "reports" / "example_main_job"
WORKLOAD, DRAWS, SEED = "imagenet_resnet", 200, 0
UNIFORM = "w8a8e8"
FREE = ("clock_hz", "memories.dram.bandwidth_bits_per_cycle")


def quantiles(values: np.ndarray, unit: str) -> str:
    """Median, and what 90 % of the draws lie between."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{format_value(middle, unit)} ({format_value(low, unit)} to {format_value(high, unit)})"


def settings_table(front: pd.DataFrame) -> list[str]:
    """How many designs of the front have each clock and bandwidth."""
    lines = ["| parameter | designs of the front at each value |", "|---|---|"]
    for name in FREE:
        counted = front[name].value_counts().sort_index()
        lines.append(f"| {name} | {', '.join(f'{value:g}: {number}' for value, number in counted.items())} |")
    return lines


def plans_of(run: dse.Run) -> list[dse.Plan]:
    """The different bit maps of the front, the knee's first."""
    middle = knee_of(run)
    names = [middle, *(name for name in run.front["design"].astype(str) if name != middle)]
    return list(dict.fromkeys(run.plan(name) for name in names))


def knee_of(run: dse.Run) -> str:
    """Its design."""
    return str(run.front["design"].iloc[knee(run.front[["latency_s", "energy_j"]].to_numpy(np.float64))])


def gains_table(run: dse.Run) -> list[str]:
    """The knee against uniform 8 bits on its own hardware, and how often its bit map is the best of the front's there."""
    network, hardware = dse.load_workload(WORKLOAD), run.hardware(knee_of(run))
    maps = plans_of(run)
    cost = dse.evaluate(network, hardware, [dse.Plan.parse(UNIFORM, network), *maps])
    drawn = cost.draws(DRAWS, SEED)
    lines = ["| knee | nominal | median of the draws (90 % of them) |", "|---|---|---|"]
    own = cost.total.iloc[1]
    for name, unit, values in (
        ("latency_s", "s", drawn.latency_s[:, 1]),
        ("energy_j", "J", drawn.energy_j[:, 1]),
        ("area_mm2", "mm²", drawn.area_mm2[:, 1]),
    ):
        lines.append(f"| {name} | {format_value(float(own[name]), unit)} | {quantiles(values, unit)} |")
    eight = cost.total.iloc[0]
    for name, values in (("latency_s", drawn.latency_s), ("energy_j", drawn.energy_j)):
        nominal = float(eight[name] / own[name])
        lines.append(f"| {name} of {UNIFORM} over it | {nominal:.2f} | {quantiles(values[:, 0] / values[:, 1], '')} |")
    products = (drawn.latency_s * drawn.energy_j)[:, 1:]
    best = products.argmin(axis=1)
    loss = products[:, 0] / products.min(axis=1) - 1.0
    at = int(np.argmin((cost.total["latency_s"] * cost.total["energy_j"]).to_numpy()[1:]))
    lines += [
        "",
        f"Of the {len(maps)} bit maps of the front, on this hardware, the map of least energy times time at nominal prices stays "
        f"so in {np.mean(best == at):.0%} of the draws; {len(set(best.tolist()))} different maps are the best in some draw. The "
        f"knee's own map is {np.median(loss):.1%} from the best of them in the median draw and {np.quantile(loss, 0.95):.1%} in "
        f"the 95th of a hundred.",
    ]
    return lines


def main() -> None:
    """Write the report."""
    run = dse.explore(WORKLOAD, uncertainty=DRAWS, seed=SEED)
    front = run.front
    steady = (front["share_non_dominated"] >= 0.5).mean()
    middle = front[front["design"].astype(str) == knee_of(run)].iloc[0]
    lines = [
        f"# The main job under drawn prices: {WORKLOAD}, training, flex_trainer",
        "",
        "Written by `python docs/main_job.py`. Every price is drawn 200 times from its range, the same draws for all designs.",
        "",
        f"{len(front)} designs. {steady:.0%} of them are non-dominated in at least half of the draws; the knee, "
        f"{middle['design']}, is the knee in {middle['share_knee']:.0%} and non-dominated in {middle['share_non_dominated']:.0%}.",
        "",
        *settings_table(front),
        "",
        *gains_table(run),
        "",
    ]
    PLACE.mkdir(parents=True, exist_ok=True)
    (PLACE / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
