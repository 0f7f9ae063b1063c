"""Batch sweep: from one sample at a time, bound by latency, to the batch beyond which throughput hardly grows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dse.cost.totals.evaluate import evaluate
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.precision.plans.labels import plan_label
from dse.workload.model import Network

#: Share of the highest rate at which a batch counts as throughput-bound; our choice.
SATURATED = 0.9
#: Batches of a sweep at most; each is a whole evaluation with tables of its own.
MOST_BATCHES = 64


def batch_sweep(
    network: Network,
    hardware: Hardware,
    plan: Plan,
    batches: Sequence[int],
    mode: str = "training",
    fusion: str | None = None,
) -> pd.DataFrame:
    """Cost of a plan at several batches.

    Parameters
    ----------
    batches
        Samples per pass, at least one, integers >= 1; a step has as many passes as the network accumulates.
    mode
        ``training`` or ``inference``.
    fusion
        What runs fused; see :func:`dse.evaluate`.

    Returns
    -------
    DataFrame
        One row per batch: ``batch, latency_s`` (of a step), ``samples_per_s, energy_j_per_sample, dram_bound`` (share of
        the time that DRAM decides), ``peak_memory_bits, memory_cache_bits``, ``setting``: ``latency`` for the shortest
        step, ``throughput`` for the smallest batch that reaches :data:`SATURATED` of the highest rate among the batches,
        both if they are one; ``feasible, limit``: figures of an infeasible batch are NaN, and the limit says why.

    Raises
    ------
    InputError
        A batch below 1.
    NothingFeasible
        The design cannot run the plan at any of the batches.
    """
    wanted = sorted(set(batches))
    if not wanted or len(wanted) > MOST_BATCHES:
        raise InputError("--batches", [f"expected 1 to {MOST_BATCHES} batches, got {len(wanted)}"])
    rows = []
    for batch in wanted:
        cost = evaluate(network.with_batch(batch), hardware, plan, mode=mode, fusion=fusion, search_mappings=False)
        total, layers = cost.total.iloc[0], cost.layers
        samples = batch * (network.accumulate if mode == "training" else 1)
        by_dram = layers.loc[layers["bound"] == hardware.memories[-1].name, "latency_s"].sum()
        rows.append(
            {
                "batch": batch,
                "latency_s": total["latency_s"],
                "samples_per_s": samples / total["latency_s"],
                "energy_j_per_sample": total["energy_j"] / samples,
                "dram_bound": by_dram / total["latency_s"],
                "peak_memory_bits": total["peak_memory_bits"],
                "memory_cache_bits": total["memory_cache_bits"],
                "setting": "",
                "feasible": bool(total["feasible"]),
                "limit": str(total["limit"]),
            }
        )
    table = pd.DataFrame(rows)
    if not table["feasible"].any():
        first = table.groupby("limit", sort=False)["batch"].min()
        problems = [Problem(f"batch {batch}", f"infeasible: {limit}") for limit, batch in first.items()]
        raise NothingFeasible(f"{network.name} on {hardware.name}, {plan_label(plan, mode)}, {mode}", problems)
    shortest = table["latency_s"].idxmin()
    full = table.index[table["samples_per_s"] >= SATURATED * table["samples_per_s"].max()][0]
    table.loc[shortest, "setting"] = "latency"
    table.loc[full, "setting"] = "latency, throughput" if full == shortest else "throughput"
    return table


def read_batches(text: str) -> list[int]:
    """Batches from ``1,8,64``.

    Raises
    ------
    InputError
        Something else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and len(part) <= 9 for part in parts):
        raise InputError("--batches", [f"expected integers such as 1,8,64, got '{text}'"])
    return [int(part) for part in parts]
