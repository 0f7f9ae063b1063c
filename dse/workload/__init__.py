"""Networks as loop bounds."""

from dse.names import DIMS, PASSES
from dse.workload.load import load_workload
from dse.workload.model import Layer, Network

__all__ = ["DIMS", "PASSES", "Layer", "Network", "load_workload"]
