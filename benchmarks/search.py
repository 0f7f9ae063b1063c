"""How fast a search finds the front: hypervolume against time of all strategies, and the speed of the exact parts.

    python benchmarks/search.py --json                   # the race on ResNet-18; the last line is JSON
    python benchmarks/search.py --json --workloads imagenet_resnet,imagenet_resnet50 --out FOLDER
    python benchmarks/search.py --exact                  # whole fronts, relaxation of 1,000 designs
    python benchmarks/search.py --designs 10000          # that many designs, each with its best bit map at the limit

The race: all strategies have the same model, space, process and machine, and mapping tables that are in the cache; their clock
starts with the search itself (what `nested` spends on screening counts) and runs through Optuna, costs and allocation. The best
known hypervolume is that of everything any of them found and of `exhaustive`, which solves every hardware point.

The yardstick is set up as well as we know. `joint` starts from uniform plans that keep the limit (a whole generation of them), on
random hardware; widths are ordered integers and not categories; choices that the profile forbids are not offered; its samplers
are told by how much a trial misses a limit (as a constraint, not as a number in the objectives); a trial pays for its own plan
only, and for none where the accuracy limit is missed, which is known without a cost.

With ``--out`` every finished run is kept in the folder: a race that was stopped goes on, and the picture lies there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from dse.accuracy import load_profile
from dse.cost.model import MODEL_VERSION
from dse.cost.steps.choices import choice_costs, uniform_plans
from dse.files import write_text
from dse.goals import objective_columns
from dse.hardware import load_hardware, sample_table
from dse.precision.formats import parse_format
from dse.search.allocation.fronts import exact_front_2d
from dse.search.allocation.lagrange import lagrangian
from dse.search.bits.asked.make import Asked, Offered, make_problem
from dse.search.bits.problem import SearchProblem
from dse.search.bits.solve import Weighting, design_arrays, price_choices, solve_designs
from dse.search.loop.run import Budget, Search, search
from dse.search.loop.strategies import STRATEGIES
from dse.search.pareto import hypervolume
from dse.workload import load_workload

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
GOAL = 0.99
#: Strategy, sampler, screening.
RACERS = {
    "nested": ("nested", "tpe", True),
    "joint_tpe": ("joint", "tpe", False),
    "joint_nsga2": ("joint", "nsga2", False),
    "random": ("random", "random", False),
}
GOALS = ("latency_s", "energy_j", "area_mm2")
COLUMNS = [objective_columns().index(name) for name in GOALS]


def problem_of(workload: str, hardware: str, widths: tuple[int, ...] = WIDTHS) -> SearchProblem:
    """The default problem of a shipped network, at most 1 point lost."""
    network = load_workload(workload)
    profile = load_profile(workload, network)
    return make_problem([network], load_hardware(hardware), [profile], Asked(1.0, 0.5, offered=Offered(widths)))


def run(problem: SearchProblem, racer: str, seed: int, seconds: float, enough: float):
    """(seconds, hypervolume) after every batch until time is up or so much is covered, and the trials."""
    strategy, sampler, screening = RACERS[racer]
    started = time.perf_counter()
    trace: list[tuple[float, float, int]] = []

    def progress(done: int, front: int, covered: float, gap: float) -> None:
        trace.append((time.perf_counter() - started, covered, done))
        if covered >= enough:
            raise StopIteration

    asked = Search(problem, GOALS, STRATEGIES[strategy], sampler, seed, screening)
    with contextlib.suppress(StopIteration):
        search(asked, Budget(None, seconds), 1, None, None, False, progress)
    return trace


def exhaustive(problem: SearchProblem) -> tuple[float, float]:
    """Hypervolume of every hardware point solved, and the seconds that it took."""
    started = time.perf_counter()
    count = int(np.prod([len(values) for _, values in problem.parameters]))
    state = search(
        Search(problem, GOALS, STRATEGIES["exhaustive"], "tpe", 0, False),
        Budget(count, None),
        1,
        None,
        None,
        False,
        None,
    )
    covered = hypervolume(state.found.objectives[:, COLUMNS] / problem.reference[COLUMNS], np.ones(3))
    return covered, time.perf_counter() - started


def seconds_to(trace, hypervolume_wanted: float) -> float | None:
    """When a trace first covers so much."""
    return next((seconds for seconds, covered, _ in trace if covered >= hypervolume_wanted), None)


def race(workload: str, hardware: str, seeds: int, each: float, out: Path | None) -> dict:
    """All strategies on one network; joint ones run for ``each`` seconds, the others for a fifth of it at most."""
    problem = problem_of(workload, hardware)
    kept = out / f"race-{workload}.json" if out is not None else None
    done: dict = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    asked = {"hardware": hardware, "seconds_of_joint": each, "digest": problem.digest, "model": MODEL_VERSION}
    if done.get("asked", asked) != asked:
        raise SystemExit(f"{kept} is of another race ({done['asked']}); choose another --out")
    done = {"asked": asked, "runs": {}, **done}
    if "exhaustive" not in done:
        done["exhaustive"] = exhaustive(problem)
        _keep(kept, done)
    best, spent = done["exhaustive"]
    for racer in RACERS:
        run(problem, racer, 1000, 2.0, np.inf)  # mapping tables, compiled code and imports, for all
    for seed in range(seeds):
        for racer in RACERS:
            if f"{racer} {seed}" in done["runs"]:
                continue
            # A run that has passed the goal by far enough to pass that of any better best known front has nothing left to show.
            seconds = each if racer.startswith("joint") else each / 5
            trace = run(problem, racer, seed, seconds, best * 0.9995)
            done["runs"][f"{racer} {seed}"] = trace
            _keep(kept, done)
            seconds, covered, trials = trace[-1]
            print(
                f"{workload} seed {seed} {racer}: {covered / best:.4f} of exhaustive after {trials} trials, {seconds:.1f} s",
                flush=True,
            )
    traces = {racer: [done["runs"][f"{racer} {seed}"] for seed in range(seeds)] for racer in RACERS}
    known = max(best, *(trace[-1][1] for runs in traces.values() for trace in runs))
    result: dict = {
        "workload": workload,
        "best_known_hypervolume": known,
        "exhaustive_seconds": spent,
        "seconds_of_joint": each,
    }
    for racer, runs in traces.items():
        times = [seconds_to(trace, GOAL * known) for trace in runs]
        # The median of seeds of which some never arrive: infinite for those.
        middle = statistics.median([np.inf if at is None else at for at in times])
        result[f"{racer}_seconds_to_99"] = middle if np.isfinite(middle) else None
        result[f"{racer}_seconds_by_seed"] = times
        result[f"{racer}_hypervolume_share"] = statistics.median(trace[-1][1] / known for trace in runs)
        result[f"{racer}_trials"] = statistics.median(trace[-1][2] for trace in runs)
    for racer in ("joint_tpe", "joint_nsga2"):
        nested, other = result["nested_seconds_to_99"], result[f"{racer}_seconds_to_99"]
        result[f"factor_{racer}"] = None if nested is None else (other or each) / nested
        result[f"factor_{racer}_is_lower_bound"] = other is None
    result["traces"] = traces
    return result


def _keep(path: Path | None, done: dict) -> None:
    if path is not None:
        write_text(path, json.dumps(done))


def picture(results: list[dict], path: Path) -> None:
    """Share of the best known hypervolume against time, every seed, as one HTML page per network."""
    for result in results:
        figure = go.Figure()
        colours = dict(zip(RACERS, ("#1b6ca8", "#d1495b", "#edae49", "#8a8a8a"), strict=True))
        for racer, runs in result["traces"].items():
            for seed, trace in enumerate(runs):
                figure.add_scatter(
                    x=[seconds for seconds, _, _ in trace],
                    y=[covered / result["best_known_hypervolume"] for _, covered, _ in trace],
                    line={"color": colours[racer], "width": 1.5, "shape": "hv"},
                    mode="lines",
                    name=racer.replace("_", " "),
                    legendgroup=racer,
                    showlegend=seed == 0,
                )
        figure.add_hline(y=GOAL, line={"dash": "dot", "color": "#444444"}, annotation_text="99 %")
        figure.update_layout(
            title=f"{result['workload']}, training: front found against time, {len(result['traces']['nested'])} seeds",
            xaxis={"title": "wall time, s", "type": "log"},
            yaxis={"title": "share of best known hypervolume", "range": [0, 1.02]},
            template="plotly_white",
            height=460,
            margin={"t": 60, "b": 50},
        )
        figure.write_html(
            path / f"search-{result['workload']}.html", include_plotlyjs="directory", config={"displayModeBar": False}
        )


def designs(workload: str, hardware: str, count: int) -> dict:
    """Solve many random designs for the best map at the limit (weights 0, 0.5 and 1 of latency, every error width)."""
    problem = problem_of(workload, hardware)
    table = sample_table(problem.hardware, count, 0).to_numpy(dtype=np.float64)
    started, processor = time.perf_counter(), time.process_time()
    feasible, worst = 0, 0.0
    for first in range(0, count, 64):
        rows = table[first : first + 64]
        for outcome in solve_designs(problem, rows, [[Weighting(0.5)]] * len(rows), first):
            feasible += not outcome.limit
            worst = max(worst, float(outcome.found.gap.max(initial=0.0)))
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"workload": workload, "designs": count, "feasible": feasible, "worst_gap": worst, "seconds": seconds,
            "processor_seconds": processor, "peak_memory_gib": peak}  # fmt: skip


def exact(hardware: str) -> dict:
    """Whole fronts of ResNet-50 for one design, and the relaxation of 1,000, from tables of the cost model.

    Once as it is searched (tied layers and operands share their width), once with every layer and both operands on their own, where
    half of a layer's measured score is that of its weights and half that of its activations.
    """
    problem = problem_of("imagenet_resnet50", hardware)
    subject = problem.subjects[0]
    table = sample_table(problem.hardware, 1000, 0).to_numpy(dtype=np.float64)
    costs = price_choices(problem, subject, table)
    energy, latency = costs.energy_j[:, 0], costs.latency_s[:, 0]
    lagrangian(energy[:2], subject.score, float(subject.score_limit[0]), subject.allowed)
    exact_front_2d(energy[0], subject.score, subject.allowed)
    result: dict = {"layers": len(subject.network.mac_layers), "groups": len(subject.groups)}
    started = time.perf_counter()
    relaxed = lagrangian(energy, subject.score, float(subject.score_limit[0]), subject.allowed)
    result["lagrangian_1000_designs_seconds"] = time.perf_counter() - started
    result["lagrangian_worst_gap"] = float(np.nanmax(relaxed.gap))
    fronts = {
        "energy": (energy[0], subject.score, subject.allowed),
        "latency": (latency[0], subject.score, subject.allowed),
    }
    result["choices"] = int(subject.allowed.sum(axis=1).max())
    widths = sorted({item.weight.element_bits for item in subject.choices})
    pairs = [(weight, activation) for weight in widths for activation in widths]
    alone = [(index,) for index in range(result["layers"])]
    free = choice_costs(
        subject.network,
        problem.hardware,
        design_arrays(problem, table[:1]),
        uniform_plans(
            subject.network, [(parse_format(f"int{w}"), parse_format(f"int{a}"), subject.errors[:1]) for w, a in pairs]
        ),
        alone,
        "training",
    )
    score, allowed = np.zeros((len(alone), len(pairs))), np.ones((len(alone), len(pairs)), dtype=bool)
    for members, scores, floor in zip(subject.groups, subject.score, subject.kept, strict=True):
        of = {item.weight.element_bits: value for item, value in zip(subject.choices, scores, strict=True)}
        for index in members:
            score[index] = [(of[w] + of[a]) / 2 / len(members) for w, a in pairs]
            allowed[index] = [min(pair) >= floor for pair in pairs]
    result["choices_of_free_layers"] = len(pairs)
    fronts["energy_free_layers"] = (free.energy_j[0, 0], score, allowed)
    fronts["latency_free_layers"] = (free.latency_s[0, 0], score, allowed)
    for name, (values, its_score, mask) in fronts.items():
        started = time.perf_counter()
        front = exact_front_2d(values, its_score, mask)
        result[f"front_score_{name}_seconds"] = time.perf_counter() - started
        result[f"front_score_{name}_points"] = len(front)
        result[f"front_score_{name}_error"] = float(front.error[0])
    return result


def main() -> None:
    """Run what was asked for; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--seconds", type=float, default=70.0, help="of each joint run of the race")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workloads", default="imagenet_resnet")
    parser.add_argument("--hardware", default="flex_trainer")
    parser.add_argument("--designs", type=int, default=0)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--out", type=Path, default=None, help="folder for finished runs and pictures")
    given = parser.parse_args()
    names = given.workloads.split(",")
    if given.designs:
        print(json.dumps(designs(names[-1], given.hardware, given.designs)))
        return
    if given.exact:
        print(json.dumps(exact(given.hardware)))
        return
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    results = [race(name, given.hardware, given.seeds, given.seconds, given.out) for name in names]
    if given.out is not None:
        picture(results, given.out)
    for result in results:
        result.pop("traces")
    first = {key: value for key, value in results[0].items() if key.endswith("_to_99") or key.startswith("factor")}
    shares = {f"{racer}_hypervolume_share": results[0][f"{racer}_hypervolume_share"] for racer in RACERS}
    if given.json:
        print(json.dumps({**first, **shares, "by_workload": {result["workload"]: result for result in results}}))
    else:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
