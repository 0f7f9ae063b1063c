"""Labels of plans: in the grammar of short plans, and different for different plans of a table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.names import OPERANDS
from dse.precision import Plan
from dse.precision.plans.cells import Histogram
from dse.precision.plans.labels import READ_IN, plan_label, plan_labels


class Layer:
    def __init__(self, name):
        self.name = name


class Net:
    name = "three"
    layers = tuple(map(Layer, "abc"))


FORMATS = ("int2", "int4", "int8", "int8a", "uint8", "int8:channel", "fp32", "bf16", "fp8_e4m3", "fp8_e5m2", "mxfp8_e4m3", "mxfp8_e5m2",
           "mxint8", "bfp4", "bfp8:1x16", "mls_e2m4", "vsq4", "binary", "ternary")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "training", "inference"),
    [
        ("w4a8", "w4a8e8", "w4a8"),
        ("W2A4E6G16", "w2a4e6g16", "w2a4"),
        ("w4a8,stash=int4", "w4a8e8s4", "w4a8s4"),
        ("w8a8,stash=actnn2,accumulator=int16", "w8a8e8,stash=actnn2,accumulator=int16", "w8a8,stash=actnn2,accumulator=int16"),
        ("fp8_e4m3,error=fp8_e5m2", "fp8_e4m3,error=fp8_e5m2", "fp8_e4m3"),
        ("error=fp8_e5m2,fp8_e4m3", "fp8_e4m3,error=fp8_e5m2", "fp8_e4m3"),
        ("w4,activation=bf16", "w4,activation=bf16,error=bf16", "w4,activation=bf16"),
        ("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3"),
        ("w8a8,error=fp32", "w8a8,error=fp32", "w8a8"),
        ("w8a8,error=int32", "w8a8e32", "w8a8"),
        ("weight=int8a,activation=uint8", "weight=int8a,activation=uint8,error=uint8", "weight=int8a,activation=uint8"),
        ("int8,gradient=bf16", "w8a8e8,gradient=bf16", "w8a8"),
    ],
)
def test_short_plans_and_their_labels(text, training, inference):
    plan = Plan.parse(text, Net)
    assert (plan_label(plan), plan_label(plan, "inference")) == (training, inference)
    assert plan.label == training


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("w4a8,stash=int1", "'int1' is no number format; .*; did you mean 'binary'?"),
        ("w1a8", "did you mean 'binary'?"),
        ("w4a8,stahs=int4", "unknown operand 'stahs'; did you mean 'stash'?"),
        ("w4a8,weight=int8", "names an operand twice"),
        ("w4w8a8", "names an operand twice"),
        ("fp8_e4m3,bf16", "'bf16' is no part of one .* its operands have a format already"),
        ("w4a8,stash", "'stash' is no part of one"),
        ("w4a8,", "'' is no part of one"),
        ("stash=int4", "gives no weight"),
    ],
)
def test_what_is_no_short_plan(text, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        Plan.parse(text, Net)


formats = st.sampled_from(FORMATS)
mixes = st.builds(
    lambda share, block: Histogram.of({"bfp4": share, "bfp8": 1.0 - share}, block),
    st.sampled_from([0.25, 0.5, 0.75]),
    st.sampled_from([(4, 4), (1, 16)]),
)
cells = st.one_of(formats, formats, mixes)
rows = st.one_of(cells, st.fixed_dictionaries(dict.fromkeys("abc", cells)))
plans = st.fixed_dictionaries(
    {"weight": rows, "activation": rows, "error": rows},
    optional={"stash": st.sampled_from(["actnn2", "int4", "int8"]), "gradient": formats, "master": formats,
              "accumulator": st.sampled_from(["int16", "int32", "fp16"])},
).map(lambda formats: Plan.from_formats(Net, formats))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(plans, min_size=2, max_size=8), st.sampled_from(["training", "inference"]))
def test_plans_of_a_table_have_one_label_each(table, mode):
    labels = plan_labels(table, mode)
    read = [[plan.table[OPERANDS.index(operand)] for operand in READ_IN[mode]] for plan in table]
    for i, first in enumerate(read):
        for j, second in enumerate(read):
            assert (labels[i] == labels[j]) == (first == second)
    if mode == "inference":
        assert not any("error" in label or "gradient" in label for label in labels)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({"weight": formats, "activation": formats, "error": formats},
                             optional={"stash": st.sampled_from(["actnn2", "int4"]), "accumulator": st.just("int16")}))  # fmt: skip
def test_a_uniform_plans_label_is_that_plan(given_formats):
    plan = Plan.from_formats(Net, given_formats)
    assert Plan.parse(plan.label, Net) == plan


def test_labels_of_mixed_plans_say_the_range_and_are_told_apart():
    plan = Plan.from_formats(Net, {"weight": {"a": "int4", "b": "int8", "c": "int8"}, "activation": "int8", "error": "int8"})
    other = Plan.from_formats(Net, {"weight": {"a": "int8", "b": "int8", "c": "int4"}, "activation": "int8", "error": "int8"})
    assert plan.label == other.label == "w4-8a8e8"
    one, two, again = plan_labels([plan, other, plan])
    assert one == again != two
    assert one.startswith("w4-8a8e8#")
    assert plan_labels([plan]) == ("w4-8a8e8",)
    floats = Plan.from_formats(Net, {"weight": {"a": "bf16", "b": "fp16", "c": "bf16"}, "activation": "bf16", "error": "bf16"})
    assert floats.label == "weight=bf16|fp16,activation=bf16,error=bf16"
    blocks = Plan.from_formats(Net, dict.fromkeys(("weight", "activation", "error"), Histogram.of({"bfp4": 0.5, "bfp8": 0.5})))
    assert blocks.label == "bfp4-8"
