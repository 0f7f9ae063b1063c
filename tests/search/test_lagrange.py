"""The relaxation against brute force: bounds below, bit maps above, hulls equal."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dse.errors import InputError
from dse.search.allocation.lagrange import hull_front, lagrangian


@st.composite
def instances(draw):
    groups, choices = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    numbers = st.lists(st.integers(0, 6), min_size=groups * choices, max_size=groups * choices)
    cost, score = (np.array(draw(numbers), float).reshape(groups, choices) for _ in range(2))
    return cost, score, float(draw(st.integers(0, 18)))


def all_sums(cost, score):
    rows = np.arange(len(cost))
    maps = [list(choice) for choice in product(range(cost.shape[1]), repeat=len(cost))]
    return np.array([(score[rows, m].sum(), cost[rows, m].sum()) for m in maps])


@settings(max_examples=300, deadline=None)
@given(instances())
def test_bound_below_and_bit_map_above_the_optimum(instance):
    cost, score, bound = instance
    sums = all_sums(cost, score)
    feasible = sums[sums[:, 0] <= bound]
    answer = lagrangian(cost[None], score, bound)
    assert answer.feasible[0] == bool(len(feasible))
    assert answer.least_score[0] == sums[:, 0].min()
    if not len(feasible):
        assert np.isinf(answer.bound[0])
        assert np.isnan(answer.cost[0])
        return
    best = feasible[:, 1].min()
    assert answer.bound[0] <= best + 1e-9
    assert answer.cost[0] >= best
    assert answer.score[0] <= bound
    rows = np.arange(len(cost))
    assert cost[rows, answer.choice[0]].sum() == answer.cost[0]
    # The dual at the multiplier is the bound itself.
    dual = (cost + answer.multiplier[0] * score).min(axis=1).sum() - answer.multiplier[0] * bound
    assert dual == pytest.approx(answer.bound[0], abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(instances())
def test_hull_is_the_lower_convex_hull_of_all_bit_maps(instance):
    cost, score, _ = instance
    sums = all_sums(cost, score)
    hull_score, hull_cost, count = hull_front(cost[None], score)
    s, c = hull_score[0, : count[0]], hull_cost[0, : count[0]]
    points = {tuple(row) for row in sums.tolist()}
    assert all((a, b) in points for a, b in zip(s.tolist(), c.tolist(), strict=True))
    assert s[0] == sums[:, 0].min()
    assert c[-1] == sums[:, 1].min()
    for x, y in sums:
        if x <= s[-1]:
            assert y >= np.interp(x, s, c) - 1e-9


def test_bound_is_the_linear_relaxation():
    generator = np.random.default_rng(3)
    cost, score = generator.uniform(1, 2, (12, 5)), generator.uniform(0, 1, (12, 5))
    for bound in (2.0, 4.0, 6.0):
        one = np.kron(np.eye(12), np.ones(5))
        relaxed = linprog(cost.ravel(), A_ub=score.reshape(1, -1), b_ub=[bound], A_eq=one, b_eq=np.ones(12))
        answer = lagrangian(cost[None], score, bound)
        assert answer.bound[0] == pytest.approx(relaxed.fun, rel=1e-9)


def test_many_designs_are_each_what_they_are_alone():
    generator = np.random.default_rng(5)
    costs, score = generator.uniform(1, 2, (40, 20, 6)), generator.uniform(0, 1, (20, 6))
    limits = generator.uniform(0, 12, 40)
    mask = generator.random((40, 20, 6)) < 0.8
    mask[:, :, 0] = True
    together = lagrangian(costs, score, limits, mask)
    for d in range(40):
        alone = lagrangian(costs[d : d + 1], score, limits[d], mask[d])
        for name in ("choice", "cost", "score", "bound", "gap", "multiplier", "feasible", "least_score"):
            np.testing.assert_array_equal(getattr(together, name)[d], getattr(alone, name)[0], err_msg=name)
    kept = together.feasible
    assert kept.any()
    assert (~kept).any()
    assert (together.score[kept] <= limits[kept] * (1 + 1e-12)).all()
    assert (together.gap[kept] >= 0).all()


def test_choices_of_infinite_cost_are_never_taken():
    cost = np.array([[[np.inf, 1.0], [2.0, np.inf]]])
    answer = lagrangian(cost, np.zeros((2, 2)), 0.0)
    assert answer.choice[0].tolist() == [1, 0]
    nothing = lagrangian(np.full((1, 2, 2), np.inf), np.zeros((2, 2)), 0.0)
    assert not nothing.feasible[0]


def test_wrong_input_is_said():
    with pytest.raises(InputError, match="designs"):
        lagrangian(np.ones((2, 3)), np.ones((2, 3)), 1.0)
    with pytest.raises(InputError, match="NaN"):
        lagrangian(np.full((1, 2, 3), np.nan), np.ones((2, 3)), 1.0)
    with pytest.raises(InputError, match="score_max"):
        lagrangian(np.ones((1, 2, 3)), np.ones((2, 3)), float("nan"))
    with pytest.raises(InputError, match="mask"):
        lagrangian(np.ones((1, 2, 3)), np.ones((2, 3)), 1.0, np.ones((3, 2), dtype=bool))
