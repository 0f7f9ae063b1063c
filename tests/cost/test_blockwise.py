"""Block-wise plans: a histogram of formats is priced as a histogram, never as its mean."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dse
from dse.precision import Histogram, Joint, Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

SMALL = """source: test
batch: 2
samples: 8
epochs: 1
optimizer: momentum
input: {C: 16, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 32, R: 3, pad: 1}
  - {op: conv, name: second, K: 32, stride: 2, R: 3, pad: 1}
  - {op: fc, name: last, K: 10}
"""
NET = network_from_document(parse_yaml(SMALL, "small.yaml"), "small")
#: Hardware with a format family that its elements multiply, by the name of the file; the last one's mappings are searched per design.
FAMILIES = {"dynasty_like": "bfp", "bit_fusion": "int", "stripes_like": "int", "flexblock_like": "bfp", "simba_like": "int"}


def plan_of(family, shares):
    histogram = Histogram.of({f"{family}{bits}{':4x4' if family == 'bfp' else ''}": share for bits, share in shares.items()})
    return Plan.from_formats(NET, {"weight": histogram, "activation": histogram, "error": histogram})


def energy_and_time(hardware, plan):
    total = dse.evaluate(NET, dse.load_hardware(hardware), plan).total.iloc[0]
    return np.array([total["energy_j"], total["latency_s"]])


@pytest.mark.parametrize("hardware", FAMILIES)
def test_a_histogram_concentrated_on_one_width_is_the_plan_at_that_width(hardware):
    family = FAMILIES[hardware]
    block = ":4x4" if family == "bfp" else ""
    plain = Plan.from_formats(NET, dict.fromkeys(("weight", "activation", "error"), f"{family}4{block}"))
    concentrated = plan_of(family, {4: 1.0, 8: 0.0})
    assert energy_and_time(hardware, concentrated).tolist() == energy_and_time(hardware, plain).tolist()


@cache
def at_one_width(hardware, bits):
    return energy_and_time(hardware, plan_of(FAMILIES[hardware], {bits: 1.0}))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(FAMILIES.keys() - {"simba_like"})), st.floats(0.05, 0.95))
@example("simba_like", 0.3)
def test_a_mixed_histogram_costs_between_its_members(hardware, share):
    mixed = energy_and_time(hardware, plan_of(FAMILIES[hardware], {4: share, 8: 1 - share}))
    assert (mixed >= at_one_width(hardware, 4) * (1 - 1e-12)).all()
    assert (mixed <= at_one_width(hardware, 8) * (1 + 1e-12)).all()


def test_cycles_of_a_compute_bound_layer_are_the_mean_over_the_pairs():
    """dynasty_like, both operands half 4 and half 8 bits: mean of 1/4, 1/2, 1/2, 1 of the time at 8 bits."""
    hw = dse.load_hardware("dynasty_like")

    def compute(shares):
        layers = dse.evaluate(NET, hw, plan_of("bfp", shares), mapping_objective="latency").layers
        row = layers.set_index(["layer", "pass"]).loc[("first", "forward")]
        assert row["bound"] == "compute"
        return row["latency_s"]

    assert compute({4: 0.5, 8: 0.5}) == pytest.approx(compute({8: 1.0}) * 9 / 16, rel=1e-9)


def test_bitops_follow_the_joint_histogram():
    names = ("bfp4:4x4", "bfp8:4x4")
    half = Histogram.of(dict.fromkeys(names, 0.5))
    formats = {"weight": half, "activation": half, "error": "bfp8:4x4"}
    together = Plan.from_formats(
        NET, formats, joint=[Joint("first", ("weight", "activation"), ((0.5, 0.0), (0.0, 0.5)))]
    )
    apart = Plan.from_formats(NET, formats)
    macs = 2 * 32 * 16 * 64 * 9

    def bitops(plan):
        layers = dse.evaluate(NET, dse.load_hardware("dynasty_like"), plan).layers.set_index(["layer", "pass"])
        return layers.loc[("first", "forward"), "bitops"]

    assert bitops(together) == pytest.approx(macs * (16 + 64) / 2)
    assert bitops(apart) == pytest.approx(macs * 36)


def test_the_map_is_stored_and_moved():
    """Four widths: 2 bits per block of 16 on top of the shared exponent of 8 bits."""
    hw = dse.load_hardware("dynasty_like")
    layers = dse.evaluate(NET, hw, plan_of("bfp", {2: 0.25, 4: 0.25, 6: 0.25, 8: 0.25})).layers
    row = layers.set_index(["layer", "pass"]).loc[("first", "forward")]
    elements = 32 * 16 * 9 + 2 * 32 * 64 + 2 * 16 * 10 * 10
    assert row["dram_bits"] >= elements * (5 + 8 / 16 + 2 / 16) * (1 - 1e-12)


def test_lanes_of_a_serial_array_wait_for_the_widest_block():
    """With n blocks of the map in one adder tree the step has 4 bits only if all n have: time 8 - 4 / 2^n of 8 bits."""
    hw = dse.load_hardware("stripes_like")
    blocks = hw.pe.block // 4
    assert blocks > 1

    def compute(shares):
        layers = dse.evaluate(NET, hw, plan_of("int", shares), mapping_objective="latency").layers
        row = layers.set_index(["layer", "pass"]).loc[("first", "forward")]
        assert row["bound"] == "compute"
        return row["latency_s"]

    assert compute({4: 0.5, 8: 0.5}) == pytest.approx(compute({8: 1.0}) * (8 - 4 * 0.5**blocks) / 8, rel=1e-9)
