"""Formats of quantized models: every spelling of a width, a granularity and a block."""

import ml_dtypes
import numpy as np
import pytest

from dse.errors import InputError
from dse.precision.formats import parse_format, stored_bits

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402

QONNX = "qonnx.custom_op.general"


def node(kind, inputs, outputs, **flags):
    return helper.make_node(kind, list(inputs), list(outputs), **flags)


def raw(kind, shape, bits):
    """A tensor of zeros of any type."""
    return TensorProto(data_type=kind, dims=shape, raw_data=bytes(-(-int(np.prod(shape)) * bits // 8)))


def only(path):
    """Formats of weight and activation of the only layer; its network evaluates with them."""
    found = import_onnx(path)
    (pair,) = found.formats.values()
    for name in pair:
        parse_format(name)
    return pair


def qdq(weight, clips=(), *, activation=np.uint8, clipped=(), scales=(), axis=0, opset=21, points=True):
    """A convolution whose input is quantized and dequantized, with nodes in between, and whose weights are dequantized."""
    weights = {
        "w": weight, "xs": np.float32(0.1), "xz": np.array(0, activation), "ws": np.ones(scales, np.float32),
        "wz": np.zeros(scales, np.int8),
    }  # fmt: skip
    ends = (clips[-1].output[0] if clips else "w", clipped[-1].output[0] if clipped else "xq")
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        *clipped,
        node("DequantizeLinear", [ends[1], "xs", "xz"], ["xd"]),
        *clips,
        node("DequantizeLinear", [ends[0], "ws", *["wz"] * points], ["wd"], axis=axis),
        node("Conv", ["xd", "wd"], ["y"], name="c"),
    ]
    return nodes, weights, opset


WEIGHT = np.zeros((8, 4, 3, 3), np.int8)


def bounds(low, high, kind=np.int8):
    return {"lo": np.array(low, kind), "hi": np.array(high, kind)}


def clip_spellings(source, target):
    """The ways in which bounds are written: inputs, one of them, constants, a minimum of a maximum, behind a transpose."""
    yield "inputs", [node("Clip", [source, "lo", "hi"], [target])]
    yield "two clips", [node("Clip", [source, "lo"], ["part"]), node("Clip", ["part", "", "hi"], [target])]
    yield "max of min", [node("Min", [source, "hi"], ["part"]), node("Max", ["lo", "part"], [target])]
    yield "cast", [node("Cast", [source], ["f"], to=1), node("Clip", ["f", "flo", "fhi"], ["g"]), node("Cast", ["g"], [target], to=3)]
    turned = [node("Transpose", [source], ["t"], perm=[1, 0, 2, 3]), node("Clip", ["t", "lo", "hi"], ["u"])]
    yield "turned", [*turned, node("Transpose", ["u"], [target], perm=[1, 0, 2, 3])]


@pytest.mark.parametrize("spelling", ["inputs", "two clips", "max of min", "cast", "turned"])
@pytest.mark.parametrize(
    ("low", "high", "name"), [(-7, 7, "int4"), (-8, 7, "int4"), (-1, 1, "int2"), (-3, 3, "int3"), (-127, 127, "int8"), (-16, 15, "int5")]
)
def test_clips_of_weights_say_their_width(spelling, low, high, name, saved):
    clips = dict(clip_spellings("w", "wc"))[spelling]
    nodes, weights, opset = qdq(WEIGHT, clips, points=False)
    weights |= bounds(low, high) | {"flo": np.float32(low), "fhi": np.float32(high)}
    assert only(saved(nodes, {"x": [1, 4, 8, 8]}, weights, opset=opset)) == (name, "uint8")


@pytest.mark.parametrize(
    ("low", "high", "kind", "name"),
    [
        (0, 15, np.uint8, "uint4"),
        (0, 14, np.uint8, "uint4"),
        (0, 254, np.uint8, "uint8"),
        (0, 3, np.uint8, "uint2"),
        (0, 15, np.int8, "uint4"),
        (0, 127, np.int8, "int8"),
        (-8, 7, np.int8, "int4"),
        (-2048, 2047, np.int16, "int12"),
    ],
)
def test_clips_of_activations_say_their_width_and_sign(low, high, kind, name, saved):
    nodes, weights, opset = qdq(WEIGHT, activation=kind, clipped=[node("Clip", ["xq", "lo", "hi"], ["xc"])])
    path = saved(nodes, {"x": [1, 4, 8, 8]}, weights | bounds(low, high, kind), opset=opset)
    assert only(path) == ("int8", name)
    # A clip of codes is no layer of its own.
    assert [layer.name for layer in import_onnx(path).network.layers] == ["c"]


def test_constants_are_read_as_initializers_are(saved):
    nodes, weights, opset = qdq(WEIGHT, [node("Clip", ["w", "lo", "hi"], ["wc"])], scales=(8,))
    values = {key: onnx.numpy_helper.from_array(value) for key, value in bounds(-7, 7).items()}
    constants = [node("Constant", [], [key], value=value) for key, value in values.items()]
    assert only(saved([*constants, *nodes], {"x": [1, 4, 8, 8]}, weights, opset=opset)) == ("int4:channel", "uint8")


def test_older_clips_have_attributes(saved):
    """Rounding written out with operators on floats: scaled, rounded, clipped, scaled back."""
    nodes = [
        node("Div", ["x", "s"], ["a"]),
        node("Round", ["a"], ["b"]),
        node("Clip", ["b"], ["c"], min=-8.0, max=7.0),
        node("Mul", ["c", "s"], ["d"]),
        node("Div", ["w", "sw"], ["e"]),
        node("Clip", ["e"], ["f"], min=-3.0, max=3.0),
        node("Round", ["f"], ["g"]),
        node("Mul", ["g", "sw"], ["h"]),
        node("Conv", ["d", "h"], ["y"], name="c"),
    ]
    weights = {"s": np.float32(0.1), "sw": np.ones((8, 1, 1, 1), np.float32), "w": (8, 4, 3, 3)}
    assert only(saved(nodes, {"x": [1, 4, 8, 8]}, weights, opset=11)) == ("int3:channel", "int4")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.FLOAT8E4M3FN, "fp8_e4m3"),
        (TensorProto.FLOAT8E4M3FNUZ, "fp8_e4m3b8"),
        (TensorProto.FLOAT8E5M2, "fp8_e5m2"),
        (TensorProto.FLOAT8E5M2FNUZ, "fp8_e5m2b16"),
        (TensorProto.FLOAT4E2M1, "fp4_e2m1"),
        (TensorProto.INT4, "int4"),
        (TensorProto.UINT4, "uint4"),
        (TensorProto.INT16, "int16"),
    ],
)
@pytest.mark.parametrize("points", [True, False])
def test_types_of_quantizers(kind, name, points, saved):
    """As the type of the weights and of the zero point, or as an attribute where there is none."""
    bits = 4 if "4" in name.split("_")[0] else 16 if name == "int16" else 8
    weights = {"w": raw(kind, [8, 4, 3, 3], bits), "s": np.float32(0.1), "z": raw(kind, [], bits)}
    how = {"to": ["x", "s", "z"]} if points else {"to": ["x", "s"], "output_dtype": kind}
    nodes = [
        node("QuantizeLinear", how.pop("to"), ["xq"], **how),
        node("DequantizeLinear", ["xq", "s"], ["xd"]),
        node("DequantizeLinear", ["w", "s"], ["wd"]),
        node("Conv", ["xd", "wd"], ["y"], name="c"),
    ]
    path = saved(nodes, {"x": [1, 4, 8, 8]}, weights, opset=23)
    assert only(path) == (name, name)


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize(
    ("kind", "bits", "scale", "points", "block", "stored"),
    [
        (TensorProto.INT4, 4, np.float32, False, 32, 4 + 32 / 32),
        (TensorProto.INT4, 4, np.float16, False, 32, 4 + 16 / 32),
        (TensorProto.INT4, 4, ml_dtypes.bfloat16, False, 64, 4 + 16 / 64),
        (TensorProto.UINT4, 4, np.float32, True, 32, 4 + (32 + 4) / 32),
        (TensorProto.INT4, 4, np.float16, True, 64, 4 + (16 + 4) / 64),
        (TensorProto.INT8, 8, np.float32, False, 128, 8 + 32 / 128),
    ],
)
def test_blocks_of_weights_with_their_scales_and_zero_points(operator, kind, bits, scale, points, block, stored, saved):
    """Blocks along the inputs of a product, whichever axis that is."""
    turned = operator == "Gemm"
    shape, blocks = ([64, 128], (64, 128 // block)) if turned else ([128, 64], (128 // block, 64))
    zero = raw(kind, list(blocks), bits)
    zero.raw_data = bytes([1] * len(zero.raw_data))
    weights = {"w": raw(kind, shape, bits), "s": np.ones(blocks).astype(scale)} | ({"z": zero} if points else {})
    nodes = [
        node("DequantizeLinear", ["w", "s", *["z"] * points], ["d"], axis=int(turned), block_size=block),
        node("Cast", ["d"], ["f"], to=1),
        node(operator, ["x", "f"], ["y"], **({"transB": 1} if turned else {})),
    ]
    weight, activation = only(saved(nodes, {"x": [1, 128]}, weights, opset=21))
    assert activation == "fp32"
    assert parse_format(weight).group_elements == block
    assert stored_bits(parse_format(weight)) == stored


@pytest.mark.parametrize(
    ("kind", "block", "scale", "name", "stored"),
    [
        (TensorProto.FLOAT4E2M1, 16, TensorProto.FLOAT8E4M3FN, "nvfp4", 4 + 8 / 16),
        (TensorProto.FLOAT4E2M1, 32, TensorProto.FLOAT8E8M0, "mxfp4_e2m1", 4 + 8 / 32),
        (TensorProto.FLOAT8E4M3FN, 32, TensorProto.FLOAT8E8M0, "mxfp8_e4m3", 8 + 8 / 32),
        (TensorProto.FLOAT8E5M2, 64, TensorProto.FLOAT8E8M0, "mxfp8_e5m2:64", 8 + 8 / 64),
        (TensorProto.FLOAT8E4M3FN, 128, TensorProto.FLOAT, "fp8_e4m3:128", 8 + 32 / 128),
        (TensorProto.INT8, 32, TensorProto.FLOAT8E8M0, "mxint8", 8 + 8 / 32),
    ],
)
def test_blocks_of_small_floats(kind, block, scale, name, stored, saved):
    """NVFP4 dequantizes its scales by one of the tensor first, as its exporters write it."""
    width, wide = (4 if kind == TensorProto.FLOAT4E2M1 else 8), 32 if scale == TensorProto.FLOAT else 8
    weights = {"w": raw(kind, [64, 128], width), "s": raw(scale, [64, 128 // block], wide), "t": np.float32(1)}
    twice = name == "nvfp4"
    nodes = [
        *[node("DequantizeLinear", ["s", "t"], ["r"])] * twice,
        node("DequantizeLinear", ["w", "r" if twice else "s"], ["d"], axis=1, block_size=block),
        node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    path = saved(nodes, {"x": [1, 128]}, weights, opset=24)
    assert only(path) == (name, "fp32")
    assert stored_bits(parse_format(name)) == stored
    assert import_onnx(path).notes == ()


def test_scales_that_no_name_says_are_said(saved):
    weights = {"w": raw(TensorProto.FLOAT8E4M3FN, [64, 128], 8), "s": np.ones((64, 1), np.float16)}
    nodes = [node("DequantizeLinear", ["w", "s"], ["d"], axis=1, block_size=128), node("Gemm", ["x", "d"], ["y"], transB=1)]
    (note,) = import_onnx(saved(nodes, {"x": [1, 128]}, weights, opset=24)).notes
    assert note == "fp8_e4m3 weights have fp16 scales for blocks of 128, which 'fp8_e4m3:128' does not say"


@pytest.mark.parametrize(("kind", "block", "name"), [(0, 64, "fp4_e2m1:64"), (1, 64, "nf4"), (1, 128, "nf4:128")])
def test_packed_floats_of_four_bits(kind, block, name, saved):
    weights = {"w": np.zeros(128 * 64 // 2, np.uint8), "s": np.ones(128 * 64 // block, np.float32)}
    flags = {"K": 128, "N": 64, "block_size": block, "quant_type": kind, "domain": "com.microsoft"}
    path = saved([node("MatMulBnb4", ["x", "w", "s"], ["y"], name="p", **flags)], {"x": ["batch", 128]}, weights)
    assert only(path) == (name, "fp32")
    assert import_onnx(path).network.macs == 128 * 64


@pytest.mark.parametrize(
    ("bits", "block", "scale", "points", "stored"),
    [
        (4, 32, np.float32, None, 5.0),
        (4, 128, np.float16, None, 4 + 16 / 128),
        (4, 32, np.float16, 0x88, 4.5),
        (4, 32, np.float16, 0x87, 4 + 20 / 32),
        (8, 64, np.float32, 3, 8 + 40 / 64),
        (2, 16, np.float16, None, 3.0),
    ],
)
def test_packed_weights_of_onnxruntime(bits, block, scale, points, stored, saved):
    """Zero points in the middle of the range (0x88 for two of four bits) are those of symmetric values."""
    rows = 128 // block
    weights = {"w": np.zeros((64, rows, block * bits // 8), np.uint8), "s": np.ones(64 * rows, scale)}
    if points is not None:
        weights["z"] = np.full(64 * -(-rows * bits // 8), points, np.uint8)
    inputs = ["x", "w", "s", *["z"] * (points is not None)]
    product = node("MatMulNBits", inputs, ["y"], domain="com.microsoft", K=128, N=64, bits=bits, block_size=block, name="p")
    weight, _ = only(saved([product], {"x": [1, 128]}, weights))
    assert stored_bits(parse_format(weight)) == stored


@pytest.mark.parametrize(
    ("operator", "inputs", "flags", "name"),
    [
        ("Quant", 4, {"signed": 1, "narrow": 1}, "int4"),
        ("IntQuant", 4, {"signed": 1, "narrow": 0}, "int4"),
        ("Quant", 4, {"signed": 0, "narrow": 0}, "uint4"),
        ("Quant", 7, {}, "int7"),
        ("Quant", 1, {"signed": 1}, "binary"),
        ("BipolarQuant", None, {}, "binary"),
        ("FloatQuant", (4, 3), {}, "fp8_e4m3"),
        ("FloatQuant", (3, 2), {}, "fp6_e3m2"),
        ("MultiThreshold", None, {"out_dtype": "UINT3"}, "uint3"),
    ],
)
@pytest.mark.parametrize("channels", [False, True])
def test_quantizers_of_qonnx(operator, inputs, flags, name, channels, saved):
    scale = np.ones((8, 1, 1, 1), np.float32) if channels else np.float32(0.1)
    widths = [] if inputs is None else [inputs] if isinstance(inputs, int) else list(inputs)
    weights = {"w": (8, 4, 3, 3), "s": scale, "t": np.float32(0.1), "z": np.float32(0)}
    weights |= {f"b{place}": np.float32(width) for place, width in enumerate(widths)}
    extra = [f"b{place}" for place in range(len(widths))]
    extra = extra if operator == "FloatQuant" else ["z", *extra] if widths else []
    nodes = [
        node(operator, ["x", "t", *extra], ["xq"], domain=QONNX, **flags),
        node("Relu", ["xq"], ["r"]),
        node(operator, ["w", "s", *extra], ["wq"], domain=QONNX, **flags),
        node("Conv", ["r", "wq"], ["y"], name="c"),
    ]
    path = saved(nodes, {"x": [1, 4, 8, 8]}, weights)
    suffix = ":channel" if channels and name.startswith(("int", "uint", "fp")) and operator != "MultiThreshold" else ""
    assert only(path) == (name + suffix, name)
    assert import_onnx(path).network.macs == 8 * 4 * 9 * 36


@pytest.mark.parametrize("version", [1, 2])
def test_truncation_takes_the_sign_of_what_it_truncates(version, saved):
    """An average of unsigned 8-bit values, truncated to 5 bits; the second version of the operator also has an output scale."""
    weights = {"w": (8, 4), "s": np.float32(1), "z": np.float32(0), "in": np.float32(8), "out": np.float32(5)}
    ends = ["in", "out"] if version == 1 else ["in", "s", "out"]
    flags = {} if version == 1 else {"signed": 0}
    nodes = [
        node("Quant", ["x", "s", "z", "in"], ["q"], domain=QONNX, signed=0),
        node("GlobalAveragePool", ["q"], ["p"]),
        node("Trunc", ["p", "s", "z", *ends], ["t"], domain=QONNX, **flags),
        node("Flatten", ["t"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1, name="fc"),
    ]
    assert only(saved(nodes, {"x": [1, 4, 8, 8]}, weights)) == ("fp32", "uint5")


def test_a_width_that_is_computed_is_refused_with_its_domain(saved):
    nodes = [node("Quant", ["x", "s", "z", "b"], ["q"], domain=QONNX), node("Conv", ["q", "w"], ["y"], name="c")]
    weights = {"w": (8, 4, 3, 3), "s": np.float32(1), "z": np.float32(0)}
    with pytest.raises(InputError, match=rf"layer 'c': the width of Quant \(domain '{QONNX}'\) is computed in the graph"):
        import_onnx(saved(nodes, {"x": [1, 4, 8, 8], "b": []}, weights))


def test_an_operator_of_an_unknown_domain_is_named_with_it(saved):
    nodes = [node("Im2Col", ["x"], ["i"], domain="finn.custom_op.general"), node("Conv", ["i", "w"], ["y"], name="c")]
    with pytest.raises(InputError, match=r"Im2Col of domain 'finn.custom_op.general' makes 'i'; its shape is not known"):
        import_onnx(saved(nodes, {"x": [1, 4, 8, 8]}, {"w": (8, 4, 3, 3)}))


@pytest.mark.parametrize(
    ("shape", "name"), [((8, 1, 1, 1), "int8:channel"), ((1,), "int8"), ((8, 4, 1, 1), "int8:vector9s32")]
)
def test_weights_that_a_cast_and_a_product_dequantize(shape, name, saved):
    nodes = [
        node("Cast", ["w"], ["f"], to=1),
        node("Sub", ["f", "z"], ["g"]),
        node("Mul", ["g", "s"], ["h"]),
        node("Conv", ["x", "h"], ["y"], name="c"),
    ]
    weights = {"w": WEIGHT, "z": np.float32(0), "s": np.ones(shape, np.float32)}
    assert only(saved(nodes, {"x": [1, 4, 8, 8]}, weights)) == (name, "fp32")


def test_half_precision_is_a_plan_too_and_full_precision_none(saved):
    half = saved([node("MatMul", ["x", "w"], ["y"])], {"x": (TensorProto.FLOAT16, [1, 8])}, {"w": np.zeros((8, 4), np.float16)})
    assert only(half) == ("fp16", "fp16")
    full = saved([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 8]}, {"w": (8, 4)})
    assert import_onnx(full).formats == {}


def test_two_layers_of_a_node_have_the_formats_of_their_own_operands(saved):
    """Scores read queries and keys, the context values, in the formats that each has."""
    nodes = [node("QuantizeLinear", [name, "s", f"z{name}"], [f"{name}q"]) for name in "qkv"]
    nodes += [node("DequantizeLinear", [f"{name}q", "s", f"z{name}"], [f"{name}d"]) for name in "qkv"]
    nodes.append(node("Attention", ["qd", "kd", "vd"], ["y"], q_num_heads=2, kv_num_heads=2, name="a"))
    weights = {"s": np.float32(1), "zq": np.int8(0), "zk": np.uint8(0), "zv": np.int16(0)}
    found = import_onnx(saved(nodes, {key: [1, 5, 8] for key in "qkv"}, weights, opset=23))
    assert found.formats == {"a.scores": ("uint8", "int8"), "a.context": ("int16", "fp32")}
