"""The plan's accumulator sets the width of partial sums everywhere, and one that is too narrow for the sums is told of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.cost.jobs.accumulators import RISK, accumulator_notes, sums_of
from dse.precision.formats import accumulator_bits, parse_format
from dse.workload.model import Layer, Network

WIDE = Network(
    "wide",
    "made up",
    (
        Layer("conv", "conv", K=32, C=8, P=6, Q=6, R=3, S=3, input_hw=(6, 6)),
        Layer("fc", "fc", K=64, C=3072),
    ),
    batch=4,
    samples=4,
    epochs=1,
)
TPU = dse.load_hardware("tpu_like")


def with_accumulator(name: str, formats: str = "weight=int8,activation=int8") -> dse.Plan:
    return dse.Plan.parse(f"{formats},accumulator={name}" if name else formats, WIDE)


def test_partial_sums_follow_the_width():
    plans = [with_accumulator(name) for name in ("int8", "int16", "", "int32")]
    cost = dse.evaluate(WIDE, TPU, plans, mode="inference", labels=["8", "16", "own", "32"])
    total = cost.total.set_index("plan")
    assert total["feasible"].all()
    energy = total["energy_j"]
    assert energy["8"] < energy["16"] < energy["32"]
    assert energy["own"] == energy["16"]  # the file's own accumulators have 16 bits
    # The registers next to the MACs see a sum per MAC: twice the bits, twice the energy.
    registers = total["accumulator_register_j"]
    assert registers["16"] == pytest.approx(2 * registers["8"])
    assert registers["32"] == pytest.approx(2 * registers["16"])
    assert total["dram_bits"].nunique() == 1  # no partial sum leaves the chip here; results have their own width


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["tpu_like", "gemmini", "eyeriss"]), st.lists(st.integers(8, 32), min_size=2, max_size=4, unique=True))
def test_a_narrower_accumulator_never_costs_more(hardware, widths):
    plans = [with_accumulator(f"int{width}") for width in sorted(widths)]
    total = dse.evaluate(WIDE, dse.load_hardware(hardware), plans, mode="inference", labels=[str(w) for w in sorted(widths)]).total
    for quantity in ("energy_j", "latency_s", "dram_bits"):
        assert (np.diff(total[quantity]) >= -1e-12 * total[quantity].to_numpy()[1:]).all() or quantity == "dram_bits"


def test_partial_sums_that_leave_the_chip_have_the_accumulators_width():
    """A buffer that holds no sums sends every accumulation to DRAM and back."""
    from dataclasses import replace

    hw = dse.load_hardware("tpu_like")
    roles = tuple(
        replace(memory, roles=tuple(role for role in memory.roles if role != "accumulator")) if m < len(hw.memories) - 1 else memory
        for m, memory in enumerate(hw.memories)
    )
    bare = replace(hw, memories=roles)
    narrow, wide = (
        dse.evaluate(WIDE, bare, with_accumulator(name), mode="inference").total["dram_bits"][0] for name in ("int16", "int32")
    )
    sums = dse.evaluate(WIDE, bare, with_accumulator("int24"), mode="inference").total["dram_bits"][0]
    assert wide > 1.2 * narrow
    assert sums == pytest.approx((narrow + wide) / 2)


def test_what_the_sums_need_is_told():
    (note,) = accumulator_notes(WIDE, TPU, [with_accumulator("")], "inference")
    # 3,072 products of 127 x 127 are 49.5e6, 26 bits, and the sign; at a risk of 1e-9 by Hoeffding's inequality 24.
    assert "accumulators of 16 bits (tpu_like) are narrower than the sums" in note
    assert "3,072 products of int8 and int8 need 27 bits (fc.forward and 1 more)" in note
    assert "24 bits overflow with a probability of at most 1e-09" in note
    assert accumulator_notes(WIDE, TPU, [with_accumulator("int27")], "inference") == (
        "the plan's accumulators of 27 bits are charged, registers as wide; tpu_like has accumulators of 16 bits",
    )
    (enough,) = accumulator_notes(WIDE, dse.load_hardware("gemmini"), [with_accumulator("int24")], "inference")
    assert "24 bits (int24)" in enough
    assert "suffice at that risk" in enough
    assert accumulator_notes(WIDE, dse.load_hardware("gemmini"), [with_accumulator("")], "inference") == ()
    (eight,) = accumulator_notes(WIDE, TPU, [with_accumulator("int8")], "inference")
    assert "of 8 bits (int8)" in eight
    assert dse.evaluate(WIDE, TPU, with_accumulator("int8"), mode="inference").notes[-1] == eight


def test_sums_of_all_passes_and_kinds_of_elements():
    found = {item.where: item for item in sums_of(WIDE, dse.Plan.parse("w8a4e6", WIDE), "training")}
    assert {name: item.products for name, item in found.items()} == {
        "conv.forward": 8 * 9,
        "conv.backward_data": 32 * 9,
        "conv.backward_weight": 4 * 36,
        "fc.forward": 3072,
        "fc.backward_data": 64,
        "fc.backward_weight": 4,
    }
    for item in found.values():
        assert item.needed_bits == accumulator_bits(item.first, item.second, item.products)
        assert item.likely_bits == accumulator_bits(item.first, item.second, item.products, RISK)
    assert {str(found["fc.backward_weight"].first), str(found["fc.backward_weight"].second)} == {"int6", "int4"}
    # Elements of a block are summed as integers, blocks are rescaled.
    blocks = {item.where: item for item in sums_of(WIDE, dse.Plan.parse("bfp8:1x16", WIDE), "inference")}
    assert blocks["fc.forward"].products == 16


def test_floats_round_instead_of_overflowing():
    fp8 = "weight=fp8_e4m3,activation=fp8_e4m3"
    trainer = dse.load_hardware("fp8_trainer")
    assert accumulator_notes(WIDE, trainer, [with_accumulator("", fp8)], "inference") == ()
    assert accumulator_notes(WIDE, trainer, [with_accumulator("fp16", fp8)], "inference") == ()  # 11 bits for a product of 8
    (note,) = accumulator_notes(WIDE, trainer, [with_accumulator("fp8_e5m2", fp8)], "inference")
    assert "accumulators with 3 significant bits (fp8_e5m2) round every product of fp8_e4m3 and fp8_e4m3, which has 8" in note
    # A fixed-point accumulator of floats spans from the smallest to the largest product (Kulisch).
    (fixed,) = accumulator_notes(WIDE, trainer, [with_accumulator("int32", fp8)], "inference")
    e4m3 = parse_format("fp8_e4m3")
    assert f"need {accumulator_bits(e4m3, e4m3, 3072)} bits" in fixed
