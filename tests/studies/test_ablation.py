"""The constant-MAC ablation: right where nothing is gained, pessimistic where it is, and nothing else changed."""

import numpy as np
import pytest

from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.pe import mac_energy_pj, pe_mode
from dse.studies.comparisons.ablation import DEVICES, WIDTHS, ablation_table, constant_mac, figures
from dse.workload import load_workload


@pytest.fixture(scope="module")
def table():
    return ablation_table(load_workload("cifar_resnet20"))


@pytest.mark.parametrize("name", [*DEVICES, "flexblock_like", "brain_tta_like"])
def test_only_the_width_dependence_changes(name):
    """At W8A8 energy and rate are the element's own; below they stay there. Area, leakage and prices are untouched."""
    real, peer = load_hardware(name), constant_mac(load_hardware(name))
    bits = np.array([8, 4, 2])
    modes = [pe_mode(item.pe, bits, bits) for item in (real, peer)]
    rates = [mode.lanes / mode.step_cycles for mode in modes]
    assert rates[1] == pytest.approx([rates[0][0]] * 3)
    energy = [mac_energy_pj(item.pe, bits, bits, None, item.node_nm) for item in (real, peer)]
    assert energy[1] == pytest.approx([energy[0][0]] * 3)
    ours, theirs = hardware_arrays(real), hardware_arrays(peer)
    assert theirs.leakage_w == pytest.approx(ours.leakage_w)
    assert theirs.area_mm2 == pytest.approx(ours.area_mm2)
    assert theirs.read_pj_per_bit == pytest.approx(ours.read_pj_per_bit, rel=1e-9)


def test_an_element_without_these_widths_is_refused():
    with pytest.raises(ValueError, match="8 by 8"):
        constant_mac(load_hardware("mls_unit"))


@pytest.mark.long
def test_errors(table):
    """Nothing at W8A8 and on a plain 8-bit array; elsewhere too much energy and time, more of it at narrower widths."""
    reference = table[(table["weight_bits"] == 8) | (table["device"] == "tpu_like")]
    assert reference[["energy_error", "latency_error"]].abs().to_numpy().max() < 1e-6
    for (device, _), rows in table.groupby(["device", "mode"]):
        errors = rows[["energy_error", "latency_error"]].to_numpy()
        assert (errors >= -1e-6).all(), device
        assert (np.diff(errors, axis=0) >= -1e-6).all(), device
    flexible = table[(table["device"] == "bit_fusion") & (table["weight_bits"] == 4) & (table["activation_bits"] == 4)]
    assert (flexible[["energy_error", "latency_error"]].to_numpy() > 0.05).all()


@pytest.mark.long
def test_serial_activations_gain_nothing_from_narrow_weights(table):
    row = table[(table["device"] == "stripes_like") & (table["weight_bits"] == 4) & (table["activation_bits"] == 8)]
    assert row["latency_error"].abs().max() < 1e-6


@pytest.mark.long
def test_figures_cover_every_device_and_width(table):
    found = figures(table)
    assert len(found) == 4
    for caption, figure in found:
        assert "constant MACs" in caption
        assert [series.name for series in figure.data] == [f"W{w}A{a}" for w, a in WIDTHS]
        assert all(list(series.x) == list(DEVICES) for series in figure.data)
