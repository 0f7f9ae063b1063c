"""Accelerators described for other programs, as hardware files: ZigZag's accelerator, Timeloop's architecture (version 0.4)."""

from dse.hardware.from_file.peers.imported import ImportedHardware, import_hardware

__all__ = ["ImportedHardware", "import_hardware"]
