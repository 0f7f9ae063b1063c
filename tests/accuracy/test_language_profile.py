"""A language model's profile, measured by `dse.sensitivity` on a model that was trained for it: searched end to end, in nat of cross entropy."""

from pathlib import Path

import numpy as np
import pytest

import dse
from dse.accuracy.hold_out import against_counting, counting_note

DATA = Path(__file__).parents[1] / "data"


def test_a_character_model_is_searched_under_a_limit_in_nat(tmp_path):
    net = dse.load_workload(DATA / "char_lm.yaml")
    profile = dse.load_profile(DATA / "char_lm_profile.yaml", net)
    assert (profile.quantity, profile.unit) == ("loss", "nat")
    assert {"matmul", "matmul_2", "head"} <= set(profile.layer_names)  # both products of attention, and the classifier
    limit = 0.06
    run = dse.explore(
        net, "flex_trainer", profile=profile, max_accuracy_drop=limit, trials=1, widths=(3, 4, 6, 8), objectives=("energy", "accuracy"), seed=0,
        out=tmp_path / "run",
    )  # fmt: skip
    front = run.front
    assert (front["accuracy_drop_high_pp"] <= limit + 1e-9).all()
    assert (front["accuracy_drop_pp"] < front["accuracy_drop_high_pp"]).all()
    for _, row in front.iterrows():
        assert profile.predict_drop(run.plan(str(row["design"])), "training") == pytest.approx(row["accuracy_drop_pp"], abs=1e-9)
    # Perplexity: a drop in nat is its logarithm.
    assert np.exp(profile.baseline) == pytest.approx(8.79, abs=0.01)
    assert any("nat" in note for note in run.notes)


def test_it_says_how_well_its_scores_foresee():
    profile = dse.load_profile(DATA / "char_lm_profile.yaml")
    assert profile.error_pp == pytest.approx(0.0126, abs=1e-4)
    found = against_counting(profile)
    assert found.scores.value == pytest.approx(0.63, abs=0.01)
    assert found.as_good
    assert counting_note(profile).startswith("Counting bits foresees as well")
