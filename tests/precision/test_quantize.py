"""Quantizers: against ml_dtypes, the OCP MX rule, and answers known by hand."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dse.errors import InputError
from dse.precision import dynamic_range, parse_format
from dse.precision.formats.quantize import quantize

RNG = np.random.default_rng(7)
FLOATS = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
    "fp6_e2m3": ml_dtypes.float6_e2m3fn,
    "fp6_e3m2": ml_dtypes.float6_e3m2fn,
    "fp4_e2m1": ml_dtypes.float4_e2m1fn,
    "fp8_e4m3b11": ml_dtypes.float8_e4m3b11fnuz,
    "fp8_e4m3b8": ml_dtypes.float8_e4m3fnuz,
    "fp8_e5m2b16": ml_dtypes.float8_e5m2fnuz,
}
MX = {
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp4_e2m1": ml_dtypes.float4_e2m1fn,
}
EVERY = [*FLOATS, *MX, "fp32", "tf32", "int4", "int8a", "uint8", "int4:channel", "int4:vector16", "fixed8_4", "bfp4", "bfp6:16",
         "mxint8", "mls_e2m1", "mls_e2m4", "vsq4", "s2fp8", "binary", "ternary", "actnn2", "nvfp4", "nvfp4:16x16", "nf4",
         "fp8_e4m3:tensor", "fp8_e4m3:row", "fp8_e4m3:channel", "fp8_e4m3:128", "fp8_e4m3:128x128", "int4_g32", "int8a_g16s32"]  # fmt: skip
#: Their scales are statistics that rounding moves.
NOT_IDEMPOTENT = ("s2fp8", "vsq4", "actnn2", "binary", "ternary", "mls_e2m1", "mls_e2m4")


def every_value(dtype) -> np.ndarray:
    """All finite values of a type of at most 16 bits."""
    bits = ml_dtypes.finfo(dtype).bits
    codes = np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16)
    with np.errstate(invalid="ignore"):
        values = codes.view(dtype).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


@pytest.mark.parametrize(("name", "dtype"), FLOATS.items())
def test_floats_round_as_ml_dtypes(name, dtype):
    values = every_value(dtype)
    assert (quantize(values, name) == values).all()  # on the grid already
    # Between neighbours: the ties, and a little on both sides; not less, because ml_dtypes rounds to float32 first.
    middle = (values[1:] + values[:-1]) / 2
    for shift in (0.0, 1e-3, -1e-3):
        between = middle + shift * np.diff(values)
        assert (quantize(between, name) == between.astype(dtype).astype(np.float64)).all()
    random = RNG.standard_normal(5000) * 2.0 ** RNG.integers(-12, 4, 5000)
    random = np.clip(random, values[0], values[-1])
    assert (quantize(random, name) == random.astype(dtype).astype(np.float64)).all()


@pytest.mark.parametrize("name", FLOATS)
def test_floats_saturate_and_underflow_gradually(name):
    limits = dynamic_range(parse_format(name))
    got = quantize(
        [2 * limits.largest, -1e39, limits.smallest, limits.smallest * 0.49, limits.smallest * 0.51, 0.0], name
    )
    assert got.tolist() == [limits.largest, -limits.largest, limits.smallest, 0.0, limits.smallest, 0.0]


def test_fp32_is_the_identity_on_float32():
    values = (RNG.standard_normal(1000) * 2.0 ** RNG.integers(-140, 100, 1000)).astype(np.float32)
    assert (quantize(values, "fp32") == values).all()
    assert quantize(values, "fp16").dtype == np.float32
    wide = RNG.standard_normal(1000)
    assert (quantize(wide, "fp32") == wide.astype(np.float32)).all()


@pytest.mark.parametrize(("name", "dtype"), MX.items())
def test_mx_is_the_rule_of_the_specification(name, dtype):
    values = RNG.standard_normal((5, 70)) * np.exp2(RNG.integers(-20, 20, (5, 1)))
    form = parse_format(name)
    for row in range(5):
        for start in range(0, 70, 32):
            block = values[row, start : start + 32]
            shared = np.float64(2.0 ** (np.floor(np.log2(np.abs(block).max())) - form.emax))
            assert shared.astype(ml_dtypes.float8_e8m0fnu).astype(np.float64) == shared
            top = float(ml_dtypes.finfo(dtype).max)
            elements = np.clip(block / shared, -top, top).astype(dtype).astype(np.float64)
            assert (quantize(values, name)[row, start : start + 32] == elements * shared).all()


def test_mx_emax_of_the_specification():
    # OCP MX 1.0, tables of element formats: emax and largest value
    expected = {
        "mxfp8_e4m3": (8, 448.0),
        "mxfp8_e5m2": (15, 57344.0),
        "mxfp6_e2m3": (2, 7.5),
        "mxfp6_e3m2": (4, 28.0),
        "mxfp4_e2m1": (2, 6.0),
    }
    for name, (emax, largest) in expected.items():
        form = parse_format(name)
        assert (form.emax, dynamic_range(form).largest) == (emax, largest)


def test_mx_by_hand():
    block = np.zeros(32)
    block[:5] = [7.9, 1.0, 0.3, -5.2, 0.24]  # floor(log2 7.9) = 2, emax 2: scale 1; 7.9 saturates at 6
    assert quantize(block, "mxfp4_e2m1")[:5].tolist() == [6.0, 1.0, 0.5, -6.0, 0.0]
    assert quantize(block * 1024, "mxfp4_e2m1")[:5].tolist() == [6144.0, 1024.0, 512.0, -6144.0, 0.0]
    # MXINT8: scale 2^2, step 2^-4; the largest element is 127 steps
    assert quantize(block, "mxint8")[:5].tolist() == [7.875, 1.0, 0.3125, -5.1875, 0.25]
    assert quantize([7.99], "mxint8").tolist() == [127 / 16]


def test_block_floating_point_by_hand():
    x = np.array([[0.9, 0.1, 3.0, 3.9], [0.2, -0.3, 0.0, 0.26]])
    # 2x2 blocks, 4 bits: largest below 1 -> step 2^-3; largest below 4 -> step 2^-1
    assert quantize(x, "bfp4:2x2").tolist() == [[0.875, 0.125, 3.0, 3.5], [0.25, -0.25, 0.0, 0.5]]
    assert quantize(x.T, "bfp4:2x2", axes=(1, 0)).tolist() == quantize(x, "bfp4:2x2").T.tolist()


def test_integers_by_hand():
    x = np.array([[-1.0, 0.5, 0.24], [10.0, 3.0, -4.4]])
    assert quantize(x, "int4") == pytest.approx(np.round(x * 0.7) / 0.7)
    by_channel = quantize(x, "int4:channel")
    assert by_channel[0].tolist() == pytest.approx([-1.0, 4 / 7, 2 / 7])
    assert by_channel[1].tolist() == pytest.approx([10.0, 20 / 7, -30 / 7])
    assert (quantize(x.T, "int4:channel", channel_axis=1) == by_channel.T).all()
    assert quantize([0.0, 1.0, 3.0], "uint2").tolist() == [0.0, 1.0, 3.0]
    assert quantize([-1.0, 0.0, 2.0], "int2a").tolist() == [-1.0, 0.0, 2.0]
    assert quantize([1.26, -1.26, 7.97, 100.0, -100.0], "fixed8_4").tolist() == [1.25, -1.25, 7.9375, 7.9375, -8.0]


def test_vsq_scales_are_integers_of_a_coarse_scale():
    x = RNG.standard_normal((4, 64))
    got = quantize(x, "vsq4:16s4")
    for channel in range(4):
        scales = np.abs(x[channel]).reshape(4, 16).max(axis=1) / 7
        coarse = scales.max() / 15
        codes = np.clip(np.rint(x[channel].reshape(4, 16) / scales[:, None]), -7, 7)
        assert got[channel] == pytest.approx((codes * (np.rint(scales / coarse) * coarse)[:, None]).ravel())


def test_mls_elements_are_integers_of_w_bits():
    form = parse_format("mls_e2m4")
    x = RNG.standard_normal((2, 3, 3, 3))
    got = quantize(x, form) / np.abs(x).max()
    for plane, original in zip(got.reshape(-1, 9), x.reshape(-1, 9) / np.abs(x).max(), strict=True):
        scale = 2.0 ** np.ceil(np.log2(np.abs(original).max()))
        scale = scale * 0.75 if np.abs(original).max() <= scale * 0.75 else scale
        codes = np.abs(plane) / scale * 2**7
        assert codes == pytest.approx(np.rint(codes), abs=1e-9)
        assert np.rint(codes).max() <= 124
        significant = np.rint(codes[codes > 0.5])
        assert (significant % 2 ** np.maximum(np.floor(np.log2(significant)) - 4, 0) == 0).all()


def test_signs():
    x = np.array([[1.0, -3.0, 0.1], [-2.0, 2.0, 2.0]])
    assert quantize(x, "binary") == pytest.approx(np.array([[4.1 / 3, -4.1 / 3, 4.1 / 3], [-2, 2, 2]]))
    assert quantize(x, "ternary") == pytest.approx(np.array([[2, -2, 0], [-2, 2, 2]]) * [[1], [1]])


def test_s2fp8_keeps_ranges_that_fp8_loses():
    x = np.exp2(RNG.normal(-40.0, 4.0, 4000)) * RNG.choice([-1.0, 1.0], 4000)
    assert not quantize(x, "fp8_e5m2").any()
    kept = quantize(x, "s2fp8")
    assert np.abs(kept).max() == pytest.approx(np.abs(x).max())
    large = np.abs(x) > np.exp2(-40.0)
    assert np.median(np.abs(kept[large] / x[large] - 1.0)) < 0.125  # half a step of E5M2 at most, squeezed by alpha > 1


def test_stash_keeps_the_ends_of_the_range():
    x = RNG.random((3, 512)) + 1.0
    got = quantize(x, "actnn2")
    assert np.abs(got - x).max() <= (x.max() - x.min()) / 3 / 2 * 1.05 + 2.0**-7
    mean = np.mean([quantize(x, "actnn2", "stochastic", np.random.default_rng(seed)) for seed in range(200)], axis=0)
    assert np.abs(mean - x).max() < 0.12  # unbiased but for bfloat16 minimum and range


@pytest.mark.parametrize("name", EVERY)
def test_zeros_stay_and_shapes_are_kept(name):
    for shape in ((), (1,), (7,), (5, 9), (2, 3, 5, 7), (0, 4)):
        x = np.zeros(shape)
        assert quantize(x, name).tolist() == x.tolist()
        assert quantize(RNG.standard_normal(shape), name).shape == shape


@pytest.mark.parametrize("name", [name for name in EVERY if name not in NOT_IDEMPOTENT])
def test_quantizing_twice_changes_nothing(name):
    x = RNG.standard_normal((6, 40))
    once = quantize(x, name)
    assert quantize(once, name) == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    ["int4", "int8a", "fixed16_8", "fp8_e4m3", "bfp4:1x32", "mxint8", "mxfp6_e3m2", "mls_e2m4:1x32", "vsq8:32s8"],
)
def test_stochastic_rounding_is_unbiased_and_lands_on_neighbours(name):
    x = np.repeat(RNG.uniform(-0.8, 0.8, (1, 32)), 4000, axis=0)
    x[:, 0] = 1.0  # sets the range, so that nothing saturates below it
    got = quantize(x, name, "stochastic", np.random.default_rng(3))
    error = (got - x)[:, 1:]
    assert (np.abs(error.mean(axis=0)) <= 5.0 * error.std(axis=0) / np.sqrt(4000) + 1e-12).all()
    for column in range(1, 32):
        assert len(np.unique(got[:, column])) <= 2
    assert (got == quantize(x, name, "stochastic", np.random.default_rng(3))).all()


@settings(max_examples=60, deadline=None)
@given(
    x=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.floats(-60000, 60000, width=16)
    ),
    family=st.sampled_from(["int{}", "bfp{}", "bfp{}:1x8", "int{}:channel", "int{}:vector8"]),
)
def test_error_is_at_most_a_step_of_the_width(x, family):
    bound = {}
    for bits in (3, 5, 8):
        form = parse_format(family.format(bits))
        bound[bits] = np.abs(quantize(x, form) - x).max()
    top = np.abs(x).max()
    for bits, error in bound.items():
        assert error <= top * 2.0 ** (2 - bits) * (1 + 1e-9)  # half a step, or a step where bfp saturates


def test_bad_calls():
    with pytest.raises(InputError, match="finite"):
        quantize([1.0, np.nan], "int8")
    with pytest.raises(InputError, match="did you mean 'nearest'"):
        quantize([1.0], "int8", rounding="neares")
    with pytest.raises(InputError, match="needs rng"):
        quantize([1.0], "int8", rounding="stochastic")
    with pytest.raises(InputError, match="no number format"):
        quantize([1.0], "int88")
