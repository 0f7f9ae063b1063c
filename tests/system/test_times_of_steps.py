"""Time of a step: a pipeline that is really run, products by hand, published iteration times, laws."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.precision import Plan
from dse.system.model import Device, Parallel
from dse.system.network.rows import rows_of
from dse.system.plans.arrays import plans_of
from dse.system.plans.times import Communication, Times, product_s, step_times

A100 = dse.load_system("dgx_a100")
MEGATRON = A100.with_execution(attention="unfused", dropout=True, causal_skip=False)
PARTS = [name for name in Times._fields if name not in ("step", "stages") and not name.startswith("link_")]


def times(found, parallel, steps=8, system=A100, communication=Communication()):  # noqa: B008
    return step_times(found, plans_of([parallel], steps), system, communication)


def test_a_product_by_hand():
    device = Device("chip", {16: 1e12}, {16: 1e12}, 1e9, 1e12, 0.5, 0.8, cores=4)
    sizes = [np.array([float(size)]) for size in (256, 256, 1000, 1)]
    # Four tiles of 128 x 128 on four cores: full; half of the peak.
    assert product_s(device, *sizes, 16, np.array([8.0])) == pytest.approx(256 * 256 * 1000 / 0.5e12)
    # Five cores leave one idle.
    assert product_s(replace(device, cores=5), *sizes, 16, np.array([8.0])) == pytest.approx(256 * 256 * 1000 / 0.5e12 * 5 / 4)
    # Two million bytes over 0.8 of the bandwidth take longer than the products.
    assert product_s(device, *sizes, 16, np.array([16e8])) == pytest.approx(2e8 / 0.8e12)


def simulated(forward, backward, steps):
    """End of a 1F1B pipeline whose stages take so long per micro batch, run event by event."""
    stages = len(forward)
    orders = []
    for stage in range(stages):
        ahead = min(stages - stage - 1, steps)
        order = [("f", i) for i in range(ahead)]
        for i in range(steps - ahead):
            order += [("f", ahead + i), ("b", i)]
        orders.append(order + [("b", i) for i in range(steps - ahead, steps)])
    done, free, at = {}, [0.0] * stages, [0] * stages
    while any(place < len(order) for place, order in zip(at, orders, strict=True)):
        for stage in range(stages):
            while at[stage] < len(orders[stage]):
                kind, i = orders[stage][at[stage]]
                before = ("f", i, stage - 1) if kind == "f" else ("b", i, stage + 1)
                if kind == "b" and stage == stages - 1:
                    before = ("f", i, stage)
                if 0 <= before[2] < stages and before not in done:
                    break
                start = max(free[stage], done.get(before, 0.0))
                free[stage] = done[kind, i, stage] = start + (forward if kind == "f" else backward)[stage]
                at[stage] += 1
    return max(free)


@pytest.mark.parametrize("steps", [1, 3, 8, 32])
@pytest.mark.parametrize("stages", [2, 4])
def test_even_pipelines_take_what_a_run_one_takes(stages, steps):
    assert simulated([1.0] * stages, [2.0] * stages, steps) == pytest.approx((steps + stages - 1) * 3.0)


@pytest.mark.parametrize("slow", [0, 1, 3])
def test_uneven_pipelines_take_at_most_the_closed_form(slow):
    """The closed form: ``M`` times the slowest and once all others."""
    forward, backward = [1.0] * 4, [2.0] * 4
    forward[slow], backward[slow] = 1.5, 3.0
    run = simulated(forward, backward, 16)
    closed = 16 * 4.5 + 3 * 3.0
    # Exact where the last stage is the slowest; an earlier one sends its first micro batches ahead meanwhile.
    assert run == pytest.approx(closed - (3 - slow) * 1.5)


def test_parts_sum_to_the_step(small):
    for plan in (Parallel(), Parallel(4, 2, 2, zero=1), Parallel(2, 2, 4, interleave=2, recompute="full"), Parallel(8, zero=3)):
        found = times(small, plan)
        assert found.step[0] == pytest.approx(sum(float(getattr(found, part)[0]) for part in PARTS))


def test_iteration_times_of_korthikanti_are_within_five_percent(table, rows):
    """Table 5 of arXiv 2205.05198; both efficiencies of the A100 were fitted on these rows and on vTrain's of one node."""
    policies = {"attn_only": "selective", "full": "full"}
    errors = {}
    for row in table("korthikanti_selective_recompute.csv"):
        if row["table"] != "tab5":
            continue
        found = rows(*(int(row[key]) for key in ("hidden", "layers", "heads", "seq")), 51200, 0, True, "bf16", True)
        parallel = Parallel(
            int(row["data_par"]), int(row["tensor_par"]), int(row["pipeline_par"]), micro_batch=int(row["microbatch_size"]),
            interleave=int(row["pipeline_interleaving"]), recompute=policies[row["activation_recompute"]],
            sequence_parallel=row["tensor_par_comm_type"] == "rs_ag",
        )  # fmt: skip
        steps = int(row["batch_size"]) // parallel.micro_batch
        ours = float(times(found, parallel, steps, MEGATRON).step[0])
        errors[row["model"], row["mode"]] = ours / float(row["iteration_s"]) - 1
    assert len(errors) == 8
    assert max(map(abs, errors.values())) < 0.05, errors


def test_more_of_anything_never_makes_a_step_shorter(small):
    plan = Parallel(4, 2, 2, micro_batch=2)
    here = times(small, plan).step[0]
    assert times(small, plan, steps=9).step[0] > here
    assert times(small, replace(plan, recompute="full")).step[0] > here
    assert times(small, replace(plan, micro_batch=4)).step[0] > here
    slow = replace(A100, links=tuple(replace(link, bytes_per_s=link.bytes_per_s / 2) for link in A100.links))
    assert times(small, plan, system=slow).step[0] > here
    half = times(small, plan, communication=Communication(tensor=8.0, gradient=8.0))
    assert half.step[0] < here
    assert half.link_bits[0] < times(small, plan).link_bits[0]


def test_formats_decide_rates_and_conversions(transformer):
    net = transformer(1024, 4, 16, 1024, 2048)
    h100 = dse.load_system("gb200_nvl72")
    found = {
        form: times(rows_of(net, Plan.uniform(net, form, form, form)), Parallel(), 4, h100)
        for form in ("bf16", "mxfp8_e4m3", "nvfp4")
    }
    products = [float(item.products[0]) for item in found.values()]
    assert products == sorted(products, reverse=True)
    assert found["bf16"].conversions[0] == 0 < found["nvfp4"].conversions[0]


def test_nothing_of_fused_attention_is_converted(transformer):
    """A kernel of 16 bits, scores never leave it: the conversions left are those of layers with weights."""
    net = transformer(1024, 4, 16, 1024, 2048)
    plan = Plan.uniform(net, "fp8_e4m3", "fp8_e4m3", "fp8_e4m3")
    apart, fused = rows_of(net, plan), rows_of(net, plan, fused_attention=True)
    for one, other in zip(apart.rows, fused.rows, strict=True):
        if one.layer.kind == "matmul":
            assert one.widths.converts_activation > 0 == other.widths.converts_activation + other.widths.converts_weight
            assert one.widths.forward == other.widths.forward
        else:
            assert one == other


@pytest.mark.parametrize("name", ["fp8_linear", "fp8_block_linear", "mxfp8_linear", "nvfp4_linear"])
def test_recipes_are_narrow_in_linear_layers_alone(transformer, name):
    net = transformer(256, 2, 4, 128)
    plan = Plan.parse(name, net)
    narrow = {
        layer.name: all(plan.cells(operand)[index].name != "bf16" for operand in ("weight", "activation", "error"))
        for index, layer in enumerate(net.layers)
    }
    assert narrow == {layer.name: layer.kind == "fc" and layer.name != "lm_head" for layer in net.layers}
    changed = Plan.parse(f"{name},error=bf16,stash=int4", net)
    assert {cell.name for cell in changed.cells("error")} == {"bf16"}
    assert {cell.name for cell in changed.cells("stash")} == {"int4"}
    assert changed.cells("weight") == plan.cells("weight")


def test_a_system_says_what_conversions_take():
    said = dict.fromkeys(("bf16", "fp8_linear", "fp8_e4m3"))
    for name in said:
        said[name] = dse.evaluate("gpt2_small", None, name, system="dgx_h100", parallel="d8b4")
    assert not any("conversions" in note for note in said["bf16"].notes)
    step = {name: float(cost.total["latency_s"].iloc[0]) for name, cost in said.items()}
    assert step["fp8_e4m3"] < step["fp8_linear"] < step["bf16"]
    note = next(note for note in said["fp8_linear"].notes if note.startswith("conversions take"))
    row = said["fp8_linear"].total.iloc[0]
    assert f"{step['bf16'] / step['fp8_linear']:.2f} times as fast" in note
    assert f"{step['bf16'] / (row['latency_s'] - row['conversions_s']):.2f} times without" in note
    assert any("one kernel that multiplies 16 bits" in note for note in said["fp8_e4m3"].notes)
    slow = dse.evaluate("gpt2_small", None, "bf16,activation=fp8_e4m3:tensor,error=fp8_e5m2:tensor", system="dgx_h100", parallel="d8b4")
    assert any("slower than BF16" in note and "fp8_linear" in note for note in slow.notes)
    with pytest.raises(dse.InputError, match="fp8_linear, the recipe of linear layers"):
        dse.evaluate("gpt2_small", None, "fp8", system="dgx_h100", parallel="d8b4")


def test_conversions_pass_the_bits_that_transformer_engine_passes():
    from dse.precision.formats.names import parse_format
    from dse.system.network.rows import _converted_bits

    assert _converted_bits(parse_format("mxfp8_e4m3")) == 16 + 2 * 8.25
    assert _converted_bits(parse_format("nvfp4")) == 16 + 16 + 2 * 4.5
    assert _converted_bits(parse_format("fp8_e4m3:tensor")) == 16 + 16 + 2 * 8
    assert _converted_bits(parse_format("bf16")) == 0
