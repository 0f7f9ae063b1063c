"""ZigZag's accelerator (release 3.9) as a hardware file.

Keys as in ``zigzag.parser.accelerator_validator`` of that release. A price is pJ per access of a whole port, so that a bit costs
it divided by ``bandwidth_max``; the ports of a memory are added up to one bandwidth. The mapping file says which loops run along
which axis (``spatial_mapping``) and which operand is which (``memory_operand_links``). ZigZag's operands pass every memory that
holds them (``bypass: false``), and it knows the forward pass only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dse.hardware.from_file.peers.reader import Section

#: Our loop dims by ZigZag's name; D0, D1, D2 are the rows, columns and sum of its matrix products.
LOOPS = {
    "B": "N",
    "G": "G",
    "K": "K",
    "C": "C",
    "OY": "P",
    "OX": "Q",
    "FY": "R",
    "FX": "S",
    "D0": "N",
    "D1": "K",
    "D2": "C",
}
#: Roles by the operands of a layer.
LAYER_OPERANDS = {"W": "weight", "I": "activation", "O": "accumulator"}
LINKS = {"W": "I2", "I": "I1", "O": "O"}
#: An innermost memory of sums up to this size holds one sum, bits; accumulators of others are taken as wide as most are.
LARGEST_SUM_BITS, COMMON_SUM_BITS = 64, 32


@dataclass(frozen=True)
class Unrolled:
    """What a mapping file says: loops by axis, and the memory operand of each layer operand."""

    loops: Mapping[str, tuple[str, ...]]
    operands: Mapping[str, str]


def zigzag_hardware(
    accelerator: Section, mapping: Any, defaults: Mapping[str, float], notes: list[str]
) -> dict[str, Any]:
    """The keys of a hardware file.

    Parameters
    ----------
    accelerator
        The file; its ``problems`` get what is wrong with it.
    mapping
        Entries of the mapping file.
    defaults
        ``clock_hz``, ``node_nm`` and ``operand_bits``, which the file does not say.
    notes
        Gets what was assumed or left out.
    """
    array = accelerator.section("operational_array")
    names = [str(name) for name in array.items("dimensions")]
    sizes = array.items("sizes")
    if len(names) != len(sizes) or not names:
        array.problems.append(
            f"{array.where}: expected one size for each of its dimensions, got {len(sizes)} for {len(names)}"
        )
    if array.has("imc_type") or array.text("is_imc", "False").lower() == "true":
        array.problems.append(f"{array.where}: an array that computes in memory has no counterpart here")
    unrolled = read_unrolling(mapping, names, accelerator.problems)
    roles = {operand: LAYER_OPERANDS[name] for name, operand in unrolled.operands.items()}
    memories = {
        str(name): _memory(Section(values, f"memories.{name}", accelerator.problems), roles, names, notes)
        for name, values in accelerator.section("memories").values.items()
    }
    used = {name: memory for name, memory in memories.items() if memory["holds"]}
    if used:
        last = next(reversed(used))
        used[last] = {key: v for key, v in used[last].items() if key not in ("size_bits", "port_bits")} | {
            "kind": "dram"
        }
    notes.append("an axis may be filled with any extents of the loops that the mapping file names along it")
    sums = next((memory for memory in used.values() if "accumulator" in memory["holds"]), {})
    wide = sums.get("size_bits", 0)
    given = [int(bits) for bits in array.items("input_precision") if isinstance(bits, int) and 0 < bits <= 64]
    # ZigZag gives the width of the activation first.
    activation, weight = given if len(given) == 2 else [int(defaults["operand_bits"])] * 2
    if len(given) != 2:
        notes.append(f"assumed, since the file does not say: MACs of {weight}-bit operands")
    return {
        "array": {
            "source": "ZigZag's operational_array, unrolled as its mapping file says; forward pass only",
            "axes": {name: _axis(size, unrolled.loops.get(name, ())) for name, size in zip(names, sizes, strict=False)},
        },
        "pe": {
            "source": "ZigZag's unit_energy, pJ per MAC of the widths assumed",
            "family": "fixed",
            "max_weight_bits": weight,
            "max_activation_bits": activation,
            "accumulator_bits": int(wide) if 0 < wide <= LARGEST_SUM_BITS else COMMON_SUM_BITS,
            "energy_pj_per_mac": array.number("unit_energy", 0.0),
        },
        "bypass": False,
        "memories": used,
    }


def _axis(size: Any, dims: Sequence[str]) -> dict[str, Any]:
    shared = {"flatten": True} if len(dims) > 1 else {}
    return {"size": size, "forward": list(dims), **shared}


def _memory(section: Section, roles: Mapping[str, str], axes: Sequence[str], notes: list[str]) -> dict[str, Any]:
    """One memory; ``holds`` is empty where it serves no operand of a layer."""
    ports = [Section(port, f"{section.where}.ports", section.problems) for port in section.items("ports")]
    wide = [port.number("bandwidth_max", least=1.0) for port in ports] or [1.0]
    shared = [str(axis) for axis in section.items("served_dimensions")]
    unknown = [axis for axis in shared if axis not in axes]
    section.problems += [f"{section.where}.served_dimensions: no dimension '{axis}' in the array" for axis in unknown]
    size = section.number("size", least=1.0)
    kept = [roles[str(operand)] for operand in section.items("operands") if str(operand) in roles]
    whole = set(shared) >= set(axes)
    # Prices are given, so that registers and SRAM differ in what they leak: small ones next to the elements are flip-flops.
    kind = "register" if not whole and size <= 1024 else "sram"
    memory: dict[str, Any] = {"source": "ZigZag's file", "kind": kind, "holds": kept}
    if not whole:
        memory["shared_along"] = shared
    memory["size_bits"] = int(size)
    if kind == "sram":
        memory["port_bits"] = int(max(wide))
    memory["bandwidth_bits_per_cycle"] = sum(wide)
    if str(section.values.get("auto_cost_extraction", False)).lower() == "true" or not section.has("r_cost"):
        notes.append(f"{section.where}: no price in the file; the model's (CACTI 7)")
    else:
        memory["read_pj_per_bit"] = section.number("r_cost") / max(wide)
        memory["write_pj_per_bit"] = section.number("w_cost") / max(wide)
    if str(section.values.get("force_double_buffering", False)).lower() == "true":
        memory["double_buffered"] = True
    return memory


def read_unrolling(mapping: Any, axes: Sequence[str], problems: list[str]) -> Unrolled:
    """What the entry ``default`` of a mapping file says; of the unrolling, where it says none, what the layers' entries do."""
    entries = [entry for entry in mapping if isinstance(entry, Mapping)] if isinstance(mapping, list) else []
    if not entries:
        problems.append("the mapping file: expected a list of mappings, one of them named default")
        return Unrolled({}, LINKS)
    default = next((entry for entry in entries if entry.get("name") == "default"), entries[0])
    unrolling = [default] if default.get("spatial_mapping") else entries
    loops: dict[str, dict[str, None]] = {}
    for entry in unrolling:
        spatial = Section(entry, f"mapping {entry.get('name')}", problems).section("spatial_mapping")
        for axis, given in spatial.values.items():
            known = loops.setdefault(str(axis), {})
            for text in given if isinstance(given, list) else [given]:
                name, _, extent = str(text).replace(" ", "").partition(",")
                if name not in LOOPS:
                    problems.append(f"{spatial.where}.{axis}: no loop '{name}'; known: {', '.join(LOOPS)}")
                elif extent != "1":
                    known[LOOPS[name]] = None
    problems += [f"the mapping file: no loop along {axis}" for axis in axes if not loops.get(axis)]
    links = Section(default, "mapping default", problems).section("memory_operand_links").values
    operands = {name: str(links.get(name, LINKS[name])) for name in LAYER_OPERANDS}
    return Unrolled({axis: tuple(found) for axis, found in loops.items()}, operands)
