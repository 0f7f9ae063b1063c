"""What ``dse explore --target-loss`` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from dse.cli.terminal import console
from dse.cost.fusion.epilogues import with_fusion
from dse.files import csv_text, require_no_folder, write_all
from dse.hardware import load_hardware
from dse.numbers import SEED, TRIALS
from dse.search.target_loss import PLANS, at_target_loss, best_of_each
from dse.units import format_value

TITLES = ("plan", "tokens", "90 % of the law", "a step", "time", "energy", "area")


def explore_target_loss(
    workload: str,
    hardware: str,
    loss: float,
    plans: Sequence[str] | None,
    trials: int | None,
    seed: int,
    fusion: str | None,
    out: Path | None,
) -> None:
    """Print the fastest design of every plan, and write all designs to ``target_loss.csv`` in ``out``."""
    TRIALS.check(trials)
    SEED.check(seed)
    space = with_fusion(load_hardware(hardware), fusion)
    require_no_folder(out)
    found = at_target_loss(workload, space, loss, plans or PLANS, trials=trials or 64, seed=seed)
    title = f"{workload} on {space.name} to a loss of {loss:g} nat: the fastest design of each plan"
    table = Table(title=title, title_justify="left")
    for name in TITLES:
        table.add_column(name, justify="left" if name == "plan" else "right")
    reasons = []
    for row in best_of_each(found).to_dict("records"):
        if row["limit"]:
            reasons.append(f"{row['plan']}: {row['limit']}")
            continue
        step, time, energy = (
            format_value(row[column], unit)
            for column, unit in (("step_latency_s", "s"), ("latency_s", "s"), ("energy_j", "J"))
        )
        ends = f"{row['tokens_low']:.3g} to {row['tokens_high']:.3g}"
        area = format_value(row["area_mm2"], "mm²")
        table.add_row(str(row["plan"]), f"{row['tokens']:.3g}", ends, step, time, energy, area)
    screen = console()
    screen.print(table)
    for sentence in (*reasons, *found.attrs["notes"]):
        screen.print(sentence, soft_wrap=True, markup=False)
    if out is not None:
        rows = found.itertuples(index=False)
        (path,) = write_all({out / "target_loss.csv": csv_text([str(name) for name in found.columns], rows)})
        screen.print(f"all designs: {path}", soft_wrap=True, markup=False)
