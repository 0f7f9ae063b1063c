"""Time of conversions between formats: none at a converter that keeps up, else what its lanes or the vector unit need.

What is converted, and in how many operations, is in :mod:`dse.cost.steps.side`: everything that a pass writes, its ranges, copies
in further formats and along the other axis. Tensors pass the converter, or the vector unit, on their way to memory, so that their
traffic is that of what is written; scales of the step before are known, so that no tensor is read again for its range. Their
energy is that of the same operations in either.

* **A converter** (``converter`` of the hardware's file) works beside the pass: only what takes longer than the pass is time, and
  nothing where it keeps up with the port.
* **Kernels of their own** (``kernel_s`` and ``kernel_bandwidth`` of the converter; GPUs) take a fixed time for each tensor
  and then their traffic at a share of the bandwidth, behind the pass: the law of ``dse.system.products.kernels``. Sums
  become 16 bits in the product's own kernel, layers without MACs cast what they write, second copies along the other axis
  are among what is written.
* **The vector unit** converts where there is none. With ``overlap`` it does so tile by tile while the array goes on, and only what
  takes longer than the pass is time; without, the parts add up as all others do. In layers that it computes itself, conversions
  take its lanes: first those that would wait for DRAM.
"""

from __future__ import annotations

import numpy as np

from dse.cost.steps.side import SideCosts
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.types import Bools, Floats


def conversion_s(
    hardware: Hardware,
    arrays: HardwareArrays,
    side: SideCosts,
    latency_s: Floats,
    own_operations: Floats,
    vector: Bools,
) -> Floats:
    """Seconds that conversions add to the passes of a step.

    Parameters
    ----------
    latency_s
        (D, I, rows, P) without conversions.
    own_operations
        (rows, P) operations of the vector unit in the layers that it computes.
    vector
        (rows, P) where that is.

    Returns
    -------
    (D, I, rows, P)
    """
    clock = arrays.clock_hz[:, None, None, None]
    beside = np.where(np.isfinite(latency_s), latency_s, 0.0) * hardware.overlap
    if hardware.converter is not None and hardware.converter.kernel_bandwidth > 0:
        rate = arrays.bandwidth_bits_per_cycle[:, -1, None, None, None] * clock * hardware.converter.kernel_bandwidth
        return np.asarray(side.kernels * hardware.converter.kernel_s + side.kernel_bits / rate)
    if hardware.converter is not None:
        lanes = hardware.converter.lanes
        needed = np.zeros_like(latency_s) if np.isinf(lanes) else side.elements / (lanes * clock)
        return np.asarray(np.maximum(needed - beside, 0.0))
    rate = arrays.vector_lanes[:, None, None, None] * clock
    waits = beside - np.where(vector, own_operations / rate, 0.0)
    return np.asarray(np.maximum(side.operations / rate - np.maximum(waits, 0.0), 0.0))
