"""Fused schedules: counts equal a nest that is really run, the RTL's traffic and cycles, and what fusing can and cannot do."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.mapping.explicit.counts import ACCELFORGE, counts_of
from dse.mapping.explicit.text import parse_mapping
from dse.mapping.fused.counts import ArrayOf, buffer_elements, fused_counts
from dse.mapping.fused.pipeline import FusedMachine, fused_time
from dse.mapping.fused.schedule import FusedSchedule, Stage, input_size, load_fused, schedule_problems
from dse.mapping.fused.simulate import simulate_fused
from dse.mapping.nest import Nest

ROOT = Path(__file__).parents[2]
ARRAY = ArrayOf(2, 3)
MACHINE = FusedMachine(array=ARRAY, arrays=2, dram_read=2, dram_write=2, latency_cycles=3, port=5)


@st.composite
def schedules(draw):
    """Pairs and triples of products and convolutions with strides, dilations, halos, overlaps, ragged tiles and groups."""
    depth = draw(st.integers(1, 3))
    n, channels = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    size = [draw(st.integers(3, 7)), draw(st.integers(1, 6))]
    given_size, stages = tuple(size), []
    for number in range(depth):
        taps = [draw(st.integers(1, min(3, side))) for side in size]
        stride, dilation = draw(st.tuples(*[st.integers(1, 2)] * 2)), draw(st.tuples(*[st.integers(1, 2)] * 2))
        padding = tuple(draw(st.integers(0, (tap - 1) * d)) for tap, d in zip(taps, dilation, strict=True))
        spans = [(tap - 1) * d + 1 for tap, d in zip(taps, dilation, strict=True)]
        out = [(side + 2 * pad - span) // s + 1 for side, pad, span, s in zip(size, padding, spans, stride, strict=True)]
        assume(all(side >= 1 for side in out))
        groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
        outputs = draw(st.integers(1, 4))
        nest = Nest((n, groups, outputs, channels // groups, *out, *taps), stride=stride, dilation=dilation)
        kept = draw(st.sampled_from(["streamed", "kept"]))
        step = draw(st.integers(0, channels // groups))
        stages.append(Stage(f"s{number}", nest, padding, step, kept, draw(st.integers(1, 2)), draw(st.integers(1, 2))))
        size, channels = out, groups * outputs
    tile = (draw(st.integers(1, n)), draw(st.integers(1, size[0])), draw(st.integers(1, size[1])))
    order = draw(st.sampled_from(["NPQ", "NQP", "PNQ", "PQN", "QNP", "QPN"]))
    cached = draw(st.tuples(st.booleans(), st.booleans()))
    schedule = FusedSchedule("drawn", tuple(stages), tile, order, cached, given_size)
    assume(not schedule_problems(schedule))
    return schedule


@settings(max_examples=40, deadline=None)
@given(schedules())
def test_counts_equal_a_nest_that_is_run(schedule):
    assert fused_counts(schedule, ARRAY) == simulate_fused(schedule, ARRAY)


@settings(max_examples=30, deadline=None)
@given(schedules())
def test_what_is_kept_is_not_computed_again(schedule):
    kept = fused_counts(dataclasses.replace(schedule, cached=(True, True)), ARRAY)
    again = fused_counts(dataclasses.replace(schedule, cached=(False, False)), ARRAY)
    assert kept.macs <= again.macs
    assert kept.dram_reads <= again.dram_reads
    assert kept.dram_writes == again.dram_writes
    # A window that strides over rows leaves them out between tiles, not within one.
    if all(s.nest.stride[i] <= s.nest.dilation[i] * (s.dim("RS"[i]) - 1) + 1 for s in schedule.stages for i in (0, 1)):
        whole = fused_counts(dataclasses.replace(schedule, tile=_whole(schedule)), ARRAY)
        assert whole.macs == kept.macs
        assert whole.dram_reads <= kept.dram_reads


@settings(max_examples=30, deadline=None)
@given(schedules())
def test_the_makespan_lies_between_each_part_and_their_sum(schedule):
    time = fused_time(schedule, MACHINE)
    fills = (MACHINE.array.rows + MACHINE.array.columns - 1) * (len(schedule.stages) + 1)
    tiles = -(-schedule.stages[-1].dim("N") // schedule.tile[0])
    for axis, dim in enumerate("PQ", start=1):
        tiles *= -(-schedule.stages[-1].dim(dim) // schedule.tile[axis])
    counts = fused_counts(schedule, ARRAY)
    assert max(time.read_busy, time.write_busy, time.array_busy) <= time.total
    moved = counts.dram_reads / MACHINE.array.columns
    assert time.total <= time.read_busy + time.write_busy + time.array_busy + moved + fills * tiles


def _whole(schedule):
    last = schedule.stages[-1]
    return last.dim("N"), last.dim("P"), last.dim("Q")


def chain(sizes: list[int], rows: int, **stage) -> FusedSchedule:
    """Products one after the other: ``rows`` times sizes[0] x sizes[1], sizes[1] x sizes[2] ..."""
    stages = tuple(
        Stage(f"product {i}", Nest((1, 1, k, c, rows, 1, 1, 1)), **stage) for i, (c, k) in enumerate(itertools.pairwise(sizes))
    )
    return FusedSchedule("chain", stages, (1, rows, 1), input_hw=(rows, 1))


def test_fusing_saves_the_inner_tensors_and_nothing_else():
    sizes, rows = [8, 6, 4, 10], 12
    fused = fused_counts(chain(sizes, rows), ARRAY)
    apart = [fused_counts(chain(sizes[i : i + 2], rows), ARRAY) for i in range(3)]
    inner = rows * (6 + 4)
    assert sum(item.dram_reads for item in apart) - fused.dram_reads == inner
    assert sum(item.dram_writes for item in apart) - fused.dram_writes == inner


def test_a_three_by_three_pair_by_hand():
    """16 x 16 results in tiles of 4 rows: the first stage computes 18 rows once, or 6 per tile."""
    stages = (Stage("a", Nest((1, 1, 2, 1, 18, 16, 3, 1))), Stage("b", Nest((1, 1, 1, 2, 16, 16, 3, 1))))
    kept = FusedSchedule("pair", stages, (1, 4, 16), input_hw=(20, 16))
    again = dataclasses.replace(kept, cached=(False, True))
    assert fused_counts(kept, ARRAY).stages[0].macs == 18 * 16 * 2 * 3
    assert fused_counts(again, ARRAY).stages[0].macs == 4 * 6 * 16 * 2 * 3
    assert fused_counts(kept, ARRAY).stages[0].input_read == 20 * 16
    assert fused_counts(again, ARRAY).stages[0].input_read == 4 * 8 * 16
    # input 8 rows + 2 kept, inner 2 x (6 rows + 2 kept), result 4 rows, and all weights: both steps are whole
    assert buffer_elements(kept) == (8 + 2) * 16 + 2 * (6 + 2) * 16 + 4 * 16 + 6 + 6


def test_a_file_is_read_and_its_problems_are_told(tmp_path):
    good = tmp_path / "pair.yaml"
    good.write_text(
        "name: two products\ntile: {P: 16}\noverlap: {P: recompute}\nstages:\n"
        "  - {name: first, P: 64, C: 32, K: 48, step: 16, waiting: 2, arrays: 4}\n"
        "  - {name: second, P: 64, C: 48, K: 32, step: 32}\n"
    )
    schedule = load_fused(good)
    assert schedule.tile == (1, 16, 1)
    assert schedule.cached == (False, True)
    assert schedule.input_hw == (64, 1)
    assert schedule.stages[0].slices == (16, 16)
    assert schedule.stages[1].slices == (32, 16)
    good.write_text(good.read_text().replace("C: 48", "C: 47").replace("second, P: 64", "second, P: 65"))
    with pytest.raises(InputError) as told:
        load_fused(good)
    assert "line 6" in str(told.value)
    assert "reads 47 channels" in str(told.value)
    assert "65 rows" in str(told.value)


def test_the_shipped_size_of_an_input_is_what_windows_cover():
    assert input_size(Stage("a", Nest((1, 1, 1, 1, 8, 8, 3, 3), stride=(2, 2)), padding=(1, 1)), 0) == 15


# --- published figures


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("fused_gemm", ROOT / "benchmarks" / "fused_gemm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tileflow_traffic_is_exact_and_cycles_are_close(benchmark):
    rows = pd.read_csv(ROOT / "tests/data/tileflow_fused_gemm_rtl.csv", comment="#")
    table = benchmark.compare(rows)
    told = benchmark.summary(table, len(rows))
    assert told["rows"] == 101
    assert told["skipped"] == 0
    assert told["traffic_exact"]
    assert told["mean_abs"] < 0.007
    assert told["median_abs"] == 0.0
    assert abs(told["worst"]) < 0.09
    # With a double buffer for every tensor, nothing chosen by looking at cycles.
    assert benchmark.summary(benchmark.compare(rows, 1), len(rows))["mean_abs"] < 0.011


#: AccelForge (accelforge@1c1929c2, tests/regression_reference.json), main memory of tpu_v4i, bits: rows, sizes, fused reads and writes,
#: unfused reads and writes.
TPU = [
    (64, [64, 64, 64], 98304, 32768, 131072, 65536),
    (128, [128, 128, 128, 128], 524288, 131072, 786432, 393216),
]


@pytest.mark.parametrize(("rows", "sizes", "reads", "writes", "apart_reads", "apart_writes"), TPU, ids=["matmuls", "three matmuls"])
def test_accelforge_pairs_on_a_chip_with_buffers(rows, sizes, reads, writes, apart_reads, apart_writes):
    fused = fused_counts(chain(sizes, rows), ArrayOf(128, 128))
    apart = [fused_counts(chain(list(pair), rows), ArrayOf(128, 128)) for pair in itertools.pairwise(sizes)]
    assert (8 * fused.dram_reads, 8 * fused.dram_writes) == (reads, writes)
    assert 8 * sum(item.dram_reads for item in apart) == apart_reads
    assert 8 * sum(item.dram_writes for item in apart) == apart_writes


@pytest.mark.parametrize(("products", "size", "reads", "writes"), [(2, 64, 12517376, 4194304), (3, 128, 150601728, 50331648)])
def test_accelforge_pairs_without_a_buffer(products, size, reads, writes):
    """`simple` has main memory alone: every MAC reads and writes it, fused or not, but for the first partial sum."""
    mapping = parse_mapping(f"main[WAO] P{size} K{size} C{size}")
    counts = counts_of(mapping, Nest((1, 1, size, size, size, 1, 1, 1)), ACCELFORGE)
    assert 8 * products * int(counts.reads_to_child.sum()) == reads
    assert 8 * products * int(counts.writes_from_child.sum()) == writes


@pytest.mark.parametrize(
    ("queries", "keys", "reads", "writes"), [(2048, 2048, 46707769344, 16911433728), (1, 2047, 29804196864, 8254464)], ids=["prefill", "decode"]
)
def test_accelforge_layer_of_gpt3_apart(queries, keys, reads, writes):
    """tpu_v4i, a layer of GPT-3 at 16 bits, every tensor through main memory: products as ours, the softmax one read and one write."""
    wide, heads, head = 12288, 96, 128
    products = [
        *[(1, wide, wide)] * 3,  # queries, keys, values
        (heads, keys, head),
        (heads, head, keys),
        (1, wide, wide),
        (1, 4 * wide, wide),
        (1, wide, 4 * wide),
    ]
    stages = [Stage("product", Nest((1, groups, k, c, queries, 1, 1, 1))) for groups, k, c in products]
    counts = [
        fused_counts(FusedSchedule("apart", (stage,), (1, queries, 1), input_hw=(queries, 1)), ArrayOf(128, 128)) for stage in stages
    ]
    softmax = heads * queries * keys
    assert 16 * (sum(item.dram_reads for item in counts) + softmax) == reads
    assert 16 * (sum(item.dram_writes for item in counts) + softmax) == writes
