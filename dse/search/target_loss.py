"""``dse explore --target-loss``: plans of a language model compared at equal final loss, tokens that low precision needs included.

A cheaper step that loses something pays for it with more steps. The tokens are those of a loss law (:mod:`dse.accuracy.law`), time
and energy of a step those of ``evaluate`` on sampled designs of the hardware's space; hardware and plans are all tried together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from dse.accuracy.law.law import RECIPES, Law, load_law
from dse.cost.totals.evaluate import evaluate
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware import load_hardware, sample_table
from dse.hardware.model import Hardware
from dse.numbers import CONFIDENCE
from dse.precision import Plan
from dse.search.pareto import pareto_mask
from dse.workload import load_workload
from dse.workload.model import Network

#: Plans that are compared where none are given; those that the hardware cannot run are named with the reason.
PLANS = ("bf16", "fp8_e4m3,error=fp8_e5m2", "mxfp8_e4m3", "nvfp4", "mxfp4_e2m1", "w8a8e8")
#: What the front is non-dominated in.
FRONT = ("latency_s", "energy_j", "area_mm2")


def parameters_of(network: Network) -> float:
    """Weights without embeddings and without a classifier over the rows of one: what laws of losses count.

    Raises
    ------
    InputError
        The network has no embedding: it is no language model.
    """
    rows = {layer.C for layer in network.layers if layer.kind == "embedding"}
    if not rows:
        text = f"{network.name} has no embedding of tokens; a law of losses is of language models"
        raise InputError("--target-loss", [text])
    # A product of activations has no weights, and the last layer is another copy of the embedding's table.
    return float(sum(layer.parameters for layer in network.mac_layers if layer.G * layer.K not in rows))


def tokens_per_step(network: Network) -> int:
    """Tokens of a step: rows of the embedding's output for every sample of all passes before an update."""
    rows = max(layer.N * layer.P * layer.Q for layer in network.layers if layer.kind == "embedding")
    return rows * network.batch * network.accumulate


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
    notes = dict.fromkeys(_notes(known, size, target_loss, plans))
    for name in plans:
        limit, ends = "", (np.nan, np.nan, np.nan)
        try:
            ends = _tokens(known, size, target_loss, name)
        except InputError as error:
            limit = "; ".join(problem.message for problem in error.problems)
        if limit:
            tables.append(pd.DataFrame({"plan": [name], "design": [""], "limit": [limit]}))
            continue
        cost = evaluate(network, space, Plan.parse(_formats(name), network), designs, search_mappings=False).total
        steps = ends[0] / per_step
        table = pd.DataFrame(
            {
                "plan": name,
                "design": [f"d{k:0{len(str(len(cost) - 1))}d}" for k in range(len(cost))],
                "tokens": ends[0],
                "tokens_low": ends[1],
                "tokens_high": ends[2],
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


def _tokens(law: Law, size: float, target: float, name: str) -> tuple[float, float, float]:
    """Tokens to the loss, and their ends by the error of the excess."""
    middle = law.tokens(target, size, name)
    spread = NormalDist().inv_cdf(CONFIDENCE / 2 + 0.5) * law.excess_error(size, middle, name)
    ends = []
    for shift in (spread, -spread):
        try:
            ends.append(law.tokens(target + shift, size, name))
        except InputError:
            ends.append(np.inf)  # with so much excess the loss is never reached
    return middle, ends[0], ends[1]


def _formats(name: str) -> str:
    """The plan in short of a recipe of the law: the formats of its products."""
    if name not in RECIPES or name == "bf16":
        return name
    recipe = RECIPES[name]
    error = recipe.data.first
    return f"{recipe.forward.second},error={error}"


def _notes(law: Law, size: float, target: float, plans: Sequence[str]) -> list[str]:
    said = []
    for name in plans:
        try:
            said += law.notes(size, law.tokens(target, size, name), name)
        except InputError:
            continue
    return said
