"""The accuracy predictor where it can fail: plans of equal mean width, and measured points that it was not fitted to.

Random plans flatter a predictor: those with more bits lose less, and counting bits ranks them. So beside random plans stand 40
plans of EfficientNet-Lite0 that are shuffles of one bag of widths, where counting bits ranks nothing; they were measured by
``python benchmarks/profile_efficientnet.py FOLDER`` on other crops than those of the profile's scores and points. HAWQ-V3
trained eleven bit maps of ResNet-18: three fit the link, eight are foreseen.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from dse.accuracy import load_profile
from dse.accuracy.hold_out import HAWQ_FIT, Interval, hold_out, partial_rank_correlation, rank_correlation
from dse.accuracy.predictor import LINKS, fit_link, predict
from dse.accuracy.profiles.profile import Profile
from dse.studies.study import Claim, Study, rows_of
from dse.types import Floats, Ints
from dse.yaml_input import load_yaml

PLANS = Path(__file__).parents[1] / "data" / "efficientnet_equal_mean_plans.csv"
EFFICIENTNET, RESNET = "imagenet_efficientnet_lite0", "imagenet_resnet"


class EqualMeanPlans(NamedTuple):
    """(n, L) widths by operand, (n,) measured KL divergence in nat, (n,) summed squared error of the rounded weights."""

    widths: dict[str, Ints]
    measured: Floats
    weight_error: Floats


def equal_mean_plans() -> EqualMeanPlans:
    """The 40 measured plans that are shuffles of one bag of weight widths and one of activation widths."""
    with PLANS.open() as file:
        rows = list(csv.DictReader(file))
    widths = {name: np.array([[int(bit) for bit in row[name]] for row in rows]) for name in ("weight", "activation")}
    measured, error = (np.array([float(row[name]) for row in rows]) for name in ("kl_nat", "weight_error"))
    return EqualMeanPlans(widths, measured, error)


def random_plans(profile: Profile) -> tuple[Floats, Floats, Floats]:
    """Of a profile's points that are random: scores as measured layer by layer, measured drops, and mean widths (n, 2)."""
    points = load_yaml(profile.path).value["points"]
    chosen = [index for index, point in enumerate(points) if point["name"].startswith("random")]
    means = [[float(np.mean(points[index][name])) for name in profile.operands] for index in chosen]
    return profile.point_layer_scores.sum(axis=1)[chosen], profile.point_drops[chosen], np.array(means)


def rank_rows() -> list[Claim]:
    """Rank correlations on EfficientNet-Lite0 with their 95 % bootstrap intervals over plans."""
    profile = load_profile(EFFICIENTNET)
    score, drop, means = random_plans(profile)
    plans = equal_mean_plans()
    layers = profile.layer_scores(plans.widths)
    plain = "the layers' own scores; no point was fitted"
    equal = f"{len(plans.measured)} plans of equal mean width"
    return [
        _rank(
            f"{len(drop)} random plans",
            "predicted against measured",
            rank_correlation(score, drop),
            plain,
            ("random", "predicted"),
        ),
        _rank(
            f"{len(drop)} random plans",
            "mean widths taken out",
            partial_rank_correlation(score, drop, means),
            "partial rank correlation; counting bits has 0 by construction",
        ),
        _rank(
            equal,
            "predicted against measured",
            rank_correlation(layers.sum(axis=1), plans.measured),
            "the shipped profile, whose factors came from 67 other plans on other crops",
            ("equal width", "predicted"),
        ),
        _rank(
            equal,
            "sum of scores without factors",
            rank_correlation((layers / profile.factors).sum(axis=1), plans.measured),
            plain,
        ),
        _rank(
            equal,
            "squared weight error",
            rank_correlation(plans.weight_error, plans.measured),
            "baseline: needs no data",
            ("equal width", "weight error"),
        ),
        Claim(
            "EfficientNet-Lite0",
            equal,
            "Spearman",
            0.0,
            assumed="baseline: 0 by construction",
            subject="counting bits",
        ),
    ]


def _rank(quantity: str, subject: str, interval: Interval, assumed: str, key: tuple[str, ...] = ()) -> Claim:
    return Claim(
        "EfficientNet-Lite0", quantity, "Spearman", interval.value, low=interval.low, high=interval.high, assumed=assumed,
        subject=subject, key=key,
    )  # fmt: skip


def hawq_rows() -> list[Claim]:
    """Eight of HAWQ-V3's points foreseen from three; then every link, and every choice of the third point."""
    profile = load_profile(RESNET)
    noise = f"fitted to {', '.join(HAWQ_FIT)}; two trainings of one map differ by {profile.noise:g} points"
    rows = []
    for item in hold_out(profile, HAWQ_FIT).to_dict("records"):
        rows.append(Claim("HAWQ-V3", str(item["quantity"]), "%", item["ours"], item["published"], assumed=noise))
    middles = [name for name in profile.point_names if name not in HAWQ_FIT[:2]]
    for link in LINKS:
        for label, fits in (
            (" and ".join(HAWQ_FIT), [HAWQ_FIT]),
            ("both ends and each other point in turn", [(*HAWQ_FIT[:2], middle) for middle in middles]),
        ):
            errors = np.abs(np.concatenate([hold_out(profile, fit, link)["error"] for fit in fits]))
            for statistic, value in (("mean", errors.mean()), ("worst", errors.max())):
                what = f"{statistic} error of points left out"
                rows.append(Claim("HAWQ-V3", what, "points", float(value), subject=f"{link} link fitted to {label}"))
    return rows


def study() -> Study:
    """Ranks at equal mean width with intervals, and HAWQ-V3's eight points from three, each link beside the others."""
    ranks, hawq = rank_rows(), hawq_rows()
    keys = (("random", "predicted"), ("equal width", "predicted"), ("equal width", "weight error"))
    first, equal, error = (rows_of(ranks, *key)[0] for key in keys)
    missed = hold_out(load_profile(RESNET), HAWQ_FIT)["error"].abs()
    return Study(
        "predictor",
        "The accuracy predictor where it can fail",
        "HAWQ-V3 (Yao et al., ICML 2021, arXiv 2011.10680); EfficientNet-Lite0 measured with 'dse profile'",
        (
            f"On plans of equal mean width the predictor ranks with Spearman {_said(equal)}; squared weight error has "
            f"{_said(error)}, counting bits 0. On random plans it has {_said(first)}.",
            f"Three points of ResNet-18 foresee the other eight within {missed.mean():.2f} points in the mean and "
            f"{missed.max():.2f} at worst, beside a noise of 0.16: the predictor is optimistic by more than training noise. "
            "No other link does better on these points by more than that noise; what is missing lies in the scores, "
            "which put nine 4-bit layers that lost 1.25 points above five that lost 1.46.",
        ),
        (*ranks, *hawq),
        (("Plans of equal mean width, EfficientNet-Lite0", _ranks()), ("ResNet-18: three points fitted", _points())),
        "the bit maps of HAWQ-V3 with their scores and accuracies",
        "the plans of equal mean width, photos without labels",
    )


def _said(row: Claim) -> str:
    return f"{row.ours:.2f} ({row.low:.2f} to {row.high:.2f})"


def _ranks() -> go.Figure:
    profile, plans = load_profile(EFFICIENTNET), equal_mean_plans()
    score = profile.score_widths(plans.widths)
    drop = predict(profile.link, profile.parameters, score)
    return _scatter({"plan": (drop, plans.measured)}, "predicted KL divergence, nat", "measured KL divergence, nat")


def _points() -> go.Figure:
    profile = load_profile(RESNET)
    known = np.array([name in HAWQ_FIT for name in profile.point_names])
    link = fit_link(profile.link, profile.point_scores[known], profile.point_drops[known])
    drop = predict(profile.link, link, profile.point_scores)
    series = {
        "fitted": (drop[known], profile.point_drops[known]),
        "left out": (drop[~known], profile.point_drops[~known]),
    }
    return _scatter(series, "predicted drop, points of top-1", "measured drop, points of top-1")


def _scatter(series: dict[str, tuple[Floats, Floats]], across: str, up: str) -> go.Figure:
    figure = go.Figure()
    for name, (x, y) in series.items():
        figure.add_scatter(x=x.tolist(), y=y.tolist(), mode="markers", name=name)
    ends = _ends([values for pair in series.values() for values in pair])
    figure.add_scatter(x=ends, y=ends, mode="lines", name="predicted = measured", line={"dash": "dot"})
    return figure.update_layout(xaxis_title=across, yaxis_title=up)


def _ends(values: Sequence[Floats]) -> list[float]:
    together = np.concatenate(values)
    return [float(together.min()), float(together.max())]
