"""Laws of the best mapping, tables on disk, and figures known by hand."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from dse.mapping.best.records import CLASSES, POINT
from dse.mapping.best.search.search import floors, search
from dse.mapping.best.space import Options, slots_of
from dse.mapping.best.tables import cache
from dse.mapping.best.tables.cache import build_table
from dse.mapping.best.tables.score import look_up
from dse.mapping.best.tables.score_kernel import Designs, Formats
from dse.mapping.best.tables.table import Table, _counted, build
from dse.mapping.best.unrolling import unrollings
from dse.mapping.explicit.mapping import check_mapping
from dse.mapping.nest import ArrayShape, Axis, Nest, Storage
from dse.names import DIMS, MAPPING_OBJECTIVES, ROLES

SMALL = ArrayShape(
    (Axis("rows", 4, ("C", "R", "S")), Axis("cols", 4, ("K",))),
    (
        Storage("weights", ("weight",), ()),
        Storage("sums", ("accumulator",), ("rows",)),
        Storage("buffer", ("weight", "activation", "accumulator"), ("rows", "cols")),
    ),
)
FLAT = ArrayShape(
    (Axis("rows", 16, ("C", "R", "S"), True), Axis("cols", 32, ("K",))), (Storage("b", ("weight",), ("rows", "cols")),)
)
EYERISS = ArrayShape(
    (Axis("rows", 12, ("R", "C")), Axis("cols", 14, ("P", "K"))),
    (
        Storage("w", ("weight",), ()),
        Storage("x", ("activation",), ()),
        Storage("y", ("accumulator",), ()),
        Storage("global", ("activation", "accumulator"), ("rows", "cols")),
    ),
)
DEEP = ArrayShape(
    (Axis("rows", 4, ("C",)), Axis("clusters", 2, ("K", "P"))),
    (
        Storage("w", ("weight",), ()),
        Storage("local", ROLES, ("rows",)),
        Storage("near", ROLES, ("rows", "clusters")),
        Storage("far", ("activation", "accumulator"), ("rows", "clusters")),
    ),
)
ARRAYS = {"small": SMALL, "eyeriss": EYERISS, "deep": DEEP}

#: Fields of formats that fewer bits shrink.
NARROWER = ("bits", "dram_bits", "kept", "word")

dims = st.tuples(
    st.integers(1, 4), st.integers(1, 2), st.integers(1, 13), st.integers(1, 9), st.integers(1, 8), st.integers(1, 5),
    st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
nests = st.builds(
    Nest, dims, st.sampled_from(["forward", "backward_data", "backward_weight"]),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
)  # fmt: skip


def asked(array: ArrayShape, seed_: int, n: int = 4) -> np.ndarray:
    """Random prices, capacities and objectives."""
    rng, slots, memories = np.random.default_rng(seed_), slots_of(array), len(array.storages)
    points = np.zeros(n, POINT)
    for name in ("read", "write", "time"):
        points[name][:, : memories + 1] = rng.lognormal(-2, 1, (n, memories + 1, 1)) * rng.choice([2, 8, 16], (n, 1, 7))
    points["kept"][:, : len(slots)] = rng.choice([2.0, 8.0, 16.0], (n, len(slots)))
    points["finished"] = points["kept"]
    points["capacity"][:, :memories] = rng.choice([64.0, 512.0, 8192.0], (n, memories))
    points["base"], points["leak"], points["step"] = rng.uniform(0, 9, n), rng.uniform(0, 1, n), 1.0
    points["lanes"], points["objective"], points["overlap"] = rng.choice([1.0, 4.0], n), np.arange(n) % 3, 1
    return points


def made(nest: Nest, array: ArrayShape, seed_: int = 0) -> Table:
    return build(nest, array, asked(array, seed_), np.array([2, 1, 1, -1]))


def questions(table: Table, seed_: int, jobs: int = 3, designs: int = 4) -> tuple[Formats, Designs]:
    rng = np.random.default_rng(seed_)
    slots, memories = len(table.slots), len(table.array.storages)
    bits = rng.choice([2.0, 4.0, 8.0], (jobs, slots))
    formats = Formats(
        np.zeros(jobs, np.int64), *rng.choice([2.0, 4.0, 8.0], (2, jobs, len(CLASSES))), bits, bits.copy(),
        rng.choice([1.0, 2.0], (jobs, 1)), rng.choice([1.0, 4.0], (jobs, 1)),
    )  # fmt: skip
    price = rng.lognormal(-1, 1, (2, designs, memories + 1))
    capacity = rng.choice([256.0, 1024.0, 65536.0], (designs, memories + 1))
    width = rng.choice([16.0, 128.0], (designs, memories + 1))
    return formats, Designs(price[0], price[1], width, capacity, rng.uniform(0, 1, designs), rng.uniform(0, 9, (designs, jobs)), np.zeros_like(width))


def cost(table: Table, formats: Formats, designs: Designs, objective: str) -> np.ndarray:
    best = look_up([table], formats, designs, objective)
    return {"energy": best.energy, "latency": best.cycles, "edp": best.energy * best.cycles}[objective]


@pytest.mark.parametrize("name", ARRAYS)
@seed(12)
@settings(max_examples=12, deadline=None)
@given(nest=nests)
def test_every_row_re_evaluates_to_the_same_counts(name: str, nest: Nest) -> None:
    """The explicit model counts each row's loops alone, at several sizes of its elastic growth: ragged, strided, bypassed."""
    array = ARRAYS[name]
    table = made(nest, array)
    kinds = [(column.level, CLASSES.index(column.elements), int(column.writes)) for column in table.columns]
    for row in range(0, len(table), max(1, len(table) // 25)):
        for left in {int(table.least[row]), ceil(table.trips[row] / 2), int(table.trips[row])}:
            mapping = table.explicit(row, left)
            check_mapping(mapping, nest, {axis.name: axis.size for axis in array.axes})
            counts, tiles = _counted(table, [mapping])
            counts = counts.reshape(len(array.storages) + 1, len(CLASSES), 2)
            ours = table.counts[row] + left * table.slopes[row]
            np.testing.assert_allclose([counts[k] for k in kinds], ours, rtol=1e-12, err_msg=str((nest, row, left)))
            assert counts.sum() == pytest.approx(ours.sum(), rel=1e-12)
            size = ceil(table.trips[row] / left)
            np.testing.assert_allclose(tiles[0], table.tiles[row] + size * table.widths[row], rtol=1e-12)


@seed(7)
@settings(max_examples=12, deadline=None)
@given(nests, st.sampled_from([SMALL, EYERISS, DEEP]), st.integers(0, 99))
def test_more_never_costs_more(nest: Nest, array: ArrayShape, number: int) -> None:
    """More room, fewer bits, more bandwidth, lower prices or more lanes never cost more in the chosen objective."""
    table = made(nest, array)
    rng = np.random.default_rng(number)
    formats, designs = questions(table, number)
    for objective in MAPPING_OBJECTIVES:
        base = cost(table, formats, designs, objective)
        better = (
            (formats, designs._replace(capacity=designs.capacity * rng.uniform(1, 4, designs.capacity.shape))),
            (formats, designs._replace(width=designs.width * rng.uniform(1, 4, designs.width.shape))),
            (formats, designs._replace(read=designs.read * 0.5)),
            (formats._replace(**{name: getattr(formats, name) * 0.5 for name in NARROWER}), designs),
            (formats._replace(lanes=formats.lanes * 2), designs),
        )
        for f, d in better:
            assert (cost(table, f, d, objective) <= base * (1 + 1e-12)).all()


def test_a_pair_costs_the_same_alone_and_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        made(Nest((2, 1, 16, 16, 8, 8, 3, 3)), SMALL),
        made(Nest((2, 1, 12, 20, 6, 6, 1, 1), "backward_data"), SMALL),
    )
    formats, designs = questions(one, 3, jobs=40, designs=30)
    both = look_up([one, two], formats._replace(table=np.arange(40) % 2), designs)
    monkeypatch.setattr("dse.mapping.best.tables.score.PAIRS_PER_THREAD", 10)
    again = look_up([one, two], formats._replace(table=np.arange(40) % 2), designs)
    alone = look_up([two], formats, designs._replace(**{n: getattr(designs, n)[4:5] for n in designs._fields}))
    for name in ("row", "left", "energy", "cycles", "bound"):
        assert getattr(both, name).tobytes() == getattr(again, name).tobytes()
        assert (getattr(alone, name)[0, 1::2] == getattr(both, name)[4, 1::2]).all()


def test_infeasible_names_memory_and_shortfall() -> None:
    table = made(Nest((1, 1, 4, 4, 4, 4, 1, 1)), SMALL)
    formats, designs = questions(table, 0, 1, 1)
    formats = formats._replace(kept=np.full_like(formats.kept, 8.0), word=np.full_like(formats.word, 8.0))
    found = look_up([table], formats, designs._replace(capacity=np.array([[5.0, 1024.0, 1e9, np.inf]])))
    assert (found.row[0, 0], found.short[0, 0], found.missing[0, 0]) == (-1, 0, 3.0)
    assert np.isinf(found.energy[0, 0])


def test_negative_prices_are_refused() -> None:
    table = made(Nest((1, 1, 2, 2, 2, 2, 1, 1)), SMALL)
    formats, designs = questions(table, 0)
    with pytest.raises(ValueError, match="negative"):
        look_up([table], formats, designs._replace(read=-designs.read))


@pytest.mark.parametrize(("k", "c", "r"), [(64, 3, 7), (64, 64, 3), (100, 48, 5), (1000, 512, 1), (31, 7, 3)])
@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
def test_bit_fusion_cycles(k: int, c: int, r: int, lanes: int) -> None:
    """The simulator's formula N*P*Q*ceil(K/32)*ceil(R*S*C/(16*lanes)) on a flattened axis."""
    found = unrollings(Nest((2, 1, k, c, 5, 6, r, r)), FLAT)
    steps = min(u.steps_other * ceil(u.steps_reduction / lanes) for u in found)
    assert steps == 2 * 5 * 6 * ceil(k / 32) * ceil(r * r * c / (16 * lanes))


def shaped(rows: tuple[str, ...], size: int = 16) -> ArrayShape:
    return ArrayShape(
        (Axis("rows", size, rows), Axis("cols", 16, ("K",))), (Storage("buffer", ROLES, ("rows", "cols")),)
    )


@pytest.mark.parametrize(
    "nest", [Nest((1, 1, 64, 3, 56, 56, 3, 3)), Nest((8, 1, 40, 24, 14, 14, 3, 3), "backward_weight")]
)
def test_an_axis_that_may_unroll_more_has_all_unrollings_of_one_that_may_unroll_fewer(nest: Nest) -> None:
    """And the order in which dims are listed is no information."""
    every = {u.factors for u in unrollings(nest, shaped(("C", "P", "Q")))}
    assert every == {u.factors for u in unrollings(nest, shaped(("Q", "C", "P")))}
    for fewer in (("C",), ("P",), ("C", "Q"), ("P", "Q")):
        assert {u.factors for u in unrollings(nest, shaped(fewer))} <= every


@pytest.mark.parametrize("objective", MAPPING_OBJECTIVES)
def test_more_dims_on_an_axis_are_never_worse(objective: str) -> None:
    nest = Nest((1, 1, 64, 6, 28, 28, 3, 3))
    points = asked(shaped(("C",)), 1, 1)
    points["objective"] = MAPPING_OBJECTIVES.index(objective)
    value = {
        rows: search(nest, shaped(rows), points, np.array([2])).value[0] for rows in (("C",), ("C", "Q"), ("Q", "C"))
    }
    assert value["C", "Q"] == value["Q", "C"] <= value["C",]


def test_sizes_are_no_obstacle() -> None:
    """Dims up to 1e9 and an axis of 65,536 elements that may unroll five of them."""
    array = ArrayShape((Axis("pes", 65536, tuple("NKCPQ")),), (Storage("buffer", ROLES, ("pes",)),))
    points = asked(array, 2, 1)
    points["capacity"] = 1e8
    for nest in (Nest((10**9, 1, 4096, 4096, 1, 1, 1, 1)), Nest((32, 1, 512, 512, 10**9, 28, 3, 3))):
        found = search(nest, array, points, np.array([2]))
        assert len(found.unrolls) <= 256
        assert np.isfinite(found.value[0])


def test_no_mapping_is_below_the_floor() -> None:
    for array in ARRAYS.values():
        nest = Nest((2, 1, 16, 9, 7, 5, 3, 3), stride=(2, 1))
        points = asked(array, 5)
        found = search(nest, array, points, np.array([2, 1, 1, 1]))
        low = floors(found.cases, points).min(axis=0)
        assert (low <= found.value * (1 + 1e-9)).all()


def test_options_restrict_what_is_searched() -> None:
    nest = Nest((1, 1, 16, 8, 8, 8, 1, 1))
    points, effort = asked(SMALL, 4), np.array([2, 1, 1, -1])
    free = build(nest, SMALL, points, effort)
    sized = build(nest, SMALL, points, effort, Options(sizes=(("P", (2,)),)))
    held = build(nest, SMALL, points, effort, Options(held=(("buffer", "weight"), ("weights", "weight"))))
    passed = build(nest, SMALL, points, effort, Options(bypassed=(("sums", "accumulator"),)))
    narrow = build(nest, SMALL, points, effort, Options(unroll=(("rows", ()),)))
    weight = [i for i, slot in enumerate(free.slots) if slot.role == "weight"]
    sums = next(i for i, slot in enumerate(free.slots) if slot.role == "accumulator" and slot.storage == 1)
    assert held.states["held"][:, weight].all()
    assert not passed.states["held"][:, sums].any()
    assert all(u.spatial[DIMS.index("C")] == 1 for u in narrow.unrolls)
    for row in range(sized.smallest, len(sized)):
        loops = [loop for loop in sized.explicit(row).loops if loop.dim == "P" and loop.axis is None]
        inside = 1
        for loop in loops[:-1]:
            inside *= loop.extent
            assert inside in (1, 2, 8)


def test_cache_returns_the_same_table_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path))
    nest, points, effort = Nest((1, 1, 8, 8, 4, 4, 1, 1)), asked(SMALL, 0), np.array([2, 1, 1, -1])

    def table() -> Table:
        return build_table(nest, SMALL, points, effort)

    cache.forget()
    first = table()
    (stored,) = tmp_path.iterdir()
    cache.forget()
    second = table()
    assert second is not first
    assert second is table()
    for name in ("counts", "slopes", "tiles", "widths", "trips", "least", "slot", "dim", "steps"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    for name in ("columns", "slots", "unrolls", "macs", "smallest"):
        assert getattr(first, name) == getattr(second, name)
    assert [second.explicit(i) for i in range(len(second))] == [first.explicit(i) for i in range(len(first))]
    for damage in (b"", b"no table", stored.read_bytes()[:-200]):
        stored.write_bytes(damage)
        cache.forget()
        assert table().counts.tobytes() == first.counts.tobytes()
    assert {p.suffix for p in tmp_path.iterdir()} == {".npz"}
    build_table(nest, SMALL, points, effort, Options(stationary="weight"))
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setenv("DSE_CACHE_DIR", str(stored))  # a file: nothing can be written there
    cache.forget()
    assert table().counts.tobytes() == first.counts.tobytes()
