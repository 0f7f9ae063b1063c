"""Figures that a mutant of the model may move: `python benchmarks/mutants_figures.py FILE` writes them as JSON.

Totals and layers of networks of every kind on elements of every family, prices, predicted drops, a small search, a schedule.
"""

import json
import sys

import numpy as np
import pandas as pd

import dse
from dse.hardware import hardware_arrays, sample_table

CASES = (
    ("cifar_resnet20", "bit_fusion", "w4a4e8"),
    ("cifar_resnet20", "stripes_like", "w4a8e8"),
    ("fashion_transformer", "flex_trainer", "w8a8e8"),
    ("cifar_alexnet", "fp8_trainer", "weight=fp8_e4m3,activation=fp8_e4m3,error=fp8_e5m2"),
    ("lstm_ptb", "tpu_like", "w8a8"),
    ("fashion_cnn", "mx_trainer", "weight=mxint8,activation=mxint8,error=mxint8"),
    ("fashion_cnn", "flexblock_like", "weight=bfp4,activation=bfp4,error=bfp8"),
)
PRICED = ("flex_trainer", "eyeriss", "unpu_like", "mls_unit", "simba_like")


def numbers(name: str, frame: pd.DataFrame) -> dict[str, list[float]]:
    """Numeric columns of a table."""
    kinds = {column: frame[column].dtype.kind for column in frame.columns}
    return {
        f"{name}.{column}": frame[column].to_numpy(float).tolist() for column, kind in kinds.items() if kind in "fib"
    }


def figures() -> dict[str, list[float]]:
    """All figures by name."""
    found: dict[str, list[float]] = {}
    for network, hardware, text in CASES:
        net, hw = dse.load_workload(network), dse.load_hardware(hardware)
        plan = dse.Plan.parse(text, net)
        for mode in ("training", "inference"):
            recompute = mode == "training" and network == "cifar_alexnet"
            cost = dse.evaluate(net, hw, plan, mode=mode, recompute=recompute)
            found |= numbers(f"{network}.{hardware}.{mode}", cost.total)
            found |= numbers(f"{network}.{hardware}.{mode}.layers", cost.layers)
    for hardware in PRICED:
        hw = dse.load_hardware(hardware)
        arrays = hardware_arrays(hw, sample_table(hw, 3, seed=0) if hw.space else None)
        for name in ("area_mm2", "leakage_w", "read_pj_per_bit", "write_pj_per_bit"):
            found[f"{hardware}.{name}"] = np.asarray(getattr(arrays, name), float).ravel().tolist()
    net, profile = dse.load_workload("imagenet_resnet"), dse.load_profile("imagenet_resnet")
    kept = {"conv1": 8, "fc": 8}
    plans = [dse.Plan.from_bits(net, weight=width, activation=width, error=8, kept=kept) for width in (4, 6, 8)]
    found["drops"] = [float(profile.predict_drop(plan)) for plan in plans]
    small = dse.load_workload("fashion_cnn")
    run = dse.explore(small, dse.load_hardware("flex_trainer"), max_accuracy_drop=1.0, trials=2, seed=0)
    found |= numbers("run", run.front)
    schedule = dse.Schedule.cyclic(low=3, high=8, backward=8, cycles=4, iterations=400)
    net = dse.load_workload("cifar_resnet20")
    return found | numbers("schedule", dse.evaluate(net, dse.load_hardware("bit_fusion"), schedule).total)


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as stream:
        json.dump(figures(), stream)
