"""Names of the layers of an ONNX graph: one rule for importing a network and for measuring its profile, so that they match."""

from __future__ import annotations

from typing import Any

#: Operators that hand a weight on: its name is that of the tensor behind them.
_PASSED_ON = ("Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
#: Which input is the weight, where it is not the second.
_WEIGHT_INPUT = {"Gather": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
#: What onnxruntime appends to the name of a weight that it quantizes.
_QUANTIZED = "_quantized"
#: Operators that only hold values; they do not count as positions.
_VALUES = ("Constant", "ConstantOfShape")


def layer_names(graph: Any) -> list[str]:
    """A name for every node of an ``onnx.GraphProto``, in its order, all different.

    The framework's module where the weight has kept it (``layer1.0.conv1.weight`` gives ``layer1.0.conv1``), else the node's
    own name, else its operator and position. A second layer of the same name, as with shared weights, gets ``_2``.
    """
    producers = {output: node for node in graph.node for output in node.output if output}
    result = []
    used: dict[str, int] = {}
    position = 0
    for node in graph.node:
        name = _module(node, producers) or node.name or f"{node.op_type}_{position}"
        position += node.op_type not in _VALUES
        used[name] = used.get(name, 0) + 1
        while used[name] > 1 and f"{name}_{used[name]}" in used:
            used[name] += 1
        result.append(name if used[name] == 1 else f"{name}_{used[name]}")
        used.setdefault(result[-1], 1)
    return result


def _module(node: Any, producers: dict[str, Any]) -> str:
    place = _WEIGHT_INPUT.get(node.op_type, 1)
    tensor = node.input[place] if len(node.input) > place else ""
    seen = set()
    while tensor and not tensor.removesuffix(_QUANTIZED).endswith(".weight") and tensor not in seen:
        seen.add(tensor)
        behind = producers.get(tensor)
        tensor = behind.input[0] if behind is not None and behind.op_type in _PASSED_ON and behind.input else ""
    tensor = tensor.removesuffix(_QUANTIZED)
    return tensor.removesuffix(".weight") if tensor.endswith(".weight") else ""
