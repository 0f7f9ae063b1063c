"""dse measure as a user runs it: a small network is trained in low precision, and what it leaves feeds the rest of the program."""

import json

import pandas as pd
import pytest

pytest.importorskip("torch", reason="needs lowprec-dse[torch]")
pytest.importorskip("sklearn", reason="needs lowprec-dse[torch]")

from dse import load_profile, load_workload
from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.precision import Schedule
from dse.training.records import measured_schedule, read_widths


@pytest.fixture(scope="module")
def folder(dse_here, tmp_path_factory):
    path = tmp_path_factory.mktemp("measure")
    dse_here("measure", "cnn", "--policy", "adapt", "--epochs", 2, "--profile-widths", "3,8", "-o", "adapt", cwd=path)
    dse_here("measure", "cnn", "--policy", "dynasty", "--epochs", 2, "-o", "dynasty", cwd=path)
    return path


def test_it_learns_and_says_so(folder):
    accuracy = pd.read_csv(folder / "adapt" / "accuracy.csv")
    assert accuracy["epoch"].tolist() == [1, 2]
    assert accuracy["accuracy"].iloc[-1] > 60.0
    assert accuracy["loss"].is_monotonic_decreasing
    told = json.loads((folder / "adapt" / "measure.json").read_text())
    assert told["accuracy"] == pytest.approx(accuracy["accuracy"].iloc[-1], abs=1e-3)
    assert told["iterations"] == accuracy["iterations"].iloc[-1] == 44


def test_its_workload_profile_and_traces_are_the_networks(folder):
    network = load_workload(folder / "adapt" / "digits_cnn.yaml")
    names = [layer.name for layer in network.mac_layers]
    profile = load_profile(folder / "adapt" / "profile.yaml", network)
    assert list(profile.layer_names) == names
    trace = Schedule.traced(folder / "adapt" / "trace_weight.csv", iterations=44)
    widths = [plan.widths("weight") for plan, _ in trace.plans(network)]
    assert widths[0].min() == widths[0].max() == 8
    assert any((row != 8).any() for row in widths)
    errors = pd.read_csv(folder / "adapt" / "error_profile.csv").pivot(index="layer", columns="bits", values="gradient_noise")
    assert set(errors.index) == set(names)
    assert (errors[3] > errors[8]).all()
    gradients = pd.read_csv(folder / "adapt" / "gradients.csv")
    assert (gradients["gradient_norm"] > 0).all()
    assert (gradients["error_peak"] >= 1).all()


@pytest.mark.parametrize("what", ["adapt", "dynasty"])
def test_what_a_policy_did_is_charged_by_the_cost_model(folder, what):
    network = load_workload(folder / what / "digits_cnn.yaml")
    schedule = measured_schedule(read_widths(folder / what / "formats.csv"), network, 44, what)
    assert schedule.iterations == 44
    assert len(schedule.phases) > 1
    if what == "dynasty":
        assert any(plan.is_blockwise for plan, _ in schedule.plans(network))
    hardware = load_hardware("flex_trainer")
    policy = evaluate(network, hardware, schedule).total
    wide = evaluate(network, hardware, Schedule.static("bfp8" if what == "dynasty" else "w16a16e16", 44)).total
    assert float(policy["energy_j"].iloc[0]) < float(wide["energy_j"].iloc[0])


def test_the_same_seed_gives_the_same_run(dse_here, folder, tmp_path):
    dse_here("measure", "cnn", "--policy", "adapt", "--epochs", 2, "-o", "again", cwd=tmp_path)
    for name in ("accuracy.csv", "formats.csv", "gradients.csv"):
        assert (tmp_path / "again" / name).read_text() == (folder / "adapt" / name).read_text()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("cnn", "--plan", "w4a4e8", "--policy", "cpt"), "one of --plan, --schedule and --policy"),
        (("cnn", "--policy", "adpat"), "did you mean 'adapt'"),
        (("lenet", "--plan", "w4a4e8"), "unknown network 'lenet'"),
        (("cnn", "--plan", "int3.5"), "int3.5"),
        (("cnn", "--plan", "w4a4e8", "--data", "nowhere"), "expected 'digits' or a folder"),
        (("cnn", "--plan", "w4a4e8", "--samples", "10"), "fewer than a batch of 64"),
        (("cnn", "--plan", "w4a4e8", "--rate", "-1"), "--rate: expected a number above 0"),
    ],
)
def test_wrong_input_is_one_message(dse_here, tmp_path, args, told):
    assert told in dse_here("measure", *args, "-o", "no", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "no").exists()


def test_a_schedule_of_another_length(dse_here, tmp_path):
    (tmp_path / "cyclic.yaml").write_text("kind: cyclic\nlow: 3\nhigh: 8\ncycles: 2\niterations: 45\n")
    done = dse_here("measure", "cnn", "--schedule", "cyclic.yaml", "--epochs", 2, "-o", "no", cwd=tmp_path, code=2)
    assert "is of 45 iterations; the run has 44" in done.stderr
