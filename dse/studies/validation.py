"""Published figures against ours, one row each, with signed errors; ``dse validate`` prints them and reports show them.

``ours`` is computed when the table is made, from the shipped files.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dse.accuracy.validation import validation as predicted_accuracies
from dse.hardware import load_hardware
from dse.hardware.pe import pe_mode
from dse.hardware.units_45nm import synthesis_rows
from dse.mapping.candidates import Options
from dse.mapping.engine import build_table
from dse.mapping.problem import Nest
from dse.precision.schedules import Schedule
from dse.workload import load_workload

COLUMNS = ("source", "quantity", "unit", "published", "ours", "signed_error", "tolerance", "note")

#: Workload: (GMAC, million parameters, source).
NETWORKS = {
    "imagenet_resnet": (1.814, 11.69, "torchvision resnet18"),
    "imagenet_resnet34": (3.66, 21.80, "torchvision resnet34"),
    "imagenet_resnet50": (4.09, 25.56, "torchvision resnet50"),
    "imagenet_vgg16": (15.47, 138.36, "torchvision vgg16"),
    "imagenet_mobilenet_v2": (0.301, 3.50, "torchvision mobilenet_v2"),
    "cifar_resnet20": (0.0406, 0.27, "He et al., CVPR 2016"),
}

#: Bit Fusion's own cycle counts: layer as (N, G, K, C, P, Q, R, S), width of both operands, cycles.
BIT_FUSION_ROWS = (
    ("fully connected, 8 bit", (16, 1, 1000, 8192, 1, 1, 1, 1), 8, 262_144),
    ("fully connected, 4 bit", (16, 1, 8192, 8192, 1, 1, 1, 1), 4, 524_288),
    ("convolution, 4 bit", (16, 1, 384, 384, 14, 14, 3, 3), 4, 2_032_128),
)

#: CPT: bounds, published saving in BitOps against the static upper width, percent (Fu et al., ICLR 2021).
CPT_SAVINGS = ((3, 8, 36.67), (3, 6, 30.04), (4, 8, 30.2))


def validation_table() -> pd.DataFrame:
    """All rows: ``source, quantity, unit, published, ours, signed_error, tolerance, note``; errors are relative."""
    rows = [*_networks(), *_bit_fusion(), *_synthesis(), *_cyclic(), *_accuracy()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(
    source: str, quantity: str, unit: str, published: float, ours: float, tolerance: float, note: str = ""
) -> tuple[str | float, ...]:
    return (source, quantity, unit, published, ours, ours / published - 1.0, tolerance, note)


def _networks() -> list[tuple[str | float, ...]]:
    rows = []
    for name, (gmac, millions, source) in NETWORKS.items():
        network = load_workload(name)
        rounding = "published figure is rounded"
        rows.append(_row(source, f"{name}: multiply-accumulates", "GMAC", gmac, network.macs / 1e9, 0.005, rounding))
        rows.append(_row(source, f"{name}: parameters", "M", millions, network.parameters / 1e6, 0.005, rounding))
    return rows


def _bit_fusion() -> list[tuple[str | float, ...]]:
    from dse.cost.jobs import array_shape

    hardware = load_hardware("bit_fusion")
    sizes = [axis.size for axis in hardware.axes]
    rows = []
    for quantity, dims, bits, cycles in BIT_FUSION_ROWS:
        table = build_table(Nest(dims), array_shape(hardware, sizes, "forward"), options=Options(max_tiles=(3, 2, 2)))
        lanes = int(pe_mode(hardware.pe, bits, bits).lanes)
        steps = float((table.steps_other * np.ceil(table.steps_reduction / lanes)).min())
        rows.append(_row("Bit Fusion, ISCA 2018", f"cycles, {quantity}", "cycles", cycles, steps, 0.0))
    return rows


def _synthesis() -> list[tuple[str | float, ...]]:
    return [
        _row(
            "Bit Fusion synthesis, 45 nm",
            f"{row.quantity.split('_')[0]} of a {row.name}",
            row.quantity.split("_")[1],
            row.published,
            row.ours,
            0.10,
            "law through all rows of a kind",
        )
        for row in synthesis_rows()
    ]


def _cyclic() -> list[tuple[str | float, ...]]:
    network = load_workload("cifar_resnet20")
    rows = []
    for low, high, published in CPT_SAVINGS:
        schedule = Schedule.cyclic(low=low, high=high, backward=high, cycles=32, iterations=64_000)
        used = sum(share * _bitops(plan.widths("weight")[0], high) for plan, share in schedule.histogram(network))
        saving = 100.0 * (1.0 - used / _bitops(high, high))
        rows.append(_row("CPT, ICLR 2021", f"BitOps saved by {low}-{high}/{high}", "%", published, saving, 0.005))
    return rows


def _bitops(forward: float, backward: float) -> float:
    return float(forward * forward + 2.0 * forward * backward)


def _accuracy() -> list[tuple[str | float, ...]]:
    note = "predicted from three of HAWQ-V3's points; two trainings of one map differ by 0.16 points"
    rows: list[tuple[str | float, ...]] = []
    for row in predicted_accuracies().to_dict("records"):
        rows.append(
            (
                str(row["source"]),
                str(row["quantity"]),
                str(row["unit"]),
                float(row["published"]),
                float(row["ours"]),
                float(row["ours"]) / float(row["published"]) - 1.0 if row["published"] else float("nan"),
                float("nan"),
                f"{note}; error {row['error']:+.2f} {row['unit']}",
            )
        )
    return rows
