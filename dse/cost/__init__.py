"""Counts times prices: latency, energy and area of layers, steps and runs."""

from dse.cost.evaluate import Cost, evaluate

__all__ = ["Cost", "evaluate"]
