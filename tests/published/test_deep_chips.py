"""Chips with several memories per operand, or new among the shipped ones, beside what their makers publish. Nothing is fitted to these."""

from __future__ import annotations

import math

import pytest

import dse
from dse.hardware import hardware_arrays
from dse.precision import Plan

#: NVDLA primer, 2,048 MACs in 16 nm at 1 GHz: frames per second of ResNet-50 at int8, mm2; and our signed error. Here every layer
#: reads and writes DRAM, activations and pooling too; control, vector units and the network on the chip have no area.
NVDLA = {"frames_per_s": (269, -0.24), "area_mm2": (3.3, -0.57)}


def test_nvdla_beside_its_primer():
    net, chip = dse.load_workload("imagenet_resnet50"), dse.load_hardware("nvdla_like")
    total = dse.evaluate(net, chip, Plan.parse("w8a8", net), mode="inference").total.iloc[0]
    arrays = hardware_arrays(chip)
    interface = arrays.area_parts_mm2[0, arrays.area_parts.index("dram")]
    ours = {"frames_per_s": net.batch / total["latency_s"], "area_mm2": total["area_mm2"] - interface}
    for name, (published, error) in NVDLA.items():
        assert ours[name] / published - 1 == pytest.approx(error, abs=0.02), name


@pytest.mark.parametrize(
    ("name", "tops", "megabytes"),
    [("nvdla_like", 4.096, 0.5), ("tpu_v4i_like", 138, 144), ("a100", 312, None), ("simba_like", 4.1, None)],
)
def test_peaks_and_memories_as_published(name, tops, megabytes):
    """TPUv4i: 138 TOPS and 144 MB on the chip (ISCA 2021); NVDLA: 2,048 MACs at 1 GHz, 512 KB."""
    chip = dse.load_hardware(name)
    assert 2e-12 * math.prod(axis.size for axis in chip.axes) * chip.clock_hz == pytest.approx(tops, rel=0.005)
    if megabytes is not None:
        shared = [m.size_bits for m in chip.memories[:-1] if len(m.shared_along) == len(chip.axes)]
        assert sum(shared) / 8 / 2**20 == megabytes


@pytest.mark.parametrize(
    ("name", "plan", "mode"),
    [
        pytest.param(*("meta_prototype_like", "w8a8e8", "training"), marks=pytest.mark.long),
        pytest.param(*("ascend_like", "w8a8e8", "training"), marks=pytest.mark.long),
        ("simba_like", "w8a8e8", "training"),
        ("edge_tpu_like", "w4a8", "inference"),
        ("nvdla_like", "w8a8", "inference"),
        pytest.param(*("tpu_v4i_like", "bf16", "inference"), marks=pytest.mark.long),
        ("a100", "bf16", "training"),
        pytest.param(*("mi210", "bf16", "training"), marks=pytest.mark.long),
    ],
)
def test_each_runs_a_network_of_its_kind(name, plan, mode):
    net, chip = dse.load_workload("fashion_cnn"), dse.load_hardware(name)
    cost = dse.evaluate(net, chip, Plan.parse(plan, net), mode=mode)
    total = cost.total.iloc[0]
    assert total["feasible"], total["limit"]
    peak = math.prod(axis.size for axis in chip.axes) * chip.clock_hz
    assert total["latency_s"] >= total["macs"] / peak * (1 - 1e-9)
    parts = [memory.name for memory in chip.memories]
    assert (cost.total[[f"{part}_j" for part in parts]] >= 0).all(axis=None)
    if chip.inference_only:
        with pytest.raises(dse.InputError, match="runs inference only"):
            dse.evaluate(net, chip, Plan.parse(plan, net))
    assert hardware_arrays(chip).area_mm2[0] > 0
