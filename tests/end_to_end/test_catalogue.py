"""``dse list`` and ``dse show`` of hardware: what they say is what an evaluation reads."""

import numpy as np
import pytest

import dse
from dse.cost.totals.describe import describe

NETWORK = """
source: made up
batch: 1
samples: 1
epochs: 1
optimizer: sgd
nests:
  - {name: product, kind: fc, K: 32, C: 64}
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "product.yaml"
    path.write_text(NETWORK)
    return dse.load_workload(path)


@pytest.mark.parametrize(("name", "form"), [("flex_trainer", "int8"), ("flex_trainer", "int4"), ("bit_fusion", "int2"), ("fp8_trainer", "fp8_e4m3")])
def test_the_energy_of_a_mac_is_the_one_that_an_evaluation_takes(product, name, form):
    hardware = dse.load_hardware(name)
    shown = next(row for row in describe(hardware).elements if row.form == form)
    plan = dse.Plan.uniform(product, weight=form, activation=form, error=form, result=form)
    total = dse.evaluate(product, hardware, plan, mode="inference").total.iloc[0]
    # Accumulators as wide as the file's: what a plan needs may be less, and costs less.
    assert total["mac_j"] / total["macs"] * 1e12 <= shown.mac_pj * (1 + 1e-9)
    assert total["mac_j"] / total["macs"] * 1e12 == pytest.approx(shown.mac_pj, rel=0.1)


def test_peak_rates_and_areas_add_up():
    hardware = dse.load_hardware("flex_trainer")
    found = describe(hardware)
    # 32 x 32 elements, one product of 8 bits or sixteen of 2 bits in each cycle of 1.25 ns
    rates = {row.form: row.ops_per_s for row in found.elements}
    assert rates["int8"] == pytest.approx(2 * 1024 * 8e8)
    assert rates["int2"] == pytest.approx(16 * 2 * 1024 * 8e8)
    area = next(fact.value for fact in found.facts if fact.label == "area")
    assert area > sum(row.area_mm2 for row in found.memories)
    assert [row.name for row in found.memories] == ["dram", "buffer", "accumulator_register", "weight_register"]
    assert [row.instances for row in found.memories] == [1, 1, 32, 1024]
    assert np.isinf(found.memories[0].size_bits)


def test_the_terminal_shows_hardware_and_catalogues(dse_here, tmp_path):
    text = dse_here("show", "eyeriss", cwd=tmp_path).stdout
    for word in ("psum_spad", "168", "int8", "Chen et al.", "65.00 nm"):
        assert word in text
    for what, word in (("networks", "gpt2_small"), ("hardware", "eyeriss"), ("systems", "dgx_h100"), ("formats", "mxfp8_e4m3"), ("elements", "bit_serial"), ("drams", "hbm2")):
        assert word in dse_here("list", what, cwd=tmp_path).stdout


def test_what_is_no_catalogue_or_no_network_is_said(dse_here, tmp_path):
    assert "'format' is none of" in dse_here("list", "format", cwd=tmp_path, code=2).stderr
    assert "is hardware" in dse_here("show", "eyeriss", "--json", cwd=tmp_path, code=2).stderr
    assert "no shipped name" in dse_here("show", "eyeris", cwd=tmp_path, code=2).stderr
