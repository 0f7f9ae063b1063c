"""Seconds of kernels that read and write tensors once: casts, ranges, Hadamard transforms, rearranged scales.

**Law.** A kernel takes a fixed time (launch, ramp, its own synchronization) and then the longer of its traffic, over a share of the
peak bandwidth, and of its operations over the vector lanes of all cores::

    fixed_s + max(bytes / (bandwidth * CONVERSION_EFFICIENCY), elements * operations / (cores * lanes * clock))

Plain casts are bound by the memory; Hadamard transforms with ranges and blocks of 16 are bound by operations in every public kernel
that was measured: 2 to 4 TB/s of 8 on a B200, in one straight line from 8 to 900 million elements.

``operations`` stands for issue slots of a lane per element, stalls included: a kernel's own figure, fitted, and the reason why two
implementations of one conversion differ by three. It carries over to other GPUs as far as their lanes do the same work per clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from dse.system.gpu import Gpu

#: Share of the peak bandwidth that quantizing reaches: median of torchao's MXFP8 kernels along either axis on a B200
#: (workflows/training.md: 5.40 to 6.46 TB/s of 8), without the one that it marks as unused.
CONVERSION_EFFICIENCY = 0.73
#: Seconds of a kernel that does next to nothing, in a queue: a round figure within the few microseconds that are reported
#: for launches; set, not fitted.
LAUNCH_S = 3e-6


@dataclass(frozen=True)
class Kernel:
    """One kernel over a tensor.

    Attributes
    ----------
    read_bits, written_bits
        Per element of the tensor.
    operations
        Issue slots of a vector lane per element; 0: the memory bounds it.
    fixed_s
        What it takes however small the tensor is.
    fitted_on
        Where ``operations`` and ``fixed_s`` come from; empty: neither was fitted.
    fitted_elements
        Sizes of the rows that they go through.
    """

    what: str
    read_bits: float
    written_bits: float
    operations: float = 0.0
    fixed_s: float = LAUNCH_S
    fitted_on: str = ""
    fitted_elements: tuple[float, ...] = ()


def kernel_s(gpu: Gpu, kernel: Kernel, elements: float, tensors: int = 1) -> float:
    """Seconds of a kernel over ``tensors`` tensors that hold ``elements`` together, one launch each."""
    moved_s = (
        (kernel.read_bits + kernel.written_bits) / 8.0 * elements / (gpu.memory_bytes_per_s * CONVERSION_EFFICIENCY)
    )
    busy_s = elements * kernel.operations / (gpu.cores * gpu.lanes_per_core * gpu.clock_hz)
    return tensors * kernel.fixed_s + max(moved_s, busy_s)


#: Elements of the smallest and of the largest row of torchao's tables.
_DENSE = (2048.0 * 4096, 2048.0 * 28672)
_WEIGHTS = (14336.0 * 4096, 28672.0 * 8192)
_GROUPED = (8 * 256.0 * 256, 128 * 2048.0 * 7168)
#: NVFP4 along both axes, a scale of 8 bits per 16.
_BOTH_AXES_BITS = 2 * 4.5


def _torchao(written_bits: float, operations: float, fixed_us: float, rows: tuple[float, ...]) -> Kernel:
    """A kernel of torchao's ``benchmarks/prototype/nvfp4_training``, through the smallest and the largest of its rows on a B200."""
    what = "blocks along both axes" if written_bits else "range"
    return Kernel(what, 16.0, written_bits, operations, fixed_us * 1e-6, "torchao, nvfp4_training README, B200", rows)


def _rearranging(operations: float, fixed_us: float, rows: tuple[float, ...]) -> Kernel:
    """Scales of blocks, 8 bits each, brought to the layout that products read."""
    return Kernel(
        "scales rearranged", 8.0, 8.0, operations, fixed_us * 1e-6, "torchao, moe_training README, B200", rows
    )


#: Kernels of torchao by operation and implementation. Times of ``(event)`` are of the call, the others of the kernel alone; the
#: slower of two tables of grouped quantizing has no name in what was read.
TORCHAO_KERNELS = {
    "hadamard amax, triton (event)": _torchao(0.0, 18.55, 15.06, _DENSE),
    "hadamard amax, triton": _torchao(0.0, 18.26, 12.42, _DENSE),
    "hadamard amax, cutedsl": _torchao(0.0, 18.63, 6.91, _DENSE),
    "hadamard quantize, triton (event)": _torchao(_BOTH_AXES_BITS, 60.23, 16.70, _DENSE),
    "hadamard quantize stochastic, triton (event)": _torchao(_BOTH_AXES_BITS, 87.99, 19.68, _DENSE),
    "hadamard quantize, triton": _torchao(_BOTH_AXES_BITS, 62.56, 9.22, _DENSE),
    "hadamard quantize, cutedsl": _torchao(_BOTH_AXES_BITS, 37.83, 4.80, _DENSE),
    "quantize 2d, triton (event)": _torchao(_BOTH_AXES_BITS, 127.5, 19.17, _DENSE),
    "quantize 2d, triton": _torchao(_BOTH_AXES_BITS, 139.6, 15.85, _WEIGHTS),
    "quantize 2d, cutedsl": _torchao(_BOTH_AXES_BITS, 42.37, 8.62, _WEIGHTS),
    "grouped hadamard amax (event)": _torchao(0.0, 38.55, 9.79, _GROUPED),
    "grouped hadamard quantize (event)": _torchao(_BOTH_AXES_BITS, 48.82, 12.62, _GROUPED),
    "grouped hadamard quantize, slower (event)": _torchao(_BOTH_AXES_BITS, 101.97, 17.97, _GROUPED),
    "grouped quantize 2d (event)": _torchao(_BOTH_AXES_BITS, 51.19, 9.86, _GROUPED),
    "weight amax, triton": Kernel("range", 16.0, 0.0),
    "weight amax, vector norm": _torchao(0.0, 0.0, 8.99, (4 * 256.0 * 256,)),
    "mxfp8 cast": Kernel("blocks of 32 along one axis", 16.0, 8.25),
    "fp8 block cast, activation": Kernel("blocks of 1 x 128 along one axis", 16.0, 8.25),
    "fp8 block cast, weight": Kernel("blocks of 128 x 128", 16.0, 8.0 + 32.0 / 128**2),
    "scale rearrangement": _rearranging(17.3, 15.3, (131072.0 * 224, 131072.0 * 64)),
    "scale rearrangement along sums": _rearranging(13.6, 196.6, (2048.0 * 4096, 7168.0 * 4096)),
}
