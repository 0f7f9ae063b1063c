"""What is known of an ONNX graph while its operators are walked in order, and how their shapes and attributes are read.

H is always the third axis of a tensor and the first spatial entry of strides, dilations and kernels; W the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dse.workload.from_onnx.shapes import OnnxGraph, Shape


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


@dataclass
class Flow:
    """What is known while the operators are walked in order.

    Attributes
    ----------
    graph
        The graph with its shapes.
    batch
        Samples that the shapes hold.
    dynamic
        Tensors that depend on an input.
    errors
        Tensors whose error some parameter before them needs.
    sources
        Names of the layers that made a tensor; an empty name stands for an input of the model.
    """

    graph: OnnxGraph
    batch: int
    dynamic: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)

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
        made = f"{makers[last].op_type} gives '{last}' no shape" if last in makers else f"'{last}' has no shape"
        return f"{made} that can be inferred; give open dimensions with --dim, or export with fixed shapes"

    def sample(self, name: str) -> Shape:
        """Shape of one sample of a tensor: the leading axis without the batch."""
        shape = self.shape(name)
        if shape and shape[0] % self.batch == 0:
            return (shape[0] // self.batch, *shape[1:])
        return shape

    def is_constant(self, name: str) -> bool:
        return name not in self.dynamic

    def mac_passes(self, read: str, weight: str) -> tuple[str, ...]:
        """Passes of a layer that reads one tensor and multiplies it with another one."""
        second = weight in self.errors or self.is_constant(weight)
        return ("forward", *["backward_data"] * (read in self.errors), *["backward_weight"] * second)

    def vector_passes(self, node: Any) -> tuple[str, ...]:
        return ("forward", *["backward_data"] * any(name in self.errors for name in node.input))


def attributes(node: Any) -> dict[str, Any]:
    """Integers, floats, strings and lists of integers of a node by name."""
    values: dict[str, Any] = {}
    for item in node.attribute:
        if item.ints:
            values[item.name] = [int(value) for value in item.ints]
        elif item.type == 2 or item.HasField("i"):
            values[item.name] = int(item.i)
        elif item.HasField("f"):
            values[item.name] = float(item.f)
        elif item.HasField("s"):
            values[item.name] = item.s.decode("utf-8", "replace")
    return values


def spatial(node: Any, key: str, axes: int) -> tuple[int, int]:
    """(vertical, horizontal) entries of an attribute; a single axis is vertical."""
    values = attributes(node).get(key, [1] * axes)
    if not isinstance(values, list) or len(values) != axes or min(values) < 1:
        raise Unknown(f"'{key}' is {values}; expected {axes} integers >= 1")
    return (values[0], values[1] if axes == 2 else 1)


def has_input(node: Any, place: int) -> bool:
    return len(node.input) > place and bool(node.input[place])


def last(shape: Shape) -> int:
    return shape[3] if len(shape) == 4 else 1


def per_sample(flow: Flow, rows: int) -> int:
    return rows // flow.batch if rows % flow.batch == 0 else rows
