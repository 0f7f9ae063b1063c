"""Objectives are records: one that is larger where another is smaller gives the same front, and joins over networks as it says."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.goals import ACCURACY_DROP, AREA, LATENCY, OBJECTIVES, minimized, register
from dse.search.archive import joined


@pytest.fixture
def rate():
    record = replace(LATENCY, name="rate", column="steps_per_s", of=lambda figures: 1.0 / figures.latency_s, direction="max")
    register(record)
    yield record
    del OBJECTIVES["rate"]


def test_a_figure_to_maximize_gives_the_front_of_its_reciprocal(rate, tiny, wide_values):
    network, hardware = tiny[0], dse.load_hardware("flex_trainer").with_values(wide_values)
    by_name = {
        name: dse.explore(network, hardware, plan="w8a8e8", objectives=(name, "area"), trials=12, seed=3, screening=False)
        for name in ("latency", "rate")
    }
    fronts = [run.front[["latency_s", "energy_j", "area_mm2", "steps_per_s"]] for run in by_name.values()]
    assert len(fronts[0]) > 1
    assert fronts[0].equals(fronts[1])
    np.testing.assert_allclose(fronts[0]["steps_per_s"] * fronts[0]["latency_s"], 1.0, rtol=1e-11)
    traces = [run.info["hypervolume_trace"] for run in by_name.values()]
    np.testing.assert_allclose(traces[0], traces[1], rtol=1e-9)


def test_objectives_join_networks_as_their_records_say():
    each, weights = [np.array([1.0, 8.0]), np.array([3.0, 2.0])], (2.0, 1.0)
    assert joined(LATENCY, each, weights, False).tolist() == [5.0, 18.0]
    assert joined(LATENCY, each, weights, True).tolist() == [3.0, 16.0]
    assert joined(AREA, [each[0], each[0]], weights, False).tolist() == [1.0, 8.0]
    assert joined(ACCURACY_DROP, each, weights, False).tolist() == [3.0, 8.0]


def test_reciprocals_of_what_is_maximized(rate):
    values = np.array([[4.0, 4.0], [0.0, 1.0]])
    assert minimized(values, ["steps_per_s", "energy_j"]).tolist() == [[0.25, 4.0], [np.inf, 1.0]]


def test_a_name_or_a_column_is_taken_once(rate):
    register(rate)
    for taken in ({"column": "other"}, {"name": "other"}):
        with pytest.raises(InputError, match=r"'rate' [(]steps_per_s[)] exists"):
            register(replace(rate, **taken))
