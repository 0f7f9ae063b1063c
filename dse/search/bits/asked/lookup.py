"""Exact allocation of formats on measured costs, without hardware: all best trade-offs under an accuracy limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dse.accuracy import Profile
from dse.cost.lookup import Lookup, Triple, choice_costs
from dse.errors import InputError
from dse.precision import Plan
from dse.search.allocation.candidates import asked_names, candidates
from dse.search.allocation.fronts import choices as choices_of
from dse.search.allocation.fronts import exact_front_2d, exact_front_3d
from dse.search.bits.asked.make import allowed_choices, score_of_choices
from dse.search.bits.problem import tie_groups
from dse.workload.model import Network


@dataclass(frozen=True)
class LookupFront:
    """Bit maps of which none dominates another.

    Attributes
    ----------
    front
        One row per bit map by rising score: ``design``, ``latency_s`` and ``energy_j`` as the table has them, ``score``,
        ``accuracy_drop_pp`` as predicted, and ``certificate_gap``: a bit map with no higher score costs at most this share less, 0
        where the front is exact.
    bits
        ``design, layer, weight, activation``.
    best
        The plan of least cost (latency, else energy) that keeps the limit.
    """

    front: pd.DataFrame
    bits: pd.DataFrame
    best: Plan


def lookup_front(
    network: Network,
    profile: Profile,
    table: Lookup,
    formats: Sequence[str] | None,
    limit_pp: float,
    confidence: float,
) -> LookupFront:
    """All best bit maps of inference on a table; ``formats`` default to the pairs that the table has.

    Raises
    ------
    InputError
        Names that are no formats, entries that are missing, or a limit that no bit map keeps.
    """
    if formats is not None:
        asked_names(formats)
    wanted = tuple(formats) if formats is not None else table.formats
    if not wanted:
        raise InputError(table.path, ["has no entry of a format, so that there is nothing to choose from"])
    layers = network.mac_layers
    names = [layer.name for layer in layers]
    groups = tie_groups(network, profile)
    kept = tuple(max(profile.kept.get(names[l], 0) for l in members) for members in groups)
    offered = candidates(wanted, profile.tied)
    allowed = allowed_choices(profile, offered, kept, [names[members[0]] for members in groups], wanted)
    keys = [Triple(choice.weight.name, choice.activation.name) for choice in offered]
    layer_allowed = np.zeros((len(layers), len(offered)), bool)
    for g, members in enumerate(groups):
        layer_allowed[list(members)] = allowed[g]
    # A layer's choices that are not allowed need no entry: they take the costs of its first allowed one, and are masked.
    first = layer_allowed.argmax(axis=1)
    rows = [[keys[c] if layer_allowed[l, c] else keys[first[l]] for c in range(len(keys))] for l in range(len(layers))]
    costs = choice_costs(table, layers, rows, "inference")
    scores, _ = score_of_choices(profile, names, offered)
    score, *summed = (
        np.stack([values[list(members)].sum(axis=0) for members in groups]) for values in (scores, *costs.values())
    )
    bound = profile.score_limit(limit_pp, confidence=confidence)
    least = float(np.where(allowed, score, np.inf).min(axis=1).sum())
    if not bound >= least:
        drop = float(profile.drop_of_score(least))
        raise InputError(
            "--max-accuracy-drop", [f"no bit map keeps {limit_pp:g}; the least predicted drop is {drop:.3g}"]
        )
    by_name = dict(zip(costs, summed, strict=True))
    if len(by_name) == 2:
        found = exact_front_3d(score, by_name["energy_j"], by_name["latency_s"], allowed, bound)
        order = ["energy_j", "latency_s"]
    else:
        order = list(by_name)
        found = exact_front_2d(by_name[order[0]], score, allowed, bound)
    picked = choices_of(found)
    front = pd.DataFrame({"design": [f"m-{number:04d}" for number in range(len(picked))]})
    gaps = np.zeros(len(picked))
    for name in costs:
        exact = np.array([np.take_along_axis(by_name[name], row[:, None], 1).sum() for row in picked])
        front[name] = exact
        gaps = np.maximum(gaps, found.error[order.index(name)] / np.maximum(exact, np.finfo(float).tiny))
    front["score"] = [np.take_along_axis(score, row[:, None], 1).sum() for row in picked]
    front["accuracy_drop_pp"] = profile.drop_of_score(front["score"].to_numpy())
    front["certificate_gap"] = gaps
    owner = {l: g for g, members in enumerate(groups) for l in members}
    bits = pd.DataFrame(
        [
            (design, names[l], keys[row[owner[l]]].weight, keys[row[owner[l]]].activation)
            for design, row in zip(front["design"], picked, strict=True)
            for l in range(len(names))
        ],
        columns=["design", "layer", "weight", "activation"],
    )
    best = str(front["design"].iloc[int(front[next(iter(costs))].to_numpy().argmin())])
    chosen = bits[bits["design"] == best].set_index("layer")
    by_operand = {operand: dict(chosen[operand]) for operand in ("weight", "activation")}
    return LookupFront(front, bits, Plan.from_formats(network, {**by_operand, "error": "fp32"}))
