"""From a network and plans to jobs: which nest runs with which operand formats, each distinct one once.

Operands by pass (roles weight, activation; result):

* forward: weight, activation; the result is an activation, written in the layer's own activation format
* backward_data: weight, error; the result is an error, written in the layer's own error format
* backward_weight: error, activation from the stash; the result is the gradient

A product of two activations (``matmul``) has an activation in the weight role: its forward pass reads two activations, and both
of its backward passes read an error and the other activation from the stash and write an error. The batch counts as groups, because
every sample has its own second operand. A cached one (a KV cache) is read in the stash format.

A transposed convolution runs the nest of the convolution that it mirrors: its forward pass is that one's backward_data.

A pass is one nest or several, each of which runs a number of times (:meth:`dse.workload.Layer.nests`): experts, attention windows.
Multiply-accumulates and BitOps are the sums over these nests, so that what is shown is what is priced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.tensors.copies import (
    WIDE,
    Stored,
    error_bits,
    has_result,
    has_stash,
    stored_tensors,
    turned_weights,
    turning,
    written_errors,
)
from dse.cost.tensors.storage import storage_of
from dse.errors import InputError
from dse.hardware.model import ARITHMETIC, Hardware
from dse.mapping.nest import Nest
from dse.names import OPERANDS
from dse.precision.formats.properties import Format, arithmetic, element_exponent_bits, multiplier_bits
from dse.precision.plans.cells import Cell, Histogram, formats_of
from dse.precision.plans.plan import Plan
from dse.types import Floats, Ints
from dse.workload.model import PASSES, Layer, Network
from dse.yaml_input import suggest

MODES = ("training", "inference")

#: Operands in the weight role and the activation role, and of the result; the stash is how an activation is kept.
ROLES_OF_PASS = {
    "forward": ("weight", "activation", "activation"),
    "backward_data": ("weight", "error", "error"),
    "backward_weight": ("error", "stash", "gradient"),
}
#: The same for a product of two activations.
ROLES_OF_MATMUL = {
    "forward": ("activation", "activation", "activation"),
    "backward_data": ("stash", "error", "error"),
    "backward_weight": ("error", "stash", "error"),
}


class Seen(NamedTuple):
    """What a multiplier sees of an operand: its width, the place of its arithmetic in ``ARITHMETIC``, its own exponent's width."""

    bits: int
    arithmetic: int
    exponent_bits: int


class Pair(NamedTuple):
    """Operands that meet in a MAC, in the weight role and in the activation role, and their share of the MACs."""

    weight: Seen
    activation: Seen
    share: float


@dataclass(frozen=True)
class NetworkJobs:
    """Jobs of a network under one or more plans.

    Attributes
    ----------
    jobs
        The distinct jobs (U of them).
    job
        (plans, layers, passes, nests) index into the jobs; -1 where a layer lacks the pass, or a pass that nest.
    times
        (layers, passes, nests) how often each nest of a pass runs; 0 where there is none.
    bitops
        (plans, layers, passes) multiplier widths of both operands times MACs, for the whole batch.
    macs
        (layers, passes) multiply-accumulates for the whole batch.
    """

    jobs: Jobs
    job: Ints
    times: Floats
    bitops: Floats
    macs: Floats


def roles_of(layer: Layer, pass_: str) -> tuple[str, str, str]:
    """Operands of a pass of a layer: in the weight role, in the activation role, and of the result."""
    first, second, result = (ROLES_OF_MATMUL if layer.kind == "matmul" else ROLES_OF_PASS)[pass_]
    if layer.cached and pass_ == "forward":
        first = "stash"
    return (second, first, result) if layer.transposed and pass_ == "backward_weight" else (first, second, result)


#: Tensors in the weight role, in the activation role, and of the result (:mod:`dse.cost.tensors.storage`), each with the pass
#: along whose reduction its groups lie: who reads a result says how it is written.
TENSORS_OF_PASS = {
    "forward": (("weight", "forward"), ("input", "forward"), ("result", "forward")),
    "backward_data": (("weight", "backward_data"), ("output", "backward_data"), ("input", "forward")),
    "backward_weight": (("output", "backward_weight"), ("input", "backward_weight"), ("weight", "forward")),
}
TENSORS_OF_MATMUL = {
    "forward": (("second", "forward"), ("input", "forward"), ("result", "forward")),
    "backward_data": (("second", "backward_data"), ("output", "backward_data"), ("input", "forward")),
    "backward_weight": (("output", "backward_weight"), ("input", "backward_weight"), ("second", "forward")),
}


def tensors_of(layer: Layer, pass_: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    """Tensor and pass of what :func:`roles_of` gives the operands of."""
    first, second, result = (TENSORS_OF_MATMUL if layer.kind == "matmul" else TENSORS_OF_PASS)[pass_]
    return (second, first, result) if layer.transposed and pass_ == "backward_weight" else (first, second, result)


def nests_of(layer: Layer, pass_: str, batch: int) -> list[tuple[Nest, float]]:
    """The loop nests of a layer in a pass for a whole batch, and how often each runs."""
    mirrored = {"forward": "backward_data", "backward_data": "forward"}
    nest_pass = mirrored.get(pass_, pass_) if layer.transposed else pass_
    return [(Nest(dims, nest_pass, layer.stride, layer.dilation), times) for dims, times in layer.nests(pass_, batch)]


def gathered_nest(layer: Layer, pass_: str, batch: int) -> Nest | None:
    """backward_data of a convolution of stride 1 as a forward convolution of the errors (:mod:`dse.cost.mapped.best_jobs`).

    None where that is no other nest: without windows, with a stride, in other layers and passes.
    """
    if pass_ != "backward_data" or layer.kind != "conv" or layer.transposed or layer.folded is not None:
        return None
    runs = layer.nests(pass_, batch)
    n, g, k, c, _, _, r, s = runs[0].dims
    if len(runs) > 1 or layer.stride != (1, 1) or r * s == 1:
        return None
    return Nest((n, g, c, k, *layer.input_hw, r, s), "forward", (1, 1), layer.dilation)


def unfolded(layer: Layer) -> Layer:
    """A convolution as the product of its windows, unfolded as channels (im2col), with its filters; other layers as they are."""
    if layer.kind != "conv" or layer.transposed or layer.folded is not None:
        return layer
    taps = layer.C * layer.R * layer.S
    return replace(layer, C=taps, R=1, S=1, stride=(1, 1), dilation=(1, 1), input_hw=(layer.P, layer.Q))


def nest_of(layer: Layer, pass_: str, batch: int) -> Nest:
    """The first nest of a layer in a pass for a whole batch: its only one, but for experts and attention windows."""
    return nests_of(layer, pass_, batch)[0][0]


class LayerRun(NamedTuple):
    """One nest of a pass of a layer: its place among those of the pass, its job, how often it runs, its order ("": the first)."""

    layer: Layer
    pass_: str
    place: int
    job: int
    times: float
    order: str = ""

    @property
    def name(self) -> str:
        """``LAYER.PASS``, from a pass's second nest on ``LAYER.PASS.2`` and so on, and ``LAYER.PASS.ORDER`` in another order."""
        parts = (self.layer.name, self.pass_, f"{self.place + 1}" if self.place else "", self.order)
        return ".".join(part for part in parts if part)


def layer_runs(network: Network, work: NetworkJobs, plan: int = 0) -> list[LayerRun]:
    """All nests of a step under a plan, in the network's order."""
    layers = network.mac_layers
    return [
        LayerRun(layers[l], PASSES[p], j, int(work.job[plan, l, p, j]), float(work.times[l, p, j]))
        for l, p, j in np.argwhere(work.job[plan] >= 0).tolist()
    ]


def check_mode(hardware: Hardware, mode: str) -> None:
    """Raise InputError where there is no such mode, or a hardware does not run it."""
    if mode not in MODES:
        raise InputError("mode", [f"'{mode}' is unknown{suggest(mode, MODES)}"])
    if mode == "training" and hardware.inference_only:
        text = "runs inference only: its axes give no dims of the backward passes; ask for inference (--mode inference)"
        raise InputError(hardware.name, [text])


def passes_of(layer: Layer, mode: str) -> tuple[str, ...]:
    """The passes that a layer runs in a mode."""
    return layer.passes if mode == "training" else ("forward",)


def _runs(layers: Sequence[Layer]) -> Floats:
    """(layers, passes) how often a pass runs with the same weights, once after the other."""
    runs = np.array([float(layer.repeats) if layer.kind != "matmul" else 1.0 for layer in layers])
    # The gradient of the weights is computed for all time steps at once.
    return np.where(np.array(PASSES)[None] != "backward_weight", runs[:, None], 1.0)


def _beside(layers: Sequence[Layer], runs: Floats, weight_bits: Floats) -> Floats:
    """(plans, layers, passes) bits of the weights of layers that take turns with a layer: its neighbours that run as often.

    ``weight_bits`` are bits per element of the operand in the weight role.
    """
    elements = np.array([float(layer.G * layer.K * layer.C * layer.R * layer.S) for layer in layers])
    bits = elements[:, None] * weight_bits * (runs > 1)
    body = np.cumsum(np.append(0, np.diff([layer.repeats for layer in layers]) != 0))
    total = np.array([bits[:, body == number].sum(axis=1) for number in range(body.max(initial=0) + 1)])
    return np.where(runs > 1, np.moveaxis(total, 0, 1)[:, body] - bits, 0.0)


class _Shapes(NamedTuple):
    """What of a network's jobs no plan changes.

    at: places of the layers with MACs. nests: the distinct ones. nest, times: (layers, passes, nests) as of :class:`NetworkJobs`.
    gathered: (layers, passes, nests) place of a nest in its other order, -1 without one.
    macs, kept: (layers, passes) multiply-accumulates, and the share that hardware does not leave out. kinds: operand, tensor and
    pass of what is read and written. roles, tensors: (layers, passes, 3) places among the operands and the kinds.
    """

    at: list[int]
    nests: tuple[Nest, ...]
    nest: Ints
    gathered: Ints
    times: Floats
    macs: Floats
    kept: Floats
    kinds: tuple[tuple[str, str, str], ...]
    roles: Ints
    tensors: Ints


@lru_cache(maxsize=64)
def _shapes(network: Network, mode: str, causal_skip: bool, unfold: bool) -> _Shapes:
    """Nests and operands; layers that are equal but for their names are looked at once."""
    network.check_sizes()
    layers = network.mac_layers
    at = [index for index, layer in enumerate(network.layers) if layer.has_macs]
    shape = (len(layers), len(PASSES))
    places = {index: l for l, index in enumerate(at)}
    alike = np.array([places[network.alike[index]] for index in at], np.int64)
    distinct = [(l, layers[l]) for l in sorted(set(alike.tolist()))]
    nests: dict[Nest, int] = {}
    runs_of = {
        (l, PASSES.index(pass_)): nests_of(
            unfolded(layer) if unfold and (l == 0 or layer.reads == ("",)) else layer, pass_, network.batch
        )
        for l, layer in distinct
        for pass_ in passes_of(layer, mode)
    }
    parts = max((len(runs) for runs in runs_of.values()), default=1)
    nest, gathered = (np.full((*shape, parts), -1, np.int64) for _ in range(2))
    times, macs, kept = np.zeros((*shape, parts)), np.zeros(shape), np.ones(shape)
    for (l, p), runs in runs_of.items():
        kept[l, p] = layers[l].causal_share if causal_skip else 1.0
        for j, (item, count) in enumerate(runs):
            nest[l, p, j] = nests.setdefault(item, len(nests))
            times[l, p, j] = count
            macs[l, p] += prod(item.dims) * count * kept[l, p]
        other = gathered_nest(layers[l], PASSES[p], network.batch)
        if other is not None:
            gathered[l, p, 0] = nests.setdefault(other, len(nests))
    kinds: dict[tuple[str, str, str], int] = {}
    roles, tensors = (np.zeros((*shape, 3), np.int64) for _ in range(2))
    for l, layer in distinct:
        for p, pass_ in enumerate(PASSES):
            operands = roles_of(layer, pass_)
            roles[l, p] = [OPERANDS.index(name) for name in operands]
            of = zip(operands, tensors_of(layer, pass_), strict=True)
            tensors[l, p] = [kinds.setdefault((operand, *place), len(kinds)) for operand, place in of]
    return _Shapes(
        at, tuple(nests), nest[alike], gathered[alike], times[alike], macs[alike], kept[alike], tuple(kinds), roles[alike],
        tensors[alike],
    )  # fmt: skip


@dataclass(frozen=True)
class _Operands:
    """What one plan gives every pass of every layer with MACs.

    Attributes
    ----------
    stored_bits, dram_bits
        (layers, passes, 3) and (layers, passes, 2) bits per element on the chip, and of what is read in DRAM.
    seen
        (layers, passes, pairs, 2, fields of :class:`Seen`) what the multiplier sees of each pair of operands.
    shares
        (layers, passes, pairs) share of the MACs at each pair.
    run_elements
        (layers, passes) elements along the reduction that surely have one width; 0 without a map.
    accumulator_bits
        (layers, 1) width of a partial sum.
    """

    stored_bits: Floats
    dram_bits: Floats
    seen: Ints
    shares: Floats
    run_elements: Ints
    accumulator_bits: Ints


def network_jobs(
    network: Network,
    hardware: Hardware,
    plans: Sequence[Plan],
    mode: str = "training",
    copies: Sequence[Stored] = (),
) -> NetworkJobs:
    """Distinct jobs of a network's MAC layers under plans (at least one).

    Parameters
    ----------
    hardware
        Says whether products that a causal mask makes zero are left out (:attr:`dse.hardware.model.Hardware.causal_skip`), and
        whether convolutions that read the network's input are matrix products (:attr:`dse.hardware.model.Hardware.unfold_input`).
    copies
        :func:`dse.cost.tensors.copies.stored_tensors` of each plan, where they are known already.

    Raises
    ------
    InputError
        A layer that is too large for the integers of mapping tables at this batch (:mod:`dse.workload.nests.bounds`).
    """
    shapes = _shapes(network, mode, hardware.causal_skip, hardware.unfold_input)
    copies = copies or [stored_tensors(network, plan, mode == "training") for plan in plans]
    pairs = [_pairs_of_plan(plan, network.mac_layers, shapes.at) if plan.is_blockwise else {} for plan in plans]
    most = max((len(found) for table in pairs for found in table.values()), default=1)
    each = [
        _operands_of_plan(network, shapes, plan, stored, mixed, most)
        for plan, stored, mixed in zip(plans, copies, pairs, strict=True)
    ]
    stored_bits, dram_bits, seen, shares, run_elements = (
        np.stack([getattr(item, name) for item in each])
        for name in ("stored_bits", "dram_bits", "seen", "shares", "run_elements")
    )
    accumulator_bits = np.broadcast_to(np.stack([item.accumulator_bits for item in each]), run_elements.shape)
    nest, runs = shapes.nest, _runs(network.mac_layers)
    at_run = np.nonzero(np.broadcast_to(nest >= 0, (len(plans), *nest.shape)))
    of_nest, of_pass, of_plan = at_run[1:], at_run[1:3], at_run[:3]
    distinct, place = _distinct(
        {
            "nest": nest[of_nest],
            "stored_bits": stored_bits[of_plan],
            "seen": seen[of_plan],
            "shares": shares[of_plan],
            "run_elements": run_elements[of_plan],
            "kept": shapes.kept[of_pass],
            "accumulator_bits": accumulator_bits[of_plan],
            "dram_bits": dram_bits[of_plan],
            "runs": runs[of_pass],
            "beside_bits": _beside(network.mac_layers, runs, stored_bits[..., 0])[of_plan],
            "gathered": shapes.gathered[of_nest],
        }
    )
    met = distinct["seen"].astype(np.int64)
    jobs = Jobs(
        nests=shapes.nests,
        nest=distinct["nest"].astype(np.int64),
        stored_bits=distinct["stored_bits"],
        multiplier_bits=met[..., Seen._fields.index("bits")],
        arithmetic=met[..., Seen._fields.index("arithmetic")],
        exponent_bits=met[..., Seen._fields.index("exponent_bits")],
        shares=distinct["shares"],
        run_elements=distinct["run_elements"].astype(np.int64),
        kept=distinct["kept"],
        accumulator_bits=distinct["accumulator_bits"],
        dram_bits=distinct["dram_bits"],
        runs=distinct["runs"],
        beside_bits=distinct["beside_bits"],
        gathered=distinct["gathered"].astype(np.int64),
    )
    job = np.full((len(plans), *nest.shape), -1, np.int64)
    job[at_run] = place
    bits = seen[..., Seen._fields.index("bits")]
    product = (shares * bits[..., 0] * bits[..., 1]).sum(axis=-1)
    return NetworkJobs(jobs, job, shapes.times, shapes.macs * product, shapes.macs)


def _distinct(columns: Mapping[str, Floats | Ints]) -> tuple[dict[str, Floats], Ints]:
    """Of columns (n, ...) the rows that differ, in ascending order, and (n,) which of them each row is."""
    flat = [values.reshape(len(values), -1) for values in columns.values()]
    distinct, place = np.unique(np.column_stack(flat), axis=0, return_inverse=True)
    parts = np.split(distinct, np.cumsum([part.shape[1] for part in flat])[:-1], axis=1)
    found: dict[str, Floats] = {
        name: part.reshape(len(distinct), *values.shape[1:]).copy().astype(np.float64, copy=False)
        for (name, values), part in zip(columns.items(), parts, strict=True)
    }
    return found, np.asarray(place.reshape(-1), np.int64)


def _operands_of_plan(
    network: Network,
    shapes: _Shapes,
    plan: Plan,
    copies: Stored,
    pairs: Mapping[tuple[int, int], Sequence[Pair]],
    most: int,
) -> _Operands:
    """What a plan gives the passes; ``pairs`` are those of a plan with histograms, filled up to ``most``, else empty."""
    layers, at = network.mac_layers, shapes.at
    of_layer = np.arange(len(layers))[:, None, None]
    storage = storage_of(network)
    bits = np.array([storage.bits(plan, operand, pass_, tensor)[at] for operand, tensor, pass_ in shapes.kinds])
    stored = bits[shapes.tensors, of_layer]
    stored[:, PASSES.index("forward"), 2] = copies.result_bits[at]
    if plan.copies == "requantize":
        _widen(stored, network, plan, at)
    in_dram = stored[..., :2].copy()
    if has_result(plan):
        _as_written(stored, in_dram, network, plan, at, copies)
    seen = np.zeros((*stored.shape[:2], most, 2, len(Seen._fields)), np.int64)
    shares, run = np.zeros(seen.shape[:3]), np.zeros(seen.shape[:2], np.int64)
    for (l, p), found in pairs.items():
        # Empty places repeat the first pair at share 0.
        filled = [*found, *[found[0]._replace(share=0.0)] * (most - len(found))]
        seen[l, p] = [(pair.weight, pair.activation) for pair in filled]
        shares[l, p] = [pair.share for pair in filled]
        run[l, p] = _run_elements(plan, at[l], roles_of(layers[l], PASSES[p]))
    if not plan.is_blockwise:
        cells = [plan.cells(seen_operand(operand)) for operand in OPERANDS]
        each = np.array([[_seen_of_cell(row[place]) for place in at] for row in cells])
        seen[:] = each[shapes.roles[..., :2], of_layer][..., None, :, :]
        shares[..., 0] = 1.0
    return _Operands(stored, in_dram, seen, shares, run, plan.widths("accumulator")[at][:, None])


def _widen(stored: Floats, network: Network, plan: Plan, at: Sequence[int]) -> None:
    """What backward passes read in a wide format and requantize has its width, in place; ``stored`` is (layers, passes, 3)."""
    weights = turned_weights(network, plan, "requantize")
    master, errors = storage_of(network).bits(plan, "master"), error_bits(network, plan)
    stash, error = plan.cells("stash"), plan.cells("error")
    for row, index in enumerate(at):
        layer = network.layers[index]
        kept = not has_stash(plan, index) and turning(plan, stash[index]) == "requantize"
        for p, pass_ in enumerate(PASSES):
            for role, operand in enumerate(roles_of(layer, pass_)):
                if operand == "error" and turning(plan, error[index]) == "requantize":
                    stored[row, p, role] = errors[index]
                elif operand == "stash" and kept and pass_ != "forward":
                    stored[row, p, role] = WIDE.element_bits
                elif operand == "weight" and pass_ == "backward_data" and weights[index]:
                    stored[row, p, role] = master[index]


def _as_written(
    stored: Floats, in_dram: Floats, network: Network, plan: Plan, at: Sequence[int], copies: Stored
) -> None:
    """Results in a format of their own, in place: what passes write has it, and what they read has it in DRAM.

    ``stored`` is (layers, passes, 3), ``in_dram`` (layers, passes, 2).
    """
    results, errors = storage_of(network).bits(plan, "result"), written_errors(network, plan)
    for row, index in enumerate(at):
        layer = network.layers[index]
        for p, pass_ in enumerate(PASSES):
            operands, tensors = roles_of(layer, pass_), tensors_of(layer, pass_)
            if operands[2] != "gradient" and np.isfinite(results[index]):
                stored[row, p, 2] = results[index]
            for role, (operand, (tensor, _)) in enumerate(zip(operands[:2], tensors[:2], strict=True)):
                if operand == "weight":
                    continue
                held = errors if operand == "error" else copies.memory_bits[tensor, pass_ != "forward"]
                if np.isfinite(held[index]):
                    in_dram[row, p, role] = held[index]


def _pairs_of_plan(plan: Plan, layers: Sequence[Layer], at: Sequence[int]) -> dict[tuple[int, int], list[Pair]]:
    """Pairs of widths by (layer, pass) of a plan with histograms."""
    known = {}
    result = {}
    for l, layer in enumerate(layers):
        for p, pass_ in enumerate(PASSES):
            first, second = (seen_operand(operand) for operand in roles_of(layer, pass_)[:2])
            if (first, second) not in known:
                known[first, second] = plan.pairs(first, second)
            pairs = known[first, second]
            merged: dict[tuple[Seen, Seen], float] = {}
            for i, j in np.argwhere(pairs.shares[at[l]] > 0.0).tolist():
                key = (_seen_of_format(pairs.first[i]), _seen_of_format(pairs.second[j]))
                merged[key] = merged.get(key, 0.0) + float(pairs.shares[at[l], i, j])
            result[l, p] = [Pair(*key, share) for key, share in sorted(merged.items())]
    return result


def _run_elements(plan: Plan, layer: int, operands: tuple[str, str, str]) -> int:
    """Elements along the reduction that one entry of the operands' maps covers (columns of a block); 0 without a map."""
    cells = [plan.cells(seen_operand(operand))[layer] for operand in operands[:2]]
    return min((cell.block[1] for cell in cells if isinstance(cell, Histogram)), default=0)


def seen_operand(operand: str) -> str:
    """The operand whose format the multiplier sees: the stash is unpacked to the activation's."""
    return "activation" if operand == "stash" else operand


@cache
def _seen_of_format(form: Format) -> Seen:
    return Seen(multiplier_bits(form), ARITHMETIC.index(arithmetic(form)), element_exponent_bits(form))


def _seen_of_cell(cell: Cell) -> Seen:
    """What the multiplier sees of a cell of a plan without histograms."""
    forms = formats_of(cell)
    return _seen_of_format(forms[0]) if forms else Seen(0, 0, 0)
