"""Inputs of AccelForge and Timeloop: the loops of every pass, its tensors with their widths, the memories with their prices."""

import math

import pytest
import yaml

from dse.export import load_design
from dse.export.accelforge import accelforge_files, plain
from dse.export.mappings import best_mappings
from dse.export.timeloop import timeloop_files
from dse.export.zigzag import exact


@pytest.fixture(scope="module")
def design(run_folder):
    return load_design(f"{run_folder}:knee")


@pytest.fixture(scope="module")
def runs(design):
    return {run.name: run for run in best_mappings(design)[1]}


def test_accelforge_loops_cover_every_layer(design, runs):
    files = accelforge_files(design)
    assert set(files) == {f"{name}.yaml" for name in runs}
    for name, run in runs.items():
        content = plain(files[f"{name}.yaml"])
        left = dict(zip("ngkcpqrs", run.nest.dims, strict=True))
        held = []
        for node in content["mapping"]["nodes"]:
            if node["tag"] in ("Temporal", "Spatial"):
                assert node["tile_shape"] <= left[node["rank_variable"]] or not exact(run)
                left[node["rank_variable"]] = node["tile_shape"]
            elif node["tag"] == "Storage":
                held += [(node["component"], tensor) for tensor in node["tensors"]]
        assert set(left.values()) == {1}
        assert len(held) == len(set(held)) == sum(cut is not None for level in run.mapping.levels for cut in level.cuts)
        spatial = [node for node in content["mapping"]["nodes"] if node["tag"] == "Spatial"]
        assert {node["name"] for node in spatial} == {loop.axis for loop in run.mapping.loops if loop.axis}


def test_accelforge_tensors_and_prices(design, runs):
    files = accelforge_files(design)
    gathered = plain(files["layer1.0.conv1.backward_data.yaml"])["workload"]["einsums"][0]["tensor_accesses"]
    assert [entry["name"] for entry in gathered] == ["Weights", "Inputs", "Outputs"]  # a convolution of the errors
    content = plain(files["layer2.0.conv1.backward_data.yaml"])
    run = runs["layer2.0.conv1.backward_data"]
    einsum = content["workload"]["einsums"][0]["tensor_accesses"]
    assert [entry["bits_per_value"] for entry in einsum] == [math.ceil(bits) for bits in run.stored_bits]
    assert [entry["name"] for entry in einsum] == ["Weights", "Outputs", "Inputs"]
    assert [entry.get("output", False) for entry in einsum] == [False, False, True]
    assert einsum[2]["projection"]["H"] == "2 * p + 1 * r"
    arrays, _ = best_mappings(design)
    memories = [node for node in content["arch"]["nodes"] if node["tag"] == "Memory"]
    assert [node["name"] for node in memories] == [memory.name for memory in reversed(design.hardware.memories)]
    for m, node in enumerate(reversed(memories)):
        assert node["actions"][0]["energy"] == pytest.approx(arrays.read_pj_per_bit[0, m])
    compute = content["arch"]["nodes"][-1]["actions"][0]["energy"]
    assert compute * math.prod(run.nest.dims) == pytest.approx(run.mac_pj)


def test_timeloop_factors_multiply_to_the_layer(design, runs):
    files = timeloop_files(design)
    assert set(files) == {f"{name}.yaml" for name in runs}
    for name, run in runs.items():
        content = plain(files[f"{name}.yaml"])
        instance = content["problem"]["instance"]
        assert [instance[dim] for dim in "NGKCPQRS"] == list(run.nest.dims)
        assert ("mapping" in content) == exact(run)
        covered = dict.fromkeys("NGKCPQRS", 1)
        targets = [node["name"] for node in content["architecture"]["nodes"]]
        for entry in content.get("mapping", []):
            assert entry["target"] in targets
            assert sorted(entry["permutation"]) == sorted("NGKCPQRS")
            for text in entry["factors"]:
                dim, trips = text.split("=")
                covered[dim] *= int(trips)
        if exact(run):
            assert tuple(covered.values()) == run.nest.dims
            array = next(entry for entry in content["mapping"] if entry["type"] == "spatial")
            mesh = next(node for node in content["architecture"]["nodes"] if node["name"] == "array")["spatial"]
            used = {text.split("=")[0]: int(text.split("=")[1]) for text in array["factors"]}
            across = math.prod(used[dim] for dim in array["permutation"][: array["split"]])
            assert across <= mesh["meshX"]
            assert math.prod(used.values()) // across <= mesh["meshY"]


def test_timeloop_words_have_the_operands_widths(design, runs):
    content = plain(timeloop_files(design)["layer1.0.conv1.forward.yaml"])
    run = runs["layer1.0.conv1.forward"]
    widths = {node["name"]: node["attributes"]["datawidth"] for node in content["architecture"]["nodes"] if "attributes" in node and "datawidth" in node["attributes"]}
    assert widths["weight_register_weights"] == run.stored_bits[0]
    assert widths["buffer_outputs"] == 32
    assert widths["dram"] == max(run.stored_bits)


def test_files_are_plain_yaml_but_for_their_tags(design):
    for files in (accelforge_files(design), timeloop_files(design)):
        text = next(iter(files.values()))
        with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
            yaml.safe_load(text)
        assert "&" not in text
