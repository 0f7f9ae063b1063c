"""ZigZag 3.9.1's searched mappings of ResNet-18 on a TPU-like array: its energy and cycles come out in every layer."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import yaml

from dse.mapping.explicit.mapping import check_mapping
from dse.mapping.explicit.text import parse_mapping
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, transfers, word_counts
from dse.mapping.nest import Nest
from dse.names import ROLES

DATA = Path(__file__).parents[1] / "data"
SIDE = {"to_child": "reads_to_child", "from_child": "writes_from_child", "to_parent": "reads_to_parent",
        "from_parent": "writes_from_parent"}  # fmt: skip


def ported(memory):
    """A memory with its ports, from a line of reference_tpu_like.yaml; widths are [least, largest] bits."""
    ports = []
    for number, port in enumerate(memory["ports"]):
        serves = tuple((ROLES.index(role), SIDE[side]) for role, side in (entry.split() for entry in port["serves"]))
        ports.append(Port(str(number), port["width"][1], port["width"][0], serves))
    return PortedMemory(memory["name"], memory["capacity_bits"], tuple(ports))


def energy(counts, mapping, prices):
    total = 0.0
    for (level, _role, side), n in counts.items():
        read, write = prices[mapping.levels[level].name]
        total += n * (read if side.startswith("reads") else write)
    return total


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


def test_searched_mappings_give_zigzags_energy_and_cycles_in_every_layer():
    hardware = yaml.safe_load((DATA / "reference_tpu_like.yaml").read_text())
    memories = {memory["name"]: ported(memory) for memory in hardware["memories"]}
    prices = {memory["name"]: (memory["read_pj"], memory["write_pj"]) for memory in hardware["memories"]}
    with (DATA / "zigzag_searched_resnet18.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 42
    off = []
    for row in rows:
        nest, size = resnet18_layer(row["layer"])
        mapping = parse_mapping(row["mapping"])
        check_mapping(mapping, nest, hardware["array"])
        bits, final, limit = (8, 8, 16), 8, (size, size)
        held = [memories[level.name] for level in mapping.levels]
        counts = word_counts(mapping, held, transfers(mapping, nest, bits, final, limit))
        total = energy(counts, mapping, prices) + math.prod(nest.dims) * hardware["mac_pj"]
        order = (2, 1, 0) if "Gemm" in row["layer"] else (2, 0, 1)
        cycles = ported_cycles(mapping, nest, held, bits, final, 1024, limit, ("D1", "D2"), order)
        if (round(total, 1), cycles.total) != (float(row["energy_pj"]), float(row["cycles"])):
            off.append((row["objective"], row["layer"], total, row["energy_pj"], cycles, row["cycles"]))
    assert off == []
