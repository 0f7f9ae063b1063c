"""Formats: names, storage, widths, ranges; against ml_dtypes where the format exists there."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.precision.formats.properties import (
    accumulator_bits,
    dynamic_range,
    exponent_bits,
    format_problem,
    largest_code,
    multiplier_bits,
    parse_format,
    stored_bits,
)

TWINS = {
    "fp16": np.float16,
    "fp32": np.float32,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
    "fp8_e3m4": ml_dtypes.float8_e3m4,
    "fp8_e4m3b11": ml_dtypes.float8_e4m3b11fnuz,
    "fp8_e4m3b8": ml_dtypes.float8_e4m3fnuz,
    "fp8_e5m2b16": ml_dtypes.float8_e5m2fnuz,
    "nvfp4": ml_dtypes.float4_e2m1fn,
    "fp8_e4m3:128x128": ml_dtypes.float8_e4m3fn,
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp4_e2m1": ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize(("name", "twin"), TWINS.items())
def test_float_ranges_equal_ml_dtypes(name, twin):
    limits, form = ml_dtypes.finfo(twin), parse_format(name)
    assert dynamic_range(form) == (limits.max, limits.smallest_normal, limits.smallest_subnormal)
    assert form.element_bits == limits.bits
    assert multiplier_bits(form) == limits.nmant + 1
    assert exponent_bits(form) == form.exponent_bits


@pytest.mark.parametrize(
    ("name", "stored", "multiplier", "largest"),
    [
        ("int2", 2, 2, 1),
        ("int8", 8, 8, 127),
        ("int8a", 8, 8, 128),
        ("uint8", 8, 8, 255),
        ("int4:vector16", 5, 4, 7),
        ("fixed16_8", 16, 16, 32768),
        ("bfp4", 4.5, 4, 7),
        ("bfp6:1x16", 6.5, 6, 31),
        ("mxint8", 8.25, 8, 127),
        ("mls_e2m1", 5, 4, 12),
        ("mls_e2m4", 8, 7, 124),
        ("mls_e2m4:56x56", 7 + 9 / 56**2, 7, 124),
        ("vsq4:16", 4 + 6 / 16, 4, 7),
        ("vsq4:16s4", 4.25, 4, 7),
        ("int4_g32", 4.5, 4, 7),
        ("int4_g128", 4.125, 4, 7),
        ("int4_g32s32", 5, 4, 7),
        ("int4a_g128", 4 + 20 / 128, 4, 8),
        ("uint8_g64s32", 8 + 40 / 64, 8, 255),
        ("binary", 1, 1, 1),
        ("ternary", 2, 2, 1),
    ],
)
def test_integer_like_formats(name, stored, multiplier, largest):
    form = parse_format(name)
    assert stored_bits(form) == pytest.approx(stored)
    assert multiplier_bits(form) == multiplier
    assert largest_code(form) == largest
    assert exponent_bits(form) == 0
    assert not form.is_float


def test_storage_of_formats_that_are_unpacked_before_arithmetic():
    assert stored_bits(parse_format("actnn2")) == 2.125
    assert stored_bits(parse_format("s2fp8"), group_elements=64) == 9.0
    assert multiplier_bits(parse_format("s2fp8")) == multiplier_bits(parse_format("fp32")) == 24
    assert [stored_bits(parse_format(f"mxfp{name}")) for name in ("8_e4m3", "6_e2m3", "4_e2m1")] == [8.25, 6.25, 4.25]


def test_scales_that_follow_the_tensor():
    assert stored_bits(parse_format("int8")) == 8.0
    assert stored_bits(parse_format("int8:channel"), 576) == 8 + 32 / 576
    assert stored_bits(parse_format("uint8"), 576) == 8 + 40 / 576
    assert stored_bits(parse_format("mls_e2m4"), 196) == 7 + 9 / 196
    assert stored_bits(parse_format("bfp4"), 196) == 4.5
    assert stored_bits(parse_format("fp16"), 1) == 16.0


@pytest.mark.parametrize(
    ("name", "canonical"),
    [("INT8", "int8"), ("bfp4:4x4", "bfp4"), ("bfp4:16", "bfp4:16"), ("bfp4:1x16", "bfp4:16"), ("float32", "fp32"),
     ("int8:tensor", "int8"), ("mxint8:32", "mxint8"), ("vsq4:16s6", "vsq4"), ("actnn2:256", "actnn2"), (" bf16 ", "bf16"),
     ("int4_g128", "int4:vector128"), ("int4a_g32s32", "int4a:vector32s32"), ("nvfp4:1x16", "nvfp4"), ("nf4:64", "nf4"),
     ("mxfp4", "mxfp4_e2m1"), ("mxfp8:16", "mxfp8_e4m3:16"), ("fp8_e4m3:1x128", "fp8_e4m3:128"), ("e4m3:row", "fp8_e4m3:row")],
)  # fmt: skip
def test_one_format_has_one_name(name, canonical):
    assert parse_format(name).name == canonical
    assert parse_format(canonical) == parse_format(name)


BAD = ["int3.5", "int1", "int33", "in8", "", "int8:rows", "bfp4:0x4", "bfp1", "bfp4:4x", "mxfp8_e4m2", "fp8_e4m4", "fp32:4",
       "mls_e2", "vsq4:s0", "vsq4:16s", "fixed8", "actnn9", "uint8a", "ternary:4", "int8;", "8", "int4_g", "int4_g0",
       "int4_g32s4", "int4_g32:channel", "nvfp4:0", "nvfp8", "nf3", "nf4:row", "fp8_e4m3:rows", "fp32:row", "fp8_e4m3b7", "mxfp4:x"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_format(name):
    with pytest.raises(InputError, match=r"is no number format; known: int2 \.\.\. int16"):
        parse_format(name)


def test_near_names_are_suggested():
    assert str(format_problem("bpf4")).endswith("did you mean 'bfp4'?")
    assert format_problem("bfp4") is None
    assert "8 is no number format" in str(format_problem(8))


integers = st.integers(2, 16).map(lambda bits: f"int{bits}")


@given(integers, integers, st.integers(1, 10**6))
def test_exact_accumulators_hold_the_largest_sum_and_not_a_bit_more(name_a, name_b, products):
    form_a, form_b = parse_format(name_a), parse_format(name_b)
    bits = accumulator_bits(form_a, form_b, products)
    largest = products * largest_code(form_a) * largest_code(form_b)
    assert 2 ** (bits - 2) <= largest < 2 ** (bits - 1)
    assert accumulator_bits(form_a, form_b, products, risk=1e-6) <= bits


def test_float_accumulators_span_from_the_smallest_to_the_largest_product():
    # FP8 E4M3: 14 * 2^14 steps of 2^-9 in the largest value; squared and signed
    e4m3 = parse_format("fp8_e4m3")
    assert accumulator_bits(e4m3, e4m3, 1) == ((14 * 2**14) ** 2).bit_length() + 1
    fp32 = parse_format("fp32")
    assert accumulator_bits(fp32, fp32, 1) == 2 * (24 + 253) + 1
    mls = parse_format("mls_e2m4")
    # product 14 bits, a 3x3 group adds ceil(log2 9) = 4: 18 bits and the sign (REFERENCES 1.3)
    assert accumulator_bits(mls, mls, 9) == 18 + 1


def test_risk_is_an_upper_bound_on_overflow():
    int4 = parse_format("int4")
    products, risk = 256, 0.05
    bits = accumulator_bits(int4, int4, products, risk=risk)
    assert bits < accumulator_bits(int4, int4, products)
    rng = np.random.default_rng(0)
    worst = rng.choice([-49, 49], size=(20_000, products)).sum(axis=1)  # the widest zero-mean products there are
    assert np.mean(np.abs(worst) >= 2 ** (bits - 1)) <= risk
    for bad in (-0.1, 1.0, math.nan):
        with pytest.raises(InputError, match="probability"):
            accumulator_bits(int4, int4, 8, risk=bad)
    with pytest.raises(InputError, match="products"):
        accumulator_bits(int4, int4, 0)


@given(
    st.sampled_from(
        ["int{}", "int{}a", "uint{}", "fixed{}_2", "bfp{}", "bfp{}:1x32", "vsq{}:16", "int{}:channel", "int{}:vector8"]
    ),
    st.integers(2, 15),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_fewer_bits_never_store_or_multiply_more(family, bits, elements):
    narrow, wide = parse_format(family.format(bits)), parse_format(family.format(bits + 1))
    assert stored_bits(narrow, elements) < stored_bits(wide, elements)
    assert multiplier_bits(narrow) < multiplier_bits(wide)
    assert accumulator_bits(narrow, narrow, 100) < accumulator_bits(wide, wide, 100)
    assert dynamic_range(narrow).largest < dynamic_range(wide).largest
