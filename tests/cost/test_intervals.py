"""Supply voltage on every path that prices a MAC, and totals under drawn prices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dse import evaluate, load_hardware
from dse.errors import InputError
from dse.hardware import hardware_arrays
from dse.hardware.prices.ranges import RANGES, draw_ranges, node_exponent
from dse.workload.layer import Layer
from dse.workload.model import Network

TINY = Network(
    "tiny", "made up",
    (Layer("fc", "fc", 1, 1, 64, 96, 1, 1, 1, 1, stride=(1, 1), dilation=(1, 1), input_hw=(1, 1), bias=False, passes=("forward",)),),
    16, 1, 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def cost():
    designs = pd.DataFrame({"array.rows": [16, 64, 16], "memories.dram.bandwidth_bits_per_cycle": [64, 512, 64]})
    return evaluate(TINY, "flex_trainer", ["w8a8", "w4a4"], designs, mode="inference")


@pytest.mark.parametrize("name", ["flex_trainer", "simba_like", "tpu_like"])
def test_energy_follows_the_square_of_the_supply(name):
    """Elements and memories on the chip, also by prices that the file gives; DRAM keeps its own supply, time its clock."""
    plain = load_hardware(name)
    low = replace(plain, supply_v=None)
    nominal = hardware_arrays(plain).supply_v[0]
    given = plain.pe.energy_pj is not None
    low = replace(plain, supply_v=nominal)  # prices of the file are those at this supply
    table = evaluate(TINY, low, "w8a8", mode="inference").total.iloc[0]
    scaled = hardware_arrays(replace(plain, supply_v=nominal / 2))
    if not given:
        half = evaluate(TINY, replace(plain, supply_v=nominal / 2), "w8a8", mode="inference", mapping_objective="latency")
        whole = evaluate(TINY, low, "w8a8", mode="inference", mapping_objective="latency")
        assert half.total["mac_j"][0] == pytest.approx(whole.total["mac_j"][0] / 4)
    assert scaled.logic_scale[0] == pytest.approx(0.25)
    assert table["mac_j"] > 0
    assert scaled.read_pj_per_bit[0, -1] == hardware_arrays(plain).read_pj_per_bit[0, -1]


def test_a_supply_in_the_space_scales_what_the_file_gives():
    """Prices of the file are those at its default supply."""
    from dse.hardware.model import Parameter, with_values

    plain = load_hardware("tpu_like")
    space = (Parameter("supply_v", (0.5, 1.0), 1.0),)
    hardware = replace(plain, supply_v=1.0, space=space)
    arrays = hardware_arrays(hardware, pd.DataFrame({"supply_v": [0.5, 1.0]}))
    assert arrays.element_scale.tolist() == pytest.approx([0.25, 1.0])
    assert arrays.read_pj_per_bit[0, :-1] == pytest.approx(arrays.read_pj_per_bit[1, :-1] / 4)
    assert with_values(hardware, {"supply_v": 0.5}).supply_v == 0.5
    assert (np.diff(arrays.leakage_parts_w, axis=0)[0, [0, 2]] > 0).all()


def test_totals_are_components_times_drawn_prices(cost):
    """Row 0 by hand: every component by the factor of its price, what flows with time also by the time."""
    drawn, factors = cost.draws(20, 3), draw_ranges(20, 3)
    total = cost.total.iloc[0]
    node = factors["node"] ** float(node_exponent(28.0))
    assert drawn.components_j["dram"][:, 0] == pytest.approx(total["dram_j"] * factors["dram"])
    assert drawn.components_j["mac"][:, 0] == pytest.approx(total["mac_j"] * factors["element"] * node)
    assert drawn.components_j["buffer"][:, 0] == pytest.approx(total["buffer_j"] * factors["sram"] * node)
    row = hardware_arrays(load_hardware("flex_trainer"), pd.DataFrame({"array.rows": [16], "memories.dram.bandwidth_bits_per_cycle": [64]}))
    power = sum(row.leakage_parts_w[0, p] * factors[name] for p, name in enumerate(("leakage", "interface", "clock")))
    assert drawn.components_j["leakage"][:, 0] == pytest.approx(power * drawn.latency_s[:, 0], rel=1e-6)
    assert drawn.energy_j[:, 0] == pytest.approx(sum(part[:, 0] for part in drawn.components_j.values()))


def test_time_is_never_shorter_than_nominal_and_at_most_as_long_as_the_memory_makes_it(cost):
    drawn = cost.draws(50, 0).latency_s / cost.total["latency_s"].to_numpy()
    assert drawn.min() >= 1.0
    assert drawn.max() <= 1.0 / RANGES["dram_rate"].low
    assert drawn[:, 0] == pytest.approx(drawn[:, 4])  # the same design, twice in the table


def test_intervals(cost):
    table = cost.intervals()
    assert table[["design", "plan"]].equals(cost.total[["design", "plan"]])
    for name in ("latency_s", "energy_j", "area_mm2", "power_w", "dram_j"):
        assert (table[f"{name}_low"] <= table[f"{name}_high"]).all()
    assert (table["energy_j_low"] < cost.total["energy_j"]).all()
    assert (table["energy_j_high"] > cost.total["energy_j"]).all()
    assert table.equals(cost.intervals(200, 0))
    assert not table.equals(cost.intervals(200, 1))
    with pytest.raises(InputError, match="at least 2"):
        cost.intervals(1)


def test_ranges_hold_the_nominal_price_and_say_their_sources():
    for price in RANGES.values():
        assert 0 < price.low <= 1 <= price.high
        assert len(price.source) > 20
    assert np.ptp(draw_ranges(300, 0)["dram"]) > 0.5
