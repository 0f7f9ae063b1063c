"""What layers without MACs and the update cost, by hand on a chip whose prices per access are those of its source (tpu_like)."""

from dataclasses import replace

import pytest

import dse
from dse.hardware.arrays import hardware_arrays

NETWORK = """
source: made up
batch: 2
samples: 2
epochs: 1
optimizer: momentum
input: {C: 4, H: 6, W: 6}
layers:
  - {op: conv, name: conv, K: 8, R: 3, pad: 1}
  - {op: relu, name: relu}
  - {op: global_pool, name: pool}
  - {op: fc, name: fc, K: 10}
  - {op: loss, name: loss}
"""
#: tpu_like: 700 and 750 pJ for 64 bits of DRAM, 416.16 and 378.4 pJ for 2,048 bits of its SRAM, 64 bits per cycle, 200 MHz.
DRAM_READ, DRAM_WRITTEN, SRAM_BOTH, BITS_PER_CYCLE, HZ = 700 / 64, 750 / 64, (416.16 + 378.4) / 2048, 64, 2e8


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("vector") / "net.yaml"
    path.write_text(NETWORK)
    return dse.load_workload(path)


def layer(net, name, pass_, mode="training", hardware=None):
    cost = dse.evaluate(net, hardware or dse.load_hardware("tpu_like"), dse.Plan.parse("w8a8e8", net), mode=mode)
    (row,) = cost.layers.query("layer == @name and `pass` == @pass_").to_dict("records")
    return row, float(hardware_arrays(hardware or dse.load_hardware("tpu_like"), None).leakage_w[0])


@pytest.mark.parametrize(
    ("name", "pass_", "mode", "read", "written", "operations", "bound"),
    [
        # 2 x 8 x 36 values are summed to 2 x 8; the way back reads 2 x 8 errors and writes 2 x 8 x 36.
        ("pool", "forward", "inference", 576 * 8, 16 * 8, 576, "dram"),
        ("pool", "forward", "training", 576 * 8, 16 * 8, 576, "dram"),
        ("pool", "backward_data", "training", 16 * 8, 576 * 8, 576, "dram"),
        # Where the convolution writes, the ReLU happens; its way back keeps one bit of each value.
        ("relu", "forward", "inference", 0, 0, 576, "vector"),
        ("relu", "forward", "training", 0, 576, 576, "vector"),
        # Master, momentum and gradient of 32 bits are read; master, momentum and the weight of 8 bits are written.
        ("conv", "optimizer", "training", 288 * 96, 288 * 72, 288 * 6, "dram"),
        ("fc", "optimizer", "training", 80 * 96, 80 * 72, 80 * 6, "dram"),
    ],
)
def test_traffic_time_and_energy(net, name, pass_, mode, read, written, operations, bound):
    row, leakage_w = layer(net, name, pass_, mode)
    assert row["dram_bits"] == read + written
    seconds = max((read + written) / BITS_PER_CYCLE, operations / 32) / HZ
    assert row["latency_s"] == pytest.approx(seconds, rel=1e-12)
    assert row["bound"] == bound
    assert row["sram_j"] == pytest.approx((read + written) * SRAM_BOTH * 1e-12, rel=1e-12)
    assert row["dram_j"] == pytest.approx((read * DRAM_READ + written * DRAM_WRITTEN) * 1e-12, rel=1e-12)
    assert row["leakage_j"] == pytest.approx(seconds * leakage_w, rel=1e-12)
    parts = sum(value for key, value in row.items() if key.endswith("_j") and key != "energy_j")
    assert row["energy_j"] == pytest.approx(parts, rel=1e-12)


def test_few_lanes_take_the_time_and_change_nothing_else(net):
    """One lane for 576 operations is slower than DRAM; the longer of both is the time, not their sum."""
    slow = replace(dse.load_hardware("tpu_like"), vector_lanes=1)
    (row, _), (fast, _) = layer(net, "pool", "forward", "inference", slow), layer(net, "pool", "forward", "inference")
    assert row["latency_s"] == pytest.approx(576 / HZ, rel=1e-12)
    assert row["bound"] == "vector"
    assert (row["dram_j"], row["sram_j"], row["vector_j"]) == (fast["dram_j"], fast["sram_j"], fast["vector_j"])


def test_a_16_bit_float_operation_with_its_operands():
    """0.4 pJ for an addition and 1.1 pJ for a multiplication in FP16 (Horowitz, ISSCC 2014) bound its mean from both sides."""
    from dse.hardware.prices.side_costs import vector_op_pj

    assert 0.4 < float(vector_op_pj(16)) < 0.4 + 1.1
    assert float(vector_op_pj(8)) < float(vector_op_pj(16)) < float(vector_op_pj(32))


def test_area_is_the_sum_of_its_parts_and_the_overhead_a_share_of_it():
    hardware = dse.load_hardware("tpu_like")
    bare, more = (hardware_arrays(replace(hardware, area_overhead=share), None) for share in (0.0, 0.25))
    assert bare.area_mm2[0] == pytest.approx(bare.area_parts_mm2[0].sum(), rel=1e-12)
    assert more.area_mm2[0] == pytest.approx(1.25 * bare.area_mm2[0], rel=1e-12)
    assert more.area_parts_mm2[0, more.area_parts.index("overhead")] == pytest.approx(0.25 * bare.area_mm2[0], rel=1e-12)
