"""Inputs of ZigZag (3.9, zigzag-dse): a workload with the precisions of every pass, an accelerator, and mappings.

Formats: the schemas of ``zigzag.parser.workload_validator``, ``accelerator_validator`` and ``mapping_validator`` of release
3.9.1. Widths are whole bits; energies are pJ per access of a whole port, which may take any number of bits (``bandwidth_min:
1``), so that traffic costs what it does here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from dse.errors import InputError
from dse.export.design import Design
from dse.export.mappings import MappedNest, best_mappings, whole_bits
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.names import DIMS

#: ZigZag's names of the loop dims N G K C P Q R S.
ZIGZAG_DIMS = dict(zip(DIMS, ("B", "G", "K", "C", "OY", "OX", "FY", "FX"), strict=True))
#: ZigZag's memory operands of the roles weight, activation, accumulator.
ZIGZAG_OPERANDS = {"weight": "I2", "activation": "I1", "accumulator": "O"}
#: Dims of the operands W, I and O by pass. ZigZag indexes inputs, never the output, through the sliding window, so
#: backward_data is written for layers without a window only.
_TENSORS = {
    "forward": ("GKCRS", "NGCHW", "NGKPQ"),
    "backward_data": ("GKC", "NGKPQ", "NGCPQ"),
    "backward_weight": ("NGKPQ", "NGCHW", "GKCRS"),
}
_INDEX = {**{dim: name.lower() for dim, name in ZIGZAG_DIMS.items()}, "H": "iy", "W": "ix"}
#: Capacity that stands for a memory without a limit, bits.
_UNLIMITED_BITS = 10**14
#: Most axes that the format has names for.
_MOST_AXES = 4


def zigzag_files(design: Design) -> dict[str, str]:
    """``workload.yaml``, ``accelerator.yaml`` and ``mapping.yaml`` for ZigZag.

    Layers are named ``LAYER.PASS``. A mapping whose loops cover a layer exactly is given whole; of one that rounds up, only its
    unrolling, and ZigZag searches the order of the loops.

    Raises
    ------
    InputError
        The design is infeasible, or its array has more axes than the format knows.
    """
    arrays, runs = best_mappings(design)
    known = [run for run in runs if expressible(run)]
    names = ", ".join(run.name for run in runs if not expressible(run))
    left = f"# Left out, since an output with a sliding window has no equation in ZigZag: {names}\n" if names else ""
    return {
        "workload.yaml": left + _dump(workload(known, design.hardware)),
        "accelerator.yaml": _dump(accelerator(design.hardware, arrays, known)),
        "mapping.yaml": _dump(mappings(known, design.hardware)),
    }


def expressible(run: MappedNest) -> bool:
    """Whether ZigZag has an equation for a pass: all but backward_data through a window."""
    r, s = run.nest.dims[6:]
    return run.nest.pass_ != "backward_data" or (r == s == 1 and run.nest.stride == (1, 1))


def workload(runs: Sequence[MappedNest], hardware: Hardware) -> list[dict[str, Any]]:
    """Layers in ZigZag's form, each independent of the others."""
    layers = []
    for number, run in enumerate(runs):
        w, i, o = (_index(dims, run) for dims in _TENSORS[run.nest.pass_])
        (sp, sq), (dr, ds) = run.nest.stride, run.nest.dilation
        windowed = "H" in "".join(_TENSORS[run.nest.pass_])
        weight, activation, result = (whole_bits(bits) for bits in run.stored_bits)
        layers.append(
            {
                "id": number,
                "name": run.name,
                "operator_type": "Conv",
                "equation": f"O{o}+=W{w}*I{i}",
                "dimension_relations": [f"ix={sq}*ox+{ds}*fx", f"iy={sp}*oy+{dr}*fy"] if windowed else [],
                "loop_dims": [ZIGZAG_DIMS[dim] for dim, size in _sizes(run).items() if size],
                "loop_sizes": [size for size in _sizes(run).values() if size],
                "operand_precision": {
                    "W": weight,
                    "I": activation,
                    "O": run.sum_bits,
                    "O_final": result,
                },
                "operand_source": {"I": number, "W": number},
            }
        )
    return layers


def _sizes(run: MappedNest) -> dict[str, int]:
    """Loop bounds of the dims that the equation has; 0 for the others."""
    used = "".join(_TENSORS[run.nest.pass_]).replace("H", "PR").replace("W", "QS")
    return {dim: size if dim in used else 0 for dim, size in zip(DIMS, run.nest.dims, strict=True)}


def _index(dims: str, run: MappedNest) -> str:
    return "".join(f"[{_INDEX[dim]}]" for dim in dims)


def accelerator(hardware: Hardware, arrays: HardwareArrays, runs: Sequence[MappedNest]) -> dict[str, Any]:
    """The hardware in ZigZag's form; the energy of a MAC, of which ZigZag knows one, is the mean over the runs."""
    if len(hardware.axes) > _MOST_AXES:
        raise InputError(hardware.name, [f"has {len(hardware.axes)} axes; ZigZag's mappings name {_MOST_AXES} at most"])
    macs = sum(math.prod(run.nest.dims) for run in runs)
    dims = {axis.name: f"D{n}" for n, axis in enumerate(hardware.axes, start=1)}
    memories: dict[str, Any] = {}
    for m, memory in enumerate(hardware.memories):
        size, rate = float(arrays.usable_bits[0, m]), float(arrays.bandwidth_bits_per_cycle[0, m])
        width = _element_bits(hardware, memory.roles, runs) if math.isinf(rate) else max(int(rate), 1)
        memories[memory.name] = {
            "size": _UNLIMITED_BITS if math.isinf(size) else int(size),
            "r_cost": float(arrays.read_pj_per_bit[0, m]) * width,
            "w_cost": float(arrays.write_pj_per_bit[0, m]) * width,
            "area": 0.0,
            "latency": 1,
            "operands": [ZIGZAG_OPERANDS[role] for role in memory.roles],
            "ports": _ports(memory.roles, width, shared=math.isfinite(rate)),
            "served_dimensions": [dims[axis] for axis in memory.shared_along],
        }
    return {
        "name": hardware.name,
        "memories": memories,
        "operational_array": {
            "unit_energy": sum(run.mac_pj for run in runs) / max(macs, 1),
            "unit_area": 0.0,
            "dimensions": list(dims.values()),
            "sizes": [int(size) for size in arrays.axis_size[0]],
        },
    }


def _element_bits(hardware: Hardware, roles: Sequence[str], runs: Sequence[MappedNest]) -> int:
    """Bits of the widest element that passes a memory without a bandwidth limit: one per cycle and port."""
    place = {"weight": 0, "activation": 1}
    return max(
        max(run.sum_bits for run in runs)
        if role == "accumulator"
        else max(whole_bits(run.stored_bits[place[role]]) for run in runs)
        for role in roles
    )


def _ports(roles: Sequence[str], width: int, shared: bool) -> list[dict[str, Any]]:
    """Ports of one memory: one for reads and writes where they share a bandwidth, else one per operand and direction."""
    duties = [
        (kind, f"{ZIGZAG_OPERANDS[role]}, {duty}")
        for role in roles
        for kind, duty in (
            [("write", "fh"), ("read", "tl"), ("write", "fl"), ("read", "th")]
            if role == "accumulator"
            else [("write", "fh"), ("read", "tl")]
        )
    ]
    wide = {"bandwidth_min": 1, "bandwidth_max": width}
    if shared:
        return [{"name": "rw_port_1", "type": "read_write", **wide, "allocation": [duty for _, duty in duties]}]
    ports = []
    for kind in ("read", "write"):
        for n, duty in enumerate((duty for k, duty in duties if k == kind), start=1):
            ports.append({"name": f"{kind[0]}_port_{n}", "type": kind, **wide, "allocation": [duty]})
    return ports


def mappings(runs: Sequence[MappedNest], hardware: Hardware) -> list[dict[str, Any]]:
    """One mapping per layer and pass, and the default that the format asks for."""
    links = {"O": "O", "W": "I2", "I": "I1"}
    entries: list[dict[str, Any]] = [{"name": "default", "memory_operand_links": dict(links)}]
    for run in runs:
        spatial: dict[str, list[str]] = {}
        for number, axis in enumerate(hardware.axes, start=1):
            loops = [
                f"{ZIGZAG_DIMS[x.dim]}, {x.extent}" for x in run.mapping.loops if x.axis == axis.name and x.extent > 1
            ]
            if loops:
                spatial[f"D{number}"] = loops
        entry: dict[str, Any] = {"name": run.name, "spatial_mapping": spatial, "memory_operand_links": dict(links)}
        if exact(run):
            entry["temporal_ordering"] = [
                [ZIGZAG_DIMS[x.dim], x.extent] for x in run.mapping.loops if x.axis is None and x.extent > 1
            ]
        entries.append(entry)
    return entries


def exact(run: MappedNest) -> bool:
    """Whether the loops of a mapping multiply to the bounds of the layer, without rounding up."""
    covered = dict.fromkeys(DIMS, 1)
    for loop in run.mapping.loops:
        covered[loop.dim] *= loop.extent
    return tuple(covered.values()) == run.nest.dims


def _dump(value: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120, default_flow_style=None)
