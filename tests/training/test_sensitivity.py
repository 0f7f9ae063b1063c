"""A profile of any torch module, measured on its own loss: scores by hand, resumed, and taken by explore."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import dse  # noqa: E402
from dse.accuracy.profiles.schema import profile_text  # noqa: E402
from dse.cli import app  # noqa: E402
from dse.errors import InputError  # noqa: E402
from dse.precision.formats.properties import parse_format  # noqa: E402
from dse.training.loops.script import made_by  # noqa: E402
from dse.training.rounded.layers import store  # noqa: E402

FORMATS = ("int3", "int5", "int8")


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(1)
    x = torch.randn(64, 6)
    return x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(dim=1)


@pytest.fixture(scope="module")
def trained(data):
    made = module()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(made(data[0]), data[1]).backward()
        optimizer.step()
    return made


@pytest.fixture(scope="module")
def profile(trained, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("profile") / "profile.yaml"
    file = dse.sensitivity(trained, *data, functional.cross_entropy, FORMATS, plans=8, steps=6, batch=32, out=out, network="tiny")
    return file, out


def test_scores_are_what_rounding_by_hand_gives(trained, data, profile):
    file, _ = profile
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    seen = order[:32].sort().values
    x, y = data[0][seen], data[1][seen]
    parameters = list(trained.parameters())
    exact = torch.autograd.grad(functional.cross_entropy(trained(x), y), parameters)
    weight = trained[0].weight.detach()
    rounded = store(weight, parse_format("int3"), "weight", False)
    hidden = torch.tanh(functional.linear(x, parameters[0] + (rounded - weight), parameters[1]))
    found = torch.autograd.grad(functional.cross_entropy(trained[2](hidden), y), parameters)
    change = sum(float((a - b).square().sum()) for a, b in zip(found, exact, strict=True))
    assert file.layers["0"]["weight"][3] == pytest.approx(change / sum(float(g.square().sum()) for g in exact), rel=1e-4)


def test_narrower_is_noisier_and_errors_are_measured(profile):
    file, _ = profile
    assert list(file.layers) == list(file.error_scores) == ["0", "2"]
    for given in (*[scores for layer in file.layers.values() for scores in layer.values()], *file.error_scores.values()):
        assert given[3] > given[5] > given[8] > 0.0
    assert file.error_tensor.widths[8] >= file.error_tensor.baseline > 0.0
    assert file.prediction.quantity == "loss"
    assert len(file.points) == 8
    assert file.prediction.link


def test_the_module_is_left_as_it_was(trained, data, profile):
    assert not trained._forward_hooks
    assert trained.training
    assert "dse_prepared.losses" not in trained.state_dict()


def test_an_interrupted_measurement_goes_on(trained, data, profile, tmp_path):
    file, _ = profile
    out = tmp_path / "again.yaml"
    asked = {"plans": 8, "steps": 6, "batch": 32, "out": out, "network": "tiny"}

    def stop(done, _total, _left):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dse.sensitivity(trained, *data, functional.cross_entropy, FORMATS, progress=stop, **asked)
    assert not trained._forward_hooks
    rows = [json.loads(line) for line in (tmp_path / "again.yaml.part").read_text().splitlines()]
    assert len(rows) == 11
    counts = []
    again = dse.sensitivity(trained, *data, functional.cross_entropy, FORMATS, progress=lambda *told: counts.append(told), **asked)
    assert profile_text(again) == profile_text(file) == out.read_text()
    assert not (tmp_path / "again.yaml.part").exists()
    with pytest.raises(InputError, match="exists already"):
        dse.sensitivity(trained, *data, functional.cross_entropy, FORMATS, **asked)


def test_explore_takes_the_profile(trained, data, profile):
    net = dse.trace(trained, data[0][:32], name="tiny")
    loaded = dse.load_profile(profile[1], net)
    wide, narrow = (loaded.predict_drop(dse.Plan.from_bits(net, weight=bits, error=8)) for bits in (8, 5))
    assert wide <= narrow
    assert loaded.error_drop(8) >= 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": ("int4", "bfp4")}, "formats of different widths"),
        ({"formats": ("int4", "in8")}, "'in8' is no number format"),
        ({"score": "grad"}, "did you mean 'gradient'"),
        ({"plans": 2}, "at least 3 plans"),
        ({"targets": torch.zeros(3)}, "a target each, got 64 and 3"),
    ],
)
def test_errors_say_the_way_out(data, change, message):
    given = {"inputs": data[0], "targets": data[1], "loss": functional.cross_entropy, "formats": FORMATS} | change
    with pytest.raises(InputError) as caught:
        dse.sensitivity(module(), **given)
    assert message in str(caught.value)


SCRIPT = """
import torch

def make():
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    return torch.nn.Linear(4, 2), x, (x[:, 0] > 0).long(), torch.nn.functional.cross_entropy

def wrong():
    return 3

def fails():
    raise RuntimeError("no data")
"""


def test_the_command_measures_what_a_script_makes(tmp_path):
    script, out = tmp_path / "mine.py", tmp_path / "profile.yaml"
    script.write_text(SCRIPT)
    asked = ["--formats", "int3,int6", "--plans", "4", "--steps", "2", "--network", "line"]
    done = CliRunner().invoke(app, ["profile", f"{script}:make", "-o", str(out), *asked])
    assert done.exit_code == 0, done.output
    assert "line: 1 layers" in done.output
    assert dse.load_profile(out).network == "line"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mke", "has no function 'mke'; did you mean 'make'?"),
        ("wrong", "expected a function that returns (module, inputs, targets, loss)"),
        ("fails", "fails: RuntimeError: no data"),
    ],
)
def test_a_script_that_does_not_fit_is_said(tmp_path, name, message):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    with pytest.raises(InputError) as caught:
        made_by(f"{script}:{name}")
    assert message in str(caught.value)
    assert not (tmp_path / "profile.yaml").exists()
