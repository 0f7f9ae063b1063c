"""``dse.prepare``: any torch module trained with the formats of a plan, a schedule or a policy, in its own training loop."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from dse.errors import InputError
from dse.precision.plans.plan import Plan
from dse.precision.schedules.schedule import Schedule
from dse.training.loops.choosers import Chooser, FracTrain, Scheduled, width_rows
from dse.training.measure_training import POLICIES, make_chooser
from dse.training.records import Width, measured_schedule
from dse.training.rounded.interceptor import Interceptor
from dse.training.rounded.layers import Control
from dse.workload.from_torch.trace import trace
from dse.workload.model import Network

#: What decides the formats: a plan, also in short (``w8a8e8``), a schedule, a policy's name (:data:`POLICIES`), or a chooser.
Decides: TypeAlias = Plan | Schedule | Chooser | str
#: Keys that a prepared module adds to its ``state_dict``.
_LOSSES, _GENERATOR = "dse_prepared.losses", "dse_prepared.generator"


class Wrapped(NamedTuple):
    """A layer as a policy looks at it."""

    control: Control
    weight: Tensor | None


@dataclass
class Prepared:
    """A module whose products are rounded; train it as before, and say :meth:`step` after each optimizer step.

    Attributes
    ----------
    module
        The module itself, changed in place until :meth:`restore`.
    network
        Its layers, as :func:`dse.trace` names them.
    unwrapped
        Layers with products that stay in full precision because torch runs them out of sight, with their share of the MACs.
    iteration
        Steps done.
    """

    module: nn.Module
    network: Network
    unwrapped: Mapping[str, float]
    controls: Mapping[str, Control]
    chooser: Chooser
    interceptor: Interceptor
    iteration: int = 0
    _losses: list[float] = field(default_factory=list)
    _rows: list[Width] = field(default_factory=list)
    _hooks: list[Any] = field(default_factory=list)

    def step(self, loss: Tensor | float | None = None) -> None:
        """An optimizer step is done: go on to the formats of the next one.

        Call it after ``backward`` and before gradients are zeroed; with gradient accumulation once per optimizer step. Plans and
        schedules need no loss, policies do.
        """
        value = float("nan") if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
        self.chooser.after(self.iteration, value, self._layers())
        self._losses.append(value)
        self.iteration += 1
        self._apply()

    def schedule(self, name: str = "prepared") -> Schedule:
        """The formats that were really trained with, as the cost model charges them.

        Raises
        ------
        InputError
            No step was done.
        """
        if not self.iteration:
            raise InputError("dse.prepare", ["no step was done: there is no schedule yet"])
        done = [row for row in self._rows if row.iteration < self.iteration]
        return measured_schedule(done, self.network, self.iteration, name)

    def restore(self) -> nn.Module:
        """Take all rounding out again; parameters, which never were rounded, stay as they are."""
        self.interceptor.detach()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        _forget_compiled()
        return self.module

    def state_dict(self) -> dict[str, Tensor]:
        """Losses of the steps done and the state of stochastic rounding; also among the module's own ``state_dict``.

        Raises
        ------
        InputError
            AdaPT and DYNASTY remember tensors of every layer: a run with them cannot be stopped and resumed.
        """
        if not isinstance(self.chooser, Scheduled | FracTrain):
            kind = type(self.chooser).__name__
            raise InputError(
                "dse.prepare", [f"{kind} remembers tensors that a state does not hold: it cannot be resumed"]
            )
        losses = torch.tensor(self._losses, dtype=torch.float64)
        return {_LOSSES: losses, _GENERATOR: self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken, on a module that was prepared anew with the same plan, schedule or policy."""
        if self.iteration:
            raise InputError("dse.prepare", [f"{self.iteration} steps were done already: load before the first"])
        for loss in state[_LOSSES].tolist():
            self.step(loss)
        self._generator.set_state(state[_GENERATOR].cpu())

    def attach(self) -> None:
        """Begin to round; :func:`prepare` does this."""
        self.interceptor.attach()
        self._hooks = [
            self.module.register_state_dict_post_hook(partial(self._save_hook)),
            self.module.register_load_state_dict_pre_hook(partial(self._load_hook)),
        ]
        _forget_compiled()
        self._apply()

    def _apply(self) -> None:
        changes = self.chooser.before(self.iteration)
        if changes is not None:
            for name, cells in changes.items():
                if name in self.controls:
                    self.controls[name].take(*cells)
            self._rows += width_rows(self.iteration, changes, [name for name in self.controls if name in changes])
        watched = self.chooser.watches(self.iteration)
        for control in self.controls.values():
            control.watch = watched
            control.seen.clear()

    def _layers(self) -> dict[str, Wrapped]:
        weights = {}
        for key, parameter in self.module.named_parameters():
            weights[re.sub(r"(\.weight|_weight)$", "", key)] = parameter
        return {name: Wrapped(control, weights.get(name)) for name, control in self.controls.items()}

    @property
    def _generator(self) -> torch.Generator:
        return next(iter(self.controls.values())).generator

    def _save_hook(self, _module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
        if isinstance(self.chooser, Scheduled | FracTrain):
            state |= {f"{prefix}{key}": value for key, value in self.state_dict().items()}

    def _load_hook(self, _module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        held = {key: state.pop(f"{prefix}{key}") for key in (_LOSSES, _GENERATOR) if f"{prefix}{key}" in state}
        if len(held) == 2:
            self.load_state_dict(held)


def prepare(
    module: nn.Module,
    inputs: Any,
    decides: Decides,
    *,
    iterations: int | None = None,
    stochastic: Sequence[str] = ("error",),
    seed: int = 0,
) -> Prepared:
    """Round weights, activations and errors of every product of a module, in place, wherever it is trained.

    Parameters
    ----------
    module
        Any module; convolutions, linear layers, attention, matrix products, LSTM and GRU are wrapped, by the names that
        :func:`dse.trace` gives them. Parameters stay as they are, so that any optimizer works.
    inputs
        As :func:`dse.trace` takes them; only shapes and types matter.
    decides
        A plan or schedule of the traced network (``dse.trace(module, inputs)``), a plan in short such as ``w8a8e8`` or
        ``fp8_e4m3,error=fp8_e5m2``, or a policy: ``cpt``, ``fractrain``, ``adapt``, ``dynasty``.
    iterations
        Steps of the whole run, which ``cpt`` and ``fractrain`` need.
    stochastic
        Operands that are rounded stochastically; the others to nearest. A checkpoint that recomputes a layer draws other numbers
        for its weight and activation.
    seed
        Of stochastic rounding.

    Raises
    ------
    InputError
        The module cannot be traced, layers that the plan does not name, formats that training does not follow, no product that
        can be wrapped, or a module that is prepared already.
    """
    hooks = [getattr(hook, "func", None) for hook in module._state_dict_hooks.values()]
    if any(isinstance(getattr(hook, "__self__", None), Prepared) for hook in hooks):
        raise InputError("dse.prepare", ["the module is prepared already; restore() it first"])
    network, seen = _probed(module, inputs)
    chooser = _chooser(decides, network, iterations)
    layers = [layer for layer in network.layers if layer.macs]
    total = sum(layer.macs for layer in layers)
    # What runs again with other sizes has a name of its own in the trace and the formats of its first run.
    wrapped = [layer.name for layer in layers if layer.name in seen]
    bases = set(wrapped)
    out = {
        layer.name: layer.macs / total
        for layer in layers
        if layer.name not in bases and re.sub(r"_[0-9]+$", "", layer.name) not in bases
    }
    if not wrapped:
        raise InputError("dse.prepare", ["torch runs all of its products out of sight: nothing can be rounded"])
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    generator = torch.Generator(device=device).manual_seed(seed)
    controls = {name: Control(stochastic=frozenset(stochastic), generator=generator) for name in wrapped}
    prepared = Prepared(module, network, out, controls, chooser, Interceptor(module, controls))
    prepared.attach()
    return prepared


def _chooser(decides: Decides, network: Network, iterations: int | None) -> Chooser:
    if isinstance(decides, str) and decides in POLICIES:
        if iterations is None and decides in ("cpt", "fractrain"):
            raise InputError("dse.prepare", [f"{decides} needs the steps of the whole run: iterations=..."])
        return make_chooser(network, iterations or 1, None, None, decides)
    if isinstance(decides, str):
        decides = Plan.parse(decides, network)
    if isinstance(decides, Plan):
        missing = [layer.name for layer in network.mac_layers if layer.name not in decides.layers]
        if missing:
            names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise InputError(
                "dse.prepare",
                [f"the plan of {decides.network} has no layer {names}; plan for dse.trace(module, inputs)"],
            )
        return Scheduled(Schedule.static(decides, 1), network)
    return Scheduled(decides, network) if isinstance(decides, Schedule) else decides


def _forget_compiled() -> None:
    """Graphs that ``torch.compile`` made run on without the hooks that a module got or lost since: let it make them anew."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _probed(module: nn.Module, inputs: Any) -> tuple[Network, set[str]]:
    """The traced network, and names of its products that can be seen from above autograd."""
    probe = Interceptor(module, {})
    probe.attach()
    try:
        return trace(module, inputs), set(probe.seen)
    finally:
        probe.detach()
