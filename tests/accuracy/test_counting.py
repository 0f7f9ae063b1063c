"""Scores beside counting bits: what the points of a profile can tell, and that it is said."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.accuracy.hold_out import against_counting, counting_note


def test_hawqs_points_do_not_tell_scores_from_counting():
    profile = dse.load_profile("imagenet_resnet")
    found = against_counting(profile)
    assert found.as_good
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert counting_note(profile).startswith("Counting bits foresees as well")


def test_scores_that_know_more_than_counting_are_said_to():
    """Forty plans of one mean width, whose drops follow their scores."""
    random = np.random.default_rng(0)
    profile = dse.load_profile("imagenet_resnet")
    score = random.uniform(0.1, 1.0, 40)
    parts = np.zeros((40, len(profile.layer_names)))
    parts[:, 0] = score
    made = replace(
        profile, point_names=tuple(f"p{k}" for k in range(40)), point_scores=score, point_layer_scores=parts,
        point_drops=2.0 * score + random.normal(0, 0.05, 40), point_mean_bits=random.uniform(4, 8, 40),
    )  # fmt: skip
    found = against_counting(made)
    assert not found.as_good
    assert found.scores.value > 0.9 > abs(found.bits.value)
    assert found.scores_error < found.bits_error
    assert counting_note(made).startswith("The profile's scores foresee better")


def test_counting_that_ranks_perfectly_is_as_good():
    profile = dse.load_profile("imagenet_resnet")
    order = np.argsort(np.argsort(profile.point_drops))
    assert against_counting(replace(profile, point_mean_bits=8.0 - 0.1 * order)).bits.value == pytest.approx(1.0, abs=0.01)


def test_mean_widths_are_those_of_the_points():
    profile = dse.load_profile("imagenet_resnet")
    by_name = dict(zip(profile.point_names, profile.point_mean_bits, strict=True))
    assert by_name["uniform8"] == 8.0
    assert by_name["uniform4"] == 4.0
    assert 4.0 < by_name["bops_0.5"] < 8.0


def test_too_few_points_are_told_by_the_profile_whose_errors_they_take():
    told = counting_note(dse.load_profile("imagenet_resnet50"))
    assert told.startswith("3 measured plans of imagenet_resnet50 do not tell its scores from counting bits; of imagenet_resnet,")
    assert told.endswith(counting_note(dse.load_profile("imagenet_resnet")))
    assert counting_note(replace(dse.load_profile("imagenet_resnet50"), errors_of="")) == ""
