"""Operations with windows over one, two or three axes, resizing, and the fully connected layer over all pixels.

Sizes follow PyTorch: a window of ``taps`` at ``dilation`` d covers ``d * (taps - 1) + 1`` places and takes
``floor((size + begin + end - covered) / stride) + 1`` positions; a transposed convolution makes
``(size - 1) * stride - begin - end + covered + output_padding`` places of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from dse.workload.from_file.build import Builder, Maker, Tensor, vector_passes
from dse.workload.from_file.schema import Operation
from dse.workload.model import Layer
from dse.workload.nests.fold import WindowAxis, with_axes
from dse.yaml_input import Key

Scope = Mapping[str, int]

#: Window axes of a convolution, the outermost first; of the others the tensor has size 1.
AXES = {"conv1d": ("H",), "conv": ("H", "W"), "conv3d": ("D", "H", "W")}
#: The key of the filter's size along an axis.
_TAPS = {"D": "T", "H": "R", "W": "S"}


@dataclass(frozen=True)
class Window:
    """A window along one axis; ``begin`` and ``end`` are the padding on both sides."""

    taps: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def covered(self) -> int:
        """Places from the first to the last tap."""
        return self.dilation * (self.taps - 1) + 1


def convolution(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """A convolution, or with ``conv_transpose`` its transpose, whose bounds are those of the convolution that it mirrors."""
    plain = operation.op.replace("_transpose", "")
    axes = AXES[plain]
    transposed = plain != operation.op
    channels = builder.number(operation, "K", scope, path, 1)
    groups = builder.number(operation, "groups", scope, path, 1)
    if channels % groups or tensor.C % groups:
        builder.problem((*path, "groups"), f"{groups} does not divide {tensor.C} input and {channels} output channels")
        groups = 1
    more = builder.numbers(operation, "output_padding", len(axes), scope, path, 0)
    sizes, made = [], {}
    windows = windows_of(builder, operation, axes, tensor, scope, path)
    for axis, window, extra in zip(axes, windows, more, strict=True):
        size = tensor.size(axis)
        if transposed:
            made[axis] = transposed_size(builder, size, window, extra, path)
            sizes.append(WindowAxis(made[axis], size, window.taps, window.stride, window.dilation))
        else:
            made[axis] = positions(builder, size, window, False, path)
            sizes.append(WindowAxis(size, made[axis], window.taps, window.stride, window.dilation))
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="conv",
        G=groups,
        K=(tensor.C if transposed else channels) // groups,
        C=(channels if transposed else tensor.C) // groups,
        bias=operation.bias,
        passes=builder.passes(operation, tensor),
        transposed=transposed,
        frozen=builder.frozen(operation),
    )
    builder.add(with_axes(layer, sizes), tensor, path)
    return replace(tensor.sized(made), producer=layer.name, C=channels, learns=builder.learns(operation, tensor))


def windows_of(
    builder: Builder, operation: Operation, axes: tuple[str, ...], tensor: Tensor, scope: Scope, path: Key
) -> list[Window]:
    """The window of an operation along its axes; a problem where the tensor is larger than 1 along another one."""
    for axis in "DHW":
        if axis not in axes and tensor.size(axis) > 1:
            size = f"{axis} = {tensor.size(axis)}"
            builder.problem(path, f"op {operation.op} has no window along {axis}, and the tensor here has {size}")
    rows = builder.number(operation, "R", scope, path, 1)
    taps = [
        rows if getattr(operation, key) is None else builder.number(operation, key, scope, path, 1)
        for key in map(_TAPS.__getitem__, axes)
    ]
    strides = builder.numbers(operation, "stride", len(axes), scope, path, 1)
    dilations = builder.numbers(operation, "dilation", len(axes), scope, path, 1)
    pads = builder.numbers(operation, "pad", len(axes), scope, path, 0, ends=True)
    if operation.pad_w is not None and not isinstance(operation.pad, list):
        pads[-1] = builder.number(operation, "pad_w", scope, path, 0)
        pads[len(axes) - 1] = pads[-1]
    begins, ends = pads[: len(axes)], pads[len(axes) :]
    return [Window(*fields) for fields in zip(taps, strides, dilations, begins, ends, strict=True)]


def positions(builder: Builder, size: int, window: Window, ceil: bool, path: Key) -> int:
    """Positions of a window along one axis; with ``ceil`` one more that starts inside the padded input but does not fit it."""
    span = size + window.begin + window.end - window.covered
    if span < 0:
        padding = f"padding {window.begin}" + (f" and {window.end}" if window.end != window.begin else "")
        covered = f"{window.taps}" + (f" at dilation {window.dilation}" if window.dilation > 1 else "")
        builder.problem(path, f"a window of {covered} does not fit an input of {size} with {padding}")
        return 1
    if not ceil:
        return span // window.stride + 1
    count = -(-span // window.stride) + 1
    return count - ((count - 1) * window.stride >= size + window.begin)


def transposed_size(builder: Builder, size: int, window: Window, extra: int, path: Key) -> int:
    """Size of a transposed convolution's output along one axis."""
    if extra >= max(window.stride, window.dilation):
        message = f"expected less than the stride of {window.stride} or the dilation of {window.dilation}, got {extra}"
        builder.problem((*path, "output_padding"), message)
    made = (size - 1) * window.stride - window.begin - window.end + window.covered + extra
    if made < 1:
        padding = f"{window.begin} and {window.end}"
        builder.problem((*path, "pad"), f"padding {padding} leaves nothing of the {made + window.begin + window.end}")
        return 1
    return made


def fully_connected(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key
) -> Tensor:
    """One layer over all channels and pixels of a sample."""
    channels = builder.number(operation, "K", scope, path, 1)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="fc",
        K=channels,
        C=tensor.C * tensor.pixels,
        bias=operation.bias,
        passes=builder.passes(operation, tensor),
        frozen=builder.frozen(operation),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, channels, 1, 1, builder.learns(operation, tensor))


def pool(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """A window over each channel, over the depth too where the tensor has one; its taps are counted as rows of the window."""
    axes = ("D", "H", "W") if tensor.D > 1 or operation.T is not None else ("H", "W")
    windows = windows_of(builder, operation, axes, tensor, scope, path)
    made = {
        axis: positions(builder, tensor.size(axis), window, operation.ceil, path)
        for axis, window in zip(axes, windows, strict=True)
    }
    after = tensor.sized(made)
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="pool",
        G=tensor.C,
        P=after.D * after.H,
        Q=after.W,
        R=prod(window.taps for window in windows[:-1]),
        S=windows[-1].taps,
        stride=(windows[-2].stride, windows[-1].stride),
        dilation=(windows[-2].dilation, windows[-1].dilation),
        input_hw=(tensor.D * tensor.H, tensor.W),
        function="max",
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return replace(after, producer=layer.name)


def global_pool(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """One value per channel."""
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="pool",
        G=tensor.C,
        R=tensor.D * tensor.H,
        S=tensor.W,
        input_hw=(tensor.D * tensor.H, tensor.W),
        function="average",
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return Tensor(layer.name, tensor.C, 1, 1, tensor.learns)


def upsample(builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key) -> Tensor:
    """Repeats or interpolates pixels, ``stride`` times along each axis."""
    axes = ("D", "H", "W") if tensor.D > 1 or _given(operation, "stride") == 3 else ("H", "W")
    scales = builder.numbers(operation, "stride", len(axes), scope, path, 1)
    after = tensor.sized({axis: tensor.size(axis) * scale for axis, scale in zip(axes, scales, strict=True)})
    layer = Layer(
        name=builder.name(operation, prefix, path),
        kind="resize",
        G=tensor.C,
        P=after.D * after.H,
        Q=after.W,
        input_hw=(tensor.D * tensor.H, tensor.W),
        passes=vector_passes(tensor),
    )
    builder.add(layer, tensor, path)
    return replace(after, producer=layer.name)


def pad_channels(
    builder: Builder, operation: Operation, tensor: Tensor, prefix: str, scope: Scope, path: Key
) -> Tensor:
    """Subsampling with new channels of zeros (shortcut option A of He et al.): nothing to compute, nothing to learn."""
    channels = builder.number(operation, "K", scope, path, tensor.C)
    axes = ("D", "H", "W") if tensor.D > 1 or _given(operation, "stride") == 3 else ("H", "W")
    strides = builder.numbers(operation, "stride", len(axes), scope, path, 1)
    made = {axis: -(-tensor.size(axis) // stride) for axis, stride in zip(axes, strides, strict=True)}
    return replace(tensor.sized(made), C=channels)


def _given(operation: Operation, key: str) -> int:
    """Numbers that a key has; 1 for a single one."""
    value = getattr(operation, key)
    return len(value) if isinstance(value, list) else 1


#: Makers of the operations of this module.
IMAGE_MAKERS: Mapping[str, Maker] = {
    **dict.fromkeys(("conv", "conv1d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose", "conv_transpose1d", "conv_transpose3d"), convolution),
    "fc": fully_connected,
    "pool": pool,
    "global_pool": global_pool,
    "upsample": upsample,
    "pad_channels": pad_channels,
}
