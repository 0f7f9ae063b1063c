"""Design-space exploration of low-precision neural-network training and inference accelerators.

The names below load on first use, so that ``import dse`` costs nothing.

>>> import dse
>>> net = dse.load_workload("imagenet_resnet")
>>> hardware = dse.load_hardware("bit_fusion")
>>> plan = dse.Plan.uniform(net, weight="int8", activation="int8", error="int8")
>>> cost = dse.evaluate(net, hardware, plan)
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from dse.version import VERSION

if TYPE_CHECKING:
    from dse.accuracy import load_law, load_profile
    from dse.errors import InputError
    from dse.hardware import load_hardware
    from dse.hardware.from_file.peers import import_hardware
    from dse.precision import Plan, Schedule
    from dse.search.explore import explore
    from dse.search.pareto import pareto_front
    from dse.system import Parallel, load_system
    from dse.system.front import evaluate
    from dse.training.prepare import prepare
    from dse.training.sensitivity import sensitivity
    from dse.workload import load_workload
    from dse.workload.from_onnx.network import import_onnx
    from dse.workload.from_torch.trace import trace

__version__ = VERSION

_HOMES = {
    "InputError": "dse.errors",
    "Parallel": "dse.system",
    "Plan": "dse.precision",
    "Schedule": "dse.precision",
    "evaluate": "dse.system.front",
    "explore": "dse.search.explore",
    "import_hardware": "dse.hardware.from_file.peers",
    "import_onnx": "dse.workload.from_onnx.network",
    "load_hardware": "dse.hardware",
    "load_law": "dse.accuracy",
    "load_profile": "dse.accuracy",
    "load_system": "dse.system",
    "load_workload": "dse.workload",
    "pareto_front": "dse.search.pareto",
    "prepare": "dse.training.prepare",
    "sensitivity": "dse.training.sensitivity",
    "trace": "dse.workload.from_torch.trace",
}

__all__ = [
    "InputError",
    "Parallel",
    "Plan",
    "Schedule",
    "evaluate",
    "explore",
    "import_hardware",
    "import_onnx",
    "load_hardware",
    "load_law",
    "load_profile",
    "load_system",
    "load_workload",
    "pareto_front",
    "prepare",
    "sensitivity",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        if _HOMES[name].startswith("dse.training.") and importlib.util.find_spec("torch") is None:
            return importlib.import_module("dse.training").without_torch(f"dse.{name}")
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dse' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__"])
