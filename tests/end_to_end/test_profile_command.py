"""dse profile and dse calibrate as a user runs them: a model goes in, a profile comes out that dse explore takes."""

import json
import signal

import numpy as np
import pytest
import yaml

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.accuracy.measuring.journal import Notebook  # noqa: E402

FAST = ("--weight-widths", "2,4,8", "--activation-widths", "2,4,8", "--images", "64", "--plans", "9")


def write_model(path, shape=("N", 3, 12, 12), extra=()):
    """Two convolutions, a mean and a classifier; ``extra`` nodes come after the first convolution."""
    random = np.random.default_rng(0)
    tensors = {
        "conv1.weight": random.normal(size=(8, 3, 3, 3)) / 5,
        "conv2.weight": random.normal(size=(12, 8, 3, 3)) / 8,
        "fc.weight": random.normal(size=(6, 12)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight"], ["a"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        *extra,
        helper.make_node("Conv", ["b2" if extra else "b", "conv2.weight"], ["c"], name="conv2", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["logits"], name="fc", transB=1),
    ]
    if extra:
        tensors["odd.weight"] = random.normal(size=(8, 8, 3, 3)) / 8
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 6])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def folder(dse_here, tmp_path_factory):
    """A model, data with the labels that the model itself gives, and its workload."""
    import onnxruntime

    path = tmp_path_factory.mktemp("profile")
    write_model(path / "tiny.onnx")
    images = np.random.default_rng(1).normal(size=(96, 3, 12, 12)).astype(np.float32)
    logits = onnxruntime.InferenceSession(str(path / "tiny.onnx")).run(None, {"x": images})[0]
    np.savez(path / "data.npz", images=images, labels=logits.argmax(axis=1))
    np.savez(path / "images.npz", images=images)
    dse_here("import", "tiny.onnx", "-o", "tiny.yaml", "--batch", 16, cwd=path)
    dse_here("profile", "tiny.onnx", "--data", "data.npz", "-o", "profile.yaml", *FAST, cwd=path)
    return path


def test_explore_takes_the_profile(dse_here, folder):
    out = folder / "run"
    args = ("tiny.yaml", "--profile", "profile.yaml", "--max-accuracy-drop", "30", "--mode", "inference")
    dse_here("explore", *args, "--trials", 8, "--out", out, cwd=folder)
    assert json.loads((out / "run.json").read_text())["profile"]
    assert len((out / "front.csv").read_text().splitlines()) > 1


def test_the_profile_says_what_it_is(folder):
    text = yaml.safe_load((folder / "profile.yaml").read_text())
    assert text["network"] == "tiny"
    assert text["prediction"]["quantity"] == "top1"
    assert text["prediction"]["baseline"] == 100.0
    assert list(text["layers"]) == ["conv1", "conv2", "fc"]
    assert len(text["points"]) == 9
    for layer in text["layers"].values():
        for scores in layer.values():
            assert scores[2] > scores[8]
    assert not (folder / "profile.yaml.part").exists()


def test_an_interrupted_profile_goes_on(dse_here, folder, tmp_path, monkeypatch):
    command = ("profile", folder / "tiny.onnx", "--data", folder / "data.npz", "-o", "again.yaml", *FAST)
    part = tmp_path / "again.yaml.part"
    value = Notebook.value

    def then_ctrl_c(notebook, name, measurement):
        found = value(notebook, name, measurement)
        if len(part.read_text().splitlines()) == 1 + 5:
            signal.raise_signal(signal.SIGINT)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Notebook, "value", then_ctrl_c)
        told = dse_here(*command, cwd=tmp_path, code=130).stderr
    assert "goes on from here" in told
    assert not (tmp_path / "again.yaml").exists()
    assert len(part.read_text().splitlines()) == 1 + 5
    dse_here(*command, cwd=tmp_path)
    assert (tmp_path / "again.yaml").read_text() == (folder / "profile.yaml").read_text()


def test_resuming_measures_only_what_is_missing(dse_here, folder, tmp_path):
    dse_here("profile", folder / "tiny.onnx", "--data", folder / "data.npz", "-o", "whole.yaml", *FAST, "--seed", 3, cwd=tmp_path)
    whole = (tmp_path / "whole.yaml").read_text()
    from dse.accuracy.measuring.profile_model import profile_onnx
    from dse.accuracy.measuring.settings import settings

    class Stop(Exception):
        pass

    def stop(done, total, left):
        if done == 7:
            raise Stop

    asked = settings("2,4,8", "2,4,8", "kl", 9, 3)
    with pytest.raises(Stop):
        profile_onnx(folder / "tiny.onnx", folder / "data.npz", tmp_path / "half.yaml", asked, images=64, progress=stop)
    part = tmp_path / "half.yaml.part"
    assert len(part.read_text().splitlines()) == 1 + 7
    # A changed value in the journal comes back: what is there is not measured again.
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    rows[1]["value"] = 123.0
    part.write_text("\n".join(map(json.dumps, rows)) + "\n")
    profile_onnx(folder / "tiny.onnx", folder / "data.npz", tmp_path / "half.yaml", asked, images=64)
    assert "123.0" in (tmp_path / "half.yaml").read_text()
    assert "123.0" not in whole


def test_a_profile_without_points_is_calibrated_by_measuring_plans(dse_here, folder, tmp_path):
    model, data = folder / "tiny.onnx", folder / "data.npz"
    bare = (*FAST[:-1], "0")
    dse_here("profile", model, "--data", data, "-o", "bare.yaml", *bare, cwd=tmp_path)
    done = dse_here("calibrate", "bare.yaml", "--model", model, "--data", data, "--plans", 9, "-o", "full.yaml", cwd=tmp_path)
    assert "saturating" in done.stdout
    assert "leave-one-out" in done.stdout
    assert len(yaml.safe_load((tmp_path / "full.yaml").read_text())["points"]) == 9
    done = dse_here("calibrate", "full.yaml", "--model", model, "--data", data, "-o", "x.yaml", cwd=tmp_path, code=2)
    assert "has measured points" in done.stderr


def test_measured_plans_calibrate_and_kinds_stay_apart(dse_here, folder, tmp_path):
    bare = (*FAST[:-1], "0")
    dse_here("profile", folder / "tiny.onnx", "--data", folder / "images.npz", "-o", "bare.yaml", *bare, cwd=tmp_path)
    (tmp_path / "points.csv").write_text("plan,value\nw8a8,0.01\nw4a4,0.2\nw4a8,0.1\nw2a2,1.5\n")
    args = ("--points", "points.csv", "--workload", folder / "tiny.yaml")
    dse_here("calibrate", "bare.yaml", *args, "--kind", "quantization-aware", "-o", "qat.yaml", cwd=tmp_path)
    assert yaml.safe_load((tmp_path / "qat.yaml").read_text())["prediction"]["calibration"] == "quantization-aware"
    (tmp_path / "more.csv").write_text("name,plan,value\nlast,w2a4,0.9\n")
    more = ("--points", "more.csv", "--workload", folder / "tiny.yaml", "--kind", "post-training", "-o", "no.yaml")
    done = dse_here("calibrate", "qat.yaml", *more, cwd=tmp_path, code=2)
    assert "quantization-aware points" in done.stderr
    assert not (tmp_path / "no.yaml").exists()


def wrong(dse_here, folder, tmp_path, *args):
    """The single sentence of an error, after checking that nothing was written."""
    done = dse_here("profile", *args, "-o", tmp_path / "no.yaml", *FAST, cwd=folder, code=2)
    assert not list(tmp_path.glob("no.yaml*"))
    return done.stderr


def test_images_of_another_size(dse_here, folder, tmp_path):
    np.savez(tmp_path / "small.npz", images=np.zeros((8, 3, 9, 12), dtype=np.float32))
    assert "3 x 12 x 12" in wrong(dse_here, folder, tmp_path, "tiny.onnx", "--data", tmp_path / "small.npz")


def test_dynamic_shapes(dse_here, folder, tmp_path):
    write_model(tmp_path / "open.onnx", shape=("N", 3, "H", "W"))
    told = wrong(dse_here, folder, tmp_path, tmp_path / "open.onnx", "--data", "data.npz")
    assert "dynamic" in told
    assert "1 problem" in told or told.count("\n") <= 2


def test_labels_that_do_not_match(dse_here, folder, tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(5, dtype=np.int64))
    told = wrong(dse_here, folder, tmp_path, "tiny.onnx", "--data", "images.npz", "--labels", tmp_path / "labels.npy")
    assert "a label for each of the 96 images" in told
    np.save(tmp_path / "labels.npy", np.full(96, 6))
    told = wrong(dse_here, folder, tmp_path, "tiny.onnx", "--data", "images.npz", "--labels", tmp_path / "labels.npy")
    assert "has label 6, but the model has 6 classes" in told


def test_unsupported_layers_are_named_with_their_share(dse_here, folder, tmp_path):
    odd = helper.make_node("ConvTranspose", ["b", "odd.weight"], ["b2"], name="odd", pads=[1] * 4)
    write_model(tmp_path / "odd.onnx", extra=(odd,))
    told = wrong(dse_here, folder, tmp_path, tmp_path / "odd.onnx", "--data", "data.npz")
    assert "odd" in told
    assert "%" in told
    args = (tmp_path / "odd.onnx", "--data", folder / "images.npz", "-o", "kept.yaml", "--skip-unsupported")
    dse_here("profile", *args, *FAST[:-1], "0", cwd=tmp_path)
    assert list(yaml.safe_load((tmp_path / "kept.yaml").read_text())["kept"].values()) == [32]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--weight-widths", "4,x", "expected widths separated by commas"),
        ("--score", "klx", "unknown score 'klx'"),
        ("--plans", "2", "plans need"),
        ("--labels", "nowhere.npy", "no such file"),
    ],
)
def test_wrong_options(dse_here, folder, tmp_path, option, value, told):
    assert told in dse_here(
        "profile", "tiny.onnx", "--data", "images.npz", "-o", tmp_path / "no.yaml", option, value, cwd=folder, code=2
    ).stderr  # fmt: skip


def test_calibrate_says_what_it_needs(dse_here, folder, tmp_path):
    done = dse_here("calibrate", folder / "profile.yaml", "-o", "x.yaml", cwd=tmp_path, code=2)
    assert "needs --points, or --model with --data" in done.stderr
