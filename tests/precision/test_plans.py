"""Plans: defaults, ties, histograms, and the file that a plan is saved in."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.names import MAC_OPERANDS, OPERANDS
from dse.precision import Histogram, Joint, Plan, parse_format
from dse.precision.plans.cells import formats_of


@dataclass(frozen=True)
class Layer:
    name: str
    has_macs: bool = True
    tie: str = ""


@dataclass(frozen=True)
class Net:
    name: str
    layers: tuple[Layer, ...]


NET = Net(
    "toy",
    (
        Layer("conv1"),
        Layer("bn1", has_macs=False),
        Layer("block.conv1", tie="block"),
        Layer("block.downsample", tie="block"),
        Layer("add", has_macs=False),
        Layer("fc"),
        Layer("loss", has_macs=False),
    ),
)
MACS = [layer.name for layer in NET.layers if layer.has_macs]


def test_uniform_covers_all_layers_with_documented_defaults():
    plan = Plan.uniform(NET, weight="int4", activation="int8", error="fp8_e5m2")
    assert plan.layers == tuple(layer.name for layer in NET.layers)
    assert plan.stored_bits("weight").tolist() == [4.0] * 7
    assert plan.multiplier_bits("error").tolist() == [3] * 7
    assert plan.widths("error").tolist() == [8] * 7
    for operand in ("gradient", "master", "optimizer"):
        assert plan.stored_bits(operand).tolist() == [32.0] * 7
    assert plan.cells("stash") == plan.cells("activation")
    assert plan.cells("accumulator") == (None,) * 7
    assert np.isnan(plan.stored_bits("accumulator")).all()
    assert plan.widths("accumulator").tolist() == [0] * 7


def test_layers_without_macs_follow_the_next_layer_with_macs():
    plan = Plan.from_bits(
        NET, weight={"conv1": 8, "block.conv1": 4, "block.downsample": 3, "fc": 5}, activation=8, error=8
    )
    assert plan.widths("weight").tolist() == [8, 4, 4, 3, 5, 5, 5]


def test_activation_defaults_to_the_weight_and_error_to_eight():
    plan = Plan.from_bits(NET, weight=4)
    assert plan == Plan.from_bits(NET, weight=4, activation=4, error=8)
    assert plan == Plan.uniform(NET, "int4", "int4", "int8")
    assert Plan.from_bits(NET, weight=np.int64(4)) == plan


def test_tied_layers_need_one_activation_and_can_be_widened():
    widths = {"conv1": 8, "block.conv1": 4, "fc": 8}
    plan = Plan.from_bits(NET, weight=8, activation=widths)
    assert plan.widths("activation")[3] == 4
    with pytest.raises(InputError, match=r"no format for block\.downsample"):
        Plan.from_bits(NET, weight=widths, activation=8)
    loose = Plan.from_bits(NET, weight=8, activation={**widths, "block.downsample": 6})
    assert loose.tied(NET).widths("activation").tolist()[2:4] == [6, 6]
    assert plan.tied(NET) is plan


def test_kept_layers_and_default():
    plan = Plan.from_bits(NET, weight={"block.conv1": 4}, default=6, kept={"conv1": 8, "fc": 8}, error=5)
    assert plan.widths("weight").tolist() == [8, 4, 4, 6, 8, 8, 8]
    assert plan.widths("error").tolist() == [5] * 7
    assert Plan.from_bits(NET, weight=4, kept={"fc": 8}).widths("weight").tolist() == [4, 4, 4, 4, 8, 8, 8]
    again = Plan.uniform(NET, "int4", "int4").keep({"fc": "int8"})
    assert again.widths("weight").tolist() == [4, 4, 4, 4, 4, 8, 4]


def test_all_problems_at_once():
    with pytest.raises(InputError) as caught:
        Plan.from_bits(NET, weight={"conv11": 4, "fc": 4}, activation=3.5, error={"fc": 99})  # type: ignore[arg-type, dict-item]
    text = str(caught.value)
    assert "weight.conv11: no such layer; did you mean 'conv1'?" in text
    assert "no format for conv1, block.conv1, block.downsample" in text
    assert "'int3.5' is no number format" in text
    assert "'int99' is no number format" in text


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("w8a8e8", "w8a8e8"),
        ("w4a8", "w4a8e8"),
        ("W4A4E6", "w4a4e6"),
        ("int8:channel", "int8:channel"),
        ("w2a4e6g16", "w2a4e6g16"),
        ("fp32", "fp32"),
        ("bf16", "bf16"),
        ("mxfp8_e4m3", "mxfp8_e4m3"),
        ("weight=bfp4,activation=bfp4,error=bfp6", "bfp4,error=bfp6"),
        ("weight=int4,activation=fp16", "w4,activation=fp16,error=fp16"),
    ],
)
def test_short_plans(text, label):
    plan = Plan.parse(text, NET)
    assert plan.label == label
    assert plan.widths("gradient")[0] == (16 if "g16" in text else 32)


@pytest.mark.parametrize(
    "text", ["w8", "w8a8w4", "w8a8x8", "", "int3.5", "weight=int4", "weigth=int8,activation=int8", "w1a8"]
)
def test_bad_short_plans(text):
    with pytest.raises(InputError):
        Plan.parse(text, NET)


def test_stash_only_formats_stay_in_the_stash():
    plan = Plan.uniform(NET, stash="actnn2")
    assert plan.stored_bits("stash").tolist() == [2.125] * 7
    assert plan.with_operand("stash", None) == Plan.uniform(NET)
    with pytest.raises(InputError, match="stash-only"):
        Plan.uniform(NET, activation="actnn2")


def test_histogram_stores_the_mean_and_the_map():
    histogram = Histogram.of({"bfp2": 0.25, "bfp4": 0.5, "bfp8": 0.25})
    plan = Plan.uniform(NET, weight=histogram)
    # elements, 8-bit exponent per 16, 2-bit code per block of 16: REFERENCES 1.1
    assert plan.stored_bits("weight").tolist() == pytest.approx([4.5 + 8 / 16 + 2 / 16] * 7)
    assert plan.widths("weight").tolist() == [8] * 7
    assert plan.is_blockwise
    assert not Plan.uniform(NET).is_blockwise


def test_pairs_are_independent_unless_joint():
    weight, activation = Histogram.of({"bfp4": 0.6, "bfp8": 0.4}), Histogram.of({"bfp2": 0.5, "bfp8": 0.5})
    formats = {"weight": weight, "activation": activation, "error": "bfp8"}
    free = Plan.from_formats(NET, formats)
    assert free.pairs("weight", "activation").shares[5] == pytest.approx(np.outer([0.6, 0.4], [0.5, 0.5]))
    bound = Plan.from_formats(NET, formats, joint=[Joint("fc", ("activation", "weight"), ((0.5, 0.0), (0.1, 0.4)))])
    pairs = bound.pairs("weight", "activation")
    assert [form.name for form in pairs.first] == ["bfp4", "bfp8"]
    assert pairs.shares[5] == pytest.approx(np.array([[0.5, 0.1], [0.0, 0.4]]))
    assert bound.pairs("activation", "weight").shares[5] == pytest.approx(pairs.shares[5].T)
    assert pairs.shares[0] == pytest.approx(np.outer([0.6, 0.4], [0.5, 0.5]))
    with pytest.raises(InputError, match="row 0 sums to"):
        Plan.from_formats(
            NET,
            formats,
            joint=[
                Joint("fc", ("activation", "weight"), ((0.4, 0.1), (0.2, 0.3))),
                Joint("conv1", ("weight", "activation"), ((0.2, 0.2), (0.3, 0.3))),
            ],
        )


def test_unmixed_plans_share_the_macs_of_each_layer():
    histogram = Histogram.of({"bfp4": 0.6, "bfp8": 0.4})
    formats = {"weight": {"conv1": "bfp8", "block.conv1": histogram, "block.downsample": "bfp4", "fc": histogram}}
    plan = Plan.from_formats(NET, {**formats, "activation": histogram, "error": "bfp8"})
    parts = plan.unmixed("weight", "activation")
    assert sum(shares for _, shares in parts) == pytest.approx(np.ones(7))
    assert not any(
        formats_of(cell)[1:] for part, _ in parts for cell in part.cells("weight") + part.cells("activation")
    )
    for operand in ("weight", "activation"):
        mean = sum(part.widths(operand) * shares for part, shares in parts)
        choices = plan.choices(operand)
        assert mean == pytest.approx(choices.shares @ [form.element_bits for form in choices.formats])
    uniform = Plan.uniform(NET)
    ((same, shares),) = uniform.unmixed("weight", "error")
    assert same == uniform
    assert shares.tolist() == [1.0] * 7
    mixed = Plan.from_bits(NET, weight={"conv1": 8, "block.conv1": 4, "block.downsample": 3, "fc": 5})
    ((same, shares),) = mixed.unmixed("weight", "activation")
    assert same == mixed
    assert shares.tolist() == [1.0] * 7


def test_histogram_on_one_width_equals_the_plan_at_that_width():
    one = Plan.uniform(NET, weight=Histogram.of({"bfp4": 1.0}))
    plain = Plan.uniform(NET, weight="bfp4")
    assert one.stored_bits("weight").tolist() == plain.stored_bits("weight").tolist()
    assert (one.pairs("weight", "activation").shares == plain.pairs("weight", "activation").shares).all()


@pytest.mark.parametrize("shares", [{}, {"bfp4": 0.5}, {"bfp4": 1.5, "bfp8": -0.5}, {"bfp4": float("nan")}])
def test_bad_histograms(shares):
    with pytest.raises(InputError):
        Histogram.of(shares)


names = st.sampled_from(
    ["int2", "int8:channel", "bfp4", "bfp6:16", "fp8_e4m3", "mls_e2m4", "vsq4:16s4", "fixed16_8", "ternary"]
)
histograms = st.tuples(st.permutations(["bfp2", "bfp4", "bfp8"]), st.floats(0, 1)).map(
    lambda drawn: Histogram.of({drawn[0][0]: drawn[1], drawn[0][1]: 1.0 - drawn[1]})
)


@given(
    cells=st.fixed_dictionaries(
        {
            operand: st.fixed_dictionaries({name: st.one_of(names, histograms) for name in MACS})
            for operand in MAC_OPERANDS
        }
    ),
    stash=st.sampled_from([None, "actnn2", "int4", {"fc": "actnn2"}]),
    accumulator=st.sampled_from([None, "int32"]),
)
def test_saved_plans_load_as_they_were(tmp_path_factory, cells, stash, accumulator):
    plan = Plan.from_formats(NET, {**cells, "stash": stash, "accumulator": accumulator})
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    plan.save(path)
    assert Plan.load(path, NET) == plan
    assert Plan.parse(str(path), NET) == plan


def test_joint_histograms_are_saved(tmp_path):
    histogram = Histogram.of({"bfp4": 0.6, "bfp8": 0.4})
    plan = Plan.from_formats(
        NET,
        {"weight": histogram, "activation": histogram, "error": "bfp8"},
        joint=[Joint("fc", ("weight", "activation"), ((0.6, 0.0), (0.0, 0.4)))],
    )
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml", NET) == plan


def test_problems_of_a_file_come_with_lines(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "network: other\nweigth: int8\nweight:\n  default: int4\n  int8: [conv1, fcc]\n  int99: [fc]\nactivation: int8\n"
        "error: int8\nblocks:\n  - {operand: weight, layers: [fc], block: 4x, shares: {bfp4: 1.0}}\n"
        "  - {operand: weight, layers: [fc], shares: {bfp4: 0.5, bfp8: 0.6}}\n"
    )
    with pytest.raises(InputError) as caught:
        Plan.load(path, NET)
    text = str(caught.value)
    assert text.startswith(f"{path}: 6 problems")
    for line in (
        "network (line 1): the plan is for 'other', the network is 'toy'",
        "weigth (line 2): unknown key; did you mean 'weight'?",
        "weight.int8[1] (line 5): 'fcc' is no layer of the network; did you mean 'fc'?",
        "weight.int99 (line 6): 'int99' is no number format",
        "blocks[0].block (line 10): expected a block such as 4x4",
        "blocks[1].shares (line 11): expected shares that sum to 1, got 1.1",
    ):
        assert line in text


def test_a_file_that_leaves_layers_out_names_them(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("weight: {int8: [conv1]}\nactivation: int8\nerror: int8\n")
    with pytest.raises(InputError, match=r"plan\.yaml: weight: no format for block\.conv1, block\.downsample, fc"):
        Plan.load(path, NET)


def test_operands_are_known():
    with pytest.raises(InputError, match="unknown operand 'weights'; did you mean 'weight'"):
        Plan.uniform(NET).stored_bits("weights")
    assert len(Plan.uniform(NET).table) == len(OPERANDS)
    assert parse_format("int8") in Plan.uniform(NET).choices("weight").formats


def test_blocks_without_layers_are_those_of_all_layers(tmp_path):
    path = tmp_path / "plan.yaml"
    head = "weight: bfp8\nactivation: bfp8\nerror: bfp8\nblocks:\n  - {operand: weight, "
    path.write_text(head + "shares: {bfp4: 0.5, bfp8: 0.5}}\n")
    assert Plan.load(path, NET).cells("weight") == (Histogram.of({"bfp4": 0.5, "bfp8": 0.5}),) * len(NET.layers)
    path.write_text(head + "layers: fc, shares: {bfp4: 0.5, bfp8: 0.5}}\n")
    with pytest.raises(InputError, match="expected a list of layers, or nothing for all of them"):
        Plan.load(path, NET)
