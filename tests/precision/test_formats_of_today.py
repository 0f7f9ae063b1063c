"""NVFP4, scaled FP8, groups of integers, NF4, HFP8: against their published encodings and rules, rebuilt here step by step."""

import statistics

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dse
from dse.errors import InputError
from dse.precision import Plan
from dse.precision.formats import (
    Matrix,
    dynamic_range,
    exponent_bits,
    format_problem,
    multiplier_bits,
    parse_format,
    stored_bits,
    tensor_bits,
)
from dse.precision.formats.families.blocks import NORMAL_FLOAT_4
from dse.precision.formats.properties import arithmetic
from dse.precision.formats.quantize import quantize
from dse.workload.model import Layer, Network

RNG = np.random.default_rng(11)


def cast(values, dtype):
    """The nearest values of a type of ml_dtypes, saturating."""
    top = float(ml_dtypes.finfo(dtype).max)
    return np.clip(np.asarray(values, np.float64), -top, top).astype(dtype).astype(np.float64)


def test_nvfp4_by_its_rule():
    x = RNG.standard_normal((6, 70)) * np.exp2(RNG.integers(-6, 6, (6, 1)))
    tensor_scale = np.abs(x).max() / (448 * 6)
    expected = np.empty_like(x)
    for row in range(6):
        for start in range(0, 70, 16):
            block = x[row, start : start + 16]
            scale = float(cast(np.abs(block).max() / 6 / tensor_scale, ml_dtypes.float8_e4m3fn)) * tensor_scale
            expected[row, start : start + 16] = cast(block / scale, ml_dtypes.float4_e2m1fn) * scale
    got = quantize(x, "nvfp4")
    assert got == pytest.approx(expected, rel=1e-12)
    assert np.abs(got).max() == pytest.approx(np.abs(x).max())  # 448 x 6 steps: the largest magnitude stays
    assert quantize(x[:, :32], "nvfp4:16x16").shape == (6, 32)


def test_nvfp4_keeps_what_mxfp4_saturates():
    # A block whose largest magnitude is 7.9: MXFP4's scale is 1 and cuts at 6, NVFP4's is 7.9 / 6.
    block = np.linspace(0.1, 7.9, 16)
    assert quantize(block, "mxfp4").max() == 6.0
    assert quantize(block, "nvfp4").max() == pytest.approx(7.9)


@pytest.mark.parametrize(("name", "height", "width"), [("fp8_e4m3:128", 1, 128), ("fp8_e4m3:128x128", 128, 128), ("fp8_e5m2:8", 1, 8)])
def test_fp8_in_blocks_by_its_rule(name, height, width):
    dtype = ml_dtypes.float8_e5m2 if "e5m2" in name else ml_dtypes.float8_e4m3fn
    x = RNG.standard_normal((130, 200)) * np.exp2(RNG.integers(-30, 30, (130, 200)))
    got = quantize(x, name)
    for top in range(0, 130, height):
        for left in range(0, 200, width):
            block = x[top : top + height, left : left + width]
            scale = np.abs(block).max() / float(ml_dtypes.finfo(dtype).max)
            assert got[top : top + height, left : left + width] == pytest.approx(cast(block / scale, dtype) * scale, rel=1e-12)
        if height == 1 and top > 3:
            break


def test_fp8_per_tensor_row_and_channel():
    x = RNG.standard_normal((4, 5, 6))
    for name, over in (("tensor", None), ("row", -1), ("channel", (1, 2))):
        scale = np.abs(x).max(axis=over, keepdims=True) / 448
        assert quantize(x, f"fp8_e4m3:{name}") == pytest.approx(cast(x / scale, ml_dtypes.float8_e4m3fn) * scale, rel=1e-12)
    assert quantize(x * 1e-9, "fp8_e4m3").any() == np.False_  # without a scale it is lost
    assert quantize(x * 1e-9, "fp8_e4m3:tensor") == pytest.approx(quantize(x, "fp8_e4m3:tensor") * 1e-9)


def test_nf4_has_the_published_values():
    """QLoRA's construction: quantiles of the normal distribution, eight above zero and seven below, offset as published."""
    quantile = statistics.NormalDist().inv_cdf
    offset = 0.9677083
    above = [quantile(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    below = [-quantile(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    built = sorted([*above, 0.0, *below])
    assert np.array(built) / max(built) == pytest.approx(NORMAL_FLOAT_4, abs=1e-6)
    x = RNG.standard_normal((3, 150))
    got = quantize(x, "nf4")
    for row in range(3):
        for start in range(0, 150, 64):
            block = x[row, start : start + 64]
            top = np.abs(block).max()
            nearest = np.array(NORMAL_FLOAT_4)[np.abs(block[:, None] / top - np.array(NORMAL_FLOAT_4)).argmin(axis=1)]
            assert got[row, start : start + 64] == pytest.approx(nearest * top)


def test_groups_of_integers_with_and_without_a_zero_point():
    x = RNG.random((2, 256)) + 3.0  # far from zero: where a zero point is worth having
    for name, zero_point in (("int4_g128", False), ("int4a_g128", True)):
        got = quantize(x, name)
        for row in range(2):
            for start in (0, 128):
                block = x[row, start : start + 128]
                step = block.max() / 15 if zero_point else block.max() / 7
                assert got[row, start : start + 128] == pytest.approx(np.rint(block / step) * step, abs=step * 1e-9)
    assert quantize(x, "int4_g32s32") == pytest.approx(quantize(x, "int4_g32"))  # the width of a scale is stored, not rounded


def test_hfp8_is_a_plan_of_two_formats():
    class Net:
        name = "one"
        layers = (type("Layer", (), {"name": "a"})(),)

    plan = Plan.parse("hfp8", Net)
    assert plan.label == "fp8_e4m3b11,error=fp8_e5m2"
    assert Plan.parse("hfp8,stash=int4", Net).label == "fp8_e4m3b11,s4,error=fp8_e5m2"
    # The largest value is 30, the usual bias of 7 and 4 more.
    assert dynamic_range(parse_format("fp8_e4m3b11")) == (30.0, 2.0**-10, 2.0**-13)
    assert "did you mean 'fp8_e4m3b11'?" in str(format_problem("hfp8"))
    with pytest.raises(InputError, match="no number format"):
        Plan.parse("weight=hfp8,activation=hfp8", Net)


@pytest.mark.parametrize(
    ("name", "matrix", "bits"),
    [
        ("nvfp4", Matrix(1, 8, 64), 4.5 + 32 / 512),
        ("nvfp4", Matrix(1, 10, 40), 4 + 3 * 8 / 40 + 32 / 400),
        ("nvfp4:16x16", Matrix(1, 64, 64), 4 + 8 / 256 + 32 / 4096),
        ("fp8_e4m3:tensor", Matrix(1, 4, 4), 8 + 32 / 16),
        ("fp8_e4m3:row", Matrix(1, 10, 512), 8 + 32 / 512),
        ("fp8_e4m3:128", Matrix(1, 10, 200), 8 + 2 * 32 / 200),
        ("fp8_e4m3:128x128", Matrix(1, 130, 200), 8 + 4 * 32 / (130 * 200)),
        ("int4_g32s32", Matrix(1, 4, 64), 5.0),
        ("int4a_g128", Matrix(1, 4, 64), 4 + 20 / 64),
        ("nf4", Matrix(1, 4, 128), 4.5),
        ("fp8_e4m3b11", Matrix(1, 4, 4), 8.0),
    ],
)
def test_storage_by_shape(name, matrix, bits):
    assert stored_bits(parse_format(name), matrix=matrix) == pytest.approx(bits)
    assert tensor_bits(parse_format(name), matrix) == pytest.approx(bits * matrix.elements)


@pytest.mark.parametrize(
    ("name", "kind", "multiplier", "exponent"),
    [
        ("nvfp4", "float", 2, 2),
        ("fp8_e4m3:128x128", "float", 4, 4),
        ("fp8_e4m3b11", "float", 4, 4),
        ("int4a_g128", "integer", 4, 0),
        ("nf4", "float", 8, 8),  # unpacked to bfloat16
    ],
)
def test_what_multiplies_them(name, kind, multiplier, exponent):
    form = parse_format(name)
    assert (arithmetic(form), multiplier_bits(form), exponent_bits(form)) == (kind, multiplier, exponent)


def test_they_run_where_their_elements_run():
    layers = (Layer("a", "fc", N=4, K=96, C=128), Layer("b", "fc", N=4, K=64, C=96))
    net = Network("two", "made up", layers, batch=2, samples=2, epochs=1)
    mx = dse.load_hardware("mx_trainer")
    plans = [Plan.parse(name, net) for name in ("mxfp4", "nvfp4", "fp8_e4m3:128", "fp8_e4m3:tensor", "hfp8")]
    cost = dse.evaluate(net, mx, plans)
    assert cost.total["feasible"].all()
    four, nv, blocks, tensor, _ = cost.total["energy_j"]
    assert nv > four  # the same elements with more scales
    assert blocks > tensor
    assert len(set(cost.total["plan"])) == 5
    assert cost.total["range_j"][2] > 0 == cost.total["range_j"][4]
    limit = dse.evaluate(net, dse.load_hardware("flex_trainer"), Plan.parse("nf4", net)).total["limit"][0]
    assert "does not multiply" in limit


NAMES = ["int4", "int4_g16", "int4a_g16", "int8:channel", "fp8_e4m3", "fp8_e4m3:tensor", "fp8_e4m3:row", "fp8_e4m3:16", "fp8_e5m2:4x4",
         "fp8_e4m3b11", "nf4:16", "mxfp8", "mxfp6", "mxfp4", "mxint8", "bfp4", "fp16", "bf16", "fixed8_4"]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(NAMES),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=st.floats(-1e3, 1e3, width=16)),
)
def test_quantizing_is_idempotent_and_never_grows_the_range(name, x):
    once = quantize(x, name)
    assert quantize(once, name) == pytest.approx(once, rel=1e-9, abs=1e-30)
    if name.endswith("a_g16"):
        return  # a range with a zero point may end up to a step beyond its data
    # An exact scale takes the largest value to itself. Elsewhere rounding to nearest adds half a unit of its last place: of p significant bits
    # 2^-p of the value at most, and half a smallest step where the steps no longer shrink.
    form = parse_format(name)
    significant = form.mantissa_bits + 1 if form.exponent_bits else form.element_bits - 1
    growth = 0.0 if ":" in name or "_g" in name else 2.0**-significant
    step = dynamic_range(form).smallest
    assert np.abs(once).max() <= max(np.abs(x).max() * (1 + 1e-9 + growth) + step / 2, step)
