"""From a network and plans to jobs: which nest runs with which operand formats, each distinct one once.

A transposed convolution runs the nest of the convolution that it mirrors: its forward pass is that one's backward_data.

A pass is one nest or several, each of which runs a number of times (:meth:`dse.workload.Layer.nests`): experts, attention windows.
Multiply-accumulates and BitOps are the sums over these nests, so that what is shown is what is priced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.operands import (
    Pair,
    Seen,
    Written,
    as_written,
    elements_of_run,
    pairs_of_plan,
    roles_of,
    seen_of_cell,
    seen_operand,
    tensors_of,
    widened,
)
from dse.cost.tensors.copies import Stored, has_result, stored_tensors
from dse.cost.tensors.storage import storage_of
from dse.errors import InputError
from dse.hardware.model import Hardware
from dse.mapping.nest import Nest
from dse.names import OPERANDS
from dse.precision.plans.plan import Plan
from dse.types import Floats, Ints
from dse.workload.model import PASSES, Layer, Network
from dse.yaml_input import suggest

MODES = ("training", "inference")


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
    pairs = [pairs_of_plan(plan, network.mac_layers, shapes.at) if plan.is_blockwise else {} for plan in plans]
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
        stored = widened(stored, network, plan, at)
    written = Written(stored, stored[..., :2])
    if has_result(plan):
        written = as_written(stored, network, plan, at, copies)
    seen = np.zeros((*stored.shape[:2], most, 2, len(Seen._fields)), np.int64)
    shares, run = np.zeros(seen.shape[:3]), np.zeros(seen.shape[:2], np.int64)
    for (l, p), found in pairs.items():
        # Empty places repeat the first pair at share 0.
        filled = [*found, *[found[0]._replace(share=0.0)] * (most - len(found))]
        seen[l, p] = [(pair.weight, pair.activation) for pair in filled]
        shares[l, p] = [pair.share for pair in filled]
        run[l, p] = elements_of_run(plan, at[l], roles_of(layers[l], PASSES[p]))
    if not plan.is_blockwise:
        cells = [plan.cells(seen_operand(operand)) for operand in OPERANDS]
        each = np.array([[seen_of_cell(row[place]) for place in at] for row in cells])
        seen[:] = each[shapes.roles[..., :2], of_layer][..., None, :, :]
        shares[..., 0] = 1.0
    return _Operands(written.stored, written.in_dram, seen, shares, run, plan.widths("accumulator")[at][:, None])
