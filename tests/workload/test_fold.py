"""Convolutions over three axes on a nest with two window axes."""

from math import prod

from hypothesis import given
from hypothesis import strategies as st

from dse.workload.load import network_from_document
from dse.workload.model import Folded, Layer, Network, network_text
from dse.workload.nests.fold import WindowAxis, with_axes
from dse.yaml_input import parse_yaml


@st.composite
def window_axes(draw):
    taps, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    output = draw(st.integers(1, 9))
    used = (output - 1) * stride + dilation * (taps - 1) + 1
    return WindowAxis(max(1, used + draw(st.integers(-2, 2))), output, taps, stride, dilation)


def test_first_layer_of_c3d_by_hand():
    """C3D (Tran et al., ICCV 2015): 3 -> 64 channels, 3x3x3, padding 1, 16 frames of 112 x 112."""
    layer = with_axes(Layer("conv1a", "conv", K=64, C=3, bias=True), [WindowAxis(16, 16, 3)] + 2 * [WindowAxis(112, 112, 3)])
    assert layer.macs == 64 * 3 * 27 * 16 * 112 * 112
    assert layer.parameters == 64 * 3 * 27 + 64
    assert (layer.input_elements, layer.output_elements) == (3 * 16 * 112**2, 64 * 16 * 112**2)
    assert layer.folded == Folded(16, 16, 3)
    assert (layer.N, layer.C, layer.R, layer.S) == (16, 9, 3, 3)


def test_an_axis_with_one_tap_folds_without_reading_twice():
    """The 1x3x3 and 3x1x1 halves of a (2+1)D convolution: what the nest reads is the tensor."""
    flat = with_axes(Layer("s", "conv", K=8, C=4), [WindowAxis(6, 6, 1), WindowAxis(9, 7, 3), WindowAxis(9, 7, 3)])
    assert (flat.N, flat.C, flat.P, flat.Q, flat.R, flat.S) == (6, 4, 7, 7, 3, 3)
    deep = with_axes(Layer("t", "conv", K=8, C=4), [WindowAxis(6, 4, 3), WindowAxis(9, 9, 1), WindowAxis(5, 5, 1)])
    assert (deep.N, deep.C, deep.P, deep.R, deep.Q, deep.input_hw) == (9, 4, 4, 3, 5, (6, 5))


@given(st.lists(window_axes(), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_counts_are_those_of_the_convolution_over_all_axes(axes, groups, channels, transposed):
    base = Layer("a", "conv", N=2, G=groups, K=3, C=channels, bias=True, transposed=transposed)
    layer = with_axes(base, axes)
    inputs, outputs, taps = (prod(getattr(axis, name) for axis in axes) for name in ("input", "output", "taps"))
    large, small = 2 * groups * channels * inputs, 2 * groups * 3 * outputs
    assert layer.macs == 2 * groups * 3 * channels * outputs * taps
    assert layer.parameters == groups * (3 * channels * taps + (channels if transposed else 3))
    assert (layer.input_elements, layer.output_elements) == ((small, large) if transposed else (large, small))
    assert (layer.folded is None) == (len(axes) < 3)
    net = Network("net", "test", (layer,), 1, 1, 1)
    again = network_from_document(parse_yaml(network_text(net), ""), "net")
    assert again == net
