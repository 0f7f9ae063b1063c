"""AdaPT: its published figures from its traces and model, and its bad inputs."""


import numpy as np
import pytest

from dse.errors import InputError
from dse.precision import Schedule
from dse.studies.systems import adapt, adapt_model
from dse.workload import load_workload

RUNS = adapt_model.runs()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_figures_of_each_run(run):
    found = adapt_model.theirs(run)
    middle, low, high = found["SU_train"]
    assert low <= middle <= high
    # decoded to two digits; the overhead's lookback and bins are known as bounds only
    assert low - 0.01 <= run.su_train <= high + 0.01
    assert found["size"][0] == pytest.approx(run.size, abs=0.01)
    # read off the end of a curve that includes an overhead: that of AlexNet is small, that of ResNet-20 is not
    plain, least, most = found["SU_inf"]
    assert 0.975 * least <= run.su_inf <= 1.025 * most
    if run.network == "cifar_alexnet":
        assert plain == pytest.approx(run.su_inf, rel=0.025)


def test_means_over_the_runs_are_the_claims():
    found = [adapt_model.theirs(run) for run in RUNS]
    mean = [np.mean([item[key][0] for item in found]) for key in ("SU_train", "SU_inf", "size")]
    assert mean == pytest.approx(adapt_model.CLAIMED, rel=0.02)


def test_costs_meet_the_wrong_layers_in_their_table():
    alexnet = RUNS[0]
    madds, _ = adapt_model.published_madds(alexnet)
    share = madds / madds.sum()
    # conv2, conv4 and fc are charged as the poolings and as conv4 is: 0, 0 and 65 percent
    assert share[1] < 1e-4
    assert share[3] < 1e-4
    assert share[5] == pytest.approx(0.654, abs=0.002)
    own, _ = adapt_model.aligned_madds(alexnet)
    assert own[5] / own.sum() < 0.001


def test_published_ends_need_the_wrong_costs():
    # AlexNet on CIFAR-10: the layers that keep long words to the end are charged least
    run = RUNS[1]
    assert adapt_model.corrected(run)["aligned_inference"] < 1.4 < 3.0 < adapt_model.theirs(run)["SU_inf"][0]


def test_su_train_never_exceeds_two():
    assert adapt_model.su_train(np.zeros(5)) == 2.0
    assert adapt_model.su_train(np.ones(5)) == 1.0


def test_bounds_from_means_hold_the_truth_and_are_reached():
    words = np.array([[8.0], [16.0], [32.0], [32.0]])
    kept = np.array([[0.5], [1.0], [0.0], [0.5]])
    madds = np.array([1.0])
    low, high = adapt_model.bounds_from_means(words, kept, madds)
    # half of the time weights stay: on the two longest words (64 of 128) or the two shortest (24 of 128)
    assert low == pytest.approx(2 / (1 + 64 / 128))
    assert high == pytest.approx(2 / (1 + 24 / 128))
    assert low < adapt_model.su_train(adapt_model.cost_ratio(words, kept, madds)) < high


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_schedule_of_a_run_covers_it(run):
    net = load_workload(run.network)
    schedule = adapt.schedule(run)
    assert schedule.iterations == adapt_model.ITERATIONS
    plan, _ = schedule.plans(net)[0]
    first = adapt_model.words(run).widths[0]
    named = [width for width, name in zip(first, run.layers, strict=True) if name]
    macs = [index for index, layer in enumerate(net.layers) if layer.has_macs]
    assert plan.widths("weight")[macs].tolist() == named


def test_policy_overhead_is_charged():
    net = load_workload("cifar_resnet20")
    cost = adapt.policy(net)
    weights = sum(layer.parameters for layer in net.mac_layers)
    # eight trials of the search read every float32 weight, every 50 batches
    assert cost.traffic_bits > 8 * 32 * weights * adapt_model.ITERATIONS / 50
    assert cost.operations > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_iteration,layer0,layer2\n0,8,8\n", "missing layers: layer1"),
        ("batch_iteration,layer0\n0,8\n50,9\n20,8\n", "iterations that increase, got 20 after 50"),
        ("batch_iteration,layer0\n", "zero iterations"),
        ("batch_iteration,layer0,layer1\n0,8\n", "missing value"),
        ("batch_iteration,layer0\n5,8\n", "first row at iteration 0"),
    ],
)
def test_bad_traces_are_named(tmp_path, text, message):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Schedule.traced(path)


def test_a_trace_of_another_network_is_refused(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("batch_iteration,layer0,layer1\n0,8,8\n")
    with pytest.raises(InputError, match="2 layers"):
        Schedule.traced(path, iterations=10).histogram(load_workload("cifar_resnet20"))
