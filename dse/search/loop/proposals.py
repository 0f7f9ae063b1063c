"""The next points of a search: each one once. A sampler may repeat itself; what it proposes again is no trial of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import optuna

from dse.search.loop.dimensions import every, points, size
from dse.search.loop.optuna_study import Dimension, batch_of, low_discrepancy, propose

#: Points of a batch of a list, which learns nothing between them.
LISTED_BATCH = 32
#: Steps from a repeated point to one that is new, before any new one is taken.
STEPS = 64
#: Largest space whose new points are counted to draw one of them; in larger ones a drawn point is almost surely new.
COUNTED = 100_000

Point = tuple[float, ...]


@dataclass(frozen=True)
class Proposed:
    """One point to solve.

    Attributes
    ----------
    values
        By dimension name.
    trial
        Optuna's; None for a point of a list.
    fresh
        Whether no trial had this point before. A repeated one is solved too, for its own weighting, but counts as no trial.
    """

    values: Mapping[str, float]
    trial: optuna.Trial | None
    fresh: bool


class Proposals:
    """Batches of proposals of a search.

    The sampler proposes; for each repeated point a new one in its neighbourhood is added. Where no more points exist than trials
    are asked for, all points are listed instead.

    Parameters
    ----------
    sampler, seed
        See :func:`dse.search.loop.optuna_study.propose`.
    listed
        Take all points in the order of their values, whatever their number.
    trials
        That the whole search may have; None: no limit.
    done
        Points that were solved before, those of the study and then those of the list.

    Attributes
    ----------
    start, starts_together
        Proposals of the first trials, by dimension name, and how many of them form a batch, if more than one.
    """

    def __init__(
        self,
        study: optuna.Study,
        dimensions: Sequence[Dimension],
        sampler: str,
        seed: int,
        listed: bool,
        trials: int | None,
        done: int,
    ) -> None:
        self.study, self.dimensions, self.sampler, self.seed = study, dimensions, sampler, seed
        self.of = points(dimensions)
        self.size = size(dimensions)
        self.listed = listed or (trials is not None and trials >= self.size)
        self.start: Sequence[Mapping[str, float]] = ()
        self.starts_together = 1
        named = {dimension.name: dimension for dimension in self.of}
        self.seen: set[Point] = {
            tuple(named[name].value(trial.params[name]) for name in named)
            for trial in study.get_trials(deepcopy=False)
            if named.keys() <= trial.params.keys()
        }
        self.rest: Iterator[dict[str, float]] = iter(())
        if self.listed or done > len(self.seen):
            known = frozenset(self.seen)
            self.rest = (values for values in every(dimensions) if self._point(values) not in known)
            for values in islice(self.rest, done - len(self.seen)):
                self.seen.add(self._point(values))

    @property
    def left(self) -> int:
        """Points that no trial had yet."""
        return self.size - len(self.seen)

    def batch_size(self) -> int:
        """Trials of the next batch, as far as any budget goes."""
        if self.listed:
            return LISTED_BATCH
        # Larger batches of what is known from the start end where proposals begin.
        known = min(self.starts_together, len(self.start) - len(self.study.trials))
        return known if known > 0 and self.starts_together > 1 else batch_of(self.sampler)

    def batch(self, count: int) -> list[Proposed]:
        """``count`` new points, fewer where there are no more, and the repeated ones that the sampler asked for besides."""
        count = min(count, self.left)
        if self.listed:
            listed = list(islice(self.rest, count))
            self.seen.update(map(self._point, listed))
            return [Proposed(values, None, True) for values in listed]
        first = len(self.study.trials)
        known = list(self.start[first : first + count])
        if self.sampler == "qmc":
            known += low_discrepancy(self.dimensions, self.seed, len(self.seen), count - len(known))
        found = self._taken(known, count, first)
        generator = np.random.default_rng([self.seed, first])
        given = [self._near(item.values, generator) for item in found if not item.fresh]
        return found + [replace(item, fresh=True) for item in self._taken(given, len(given), first + count)]

    def _taken(self, given: Sequence[Mapping[str, float]], count: int, first: int) -> list[Proposed]:
        trials, proposals = propose(self.study, self.dimensions, self.sampler, self.seed, first, count, given)
        found = []
        for trial, proposal in zip(trials, proposals, strict=True):
            values = {dimension.name: dimension.value(proposal[dimension.name]) for dimension in self.dimensions}
            point = self._point(values)
            found.append(Proposed(values, trial, point not in self.seen))
            self.seen.add(point)
        return found

    def _near(self, values: Mapping[str, float], generator: np.random.Generator) -> dict[str, float]:
        """A new point a few steps from a repeated one, as a proposal; its other dimensions are the repeated one's."""
        place = [dimension.values.index(values[dimension.name]) for dimension in self.of]
        for _ in range(STEPS):
            k = int(generator.integers(len(place)))
            place[k] = int(np.clip(place[k] + generator.choice((-1, 1)), 0, len(self.of[k].values) - 1))
            if self._at(place) not in self.seen:
                return self._proposal(values, place)
        if self.size <= COUNTED:
            free = [row for row in every(self.dimensions) if self._point(row) not in self.seen]
            picked = free[int(generator.integers(len(free)))]
            return self._proposal(values, [d.values.index(picked[d.name]) for d in self.of])
        while self._at(place) in self.seen:
            place = [int(generator.integers(len(dimension.values))) for dimension in self.of]
        return self._proposal(values, place)

    def _proposal(self, values: Mapping[str, float], place: Sequence[int]) -> dict[str, float]:
        # Taken at once: the next repeated point of the batch has to find another.
        self.seen.add(self._at(place))
        moved = {dimension.name: dimension.values[p] for dimension, p in zip(self.of, place, strict=True)}
        return {d.name: d.proposal({**values, **moved}[d.name]) for d in self.dimensions}

    def _at(self, place: Sequence[int]) -> Point:
        return tuple(dimension.values[p] for dimension, p in zip(self.of, place, strict=True))

    def _point(self, values: Mapping[str, float]) -> Point:
        return tuple(values[dimension.name] for dimension in self.of)
