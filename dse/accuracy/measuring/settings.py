"""What ``dse profile`` is asked to measure, and whether the data can give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from dse.accuracy.profiles.schema import MIN_POINTS
from dse.errors import InputError
from dse.numbers import MEASURED_PLANS, PAIRS, SEED, problems_of
from dse.types import Ints
from dse.yaml_input import suggest

Images = NDArray[np.float32]
Labels = Ints
#: How a layer's score is measured; see :class:`Settings`.
Score = Literal["kl", "loss", "noise", "tensor"]


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes
    ----------
    weight_widths, activation_widths
        Widths in bits.
    score
        Per-layer score: ``kl`` (divergence of the outputs, nat), ``loss`` (increase of the cross entropy, nat; needs labels)
        ``noise`` (error over signal of the outputs before the softmax: the inverse of the SQNR, which adds), or ``tensor`` (error
        over signal of the rounded tensor itself). The first three ask a network that stays as it is; one that is trained in low
        precision adapts to where its tensors are narrow, and what counts is how noisy each of them is: for plans that were
        trained from the start, ``tensor`` predicts where the others do not (``benchmarks/fashion_mnist.py``).
    plans
        Whole-network plans to measure for the predictor; 0 for none.
    pairs
        Pairs of tensors to measure together at their narrowest widths: how well scores add (:mod:`dse.accuracy.measuring.pairs`).
        Each costs one run of the network, as a score does.
    seed
        Decides which plans are taken, and the images that they are measured on.
    """

    weight_widths: tuple[int, ...] = (4, 6, 8)
    activation_widths: tuple[int, ...] = (4, 6, 8)
    score: Score = "kl"
    plans: int = 24
    seed: int = 0
    pairs: int = 0


def settings(weight_widths: str, activation_widths: str, score: str, plans: int, seed: int, pairs: int = 0) -> Settings:
    """Settings from text, as the command line gives them.

    Raises
    ------
    InputError
        Widths that are no numbers separated by commas, an unknown score.
    """
    problems, widths = [], []
    for text in (weight_widths, activation_widths):
        try:
            widths.append(tuple(sorted({int(part) for part in text[:1000].split(",")})))
        except ValueError:
            problems.append(f"expected widths separated by commas, such as 4,6,8, got '{text[:60]}'")
    if score not in SCORES:
        problems.append(f"unknown score '{score}'{suggest(score, SCORES)}")
    problems += [str(problem) for problem in problems_of([(MEASURED_PLANS, plans), (SEED, seed), (PAIRS, pairs)])]
    if problems:
        raise InputError("dse profile", problems)
    return Settings(widths[0], widths[1], cast(Score, score), plans, seed, pairs)


SCORES = {
    "kl": "KL divergence of the softmax outputs from those of the full-precision network, nat",
    "loss": "increase of the cross entropy with the labels, nat, at least 0",
    "noise": "squared error of the outputs over their square: the inverse of the SQNR",
    "tensor": "squared error of the rounded tensor over its square: the inverse of its own SQNR",
}


def check_settings(images: Images, labels: Labels | None, settings: Settings, layers: int) -> None:
    problems = []
    widths = (*settings.weight_widths, *settings.activation_widths)
    if not settings.weight_widths or not settings.activation_widths or not all(2 <= width <= 16 for width in widths):
        problems.append(f"expected widths from 2 to 16 for weights and activations, got {list(widths)}")
    shared = set(settings.weight_widths) & set(settings.activation_widths)
    if settings.plans and (settings.plans < max(MIN_POINTS, len(shared)) or len(shared) < 2):
        problems.append(
            "plans need two widths that weights and activations share, and as many plans, at least "
            f"{MIN_POINTS}; got {settings.plans} plans and shared widths {sorted(shared)}"
        )
    if labels is None and settings.score == "loss":
        problems.append("the score 'loss' needs labels; without them, take 'kl' or 'noise'")
    if settings.score == "tensor" and settings.pairs:
        problems.append("the score 'tensor' is of one tensor alone: there are no pairs to measure; leave them out")
    if labels is not None and len(labels) != len(images):
        problems.append(f"expected a label for each of the {len(images)} images, got {len(labels)}")
    tensors = 2 * layers
    if not 0 <= settings.pairs <= tensors * (tensors - 1) // 2:
        problems.append(
            f"expected 0 to {tensors * (tensors - 1) // 2} pairs of {tensors} tensors, got {settings.pairs}"
        )
    if len(images) < 2:
        problems.append(f"expected at least two images, got {len(images)}")
    if problems:
        raise InputError("dse profile", problems)
