"""GPUs from their data sheets: peaks as published, and times against those that LLMCompass measured (see benchmarks/gpu_gemm.py)."""

import importlib.util
import math
from pathlib import Path

import pytest

import dse

BENCHMARK = Path(__file__).parents[2] / "benchmarks/gpu_gemm.py"
spec = importlib.util.spec_from_file_location("gpu_gemm", BENCHMARK)
gpu_gemm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_gemm)


@pytest.mark.parametrize(
    ("name", "tflops", "gigabytes_per_s", "l2_megabytes"),
    [("a100", 312, 2039, 40), ("mi210", 181.0, 1638, 8)],
)
def test_peaks_of_the_data_sheets(name, tflops, gigabytes_per_s, l2_megabytes):
    hardware = dse.load_hardware(name)
    macs = math.prod(axis.size for axis in hardware.axes)
    assert 2 * macs * hardware.clock_hz / 1e12 == pytest.approx(tflops, rel=1e-3)
    l2, dram = hardware.memories[-2:]
    assert dram.bandwidth_bits_per_cycle * hardware.clock_hz / 8e9 == pytest.approx(gigabytes_per_s, rel=1e-3)
    assert l2.size_bits == l2_megabytes * 8 * 2**20


#: Signed errors without the launch, as first computed, before anything could have been tuned to them; percent.
ERRORS = {
    ("a100", 64, 12288, 12288): -21.2,
    ("a100", 4096, 12288, 12288): -11.0,
    ("a100", 8192, 4096, 4096): -13.7,
    ("a100", 8192, 512, 512): -70.8,
    ("mi210", 128, 12288, 12288): -64.0,
    ("mi210", 8192, 4096, 4096): -33.7,
}


@pytest.mark.parametrize("product", ERRORS, ids=lambda product: "-".join(map(str, product)))
def test_errors_of_products_stay_as_published_by_us(product):
    name, rows, columns, inner = product
    table = gpu_gemm.pd.read_csv(gpu_gemm.MEASURED, comment="#").set_index(["hardware", "rows", "columns", "inner"])
    ours = 1e3 * gpu_gemm.modelled_s(*product)
    error = ours / table.loc[product, "measured_ms"] - 1
    assert 100 * error == pytest.approx(ERRORS[product], abs=0.5)
    hardware = dse.load_hardware(name)
    macs = math.prod(axis.size for axis in hardware.axes)
    # A model of the best case is below what was measured and never below the peak.
    assert rows * columns * inner / (macs * hardware.clock_hz) <= ours / 1e3 * (1 + 1e-9)
    assert error < 0


def test_geometric_mean_error_is_symmetric():
    assert gpu_gemm.geometric_mean_error(gpu_gemm.pd.Series([1.0, -0.5])) == pytest.approx(1.0)
    assert gpu_gemm.geometric_mean_error(gpu_gemm.pd.Series([0.0, 0.0])) == 0.0
