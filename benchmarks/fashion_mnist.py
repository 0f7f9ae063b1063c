"""Train a small network on Fashion-MNIST in low precision, and check what `dse explore` promises about it.

    pip install 'lowprec-dse[torch]'; apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python benchmarks/fashion_mnist.py FOLDER            # about 30 minutes of one core
    OMP_NUM_THREADS=1 python benchmarks/fashion_mnist.py FOLDER --ship     # copies the small files into the package

FOLDER keeps every run as soon as it is done; the command goes on where it was stopped. Stages: a float32 network is trained and its
layers' sensitivities measured, once for each kind of score; 14 whole plans are trained to calibrate the predictor. A search
goes where a predictor is too optimistic, so random plans do not test it: `dse explore` finds fronts, bit maps across them are
trained and added to the points, twice; the score whose predictions of those maps missed least (before they were added) stays.
Then every system is trained with three seeds, and `dse explore` finds fronts anew, whose designs are trained as they are,
with their own errors: designs and bit maps that calibrated nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dse.accuracy.calibrate import calibrate_file, plans_to_measure
from dse.accuracy.measuring.measure import measure
from dse.accuracy.measuring.settings import Settings
from dse.accuracy.profiles.loading import load_profile, read_profile
from dse.accuracy.profiles.schema import ErrorTensorFile, PointFile, profile_text
from dse.files import write_text
from dse.precision.plans.plan import Plan
from dse.precision.schedules.schedule import Schedule
from dse.training.loops.choosers import ActivationDensity, Adapt, Dynasty, FracTrain, Scheduled
from dse.training.loops.data import load_dataset
from dse.training.loops.networks import make_module, workload_of
from dse.training.loops.torch_model import TorchModel, error_scores
from dse.training.loops.train import Recipe, train
from dse.training.records import mean_bits, write_record
from dse.workload.model import network_text

DATA = "/usr/share/datasets/fashion-mnist"
SAMPLES, EPOCHS, SEEDS = 15_000, 4, (0, 1, 2)
WIDTHS = (3, 4, 5, 6, 8)
#: Kinds of score that are compared.
SCORES = ("kl", "noise", "tensor")
#: Limits that explore is asked to keep, points, and designs of each front that are trained.
LIMITS, PER_LIMIT = (1.0, 2.0, 3.0, 4.0), 3
#: Rounds of exploring, training what was found and calibrating with it; maps of each round's front.
ROUNDS, PER_ROUND = 2, 2
RECIPE = Recipe("cnn", EPOCHS, test_every=EPOCHS)
ITERATIONS = RECIPE.iterations(SAMPLES)
NAME = "fashion_cnn"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/fashion_mnist.py FOLDER"
SOURCE = (
    f"five 3x3 convolutions and a classifier, trained by {COMMAND} on {SAMPLES:,} evenly spaced pictures of Fashion-MNIST "
    f"(Xiao, Rasul and Vollgraf, arXiv 1708.07747), {EPOCHS} epochs of batches of 64"
)
COLUMNS = ["system", "format", "schedule", "seed", "accuracy", "epochs", "iterations", "diverged", "weight_bits",
           "activation_bits", "error_bits", "seconds"]  # fmt: skip


def systems(network):
    """(system, format, schedule, chooser) of everything that is compared."""
    names = [layer.name for layer in network.mac_layers]

    def static(plan):
        return lambda: Scheduled(Schedule.static(plan, ITERATIONS), network)

    return [
        ("fp32", "fp32", "static", static("fp32")),
        *((f"static{bits}", f"w{bits}a{bits}e{bits}", "static", static(f"w{bits}a{bits}e{bits}")) for bits in (8, 6, 4, 3)),
        ("cpt", "int", "cyclic 3-8/8, 8 cycles",
         lambda: Scheduled(Schedule.cyclic(3, 8, 8, 8, ITERATIONS), network)),
        ("adapt", "fixed point", "PushDown, PushUp", lambda: Adapt(names)),
        ("fractrain", "int", "3-4-6-8/6-6-8-8 by the loss", lambda: FracTrain(names, ITERATIONS // 36)),
        ("dynasty_like", "bfp 4x4", "blocks by online sensitivity", lambda: Dynasty(names)),
        ("mls_e2m1", "mls_e2m1", "static", static("mls_e2m1")),
        ("mls_e2m4", "mls_e2m4", "static", static("mls_e2m4")),
        ("double_cyclic", "int", "cyclic 3-8/6-8, 8 cycles",
         lambda: Scheduled(Schedule.cyclic(3, 8, 8, 8, ITERATIONS, backward_low=6), network)),
        ("random_switch", "int", "random 4-8/8, every 10 steps",
         lambda: Scheduled(Schedule.random(4, 8, 8, ITERATIONS, hold=10), network)),
        ("density", "int", "activation density from 16 bits", lambda: ActivationDensity(names, ITERATIONS // 4)),
        ("int4_errors", "w8a8e4", "static", static("w8a8e4")),
    ]  # fmt: skip


def run(folder, data, key, labels, chooser, seed, keep=False):
    """One training run, or its result from the folder; returns its row."""
    path = folder / "runs" / key / "result.json"
    if not path.exists():
        module, record = train(data, replace(RECIPE, seed=seed), chooser())
        write_record(record, path.parent)
        bits = mean_bits(record.widths, record.iterations)
        row = dict(zip(COLUMNS[:4], (*labels, seed), strict=True)) | {
            "accuracy": round(record.accuracy, 2), "epochs": len(record.epochs), "iterations": record.iterations,
            "diverged": record.diverged, "seconds": record.seconds,
            **{f"{name}_bits": round(bits[name], 3) for name in ("weight", "activation", "error")},
        }  # fmt: skip
        if keep:
            torch.save(module.state_dict(), path.parent / "weights.pt")
        path.write_text(json.dumps(row))
        print(key, row["accuracy"], f"{record.seconds:.0f} s", flush=True)
    return json.loads(path.read_text())


def score_files(folder, data):
    """Scores of the float32 network of seed 0 on training pictures, by kind, and those of the errors beside them."""
    module = make_module("cnn", data.shape, data.classes, 0)
    module.load_state_dict(torch.load(folder / "runs" / "fp32-0" / "weights.pt", weights_only=True))
    some = np.linspace(0, len(data.labels) - 1, 2000).round().astype(int)
    paths = {}
    for score in SCORES:
        paths[score] = folder / f"scores_{score}.yaml"
        if not paths[score].exists():
            asked = Settings(WIDTHS, WIDTHS, score, plans=0, pairs=0 if score == "tensor" else 30)
            model = TorchModel(module, NAME)
            file = measure(model, data.images[some], data.labels[some], asked, folder / f"scores_{score}.part")
            write_text(paths[score], profile_text(file))
    if not (folder / "error_scores.csv").exists():
        found = error_scores(module, data.images[some[::8]], data.labels[some[::8]], WIDTHS)
        lines = ["layer,bits,gradient_noise"]
        lines += [f"{name},{bits},{noise:.6g}" for name, row in found.items() for bits, noise in row.items()]
        write_text(folder / "error_scores.csv", "\n".join(lines) + "\n")
    return paths


@dataclass
class Trained:
    """What training said so far: mean accuracy in % by plan, drops by error width, and the spread between seeds."""

    baseline: float
    points: list[PointFile]
    errors: dict[int, float]
    variances: list[float]


def train_map(folder, data, network, key, bits, seeds):
    """A point: the mean accuracy of a bit map with 8-bit errors, and the variance between its seeds."""
    plan = Plan.from_bits(network, bits["weight"], bits["activation"], error=8)
    found = [run(folder, data, f"{key}-{seed}", (key, plan.label, "static"),
                 lambda: Scheduled(Schedule.static(plan, ITERATIONS), network), seed)["accuracy"]
             for seed in seeds]  # fmt: skip
    widths = {operand: list(row.values()) for operand, row in bits.items()}
    return PointFile(name=key, value=round(float(np.mean(found)), 3), **widths), float(np.var(found, ddof=1))


def first_points(folder, data, network, scores):
    """The float32 runs, 14 whole plans with both operands' widths mixed, and each error width alone."""
    maps = plans_to_measure(load_profile(scores, network), WIDTHS, 14, seed=0)
    names = [layer.name for layer in network.mac_layers]
    baseline = np.mean([run(folder, data, f"fp32-{seed}", ("fp32", "fp32", "static"),
                            lambda: Scheduled(Schedule.static("fp32", ITERATIONS), network), seed, keep=True)["accuracy"]
                        for seed in SEEDS])  # fmt: skip
    known = Trained(round(float(baseline), 3), [], {}, [])
    for index in range(14):
        bits = {operand: dict(zip(names, map(int, rows[index]), strict=True)) for operand, rows in maps.items()}
        point, variance = train_map(folder, data, network, f"plan{index:02d}", bits, SEEDS[:2])
        known.points.append(point)
        known.variances.append(variance)
    for bits in (8, 6, 4, 3):
        plan = Plan.from_formats(network, {"weight": "fp32", "activation": "fp32", "error": f"int{bits}"})
        found = [run(folder, data, f"error{bits}-{seed}", (f"error{bits}", f"error int{bits}", "static"),
                     lambda plan=plan: Scheduled(Schedule.static(plan, ITERATIONS), network), seed)["accuracy"]
                 for seed in SEEDS]  # fmt: skip
        # An error tensor earns no credit: what is above the baseline is noise.
        known.errors[bits] = round(min(float(np.mean(found)), known.baseline), 3)
    return known


def calibrated(path, scores, known):
    """The profile of a kind of score, calibrated with all that was trained; returns the links' table."""
    path.parent.mkdir(exist_ok=True)
    file, document = read_profile(scores)
    errors: dict[str, dict[int, float]] = {}
    with (scores.parent / "error_scores.csv").open() as rows:
        for row in csv.DictReader(rows):
            errors.setdefault(row["layer"], {})[int(row["bits"])] = float(row["gradient_noise"])
    file = file.model_copy(
        update={
            "error_scores": errors,
            "source": SOURCE,
            "method": "one tensor of the float32 network rounded at a time, on 2,000 training pictures; the points are whole plans "
            "trained from the start with 2 seeds each, errors of 8 bits rounded stochastically, float32 master weights; those "
            "named found* lay on fronts of earlier rounds of this profile",
            "prediction": file.prediction.model_copy(
                update={
                    "quantity": "top1",
                    "baseline": known.baseline,
                    "baseline_name": f"the mean test accuracy of {len(SEEDS)} float32 runs",
                    "noise": round(float(np.sqrt(np.mean(known.variances))), 3),
                    "noise_source": f"standard deviation between two seeds of one plan, over {len(known.variances)} plans",
                }
            ),
            "error_tensor": ErrorTensorFile(
                source=SOURCE,
                note="Errors rounded stochastically, weights and activations in float32, three seeds; a gain is noise: none.",
                baseline=known.baseline,
                baseline_name="the float32 runs",
                widths=known.errors,
            ),
        }
    )
    found = calibrate_file(file, document, known.points, "quantization-aware")
    write_text(path, profile_text(found.file))
    return found.links


def explored(folder, profile, limit, out, options=()):
    """The front of a limit by predicted drop: rows of `front.csv`, one for each different plan."""
    if not (out / "run.json").exists():
        # In a process of its own: what it compiles leaves threads behind that slow down training.
        asked = ("--profile", profile, "--max-accuracy-drop", limit, "--trials", 40, "--out", out, *options)
        command = [sys.executable, "-m", "dse.cli", "explore", folder / f"{NAME}.yaml", *asked]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    with (out / "front.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["accuracy_drop_pp"]))
    return list({(out / "plans" / f"{row['design']}.yaml").read_text(): row for row in rows}.values())


def across(rows, count):
    """Some rows, evenly spread."""
    return [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]


def rounds(folder, data, network, scores, known):
    """Train what the fronts of every kind of score hold, and add it; returns the kind that foresaw it best.

    What a kind predicted for a map before the map was added goes to `rounds.csv`.
    """
    names = [layer.name for layer in network.mac_layers]
    rows = []
    for number in range(ROUNDS):
        profiles = {score: folder / "profiles" / f"{score}_{number}" / f"{NAME}.yaml" for score in SCORES}
        for score, path in profiles.items():
            path.parent.parent.mkdir(exist_ok=True)
            calibrated(path, scores[score], known)
        bound = {score: load_profile(path, network) for score, path in profiles.items()}
        new = {}
        for score, path in profiles.items():
            for limit in LIMITS[1::2]:
                out = folder / "fronts" / f"{score}_{number}_{limit:g}"
                for row in across(explored(folder, path, limit, out), PER_ROUND):
                    plan = Plan.load(out / "plans" / f"{row['design']}.yaml", network)
                    at = [plan.layers.index(name) for name in names]
                    bits = {operand: dict(zip(names, (plan.cells(operand)[i].element_bits for i in at), strict=True))
                            for operand in ("weight", "activation")}  # fmt: skip
                    new.setdefault(json.dumps(bits), (bits, score))
        for index, (bits, finder) in enumerate(new.values()):
            key = f"found{number}{index:02d}"
            point, variance = train_map(folder, data, network, key, bits, SEEDS[:2])
            plan = Plan.from_bits(network, bits["weight"], bits["activation"], error=8)
            told = {score: round(profile.predict_drop(plan), 3) for score, profile in bound.items()}
            rows.append({"round": number, "map": key, "found_by": finder, "plan": plan.label,
                         "measured_drop_pp": round(known.baseline - point.value, 3), **told})  # fmt: skip
            known.points.append(point)
            known.variances.append(variance)
    write_rows(folder / "rounds.csv", list(rows[0]), rows)
    missed = {
        score: float(np.sqrt(np.nanmean([(row[score] - row["measured_drop_pp"]) ** 2 for row in rows])))
        for score in SCORES
    }
    print("root mean square of predicted - measured, before calibrating with them:", missed)
    return min(missed, key=missed.__getitem__)


def check_designs(folder, data, network, profile, seeds):
    """Train designs of new fronts with their own bit maps: predicted against measured drop, and whether each keeps its limit.

    Fronts are asked for twice: with the predicted drop under the limit, and with the predictor's error counted in (robust).
    """
    bound = load_profile(profile, network)
    rows = []
    for promise in ("plain", "robust"):
        for limit in LIMITS:
            out = folder / "fronts" / (f"{limit:g}" if promise == "plain" else f"robust_{limit:g}")
            options = ("--robust",) if promise == "robust" else ()
            for row in across(explored(folder, profile, limit, out, options), PER_LIMIT):
                plan = Plan.load(out / "plans" / f"{row['design']}.yaml", network)
                key = ("front" if promise == "plain" else "robust") + f"{limit:g}-{row['design']}"
                found = [run(folder, data, f"{key}-{seed}", (key, plan.label, "static"),
                             lambda plan=plan: Scheduled(Schedule.static(plan, ITERATIONS), network), seed)["accuracy"]
                         for seed in seeds]  # fmt: skip
                drop = bound.baseline - float(np.mean(found))
                rows.append({"promise": promise, "limit_pp": limit, "design": row["design"], "plan": plan.label,
                             "predicted_drop_pp": round(float(row["accuracy_drop_pp"]), 3), "measured_drop_pp": round(drop, 3),
                             "seeds": len(found), "deviation_pp": round(float(np.std(found, ddof=1)), 3),
                             "predictor_error_pp": round(bound.error_pp, 3), "kept": drop <= limit})  # fmt: skip
    write_rows(folder / "designs.csv", list(rows[0]), rows)
    return rows


def write_rows(path, columns, rows):
    """A table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--ship", action="store_true", help="Copy the small files into the package instead of training."
    )
    parser.add_argument(
        "--systems", nargs="+", default=[], metavar="NAME",
        help="Train these systems alone and add their rows to those of the package (5 minutes for five).",
    )  # fmt: skip
    options = parser.parse_args()
    folder = options.folder
    if options.ship:
        ship(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = load_dataset(DATA, SAMPLES)
    network = workload_of(
        make_module("cnn", data.shape, data.classes, 0), data.shape, NAME, SOURCE, 64, SAMPLES, EPOCHS
    )
    write_text(folder / f"{NAME}.yaml", network_text(network))
    if options.systems:
        add_systems(folder, data, network, options.systems)
        return
    run(folder, data, "fp32-0", ("fp32", "fp32", "static"),
        lambda: Scheduled(Schedule.static("fp32", ITERATIONS), network), 0, keep=True)  # fmt: skip
    scores = score_files(folder, data)
    known = first_points(folder, data, network, scores["kl"])
    best = rounds(folder, data, network, scores, known)
    profile = folder / "profiles" / f"{NAME}.yaml"
    print(best, calibrated(profile, scores[best], known).to_string(), sep="\n")
    rows = []
    for seed in SEEDS:
        for system, form, schedule, chooser in systems(network):
            rows.append(run(folder, data, f"{system}-{seed}", (system, form, schedule), chooser, seed))
            write_rows(folder / "results.csv", COLUMNS, rows)
    check_designs(folder, data, network, profile, SEEDS)


def add_systems(folder, data, network, names):
    """Train some systems with all seeds; their rows take the place of those of the same name in the package's results."""
    unknown = set(names) - {system for system, *_ in systems(network)}
    if unknown:
        sys.exit(f"unknown systems: {', '.join(sorted(unknown))}")
    home = Path(__file__).parents[1] / "dse" / "studies" / "data" / "fashion_mnist"
    with (home / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["system"] not in names]
    for system, form, schedule, chooser in systems(network):
        if system in names:
            rows += [
                run(folder, data, f"{system}-{seed}", (system, form, schedule), chooser, seed) for seed in SEEDS
            ]
            if schedule != "static":
                shutil.copy(folder / "runs" / f"{system}-0" / "formats.csv", home / f"formats_{system}_0.csv")
    write_rows(home / "results.csv", COLUMNS, rows)


def ship(folder):
    """Copy what is small into the package: workload, profile, results, checked designs, and the formats over time of policies."""
    root = Path(__file__).parents[1]
    data = root / "dse" / "studies" / "data" / "fashion_mnist"
    data.mkdir(parents=True, exist_ok=True)
    write_text(root / "workloads" / "profiles" / f"{NAME}.yaml", (folder / "profiles" / f"{NAME}.yaml").read_text())
    for name in ("results.csv", "rounds.csv", "designs.csv", "error_scores.csv"):
        write_text(data / name, (folder / name).read_text())
    for system in ("adapt", "fractrain", "cpt", "dynasty_like"):
        for seed in SEEDS if system in ("adapt", "fractrain") else SEEDS[:1]:
            path = folder / "runs" / f"{system}-{seed}" / "formats.csv"
            if path.exists():
                write_text(data / f"formats_{system}_{seed}.csv", path.read_text())


if __name__ == "__main__":
    main()
