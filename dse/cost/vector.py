"""Cost of layers without MACs and of the optimizer: DRAM traffic, passes through the on-chip memory, and vector operations.

``cycles = max(operations / vector lanes, bits / DRAM bandwidth)``;
``energy = bits * (DRAM + one write and one read of the shared buffer) + operations * price of a 16-bit float operation
+ leakage``. What each layer reads and writes is in :mod:`dse.workload.vector`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dse.cost.copies import Stored, error_bits
from dse.cost.fusion import Saved
from dse.cost.memory import has_master
from dse.cost.storage import storage_of
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.side_costs import optimizer_pj, vector_op_pj
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.types import Floats, Ints
from dse.workload.model import Network
from dse.workload.vector import optimizer_work, rows_hit, sweeps, updated, vector_work

#: Width of the vector unit's operations: norms and activation functions are computed in 16-bit float.
VECTOR_BITS = 16

#: Energy components of vector work.
COMPONENTS = ("vector", "buffer", "dram", "leakage")


@dataclass(frozen=True)
class VectorCosts:
    """D designs, I plans, V layers (or the optimizer's one row), P passes.

    Attributes
    ----------
    energy_pj, cycles
        (D, I, V, P)
    components_pj
        (D, I, V, P, 4) in the order of :data:`COMPONENTS`.
    dram_bits
        (I, V, P)
    bound
        (D, I, V, P) whether DRAM (1) or the lanes (0) decide the time.
    buffer
        (D,) index of the on-chip memory that the work passes through; -1 where there is none.
    operations
        (V, P)
    """

    energy_pj: Floats
    cycles: Floats
    components_pj: Floats
    dram_bits: Floats
    bound: Ints
    buffer: Ints
    operations: Floats


def vector_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    mode: str,
    stored: Sequence[Stored],
    saved: Saved | None = None,
) -> VectorCosts:
    """Cost of every layer without MACs, for the whole batch.

    Forward tensors have the formats of :mod:`dse.cost.copies` (``stored``, by plan), backward tensors the layer's error
    format. What is kept for the way back is written and read in its own. Rows of an embedding's table are read in the
    weight's format; the rows that a batch hits, each once, are read, added to and written in the gradient's. What is ``saved`` by
    fusion is not moved; the operations stay.
    """
    training = mode == "training"
    layers = [(index, layer) for index, layer in enumerate(network.layers) if not layer.has_macs]
    read = np.zeros((len(plans), len(layers), len(PASSES)))
    written = np.zeros_like(read)
    operations = np.zeros((len(layers), len(PASSES)))
    storage = storage_of(network)
    batch = network.batch
    for i, (plan, copies) in enumerate(zip(plans, stored, strict=True)):
        weight, error, gradient = (
            storage.bits(plan, "weight"),
            error_bits(network, plan),
            storage.bits(plan, "gradient"),
        )
        for v, (index, layer) in enumerate(layers):
            for pass_ in layer.passes if training else ("forward",):
                p = PASSES.index(pass_)
                work = vector_work(layer, pass_, training)
                operations[v, p] = work.operations * batch
                table = layer.kind == "embedding"
                if pass_ == "forward":
                    read[i, v, p] = work.reads * batch * (weight if table else copies.input_bits)[index]
                    written[i, v, p] = work.writes * batch * copies.result_bits[index] + copies.written[index]
                else:
                    hit = rows_hit(layer, batch) * gradient[index] if table else 0.0
                    read[i, v, p] = work.reads * batch * error[index] + sweeps(layer) * copies.kept[index] + hit
                    written[i, v, p] = hit if table else work.writes * batch * error[index]
    if saved is not None:
        places = [index for index, _ in layers]
        read, written = read - saved.read[:, places], written - saved.written[:, places]
    price = vector_op_pj(VECTOR_BITS, True, arrays.node_nm) * arrays.logic_scale
    return _priced(hardware, arrays, read, written, operations, price)


def optimizer_costs(network: Network, hardware: Hardware, arrays: HardwareArrays, plans: Sequence[Plan]) -> VectorCosts:
    """Cost of the optimizer for every layer, in the network's order, as one pass (P = 1).

    Master weights and states are read and written, gradients read, and the weights written in the format of the next step; a master
    copy in that format is the weight itself and is written once.
    """
    work = optimizer_work(network.optimizer)
    touched = updated(network)
    parameters = np.array([item.parameters for item in touched], dtype=np.float64)
    gradients = np.array([item.gradient for item in touched], dtype=np.float64)
    read = np.zeros((len(plans), len(parameters), 1))
    written = np.zeros_like(read)
    storage = storage_of(network)
    for i, plan in enumerate(plans):
        states = work.states * storage.bits(plan, "optimizer")
        master = storage.bits(plan, "master") * has_master(plan)
        read[i, :, 0] = parameters * (storage.bits(plan, "master") + states) + gradients * storage.bits(
            plan, "gradient"
        )
        written[i, :, 0] = parameters * (master + states + storage.bits(plan, "weight"))
    operations = (parameters * work.operations)[:, None]
    return _priced(
        hardware,
        arrays,
        read,
        written,
        operations,
        optimizer_pj(network.optimizer, 32, arrays.node_nm) * arrays.logic_scale / work.operations,
    )


def _priced(
    hardware: Hardware, arrays: HardwareArrays, read: Floats, written: Floats, operations: Floats, op_pj: Floats
) -> VectorCosts:
    dram = len(hardware.memories) - 1
    buffer = shared_buffer(hardware, arrays)
    shape = (len(arrays), 1, 1, 1)
    bits = read + written
    memory_pj = arrays.read_pj_per_bit[:, dram].reshape(shape) * read[None]
    memory_pj = memory_pj + arrays.write_pj_per_bit[:, dram].reshape(shape) * written[None]
    # Vector work passes through the shared memory once in and once out.
    rows = np.arange(len(arrays))
    both = np.where(buffer >= 0, arrays.read_pj_per_bit[rows, buffer] + arrays.write_pj_per_bit[rows, buffer], 0.0)
    through = both.reshape(shape) * bits[None]
    lanes_cycles = operations[None, None] / arrays.vector_lanes.reshape(shape)
    dram_cycles = bits[None] / arrays.bandwidth_bits_per_cycle[:, dram].reshape(shape)
    cycles = np.maximum(lanes_cycles, dram_cycles)
    compute = np.broadcast_to(operations[None, None] * np.asarray(op_pj).reshape(shape), cycles.shape)
    leak = cycles * (arrays.leakage_w / arrays.clock_hz * 1e12).reshape(shape)
    parts = np.stack([compute, through, memory_pj, leak], axis=-1)
    bound = (dram_cycles >= lanes_cycles).astype(np.int64)
    return VectorCosts(
        parts.sum(axis=-1), cycles, parts, bits, np.broadcast_to(bound, cycles.shape), buffer, operations
    )


def shared_buffer(hardware: Hardware, arrays: HardwareArrays) -> Ints:
    """(D,) index of each design's largest memory that the whole array shares, the innermost of equal ones; -1 without one."""
    names = {axis.name for axis in hardware.axes}
    shared = [m for m, memory in enumerate(hardware.memories[:-1]) if names <= set(memory.shared_along)]
    if not shared:
        return np.full(len(arrays), -1, np.int64)
    return np.asarray(np.array(shared, np.int64)[arrays.size_bits[:, shared].argmax(axis=1)])
