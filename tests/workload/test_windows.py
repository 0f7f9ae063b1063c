"""Strides, pads, dilations and filters that differ along axes, of one, two and three axes: sizes and counts against torch's."""

from math import prod

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from dse.errors import InputError  # noqa: E402
from dse.workload.load import network_from_document  # noqa: E402
from dse.yaml_input import parse_yaml  # noqa: E402

HEAD = "source: made up\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\n"


def layers(shape, operations):
    text = f"{HEAD}input: {shape}\nlayers: {operations}\n"
    return {layer.name: layer for layer in network_from_document(parse_yaml(text, "n"), "n").layers}


def refused(shape, operations):
    with pytest.raises(InputError) as caught:
        layers(shape, operations)
    return str(caught.value)


def test_audio_front_end_by_hand():
    """64 x 100, filter 5 x 3, stride 2 x 1, padding 2 x 1: 32 x 100 places, 8 x 1 x 15 products each."""
    a = layers("{C: 1, H: 64, W: 100}", "[{op: conv, name: a, K: 8, R: 5, S: 3, stride: [2, 1], pad: 2, pad_w: 1}]")["a"]
    assert (a.P, a.Q, a.stride, a.input_hw) == (32, 100, (2, 1), (64, 100))
    assert a.macs == 8 * 32 * 100 * 15 == 384_000


def test_doubling_decoder_by_hand():
    """(8 - 1) * 2 - 2 + 3 + 1 = 16 places from 8; each of the 8 x 8 inputs meets all 9 taps."""
    up = layers("{C: 4, H: 8, W: 8}", "[{op: conv_transpose, name: up, K: 4, R: 3, stride: 2, pad: 1, output_padding: 1}]")["up"]
    assert up.input_hw == (16, 16)
    assert up.output_elements == 4 * 16 * 16
    assert up.macs == 4 * 4 * 8 * 8 * 9
    without = layers("{C: 4, H: 8, W: 8}", "[{op: conv_transpose, name: up, K: 4, R: 3, stride: 2, pad: 1}]")["up"]
    assert without.input_hw == (15, 15)


def test_padding_of_four_sides_and_numbers_of_blocks():
    text = (
        "[{op: block, of: b, name: x, arguments: {p: 1, s: 2}}]\n"
        "blocks: {b: {parameters: [p, s], layers: [{op: conv, name: a, K: 2, R: 3, stride: [s, 1], pad: [p, 0, 2*p, p]}]}}"
    )
    a = layers("{C: 1, H: 9, W: 9}", text)["x.a"]
    assert (a.P, a.Q) == ((9 + 1 + 2 - 3) // 2 + 1, 9 + 0 + 1 - 3 + 1)


@st.composite
def convolutions(draw):
    """A convolution that has at least one position, as keys of a file and as arguments of torch."""
    axes, transposed = draw(st.integers(1, 3)), draw(st.booleans())
    groups, inside, outside = (draw(st.integers(1, 3)) for _ in range(3))
    taps, stride, dilation, pad, size, extra = [], [], [], [], [], []
    for _ in range(axes):
        taps.append(draw(st.integers(1, 4)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 3)))
        covered = dilation[-1] * (taps[-1] - 1) + 1
        pad.append(draw(st.integers(0, 2)))
        least = max(1, covered - 2 * pad[-1]) if not transposed else 1 + 2 * pad[-1]
        size.append(draw(st.integers(least, least + 6)))
        extra.append(draw(st.integers(0, max(stride[-1], dilation[-1]) - 1)) if transposed else 0)
    return axes, transposed, groups, inside * groups, outside * groups, taps, stride, dilation, pad, size, extra


@settings(max_examples=60)
@given(convolutions(), st.booleans())
def test_convolutions_have_the_sizes_and_counts_of_torch(case, bias):
    axes, transposed, groups, inside, outside, taps, stride, dilation, pad, size, extra = case
    kind = getattr(torch.nn, f"Conv{'Transpose' * transposed}{axes}d")
    more = {"output_padding": extra} if transposed else {}
    module = kind(
        inside, outside, taps, stride=stride, padding=pad, dilation=dilation, groups=groups, bias=bias, device="meta", **more
    )
    result = module(torch.zeros(1, inside, *size, device="meta"))
    shape = {
        1: f"{{C: {inside}, tokens: {size[0]}}}",
        2: f"{{C: {inside}, H: {size[0]}, W: {size[-1]}}}",
        3: f"{{C: {inside}, D: {size[0]}, H: {size[axes // 2]}, W: {size[-1]}}}",
    }[axes]
    op = f"conv{'_transpose' * transposed}{'' if axes == 2 else f'{axes}d'}"
    keys = dict(zip(("T", "R", "S")[3 - axes :] if axes != 1 else ("R",), taps, strict=True))
    filters = ", ".join(f"{key}: {value}" for key, value in keys.items())
    padding = f", output_padding: {extra}" if transposed else ""
    text = (
        f"[{{op: {op}, name: a, K: {outside}, {filters}, stride: {stride}, dilation: {dilation}, pad: {pad}, "
        f"groups: {groups}, bias: {str(bias).lower()}{padding}}}]"
    )
    layer = layers(shape, text)["a"]
    assert layer.output_elements == result.numel()
    assert layer.input_elements == inside * prod(size)
    assert layer.parameters == sum(parameter.numel() for parameter in module.parameters())
    meets_all_taps = prod(size) * inside if transposed else result.numel()
    assert layer.macs == meets_all_taps * (outside if transposed else inside) // groups * prod(taps)


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 8)), min_size=2, max_size=3),
    st.booleans(),
)
def test_pools_have_the_sizes_of_torch(channels, axes, ceil):
    taps, stride, dilation, more = map(list, zip(*axes, strict=True))
    size = [d * (t - 1) + 1 + m for t, d, m in zip(taps, dilation, more, strict=True)]
    pad = [t // 2 for t in taps]
    kind = torch.nn.MaxPool3d if len(axes) == 3 else torch.nn.MaxPool2d
    module = kind(taps, stride=stride, padding=pad, dilation=dilation, ceil_mode=ceil)
    result = module(torch.zeros(1, channels, *size, device="meta"))
    depth = f"D: {size[0]}, " if len(axes) == 3 else ""
    filters = ", ".join(f"{key}: {t}" for key, t in zip(("T", "R", "S")[3 - len(axes) :], taps, strict=True))
    text = (
        f"[{{op: pool, name: a, {filters}, stride: {stride}, dilation: {dilation}, pad: {pad}, ceil: {str(ceil).lower()}}}, "
        "{op: fc, name: f, K: 1}]"
    )
    found = layers(f"{{C: {channels}, {depth}H: {size[-2]}, W: {size[-1]}}}", text)
    assert found["a"].output_elements == result.numel() == found["f"].C
    assert found["a"].input_elements == channels * prod(size)
    assert prod(taps) == found["a"].R * found["a"].S


def test_volumes_flow_through_everything():
    """A clip of 4 images: norm and activation over all of it, a residual, a pool over the depth, a join, a classifier."""
    text = """
  - {op: conv3d, name: a, K: 6, R: 3, pad: 1, then: [norm, relu]}
  - {op: residual, name: sum, main: [{op: conv3d, name: b, K: 6, T: 3, R: 1, pad: [1, 0, 0], then: [norm]}]}
  - {op: pool, name: p, R: 2, stride: 2}
  - {op: upsample, name: u, stride: 2}
  - {op: concat, branches: [[{op: from, of: a.norm.relu}], []]}
  - {op: global_pool, name: g}
  - {op: linear, name: l, K: 5}
"""
    found = layers("{C: 3, D: 4, H: 8, W: 8}", text)
    assert found["a"].macs == 6 * 3 * 4 * 8 * 8 * 27
    assert found["a.norm"].output_elements == found["sum"].output_elements == 6 * 4 * 64
    assert found["b"].macs == 6 * 6 * 4 * 64 * 3
    assert found["b"].input_elements == 6 * 4 * 64
    assert found["p"].output_elements == 6 * 2 * 16
    assert found["u"].output_elements == 6 * 4 * 64
    assert (found["l"].C, found["l"].N) == (12, 1)
    tokens = layers("{C: 3, D: 4, H: 8, W: 8}", "[{op: tokens}, {op: linear, name: l, K: 5}]")
    assert tokens["l"].N == 4 * 64


def test_sums_of_rows_of_a_table():
    """DLRM (Naumov et al., arXiv 1906.00091): each result is the sum of some rows; here 3 results of 4 rows each."""
    from dse.workload.work.vector import vector_work

    bag = layers("{tokens: 12}", "[{op: embedding, name: e, rows: 100, K: 8, bag: 4}, {op: linear, name: l, K: 1}]")["e"]
    assert (bag.parameters, bag.output_elements) == (800, 24)
    assert vector_work(bag, "forward", True)[:3] == (96, 24, 72)
    assert vector_work(bag, "backward_data", True)[:3] == (24, 96, 96)


@pytest.mark.parametrize(
    ("shape", "operations", "message"),
    [
        ("{C: 1, H: 8, W: 8}", "[{op: conv, name: a, K: 1, R: 3, stride: [1, 2, 3]}]", "expected 1 or 2 numbers for the 2 axes"),
        ("{C: 1, H: 8, W: 8}", "[{op: conv, name: a, K: 1, R: 3, pad: [1, 2, 3]}]", "expected 1 or 2 or 4 numbers"),
        ("{C: 1, H: 8, W: 8}", "[{op: conv, name: a, K: 1, stride: [2, 0]}]", "stride[1] (line 7): expected an integer >= 1, got 0"),
        ("{C: 1, H: 8, W: 8}", "[{op: conv, name: a, K: 1, pad: [1, 1], pad_w: 2}]", "goes with one number as pad"),
        ("{C: 1, H: 8, W: 8}", "[{op: conv1d, name: a, K: 1}]", "op conv1d has no window along W, and the tensor here has W = 8"),
        ("{C: 1, D: 2, H: 8, W: 8}", "[{op: conv, name: a, K: 1}]", "op conv has no window along D"),
        ("{C: 1, D: 2, tokens: 4}", "[{op: conv, name: a, K: 1}]", "D (line 6): goes with H and W"),
        (
            "{C: 1, H: 8, W: 8}",
            "[{op: conv_transpose, name: a, K: 1, R: 3, stride: 2, output_padding: 2}]",
            "expected less than the stride of 2 or the dilation of 1, got 2",
        ),
        ("{C: 1, H: 1, W: 1}", "[{op: conv_transpose, name: a, K: 1, R: 3, pad: 2}]", "padding 2 and 2 leaves nothing of the 3"),
        ("{C: 1, H: 8, W: 8}", "[{op: conv, name: a, K: 1, R: 5, dilation: 3}]", "a window of 5 at dilation 3 does not fit an input of 8"),
        ("{tokens: 5}", "[{op: last_tokens, count: 6}]", "expected at most the 5 tokens that there are, got 6"),
        ("{tokens: 5}", "[{op: embedding, name: e, rows: 3, K: 2, bag: 2}]", "2 does not divide the 5 tokens"),
    ],
)  # fmt: skip
def test_input_errors(shape, operations, message):
    assert message in refused(shape, operations)
