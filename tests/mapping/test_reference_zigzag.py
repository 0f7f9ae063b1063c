"""ZigZag 3.9.1's own figures: fixed mappings on a 4 x 4 array, and its searched mappings of ResNet-18 on a TPU-like array."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import yaml

from dse.mapping.explicit import Level, Loop, Mapping, check_mapping
from dse.mapping.problem import Nest
from dse.mapping.timing import Port, PortedMemory, ported_cycles, transfers, word_counts

SHARED = Path(__file__).parents[2] / ".." / "shared" / "reference" / "zigzag"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="reference files are not beside the repository")
CASES = ("gemm_ws_fixed", "gemm_ws_fixed_sepports", "conv_ws_fixed", "conv_ws_fixed_sepports")

ROLE = {"W": 0, "I": 1, "O": 2}
SIDE = {"tl": "reads_to_child", "fl": "writes_from_child", "th": "reads_to_parent", "fh": "writes_from_parent"}
DIRECTION = {
    "RD_OUT_TO_LOW": "reads_to_child",
    "WR_IN_BY_LOW": "writes_from_child",
    "RD_OUT_TO_HIGH": "reads_to_parent",
    "WR_IN_BY_HIGH": "writes_from_parent",
}
CONV = dict(zip(("B", "G", "K", "C", "OY", "OX", "FY", "FX"), "NGKCPQRS", strict=True))


def memories_of(hardware):
    """Ported memories and what each holds, from a description in ZigZag's layout."""
    role = {"I2": 0, "I1": 1, "O": 2}
    memories, held, shared, prices = [], [], [], {}
    for name, memory in hardware["memories"].items():
        ports = []
        for port in memory["ports"]:
            serves = [entry.replace(" ", "").split(",") for entry in port["allocation"]]
            ports.append(
                Port(
                    port["name"],
                    port["bandwidth_max"],
                    port["bandwidth_min"],
                    tuple((role[operand], SIDE[side]) for operand, side in serves),
                )
            )
        memories.append(PortedMemory(name, memory["size"], tuple(ports)))
        held.append({role[o] for o in memory["operands"]})
        shared.append(tuple(memory["served_dimensions"]))
        prices[name] = (memory["r_cost"], memory["w_cost"])
    return memories, held, shared, prices


def energy(counts, mapping, prices):
    total = 0.0
    for (level, _role, side), n in counts.items():
        read, write = prices[mapping.levels[level].name]
        total += n * (read if side.startswith("reads") else write)
    return total


def fixed_case(stored):
    """Layer, mapping and memories of one of the fixed mappings."""
    layer = yaml.safe_load(stored["workload"])[0]
    order = yaml.safe_load(stored["mapping"])[0]
    hardware = yaml.safe_load(stored["hardware"])
    dims = CONV if layer["operator_type"] == "Conv" else {"D0": "N", "D1": "K", "D2": "C"}
    sizes = {dims[d]: n for d, n in zip(layer["loop_dims"], layer["loop_sizes"], strict=True)}
    nest = Nest(tuple(sizes.get(d, 1) for d in "NGKCPQRS"))
    memories, held, shared, prices = memories_of(hardware)
    loops = [Loop(dims[d], n, axis) for axis, entries in order["spatial_mapping"].items()
             for d, n in (e.replace(" ", "").split(",") if isinstance(e, str) else e for e in entries)]
    loops = [Loop(x.dim, int(x.extent), x.axis) for x in loops]
    at = len(loops)
    loops += [Loop(dims[d], n) for d, n in order["temporal_ordering"]]
    # registers of one element stay for the loops that do not concern them; the buffer holds the layer
    levels = []
    for memory, roles, axes in zip(memories, held, shared, strict=True):
        full = memory.name in ("sram", "dram")
        cuts = tuple((len(loops) if full else at) if r in roles else None for r in range(3))
        levels.append(Level(memory.name, cuts, axes))
    precision = layer["operand_precision"]
    bits = (precision["W"], precision["I"], precision["O"])
    operands = [o.split("[")[0].strip() for o in layer["equation"].replace("+=", "*").split("*")]
    return nest, Mapping(tuple(loops), tuple(levels)), memories, prices, bits, precision["O_final"], [ROLE[o] for o in operands], hardware


@needs_shared
@pytest.mark.parametrize("name", CASES)
def test_fixed_mappings_equal_zigzag_in_every_figure(name):
    stored = json.loads((SHARED / f"zigzag_{name}.json").read_text())
    nest, mapping, memories, prices, bits, final, order, hardware = fixed_case(stored)
    check_mapping(mapping, nest, {"D1": 4, "D2": 4})
    counts = word_counts(mapping, memories, transfers(mapping, nest, bits, final))
    names = [level.name for level in mapping.levels]
    for operand, entries in stored["word_accesses"].items():
        for entry in entries:
            for direction, side in DIRECTION.items():
                ours = counts.get((names.index(entry["level"]), ROLE[operand], side), 0)
                assert ours == entry[direction], (operand, entry["level"], direction)
    assert energy(counts, mapping, prices) == pytest.approx(stored["mem_energy"], rel=1e-12)
    macs = math.prod(nest.dims)
    assert macs == stored["macs"]
    total = energy(counts, mapping, prices) + macs * hardware["operational_array"]["unit_energy"]
    assert total == pytest.approx(stored["energy_total"], rel=1e-12)
    cycles = ported_cycles(mapping, nest, memories, bits, final, 16, order=order)
    assert cycles.ideal == stored["ideal_cycle"]
    assert cycles.steps == stored["ideal_temporal_cycle"]
    assert cycles.stalls == stored["stalls_per_port"]
    assert cycles.stall == stored["stall_slack_comb"]
    assert (cycles.onload, cycles.offload) == (stored["onload"], stored["offload"])
    assert cycles.total == stored["latency_total2"]
    assert cycles.total - cycles.offload == stored["latency_total1"]
