"""Statistics of a network, and ``dse show`` and ``dse import`` as a user runs them."""

import json

import pytest
from typer.testing import CliRunner

from dse.cli import app
from dse.errors import InputError
from dse.workload import load_workload
from dse.workload.work.statistics import network_statistics

runner = CliRunner()


def test_totals_are_those_of_the_network():
    network = load_workload("imagenet_resnet50").with_batch(4)
    rows = network_statistics(network)
    assert rows["macs"].sum() == 4 * network.macs
    assert rows["training_macs"].sum() / rows["macs"].sum() == pytest.approx(2.971, abs=5e-4)
    assert rows["parameters"].sum() == network.parameters


def test_intensity_is_macs_per_element_that_moves_once():
    rows = network_statistics(load_workload("imagenet_vgg16").with_batch(2)).set_index("layer")
    fc = rows.loc["classifier.0"]
    assert fc["intensity"] == 2 * 25088 * 4096 / (2 * 25088 + 25088 * 4096 + 2 * 4096)
    decode = network_statistics(load_workload("llama3_8b_decode")).set_index("layer")
    # One token reads every weight once: less than one MAC per element. Four queries share a cached key.
    assert decode.loc["lm_head", "intensity"] < 1
    assert 3 < decode.loc["model.layers.0.self_attn.scores", "intensity"] < 4


def test_layers_that_share_an_input_keep_it_once():
    rows = network_statistics(load_workload("bert_base").with_batch(1)).set_index("layer")
    kept = [rows.loc[f"encoder.layer.0.attention.self.{part}", "stash_elements"] for part in ("query", "key", "value")]
    assert kept == [128 * 768, 0, 0]


def test_show_prints_tables_json_and_a_picture(tmp_path):
    result = runner.invoke(app, ["show", "cifar_resnet20", "--batch", "1", "--picture", str(tmp_path / "net.html")])
    assert result.exit_code == 0
    assert "2.989 x forward" in result.output
    assert "layer1.0.conv1" in result.output
    assert "layer1.0.add" not in result.output
    assert "layer1.0.add" in runner.invoke(app, ["show", "cifar_resnet20", "--all"]).output
    page = (tmp_path / "net.html").read_text()
    assert "layer3.2.conv2" in page
    assert "<script src=" not in page
    rows = json.loads(runner.invoke(app, ["show", "cifar_resnet20", "--json"]).output)
    assert sum(row["macs"] for row in rows) == 128 * load_workload("cifar_resnet20").macs


def test_show_refuses_a_wrong_batch():
    result = runner.invoke(app, ["show", "cifar_resnet20", "--batch", "0"])
    assert isinstance(result.exception, InputError)
