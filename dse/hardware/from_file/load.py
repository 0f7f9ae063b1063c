"""Hardware files: every number with its unit in its name, a source per section, and sets or ranges where a number may vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dse.hardware.from_file.rules import with_rules
from dse.hardware.from_file.schema import AxisFile, HardwareFile, Range, Values, check, numbers
from dse.hardware.model import (
    FUSES,
    MEMORY_NUMBERS,
    TOP_NUMBERS,
    ArrayAxis,
    Converter,
    Hardware,
    Memory,
    ModeFormat,
    Parameter,
    ProcessingElement,
    with_values,
)
from dse.shipped import find_file
from dse.yaml_input import Document, load_yaml, validate

__all__ = ["hardware_from_document", "load_hardware", "with_values"]

_MIRRORED = {"K": "C", "C": "K"}


def load_hardware(name_or_path: str | Path) -> Hardware:
    """Read a hardware file: a path, or the name of a shipped one.

    The result is the default design; :attr:`Hardware.space` lists the numbers that the file lets vary.

    Raises
    ------
    InputError
        All problems of the file with their lines.
    """
    path = find_file(name_or_path, "hwmodels")
    return hardware_from_document(load_yaml(path))


def hardware_from_document(document: Document) -> Hardware:
    """Hardware from a document that was already read; see :func:`load_hardware`."""
    file = validate(HardwareFile, document, check)
    space = []
    default: dict[str, Any] = {}
    for _, name, given in numbers(file):
        if isinstance(given, Values | Range):
            listed = given.listed()
            default[name] = given.default
            if len(listed) > 1:
                space.append(Parameter(name, tuple(listed), float(given.default)))
        else:
            default[name] = given
    axes = tuple(
        ArrayAxis(key, int(default[f"array.{key}"]), _dims(axis), axis.flatten) for key, axis in file.array.axes.items()
    )
    hardware = Hardware(
        name=file.name,
        description=file.description.strip(),
        sources=_sources(file),
        axes=axes,
        inference_only=all(axis.backward_data is None for axis in file.array.axes.values()),
        pe=_element(file),
        memories=_memories(file, default, tuple(axis.name for axis in axes)),
        zero_skip=file.zero_skip,
        causal_skip=file.causal_skip,
        fusion=file.fusion,
        fuses=tuple(name for name in FUSES if name in file.fuses),
        overlap=file.overlap,
        lanes_on_axes=file.lanes_on_axes,
        systolic=file.systolic,
        unfold_input=file.unfold_input,
        die_mm2=file.die_mm2,
        formats=tuple(file.formats),
        converter=None
        if file.converter is None
        else Converter(
            float("inf") if file.converter.lanes is None else file.converter.lanes,
            file.converter.area_mm2,
            file.converter.kernel_s,
            file.converter.kernel_bandwidth,
        ),
        modelled_leakage=file.modelled_leakage,
        stationary=file.mapping.stationary or "",
        bypass=file.bypass,
        tiles=tuple((dim, tuple(sizes)) for dim, sizes in file.mapping.tiles.items()),
        space=tuple(space),
        path=document.source,
        options=dict(file.options),
        **{name: default[name] for name in TOP_NUMBERS if name in default},
    )
    return with_rules(hardware, file.constraints, document.source) if file.constraints else hardware


def _dims(axis: AxisFile) -> dict[str, tuple[str, ...]]:
    """Dims by pass. Without backward passes a transposed convolution still runs as the backward_data of its mirror image: K and C
    change places, and R and S, whose sums are different elements, are left out."""
    forward = tuple(axis.forward)
    if axis.backward_data is None or axis.backward_weight is None:
        mirrored = tuple(_MIRRORED.get(dim, dim) for dim in forward if dim not in "RS")
        return {"forward": forward, "backward_data": mirrored, "backward_weight": ()}
    return {
        "forward": forward,
        "backward_data": tuple(axis.backward_data),
        "backward_weight": tuple(axis.backward_weight),
    }


def _memories(file: HardwareFile, default: dict[str, Any], axes: tuple[str, ...]) -> tuple[Memory, ...]:
    memories = []
    for key, memory in file.memories.items():
        given = {name: default.get(f"memories.{key}.{name}") for name in MEMORY_NUMBERS}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        known.setdefault("size_bits", float("inf"))
        shared = axes if memory.shared_along == "all" else tuple(memory.shared_along)
        rules = {"dram": memory.dram, "block_bits": memory.block_bits, "double_buffered": memory.double_buffered}
        memories.append(Memory(key, memory.kind, tuple(memory.holds), shared, **{**rules, **known}))
    return tuple(memories)


def _element(file: HardwareFile) -> ProcessingElement:
    pe = file.pe
    modes = tuple((mode.weight_bits, mode.activation_bits, mode.macs_per_cycle) for mode in pe.modes)
    given = pe.model_dump(exclude={"source", "modes", "energy_pj_per_mac"})
    formats = tuple(
        ModeFormat(mode.exponent_bits, bool(mode.exponent_bits) if mode.float_sums is None else mode.float_sums)
        for mode in pe.modes
    )
    if modes:
        given["max_weight_bits"] = max(w for w, _, _ in modes)
        given["max_activation_bits"] = max(a for _, a, _ in modes)
    return ProcessingElement(modes=modes, formats=formats, energy_pj=pe.energy_pj_per_mac, **given)


def _sources(file: HardwareFile) -> dict[str, str]:
    sections = {"": file.source, "array": file.array.source, "pe": file.pe.source}
    if file.converter is not None:
        sections["converter"] = file.converter.source
    sections |= {f"memories.{key}": memory.source for key, memory in file.memories.items()}
    return {path: " ".join(source.split()) for path, source in sections.items()}
