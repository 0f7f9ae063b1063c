"""Profiles of plain torch modules, and scores from curvature where the Hessian is known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs lowprec-dse[torch]")

from torch import nn  # noqa: E402

from dse.accuracy.measuring.measure import measure  # noqa: E402
from dse.accuracy.measuring.settings import Settings  # noqa: E402
from dse.accuracy.profiles.loading import load_profile  # noqa: E402
from dse.errors import InputError  # noqa: E402
from dse.precision.formats.quantize import quantize  # noqa: E402
from dse.training.hessian import hessian_scores, hessian_traces  # noqa: E402
from dse.training.loops.torch_model import TorchModel  # noqa: E402
from dse.training.profile_torch import profile_torch  # noqa: E402


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


IMAGES = np.random.default_rng(0).normal(size=(32, 3, 6, 6)).astype(np.float32)


def test_a_plain_module_is_measured_and_left_as_it_was():
    module = plain()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = TorchModel(module, "plain", family="int:channel")
    assert model.layers == ("0", "4")
    assert model.weights == 3 * 8 * 9 + 8 * 4
    exact = model.outputs(IMAGES, {}, {}, {})
    found = model.outputs(IMAGES, {"4": 3}, {"4": 4}, {})
    with torch.no_grad():
        x = module[:4](torch.from_numpy(IMAGES)).numpy()
    weight, bias = (before[f"4.{part}"].numpy() for part in ("weight", "bias"))
    expected = quantize(x, "int4") @ quantize(weight, "int3:channel").T + bias
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.abs(found - exact).max() > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    file = measure(model, IMAGES, None, Settings((3, 6), (3, 6), "noise", plans=0))
    for scores in file.layers.values():
        assert scores["weight"][3] > scores["weight"][6] > 0
        assert scores["activation"][3] > scores["activation"][6] > 0


def test_noise_of_a_tensor_is_that_of_the_reference_quantizer():
    module = plain()
    model = TorchModel(module, "plain")
    weight = module[4].weight.detach().numpy()
    narrow = quantize(weight, "int3")
    assert model.tensor_noise(IMAGES, "4", "weight", 3, {}) == pytest.approx(((narrow - weight) ** 2).sum() / (weight**2).sum(), rel=1e-4)
    with torch.no_grad():
        x = module[:4](torch.from_numpy(IMAGES)).numpy()
    noise = ((quantize(x, "int4") - x) ** 2).sum() / (x**2).sum()
    assert model.tensor_noise(IMAGES, "4", "activation", 4, {}) == pytest.approx(noise, rel=1e-4)


def test_trace_of_softmax_regression_is_exact():
    """H = E[(diag p - p p') x x'] has the trace E[|x|^2 (1 - sum p^2)]."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False))
    images = np.random.default_rng(1).normal(size=(64, 3, 2, 2)).astype(np.float32)
    labels = np.zeros(64, dtype=np.int64)
    with torch.no_grad():
        p = module(torch.from_numpy(images)).softmax(dim=1)
        squares = (torch.from_numpy(images).flatten(1) ** 2).sum(dim=1)
        expected = float((squares * (1 - (p**2).sum(dim=1))).mean())
    assert hessian_traces(module, images, labels, draws=800)["1"] == pytest.approx(expected, rel=0.05)
    assert hessian_traces(module, images, labels, 4, 1) == hessian_traces(module, images, labels, 4, 1)


def test_curvature_says_how_the_loss_grows_with_the_error():
    torch.manual_seed(0)
    module = plain()
    labels = np.random.default_rng(2).integers(0, 4, 32)
    scores = hessian_scores(module, IMAGES, labels, (3, 4, 8), draws=4)
    assert set(scores) == {"0", "4"}
    for row in scores.values():
        assert row[3] > row[4] > row[8] > 0
        assert row[4] / row[8] > 50


def test_a_profile_is_written_and_calibrated(tmp_path):
    asked = Settings((2, 4, 8), (2, 4, 8), "kl", plans=8)
    file = profile_torch(plain(), IMAGES, None, tmp_path / "plain.yaml", "plain", asked)
    profile = load_profile(tmp_path / "plain.yaml")
    assert profile.layer_names == ("0", "4")
    assert len(profile.point_drops) == len(file.points) == 8
    assert not (tmp_path / "plain.yaml.part").exists()
    with pytest.raises(InputError, match="exists already"):
        profile_torch(plain(), IMAGES, None, tmp_path / "plain.yaml", "plain", asked)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_are_taken_as_arrays_are(tmp_path, kind):
    """The same profile from tensors as from arrays of the same values, whatever their width and whether they need gradients."""
    asked = Settings((4, 8), (4, 8), "kl", plans=8)
    images = torch.from_numpy(IMAGES).to(kind).requires_grad_()
    labels = torch.arange(len(IMAGES)) % 4
    found = profile_torch(plain(), images, labels, tmp_path / "tensors.yaml", "plain", asked)
    expected = profile_torch(plain(), images.detach().float().numpy(), labels.numpy(), tmp_path / "arrays.yaml", "plain", asked)
    assert found == expected
