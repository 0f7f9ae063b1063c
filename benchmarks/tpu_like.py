"""Best mappings of ResNet-18 on ZigZag's tpu_like against ZigZag's own search: `python benchmarks/tpu_like.py`.

Prices, ports and conventions are ZigZag's: words of a port, partial sums read back whenever a reduction loop is above, a tile no
larger than the input without its padding, cycles with stalls, the first fill and the last drain. Our engine counts padding and
knows no ports, so its best candidates are evaluated again, loop by loop, with ZigZag's model (`dse.mapping.explicit.timing`,
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

from dse.mapping.best.candidates import Options
from dse.mapping.best.engine import Points, Table, candidate_costs, enumerate_table
from dse.mapping.explicit.mapping import Mapping, capacity_problems, mapping_problems
from dse.mapping.explicit.text import format_mapping
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, transfers, word_counts
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage

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
OPTIONS = Options(max_elements=(128, 1, 2.0**21), max_tiles=(16, 8, 10))


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


def points_of(table: Table) -> Points:
    """The accelerator's prices per element and cycles per element, as far as the engine knows them."""
    price = {m["name"]: (m["read_pj"], m["write_pj"], m["ports"][0]["width"][1]) for m in reference()["memories"]}
    bits = dict(zip(("weight", "activation", "accumulator"), BITS, strict=True))
    energy, cycles = np.zeros((1, len(table.columns))), np.zeros((1, 3, len(table.columns)))
    for j, (role, link, kind) in enumerate(table.columns):
        width = FINAL_BITS if kind.startswith("final") else bits[role]
        inner = {"weight": ("rf_128B", "dram"), "accumulator": ("rf_2B", "sram_2MB")}.get(role, ("", ""))
        below, above = {
            "mac": ("", inner[0] or "sram_2MB"), "inner": inner, "outer": ("sram_2MB", "dram")
        }[link]  # fmt: skip
        memory, write = below if kind.endswith(("child_writes", "child_reads")) else above, kind.endswith("writes")
        *costs, port = price[memory]
        energy[0, j] = costs[write] / port * width
        if memory in ("dram", "sram_2MB"):
            cycles[0, 0 if memory == "dram" else 1 + write, j] = width / port
    one = np.ones(1)
    widths = np.array([[float(bits[s.role]) for s in table.slots]])
    capacity = np.array([[float(m["capacity_bits"]) for m in reference()["memories"][:-1]]])
    base = one * table.macs * reference()["mac_pj"]
    return Points(
        energy, base, one, one, cycles, widths, capacity, np.array([s.storage for s in table.slots]), np.zeros(1)
    )


def on_tpu_like(mapping: Mapping) -> Mapping:
    """The mapping with the accelerator's own name of its outermost level."""
    return replace(mapping, levels=(*mapping.levels[:-1], replace(mapping.levels[-1], name="dram")))


def _first_tiles(table: Table) -> NDArray[np.float64]:
    """(n,) bits that have to arrive before the first step, for ranking."""
    inputs = [i for i, slot in enumerate(table.slots) if slot.role != "accumulator"]
    return np.asarray(table.footprint[inputs].sum(axis=0) * 8.0)


def best(layer: Layer, pool: int = 40, starts: int = 4) -> tuple[Winner, Winner]:
    """The best mappings by energy and by cycles among the engine's best candidates by each, evaluated anew."""
    table = enumerate_table(layer.nest, ARRAY, OPTIONS)
    energy, cycles = candidate_costs(table, points_of(table))
    waiting = cycles + _first_tiles(table) / 64
    chosen = {*np.lexsort((cycles, energy))[:pool].tolist(), *np.lexsort((energy, cycles))[:pool].tolist()}
    chosen |= {*np.lexsort((energy, waiting))[:pool].tolist()}
    winners = []
    for index in sorted(i for i in chosen if np.isfinite(energy[i])):
        mapping = on_tpu_like(table.explicit(index))
        winners.append(Winner(mapping, *figures(mapping, layer)))
    return _refined(winners, layer, lambda w: (w.energy_pj, w.cycles), starts), _refined(
        winners, layer, lambda w: (w.cycles, w.energy_pj)
    )


def _refined(
    winners: list[Winner], layer: Layer, by: Callable[[Winner], tuple[float, float]], starts: int = 4
) -> Winner:
    """The best after the cuts of the best few have been moved, one at a time, until no move helps.

    Loops stay in their order. The engine keeps of equal traffic the smallest tile; ZigZag's cycles favour a tile that is loaded
    once and early.
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
    parser.add_argument("--pool", type=int, default=40, help="candidates of each ranking that are evaluated anew")
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
