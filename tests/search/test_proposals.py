"""A trial is a point that no trial had before: budgets count those, and a space that they cover is tried whole."""

import itertools

import numpy as np
import pytest

import dse
from dse.search.loop.optuna_study import Dimension, Told, new_study, record, replay, tell
from dse.search.loop.proposals import Proposals

SAMPLERS = ("tpe", "nsga2", "nsga3", "qmc", "random")


def dimensions(sizes, shares=1):
    return [
        *(Dimension(f"p{k}", tuple(float(10 * v) for v in range(size))) for k, size in enumerate(sizes)),
        *(Dimension(f"share{k}") for k in range(shares)),
    ]


def points_of(batch, sizes):
    return [tuple(item.values[f"p{k}"] for k in range(len(sizes))) for item in batch if item.fresh]


def advance(proposals, study, count):
    """One batch, told the sum of its values: the sampler is drawn to one corner and would repeat it."""
    batch = proposals.batch(count)
    told = [(item.trial, Told((sum(item.values.values()), 1.0), 0.0)) for item in batch if item.trial is not None]
    tell(study, [trial for trial, _ in told], [result for _, result in told])
    return batch


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("sizes", [(3, 4), (2, 2, 5), (7,)])
def test_every_batch_has_new_points_until_none_is_left(sampler, sizes):
    study = new_study(2, sampler)
    proposals = Proposals(study, dimensions(sizes), sampler, 3, False, None, 0)
    seen = []
    while proposals.left:
        wanted = min(5, proposals.left)
        batch = advance(proposals, study, 5)
        assert sum(item.fresh for item in batch) == wanted
        seen += points_of(batch, sizes)
    assert len(seen) == len(set(seen)) == int(np.prod(sizes))
    assert set(seen) == set(itertools.product(*([10.0 * v for v in range(size)] for size in sizes)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_was_stopped_proposes_as_if_it_had_not_been(sampler):
    sizes = (4, 5)
    whole, study = [], new_study(2, sampler)
    proposals = Proposals(study, dimensions(sizes), sampler, 1, False, None, 0)
    for _ in range(3):
        whole += [item.values for item in advance(proposals, study, 5)]
    parts, done, records = [], 0, []
    for _ in range(3):
        study = new_study(2, sampler)
        replay(study, dimensions(sizes), records)
        proposals = Proposals(study, dimensions(sizes), sampler, 1, False, None, done)
        batch = advance(proposals, study, 5)
        parts += [item.values for item in batch]
        done += sum(item.fresh for item in batch)
        records = record(study, 0)
    assert parts == whole


def test_a_budget_that_covers_the_space_lists_it():
    sizes = (3, 4)
    study = new_study(2, "tpe")
    first = Proposals(study, dimensions(sizes), "tpe", 0, False, 5, 0)
    seen = points_of(advance(first, study, 5), sizes)
    # Asked for more: what is left is listed, also by a run that is stopped half-way.
    done = 5
    while True:
        rest = Proposals(study, dimensions(sizes), "tpe", 0, False, 12, done)
        assert rest.listed
        if not rest.left:
            break
        seen += points_of(rest.batch(3), sizes)
        done += min(3, 12 - done)
    assert sorted(seen) == sorted(itertools.product([0.0, 10.0, 20.0], [0.0, 10.0, 20.0, 30.0]))


def explored(tiny, **options):
    workload, profile, hardware = tiny
    return dse.explore(workload, hardware, **{"profile": profile, **options})


def test_trials_are_distinct_hardware_points(tiny):
    run = explored(tiny, trials=20, screening=False, seed=4)
    assert run.info["counts"]["trials"] == run.info["counts"]["hardware_designs"] == 20


@pytest.mark.parametrize("objectives", [("latency", "energy"), ("energy", "accuracy")])
def test_a_small_space_is_tried_whole(tiny, objectives):
    run = explored(tiny, trials=120, objectives=objectives)
    assert run.info["counts"]["trials"] == run.info["counts"]["hardware_designs"] == 28
    assert "Every hardware point of the space was solved." in run.info["certificate"]["text"]
    assert any("28 points" in note for note in run.notes)
    alone = explored(tiny, strategy="exhaustive", objectives=objectives)
    assert alone.front.equals(run.front)
    assert alone.info["counts"]["trials"] == 28


def test_a_time_budget_ends_with_the_space(tiny):
    assert explored(tiny, seconds=600, screening=False).info["counts"]["trials"] == 28


def test_more_trials_go_on_with_new_points(tiny, tmp_path):
    explored(tiny, trials=10, out=tmp_path / "run")
    rest = explored(tiny, trials=120, out=tmp_path / "run", resume=True)
    assert rest.info["counts"]["trials"] == rest.info["counts"]["hardware_designs"] == 28
