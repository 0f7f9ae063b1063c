"""What is known of an ONNX graph while its operators are walked in order, and how their shapes are read.

H is always the third axis of a tensor and the first spatial entry of strides, dilations and kernels; W the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from dse.workload.from_onnx.graph.nodes import attributes
from dse.workload.from_onnx.graph.shapes import OnnxGraph, Shape
from dse.workload.layer import Layer
from dse.workload.nests.factors import Factor, Place, divided, locate
from dse.workload.nests.fold import WindowAxis


class Unknown(Exception):
    """A shape that a layer needs could not be inferred, or makes no layer; the message says which."""


class Unsupported(Exception):
    """An operator of a form that the model has no layer for; it is skipped and named.

    Attributes
    ----------
    macs
        Multiply-accumulates per sample, NaN if unknown.
    """

    def __init__(self, macs: float = float("nan")) -> None:
        super().__init__(macs)
        self.macs = macs


class Made(NamedTuple):
    """A layer of an operator.

    Attributes
    ----------
    layer
        The layer.
    read, weight
        Tensors that it multiplies, "" where they are inside of the operator; a layer without MACs has none.
    channel
        Axis of its output channels in the tensor that its operator makes, from the last one (-1); None where it is none of its own.
    """

    layer: Layer
    read: str = ""
    weight: str = ""
    channel: int | None = None


@dataclass
class Flow:
    """What is known while the operators are walked in order.

    Attributes
    ----------
    graph
        The graph with its shapes.
    batch
        Samples that the shapes hold.
    samples
        Where the samples stand in the tensors that they were followed to.
    sampled
        Tensors that depend on an input that has samples.
    repeats
        Repetitions that were followed to a tensor, as those of keys that several heads share.
    dynamic
        Tensors that depend on an input.
    errors
        Tensors whose error some parameter before them needs.
    sources
        Names of the layers that made a tensor; an empty name stands for an input of the model.
    cached
        Tensors that hold what earlier steps kept.
    trips
        How often a node runs for one sample, by its first output; once if it is not there.
    notes
        What was assumed, one sentence each.
    """

    graph: OnnxGraph
    batch: int
    samples: dict[str, Factor] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)
    repeats: dict[str, tuple[Factor, ...]] = field(default_factory=dict)
    dynamic: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    trips: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def made_by(self, *tensors: str) -> tuple[str, ...]:
        """Names of the layers that made tensors, each once."""
        return tuple(dict.fromkeys(name for tensor in tensors for name in self.sources.get(tensor, ())))

    def shape(self, name: str) -> Shape:
        """Shape of a tensor.

        Raises
        ------
        Unknown
            It could not be inferred, or has an axis of size 0.
        """
        shape = self.graph.shapes.get(name)
        if shape is None:
            raise Unknown(self._why(name))
        if 0 in shape:
            raise Unknown(f"'{name}' has the shape {list(shape)}; an axis of size 0 makes no layer")
        return shape

    def _why(self, name: str) -> str:
        """Where a shape was lost on the way to a tensor."""
        makers = {output: node for node in self.graph.nodes for output in node.output}
        last = name
        for _ in range(len(self.graph.nodes)):
            unknown = (
                [tensor for tensor in makers[last].input if tensor in makers and self.graph.shapes.get(tensor) is None]
                if last in makers
                else []
            )
            if not unknown:
                break
            last = unknown[0]
        maker = makers.get(last)
        if maker is not None and maker.domain not in ("", "ai.onnx"):
            return f"{maker.op_type} of domain '{maker.domain}' makes '{last}'; its shape is not known here"
        made = f"{maker.op_type} gives '{last}' no shape" if maker is not None else f"'{last}' has no shape"
        return f"{made} that can be inferred; give open dimensions with --dim, or export with fixed shapes"

    def place(self, name: str) -> Place | None:
        """The axis of a tensor that holds the samples of the batch."""
        if self.batch == 1 or name not in self.sampled:
            return None
        shape = self.shape(name)
        if name in self.samples:
            return locate(shape, self.samples[name])
        # It was not followed here, as behind an operator that is not known: the samples lead.
        return Place(0) if shape and shape[0] % self.batch == 0 else None

    def sample(self, name: str) -> Shape:
        """Shape of one sample of a tensor."""
        shape, place = self.shape(name), self.place(name)
        return shape if place is None else divided(shape, place, self.batch)

    def is_constant(self, name: str) -> bool:
        return name not in self.dynamic

    def repeated(self, name: str, axes: Sequence[int]) -> int:
        """How often a tensor repeats what it holds along some of its axes."""
        factors = self.repeats.get(name, ())
        if not factors:
            return 1
        shape = self.shape(name)
        places = [locate(shape, factor) for factor in factors]
        wanted = {axis % len(shape) for axis in axes}
        return prod(
            factor.size
            for factor, place in zip(factors, places, strict=True)
            if place is not None and place.axis in wanted
        )

    def mac_passes(self, read: str, weight: str) -> tuple[str, ...]:
        """Passes of a layer that reads one tensor and multiplies it with another one."""
        second = weight in self.errors or self.is_constant(weight)
        return ("forward", *["backward_data"] * (read in self.errors), *["backward_weight"] * second)

    def vector_passes(self, node: Any) -> tuple[str, ...]:
        return ("forward", *["backward_data"] * any(name in self.errors for name in node.input))


def windows(node: Any, inputs: Sequence[int], outputs: Sequence[int], taps: Sequence[int]) -> list[WindowAxis]:
    """The axes over which a filter or a pool slides."""
    flags = attributes(node)
    steps = []
    for key in ("strides", "dilations"):
        values = flags.get(key) or [1] * len(taps)
        if not isinstance(values, list) or len(values) != len(taps) or min(values) < 1:
            raise Unknown(f"'{key}' is {values}; expected {len(taps)} integers >= 1")
        steps.append(values)
    return [WindowAxis(*sizes) for sizes in zip(inputs, outputs, taps, *steps, strict=True)]
