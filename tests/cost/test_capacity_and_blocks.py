"""What a hardware file says of how memories are used: blocks of DRAM, and how much of a memory tiles may take."""

from dataclasses import replace

import numpy as np
import pytest

from dse.cost import best_mappings
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.explicit import evaluate_mappings
from dse.cost.mapped.table_jobs import cost_jobs
from dse.errors import InputError
from dse.hardware.arrays import hardware_arrays
from dse.hardware.from_file.load import hardware_from_document
from dse.precision import Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

WORKLOAD = """source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 5, H: 7, W: 7}
layers:
  - {op: conv, name: only, K: 6, R: 3}
"""
NETWORK = network_from_document(parse_yaml(WORKLOAD, "net.yaml"), "net")
TEXT = """name: small
description: a test
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 4, forward: [C]}
    cols: {size: 4, forward: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  buffer: {source: made up, kind: sram, size_bits: 8_192, bandwidth_bits_per_cycle: 256}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 16}
"""


def hardware(text: str = TEXT):
    return hardware_from_document(parse_yaml(text, "hw.yaml"))


@pytest.fixture(scope="module")
def plan():
    return Plan.parse("w8a8e8", NETWORK)


def in_blocks_of(hw, bits):
    """With DRAM that moves so many bits at once."""
    return replace(hw, memories=(*hw.memories[:-1], replace(hw.memories[-1], block_bits=bits)))


def test_every_operand_of_a_pass_takes_whole_blocks_of_dram(plan):
    """The tables' mapping, counted loop by loop: each operand's bits are rounded up, energy and cycles follow, tables agree."""
    free, blocks = hardware(), in_blocks_of(hardware(), 4096)
    mappings = best_mappings(NETWORK, free, plan, "inference", "energy", False)
    words, whole = (evaluate_mappings(NETWORK, hw, plan, mappings, "inference") for hw in (free, blocks))
    dram = [costs.counts[costs.counts["memory"] == "dram"].set_index("role")["moved_bits"] for costs in (words, whole)]
    assert (dram[1] == np.ceil(dram[0] / 4096) * 4096).all()
    assert (dram[1] > dram[0]).any()
    price = float(words.layers["dram_pj"].iloc[0]) / dram[0].sum()
    assert whole.layers["dram_pj"].iloc[0] == pytest.approx(dram[1].sum() * price, rel=1e-12)
    assert whole.layers["dram_cycles"].iloc[0] == pytest.approx(dram[1].sum() / 16, rel=1e-12)
    # The table's mapping in blocks: the lookup's figures are those of its loops, and none of the table's is better.
    jobs = network_jobs(NETWORK, blocks, [plan], "inference").jobs
    looked_up = cost_jobs(blocks, hardware_arrays(blocks, None), jobs, "energy")
    own = evaluate_mappings(NETWORK, blocks, plan, best_mappings(NETWORK, blocks, plan, "inference", "energy", False), "inference").layers
    assert looked_up.energy_pj[0, 0] == pytest.approx(own["energy_pj"].iloc[0], rel=1e-12)
    assert looked_up.cycles[0, 0] == pytest.approx(own["cycles"].iloc[0], rel=1e-12)
    assert looked_up.energy_pj[0, 0] <= whole.layers["energy_pj"].iloc[0] * (1 + 1e-12)


def test_blocks_are_those_of_dram():
    assert hardware(TEXT.replace("lpddr4,", "lpddr4, block_bits: 512,")).memories[-1].block_bits == 512
    with pytest.raises(InputError, match="block_bits"):
        hardware(TEXT.replace("kind: sram,", "kind: sram, block_bits: 512,"))


PRICED = TEXT.replace("size_bits: 8_192,", "size_bits: SIZE, read_pj_per_bit: 0.1, write_pj_per_bit: 0.1, area_mm2: 0.01,") + "modelled_leakage: false\nclock_pj_per_cycle: 0\n"


def test_tiles_take_half_of_a_double_buffered_memory(plan):
    """As if it had half its size, at the price of the whole; what is too large by that is named with the bits that lack."""
    double = hardware(PRICED.replace("SIZE", "4_096, double_buffered: true"))
    single, half = (hardware(PRICED.replace("SIZE", size)) for size in ("4_096", "2_048"))
    jobs = network_jobs(NETWORK, double, [plan], "inference").jobs
    found = {name: cost_jobs(hw, hardware_arrays(hw, None), jobs, "energy") for name, hw in (("double", double), ("single", single), ("half", half))}
    assert found["double"].energy_pj[0, 0] == pytest.approx(found["half"].energy_pj[0, 0], rel=1e-12)
    assert found["double"].energy_pj[0, 0] > found["single"].energy_pj[0, 0] * 1.01
    (mapping,) = best_mappings(NETWORK, double, plan, "inference", "energy", False).values()
    counts = evaluate_mappings(NETWORK, double, plan, {"only": mapping}, "inference").counts
    assert 0 < counts[counts["memory"] == "buffer"]["tile_bits"].sum() <= 2048
    large = best_mappings(NETWORK, single, plan, "inference", "energy", False)
    with pytest.raises(InputError, match="more than half of it, which is double-buffered, has"):
        evaluate_mappings(NETWORK, double, plan, large, "inference")


def test_only_a_memory_on_the_chip_is_double_buffered():
    with pytest.raises(InputError, match="double_buffered"):
        hardware(TEXT.replace("lpddr4,", "lpddr4, double_buffered: true,"))
