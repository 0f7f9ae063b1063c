"""Scores of outputs that are zero, huge or not finite: a number or a sentence, never a warning and never a silent 0."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.accuracy.measuring.measure import output_score
from dse.errors import InputError

LABELS = np.array([0, 1, 2])
outputs = arrays(np.float64, (3, 4), elements=st.floats(-1e18, 1e18))


@given(outputs, outputs, st.sampled_from(["kl", "loss", "noise"]))
def test_a_score_is_finite_and_not_negative_or_a_sentence(base, found, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "noise" and not base.any():
            with pytest.raises(InputError, match="take kl"):
                output_score(kind, base, found, LABELS)
            return
        value = output_score(kind, base, found, LABELS)
    assert value >= 0.0
    assert not np.isnan(value)
    assert output_score(kind, base, base, LABELS) == 0.0


@pytest.mark.parametrize("kind", ["kl", "loss", "noise"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_have_no_score(kind, odd):
    base = np.ones((3, 4))
    found = base.copy()
    found[1, 2] = odd
    for pair in ((base, found), (found, base)):
        with pytest.raises(InputError, match="not finite"):
            output_score(kind, *pair, LABELS)


def test_noise_is_relative_to_the_outputs():
    base = np.array([[3.0, 4.0]])
    assert output_score("noise", base, np.array([[3.0, 3.0]]), None) == pytest.approx(0.04)
    assert output_score("noise", base * 1e200, np.array([[3.0, 3.0]]) * 1e200, None) == pytest.approx(0.04)
