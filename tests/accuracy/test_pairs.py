"""Pairwise interactions on a model whose loss is a quadratic form, where the second-order term is all there is."""

from typing import ClassVar

import numpy as np
import pytest

from dse.accuracy.measuring.measure import measure
from dse.accuracy.measuring.pairs import Interaction, choose_pairs, pair_corrections, pairs_note
from dse.accuracy.measuring.settings import Settings
from dse.errors import InputError

LAYERS = ("a", "b", "c")
RANDOM = np.random.default_rng(0)
#: Direction in which each tensor's rounding error moves the outputs; steps are 2^(b-1) - 1 to a side.
MOVES = {(layer, operand): RANDOM.normal(size=20) for layer in LAYERS for operand in ("weight", "activation")}


class Quadratic:
    """Outputs move by the sum of the tensors' errors: the relative squared error is a quadratic form in the steps."""

    name, layers, weights, kept, notes, digest = "quadratic", LAYERS, 3, {}, (), "1"
    base: ClassVar = RANDOM.normal(size=(4, 5))

    def ranges(self, images):
        return {}

    def outputs(self, images, weight, activation, ranges):
        moved = np.zeros(20)
        for operand, given in (("weight", weight), ("activation", activation)):
            for layer, width in given.items():
                moved = moved + MOVES[layer, operand] / (2 ** (width - 1) - 1)
        return self.base + 0.1 * moved.reshape(4, 5)


def score(weight, activation):
    changed = Quadratic().outputs(None, weight, activation, {}) - Quadratic.base
    return (changed**2).sum() / (Quadratic.base**2).sum()


def interactions(width):
    """All pairs of the quadratic model at one width."""
    alone = {tensor: score(*split({tensor: width})) for tensor in MOVES}
    return [
        Interaction(a, b, (width, width), (alone[a], alone[b]), score(*split({a: width, b: width})))
        for a, b in choose_pairs(alone, 15)
    ]


def split(widths):
    return [
        {layer: bits for (layer, operand), bits in widths.items() if operand == which}
        for which in ("weight", "activation")
    ]


def test_pairs_at_one_width_make_a_quadratic_model_exact_at_all_others():
    pairs = interactions(4)
    assert len(pairs) == 15
    for _ in range(20):
        maps = {operand: RANDOM.integers(2, 9, size=3) for operand in ("weight", "activation")}
        plan = {
            (layer, operand): int(bits) for operand in maps for layer, bits in zip(LAYERS, maps[operand], strict=True)
        }
        summed = sum(score(*split({tensor: width})) for tensor, width in plan.items())
        truth = score(*split(plan))
        assert summed + pair_corrections(pairs, LAYERS, maps) == pytest.approx(truth, rel=1e-9)
        assert abs(summed - truth) > 1e-3 * truth


def test_corrections_broadcast_over_maps():
    maps = {operand: RANDOM.integers(2, 9, size=(7, 3)) for operand in ("weight", "activation")}
    together = pair_corrections(interactions(4), LAYERS, maps)
    each = [pair_corrections(interactions(4), LAYERS, {k: v[i] for k, v in maps.items()}) for i in range(7)]
    assert together == pytest.approx(np.array(each))


def test_a_profile_says_how_well_scores_add():
    images = np.zeros((4, 1), dtype=np.float32)
    file = measure(Quadratic(), images, None, Settings((3, 8), (3, 8), "noise", plans=0, pairs=5))
    assert "5 pairs" in file.notes[-1]
    shares = [found.excess / sum(found.alone) for found in interactions(3)]
    assert f"{np.median(np.abs(shares[:5])):.0%} in the median" in file.notes[-1]
    assert not measure(Quadratic(), images, None, Settings((3, 8), (3, 8), "noise", plans=0)).notes


def test_independent_tensors_do_not_interact():
    exact = Interaction(("a", "weight"), ("b", "weight"), (4, 4), (0.25, 0.5), 0.75)
    assert exact.excess == 0.0
    assert "0% in the median" in pairs_note([exact])


def test_more_pairs_than_there_are():
    images = np.zeros((4, 1), dtype=np.float32)
    with pytest.raises(InputError, match="expected 0 to 15 pairs of 6 tensors, got 16"):
        measure(Quadratic(), images, None, Settings((3, 8), (3, 8), "noise", plans=0, pairs=16))
