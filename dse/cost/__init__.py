"""Counts times prices: latency, energy and area of layers, steps and runs; explicit mappings on a hardware or at plain prices."""

from dse.cost.mapped.explicit import MappingCosts, best_mappings, energy_of_counts, evaluate_mappings, price_array
from dse.cost.totals.evaluate import Cost, evaluate

__all__ = [
    "Cost",
    "MappingCosts",
    "best_mappings",
    "energy_of_counts",
    "evaluate",
    "evaluate_mappings",
    "price_array",
]
