"""What a first run costs: the main job in a fresh environment and again, and one evaluation. Ends with one line of JSON.

Each run is a process of its own. ``cold``: no tables and no compiled code. ``compiled``: the compiled code at hand, no tables.
``warm``: both at hand. ``compile_s`` and ``tables_s`` are the differences. CPU seconds count all threads and processes; they are
what other load on the machine disturbs least.

Where zigzag-dse is installed, here or in the environment of ``--zigzag PYTHON``, ZigZag searches its ResNet-18 on its tpu_like in
the same run (for energy, its defaults); beside it stands ours: the best mappings of ResNet-18's inference on tpu_like from scratch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: Evaluations of one plan, of many plans, and of the same plan while everything is made anew for a second array.
EVALUATE = """
import json, time
import numpy as np
import dse
network, hardware = dse.load_workload("imagenet_resnet"), dse.load_hardware("flex_trainer")
names, rng = [layer.name for layer in network.layers if layer.has_macs], np.random.default_rng(0)
def plan():
    widths = {operand: dict(zip(names, rng.choice(["int4", "int8"], len(names)))) for operand in ("weight", "activation")}
    return dse.Plan.from_formats(network, {**widths, "error": "int8"}, default="int8")
def times(plans):
    start, busy = time.perf_counter(), time.process_time()
    for item in plans:
        dse.evaluate(network, hardware, item)
    return time.perf_counter() - start, time.process_time() - busy
one, many = plan(), [plan() for _ in range(200)]
times([one] * 3)
same, different = times([one] * 100), times(many)
print(json.dumps({"evaluate_ms": same[0] * 10, "evaluate_cpu_ms": same[1] * 10,
                  "plans_200_s": different[0], "plans_200_cpu_s": different[1]}))
"""
#: Tables of one array and then of another.
ARRAYS = """
import json, os, time
import numpy as np
import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.points import Span
from dse.cost.mapped.table_jobs import tables_of
network, hardware = dse.load_workload("imagenet_resnet"), dse.load_hardware("flex_trainer")
nests = network_jobs(network, hardware, [dse.Plan.uniform(network)], "training").jobs.nests
def spent(rows, columns):
    busy = time.process_time()
    tables_of(hardware, np.array([rows, columns]), nests, [Span()] * len(nests))
    return time.process_time() - busy
first = spent(32, 32)
print(json.dumps({"first_array_cpu_s": first, "second_array_cpu_s": spent(16, 64)}))
"""
RESNET18 = 'import dse; dse.evaluate("imagenet_resnet", "tpu_like", "w8a8e8", mode="inference")'
ZIGZAG = """
import json, zigzag_search
print(json.dumps(zigzag_search.search("energy").cpu_s if zigzag_search.installed() else None))
"""


@dataclass(frozen=True)
class Spent:
    """Seconds of a process, and what it printed last."""

    wall_s: float
    cpu_s: float
    said: str


def run(words: list[str], folder: Path, tables: str, code: str) -> Spent:
    """Run a command with directories of tables and of compiled code inside a folder."""
    environment = {**os.environ, "DSE_CACHE_DIR": str(folder / tables), "NUMBA_CACHE_DIR": str(folder / code)}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), environment.get("PYTHONPATH", "")])
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, busy, (done.stdout.strip().splitlines() or [""])[-1])


def zigzag_cpu_s(python: str) -> float | None:
    """CPU seconds of ZigZag's search, None where it is not installed."""
    done = subprocess.run([python, "-c", ZIGZAG], cwd=HERE, capture_output=True, text=True, check=True)
    found: float | None = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="imagenet_resnet", help="of the main job")
    parser.add_argument("--trials", type=int, help="of the main job; default: its own")
    parser.add_argument("--zigzag", default=sys.executable, metavar="PYTHON", help="interpreter with zigzag-dse")
    args = parser.parse_args()
    job = [sys.executable, "-m", "dse", "explore", args.workload]
    job += ["--trials", str(args.trials)] if args.trials else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold = run([*job, "--out", "cold"], folder, "tables", "code")
        compiled = run([*job, "--out", "compiled"], folder, "others", "code")
        warm = run([*job, "--out", "warm"], folder, "tables", "code")
        one = json.loads(run([sys.executable, "-c", EVALUATE], folder, "tables", "code").said)
        arrays = json.loads(run([sys.executable, "-c", ARRAYS], folder, "arrays", "code").said)
        ours = run([sys.executable, "-c", RESNET18], folder, "resnet18", "code")
    theirs = zigzag_cpu_s(args.zigzag)
    result = {
        "cold_s": cold.wall_s, "cold_cpu_s": cold.cpu_s, "warm_s": warm.wall_s, "warm_cpu_s": warm.cpu_s,
        "compile_s": cold.wall_s - compiled.wall_s, "compile_cpu_s": cold.cpu_s - compiled.cpu_s,
        "tables_s": compiled.wall_s - warm.wall_s, "tables_cpu_s": compiled.cpu_s - warm.cpu_s,
        **one, **arrays, "second_array_ratio": arrays["second_array_cpu_s"] / arrays["first_array_cpu_s"],
        "resnet18_cpu_s": ours.cpu_s, "zigzag_s": theirs,
        "zigzag_ratio": theirs / ours.cpu_s if theirs is not None else None,
    }  # fmt: skip
    for key, value in result.items():
        print(f"{key:24s} {'not installed' if value is None else format(value, '.4g')}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
