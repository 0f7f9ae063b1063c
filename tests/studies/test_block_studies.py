"""DYNASTY-like and the side-by-side table."""

import pytest

from dse.names import MAC_OPERANDS
from dse.precision import Histogram
from dse.precision.formats.properties import parse_format
from dse.studies.comparisons import side_by_side
from dse.studies.devices import fixed_8
from dse.studies.systems import dynasty
from dse.workload import load_workload

NET = load_workload("cifar_resnet20")
QUANTITIES = ("energy", "time", "power", "relative energy", "relative time", "relative BitOps", "peak memory")


def test_measured_shares_are_whole_and_follow_the_threshold():
    table = dynasty.measured()
    layers = table[table["layer"] != ""]
    assert set(layers["operand"]) == set(MAC_OPERANDS)
    shares = layers[[f"bits{bits}" for bits in dynasty.WIDTHS]].astype(float)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=2e-4)
    net = load_workload("cifar_resnet18")
    thresholds = sorted(float(value) for value in table["threshold"].unique() if float(value) > 0.0)
    means = [dynasty.mean_width(dynasty.measured_plan(net, value), net) for value in thresholds]
    assert means == sorted(means, reverse=True)
    assert 2.0 < means[-1] < means[0] < 8.0


def test_measured_layers_are_those_of_the_networks():
    table = dynasty.measured()
    for name in dynasty.NETWORKS:
        known = {layer.name for layer in load_workload(name).mac_layers}
        assert set(table["layer"]) - {""} <= known
        assert known - set(table["layer"]) == {"fc"}


def test_kept_threshold_loses_no_more_than_tolerated():
    kept = dynasty.kept_threshold()
    assert dynasty.drop(kept) <= dynasty.TOLERATED
    wider = [float(value) for value in dynasty.measured()["threshold"].unique() if float(value) > kept]
    assert all(dynasty.drop(value) > dynasty.TOLERATED for value in wider)


def test_mixtures_keep_the_ends_at_8_bits():
    plan = dynasty.mixture(NET, (2, 4), 0.25)
    macs = [index for index, layer in enumerate(NET.layers) if layer.has_macs]
    for operand in MAC_OPERANDS:
        cells = plan.cells(operand)
        assert cells[macs[0]] == cells[macs[-1]] == parse_format(dynasty.BASELINE)
        assert isinstance(cells[macs[1]], Histogram)
        assert cells[macs[1]].shares == (0.25, 0.75)


def test_mean_width_of_one_width_is_it():
    plan = dynasty.mixture(NET, (4, 8), 0.0)
    assert dynasty.mean_width(plan, NET) == pytest.approx(8.0)


def test_gain_grows_as_blocks_narrow_and_arithmetic_gains_most():
    plans = [dynasty.mixture(NET, widths, share) for widths, share in (((4, 8), 0.0), ((4, 8), 0.5), ((2, 4), 0.5))]
    same, half, narrow = dynasty.gains(NET, plans)
    assert (same.speed, same.map) == (1.0, 0.0)
    assert 1.0 < half.speed < narrow.speed
    assert 1.0 < half.energy < narrow.energy < narrow.arithmetic
    assert 0.0 < half.analytics < 10.0
    assert 0.0 < half.map < 5.0


@pytest.mark.long
def test_side_by_side_holds_a_row_of_each_quantity_per_system():
    study = side_by_side.study([side_by_side.flexible()])
    ran = {
        name: {row.system: row.ours for row in study.rows if (row.quantity, row.subject) == (name, "flexible 2-16")}
        for name in QUANTITIES
    }
    systems = {entry.name for entry in side_by_side.entries(NET)} | {"float32 on FP32 elements"}
    assert all(set(values) == systems for values in ran.values())
    assert all(
        ran["power"][name] == pytest.approx(ran["energy"][name] * 1e3 / (ran["time"][name] * 3600.0))
        for name in systems
    )
    energy = ran["relative energy"]
    assert energy[side_by_side.BASELINE] == 1.0
    assert energy["CPT 3-8/8"] < 1.0 < energy["AdaPT, ResNet-20 on CIFAR-10"]


def test_what_a_device_cannot_run_is_named():
    study = side_by_side.study([fixed_8()])
    stopped = {row.system for row in study.rows if row.ours is None and row.published is None}
    assert "AdaPT, ResNet-20 on CIFAR-10" in stopped
    assert "CPT 3-8/8" not in stopped
    assert any("AdaPT" in sentence and "cannot run" in sentence for sentence in study.findings)


def test_a_claim_between_two_mixtures_is_read_off_their_line():
    # 25 % to 50 % of 2 bits from 4.0 to 5.0 times
    curve = ([8.0, 6.0, 4.0, 3.5, 3.0, 2.5, 2.0], [1.0, 1.7, 3.4, 4.0, 5.0, 6.0, 8.0])
    assert dynasty._reached(curve, 4.5) == "at 3.25 bits (38% 2 bit, 62% 4 bit)"
    assert dynasty._reached(curve, 2.55) == "at 5.00 bits (75% 4 bit, 25% 8 bit)"
    assert dynasty._reached(curve, 9.0) == "never (at most 8.00)"


def test_share_of_the_macs_that_the_energy_claim_needs_reaches_it():
    net = load_workload("cifar_resnet20")
    plan = dynasty.mixture(net, (2, 4), 1.0)
    gain = dynasty.gains(net, [plan])[0]
    stored, share, taken = dynasty.needed_mac_share(net, plan, gain)
    assert stored == 8.5 / 2.5
    assert 1.0 / (share / gain.arithmetic + (1.0 - share) / stored) == pytest.approx(dynasty.ENERGY_CLAIM)
    assert 0.0 < taken < share < 1.0
