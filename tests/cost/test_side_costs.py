"""What precision itself costs, and the memory footprint: by hand, and its laws."""

import numpy as np
import pytest

import dse
import dse.hardware
from dse.cost.steps.side import conversion_pj
from dse.hardware.arrays import hardware_arrays
from dse.hardware.prices.side_costs import (
    quantize_pj,
    range_reduction_pj,
    reconfiguration,
    stochastic_rounding_pj,
    vector_op_pj,
)
from dse.hardware.prices.technology import energy_scale
from dse.precision import Histogram, Plan
from dse.precision.formats.properties import parse_format
from dse.precision.policies.rules import Overhead
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

SMALL = """source: test
batch: 2
samples: 8
epochs: 1
optimizer: momentum
input: {C: 16, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 32, R: 3, pad: 1, then: [norm, relu]}
  - {op: conv, name: second, K: 32, stride: 2, R: 3, pad: 1}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10, bias: true}
"""
NET = network_from_document(parse_yaml(SMALL, "small.yaml"), "small")
HW = dse.load_hardware("flex_trainer")
SCALE = float(energy_scale(HW.node_nm))
FIRST_OUT, FIRST_IN, SECOND_IN = 2 * 32 * 64, 2 * 16 * 64, 2 * 32 * 64


def rows_of(cost):
    return cost.layers.set_index(["layer", "pass"])


def test_converting_ranging_and_rounding_by_hand():
    rows = rows_of(dse.evaluate(NET, HW, Plan.parse("w8a8e4", NET)))
    forward, back = rows.loc[("first", "forward")], rows.loc[("second", "backward_data")]
    assert forward["quantize_j"] == pytest.approx(FIRST_OUT * float(quantize_pj(8)) * SCALE * 1e-12)
    assert forward["range_j"] == pytest.approx(FIRST_OUT * float(range_reduction_pj(32)) * SCALE * 1e-12)
    assert forward["rounding_j"] == 0.0
    assert back["quantize_j"] == pytest.approx(SECOND_IN * float(quantize_pj(4)) * SCALE * 1e-12)
    assert back["rounding_j"] == pytest.approx(SECOND_IN * float(stochastic_rounding_pj(16)) * SCALE * 1e-12)
    # The gradient stays fp32; the weight is made from its master copy.
    assert rows.loc[("second", "backward_weight"), "quantize_j"] == 0.0
    made = 32 * 32 * 9 * float(quantize_pj(8)) * SCALE * 1e-12
    assert rows.loc[("second", "optimizer"), "quantize_j"] == pytest.approx(made)


def test_fp32_is_never_converted():
    total = dse.evaluate(NET, dse.load_hardware("fp32_trainer"), Plan.parse("fp32", NET)).total.iloc[0]
    assert total["feasible"]
    assert total[["quantize_j", "range_j", "rounding_j", "analytics_j"]].sum() == 0.0


def test_inference_converts_activations_alone():
    total = dse.evaluate(NET, HW, Plan.parse("w8a8e8", NET), mode="inference")
    assert set(total.layers["pass"]) == {"forward"}
    assert total.total["quantize_j"][0] > 0
    assert total.total["range_j"][0] == total.total["rounding_j"][0] == 0.0


def test_configuration_is_loaded_once_per_pass_of_flexible_elements_only():
    rows = rows_of(dse.evaluate(NET, HW, Plan.parse("w8a8e8", NET)))
    sides = [axis.size for axis in HW.axes]
    setup = float(reconfiguration(*sides, HW.node_nm).energy_pj) * 1e-12
    assert rows.loc[("first", "forward"), "reconfigure_j"] == pytest.approx(setup)
    assert rows.loc[("first", "optimizer"), "reconfigure_j"] == 0.0
    assert dse.evaluate(NET, dse.load_hardware("tpu_like"), Plan.parse("w8a8e8", NET)).total["reconfigure_j"][0] == 0.0


def test_a_stash_of_its_own_is_written_and_read_in_its_format():
    plain, own = Plan.parse("w8a8e8", NET), Plan.uniform(NET, stash="int4")
    before, after = (rows_of(dse.evaluate(NET, HW, plan)) for plan in (plain, own))
    # Beside the input a copy of 4 bits is written; the result is read by a norm, which now reads 8 bits and not 16.
    more = after.loc[("first", "forward"), "dram_bits"] - before.loc[("first", "forward"), "dram_bits"]
    assert more == 4 * FIRST_IN - 8 * FIRST_OUT
    norm = "first.norm" if ("first.norm", "backward_data") in before.index else before.index[1][0]
    less = before.loc[(norm, "backward_data"), "dram_bits"] - after.loc[(norm, "backward_data"), "dram_bits"]
    # The norm's backward pass reads its input twice, now with 12 bits less.
    assert less == 2 * 12 * FIRST_OUT


def test_analytics_are_charged_when_asked_for_and_where_formats_mix():
    hw = dse.load_hardware("dynasty_like")
    mixed = Histogram.of({"bfp4:4x4": 0.5, "bfp8:4x4": 0.5})
    plan = Plan.from_formats(NET, dict.fromkeys(("weight", "activation", "error"), mixed))
    given, online, rare = (dse.evaluate(NET, hw, plan, map_updates=times).total.iloc[0] for times in (0, 1, 0.1))
    assert given["analytics_j"] == 0.0
    assert online["analytics_j"] > 0
    assert online["dram_bits"] > given["dram_bits"]
    assert rare["analytics_j"] == pytest.approx(0.1 * online["analytics_j"])
    uniform = dse.evaluate(
        NET, hw, Plan.from_formats(NET, dict.fromkeys(("weight", "activation", "error"), "bfp4:4x4")), map_updates=1
    )
    assert uniform.total["analytics_j"][0] == 0.0


def test_a_policys_overhead_by_hand():
    base, charged = (
        dse.evaluate(NET, HW, Plan.parse("w8a8e8", NET), overhead=overhead) for overhead in (None, Overhead(1e6, 1e9))
    )
    energy = 1e6 * float(vector_op_pj(32, True, HW.node_nm)) * 1e-12
    assert charged.total["analytics_j"][0] == pytest.approx(energy)
    assert charged.total["dram_bits"][0] == base.total["dram_bits"][0] + 1e9
    cycles = 1e9 / HW.memories[-1].bandwidth_bits_per_cycle
    assert charged.total["latency_s"][0] == pytest.approx(base.total["latency_s"][0] + cycles / HW.clock_hz)
    assert rows_of(charged).loc[("(run)", "policy"), "dram_bits"] == 1e9


def test_totals_hold_with_side_costs_over_designs_and_rows_of_the_run():
    designs = dse.hardware.sample_table(HW, 4, seed=1)
    schedule = dse.Schedule.cyclic(low=3, high=8, backward=8, cycles=2, iterations=60)
    cost = dse.evaluate(NET, HW, schedule, designs, overhead=Overhead(1e6, 1e6))
    parts = [name for name in cost.layers if name.endswith("_j") and name != "energy_j"]
    sums = cost.layers.groupby("design")[["energy_j", "latency_s", "dram_bits", *parts]].sum()
    for name in sums:
        assert sums[name].to_numpy() == pytest.approx(cost.total[name].to_numpy(), rel=1e-9)
    assert cost.total[parts].sum(axis=1).to_numpy() == pytest.approx(cost.total["energy_j"].to_numpy(), rel=1e-9)
    assert (cost.phases.groupby("design")["iterations"].sum() == 60).all()


def test_rounded_widths_are_said():
    notes = dse.evaluate(NET, HW, Plan.parse("w3a5e8", NET)).notes
    assert notes == (
        "flex_trainer: 3 bits run as 4, 5 bits run as 8 (time and MAC energy; storage keeps its own width)",
    )
    assert dse.evaluate(NET, HW, Plan.parse("w4a8e8", NET)).notes == ()
    wide = dse.evaluate(NET, HW, Plan.parse("w9a16e16", NET)).notes
    assert wide[0] == "flex_trainer: 9 bits run as 16 (time and MAC energy; storage keeps its own width)"
    assert "128 products of int16 and int16 need 38 bits" in wide[1]
    assert "4 bits run as 8" in dse.evaluate(NET, dse.load_hardware("tpu_like"), Plan.parse("w4a8e8", NET)).notes[0]


@pytest.mark.parametrize(
    "name",
    [
        "int8",
        "int4",
        "fixed8_4",
        "bfp4:4x4",
        "mxint8",
        "mxfp4_e2m1",
        "mls_e2m4",
        "fp8_e4m3",
        "bf16",
        "binary",
        "ternary",
    ],
)
def test_every_family_has_a_price_and_fewer_bits_convert_for_less(name):
    assert 0.0 < conversion_pj(parse_format(name)) < conversion_pj(parse_format("int16")) * 1.01


def test_unknown_operands_are_refused():
    with pytest.raises(dse.InputError, match="errors"):
        dse.evaluate(NET, HW, Plan.parse("w8a8e8", NET), stochastic=("errors",))


def test_many_designs_and_plans_agree_with_one_at_a_time():
    designs = dse.hardware.sample_table(HW, 3, seed=2)
    plans = [Plan.parse(text, NET) for text in ("w8a8e8", "w4a4e8")]
    many = dse.evaluate(NET, HW, plans, designs).total
    for row in range(3):
        one = dse.evaluate(NET, HW, plans[1], designs.iloc[[row]]).total.iloc[0]
        numbers = many.iloc[2 * row + 1][["energy_j", "quantize_j", "range_j", "peak_memory_bits"]].astype(float)
        assert np.allclose(numbers, one[numbers.index].astype(float), rtol=1e-12, atol=0)


def test_changes_of_widths_by_hand():
    """Five steps up twice and one down: all weights are read from their masters of 32 bits, converted and written at the new width."""
    text = "source: test\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\ninput: {tokens: 8, C: 32}\nlayers:\n"
    text += "  - {op: linear, name: a, K: 64}\n  - {op: linear, name: b, K: 32}\n"
    net, hw = network_from_document(parse_yaml(text, "net.yaml"), "net"), dse.load_hardware("bit_fusion")
    cost = dse.evaluate(net, hw, dse.Schedule.cyclic(low=3, high=8, backward=8, cycles=2, iterations=60))
    row = rows_of(cost).loc[("(run)", "width changes")]
    weights, widths = 2 * 32 * 64, [4, 5, 6, 7, 8] * 2 + [3]
    read, written = weights * 32 * len(widths), weights * sum(widths)
    assert row["dram_bits"] == read + written
    arrays = hardware_arrays(hw, None)
    prices = arrays.read_pj_per_bit[0, -1], arrays.write_pj_per_bit[0, -1]
    assert row["dram_j"] == pytest.approx((prices[0] * read + prices[1] * written) * 1e-12, rel=1e-12)
    convert = sum(float(quantize_pj(width)) for width in widths) * weights * float(energy_scale(hw.node_nm))
    assert row["quantize_j"] == pytest.approx(convert * 1e-12, rel=1e-12)
    setup = reconfiguration(16, 32, hw.node_nm)
    assert row["reconfigure_j"] == pytest.approx(len(widths) * float(setup.energy_pj) * 1e-12, rel=1e-12)
    cycles = (read + written) / hw.memories[-1].bandwidth_bits_per_cycle + len(widths) * float(setup.cycles)
    assert row["latency_s"] == pytest.approx(cycles / hw.clock_hz, rel=1e-12)
    assert row["energy_j"] == pytest.approx(sum(row[name] for name in row.index if name.endswith("_j") and name != "energy_j"))
