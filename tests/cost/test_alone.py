"""A design costs the same alone and in any table: every shipped accelerator, its numbers made free, bit for bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import dse
from dse.hardware import sample_table
from dse.hardware.model import Parameter
from dse.shipped import shipped_names
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: 2
samples: 2
epochs: 1
optimizer: momentum
input: {C: 4, H: 8, W: 8}
layers:
  - {op: conv, name: a, K: 8, R: 3, pad: 1, then: [norm, relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: b, K: 10, bias: true}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")


def freed(hardware):
    """The same hardware with memory sizes, bandwidths and the clock free around their values."""
    space = [Parameter("clock_hz", (hardware.clock_hz / 2, hardware.clock_hz), hardware.clock_hz)]
    for memory in hardware.memories:
        for key, value in (("size_bits", memory.size_bits), ("bandwidth_bits_per_cycle", memory.bandwidth_bits_per_cycle)):
            if np.isfinite(value):
                values = (value, 2 * value, 16 * value, 128 * value)
                space.append(Parameter(f"memories.{memory.name}.{key}", values, value))
    return replace(hardware, space=tuple(space))


@pytest.mark.parametrize("name", shipped_names("hwmodels"))
def test_a_design_costs_the_same_alone_and_beside_others(name):
    hardware = freed(dse.load_hardware(name))
    plans = (dse.Plan.parse(text, NET) for text in ("w8a8e8", "bf16", "mls_e2m4", "mxfp8_e4m3"))
    mode = "inference" if hardware.inference_only else "training"
    plan = next(plan for plan in plans if dse.evaluate(NET, hardware, plan, mode=mode).total["feasible"][0])
    designs = sample_table(hardware, 4, seed=3)
    table = dse.evaluate(NET, hardware, plan, designs, mode=mode)
    for row in range(0, len(designs), 2):
        alone = dse.evaluate(NET, hardware, plan, designs.iloc[[row]], mode=mode)
        for kind in ("total", "layers"):
            beside = getattr(table, kind)
            here = beside[beside["design"] == row].drop(columns="design").reset_index(drop=True)
            pd.testing.assert_frame_equal(here, getattr(alone, kind).drop(columns="design"), check_exact=True)


def test_vector_work_passes_through_each_designs_own_largest_buffer():
    """Two shared buffers: which one is larger differs between rows, and so does the price of what passes through it."""
    text = """name: two_buffers
description: weights and activations have buffers of their own
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 8, forward: [C], backward_data: [K], backward_weight: [N, P, Q]}
    cols: {size: 8, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  weights: {source: made up, kind: sram, holds: [weight], size_bits: {values: [65_536, 4_194_304], default: 65_536}}
  inputs: {source: made up, kind: sram, holds: [activation, accumulator], size_bits: 262_144}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 128}
"""
    from dse.hardware.from_file.load import hardware_from_document

    hardware = hardware_from_document(parse_yaml(text, "two_buffers.yaml"))
    plan = dse.Plan.parse("w8a8e8", NET)
    column = "memories.weights.size_bits"
    cost = dse.evaluate(NET, hardware, plan, pd.DataFrame({column: [65_536.0, 4_194_304.0]}))
    pool = cost.layers[(cost.layers["layer"] == "pool") & (cost.layers["pass"] == "forward")].set_index("design")
    assert pool.loc[0, "weights_j"] == 0.0 < pool.loc[0, "inputs_j"]
    assert pool.loc[1, "inputs_j"] == 0.0 < pool.loc[1, "weights_j"]
