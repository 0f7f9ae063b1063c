"""Cost of layers without MACs and of the optimizer: DRAM traffic, passes through the on-chip memory, and vector operations.

``cycles = max(operations / vector lanes, bits / DRAM bandwidth)``;
``energy = bits * (DRAM + one write and one read of the shared buffer) + operations * price of a 16-bit float operation
+ leakage``. What each layer reads and writes is in :mod:`dse.workload.work.vector`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dse.cost.fusion.epilogues import Saved
from dse.cost.tensors.copies import Stored, error_bits
from dse.cost.tensors.memory import has_master
from dse.cost.tensors.storage import storage_of
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.prices.side_costs import optimizer_pj, vector_op_pj
from dse.names import PASSES
from dse.precision.plans.plan import Plan
from dse.types import Bools, Floats, Ints
from dse.workload.model import Network
from dse.workload.work.vector import optimizer_work, rows_hit, sweeps, updated, vector_work

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

    Forward tensors have the formats of :mod:`dse.cost.tensors.copies` (``stored``, by plan), backward tensors the layer's error
    format. What is kept for the way back is written and read in its own. Rows of an embedding's table are read in the
    weight's format; the rows that a batch hits, each once, are read, added to and written in the gradient's. What is ``saved`` by
    fusion is not moved; the operations stay.
    """
    moved = _moved(network, mode == "training")
    places, forward = moved.places, PASSES.index("forward")
    read = np.zeros((len(plans), len(places), len(PASSES)))
    written = np.zeros_like(read)
    storage = storage_of(network)
    for i, (plan, copies) in enumerate(zip(plans, stored, strict=True)):
        weight, error = storage.bits(plan, "weight")[places], error_bits(network, plan)[places]
        hit = np.where(moved.table, moved.hit * storage.bits(plan, "gradient")[places], 0.0)
        input_bits = np.where(moved.table, weight, copies.input_bits[places])
        for p in range(len(PASSES)):
            runs, reads, writes = moved.runs[:, p], moved.reads[:, p], moved.writes[:, p]
            if p == forward:
                read[i, runs, p] = (reads * input_bits)[runs]
                written[i, runs, p] = (writes * copies.result_bits[places] + copies.written[places])[runs]
            else:
                read[i, runs, p] = (reads * error + moved.sweeps * copies.kept[places] + hit)[runs]
                written[i, runs, p] = np.where(moved.table, hit, writes * error)[runs]
    if saved is not None:
        read, written = read - saved.read[:, places], written - saved.written[:, places]
    price = vector_op_pj(VECTOR_BITS, True, arrays.node_nm) * arrays.logic_scale
    return _priced(hardware, arrays, read, written, moved.operations, price)


class _Moved(NamedTuple):
    """What layers without MACs move, for the whole batch, whatever the formats.

    places: of these V layers in the network. runs: (V, passes). reads, writes, operations: (V, passes) elements. sweeps: (V,) over
    what was kept. table, hit: (V,) whether it is an embedding, and the rows that a batch hits.
    """

    places: Ints
    runs: Bools
    reads: Floats
    writes: Floats
    operations: Floats
    sweeps: Floats
    table: Bools
    hit: Floats


@lru_cache(maxsize=64)
def _moved(network: Network, training: bool) -> _Moved:
    """Elements of the layers without MACs of a network."""
    places = [index for index, layer in enumerate(network.layers) if not layer.has_macs]
    layers = [network.layers[index] for index in places]
    shape = (len(layers), len(PASSES))
    runs, reads, writes, operations = np.zeros(shape, np.bool_), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for v, layer in enumerate(layers):
        for pass_ in layer.passes if training else ("forward",):
            at = (v, PASSES.index(pass_))
            work = vector_work(layer, pass_, training)
            runs[at] = True
            reads[at], writes[at], operations[at] = (
                count * network.batch for count in (work.reads, work.writes, work.operations)
            )
    table = np.array([layer.kind == "embedding" for layer in layers], np.bool_)
    hit = np.array([rows_hit(layer, network.batch) if layer.kind == "embedding" else 0.0 for layer in layers])
    return _Moved(
        np.array(places, np.int64), runs, reads, writes, operations,
        np.array([float(sweeps(layer)) for layer in layers]), table, hit,
    )  # fmt: skip


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
