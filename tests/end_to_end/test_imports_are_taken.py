"""Whatever importing and tracing write, showing and evaluating take: every operator of the tables, every kind of module."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.report.tables.network import network_tables
from dse.workload.load import network_from_document
from dse.workload.model import Network, network_text
from dse.workload.work.statistics import network_statistics
from dse.yaml_input import parse_yaml

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.workload.from_onnx.graph.rewrite import WRITTEN_OUT  # noqa: E402
from dse.workload.from_onnx.network import import_onnx  # noqa: E402
from dse.workload.from_onnx.operators.contrib import CONTRIBUTED  # noqa: E402
from dse.workload.from_onnx.operators.table import HANDLERS  # noqa: E402

MS = "com.microsoft"
#: It has few mappings, which are soon found.
HARDWARE = "tpu_like"
FLOATS, INTS = TensorProto.FLOAT, TensorProto.INT64


def zeros(*shape, kind=np.float32):
    return np.zeros(shape, kind)


class Model:
    """An operator on what a product has made, so that it has a backward pass, beside a product of its own."""

    def __init__(self, kind, inputs=("x",), weights=None, shape=(2, 4, 6, 6), *, opset=17, domain="", outputs=("h",), typed=FLOATS, **flags):
        self.weights, self.opset, self.domain, self.shape, self.typed = weights or {}, opset, domain, shape, typed
        learned = typed == FLOATS
        names = ["made" if learned and name == "x" else name for name in inputs]
        flags = {key: value for key, value in flags.items() if value is not None}
        self.node = helper.make_node(kind, names, list(outputs), name="op", domain=domain, **flags)
        self.before = [helper.make_node("MatMul", ["x", "first"], ["made"], name="first")] * learned

    def save(self, path):
        nodes = [*self.before, self.node, helper.make_node("MatMul", ["other", "last"], ["y"], name="last")]
        weights = {"first": zeros(self.shape[-1], self.shape[-1]), "last": zeros(3, 2), **self.weights}
        inputs = {"x": (self.typed, self.shape), "other": (FLOATS, (2, 3))}
        given = [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()]
        made = [helper.make_tensor_value_info("y", FLOATS, None)]
        tensors = [numpy_helper.from_array(value, key) for key, value in weights.items()]
        imports = [helper.make_opsetid("", self.opset), *([helper.make_opsetid(self.domain, 1)] if self.domain else [])]
        onnx.save(helper.make_model(helper.make_graph(nodes, "g", given, made, tensors), opset_imports=imports), path)


IMAGE = (2, 4, 6, 6)
TOKENS = (2, 5, 16)


def image(kind, *inputs, weights=None, **flags):
    return Model(kind, ("x", *inputs), weights, IMAGE, **flags)


def tokens(kind, *inputs, weights=None, **flags):
    return Model(kind, ("x", *inputs), weights, TOKENS, **flags)


Q = {"s": np.float32(0.1), "z": np.uint8(0)}
UNARY = (
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "ThresholdedRelu",
    "Clip", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Mish", "IsNaN", "IsInf",
    "Softmax", "LogSoftmax", "Hardmax", "LRN", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "ReduceMean", "ReduceSum", "ReduceMax",
    "ReduceMin", "ReduceL2", "ArgMax", "ArgMin", "LpNormalization", "MeanVarianceNormalization",
)  # fmt: skip
BINARY = ("Add", "Sub", "Sum", "Mean", "Mul", "Div", "Max", "Min", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mod", "Pow")
#: Flags of those that need some.
FLAGS = {"LRN": {"size": 3}, "Mod": {"fmod": 1}, "Mish": {"opset": 18}, "ReduceSum": {"keepdims": 1}}
RNN = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(kind, directions=1, layout=0, steps=2, **extra):
    gates = RNN[kind]
    weights = {
        "w": zeros(directions, 6 * gates, 16), "u": zeros(directions, 6 * gates, 6), "b": zeros(directions, 12 * gates), **extra,
    }  # fmt: skip
    direction = "bidirectional" if directions == 2 else "forward"
    inputs = ["w", "u", "b"] + (["", "", "", "p"] if "p" in extra else [])
    shape = (2, 5, 16) if layout else (steps, 5, 16)
    return Model(kind, ("x", *inputs), weights, shape, hidden_size=6, direction=direction, layout=layout or None)


MODELS = {
    **{kind: image(kind, **FLAGS.get(kind, {})) for kind in UNARY},
    **{kind: image(kind, "x", **FLAGS.get(kind, {})) for kind in BINARY},
    "Swish": image("Swish", opset=24),
    "Gelu": image("Gelu", opset=20),
    "Not": Model("Not", typed=TensorProto.BOOL),
    "And": Model("And", ("x", "x"), typed=TensorProto.BOOL),
    "Or": Model("Or", ("x", "x"), typed=TensorProto.BOOL),
    "Where": Model("Where", ("c", "x", "x"), {"c": np.array(True)}),
    "PRelu": image("PRelu", "p", weights={"p": zeros(4, 1, 1)}),
    "BatchNormalization": image("BatchNormalization", "a", "a", "a", "a", weights={"a": zeros(4)}),
    "LayerNormalization": image("LayerNormalization", "a", "a", weights={"a": zeros(6)}),
    "RMSNormalization": image("RMSNormalization", "a", weights={"a": zeros(6)}, opset=23),
    "GroupNormalization": image("GroupNormalization", "a", "a", weights={"a": zeros(4)}, opset=21, num_groups=2),
    "InstanceNormalization": image("InstanceNormalization", "a", "a", weights={"a": zeros(4)}),
    "SimplifiedLayerNormalization": image("SimplifiedLayerNormalization", "a", weights={"a": zeros(6)}),
    "MaxPool": image("MaxPool", kernel_shape=[3, 2], strides=[2, 1]),
    "AveragePool": image("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
    "LpPool": image("LpPool", kernel_shape=[2, 2]),
    "TopK": image("TopK", "k", weights={"k": np.array([2])}, outputs=("h", "i")),
    "Resize": image("Resize", "", "k", weights={"k": np.array([1, 1, 2, 3], np.float32)}),
    "Upsample": image("Upsample", "k", weights={"k": np.array([1, 1, 2, 2], np.float32)}, opset=9),
    "Gather": Model("Gather", ("t", "x"), {"t": zeros(9, 16)}, (2, 5), typed=INTS),
    "RotaryEmbedding": image("RotaryEmbedding", "cos", "cos", "at", opset=23,
                             weights={"cos": zeros(9, 3), "at": zeros(2, 6, kind=np.int64)}),
    "Conv": image("Conv", "w", "b", weights={"w": zeros(8, 2, 3, 2), "b": zeros(8)}, group=2, strides=[2, 1]),
    "Conv of one axis": tokens("Conv", "w", weights={"w": zeros(8, 5, 3)}, dilations=[2]),
    "Conv of three axes": Model("Conv", ("x", "w"), {"w": zeros(8, 4, 3, 2, 2)}, (2, 4, 5, 6, 6), strides=[1, 2, 1]),
    "ConvTranspose": image("ConvTranspose", "w", "b", weights={"w": zeros(4, 3, 2, 2), "b": zeros(6)}, group=2, strides=[2, 2]),
    "ConvTranspose of three axes": Model("ConvTranspose", ("x", "w"), {"w": zeros(4, 3, 2, 2, 2)}, (2, 4, 5, 6, 6)),
    "DeformConv": image("DeformConv", "w", "o", weights={"w": zeros(8, 4, 3, 3), "o": zeros(2, 18, 4, 4)}, opset=19),
    "ConvInteger": Model("ConvInteger", ("x", "w"), {"w": zeros(8, 4, 3, 3, kind=np.uint8)}, typed=TensorProto.UINT8),
    "MatMulInteger": Model("MatMulInteger", ("x", "w"), {"w": zeros(6, 5, kind=np.uint8)}, typed=TensorProto.UINT8),
    "Gemm": Model("Gemm", ("x", "w", "b"), {"w": zeros(6, 5), "b": zeros(5)}, (4, 6)),
    "Gemm with constant rows": Model("Gemm", ("w", "x", "b"), {"w": zeros(5, 4), "b": zeros(5, 1)}, (4, 6)),
    "Gemm with a sum": Model("Gemm", ("x", "x", "x"), {}, (6, 6)),
    "MatMul": image("MatMul", "x"),
    "MatMul with constant rows": Model("MatMul", ("w", "x"), {"w": zeros(3, 5)}, TOKENS),
    "Einsum": tokens("Einsum", "x", equation="bid,bjd->bij"),
    **{kind: recurrent(kind) for kind in RNN},
    "LSTM both ways": recurrent("LSTM", directions=2),
    "GRU batch first": recurrent("GRU", layout=1),
    "RNN of one step": recurrent("RNN", steps=1),
    "LSTM with peepholes": recurrent("LSTM", p=zeros(1, 18)),
    "Attention": tokens("Attention", "x", "x", opset=23, q_num_heads=4, kv_num_heads=4, is_causal=1),
    "Attention of onnxruntime": tokens("Attention", "w", "b", weights={"w": zeros(16, 48), "b": zeros(48)}, domain=MS, num_heads=4),
    "QAttention": tokens("QAttention", "w", "b", "s", "s", weights={"w": zeros(16, 48, kind=np.uint8), "b": zeros(48), **Q},
                         domain=MS, num_heads=4),
    "MultiHeadAttention": tokens("MultiHeadAttention", "x", "x", domain=MS, num_heads=4),
    "GroupQueryAttention": tokens("GroupQueryAttention", "k", "k", "", "", "n", "n", domain=MS, num_heads=4, kv_num_heads=2,
                                  local_window_size=2, weights={"k": zeros(2, 5, 8), "n": zeros(1, kind=np.int32)}),
    "MatMulNBits": tokens("MatMulNBits", "w", "s", weights={"w": zeros(8, 1, 8, kind=np.uint8), "s": zeros(8)}, domain=MS, K=16, N=8,
                          bits=4, block_size=16),
    "MatMulBnb4": tokens("MatMulBnb4", "w", "s", weights={"w": zeros(64, kind=np.uint8), "s": zeros(8)}, domain=MS, K=16, N=8,
                         block_size=16, quant_type=1),
    "MatMulIntegerToFloat": Model("MatMulIntegerToFloat", ("x", "w", "s", "s"), {"w": zeros(6, 5, kind=np.uint8), **Q}, domain=MS,
                                  typed=TensorProto.UINT8),
    "DynamicQuantizeMatMul": image("DynamicQuantizeMatMul", "w", "s", weights={"w": zeros(6, 5, kind=np.uint8), **Q}, domain=MS),
    **{kind: image(kind, domain=MS) for kind in ("FastGelu", "QuickGelu")},
    "BiasGelu": image("BiasGelu", "a", weights={"a": zeros(6)}, domain=MS),
    **{kind: tokens(kind, "x", "a", weights={"a": zeros(16)}, domain=MS)
       for kind in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")},
    **{kind: Model(kind, ("x", "s", "z", "x", "s", "z", "s", "z"), Q, domain=MS, typed=TensorProto.UINT8)
       for kind in ("QLinearAdd", "QLinearMul")},
    **{kind: Model(kind, ("x", "s", "z", "s", "z"), Q, domain=MS, typed=TensorProto.UINT8)
       for kind in ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearGlobalAveragePool", "QLinearReduceMean")},
    "QLinearAveragePool": Model("QLinearAveragePool", ("x", "s", "z", "s", "z"), Q, domain=MS, typed=TensorProto.UINT8, kernel_shape=[2, 2]),
    "QLinearSoftmax": Model("QLinearSoftmax", ("x", "s", "z", "s", "z"), Q, domain=MS, typed=TensorProto.UINT8, opset=13),
    "QLinearConcat": Model("QLinearConcat", ("s", "z", "x", "s", "z", "x", "s", "z"), Q, domain=MS, typed=TensorProto.UINT8, axis=1),
    "QGemm": Model("QGemm", ("x", "s", "z", "w", "s", "z", "b", "s", "z"), {"w": zeros(6, 5, kind=np.uint8), "b": zeros(5, kind=np.int32), **Q},
                   (4, 6), domain=MS, typed=TensorProto.UINT8),
    "QLinearConv": Model("QLinearConv", ("x", "s", "z", "w", "s", "z", "s", "z"), {"w": zeros(8, 4, 3, 3, kind=np.uint8), **Q},
                         typed=TensorProto.UINT8),
    "QLinearMatMul": Model("QLinearMatMul", ("x", "s", "z", "w", "s", "z", "s", "z"), {"w": zeros(6, 5, kind=np.uint8), **Q},
                           typed=TensorProto.UINT8),
    "FusedConv": image("FusedConv", "w", weights={"w": zeros(8, 4, 3, 3)}, domain=MS, activation="Relu"),
    "FusedGemm": Model("FusedGemm", ("x", "w"), {"w": zeros(6, 5)}, (4, 6), domain=MS, activation="Relu"),
    "FusedMatMul": image("FusedMatMul", "x", domain=MS, transB=1),
    "DynamicQuantizeLSTM": tokens("DynamicQuantizeLSTM", "w", "u", "b", "", "", "", "", "s", "z", "s", "z", domain=MS, hidden_size=6,
                                  weights={"w": zeros(1, 16, 24, kind=np.uint8), "u": zeros(1, 6, 24, kind=np.uint8), "b": zeros(1, 48), **Q}),
    "EmbedLayerNormalization": Model("EmbedLayerNormalization", ("x", "", "t", "t", "", "a", "a"), {"t": zeros(9, 16), "a": zeros(16)}, (2, 5),
                                     domain=MS, typed=TensorProto.INT32),
}  # fmt: skip


def test_every_operator_has_a_model():
    assert {*HANDLERS, *CONTRIBUTED, *WRITTEN_OUT} <= {model.node.op_type for model in MODELS.values()}


def taken(net):
    """A network as it comes back from its file, after it was shown."""
    again = network_from_document(parse_yaml(network_text(net), ""), net.name)
    assert again.layers == net.layers
    layers = network_statistics(again)
    assert (layers["macs"].sum(), layers["parameters"].sum()) == (net.macs * net.batch, net.parameters)
    assert network_tables("net", layers, True)
    return again


def evaluated(nets):
    """All layers of some networks as one, in training and inference: each has a cost."""
    layers = tuple(
        replace(
            layer, name=f"{name} {layer.name}", tie=f"{name} {layer.tie}" if layer.tie else "",
            reads=tuple(f"{name} {read}" if read else "" for read in layer.reads),
            reads_second=tuple(f"{name} {read}" if read else "" for read in layer.reads_second),
        )
        for name, net in nets.items()
        for layer in net.layers
    )  # fmt: skip
    whole = Network("all", "test", layers, 2, 2, 1)
    for mode in ("training", "inference"):
        cost = dse.evaluate(whole, HARDWARE, "w8a8", mode=mode)
        assert set(cost.layers["layer"]) >= {layer.name for layer in layers if layer.has_macs}
        assert np.isfinite(cost.total[["latency_s", "energy_j"]]).all(axis=None)


def test_imported_networks_are_shown_and_evaluated(tmp_path):
    nets = {}
    for name, model in MODELS.items():
        model.save(tmp_path / "m.onnx")
        nets[name] = taken(import_onnx(tmp_path / "m.onnx").network)
        # A concatenation moves elements.
        assert name == "QLinearConcat" or [layer for layer in nets[name].layers if layer.name.startswith("op")], name
    evaluated(nets)


def modules():
    """A module of every kind that torch has for images, signals, volumes and sequences, with an input."""
    from torch import nn
    from torch import zeros as empty

    image, volume, tokens = empty(2, 4, 8, 8), empty(2, 4, 4, 6, 6), empty(2, 5, 16)

    def learned(*rest):
        return nn.Sequential(nn.Conv2d(4, 4, 1), *rest), image

    class Sliced(nn.Module):
        """Two layers that read equal parts of the input, each cut out for itself."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            return self.a(x[:, :2]) + self.b(x[:, 2:])

    def recurrent(kind, **options):
        class Steps(nn.Module):
            def __init__(self):
                super().__init__()
                self.start, self.steps = nn.Linear(16, 16), kind(16, 6, batch_first=True, **options)

            def forward(self, x):
                return self.steps(self.start(x))[0]

        return Steps(), tokens

    activations = (nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Mish, nn.Softplus)
    yield from ((kind.__name__, learned(kind())) for kind in activations)
    norms = (nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm(8), nn.RMSNorm(8))
    yield from ((type(norm).__name__, learned(norm)) for norm in norms)
    pools = (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Upsample(scale_factor=2), nn.Softmax(1))
    yield from ((type(pool).__name__, learned(pool)) for pool in pools)
    kinds = ((nn.LSTM, {"num_layers": 2}), (nn.GRU, {"bidirectional": True}), (nn.RNN, {"bias": False}))
    yield from ((kind.__name__, recurrent(kind, **options)) for kind, options in kinds)
    yield "conv1d", (nn.Sequential(nn.Conv1d(5, 4, 3), nn.ConvTranspose1d(4, 2, 3, groups=2), nn.MaxPool1d(2)), tokens)
    yield "conv3d", (nn.Sequential(nn.Conv3d(4, 4, 3), nn.BatchNorm3d(4), nn.ConvTranspose3d(4, 2, 2, 2), nn.AvgPool3d(2)), volume)
    yield "embedding", (nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 9)), empty(2, 5).long())
    yield "two slices of one input", (Sliced(), image)
    yield "encoder", (nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, dropout=0.0), tokens)


def test_traced_modules_are_shown_and_evaluated():
    pytest.importorskip("torch")
    evaluated({name: taken(dse.trace(module, inputs)) for name, (module, inputs) in modules()})


def test_inputs_of_one_size_are_one_in_what_is_imported_and_in_its_file(tmp_path):
    nodes = [helper.make_node("MatMul", [name, "w"], [f"{name}w"], name=name) for name in ("left", "right")]
    nodes.append(helper.make_node("Add", ["leftw", "rightw"], ["y"], name="sum"))
    given = [helper.make_tensor_value_info(name, FLOATS, (2, 3)) for name in ("left", "right")]
    made = [helper.make_tensor_value_info("y", FLOATS, None)]
    graph = helper.make_graph(nodes, "g", given, made, [numpy_helper.from_array(zeros(3, 4), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    net = taken(import_onnx(tmp_path / "m.onnx").network)
    assert {layer.tie for layer in net.mac_layers} == {"input of 3 elements"}
