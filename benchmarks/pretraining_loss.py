"""How well the loss law foresees measured runs: `python benchmarks/pretraining_loss.py FILE [--law llama_c4]`.

FILE has the columns of `tests/data/pretraining_losses_mxfp4.csv` or `pretraining_losses_nvfp4.csv`. Ends with one line of JSON:
errors of the loss, foreseen minus measured, nat (`median_abs`, `mean_abs`, `worst`, `bias`), those of the excess over BF16 at the
same size and tokens (`excess_median_abs`, `excess_mean_abs`, `excess_bias`), `order`: the share of pairs of recipes, measured at
one size and number of tokens and at least .002 nat apart, whose order is foreseen, `inside`: the share of losses in the law's 90 %
interval, and the same `by` size, formats and recipe. A row whose quantizer the law does not know is skipped and said.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from dse.accuracy.law.fit import knows
from dse.accuracy.law.law import Law, load_law
from dse.accuracy.law.recipe import Recipe
from dse.accuracy.law.rows import Run, read_runs

#: Runs that differ by less are not told apart by their seeds, nat.
TELLS_APART = 0.002


@dataclass(frozen=True)
class Foreseen:
    """A measured run and what the law says of it, nat."""

    run: Run
    recipe: Recipe
    loss: float
    excess: float
    inside: bool


def foresee(law: Law, run: Run, recipe: Recipe) -> Foreseen:
    loss = float(law.loss(run.parameters, run.tokens, recipe))
    low, high = law.interval(run.parameters, run.tokens, recipe)
    more = float(law.excess(run.parameters, run.tokens, recipe))
    return Foreseen(run, recipe, loss, more, low <= run.loss <= high)


def figures(rows: Sequence[Foreseen]) -> dict[str, float | int]:
    """Errors of some rows."""
    loss = np.array([row.loss - row.run.loss for row in rows])
    low = [row for row in rows if row.recipe != Recipe() and np.isfinite(row.run.excess)]
    more = np.array([row.excess - row.run.excess for row in low])
    found: dict[str, float | int] = {
        "rows": len(rows),
        "median_abs": float(np.median(np.abs(loss))),
        "mean_abs": float(np.abs(loss).mean()),
        "worst": float(loss[np.argmax(np.abs(loss))]),
        "bias": float(loss.mean()),
        "inside": sum(row.inside for row in rows) / len(rows),
    }
    if low:
        found |= {
            "excess_median_abs": float(np.median(np.abs(more))),
            "excess_mean_abs": float(np.abs(more).mean()),
            "excess_bias": float(more.mean()),
        }
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in found.items()}


def order(rows: Sequence[Foreseen]) -> tuple[float, int]:
    """Share of pairs of recipes at one size and number of tokens whose order is right, and how many pairs there are."""
    points: dict[tuple[float, float], list[Foreseen]] = {}
    for row in rows:
        points.setdefault((row.run.parameters, row.run.tokens), []).append(row)
    right = [
        (a.loss < b.loss) == (a.run.loss < b.run.loss)
        for group in points.values()
        for a, b in combinations(group, 2)
        if abs(a.run.loss - b.run.loss) >= TELLS_APART
    ]
    return (sum(right) / len(right) if right else float("nan")), len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--law", default="llama_c4", help="name or file of a law")
    arguments = parser.parse_args()
    law, runs = load_law(arguments.law), read_runs(arguments.file)
    parameters = dict.fromkeys(law.file.excess, 0.0)
    known = [(run, run.recipe) for run in runs if run.recipe is not None and knows(parameters, run.recipe)]
    for run in runs:
        if run.recipe is None:
            print(f"skipped: {run.label}: {run.why}")
    rows = [foresee(law, run, recipe) for run, recipe in known]
    by: dict[str, list[Foreseen]] = {}
    for row in rows:
        by.setdefault(f"{row.run.parameters / 1e6:.0f}M", []).append(row)
        by.setdefault(" ".join(row.recipe.formats) or "bf16", []).append(row)
        by.setdefault(row.run.label, []).append(row)
    share, pairs = order(rows)
    total = figures(rows) if rows else {"rows": 0}
    told = total | {"skipped": len(runs) - len(rows), "order": round(share, 4), "pairs": pairs}
    print(json.dumps(told | {"by": {name: figures(group) for name, group in by.items()}}))


if __name__ == "__main__":
    main()
