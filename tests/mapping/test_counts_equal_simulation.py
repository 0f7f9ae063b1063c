"""Closed-form counts equal a loop nest that is really run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dse.mapping.explicit.counts import Conventions, batch_of, counts_of, counts_of_batch
from dse.mapping.explicit.mapping import Level, Loop, Mapping, mapping_problems
from dse.mapping.explicit.simulate import simulate
from dse.mapping.nest import Nest
from dse.names import DIMS

FIELDS = ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent")


@st.composite
def conventions(draw):
    return Conventions(
        first_partial_sum=draw(st.sampled_from(["elided", "counted"])),
        register_reads=draw(st.sampled_from(["per_mac", "per_change"])),
        halo=draw(st.sampled_from(["none", "innermost", "full"])),
        spatial_halo=draw(st.sampled_from(["union", "identical"])),
        multicast=draw(st.sampled_from(["source", "receiver"])),
        drain=draw(st.sampled_from(["counted", "free"])),
    )


@st.composite
def cases(draw, ragged=False):
    """A tiny layer in one pass with a mapping of 2 to 4 levels, bypass and uneven cuts included."""
    loops = []
    for dim in DIMS:
        factors = draw(st.lists(st.sampled_from([2, 3]), max_size=2 if dim in "KCPR" else 1))
        for factor in factors:
            axis = draw(st.sampled_from([None, None, None, "x", "y"]))
            loops.append(Loop(dim, factor, axis))
    loops = draw(st.permutations(loops))[:5]
    covered = dict.fromkeys(DIMS, 1)
    for loop in loops:
        covered[loop.dim] *= loop.extent
    dims = dict(covered)
    if ragged:
        # ragged in a dim with one loop, so that no iteration of an inner loop of the same dim stands still
        for dim in DIMS:
            if sum(loop.dim == dim for loop in loops) == 1 and covered[dim] > 2:
                dims[dim] = draw(st.integers(2, covered[dim]))
            elif draw(st.booleans()) and sum(loop.dim == dim for loop in loops) == 2:
                outer = [loop for loop in loops if loop.dim == dim][1]
                inner = covered[dim] // outer.extent
                dims[dim] = draw(st.integers(covered[dim] - inner + 1, covered[dim]))
    depth = draw(st.integers(2, 4))
    cuts = []
    for _role in range(3):
        chosen = sorted(draw(st.lists(st.integers(0, len(loops)), min_size=depth - 1, max_size=depth - 1)))
        cuts.append([draw(st.sampled_from([cut, cut, cut, None])) for cut in chosen] + [len(loops)])
    levels = tuple(Level(f"m{i}", (cuts[0][i], cuts[1][i], cuts[2][i])) for i in range(depth))
    nest = Nest(
        tuple(dims[d] for d in DIMS),
        draw(st.sampled_from(["forward", "backward_data", "backward_weight"])),
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        draw(st.booleans()),
    )
    return Mapping(tuple(loops), levels), nest


@st.composite
def hierarchies(draw):
    """A tiny layer on up to four on-chip levels: private, shared within clusters (y inside z), or by all; bypass and uneven cuts."""
    loops = []
    for axis in draw(st.permutations(["x", "y", "z"])):
        for dim in draw(st.lists(st.sampled_from("NGKCPQRS"), max_size=2)):
            loops.append(Loop(dim, draw(st.sampled_from([2, 3])), axis))
    for _ in range(draw(st.integers(1, 4))):
        loops.append(Loop(draw(st.sampled_from("NGKCPQRS")), draw(st.sampled_from([2, 3]))))
    loops = draw(st.permutations(loops))[:6]
    covered = dict.fromkeys(DIMS, 1)
    for loop in loops:
        covered[loop.dim] *= loop.extent
    shared = [draw(st.sampled_from([(), ("x",), ("x", "y"), ("x", "y", "z")])) for _ in range(draw(st.integers(1, 4)))]
    levels = []
    lowest = [0, 0, 0]
    for i, along in enumerate(sorted(shared, key=len)):
        cuts = []
        for role in range(3):
            cut = draw(st.integers(lowest[role], len(loops)))
            held = draw(st.sampled_from([True, True, False]))
            lowest[role] = cut if held else lowest[role]
            cuts.append(cut if held else None)
        levels.append(Level(f"m{i}", (cuts[0], cuts[1], cuts[2]), along))
    n = len(loops)
    levels.append(Level("dram", (n, n, n), ("x", "y", "z")))
    nest = Nest(
        tuple(covered[d] for d in DIMS),
        draw(st.sampled_from(["forward", "backward_data", "backward_weight"])),
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        draw(st.booleans()),
    )
    mapping = Mapping(tuple(loops), tuple(levels))
    assume(not mapping_problems(mapping, nest))
    return mapping, nest


def compare(several, how):
    counts = counts_of_batch(batch_of([m for m, _ in several], [n for _, n in several]), how)
    for i, (mapping, nest) in enumerate(several):
        assert mapping_problems(mapping, nest) == []
        run = simulate(mapping, nest, how)
        for name in FIELDS:
            expected = [[getattr(run[j][r], name) for r in range(3)] for j in range(len(mapping.levels))]
            assert getattr(counts, name)[i, : len(mapping.levels)].tolist() == expected, (name, mapping, nest)


@settings(max_examples=125, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=8, max_size=8), conventions())
def test_counts_equal_1000_nests_that_are_run(several, how):
    compare(several, how)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(hierarchies(), min_size=4, max_size=4), conventions())
def test_counts_equal_nests_on_clusters_and_four_levels_that_are_run(several, how):
    compare(several, how)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(ragged=True), conventions())
def test_ragged_counts_never_fall_below_a_nest_that_is_run(case, how):
    how = Conventions(how.first_partial_sum, how.register_reads, "none", how.spatial_halo, how.multicast)
    mapping, nest = case
    counts, run = counts_of(mapping, nest, how), simulate(mapping, nest, how)
    for name in FIELDS:
        expected = np.array([[getattr(run[i][r], name) for r in range(3)] for i in range(len(mapping.levels))])
        assert (getattr(counts, name)[0] >= expected).all(), name


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=1, max_size=5), conventions())
def test_a_batch_counts_each_mapping_as_if_alone(several, how):
    together = counts_of_batch(batch_of([m for m, _ in several], [n for _, n in several]), how)
    for i, (mapping, nest) in enumerate(several):
        alone = counts_of(mapping, nest, how)
        for name in (*FIELDS, "tile", "instances"):
            assert getattr(together, name)[i, : len(mapping.levels)].tolist() == getattr(alone, name)[0].tolist()


def test_rows_of_a_window_stand_side_by_side():
    """A PE that holds rows 0 and 2 would have a bounding box that is none of its tiles."""
    nest = Nest((1, 1, 1, 1, 4, 1, 3, 1))
    levels = (Level("register", (0, 3, 0), ()), Level("dram", (3, 3, 3), ("x",)))
    apart = Mapping((Loop("P", 2, "x"), Loop("P", 2), Loop("R", 3)), levels)
    assert "holds activation rows apart: move P2@x outside" in " ".join(map(str, mapping_problems(apart, nest)))
    assert mapping_problems(Mapping((Loop("P", 2), Loop("P", 2, "x"), Loop("R", 3)), levels), nest) == []


def test_what_does_not_cover_the_layer_is_named():
    mapping = Mapping((Loop("K", 2), Loop("Z", 2)), (Level("ram", (2, 2, None)),))
    nest = Nest((1, 1, 4, 1, 1, 1, 1, 1))
    text = " ".join(str(p) for p in mapping_problems(mapping, nest))
    assert "extents of K multiply to 2, the layer has 4" in text
    assert "'Z'" in text
    assert "has to hold every role" in text


@pytest.mark.parametrize("pass_", ["forward", "backward_data", "backward_weight"])
def test_every_operand_crosses_the_outermost_link_once_when_everything_fits(pass_):
    """With the whole layer in the first level DRAM moves each element once: the definition of compulsory traffic."""
    nest = Nest((2, 1, 4, 3, 4, 4, 3, 3), pass_)
    loops = tuple(Loop(d, e) for d, e in zip(DIMS, nest.dims, strict=True) if e > 1)
    n = len(loops)
    counts = counts_of(Mapping(loops, (Level("buffer", (n, n, n)), Level("dram", (n, n, n)))), nest)
    elements = {"W": 4 * 3 * 9, "X": 2 * 3 * 36, "Y": 2 * 4 * 16}
    moved = counts.reads_to_child[0, 1] + counts.writes_from_child[0, 1]
    assert moved.tolist() == [elements[t] for t in nest.tensors]
