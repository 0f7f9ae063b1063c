"""GEMM times of an A100 and an MI210, modelled from their data sheets, against measurements: `python benchmarks/gpu_gemm.py`.

The measurements are those of LLMCompass (Zhang et al., ISCA 2024; see the head of gpu_gemm_measured.csv). They were taken around
a call of PyTorch and contain its launch, which no data sheet has; LLMCompass measured it with an empty product and adds it to its
own model: 21 us on the A100, 34 us on the MI210 (hardware_model/compute_module.py, `overhead_dict`). Errors are listed without
and with it. Nothing is tuned: no figure of the hardware files comes from these measurements.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import dse
from dse.workload import Layer, Network

MEASURED = Path(__file__).with_name("gpu_gemm_measured.csv")
#: Launch of a product from PyTorch, seconds, as LLMCompass measured and uses it.
LAUNCH_S = {"a100": 21e-6, "mi210": 34e-6}


def gemm(rows: int, columns: int, inner: int) -> Network:
    """A network of one matrix product (rows x inner) times (inner x columns)."""
    layer = Layer("gemm", "fc", N=rows, K=columns, C=inner)
    return Network("gemm", "one matrix product", (layer,), batch=1, samples=1, epochs=1)


def modelled_s(hardware: str, rows: int, columns: int, inner: int) -> float:
    """Time of a product on a hardware file, without launch, under its fastest mapping."""
    network = gemm(rows, columns, inner)
    plan = dse.Plan.uniform(network, weight="bf16", activation="bf16", error="bf16")
    cost = dse.evaluate(network, dse.load_hardware(hardware), plan, mode="inference", mapping_objective="latency")
    return float(cost.total["latency_s"].iloc[0])


def comparison(names: list[str]) -> pd.DataFrame:
    """One row per measured product: measured and modelled time, signed errors without and with launch, and what bounds it."""
    table = pd.read_csv(MEASURED, comment="#")
    table = table[table["hardware"].isin(names)].reset_index(drop=True)
    sizes = zip(table["hardware"], table["rows"], table["columns"], table["inner"], strict=True)
    table["modelled_ms"] = [1e3 * modelled_s(name, int(m), int(n), int(k)) for name, m, n, k in sizes]
    launch = table["hardware"].map(LAUNCH_S) * 1e3
    table["error"] = table["modelled_ms"] / table["measured_ms"] - 1
    table["error_with_launch"] = (table["modelled_ms"] + launch) / table["measured_ms"] - 1
    return table


def geometric_mean_error(errors: pd.Series) -> float:
    """exp(mean |ln(1 + error)|) - 1: 0 if all are right, the same for half and double."""
    return float(np.exp(np.abs(np.log1p(errors)).mean()) - 1)


def main() -> None:
    """Print the table and the mean errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hardware", nargs="*", default=sorted(LAUNCH_S))
    table = comparison(parser.parse_args().hardware)
    print(table.to_string(index=False, formatters={"error": "{:+.1%}".format, "error_with_launch": "{:+.1%}".format}))
    for name, rows in table.groupby("hardware"):
        bare, with_launch = (geometric_mean_error(rows[column]) for column in ("error", "error_with_launch"))
        print(f"{name}: {len(rows)} products, geometric mean error {bare:.1%}, with the launch {with_launch:.1%}")


if __name__ == "__main__":
    main()
