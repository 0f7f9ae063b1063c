"""Seconds of one matrix product on a GPU by format, of quantized operands and with quantizing.

**Product.** Results of ``m x n`` are cut into tiles; cores take them in waves, and the last wave counts whole. A step of the sum
in a tile takes the longer of its multiplications (data-sheet peak over the cores) and of bringing its operands through shared
memory. Operands and their scales pass it once in and once out: on Hopper (128 x 256, ``wgmma``, whose two warp groups both read the
second operand) and on Blackwell (256 x 256 on two cores, ``tcgen05``, each holds half of both operands) that is all of the 128
bytes per clock of shared memory (CUDA programming guide) at the BF16 peak. Elements of ``b`` bits with scales thus run at
most ``16 / b`` times as fast as BF16, NVFP4 3.6 times however fast its multipliers are, and smaller tiles slower in proportion
to perimeter over area. Tiles (64 rows up to the largest, columns in steps of 16, as DeepGEMM's and CUTLASS' kernels offer, either
way round) and the split of the sum are the fastest ones.

The time is the longer of computing and of memory traffic, plus a launch. Where sums lie in registers (before Blackwell), storing
a tile is not hidden behind the next one. Operands that do not fit in the cache are read once per block of tiles of a wave.

**Efficiencies**, none per row: the best measured shape of BF16 and of FP8 on the GPU (``gpu_peak_vs_achieved``; 4-bit elements take
FP8's); on Blackwell times the share of the clock that long products sustain, 0.855, fitted to the ten BF16 times of
TransformerEngine's table (B300); :data:`MEMORY_EFFICIENCY`, fitted to a BF16 product on an A100; and those of
:mod:`dse.system.products.kernels`. The share of a best shape is taken for a tile, and waves, stores and launches count on top: best
shapes themselves, short and at a clock that lasts only there, come out -3 to +30 % off (median 19 %), sustained ones do not.

**Quantizing** an operand is a list of kernels over it, :data:`RECIPES`, by the law of :mod:`dse.system.products.kernels`: those of
TransformerEngine are bound by the memory; torchao's of NVFP4 by their own operations. Left out: the host,
where it issues kernels more slowly than they run; ranges that the kernel before could have found (fused normalizations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.errors import InputError
from dse.system.gpu import Gpu
from dse.system.products.kernels import LAUNCH_S, TORCHAO_KERNELS, Kernel, kernel_s
from dse.types import Floats
from dse.yaml_input import suggest

#: Share of the peak bandwidth of products that memory bounds: the BF16 product of 64 x 12288 x 12288 on an A100 without its
#: launch (LLMCompass, ISCA 2024: 0.190 ms - 21 us for 305 MB at 2,039 GB/s).
MEMORY_EFFICIENCY = 0.885
#: Sums split over idle cores; every part writes and reads FP32 results.
SPLITS = (1, 2, 4, 8, 16)
RESULT_BITS = 16.0


@dataclass(frozen=True)
class Recipe:
    """How operands of a format are stored, multiplied and made from BF16.

    Attributes
    ----------
    element
        What the multipliers take.
    bits
        Per element with its scales.
    passes
        Kernels that quantize one operand, both for this product and, in training, transposed for the next.
    block_scales
        Whether the multipliers must take scales of blocks.
    """

    element: str
    bits: float
    passes: tuple[Kernel, ...]
    source: str
    block_scales: bool = False


#: Formats by name. Recipes of training store an operand along both axes, since blocks and FP8 layouts fix the axis of the sum.
RECIPES = {
    "bf16": Recipe("bf16", 16.0, (), "not quantized"),
    "fp8_current": Recipe(
        "fp8",
        8.0,
        (Kernel("range of the tensor", 16.0, 0.0), Kernel("cast and transpose", 16.0, 16.0)),
        "TransformerEngine, Float8CurrentScaling: the range is read before the cast",
    ),
    "fp8_delayed": Recipe(
        "fp8",
        8.0,
        (Kernel("cast, transpose and range for the next step", 16.0, 16.0),),
        "TransformerEngine, DelayedScaling: the scale comes from earlier steps",
    ),
    "fp8_block": Recipe(
        "fp8",
        8.25,
        (Kernel("blocks of 1 x 128 along both axes", 16.0, 16.5),),
        "DeepSeek-V3 (arXiv 2412.19437, section 3.3), TransformerEngine Float8BlockScaling: an FP32 scale per 128 elements of "
        "activations; weights, in blocks of 128 x 128, need less and are charged the same",
    ),
    "fp8_row": Recipe(
        "fp8",
        8.0,
        (Kernel("range of rows, cast", 16.0, 8.0), Kernel("range of columns, cast and transpose", 16.0, 8.0)),
        "torchao, rowwise float8 training: each axis has its own scales",
    ),
    "mxfp8": Recipe(
        "fp8",
        8.25,
        (Kernel("blocks of 32 along both axes", 16.0, 16.5),),
        "OCP Microscaling 1.0, an 8-bit scale per 32; TransformerEngine MXFP8BlockScaling: both copies from the BF16 tensor",
        block_scales=True,
    ),
    "nvfp4": Recipe(
        "fp4",
        4.5,
        (
            Kernel("Hadamard and range of the tensor", 16.0, 0.0),
            Kernel("Hadamard, blocks of 16 along both axes", 16.0, 9.0),
        ),
        "NVIDIA, Pretraining LLMs with NVFP4 (arXiv 2509.25149): an E4M3 scale per 16 under an FP32 scale of the tensor",
        block_scales=True,
    ),
    "nvfp4_torchao": Recipe(
        "fp4",
        4.5,
        (TORCHAO_KERNELS["hadamard amax, cutedsl"], TORCHAO_KERNELS["hadamard quantize, cutedsl"]),
        "the same passes by torchao's fastest kernels (nvfp4_training), bound by their operations on a B200",
        block_scales=True,
    ),
    "mxfp4": Recipe(
        "fp4",
        4.25,
        (Kernel("Hadamard, blocks of 32 along the sum", 16.0, 4.25),),
        "OCP Microscaling 1.0; Quartet (arXiv 2505.14669), one fused kernel of the forward pass",
        block_scales=True,
    ),
    "int8": Recipe(
        "int8",
        8.0,
        (Kernel("range of rows, cast", 16.0, 8.0),),
        "torchao, dynamic int8: rows by their largest value, one kernel",
    ),
}


def recipe_of(fmt: str, gpu: Gpu) -> Recipe:
    """The recipe of a format.

    Raises
    ------
    InputError
        No such format, or the GPU does not multiply it.
    """
    if fmt not in RECIPES:
        raise InputError(fmt, [f"no such format of products on GPUs{suggest(fmt, list(RECIPES))}"])
    if not multiplies(gpu, RECIPES[fmt]):
        known = ", ".join(name for name, recipe in RECIPES.items() if multiplies(gpu, recipe))
        raise InputError(gpu.name, [f"has no multipliers for {fmt}; it has them for {known}"])
    return RECIPES[fmt]


def multiplies(gpu: Gpu, recipe: Recipe) -> bool:
    """Whether a GPU has multipliers for a recipe."""
    return recipe.element in gpu.peak_macs_per_s and (gpu.block_scales or not recipe.block_scales)


@dataclass(frozen=True)
class Tiles:
    """Candidates for the tile of a product, (candidates,) each."""

    rows: Floats
    columns: Floats


def tiles_of(gpu: Gpu) -> Tiles:
    """Every tile that kernels of the GPU offer, as it is per core."""
    height, width = gpu.tile_rows // gpu.tile_cores, gpu.tile_columns
    rows = [64 * 2**power for power in range(max((height // 64).bit_length(), 1))]
    pairs = [(r, c) for r in rows for c in range(16, width + 1, 16)]
    pairs += [(c, r) for r, c in pairs]
    both = np.array(sorted(set(pairs)), dtype=float)
    return Tiles(both[:, 0], both[:, 1])


def computing_s(gpu: Gpu, recipe: Recipe, tiles: Tiles) -> Floats:
    """Seconds that one step of the sum takes in a tile on one core, (candidates,)."""
    wide = recipe.element == "bf16"
    efficiency = (gpu.wide_efficiency if wide else gpu.narrow_efficiency) * gpu.sustained_share
    largest = Tiles(np.array([gpu.tile_rows / gpu.tile_cores]), np.array([float(gpu.tile_columns)]))
    area, most = tiles.rows * tiles.columns, largest.rows * largest.columns
    side, longest = tiles.rows + tiles.columns, largest.rows + largest.columns
    multiplying = area / gpu.peak_macs_per_s[recipe.element]
    feeding = recipe.bits / 16.0 * (side / longest) * most / gpu.fed_macs_per_s
    return np.asarray(np.maximum(multiplying, feeding) * gpu.cores / efficiency)


def product_s(gpu: Gpu, fmt: str, m: int, n: int, k: int, groups: int = 1) -> float:
    """Seconds of ``groups`` products of quantized operands, results of ``m x n`` in BF16 and sums of ``k``, with the launch.

    Raises
    ------
    InputError
        No such format, or the GPU does not multiply it.
    """
    recipe = recipe_of(fmt, gpu)
    tiles = tiles_of(gpu)
    step_s = computing_s(gpu, recipe, tiles)
    bandwidth = gpu.memory_bytes_per_s * MEMORY_EFFICIENCY
    count = groups * np.ceil(m / tiles.rows) * np.ceil(n / tiles.columns)
    block = np.sqrt(gpu.cores * tiles.rows * tiles.columns)
    operand_bytes = recipe.bits / 8.0 * groups * k * (m + n)
    rereads = recipe.bits / 8.0 * groups * k * (m * np.maximum(n / block, 1.0) + n * np.maximum(m / block, 1.0))
    read_bytes = np.full_like(count, operand_bytes) if operand_bytes <= gpu.cache_bytes else rereads
    result_bytes = groups * m * n * RESULT_BITS / 8.0
    times = []
    for splits in SPLITS:
        waves = np.ceil(count * splits / gpu.cores)
        partial_bytes = groups * m * n * 8.0 * splits if splits > 1 else 0.0
        stored_s = (result_bytes + partial_bytes) / bandwidth
        computed_s = waves * np.ceil(k / splits) * step_s + (0.0 if gpu.stores_overlap else stored_s)
        times.append(np.maximum(computed_s, read_bytes / bandwidth + stored_s))
    return float(np.min(times)) + LAUNCH_S


def quantizing_s(gpu: Gpu, fmt: str, elements: float, operands: int = 1) -> float:
    """Seconds of quantizing ``operands`` tensors of ``elements`` together, all passes of the recipe.

    Raises
    ------
    InputError
        No such format, or the GPU does not multiply it.
    """
    return sum(kernel_s(gpu, kernel, elements, operands) for kernel in recipe_of(fmt, gpu).passes)


def quantized_product_s(gpu: Gpu, fmt: str, m: int, n: int, k: int, groups: int = 1) -> float:
    """Seconds of a product whose two operands come in BF16 and are quantized first."""
    return product_s(gpu, fmt, m, n, k, groups) + quantizing_s(gpu, fmt, float(groups) * k * (m + n), operands=2)
