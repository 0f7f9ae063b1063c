"""From a network and plans to jobs: which nest runs with which operand formats, each distinct one once.

Operands by pass (roles weight, activation; result), DESIGN 4.1:

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

from collections.abc import Sequence
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
    """One nest of a pass of a layer: its place among those of the pass, its job, and how often it runs."""

    layer: Layer
    pass_: str
    place: int
    job: int
    times: float

    @property
    def name(self) -> str:
        """``LAYER.PASS``, and from a pass's second nest on ``LAYER.PASS.2`` and so on."""
        return f"{self.layer.name}.{self.pass_}" + (f".{self.place + 1}" if self.place else "")


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
    macs, kept: (layers, passes) multiply-accumulates, and the share that hardware does not leave out. kinds: operand, tensor and
    pass of what is read and written. roles, tensors: (layers, passes, 3) places among the operands and the kinds.
    """

    at: list[int]
    nests: tuple[Nest, ...]
    nest: Ints
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
    nest = np.full((*shape, parts), -1, np.int64)
    times, macs, kept = np.zeros((*shape, parts)), np.zeros(shape), np.ones(shape)
    for (l, p), runs in runs_of.items():
        kept[l, p] = layers[l].causal_share if causal_skip else 1.0
        for j, (item, count) in enumerate(runs):
            nest[l, p, j] = nests.setdefault(item, len(nests))
            times[l, p, j] = count
            macs[l, p] += prod(item.dims) * count * kept[l, p]
    kinds: dict[tuple[str, str, str], int] = {}
    roles, tensors = (np.zeros((*shape, 3), np.int64) for _ in range(2))
    for l, layer in distinct:
        for p, pass_ in enumerate(PASSES):
            operands = roles_of(layer, pass_)
            roles[l, p] = [OPERANDS.index(name) for name in operands]
            of = zip(operands, tensors_of(layer, pass_), strict=True)
            tensors[l, p] = [kinds.setdefault((operand, *place), len(kinds)) for operand, place in of]
    return _Shapes(
        at, tuple(nests), nest[alike], times[alike], macs[alike], kept[alike], tuple(kinds), roles[alike], tensors[alike]
    )  # fmt: skip


def network_jobs(
    network: Network,
    plans: Sequence[Plan],
    mode: str = "training",
    causal_skip: bool = False,
    copies: Sequence[Stored] = (),
    unfold: bool = False,
) -> NetworkJobs:
    """Distinct jobs of a network's MAC layers under plans (at least one).

    Parameters
    ----------
    causal_skip
        Whether the hardware leaves out products that a causal mask makes zero; see :attr:`dse.hardware.model.Hardware.causal_skip`.
    copies
        :func:`dse.cost.tensors.copies.stored_tensors` of each plan, where they are known already.
    unfold
        Whether convolutions that read the network's input are matrix products (:attr:`dse.hardware.model.Hardware.unfold_input`).

    Raises
    ------
    InputError
        A layer that is too large for the integers of mapping tables at this batch (:mod:`dse.workload.nests.bounds`).
    """
    shapes = _shapes(network, mode, causal_skip, unfold)
    layers, at, nests, nest = network.mac_layers, shapes.at, shapes.nests, shapes.nest
    times, macs, kept, roles = shapes.times, shapes.macs, shapes.kept, shapes.roles
    kinds, tensors = shapes.kinds, shapes.tensors
    shape = (len(plans), len(layers), len(PASSES))
    storage = storage_of(network)
    mixed = {i: _pairs_of_plan(plan, layers, at) for i, plan in enumerate(plans) if plan.is_blockwise}
    most = max((len(pairs) for table in mixed.values() for pairs in table.values()), default=1)
    stored = np.zeros((*shape, 3))
    # Of each pair and operand the places of Seen: width, arithmetic, exponent.
    sight = np.zeros((*shape, most, 2, len(Seen._fields)), np.int64)
    shares = np.zeros((*shape, most))
    run = np.zeros(shape, np.int64)
    sums = np.zeros(shape)
    in_dram = np.zeros((*shape, 2))
    copies = copies or [stored_tensors(network, plan, mode == "training") for plan in plans]
    for i, plan in enumerate(plans):
        sums[i] = plan.widths("accumulator")[at][:, None]
        bits = np.array([storage.bits(plan, operand, pass_, tensor)[at] for operand, tensor, pass_ in kinds])
        stored[i] = bits[tensors, np.arange(len(layers))[:, None, None]]
        stored[i, :, PASSES.index("forward"), 2] = copies[i].result_bits[at]
        if plan.copies == "requantize":
            _widen(stored[i], network, plan, at)
        in_dram[i] = stored[i, ..., :2]
        if has_result(plan):
            _as_written(stored[i], in_dram[i], network, plan, at, copies[i])
        if i in mixed:
            for (l, p), pairs in mixed[i].items():
                # Empty places repeat the first pair at share 0.
                filled = pairs + [pairs[0]._replace(share=0.0)] * (most - len(pairs))
                sight[i, l, p] = [(pair.weight, pair.activation) for pair in filled]
                shares[i, l, p] = [pair.share for pair in filled]
                run[i, l, p] = _run_elements(plan, at[l], roles_of(layers[l], PASSES[p]))
        else:
            seen = [seen_operand(operand) for operand in OPERANDS]
            cells = [plan.cells(operand) for operand in seen]
            each = np.array([[_seen_of_cell(row[place]) for place in at] for row in cells])
            sight[i] = each[roles[..., :2], np.arange(len(layers))[:, None, None]][..., None, :, :]
            shares[i, ..., 0] = 1.0
    at_run = np.nonzero(np.broadcast_to(nest >= 0, (len(plans), *nest.shape)))
    of_pass, i_l_p = at_run[1:], at_run[:3]
    flat = (sight[i_l_p].reshape(len(at_run[0]), -1), shares[i_l_p], run[i_l_p])
    again = _runs(layers)
    turns = (again[of_pass[:2]], _beside(layers, again, stored[..., 0])[i_l_p])
    rows = np.column_stack(
        [nest[of_pass], stored[i_l_p], *flat, kept[of_pass[:2]], sums[i_l_p], in_dram[i_l_p], *turns]
    )
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    job = np.full((len(plans), *nest.shape), -1, np.int64)
    job[at_run] = inverse.reshape(-1)
    cut = np.cumsum([1, 3, sight[0, 0, 0].size, most, 1, 1, 1, 2, 1])
    columns = np.split(distinct, cut, axis=1)
    nest_column, bits_columns, sight_columns, share_columns, run_column, kept_column, sum_column, *last = columns
    dram_columns, again_column, beside_column = last
    found = sight_columns.astype(np.int64).reshape(-1, most, 2, len(Seen._fields))
    jobs = Jobs(
        nests,
        nest_column[:, 0].astype(np.int64),
        bits_columns.copy(),
        found[..., 0],
        found[..., 1],
        found[..., 2],
        share_columns.copy(),
        run_column[:, 0].astype(np.int64),
        kept_column[:, 0].copy(),
        sum_column[:, 0].copy(),
        dram_columns.copy(),
        again_column[:, 0].copy(),
        beside_column[:, 0].copy(),
    )
    product = (shares * sight[..., 0, 0] * sight[..., 1, 0]).sum(axis=-1)
    return NetworkJobs(jobs, job, times, macs * product, macs)


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
