"""Speed of the best mapping: cold and warm, one and more threads, memory. ``--json`` ends with one line of JSON.

Networks and accelerator ship with the package (ResNet-18 forward, ResNet-50 training, flex_trainer). Cold means an empty directory
of tables with the compiled code at hand; the designs of the warm part are random ones of flex_trainer's space with one array. Rates
per core divide by CPU time, which other load on the machine disturbs less. Where zigzag-dse is installed (extra ``benchmark``)
ZigZag searches its ResNet-18 on its tpu_like in the same run, and ours maps the same layers on the same array, judged by ZigZag's
model (``tpu_like.py``); else its recorded run is cited.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import tpu_like
import zigzag_search

import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.jobs.points import Span
from dse.cost.mapped.table_jobs import cost_jobs, tables_of
from dse.hardware.arrays import hardware_arrays
from dse.hardware.model import Hardware
from dse.mapping.best.tables import cache

#: CPU seconds of ZigZag 3.9.1 for ResNet-18 on tpu_like at one point, with its own search (reference run, 13,860 evaluations).
ZIGZAG_RESNET18_S = 40.0


@contextmanager
def empty_cache() -> Iterator[None]:
    """An empty directory of tables, and none in memory."""
    before = os.environ.get("DSE_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DSE_CACHE_DIR"] = folder
        cache.forget()
        yield
        cache.forget()
        os.environ.pop("DSE_CACHE_DIR")
        if before is not None:
            os.environ["DSE_CACHE_DIR"] = before


def cold(hardware: Hardware, name: str, mode: str, sizes: tuple[int, int]) -> tuple[float, float, int]:
    """Seconds, and CPU seconds of all threads, to search all tables into an empty directory; how many."""
    network = dse.load_workload(name)
    nests = network_jobs(network, hardware, [dse.Plan.uniform(network)], mode).jobs.nests
    with empty_cache():
        start, busy = time.perf_counter(), time.process_time()
        tables_of(hardware, np.array(sizes), nests, [Span()] * len(nests))
        return time.perf_counter() - start, time.process_time() - busy, len(nests)


def warm(hardware: Hardware, name: str, mode: str, designs: int) -> dict[str, float]:
    """Milliseconds per design of the whole network in a batch of designs with one array, tables in memory."""
    network = dse.load_workload(name)
    jobs = network_jobs(network, hardware, [dse.Plan.parse("w4a8e8", network)], mode).jobs
    rng = np.random.default_rng(0)
    columns = {p.name: rng.choice(p.values, designs) for p in hardware.space if not p.name.startswith("array.")}
    arrays = hardware_arrays(hardware, pd.DataFrame(columns))
    cost_jobs(hardware, arrays.rows(0, 2), jobs)
    wall = busy = np.inf
    for _ in range(3):
        start, before = time.perf_counter(), time.process_time()
        cost_jobs(hardware, arrays, jobs)
        wall, busy = min(wall, time.perf_counter() - start), min(busy, time.process_time() - before)
    return {"ms": wall / designs * 1e3, "cpu_ms": busy / designs * 1e3, "jobs": float(len(jobs.nest))}


def peers(ours_s: float) -> str:
    """ZigZag's ResNet-18 on its tpu_like beside ours, in one run if it is installed."""
    if not zigzag_search.installed():
        return (
            f"zigzag-dse is not installed: skipped. Its recorded run needed {ZIGZAG_RESNET18_S:.0f} CPU s for ResNet-18 at one "
            f"point, {ZIGZAG_RESNET18_S / ours_s:.2g} times ours (warm, in a batch)."
        )
    theirs = zigzag_search.search("energy")
    busy = time.process_time()
    found = tpu_like.compare().values()
    spent = time.process_time() - busy
    energy = sum(thrifty.energy_pj for thrifty, _, _ in found)
    return (
        f"ResNet-18 on tpu_like, ZigZag's prices and model, one run: ZigZag's search for energy {theirs.energy_pj:.6g} pJ in "
        f"{theirs.cpu_s:.1f} CPU s; ours {energy:.6g} pJ ({energy / theirs.energy_pj:.5f}) in {spent:.1f} CPU s, from scratch and "
        f"both objectives. A further (hardware, bits) point takes ours {1e3 * ours_s:.3g} CPU ms, "
        f"{theirs.cpu_s / ours_s:.2g} times less than ZigZag's search."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--points", type=int, default=1000, help="designs of the warm part")
    parser.add_argument("--small", action="store_true", help="ResNet-18 only, few designs: for CI")
    args = parser.parse_args()
    hardware = dse.load_hardware("flex_trainer")
    training = "imagenet_resnet" if args.small else "imagenet_resnet50"
    count = 50 if args.small else args.points
    cold(hardware, "cifar_resnet20", "inference", (32, 32))  # compiles
    cold_s, cold_cpu_s, tables = cold(hardware, training, "training", (32, 32))
    second_s, second_cpu_s, _ = cold(hardware, training, "training", (16, 64))
    with empty_cache():
        small = warm(hardware, "imagenet_resnet", "inference", count)
        large = warm(hardware, training, "training", max(count // 5, 20))
    result = {
        "resnet18_forward_ms_per_point": small["ms"],
        "resnet18_forward_cpu_ms_per_point": small["cpu_ms"],
        "training_ms_per_point": large["ms"],
        "training_cpu_ms_per_point": large["cpu_ms"],
        "pairs_per_second_per_core": large["jobs"] / large["cpu_ms"] * 1e3,
        "tables": tables,
        "cold_training_s": cold_s,
        "cold_training_cpu_s": cold_cpu_s,
        "second_array_s": second_s,
        "second_array_cpu_s": second_cpu_s,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name, value in result.items():
        print(f"{name:45s} {value:14.4g}")
    print(peers(small["cpu_ms"] / 1e3))
    if args.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
