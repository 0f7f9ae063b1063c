"""Inputs of Timeloop (version 0.4 files, as timeloopfe reads them): architecture, problem and mapping of every layer and pass.

Format: ``workspace/example_designs`` of Accelergy-Project/timeloop-accelergy-exercises. Timeloop gives a storage one word width and
one place in the order of loops, so that every memory on the chip stands once per operand, in the order in which the mapping cuts
the loops; each has the whole capacity, since the mapping is known to fit. DRAM's words have the widest operand's bits. Energies are
those of Accelergy's estimators, not ours: what can be compared are counts and cycles.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from dse.export.accelforge import mapping as loop_tree
from dse.export.accelforge import tensor_names
from dse.export.design import Design
from dse.export.mappings import MappedNest, best_mappings, whole_bits
from dse.export.zigzag import exact
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.names import DIMS

_PROJECTIONS = {
    "Weights": [[["G"]], [["K"]], [["C"]], [["R"]], [["S"]]],
    "Inputs": [
        [["N"]],
        [["G"]],
        [["C"]],
        [["P", "Hstride"], ["R", "Hdilation"]],
        [["Q", "Wstride"], ["S", "Wdilation"]],
    ],
    "Outputs": [[["N"]], [["G"]], [["K"]], [["P"]], [["Q"]]],
}
_ARRAY = "array"


class _Node(dict[str, Any]):
    """A node of the architecture with its tag, ``!Component`` or ``!Container``."""

    def __init__(self, tag: str, **values: Any) -> None:
        super().__init__(values)
        self.tag = tag


class _Dumper(yaml.SafeDumper):
    """Writes tagged nodes."""


_Dumper.add_representer(_Node, lambda dumper, node: dumper.represent_mapping(f"!{node.tag}", dict(node)))


def timeloop_files(design: Design) -> dict[str, str]:
    """``LAYER.PASS.yaml`` for every layer with MACs and every pass; loops that round up are left to Timeloop's mapper.

    Raises
    ------
    InputError
        The design is infeasible.
    """
    arrays, runs = best_mappings(design)
    files = {}
    for run in runs:
        places = _places(run, design.hardware)
        content: dict[str, Any] = {
            "architecture": _architecture(run, design.hardware, arrays, places),
            "problem": _problem(run),
        }
        if exact(run):
            content["mapping"] = _mapping(places)
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=140, default_flow_style=None)
        files[f"{run.name}.yaml"] = text
    return files


def _places(run: MappedNest, hardware: Hardware) -> list[tuple[str, tuple[str, ...], list[tuple[str, int, str]]]]:
    """From DRAM to the MAC: memory (or the array), tensors held, and the loops right below as (dim, trips, axis)."""
    bound = dict(zip(DIMS, run.nest.dims, strict=True))
    nodes = loop_tree(run, hardware)["nodes"]
    dram = hardware.memories[-1].name
    places: list[tuple[str, tuple[str, ...], list[tuple[str, int, str]]]] = [(dram, tensor_names(run), [])]
    for node in nodes:
        if node.tag == "Storage" and node["component"] != dram:
            places.append((node["component"], tuple(node["tensors"]), []))
        elif node.tag in ("Temporal", "Spatial"):
            dim = node["rank_variable"].upper()
            trips = -(-bound[dim] // node["tile_shape"])
            bound[dim] = node["tile_shape"]
            if node.tag == "Spatial" and places[-1][0] != _ARRAY:
                places.append((_ARRAY, (), []))
            places[-1][2].append((dim, trips, node.get("name", "")))
    return places


def _name(memory: str, tensors: tuple[str, ...]) -> str:
    return f"{memory}_{tensors[0].lower()}" if len(tensors) == 1 else memory


def _architecture(run: MappedNest, hardware: Hardware, arrays: HardwareArrays, places: list[Any]) -> dict[str, Any]:
    index = {memory.name: m for m, memory in enumerate(hardware.memories)}
    bits = dict(zip(tensor_names(run), map(whole_bits, run.stored_bits), strict=True))
    result = tensor_names(run)[2]
    nodes: list[_Node] = [_Node("Container", name="system")]
    for memory, tensors, _ in places:
        if memory == _ARRAY:
            sizes = [int(size) for size in arrays.axis_size[0]]
            mesh = {"meshX": sizes[-1], "meshY": math.prod(sizes[:-1])}
            nodes.append(_Node("Container", name=_ARRAY, spatial=mesh))
            continue
        m = index[memory]
        outermost = m == len(hardware.memories) - 1
        width = max(bits[name] if outermost or name != result else run.sum_bits for name in tensors)
        size, rate = float(arrays.size_bits[0, m]), float(arrays.bandwidth_bits_per_cycle[0, m])
        attributes: dict[str, Any] = {"width": width, "datawidth": width}
        if math.isfinite(size):
            attributes["depth"] = max(int(size // width), 1)
        if hardware.memories[m].double_buffered:
            attributes["multiple_buffering"] = 2
        if math.isfinite(rate):
            attributes |= {"read_bandwidth": rate / width, "write_bandwidth": rate / width}
        held = {} if outermost else {"constraints": {"dataspace": {"keep_only": list(tensors)}}}
        kind = "DRAM" if outermost else "storage"
        sub = (
            {} if outermost else {"subclass": "aladdin_register" if hardware.memories[m].kind == "register" else "SRAM"}
        )
        nodes.append(
            _Node("Component", name=_name(memory, tensors), **{"class": kind}, **sub, attributes=attributes, **held)
        )
    mac = {"multiplier_width": max(bits.values()), "adder_width": run.sum_bits}
    return {"version": 0.4, "nodes": [*nodes, _Node("Component", name="mac", **{"class": "intmac"}, attributes=mac)]}


def _problem(run: MappedNest) -> dict[str, Any]:
    (sp, sq), (dr, ds) = run.nest.stride, run.nest.dilation
    steps = {"Hstride": sp, "Wstride": sq, "Hdilation": dr, "Wdilation": ds}
    result = tensor_names(run)[2]
    spaces = [
        {"name": name, "projection": projection} | ({"read_write": True} if name == result else {})
        for name, projection in _PROJECTIONS.items()
    ]
    shape = {
        "name": "nest",
        "dimensions": list(DIMS),
        "coefficients": [{"name": name, "default": 1} for name in steps],
        "data_spaces": spaces,
    }
    return {"version": 0.4, "shape": shape, "instance": {**dict(zip(DIMS, run.nest.dims, strict=True)), **steps}}


def _mapping(places: list[Any]) -> list[dict[str, Any]]:
    """Loops by target; permutations are written from the inside to the outside, as Timeloop reads them."""
    entries: list[dict[str, Any]] = []
    for memory, tensors, loops in places:
        if memory == _ARRAY:
            axes = list(dict.fromkeys(axis for _, _, axis in loops))
            across = [loop for loop in loops if loop[2] == axes[0]]
            down = [loop for loop in loops if loop[2] != axes[0]]
            ordered = [dim for dim, _, _ in (*across, *down)]
            rest = [dim for dim in DIMS if dim not in ordered]
            entry = {"target": _ARRAY, "type": "spatial", "permutation": [*ordered, *rest], "split": len(across)}
        else:
            ordered = [dim for dim, _, _ in reversed(loops)]
            rest = [dim for dim in DIMS if dim not in ordered]
            entry = {"target": _name(memory, tensors), "type": "temporal", "permutation": [*rest, *ordered]}
        trips = dict.fromkeys(DIMS, 1)
        for dim, count, _ in loops:
            trips[dim] *= count
        entries.append({**entry, "factors": [f"{dim}={count}" for dim, count in trips.items()]})
    return entries
