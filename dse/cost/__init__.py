"""Counts times prices: latency, energy and area of layers, steps and runs; explicit mappings on a hardware or at plain prices."""

from dse.cost.evaluate import Cost, evaluate
from dse.cost.explicit import MappingCosts, best_mappings, energy_of_counts, evaluate_mappings, price_array

__all__ = [
    "Cost",
    "MappingCosts",
    "best_mappings",
    "energy_of_counts",
    "evaluate",
    "evaluate_mappings",
    "price_array",
]
