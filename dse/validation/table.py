"""Published figures against ours, one row each, with signed errors; ``dse validate`` prints them and reports show them.

``ours`` is computed when the table is made, from the shipped files. Rows on units and chips are in
:mod:`dse.validation.hardware`, on published systems in :mod:`dse.validation.systems`; those of the accuracy
predictor come from its room.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from dse.accuracy.hold_out import validation as predicted_accuracies
from dse.errors import InputError
from dse.files import is_file, make_folder, read_bytes, read_json, write_text
from dse.mapping.best.tables.cache import cache_dir
from dse.shipped import shipped_folder, shipped_names
from dse.validation.hardware import hardware_rows
from dse.validation.nodes import node_rows
from dse.validation.row import COLUMNS, Row, row
from dse.validation.silicon import silicon_rows
from dse.validation.systems import system_rows
from dse.workload import load_workload

#: Kinds of shipped files that rows are computed from.
KINDS = ("workloads", "workloads/profiles", "hwmodels")
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


def published_rows() -> list[dict[str, Any]]:
    """Rows of :func:`validation_table` without chips, by column: computed once per version of the program, and kept on disk.

    They depend on the program and its shipped files alone, so that a digest of all of these names the file. It lies beside
    the tables of mappings and holds a checksum; what does not fit is computed anew, from an empty cache in ten seconds.
    """
    if any(is_file(name) for kind in KINDS for name in shipped_names(kind)):
        # A file of a shipped name in the user's folder is read in its place: such figures are not kept.
        return _computed()
    return [dict(row) for row in _kept()]


@lru_cache(maxsize=1)
def _kept() -> list[dict[str, Any]]:
    path = cache_dir() / f"published-{_digest()}.json"
    with suppress(InputError):
        found = read_json(path)
        if isinstance(found, dict) and found.get("checksum") == _checksum(found.get("rows")):
            return [dict(zip(COLUMNS, map(_number, row), strict=True)) for row in found["rows"]]
    rows = _computed()
    told = [
        [None if isinstance(value, float) and math.isnan(value) else value for value in row.values()] for row in rows
    ]
    with suppress(InputError, OSError):  # A directory that cannot be written costs only the time to compute again.
        make_folder(path.parent)
        write_text(path, json.dumps({"rows": told, "checksum": _checksum(told)}))
    return rows


def _computed() -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in validation_table(chips=False).to_dict("records")]


def _number(value: Any) -> Any:
    """JSON has no NaN; a row's missing figure is one."""
    return math.nan if value is None else value


def _checksum(rows: Any) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _digest() -> str:
    """Of everything that the rows are computed from: the program, its shipped files, and numpy."""
    package = Path(__file__).parents[1]
    folders = {package, *(shipped_folder(kind) for kind in KINDS)}
    files = sorted({path for folder in folders for kind in ("py", "yaml", "csv") for path in folder.rglob(f"*.{kind}")})
    digest = hashlib.sha256(version("numpy").encode())
    for path in files:
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()[:32]
