"""Measuring an ONNX model: the instrumented network against plain numpy, the journal, and every input that cannot be measured."""

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.accuracy.measuring.measure import measure, output_score  # noqa: E402
from dse.accuracy.measuring.onnx_model import check_images, open_onnx  # noqa: E402
from dse.accuracy.measuring.profile_model import profile_onnx  # noqa: E402
from dse.accuracy.measuring.settings import Settings  # noqa: E402
from dse.accuracy.profiles.loading import load_profile  # noqa: E402
from dse.accuracy.profiles.schema import profile_text  # noqa: E402
from dse.errors import InputError  # noqa: E402
from dse.precision.formats.quantize import quantize  # noqa: E402

RNG = np.random.default_rng(0)
CONV = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
NORM = [RNG.uniform(0.5, 1.5, 4), RNG.normal(size=4), RNG.normal(size=4), RNG.uniform(0.5, 1.5, 4)]
FC = RNG.normal(size=(5, 4)).astype(np.float32)
IMAGES = RNG.normal(size=(40, 3, 8, 8)).astype(np.float32)


def save(path, nodes, tensors, *, shape=("N", 3, 8, 8), output="out", opset=13, rank=2):
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["A", "B", "C", "D"][:rank])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def network(path, *, softmax=False, **options):
    """Convolution, batch norm, ReLU, mean over pixels, fully connected layer."""
    nodes = [
        helper.make_node("Conv", ["x", "features.0.weight"], ["c"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["logits"], transB=1),
    ]
    nodes += [helper.make_node("Softmax", ["logits"], ["out"])] if softmax else []
    tensors = dict(zip(("gamma", "beta", "mean", "var"), NORM, strict=True)) | {
        "features.0.weight": CONV,
        "fc.weight": FC,
    }
    return save(path, nodes, tensors, output="out" if softmax else "logits", **options)


def folded():
    """Weight and bias of convolution and batch norm in one."""
    gamma, beta, mean, variance = NORM
    scale = gamma / np.sqrt(variance + 1e-5)
    return CONV * scale[:, None, None, None], beta - mean * scale


def by_hand(images, weight, bias, fc, quantize_input=None):
    """The network in plain numpy."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(images), 4, 8, 8))
    for r in range(3):
        for s in range(3):
            result += np.einsum("nchw,kc->nkhw", padded[:, :, r : r + 8, s : s + 8], weight[:, :, r, s])
    pooled = np.maximum(result + bias[None, :, None, None], 0.0).mean(axis=(2, 3))
    return (pooled if quantize_input is None else quantize_input(pooled)) @ fc.T


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return open_onnx(network(tmp_path_factory.mktemp("onnx") / "small.onnx"))


def test_layers_have_the_names_of_their_weights(model):
    assert model.layers == ("features.0", "fc")
    assert model.weights == CONV.size + FC.size
    assert model.details["features.0"].macs == 4 * 3 * 9 * 64
    assert model.details["fc"].macs == 20


def test_without_quantization_it_is_the_network(model):
    outputs = model.outputs(IMAGES, {}, {}, model.ranges(IMAGES))
    assert outputs == pytest.approx(by_hand(IMAGES, *folded(), FC), abs=1e-4)


def test_quantized_weight_is_the_folded_one(model):
    weight, bias = folded()
    narrow = quantize(weight.astype(np.float32), "int4:channel")
    outputs = model.outputs(IMAGES, {"features.0": 4}, {}, model.ranges(IMAGES))
    assert outputs == pytest.approx(by_hand(IMAGES, narrow, bias, FC), abs=1e-4)
    assert np.abs(outputs - by_hand(IMAGES, weight, bias, FC)).max() > 0.01


def test_quantized_input_saturates_at_its_range(model):
    weight, bias = folded()
    ranges = model.ranges(IMAGES)
    low, high = ranges["fc"]
    assert low == 0.0
    steps = 15.0

    def rounded(x):
        return np.clip(np.rint(x / (high / steps)), 0, steps) * high / steps

    outputs = model.outputs(IMAGES, {}, {"fc": 4}, ranges)
    assert outputs == pytest.approx(by_hand(IMAGES, weight, bias, FC, rounded), abs=0.02)
    assert ranges["features.0"][0] == -ranges["features.0"][1]
    assert ranges["features.0"][1] == pytest.approx(np.percentile(np.abs(IMAGES), 99.9))


def test_one_run_leaves_nothing_behind(model):
    ranges = model.ranges(IMAGES)
    before = model.outputs(IMAGES, {}, {}, ranges)
    model.outputs(IMAGES, {"fc": 2}, {"features.0": 2}, ranges)
    assert (model.outputs(IMAGES, {}, {}, ranges) == before).all()


def test_final_softmax_fixed_batch_and_per_tensor_scales(model, tmp_path):
    other = open_onnx(network(tmp_path / "b.onnx", softmax=True, shape=(7, 3, 8, 8)), per_channel=False)
    ranges = model.ranges(IMAGES)
    assert other.batch == 7
    assert other.outputs(IMAGES, {}, {}, ranges) == pytest.approx(model.outputs(IMAGES, {}, {}, ranges), abs=1e-5)
    weight, bias = folded()
    narrow = quantize(weight.astype(np.float32), "int3")
    expected = by_hand(IMAGES, narrow, bias, FC)
    assert other.outputs(IMAGES, {"features.0": 3}, {}, ranges) == pytest.approx(expected, abs=1e-4)


def test_scores_by_hand():
    base, same = np.log([[0.5, 0.5]]), np.log([[0.5, 0.5]])
    other, label = np.log([[0.25, 0.75]]), np.array([0])
    assert output_score("kl", base, same, None) == pytest.approx(0.0, abs=1e-12)
    assert output_score("kl", base, other, None) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert output_score("loss", base, other, label) == pytest.approx(np.log(2))
    assert output_score("loss", other, base, label) == 0.0


def test_the_noise_of_a_tensor_by_hand(model):
    name = model.layers[0]
    exact = model.tensors[model.details[name].weight].astype(np.float64)
    narrow = quantize(exact, "int4:channel", channel_axis=model.details[name].channel_axis)
    ranges = model.ranges(IMAGES)
    assert model.tensor_noise(IMAGES, name, "weight", 4, ranges) == pytest.approx(
        ((narrow - exact) ** 2).sum() / (exact**2).sum(), rel=1e-5
    )
    noise = [model.tensor_noise(IMAGES, name, "activation", bits, ranges) for bits in (3, 4, 8)]
    assert noise[0] > noise[1] > noise[2] > 0
    assert noise[1] / noise[0] == pytest.approx((7 / 15) ** 2 if ranges[name][0] == 0 else (3 / 7) ** 2, rel=0.35)
    file = measure(model, IMAGES, None, Settings((4, 8), (4, 8), score="tensor", plans=0))
    assert file.layers[name]["weight"][4] == pytest.approx(model.tensor_noise(IMAGES, name, "weight", 4, ranges))


def test_measured_profile_loads_and_predicts(model, tmp_path):
    settings = Settings(weight_widths=(3, 4, 8), activation_widths=(3, 4, 8), plans=10)
    file = measure(model, IMAGES, None, settings)
    path = tmp_path / "small.yaml"
    path.write_text(profile_text(file))
    profile = load_profile(path)
    assert profile.operands == ("weight", "activation")
    assert profile.unit == "nat"
    table, extrapolated = profile.score_table([3, 8], "weight")
    assert (table[:, 0] > table[:, 1]).all()
    assert not extrapolated.any()
    assert len(profile.point_scores) == 10
    assert np.isfinite(profile.drop_of_score(profile.point_scores)).all()


def test_labels_make_the_prediction_top1(model):
    labels = model.outputs(IMAGES, {}, {}, model.ranges(IMAGES)).argmax(axis=1)
    settings = Settings(weight_widths=(2, 3, 8), activation_widths=(2, 3, 8), score="loss", plans=8)
    file = measure(model, IMAGES, labels, settings)
    assert file.prediction.quantity == "top1"
    assert file.prediction.baseline == 100.0
    assert all(0.0 <= point.value <= 100.0 for point in file.points)


def test_interrupted_measurement_goes_on(model, tmp_path):
    class Interrupted(Exception):
        pass

    settings = Settings(weight_widths=(4, 8), activation_widths=(4, 8), plans=4)
    journal = tmp_path / "small.part"
    seen = []

    def stop(done, total, seconds):
        seen.append((done, total))
        if done == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        measure(model, IMAGES, None, settings, journal, stop)
    assert seen[-1] == (5, 12)
    journal.write_text(journal.read_text() + '{"name": "fc wei')
    kept = journal.read_text().splitlines()[:6]
    resumed = measure(model, IMAGES, None, settings, journal)
    assert resumed == measure(model, IMAGES, None, settings)
    lines = journal.read_text().splitlines()
    assert lines[:6] == kept
    assert len(lines) == 1 + 12
    assert len({json.loads(line)["name"] for line in lines[1:]}) == 12
    with pytest.raises(InputError, match="is of another model, other data or settings"):
        measure(model, IMAGES, None, Settings((4, 8), (4, 8), plans=4, seed=1), journal)


def test_same_seed_same_profile(model):
    settings = Settings(weight_widths=(4, 8), activation_widths=(4, 8), plans=4, seed=3)
    assert profile_text(measure(model, IMAGES, None, settings)) == profile_text(measure(model, IMAGES, None, settings))


def test_data_of_the_wrong_size(model):
    with pytest.raises(
        InputError, match=r"data.npz: expected images of 3 x 8 x 8 as the model takes them, got shape \[4, 8, 8, 3\]"
    ):
        check_images(model, np.zeros((4, 8, 8, 3)), "data.npz")
    with pytest.raises(InputError, match="expected finite numbers"):
        check_images(model, np.full((4, 3, 8, 8), np.nan), "data.npz")


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        (Settings(), np.zeros(3, dtype=np.int64), "expected a label for each of the 40 images, got 3"),
        (Settings(score="loss"), None, "the score 'loss' needs labels"),
        (Settings(score="tensor", pairs=1), None, "there are no pairs to measure"),
        (Settings(weight_widths=(1, 8)), None, "expected widths from 2 to 16"),
        (Settings(plans=2), None, "plans need two widths"),
        (Settings(weight_widths=(3, 8), activation_widths=(4, 8)), None, r"shared widths \[8\]"),
    ],
)
def test_settings_that_do_not_fit(model, settings, labels, message):
    with pytest.raises(InputError, match=message):
        measure(model, IMAGES, labels, settings)


def test_dynamic_shapes(tmp_path):
    with pytest.raises(
        InputError, match=r"input 'x' has dynamic shape \['N', 3, 'H', 8\]; export the model with fixed sizes"
    ):
        open_onnx(network(tmp_path / "d.onnx", shape=("N", 3, "H", 8)))


def test_layers_that_cannot_be_measured_are_named_with_their_share(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["h"], name="first"),
        helper.make_node("Transpose", ["h"], ["t"]),
        helper.make_node("MatMul", ["h", "t"], ["s"], name="scores"),
        helper.make_node("MatMul", ["s", "h"], ["out"], name="mix"),
    ]
    path = save(tmp_path / "attention.onnx", nodes, {"w": RNG.normal(size=(192, 4))}, shape=(4, 3, 8, 8))
    with pytest.raises(
        InputError, match=r"'scores' \(MatMul without constant weights, 2.0 % of the MACs\), 'mix' \(MatMul"
    ):
        open_onnx(path)
    skipped = open_onnx(path, skip_unsupported=True)
    assert skipped.layers == ("first",)
    assert dict(skipped.kept) == {"scores": 32, "mix": 32}
    assert "stay in full precision: 'scores', 'mix'" in skipped.notes[0]


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="is no ONNX model that can be read"):
        open_onnx(tmp_path / "text.onnx")
    only = [helper.make_node("Relu", ["x"], ["out"])]
    with pytest.raises(InputError, match="has no convolution or fully connected layer"):
        open_onnx(save(tmp_path / "relu.onnx", only, {}, rank=4))
    with pytest.raises(InputError, match="uses operator set 9; export the model with 11 or newer"):
        open_onnx(save(tmp_path / "old.onnx", only, {}, rank=4, opset=9))


def test_profile_of_a_model_file(model, tmp_path):
    labels = model.outputs(IMAGES, {}, {}, model.ranges(IMAGES)).argmax(axis=1)
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=labels)
    path, out = network(tmp_path / "small.onnx"), tmp_path / "profile.yaml"
    settings = Settings((2, 3, 8), (2, 3, 8), plans=8)
    profile_onnx(path, tmp_path / "data.npz", out, settings, network="mine")
    profile = load_profile(out)
    assert (profile.network, profile.quantity, profile.baseline) == ("mine", "top1", 100.0)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["data.npz", "profile.yaml", "small.onnx"]
    with pytest.raises(InputError, match="exists already"):
        profile_onnx(path, tmp_path / "data.npz", out, settings)


def test_profile_writes_nothing_when_something_is_wrong(tmp_path):
    path = network(tmp_path / "small.onnx")
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=np.full(40, 7))
    with pytest.raises(InputError, match="has label 7, but the model has 5 classes"):
        profile_onnx(path, tmp_path / "data.npz", tmp_path / "out.yaml", Settings((4, 8), (4, 8), plans=4))
    with pytest.raises(InputError, match="there is no folder"):
        profile_onnx(path, tmp_path / "data.npz", tmp_path / "none" / "out.yaml", Settings())
    np.savez(tmp_path / "data.npz", images=IMAGES[:, :, :4])
    with pytest.raises(InputError, match="expected images of 3 x 8 x 8"):
        profile_onnx(path, tmp_path / "data.npz", tmp_path / "out.yaml", Settings())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["data.npz", "small.onnx"]


def test_plans_that_lose_nothing_leave_scores_without_a_predictor(model):
    """Top-1 of plans of 12 and 16 bits is that of the network: the scores stay, and a sentence says why there is no link."""
    labels = model.outputs(IMAGES, {}, {}, {}).argmax(axis=1)
    found = measure(model, IMAGES, labels, Settings((12, 16), (12, 16), plans=4))
    assert found.prediction.link is None
    assert found.points == []
    assert any("none of 4 measured plans lost anything" in note for note in found.notes)
