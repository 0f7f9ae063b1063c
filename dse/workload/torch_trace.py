"""``dse.trace``: a torch model as a network, from the operators that the framework really runs, forward and backward.

The model runs on meta tensors, which have shapes and no data, under a dispatch mode that sees every operator below autograd: the
products inside of attention, and only those gradients that autograd asks for. Which layer a backward operator belongs to follows
from the tensors that it shares with the forward pass.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from dse.errors import InputError
from dse.workload.model import PASSES, Layer, Network

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "linear")
_NORMS = {
    "native_batch_norm": "norm",
    "_native_batch_norm_legit": "norm",
    "_native_batch_norm_legit_no_training": "norm",
    "_native_batch_norm_legit_functional": "norm",
    "cudnn_batch_norm": "norm",
    "native_layer_norm": "layernorm",
    "native_group_norm": "layernorm",
    "_fused_rms_norm": "layernorm",
}
_ACTIVATIONS = (
    "relu", "relu_", "gelu", "silu", "silu_", "sigmoid", "tanh", "hardswish", "hardswish_", "hardtanh", "hardtanh_", "hardsigmoid",
    "leaky_relu", "leaky_relu_", "elu", "softplus", "mish", "clamp_min", "clamp", "pow", "rsqrt", "exp",
)  # fmt: skip
_POOLS = ("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "mean", "amax")
_RESIZES = ("upsample_nearest2d", "upsample_bilinear2d", "_upsample_nearest_exact2d")
_SOFTMAXES = ("_softmax", "_log_softmax", "_safe_softmax")


@dataclass
class _Record:
    """A forward operator that makes a layer, with the storages that its backward operators share."""

    layer: Layer
    read: int = 0
    weight: int = 0
    passes: set[str] = field(default_factory=lambda: {"forward"})


@dataclass
class _Tape:
    """What was seen so far."""

    batch: int
    parameters: Mapping[int, str]
    trained: set[int]
    records: list[_Record] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    learns: set[int] = field(default_factory=set)
    held: list[Any] = field(default_factory=list)
    forward: bool = True


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
        Samples that the inputs hold; default: the leading axis of the first tensor. Layers are per sample.
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
    parameters = {_storage(tensor): key for key, tensor in state.items()}
    trained = {_storage(tensor) for tensor in state.values() if tensor.requires_grad}
    samples = batch or (tensors[0].shape[0] if tensors[0].ndim else 1)
    tape = _Tape(samples, parameters, trained, held=[*state.values(), *tensors])
    tape.learns |= trained
    hooks = _watch_modules(model, tape)
    try:
        with (
            torch.device("meta"),
            torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]),
            _recorder(torch, tape),
        ):
            made = torch.func.functional_call(model, state, tuple(arguments), named)
            tape.forward = False
            ends = [item for item in _leaves(torch, made) if item.requires_grad]
            if training and ends:
                torch.autograd.backward(ends, [torch.ones_like(item) for item in ends])
    except InputError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"dse.trace of {source}", [f"the model does not run on meta tensors: {lines[0]}"]) from None
    finally:
        for hook in hooks:
            hook.remove()
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
            "dse.trace", ["'torch' is not installed; it comes with the extra: pip install 'dse[torch]'"]
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


def _watch_modules(model: Any, tape: _Tape) -> list[Any]:
    def leave(*_: Any) -> None:
        tape.modules.pop()

    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, path=path: tape.modules.append(path)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    return hooks


def _recorder(torch: Any, tape: _Tape) -> Any:
    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            # Storages are told apart by address, so none may be freed while the model runs.
            tape.held.extend(_leaves(torch, made, every=True))
            operator = func.overloadpacket.__name__
            if tape.forward:
                _forward(torch, tape, operator, args, made)
            else:
                _backward(torch, tape, operator, args)
            return made

    return Recorder()


def _leaves(torch: Any, value: Any, every: bool = False) -> list[Any]:
    """Floating-point tensors inside of a result (with ``every``, all tensors)."""
    if isinstance(value, torch.Tensor):
        return [value] if every or value.is_floating_point() else []
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(torch, item, every)]
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _leaves(torch, item, every)]
    return []


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


def _forward(torch: Any, tape: _Tape, operator: str, args: Sequence[Any], made: Any) -> None:
    outputs = _leaves(torch, made, every=True)
    inputs = _leaves(torch, args, every=True)
    if outputs and any(_storage(tensor) in tape.learns for tensor in inputs):
        tape.learns.update(_storage(tensor) for tensor in outputs)
    if operator == "convolution":
        _convolution(tape, args, made)
    elif operator in _PRODUCTS:
        _product(tape, operator, args)
    else:
        _vector(torch, tape, operator, args, outputs, inputs)


def _convolution(tape: _Tape, args: Sequence[Any], made: Any) -> None:
    read, weight, bias, stride, _, dilation, transposed, _, groups = args[:9]
    if weight.ndim not in (3, 4):
        raise InputError("dse.trace", [f"convolutions over {weight.ndim - 2} axes have no layer"])
    one = weight.ndim == 3
    last = (lambda shape: 1) if one else (lambda shape: shape[3])
    small, large = (read, made) if transposed else (made, read)
    layer = Layer(
        name=_weight_name(tape, weight), kind="conv", N=_per_sample(tape, read.shape[0]), G=groups,
        K=weight.shape[0] // groups, C=weight.shape[1], P=small.shape[2], Q=last(small.shape),
        R=weight.shape[2], S=last(weight.shape),
        stride=(stride[0], 1 if one else stride[-1]), dilation=(dilation[0], 1 if one else dilation[-1]),
        input_hw=(large.shape[2], last(large.shape)), bias=bias is not None, transposed=bool(transposed),
    )  # fmt: skip
    _add(tape, layer, read, weight)


def _product(tape: _Tape, operator: str, args: Sequence[Any]) -> None:
    first, second = args[1:3] if operator in ("addmm", "baddbmm", "addmv") else args[:2]
    bias = operator == "addmm" or (operator == "linear" and len(args) > 2 and args[2] is not None)
    if operator == "linear":
        second = second.t()
    if second.ndim == 1:
        second = second[:, None]
    if _storage(first) in tape.parameters and _storage(second) not in tape.parameters:
        first, second = second.transpose(-1, -2), first.transpose(-1, -2)
    rows, inner, width = (
        prod(first.shape[:-1]) if first.ndim == 2 else first.shape[-2],
        first.shape[-1],
        second.shape[-1],
    )
    groups = first.shape[0] if first.ndim == 3 else 1
    if _storage(second) in tape.parameters:
        name = _weight_name(tape, second)
        layer = Layer(name=name, kind="fc", N=_per_sample(tape, rows), G=groups, K=width, C=inner, bias=bias)
    elif groups % tape.batch == 0:
        layer = Layer(name=_own_name(tape, "matmul"), kind="matmul", N=rows, G=groups // tape.batch, K=width, C=inner)
    else:
        name = _own_name(tape, "matmul")
        layer = Layer(name=name, kind="matmul", N=_per_sample(tape, rows), G=groups, K=width, C=inner)
    _add(tape, layer, first, second)


def _vector(
    torch: Any, tape: _Tape, operator: str, args: Sequence[Any], outputs: Sequence[Any], inputs: Sequence[Any]
) -> None:
    if not outputs or not outputs[0].is_floating_point():
        return
    large = [item for item in inputs if item.is_floating_point() and item.numel() == outputs[0].numel()]
    passes = {"forward", *["backward_data"] * (_storage(outputs[0]) in tape.learns)}
    shape = outputs[0].shape
    bias, shared = False, False
    if operator in _NORMS:
        kind = _NORMS[operator]
        weights = [item for item in inputs if _storage(item) in tape.parameters]
        bias, shared = len(weights) > 1, not weights
    elif operator in _ACTIVATIONS:
        kind = "activation"
    elif operator in _SOFTMAXES:
        kind = "softmax"
    elif operator in _RESIZES or operator in _POOLS:
        kind = "resize" if operator in _RESIZES else "pool"
    elif operator in ("add", "add_", "sub") and len(large) > 1:
        kind = "add"
    elif operator in ("mul", "mul_", "div") and len(large) > 1:
        kind = "multiply"
    elif operator == "embedding":
        table, index = args[:2]
        layer = Layer(
            name=_weight_name(tape, table), kind="embedding",
            N=_per_sample(tape, index.numel()), K=table.shape[1], C=table.shape[0],
            frozen=_storage(table) not in tape.trained,
        )  # fmt: skip
        tape.records.append(_Record(layer, _storage(index), _storage(table), passes))
        return
    else:
        return
    channels = shape[1] if len(shape) > 2 else shape[-1]
    if kind == "layernorm" and operator != "native_group_norm":
        channels = prod(args[1])
    rest = max(outputs[0].numel() // channels, 1)
    size = (_per_sample(tape, shape[0]) * shape[2], prod(shape[3:])) if len(shape) > 3 else (_per_sample(tape, rest), 1)
    before = size
    window = 1
    if kind in ("pool", "resize") and inputs:
        window = max(inputs[0].numel() // outputs[0].numel(), 1) if kind == "pool" else 1
        kernel = args[1] if operator in ("max_pool2d_with_indices", "avg_pool2d") else None
        given = inputs[0].shape
        before = (given[2], prod(given[3:])) if len(given) > 3 and len(shape) > 3 else (size[0] * window, 1)
        window = prod(kernel) if isinstance(kernel, (list, tuple)) else window
    layer = Layer(
        name=_own_name(tape, "" if kind in ("norm", "layernorm") else kind), kind=kind, G=channels, P=size[0], Q=size[1], R=window,
        input_hw=before, bias=bias, shared=shared,
    )  # fmt: skip
    tape.records.append(_Record(layer, passes=passes))


def _add(tape: _Tape, layer: Layer, read: Any, weight: Any) -> None:
    """Record a layer with MACs; weights that run again, as in every time step, make the same layer run again."""
    place = _storage(weight)
    for record in tape.records:
        if place in tape.parameters and record.weight == place and record.layer.kind == layer.kind:
            if replace(record.layer, repeats=1, name=layer.name, frozen=False) == layer:
                repeats = record.layer.repeats + 1
                record.layer = replace(record.layer, repeats=repeats)
                return
            layer = replace(layer, shared=True)
    frozen = layer.kind != "matmul" and place not in tape.trained
    name = layer.name if layer.kind == "matmul" else _unique(tape, layer.name)
    tape.records.append(_Record(replace(layer, name=name, frozen=frozen), _storage(read), place))


def _backward(torch: Any, tape: _Tape, operator: str, args: Sequence[Any]) -> None:
    """Find the layer of a backward operator and the pass that it is."""
    if operator == "convolution_backward":
        place, mask = _storage(args[2]), args[10]
        for record in reversed(tape.records):
            if record.weight == place and record.layer.kind == "conv":
                record.passes |= {PASSES[1]} if mask[0] else set()
                record.passes |= {PASSES[2]} if mask[1] else set()
                return
        return
    if operator not in _PRODUCTS:
        return
    first, second = args[1:3] if operator in ("addmm", "baddbmm") else args[:2]
    macs = prod(first.shape) * second.shape[-1]
    places = {_storage(first), _storage(second)}
    for record in reversed(tape.records):
        layer = record.layer
        if layer.kind not in ("fc", "matmul") or layer.macs * tape.batch != macs * layer.repeats:
            continue
        for pass_, shared in ((PASSES[1], record.weight), (PASSES[2], record.read)):
            if shared in places and (pass_ not in record.passes or layer.repeats > 1):
                record.passes.add(pass_)
                return


def _layers(tape: _Tape, training: bool) -> tuple[Layer, ...]:
    readers: dict[int, int] = {}
    for record in tape.records:
        if record.layer.has_macs:
            readers[record.read] = readers.get(record.read, 0) + 1
    result = []
    first: dict[int, str] = {}
    for record in tape.records:
        passes = tuple(pass_ for pass_ in PASSES if pass_ in record.passes) if training else ("forward",)
        layer = replace(record.layer, passes=passes)
        if layer.has_macs and readers[record.read] > 1:
            layer = replace(layer, tie=f"input of {first.setdefault(record.read, layer.name)}")
        result.append(layer)
    return tuple(result)


def _weight_name(tape: _Tape, weight: Any) -> str:
    """The module of a parameter, as importing an ONNX file names it."""
    key = tape.parameters.get(_storage(weight), "")
    name = key.removesuffix(".weight").removesuffix("_weight")
    return name or _own_name(tape, "layer")


def _own_name(tape: _Tape, kind: str) -> str:
    """Name of what has no parameter of its own: the module that runs, and the kind where that says something new."""
    module = tape.modules[-1] if tape.modules else ""
    name = ".".join(part for part in (module, kind) if part) or kind
    return _unique(tape, module if module and kind in ("activation", "pool", "softmax") else name)


def _unique(tape: _Tape, name: str) -> str:
    tape.names[name] = tape.names.get(name, 0) + 1
    return name if tape.names[name] == 1 else f"{name}_{tape.names[name]}"


def _per_sample(tape: _Tape, count: int) -> int:
    return count // tape.batch if count % tape.batch == 0 else count
