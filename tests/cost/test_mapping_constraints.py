"""What a user may fix about the best mapping: the stationary operand and tile sizes; where nothing fits, what is missing."""

from dataclasses import replace

import pytest

from dse.cost import best_mappings, evaluate
from dse.errors import InputError
from dse.hardware import load_hardware
from dse.hardware.from_file.load import hardware_from_document
from dse.hardware.from_file.rules import with_rules
from dse.precision import Plan
from dse.shipped import find_file
from dse.workload import load_workload
from dse.workload.load import network_from_document
from dse.yaml_input import load_yaml, parse_yaml

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


SMALL = network_from_document(
    parse_yaml(
        "source: test\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\ninput: {C: 6, H: 8, W: 8}\nlayers:\n"
        "  - {op: conv, name: wide, K: 6, R: 3, pad: 1}\n  - {op: conv, name: depth, K: 6, R: 3, pad: 1, groups: 6}\n",
        "net.yaml",
    ),
    "net",
)
CHIP = """name: chip
description: a test
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 9, forward: [C, R, S]}
    cols: {size: 4, forward: [K, G]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  sums: {source: made up, kind: register, holds: [accumulator], shared_along: [rows], size_bits: 128}
  buffer: {source: made up, kind: sram, size_bits: 16_384, bandwidth_bits_per_cycle: 1024}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 512}
"""


def chip(*lines):
    text = CHIP + (f"constraints: {list(lines)}\n" if lines else "")
    return hardware_from_document(parse_yaml(text, "chip.yaml"))


def unrolled(mapping, axis):
    return {loop.dim for loop in mapping.loops if loop.axis == axis and loop.extent > 1}


def held(mapping, memory, role):
    level = next((level for level in mapping.levels if level.name == memory), None)
    return level is not None and level.cuts[ROLES.index(role)] is not None


def test_rules_hold_for_their_passes_and_kinds_of_layers():
    """Of a file and of the command line alike; what they forbid costs, and everything else stays as it was."""
    plan = Plan.parse("w8a8", SMALL)
    rules = ("depthwise: unroll.rows=R", "conv: unroll.cols=", "conv: bypass.buffer=weight", "forward,depthwise: tiles.P=2")
    free, ruled = chip(), chip(*rules)
    assert with_rules(free, rules).identity == replace(ruled, path=free.path).identity
    assert tuple(rule.line for rule in ruled.rules) == rules
    before, after = (best_mappings(SMALL, hw, plan, "inference", search_mappings=False) for hw in (free, ruled))
    assert unrolled(before["depth.forward"], "rows") == {"R", "S"}
    assert unrolled(after["depth.forward"], "rows") <= {"R"}
    assert unrolled(before["wide.forward"], "cols") == {"K"}
    assert not unrolled(after["wide.forward"], "cols")
    assert held(before["wide.forward"], "buffer", "weight")
    assert not held(after["wide.forward"], "buffer", "weight")
    cost = [evaluate(SMALL, hw, plan, mode="inference", search_mappings=False).layers for hw in (free, ruled)]
    worse = cost[1]["energy_j"] * cost[1]["latency_s"] / (cost[0]["energy_j"] * cost[0]["latency_s"])
    assert (worse >= 1 - 1e-12).all()
    assert worse[cost[0]["layer"] == "wide"].max() > 1.5


def test_rules_are_kept_in_deep_hierarchies_and_when_searched_on():
    plan = Plan.parse("w8a8", SMALL)
    lines = ("unroll.rows=C", "bypass.buffer=weight")
    found = best_mappings(SMALL, with_rules(chip(), lines), plan, "inference", search_mappings=True)
    deep = CHIP.replace("  dram:", "  outer: {source: made up, kind: sram, size_bits: 262_144}\n  dram:")
    found |= {f"deep {k}": v for k, v in best_mappings(
        SMALL, with_rules(hardware_from_document(parse_yaml(deep, "deep.yaml")), lines), plan, "inference").items()}  # fmt: skip
    assert len(found) == 4
    for name, mapping in found.items():
        assert unrolled(mapping, "rows") <= {"C"}, name
        assert not held(mapping, "buffer", "weight"), name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("depthwize: unroll.rows=R", "'depthwize' is no pass and no kind of layer; did you mean 'depthwise'"),
        ("unrol.rows=R", "'unrol' is no key of a rule; did you mean 'unroll'"),
        ("unroll.row=R", "'row' is no axis; did you mean 'rows'"),
        ("forward: unroll.rows=K", "axis 'rows' takes C R S in the forward pass, not K"),
        ("bypass.buffer=weights", "'weights' is no role; did you mean 'weight'"),
        ("keep.sums=weight", "'sums' does not hold the weight; it holds accumulator"),
        ("tiles.K=0", "expected sizes of at least 1, got '0'"),
        ("stationary", "expected '=' after 'stationary'"),
    ],
)
def test_a_rule_that_cannot_be_is_said_with_what_would_be_right(line, message):
    with pytest.raises(InputError) as caught:
        chip(line)
    assert message in str(caught.value)


def test_rules_that_contradict_each_other_are_said():
    with pytest.raises(InputError, match="has to keep the weight and to be passed by it"):
        with_rules(chip(), ("conv: keep.buffer=weight", "forward: bypass.buffer=weight"))
