"""Objectives are records: one that is larger where another is smaller gives the same front, and joins over networks as it says."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.goals import ACCURACY_DROP, AREA, LATENCY, LIMITS, OBJECTIVES, SLIP, minimized, register
from dse.search.archive import joined


@pytest.fixture
def rate():
    record = replace(
        LATENCY, name="rate", column="steps_per_s", of=lambda figures: 1.0 / figures.latency_s, direction="max"
    )
    register(record)
    yield record
    del OBJECTIVES["rate"]


def test_a_figure_to_maximize_gives_the_front_of_its_reciprocal(rate, tiny, wide_values):
    network, hardware = tiny[0], dse.load_hardware("flex_trainer").with_values(wide_values)
    by_name = {
        name: dse.explore(
            network, hardware, plan="w8a8e8", objectives=(name, "area"), trials=12, seed=3, screening=False
        )
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


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"area": 5e-6},
            r"--max-area: no design keeps 5e-06 mm2; the nearest feasible value is [\d.]+ \(5e-06 m2 are 5 mm2\)",
        ),
        ({"model_size": 0.002}, r"--max-model-size: .* \(0\.002 MB are 16777\.2 bits\)"),
        (
            {"area": 5e6},
            r"--max-area: 5e\+06 mm2 limits nothing.* \(5e\+06 um2 are 5 mm2\); without the option there is no limit",
        ),
        (
            {"latency": 2e9, "energy": 3e12},
            r"(?s)--max-latency: .*\(2e\+09 ns are 2 s\).*--max-energy: .*\(3e\+12 pJ are 3 J\)",
        ),
    ],
)
def test_limits_in_another_unit_get_a_hint(tiny, limits, message):
    with pytest.raises(InputError, match=message):
        dse.explore(tiny[0], tiny[2], profile=tiny[1], trials=2, limits=limits)


def test_limits_that_are_wishes_get_no_hint():
    for limit in LIMITS.values():
        assert limit.meant(0.011, 1.0) == ""  # a ninetieth of what is needed
        assert limit.too_large(1e6) == ""
        for name, factor in limit.others:
            if factor > SLIP:
                assert f" {name} are " in limit.meant(3.0 / factor, 3.0)
    assert LIMITS["memory"].too_large(1e20) == ""
