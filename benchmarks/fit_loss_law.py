"""Fit the loss law of pre-training to measured runs and write it: `python benchmarks/fit_loss_law.py [FILE ...] [--out LAW.yaml]`.

Without files, the runs under `tests/data` are fitted (30, 50 and 100 million parameters), which gives
`workloads/laws/llama_c4.yaml`. Prints the parameters with their standard errors and, with one size, one recipe or one number of
tokens per parameter left out, the errors of what the law then foresees: foreseen minus measured, nat. Takes some minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dse.accuracy.law.fit import Fit, Judged, fit_excess, fit_reference, leave_out
from dse.accuracy.law.recipe import Recipe
from dse.accuracy.law.rows import Run, read_runs
from dse.accuracy.law.terms import reference_loss

ROOT = Path(__file__).parents[1]
FILES = tuple(
    ROOT / "tests" / "data" / name for name in ("pretraining_losses_mxfp4.csv", "pretraining_losses_nvfp4.csv")
)
SOURCE = (
    "Measured pre-training losses of Llama-like models on C4: Quartet (Castro et al., arXiv 2505.14669; MXFP4) and Quartet II "
    "(NVFP4), figures of the runs; rows and their source in tests/data. Fitted by benchmarks/fit_loss_law.py"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=list(FILES))
    parser.add_argument("--out", type=Path, default=ROOT / "workloads" / "laws" / "llama_c4.yaml")
    arguments = parser.parse_args()
    runs = [run for path in arguments.files for run in read_runs(path) if run.recipe is not None]
    reference, added = fit_reference(runs), fit_excess(runs)
    for name, value in (reference.values | added.values).items():
        print(f"{name:32s} {value:9.4f} +- {(reference.errors | added.errors)[name]:.4f}")
    ratios = [round(float(np.log2(run.tokens / run.parameters / 24.0))) for run in runs]
    judged = {
        "size": leave_out(runs, [f"{run.parameters / 1e6:.0f} M parameters" for run in runs], reference, added),
        "recipe": leave_out(runs, [run.label for run in runs], reference, added),
        "tokens": leave_out(
            runs, [f"about {25 * 2**ratio} tokens per parameter" for ratio in ratios], reference, added
        ),
    }
    for what, groups in judged.items():
        for group in groups:
            print(f"without {what}: {said(group)}; {group.out}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(law_text(runs, reference, added, judged), encoding="utf-8")


def said(group: Judged) -> str:
    """Errors of one group of runs that were left out."""
    loss = f"loss median {np.median(np.abs(group.loss)):.4f}, worst {np.abs(group.loss).max():.4f}"
    if not group.excess.size:
        return loss
    return f"{loss}; excess median {np.median(np.abs(group.excess)):.4f}, mean {group.excess.mean():+.4f}"


def law_text(runs: list[Run], reference: Fit, added: Fit, judged: dict[str, list[Judged]]) -> str:
    """The law as YAML."""
    sizes, ratios = [run.parameters for run in runs], [run.tokens / run.parameters for run in runs]
    formats = sorted({name for run in runs if run.recipe is not None for name in run.recipe.formats})
    plain = [run for run in runs if run.recipe == Recipe()]
    left = [
        float(reference_loss(reference.values, np.array(run.parameters), np.array(run.tokens))) - run.loss
        for run in plain
    ]
    spread = float(np.sqrt(np.square(left).sum() / (len(left) - len(reference.values))))
    lines = [
        f"source: {SOURCE!r}",
        f"parameters: [{min(sizes):.0f}, {max(sizes):.0f}]",
        f"tokens_per_parameter: [{min(ratios):.1f}, {max(ratios):.1f}]",
        f"formats: [{', '.join(repr(name) for name in formats)}]",
        "reference:",
        *estimates(reference),
        "reference_covariance:",
        *(f"  - [{', '.join(f'{value:.6g}' for value in row)}]" for row in reference.covariance.tolist()),
        f"reference_spread: {spread:.6f}",
        "excess:",
        *estimates(added),
        "left_out:",
    ]
    for what, groups in judged.items():
        low, loss = (np.concatenate([np.abs(getattr(group, part)) for group in groups]) for part in ("excess", "loss"))
        figures = f"excess: {np.median(low):.6f}, loss: {np.median(loss):.6f}, worst_loss: {loss.max():.6f}, runs: {len(loss)}"
        lines.append(f"  {what}: {{{figures}}}")
    return "\n".join(lines) + "\n"


def estimates(fit: Fit) -> list[str]:
    return [f"  {name}: {{value: {value:.6f}, error: {fit.errors[name]:.6f}}}" for name, value in fit.values.items()]


if __name__ == "__main__":
    main()
