"""Published systems against the model: MLS, FracTrain, CPT on two widths, Bit Fusion's law; and the table that dse validate prints."""

import numpy as np
import pytest

from dse.cost.jobs.network import unfolded
from dse.hardware import load_hardware
from dse.hardware.pe import pe_mode
from dse.studies.devices import every_width, fixed_8, widths_4_and_8
from dse.studies.systems import mls
from dse.studies.systems.fractrain import LAW
from dse.validation.hardware import SIMULATED, bit_fusion_networks, cycles_of
from dse.validation.systems import MLS_COUNTS, cost_per_mac, cyclic_saving, fractrain_rows, headline_rows
from dse.validation.table import COLUMNS, validation_table
from dse.workload import load_workload


@pytest.mark.parametrize("name", MLS_COUNTS)
def test_mls_operation_counts(name):
    """REFERENCES 1.3: forward and training GMAC of the convolutions per image, tree additions per training MAC."""
    forward, training, adds = MLS_COUNTS[name]
    found = mls.operation_counts(load_workload(name))
    assert found.forward_macs / 1e9 == pytest.approx(forward, rel=5e-5)
    assert found.macs / 1e9 == pytest.approx(training, rel=2e-3)
    assert found.tree_adds / found.macs == pytest.approx(adds, abs=6e-5)


@pytest.mark.parametrize(
    ("operations", "fp32", "fp8"),
    [(mls.sourced(), (1.16, 1.20), (1.26, 1.30)), (mls.SECOND_HAND, (1.05, 1.12), (1.05, 1.22))],
    ids=["sourced", "theirs"],
)
def test_mls_ratios_of_computing_units(operations, fp32, fp8):
    """Published 8.3-10.2 and 1.9-2.3. GoogLeNet, with its 1x1 filters, lies inside with both sets of energies.

    The networks of 3x3 filters come out 16 to 20 % above the upper end (FP32) and 26 to 30 % (FP8) by sourced energies: Horowitz's FP32
    multiplication is 3.7 pJ where theirs is about 2.3 pJ, and FP8 adds in FP32. With their own energies, 5 to 22 % above, 0.04 to 0.05
    pJ per MAC of other work in MLS alone would close it.
    """
    found = {name: mls.unit_ratios(mls.operation_counts(load_workload(name)), operations) for name in mls.NETWORKS}
    middle = {form: {name: np.mean(ratios[form]) for name, ratios in found.items()} for form in mls.CLAIMED}
    assert 8.3 < middle["FP32"].pop("imagenet_googlenet") < 10.2
    assert 1.9 < middle["FP8"].pop("imagenet_googlenet") < 2.3
    assert all(fp32[0] < value / 10.2 < fp32[1] for value in middle["FP32"].values())
    assert all(fp8[0] < value / 2.3 < fp8[1] for value in middle["FP8"].values())


@pytest.mark.parametrize("network", ["cifar_resnet38", "cifar_resnet74"])
def test_fractrain_law(network):
    """E = 11.7 + 98.8 f pJ and t = 7.08 + 45.2 f ps per MAC: the best mapping takes 63 to 81 % of it, tensors kept as 32-bit words."""
    found = cost_per_mac(load_workload(network), load_hardware("bit_fusion"), (8, 4), 32.0)
    for f, energy, time in found:
        for (constant, slope), ours in zip(LAW.values(), (energy, time), strict=True):
            assert 0.63 < ours / (constant + slope * f) < 0.82
    assert [f for f, _, _ in found] == pytest.approx([64 / 1024, 16 / 1024])


def test_fractrain_packed_tensors_miss_the_law():
    """Kept at the multipliers' width, DRAM traffic shrinks with the bits and the energy is a quarter of the published or less."""
    rows = [item for item in fractrain_rows() if "packed" in str(item[1]) and "energy" in str(item[1])]
    assert len(rows) == 2
    assert all(-0.87 < float(item[5]) < -0.70 for item in rows)


def test_two_thirds_do_not_shrink():
    """Their law: 65 % of the 8/8 energy is constant; ours with 32-bit words is a line with 70 to 85 % of it."""
    (f8, e8, _), (f4, e4, _), (f2, e2, _) = cost_per_mac(
        load_workload("cifar_resnet38"), load_hardware("bit_fusion"), (8, 4, 2), 32.0
    )
    slope = (e8 - e4) / (f8 - f4)
    assert e4 - slope * (f4 - f2) == pytest.approx(e2, rel=0.01)
    assert 0.70 < (e8 - slope * f8) / e8 < 0.85


def test_cpt_on_two_widths():
    """3-8/8 saves 36.67 % in BitOps; with elements of 4 and 8 bits 21.6 %, with plain 8-bit ones nothing, bit by bit all of it."""
    network = load_workload("cifar_resnet38")
    assert cyclic_saving(network, 3, 8, None) == pytest.approx(36.67, abs=0.01)
    assert cyclic_saving(network, 3, 8, widths_4_and_8()) == pytest.approx(21.6, abs=0.06)
    assert cyclic_saving(network, 3, 8, fixed_8()) == 0
    assert cyclic_saving(network, 3, 8, every_width()) == pytest.approx(36.67, abs=0.01)


def test_bit_fusion_lanes():
    """Simulator: floor(8 / max(a, 2)) * floor(8 / max(w, 2)) lanes at every pair of widths up to 8."""
    pe = load_hardware("bit_fusion").pe
    w, a = np.meshgrid(np.arange(1, 9), np.arange(1, 9))
    assert (pe_mode(pe, w, a).lanes == (8 // np.maximum(a, 2)) * (8 // np.maximum(w, 2))).all()
    assert (pe_mode(pe, w, a).step_cycles == 1).all()


@pytest.mark.parametrize(("w", "a", "steps"), [(16, 16, 4), (16, 8, 2), (8, 16, 2), (16, 2, 2), (9, 4, 2)])
def test_bit_fusion_wide_operands(w, a, steps):
    """16-bit operands run as two 8-bit halves each, in time."""
    mode = pe_mode(load_hardware("bit_fusion").pe, w, a)
    assert mode.supported
    assert mode.step_cycles == steps


@pytest.mark.parametrize("w", [2, 3, 4, 8])
@pytest.mark.parametrize("a", [2, 4, 5, 8])
@pytest.mark.parametrize(
    "dims", [(1, 1, 64, 3, 32, 32, 3, 3), (4, 2, 128, 48, 27, 27, 5, 5), (16, 1, 1000, 512, 1, 1, 1, 1)]
)
def test_bit_fusion_cycles_at_mixed_widths(dims, w, a):
    """Simulator: N*P*Q*R*S*ceil(K/32)*ceil(C/(16*lanes)), per group: lanes take channels, not positions of the filter."""
    n, g, k, c, p, q, r, s = dims
    lanes = (8 // max(a, 2)) * (8 // max(w, 2))
    assert cycles_of(dims, w, a) == n * g * p * q * r * s * -(-k // 32) * -(-c // (16 * lanes))


def test_bit_fusion_networks():
    """Cycles of the eight networks in its simulator: what they compute to 3 % (rows of 3,600 are padded there), in all to 9 %.

    The recurrent network is equal to 0.1 %. The speed over Eyeriss, by its own cycles of Eyeriss, is 3.9 in the mean.
    """
    rows = {item.quantity: item for item in bit_fusion_networks()}
    for name, run in SIMULATED.items():
        busy = rows[f"cycles, {name}"].ours - rows[f"waiting for DRAM, {name}"].ours
        assert busy == pytest.approx(run.cycles - run.wait_cycles, rel=0.03), name
        exact = name != "bit_fusion_lstm"
        assert (busy == pytest.approx(run.cycles - run.wait_cycles, rel=1e-9)) == exact, name
        assert abs(rows[f"cycles, {name}"].signed_error) < 0.09
    assert abs(rows["cycles, bit_fusion_rnn"].signed_error) < 0.001
    assert rows["speed over eyeriss, geometric mean of its eight networks"].ours == pytest.approx(3.9, rel=0.05)


def test_headlines_point_the_right_way():
    """Bit Fusion is faster and takes less energy than both; the published sizes are means over networks that we lack."""
    assert all(float(item[4]) > 1 for item in headline_rows())


@pytest.fixture(scope="module")
def table():
    return validation_table()


def test_table_has_every_column_and_only_known_misses(table):
    """Rows beyond their tolerance are those that this file explains: MLS' ratios of networks with 3x3 filters."""
    assert tuple(table.columns) == COLUMNS
    assert COLUMNS == ("source", "quantity", "unit", "published", "ours", "signed_error", "tolerance", "note", "kind", "includes")
    assert set(table["kind"]) <= {"count", "time", "energy", "area", "power", "accuracy", "memory"}
    assert {"count", "time", "energy", "area", "power", "accuracy"} <= set(table["kind"])
    units = {"cycles": "time", "ms": "time", "ps": "time", "pJ": "energy", "mJ": "energy", "um2": "area", "mW": "power", "GMAC": "count"}
    for unit, kind in units.items():
        assert set(table.loc[table["unit"] == unit, "kind"]) <= {kind}, unit
    assert table[["published", "ours", "signed_error"]].notna().all().all()
    assert not table[["source", "quantity"]].duplicated().any()
    beyond = table[table["signed_error"].abs() > table["tolerance"]]
    assert beyond["quantity"].str.contains("over MLS, units alone").all()
    assert not beyond["quantity"].str.contains("googlenet").any()
    assert (beyond["note"].str.len() > 20).all()


def test_rows_without_a_bound_say_why(table):
    informative = table[table["tolerance"].isna()]
    assert (informative["note"].str.len() > 0).all()


def test_an_unfolded_convolution_multiplies_as_much():
    """The first layer of ResNet-18 as a product of 147 channels; a layer without filter stays as it is."""
    first, last = load_workload("imagenet_resnet").mac_layers[0], load_workload("imagenet_resnet").mac_layers[-1]
    flat = unfolded(first)
    assert (flat.C, flat.R, flat.S, flat.input_hw) == (147, 1, 1, (112, 112))
    assert flat.macs == first.macs
    assert unfolded(last) is last
