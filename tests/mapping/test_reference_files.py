"""Figures of Timeloop, AccelForge, ZigZag and SCALE-Sim, transcribed under tests/data with their sources."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from dse.cost.mapped.explicit import energy_of_counts, price_array
from dse.mapping.explicit.counts import ACCELFORGE, TIMELOOP, Conventions, counts_of
from dse.mapping.explicit.mapping import check_mapping
from dse.mapping.explicit.systolic import systolic_cycles
from dse.mapping.explicit.text import parse_mapping
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, simple_cycles, transfers, word_counts
from dse.mapping.nest import Nest
from dse.names import ROLES

DATA = Path(__file__).parents[1] / "data"
TIMELOOP_CASES = yaml.safe_load((DATA / "reference_timeloop.yaml").read_text())
ACCELFORGE_CASE = yaml.safe_load((DATA / "reference_accelforge.yaml").read_text())
ZIGZAG = yaml.safe_load((DATA / "reference_zigzag.yaml").read_text())


@pytest.mark.parametrize("case", TIMELOOP_CASES, ids=lambda c: c["name"])
def test_counts_per_level_equal_timeloop(case):
    nest, mapping = Nest(tuple(case["dims"]), stride=tuple(case["stride"])), parse_mapping(case["mapping"])
    check_mapping(mapping, nest)
    counts = counts_of(mapping, nest, TIMELOOP)
    assert counts.steps[0] == case["cycles"]
    names = [level.name for level in mapping.levels]
    for name, roles in case["counts"].items():
        for role, (instances, tile, reads, fills, updates) in roles.items():
            at = (0, names.index(name), ROLES.index(role))
            assert counts.instances[at] == instances, (name, role)
            assert counts.tile[at] == tile, (name, role)
            assert counts.reads_to_child[at] == reads * instances, (name, role)
            assert counts.writes_from_parent[at] == fills * instances, (name, role)
            assert counts.writes_from_child[at] == updates * instances, (name, role)


@pytest.mark.parametrize("case", TIMELOOP_CASES, ids=lambda c: c["name"])
def test_energy_equals_timeloop_with_its_own_prices(case):
    nest, mapping = Nest(tuple(case["dims"]), stride=tuple(case["stride"])), parse_mapping(case["mapping"])
    names = [level.name for level in mapping.levels]
    per_element = [{n: case[kind][n] / case["block"][n] for n in names} for kind in ("read_pj", "write_pj")]
    prices = price_array(names, *per_element)
    ours = energy_of_counts(counts_of(mapping, nest, TIMELOOP), prices, case["compute_pj"])[0] / 1e6
    assert ours + case.get("leakage_uj", 0.0) == pytest.approx(case["energy_uj"], rel=0.001)


def test_halo_reuse_is_what_timeloop_needs():
    """Without it the buffer of the weight-stationary design would fetch more than the whole input."""
    case = TIMELOOP_CASES[1]
    nest, mapping = Nest(tuple(case["dims"]), stride=tuple(case["stride"])), parse_mapping(case["mapping"])
    fetched = [counts_of(mapping, nest, Conventions(halo=h)).reads_to_child[0, -1, 1] for h in ("full", "innermost", "none")]
    assert fetched == [151875, 151875, 160650]


def test_actions_energy_and_cycles_equal_accelforge():
    case = ACCELFORGE_CASE
    nest, mapping = Nest(tuple(case["dims"])), parse_mapping(case["mapping"])
    check_mapping(mapping, nest, {"D1": 4, "D2": 4})
    counts = counts_of(mapping, nest, ACCELFORGE)
    bits, names = case["bits"], [level.name for level in mapping.levels]
    reads = (counts.reads_to_child + counts.reads_to_parent)[0] * bits
    writes = (counts.writes_from_child + counts.writes_from_parent)[0] * bits
    for name, roles in case["actions"].items():
        for role, expected in roles.items():
            at = (names.index(name), ROLES.index(role))
            assert [reads[at], writes[at]] == expected, (name, role)
    prices = price_array(names, case["read_pj_per_bit"], case["write_pj_per_bit"], (bits,) * 3)
    energy = energy_of_counts(counts, prices, case["compute_pj"])[0]
    assert energy == pytest.approx(case["energy_pj"], rel=1e-6)  # AccelForge computes in 32-bit floating point
    width = case["bits_per_cycle"]["GlobalBuffer"]
    buffer = names.index("GlobalBuffer")
    traffic = [float(reads[buffer].sum() + writes[buffer].sum())]
    assert traffic[0] / width == case["buffer_cycles"]
    assert simple_cycles(counts.steps[0], traffic, [width]) == case["cycles"]


def ported(separate):
    """The four memories with their ports; in the buffer each role shares the ports or has its own."""
    down, up_in, up_out, fill = "reads_to_child", "writes_from_child", "reads_to_parent", "writes_from_parent"
    read = [(1, down), (0, down), (2, down), (2, up_out)]
    write = [(1, fill), (0, fill), (2, up_in), (2, fill)]
    groups = [read, write]
    if separate:
        groups = [[x for x in side if x[0] == role] for side in (read, write) for role in range(3)]
    sram = [Port(f"p{i}", 512, 8, tuple(group)) for i, group in enumerate(groups)]
    rf_o = [Port(f"p{i}", 24, 24, ((2, side),)) for i, side in enumerate((down, up_out, fill, up_in))]
    every = tuple(itertools.product((1, 0, 2), (fill, down, up_in, up_out)))
    ports = {
        "rf_W": [Port("r", 8, 8, ((0, down),)), Port("w", 8, 8, ((0, fill),))],
        "rf_O": rf_o,
        "sram": sram,
        "dram": [Port("rw", 64, 64, every)],
    }
    return [PortedMemory(n, m["capacity_bits"], tuple(ports[n])) for n, m in ZIGZAG["memories"].items()]


@pytest.mark.parametrize("ports", ["shared_ports", "separate_ports"])
@pytest.mark.parametrize("case", ZIGZAG["cases"], ids=lambda c: c["name"])
def test_words_energy_and_cycles_equal_zigzag(case, ports):
    memories = ported(ports == "separate_ports")
    nest, mapping = Nest(tuple(case["dims"])), parse_mapping(case["mapping"])
    check_mapping(mapping, nest, {"D1": 4, "D2": 4})
    words = word_counts(mapping, memories, transfers(mapping, nest, (8, 8, 24), 8))
    names = [level.name for level in mapping.levels]
    sides = ("reads_to_child", "writes_from_child", "reads_to_parent", "writes_from_parent")
    for name, roles in case["words"].items():
        for role, expected in roles.items():
            assert [words.get((names.index(name), ROLES.index(role), side), 0) for side in sides] == expected, (name, role)
    price = ZIGZAG["memories"]
    total = ZIGZAG["mac_pj"] * np.prod(case["dims"])
    for (level, _, side), n in words.items():
        total += n * price[names[level]]["read_pj" if side.startswith("reads") else "write_pj"]
    assert total == pytest.approx(case["energy_pj"], rel=1e-12)
    cycles = ported_cycles(mapping, nest, memories, (8, 8, 24), 8, 16, order=case["order"])
    assert {k: getattr(cycles, k) for k in case[ports]} == case[ports]


def test_systolic_cycles_equal_scale_sims_closed_forms():
    # a 64 x 48 x 32 product on 16 x 8: ceil(32/16) ceil(48/8) folds of 2*16 + 8 + 64 - 2 cycles with stationary weights, and
    # ceil(64/16) ceil(48/8) folds of 32 + 16 + 8 - 2 with stationary outputs
    assert systolic_cycles("weight_stationary", 64, 48, 32, 16, 8) == 2 * 6 * 102 - 1
    assert systolic_cycles("output_stationary", 64, 48, 32, 16, 8) == 4 * 6 * 54 - 1
    # what is stationary and what streams change places
    assert systolic_cycles("input_stationary", 64, 48, 32, 16, 8) == systolic_cycles("weight_stationary", 48, 64, 32, 16, 8)
    many = systolic_cycles("output_stationary", [64, 65], 48, 32, 16, 8)
    assert many.tolist() == [4 * 6 * 54 - 1, 5 * 6 * 54 - 1]
