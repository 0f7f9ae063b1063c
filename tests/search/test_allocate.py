"""The allocator against brute force, against an integer programme, and its certificate."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from dse.errors import InputError
from dse.search.allocation.allocate import Limit, merge_ties, solve, tie_members
from dse.search.allocation.lagrange import lagrangian


@st.composite
def instances(draw, tables=3):
    groups, choices = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    # Few distinct values, zero among them: ties and duplicates are the rule.
    numbers = st.lists(st.integers(0, 6), min_size=groups * choices, max_size=groups * choices)
    values = [np.array(draw(numbers), float).reshape(groups, choices) for _ in range(tables)]
    mask = np.array(draw(st.lists(st.booleans(), min_size=groups * choices, max_size=groups * choices)))
    bounds = [float(draw(st.integers(0, 18))) for _ in range(tables - 1)]
    return values, mask.reshape(groups, choices), bounds


def all_maps(mask):
    return [list(choice) for choice in product(*(np.flatnonzero(row) for row in mask))]


def total(values, choice):
    return values[np.arange(len(values)), choice].sum()


def full_size(seed, choices, groups=54):
    """Costs and scores of the size and the spread of a ResNet-50 with a width pair per choice."""
    generator = np.random.default_rng(seed)
    bits = np.linspace(2, 8, choices)
    cost = generator.lognormal(size=(groups, 1)) * (bits + generator.uniform(0, 0.5, (groups, choices)))
    score = generator.lognormal(sigma=2, size=(groups, 1)) * 4.0**-bits * generator.uniform(1, 1.3, (groups, choices))
    return cost, score, generator


def integer_programme(cost, limits):
    groups, choices = cost.shape
    one = np.kron(np.eye(groups), np.ones(choices))
    rules = [LinearConstraint(one, 1, 1)]
    rules += [LinearConstraint(values.reshape(1, -1), -np.inf, bound) for values, bound in limits]
    return milp(
        cost.reshape(-1),
        constraints=rules,
        integrality=np.ones(cost.size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    ).fun


@settings(max_examples=120, deadline=None)
@given(instances())
def test_one_limit_is_the_best_of_all(instance):
    (cost, score, _), mask, (bound, _) = instance
    feasible = [total(cost, m) for m in all_maps(mask) if total(score, m) <= bound]
    answer = solve(cost, score, mask, bound)
    assert answer.feasible == bool(feasible)
    if not feasible:
        assert answer.status == "infeasible"
        assert (answer.choice == -1).all()
        if mask.any(axis=1).all():
            assert answer.limit == "score"
            assert answer.nearest == min(total(score, m) for m in all_maps(mask))
        return
    assert mask[np.arange(len(cost)), answer.choice].all()
    assert total(score, answer.choice) == answer.score <= bound
    assert answer.cost == total(cost, answer.choice) == min(feasible) == answer.bound
    assert (answer.gap, answer.status) == (0.0, "optimal")


@settings(max_examples=80, deadline=None)
@given(instances())
def test_several_limits_are_all_kept_at_the_best_of_all(instance):
    (cost, score, size), mask, (bound, most) = instance
    feasible = [total(cost, m) for m in all_maps(mask) if total(score, m) <= bound and total(size, m) <= most]
    answer = solve(cost, score, mask, bound, [Limit("size", size, most)])
    assert answer.feasible == bool(feasible)
    if feasible:
        assert total(score, answer.choice) <= bound
        assert total(size, answer.choice) <= most
        assert answer.cost == total(cost, answer.choice) == min(feasible)
        assert answer.gap == 0.0
        return
    assert answer.status == "infeasible"
    within = [m for m in all_maps(mask) if total(score, m) <= bound]
    if answer.limit == "size":
        assert answer.nearest == min(total(size, m) for m in within) > most


@pytest.mark.parametrize("choices", [5, 7, 36])
@pytest.mark.parametrize("seed", range(3))
def test_full_size_equals_the_integer_programme(seed, choices):
    cost, score, generator = full_size(seed, choices)
    bound = float(score[:, choices // 2].sum() * generator.uniform(0.3, 3.0))
    answer = solve(cost, score, None, bound)
    assert answer.status == "optimal"
    assert answer.score <= bound * (1 + 1e-12)
    # The integer programme keeps its rows to 1e-6 only, so it may find a hair less.
    other = integer_programme(cost, [(score / bound, 1.0)])
    assert answer.cost == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_two_limits_at_full_size_equal_the_integer_programme(seed):
    cost, score, generator = full_size(seed, 6)
    size = generator.lognormal(size=(54, 1)) * np.linspace(2, 8, 6)
    bound, most = float(score[:, 2].sum()), float(size[:, 3].sum())
    answer = solve(cost, score, None, bound, [Limit("size_bits", size, most)])
    assert answer.feasible
    assert total(score, answer.choice) <= bound * (1 + 1e-12)
    assert total(size, answer.choice) <= most * (1 + 1e-12)
    other = integer_programme(cost, [(score / bound, 1.0), (size / most, 1.0)])
    assert answer.bound <= other * (1 + 1e-6)
    assert answer.cost >= other * (1 - 1e-6)
    assert answer.cost <= other * (1 + answer.gap + 1e-6)


def test_too_few_states_leave_a_valid_certificate():
    cost, score, _ = full_size(4, 36)
    bound = float(score[:, 10].sum())
    exact = solve(cost, score, None, bound)
    rough = solve(cost, score, None, bound, max_states=3)
    assert rough.feasible
    assert rough.bound <= exact.cost <= rough.cost
    assert rough.gap == pytest.approx((rough.cost - rough.bound) / rough.cost)


def test_looser_limits_and_more_choices_never_cost_more():
    generator = np.random.default_rng(1)
    cost, score, size = generator.uniform(0, 2, (3, 20, 6))
    for extra in ([], [Limit("size", size, 15.0)]):
        answers = [solve(cost, score, None, bound, extra) for bound in np.linspace(9, 16, 12)]
        assert all(answer.status == "optimal" for answer in answers)
        costs = [answer.cost for answer in answers]
        assert (np.diff(costs) <= 0).all()
    fewer = np.ones((20, 6), dtype=bool)
    fewer[:, 4:] = False
    assert solve(cost, score, None, 12.0).cost <= solve(cost, score, fewer, 12.0).cost


def test_exact_lies_between_bound_and_greedy():
    for seed in range(20):
        cost, score, generator = full_size(seed, 6)
        bound = float(score[:, 2].sum() * generator.uniform(0.2, 4.0))
        relaxed = lagrangian(cost[None], score, bound)
        exact = solve(cost, score, None, bound).cost
        assert relaxed.bound[0] <= exact * (1 + 1e-12)
        assert exact <= relaxed.cost[0] * (1 + 1e-12)


def test_order_of_layers_does_not_matter():
    cost, score, generator = full_size(7, 7)
    order = generator.permutation(54)
    bound = float(score[:, 3].sum())
    assert solve(cost[order], score[order], None, bound).cost == solve(cost, score, None, bound).cost


def test_limits_that_exclude_each_other_are_named_with_the_nearest_value():
    cost = np.zeros((1, 2))
    score = np.array([[0.0, 4.0]])
    size = np.array([[9.0, 1.0]])
    answer = solve(cost, score, None, 3.0, [Limit("size_bits", size, 5.0)])
    assert (answer.status, answer.limit, answer.nearest) == ("infeasible", "size_bits", 9.0)
    assert math.isnan(answer.cost)


def test_weights_combine_columns():
    energy, latency = np.array([[3.0, 1.0]]), np.array([[1.0, 2.0]])
    score = np.zeros((1, 2))
    picks = [solve(np.stack([energy, latency]), score, weights=w).choice[0] for w in ([1, 0], [0, 1], [1, 3])]
    assert picks == [1, 0, 0]
    barred = np.array([[np.inf, 1.0]])
    assert solve(np.stack([barred, latency]), score, weights=[0, 1]).choice[0] == 1


def test_wrong_input_is_said():
    cost = np.ones((2, 3))
    with pytest.raises(InputError, match="expected"):
        solve(cost, np.ones((3, 2)))
    with pytest.raises(InputError, match="NaN"):
        solve(np.full((2, 3), np.nan), cost)
    with pytest.raises(InputError, match="'size'"):
        solve(cost, cost, limits=[Limit("size", np.ones((1, 3)), 1.0)])
    with pytest.raises(InputError, match="weights"):
        solve(np.ones((2, 2, 3)), cost, weights=[1.0, -1.0])


def test_ties_are_summed_and_may_overlap():
    values = np.arange(8.0).reshape(4, 2)
    assert merge_ties(values, [[0, 2]]).tolist() == [[4.0, 6.0], [2.0, 3.0], [6.0, 7.0]]
    assert tie_members(4, [[0, 2], [3, 2]]) == ((0, 2, 3), (1,))
    with pytest.raises(InputError, match="below 4"):
        tie_members(4, [[4]])
