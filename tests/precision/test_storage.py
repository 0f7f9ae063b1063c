"""What tensors take in memory: scales as the tensor's shape cuts its groups, counted here by laying the groups out one by one."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.precision import Plan
from dse.precision.formats import Matrix, parse_format, stored_bits, tensor_bits
from dse.precision.plans.cells import Histogram
from dse.precision.plans.plan import cell_bits

GROUPED = ["mxfp8_e4m3", "mxfp4_e2m1:16", "mxint8", "bfp4", "bfp6:1x16", "bfp4:2x8", "int4:vector16", "int4a:vector2x3", "vsq4"]
OTHERS = ["int8", "int8:channel", "uint8:channel", "binary", "ternary", "fp8_e4m3", "mls_e2m4", "s2fp8", "actnn2", "fixed8_4"]
matrices = st.builds(
    Matrix, st.integers(1, 5), st.integers(1, 70), st.integers(1, 300), st.integers(1, 40), st.sampled_from([1, 9, 49])
)


def laid_out(matrix: Matrix, height: int, width: int) -> int:
    """Groups that hold at least one element, found element by element."""
    corners = product(range(matrix.stack), range(matrix.rows), range(matrix.columns))
    return len({(n, row // height, column // width) for n, row, column in corners})


@given(st.sampled_from(GROUPED), st.builds(Matrix, st.integers(1, 3), st.integers(1, 9), st.integers(1, 70)))
def test_groups_are_those_that_cover_the_tensor(name, matrix):
    form = parse_format(name)
    outer = form.outer_bits * matrix.channels if form.outer == "channel" else 0
    expected = matrix.elements * form.element_bits + laid_out(matrix, *form.group) * form.scale_bits + outer
    assert tensor_bits(form, matrix) == expected
    assert stored_bits(form, matrix=matrix) == pytest.approx(expected / matrix.elements)


@pytest.mark.parametrize(
    ("name", "matrix", "bits"),
    [
        ("mxfp8_e4m3", Matrix(1, 40, 9), 8 + 8 / 9),  # depthwise 3x3: one block of nine
        ("mxfp8_e4m3", Matrix(1, 64, 40), 8.4),  # 40 = 32 + 8
        ("mxfp8_e4m3", Matrix(1, 8, 64), 8.25),
        ("int4:vector128", Matrix(1, 8, 64), 4.25),  # 64 of 128
        ("int4:vector128", Matrix(1, 8, 200), 4 + 2 * 16 / 200),  # a tail
        ("bfp4", Matrix(1, 5, 6), 4 + 2 * 2 * 8 / 30),
        ("int8:channel", Matrix(1, 40, 9, 40), 8 + 32 / 9),
        ("int8", Matrix(1, 2, 5), 8 + 32 / 10),
        ("mls_e2m4", Matrix(1, 16, 64 * 9, 16, 9), 7 + 9 / 9 + 32 / (16 * 64 * 9)),
        ("mls_e2m4", Matrix(1, 10, 64, 10), 7 + 9 / 64 + 32 / 640),  # no planes: rows
        ("actnn2", Matrix(1, 16, 300), 2 + 19 * 32 / 4800),  # 4800 elements in groups of 256 as they lie
        ("vsq4", Matrix(1, 4, 40, 4), 4 + 3 * 6 / 40 + 32 / 40),
        ("fp16", Matrix(3, 4, 5), 16.0),
    ],
)
def test_by_hand(name, matrix, bits):
    assert stored_bits(parse_format(name), matrix=matrix) == pytest.approx(bits)


@given(st.sampled_from(GROUPED + OTHERS), matrices)
def test_a_tensor_never_takes_less_than_its_elements_nor_than_whole_groups(name, matrix):
    form = parse_format(name)
    assert tensor_bits(form, matrix) >= matrix.elements * form.element_bits
    if form.granularity == "group":
        assert stored_bits(form, matrix=matrix) >= stored_bits(form) - 1e-12


@given(st.sampled_from(GROUPED), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_whole_groups_take_what_the_format_takes(name, stack, tall, wide):
    form = parse_format(name)
    matrix = Matrix(stack, tall * form.group[0], wide * form.group[1], channels=0)
    assert stored_bits(form, matrix=matrix) == pytest.approx(stored_bits(form))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_map_has_an_entry_for_every_block(rows, columns):
    matrix = Matrix(1, rows, columns)
    mixed = Histogram.of({"bfp4": 0.25, "bfp6": 0.5, "bfp8": 0.25})
    blocks = laid_out(matrix, 4, 4)
    assert cell_bits(mixed, matrix) == pytest.approx(6.0 + blocks * (8 + 2) / matrix.elements)


class Net:
    name = "two"

    class Layer:
        def __init__(self, name):
            self.name = name

    layers = (Layer("a"), Layer("b"))


def test_a_plan_takes_the_shape_of_every_layer():
    plan = Plan.from_formats(Net, {"weight": {"a": "mxfp8_e4m3", "b": "int8:channel"}, "activation": "int8", "error": "int8"})
    shapes = [Matrix(1, 4, 9, 4), Matrix(1, 4, 9, 4)]
    assert plan.stored_bits("weight", matrices=shapes).tolist() == pytest.approx([8 + 8 / 9, 8 + 32 / 9])
    # One number for the whole tensor does not move with its tiles.
    assert plan.stored_bits("activation", matrices=shapes).tolist() == [8.0, 8.0]
    assert plan.stored_bits("weight").tolist() == [8.25, 8.0]
