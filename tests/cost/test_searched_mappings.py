"""Mappings that are searched on from the tables': never worse, the same alone and beside others, and what their loops say."""

import pandas as pd
import pytest

import dse
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
