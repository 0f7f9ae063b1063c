"""Best mappings on ZigZag's deeper example hardware against ZigZag's own search, layer by layer, under its conventions.

    python benchmarks/zigzag_hierarchies.py [--python PYTHON] [--hardware meta_prototype ascend_like] [--networks resnet18 alexnet]

PYTHON has zigzag-dse 3.9.1 and six. ZigZag searches its own files (`zigzag_layers.py`); the same unrolling, ports, prices and
memories are then given to the search for deep hierarchies (:mod:`dse.mapping.best.deep.search`), without leaving memories out, as
ZigZag cannot. What it finds is counted and priced by ZigZag's model (:mod:`dse.mapping.explicit.timing`, equal to ZigZag on its own
mappings), and the cuts and loops of the best few are moved as long as that helps. Ends with one JSON line: the worst ratio of
energies (ours over ZigZag's), layers, CPU seconds of both.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dse.mapping.best.deep.search import DeepPoint, several
from dse.mapping.explicit.mapping import Mapping, mapping_problems, tile_elements
from dse.mapping.explicit.timing import Port, PortedMemory, transfers, word_counts
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage
from dse.names import ROLES

#: ZigZag's mapping file of each hardware file.
MAPPINGS = {"meta_prototype": "meta_prototype_like", "ascend_like": "ascend_like", "tpu_like": "tpu_like"}
#: Dims along D1 to D4 in these mapping files: K, C, OX, OY.
DIMS = ("K", "C", "Q", "P")
ROLE = {"I2": 0, "I1": 1, "O": 2}
SIDE = {"tl": "reads_to_child", "fl": "writes_from_child", "th": "reads_to_parent", "fh": "writes_from_parent"}
#: Bits of weight, activation and partial sum, and of a finished output, in its networks.
BITS, FINAL_BITS = (8, 8, 16), 8


def searched(python: str, hardware: str, network: str) -> dict[str, Any]:
    """ZigZag's search by energy, in the Python where it is installed."""
    script = Path(__file__).with_name("zigzag_layers.py")
    command = [python, str(script), hardware, MAPPINGS[hardware], network, "energy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"ZigZag failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def held_by(memory: dict[str, Any]) -> tuple[str, ...]:
    """Roles of a memory; operands of other layers (ZigZag's S) are left out."""
    return tuple(role for name, role in zip(ROLE, ROLES, strict=True) if name in memory["operands"])


def accelerator(
    hardware: dict[str, Any],
) -> tuple[ArrayShape, tuple[PortedMemory, ...], dict[str, tuple[float, float]]]:
    """Array, memories with their ports, and prices per full access."""
    array = hardware["operational_array"]
    known = {name: memory for name, memory in hardware["memories"].items() if held_by(memory)}
    axes = tuple(
        Axis(name, int(size), (dim,))
        for name, size, dim in zip(array["dimensions"], array["sizes"], DIMS[: len(array["sizes"])], strict=True)
    )
    names = list(known)
    storages = tuple(
        Storage(name, held_by(known[name]), tuple(known[name]["served_dimensions"])) for name in names[:-1]
    )
    ported = []
    for name in names:
        ports = []
        for port in known[name]["ports"]:
            entries = [entry.replace(" ", "").split(",") for entry in port["allocation"]]
            serves = tuple((ROLE[operand], SIDE[side]) for operand, side in entries if operand in ROLE)
            if serves:
                ports.append(Port(port["name"], port["bandwidth_max"], port["bandwidth_min"], serves))
        ported.append(PortedMemory(name, float(known[name]["size"]), tuple(ports)))
    prices = {name: (float(known[name]["r_cost"]), float(known[name]["w_cost"])) for name in names}
    return ArrayShape(axes, storages), tuple(ported), prices


def point_of(array: ArrayShape, ported: tuple[PortedMemory, ...], prices: dict[str, tuple[float, float]]) -> DeepPoint:
    """Prices per element, as far as the search knows them: a share of a full access for each bit."""
    bits = np.array(BITS, np.float64)
    wide = {memory.name: max(port.max_bits_per_cycle for port in memory.ports) for memory in ported}
    read = np.array([prices[memory.name][0] / wide[memory.name] for memory in ported])
    write = np.array([prices[memory.name][1] / wide[memory.name] for memory in ported])
    axes = {axis.name for axis in array.axes}
    count = len(array.storages)
    converts = [axes <= set(storage.shared_along) for storage in array.storages]
    required = [[int(role in storage.roles) for role in ROLES] for storage in array.storages]
    return DeepPoint(
        read_pj=read[:, None] * bits[None],
        write_pj=write[:, None] * bits[None],
        element_cycles=np.zeros((count + 1, 3)),
        final_read_pj=read * FINAL_BITS,
        final_write_pj=write * FINAL_BITS,
        final_cycles=np.zeros(count + 1),
        converts=np.array(converts, np.int64),
        kept_bits=np.tile(bits, (count, 1)),
        finished=np.ones(count),
        capacity_bits=np.array([memory.capacity_bits for memory in ported[:-1]]),
        step_cycles=np.ones(1),
        lanes=np.ones(1),
        required=np.array(required, np.int64).reshape(count, 3),
        mac_share=np.ones(3),
        base_pj=0.0,
        leak_pj_per_cycle=0.0,
    )


class Model:
    """ZigZag's energy of mappings of one layer."""

    def __init__(self, layer: dict[str, Any], hardware: dict[str, Any]) -> None:
        self.array, self.memories, self.prices = accelerator(hardware)
        n, g, k, c, p, q, r, s = layer["dims"]
        self.nest = Nest((n, g, k, c, p, q, r, s), stride=tuple(layer["stride"]), dilation=tuple(layer["dilation"]))
        rows, columns = layer["input"]
        self.limit = (rows or 1, columns or 1)
        self.mac_pj = float(hardware["operational_array"]["unit_energy"])

    def energy_pj(self, mapping: Mapping) -> float:
        """Energy of a mapping, or infinity where its tiles do not fit."""
        if not self.fits(mapping):
            return math.inf
        counts = word_counts(mapping, self.memories, transfers(mapping, self.nest, BITS, FINAL_BITS, self.limit))
        total = math.prod(self.nest.dims) * self.mac_pj
        for (level, _, side), words in counts.items():
            total += words * self.prices[mapping.levels[level].name][side.startswith("writes")]
        return float(total)

    def fits(self, mapping: Mapping) -> bool:
        """Whether the tiles fit, the input's without its padding."""
        for i, (level, memory) in enumerate(zip(mapping.levels, self.memories, strict=True)):
            tiles = [tile_elements(mapping, self.nest, i, r) for r in range(3)]
            if level.cuts[1] is not None:
                whole = replace(mapping, levels=(replace(level, cuts=(None, level.cuts[1], None)),))
                tiles[1] = min(tiles[1], input_elements(whole, self.nest, self.limit))
            if sum(t * b for t, b in zip(tiles, BITS, strict=True)) > memory.capacity_bits:
                return False
        return True

    def best_pj(self, pool: int, starts: int) -> float:
        """Least energy among the search's best mappings, one cut or loop moved at a time as long as that helps."""
        point = point_of(self.array, self.memories, self.prices)
        # The search counts padding: memories of the input are taken larger by its share once, and what does not fit is left out.
        rows, columns = (
            (self.nest.dims[4 + i] - 1) * self.nest.stride[i] + (self.nest.dims[6 + i] - 1) * self.nest.dilation[i] + 1
            for i in (0, 1)
        )
        padding = max(rows / self.limit[0], 1.0) * max(columns / self.limit[1], 1.0)
        holds = np.array(["activation" in storage.roles for storage in self.array.storages])
        wider = replace(point, capacity_bits=np.where(holds, point.capacity_bits * padding, point.capacity_bits))
        found = [
            mapping
            for one in ((point, wider) if padding > 1.0 else (point,))
            for mapping in several(self.nest, self.array, one, "energy", True, pool)
        ]
        outermost = self.memories[-1].name
        named = [replace(m, levels=(*m.levels[:-1], replace(m.levels[-1], name=outermost))) for m in found]
        ranked = sorted(((self.energy_pj(m), i) for i, m in enumerate(named)))
        best = math.inf
        for energy, index in ranked[:starts]:
            current, mapping = energy, named[index]
            while True:
                moved = [(self.energy_pj(m), m) for m in self._neighbours(mapping)]
                least = min(moved, key=lambda pair: pair[0], default=(math.inf, mapping))
                if not least[0] < current:
                    break
                current, mapping = least
            best = min(best, current)
        return best

    def _neighbours(self, mapping: Mapping) -> list[Mapping]:
        """The mapping with one cut elsewhere, or a prime part of one temporal loop, as far as tiles nest."""
        found = []
        for i, level in enumerate(mapping.levels[:-1]):
            for r, cut in enumerate(level.cuts):
                for other in range(len(mapping.loops) + 1) if cut is not None else ():
                    cuts = (*level.cuts[:r], other, *level.cuts[r + 1 :])
                    levels = (*mapping.levels[:i], replace(level, cuts=cuts), *mapping.levels[i + 1 :])
                    found += [replace(mapping, levels=levels)] if other != cut else []
        for i, loop in enumerate(mapping.loops):
            for part in primes(loop.extent) if loop.axis is None else ():
                for place in range(len(mapping.loops) + 1):
                    if place not in (i, i + 1):
                        found.append(_moved(mapping, i, part, place))
        return [changed for changed in found if not mapping_problems(changed, self.nest)]


def input_elements(mapping: Mapping, nest: Nest, limit: tuple[int, int]) -> int:
    """Elements of the largest tile of the input in the mapping's only level, rows and columns no more than the input has."""
    inside = mapping.inside(0, 1) or ()
    length = dict.fromkeys("NGKCPQRS", 1)
    for loop, held in zip(mapping.loops, inside, strict=True):
        length[loop.dim] *= loop.extent if held else 1
    size = {d: min(length[d], bound) for d, bound in zip(length, nest.dims, strict=True)}
    rows, columns = (
        min((size[p] - 1) * nest.stride[i] + (size[r] - 1) * nest.dilation[i] + 1, limit[i])
        for i, (p, r) in enumerate(("PR", "QS"))
    )
    return size["N"] * size["G"] * size["C"] * rows * columns


def primes(number: int) -> list[int]:
    """Different prime factors."""
    return [p for p in range(2, number + 1) if number % p == 0 and all(p % q for q in range(2, math.isqrt(p) + 1))]


def _moved(mapping: Mapping, source: int, part: int, place: int) -> Mapping:
    """The mapping with a part of one loop at another place; cuts stay between the loops where they are."""
    loop = mapping.loops[source]
    loops = list(mapping.loops)
    loops[source] = replace(loop, extent=loop.extent // part)
    loops.insert(place, replace(loop, extent=part))
    kept = [n for n, one in enumerate(loops) if one.extent > 1 or one.axis is not None]
    levels = []
    for level in mapping.levels:
        moved = [None if cut is None else cut + (cut > place) for cut in level.cuts]
        cuts = [None if cut is None else sum(n < cut for n in kept) for cut in moved]
        levels.append(replace(level, cuts=(cuts[0], cuts[1], cuts[2])))
    levels[-1] = replace(levels[-1], cuts=(len(kept),) * 3)
    return replace(mapping, loops=tuple(loops[n] for n in kept), levels=tuple(levels))


def compared(theirs: dict[str, Any], pool: int, starts: int) -> tuple[list[tuple[str, float, float]], float]:
    """Name, ZigZag's and our energy of each layer, and our CPU seconds; equal layers are mapped once."""
    busy = time.process_time()
    known: dict[str, float] = {}
    rows = []
    for layer in theirs["layers"]:
        key = json.dumps([layer["dims"], layer["stride"], layer["dilation"], layer["input"]])
        if key not in known:
            known[key] = Model(layer, theirs["hardware"]).best_pj(pool, starts)
        rows.append((layer["name"], float(layer["energy_pj"]), known[key]))
    return rows, time.process_time() - busy


def main() -> None:
    """Compare, print a table, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--hardware", nargs="+", default=sorted(MAPPINGS), choices=sorted(MAPPINGS))
    parser.add_argument("--networks", nargs="+", default=["resnet18", "alexnet"])
    parser.add_argument(
        "--recorded", nargs="*", type=Path, default=[], help="outputs of zigzag_layers.py instead of a search"
    )
    parser.add_argument("--pool", type=int, default=24)
    parser.add_argument("--starts", type=int, default=4)
    asked = parser.parse_args()
    cases: list[tuple[str, dict[str, Any]]] = [(path.stem, json.loads(path.read_text())) for path in asked.recorded]
    if not cases:
        cases = [(f"{h}, {n}", searched(asked.python, h, n)) for h in asked.hardware for n in asked.networks]
    worst, layers, theirs_s, ours_s = 0.0, 0, 0.0, 0.0
    for title, theirs in cases:
        rows, seconds = compared(theirs, asked.pool, asked.starts)
        print(title)
        for name, one, other in rows:
            print(f"  {name:<36}{one:>16,.0f}{other:>16,.0f}{other / one:>9.5f}")
        total = [sum(row[i] for row in rows) for i in (1, 2)]
        print(
            f"  {'network':<36}{total[0]:>16,.0f}{total[1]:>16,.0f}{total[1] / total[0]:>9.5f}   "
            f"CPU s: {theirs['cpu_s']:.1f} and {seconds:.1f}"
        )
        worst = max([worst, *(other / one for _, one, other in rows)])
        layers, theirs_s, ours_s = layers + len(rows), theirs_s + theirs["cpu_s"], ours_s + seconds
    print(json.dumps({"worst_ratio": worst, "layers": layers, "zigzag_s": theirs_s, "ours_s": ours_s}))


if __name__ == "__main__":
    main()
