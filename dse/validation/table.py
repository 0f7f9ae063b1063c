"""Published figures against ours, one row each, with signed errors; ``dse validate`` prints them and reports show them.

``ours`` is computed when the table is made, from the shipped files. Rows on units and chips are in
:mod:`dse.validation.hardware`, on published systems in :mod:`dse.validation.systems`; those of the accuracy
predictor come from its room.
"""

from __future__ import annotations

import pandas as pd

from dse.accuracy.hold_out import validation as predicted_accuracies
from dse.validation.hardware import hardware_rows
from dse.validation.nodes import node_rows
from dse.validation.row import COLUMNS, Row, row
from dse.validation.silicon import silicon_rows
from dse.validation.systems import system_rows
from dse.workload import load_workload

#: Workload: (GMAC, million parameters, source).
NETWORKS = {
    "imagenet_resnet": (1.814, 11.69, "torchvision resnet18"),
    "imagenet_resnet34": (3.66, 21.80, "torchvision resnet34"),
    "imagenet_resnet50": (4.09, 25.56, "torchvision resnet50"),
    "imagenet_vgg16": (15.47, 138.36, "torchvision vgg16"),
    "imagenet_mobilenet_v2": (0.301, 3.50, "torchvision mobilenet_v2"),
    "cifar_resnet20": (0.0406, 0.27, "He et al., CVPR 2016"),
}


def validation_table(chips: bool = True) -> pd.DataFrame:
    """All rows: ``source, quantity, unit, published, ours, signed_error, tolerance, note, kind, includes``; errors are relative.

    A tolerance of NaN: shown for comparison, nothing is claimed.

    Parameters
    ----------
    chips
        False: without the rows for which mappings are searched on some fifteen chips, a few seconds.
    """
    rows = [
        *_networks(),
        *hardware_rows(),
        *node_rows(),
        *(silicon_rows() if chips else []),
        *system_rows(),
        *_accuracy(),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _networks() -> list[Row]:
    rows = []
    for name, (gmac, millions, source) in NETWORKS.items():
        network = load_workload(name)
        rounding = "published figure is rounded"
        rows.append(
            row("count", source, f"{name}: multiply-accumulates", "GMAC", gmac, network.macs / 1e9, 0.005, rounding)
        )
        rows.append(
            row("count", source, f"{name}: parameters", "M", millions, network.parameters / 1e6, 0.005, rounding)
        )
    return rows


def _accuracy() -> list[Row]:
    note = "predicted from three of HAWQ-V3's points; two trainings of one map differ by 0.16 points"
    return [
        row(
            "accuracy",
            str(item["source"]),
            str(item["quantity"]),
            str(item["unit"]),
            float(item["published"]),
            float(item["ours"]),
            note=f"{note}; error {item['error']:+.2f} {item['unit']}",
        )
        for item in predicted_accuracies().to_dict("records")
    ]
