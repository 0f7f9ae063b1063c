"""The allocator finds the nine bit maps that HAWQ-V3 searched for ResNet-18 with an integer programme."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.search.allocate import merge_ties, solve

DATA = Path(__file__).parents[1] / "data" / "hawq_resnet18.csv"
SEARCHED = [f"{kind}_{share}" for kind in ("modelsize", "bops", "latency") for share in ("0.75", "0.5", "0.25")]


def groups_of(names):
    """A unit's first convolution and its shortcut read the same activation and share their width."""
    groups = {}
    for index, name in enumerate(names):
        unit, part = name.rsplit(".", 1) if "downsample" not in name else (name.split(".downsample")[0], "conv1")
        groups.setdefault((unit, part), []).append(index)
    return list(groups.values())


@pytest.mark.parametrize("name", SEARCHED)
def test_searched_map_is_found(name):
    table = pd.read_csv(DATA, comment="#")
    kind, share = name.split("_")
    bits = np.array([4.0, 8.0])
    if kind == "modelsize":
        used = table["parameters"].to_numpy()[:, None] * bits
    elif kind == "bops":
        used = table["macs"].to_numpy()[:, None] * bits**2
    else:
        used = table[["latency_int4_ms", "latency_int8_ms"]].to_numpy()
    score = table[["score_int4", "score_int8"]].to_numpy()
    limit = used[:, 0].sum() + (used[:, 1].sum() - used[:, 0].sum()) * float(share)
    groups = groups_of(list(table["layer"]))
    # Here the damage is minimized and the resource is limited: cost and score change places.
    answer = solve(merge_ties(score, groups), merge_ties(used, groups), np.ones((len(groups), 2), bool), limit)
    found = np.empty(len(table), dtype=int)
    for members, choice in zip(groups, answer.choice, strict=True):
        found[members] = bits[choice]
    assert found.tolist() == table[name].tolist()
    assert answer.gap == 0.0
