"""Calibration: points from files, the link chosen by error, and profiles that survive being written and read."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dse.accuracy import load_profile
from dse.accuracy.calibrate import SHRINK, calibrate, plans_to_measure, read_points
from dse.accuracy.predictor import in_range, predict
from dse.accuracy.profiles.loading import profile_from_document, profile_from_file, read_profile
from dse.accuracy.profiles.schema import PointFile, profile_text
from dse.errors import InputError
from dse.precision.plans.plan import Plan
from dse.shipped import shipped_names
from dse.yaml_input import parse_yaml

BARE = """\
network: small
source: "made up"
method: "by hand"
score: "by hand"
prediction: {quantity: top1, baseline: 90.0, baseline_name: "FP32", calibration: post-training}
kept: {stem: 8}
ties: [[a, b]]
layers:
  a: {weight: {4: 1.0, 8: 0.1}, activation: {4: 0.5, 8: 0.05}}
  b: {weight: {4: 2.0, 8: 0.2}, activation: {4: 0.2, 8: 0.02}}
  c: {weight: {4: 4.0, 8: 0.4}, activation: {4: 0.1, 8: 0.01}}
"""


@pytest.fixture
def bare(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(BARE)
    return path


def measured(profile, link, parameters, count=8):
    """Points whose drops are made by a link from the profile's own scores."""
    maps = plans_to_measure(profile, [4, 8], count)
    drops = predict(link, parameters, profile.score_widths(maps))
    return [
        PointFile(name=f"p{i}", value=90.0 - float(drop), **{name: bits[i].tolist() for name, bits in maps.items()})
        for i, drop in enumerate(drops)
    ]


@pytest.mark.parametrize(
    ("link", "parameters"), [("saturating", (6.0, 2.0)), ("power", (1.5, 0.5)), ("linear", (0.7,))]
)
def test_error_chooses_the_link_that_made_the_points(bare, link, parameters):
    points = measured(load_profile(bare), link, parameters)
    result = calibrate(bare, points)
    assert result.links.iloc[0]["loo_rms"] < 1e-4
    assert result.file.prediction.link == result.links.index[0]
    assert result.profile.drop_of_score(3.0) == pytest.approx(float(predict(link, parameters, 3.0)), abs=1e-3)
    assert result.profile.loo_error_pp < 1e-3


def test_factors_are_kept_where_they_lower_the_error(bare):
    """The layer c does a third of the damage that its score says."""
    profile = load_profile(bare)
    maps = plans_to_measure(profile, [4, 8], 16)
    scores = profile.layer_scores(maps)
    drops = {
        "as scored": predict("saturating", (6.0, 2.0), scores.sum(axis=1)),
        "c less": predict("saturating", (6.0, 2.0), scores @ [1.0, 1.0, 0.3]),
    }
    rng = np.random.default_rng(0)
    for name, spread in (("as scored", None), ("c less", 2.0)):
        points = [
            PointFile(name=f"p{i}", value=90.0 - float(drop), **{key: bits[i].tolist() for key, bits in maps.items()})
            for i, drop in enumerate(drops[name] + rng.normal(0.0, 0.01, 16))
        ]
        result = calibrate(bare, points)
        assert result.file.prediction.layer_spread == spread
        table = result.profile.score_table([4], "weight")[0][:, 0]
        ratio = table[2] / table[:2].mean()
        assert ratio == pytest.approx(4.0 / 1.5 * (0.3 if spread else 1.0), rel=0.35)


def test_scores_are_drawn_to_their_mean_where_layers_are_alike(bare):
    """Whole plans whose damage is alike in every layer, whatever the layers' own scores say, and plans that follow the scores."""
    profile = load_profile(bare)
    maps = plans_to_measure(profile, [4, 8], 8)
    alike = replace(profile, shrink=1.0)
    for made, expected in ((alike, SHRINK), (profile, None)):
        drops = predict("saturating", (6.0, 2.0), made.score_widths(maps))
        points = [
            PointFile(name=f"p{i}", value=90.0 - float(drop), **{key: bits[i].tolist() for key, bits in maps.items()})
            for i, drop in enumerate(drops)
        ]
        assert calibrate(bare, points).file.prediction.shrink == expected
    whole, table = alike.score_table([4], "weight")[0], profile.score_table([4], "weight")[0]
    assert whole[:, 0] == pytest.approx(table.mean())
    half = replace(profile, shrink=0.5).score_table([4], "weight")[0]
    assert half == pytest.approx((whole + table) / 2)


def test_scores_half_way_to_their_mean_foresee_left_out_plans_better():
    """Root mean square of left-out errors of two profiles over that of scores as measured, without factors."""
    table = []
    for name in ("imagenet_resnet", "fashion_cnn"):
        file, document = read_profile(name)
        row = []
        for share in (0.0, SHRINK):
            told = file.prediction.model_copy(update={"shrink": share, "layer_spread": None})
            profile = profile_from_file(file.model_copy(update={"prediction": told}), document)
            row.append(np.sqrt(np.square(profile.loo_errors_pp[in_range(profile.point_scores)]).mean()))
        table.append(np.log(np.array(row) / row[0]))
    assert np.exp(np.array(table)[:, 1]) == pytest.approx([0.979, 0.789], abs=0.002)


def test_calibrated_profile_is_written_and_read_back(bare, tmp_path):
    result = calibrate(bare, measured(load_profile(bare), "saturating", (6.0, 2.0)))
    again = tmp_path / "again.yaml"
    again.write_text(profile_text(result.file))
    assert read_profile(again)[0] == result.file
    assert load_profile(again).parameters == result.profile.parameters
    with pytest.raises(InputError, match="'p0' is measured twice"):
        calibrate(again, list(result.file.points[:1]))


@pytest.mark.parametrize("name", shipped_names("workloads/profiles"))
def test_every_shipped_profile_survives_being_written(name):
    file, _ = read_profile(name)
    text = profile_text(file)
    again = profile_from_document(parse_yaml(text, name))
    assert (again.point_scores == load_profile(name).point_scores).all()
    assert profile_text(file) == text


def test_kinds_of_calibration_do_not_mix(bare, tmp_path):
    points = measured(load_profile(bare), "saturating", (6.0, 2.0))
    first = tmp_path / "first.yaml"
    first.write_text(profile_text(calibrate(bare, points[:4], "quantization-aware").file))
    assert load_profile(first).calibration == "quantization-aware"
    with pytest.raises(InputError, match="has quantization-aware points; post-training ones go into another profile"):
        calibrate(first, points[4:], "post-training")


def test_too_few_points(bare):
    points = measured(load_profile(bare), "saturating", (6.0, 2.0))
    with pytest.raises(InputError, match="at least 3 measured points to fit, got 2"):
        calibrate(bare, points[:2])
    same = [points[0].model_copy(update={"name": f"same{i}"}) for i in range(4)]
    with pytest.raises(InputError, match="at least 3 points with different scores"):
        calibrate(bare, same)


def test_points_from_yaml_and_csv_are_the_same(bare, tmp_path):
    yaml, table = tmp_path / "points.yaml", tmp_path / "points.csv"
    yaml.write_text(
        "points:\n  - {name: u8, value: 89.5, weight: 8, activation: 8}\n"
        "  - {name: mixed, value: 87.25, weight: [4, 4, 8], activation: 8}\n"
    )
    table.write_text("name,value,weight,activation\nu8,89.5,8,8\nmixed,87.25,4 4 8,8\n")
    assert read_points(yaml, bare) == read_points(table, bare)


def test_points_from_plans(bare, tmp_path):
    net = SimpleNamespace(name="small", layers=[SimpleNamespace(name=name) for name in ("stem", "a", "b", "c")])
    Plan.from_bits(net, {"stem": 8, "a": 4, "b": 4, "c": 8}, 8).save(tmp_path / "best.yaml")
    table = tmp_path / "points.csv"
    table.write_text("plan,value\nw8a8,89.5\nbest.yaml,88.0\n")
    points = read_points(table, bare, net)
    assert [point.name for point in points] == ["w8a8", "best.yaml"]
    assert points[1].weight == [4, 4, 8]
    assert points[1].activation == [8, 8, 8]
    with pytest.raises(InputError, match="a plan needs the workload"):
        read_points(table, bare)
    table.write_text("plan,value\nw4a4,80\n")
    with pytest.raises(InputError, match=r"plan \(line 2\): .*'stem' less than the width that the profile keeps"):
        read_points(table, bare, net)


def test_broken_tables_name_every_line(bare, tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("name,value,weight,activation\na,high,8,8\nb,80,x,8\nc,80,4,8\n")
    with pytest.raises(InputError) as caught:
        read_points(table, bare)
    assert "2 problems" in str(caught.value)
    assert "value (line 2): expected a number, got 'high'" in str(caught.value)
    assert "weight (line 3): expected widths with spaces between, got 'x'" in str(caught.value)
    table.write_text("name,value,weight,activation\na,80,4 4,8\nb,nan,8,8\n")
    with pytest.raises(InputError, match=r"line 3\): expected a finite number"):
        read_points(table, bare)
    table.write_text("name,weight\na,8\n")
    with pytest.raises(InputError, match="has no column 'value'"):
        read_points(table, bare)
    table.write_text("name,value,wieght\n")
    with pytest.raises(InputError, match="unknown column 'wieght'"):
        read_points(table, bare)
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "none.csv", bare)


def test_a_measured_value_that_nobody_could_measure_is_told_the_bound(bare, tmp_path):
    rows = ["value,weight,activation", *(f"{value},8,8" for value in ("1e300", "-1e300", "nan", "inf", "89"))]
    (tmp_path / "points.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError) as raised:
        read_points(tmp_path / "points.csv", bare)
    assert [problem.line for problem in raised.value.problems] == [2, 3, 4, 5]
    bare.write_text(BARE.replace("4: 1.0", "4: 1.0e+300").replace("90.0", "1.0e+300"))
    with pytest.raises(InputError, match="1000000") as raised:
        read_profile(bare)
    assert len(raised.value.problems) == 2


def test_plans_to_measure_span_the_range_and_keep_ties(bare):
    profile = load_profile(bare)
    maps = plans_to_measure(profile, [4, 8], 12, seed=3)
    again = plans_to_measure(profile, [4, 8], 12, seed=3)
    assert all((maps[name] == again[name]).all() for name in maps)
    assert (maps["weight"][:2] == [[4, 4, 4], [8, 8, 8]]).all()
    assert (maps["weight"][:, 0] == maps["weight"][:, 1]).all()
    score = np.sort(np.log(profile.score_widths(maps)))
    assert np.diff(score).max() < 0.5 * (score[-1] - score[0])
    with pytest.raises(InputError, match="two or more widths"):
        plans_to_measure(profile, [8], 3)
