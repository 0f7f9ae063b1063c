"""Attention of imported models: keys that heads share in every spelling, windows, masks, caches."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402

MS = {"domain": "com.microsoft"}


def node(kind, inputs, outputs, **flags):
    return helper.make_node(kind, list(inputs), list(outputs), **flags)


HEADS, PAIRS, ROWS, WIDTH = 8, 2, 6, 4
TIMES = HEADS // PAIRS

#: From keys or values [batch, pairs, rows, width] to as many heads as there are queries; each needs constants of its own.
REPEATS = {
    "Expand": [
        ("Unsqueeze", ["{}", "two"], "{}u", {}),
        ("Expand", ["{}u", "five"], "{}e", {}),
        ("Reshape", ["{}e", "four"], "{}h", {}),
    ],
    "Expand of a computed shape": [
        ("Unsqueeze", ["{}", "two"], "{}u", {}),
        ("Shape", ["{}u"], "{}s", {}),
        ("Mul", ["{}s", "times"], "{}w", {}),
        ("Expand", ["{}u", "{}w"], "{}e", {}),
        ("Reshape", ["{}e", "four"], "{}h", {}),
    ],
    "Tile": [
        ("Unsqueeze", ["{}", "two"], "{}u", {}),
        ("Tile", ["{}u", "times"], "{}e", {}),
        ("Reshape", ["{}e", "four"], "{}h", {}),
    ],
    "Tile of whole heads": [("Tile", ["{}", "once"], "{}h", {})],
    "Gather": [("Gather", ["{}", "heads"], "{}h", {"axis": 1})],
    "Gather of whole heads": [("Gather", ["{}", "rounds"], "{}h", {"axis": 1})],
    "Concat": [("Concat", ["{}"] * TIMES, "{}h", {"axis": 1})],
    "Concat and Expand": [
        ("Unsqueeze", ["{}", "two"], "{}u", {}),
        ("Concat", ["{}u", "{}u"], "{}c", {"axis": 2}),
        ("Unsqueeze", ["{}c", "two"], "{}v", {}),
        ("Expand", ["{}v", "six"], "{}e", {}),
        ("Reshape", ["{}e", "four"], "{}h", {}),
    ],
}
CONSTANTS = {
    "two": np.array([2]), "five": np.array([1, 1, TIMES, 1, 1]), "six": np.array([1, 1, TIMES // 2, 1, 1, 1]),
    "four": np.array([-1, HEADS, ROWS, WIDTH]), "times": np.array([1, 1, TIMES, 1, 1]), "once": np.array([1, TIMES, 1, 1]),
    "heads": np.repeat(np.arange(PAIRS), TIMES), "rounds": np.tile(np.arange(PAIRS), TIMES),
}  # fmt: skip


def repeated(name, spelling):
    return [
        node(kind, [tensor.format(name) for tensor in inputs], [output.format(name)], **flags)
        for kind, inputs, output, flags in REPEATS[spelling]
    ]


@pytest.mark.parametrize("product", ["MatMul", "Einsum", "turned", "Attention"])
@pytest.mark.parametrize("spelling", REPEATS)
def test_keys_that_heads_share_are_counted_once(spelling, product, saved):
    """Eight heads of queries on two of keys: 4 x 6 rows for each, and keys and values of two heads."""
    nodes = [*repeated("k", spelling), *repeated("v", spelling)]
    if product == "Attention":
        nodes.append(node("Attention", ["q", "kh", "vh"], ["y"], name="a"))
    elif product == "Einsum":
        nodes.append(node("Einsum", ["q", "kh"], ["s"], name="a.scores", equation="bhid,bhjd->bhij"))
        nodes += [node("Softmax", ["s"], ["p"]), node("Einsum", ["p", "vh"], ["y"], name="a.context", equation="bhij,bhjd->bhid")]
    elif product == "turned":
        turned = [node("Transpose", [name], [f"{name}t"], perm=[0, 1, 3, 2]) for name in ("q", "vh")]
        nodes += [*turned, node("MatMul", ["kh", "qt"], ["s"], name="a.scores"), node("Softmax", ["s"], ["p"], axis=2)]
        nodes.append(node("MatMul", ["vht", "p"], ["y"], name="a.context"))
    else:
        # Scaling and rotation after the repetition change nothing of it.
        nodes += [node("Mul", ["kh", "scale"], ["kr"]), node("Transpose", ["kr"], ["kt"], perm=[0, 1, 3, 2])]
        nodes += [node("MatMul", ["q", "kt"], ["s"], name="a.scores"), node("Softmax", ["s"], ["p"])]
        nodes.append(node("MatMul", ["p", "vh"], ["y"], name="a.context"))
    keys = ["batch", PAIRS, ROWS, WIDTH]
    inputs = {"q": ["batch", HEADS, ROWS, WIDTH], "k": keys, "v": keys}
    weights = CONSTANTS | {"scale": (ROWS, WIDTH)}
    path = saved(nodes, inputs, weights, opset=23)
    for batch in (1, 3):
        net = import_onnx(path, dims={"batch": batch}).network
        assert net.batch == batch
        scores, context = net.mac_layers
        assert (scores.G, scores.N, scores.K, scores.C) == (PAIRS, TIMES * ROWS, ROWS, WIDTH)
        assert (context.G, context.N, context.K, context.C) == (PAIRS, TIMES * ROWS, WIDTH, ROWS)
        assert scores.second_elements == context.second_elements == PAIRS * ROWS * WIDTH
        assert net.macs == 2 * HEADS * ROWS * ROWS * WIDTH


def test_keys_that_differ_after_they_were_repeated_are_all_counted(saved):
    """A scale of its own for every head of queries."""
    nodes = [
        *repeated("k", "Expand"),
        node("Mul", ["kh", "scale"], ["kr"]),
        node("Transpose", ["kr"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["y"], name="scores"),
    ]
    inputs = {"q": ["batch", HEADS, ROWS, WIDTH], "k": ["batch", PAIRS, ROWS, WIDTH]}
    (layer,) = import_onnx(saved(nodes, inputs, CONSTANTS | {"scale": (HEADS, 1, 1)})).network.mac_layers
    assert (layer.G, layer.N) == (HEADS, ROWS)


def test_keys_joined_to_those_of_earlier_steps_are_a_cache(saved):
    """One new token to five kept ones, as decoders are exported; values are written into a buffer of six."""
    nodes = [
        node("Neg", ["k"], ["k1"]),
        node("Concat", ["past_k", "k1"], ["k6"], axis=2),
        node("ScatterND", ["past_v", "at", "v"], ["v6"]),
        *[node("Unsqueeze", [name, "two"], [f"{name}u"]) for name in ("k6", "v6")],
        *[node("Expand", [f"{name}u", "five"], [f"{name}e"]) for name in ("k6", "v6")],
        *[node("Reshape", [f"{name}e", "four"], [f"{name}h"]) for name in ("k6", "v6")],
        node("Transpose", ["k6h"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["s"], name="scores"),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "v6h"], ["y"], name="context"),
    ]
    one, past, whole = ["batch", PAIRS, 1, WIDTH], ["batch", PAIRS, 5, WIDTH], ["batch", PAIRS, 6, WIDTH]
    at = (TensorProto.INT64, ["batch", PAIRS, 1, 3])
    path = saved(nodes, {"q": ["batch", HEADS, 1, WIDTH], "k": one, "v": one, "past_k": past, "past_v": whole, "at": at}, CONSTANTS)
    scores, context = import_onnx(path).network.mac_layers
    assert (scores.cached, context.cached) == (True, True)
    assert (scores.G, scores.N, scores.K, scores.second_elements) == (PAIRS, TIMES, 6, PAIRS * 6 * WIDTH)
    assert context.second_elements == PAIRS * 6 * WIDTH


@pytest.mark.parametrize(
    ("rows", "past", "window", "columns", "macs"),
    [
        (1, 99, -1, 100, 100),
        (1, 99, 16, 16, 16),
        (1, 9, 16, 10, 10),
        (1, 99, 1, 1, 1),
        (8, 0, 3, 8, 8 * 3),
        (8, 20, 5, 12, 8 * 5),
        (8, 2, 100, 10, 8 * 10),
    ],
)
def test_local_windows_of_grouped_queries(rows, past, window, columns, macs, saved):
    """A query meets its own key and those of its window before it; keys that no query meets are not read."""
    inputs = ["qkv", "", "", *(["pk", "pv"] if past else ["", ""]), "len", "total"]
    flags = {"local_window_size": window} if window > 0 else {}
    nodes = [node("GroupQueryAttention", inputs, ["y", "nk", "nv"], name="a", num_heads=8, kv_num_heads=2, **flags, **MS)]
    kept = ["batch", 2, past, 4]
    inputs = {"qkv": ["batch", rows, 48]} | ({"pk": kept, "pv": kept} if past else {})
    ints = {"len": np.zeros(1, np.int32), "total": np.zeros(1, np.int32)}
    net = import_onnx(saved(nodes, inputs, ints)).network
    scores, context = net.mac_layers
    assert scores.macs == context.macs == 8 * macs * 4
    assert (columns, columns) == (scores.K, context.C)
    assert scores.second_elements == 2 * columns * 4
    assert scores.cached == (past > 0)


def known(operator, domain=""):
    """Whether the installed library defines an operator."""
    return any(schema.name == operator and schema.domain == domain for schema in onnx.defs.get_all_schemas())


@pytest.mark.parametrize("keys", [5, 7] if known("FlexAttention", "ai.onnx.preview") else [])
def test_operators_that_onnx_defines_by_products_are_written_out(keys, saved):
    """FlexAttention of 4 heads, 5 rows and 16 features."""
    shapes = {"q": ["batch", 4, 5, 16], "k": ["batch", 4, keys, 16], "v": ["batch", 4, keys, 16]}
    made = node("FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview")
    net = import_onnx(saved([made], shapes, opset=26)).network
    assert [layer.macs for layer in net.mac_layers] == [4 * 5 * keys * 16] * 2


@pytest.mark.parametrize(
    ("flags", "met"),
    [
        ({"left_window_size": 2, "is_causal": 1}, 3),
        ({"left_window_size": 2, "right_window_size": 0}, 3),
        ({"left_window_size": 2, "right_window_size": 1}, 4),
        ({"left_window_size": 2}, 12),
        ({"left_window_size": -1, "right_window_size": -1}, 12),
        ({"left_window_size": 40, "is_causal": 1}, 12),
    ],
)
def test_windows_of_the_standard_attention(flags, met, saved):
    """A query meets its own position, so many to the left and, unless a mask hides them, so many to the right."""
    made = node("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=2, name="a", **flags)
    net = import_onnx(saved([made], {key: ["batch", 12, 8] for key in "qkv"}, opset=25)).network
    assert [layer.macs for layer in net.mac_layers] == [2 * 12 * met * 4] * 2


@pytest.mark.parametrize(
    ("made", "causal"),
    [
        (node("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=2, is_causal=1, name="a"), True),
        (node("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=2, name="a"), False),
        (node("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=2, unidirectional=1, name="a", **MS), True),
        (node("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=2, name="a", **MS), False),
    ],
)
def test_causal_masks_of_attention_operators(made, causal, saved):
    """The products of the whole matrix are counted; hardware that leaves out what is masked runs (n + 1) / 2n of them."""
    net = import_onnx(saved([made], {key: ["batch", 5, 8] for key in "qkv"}, opset=23)).network
    assert net.macs == 2 * 2 * 25 * 4
    assert {layer.causal_share for layer in net.mac_layers} == ({0.6} if causal else {1.0})
