"""One step of a pipeline, pass by pass: which stage works on which micro batch when.

The order on every stage is that of 1F1B, and of its interleaved form in pieces (Narayanan et al., SC 2021, arXiv 2104.04473,
section 2.2): a stage first takes the forward passes that keep the ones behind it busy, then one forward and one backward in turn.
Passes are begun as soon as what they need has come; a message between stages takes ``send_s``. For even stages without sends the
end is ``M t + (p - 1) t / v``, the closed form of :mod:`dse.system.plans.times`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dse.errors import InputError
from dse.system.model import Parallel, System
from dse.system.network.rows import Rows
from dse.system.plans.arrays import plans_of
from dse.system.plans.times import Communication, sends_s, stages_of, step_times

#: Most passes that are laid out.
MOST_PASSES = 200_000


class Event(NamedTuple):
    """A pass of one micro batch through a piece of a stage: begin and end in seconds; ``backward`` or forward."""

    stage: int
    piece: int
    micro_batch: int
    backward: bool
    begin_s: float
    end_s: float


class Pass(NamedTuple):
    """What is run: a micro batch through a piece, backward or forward."""

    piece: int
    micro_batch: int
    backward: bool


class Tail(NamedTuple):
    """What all stages do behind the passes: the rest of the gradients' collective, the optimizer."""

    kind: str
    begin_s: float
    end_s: float


class Layout(NamedTuple):
    """One step: passes, what follows them, stages."""

    events: list[Event]
    tail: list[Tail]
    stages: int


def step_layout(
    rows: Rows, system: System, communication: Communication, parallel: Parallel, steps: int
) -> Layout | None:
    """One step of a plan pass by pass; None where it has more than :data:`MOST_PASSES`.

    Sends between stages take their time here whatever hides behind them, so that the end may differ from the step's time by less
    than one send for each pass of a micro batch.
    """
    plans = plans_of([parallel], steps)
    stages = stages_of(rows, plans, system, communication)
    count = parallel.pipeline
    if 2 * count * steps * parallel.interleave > MOST_PASSES:
        return None
    works = [stages.first, *[stages.middle] * max(count - 2, 0), *[stages.last] * (count > 1)]
    backward = [float(work.backward[0]) for work in works]
    forward = [float(work.total[0]) - back for work, back in zip(works, backward, strict=True)]
    send = float(sends_s(rows, plans, system, communication)[0]) if count > 1 else 0.0
    events = timeline(forward, backward, steps, parallel.interleave, send)
    end, tail = max(item.end_s for item in events), []
    times = step_times(rows, plans, system, communication)
    for kind, took in (("gradients", float(times.data[0])), ("optimizer", float(times.optimizer[0]))):
        if took > 0:
            tail.append(Tail(kind, end, end + took))
            end += took
    return Layout(events, tail, count)


def order_of(stage: int, stages: int, micro_batches: int, pieces: int) -> list[Pass]:
    """The order of passes on one stage."""
    total = micro_batches * pieces
    early = 2 * (stages - stage - 1) + (pieces - 1) * stages if pieces > 1 else stages - stage - 1
    early = min(early, total)

    def pass_(place: int, backward: bool) -> Pass:
        piece = place % (stages * pieces) // stages if pieces > 1 else 0
        batch = place // (stages * pieces) * stages + place % stages if pieces > 1 else place
        return Pass(pieces - 1 - piece if backward else piece, batch, backward)

    order = [pass_(place, False) for place in range(early)]
    for place in range(early, total):
        order += [pass_(place, False), pass_(place - early, True)]
    return order + [pass_(place, True) for place in range(total - early, total)]


def timeline(
    forward_s: Sequence[float], backward_s: Sequence[float], micro_batches: int, pieces: int = 1, send_s: float = 0.0
) -> list[Event]:
    """All passes of a step, in the order in which they begin.

    Parameters
    ----------
    forward_s, backward_s
        Of one micro batch, by stage.
    pieces
        Of every stage; more than one takes micro batches in multiples of the stages.

    Raises
    ------
    InputError
        Interleaving with other numbers of micro batches; more than :data:`MOST_PASSES` passes.
    """
    stages = len(forward_s)
    if pieces > 1 and micro_batches % stages:
        raise InputError(
            "timeline", [f"pieces take micro batches in multiples of {stages} stages, got {micro_batches}"]
        )
    if stages * micro_batches * pieces * 2 > MOST_PASSES:
        raise InputError("timeline", [f"more than {MOST_PASSES:,} passes"])
    orders = [order_of(stage, stages, micro_batches, pieces) for stage in range(stages)]
    done: dict[tuple[int, int, bool], float] = {}
    place, free, events = [0] * stages, [0.0] * stages, []
    waiting = set(range(stages))
    while waiting:
        moved = False
        for stage in sorted(waiting):
            while place[stage] < len(orders[stage]):
                item = orders[stage][place[stage]]
                ready = _ready(done, stage, stages, pieces, item, send_s)
                if ready is None:
                    break
                begin = max(ready, free[stage])
                took = (backward_s if item.backward else forward_s)[stage] / pieces
                free[stage] = begin + took
                done[item.piece * stages + stage, item.micro_batch, item.backward] = free[stage]
                events.append(Event(stage, item.piece, item.micro_batch, item.backward, begin, free[stage]))
                place[stage] += 1
                moved = True
            if place[stage] == len(orders[stage]):
                waiting.discard(stage)
        assert moved or not waiting, "the order of passes waits for itself"
    return sorted(events, key=lambda item: (item.begin_s, item.stage))


def _ready(
    done: dict[tuple[int, int, bool], float], stage: int, stages: int, pieces: int, item: Pass, send_s: float
) -> float | None:
    """When what a pass needs is there; None: not yet known."""
    place, last = item.piece * stages + stage, stages * pieces - 1
    if not item.backward:
        before = done.get((place - 1, item.micro_batch, False)) if place else 0.0
        return before if before is None or not place else before + send_s
    own = done.get((place, item.micro_batch, False))
    if place == last or own is None:
        return own
    behind = done.get((place + 1, item.micro_batch, True))
    return None if behind is None else max(own, behind + send_s)
