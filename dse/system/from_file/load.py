"""Reads system files into the records of :mod:`dse.system.model`."""

from __future__ import annotations

from pathlib import Path

from dse.shipped import find_file
from dse.system.from_file.schema import SystemFile, check
from dse.system.model import Device, Execution, Host, Link, System
from dse.yaml_input import Document, load_yaml, validate


def load_system(name_or_path: str | Path) -> System:
    """Read a system of accelerators: a path, or the name of a shipped one.

    Raises
    ------
    InputError
        All problems of the file with their lines.
    """
    path = find_file(name_or_path, "hwmodels/systems")
    return system_from_document(load_yaml(path), path.stem)


def system_from_document(document: Document, name: str) -> System:
    """A system from a document that was already read."""
    file = validate(SystemFile, document, check)
    given = file.device
    device = Device(
        given.name,
        {rate.element_bits: rate.macs_per_s * rate.efficiency for rate in given.rates},
        {rate.element_bits: rate.macs_per_s for rate in given.rates},
        source=" ".join(f"{given.source} {given.efficiency_source}".split()),
        hardware=given.hardware or "",
        **{
            key: getattr(given, key)
            for key in (
                "memory_bytes", "memory_bytes_per_s", "product_efficiency", "memory_efficiency", "attention_efficiency",
                "cores", "power_w",
            )
        },
    )  # fmt: skip
    links = tuple(
        Link(
            link.name, link.devices, link.bytes_per_s, link.latency_s,
            tuple((point.bytes, point.share) for point in link.efficiency),
            link.topology, link.pj_per_bit, " ".join(link.source.split()),
        )
        for link in file.links
    )  # fmt: skip
    execution = Execution(**file.execution.model_dump(exclude={"source"}))
    return System(
        name, " ".join(file.description.split()), device, links, execution, file.most_devices,
        " ".join(file.source.split()), document.source,
        Host(**file.host.model_dump()) if file.host is not None else None,
    )  # fmt: skip
