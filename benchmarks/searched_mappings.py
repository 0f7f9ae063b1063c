"""How far looked-up and searched-on mappings are from the best of a long search, at random designs and formats.

    python benchmarks/searched_mappings.py [--draws 300] [--seed 0] [--hardware flex_trainer ...] [--objective edp]

Draws (hardware, design of its space, network, formats, nest) and compares the mapping of the table (what ``dse.evaluate`` takes),
the one that is searched on from there (``search_mappings=True``) and the best of both and of a long search from all starts that
knows neither. Each mapping is counted and priced loop by loop. CPU times are of one thread, tables built before. Ends with one
line of JSON: quantiles of the ratio to the best one and the share beyond 0.5 %, by kind.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

import dse
from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.network import network_jobs
from dse.cost.jobs.points import points_of, spans_of
from dse.cost.mapped.searched import priced, worth
from dse.cost.mapped.table_jobs import array_shape, cost_jobs, is_deep, mapper_options, table_mapping, tables_of
from dse.errors import InputError
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.model import Hardware
from dse.mapping.best.search.search import search
from dse.mapping.best.space import slots_of
from dse.mapping.best.tables.refine import refined
from dse.mapping.best.tables.table import explicit
from dse.mapping.explicit.mapping import Mapping
from dse.shipped import shipped_names

NETWORKS = (
    *("imagenet_resnet", "imagenet_resnet50", "imagenet_mobilenet_v2", "imagenet_googlenet", "imagenet_vit_b16"),
    *("gpt2_small", "llama3_8b_decode", "fashion_cnn"),
)
WIDTHS = (2, 3, 4, 5, 6, 8)
#: Starts that the long search walks, and kicks without a gain after which it ends.
LONG = (24, 60)


@dataclass(frozen=True)
class Draw:
    """A job on one design."""

    hardware: Hardware
    arrays: HardwareArrays
    jobs: Jobs
    job: int


def drawn(rng: np.random.Generator, hardware: Hardware) -> Draw | None:
    """A random draw on a hardware; None where it does not multiply the formats or nothing fits."""
    network = dse.load_workload(str(rng.choice(NETWORKS)))
    mode = "inference" if hardware.inference_only else str(rng.choice(["training", "inference"]))
    w, a, e = (int(x) for x in rng.choice(WIDTHS, 3))
    design = pd.DataFrame([{p.name: rng.choice(p.values) for p in hardware.space}]) if hardware.space else None
    try:
        arrays = hardware_arrays(hardware, design)
        plan = dse.Plan.parse(f"w{w}a{a}e{e}", network)
        jobs = network_jobs(network, hardware, [plan], mode).jobs
    except InputError:
        return None
    return Draw(hardware, arrays, jobs, int(rng.integers(len(jobs.nest))))


def compared(draw: Draw, objective: str) -> dict[str, tuple[float, float]] | None:
    """Value and CPU seconds by kind; None where nothing fits."""
    hardware, arrays, one = draw.hardware, draw.arrays, np.array([draw.job])
    jobs = Jobs(**{k: v if k == "nests" else v[one] for k, v in vars(draw.jobs).items()})
    nest = jobs.nests[int(jobs.nest[0])]
    costs = cost_jobs(hardware, arrays, jobs, objective)
    if costs.limit[0, 0]:
        return None
    shape, options = array_shape(hardware, arrays.axis_size[0], nest.pass_), mapper_options(hardware, nest)
    (table,) = tables_of(hardware, arrays.axis_size[0], [nest], spans_of(hardware, jobs, np.array([0])))
    point = points_of(
        hardware, arrays, np.array([0]), jobs, np.array([0]), nest, slots_of(shape), [objective]
    )  # fmt: skip

    def value(mapping: Mapping | None) -> float:
        found = None if mapping is None else priced(mapping, hardware, arrays, jobs, 0)
        return np.inf if found is None else worth(found.energy_pj, found.cycles, objective)

    looked = value(table_mapping(hardware, arrays, jobs, costs, 0))
    start = time.thread_time()
    further = refined(table, point, options).mapping
    middle = time.thread_time()
    found = search(nest, shape, point, np.array([2]), options, *LONG)
    end = time.thread_time()
    state = found.states[int(found.chosen[0])]
    long = value(explicit(nest, shape, found.slots, found.unrolls[int(state["case"])], state))
    on = min(looked, value(further))
    return {"table": (looked, 0.0), "searched": (on, middle - start), "long": (min(long, on), end - middle)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hardware", nargs="*", default=[])
    parser.add_argument("--objective", default="edp", choices=("edp", "energy", "latency"))
    args = parser.parse_args()
    every = [dse.load_hardware(name) for name in args.hardware or shipped_names("hwmodels")]
    every = [hardware for hardware in every if not is_deep(hardware)]
    rng, results, tries = np.random.default_rng(args.seed), [], 0
    while len(results) < args.draws and tries < 10 * args.draws:
        hardware = every[tries % len(every)]
        tries += 1
        draw = drawn(rng, hardware)
        row = compared(draw, args.objective) if draw is not None else None
        if row is not None and draw is not None:
            results.append(row)
            nest = draw.jobs.nests[int(draw.jobs.nest[draw.job])]
            best = row["long"][0]
            shown = " ".join(f"{kind} {value / best:.4f}" for kind, (value, _) in row.items())
            print(f"{hardware.name:18s} {nest.pass_:15s} {nest.dims!s:44s} {shown}", flush=True)
    out: dict[str, dict[str, float]] = {}
    for kind in ("table", "searched"):
        ratio = np.array([row[kind][0] / row["long"][0] for row in results])
        p50, p90, p99, worst = np.quantile(ratio, [0.5, 0.9, 0.99, 1.0]).tolist()
        spent = float(np.mean([row[kind][1] for row in results])) * 1e3
        out[kind] = {"p50": p50, "p90": p90, "p99": p99, "worst": worst, "beyond": float((ratio > 1.005).mean())}
        out[kind]["cpu_ms"] = spent
        print(f"{kind:10s} " + "  ".join(f"{name} {number:.5g}" for name, number in out[kind].items()))
    print(json.dumps({"draws": len(results), **out}))


if __name__ == "__main__":
    main()
