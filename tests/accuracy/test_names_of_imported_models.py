"""A profile that is measured on an ONNX model has the layer names of the workload that is imported from it."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.accuracy.measuring.onnx_model import open_onnx  # noqa: E402
from dse.workload.from_onnx.network import import_onnx  # noqa: E402


def test_names_and_macs_are_the_same(tmp_path):
    """With constants, folded norms and unnamed nodes before the layers, which must not move a layer's position."""
    rng = np.random.default_rng(0)

    def weight(*shape):
        return rng.normal(size=shape).astype(np.float32)

    tensors = {
        "w0": weight(4, 3, 3, 3), "g": weight(4), "b": weight(4), "m": weight(4), "v": np.abs(weight(4)),
        "features.3.weight": weight(8, 4, 3, 3), "dw": weight(8, 1, 3, 3), "head": weight(8, 5),
    }  # fmt: skip
    two = numpy_helper.from_array(np.float32(2.0).reshape(()), "two")
    nodes = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Mul", ["x", "two"], ["x2"]),
        helper.make_node("Conv", ["x2", "w0"], ["c0"]),
        helper.make_node("BatchNormalization", ["c0", "g", "b", "m", "v"], ["n0"]),
        helper.make_node("Relu", ["n0"], ["r0"]),
        helper.make_node("Conv", ["r0", "features.3.weight"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c1", "dw"], ["c2"], group=8, name="depthwise"),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    measured, imported = open_onnx(path), import_onnx(path).network.mac_layers
    assert measured.layers == tuple(layer.name for layer in imported)
    assert measured.layers == ("Conv_1", "features.3", "depthwise", "MatMul_8")
    assert [measured.details[layer.name].macs for layer in imported] == [layer.macs for layer in imported]
