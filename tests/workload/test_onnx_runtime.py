"""Models that onnxruntime quantized or optimized: the same layers, names and totals as the model they were made from."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402

RANDOM = np.random.default_rng(0)


def save(path, nodes, inputs, weights, opset=17):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def values(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def photo_model(path):
    """Convolutions with a sum, a sigmoid, a concatenation and two pools between them, and two linear layers."""
    nodes = [
        helper.make_node("Conv", ["x", "a.weight", "a.bias"], ["a"], pads=[1, 1, 1, 1], name="a"),
        helper.make_node("Relu", ["a"], ["r"], name="r"),
        helper.make_node("Conv", ["r", "b.weight"], ["b"], pads=[1, 1, 1, 1], group=8, name="b"),
        helper.make_node("Sigmoid", ["b"], ["s"], name="s"),
        helper.make_node("Add", ["r", "s"], ["t"], name="t"),
        helper.make_node("Concat", ["t", "r"], ["u"], axis=1, name="u"),
        helper.make_node("AveragePool", ["u"], ["v"], kernel_shape=[2, 2], strides=[2, 2], name="v"),
        helper.make_node("Conv", ["v", "c.weight"], ["c"], name="c"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="p"),
        helper.make_node("Flatten", ["p"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "g.weight", "g.bias"], ["g"], transB=1, name="g"),
        helper.make_node("Mul", ["g", "g"], ["m"], name="m"),
        helper.make_node("MatMul", ["m", "h.weight"], ["h"], name="h"),
        helper.make_node("Add", ["h", "h.bias"], ["y"], name="y"),
    ]
    weights = {
        "a.weight": values(8, 3, 3, 3),
        "a.bias": values(8),
        "b.weight": values(8, 1, 3, 3),
        "c.weight": values(12, 16, 1, 1),
        "g.weight": values(10, 12),
        "g.bias": values(10),
        "h.weight": values(10, 6),
        "h.bias": values(6),
    }
    return save(path, nodes, {"x": (TensorProto.FLOAT, [1, 3, 16, 24])}, weights)


def made_by_onnxruntime(how, path, out):
    quantization = pytest.importorskip("onnxruntime.quantization")
    if how == "optimized":
        runtime = pytest.importorskip("onnxruntime")
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(out)
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return
    if how == "dynamic":
        quantization.quantize_dynamic(path, out)
        return

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": values(1, 3, 16, 24)}] * 2

        def get_next(self):
            return self.left.pop() if self.left else None

    layout, _, channel = how.partition(" ")
    quantization.quantize_static(
        path, out, Reader(), quant_format=quantization.QuantFormat[layout], per_channel=bool(channel)
    )


@pytest.mark.parametrize(
    "how", ["QDQ", "QDQ per channel", "QOperator", "QOperator per channel", "dynamic", "optimized"]
)
def test_layers_are_those_of_the_float_model(how, tmp_path):
    path = photo_model(tmp_path / "float.onnx")
    made_by_onnxruntime(how, path, tmp_path / "made.onnx")
    plain, found = import_onnx(path).network, import_onnx(tmp_path / "made.onnx")
    # Dynamic quantization makes a product of its own, with a name of its own, of a Gemm.
    names = ["a", "b", "c", "g_MatMul_quant" if how == "dynamic" else "g", "h"]
    assert [layer.name for layer in found.network.mac_layers] == names
    assert [layer.dims for layer in found.network.mac_layers] == [layer.dims for layer in plain.mac_layers]
    # Dynamic quantization adds the bias of a convolution after a scaling of its sums, where it is no bias of a layer any more.
    assert found.network.parameters == plain.parameters - (8 if how == "dynamic" else 0)
    if how == "optimized":
        assert not found.formats
    else:
        channel = ":channel" if "per channel" in how else ""
        products = {found.formats[name] for name in ("a", "b", "c")}
        assert {activation for _, activation in products} == {"uint8" if how == "dynamic" else "int8"}
        assert {weight.replace("u", "") for weight, _ in products} == {f"int8{channel}"}
    assert {item.operator for item in found.skipped} <= {"Concat"}


def test_a_fused_encoder_of_bert(tmp_path):
    """As the optimizer for transformers writes it: embeddings and norm in one, projection and attention in one, sums in norms."""
    ms = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization",
            ["ids", "kinds", "words", "places", "segments", "n0", "n0b"],
            ["e", "mask"],
            name="embed",
            **ms,
        ),
        helper.make_node("Attention", ["e", "w_qkv", "qkv.bias", "mask"], ["a"], name="attn", num_heads=4, **ms),
        helper.make_node("FusedMatMul", ["a", "o.weight"], ["o"], name="o", transB=1, alpha=1.0, **ms),
        helper.make_node("SkipLayerNormalization", ["o", "e", "n1", "n1b"], ["n"], name="n1", **ms),
        helper.make_node("FusedMatMul", ["n", "n"], ["s"], name="self", transB=1, **ms),
        helper.make_node("Identity", ["s"], ["y"]),
    ]
    weights = {
        "words": values(50, 32), "places": values(16, 32), "segments": values(2, 32), "n0": values(32), "n0b": values(32),
        "w_qkv": values(32, 96), "qkv.bias": values(96), "o.weight": values(32, 32), "n1": values(32), "n1b": values(32),
    }  # fmt: skip
    inputs = {name: (TensorProto.INT32, ["batch", 7]) for name in ("ids", "kinds")}
    found = import_onnx(save(tmp_path / "m.onnx", nodes, inputs, weights))
    macs = {layer.name: layer.macs for layer in found.network.mac_layers}
    assert macs == {
        "attn.in_proj": 7 * 32 * 96, "attn.scores": 7 * 7 * 32, "attn.context": 7 * 7 * 32, "o": 7 * 32 * 32, "self": 7 * 7 * 32
    }  # fmt: skip
    assert found.network.parameters == sum(value.size for value in weights.values())
    by_name = {layer.name: layer for layer in found.network.layers}
    assert by_name["attn.scores"].passes == ("forward", "backward_data", "backward_weight")
    assert by_name["embed.word"].kind == "embedding"
    assert not found.skipped


def test_a_dynamically_quantized_lstm(tmp_path):
    node = helper.make_node(
        "DynamicQuantizeLSTM", ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"], ["y"],
        name="lstm", domain="com.microsoft", hidden_size=6,
    )  # fmt: skip
    weights = {
        "w": np.zeros((1, 4, 24), np.int8), "r": np.zeros((1, 6, 24), np.int8), "b": values(1, 48),
        "ws": values(1), "wz": np.zeros(1, np.int8), "rs": values(1), "rz": np.zeros(1, np.int8),
    }  # fmt: skip
    found = import_onnx(save(tmp_path / "m.onnx", [node], {"x": (TensorProto.FLOAT, [5, 2, 4])}, weights))
    assert found.network.batch == 2
    assert found.network.macs == 5 * 24 * (4 + 6)
    assert {pair[0] for pair in found.formats.values()} == {"int8"}
