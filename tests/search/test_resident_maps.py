"""Searches in which tensors wait on the chip, against every bit map, each with the best set of resident tensors."""

from itertools import product

import pandas as pd
import pytest

import dse
from dse.errors import InputError
from dse.goals import objective_columns
from dse.precision import Plan
from dse.search.bits.solve import FIXED_WEIGHTS

WIDTHS = (2, 4, 8)
SIZES = "memories.buffer.size_bits"
SPACE = [SIZES, "memories.dram.bandwidth_bits_per_cycle"]


@pytest.fixture(scope="module")
def asked(tiny):
    """Network, profile and hardware whose sizes reach from one that holds no tensor to one that holds all."""
    workload, profile, hardware = tiny
    network = dse.load_workload(workload).with_batch(2)
    return network, dse.load_profile(profile, network), hardware.with_values({SPACE[1]: 64})


@pytest.fixture(scope="module")
def run(asked):
    network, profile, hardware = asked
    given = {"profile": profile, "max_accuracy_drop": 1.0, "confidence": 0.5, "widths": WIDTHS, "mode": "inference", "strategy": "exhaustive"}
    return dse.explore(network, hardware, fusion="resident", **given)


@pytest.fixture(scope="module")
def every(asked):
    """(map, design) -> energy, latency of ``evaluate``, of the maps that keep the limit."""
    network, profile, hardware = asked
    found = {}
    table = hardware.space[0].values
    for a, b in product(WIDTHS, WIDTHS):
        widths = {"first": a, "second": a, "third": b, "last": 8}
        plan = Plan.from_bits(network, weight=widths, activation=widths)
        if float(profile.predict_drop(plan, "inference")) <= 1.0 + 1e-9:
            cost = dse.evaluate(network, hardware, plan, pd.DataFrame({SIZES: table}), mode="inference", fusion="resident")
            for size, row in zip(table, cost.total.itertuples(), strict=True):
                found[a, b, size] = (row.energy_j, row.latency_s)
    return found


def weighted(run, energy, latency, weight):
    unit = dict(zip(objective_columns(), run.problem.reference, strict=True))
    return (1 - weight) * energy / unit["energy_j"] + weight * latency / unit["latency_s"]


def test_figures_are_those_of_evaluate_and_certificates_lie_below_every_map(run, every):
    assert run.problem.hardware.fusion == "resident"
    waits = 0
    for row in run.designs.itertuples():
        named = dict(zip(run.designs.columns, row[1:], strict=True))
        same = {key: value for key, value in every.items() if key[2] == named[SIZES]}
        assert any(value == pytest.approx((row.energy_j, row.latency_s), rel=1e-9) for value in same.values())
        weight = named["certificate_weight"]
        least = min(weighted(run, *value, weight) for value in same.values())
        own = weighted(run, row.energy_j, row.latency_s, weight)
        assert named["certificate_best"] == pytest.approx(own, rel=1e-9)
        assert named["certificate_bound"] <= least * (1 + 1e-9)
        assert named["certificate_gap"] >= (own - least) / own - 1e-9
        waits += named["certificate_gap"] > 0
    assert waits  # What is no plain sum is not said to be proven.


def test_the_best_map_is_found(run, every):
    """Of all maps, at each weight on each design."""
    for size in {key[2] for key in every}:
        rows = run.designs[run.designs[SIZES] == size]
        for weight in FIXED_WEIGHTS:
            best = min(weighted(run, row.energy_j, row.latency_s, weight) for row in rows.itertuples())
            least = min(weighted(run, *value, weight) for key, value in every.items() if key[2] == size)
            assert best == pytest.approx(least, rel=1e-9)


def test_schedules_go_without(asked):
    network, profile, hardware = asked
    with pytest.raises(InputError, match="give none or vector"):
        dse.explore(network, hardware, profile=profile, fusion="resident", schedules="cyclic", trials=1)
