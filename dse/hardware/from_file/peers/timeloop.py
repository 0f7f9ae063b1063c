"""Timeloop's architecture (version 0.4) as a hardware file.

Nodes go from the outside (DRAM) to the inside (the MAC); those of a ``!Parallel`` stand side by side. A node with a ``spatial``
mesh repeats what stands below it: ``meshX`` and ``meshY`` become axes. Which loops may run along them follows from the spatial
constraints: ``factors`` of 1 forbid a loop, and the first ``split`` loops of ``permutation`` run along X, the others along Y. A
memory of ``depth`` words of ``width`` bits holds them together (a ``cluster_size`` is shared out); bandwidths are in words of
``datawidth``. Energies come from an energy reference table (ERT) of Accelergy, pJ per action on the whole width, or from the
model's functions. Temporal constraints are left out, and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dse.hardware.from_file.peers.reader import TAG, Section
from dse.hardware.prices.memories import DRAM_PJ_PER_BIT

#: Our loop dims by the names of Timeloop's convolution.
LOOPS = {"N": "N", "G": "G", "M": "K", "C": "C", "P": "P", "Q": "Q", "R": "R", "S": "S"}
#: Roles by its data spaces.
SPACES = {"Weights": "weight", "Inputs": "activation", "Outputs": "accumulator"}
#: Attributes that are passed on to what stands below.
_INHERITED = ("technology", "datawidth", "global_cycle_seconds")
_STORES = re.compile(r"sram|regfile|register|storage|buffer|dram|_rf|memory", re.IGNORECASE)
_COMPUTES = re.compile(r"mac|compute|multiplier", re.IGNORECASE)
_REGISTERS = re.compile(r"reg|_rf|\brf", re.IGNORECASE)
#: Smallest width of a MAC's sum where the file says none, bits.
COMMON_SUM_BITS = 32


@dataclass
class Walk:
    """What was found from the outside to the inside.

    Attributes
    ----------
    axes
        Size and loops by name.
    memories
        Component, attributes, axes above it and whether it stands in a ``!Parallel``, by order.
    mac
        Attributes of the MAC and its name.
    """

    axes: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    memories: list[tuple[Section, Section, tuple[str, ...], bool]] = field(default_factory=list)
    mac: tuple[str, Section] | None = None


def timeloop_hardware(
    architecture: Section, energies: Any, defaults: Mapping[str, float], notes: list[str]
) -> dict[str, Any]:
    """The keys of a hardware file; parameters as of :func:`dse.hardware.from_file.peers.zigzag.zigzag_hardware`, with the ERT for
    the mapping."""
    problems = architecture.problems
    walk = Walk()
    _nodes(architecture.items("nodes"), architecture.where, {}, False, walk, problems, notes)
    prices = _prices(energies, problems)
    every = tuple(walk.axes)
    memories: dict[str, Any] = {}
    for component, attributes, above, beside in reversed(walk.memories):
        name = component.text("name")
        shared = [axis for axis in every if axis not in above]
        memories[name] = _memory(
            component, attributes, shared, len(shared) == len(every), beside, prices.get(name), notes
        )
    if not walk.axes:
        walk.axes["one"] = (1, ("K",))
        notes.append("no spatial mesh: one MAC")
    if not memories:
        problems.append(f"{architecture.where}.nodes: no memory among the components")
    if walk.mac is None:
        problems.append(f"{architecture.where}.nodes: no component that multiplies (of class intmac or alike)")
    name, mac = walk.mac or ("", Section({}, "", problems))
    widths = mac.whole("multiplier_width", mac.whole("datawidth", int(defaults["operand_bits"])))
    # Sums are as wide as the MAC's adder, or as the words of the innermost memory of sums where those are wider.
    sums = [
        attributes.whole("datawidth", 1) for part, attributes, _, beside in walk.memories if _holds_sums(part, beside)
    ]
    element: dict[str, Any] = {
        "source": "Timeloop's compute component",
        "family": "fixed",
        "max_weight_bits": widths,
        "max_activation_bits": widths,
        "accumulator_bits": max(mac.whole("adder_width", COMMON_SUM_BITS), *sums[-1:], 1),
    }
    if (energy := prices.get(name, {}).get("compute")) is not None:
        element["energy_pj_per_mac"] = energy
    seconds = mac.number("global_cycle_seconds", 0.0)
    node = re.match(r"\s*([0-9.]+)\s*nm?\s*$", mac.text("technology"))
    return {
        **({"clock_hz": float(f"{1.0 / seconds:.12g}")} if seconds > 0 else {}),
        **({"node_nm": float(node.group(1))} if node else {}),
        "array": {
            "source": "Timeloop's meshes and their spatial constraints; forward pass only",
            "axes": {axis: {"size": size, "forward": list(dims)} for axis, (size, dims) in walk.axes.items()},
        },
        "pe": element,
        "memories": memories,
    }


def _nodes(
    nodes: Sequence[Any],
    where: str,
    inherited: Mapping[str, Any],
    beside: bool,
    walk: Walk,
    problems: list[str],
    notes: list[str],
) -> None:
    """Nodes one after the other, each with what it passes on to those below."""
    passed = dict(inherited)
    for index, given in enumerate(nodes):
        node = Section(given, f"{where}[{index}]", problems)
        tag = node.text(TAG)
        if tag in ("Parallel", "Hierarchical", "Pipelined"):
            _nodes(
                node.items("nodes"), f"{node.where}.nodes", passed, beside or tag == "Parallel", walk, problems, notes
            )
            continue
        if tag == "Nothing":
            continue
        if tag not in ("Container", "Component"):
            problems.append(
                f"{node.where}: expected a !Container, !Component, !Parallel or !Nothing, got {tag or 'no tag'}"
            )
            continue
        own = node.section("attributes").values
        attributes = Section({**passed, **own}, f"{node.where}.attributes", problems)
        _mesh(node, walk, notes)
        if tag == "Container":
            passed |= {key: own[key] for key in _INHERITED if key in own}
            continue
        classes = f"{node.text('class')} {node.text('subclass')}"
        if _COMPUTES.search(node.text("class")):
            walk.mac = (node.text("name"), attributes)
        elif _STORES.search(classes):
            walk.memories.append((node, attributes, tuple(walk.axes), beside))
        else:
            notes.append(f"{node.text('name')} of class {node.text('class')} is left out: no memory and no MAC")


def _mesh(node: Section, walk: Walk, notes: list[str]) -> None:
    """Axes of a node's mesh, with the loops that its spatial constraints allow along each."""
    mesh = node.section("spatial")
    sides = {side: mesh.whole(f"mesh{side}", 1) for side in "XY"}
    spatial = node.section("constraints").section("spatial")
    ordered = [str(dim) for dim in _words(spatial.values.get("permutation"))]
    factors = dict(_factors(spatial.values.get("factors")))
    named = [*ordered, *(dim for dim in LOOPS if dim not in ordered)]
    unknown = [dim for dim in (*ordered, *factors) if dim not in LOOPS]
    node.problems += [f"{spatial.where}: no loop '{dim}'; known: {', '.join(LOOPS)}" for dim in unknown]
    split = int(spatial.number("split", 0)) if spatial.has("split") else None
    for side, size in sides.items():
        if size == 1:
            continue
        both = min(sides.values()) > 1
        along = named if not both or split is None else named[:split] if side == "X" else named[split:]
        dims = [LOOPS[dim] for dim in along if dim in LOOPS and factors.get(dim) != 1]
        fixed = [f"{dim}={count}" for dim, count in factors.items() if count > 1 and dim in along]
        if fixed:
            notes.append(f"{node.text('name')}: extents may differ from the spatial factors {', '.join(fixed)}")
        name = node.text("name") + (f"_{side.lower()}" if both else "")
        walk.axes[name] = (size, tuple(dict.fromkeys(dims)))


def _words(given: Any) -> list[Any]:
    return given if isinstance(given, list) else re.split(r"[\s,]+", str(given).strip()) if given else []


def _factors(given: Any) -> Iterator[tuple[str, int]]:
    """Loop and extent of ``R=1`` or ``R1``; 0 stands for what remains, as in Timeloop."""
    for text in _words(given):
        match = re.fullmatch(r"([A-Za-z]+)\s*=?\s*([0-9]+)", str(text))
        if match:
            yield match.group(1), int(match.group(2))


def _memory(
    component: Section,
    attributes: Section,
    shared: Sequence[str],
    whole: bool,
    beside: bool,
    price: Mapping[str, float] | None,
    notes: list[str],
) -> dict[str, Any]:
    width = attributes.number(
        "width", attributes.number("datawidth", 8.0, 1.0) * attributes.whole("block_size", 1), 1.0
    )
    classes = f"{component.text('class')} {component.text('subclass')}"
    constraints = component.section("constraints")
    kept = _kept(constraints.section("dataspace"), beside)
    memory: dict[str, Any] = {"source": f"Timeloop's {component.text('name')}", "holds": kept}
    if "temporal" in constraints.values:
        notes.append(f"{component.text('name')}: its temporal constraints are left out")
    if not whole:
        memory["shared_along"] = list(shared)
    if "dram" in classes.lower():
        memory["kind"] = "dram"
        kind = attributes.text("type", "LPDDR4").lower()
        if price is None:
            known = kind if kind in DRAM_PJ_PER_BIT else "lpddr4"
            memory["dram"] = known
            if known != kind:
                notes.append(f"DRAM of type {kind} has no price here: taken as {known}")
    else:
        size = attributes.number("depth", 1.0, 1.0) * width / attributes.whole("cluster_size", 1)
        memory["kind"] = "register" if _REGISTERS.search(classes) else "sram"
        memory["size_bits"] = int(size)
        if memory["kind"] == "sram":
            memory["port_bits"] = int(width)
    rates = [attributes.number(key, 0.0) for key in ("read_bandwidth", "write_bandwidth", "shared_bandwidth")]
    if any(rates):
        memory["bandwidth_bits_per_cycle"] = sum(rates) * attributes.number("datawidth", 8.0, 1.0)
    if price is not None and {"read", "write"} <= set(price):
        memory["read_pj_per_bit"] = price["read"] / width
        memory["write_pj_per_bit"] = price["write"] / width
    return memory


def _holds_sums(component: Section, beside: bool) -> bool:
    """Whether a component holds outputs and nothing else."""
    return _kept(component.section("constraints").section("dataspace"), beside) == ["accumulator"]


def _kept(dataspace: Section, beside: bool) -> list[str]:
    """Roles that a component may hold; beside others it holds what it must keep and nothing else."""
    listed = {key: [str(name) for name in _words(dataspace.values.get(key))] for key in ("keep", "keep_only", "bypass")}
    only = listed["keep_only"] or (listed["keep"] if beside else [])
    return [role for name, role in SPACES.items() if (name in only if only else name not in listed["bypass"])]


def _prices(table: Any, problems: list[str]) -> dict[str, dict[str, float]]:
    """Energies by component and action, pJ."""
    if table is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    for entry in Section(table, "the energy table", problems).section("ERT").items("tables"):
        row = Section(entry, "the energy table", problems)
        name = re.sub(r"\[.*?\]", "", row.text("name")).rpartition(".")[2]
        actions = [Section(action, f"the energy table, {name}", problems) for action in row.items("actions")]
        found[name] = {action.text("name"): action.number("energy") for action in actions}
    if not found:
        problems.append("the energy table: expected ERT.tables, as Accelergy writes them")
    return found
