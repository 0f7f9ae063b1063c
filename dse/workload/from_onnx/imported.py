"""What importing an ONNX model gives: its network, its formats, what was left out, and what was assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from dse.errors import InputError
from dse.workload.from_onnx.graph.read import bits_of_type
from dse.workload.from_onnx.graph.shapes import OnnxGraph
from dse.workload.from_onnx.operators.table import FREE
from dse.workload.model import Network


@dataclass(frozen=True)
class Skipped:
    """Operators of one kind that make no layer.

    Attributes
    ----------
    operator, count
        Kind and number.
    macs_share
        Share of the network's multiply-accumulates; NaN where they are not known.
    traffic_share
        Share of all bits that the graph's operators read and write.
    """

    operator: str
    count: int
    macs_share: float
    traffic_share: float


@dataclass(frozen=True)
class Imported:
    """Result of :func:`dse.workload.from_onnx.network.import_onnx`.

    Attributes
    ----------
    network
        Layers under the model's own names.
    formats
        Names of the number formats of (weight, activation) by layer with MACs; empty if nothing is quantized.
    skipped
        What makes no layer, the largest share first.
    notes
        What was assumed, one sentence each.
    """

    network: Network
    formats: Mapping[str, tuple[str, str]]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


def shares(graph: OnnxGraph, skipped: Sequence[tuple[Any, float]], macs: int) -> tuple[Skipped, ...]:
    """Skipped operators by kind, with their shares."""

    def bits(node: Any) -> float:
        tensors = [name for name in (*node.input, *node.output) if name]
        return float(
            sum(prod(graph.shapes.get(name) or (0,)) * bits_of_type(graph.types.get(name, 0)) for name in tensors)
        )

    traffic = sum(bits(node) for node in graph.nodes if node.op_type not in FREE) or 1.0
    known = macs + sum(missed for _, missed in skipped if missed == missed)
    kinds: dict[str, list[tuple[Any, float]]] = {}
    for node, missed in skipped:
        kinds.setdefault(
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}", []
        ).append((node, missed))
    rows = [
        Skipped(
            kind,
            len(items),
            sum(missed for _, missed in items) / known,
            sum(bits(node) for node, _ in items) / traffic,
        )
        for kind, items in kinds.items()
    ]
    return tuple(sorted(rows, key=lambda row: (row.macs_share == row.macs_share, -row.macs_share, -row.traffic_share)))


def import_summary(found: Imported) -> list[str]:
    """What was read and what was left out, one sentence a line."""
    net = found.network
    lines = [
        f"{len(net.mac_layers)} layers with MACs, {len(net.vector_layers)} without; "
        f"{net.macs / 1e9:.6g} GMAC per sample, {net.parameters / 1e6:.6g} M parameters"
    ]
    for item in found.skipped:
        macs = (
            "an unknown share of the MACs"
            if item.macs_share != item.macs_share
            else f"{item.macs_share:.1%} of the MACs"
        )
        lines.append(
            f"skipped {item.operator} x{item.count}: {macs}, {item.traffic_share:.1%} of the bytes that operators move"
        )
    return [*lines, *(f"note: {note}" for note in found.notes)]


def plan_formats(found: Imported, source: str) -> dict[str, dict[str, str] | str]:
    """Formats of a quantized model as :meth:`dse.Plan.from_formats` takes them; errors have the activation's width in FP32.

    Raises
    ------
    InputError
        Nothing is quantized.
    """
    if not found.formats:
        raise InputError(source, ["has no quantized layer, so there is no plan to write; leave out --plan"])
    weight = {name: pair[0] for name, pair in found.formats.items()}
    activation = {name: pair[1] for name, pair in found.formats.items()}
    return {"weight": weight, "activation": activation, "error": "fp32"}
