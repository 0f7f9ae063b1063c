"""Accelerators: arrays, memories, processing elements, and what an action costs."""

from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.from_file.load import load_hardware
from dse.hardware.model import Hardware, with_values
from dse.hardware.space import grid_size, sample_table

__all__ = ["Hardware", "HardwareArrays", "grid_size", "hardware_arrays", "load_hardware", "sample_table", "with_values"]
