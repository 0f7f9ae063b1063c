"""Inputs of AccelForge (1.0): one file per layer and pass with architecture, workload and mapping.

Format: ``accelforge.frontend`` of release 1.0.467. Energies are pJ per bit, throughputs bits per cycle (read cycles where it says
seconds). Tensors carry their own widths, an accumulated one that of the accumulator below DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dse.errors import InputError
from dse.export.design import Design
from dse.export.mappings import MappedNest, best_mappings, whole_bits
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.names import DIMS, ROLES

#: Names of the tensors W, X and Y; those of a pass take the roles that :mod:`dse.mapping.nest` says.
_NAMES = {"W": "Weights", "X": "Inputs", "Y": "Outputs"}
_INFINITE = "inf"


class _Tagged(dict[str, Any]):
    """A mapping with a YAML tag, such as ``!Memory``."""

    def __init__(self, tag: str, **values: Any) -> None:
        super().__init__(values)
        self.tag = tag


class _Dumper(yaml.SafeDumper):
    """Writes tagged mappings."""


_Dumper.add_representer(_Tagged, lambda dumper, node: dumper.represent_mapping(f"!{node.tag}", dict(node)))


def accelforge_files(design: Design) -> dict[str, str]:
    """``LAYER.PASS.yaml`` for every layer with MACs and every pass that it runs.

    Raises
    ------
    InputError
        The design is infeasible, or its memories do not nest as a hierarchy of containers.
    """
    arrays, runs = best_mappings(design)
    files = {}
    for run in runs:
        text = yaml.dump(
            {
                "arch": arch(design.hardware, arrays, run),
                "workload": workload(run),
                "mapping": mapping(run, design.hardware),
            },
            Dumper=_Dumper,
            sort_keys=False,
            width=140,
            default_flow_style=None,
        )
        files[f"{run.name}.yaml"] = text
    return files


def tensor_names(run: MappedNest) -> tuple[str, str, str]:
    """Names of the tensors in the roles weight, activation, accumulator."""
    first, second, third = run.nest.tensors
    return _NAMES[first], _NAMES[second], _NAMES[third]


def arch(hardware: Hardware, arrays: HardwareArrays, run: MappedNest) -> dict[str, Any]:
    """The hardware from DRAM to the MAC, an axis of the array as a container below the last memory that is shared along it."""
    names = tensor_names(run)
    nodes: list[Any] = []
    opened: list[str] = []
    for m in reversed(range(len(hardware.memories))):
        memory = hardware.memories[m]
        size, rate = float(arrays.usable_bits[0, m]), float(arrays.bandwidth_bits_per_cycle[0, m])
        closed = [axis for axis in opened if axis in memory.shared_along]
        if closed:
            raise InputError(
                hardware.name, [f"{memory.name} is shared along {closed[0]}, a memory above it is not: no hierarchy"]
            )
        new = [axis for axis in hardware.axes if axis.name not in memory.shared_along and axis.name not in opened]
        nodes += [_container(axis.name, int(arrays.axis_size[0, hardware.axes.index(axis)])) for axis in new]
        opened += [axis.name for axis in new]
        wide = {"throughput": _INFINITE if rate == float("inf") else rate}
        held = [name for role, name in zip(ROLES, names, strict=True) if role in memory.roles]
        bits = {}
        if "accumulator" in memory.roles and m < len(hardware.memories) - 1:
            bits = {"bits_per_value": {names[2]: run.sum_bits}}
        nodes.append(
            _Tagged(
                "Memory",
                name=memory.name,
                size=_INFINITE if size == float("inf") else int(size),
                leak_power=0,
                area=0,
                tensors={"keep": " | ".join(held)},
                **bits,
                actions=[
                    {"name": "read", "energy": float(arrays.read_pj_per_bit[0, m]), **wide},
                    {"name": "write", "energy": float(arrays.write_pj_per_bit[0, m]), **wide},
                ],
            )
        )
    nodes += [
        _container(axis.name, int(size))
        for axis, size in zip(hardware.axes, arrays.axis_size[0], strict=True)
        if axis.name not in opened
    ]
    macs = 1
    for bound in run.nest.dims:
        macs *= bound
    actions = [{"name": "compute", "energy": run.mac_pj / macs, "throughput": run.pairs_per_cycle}]
    return {"nodes": [*nodes, _Tagged("Compute", name="mac", leak_power=0, area=0, actions=actions)]}


def _container(name: str, size: int) -> _Tagged:
    return _Tagged("Container", name=f"{name}_of_array", spatial=[{"name": name, "fanout": size}])


def workload(run: MappedNest) -> dict[str, Any]:
    """The nest as one Einsum."""
    (sp, sq), (dr, ds) = run.nest.stride, run.nest.dilation
    projections: dict[str, Any] = {
        "W": {dim: dim.lower() for dim in "GKCRS"},
        "X": {"N": "n", "G": "g", "C": "c", "H": f"{sp} * p + {dr} * r", "V": f"{sq} * q + {ds} * s"},
        "Y": {dim: dim.lower() for dim in "NGKPQ"},
    }
    result = run.nest.tensors[2]
    accesses = []
    for tensor, bits in zip(run.nest.tensors, run.stored_bits, strict=True):
        entry: dict[str, Any] = {
            "name": _NAMES[tensor],
            "projection": projections[tensor],
            "bits_per_value": whole_bits(bits),
        }
        accesses.append(entry | ({"output": True} if tensor == result else {}))
    return {
        "iteration_space_shape": {
            dim.lower(): f"0 <= {dim.lower()} < {size}" for dim, size in zip(DIMS, run.nest.dims, strict=True)
        },
        "einsums": [{"name": _einsum(run), "tensor_accesses": accesses}],
    }


def mapping(run: MappedNest, hardware: Hardware) -> dict[str, Any]:
    """Loops and storages from DRAM to the MAC; the loops of an axis stand right above the first memory not shared along it."""
    names = tensor_names(run)
    known = {memory.name: memory for memory in hardware.memories}
    holders: list[tuple[int, tuple[str, ...], _Tagged]] = []
    for level in reversed(run.mapping.levels):
        # The mapper calls the last memory DRAM, whatever its name in the file.
        memory = known.get(level.name, hardware.memories[-1])
        for role, cut in enumerate(level.cuts):
            if cut is not None:
                holders.append(
                    (cut, memory.shared_along, _Tagged("Storage", tensors=[names[role]], component=memory.name))
                )
    loops = run.mapping.loops
    # Of an axis, the temporal loops inside of the largest tile of a memory that is private along it stand below its own.
    border = {
        axis.name: max((cut for cut, shared, _ in holders if axis.name not in shared), default=0)
        for axis in hardware.axes
    }
    order = sorted(border, key=lambda axis: border[axis])
    sequence: list[int] = []
    temporal = [n for n, loop in enumerate(loops) if loop.axis is None]
    for axis in order:
        sequence += [n for n in temporal if n < border[axis] and n not in sequence]
        sequence += [n for n, loop in enumerate(loops) if loop.axis == axis]
    sequence += [n for n in temporal if n not in sequence]
    tile = dict.fromkeys(DIMS, 1)
    nodes_of: dict[int, _Tagged] = {}
    for n in sequence:
        loop = loops[n]
        values = {"rank_variable": loop.dim.lower(), "tile_shape": tile[loop.dim]}
        place = {} if loop.axis is None else {"name": loop.axis, "component": f"{loop.axis}_of_array"}
        nodes_of[n] = _Tagged("Temporal" if loop.axis is None else "Spatial", **values, **place)
        tile[loop.dim] *= loop.extent
    unrolled = {axis: [nodes_of[n] for n in reversed(sequence) if loops[n].axis == axis] for axis in reversed(order)}
    nodes: list[_Tagged] = []
    for position in range(len(loops), -1, -1):
        for _, shared, node in (holder for holder in holders if holder[0] == position):
            for axis in [axis for axis in unrolled if axis not in shared]:
                nodes += unrolled.pop(axis)
            nodes.append(node)
        if position and loops[position - 1].axis is None:
            nodes.append(nodes_of[position - 1])
    for rest in unrolled.values():
        nodes += rest
    return {"nodes": [*nodes, _Tagged("Compute", einsum=_einsum(run), component="mac")]}


def _einsum(run: MappedNest) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in run.name)


def plain(text: str) -> Mapping[str, Any]:
    """A file of this module without its tags, as plain data."""

    class Loader(yaml.SafeLoader):
        """Reads tagged mappings with their tag as one more key."""

    Loader.add_multi_constructor(
        "!", lambda loader, tag, node: {"tag": tag, **loader.construct_mapping(node, deep=True)}
    )
    value: Mapping[str, Any] = yaml.load(text, Loader=Loader)
    return value
