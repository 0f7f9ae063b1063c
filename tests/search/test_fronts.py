"""Whole fronts against brute force, against the solver, and what thinning promises."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.search.allocation.allocate import solve
from dse.search.allocation.fronts import choices, exact_front_2d, exact_front_3d
from dse.search.allocation.lagrange import hull_front


@st.composite
def instances(draw):
    groups, number = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    numbers = st.lists(st.integers(0, 6), min_size=groups * number, max_size=groups * number)
    tables = [np.array(draw(numbers), float).reshape(groups, number) for _ in range(3)]
    mask = np.array(draw(st.lists(st.booleans(), min_size=groups * number, max_size=groups * number)))
    return tables, mask.reshape(groups, number), draw(st.sampled_from([2.0, 7.0, 12.0, float("inf")]))


def front_by_definition(tables, mask, score_max):
    rows = np.arange(len(mask))
    sums = {
        tuple(float(table[rows, list(choice)].sum()) for table in tables)
        for choice in product(*(np.flatnonzero(row) for row in mask))
    }
    sums = [row for row in sums if row[0] <= score_max]
    return sorted(
        row for row in sums if not any(o != row and all(a <= b for a, b in zip(o, row, strict=True)) for o in sums)
    )


@settings(max_examples=100, deadline=None)
@given(instances())
def test_two_objectives_are_the_front_of_all(instance):
    (score, cost, _), mask, score_max = instance
    front = exact_front_2d(cost, score, mask, score_max)
    found = [tuple(row) for row in np.column_stack([front.score, front.costs]).tolist()]
    assert found == front_by_definition([score, cost], mask, score_max)
    assert front.error.tolist() == [0.0]
    rows = np.arange(len(mask))
    for s, c, choice in zip(front.score, front.costs[:, 0], choices(front), strict=True):
        assert mask[rows, choice].all()
        assert (score[rows, choice].sum(), cost[rows, choice].sum()) == (s, c)


@settings(max_examples=100, deadline=None)
@given(instances())
def test_three_objectives_are_the_front_of_all(instance):
    (score, energy, latency), mask, score_max = instance
    front = exact_front_3d(score, energy, latency, mask, score_max)
    found = [tuple(row) for row in np.column_stack([front.score, front.costs]).tolist()]
    assert found == front_by_definition([score, energy, latency], mask, score_max)
    rows = np.arange(len(mask))
    for s, e, choice in zip(front.score, front.costs[:, 0], choices(front), strict=True):
        assert (score[rows, choice].sum(), energy[rows, choice].sum()) == (s, e)


def full_size(choices_each):
    generator = np.random.default_rng(11)
    bits = np.linspace(2, 8, choices_each)
    cost = generator.lognormal(size=(54, 1)) * (bits + generator.uniform(0, 0.5, (54, choices_each)))
    score = generator.lognormal(sigma=2, size=(54, 1)) * 4.0**-bits * generator.uniform(1, 1.3, (54, choices_each))
    return cost, score


@pytest.mark.parametrize("number", [6, 25])
def test_points_of_the_full_size_front_are_the_solver_s(number):
    cost, score = full_size(number)
    front = exact_front_2d(cost, score)
    assert front.error[0] == 0.0
    assert (np.diff(front.score) > 0).all()
    assert (np.diff(front.costs[:, 0]) < 0).all()
    for row in np.linspace(0, len(front) - 1, 12).astype(int):
        answer = solve(cost, score, None, float(front.score[row]))
        assert answer.cost == pytest.approx(front.costs[row, 0], rel=1e-11)
    hull_score, hull_cost, count = hull_front(cost[None], score)
    below = np.interp(front.score, hull_score[0, : count[0]], hull_cost[0, : count[0]])
    assert (front.costs[:, 0] >= below * (1 - 1e-12)).all()


def test_thinning_keeps_its_promise():
    cost, score = full_size(25)
    exact = exact_front_2d(cost, score)
    thin = exact_front_2d(cost, score, max_points=2000)
    assert len(thin) <= 2000 < len(exact)
    assert thin.error[0] > 0
    # For every true point: a kept one with no higher score and at most the promised excess.
    at = np.searchsorted(thin.score, exact.score * (1 + 1e-12), side="right") - 1
    assert (at >= 0).all()
    excess = thin.costs[at, 0] - exact.costs[:, 0]
    assert excess.max() <= thin.error[0] * (1 + 1e-9)
    assert excess.max() > 0


def test_thinning_three_objectives_keeps_its_promise():
    generator = np.random.default_rng(2)
    score, energy, latency = generator.uniform(0, 1, (3, 9, 4))
    exact = exact_front_3d(score, energy, latency, max_points=10**6)
    thin = exact_front_3d(score, energy, latency, max_points=60)
    assert exact.error.tolist() == [0.0, 0.0]
    assert (thin.error > 0).all()
    assert len(thin) <= 60 < len(exact)
    for s, cost in zip(exact.score, exact.costs, strict=True):
        near = (thin.score <= s + 1e-12) & (thin.costs <= cost + thin.error + 1e-12).all(axis=1)
        assert near.any()


def test_a_score_limit_cuts_the_front_and_nothing_else():
    cost, score = full_size(6)
    whole = exact_front_2d(cost, score)
    limit = float(np.median(whole.score))
    part = exact_front_2d(cost, score, score_max=limit)
    kept = whole.score <= limit
    np.testing.assert_allclose(part.score, whole.score[kept], rtol=1e-12)
    np.testing.assert_allclose(part.costs, whole.costs[kept], rtol=1e-12)
    assert len(exact_front_2d(cost, score, score_max=float(score.min(axis=1).sum() * 0.99))) == 0
    assert len(exact_front_3d(score, cost, cost, score_max=0.0)) == 0


def test_more_choices_never_give_a_worse_front():
    cost, score = full_size(6)
    fewer = np.ones(cost.shape, dtype=bool)
    fewer[:, [1, 4]] = False
    small, large = exact_front_2d(cost, score, fewer), exact_front_2d(cost, score)
    at = np.searchsorted(large.score, small.score * (1 + 1e-12), side="right") - 1
    assert (large.costs[at, 0] <= small.costs[:, 0] * (1 + 1e-12)).all()
