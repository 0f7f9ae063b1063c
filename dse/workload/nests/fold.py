"""Convolutions over one, two or three axes as nests, which have two window axes.

Of three axes one is folded: its output positions become samples (N) and its taps channels (C), as an unrolled filter bank does
it, ``Y[d] = sum over t of W[t] X[stride * d + dilation * t]``. Products, weights and results stay exact. Positions that overlap
along the folded axis read what they share once each, so the axis is taken for which that is least: an axis with one tap, as in
the 1x3x3 and 3x1x1 filters of (2+1)D networks (Tran et al., CVPR 2018), costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dse.workload.layer import Folded, Layer


@dataclass(frozen=True)
class WindowAxis:
    """One axis of a convolution; of a transposed one those of the convolution that it is the backward_data pass of.

    Attributes
    ----------
    input
        Size without padding.
    output
        Positions of the window.
    taps, stride, dilation
        Of the filter.
    """

    input: int
    output: int
    taps: int
    stride: int = 1
    dilation: int = 1


def with_axes(layer: Layer, axes: Sequence[WindowAxis]) -> Layer:
    """A convolution with its one, two or three window axes filled in, the outermost axis first.

    Parameters
    ----------
    layer
        Its N, G, K, C (per group, without taps) and everything else but P, Q, R, S, stride, dilation and input_hw.

    >>> volume = with_axes(Layer("a", "conv", K=8, C=4), [WindowAxis(10, 8, 3), WindowAxis(32, 30, 3), WindowAxis(32, 30, 3)])
    >>> volume.macs == 8 * 4 * 8 * 30 * 30 * 27, volume.input_elements == 4 * 10 * 32 * 32, volume.parameters == 8 * 4 * 27
    (True, True, True)
    """
    rest = list(axes)
    if len(rest) == 3:
        # How often the input is read if this axis is the folded one; the first of equals.
        again = [axis.output * axis.taps / axis.input for axis in rest]
        folded = rest.pop(again.index(min(again)))
        layer = replace(
            layer,
            N=layer.N * folded.output,
            C=layer.C * folded.taps,
            folded=Folded(folded.input, folded.output, folded.taps),
        )
    rest += [WindowAxis(1, 1, 1)] * (2 - len(rest))
    high, wide = rest
    return replace(
        layer,
        P=high.output,
        Q=wide.output,
        R=high.taps,
        S=wide.taps,
        stride=(high.stride, wide.stride),
        dilation=(high.dilation, wide.dilation),
        input_hw=(high.input, wide.input),
    )
