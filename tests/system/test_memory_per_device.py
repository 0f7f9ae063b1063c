"""Memory per device: Korthikanti's eight pairs to the byte, measured peaks of Megatron-LM, laws of sharding."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.errors import InputError
from dse.system.model import Execution, Parallel
from dse.system.plans.arrays import plans_of
from dse.system.plans.memory import footprint, kept_bytes, parameter_bytes

POLICIES = {"attn_only": "selective", "none": "none", "full": "full"}
MEGATRON = Execution(attention="unfused", dropout=True)


def total(found, parallel, steps=8, execution=Execution()):  # noqa: B008
    return float(sum(footprint(found, plans_of([parallel], steps), execution).values())[0])


def test_the_eight_pairs_of_korthikanti_are_exact(table, rows):
    """Figure 1 of arXiv 2205.05198: 18 bytes per weight of the blocks, and ``s b h (10 + 24/t + 5 a s / (h t))`` or ``34 s b h / t``."""
    pairs = [row for row in table("korthikanti_selective_recompute.csv") if row["table"] == "fig1"]
    assert len(pairs) == 8
    for row in pairs:
        found = rows(*(int(row[key]) for key in ("hidden", "layers", "heads", "seq")), 512, 0, True)
        parallel = Parallel(
            1, int(row["tensor_par"]), int(row["pipeline_par"]), micro_batch=int(row["microbatch_size"]),
            interleave=int(row["pipeline_interleaving"]), recompute=POLICIES[row["activation_recompute"]],
            sequence_parallel=row["tensor_par_comm_type"] == "rs_ag",
        )  # fmt: skip
        plans = plans_of([parallel], int(row["batch_size"]) // parallel.micro_batch)
        held = sum(
            item.times * sum(float(part[0]) for part in parameter_bytes(item, plans, found.states).values())
            for item in found.of("block")
            if item.layer.has_macs
        )
        assert held / parallel.pipeline / 2**30 == float(row["params_opt_GiB"])
        p, v = parallel.pipeline, parallel.interleave
        flying = p + (p - 1) / v if v > 1 else p
        kept = float(kept_bytes(found, "block", plans, MEGATRON)[0]) / p * min(flying, float(plans.steps[0]))
        assert kept / 2**30 == float(row["activation_GiB"])


def test_peaks_that_megatron_measured(table, rows):
    """The GPT-3 7B cases of Megatron-LM's tests, hidden size 4,096: within 5 %."""
    found = rows(4096, 32, 32, 8192, 131073, 8, True)
    for row in table("megatron_7b_memory.csv"):
        tensor, pipeline, data, pieces, size, steps = (
            int(row[key]) for key in ("tensor", "pipeline", "data", "pieces", "micro_batch", "steps")
        )
        parallel = Parallel(data, tensor, pipeline, micro_batch=size, interleave=pieces, zero=1)
        held = footprint(found, plans_of([parallel], steps), Execution(dropout=True), "last")
        assert sum(held.values())[0] == pytest.approx(float(row["mem_max_bytes"]), rel=0.05)


def test_parts_by_hand(rows):
    """One block of 64 features on one device: BF16 weights, FP32 gradients, masters and two states."""
    found = rows(64, 2, 4, 32, 128)
    held = footprint(found, plans_of([Parallel()], 1), Execution())
    blocks = 2 * (12 * 64 * 64 + 4 * 64)
    parameters = 128 * 64 + blocks + 2 * 64 + 64 * 128
    assert held["weights"][0] == 2 * parameters
    assert held["gradients"][0] == held["master"][0] == 4 * parameters
    assert held["optimizer"][0] == 8 * parameters
    # Four devices: ZeRO 1 shards masters and states, ZeRO 2 gradients, ZeRO 3 weights.
    for stage, shared in ((1, ("master", "optimizer")), (2, ("gradients",)), (3, ("weights",))):
        sharded = footprint(found, plans_of([Parallel(data=4, zero=stage)], 1), Execution())
        assert all(sharded[part][0] == held[part][0] / 4 for part in shared)


def test_a_table_that_both_ends_read_is_held_at_both(rows):
    alone, tied = (rows(64, 4, 4, 32, 4096, 0, False, "bf16", flag) for flag in (False, True))
    one, two = Parallel(), Parallel(pipeline=2)
    table = 4096 * 64 * (2 + 4 + 4 + 8)
    assert total(alone, one) - total(tied, one) == table
    assert total(alone, two) == total(tied, two)


@settings(max_examples=30, deadline=None)
@given(
    tensor=st.sampled_from([1, 2, 4]), pipeline=st.sampled_from([1, 2, 4]), data=st.sampled_from([1, 2, 8]),
    size=st.sampled_from([1, 2, 4]), policy=st.sampled_from(["none", "selective", "full"]), fused=st.booleans(),
)  # fmt: skip
def test_laws(small, tensor, pipeline, data, size, policy, fused):
    """More recomputation, shards, tensor or sequence parallelism never hold more; a larger micro batch never less."""
    execution = Execution(attention="fused" if fused else "unfused")
    plan = Parallel(data, tensor, pipeline, micro_batch=size, recompute=policy)

    def held(**changes):
        return total(small, replace(plan, **changes), execution=execution)

    here = held()
    assert held(micro_batch=2 * size) > here
    assert held(tensor=2 * tensor) < here
    shards = [held(zero=stage) for stage in (0, 1, 2)]
    assert shards == sorted(shards, reverse=True)
    if tensor > 1:
        assert held(sequence_parallel=True) < here
    activations = [
        float(footprint(small, plans_of([replace(plan, recompute=name)], 8), execution)["activations"][0])
        for name in ("none", "selective", "full")
    ]
    assert activations == sorted(activations, reverse=True)


def test_plans_side_by_side_hold_what_they_hold_alone(small):
    several = [Parallel(), Parallel(2, 2, 2, zero=1), Parallel(4, 1, 4, micro_batch=2, recompute="full")]
    together = sum(footprint(small, plans_of(several, 8), Execution()).values())
    np.testing.assert_array_equal(together, [total(small, plan) for plan in several])


def test_offloaded_states_are_the_hosts_and_take_its_link_and_memory(transformer):
    net = transformer(256, 8, 8, 128)
    here, away = (dse.evaluate(net, None, "bf16", system="dgx_h100", parallel=text, accumulate=4).total.iloc[0] for text in ("d4p2z1", "d4p2z1o1"))
    moved = here["memory_master_bits"] + here["memory_optimizer_bits"]
    assert away["memory_master_bits"] == away["memory_optimizer_bits"] == 0
    assert here["peak_memory_bits"] - away["peak_memory_bits"] == pytest.approx(moved)
    assert away["host_memory_bits"] == pytest.approx(moved, rel=1e-3)  # the last stage has a norm more
    assert here["host_memory_bits"] == 0
    host = dse.load_system("dgx_h100").host
    # Of every parameter: the host reads the gradient, reads and writes master and two states, writes the weight; gradient and weight pass the link.
    parameters = moved / 8 / 12
    traffic = parameters * (4 + 2 + 2 * 12)
    assert away["optimizer_s"] == pytest.approx(traffic / host.memory_bytes_per_s + parameters * 6 / host.bytes_per_s, rel=0.02)
    assert away["latency_s"] > here["latency_s"]


def test_offload_needs_a_host_with_room(transformer):
    net, system = transformer(256, 8, 8, 128), dse.load_system("dgx_h100")
    with pytest.raises(InputError, match="says nothing of its hosts"):
        dse.evaluate(net, None, "bf16", system="tpu_v5p_pod", parallel="d4o1")
    tiny = replace(system, host=replace(system.host, memory_bytes=1e6))
    row = dse.evaluate(net, None, "bf16", system=tiny, parallel="d4o1", accumulate=1).total.iloc[0]
    assert not row["feasible"]
    assert "host's share for a device of plan d4o1" in row["limit"]
    assert dse.Parallel.parse("d4z1o1").label == "d4z1o1"
