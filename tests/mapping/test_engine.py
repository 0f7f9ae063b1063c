"""Laws of the best mapping, tables on disk, and figures known by hand or from ZigZag."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from dse.mapping.best import cache
from dse.mapping.best.candidates import Options, ceil_sizes, unrollings
from dse.mapping.best.engine import Points, Scores, Table, build_table, enumerate_table, front, score, score_many
from dse.mapping.explicit.counts import ENGINE, batch_of, counts_of_batch
from dse.mapping.explicit.mapping import check_mapping
from dse.mapping.nest import ROLES, ArrayShape, Axis, Nest, Storage

TPU_LIKE = ArrayShape(
    (Axis("D1", 32, ("K",)), Axis("D2", 32, ("C",))),
    (
        Storage("rf_128B", ("weight",), ()),
        Storage("rf_2B", ("accumulator",), ()),
        Storage("sram_2MB", ("activation", "accumulator"), ("D1", "D2")),
    ),
)
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

dims = st.tuples(
    st.integers(1, 4), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(1, 5),
    st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
nests = st.builds(
    Nest,
    dims,
    st.sampled_from(["forward", "backward_data", "backward_weight"]),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    swap=st.just(False),
)


def points(table: Table, rng: np.random.Generator, n: int = 12) -> Points:
    """Random points at which something fits: inner storages hold at least one element."""
    columns, slots = len(table.columns), len(table.slots)
    memories = len(table.array.storages)
    energy = rng.lognormal(0, 2, (n, columns))
    for j, (role, link, kind) in enumerate(table.columns):
        if (role, link, kind) == ("accumulator", "mac", "parent_reads"):
            energy[:, j] = 0.0
    bits = rng.choice([2.0, 4.0, 8.0, 16.0], (n, slots))
    capacity = rng.choice([64.0, 256.0, 1024.0], (n, memories))
    capacity[:, -1] *= 64
    return Points(
        energy, rng.uniform(0, 9, n), rng.integers(1, 4, n).astype(float), rng.choice([1.0, 2.0, 4.0, 16.0], n),
        rng.lognormal(-2, 1, (n, 2, columns)), bits, capacity, np.array([s.storage for s in table.slots]), rng.uniform(0, 1, n),
    )  # fmt: skip


def changed(x: Points, **fields: object) -> Points:
    return Points(**{**{f: getattr(x, f) for f in Points.__dataclass_fields__}, **fields})  # type: ignore[arg-type]


def objective_value(scores: Scores, objective: str) -> np.ndarray:
    values = {"energy": scores.energy_pj, "latency": scores.cycles, "edp": scores.energy_pj * scores.cycles}
    return values[objective]


@seed(7)
@settings(max_examples=25, deadline=None)
@given(nests, st.sampled_from([SMALL, EYERISS]), st.integers(0, 99))
def test_more_never_costs_more(nest: Nest, array: ArrayShape, number: int) -> None:
    """A larger buffer, fewer bits or more bandwidth never cost more in the chosen objective."""
    table = enumerate_table(nest, array, Options(max_tiles=(6, 4, 4), max_elements=(64,) * (len(array.storages) - 1) + (1e9,)))
    rng = np.random.default_rng(number)
    x = points(table, rng)
    for objective in ("energy", "latency", "edp"):
        base = objective_value(score(table, x, objective), objective)
        more_room = changed(x, capacity_bits=x.capacity_bits * rng.uniform(1, 4, x.capacity_bits.shape))
        fewer_bits = changed(
            x,
            bits_per_slot=x.bits_per_slot * 0.5,
            energy_per_column=x.energy_per_column * 0.5,
            cycles_per_element=x.cycles_per_element * 0.5,
        )
        faster = changed(x, cycles_per_element=x.cycles_per_element * rng.uniform(0.1, 1, x.cycles_per_element.shape))
        more_lanes = changed(x, lanes=x.lanes * 2)
        for better in (more_room, fewer_bits, faster, more_lanes):
            assert (objective_value(score(table, better, objective), objective) <= base).all()


@seed(8)
@settings(max_examples=15, deadline=None)
@given(nests)
def test_larger_buffer_never_adds_dram_traffic(nest: Nest) -> None:
    """Of the mapping that is best in DRAM traffic."""
    table = enumerate_table(nest, SMALL, Options(max_tiles=(6, 4, 4)))
    x = points(table, np.random.default_rng(0), 1)
    dram = [
        [float(link == "outer" and kind in ("parent_reads", "parent_writes", "final_writes")) for _, link, kind in table.columns]
    ]
    sizes = 2.0 ** np.arange(4, 16)
    capacity = np.column_stack([np.full(len(sizes), 1024.0), np.full(len(sizes), 1024.0), sizes])
    found = score(table, changed(x, energy_per_column=np.array(dram), base_energy=np.zeros(1), energy_per_cycle=np.zeros(1),
                                 capacity_bits=capacity), "energy")  # fmt: skip
    fits = found.index >= 0
    assert (np.diff(fits.astype(int)) >= 0).all()
    assert (np.diff(found.energy_pj[fits]) <= 0).all()
    assert fits[-1]
    if nest.stride == (1, 1):
        assert found.energy_pj[-1] >= min(table.distinct)


def test_same_bits_for_any_number_of_threads() -> None:
    table = enumerate_table(Nest((2, 1, 16, 16, 8, 8, 3, 3)), SMALL, Options())
    other = enumerate_table(Nest((2, 1, 12, 20, 6, 6, 1, 1), "backward_data"), SMALL, Options())
    rng = np.random.default_rng(3)
    given_points = [points(table, rng, 200), points(other, rng, 200)]
    results = []
    for threads in (1, 2):
        if threads <= numba.config.NUMBA_NUM_THREADS:
            numba.set_num_threads(threads)
            results.append(score_many([table, other], given_points))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for name in ("index", "energy_pj", "cycles", "bound"):
        assert getattr(results[0], name).tobytes() == getattr(results[-1], name).tobytes()
    alone = score(other, given_points[1])
    assert alone.energy_pj.tobytes() == results[0].energy_pj[1].tobytes()
    assert (results[0].index >= 0).any()


def test_infeasible_names_memory_and_shortfall() -> None:
    table = enumerate_table(Nest((1, 1, 4, 4, 4, 4, 1, 1)), SMALL, Options())
    x = points(table, np.random.default_rng(0), 1)
    slots = len(table.slots)
    found = score(table, changed(x, bits_per_slot=np.full((1, slots), 8.0), capacity_bits=np.array([[5.0, 1024.0, 1e9]])))
    assert found.index[0] == -1
    assert found.short_memory[0] == 0
    assert found.short_bits[0] == 3.0
    assert np.isinf(found.energy_pj[0])
    capped = enumerate_table(Nest((1, 1, 4, 4, 4, 4, 1, 1)), SMALL, Options(max_elements=(0.0, 0.0, 0.0)))
    nothing = points(capped, np.random.default_rng(0), 1)
    found = score(capped, changed(nothing, bits_per_slot=np.full((1, slots), 8.0), capacity_bits=np.array([[5.0, 1024.0, 1e9]])))
    assert (found.index[0], found.short_memory[0], found.short_bits[0]) == (-1, 0, 3.0)


def test_front_has_both_ends_and_nothing_dominated() -> None:
    table = enumerate_table(Nest((4, 1, 16, 8, 6, 6, 3, 3)), SMALL, Options())
    x = points(table, np.random.default_rng(5), 4)
    for p in range(4):
        index, energy, cycles = front(table, x, p)
        lowest, fastest = score(table, x, "energy"), score(table, x, "latency")
        assert energy[0] == pytest.approx(lowest.energy_pj[p], rel=1e-12)
        assert cycles[-1] == pytest.approx(fastest.cycles[p], rel=1e-12)
        assert (np.diff(energy) > 0).all()
        assert (np.diff(cycles) < 0).all()
        assert len(set(index.tolist())) == len(index)


def test_negative_prices_are_refused() -> None:
    table = enumerate_table(Nest((1, 1, 2, 2, 2, 2, 1, 1)), SMALL, Options())
    x = points(table, np.random.default_rng(0), 1)
    with pytest.raises(ValueError, match="negative"):
        score(table, changed(x, energy_per_column=-x.energy_per_column))


@pytest.mark.parametrize("total", [1, 2, 7, 12, 13, 56, 112, 1000])
def test_ceil_sizes(total: int) -> None:
    assert ceil_sizes(total) == sorted({ceil(total / n) for n in range(1, total + 1)})


@pytest.mark.parametrize(("k", "c", "r"), [(64, 3, 7), (64, 64, 3), (100, 48, 5), (1000, 512, 1), (31, 7, 3)])
@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
def test_bit_fusion_cycles(k: int, c: int, r: int, lanes: int) -> None:
    """The simulator's formula N*P*Q*ceil(K/32)*ceil(R*S*C/(16*lanes)) on a flattened axis."""
    (unrolling, *others), _ = unrollings(Nest((2, 1, k, c, 5, 6, r, r)), FLAT, 4)
    assert not others
    steps = unrolling.steps_other * ceil(unrolling.steps_reduction / lanes)
    assert steps == 2 * 5 * 6 * ceil(k / 32) * ceil(r * r * c / (16 * lanes))


def test_options_restrict_the_candidates() -> None:
    nest = Nest((1, 1, 16, 8, 8, 8, 1, 1))
    free = enumerate_table(nest, SMALL, Options())
    fixed = enumerate_table(nest, SMALL, Options(sizes=(("P", (2,)),)))
    assert set(np.unique(fixed.extents[..., 3])) <= {1, 2, 8}
    assert not set(np.unique(free.extents[..., 3])) <= {1, 2, 8}
    capped = enumerate_table(nest, SMALL, Options(max_elements=(1, 2, 1e9)))
    assert capped.footprint[0].max() == 1
    still = enumerate_table(nest, SMALL, Options(stationary="weight", per_change=()))
    weight = next(i for i, s in enumerate(still.slots) if s.role == "weight" and s.level == "inner")
    assert (still.extents[weight + 1] <= still.extents[1:].max(axis=0)).all()
    assert len(still) < len(free)


def test_mapping_covers_the_nest() -> None:
    nest = Nest((2, 2, 16, 9, 7, 5, 3, 3))
    table = enumerate_table(nest, SMALL, Options())
    for i in range(0, len(table), max(1, len(table) // 50)):
        choice = table.mapping(i)
        covered = dict.fromkeys("NGKCPQRS", 1)
        for d, n in [*choice.loops, *(f for _, axis in choice.spatial for f in axis)]:
            covered[d] *= n
        assert all(covered[d] >= bound for d, bound in zip("NGKCPQRS", nest.dims, strict=True))
        cuts = {(role, name): cut for role, name, cut in choice.cuts}
        assert cuts["weight", "weights"] <= cuts["weight", "buffer"]
        assert cuts["accumulator", "sums"] <= cuts["accumulator", "buffer"]


#: Shapes of the array and where X, if it has a private tile, is unrolled along its rows or columns.
ARRAYS = {"small": SMALL, "tpu_like": TPU_LIKE, "eyeriss": EYERISS}


def sides(table: Table, chosen: list[int]) -> dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]:
    """(counted from the loops alone, in the table) by role, link and kind for some candidates; tiles and steps too."""
    nest, dram = table.nest, len(table.array.storages)
    mappings = [table.explicit(i) for i in chosen]
    for mapping in mappings:
        check_mapping(mapping, nest, {axis.name: axis.size for axis in table.array.axes})
    counts = counts_of_batch(batch_of(mappings, [nest] * len(mappings)), ENGINE)
    column = {name: table.counts[j][chosen] for j, name in enumerate(table.columns)}
    zero = np.zeros(len(chosen))

    def of(*name: str) -> np.ndarray:
        return column.get((name[0], name[1], name[2]), zero)

    found = {("", "", "steps"): (counts.steps, (table.steps_other * table.steps_reduction)[chosen])}
    for r, role in enumerate(ROLES):
        slots = [(s, slot.storage, slot.level) for s, slot in enumerate(table.slots) if slot.role == role]
        first = slots[0][1] if slots else dram
        found[role, "mac", "parent_reads"] = counts.reads_to_child[:, first, r], of(role, "mac", "parent_reads")
        if role == "accumulator":
            found[role, "mac", "parent_writes"] = counts.writes_from_child[:, first, r], of(role, "mac", "parent_writes")
        for s, here, level in slots:
            parent = next((storage for _, storage, other in slots if other == "outer" and level == "inner"), dram)
            found[role, level, "tile"] = counts.tile[:, here, r], table.footprint[s][chosen]
            found[role, level, "parent_reads"] = counts.reads_to_child[:, parent, r], of(role, level, "parent_reads")
            found[role, level, "child_writes"] = counts.writes_from_parent[:, here, r], of(role, level, "child_writes")
            if role == "accumulator":
                written = of(role, level, "parent_writes") + of(role, level, "final_writes")
                drained = of(role, level, "child_reads") + of(role, level, "final_child_reads")
                found[role, level, "parent_writes"] = counts.writes_from_child[:, parent, r], written
                found[role, level, "child_reads"] = counts.reads_to_parent[:, here, r], drained
    return found


def spread(table: Table, index: int) -> bool:
    """Whether rows or columns of X's private tiles are dealt to PEs that do not divide them, which loops cannot say exactly."""
    windowed = ROLES[table.nest.tensors.index("X")]
    if not any(slot.role == windowed and slot.level == "inner" for slot in table.slots):
        return False
    covered = dict.fromkeys("NGKCPQRS", 1)
    unrolled = set()
    for loop in table.explicit(index).loops:
        covered[loop.dim] *= loop.extent
        unrolled |= {loop.dim} if loop.axis else set()
    return any(covered[d] != n for d, n in zip("NGKCPQRS", table.nest.dims, strict=True) if d in unrolled and d in "PQRS")


def without_holes(nest: Nest) -> bool:
    """Whether no dim has both stride and dilation: there the table counts the box that neighbours share, the loops what is touched."""
    return all(min(s, d) == 1 for s, d in zip(nest.stride, nest.dilation, strict=True))


prime_dims = st.tuples(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 13), st.integers(1, 13), st.integers(1, 8), st.integers(1, 5),
    st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
ragged_nests = st.builds(
    Nest, prime_dims, st.sampled_from(["forward", "backward_data", "backward_weight"]),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)), dilation=st.sampled_from([(1, 1), (1, 1), (2, 1)]),
).filter(without_holes)  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
@seed(12)
@settings(max_examples=50, deadline=None)
@given(nest=ragged_nests)
def test_every_candidate_re_evaluates_to_the_same_counts(name: str, nest: Nest) -> None:
    """The explicit model counts candidates from their loops alone: tiles that divide or not, gaps of strides, all passes, groups."""
    array = ARRAYS[name]
    limits = (64.0,) * (len(array.storages) - 1) + (1e9,)
    table = enumerate_table(nest, array, Options(max_tiles=(6, 4, 4), max_elements=limits))
    chosen = list(range(0, len(table), max(1, len(table) // 60)))
    exact = np.array([not spread(table, i) for i in chosen])
    for key, (loops, ours) in sides(table, chosen).items():
        np.testing.assert_array_equal(loops[exact], ours[exact], err_msg=str((key, nest)))
    steps, ours = sides(table, chosen)["", "", "steps"]
    assert (ours <= steps).all()


def test_cache_returns_the_same_table_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path))
    nest = Nest((1, 1, 8, 8, 4, 4, 1, 1))
    cache.forget()
    first = build_table(nest, SMALL)
    (stored,) = tmp_path.iterdir()
    cache.forget()
    second = build_table(nest, SMALL)
    assert second is not first
    assert second is build_table(nest, SMALL)
    for name in ("counts", "footprint", "steps_other", "steps_reduction", "extents", "unrolling"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    for name in ("columns", "slots", "unrolls", "distinct", "macs", "exhaustive"):
        assert getattr(first, name) == getattr(second, name)
    for damage in (b"", b"no table", stored.read_bytes()[:-200]):
        stored.write_bytes(damage)
        cache.forget()
        assert build_table(nest, SMALL).counts.tobytes() == first.counts.tobytes()
    assert {p.suffix for p in tmp_path.iterdir()} == {".npz"}
    build_table(nest, SMALL, options=Options(max_elements=(1, 1, 100)))
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setenv("DSE_CACHE_DIR", str(stored))  # a file: nothing can be written there
    cache.forget()
    assert build_table(nest, SMALL).counts.tobytes() == first.counts.tobytes()
