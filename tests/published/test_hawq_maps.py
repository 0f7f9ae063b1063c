"""HAWQ-V3 (Yao et al., ICML 2021): the allocator finds the published bit maps of ResNet-18, and the searched one of ResNet-50.

Score of a layer at a width: mean Hessian trace times the squared error of its weights. Weight and activation have one width;
a unit's first convolution and its downsampling convolution read the same activation and share theirs.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dse.search.allocation import Limit, merge_ties, solve, tie_members

DATA = Path(__file__).parents[1] / "data"
WIDTHS = (4, 8)


def read(name):
    with (DATA / name).open() as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def shared_input_ties(names):
    """Pairs of a unit's first convolution and its downsampling convolution, by torchvision's names."""
    place = {name: index for index, name in enumerate(names)}
    unit = ".downsample.0"
    return [(place[name.removesuffix(unit) + ".conv1"], index) for name, index in place.items() if name.endswith(unit)]


def best_map(layers, limited, fraction):
    """Widths of all layers at the least summed score with the limited quantity at c4 + (c8 - c4) * fraction."""
    names = [layer["layer"] for layer in layers]
    column = lambda key: np.array([float(layer[key]) for layer in layers])  # noqa: E731
    per_width = {
        "modelsize": [column("parameters") * bits for bits in WIDTHS],
        "bops": [column("macs") * bits * bits for bits in WIDTHS],
        "latency": [column(f"latency_ms_{bits}") for bits in WIDTHS],
    }[limited]
    score = np.stack([column("hessian_trace") * column(f"weight_error_{bits}") for bits in WIDTHS], axis=1)
    values = np.stack(per_width, axis=1)
    ties = shared_input_ties(names)
    low, high = values.sum(axis=0)
    answer = solve(merge_ties(score, ties), merge_ties(values, ties), None, low + (high - low) * fraction)
    assert answer.status == "optimal"
    widths = np.empty(len(names), dtype=int)
    for members, choice in zip(tie_members(len(names), ties), answer.choice, strict=True):
        widths[list(members)] = WIDTHS[choice]
    return "".join(str(width) for width in widths)


@pytest.mark.parametrize(
    "case", read("hawq_resnet18_maps.csv"), ids=lambda case: f"{case['limited']}_{case['fraction']}"
)
def test_resnet18_map(case):
    found = best_map(read("hawq_resnet18.csv"), case["limited"], float(case["fraction"]))
    assert found == case["bits"]


def test_three_limits_at_once_cost_no_less_than_each():
    layers = read("hawq_resnet18.csv")
    names = [layer["layer"] for layer in layers]
    ties = shared_input_ties(names)
    column = lambda key: np.array([float(layer[key]) for layer in layers])  # noqa: E731
    score = merge_ties(
        np.stack([column("hessian_trace") * column(f"weight_error_{bits}") for bits in WIDTHS], axis=1), ties
    )
    size = merge_ties(np.stack([column("parameters") * bits for bits in WIDTHS], axis=1), ties)
    bops = merge_ties(np.stack([column("macs") * bits * bits for bits in WIDTHS], axis=1), ties)
    time = merge_ties(np.stack([column(f"latency_ms_{bits}") for bits in WIDTHS], axis=1), ties)
    half = [values.sum(axis=0) @ [0.5, 0.5] for values in (size, bops, time)]
    alone = [solve(score, values, None, bound).cost for values, bound in zip((size, bops, time), half, strict=True)]
    both = solve(score, size, None, half[0], [Limit("bops", bops, half[1]), Limit("latency", time, half[2])])
    assert both.status == "optimal"
    assert both.cost >= max(alone)
    every = np.arange(len(score))
    for values, bound in zip((size, bops, time), half, strict=True):
        assert values[every, both.choice].sum() <= bound * (1 + 1e-12)


def test_the_searched_map_of_resnet50():
    searched = [config for config in read("hawq_resnet50_measured.csv") if not config["name"].startswith("uniform")]
    assert searched
    for config in searched:
        limited, fraction = config["name"].rsplit("_", 1)
        assert best_map(read("hawq_resnet50.csv"), limited, float(fraction)) == config["bits"], config["name"]
