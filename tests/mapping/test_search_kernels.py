"""Moves of the compiled search, variants of what it found, and searches that go on from a table's rows."""

from __future__ import annotations

import numpy as np
import pytest

from dse.mapping.best.compiled import Record, outer
from dse.mapping.best.records import MAC, POINT, STATE, WORK
from dse.mapping.best.search.family_kernel import OCTAVES, variants
from dse.mapping.best.search.move_kernel import changed, single_growths
from dse.mapping.best.search.search import floors, search
from dse.mapping.best.space import Options, cases_of, slots_of
from dse.mapping.best.tables.refine import refined
from dse.mapping.best.tables.table import build
from dse.mapping.best.unrolling import unrollings
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage
from dse.names import ROLES

ARRAY = ArrayShape(
    (Axis("rows", 4, ("C", "R")), Axis("cols", 4, ("K",))),
    (Storage("w", ("weight",), ()), Storage("buffer", ROLES, ("rows", "cols"))),
)
NEST = Nest((2, 1, 40, 24, 12, 10, 3, 3))


@outer
def exchanged(case: Record, state: Record, work: Record) -> bool:
    """Rows and columns exchanged: the first move behind single growths, slots held or not, and slots elsewhere."""
    return changed(case, state, work, single_growths(case.slots) + case.slots + case.slots * case.slots)


def made(nest: Nest = NEST) -> tuple[np.ndarray, np.ndarray, int]:
    cases = cases_of(nest, ARRAY, unrollings(nest, ARRAY), Options())
    state = np.zeros(1, STATE)
    n = int(cases["slots"][0])
    state["order"], state["held"][:, :n] = np.arange(state["order"].shape[1]), 1
    return cases, state, n


@pytest.mark.parametrize(("dims", "does"), [((2, 1, 4, 4, 12, 10, 3, 3), True), ((2, 1, 4, 4, 1, 10, 1, 3), True), ((2, 1, 4, 4, 1, 1, 3, 3), False)])
def test_exchanging_rows_and_columns_exchanges_the_growth_of_all_slots(dims: tuple[int, ...], does: bool) -> None:
    cases, state, n = made(Nest(dims))
    grown = np.arange(1.0, 8.0)
    for s in (*range(n), MAC):
        state["left"][0, s] = grown + s
    assert exchanged(cases[0], state[0], np.zeros(1, WORK)[0]) == does
    for s in (*range(n), MAC):
        assert state["left"][0, s].tolist() == (np.array([1.0, 2.0, 3.0, 5.0, 4.0, 7.0, 6.0]) + s).tolist()


def test_variants_are_a_state_as_it_is_and_ladders_of_each_growth() -> None:
    cases, state, _ = made()
    s = slots_of(ARRAY).index(next(slot for slot in slots_of(ARRAY) if slot.role == "weight"))
    state["left"][0, s, 0] = 2.0  # N: two trips outside of weights, which is all of them
    point, work, out = np.zeros(1, POINT)[0], np.zeros(1, WORK)[0], np.zeros(4000, STATE)

    def found(ladders: bool) -> list[tuple[bytes, int, int]]:
        slot, dim = np.full(4000, -9), np.zeros(4000, np.int64)
        count = variants(cases, state, ladders, point, work, np.zeros(1, STATE), out, slot, dim)
        return [(out[i]["left"].tobytes(), int(slot[i]), int(dim[i])) for i in range(count)]

    plain, ladders = found(False), found(True)
    assert [slot for _, slot, _ in plain].count(-1) == 1
    assert plain[0][0] == state["left"][0].tobytes()
    assert len(set(plain)) == len(plain)
    assert len(set(ladders)) == len(ladders)
    assert plain == ladders[: len(plain)]
    assert all(slot >= 0 for _, slot, _ in ladders[len(plain) :])
    # K of 40 on 4 columns: 10 trips, all outside of the buffer's activations; a ladder halves what is left
    x = next(i for i, slot in enumerate(slots_of(ARRAY)) if slot.role == "activation")
    left = {float(np.frombuffer(row).reshape(-1, 7)[x, 1]) for row, _, _ in ladders}
    case = cases[0]
    trips = float(case["trips"][1])
    steps = {min(trips, max(1.0, np.ceil(trips * 2.0**k))) for k in range(-OCTAVES, OCTAVES + 1)} - {trips}
    assert left == {0.0, *steps}


@pytest.mark.parametrize("objective", [0, 1, 2])
def test_a_search_from_a_table_is_as_good_as_one_from_all_starts(objective: int) -> None:
    """Within half a per cent, at a point that the table was not searched at."""
    rng = np.random.default_rng(objective)
    points = np.zeros(3, POINT)
    points["read"][:, :3] = np.array([0.2, 1.5, 40.0])[None, :, None]
    points["write"] = points["read"]
    points["time"][:, :3] = np.array([0.01, 0.02, 0.15])[None, :, None] * rng.choice([2, 8], (3, 1, 1))
    points["kept"], points["finished"] = 8.0, 8.0
    points["capacity"][:, :2] = [[64.0, 20_000.0], [64.0, 120_000.0], [32.0, 52_345.0]]
    points["base"], points["leak"], points["step"], points["lanes"], points["overlap"] = 1.0, 0.5, 1.0, 1.0, 1
    points["objective"] = objective
    table = build(NEST, ARRAY, points, np.array([2, 0, -1]))
    found = search(NEST, ARRAY, points[2:], np.array([2]), Options(), 12, 60)
    assert (floors(found.cases, points[2:]).min() <= found.value * (1 + 1e-9)).all()
    assert refined(table, points[2:], Options()).value <= found.value[0] * 1.005
