"""What every family multiplies, by every format: what the element holds, worked out by hand from its file."""

import numpy as np
import pytest

import dse
from dse.cost.jobs.formats import takes_format
from dse.hardware import load_hardware
from dse.hardware.elements import FAMILIES
from dse.hardware.model import ARITHMETIC, ProcessingElement
from dse.hardware.pe import pe_mode
from dse.hardware.takes import element_in_words, multiplies, operands_in_words, significand_bits
from dse.precision.formats.model import ARITHMETIC as OF_FORMATS
from dse.precision.formats.properties import parse_format

#: Formats of every kind, with the digits of their significand and exponent where elements carry one.
FORMATS = ["int16", "int8", "int5", "int4", "int2", "binary", "ternary", "fixed16_8", "fixed8_4", "bfp4", "bfp8", "mxint8", "vsq4", "mls_e2m1", "mls_e2m4", "mls_e1m5", "mls_e3m1", "fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "s2fp8"]
INTEGERS_TO_8 = {"int8", "int5", "int4", "int2", "binary", "ternary", "fixed8_4", "bfp4", "bfp8", "mxint8", "vsq4", "mls_e2m1", "mls_e2m4", "mls_e1m5", "mls_e3m1"}
INTEGERS_TO_16 = INTEGERS_TO_8 | {"int16", "fixed16_8"}
FLOATS_TO_E5_P4 = {"fp8_e4m3", "fp8_e5m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1"}
TAKEN = {
    "gemmini": INTEGERS_TO_8,                                       # fixed, 8 x 8
    "eyeriss": INTEGERS_TO_16,                                      # fixed, 16 x 16
    "bit_fusion": INTEGERS_TO_16,                                   # composable, 8 x 8, twice as wide in four steps
    "stripes_like": INTEGERS_TO_16,                                 # bit-serial activations up to 16
    "flexblock_like": INTEGERS_TO_16,                               # block floating point, 16 x 16 in one step
    "mls_unit": {"mls_e2m1", "mls_e2m4", "int5", "int4", "int2", "binary", "ternary", "bfp4", "vsq4"},  # core of 5 digits, exponent of 2 bits
    "fp8_trainer": FLOATS_TO_E5_P4,
    "mx_trainer": INTEGERS_TO_8 | FLOATS_TO_E5_P4,                  # MXINT8, MXFP8/6, MXFP4
    "a100": FLOATS_TO_E5_P4 | {"fp16", "bf16", "tf32"},             # 11 digits, exponent of 8 bits: TF32 has 11 and 8
    "fp32_trainer": FLOATS_TO_E5_P4 | {"fp16", "bf16", "tf32", "fp32", "s2fp8"},
}


@pytest.mark.parametrize("hardware", TAKEN)
def test_an_element_takes_what_it_holds(hardware):
    pe = load_hardware(hardware).pe
    assert {name for name in FORMATS if takes_format(pe, parse_format(name))} == TAKEN[hardware]


def test_rooms_speak_the_same_words():
    assert ARITHMETIC == OF_FORMATS


def test_every_family_is_in_the_table():
    assert {load_hardware(name).pe.family for name in TAKEN} | {"bit_serial_2d", "bit_serial_lookup"} == set(FAMILIES)


def operand(bits, kind, exponent=0):
    return bits, {"integer": 0, "mls": 1, "float": 2}[kind], exponent


@pytest.mark.parametrize(
    ("pe", "first", "second", "taken"),
    [
        # Weights of 4 bits by BF16 activations: a float unit takes the integer as a number of its own.
        (ProcessingElement("float", 11, 11, exponent_bits=8, significand_bits=11), operand(4, "integer"), operand(8, "float", 8), True),
        (ProcessingElement("float", 11, 11, exponent_bits=5, significand_bits=11), operand(4, "integer"), operand(8, "float", 8), False),
        (ProcessingElement("float", 11, 11, exponent_bits=8, significand_bits=11), operand(16, "integer"), operand(8, "float", 8), False),
        (ProcessingElement("float", 11, 11, exponent_bits=8, significand_bits=11), operand(8, "integer"), operand(8, "integer"), False),
        (ProcessingElement("composable"), operand(8, "integer"), operand(4, "float", 4), False),
        (ProcessingElement("bit_serial_2d"), operand(8, "integer"), operand(7, "mls", 2), True),
        (ProcessingElement("bit_serial_2d"), operand(4, "float", 4), operand(4, "float", 4), False),
        (ProcessingElement("multi_mode", modes=((8, 8, 1.0),)), operand(4, "float", 4), operand(4, "float", 4), False),
        (ProcessingElement("mls", 7, 7, exponent_bits=2, significand_bits=5), operand(7, "mls", 2), operand(7, "integer"), False),
        (ProcessingElement("mls", 7, 7, exponent_bits=2, significand_bits=5), operand(7, "mls", 2), operand(6, "integer"), True),
    ],
)  # fmt: skip
def test_pairs_of_two_kinds(pe, first, second, taken):
    for pair in ((first, second), (second, first)):
        bits, kinds, exponents = (np.array(column) for column in zip(*pair, strict=True))
        assert multiplies(pe, bits, kinds, exponents) == taken


def test_digits_of_a_significand():
    assert significand_bits([16, 1, 24, 6], [0, 0, 2, 1], [0, 0, 8, 1]).tolist() == [15, 0, 24, 6]


def test_words_name_the_cause():
    assert operands_in_words(np.array([5, 1]), np.array([1, 0]), np.array([2, 0])) == (
        "an MLS element with a significand of 3 and an exponent of 2 bits by an integer of 1 bits"
    )
    widest = {"bit_fusion": "16 x 16", "gemmini": "8 x 8", "flexblock_like": "32 x 32", "unpu_like": None, "stripes_like": None}
    for name, words in widest.items():
        pe = load_hardware(name).pe
        said = element_in_words(pe)
        assert said.startswith("integers")
        assert words is None or words in said
        # The widest pair that the sentence names runs, one bit more does not.
        w, a = map(int, said.removesuffix(" bits").split("at most ")[1].split(" x "))
        assert pe_mode(pe, w, a).supported
        assert not pe_mode(pe, w + 1, a).supported
        assert not pe_mode(pe, w, a + 1).supported


@pytest.mark.parametrize(
    ("hardware", "plan", "words"),
    [
        ("mx_trainer", "bf16", ["floating-point numbers with significands of at most 4", "floats with significands of 8 and 8 and exponents of 8 and 8 bits"]),
        ("mx_trainer", "fp16", ["floats with significands of 11 and 11 and exponents of 5 and 5 bits"]),
        ("fp8_trainer", "w8a8e8", ["integers of 8 and 8 bits", "floating-point numbers", "fp8_e4m3"]),
        ("bit_fusion", "fp8_e4m3", ["floats with significands of 4 and 4", "integers of at most 16 x 16 bits", "int8"]),
        ("mls_unit", "mls_e1m5", ["MLS elements with significands of 6 and 6 and exponents of 1 and 1 bits", "significands of at most 5"]),
    ],
)
def test_what_is_refused_is_said_in_words(hardware, plan, words):
    network = dse.load_workload("cifar_resnet20")
    total = dse.evaluate(network, dse.load_hardware(hardware), dse.Plan.parse(plan, network)).total.iloc[0]
    assert not total["feasible"]
    for word in words:
        assert word in total["limit"]


@pytest.mark.parametrize(("hardware", "plan"), [("mx_trainer", "mxfp8_e4m3"), ("mx_trainer", "mxint8"), ("mx_trainer", "mxfp4_e2m1"), ("fp8_trainer", "fp8_e5m2")])
def test_what_the_source_says_runs(hardware, plan):
    network = dse.load_workload("cifar_resnet20")
    assert dse.evaluate(network, dse.load_hardware(hardware), dse.Plan.parse(plan, network), mode="inference").total["feasible"].all()
