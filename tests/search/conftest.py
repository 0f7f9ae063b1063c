"""A network of four convolutions, a profile of it and a small space: everything that a search needs, in milliseconds."""

from pathlib import Path

import pytest

SMALL = Path(__file__).parents[1] / "data" / "small"

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
def tiny():
    """Workload file, profile file, and hardware with 28 designs."""
    from dse.hardware import load_hardware

    return SMALL / "tiny.yaml", SMALL / "profile.yaml", load_hardware("flex_trainer").with_values(NARROW)


@pytest.fixture(scope="session")
def wide_values():
    return WIDE


@pytest.fixture(scope="session")
def wide(tiny):
    """The same with 252 designs, which no test's budget covers."""
    from dse.hardware import load_hardware

    return *tiny[:2], load_hardware("flex_trainer").with_values(WIDE)
