"""What ships with the program, as tables for the terminal, and one hardware file drawn and in tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from dse.errors import InputError
from dse.files import is_file
from dse.shipped import shipped_names
from dse.units import format_bytes, format_value
from dse.yaml_input import load_yaml, suggest

if TYPE_CHECKING:
    from dse.cost.totals.describe import Description
    from dse.hardware.model import Hardware


def is_hardware(name: str) -> bool:
    """Whether a name or path means a hardware file rather than a workload: a shipped name, or a file with memories."""
    stem = name.removesuffix(".yaml")
    if is_file(name):
        value = load_yaml(name).value
        return isinstance(value, dict) and "memories" in value
    plain = stem.removeprefix("hwmodels/")
    return plain in shipped_names("hwmodels") and plain not in shipped_names("workloads")


def hardware_tables(hardware: Hardware) -> list[Any]:
    """The memories drawn from the outside in, and tables of facts, prices, elements, space and sources."""
    from dse.cost.totals.describe import describe

    found = describe(hardware)
    facts = Table("", "value", title=escape(f"{hardware.name}: {hardware.description}"), show_header=False)
    for fact in found.facts:
        value = fact.value if isinstance(fact.value, str) else format_value(fact.value, fact.unit, 4)
        facts.add_row(fact.label, escape(value))
    facts.title_justify = "left"
    varies = [_varies(found)] if found.varies else []
    return [facts, _drawn(hardware, found), _prices(found), _elements(found), *varies, _sources(found)]


def _drawn(hardware: Hardware, found: Description) -> Tree:
    """Every memory hangs on the next outer one that holds what it holds."""
    rows = {row.name: row for row in found.memories}
    nodes: dict[str, Tree] = {}
    root: Tree | None = None
    for place, memory in reversed(list(enumerate(hardware.memories))):
        row = rows[memory.name]
        size = "" if row.size_bits == float("inf") else f" {format_bytes(row.size_bits)}"
        many = f"{row.instances:,} x " if row.instances > 1 else ""
        text = escape(f"{many}{memory.name}{size}: {row.holds}")
        outer = [other for other in hardware.memories[place + 1 :] if set(other.roles) & set(memory.roles)]
        if root is None or not outer:
            root = nodes[memory.name] = Tree(text)
        else:
            nodes[memory.name] = nodes[outer[0].name].add(text)
    assert root is not None, "every hardware has a DRAM"
    return root


def _prices(found: Description) -> Table:
    table = Table("memory", "one for", title="Memories")
    for title in ("instances", "size", "bits/cycle", "read pJ/bit", "write pJ/bit", "area, mm²"):
        table.add_column(title, justify="right")
    for row in found.memories:
        table.add_row(
            escape(row.name),
            escape(row.one_for),
            f"{row.instances:,}",
            "unlimited" if row.size_bits == float("inf") else format_bytes(row.size_bits),
            "unlimited" if row.bandwidth_bits_per_cycle == float("inf") else f"{row.bandwidth_bits_per_cycle:g}",
            *(format_value(value) for value in (row.read_pj_per_bit, row.write_pj_per_bit, row.area_mm2)),
        )
    return table


def _elements(found: Description) -> Table:
    table = Table("both operands in", title="What the elements multiply; TOPS/W is of the elements alone")
    for title in ("MACs per cycle and element", "pJ per MAC", "peak TOPS", "TOPS/W"):
        table.add_column(title, justify="right")
    for row in found.elements:
        table.add_row(
            row.form,
            format_value(row.macs_per_cycle),
            format_value(row.mac_pj),
            format_value(row.ops_per_s / 1e12),
            format_value(2.0 / row.mac_pj) if row.mac_pj else "",
        )
    return table


def _varies(found: Description) -> Table:
    table = Table("parameter", title="What a search may vary")
    for title in ("values", "least", "greatest"):
        table.add_column(title, justify="right")
    for row in found.varies:
        table.add_row(escape(row.name), f"{row.values:,}", f"{row.least:,g}", f"{row.greatest:,g}")
    return table


def _sources(found: Description) -> Table:
    table = Table("part", "source of its numbers", title="Sources")
    for part, source in found.sources.items():
        table.add_row(escape(part), escape(source))
    return table


def networks() -> Table:
    """Workloads that ship."""
    from dse.workload import load_workload

    table = Table("workload", title="Workloads")
    for title in ("GMAC", "M parameters", "layers with MACs"):
        table.add_column(title, justify="right")
    table.add_column("profile")
    profiles = set(shipped_names("workloads/profiles"))
    for name in shipped_names("workloads"):
        net = load_workload(name)
        size = (f"{net.macs / 1e9:.4g}", f"{net.parameters / 1e6:.4g}", str(len(net.mac_layers)))
        table.add_row(name, *size, "yes" * (name in profiles))
    return table


def hardware() -> Table:
    """Hardware models that ship."""
    from dse.hardware import load_hardware

    table = Table("hardware", title="Hardware models: dse show NAME has their prices and sources")
    table.add_column("designs in its space", justify="right")
    table.add_column("what it is")
    for name in shipped_names("hwmodels"):
        hw = load_hardware(name)
        designs = 1
        for parameter in hw.space:
            designs *= len(parameter.values)
        table.add_row(name, f"{designs:,}", escape(hw.description))
    return table


def systems() -> Table:
    """Systems of accelerators that ship."""
    from dse.system import load_system

    table = Table("system", "device", "what it is", title="Systems of accelerators, for --system")
    for name in shipped_names("hwmodels/systems"):
        system = load_system(name)
        table.add_row(name, escape(system.device.name), escape(system.description))
    return table


def formats() -> Table:
    """Families of number formats, with bits of an element where one is stored with its share of scales."""
    from dse.precision.formats import FAMILIES, parse_format
    from dse.precision.formats.properties import stored_bits

    table = Table("family", "formats", "multiplied as", title="Number formats, for plans and --plan")
    table.add_column("bits per element with scales, of the first", justify="right")
    for family in FAMILIES.values():
        first = family.near[0] if family.near else family.known[0]
        kind = "stored only" if family.stash_only else family.arithmetic
        table.add_row(
            family.name, ", ".join(family.known), kind, f"{stored_bits(parse_format(first), 4096):.4g} ({first})"
        )
    return table


def elements() -> Table:
    """Families of processing elements and their keys in a hardware file."""
    from dse.hardware.elements import FAMILIES

    table = Table(
        "family", "what it is", "own keys", "source", title="Families of elements, pe.family of a hardware file"
    )
    for family in FAMILIES.values():
        table.add_row(family.name, family.summary, ", ".join(family.keys), family.source)
    return table


def drams() -> Table:
    """Types of DRAM and their prices."""
    from dse.hardware.prices.memories import DRAM

    table = Table("DRAM", title="Types of DRAM, memories.dram.dram of a hardware file; sources: docs/model.md")
    table.add_column("pJ/bit", justify="right")
    table.add_column("interface on the chip, mm² per Gbit/s", justify="right")
    for name, kind in DRAM.items():
        table.add_row(name, f"{kind.pj_per_bit:g}", f"{kind.phy_mm2_per_gbit_s:.3g}")
    return table


#: What ``dse list`` lists, by its word.
CATALOGUES: dict[str, Callable[[], Table]] = {
    "networks": networks,
    "hardware": hardware,
    "systems": systems,
    "formats": formats,
    "elements": elements,
    "drams": drams,
}
#: Those that it lists without a word.
FIRST = ("networks", "hardware", "systems")


def catalogues(what: str | None) -> list[Table]:
    """The tables that ``dse list WHAT`` prints.

    Raises
    ------
    InputError
        No such catalogue.
    """
    if what is not None and what not in CATALOGUES:
        raise InputError("list", [f"'{what}' is none of {', '.join(CATALOGUES)}{suggest(what, CATALOGUES)}"])
    return [CATALOGUES[name]() for name in (FIRST if what is None else (what,))]
