"""Mappings that are searched on from the tables': never worse, the same alone and beside others, and what their loops say."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

import dse
from dse.cli import app
from dse.cost.jobs import answers
from dse.cost.mapped.explicit import best_mappings, evaluate_mappings
from dse.errors import InputError
from dse.hardware import sample_table
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """
source: made up
batch: 16
samples: 16
epochs: 1
optimizer: sgd
nests:
  - {name: a, kind: conv, K: 96, C: 40, P: 14, Q: 14, R: 3, S: 3, input: 14}
  - {name: b, kind: fc, N: 500, K: 700, C: 300}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")
PLAN = "w3a5e6"


@pytest.fixture(scope="module")
def designs():
    return sample_table(dse.load_hardware("flex_trainer"), 2, seed=2).assign(**{"array.rows": 32, "array.cols": 32})


@pytest.fixture(scope="module")
def searched(designs):
    return dse.evaluate(NET, "flex_trainer", PLAN, designs, search_mappings=True)


def test_searching_on_is_never_worse_and_sometimes_better(designs, searched):
    table = dse.evaluate(NET, "flex_trainer", PLAN, designs)
    theirs, ours = (x.layers[x.layers["macs"] > 0].reset_index(drop=True) for x in (table, searched))
    ratio = (ours["latency_s"] * ours["energy_j"]) / (theirs["latency_s"] * theirs["energy_j"])
    assert (ratio <= 1 + 1e-12).all()
    assert ratio.min() < 0.999


def test_a_design_is_searched_alone_as_beside_others(designs, searched):
    alone = dse.evaluate(NET, "flex_trainer", PLAN, designs.iloc[[1]], search_mappings=True)
    beside = searched.total[searched.total["design"] == 1].drop(columns="design").reset_index(drop=True)
    pd.testing.assert_frame_equal(beside, alone.total.drop(columns="design"), check_exact=True)


def test_what_is_reported_is_what_the_loops_cost(designs):
    hardware = dse.load_hardware("flex_trainer").with_values(designs.iloc[0].to_dict())
    plan = dse.Plan.parse(PLAN, NET)
    mappings = best_mappings(NET, hardware, plan, search_mappings=True)
    loops = evaluate_mappings(NET, hardware, plan, mappings).layers
    step = dse.evaluate(NET, hardware, plan, search_mappings=True)
    compute = ("mac_j", "weight_register_j", "accumulator_register_j")
    ours = step.layers[step.layers["macs"] > 0]
    for name in compute:
        assert float(ours[name].sum()) == pytest.approx(float(loops[name[:-1] + "pj"].sum()) * 1e-12, rel=1e-9)


@pytest.fixture
def as_users_have_it(monkeypatch, tmp_path):
    """The default for users: mappings are searched on, and kept in a cache of this test."""
    monkeypatch.setenv("DSE_MAPPINGS", "searched")
    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path / "cache"))
    answers.forget()
    yield tmp_path / "cache" / "searched"
    answers.forget()


def test_few_designs_are_searched_by_default_and_many_say_that_they_are_not(as_users_have_it, designs, searched):
    default = dse.evaluate(NET, "flex_trainer", PLAN, designs)
    pd.testing.assert_frame_equal(default.total, searched.total, check_exact=True)
    many = dse.evaluate(NET, "flex_trainer", [PLAN, *(f"w8a8e{bits}" for bits in range(2, 10))], designs)
    assert "looked up in tables" in " ".join(many.notes)
    assert "looked up" not in " ".join(default.notes)


def test_what_was_found_is_kept_and_a_damaged_or_outdated_file_is_made_anew(as_users_have_it, designs, monkeypatch):
    one = designs.iloc[[0]]
    first = dse.evaluate(NET, "flex_trainer", PLAN, one).total
    (path,) = as_users_have_it.iterdir()
    whole = path.read_bytes()

    def never(*_):
        raise AssertionError("searched again")

    with monkeypatch.context() as patch:
        patch.setattr("dse.cost.mapped.searched._searched", never)
        answers.forget()
        pd.testing.assert_frame_equal(dse.evaluate(NET, "flex_trainer", PLAN, one).total, first, check_exact=True)
    kept = answers.Answers(path.stem, dict(answers._read(path.stem)))
    wrong = {job: replace(item, energy_pj=1.0) for job, item in kept.found.items() if isinstance(item, answers.Priced)}
    for content in (b"", whole[:-1], whole.replace(b"1", b"2", 1), wrong):
        answers.forget()
        if isinstance(content, dict):
            answers.remember(kept, content)
            assert path.read_bytes() != whole
            answers.forget()
        else:
            path.write_bytes(content)
        pd.testing.assert_frame_equal(dse.evaluate(NET, "flex_trainer", PLAN, one).total, first, check_exact=True)
        assert path.read_bytes() == whole


def test_a_front_has_the_figures_of_its_designs_alone(as_users_have_it):
    run = dse.explore(NET, "flex_trainer", plan=PLAN, trials=2, seed=1)
    assert (run.front["mapping_gap"] > 0).all()
    assert "searched" in run.info["certificate"]["text"]
    for row in run.front.itertuples():
        alone = dse.evaluate(NET, run.hardware(row.design), PLAN).total.iloc[0]
        for name in ("latency_s", "energy_j", "area_mm2", "mapping_gap"):
            assert getattr(row, name) == pytest.approx(alone[name], rel=1e-11)
    values = run.front[["latency_s", "energy_j", "area_mm2"]].to_numpy()
    assert dse.pareto_front(values).tolist() == values.tolist()


def test_a_search_looks_up_by_default_and_its_designs_are_evaluated_so(monkeypatch, tmp_path):
    monkeypatch.delenv("DSE_MAPPINGS")
    run = dse.explore("fashion_cnn", "flex_trainer", plan="w4a8e8", trials=2, seed=1, out=tmp_path / "run")
    assert (run.front["mapping_gap"] > 0).all()
    assert "searched on" not in run.info["certificate"]["text"]
    design = run.front.iloc[0]
    done = CliRunner().invoke(app, ["evaluate", "--design", f"{tmp_path / 'run'}:{design['design']}", "--json"])
    assert done.exit_code == 0, done.output
    total = json.loads(done.output)["total"][0]
    for name in ("latency_s", "energy_j", "mapping_gap"):
        assert total[name] == pytest.approx(design[name], rel=1e-9)


def test_a_wrong_setting_is_said(monkeypatch):
    monkeypatch.setenv("DSE_MAPPINGS", "best")
    with pytest.raises(InputError, match="searched or tables"):
        dse.evaluate(NET, "flex_trainer", PLAN)


def test_command_line_takes_the_same_options(dse_here, tmp_path):
    (tmp_path / "net.yaml").write_text(TEXT)
    args = ("net.yaml", "--hardware", "tpu_like", "--plan", "w4a4e4", "--mode", "inference", "--json")
    told = dse_here("evaluate", *args, "--search-mappings", "--mapping-objective", "latency", cwd=tmp_path).stdout
    cost = dse.evaluate(
        tmp_path / "net.yaml", "tpu_like", "w4a4e4", mode="inference", mapping_objective="latency", search_mappings=True
    )
    assert f'"latency_s": {cost.total["latency_s"][0]!r}'.replace("np.float64(", "").replace(")", "") in told
    dse_here("evaluate", *args, "--mapping-objective", "speed", cwd=tmp_path, code=2)
    with pytest.raises(InputError, match="unknown"):
        best_mappings(NET, dse.load_hardware("tpu_like"), dse.Plan.parse("w4a4e4", NET), "inference", "speed")
