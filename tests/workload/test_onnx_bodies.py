"""Loops and conditions of imported models: bodies are counted as often as they run, or are named."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402
from dse.workload.load import network_from_document  # noqa: E402
from dse.workload.model import network_text  # noqa: E402
from dse.yaml_input import parse_yaml  # noqa: E402


def node(kind, inputs, outputs, **flags):
    return helper.make_node(kind, list(inputs), list(outputs), **flags)


def body(nodes, inputs, outputs, weights=None):
    """A graph inside of a node: inputs and outputs by name, those that are no floats with their type."""

    def typed(names):
        kinds = {"c": TensorProto.BOOL, "i": TensorProto.INT64}
        return [helper.make_tensor_value_info(name, kinds.get(name[0], TensorProto.FLOAT), None) for name in names]

    tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (weights or {}).items()]
    return helper.make_graph(nodes, "body", typed(inputs), typed(outputs), tensors)


def cell():
    """A step of a recurrent layer of 8 inputs and 6 states, whose weights are outside."""
    nodes = [
        node("MatMul", ["x_t", "w"], ["a"], name="read"),
        node("MatMul", ["h"], ["b"], name="keep"),
        node("Add", ["a", "b"], ["s"], name="sum"),
        node("Tanh", ["s"], ["h_next"], name="tanh"),
        node("Identity", ["h_next"], ["y_t"]),
    ]
    nodes[1].input.append("u")
    return body(nodes, ["h", "x_t"], ["h_next", "y_t"])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_recurrent_layer_as_a_scan(axis, saved):
    """Seven steps: each reads 8 inputs and 6 states into 6 new ones. The first state is a constant, the later ones are learned."""
    flags = {"scan_input_axes": [axis], "scan_output_axes": [axis]} if axis else {}
    nodes = [
        node("Scan", ["h0", "x"], ["last", "all"], name="scan", body=cell(), num_scan_inputs=1, **flags),
        node("MatMul", ["all", "v"], ["y"], name="head"),
    ]
    shape = [3, 7, 8] if axis else [7, 3, 8]
    weights = {"h0": (3, 6), "w": (8, 6), "u": (6, 6), "v": (6, 5)}
    found = import_onnx(saved(nodes, {"x": shape}, weights))
    net = found.network
    assert net.batch == 3
    layers = {layer.name: layer for layer in net.layers}
    assert (layers["read"].macs, layers["keep"].macs, layers["head"].macs) == (7 * 48, 7 * 36, 7 * 30)
    assert (layers["keep"].repeats, layers["keep"].N) == (7, 1)
    assert layers["keep"].passes == ("forward", "backward_data", "backward_weight")
    assert layers["tanh"].output_elements == 7 * 6
    assert net.parameters == 48 + 36 + 30
    assert "Scan 'scan' runs 7 times; its body is counted so often" in found.notes
    assert not found.skipped
    assert network_from_document(parse_yaml(network_text(net), ""), "m").layers == net.layers


def loop(trips, inner, state, outputs, weights=None, before=(), scans=0, **flags):
    """A loop that hands one state on, and gives the results of every pass as well."""
    nodes = [node("Identity", ["c0"], ["c1"]), *inner]
    graph = body(nodes, ["i", "c0", state], ["c1", *outputs], weights)
    return node("Loop", [trips, "", state.removesuffix("_in")], [f"end{place}" for place in range(1 + scans)], body=graph, **flags)


@pytest.mark.parametrize("where", ["initializer", "constant", "shape"])
def test_a_loop_whose_number_of_passes_follows_from_the_graph(where, saved):
    made = loop("m", [node("Conv", ["x_in", "k"], ["x_out"], name="conv", pads=[1, 1, 1, 1])], "x_in", ["x_out", "x_out"], {"k": (4, 4, 3, 3)},
                name="loop", scans=1)  # fmt: skip
    before = {
        "initializer": [],
        "constant": [node("Constant", [], ["m"], value=numpy_helper.from_array(np.array(5)))],
        "shape": [node("Shape", ["x"], ["s"]), node("Gather", ["s", "last"], ["m"])],
    }[where]
    weights = {"last": np.array(3), "v": (4, 2)} | ({"m": np.array(5)} if where == "initializer" else {})
    nodes = [*before, made, node("ReduceMean", ["end1"], ["p"], axes=[0, 3, 4], keepdims=0), node("Gemm", ["p", "v"], ["y"], name="fc")]
    found = import_onnx(saved(nodes, {"x": [2, 4, 6, 5]}, weights))
    conv, head = found.network.mac_layers
    assert (found.network.batch, conv.macs, conv.repeats, head.macs) == (2, 5 * 144 * 30, 5, 8)
    assert found.network.parameters == 144 + 8
    assert not [item for item in found.skipped if item.operator == "Loop"]


def test_loops_in_loops_and_of_one_name(saved):
    """Three times four passes of the inner product, twice; the second loop has tensors of the names of the first."""

    def nest(trips, inner_trips, source):
        inner = loop("n", [node("MatMul", ["h_in", "w"], ["h_out"])], "h_in", ["h_out"], {"w": (6, 6)})
        inner.input[2], inner.input[0] = "x_in", inner_trips
        made = loop(trips, [inner, node("Relu", ["end0"], ["x_out"])], "x_in", ["x_out"])
        made.input[2] = source
        return made

    first, second = nest("three", "four", "x"), nest("three", "four", "a")
    first.output[0], second.output[0] = "a", "y"
    weights = {"three": np.array(3), "four": np.array(4)}
    net = import_onnx(saved([first, second], {"x": ["batch", 6]}, weights)).network
    assert [(layer.macs, layer.repeats) for layer in net.mac_layers] == [(12 * 36, 12)] * 2
    assert net.parameters == 72
    assert len({layer.name for layer in net.layers}) == len(net.layers)


def test_a_loop_that_may_end_before_is_counted_whole_and_said(saved):
    made = loop("m", [node("MatMul", ["x_in", "w"], ["x_out"], name="p"), node("ReduceSum", ["x_out"], ["t"], keepdims=0),
                      node("Greater", ["t", "zero"], ["c2"])], "x_in", ["x_out"], name="loop")  # fmt: skip
    made.attribute[0].g.output[0].name = "c2"
    made.output[0] = "y"
    found = import_onnx(saved([made], {"x": ["n", 6]}, {"m": np.array(9), "w": (6, 6), "zero": np.float32(0)}))
    assert found.network.macs == 9 * 36
    assert "Loop 'loop' runs at most 9 times; its body is counted so often, at the sizes of the first time" in found.notes


def test_a_loop_whose_number_of_passes_is_not_known_is_named_and_can_be_told(saved):
    made = loop("m", [node("MatMul", ["x_in", "w"], ["x_out"], name="inside")], "x_in", ["x_out"], name="loop")
    nodes = [node("MatMul", ["x", "v"], ["h"], name="first"), made]
    made.input[2], made.output[0] = "h", "y"
    path = saved(nodes, {"x": ["n", 8], "m": (TensorProto.INT64, [])}, {"v": (8, 6), "w": (6, 6)})
    found = import_onnx(path)
    assert [layer.name for layer in found.network.mac_layers] == ["first"]
    assert found.notes == ("how often Loop 'loop' runs is not known, so its body is not counted; tell it with --dim 'loop=VALUE'",)
    (skipped,) = found.skipped
    assert (skipped.operator, skipped.macs_share != skipped.macs_share) == ("Loop", True)
    told = import_onnx(path, dims={"loop": 20})
    assert [(layer.name, layer.macs) for layer in told.network.mac_layers] == [("first", 48), ("inside", 20 * 36)]


def test_a_condition_inside_of_a_loop(saved):
    """Both branches read what is outside of the loop."""
    branches = {
        key: body([node("MatMul", ["x_in", weight], [f"r{key[0]}"], name=weight)], [], [f"r{key[0]}"])
        for key, weight in (("then_branch", "w"), ("else_branch", "u"))
    }
    made = loop("m", [node("If", ["c0"], ["x_out"], **branches)], "x_in", ["x_out"], name="loop")
    made.output[0] = "y"
    net = import_onnx(saved([made], {"x": ["n", 6]}, {"m": np.array(4), "w": (6, 6), "u": (6, 6)})).network
    assert [(layer.name, layer.macs) for layer in net.mac_layers] == [("w", 4 * 36)]


def test_two_conditions_of_the_same_names(saved):
    """A branch whose names the graph has already is taken all the same, under names of its own."""

    def condition(source, made):
        branches = [body([node("MatMul", [source, "w"], ["h"])], [], ["h"], {"w": (6, 6)}), body([node("Neg", [source], ["g"])], [], ["g"])]
        return node("If", ["c"], [made], then_branch=branches[0], else_branch=branches[1])

    path = saved([condition("x", "a"), condition("a", "y")], {"x": ["n", 6], "c": (TensorProto.BOOL, [])})
    found = import_onnx(path)
    assert [layer.macs for layer in found.network.mac_layers] == [36, 36]
    assert found.network.parameters == 72
    assert found.notes == ("of If 'a' the branch with more products is counted", "of If 'y' the branch with more products is counted")
