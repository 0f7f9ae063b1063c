"""Links against limits known by hand; fits against data made from the link itself; ranks against an independent count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from dse.accuracy.hold_out import partial_rank_correlation, rank_correlation
from dse.accuracy.predictor import LINKS, compare_links, fit_factors, fit_link, in_range, leave_one_out, predict
from dse.errors import InputError

TRUE = {
    "linear": (2.5,),
    "power": (3.0, 0.4),
    "saturating": (4.0, 0.3),
    "saturating_with_offset": (4.0, 0.3, -0.2),
    "hill": (4.0, 0.3, 1.7),
}
SCORES = np.array([0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


@pytest.mark.parametrize("name", LINKS)
def test_fit_finds_the_parameters_that_made_the_data(name):
    assert fit_link(name, SCORES, predict(name, TRUE[name], SCORES)) == pytest.approx(TRUE[name], rel=1e-4)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("unit", [1e-6, 1e4])
def test_fit_does_not_depend_on_the_unit_of_the_score(name, unit):
    drops = predict(name, TRUE[name], SCORES) + 0.05 * np.sin(7 * np.arange(7))
    near = predict(name, fit_link(name, SCORES, drops), SCORES)
    scaled = predict(name, fit_link(name, SCORES * unit, drops), SCORES * unit)
    assert scaled == pytest.approx(near, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 5.0), min_size=4, max_size=4), st.sampled_from(sorted(LINKS)))
def test_every_fitted_link_is_monotone(drops, name):
    if max(drops) <= 0.0:
        return
    parameters = fit_link(name, [0.1, 0.3, 0.6, 1.0], drops)
    values = predict(name, parameters, np.linspace(0.0, 1.0, 101))
    assert (np.diff(values) >= -1e-12).all()


def test_limits_of_the_saturating_link():
    assert predict("saturating", (4.0, 0.3), [0.0, 0.3]).tolist() == [0.0, 2.0]
    assert predict("saturating", (4.0, 0.3), 1e12) == pytest.approx(4.0)
    assert predict("hill", (4.0, 0.3, 1.0), SCORES) == pytest.approx(predict("saturating", (4.0, 0.3), SCORES))


def test_leave_one_out_of_a_line_is_the_known_residual():
    """Slope through the origin without point i: sum(xy)/sum(x^2) over the rest."""
    x, y = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0])
    by_hand = [x[i] * ((x * y).sum() - x[i] * y[i]) / ((x**2).sum() - x[i] ** 2) - y[i] for i in range(3)]
    assert leave_one_out("linear", x, y) == pytest.approx(by_hand)


def test_errors_of_a_comparison_are_those_of_its_link():
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), np.array([1.0, 3.0, 3.0, 2.0])
    table = compare_links(x, y)
    for name in table.index:
        left_out, row = np.abs(leave_one_out(name, x, y)), table.loc[name]
        assert row["loo_error"] == pytest.approx(left_out.sum() / 4)
        assert row["loo_rms"] == pytest.approx(np.linalg.norm(left_out) / 2)
        assert row["loo_worst"] == sorted(left_out)[-1]
        assert row["loo_error_in_range"] == pytest.approx(left_out[[0, 1, 3]].sum() / 3)  # the third has the largest score
        assert row["fit_error"] == pytest.approx(np.abs(predict(name, row["parameters"], x) - y).sum() / 4)
    assert list(table["loo_rms"]) == sorted(table["loo_rms"])


def test_leave_one_out_without_enough_points_is_unknown():
    assert np.isnan(leave_one_out("saturating", [1.0, 2.0], [1.0, 2.0])).all()


def made_with_factors(points=120, layers=6):
    """Contributions, drops with a little noise, and the factors that made them."""
    rng = np.random.default_rng(4)
    parts = rng.uniform(0.0, 0.2, size=(points, layers))
    factors = np.exp(rng.normal(0.0, 0.6, layers))
    return parts, predict("saturating", (5.0, 0.8), parts @ factors) + rng.normal(0.0, 0.02, points), factors


@pytest.mark.parametrize("name", ["saturating", "power"])
def test_factors_are_found_where_points_know_them(name):
    """Up to a common one, which the link takes over: a prediction does not know it."""
    parts, drops, factors = made_with_factors()
    _, found = fit_factors(name, parts, drops, 3.0)
    assert spearmanr(found, factors)[0] > 0.9
    assert np.log(found / factors) - np.log(found / factors).mean() == pytest.approx(np.zeros(6), abs=0.15)


def test_factors_stay_near_one_where_the_spread_says_so():
    parts, drops, _ = made_with_factors()
    parameters, found = fit_factors("saturating", parts, drops, 1.0001)
    assert found == pytest.approx(np.ones(6), abs=1e-3)
    assert parameters == pytest.approx(fit_link("saturating", parts.sum(axis=1), drops), rel=1e-2)


def test_factors_predict_points_that_were_left_out_better():
    parts, drops, _ = made_with_factors(points=30)
    plain, corrected = (
        np.sqrt((errors**2).mean())
        for errors in (
            leave_one_out("saturating", parts.sum(axis=1), drops),
            leave_one_out("saturating", parts, drops, 2.0),
        )
    )
    assert corrected < 0.5 * plain


def test_only_the_largest_score_leaves_the_range():
    assert in_range([1.0, 3.0, 2.0]).tolist() == [True, False, True]
    assert in_range([3.0, 1.0, 3.0]).tolist() == [True, True, True]


def test_comparison_prefers_the_link_that_made_the_data():
    for name in ("linear", "saturating", "power"):
        table = compare_links(SCORES, predict(name, TRUE[name], SCORES))
        assert table.loc[name, "loo_rms"] < 1e-3
        assert table.index[0] == name or table.iloc[0]["loo_rms"] < 1e-3
        if name == "saturating":
            assert table.index[-1] == "linear"


@pytest.mark.parametrize(
    ("scores", "drops", "message"),
    [
        ([1.0], [1.0], "at least 2 measured points"),
        ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], "a score and a drop other than 0"),
        ([1.0, 2.0, np.nan], [1.0, 2.0, 3.0], "finite"),
        ([1.0, 2.0, 3.0], [1.0, np.nan, 3.0], "finite"),
        ([1.0, 2.0, -1.0], [1.0, 2.0, 3.0], "cannot be negative"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "as many drops as scores"),
    ],
)
def test_points_that_cannot_be_fitted(scores, drops, message):
    with pytest.raises(InputError, match=message):
        fit_link("saturating", scores, drops)
    with pytest.raises(InputError, match="no link; known: linear"):
        fit_link("straight", [1.0, 2.0], [1.0, 2.0])


def test_partial_rank_correlation_without_controls_is_spearmans():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40))
    found = rank_correlation(x, y + x, resamples=200)
    assert found.value == pytest.approx(spearmanr(x, y + x)[0])
    assert found.low < found.value < found.high


def test_counting_bits_has_no_partial_rank_correlation_with_itself_taken_out():
    rng = np.random.default_rng(2)
    bits, rest = rng.normal(size=(2, 300))
    measured = bits + rest
    assert np.isnan(partial_rank_correlation(bits, measured, bits[:, None], resamples=50).value)
    noise = partial_rank_correlation(bits + 0.01 * rng.normal(size=300), measured, bits[:, None], resamples=50)
    assert abs(noise.value) < 0.2
    assert partial_rank_correlation(rest, measured, bits[:, None], resamples=50).value > 0.9


def test_a_single_plan_with_damage_is_foreseen_by_no_other():
    drops = [0.0, 0.0, 0.0, 0.0, 3.0]
    for name in LINKS:
        assert leave_one_out(name, SCORES[:5], drops)[-1] == -3.0
    table = compare_links(SCORES[:5], drops)
    assert set(table.index) == set(LINKS)
    assert (table["loo_worst"] >= 3.0).all()


def test_factors_are_the_most_probable_ones_under_the_variance_of_the_plain_fit():
    """At the minimum of squared misses over their unbiased variance plus squared logarithms over ln(spread)^2, nothing pulls."""
    rng = np.random.default_rng(4)
    parts = rng.uniform(0.1, 1.0, (9, 3))
    drops = parts @ [1.0, 2.5, 0.6] + 0.05 * rng.normal(size=9)
    (slope,), factors = fit_factors("linear", parts, drops, 2.0)
    (plain,) = fit_link("linear", parts.sum(axis=1), drops)
    variance = ((plain * parts.sum(axis=1) - drops) ** 2).sum() / (9 - 1)

    def objective(values):
        misses = np.exp(values[0]) * parts @ np.exp(values[1:]) - drops
        return (misses**2).sum() / variance + (values[1:] ** 2).sum() / np.log(2.0) ** 2

    found = np.log([slope, *factors])
    for direction in np.eye(4) * 1e-4:
        pull = (objective(found + direction) - objective(found - direction)) / 2e-4
        assert abs(pull) < 1e-3
