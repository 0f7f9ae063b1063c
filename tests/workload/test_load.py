"""Workload files: shapes, names, ties, passes, and every kind of input error."""

import pytest

from dse.errors import InputError
from dse.workload import load_workload
from dse.workload.load import evaluate_expression, network_from_document
from dse.workload.work.vector import optimizer_work, stash_elements, vector_work
from dse.yaml_input import parse_yaml

HEAD = """source: test
batch: 4
samples: 100
epochs: 1
optimizer: sgd
input: {C: 3, H: 8, W: 8}
"""


def network(text):
    return network_from_document(parse_yaml(HEAD + text, "net.yaml"), "net")


def problems(text):
    with pytest.raises(InputError) as caught:
        network(text)
    return str(caught.value)


def test_names_ties_and_passes_of_resnet18():
    net = load_workload("imagenet_resnet")
    names = [layer.name for layer in net.mac_layers]
    assert names[0] == "conv1"
    assert names[-1] == "fc"
    assert "layer2.0.downsample.0" in names
    assert len(names) == 21
    by_name = {layer.name: layer for layer in net.layers}
    assert by_name["conv1"].passes == ("forward", "backward_weight")
    assert by_name["layer1.0.conv1"].passes == ("forward", "backward_data", "backward_weight")
    assert by_name["layer2.0.conv1"].tie == by_name["layer2.0.downsample.0"].tie != ""
    assert by_name["layer1.0.conv1"].tie == ""
    assert by_name["layer2.0.conv1"].input_hw == (56, 56)
    assert (by_name["conv1"].P, by_name["maxpool"].P, by_name["fc"].C) == (112, 56, 512)


def test_norms_sums_and_pools_are_layers_too():
    net = load_workload("imagenet_resnet")
    kinds = [layer.kind for layer in net.vector_layers]
    assert kinds.count("norm") == 20
    assert kinds.count("add") == 8
    assert kinds.count("activation") == 17
    assert kinds.count("pool") == 2


def test_every_shipped_network_loads_by_name_and_path():
    assert load_workload("workloads/imagenet_resnet.yaml").name == load_workload("imagenet_resnet").name


def test_grouped_and_dilated_convolution():
    net = network("layers: [{op: conv, name: a, K: 6, R: 3, groups: 3, dilation: 2, pad: 2}]")
    layer = net.layers[0]
    assert (layer.G, layer.K, layer.C, layer.P) == (3, 2, 1, 8)
    assert layer.macs == 3 * 2 * 1 * 64 * 9


def test_work_of_layers_without_macs():
    net = load_workload("imagenet_resnet")
    by_name = {layer.name: layer for layer in net.layers}
    norm = by_name["conv1.norm"]
    n = 64 * 112 * 112
    assert vector_work(norm, "forward", True)[:3] == (2 * n, n, 4 * n)
    assert vector_work(norm, "forward", False)[:3] == (0, 0, 0)
    pool = by_name["maxpool"]
    assert vector_work(pool, "forward", True)[:3] == (n, n / 4, n / 4 * 9)
    assert vector_work(pool, "backward_data", True)[:3] == (n / 4, n, n / 4 * 9)
    assert stash_elements(by_name["layer1.0.conv1"]) == 64 * 56 * 56
    assert stash_elements(by_name["layer1.0.add"]) == 0
    assert [optimizer_work(kind).states for kind in ("sgd", "momentum", "adam")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layers: [{op: conv, name: a, K: 4, strid: 2}]",
            "layers[0].strid (line 7): unknown key; did you mean 'stride'?",
        ),
        ("layers: [{op: conv, name: a, K: 0}]", "layers[0].K (line 7): expected an integer >= 1, got 0"),
        ("layers: [{op: conv, name: a}]", "layers[0].K (line 7): missing; op conv needs it"),
        ("layers: [{op: conv, K: 4}]", "missing 'name'"),
        ("layers: [{op: convolution, name: a, K: 4}]", "expected one of 'conv'"),
        ("layers: []", "at least 1 item"),
        ("layers: [{op: relu, name: a}]", "the network is empty"),
        ("layers: [{op: conv, name: a, K: 4}, {op: conv, name: a, K: 4}]", "a layer named 'a' exists already"),
        ("layers: [{op: conv, name: a, K: 4, R: 11}]", "does not fit an input of 8"),
        ("layers: [{op: conv, name: a, K: 4, groups: 2}]", "2 does not divide 3 input"),
        (
            "layers: [{op: block, of: bloc, name: x}]\nblocks: {block: {layers: [{op: relu, name: r}]}}",
            "did you mean 'block'",
        ),
        (
            "layers: [{op: block, of: b, name: x, arguments: {k: 3}}]\nblocks: {b: {parameters: [K], layers: [{op: relu, name: r}]}}",
            "takes K",
        ),
        (
            "layers: [{op: block, of: b, name: x}]\nblocks: {b: {layers: [{op: block, of: c, name: y}]}, c: {layers: [{op: block, of: b, name: z}]}}",
            "circle: b -> c -> b",
        ),
        (
            "layers: [{op: residual, main: [{op: conv, name: a, K: 4}], shortcut: []}]",
            "the branches of a residual end in 4x8x8 and 3x8x8",
        ),
        ("layers: [{op: fc, name: a, K: 2000000000}, {op: fc, name: b, K: 2000000000}]", "expected at most 2^61"),
        ("layers: [{op: conv, name: a, K: 99999999999999999}]", "expected at most 1e15"),
        ("layers: [{op: conv, name: a, K: 'K*2'}]", "'K' is no parameter here"),
        ("layers: [{op: conv, name: a, K: '__import__(1)'}]", "expected an integer or + - * //"),
    ],
)
def test_input_errors(text, message):
    assert message in problems(text)


def test_all_problems_at_once():
    text = problems("layers:\n- {op: conv, name: a, K: 0, strid: 1}\n- {op: fc, name: b}\nbach: 3")
    assert "3 problems" in text


def test_expressions():
    assert evaluate_expression("4*K//2+1", {"K": 3}) == 7
    with pytest.raises(ValueError, match="divides by zero"):
        evaluate_expression("1//K", {"K": 0})


def test_layers_that_read_the_networks_input_share_its_format():
    text = """
source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 4, H: 4, W: 4}
layers:
  - {op: residual, name: sum, main: [{op: conv, name: a, K: 6}], shortcut: [{op: conv, name: b, K: 6}]}
  - {op: fc, name: fc, K: 3}
"""
    a, b, fc = network_from_document(parse_yaml(text, "net.yaml"), "net").mac_layers
    assert a.tie == b.tie != ""
    assert fc.tie == ""


def test_an_onnx_model_says_how_it_becomes_a_workload(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08")
    with pytest.raises(InputError, match=r"dse import net\.onnx -o net\.yaml"):
        load_workload(path)
