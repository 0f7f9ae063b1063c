"""All parallel plans are tried and the best is proven; ``dse.evaluate`` and the command line."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import dse
from dse.cli import app
from dse.errors import InputError, NothingFeasible
from dse.system.evaluate import best_of_system
from dse.system.plans.search import best_plan, enumerate_plans, fitting_steps

H100 = dse.load_system("dgx_h100")


@pytest.fixture(scope="module")
def net(transformer):
    return transformer(256, 8, 8, 128)


def test_every_plan_takes_the_devices_and_suits_the_network(small):
    plans = enumerate_plans(small, 16)
    assert len(set(plans)) == len(plans) > 200
    assert {plan.devices for plan in plans} == {16}
    assert all(8 % plan.tensor == 0 and plan.pipeline <= 8 and 128 % plan.context == 0 for plan in plans)
    # Of all factorizations of 16 into four degrees only those with more stages or cut heads than there are lack.
    degrees = {(plan.data, plan.tensor, plan.pipeline, plan.context) for plan in plans}
    powers = [1, 2, 4, 8, 16]
    every = {(d, t, p, c) for d in powers for t in powers for p in powers for c in powers if d * t * p * c == 16}
    assert every - degrees == {item for item in every if item[1] > 8 or item[2] > 8}


def test_the_best_plan_is_the_best_of_all_one_by_one(net, small):
    found, _ = best_plan(small, H100, 8, 32)
    kept, steps = fitting_steps(enumerate_plans(small, 8), 32)
    costs = []
    for plan, count in [*list(zip(kept, steps, strict=True))[::60], (found.parallel, found.steps)]:
        row = dse.evaluate(net, None, "bf16", system=H100, parallel=plan, accumulate=count).total.iloc[0]
        costs.append(float(row["latency_s"]))
    assert found.listed == len(kept)
    assert min(costs) == pytest.approx(found.step_s)


def test_where_nothing_fits_the_shortfall_is_told(net, small):
    tiny = replace(H100, device=replace(H100.device, memory_bytes=1e6))
    with pytest.raises(NothingFeasible, match=r"of 0\.00 GB; .* GB are missing"):
        best_plan(small, tiny, 4, 8)
    cost = dse.evaluate(net, None, "bf16", system=tiny, parallel="d4", accumulate=2)
    row = cost.as_dict()["total"][0]
    assert not row["feasible"]
    assert row["latency_s"] is None
    assert "are missing" in row["limit"]


def test_a_step_on_a_system_from_python(net):
    cost = dse.evaluate(net, None, "bf16", system="dgx_h100", parallel=dse.Parallel(data=8, tensor=4, pipeline=2, micro_batch=1), accumulate=4)
    row = cost.total.iloc[0]
    assert (row["devices"], row["samples"], row["parallel"]) == (64, 32, "d8t4p2")
    assert row["tokens_per_s"] == pytest.approx(32 * 128 / row["latency_s"])
    assert row["tokens_per_j"] == pytest.approx(1 / row["energy_j_per_token"])
    assert row["energy_j"] > 64 * 700 * row["latency_s"]
    assert 0 < row["mfu"] < 1
    assert row["peak_memory_bits"] == pytest.approx(sum(row[name] for name in row.index if name.startswith("memory_")))


def test_a_hardware_model_is_the_device(net):
    narrow = dse.load_workload("fashion_cnn")
    cost = dse.evaluate(narrow, "fp8_trainer", "fp8_e4m3", system="fp8_trainers_pcie", parallel="d4", accumulate=1)
    row = cost.total.iloc[0]
    alone = dse.evaluate(narrow.with_batch(1), "fp8_trainer", "fp8_e4m3").total.iloc[0]
    assert row["samples"] == 4
    # Four samples on four devices: the energy of a sample each, and the links' on top.
    assert row["energy_j"] > 4 * 0.9 * float(alone["energy_j"]) > 0
    assert "fp8_trainer under the links of fp8_trainers_pcie" in cost.notes[0]


@pytest.mark.parametrize(
    ("parallel", "says"),
    [
        ("t16", "does not divide the 8 heads"),
        ("p16", "longer than the 8 equal blocks"),
        ("p2v8", "fewer than the 8 blocks"),
        ("c3", "does not divide the 128 tokens"),
        ("d2e2", "does not divide the 0 experts"),
    ],
)
def test_plans_that_do_not_suit_the_network_are_told(net, parallel, says):
    with pytest.raises(InputError, match=says):
        dse.evaluate(net, None, "bf16", system="dgx_h100", parallel=parallel)


def test_options_of_one_accelerator_do_not_go_with_a_system(net):
    with pytest.raises(InputError, match="needs a parallel plan"):
        dse.evaluate(net, None, "bf16", system="dgx_h100")
    with pytest.raises(InputError, match="go with a system"):
        dse.evaluate(net, "fp8_trainer", "fp8_e4m3", parallel="d4")
    with pytest.raises(InputError, match="goes with training"):
        dse.evaluate(net, None, "bf16", system="dgx_h100", parallel="d4", mode="inference")


def test_the_best_plan_says_that_it_is_proven(net):
    cost = best_of_system(net, None, "bf16", "dgx_h100", 8, 32)
    assert "proven within the model" in cost.notes[-1]


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_commands():
    common = ["evaluate", "gpt2_small", "--plan", "bf16", "--system", "dgx_h100"]
    done = run(*common, "--devices", "64", "--parallel", "d8t4p2", "--micro-batch", "2", "--accumulate", "4", "--recompute-policy", "full", "--json")
    assert done.exit_code == 0, done.output
    row = json.loads(done.output)["total"][0]
    assert (row["devices"], row["micro_batch"], row["accumulate"], row["recompute"]) == (64, 2, 4, "full")
    assert run(*common, "--devices", "8", "--parallel", "auto").exit_code == 0
    moved = [json.loads(run(*common, "--parallel", "d8", "--communication", given, "--json").output)["total"][0] for given in ("gradients=int8", "gradients=bf16")]
    assert moved[1]["link_data_bits"] == pytest.approx(2 * moved[0]["link_data_bits"])  # all-reduced: nothing else is sent
    assert moved[0]["link_bits"] == pytest.approx(sum(moved[0][f"link_{kind}_bits"] for kind in ("tensor", "expert", "context", "pipeline", "data")))
    assert isinstance(run(*common, "--parallel", "d8", "--micro-batch", "4096").exception, NothingFeasible)
    for wrong in (["--devices", "8", "--parallel", "d4"], ["--devices", "0"], ["--parallel", "d8q2"], ["--parallel", "d2", "--recompute-policy", "some"], ["--micro-batch", "2"]):
        assert isinstance(run(*common, *wrong).exception, InputError), wrong
    assert isinstance(run("evaluate", "gpt2_small", "--devices", "8").exception, InputError)


def test_sweep_over_devices(tmp_path):
    out = tmp_path / "sweep"
    done = run("sweep", "gpt2_small", "--plan", "bf16", "--system", "dgx_h100", "--devices", "8,64", "--samples", "128", "--json", "--out", str(out))
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)["total"]
    assert [(row["scaling"], row["devices"], row["samples"]) for row in rows] == [("strong", 8, 128), ("strong", 64, 128), ("weak", 8, 16), ("weak", 64, 128)]
    assert rows[1]["tokens_per_s"] > 4 * rows[0]["tokens_per_s"]
    assert rows[1]["latency_s"] == rows[3]["latency_s"]  # both meet at the most devices
    for few, many in (rows[:2], rows[2:]):
        assert few["efficiency"] == 1
        assert many["efficiency"] == pytest.approx(many["tokens_per_s"] / 64 / (few["tokens_per_s"] / 8))
    assert {"strong.svg", "weak.svg", "plans.csv", "report.html"} <= {path.name for path in out.iterdir()}
    assert isinstance(run("sweep", "gpt2_small", "--system", "dgx_h100", "--devices", "8,x").exception, InputError)
    assert isinstance(run("sweep", "gpt2_small", "--devices", "8").exception, InputError)
