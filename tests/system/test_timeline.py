"""One step laid out pass by pass ends where the closed form of the step's time says, and in the order that is required."""

from itertools import pairwise

import pytest

import dse
from dse.errors import InputError
from dse.system import Communication, Parallel
from dse.system.plans.arrays import plans_of
from dse.system.plans.timeline import order_of, step_layout, timeline
from dse.system.plans.times import step_times


@pytest.mark.parametrize(("stages", "steps", "pieces"), [(1, 4, 1), (4, 8, 1), (4, 2, 1), (4, 8, 2), (8, 16, 4), (2, 6, 3)])
def test_even_stages_end_where_the_closed_form_says(stages, steps, pieces):
    events = timeline([1.0] * stages, [2.0] * stages, steps, pieces)
    assert max(item.end_s for item in events) == pytest.approx(3.0 * steps + 3.0 * (stages - 1) / pieces)
    assert len(events) == 2 * stages * steps * pieces


def test_passes_wait_for_what_they_need_and_stages_do_one_at_a_time():
    events = timeline([1.0, 1.5, 1.0, 2.0], [2.0, 3.0, 2.0, 3.5], 8, 2, 0.25)
    place = {(item.piece * 4 + item.stage, item.micro_batch, item.backward): item for item in events}
    for (at, batch, backward), item in place.items():
        before = place.get((at + 1, batch, True)) if backward else place.get((at - 1, batch, False))
        if before is not None:
            assert item.begin_s >= before.end_s + 0.25 - 1e-12
        if backward:
            assert item.begin_s >= place[at, batch, False].end_s - 1e-12
    for stage in range(4):
        own = sorted((item.begin_s, item.end_s) for item in events if item.stage == stage)
        assert all(a[1] <= b[0] + 1e-12 for a, b in pairwise(own))


def test_no_stage_holds_more_micro_batches_than_the_memory_counts():
    for stage in range(4):
        held = most = 0
        for item in order_of(stage, 4, 8, 1):
            held += -1 if item.backward else 1
            most = max(most, held)
        assert most == 4 - stage


def test_a_step_on_a_system_takes_as_long_as_its_layout(rows):
    small, system = rows(256, 8, 8, 128), dse.load_system("dgx_h100")
    plan = Parallel(2, 2, 4, micro_batch=2, interleave=2, sequence_parallel=True)
    layout = step_layout(small, system, Communication(), plan, 8)
    end = max([item.end_s for item in layout.events] + [item.end_s for item in layout.tail])
    step = float(step_times(small, plans_of([plan], 8), system, Communication()).step[0])
    assert layout.stages == 4
    assert end == pytest.approx(step, rel=0.05)
    with pytest.raises(InputError, match="multiples of 4 stages"):
        timeline([1.0] * 4, [1.0] * 4, 6, 2)
