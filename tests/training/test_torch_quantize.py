"""The torch quantizers equal the numpy reference, format by format."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs lowprec-dse[torch]")

from dse.errors import InputError  # noqa: E402
from dse.precision.formats.quantize import quantize as reference  # noqa: E402
from dse.training.rounded.quantize import power_of_two, quantize, quantize_blocks  # noqa: E402

FORMATS = [
    "int2", "int3", "int8", "int8:channel", "int4:vector16", "int8a", "uint8", "fixed8_4", "fixed16_8", "bfp2", "bfp4",
    "bfp6:1x16", "mxint8", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxfp4_e2m1:16", "fp16", "bf16", "fp8_e4m3",
    "fp8_e5m2", "fp4_e2m1", "mls_e2m1", "mls_e2m4", "mls_e1m2:7x5", "vsq4", "vsq4:16s6", "s2fp8", "binary", "ternary", "actnn2",
    "nvfp4", "nvfp4:16x16", "nf4", "nf4:32", "fp8_e4m3:tensor", "fp8_e4m3:row", "fp8_e4m3:channel", "fp8_e4m3:128", "fp8_e5m2:4x4",
    "fp8_e4m3b11", "fp8_e4m3b8", "fp8_e5m2b16", "int4_g32", "int4a_g32s32", "fp4_e2m1:16",
]  # fmt: skip
SHAPES = [(7,), (5, 9), (3, 4, 6, 6), (2, 3, 1, 33)]


def values(shape, seed):
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape) * np.exp2(random.integers(-6, 6, size=shape))
    x[random.random(shape) < 0.1] = 0.0
    return x


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference(name, shape):
    for seed in range(4):
        x = values(shape, seed)
        # Logarithms and sums are not rounded alike everywhere; all else is.
        tolerance = 1e-12 if name in ("s2fp8", "binary", "ternary") else 0.0
        np.testing.assert_allclose(quantize(torch.tensor(x), name).numpy(), reference(x, name), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_stay_zeros(name):
    assert not quantize(torch.zeros(3, 8, 8), name).any()


@pytest.mark.parametrize("name", ["int4", "bfp4", "mxfp4_e2m1", "mls_e2m1"])
def test_float32_differs_from_the_reference_in_ties_only(name):
    x = values((64, 64), 0).astype(np.float32)
    ours, expected = quantize(torch.tensor(x), name).numpy(), reference(x, name)
    assert (np.abs(ours - expected) > 1e-6 * np.abs(expected)).mean() < 1e-3


def test_stochastic_rounding_keeps_the_mean_and_the_grid():
    x = torch.tensor(values((16, 16), 1))
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([quantize(x, "int4", generator) for _ in range(400)])
    step = float(x.abs().max()) / 7
    assert torch.allclose((draws / step).round() * step, draws)
    # Standard deviation of one draw is at most step / 2; five of the mean's.
    assert ((draws.mean(0) - x).abs() <= 5 * step / 2 / 20).all()
    assert torch.equal(quantize(x, "int4", torch.Generator().manual_seed(0)), draws[0])


def test_blocks_of_one_width_are_that_format():
    x = torch.tensor(values((3, 10, 9), 2))
    for bits in (2, 4, 6, 8):
        widths = torch.full((3, 3, 3), bits)
        assert torch.equal(quantize_blocks(x, widths, (4, 4), None), quantize(x, f"bfp{bits}"))


def test_blocks_have_their_own_widths():
    x = torch.tensor(values((8, 8), 3))
    mixed = quantize_blocks(x, torch.tensor([[2, 8], [4, 6]]), (4, 4), None)
    for bits, rows, columns in ((2, 0, 0), (8, 0, 1), (4, 1, 0), (6, 1, 1)):
        part = np.s_[4 * rows : 4 * rows + 4, 4 * columns : 4 * columns + 4]
        assert torch.equal(mixed[part], quantize(x, f"bfp{bits}")[part])


def test_powers_of_two_are_exact():
    exponents = torch.arange(-126, 128)
    assert power_of_two(exponents, torch.float32).double().tolist() == [2.0**e for e in range(-126, 128)]


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        quantize(torch.tensor([1.0, float("nan")]), "int8")
