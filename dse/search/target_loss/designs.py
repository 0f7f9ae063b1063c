"""``dse explore --target-loss``: plans of a language model compared at equal final loss, tokens that low precision needs included.

A cheaper step that loses something pays for it with more steps. The tokens are those of a loss law (:mod:`dse.accuracy.law`), time
and energy of a step those of ``evaluate`` on sampled designs of the hardware's space; hardware and plans are all tried together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dse.accuracy.law.law import Law, load_law
from dse.cost.totals.evaluate import evaluate
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware import load_hardware, sample_table
from dse.hardware.model import Hardware
from dse.precision import Plan
from dse.search.pareto import pareto_mask
from dse.search.target_loss.tokens import Tokens, formats_of, law_notes, parameters_of, tokens_per_step, tokens_to
from dse.workload import load_workload
from dse.workload.model import Network

#: Plans that are compared where none are given; those that the hardware cannot run are named with the reason.
PLANS = ("bf16", "fp8_e4m3,error=fp8_e5m2", "mxfp8_e4m3", "nvfp4", "mxfp4_e2m1", "w8a8e8")
#: What the front is non-dominated in.
FRONT = ("latency_s", "energy_j", "area_mm2")


def at_target_loss(
    workload: Network | str | Path,
    hardware: Hardware | str | Path,
    target_loss: float,
    plans: Sequence[str] = PLANS,
    *,
    law: Law | str | Path = "llama_c4",
    trials: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Time and energy to a final loss, of every plan on sampled designs.

    Parameters
    ----------
    workload
        A language model in training.
    target_loss
        Loss to be reached, nat per token.
    plans
        Plans in short, such as ``nvfp4``, or recipes of the law (:data:`dse.accuracy.law.RECIPES`) that one plan trains.
    trials
        Designs drawn from the hardware's space, beside its default one.

    Returns
    -------
    DataFrame
        Rows by rising time: ``plan, design, tokens, tokens_low, tokens_high`` (90 %, from the law's error in what low
        precision loses), ``steps, step_latency_s, step_energy_j``; to the loss ``latency_s, energy_j``; ``area_mm2``; ``front``:
        none better in time, energy and area; ``limit``: why a plan cannot run (no figures then), ``""`` where it can.
        ``attrs["notes"]``: where the law is extrapolated.

    Raises
    ------
    InputError
        No language model, a plan that is no plan, a law that does not exist.
    NothingFeasible
        No plan reaches the loss on any design; with the reason of each.
    """
    network = workload if isinstance(workload, Network) else load_workload(workload)
    space = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
    known = law if isinstance(law, Law) else load_law(law)
    if not 0.0 < target_loss < np.inf:
        raise InputError("--target-loss", [f"expected a loss above 0 nat, got {target_loss}"])
    size, per_step = parameters_of(network), tokens_per_step(network)
    designs = _designs(space, trials, seed)
    tables: list[pd.DataFrame] = []
    notes = dict.fromkeys(law_notes(known, size, target_loss, plans))
    for name in plans:
        limit, ends = "", Tokens(np.nan, np.nan, np.nan)
        try:
            ends = tokens_to(known, size, target_loss, name)
        except InputError as error:
            limit = "; ".join(problem.message for problem in error.problems)
        if limit:
            tables.append(pd.DataFrame({"plan": [name], "design": [""], "limit": [limit]}))
            continue
        cost = evaluate(network, space, Plan.parse(formats_of(name), network), designs, search_mappings=False).total
        steps = ends.middle / per_step
        table = pd.DataFrame(
            {
                "plan": name,
                "design": [f"d{k:0{len(str(len(cost) - 1))}d}" for k in range(len(cost))],
                "tokens": ends.middle,
                "tokens_low": ends.low,
                "tokens_high": ends.high,
                "steps": steps,
                "step_latency_s": cost["latency_s"].to_numpy(),
                "step_energy_j": cost["energy_j"].to_numpy(),
                "latency_s": steps * cost["latency_s"].to_numpy(),
                "energy_j": steps * cost["energy_j"].to_numpy(),
                "area_mm2": cost["area_mm2"].to_numpy(),
                "limit": cost["limit"].to_numpy() if "limit" in cost else "",
            }
        )
        feasible = cost["feasible"].to_numpy(dtype=bool)
        kept = pd.concat([table.reset_index(drop=True), designs.reset_index(drop=True)], axis=1)[feasible]
        if not len(kept):
            kept = pd.DataFrame({"plan": [name], "design": [""], "limit": [str(table["limit"].iloc[0])]})
        tables.append(kept)
    found = pd.concat(tables, ignore_index=True)
    runs = found["latency_s"].notna() if "latency_s" in found else pd.Series(False, index=found.index)
    if not runs.any():
        text = [Problem(str(row["plan"]), str(row["limit"])) for row in found.to_dict("records")]
        raise NothingFeasible(f"{network.name} on {space.name}, {target_loss:g} nat", text)
    found["front"] = False
    found.loc[runs, "front"] = pareto_mask(found.loc[runs, list(FRONT)].to_numpy(dtype=float))
    found = found.sort_values(["latency_s", "energy_j"], kind="stable", na_position="last").reset_index(drop=True)
    found.attrs["notes"] = list(notes)
    return found


def best_of_each(found: pd.DataFrame) -> pd.DataFrame:
    """The fastest design of every plan; plans that cannot run last."""
    return found.groupby("plan", sort=False).head(1).reset_index(drop=True)


def _designs(space: Hardware, trials: int, seed: int) -> pd.DataFrame:
    if not space.space:
        return pd.DataFrame(index=range(1))
    default = pd.DataFrame([{parameter.name: parameter.default for parameter in space.space}])
    return pd.concat([default, sample_table(space, trials, seed)], ignore_index=True).drop_duplicates(ignore_index=True)
