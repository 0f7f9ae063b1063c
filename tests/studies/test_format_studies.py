"""MLS, Accuracy Booster, ActNN, FracTrain: published figures and the laws behind ours."""

import pytest

from dse.cost.tensors.memory import footprint, kept_bits
from dse.studies.systems import accuracy_booster, actnn, fractrain, mls
from dse.workload import load_workload

#: Network: forward and training GMAC of the convolutions per sample, floating additions between groups per training MAC
#: (arXiv 2006.02804v4 and counts derived from it).
MLS_COUNTS = {
    "imagenet_resnet": (1.8136, 5.323, 0.0798),
    "imagenet_resnet34": (3.6632, 10.872, 0.0778),
    "imagenet_vgg16": (15.347, 45.95, 0.0743),
    "imagenet_googlenet": (1.5816, 4.627, 0.2099),
    "cifar_resnet20": (0.04055, 0.121, 0.0761),
}


@pytest.mark.parametrize("name", MLS_COUNTS)
def test_mls_operation_counts(name):
    forward, training, adds = MLS_COUNTS[name]
    counts = mls.operation_counts(load_workload(name))
    assert counts.forward_macs / 1e9 == pytest.approx(forward, rel=2e-3)
    assert counts.macs / 1e9 == pytest.approx(training, rel=3e-3)
    assert counts.tree_adds / counts.macs == pytest.approx(adds, rel=0.02)


def test_mls_ratios_lie_near_the_claims_and_1x1_filters_cost_most():
    ratios = {name: mls.unit_ratios(mls.operation_counts(load_workload(name)), mls.sourced()) for name in mls.NETWORKS}
    for found in ratios.values():
        assert 8.3 * 0.97 <= found["FP32"][0] <= 10.2 * 1.20
        assert 1.9 <= found["FP8"][0] <= 2.3 * 1.30
    assert min(ratios, key=lambda name: ratios[name]["FP32"][0]) == "imagenet_googlenet"


def test_mls_other_work_dilutes_the_ratio():
    net = load_workload("cifar_resnet20")
    counts, operations = mls.operation_counts(net), mls.sourced()
    assert (
        mls.unit_ratios(counts, mls.other_work(net, operations))["FP32"] < mls.unit_ratios(counts, operations)["FP32"]
    )


def test_mls_with_memory_saves_less_than_its_units_do():
    costs = mls.with_memory(load_workload("cifar_resnet20"))
    for form in mls.CLAIMED:
        units = costs[form]["mac_j"] / costs["MLS"]["mac_j"]
        step = costs[form]["energy_j"] / costs["MLS"]["energy_j"]
        assert 1.0 < step < units


def test_mls_trainers_differ_in_element_and_word_alone():
    made = mls.trainers()
    base, _ = made["MLS"]
    for name, bits in (("FP8", 8), ("FP32", 32)):
        hardware, _ = made[name]
        assert (hardware.axes, hardware.clock_hz, hardware.node_nm) == (base.axes, base.clock_hz, base.node_nm)
        assert hardware.memories[1:] == base.memories[1:]
        assert hardware.memories[0].size_bits == base.memories[0].size_bits / 7 * bits


def test_accuracy_booster_share_by_hand():
    net = load_workload("cifar_resnet20")
    layers = net.mac_layers
    ends = sum(layer.macs * len(layer.passes) for layer in (layers[0], layers[-1]))
    work = sum(layer.macs * len(layer.passes) for layer in layers)
    assert accuracy_booster.narrow_share(net, 100) == pytest.approx(99.0 * (1 - ends / work))


def test_accuracy_booster_densities():
    found = accuracy_booster.densities()
    for name, claim in accuracy_booster.DENSITY_CLAIM.items():
        assert found[name] == pytest.approx(claim, rel=0.10)


def test_actnn_stash_and_batch():
    net = load_workload("cifar_resnet20")
    wide, narrow = actnn.plans(net)
    parts, small = footprint(net, wide), footprint(net, narrow)
    # 2 bits and a range of two 16-bit numbers per 256 against 32 bits; signs are single bits in both.
    kept, signs = kept_bits(net, wide), net.batch * 64 * 64
    assert (kept - signs) / (kept_bits(net, narrow) - signs) == pytest.approx(32 / (2 + 32 / 256), rel=1e-3)
    assert {name for name in parts if parts[name] != small[name]} == {"stash", "working"}
    memory = sum(parts.values())
    # the batch that just fits into what this batch needs is this batch
    assert actnn.largest_batch(net, wide, memory) == net.batch
    assert actnn.largest_batch(net, wide, memory - 1.0) == net.batch - 1
    assert actnn.largest_batch(net, wide, 8.0) == 0
    assert actnn.largest_batch(net, narrow, memory) > net.batch


def test_fractrain_effective_macs():
    for item in fractrain.TABLE:
        if item.method.endswith("8/8"):
            net = load_workload(item.network)
            macs = sum(layer.macs * len(layer.passes) for layer in net.mac_layers)
            effective = macs * 128 * fractrain.ITERATIONS * 64 / 1024
            assert effective == pytest.approx(item.effective_macs, rel=0.16)


def test_fractrain_widths_rise():
    schedule = fractrain.progressive((0.1, 0.2, 0.5))
    net = load_workload("cifar_resnet20")
    held = [(int(plan.widths("weight")[0]), int(plan.widths("error")[0]), n) for plan, n in schedule.plans(net)]
    assert held == [(3, 6, 6_400), (4, 6, 6_400), (6, 8, 19_200), (8, 8, 32_000)]


def test_share_that_does_not_shrink_lies_between_storing_narrow_and_storing_8_bits():
    study = fractrain.study()
    energy = [row for row in study.rows if row.quantity == "share of energy that does not shrink with bits"]
    narrow, wide = (row.ours for row in energy)
    assert narrow < fractrain.theirs_share() < wide
    assert fractrain.theirs_share() == pytest.approx(0.654, abs=1e-3)
