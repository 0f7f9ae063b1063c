"""Eyeriss, the chip (Chen et al., ISSCC 2016; JSSC 52(1) 2017): power, time and energy of AlexNet's convolutions, part by part.

The chip's own mapping is evaluated, not ours: row-stationary sets of R x e elements, ``p`` filters and ``q`` channels in each
element, ``r`` channels and ``t`` filters side by side, one *processing pass* after the other. The strip ``e``, ``r`` and ``t``
are in the paper's text. ``p`` and ``q`` are what fits its scratchpads and gives the published accesses of the buffer (its table III
is an image that was not at hand). Zeros are the measured shares of the activations: a zero stops the MAC and the read of the
weight, as the paper describes, and the sum stays as it is: its scratchpad is made of registers, which take nothing but their clock,
priced with the clock network, for being written what they hold. The one adder of an element takes a product or the sum that
arrives from its neighbour (the paper's figure of the element), so that every sum handed on takes a cycle and a read of the own
sum. Words pass a queue of registers at the entrance of an element, sums another at its exit, written and read once each. Prices
are those of ``hwmodels/eyeriss.yaml``; none is fitted to the chip's power or time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.arrays import STANDING
from dse.hardware.model import Hardware
from dse.hardware.pe import mac_energy_pj
from dse.hardware.prices.memories import register_pj_per_bit
from dse.workload import load_workload
from dse.workload.model import Layer

#: Bits of a word, and of the buses between buffer and array: weights and sums 64, activations 16 (JSSC 2017, section V-B).
WORD_BITS, WEIGHT_BUS_BITS, ACTIVATION_BUS_BITS = 16, 64, 16
#: Shares of the clock network in the chip's power after place and route, CONV1 and CONV5 (figure 16, second hand).
CLOCK_SHARES = {"conv1": 0.329, "conv5": 0.450}


@dataclass(frozen=True)
class Measured:
    """A layer on the chip: measured figures and its mapping.

    Attributes
    ----------
    power_w, time_s
        Of the chip without DRAM, and its processing latency for a batch of four (table V).
    zeros
        Share of zeros in the input activations.
    buffer_bits
        Accesses to the buffer, of activations and sums.
    strip
        Rows of the output that a pass computes.
    filters, channels, filter_sets, channel_sets
        p, q, t and r of the paper.
    samples
        Images that a pass runs through with the same weights.
    """

    power_w: float
    time_s: float
    zeros: float
    buffer_bits: float
    strip: int
    filters: int
    channels: int
    filter_sets: int
    channel_sets: int
    samples: int


_MB = 8e6
MEASURED = {
    "conv1": Measured(0.332, 16.5e-3, 0.0001, 18.5 * _MB, 7, 16, 1, 2, 1, 1),
    "conv2": Measured(0.288, 39.2e-3, 0.387, 77.6 * _MB, 27, 16, 2, 1, 1, 1),
    "conv3": Measured(0.266, 21.8e-3, 0.725, 50.2 * _MB, 13, 16, 4, 4, 1, 4),
    "conv4": Measured(0.235, 16.0e-3, 0.793, 37.4 * _MB, 13, 16, 3, 2, 2, 4),
    "conv5": Measured(0.236, 10.0e-3, 0.776, 24.9 * _MB, 13, 16, 3, 2, 2, 4),
}


@dataclass(frozen=True)
class Counts:
    """What a layer does under the chip's mapping; words of 16 bits.

    Attributes
    ----------
    macs
        Of the batch, with those of the last strip's rows that lie outside.
    elements
        Elements that work.
    passes, ramp_cycles
        Processing passes, and cycles of each until every element has its weights and its first window.
    activation_words, sum_words, weight_words
        Moved between buffer and array.
    hop_words
        Sums handed from element to element, each an addition of its own.
    """

    macs: float
    elements: int
    passes: int
    ramp_cycles: float
    activation_words: float
    sum_words: float
    weight_words: float
    hop_words: float


def counts(layer: Layer, chip: Measured, batch: int = 4) -> Counts:
    """Counts of a layer under its mapping, for a batch of images.

    Weights and activations come over buses of their own, so that the longer load decides the ramp-up of a pass. Sums are read from
    and written to the buffer once per pass.
    """
    strips = math.ceil(layer.P / chip.strip)
    together = chip.channels * chip.channel_sets
    side_by_side = chip.filters * chip.filter_sets
    passes = (
        layer.G
        * math.ceil(layer.K / side_by_side)
        * math.ceil(layer.C / together)
        * strips
        * math.ceil(batch / chip.samples)
    )
    weights = side_by_side * together * layer.R * layer.S
    rows = (chip.strip - 1) * layer.stride[0] + layer.R
    columns = (layer.Q - 1) * layer.stride[1] + layer.S
    sums = chip.samples * side_by_side * chip.strip * layer.Q
    ramp = max(
        weights * WORD_BITS / WEIGHT_BUS_BITS,
        together * rows * layer.S * WORD_BITS / ACTIVATION_BUS_BITS,
    )
    macs = batch * layer.macs * (strips * chip.strip / layer.P)
    # The last strip of CONV1 has a row less, so that its sums are those of the layer.
    real = layer.P / (strips * chip.strip)
    return Counts(
        macs=macs,
        elements=layer.R * chip.strip * chip.filter_sets * chip.channel_sets,
        passes=passes,
        ramp_cycles=ramp,
        activation_words=passes * chip.samples * together * rows * columns,
        sum_words=passes * 2.0 * sums * real,
        weight_words=float(passes * weights),
        hop_words=batch * layer.macs / (chip.channels * layer.S),
    )


def chip_table(hardware: Hardware | None = None) -> pd.DataFrame:
    """Measured and modelled figures of the five layers.

    Parameters
    ----------
    hardware
        Default: the shipped ``eyeriss``.

    Returns
    -------
    DataFrame
        A row per layer: ``layer``, ``time_s, power_w, energy_j, buffer_bits`` with ``published_`` and ours, and the parts of our
        power in W: ``mac_w, scratchpad_w, buffer_w, network_w, leakage_w, clock_w``.
    """
    hardware = load_hardware("eyeriss") if hardware is None else hardware
    network = load_workload("imagenet_alexnet")
    arrays = hardware_arrays(hardware)
    clock_w = float(arrays.leakage_parts_w[0, STANDING.index("clock")])
    read = dict(zip((memory.name for memory in hardware.memories), arrays.read_pj_per_bit[0], strict=True))
    write = dict(zip((memory.name for memory in hardware.memories), arrays.write_pj_per_bit[0], strict=True))
    wire = _buffer_wire(hardware)
    mac = float(mac_energy_pj(hardware.pe, WORD_BITS, WORD_BITS, None, hardware.node_nm))
    queue = float(register_pj_per_bit(WORD_BITS, hardware.node_nm))
    rows = []
    for layer in network.mac_layers:
        if layer.name not in MEASURED:
            continue
        chip = MEASURED[layer.name]
        done = counts(layer, chip, network.batch)
        busy = done.macs * (1.0 - chip.zeros)
        delivered_weights = done.weight_words * chip.strip
        delivered_activations = done.activation_words * layer.R * chip.filter_sets
        scratchpads = WORD_BITS * (
            busy * read["weight_spad"]
            + done.macs * (read["activation_spad"] + read["psum_spad"])
            + busy * write["psum_spad"]
            + done.hop_words * read["psum_spad"]
            + delivered_weights * write["weight_spad"]
            + delivered_activations * write["activation_spad"]
        )
        queued = 2.0 * (delivered_weights + delivered_activations + 2.0 * done.hop_words)
        words = done.activation_words + done.sum_words
        buffer = WORD_BITS * (
            (words - done.sum_words / 2.0) * (read["buffer"] - wire)
            + done.sum_words / 2.0 * (write["buffer"] - wire)
            + done.weight_words * (read["buffer"] + write["buffer"] - 2.0 * wire)
        )
        moved = WORD_BITS * (wire * (words + done.weight_words + done.hop_words) + queue * queued)
        turns = done.macs * (1.0 + 1.0 / (chip.channels * layer.S))
        seconds = (turns / done.elements + done.passes * done.ramp_cycles) / hardware.clock_hz
        parts = {
            "mac_w": busy * mac * 1e-12 / seconds,
            "scratchpad_w": scratchpads * 1e-12 / seconds,
            "buffer_w": buffer * 1e-12 / seconds,
            "network_w": moved * 1e-12 / seconds,
            "leakage_w": float(arrays.leakage_w[0]) - clock_w,
            "clock_w": clock_w,
        }
        power = sum(parts.values())
        rows.append(
            {
                "layer": layer.name,
                "published_time_s": chip.time_s,
                "time_s": seconds,
                "published_power_w": chip.power_w,
                "power_w": power,
                "published_energy_j": chip.power_w * chip.time_s,
                "energy_j": power * seconds,
                "published_buffer_bits": chip.buffer_bits,
                "buffer_bits": words * WORD_BITS,
                "elements": done.elements,
                **parts,
            }
        )
    return pd.DataFrame(rows)


def _buffer_wire(hardware: Hardware) -> float:
    """pJ per bit on the network between buffer and array."""
    plain = replace(
        hardware,
        memories=tuple(replace(memory, wire_mm=0.0, wire_pj_per_bit=None) for memory in hardware.memories),
    )
    at = [memory.name for memory in hardware.memories].index("buffer")
    return float(hardware_arrays(hardware).read_pj_per_bit[0, at] - hardware_arrays(plain).read_pj_per_bit[0, at])


def built_in_prices(hardware: Hardware) -> Hardware:
    """The same chip with scratchpads and buffer priced by :mod:`dse.hardware.prices.memories`, CACTI's arrays and flip-flops."""
    memories = tuple(
        memory
        if memory.kind == "dram"
        else replace(memory, read_pj_per_bit=None, write_pj_per_bit=None, wire_pj_per_bit=None)
        for memory in hardware.memories
    )
    return replace(hardware, memories=memories)


def clock_from_shares(hardware: Hardware) -> float:
    """pJ per cycle of the clock network from its published shares and everything else that the file prices.

    ``share / (1 - share)`` of the other parts' power in each layer with a published share, the mean of them.
    """
    table = chip_table(hardware).set_index("layer")
    found = []
    for name, share in CLOCK_SHARES.items():
        rest = float(table["power_w"][name]) - float(table["clock_w"][name])
        found.append(rest * share / (1.0 - share))
    return float(np.mean(found)) / hardware.clock_hz * 1e12
