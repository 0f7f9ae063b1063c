"""Batch sweeps: from latency-bound to throughput-bound."""

import json

import pytest
from typer.testing import CliRunner

import dse
from dse.cli import app
from dse.cost.totals.batch_sweep import batch_sweep
from dse.errors import InputError
from dse.workload import Layer, Network


def test_weights_are_shared_by_more_samples_until_the_array_is_full():
    """A fully connected layer reads its weights once per step, so its rate grows with the batch until compute decides."""
    layer = Layer("l", "fc", K=1024, C=1024, passes=("forward",))
    network = Network("net", "a test", (layer,), batch=1, samples=1, epochs=1)
    plan = dse.Plan.uniform(network)
    table = batch_sweep(network, dse.load_hardware("flex_trainer"), plan, [1, 4, 4096], "inference").set_index("batch")
    assert table.loc[4, "samples_per_s"] > 3 * table.loc[1, "samples_per_s"]
    assert (table["energy_j_per_sample"].diff().dropna() < 0).all()
    assert table.loc[1, "dram_bound"] == 1.0
    assert table.loc[4096, "dram_bound"] == 0.0
    assert table["setting"].tolist() == ["latency", "", "throughput"]


def test_the_command():
    arguments = ["sweep", "cifar_alexnet", "--batches", "1,2", "--mode", "inference"]
    rows = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert [row["batch"] for row in rows] == [1, 2]
    assert "samples/s" in CliRunner().invoke(app, arguments).output
    with pytest.raises(InputError, match="expected integers"):
        CliRunner().invoke(app, ["sweep", "cifar_alexnet", "--batches", "1,x"], catch_exceptions=False)
    with pytest.raises(InputError, match="an integer >= 1"):
        CliRunner().invoke(app, ["sweep", "cifar_alexnet", "--batches", "0"], catch_exceptions=False)
