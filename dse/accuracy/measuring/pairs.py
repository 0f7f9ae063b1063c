"""Pairwise interactions: how far the score of two tensors rounded together is from the sum of their scores.

Bit allocation is exact for scores that add. Whether they do is a property of the network, which pairs show: to second order in
the rounding errors, d_i and d_j, the loss has d_i' H_ij d_j beside the two terms that each has alone (Nagel et al., AdaRound,
ICML 2020, section 3). That term falls with the product of both steps, so a pair measured at one width tells of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dse.types import Floats

#: A tensor: layer and operand.
Tensor = tuple[str, str]


class Interaction(NamedTuple):
    """Two tensors at a width each: the score of each alone, and that of both together."""

    first: Tensor
    second: Tensor
    widths: tuple[int, int]
    alone: tuple[float, float]
    together: float

    @property
    def excess(self) -> float:
        """What the pair adds to the sum of its parts; negative where the two errors cancel."""
        return self.together - self.alone[0] - self.alone[1]


def choose_pairs(scores: Mapping[Tensor, float], count: int) -> list[tuple[Tensor, Tensor]]:
    """The pairs that can matter most: by the product of both scores, since ``|d_i' H_ij d_j| <= sqrt(S_i S_j)`` times two.

    >>> choose_pairs({("a", "weight"): 1.0, ("b", "weight"): 4.0, ("c", "weight"): 2.0}, 2)
    [(('b', 'weight'), ('c', 'weight')), (('a', 'weight'), ('b', 'weight'))]
    """
    pairs = list(combinations(scores, 2))
    order = sorted(range(len(pairs)), key=lambda index: -scores[pairs[index][0]] * scores[pairs[index][1]])
    return [pairs[index] for index in order[:count]]


def pair_corrections(
    interactions: Sequence[Interaction], layers: Sequence[str], widths: Mapping[str, ArrayLike]
) -> Floats:
    """What measured pairs add to the summed score of width maps.

    Parameters
    ----------
    layers
        The L layers of the maps.
    widths
        By operand, (..., L).

    Returns
    -------
    (...) corrections: each pair's excess times both ratios of quantizer steps, 2^(b-1) - 1 steps to a side.
    """
    maps = {operand: np.asarray(bits, dtype=np.float64) for operand, bits in widths.items()}
    total = np.zeros(next(iter(maps.values())).shape[:-1])
    where = {name: index for index, name in enumerate(layers)}
    for found in interactions:
        factor = np.ones_like(total)
        for (layer, operand), width in zip((found.first, found.second), found.widths, strict=True):
            factor = factor * _steps(float(width)) / _steps(maps[operand][..., where[layer]])
        total = total + found.excess * factor
    return np.asarray(total)


def pairs_note(interactions: Sequence[Interaction]) -> str:
    """A sentence on how well scores add, for the report of whoever uses the profile."""
    shares = np.array([found.excess / max(sum(found.alone), 1e-300) for found in interactions])
    worst = interactions[int(np.abs(shares).argmax())]
    names = " and ".join(f"{layer} ({operand}, {width} bits)" for (layer, operand), width in
                         zip((worst.first, worst.second), worst.widths, strict=True))  # fmt: skip
    return (
        f"Scores add up, but for interactions: {len(shares)} pairs of the most sensitive tensors, measured together, differ from "
        f"the sum of their parts by {np.median(np.abs(shares)):.0%} in the median, and by {shares[np.abs(shares).argmax()]:+.0%} "
        f"for {names}. The bit allocation is exact for the sum, not for these."
    )


def _steps(width: ArrayLike) -> Floats:
    return np.asarray(np.maximum(2.0 ** (np.asarray(width, dtype=np.float64) - 1.0) - 1.0, 0.5))
