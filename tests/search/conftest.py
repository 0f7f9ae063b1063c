"""A network of four convolutions, a profile of it and a small space: everything that a search needs, in milliseconds."""

import pytest

NETWORK = """
source: made up
batch: 64
samples: 64
epochs: 1
optimizer: momentum
input: {C: 8, H: 16, W: 16}
layers:
  - {op: conv, name: first, K: 32, R: 3, pad: 1, then: [norm, relu]}
  - {op: conv, name: second, K: 32, R: 3, pad: 1, then: [relu]}
  - {op: conv, name: third, K: 32, R: 3, stride: 2, pad: 1, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10}
  - {op: loss, name: loss}
"""
PROFILE = """
network: NAME
source: made up
method: made up
score: made up
prediction:
  quantity: top1
  baseline: 70.0
  baseline_name: made up
  noise: 0.1
  noise_source: made up
  calibration: post-training
  link: saturating
kept: {last: 8}
ties:
  - [first, second]
layers:
  first: {both: {4: 0.4, 8: 0.002}}
  second: {both: {4: 0.1, 8: 0.0005}}
  third: {both: {4: 0.2, 8: 0.001}}
points:
  - {name: u8, value: 69.95, both: 8}
  - {name: u4, value: 67.0, both: 4}
  - {name: m, value: 69.0, both: [8, 8, 4]}
  - {name: n, value: 68.4, both: [8, 4, 4]}
error_tensor:
  source: made up
  note: made up
  baseline: 70.0
  baseline_name: made up
  widths: {8: 69.9, 6: 69.6}
"""


#: What of flex_trainer's space is fixed: sizes of the buffer and bandwidths of DRAM are left, and clocks and rows in the wide one.
NARROW = {
    "clock_hz": 8e8,
    "array.rows": 16,
    "array.cols": 32,
    "memories.buffer.bandwidth_bits_per_cycle": 512,
    "memories.accumulator_register.size_bits": 512,
}
WIDE = {name: value for name, value in NARROW.items() if name not in ("clock_hz", "array.rows")}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Workload file, profile file, and hardware with 28 designs."""
    from dse.hardware import load_hardware

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(NETWORK)
    (folder / "profile.yaml").write_text(PROFILE.replace("NAME", "tiny"))
    return folder / "tiny.yaml", folder / "profile.yaml", load_hardware("flex_trainer").with_values(NARROW)


@pytest.fixture(scope="session")
def wide_values():
    return WIDE


@pytest.fixture(scope="session")
def wide(tiny):
    """The same with 252 designs, which no test's budget covers."""
    from dse.hardware import load_hardware

    return *tiny[:2], load_hardware("flex_trainer").with_values(WIDE)
