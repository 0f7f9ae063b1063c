"""ZigZag's inputs say what the design is; where zigzag-dse is installed, its figures are ours plus two named differences."""

import importlib.util
import math
import sys

import pytest
import yaml

from dse.errors import InputError
from dse.export import load_design
from dse.export.crosscheck.compare import counted_its_way_pj, crosscheck, crosscheck_summary
from dse.export.mappings import best_mappings
from dse.export.zigzag import exact, expressible, zigzag_files


@pytest.fixture(scope="module")
def design(run_folder):
    return load_design(f"{run_folder}:knee")


@pytest.fixture(scope="module")
def files(design):
    return {name: yaml.safe_load(text) for name, text in zigzag_files(design).items()}


def test_layers_have_the_network_s_macs_and_the_plan_s_widths(design, files):
    layers = files["workload.yaml"]
    macs = {layer.name: layer.macs * design.network.batch for layer in design.network.mac_layers}
    widths = dict(zip(design.plan.layers, design.plan.widths("weight").tolist(), strict=True))
    seen = set()
    for entry in layers:
        layer, pass_ = entry["name"].rsplit(".", 1)
        seen.add(pass_)
        assert math.prod(entry["loop_sizes"]) == macs[layer]
        if pass_ == "forward":
            assert entry["operand_precision"]["W"] == widths[layer]
        # Every index of the equation is a loop or follows from loops.
        derived = [text.split("=")[0] for text in entry["dimension_relations"]]
        for name in entry["equation"].replace("]", "[").split("[")[1::2]:
            assert name.upper() in entry["loop_dims"] or name in derived
    assert seen == {"forward", "backward_data", "backward_weight"}
    # Scattered through a window there is no equation; gathered (a convolution of the errors) and without a window there is.
    told = {entry["name"] for entry in layers if entry["name"].endswith("backward_data")}
    _, runs = best_mappings(design)
    gathered = {run.name for run in runs if run.pass_ == "backward_data" and run.nest.pass_ == "forward"}
    assert told == {"fc.backward_data"} | gathered
    assert gathered


def test_loops_of_a_mapping_multiply_to_the_layer(files):
    sizes = {entry["name"]: dict(zip(entry["loop_dims"], entry["loop_sizes"], strict=True)) for entry in files["workload.yaml"]}
    whole = [entry for entry in files["mapping.yaml"] if "temporal_ordering" in entry]
    assert len(whole) > 8
    for entry in whole:
        covered = dict.fromkeys(sizes[entry["name"]], 1)
        loops = [text.split(", ") for texts in entry["spatial_mapping"].values() for text in texts]
        for dim, extent in [*loops, *entry["temporal_ordering"]]:
            covered[dim] *= int(extent)
        assert covered == sizes[entry["name"]]


def test_memories_cost_per_bit_what_they_cost_here(design, files):
    arrays, _ = best_mappings(design)
    for m, memory in enumerate(design.hardware.memories):
        entry = files["accelerator.yaml"]["memories"][memory.name]
        width = entry["ports"][0]["bandwidth_max"]
        assert entry["r_cost"] / width == pytest.approx(arrays.read_pj_per_bit[0, m])
        assert entry["w_cost"] / width == pytest.approx(arrays.write_pj_per_bit[0, m])
        assert len(entry["operands"]) == len(memory.roles)
    assert files["accelerator.yaml"]["operational_array"]["sizes"] == [axis.size for axis in design.hardware.axes]


def test_what_has_no_equation_is_named(design):
    text = zigzag_files(design)["workload.yaml"]
    assert text.startswith("# Left out")
    assert "layer2.0.conv1.backward_data" in text.splitlines()[0]


def test_counting_its_way_changes_sums_and_windows_only(design):
    arrays, runs = best_mappings(design)
    ratios = [
        counted_its_way_pj(run, design.hardware, arrays) / sum(run.memory_pj)
        for run in runs
        if expressible(run) and exact(run) and run.nest.stride == (1, 1)
    ]
    assert len(ratios) > 3
    assert 0.85 < min(ratios) <= max(ratios) < 1.2


@pytest.mark.skipif(importlib.util.find_spec("zigzag") is not None, reason="zigzag-dse is installed")
def test_without_zigzag_one_sentence_says_so(run_folder):
    with pytest.raises(InputError, match="zigzag-dse is not installed in"):
        crosscheck(run_folder, "knee", sys.executable)
    with pytest.raises(InputError, match="cannot be run"):
        crosscheck(run_folder, "knee", "/nowhere/python")


@pytest.mark.skipif(importlib.util.find_spec("zigzag") is None, reason="zigzag-dse is not installed")
def test_differences_to_zigzag_are_explained_whole(run_folder):
    table = crosscheck(run_folder, "knee", sys.executable)
    known = table[table["zigzag_energy_j"].notna()]
    assert len(known) > 15
    assert (known["energy_j"] + known["counting_j"] + known["tiles_j"]).to_numpy() == pytest.approx(known["zigzag_energy_j"])
    assert (known["tiles_j"].abs() <= 0.1 * known["energy_j"]).all()
    assert any("passes" in line for line in crosscheck_summary(table))
