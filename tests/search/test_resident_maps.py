"""Searches in which tensors wait on the chip, against every bit map, each with the best set of resident tensors."""

from itertools import product

import pandas as pd
import pytest

import dse
from dse.cost.fusion.apart import Apart
from dse.cost.fusion.epilogues import saved_bits
from dse.cost.fusion.training.prices import Prices, no_worse
from dse.cost.fusion.training.runs import TrainingRuns
from dse.cost.fusion.training.states import NOTHING, WHOLE, Step
from dse.cost.fusion.vector import shared_buffer, vector_costs
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.tensors.copies import stored_tensors
from dse.errors import InputError
from dse.goals import objective_columns
from dse.hardware.arrays import hardware_arrays
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


# --- in training: bit maps with groupings of runs into slices


TRAINED, LIMIT = (4, 8), 6.0


@pytest.fixture(scope="module")
def trained(asked):
    network, profile, hardware = asked
    hardware = hardware.with_values({SIZES: 524288})
    given = {"profile": profile, "max_accuracy_drop": LIMIT, "confidence": 0.5, "widths": TRAINED, "mode": "training", "strategy": "exhaustive"}
    return dse.explore(network, hardware, fusion="resident", **given)


def prices_of(network, hardware, plan):
    arrays, stored = hardware_arrays(hardware), [stored_tensors(network, plan, True)]
    work = network_jobs(network, hardware, [plan], "training", stored)
    saved = saved_bits(network, [plan], "training", stored)
    vector = vector_costs(network, hardware, arrays, [plan], "training", stored, saved)
    jobs, m = best_jobs(hardware, arrays, work.jobs), int(shared_buffer(hardware, arrays)[0])
    apart = Apart(network, hardware, arrays, [plan], stored, work, jobs, vector, saved.written)
    return Prices(apart, TrainingRuns(network, plan, stored[0], work, 0, hardware.memories[m].roles), 0, m)


def every_grouping(network, hardware, plan):
    """Non-dominated (energy, latency) of a plan over all ways to take its runs together, none worse for any run."""
    prices = prices_of(network, hardware, plan)
    runs, base, one = prices.runs, prices.base, prices.one
    free = Step(WHOLE, NOTHING)
    ends = {free: {(0.0, 0.0)}}
    write = float(one.write_pj_per_bit[0, -1])
    for n, own in enumerate(base):
        after = {}
        ways = [free, *(Step(mode, state) for mode, by_run in prices.states.items() for state in by_run.get(n, ()))]
        for step in ways:
            over = frozenset(k for k in step.state if runs.items[k].born < n)
            if over and step.mode.slices > 1 and runs.whole[n]:
                continue
            found = prices.cost(n, step) if step.state else own
            if not no_worse(found, own):
                continue
            made = runs.makes.get(n, -1)
            gone = made in step.state and not runs.items[made].written and not runs.items[made].error
            less = own.energy_pj - found.energy_pj + runs.as_read(n) * write * gone, own.cycles - found.cycles
            stay = frozenset(k for k in step.state if runs.items[k].last > n)
            before = ends.get(Step(step.mode, over) if over else free, set())
            after.setdefault(Step(step.mode, stay) if stay else free, set()).update((a + less[0], b + less[1]) for a, b in before)
        ends = {end: {x for x in each if not any(y != x and y[0] >= x[0] and y[1] >= x[1] for y in each)} for end, each in after.items()}
    vector = dse.evaluate(network, hardware, plan, fusion="vector").total.iloc[0]
    second = 1.0 / float(one.clock_hz[0])
    return [(vector.energy_j - a * 1e-12, vector.latency_s - b * second) for a, b in ends[free]]


def test_in_training_no_map_with_any_grouping_is_below_the_certificate(asked, trained):
    network, profile, hardware = asked
    hardware = hardware.with_values({SIZES: 524288})
    found = {}
    for error in sorted(set(trained.designs["error_bits"])):
        for a, b in product(TRAINED, TRAINED):
            widths = {"first": a, "second": a, "third": b, "last": 8}
            plan = Plan.from_bits(network, weight=widths, activation=widths, error=int(error))
            if float(profile.predict_drop(plan)) <= LIMIT + 1e-9:
                found[error, a, b] = every_grouping(network, hardware, plan)
                total = dse.evaluate(network, hardware, plan, fusion="resident").total.iloc[0]
                assert any(pair == pytest.approx((total.energy_j, total.latency_s), rel=1e-9) for pair in found[error, a, b])
    assert len(found) > 2
    for row in trained.designs.itertuples():
        weight = row.certificate_weight
        same = [pair for (error, _, _), pairs in found.items() if error == row.error_bits for pair in pairs]
        least = min(weighted(trained, *pair, weight) for pair in same)
        own = weighted(trained, row.energy_j, row.latency_s, weight)
        assert row.certificate_bound <= least * (1 + 1e-9)
        assert row.certificate_best == pytest.approx(own, rel=1e-9)
        # The best of all maps with all groupings, or near it, is found, and the bound is no empty one.
        assert own <= least * 1.001
        assert row.certificate_gap < 0.12
    assert "every choice of tensors that wait on the chip" in trained.info["certificate"]["text"]
