"""Rules of further published systems: what each promises, by exhaustion or by hand."""

import numpy as np
import pytest

from dse.errors import InputError
from dse.precision import Schedule
from dse.precision.policies.surveyed import (
    accumulator_bits,
    activation_density,
    class_widths,
    decoding_widths,
    density_bits,
    largest_weight_norm,
    n_hot,
    n_hot_storage_bits,
    n_hot_values,
    random_widths,
)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("terms", "weight", "activation"), [(1, 2, 2), (3, 3, 2), (5, 4, 3), (7, 2, 4)])
def test_an_accumulator_is_wide_enough_and_not_a_bit_wider(terms, weight, activation, signed):
    largest = terms * 2 ** (weight - 1) * 2 ** (activation - int(signed))
    bits = accumulator_bits(terms, weight, activation, signed)
    assert 2 ** (bits - 1) - 1 >= largest > 2 ** (bits - 2) - 1


@pytest.mark.parametrize("signed", [False, True])
def test_weights_within_the_norm_never_overflow_and_one_more_may(signed):
    bits, activation = 8, 3
    norm, top = largest_weight_norm(bits, activation, signed), 2 ** (activation - int(signed))
    # The bound takes the largest magnitude of an input as 2^N (2^(N-1) if signed), as the publication does.
    assert norm * top <= 2 ** (bits - 1) - 1 < (norm + 1) * top


def test_n_hot_values_by_hand_and_rounding_to_the_nearest():
    assert n_hot_values(1, 4).tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert n_hot_values(2, 4).tolist() == list(range(-7, 8))
    assert 11 not in n_hot_values(2, 8)
    assert 7 in n_hot_values(2, 8)
    x = np.random.default_rng(0).normal(size=200)
    found, allowed = n_hot(x, 2, 8), n_hot_values(2, 8)
    scale = np.abs(x).max() / allowed[-1]
    best = np.abs(x[:, None] - scale * allowed).min(axis=1)
    assert np.allclose(np.abs(x - found), best)


def test_n_hot_codes_tell_all_values_apart():
    for terms in (1, 2, 3):
        assert (
            2 ** n_hot_storage_bits(terms, 8) >= len(n_hot_values(terms, 8)) > 2 ** (n_hot_storage_bits(terms, 8) - 1)
        )


def test_decoding_widths_fall_at_their_switches():
    assert decoding_widths(6, (4, 3, 2), (2, 5)).tolist() == [4, 4, 3, 3, 3, 2]
    assert decoding_widths(3, (4, 2), (0,)).tolist() == [2, 2, 2]


def test_density_and_classes():
    assert activation_density([0.0, 1.0, -2.0, 0.0]) == 0.5
    assert [density_bits(16, density) for density in (1.0, 0.5, 0.01)] == [16, 8, 1]
    assert class_widths([0.9, 0.89], 0.9, 4, 8).tolist() == [4, 8]


@pytest.mark.parametrize(
    "call",
    [
        lambda: activation_density([]),
        lambda: density_bits(8, 1.5),
        lambda: class_widths([float("nan")], 0.9, 4, 8),
        lambda: class_widths([0.5], 0.9, 8, 4),
        lambda: decoding_widths(4, (4, 3), ()),
        lambda: decoding_widths(4, (4, 3, 2), (3, 1)),
        lambda: accumulator_bits(0, 8, 8),
        lambda: largest_weight_norm(0, 8),
        lambda: n_hot_values(0, 8),
        lambda: n_hot([float("inf")], 2, 8),
        lambda: random_widths(8, 4, 10, np.random.default_rng(0)),
    ],
)
def test_wrong_arguments_are_input_errors(call):
    with pytest.raises(InputError):
        call()


def test_a_double_cycle_moves_both_widths_in_step():
    schedule = Schedule.cyclic(3, 8, 8, cycles=4, iterations=4000, backward_low=6)
    pairs = [(dict(phase.formats)["weight"], dict(phase.formats)["error"]) for phase in schedule.phases]
    assert pairs[0] == ("int3", "int6")
    assert ("int8", "int8") in pairs
    forward, error = ([int(pair[k][3:]) for pair in pairs] for k in (0, 1))
    order = np.argsort(forward, kind="stable")
    assert (np.diff(np.asarray(error)[order]) >= 0).mean() > 0.5
    assert sum(phase.iterations for phase in schedule.phases) == 4000
    # The forward widths are those of the single cycle, iteration by iteration.
    alone = Schedule.cyclic(3, 8, 8, cycles=4, iterations=4000)
    assert _courses(schedule, "weight") == _courses(alone, "weight")
    assert min(_courses(schedule, "error")) == "int6"
    assert max(_courses(schedule, "error")) == "int8"


def test_random_precision_holds_and_is_the_same_again():
    schedule = Schedule.random(4, 8, 8, iterations=1050, hold=100, seed=3)
    course = _courses(schedule, "weight")
    assert len(course) == 1050
    assert all(len(set(course[k : k + 100])) == 1 for k in range(0, 1050, 100))
    assert schedule == Schedule.random(4, 8, 8, iterations=1050, hold=100, seed=3)
    assert schedule != Schedule.random(4, 8, 8, iterations=1050, hold=100, seed=4)


def test_schedules_from_files(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("kind: cyclic\nlow: 3\nhigh: 8\nbackward: 8\nbackward_low: 6\ncycles: 4\niterations: 4000\n")
    assert Schedule.load(path) == Schedule.cyclic(3, 8, 8, cycles=4, iterations=4000, backward_low=6)
    path.write_text("kind: random\nlow: 4\nhigh: 8\niterations: 1000\nseed: 3\n")
    assert Schedule.load(path) == Schedule.random(4, 8, iterations=1000, seed=3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: cyclic\nlow: 3\nhigh: 8\nbackward_low: 9\n", 4),
        ("kind: cyclic\nlow: 3\nhigh: 8\nbackward: fp8_e4m3\nbackward_low: 4\n", 4),
        ("kind: random\nlow: 4\nhigh: 8\nhold: 0\n", 4),
        ("kind: random\nlow: 9\nhigh: 8\n", 2),
    ],
)
def test_wrong_bounds_are_told_with_their_line(tmp_path, text, line):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Schedule.load(path)
    assert line in [problem.line for problem in caught.value.problems]


def _courses(schedule, operand):
    return [dict(phase.formats)[operand] for phase in schedule.phases for _ in range(phase.iterations)]
