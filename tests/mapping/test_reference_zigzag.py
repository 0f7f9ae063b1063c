"""ZigZag 3.9.1's own figures: fixed mappings on a 4 x 4 array, and its searched mappings of ResNet-18 on a TPU-like array."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import yaml

from dse.mapping.explicit.mapping import Level, Loop, Mapping, check_mapping
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, transfers, word_counts
from dse.mapping.nest import Nest

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
    mapping, order = Mapping(tuple(loops), tuple(levels)), [ROLE[o] for o in operands]
    return nest, mapping, memories, prices, bits, precision["O_final"], order, hardware


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


def resnet18_layer(name):
    """Bounds, stride and input size of a layer by ZigZag's name for it."""
    if name == "conv1_Conv":
        return Nest((1, 1, 64, 3, 112, 112, 7, 7), stride=(2, 2)), 224
    if name == "fc_Gemm":
        return Nest((1, 1, 1000, 512, 1, 1, 1, 1)), 1
    stage = int(name[5])
    k, size = 32 * 2**stage, 112 // 2**stage
    first = f"{stage}.0" in name and stage > 1
    if "downsample" in name:
        return Nest((1, 1, k, k // 2, size, size, 1, 1), stride=(2, 2)), 2 * size
    if first and "conv1" in name:
        return Nest((1, 1, k, k // 2, size, size, 3, 3), stride=(2, 2)), 2 * size
    return Nest((1, 1, k, k, size, size, 3, 3)), size


def searched_mapping(row, memories, shared):
    """The mapping of a row of the search, on register, accumulator, buffer and DRAM."""
    temporal = {o: [[_loop(x) for x in level] for level in levels] for o, levels in json.loads(row["temporal_mapping"]).items()}
    spatial = [_loop(x) for x in next(s for s in json.loads(row["spatial_mapping"])["I"] if s)]
    # fc's 1,000 output channels take 32 PEs, of which ZigZag prints the whole part of the mean 31.25
    spatial = [("K", 32) if d == "K" else (d, n) for d, n in spatial]
    loops = [Loop(CONV[d], n, axis) for (d, n), axis in zip(spatial, ("D1", "D2"), strict=True)]
    loops += [Loop(CONV[d], n) for level in temporal["W"] for d, n in level]
    ends = {o: [len(spatial) + sum(map(len, levels[: i + 1])) for i in range(len(levels))] for o, levels in temporal.items()}
    own = {"rf_128B": (ends["W"][0], None, None), "rf_2B": (None, None, ends["O"][0]),
           "sram_2MB": (None, ends["I"][0], ends["O"][1]), "dram": (len(loops),) * 3}
    levels = tuple(Level(m.name, own[m.name], axes) for m, axes in zip(memories, shared, strict=True))
    return Mapping(tuple(loops), levels)


def _loop(text):
    dim, extent = text.strip("()").split(",")
    return dim, int(extent)


@needs_shared
def test_searched_mappings_give_zigzags_energy_and_cycles_in_every_layer():
    folder = SHARED / "tpu_like_resnet18"
    hardware = yaml.safe_load((folder / "hardware_tpu_like.yaml").read_text())
    memories, _, shared, prices = memories_of(hardware)
    off = []
    with (folder / "searched_per_layer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 42
    for row in rows:
        nest, size = resnet18_layer(row["layer"])
        mapping = searched_mapping(row, memories, shared)
        check_mapping(mapping, nest, {"D1": 32, "D2": 32})
        bits, final, limit = (8, 8, 16), 8, (size, size)
        counts = word_counts(mapping, memories, transfers(mapping, nest, bits, final, limit))
        macs = math.prod(nest.dims) * hardware["operational_array"]["unit_energy"]
        total = energy(counts, mapping, prices) + macs
        order = (2, 1, 0) if "Gemm" in row["layer"] else (2, 0, 1)
        cycles = ported_cycles(mapping, nest, memories, bits, final, 1024, limit, ("D1", "D2"), order)
        if (round(total, 1), cycles.total) != (float(row["energy_pj"]), float(row["cycles_total"])):
            off.append((row["optimised_for"], row["layer"], total, row["energy_pj"], cycles, row["cycles_total"]))
    assert off == []
