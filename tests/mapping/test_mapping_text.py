"""Mappings as text: what is written is read back, what is wrong is named with its line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.mapping.explicit.counts import counts_of
from dse.mapping.explicit.mapping import Level, Loop, Mapping, capacity_problems, check_mapping
from dse.mapping.explicit.text import dump_mappings, format_mapping, load_mapping, parse_mapping
from dse.mapping.nest import Nest
from dse.names import DIMS


@st.composite
def mappings(draw):
    loops = draw(
        st.lists(
            st.builds(Loop, st.sampled_from(DIMS), st.integers(2, 7), st.sampled_from([None, None, "x", "y"])), max_size=7
        )
    )
    depth = draw(st.integers(0, 3))
    roles = [sorted(draw(st.lists(st.integers(0, len(loops)), min_size=depth, max_size=depth))) for _ in range(3)]
    levels = []
    for i in range(depth):
        cuts = tuple(draw(st.sampled_from([role[i], role[i], None])) for role in roles)
        if any(cut is not None for cut in cuts):
            shared = draw(st.sampled_from([None, None, (), ("x",)]))
            levels.append(Level(f"m{i}", cuts, shared))
    return Mapping(tuple(loops), (*levels, Level("dram", (len(loops),) * 3)))


def held(mapping):
    """Per role the levels that hold it, inner to outer, with all they say."""
    return [[(x.name, x.cuts[r], x.shared_along) for x in mapping.levels if x.cuts[r] is not None] for r in range(3)]


@settings(max_examples=300, deadline=None)
@given(mappings())
def test_a_line_is_read_back(mapping):
    line = format_mapping(mapping)
    again = parse_mapping(line)
    assert again.loops == mapping.loops
    assert held(again) == held(mapping)
    assert again.levels[-1].name == "dram"


@settings(max_examples=60, deadline=None)
@given(st.lists(mappings(), max_size=3))
def test_yaml_is_read_back(tmp_path_factory, several):
    path = tmp_path_factory.mktemp("mappings") / "mappings.yaml"
    named = {f"layer{i}": m for i, m in enumerate(several)}
    path.write_text(dump_mappings(named))
    assert load_mapping(path) == named


def test_timeloops_line_means_the_same():
    timeloop = parse_mapping("L3[WIO] P14 K16 - L2[WI] N1 K8X - L1[O] C16 Q2 C2X - L0[W] P4")
    ours = parse_mapping("L3[WAO] P14 K16 L2[WA] K8@X L1[O] C16 Q2 C2@X L0[W] P4")
    assert timeloop == ours
    assert [level.name for level in timeloop.levels] == ["L0", "L1", "L2", "L3"]
    assert timeloop.levels[0].cuts == (1, None, None)
    assert timeloop.levels[1].cuts == (None, None, 4)
    assert timeloop.loops[0] == Loop("P", 4)
    assert timeloop.loops[4] == Loop("K", 8, "X")


def test_uneven_cuts_of_one_level():
    mapping = parse_mapping("dram[WAO] buffer[O] K4 buffer[A] P8 C2")
    assert mapping.levels[0] == Level("buffer", (None, 2, 3))
    nest = Nest((1, 1, 4, 2, 8, 1, 1, 1))
    counts = counts_of(mapping, nest)
    # the accumulator is held over K and written once; the input stays over P and C and K passes it by
    assert counts.reads_to_child[0, 1].tolist() == [64, 16, 0]
    assert counts.writes_from_child[0, 1].tolist() == [0, 0, 32]


def test_a_file_says_all_its_problems_with_lines(tmp_path):
    path = tmp_path / "mappings.yaml"
    path.write_text(
        "conv1: dram[WAO] K8 Z3\n"
        "conv9: dram[WAO]\n"
        "fc:\n"
        "  loops:\n"
        "    - {dim: K, extent: 0}\n"
        "    - {dim: K, extend: 2}\n"
        "  levels:\n"
        "    - {name: dram, weight: 2, activation: 2, accumulator: -1}\n"
    )
    with pytest.raises(InputError) as caught:
        load_mapping(path, ["conv1", "conv2", "fc"])
    found = {(p.line, p.message.split(",")[0].split(";")[0]) for p in caught.value.problems}
    assert {line for line, _ in found} == {1, 2, 5, 6, 8}
    assert "Z3" in str(caught.value)
    assert "conv2" in next(p.message for p in caught.value.problems if p.line == 2)


def test_a_tile_that_does_not_fit_is_named_with_its_shortfall():
    mapping = parse_mapping("dram[WAO] buffer[WAO] K4 C8 P2")
    nest = Nest((1, 1, 4, 8, 2, 1, 1, 1))
    check_mapping(mapping, nest)
    # 32 weights of 8 bits, 16 inputs of 4, 8 sums of 16 make 448 bits
    assert capacity_problems(mapping, nest, (8, 4, 16), {"buffer": 448}) == []
    (problem,) = capacity_problems(mapping, nest, (8, 4, 16), {"buffer": 400})
    assert "'buffer'" in problem.message
    assert "48 bits" in problem.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("K8 P2", "no memory"),
        ("dram[WAO] K0", "K0"),
        ("dram[WW]", "twice"),
        ("dram[XYZ]", "dram[XYZ]"),
        ("dram[WAO] b[W]/x K2 b[O]/y", "different axes"),
    ],
)
def test_lines_that_mean_nothing(text, part):
    with pytest.raises(InputError, match="(?s).*" + part.replace("[", r"\[").replace("]", r"\]")):
        parse_mapping(text)
