"""The allocator against brute force, against an integer programme, and its bounds."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from dse.search.allocate import merge_ties, solve
from dse.search.fronts import choices, exact_front_2d
from dse.search.lagrange import lagrangian


@st.composite
def instances(draw):
    groups, choices = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    # Few distinct values: ties and duplicates are the rule.
    values = st.integers(0, 6)
    cost = np.array(draw(st.lists(values, min_size=groups * choices, max_size=groups * choices)), float)
    score = np.array(draw(st.lists(values, min_size=groups * choices, max_size=groups * choices)), float)
    allowed = np.array(draw(st.lists(st.booleans(), min_size=groups * choices, max_size=groups * choices)))
    allowed = allowed.reshape(groups, choices)
    allowed[:, draw(st.integers(0, choices - 1))] = True
    return cost.reshape(groups, choices), score.reshape(groups, choices), allowed, float(draw(st.integers(0, 20)))


def all_sums(cost, score, allowed):
    rows = np.arange(len(cost))
    for choice in product(*(np.flatnonzero(row) for row in allowed)):
        picked = list(choice)
        yield score[rows, picked].sum(), cost[rows, picked].sum()


@settings(max_examples=400, deadline=None)
@given(instances())
def test_solution_is_the_best_of_all(instance):
    cost, score, allowed, limit = instance
    feasible = [c for s, c in all_sums(cost, score, allowed) if s <= limit]
    if not feasible:
        answer = solve(cost, score, allowed, limit)
        assert not answer.feasible
        assert (answer.limit, answer.nearest) == ("score", min(s for s, _ in all_sums(cost, score, allowed)))
        return
    answer = solve(cost, score, allowed, limit)
    rows = np.arange(len(cost))
    assert allowed[rows, answer.choice].all()
    assert score[rows, answer.choice].sum() <= limit
    assert answer.cost == cost[rows, answer.choice].sum() == min(feasible)
    assert lagrangian(cost[None], score, limit, allowed).bound[0] <= min(feasible) + 1e-9
    assert answer.gap == 0.0


@settings(max_examples=300, deadline=None)
@given(instances())
def test_front_is_the_non_dominated_part_of_all(instance):
    cost, score, allowed, _ = instance
    sums = set(all_sums(cost, score, allowed))
    expected = sorted(
        (s, c) for s, c in sums if not any(s2 <= s and c2 <= c and (s2, c2) != (s, c) for s2, c2 in sums)
    )
    front = exact_front_2d(cost, score, allowed)
    assert list(zip(front.score.tolist(), front.costs[:, 0].tolist(), strict=True)) == expected
    rows = np.arange(len(cost))
    for s, c, choice in zip(front.score, front.costs[:, 0], choices(front), strict=True):
        assert (score[rows, choice].sum(), cost[rows, choice].sum()) == (s, c)


@pytest.mark.parametrize("seed", range(8))
def test_full_size_against_an_integer_programme(seed):
    generator = np.random.default_rng(seed)
    groups, choices = 54, 7
    bits = np.arange(2, 9)
    cost = generator.lognormal(size=(groups, 1)) * (bits + generator.uniform(0, 0.5, (groups, choices)))
    score = generator.lognormal(sigma=2, size=(groups, 1)) * 4.0 ** -bits.astype(float)
    limit = float(score[:, 3].sum() * generator.uniform(0.3, 3.0))
    answer = solve(cost, score, np.ones((groups, choices), bool), limit)
    one = np.kron(np.eye(groups), np.ones(choices))
    rules = [LinearConstraint(one, 1, 1), LinearConstraint(score.reshape(1, -1), -np.inf, limit)]
    other = milp(
        cost.reshape(-1), constraints=rules, integrality=np.ones(cost.size), bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    assert answer.score <= limit * (1 + 1e-12)
    assert answer.cost == pytest.approx(other.fun, rel=1e-9)


def test_looser_limit_never_costs_more():
    generator = np.random.default_rng(1)
    cost, score = generator.uniform(1, 2, (20, 6)), generator.uniform(0, 1, (20, 6))
    allowed = np.ones((20, 6), bool)
    costs = [solve(cost, score, allowed, limit).cost for limit in np.linspace(4, 12, 20)]
    assert (np.diff(costs) <= 0).all()


def test_more_choices_never_cost_more():
    generator = np.random.default_rng(2)
    cost, score = generator.uniform(1, 2, (12, 6)), generator.uniform(0, 1, (12, 6))
    allowed = np.ones((12, 6), bool)
    fewer = allowed.copy()
    fewer[:, 4:] = False
    assert solve(cost, score, allowed, 5.0).cost <= solve(cost, score, fewer, 5.0).cost


def test_ties_are_summed():
    values = np.arange(6.0).reshape(3, 2)
    assert merge_ties(values, [[0, 2], [1]]).tolist() == [[4.0, 6.0], [2.0, 3.0]]
