"""One matrix product on a GPU: data sheets, laws, and measured tables."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.shipped import shipped_names
from dse.system.gpu import gpu_called, load_gpu
from dse.system.products import (
    LAUNCH_S,
    RECIPES,
    TORCHAO_KERNELS,
    Kernel,
    kernel_s,
    multiplies,
    product_s,
    quantized_product_s,
    quantizing_s,
)

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
GPUS = {name: load_gpu(name) for name in shipped_names("hwmodels/gpus")}
CASES = st.sampled_from([(gpu, fmt) for gpu in GPUS.values() for fmt, recipe in RECIPES.items() if multiplies(gpu, recipe)])
SIZES = st.integers(1, 20_000)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(ROOT / "benchmarks"))  # benchmarks import each other
    return loaded("low_precision_gemm")


@pytest.fixture(scope="module")
def pays(bench):
    return loaded("low_precision_pays")


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write(folder, text):
    path = folder / "table.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", GPUS)
def test_peaks_are_whole_macs_per_clock_and_core(name):
    gpu = GPUS[name]
    macs = {element: peak / gpu.cores / gpu.clock_hz for element, peak in gpu.peak_macs_per_s.items()}
    steps = {"bf16": 1, "fp8": 2, "int8": 2, "fp4": 6 if name in ("b300", "gb300") else 4}
    if name == "rtx5090":
        steps |= {"fp8": 4, "int8": 4, "fp4": 8}  # FP32 sums halve its BF16; FP8 adds in FP16
    for element, found in macs.items():
        assert found == pytest.approx(macs["bf16"] * steps[element], rel=0.001)
    assert math.log2(macs["bf16"]) == pytest.approx(round(math.log2(macs["bf16"])), abs=0.002)


@given(case=CASES, m=SIZES, n=SIZES, k=SIZES, more=st.integers(1, 5000), side=st.sampled_from("mnkg"))
@settings(max_examples=40, deadline=None)
def test_more_work_is_never_faster(case, m, n, k, more, side):
    gpu, fmt = case
    size = {"m": m, "n": n, "k": k, "groups": 1}
    larger = size | ({"groups": 1 + more % 7} if side == "g" else {side: size[side] + more})
    assert product_s(gpu, fmt, **larger) >= product_s(gpu, fmt, **size) * (1 - 1e-12)


@given(case=CASES, m=SIZES, n=SIZES, k=SIZES)
@settings(max_examples=40, deadline=None)
def test_bounds(case, m, n, k):
    """No faster than the peak or the memory, either way round alike, and quantizing costs time."""
    gpu, fmt = case
    recipe = RECIPES[fmt]
    seconds = product_s(gpu, fmt, m, n, k)
    peak = min(gpu.peak_macs_per_s[recipe.element], gpu.fed_macs_per_s * 16 / recipe.bits)
    assert seconds >= m * n * k / peak
    assert seconds >= (recipe.bits / 8 * k * (m + n) + 2 * m * n) / gpu.memory_bytes_per_s + LAUNCH_S
    assert seconds == pytest.approx(product_s(gpu, fmt, n, m, k))
    assert quantized_product_s(gpu, fmt, m, n, k) >= seconds
    assert (quantizing_s(gpu, fmt, k * (m + n)) > 0) == (fmt != "bf16")


def test_large_nvfp4_is_fed_and_not_multiplied():
    """By hand: 74 pairs of cores on a B300, 4 x 37 tiles of 256 x 256, two waves of k steps; 4.5 bits pass where BF16 has 16."""
    gpu = GPUS["b300"]
    m, n, k = 4 * 256, 37 * 256, 65536
    share = {fmt: eff * 0.855 for fmt, eff in (("bf16", 0.786), ("nvfp4", 0.745))}
    for fmt, bits in (("bf16", 16.0), ("nvfp4", 4.5)):
        expected = m * n * k / (1.125e15 * 16 / bits * share[fmt])
        assert product_s(gpu, fmt, m, n, k) == pytest.approx(expected + LAUNCH_S, rel=1e-9)


def test_bits_of_quantizing_by_hand():
    """41 bits per element of NVFP4, 32.5 of MXFP8, 48 of FP8 with current scaling."""
    gpu = GPUS["b300"]
    for fmt, bits, kernels in (("nvfp4", 41.0, 2), ("mxfp8", 32.5, 1), ("fp8_current", 48.0, 2)):
        assert quantizing_s(gpu, fmt, 1e9) == pytest.approx(1e9 * bits / 8 / (8e12 * 0.73) + kernels * LAUNCH_S)


def test_law_of_kernels_by_hand():
    """A fixed time, then the longer of 24 bits per element through 0.73 of 8 TB/s and of operations on 148 x 128 lanes of 1.856 GHz."""
    gpu, elements = GPUS["b200"], 1e9
    moved_s, slots = 3e9 / (8e12 * 0.73), 148 * 128 * 1.856e9
    assert kernel_s(gpu, Kernel("cast", 16.0, 8.0), elements, 3) == pytest.approx(9e-6 + moved_s)
    for operations in (1.0, 100.0):
        slow = Kernel("cast", 16.0, 8.0, operations, 5e-6)
        assert kernel_s(gpu, slow, elements) == pytest.approx(5e-6 + max(moved_s, elements * operations / slots))
    made = sum(kernel_s(gpu, TORCHAO_KERNELS[f"hadamard {name}, cutedsl"], 1e9) for name in ("amax", "quantize"))
    assert quantizing_s(gpu, "nvfp4_torchao", 1e9) == pytest.approx(made)
    assert made > quantizing_s(gpu, "nvfp4", 1e9)


NVFP4_README = "benchmarks/prototype/nvfp4_training/README.md"
AMAX = "NVFP4 Training Benchmarks / CuteDSL kernels / Hadamard Amax (`cutedsl_rht_amax` vs `triton_rht_amax`)"


def entry(path, section, line, **row):
    return json.dumps({"path": path, "section": section, "line": line, "row": row})


def test_measured_kernels(bench, tmp_path):
    """Rows of torchao's README files (BSD-3) that nothing was fitted to; shapes come as columns, as text, or from the bandwidth."""
    fp8 = ("benchmarks/prototype/blockwise_fp8_training/README.md", "Blockwise FP8 Training Benchmarks / Current H100 Results")
    moe = ("torchao/prototype/moe_training/README.md", "MXFP8 MoE Training / Kernel Microbenchmarks")
    path = tmp_path / "table.jsonl"
    lines = [
        entry(NVFP4_README, AMAX, 179, M="2048", N="14336", cutedsl_kernel_us="20.99", triton_kernel_us="27.41", speedup="1.31x"),
        entry(*fp8, 139, kernel="weight_quant_transposed_rhs", shape="32768x4096", kernel_us="150.53"),
        entry(*fp8, 63, **{"kernel": "fwd: act_quant_lhs", "us": "253.5", "GB/s": "2809"}),
        entry(*moe, 178, **{"Kernel": "`triton_to_mxfp8_dim0`", "Input Shape": "(131072, 2048)", "Time (\u00b5s)": "144.4"}),
        entry(*fp8, 65, kernel="fwd: deepgemm_grouped_mm", us="779.3"),
        entry(*fp8, 66, kernel="new_kernel", us="-"),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = bench.low_precision_kernels.compare(path)
    assert [figure.gpu.name for figure in found.figures] == ["b200", "b200", "h100", "h100", "b200"]
    assert not any(figure.fitted for figure in found.figures)
    assert all(abs(figure.error) < 0.2 for figure in found.figures)
    assert found.figures[3].elements == pytest.approx(32768 * 7168, rel=1e-3)
    assert sum(found.skipped.values()) == 2
    assert bench.low_precision_kernels.summary(found)["rows"] == 5
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="JSON"):
        bench.low_precision_kernels.compare(path)


def test_a_size_left_out_of_a_line_is_foreseen(bench, tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [(rows, 5.0 + rows * 4096 * 1e-6) for rows in (2048, 8192, 14336, 28672)]
    lines = [entry(NVFP4_README, AMAX, at, M=str(m), N="4096", cutedsl_kernel_us=f"{us}") for at, (m, us) in enumerate(rows)]
    path.write_text("\n".join(lines))
    errors = bench.low_precision_kernels.left_out(bench.low_precision_kernels.compare(path).figures)
    assert len(errors) == 4
    assert max(map(abs, errors)) < 1e-6


def test_what_a_gpu_does_not_multiply_is_refused():
    with pytest.raises(InputError, match=r"h100(.|\n)*no multipliers for mxfp8"):
        product_s(GPUS["h100"], "mxfp8", 64, 64, 64)
    with pytest.raises(InputError, match="did you mean 'nvfp4'"):
        product_s(GPUS["b200"], "nvfp", 64, 64, 64)


@pytest.mark.parametrize(
    ("text", "name"),
    [("NVIDIA H100 SXM5 80GB", "h100"), ("H100-SXM", "h100"), ("B300", "b300"), ("AMD Instinct MI300X", "mi300x"), ("H100 PCIe", None)],
)
def test_names_in_tables(text, name):
    assert gpu_called(text) == name


def test_a_faulty_file_says_all(tmp_path):
    text = (ROOT / "hwmodels" / "gpus" / "h100.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("bf16", "fp8", 1).replace("cores: 132", "cores: 0"))
    with pytest.raises(InputError, match="cores"):
        load_gpu(path)
    path.write_text(text.replace("element: bf16", "element: fp8", 1))
    with pytest.raises(InputError, match=r"(?s)bf16 is missing.*fp8 has a peak|fp8 has a peak.*bf16 is missing"):
        load_gpu(path)


def test_measured_tables(bench):
    """Nothing but BF16 was fitted to the first table, nothing to the second."""
    engine = bench.summary(bench.compare(DATA / "transformer_engine_gemm.csv", None))
    assert (engine["rows"], engine["skipped"]) == (50, 0)
    assert engine["median_abs"] < 0.06
    assert engine["ratio_median_abs"] < 0.09
    assert engine["by"]["prequantized"]["median_abs"] < 0.06
    assert engine["by"]["with quantizing"]["median_abs"] < 0.08
    deep = bench.summary(bench.compare(DATA / "deepgemm_h800_fp8.csv", None))
    assert deep["rows"] == 14
    assert deep["median_abs"] < 0.08
    assert abs(deep["worst"]) < 0.26
    assert deep["ratio_median_abs"] is None


def test_other_tables_of_the_same_columns(bench, tmp_path):
    """Other order, units, letter case; GPUs and formats without a model; rows without a shape."""
    found = bench.compare(
        write(tmp_path, "N,K,M,FP8_us,bf16_us,posit_ms,GPU,Mode\n4096,4096,4096,,200,1,NVIDIA H100 SXM5,autocast\n1,1,1,,2,,X1,autocast\n,,,1,,,H100,\n"),
        None,
    )
    assert [(fmt, mode) for _, fmt, mode, _ in found.figures] == [("bf16", bench.QUANTIZING)]
    assert sum(found.skipped.values()) == 3
    assert bench.summary(found)["ratio_median_abs"] is None


def test_sums_take_the_shapes_of_their_pass(bench):
    rows = [
        {"gpu": "b", "mode": "a", "what": "fprop x", "m": "8", "k": "2", "n": "4"},
        {"gpu": "b", "mode": "p", "what": "dgrad sum of 1"},
        {"gpu": "b", "mode": "p", "what": "wgrad sum of 1"},
        {"gpu": "b", "mode": "p", "what": "fprop sum of 2"},
    ]
    assert bench.summed(rows[1], rows) == [(8, 2, 4, 1)]
    assert bench.summed(rows[2], rows) == [(4, 2, 8, 1)]
    assert bench.summed(rows[3], rows) is None
    rows.append({"gpu": "b", "mode": "p", "what": "dgrad x", "m": "16", "k": "2", "n": "4"})
    assert bench.summed(rows[1], rows) == [(16, 4, 2, 1)]


def test_quantizing_weighs_less_in_wider_blocks(bench):
    gpu = GPUS["b300"]
    for fmt in ("fp8_current", "mxfp8", "nvfp4"):
        shares = [made / alone for alone, made in (bench.block_s(gpu, fmt, width, 8192) for width in (1024, 2048, 4096, 8192))]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > 3 * shares[-1]


def test_separators_encodings_and_named_hardware(bench, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("# caf\u00e9\nM;N;K;format;TFLOPS\n4096;4096;4096;bf16;650\n".encode("latin-1"))
    found = bench.compare(path, "NVIDIA H100 SXM5")
    assert [(label.split()[0], fmt) for label, fmt, _, _ in found.figures] == [("h100", "bf16")]
    sums = "gpu,mode,what,M,K,N,bf16_ms\nB200,autocast,fprop QKV,512,512,512,1\nGB200 NVL72,autocast,dgrad sum of 1,,,,1\n"
    assert len(bench.compare(write(tmp_path, sums), None).figures) == 2
    assert bench.summary(bench.compare(write(tmp_path, ""), None))["rows"] == 0


def test_the_figure_is_what_the_model_says(pays):
    """Lines and points of docs/pictures/low_precision_pays.csv, which its command made."""
    found = pays.points()
    written = ROOT / "docs" / "pictures" / "low_precision_pays.csv"
    assert pays.as_csv(pays.table(16_384, 4_096), found) == written.read_bytes()
    errors = {what: [p.error for p in found if (p.what == "model") == (what == "model")] for what in ("model", "products")}
    assert pays.middle(errors["products"])["median_abs"] < 0.08
    assert pays.middle(errors["model"])["median_abs"] < 0.10


def test_a_whole_layer_gains_less_than_its_products(pays):
    gpu = GPUS["b300"]
    for width in (1024, 4096):
        found = pays.speedups(gpu, "nvfp4", width, 8192, 4096)
        assert found["products"] > found["linear"] > 1.0
        assert found["products"] > found["layer"] > 1.0
    shapes = pays.block_shapes(4096, 8192)
    plain = pays.layer_of(gpu, "bf16", shapes, 4096, 4096)
    assert plain.quantizing == 0.0
    assert plain.other == pays.layer_of(gpu, "nvfp4", shapes, 4096, 4096).other > 0.0
    assert plain.within("layer") == pytest.approx(plain.products + plain.other)


@pytest.mark.parametrize(("by", "width"), [(1.0, 1024), (1.3, 512), (0.5, None), (0.85, 2048)])
def test_crossover_is_the_narrowest_of_all_wider_ones(pays, by, width):
    assert pays.crossover({512: 1.1, 768: 0.9, 1024: 1.1, 2048: 1.3} | ({512: 0.8} if by == 1.0 else {}), by) == width
