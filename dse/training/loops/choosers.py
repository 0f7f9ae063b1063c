"""Who decides the formats of the next training step: a plan, a schedule, or a published rule on what the run shows.

Each chooser is asked before every step (``before``) and shown every step (``after``). The rules themselves are the functions of
:mod:`dse.precision.policies.rules` and :mod:`dse.precision.policies.blocks`; here is only when they are called and on which
tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dse.errors import InputError
from dse.names import MAC_OPERANDS
from dse.precision.formats.properties import Format, parse_format
from dse.precision.plans.plan import Plan
from dse.precision.plans.rules import NamedNetwork
from dse.precision.policies.blocks import WIDTHS, adjusted_threshold, block_sensitivity, block_widths, smoothed
from dse.precision.policies.rules import adapt_bins, adapt_lookback, adapt_strategy, loss_plateaus, push_down, push_up
from dse.precision.policies.surveyed import activation_density, density_bits
from dse.precision.schedules.schedule import Schedule
from dse.training.records import Width
from dse.training.rounded.layers import BlockMap, Control, Stored, as_matrix
from dse.types import Floats


class Cells(NamedTuple):
    """How the tensors of a layer are stored; ``stash`` None: as the activation; ``gradient``, ``result`` None: in float32."""

    weight: Stored
    activation: Stored
    error: Stored
    stash: Stored = None
    gradient: Stored = None
    result: Stored = None


class Trained(Protocol):
    """A layer that is trained: its control, and where it has one, its ``weight``."""

    @property
    def control(self) -> Control: ...


Layers: TypeAlias = Mapping[str, Trained]


class Chooser(Protocol):
    """Decides formats during training."""

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        """Formats from this iteration on, by layer; None: as before. At iteration 0, of all layers."""
        ...

    def watches(self, iteration: int) -> bool:
        """Whether ``after`` needs the step's activations, their gradients and errors."""
        ...

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        """A step is done: weights hold their gradients, controls what they were told to keep."""
        ...


@dataclass
class Scheduled:
    """A schedule that was decided beforehand; a plan is the schedule with one phase.

    Raises
    ------
    InputError
        Blocks of several formats: which blocks, only an online rule can say.
    """

    schedule: Schedule
    network: NamedNetwork
    _phases: dict[int, dict[str, Cells]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = 0
        for plan, iterations in self.schedule.plans(self.network):
            self._phases[start] = plan_cells(plan)
            start += iterations

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        return self._phases.get(iteration)

    def watches(self, iteration: int) -> bool:
        return False

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        return None


def plan_cells(plan: Plan) -> dict[str, Cells]:
    """A plan's formats by layer; FP32 is no format at all.

    Raises
    ------
    InputError
        Formats that training here does not follow: blocks of several formats, a narrow master copy or optimizer state.
    """
    problems = []
    if plan.is_blockwise:
        problems.append("a plan with several formats in one tensor does not say which block has which")
    problems += [
        f"the {operand} is kept in float32; another format is not trained with"
        for operand in ("master", "optimizer")
        if any(isinstance(cell, Format) and cell.name != "fp32" for cell in plan.cells(operand))
    ]
    if problems:
        raise InputError("training", problems)
    weight, activation, error, stash, gradient, result = (plan.cells(name) for name in Cells._fields)
    kept = [None if own == read else own for own, read in zip(stash, activation, strict=True)]
    rows = zip(plan.layers, weight, activation, error, kept, gradient, result, strict=True)
    return {name: Cells(*(_or_none(cell) for cell in cells)) for name, *cells in rows}


def width_rows(iteration: int, changes: Mapping[str, Cells], layers: Sequence[str]) -> list[Width]:
    """The rows of a run's table of formats for some layers, from an iteration on."""
    rows = []
    for name in layers:
        for operand, stored in changes[name]._asdict().items() if name in changes else ():
            if operand in MAC_OPERANDS or stored is not None:
                rows += [Width(iteration, name, operand, form, share) for form, share in _shares(stored).items()]
    return rows


def _shares(stored: Stored) -> dict[str, float]:
    if not isinstance(stored, BlockMap):
        return {"fp32" if stored is None else stored.name: 1.0}
    found, counts = np.unique(stored.widths.numpy(), return_counts=True)
    rows, columns = stored.block
    names = [parse_format(f"bfp{bits}:{rows}x{columns}").name for bits in found]
    return dict(zip(names, (counts / counts.sum()).round(6).tolist(), strict=True))


def _or_none(cell: object) -> Format | None:
    return cell if isinstance(cell, Format) and cell.name != "fp32" else None


@dataclass
class FracTrain:
    """Widths that step up when the training loss settles (Fu et al., NeurIPS 2020).

    Theirs: the rule and the widths. Ours: the loss is averaged over ``stretch`` iterations instead of an epoch, since a short run
    has few epochs; and only the stage changes over training, not the width from sample to sample (their input-adaptive part).
    """

    layers: Sequence[str]
    stretch: int
    forward: Sequence[int] = (3, 4, 6, 8)
    backward: Sequence[int] = (6, 6, 8, 8)
    _losses: list[float] = field(default_factory=list)
    _means: list[float] = field(default_factory=list)
    _stage: int = -1

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        stage = len(loss_plateaus(self._means, switches=len(self.forward) - 1))
        if stage == self._stage:
            return None
        self._stage = stage
        near, far = parse_format(f"int{self.forward[stage]}"), parse_format(f"int{self.backward[stage]}")
        return dict.fromkeys(self.layers, Cells(near, near, far))

    def watches(self, iteration: int) -> bool:
        return False

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        self._losses.append(loss)
        if len(self._losses) == self.stretch:
            self._means.append(float(np.mean(self._losses)))
            self._losses = []


@dataclass
class _Word:
    """AdaPT's state of one layer."""

    word: int = 8
    fraction: int = 4
    bins: int = 100
    lookback: int = 25
    strategy: str = "mean"
    steps: int = 0
    norms: float = 0.0
    total: Tensor | None = None


@dataclass
class Adapt:
    """A word length per layer that PushDown and PushUp move (Kummer et al., arXiv 2107.13490).

    Theirs: the rules, the start <8, 4>, 25 to 100 gradients between two decisions of a layer. Ours: weights are fixed point
    <WL, FL>; the activation and the error of the layer are integers of WL bits with a scale of their own, since their ranges
    have nothing to do with the weights'; AdaPT's penalty and sparsity are left out; a matmul keeps its start.
    """

    layers: Sequence[str]
    buffer: int = 4
    lookbacks: tuple[int, int] = (25, 100)
    _words: dict[str, _Word] = field(default_factory=dict)
    _changed: dict[str, Cells] = field(default_factory=dict)
    _losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.layers:
            self._words[name] = _Word(lookback=self.lookbacks[0])
            self._changed[name] = self._cells(name)

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        changed, self._changed = self._changed, {}
        return changed or None

    def watches(self, iteration: int) -> bool:
        return False

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        self._losses = [*self._losses, loss][-self.lookbacks[1] :]
        for name, layer in layers.items():
            weight, state = getattr(layer, "weight", None), self._words[name]
            if not isinstance(weight, Tensor) or weight.grad is None:
                continue
            state.norms += float(weight.grad.norm())
            state.total = weight.grad.clone() if state.total is None else state.total + weight.grad
            state.steps += 1
            if state.steps >= state.lookback:
                self._decide(name, weight.detach(), loss)

    def _decide(self, name: str, weight: Tensor, loss: float) -> None:
        state = self._words[name]
        assert state.total is not None
        norm = float(state.total.norm())
        diversity = state.norms / norm if norm > 0.0 else math.inf
        state.lookback = adapt_lookback(diversity, state.lookback, *self.lookbacks)
        state.bins = adapt_bins(state.lookback, state.bins, self.lookbacks)
        state.strategy = adapt_strategy(state.strategy, loss, float(np.mean(self._losses)))
        found = push_down(weight.numpy(), state.bins)
        found = push_up(diversity, *found, strategy=state.strategy, buffer=self.buffer)
        if found != (state.word, state.fraction):
            state.word, state.fraction = found
            self._changed[name] = self._cells(name)
        state.steps, state.norms, state.total = 0, 0.0, None

    def _cells(self, name: str) -> Cells:
        state = self._words[name]
        plain = parse_format(f"int{state.word}")
        return Cells(parse_format(f"fixed{state.word}_{state.fraction}"), plain, plain)


@dataclass
class Dynasty:
    """A width per 4x4 block of weights and activations from online sensitivity (after Liu et al., arXiv 2210.17047).

    The rule is :mod:`dse.precision.policies.blocks`'s, of which the source's formulas were not available. Ours too: the map of an
    activation is shared by the samples of a batch and found from their mean sensitivity; errors stay at eight bits, since
    the sensitivity of a loss to its own gradient is no such quantity.
    """

    layers: Sequence[str]
    interval: int = 25
    threshold: float = 16.0
    widths: Sequence[int] = WIDTHS
    momentum: float = 0.9
    _average: dict[tuple[str, str], Floats] = field(default_factory=dict)
    _changed: dict[str, Cells] = field(default_factory=dict)
    _losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        wide = parse_format(f"bfp{max(self.widths)}")
        self._changed = dict.fromkeys(self.layers, Cells(wide, wide, wide))

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        changed, self._changed = self._changed, {}
        return changed or None

    def watches(self, iteration: int) -> bool:
        return (iteration + 1) % self.interval == 0

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        self._losses = [*self._losses, loss][-4 * self.interval :]
        if not self.watches(iteration):
            return
        recent = float(np.mean(self._losses[-self.interval :]))
        self.threshold = adjusted_threshold(self.threshold, recent, float(np.mean(self._losses)))
        wide = parse_format(f"bfp{max(self.widths)}")
        for name, layer in layers.items():
            seen, weight = layer.control.seen, getattr(layer, "weight", None)
            stored: dict[str, Stored] = {"weight": wide, "activation": wide}
            if isinstance(weight, Tensor) and weight.grad is not None:
                stored["weight"] = self._map(name, "weight", layer, weight.detach(), weight.grad)
            if "activation gradient" in seen:
                found = self._map(name, "activation", layer, seen["activation"], seen["activation gradient"])
                stored["activation"] = found
            self._changed[name] = Cells(stored["weight"], stored["activation"], wide)

    def _map(self, name: str, operand: str, layer: Trained, x: Tensor, gradient: Tensor) -> BlockMap:
        values, slopes = (as_matrix(tensor, operand, layer.control.pictures).numpy() for tensor in (x, gradient))
        found = block_sensitivity(values, slopes, self.widths)
        found = found.mean(axis=tuple(range(found.ndim - 3)))
        average = smoothed(self._average.get((name, operand)), found, self.momentum)
        self._average[name, operand] = average
        return BlockMap(torch.from_numpy(block_widths(average, self.threshold, self.widths)))


@dataclass
class ActivationDensity:
    """Widths that shrink with the share of a layer's activations that are not zero (Vasquez et al., arXiv 2101.04354).

    Theirs: the rule and the start at 16 bits. Ours: when it is applied, ``times`` times after every ``interval`` iterations, to the
    activations of one step, as the width of weight and activation; never below ``narrowest`` bits; errors keep 16 bits.
    """

    layers: Sequence[str]
    interval: int
    times: int = 2
    start: int = 16
    narrowest: int = 2
    _bits: dict[str, int] = field(default_factory=dict)
    _changed: dict[str, Cells] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bits = dict.fromkeys(self.layers, self.start)
        self._changed = {name: self._cells(name) for name in self.layers}

    def before(self, iteration: int) -> Mapping[str, Cells] | None:
        changed, self._changed = self._changed, {}
        return changed or None

    def watches(self, iteration: int) -> bool:
        return (iteration + 1) % self.interval == 0 and (iteration + 1) // self.interval <= self.times

    def after(self, iteration: int, loss: float, layers: Layers) -> None:
        if not self.watches(iteration):
            return
        for name, layer in layers.items():
            if "activation" in layer.control.seen:
                density = activation_density(layer.control.seen["activation"].numpy())
                bits = density_bits(self._bits[name], density, self.narrowest)
                if bits != self._bits[name]:
                    self._bits[name] = bits
                    self._changed[name] = self._cells(name)

    def _cells(self, name: str) -> Cells:
        near = parse_format(f"int{self._bits[name]}")
        return Cells(near, near, parse_format(f"int{self.start}"))
