"""The cost of a step: by hand, vector equals scalar, laws, and what is infeasible."""

import numpy as np
import pandas as pd
import pytest

import dse
from dse.hardware import sample_table
from dse.precision import Plan
from dse.units import quantity
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

SMALL = """source: test
batch: 2
samples: 8
epochs: 1
optimizer: momentum
input: {C: 16, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 32, R: 3, pad: 1, then: [norm, relu]}
  - {op: conv, name: second, K: 32, stride: 2, R: 3, pad: 1}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10, bias: true}
"""
MEMORY_COMPONENTS = ["weight_register_j", "accumulator_register_j", "buffer_j", "dram_j"]


@pytest.fixture(scope="module")
def net():
    return network_from_document(parse_yaml(SMALL, "small.yaml"), "small")


@pytest.fixture(scope="module")
def hw():
    return dse.load_hardware("flex_trainer")


def test_totals_are_sums_of_layers_and_components(net, hw):
    cost = dse.evaluate(net, hw, Plan.parse("w8a8e8", net))
    total, layers = cost.total.iloc[0], cost.layers
    components = [name for name in layers.columns if name.endswith("_j") and name != "energy_j"]
    assert set(MEMORY_COMPONENTS) < set(components)
    for name in ("latency_s", "energy_j", "macs", "bitops", "dram_bits", *components):
        assert layers[name].sum() == pytest.approx(total[name], rel=1e-12)
    assert layers[components].sum(axis=1).to_numpy() == pytest.approx(layers["energy_j"].to_numpy(), rel=1e-9)
    assert total["power_w"] == pytest.approx(total["energy_j"] / total["latency_s"])


def test_passes_macs_and_bitops_by_hand(net, hw):
    layers = dse.evaluate(net, hw, Plan.parse("w4a8e2", net)).layers.set_index(["layer", "pass"])
    macs = 2 * 32 * 16 * 64 * 9
    assert layers.loc[("first", "forward"), "macs"] == macs
    assert ("first", "backward_data") not in layers.index
    assert layers.loc[("first", "forward"), "bitops"] == macs * 4 * 8
    assert layers.loc[("first", "backward_weight"), "bitops"] == macs * 8 * 2
    assert layers.loc[("second", "backward_data"), "bitops"] == 2 * 32 * 32 * 16 * 9 * 4 * 2
    assert ("last", "optimizer") in layers.index


def test_dram_traffic_is_at_least_every_tensor_once(net, hw):
    layers = dse.evaluate(net, hw, Plan.parse("w8a8e8", net)).layers.set_index(["layer", "pass"])
    weights, outputs = 32 * 16 * 9, 2 * 32 * 64
    inputs = 2 * 16 * 10 * 10
    # The norm that reads the result reads 16 bits.
    assert layers.loc[("first", "forward"), "dram_bits"] == 8 * (weights + inputs) + 16 * outputs
    # The gradient leaves in 32 bits.
    assert layers.loc[("first", "backward_weight"), "dram_bits"] == 8 * (outputs + inputs) + 32 * weights


def test_optimizer_traffic_by_hand(net, hw):
    row = (
        dse.evaluate(net, hw, Plan.parse("w8a8e8", net))
        .layers.set_index(["layer", "pass"])
        .loc[("second", "optimizer")]
    )
    parameters = 32 * 32 * 9
    # Master and momentum read and written in fp32, gradient read in fp32, weight written in int8.
    assert row["dram_bits"] == parameters * (4 * 32 + 32 + 8)


def test_table_equals_one_by_one(net, hw):
    table = sample_table(hw, 40, seed=3)
    table = pd.concat([table, table.head(5)], ignore_index=True)
    plans = [Plan.parse("w8a8e8", net), Plan.parse("w4a4e8", net)]
    together = dse.evaluate(net, hw, plans, table)
    assert together.total["design"].tolist() == np.repeat(np.arange(45), 2).tolist()
    for row in (0, 7, 42):
        alone = dse.evaluate(net, hw.with_values(table.iloc[row].to_dict()), plans[1]).total.iloc[0]
        same = together.total.iloc[2 * row + 1]
        for name in ("latency_s", "energy_j", "area_mm2", "dram_bits"):
            assert same[name] == pytest.approx(alone[name], rel=1e-12)
    assert together.layers.groupby("design")["energy_j"].sum().to_numpy() == pytest.approx(
        together.total.groupby("design")["energy_j"].sum().to_numpy()
    )


def test_order_of_plans_and_designs_does_not_matter(net, hw):
    table = sample_table(hw, 12, seed=5)
    plan = Plan.parse("w8a8e8", net)
    forwards = dse.evaluate(net, hw, plan, table).total["energy_j"].to_numpy()
    backwards = dse.evaluate(net, hw, plan, table.iloc[::-1].reset_index(drop=True)).total["energy_j"].to_numpy()
    assert (forwards == backwards[::-1]).all()


@pytest.mark.parametrize("objective", ["energy", "latency"])
def test_fewer_bits_never_cost_more(net, hw, objective):
    column = {"energy": "energy_j", "latency": "latency_s"}[objective]
    costs = [
        dse.evaluate(net, hw, Plan.parse(f"w{b}a{b}e{b}", net), mapping_objective=objective).total[column].iloc[0]
        for b in range(2, 9)
    ]
    assert (np.diff(costs) >= -1e-12 * np.array(costs[:-1])).all()


def test_twice_the_batch_never_less_energy(net, hw):
    plan = Plan.parse("w8a8e8", net)
    once, twice = (dse.evaluate(net.with_batch(b), hw, plan).total.iloc[0] for b in (2, 4))
    assert twice["energy_j"] >= once["energy_j"]
    assert twice["latency_s"] >= once["latency_s"]


def test_inference_is_the_forward_pass_with_norms_folded(net, hw):
    cost = dse.evaluate(net, hw, Plan.parse("w8a8e8", net), mode="inference")
    assert set(cost.layers["pass"]) == {"forward"}
    assert "first.norm" not in set(cost.layers["layer"])
    assert cost.total["macs"].iloc[0] == net.macs * net.batch


def test_a_run_is_the_sum_of_its_steps_and_changes(net, hw):
    schedule = dse.Schedule.cyclic(low=4, high=8, backward=8, cycles=2, iterations=100)
    cost = dse.evaluate(net, hw, schedule)
    run, layers = cost.total.iloc[0], cost.layers
    steps = sum(
        share * 100 * dse.evaluate(net, hw, plan).total.iloc[0]["energy_j"] for plan, share in schedule.histogram(net)
    )
    changes = layers[layers["layer"] == "(run)"]
    assert changes["pass"].tolist() == ["width changes"]
    assert run["energy_j"] == pytest.approx(steps + changes["energy_j"].sum(), rel=1e-9)
    assert cost.phases["energy_j"].sum() == pytest.approx(steps, rel=1e-9)
    assert cost.phases["iterations"].sum() == 100
    # Every change makes all weights anew: master copy read, new width written.
    parameters = sum(layer.parameters for layer in net.layers)
    widths = [plan.widths("weight")[0] for plan, _ in schedule.plans(net)][1:]
    assert changes["dram_bits"].sum() == sum(parameters * (32 + width) for width in widths)


def test_formats_that_the_element_lacks_are_infeasible_with_a_name(net, hw):
    total = dse.evaluate(net, hw, Plan.parse("fp32", net)).total.iloc[0]
    assert not total["feasible"]
    assert "processing element" in total["limit"]
    assert np.isnan(total["energy_j"])


def test_plan_of_another_network_is_an_error(net, hw):
    other = dse.load_workload("cifar_alexnet")
    with pytest.raises(dse.InputError, match="other layers"):
        dse.evaluate(net, hw, Plan.parse("w8a8e8", other))


def test_unknown_column_of_a_table_is_an_error(net, hw):
    with pytest.raises(dse.InputError, match=r"array\.rows"):
        dse.evaluate(net, hw, Plan.parse("w8a8e8", net), pd.DataFrame({"array.row": [8]}))


def test_json_has_no_nan(net, hw):
    record = dse.evaluate(net, hw, Plan.parse("fp32", net)).as_dict()
    assert record["total"][0]["energy_j"] is None
    assert record["total"][0]["feasible"] is False


def test_strided_pointwise_layers_cost_no_less_than_nothing(hw):
    """A 1x1 filter with stride 2 leaves gaps in the error it accumulates: no count may fall below zero for them."""
    text = SMALL[: SMALL.index("layers:")] + (
        "layers:\n  - {op: conv, name: a, K: 16}\n  - {op: conv, name: b, K: 32, stride: 2}\n  - {op: fc, name: c, K: 4}\n"
    )
    strided = network_from_document(parse_yaml(text, "strided.yaml"), "strided")
    layers = dse.evaluate(strided, hw, Plan.parse("w8a8e8", strided)).layers
    assert (layers.select_dtypes("number").to_numpy() >= 0).all()
    row = layers.set_index(["layer", "pass"]).loc[("b", "backward_data")]
    # At least the weights, the error that comes in, and the touched quarter of the error that goes out.
    assert row["dram_bits"] >= 8 * (32 * 16 + 2 * 32 * 16 + 2 * 16 * 16)


def test_results_lie_within_the_bounds_of_the_table_of_quantities(net, hw):
    total = dse.evaluate(net, hw, Plan.parse("w4a4e8", net)).total
    known = {name: quantity(name) for name in total.columns if quantity(name) is not None}
    assert {"latency_s", "energy_j", "area_mm2", "power_w", "macs", "bitops", "dram_bits", "mac_j"} <= set(known)
    for name, item in known.items():
        assert total[name].between(item.low, item.high).all()
        assert item.name == name
