"""Where a gain comes from: every ingredient by an evaluation of its own, from uniform 8 bit to the design that was found."""

import pytest

import dse
from dse.report import waterfall_table
from dse.report.run.data import read_run
from dse.report.tables.runs import waterfall_rows

FIGURES = ("latency_s", "energy_j", "area_mm2", "accuracy_drop_pp", "accuracy_drop_low_pp", "accuracy_drop_high_pp")


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    return dse.explore(
        tiny[0], tiny[2], profile=tiny[1], trials=6, fusion="vector", max_accuracy_drop=3.0, confidence=0.8,
        out=tmp_path_factory.mktemp("waterfall") / "run",
    )  # fmt: skip


def test_the_way_ends_at_the_knee(run):
    steps = run.info["waterfall"]
    knee = next(item["design"] for item in run.info["baselines"] if item["role"] == "knee")
    row = run.front[run.front["design"] == knee].iloc[0]
    assert [steps[-1][name] for name in FIGURES] == pytest.approx([row[name] for name in FIGURES], rel=1e-9)
    assert steps[-1]["step"] == "fusion (vector)"
    assert all(step["assumption"] for step in steps[1:])


def test_every_step_is_an_evaluation(run, tiny):
    """Uniform 8 bit without fusion, on the default hardware, then on the knee's, then with its errors."""
    net = dse.load_workload(tiny[0])
    knee = next(item["design"] for item in run.info["baselines"] if item["role"] == "knee")
    by_name = {step["step"]: step for step in run.info["waterfall"]}
    plan = dse.Plan.from_bits(net, weight=8, activation=8, error=8)
    default = dse.evaluate(net, tiny[2], plan, fusion="none").total.iloc[0]
    assert by_name["uniform 8 bit, default hardware"]["energy_j"] == pytest.approx(default["energy_j"])
    own = dse.evaluate(net, run.hardware(knee), plan, fusion="none").total.iloc[0]
    assert by_name["hardware"]["latency_s"] == pytest.approx(own["latency_s"])
    fused = dse.evaluate(net, run.hardware(knee), run.plan(knee), fusion="none").total.iloc[0]
    assert by_name["weight and activation map"]["energy_j"] == pytest.approx(fused["energy_j"])


def test_uniform_plans_with_the_designs_errors_are_baselines(run):
    bits = run.front.set_index("design")["error_bits"]
    narrow = [item for item in run.info["baselines"] if "errors of" in item["name"]]
    assert narrow
    for item in narrow:
        assert f"errors of {bits[item['design']]}" in item["name"]
        assert isinstance(item["keeps_limit"], bool)


def test_reports_show_it(run):
    data = read_run(run.folder)
    rows = waterfall_rows(data)
    assert len(rows) == len(run.info["waterfall"])
    assert rows[0][2] == ""
    assert "x" in rows[1][2]
    assert waterfall_table(run.folder).row_count == len(rows)
    page = dse.report.write_report(run.folder).read_text()
    assert "comes from: one ingredient after the other" in page


def test_a_given_plan_has_no_such_way(tiny):
    assert dse.explore(tiny[0], tiny[2], plan="w8a8e8", trials=1).info["waterfall"] == []
