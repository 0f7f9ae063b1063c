"""Designs that a search has found: arrays, merged and thinned by dominance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np
import numpy.typing as npt

from dse.goals import OBJECTIVES, Figures, Objective, minimized, objective_columns
from dse.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Found:
    """n designs: a hardware point with a bit map each.

    Attributes
    ----------
    trial
        (n,) the trial that found it.
    parameters
        (n, parameters) values of the hardware's and the schedule's parameters, in the order of the problem's.
    error
        (n, networks) place of the error tensors' format among the network's.
    choice
        (n, groups of all networks) index of the formats chosen for each group of tied layers.
    objectives
        (n, objectives) figures, in the order of :func:`dse.goals.objective_columns`; NaN where nothing predicts accuracy.
    gap
        (n,) proven relative distance of the bit map from the optimum of its inner problem; 0 is proven optimal.
    certificate
        (n, 3) what the gap is of: the weight of latency against energy, the bit map's weighted sum of both (each in units of
        the problem's reference), and the bound below which no bit map's lies.
    binds
        (n,) bits of the limits that bind, in the order of the problem's; 0 where none does or none was solved for.
    """

    trial: Ints
    parameters: Floats
    error: Ints
    choice: npt.NDArray[np.uint8]
    objectives: Floats
    gap: Floats
    certificate: Floats
    binds: Ints

    def __len__(self) -> int:
        return len(self.trial)

    def minimized(self, columns: Sequence[str]) -> Floats:
        """(n, k) the named objectives as a search compares them, smaller is better."""
        return minimized(self.objectives[:, places(columns)], columns)

    def take(self, rows: Bools | Ints) -> Found:
        """The rows of a mask or of indices."""
        return Found(*(getattr(self, field.name)[rows] for field in fields(self)))


def places(columns: Sequence[str]) -> list[int]:
    """Where named objectives stand in :attr:`Found.objectives`."""
    every = objective_columns()
    return [every.index(name) for name in columns]


def joined(objective: Objective, each: Sequence[npt.ArrayLike], weights: Sequence[float], worst_case: bool) -> Floats:
    """An objective over several networks on one hardware.

    Parameters
    ----------
    each
        Of every network, in one shape.
    weights, worst_case
        See :class:`dse.search.bits.problem.SearchProblem`.
    """
    of_each = [np.asarray(figures, dtype=np.float64) for figures in each]
    if objective.joins == "same":
        return of_each[0]
    if objective.joins == "largest":
        return np.asarray(np.max(np.stack(of_each), axis=0))
    weighted = [weight * figures for weight, figures in zip(weights, of_each, strict=True)]
    return np.asarray(np.max(np.stack(weighted), axis=0) if worst_case else reduce(np.add, weighted))


def objective_row(each: Sequence[Figures], weights: Sequence[float], worst_case: bool) -> Floats:
    """(objectives,) values of all objectives of a design, from the figures of every network."""
    row = [joined(item, [item.of(figures) for figures in each], weights, worst_case) for item in OBJECTIVES.values()]
    # Sums in another order differ in the last digits: equal designs have to be equal.
    return np.array([float(f"{float(value):.12g}") for value in row])


def empty(parameters: int, groups: int, networks: int = 1) -> Found:
    """No designs yet."""
    return Found(
        np.zeros(0, np.int64),
        np.zeros((0, parameters)),
        np.zeros((0, networks), np.int64),
        np.zeros((0, groups), np.uint8),
        np.zeros((0, len(objective_columns()))),
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros(0, np.int64),
    )


def merge(parts: list[Found]) -> Found:
    """All rows of several archives in order (at least one archive)."""
    return Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Found)))


def bytes_of(found: Found) -> bytes:
    """An archive as the content of an ``.npz`` file, one array per attribute."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{field.name: getattr(found, field.name) for field in fields(found)})
    return stream.getvalue()
