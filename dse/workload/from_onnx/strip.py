"""A copy of an ONNX model without its weights."""

from __future__ import annotations

from math import prod
from pathlib import Path

from dse.files import write_bytes
from dse.workload.from_onnx.graph.read import bits_of_type, onnx_library, read_model
from dse.workload.from_onnx.graph.shapes import STRIPPED
from dse.workload.from_onnx.names import layer_names

#: Largest initializer that a stripped copy keeps, elements.
_STRIP_ABOVE = 256


def strip_onnx(path: str | Path, out: str | Path) -> None:
    """Write what :func:`stripped_onnx` gives.

    Raises
    ------
    InputError
        What :func:`import_onnx` raises, or the copy cannot be written.
    """
    write_bytes(Path(out), stripped_onnx(path))


def stripped_onnx(path: str | Path) -> bytes:
    """A copy of a model whose large initializers are constants of the same shape: a few KB that import alike.

    Raises
    ------
    InputError
        What :func:`import_onnx` raises.
    """
    onnx = onnx_library("dse import")
    model = read_model(path)
    for node, name in zip(model.graph.node, layer_names(model.graph), strict=True):
        node.name = name
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    kept, added = [], []
    for item in model.graph.initializer:
        large = prod(item.dims) > _STRIP_ABOVE or item.data_location == onnx.TensorProto.EXTERNAL
        if not large or opset < 9:
            kept.append(item)
            continue
        shape = onnx.TensorProto(
            name=f"{item.name}/shape",
            data_type=onnx.TensorProto.INT64,
            dims=[len(item.dims)],
            int64_data=list(item.dims),
        )
        zero = bytes(max(bits_of_type(item.data_type) // 8, 1))
        value = onnx.TensorProto(name="value", data_type=item.data_type, dims=[1], raw_data=zero)
        kept.append(shape)
        added.append(
            onnx.helper.make_node(
                "ConstantOfShape", [shape.name], [item.name], name=f"{item.name}{STRIPPED}", value=value
            )
        )
    replaced = {node.output[0] for node in added}
    inputs = [item for item in model.graph.input if item.name not in replaced]
    nodes = [*added, *[type(node).FromString(node.SerializeToString()) for node in model.graph.node]]
    copies = [type(item).FromString(item.SerializeToString()) for item in inputs]
    for target, items in ((model.graph.initializer, kept), (model.graph.node, nodes), (model.graph.input, copies)):
        items = [type(item).FromString(item.SerializeToString()) for item in items]
        del target[:]
        target.extend(items)
    content: bytes = model.SerializeToString()
    return content
