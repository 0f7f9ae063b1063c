"""Is a step that runs fused ever worse than one whose layers meet in DRAM? Shipped networks on shipped accelerators, 8 bits.

    python benchmarks/fusion_law.py [--networks A,B] [--hardware A,B] [--batch 1] [--mode inference] [--table]

For each pair ``vector``, ``resident`` and ``best``: energy, time and DRAM bits relative to ``none``. The law: neither energy nor
time is above 1, and the sum of both is lowest with ``best``. ``--table`` prints rows of docs/own-fusion.md. Ends with one JSON
line: ``pairs, refused, worse`` (those that break it), ``best_energy_median, best_latency_median``.
"""

from __future__ import annotations

import argparse
import json
from statistics import median

import dse
from dse.cost.fusion.epilogues import FUSIONS
from dse.errors import InputError
from dse.shipped import shipped_names

#: A ratio within this of 1 is no worse.
EQUAL = 1.0 + 1e-9
COLUMNS = ("energy_j", "latency_s", "dram_bits")


def ratios(network: str, hardware: str, mode: str, batch: int | None) -> dict[str, list[float]] | None:
    """Energy, time and DRAM bits by what runs fused, relative to ``none``; None where the accelerator does not run the network."""
    net = dse.load_workload(network)
    net = net if batch is None else net.with_batch(batch)
    found: dict[str, list[float]] = {}
    for fusion in FUSIONS:
        try:
            total = dse.evaluate(net, hardware, "w8a8e8", mode=mode, fusion=fusion).total.iloc[0]
        except InputError:
            return None
        if not total["feasible"]:
            return None
        found[fusion] = [float(total[name]) for name in COLUMNS]
    base = found["none"]
    return {fusion: [value / whole for value, whole in zip(row, base, strict=True)] for fusion, row in found.items()}


def breaks(found: dict[str, list[float]]) -> bool:
    """Whether a pair breaks the law."""
    above = any(value > EQUAL for row in found.values() for value in row[:2])
    least = min(sum(row[:2]) for row in found.values())
    return above or sum(found["best"][:2]) > least * EQUAL


def row_of(network: str, hardware: str, given: argparse.Namespace, found: dict[str, list[float]]) -> str:
    """A row of the table of docs/own-fusion.md."""
    shown: dict[str, str] = {}
    for name in FUSIONS[1:]:
        text = ", ".join(f"{value:.2f}" for value in found[name])
        shown[name] = next((f"as `{other}`" for other in reversed(shown) if found[other] == found[name]), text)
    batch = given.batch or dse.load_workload(network).batch
    return f"| {network}, {batch}, {given.mode} | `{hardware}` | {' | '.join(shown.values())} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(shipped_names("workloads")))
    parser.add_argument("--hardware", default=",".join(shipped_names("hwmodels")))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--mode", default="inference")
    parser.add_argument("--table", action="store_true", help="Print rows of a Markdown table.")
    given = parser.parse_args()
    rows, refused, worse = [], 0, []
    for network in given.networks.split(","):
        for hardware in given.hardware.split(","):
            found = ratios(network, hardware, given.mode, given.batch)
            if found is None:
                refused += 1
                continue
            rows.append(found)
            if breaks(found):
                worse.append(f"{network} on {hardware}")
            shown = "  ".join(f"{name} " + " ".join(f"{value:.3f}" for value in found[name]) for name in FUSIONS[1:])
            print(row_of(network, hardware, given, found) if given.table else f"{network:28s} {hardware:16s} {shown}", flush=True)
    best = [row["best"] for row in rows]
    print(
        json.dumps(
            {
                "pairs": len(rows),
                "refused": refused,
                "worse": worse,
                "best_energy_median": median(row[0] for row in best) if best else None,
                "best_latency_median": median(row[1] for row in best) if best else None,
            }
        )
    )


if __name__ == "__main__":
    main()
