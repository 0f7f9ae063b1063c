"""Networks as loop bounds."""

from dse.workload.load import load_workload
from dse.workload.model import DIMS, PASSES, Layer, Network

__all__ = ["DIMS", "PASSES", "Layer", "Network", "load_workload"]
