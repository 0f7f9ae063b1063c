"""Policies in a training loop decide as their rules say, and what they did comes back as a schedule."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs lowprec-dse[torch]")

from dse.errors import InputError  # noqa: E402
from dse.precision import Histogram, Plan, Schedule  # noqa: E402
from dse.precision.policies.rules import loss_plateaus  # noqa: E402
from dse.training.loops.choosers import Adapt, Dynasty, FracTrain, Scheduled, plan_cells  # noqa: E402
from dse.training.loops.data import Dataset  # noqa: E402
from dse.training.loops.networks import make_module, workload_of  # noqa: E402
from dse.training.loops.torch_model import TorchModel, error_scores  # noqa: E402
from dse.training.loops.train import Recipe, train  # noqa: E402
from dse.training.records import mean_bits, measured_schedule  # noqa: E402
from dse.training.rounded.layers import BlockMap, mac_layers  # noqa: E402

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def data():
    """Stripes of four directions under noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:8, 0:8]
    stripes = np.stack([np.sin(rows), np.sin(columns), np.sin(rows + columns), np.sin(rows - columns)])
    labels = random.integers(0, 4, 640)
    images = (stripes[labels] + 0.5 * random.normal(size=(640, 8, 8)))[:, None].astype(np.float32)
    return Dataset("stripes", "a test", images[:512], labels[:512], images[512:], labels[512:], 4)


@pytest.fixture(scope="module")
def network():
    return workload_of(make_module("cnn", SHAPE, 4, 0), SHAPE, "stripes_cnn", "a test", 32, 512, 2)


def names(network):
    return [layer.name for layer in network.mac_layers]


def trained(data, chooser, **changes):
    return train(data, Recipe("cnn", epochs=2, batch=32, statistics=8, **changes), chooser)


def test_training_works_and_eight_bits_cost_little(data, network):
    _, exact = trained(data, Scheduled(Schedule.static("fp32", 32), network))
    _, eight = trained(data, Scheduled(Schedule.static("w8a8e8", 32), network))
    _, two = trained(data, Scheduled(Schedule.static("w2a2e2", 32), network))
    assert exact.accuracy > 90
    assert abs(eight.accuracy - exact.accuracy) < 6
    assert two.accuracy < exact.accuracy - 10
    assert eight.iterations == 32
    assert not eight.diverged


def test_master_weights_are_float32(data, network):
    module, _ = trained(data, Scheduled(Schedule.static("w2a8e8", 32), network))
    assert len(np.unique(module.conv2.weight.detach().numpy())) > 1000
    assert len(np.unique(module.conv2.control.stored(module.conv2.weight.detach(), "weight").numpy())) <= 3


def test_a_schedule_is_followed_to_the_iteration(data, network):
    schedule = Schedule.cyclic(3, 8, 6, cycles=2, iterations=32)
    _, record = trained(data, Scheduled(schedule, network))
    back = measured_schedule(record.widths, network, record.iterations, "back")
    given = [(plan.widths("weight").tolist(), plan.widths("error").tolist(), n) for plan, n in schedule.plans(network)]
    assert [(p.widths("weight").tolist(), p.widths("error").tolist(), n) for p, n in back.plans(network)] == given
    assert mean_bits(record.widths, 32)["error"] == 6


def test_fractrain_switches_where_its_rule_does(network):
    chooser = FracTrain(names(network), stretch=2)
    losses = [2.0, 1.5, 1.0, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
    changed = {}
    for iteration in range(30):
        cells = chooser.before(iteration)
        if cells:
            changed[iteration] = next(iter(cells.values())).weight.name
        chooser.after(iteration, losses[iteration // 2], {})
    switches = loss_plateaus(losses)
    assert list(changed) == [0, *(2 * done for done in switches if 2 * done < 30)]
    assert list(changed.values()) == ["int3", "int4", "int6", "int8"][: len(changed)]
    assert len(changed) > 1


def test_adapt_decides_per_layer_when_its_lookback_is_full(data, network):
    chooser = Adapt(names(network), lookbacks=(5, 10))
    _, record = trained(data, chooser)
    assert {row.iteration for row in record.widths} > {0}
    assert all(row.iteration == 0 or row.iteration >= 5 for row in record.widths)
    first = [row for row in record.widths if row.iteration == 0]
    assert {row.format for row in first if row.operand == "weight"} == {"fixed8_4"}
    later = {row.format for row in record.widths if row.operand == "weight" and row.iteration}
    assert later
    assert all(name.startswith("fixed") for name in later)


def test_dynasty_gives_blocks_their_own_widths_and_the_first_layers_input_none(data, network):
    chooser = Dynasty(names(network), interval=8, threshold=64.0)
    module, record = trained(data, chooser)
    layers = mac_layers(module)
    assert isinstance(layers["conv3"].control.weight, BlockMap)
    assert len(np.unique(layers["conv3"].control.weight.widths)) > 1
    shares = [row for row in record.widths if row.layer == "conv3" and row.operand == "weight" and row.iteration == 8]
    assert sum(row.share for row in shares) == pytest.approx(1.0, abs=1e-5)
    assert {row.format for row in record.widths if row.layer == "conv1" and row.operand == "activation"} == {"bfp8"}
    schedule = measured_schedule(record.widths, network, record.iterations, "dynasty")
    assert schedule.plans(network)[-1][0].is_blockwise


def test_a_looser_threshold_gives_narrower_blocks(data, network):
    means = [
        mean_bits(trained(data, Dynasty(names(network), interval=8, threshold=threshold))[1].widths, 32)["weight"]
        for threshold in (4.0, 256.0)
    ]
    assert means[1] < means[0]


def test_formats_that_are_not_trained_with_are_refused(network):
    mixed = Histogram.of({"bfp4": 0.5, "bfp8": 0.5})
    with pytest.raises(InputError, match="which block"):
        plan_cells(Plan.from_formats(network, {"weight": mixed, "activation": "int8", "error": "int8"}))
    with pytest.raises(InputError, match="master"):
        plan_cells(Plan.uniform(network, master="bf16"))


def test_a_stash_of_its_own_is_trained_with(data, network):
    plan = Plan.uniform(network, "int8", "int8", "int8", stash="actnn2")
    module, record = trained(data, Scheduled(Schedule.static(plan, 32), network))
    assert module.conv3.control.stash.name == "actnn2"
    assert record.accuracy > 70
    back = measured_schedule(record.widths, network, record.iterations, "back").plans(network)[0][0]
    macs = [plan.layers.index(name) for name in names(network)]
    assert [back.cells("stash")[index].name for index in macs] == ["actnn2"] * len(macs)


def test_a_run_that_diverges_ends_and_says_so(data, network):
    _, record = trained(data, Scheduled(Schedule.static("w8a8e8", 32), network), rate=1e30)
    assert record.diverged
    assert record.iterations < 32
    assert len(record.epochs) == 1


def test_a_trained_network_is_profiled_and_left_as_it_was(data, network):
    module, _ = trained(data, Scheduled(Schedule.static("w4a4e8", 32), network))
    model = TorchModel(module, "stripes_cnn")
    exact = model.outputs(data.test_images, {}, {}, {})
    narrow = model.outputs(data.test_images, {"conv2": 2}, {}, {})
    wide = model.outputs(data.test_images, {"conv2": 12}, {"conv3": 12}, {})
    assert np.abs(narrow - exact).max() > 20 * np.abs(wide - exact).max() > 0
    assert module.conv2.control.weight.name == "int4"
    assert model.weights == sum(layer.parameters - layer.bias * layer.K for layer in network.mac_layers)
    scores = error_scores(module, data.images[:64], data.labels[:64], (3, 6, 12))
    for row in scores.values():
        assert row[3] > row[6] > row[12] >= 0


def test_a_module_without_such_layers_is_refused():
    with pytest.raises(InputError, match="no layer that can be quantized"):
        TorchModel(torch.nn.Sequential(torch.nn.ReLU()), "nothing")
