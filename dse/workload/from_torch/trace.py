"""``dse.trace``: a torch model as a network, from the operators that the framework really runs, forward and backward.

The model runs on meta tensors, which have shapes and no data, under a dispatch mode that sees every operator below autograd: the
products inside of attention, and only those gradients that autograd asks for. Which layer a backward operator belongs to follows
from the tensors that it shares with the forward pass.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dse.errors import InputError
from dse.names import PASSES
from dse.workload.from_torch.operators import backward, forward
from dse.workload.from_torch.tape import Record, Tape, leaves, storage
from dse.workload.layer import Layer, tied_inputs
from dse.workload.model import Network


def trace(
    model: Any, inputs: Any, *, name: str | None = None, batch: int | None = None, training: bool = True
) -> Network:
    """A torch module as a network.

    Parameters
    ----------
    model
        A ``torch.nn.Module``; its weights may lie anywhere, also on the meta device, and are not read.
    inputs
        A tensor, or a tuple or list of positional arguments, or a mapping of named ones; only shapes and types matter.
    name
        Of the network; default: the class of the model.
    batch
        Samples that the inputs hold; default: the leading axis of the first tensor, or its second one where a recurrent module
        reads steps first (``batch_first=False``); one where a convolution, an attention or a recurrent module takes the first
        tensor as a single sample. Layers are per sample.
    training
        Run the backward pass too; without it, layers have a forward pass alone.

    Raises
    ------
    InputError
        torch is not installed; the model does not run on meta tensors; nothing in it multiplies.
    """
    torch = _torch()
    source = type(model).__name__
    if not isinstance(model, torch.nn.Module):
        raise InputError("dse.trace", [f"expected a torch.nn.Module, got a {source}"])
    arguments, named = _arguments(torch, inputs)
    tensors = [item for item in (*arguments, *named.values()) if isinstance(item, torch.Tensor)]
    if not tensors:
        raise InputError("dse.trace", ["expected at least one tensor among the inputs"])
    state = _meta_state(torch, model)
    samples = batch or _samples(torch, model, state, arguments, named, tensors[0])
    tape = _tape(model, state, samples, tensors)
    hooks = _watch_modules(model, tape)
    step = _step(torch, model, tape, training)
    try:
        with _recorder(torch, tape):
            _run(torch, step, {f"model.{key}": tensor for key, tensor in state.items()}, arguments, named)
    except InputError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"dse.trace of {source}", [f"the model does not run on meta tensors: {lines[0]}"]) from None
    finally:
        for hook in hooks:
            hook.remove()
    if tape.one_sample and batch is None:
        return trace(model, inputs, name=name, batch=1, training=training)
    layers = _layers(tape, training)
    if not any(layer.macs for layer in layers):
        raise InputError(f"dse.trace of {source}", ["nothing in it multiplies; the network would be empty"])
    return Network(
        name=name or source,
        source=f"traced from {type(model).__module__}.{source} with torch {torch.__version__}",
        layers=layers,
        batch=samples,
        samples=samples,
        epochs=1,
    )


def _torch() -> Any:
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torch.nn.attention")
        importlib.import_module("torch.utils._python_dispatch")
    except ImportError:
        raise InputError(
            "dse.trace", ["'torch' is not installed; it comes with the extra: pip install 'lowprec-dse[torch]'"]
        ) from None
    return torch


def _arguments(torch: Any, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    def meta(item: Any) -> Any:
        return torch.empty_like(item, device="meta").requires_grad_(False) if isinstance(item, torch.Tensor) else item

    if isinstance(inputs, Mapping):
        return [], {key: meta(item) for key, item in inputs.items()}
    listed = inputs if isinstance(inputs, (tuple, list)) else [inputs]
    return [meta(item) for item in listed], {}


def _meta_state(torch: Any, model: Any) -> dict[str, Any]:
    """Parameters and buffers without data; shared ones stay shared."""
    copies: dict[int, Any] = {}
    result = {}
    for key, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        if id(tensor) not in copies:
            copies[id(tensor)] = torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
        result[key] = copies[id(tensor)]
    return result


def _tape(model: Any, state: Mapping[str, Any], samples: int, tensors: Sequence[Any]) -> Tape:
    names: dict[int, tuple[str, ...]] = {}
    for key, tensor in state.items():
        names[storage(tensor)] = (*names.get(storage(tensor), ()), key)
    sizes = {storage(tensor): (storage(tensor), int(tensor.numel())) for tensor in state.values()}
    trained = {storage(tensor) for tensor in state.values() if tensor.requires_grad}
    sources: dict[int, list[Record | None]] = {storage(tensor): [None] for tensor in tensors}
    held = [*state.values(), *tensors]
    return Tape(samples, names, sizes, trained, learns=set(trained), sources=sources, held=held)


def _samples(
    torch: Any, model: Any, state: Mapping[str, Any], arguments: Sequence[Any], named: Mapping[str, Any], first: Any
) -> int:
    """Samples of the first input: its leading axis, or the second one where a recurrent module reads it step by step; one where
    such a module reads a single sequence."""
    recurrent = [module for module in model.modules() if isinstance(module, torch.nn.RNNBase)]
    read: list[tuple[Any, Any]] = []
    hooks = [module.register_forward_pre_hook(lambda own, args: read.append((own, args[0]))) for module in recurrent]
    try:
        if recurrent:
            _run(torch, model, state, arguments, named)
    except Exception:
        # The real run says what is wrong.
        read = []
    finally:
        for hook in hooks:
            hook.remove()
    # Packed sequences say nothing of their axes.
    read = [(own, tensor) for own, tensor in read if isinstance(tensor, torch.Tensor)]
    if any(tensor.ndim == 2 for _, tensor in read):
        return 1
    by_step = [tensor for own, tensor in read if not own.batch_first]
    steps = bool(by_step) and first.ndim > 1 and by_step[0].shape[:2] == first.shape[:2]
    return int(first.shape[1] if steps else first.shape[0]) if first.ndim else 1


def _run(torch: Any, model: Any, state: Mapping[str, Any], arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    with torch.device("meta"), torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        return torch.func.functional_call(model, dict(state), tuple(arguments), dict(named))


def _step(torch: Any, model: Any, tape: Tape, training: bool) -> Any:
    """Forward and backward as one module, so that what is recomputed on the way back finds the parameters without data too."""

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arguments: Any, **named: Any) -> None:
            made = self.model(*arguments, **named)
            tape.forward = False
            ends = [item for item in leaves(torch, made) if item.requires_grad]
            if training and ends:
                torch.autograd.backward(ends, [torch.ones_like(item) for item in ends])

    return Step()


def _watch_modules(model: Any, tape: Tape) -> list[Any]:
    def leave(*_: Any) -> None:
        tape.modules.pop()

    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda own, *_, path=path: tape.modules.append((path, own))))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    return hooks


def _recorder(torch: Any, tape: Tape) -> Any:
    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            tape.held.extend(leaves(torch, made))
            operator = func.overloadpacket.__name__
            if tape.forward:
                forward(torch, tape, operator, args, made)
            else:
                # Autograd computes gradients without recording; what is recorded meanwhile is a recomputed forward pass.
                backward(tape, operator, args, made, torch.is_grad_enabled())
            return made

    return Recorder()


def _layers(tape: Tape, training: bool) -> tuple[Layer, ...]:
    readers: dict[int, int] = {}
    for record in tape.records:
        if record.layer.has_macs:
            readers[record.read] = readers.get(record.read, 0) + 1
    result = []
    first: dict[int, str] = {}
    for record in tape.records:
        seen = record.passes.union(*(run.passes for run in record.runs))
        passes = tuple(pass_ for pass_ in PASSES if pass_ in seen) if training else ("forward",)
        layer = replace(record.layer, passes=passes)
        if layer.has_macs and readers[record.read] > 1:
            layer = replace(layer, tie=f"input of {first.setdefault(record.read, layer.name)}")
        reads, second = (
            tuple(dict.fromkeys("" if source is None else source.layer.name for source in sources))
            for sources in (record.reads, record.reads_second)
        )
        result.append(replace(layer, reads=reads or second, reads_second=second if reads else ()))
    return tied_inputs(result)
