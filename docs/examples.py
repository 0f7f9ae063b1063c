"""MobileNetV2 inference on edge devices at uniform widths: writes reports/example_mobilenet_v2 beside this folder.

    python docs/examples.py

Figures need ``pip install 'lowprec-dse[figures]'`` and a Chromium.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

import dse
from dse.report.figures import PALETTE
from dse.report.quantities import format_share
from dse.units import format_value

PLACE = Path(__file__).parents[1] / "reports" / "example_mobilenet_v2"
PLANS = ("w8a8", "w4a8", "w4a4", "w2a2")
#: Largest silicon that this page calls an edge device, mm2; our choice.
EDGE_MM2 = 3.0


def devices() -> dict[str, tuple[dse.Hardware, pd.DataFrame | None]]:
    """Shipped edge devices, and every design of flex_trainer's space, of which the small ones are kept."""
    flex = dse.load_hardware("flex_trainer")
    grid = pd.DataFrame(list(product(*(p.values for p in flex.space))), columns=[p.name for p in flex.space])
    fixed = {name: (dse.load_hardware(name), None) for name in ("brain_tta_like", "simba_like", "bit_fusion")}
    return {**fixed, f"flex_trainer, best up to {EDGE_MM2:g} mm²": (flex, grid)}


def kinds(network: dse.Network) -> dict[str, str]:
    """Kind of each layer with MACs."""
    return {
        layer.name: "depthwise" if layer.G > 1 else "1 x 1" if layer.R == 1 else "other" for layer in network.mac_layers
    }


def table() -> pd.DataFrame:
    """One row per device and plan: totals, and the share of the time in depthwise layers and bound by DRAM."""
    network = dse.load_workload("imagenet_mobilenet_v2").with_batch(1)
    kind, rows = kinds(network), []
    for name, (hardware, designs) in devices().items():
        for text in PLANS:
            plan = dse.Plan.parse(text, network)
            if designs is not None:
                total = dse.evaluate(network, hardware, plan, designs, mode="inference").total
                small = total[total["feasible"] & (total["area_mm2"] <= EDGE_MM2)]
                best = (small["latency_s"] * small["energy_j"]).idxmin()
                cost = dse.evaluate(network, hardware, plan, designs.loc[[best]], mode="inference")
            else:
                cost = dse.evaluate(network, hardware, plan, mode="inference")
            total, layers = cost.total.iloc[0], cost.layers
            time = layers.groupby(layers["layer"].map(kind).fillna("without MACs"))["latency_s"].sum()
            by_dram = layers.loc[layers["bound"] == "dram", "latency_s"].sum()
            rows.append(
                {
                    "device": name,
                    "plan": text,
                    **total[["latency_s", "energy_j", "area_mm2"]],
                    "depthwise_share": time["depthwise"] / total["latency_s"],
                    "dram_bound_share": by_dram / total["latency_s"],
                }
            )
    return pd.DataFrame(rows)


def markdown(rows: pd.DataFrame) -> str:
    """The report."""
    lines = [
        "# MobileNetV2 inference on edge devices, one picture at a time",
        "",
        "Written by `python docs/examples.py`. Uniform widths of weights and activations; what they cost in accuracy is not",
        f"known here. Of flex_trainer's 6,048 designs, the one up to {EDGE_MM2:g} mm² with the least "
        "energy-delay product for each plan.",
        "",
        "| device | plan | latency | energy | area | time in depthwise layers | time bound by DRAM |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows.to_dict("records"):
        cells = [format_value(row["latency_s"], "s"), format_value(row["energy_j"], "J")]
        cells += [
            format_value(row["area_mm2"], "mm²"),
            f"{row['depthwise_share']:.0%}",
            f"{row['dram_bound_share']:.0%}",
        ]
        lines.append(f"| {row['device']} | {row['plan']} | " + " | ".join(cells) + " |")
    lines += ["", "## From 8 to 4 bits", ""]
    for device, of_device in rows.groupby("device", sort=False):
        wide, narrow = (of_device[of_device["plan"] == text].iloc[0] for text in ("w8a8", "w4a4"))
        time, energy = (format_share(narrow[name], wide[name]) for name in ("latency_s", "energy_j"))
        lines.append(f"- {device}: time {time}, energy {energy}.")
    return "\n".join([*lines, "", "![Latency and energy](front.svg)", ""])


def figure(rows: pd.DataFrame) -> go.Figure:
    """Latency and energy of all rows, a colour per device, labelled by plan."""
    made = go.Figure()
    for number, (device, of_device) in enumerate(rows.groupby("device", sort=False)):
        made.add_scatter(
            x=of_device["latency_s"], y=of_device["energy_j"], text=of_device["plan"], name=str(device),
            mode="lines+markers+text", textposition="middle right", line={"dash": "dot"},
            marker={"color": PALETTE[number], "symbol": number, "size": 9},
        )  # fmt: skip
    axis = {"type": "log", "dtick": "D2", "gridcolor": "#dddddd", "tickformat": "~s"}
    made.update_xaxes(title="Latency of one picture", ticksuffix="s", **axis)
    made.update_yaxes(title="Energy of one picture", ticksuffix="J", **axis)
    return made.update_layout(
        template="none", width=760, height=460, margin={"t": 60, "r": 60}, legend={"orientation": "h", "y": 1.15}
    )


def main() -> None:
    """Write the report."""
    PLACE.mkdir(parents=True, exist_ok=True)
    rows = table()
    rows.to_csv(PLACE / "designs.csv", index=False, float_format="%.12g")
    (PLACE / "README.md").write_text(markdown(rows), encoding="utf-8")
    figure(rows).write_image(PLACE / "front.svg")


if __name__ == "__main__":
    main()
