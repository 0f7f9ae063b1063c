"""Fronts against the definition, hypervolume against counting cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dse
from dse.search.pareto import hypervolume, knee, pareto_front, pareto_mask


@st.composite
def point_sets(draw):
    n, k = draw(st.integers(0, 12)), draw(st.integers(1, 4))
    value = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("inf"), float("-inf"), float("nan")])
    return np.array(draw(st.lists(value, min_size=n * k, max_size=n * k)), float).reshape(n, k)


@given(point_sets())
def test_mask_is_the_definition(points):
    expected = []
    for i, row in enumerate(points):
        others = [r for j, r in enumerate(points) if j != i and not np.isnan(r).any()]
        beaten = any((r <= row).all() and (r < row).any() for r in others)
        twin = any((points[j] == row).all() for j in range(i))
        expected.append(not np.isnan(row).any() and not beaten and not twin)
    assert pareto_mask(points).tolist() == expected


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=8))
def test_hypervolume_counts_unit_cells(points):
    cells = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    covered = [any((cell >= point).all() for point in np.array(points).reshape(-1, 3)) for cell in cells]
    assert hypervolume(np.array(points, float).reshape(-1, 3), [6, 6, 6]) == pytest.approx(sum(covered))


def test_frame_and_knee():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 3.0], "b": [3.0, 1.2, 1.0, 4.0]})
    assert dse.pareto_front(frame, ["a", "b"]).index.tolist() == [0, 1, 2]
    assert knee(frame[["a", "b"]].to_numpy()[:3]) == 1
    with pytest.raises(dse.InputError, match="did you mean 'a'|no column"):
        pareto_front(frame, ["aa", "b"])
