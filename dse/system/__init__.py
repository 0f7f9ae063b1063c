"""Several accelerators: systems, parallel plans, collectives, memory per device, time and energy of a step."""

from dse.system.from_file.load import load_system
from dse.system.model import Device, Execution, Link, Parallel, System
from dse.system.plans.times import Communication

__all__ = ["Communication", "Device", "Execution", "Link", "Parallel", "System", "load_system"]
