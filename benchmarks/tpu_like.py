"""Best mappings of ResNet-18 on ZigZag's tpu_like against ZigZag's own search: `python benchmarks/tpu_like.py`.

Prices, ports and conventions are ZigZag's: words of a port, partial sums read back whenever a reduction loop is above, a tile no
larger than the input without its padding, cycles with stalls, the first fill and the last drain. Our search counts padding and
knows no ports, so its best mappings are evaluated again, loop by loop, with ZigZag's model (`dse.mapping.explicit.timing`,
which gives ZigZag's figures for ZigZag's mappings); then the cuts of the best few are moved as long as that helps. `figures`
evaluates any mapping, so that a winner can be checked.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dse.mapping.best.records import CLASSES, MAC_SUM, PARTIAL, POINT, RESULT
from dse.mapping.best.space import Options, slots_of
from dse.mapping.best.tables.table import build, winning
from dse.mapping.explicit.mapping import DIMS, Mapping, capacity_problems, mapping_problems
from dse.mapping.explicit.text import format_mapping
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, transfers, word_counts
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage
from dse.names import MAPPING_OBJECTIVES

REFERENCE = Path(__file__).parents[1] / "tests" / "data" / "reference_tpu_like.yaml"
ARRAY = ArrayShape(
    (Axis("D1", 32, ("K",)), Axis("D2", 32, ("C",))),
    (
        Storage("rf_128B", ("weight",), ()),
        Storage("rf_2B", ("accumulator",), ()),
        Storage("sram_2MB", ("activation", "accumulator"), ("D1", "D2")),
    ),
)
#: Bits of weight, activation and partial sum, and of a finished output.
BITS, FINAL_BITS = (8, 8, 16), 8
#: What is searched for: objective, share of the SRAM's accesses that wait for one port (it has one for each direction), and share
#: of the weight registers in use: ZigZag waits for the first tile, so that a smaller one may be faster.
QUESTIONS = (
    *(("energy", 1.0, 1.0), ("latency", 1.0, 1.0), ("edp", 1.0, 1.0)),
    *(("latency", 0.5, room) for room in (1.0, 0.5, 0.25, 0.125, 0.03)),
)


@dataclass(frozen=True)
class Layer:
    """A layer as ZigZag sees it: its nest, the rows and columns of its input without padding, and its operands' order."""

    nest: Nest
    input_size: int
    order: tuple[int, ...]


@dataclass(frozen=True)
class Winner:
    """The best mapping found by one figure."""

    mapping: Mapping
    energy_pj: float
    cycles: float


@cache
def reference() -> dict[str, Any]:
    """The accelerator and ZigZag's figures."""
    found: dict[str, Any] = yaml.safe_load(REFERENCE.read_text())
    return found


@cache
def memories() -> tuple[PortedMemory, ...]:
    """The accelerator's memories with their ports."""
    roles, sides = ("weight", "activation", "accumulator"), {
        "to_child": "reads_to_child", "from_child": "writes_from_child",
        "to_parent": "reads_to_parent", "from_parent": "writes_from_parent",
    }  # fmt: skip
    result = []
    for memory in reference()["memories"]:
        ports = []
        for number, port in enumerate(memory["ports"]):
            least, most = port["width"]
            serves = tuple((roles.index(r), sides[s]) for r, s in (entry.split() for entry in port["serves"]))
            ports.append(Port(f"port_{number}", most, least, serves))
        result.append(PortedMemory(memory["name"], memory["capacity_bits"], tuple(ports)))
    return tuple(result)


def resnet18() -> dict[str, Layer]:
    """ResNet-18 by torchvision's names, batch 1."""
    layers = {"conv1": Layer(Nest((1, 1, 64, 3, 112, 112, 7, 7), stride=(2, 2)), 224, (2, 0, 1))}
    channels, size = (64, 64, 128, 256, 512), (0, 56, 28, 14, 7)
    for i in range(1, 5):
        k, c, p, stride = channels[i], channels[i - 1], size[i], 1 if i == 1 else 2
        layers[f"layer{i}.0.conv1"] = Layer(
            Nest((1, 1, k, c, p, p, 3, 3), stride=(stride, stride)), stride * p, (2, 0, 1)
        )
        for name in ("0.conv2", "1.conv1", "1.conv2"):
            layers[f"layer{i}.{name}"] = Layer(Nest((1, 1, k, k, p, p, 3, 3)), p, (2, 0, 1))
        if stride == 2:
            layers[f"layer{i}.0.downsample.0"] = Layer(Nest((1, 1, k, c, p, p, 1, 1), stride=(2, 2)), 2 * p, (2, 0, 1))
    layers["fc"] = Layer(Nest((1, 1, 1000, 512, 1, 1, 1, 1)), 1, (2, 1, 0))
    return layers


def figures(mapping: Mapping, layer: Layer) -> tuple[float, float]:
    """Energy [pJ] and cycles of a mapping by ZigZag's model."""
    limit = (layer.input_size, layer.input_size)
    counts = word_counts(mapping, memories(), transfers(mapping, layer.nest, BITS, FINAL_BITS, limit))
    price = {m["name"]: (m["read_pj"], m["write_pj"]) for m in reference()["memories"]}
    energy = math.prod(layer.nest.dims) * reference()["mac_pj"]
    for (level, _, side), words in counts.items():
        energy += words * price[mapping.levels[level].name][side.startswith("writes")]
    cycles = ported_cycles(mapping, layer.nest, memories(), BITS, FINAL_BITS, 1024, limit, ("D1", "D2"), layer.order)
    return float(energy), float(cycles.total)


def options(nest: Nest) -> Options:
    """As in ZigZag: operands pass all memories, and tiles divide their loops."""
    held = tuple((storage.name, role) for storage in ARRAY.storages for role in storage.roles)
    trips = {d: -(-n // 32) if d in "KC" else n for d, n in zip(DIMS, nest.dims, strict=True)}
    sizes = tuple((d, tuple(i for i in range(1, n + 1) if n % i == 0)) for d, n in trips.items() if n > 1)
    return Options(sizes=sizes, held=held)


def points(layer: Layer) -> NDArray[np.void]:
    """The accelerator's prices and cycles per element, as far as our search knows them, for every question."""
    result = np.zeros(len(QUESTIONS), POINT)
    weight, activation, partial = BITS
    bits = np.array([weight, activation, partial, FINAL_BITS, weight, activation, partial], np.float64)
    assert [CLASSES[k].name for k in (PARTIAL, RESULT, MAC_SUM)] == ["partial", "result", "mac_sum"]
    for m, memory in enumerate(reference()["memories"]):
        port = memory["ports"][0]["width"][1]
        result["read"][:, m], result["write"][:, m] = (memory[name] / port * bits for name in ("read_pj", "write_pj"))
        if memory["name"] in ("dram", "sram_2MB"):
            shares = np.array([share if memory["name"] == "sram_2MB" else 1.0 for _, share, _ in QUESTIONS])
            result["time"][:, m] = shares[:, None] * bits / port
        if memory["name"] != "dram":
            rooms = [room if memory["name"] == "rf_128B" else 1.0 for _, _, room in QUESTIONS]
            result["capacity"][:, m] = np.multiply(rooms, memory["capacity_bits"])
    slots = slots_of(ARRAY)
    width = dict(zip(("weight", "activation", "accumulator"), BITS, strict=True))
    result["kept"][:, : len(slots)] = [float(width[slot.role]) for slot in slots]
    result["finished"] = result["kept"]
    result["base"], result["step"], result["lanes"] = math.prod(layer.nest.dims) * reference()["mac_pj"], 1.0, 1.0
    result["objective"], result["overlap"] = [MAPPING_OBJECTIVES.index(name) for name, _, _ in QUESTIONS], 1
    return result


def on_tpu_like(mapping: Mapping) -> Mapping:
    """The mapping with the accelerator's own name of its outermost level."""
    return replace(mapping, levels=(*mapping.levels[:-1], replace(mapping.levels[-1], name="dram")))


def best(layer: Layer, pool: int = 40, starts: int = 4) -> tuple[Winner, Winner]:
    """The best mappings by energy and by cycles among our best few for each question, evaluated anew."""
    asked = points(layer)
    effort = np.where(np.arange(len(asked)) % 3 == 0, 2, 1)
    table = build(layer.nest, ARRAY, asked, effort, options(layer.nest))
    winners = []
    for row, left in zip(*winning(table, asked, pool), strict=True):
        mapping = on_tpu_like(table.explicit(int(row), int(left)))
        winners.append(Winner(mapping, *figures(mapping, layer)))
    return _refined(winners, layer, lambda w: (w.energy_pj, w.cycles), starts), _refined(
        winners, layer, lambda w: (w.cycles, w.energy_pj)
    )


def _refined(
    winners: list[Winner], layer: Layer, by: Callable[[Winner], tuple[float, float]], starts: int = 4
) -> Winner:
    """The best after the cuts of the best few have been moved, one at a time, until no move helps.

    Loops stay in their order. Our search fills the memories; ZigZag's cycles favour a tile that is loaded once and early.
    """
    results = []
    for winner in sorted(winners, key=by)[:starts]:
        current = winner
        while True:
            moved = [Winner(m, *figures(m, layer)) for m in _neighbours(current.mapping, layer)]
            better = min(moved, key=by, default=current)
            if by(better) >= by(current):
                break
            current = better
        results.append(current)
    return min(results, key=by)


def _neighbours(mapping: Mapping, layer: Layer) -> list[Mapping]:
    """The mapping with one cut elsewhere, as far as tiles nest and fit."""
    found = []
    for i, level in enumerate(mapping.levels[:-1]):
        for r, cut in enumerate(level.cuts):
            for other in range(len(mapping.loops) + 1) if cut is not None else ():
                cuts = (*level.cuts[:r], other, *level.cuts[r + 1 :])
                levels = (*mapping.levels[:i], replace(level, cuts=cuts), *mapping.levels[i + 1 :])
                changed = replace(mapping, levels=levels)
                if other != cut and not mapping_problems(changed, layer.nest) and not _too_large(changed, layer):
                    found.append(changed)
    return found


def _too_large(mapping: Mapping, layer: Layer) -> bool:
    sizes = {m["name"]: float(m["capacity_bits"]) for m in reference()["memories"][:-1]}
    return bool(capacity_problems(mapping, layer.nest, BITS, sizes))


def compare(pool: int = 40, starts: int = 4) -> dict[str, tuple[Winner, Winner, list[float]]]:
    """Winners by energy and cycles of each layer, and ZigZag's figures; equal layers are mapped once."""
    known: dict[Layer, tuple[Winner, Winner]] = {}
    result = {}
    for name, layer in resnet18().items():
        if layer not in known:
            known[layer] = best(layer, pool, starts)
        result[name] = (*known[layer], [float(x) for x in reference()["searched"][name]])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=40, help="mappings of each question that are evaluated anew")
    parser.add_argument("--mappings", action="store_true", help="print the winning mappings")
    arguments = parser.parse_args()
    start = time.perf_counter()
    found = compare(arguments.pool)
    print(
        f"{'layer':<22}{'ZigZag, pJ':>15}{'ours, pJ':>15}{'ratio':>9}{'ZigZag, cycles':>16}{'ours, cycles':>14}{'ratio':>8}"
    )
    for name, (thrifty, fast, (energy, _, _, cycles)) in found.items():
        ratios = thrifty.energy_pj / energy, fast.cycles / cycles
        line = f"{name:<22}{energy:>15,.0f}{thrifty.energy_pj:>15,.0f}{ratios[0]:>9.5f}"
        print(f"{line}{cycles:>16,.0f}{fast.cycles:>14,.0f}{ratios[1]:>8.4f}")
        if arguments.mappings:
            print(f"    by energy: {format_mapping(thrifty.mapping)}\n    by cycles: {format_mapping(fast.mapping)}")
    total = [sum(x) for x in zip(*((z[0], e.energy_pj, z[3], f.cycles) for e, f, z in found.values()), strict=True)]
    print(f"{'network':<22}{total[0]:>15,.0f}{total[1]:>15,.0f}{total[1] / total[0]:>9.5f}"
          f"{total[2]:>16,.0f}{total[3]:>14,.0f}{total[3] / total[2]:>8.4f}")  # fmt: skip
    print(f"{time.perf_counter() - start:.1f} s, tables from scratch")


if __name__ == "__main__":
    main()
