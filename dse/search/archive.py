"""Designs that a search has found: arrays, merged and thinned by dominance."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from dse.search.pareto import pareto_mask
from dse.types import Bools, Floats, Ints

#: Columns of :attr:`Found.objectives`.
OBJECTIVES = ("latency_s", "energy_j", "area_mm2", "accuracy_drop_pp")
#: The one that a search with given plans does not have; NaN there.
ACCURACY_COLUMN = "accuracy_drop_pp"


@dataclass(frozen=True)
class Found:
    """n designs: a hardware point with a bit map each.

    Attributes
    ----------
    trial
        (n,) the trial that found it.
    parameters
        (n, parameters) values of the hardware's and the schedule's parameters, in the order of the problem's.
    error_bits
        (n, networks) width of the error tensors.
    choice
        (n, groups of all networks) index of the width chosen for each group of tied layers.
    objectives
        (n, 4) in the order of :data:`OBJECTIVES`.
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
    error_bits: Ints
    choice: npt.NDArray[np.uint8]
    objectives: Floats
    gap: Floats
    certificate: Floats
    binds: Ints

    def __len__(self) -> int:
        return len(self.trial)

    def take(self, rows: Bools | Ints) -> Found:
        """The rows of a mask or of indices."""
        return Found(*(getattr(self, field.name)[rows] for field in fields(self)))


def empty(parameters: int, groups: int, networks: int = 1) -> Found:
    """No designs yet."""
    return Found(
        np.zeros(0, np.int64),
        np.zeros((0, parameters)),
        np.zeros((0, networks), np.int64),
        np.zeros((0, groups), np.uint8),
        np.zeros((0, len(OBJECTIVES))),
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros(0, np.int64),
    )


def merge(parts: list[Found]) -> Found:
    """All rows of several archives in order (at least one archive)."""
    return Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Found)))


def nondominated(found: Found, objectives: tuple[str, ...]) -> Found:
    """The rows that no other row dominates in the named objectives (all minimized), the first of equal rows."""
    columns = [OBJECTIVES.index(name) for name in objectives]
    return found.take(pareto_mask(found.objectives[:, columns]))


def bytes_of(found: Found) -> bytes:
    """An archive as the content of an ``.npz`` file, one array per attribute."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{field.name: getattr(found, field.name) for field in fields(found)})
    return stream.getvalue()
