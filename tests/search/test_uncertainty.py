"""Error bars of a front: the columns, the shares, the draws in the folder, and how two runs compare draw by draw."""

import json

import numpy as np
import pandas as pd
import pytest

import dse
from dse.errors import InputError
from dse.report.compare import compare_runs
from dse.search.outcome.uncertainty import DRAWN


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    asked = {"plan": "w8a8e8", "trials": 5, "screening": False}
    kept = dse.explore("fashion_cnn", "flex_trainer", **asked, uncertainty=30, out=folder / "a")
    other = dse.explore("fashion_cnn", "fp32_trainer", plan="fp32", trials=1, uncertainty=30, out=folder / "b")
    plain = dse.explore("fashion_cnn", "flex_trainer", **asked, out=folder / "c")
    return kept, other, plain


def test_columns_of_the_front(runs):
    run, _, plain = runs
    for name in DRAWN:
        low, high = run.front[f"{name}_low"], run.front[f"{name}_high"]
        assert (low < high).all()
    assert (run.front["latency_s_low"] >= run.front["latency_s"]).all()
    assert run.front["share_non_dominated"].between(0, 1).all()
    assert run.front["share_knee"].sum() == pytest.approx(1.0)
    assert run.front[list(plain.front.columns)].equals(plain.front)  # the search does not see the draws
    assert run.info["uncertainty"]["draws"] == 30
    assert any("drawn 30 times" in note for note in run.notes)


def test_draws_in_the_folder(runs):
    run, _, plain = runs
    draws = pd.read_csv(run.folder / "draws.csv")
    assert len(draws) == 30 * len(run.front)
    one = draws[draws["design"] == run.front["design"].iloc[0]]
    assert np.quantile(one["energy_j"], 0.05) == pytest.approx(run.front["energy_j_low"].iloc[0])
    assert json.loads((run.folder / "run.json").read_text())["uncertainty"]["ranges"]["dram"]["high"] == 2.5
    assert not (plain.folder / "draws.csv").exists()


def test_runs_compare_draw_by_draw(runs, tmp_path):
    run, other, plain = runs
    both = compare_runs([run.folder, other.folder], tmp_path / "x.html")
    assert both.better[0] == 0.5
    assert both.better[1] == 0.0  # FP32 is worse in every draw
    assert both.titles[-1] == "better in draws"
    assert compare_runs([run.folder, plain.folder], tmp_path / "y.html").better == (0.5, None)


def test_too_few_draws():
    with pytest.raises(InputError, match="at least 2 draws"):
        dse.explore("fashion_cnn", plan="w8a8e8", trials=1, screening=False, uncertainty=1)
