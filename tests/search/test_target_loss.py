"""Plans at equal final loss: tokens by the law, steps by the tokens, time and energy by the cost model."""

import numpy as np
import pytest

import dse
from dse.accuracy import load_law
from dse.search.target_loss import at_target_loss, best_of_each, parameters_of, tokens_per_step

NETWORK = """
source: made up
batch: 8
samples: 1024
epochs: 1
optimizer: adamw
input: {tokens: 64}
layers:
  - {op: embedding, name: embed, rows: 512, K: 128}
  - {op: linear, name: up, K: 256, then: [silu]}
  - {op: linear, name: down, K: 128}
  - {op: linear, name: head, K: 512}
  - {op: loss, name: loss}
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.yaml"
    path.write_text(NETWORK)
    return dse.load_workload(path)


@pytest.fixture(scope="module")
def asked(network):
    law = load_law()
    size = parameters_of(network)
    return law, size, float(law.loss(size, 100 * size))


@pytest.fixture(scope="module")
def found(network, asked):
    return at_target_loss(network, "mx_trainer", asked[2], ("bf16", "fp8_e4m3,error=fp8_e5m2", "mxfp4_e2m1"), trials=4)


def test_a_networks_size_and_tokens_are_those_of_the_law(network):
    assert parameters_of(network) == 2 * 128 * 256  # neither the embedding nor the classifier over its rows
    assert tokens_per_step(network) == 8 * 64


def test_time_and_energy_are_steps_times_a_step(network, asked, found):
    law, size, loss = asked
    row = found[found["plan"] == "mxfp4_e2m1"].iloc[0]
    assert float(law.loss(size, row["tokens"], "mxfp4_e2m1")) == pytest.approx(loss)
    plan = dse.Plan.parse("mxfp4_e2m1", network)
    cost = dse.evaluate(network, dse.load_hardware("mx_trainer"), plan).total.iloc[0]
    assert row["step_latency_s"] == pytest.approx(cost["latency_s"])
    assert row["energy_j"] == pytest.approx(row["tokens"] / (8 * 64) * cost["energy_j"])
    assert row["tokens_low"] < row["tokens"] < row["tokens_high"]


def test_cheaper_steps_pay_for_the_tokens_that_they_need(found):
    best = best_of_each(found).set_index("plan")
    four, eight = best.loc["mxfp4_e2m1"], best.loc["fp8_e4m3,error=fp8_e5m2"]
    assert four["step_energy_j"] < eight["step_energy_j"]
    assert four["tokens"] > eight["tokens"]
    assert found["front"].any()
    assert found["latency_s"].dropna().is_monotonic_increasing


def test_what_cannot_run_says_why(found):
    row = found[found["plan"] == "bf16"].iloc[0]
    assert "does not multiply" in row["limit"]
    assert np.isnan(row["latency_s"])
    assert any("measured are" in note for note in found.attrs["notes"])


def test_a_loss_that_nothing_reaches_is_infeasible_and_other_networks_are_refused(network):
    with pytest.raises(dse.errors.NothingFeasible, match="never reaches"):
        at_target_loss(network, "mx_trainer", 0.5, ("mxfp4_e2m1",), trials=1)
    with pytest.raises(dse.InputError, match="no embedding"):
        at_target_loss("cifar_resnet20", "mx_trainer", 3.0)
