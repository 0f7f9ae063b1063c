"""Groups along one axis: two copies, one that is requantized from a wide one, or one for all; memory and traffic by hand."""

import pytest

import dse
from dse.cost.tensors.copies import error_bits, turning
from dse.cost.tensors.memory import footprint, kept_bits
from dse.precision import Plan
from dse.precision.formats.properties import parse_format
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {tokens: 32, C: 32}
layers:
  - {op: linear, name: a, K: 64}
  - {op: linear, name: b, K: 32}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")
HW = dse.load_hardware("mx_trainer")
MX = "mxfp8_e4m3"
#: All sides are multiples of 32, so that every group is whole whichever way it lies.
BITS = 8.25
FIRST, SECOND = 32 * 64, 64 * 32
READ, MIDDLE, LAST = 32 * 32, 32 * 64, 32 * 32


def plan(copies="", form=MX):
    return Plan.uniform(NET, form, form, form, copies=copies)


def moved(given):
    return dse.evaluate(NET, HW, given).layers.set_index(["layer", "pass"])["dram_bits"]


@pytest.mark.parametrize(
    ("form", "way"),
    [
        ("mxfp8_e4m3", "two"),
        ("mxint8", "two"),
        ("mxfp8_e4m3:8x8", "one"),
        ("bfp8:4x4", "one"),
        ("int8", "one"),
        ("bf16", "one"),
    ],
)
def test_formats_say_how_often_they_are_kept(form, way):
    assert turning(plan(form=form), parse_format(form)) == way
    for asked in ("two", "requantize", "one"):
        assert turning(plan(asked, form), parse_format(form)) == (asked if way == "two" else "one")


def test_memory():
    two, wide, one = (footprint(NET, plan(copies)) for copies in ("two", "requantize", "one"))
    # The first layer has no backward_data, so that its weight is read one way.
    assert two["weights"] == BITS * (FIRST + 2 * SECOND)
    assert wide["weights"] == one["weights"] == BITS * (FIRST + SECOND)
    assert kept_bits(NET, plan("two")) == kept_bits(NET, plan("one")) == BITS * (READ + MIDDLE)
    assert kept_bits(NET, plan("requantize")) == 16 * (READ + MIDDLE)
    assert plan() != plan("two")
    assert footprint(NET, plan()) == two


def test_traffic():
    two, wide, one = (moved(plan(copies)) for copies in ("two", "requantize", "one"))
    # Forward the inputs are written once more, along the other axis, or wide; the optimizer writes the second layer's weight again.
    assert two["b", "forward"] - one["b", "forward"] == BITS * MIDDLE
    assert wide["b", "forward"] - one["b", "forward"] == 16 * MIDDLE
    assert two["b", "optimizer"] - one["b", "optimizer"] == BITS * SECOND
    assert wide["b", "optimizer"] == one["b", "optimizer"]
    # Errors that both backward passes read are written again.
    assert two["b", "backward_weight"] - one["b", "backward_weight"] == BITS * LAST
    assert two["b", "backward_data"] == one["b", "backward_data"]
    # Wide ones are read instead: the master copy, and 16 bits of inputs and errors.
    assert wide["b", "backward_data"] > one["b", "backward_data"] + (32 - BITS) * SECOND
    assert wide["b", "backward_weight"] >= one["b", "backward_weight"] + (16 - BITS) * (MIDDLE + LAST)
    energy = [dse.evaluate(NET, HW, plan(copies)).total["quantize_j"][0] for copies in ("one", "two", "requantize")]
    assert energy[0] < energy[1] < energy[2] * (1 + 1e-12)


def test_inference_multiplies_one_way():
    costs = [dse.evaluate(NET, HW, plan(copies), mode="inference").total for copies in ("two", "requantize", "one")]
    for cost in costs[1:]:
        assert cost["energy_j"][0] == costs[0]["energy_j"][0]
        assert cost["peak_memory_bits"][0] == costs[0]["peak_memory_bits"][0]


def test_a_plan_says_it_in_short_in_a_file_and_in_its_label(tmp_path):
    short = Plan.parse(f"{MX},copies=requantize", NET)
    assert short == plan("requantize")
    assert "copies=requantize" in short.label
    short.save(tmp_path / "plan.yaml")
    assert "copies: requantize" in (tmp_path / "plan.yaml").read_text()
    assert Plan.load(tmp_path / "plan.yaml", NET) == short
    (tmp_path / "plan.yaml").write_text(short.to_yaml().replace("copies: requantize", "copies: three"))
    with pytest.raises(dse.InputError, match=r"copies \(line \d+\): 'three' is unknown"):
        Plan.load(tmp_path / "plan.yaml", NET)
    with pytest.raises(dse.InputError, match="'three' is unknown"):
        Plan.parse(f"{MX},copies=three", NET)


def test_errors_are_written_as_the_backward_pass_of_their_readers_writes_results():
    """FP32 results: an error is 32 bits wide where a convolution or a classifier reads the tensor, and in the layer's own 8 else."""
    text = """source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 4, H: 6, W: 6}
layers:
  - {op: conv, name: a, K: 8, R: 3, pad: 1, then: [norm, relu]}
  - op: residual
    main:
      - {op: conv, name: b, K: 8, R: 3, pad: 1, then: [norm, relu]}
      - {op: conv, name: c, K: 8, R: 3, pad: 1, then: [norm]}
  - {op: relu, name: r}
  - {op: global_pool, name: p}
  - {op: fc, name: f, K: 10}
  - {op: loss, name: l}
"""
    net = network_from_document(parse_yaml(text, "net.yaml"), "net")
    bits = dict(zip((layer.name for layer in net.layers), error_bits(net, Plan.parse("w8a8e8,result=fp32", net)), strict=True))
    # A norm and the ReLU that runs in its place hold one tensor.
    wide = {"a.norm", "a.norm.relu", "b.norm", "b.norm.relu", "p"}
    assert bits == {name: 32.0 if name in wide else 8.0 for name in bits}


def test_copies_of_a_plan_without_groups_along_an_axis_mean_nothing(tmp_path):
    (tmp_path / "plan.yaml").write_text("weight: int8\nactivation: 'mxfp8_e4m3:8x8'\nerror: bf16\ncopies: requantize\n")
    with pytest.raises(dse.InputError, match=r"copies \(line 4\): means nothing here"):
        Plan.load(tmp_path / "plan.yaml", NET)
    with pytest.raises(dse.InputError, match="copies=two means nothing here"):
        Plan.parse("w8a8,copies=two", NET)
    assert "copies" not in plan("two", "int8").to_yaml()
