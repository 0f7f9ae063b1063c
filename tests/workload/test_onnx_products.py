"""Products of imported models: constants on either side, one to three axes, and counts against what ONNX itself infers."""

from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402
from dse.workload.from_onnx.strip import strip_onnx  # noqa: E402


def node(kind, inputs, outputs, **flags):
    return helper.make_node(kind, list(inputs), list(outputs), **flags)


@pytest.mark.parametrize(
    ("flags", "first", "second", "third", "bias"),
    [
        ({}, (32, 64), [64, 10], None, 0),
        ({}, (32, 64), [64, 10], (32, 1), 32),
        ({"transA": 1}, (64, 32), [64, 10], (32, 10), 320),
        ({"transB": 1}, (32, 64), [10, 64], (1,), 0),
        ({"transA": 1, "transB": 1}, (64, 32), [10, 64], (10,), 10),
    ],
)
def test_gemm_with_a_constant_first_operand(flags, first, second, third, bias, saved):
    """Its weights stand on the left: 32 outputs of 64 inputs for each of 10 columns, and 10 values added alike to all outputs are
    no bias but a table."""
    names = ["w", "x", "c"][: 2 + (third is not None)]
    weights = {"w": first} | ({"c": third} if third is not None else {})
    net = import_onnx(saved([node("Gemm", names, ["y"], **flags)], {"x": second}, weights)).network
    (layer,) = net.mac_layers
    assert (layer.kind, layer.K, layer.C) == ("fc", 32, 64)
    assert net.macs * net.batch == 32 * 64 * 10
    assert net.parameters == 32 * 64 + bias
    assert layer.bias == (bias == 32)


def test_gemm_of_two_activations_with_a_sum(saved):
    """What is added is an activation too: its traffic is a layer, and nothing of it is learned."""
    nodes = [node("Relu", ["x"], ["a"]), node("Gemm", ["a", "z", "s"], ["y"], transB=1, name="g")]
    net = import_onnx(saved(nodes, {"x": [5, 8], "z": [6, 8], "s": [5, 6]})).network
    by_name = {layer.name: layer for layer in net.layers}
    assert (by_name["g"].kind, net.macs * net.batch, net.parameters) == ("matmul", 5 * 8 * 6, 0)
    assert by_name["g.add"].output_elements * net.batch == 30


@pytest.mark.parametrize("spelling", ["MatMul", "Transpose", "Einsum"])
def test_a_constant_first_operand_has_its_bias_on_the_other_axis(spelling, saved):
    weights = {"w": (16, 24), "b": (16, 1)}
    first, before = "w", []
    if spelling == "Transpose":
        weights["w"], first = (24, 16), "t"
        before = [node("Transpose", ["w"], ["t"], perm=[1, 0])]
    product = node("MatMul", [first, "x"], ["h"], name="p")
    if spelling == "Einsum":
        product = node("Einsum", ["w", "x"], ["h"], name="p", equation="oi,bit->bot")
    path = saved([*before, product, node("Add", ["h", "b"], ["y"], name="sum")], {"x": [2, 24, 7]}, weights)
    net = import_onnx(path).network
    (layer,) = net.mac_layers
    assert (net.batch, layer.N, layer.K, layer.C) == (2, 7, 16, 24)
    assert net.parameters == 16 * 24 + 16
    strip_onnx(path, path.with_suffix(".strip"))
    assert import_onnx(path.with_suffix(".strip")).network.layers == net.layers


def test_convolution_over_three_axes_and_a_flat_one_after_it(saved):
    """1 x 3 x 8 x 16 x 16 by 8 filters of 3 x 3 x 3, the mean over the depth, 4 filters of 1 x 1."""
    nodes = [
        node("Conv", ["x", "w"], ["h"], pads=[1] * 6, name="volume"),
        node("ReduceMean", ["h"], ["m"], axes=[2], keepdims=0),
        node("Conv", ["m", "v"], ["y"], name="flat"),
    ]
    net = import_onnx(saved(nodes, {"x": [1, 3, 8, 16, 16]}, {"w": (8, 3, 3, 3, 3), "v": (4, 8, 1, 1)})).network
    assert [layer.macs for layer in net.mac_layers] == [1_327_104, 8_192]
    assert net.parameters == 8 * 3 * 27 + 32
    volume, flat = net.mac_layers
    assert (volume.input_elements, volume.output_elements) == (3 * 8 * 256, 8 * 8 * 256)
    assert (flat.N, flat.P, flat.Q) == (1, 16, 16)


def test_pools_resizes_and_transposed_convolutions_over_three_axes(saved):
    nodes = [
        node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 1, 3], name="up", group=2),
        node("MaxPool", ["h"], ["p"], kernel_shape=[2, 3, 4], strides=[2, 3, 4], name="max"),
        node("Resize", ["p", "", "s"], ["r"], name="resize"),
        node("GlobalAveragePool", ["r"], ["g"], name="mean"),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "v"], ["y"], name="head"),
    ]
    weights = {"w": (4, 3, 2, 3, 3), "s": np.array([1, 1, 2, 2, 2], np.float32), "v": (6, 5)}
    net = import_onnx(saved(nodes, {"x": [2, 4, 4, 5, 6]}, weights)).network
    by_name = {layer.name: layer for layer in net.layers}
    assert by_name["up"].macs == 4 * 4 * 5 * 6 * 3 * 18
    assert by_name["up"].output_elements == 6 * 8 * 7 * 18
    assert by_name["up"].parameters == 4 * 3 * 18
    pool = by_name["max"]
    assert (pool.input_elements, pool.output_elements, pool.R * pool.S) == (6 * 8 * 7 * 18, 6 * 4 * 2 * 4, 24)
    assert (by_name["resize"].input_elements, by_name["resize"].output_elements) == (6 * 32, 6 * 256)
    assert (by_name["mean"].output_elements, by_name["mean"].R * by_name["mean"].S) == (6, 256)


@pytest.mark.parametrize("turned", [False, True])
def test_a_sum_over_the_samples_is_counted_once_for_all(turned, saved):
    """The gradient of a weight sums over six samples: 3 x 4 products for each of them."""
    path = saved([node("Gemm", ["x", "z"], ["y"], transA=1, name="g")], {"x": [6, 3], "z": [6, 4]})
    if turned:
        path = saved([node("Einsum", ["x", "z"], ["y"], equation="ni,nj->ij", name="g")], {"x": [6, 3], "z": [6, 4]})
    net = import_onnx(path).network
    assert (net.batch, net.macs) == (6, 12)


def test_what_does_not_see_the_samples_is_counted_for_each_and_said(saved):
    """Eight tokens of text that all four images share: their product is no quarter of itself, although four divides eight."""
    nodes = [node("MatMul", ["x", "w"], ["h"], name="image"), node("MatMul", ["text", "v"], ["y"], name="text")]
    found = import_onnx(saved(nodes, {"x": [4, 5, 6], "text": [8, 6]}, {"w": (6, 2), "v": (6, 3)}))
    assert [(layer.name, layer.macs) for layer in found.network.mac_layers] == [("image", 60), ("text", 144)]
    assert "'text' does not see the samples of the batch and is counted once for each of them" in found.notes


def test_weights_that_are_computed_from_the_input_are_no_parameters(saved):
    """As of a correlation of two feature maps."""
    nodes = [node("Conv", ["x", "a"], ["f"], name="features"), node("Conv", ["f", "z"], ["y"], name="correlation")]
    found = import_onnx(saved(nodes, {"x": [1, 3, 8, 8], "z": [4, 6, 3, 3]}, {"a": (6, 3, 1, 1)}))
    assert found.network.parameters == 18
    assert found.network.mac_layers[1].macs == 4 * 36 * 54
    assert any("'correlation' are computed from the input" in note for note in found.notes)


@st.composite
def windowed(draw):
    """A convolution over one to three axes that fits its input."""
    axes = draw(st.integers(1, 3))
    taps = [draw(st.integers(1, 3)) for _ in range(axes)]
    flags = {"strides": [draw(st.integers(1, 2)) for _ in range(axes)], "dilations": [draw(st.integers(1, 2)) for _ in range(axes)]}
    sizes = [dilation * (tap - 1) + draw(st.integers(1, 6)) for tap, dilation in zip(taps, flags["dilations"], strict=True)]
    flags |= {"group": draw(st.integers(1, 3)), "pads": [draw(st.integers(0, 1)) for _ in range(2 * axes)]}
    inner, outer = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(st.sampled_from(["Conv", "ConvTranspose"])), flags, taps, sizes, inner, outer


@st.composite
def multiplied(draw):
    """A product of matrices whose leading axes are broadcast, with either side constant or none."""
    left = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(0, 3)))]
    right = [draw(st.sampled_from([1, size])) for size in left[draw(st.integers(0, len(left))) :]]
    swap = draw(st.booleans())
    rows, inner, width = (draw(st.integers(1, 5)) for _ in range(3))
    left, right = (right, left) if swap else (left, right)
    return [*left, rows, inner], [*right, inner, width], draw(st.sampled_from(["first", "second", "neither"]))


def imported_macs(path):
    net = import_onnx(path).network
    return net.macs * net.batch, net.parameters


def inferred(path):
    """Shapes of all tensors as the library infers them, strictly."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    items = (*graph.input, *graph.value_info, *graph.output)
    found = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in items}
    return found | {item.name: list(item.dims) for item in graph.initializer}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=windowed(), batch=st.integers(1, 3))
def test_macs_of_convolutions_are_those_of_the_shapes_that_onnx_infers(made, batch, saved):
    kind, flags, taps, sizes, inner, outer = made
    groups = flags["group"]
    shape = [outer * groups, inner, *taps] if kind == "Conv" else [inner * groups, outer, *taps]
    try:
        path = saved([node(kind, ["x", "w"], ["y"], name="c", **flags)], {"x": [batch, inner * groups, *sizes]}, {"w": tuple(shape)})
        shapes = inferred(path)
    except onnx.shape_inference.InferenceError:
        return
    if min(shapes["y"]) < 1:
        return
    whole = prod(shapes["y"] if kind == "Conv" else shapes["x"]) * prod(shape[1:])
    assert imported_macs(path) == (whole, prod(shape))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=multiplied())
def test_macs_of_products_are_those_of_the_shapes_that_onnx_infers(made, saved):
    left, right, constant = made
    sides = {"a": left, "b": right}
    fixed = {"first": "a", "second": "b"}.get(constant)
    inputs = {key: shape for key, shape in sides.items() if key != fixed}
    weights = {key: tuple(shape) for key, shape in sides.items() if key == fixed}
    path = saved([node("MatMul", ["a", "b"], ["y"], name="p")], inputs, weights)
    macs, parameters = imported_macs(path)
    assert macs == prod(inferred(path)["y"]) * left[-1]
    assert parameters == (prod(sides[fixed]) if fixed else 0)
