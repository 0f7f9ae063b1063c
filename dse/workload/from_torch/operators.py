"""Layers of the operators that torch runs, and the passes that its backward operators are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from dse.errors import InputError
from dse.names import PASSES
from dse.workload.from_torch.repeats import follow
from dse.workload.from_torch.tape import Record, Tape, leaves, storage
from dse.workload.layer import FUNCTIONS, Layer
from dse.workload.nests.fold import WindowAxis, with_axes

#: Matrix products, and at which argument their operands begin.
_PRODUCTS = {
    "mm": 0, "bmm": 0, "mv": 0, "dot": 0, "linear": 0, "_scaled_mm": 0, "_int_mm": 0,
    "addmm": 1, "baddbmm": 1, "addmv": 1, "addbmm": 1,
}  # fmt: skip
#: Operators that multiply in a form that has no layer.
_NO_LAYER = ("_trilinear", "_cdist_forward", "_native_multi_head_attention", "_transformer_encoder_layer_fwd")
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
    "leaky_relu", "leaky_relu_", "elu", "softplus", "mish", "clamp_min", "clamp", "pow", "rsqrt", "exp", "_prelu_kernel",
)  # fmt: skip
#: Pools with a window of their own as second argument, and those whose window follows from sizes.
_WINDOWED = ("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d")
_POOLS = (*_WINDOWED, "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "amax")
_RESIZES = (
    *(
        f"upsample_{way}"
        for way in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
    ),
    *(f"_upsample_nearest_exact{axes}d" for axes in (1, 2, 3)),
)
_SOFTMAXES = ("_softmax", "_log_softmax", "_safe_softmax")
_SUMS, _ELEMENTWISE = ("add", "add_", "sub"), ("mul", "mul_", "div")


def forward(torch: Any, tape: Tape, operator: str, args: Sequence[Any], made: Any) -> None:
    """Record what an operator of the forward pass is."""
    outputs, inputs = leaves(torch, made), leaves(torch, args)
    tape.latest = None
    before = [source for tensor in inputs for source in tape.sources.get(storage(tensor), ())]
    if outputs and any(storage(tensor) in tape.learns for tensor in inputs):
        tape.learns.update(storage(tensor) for tensor in outputs)
    if operator in _NO_LAYER:
        raise InputError("dse.trace", [f"torch runs {operator} in it, a product that no layer describes"])
    if operator == "convolution":
        _convolution(tape, args, made)
    elif operator in _PRODUCTS:
        _product(tape, operator, args, made)
    else:
        _vector(tape, operator, args, outputs, [item for item in inputs if item.is_floating_point()])
        tape.derive(inputs, outputs)
    follow(tape.repeats, operator, args, made, tape.batch)
    sources = list(dict.fromkeys(before)) if tape.latest is None else [tape.latest]
    tape.sources |= {storage(tensor): sources for tensor in outputs} if sources else {}


def backward(tape: Tape, operator: str, args: Sequence[Any], made: Any, recomputing: bool) -> None:
    """Find the layer of an operator of the backward pass and the pass that it is."""
    if operator == "convolution_backward":
        read, weight, mask = args[1], args[2], args[10]
        for wanted, pass_ in zip(mask, PASSES[1:], strict=False):
            if wanted:
                tape.seen(pass_, None, {storage(read)}, {storage(weight)})
    elif operator == "convolution" and recomputing:
        tape.recomputed(args[0], args[1], _convolution_macs(args, made))
    elif operator in _PRODUCTS:
        start = _PRODUCTS[operator]
        first, second = args[start : start + 2]
        macs = prod(first.shape) * (second.shape[-1] if second.ndim > 1 else 1)
        if recomputing:
            tape.recomputed(first, second, macs)
            return
        places = {storage(first), storage(second)}
        # The error of an operand is a product with the other operand.
        if not tape.seen(PASSES[1], macs, None, places) and not tape.seen(PASSES[2], macs, places, None):
            tape.seen_after_recomputing(macs)


def _convolution_macs(args: Sequence[Any], made: Any) -> int:
    """Multiply-accumulates of the whole batch."""
    read, weight, transposed = args[0], args[1], args[6]
    return int((read if transposed else made).numel() * weight[0].numel())


def _convolution(tape: Tape, args: Sequence[Any], made: Any) -> None:
    read, weight, bias, stride, _, dilation, transposed, _, groups = args[:9]
    over = weight.ndim - 2
    if not 1 <= over <= 3:
        raise InputError("dse.trace", [f"convolutions over {over} axes have no layer"])
    tape.one_sample |= read.shape[0] % tape.batch > 0 and not tape.is_weight(read)
    small, large = (read, made) if transposed else (made, read)
    steps = [[entry[axis if len(entry) > 1 else 0] for axis in range(over)] for entry in (stride, dilation)]
    axes = [
        WindowAxis(*sizes) for sizes in zip(large.shape[2:], small.shape[2:], weight.shape[2:], *steps, strict=True)
    ]
    layer = Layer(
        name=tape.weight_name(weight), kind="conv", N=tape.per_sample(read.shape[0]), G=groups,
        K=weight.shape[0] // groups, C=weight.shape[1], bias=bias is not None, transposed=bool(transposed),
    )  # fmt: skip
    layer = with_axes(layer, axes)
    tape.add(layer, read, weight, _convolution_macs(args, made), made)


def _product(tape: Tape, operator: str, args: Sequence[Any], made: Any) -> None:
    start = _PRODUCTS[operator]
    first, second = args[start : start + 2]
    bias = (operator in ("addmm", "addmv") and tape.is_weight(args[0])) or (
        operator == "linear" and len(args) > 2 and args[2] is not None
    )
    if operator == "linear":
        second = second.t()
    if second.ndim == 1:
        second = second[:, None]
    if tape.is_weight(first) and not tape.is_weight(second) and first.ndim > 1:
        first, second = second.transpose(-1, -2), first.transpose(-1, -2)
    rows = prod(first.shape[:-1]) if first.ndim < 3 else first.shape[-2]
    inner, width = first.shape[-1], second.shape[-1]
    groups = first.shape[0] if first.ndim == 3 else 1
    macs = rows * groups * inner * width
    if tape.is_weight(second):
        if storage(first) in tape.trained and tape.is_weight(first):
            _table(tape, first, None)
        copies = tape.copies(second)
        if groups % copies == 0:
            rows, groups = rows * copies, groups // copies
        layer = Layer(
            name=tape.weight_name(second), kind="fc", N=tape.per_sample(rows), G=groups, K=width, C=inner, bias=bias
        )
    else:
        # An attention of the rows of one sample to each other: both they and what is summed are as many as there are rows.
        tape.one_sample |= groups % tape.batch > 0 and rows == inner == tape.batch
        # Heads that share their keys are rows of one product.
        share = tape.repeated(second) if second.ndim == 3 else 1
        if groups % share == 0:
            rows, groups = rows * share, groups // share
        whole = groups % tape.batch == 0
        rows, groups = (rows, groups // tape.batch) if whole else (tape.per_sample(rows), groups)
        layer = Layer(name=tape.own_name("matmul"), kind="matmul", N=rows, G=groups, K=width, C=inner)
    tape.add(layer, first, second, macs, made)


def _vector(tape: Tape, operator: str, args: Sequence[Any], outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
    """Layers of an operator without MACs, and of the parameters that it reads."""
    if not outputs or not outputs[0].is_floating_point():
        return
    learns = storage(outputs[0]) in tape.learns
    if operator == "embedding":
        _table(tape, args[0], tape.per_sample(args[1].numel()))
        tape.joins(tape.records[-1], args[1])
        return
    if operator in _NORMS:
        _norm(tape, _NORMS[operator], args, outputs[0], inputs, learns)
        return
    if not all(tape.is_weight(item) for item in inputs):
        if operator in _SUMS and _bias(tape, inputs):
            return
        for item in inputs:
            if tape.is_weight(item) and storage(item) in tape.trained:
                _table(tape, item, None)
    whole = outputs[0].numel()
    operands = [
        item for item in inputs if (tape.batch * item.numel() == whole if tape.is_weight(item) else item.numel() > 1)
    ]
    pair = len(operands) > 1 and any(item.numel() == whole for item in operands)
    if operator in _ACTIVATIONS:
        kind = "activation"
    elif operator in _SOFTMAXES:
        kind = "softmax"
    elif operator in _RESIZES or operator in _POOLS:
        kind = "resize" if operator in _RESIZES else "pool"
    elif (operator in _SUMS or operator in _ELEMENTWISE) and pair:
        kind = "add" if operator in _SUMS else "multiply"
    else:
        return
    layer = replace(_sized(tape, kind, operator, args, outputs[0], inputs), function=_function(operator, kind))
    made_by = [item for item in inputs if tape.sources.get(storage(item))]
    tape.add_vector(layer, learns, *made_by[: 2 if kind in ("add", "multiply") else 1])


#: Functions by operator, as :data:`dse.workload.model.FUNCTIONS` calls them.
_FUNCTIONS = {
    "hardtanh": "hardtanh", "clamp_min": "relu", "clamp": "clip", "pow": "power", "_prelu_kernel": "prelu",
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "amax"), "max"),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean"), "average"),
}  # fmt: skip


def _function(operator: str, kind: str) -> str:
    """What an operator computes, as far as its backward pass depends on it."""
    if kind == "activation" or kind == "pool":
        name = operator.removesuffix("_")
        function = _FUNCTIONS.get(name, name)
        return function if function in FUNCTIONS else ""
    return ""


def _bias(tape: Tape, inputs: Sequence[Any]) -> bool:
    """Whether a sum adds a vector of parameters to a product that has no bias yet: it is the product's."""
    product = next((tape.made[storage(item)] for item in inputs if storage(item) in tape.made), None)
    vector = next((item for item in inputs if tape.is_weight(item) and item.ndim == 1), None)
    if product is None or vector is None or product.layer.kind != "fc" or product.layer.bias or product.layer.G > 1:
        return False
    if vector.shape[0] != product.layer.K:
        return False
    product.layer = replace(product.layer, bias=True)
    tape.latest = product
    return True


def _table(tape: Tape, table: Any, rows: int | None) -> None:
    """Rows that are read of a table; all of those (``rows`` None) of parameters that enter a sum, a product or a sequence."""
    base, size = tape.sizes[storage(table)]
    width = table.shape[-1] if table.ndim else 1
    if rows is None and tape.claimed.get(base):
        return
    held = max(size // width, 1)
    trained = storage(table) in tape.trained
    layer = Layer(
        name=tape.unique(tape.weight_name(table)), kind="embedding", N=rows or held, K=width, C=held, frozen=not trained,
        shared=not tape.claim(table, size),
    )  # fmt: skip
    passes = {"forward", *["backward_data"] * trained}
    tape.records.append(Record(layer, read=0, weight=storage(table), passes=passes))
    tape.sources[storage(table)] = [tape.records[-1]]


def _norm(tape: Tape, kind: str, args: Sequence[Any], made: Any, inputs: Sequence[Any], learns: bool) -> None:
    """A norm with its scales; one of instances runs as one of a batch over all channels of all samples."""
    weights = [item for item in inputs[1:] if tape.is_weight(item)]
    module = type(tape.modules[-1][1]).__name__ if tape.modules else ""
    samples, channels = made.shape[0], made.shape[min(1, made.ndim - 1)]
    if kind == "norm" and module.startswith("InstanceNorm"):
        kind, samples, channels = "layernorm", tape.batch, max(channels // tape.batch, 1)
    elif kind == "layernorm" and isinstance(args[1], (list, tuple)):
        channels = prod(args[1])
    rest = max(made.numel() // (channels * samples), 1) * tape.per_sample(samples)
    image = made.ndim > 3 and channels == made.shape[1] // (tape.batch if samples != made.shape[0] else 1)
    size = (tape.per_sample(samples) * made.shape[2], prod(made.shape[3:])) if image else (rest, 1)
    owned = bool(weights) and tape.claim(weights[0], channels)
    layer = Layer(
        name="", kind=kind, G=channels, P=size[0], Q=size[1], input_hw=size,
        bias=kind == "layernorm" and len(weights) > 1, shared=not owned,
        frozen=bool(weights) and storage(weights[0]) not in tape.trained,
    )  # fmt: skip
    tape.add_vector(layer, learns, inputs[0])


def _sized(tape: Tape, kind: str, operator: str, args: Sequence[Any], made: Any, inputs: Sequence[Any]) -> Layer:
    """A layer without MACs or parameters, with the size of what it makes."""
    shape = made.shape
    channels = shape[1] if len(shape) > 2 else shape[-1] if len(shape) else 1
    rest = max(made.numel() // channels, 1)
    size = (tape.per_sample(shape[0]) * shape[2], prod(shape[3:])) if len(shape) > 3 else (tape.per_sample(rest), 1)
    before, window = size, 1
    if kind in ("pool", "resize") and inputs:
        window = max(inputs[0].numel() // made.numel(), 1) if kind == "pool" else 1
        kernel = args[1] if operator in _WINDOWED else None
        given = inputs[0].shape
        before = (given[2], prod(given[3:])) if len(given) > 3 and len(shape) > 3 else (size[0] * window, 1)
        window = prod(kernel) if isinstance(kernel, (list, tuple)) else window
    return Layer(name=kind, kind=kind, G=channels, P=size[0], Q=size[1], R=window, input_hw=before)
