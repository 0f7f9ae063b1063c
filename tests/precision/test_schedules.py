"""Schedules: phases, histograms, files and traces."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.precision import Plan, Schedule
from dse.precision.policies.rules import loss_plateaus
from dse.precision.schedules.profiles import BETTER_SCHEDULES, CHAINS, CURVES, cycle_widths, growth


@dataclass(frozen=True)
class Layer:
    name: str
    has_macs: bool = True


@dataclass(frozen=True)
class Net:
    name: str
    layers: tuple[Layer, ...]


NET = Net("toy", (Layer("conv1"), Layer("bn1", has_macs=False), Layer("conv2"), Layer("fc")))


def test_static_is_one_plan():
    schedule = Schedule.static("w8a8e8", iterations=1000)
    assert schedule.histogram(NET) == [(Plan.uniform(NET), 1.0)]
    assert (schedule.iterations, schedule.changes) == (1000, 0)
    plan = Plan.from_bits(NET, weight=4)
    assert Schedule.static(plan, 10).histogram(NET) == [(plan, 1.0)]
    assert Schedule.static("w4a6", 10).histogram(NET)[0][0].label == "w4a6e6"


def test_cyclic_follows_the_formula_iteration_by_iteration():
    low, high, cycles, iterations = 3, 8, 4, 1002  # T = int(250.5), so that a fifth, partial cycle begins
    schedule = Schedule.cyclic(low, high, 6, cycles, iterations)
    period = int(iterations / cycles)
    expected = [round(low + (high - low) / 2 * (1 - np.cos(np.pi * (t % period) / period))) for t in range(iterations)]
    got = [int(plan.widths("weight")[0]) for plan, length in schedule.plans(NET) for _ in range(length)]
    assert got == expected
    assert {plan.label for plan, _ in schedule.histogram(NET)} == {f"w{b}a{b}e6" for b in range(3, 9)}


@given(
    curve=st.sampled_from(CURVES),
    chain=st.sampled_from(CHAINS),
    low=st.integers(2, 8),
    span=st.integers(0, 6),
    cycles=st.integers(1, 9),
    iterations=st.integers(9, 400),
)
def test_histogram_covers_the_run_within_the_bounds(curve, chain, low, span, cycles, iterations):
    schedule = Schedule.cyclic(low, low + span, 8, cycles, iterations, curve, chain)
    histogram = schedule.histogram(NET)
    assert sum(share for _, share in histogram) == pytest.approx(1.0)
    assert schedule.iterations == iterations
    assert all(low <= plan.widths("activation").min() <= low + span for plan, _ in histogram)
    assert sum(count for _, _, count in schedule.transitions(NET)) == schedule.changes
    widths = cycle_widths(curve, chain, low, low + span, cycles, iterations)
    assert schedule.changes == np.count_nonzero(np.diff(widths))


@pytest.mark.parametrize("curve", CURVES)
def test_curves_grow_from_zero_to_the_top(curve):
    u = np.linspace(0.0, 1.0, 101)
    values = growth(curve, u)
    assert values[0] == 0.0
    assert 0.98 < values[-1] < 1.0 + 1e-12
    assert (np.diff(values) > 0.0).all()


def test_mirrors_of_symmetric_curves_hold_each_width_equally_long():
    for curve in ("linear", "cosine"):
        horizontal = np.bincount(cycle_widths(curve, "triangular_horizontal", 3, 8, 8, 64_000))
        vertical = np.bincount(cycle_widths(curve, "triangular_vertical", 3, 8, 8, 64_000))
        assert np.abs(horizontal - vertical).max() <= 8  # an iteration per cycle, from the ends of the intervals
    assert len(BETTER_SCHEDULES) == 10


def test_progressive_steps_at_the_switches():
    schedule = Schedule.progressive([100, 250, 600], 1000)
    assert [(plan.label, share) for plan, share in schedule.histogram(NET)] == [
        ("w3a3e6", 0.1), ("w4a4e6", 0.15), ("w6a6e8", 0.35), ("w8a8e8", 0.4)]  # fmt: skip
    assert schedule.changes == 3
    early = Schedule.progressive([100], 1000)
    assert [plan.label for plan, _ in early.histogram(NET)] == ["w3a3e6", "w4a4e6"]


def test_plateaus_of_a_loss_that_falls_in_steps():
    # flat for six epochs at each level: five kept losses make the first switch after epoch 5
    losses = [1.0] * 6 + [0.5] * 8 + [0.25] * 8
    assert loss_plateaus(losses, threshold=0.05, decay=0.3) == [5, 11, 19]
    assert loss_plateaus(np.linspace(2.0, 0.1, 30).tolist(), threshold=0.05, decay=0.3) == []
    schedule = Schedule.progressive_from_losses(losses, iterations_per_epoch=10)
    assert [length for _, length in schedule.plans(NET)] == [50, 60, 80, 30]


def test_piecewise_counts_epochs_and_joins_equal_parts():
    schedule = Schedule.piecewise([(9, "bfp4:64"), (1, "bfp6:64")], iterations_per_epoch=5).keep({"conv1": "bfp6:64"})
    (first, share), (last, rest) = schedule.histogram(NET)
    assert (share, rest) == (0.9, 0.1)
    assert first.widths("weight").tolist() == [6, 4, 4, 4]
    assert last.widths("weight").tolist() == [6] * 4
    assert Schedule.piecewise([(1, "w8a8e8"), (2, "w8a8e8")]).changes == 0


def test_fixed_operands_and_kept_layers_apply_to_all_phases():
    schedule = Schedule.cyclic(3, 8, cycles=2, iterations=100).with_operand("stash", "actnn2").keep({"fc": "int8"})
    for plan, _ in schedule.histogram(NET):
        assert plan.stored_bits("stash").tolist() == [2.125] * 4
        assert plan.widths("weight")[3] == 8


TRACE = "batch_iteration,layer0,layer1,layer2\n0,8,8,8\n10,9,8,12\n30,9,8,12\n40,16,16,16\n"


def test_trace_by_position_and_by_name(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    schedule = Schedule.traced(path, backward="fp32", iterations=50)
    assert [(plan.widths("weight").tolist(), length) for plan, length in schedule.plans(NET)] == [
        ([8, 8, 8, 8], 10), ([9, 8, 8, 12], 30), ([16, 16, 16, 16], 10)]  # fmt: skip
    assert schedule.plans(NET)[0][0].label == "w8a8,error=fp32"
    assert Schedule.traced(path).iterations == 50
    assert Schedule.traced(path, iterations=40).changes == 1
    named = Schedule.traced(path, backward="fp32", iterations=50, layers=["conv1", "conv2", "fc"])
    assert named.plans(NET) == schedule.plans(NET)
    some = Schedule.traced(path, backward="fp32", iterations=50, layers=[None, "a", "b"])
    pair = Net("pair", (Layer("a"), Layer("b")))
    assert [plan.widths("weight").tolist() for plan, _ in some.plans(pair)] == [[8, 8], [8, 12], [16, 16]]
    with pytest.raises(InputError, match="3 layers, 'small' has 1 with MACs"):
        schedule.histogram(Net("small", (Layer("fc"),)))
    with pytest.raises(InputError, match="missing layers of 'toy': conv2"):
        Schedule.traced(path, layers=["conv1", "fc", "fc2"]).histogram(NET)
    with pytest.raises(InputError, match="at least 40, where the trace ends, got 39"):
        Schedule.traced(path, iterations=39)
    # Spreadsheets begin a file with a byte order mark.
    path.write_text("\ufeffiteration,conv1,conv2,fc\n0,8,8,8\n", encoding="utf-8")
    assert Schedule.traced(path, iterations=9).plans(NET)[0][1] == 9
    with pytest.raises(InputError, match="one row does not say how long it holds"):
        Schedule.traced(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header"),
        ("epoch,layer0\n0,8\n", "expected the header 'batch_iteration,layer0,layer1,...', got 'epoch'"),
        ("batch_iteration\n0\n", "no layers"),
        ("batch_iteration,layer0\n", "zero iterations"),
        ("batch_iteration,layer0,layer2\n0,8,8\n", "missing layers: layer1"),
        ("batch_iteration,layer1,layer0\n0,8,8\n", "in the order"),
        ("batch_iteration,layer0,layer0\n0,8,8\n", "two columns"),
        ("batch_iteration,layer0,layer1\n0,8\n", "layer1 (line 2): missing value"),
        ("batch_iteration,layer0\n0,8,8\n", "line 2: expected 2 values, got 3"),
        ("batch_iteration,layer0\n0,8\n20,8\n10,8\n", "(line 4): expected iterations that increase, got 10 after 20"),
        ("batch_iteration,layer0\n0,8\n0,8\n", "expected iterations that increase"),
        ("batch_iteration,layer0\n0,8.5\n", "layer0 (line 2): expected an integer, got '8.5'"),
        ("batch_iteration,layer0\n0,nan\n", "expected an integer, got 'nan'"),
        ("batch_iteration,layer0\n0,99\n", "a width of 99 bits makes no int format"),
        ("batch_iteration,layer0\n5,8\n", "first row at iteration 0, got 5"),
        # A row with a hole still says when it is.
        (
            "batch_iteration,layer0,layer1\n0,8,8\n20,8\n10,8,8\n",
            "(line 4): expected iterations that increase, got 10 after 20",
        ),
        ("batch_iteration,layer0,layer1\n0,x,99\n", "layer1 (line 2): a width of 99 bits makes no int format"),
    ],
)
def test_bad_traces(tmp_path, text, message):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Schedule.traced(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_missing_trace(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Schedule.traced(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.cyclic(8, 3), "the bounds cross: low is 8, high is 3"),
        (lambda: Schedule.cyclic(3, 8, iterations=0), "iterations: expected an integer >= 1, got 0"),
        (lambda: Schedule.cyclic(3, 8, cycles=0), "cycles: expected an integer >= 1, got 0"),
        (lambda: Schedule.cyclic(3, 8, cycles=11, iterations=10), "at most one cycle per iteration"),
        (lambda: Schedule.cyclic(3, 8, iterations=10**11), "expected at most 10,000,000, got 100,000,000,000"),
        (lambda: Schedule.cyclic("3", 8), "low: expected an integer >= 1, got '3'"),
        (lambda: Schedule.progressive([5.5], 10), "switches[0]: expected an integer >= 1, got 5.5"),
        (
            lambda: Schedule.progressive_from_losses([1.0, float("nan")], 10),
            "losses[1]: expected a finite number, got nan",
        ),
        (lambda: Schedule.progressive_from_losses([1.0], 10, threshold=-1.0), "threshold: expected a number >= 0"),
        (lambda: Schedule.cyclic(3, 99), "'int99' is no number format"),
        (lambda: Schedule.cyclic(3, 8, backward="fp99"), "'fp99' is no number format"),
        (lambda: Schedule.cyclic(3, 8, curve="cosin"), "did you mean 'cosine'"),
        (lambda: Schedule.cyclic(3, 8, chain="once"), "unknown chain 'once'"),
        (lambda: Schedule.better("XX", 3, 8), "unknown schedule 'XX'"),
        (lambda: Schedule.static("w8a8e8", 0), "iterations: expected an integer >= 1"),
        (lambda: Schedule.static("w8x8", 10), "plan: 'w8x8' is no plan"),
        (lambda: Schedule.progressive([5, 5], 10), "expected increasing iterations"),
        (lambda: Schedule.progressive([5, 10], 10), "between 0 and 10"),
        (lambda: Schedule.progressive([1, 2, 3, 4], 10), "at most 3"),
        (lambda: Schedule.progressive([1], 10, (3, 4), (6,)), "as many widths"),
        (lambda: Schedule.piecewise([]), "parts: expected at least one, got none: zero iterations"),
        (lambda: Schedule.piecewise([(0, "w8a8e8")]), "parts[0].epochs"),
        (lambda: Schedule.progressive_from_losses([], 10), "losses"),
        (lambda: Schedule.static("w8a8e8", 1).with_operand("stsh", "int8"), "did you mean 'stash'"),
        (lambda: Schedule.static("w8a8e8", 1).keep({"fc": "int0"}), "'int0' is no number format"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)


def test_a_plan_of_another_network_is_refused():
    schedule = Schedule.static(Plan.uniform(Net("other", (Layer("a"),))), 5)
    with pytest.raises(InputError, match="its plan is for 'other', the network is 'toy'"):
        schedule.histogram(NET)
    with pytest.raises(InputError, match="no such layer"):
        Schedule.static("w8a8e8", 5).keep({"convv1": "int8"}).histogram(NET)


FILES = {
    "kind: static\nplan: w8a8e8\niterations: 10\n": Schedule.static("w8a8e8", 10),
    "kind: cyclic\nlow: 3\nhigh: 8\n": Schedule.cyclic(3, 8),
    "kind: better\nname: RTV\nlow: 3\nhigh: 8\nbackward: fp8_e5m2\n": Schedule.better("RTV", 3, 8, "fp8_e5m2"),
    "kind: progressive\nswitches: [3, 6]\niterations: 10\n": Schedule.progressive([3, 6], 10),
    "kind: progressive_from_losses\nlosses: [1.0, 1, 1, 1, 1, 1]\niterations_per_epoch: 3\n": Schedule.progressive_from_losses(
        [1.0] * 6, 3
    ),
    "kind: piecewise\nparts: [{epochs: 2, plan: bfp4}, {epochs: 1, plan: bfp6}]\nkeep: {fc: bfp6}\n": Schedule.piecewise(
        [(2, "bfp4"), (1, "bfp6")]
    ).keep({"fc": "bfp6"}),
}  # fmt: skip


@pytest.mark.parametrize("text", FILES, ids=lambda text: text.split("\n")[0])
def test_files_make_the_same_schedules(tmp_path, text):
    path = tmp_path / "schedule.yaml"
    path.write_text(text)
    assert Schedule.load(path) == FILES[text]


def test_a_trace_lies_beside_its_file(tmp_path):
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "schedule.yaml").write_text("kind: traced\ntrace: trace.csv\niterations: 50\nformats: {stash: int4}\n")
    assert (
        Schedule.load(tmp_path / "schedule.yaml").phases
        == Schedule.traced(tmp_path / "trace.csv", iterations=50).phases
    )


def test_plans_of_a_schedule_may_be_files(tmp_path):
    plan = Plan.from_bits(NET, weight={"conv1": 8, "conv2": 3, "fc": 8})
    plan.save(tmp_path / "first.yaml")
    path = tmp_path / "schedule.yaml"
    path.write_text("kind: piecewise\nparts: [{epochs: 3, plan: first.yaml}, {epochs: 1, plan: w8a8e8}]\n")
    assert Schedule.load(path).histogram(NET) == [(plan, 0.75), (Plan.uniform(NET), 0.25)]
    path.write_text("kind: static\nplan: first.yaml\niterations: 7\n")
    assert Schedule.load(path).plans(NET) == [(plan, 7)]
    path.write_text("kind: static\nplan: none.yaml\niterations: 7\n")
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        Schedule.load(path).plans(NET)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("low: 3\n", ["kind (line 1): missing; known: better, cyclic"]),
        ("kind: cylic\n", ["kind (line 1): unknown kind 'cylic'; did you mean 'cyclic'?"]),
        ("kind: cyclic\nlow: 8\nhigh: 3\n", ["low (line 2): the bounds cross"]),
        ("kind: cyclic\nlow: 3\nhigh: 8\niterations: 0\n", ["iterations (line 4): expected an integer >= 1, got 0"]),
        ("kind: cyclic\nlo: 3\nhigh: 8.5\n", ["lo (line 2): unknown key", "low", "high (line 3): expected an integer"]),
        ("kind: cyclic\nlow: 3\nlow: 4\nhigh: 8\n", ["low (line 3): duplicate key"]),
        (
            "kind: piecewise\nparts:\n  - {epochs: 1, plan: w8a8e8}\n  - {epochs: 1, plan: w8b8}\n",
            ["parts[1].plan (line 4)"],
        ),
        ("kind: static\nplan: w8a8e8\niterations: 5\nformats: {stash: int99}\n", ["formats.stash (line 4): 'int99'"]),
        ("kind: cyclic\nlow: 3\nhigh: 8\nformats: {weight: int8}\n", ["formats.weight (line 4): the schedule itself says"]),
        ("kind: static\nplan: 'w8a8,stash=int4'\niterations: 5\nformats: {stash: int8}\n", ["formats.stash (line 4): the schedule"]),
        ("kind: traced\ntrace: none.csv\n", ["none.csv: no such file"]),
    ],
)
def test_problems_of_files_have_lines(tmp_path, text, messages):
    path = tmp_path / "schedule.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Schedule.load(path)
    for message in messages:
        assert message in str(caught.value)
