"""Fronts against the definition, hypervolume against counting cells and against slicing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dse
from dse.search.pareto import hypervolume, knee, merge_front, pareto_front, pareto_mask


@st.composite
def point_sets(draw):
    n, k = draw(st.integers(0, 12)), draw(st.integers(1, 4))
    value = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("inf"), float("-inf"), float("nan")])
    return np.array(draw(st.lists(value, min_size=n * k, max_size=n * k)), float).reshape(n, k)


def mask_by_definition(points):
    expected = []
    for i, row in enumerate(points):
        others = [r for j, r in enumerate(points) if j != i and not np.isnan(r).any()]
        beaten = any((r <= row).all() and (r < row).any() for r in others)
        twin = any((points[j] == row).all() for j in range(i))
        expected.append(not np.isnan(row).any() and not beaten and not twin)
    return expected


@given(point_sets())
def test_mask_is_the_definition(points):
    assert pareto_mask(points).tolist() == mask_by_definition(points)


@given(point_sets(), st.lists(st.sampled_from([1, -1]), min_size=4, max_size=4))
def test_senses_turn_columns_around(points, signs):
    signs = np.array(signs[: points.shape[1]])
    senses = ["min" if sign > 0 else "max" for sign in signs]
    assert pareto_mask(points, senses).tolist() == mask_by_definition(points * signs)


def test_large_random_set_against_all_pairs():
    points = np.random.default_rng(0).integers(0, 40, (1500, 3)).astype(float)
    at_least = (points[:, None] <= points[None]).all(axis=2)
    better = (points[:, None] < points[None]).any(axis=2)
    beaten = (at_least & better).any(axis=0)
    _, first = np.unique(points, axis=0, return_index=True)
    expected = ~beaten & np.isin(np.arange(1500), first)
    assert (pareto_mask(points) == expected).all()


@given(point_sets(), st.integers(0, 12))
def test_merging_in_parts_equals_the_front_of_all(points, cut):
    old = points[:cut][pareto_mask(points[:cut])]
    kept, added = merge_front(old, points[cut:])
    merged = np.concatenate([old[kept], points[cut:][added]])
    np.testing.assert_array_equal(merged, points[pareto_mask(points)])


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=8))
def test_hypervolume_counts_unit_cells(points):
    cells = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    covered = [any((cell >= point).all() for point in np.array(points).reshape(-1, 3)) for cell in cells]
    assert hypervolume(np.array(points, float).reshape(-1, 3), [6, 6, 6]) == pytest.approx(sum(covered))


def test_hypervolume_of_a_plane_front_is_a_sum_of_slices():
    generator = np.random.default_rng(1)
    points = generator.uniform(0, 1, (300, 2))
    staircase = np.minimum.accumulate(points[np.argsort(points[:, 0])][:, 1])
    widths = np.diff(np.append(np.sort(points[:, 0]), 1.2))
    assert hypervolume(points, [1.2, 1.1]) == pytest.approx((widths * (1.1 - staircase)).sum(), rel=1e-12)


def test_hypervolume_at_the_edges():
    assert hypervolume(np.zeros((0, 2)), [1, 1]) == 0.0
    assert hypervolume([[1.0, 0.0], [np.nan, 0.0], [2.0, 2.0]], [1, 1]) == 0.0
    assert hypervolume([[0.25], [0.5]], [1.0]) == 0.75
    assert hypervolume([[-np.inf, 0.5]], [1, 1]) == np.inf
    with pytest.raises(dse.InputError, match="finite"):
        hypervolume([[0.0, 0.0]], [1, np.inf])
    with pytest.raises(dse.InputError, match="one value per objective"):
        hypervolume([[0.0, 0.0]], [1, 1, 1])


def test_frame_keeps_its_columns_and_rows():
    frame = pd.DataFrame({"name": list("pqrs"), "a": [1.0, 2.0, 3.0, 3.0], "b": [3.0, 1.2, 1.0, 4.0]})
    assert dse.pareto_front(frame, ["a", "b"]).equals(frame.iloc[:3])
    assert pareto_front(frame, ["a", "b"], senses=["max", "max"])["name"].tolist() == ["s"]
    assert pareto_front(frame.iloc[:0], ["a", "b"]).empty
    with pytest.raises(dse.InputError, match="no column 'aa'"):
        pareto_front(frame, ["aa", "b"])
    with pytest.raises(dse.InputError, match="numbers"):
        pareto_front(frame, ["name", "b"])
    with pytest.raises(dse.InputError, match="at least one"):
        pareto_front(frame, [])
    with pytest.raises(dse.InputError, match="'min' or 'max'"):
        pareto_front(frame, ["a"], senses="least")


def test_array_may_name_its_columns_by_index():
    points = np.array([[1.0, 9.0, 2.0], [2.0, 0.0, 1.0], [2.0, 5.0, 2.0]])
    assert pareto_front(points, [0, 2]).tolist() == points[:2].tolist()
    assert pareto_front(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(dse.InputError, match="indices below 3"):
        pareto_front(points, [3])
    with pytest.raises(dse.InputError, match="shape"):
        pareto_front([1.0, 2.0])


def test_knee_is_the_corner_of_an_elbow():
    elbow = np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0], [np.nan, 0.0]])
    assert knee(elbow) == 1
    assert knee(elbow, "chord") == 1
    # A long arm: the utopia point is nearest to the corner whatever the units.
    assert knee(elbow * [1.0, 1e6]) == 1
    with pytest.raises(dse.InputError, match="at least one row"):
        knee(np.full((2, 2), np.nan))
    with pytest.raises(dse.InputError, match="'kink'"):
        knee(elbow, "kink")
