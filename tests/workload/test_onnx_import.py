"""Importing ONNX: the networks that the onnx wheel ships, every kind of operator, names, formats, what is skipped."""

import os
from pathlib import Path

import numpy as np
import pytest

from dse.errors import InputError
from dse.workload import load_workload
from dse.workload.model import network_text

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.workload.from_onnx.names import layer_names  # noqa: E402
from dse.workload.from_onnx.network import import_onnx, read_dims  # noqa: E402
from dse.workload.from_onnx.strip import strip_onnx  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

#: GMAC, M parameters, convolutions and matrix products; of ResNet-50, VGG-19, DenseNet-121, SqueezeNet 1.1 torchvision publishes the
#: first two (weights page, "GFLOPS" and "Num params"), of AlexNet Caffe's parameters (60,965,224, bvlc_alexnet), others are derived.
GOLDEN = {
    "bvlc_alexnet": (0.654560, 60.965224, 8),
    "densenet121": (2.834162, 7.978856, 121),
    "inception_v1": (1.431556, 6.998552, 58),
    "inception_v2": (2.018852, 11.195, 70),
    "resnet50": (4.089184, 25.557032, 54),
    "shufflenet": (0.124665, 1.3933, 50),
    "squeezenet": (0.349152, 1.235496, 26),
    "vgg19": (19.632062, 143.667240, 19),
    "zfnet512": (1.481727, 87.2505, 8),
}


def save(path, nodes, inputs, outputs=("y",), weights=None, opset=17, functions=(), domains=()):
    """A model file from nodes, input shapes by name and weight arrays by name."""
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in (
                (name, value if isinstance(value, tuple) else (TensorProto.FLOAT, value))
                for name, value in inputs.items()
            )
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    onnx.save(model, path)
    return path


def zeros(*shape):
    return np.zeros(shape, np.float32)


def only(path, **options):
    """The layers with MACs of an imported model."""
    return import_onnx(path, **options).network.mac_layers


@pytest.mark.parametrize("name", GOLDEN)
def test_light_models_of_the_onnx_wheel(name, tmp_path):
    path = LIGHT / f"light_{name}.onnx"
    gmac, millions, layers = GOLDEN[name]
    found = import_onnx(path)
    graph = onnx.load(path).graph
    assert len(found.network.mac_layers) == layers == sum(node.op_type in ("Conv", "Gemm") for node in graph.node)
    assert found.network.macs / 1e9 == pytest.approx(gmac, abs=1e-6)
    assert found.network.parameters / 1e6 == pytest.approx(millions, rel=1e-4)
    (tmp_path / "net.yaml").write_text(network_text(found.network))
    assert load_workload(tmp_path / "net.yaml").layers == found.network.layers


def test_resnet50_trains_with_2971_of_its_forward_macs_and_equals_the_shipped_file():
    net = import_onnx(LIGHT / "light_resnet50.onnx").network
    shipped = load_workload("imagenet_resnet50")
    assert sum(layer.macs * len(layer.passes) for layer in net.mac_layers) / net.macs == pytest.approx(2.971, abs=5e-4)
    assert net.macs == shipped.macs
    assert net.parameters == shipped.parameters
    shape = [(x.G, x.K, x.C, x.P, x.Q, x.R, x.S, x.stride, x.input_hw) for x in net.mac_layers]
    wanted = [(x.G, x.K, x.C, x.P, x.Q, x.R, x.S, x.stride, x.input_hw) for x in shipped.mac_layers]
    assert sorted(shape) == sorted(wanted)


def test_height_and_width_are_never_swapped(tmp_path):
    node = helper.make_node(
        "Conv", ["x", "c.weight"], ["y"], kernel_shape=[3, 5], strides=[2, 1], dilations=[1, 2], pads=[1, 4, 1, 4]
    )
    path = save(tmp_path / "m.onnx", [node], {"x": [1, 4, 20, 30]}, weights={"c.weight": zeros(8, 2, 3, 5)})
    with pytest.raises(InputError, match="1 groups of weights"):
        import_onnx(path)
    node.attribute.append(helper.make_attribute("group", 2))
    path = save(tmp_path / "m.onnx", [node], {"x": [1, 4, 20, 30]}, weights={"c.weight": zeros(8, 2, 3, 5)})
    (layer,) = only(path)
    assert (layer.name, layer.G, layer.K, layer.C, layer.P, layer.Q, layer.R, layer.S) == ("c", 2, 4, 2, 10, 30, 3, 5)
    assert (layer.stride, layer.dilation, layer.input_hw) == ((2, 1), (1, 2), (20, 30))
    assert layer.passes == ("forward", "backward_weight")


def test_convolution_over_one_axis_is_vertical(tmp_path):
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="audio", strides=[2])
    (layer,) = only(save(tmp_path / "m.onnx", [node], {"x": [1, 80, 101]}, weights={"w": zeros(16, 80, 3)}))
    assert (layer.name, layer.K, layer.C, layer.P, layer.Q, layer.R, layer.S) == ("audio", 16, 80, 50, 1, 3, 1)
    assert (layer.input_hw, layer.stride) == ((101, 1), (2, 1))


def test_transposed_convolution(tmp_path):
    """Every input element meets every weight once: N*C*H*W*K*R*S."""
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2])
    weights = {"w": zeros(6, 4, 3, 2), "b": zeros(4)}
    (layer,) = only(save(tmp_path / "m.onnx", [node], {"x": [1, 6, 5, 7]}, weights=weights))
    assert layer.macs == 6 * 5 * 7 * 4 * 3 * 2
    assert layer.transposed
    assert (layer.input_elements, layer.output_elements) == (6 * 5 * 7, 4 * 11 * 14)
    assert layer.parameters == 6 * 4 * 3 * 2 + 4


def test_gemm_and_matmul_with_weights_and_between_activations(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "q.weight"], ["q"]),
        helper.make_node("MatMul", ["x", "k.weight"], ["k"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"], name="scores"),
        helper.make_node("Softmax", ["s"], ["a"], name="soft"),
        helper.make_node("MatMul", ["a", "x"], ["c"], name="context"),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    weights = {"q.weight": zeros(16, 24), "k.weight": zeros(16, 24), "fc.weight": zeros(10, 16), "fc.bias": zeros(10)}
    found = import_onnx(save(tmp_path / "m.onnx", nodes, {"x": [4, 12, 16]}, weights=weights))
    net = found.network
    layers = {layer.name: layer for layer in net.layers}
    assert net.batch == 4
    assert (layers["q"].N, layers["q"].K, layers["q"].C) == (12, 24, 16)
    assert layers["q"].passes == ("forward", "backward_weight")
    assert layers["scores"].kind == "matmul"
    assert (layers["scores"].G, layers["scores"].N, layers["scores"].K, layers["scores"].C) == (1, 12, 12, 24)
    assert layers["scores"].passes == ("forward", "backward_data", "backward_weight")
    # The context multiplies with the input itself, which needs no error: one backward pass.
    assert layers["context"].passes == ("forward", "backward_data")
    assert (layers["fc"].N, layers["fc"].parameters) == (1, 170)
    assert layers["soft"].output_elements == 144
    assert layers["scores"].parameters == 0
    assert [(item.operator, item.macs_share) for item in found.skipped] == [("Transpose", 0.0)]


def test_attention_operator_with_grouped_queries_and_a_cache(tmp_path):
    """32 query heads on 8 key heads: the four queries of a key head are rows of one product."""
    node = helper.make_node(
        "Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], name="attn", q_num_heads=32, kv_num_heads=8
    )
    inputs = {"q": [1, 1, 4096], "k": [1, 1, 1024], "v": [1, 1, 1024], "pk": [1, 8, 2047, 128], "pv": [1, 8, 2047, 128]}
    net = import_onnx(save(tmp_path / "m.onnx", [node], inputs, opset=23)).network
    scores, context = net.mac_layers
    assert (scores.G, scores.N, scores.K, scores.C, scores.cached) == (8, 4, 2048, 128, True)
    assert (context.G, context.N, context.K, context.C) == (8, 4, 128, 2048)
    assert scores.second_elements == 2048 * 1024
    assert net.macs == 2 * 32 * 2048 * 128


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_recurrent_layers(kind, gates, tmp_path):
    node = helper.make_node(kind, ["x", "w", "r"], ["y"], name="rnn", hidden_size=32)
    weights = {"w": zeros(1, gates * 32, 20), "r": zeros(1, gates * 32, 32)}
    net = import_onnx(save(tmp_path / "m.onnx", [node], {"x": [50, 2, 20]}, weights=weights)).network
    product, recurrent = net.mac_layers
    assert net.batch == 2
    assert product.macs == 50 * gates * 32 * 20
    assert recurrent.macs == 50 * gates * 32 * 32
    assert (recurrent.repeats, recurrent.N) == (50, 1)
    assert net.parameters == gates * 32 * (20 + 32)


def test_einsum_is_a_batched_product(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Einsum", ["a", "z"], ["y"], name="e", equation="bhid,bhjd->bhij"),
    ]
    (layer,) = only(save(tmp_path / "m.onnx", nodes, {"x": [2, 4, 6, 8], "z": [2, 4, 5, 8]}))
    assert (layer.kind, layer.G, layer.N, layer.K, layer.C) == ("matmul", 4, 6, 5, 8)


@pytest.mark.parametrize(
    ("equation", "left", "right", "bounds"),
    [
        ("...id,...jd->...ij", [2, 3, 4, 6, 8], [2, 3, 4, 5, 8], ("matmul", 12, 6, 5, 8)),
        ("bid,bjd", [2, 6, 8], [2, 5, 8], ("matmul", 1, 12, 40, 1)),
        ("bhid,bkjd->bhij", [2, 4, 6, 8], [2, 1, 5, 8], ("matmul", 1, 24, 5, 8)),
        ("bqs,bk->bqk", [2, 6, 7], [2, 5], ("matmul", 1, 6, 5, 1)),
        ("btd,edh->beth", [2, 6, 8], (4, 8, 3), ("fc", 1, 6, 12, 8)),
        ("beth,ehd->betd", [2, 4, 6, 3], (4, 3, 8), ("fc", 4, 6, 8, 3)),
    ],
)
def test_forms_of_einsum(equation, left, right, bounds, tmp_path):
    """A label that neither operand shares with the result is summed before; an implied result keeps what occurs once."""
    learned = isinstance(right, tuple)
    node = helper.make_node("Einsum", ["x", "z"], ["y"], name="e", equation=equation)
    inputs = {"x": left} if learned else {"x": left, "z": right}
    path = save(tmp_path / "m.onnx", [node], inputs, weights={"z": zeros(*right)} if learned else {})
    (layer,) = only(path)
    if "->" in equation:
        assert (layer.kind, layer.G, layer.N, layer.K, layer.C) == bounds
    else:
        # i, j and the two d are summed or kept: the implied result is ij, over all of b and d.
        assert layer.macs * 2 == 2 * 6 * 5 * 8


@pytest.mark.parametrize(
    ("left", "right", "macs"),
    [
        ([2, 4, 6, 8], [2, 1, 8, 5], 4 * 6 * 8 * 5),
        ([2, 1, 6, 8], [2, 4, 8, 5], 4 * 6 * 8 * 5),
        ([2, 3, 1, 6, 8], [2, 1, 4, 8, 5], 12 * 6 * 8 * 5),
        ([2, 1, 6, 8], (4, 8, 5), 4 * 6 * 8 * 5),
        ([2, 6, 8], (8,), 6 * 8),
    ],
)
def test_matmul_broadcasts_leading_axes_of_either_side(left, right, macs, tmp_path):
    learned = isinstance(right, tuple)
    node = helper.make_node("MatMul", ["x", "z"], ["y"], name="m")
    inputs = {"x": left} if learned else {"x": left, "z": right}
    (layer,) = only(save(tmp_path / "m.onnx", [node], inputs, weights={"z": zeros(*right)} if learned else {}))
    assert layer.macs == macs
    assert layer.parameters == (np.prod(right) if learned else 0)


def test_biases_and_tables_that_are_sums_are_parameters(tmp_path):
    """The sum after a product is its bias, positions are a table, a mask that all heads share is nothing learned."""
    nodes = [
        helper.make_node("MatMul", ["x", "q.weight"], ["q"]),
        helper.make_node("Add", ["q.bias", "q"], ["h"], name="q/Add"),
        helper.make_node("Add", ["h", "positions"], ["p"], name="sum"),
        helper.make_node("Transpose", ["p"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["p", "t"], ["s"], name="scores"),
        helper.make_node("Add", ["s", "mask"], ["m"], name="masked"),
        helper.make_node("Softmax", ["m"], ["a"], name="soft"),
        helper.make_node("Unsqueeze", ["a", "axes"], ["u"]),
        helper.make_node("Conv", ["u", "c.weight"], ["c"]),
        helper.make_node("Add", ["c", "shift"], ["y"], name="c/Add"),
    ]
    weights = {
        "q.weight": zeros(16, 24),
        "q.bias": zeros(24),
        "positions": zeros(1, 12, 24),
        "mask": zeros(1, 12, 12),
        "axes": np.array([1]),
        "c.weight": zeros(8, 1, 3, 3),
        "shift": zeros(8, 1, 1),
    }
    path = save(tmp_path / "m.onnx", nodes, {"x": [4, 12, 16]}, weights=weights)
    net = import_onnx(path).network
    layers = {layer.name: layer for layer in net.layers}
    assert list(layers) == ["q", "positions", "sum", "scores", "masked", "soft", "c"]
    assert layers["q"].parameters == 16 * 24 + 24
    assert (layers["positions"].kind, layers["positions"].parameters) == ("embedding", 12 * 24)
    assert layers["c"].parameters == 8 * 9 + 8
    assert net.parameters == sum(weights[name].size for name in weights if name not in ("mask", "axes"))
    strip_onnx(path, tmp_path / "s.onnx")
    assert import_onnx(tmp_path / "s.onnx").network.layers == net.layers


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_operator_set_from_7_on(opset, tmp_path):
    """A convolution, a reshape, a linear layer and a product of two activations say the same in all of them."""
    nodes = [
        helper.make_node("Conv", ["x", "c.weight", "c.bias"], ["c"], strides=[2, 1], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("Reshape", ["r", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "fc.weight"], ["m"]),
        helper.make_node("Transpose", ["m"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["m", "t"], ["s"], name="scores"),
        helper.make_node("Softmax", ["s"], ["y"], name="soft"),
    ]
    weights = {
        "c.weight": zeros(8, 3, 3, 3),
        "c.bias": zeros(8),
        "shape": np.array([0, 8, -1]),
        "fc.weight": zeros(40, 6),
    }
    net = import_onnx(save(tmp_path / "m.onnx", nodes, {"x": [2, 3, 10, 8]}, weights=weights, opset=opset)).network
    assert [(layer.name, layer.macs) for layer in net.mac_layers] == [
        ("c", 8 * 27 * 40),
        ("fc", 8 * 40 * 6),
        ("scores", 8 * 8 * 6),
    ]


def test_of_a_condition_the_larger_branch_is_taken(tmp_path):
    def branch(name, weights):
        nodes = [
            helper.make_node("MatMul", [name + str(i) if i else "x", w], [f"{name}{i + 1}"], name=w)
            for i, w in enumerate(weights)
        ]
        made = helper.make_tensor_value_info(f"{name}{len(weights)}", TensorProto.FLOAT, [4, 8])
        inner = [numpy_helper.from_array(zeros(8, 8), w) for w in weights]
        return helper.make_graph(nodes, name, [], [made], inner)

    nodes = [
        helper.make_node("If", ["c"], ["i"], then_branch=branch("t", ["w1"]), else_branch=branch("e", ["w2", "w3"])),
        helper.make_node("MatMul", ["i", "head"], ["y"], name="head"),
    ]
    inputs = {"x": [4, 8], "c": (TensorProto.BOOL, [])}
    found = import_onnx(save(tmp_path / "m.onnx", nodes, inputs, weights={"head": zeros(8, 2)}))
    assert [(layer.name, layer.macs) for layer in found.network.mac_layers] == [("w2", 64), ("w3", 64), ("head", 16)]
    assert found.network.parameters == 64 + 64 + 16
    assert not found.skipped


def test_embedding_and_norms(tmp_path):
    nodes = [
        helper.make_node("Gather", ["wte.weight", "ids"], ["e"]),
        helper.make_node("LayerNormalization", ["e", "ln.weight", "ln.bias"], ["n"]),
        helper.make_node("MatMul", ["n", "t"], ["y"], name="head"),
    ]
    weights = {"wte.weight": zeros(100, 16), "ln.weight": zeros(16), "ln.bias": zeros(16), "t": zeros(16, 100)}
    net = import_onnx(save(tmp_path / "m.onnx", nodes, {"ids": (TensorProto.INT64, [1, 9])}, weights=weights)).network
    layers = {layer.name: layer for layer in net.layers}
    assert (layers["wte"].kind, layers["wte"].output_elements, layers["wte"].parameters) == ("embedding", 144, 1600)
    assert (layers["ln"].kind, layers["ln"].parameters) == ("layernorm", 32)
    assert layers["head"].passes == ("forward", "backward_data", "backward_weight")


def test_open_dimensions_are_given_by_name_and_the_batch_is_one(tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    path = save(tmp_path / "m.onnx", [node], {"x": ["batch", "sequence", 16]}, weights={"w": zeros(16, 4)})
    with pytest.raises(InputError, match=r"axis 1 is open; give its size with --dim 'sequence=VALUE'"):
        import_onnx(path)
    with pytest.raises(InputError, match="no such dimension; did you mean 'sequence'"):
        import_onnx(path, dims={"sequense": 3, "sequence": 3})
    found = import_onnx(path, dims=read_dims(["sequence=7"]), batch=32)
    assert (found.network.batch, found.network.mac_layers[0].N) == (32, 7)
    assert import_onnx(path, dims={"sequence": 7, "batch": 5}).network.mac_layers[0].N == 7
    with pytest.raises(InputError, match="NAME=VALUE"):
        read_dims(["sequence"])


def test_shapes_that_are_computed_in_the_graph(tmp_path):
    """A reshape to (batch, channels * height * width) from the shape of its input, as exporters write it."""
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["h"]),
        helper.make_node("Shape", ["h"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Slice", ["s", "one", "four"], ["rest"]),
        helper.make_node("ReduceProd", ["rest"], ["size"], keepdims=1),
        helper.make_node("Concat", ["n", "size"], ["shape"], axis=0),
        helper.make_node("Reshape", ["h", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    weights = {
        "c.weight": zeros(8, 3, 3, 3),
        "fc.weight": zeros(10, 8 * 36),
        "zero": np.array([0]),
        "one": np.array([1]),
        "four": np.array([4]),
    }
    conv, fc = only(save(tmp_path / "m.onnx", nodes, {"x": ["n", 3, 8, 8]}, weights=weights))
    assert (fc.name, fc.C, fc.K, fc.N) == ("fc", 288, 10, 1)
    assert conv.P == 6


def test_quantized_model_gives_the_formats_of_its_layers(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
        helper.make_node("DequantizeLinear", ["c.weight", "sw", "zw"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "d.weight"], ["y"]),
    ]
    weights = {
        "sx": np.float32(0.1), "zx": np.uint8(3), "sw": np.ones(8, np.float32), "zw": np.zeros(8, np.int8),
        "c.weight": np.zeros((8, 3, 3, 3), np.int8), "d.weight": zeros(4, 8, 1, 1),
    }  # fmt: skip
    found = import_onnx(save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 8]}, weights=weights))
    assert found.formats == {"c": ("int8:channel", "uint8"), "d": ("fp32", "fp32")}
    assert found.network.mac_layers[0].macs == 8 * 36 * 27


def test_operators_that_are_skipped_are_named_with_their_shares(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="four axes"),
        helper.make_node("Flatten", ["h"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], name="head"),
    ]
    weights = {"w": zeros(2, 1, 3, 3, 3, 1), "g": zeros(16, 27)}
    found = import_onnx(save(tmp_path / "m.onnx", nodes, {"x": [1, 1, 4, 4, 4, 1]}, weights=weights))
    (skipped,) = found.skipped
    assert (skipped.operator, skipped.count) == ("Conv", 1)
    assert skipped.macs_share == pytest.approx(16 * 27 / (16 * 27 + 16 * 27))
    assert 0 < skipped.traffic_share < 1


def test_names_are_unique_and_shared_with_profiles(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "a.weight"], ["h"]),
        helper.make_node("MatMul", ["h", "a.weight"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4]}, weights={"a.weight": zeros(4, 4), "w": zeros(4, 4)})
    assert layer_names(onnx.load(path).graph) == ["a", "a_2", "MatMul_2"]
    layers = only(path)
    assert [layer.name for layer in layers] == ["a", "a_2", "MatMul_2"]
    assert sum(layer.parameters for layer in layers) == 32


def test_stripped_copy_imports_alike_without_the_weights(tmp_path):
    node = helper.make_node("Conv", ["x", "c.weight"], ["h"])
    nodes = [node, helper.make_node("MatMul", ["h", "w"], ["y"])]
    weights = {"c.weight": zeros(64, 3, 3, 3), "w": np.zeros((30, 4096), np.float32)}
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 32, 32]}, weights=weights)
    strip_onnx(path, tmp_path / "s.onnx")
    assert os.path.getsize(tmp_path / "s.onnx") < 2000 < os.path.getsize(path)
    assert import_onnx(tmp_path / "s.onnx").network.layers == import_onnx(path).network.layers


def test_external_data_are_not_read(tmp_path):
    """The file with the weights does not even exist."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    path = save(tmp_path / "m.onnx", [node], {"x": [1, 8]}, weights={"w": zeros(8, 4)})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [8, 1_000_000]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    path.write_bytes(model.SerializeToString())
    assert import_onnx(path).network.parameters == 8_000_000


def test_operators_of_onnxruntime_in_a_language_model(tmp_path):
    """One block as onnxruntime's model builder writes it: packed 4-bit weights, grouped queries, a cache, norms with sums."""
    ms = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("Gather", ["embed.weight", "ids"], ["e"]),
        helper.make_node("SimplifiedLayerNormalization", ["e", "n0.weight"], ["n0"], axis=-1),
        helper.make_node("MatMulNBits", ["n0", "qkv_q4", "qkv_s"], ["qkv"], name="qkv", K=64, N=128, bits=4, block_size=32, **ms),
        helper.make_node(
            "GroupQueryAttention", ["qkv", "", "", "pk", "pv", "len", "total"], ["a", "nk", "nv"], name="attn",
            num_heads=4, kv_num_heads=2, **ms,
        ),
        helper.make_node("MatMulNBits", ["a", "o_q4", "o_s"], ["o"], name="o", K=64, N=64, bits=4, block_size=32, **ms),
        helper.make_node("SkipSimplifiedLayerNormalization", ["e", "o", "n1.weight"], ["n1", "", "", "sum"], name="n1", **ms),
        helper.make_node("MatMul", ["n1", "head"], ["h"], name="head"),
        helper.make_node("Add", ["h", "bias"], ["y"], name="add"),
    ]  # fmt: skip
    weights = {
        "embed.weight": zeros(50, 64), "n0.weight": zeros(64), "n1.weight": zeros(64), "head": zeros(64, 50), "bias": zeros(50),
        "qkv_q4": np.zeros((128, 2, 16), np.uint8), "qkv_s": zeros(256), "o_q4": np.zeros((64, 2, 16), np.uint8), "o_s": zeros(128),
        "len": np.zeros(1, np.int32), "total": np.zeros(1, np.int32),
    }  # fmt: skip
    past = ["batch", 2, "past", 16]
    inputs = {"ids": (TensorProto.INT64, ["batch", "seq"]), "pk": past, "pv": past}
    path = save(tmp_path / "m.onnx", nodes, inputs, weights=weights, domains=["com.microsoft"])
    found = import_onnx(path, dims={"seq": 3, "past": 5})
    layers = {layer.name: layer for layer in found.network.layers}
    assert [layer.name for layer in found.network.mac_layers] == ["qkv", "attn.scores", "attn.context", "o", "head"]
    assert (layers["qkv"].N, layers["qkv"].K, layers["qkv"].C) == (3, 128, 64)
    scores = layers["attn.scores"]
    assert (scores.G, scores.N, scores.K, scores.C, scores.cached) == (2, 6, 8, 16, True)
    assert (layers["n1"].kind, layers["n1.add"].kind) == ("layernorm", "add")
    assert found.formats["qkv"] == ("int4:vector32s32", "fp32")
    assert not found.skipped


def test_the_command_writes_workload_plan_and_stripped_copy_that_load_back(tmp_path):
    from typer.testing import CliRunner

    from dse.cli import app
    from dse.precision import Plan

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["fc.weight", "sw"], ["wd"], axis=0),
        helper.make_node("Gemm", ["xd", "wd"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "out.weight"], ["y"], transB=1),
    ]
    weights = {
        "s": np.float32(0.1), "z": np.uint8(3), "sw": np.ones(32, np.float32), "fc.weight": np.zeros((32, 16), np.int8),
        "out.weight": zeros(4, 32),
    }  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", 16]}, weights=weights)
    out = {key: tmp_path / name for key, name in (("-o", "net.yaml"), ("--plan", "plan.yaml"), ("--strip", "s.onnx"))}
    arguments = [str(item) for pair in out.items() for item in pair]
    result = CliRunner().invoke(app, ["import", str(path), "--batch", "8", *arguments])
    assert result.exit_code == 0, result.output
    net = load_workload(out["-o"])
    assert (net.batch, net.macs) == (8, 32 * 16 + 4 * 32)
    plan = Plan.load(out["--plan"], net)
    first, _, last = (net.layers.index(layer) for layer in net.layers)
    assert (str(plan.cells("weight")[first].name), str(plan.cells("activation")[first].name)) == (
        "int8:channel",
        "uint8",
    )
    assert plan.cells("weight")[last].name == "fp32"
    assert import_onnx(out["--strip"]).formats == import_onnx(path).formats
