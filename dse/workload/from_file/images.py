"""Operations on images: convolutions, pools, resizing, and the fully connected layer over all pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dse.workload.from_file.build import Builder, Maker, Tensor, vector_passes
from dse.workload.from_file.schema import Operation
from dse.workload.model import Layer
from dse.yaml_input import Key


def convolution(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """A convolution, or with ``conv_transpose`` its transpose, whose bounds are those of the convolution that it mirrors."""
    channels = builder.number(operation, "K", scope, path, 1)
    rows = builder.number(operation, "R", scope, path, 1)
    columns = rows if operation.S is None else builder.number(operation, "S", scope, path, 1)
    stride = builder.number(operation, "stride", scope, path, 1)
    dilation = builder.number(operation, "dilation", scope, path, 1)
    pad = builder.number(operation, "pad", scope, path, 0)
    pad_w = pad if operation.pad_w is None else builder.number(operation, "pad_w", scope, path, 0)
    groups = builder.number(operation, "groups", scope, path, 1)
    if channels % groups or tensor.C % groups:
        builder.problem((*path, "groups"), f"{groups} does not divide {tensor.C} input and {channels} output channels")
        groups = 1
    transposed = operation.op == "conv_transpose"
    if transposed:
        height = max((tensor.H - 1) * stride - 2 * pad + dilation * (rows - 1) + 1, 1)
        width = max((tensor.W - 1) * stride - 2 * pad_w + dilation * (columns - 1) + 1, 1)
    else:
        height = window(builder, tensor.H, rows, stride, dilation, pad, False, path)
        width = window(builder, tensor.W, columns, stride, dilation, pad_w, False, path)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="conv",
        G=groups,
        K=(tensor.C if transposed else channels) // groups,
        C=(channels if transposed else tensor.C) // groups,
        P=tensor.H if transposed else height,
        Q=tensor.W if transposed else width,
        R=rows,
        S=columns,
        stride=(stride, stride),
        dilation=(dilation, dilation),
        input_hw=(height, width) if transposed else (tensor.H, tensor.W),
        bias=operation.bias,
        passes=builder.passes(operation, tensor),
        transposed=transposed,
        frozen=builder.frozen(operation),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, channels, height, width, builder.learns(operation, tensor))


def window(
    builder: Builder, size: int, extent: int, stride: int, dilation: int, pad: int, ceil: bool, path: Key
) -> int:
    """Positions of a window along one axis."""
    span = size + 2 * pad - dilation * (extent - 1) - 1
    if span < 0:
        builder.problem(path, f"a window of {extent} does not fit an input of {size} with padding {pad}")
        return 1
    return (-(-span // stride) if ceil else span // stride) + 1


def fully_connected(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """One layer over all channels and pixels of a sample."""
    channels = builder.number(operation, "K", scope, path, 1)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="fc",
        K=channels,
        C=tensor.C * tensor.H * tensor.W,
        bias=operation.bias,
        passes=builder.passes(operation, tensor),
        frozen=builder.frozen(operation),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, channels, 1, 1, builder.learns(operation, tensor))


def pool(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """A square window over each channel."""
    rows = builder.number(operation, "R", scope, path, 1)
    stride = builder.number(operation, "stride", scope, path, 1)
    pad = builder.number(operation, "pad", scope, path, 0)
    height = window(builder, tensor.H, rows, stride, 1, pad, operation.ceil, path)
    width = window(builder, tensor.W, rows, stride, 1, pad, operation.ceil, path)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="pool",
        G=tensor.C,
        P=height,
        Q=width,
        R=rows,
        S=rows,
        stride=(stride, stride),
        input_hw=(tensor.H, tensor.W),
        function="max",
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, tensor.C, height, width, tensor.learns)


def global_pool(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """One value per channel."""
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="pool",
        G=tensor.C,
        R=tensor.H,
        S=tensor.W,
        input_hw=(tensor.H, tensor.W),
        function="average",
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, tensor.C, 1, 1, tensor.learns)


def upsample(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """Repeats or interpolates pixels, ``stride`` times in each direction."""
    scale = builder.number(operation, "stride", scope, path, 1)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="resize",
        G=tensor.C,
        P=tensor.H * scale,
        Q=tensor.W * scale,
        input_hw=(tensor.H, tensor.W),
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return replace(tensor, producer=layer.name, H=tensor.H * scale, W=tensor.W * scale)


def pad_channels(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Mapping[str, int], path: Key
) -> Tensor:
    """Subsampling with new channels of zeros (shortcut option A of He et al.): nothing to compute, nothing to learn."""
    channels = builder.number(operation, "K", scope, path, tensor.C)
    stride = builder.number(operation, "stride", scope, path, 1)
    return replace(tensor, C=channels, H=-(-tensor.H // stride), W=-(-tensor.W // stride))


#: Makers of the operations of this module.
IMAGE_MAKERS: Mapping[str, Maker] = {
    "conv": convolution,
    "conv_transpose": convolution,
    "fc": fully_connected,
    "pool": pool,
    "global_pool": global_pool,
    "upsample": upsample,
    "pad_channels": pad_channels,
}
