"""ONNX models of a few nodes."""

import numpy as np
import pytest


@pytest.fixture
def saved(tmp_path):
    """Writes a model: nodes, shapes (or types with shapes) of inputs, arrays or shapes of weights."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def save(nodes, inputs, weights=None, *, opset=17, outputs=("y",), name="m.onnx"):
        def typed(value):
            return value if isinstance(value, tuple) else (TensorProto.FLOAT, value)

        def tensor(value, key):
            if isinstance(value, TensorProto):
                value.name = key
                return value
            array = np.zeros(value, np.float32) if isinstance(value, (tuple, list)) else np.asarray(value)
            return numpy_helper.from_array(array, key)

        graph = helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(key, *typed(value)) for key, value in inputs.items()],
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in outputs],
            [tensor(value, key) for key, value in (weights or {}).items()],
        )
        domains = sorted({node.domain for node in nodes} - {""})
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        path = tmp_path / name
        onnx.save(helper.make_model(graph, opset_imports=imports), path)
        return path

    return save
