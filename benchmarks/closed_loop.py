"""Do designs that `dse explore` finds keep their limit when they are trained? Small networks, three data sets, three seeds.

    pip install 'lowprec-dse[torch]' scikit-learn; apt-get install dataset-fashion-mnist
    OMP_NUM_THREADS=1 python benchmarks/closed_loop.py FOLDER digits_cnn fashion_cnn char_lm   # five to ten minutes of a core each
    python benchmarks/closed_loop.py FOLDER --table                    # the table, and shares kept by confidence
    python benchmarks/closed_loop.py FOLDER digits_mlp --errors        # errors of several widths: two minutes

Data: the handwritten digits that scikit-learn ships, Fashion-MNIST at half its size, and the text of Python's own help pages
(`pydoc_data.topics`). For each network: a profile of the trained module (`dse.sensitivity`), calibrated with whole plans that were
trained from scratch, error tensors measured the same way; then twice: search at confidence 0.5 and 0.9 under several limits, train
designs across the fronts with their own formats and seeds that no other run had, judge, and calibrate with what was found. No two
designs of a network that are counted at one confidence have the same widths of weights and activations. The quantity is the loss on
samples that were not trained on, in nat. Networks are small and runs short (200 steps), so that a hundred of them fit into minutes.
FOLDER keeps every run; the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import dse
from dse.accuracy.calibrate import calibrate_file, plans_to_measure
from dse.accuracy.profiles.loading import load_profile, profile_from_file, read_profile
from dse.accuracy.profiles.schema import ErrorTensorFile, PointFile, profile_text
from dse.files import write_text
from dse.numbers import CONFIDENCE, EVEN
from dse.workload.model import network_text
from dse.yaml_input import Document

WIDTHS, ERROR_WIDTHS = (3, 4, 6, 8), (4, 6, 8)
#: Plans that calibrate, runs of each, seeds of designs; runs of full precision, and of each width of errors.
PLANS, PLAN_SEEDS, DESIGN_SEEDS, EXACT_SEEDS, ERROR_SEEDS = 14, 2, (100, 101, 102), 8, 4
#: Limits over the smallest that 8 bits keep at confidence 0.9; trained designs of each front; rounds of search and training.
LIMITS, PER_FRONT, ROUNDS = (1.1, 1.5, 2.2, 3.5), 3, 2
#: Designs that are trained have at least this share of the largest predicted drop of their front: those far below keep any limit.
NEAR = 0.7
STEPS = 200
PIXELS = "/usr/share/datasets/fashion-mnist"
#: Rows of the table, which `dse/studies/data/closed_loop.csv` has too: widths of the layers as `4-4-6`.
COLUMNS = (
    "network", "round", "confidence", "limit_nat", "design", "weight", "activation", "error", "predicted_drop_nat",
    "error_deviation_nat", "freedom", "high_nat", "measured_drop_nat", "seeds", "deviation_nat", "kept", "energy_j",
    "lowest_energy_j",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A network to train and its data.

    Attributes
    ----------
    make
        A new module, its weights drawn from torch's generator.
    train, test
        Inputs and targets.
    rate
        Learning rate of Adam, with cosine decay over the steps.
    batch
        Samples per step.
    """

    make: Callable[[], nn.Module]
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rate: float
    batch: int = 64


class CharModel(nn.Module):
    """A transformer of two blocks over characters."""

    def __init__(self, letters: int, length: int, width: int = 32) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(letters, width), nn.Parameter(torch.randn(length, width) * 0.02)
        self.query = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.join = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.up, self.down = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            self.up.append(nn.Linear(width, 3 * width))
            self.down.append(nn.Linear(3 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.head = nn.Linear(width, letters)

    def forward(self, text: Tensor) -> Tensor:
        x = self.embed(text) + self.place
        for k in range(2):
            parts = self.query[k](self.norms[2 * k](x)).chunk(3, dim=-1)
            q, key, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in parts)
            mixed = nn.functional.scaled_dot_product_attention(q, key, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + self.join[k](mixed)
            x = x + self.down[k](torch.relu(self.up[k](self.norms[2 * k + 1](x))))
        return self.head(self.norms[4](x))


def digits(flat: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """1,797 pictures of 8x8, every fourth one for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x, dtype=torch.float32) / 8 - 1, torch.tensor(y)
    images = images if flat else images.reshape(-1, 1, 8, 8)
    tested = torch.arange(len(labels)) % 4 == 3
    return (images[~tested], labels[~tested]), (images[tested], labels[tested])


def fashion() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Every tenth of 60,000 training and every fifth of 10,000 test pictures of Fashion-MNIST, 14x14: means of four pixels."""
    from dse.training.loops.data import load_dataset

    data = load_dataset(PIXELS)
    parts = []
    for images, labels, every in ((data.images, data.labels, 10), (data.test_images, data.test_labels, 5)):
        pictures = torch.as_tensor(images[::every]).float()
        parts.append((nn.functional.avg_pool2d(pictures, 2), torch.as_tensor(labels[::every]).long()))
    return parts[0], parts[1]


def text(length: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], int]:
    """Python's help pages in lower case, the last tenth for testing: windows of characters, and each one's next character."""
    from pydoc_data.topics import topics

    words = "".join(topics[name] for name in sorted(topics)).lower()
    known = [*sorted(set(words) & set("abcdefghijklmnopqrstuvwxyz .,()'_\n")), "~"]
    index = {letter: number for number, letter in enumerate(known)}
    codes = torch.tensor([index.get(letter, len(known) - 1) for letter in words])
    windows = codes[: len(codes) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    cut = len(windows) * 9 // 10
    train, test = windows[:cut], windows[cut::16]
    return (train[:, :-1], train[:, 1:]), (test[:, :-1], test[:, 1:]), len(known)


def task(name: str) -> Task:
    """A network by name."""
    if name == "char_lm":
        train, test, letters = text(32)
        return Task(lambda: CharModel(letters, 32), train, test, 6e-3, 16)
    if name == "fashion_cnn":
        train, test = fashion()
        return Task(
            lambda: nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
                nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
                nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10),
            ),
            train, test, 4e-3,
        )  # fmt: skip
    train, test = digits(flat=name == "digits_mlp")
    if name == "digits_mlp":
        return Task(
            lambda: nn.Sequential(
                nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)
            ),
            train, test, 3e-3,
        )  # fmt: skip
    return Task(
        lambda: nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(384, 10),
        ),
        train, test, 3e-3,
    )  # fmt: skip


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy, nat."""
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def trained(given: Task, plan: dse.Plan | None, seed: int) -> tuple[float, nn.Module]:
    """Loss on the test samples of a module trained from scratch with a plan's formats, tested with them too; and the module."""
    torch.manual_seed(seed)
    module = given.make()
    x, y = given.train
    prepared = None if plan is None else dse.prepare(module, x[: given.batch], plan, seed=seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=given.rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(x), (given.batch,))
        loss = loss_of(module(x[some]), y[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        if prepared is not None:
            prepared.step(loss)
    module.eval()
    with torch.no_grad():
        value = float(loss_of(module(given.test[0]), given.test[1]))
    if prepared is not None:
        prepared.restore()
    return value, module


class Loop:
    """One network's loop; its runs stand in a journal by key."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.task = task(name)
        self.journal = self.folder / "runs.json"
        self.runs: dict[str, float] = json.loads(self.journal.read_text()) if self.journal.is_file() else {}
        found = dse.trace(self.task.make(), self.task.train[0][: self.task.batch])
        self.workload = self.folder / f"{name}.yaml"
        if not self.workload.is_file():
            write_text(self.workload, network_text(found))
        self.network = dse.load_workload(self.workload)

    def value(self, key: str, plan: dse.Plan | None, seed: int) -> float:
        """Loss of a run, trained once."""
        if key not in self.runs:
            self.runs[key] = trained(self.task, plan, seed)[0]
            self.journal.write_text(json.dumps(self.runs, indent=1))
        return self.runs[key]

    def mean(self, key: str, plan: dse.Plan | None, seeds: range | tuple[int, ...]) -> tuple[float, float]:
        """Mean and standard deviation of a plan's losses over seeds."""
        values = [self.value(f"{key} {seed}", plan, seed) for seed in seeds]
        return float(np.mean(values)), float(np.std(values, ddof=1))

    def profile(self) -> Path:
        """Scores of the trained module; error tensors and whole plans trained from scratch."""
        path = self.folder / "profile.yaml"
        if path.is_file():
            return path
        exact, noise = self.mean("exact", None, range(EXACT_SEEDS))
        _, module = trained(self.task, None, 0)
        some = torch.arange(min(512, len(self.task.train[0])))
        file = dse.sensitivity(
            module, self.task.train[0][some], self.task.train[1][some], loss_of, [f"int{bits}" for bits in WIDTHS],
            plans=0, steps=0, network=self.name,
        )  # fmt: skip
        widths = {}
        for bits in ERROR_WIDTHS:
            plan = dse.Plan.from_formats(self.network, {"weight": "fp32", "activation": "fp32", "error": f"int{bits}"})
            widths[bits] = max(exact, self.mean(f"error{bits}", plan, range(ERROR_SEEDS))[0])
        errors = ErrorTensorFile(
            source=f"this network, trained from scratch with all errors at one width, {ERROR_SEEDS} seeds",
            note="a gain counts as none",
            baseline=exact, baseline_name="full precision", widths=widths,
        )  # fmt: skip
        prediction = file.prediction.model_copy(
            update={"baseline": exact, "baseline_name": f"full precision, {EXACT_SEEDS} seeds", "calibration": "quantization-aware",
                    "noise": noise, "noise_source": "standard deviation between seeds in full precision"}
        )  # fmt: skip
        file = file.model_copy(update={"prediction": prediction, "error_tensor": errors})
        document = Document(str(path), {}, {(): 1})
        unfitted = profile_from_file(file, document)
        maps = plans_to_measure(unfitted, WIDTHS, PLANS, 0)
        points = []
        for k in range(PLANS):
            bits = {operand: [int(b) for b in table[k]] for operand, table in maps.items()}
            points.append(self.point(f"plan{k:02d}", bits, range(10 * k, 10 * k + PLAN_SEEDS), unfitted.layer_names))
        write_text(path, profile_text(calibrate_file(file, document, points).file))
        return path

    def point(
        self, key: str, bits: dict[str, list[int]], seeds: range | tuple[int, ...], names: tuple[str, ...]
    ) -> PointFile:
        """A whole plan, with errors in 16 bits, that was trained."""
        given = {operand: dict(zip(names, widths, strict=True)) for operand, widths in bits.items()}
        plan = dse.Plan.from_bits(self.network, weight=given["weight"], activation=given["activation"], error=16)
        return PointFile(
            name=key, value=self.mean(key, plan, seeds)[0], weight=bits["weight"], activation=bits["activation"]
        )

    def round(self, number: int, path: Path, seen: dict[float, set[str]]) -> tuple[list[dict[str, object]], Path]:
        """Search, train what was found and was not ``seen`` at the same confidence, and the profile calibrated with it."""
        profile = load_profile(path, self.network)
        errors = profile.error_model
        eight = profile.predict_drop("w8a8e8", "training")
        least = profile.drop_interval(eight, CONFIDENCE, picked=True).high
        rows: list[dict[str, object]] = []
        points: dict[str, PointFile] = {}
        for share in LIMITS:
            for confidence in (EVEN, CONFIDENCE):
                limit = float(f"{share * least:.2g}")
                try:
                    run = dse.explore(
                        self.network, "flex_trainer", profile=profile, max_accuracy_drop=limit, confidence=confidence, trials=3,
                        objectives=("latency", "energy", "accuracy"), widths=WIDTHS, seed=number,
                    )  # fmt: skip
                except dse.InputError as error:
                    print(self.name, number, limit, confidence, error, flush=True)
                    continue
                front = run.front[run.front["accuracy_drop_pp"] > NEAR * run.front["accuracy_drop_pp"].max()]
                fresh: list[tuple[pd.Series, dse.Plan, dict[str, list[int]]]] = []
                for _, row in front.sort_values("energy_j").iterrows():
                    plan = run.plan(str(row["design"]))
                    # A plan names layers without products, too.
                    order = [plan.layers.index(name) for name in profile.layer_names]
                    bits = {operand: [int(b) for b in plan.widths(operand)[order]] for operand in ("weight", "activation")}
                    if json.dumps(bits) not in seen[confidence] | {json.dumps(other[2]) for other in fresh}:
                        fresh.append((row, plan, bits))
                for place in np.unique(np.linspace(0, len(fresh) - 1, min(PER_FRONT, len(fresh))).round().astype(int)):
                    row, plan, bits = fresh[int(place)]
                    seen[confidence].add(json.dumps(bits))
                    widths = {operand: "-".join(map(str, found)) for operand, found in bits.items()}
                    key = f"w{widths['weight']} a{widths['activation']} e{int(row['error_bits'])}"
                    value, deviation = self.mean(key, plan, DESIGN_SEEDS)
                    drop, predicted = value - profile.baseline, float(row["accuracy_drop_pp"])
                    lost = float(profile.error_drop(int(row["error_bits"])))
                    point = PointFile(name=key, value=value - lost, weight=bits["weight"], activation=bits["activation"])
                    points.setdefault(json.dumps(bits), point)
                    rows.append(dict(zip(COLUMNS, (
                        self.name, number, confidence, limit, row["design"], widths["weight"], widths["activation"],
                        int(row["error_bits"]), round(predicted, 5), round(float(errors.deviation(predicted)), 5),
                        errors.freedom, round(float(row["accuracy_drop_high_pp"]), 5), round(drop, 5), len(DESIGN_SEEDS),
                        round(deviation, 5), drop <= limit, float(row["energy_j"]), float(run.front["energy_j"].min()),
                    ), strict=True)))  # fmt: skip
                    print(rows[-1], flush=True)
        after = self.folder / f"profile{number}.yaml"
        if not after.is_file():
            file, document = read_profile(path)
            known = {(tuple(np.ravel(p.weight)), tuple(np.ravel(p.activation))) for p in file.points}
            new = [p for p in points.values() if (tuple(np.ravel(p.weight)), tuple(np.ravel(p.activation))) not in known]
            write_text(after, profile_text(calibrate_file(file, document, new).file))
        return rows, after

    def run(self) -> None:
        """All rounds; the rows stand in ``rows.csv``."""
        path, rows = self.profile(), []
        seen: dict[float, set[str]] = {EVEN: set(), CONFIDENCE: set()}
        for number in range(ROUNDS):
            found, path = self.round(number, path, seen)
            rows += found
            with (self.folder / "rows.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def error_widths(name: str, folder: Path) -> None:
    """Write FOLDER/error_widths.csv: errors of one and of several widths, the rest in full precision, trained from scratch.

    ``noise``: the sum of the layers' error scores (`dse.sensitivity`), by which a profile places errors of several widths.
    """
    given, widths, seeds = task(name), (2, 3, 4, 8), range(ERROR_SEEDS)
    found = dse.trace(given.make(), given.train[0][: given.batch])
    names = [layer.name for layer in found.mac_layers]
    exact = float(np.mean([trained(given, None, seed)[0] for seed in seeds]))
    some = torch.arange(512)
    file = dse.sensitivity(
        trained(given, None, 0)[1], given.train[0][some], given.train[1][some], loss_of, [f"int{bits}" for bits in widths],
        plans=0, steps=0, network=name,
    )  # fmt: skip
    random, count = np.random.default_rng(1), len(names)
    alone = [tuple(2 if k == layer else 8 for k in range(count)) for layer in range(count)]
    drawn = [tuple(int(bits) for bits in random.choice(widths, count)) for _ in range(8)]
    lines = [",".join([*(f"layer{k}" for k in range(count)), "drop_nat", "deviation_nat", "noise"])]
    for chosen in dict.fromkeys([*((bits,) * count for bits in widths), *alone, *drawn]):
        errors = {layer: f"int{bits}" for layer, bits in zip(names, chosen, strict=True)}
        plan = dse.Plan.from_formats(found, {"weight": "fp32", "activation": "fp32", "error": errors})
        values = [trained(given, plan, seed)[0] for seed in seeds]
        noise = sum(file.error_scores[layer][bits] for layer, bits in zip(names, chosen, strict=True))
        numbers = (f"{np.mean(values) - exact:.5f}", f"{np.std(values, ddof=1):.5f}", f"{noise:.6g}")
        lines.append(",".join([*map(str, chosen), *numbers]))
        print(lines[-1], flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "error_widths.csv", "\n".join(lines) + "\n")


def table(folder: Path) -> None:
    """Write FOLDER/closed_loop.csv, print shares kept by confidence and round, and end with one JSON line."""
    rows = pd.concat([pd.read_csv(path) for path in sorted(folder.glob("*/rows.csv"))], ignore_index=True)
    rows.to_csv(folder / "closed_loop.csv", index=False, lineterminator="\n")
    kept = rows.groupby(["confidence", "round"])["kept"].agg(["sum", "size"])
    print(kept.to_string())
    inside = rows["measured_drop_nat"] <= rows["high_nat"]
    print(f"{int(inside.sum())} of {len(rows)} lose no more than the upper end of their interval")
    lowest = rows.groupby(["network", "round", "limit_nat", "confidence"])["lowest_energy_j"].first().unstack()
    price = (lowest[CONFIDENCE] / lowest[EVEN]).dropna()
    shares = {f"kept_{c:g}": round(float(group["kept"].mean()), 3) for c, group in rows.groupby("confidence")}
    print(
        json.dumps(
            {
                "rows": len(rows),
                **shares,
                "inside": round(float(inside.mean()), 3),
                "energy_price_median": round(float(price.median()), 3),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", default=["digits_cnn", "fashion_cnn", "char_lm"])
    parser.add_argument("--table", action="store_true", help="Print the table of what is there instead of training.")
    parser.add_argument("--errors", action="store_true", help="Train errors of several widths instead.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.errors:
        for name in options.networks:
            error_widths(name, options.folder / name)
        return
    if not options.table:
        for name in options.networks:
            Loop(name, options.folder).run()
    table(options.folder)


if __name__ == "__main__":
    main()
