"""Speed of the best-mapping engine: cold and warm, one and more threads, memory. ``--json`` ends with one line of JSON.

Networks and accelerator ship with the package (ResNet-18 forward, ResNet-50 training, flex_trainer). Cold means an empty directory
of tables with the compiled code at hand. Rates per core divide by CPU time, which other load on the machine disturbs less.
Where zigzag-dse is installed (extra ``benchmark``) ZigZag searches its ResNet-18 on its tpu_like in the same run, and ours maps the
same layers on the same array, judged by ZigZag's model (``tpu_like.py``); else its recorded run is cited.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from dataclasses import replace

import numba
import numpy as np
import tpu_like
import zigzag_search

import dse
from dse.cost.jobs import array_shape, table_options
from dse.cost.network_jobs import nest_of, passes_of
from dse.mapping.best import cache
from dse.mapping.best.candidates import Options
from dse.mapping.best.engine import Points, Table, build_tables, score_many
from dse.mapping.best.score_kernel import score_pairs
from dse.mapping.nest import ArrayShape, Nest

#: CPU seconds of ZigZag 3.9.1 for ResNet-18 on tpu_like at one point, with its own search (reference run, 13,860 evaluations).
ZIGZAG_RESNET18_S = 40.0


def nests_of(name: str, mode: str, batch: int) -> list[Nest]:
    """Distinct nests of a network."""
    network = dse.load_workload(name)
    return sorted({nest_of(l, p, batch) for l in network.mac_layers for p in passes_of(l, mode)}, key=str)


def points_for(table: Table, count: int, seed: int = 0) -> Points:
    """Random widths, capacities and bandwidths in the range of flex_trainer's space, with prices per bit of its order."""
    rng = np.random.default_rng(seed)
    widths = rng.choice([2.0, 3.0, 4.0, 6.0, 8.0], (2, count))
    bits = {"weight": widths[0], "activation": widths[1], "accumulator": np.full(count, 32.0)}
    price = {"register": 0.002, "buffer": 0.05, "dram": 8.0}
    bandwidth = {"dram": rng.choice([64.0, 128.0, 256.0, 512.0], count), "buffer": rng.choice([512.0, 2048.0], count)}
    energy = np.zeros((count, len(table.columns)))
    cycles = np.zeros((count, 2, len(table.columns)))
    private = {slot.role for slot in table.slots if slot.level == "inner"}
    for j, (role, link, kind) in enumerate(table.columns):
        below = {"mac": "", "inner": "register", "outer": "buffer"}[link]
        above = {"mac": "register" if role in private else "buffer", "inner": "buffer", "outer": "dram"}[link]
        memory = below if kind.endswith(("child_writes", "child_reads")) else above
        width = widths[1] if "final" in kind and above == "dram" else bits[role]
        energy[:, j] = width * price[memory]
        for r, name in enumerate(("dram", "buffer")):
            if memory == name:
                cycles[:, r, j] = width / bandwidth[name]
    memories = max(slot.storage for slot in table.slots) + 1
    capacity = np.full((count, memories), 128.0)
    capacity[:, 1] = rng.choice([32.0, 512.0, 2048.0], count)
    capacity[:, -1] = 2.0 ** rng.integers(19, 26, count)
    slot_bits = np.column_stack(
        [np.maximum(bits[s.role], 8.0) if s.level == "inner" else bits[s.role] for s in table.slots]
    )
    lanes = np.maximum(1.0, (8 // widths[0]) * (8 // widths[1]))
    return Points(
        energy, np.full(count, table.macs * 0.2), np.ones(count), lanes, cycles, slot_bits, capacity,
        np.array([s.storage for s in table.slots]), np.ones(count),
    )  # fmt: skip


def warm(nests: list[Nest], shapes: list[ArrayShape], options: Options, count: int) -> dict[str, float]:
    """Milliseconds per point of the whole network, and candidates per second, in a batch."""
    tables = build_tables(nests, shapes, options=options)
    points = [points_for(table, count) for table in tables]
    score_many(tables, [points_for(table, 2) for table in tables])
    best = cpu = np.inf
    for _ in range(3):
        start, busy = time.perf_counter(), time.process_time()
        scores = score_many(tables, points)
        best = min(best, time.perf_counter() - start)
        cpu = min(cpu, time.process_time() - busy)
    offered = sum(len(table) for table in tables) * count
    return {
        "ms_per_point": best / count * 1e3, "cpu_ms_per_point": cpu / count * 1e3, "offered_per_cpu_s": offered / cpu,
        "candidates": offered / count, "looked_at": float(scores.visited.sum()) / offered,
    }  # fmt: skip


def plain_rate(table: Table, count: int) -> float:
    """Candidates per second and core when no block can be skipped: the best is never beaten, all are looked at."""
    points = points_for(table, count)
    bare = replace(points, capacity_bits=np.full_like(points.capacity_bits, np.inf))
    numba.set_num_threads(1)
    start = time.process_time()
    scores = score_many([table], [bare], "latency", overlap=False)
    seconds = time.process_time() - start
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    return float(scores.visited.sum()) / seconds


def cold(nests: list[Nest], shapes: list[ArrayShape], options: Options) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads, to enumerate all tables into an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("DSE_CACHE_DIR")
        os.environ["DSE_CACHE_DIR"] = folder
        cache.forget()
        start, busy = time.perf_counter(), time.process_time()
        build_tables(nests, shapes, options=options)
        seconds, cpu = time.perf_counter() - start, time.process_time() - busy
        cache.forget()
        os.environ.pop("DSE_CACHE_DIR")
        if before is not None:
            os.environ["DSE_CACHE_DIR"] = before
    return seconds, cpu


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
        f"{theirs.cpu_s:.1f} CPU s; ours {energy:.6g} pJ ({energy / theirs.energy_pj:.5f}) in {spent:.1f} CPU s, tables from "
        f"scratch and both objectives. A further (hardware, bits) point takes ours {1e3 * ours_s:.3g} CPU ms, "
        f"{theirs.cpu_s / ours_s:.2g} times less than ZigZag's search."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--small", action="store_true", help="ResNet-18 only, few points: for CI")
    args = parser.parse_args()
    hardware = dse.load_hardware("flex_trainer")
    options = replace(table_options(hardware), max_tiles=Options().max_tiles)

    def shapes(nests: list[Nest], rows: int, cols: int) -> list[ArrayShape]:
        return [array_shape(hardware, (rows, cols), nest.pass_) for nest in nests]

    forward = nests_of("imagenet_resnet", "inference", 1)
    training = nests_of("imagenet_resnet" if args.small else "imagenet_resnet50", "training", 256)
    build_tables(forward[:1], shapes(forward[:1], 8, 8), options=options)  # compiles
    count = 50 if args.small else args.points
    cold_s, cold_cpu_s = cold(training, shapes(training, 32, 32), options)
    second_s, second_cpu_s = cold(training, shapes(training, 16, 64), options)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DSE_CACHE_DIR"] = folder
        small = warm(forward, shapes(forward, 32, 32), options, count)
        large = warm(training, shapes(training, 32, 32), options, max(count // 5, 20))
        numba.set_num_threads(1)
        alone = warm(forward, shapes(forward, 32, 32), options, count)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        table = max(build_tables(training, shapes(training, 32, 32), options=options), key=len)
        rate = plain_rate(table, 200)
    threads = numba.config.NUMBA_NUM_THREADS
    result = {
        "mappings_per_second_per_core": large["offered_per_cpu_s"],
        "mappings_looked_at_per_second_per_core": rate,
        "resnet18_forward_ms_per_point": small["ms_per_point"],
        "resnet18_forward_ms_per_point_one_thread": alone["ms_per_point"],
        "resnet50_training_ms_per_point": large["ms_per_point"],
        "cold_resnet50_training_s": cold_s,
        "second_array_s": second_s,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threads,
        "share_looked_at": large["looked_at"],
        "resnet18_forward_cpu_ms_per_point": small["cpu_ms_per_point"],
        "resnet50_training_cpu_ms_per_point": large["cpu_ms_per_point"],
        "cold_resnet50_training_cpu_s": cold_cpu_s,
        "second_array_cpu_s": second_cpu_s,
        "resnet18_candidates": small["candidates"],
        "resnet50_training_candidates": large["candidates"],
    }
    for name, value in result.items():
        print(f"{name:45s} {value:14.4g}")
    print(f"kernel compiled for {len(score_pairs.signatures)} signature(s)")
    print(peers(small["cpu_ms_per_point"] / 1e3))
    if args.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
