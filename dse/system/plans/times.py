"""Seconds of a training step under parallel plans.

A product of ``m x k`` and ``k x n`` elements takes the longer of its MACs over the device's rate and its operands over the memory's
bandwidth. The rate is the data sheet's at the width of the wider operand, times the device's efficiency, times the share of the
cores' last wave of tiles that is filled. A layer without MACs takes its traffic over the bandwidth. A stage's micro batch is the
sum of its layers, of tensor-parallel collectives, and of what is recomputed, and no faster than the host issues its kernels:
they are queued, so the longer of both sums counts.

A pipeline of ``p`` stages, ``v`` pieces each, with ``M`` micro batches takes ``M t + (p - 1) t / v`` for even stages
(Narayanan et al., SC 2021, arXiv 2104.04473, section 2.2.2); for uneven ones ``M`` times the slowest and once all others over
``v``, which is exact where the last stage is the slowest, and else too long by at most what the slowest one sends ahead.
Behind it come what of the gradients' collective does not hide behind the backward pass, and the optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from dse.errors import InputError, Problem
from dse.precision.formats.properties import parse_format, stored_bits
from dse.system.model import Device, Execution, System
from dse.system.network.rows import Row, Rows
from dse.system.plans.arrays import Plans
from dse.system.plans.collectives import all_to_all_s, ring_s, send_s
from dse.system.plans.memory import held_parameters, parameter_share
from dse.system.products.kernels import CONVERSION_EFFICIENCY
from dse.types import Floats
from dse.yaml_input import suggest

#: Shortest sum that is worth splitting over idle cores.
SPLIT_SUM = 512
#: Bits per element that collectives may move.
FEWEST_BITS, MOST_BITS = 0.5, 64.0
#: Names of formats that recipes use too.
SHORT_FORMATS = {"fp8": "fp8_e4m3", "mxfp8": "mxfp8_e4m3", "mxfp4": "mxfp4_e2m1"}
#: Passes of a layer with MACs and what they read as widths of the operands.
PRODUCTS = ("forward", "backward_data", "backward_weight")


@dataclass(frozen=True)
class Communication:
    """Bits per element of what collectives move; None: as the tensor is stored (gradients: as they are summed).

    Attributes
    ----------
    tensor
        Results and errors that tensor parallelism sums.
    gradient
        Gradients that data parallelism sums.
    weight
        Weights that sharding gathers.
    dispatch, combine
        Tokens on the way to their experts and back.
    """

    tensor: float | None = None
    gradient: float | None = None
    weight: float | None = None
    dispatch: float | None = None
    combine: float | None = None

    def __post_init__(self) -> None:
        wrong = [
            Problem(item.name, f"expected bits per element from {FEWEST_BITS:g} to {MOST_BITS:g}, got {value!r}")
            for item in fields(self)
            if (value := getattr(self, item.name)) is not None and not FEWEST_BITS <= value <= MOST_BITS
        ]
        if wrong:
            raise InputError("communication", wrong)

    @classmethod
    def parse(cls, text: str) -> Communication:
        """Formats by what is moved, such as ``gradients=int4,weights=fp8_e4m3``: bits of the elements with those of their scales.

        Raises
        ------
        InputError
            No such tensor, one twice, no format.

        >>> Communication.parse("gradients=int8,dispatch=mxfp8")
        Communication(tensor=None, gradient=8.0, weight=None, dispatch=8.25, combine=None)
        """
        names = {
            f"{item.name}s" if item.name in ("gradient", "weight") else item.name: item.name for item in fields(cls)
        }
        given: dict[str, float] = {}
        wrong: list[Problem] = []
        for part in (part.strip() for part in text.split(",")):
            what, _, form = (word.strip() for word in part.partition("="))
            name = names.get(what) or (what if what in names.values() else "")
            if not name or not form:
                known = ", ".join(names)
                wrong.append(
                    Problem(
                        "", f"'{part}' is no tensor=format such as gradients=int8{suggest(what, names)}; known: {known}"
                    )
                )
            elif name in given:
                wrong.append(Problem("", f"{what} stands twice"))
            else:
                try:
                    given[name] = stored_bits(parse_format(SHORT_FORMATS.get(form, form)))
                except InputError as error:
                    wrong += [Problem(what, problem.message) for problem in error.problems]
        if wrong:
            raise InputError("--communication", wrong)
        return cls(**given)


class Times(NamedTuple):
    """Seconds of a step, (plans,), whose parts add up to ``step``; bits that leave a device, in all and by kind of parallelism."""

    step: Floats
    products: Floats
    vector: Floats
    conversions: Floats
    recomputed: Floats
    tensor: Floats
    expert: Floats
    context: Floats
    host: Floats
    bubble: Floats
    pipeline: Floats
    data: Floats
    optimizer: Floats
    stages: Floats
    link_bits: Floats
    link_tensor_bits: Floats
    link_expert_bits: Floats
    link_context_bits: Floats
    link_pipeline_bits: Floats
    link_data_bits: Floats


#: What a micro batch spends its time on.
MICRO_BATCH_PARTS = ("products", "vector", "conversions", "recomputed", "tensor", "expert", "context", "host")


class Work(NamedTuple):
    """Seconds of one micro batch on one device, forward and backward, by kind, and bytes that leave it, (plans,)."""

    products: Floats
    vector: Floats
    conversions: Floats
    recomputed: Floats
    tensor: Floats
    expert: Floats
    context: Floats
    host: Floats
    backward: Floats
    tensor_bytes: Floats
    expert_bytes: Floats
    context_bytes: Floats

    @property
    def device(self) -> Floats:
        """Seconds without waiting for the host."""
        return (
            self.products + self.vector + self.conversions + self.recomputed + self.tensor + self.expert + self.context
        )

    @property
    def total(self) -> Floats:
        return self.device + self.host


def rate_macs_per_s(device: Device, width_bits: int) -> float:
    """Rate of products whose wider operand has so many bits: of the narrowest units that hold it; wider than all: of the widest."""
    fitting = [bits for bits in device.macs_per_s if bits >= width_bits]
    return device.macs_per_s[min(fitting) if fitting else max(device.macs_per_s)]


def product_s(
    device: Device, m: Floats, n: Floats, k: Floats, groups: Floats, width_bits: int, moved_bits: Floats
) -> Floats:
    """Seconds of ``groups`` products with results of ``m x n`` and sums of ``k``."""
    tiles = groups * np.ceil(m / device.tile) * np.ceil(n / device.tile)
    splits = np.clip(np.floor(device.cores / tiles), 1.0, np.maximum(np.floor(k / SPLIT_SUM), 1.0))
    waves = tiles * splits / device.cores
    fill = waves / np.ceil(waves) * groups * m * n / (tiles * device.tile**2)
    computing = groups * m * n * k / (rate_macs_per_s(device, width_bits) * device.product_efficiency * fill)
    moving = moved_bits / 8.0 / (device.memory_bytes_per_s * device.memory_efficiency)
    return np.asarray(np.maximum(computing, moving))


class Stages(NamedTuple):
    """One micro batch on the first, a middle and the last stage; of a pipeline of one stage all of it is in each."""

    first: Work
    middle: Work
    last: Work


def stages_of(rows: Rows, plans: Plans, system: System, communication: Communication) -> Stages:
    """What a micro batch takes on the stages of every plan."""
    work = {part: _part(rows, part, plans, system, communication) for part in ("before", "block", "behind")}
    count = rows.blocks.count
    per_stage = plans.blocks(count)
    p = plans.pipeline
    one = p == 1

    def stage(blocks: Floats, before: Floats, behind: Floats) -> Work:
        return Work(
            *(
                a * before + b * blocks / count + c * behind
                for a, b, c in zip(work["before"], work["block"], work["behind"], strict=True)
            )
        )

    ends = one * 1.0
    return Stages(
        stage(per_stage, np.ones_like(p), ends),
        stage(per_stage, ends, ends),
        stage(np.where(one, count, np.maximum(count - per_stage * (p - 1), 0.0)), ends, np.ones_like(p)),
    )


def step_times(rows: Rows, plans: Plans, system: System, communication: Communication) -> Times:
    """Seconds of a step of every plan."""
    first, middle, last = stages_of(rows, plans, system, communication)
    p, m, v = plans.pipeline, plans.steps, plans.interleave
    one = p == 1
    slowest = np.maximum(first.total, np.maximum(last.total, np.where(p > 2, middle.total, 0.0)))
    everything = np.where(one, first.total, first.total + last.total + np.maximum(p - 2, 0.0) * middle.total)
    bubble = (everything - slowest) / v
    choose = np.where(first.total >= last.total, 0, 1)
    busiest = Work(*(np.where(choose == 0, a, b) for a, b in zip(first, last, strict=True)))
    idle = slowest - busiest.total
    sends = sends_s(rows, plans, system, communication)
    exposed = sends * (2.0 * (p - 1) + np.where(system.execution.pipeline_overlap, 0.0, 2.0 * (m - 1) * v)) * (p > 1)
    data, data_bytes = _data_s(rows, plans, system, communication, busiest)
    optimizer = _optimizer_s(rows, plans, system)
    spent = {name: m * getattr(busiest, name) for name in MICRO_BATCH_PARTS}
    spent["products"] = spent["products"] + m * idle
    step = sum(spent.values()) + bubble + exposed + data + optimizer
    send_bytes = rows.crossing_elements * 16.0 / 8.0 * plans.samples * 2.0 * m * (p > 1)
    links = {
        "tensor": m * busiest.tensor_bytes,
        "expert": m * busiest.expert_bytes,
        "context": m * busiest.context_bytes,
        "pipeline": send_bytes,
        "data": data_bytes,
    }
    return Times(
        step=np.asarray(step),
        **spent,
        bubble=bubble,
        pipeline=exposed,
        data=data,
        optimizer=optimizer,
        stages=slowest,
        link_bits=np.asarray(8.0 * sum(links.values())),
        **{f"link_{kind}_bits": 8.0 * moved for kind, moved in links.items()},
    )


def _part(rows: Rows, part: str, plans: Plans, system: System, communication: Communication) -> Work:
    """One micro batch through all layers of a part, forward and backward."""
    zero = np.zeros_like(plans.data)
    total = Work(*(zero for _ in Work._fields))
    for row in rows.of(part):
        total = Work(*(a + row.times * b for a, b in zip(total, _row(row, plans, system, communication), strict=True)))
    if part == "behind":
        total = total._replace(host=total.host + system.execution.micro_batch_s)
    # Of a row the host's time is that in which it issues the kernels; of all together what the device waits for.
    return total._replace(host=np.maximum(total.host - total.device, 0.0))


def _row(row: Row, plans: Plans, system: System, communication: Communication) -> Work:
    device, execution = system.device, system.execution
    zero = np.zeros_like(plans.data)
    fused = execution.attention == "fused"
    forward, backward, vector, vector_back = zero, zero, zero, zero
    if row.layer.has_macs:
        forward, backward = _product_passes(row, plans, system)
    elif not (row.core and fused):
        vector, vector_back = _vector_passes(row, plans, system)
    again = np.where(plans.is_recompute("full") & (row.part == "block"), forward + vector, 0.0)
    inner = row.core or (row.layer.kind == "matmul")
    if inner and not fused:
        again = np.where(plans.is_recompute("selective"), forward + vector, again)
    convert, convert_back = _conversions(row, plans, device)
    tensor, tensor_back, moved = _tensor_s(row, plans, system, communication)
    again = again + np.where(plans.is_recompute("full") & (row.part == "block"), tensor, 0.0)
    expert, expert_moved = _expert_s(row, plans, system, communication)
    context, context_moved = _context_s(row, plans, system, forward + backward)
    return Work(
        forward + backward,
        vector + vector_back,
        convert + convert_back,
        again,
        (tensor + tensor_back) * (1.0 - execution.tensor_overlap),
        expert,
        context,
        execution.issue_s * _kernels(row, plans, execution),
        backward + vector_back + convert_back + tensor_back + again,
        moved,
        expert_moved,
        context_moved,
    )


def _kernels(row: Row, plans: Plans, execution: Execution) -> Floats:
    """Kernels that the host issues for one layer of a micro batch: one per pass of its nest, and again where it is
    recomputed. What is fused into a neighbour has none."""
    layer = row.layer
    if execution.attention == "fused" and row.core:
        return np.zeros_like(plans.data)
    if execution.fused_vector and layer.kind in ("activation", "multiply", "add"):
        return np.zeros_like(plans.data)
    again = plans.is_recompute("full") & (row.part == "block")
    return np.asarray(float(len(layer.passes)) + np.where(again, 1.0, 0.0))


def _product_passes(row: Row, plans: Plans, system: System) -> tuple[Floats, Floats]:
    """Seconds of the forward product and of the products of the backward passes."""
    layer, device, widths = row.layer, system.device, row.widths
    t = plans.tensor
    one = np.ones_like(t)
    n, g, k, c, p, q, r, s = (float(size) for size in layer.met_dims)
    places = n * p * q * plans.samples
    groups, outputs, sums = g * one, k * one, c * r * s * one
    if layer.kind == "matmul":
        heads_left = np.minimum(t, g) if row.cut.dim == "G" else one
        groups = g * plans.micro_batch / heads_left
        places = n * p * q / plans.context / np.where(row.cut.dim == "G", np.maximum(t / g, 1.0), 1.0)
    elif row.cut.dim == "E":
        # Every device has its share of the experts, and as many tokens as it has sent.
        groups = layer.experts / plans.expert
        places = places * g / t / groups
    elif row.cut.dim == "K":
        outputs = k / t
    elif row.cut.dim == "C":
        sums = c * r * s / t
    elif row.cut.dim == "G":
        groups = np.maximum(g / t, 1.0)
    elif layer.kind != "embedding":
        # Whole weights: tokens are cut where sequence parallelism cuts them.
        places = places * plans.whole_share
    passes = set(layer.passes)
    inner = layer.kind == "matmul" and layer.mask is not None and system.execution.attention == "fused"
    if inner or (layer.kind == "matmul" and system.execution.attention == "fused"):
        return _fused_attention(layer.causal_share, groups * places * outputs * sums, row, system)
    weight, read, written = groups * outputs * sums, groups * places * c * one, groups * places * outputs
    if row.cut.dim == "C":
        read = groups * places * sums / (r * s)
    forward = product_s(
        device, places, outputs, sums, groups, widths.forward,
        weight * widths.weight + read * widths.activation + written * widths.activation,
    )  # fmt: skip
    back = np.zeros_like(t)
    if "backward_data" in passes:
        moved = weight * widths.weight + (read + written) * widths.error
        back = back + product_s(device, places, sums, outputs, groups, widths.backward_data, moved)
    if "backward_weight" in passes:
        moved = weight * widths.gradient * 2.0 + read * widths.activation + written * widths.error
        back = back + product_s(device, outputs, sums, places, groups, widths.backward_weight, moved)
    return forward, back


def _fused_attention(causal: float, macs: Floats, row: Row, system: System) -> tuple[Floats, Floats]:
    """Seconds of one of the two products of fused attention: five products on the way back for two forward
    (Dao, FlashAttention-2, arXiv 2307.08691: the scores are computed again)."""
    device = system.device
    met = macs * (causal if system.execution.causal_skip else 1.0)
    rate = (
        rate_macs_per_s(device, max(row.widths.forward, 16)) * device.product_efficiency * device.attention_efficiency
    )
    forward = met / rate
    passes = len(row.layer.passes) - 1
    return forward, np.asarray(forward * passes * 1.25)


def _vector_passes(row: Row, plans: Plans, system: System) -> tuple[Floats, Floats]:
    """Seconds of a layer without MACs; masks of dropout are one byte per element, written forward and read backward."""
    device, execution, layer = system.device, system.execution, row.layer
    share = np.where(row.cut.dim == "", plans.whole_share, 1.0 / plans.tensor)
    if layer.kind == "embedding" and row.cut.dim == "C":
        share = np.ones_like(plans.data)
    if execution.fused_vector and layer.kind in ("activation", "multiply", "add"):
        # Read and written by its neighbours' kernels; what is kept of it is still written once and read once.
        kept = sum(item.bits for item in row.stash)
        moved = (kept, kept)
    else:
        width = row.widths.activation if layer.kind != "loss" else row.widths.activation + 16.0
        moved = (row.vector[0] * max(width, 16.0), row.vector[1] * max(width, 16.0))
    masks = 8.0 * row.masks * (1 + 2 * 2 * row.core)
    rate = device.memory_bytes_per_s * device.memory_efficiency * 8.0
    passes = len(layer.passes) > 1
    forward = (moved[0] + masks) * plans.samples * share / rate
    backward = (moved[1] + masks) * plans.samples * share / rate * passes
    return forward, backward


def _conversions(row: Row, plans: Plans, device: Device) -> tuple[Floats, Floats]:
    """Seconds of converting operands to the formats of the products; weights once per step."""
    zero = np.zeros_like(plans.data)
    layer, widths = row.layer, row.widths
    if not layer.has_macs or not (widths.converts_weight or widths.converts_activation or widths.converts_error):
        return zero, zero
    rate = device.memory_bytes_per_s * CONVERSION_EFFICIENCY * 8.0
    tokens = plans.samples * (1.0 / plans.tensor if row.cut.dim == "E" else 1.0)
    read_cut = np.where(row.cut.dim in ("C", "G"), 1.0 / plans.tensor, 1.0)
    made_cut = np.where(row.cut.result_cut, 1.0 / plans.tensor, 1.0)
    times = layer.G if layer.experts else 1
    read = layer.input_elements // (times if layer.experts else 1) * times
    bits = read * tokens * read_cut * widths.converts_activation
    if layer.kind == "matmul":
        bits = bits + layer.second_elements * tokens * read_cut * widths.converts_weight
    elif layer.parameters:
        bits = bits + held_parameters(row, plans) * widths.converts_weight / plans.steps
    back = layer.output_elements * tokens * made_cut * widths.converts_error
    return bits / rate, back / rate


def _tensor_s(row: Row, plans: Plans, system: System, communication: Communication) -> tuple[Floats, Floats, Floats]:
    """Seconds of the all-reduces of tensor parallelism, forward and backward, and bytes that pass the device's link."""
    zero = np.zeros_like(plans.data)
    if not (row.cut.summed or row.cut.shared):
        return zero, zero, zero
    bits = max(row.widths.activation, 16.0) if communication.tensor is None else communication.tensor
    back = max(row.widths.error, 16.0) if communication.tensor is None else communication.tensor
    elements = row.layer.output_elements * plans.samples
    forward = ring_s(system, "all_reduce", elements * bits / 8.0, plans.tensor_group) * row.cut.summed
    backward = ring_s(system, "all_reduce", elements * back / 8.0, plans.tensor_group) * row.cut.shared
    ring = 2.0 * (plans.tensor - 1.0) / plans.tensor * elements / 8.0
    return forward, backward, ring * (bits * row.cut.summed + back * row.cut.shared)


def _expert_s(row: Row, plans: Plans, system: System, communication: Communication) -> tuple[Floats, Floats]:
    """Seconds in which tokens travel to their experts and back, forward and backward; bytes that leave the device."""
    zero = np.zeros_like(plans.data)
    if not (row.cut.enters or row.cut.leaves):
        return zero, zero
    layer = row.layer
    slots = layer.N * layer.G * plans.samples / plans.tensor
    plain = max(row.widths.activation, 16.0)
    sent = layer.C * slots * (plain if communication.dispatch is None else communication.dispatch) / 8.0
    back = layer.K * slots * (plain if communication.combine is None else communication.combine) / 8.0
    seconds, moved = zero, zero
    # Copies are written in the order of the experts, and read back in that of the tokens: a pass over the slots each way.
    rate = system.device.memory_bytes_per_s * system.device.memory_efficiency
    tokens = 1.0 + 1.0 / layer.G
    seconds = (
        seconds + 2.0 * tokens * slots * plain / 8.0 * (layer.C * row.cut.enters + layer.K * row.cut.leaves) / rate
    )
    # Forward to the experts and back; on the way back the errors take the same ways.
    for there, message in ((row.cut.enters, sent), (row.cut.leaves, back)):
        if there:
            seconds = seconds + 2.0 * all_to_all_s(system, message, plans.expert_group)
            moved = moved + 2.0 * message * (plans.expert - 1.0) / plans.expert
    return seconds, moved


def _context_s(row: Row, plans: Plans, system: System, computing: Floats) -> tuple[Floats, Floats]:
    """Seconds of passing keys and values around a ring of context-parallel devices that do not hide behind the products
    (Liu et al., Ring Attention, arXiv 2310.01889), and of rows at the rim of convolutions; bytes that pass the link."""
    layer = row.layer
    zero = np.zeros_like(plans.data)
    if layer.kind == "matmul":
        elements = (
            layer.second_elements
            * plans.micro_batch
            / np.where(row.cut.dim == "G", np.minimum(plans.tensor, layer.G), 1.0)
        )
        message = elements * max(row.widths.activation, 16.0) / 8.0
        seconds = ring_s(system, "all_gather", message, plans.context_group) * 3.0
        return np.maximum(seconds - computing, 0.0), 3.0 * message * (plans.context - 1.0) / plans.context
    if layer.kind in ("conv", "pool") and layer.R > 1:
        rim = (layer.R - 1) * layer.dilation[0] * layer.input_hw[1] * layer.G * layer.C * plans.micro_batch
        message = rim * row.widths.activation / 8.0 * (plans.context > 1)
        return 2.0 * send_s(system, message, plans.tensor) * (plans.context > 1), 2.0 * message
    return zero, zero


def sends_s(rows: Rows, plans: Plans, system: System, communication: Communication) -> Floats:
    """Seconds of sending what passes between stages, of one micro batch."""
    bits = rows.crossing_elements * (16.0 if communication.tensor is None else communication.tensor)
    return send_s(system, bits / 8.0 * plans.samples * plans.whole_share, plans.stage_stride)


def _data_s(
    rows: Rows, plans: Plans, system: System, communication: Communication, busiest: Work
) -> tuple[Floats, Floats]:
    """Seconds of the collectives of data parallelism that do not hide, and bytes that pass the device's link."""
    zero = np.zeros_like(plans.data)
    gradient, weight, most, gathered = {False: zero, True: zero}, {False: zero, True: zero}, zero, zero
    per_stage = plans.blocks(rows.blocks.count) / rows.blocks.count
    for row in rows.rows:
        if not row.layer.parameters:
            continue
        share = per_stage if row.part == "block" else (1.0 if row.part == "before" else (plans.pipeline == 1) * 1.0)
        held = held_parameters(row, plans) * row.times * share / 8.0
        expert = row.cut.dim == "E"
        if row.layer.trained_parameters:
            bits = row.widths.gradient if communication.gradient is None else communication.gradient
            gradient[expert] = gradient[expert] + held * bits
        bits = max(row.widths.weight, 16.0) if communication.weight is None else communication.weight
        weight[expert] = weight[expert] + held * bits
    execution, m = system.execution, plans.steps
    for expert, group in ((False, plans.data_group), (True, plans.expert_data_group)):
        reduce = ring_s(system, "reduce_scatter", gradient[expert], group)
        gather = ring_s(system, "all_gather", weight[expert], group)
        both = ring_s(system, "all_reduce", gradient[expert], group)
        most = most + np.where(plans.zero == 0, both, np.where(plans.zero < 3, reduce + gather, 0.0))
        gathered = gathered + np.where(plans.zero == 3, m * (reduce + 2.0 * gather), 0.0)
    hidden = execution.data_overlap * busiest.backward
    computing = execution.shard_overlap * m * busiest.total
    link = sum(
        (
            gradient[expert] * np.where(plans.zero == 3, m, np.where(plans.zero == 0, 2.0, 1.0))
            + weight[expert] * np.where(plans.zero == 3, 2.0 * m, np.where(plans.zero == 0, 0.0, 1.0))
        )
        * (group.size - 1.0)
        / group.size
        for expert, group in ((False, plans.data_group), (True, plans.expert_data_group))
    )
    return np.maximum(most - hidden, 0.0) + np.maximum(gathered - computing, 0.0), np.asarray(link)


def _optimizer_s(rows: Rows, plans: Plans, system: System) -> Floats:
    """Seconds of the update: gradient read, master and states read and written, weight written; where they are offloaded by the
    host, with gradients on their way there and weights back, one after the other."""
    device, host = system.device, system.host
    bits, ways = np.zeros_like(plans.data), np.zeros_like(plans.data)
    per_stage = plans.blocks(rows.blocks.count) / rows.blocks.count
    for row in rows.rows:
        if not row.layer.trained_parameters:
            continue
        share = per_stage if row.part == "block" else (1.0 if row.part == "before" else (plans.pipeline == 1) * 1.0)
        holders = np.where(plans.zero >= 1, parameter_share(row, plans)[2], 1.0)
        widths = row.widths
        moved = widths.gradient + 2.0 * (widths.master + rows.states * widths.optimizer) + widths.weight
        own = held_parameters(row, plans) * row.times * share / holders
        bits = bits + own * moved
        ways = ways + own * (widths.gradient + widths.weight)
    here = bits / 8.0 / (device.memory_bytes_per_s * device.memory_efficiency)
    if host is None:
        return here
    return np.where(plans.offload, bits / 8.0 / host.memory_bytes_per_s + ways / 8.0 / host.bytes_per_s, here)
