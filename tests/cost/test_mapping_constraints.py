"""What a user may fix about the best mapping: the stationary operand and tile sizes; where nothing fits, what is missing."""

from dataclasses import replace

import pytest

from dse.cost import best_mappings, evaluate
from dse.errors import InputError
from dse.hardware import load_hardware
from dse.hardware.from_file.load import hardware_from_document
from dse.precision import Plan
from dse.shipped import find_file
from dse.workload import load_workload
from dse.yaml_input import load_yaml

NETWORK = "cifar_resnet20"
ROLES = ("weight", "activation", "accumulator")


@pytest.fixture(scope="module")
def case():
    network = load_workload(NETWORK)
    return network, load_hardware("flex_trainer").with_values({}), Plan.parse("w8a8e8", network)


@pytest.mark.parametrize("role", ROLES)
def test_the_stationary_operand_is_held_innermost(case, role):
    network, hardware, plan = case
    free = evaluate(network, hardware, plan, mode="inference", mapping_objective="energy").total.iloc[0]
    fixed = replace(hardware, stationary=role)
    found = evaluate(network, fixed, plan, mode="inference", mapping_objective="energy").total.iloc[0]
    assert found["energy_j"] >= free["energy_j"]
    at = ROLES.index(role)
    for mapping in best_mappings(network, fixed, plan, "inference").values():
        # Temporal loops below the innermost cut of each operand: nobody's tile is cut further inside.
        least = [
            min(sum(loop.axis is None and loop.extent > 1 for loop in mapping.loops[:cut]) for cut in cuts if cut is not None)
            for cuts in zip(*(level.cuts for level in mapping.levels), strict=True)
        ]
        assert least[at] == min(least)


def test_tiles_have_the_sizes_that_are_allowed(case):
    network, hardware, plan = case
    allowed = {"P": (2,), "Q": (4,), "K": (1,), "C": (1,)}
    fixed = replace(hardware, tiles=tuple(allowed.items()))
    for mapping in best_mappings(network, fixed, plan, "inference").values():
        for dim, sizes in allowed.items():
            loops = [(i, loop.extent) for i, loop in enumerate(mapping.loops) if loop.dim == dim and loop.axis is None]
            whole = 1
            for _, extent in loops:
                whole *= extent
            for level in mapping.levels:
                for cut in level.cuts:
                    if cut is not None:
                        inside = 1
                        for i, extent in loops:
                            inside *= extent if i < cut else 1
                        assert inside in {1, whole, *sizes}


def test_the_file_says_it(tmp_path):
    text = find_file("flex_trainer", "hwmodels").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\nmapping: {stationary: accumulator, tiles: {K: [1, 4]}}\n")
    hardware = hardware_from_document(load_yaml(path))
    assert hardware.stationary == "accumulator"
    assert hardware.tiles == (("K", (1, 4)),)
    path.write_text(text + "\nmapping: {stationary: error}\n")
    with pytest.raises(InputError, match="stationary"):
        hardware_from_document(load_yaml(path))


def test_where_nothing_fits_the_memory_and_the_missing_bits_are_named(case):
    network, hardware, plan = case
    small = replace(hardware, memories=tuple(replace(m, size_bits=64.0) if m.name == "buffer" else m for m in hardware.memories), space=())
    row = evaluate(network, small, plan, mode="inference").total.iloc[0]
    assert not row["feasible"]
    assert "buffer: no tile of a forward pass fits" in row["limit"]
    assert "bits are missing" in row["limit"]
