"""CPT and Better Schedules: published figures, and what their schedules save on hardware."""

import pytest

from dse.errors import InputError
from dse.hardware import load_hardware
from dse.precision import Schedule
from dse.precision.schedules.profiles import BETTER_SCHEDULES
from dse.studies.devices import every_width, fixed_8, roomy
from dse.studies.systems import better_schedules, cpt
from dse.workload import load_workload


@pytest.mark.parametrize(("network", "low", "high", "published", "published_to"), cpt.SAVINGS)
def test_bitops_of_evaluate_are_the_published_savings(network, low, high, published, published_to):
    schedule = Schedule.cyclic(low, high, high, cpt.CYCLES, cpt.ITERATIONS)
    ours = cpt.savings(load_workload(network), load_hardware("bit_fusion"), schedule, high)["bitops"]
    assert published - 0.1 <= ours <= published_to + 0.1
    assert 100.0 * (1.0 - cpt.relative_bitops(schedule, high)) == pytest.approx(published, abs=0.1)


def test_formula_differs_from_the_counts_by_the_first_layer_alone():
    # conv1 has no backward_data: its share of the MACs moves the saving from the formula's towards that of two passes.
    net = load_workload("cifar_resnet20")
    schedule = Schedule.cyclic(3, 8, 8, cpt.CYCLES, cpt.ITERATIONS)
    counted = cpt.savings(net, load_hardware("bit_fusion"), schedule, 8)["bitops"] / 100
    first = next(layer.macs for layer in net.mac_layers) / net.macs
    held = [(plan.widths("weight")[0], share) for plan, share in schedule.histogram(net)]
    forward, other = (1 - sum(s * w * w for w, s in held) / 64, 1 - sum(s * w * 8 for w, s in held) / 64)
    assert counted == pytest.approx((forward + (2 - first) * other) / (3 - first), rel=1e-9)


def test_a_fixed_array_saves_storage_alone_and_nothing_when_it_stores_8_bits():
    net = load_workload("cifar_resnet20")
    schedule = Schedule.cyclic(3, 8, 8, cpt.CYCLES, cpt.ITERATIONS)
    packed = cpt.savings(net, fixed_8(), schedule, 8)
    assert 0.0 <= packed["latency_s"] < packed["energy_j"] < packed["bitops"]
    rounded = cpt.savings(net, fixed_8(), schedule.rounded_up((8,)), 8)
    assert rounded == {"bitops": 0.0, "latency_s": 0.0, "energy_j": 0.0}


def test_time_follows_bitops_only_where_every_bit_counts():
    net = load_workload("cifar_resnet20")
    schedule = Schedule.cyclic(3, 8, 8, cpt.CYCLES, cpt.ITERATIONS)
    fused, serial = (
        cpt.savings(net, hardware, schedule, 8)["latency_s"]
        for hardware in (load_hardware("bit_fusion"), every_width())
    )
    assert fused < 36.67 / 2
    assert serial == pytest.approx(36.67, abs=0.5)


def test_better_schedules_relative_bitops():
    found = {row.system.split()[0]: row for row in better_schedules.study().rows if row.quantity.startswith("BitOps")}
    assert set(found) == set(BETTER_SCHEDULES)
    for name, row in found.items():
        assert row.published - 0.01 <= row.ours <= row.published_to + 0.01, name


def test_widths_round_up_to_those_of_the_hardware():
    net = load_workload("cifar_resnet20")
    schedule = Schedule.cyclic(3, 8, 8, 32, 64_000).rounded_up((4, 8))
    held = {int(plan.widths("weight")[0]): share for plan, share in schedule.histogram(net)}
    assert held == pytest.approx({4: 0.205 + 0.1645, 8: 0.1305 + 0.131 + 0.1645 + 0.2045})
    assert "rounded up to 4, 8 bits" in schedule.name
    # one rise in each cycle and a fall between cycles: changes within a width are gone
    assert schedule.changes == 32 + 31


def test_widths_beyond_the_hardware_are_refused_and_named():
    with pytest.raises(InputError) as caught:
        Schedule.cyclic(3, 12, 10, 4, 100).rounded_up((4, 8))
    text = str(caught.value)
    assert "int12" in text
    assert "int10" in text
    assert "4, 8" in text


def test_rounding_keeps_families_groups_and_floats():
    schedule = Schedule.piecewise([(3, "bfp3:4x4"), (1, "fp8_e4m3")]).keep({"conv1": "int5"}).rounded_up((4, 6))
    formats = [dict(phase.formats)["weight"] for phase in schedule.phases]
    assert formats == ["bfp4:4x4", "fp8_e4m3"]
    assert schedule.kept == (("conv1", "int6"),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 8, "high": 3}, "bounds cross"),
        ({"low": 3, "high": 8, "iterations": 0}, "iterations"),
        ({"low": 3, "high": 8, "cycles": 0}, "cycles"),
        ({"low": 3, "high": 8, "cycles": 50, "iterations": 10}, "at most one cycle per iteration"),
    ],
)
def test_bad_bounds_and_lengths_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Schedule.cyclic(**arguments)


def test_a_schedule_wider_than_the_hardware_is_infeasible_with_the_width_named():
    from dse.cost import evaluate

    total = evaluate(load_workload("cifar_resnet20"), fixed_8(), Schedule.static("w12a12e12", 10)).total
    assert not total["feasible"][0]
    assert "12" in total["limit"][0]


def test_room_for_the_sums_of_backward_data_lets_narrow_operands_show():
    """In energy; the time is that of the products in both, since the best mappings keep the sums on the chip."""
    network, schedule = load_workload("cifar_resnet38"), Schedule.cyclic(3, 8, 8)
    small, large = (cpt.savings(network, hardware, schedule, 8) for hardware in (load_hardware("bit_fusion"), roomy()))
    assert small["bitops"] == large["bitops"]
    assert small["latency_s"] <= large["latency_s"] < large["bitops"]
    assert small["energy_j"] + 1.0 < large["energy_j"] < large["bitops"]
