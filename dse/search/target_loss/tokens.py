"""Tokens that a language model needs to a final loss under a plan, by a loss law (:mod:`dse.accuracy.law`)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from dse.accuracy.law.law import RECIPES, Law
from dse.errors import InputError
from dse.numbers import CONFIDENCE
from dse.workload.model import Network


def parameters_of(network: Network) -> float:
    """Weights without embeddings and without a classifier over the rows of one: what laws of losses count.

    Raises
    ------
    InputError
        The network has no embedding: it is no language model.
    """
    rows = {layer.C for layer in network.layers if layer.kind == "embedding"}
    if not rows:
        text = f"{network.name} has no embedding of tokens; a law of losses is of language models"
        raise InputError("--target-loss", [text])
    # A product of activations has no weights, and the last layer is another copy of the embedding's table.
    return float(sum(layer.parameters for layer in network.mac_layers if layer.G * layer.K not in rows))


def tokens_per_step(network: Network) -> int:
    """Tokens of a step: rows of the embedding's output for every sample of all passes before an update."""
    rows = max(layer.N * layer.P * layer.Q for layer in network.layers if layer.kind == "embedding")
    return rows * network.batch * network.accumulate


class Tokens(NamedTuple):
    """Tokens to a loss, and the ends of 90 % by the law's error in what low precision loses; an end may be infinite."""

    middle: float
    low: float
    high: float


def tokens_to(law: Law, size: float, target: float, name: str) -> Tokens:
    """Tokens to the loss.

    Raises
    ------
    InputError
        The loss is never reached, or the plan's is unknown.
    """
    middle = law.tokens(target, size, name)
    spread = NormalDist().inv_cdf(CONFIDENCE / 2 + 0.5) * law.excess_error(size, middle, name)
    ends = []
    for shift in (spread, -spread):
        try:
            ends.append(law.tokens(target + shift, size, name))
        except InputError:
            ends.append(np.inf)  # with so much excess the loss is never reached
    return Tokens(middle, ends[0], ends[1])


def formats_of(name: str) -> str:
    """The plan in short of a recipe of the law: the formats of its products."""
    if name not in RECIPES or name == "bf16":
        return name
    recipe = RECIPES[name]
    error = recipe.data.first
    return f"{recipe.forward.second},error={error}"


def law_notes(law: Law, size: float, target: float, plans: Sequence[str]) -> list[str]:
    """Where the law is asked beyond what was measured."""
    said = []
    for name in plans:
        try:
            said += law.notes(size, law.tokens(target, size, name), name)
        except InputError:
            continue
    return said
