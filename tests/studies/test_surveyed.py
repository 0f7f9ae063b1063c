"""Further published systems: counts as published, and what the studies say of what they cannot express."""

import math

import pytest

from dse.precision import Schedule
from dse.studies.surveyed import adaptive, arithmetic, cyclic, decoding
from dse.workload import load_workload


def test_operations_of_cyclebnn_by_its_own_count():
    # (w a + 2 w g) / 3 over 32 x 32, widths rounded along half a cosine: summed here step by step.
    steps = 8_000
    for low, high in (cyclic.CODE_BOUNDS, cyclic.CPT_BOUNDS):
        widths = [round(low + (high - low) / 2 * (1 - math.cos(math.pi * t / steps))) for t in range(steps)]
        cost = sum((w * w + 2 * w * 8) / 3 / 1024 for w in widths) / steps
        assert cyclic.counted_saving(low, high) == pytest.approx(100 * (1 - cost), abs=0.01)


def test_width_of_ldp_costs_what_is_left():
    width = cyclic.ldp_width()
    left = cyclic.relative_bitops(Schedule.cyclic(3, 8, 8, 32, cyclic.ITERATIONS), 8) * (1 - cyclic.LDP_COST / 100)
    assert (width**2 + 16 * width) / 192 == pytest.approx(left)


@pytest.fixture(scope="module")
def studies():
    return [cyclic.study(), adaptive.study(), arithmetic.study()]


def test_what_has_no_figure_of_ours_says_why(studies):
    for study in studies:
        for row in study.rows:
            assert row.ours is not None or row.assumed or row.unit in ("%", "points"), row


def test_every_system_of_the_docs_page_has_its_rows(studies):
    systems = {row.system for study in studies for row in study.rows} | {"PMPD"}
    for name in ("CycleBNN", "Double-cyclic", "LDP", "Random precision switch", "JNPU", "Activation density", "Class difficulty",
                 "Metagrad", "ShiftQuant", "InstantNet", "Diffusion training accelerator", "VS-Quant", "S2FP8", "{-1, +1}", "n-hot",
                 "F8Net", "BF16 FMA", "A2Q", "CANET"):  # fmt: skip
        assert any(system.startswith(name) for system in systems), name


def test_ratios_lie_between_nothing_and_one(studies):
    rows = [row for study in studies[:2] for row in study.rows if "relative to" in row.quantity]
    assert rows
    assert all(0.0 < row.ours < 1.0 for row in rows)


def test_narrow_formats_gain_less_energy_than_bitops(studies):
    for study in studies[:2]:
        by = {row.key: row.ours for row in study.rows if "relative to" in row.quantity}
        for system, name, device in by:
            if name == "energy_j":
                assert by[system, "bitops", device] < by[system, name, device]


def test_every_shipped_network_named_by_a_study_exists():
    for name in (cyclic.NETWORK, adaptive.NETWORK, decoding.NETWORK):
        load_workload(name)


def test_an_answer_costs_the_sum_over_its_tokens():
    seconds = {16: 8.0, 4: 2.0, 3: 1.5, 2: 1.0}
    assert decoding.answer_seconds(seconds, "4 bits") == 2.0 * decoding.TOKENS
    assert decoding.answer_seconds(seconds, "4 to 3 bits") == pytest.approx(1.75 * decoding.TOKENS)
    assert decoding.answer_seconds(seconds, "4 to 2 bits") == pytest.approx(1.5 * decoding.TOKENS, abs=1.0)
