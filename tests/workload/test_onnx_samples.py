"""Which axis of a model's input is the batch: what names, operators and users say."""

import numpy as np
import pytest

from dse.errors import InputError

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402

from dse.workload.from_onnx.network import import_onnx  # noqa: E402


def node(kind, inputs, outputs, **flags):
    return helper.make_node(kind, list(inputs), list(outputs), **flags)


def imported(path, **options):
    found = import_onnx(path, **options)
    return found.network.batch, found.network.macs, found.notes


FRAMES = [
    node("Transpose", ["x"], ["t"], perm=[1, 0]),
    node("Unsqueeze", ["t", "zero"], ["u"]),
    node("Conv", ["u", "w"], ["c"], pads=[1, 1], name="conv"),
    node("Relu", ["c"], ["y"], name="relu"),
]


def test_frames_of_sound_are_one_sample(saved):
    """100 frames of 80 features, 64 filters over three frames: 100 * 64 * 80 * 3."""
    path = saved(FRAMES, {"x": [100, 80]}, {"w": (64, 80, 3), "zero": np.array([0])})
    batch, macs, notes = imported(path)
    assert (batch, macs) == (1, 1_536_000)
    assert notes == ("'conv' (Conv) reads across axis 0 of 'x' [100, 80], so it is no batch: the model has one sample; --batch-dim "
                     "says otherwise",)  # fmt: skip


def test_rows_of_a_perceptron_are_samples(saved):
    nodes = [node("Gemm", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("Gemm", ["r", "b"], ["y"])]
    path = saved(nodes, {"x": [100, 80]}, {"a": (80, 16), "b": (16, 4)})
    batch, macs, notes = imported(path)
    assert (batch, macs) == (100, 80 * 16 + 16 * 4)
    assert notes == ("axis 0 of 'x' [100, 80] is the batch: no operator reads across it",)
    assert imported(path, batch_dim="none") == (1, 100 * macs, ())
    assert imported(path, batch_dim="0")[:2] == (100, macs)
    with pytest.raises(InputError, match="has no axis '2'; expected a number from 0, or none"):
        imported(path, batch_dim="2")


def test_an_image_without_a_batch(saved):
    nodes = [
        node("Unsqueeze", ["x", "zero"], ["u"]),
        node("Conv", ["u", "w"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "v"], ["y"]),
    ]
    path = saved(nodes, {"x": [3, 18, 18]}, {"w": (8, 3, 3, 3), "v": (8, 10), "zero": np.array([0])})
    assert imported(path)[:2] == (1, 8 * 27 * 256 + 80)


def attention(order):
    """One head over rows of 16 features, with the softmax over keys."""
    return [
        node("MatMul", ["x", "q"], ["Q"]),
        node("MatMul", ["x", "k"], ["K"]),
        node("MatMul", ["x", "v"], ["V"]),
        *[node("Transpose", [name], [f"{name}t"], perm=order[0]) for name in "QV"],
        node("Transpose", ["K"], ["Kt"], perm=order[1]),
        node("MatMul", ["Qt", "Kt"], ["s"], name="scores"),
        node("Softmax", ["s"], ["a"], axis=-1, name="soft"),
        node("MatMul", ["a", "Vt"], ["c"], name="context"),
        node("MatMul", ["c", "o"], ["y"]),
    ]


WEIGHTS = dict.fromkeys("qkvo", (16, 16))


@pytest.mark.parametrize(
    ("shape", "order", "batch"),
    [
        ([10, 4, 16], ((1, 0, 2), (1, 2, 0)), 4),
        ([4, 10, 16], ((0, 1, 2), (0, 2, 1)), 4),
        ([10, 16], ((0, 1), (1, 0)), 1),
    ],
    ids=["steps first", "batch first", "one sequence"],
)
def test_attention_runs_along_its_tokens(shape, order, batch, saved):
    found = imported(saved(attention(order), {"x": shape}, WEIGHTS))
    assert found[:2] == (batch, 10 * 4 * 16 * 16 + 2 * 10 * 10 * 16)


def test_names_decide_before_operators(saved):
    """A dimension whose name says batch is one, whatever reads across it; a first one whose name says time needs a size."""
    weights = {"w": (64, 80, 3), "zero": np.array([0])}
    assert imported(saved(FRAMES, {"x": ["batch", 80]}, weights), dims={"batch": 5})[0] == 5
    path = saved(FRAMES, {"x": ["frames", 80]}, weights)
    with pytest.raises(InputError, match="axis 0 is open; give its size with --dim 'frames=VALUE'"):
        imported(path)
    assert imported(path, dims={"frames": 50})[:2] == (1, 50 * 64 * 80 * 3)
    steps = [node("Identity", ["x"], ["i"]), *attention(((1, 0, 2), (1, 2, 0)))]
    steps[1].input[0] = "i"
    path = saved(steps, {"x": ["time", "N", 16]}, WEIGHTS)
    assert imported(path, dims={"time": 10, "N": 3})[:2] == (3, 10 * 4 * 256 + 2 * 1600)
    assert imported(path, dims={"time": 10})[:2] == (1, 10 * 4 * 256 + 2 * 1600)
    assert imported(path, dims={"time": 10, "N": 3}, batch_dim="N")[0] == 3
    with pytest.raises(InputError, match=r"did you mean 'time'.*or a name \(time, N\), or none"):
        imported(path, dims={"time": 10}, batch_dim="tima")


@pytest.mark.parametrize(
    ("nodes", "batch"),
    [
        ([node("ReduceMean", ["h"], ["y"], axes=[0], keepdims=0)], 1),
        ([node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0)], 12),
        ([node("ReduceMean", ["h"], ["y"], keepdims=0)], 12),
        ([node("Softmax", ["h"], ["y"], axis=0)], 1),
        ([node("Softmax", ["h"], ["y"], axis=1)], 12),
        ([node("Gather", ["h", "one"], ["y"], axis=0)], 1),
        ([node("Slice", ["h", "one", "two", "zero"], ["y"])], 1),
        ([node("Slice", ["h", "one", "two", "one"], ["y"])], 12),
        ([node("Concat", ["h", "t"], ["y"], axis=0)], 1),
        ([node("Concat", ["h", "h"], ["y"], axis=1)], 12),
        ([node("LayerNormalization", ["h", "s"], ["y"], axis=1)], 12),
        ([node("LayerNormalization", ["h", "all"], ["y"], axis=0)], 1),
        ([node("CumSum", ["h", "zero"], ["y"])], 12),
        ([node("Reshape", ["h", "split"], ["r"]), node("MatMul", ["r", "deep"], ["y"])], 12),
        ([node("MatMul", ["left", "h"], ["y"])], 1),
        ([node("Einsum", ["h", "h"], ["y"], equation="nf,ng->fg")], 12),
    ],
)
def test_what_reads_across_the_first_axis(nodes, batch, saved):
    """Of twelve rows: samples, unless they are summed, chosen from, joined, or multiplied with each other. A sum over all is a loss,
    and a product that sums over the samples of both its operands the gradient of a weight."""
    weights = {
        "w": (8, 6), "one": np.array([1]), "two": np.array([2]), "zero": np.array([0]), "t": (1, 6), "s": (6,), "all": (12, 6),
        "split": np.array([12, 2, 3]), "deep": (3, 5), "left": (7, 12),
    }  # fmt: skip
    path = saved([node("MatMul", ["x", "w"], ["h"]), *nodes], {"x": [12, 8]}, weights)
    assert imported(path)[0] == batch


def test_weights_that_differ_along_an_axis_make_it_no_batch(saved):
    """Twelve matrices for twelve heads, whose five rows may be samples, against one matrix for twelve samples."""
    heads = saved([node("MatMul", ["x", "w"], ["y"])], {"x": [12, 5, 8]}, {"w": (12, 8, 6)})
    assert imported(heads)[:2] == (5, 12 * 8 * 6)
    path = saved([node("MatMul", ["x", "w"], ["y"])], {"x": [12, 5, 8]}, {"w": (1, 8, 6)})
    assert imported(path)[:2] == (12, 5 * 8 * 6)


def test_the_batch_of_a_product_is_divided_out_where_it_stands(saved):
    """Samples between heads and positions: 3 heads of 4 samples of 6 rows."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]),
        node("Transpose", ["x"], ["k"], perm=[1, 0, 3, 2]),
        node("MatMul", ["t", "k"], ["y"], name="scores"),
    ]
    path = saved(nodes, {"x": ["batch", 3, 6, 8]}, {})
    found = import_onnx(path, dims={"batch": 4}).network
    assert found.batch == 4
    (layer,) = found.mac_layers
    assert (layer.G, layer.N, layer.K, layer.C) == (3, 6, 6, 8)
